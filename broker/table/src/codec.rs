//! Keys, rows and progress as the store keeps them.
//!
//! A key is the table's id, big-endian, then the record's key as it is:
//!
//! ```text
//! 0          4
//! │ table id │ key…
//! ```
//! The id has a fixed width and the key is the last part, so bytes compare as (table, key) does
//! and nothing needs an escape. Id [`OWN`] is the store's own: its keys are names.
//!
//! A row is a tag, its stamp and what it holds; numbers are zigzag variable-length integers:
//!
//! ```text
//! │ tag │ round │ partition │ offset │ timestamp │ [length, headers…] │ value…    a put
//! │ tag │ round │ partition │ offset │                                           a delete
//! ```
//! The tag's high half is the version, 1; its low half the [`kind`](self): 0 put, 1 put with
//! headers, 2 delete. Rows have no checksum of their own: RocksDB's blocks have one, checked at
//! each read. Retired versions and kinds stay reserved.
//!
//! Progress is big-endian, with its own checksum because all of recovery hangs on it:
//!
//! ```text
//! 0         1         9          17      21                            21+12·count
//! │ version │ applied │ highest  │ count │ count × (partition, offset) │ CRC-32C │
//! ```

#[cfg(test)]
mod tests;

use crate::mutation::{Mutation, Operation, Row, TableId};
use crate::tables::{Error, Progress};
use anabranch_types::{Offset, PartitionId, Round, Stamp, Timestamp, varint};
use bytes::{Buf, Bytes};

/// The table id that the store keeps for itself; no table may have it.
pub const OWN: TableId = TableId(u32::MAX);

/// Bytes in front of a record's key.
pub const TABLE_BYTES: usize = 4;

const VERSION: u8 = 1;
const KIND_PUT: u8 = 0;
const KIND_PUT_WITH_HEADERS: u8 = 1;
const KIND_DELETE: u8 = 2;

const PROGRESS_VERSION: u8 = 1;
const PROGRESS_FIXED: usize = 21;
const POSITION_BYTES: usize = 12;
const CRC_BYTES: usize = 4;

/// A point of progress as the store keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// What was applied.
    pub progress: Progress,
    /// The highest round of a stamp ever applied: what comes with a round above it is newer than
    /// every row there is.
    pub highest: Round,
}

/// Appends the store's key of a row.
pub fn put_key(out: &mut Vec<u8>, table: TableId, key: &[u8]) {
    out.extend_from_slice(&table.0.to_be_bytes());
    out.extend_from_slice(key);
}

/// The store's key of a row.
#[must_use]
pub fn key(table: TableId, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(TABLE_BYTES + key.len());
    put_key(&mut out, table, key);
    out
}

/// The table and record key of a store's key.
///
/// # Errors
/// [`Error::Damaged`] when it is too short.
pub fn split_key(key: &[u8]) -> Result<(TableId, &[u8]), Error> {
    let (table, rest) = key
        .split_first_chunk()
        .ok_or_else(|| Error::Damaged(format!("a key of {} bytes", key.len())))?;
    Ok((TableId(u32::from_be_bytes(*table)), rest))
}

/// The first key that does not belong to `table`.
///
/// # Panics
/// For [`OWN`], which is the last.
#[must_use]
pub fn table_end(table: TableId) -> [u8; TABLE_BYTES] {
    assert!(table != OWN, "the store's own keys have no end");
    (table.0 + 1).to_be_bytes()
}

/// Where the store keeps its progress.
pub(crate) fn progress_key() -> Vec<u8> {
    key(OWN, b"progress")
}

/// What the names of dropped tables begin with.
pub(crate) const DROPPED: &[u8] = b"dropped";

/// Where the store notes that a table was dropped.
pub(crate) fn dropped_key(table: TableId) -> Vec<u8> {
    let mut out = key(OWN, DROPPED);
    out.extend_from_slice(&table.0.to_be_bytes());
    out
}

/// Appends what the store keeps of a mutation.
pub fn put_mutation(out: &mut Vec<u8>, mutation: &Mutation) {
    match &mutation.operation {
        Operation::Put { timestamp, value, headers } => {
            let kind = if headers.is_empty() { KIND_PUT } else { KIND_PUT_WITH_HEADERS };
            out.push(VERSION << 4 | kind);
            put_stamp(out, mutation.stamp);
            varint::put(out, timestamp.0);
            if !headers.is_empty() {
                varint::put(out, headers.len() as i64);
                out.extend_from_slice(headers);
            }
            out.extend_from_slice(value);
        }
        Operation::Delete => {
            out.push(VERSION << 4 | KIND_DELETE);
            put_stamp(out, mutation.stamp);
        }
    }
}

