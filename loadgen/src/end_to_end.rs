//! Produce at a rate, and see when each event is acknowledged, reaches a Kafka consumer and a
//! WebSocket, and can be seen in SQL.
//!
//! Events are numbered, and event `n` is due at `start + n / rate`: whoever sees the number knows
//! when the event was meant to be sent, so every leg counts from there (no coordinated omission)
//! and on one clock. How each leg is measured:
//!
//! - *acknowledged*: when the producer's answer was read, for every event.
//! - *Kafka consumer*: a consumer of the whole topic, when it has decoded the event, for every
//!   event.
//! - *WebSocket*: a subscriber of the whole stream, when it has parsed the message, for every
//!   event.
//! - *SQL*: see [`probe`](crate::probe).

use crate::args::{
    AcksArg, Codec, Driver, EndToEndArgs, IngestArgs, Keys, PaceArgs, Payload, PayloadArgs,
    ProduceArgs,
};
use crate::error::Error;
use crate::ingest::{Session, measure};
use crate::measure::{add, histogram};
use crate::pace::due_ns;
use crate::payload::{Events, number_in};
use crate::probe::{self, Probes};
use crate::report::{Latency, Report};
use crate::topic;
use anabranch_client::web::{Feed, Subscribe, Subscription, WebClient};
use anabranch_client::{ConsumeFrom, Consumer, ConsumerConfig};
use hdrhistogram::Histogram;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// How long the last events may take after the load has ended.
const TAIL_MAX: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &EndToEndArgs) -> Result<Report, Error> {
    if args.rate.is_nan() || args.rate <= 0.0 {
        return Err(Error::Usage("--rate is more than 0".to_owned()));
    }
    let ingest = ingest_args(args);
    let session = Session::open(&ingest, 2)?;
    match &args.sql {
        Some(sql) => {
            session.block_on(probe::make_keyed_stream(&session.client, sql, &args.topic))?
        }
        None => session.block_on(topic::prepare(&session.client, &args.topic))?,
    }
    let events = Arc::new(Events::new(&ingest.payload)?);
    let window = Window::new(Instant::now(), args);
    let mut legs = Vec::new();
    legs.push(session.block_on(follow_kafka(&session, args, window))?);
    if let Some(web) = &args.web {
        legs.push(session.block_on(follow_web(web, &args.topic.topic, window))?);
    }
    let base = Instant::now();
    legs.iter().for_each(|leg| leg.set_base(base));
    let probes = match &args.sql {
        None => None,
        Some(sql) => {
            let every = Duration::from_millis(args.sql_every_ms.max(1));
            let span = (args.warmup, args.duration);
            Some(session.block_on(Probes::start(
                &session.client,
                sql,
                &args.topic.topic,
                every,
                span,
            ))?)
        }
    };
    let mut report = measure(&session, &ingest, "end-to-end", events, base)?;
    let deadline = Instant::now() + TAIL_MAX;
    for leg in legs {
        leg.finish(&session, deadline, &mut report);
    }
    if let Some(probes) = probes {
        session.block_on(probes.finish(&mut report));
    }
    Ok(report)
}

fn ingest_args(args: &EndToEndArgs) -> IngestArgs {
    IngestArgs {
        topic: args.topic.clone(),
        payload: PayloadArgs {
            size: args.size,
            payload: Payload::Json,
            keys: Keys::Uniform,
            key_space: args.key_space,
        },
        produce: ProduceArgs {
            driver: Driver::Native,
            producers: 1,
            in_flight: Some(args.in_flight),
            batch: args.batch,
            batch_bytes: 128 << 10,
            linger_ms: None,
            buffer_bytes: 32 << 20,
            acks: AcksArg::All,
            idempotent: false,
            compression: Codec::None,
        },
        pace: PaceArgs {
            rate: Some(args.rate),
            duration: args.duration,
            warmup: args.warmup,
            events: None,
            threads: Some(2),
        },
        output: args.output.clone(),
    }
}

/// Which events are measured, and when each was due.
#[derive(Debug, Clone, Copy)]
struct Window {
    base: Instant,
    rate: f64,
    first: u64,
    end: u64,
}

impl Window {
    fn new(base: Instant, args: &EndToEndArgs) -> Self {
        let first = (args.warmup * args.rate).ceil() as u64;
        let end = first + (args.duration * args.rate) as u64;
        Self { base, rate: args.rate, first, end }
    }

    fn measured(&self) -> Range<u64> {
        self.first..self.end
    }

    fn due(&self, n: u64) -> Instant {
        self.base + Duration::from_nanos(due_ns(n, self.rate))
    }
}

