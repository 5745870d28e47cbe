//! One event a request in a closed loop: each acknowledgement sends the next event, on the task
//! that read it. So a connection always has as many requests in flight as it was given, and no
//! thread wakes another for an event.

use super::native;
use crate::args::ProduceArgs;
use crate::error::Error;
use crate::measure::Meter;
use crate::payload::{EventBuffer, Events};
use anabranch_client::{Client, Delivered, Deliveries, Producer, Record, Refused, Topic};
use anabranch_types::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// What all connections share.
pub(crate) struct Loop {
    pub(crate) meter: Arc<Meter>,
    pub(crate) events: Arc<Events>,
    pub(crate) events_max: Option<u64>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) next: AtomicU64,
    /// The meter's base in milliseconds since 1970.
    pub(crate) base_ms: i64,
}

/// Sends the next event when one was delivered.
pub(crate) struct Echo {
    shared: Arc<Loop>,
    shard: usize,
    /// Set once, before the first event; it makes a circle that closing the producer breaks.
    topic: OnceLock<Topic<Echo>>,
    buffer: Mutex<EventBuffer>,
}

impl Deliveries for Echo {
    type Ticket = u64;

    fn delivered(&self, batch: Delivered<'_>, tickets: impl ExactSizeIterator<Item = u64>) {
        let count = tickets.len();
        match batch.outcome {
            Ok(_) => self.shared.meter.delivered(self.shard, batch.at, tickets),
            Err(error) => {
                self.shared.meter.failed(count as u64, || error.to_string());
                return;
            }
        }
        for _ in 0..count {
            self.send(batch.at);
        }
    }
}

impl Echo {
    fn send(&self, now: Instant) {
        let shared = &self.shared;
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let n = shared.next.fetch_add(1, Ordering::Relaxed);
        if shared.events_max.is_some_and(|max| n >= max) {
            return;
        }
        let topic = self.topic.get().expect("the topic is set before anything is sent");
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, value) = shared.events.event(n, &mut buffer);
        let ticket = shared.meter.ticket(now);
        // Milliseconds are enough: the clock is asked once, not once an event.
        let time = Timestamp(shared.base_ms + (ticket / 1_000_000) as i64);
        let record = Record { key, value: Some(value), timestamp: Some(time), ..Record::default() };
        match topic.try_send(record, ticket) {
            Ok(()) => {}
            Err(Refused::Full(_)) => {
                shared.meter.failed(1, || "the producer's buffer is too small".to_owned());
            }
            Err(Refused::Error(error, _)) => shared.meter.failed(1, || error.to_string()),
        }
    }
}

/// Opens the connections and fills each with its requests.
pub(crate) async fn start(
    client: &Client,
    topic: &str,
    args: &ProduceArgs,
    size: usize,
    shared: Arc<Loop>,
) -> Result<Vec<Producer<Echo>>, Error> {
    let mut producers = Vec::with_capacity(args.producers);
    for shard in 0..args.producers {
        let echo = Echo {
            shared: Arc::clone(&shared),
            shard,
            topic: OnceLock::new(),
            buffer: Mutex::default(),
        };
        let producer = client.producer(native::config(args, size, false), echo).await?;
        let handle = producer.topic(topic).await?;
        if producer.deliveries().topic.set(handle).is_err() {
            unreachable!("the topic of a new producer is set once");
        }
        producers.push(producer);
    }
    for producer in &producers {
        for _ in 0..args.in_flight() {
            producer.deliveries().send(Instant::now());
        }
    }
    Ok(producers)
}
