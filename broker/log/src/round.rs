//! What stands in a journal record: the entries of one round.

use crate::codec::Reader;
use anabranch_types::{Offset, PartitionId, ProducerEpoch, ProducerId, Timestamp};

const TAG_BATCHES: u8 = 1;
const TAG_CREATE: u8 = 2;
const TAG_DELETE: u8 = 3;
const TAG_LOG_START: u8 = 4;
const TAG_PLACED: u8 = 5;
const TAG_BEGIN: u8 = 6;

/// Bytes of an entry without the batches.
pub(crate) const ENTRY_BYTES_MAX: usize = 25;

/// Bytes of an entry of batches that stand in their segment, without their headers.
pub(crate) const PLACED_BYTES: usize = 49;

/// A change of the log's shape, committed in a round like batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new, empty partition. Its id was never used before.
    Create(PartitionId),
    /// The partition and all its records are gone.
    Delete(PartitionId),
    /// Records below are gone.
    SetLogStart(PartitionId, Offset),
    /// The producer's transaction may write to the partition.
    Begin(PartitionId, ProducerId, ProducerEpoch),
}

/// One entry of a round, borrowed from the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    Batches {
        partition: PartitionId,
        base: Offset,
        time: Timestamp,
        bytes: &'a [u8],
    },
    /// Batches that stand in their segment already, durably.
    Placed {
        partition: PartitionId,
        time: Timestamp,
        placed: Placed<'a>,
    },
    Operation(Operation),
}

/// Batches in a segment, as the journal names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed<'a> {
    /// Base offset of the first batch.
    pub(crate) base: Offset,
    /// Base offset of the segment.
    pub(crate) segment: Offset,
    /// Byte in it.
    pub(crate) position: u64,
    /// Bytes of all batches.
    pub(crate) bytes: u64,
    /// The header of each batch. With the checksums in them they vouch for all bytes; and they tell
    /// what is to be known of producers even after the segment has gone.
    pub(crate) headers: &'a [u8],
}

pub(crate) fn put_placed(
    out: &mut Vec<u8>,
    partition: PartitionId,
    time: Timestamp,
    placed: &Placed<'_>,
) {
    out.push(TAG_PLACED);
    out.extend(partition.0.to_le_bytes());
    out.extend(time.0.to_le_bytes());
    out.extend(placed.base.0.to_le_bytes());
    out.extend(placed.segment.0.to_le_bytes());
    out.extend(placed.position.to_le_bytes());
    out.extend(placed.bytes.to_le_bytes());
    out.extend((placed.headers.len() as u32).to_le_bytes());
    out.extend(placed.headers);
}

/// What goes before the batches of a partition.
pub(crate) fn put_batches(
    out: &mut Vec<u8>,
    partition: PartitionId,
    base: Offset,
    time: Timestamp,
    bytes: usize,
) {
    out.push(TAG_BATCHES);
    out.extend(partition.0.to_le_bytes());
    out.extend(base.0.to_le_bytes());
    out.extend(time.0.to_le_bytes());
    out.extend((bytes as u32).to_le_bytes());
}

pub(crate) fn put_operation(out: &mut Vec<u8>, operation: &Operation) {
    let (tag, partition) = match *operation {
        Operation::Create(partition) => (TAG_CREATE, partition),
        Operation::Delete(partition) => (TAG_DELETE, partition),
        Operation::SetLogStart(partition, _) => (TAG_LOG_START, partition),
        Operation::Begin(partition, ..) => (TAG_BEGIN, partition),
    };
    out.push(tag);
    out.extend(partition.0.to_le_bytes());
    match *operation {
        Operation::Create(_) | Operation::Delete(_) => {}
        Operation::SetLogStart(_, offset) => out.extend(offset.0.to_le_bytes()),
        Operation::Begin(_, producer, epoch) => {
            out.extend(producer.0.to_le_bytes());
            out.extend(epoch.0.to_le_bytes());
        }
    }
}

/// The entries of a round's body; `None` in place of one that cannot be understood.
pub(crate) fn entries(body: &[u8]) -> impl Iterator<Item = Option<Entry<'_>>> {
    let mut fields = Reader(body);
    std::iter::from_fn(move || {
        if fields.0.is_empty() {
            return None;
        }
        let entry = decode_entry(&mut fields);
        if entry.is_none() {
            fields.0 = &[];
        }
        Some(entry)
    })
}

fn decode_entry<'a>(fields: &mut Reader<'a>) -> Option<Entry<'a>> {
    let tag = fields.u8()?;
    let partition = PartitionId(fields.u32()?);
    Some(match tag {
        TAG_BATCHES => {
            let base = Offset(fields.i64()?);
            let time = Timestamp(fields.i64()?);
            let length = fields.u32()? as usize;
            Entry::Batches { partition, base, time, bytes: fields.bytes(length)? }
        }
        TAG_PLACED => {
            let time = Timestamp(fields.i64()?);
            let base = Offset(fields.i64()?);
            let segment = Offset(fields.i64()?);
            let (position, bytes) = (fields.u64()?, fields.u64()?);
            let length = fields.u32()? as usize;
            let headers = fields.bytes(length)?;
            let placed = Placed { base, segment, position, bytes, headers };
            Entry::Placed { partition, time, placed }
        }
        TAG_CREATE => Entry::Operation(Operation::Create(partition)),
        TAG_DELETE => Entry::Operation(Operation::Delete(partition)),
        TAG_LOG_START => Entry::Operation(Operation::SetLogStart(partition, Offset(fields.i64()?))),
        TAG_BEGIN => {
            let (producer, epoch) = (ProducerId(fields.i64()?), ProducerEpoch(fields.i16()?));
            Entry::Operation(Operation::Begin(partition, producer, epoch))
        }
        _ => return None,
    })
}
