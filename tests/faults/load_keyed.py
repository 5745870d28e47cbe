"""Clients of the load about a stream that is compacted all the time: one writes and deletes keys,
two look again and again at what there is of each."""

import json
import threading
import time

import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from load_other import connect
from load_producers import IN_FLIGHT_MAX, QUICK, idempotent
from say import PATIENCE, closed, me, say, value_of

# Keys that are written at the same time, and records of these before others take their place: so
# that some rest, and most tombstones among them get old.
KEYS = 20
RECORDS = 600
# Of so many records of a key one deletes it.
DELETED_OF = 3


def upsert(broker, name, topic, partitions):
    """Writes each key again and again, and deletes it now and then. A tombstone has no value, so a
    header says whose it is."""
    fatal = threading.Event()
    n = 0
    while not closed.is_set():
        fatal.clear()
        producer = idempotent(broker, fatal)
        while not closed.is_set() and not fatal.is_set():
            producer.poll(0.008)
            if len(producer) < IN_FLIGHT_MAX:
                write(producer, topic, n, int(partitions))
                n += 1
        if fatal.is_set():
            say("fatal")
        if producer.flush(PATIENCE) > 0:
            say("stuck", left=len(producer))


def write(producer, topic, n, partitions):
    key = f"{me()}/{n // RECORDS}/{n % KEYS}"
    partition = n % KEYS % partitions
    gone = (n // KEYS + n % KEYS) % DELETED_OF == 0
    who = value_of(by=me(), n=n)

    def delivered(error, message):
        if error is None:
            place = {"p": message.partition(), "o": message.offset()}
            say("acked", t=topic, **place, n=n, key=key, gone=gone)
        else:
            say("failed", t=topic, n=n, error=str(error))

    say("sent", t=topic, p=partition, n=n, key=key, gone=gone)
    producer.produce(
        topic,
        key=key,
        value=None if gone else who,
        headers={"who": who},
        partition=partition,
        on_delivery=delivered,
    )


def reread(broker, name, topic, partitions):
    """Reads all of the stream from its beginning, again and again."""
    while True:
        last = closed.is_set()
        asked = time.monotonic()
        newest = read_once(broker, topic, int(partitions))
        if newest is not None:
            say("found", t=topic, asked=asked, rows=newest, whole=False)
        if last and newest is not None:
            return
        closed.wait(0.3)


def read_once(broker, topic, partitions):
    """The last record of each key, as {key: [partition, offset, number, whether it is a
    tombstone]}; nothing if it did not come to the end."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": me(),
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            **QUICK,
        }
    )
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
    newest, ended, patience = {}, set(), time.monotonic() + 20
    try:
        while len(ended) < partitions:
            if time.monotonic() > patience:
                return None
            for message in consumer.consume(500, 0.2):
                if message.error() is not None:
                    if message.error().code() == KafkaError._PARTITION_EOF:
                        ended.add(message.partition())
                        continue
                    say("error", error=str(message.error()))
                    return None
                take(newest, message)
        return newest
    finally:
        consumer.close()


def take(newest, message):
    key = message.key().decode()
    n = json.loads(dict(message.headers())["who"])["n"]
    found = newest.get(key)
    if found is not None and (found[1] >= message.offset() or found[2] >= n):
        say("older", key=key, after=found, p=message.partition(), o=message.offset(), n=n)
    gone = message.value() is None
    newest[key] = [message.partition(), message.offset(), n, gone]


def look(address, name, topic):
    """Asks SQL for all rows of the table, again and again."""
    connection = None
    while not closed.is_set():
        connection = connection or connect(address)
        if connection is None:
            break
        asked = time.monotonic()
        try:
            found = connection.execute(
                f"SELECT _key, _partition, _offset, _value FROM {topic}"
            ).fetchall()
            rows = {
                bytes(key).decode(): [p, o, json.loads(value)["n"], False]
                for key, p, o, value in found
            }
            say("found", t=topic, asked=asked, rows=rows, whole=True)
        except psycopg.Error as error:
            say("error", error=str(error)[:200])
            connection = None
        closed.wait(0.4)
