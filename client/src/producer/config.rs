//! A producer's settings.

use crate::{Error, limits};
use anabranch_types::batch::Compression;
use anabranch_types::limits::BATCH_BYTES_MAX;
use std::time::Duration;

/// What the broker must have done before it answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Acks {
    /// It does not answer: a record counts as delivered when the system took it. An error there
    /// closes the connection.
    None,
    /// The leader has it.
    Leader,
    /// Every replica in sync has it.
    #[default]
    All,
}

impl Acks {
    pub(super) fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How to produce. The defaults are those of Kafka's clients but for larger batches.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// What the broker must have done before it answers.
    pub acks: Acks,
    /// A retried batch is written once, and order holds across retries (KIP-98). Needs
    /// [`Acks::All`]; at most five batches a partition are in flight. Without it, a retry can
    /// duplicate and reorder.
    pub idempotent: bool,
    /// How long an open batch waits for more records. 0: only while the connection is busy.
    pub linger: Duration,
    /// A batch is sent when the next record would make it larger, before compression.
    pub batch_bytes: usize,
    /// A batch is sent when it has so many records; 1 is one record a request.
    pub batch_records_max: usize,
    /// Records and frames not answered yet take at most so much; then sending waits.
    pub buffer_bytes: usize,
    /// Requests a connection may have in flight.
    pub requests_in_flight_max: usize,
    /// A record fails when it was not delivered so long after it was taken.
    pub delivery_timeout: Duration,
    /// Pause before a batch is sent again.
    pub retry_pause: Duration,
    /// How batches are compressed.
    pub compression: Compression,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            linger: Duration::ZERO,
            batch_bytes: 128 << 10,
            batch_records_max: usize::MAX,
            buffer_bytes: 32 << 20,
            requests_in_flight_max: 1_000,
            delivery_timeout: Duration::from_secs(120),
            retry_pause: Duration::from_millis(100),
            compression: Compression::None,
        }
    }
}

impl ProducerConfig {
    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |wrong: bool, why| if wrong { Err(Error::Config(why)) } else { Ok(()) };
        refuse(
            self.idempotent && self.acks != Acks::All,
            "an idempotent producer needs `acks = All`; set `idempotent = false` for fewer",
        )?;
        refuse(self.batch_records_max == 0, "`batch_records_max` is at least 1")?;
        refuse(self.requests_in_flight_max == 0, "`requests_in_flight_max` is at least 1")?;
        refuse(
            self.batch_bytes > BATCH_BYTES_MAX,
            "`batch_bytes` is larger than any broker takes",
        )?;
        refuse(self.batch_bytes == 0, "`batch_bytes` is at least 1")?;
        refuse(self.buffer_bytes == 0, "`buffer_bytes` is at least 1")
    }

    /// Batches of one partition that may be in flight.
    pub(super) fn batches_in_flight_max(&self) -> usize {
        if self.idempotent {
            limits::IDEMPOTENT_BATCHES_IN_FLIGHT.min(self.requests_in_flight_max)
        } else {
            self.requests_in_flight_max
        }
    }
}
