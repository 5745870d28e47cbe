//! Everything slow, off the commit thread: filling segments from the tail, checkpoints, making
//! journal files, removing what was deleted.

use crate::Error;
use crate::backup::Snapshot;
use crate::checkpoint::Checkpoint;
use crate::disk::Disk;
use crate::journal::{JournalFiles, Link};
use crate::partition::{PartitionLog, Place};
use crate::producers::Producers;
use crate::segment::Segment;
use crate::shared::Shared;
use crate::sweep::Sweep;
use crate::writer::Chunks;
use anabranch_types::{LeaderEpoch, Offset, PartitionId};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two steps of the sweep.
const SWEEP_PAUSE: Duration = Duration::from_millis(10);

const FOREVER: Duration = Duration::from_secs(3600);

/// What the segment writer is asked to do.
pub enum Task {
    /// Write a partition's tail.
    Write(Arc<PartitionLog>),
    /// Write all tails: memory is short.
    WriteAll,
    /// Write bulk, which is not published yet, behind what is, and sync it.
    Place(Box<Placing>),
    /// What was placed is published: memory may let go of so many bytes of each partition.
    Placed(Vec<(Arc<PartitionLog>, usize)>),
    /// Have a journal file ready.
    Prepare(u64),
    /// See how much room the disk has: appends are being refused.
    LookAtDisk,
    /// Write a checkpoint.
    Checkpoint(Box<CheckpointPlan>),
}

/// A moment of the log that a checkpoint is to describe.
pub struct CheckpointPlan {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) link: Link,
    pub(crate) partitions: Vec<PlannedPartition>,
    pub(crate) unlinking: Vec<Arc<PartitionLog>>,
    pub(crate) asked_by: AskedBy,
}

/// Who asks for a checkpoint.
pub(crate) enum AskedBy {
    /// The log itself, which takes any.
    Log,
    /// Somebody who wants to know when it is done: the channel closes.
    Waiting(Sender<()>),
    /// Who wants to have it with everything that it names.
    Backup(Sender<Result<Snapshot, Error>>),
}

pub(crate) struct PlannedPartition {
    pub(crate) log: Arc<PartitionLog>,
    /// Everything below belongs into segments.
    pub(crate) end: Offset,
    /// Bytes at which a segment is full.
    pub(crate) segment_bytes: u64,
    pub(crate) producers: Producers,
}

/// One round's bulk.
pub struct Placing {
    pub(crate) bulk: Vec<(Arc<PartitionLog>, Chunks)>,
    /// Where each partition's was written.
    pub(crate) done: Sender<io::Result<Vec<Place>>>,
}

/// Runs the tasks, on a thread of its own or, in the simulator, when told to.
pub struct SegmentWriter {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) files: Arc<JournalFiles>,
    pub(crate) tasks: Receiver<Task>,
    pub(crate) number: u64,
    /// Written chunks still in memory, oldest first: what is evicted next.
    pub(crate) evictable: VecDeque<(Arc<PartitionLog>, usize)>,
    /// Deleted partitions whose files may still be there.
    pub(crate) doomed: Vec<PartitionId>,
    /// Files that are to go.
    pub(crate) sweep: Sweep,
}

