//! What the commit thread, the segment writer and all readers share.

use crate::journal::JournalPosition;
use crate::limits::{
    JOURNAL_BYTES_PER_S, OWN_BYTES, PLACE_BYTES, SEGMENT_WRITE_BYTES, TAIL_BYTES_MAX,
    TAIL_BYTES_TARGET,
};
use crate::partition::{PartitionLog, Watcher};
use anabranch_types::{PartitionId, Round};
use parking_lot::{Condvar, Mutex, RwLock};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// The readable side of the log: partitions, progress and figures.
#[derive(Default)]
pub struct Shared {
    partitions: RwLock<ahash::HashMap<PartitionId, Arc<PartitionLog>>>,
    written: AtomicU64,
    published: AtomicU64,
    applied: AtomicU64,
    failed: AtomicBool,
    failure: RwLock<Option<String>>,
    watchers: RwLock<Vec<Weak<dyn Watcher>>>,
    pub(crate) free_bytes: AtomicU64,
    /// Whether the segment writer has been asked how much that is now.
    pub(crate) free_asked: AtomicBool,
    pub(crate) tail_bytes: AtomicUsize,
    /// The commit thread waits for the segment writer.
    pub(crate) waiting: AtomicBool,
    memory: RwLock<Memory>,
    pub(crate) counts: Counts,
    /// Backups under way: see [`Pin`].
    pins: AtomicUsize,
    progress: Mutex<WriterProgress>,
    moved: Condvar,
}

/// How far the segment writer is, as the commit thread sees it.
#[derive(Default)]
struct WriterProgress {
    /// The first journal file that is still needed.
    floor: JournalPosition,
    /// Counts what it has done.
    steps: u64,
}

/// While it is held, no file of the log is removed or cut, and nothing is compacted that was not
/// compacted before.
pub struct Pin(Arc<Shared>);

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.pins.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How much of the log is kept in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of unwritten tail at which a partition is written to its segment.
    pub write_bytes: usize,
    /// Bytes of a batch from which it is not copied, if nobody else holds it.
    pub own_bytes: usize,
    /// Bytes of one partition and round from which they may go straight to its segment.
    pub place_bytes: usize,
    /// Bytes a second up to which they go through the journal all the same.
    pub journal_bytes_per_s: u64,
    /// Bytes of recent batches kept for consumers and tables that keep up.
    pub tail_bytes_target: usize,
    /// Bytes above which appends wait for the segment writer; more than the target.
    pub tail_bytes_max: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            write_bytes: SEGMENT_WRITE_BYTES,
            own_bytes: OWN_BYTES,
            place_bytes: PLACE_BYTES,
            journal_bytes_per_s: JOURNAL_BYTES_PER_S,
            tail_bytes_target: TAIL_BYTES_TARGET,
            tail_bytes_max: TAIL_BYTES_MAX,
        }
    }
}

/// Counted since the start.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) records: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) sync_nanos: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) placed_bytes: AtomicU64,
}

/// Figures since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Records appended.
    pub records: u64,
    /// Batches appended.
    pub batches: u64,
    /// Bytes of batches appended.
    pub bytes: u64,
    /// Syncs of the journal.
    pub syncs: u64,
    /// Nanoseconds spent in them.
    pub sync_nanos: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Bytes of batches that went straight to segments.
    pub placed_bytes: u64,
    /// Bytes of batches in memory.
    pub tail_bytes: u64,
    /// Damaged batches skipped.
    pub damaged_batches: u64,
    /// Bytes free on the disk, as the segment writer saw it last.
    pub disk_free_bytes: u64,
}

impl Shared {
    /// A partition, if it exists.
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<Arc<PartitionLog>> {
        self.partitions.read().get(&id).cloned()
    }

    /// All partitions, in no order.
    #[must_use]
    pub fn partitions(&self) -> Vec<Arc<PartitionLog>> {
        self.partitions.read().values().cloned().collect()
    }

    /// The newest round that can be read.
    #[must_use]
    pub fn published(&self) -> Round {
        Round(self.published.load(Ordering::Acquire))
    }

    /// The newest round that was written: nobody was answered for a later one.
    #[must_use]
    pub fn written(&self) -> Round {
        Round(self.written.load(Ordering::Acquire))
    }

