"""Clients of the load that are not librdkafka: aiokafka in the group, and SQL."""

import asyncio
import time

import psycopg
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from say import PATIENCE, closed, fields_of, me, say

# Newest offsets that a query looks at: a transaction's records become visible at its end, and
# others stand behind them by then.
WINDOW = 400


def join(broker, name, topic, group):
    asyncio.run(joined(broker, name, topic, group))


class Assignments(ConsumerRebalanceListener):
    def __init__(self, topic, consumer):
        self.topic = topic
        self.consumer = consumer
        self.positions = {}

    async def on_partitions_revoked(self, revoked):
        await commit(self)
        self.positions.clear()
        say("revoked", ps=sorted(each.partition for each in revoked))

    async def on_partitions_assigned(self, assigned):
        self.positions.clear()
        say("assigned", ps=sorted(each.partition for each in assigned))


async def started(broker, name, group):
    """A consumer, as soon as there is a broker."""
    while True:
        consumer = new_consumer(broker, name, group)
        try:
            await consumer.start()
            return consumer
        except KafkaError as error:
            say("error", error=repr(error))
            await consumer.stop()
            await asyncio.sleep(0.05)


def new_consumer(broker, name, group):
    return AIOKafkaConsumer(
        bootstrap_servers=broker,
        group_id=group,
        client_id=name,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
        request_timeout_ms=15_000,
        retry_backoff_ms=50,
    )


async def joined(broker, name, topic, group):
    """The member of load_consumers.py, with aiokafka."""
    consumer = await started(broker, name, group)
    member = Assignments(topic, consumer)
    consumer.subscribe([topic], listener=member)
    due = time.monotonic()
    while not (closed.is_set() and await at_the_end(consumer)):
        try:
            polled = await consumer.getmany(timeout_ms=200, max_records=100)
        except KafkaError as error:
            say("error", error=repr(error))
            await asyncio.sleep(0.05)
            continue
        for place, records in polled.items():
            for record in records:
                member.positions[place.partition] = record.offset + 1
                value = fields_of(record.value)
                say("read", t=topic, p=place.partition, o=record.offset, v=value)
        if time.monotonic() > due:
            await commit(member)
            due = time.monotonic() + 0.3
    await commit(member)
    await asyncio.wait_for(consumer.stop(), PATIENCE)


async def at_the_end(consumer):
    try:
        places = consumer.assignment()
        ends = await consumer.end_offsets(list(places))
        return places and all([await consumer.position(one) >= ends[one] for one in places])
    except KafkaError:
        return False


async def commit(member):
    if not member.positions:
        return
    places = {str(p): next for p, next in member.positions.items()}
    offsets = {
        TopicPartition(member.topic, p): OffsetAndMetadata(next, "")
        for p, next in member.positions.items()
    }
    say("committing", t=member.topic, to=places)
    try:
        await member.consumer.commit(offsets)
        say("committed", t=member.topic, to=places)
    except KafkaError as error:
        say("commit failed", error=repr(error))


# ── SQL ──


def connect(address):
    """A connection, as soon as there is one; none if the client shall finish."""
    host, port = address.split(":")
    while not closed.is_set():
        try:
            return psycopg.connect(
                host=host, port=port, user="load", dbname="anabranch", autocommit=True,
                connect_timeout=10,
            )
        except psycopg.Error:
            # Nobody tells when the broker is there again.
            time.sleep(0.02)
    return None


def query(address, name, *topics):
    """Asks again and again what is at the end of some streams."""
    connection = None
    seen = {(topic, partition): -1 for topic in topics for partition in range(2)}
    known = set()
    while not closed.is_set():
        try:
            connection = connection or connect(address)
            for topic, partition in seen if connection else ():
                from_offset = max(0, seen[topic, partition] - WINDOW)
                rows = connection.execute(
                    f"SELECT _offset, _value FROM {topic}"
                    f" WHERE _partition = {partition} AND _offset >= {from_offset}"
                ).fetchall()
                for offset, value in rows:
                    if (topic, partition, offset) not in known:
                        known.add((topic, partition, offset))
                        say("seen", t=topic, p=partition, o=offset, v=fields_of(value))
                    seen[topic, partition] = max(seen[topic, partition], offset)
            say("asked")
        except psycopg.Error as error:
            say("error", error=str(error)[:200])
            connection = None
        closed.wait(0.1)


def insert(address, name, table):
    """Inserts rows, each once: one whose outcome is not known is left as it is."""
    connection = None
    n = 0
    while not closed.is_set():
        connection = connection or connect(address)
        if connection is None:
            break
        say("sent", t=table, n=n)
        try:
            connection.execute(f"INSERT INTO {table} (k, n) VALUES (%s, %s)", (f"{me()}/{n}", n))
            say("acked", t=table, n=n)
        except psycopg.Error as error:
            say("failed", t=table, n=n, error=str(error)[:200])
            if connection.closed or connection.broken:
                connection = None
        n += 1
        closed.wait(0.01)
