//! Compaction: of each key's records in a partition the last one stays
//! (`cleanup.policy = compact`).
//!
//! ```text
//!   log start            cleaned              below              high watermark
//!   ├── clean ───────────────┼── dirty ──────────┼── not touched ─────┤
//!   └── each segment is written anew ────────────┘
//! ```
//! A pass learns the keys of the dirty segments, then writes all segments up to there anew without
//! the records that these supersede, small ones together. It runs on a thread of its own, beside
//! appends and reads: what it writes are new files, which take the place of the old ones in memory
//! once they are durable, and on disk with the next checkpoint.
//!
//! What goes besides: records without a key, aborted transactions, and records without a value
//! (tombstones) once everybody had time to see them (`delete.retention.ms`). What a batch covers
//! is never a gap: the one before it takes over its offsets, so that readers always find the batch
//! that they expect, or damage.
//!
//! Source of the rules: Apache Kafka's documentation, "Log Compaction"; KIP-534 for the time at
//! which tombstones go.

mod keys;
mod output;

pub use keys::KeySet;

use crate::partition::PartitionLog;
use crate::read::{ReadError, Until};
use crate::segment::Segment;
use anabranch_types::batch::{BatchHeader, Ending, Left, Record, decode_records, ending, retain};
use anabranch_types::{Offset, ProducerId, Round, Timestamp};
use keys::KeyMap;
use output::Output;
use std::io;
use std::sync::Arc;

/// What a pass is to do.
pub struct Compaction<'a> {
    /// Nothing from here on is touched: what tables have not flushed.
    pub below: Offset,
    /// The time.
    pub now: Timestamp,
    /// How long tombstones and markers of transactions stay (`delete.retention.ms`).
    pub delete_retention_ms: u64,
    /// Segments with younger records are left alone (`min.compaction.lag.ms`).
    pub min_lag_ms: u64,
    /// Bytes to which small segments are put together.
    pub segment_bytes: u64,
    /// Keys remembered at most, 25 to 50 bytes each: a pass goes as far as they reach.
    pub keys_max: usize,
    /// Free disk below which nothing is begun.
    pub free_bytes_min: u64,
    /// Which tombstones may go once they are old enough.
    pub tombstones: Tombstones<'a>,
    /// Asked now and then: whether to give up.
    pub stop: &'a dyn Fn() -> bool,
}

/// Which tombstones may go.
///
/// A table is the fold of all partitions of its stream. Should another one hold an older record
/// of a deleted key, then that would come to life again with the next rebuild.
#[derive(Clone, Copy)]
pub enum Tombstones<'a> {
    /// Those of any key.
    All,
    /// Those of these keys.
    Of(&'a KeySet),
}

/// What there is to compact, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dirt {
    /// Compacted before.
    pub clean: u64,
    /// Not yet.
    pub dirty: u64,
    /// The earliest time up to which a dirty segment reaches.
    pub since: Option<Timestamp>,
}

impl Dirt {
    /// The share of what is dirty, 0 to 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn ratio(&self) -> f64 {
        if self.dirty == 0 { 0.0 } else { self.dirty as f64 / (self.clean + self.dirty) as f64 }
    }
}

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Everything below is clean now.
    pub until: Offset,
    /// Bytes of the segments that were looked at.
    pub bytes_before: u64,
    /// Bytes of those that are there instead.
    pub bytes_after: u64,
    /// Segments left alone since something in them is damaged.
    pub damaged_segments: u64,
}

/// A segment that takes no more, and the offset after it.
#[derive(Clone)]
pub(crate) struct Sealed {
    pub(crate) segment: Arc<Segment>,
    pub(crate) end: Offset,
}

impl PartitionLog {
    /// How much there is to compact.
    #[must_use]
    pub fn dirt(&self, below: Offset, now: Timestamp, min_lag_ms: u64) -> Dirt {
        let (cleaned, sealed) = self.sealed(below, now, min_lag_ms);
        let mut dirt = Dirt::default();
        for Sealed { segment, end } in sealed {
            let there = segment.end();
            if end <= cleaned {
                dirt.clean += there.bytes;
            } else {
                dirt.dirty += there.bytes;
                let since = there.max_timestamp;
                dirt.since = Some(dirt.since.map_or(since, |earlier| earlier.min(since)));
            }
        }
        dirt
    }

    /// Compacts what there is. Blocks for as long as that takes; one at a time.
    ///
    /// # Errors
    /// The disk's, or it has too little room. What was not finished has changed nothing.
    pub fn compact(&self, plan: &Compaction<'_>) -> io::Result<Compacted> {
        let (cleaned, sealed) = self.sealed(plan.below, plan.now, plan.min_lag_ms);
        let mut pass = Pass {
            log: self,
            plan,
            keys: KeyMap::new(plan.keys_max),
            until: cleaned,
            survivors: ahash::HashSet::default(),
            forgotten: Vec::new(),
            is_sound: true,
            done: Compacted { until: cleaned, ..Compacted::default() },
        };
        pass.learn(&sealed)?;
        if pass.until <= cleaned {
            return Ok(pass.done);
        }
        for group in groups(&sealed, pass.until, plan.segment_bytes) {
            if !pass.write(group)? {
                return Ok(pass.done);
            }
        }
        self.set_cleaned(pass.until, &pass.forgotten);
        pass.done.until = pass.until;
        Ok(pass.done)
    }

