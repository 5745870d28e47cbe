//! Bounds of this crate; [`crate::Settings`] starts from them.

/// Most runs in memory.
pub const RUNS_MAX: usize = 32;

/// Most rows in all runs.
pub const RUN_ROWS_MAX: usize = 262_144;

/// Most bytes in all runs.
pub const RUN_BYTES_MAX: usize = 64 << 20;

/// Bytes of applied records after which runs are written: bounds what a restart replays.
pub const FLUSH_BYTES: u64 = 256 << 20;

/// Bytes of RocksDB's block cache, index and filter blocks included.
pub const BLOCK_CACHE_BYTES: usize = 32 << 20;

/// Files that RocksDB keeps open.
pub const OPEN_FILES_MAX: i32 = 512;

/// Bytes of runs that only views already replaced keep alive. Beyond it the oldest of those views
/// is cancelled.
pub const PINNED_BYTES_MAX: u64 = 256 << 20;

/// Keys in one read of many from the store.
pub const GET_MANY_KEYS_MAX: usize = 1_024;

/// A scan takes rows from the store in pieces of this many bytes, growing to
/// [`SCAN_PIECE_BYTES_MAX`]; a piece holds at least one row.
pub const SCAN_PIECE_BYTES_MIN: usize = 4 << 10;

/// See [`SCAN_PIECE_BYTES_MIN`].
pub const SCAN_PIECE_BYTES_MAX: usize = 64 << 10;

/// One row in this many is looked up in the store when it is written, to find keys that moved to
/// another partition.
pub const MOVED_KEYS_SAMPLE: usize = 1_024;

/// Promises of [`crate::Tables::settle`] remembered between two writes.
pub const HORIZONS_MAX: usize = 1_024;

/// Most tables dropped by one write.
pub const DROPS_MAX: usize = 1_024;

/// Between two tries to write to a full disk.
pub const FULL_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

const _: () = assert!(RUNS_MAX >= 2 && RUN_ROWS_MAX >= 2);
const _: () = assert!(SCAN_PIECE_BYTES_MIN <= SCAN_PIECE_BYTES_MAX);
const _: () = assert!(RUN_BYTES_MAX as u64 <= PINNED_BYTES_MAX);
