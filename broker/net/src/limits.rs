//! Bounds of listening.

use std::time::Duration;

/// Connections the system holds for us until we take them.
pub const BACKLOG: i32 = 4096;

/// How long accepting pauses when it fails, as it does when file descriptors run out.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections above a limit that are being told so at one time; more are closed without a word.
pub const APOLOGIES_MAX: usize = 64;

/// How long a client may take to send its first byte. Until then a connection holds next to no
/// memory.
pub const FIRST_BYTE_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a TLS handshake may take.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// How long the last words on a connection may take to leave.
pub const GOODBYE_TIME_MAX: Duration = Duration::from_secs(1);

/// How soon a certificate that was replaced is used.
pub const REREAD_EVERY: Duration = Duration::from_secs(5);

/// Log lines a second that connections can cause, over all doors.
pub const LINES_A_SECOND: usize = 10;
