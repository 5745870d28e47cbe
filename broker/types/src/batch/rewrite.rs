//! Batches of a compacted log: with fewer records, and covering the offsets of what went.

use super::header::{ATTRIBUTE_DELETE_HORIZON, HEADER_BYTES, renew_checksum};
use super::{BatchError, BatchHeader, Compression, Record, decode_records};
use crate::{LeaderEpoch, Offset, Timestamp, varint};

/// What compaction leaves of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Left {
    /// All of it, as it is.
    Whole,
    /// A batch of the same offsets with fewer records, or with a delete horizon.
    Part(Vec<u8>),
    /// Nothing.
    Nothing,
}

/// Leaves those records of a batch that `keep` wants. Offsets and times stay. A batch that keeps
/// a record without a value is given `horizon`, if it has none yet: the time from which on such
/// records may go (KIP-534).
///
/// # Errors
/// When the records cannot be decoded.
pub fn retain(
    header: &BatchHeader,
    batch: &[u8],
    horizon: Timestamp,
    scratch: &mut Vec<u8>,
    mut keep: impl FnMut(&Record<'_>) -> bool,
) -> Result<Left, BatchError> {
    let mut records = decode_records(header, batch, scratch)?;
    let mut kept = Vec::new();
    let mut newest = Timestamp(-1);
    let (mut has_tombstone, mut is_less) = (false, false);
    loop {
        let before = records.rest();
        let Some(record) = records.next() else { break };
        let record = record?;
        if keep(&record) {
            has_tombstone |= record.value.is_none();
            newest = newest.max(record.timestamp);
            kept.push((&before[..before.len() - records.rest().len()], record.timestamp));
        } else {
            is_less = true;
        }
    }
    let horizon = (has_tombstone && header.delete_horizon().is_none()).then_some(horizon);
    if kept.is_empty() {
        return Ok(Left::Nothing);
    }
    if !is_less && horizon.is_none() {
        return Ok(Left::Whole);
    }
    let mut out = batch[..HEADER_BYTES].to_vec();
    for (raw, time) in &kept {
        match horizon {
            // The horizon takes the place of the time that records count from.
            Some(horizon) => count_time_from(raw, time.0.wrapping_sub(horizon.0), &mut out)?,
            None => out.extend_from_slice(raw),
        }
    }
    let codec = header.compression()?;
    if codec != Compression::None {
        let compressed = codec.compress(&out[HEADER_BYTES..])?;
        out.truncate(HEADER_BYTES);
        out.extend_from_slice(&compressed);
    }
    let length = (out.len() - 12) as i32;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    if let Some(horizon) = horizon {
        let attributes = header.attributes | ATTRIBUTE_DELETE_HORIZON;
        out[21..23].copy_from_slice(&attributes.to_be_bytes());
        out[27..35].copy_from_slice(&horizon.0.to_be_bytes());
    }
    if !header.is_log_append_time() {
        out[35..43].copy_from_slice(&newest.0.to_be_bytes());
    }
    out[57..61].copy_from_slice(&(kept.len() as i32).to_be_bytes());
    renew_checksum(&mut out);
    Ok(Left::Part(out))
}

/// Appends a record with another difference of time.
fn count_time_from(raw: &[u8], delta: i64, out: &mut Vec<u8>) -> Result<(), BatchError> {
    let malformed = || BatchError::Malformed("a record is cut off");
    let mut body = raw;
    varint::take(&mut body).ok_or_else(malformed)?;
    let (attributes, mut rest) = body.split_first().ok_or_else(malformed)?;
    varint::take(&mut rest).ok_or_else(malformed)?;
    varint::put(out, (1 + varint::len(delta) + rest.len()) as i64);
    out.push(*attributes);
    varint::put(out, delta);
    out.extend_from_slice(rest);
    Ok(())
}

/// Has a batch cover the offsets up to `next`, which have no records any more.
///
/// # Panics
/// If `batch` is not one whole batch, or `next` is more than `i32::MAX` behind its first offset.
pub fn cover(batch: &mut [u8], next: Offset) {
    let mut base = [0; 8];
    base.copy_from_slice(&batch[..8]);
    let delta = next.0 - 1 - i64::from_be_bytes(base);
    let delta = i32::try_from(delta).expect("a batch covers at most i32::MAX offsets");
    batch[23..27].copy_from_slice(&delta.to_be_bytes());
    renew_checksum(batch);
}

/// A batch without records that covers offsets from `base`: [`cover`] says up to which.
#[must_use]
pub fn empty(base: Offset, epoch: LeaderEpoch) -> Vec<u8> {
    let mut batch = vec![0; HEADER_BYTES];
    batch[0..8].copy_from_slice(&base.0.to_be_bytes());
    batch[8..12].copy_from_slice(&((HEADER_BYTES - 12) as i32).to_be_bytes());
    batch[12..16].copy_from_slice(&epoch.0.to_be_bytes());
    batch[16] = 2;
    // No times, no producer.
    batch[27..57].fill(0xff);
    renew_checksum(&mut batch);
    batch
}
