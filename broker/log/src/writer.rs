//! The writing side of a partition, on the commit thread.

use crate::append::{AppendError, Part};
use crate::limits::{RECENT_KEYS_MAX, RECENT_KEYS_MS, ROUND_BYTES_TARGET};
use crate::partition::PartitionLog;
use crate::producers::Producers;
use crate::read::Chunk;
use crate::transactions::Event;
use anabranch_types::batch::{
    Ending, ending, set_base_offset_and_epoch, set_log_append_time, set_max_timestamp,
};
use anabranch_types::{LeaderEpoch, Offset, ProducerId, Round, Timestamp};
use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
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

/// One partition's part of the round in hand: batches, stamped, back to back in one or more
/// chunks. Small ones are gathered in a buffer, a large one is a chunk of its own.
#[derive(Default)]
pub(crate) struct Pending {
    /// Of the buffer, the chunk's offsets and time, without its bytes.
    open: Option<Chunk>,
    buffer: Vec<u8>,
    closed: Chunks,
    bytes: usize,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Begins or extends the buffer with a batch of those offsets; gives its place in it.
    fn gather(&mut self, batch: &[u8], covers: Chunk, expected: usize) -> &mut [u8] {
        if self.buffer.is_empty() {
            self.buffer.reserve(batch.len().max(expected));
        }
        let open = self
            .open
            .get_or_insert_with(|| Chunk { max_timestamp: Timestamp(-1), ..covers.clone() });
        open.next_offset = covers.next_offset;
        open.max_timestamp = open.max_timestamp.max(covers.max_timestamp);
        let at = self.buffer.len();
        self.buffer.extend_from_slice(batch);
        self.bytes += batch.len();
        &mut self.buffer[at..]
    }

    /// Adds a chunk behind what is there.
    fn push(&mut self, chunk: Chunk) {
        self.close();
        self.bytes += chunk.bytes.len();
        self.closed.push(chunk);
    }

    fn close(&mut self) {
        if let Some(mut chunk) = self.open.take() {
            chunk.bytes = Bytes::from(std::mem::take(&mut self.buffer));
            self.closed.push(chunk);
        }
    }

    /// All of it, ready to be read.
    fn take(&mut self) -> Chunks {
        self.close();
        self.bytes = 0;
        std::mem::take(&mut self.closed)
    }
}

/// One round's batches of a partition, in order.
pub(crate) type Chunks = SmallVec<[Chunk; 1]>;

pub(crate) struct Writer {
    pub(crate) log: Arc<PartitionLog>,
    pub(crate) settings: Settings,
    /// The round in hand deletes the partition.
    pub(crate) deleted: bool,
    pub(crate) producers: Producers,
    pub(crate) recent_keys: RecentKeys,
    pub(crate) pending: Pending,
    /// What the round in hand does to transactions.
    pub(crate) events: Vec<Event>,
    /// The offset of the next record.
    next: Offset,
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
            pending: Pending::default(),
            events: Vec::new(),
            next,
            last_bytes: 0,
            expected_bytes: 0,
        }
    }

    /// Of the next record, whatever the round in hand has already.
    pub(crate) fn next_offset(&self) -> Offset {
        self.next
    }

    /// Has the round's buffer made large enough at once: growing it would copy bulk twice.
    pub(crate) fn expect(&mut self, bytes: usize) {
        // What is refused after all must not add up.
        self.expected_bytes = (self.expected_bytes + bytes).min(ROUND_BYTES_TARGET);
    }

    /// Puts the part's batch behind what this round already has and writes into it what the
    /// broker decides. A small batch is copied; so is a large one that somebody else holds.
    pub(crate) fn stamp(
        &mut self,
        part: Part,
        epoch: LeaderEpoch,
        round: Round,
        now: Timestamp,
        own_bytes: usize,
    ) -> (Offset, Option<Timestamp>) {
        let base = self.next;
        self.next = base.plus(i64::from(part.header.last_offset_delta) + 1);
        let append_time = self.settings.append_time.then_some(now);
        // Some producers leave it to the broker. Whose times count is the stream's to say.
        let wrong =
            part.header.max_timestamp != part.max_timestamp || part.header.is_log_append_time();
        let corrected = wrong.then_some(part.max_timestamp);
        let write = |batch: &mut [u8]| {
            set_base_offset_and_epoch(batch, base, epoch);
            if let Some(time) = append_time {
                set_log_append_time(batch, time);
            } else if let Some(time) = corrected {
                set_max_timestamp(batch, time);
            }
        };
        let covers = Chunk {
            base_offset: base,
            next_offset: self.next,
            round,
            max_timestamp: append_time.unwrap_or(part.max_timestamp).max(Timestamp(-1)),
            bytes: Bytes::new(),
        };
        let marker = ending(&part.header, &part.batch);
        match owned(part.batch, own_bytes) {
            Ok(mut batch) => {
                write(&mut batch);
                self.pending.push(Chunk { bytes: batch.freeze(), ..covers });
            }
            Err(shared) => {
                let expected = std::mem::take(&mut self.expected_bytes).max(self.last_bytes);
                write(self.pending.gather(&shared, covers, expected));
            }
        }
        let event = self.producers.record(&part.header, marker, base, round, now);
        self.events.extend(event);
        if let Some(how) = marker {
            self.recent_keys.decide(part.header.producer_id, how, round, now);
        } else if part.header.is_transactional() {
            self.recent_keys.add_undecided(part.header.producer_id, &part.key_hashes);
        } else {
            self.recent_keys.add(round, now, part.key_hashes);
        }
        (base, append_time)
    }

    /// The round's batches, ready to be read.
    pub(crate) fn take_chunks(&mut self) -> Chunks {
        self.expected_bytes = 0;
        self.last_bytes = self.pending.buffer.len().min(SMALL_ROUND_BYTES);
        self.pending.take()
    }
}

