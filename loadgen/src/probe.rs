//! When an event can be seen in SQL.
//!
//! Beside the load, every few milliseconds one more event is produced, with a key of its own and
//! a rising number; when it is acknowledged its row is read by key, `SELECT seq FROM … WHERE id =
//! $1`, again and again until it shows that number. *Sent → visible* counts from when the event
//! was due, *acknowledged → visible* from the broker's answer; both include the query's own time,
//! so they bound the table's lag from above. Events are due on a schedule, whatever became of
//! those before: a slow one delays none.

use crate::args::TopicArgs;
use crate::error::Error;
use crate::measure::{add, histogram};
use crate::payload::key_text;
use crate::report::{Latency, Report};
use crate::topic;
use anabranch_client::{Client, Futures, Producer, ProducerConfig, Record, Topic};
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::{NoTls, Statement};

/// Events under way at once, each with its own key.
const SLOTS: usize = 32;

/// Connections that read.
const CONNECTIONS: usize = 2;

/// Keys beyond any `--key-space`.
const FIRST_KEY: u32 = 999_999_000;

/// Longest wait for one event to become visible.
const VISIBLE_MAX: Duration = Duration::from_secs(30);

/// PostgreSQL's duplicate_table.
const EXISTS: &str = "42P07";

/// Makes the stream whose table is read: keyed by the events' `id`.
pub(crate) async fn make_keyed_stream(
    client: &Client,
    sql: &str,
    args: &TopicArgs,
) -> Result<(), Error> {
    if args.recreate {
        topic::delete(client, &args.topic).await?;
    }
    let connection = connect(sql).await?;
    let configs = args.topic_configs.iter();
    let configs: String = configs
        .map(|(key, value)| format!(", {} = {}", quoted(key, '"'), quoted(value, '\'')))
        .collect();
    let statement = format!(
        "CREATE STREAM {} (id text PRIMARY KEY, seq bigint, temp double precision, ok boolean) \
         WITH (mode = 'upsert', partitions = {}{configs})",
        quoted(&args.topic, '"'),
        args.partitions,
    );
    match connection.batch_execute(&statement).await {
        Err(error) if error.code().is_some_and(|code| code.code() == EXISTS) => {}
        result => result.map_err(|source| sql_error(sql, source))?,
    }
    client.admin().offsets(&args.topic, anabranch_client::OffsetAt::End).await?;
    Ok(())
}

fn quoted(text: &str, quote: char) -> String {
    let doubled = text.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{doubled}{quote}")
}

fn sql_error(address: &str, source: tokio_postgres::Error) -> Error {
    Error::Sql { address: address.to_owned(), source }
}

async fn connect(sql: &str) -> Result<tokio_postgres::Client, Error> {
    let (client, connection) =
        tokio_postgres::connect(sql, NoTls).await.map_err(|source| sql_error(sql, source))?;
    // Its end shows in whatever the client does next.
    tokio::spawn(connection);
    Ok(client)
}

/// Probes under way.
pub(crate) struct Probes {
    shared: Arc<Shared>,
    schedule: JoinHandle<()>,
    producer: Producer<Futures>,
}

struct Shared {
    topic: Topic<Futures>,
    readers: Vec<(tokio_postgres::Client, Statement)>,
    busy: [AtomicBool; SLOTS],
    number: AtomicU64,
    skipped: AtomicU64,
    found: Mutex<Found>,
}

struct Found {
    from_sent: Histogram<u64>,
    from_acknowledged: Histogram<u64>,
    errors: u64,
    first_error: Option<String>,
}

impl Probes {
    /// Starts after the warm-up and ends with the measured time: `span` is both, in seconds.
    pub(crate) async fn start(
        client: &Client,
        sql: &str,
        stream: &str,
        every: Duration,
        span: (f64, f64),
    ) -> Result<Self, Error> {
        let producer = client.producer(ProducerConfig::default(), Futures).await?;
        let topic = producer.topic(stream).await?;
        let mut readers = Vec::new();
        for _ in 0..CONNECTIONS {
            let reader = connect(sql).await?;
            let query = format!("SELECT seq FROM {} WHERE id = $1", quoted(stream, '"'));
            let statement =
                reader.prepare(&query).await.map_err(|source| sql_error(sql, source))?;
            readers.push((reader, statement));
        }
        let shared = Arc::new(Shared {
            topic,
            readers,
            busy: std::array::from_fn(|_| AtomicBool::new(false)),
            number: AtomicU64::new(1),
            skipped: AtomicU64::new(0),
            found: Mutex::new(Found {
                from_sent: histogram(),
                from_acknowledged: histogram(),
                errors: 0,
                first_error: None,
            }),
        });
        let schedule = tokio::spawn(schedule(Arc::clone(&shared), every, span));
        Ok(Self { shared, schedule, producer })
    }

