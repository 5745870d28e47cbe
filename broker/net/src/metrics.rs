//! What is counted, for `/metrics`.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A number that rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

/// How long something took: how often it was at most so long.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each of [`Self::BOUNDS_MICROS`], and what took longer.
    counts: [AtomicU64; Self::BOUNDS_MICROS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    /// Microseconds up to which each count goes.
    pub const BOUNDS_MICROS: [u64; 12] = [
        500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        5_000_000,
    ];

    /// Notes that `times` things took so long each.
    pub fn observe(&self, each: Duration, times: u64) {
        let micros = u64::try_from(each.as_micros()).unwrap_or(u64::MAX);
        let at = Self::BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.counts[at].fetch_add(times, Ordering::Relaxed);
        self.micros.fetch_add(micros.saturating_mul(times), Ordering::Relaxed);
    }

    /// How many took at most each bound, in seconds; the last bound is infinite.
    #[must_use]
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = Self::BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6);
        let mut all = 0;
        let counts = self.counts.iter().map(|count| {
            all += count.load(Ordering::Relaxed);
            all
        });
        bounds.chain([f64::INFINITY]).zip(counts).collect()
    }

    /// Seconds that all took together.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.micros.load(Ordering::Relaxed) as f64 / 1e6
    }
}

/// Counts of one door's connections since it was opened; read them at any time.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections let in.
    pub accepted: Counter,
    /// Connections that are open.
    pub open: Gauge,
    /// TLS handshakes done.
    pub encrypted: Counter,
    refused: [Counter; Refusal::ALL.len()],
}

/// Why a connection was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The door has as many as it may have.
    TooMany,
    /// Its address has as many as one may have.
    TooManyOfAddress,
    /// It sent nothing for too long.
    Silent,
    /// Its TLS handshake failed, or took too long.
    Handshake,
    /// It spoke clear text, which the door refuses.
    ClearText,
    /// It spoke TLS, which the door does not.
    NoTls,
}

impl Refusal {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::TooMany,
        Self::TooManyOfAddress,
        Self::Silent,
        Self::Handshake,
        Self::ClearText,
        Self::NoTls,
    ];

    /// Its name in `/metrics`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::TooManyOfAddress => "too_many_of_address",
            Self::Silent => "silent",
            Self::Handshake => "handshake",
            Self::ClearText => "clear_text",
            Self::NoTls => "no_tls",
        }
    }
}

impl Metrics {
    /// Connections that were not let in for this reason.
    #[must_use]
    pub fn refused(&self, why: Refusal) -> &Counter {
        &self.refused[why as usize]
    }
}

impl Counter {
    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Raises it.
    pub fn add(&self, count: u64) {
        if count > 0 {
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl Gauge {
    /// Its value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Raises it, or lowers it by a negative count.
    pub fn add(&self, count: i64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}
