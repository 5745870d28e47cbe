//! The writing side of a partition, on the commit thread.

use crate::append::{AppendError, Part};
use crate::limits::{RECENT_KEYS_MAX, RECENT_KEYS_MS, ROUND_BYTES_TARGET};
use crate::partition::{PartitionLog, Place};
use crate::producers::Producers;
use crate::read::Chunk;
use anabranch_types::batch::{set_base_offset_and_epoch, set_log_append_time};
use anabranch_types::{LeaderEpoch, Offset, Round, Timestamp};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// What the log acts on; the rest of a stream's options is its doors' business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Answer producers once the round is written, before its sync (`durability = 'os'`).
    pub answer_early: bool,
    /// Give records the time of the append (`message.timestamp.type=LogAppendTime`).
    pub append_time: bool,
    /// Bytes at which a segment is followed by a new one.
    pub segment_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { answer_early: false, append_time: false, segment_bytes: 1 << 30 }
    }
}

/// What a round's buffer is given at most for the last round's sake.
const SMALL_ROUND_BYTES: usize = 64 << 10;

pub(crate) struct Writer {
    pub(crate) log: Arc<PartitionLog>,
    pub(crate) settings: Settings,
    /// The round in hand deletes the partition.
    pub(crate) deleted: bool,
    pub(crate) producers: Producers,
    pub(crate) recent_keys: RecentKeys,
    /// The round in hand, if it is bulk: it stands in its segment.
    pub(crate) placed: Option<(Chunk, Place)>,
    /// The round in hand: its batches, stamped.
    pub(crate) pending: Vec<u8>,
    pub(crate) pending_base: Offset,
    pending_next: Offset,
    pending_max_timestamp: Timestamp,
    /// Bytes of the last round, if it was small: the next will be about as large.
    last_bytes: usize,
    /// Bytes of the large batches that are about to be stamped.
    expected_bytes: usize,
}

impl Writer {
    /// `published` is the last round that was.
    pub(crate) fn new(log: Arc<PartitionLog>, published: Round, settings: Settings) -> Self {
        let next = log.high_watermark();
        Self {
            log,
            settings,
            deleted: false,
            producers: Producers::default(),
            recent_keys: RecentKeys::new(published),
            placed: None,
            pending: Vec::new(),
            pending_base: next,
            pending_next: next,
            pending_max_timestamp: Timestamp(-1),
            last_bytes: 0,
            expected_bytes: 0,
        }
    }

    /// Has the round's buffer made large enough at once: growing it would copy bulk twice.
    pub(crate) fn expect(&mut self, bytes: usize) {
        // What is refused after all must not add up.
        self.expected_bytes = (self.expected_bytes + bytes).min(ROUND_BYTES_TARGET);
    }

    /// Copies the part's batch behind what this round already has and writes into the copy what
    /// the broker decides.
    pub(crate) fn stamp(
        &mut self,
        part: Part,
        epoch: LeaderEpoch,
        round: Round,
        now: Timestamp,
    ) -> (Offset, Option<Timestamp>) {
        let base = self.pending_next;
        if self.pending.is_empty() {
            self.pending_base = base;
            self.pending_max_timestamp = Timestamp(-1);
            let expected = std::mem::take(&mut self.expected_bytes).max(self.last_bytes);
            self.pending.reserve(part.batch.len().max(expected));
        }
        let at = self.pending.len();
        self.pending.extend_from_slice(&part.batch);
        let batch = &mut self.pending[at..];
        set_base_offset_and_epoch(batch, base, epoch);
        let append_time = self.settings.append_time.then(|| {
            set_log_append_time(batch, now);
            now
        });
        let latest = append_time.unwrap_or(part.max_timestamp);
        self.pending_max_timestamp = self.pending_max_timestamp.max(latest);
        self.pending_next = base.plus(i64::from(part.header.last_offset_delta) + 1);
        self.producers.record(&part.header, base, round, now);
        self.recent_keys.add(round, now, part.key_hashes);
        (base, append_time)
    }

    /// The round's batches, ready to be read.
    pub(crate) fn take_chunk(&mut self, round: Round) -> Chunk {
        self.expected_bytes = 0;
        self.last_bytes = self.pending.len().min(SMALL_ROUND_BYTES);
        Chunk {
            base_offset: self.pending_base,
            next_offset: self.pending_next,
            round,
            max_timestamp: self.pending_max_timestamp,
            bytes: Bytes::from(std::mem::take(&mut self.pending)),
        }
    }
}

/// Hashes of the keys written lately, by round: enough to say whether a key was written since a
/// cut. Appending to it costs a move of a vector; only a precondition searches it, and only what
/// is newer than its cut, which is little.
pub(crate) struct RecentKeys {
    rounds: VecDeque<(Round, Timestamp, Vec<u64>)>,
    count: usize,
    /// Everything after this round is remembered.
    since: Round,
}

impl RecentKeys {
    pub(crate) fn new(since: Round) -> Self {
        Self { rounds: VecDeque::new(), count: 0, since }
    }

    pub(crate) fn add(&mut self, round: Round, now: Timestamp, keys: Vec<u64>) {
        if keys.is_empty() {
            return;
        }
        self.count += keys.len();
        match self.rounds.back_mut() {
            Some((last, _, all)) if *last == round => all.extend(keys),
            _ => self.rounds.push_back((round, now, keys)),
        }
    }

    /// Whether the key was not written after `cut`.
    pub(crate) fn check(&self, key: u64, cut: Round) -> Result<(), AppendError> {
        if cut < self.since {
            return Err(AppendError::StaleCut);
        }
        let newer = self.rounds.iter().rev().take_while(|(round, ..)| *round > cut);
        for (_, _, keys) in newer {
            if keys.contains(&key) {
                return Err(AppendError::Conflict);
            }
        }
        Ok(())
    }

    /// Forgets what is both old and applied, and more if there is too much.
    pub(crate) fn forget(&mut self, now: Timestamp, applied: Round) {
        while let Some((round, time, keys)) = self.rounds.front() {
            let old = now.0 - time.0 > RECENT_KEYS_MS && *round <= applied;
            if !old && self.count <= RECENT_KEYS_MAX {
                break;
            }
            self.since = *round;
            self.count -= keys.len();
            self.rounds.pop_front();
        }
    }
}
