//! A store that dies with the process: for tests, and for brokers that want no disk for tables.
//!
//! Each key has its versions, newest first; a snapshot is a number. A version goes when a newer
//! one stands and no snapshot is left that sees it.

use super::{Cursor, Sizes, Snapshot, Span, Store, Write};
use crate::codec;
use crate::rows::{Rows, RowsBuilder};
use crate::tables::Error;
use anabranch_types::Round;
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    versions: Arc<RwLock<Versions>>,
}

#[derive(Debug, Default)]
struct Versions {
    rows: BTreeMap<Bytes, Vec<Version>>,
    /// The last write's number.
    sequence: u64,
    /// Numbers that snapshots see, with how many there are of each.
    snapshots: BTreeMap<u64, usize>,
    /// Keys with something to collect once no snapshot below the number is left, in its order.
    garbage: VecDeque<(u64, Bytes)>,
    /// Deletes that are rows, by the round of their stamp.
    deletes: BTreeMap<Round, Vec<Bytes>>,
    horizon: Round,
    bytes: u64,
}

#[derive(Debug)]
struct Version {
    sequence: u64,
    stored: Option<Bytes>,
}

impl Store for MemoryStore {
    fn write(
        &self,
        spans: &[Span],
        writes: &mut dyn Iterator<Item = Write<'_>>,
    ) -> Result<(), Error> {
        let mut versions = self.versions.write();
        versions.sequence += 1;
        for (from, to) in spans {
            let span = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
            let keys: Vec<_> =
                versions.rows.range::<[u8], _>(span).map(|row| row.0.clone()).collect();
            keys.iter().for_each(|key| versions.delete(key));
        }
        for write in writes {
            match write {
                Write::Put { key, stored } => versions.put(key, stored),
                Write::Delete { key } => versions.delete(key),
            }
        }
        versions.expire();
        versions.collect();
        Ok(())
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        let mut versions = self.versions.write();
        let sequence = versions.sequence;
        *versions.snapshots.entry(sequence).or_default() += 1;
        Arc::new(MemorySnapshot { versions: self.versions.clone(), sequence })
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn settle(&self, horizon: Round) {
        let mut versions = self.versions.write();
        versions.horizon = versions.horizon.max(horizon);
    }

    fn copy(&self, _directory: &Path) -> Result<bool, Error> {
        Ok(false)
    }

    fn sizes(&self) -> Sizes {
        Sizes { memory_bytes: self.versions.read().bytes, ..Sizes::default() }
    }

    fn range_bytes(&self, from: &[u8], to: &[u8]) -> u64 {
        let versions = self.versions.read();
        let range = (Bound::Included(from), Bound::Excluded(to));
        versions.rows.range::<[u8], _>(range).map(|(key, row)| row_bytes(key, row)).sum()
    }
}

impl Versions {
    fn put(&mut self, key: &[u8], stored: &[u8]) {
        let key = Bytes::copy_from_slice(key);
        let own = key.starts_with(&codec::OWN.0.to_be_bytes());
        if let Some(round) = codec::delete_round(stored).filter(|_| !own) {
            self.deletes.entry(round).or_default().push(key.clone());
        }
        self.add(key, Some(Bytes::copy_from_slice(stored)));
    }

    fn delete(&mut self, key: &[u8]) {
        if let Some((key, _)) = self.rows.get_key_value(key) {
            self.add(key.clone(), None);
        }
    }

    fn add(&mut self, key: Bytes, stored: Option<Bytes>) {
        let sequence = self.sequence;
        let row = self.rows.entry(key.clone()).or_default();
        self.bytes -= row_bytes(&key, row);
        if row.first().is_some_and(|newest| newest.sequence == sequence) {
            row.remove(0);
        }
        let garbage = !row.is_empty() || stored.is_none();
        row.insert(0, Version { sequence, stored });
        self.bytes += row_bytes(&key, row);
        if garbage {
            self.garbage.push_back((sequence, key));
        }
    }

