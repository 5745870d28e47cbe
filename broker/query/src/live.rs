//! Live queries over one stream: a snapshot at a cut, then every change after it, in the order of
//! stamps, with a token to resume from.
//!
//! ```text
//! upsert   rows of the view at the cut ──┐ (phase Snapshot)   records after the cut (phase Live)
//! append   records from where asked ─────┴──────────────────> …
//! ```
//! A live query holds offsets, and what one read of the log gave; a slow reader holds no more.
//! While a snapshot is read, its view of the tables is pinned: a reader that takes too long over
//! it is told so and starts again.

mod filter;
mod follow;
mod print;
#[cfg(test)]
mod tests;
mod token;

use crate::catalog::find;
use crate::error::{Error as SqlError, sqlstate};
use crate::limits::{LIVE_BYTES, SCAN_ROWS};
use crate::rows::{Layout, Relation, RowHeaders, RowInput};
use crate::scan::partition_index;
use crate::session::unknown;
use crate::sql::Sql;
use anabranch_engine::table::KeyRange;
use anabranch_engine::{
    Cut, Error, ErrorKind, Interest, Mode, Operation, Session as EngineSession, Stream,
};
use anabranch_types::{Offset, PartitionIndex, Round, Stamp, Timestamp};
use bytes::Bytes;
use filter::Selection;
use follow::{Follower, Seen};
use parking_lot::Mutex;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use token::Token;

/// What to follow.
#[derive(Debug, Clone)]
pub struct LiveSpec {
    /// The stream's name (Kafka: topic).
    pub stream: String,
    /// An SQL predicate over the stream's columns and system columns (`carrier = 'UA'`), without
    /// `WHERE`; at most [`FILTER_BYTES_MAX`](crate::limits::FILTER_BYTES_MAX).
    pub filter: Option<String>,
    /// Where to begin.
    pub start: Start,
}

/// Where a live query begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With everything: an upsert stream's rows at a cut, then changes; an append stream's
    /// retained records (all in phase [`Phase::Live`]).
    Beginning,
    /// With what is appended after now; no snapshot.
    Now,
    /// Append and upsert streams: the records from these offsets on, as a history (no snapshot).
    /// Partitions not named start at their log's start.
    Offsets(Vec<(PartitionIndex, Offset)>),
    /// After what [`LiveBatch::token`] covered.
    Resume(String),
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// The row is there now, as `Change::value` says. In append streams: a record.
    Upsert,
    /// The row of this key is not there any more, or stopped to match the filter. It may never
    /// have matched: a consumer ignores deletes of keys it does not hold. (Which keys matched is
    /// remembered for [`LIVE_KEYS_MAX`](crate::limits::LIVE_KEYS_MAX) keys, from a snapshot on.)
    Delete,
}

/// One row or change. Bytes are slices of what was read: cheap to clone.
#[derive(Debug, Clone)]
pub struct Change {
    /// What happened.
    pub op: Op,
    /// Where its record stands.
    pub stamp: Stamp,
    /// Kafka's number of the stamp's partition.
    pub partition: PartitionIndex,
    /// The record's time.
    pub timestamp: Timestamp,
    /// The record's key.
    pub key: Option<Bytes>,
    /// The record's value; `None` in every delete (and in an append stream's null records).
    pub value: Option<Bytes>,
}

/// Whether a batch belongs to the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Rows as they were at the cut, in key order; more snapshot follows.
    Snapshot,
    /// As `Snapshot`, and the last of it (possibly without rows). Given once.
    SnapshotEnd,
    /// Changes in the order of stamps (round, partition, offset).
    Live,
}

/// Some rows or changes.
#[derive(Debug, Clone)]
pub struct LiveBatch {
    /// See [`Phase`].
    pub phase: Phase,
    /// Possibly none, when only the token advanced.
    pub changes: Vec<Change>,
    /// Resumes after this batch, without gap or repeat; opaque. `None` inside a snapshot, which
    /// starts again when it is broken off.
    pub token: Option<String>,
    /// Everything up to this round has been given (in `Snapshot*`: the cut).
    pub round: Round,
}

