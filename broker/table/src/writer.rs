//! What applier, readers and the writing thread share, and that thread: it moves runs from memory
//! to the store while the applier goes on.
//!
//! Lock order: `Tables::applying`, then `Shared::state`, then `Shared::view`.

use crate::codec::{self, Mark};
use crate::limits;
use crate::mutation::TableId;
use crate::rows::{RowsBuilder, Run};
use crate::store::{Snapshot, Store, Write};
use crate::tables::{Error, Progress, Settings, Stats};
use crate::view::View;
use anabranch_types::Round;
use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    settings: Settings,
    /// Replaced only under `state`.
    pub(crate) view: RwLock<Arc<View>>,
    state: Mutex<State>,
    /// The writer waits here.
    work: Condvar,
    /// The applier, and whoever asked for a flush, wait here.
    done: Condvar,
    /// Bytes of all runs that anybody holds.
    pub(crate) alive: Arc<AtomicU64>,
    pub(crate) counters: Counters,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) mutations: AtomicU64,
    pub(crate) superseded: AtomicU64,
    pub(crate) keys_moved: AtomicU64,
    rows_written: AtomicU64,
    writes: AtomicU64,
    stalls: AtomicU64,
    stall_nanos: AtomicU64,
    cancelled: AtomicU64,
}

struct State {
    phase: Phase,
    /// Number of the last flush asked for, and of the last one done.
    flush_asked: u64,
    flush_done: u64,
    /// Tables to drop with the next flush.
    drops: Vec<TableId>,
    /// Why nothing is written at present, though it is tried again and again.
    full: Option<Error>,
    /// Whether that was said.
    full_told: bool,
    /// Whether the applier waits for room.
    applier_waits: bool,
    /// What a crash would leave.
    flushed: Arc<Mark>,
    /// Bytes of records applied since the start, and those of them that were written.
    applied_bytes: u64,
    flushed_bytes: u64,
    /// The view whose runs are being written.
    writing: Option<Arc<View>>,
    /// Horizons, each with the round that was applied when it was promised, both rising.
    horizons: VecDeque<(Round, Round)>,
    /// Views that were replaced, oldest first: some may still be held.
    replaced: VecDeque<Weak<View>>,
    /// Length of `replaced` at which the dead are taken out.
    replaced_sweep: usize,
}

/// The writer's life.
enum Phase {
    Running,
    /// No write succeeds any more until the tables are opened anew.
    Failed(Error),
    Stopping,
}

/// Key and row as the store keeps them.
type StoredRow<'a> = (&'a [u8], &'a [u8]);

/// A new run and some others as one.
struct Merged {
    run: Arc<Run>,
    replaced: Vec<Arc<Run>>,
}

/// What one turn of the writer does.
struct Job {
    view: Arc<View>,
    drops: Vec<TableId>,
    applied_bytes: u64,
    /// Deletes with stamps of rounds below it need not be kept.
    horizon: Round,
    /// The flush that is done with it.
    flush: u64,
}

impl Shared {
    /// Reads from the store what it holds.
    pub(crate) fn open(store: Arc<dyn Store>, settings: Settings) -> Result<Self, Error> {
        let snapshot = store.snapshot();
        let mark = match snapshot.get(&codec::progress_key())? {
            Some(stored) => codec::decode_mark(&stored)?,
            None => Mark::default(),
        };
        let mark = Arc::new(mark);
        let dropped = Arc::new(read_dropped(&*snapshot)?);
        let view = View::new(Vec::new(), snapshot, mark.clone(), dropped);
        let state = State {
            phase: Phase::Running,
            flush_asked: 0,
            flush_done: 0,
            drops: Vec::new(),
            full: None,
            full_told: false,
            applier_waits: false,
            flushed: mark,
            applied_bytes: 0,
            flushed_bytes: 0,
            writing: None,
            horizons: VecDeque::new(),
            replaced: VecDeque::new(),
            replaced_sweep: 64,
        };
        Ok(Self {
            store,
            settings,
            view: RwLock::new(Arc::new(view)),
            state: Mutex::new(state),
            work: Condvar::new(),
            done: Condvar::new(),
            alive: Arc::default(),
            counters: Counters::default(),
        })
    }

