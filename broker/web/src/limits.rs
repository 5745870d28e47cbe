//! Bounds of the door. `PROTOCOL.md` states them; where an operator may want another, it stands in
//! [`Limits`].

use std::time::Duration;

/// Bounds that settings may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Subscriptions a WebSocket connection may have at one time.
    pub subscriptions_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { subscriptions_max: 64 }
    }
}

/// Unanswered requests of one WebSocket connection; more are not read.
pub const REQUESTS_MAX: usize = 1024;

/// Largest message a WebSocket client may send, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Messages of one connection that are read in one go, and published in one submission.
pub const MESSAGES_A_READ: usize = 128;

/// What a connection's socket is read with, in bytes. Allocated for each connection.
pub const READ_BUFFER_BYTES: usize = 8 << 10;

/// Size at which a message to a client is full, in bytes. The last event may exceed it.
pub const FRAME_BYTES: usize = 256 << 10;

/// What one step of a subscription may encode before the socket has to take it, in bytes.
pub const STEP_BYTES: usize = 512 << 10;

/// As [`STEP_BYTES`], where it is one compressed batch: stopping in the middle means to expand the
/// batch again.
pub const STEP_COMPRESSED_BYTES: usize = 4 << 20;

/// What one step reads from a partition, in bytes; a larger batch is read whole.
pub const READ_BYTES: usize = 256 << 10;

/// Largest value that is put into a message, in bytes of JSON. Guards the client, and the memory
/// that one event can cost a connection.
pub const VALUE_BYTES_MAX: usize = 16 << 20;

/// Steps that may be reading from disk at one time, all connections together.
pub const COLD_READS_MAX: usize = 8;

/// Largest body of an HTTP request, in bytes.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// Bodies of HTTP requests being read or published at one time, in bytes.
pub const BODIES_BYTES_MAX: usize = 256 << 20;

/// How long the body of a request may take.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the head of a request may take.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest head of a request, in bytes.
pub const HEAD_BYTES_MAX: usize = 64 << 10;

/// Events in one publish or POST.
pub const EVENTS_MAX: usize = 50_000;

/// Events or rows in one GET.
pub const PAGE_ITEMS_MAX: usize = 10_000;

/// Events or rows in one GET that does not say.
pub const PAGE_ITEMS_DEFAULT: usize = 100;

/// Size at which the answer to a GET is full, in bytes.
pub const PAGE_BYTES: usize = 4 << 20;

/// Longest wait of a GET.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// Largest SQL statement, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 1 << 20;

/// How long reads wait for the tables to catch up.
pub const CUT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a socket may take nothing before it is closed.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often the server pings.
pub const PING_EVERY: Duration = Duration::from_secs(20);

/// How long nothing may come from a client, pongs included, before its connection is closed.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Lags of groups in `/metrics`, one for each group and stream.
pub const GROUPS_SHOWN: usize = 200;

/// How long a closing handshake may take.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

const _: () = assert!(FRAME_BYTES <= STEP_BYTES && STEP_BYTES <= STEP_COMPRESSED_BYTES);
const _: () = assert!(BODY_BYTES_MAX <= BODIES_BYTES_MAX);
