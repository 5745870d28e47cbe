//! Rows of a COPY on their way into a stream: gathered, and appended in pieces.

use super::CopyRows;
use super::typed::typed;
use crate::error::{Error, sqlstate};
use crate::execute::Execution;
use crate::limits::{CONFLICT_RETRIES, COPY_PIECE_BYTES_MAX, COPY_WRITE_BYTES};
use crate::pending::Pending;
use crate::runtime::Task;
use crate::snapshot::Snapshot;
use crate::write::CopyPlan;
use anabranch_engine::ErrorKind;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// What a load is told.
pub(super) enum Message {
    Rows(CopyRows),
    /// There are no more.
    End,
}

/// What became of it.
#[derive(Default)]
pub(crate) struct Loaded {
    /// Rows.
    pub(crate) count: u64,
    /// Appends; none inside a transaction.
    pub(crate) pieces: u64,
    /// What the transaction has to append.
    pub(crate) pending: Option<Pending>,
}

/// How much is in the stream for good.
#[derive(Default)]
pub(super) struct Progress {
    rows: AtomicU64,
    line: AtomicU64,
    pieces: AtomicU64,
}

impl Progress {
    fn add(&self, rows: u64, line: u64) {
        self.line.store(line, Ordering::Release);
        self.pieces.fetch_add(1, Ordering::AcqRel);
        self.rows.fetch_add(rows, Ordering::AcqRel);
    }

    /// Adds it to an error.
    pub(super) fn explain(&self, error: Error) -> Error {
        match self.rows.load(Ordering::Acquire) {
            0 => error,
            rows => error.detail(format!(
                "{rows} rows, up to line {} of the input, were appended before and stay in the \
                 stream.",
                self.line.load(Ordering::Acquire)
            )),
        }
    }
}

/// A piece that is being appended.
struct Landing {
    task: Task<Result<(), Error>>,
    rows: u64,
    line: u64,
    bytes: usize,
}

/// A COPY that runs.
///
/// Invariant: outside of transactions, `pending` is the rows of `kept`, as they stand in `snapshot`.
pub(super) struct Load {
    plan: Arc<CopyPlan>,
    execution: Execution,
    /// Whether it is part of a transaction, which appends at its end.
    is_within: bool,
    snapshot: Option<Snapshot>,
    pending: Pending,
    /// The rows of the piece in hand: read again after a conflict.
    kept: Vec<CopyRows>,
    /// The piece before, while it is being appended. What nobody can have written meanwhile, as
    /// it has no key, is made during that.
    landing: Option<Landing>,
    turn: usize,
    count: u64,
    /// Most bytes that rows of one batch added.
    step_max: usize,
    reservation: MemoryReservation,
    progress: Arc<Progress>,
}

impl Load {
    pub(super) fn new(
        plan: Arc<CopyPlan>,
        execution: Execution,
        snapshot: Option<Snapshot>,
        progress: Arc<Progress>,
    ) -> Self {
        let memory = &execution.sql.state().runtime_env().memory_pool;
        let reservation = MemoryConsumer::new("copy").register(memory);
        let pending = match snapshot {
            Some(_) => Pending::counted(&execution.sql),
            None => piece(),
        };
        Self {
            turn: plan.next_turn(),
            plan,
            execution,
            is_within: snapshot.is_some(),
            pending,
            snapshot,
            kept: Vec::new(),
            landing: None,
            count: 0,
            step_max: 0,
            reservation,
            progress,
        }
    }