    /// Keys of tombstones that are old enough to go.
    ///
    /// # Errors
    /// The disk's.
    pub fn due_tombstones(&self, plan: &Compaction<'_>) -> io::Result<KeySet> {
        let (cleaned, sealed) = self.sealed(plan.below, plan.now, plan.min_lag_ms);
        let mut keys = KeySet::default();
        for one in sealed.iter().filter(|one| one.end <= cleaned) {
            one.segment.scan(one.end, |_, header, batch| {
                if is_due(&header, plan.now) {
                    each_record(&header, batch, |record| {
                        if record.value.is_none()
                            && let Some(key) = record.key
                        {
                            keys.insert(key);
                        }
                    });
                }
                !(plan.stop)()
            })?;
        }
        Ok(keys)
    }

    /// Takes out of `keys` those of which this partition has a record with a value.
    ///
    /// # Errors
    /// The disk's.
    pub fn forget_held(&self, keys: &mut KeySet) -> Result<(), ReadError> {
        const STEP_BYTES: usize = 1 << 20;
        let mut next = self.log_start();
        while !keys.is_empty() {
            let chunks = match self.read(next, STEP_BYTES, Until::Published) {
                Err(ReadError::OutOfRange { start, .. }) if start > next => {
                    next = start;
                    continue;
                }
                chunks => chunks?,
            };
            let Some(last) = chunks.last() else { return Ok(()) };
            next = last.next_offset;
            for chunk in &chunks {
                for (header, batch) in anabranch_types::batch::batches(&chunk.bytes).flatten() {
                    each_record(&header, batch, |record| {
                        if record.value.is_some()
                            && let Some(key) = record.key
                        {
                            keys.remove(key);
                        }
                    });
                }
            }
        }
        Ok(())
    }
}

/// Whether the tombstones of a batch may go.
fn is_due(header: &BatchHeader, now: Timestamp) -> bool {
    header.delete_horizon().is_some_and(|horizon| horizon <= now)
}

