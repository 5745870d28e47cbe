//! The partitioned log and its commit loop: the broker's one truth.
//!
//! Doors hand [`Submission`]s to [`LogHandle`]; the commit thread turns them into rounds, which
//! are journalled, synced and published; readers see them through [`PartitionLog`]. A segment
//! writer fills the segment files behind.
//!
//! Invariant: nothing is readable, applied or shipped before its round is synced.
//! Invariant: `log_start ≤ high_watermark`; rounds: `published ≤ synced ≤ written`.
//! Invariant: segment ends come from checkpoint and journal, never from scanning.
//! Invariant: after a failed write or sync nothing is appended until restart.

mod append;
pub mod backup;
mod checkpoint;
mod codec;
mod commit;
mod commit_loop;
mod compaction;
pub mod disk;
mod inspect;
mod journal;
pub mod limits;
mod partition;
mod producers;
mod read;
mod recovery;
mod round;
mod segment;
mod segment_writer;
mod shared;
mod sweep;
#[cfg(test)]
mod tests;
mod transactions;
mod writer;

pub use append::{
    Append, AppendError, AppendResult, Appended, Atomicity, CheckedKeys, Part, Preconditions,
    Reply, Submission,
};
pub use commit::{Change, Command, Log};
pub use commit_loop::{LogHandle, now};
pub use compaction::{Compacted, Compaction, Dirt, KeySet, Tombstones};
pub use inspect::{Inspection, Verified, fuzz};
pub use journal::JournalSize;
pub use partition::{PartitionLog, Watcher};
pub use producers::KnownProducer;
pub use read::{Chunk, ReadError, Until};
pub use recovery::Options;
pub use round::Operation;
pub use segment_writer::{CheckpointPlan, SegmentWriter, Task};
pub use shared::{Figures, Memory, Pin, Shared};
pub use transactions::Aborted;
pub use writer::Settings;

use anabranch_types::{Offset, PartitionId, Round};

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk failed.
    #[error("the log cannot be opened: {0}")]
    Io(#[from] std::io::Error),
    /// A round is damaged although a later one is not.
    #[error(
        "{path} is damaged at byte {at}: round {round} cannot be read, but round {later} can; \
         restore a backup, or give up everything from round {round} on by starting once with \
         --accept-journal-damage"
    )]
    JournalDamaged {
        /// The journal file.
        path: String,
        /// Where in it.
        at: u64,
        /// The round that is damaged.
        round: Round,
        /// A round behind it that is not.
        later: Round,
    },
    /// Bulk that a round names is not in its segment.
    #[error(
        "partition {partition} is damaged at byte {position} of its segment {segment}, in round \
         {round}, which was acknowledged: restore a backup, or give up everything from that round \
         on by starting once with --accept-journal-damage"
    )]
    PlacedDamaged {
        /// Whose.
        partition: PartitionId,
        /// Base offset of the segment.
        segment: Offset,
        /// Where in it.
        position: u64,
        /// The round.
        round: Round,
    },
    /// No journal can have this size.
    #[error("the journal has at least two files of at least four blocks of 4096 bytes: {0:?}")]
    JournalSize(JournalSize),
    /// A round is whole, but not understood.
    #[error("round {round} of the journal was written by another version of Anabranch")]
    JournalVersion {
        /// The round.
        round: Round,
    },
    /// There is data, but no checkpoint that says how much of it counts.
    #[error("both checkpoint slots are damaged: restore a backup")]
    CheckpointDamaged,
    /// The data was written by a build that keeps it otherwise.
    #[error(
        "the data is of version {found}, this build of Anabranch reads version {known}: start the \
         build that wrote it, or an empty data directory"
    )]
    CheckpointVersion {
        /// Of the data.
        found: u16,
        /// Of this build.
        known: u16,
    },
}

/// The hash of a record's key that [`Preconditions`] go by. The same within one build; never
/// stored.
#[must_use]
pub fn key_hash(key: &[u8]) -> u64 {
    const SEEDS: ahash::RandomState =
        ahash::RandomState::with_seeds(0x616e_6162, 0x7261_6e63, 0x6821, 0x6b65_7973);
    SEEDS.hash_one(key)
}