/// What one follower of the events has seen.
#[derive(Debug)]
struct Seen {
    window: Window,
    latencies: Histogram<u64>,
    error: Option<String>,
}

/// One way that events come out again.
struct Leg {
    what: &'static str,
    seen: Arc<Mutex<Seen>>,
    /// One more than the highest number seen.
    next: Arc<AtomicU64>,
    task: AbortHandle,
}

/// Where a follower notes what it sees.
#[derive(Clone)]
struct Notes {
    seen: Arc<Mutex<Seen>>,
    next: Arc<AtomicU64>,
}

impl Notes {
    fn new(window: Window) -> Self {
        let seen = Seen { window, latencies: histogram(), error: None };
        Self { seen: Arc::new(Mutex::new(seen)), next: Arc::new(AtomicU64::new(0)) }
    }

    /// Events were seen now.
    fn note(&self, numbers: impl Iterator<Item = u64>) {
        let now = Instant::now();
        let mut seen = lock(&self.seen);
        let window = seen.window;
        for n in numbers {
            if window.measured().contains(&n) {
                add(&mut seen.latencies, now.saturating_duration_since(window.due(n)));
            }
            self.next.fetch_max(n + 1, Ordering::Relaxed);
        }
    }

    fn failed(&self, error: String) {
        lock(&self.seen).error = Some(error);
    }

    fn leg(self, what: &'static str, task: AbortHandle) -> Leg {
        Leg { what, seen: self.seen, next: self.next, task }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    // A follower that panicked is missed by its count.
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Leg {
    fn set_base(&self, base: Instant) {
        lock(&self.seen).window.base = base;
    }

    /// Waits for the last event, then adds what was seen to the report.
    fn finish(self, session: &Session, deadline: Instant, report: &mut Report) {
        let end = lock(&self.seen).window.end;
        session.block_on(async {
            let mut look = tokio::time::interval(Duration::from_millis(20));
            while self.next.load(Ordering::Relaxed) < end
                && Instant::now() < deadline
                && lock(&self.seen).error.is_none()
            {
                look.tick().await;
            }
        });
        self.task.abort();
        let seen = lock(&self.seen);
        report.latencies.push(Latency::of(self.what, &seen.latencies));
        let expected = seen.window.end - seen.window.first;
        let missing = expected.saturating_sub(seen.latencies.len());
        if let Some(error) = &seen.error {
            report.add_failures(missing.max(1), format!("{}: {error}", self.what));
        } else if missing > 0 {
            let why = format!("{}: {missing} of {expected} events did not arrive", self.what);
            report.add_failures(missing, why);
        }
    }
}

async fn follow_kafka(
    session: &Session,
    args: &EndToEndArgs,
    window: Window,
) -> Result<Leg, Error> {
    let config = ConsumerConfig { from: ConsumeFrom::End, ..ConsumerConfig::default() };
    let consumer = session.client.consumer(&args.topic.topic, config).await?;
    let notes = Notes::new(window);
    let task = tokio::spawn(read_kafka(consumer, notes.clone())).abort_handle();
    Ok(notes.leg("sent → Kafka consumer", task))
}

async fn read_kafka(mut consumer: Consumer, notes: Notes) {
    let mut scratch = Vec::new();
    let mut numbers = Vec::new();
    loop {
        let read = match consumer.next().await {
            Err(error) => Err(error),
            Ok(fetched) => fetched.for_each(&mut scratch, |record| {
                numbers.extend(record.value.and_then(number_in));
            }),
        };
        notes.note(numbers.drain(..));
        if let Err(error) = read {
            return notes.failed(error.to_string());
        }
    }
}

async fn follow_web(address: &str, stream: &str, window: Window) -> Result<Leg, Error> {
    let client = WebClient::connect(address).await?;
    let what = Subscribe { stream: Some(stream), from: Some("now"), ..Subscribe::default() };
    let subscription = client.subscribe(what).await?;
    let notes = Notes::new(window);
    let task = tokio::spawn(read_web(client, subscription, notes.clone())).abort_handle();
    Ok(notes.leg("sent → WebSocket", task))
}

/// The client goes with the task: it closes the connection when it is dropped.
async fn read_web(_client: WebClient, mut subscription: Subscription, notes: Notes) {
    loop {
        let message = match subscription.next().await {
            Ok(message) => message,
            Err(error) => return notes.failed(error.to_string()),
        };
        match message.read() {
            Ok(Feed::Events { events, .. }) => notes
                .note(events.iter().filter_map(|event| number_in(event.value?.get().as_bytes()))),
            Ok(_) => {}
            Err(error) => return notes.failed(error.to_string()),
        }
    }
}
