//! Streams, their tables and subscriptions: what doors and queries build on.
//!
//! A door hands [`Submission`]s to [`Engine::submit`]; the log commits them in rounds; the applier
//! collapses keyed streams into tables; readers take a [`Cut`], or follow a [`PartitionLog`] and
//! wait with an [`Interest`].
//!
//! Invariant: there is one way in, the log; everything else is a function of it.
//! Invariant: rounds: `flushed ≤ applied ≤ published ≤ synced ≤ written`.
//! Invariant: state without a home in the log does not exist: catalog, offsets and producer ids
//! are ledgers.

mod applier;
mod catalog;
mod changes;
mod compaction;
mod engine;
mod error;
mod housekeeping;
mod interest;
mod ledger;
mod offsets;
mod resources;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod transactions;

pub use anabranch_log::{
    Aborted, Append, AppendError, AppendResult, Appended, Atomicity, Chunk, Inspection,
    KnownProducer, Part, PartitionLog, Preconditions, ReadError, Reply, Submission, Until,
    Verified, key_hash,
};
pub use anabranch_table::{self as table, TableId};
pub use anabranch_types::StreamId;
pub use catalog::Catalog;
pub use changes::{StreamChange, StreamSpec};
pub use engine::{Cut, Engine, Reserved, Settings, Stats};
pub use error::{Error, ErrorKind};
pub use interest::Interest;
pub use offsets::{CommittedOffset, GroupEntry};
pub use resources::Resource;
pub use settings::{KNOWN_SETTINGS, KnownSetting, SettingKind, check_setting, known_setting};
pub use stream::{Column, ColumnType, Durability, Mode, Stream, StreamOptions, Timestamps};
pub use transactions::{
    EpochAfter, TRANSACTION_TIMEOUT_MS_MAX, TransactionError, TransactionStatus,
};
