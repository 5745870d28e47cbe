//! Building batches: for every door but Kafka's, which gets them built.

use super::header::{ATTRIBUTE_CONTROL, ATTRIBUTE_TRANSACTIONAL, HEADER_BYTES};
use super::{BatchError, Compression};
use crate::{ProducerEpoch, ProducerId, Sequence, Timestamp, varint};
use bytes::BytesMut;

/// Collects records and encodes them as one batch with base offset 0.
///
/// ```
/// use anabranch_types::{Timestamp, batch::{BatchBuilder, BatchHeader}};
/// let mut builder = BatchBuilder::default();
/// builder.push(Timestamp(1_700_000_000_000), Some(b"key"), Some(b"value"), &[]);
/// let batch = builder.build().unwrap();
/// assert_eq!(BatchHeader::read(&batch).unwrap().records_count, 1);
/// ```
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    producer: (ProducerId, ProducerEpoch, Sequence),
    /// Attributes beside the codec.
    flags: i16,
    /// What stands before the batch, then room for its header, then the records.
    records: Vec<u8>,
    /// Where the batch starts in `records`.
    start: usize,
    count: i32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::after(Vec::new())
    }
}

impl BatchBuilder {
    /// Builds the batch behind the bytes of `prefix`, in the same buffer: whoever frames batches
    /// (a produce request, a journal record) writes the frame first and copies nothing later.
    #[must_use]
    pub fn after(mut prefix: Vec<u8>) -> Self {
        let start = prefix.len();
        prefix.extend_from_slice(&[0; HEADER_BYTES]);
        Self {
            compression: Compression::None,
            producer: (ProducerId::NONE, ProducerEpoch(-1), Sequence(-1)),
            flags: 0,
            records: prefix,
            start,
            count: 0,
            base_timestamp: Timestamp(-1),
            max_timestamp: Timestamp(-1),
        }
    }

    /// Compresses the records with `compression`.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Makes the batch an idempotent producer's.
    pub fn set_producer(&mut self, id: ProducerId, epoch: ProducerEpoch, sequence: Sequence) {
        self.producer = (id, epoch, sequence);
    }

    /// Makes the batch a part of its producer's transaction.
    pub fn set_transactional(&mut self) {
        self.flags |= ATTRIBUTE_TRANSACTIONAL;
    }

    pub(super) fn set_control(&mut self) {
        self.flags |= ATTRIBUTE_TRANSACTIONAL | ATTRIBUTE_CONTROL;
    }

    /// Adds a record; headers are (name, value).
    pub fn push(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let timestamp_delta = timestamp.0 - self.base_timestamp.0;
        let mut length = 1 + varint::len(timestamp_delta) + varint::len(i64::from(self.count));
        length += bytes_len(key) + bytes_len(value) + varint::len(headers.len() as i64);
        for (name, value) in headers {
            length += bytes_len(Some(name)) + bytes_len(*value);
        }
        let out = &mut self.records;
        varint::put(out, length as i64);
        out.push(0);
        varint::put(out, timestamp_delta);
        varint::put(out, i64::from(self.count));
        put_bytes(out, key);
        put_bytes(out, value);
        varint::put(out, headers.len() as i64);
        for (name, value) in headers {
            put_bytes(out, Some(name));
            put_bytes(out, *value);
        }
        self.count += 1;
    }

    /// Records so far.
    #[must_use]
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Bytes of the batch so far, uncompressed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records.len() - self.start
    }

    /// The finished batch, one contiguous piece, without the prefix of [`Self::after`].
    ///
    /// # Errors
    /// When the codec fails.
    pub fn build(self) -> Result<BytesMut, BatchError> {
        let start = self.start;
        let mut all = BytesMut::from(bytes::Bytes::from(self.build_after()?));
        Ok(all.split_off(start))
    }

    /// The prefix given to [`Self::after`], followed by the finished batch.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn build_after(self) -> Result<Vec<u8>, BatchError> {
        let mut all = self.records;
        if self.compression != Compression::None {
            let records_from = self.start + HEADER_BYTES;
            let compressed = self.compression.compress(&all[records_from..])?;
            all.truncate(records_from);
            all.extend_from_slice(&compressed);
        }
        let batch = &mut all[self.start..];
        let length = (batch.len() - 12) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[12..16].copy_from_slice(&(-1i32).to_be_bytes());
        batch[16] = 2;
        let attributes = self.flags | self.compression.id();
        batch[21..23].copy_from_slice(&attributes.to_be_bytes());
        batch[23..27].copy_from_slice(&(self.count - 1).to_be_bytes());
        batch[27..35].copy_from_slice(&self.base_timestamp.0.to_be_bytes());
        batch[35..43].copy_from_slice(&self.max_timestamp.0.to_be_bytes());
        batch[43..51].copy_from_slice(&self.producer.0.0.to_be_bytes());
        batch[51..53].copy_from_slice(&self.producer.1.0.to_be_bytes());
        batch[53..57].copy_from_slice(&self.producer.2.0.to_be_bytes());
        batch[57..61].copy_from_slice(&self.count.to_be_bytes());
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        Ok(all)
    }
}

fn bytes_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::len(bytes.len() as i64) + bytes.len())
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put(out, -1),
        Some(bytes) => {
            varint::put(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}
