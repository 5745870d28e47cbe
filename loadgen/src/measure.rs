//! Counting what was delivered and how long it took.

use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// Longest latency told apart: two minutes, in microseconds.
const LATENCY_US_MAX: u64 = 120_000_000;

/// Three significant digits.
const DIGITS: u8 = 3;

/// A histogram of microseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS).expect("the bounds are constants")
}

/// Adds a latency; what is out of bounds counts at the bound.
pub(crate) fn add(histogram: &mut Histogram<u64>, latency: Duration) {
    let us = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_US_MAX);
    histogram.saturating_record(us.clamp(1, LATENCY_US_MAX));
}

/// What is delivered, counted by several threads without much contention.
#[derive(Debug)]
pub(crate) struct Meter {
    base: Instant,
    shards: Vec<Mutex<Shard>>,
    failed: AtomicU64,
    first_failure: OnceLock<String>,
}

#[derive(Debug)]
struct Shard {
    latencies: Histogram<u64>,
    events: u64,
}

impl Meter {
    /// `base`: tickets are nanoseconds since then.
    pub(crate) fn new(base: Instant, shards: usize) -> Self {
        let shard = || Mutex::new(Shard { latencies: histogram(), events: 0 });
        Self {
            base,
            shards: (0..shards.max(1)).map(|_| shard()).collect(),
            failed: AtomicU64::new(0),
            first_failure: OnceLock::new(),
        }
    }

    pub(crate) fn base(&self) -> Instant {
        self.base
    }

    /// Nanoseconds since the base.
    pub(crate) fn ticket(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.base).as_nanos() as u64
    }

    /// Events were delivered at `at`, which were meant to be sent at their tickets.
    pub(crate) fn delivered(&self, shard: usize, at: Instant, tickets: impl Iterator<Item = u64>) {
        let now = self.ticket(at);
        let mut shard = lock(&self.shards[shard % self.shards.len()]);
        for ticket in tickets {
            add(&mut shard.latencies, Duration::from_nanos(now.saturating_sub(ticket)));
            shard.events += 1;
        }
    }

    /// Events without a latency.
    pub(crate) fn counted(&self, shard: usize, events: u64) {
        lock(&self.shards[shard % self.shards.len()]).events += events;
    }

    pub(crate) fn failed(&self, events: u64, why: impl FnOnce() -> String) {
        self.failed.fetch_add(events, Ordering::Relaxed);
        self.first_failure.get_or_init(why);
    }

    pub(crate) fn failures(&self) -> (u64, String) {
        let first = self.first_failure.get().cloned().unwrap_or_default();
        (self.failed.load(Ordering::Relaxed), first)
    }

    /// Takes what was counted since the last time.
    fn take(&self) -> (u64, Histogram<u64>) {
        let mut events = 0;
        let mut latencies = histogram();
        for shard in &self.shards {
            let mut shard = lock(shard);
            events += std::mem::take(&mut shard.events);
            latencies.add(&shard.latencies).expect("the bounds are the same");
            shard.latencies.reset();
        }
        (events, latencies)
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // Counters hold whatever panics elsewhere.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One interval of the measured time.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Sample {
    /// Seconds since the start, at its end.
    pub(crate) at_s: f64,
    pub(crate) events_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Sums up a [`Meter`], interval by interval.
#[derive(Debug)]
pub(crate) struct Sums {
    pub(crate) events: u64,
    pub(crate) latencies: Histogram<u64>,
    pub(crate) samples: Vec<Sample>,
    started: Instant,
    last: Instant,
}

impl Sums {
    /// Starts now: what the meter has counted before is forgotten.
    pub(crate) fn start(meter: &Meter) -> Self {
        meter.take();
        let now = Instant::now();
        Self { events: 0, latencies: histogram(), samples: Vec::new(), started: now, last: now }
    }

    /// Starts at `base`, with everything that the meter has counted since.
    pub(crate) fn since(base: Instant) -> Self {
        Self { events: 0, latencies: histogram(), samples: Vec::new(), started: base, last: base }
    }

    /// Ends an interval.
    pub(crate) fn tick(&mut self, meter: &Meter) -> Sample {
        let (events, latencies) = meter.take();
        let now = Instant::now();
        let seconds = now.duration_since(self.last).as_secs_f64().max(1e-9);
        self.last = now;
        self.events += events;
        self.latencies.add(&latencies).expect("the bounds are the same");
        let sample = Sample {
            at_s: now.duration_since(self.started).as_secs_f64(),
            events_per_s: events as f64 / seconds,
            p50_ms: quantile_ms(&latencies, 0.5),
            p99_ms: quantile_ms(&latencies, 0.99),
        };
        self.samples.push(sample);
        sample
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.last.duration_since(self.started).as_secs_f64()
    }
}

/// Milliseconds that `quantile` of all latencies do not exceed; 0 where there are none.
pub(crate) fn quantile_ms(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    if latencies.is_empty() {
        return 0.0;
    }
    latencies.value_at_quantile(quantile) as f64 / 1_000.0
}
