//! One turn of the commit loop: stamp, write, sync, publish. Runs on one thread and owns the log.

use crate::Error;
use crate::append::{Append, AppendError, AppendResult, Appended, Atomicity, Part, Submission};
use crate::backup::Snapshot;
use crate::checkpoint::Checkpoint;
use crate::disk::Disk;
use crate::journal::{Journal, JournalFiles};
use crate::limits::{INTERNAL_PARTITIONS, PLACED_BYTES_MAX, TIDY_INTERVAL_MS};
use crate::partition::{Kept, PartitionLog};
use crate::producers::KnownProducer;
use crate::round::{ENTRY_BYTES_MAX, Operation, Placed, put_batches, put_operation, put_placed};
use crate::segment_writer::{CheckpointPlan, Placing, PlannedPartition, Task};
use crate::shared::Shared;
use crate::writer::{Chunks, Settings, Writer};
use anabranch_types::batch::{HEADER_BYTES, batches};
use anabranch_types::{LeaderEpoch, Offset, PartitionId, Round, Timestamp};
use crossbeam::channel::{Sender, TryRecvError, bounded};
use smallvec::SmallVec;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Batches from this size on, and that will be copied, are counted before they are.
const LARGE_BATCH_BYTES: usize = 8 << 10;

/// What the commit thread is asked to do, in order.
pub enum Command {
    /// Append batches.
    Submit(Submission),
    /// Change the log's shape, with the record that says so, in one round.
    Change(Change),
    /// Sets what the log acts on for some partitions, from the next append on.
    Configure(Vec<(PartitionId, Settings)>),
    /// Tell who has written to a partition, as far as it is remembered. Called once, on the commit
    /// thread.
    Producers(PartitionId, Box<dyn FnOnce(Vec<KnownProducer>) + Send>),
    /// Write everything in memory to segments and begin the journal anew; the channel closes when
    /// it is done.
    Checkpoint(Sender<()>),
    /// Write a checkpoint, and send it with everything that it names: the beginning of a backup.
    /// The channel closes when there is none.
    Snapshot(Sender<Result<Snapshot, Error>>),
    /// Take no more appends.
    Stop,
}

/// Operations and the append that records them: all in one round or nothing.
pub struct Change {
    /// Records of the catalog; its parts stand or fall together.
    pub append: Append,
    /// What happens to the log.
    pub operations: Vec<Operation>,
    /// Settings of partitions that are created.
    pub settings: Settings,
    /// Called once, on the commit thread.
    pub reply: Box<dyn FnOnce(Result<SmallVec<[Appended; 1]>, AppendError>) + Send>,
}

/// The log, owned by the commit thread.
pub struct Log {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) files: Arc<JournalFiles>,
    pub(crate) journal: Journal,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) writers: ahash::HashMap<PartitionId, Box<Writer>>,
    pub(crate) tasks: Sender<Task>,
    pub(crate) reserve_bytes: u64,
    pub(crate) checkpoints_asked: u64,
    pub(crate) checkpoint_asked_at: Timestamp,
    /// Bytes at which any segment is full.
    pub(crate) segment_bytes: u64,
    /// Bytes of a batch from which it is not copied.
    pub(crate) own_bytes: usize,
    /// The next checkpoint can remove files, or begin segments.
    pub(crate) untidy: bool,
    /// Bytes placed in segments since a checkpoint was asked for.
    pub(crate) placed_bytes: u64,
    pub(crate) unlinking: Vec<Arc<PartitionLog>>,
    pub(crate) stopping: bool,
    /// Called while there is no room: the segment writer must make some.
    pub(crate) stall: Box<dyn FnMut() + Send>,
    /// The round in hand.
    pub(crate) round: RoundInHand,
}

#[derive(Default)]
pub(crate) struct RoundInHand {
    touched: Vec<PartitionId>,
    operations: Vec<Operation>,
    bytes: usize,
    records: u64,
    batches: u64,
}

impl RoundInHand {
    fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.operations.is_empty()
    }
}

/// An answer that waits for the round's sync.
struct Waiting {
    submission_reply: crate::append::Reply,
    results: Vec<AppendResult>,
    /// Every stream it touches is content with a write.
    early: bool,
}