impl SegmentWriter {
    /// Runs until the log is gone. After an error it only empties its queue: appends have stopped.
    pub fn run(mut self) {
        let mut swept = Instant::now();
        loop {
            let patience = if self.sweep.is_empty() { FOREVER } else { SWEEP_PAUSE };
            match self.tasks.recv_timeout(patience) {
                Ok(task) => self.step(task),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if swept.elapsed() >= SWEEP_PAUSE {
                self.sweep();
                swept = Instant::now();
            }
        }
    }

    /// Runs what is waiting, at most `tasks` of it. Says how many tasks ran.
    pub fn run_pending(&mut self, tasks: usize) -> usize {
        for done in 0..tasks {
            match self.tasks.try_recv() {
                Ok(task) => self.step(task),
                Err(_) if self.sweep.is_empty() || self.shared.is_pinned() => return done,
                Err(_) => self.sweep(),
            }
        }
        tasks
    }

    /// Removes a little of what is to go.
    fn sweep(&mut self) {
        if self.shared.failure().is_some() {
            self.sweep.clear();
        }
        if self.sweep.is_empty() || self.shared.is_pinned() {
            return;
        }
        match self.sweep.step() {
            Ok(None) => {}
            Ok(Some(gone)) => self.doomed.retain(|id| *id != gone),
            Err(error) => {
                tracing::warn!(%error, "a file could not be removed; the next start tries again");
            }
        }
        if let Err(error) = self.look_at_disk() {
            self.shared.fail(&format!("looking at the disk: {error}"));
        }
        // Somebody may wait for room.
        self.shared.notify_moved();
    }

    fn step(&mut self, task: Task) {
        if self.shared.failure().is_some() {
            // Whoever waits for it sees the channel close, and has to look.
            drop(task);
            self.shared.notify_moved();
            return;
        }
        let result = match task {
            Task::Write(log) => {
                log.write_asked.store(false, Ordering::Release);
                self.write(&log, log.high_watermark())
            }
            Task::WriteAll => self.write_all(),
            Task::Place(placing) => {
                let result = self.place(&placing.bulk);
                // The commit thread waits, and fails the log if this failed.
                let _ = placing.done.send(result);
                self.shared.notify_moved();
                Ok(())
            }
            Task::Placed(all) => {
                self.evictable.extend(all);
                Ok(())
            }
            Task::Prepare(file) => self.files.prepare(file).map(drop),
            Task::LookAtDisk => {
                self.shared.free_asked.store(false, Ordering::Release);
                Ok(())
            }
            Task::Checkpoint(plan) => self.checkpoint(*plan),
        };
        let result = result.and_then(|()| {
            self.evict();
            self.look_at_disk()
        });
        if let Err(error) = result {
            self.shared.fail(&format!("writing segments: {error}"));
        }
        self.shared.notify_moved();
    }

    fn write(&mut self, log: &Arc<PartitionLog>, end: Offset) -> io::Result<()> {
        let bytes = log.write_tail(end)?;
        if bytes > 0 {
            self.evictable.push_back((Arc::clone(log), bytes));
        }
        Ok(())
    }

    fn write_all(&mut self) -> io::Result<()> {
        if self.shared.tail_bytes.load(Ordering::Relaxed) <= self.shared.memory().tail_bytes_max / 2
        {
            return Ok(());
        }
        let mut partitions = self.shared.partitions();
        partitions.sort_unstable_by_key(|log| log.id());
        for log in partitions {
            self.write(&log, log.high_watermark())?;
        }
        Ok(())
    }

    fn place(&mut self, bulk: &[(Arc<PartitionLog>, Chunks)]) -> io::Result<Vec<Place>> {
        let mut places = Vec::with_capacity(bulk.len());
        for (log, chunks) in bulk {
            let (written, place) = log.place(chunks)?;
            if written > 0 {
                self.evictable.push_back((Arc::clone(log), written));
            }
            places.push(place);
        }
        let segments = bulk.iter().map(|(log, _)| log.sync_placed());
        let segments = segments.collect::<io::Result<Vec<_>>>()?;
        sync_names(&*self.disk, &segments.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
        Ok(places)
    }

    fn checkpoint(&mut self, plan: CheckpointPlan) -> io::Result<()> {
        let mut checkpoint = Checkpoint::of(&plan, self.number + 1, self.files.size());
        let mut removed: Vec<Arc<Segment>> = Vec::new();
        for planned in &plan.partitions {
            self.write(&planned.log, planned.end)?;
            planned.log.roll(planned.segment_bytes)?;
        }
        // Memory is free again before the syncs have ended.
        self.evict();
        self.shared.notify_moved();
        let mut named: Vec<Arc<Segment>> = Vec::new();
        for PlannedPartition { log, producers, .. } in plan.partitions {
            let (kept, segments, gone) = log.kept();
            named.extend(segments);
            removed.extend(gone);
            checkpoint.partitions.push((log.id(), kept, producers));
        }
        let is_awaited = || self.shared.waiting.load(Ordering::Acquire);
        sync_segments(&*self.disk, &named, is_awaited)?;
        self.disk.create_dir("partitions")?;
        self.disk.sync_dir("partitions")?;
        let doomed: Vec<PartitionId> = plan.unlinking.iter().map(|log| log.id()).collect();
        self.doomed.extend(&doomed);
        checkpoint.unlinking.clone_from(&self.doomed);
        checkpoint.write(&*self.disk)?;
        self.number += 1;
        if let AskedBy::Backup(asked) = &plan.asked_by {
            self.snapshot(checkpoint, asked);
        }
        self.shared.set_floor(plan.link.position);
        // Only now nothing refers to these any more.
        for segment in removed {
            self.sweep.file(segment.path("log"));
            self.sweep.file(segment.path("idx"));
        }
        // Whoever holds a deleted partition holds its files.
        self.evictable.retain(|(log, _)| !log.is_deleted());
        doomed.into_iter().for_each(|id| self.sweep.partition(id));
        self.shared.counts.checkpoints.fetch_add(1, Ordering::AcqRel);
        if let AskedBy::Waiting(done) = plan.asked_by {
            drop(done);
        }
        Ok(())
    }

    /// Before the journal's files are free again. Whoever asked may have gone.
    fn snapshot(&self, checkpoint: Checkpoint, asked: &Sender<Result<Snapshot, Error>>) {
        // Segments hold nothing but what is published.
        let round = self.shared.published();
        let pin = self.shared.pin();
        let _ = asked.send(Snapshot::take(Arc::clone(&self.disk), checkpoint, round, pin));
    }

    /// Keeps the tail near its target: what consumers that keep up still want.
    fn evict(&mut self) {
        let target = self.shared.memory().tail_bytes_target;
        while self.shared.tail_bytes.load(Ordering::Relaxed) > target {
            let excess = self.shared.tail_bytes.load(Ordering::Relaxed) - target;
            let Some((log, bytes)) = self.evictable.pop_front() else { break };
            let dropped = log.evict(bytes.min(excess));
            self.shared.tail_bytes.fetch_sub(dropped, Ordering::Relaxed);
            if 0 < dropped && dropped < bytes {
                self.evictable.push_front((log, bytes - dropped));
            }
        }
    }

    fn look_at_disk(&self) -> io::Result<()> {
        let free = self.disk.free_bytes()?;
        self.shared.free_bytes.store(free, Ordering::Relaxed);
        Ok(())
    }
}

/// Makes what segments hold durable, and their names. One at a time, as long as nobody waits for it:
/// several would take the disk from the journal's syncs, for which everybody waits.
pub(crate) fn sync_segments(
    disk: &dyn Disk,
    segments: &[Arc<Segment>],
    is_awaited: impl Fn() -> bool,
) -> io::Result<()> {
    let (dirty, clean): (Vec<_>, Vec<_>) = segments.iter().partition(|each| each.is_dirty());
    clean.iter().for_each(|segment| segment.close());
    let mut left = dirty.as_slice();
    while let Some((first, rest)) = left.split_first()
        && !is_awaited()
    {
        first.sync()?;
        left = rest;
    }
    at_once(disk, left, |segment| segment.sync())?;
    sync_names(disk, &segments.iter().map(AsRef::as_ref).collect::<Vec<_>>())
}

/// Makes the names of what segments hold durable.
pub(crate) fn sync_names(disk: &dyn Disk, segments: &[&Segment]) -> io::Result<()> {
    let unnamed = |each: &&&Segment| !each.named.load(Ordering::Acquire);
    let unnamed: Vec<_> = segments.iter().filter(unnamed).collect();
    if unnamed.is_empty() {
        return Ok(());
    }
    let directories: BTreeSet<String> = unnamed.iter().map(|each| each.directory()).collect();
    at_once(disk, &Vec::from_iter(directories), |directory| disk.sync_dir(directory))?;
    // These may be new themselves.
    disk.sync_dir("partitions")?;
    disk.sync_dir("")?;
    unnamed.iter().for_each(|segment| segment.named.store(true, Ordering::Release));
    Ok(())
}

/// Syncs all, as many at once as the disk takes. Of several errors, one.
fn at_once<T: Sync>(
    disk: &dyn Disk,
    all: &[T],
    sync: impl Fn(&T) -> io::Result<()> + Sync,
) -> io::Result<()> {
    let threads = disk.syncs_at_once().min(all.len());
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            sync(one)?;
        }
        Ok(())
    };
    if threads <= 1 {
        return run();
    }
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let ended = running.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ended.collect::<Vec<io::Result<()>>>().into_iter().collect()
    })
}
