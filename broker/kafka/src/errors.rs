//! Errors in Kafka's words: one exhaustive map from what the engine says.

use anabranch_engine::{AppendError, Error, ErrorKind, ReadError, ResourceKind};
use kafka_protocol::error::ResponseError;
use std::borrow::Cow;

/// What a request asked about: the same trouble has different codes for topics and for groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// Reading or writing a partition.
    Partition,
    /// A topic as a whole: creating, deleting.
    Topic,
    /// Settings of a topic.
    Config,
    /// A consumer group or a producer id.
    Coordinator,
}

/// An error on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Kafka's code.
    pub(crate) error: ResponseError,
    /// What happened and what to do, where the response has room for it.
    pub(crate) message: Cow<'static, str>,
}

impl Fault {
    pub(crate) fn new(error: ResponseError, message: impl Into<Cow<'static, str>>) -> Self {
        Self { error, message: message.into() }
    }

    /// Kafka's code for what the engine said.
    pub(crate) fn of(error: Error, about: About) -> Self {
        let code = code(error.kind, about);
        if error.kind == ErrorKind::Internal {
            tracing::error!(message = %error.message, "internal error; please report it");
        }
        Self::new(code, error.message)
    }

    pub(crate) fn append(error: AppendError) -> Self {
        Self::of(error.into(), About::Partition)
    }

    pub(crate) fn read(error: ReadError) -> Self {
        match error {
            ReadError::OutOfRange { .. } => {
                Self::new(ResponseError::OffsetOutOfRange, error.to_string())
            }
            ReadError::Storage { .. } => {
                tracing::error!(%error, "cannot read a partition");
                Self::new(ResponseError::KafkaStorageError, error.to_string())
            }
        }
    }
}

/// What the door's own session was given: that is denied nothing.
pub(crate) fn own<T: Default>(given: Result<T, Error>) -> T {
    given.unwrap_or_else(|error| {
        tracing::error!(%error, "the broker was denied its own state; please report it");
        T::default()
    })
}

/// Kafka's code of a denial.
pub(crate) fn denied(error: Error) -> ResponseError {
    Fault::of(error, About::Topic).error
}

/// The one map. Retriable kinds get retriable codes, so that clients' own retries do what the
/// kind says.
pub(crate) fn code(kind: ErrorKind, about: About) -> ResponseError {
    use ResponseError as Code;
    match kind {
        ErrorKind::NotFound => match about {
            About::Coordinator => Code::GroupIdNotFound,
            About::Partition | About::Topic | About::Config => Code::UnknownTopicOrPartition,
        },
        ErrorKind::Denied(kind) => match kind {
            ResourceKind::Topic => Code::TopicAuthorizationFailed,
            ResourceKind::Group => Code::GroupAuthorizationFailed,
            ResourceKind::TransactionalId => Code::TransactionalIdAuthorizationFailed,
            ResourceKind::DelegationToken => Code::DelegationTokenAuthorizationFailed,
            ResourceKind::Cluster | ResourceKind::User => Code::ClusterAuthorizationFailed,
        },
        ErrorKind::AlreadyExists => Code::TopicAlreadyExists,
        ErrorKind::InvalidArgument => match about {
            About::Topic | About::Config => Code::InvalidConfig,
            About::Partition | About::Coordinator => Code::InvalidRequest,
        },
        ErrorKind::InvalidName => Code::InvalidTopicException,
        ErrorKind::InvalidRecord | ErrorKind::DuplicateKey => Code::InvalidRecord,
        ErrorKind::Corrupt => Code::CorruptMessage,
        ErrorKind::TooLarge => Code::MessageTooLarge,
        ErrorKind::Conflict => match about {
            About::Coordinator => Code::CoordinatorLoadInProgress,
            About::Partition | About::Topic | About::Config => Code::NotLeaderOrFollower,
        },
        ErrorKind::OutOfRange => Code::OffsetOutOfRange,
        ErrorKind::OutOfOrderSequence => Code::OutOfOrderSequenceNumber,
        ErrorKind::SequenceUsedBefore => Code::UnknownProducerId,
        ErrorKind::ProducerFenced => Code::InvalidProducerEpoch,
        ErrorKind::NotInTransaction => Code::InvalidTxnState,
        ErrorKind::DiskFull => Code::KafkaStorageError,
        ErrorKind::Unavailable => match about {
            About::Coordinator => Code::CoordinatorNotAvailable,
            About::Partition => Code::NotLeaderOrFollower,
            About::Topic | About::Config => Code::LeaderNotAvailable,
        },
        ErrorKind::TimedOut => Code::RequestTimedOut,
        ErrorKind::Storage => match about {
            About::Coordinator => Code::CoordinatorNotAvailable,
            About::Partition | About::Topic | About::Config => Code::KafkaStorageError,
        },
        ErrorKind::Unsupported => match about {
            About::Config => Code::InvalidConfig,
            About::Partition | About::Topic | About::Coordinator => Code::UnsupportedVersion,
        },
        ErrorKind::Internal => Code::UnknownServerError,
    }
}
