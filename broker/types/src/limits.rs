//! Bounds that hold in every crate. A crate's own bounds stand in its own `limits`.

/// Largest record batch accepted, in bytes on the wire: Kafka's `message.max.bytes` default is
/// 1 MiB plus overhead; ours is larger so that one setting serves.
pub const BATCH_BYTES_MAX: usize = 16 << 20;

/// Most bytes one compressed batch may expand to. Guards against decompression bombs: a batch
/// that expands further is corrupt to us.
pub const BATCH_DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// Most headers one record may carry.
pub const RECORD_HEADERS_MAX: usize = 10_000;

/// Most records in one batch. A record takes at least seven bytes on the wire.
pub const BATCH_RECORDS_MAX: usize = BATCH_DECOMPRESSED_BYTES_MAX / 7;

/// Records of a batch that are named as not to be taken.
pub const RECORD_FAULTS_MAX: usize = 1_000;

const _: () = assert!(BATCH_BYTES_MAX <= BATCH_DECOMPRESSED_BYTES_MAX);
