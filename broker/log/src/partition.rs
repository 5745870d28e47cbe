//! One partition as its readers and its segment writer see it: tail in memory, segments on disk.
//!
//! ```text
//!   log start                    tail start     written        high watermark = log end
//!   │                            │              │              │
//!   ├── segments on disk ────────┼──────────────┤              │
//!                                ├── tail: chunks in memory ───┤
//! ```
//! Only what is published is here: the commit thread publishes a round after its sync.

mod find;
mod upkeep;

use crate::commit_loop::now;
use crate::disk::Disk;
use crate::limits::{READ_BYTES_MAX, SEGMENT_WRITE_BYTES, TRANSACTION_READ_BYTES};
use crate::read::{Chunk, Range, ReadError, Until};
use crate::round::Placed;
use crate::segment::{Segment, SegmentEnd, dir};
use crate::transactions::{Aborted, Event, Transactions};
use crate::writer::Chunks;
use anabranch_types::batch::{BatchError, BatchHeader, HEADER_BYTES, batches};
use anabranch_types::{LeaderEpoch, Offset, PartitionId, ProducerId, Round};
use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::smallvec;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Told, on the commit thread, that a partition it watches has advanced or is gone. Must not
/// block.
pub trait Watcher: Send + Sync {
    /// Something new can be read.
    fn advanced(&self);
}

/// The readable side of a partition.
pub struct PartitionLog {
    id: PartitionId,
    disk: Arc<dyn Disk>,
    high_watermark: AtomicI64,
    last_stable: AtomicI64,
    log_start: AtomicI64,
    deleted: AtomicBool,
    damaged: AtomicU64,
    /// Whether the segment writer has been asked to write the tail.
    pub(crate) write_asked: AtomicBool,
    /// When the last segment was begun, or found by this start.
    last_since: AtomicI64,
    /// Whether the next checkpoint ends the last segment, however small it is.
    roll_asked: AtomicBool,
    state: Mutex<State>,
    /// Whether `watchers` has any: spares the commit thread a lock.
    watched: AtomicBool,
    watchers: Mutex<Vec<Weak<dyn Watcher>>>,
}

#[derive(Default)]
struct State {
    tail: VecDeque<Chunk>,
    /// Segments hold everything below.
    written: Offset,
    /// Bytes of the tail from `written` on.
    unwritten_bytes: usize,
    segments: Vec<Arc<Segment>>,
    /// Where the last segment will end once all that was placed in it is published.
    placed_end: Option<SegmentEnd>,
    epochs: Vec<(LeaderEpoch, Offset)>,
    transactions: Transactions,
    /// Segments below the log start or compacted, whose files go at the next checkpoint.
    removed: Vec<Arc<Segment>>,
    /// Everything below was compacted.
    cleaned: Offset,
}

impl State {
    /// Puts chunks behind the tail. Says where it ends now.
    fn push(&mut self, chunks: Chunks, epoch: LeaderEpoch) -> Offset {
        let next = chunks.last().expect("a round's chunks are at least one").next_offset;
        if self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
            self.epochs.push((epoch, chunks[0].base_offset));
        }
        self.tail.extend(chunks);
        next
    }

    /// Lets go of segments that hold nothing from `start` on.
    fn retire(&mut self, start: Offset) {
        while self.segments.len() > 1 && self.segments[1].base <= start {
            let segment = self.segments.remove(0);
            self.removed.push(segment);
        }
    }

    /// Whether the last segment takes no more: it is full, or nothing in it counts any more.
    fn is_done(&self, segment_bytes: u64, start: Offset) -> bool {
        self.segments.last().is_some_and(|segment| {
            let bytes = segment.end().bytes;
            bytes >= segment_bytes || (bytes > 0 && self.written <= start)
        })
    }
}

/// Where a chunk was written that is not published yet.
pub(crate) struct Place {
    /// Base offset of the segment.
    pub(crate) segment: Offset,
    /// Byte in it.
    pub(crate) position: u64,
    end: SegmentEnd,
}

/// What a checkpoint keeps of a partition's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    pub(crate) cleaned: Offset,
    pub(crate) segments: Vec<SegmentEnd>,
    pub(crate) epochs: Vec<(LeaderEpoch, Offset)>,
    pub(crate) aborted: Vec<Aborted>,
}

