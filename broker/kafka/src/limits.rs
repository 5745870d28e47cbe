//! Bounds of this door. What they bound is named; a client that exceeds one gets an error or a
//! closed connection, never unbounded memory.

use std::time::Duration;

use anabranch_types::limits::BATCH_BYTES_MAX;

/// Largest request, in bytes: Kafka's `socket.request.max.bytes`. Only Produce may be this large.
pub const FRAME_BYTES_MAX: usize = 100 << 20;

/// Largest request of any other API, in bytes.
pub const CONTROL_FRAME_BYTES_MAX: usize = 16 << 20;

/// Frames above this share one budget of the whole door while they arrive, in bytes.
pub const FRAME_BYTES_FREE: usize = (1 << 20) + (64 << 10);

/// Frames from this size to [`FRAME_BYTES_FREE`] arrive in a buffer of their own, in bytes, so
/// that their batch can go to the log as it is: a batch from this size on is written from where it
/// arrived.
pub const FRAME_BYTES_OWN: usize = 48 << 10;

/// The budget of frames above [`FRAME_BYTES_FREE`], in bytes. One frame always fits.
pub const LARGE_FRAMES_BYTES_MAX: usize = 256 << 20;

/// Most array elements and tagged fields in one request other than Produce. A decoded element
/// takes some 200 bytes at most, so a decoded request takes at most 40 MB.
pub const REQUEST_ELEMENTS_MAX: usize = 200_000;

/// Produce requests of one connection that may wait for their commit.
pub const PIPELINE_REQUESTS_MAX: usize = 16_384;

/// Bytes of produce requests of one connection that may wait for their commit; one request is
/// always taken.
pub const PIPELINE_BYTES_MAX: usize = 8 << 20;

/// Bytes of one submission to the commit loop, unless one request is larger.
pub const SUBMISSION_BYTES_MAX: usize = 4 << 20;

/// Most bytes reserved at a time; the engine's own bound.
pub const RESERVE_BYTES_MAX: usize = 16 << 20;

/// Responses that wait for the client to read them, in bytes, before no more requests are taken.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// First size of a connection's read buffer, in bytes. It grows with what arrives.
pub const READ_BYTES_MIN: usize = 4 << 10;

/// Largest size of a connection's read buffer between frames, in bytes.
pub const READ_BYTES_MAX: usize = 256 << 10;

/// Most record bytes of one fetch response, unless one batch is larger.
pub const FETCH_BYTES_MAX: usize = 16 << 20;

/// Record bytes that all fetch responses may hold until clients have read them.
pub const FETCHES_BYTES_MAX: usize = 256 << 20;

/// Longest wait of a fetch, in milliseconds.
pub const FETCH_WAIT_MS_MAX: u64 = 600_000;

/// Longest metadata of a committed offset, in bytes: Kafka's `offset.metadata.max.bytes`.
pub const OFFSET_METADATA_BYTES_MAX: usize = 4096;

/// Most members of a group: Kafka's `group.max.size`, which is unbounded there by default.
pub const GROUP_MEMBERS_MAX: usize = 10_000;

/// Most groups with members.
pub const GROUPS_MAX: usize = 100_000;

/// Bytes of metadata that members of all groups may have given, so that joining is bounded.
pub const GROUPS_BYTES_MAX: usize = 256 << 20;

/// Rates that are kept for quotas: more users and client ids than that share one.
pub const QUOTA_RATES_MAX: usize = 10_000;

/// Partitions that one answer describes: Kafka's `max.request.partition.size.limit`.
pub const DESCRIBED_PARTITIONS_MAX: usize = 2_000;

/// A batch whose validation takes longer than this many bytes' worth leaves its worker thread to
/// others meanwhile.
pub const VALIDATE_INLINE_BYTES_MAX: usize = 512 << 10;

const _: () = assert!(LARGE_FRAMES_BYTES_MAX >= FRAME_BYTES_MAX);
const _: () = assert!(FETCHES_BYTES_MAX >= FETCH_BYTES_MAX + BATCH_BYTES_MAX);
const _: () = assert!(SUBMISSION_BYTES_MAX <= RESERVE_BYTES_MAX);
const _: () = assert!(CONTROL_FRAME_BYTES_MAX <= FRAME_BYTES_MAX);
// The first byte of a connection tells a request's length from TLS.
const _: () = assert!(FRAME_BYTES_MAX >> 24 < anabranch_net::TLS_HANDSHAKE as usize);

/// Logins that hash at a time, over all connections: the others wait, and other clients go on.
pub(crate) const LOGINS_MAX: usize = 2;

/// How long a failed login waits for its answer, after which its connection ends (Kafka's
/// `connection.failed.authentication.delay.ms`).
pub(crate) const LOGIN_FAILED_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of one bare message of a login.
pub(crate) const LOGIN_MESSAGE_BYTES_MAX: usize = 4096;
