"""Transactions, and the producers that make them."""

from records import TRANSACTIONAL
from steps import Ref
from world import Producer

from . import asks
from .logs import appended, batch, produce_step


# One group: Kafka would take offsets of any that shares a partition of __consumer_offsets.
GROUP = "~g1"


def wrong_ids(world, name):
    """A producer's id and epoch; sometimes another's, sometimes an old one."""
    producer, epoch = Ref("producer", name), Ref("epoch", name)
    if world.wrong:
        return world.pick((producer, Ref("epoch", name, 1)), (producer, Ref("epoch", name, -1)),
                          (987654321, epoch), (-1, -1), (producer, -1))
    return producer, epoch


def transactional(world):
    """A producer with a transactional id, by its name."""
    names = sorted(name for name, each in world.producers.items() if each.transactional)
    return world.random.choice(names) if names else None


@asks(3)
def init_producer(world):
    """A new producer, or one that starts again: its open transaction is aborted then."""
    name, timeout = None, 60000
    known, identity = transactional(world), (-1, -1)
    if known and world.chance(0.5):
        name = known
        if world.chance(0.5):
            identity = wrong_ids(world, name)
    else:
        name = world.fresh("p")
        world.producers[name] = Producer(name if world.chance(0.6) else None,
                                         modern=world.chance(0.5))
    producer = world.producers[name]
    if world.wrong:
        timeout = world.pick(0, -1, 900001, 2**31 - 1)
    elif producer.open:
        producer.open, producer.added = False, set()
    producer.sequences = {}
    told = producer.transactional
    if told and world.chance(0.04):
        told = ""
    return world.step("InitProducerId", {
        "transactional_id": told, "transaction_timeout_ms": timeout,
        "producer_id": identity[0], "producer_epoch": identity[1],
        "enable2_pc": False, "keep_prepared_txn": False}, most=5,
        learn={"producer_id": ("producer", name), "producer_epoch": ("epoch", name)})


@asks(4)
def add_partitions(world):
    name = transactional(world)
    if not name or world.producers[name].modern:
        return []
    producer, epoch = wrong_ids(world, name)
    topics = [{"name": each["name"], "partitions": each["partitions"]} for each in world.by_topic(
        "name", "partitions", lambda _, number: number)]
    steps = world.step("AddPartitionsToTxn", {
        "v3_and_below_transactional_id": name if not world.wrong else "~nobody",
        "v3_and_below_producer_id": producer, "v3_and_below_producer_epoch": epoch,
        "v3_and_below_topics": topics}, most=3)
    if steps and isinstance(producer, Ref) and topics:
        world.producers[name].open = True
        world.producers[name].added |= {(each["name"], number) for each in topics
                                        for number in each["partitions"]}
    return steps


@asks(6)
def produce_in_transaction(world):
    name = transactional(world)
    if not name:
        return []
    producer = world.producers[name]
    added = sorted(producer.added)
    if added and not world.wrong and not (producer.modern and world.chance(0.3)):
        topic, partition = world.random.choice(added)
    else:
        topic = world.good_topic()
        partition = world.random.randrange(world.partitions(topic))
    made = batch(world)
    made.producer, made.epoch = wrong_ids(world, name)
    made.sequence = producer.sequences.get((topic, partition), 0)
    made.attributes |= TRANSACTIONAL
    if producer.modern and isinstance(made.producer, Ref):
        producer.open = True
        producer.added.add((topic, partition))
    if (topic, partition) in producer.added and isinstance(made.producer, Ref):
        producer.sequences[topic, partition] = made.sequence + len(made.records)
        appended(world, topic, partition, len(made.records))
    # From version 12 on the partition is added with it (KIP-890).
    versions = {"least": 12} if producer.modern else {"most": 11}
    return produce_step(world, [(topic, partition, made)],
                        name if not world.wrong else world.pick(None, "~nobody"), **versions)


@asks(4)
def end(world):
    name = transactional(world)
    if not name:
        return []
    producer, epoch = wrong_ids(world, name)
    state = world.producers[name]
    if isinstance(producer, Ref):
        for topic, partition in state.added:
            appended(world, topic, partition, 0, control=1)
        state.open, state.added = False, set()
    versions = {"most": 4}
    if state.modern:
        versions = {"least": 5, "learn": {"producer_id": ("producer", name),
                                          "producer_epoch": ("epoch", name)}}
        state.sequences = {}
    return world.step("EndTxn", {
        "transactional_id": name if not world.wrong else world.pick("", "~nobody"),
        "producer_id": producer, "producer_epoch": epoch, "committed": world.chance(0.6)},
        **versions)


@asks(2)
def add_offsets(world):
    name = transactional(world)
    if not name or world.producers[name].modern:
        return []
    producer, epoch = wrong_ids(world, name)
    return world.step("AddOffsetsToTxn", {
        "transactional_id": name, "producer_id": producer, "producer_epoch": epoch,
        "group_id": GROUP})


@asks(3)
def commit_in_transaction(world):
    name = transactional(world)
    if not name:
        return []
    producer, epoch = wrong_ids(world, name)

    def partition(topic, number):
        return {"partition_index": number, "committed_offset": world.offset(topic, number),
                "committed_leader_epoch": world.pick(-1, Ref("leader_epoch")),
                "committed_metadata": world.pick(None, "", "said")}
    return world.step("TxnOffsetCommit", {
        "transactional_id": name, "group_id": GROUP,
        "producer_id": producer, "producer_epoch": epoch,
        "generation_id": world.pick(-1, -1, -1, 1), "member_id": world.pick("", "", "nobody"),
        "group_instance_id": None,
        "topics": world.by_topic("name", "partitions", partition)},
        **{"least": 5} if world.producers[name].modern else {"most": 4})


@asks(2)
def describe(world):
    ids = world.some(lambda: world.pick("", "~nobody") if world.wrong
                     else transactional(world) or "~nobody", 2)
    return world.step("DescribeTransactions", {"transactional_ids": ids})


@asks(1.5)
def list_transactions(world):
    return world.step("ListTransactions", {
        "state_filters": world.pick([], [], ["Ongoing"], ["Empty", "CompleteCommit"], ["Asleep"]),
        "producer_id_filters": world.pick([], [], [Ref("producer", transactional(world) or "")],
                                          [987654321]),
        "duration_filter": world.pick(-1, -1, 0, 10**12),
        "transactional_id_pattern": world.pick(None, None, "", ".*", "(")})
