//! Producing, and what that costs.

use crate::args::{Driver, IngestArgs};
use crate::drivers::Sink;
use crate::drivers::closed_loop::{self, Loop};
use crate::drivers::librdkafka::{self, LibrdkafkaSink};
use crate::drivers::native::{self, NativeSink};
use crate::error::Error;
use crate::measure::{Meter, Sums};
use crate::pace::{Plan, unix_ms};
use crate::payload::Events;
use crate::progress::Progress;
use crate::report::{Report, Watch};
use crate::topic;
use anabranch_client::Client;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// librdkafka starts threads for each producer.
const LIBRDKAFKA_PRODUCERS_MAX: usize = 64;

/// Threads that generate events.
const GENERATORS_MAX: usize = 2;

/// Counters that producers share.
const SHARDS_MAX: usize = 16;

/// Time between two samples.
pub(crate) const SAMPLE: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &IngestArgs) -> Result<Report, Error> {
    let session = Session::open(args, args.pace.threads(args.produce.producers))?;
    session.block_on(topic::prepare(&session.client, &args.topic))?;
    let events = Arc::new(Events::new(&args.payload)?);
    measure(&session, args, "ingest", events, Instant::now())
}

/// A runtime, and a cluster that answers.
pub(crate) struct Session {
    runtime: Runtime,
    pub(crate) client: Client,
}

impl Session {
    /// Checks the arguments and connects.
    pub(crate) fn open(args: &IngestArgs, threads: usize) -> Result<Self, Error> {
        check(args)?;
        let runtime = runtime(threads)?;
        let client = runtime.block_on(topic::client(&args.topic))?;
        Ok(Self { runtime, client })
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// Produces into a topic that is there. In an open loop event `n` is due at `base + n / rate`.
pub(crate) fn measure(
    session: &Session,
    args: &IngestArgs,
    command: &'static str,
    events: Arc<Events>,
    base: Instant,
) -> Result<Report, Error> {
    let progress = Progress::start(command, args.output.quiet);
    progress.say("connecting");
    let shards = args.produce.producers.min(SHARDS_MAX);
    let meter = Arc::new(Meter::new(base, shards));
    let stop = Arc::new(AtomicBool::new(false));
    let mut watch = Watch::start(args.output.server_pid)?;
    let load = Load::start(args, session, &events, &meter, &stop)?;

    if args.pace.events.is_none() {
        progress.say("warming up");
        std::thread::sleep(Duration::from_secs_f64(args.pace.warmup));
        watch = Watch::start(args.output.server_pid)?;
    }
    let mut sums = match args.pace.events {
        None => Sums::start(&meter),
        Some(_) => Sums::since(meter.base()),
    };
    let deadline = Instant::now() + Duration::from_secs_f64(args.pace.duration);
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        let over = match args.pace.events {
            None => rest.is_zero(),
            Some(events) => sums.events + meter.failures().0 >= events || load.is_done_early(),
        };
        if over {
            break;
        }
        let sleep = if args.pace.events.is_some() { SAMPLE / 5 } else { SAMPLE.min(rest) };
        std::thread::sleep(sleep);
        let sample = sums.tick(&meter);
        watch.look()?;
        progress.show(&sample, sums.events);
    }
    watch.stop()?;
    stop.store(true, Ordering::Relaxed);
    progress.say("waiting for the last deliveries");
    load.finish(&session.runtime)?;
    drop(progress);
    Ok(Report::of(command, describe(args), &sums, &watch, &meter, args.payload.size))
}

fn check(args: &IngestArgs) -> Result<(), Error> {
    let produce = &args.produce;
    if produce.producers == 0 || args.topic.partitions == 0 {
        return Err(Error::Usage("--producers and --partitions are at least 1".to_owned()));
    }
    if args.pace.rate.is_some_and(|rate| rate.is_nan() || rate <= 0.0) {
        return Err(Error::Usage("--rate is more than 0".to_owned()));
    }
    if produce.driver == Driver::Librdkafka && produce.producers > LIBRDKAFKA_PRODUCERS_MAX {
        let max = LIBRDKAFKA_PRODUCERS_MAX;
        let why = format!(
            "librdkafka starts threads for each producer: at most {max}, or --driver native"
        );
        return Err(Error::Usage(why));
    }
    Ok(())
}

pub(crate) fn runtime(threads: usize) -> Result<Runtime, Error> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?)
}

