//! Bounds of the client: what a server may make it allocate, and what it queues by default.

use anabranch_types::limits::BATCH_BYTES_MAX;

/// Largest answer to anything but a fetch, in bytes. Metadata of 100,000 partitions is about
/// 5 MiB.
pub const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// Largest answer to a fetch beyond the bytes that were asked for: a broker returns the first
/// batch even where it is larger than that, and names topics and partitions beside it.
pub const FETCH_SLACK_BYTES: usize = BATCH_BYTES_MAX + (1 << 20);

/// Largest answer to one produce request, in bytes: it names one partition and at most its
/// faulty records.
pub const PRODUCE_RESPONSE_BYTES_MAX: usize = 1 << 20;

/// Most frames that one write hands to the kernel (POSIX asks for 1,024 at most).
pub const WRITE_FRAMES_MAX: usize = 256;

/// Bytes of a connection's read buffer for the answers to produce requests.
pub const READ_BUFFER_BYTES: usize = 64 << 10;

/// Most partitions one topic may have here.
pub const PARTITIONS_MAX: usize = 100_000;

/// Frames that a partition keeps for reuse.
pub const FRAMES_POOLED_MAX: usize = 256;

/// Bytes that a partition's frames for reuse may hold together, beyond two full batches.
pub const FRAMES_POOLED_BYTES_MAX: usize = 128 << 10;

/// Batches in flight by partition that a broker can tell from duplicates (KIP-98: it remembers
/// the last five).
pub const IDEMPOTENT_BATCHES_IN_FLIGHT: usize = 5;

const _: () = assert!(PRODUCE_RESPONSE_BYTES_MAX <= RESPONSE_BYTES_MAX);
const _: () = assert!(WRITE_FRAMES_MAX <= 1024);
