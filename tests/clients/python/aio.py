"""aiokafka. The commands are described in ../README.md."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import BrokerResponseError, KafkaError, for_code

from wire import (
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


async def produce(broker, topic, *options):
    producer = AIOKafkaProducer(bootstrap_servers=broker, **producer_settings(options))
    await producer.start()
    sent = [await send(producer, topic, record) for record in read_records()]
    for future in sent:
        answer = await asyncio.wait_for(future, SECONDS)
        # With acks=0 there is no answer.
        emit({"partition": answer.partition, "offset": answer.offset} if answer else {})
    await producer.stop()


def send(producer, topic, record):
    return producer.send(
        topic,
        key=record["key"],
        value=record["value"],
        headers=record["headers"],
        partition=record["partition"],
        timestamp_ms=record["timestamp"],
    )


async def transactional(broker, name):
    while True:
        producer = AIOKafkaProducer(bootstrap_servers=broker, transactional_id=name)
        try:
            await producer.start()
            return producer
        except KafkaError:
            await producer.stop()
            await asyncio.sleep(0.2)


async def transact(broker, topic, name):
    producer = await asyncio.wait_for(transactional(broker, name), SECONDS)
    for records, end in read_transactions():
        await producer.begin_transaction()
        for future in [await send(producer, topic, record) for record in records]:
            await asyncio.wait_for(future, SECONDS)
        if end == "commit":
            await producer.commit_transaction()
        else:
            await producer.abort_transaction()
        emit({"ended": end})
    await producer.stop()


class Transactions(ConsumerRebalanceListener):
    """Rebalances wait for transactions: otherwise they take the offsets from before."""

    def __init__(self):
        self.running = asyncio.Lock()

    async def on_partitions_revoked(self, revoked):
        async with self.running:
            pass

    async def on_partitions_assigned(self, assigned):
        pass


async def copy(broker, source, target, group, name, count):
    be_patient()
    producer = await transactional(broker, name)
    consumer = member(broker, group)
    transactions = Transactions()
    consumer.subscribe([source], listener=transactions)
    await consumer.start()
    wanted = int(count)
    while wanted > 0:
        most = min(TRANSACTION_MAX, wanted)
        polled = await consumer.getmany(timeout_ms=1000, max_records=most)
        records = [record for each in polled.values() for record in each]
        if not records:
            continue
        ends = {partition: each[-1].offset + 1 for partition, each in polled.items()}
        async with transactions.running:
            try:
                # Aborts after an error, unless the producer is of no use any more.
                async with producer.transaction():
                    sent = [
                        await producer.send(target, key=record.key, value=record.value)
                        for record in records
                    ]
                    for future in sent:
                        await future
                    await producer.send_offsets_to_transaction(ends, group)
            except KafkaError:
                # Which of both it was cannot be asked.
                await producer.stop()
                producer = await transactional(broker, name)
                if not await was_committed(consumer, ends):
                    continue
        wanted -= len(records)
        emit({"copied": len(records)})
        be_patient()
    await consumer.stop()
    await producer.stop()


async def was_committed(consumer, ends):
    """Whether the group is there. If not, the consumer goes back to where it is."""
    found = {partition: await consumer.committed(partition) for partition in ends}
    if all((found[partition] or 0) >= end for partition, end in ends.items()):
        return True
    for partition in found.keys() & consumer.assignment():
        if found[partition] is None:
            await consumer.seek_to_beginning(partition)
        else:
            consumer.seek(partition, found[partition])
    return False


def described(record):
    return {
        "partition": record.partition,
        "offset": record.offset,
        "key": to_hex(record.key),
        "value": to_hex(record.value),
        "timestamp": record.timestamp,
        "headers": [[name, to_hex(value)] for name, value in record.headers],
    }


async def partitions_of(consumer, topic):
    metadata = await consumer._client.fetch_all_metadata()
    return [TopicPartition(topic, p) for p in sorted(metadata.partitions_for_topic(topic))]


async def consume(broker, topic, count):
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker, group_id=None, isolation_level="read_committed"
    )
    await consumer.start()
    partitions = await partitions_of(consumer, topic)
    consumer.assign(partitions)
    await consumer.seek_to_beginning(*partitions)
    for _ in range(int(count)):
        record = await asyncio.wait_for(consumer.getone(), SECONDS)
        emit(described(record))
    await consumer.stop()


class Assignments(ConsumerRebalanceListener):
    def __init__(self, positions):
        self.positions = positions

    async def on_partitions_revoked(self, revoked):
        pass

    async def on_partitions_assigned(self, assigned):
        assign(self.positions, [partition.partition for partition in assigned])


def member(broker, group):
    return AIOKafkaConsumer(
        bootstrap_servers=broker,
        group_id=group,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
    )


async def group(broker, topic, name):
    consumer = member(broker, name)
    positions = {}
    consumer.subscribe([topic], listener=Assignments(positions))
    await consumer.start()
    commands = Commands()
    while True:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            for record in records:
                positions[record.partition] = record.offset + 1
                emit({"record": described(record)})
        command = commands.next()
        if command == "commit":
            await consumer.commit({TopicPartition(topic, p): n for p, n in positions.items()})
            emit({"committed": {str(p): next for p, next in positions.items()}})
        elif command == "close":
            await consumer.stop()
            emit({"closed": True})
            return


async def admin(broker, command, *arguments):
    client = AIOKafkaAdminClient(bootstrap_servers=broker)
    await client.start()
    try:
        emit(await ADMIN[command](client, *arguments))
    except BrokerResponseError as error:
        emit({"error": error.errno})
    await client.close()


def check(code):
    if code != 0:
        raise for_code(code)()


async def create(client, topic, partitions, *configs):
    config = dict(config.split("=", 1) for config in configs)
    answer = await client.create_topics([NewTopic(topic, int(partitions), 1, topic_configs=config)])
    check(answer.topic_errors[0][1])
    return {"created": topic}


async def describe(client, topic):
    (found,) = await client.describe_topics([topic])
    check(found["error_code"])
    return {"partitions": len(found["partitions"])}


async def configs(client, topic):
    (answer,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    code, _, _, _, entries = answer.resources[0]
    check(code)
    return {entry[0]: entry[1] for entry in entries}


async def alter(client, topic, *configs):
    config = dict(config.split("=", 1) for config in configs)
    (answer,) = await client.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic, config)]
    )
    check(answer.resources[0][0])
    return {"altered": topic}


async def delete(client, topic):
    answer = await client.delete_topics([topic])
    check(answer.topic_error_codes[0][1])
    return {"deleted": topic}


async def listed(client):
    return {"topics": sorted(await client.list_topics())}


async def offsets(client, topic, timestamp):
    consumer = AIOKafkaConsumer(bootstrap_servers=client._client._bootstrap_servers)
    await consumer.start()
    partitions = await partitions_of(consumer, topic)
    timestamp = int(timestamp)
    if timestamp == -1:
        found = await consumer.end_offsets(partitions)
    elif timestamp == -2:
        found = await consumer.beginning_offsets(partitions)
    else:
        found = await consumer.offsets_for_times({p: timestamp for p in partitions})
        found = {p: answer and answer.offset for p, answer in found.items()}
    await consumer.stop()
    return {str(p.partition): offset for p, offset in found.items()}


async def committed(client, name, topic):
    found = await client.list_consumer_group_offsets(name)
    return {str(p.partition): a.offset for p, a in found.items() if p.topic == topic}


ADMIN = {
    "create": create,
    "describe": describe,
    "configs": configs,
    "alter": alter,
    "delete": delete,
    "list": listed,
    "offsets": offsets,
    "committed": committed,
}


def within_loop(command):
    return lambda *arguments: asyncio.run(command(*arguments))


if __name__ == "__main__":
    run(
        sys.argv,
        produce=within_loop(produce),
        consume=within_loop(consume),
        transact=within_loop(transact),
        copy=within_loop(copy),
        group=within_loop(group),
        admin=within_loop(admin),
    )
