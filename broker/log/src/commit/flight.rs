//! A round from its last stamp to its answers: place bulk, write, sync, publish.
//!
//! Bulk flies ahead: while it is being written to its segments, which the segment writer does, the
//! next round is gathered, stamped, and sent after it. So the disk need not wait for us. All else
//! keeps the order of rounds: the journal record of one is written once that of the one before is
//! durable.

use super::{Log, RoundInHand};
use crate::append::{AppendError, AppendResult, Appended};
use crate::partition::{PartitionLog, Place};
use crate::round::{ENTRY_BYTES_MAX, Operation, Placed, put_batches, put_operation, put_placed};
use crate::segment_writer::{Placing, Task};
use crate::transactions::Event;
use crate::writer::Chunks;
use anabranch_types::batch::{HEADER_BYTES, batches};
use anabranch_types::{PartitionId, Round, Timestamp};
use crossbeam::channel::{Receiver, TryRecvError, bounded};
use smallvec::SmallVec;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Rounds in flight while another is gathered. With one, the disk has work and the next round has
/// time to become large.
const FLIGHTS_MAX: usize = 1;

/// A round that is stamped, and not published yet.
pub(crate) struct Flight {
    round: Round,
    now: Timestamp,
    operations: Vec<Operation>,
    parts: Vec<RoundPart>,
    bytes: usize,
    records: u64,
    batches: u64,
    /// The journal would not hold it.
    is_large: bool,
    /// Tells where the parts that are bulk were written.
    places: Option<Receiver<io::Result<Vec<Place>>>>,
    replies: Replies,
}

impl Flight {
    /// Whether it makes or unmakes partitions.
    fn shapes(&self) -> bool {
        let shapes = |operation: &Operation| {
            matches!(operation, Operation::Create(_) | Operation::Delete(_))
        };
        self.operations.iter().any(shapes)
    }
}

/// What a round has of one partition.
struct RoundPart {
    id: PartitionId,
    log: Arc<PartitionLog>,
    chunks: Chunks,
    /// What it does to transactions.
    events: Vec<Event>,
    /// The round deletes the partition: its batches need not be written.
    is_dropped: bool,
    is_bulk: bool,
}

impl RoundPart {
    fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// The header of each batch.
    fn headers(&self) -> Vec<u8> {
        let mut headers = Vec::new();
        for (_, batch) in self.chunks.iter().flat_map(|chunk| batches(&chunk.bytes)).flatten() {
            headers.extend_from_slice(&batch[..HEADER_BYTES]);
        }
        headers
    }
}

/// Answers that wait for a round's sync.
#[derive(Default)]
pub(super) struct Replies {
    pub(super) submissions: Vec<Waiting>,
    pub(super) changes: Vec<(ChangeReply, ChangeResult)>,
}

pub(super) type ChangeResult = Result<SmallVec<[Appended; 1]>, AppendError>;
pub(super) type ChangeReply = Box<dyn FnOnce(ChangeResult) + Send>;

pub(super) struct Waiting {
    pub(super) reply: crate::append::Reply,
    pub(super) results: Vec<AppendResult>,
    /// Every stream it touches is content with a write.
    pub(super) early: bool,
}

impl Replies {
    /// Answers those who are content with a write.
    fn answer_early(&mut self) {
        for answer in self.submissions.extract_if(.., |answer| answer.early) {
            (answer.reply)(answer.results);
        }
    }

    /// Answers everybody; after a failure, nothing was appended for sure.
    fn answer(self, failure: Option<&str>) {
        let storage = || AppendError::Storage(failure.unwrap_or_default().to_owned());
        for mut answer in self.submissions {
            if failure.is_some() {
                let results = answer.results.iter_mut().flat_map(|results| results.iter_mut());
                results.filter(|result| result.is_ok()).for_each(|result| *result = Err(storage()));
            }
            (answer.reply)(answer.results);
        }
        for (reply, result) in self.changes {
            reply(if failure.is_some() { result.and_then(|_| Err(storage())) } else { result });
        }
    }
}

impl Log {
    /// Tells whether a round's bulk has been written: then [`Self::land`] would not wait. `None`
    /// if no round is in flight.
    pub(crate) fn in_flight(&self) -> Option<&Receiver<io::Result<Vec<Place>>>> {
        self.flights.front().and_then(|flight| flight.places.as_ref())
    }

    /// Ends the round in hand, and gives the answers that wait for it. Bulk may be in flight then.
    pub(super) fn finish_round(&mut self, now: Timestamp, replies: Replies) {
        if self.shared.failure().is_some() {
            self.land();
            replies.answer(self.shared.failure().as_deref());
            return;
        }
        if self.round.is_empty() {
            // They may speak of what is in flight: a duplicate's original.
            match self.flights.back_mut() {
                Some(flight) => {
                    flight.replies.submissions.extend(replies.submissions);
                    flight.replies.changes.extend(replies.changes);
                }
                None => replies.answer(None),
            }
            return;
        }
        let mut flight = self.take_off(now, replies);
        let is_bulk = self.mark_bulk(&mut flight);
        if is_bulk {
            self.place(&mut flight);
        }
        // Only bulk is worth the wait for company. Who follows is to find the log as it is.
        let left = if is_bulk && !flight.shapes() { FLIGHTS_MAX } else { 0 };
        self.flights.push_back(flight);
        while self.flights.len() > left {
            self.land_first();
        }
    }