/// A live query. Holds the resources of a reader between calls of [`Self::next_batch`] only; a
/// slow reader holds offsets, not buffers.
pub struct LiveTable {
    sql: Arc<Sql>,
    stream: Arc<Stream>,
    layout: Arc<Layout>,
    interest: Interest,
    inner: Arc<Mutex<Inner>>,
}

/// How long a live query waits at its start for tables to catch up.
const CUT_WAIT_MAX: Duration = Duration::from_secs(30);

/// What reads; on the query threads.
struct Inner {
    stream: Arc<Stream>,
    selection: Selection,
    follower: Follower,
    phase: Reading,
    /// Given with the next call, even if the last one was dropped.
    ready: Option<LiveBatch>,
    /// Read, and waiting for tables.
    seen: Option<Seen>,
    engine: EngineSession,
    cluster: String,
}

enum Reading {
    Snapshot { cut: Cut, from: Bound<Bytes> },
    Live,
}

/// What a step of reading came to.
enum Step {
    /// A batch is ready.
    Ready,
    /// There is nothing to read until the log advances.
    CaughtUp,
    /// Tables have to catch up first.
    Behind,
}

impl LiveTable {
    /// Starts a live query.
    ///
    /// # Errors
    /// `NotFound`: no such stream. `InvalidArgument`: the filter does not parse, or uses what is
    /// not per row; the token is not of this stream. `OutOfRange`: retention took what comes after
    /// the token (the message names the earliest one) or the offset.
    pub async fn open(sql: &Arc<Sql>, spec: LiveSpec) -> Result<Self, Error> {
        Self::open_inner(sql, spec).await.map_err(Into::into)
    }

    async fn open_inner(sql: &Arc<Sql>, spec: LiveSpec) -> Result<Self, SqlError> {
        let engine = sql.engine();
        let stream = find(engine, &spec.stream).ok_or_else(|| unknown(&spec.stream))?;
        let layout = Layout::new(&stream, Relation::Rows);
        // First the interest, then reading, then waiting: nothing is missed.
        let interest = engine.interest(&stream.partitions);
        let runtime_of = sql.clone();
        let inner = {
            let (sql, stream, layout) = (sql.clone(), stream.clone(), layout.clone());
            let opening = async move { Inner::open(&sql, stream, &layout, spec).await };
            runtime_of.runtime.run(opening).await?
        };
        Ok(Self { sql: sql.clone(), stream, layout, interest, inner: Arc::new(Mutex::new(inner)) })
    }

    /// The stream, as it was declared when the query started.
    #[must_use]
    pub fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The next rows or changes, about a megabyte at most; waits for the first. Cancel-safe: a
    /// call that was dropped loses nothing.
    ///
    /// # Errors
    /// `Denied`: it may not be read any more. `NotFound`: the stream was dropped. `OutOfRange`: the reader was slower than retention.
    /// `Storage`: the disk failed. After an error the query is over.
    pub async fn next_batch(&mut self) -> Result<LiveBatch, Error> {
        loop {
            if let Some(batch) = self.inner.lock().ready.take() {
                return Ok(batch);
            }
            let inner = self.inner.clone();
            // The step runs to its end or not at all, and leaves what it read in `ready`.
            let step = self.sql.runtime.run(async move { inner.lock().step() }).await?;
            match step {
                Step::Ready => {}
                Step::CaughtUp => self.interest.changed().await,
                Step::Behind => drop(self.sql.engine().cut(CUT_WAIT_MAX).await?),
            }
        }
    }

    /// The row that `change` leaves behind as JSON: the fields of the record's value with the
    /// declared key's columns put in place. A value that is JSON but no object stands as it is;
    /// other text as a JSON string; other bytes as a string `\x…` in hexadecimal. `null` for
    /// deletes.
    pub fn row_json(&self, change: &Change, out: &mut Vec<u8>) {
        print::row(&self.stream, &self.layout, change, out);
    }

