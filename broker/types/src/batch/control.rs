//! Control batches: the markers that end a transaction in a partition (KIP-98).

use super::{BatchBuilder, BatchError, BatchHeader, decode_records};
use crate::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use bytes::BytesMut;

/// How a transaction ends. Kafka's numbers of control records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Its records never were.
    Abort = 0,
    /// Its records count.
    Commit = 1,
}

/// A batch that ends the producer's transaction in a partition.
///
/// # Errors
/// None in fact: nothing is compressed.
pub fn marker(
    id: ProducerId,
    epoch: ProducerEpoch,
    ending: Ending,
    now: Timestamp,
) -> Result<BytesMut, BatchError> {
    let mut key = [0; 4];
    key[2..].copy_from_slice(&(ending as i16).to_be_bytes());
    // Version 0, and the coordinator's epoch, which never changes in a cluster of one.
    let value = [0; 6];
    let mut builder = BatchBuilder::default();
    builder.set_producer(id, epoch, Sequence(-1));
    builder.set_control();
    builder.push(now, Some(&key), Some(&value), &[]);
    builder.build()
}

/// What a control batch says; `None` for other batches, and other kinds of control records.
#[must_use]
pub fn ending(header: &BatchHeader, batch: &[u8]) -> Option<Ending> {
    if !header.is_control() {
        return None;
    }
    let mut scratch = Vec::new();
    let record = decode_records(header, batch, &mut scratch).ok()?.next()?.ok()?;
    match record.key?.get(2..4)? {
        [0, 0] => Some(Ending::Abort),
        [0, 1] => Some(Ending::Commit),
        _ => None,
    }
}
