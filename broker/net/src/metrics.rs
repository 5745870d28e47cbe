//! What is counted, for `/metrics`.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

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
