//! The applied state: runs in memory over a store, read through immutable views.

#[cfg(test)]
mod tests;

use crate::codec::{self, Mark};
use crate::limits;
use crate::mutation::{Mutation, Operation, TableId};
use crate::rows::{RowsBuilder, Run, winners};
use crate::store::{MemoryStore, RocksStore, Store};
use crate::view::View;
use crate::writer::Shared;
use anabranch_types::{Offset, PartitionId, Round};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

/// Why a table cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store failed; its words.
    #[error("the table store failed: {0}")]
    Store(String),
    /// The disk is full; the store's words. What is in memory can be read, and is written once
    /// there is space.
    #[error("no space is left on the disk of the tables: {0}")]
    Full(String),
    /// What the store holds is not what was written.
    #[error(
        "the table store holds a damaged row: {0}; stop the broker and remove the tables \
         directory: it is rebuilt from the log"
    )]
    Damaged(String),
    /// The view was held for so long that it pinned too much memory.
    #[error(
        "the read took so long that it held back too much memory, and was cancelled: retry it, or read less at once"
    )]
    Cancelled,
}

/// How far the log has been applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last round that is contained whole.
    pub applied: Round,
    /// For each partition that feeds a table, the next offset to apply.
    pub positions: Vec<(PartitionId, Offset)>,
}

/// How much memory tables may take, and when they are written. Memory beyond an idle store's is
/// taken only as rows come: up to `run_bytes_max`, the block cache, and what RocksDB takes to
/// merge files, some megabytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Most runs in memory, at least 2. Default 32.
    pub runs_max: usize,
    /// Most rows in all runs, at least 2. Default 262,144.
    pub run_rows_max: usize,
    /// Most bytes in all runs. Default 64 MiB.
    pub run_bytes_max: usize,
    /// Bytes of applied records after which all runs are written: what a restart replays at most,
    /// beside a step. Default 256 MiB.
    pub flush_bytes: u64,
    /// Bytes of runs that only replaced views hold; beyond it the oldest is cancelled. Default
    /// 256 MiB.
    pub pinned_bytes_max: u64,
    /// Bytes of the block cache. Default 32 MiB.
    pub block_cache_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            runs_max: limits::RUNS_MAX,
            run_rows_max: limits::RUN_ROWS_MAX,
            run_bytes_max: limits::RUN_BYTES_MAX,
            flush_bytes: limits::FLUSH_BYTES,
            pinned_bytes_max: limits::PINNED_BYTES_MAX,
            block_cache_bytes: limits::BLOCK_CACHE_BYTES,
        }
    }
}

/// Figures for `/metrics` and `sys.*`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// The newest view's round.
    pub applied: Round,
    /// The round that a restart would replay from.
    pub flushed: Round,
    /// Runs in memory.
    pub runs: usize,
    /// Their rows.
    pub run_rows: usize,
    /// Their bytes.
    pub run_bytes: usize,
    /// Bytes of runs that only replaced views hold.
    pub pinned_bytes: u64,
    /// Bytes of the store's files.
    pub disk_bytes: u64,
    /// Bytes of memory that the store takes, caches above all.
    pub memory_bytes: u64,
    /// Mutations that came, since the start.
    pub mutations: u64,
    /// Mutations that were dropped because a row had a higher stamp already.
    pub superseded: u64,
    /// Rows written to the store.
    pub rows_written: u64,
    /// Writes to the store.
    pub writes: u64,
    /// Times that [`Tables::apply`] had to wait for the store.
    pub stalls: u64,
    /// Nanoseconds it waited.
    pub stall_nanos: u64,
    /// Views cancelled because they pinned too much.
    pub cancelled: u64,
    /// Times that a key was seen to come from another partition than before: producers do not
    /// agree on a partitioner, or partitions were added. Every case is counted where both rows
    /// are in memory; of those where one is in the store already, about one in
    /// [`limits::MOVED_KEYS_SAMPLE`].
    pub keys_moved: u64,
}

/// All tables of a broker. Dropping it stops its thread without a flush: what was not flushed is
/// replayed from the log.
pub struct Tables {
    shared: Arc<Shared>,
    /// Held through `apply`, which makes the applier the only one to add runs.
    applying: Mutex<()>,
    writer: Option<JoinHandle<()>>,
}

