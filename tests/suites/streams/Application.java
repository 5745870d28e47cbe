import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.WindowStore;

/** The applications under test. One runs until its process is killed. */
final class Application {
    /** Long enough that no record of the test comes too late. */
    private static final Duration GRACE = Duration.ofDays(1);

    /** {@code words|windows BROKER ID IN OUT STATE-DIRECTORY} */
    public static void main(String[] arguments) throws InterruptedException {
        var topology = arguments[0].equals("words")
            ? words(arguments[3], arguments[4])
            : windows(arguments[3], arguments[4]);
        var settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[1]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[2]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[5]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        // Every update is written, so that one too many or too few is seen.
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        settings.put(StreamsConfig.REPARTITION_PURGE_INTERVAL_MS_CONFIG, 1000);
        // The killed one's place in the group is free soon, and its transaction does not last.
        settings.put(StreamsConfig.mainConsumerPrefix("session.timeout.ms"), 6000);
        settings.put(StreamsConfig.mainConsumerPrefix("heartbeat.interval.ms"), 1500);
        settings.put(StreamsConfig.producerPrefix("transaction.timeout.ms"), 6000);
        var streams = new KafkaStreams(topology, settings);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(1);
            return null;
        });
        streams.start();
        new CountDownLatch(1).await();
    }

    /** How often has each word been seen? A repartition topic, and a store with a changelog. */
    private static Topology words(String in, String out) {
        var text = Serdes.String();
        var builder = new StreamsBuilder();
        builder.stream(in, Consumed.with(text, text))
            .flatMapValues(line -> List.of(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with("by-word", text, text))
            .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts")
                .withKeySerde(text).withValueSerde(Serdes.Long()))
            .toStream()
            .mapValues(String::valueOf)
            .to(out, Produced.with(text, text));
        return builder.build();
    }

    /** The sum of each sensor's readings in each minute. */
    private static Topology windows(String in, String out) {
        var text = Serdes.String();
        var number = Serdes.Long();
        var builder = new StreamsBuilder();
        builder.stream(in, Consumed.with(text, text))
            .selectKey((key, reading) -> reading.split(" ")[0])
            .mapValues(reading -> Long.parseLong(reading.split(" ")[1]))
            .groupByKey(Grouped.with("by-sensor", text, number))
            .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMinutes(1), GRACE))
            .aggregate(() -> 0L, (sensor, value, sum) -> sum + value,
                Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("sums")
                    .withKeySerde(text).withValueSerde(number).withRetention(GRACE.multipliedBy(2)))
            .toStream((window, sum) -> window.key() + "@" + window.window().start())
            .mapValues(String::valueOf)
            .to(out, Produced.with(text, text));
        return builder.build();
    }
}
