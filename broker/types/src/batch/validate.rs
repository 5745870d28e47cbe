//! What a produced batch must satisfy before it comes near the log. One bad batch with a valid
//! checksum would otherwise stop every consumer and every table behind it.

use super::{BatchError, BatchHeader, Compression, decode_records};
use crate::Timestamp;
use crate::limits::RECORD_FAULTS_MAX;

/// What the stream asks of its records.
#[derive(Clone, Copy, Debug, Default)]
pub struct ValidateOptions {
    /// Refuse records without a key (keyed streams).
    pub keys_required: bool,
    /// Hash each key, for preconditions (keyed streams).
    pub hash_keys: bool,
}

/// A batch that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducedBatch {
    /// Its header.
    pub header: BatchHeader,
    /// Highest timestamp of a record, counted anew.
    pub max_timestamp: Timestamp,
    /// A hash of each record's key, where asked for.
    pub key_hashes: Vec<u64>,
}

/// A batch that did not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// The batch as a whole is corrupt.
    #[error(transparent)]
    Corrupt(#[from] BatchError),
    /// Well formed, but not what a client may send.
    #[error("{0}")]
    Invalid(&'static str),
    /// Records that the stream does not take, by their number in the batch.
    #[error("{message} (record {} of the batch)", numbers.first().copied().unwrap_or_default())]
    Records {
        /// Numbers in the batch of such records, from 0; at least one, and not more than
        /// [`RECORD_FAULTS_MAX`].
        numbers: Vec<u32>,
        /// What is wrong and what to do.
        message: &'static str,
    },
}

/// Checks that `bytes` are exactly one batch that a client may produce: checksum, counts,
/// framing of each record, no control batch.
///
/// # Errors
/// [`RecordFault`]; nothing of the batch may be stored then.
pub fn validate(
    bytes: &[u8],
    options: ValidateOptions,
    hash: impl Fn(&[u8]) -> u64,
    scratch: &mut Vec<u8>,
) -> Result<ProducedBatch, RecordFault> {
    let header = BatchHeader::read(bytes)?;
    if header.base_offset.0 != 0 {
        return Err(RecordFault::Invalid("a produced batch begins at offset 0"));
    }
    if header.bytes != bytes.len() {
        return Err(RecordFault::Invalid("a produce request holds exactly one batch a partition"));
    }
    header.check_crc(bytes)?;
    if header.is_control() {
        return Err(RecordFault::Invalid("clients may not write control batches"));
    }
    if header.records_count < 1 {
        return Err(RecordFault::Invalid("the batch is empty"));
    }
    if header.last_offset_delta != header.records_count - 1 {
        return Err(RecordFault::Invalid("the batch's last offset does not match its count"));
    }
    if header.producer_id.0 >= 0 && (header.producer_epoch.0 < 0 || header.base_sequence.0 < 0) {
        return Err(RecordFault::Invalid("an idempotent producer needs an epoch and a sequence"));
    }
    let mut keyless = Vec::new();
    let mut max_timestamp = Timestamp(i64::MIN);
    let mut key_hashes = Vec::new();
    if options.hash_keys {
        // Bounded by the bytes there are, not by what the header claims.
        key_hashes.reserve((header.records_count as usize).min(bytes.len() / 7 + 1));
    }
    let compressed = header.compression()? != Compression::None;
    let mut records = decode_records(&header, bytes, scratch)?;
    for (number, record) in records.by_ref().enumerate() {
        let record = record?;
        if record.offset.0 != header.base_offset.0.wrapping_add(number as i64) {
            return Err(RecordFault::Invalid("the batch's records are not numbered in order"));
        }
        max_timestamp = max_timestamp.max(record.timestamp);
        match record.key {
            None if options.keys_required => {
                keyless.push(number as u32);
                if keyless.len() == RECORD_FAULTS_MAX {
                    break;
                }
            }
            Some(key) if options.hash_keys => key_hashes.push(hash(key)),
            _ => {}
        }
    }
    if !keyless.is_empty() {
        return Err(RecordFault::Records {
            numbers: keyless,
            message: "this stream is keyed: every record needs a key",
        });
    }
    if !records.rest().is_empty() {
        return Err(RecordFault::Invalid(if compressed {
            "the compressed batch holds more than its records"
        } else {
            "the batch holds more than its records"
        }));
    }
    Ok(ProducedBatch { header, max_timestamp, key_hashes })
}