    /// Publishes and answers everything in flight.
    pub(crate) fn land(&mut self) {
        while !self.flights.is_empty() {
            self.land_first();
        }
    }

    /// Takes the round in hand away from its writers: from now on they stamp the next.
    fn take_off(&mut self, now: Timestamp, replies: Replies) -> Flight {
        let round = self.next_round();
        let RoundInHand { mut touched, operations, bytes, records, batches, is_large } =
            std::mem::take(&mut self.round);
        let parts = touched.drain(..).map(|id| {
            let writer = self.writers.get_mut(&id).expect("it was stamped");
            RoundPart {
                id,
                log: Arc::clone(&writer.log),
                chunks: writer.take_chunks(),
                events: std::mem::take(&mut writer.events),
                is_dropped: writer.deleted,
                is_bulk: false,
            }
        });
        let parts = parts.collect();
        // The allocation, for the next round.
        self.round.touched = touched;
        let places = None;
        Flight { round, now, operations, parts, bytes, records, batches, is_large, places, replies }
    }

    /// Chooses what goes straight to its segment, and is but named in the journal: large batches
    /// are written once. One sync more a partition, in rounds with bulk only. Says whether there
    /// is any.
    fn mark_bulk(&mut self, flight: &mut Flight) -> bool {
        let memory = self.shared.memory();
        let place_bytes = memory.place_bytes;
        let bytes_per_s = self.pace.count(flight.bytes, flight.now);
        let is_large = flight.is_large;
        if !is_large && (flight.bytes < place_bytes || flight.shapes()) {
            return false;
        }
        if !is_large && bytes_per_s < memory.journal_bytes_per_s {
            return false;
        }
        // The segment writer is busy: the journal is quicker than waiting for its syncs.
        if !is_large && self.checkpoint_is_under_way() {
            return false;
        }
        let Flight { parts, operations, .. } = flight;
        for part in parts {
            // What a marker says stands in its record, and only headers of placed batches are in
            // the journal.
            let marks = part.events.iter().any(|event| matches!(event, Event::Ended { .. }));
            // The round may make the partition, or unmake it.
            let is_shaped = operations.iter().any(|operation| match operation {
                Operation::Create(id) | Operation::Delete(id) => *id == part.id,
                Operation::SetLogStart(..) | Operation::Begin(..) => false,
            });
            part.is_bulk = !marks && !is_shaped && (is_large || part.bytes() >= place_bytes);
        }
        let mut bulk = flight.parts.iter().filter(|part| part.is_bulk).peekable();
        if bulk.peek().is_none() {
            return false;
        }
        // What is placed follows in its segment what came before: that has to be published, or
        // placed as well.
        let is_unwritten = |part: &RoundPart| {
            let before = self.flights.iter().flat_map(|flight| &flight.parts);
            before.filter(|before| before.id == part.id).any(|before| !before.is_bulk)
        };
        if bulk.any(is_unwritten) {
            self.land();
        }
        true
    }

    /// Has the segment writer write the bulk, durably, behind what it was asked to before.
    fn place(&mut self, flight: &mut Flight) {
        let bulk = flight.parts.iter().filter(|part| part.is_bulk);
        let bulk = bulk.map(|part| (Arc::clone(&part.log), part.chunks.clone())).collect();
        let (done, places) = bounded(1);
        self.send(Task::Place(Box::new(Placing { bulk, done })));
        flight.places = Some(places);
    }

    /// Writes, syncs, publishes and answers the oldest round in flight.
    fn land_first(&mut self) {
        let Some(mut flight) = self.flights.pop_front() else { return };
        if self.shared.failure().is_none() {
            match self.write_and_sync(&mut flight) {
                Ok(places) => self.publish(&mut flight, places),
                Err((what, error)) => {
                    self.shared.fail(&format!("{what} round {}: {error}", flight.round));
                }
            }
        }
        flight.replies.answer(self.shared.failure().as_deref());
    }

    /// Makes a round durable; an error says what failed. Gives the places of its bulk.
    fn write_and_sync(
        &mut self,
        flight: &mut Flight,
    ) -> Result<Vec<Place>, (&'static str, io::Error)> {
        let places = match flight.places.take() {
            Some(places) => self.wait_for_places(&places),
            None => Ok(Vec::new()),
        };
        let places = places.map_err(|error| ("writing the segments of", error))?;
        let file_before = self.journal.next().position.file;
        self.write_round(flight, &places).map_err(|error| ("writing the journal of", error))?;
        let file = self.journal.next().position.file;
        if file != file_before {
            // Ready before the commit thread needs it.
            self.send(Task::Prepare(file + 1));
        }
        self.shared.set_written(flight.round);
        flight.replies.answer_early();
        let began = Instant::now();
        self.journal.sync().map_err(|error| ("syncing", error))?;
        let counts = &self.shared.counts;
        counts.sync_nanos.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        counts.syncs.fetch_add(1, Ordering::Relaxed);
        counts.records.fetch_add(flight.records, Ordering::Relaxed);
        counts.batches.fetch_add(flight.batches, Ordering::Relaxed);
        counts.bytes.fetch_add(flight.bytes as u64, Ordering::Relaxed);
        Ok(places)
    }

