//! Bounds of this crate.

use std::time::Duration;

/// Connections at most, where nothing else is set.
pub(crate) const CONNECTIONS_MAX: usize = 1_000;

/// Largest message from a client: the longest statement and its frame.
pub(crate) const MESSAGE_BYTES_MAX: usize = anabranch_query::limits::STATEMENT_BYTES_MAX + 65_536;

/// Largest first message (PostgreSQL 15, postmaster.c, `MAX_STARTUP_PACKET_LENGTH`).
pub(crate) const STARTUP_BYTES_MAX: usize = 10_000;

/// Messages larger than this take a share of [`LARGE_BYTES_MAX`] while they arrive.
pub(crate) const SMALL_BYTES: usize = 64 << 10;

/// Bytes of large messages of all connections together.
pub(crate) const LARGE_BYTES_MAX: usize = 64 << 20;

/// Prepared statements and portals of one connection, each.
pub(crate) const PREPARED_MAX: usize = 10_000;
pub(crate) const PORTALS_MAX: usize = 1_000;

/// Bytes that are collected before they are written.
pub(crate) const FLUSH_BYTES: usize = 64 << 10;

/// How long a client may take to say who it is.
pub(crate) const STARTUP_TIME_MAX: Duration = Duration::from_secs(60);

/// How long closing waits for statements that run.
pub(crate) const CLOSING_MAX: Duration = Duration::from_secs(5);

const _: () = assert!(MESSAGE_BYTES_MAX < LARGE_BYTES_MAX);