    /// The record's key as JSON: the key's column (or an array of them) for declared keys, else a
    /// string: text, or `\x…` in hexadecimal where it is not UTF-8. `null` without a key.
    pub fn key_json(&self, change: &Change, out: &mut Vec<u8>) {
        print::key(&self.layout, change, out);
    }
}

impl Inner {
    async fn open(
        sql: &Sql,
        stream: Arc<Stream>,
        layout: &Layout,
        spec: LiveSpec,
    ) -> Result<Self, SqlError> {
        let engine = sql.engine();
        let keyed = stream.mode == Mode::Upsert && stream.table.is_some();
        let cluster = engine.cluster_id().to_owned();
        let from_snapshot = spec.start == Start::Beginning && keyed;
        let selection =
            Selection::new(sql, &stream, layout, spec.filter.as_deref(), from_snapshot)?;
        let mut follower = Follower::new(engine, &stream)?;
        let mut ready = None;
        let mut phase = Reading::Live;
        match spec.start {
            Start::Beginning if keyed => {
                let cut = engine.cut(CUT_WAIT_MAX).await?;
                follower.seek(Token::after_round(cut.round), None)?;
                phase = Reading::Snapshot { cut, from: Bound::Unbounded };
            }
            Start::Beginning => {}
            Start::Now => {
                let now = Token::after_round(engine.published());
                follower.seek(now, None)?;
                ready = Some(LiveBatch {
                    phase: Phase::Live,
                    changes: Vec::new(),
                    token: Some(now.encode(&cluster, &stream)),
                    round: now.round,
                });
            }
            Start::Offsets(offsets) => follower.seek_offsets(&offsets)?,
            Start::Resume(text) => {
                let token = Token::decode(&text, &cluster, &stream)?;
                if token.round > engine.published() {
                    return Err(token::refused("it is of a time that this broker has not seen"));
                }
                follower.seek(token, Some(&cluster))?;
            }
        }
        let (seen, engine) = (None, engine.clone());
        Ok(Self { stream, selection, follower, phase, ready, seen, engine, cluster })
    }

    /// Reads some more, and leaves it in `ready`.
    fn step(&mut self) -> Result<Step, SqlError> {
        if self.ready.is_some() {
            return Ok(Step::Ready);
        }
        // A grant that was revoked meanwhile gives nothing more.
        self.engine.check_stream_access(Operation::Read, &self.stream.name)?;
        match &self.phase {
            Reading::Snapshot { .. } => self.snapshot(),
            Reading::Live => self.live(),
        }
    }

    fn snapshot(&mut self) -> Result<Step, SqlError> {
        let Reading::Snapshot { cut, from } = &mut self.phase else {
            return Err(SqlError::internal("there is no snapshot"));
        };
        let table = self.stream.table.ok_or_else(|| SqlError::internal("there is no table"))?;
        let range = KeyRange { from: from.clone(), to: Bound::Unbounded };
        let (mut rows, mut bytes, mut last) = (Vec::new(), 0, None);
        for entry in cut.tables.scan(table, range)? {
            let (key, row) = entry?;
            bytes += key.len() + row.value.len();
            last = Some(key.clone());
            rows.push((key, row));
            if bytes >= LIVE_BYTES || rows.len() >= SCAN_ROWS {
                break;
            }
        }
        let round = cut.round;
        let inputs = rows.iter().map(|(key, row)| RowInput {
            partition: partition_index(&self.stream, row.stamp.partition),
            offset: row.stamp.offset,
            timestamp: row.timestamp,
            key: Some(key),
            value: Some(&row.value),
            headers: RowHeaders::Row(&row.headers),
        });
        let holds = self.selection.matching(inputs)?;
        let mut changes = Vec::new();
        for ((key, row), holds) in rows.into_iter().zip(holds) {
            if !holds {
                continue;
            }
            self.selection.remember(&key);
            changes.push(Change {
                op: Op::Upsert,
                stamp: row.stamp,
                partition: partition_index(&self.stream, row.stamp.partition),
                timestamp: row.timestamp,
                key: Some(key),
                value: Some(row.value),
            });
        }
        let (phase, token) = match last {
            Some(key) => {
                *from = Bound::Excluded(key);
                (Phase::Snapshot, None)
            }
            None => {
                self.phase = Reading::Live;
                let token = Token::after_round(round).encode(&self.cluster, &self.stream);
                (Phase::SnapshotEnd, Some(token))
            }
        };
        self.ready = Some(LiveBatch { phase, changes, token, round });
        Ok(Step::Ready)
    }

