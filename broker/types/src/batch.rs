//! Kafka's RecordBatch, version 2: the bytes that are produced, journalled, stored and fetched.
//!
//! ```text
//! 0            8        12       16    17    21     23         27       35       43      51     53      57     61
//! │base offset │length  │leader  │magic│crc  │attri-│last      │base    │max     │producer│epoch │base   │count │records…
//! │            │        │epoch   │  2  │     │butes │delta     │time    │time    │id      │      │seq.   │      │
//! └─ not covered by the crc ─────┴─────┴─────┴─ covered by the crc (CRC-32C) to the batch's end ──────────────────────
//! ```
//! `length` counts from byte 12. Source: Kafka protocol guide, "Record Batch"; KIP-98.

mod build;
mod compress;
mod control;
mod header;
mod records;
mod rewrite;
#[cfg(test)]
mod tests;
mod validate;

pub use build::BatchBuilder;
pub use compress::Compression;
pub use control::{Ending, ending, marker};
pub use header::{
    BatchHeader, HEADER_BYTES, batches, set_base_offset_and_epoch, set_log_append_time,
    set_max_timestamp, set_producer,
};
pub use records::{Header, Headers, Record, Records, decode_records};
pub use rewrite::{Left, cover, empty, retain};
pub use validate::{ProducedBatch, RecordFault, ValidateOptions, validate};

/// Why bytes are not a record batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the record batch is cut off: {have} of {need} bytes")]
    CutOff {
        /// Bytes there are.
        have: usize,
        /// Bytes there should be.
        need: usize,
    },
    /// Message sets of Kafka before 0.11, or not a batch at all.
    #[error(
        "record batch version {0} is not supported; produce with version 2 (Kafka 0.11 or newer)"
    )]
    Magic(i8),
    /// A length, count or flag contradicts another.
    #[error("malformed record batch: {0}")]
    Malformed(&'static str),
    /// The checksum does not match.
    #[error("record batch checksum is {found:08x}, its header says {expected:08x}")]
    Checksum {
        /// What the header says.
        expected: u32,
        /// What the bytes give.
        found: u32,
    },
    /// A codec that Kafka does not define.
    #[error("unknown compression codec {0}")]
    Codec(u8),
    /// The codec refused the bytes, or they expand beyond the bound.
    #[error("cannot decompress the record batch: {0}")]
    Decompress(String),
}