    fn wait_for_places(
        &mut self,
        places: &Receiver<io::Result<Vec<Place>>>,
    ) -> io::Result<Vec<Place>> {
        loop {
            match places.try_recv() {
                Ok(result) => return result,
                Err(TryRecvError::Empty) => self.wait_for_writer(),
                Err(TryRecvError::Disconnected) => {
                    let failure = self.shared.failure();
                    let ended = || "the segment writer has ended".to_owned();
                    return Err(io::Error::other(failure.unwrap_or_else(ended)));
                }
            }
        }
    }

    /// Writes the round to the journal, unsynced.
    fn write_round(&mut self, flight: &Flight, places: &[Place]) -> io::Result<()> {
        let mut fields = Vec::with_capacity((flight.parts.len() + 1) * ENTRY_BYTES_MAX);
        let mut bounds = Vec::with_capacity(flight.parts.len() + 1);
        for operation in &flight.operations {
            put_operation(&mut fields, operation);
        }
        let mut places = places.iter();
        for part in flight.parts.iter().filter(|part| !part.is_dropped) {
            let base = part.chunks[0].base_offset;
            if part.is_bulk {
                let place = places.next().expect("one for each part that is bulk");
                let placed = Placed {
                    base,
                    segment: place.segment,
                    position: place.position,
                    bytes: part.bytes() as u64,
                    headers: &part.headers(),
                };
                put_placed(&mut fields, part.id, flight.now, &placed);
            } else {
                put_batches(&mut fields, part.id, base, flight.now, part.bytes());
                bounds.push((fields.len(), &part.chunks));
            }
        }
        let mut pieces = Vec::with_capacity(2 * bounds.len() + 1);
        let mut from = 0;
        for (to, chunks) in bounds {
            pieces.push(IoSlice::new(&fields[from..to]));
            pieces.extend(chunks.iter().map(|chunk| IoSlice::new(&chunk.bytes)));
            from = to;
        }
        pieces.push(IoSlice::new(&fields[from..]));
        self.journal.write(&pieces)
    }

    fn publish(&mut self, flight: &mut Flight, places: Vec<Place>) {
        for operation in &flight.operations {
            self.publish_operation(operation);
        }
        let keep_from = self.shared.applied();
        let write_bytes = self.shared.memory().write_bytes;
        let mut places = places.into_iter();
        let mut placed = Vec::new();
        for part in &mut flight.parts {
            let place = if part.is_bulk { places.next() } else { None };
            let Some(writer) = self.writers.get_mut(&part.id) else { continue };
            writer.recent_keys.forget(flight.now, keep_from);
            let bytes = part.bytes();
            // Before the segment writer can take it away again.
            self.shared.tail_bytes.fetch_add(bytes, Ordering::Relaxed);
            let chunks = std::mem::take(&mut part.chunks);
            let segment_bytes = if let Some(place) = place {
                self.placed_bytes += bytes as u64;
                self.shared.counts.placed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                placed.push((Arc::clone(&part.log), bytes));
                part.log.publish_placed(chunks, &part.events, self.epoch, &place)
            } else {
                let (unwritten, segment_bytes) = part.log.publish(chunks, &part.events, self.epoch);
                if unwritten >= write_bytes && !part.log.write_asked.swap(true, Ordering::AcqRel) {
                    self.send(Task::Write(Arc::clone(&part.log)));
                }
                segment_bytes
            };
            let settings = &self.writers[&part.id].settings;
            self.untidy |= segment_bytes >= self.segment_bytes.min(settings.segment_bytes);
        }
        if !placed.is_empty() {
            self.send(Task::Placed(placed));
        }
        self.shared.set_published(flight.round);
        for part in &flight.parts {
            if self.writers.contains_key(&part.id) {
                part.log.wake();
            }
        }
    }

    fn publish_operation(&mut self, operation: &Operation) {
        match *operation {
            Operation::Create(id) => self.shared.insert(Arc::clone(&self.writers[&id].log)),
            Operation::Delete(id) => {
                self.writers.remove(&id);
                if let Some(log) = self.shared.remove(id) {
                    log.set_deleted();
                    let dropped = log.drop_tail();
                    self.shared.tail_bytes.fetch_sub(dropped, Ordering::Relaxed);
                    self.unlinking.push(log);
                    self.untidy = true;
                }
            }
            Operation::SetLogStart(id, start) => {
                if let Some(writer) = self.writers.get(&id) {
                    let start = start.clamp(writer.log.log_start(), writer.log.high_watermark());
                    self.untidy |= writer.log.set_log_start(start);
                }
            }
            Operation::Begin(..) => {}
        }
    }
}
