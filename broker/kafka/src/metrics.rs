//! Counters for `/metrics`.

use crate::apis::{APIS, ApiKey};
use anabranch_net::{Counter, Histogram};

/// Counts of the door since it started, apart from its connections; read them at any time.
#[derive(Debug)]
pub struct KafkaMetrics {
    /// Connections closed because of what the client sent.
    pub refused: Counter,
    /// Partitions of produce requests refused before they came to the log.
    pub produce_refused: Counter,
    /// Bytes read from clients.
    pub bytes_in: Counter,
    /// Bytes written to clients.
    pub bytes_out: Counter,
    /// From the moment a produce request was read to its answer.
    pub produced: Histogram,
    /// Of fetches, with the time for which they waited for records as they had asked.
    pub fetched: Histogram,
    /// Requests, in the order of [`APIS`].
    pub(crate) requests: Vec<Counter>,
}

impl Default for KafkaMetrics {
    fn default() -> Self {
        Self {
            refused: Counter::default(),
            produce_refused: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            produced: Histogram::default(),
            fetched: Histogram::default(),
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
