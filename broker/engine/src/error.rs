//! One kind of error, which says what the caller should do; each door maps it to its own codes.

use anabranch_access::ResourceKind;
use anabranch_log::AppendError;

/// What the caller should do about an error. Doors match on it exhaustively.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Name something that exists: there is no such stream, partition or group.
    NotFound,
    /// Choose another name.
    AlreadyExists,
    /// Correct the request.
    InvalidArgument,
    /// Choose a name that is allowed and not reserved.
    InvalidName,
    /// Log in as somebody who may, or ask for a grant.
    Denied(ResourceKind),
    /// Correct the record: the stream does not take it.
    InvalidRecord,
    /// Send it again: the bytes are damaged.
    Corrupt,
    /// Send less at a time.
    TooLarge,
    /// Read again, then retry: somebody else wrote in between.
    Conflict,
    /// Stop, or choose another key: the key exists.
    DuplicateKey,
    /// Start from an offset that is kept.
    OutOfRange,
    /// Start a new producer: batches of this one were lost or reordered.
    OutOfOrderSequence,
    /// Abort the transaction, and go on with a new epoch.
    SequenceUsedBefore,
    /// Stop: a newer incarnation of this producer has taken over.
    ProducerFenced,
    /// Begin a transaction and add the partition to it.
    NotInTransaction,
    /// Retry later: the disk is nearly full.
    DiskFull,
    /// Retry later: the broker is starting, stopping, or behind.
    Unavailable,
    /// Retry with more time.
    TimedOut,
    /// Tell the operator: the disk failed.
    Storage,
    /// Use something else: this is not supported.
    Unsupported,
    /// Tell us: this is a bug.
    Internal,
}

/// An error with what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What the caller should do.
    pub kind: ErrorKind,
    /// What happened, and the remedy.
    pub message: String,
}

impl Error {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        let kind = match &error {
            AppendError::UnknownPartition(_) => ErrorKind::NotFound,
            AppendError::OutOfOrderSequence { .. } => ErrorKind::OutOfOrderSequence,
            AppendError::SequenceUsedBefore { .. } => ErrorKind::SequenceUsedBefore,
            AppendError::ProducerFenced { .. } => ErrorKind::ProducerFenced,
            AppendError::NotInTransaction => ErrorKind::NotInTransaction,
            AppendError::Denied => ErrorKind::Denied(ResourceKind::Topic),
            AppendError::Conflict | AppendError::StaleCut | AppendError::Together => {
                ErrorKind::Conflict
            }
            AppendError::TooLarge { .. } => ErrorKind::TooLarge,
            AppendError::DiskFull { .. } => ErrorKind::DiskFull,
            AppendError::Storage(_) => ErrorKind::Storage,
            AppendError::Stopping => ErrorKind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<anabranch_table::Error> for Error {
    fn from(error: anabranch_table::Error) -> Self {
        Self::new(ErrorKind::Storage, error.to_string())
    }
}