impl Tables {
    /// Opens the tables in `directory` (RocksDB), creating it if it is missing. The progress is
    /// what the last completed write holds: rounds after it are to be applied again.
    ///
    /// # Errors
    /// When RocksDB cannot open the directory, or its progress is damaged.
    pub fn open(directory: &Path) -> Result<(Self, Progress), Error> {
        Self::open_with(directory, Settings::default())
    }

    /// As [`Self::open`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(directory: &Path, settings: Settings) -> Result<(Self, Progress), Error> {
        let store = RocksStore::open(directory, &settings)?;
        let tables = Self::over(Arc::new(store), settings)?;
        let progress = tables.view().progress().clone();
        Ok((tables, progress))
    }

    /// Tables that live in memory only: what a restart finds is nothing.
    ///
    /// # Panics
    /// When the system cannot start a thread.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::over(Arc::new(MemoryStore::default()), Settings::default())
            .expect("an empty store is readable and a thread can be started")
    }

    pub(crate) fn over(store: Arc<dyn Store>, settings: Settings) -> Result<Self, Error> {
        let smallest = settings.runs_max.min(settings.run_rows_max).min(settings.run_bytes_max);
        assert!(smallest >= 2 && settings.flush_bytes >= 1, "too small: {settings:?}");
        let shared = Arc::new(Shared::open(store, settings)?);
        let writer = shared.clone().start()?;
        Ok(Self { shared, applying: Mutex::new(()), writer: Some(writer) })
    }

    /// Applies whole rounds; the new view is visible when this returns. Waits while the store is
    /// so far behind that memory is at its bounds; a step that is larger than the bounds by
    /// itself waits until it is alone.
    ///
    /// A mutation of a round above all that came before is newer than any row, and is taken
    /// without a read. Any other is compared with its key's row, or delete, and dropped unless
    /// its stamp is higher: so it may come late (a transaction that was decided later) or again
    /// (a replay). Deletes keep their stamps for that until [`Self::settle`] passes them.
    ///
    /// Mutations of dropped tables are ignored.
    ///
    /// # Errors
    /// When the store failed, now or earlier. The view stays as it was, and nothing more is
    /// applied until the tables are opened anew.
    ///
    /// # Panics
    /// For a mutation of table [`codec::OWN`].
    pub fn apply(&self, mut mutations: Vec<Mutation>, progress: Progress) -> Result<(), Error> {
        let _one_at_a_time = self.applying.lock();
        self.shared.check()?;
        let view = self.view();
        let counters = &self.shared.counters;
        counters.mutations.fetch_add(mutations.len() as u64, Relaxed);
        let mut bytes = 0;
        let mut highest = view.mark.highest;
        mutations.retain(|mutation| {
            assert!(mutation.table != codec::OWN, "no table has this id");
            bytes += mutation_bytes(mutation);
            highest = highest.max(mutation.stamp.round);
            !view.dropped.contains(&mutation.table)
        });
        let winners = winners(&mutations);
        counters.keys_moved.fetch_add(winners.moves, Relaxed);
        let mut standing: Vec<_> =
            winners.order.iter().map(|at| &mutations[*at as usize]).collect();
        drop_superseded(&view, &mut standing, &self.shared)?;
        let mut rows =
            RowsBuilder::with_capacity(standing.len(), standing.iter().map(|m| row_bytes(m)).sum());
        standing.into_iter().for_each(|mutation| rows.push_mutation(mutation));
        drop((mutations, view));
        let run = Run::new(rows.build(), &self.shared.alive);
        self.shared.add(run, Mark { progress, highest }, bytes)
    }

    /// The newest view.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.shared.view.read().clone()
    }

    /// Removes every row of a table, durably when this returns. Its id is never to be used again: mutations that
    /// still come for it, from a replay above all, are ignored from now on and after a restart.
    /// Views that were taken before still show the rows.
    ///
    /// # Errors
    /// When the store failed; then the table may or may not be gone: drop it again after the
    /// restart.
    ///
    /// # Panics
    /// For table [`codec::OWN`].
    pub fn drop_table(&self, table: TableId) -> Result<(), Error> {
        assert!(table != codec::OWN, "no table has this id");
        self.shared.flush(Some(table)).map(|_flushed| ())
    }

    /// As [`Self::drop_table`], some time soon: a crash before that leaves the rows.
    ///
    /// # Panics
    /// For table [`codec::OWN`].
    pub fn drop_table_later(&self, table: TableId) {
        assert!(table != codec::OWN, "no table has this id");
        self.shared.drop_later(table);
    }

    /// Writes all runs to the store and makes them durable. Returns what a restart would find
    /// now: everything applied before the call, except in memory-only tables.
    ///
    /// # Errors
    /// When the store failed.
    pub fn flush(&self) -> Result<Progress, Error> {
        self.shared.flush(None)
    }

    /// What a restart would replay from.
    #[must_use]
    pub fn flushed(&self) -> Progress {
        self.shared.flushed()
    }

    /// Promises that no mutation with a stamp of a round below `horizon` will come for the first
    /// time. Deletes below it need not keep their stamps, and vanish once a restart would not
    /// replay from before this call. The oldest open transaction holds it back, and so do tables
    /// that are being rebuilt from the log one partition after the other. Without it all deletes
    /// keep their stamps: right, but they take space. Not remembered over a restart. Never moves
    /// back.
    pub fn settle(&self, horizon: Round) {
        self.shared.settle(horizon);
    }

    /// Puts a copy of what a restart would find into `directory`, which does not exist yet: it can be
    /// opened by [`Self::open`]. Says false, and does nothing, in memory-only tables.
    ///
    /// # Errors
    /// When the store failed, or cannot write there.
    pub fn copy(&self, directory: &Path) -> Result<bool, Error> {
        self.shared.store.copy(directory)
    }

    /// Figures of all tables.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// About how many bytes a table takes: compressed in files, as they are in runs.
    #[must_use]
    pub fn approximate_bytes(&self, table: TableId) -> u64 {
        let (from, to) = (codec::key(table, b""), codec::table_end(table));
        let in_run = |run: &Arc<Run>| {
            let rows = run.rows.first_from(&to) - run.rows.first_from(&from);
            run.rows.bytes() as u64 * rows as u64 / run.rows.len().max(1) as u64
        };
        let view = self.view();
        if view.dropped.contains(&table) {
            return 0;
        }
        view.runs.iter().map(in_run).sum::<u64>() + self.shared.store.range_bytes(&from, &to)
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the table writer had panicked");
        }
    }
}

