//! What lies below the runs: an ordered map from bytes to bytes with atomic writes and snapshots.
//!
//! There are two: [`RocksStore`] and [`MemoryStore`]. Both run the suite in `store/tests.rs`.

mod memory;
mod rocks;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use memory::MemoryStore;
pub(crate) use rocks::RocksStore;

use crate::rows::Rows;
use crate::tables::Error;
use anabranch_types::Round;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

/// A change of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write<'a> {
    Put { key: &'a [u8], stored: &'a [u8] },
    Delete { key: &'a [u8] },
}

/// Keys from the first, included, to the last, which is above it and is not.
pub(crate) type Span = (Vec<u8>, Vec<u8>);

/// Bytes that a store takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// In files.
    pub(crate) disk_bytes: u64,
    /// In memory: rows, caches and what finds things.
    pub(crate) memory_bytes: u64,
}

/// One writer at a time; any number of readers through snapshots.
pub(crate) trait Store: Send + Sync {
    /// Removes all rows of `spans`, then applies the writes: in the order of their keys, each
    /// key once, none in the spans. All of it happens or nothing, and it survives a crash once
    /// this returns, if anything does here. May wait until the store has caught up.
    fn write(
        &self,
        spans: &[Span],
        writes: &mut dyn Iterator<Item = Write<'_>>,
    ) -> Result<(), Error>;

    /// Everything written so far.
    fn snapshot(&self) -> Arc<dyn Snapshot>;

    /// Whether what was written survives a crash.
    fn is_durable(&self) -> bool;

    /// Rows that are deletes with a stamp of a round below `horizon` may vanish from now on: no
    /// reader can tell.
    fn settle(&self, horizon: Round);

    /// Makes a copy that can be opened on its own in `directory`, which does not exist yet, of
    /// everything written so far. Says false if there is nothing to open, as of what is in memory.
    fn copy(&self, directory: &Path) -> Result<bool, Error>;

    /// What it takes in all.
    fn sizes(&self) -> Sizes;

    /// About how many bytes stand between two keys, as they are kept.
    fn range_bytes(&self, from: &[u8], to: &[u8]) -> u64;
}

/// A store at one moment.
pub(crate) trait Snapshot: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// As `get` for each key. The keys are sorted.
    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, Error>;

    /// As `get_many`, if no disk has to be waited for; `None` if one may have to.
    fn get_many_at_hand(&self, keys: &[&[u8]]) -> Result<Option<Vec<Option<Bytes>>>, Error> {
        self.get_many(keys).map(Some)
    }

    /// Rows in order, `from` included, `to` not.
    fn cursor<'s>(&'s self, from: &[u8], to: &[u8]) -> Box<dyn Cursor + 's>;
}

/// A position in a snapshot.
pub(crate) trait Cursor: Send {
    /// The next rows, about `bytes` of them and at least one; none at the end.
    fn next(&mut self, bytes: usize) -> Result<Rows, Error>;
}
