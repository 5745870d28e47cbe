"""kafka-python. The commands are described in ../README.md."""

import sys

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import BrokerResponseError, KafkaConnectionError, KafkaError
from kafka.net.compat import KafkaNetClient
from kafka.structs import OffsetAndMetadata

from wire import (
    PATIENCE,
    TRANSACTION_MAX,
    Commands,
    assign,
    be_patient,
    emit,
    producer_settings,
    read_records,
    read_transactions,
    run,
    to_hex,
)

SECONDS = 30

# kafka-python 3.0.12 forgets a transactional request when this raises (producer/sender.py, 341 to
# 348), and then waits for ever; with Apache Kafka too. It takes False as it should.
await_ready_or_raise = KafkaNetClient.await_ready


def await_ready(self, node_id, timeout_ms=30000):
    try:
        return await_ready_or_raise(self, node_id, timeout_ms)
    except KafkaConnectionError:
        return False


KafkaNetClient.await_ready = await_ready


def produce(broker, topic, *options):
    producer = KafkaProducer(bootstrap_servers=broker, **producer_settings(options))
    sent = [send(producer, topic, record) for record in read_records()]
    for future in sent:
        answer = future.get(SECONDS)
        emit({"partition": answer.partition, "offset": answer.offset})
    producer.close()


def send(producer, topic, record):
    return producer.send(
        topic,
        key=record["key"],
        value=record["value"],
        headers=record["headers"],
        partition=record["partition"],
        timestamp_ms=record["timestamp"],
    )


def transactional(broker, name):
    producer = KafkaProducer(
        bootstrap_servers=broker, transactional_id=name, reconnect_backoff_max_ms=1000
    )
    producer.init_transactions()
    return producer


def transact(broker, topic, name):
    producer = transactional(broker, name)
    for records, end in read_transactions():
        producer.begin_transaction()
        for future in [send(producer, topic, record) for record in records]:
            future.get(SECONDS)
        if end == "commit":
            producer.commit_transaction()
        else:
            producer.abort_transaction()
        emit({"ended": end})
    producer.close()


def copy(broker, source, target, group, name, count):
    be_patient()
    producer = transactional(broker, name)
    consumer = member(broker, group)
    consumer.subscribe([source])
    wanted = int(count)
    while wanted > 0:
        polled = consumer.poll(timeout_ms=1000, max_records=min(TRANSACTION_MAX, wanted))
        membership = consumer.group_metadata()
        records = [record for each in polled.values() for record in each]
        if not records:
            continue
        ends = {partition: each[-1].offset + 1 for partition, each in polled.items()}
        try:
            producer.begin_transaction()
            sent = [producer.send(target, key=each.key, value=each.value) for each in records]
            for future in sent:
                future.get(PATIENCE)
            producer.send_offsets_to_transaction(offsets_at(ends), membership)
            producer.commit_transaction()
        except KafkaError:
            try:
                producer.abort_transaction()
                aborted = True
            except KafkaError:
                producer.close(0)
                producer = transactional(broker, name)
                aborted = False
            if not was_committed(consumer, ends) or aborted:
                continue
        wanted -= len(records)
        emit({"copied": len(records)})
        be_patient()
    consumer.close()
    producer.close()


def was_committed(consumer, ends):
    """Whether the group is there. If not, the consumer goes back to where it is."""
    found = {partition: consumer.committed(partition) for partition in ends}
    if all((found[partition] or 0) >= end for partition, end in ends.items()):
        return True
    for partition in found.keys() & consumer.assignment():
        if found[partition] is None:
            consumer.seek_to_beginning(partition)
        else:
            consumer.seek(partition, found[partition])
    return False


def offsets_at(ends):
    return {partition: OffsetAndMetadata(end, "", -1) for partition, end in ends.items()}


def described(record):
    return {
        "partition": record.partition,
        "offset": record.offset,
        "key": to_hex(record.key),
        "value": to_hex(record.value),
        "timestamp": record.timestamp,
        "headers": [[name, to_hex(value)] for name, value in record.headers],
    }


def consume(broker, topic, count):
    consumer = KafkaConsumer(
        bootstrap_servers=broker,
        group_id=None,
        isolation_level="read_committed",
        consumer_timeout_ms=SECONDS * 1000,
    )
    partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    wanted = int(count)
    if wanted > 0:
        for record in consumer:
            emit(described(record))
            wanted -= 1
            if wanted == 0:
                break
    if wanted > 0:
        raise TimeoutError("no record came")
    consumer.close()


class Assignments(ConsumerRebalanceListener):
    def __init__(self, positions):
        self.positions = positions

    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, assigned):
        assign(self.positions, [partition.partition for partition in assigned])


def member(broker, group):
    return KafkaConsumer(
        bootstrap_servers=broker,
        group_id=group,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
        reconnect_backoff_max_ms=1000,
    )


def group(broker, topic, name):
    consumer = member(broker, name)
    positions = {}
    consumer.subscribe([topic], listener=Assignments(positions))
    commands = Commands()
    while True:
        for records in consumer.poll(timeout_ms=100).values():
            for record in records:
                positions[record.partition] = record.offset + 1
                emit({"record": described(record)})
        command = commands.next()
        if command == "commit":
            ends = {TopicPartition(topic, p): next for p, next in positions.items()}
            consumer.commit(offsets_at(ends))
            emit({"committed": {str(p): next for p, next in positions.items()}})
        elif command == "close":
            consumer.close()
            emit({"closed": True})
            return


def admin(broker, command, *arguments):
    client = KafkaAdminClient(bootstrap_servers=broker)
    try:
        emit(ADMIN[command](client, *arguments))
    except BrokerResponseError as error:
        emit({"error": error.errno})
    client.close()


def partitions_of(client, topic):
    (found,) = client.describe_topics([topic])
    return sorted(partition["partition_index"] for partition in found["partitions"])


def create(client, topic, partitions, *configs):
    config = dict(config.split("=", 1) for config in configs)
    options = {"num_partitions": int(partitions), "replication_factor": 1, "configs": config}
    client.create_topics({topic: options})
    return {"created": topic}


def describe(client, topic):
    (found,) = client.describe_topics([topic])
    if found["error_code"] != 0:
        return {"error": found["error_code"]}
    return {"partitions": len(found["partitions"])}


def configs(client, topic):
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic)]
    found = client.describe_configs(asked, config_filter="all")["topic"][topic]
    return {name: entry["value"] for name, entry in found.items()}


def alter(client, topic, *configs):
    config = dict(config.split("=", 1) for config in configs)
    client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])
    return {"altered": topic}


def delete(client, topic):
    client.delete_topics([topic])
    return {"deleted": topic}


def offsets(client, topic, timestamp):
    asked = {TopicPartition(topic, p): int(timestamp) for p in partitions_of(client, topic)}
    found = client.list_partition_offsets(asked)
    return {
        str(partition.partition): None if answer.offset < 0 else answer.offset
        for partition, answer in found.items()
    }


def committed(client, name, topic):
    asked = {name: [TopicPartition(topic, p) for p in partitions_of(client, topic)]}
    found = client.list_group_offsets(asked)[name]
    return {str(p.partition): answer.offset for p, answer in found.items() if answer.offset >= 0}


ADMIN = {
    "create": create,
    "describe": describe,
    "configs": configs,
    "alter": alter,
    "delete": delete,
    "list": lambda client: {"topics": sorted(client.list_topics())},
    "offsets": offsets,
    "committed": committed,
}

if __name__ == "__main__":
    run(
        sys.argv,
        produce=produce,
        consume=consume,
        transact=transact,
        copy=copy,
        group=group,
        admin=admin,
    )