impl Log {
    /// What readers share with the log.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The leader epoch of this start.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The round that the next append will come in.
    #[must_use]
    pub fn next_round(&self) -> Round {
        self.journal.next().round
    }

    /// Commits everything in `commands` in order, in as few rounds as fit, and answers.
    pub fn commit(&mut self, commands: &mut Vec<Command>, now: Timestamp) {
        let mut waiting: Vec<Waiting> = Vec::new();
        let mut changes = Vec::new();
        self.own_bytes = self.shared.memory().own_bytes;
        let copied = LARGE_BATCH_BYTES..self.own_bytes.max(LARGE_BATCH_BYTES);
        for command in &*commands {
            let Command::Submit(submission) = command else { continue };
            let parts = submission.appends.iter().flat_map(|append| &append.parts);
            for part in parts.filter(|part| copied.contains(&part.batch.len())) {
                if let Some(writer) = self.writers.get_mut(&part.partition) {
                    writer.expect(part.batch.len());
                }
            }
        }
        for command in commands.drain(..) {
            match command {
                Command::Submit(submission) => {
                    let mut early = true;
                    let results = submission
                        .appends
                        .into_iter()
                        .map(|append| {
                            early &= self.all_early(&append);
                            self.stamp(append, now)
                        })
                        .collect();
                    waiting.push(Waiting { submission_reply: submission.reply, results, early });
                }
                Command::Change(change) => {
                    let result =
                        self.change(change.append, &change.operations, change.settings, now);
                    changes.push((change.reply, result));
                }
                Command::Configure(all) => {
                    for (partition, settings) in all {
                        if let Some(writer) = self.writers.get_mut(&partition) {
                            writer.settings = settings;
                        }
                    }
                }
                Command::Producers(partition, reply) => {
                    let writer = self.writers.get(&partition);
                    reply(writer.map(|writer| writer.producers.known()).unwrap_or_default());
                }
                Command::Checkpoint(done) => {
                    // Rounds before it belong into it.
                    self.finish_round(now, &mut Vec::new());
                    self.ask_checkpoint(now, Some(done), None);
                }
                Command::Snapshot(asked) => {
                    self.finish_round(now, &mut Vec::new());
                    self.ask_checkpoint(now, None, Some(asked));
                }
                Command::Stop => self.stopping = true,
            }
        }
        self.finish_round(now, &mut waiting);
        let failure = self.shared.failure();
        for mut answer in waiting {
            if let Some(failure) = &failure {
                fail_all(&mut answer.results, failure);
            }
            (answer.submission_reply)(answer.results);
        }
        for (reply, result) in changes {
            reply(match (&failure, result) {
                (Some(failure), Ok(_)) => Err(AppendError::Storage(failure.clone())),
                (_, result) => result,
            });
        }
        let placed_much = self.placed_bytes >= PLACED_BYTES_MAX;
        if failure.is_none()
            && (self.journal_half_full() || placed_much || self.tidying_is_due(now))
        {
            self.ask_checkpoint(now, None, None);
        }
    }

    // ── stamp ──

    fn stamp(&mut self, append: Append, now: Timestamp) -> AppendResult {
        if let Some(error) = self.refuses_all(&append) {
            return append.parts.iter().map(|_| Err(error.clone())).collect();
        }
        match append.atomicity {
            Atomicity::EachPart => append
                .parts
                .into_iter()
                .map(|part| {
                    let bytes = part.batch.len() + ENTRY_BYTES_MAX;
                    self.check(&part)?;
                    self.make_room(bytes, now)?;
                    Ok(self.stamp_part(part, now))
                })
                .collect(),
            Atomicity::AllParts => self.stamp_together(append.parts, now),
        }
    }

    fn stamp_together(&mut self, parts: SmallVec<[Part; 1]>, now: Timestamp) -> AppendResult {
        let bytes = parts.iter().map(|part| part.batch.len() + ENTRY_BYTES_MAX).sum();
        let checked: SmallVec<[_; 1]> = parts.iter().map(|part| self.check(part)).collect();
        if checked.iter().any(Result::is_err) {
            let together = |result: Result<(), AppendError>| {
                Err(result.err().unwrap_or(AppendError::Together))
            };
            return checked.into_iter().map(together).collect();
        }
        if let Err(error) = self.make_room(bytes, now) {
            return parts.iter().map(|_| Err(error.clone())).collect();
        }
        parts.into_iter().map(|part| Ok(self.stamp_part(part, now))).collect()
    }