/// A large batch to be written into, if nobody else holds its buffer and that is no larger than
/// it needs to be: it stays in memory for as long as the chunk does.
fn owned(batch: Bytes, own_bytes: usize) -> Result<BytesMut, Bytes> {
    if batch.len() < own_bytes {
        return Err(batch);
    }
    let own = batch.try_into_mut()?;
    if own.capacity() > own.len() + own.len() / 8 { Err(own.freeze()) } else { Ok(own) }
}

/// Hashes of the keys written lately, by round: enough to say whether a key was written since a
/// cut. Appending to it costs a move of a vector; only a precondition searches it, and only what
/// is newer than its cut, which is little.
pub(crate) struct RecentKeys {
    rounds: VecDeque<(Round, Timestamp, Vec<u64>)>,
    count: usize,
    /// Everything after this round is remembered.
    since: Round,
    /// Keys that open transactions have written; `None` if it is not known which.
    undecided: ahash::HashMap<ProducerId, Option<Vec<u64>>>,
}

impl RecentKeys {
    pub(crate) fn new(since: Round) -> Self {
        Self { rounds: VecDeque::new(), count: 0, since, undecided: ahash::HashMap::default() }
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

    /// Remembers keys that a transaction has written, for as long as it is open.
    fn add_undecided(&mut self, producer: ProducerId, keys: &[u64]) {
        if keys.is_empty() {
            return;
        }
        let all = self.undecided.entry(producer).or_insert_with(|| Some(Vec::new()));
        if let Some(known) = all {
            known.extend(keys);
            if known.len() > RECENT_KEYS_MAX {
                *all = None;
            }
        }
    }

    /// A transaction of before the start is open: any key may be its.
    pub(crate) fn add_unknown(&mut self, producer: ProducerId) {
        self.undecided.insert(producer, None);
    }

    /// The keys of a committed transaction were written when it was decided.
    fn decide(&mut self, producer: ProducerId, how: Ending, round: Round, now: Timestamp) {
        match (self.undecided.remove(&producer), how) {
            (Some(Some(keys)), Ending::Commit) => self.add(round, now, keys),
            // Nobody may have read what it wrote.
            (Some(None), Ending::Commit) => {
                self.rounds.clear();
                self.count = 0;
                self.since = round;
            }
            (None, _) | (_, Ending::Abort) => {}
        }
    }

    /// Whether the key was not written after `cut`.
    pub(crate) fn check(&self, key: u64, cut: Round) -> Result<(), AppendError> {
        if cut < self.since {
            return Err(AppendError::StaleCut);
        }
        let may_be_its =
            |keys: &Option<Vec<u64>>| keys.as_ref().is_none_or(|keys| keys.contains(&key));
        if self.undecided.values().any(may_be_its) {
            return Err(AppendError::Conflict);
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
