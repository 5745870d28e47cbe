//! Counters for `/metrics`.

use crate::apis::{APIS, ApiKey};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Counts of one door since it started; read them at any time.
#[derive(Debug)]
pub struct KafkaMetrics {
    /// Connections accepted.
    pub connections: Counter,
    /// Connections that are open.
    pub connections_open: Gauge,
    /// Connections turned away because there were too many.
    pub connections_refused: Counter,
    /// Connections closed because of what the client sent.
    pub refused: Counter,
    /// Partitions of produce requests refused before they came to the log.
    pub produce_refused: Counter,
    /// Bytes read from clients.
    pub bytes_in: Counter,
    /// Bytes written to clients.
    pub bytes_out: Counter,
    /// Requests, in the order of [`APIS`].
    pub(crate) requests: Vec<Counter>,
}

/// A number that rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Default for KafkaMetrics {
    fn default() -> Self {
        Self {
            connections: Counter::default(),
            connections_open: Gauge::default(),
            connections_refused: Counter::default(),
            refused: Counter::default(),
            produce_refused: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            requests: APIS.iter().map(|_| Counter::default()).collect(),
        }
    }
}

impl KafkaMetrics {
    /// Requests by API.
    pub fn requests(&self) -> impl Iterator<Item = (ApiKey, u64)> {
        APIS.iter().zip(&self.requests).map(|(api, count)| (api.key, count.get()))
    }
}

impl Counter {
    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, count: u64) {
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

    pub(crate) fn add(&self, count: i64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}