    /// What stops the append as a whole.
    fn refuses_all(&self, append: &Append) -> Option<AppendError> {
        if let Some(failure) = self.shared.failure() {
            return Some(AppendError::Storage(failure));
        }
        if self.stopping {
            return Some(AppendError::Stopping);
        }
        let internal = append
            .parts
            .iter()
            .all(|part| part.partition.0 < INTERNAL_PARTITIONS || part.header.is_control());
        let free = self.shared.free_bytes.load(Ordering::Relaxed);
        if free < self.reserve_bytes && !internal {
            // Nothing else may happen that would make the segment writer look.
            if !self.shared.free_asked.swap(true, Ordering::AcqRel) {
                self.send(Task::LookAtDisk);
            }
            return Some(AppendError::DiskFull { free, reserve: self.reserve_bytes });
        }
        let preconditions = append.preconditions.as_ref()?;
        for (partition, key) in &preconditions.keys {
            let Some(writer) = self.writers.get(partition) else { continue };
            if let Err(error) = writer.recent_keys.check(*key, preconditions.cut) {
                return Some(error);
            }
        }
        None
    }

    fn check(&self, part: &Part) -> Result<(), AppendError> {
        let writer = self
            .writers
            .get(&part.partition)
            .filter(|writer| !writer.deleted)
            .ok_or(AppendError::UnknownPartition(part.partition))?;
        writer.producers.check(&part.header).map(|_| ())
    }

    /// A part that passed [`Self::check`].
    fn stamp_part(&mut self, part: Part, now: Timestamp) -> Appended {
        let round = self.journal.next().round;
        let writer = self.writers.get_mut(&part.partition).expect("checked");
        let log_start = writer.log.log_start();
        let original = writer.producers.check(&part.header).ok().flatten();
        if let Some(original) = original {
            return Appended {
                base_offset: original.base_offset,
                round: original.round,
                log_start,
                append_time: None,
            };
        }
        if writer.pending.is_empty() {
            self.round.touched.push(part.partition);
        }
        self.round.bytes += part.batch.len() + ENTRY_BYTES_MAX;
        self.round.records += u64::from(part.header.records_count.unsigned_abs());
        self.round.batches += 1;
        let (base_offset, append_time) = writer.stamp(part, self.epoch, round, now, self.own_bytes);
        Appended { base_offset, round, log_start, append_time }
    }

    fn change(
        &mut self,
        append: Append,
        operations: &[Operation],
        settings: Settings,
        now: Timestamp,
    ) -> Result<SmallVec<[Appended; 1]>, AppendError> {
        if let Some(error) = self.refuses_all(&append) {
            return Err(error);
        }
        // A recovery makes a round's operations before its appends: what such a producer has in
        // this round already must come in one before.
        let comes_late = |operation: &Operation| match operation {
            Operation::Begin(id, ..) => {
                self.writers.get(id).is_some_and(|writer| !writer.pending.is_empty())
            }
            _ => false,
        };
        if operations.iter().any(comes_late) {
            self.finish_round(now, &mut Vec::new());
        }
        // The round must hold both: end the one in hand if it cannot.
        let bytes: usize = append.parts.iter().map(|part| part.batch.len() + ENTRY_BYTES_MAX).sum();
        self.make_room(bytes + operations.len() * ENTRY_BYTES_MAX, now)?;
        let appended =
            self.stamp_together(append.parts, now).into_iter().collect::<Result<_, _>>()?;
        for operation in operations {
            let operation = &self.bounded(*operation);
            self.round.operations.push(*operation);
            self.round.bytes += ENTRY_BYTES_MAX;
            match operation {
                // A later append of the same round may already go to it.
                Operation::Create(id) => self.create(*id, settings),
                // And none to this one.
                Operation::Delete(id) => {
                    if let Some(writer) = self.writers.get_mut(id) {
                        writer.deleted = true;
                    }
                }
                Operation::SetLogStart(..) => {}
                Operation::Begin(id, producer, epoch) => {
                    if let Some(writer) = self.writers.get_mut(id) {
                        writer.producers.begin(*producer, *epoch, now);
                    }
                }
            }
        }
        Ok(appended)
    }