    pub(crate) fn start(self: Arc<Self>) -> Result<JoinHandle<()>, Error> {
        std::thread::Builder::new()
            .name("table-writer".into())
            .spawn(move || self.run())
            .map_err(|error| Error::Store(format!("cannot start the table writer: {error}")))
    }

    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Running) {
            state.phase = Phase::Stopping;
        }
        self.work.notify_all();
        self.done.notify_all();
    }

    /// The error that ended writing, if any.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.state.lock().check()
    }

    /// Makes a run visible, once there is room for it. `bytes` are those of the records that
    /// came.
    pub(crate) fn add(&self, run: Run, mark: Mark, bytes: u64) -> Result<(), Error> {
        let run = Arc::new(run);
        let mut merged = self.merge_small(&run);
        let mut state = self.state.lock();
        let mut waited = None;
        loop {
            // What the writer has taken meanwhile stays as it is.
            merged = merged.filter(|merged| self.stands(merged, &state));
            let replaced = merged.as_ref().map_or(0, |merged| merged.replaced.len());
            if self.has_room(&run, replaced) {
                break;
            }
            state.check()?;
            waited.get_or_insert_with(Instant::now);
            state.applier_waits = true;
            self.work.notify_one();
            self.done.wait(&mut state);
        }
        state.applier_waits = false;
        state.check()?;
        if let Some(since) = waited {
            self.counters.stalls.fetch_add(1, Relaxed);
            self.counters.stall_nanos.fetch_add(since.elapsed().as_nanos() as u64, Relaxed);
        }
        state.applied_bytes += bytes;
        let old = self.view.read().clone();
        let mut runs = match merged {
            Some(merged) => [vec![merged.run], without(&old.runs, &merged.replaced)].concat(),
            None => [vec![run], old.runs.clone()].concat(),
        };
        runs.retain(|run| !run.rows.is_empty());
        let new = View::new(runs, old.snapshot.clone(), Arc::new(mark), old.dropped.clone());
        self.replace(&mut state, old, new);
        if self.has_work(&state) {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Where there are many runs, the new one together with the newest: small steps gather in
    /// memory until it pays to write them. A run is merged only with about as many rows as it
    /// has, so a row is copied a few times at most.
    fn merge_small(&self, run: &Arc<Run>) -> Option<Merged> {
        let (view, writing) = {
            let state = self.state.lock();
            if state.writing.is_none() && self.has_work(&state) {
                // The writer is about to take them all.
                return None;
            }
            (self.view.read().clone(), state.writing.clone())
        };
        let mut newest = match &writing {
            Some(writing) => without(&view.runs, &writing.runs),
            None => view.runs.clone(),
        };
        if run.rows.is_empty() || newest.len() < self.settings.runs_max * 3 / 8 {
            return None;
        }
        let mut rows = newest.iter().map(|run| run.rows.len()).sum::<usize>() + run.rows.len();
        while let Some(oldest) = newest.last()
            && oldest.rows.len() > 2 * (rows - oldest.rows.len())
        {
            rows -= oldest.rows.len();
            newest.pop();
        }
        let runs = [std::slice::from_ref(run), &newest].concat();
        let bytes = runs.iter().map(|run| run.rows.bytes()).sum();
        let mut together = RowsBuilder::with_capacity(rows, bytes);
        let moves = merge(&runs, |key, stored| together.push(key, stored));
        self.counters.keys_moved.fetch_add(moves, Relaxed);
        let run = Arc::new(Run::new(together.build(), &self.alive));
        Some(Merged { run, replaced: newest })
    }

    /// Whether everything that was merged is in the newest view, and nobody writes it.
    fn stands(&self, merged: &Merged, state: &State) -> bool {
        let view = self.view.read();
        let held = |runs: &[Arc<Run>], run| runs.iter().any(|held| Arc::ptr_eq(held, run));
        let is_written = |run| state.writing.as_ref().is_some_and(|view| held(&view.runs, run));
        merged.replaced.iter().all(|run| held(&view.runs, run) && !is_written(run))
    }

    /// Writes everything out and waits until it is durable, with `drop` dropped.
    pub(crate) fn flush(&self, drop: Option<TableId>) -> Result<Progress, Error> {
        let mut state = self.state.lock();
        while state.drops.len() >= limits::DROPS_MAX {
            state.check()?;
            self.done.wait(&mut state);
        }
        state.drops.extend(drop);
        // There may be space by now.
        state.full = None;
        state.flush_asked += 1;
        let asked = state.flush_asked;
        self.work.notify_one();
        while state.flush_done < asked {
            state.check()?;
            if let Some(full) = &state.full {
                return Err(full.clone());
            }
            self.done.wait(&mut state);
        }
        Ok(state.flushed.progress.clone())
    }

    pub(crate) fn drop_later(&self, table: TableId) {
        let mut state = self.state.lock();
        state.drops.push(table);
        state.flush_asked += 1;
        self.work.notify_one();
    }

    pub(crate) fn flushed(&self) -> Progress {
        self.state.lock().flushed.progress.clone()
    }

    pub(crate) fn settle(&self, horizon: Round) {
        let mut state = self.state.lock();
        let applied = self.view.read().applied();
        if state.horizons.back().is_some_and(|last| last.0 >= horizon) {
            return;
        }
        if state.horizons.back().is_some_and(|last| last.1 == applied)
            || state.horizons.len() == limits::HORIZONS_MAX
        {
            state.horizons.pop_back();
        }
        state.horizons.push_back((horizon, applied));
    }

    pub(crate) fn stats(&self) -> Stats {
        let flushed = self.state.lock().flushed.progress.applied;
        let view = self.view.read().clone();
        let sizes = self.store.sizes();
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        Stats {
            applied: view.applied(),
            flushed,
            runs: view.runs.len(),
            run_rows: view.rows,
            run_bytes: view.bytes,
            pinned_bytes: count(&self.alive).saturating_sub(view.bytes as u64),
            disk_bytes: sizes.disk_bytes,
            memory_bytes: sizes.memory_bytes,
            mutations: count(&self.counters.mutations),
            superseded: count(&self.counters.superseded),
            rows_written: count(&self.counters.rows_written),
            writes: count(&self.counters.writes),
            stalls: count(&self.counters.stalls),
            stall_nanos: count(&self.counters.stall_nanos),
            cancelled: count(&self.counters.cancelled),
            keys_moved: count(&self.counters.keys_moved),
        }
    }

    /// Whether `run` fits, as one with `replaced` others.
    fn has_room(&self, run: &Run, replaced: usize) -> bool {
        let (view, most) = (self.view.read(), &self.settings);
        run.rows.is_empty()
            || view.runs.len() <= replaced
            || (view.runs.len() - replaced < most.runs_max
                && view.rows + run.rows.len() <= most.run_rows_max
                && view.bytes + run.rows.bytes() <= most.run_bytes_max)
    }

    /// Whether the writer has something to do: at half of the bounds, so that the applier can go
    /// on in the other half.
    fn has_work(&self, state: &State) -> bool {
        let (view, most) = (self.view.read(), &self.settings);
        state.flush_asked > state.flush_done
            || state.applier_waits
            || state.applied_bytes - state.flushed_bytes >= most.flush_bytes
            || view.rows >= most.run_rows_max / 2
            || view.bytes >= most.run_bytes_max / 2
    }

    /// Puts a new view in the place of the old one, and sees to it that old ones do not pin more
    /// memory than they may.
    fn replace(&self, state: &mut State, old: Arc<View>, new: View) {
        let current_bytes = new.bytes as u64;
        state.replaced.push_back(Arc::downgrade(&old));
        *self.view.write() = Arc::new(new);
        drop(old);
        if state.replaced.len() >= state.replaced_sweep {
            state.replaced.retain(|view| view.strong_count() > 0);
            state.replaced_sweep = 64.max(state.replaced.len() * 2);
        }
        let pinned = self.alive.load(Relaxed).saturating_sub(current_bytes);
        self.cancel_oldest(state, pinned.saturating_sub(self.settings.pinned_bytes_max));
    }

    /// Cancels as many replaced views as it takes to get `excess` bytes back. Those that were
    /// cancelled before count: their holders have yet to notice.
    fn cancel_oldest(&self, state: &State, mut excess: u64) {
        let mut held = state.replaced.iter().filter_map(Weak::upgrade);
        while excess > 0
            && let Some(oldest) = held.next()
        {
            if !oldest.cancelled.swap(true, Relaxed) {
                self.counters.cancelled.fetch_add(1, Relaxed);
            }
            excess = excess.saturating_sub(oldest.bytes as u64);
        }
    }

    fn run(&self) {
        let _on_panic = FailOnDrop(self);
        while let Some(job) = self.next_job() {
            if let Err(error) = self.work(job) {
                tracing::error!("tables cannot be written any more: {error}");
                self.state.lock().phase = Phase::Failed(error);
                return;
            }
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if !matches!(state.phase, Phase::Running) {
                return None;
            }
            if self.has_work(&state) {
                break;
            }
            self.work.wait(&mut state);
        }
        let view = self.view.read().clone();
        state.writing = Some(view.clone());
        Some(Job {
            horizon: state.horizon(view.applied()),
            view,
            drops: std::mem::take(&mut state.drops),
            applied_bytes: state.applied_bytes,
            flush: state.flush_asked,
        })
    }

    /// Writes all runs of the job's view, and takes them out of the newest view.
    fn work(&self, job: Job) -> Result<(), Error> {
        let mut dropped = job.view.dropped.clone();
        if !job.drops.is_empty() {
            Arc::make_mut(&mut dropped).extend(&job.drops);
        }
        while let Err(error) = self.write(&job, &dropped) {
            self.wait_for_space(error)?;
        }
        let snapshot = self.store.snapshot();
        let mut state = self.state.lock();
        self.store.settle(state.take_horizon(job.view.applied()));
        if self.store.is_durable() {
            state.flushed = job.view.mark.clone();
        }
        state.flushed_bytes = job.applied_bytes;
        state.flush_done = job.flush;
        state.writing = None;
        state.full = None;
        if std::mem::take(&mut state.full_told) {
            tracing::info!("the tables are written again");
        }
        let old = self.view.read().clone();
        let runs = without(&old.runs, &job.view.runs);
        let new = View::new(runs, snapshot, old.mark.clone(), dropped);
        self.replace(&mut state, old, new);
        drop(state);
        self.done.notify_all();
        Ok(())
    }

    /// Waits a while if the disk was full: reads, and the log's reserve, go on without the store.
    fn wait_for_space(&self, error: Error) -> Result<(), Error> {
        if !matches!(error, Error::Full(_)) {
            return Err(error);
        }
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.full_told, true) {
            tracing::error!("{error}; tables stay in memory until there is some");
        }
        state.full = Some(error);
        self.done.notify_all();
        let until = Instant::now() + limits::FULL_PAUSE;
        // Whoever adds rows rings too: that makes no space.
        while matches!(state.phase, Phase::Running) && state.full.is_some() {
            if self.work.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.check()
    }

    fn write(&self, job: &Job, dropped: &BTreeSet<TableId>) -> Result<(), Error> {
        let rows = self.newest_rows(&job.view, dropped)?;
        let spans: Vec<_> = (job.drops.iter())
            .map(|table| (codec::key(*table, b""), codec::table_end(*table).to_vec()))
            .collect();
        let notes: BTreeSet<_> = job.drops.iter().map(|table| codec::dropped_key(*table)).collect();
        let (progress_key, mark) = (codec::progress_key(), codec::encode_mark(&job.view.mark));
        let writes = rows.iter().map(|&(key, stored)| match codec::delete_round(stored) {
            Some(round) if round < job.horizon => Write::Delete { key },
            _ => Write::Put { key, stored },
        });
        // The store's own keys come last, those of dropped tables first among them.
        let notes = notes.iter().map(|key| Write::Put { key, stored: &[] });
        let progress = Write::Put { key: &progress_key, stored: &mark };
        self.store.write(&spans, &mut writes.chain(notes).chain([progress]))?;
        self.counters.writes.fetch_add(1, Relaxed);
        self.counters.rows_written.fetch_add(rows.len() as u64, Relaxed);
        Ok(())
    }

    /// The rows of all runs of a view, each key's newest, in the order of their keys.
    fn newest_rows<'v>(
        &self,
        view: &'v View,
        dropped: &BTreeSet<TableId>,
    ) -> Result<Vec<StoredRow<'v>>, Error> {
        let mut newest: Vec<StoredRow<'_>> = Vec::with_capacity(view.rows);
        let mut moves = merge(&view.runs, |key, stored| newest.push((key, stored)));
        if !dropped.is_empty() {
            let is_dropped = |key| codec::split_key(key).map(|(table, _)| dropped.contains(&table));
            newest.retain(|(key, _)| !is_dropped(key).expect("a run's keys are whole"));
        }
        moves += sample_moves(view, &newest)?;
        self.counters.keys_moved.fetch_add(moves, Relaxed);
        Ok(newest)
    }
}

