"""What there is at the end, read by somebody who took no part: a plain consumer, SQL, an admin."""

import json
import time

import psycopg
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from say import PAD

SECONDS = 60


def read_all(broker, partitions, isolation):
    """Every record of the topics as [topic, partition, offset, value, key]."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": "final",
            "isolation.level": isolation,
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    places = [TopicPartition(t, p, 0) for t, count in partitions.items() for p in range(count)]
    consumer.assign(places)
    records, ended = [], set()
    patience = time.monotonic() + SECONDS
    while len(ended) < len(places):
        if time.monotonic() > patience:
            raise TimeoutError(f"no record and no end came from {broker}")
        # It waits until there are so many.
        for message in consumer.consume(1000, 0.2):
            patience = time.monotonic() + SECONDS
            place = (message.topic(), message.partition())
            if message.error() is None:
                value = value_of(message)
                key = message.key().decode() if message.key() is not None else None
                records.append([*place, message.offset(), value, key])
            elif message.error().code() == KafkaError._PARTITION_EOF:
                ended.add(place)
            else:
                raise KafkaException(message.error())
    consumer.close()
    return records


def value_of(message):
    """What a record says; of one without a value a header says whose it is."""
    if message.value() is None:
        return json.loads(dict(message.headers())["who"]) | {"gone": True}
    return plain(json.loads(message.value()))


def plain(value):
    """A row that SQL has inserted, as what its client said of it; padding only if it is wrong."""
    if "k" in value:
        return {"by": value["k"].split("/")[0], "n": value["n"], "row": True}
    if value.get("pad") == PAD:
        del value["pad"]
    return value


def query(address, sql):
    host, port = address.split(":")
    with psycopg.connect(
        host=host, port=port, user="final", dbname="anabranch", autocommit=True,
        connect_timeout=SECONDS,
    ) as connection:
        done = connection.execute(sql)
        return done.fetchall() if done.description else []


def rows_of(address, topics):
    records = []
    for topic in topics:
        found = query(address, f"SELECT _partition, _offset, _value FROM {topic}")
        records += [[topic, p, offset, plain(json.loads(value))] for p, offset, value in found]
    return records


def table_of(address, name):
    """key → [partition, offset, value]"""
    found = query(address, f"SELECT _key, _partition, _offset, _value FROM {name}")
    return {
        bytes(key).decode(): [p, offset, plain(json.loads(value))]
        for key, p, offset, value in found
    }


def admin(broker):
    return AdminClient({"bootstrap.servers": broker, "log_level": 0})


def stands(broker, group, topic):
    """Where a group stands, by partition."""
    asked = ConsumerGroupTopicPartitions(group)
    client = admin(broker)
    (future,) = client.list_consumer_group_offsets([asked]).values()
    found = future.result(SECONDS).topic_partitions
    return {str(p.partition): p.offset for p in found if p.topic == topic and p.offset >= 0}


def final(broker, postgres, plan):
    return {
        "source": plan.source,
        "members": plan.group,
        "compacted": plan.tables,
        "sql_topics": plan.queried,
        "log": read_all(broker, plan.partitions, "read_uncommitted"),
        "committed": read_all(broker, plan.partitions, "read_committed"),
        "sql": rows_of(postgres, plan.queried),
        "tables": {name: table_of(postgres, name) for name in plan.tables},
        "groups": {
            group: stands(broker, group, plan.source) for group in (plan.group, plan.copiers)
        },
    }
