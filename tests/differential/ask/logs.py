"""Partitions: written, read, searched, cut."""

from records import CONTROL, TRANSACTIONAL, Batch, Record
from steps import Ref, Time

from . import asks

# Damage that a broker must notice, with how it is done.
DAMAGE = ("checksum", "truncated", "twice", "garbage", "long")


def batch(world, count=None):
    count = count or world.pick(1, 1, 2, 5)
    start = world.random.randrange(2_000_000)
    made = [Record(start + world.random.randrange(1000) * bool(at),
                   world.pick(None, b"", b"k%d" % at, b"key" * 9),
                   world.pick(None, b"", b"v%d" % at, b"value" * 30),
                   world.pick([], [], [(b"h", b"1")], [(b"h", None), (b"", b"2")]))
            for at in range(count)]
    return Batch(made, codec=world.pick(0, 0, 0, 1, 2, 3, 4))


def spoil(world, made):
    """Gets one thing wrong."""
    match world.random.randrange(12):
        case 0 | 1 | 2 | 3:
            made.damage = world.random.choice(DAMAGE)
        case 4:
            made.head["magic"] = world.pick(0, 1, 3)
        case 5:
            made.head["count"] = world.pick(0, len(made.records) + 1, -1)
        case 6:
            made.head["last"] = world.pick(len(made.records), -1, 100)
        case 7:
            made.attributes |= world.pick(CONTROL, CONTROL | TRANSACTIONAL, 1 << 3, 1 << 6)
        case 8:
            made.head["base"] = world.pick(5, -1)
        case 9:
            made.head["max"] = Time(world.pick(0, 2_900_000))
        case 10:
            made.records[0].time = world.pick(40_000_000_000, -1_700_000_000_000)
        case 11:
            made.records = []
    return made


def appended(world, topic, partition, count, control=0):
    if topic in world.topics and partition in range(world.topics[topic].partitions):
        ends = world.topics[topic].ends
        ends[partition] = ends.get(partition, 0) + count + control


def produce_step(world, parts, transactional=None, acks=None, least=3, most=99):
    """`parts`: (topic, partition, batch or bytes or None)."""
    topics = {}
    for topic, partition, made in parts:
        topics.setdefault(topic, []).append({"index": partition, "records": made})
    named = [{"name": topic, "topic_id": world.topic_id(topic), "partition_data": each}
             for topic, each in topics.items()]
    return world.step("Produce", {
        "transactional_id": transactional, "timeout_ms": 5000, "topic_data": named,
        "acks": world.pick(-1, -1, 1) if acks is None else acks}, least=least, most=most)


@asks(7)
def produce(world):
    parts = []
    for _ in range(world.pick(1, 1, 2)):
        topic = world.topic()
        partition, made = world.partition(topic), batch(world)
        if any(part[:2] == (topic, partition) for part in parts):
            continue
        if world.wrong:
            # Null records are not sent: Kafka has no answer to them at all.
            made = b"" if world.chance(0.3) else spoil(world, made)
        else:
            appended(world, topic, partition, len(made.records))
        parts.append((topic, partition, made))
    acks = world.pick(0, 2, -2) if world.chance(0.06) else None
    return produce_step(world, parts, acks=acks)


@asks(1)
def produce_wrong(world):
    topic = world.good_topic()
    return produce_step(world, [(topic, 0, spoil(world, batch(world)))])


@asks(4)
def produce_idempotent(world):
    """With a producer's sequences: in order, again, with a gap, of an old epoch."""
    plain = [name for name, each in world.producers.items() if not each.transactional]
    if not plain:
        return []
    name = world.random.choice(sorted(plain))
    producer, topic = world.producers[name], world.good_topic()
    partition = world.random.randrange(world.partitions(topic))
    made = batch(world)
    made.producer, made.epoch = Ref("producer", name), Ref("epoch", name)
    at = producer.sequences.get((topic, partition), 0)
    made.sequence = at
    match world.random.randrange(14):
        case 0 | 1:
            made.sequence = max(at - world.pick(1, 2, 3), 0)
        case 2:
            made.sequence = at + world.pick(1, 10)
        case 3:
            made.epoch = Ref("epoch", name, world.pick(-1, 1))
        case 4:
            made.producer = 987654321
        case 5:
            made.sequence = -1
        case 6:
            made.attributes |= TRANSACTIONAL
        case _:
            producer.sequences[topic, partition] = at + len(made.records)
            appended(world, topic, partition, len(made.records))
    steps = produce_step(world, [(topic, partition, made)])
    # Sent twice, as a client does that has heard nothing.
    return steps * 2 if world.chance(0.2) else steps