    pub(super) async fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
    ) -> Result<Loaded, Error> {
        let loaded = self.load(&mut messages).await;
        // Also of one that failed: what is in the stream is counted.
        let landed = self.land().await;
        loaded.and_then(|loaded| landed.map(|()| loaded))
    }

    async fn load(&mut self, messages: &mut mpsc::Receiver<Message>) -> Result<Loaded, Error> {
        while let Some(message) = messages.recv().await {
            match message {
                Message::Rows(rows) => {
                    let rows = typed(self.plan.stream(), self.plan.schema(), rows)?;
                    let rows = self.complete(rows).await?;
                    self.add_all(rows).await?;
                }
                Message::End => return self.end().await,
            }
        }
        Err(Error::new(sqlstate::QUERY_CANCELED, "COPY from stdin was given up"))
    }

    /// Rows with their defaults and what is computed of them. Once: a sequence's value is taken.
    async fn complete(&self, rows: CopyRows) -> Result<CopyRows, Error> {
        let sql = &self.execution.sql;
        match self.plan.complete(sql, &rows.batch).await {
            Ok(batch) => Ok(CopyRows { batch, lines: rows.lines }),
            Err(error) => {
                for (row, line) in rows.lines.iter().enumerate() {
                    if let Err(found) = self.plan.complete(sql, &rows.batch.slice(row, 1)).await {
                        let stream = self.plan.stream();
                        return Err(found.context(|| format!("COPY {stream}, line {line}")));
                    }
                }
                Err(error)
            }
        }
    }

    /// Adds rows, few enough at a time that what they become is bounded.
    async fn add_all(&mut self, rows: CopyRows) -> Result<(), Error> {
        // The document of a row has the columns' names.
        let names: usize = rows.batch.schema().fields().iter().map(|f| f.name().len() + 4).sum();
        let step = (COPY_WRITE_BYTES / names.max(1)).max(1);
        let mut waiting = split(rows, step);
        waiting.reverse();
        while let Some(rows) = waiting.pop() {
            let before = self.pending.bytes();
            // A copy of what is pending is cheaper than making it again.
            let saved = (!self.is_within && before + 2 * self.step_max > COPY_PIECE_BYTES_MAX)
                .then(|| self.pending.clone());
            let snapshot = self.snapshot().await?;
            match self.add(&snapshot, &rows) {
                Ok(()) => {
                    self.step_max = self.step_max.max(self.pending.bytes() - before);
                    self.keep(rows)?;
                }
                Err(error) if error.sqlstate != sqlstate::PROGRAM_LIMIT_EXCEEDED => {
                    return Err(self.located(&snapshot, &rows, error));
                }
                Err(error) if self.is_within => {
                    return Err(too_much_at_once(error));
                }
                Err(_) if !self.kept.is_empty() => {
                    self.pending = match saved {
                        Some(saved) => saved,
                        None => self.made_again(&snapshot)?,
                    };
                    self.append().await?;
                    waiting.push(rows);
                }
                Err(_) if rows.lines.len() > 1 => {
                    self.pending = piece();
                    let mut halves = split(rows.clone(), rows.lines.len().div_ceil(2));
                    halves.reverse();
                    waiting.append(&mut halves);
                }
                Err(error) => return Err(self.located(&snapshot, &rows, error)),
            }
        }
        Ok(())
    }

    fn add(&mut self, snapshot: &Snapshot, rows: &CopyRows) -> Result<(), Error> {
        let sql = &self.execution.sql;
        self.plan.add(sql, snapshot, self.turn, &rows.batch, &mut self.pending)
    }

    fn keep(&mut self, rows: CopyRows) -> Result<(), Error> {
        self.count += rows.lines.len() as u64;
        self.kept.push(rows);
        let kept: usize = self.kept.iter().map(|rows| rows.batch.get_array_memory_size()).sum();
        if self.is_within {
            // Only to say in which line an error is; pending rows have memory of their own.
            if kept > COPY_PIECE_BYTES_MAX {
                self.kept.clear();
            }
            return Ok(self.reservation.try_resize(kept.min(COPY_PIECE_BYTES_MAX))?);
        }
        let landing = self.landing.as_ref().map_or(0, |landing| landing.bytes);
        Ok(self.reservation.try_resize(kept + self.pending.bytes() + landing)?)
    }

    /// The transaction's, or one for the piece in hand.
    async fn snapshot(&mut self) -> Result<Snapshot, Error> {
        if let Some(snapshot) = &self.snapshot {
            return Ok(snapshot.clone());
        }
        let snapshot = self.execution.snapshot().await?;
        Ok(self.snapshot.insert(snapshot).clone())
    }

    async fn end(&mut self) -> Result<Loaded, Error> {
        if self.is_within {
            let pending = Some(std::mem::take(&mut self.pending));
            return Ok(Loaded { count: self.count, pieces: 0, pending });
        }
        if !self.kept.is_empty() {
            self.append().await?;
        }
        self.land().await?;
        let pieces = self.progress.pieces.load(Ordering::Acquire);
        Ok(Loaded { count: self.count, pieces, pending: None })
    }

    /// Appends the piece in hand: all of it or nothing.
    async fn append(&mut self) -> Result<(), Error> {
        self.land().await?;
        let rows = self.kept.iter().map(|rows| rows.lines.len() as u64).sum();
        let line = self.kept.last().and_then(|rows| rows.lines.last()).copied().unwrap_or(0);
        if self.plan.is_keyed() {
            self.append_as_read().await?;
            self.snapshot = None;
            self.progress.add(rows, line);
        } else {
            let engine = self.execution.sql.engine().clone();
            let bytes = self.pending.bytes();
            let pending = std::mem::replace(&mut self.pending, piece());
            let appending = async move { pending.append(&engine).await };
            let task = self.execution.sql.runtime.spawn(appending);
            self.landing = Some(Landing { task, rows, line, bytes });
        }
        self.kept.clear();
        self.turn = self.plan.next_turn();
        self.reservation.free();
        Ok(())
    }

    /// Waits for the piece that is being appended, if one is.
    async fn land(&mut self) -> Result<(), Error> {
        let Some(Landing { task, rows, line, .. }) = self.landing.take() else {
            return Ok(());
        };
        task.await??;
        self.progress.add(rows, line);
        Ok(())
    }

    /// Appends on condition that keys are as they were read. What somebody has written meanwhile
    /// is read again.
    async fn append_as_read(&mut self) -> Result<(), Error> {
        let engine = self.execution.sql.engine().clone();
        let mut conflicts = 0;
        loop {
            let pending = std::mem::replace(&mut self.pending, piece());
            match pending.append(&engine).await {
                Err(error) if error.kind == ErrorKind::Conflict && conflicts < CONFLICT_RETRIES => {
                    conflicts += 1;
                    self.snapshot = None;
                    let snapshot = self.snapshot().await?;
                    self.pending = self.made_again(&snapshot)?;
                }
                other => return other,
            }
        }
    }

    /// What is pending, in another snapshot.
    fn made_again(&self, snapshot: &Snapshot) -> Result<Pending, Error> {
        let sql = &self.execution.sql;
        let mut pending = piece();
        for (number, rows) in self.kept.iter().enumerate() {
            let added = self.plan.add(sql, snapshot, self.turn, &rows.batch, &mut pending);
            added.map_err(|error| {
                self.located_behind(snapshot, &self.kept[..number], rows, error)
            })?;
        }
        Ok(pending)
    }

    /// Says in which line of `rows` the error is.
    fn located(&self, snapshot: &Snapshot, rows: &CopyRows, error: Error) -> Error {
        self.located_behind(snapshot, &self.kept, rows, error)
    }

    /// The rows are added again, one by one: a duplicate is one of a row before it.
    fn located_behind(
        &self,
        snapshot: &Snapshot,
        before: &[CopyRows],
        rows: &CopyRows,
        error: Error,
    ) -> Error {
        let sql = &self.execution.sql;
        let mut pending = piece();
        let mut add = |batch: &_| self.plan.add(sql, snapshot, self.turn, batch, &mut pending);
        if before.iter().any(|rows| add(&rows.batch).is_err()) {
            return error;
        }
        for (row, line) in rows.lines.iter().enumerate() {
            if let Err(found) = add(&rows.batch.slice(row, 1)) {
                return found.context(|| format!("COPY {}, line {line}", self.plan.stream()));
            }
        }
        error
    }
}

/// What is appended at once, outside of transactions.
fn piece() -> Pending {
    Pending::up_to(COPY_PIECE_BYTES_MAX)
}

/// Says what to do about more than a transaction can write.
pub(crate) fn too_much_at_once(error: Error) -> Error {
    error.hint(
        "COMMIT more often, or COPY outside of a transaction block, where it is appended in pieces",
    )
}

/// Pieces of at most `step` rows.
fn split(rows: CopyRows, step: usize) -> Vec<CopyRows> {
    if rows.lines.len() <= step {
        return vec![rows];
    }
    (0..rows.lines.len())
        .step_by(step)
        .map(|from| {
            let count = step.min(rows.lines.len() - from);
            CopyRows {
                batch: rows.batch.slice(from, count),
                lines: rows.lines[from..from + count].to_vec(),
            }
        })
        .collect()
}