impl PartitionLog {
    pub(crate) fn new(disk: Arc<dyn Disk>, id: PartitionId, kept: Kept) -> Self {
        let segments = kept
            .segments
            .iter()
            .map(|end| Arc::new(Segment::opened(Arc::clone(&disk), id, *end)))
            .collect();
        let state = State {
            written: kept.log_end,
            cleaned: kept.cleaned,
            segments,
            epochs: kept.epochs,
            transactions: Transactions::new(kept.aborted),
            ..State::default()
        };
        Self {
            id,
            disk,
            high_watermark: AtomicI64::new(kept.log_end.0),
            last_stable: AtomicI64::new(kept.log_end.0),
            log_start: AtomicI64::new(kept.log_start.0),
            deleted: AtomicBool::new(false),
            damaged: AtomicU64::new(0),
            write_asked: AtomicBool::new(false),
            last_since: AtomicI64::new(now().0),
            roll_asked: AtomicBool::new(false),
            state: Mutex::new(state),
            watched: AtomicBool::new(false),
            watchers: Mutex::default(),
        }
    }

    /// Which one.
    #[must_use]
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// First offset kept.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        Offset(self.log_start.load(Ordering::Acquire))
    }

    /// Next offset to be published.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark.load(Ordering::Acquire))
    }

    /// The offset below which every transaction is decided (Kafka's last stable offset).
    #[must_use]
    pub fn last_stable(&self) -> Offset {
        // A round publishes both, this one first.
        let stable = Offset(self.last_stable.load(Ordering::Acquire));
        stable.min(self.high_watermark()).max(self.log_start())
    }

    /// Transactions with records before `at` and a marker not before it, as far as they are not
    /// aborted: whose, and where their records begin. Who reads on from there meets their markers.
    #[must_use]
    pub fn undecided_at(&self, at: Offset) -> Vec<(ProducerId, Offset)> {
        self.state.lock().transactions.undecided_at(at)
    }

    /// Aborted transactions with records in `from..to`, in the order of their markers.
    #[must_use]
    pub fn aborted_within(&self, from: Offset, to: Offset) -> Vec<Aborted> {
        self.state.lock().transactions.aborted_within(from, to)
    }

    /// Shows the batches of a producer's transaction, which stand in `range` among others'; and
    /// what is no batch.
    ///
    /// # Errors
    /// The disk's, and those of `each`.
    pub fn transaction<E: From<ReadError>>(
        &self,
        producer: ProducerId,
        range: std::ops::Range<Offset>,
        mut each: impl FnMut(&Chunk, Result<(BatchHeader, &[u8]), BatchError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut next = range.start.max(self.log_start());
        while next < range.end {
            let chunks = self.read_rounds(next, TRANSACTION_READ_BYTES, Until::Published)?;
            let Some(last) = chunks.last() else { return Ok(()) };
            for chunk in &chunks {
                for batch in batches(&chunk.bytes) {
                    let is_its = |header: &BatchHeader| {
                        (next..range.end).contains(&header.base_offset)
                            && header.is_transactional()
                            && header.producer_id == producer
                            && !header.is_control()
                    };
                    if batch.as_ref().map_or(true, |(header, _)| is_its(header)) {
                        each(chunk, batch)?;
                    }
                }
            }
            next = last.next_offset;
        }
        Ok(())
    }

    /// Whether the records of a batch count, to who reads below [`Self::last_stable`]: they are no
    /// markers, and no part of an aborted transaction.
    #[must_use]
    pub fn counts(&self, header: &BatchHeader) -> bool {
        if header.is_transactional() {
            return !header.is_control() && !self.state.lock().transactions.is_aborted(header);
        }
        !header.is_control()
    }

    /// Whether the records of a batch count at a cut: they are no markers, and if they are part
    /// of a transaction, that was committed in the cut's round or before.
    #[must_use]
    pub fn counts_at(&self, header: &BatchHeader, cut: Round) -> bool {
        if header.is_transactional() {
            let is_committed = || self.state.lock().transactions.is_committed(header, cut);
            return !header.is_control() && is_committed();
        }
        !header.is_control()
    }

    /// Whether the partition was deleted. What was read before stays readable.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Damaged batches that reads have skipped since the start.
    #[must_use]
    pub fn damaged_batches(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Bytes in segments and in the tail.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let state = self.state.lock();
        let written: u64 = state.segments.iter().map(|segment| segment.end().bytes).sum();
        written + state.unwritten_bytes as u64
    }

    /// Has `watcher` told from now on, until it is dropped.
    pub fn watch(&self, watcher: Weak<dyn Watcher>) {
        let mut watchers = self.watchers.lock();
        // Who went away is forgotten here too, so that a partition that never advances does not
        // collect watchers.
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.push(watcher);
        self.watched.store(true, Ordering::SeqCst);
    }

    /// Whole batches from the one that contains `from`, at least one, at most `bytes_max` bytes
    /// (and [`crate::limits::READ_BYTES_MAX`]) if there are more; nothing when `from` is the end. Damaged batches are skipped, reported and counted.
    ///
    /// # Errors
    /// [`ReadError`]: out of range, or the disk's.
    pub fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        until: Until,
    ) -> Result<Vec<Chunk>, ReadError> {
        let stable = self.last_stable();
        if until != Until::Stable || from > self.high_watermark() || from < self.log_start() {
            return self.read_with(from, bytes_max, until, false);
        }
        if from >= stable {
            return Ok(Vec::new());
        }
        let chunks = self.read_with(from, bytes_max, until, false)?.into_iter();
        let below = chunks.take_while(|chunk| chunk.base_offset < stable);
        Ok(below.map(|chunk| chunk.below(stable)).collect())
    }

    /// As [`Self::read`], but each chunk is of one round: for what needs stamps.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_rounds(
        &self,
        from: Offset,
        bytes_max: usize,
        until: Until,
    ) -> Result<Vec<Chunk>, ReadError> {
        self.read_with(from, bytes_max, until, true)
    }

    fn read_with(
        &self,
        mut from: Offset,
        bytes_max: usize,
        until: Until,
        split_rounds: bool,
    ) -> Result<Vec<Chunk>, ReadError> {
        let bytes_max = bytes_max.min(READ_BYTES_MAX);
        let (start, end) = (self.log_start(), self.high_watermark());
        if from < start || from > end {
            return Err(ReadError::OutOfRange { asked: from, start, end });
        }
        let round_max = match until {
            Until::Published | Until::Stable => None,
            Until::Round(round) => Some(round),
        };
        while from < self.high_watermark() {
            let (segment, segment_end) = {
                let state = self.state.lock();
                if state.tail.front().is_some_and(|chunk| chunk.base_offset <= from) {
                    return Ok(read_tail(&state.tail, from, bytes_max, round_max, split_rounds));
                }
                let number = state.segments.partition_point(|segment| segment.base <= from);
                let Some(number) = number.checked_sub(1) else {
                    return self.gone(from).map_or(Ok(Vec::new()), Err);
                };
                let following = state.segments.get(number + 1).map(|next| next.base);
                (Arc::clone(&state.segments[number]), following.unwrap_or(state.written))
            };
            let range = Range { from, bytes_max, round_max, split_rounds, segment_end };
            let read = segment.read(&range);
            // Files that go are cut short first: that is no damage.
            if !read.as_ref().is_ok_and(|found| found.damaged.is_empty()) {
                if let Some(gone) = self.gone(from) {
                    return Err(gone);
                }
                if !self.has(&segment) {
                    continue;
                }
            }
            let found = read.map_err(|error| self.storage(&error))?;
            for offset in &found.damaged {
                self.damaged.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    partition = self.id.0,
                    offset = offset.0,
                    file = segment.path("log"),
                    "a damaged batch was skipped; `anabranch log verify` lists all of them"
                );
            }
            if !found.chunks.is_empty() {
                return Ok(found.chunks);
            }
            match found.next {
                // Nothing but damage, or the rest of a segment: read on behind it.
                Some(next) if next > from && !found.damaged.is_empty() => from = next,
                _ => return Ok(Vec::new()),
            }
        }
        Ok(Vec::new())
    }

    /// The last leader epoch not above `epoch`, and the offset where a later one starts
    /// (OffsetForLeaderEpoch, KIP-320).
    #[must_use]
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let state = self.state.lock();
        let later = state.epochs.partition_point(|(started, _)| *started <= epoch);
        let (found, _) = *state.epochs.get(later.checked_sub(1)?)?;
        let end = state.epochs.get(later).map_or(self.high_watermark(), |(_, start)| *start);
        Some((found, end))
    }

    /// What a reader is told whose place was removed under it: the log begins later now.
    fn gone(&self, asked: Offset) -> Option<ReadError> {
        let end = self.high_watermark();
        let start = if self.is_deleted() { end } else { self.log_start() };
        (asked < start).then_some(ReadError::OutOfRange { asked, start, end })
    }

    /// Whether the segment is still read; else another has taken its place.
    fn has(&self, segment: &Arc<Segment>) -> bool {
        self.state.lock().segments.iter().any(|other| Arc::ptr_eq(other, segment))
    }

    fn storage(&self, error: &io::Error) -> ReadError {
        ReadError::Storage { partition: self.id, message: error.to_string() }
    }

    // ── the commit thread ──

    /// Makes one round's chunks visible. Says how many bytes now wait for the segment writer, and
    /// how long the last segment will be with them.
    pub(crate) fn publish(
        &self,
        chunks: Chunks,
        events: &[Event],
        epoch: LeaderEpoch,
    ) -> (usize, u64) {
        let mut state = self.state.lock();
        state.unwritten_bytes += chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
        let next = state.push(chunks, epoch);
        self.decide(&mut state, events, next);
        self.high_watermark.store(next.0, Ordering::Release);
        let written = state.segments.last().map_or(0, |segment| segment.end().bytes);
        (state.unwritten_bytes, written + state.unwritten_bytes as u64)
    }

    /// What a round does to transactions becomes visible with it.
    fn decide(&self, state: &mut State, events: &[Event], end: Offset) {
        for event in events {
            state.transactions.apply(event);
        }
        // Before the high watermark rises: nothing undecided may pass for stable.
        self.last_stable.store(state.transactions.stable(end).0, Ordering::Release);
    }

    /// As [`Self::publish`], of events whose batches a recovery has found in segments.
    pub(crate) fn decide_again(&self, events: &[Event]) {
        let end = self.high_watermark();
        self.decide(&mut self.state.lock(), events, end);
    }

    /// Moves the log's start; files go at the next checkpoint. Says whether there are any.
    pub(crate) fn set_log_start(&self, start: Offset) -> bool {
        self.log_start.store(start.0, Ordering::Release);
        let state = &mut *self.state.lock();
        state.retire(start);
        state.transactions.forget_below(start);
        while state.epochs.len() > 1 && state.epochs[1].1 <= start {
            state.epochs.remove(0);
        }
        !state.removed.is_empty() || state.is_done(u64::MAX, start)
    }

    /// As [`Self::publish`], for chunks that stand in their segment. Says how long that is now.
    pub(crate) fn publish_placed(
        &self,
        chunks: Chunks,
        events: &[Event],
        epoch: LeaderEpoch,
        place: &Place,
    ) -> u64 {
        let mut state = self.state.lock();
        assert_eq!(state.unwritten_bytes, 0, "everything before it was written first");
        let next = state.push(chunks, epoch);
        self.decide(&mut state, events, next);
        state.written = next;
        // Before the segment's end: what is read behind the old one is then known to be published.
        self.high_watermark.store(next.0, Ordering::Release);
        let segment = state.segments.last().expect("the chunk was placed in it");
        assert_eq!(segment.base, place.segment, "segments are followed by new ones elsewhere");
        segment.set_end(&place.end);
        if state.placed_end == Some(place.end) {
            state.placed_end = None;
        }
        place.end.bytes
    }

    pub(crate) fn set_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
        self.wake();
    }

    /// Forgets the tail of a deleted partition. Says how many bytes that were.
    pub(crate) fn drop_tail(&self) -> usize {
        let mut state = self.state.lock();
        state.unwritten_bytes = 0;
        state.tail.drain(..).map(|chunk| chunk.bytes.len()).sum()
    }

    /// Tells the watchers. After the round is published as a whole: who reads to a round would
    /// otherwise find nothing new and sleep again.
    pub(crate) fn wake(&self) {
        if self.watched.load(Ordering::SeqCst) {
            let mut watchers = self.watchers.lock();
            watchers.retain(|watcher| match watcher.upgrade() {
                Some(watcher) => {
                    watcher.advanced();
                    true
                }
                None => false,
            });
            self.watched.store(!watchers.is_empty(), Ordering::SeqCst);
        }
    }

    // ── the segment writer ──

    /// Writes the tail below `end` to the last segment. Says how many bytes were written.
    pub(crate) fn write_tail(&self, end: Offset) -> io::Result<usize> {
        let mut total = 0;
        loop {
            let (chunks, bytes, segment) = {
                let mut state = self.state.lock();
                let from = state.tail.partition_point(|chunk| chunk.base_offset < state.written);
                let mut chunks = Vec::new();
                let mut bytes = 0;
                for chunk in state.tail.range(from..) {
                    if chunk.base_offset >= end || bytes >= 16 * SEGMENT_WRITE_BYTES {
                        break;
                    }
                    bytes += chunk.bytes.len();
                    chunks.push(chunk.clone());
                }
                let Some(first) = chunks.first() else { return Ok(total) };
                let segment = self.last_segment(&mut state, first.base_offset)?;
                (chunks, bytes, segment)
            };
            segment.append(&chunks)?;
            let mut state = self.state.lock();
            state.written = chunks.last().expect("not empty").next_offset;
            // A deleted partition's tail goes while it is being written.
            state.unwritten_bytes = state.unwritten_bytes.saturating_sub(bytes);
            total += bytes;
        }
    }

    /// The segment that is written to; the partition's first if there is none.
    fn last_segment(&self, state: &mut State, base: Offset) -> io::Result<Arc<Segment>> {
        if let Some(last) = state.segments.last() {
            return Ok(Arc::clone(last));
        }
        let segment = Arc::new(Segment::create(Arc::clone(&self.disk), self.id, base)?);
        state.segments.push(Arc::clone(&segment));
        Ok(segment)
    }

    /// Begins a new segment if the last is done. Only with a checkpoint: between two of them all
    /// of a partition goes to one segment, so that a recovery puts each batch where it was.
    pub(crate) fn roll(&self, segment_bytes: u64) -> io::Result<()> {
        let is_asked = self.roll_asked.swap(false, Ordering::AcqRel);
        let mut state = self.state.lock();
        if !state.is_done(if is_asked { 1 } else { segment_bytes }, self.log_start()) {
            return Ok(());
        }
        assert_eq!(state.placed_end, None, "a checkpoint is planned while nothing is in flight");
        self.last_since.store(now().0, Ordering::Release);
        let segment = Segment::create(Arc::clone(&self.disk), self.id, state.written)?;
        segment.cut_to_end()?;
        if let Some(last) = state.segments.last() {
            // A recovery cuts the last segment only, and may have died before that was durable:
            // nobody would cut this one again.
            last.sync_again();
        }
        state.segments.push(Arc::new(segment));
        Ok(())
    }

    /// Writes what is published, behind it what was placed before, and then `chunks` to the last
    /// segment.
    pub(crate) fn place(&self, chunks: &Chunks) -> io::Result<(usize, Place)> {
        let written = self.write_tail(self.high_watermark())?;
        let (segment, from) = {
            let mut state = self.state.lock();
            let segment = self.last_segment(&mut state, chunks[0].base_offset)?;
            let from = state.placed_end.unwrap_or_else(|| segment.end());
            (segment, from)
        };
        let end = segment.place(chunks, from)?;
        self.state.lock().placed_end = Some(end);
        Ok((written, Place { segment: segment.base, position: from.bytes, end }))
    }

    /// Makes placed batches durable, but for the name of their segment, which this gives.
    pub(crate) fn sync_placed(&self) -> io::Result<Arc<Segment>> {
        let segment = self.state.lock().segments.last().map(Arc::clone);
        let segment = segment.expect("the chunk was placed in it");
        segment.sync_batches()?;
        Ok(segment)
    }

    /// Whether placed batches stand where the journal says, whole.
    pub(crate) fn holds(&self, placed: &Placed<'_>) -> io::Result<bool> {
        let bytes = read_placed(&self.disk, self.id, placed)?;
        let mut headers = placed.headers.chunks_exact(HEADER_BYTES);
        let mut sound = 0;
        for (header, batch) in batches(&bytes).flatten() {
            if headers.next() != Some(&batch[..HEADER_BYTES]) || header.check_crc(batch).is_err() {
                return Ok(false);
            }
            sound += header.bytes as u64;
        }
        Ok(headers.next().is_none() && sound == placed.bytes)
    }

    /// Takes over batches that [`Self::holds`] has found. Says false if they do not follow what
    /// the segment has.
    pub(crate) fn adopt(
        &self,
        placed: &Placed<'_>,
        events: &[Event],
        round: Round,
    ) -> io::Result<bool> {
        let segment = self.last_segment(&mut self.state.lock(), placed.base)?;
        if (segment.base, segment.end().bytes) != (placed.segment, placed.position) {
            return Ok(false);
        }
        let bytes = read_placed(&self.disk, self.id, placed)?;
        let chunk = Chunk::of(placed.base, round, bytes).measured();
        let Some((last, _)) = batches(&chunk.bytes).flatten().last() else { return Ok(false) };
        let end = segment.index(std::slice::from_ref(&chunk), segment.end())?;
        let place = Place { segment: segment.base, position: placed.position, end };
        let bytes = chunk.bytes.len();
        self.publish_placed(smallvec![chunk], events, last.leader_epoch, &place);
        self.evict(bytes);
        Ok(true)
    }

    /// Drops written chunks from the tail's front, about `bytes` of them. Says how many.
    pub(crate) fn evict(&self, bytes: usize) -> usize {
        let state = &mut *self.state.lock();
        let mut dropped = 0;
        while dropped < bytes
            && state.tail.front().is_some_and(|chunk| chunk.next_offset <= state.written)
        {
            dropped += state.tail.pop_front().map_or(0, |chunk| chunk.bytes.len());
        }
        dropped
    }

    /// What the files hold now, and segments that may be removed once a checkpoint says so.
    pub(crate) fn kept(&self) -> (Kept, Vec<Arc<Segment>>, Vec<Arc<Segment>>) {
        let mut state = self.state.lock();
        state.retire(self.log_start());
        let kept = Kept {
            // A start beyond what is written comes again from the journal, with the records.
            log_start: self.log_start().min(state.written),
            log_end: state.written,
            cleaned: state.cleaned,
            segments: state.segments.iter().map(|segment| segment.end()).collect(),
            epochs: state.epochs.clone(),
            aborted: state.transactions.aborted().to_vec(),
        };
        // Under one lock: a segment that is named must be among those that are synced.
        (kept, state.segments.clone(), std::mem::take(&mut state.removed))
    }

    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.state.lock().segments.clone()
    }
}

