import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.LongDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Runs the applications, kills them in the middle, and compares what they have written with what a
 * loop over the same input computes. Prints a line a test: {@code STATE NAME REASON}.
 */
final class Suite {
    private static final int PARTITIONS = 3;
    private static final int RECORDS = 2000;
    private static final int WORDS_A_LINE = 5;
    private static final Duration PATIENCE = Duration.ofSeconds(120);
    /** How long nothing more may come once everything has. */
    private static final Duration QUIET = Duration.ofSeconds(3);

    private final String broker;
    private final Path work;
    private final Path logs;
    private final Admin admin;
    /** So that a run does not see what an earlier one has left on the same broker. */
    private final String prefix = "streams-" + System.currentTimeMillis() + "-";

    /** {@code BROKER WORK-DIRECTORY LOG-DIRECTORY [TEST…]} */
    public static void main(String[] arguments) throws Exception {
        var tests = List.of(arguments).subList(3, arguments.length);
        var suite = new Suite(arguments[0], Path.of(arguments[1]), Path.of(arguments[2]));
        if (tests.isEmpty() || tests.contains("words")) {
            suite.words();
        }
        if (tests.isEmpty() || tests.contains("windows")) {
            suite.windows();
        }
        suite.admin.close();
    }

    private Suite(String broker, Path work, Path logs) {
        this.broker = broker;
        this.work = work;
        this.logs = logs;
        this.admin = Admin.create(Map.of("bootstrap.servers", broker));
    }

    /** Word count, killed in the middle and started again where it was. */
    private void words() throws Exception {
        var run = new Run("words");
        var random = new Random(1);
        var lines = new ArrayList<Input>();
        var expected = new HashMap<String, List<String>>();
        for (int i = 0; i < RECORDS; i++) {
            var words = new ArrayList<String>();
            for (int j = 0; j < WORDS_A_LINE; j++) {
                // Some words are frequent, as in language.
                var word = "word-" + (int) (40 * random.nextDouble() * random.nextDouble());
                words.add(word);
                var counts = expected.computeIfAbsent(word, any -> new ArrayList<>());
                counts.add(String.valueOf(counts.size() + 1));
            }
            lines.add(new Input("line-" + i, String.join(" ", words), null));
        }
        check("words/killed in the middle", () -> run.killedInTheMiddle(lines, false));
        check("words/each count once, in order", () -> {
            run.complete(RECORDS * WORDS_A_LINE);
            same(expected, run.written);
        });
        check("words/changelog holds the counts", () -> {
            var last = new HashMap<String, String>();
            expected.forEach((word, counts) -> last.put(word, counts.get(counts.size() - 1)));
            var held = new HashMap<String, String>();
            read(run.id + "-counts-changelog", new LongDeserializer(), 0)
                .forEach((word, counts) -> held.put(word, "" + counts.get(counts.size() - 1)));
            same(last, held);
        });
        check("words/changelog is compacted",
            () -> same("compact", config(run.id + "-counts-changelog", "cleanup.policy")));
        check("words/repartition topic is purged", () -> run.purged("-by-word-repartition"));
        check("words/ends when it is told to", run::end);
    }

    /** Windowed sums, killed in the middle and started again on another machine, so to say. */
    private void windows() throws Exception {
        var run = new Run("windows");
        var random = new Random(2);
        var readings = new ArrayList<Input>();
        var sums = new HashMap<String, Long>();
        var minute = Duration.ofMinutes(1).toMillis();
        var start = System.currentTimeMillis() / minute * minute - 30 * minute;
        for (int i = 0; i < RECORDS; i++) {
            var sensor = "sensor-" + random.nextInt(7);
            var value = random.nextInt(1000);
            // Out of order by a few minutes.
            var at = start + i * 10 * minute / RECORDS + random.nextInt((int) (3 * minute));
            sums.merge(sensor + "@" + at / minute * minute, (long) value, Long::sum);
            readings.add(new Input("reading-" + i, sensor + " " + value, at));
        }
        var expected = new HashMap<String, String>();
        sums.forEach((window, sum) -> expected.put(window, sum.toString()));
        check("windows/killed in the middle, state lost",
            () -> run.killedInTheMiddle(readings, true));
        check("windows/sums", () -> {
            run.complete(RECORDS);
            var written = new HashMap<String, String>();
            run.written.forEach((window, all) -> written.put(window, all.get(all.size() - 1)));
            same(expected, written);
        });
        check("windows/changelog is compacted and expires",
            () -> same("compact,delete", config(run.id + "-sums-changelog", "cleanup.policy")));
        check("windows/repartition topic keeps what is not purged",
            () -> same("-1", config(run.id + "-by-sensor-repartition", "retention.ms")));
        check("windows/repartition topic is purged", () -> run.purged("-by-sensor-repartition"));
        check("windows/ends when it is told to", run::end);
    }

    private record Input(String key, String value, Long timestamp) {}

    /** One application with its topics. */
    private final class Run {
        final String id;
        final String in;
        final String out;
        final String kind;
        /** What it has written so far, by key. */
        Map<String, List<String>> written = Map.of();
        private Process process;
        private int starts;

        Run(String kind) throws Exception {
            this.kind = kind;
            id = prefix + kind;
            in = id + "-in";
            out = id + "-out";
            admin.createTopics(List.of(
                new NewTopic(in, PARTITIONS, (short) 1),
                new NewTopic(out, PARTITIONS, (short) 1))).all().get(30, TimeUnit.SECONDS);
        }