    /// Waits for what is under way and adds it to the report.
    pub(crate) async fn finish(self, report: &mut Report) {
        let ended = self.schedule.await;
        ended.expect("the schedule does not panic");
        let deadline = Instant::now() + VISIBLE_MAX;
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while self.shared.busy.iter().any(|busy| busy.load(Ordering::Acquire))
            && Instant::now() < deadline
        {
            look.tick().await;
        }
        self.producer.close().await;
        let found = self.shared.found();
        report.latencies.push(Latency::of("sent → visible in SQL", &found.from_sent));
        let latency = Latency::of("acknowledged → visible in SQL", &found.from_acknowledged);
        report.latencies.push(latency);
        if let Some(error) = &found.first_error {
            report.add_failures(found.errors, format!("SQL: {error}"));
        }
        let skipped = self.shared.skipped.load(Ordering::Relaxed);
        if skipped > 0 {
            let why =
                format!("{skipped} looks in SQL were due while {SLOTS} others were under way");
            report.add_failures(skipped, why);
        }
    }
}

impl Shared {
    fn found(&self) -> MutexGuard<'_, Found> {
        // Histograms hold whatever panics elsewhere.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn schedule(shared: Arc<Shared>, every: Duration, (warmup, duration): (f64, f64)) {
    tokio::time::sleep(Duration::from_secs_f64(warmup)).await;
    let end = Instant::now() + Duration::from_secs_f64(duration);
    let mut due = tokio::time::interval(every);
    while Instant::now() < end {
        let at = due.tick().await.into_std();
        let free = shared.busy.iter().position(|busy| !busy.swap(true, Ordering::AcqRel));
        match free {
            None => {
                shared.skipped.fetch_add(1, Ordering::Relaxed);
            }
            Some(slot) => {
                tokio::spawn(probe(Arc::clone(&shared), slot, at));
            }
        }
    }
}

async fn probe(shared: Arc<Shared>, slot: usize, due: Instant) {
    let result = probe_once(&shared, slot).await;
    let now = Instant::now();
    let mut found = shared.found();
    match result {
        Ok(acknowledged) => {
            add(&mut found.from_sent, now.saturating_duration_since(due));
            add(&mut found.from_acknowledged, now.saturating_duration_since(acknowledged));
        }
        Err(error) => {
            found.errors += 1;
            found.first_error.get_or_insert(error);
        }
    }
    drop(found);
    shared.busy[slot].store(false, Ordering::Release);
}

/// Produces one event and reads its row until it shows; returns when it was acknowledged.
async fn probe_once(shared: &Shared, slot: usize) -> Result<Instant, String> {
    let number = shared.number.fetch_add(1, Ordering::Relaxed) as i64;
    let key = key_text(FIRST_KEY + slot as u32);
    let value =
        format!("{{\"id\":\"{key}\",\"probe\":true,\"seq\": {number},\"temp\":0.5,\"ok\":true}}");
    let record = Record::keyed(key.as_bytes(), value.as_bytes());
    let delivery = shared.topic.deliver(record).await.map_err(|error| error.to_string())?;
    delivery.await.map_err(|error| error.to_string())?;
    let acknowledged = Instant::now();
    let (reader, statement) = &shared.readers[slot % CONNECTIONS];
    loop {
        let row = reader.query_opt(statement, &[&key]).await.map_err(|error| error.to_string())?;
        let seen = row.map(|row| row.try_get::<_, i64>(0)).transpose();
        if seen.map_err(|error| error.to_string())?.is_some_and(|seen| seen >= number) {
            return Ok(acknowledged);
        }
        if acknowledged.elapsed() > VISIBLE_MAX {
            return Err(format!("event {number} of key {key} did not become visible"));
        }
    }
}