impl State {
    fn check(&self) -> Result<(), Error> {
        match &self.phase {
            Phase::Running => Ok(()),
            Phase::Failed(error) => Err(error.clone()),
            Phase::Stopping => Err(Error::Store("the tables are being closed".into())),
        }
    }

    /// The highest horizon that also holds for what a replay from `applied` would bring: what was
    /// applied between `applied` and the promise may be below it, and comes again. The round
    /// itself is left out because it may be applied in pieces.
    fn horizon(&self, applied: Round) -> Round {
        let holding = self.horizons.partition_point(|(_, promised_at)| *promised_at < applied);
        holding.checked_sub(1).map_or(Round::ZERO, |last| self.horizons[last].0)
    }

    /// As [`Self::horizon`], forgetting what lies before it.
    fn take_horizon(&mut self, applied: Round) -> Round {
        let horizon = self.horizon(applied);
        while self.horizons.front().is_some_and(|(before, _)| *before < horizon) {
            self.horizons.pop_front();
        }
        horizon
    }
}

/// Wakes whoever waits for the writer when it ends, whatever the reason.
struct FailOnDrop<'a>(&'a Shared);

impl Drop for FailOnDrop<'_> {
    fn drop(&mut self) {
        let mut state: MutexGuard<'_, State> = self.0.state.lock();
        if matches!(state.phase, Phase::Running) {
            state.phase = Phase::Failed(Error::Store("the table writer has panicked".into()));
        }
        drop(state);
        self.0.done.notify_all();
    }
}