        private void start() throws Exception {
            starts++;
            var log = logs.resolve(kind + "-" + starts + ".log").toFile();
            process = new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xmx256m",
                "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
                "-cp", System.getProperty("java.class.path"), "Application",
                kind, broker, id, in, out, state().toString())
                .redirectErrorStream(true).redirectOutput(log).start();
            Runtime.getRuntime().addShutdownHook(new Thread(process::destroyForcibly));
        }

        private Path state() {
            return work.resolve(kind + "-state");
        }

        /**
         * Half of the input, and a kill when a part of that is through; then the other half.
         * Without its state, all comes from the changelog, and nobody ends its transaction.
         */
        void killedInTheMiddle(List<Input> inputs, boolean loseState) throws Exception {
            var half = inputs.size() / 2;
            produce(in, inputs.subList(0, half));
            start();
            var some = read(out, new StringDeserializer(), half / 10);
            process.destroyForcibly().waitFor();
            if (some.isEmpty()) {
                throw new AssertionError("nothing was written before it was killed");
            }
            if (loseState) {
                try (var files = Files.walk(state())) {
                    files.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(File::delete);
                }
            }
            produce(in, inputs.subList(half, inputs.size()));
            start();
        }

        void complete(int records) throws Exception {
            written = read(out, new StringDeserializer(), records);
        }

        /** Streams deletes the records of a repartition topic that it has processed. */
        void purged(String topic) throws Exception {
            var deadline = System.nanoTime() + Duration.ofSeconds(20).toNanos();
            var partitions = partitions(id + topic);
            while (System.nanoTime() < deadline) {
                var earliest = new HashMap<TopicPartition, OffsetSpec>();
                partitions.forEach(each -> earliest.put(each, OffsetSpec.earliest()));
                var starts = admin.listOffsets(earliest).all().get(30, TimeUnit.SECONDS).values();
                if (starts.stream().anyMatch(each -> each.offset() > 0)) {
                    return;
                }
                Thread.sleep(500);
            }
            throw new AssertionError("all its partitions still begin at 0");
        }

        void end() throws Exception {
            if (!process.isAlive()) {
                throw new AssertionError("it has ended by itself: " + process.exitValue());
            }
            process.destroy();
            if (!process.waitFor(30, TimeUnit.SECONDS)) {
                throw new AssertionError("it is still running");
            }
        }
    }

    private void produce(String topic, List<Input> inputs) {
        var settings = Map.<String, Object>of("bootstrap.servers", broker);
        var text = new StringSerializer();
        try (var producer = new KafkaProducer<>(settings, text, text)) {
            for (var input : inputs) {
                producer.send(new ProducerRecord<>(
                    topic, null, input.timestamp, input.key, input.value));
            }
        }
    }

    private List<TopicPartition> partitions(String topic) throws Exception {
        var described = admin.describeTopics(List.of(topic)).allTopicNames()
            .get(30, TimeUnit.SECONDS).get(topic);
        return described.partitions().stream()
            .map(each -> new TopicPartition(topic, each.partition())).toList();
    }

    /** Committed values by key, in order: until there are as many as asked, and then no more. */
    private <V> Map<String, List<V>> read(String topic, Deserializer<V> values, int count)
            throws Exception {
        var settings = Map.<String, Object>of("bootstrap.servers", broker,
            "isolation.level", "read_committed", "auto.offset.reset", "earliest");
        var found = new HashMap<String, List<V>>();
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), values)) {
            consumer.assign(partitions(topic));
            var deadline = System.nanoTime() + PATIENCE.toNanos();
            var seen = 0;
            // Some are enough if it is to be killed then; all must be followed by silence.
            var partly = count > 0 && count < RECORDS;
            var quiet = System.nanoTime();
            while (true) {
                var now = System.nanoTime();
                if (seen >= count && (partly || now - quiet > QUIET.toNanos())) {
                    break;
                }
                if (now > deadline) {
                    throw new AssertionError(seen + " of " + count + " came in " + PATIENCE);
                }
                var records = consumer.poll(Duration.ofMillis(100));
                if (!records.isEmpty()) {
                    quiet = System.nanoTime();
                }
                for (var record : records) {
                    seen++;
                    found.computeIfAbsent(record.key(), any -> new ArrayList<>())
                        .add(record.value());
                }
            }
            if (!partly && count > 0 && seen != count) {
                throw new AssertionError(seen + " came instead of " + count);
            }
        }
        return found;
    }

    private String config(String topic, String name) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        return admin.describeConfigs(List.of(resource)).all().get(30, TimeUnit.SECONDS)
            .get(resource).get(name).value();
    }

    private static <V> void same(V expected, V actual) {
        if (expected.equals(actual)) {
            return;
        }
        if (expected instanceof Map<?, ?> wanted && actual instanceof Map<?, ?> found) {
            for (var key : wanted.keySet()) {
                if (!wanted.get(key).equals(found.get(key))) {
                    throw new AssertionError(key + ": " + wanted.get(key) + " is expected, not "
                        + found.get(key));
                }
            }
        }
        throw new AssertionError(expected + " is expected, not " + actual);
    }

    private interface Test {
        void run() throws Exception;
    }

    private static void check(String name, Test test) {
        var words = name.replace(' ', '-').replace(",", "");
        try {
            test.run();
            System.out.println("passed " + words);
        } catch (Exception | AssertionError error) {
            var reason = error.toString().lines().findFirst().orElse("");
            System.out.println("failed " + words + " "
                + (reason.length() > 300 ? reason.substring(0, 300) + "…" : reason));
        }
    }
}
