//! Bounds of this crate.

/// Longest statement, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 16 << 20;

/// How deeply views may be nested.
pub const VIEW_DEPTH_MAX: usize = 32;

/// Most views that one statement may name, with those that they name.
pub const VIEWS_MAX: usize = 1_000;

/// Most queries of WITH that one is in: DataFusion 55 looks for names in each twice, so the time of
/// that doubles with every one.
pub const WITH_DEPTH_MAX: usize = 12;

/// Longest filter of a live query, in bytes.
pub const FILTER_BYTES_MAX: usize = 64 << 10;

/// Rows that a scan gives at a time.
pub const SCAN_ROWS: usize = 8_192;

/// Most rows of one scan batch: what one record batch of the log can add to [`SCAN_ROWS`].
pub const SCAN_ROWS_MAX: usize = 131_072;

/// Most bytes of one scan batch, before the record that crosses it.
pub const SCAN_BYTES_MAX: usize = 16 << 20;

/// Bytes read from a partition's log in one go.
pub const READ_BYTES: usize = 1 << 20;

/// Most keys looked up one by one; a longer IN list is a scan with a filter.
pub const POINT_KEYS_MAX: usize = 10_000;

/// Keys looked up in one go.
pub const POINT_KEYS_BATCH: usize = 512;

/// Bytes that one statement, or one transaction, may write: it is one atomic append. Beyond
/// [`WRITE_BYTES_FREE`] it takes twice as much of the queries' memory.
pub const WRITE_BYTES_MAX: usize = 256 << 20;

/// Bytes of writes that are not counted against the queries' memory.
pub const WRITE_BYTES_FREE: usize = 1 << 20;

/// Bytes of a piece of a COPY outside of transactions: it is one atomic append.
pub const COPY_PIECE_BYTES_MAX: usize = 24 << 20;

/// Rows that one SELECT … FOR UPDATE may lock.
pub const LOCKED_ROWS_MAX: usize = 100_000;

/// Rows of a COPY that are read at a time, unless they reach [`COPY_BATCH_BYTES`] before.
pub const COPY_BATCH_ROWS: usize = 4_096;

/// Bytes of rows of a COPY that are read at a time, before the row that crosses it.
pub const COPY_BATCH_BYTES: usize = 1 << 20;

/// Longest row of a COPY, in bytes: its event could not be written.
pub const COPY_ROW_BYTES_MAX: usize = COPY_PIECE_BYTES_MAX;

/// Batches of a COPY that wait while those before are written.
pub const COPY_BATCHES: usize = 2;

/// Bytes of columns' names in rows of a COPY that become events at a time.
pub const COPY_WRITE_BYTES: usize = 1 << 20;

/// Times that rows are written anew for a primary key while others write to the stream.
pub const REKEYING_TRIES: usize = 5;

/// Times that an INSERT, UPDATE, DELETE or COPY is tried again after somebody else wrote its keys.
pub const CONFLICT_RETRIES: usize = 10;

/// Result batches that wait for a slow client.
pub const RESULT_BATCHES: usize = 2;

/// Queries that run at a time; more wait for one of them to end.
pub const QUERIES_MAX: usize = 64;

/// Cursors that a session has at a time.
pub const CURSORS_MAX: usize = 100;

/// Statements that a session has prepared by PREPARE.
pub const PREPARED_MAX: usize = 10_000;

/// Records that `INFER SCHEMA` looks at.
pub const INFER_RECORDS: usize = 20_000;

/// Most fields that `INFER SCHEMA` tells apart.
pub const INFER_FIELDS_MAX: usize = 1_000;

/// Most columns of a stream.
pub const COLUMNS_MAX: usize = 1_600;

/// Bytes of rows or changes that a live query hands over at a time.
pub const LIVE_BYTES: usize = 1 << 20;

/// Keys that a live query with a filter remembers, so that it can tell a row that stops matching
/// from one that never did. Beyond, it sends the delete in any case.
pub const LIVE_KEYS_MAX: usize = 1 << 18;

/// Bytes read ahead from each partition by a live query.
pub const LIVE_READ_BYTES: usize = 256 << 10;

const _: () = assert!(SCAN_ROWS < SCAN_ROWS_MAX);