    /// Removes rows that are deletes below the horizon.
    fn expire(&mut self) {
        let later = self.deletes.split_off(&self.horizon);
        for (round, keys) in std::mem::replace(&mut self.deletes, later) {
            for key in keys {
                let newest = self.rows.get(&key).and_then(|row| row[0].stored.as_ref());
                if newest.and_then(|stored| codec::delete_round(stored)) == Some(round) {
                    self.add(key, None);
                }
            }
        }
    }

    /// Removes versions that nobody can see any more.
    fn collect(&mut self) {
        let oldest = self.snapshots.keys().next().copied().unwrap_or(self.sequence);
        while let Some((_, key)) = self.garbage.pop_front_if(|(sequence, _)| *sequence <= oldest) {
            let Some(row) = self.rows.get_mut(&key) else {
                continue;
            };
            self.bytes -= row_bytes(&key, row);
            let seen = row.iter().position(|version| version.sequence <= oldest);
            row.truncate(seen.map_or(row.len(), |seen| seen + 1));
            if row.len() == 1 && row[0].stored.is_none() && row[0].sequence <= oldest {
                self.rows.remove(&key);
            } else {
                self.bytes += row_bytes(&key, row);
            }
        }
    }
}

fn row_bytes(key: &Bytes, row: &[Version]) -> u64 {
    let stored: usize =
        row.iter().filter_map(|version| version.stored.as_ref()).map(Bytes::len).sum();
    if row.is_empty() { 0 } else { (key.len() + stored) as u64 }
}

struct MemorySnapshot {
    versions: Arc<RwLock<Versions>>,
    sequence: u64,
}

impl MemorySnapshot {
    fn visible<'r>(&self, row: &'r [Version]) -> Option<&'r Bytes> {
        row.iter().find(|version| version.sequence <= self.sequence)?.stored.as_ref()
    }
}

impl Snapshot for MemorySnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let versions = self.versions.read();
        Ok(versions.rows.get(key).and_then(|row| self.visible(row)).cloned())
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, Error> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    fn cursor<'s>(&'s self, from: &[u8], to: &[u8]) -> Box<dyn Cursor + 's> {
        let from = Bound::Included(Bytes::copy_from_slice(from));
        Box::new(MemoryCursor { snapshot: self, from, to: to.into() })
    }
}

impl Drop for MemorySnapshot {
    fn drop(&mut self) {
        let mut versions = self.versions.write();
        if let Some(count) = versions.snapshots.get_mut(&self.sequence) {
            *count -= 1;
            if *count == 0 {
                versions.snapshots.remove(&self.sequence);
            }
        }
    }
}

struct MemoryCursor<'s> {
    snapshot: &'s MemorySnapshot,
    from: Bound<Bytes>,
    to: Vec<u8>,
}

impl Cursor for MemoryCursor<'_> {
    fn next(&mut self, bytes: usize) -> Result<Rows, Error> {
        let mut rows = RowsBuilder::default();
        let versions = self.snapshot.versions.read();
        let from = self.from.as_ref().map(|key| &key[..]);
        let to = Bound::Excluded(&self.to[..]);
        let mut last = None;
        if !is_empty_range(from, &self.to) {
            for (key, row) in versions.rows.range::<[u8], _>((from, to)) {
                if let Some(stored) = self.snapshot.visible(row) {
                    rows.push(key, stored);
                    last = Some(key.clone());
                }
                if rows.bytes() >= bytes {
                    break;
                }
            }
        }
        if let Some(last) = last {
            self.from = Bound::Excluded(last);
        }
        Ok(rows.build())
    }
}

/// Ranges that `BTreeMap` would panic on.
fn is_empty_range(from: Bound<&[u8]>, to: &[u8]) -> bool {
    match from {
        Bound::Included(from) | Bound::Excluded(from) => from >= to,
        Bound::Unbounded => false,
    }
}
