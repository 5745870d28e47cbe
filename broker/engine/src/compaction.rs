//! Which logs are compacted, and when: those of keyed streams, once enough of them is dirty.
//!
//! Tables stay what they are: a pass only touches what they have flushed, so that a start never
//! replays a compacted range, and a rebuild of all ranges gives the same rows.

use crate::engine::{Engine, Inner};
use crate::stream::{Mode, Stream};
use anabranch_log::{Command, Compacted, Compaction, Dirt, KeySet, PartitionLog, Tombstones};
use anabranch_types::{Offset, PartitionId, Timestamp};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Keys that a pass remembers at most: 50 MB.
const KEYS_MAX: usize = 1_800_000;
/// In this part of `delete.retention.ms` other partitions are searched once at most for keys whose
/// tombstones may go.
const SEARCHES_PER_RETENTION: u64 = 4;

/// What compaction did since the start.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) passes: AtomicU64,
    pub(crate) bytes_before: AtomicU64,
    pub(crate) bytes_after: AtomicU64,
}

/// When other partitions were last searched for the keys of a partition's tombstones.
type Searches = HashMap<PartitionId, Timestamp>;

pub(crate) fn run(engine: &Weak<Inner>, every: Duration, stop: &Receiver<()>) {
    let mut searches = Searches::new();
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(every) {
        let Some(inner) = engine.upgrade() else { return };
        let engine = Engine { inner };
        engine.end_old_segments();
        engine.compact_what_is_due(&mut searches);
    }
}

impl Engine {
    /// Compacts every log that is dirty enough; none where tables are in memory only. Blocks.
    pub fn compact(&self) {
        self.compact_what_is_due(&mut Searches::new());
    }

    /// Has segments end that are older than their stream wants, so that retention and compaction
    /// reach them.
    fn end_old_segments(&self) {
        let now = self.now();
        let mut found = false;
        for stream in self.catalog().streams().filter(|stream| !stream.is_internal()) {
            let options = &stream.options;
            let age_ms = match stream.mode {
                Mode::Append => options.segment_ms,
                Mode::Upsert => options.segment_ms.min(options.compaction.max_lag_ms),
            };
            for log in stream.partitions.iter().filter_map(|id| self.partition(*id)) {
                found |= log.roll_if_older(now, age_ms);
            }
        }
        if found {
            self.checkpoint();
        }
    }

    /// Asks for a checkpoint. Refused only when the log has stopped.
    fn checkpoint(&self) {
        let (done, _) = crossbeam::channel::bounded(0);
        let _ = self.inner.log.send(Command::Checkpoint(done));
    }

    fn compact_what_is_due(&self, searches: &mut Searches) {
        let now = self.now();
        let due: Vec<_> = self.keyed().filter(|(stream, log)| is_due(stream, log, now)).collect();
        searches.retain(|id, _| self.partition(*id).is_some());
        if due.is_empty() || self.inner.log.shared().failure().is_some() {
            return;
        }
        let flushed = match self.inner.tables.flush() {
            Ok(progress) => progress.positions.into_iter().collect::<BTreeMap<_, _>>(),
            Err(error) => {
                tracing::warn!(%error, "logs are not compacted: tables cannot be flushed");
                return;
            }
        };
        // After the tables were flushed: a backup that begins later has what they have.
        if self.inner.log.shared().is_pinned() {
            return;
        }
        for (stream, log) in due {
            // Without a position its table is still being filled.
            let Some(below) = flushed.get(&log.id()) else { continue };
            match self.compact_one(&stream, &log, *below, searches) {
                Ok(done) => self.count(&stream, &log, &done),
                Err(error) => tracing::warn!(
                    stream = stream.name,
                    partition = log.id().0,
                    %error,
                    "a log was not compacted; it is tried again"
                ),
            }
            if self.is_stopped() {
                return;
            }
        }
        // The old files go with a checkpoint.
        self.checkpoint();
    }