/// The bytes that the journal names; fewer, if the file is shorter or missing.
pub(crate) fn read_placed(
    disk: &Arc<dyn Disk>,
    partition: PartitionId,
    placed: &Placed<'_>,
) -> io::Result<Bytes> {
    let path = format!("{}/{:020}.log", dir(partition), placed.segment.0);
    let file = match disk.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Bytes::new()),
        file => file?,
    };
    // Not more than there is, whatever the journal says.
    let there = file.bytes()?.saturating_sub(placed.position).min(placed.bytes);
    Ok(Bytes::from(file.read(there as usize, placed.position)?))
}

fn read_tail(
    tail: &VecDeque<Chunk>,
    from: Offset,
    bytes_max: usize,
    round_max: Option<Round>,
    split_rounds: bool,
) -> Vec<Chunk> {
    let mut out: Vec<Chunk> = Vec::new();
    let mut taken = 0;
    let first = tail.partition_point(|chunk| chunk.next_offset <= from);
    for chunk in tail.range(first..) {
        if round_max.is_some_and(|max| chunk.round > max) {
            break;
        }
        if taken > 0 && taken + chunk.bytes.len() > bytes_max {
            // Only a first chunk is cut: a reader that keeps up takes whole rounds.
            break;
        }
        let whole = chunk.base_offset >= from && chunk.bytes.len() <= bytes_max;
        let piece = if whole { chunk.clone() } else { cut_chunk(chunk, from, bytes_max) };
        taken += piece.bytes.len();
        let more = piece.next_offset == chunk.next_offset;
        out.push(piece);
        if !more {
            break;
        }
    }
    debug_assert!(!split_rounds || out.iter().all(|chunk| !chunk.bytes.is_empty()));
    out
}

/// The batches of `chunk` from the one that contains `from`, as many as fit, at least one.
fn cut_chunk(chunk: &Chunk, from: Offset, bytes_max: usize) -> Chunk {
    let mut at = 0;
    let mut begin = None;
    let mut end = 0;
    for (header, _) in batches(&chunk.bytes).flatten() {
        if header.next_offset() > from {
            let start = *begin.get_or_insert((at, header.base_offset));
            if end > 0 && at + header.bytes - start.0 > bytes_max {
                break;
            }
            end = at + header.bytes;
        }
        at += header.bytes;
    }
    let (start, base_offset) = begin.expect("the chunk contains the offset");
    Chunk::of(base_offset, chunk.round, chunk.bytes.slice(start..end)).measured()
}
