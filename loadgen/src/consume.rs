//! Reading a topic from its beginning.

use crate::args::{ConsumeArgs, Driver};
use crate::error::Error;
use crate::ingest::{SAMPLE, runtime};
use crate::measure::{Meter, Sums};
use crate::progress::Progress;
use crate::report::{Report, Watch};
use crate::topic;
use anabranch_client::{Client, ConsumeFrom, ConsumerConfig, OffsetAt};
use anabranch_types::{Offset, PartitionIndex};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset as RdOffset, TopicPartitionList};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Messages between two counts.
const MESSAGES_PER_COUNT: u64 = 1_000;

type Part = (PartitionIndex, Offset);

pub(crate) fn run(args: &ConsumeArgs) -> Result<Report, Error> {
    if args.consumers == 0 {
        return Err(Error::Usage("--consumers is at least 1".to_owned()));
    }
    let runtime = runtime(if args.consumers == 1 { 1 } else { 2 })?;
    let client = runtime.block_on(topic::client(&args.topic))?;
    let (parts, there) = runtime.block_on(extent(&client, &args.topic.topic))?;
    let wanted = args.events.unwrap_or(there);
    if wanted == 0 {
        return Err(Error::Usage(format!("topic {} is empty", args.topic.topic)));
    }
    let progress = Progress::start("consume", args.output.quiet);
    let counts = Arc::new(Counts {
        meter: Meter::new(Instant::now(), args.consumers),
        bytes: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let mut watch = Watch::start(args.output.server_pid)?;
    let mut sums = Sums::start(&counts.meter);
    let threads = start(args, &runtime, &client, &parts, &counts)?;
    let deadline = Instant::now() + Duration::from_secs_f64(args.duration);
    while sums.events < wanted && Instant::now() < deadline && counts.meter.failures().0 == 0 {
        std::thread::sleep(SAMPLE / 10);
        let sample = sums.tick(&counts.meter);
        watch.look()?;
        progress.show(&sample, sums.events);
    }
    watch.stop()?;
    counts.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("a consumer does not panic");
    }
    drop(progress);
    let bytes = counts.bytes.load(Ordering::Relaxed);
    let size = bytes / sums.events.max(1);
    let settings = serde_json::json!({
        "topic": args.topic.topic, "driver": args.driver, "consumers": args.consumers,
        "wanted": wanted, "value_bytes": size,
    });
    Ok(Report::of("consume", settings, &sums, &watch, &counts.meter, size as usize))
}

struct Counts {
    meter: Meter,
    bytes: AtomicU64,
    stop: AtomicBool,
}

/// Where each partition begins, and how many offsets there are in all.
async fn extent(client: &Client, topic: &str) -> Result<(Vec<Part>, u64), Error> {
    let admin = client.admin();
    let begin = admin.offsets(topic, OffsetAt::Beginning).await?;
    let end = admin.offsets(topic, OffsetAt::End).await?;
    let mut there = 0;
    let mut parts = Vec::new();
    for ((partition, begin), (_, end)) in begin.into_iter().zip(end) {
        let (begin, end) = (begin.unwrap_or_default(), end.unwrap_or_default());
        there += u64::try_from(end.0 - begin.0).unwrap_or(0);
        parts.push((partition, begin));
    }
    Ok((parts, there))
}

fn start(
    args: &ConsumeArgs,
    runtime: &Runtime,
    client: &Client,
    parts: &[Part],
    counts: &Arc<Counts>,
) -> Result<Vec<std::thread::JoinHandle<()>>, Error> {
    let mut threads = Vec::new();
    for shard in 0..args.consumers {
        let mine: Vec<Part> = parts.iter().skip(shard).step_by(args.consumers).copied().collect();
        if mine.is_empty() {
            continue;
        }
        let counts = Arc::clone(counts);
        match args.driver {
            Driver::Native => {
                let (client, topic) = (client.clone(), args.topic.topic.clone());
                runtime.spawn(async move {
                    if let Err(error) = consume_native(&client, &topic, mine, shard, &counts).await
                    {
                        counts.meter.failed(1, || error.to_string());
                    }
                });
            }
            Driver::Librdkafka => {
                let consumer = librdkafka(args, &mine)?;
                let thread = std::thread::Builder::new().name(format!("consume-{shard}"));
                threads.push(thread.spawn(move || consume_librdkafka(&consumer, shard, &counts))?);
            }
        }
    }
    Ok(threads)
}

async fn consume_native(
    client: &Client,
    topic: &str,
    parts: Vec<Part>,
    shard: usize,
    counts: &Counts,
) -> Result<(), Error> {
    let config = ConsumerConfig { from: ConsumeFrom::Offsets(parts), ..ConsumerConfig::default() };
    let mut consumer = client.consumer(topic, config).await?;
    let mut scratch = Vec::new();
    while !counts.stop.load(Ordering::Relaxed) {
        let fetched = consumer.next().await?;
        let (mut events, mut bytes) = (0, 0);
        fetched.for_each(&mut scratch, |record| {
            events += 1;
            bytes += record.value.map_or(0, <[u8]>::len) as u64;
        })?;
        counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        counts.meter.counted(shard, events);
    }
    Ok(())
}

fn librdkafka(args: &ConsumeArgs, parts: &[Part]) -> Result<BaseConsumer, Error> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &args.topic.bootstrap)
        .set("client.id", "anabranch-loadgen")
        .set("group.id", "anabranch-loadgen")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    for (partition, offset) in parts {
        let offset = RdOffset::Offset(offset.0);
        assignment.add_partition_offset(&args.topic.topic, partition.0, offset)?;
    }
    consumer.assign(&assignment)?;
    Ok(consumer)
}

fn consume_librdkafka(consumer: &BaseConsumer, shard: usize, counts: &Counts) {
    let (mut events, mut bytes) = (0, 0);
    while !counts.stop.load(Ordering::Relaxed) {
        let polled = consumer.poll(Duration::from_millis(50));
        let idle = polled.is_none();
        match polled {
            None => {}
            Some(Ok(message)) => {
                events += 1;
                bytes += message.payload_len() as u64;
            }
            Some(Err(error)) => return counts.meter.failed(1, || error.to_string()),
        }
        if idle || events >= MESSAGES_PER_COUNT {
            counts.bytes.fetch_add(std::mem::take(&mut bytes), Ordering::Relaxed);
            counts.meter.counted(shard, std::mem::take(&mut events));
        }
    }
}
