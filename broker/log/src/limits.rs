//! Bounds of the log.

/// The journal's blocks: a round begins on one, so that a torn write of one round cannot reach
/// into another.
pub const JOURNAL_BLOCK_BYTES: usize = 4096;

/// Bytes that one round collects before it stops taking more, so that bulk does not hold up small
/// events for long. One append may be larger than that.
pub const ROUND_BYTES_TARGET: usize = 4 << 20;

/// Bytes of one append whose parts stand or fall together. It may be larger than the journal's
/// files: then it goes to segments.
pub const APPEND_BYTES_MAX: usize = 384 << 20;

/// Submissions that one round collects.
pub const ROUND_SUBMISSIONS_MAX: usize = 8192;

/// Submissions that may wait for the commit thread; a sender beyond that waits.
pub const COMMIT_QUEUE_MAX: usize = 16_384;

/// Milliseconds between two checkpoints that only begin new segments or free disk space.
pub const TIDY_INTERVAL_MS: i64 = 1_000;

/// Bytes of unwritten tail at which a partition is written to its segment.
pub const SEGMENT_WRITE_BYTES: usize = 64 << 10;

/// Bytes from which a batch is taken over as it is, without a copy, if nobody else holds its
/// buffer and the buffer is not much larger.
pub const OWN_BYTES: usize = 48 << 10;

/// Bytes of one partition in one round from which they go straight to its segment, and only their
/// place to the journal. Each such partition costs a sync of its own, as much as writing about so
/// many bytes once more (16 files: 64 KB each in 2.8 ms, 256 KB each in 6.1 ms).
pub const PLACE_BYTES: usize = 64 << 10;

/// Bytes a second up to which everything goes through the journal, and is written twice: its one
/// sync is sooner done than those of many files, rounds stay small, and answers come at once. With
/// lz4 and 16 partitions the middle answer came after 26 ms before, at 130 MB/s.
pub const JOURNAL_BYTES_PER_S: u64 = 220 << 20;

/// Bytes placed in segments after which a checkpoint is due: a start reads what came after it.
pub const PLACED_BYTES_MAX: u64 = 128 << 20;

/// Bytes between two index entries inside one round.
pub const INDEX_INTERVAL_BYTES: usize = 64 << 10;

/// Bytes of files removed at a time.
pub const SWEEP_BYTES: u64 = 8 << 20;

/// Bytes of recent batches kept in memory for consumers and tables that keep up.
pub const TAIL_BYTES_TARGET: usize = 12 << 20;

/// Bytes of batches in memory above which appends wait for the segment writer.
pub const TAIL_BYTES_MAX: usize = 32 << 20;

/// Bytes that one read of a partition gives at most, whatever is asked; one batch may be larger.
pub const READ_BYTES_MAX: usize = 16 << 20;

/// Bytes taken at a time when a transaction is read once more.
pub const TRANSACTION_READ_BYTES: usize = 1 << 20;

/// Producers remembered a partition; the one that wrote longest ago is forgotten first.
pub const PRODUCERS_MAX: usize = 10_000;

/// Batches remembered a producer and partition: what Kafka's clients may have in flight.
pub const PRODUCER_BATCHES: usize = 5;

/// Milliseconds after which a silent producer is forgotten (`producer.id.expiration.ms`).
pub const PRODUCER_EXPIRES_MS: i64 = 24 * 60 * 60 * 1000;

/// Hashes of recently written keys remembered a partition, for preconditions.
pub const RECENT_KEYS_MAX: usize = 1 << 20;

/// Milliseconds for which recently written keys are remembered at least, if there is room.
pub const RECENT_KEYS_MS: i64 = 5_000;

/// Partitions with lower ids are the broker's own: they may use the reserve of a full disk.
pub const INTERNAL_PARTITIONS: u32 = 16;

/// Bytes that a backup reads and writes at a time.
pub const BACKUP_PIECE_BYTES: usize = 1 << 20;

/// Bytes of a backup after which its file is synced: as much as the journal's syncs may have to wait
/// for.
pub const BACKUP_SYNC_BYTES: u64 = 8 << 20;

/// Bytes of a backup's list of files: a million of them.
pub const MANIFEST_BYTES_MAX: u64 = 128 << 20;

/// Leader epochs between a backup and what is restored from it: more starts than a broker has in
/// the life of a backup.
pub const RESTORED_EPOCHS: i32 = 10_000;

const _: () = assert!(TAIL_BYTES_TARGET < TAIL_BYTES_MAX);
/// Bytes that no segment is configured to exceed: positions in it are 32 bits wide, and it grows
/// until the checkpoint after it is full.
pub const SEGMENT_BYTES_MAX: u64 = 2 << 30;

const _: () = assert!(INDEX_INTERVAL_BYTES <= u32::MAX as usize);