@asks(7)
def fetch(world):
    def partition(topic, number):
        return {"partition": number, "fetch_offset": world.offset(topic, number),
                "current_leader_epoch": world.epoch(), "last_fetched_epoch": -1,
                "log_start_offset": -1,
                "partition_max_bytes": world.pick(1 << 20, 1 << 20, 300, 1, 0, -1)}
    topics = world.by_topic("topic", "partitions", partition)
    for topic in topics:
        topic["topic_id"] = world.topic_id(topic["topic"])
    return world.step("Fetch", {
        "replica_id": -1, "max_wait_ms": world.pick(0, 30),
        "min_bytes": world.pick(0, 1, 1, 5000, -1),
        "max_bytes": world.pick(1 << 22, 1 << 22, 500, 1, 0), "session_id": world.pick(
            0, 0, 0, 0, 0, 0, 12345), "session_epoch": world.pick(-1, -1, -1, -1, 0),
        "isolation_level": world.pick(0, 1), "topics": topics, "forgotten_topics_data": [],
        "rack_id": ""}, least=4)


@asks(2)
def fetch_all(world):
    """One partition from its beginning: what is there in the end is compared as a whole."""
    topic = world.good_topic()
    partition = {"partition": world.random.randrange(world.partitions(topic)), "fetch_offset": 0,
                 "current_leader_epoch": -1, "last_fetched_epoch": -1, "log_start_offset": -1,
                 "partition_max_bytes": 1 << 22}
    return world.step("Fetch", {
        "replica_id": -1, "max_wait_ms": 0, "min_bytes": 0, "max_bytes": 1 << 24, "session_id": 0,
        "session_epoch": -1, "isolation_level": world.pick(0, 1), "topics": [
            {"topic": topic, "topic_id": world.topic_id(topic), "partitions": [partition]}],
        "forgotten_topics_data": [], "rack_id": ""}, least=4)


@asks(5)
def list_offsets(world):
    def partition(_, number):
        return {"partition_index": number, "current_leader_epoch": world.epoch(),
                "timestamp": world.pick(-1, -1, -2, -2, -3, -4, -5, -6, -7, 0,
                                        Time(world.random.randrange(2_000_000)), Time(10**9)),
                "max_num_offsets": 1}
    return world.step("ListOffsets", {
        "replica_id": -1, "isolation_level": world.pick(0, 0, 1, 1), "timeout_ms": 5000,
        "topics": world.by_topic("name", "partitions", partition)}, least=1)


@asks(2)
def offset_for_leader_epoch(world):
    def partition(_, number):
        return {"partition": number, "current_leader_epoch": world.epoch(),
                "leader_epoch": world.pick(Ref("leader_epoch"), Ref("leader_epoch"),
                                           Ref("leader_epoch", delta=1), -1)}
    return world.step("OffsetForLeaderEpoch", {
        "replica_id": -1, "topics": world.by_topic("topic", "partitions", partition)})


@asks(1.5)
def delete_records(world):
    def partition(topic, number):
        return {"partition_index": number, "offset": world.pick(-1, world.offset(topic, number),
                                                                 world.offset(topic, number))}
    return world.step("DeleteRecords", {
        "timeout_ms": 5000, "topics": world.by_topic("name", "partitions", partition)})


@asks(1.5)
def describe_producers(world):
    return world.step("DescribeProducers", {"topics": world.by_topic(
        "name", "partition_indexes", lambda _, number: number)})
