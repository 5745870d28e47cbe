//! One turn of the commit loop: stamp, then write, sync and publish ([`flight`]). Runs on one
//! thread and owns the log.

mod flight;
mod pace;
mod upkeep;

use crate::Error;
use crate::append::{
    Append, AppendError, AppendResult, Appended, Atomicity, CheckedKeys, Part, Submission,
};
use crate::backup::Snapshot;
use crate::disk::Disk;
use crate::journal::{Journal, JournalFiles};
use crate::limits::{APPEND_BYTES_MAX, INTERNAL_PARTITIONS};
use crate::partition::{Kept, PartitionLog};
use crate::producers::KnownProducer;
use crate::round::{ENTRY_BYTES_MAX, Operation, PLACED_BYTES};
use crate::segment_writer::{AskedBy, Task};
use crate::shared::Shared;
use crate::writer::{Settings, Writer};
use anabranch_types::{LeaderEpoch, Offset, PartitionId, Round, Timestamp, batch};
use crossbeam::channel::Sender;
use flight::{ChangeReply, Flight, Replies, Waiting};
pub(crate) use pace::Pace;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Batches from this size on, and that will be copied, are counted before they are.
const LARGE_BATCH_BYTES: usize = 8 << 10;

/// What the commit thread is asked to do, in order.
pub enum Command {
    /// Append batches.
    Submit(Submission),
    /// Change the log's shape, with the record that says so, in one round.
    Change(Box<Change>),
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
    /// Records of the catalog, and clients' that come with them; its parts stand or fall together.
    pub append: Append,
    /// What happens to the log, after them: nothing is appended to what is created here.
    pub operations: Vec<Operation>,
    /// Settings of partitions that are created.
    pub settings: Settings,
    /// Partitions, and the offset that each one's next record must have: nothing happens if
    /// somebody has written to one of them since that was seen.
    pub unwritten: Vec<(PartitionId, Offset)>,
    /// Whether it may use the reserve of a full disk: whatever frees space is a change.
    pub frees: bool,
    /// Called once, on the commit thread.
    pub reply: ChangeReply,
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
    /// How fast appends come.
    pub(crate) pace: Pace,
    /// Bytes placed in segments since a checkpoint was asked for.
    pub(crate) placed_bytes: u64,
    pub(crate) unlinking: Vec<Arc<PartitionLog>>,
    pub(crate) stopping: bool,
    /// Called while there is no room: the segment writer must make some.
    pub(crate) stall: Box<dyn FnMut() + Send>,
    /// The round in hand.
    pub(crate) round: RoundInHand,
    /// Rounds that are stamped and not published yet, oldest first.
    pub(crate) flights: VecDeque<Flight>,
}

#[derive(Default)]
pub(crate) struct RoundInHand {
    touched: Vec<PartitionId>,
    operations: Vec<Operation>,
    bytes: usize,
    records: u64,
    batches: u64,
    /// One append that the journal would not hold: it goes to segments, whatever else speaks for
    /// the journal.
    is_large: bool,
}

