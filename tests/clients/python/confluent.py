"""confluent-kafka (librdkafka). The commands are described in ../README.md."""

import sys
import time

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from wire import (
    PATIENCE,
    TRANSACTION_MAX,
    Commands,
    assign,
    be_patient,
    emit,
    read_records,
    read_transactions,
    run,
    to_hex,
)

SECONDS = 30


def produce(broker, topic, *options):
    settings = {"bootstrap.servers": broker}
    names = {"compression": "compression.type", "idempotent": "enable.idempotence", "acks": "acks"}
    for option in options:
        name, value = option.split("=", 1)
        settings[names[name]] = value
    producer = Producer(settings)
    answers = []

    def delivered(index):
        def callback(error, message):
            check(error)
            answers[index] = {"partition": message.partition(), "offset": message.offset()}

        return callback

    for record in read_records():
        answers.append(None)
        send(producer, topic, record, delivered(len(answers) - 1))
    flush(producer)
    for answer in answers:
        emit(answer)


def check(error):
    if error is not None:
        raise KafkaException(error)


def send(producer, topic, record, on_delivery):
    given = {}
    if record["partition"] is not None:
        given["partition"] = record["partition"]
    if record["timestamp"] is not None:
        given["timestamp"] = record["timestamp"]
    while True:
        try:
            producer.produce(
                topic,
                key=record["key"],
                value=record["value"],
                headers=record["headers"],
                on_delivery=on_delivery,
                **given,
            )
            break
        except BufferError:
            producer.poll(0.1)
    producer.poll(0)


def flush(producer):
    if producer.flush(SECONDS) > 0:
        raise TimeoutError("records were not acknowledged")


def patiently(call, *arguments):
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return call(*arguments, SECONDS)
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > end:
                raise


def transactional(broker, name):
    producer = Producer(
        {
            "bootstrap.servers": broker,
            "transactional.id": name,
            # Otherwise offsets cannot be sent any more after a restart: librdkafka's issue 5511.
            "metadata.recovery.strategy": "none",
        }
    )
    patiently(producer.init_transactions)
    return producer


def transact(broker, topic, name):
    producer = transactional(broker, name)
    for records, end in read_transactions():
        producer.begin_transaction()
        for record in records:
            send(producer, topic, record, lambda error, _: check(error))
        flush(producer)
        patiently(producer.commit_transaction if end == "commit" else producer.abort_transaction)
        emit({"ended": end})
    producer.close()


def copy(broker, source, target, group, name, count):
    be_patient()
    producer = transactional(broker, name)
    consumer = member(broker, group)
    consumer.subscribe([source])
    wanted = int(count)
    while wanted > 0:
        polled = consumer.consume(min(TRANSACTION_MAX, wanted), 1)
        membership = consumer.consumer_group_metadata()
        records = [message for message in polled if message.error() is None]
        if not records:
            continue
        ends = {message.partition(): message.offset() + 1 for message in records}
        offsets = [TopicPartition(source, p, next) for p, next in ends.items()]
        try:
            producer.begin_transaction()
            for message in records:
                producer.produce(target, key=message.key(), value=message.value())
            patiently(producer.send_offsets_to_transaction, offsets, membership)
            patiently(producer.commit_transaction)
        except KafkaException:
            try:
                patiently(producer.abort_transaction)
                aborted = True
            except KafkaException:
                producer = transactional(broker, name)
                aborted = False
            if not was_committed(consumer, offsets) or aborted:
                continue
        wanted -= len(records)
        emit({"copied": len(records)})
        be_patient()
    consumer.close()
    producer.close()


def was_committed(consumer, offsets):
    """Whether the group is there. If not, the consumer goes back to where it is."""
    asked = [TopicPartition(each.topic, each.partition) for each in offsets]
    found = {}
    for each in consumer.committed(asked, PATIENCE):
        check(each.error)
        found[each.partition] = each.offset
    if all(found[each.partition] >= each.offset for each in offsets):
        return True
    for each in consumer.assignment():
        if each.partition in found:
            each.offset = found[each.partition]
            if each.offset < 0:
                each.offset = OFFSET_BEGINNING
            consumer.seek(each)
    return False