/// Records as far as they can be decoded; what cannot stays where it is.
fn each_record(header: &BatchHeader, batch: &[u8], mut each: impl FnMut(&Record<'_>)) {
    if header.is_control() {
        return;
    }
    let mut scratch = Vec::new();
    if let Ok(records) = decode_records(header, batch, &mut scratch) {
        records.flatten().for_each(|record| each(&record));
    }
}

/// Neighbours that become one segment. One that is large is alone.
fn groups(sealed: &[Sealed], until: Offset, segment_bytes: u64) -> impl Iterator<Item = &[Sealed]> {
    let concerned = sealed.partition_point(|one| one.segment.base < until);
    let mut rest = &sealed[..concerned];
    std::iter::from_fn(move || {
        let first = rest.first()?.segment.base;
        let mut bytes = 0;
        let fits = |one: &&Sealed| {
            bytes += one.segment.end().bytes;
            bytes <= segment_bytes && one.end.0 - first.0 <= i64::from(i32::MAX)
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (group, others) = rest.split_at(count);
        rest = others;
        Some(group)
    })
}

/// How far a group was written.
#[derive(PartialEq, Eq)]
enum Filled {
    Whole,
    /// Nothing would be different.
    Same,
    Damaged,
    Stopped,
}

struct Pass<'a> {
    log: &'a PartitionLog,
    plan: &'a Compaction<'a>,
    keys: KeyMap,
    /// The keys of everything below are known.
    until: Offset,
    /// Transactions of which a record has stayed, by producer; their markers stay too.
    survivors: ahash::HashSet<ProducerId>,
    /// Markers of aborted transactions that have gone.
    forgotten: Vec<Offset>,
    /// Nothing before was damaged: where a record cannot be superseded, its tombstone stays.
    is_sound: bool,
    done: Compacted,
}

impl Pass<'_> {
    /// Learns where the last record of each key is in what is dirty.
    fn learn(&mut self, sealed: &[Sealed]) -> io::Result<()> {
        let cleaned = self.until;
        for one in sealed.iter().filter(|one| one.end > cleaned) {
            let mut is_whole = true;
            one.segment.scan(one.end, |_, header, batch| {
                if (self.plan.stop)() {
                    is_whole = false;
                } else if header.next_offset() > cleaned && self.log.counts(&header) {
                    each_record(&header, batch, |record| {
                        if let Some(key) = record.key {
                            self.keys.insert(key, record.offset);
                        }
                    });
                    // Some keys of the last batch may be beyond the bound, no more.
                    is_whole = !self.keys.is_full();
                    if !is_whole {
                        self.until = header.next_offset();
                    }
                }
                is_whole
            })?;
            if !is_whole {
                return Ok(());
            }
            self.until = one.end;
        }
        Ok(())
    }

    /// Writes neighbouring segments anew, as one. False: the pass is over.
    fn write(&mut self, group: &[Sealed]) -> io::Result<bool> {
        let before: u64 = group.iter().map(|one| one.segment.end().bytes).sum();
        self.log.has_room(before.saturating_add(self.plan.free_bytes_min))?;
        let mut output = Output::new(group[0].segment.create_next()?, group.len());
        let forgotten = self.forgotten.len();
        let filled = self.fill(&mut output, group).and_then(|filled| match filled {
            Filled::Whole if !output.finish()? => Ok(Filled::Same),
            filled => Ok(filled),
        });
        if !matches!(filled, Ok(Filled::Whole)) {
            output.into_segment().discard();
            self.forgotten.truncate(forgotten);
            self.done.bytes_before += before;
            self.done.bytes_after += before;
            return filled.map(|filled| filled != Filled::Stopped);
        }
        let old: Vec<_> = group.iter().map(|one| Arc::clone(&one.segment)).collect();
        let new = Arc::new(output.into_segment());
        if !self.log.replace(&old, &new) {
            // The log's start has moved beyond, or the partition has gone.
            new.discard();
            return Ok(false);
        }
        self.done.bytes_before += before;
        self.done.bytes_after += new.end().bytes;
        Ok(true)
    }

    fn fill(&mut self, output: &mut Output, group: &[Sealed]) -> io::Result<Filled> {
        for Sealed { segment, end } in group {
            let mut result = Ok(());
            let mut is_stopped = false;
            let damaged = segment.scan(*end, |round, header, batch| {
                is_stopped = (self.plan.stop)();
                // Not so behind damage.
                if header.base_offset == output.next() {
                    result = self.batch(output, round, &header, batch);
                }
                !is_stopped && result.is_ok()
            })?;
            result?;
            if is_stopped || self.log.is_deleted() {
                return Ok(Filled::Stopped);
            }
            if !damaged.is_empty() {
                self.done.damaged_segments += 1;
                self.is_sound = false;
                tracing::warn!(
                    partition = self.log.id().0,
                    file = segment.path("log"),
                    "a damaged segment is not compacted; `anabranch log verify` lists the damage"
                );
                return Ok(Filled::Damaged);
            }
        }
        Ok(Filled::Whole)
    }

    fn batch(
        &mut self,
        output: &mut Output,
        round: Round,
        header: &BatchHeader,
        batch: &[u8],
    ) -> io::Result<()> {
        if header.base_offset >= self.until {
            return output.push(round, header, batch);
        }
        if header.next_offset() <= self.log.log_start() {
            return output.drop(round, header);
        }
        if header.is_control() {
            return self.marker(output, round, header, batch);
        }
        if !self.log.counts(header) {
            return output.drop(round, header);
        }
        let horizon =
            Timestamp(self.plan.now.0.saturating_add_unsigned(self.plan.delete_retention_ms));
        let left =
            retain(header, batch, horizon, &mut Vec::new(), |record| self.stays(header, record));
        match left {
            Ok(Left::Nothing) => output.drop(round, header),
            Ok(Left::Part(part)) => {
                self.survives(header);
                output.push_part(round, header, &part)
            }
            // What cannot be decoded was validated once, so it is damage: it stays for whoever
            // repairs it.
            Ok(Left::Whole) | Err(_) => {
                self.survives(header);
                output.push(round, header, batch)
            }
        }
    }

    fn survives(&mut self, header: &BatchHeader) {
        if header.is_transactional() {
            self.survivors.insert(header.producer_id);
        }
    }

    fn stays(&self, header: &BatchHeader, record: &Record<'_>) -> bool {
        let Some(key) = record.key else { return false };
        if self.keys.newest(key).is_some_and(|newest| newest > record.offset) {
            return false;
        }
        let may_go = || match self.plan.tombstones {
            Tombstones::All => true,
            Tombstones::Of(keys) => keys.contains(key),
        };
        let goes =
            record.value.is_none() && self.is_sound && is_due(header, self.plan.now) && may_go();
        !goes
    }

    /// A marker stays as long as a record of its transaction, and as long as a tombstone: somebody
    /// may have read some of the records.
    fn marker(
        &mut self,
        output: &mut Output,
        round: Round,
        header: &BatchHeader,
        batch: &[u8],
    ) -> io::Result<()> {
        let has_records = self.survivors.remove(&header.producer_id);
        let age = self.plan.now.0.saturating_sub(header.max_timestamp.0);
        let is_young = u64::try_from(age).is_ok_and(|age| age < self.plan.delete_retention_ms);
        if has_records || is_young || age < 0 || !self.is_sound {
            return output.push(round, header, batch);
        }
        if ending(header, batch) == Some(Ending::Abort) {
            self.forgotten.push(header.base_offset);
        }
        output.drop(round, header)
    }
}