fn read_dropped(snapshot: &dyn Snapshot) -> Result<BTreeSet<TableId>, Error> {
    let from = codec::key(codec::OWN, codec::DROPPED);
    let to = [&from[..], &[0xff; 5]].concat();
    let mut cursor = snapshot.cursor(&from, &to);
    let mut dropped = BTreeSet::new();
    loop {
        let rows = cursor.next(limits::SCAN_PIECE_BYTES_MAX)?;
        if rows.is_empty() {
            return Ok(dropped);
        }
        for row in 0..rows.len() {
            let (table, _) = codec::split_key(&rows.key(row)[from.len()..])?;
            dropped.insert(table);
        }
    }
}

/// Gives each key's newest row, in the order of the keys; the runs come newest first. Says how
/// often a key had come from another partition.
fn merge<'r>(runs: &'r [Arc<Run>], mut each: impl FnMut(&'r [u8], &'r [u8])) -> u64 {
    let mut rows: Vec<(&[u8], &Run, u32)> =
        Vec::with_capacity(runs.iter().map(|run| run.rows.len()).sum());
    for run in runs {
        rows.extend((0..run.rows.len()).map(|at| (run.rows.key(at), &**run, at as u32)));
    }
    // The sort is stable and finds the runs again: it merges them, newest first.
    rows.sort_by(|a, b| a.0.cmp(b.0));
    let mut moves = 0;
    let mut last: Option<StoredRow<'_>> = None;
    for (key, run, at) in rows {
        let stored = run.rows.stored(at as usize);
        match last {
            Some((above, newer)) if above == key => {
                moves += u64::from(has_moved(newer, stored));
            }
            _ => each(key, stored),
        }
        last = Some((key, stored));
    }
    moves
}