def described(message):
    kind, timestamp = message.timestamp()
    return {
        "partition": message.partition(),
        "offset": message.offset(),
        "key": to_hex(message.key()),
        "value": to_hex(message.value()),
        "timestamp": None if kind == TIMESTAMP_NOT_AVAILABLE else timestamp,
        "headers": [[name, to_hex(value)] for name, value in message.headers() or []],
    }


def consume(broker, topic, count):
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": "none",
            "isolation.level": "read_committed",
        }
    )
    partitions = consumer.list_topics(topic, SECONDS).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    for _ in range(int(count)):
        message = consumer.poll(SECONDS)
        if message is None:
            raise TimeoutError("no record came")
        if message.error():
            raise KafkaException(message.error())
        emit(described(message))
    consumer.close()


def member(broker, group, protocol="classic"):
    settings = {
        "bootstrap.servers": broker,
        "group.id": group,
        "group.protocol": protocol,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    # In a consumer group these are the broker's.
    if protocol == "classic":
        settings.update({"session.timeout.ms": 6000, "heartbeat.interval.ms": 500})
    return Consumer(settings)


def group(broker, topic, name, protocol="classic"):
    consumer = member(broker, name, protocol)
    positions = {}
    held = set()

    # In a consumer group only what is new, or gone, is told.
    def assigned(_, partitions):
        held.update(partition.partition for partition in partitions)
        assign(positions, held)

    def revoked(_, partitions):
        held.difference_update(partition.partition for partition in partitions)

    consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
    commands = Commands()
    while True:
        message = consumer.poll(0.1)
        if message is not None:
            if message.error():
                if message.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    continue
                raise KafkaException(message.error())
            positions[message.partition()] = message.offset() + 1
            emit({"record": described(message)})
        command = commands.next()
        if command == "commit":
            offsets = [TopicPartition(topic, p, next) for p, next in positions.items()]
            consumer.commit(offsets=offsets, asynchronous=False)
            emit({"committed": {str(p): next for p, next in positions.items()}})
        elif command == "close":
            consumer.close()
            emit({"closed": True})
            return


def only(futures):
    (future,) = futures.values()
    return future.result(SECONDS)


def admin(broker, command, *arguments):
    client = AdminClient({"bootstrap.servers": broker})
    try:
        emit(ADMIN[command](client, *arguments))
    except KafkaException as error:
        if error.args[0].code() < 0:
            raise
        emit({"error": error.args[0].code()})


def partitions_of(client, topic):
    found = client.list_topics(topic, SECONDS).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)


def create(client, topic, partitions, *configs):
    config = dict(config.split("=", 1) for config in configs)
    only(client.create_topics([NewTopic(topic, int(partitions), 1, config=config)]))
    return {"created": topic}


def configs(client, topic):
    entries = only(client.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
    return {name: entry.value for name, entry in entries.items()}


def alter(client, topic, *configs):
    entries = [
        ConfigEntry(*config.split("=", 1), incremental_operation=AlterConfigOpType.SET)
        for config in configs
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    only(client.incremental_alter_configs([resource]))
    return {"altered": topic}


def delete(client, topic):
    only(client.delete_topics([topic]))
    return {"deleted": topic}


def offsets(client, topic, timestamp):
    special = {-1: OffsetSpec.latest, -2: OffsetSpec.earliest}
    timestamp = int(timestamp)
    spec = special[timestamp]() if timestamp in special else OffsetSpec.for_timestamp(timestamp)
    asked = {TopicPartition(topic, p): spec for p in partitions_of(client, topic)}
    found = {}
    for partition, future in client.list_offsets(asked).items():
        offset = future.result(SECONDS).offset
        found[str(partition.partition)] = None if offset < 0 else offset
    return found


def committed(client, name, topic):
    asked = ConsumerGroupTopicPartitions(
        name, [TopicPartition(topic, p) for p in partitions_of(client, topic)]
    )
    found = only(client.list_consumer_group_offsets([asked])).topic_partitions
    return {str(p.partition): p.offset for p in found if p.offset >= 0}


ADMIN = {
    "create": create,
    "describe": lambda client, topic: {"partitions": len(partitions_of(client, topic))},
    "configs": configs,
    "alter": alter,
    "delete": delete,
    "list": lambda client: {"topics": sorted(client.list_topics(timeout=SECONDS).topics)},
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