/// What sends.
enum Load {
    /// Threads that generate events for producers.
    Threads(Vec<JoinHandle<Result<(), Error>>>),
    /// Producers that send when they hear of a delivery.
    Closed(Vec<anabranch_client::Producer<closed_loop::Echo>>),
}

impl Load {
    fn start(
        args: &IngestArgs,
        session: &Session,
        events: &Arc<Events>,
        meter: &Arc<Meter>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        let (runtime, client) = (&session.runtime, &session.client);
        let produce = &args.produce;
        let closed = args.pace.rate.is_none() && produce.is_one_event_a_request();
        if closed && produce.driver == Driver::Native {
            let shared = Arc::new(Loop {
                meter: Arc::clone(meter),
                events: Arc::clone(events),
                events_max: args.pace.events,
                stop: Arc::clone(stop),
                next: AtomicU64::new(0),
                base_ms: unix_ms() - meter.base().elapsed().as_millis() as i64,
            });
            let start =
                closed_loop::start(client, &args.topic.topic, produce, args.payload.size, shared);
            return Ok(Self::Closed(runtime.block_on(start)?));
        }
        let mut sinks = Vec::new();
        for shard in 0..produce.producers {
            sinks.push(sink(args, session, meter, shard)?);
        }
        let generators = produce.producers.min(GENERATORS_MAX);
        let mut shares: Vec<Vec<_>> = (0..generators).map(|_| Vec::new()).collect();
        for (at, sink) in sinks.into_iter().enumerate() {
            shares[at % generators].push(sink);
        }
        let mut threads = Vec::new();
        for (first, mut sinks) in shares.into_iter().enumerate() {
            let plan = Plan {
                events: Arc::clone(events),
                base: meter.base(),
                first: first as u64,
                step: generators as u64,
                events_max: args.pace.events,
                rate: args.pace.rate.map(|rate| rate / generators as f64),
                stop: Arc::clone(stop),
            };
            let thread = std::thread::Builder::new().name(format!("generate-{first}"));
            threads.push(thread.spawn(move || {
                plan.run(&mut sinks)?;
                sinks.iter_mut().for_each(|sink| sink.flush());
                Ok(())
            })?);
        }
        Ok(Self::Threads(threads))
    }

    /// Whether a generator has ended, for an error if not for its last event.
    fn is_done_early(&self) -> bool {
        match self {
            Self::Threads(threads) => threads.iter().all(JoinHandle::is_finished),
            Self::Closed(_) => false,
        }
    }

    fn finish(self, runtime: &Runtime) -> Result<(), Error> {
        match self {
            Self::Threads(threads) => {
                for thread in threads {
                    thread.join().expect("a generator does not panic")?;
                }
            }
            Self::Closed(producers) => runtime.block_on(async {
                for producer in producers {
                    producer.close().await;
                }
            }),
        }
        Ok(())
    }
}

fn sink(
    args: &IngestArgs,
    session: &Session,
    meter: &Arc<Meter>,
    shard: usize,
) -> Result<Box<dyn Sink>, Error> {
    let (produce, topic) = (&args.produce, &args.topic.topic);
    let is_open_loop = args.pace.rate.is_some();
    let meter = Arc::clone(meter);
    Ok(match produce.driver {
        Driver::Native => {
            let config = native::config(produce, args.payload.size, is_open_loop);
            let counting = native::Counting { meter, shard };
            let start = NativeSink::start(&session.client, topic, config, counting);
            Box::new(session.block_on(start)?)
        }
        Driver::Librdkafka => {
            let counting = librdkafka::Counting { meter, shard };
            let bootstrap = &args.topic.bootstrap;
            Box::new(LibrdkafkaSink::start(bootstrap, topic, produce, is_open_loop, counting)?)
        }
    })
}

fn describe(args: &IngestArgs) -> serde_json::Value {
    serde_json::json!({
        "topic": { "name": args.topic.topic, "partitions": args.topic.partitions,
            "configs": args.topic.topic_configs },
        "payload": args.payload,
        "produce": args.produce,
        "in_flight": args.produce.in_flight(),
        "linger_ms": args.produce.linger_ms(args.pace.rate.is_some()),
        "pace": args.pace,
    })
}
