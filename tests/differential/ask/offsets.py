"""Committed offsets."""

from steps import Ref

from . import asks


def group_name(world):
    if world.wrong:
        return world.pick("", "~nobody")
    return world.pick("~g1", "~g2", "~g3")


def who(world, group):
    """Generation, member and instance of a commit: mostly of who may make it."""
    members = world.groups[group].members if group in world.groups else []
    if members and not world.wrong:
        member = world.random.choice(members)
        return Ref("generation", group), Ref("member", member), None
    return world.pick((-1, "", None), (-1, "", None), (1, "", None), (-1, "nobody", None),
                      (5, "nobody", None), (-1, "", "~nobody"))


@asks(5)
def commit(world):
    group = group_name(world)
    generation, member, instance = who(world, group)

    def partition(topic, number):
        return {"partition_index": number, "committed_offset": world.offset(topic, number),
                "committed_leader_epoch": world.pick(-1, Ref("leader_epoch")),
                "committed_metadata": world.pick(None, "", "said", "x" * 4097 if world.wrong
                                                 else "x" * 4096)}
    topics = world.by_topic("name", "partitions", partition)
    for topic in topics:
        topic["topic_id"] = world.topic_id(topic["name"])
    return world.step("OffsetCommit", {
        "group_id": group, "generation_id_or_member_epoch": generation, "member_id": member,
        "group_instance_id": instance, "retention_time_ms": -1, "topics": topics}, least=2)


@asks(5)
def fetch(world):
    def topics():
        if world.chance(0.3):
            return None
        found = world.by_topic("name", "partition_indexes", lambda _, number: number)
        for topic in found:
            topic["topic_id"] = world.topic_id(topic["name"])
        return found

    def group():
        return {"group_id": group_name(world), "member_id": None, "member_epoch": -1,
                "topics": topics()}

    version = world.version("OffsetFetch", least=1)
    if version is None:
        return []
    asked = group()
    if version < 2 and asked["topics"] is None:
        asked["topics"] = []
    return world.step("OffsetFetch", {
        "group_id": asked["group_id"], "topics": asked["topics"],
        "require_stable": world.chance(0.4),
        "groups": [asked] + ([group()] if world.chance(0.3) else [])}, version=version)


@asks(1.5)
def delete(world):
    return world.step("OffsetDelete", {
        "group_id": group_name(world), "topics": world.by_topic(
            "name", "partitions", lambda _, number: {"partition_index": number})})