/// Those of `runs` that are not among `others`.
fn without(runs: &[Arc<Run>], others: &[Arc<Run>]) -> Vec<Arc<Run>> {
    let is_other = |run: &Arc<Run>| others.iter().any(|other| Arc::ptr_eq(run, other));
    runs.iter().filter(|run| !is_other(run)).cloned().collect()
}

/// Whether two rows came from different partitions.
fn has_moved(a: &[u8], b: &[u8]) -> bool {
    match (codec::stamp(a), codec::stamp(b)) {
        (Ok(a), Ok(b)) => a.partition != b.partition,
        // Only a statistic: whoever reads the row gets the error.
        _ => false,
    }
}

/// Of some rows, how many stand in the store from another partition.
fn sample_moves(view: &View, rows: &[StoredRow<'_>]) -> Result<u64, Error> {
    let sample: Vec<_> = rows.iter().step_by(limits::MOVED_KEYS_SAMPLE).collect();
    let keys: Vec<&[u8]> = sample.iter().map(|row| row.0).collect();
    let present = view.snapshot.get_many(&keys)?;
    let moved = sample
        .iter()
        .zip(present)
        .filter(|(row, present)| present.as_ref().is_some_and(|present| has_moved(row.1, present)));
    Ok(moved.count() as u64)
}
