"""Consumers of the load, with librdkafka: a plain reader, a member of a group, and the exactly-once
copier."""

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from load_producers import QUICK, after_failure, patiently, transactional
from say import closed, fields_of, say, value_of


def consumer(broker, group, **more):
    return Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": group,
            "isolation.level": "read_committed",
            # Positions outside of the log are a loss, not something to pass over.
            "auto.offset.reset": "earliest" if more.pop("subscribes", False) else "error",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500,
            "fetch.wait.max.ms": 100,
            **QUICK,
            **more,
        }
    )


def read(broker, name, partitions, *topics):
    """Reads all that is committed, without a group."""
    reader = consumer(broker, name)
    places = [TopicPartition(t, p, 0) for t in topics for p in range(int(partitions))]
    reader.assign(places)
    ends = Ends(reader)
    while not ends.all_reached():
        message = reader.poll(0.2)
        if message is not None and not ends.take(message):
            fields = fields_of(message.value())
            say("read", t=message.topic(), p=message.partition(), o=message.offset(), v=fields)
    reader.close()


class Ends:
    """Whether a client that shall finish has read to the end."""

    def __init__(self, consumer):
        self.consumer = consumer
        # How far each partition was read when there was nothing more.
        self.reached = {}
        self.ends = {}

    def take(self, message):
        """Whether the message is no record."""
        if message.error() is None:
            return False
        if message.error().code() == KafkaError._PARTITION_EOF:
            self.reached[message.topic(), message.partition()] = message.offset()
        else:
            say("error", error=str(message.error()))
        return True

    def all_reached(self):
        """Nobody writes any more once clients shall finish: the ends stay where they are."""
        if not closed.is_set():
            return False
        assigned = self.consumer.assignment()
        return assigned and all(self.is_reached(each) for each in assigned)

    def is_reached(self, partition):
        place = (partition.topic, partition.partition)
        if place not in self.ends:
            self.ends[place] = patiently(self.consumer.get_watermark_offsets, partition)[1]
        return self.reached.get(place, 0) >= self.ends[place]


def join(broker, name, topic, group):
    """A member of a group that commits where it is."""
    member = consumer(broker, group, subscribes=True, **{"client.id": name})
    positions = {}
    ends = Ends(member)

    def assigned(_, partitions):
        positions.clear()
        ends.reached.clear()
        say("assigned", ps=sorted(each.partition for each in partitions))

    def revoked(_, partitions):
        commit(member, topic, positions)
        positions.clear()
        say("revoked", ps=sorted(each.partition for each in partitions))

    def lost(_, partitions):
        positions.clear()
        say("lost", ps=sorted(each.partition for each in partitions))

    member.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)
    due = time.monotonic()
    while not ends.all_reached():
        message = member.poll(0.2)
        if message is not None and not ends.take(message):
            positions[message.partition()] = message.offset() + 1
            value = fields_of(message.value())
            say("read", t=topic, p=message.partition(), o=message.offset(), v=value)
        if time.monotonic() > due:
            commit(member, topic, positions)
            due = time.monotonic() + 0.3
    commit(member, topic, positions)
    member.close()


def commit(member, topic, positions):
    if not positions:
        return
    places = {str(p): next for p, next in positions.items()}
    say("committing", t=topic, to=places)
    try:
        done = member.commit(
            offsets=[TopicPartition(topic, p, next) for p, next in positions.items()],
            asynchronous=False,
        )
        done = {str(each.partition): each.offset for each in done if each.error is None}
        say("committed", t=topic, to=done)
    except KafkaException as error:
        say("commit failed", error=str(error))


def copy(broker, name, source, target, group):
    """Copies each record of `source` once: output and position are one transaction."""
    producer = transactional(broker, name)
    member = consumer(broker, group, subscribes=True)
    member.subscribe([source])
    ends = Ends(member)
    while not ends.all_reached():
        polled = [message for message in member.consume(50, 0.1) if not ends.take(message)]
        if not polled:
            continue
        to = {message.partition(): message.offset() + 1 for message in polled}
        offsets = [TopicPartition(source, p, next) for p, next in to.items()]
        try:
            producer.begin_transaction()
            for message in polled:
                came_from = [message.partition(), message.offset()]
                value = value_of(by=name, source=came_from, v=fields_of(message.value()))
                producer.produce(target, value=value, partition=message.partition() % 2)
            patiently(
                producer.send_offsets_to_transaction, offsets, member.consumer_group_metadata()
            )
            patiently(producer.commit_transaction)
            say("copied", to={str(p): next for p, next in to.items()}, count=len(polled))
        except KafkaException as failure:
            producer = after_failure(producer, broker, name, None, failure)
            ends.reached.clear()
            go_back(member, source)


def go_back(member, source):
    """To where the group stands."""
    places = [TopicPartition(source, each.partition) for each in member.assignment()]
    for each in patiently(member.committed, places) if places else []:
        each.offset = max(each.offset, 0)
        try:
            member.seek(each)
        except KafkaException as error:
            # It belongs to another member by now.
            say("error", error=str(error))