impl RoundInHand {
    fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.operations.is_empty()
    }
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
        Round(self.journal.next().round.0 + self.flights.len() as u64)
    }

    /// Commits everything in `commands` in order, in as few rounds as fit, and answers.
    pub fn commit(&mut self, commands: &mut Vec<Command>, now: Timestamp) {
        self.commit_ahead(commands, now);
        self.settle(now);
    }

    /// Ends what [`Self::commit_ahead`] has left.
    pub fn settle(&mut self, now: Timestamp) {
        self.land();
        self.look_for_checkpoint(now);
    }

    /// As [`Self::commit`], but the last round may still be on its way if it is bulk: its answers
    /// come with the next commit, or with [`Self::settle`].
    pub fn commit_ahead(&mut self, commands: &mut Vec<Command>, now: Timestamp) {
        let mut replies = Replies::default();
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
                    replies.submissions.push(Waiting { reply: submission.reply, results, early });
                }
                Command::Change(change) => {
                    let result = match self.were_written(&change.unwritten) {
                        true => Err(AppendError::Conflict),
                        false => self.change(
                            change.append,
                            &change.operations,
                            change.settings,
                            change.frees,
                            now,
                        ),
                    };
                    replies.changes.push((change.reply, result));
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
                    self.finish_round(now, Replies::default());
                    self.ask_checkpoint(now, AskedBy::Waiting(done));
                }
                Command::Snapshot(asked) => {
                    self.finish_round(now, Replies::default());
                    self.ask_checkpoint(now, AskedBy::Backup(asked));
                }
                Command::Stop => self.stopping = true,
            }
        }
        self.finish_round(now, replies);
        self.look_for_checkpoint(now);
    }

    // ── stamp ──

    fn stamp(&mut self, append: Append, now: Timestamp) -> AppendResult {
        if let Some(error) = self.refuses_all(&append, false) {
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
            Atomicity::AllParts => {
                let results = self.stamp_together(append.parts, 0, now);
                self.end_large(now);
                results
            }
        }
    }

    /// Stamps all or none, in one round that has room for `more` bytes.
    fn stamp_together(
        &mut self,
        parts: SmallVec<[Part; 1]>,
        more: usize,
        now: Timestamp,
    ) -> AppendResult {
        let checked: SmallVec<[_; 1]> = parts.iter().map(|part| self.check(part)).collect();
        if checked.iter().any(Result::is_err) {
            let together = |result: Result<(), AppendError>| {
                Err(result.err().unwrap_or(AppendError::Together))
            };
            return checked.into_iter().map(together).collect();
        }
        if let Err(error) = self.make_room_together(&parts, more, now) {
            return parts.iter().map(|_| Err(error.clone())).collect();
        }
        parts.into_iter().map(|part| Ok(self.stamp_part(part, now))).collect()
    }

    /// As [`Self::make_room`]. What the journal would not hold is placed in segments, in a round of
    /// its own.
    fn make_room_together(
        &mut self,
        parts: &[Part],
        more: usize,
        now: Timestamp,
    ) -> Result<(), AppendError> {
        let bytes = parts.iter().map(|part| part.batch.len() + ENTRY_BYTES_MAX).sum::<usize>();
        let max = self.files.round_bytes_max();
        if bytes + more <= max {
            return self.make_room(bytes + more, now);
        }
        if bytes > APPEND_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes, max: APPEND_BYTES_MAX });
        }
        // Partitions with markers stay in the journal, for what these say.
        let marked: ahash::HashSet<PartitionId> = parts
            .iter()
            .filter(|part| part.header.is_control())
            .map(|part| part.partition)
            .collect();
        let journaled = |part: &Part| match marked.contains(&part.partition) {
            true => part.batch.len() + ENTRY_BYTES_MAX,
            false => batch::HEADER_BYTES + PLACED_BYTES,
        };
        let journaled = more + parts.iter().map(journaled).sum::<usize>();
        if journaled > max {
            return Err(AppendError::TooLarge { bytes, max });
        }
        self.finish_round(now, Replies::default());
        self.make_room(journaled, now)?;
        self.round.is_large = true;
        Ok(())
    }

    /// Nothing joins the round of an append that the journal would not hold.
    fn end_large(&mut self, now: Timestamp) {
        if self.round.is_large {
            self.finish_round(now, Replies::default());
            // Duplicates alone make no round.
            self.round.is_large = false;
        }
    }

    /// What stops the append as a whole. One that `frees` space later may use the reserve.
    fn refuses_all(&self, append: &Append, frees: bool) -> Option<AppendError> {
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
        if free < self.reserve_bytes && !(internal || frees) {
            // Nothing else may happen that would make the segment writer look.
            if !self.shared.free_asked.swap(true, Ordering::AcqRel) {
                self.send(Task::LookAtDisk);
            }
            return Some(AppendError::DiskFull { free, reserve: self.reserve_bytes });
        }
        let preconditions = append.preconditions.as_ref()?;
        preconditions.keys.iter().find_map(|CheckedKeys { partitions, hashes }| {
            let mut writers = partitions.iter().filter_map(|partition| self.writers.get(partition));
            writers.find_map(|writer| {
                let check = |hash| writer.recent_keys.check(hash, preconditions.cut);
                hashes.iter().find_map(|hash| check(*hash).err())
            })
        })
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
        let round = self.next_round();
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

    /// Whether one of them has another next offset, or is there no more.
    fn were_written(&self, partitions: &[(PartitionId, Offset)]) -> bool {
        let is_same = |(id, next): &(PartitionId, Offset)| {
            self.writers.get(id).is_some_and(|writer| writer.next_offset() == *next)
        };
        !partitions.iter().all(is_same)
    }

    fn change(
        &mut self,
        append: Append,
        operations: &[Operation],
        settings: Settings,
        frees: bool,
        now: Timestamp,
    ) -> Result<SmallVec<[Appended; 1]>, AppendError> {
        if let Some(error) = self.refuses_all(&append, frees) {
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
            self.finish_round(now, Replies::default());
        }
        // The round must hold both: end the one in hand if it cannot.
        let bytes = operations.len() * ENTRY_BYTES_MAX;
        if append.parts.is_empty() {
            self.make_room(bytes, now)?;
        }
        let stamped = self.stamp_together(append.parts, bytes, now);
        let appended = stamped.into_iter().collect::<Result<_, _>>()?;
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
        self.end_large(now);
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
        let writer = Writer::new(Arc::new(log), self.shared.published(), settings);
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
            self.finish_round(now, Replies::default());
        }
        if self.round.is_empty() {
            self.wait_for_room(now);
        }
        match self.shared.failure() {
            Some(failure) => Err(AppendError::Storage(failure)),
            None => Ok(()),
        }
    }

    fn send(&self, task: Task) {
        // It ends only after the log.
        if self.tasks.send(task).is_err() {
            self.shared.fail("the segment writer has ended");
        }
    }
}