    /// A log's start moves within what is published now: at a recovery, more or less may be there
    /// when its turn comes.
    fn bounded(&self, operation: Operation) -> Operation {
        match operation {
            Operation::SetLogStart(id, start) => {
                let log = self.writers.get(&id).map(|writer| &writer.log);
                let end = log.map_or(Offset(0), |log| log.high_watermark());
                Operation::SetLogStart(id, start.min(end))
            }
            other => other,
        }
    }

    fn create(&mut self, id: PartitionId, settings: Settings) {
        assert!(!self.writers.contains_key(&id), "partition ids are never used again");
        let log = PartitionLog::new(Arc::clone(&self.disk), id, Kept::default());
        let writer = Writer::new(Arc::new(log), round_before(&self.journal), settings);
        self.writers.insert(id, Box::new(writer));
    }

    fn all_early(&self, append: &Append) -> bool {
        append.parts.iter().all(|part| {
            self.writers.get(&part.partition).is_some_and(|writer| writer.settings.answer_early)
        })
    }

    /// Ends the round in hand if it cannot take `bytes` more.
    fn make_room(&mut self, bytes: usize, now: Timestamp) -> Result<(), AppendError> {
        let max = self.files.round_bytes_max();
        if bytes > max {
            return Err(AppendError::TooLarge { bytes, max });
        }
        if self.round.bytes + bytes > max {
            self.finish_round(now, &mut Vec::new());
        }
        if self.round.is_empty() {
            self.wait_for_room(now);
        }
        match self.shared.failure() {
            Some(failure) => Err(AppendError::Storage(failure)),
            None => Ok(()),
        }
    }

    // ── write, sync, publish ──

    fn finish_round(&mut self, now: Timestamp, waiting: &mut Vec<Waiting>) {
        if self.round.is_empty() || self.shared.failure().is_some() {
            return;
        }
        let round = self.journal.next().round;
        let file_before = self.journal.next().position.file;
        if let Err((place, error)) = self.write_round(now) {
            self.shared.fail(&format!("writing round {round} to {place}: {error}"));
            return;
        }
        let file = self.journal.next().position.file;
        if file != file_before {
            // Ready before the commit thread needs it.
            self.send(Task::Prepare(file + 1));
        }
        self.shared.set_written(round);
        answer_early(waiting);
        let began = Instant::now();
        if let Err(error) = self.journal.sync() {
            self.shared.fail(&format!("syncing round {round}: {error}"));
            return;
        }
        let counts = &self.shared.counts;
        counts.sync_nanos.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        counts.syncs.fetch_add(1, Ordering::Relaxed);
        counts.records.fetch_add(self.round.records, Ordering::Relaxed);
        counts.batches.fetch_add(self.round.batches, Ordering::Relaxed);
        counts.bytes.fetch_add(self.round.bytes as u64, Ordering::Relaxed);
        self.publish(round, now);
    }

    /// Writes the round, unsynced; an error says what could not be written.
    fn write_round(&mut self, now: Timestamp) -> Result<(), (&'static str, io::Error)> {
        self.place_bulk().map_err(|error| ("its segments", error))?;
        let mut fields = Vec::with_capacity((self.round.touched.len() + 1) * ENTRY_BYTES_MAX);
        let mut bounds = Vec::with_capacity(self.round.touched.len() + 1);
        for operation in &self.round.operations {
            put_operation(&mut fields, operation);
        }
        // What a deletion of the same round takes along need not be written.
        let kept = |id: &&PartitionId| !self.writers[*id].deleted;
        let touched = self.round.touched.iter().filter(kept);
        for id in touched {
            let writer = &self.writers[id];
            if let Some((chunks, place)) = &writer.placed {
                let headers = headers_of(chunks);
                let placed = Placed {
                    base: chunks[0].base_offset,
                    segment: place.segment,
                    position: place.position,
                    bytes: chunks_bytes(chunks) as u64,
                    headers: &headers,
                };
                put_placed(&mut fields, *id, now, &placed);
            } else if let Some(base) = writer.pending.base() {
                put_batches(&mut fields, *id, base, now, writer.pending.bytes());
                bounds.push((fields.len(), &writer.pending));
            }
        }
        let mut pieces = Vec::with_capacity(2 * bounds.len() + 1);
        let mut from = 0;
        for (to, pending) in bounds {
            pieces.push(IoSlice::new(&fields[from..to]));
            pieces.extend(pending.pieces().map(IoSlice::new));
            from = to;
        }
        pieces.push(IoSlice::new(&fields[from..]));
        self.journal.write(&pieces).map_err(|error| ("the journal", error))
    }

