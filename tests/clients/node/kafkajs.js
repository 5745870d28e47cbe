// kafkajs. The commands are described in ../README.md.

'use strict';

const readline = require('node:readline');
const { CompressionTypes, ConfigResourceTypes, Kafka, KafkaJSProtocolError,
  logLevel } = require('kafkajs');

const SECONDS = 30;
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
    const record = JSON.parse(line);
    const message = {
      key: fromHex(record.key),
      value: fromHex(record.value),
      headers: headersOf(record.headers),
    };
    if (record.partition !== null) message.partition = record.partition;
    if (record.timestamp !== null) message.timestamp = String(record.timestamp);
    const answers = await producer.send({ ...sending, messages: [message] });
    emit(answers.length === 0 ? {}
      : { partition: answers[0].partition, offset: Number(answers[0].baseOffset) });
  }
  await producer.disconnect();
}

// kafkajs reads only as a member of a group.
async function consume(broker, topic, count) {
  const consumer = connect(broker).consumer({ groupId: `consume-${process.pid}-${Date.now()}` });
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

async function group(broker, topic, name) {
  const consumer = connect(broker).consumer({
    groupId: name,
    sessionTimeout: 6000,
    heartbeatInterval: 500,
    rebalanceTimeout: 10000,
    maxWaitTimeInMs: 500,
  });
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
({ produce, consume, group, admin })[command](...rest).then(
  // What waits to be written to a pipe is lost at exit.
  () => process.stdout.write('', () => process.exit(0)),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
