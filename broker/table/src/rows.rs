//! Sorted rows in one buffer: a run in memory, or a piece that a scan took from the store.

#[cfg(test)]
mod tests;

use crate::codec;
use crate::mutation::Mutation;
use bytes::Bytes;
use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Rows in the order of their keys, each key once, encoded as [`codec`] says.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    bytes: Bytes,
    entries: Vec<Entry>,
}

/// A row's place: key, then value.
#[derive(Debug, Clone, Copy)]
struct Entry {
    at: usize,
    key_bytes: u32,
    value_bytes: u32,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    /// The store's key of a row.
    #[inline]
    pub(crate) fn key(&self, row: usize) -> &[u8] {
        let entry = &self.entries[row];
        &self.bytes[entry.at..entry.at + entry.key_bytes as usize]
    }

    /// The record's key of a row, sharing the buffer.
    #[inline]
    pub(crate) fn record_key(&self, row: usize) -> Bytes {
        let entry = &self.entries[row];
        self.bytes.slice(entry.at + codec::TABLE_BYTES..entry.at + entry.key_bytes as usize)
    }

    /// What is stored of a row.
    #[inline]
    pub(crate) fn stored(&self, row: usize) -> &[u8] {
        let entry = &self.entries[row];
        let from = entry.at + entry.key_bytes as usize;
        &self.bytes[from..from + entry.value_bytes as usize]
    }

    /// As [`Self::stored`], sharing the buffer.
    #[inline]
    pub(crate) fn share(&self, row: usize) -> Bytes {
        let entry = &self.entries[row];
        let from = entry.at + entry.key_bytes as usize;
        self.bytes.slice(from..from + entry.value_bytes as usize)
    }

    /// The row of a key.
    pub(crate) fn find(&self, key: &[u8]) -> Option<usize> {
        let row = self.first_from(key);
        (row < self.len() && self.key(row) == key).then_some(row)
    }

    /// The first row whose key is `key` or above; the number of rows if there is none.
    pub(crate) fn first_from(&self, key: &[u8]) -> usize {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from + (to - from) / 2;
            match self.key(middle).cmp(key) {
                Ordering::Less => from = middle + 1,
                Ordering::Equal => return middle,
                Ordering::Greater => to = middle,
            }
        }
        from
    }
}

/// Collects rows that come in order.
#[derive(Debug, Default)]
pub(crate) struct RowsBuilder {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

impl RowsBuilder {
    pub(crate) fn with_capacity(rows: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), entries: Vec::with_capacity(rows) }
    }

    /// Bytes of keys and values so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn push(&mut self, key: &[u8], stored: &[u8]) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(stored);
        self.entry(at, key.len());
    }

    pub(crate) fn push_mutation(&mut self, mutation: &Mutation) {
        let at = self.bytes.len();
        codec::put_key(&mut self.bytes, mutation.table, &mutation.key);
        let key_bytes = self.bytes.len() - at;
        codec::put_mutation(&mut self.bytes, mutation);
        self.entry(at, key_bytes);
    }

    fn entry(&mut self, at: usize, key_bytes: usize) {
        let value_bytes = self.bytes.len() - at - key_bytes;
        // Records come from batches of 64 MiB at most: both lengths fit.
        self.entries.push(Entry {
            at,
            key_bytes: u32::try_from(key_bytes).expect("a key is part of a batch"),
            value_bytes: u32::try_from(value_bytes).expect("a value is part of a batch"),
        });
    }

    pub(crate) fn build(self) -> Rows {
        let rows = Rows { bytes: Bytes::from(self.bytes), entries: self.entries };
        debug_assert!((1..rows.len()).all(|row| rows.key(row - 1) < rows.key(row)));
        rows
    }
}

/// Rows of one step of the applier, counted as long as any view holds them.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) rows: Rows,
    alive: Arc<AtomicU64>,
}

impl Run {
    /// `alive` counts the bytes of all runs that anybody holds.
    pub(crate) fn new(rows: Rows, alive: &Arc<AtomicU64>) -> Self {
        alive.fetch_add(rows.bytes() as u64, Relaxed);
        Self { rows, alive: alive.clone() }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.alive.fetch_sub(self.rows.bytes() as u64, Relaxed);
    }
}

/// What [`winners`] found.
#[derive(Debug, Default)]
pub(crate) struct Winners {
    /// Positions of the mutations that stand, in the order of (table, key).
    pub(crate) order: Vec<u32>,
    /// Times that a key came from another partition than before.
    pub(crate) moves: u64,
}

/// Of each key, the mutation with the highest stamp.
///
/// # Panics
/// For more than `u32::MAX` mutations.
pub(crate) fn winners(mutations: &[Mutation]) -> Winners {
    let count = u32::try_from(mutations.len()).expect("a step has fewer mutations");
    // Most comparisons are decided by the first bytes, without a look at the key itself.
    let mut sorted: Vec<(u128, u32)> = mutations.iter().map(prefix).zip(0..count).collect();
    sorted.sort_unstable_by(|a, b| {
        a.0.cmp(&b.0).then_with(|| {
            let (a, b) = (&mutations[a.1 as usize], &mutations[b.1 as usize]);
            a.key.cmp(&b.key).then_with(|| b.stamp.cmp(&a.stamp))
        })
    });
    let mut winners = Winners { order: Vec::with_capacity(sorted.len()), moves: 0 };
    let mut last: Option<(u128, &Mutation)> = None;
    for (prefix, at) in sorted {
        let mutation = &mutations[at as usize];
        match last {
            Some((before, kept)) if before == prefix && kept.key == mutation.key => {
                winners.moves += u64::from(kept.stamp.partition != mutation.stamp.partition);
            }
            _ => winners.order.push(at),
        }
        last = Some((prefix, mutation));
    }
    winners
}

/// Table and first bytes of the key: compares as (table, key) does, as far as it differs.
fn prefix(mutation: &Mutation) -> u128 {
    let mut bytes = [0; 16];
    bytes[..codec::TABLE_BYTES].copy_from_slice(&mutation.table.0.to_be_bytes());
    let head = &mutation.key[..mutation.key.len().min(16 - codec::TABLE_BYTES)];
    bytes[codec::TABLE_BYTES..codec::TABLE_BYTES + head.len()].copy_from_slice(head);
    u128::from_be_bytes(bytes)
}