    /// Has bulk written to its segments, durably, so that the journal need only name it: large
    /// batches are written once. One sync more a partition, in rounds with bulk only.
    fn place_bulk(&mut self) -> io::Result<()> {
        let place_bytes = self.shared.memory().place_bytes;
        // A round that changes the log's shape may make the partition, or unmake it.
        let shapes = |operation: &Operation| {
            matches!(operation, Operation::Create(_) | Operation::Delete(_))
        };
        if self.round.operations.iter().any(shapes) || self.round.bytes < place_bytes {
            return Ok(());
        }
        // The segment writer is busy: the journal is quicker than waiting for its syncs.
        if self.checkpoint_is_under_way() {
            return Ok(());
        }
        // What a marker says stands in its record, and only headers of placed batches are in the
        // journal.
        let is_bulk = |id: &&PartitionId| {
            let writer = &self.writers[*id];
            writer.pending.bytes() >= place_bytes && !writer.has_marker()
        };
        let ids: Vec<PartitionId> = self.round.touched.iter().filter(is_bulk).copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let writers = ids.iter().map(|id| {
            let writer = self.writers.get_mut(id).expect("it was just seen");
            (Arc::clone(&writer.log), writer.take_chunks())
        });
        let bulk: Vec<(Arc<PartitionLog>, Chunks)> = writers.collect();
        let (done, answer) = bounded(1);
        self.send(Task::Place(Box::new(Placing { bulk: bulk.clone(), done })));
        let places = loop {
            match answer.try_recv() {
                Ok(result) => break result?,
                Err(TryRecvError::Empty) => (self.stall)(),
                Err(TryRecvError::Disconnected) => {
                    let failure = self.shared.failure();
                    let ended = || "the segment writer has ended".to_owned();
                    return Err(io::Error::other(failure.unwrap_or_else(ended)));
                }
            }
        };
        for ((id, (_, chunks)), place) in ids.iter().zip(bulk).zip(places) {
            let bytes = chunks_bytes(&chunks) as u64;
            self.placed_bytes += bytes;
            self.shared.counts.placed_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.writers.get_mut(id).expect("it was just seen").placed = Some((chunks, place));
        }
        Ok(())
    }

