//! Between rounds: room in the journal and in memory, and checkpoints.

use super::Log;
use crate::checkpoint::Checkpoint;
use crate::limits::{PLACED_BYTES_MAX, TIDY_INTERVAL_MS};
use crate::segment_writer::{AskedBy, CheckpointPlan, PlannedPartition, Task};
use anabranch_types::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Log {
    /// Waits, between rounds, until any round finds room in the journal and the tail has shrunk.
    /// Never within one: producers then already know of batches that no checkpoint may know of.
    pub(super) fn wait_for_room(&mut self, now: Timestamp) {
        assert!(self.round.is_empty(), "only between rounds");
        loop {
            // What is in flight needs its place in the journal as well: at most a file a round.
            let following = self.journal.next().position.file + 1 + self.flights.len() as u64;
            let journal_full = following >= self.shared.floor().file + self.files.size().files;
            let tail_bytes = self.shared.tail_bytes.load(Ordering::Relaxed);
            let tail_full = tail_bytes > self.shared.memory().tail_bytes_max;
            if !(journal_full || tail_full) || self.shared.failure().is_some() {
                return;
            }
            if !self.flights.is_empty() {
                self.land();
                continue;
            }
            if journal_full {
                self.ask_checkpoint(now, AskedBy::Log);
            }
            if tail_full {
                self.send(Task::WriteAll);
            }
            self.wait_for_writer();
        }
    }

    /// Until the segment writer has done something; it makes haste meanwhile.
    pub(super) fn wait_for_writer(&mut self) {
        self.shared.waiting.store(true, Ordering::Release);
        (self.stall)();
        self.shared.waiting.store(false, Ordering::Release);
    }

    /// Asks for a checkpoint if there is a reason.
    pub(super) fn look_for_checkpoint(&mut self, now: Timestamp) {
        let placed_much = self.placed_bytes >= PLACED_BYTES_MAX;
        if self.journal_half_full() || placed_much || self.tidying_is_due(now) {
            self.ask_checkpoint(now, AskedBy::Log);
        }
    }

    fn journal_half_full(&self) -> bool {
        let used = self.journal.next().position.file - self.shared.floor().file;
        used >= self.files.size().files / 2
    }

    /// Deleted files go with a checkpoint, and full segments are followed by new ones: soon, and
    /// at once if the disk is full.
    fn tidying_is_due(&self, now: Timestamp) -> bool {
        let full = self.shared.free_bytes.load(Ordering::Relaxed) < self.reserve_bytes;
        self.untidy
            && (full
                || now.0.abs_diff(self.checkpoint_asked_at.0) >= TIDY_INTERVAL_MS.unsigned_abs())
    }

    pub(super) fn checkpoint_is_under_way(&self) -> bool {
        self.checkpoints_asked > self.shared.counts.checkpoints.load(Ordering::Acquire)
    }

    /// Has the segment writer write a checkpoint of what is published, unless one is under way.
    pub(super) fn ask_checkpoint(&mut self, now: Timestamp, asked_by: AskedBy) {
        if self.shared.failure().is_some() {
            return;
        }
        if self.checkpoint_is_under_way() && matches!(asked_by, AskedBy::Log) {
            return;
        }
        self.land();
        if self.shared.failure().is_some() {
            return;
        }
        assert!(self.round.is_empty(), "only between rounds");
        self.checkpoints_asked += 1;
        self.checkpoint_asked_at = now;
        self.untidy = false;
        self.placed_bytes = 0;
        let bytes_max = self.segment_bytes;
        let partitions = self.writers.values_mut().map(|writer| {
            writer.producers.expire(now);
            PlannedPartition {
                log: Arc::clone(&writer.log),
                end: writer.log.high_watermark(),
                segment_bytes: writer.settings.segment_bytes.min(bytes_max),
                producers: writer.producers.clone(),
            }
        });
        let mut partitions: Vec<_> = partitions.collect();
        // The order of a hash map would differ from run to run.
        partitions.sort_unstable_by_key(|planned| planned.log.id());
        let plan = CheckpointPlan {
            epoch: self.epoch,
            link: self.journal.next(),
            partitions,
            unlinking: std::mem::take(&mut self.unlinking),
            asked_by,
        };
        self.send(Task::Checkpoint(Box::new(plan)));
    }

    /// How long to wait for a command before [`Self::commit`] is called without one.
    pub(crate) fn patience(&self) -> Duration {
        let tidy = Duration::from_millis(TIDY_INTERVAL_MS.unsigned_abs());
        if self.untidy { tidy } else { Duration::from_secs(3600) }
    }
}

impl Checkpoint {
    pub(crate) fn of(plan: &CheckpointPlan, number: u64, journal: crate::JournalSize) -> Self {
        Self {
            number,
            epoch: plan.epoch,
            journal,
            link: plan.link,
            partitions: Vec::new(),
            unlinking: Vec::new(),
        }
    }
}
