//! What doors hand to the commit loop, and what it answers.

use anabranch_types::batch::{BatchHeader, ProducedBatch};
use anabranch_types::{Offset, PartitionId, Round, Timestamp};
use bytes::Bytes;
use smallvec::SmallVec;

/// Appends of one caller, answered together by one call of `reply`: what a connection read from
/// its socket in one go becomes one submission, so that a round wakes it once.
pub struct Submission {
    /// The appends, committed in this order.
    pub appends: Vec<Append>,
    /// Called once, on the commit thread, with a result for each append in order: it must not
    /// block.
    pub reply: Reply,
}

/// See [`Submission::reply`].
pub type Reply = Box<dyn FnOnce(Vec<AppendResult>) + Send>;

/// For each part of an [`Append`], in order, what became of it.
pub type AppendResult = SmallVec<[Result<Appended, AppendError>; 1]>;

/// Batches for one or more partitions.
#[derive(Debug, Clone)]
pub struct Append {
    /// Batches; several of one partition follow each other.
    pub parts: SmallVec<[Part; 1]>,
    /// Whether the parts stand or fall together.
    pub atomicity: Atomicity,
    /// What must still hold for the append to happen; all of it or nothing is appended.
    pub preconditions: Option<Box<Preconditions>>,
}

/// Whether the parts of an append stand or fall together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Atomicity {
    /// Each for itself, as in a Kafka produce request.
    EachPart,
    /// All in one round or none (SQL).
    AllParts,
}

/// One validated batch for one partition.
#[derive(Debug, Clone)]
pub struct Part {
    /// Where to.
    pub partition: PartitionId,
    /// The batch, as [`anabranch_types::batch::validate`] passed it. Base offset and leader
    /// epoch are set on the way to the journal: in place, if it is large and nobody else holds it.
    pub batch: Bytes,
    /// Its header as it came.
    pub header: BatchHeader,
    /// Highest timestamp of a record.
    pub max_timestamp: Timestamp,
    /// Hash of each record's key, for streams that take preconditions.
    pub key_hashes: Vec<u64>,
}

impl Part {
    /// A batch that passed validation, on its way to `partition`.
    #[must_use]
    pub fn new(partition: PartitionId, batch: Bytes, passed: ProducedBatch) -> Self {
        Self {
            partition,
            batch,
            header: passed.header,
            max_timestamp: passed.max_timestamp,
            key_hashes: passed.key_hashes,
        }
    }
}

/// Optimistic concurrency: the caller read some keys at a cut and decided upon what it saw. The
/// append happens only if nothing was appended to those keys since.
#[derive(Debug, Clone, Default)]
pub struct Preconditions {
    /// The cut that was read.
    pub cut: Round,
    /// The keys that were read.
    pub keys: Vec<CheckedKeys>,
}

/// Keys that may stand in any of some partitions.
#[derive(Debug, Clone, Default)]
pub struct CheckedKeys {
    /// Where they may stand.
    pub partitions: Vec<PartitionId>,
    /// The keys, by [`crate::key_hash`]. Two keys of one hash can only make a conflict where there
    /// is none.
    pub hashes: Vec<u64>,
}

/// A part that is durable and visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the batch's first record. For a duplicate, the original's.
    pub base_offset: Offset,
    /// The round it came in.
    pub round: Round,
    /// First offset still kept in the partition.
    pub log_start: Offset,
    /// The time of the append, where the stream stamps its records with it.
    pub append_time: Option<Timestamp>,
}

/// Why a part was not appended. Nothing of it is visible then, except after
/// [`AppendError::Storage`], where no claim is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The partition was deleted, or never was.
    #[error("partition {0} does not exist")]
    UnknownPartition(PartitionId),
    /// The producer skipped a sequence (KIP-98).
    #[error(
        "out of order: the producer's next sequence is {expected}, the batch starts at {found}"
    )]
    OutOfOrderSequence {
        /// What should come.
        expected: i32,
        /// What came.
        found: i32,
    },
    /// What an earlier transaction of the producer had written, and gave up.
    #[error(
        "the producer used sequence {found} before, in a transaction that has ended: abort, and go \
         on with a new epoch"
    )]
    SequenceUsedBefore {
        /// What came.
        found: i32,
    },
    /// A newer incarnation of the producer has written.
    #[error("the producer's epoch is {current}, the batch has {found}")]
    ProducerFenced {
        /// The newest epoch seen.
        current: i16,
        /// The batch's.
        found: i16,
    },
    /// A transactional batch without a transaction, or the other way round.
    #[error(
        "the producer has no transaction in this partition: begin one, and add the partition to it"
    )]
    NotInTransaction,
    /// Who appends may not write there. The log itself never says so: who hands it appends does.
    #[error("who appends may not write to the stream: it needs a grant")]
    Denied,
    /// A precondition does not hold any more: read again and retry.
    #[error("a key was written since it was read")]
    Conflict,
    /// The cut of the preconditions is older than what is remembered: read again and retry.
    #[error("the read is too old to check: repeat it")]
    StaleCut,
    /// Too large for the journal.
    #[error(
        "{bytes} bytes in one atomic append; at most {max} fit: split it, or raise journal.file_bytes"
    )]
    TooLarge {
        /// What came.
        bytes: usize,
        /// What fits.
        max: usize,
    },
    /// The disk is nearly full.
    #[error(
        "the disk is nearly full: {free} bytes are free and {reserve} are kept in reserve; free space or shorten retention"
    )]
    DiskFull {
        /// Bytes free on the file system.
        free: u64,
        /// Bytes below which nothing is appended.
        reserve: u64,
    },
    /// Another part of an atomic append failed.
    #[error("another part of the same atomic append failed")]
    Together,
    /// A write or sync failed; appends stop until restart.
    #[error(
        "the log cannot be written since an earlier error: {0}; reads go on, restart the broker once the disk is sound"
    )]
    Storage(String),
    /// The broker shuts down.
    #[error("the broker is shutting down")]
    Stopping,
}
