import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Apache Kafka's own client. The commands are described in ../README.md. */
public final class Client {
    private static final Duration PATIENCE = Duration.ofSeconds(30);
    /** At most as many records are in a transaction of `copy`. */
    private static final int TRANSACTION_MAX = 10;
    /** `copy` gives up when it has copied nothing for so long. */
    private static final Duration COPY_PATIENCE = Duration.ofSeconds(60);
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HexFormat HEX = HexFormat.of();

    public static void main(String[] arguments) throws Exception {
        List<String> rest = Arrays.asList(arguments).subList(2, arguments.length);
        switch (arguments[0]) {
            case "produce" -> produce(arguments[1], rest);
            case "consume" -> consume(arguments[1], rest.get(0), Integer.parseInt(rest.get(1)));
            case "transact" -> transact(arguments[1], rest.get(0), rest.get(1));
            case "copy" -> copy(arguments[1], rest);
            case "group" -> group(arguments[1], rest.get(0), rest.get(1),
                rest.size() > 2 ? rest.get(2) : "classic");
            case "admin" -> admin(arguments[1], rest);
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    private static void produce(String broker, List<String> arguments) throws Exception {
        Properties settings = at(broker);
        Map<String, String> names = Map.of("compression", "compression.type",
            "idempotent", "enable.idempotence", "acks", "acks");
        pairs(arguments.subList(1, arguments.size()))
            .forEach((name, value) -> settings.put(names.get(name), value));
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(settings)) {
            BufferedReader input = input();
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                sent.add(producer.send(record(arguments.get(0), JSON.readTree(line))));
            }
            for (Future<RecordMetadata> future : sent) {
                RecordMetadata answer = wait(future);
                emit(object().put("partition", answer.partition()).put("offset", answer.offset()));
            }
        }
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, JsonNode json) {
        JsonNode partition = json.get("partition");
        JsonNode timestamp = json.get("timestamp");
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic,
            partition.isNull() ? null : partition.intValue(),
            timestamp.isNull() ? null : timestamp.longValue(),
            fromHex(json.get("key")), fromHex(json.get("value")));
        for (JsonNode header : json.get("headers")) {
            record.headers().add(header.get(0).textValue(), fromHex(header.get(1)));
        }
        return record;
    }

    private static void transact(String broker, String topic, String id) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = transactional(broker, id)) {
            BufferedReader input = input();
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                JsonNode transaction = JSON.readTree(line);
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                producer.beginTransaction();
                for (JsonNode record : transaction.get("records")) {
                    sent.add(producer.send(record(topic, record)));
                }
                for (Future<RecordMetadata> future : sent) {
                    wait(future);
                }
                if (transaction.get("end").textValue().equals("commit")) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
                emit(object().set("ended", transaction.get("end")));
            }
        }
    }

    private static void copy(String broker, List<String> arguments) {
        String from = arguments.get(0);
        String to = arguments.get(1);
        String id = arguments.get(3);
        int wanted = Integer.parseInt(arguments.get(4));
        Properties settings = member(broker, arguments.get(2));
        settings.put("max.poll.records", TRANSACTION_MAX);
        KafkaProducer<byte[], byte[]> producer = transactional(broker, id);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(settings)) {
            consumer.subscribe(List.of(from));
            long late = System.nanoTime() + COPY_PATIENCE.toNanos();
            while (wanted > 0) {
                List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
                Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    if (records.size() < wanted) {
                        records.add(record);
                        offsets.put(new TopicPartition(from, record.partition()),
                            new OffsetAndMetadata(record.offset() + 1));
                    }
                }
                if (records.isEmpty()) {
                    if (System.nanoTime() > late) {
                        throw new IllegalStateException("no record came");
                    }
                    continue;
                }
                try {
                    producer.beginTransaction();
                    for (ConsumerRecord<byte[], byte[]> record : records) {
                        producer.send(new ProducerRecord<>(to, record.key(), record.value()));
                    }
                    producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
                    producer.commitTransaction();
                } catch (KafkaException error) {
                    boolean aborted = true;
                    try {
                        producer.abortTransaction();
                    } catch (KafkaException fatal) {
                        producer.close(Duration.ZERO);
                        producer = transactional(broker, id);
                        aborted = false;
                    }
                    if (!wasCommitted(consumer, offsets) || aborted) {
                        continue;
                    }
                }
                wanted -= records.size();
                emit(object().put("copied", records.size()));
                late = System.nanoTime() + COPY_PATIENCE.toNanos();
            }
        }
        producer.close();
    }

    /** Whether the group is there. If not, the consumer goes back to where it is. */
    private static boolean wasCommitted(KafkaConsumer<byte[], byte[]> consumer,
            Map<TopicPartition, OffsetAndMetadata> offsets) {
        Map<TopicPartition, OffsetAndMetadata> found = consumer.committed(offsets.keySet());
        if (offsets.entrySet().stream().allMatch(entry -> found.get(entry.getKey()) != null
                && found.get(entry.getKey()).offset() >= entry.getValue().offset())) {
            return true;
        }
        for (TopicPartition partition : offsets.keySet()) {
            if (!consumer.assignment().contains(partition)) {
                continue;
            }
            if (found.get(partition) == null) {
                consumer.seekToBeginning(List.of(partition));
            } else {
                consumer.seek(partition, found.get(partition));
            }
        }
        return false;
    }

    private static KafkaProducer<byte[], byte[]> transactional(String broker, String id) {
        Properties settings = at(broker);
        settings.put("transactional.id", id);
        KafkaProducer<byte[], byte[]> producer = producer(settings);
        producer.initTransactions();
        return producer;
    }

    private static void consume(String broker, String topic, int count) {
        Properties settings = at(broker);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(settings)) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                .map(info -> new TopicPartition(topic, info.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            int wanted = count;
            long late = System.nanoTime() + PATIENCE.toNanos();
            while (wanted > 0) {
                // Also empty, and at once, after records that are not committed.
                var records = consumer.poll(PATIENCE);
                if (!records.isEmpty()) {
                    late = System.nanoTime() + PATIENCE.toNanos();
                } else if (System.nanoTime() > late) {
                    throw new IllegalStateException("no record came");
                }
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    if (wanted > 0) {
                        emit(described(record));
                    }
                    wanted--;
                }
            }
        }
    }

    private static void group(String broker, String topic, String group, String protocol) {
        ConcurrentLinkedQueue<String> commands = new ConcurrentLinkedQueue<>();
        Thread reader = new Thread(() -> {
            input().lines().forEach(commands::add);
            commands.add("close");
        });
        reader.setDaemon(true);
        reader.start();
        Map<Integer, Long> positions = new TreeMap<>();
        Properties settings = member(broker, group);
        settings.put("group.protocol", protocol);
        if ("consumer".equals(protocol)) {
            // The broker's.
            settings.keySet().removeAll(List.of("session.timeout.ms", "heartbeat.interval.ms"));
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(settings)) {
            Assignments assignments = new Assignments(positions, new TreeSet<>());
            consumer.subscribe(List.of(topic), assignments);
            while (true) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    positions.put(record.partition(), record.offset() + 1);
                    emit(object().set("record", described(record)));
                }
                String command = commands.poll();
                if ("commit".equals(command)) {
                    consumer.commitSync(positions.entrySet().stream().collect(Collectors.toMap(
                        entry -> new TopicPartition(topic, entry.getKey()),
                        entry -> new OffsetAndMetadata(entry.getValue()))));
                    emit(object().set("committed", JSON.valueToTree(positions)));
                } else if ("close".equals(command)) {
                    break;
                }
            }
        }
        emit(object().put("closed", true));
    }

    /** In a consumer group only what is new, or gone, is told. */
    private record Assignments(Map<Integer, Long> positions, Set<Integer> held)
            implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            partitions.forEach(partition -> held.remove(partition.partition()));
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            partitions.forEach(partition -> held.add(partition.partition()));
            positions.keySet().retainAll(held);
            emit(object().set("assigned", JSON.valueToTree(held)));
        }
    }

    private static void admin(String broker, List<String> arguments) throws Exception {
        String command = arguments.get(0);
        try (Admin admin = Admin.create(at(broker))) {
            emit(answer(admin, command, arguments.subList(1, arguments.size())));
        } catch (ExecutionException error) {
            if (!(error.getCause() instanceof ApiException cause)) {
                throw error;
            }
            emit(object().put("error", Errors.forException(cause).code()));
        }
    }

    private static JsonNode answer(Admin admin, String command, List<String> arguments)
            throws Exception {
        String first = arguments.isEmpty() ? "" : arguments.get(0);
        List<String> rest = arguments.isEmpty() ? arguments : arguments.subList(1, arguments.size());
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, first);
        switch (command) {
            case "create": {
                NewTopic created = new NewTopic(first, Integer.parseInt(rest.get(0)), (short) 1);
                created.configs(pairs(rest.subList(1, rest.size())));
                wait(admin.createTopics(List.of(created)).all());
                return object().put("created", first);
            }
            case "describe":
                return object().put("partitions", partitions(admin, first).size());
            case "configs": {
                ObjectNode found = object();
                wait(admin.describeConfigs(List.of(topic)).all()).get(topic).entries()
                    .forEach(entry -> found.put(entry.name(), entry.value()));
                return found;
            }
            case "alter": {
                List<AlterConfigOp> changes = pairs(rest).entrySet().stream()
                    .map(entry -> new ConfigEntry(entry.getKey(), entry.getValue()))
                    .map(entry -> new AlterConfigOp(entry, AlterConfigOp.OpType.SET)).toList();
                wait(admin.incrementalAlterConfigs(Map.of(topic, changes)).all());
                return object().put("altered", first);
            }
            case "delete":
                wait(admin.deleteTopics(List.of(first)).all());
                return object().put("deleted", first);
            case "list":
                return object().set("topics",
                    JSON.valueToTree(new TreeSet<>(wait(admin.listTopics().names()))));
            case "offsets":
                return offsets(admin, partitions(admin, first), Long.parseLong(rest.get(0)));
            case "committed": {
                ObjectNode found = object();
                wait(admin.listConsumerGroupOffsets(first).partitionsToOffsetAndMetadata())
                    .forEach((partition, next) -> {
                        if (partition.topic().equals(rest.get(0))) {
                            found.put(String.valueOf(partition.partition()), next.offset());
                        }
                    });
                return found;
            }
            default:
                throw new IllegalArgumentException(command);
        }
    }

    private static JsonNode offsets(Admin admin, List<TopicPartition> partitions, long timestamp)
            throws Exception {
        OffsetSpec spec = timestamp == -1 ? OffsetSpec.latest()
            : timestamp == -2 ? OffsetSpec.earliest() : OffsetSpec.forTimestamp(timestamp);
        ObjectNode found = object();
        wait(admin.listOffsets(partitions.stream()
            .collect(Collectors.toMap(Function.identity(), partition -> spec))).all())
            .forEach((partition, answer) -> found.put(String.valueOf(partition.partition()),
                answer.offset() < 0 ? null : Long.valueOf(answer.offset())));
        return found;
    }

    private static List<TopicPartition> partitions(Admin admin, String topic) throws Exception {
        return wait(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions()
            .stream().map(info -> new TopicPartition(topic, info.partition())).toList();
    }

    private static Properties at(String broker) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", broker);
        return settings;
    }

    private static KafkaProducer<byte[], byte[]> producer(Properties settings) {
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static Properties member(String broker, String group) {
        Properties settings = at(broker);
        settings.putAll(Map.of("group.id", group, "auto.offset.reset", "earliest",
            "enable.auto.commit", "false", "session.timeout.ms", "6000",
            "heartbeat.interval.ms", "500"));
        return settings;
    }

    private static KafkaConsumer<byte[], byte[]> consumer(Properties settings) {
        settings.put("isolation.level", "read_committed");
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(),
            new ByteArrayDeserializer());
    }

    private static JsonNode described(ConsumerRecord<byte[], byte[]> record) {
        ArrayNode headers = JSON.createArrayNode();
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(toHex(header.value()));
        }
        return object().put("partition", record.partition()).put("offset", record.offset())
            .put("key", toHex(record.key())).put("value", toHex(record.value()))
            .put("timestamp", record.timestamp()).set("headers", headers);
    }

    private static <T> T wait(Future<T> future)
            throws ExecutionException, InterruptedException, TimeoutException {
        return future.get(PATIENCE.toSeconds(), TimeUnit.SECONDS);
    }

    private static Map<String, String> pairs(List<String> texts) {
        Map<String, String> pairs = new TreeMap<>();
        for (String text : texts) {
            int at = text.indexOf('=');
            pairs.put(text.substring(0, at), text.substring(at + 1));
        }
        return pairs;
    }

    private static byte[] fromHex(JsonNode text) {
        return text.isNull() ? null : HEX.parseHex(text.textValue());
    }

    private static String toHex(byte[] bytes) {
        return bytes == null ? null : HEX.formatHex(bytes);
    }

    private static ObjectNode object() {
        return JSON.createObjectNode();
    }

    private static BufferedReader input() {
        return new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    }

    private static synchronized void emit(JsonNode json) {
        System.out.println(json);
    }
}