    /// Leaves out what a transaction wrote to rows that were written anew before it was decided:
    /// the table keeps the higher stamp, and those changes have been given. `Err`: tables have not
    /// come so far yet.
    fn without_superseded(&self, mut seen: Seen) -> Result<Result<Seen, Seen>, SqlError> {
        let Some(table) = self.stream.table else { return Ok(Ok(seen)) };
        if self.stream.mode != Mode::Upsert || !seen.records.iter().any(|record| record.is_late) {
            return Ok(Ok(seen));
        }
        let applied = self.engine.applied();
        if applied.round < seen.token.round {
            return Ok(Err(seen));
        }
        let mut failure = None;
        seen.records.retain(|record| {
            let Some(key) = record.key.as_ref().filter(|_| record.is_late) else { return true };
            match applied.tables.get(table, key) {
                Ok(Some(row)) => record.value.is_some() && row.stamp == record.stamp,
                Ok(None) => record.value.is_none(),
                Err(error) => {
                    failure = Some(error);
                    false
                }
            }
        });
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(Ok(seen)),
        }
    }

    fn live(&mut self) -> Result<Step, SqlError> {
        let seen = match self.seen.take() {
            Some(seen) => seen,
            None => self.follower.read(LIVE_BYTES)?,
        };
        if seen.records.is_empty() {
            return Ok(Step::CaughtUp);
        }
        let seen = match self.without_superseded(seen)? {
            Ok(seen) => seen,
            Err(waiting) => {
                self.seen = Some(waiting);
                return Ok(Step::Behind);
            }
        };
        let Seen { records, token } = seen;
        let inputs = records.iter().map(|record| RowInput {
            partition: record.partition,
            offset: record.stamp.offset,
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: RowHeaders::Row(&record.headers),
        });
        let holds = self.selection.matching(inputs)?;
        let keyed = self.stream.mode == Mode::Upsert;
        let mut changes = Vec::new();
        for (record, holds) in records.into_iter().zip(holds) {
            let is_there = !keyed || record.value.is_some();
            let op = match (is_there && holds, keyed, &record.key) {
                (true, ..) => Op::Upsert,
                (false, true, Some(key)) if self.selection.forget(key) => Op::Delete,
                _ => continue,
            };
            if let (Op::Upsert, true, Some(key)) = (op, keyed, &record.key) {
                self.selection.remember(key);
            }
            changes.push(Change {
                op,
                stamp: record.stamp,
                partition: record.partition,
                timestamp: record.timestamp,
                value: if op == Op::Delete { None } else { record.value },
                key: record.key,
            });
        }
        self.ready = Some(LiveBatch {
            phase: Phase::Live,
            changes,
            round: token.round,
            token: Some(token.encode(&self.cluster, &self.stream)),
        });
        Ok(Step::Ready)
    }
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        Self::new(error.kind, error.full_message())
    }
}

/// A reader was slower than retention.
fn overtaken(stream: &Stream, earliest: &str) -> SqlError {
    SqlError {
        kind: ErrorKind::OutOfRange,
        ..SqlError::new(
            sqlstate::INVALID_PARAMETER,
            format!(
                "events of stream \"{}\" that come next are gone: retention took them; {earliest}",
                stream.name
            ),
        )
    }
}
