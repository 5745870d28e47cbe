//! What keeps a partition's log in bounds: ends of segments, retention, compaction.

use super::PartitionLog;
use crate::compaction::Sealed;
use crate::segment::{Segment, SegmentEnd};
use anabranch_types::{Offset, Timestamp};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl PartitionLog {
    /// Has the next checkpoint end the last segment, if that was begun longer than `age_ms` ago
    /// (`segment.ms`): says whether. A start begins to count anew.
    #[must_use]
    pub fn roll_if_older(&self, now: Timestamp, age_ms: u64) -> bool {
        let age = now.0.saturating_sub(self.last_since.load(Ordering::Acquire));
        let is_old = u64::try_from(age).is_ok_and(|age| age > age_ms)
            && self.state.lock().segments.last().is_some_and(|last| last.end().bytes > 0);
        self.roll_asked.fetch_or(is_old, Ordering::AcqRel);
        is_old
    }

    /// Up to where the partition is clean, and its segments that may be compacted: those that take
    /// no more, end before `below` and what is undecided, and whose records are old enough.
    pub(crate) fn sealed(
        &self,
        below: Offset,
        now: Timestamp,
        min_lag_ms: u64,
    ) -> (Offset, Vec<Sealed>) {
        let below = below.min(self.last_stable());
        let newest = now.0.saturating_sub_unsigned(min_lag_ms);
        let state = self.state.lock();
        let pairs = state.segments.iter().zip(state.segments.iter().skip(1));
        let sealed =
            pairs.map(|(segment, next)| Sealed { segment: Arc::clone(segment), end: next.base });
        let is_old = |segment: &Segment| min_lag_ms == 0 || segment.end().max_timestamp.0 <= newest;
        let sealed = sealed.take_while(|one| one.end <= below && is_old(&one.segment));
        (state.cleaned, sealed.collect())
    }

    /// Has a segment take the place of others, if these are still there: says whether.
    pub(crate) fn replace(&self, old: &[Arc<Segment>], new: &Arc<Segment>) -> bool {
        let state = &mut *self.state.lock();
        let at = state.segments.iter().position(|segment| Arc::ptr_eq(segment, &old[0]));
        let is_old = |at: usize| {
            let there = state.segments.get(at..at + old.len());
            there.is_some_and(|there| there.iter().zip(old).all(|(a, b)| Arc::ptr_eq(a, b)))
        };
        let Some(at) = at.filter(|at| is_old(*at) && !self.is_deleted()) else { return false };
        let new = Arc::clone(new);
        state.removed.extend(state.segments.splice(at..at + old.len(), [new]));
        true
    }

    /// Everything below `until` is clean now, and the aborted transactions of these markers have
    /// gone.
    pub(crate) fn set_cleaned(&self, until: Offset, markers: &[Offset]) {
        let state = &mut *self.state.lock();
        state.cleaned = state.cleaned.max(until);
        state.transactions.forget(markers);
    }

    /// Whether the disk has so much room.
    pub(crate) fn has_room(&self, bytes: u64) -> io::Result<()> {
        let free = self.disk.free_bytes()?;
        if free < bytes {
            let message = format!("the disk has {free} bytes free, {bytes} are needed");
            return Err(io::Error::new(io::ErrorKind::StorageFull, message));
        }
        Ok(())
    }

    /// The offset that retention would begin the log at.
    #[must_use]
    pub fn retain_from(
        &self,
        now: Timestamp,
        keep_ms: Option<u64>,
        keep_bytes: Option<u64>,
    ) -> Option<Offset> {
        let state = self.state.lock();
        let ends: Vec<SegmentEnd> = state.segments.iter().map(|segment| segment.end()).collect();
        let mut bytes: u64 = ends.iter().map(|end| end.bytes).sum();
        let mut start = None;
        for (number, end) in ends.iter().enumerate() {
            let old = keep_ms.is_some_and(|keep| {
                end.max_timestamp.0 >= 0
                    && now.0.saturating_sub(end.max_timestamp.0)
                        > i64::try_from(keep).unwrap_or(i64::MAX)
            });
            let large = keep_bytes.is_some_and(|keep| bytes - end.bytes >= keep);
            let following = ends.get(number + 1).map(|next| next.base);
            match following {
                Some(next) if old || large => start = Some(next),
                // The last segment goes only by age, when nothing newer waits in the tail.
                None if old && state.unwritten_bytes == 0 && end.bytes > 0 => {
                    start = Some(state.written);
                }
                _ => break,
            }
            bytes -= end.bytes;
        }
        start.filter(|start| *start > self.log_start())
    }
}
