//! What can go wrong between a client and a broker.

use kafka_protocol::ResponseError;
use kafka_protocol::error::ParseResponseErrorCode;
use std::sync::Arc;
use std::time::Duration;

/// Why something could not be done. Cheap to clone: one failure is reported to many records.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No broker answers at the address.
    #[error(
        "cannot connect to {address}: {source}; is the broker running, and is this its Kafka listener?"
    )]
    Connect {
        /// Host and port.
        address: String,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// A connection that stood failed.
    #[error("the connection to {address} broke: {source}")]
    Connection {
        /// Host and port.
        address: String,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// The broker closed the connection.
    #[error("{address} closed the connection; the broker's log says why")]
    Closed {
        /// Host and port.
        address: String,
    },
    /// The broker did not answer in time.
    #[error("{what}: no answer within {} ms", after.as_millis())]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The answer is not one that the protocol allows.
    #[error("the broker's answer makes no sense: {0}; is this a Kafka listener?")]
    Malformed(&'static str),
    /// The answer is larger than this client takes.
    #[error(
        "the broker announces an answer of {bytes} bytes, more than {bytes_max}; is this a Kafka listener?"
    )]
    ResponseTooLarge {
        /// Its size.
        bytes: u64,
        /// The bound.
        bytes_max: usize,
    },
    /// The broker and this client have no version of a request in common.
    #[error(
        "the broker speaks {api} in versions {min} to {max}, this client in {ours_min} to {ours_max}"
    )]
    Version {
        /// Name of the request.
        api: &'static str,
        /// The broker's oldest.
        min: i16,
        /// The broker's newest.
        max: i16,
        /// Our oldest.
        ours_min: i16,
        /// Our newest.
        ours_max: i16,
    },
    /// The broker refused.
    #[error("{what}: {}{}", name(*code), message.as_ref().map(|m| format!(": {m}")).unwrap_or_default())]
    Refused {
        /// What was asked for.
        what: String,
        /// Kafka's error code.
        code: i16,
        /// The broker's own words.
        message: Option<String>,
    },
    /// The record is larger than the producer's buffer or a batch may be.
    #[error(
        "a record of {bytes} bytes is larger than {bytes_max}; raise `buffer_bytes`, or split it"
    )]
    RecordTooLarge {
        /// Its size with its frame.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The topic has no such partition.
    #[error("topic {topic} has {partitions} partitions, from 0: there is no partition {partition}")]
    NoPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: i32,
        /// How many it has.
        partitions: i32,
    },
    /// A record could not be delivered within the delivery time-out.
    #[error("not delivered within {} ms{}", after.as_millis(), last.as_ref().map(|e| format!("; last: {e}")).unwrap_or_default())]
    NotDelivered {
        /// The time-out.
        after: Duration,
        /// What went wrong last.
        last: Option<Arc<Error>>,
    },
    /// The producer or consumer was closed or dropped.
    #[error("the client was closed")]
    Stopped,
    /// A batch cannot be compressed or decoded.
    #[error(transparent)]
    Batch(#[from] anabranch_types::batch::BatchError),
    /// A setting that cannot work.
    #[error("{0}")]
    Config(&'static str),
}

impl Error {
    pub(crate) fn refused(what: impl Into<String>, code: i16, message: Option<&str>) -> Self {
        Self::Refused { what: what.into(), code, message: message.map(str::to_owned) }
    }

    /// Whether the same request may succeed later, unchanged.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Connection { .. }
            | Self::Closed { .. }
            | Self::Timeout { .. } => true,
            Self::Refused { code, .. } => is_retriable(*code),
            _ => false,
        }
    }
}

/// A partition is in election, or its leader not known yet.
pub(crate) const LEADER_NOT_AVAILABLE: i16 = 5;

/// Whether Kafka calls the error passing. A corrupt message is not: the same bytes would be
/// refused again.
pub(crate) fn is_retriable(code: i16) -> bool {
    code != ResponseError::CorruptMessage.code()
        && code.err().is_some_and(|error| error.is_retriable())
}

/// Whether the error says that the leader is another broker than we think.
pub(crate) fn is_stale_metadata(code: i16) -> bool {
    matches!(
        code.err(),
        Some(
            ResponseError::UnknownTopicOrPartition
                | ResponseError::LeaderNotAvailable
                | ResponseError::NotLeaderOrFollower
                | ResponseError::KafkaStorageError
                | ResponseError::FencedLeaderEpoch
                | ResponseError::UnknownLeaderEpoch
        )
    )
}

fn name(code: i16) -> String {
    match code.err() {
        None => "no error".to_owned(),
        Some(error) => format!("{error} (Kafka error {code})"),
    }
}
