//! Rows and what changes them.

use anabranch_types::{Stamp, Timestamp};
use bytes::Bytes;

/// A table in the store, unique in a broker and never used again; a new generation of a table is
/// a new id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

/// A row at a cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where its record stands.
    pub stamp: Stamp,
    /// The record's time.
    pub timestamp: Timestamp,
    /// The record's value.
    pub value: Bytes,
    /// The record's headers as they stand in the batch: count, then name and value each
    /// (empty when there are none).
    pub headers: Bytes,
}

/// One record, as a change of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// Which table.
    pub table: TableId,
    /// The record's key; empty is a key like any other.
    pub key: Bytes,
    /// Where the record stands.
    pub stamp: Stamp,
    /// What it does.
    pub operation: Operation,
}

/// What a record does to its key's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sets it.
    Put {
        /// The record's time.
        timestamp: Timestamp,
        /// The record's value.
        value: Bytes,
        /// See [`Row::headers`].
        headers: Bytes,
    },
    /// Removes it (a record without a value).
    Delete,
}
