//! Transactions a second: each producer begins one, sends its records, commits, and begins the
//! next.

use crate::args::{Keys, Payload, PayloadArgs, TransactionsArgs};
use crate::error::Error;
use crate::ingest::{SAMPLE, runtime};
use crate::measure::{Meter, Sums};
use crate::payload::{EventBuffer, Events};
use crate::progress::Progress;
use crate::report::{Report, Watch};
use crate::topic;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longest wait for one step of a transaction.
const STEP_MAX: Duration = Duration::from_secs(60);

pub(crate) fn run(args: &TransactionsArgs) -> Result<Report, Error> {
    if args.producers == 0 || args.records == 0 {
        return Err(Error::Usage("--producers and --records are at least 1".to_owned()));
    }
    let runtime = runtime(1)?;
    let client = runtime.block_on(topic::client(&args.topic))?;
    runtime.block_on(topic::prepare(&client, &args.topic))?;
    let payload =
        PayloadArgs { size: args.size, payload: Payload::Json, keys: Keys::None, key_space: 1 };
    let events = Arc::new(Events::new(&payload)?);
    let progress = Progress::start("transactions", args.output.quiet);
    let meter = Arc::new(Meter::new(Instant::now(), args.producers));
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for shard in 0..args.producers {
        let producer = producer(args, shard)?;
        let (topic, records) = (args.topic.topic.clone(), args.records);
        let (events, meter) = (Arc::clone(&events), Arc::clone(&meter));
        let stop = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name(format!("transact-{shard}"));
        threads.push(thread.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let began = meter.ticket(Instant::now());
                if let Err(error) = transact(&producer, &topic, records, &events) {
                    return meter.failed(1, || error.to_string());
                }
                meter.delivered(shard, Instant::now(), std::iter::once(began));
            }
        })?);
    }
    progress.say("warming up");
    std::thread::sleep(Duration::from_secs_f64(args.warmup));
    let mut watch = Watch::start(args.output.server_pid)?;
    let mut sums = Sums::start(&meter);
    let deadline = Instant::now() + Duration::from_secs_f64(args.duration);
    while Instant::now() < deadline && meter.failures().0 == 0 {
        std::thread::sleep(SAMPLE.min(deadline.saturating_duration_since(Instant::now())));
        let sample = sums.tick(&meter);
        watch.look()?;
        progress.show(&sample, sums.events);
    }
    watch.stop()?;
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().expect("a producer does not panic");
    }
    drop(progress);
    let settings = serde_json::json!({
        "topic": args.topic.topic, "producers": args.producers, "records": args.records,
        "value_bytes": args.size, "counted": "transactions",
    });
    let bytes = args.size * args.records;
    Ok(Report::of("transactions", settings, &sums, &watch, &meter, bytes))
}

fn producer(args: &TransactionsArgs, shard: usize) -> Result<BaseProducer, Error> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &args.topic.bootstrap)
        .set("client.id", "anabranch-loadgen")
        .set("transactional.id", format!("anabranch-loadgen-{shard}"))
        .set("linger.ms", "0")
        .create()?;
    producer.init_transactions(STEP_MAX)?;
    Ok(producer)
}

fn transact(
    producer: &BaseProducer,
    topic: &str,
    records: usize,
    events: &Events,
) -> Result<(), Error> {
    producer.begin_transaction()?;
    let mut buffer = EventBuffer::default();
    for number in 0..records {
        let (_, value) = events.event(number as u64, &mut buffer);
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).payload(value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.commit_transaction(STEP_MAX)?)
}
