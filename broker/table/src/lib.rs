//! Tables: what the log collapses into, by key, highest stamp first.
//!
//! The engine's applier hands whole rounds of [`Mutation`]s to [`Tables::apply`]; readers take one
//! [`View`], which is a cut over all tables. Below the newest changes, which are sorted runs in
//! memory, stands a store: RocksDB, or memory.
//!
//! ```text
//! apply ──> sort, one row a key ──> run ─┐                        ┌─> get, get_many, scan
//!                                        ├─> View { runs, snapshot, progress }
//! table-writer: all runs, one write ─────┴─> store: what a restart finds
//! ```
//!
//! Invariant: a view never changes, and shows whole rounds.
//! Invariant: of two mutations of one key the higher stamp wins, in whatever order they come.
//! Invariant: of two runs that hold a key, the newer holds the higher stamp; any run's stamp is
//! above the store's.
//! Invariant: what [`Tables::open`] reports as progress is exactly what the store holds: the log
//! is replayed from there. The store has no write-ahead log of its own.
//! Invariant: a run owns its bytes: no row keeps a buffer of the log alive.

pub mod codec;
pub mod limits;
mod mutation;
mod rows;
mod store;
mod tables;
mod view;
mod writer;

pub use mutation::{Mutation, Operation, Row, TableId};
pub use tables::{Error, Progress, Settings, Stats, Tables};
pub use view::{KeyRange, Scan, View};
