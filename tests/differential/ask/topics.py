"""Topics: made, found, grown, deleted."""

from steps import Ref
from world import Topic

from . import asks
from .configs import setting


@asks(4)
def create(world):
    planned = world.some(lambda: one(world), 2)
    created = [topic for topic, _ in planned]
    validate = world.chance(0.15)
    steps = world.step("CreateTopics", {
        "topics": created, "timeout_ms": 30000,
        "validate_only": validate})
    names = [topic["name"] for topic in created]
    for topic, good in planned:
        name = topic["name"]
        if steps and good and not validate and names.count(name) == 1:
            count = len(topic["assignments"]) or max(topic["num_partitions"], 1)
            world.topics.setdefault(name, Topic(count))
    return steps


def one(world):
    """A topic to create, and whether it should be there afterwards."""
    bad = world.chance(0.3)
    name = world.topic() if bad and world.chance(0.4) else world.fresh("t")
    topic = {"name": name, "num_partitions": world.pick(1, 1, 2, 3, -1), "replication_factor":
             world.pick(1, 1, -1), "assignments": [], "configs": []}
    if world.chance(0.3):
        topic["configs"] = [setting(world, right=not bad)]
    if bad and world.chance(0.3):
        topic["num_partitions"] = world.pick(0, -2, 1_000_000)
    if bad and world.chance(0.3):
        topic["replication_factor"] = world.pick(0, 2, -2, 100)
    if world.chance(0.15):
        topic |= {"num_partitions": -1, "replication_factor": -1}
        topic["assignments"] = [{"partition_index": each, "broker_ids": [1]} for each in range(2)]
        if bad:
            topic["assignments"][1] = world.pick(
                {"partition_index": 0, "broker_ids": [1]},
                {"partition_index": 5, "broker_ids": [1]},
                {"partition_index": 1, "broker_ids": [7]}, {"partition_index": 1, "broker_ids": []},
                {"partition_index": 1, "broker_ids": [1, 1]})
            topic["num_partitions"] = world.pick(-1, 2)
    return topic, not bad


@asks(1.5)
def delete(world):
    names = world.some(world.topic, 2) if world.chance(0.7) else []
    by_id = world.chance(0.5)
    steps = world.step("DeleteTopics", {
        "topic_names": names, "timeout_ms": 30000,
        "topics": [{"name": None, "topic_id": world.topic_id(name)} if by_id else {"name": name}
                   for name in names]})
    for name in names if steps else []:
        if world.topics.pop(name, None):
            world.deleted.append(name)
    return steps


@asks(1.5)
def create_partitions(world):
    def grow():
        name = world.topic()
        now = world.partitions(name)
        count = world.pick(0, -1, now, now - 1, 2**31 - 1) if world.wrong else now + 1
        assignments = None
        if world.chance(0.3):
            assignments = [{"broker_ids": world.pick([1], [1], [1], [2], [], [1, 1])}
                           for _ in range(world.pick(1, 1, 2))]
        return {"name": name, "count": count, "assignments": assignments}

    topics, validate = world.some(grow, 2), world.chance(0.2)
    steps = world.step("CreatePartitions", {
        "topics": topics, "timeout_ms": 30000, "validate_only": validate})
    names = [each["name"] for each in topics]
    for each in topics if steps and not validate else []:
        known = world.topics.get(each["name"])
        plain = each["assignments"] is None or each["assignments"] == [{"broker_ids": [1]}]
        if known and plain and names.count(each["name"]) == 1:
            if each["count"] == known.partitions + 1:
                known.partitions += 1
    return steps


@asks(4)
def metadata(world):
    version = world.version("Metadata")
    if version is None:
        return []
    create = world.chance(0.3)
    names = world.some(lambda: world.fresh("auto") if create and world.chance(0.5)
                       else world.topic(), 3)
    topics = [{"name": name} for name in names]
    if version >= 12 and world.chance(0.4):
        topics = [{"name": None, "topic_id": world.topic_id(name)} for name in names]
    elif world.chance(0.15):
        topics = None if version >= 1 else []
    created = create or version < 4
    steps = world.step("Metadata", {
        "topics": topics, "allow_auto_topic_creation": create,
        "include_cluster_authorized_operations": world.chance(0.3),
        "include_topic_authorized_operations": world.chance(0.3)}, version=version,
        passing=(3,) if created and topics and valid(names) else ())
    for topic in topics or []:
        name = topic["name"]
        if created and name and name.startswith("~"):
            world.topics.setdefault(name, Topic(1))
            if name in world.deleted:
                world.deleted.remove(name)
    return steps


def valid(names):
    return all(name.startswith("~") for name in names)


@asks(1.5)
def describe_topic_partitions(world):
    names = world.some(world.topic, 3)
    cursor = None
    if world.chance(0.3):
        cursor = {"topic_name": world.topic(), "partition_index": world.pick(0, 1, -1, 5)}
    return world.step("DescribeTopicPartitions", {
        "topics": [{"name": name} for name in names],
        "response_partition_limit": world.pick(2000, 2000, 1, 2, 0, -1), "cursor": cursor})


@asks(0.5)
def unknown_ids(world):
    version = world.version("Metadata", least=12)
    return world.step("Metadata", {"topics": [
        {"name": None, "topic_id": Ref("topic_id", "~never")},
        {"name": world.good_topic(), "topic_id": Ref("topic_id", world.good_topic())}],
        "allow_auto_topic_creation": False}, version=version) if version else []