    fn publish(&mut self, round: Round, now: Timestamp) {
        let in_hand = std::mem::take(&mut self.round);
        for operation in &in_hand.operations {
            self.publish_operation(operation);
        }
        let keep_from = self.shared.applied();
        let write_bytes = self.shared.memory().write_bytes;
        let mut placed = Vec::new();
        for id in &in_hand.touched {
            let Some(writer) = self.writers.get_mut(id) else { continue };
            writer.recent_keys.forget(now, keep_from);
            let events = std::mem::take(&mut writer.events);
            let segment_bytes = if let Some((chunks, place)) = writer.placed.take() {
                let bytes = chunks_bytes(&chunks);
                // Before the segment writer can take it away again; so below.
                self.shared.tail_bytes.fetch_add(bytes, Ordering::Relaxed);
                placed.push((Arc::clone(&writer.log), bytes));
                writer.log.publish_placed(chunks, &events, self.epoch, &place)
            } else {
                let chunks = writer.take_chunks();
                self.shared.tail_bytes.fetch_add(chunks_bytes(&chunks), Ordering::Relaxed);
                let (unwritten, segment_bytes) = writer.log.publish(chunks, &events, self.epoch);
                if unwritten >= write_bytes && !writer.log.write_asked.swap(true, Ordering::AcqRel)
                {
                    self.send(Task::Write(Arc::clone(&self.writers[id].log)));
                }
                segment_bytes
            };
            let settings = &self.writers[id].settings;
            self.untidy |= segment_bytes >= self.segment_bytes.min(settings.segment_bytes);
        }
        if !placed.is_empty() {
            self.send(Task::Placed(placed));
        }
        self.shared.set_published(round);
        for id in &in_hand.touched {
            if let Some(writer) = self.writers.get(id) {
                writer.log.wake();
            }
        }
        // Give the allocations back to the next round.
        self.round.touched = in_hand.touched;
        self.round.touched.clear();
        self.round.operations = in_hand.operations;
        self.round.operations.clear();
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

    // ── checkpoints ──

    /// Waits, between rounds, until any round finds room in the journal and the tail has shrunk.
    /// Never within one: producers then already know of batches that no checkpoint may know of.
    fn wait_for_room(&mut self, now: Timestamp) {
        assert!(self.round.is_empty(), "only between rounds");
        loop {
            let following = self.journal.next().position.file + 1;
            let journal_full = following >= self.shared.floor().file + self.files.size().files;
            let tail_bytes = self.shared.tail_bytes.load(Ordering::Relaxed);
            let tail_full = tail_bytes > self.shared.memory().tail_bytes_max;
            if !(journal_full || tail_full) || self.shared.failure().is_some() {
                return;
            }
            if journal_full {
                self.ask_checkpoint(now, None, None);
            }
            if tail_full {
                self.send(Task::WriteAll);
            }
            (self.stall)();
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

    fn checkpoint_is_under_way(&self) -> bool {
        self.checkpoints_asked > self.shared.counts.checkpoints.load(Ordering::Acquire)
    }

    /// Has the segment writer write a checkpoint of what is published, unless one is under way.
    fn ask_checkpoint(
        &mut self,
        now: Timestamp,
        done: Option<Sender<()>>,
        snapshot: Option<Sender<Result<Snapshot, Error>>>,
    ) {
        if self.shared.failure().is_some() {
            // The round that failed is still in hand, and will never be published.
            return;
        }
        assert!(self.round.is_empty(), "only between rounds");
        if self.checkpoint_is_under_way() && done.is_none() && snapshot.is_none() {
            return;
        }
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
            done,
            snapshot,
        };
        self.send(Task::Checkpoint(Box::new(plan)));
    }

    fn send(&self, task: Task) {
        // It ends only after the log.
        if self.tasks.send(task).is_err() {
            self.shared.fail("the segment writer has ended");
        }
    }

    /// How long to wait for a command before [`Self::commit`] is called without one.
    pub(crate) fn patience(&self) -> Duration {
        let tidy = Duration::from_millis(TIDY_INTERVAL_MS.unsigned_abs());
        if self.untidy { tidy } else { Duration::from_secs(3600) }
    }
}

/// The last round that is published before the one in hand.
fn round_before(journal: &Journal) -> Round {
    Round(journal.next().round.0 - 1)
}

fn chunks_bytes(chunks: &Chunks) -> usize {
    chunks.iter().map(|chunk| chunk.bytes.len()).sum()
}

/// The header of each batch.
fn headers_of(chunks: &Chunks) -> Vec<u8> {
    let mut headers = Vec::new();
    for (_, batch) in chunks.iter().flat_map(|chunk| batches(&chunk.bytes)).flatten() {
        headers.extend_from_slice(&batch[..HEADER_BYTES]);
    }
    headers
}

fn answer_early(waiting: &mut Vec<Waiting>) {
    if !waiting.iter().any(|answer| answer.early) {
        return;
    }
    let (early, rest) = std::mem::take(waiting).into_iter().partition(|answer| answer.early);
    *waiting = rest;
    let early: Vec<Waiting> = early;
    for answer in early {
        (answer.submission_reply)(answer.results);
    }
}

fn fail_all(results: &mut [AppendResult], failure: &str) {
    for result in results.iter_mut().flat_map(|results| results.iter_mut()) {
        if result.is_ok() {
            *result = Err(AppendError::Storage(failure.to_owned()));
        }
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
