//! SQL over streams: planning and running queries, writing, live queries.
//!
//! ```text
//! text ─> statement ─> plan (DataFusion) ─> execute ─> scan: logs and tables at one cut ─> Rows
//!              │                                            rows: records ─> Arrow
//!              └─────> write: rows ─> events ─> one atomic append
//! live: snapshot at a cut ─> records after it, in the order of stamps
//! ```
//! A door makes a [`Session`] for each client and a [`Sql`] for all of them; a door that does not
//! speak Arrow takes [`JsonRows`] and [`LiveTable`].
//!
//! Invariant: everything a query touches is read at one cut.
//! Invariant: queries run on their own threads, never on the caller's.
//! Invariant: no statement writes other than by events through [`anabranch_engine::Session`].

mod catalog;
mod copy;
mod error;
mod evaluate;
mod execute;
mod infer;
mod json_rows;
pub mod limits;
mod live;
mod pending;
mod plan;
mod processes;
mod rows;
mod runtime;
mod scan;
mod sequences;
mod session;
mod snapshot;
mod sql;
mod statement;
#[cfg(test)]
mod testing;
mod write;

pub use anabranch_engine::{Error, ErrorKind};
pub use anabranch_semantics::{Texts, is_json};
pub use copy::{CopyFormat, CopyHeader, CopyIn, CopyOptions, CopyOut, CopyRows, Forced};
pub use error::{Error as SqlError, sqlstate};
pub use execute::Rows;
pub use json_rows::JsonRows;
pub use live::{Change, LiveBatch, LiveSpec, LiveTable, Op, Phase, Start};
pub use session::{Done, Outcome, Prepared, REPORTED, Session, TransactionState, VERSION};
pub use sql::{Settings, Sql};
pub use statement::{Forgets, Statement, parse};