/// The row that stands in `stored`; none for a delete. Nothing is copied.
///
/// # Errors
/// [`Error::Damaged`] for bytes that [`put_mutation`] did not write.
pub fn row(mut stored: Bytes) -> Result<Option<Row>, Error> {
    let mut rest: &[u8] = &stored;
    let parsed = (|| {
        let kind = take_kind(&mut rest)?;
        let stamp = take_stamp(&mut rest)?;
        if kind == KIND_DELETE {
            return rest.is_empty().then_some(None);
        }
        let timestamp = Timestamp(varint::take(&mut rest)?);
        let headers = if kind == KIND_PUT_WITH_HEADERS {
            let bytes = usize::try_from(varint::take(&mut rest)?).ok()?;
            let from = stored.len() - rest.len();
            rest = rest.get(bytes..)?;
            from..from + bytes
        } else {
            0..0
        };
        Some(Some((stamp, timestamp, headers, stored.len() - rest.len())))
    })();
    let Some((stamp, timestamp, headers, value_at)) = parsed.ok_or_else(|| damaged(&stored))?
    else {
        return Ok(None);
    };
    let headers = if headers.is_empty() { Bytes::new() } else { stored.slice(headers) };
    stored.advance(value_at);
    Ok(Some(Row { stamp, timestamp, value: stored, headers }))
}

/// The stamp of a stored row or delete.
///
/// # Errors
/// [`Error::Damaged`] for bytes that [`put_mutation`] did not write.
pub fn stamp(stored: &[u8]) -> Result<Stamp, Error> {
    let mut rest = stored;
    take_kind(&mut rest).and_then(|_| take_stamp(&mut rest)).ok_or_else(|| damaged(stored))
}

/// The round of a delete's stamp; none for anything else.
pub(crate) fn delete_round(stored: &[u8]) -> Option<Round> {
    let mut rest = stored;
    let kind = take_kind(&mut rest)?;
    (kind == KIND_DELETE).then(|| take_stamp(&mut rest).map(|stamp| stamp.round))?
}

/// Encodes a point of progress.
#[must_use]
pub fn encode_mark(mark: &Mark) -> Vec<u8> {
    let positions = &mark.progress.positions;
    let mut out = Vec::with_capacity(PROGRESS_FIXED + positions.len() * POSITION_BYTES + CRC_BYTES);
    out.push(PROGRESS_VERSION);
    out.extend_from_slice(&mark.progress.applied.0.to_be_bytes());
    out.extend_from_slice(&mark.highest.0.to_be_bytes());
    out.extend_from_slice(&(positions.len() as u32).to_be_bytes());
    for (partition, offset) in positions {
        out.extend_from_slice(&partition.0.to_be_bytes());
        out.extend_from_slice(&offset.0.to_be_bytes());
    }
    out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
    out
}

/// Decodes a point of progress.
///
/// # Errors
/// [`Error::Damaged`] for another version, a wrong length or a wrong checksum.
pub fn decode_mark(stored: &[u8]) -> Result<Mark, Error> {
    let damaged = |what: &str| Error::Damaged(format!("its progress has {what}"));
    let (body, crc) = stored.split_last_chunk().ok_or_else(|| damaged("no checksum"))?;
    if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
        return Err(damaged("a wrong checksum"));
    }
    if body.first() != Some(&PROGRESS_VERSION) {
        return Err(damaged("a version that this broker does not know"));
    }
    let mut rest = &body[1..];
    if rest.len() < PROGRESS_FIXED - 1 {
        return Err(damaged("an impossible length"));
    }
    let applied = Round(rest.get_u64());
    let highest = Round(rest.get_u64());
    let count = rest.get_u32() as usize;
    if count.checked_mul(POSITION_BYTES) != Some(rest.len()) {
        return Err(damaged("an impossible length"));
    }
    let positions =
        (0..count).map(|_| (PartitionId(rest.get_u32()), Offset(rest.get_i64()))).collect();
    Ok(Mark { progress: Progress { applied, positions }, highest })
}

fn put_stamp(out: &mut Vec<u8>, stamp: Stamp) {
    varint::put(out, stamp.round.0 as i64);
    varint::put(out, i64::from(stamp.partition.0));
    varint::put(out, stamp.offset.0);
}

fn take_kind(rest: &mut &[u8]) -> Option<u8> {
    let (&tag, after) = rest.split_first()?;
    *rest = after;
    let kind = tag & 0x0f;
    (tag >> 4 == VERSION && kind <= KIND_DELETE).then_some(kind)
}

fn take_stamp(rest: &mut &[u8]) -> Option<Stamp> {
    Some(Stamp {
        round: Round(varint::take(rest)? as u64),
        partition: PartitionId(u32::try_from(varint::take(rest)?).ok()?),
        offset: Offset(varint::take(rest)?),
    })
}

fn damaged(stored: &[u8]) -> Error {
    let shown = &stored[..stored.len().min(16)];
    Error::Damaged(format!("{} bytes that begin with {shown:02x?}", stored.len()))
}
