//! The fixed 61 bytes in front of a batch's records.

use super::{BatchError, Compression};
use crate::limits::BATCH_BYTES_MAX;
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Bytes of the header; the records follow.
pub const HEADER_BYTES: usize = 61;

/// Bytes that `length` does not count.
const LENGTH_FROM: usize = 12;
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;

const ATTRIBUTE_CODEC: i16 = 0b111;
const ATTRIBUTE_LOG_APPEND_TIME: i16 = 1 << 3;
pub(super) const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
pub(super) const ATTRIBUTE_CONTROL: i16 = 1 << 5;
pub(super) const ATTRIBUTE_DELETE_HORIZON: i16 = 1 << 6;

/// A batch's header, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Size of the whole batch in bytes, header included.
    pub bytes: usize,
    /// Leader epoch of the append.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C from `attributes` to the end.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: i16,
    /// Offset of the last record, less `base_offset`.
    pub last_offset_delta: i32,
    /// Timestamp that records count from.
    pub base_timestamp: Timestamp,
    /// Highest timestamp of a record.
    pub max_timestamp: Timestamp,
    /// Idempotent producer, or `NONE`.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// Its sequence for the first record.
    pub base_sequence: Sequence,
    /// Records in the batch.
    pub records_count: i32,
}

impl BatchHeader {
    /// Decodes the header in front of `input`, which may hold more than this batch.
    ///
    /// # Errors
    /// When the batch is cut off, of another version, or its lengths are impossible. The checksum
    /// is not looked at: see [`Self::check_crc`].
    pub fn read(input: &[u8]) -> Result<Self, BatchError> {
        let need = |need| BatchError::CutOff { have: input.len(), need };
        if input.len() < CRC_AT {
            return Err(need(HEADER_BYTES));
        }
        let magic = input[16] as i8;
        if magic != 2 {
            return Err(BatchError::Magic(magic));
        }
        let fixed: &[u8; HEADER_BYTES] = input.first_chunk().ok_or_else(|| need(HEADER_BYTES))?;
        let length = i32::from_be_bytes(field(fixed, 8));
        let bytes = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(LENGTH_FROM))
            .filter(|bytes| (HEADER_BYTES..=BATCH_BYTES_MAX).contains(bytes))
            .ok_or(BatchError::Malformed("its length is impossible"))?;
        if input.len() < bytes {
            return Err(need(bytes));
        }
        Ok(Self::decode(fixed, bytes))
    }

    /// The header of a batch that is elsewhere; `None` if there is none in `input`.
    #[must_use]
    pub fn read_alone(input: &[u8]) -> Option<Self> {
        let fixed = input.first_chunk()?;
        match Self::read(input) {
            Err(BatchError::CutOff { need, .. }) => Some(Self::decode(fixed, need)),
            other => other.ok(),
        }
    }

    fn decode(fixed: &[u8; HEADER_BYTES], bytes: usize) -> Self {
        Self {
            base_offset: Offset(i64::from_be_bytes(field(fixed, 0))),
            bytes,
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(fixed, 12))),
            crc: u32::from_be_bytes(field(fixed, CRC_AT)),
            attributes: i16::from_be_bytes(field(fixed, 21)),
            last_offset_delta: i32::from_be_bytes(field(fixed, 23)),
            base_timestamp: Timestamp(i64::from_be_bytes(field(fixed, 27))),
            max_timestamp: Timestamp(i64::from_be_bytes(field(fixed, 35))),
            producer_id: ProducerId(i64::from_be_bytes(field(fixed, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(fixed, 51))),
            base_sequence: Sequence(i32::from_be_bytes(field(fixed, 53))),
            records_count: i32::from_be_bytes(field(fixed, 57)),
        }
    }

    /// Compares the checksum with the bytes of the batch.
    ///
    /// # Errors
    /// [`BatchError::Checksum`] when they differ.
    pub fn check_crc(&self, batch: &[u8]) -> Result<(), BatchError> {
        let found = crc32c::crc32c(&batch[CRC_FROM..self.bytes]);
        if found == self.crc {
            Ok(())
        } else {
            Err(BatchError::Checksum { expected: self.crc, found })
        }
    }

    /// The first offset after the batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        Offset(self.base_offset.0 + i64::from(self.last_offset_delta) + 1)
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`BatchError::Codec`] for a codec Kafka does not define.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        Compression::from_id((self.attributes & ATTRIBUTE_CODEC) as u8)
    }

    /// Whether the batch holds transaction markers rather than records.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    /// From when on the batch's records without a value may go, if compaction has decided that
    /// (KIP-534).
    #[must_use]
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        (self.attributes & ATTRIBUTE_DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }

    /// Whether every record has the time of the append, which is then `max_timestamp`.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0
    }
}

/// Writes what the broker decides into a batch: both fields lie outside the checksum.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_base_offset_and_epoch(batch: &mut [u8], base_offset: Offset, epoch: LeaderEpoch) {
    batch[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[12..16].copy_from_slice(&epoch.0.to_be_bytes());
}

/// Gives every record of the batch the time `now` and renews the checksum
/// (`message.timestamp.type = LogAppendTime`).
///
/// # Panics
/// If `batch` is not one whole batch.
pub fn set_log_append_time(batch: &mut [u8], now: Timestamp) {
    let attributes = i16::from_be_bytes([batch[21], batch[22]]) | ATTRIBUTE_LOG_APPEND_TIME;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&now.0.to_be_bytes());
    renew_checksum(batch);
}

/// Says which is the latest time of the batch's records, that each has its own from its producer,
/// and renews the checksum (`message.timestamp.type = CreateTime`).
///
/// # Panics
/// If `batch` is not one whole batch.
pub fn set_max_timestamp(batch: &mut [u8], time: Timestamp) {
    let attributes = i16::from_be_bytes([batch[21], batch[22]]) & !ATTRIBUTE_LOG_APPEND_TIME;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&time.0.to_be_bytes());
    renew_checksum(batch);
}

/// Makes the batch an idempotent producer's, or gives it another sequence, and renews the checksum.
///
/// # Panics
/// If `batch` is not one whole batch.
pub fn set_producer(batch: &mut [u8], id: ProducerId, epoch: ProducerEpoch, sequence: Sequence) {
    batch[43..51].copy_from_slice(&id.0.to_be_bytes());
    batch[51..53].copy_from_slice(&epoch.0.to_be_bytes());
    batch[53..57].copy_from_slice(&sequence.0.to_be_bytes());
    renew_checksum(batch);
}

pub(super) fn renew_checksum(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
}

/// The batches that stand back to back in `input`. A batch cut off at the end, as a fetch by byte
/// range leaves it, ends the iteration without error; anything else that is no batch ends it
/// with one.
pub fn batches(mut input: &[u8]) -> impl Iterator<Item = Result<(BatchHeader, &[u8]), BatchError>> {
    std::iter::from_fn(move || match BatchHeader::read(input) {
        Ok(header) => {
            let (batch, rest) = input.split_at(header.bytes);
            input = rest;
            Some(Ok((header, batch)))
        }
        Err(BatchError::CutOff { .. }) => None,
        Err(error) => {
            input = &[];
            Some(Err(error))
        }
    })
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}
