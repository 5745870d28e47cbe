//! Streams, their tables and subscriptions: what doors and queries build on.
//!
//! A door hands [`Submission`]s to its [`Session`]; the log commits them in rounds; the applier
//! collapses keyed streams into tables; readers take a [`Cut`], or follow a [`PartitionLog`] and
//! wait with an [`Interest`].
//!
//! Invariant: there is one way in, the log; everything else is a function of it.
//! Invariant: no data leaves the engine, and none enters it, but by a [`Session`], which decides.
//! Invariant: rounds: `flushed ≤ applied ≤ published ≤ synced ≤ written`.
//! Invariant: state without a home in the log does not exist: catalog, offsets and producer ids
//! are ledgers.

mod access;
mod applier;
mod backup;
mod catalog;
mod changes;
mod compaction;
mod cut;
mod draft;
mod engine;
mod error;
mod expiry;
mod housekeeping;
mod interest;
mod ledger;
mod marks;
mod offsets;
mod own;
mod rekey;
mod resources;
mod retention;
mod sequences;
mod session;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod transactions;
mod views;

pub use access::{CredentialChange, credentials_of_password};
pub use anabranch_access::{
    Access, CLUSTER, Credential, CredentialError, Credentials, Exchange, Failed, Grant,
    GrantFilter, ITERATIONS_MAX, ITERATIONS_MIN, Identity, Mechanism, Operation, OperationSet,
    Pattern, PatternFilter, Permission, Principal, PrincipalRecord, Resource as Guarded,
    ResourceKind, SaslMechanism,
};
pub use anabranch_log::{
    Aborted, Append, AppendError, AppendResult, Appended, Atomicity, CheckedKeys, Chunk,
    Inspection, KnownProducer, Part, PartitionLog, Preconditions, ReadError, Reply, Submission,
    Until, Verified, key_hash,
};
pub use anabranch_table::{self as table, TableId};
pub use anabranch_types::StreamId;
pub use backup::{Backup, BackupError, Manifest, restore, verify_backup};
pub use catalog::Catalog;
pub use changes::{Definition, StreamChange, StreamSpec};
pub use cut::{Cut, Tables};
pub use draft::{Draft, DraftMark};
pub use engine::{Engine, Reserved, Settings, Stats};
pub use error::{Error, ErrorKind};
pub use interest::Interest;
pub use marks::Marks;
pub use offsets::{CommittedOffset, GroupEntry};
pub use rekey::Rekeying;
pub use resources::Resource;
pub use sequences::{
    Sequence, SequenceChange, SequenceError, SequenceOwner, SequenceSpec, SequenceStatus,
};
pub use session::{Login, Session, StreamRef};
pub use settings::{KNOWN_SETTINGS, KnownSetting, SettingKind, check_setting, known_setting};
pub use stream::{
    Check, Column, ColumnType, Durability, Filled, ItemType, Mode, Stream, StreamOptions,
    TextLength, Timestamps,
};
pub use transactions::{
    EpochAfter, TRANSACTION_TIMEOUT_MS_MAX, TransactionError, TransactionStatus,
};
pub use views::{View, ViewSpec};