    /// Partitions whose logs are compacted.
    fn keyed(&self) -> impl Iterator<Item = (Arc<Stream>, Arc<PartitionLog>)> {
        let streams: Vec<Arc<Stream>> = self.catalog().streams().cloned().collect();
        let keyed = |stream: &Arc<Stream>| stream.mode == Mode::Upsert && !stream.is_internal();
        streams.into_iter().filter(keyed).flat_map(|stream| {
            let logs: Vec<_> =
                stream.partitions.iter().filter_map(|id| self.partition(*id)).collect();
            logs.into_iter().map(move |log| (Arc::clone(&stream), log))
        })
    }

    /// Passes until nothing is due any more: one may not hold all keys.
    fn compact_one(
        &self,
        stream: &Stream,
        log: &PartitionLog,
        below: Offset,
        searches: &mut Searches,
    ) -> io::Result<Compacted> {
        let mut total = Compacted::default();
        loop {
            let options = &stream.options.compaction;
            let now = self.now();
            let stop = || self.is_stopped();
            let mut plan = Compaction {
                below,
                now,
                delete_retention_ms: options.delete_retention_ms,
                min_lag_ms: options.min_lag_ms,
                segment_bytes: u64::from(stream.options.segment_bytes),
                keys_max: KEYS_MAX,
                free_bytes_min: self.inner.settings.disk_reserve_bytes,
                tombstones: Tombstones::All,
                stop: &stop,
            };
            let held_nowhere;
            if stream.partitions.len() > 1 {
                held_nowhere = self.held_nowhere_else(stream, log, &plan, searches)?;
                plan.tombstones = Tombstones::Of(&held_nowhere);
            }
            let done = log.compact(&plan)?;
            let is_further = done.until > total.until;
            total.until = done.until;
            total.bytes_before += done.bytes_before;
            total.bytes_after += done.bytes_after;
            let dirt = log.dirt(below, now, options.min_lag_ms);
            if !is_further || !is_dirty(stream, &dirt, now) || self.is_stopped() {
                return Ok(total);
            }
        }
    }

    /// Keys whose tombstones in `log` are old enough to go, and of which no other partition has a
    /// record. Nothing, if that was asked a little while ago: it reads all partitions.
    fn held_nowhere_else(
        &self,
        stream: &Stream,
        log: &PartitionLog,
        plan: &Compaction<'_>,
        searches: &mut Searches,
    ) -> io::Result<KeySet> {
        let pause = i64::try_from(plan.delete_retention_ms / SEARCHES_PER_RETENTION);
        let last = searches.get(&log.id());
        if last.is_some_and(|last| plan.now.0 - last.0 < pause.unwrap_or(i64::MAX)) {
            return Ok(KeySet::default());
        }
        searches.insert(log.id(), plan.now);
        let mut keys = log.due_tombstones(plan)?;
        for id in stream.partitions.iter().filter(|id| **id != log.id()) {
            if let Some(other) = self.partition(*id) {
                other.forget_held(&mut keys).map_err(io::Error::other)?;
            }
        }
        Ok(keys)
    }

    fn count(&self, stream: &Stream, log: &PartitionLog, done: &Compacted) {
        let counts = &self.inner.compaction;
        counts.passes.fetch_add(1, Ordering::Relaxed);
        counts.bytes_before.fetch_add(done.bytes_before, Ordering::Relaxed);
        counts.bytes_after.fetch_add(done.bytes_after, Ordering::Relaxed);
        tracing::info!(
            stream = stream.name,
            partition = log.id().0,
            until = done.until.0,
            bytes_before = done.bytes_before,
            bytes_after = done.bytes_after,
            "a log was compacted"
        );
    }
}

/// Whether a log should be compacted, as far as it is not too young.
fn is_due(stream: &Stream, log: &PartitionLog, now: Timestamp) -> bool {
    let dirt = log.dirt(log.high_watermark(), now, stream.options.compaction.min_lag_ms);
    is_dirty(stream, &dirt, now)
}

fn is_dirty(stream: &Stream, dirt: &Dirt, now: Timestamp) -> bool {
    let options = &stream.options.compaction;
    let waits = dirt.since.map_or(0, |since| now.0.saturating_sub(since.0));
    let too_long = u64::try_from(waits).is_ok_and(|waits| waits > options.max_lag_ms);
    dirt.dirty > 0 && (too_long || dirt.ratio() >= options.dirty_ratio())
}
