// kafkajs. The commands are described in ../README.md.

'use strict';

const readline = require('node:readline');
const { setTimeout: sleep } = require('node:timers/promises');
const { CompressionTypes, ConfigResourceTypes, Kafka, KafkaJSProtocolError,
  logLevel } = require('kafkajs');

const SECONDS = 30;
// At most as many records are in a transaction of `copy`.
const TRANSACTION_MAX = 10;
// `copy` gives up when it has copied nothing for so long.
const PATIENCE = 60;
const MEMBER = {
  sessionTimeout: 6000,
  heartbeatInterval: 500,
  rebalanceTimeout: 10000,
  maxWaitTimeInMs: 500,
  readUncommitted: false,
};
const toHex = (bytes) => (bytes === null || bytes === undefined ? null : bytes.toString('hex'));
const fromHex = (text) => (text === null ? null : Buffer.from(text, 'hex'));
const emit = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const connect = (broker) =>
  new Kafka({ clientId: 'kafkajs', brokers: [broker], logLevel: logLevel.NOTHING });

// kafkajs keeps several headers of one name as an array.
function headersOf(pairs) {
  const headers = {};
  for (const [name, value] of pairs) {
    const bytes = fromHex(value);
    if (name in headers) headers[name] = [].concat(headers[name], bytes);
    else headers[name] = bytes;
  }
  return headers;
}

function described(partition, message) {
  const headers = Object.entries(message.headers ?? {}).flatMap(([name, values]) =>
    [].concat(values).map((value) => [name, toHex(value)]));
  return {
    partition,
    offset: Number(message.offset),
    key: toHex(message.key),
    value: toHex(message.value),
    timestamp: Number(message.timestamp),
    headers,
  };
}

function messageOf(record) {
  const message = {
    key: fromHex(record.key),
    value: fromHex(record.value),
    headers: headersOf(record.headers),
  };
  if (record.partition !== null) message.partition = record.partition;
  if (record.timestamp !== null) message.timestamp = String(record.timestamp);
  return message;
}

async function produce(broker, topic, ...options) {
  const settings = {};
  const sending = { topic };
  for (const [name, value] of options.map((option) => option.split('='))) {
    if (name === 'compression') sending.compression = CompressionTypes[value.toUpperCase()];
    else if (name === 'idempotent') settings.idempotent = value === 'true';
    else sending.acks = value === 'all' ? -1 : Number(value);
  }
  const producer = connect(broker).producer(settings);
  await producer.connect();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const messages = [messageOf(JSON.parse(line))];
    const answers = await producer.send({ ...sending, messages });
    emit(answers.length === 0 ? {}
      : { partition: answers[0].partition, offset: Number(answers[0].baseOffset) });
  }
  await producer.disconnect();
}

// kafkajs reads only as a member of a group.
async function consume(broker, topic, count) {
  const consumer = connect(broker).consumer({
    groupId: `consume-${process.pid}-${Date.now()}`,
    readUncommitted: false,
  });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  let wanted = Number(count);
  await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('no record came')), SECONDS * 1000);
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
    consumer.run({
      eachMessage: async ({ partition, message }) => {
        if (wanted > 0) emit(described(partition, message));
        wanted -= 1;
        if (wanted === 0) {
          clearTimeout(late);
          resolve();
        }
      },
    }).catch(reject);
  });
  await consumer.disconnect();
}

async function transactional(broker, transactionalId) {
  const settings = { transactionalId, idempotent: true, maxInFlightRequests: 1 };
  const producer = connect(broker).producer(settings);
  await producer.connect();
  // It is initialized with its first transaction.
  await (await producer.transaction()).abort();
  return producer;
}

async function transact(broker, topic, id) {
  const producer = await transactional(broker, id);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { records, end } = JSON.parse(line);
    const transaction = await producer.transaction();
    await transaction.send({ topic, messages: records.map(messageOf) });
    await transaction[end]();
    emit({ ended: end });
  }
  await producer.disconnect();
}