    /// Tells the commit thread how far tables have come: it remembers recent keys at least so
    /// far back.
    pub fn set_applied(&self, round: Round) {
        self.applied.store(round.0, Ordering::Release);
    }

    /// Why nothing can be appended any more, if so.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        // Asked for each append: an atomic spares the lock.
        if !self.failed.load(Ordering::Acquire) {
            return None;
        }
        self.failure.read().clone()
    }

    /// Bounds the log's memory, from the next round on.
    ///
    /// # Panics
    /// If the target is not below the maximum: appends would wait for ever.
    pub fn set_memory(&self, memory: Memory) {
        assert!(memory.tail_bytes_target < memory.tail_bytes_max, "appends would wait for ever");
        *self.memory.write() = memory;
    }

    pub(crate) fn memory(&self) -> Memory {
        *self.memory.read()
    }

    /// Has `watcher` told of each published round, until it is dropped.
    pub fn watch(&self, watcher: Weak<dyn Watcher>) {
        self.watchers.write().push(watcher);
    }

    /// Has files stay as long as the pin is held. Takes effect before this returns but for what
    /// the segment writer is doing right now.
    #[must_use]
    pub fn pin(self: &Arc<Self>) -> Pin {
        self.pins.fetch_add(1, Ordering::AcqRel);
        Pin(Arc::clone(self))
    }

    /// Whether anybody holds a pin.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.pins.load(Ordering::Acquire) > 0
    }

    /// Figures since the start.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let damaged = self.partitions.read().values().map(|log| log.damaged_batches()).sum();
        Figures {
            records: load(&self.counts.records),
            batches: load(&self.counts.batches),
            bytes: load(&self.counts.bytes),
            syncs: load(&self.counts.syncs),
            sync_nanos: load(&self.counts.sync_nanos),
            checkpoints: load(&self.counts.checkpoints),
            placed_bytes: load(&self.counts.placed_bytes),
            tail_bytes: self.tail_bytes.load(Ordering::Relaxed) as u64,
            damaged_batches: damaged,
            disk_free_bytes: load(&self.free_bytes),
        }
    }

    pub(crate) fn applied(&self) -> Round {
        Round(self.applied.load(Ordering::Acquire))
    }

    pub(crate) fn insert(&self, log: Arc<PartitionLog>) {
        self.partitions.write().insert(log.id(), log);
    }

    pub(crate) fn remove(&self, id: PartitionId) -> Option<Arc<PartitionLog>> {
        self.partitions.write().remove(&id)
    }

    pub(crate) fn set_written(&self, round: Round) {
        self.written.store(round.0, Ordering::Release);
    }

    pub(crate) fn set_published(&self, round: Round) {
        self.published.store(round.0, Ordering::Release);
        let watchers = self.watchers.read();
        let mut gone = false;
        for watcher in watchers.iter() {
            match watcher.upgrade() {
                Some(watcher) => watcher.advanced(),
                None => gone = true,
            }
        }
        drop(watchers);
        if gone {
            self.watchers.write().retain(|watcher| watcher.strong_count() > 0);
        }
    }

    /// The first error stays: later ones follow from it.
    pub(crate) fn fail(&self, message: &str) {
        let mut failure = self.failure.write();
        if failure.is_none() {
            tracing::error!(
                error = message,
                "the log cannot be written; appends stop, reads go on"
            );
            *failure = Some(message.to_owned());
            self.failed.store(true, Ordering::Release);
        }
        drop(failure);
        self.notify_moved();
        // Who waits for a round that will not come looks again.
        for watcher in self.watchers.read().iter().filter_map(Weak::upgrade) {
            watcher.advanced();
        }
    }

    pub(crate) fn floor(&self) -> JournalPosition {
        self.progress.lock().floor
    }

    pub(crate) fn set_floor(&self, floor: JournalPosition) {
        self.progress.lock().floor = floor;
        self.notify_moved();
    }

    /// Tells a waiting commit thread that the segment writer has done something.
    pub(crate) fn notify_moved(&self) {
        self.progress.lock().steps += 1;
        self.moved.notify_all();
    }

    /// Waits until the segment writer has done more than `seen`, which is brought up to date.
    pub(crate) fn wait_moved(&self, seen: &mut u64) {
        let mut progress = self.progress.lock();
        self.moved.wait_while(&mut progress, |progress| progress.steps == *seen);
        *seen = progress.steps;
    }
}