/// Leaves out what is not above its key's present stamp. Reads only for what comes late.
fn drop_superseded(
    view: &View,
    standing: &mut Vec<&Mutation>,
    shared: &Shared,
) -> Result<(), Error> {
    let is_late = |mutation: &Mutation| mutation.stamp.round <= view.mark.highest;
    let keys: Vec<_> = standing
        .iter()
        .filter(|mutation| is_late(mutation))
        .map(|mutation| codec::key(mutation.table, &mutation.key))
        .collect();
    if keys.is_empty() {
        return Ok(());
    }
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let present = view
        .find_many(&keys)?
        .into_iter()
        .map(|stored| stored.map(|stored| codec::stamp(&stored)).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let mut present = present.into_iter();
    let before = standing.len();
    standing.retain(|mutation| {
        if !is_late(mutation) {
            return true;
        }
        let present = present.next().expect("each late mutation's key was looked up");
        present.is_none_or(|present| mutation.stamp > present)
    });
    let superseded = before - standing.len();
    shared.counters.superseded.fetch_add(superseded as u64, Relaxed);
    Ok(())
}

fn mutation_bytes(mutation: &Mutation) -> u64 {
    let value = match &mutation.operation {
        Operation::Put { value, headers, .. } => value.len() + headers.len(),
        Operation::Delete => 0,
    };
    (mutation.key.len() + value) as u64
}

/// About what the row takes in a run.
fn row_bytes(mutation: &Mutation) -> usize {
    mutation_bytes(mutation) as usize + 24
}