async function copy(broker, from, to, groupId, id, count) {
  let producer = await transactional(broker, id);
  const client = connect(broker).admin();
  await client.connect();
  const consumer = connect(broker).consumer({ ...MEMBER, groupId });
  await consumer.connect();
  await consumer.subscribe({ topic: from, fromBeginning: true });

  async function attempt(partition, messages, offset) {
    const transaction = await producer.transaction();
    await transaction.send({ topic: to, messages });
    const topics = [{ topic: from, partitions: [{ partition, offset }] }];
    await transaction.sendOffsets({ consumerGroupId: groupId, topics });
    await transaction.commit();
  }

  // A new producer aborts what the one before has left open. Whether the group is at the offset.
  async function wasCommitted(partition, offset) {
    producer.disconnect().catch(() => {});
    for (;;) {
      try {
        producer = await transactional(broker, id);
        const committed = await ADMIN.committed(client, groupId, from);
        return committed[partition] >= Number(offset);
      } catch {
        await sleep(200);
      }
    }
  }

  let wanted = Number(count);
  await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error('nothing was copied')), PATIENCE * 1000);
    consumer.on(consumer.events.CRASH, ({ payload }) => payload.restart || reject(payload.error));
    consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: async ({ batch, resolveOffset, heartbeat }) => {
        let at = 0;
        while (wanted > 0 && at < batch.messages.length) {
          const records = batch.messages.slice(at, at + Math.min(TRANSACTION_MAX, wanted));
          const messages = records.map(({ key, value }) => ({ key, value }));
          const last = records.at(-1).offset;
          const next = String(Number(last) + 1);
          try {
            await attempt(batch.partition, messages, next);
          } catch {
            if (!await wasCommitted(batch.partition, next)) continue;
          }
          resolveOffset(last);
          at += records.length;
          wanted -= records.length;
          emit({ copied: records.length });
          late.refresh();
          if (wanted === 0) resolve();
          else await heartbeat();
        }
      },
    }).catch(reject);
  });
  await consumer.disconnect();
  await client.disconnect();
  await producer.disconnect();
}

async function group(broker, topic, name) {
  const consumer = connect(broker).consumer({ ...MEMBER, groupId: name });
  const positions = {};
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    const assigned = (payload.memberAssignment[topic] ?? []).sort((a, b) => a - b);
    Object.keys(positions).filter((partition) => !assigned.includes(Number(partition)))
      .forEach((partition) => delete positions[partition]);
    emit({ assigned });
  });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      positions[partition] = Number(message.offset) + 1;
      emit({ record: described(partition, message) });
    },
  });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (line === 'close') break;
    const committing = Object.entries(positions);
    await consumer.commitOffsets(committing.map(([partition, next]) =>
      ({ topic, partition: Number(partition), offset: String(next) })));
    emit({ committed: Object.fromEntries(committing) });
  }
  await consumer.disconnect();
  emit({ closed: true });
}

function pairs(configs) {
  return configs.map((config) => {
    const at = config.indexOf('=');
    return { name: config.slice(0, at), value: config.slice(at + 1) };
  });
}

const onTopic = (topic) => ({ type: ConfigResourceTypes.TOPIC, name: topic });
const byPartition = (found, offset) =>
  Object.fromEntries(found.map((each) => [each.partition, offset(each)]));

const ADMIN = {
  async create(client, topic, partitions, ...configs) {
    const spec = { topic, numPartitions: Number(partitions), replicationFactor: 1 };
    const created = await client.createTopics({
      topics: [{ ...spec, configEntries: pairs(configs) }],
    });
    return created ? { created: topic } : { error: 36 };
  },
  async describe(client, topic) {
    const { topics } = await client.fetchTopicMetadata({ topics: [topic] });
    return { partitions: topics[0].partitions.length };
  },
  async configs(client, topic) {
    const { resources } =
      await client.describeConfigs({ includeSynonyms: false, resources: [onTopic(topic)] });
    return Object.fromEntries(resources[0].configEntries.map((entry) =>
      [entry.configName, entry.configValue]));
  },
  async alter(client, topic, ...configs) {
    const resources = [{ ...onTopic(topic), configEntries: pairs(configs) }];
    await client.alterConfigs({ validateOnly: false, resources });
    return { altered: topic };
  },
  async delete(client, topic) {
    await client.deleteTopics({ topics: [topic] });
    return { deleted: topic };
  },
  async list(client) {
    return { topics: (await client.listTopics()).sort() };
  },
  async offsets(client, topic, timestamp) {
    if (timestamp === '-1' || timestamp === '-2') {
      const found = await client.fetchTopicOffsets(topic);
      return byPartition(found, ({ low, high }) => Number(timestamp === '-1' ? high : low));
    }
    const found = await client.fetchTopicOffsetsByTimestamp(topic, Number(timestamp));
    return byPartition(found, ({ offset }) => (offset === '-1' ? null : Number(offset)));
  },
  async committed(client, name, topic) {
    const [found] = await client.fetchOffsets({ groupId: name, topics: [topic] });
    const known = found.partitions.filter(({ offset }) => offset !== '-1');
    return byPartition(known, ({ offset }) => Number(offset));
  },
};

async function admin(broker, command, ...rest) {
  const client = connect(broker).admin({ retry: { retries: 2 } });
  await client.connect();
  try {
    emit(await ADMIN[command](client, ...rest));
  } catch (error) {
    const inner = error.errors?.[0] ?? error;
    const protocol = inner instanceof KafkaJSProtocolError ? inner : inner.cause;
    if (!(protocol instanceof KafkaJSProtocolError)) throw error;
    emit({ error: protocol.code });
  }
  await client.disconnect();
}

const [command, ...rest] = process.argv.slice(2);
({ produce, consume, transact, copy, group, admin })[command](...rest).then(
  // What waits to be written to a pipe is lost at exit.
  () => process.stdout.write('', () => process.exit(0)),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
