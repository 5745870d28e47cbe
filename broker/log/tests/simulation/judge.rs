//! What the log answered, held against the model.

use crate::model::{Change, Expected, Model, Stored};
use crate::world::Figures;
use anabranch_log::{
    Append, AppendError, AppendResult, Appended, Atomicity, Command, Operation, Part, Settings,
    Submission,
};
use anabranch_types::batch::{set_base_offset_and_epoch, set_log_append_time};
use anabranch_types::{LeaderEpoch, Offset, PartitionId, Round, Timestamp};
use bytes::Bytes;
use crossbeam::channel::{Receiver, unbounded};
use smallvec::SmallVec;
use std::rc::Rc;

/// A change of which nobody knows whether it was made.
pub(crate) struct Unsure {
    pub(crate) change: Change,
    /// Changes of one group stand or fall together.
    pub(crate) group: usize,
    /// Answered before its sync: only a power failure may take it.
    pub(crate) early: bool,
}

/// What one call of the log's was asked.
pub(crate) enum Asked {
    Submission(Vec<Append>, Receiver<Vec<AppendResult>>),
    Change(
        Append,
        Vec<Operation>,
        Settings,
        Receiver<Result<SmallVec<[Appended; 1]>, AppendError>>,
    ),
}

/// Compares answers with the model, one after the other, and carries the model forward.
pub(crate) struct Judge<'a> {
    pub(crate) before: &'a Model,
    pub(crate) model: Model,
    pub(crate) now: Timestamp,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) failed: bool,
    /// The last round that was published: answers about it and those before it hold, whatever
    /// failed later.
    pub(crate) published: Round,
    pub(crate) may_be_full: bool,
    pub(crate) rounds: std::ops::Range<Round>,
    pub(crate) last_round: Round,
    pub(crate) unsure: Vec<Unsure>,
    pub(crate) group: usize,
    pub(crate) figures: &'a mut Figures,
}

impl Judge<'_> {
    pub(crate) fn judge(&mut self, asked: Asked) {
        match asked {
            Asked::Submission(appends, answer) => {
                let answer = answer.try_recv().expect("every submission is answered");
                assert_eq!(answer.len(), appends.len(), "a result for each append");
                let early = appends.iter().all(|append| self.is_early(append));
                for (append, results) in appends.iter().zip(answer) {
                    self.append(append, results, early);
                }
            }
            Asked::Change(append, operations, settings, answer) => {
                let answer = answer.try_recv().expect("every change is answered");
                self.change(&append, &operations, settings, answer);
            }
        }
    }

    fn is_early(&self, append: &Append) -> bool {
        append.parts.iter().all(|part| {
            let partition = self.model.partitions.get(&part.partition);
            // One that is being deleted takes nothing any more, early or not.
            partition.is_none_or(|partition| partition.settings.answer_early)
        })
    }

    fn append(&mut self, append: &Append, results: AppendResult, early: bool) {
        assert_eq!(results.len(), append.parts.len(), "a result for each part");
        if append.atomicity == Atomicity::EachPart {
            for (part, result) in append.parts.iter().zip(results) {
                self.group += 1;
                let expected = self.expected(part);
                self.part(part, expected, result, early);
            }
            return;
        }
        self.group += 1;
        let expected: Vec<_> = append.parts.iter().map(|part| self.expected(part)).collect();
        let refused = expected.iter().any(|one| matches!(one, Expected::Refused(_)));
        let mut rounds = Vec::new();
        for ((part, expected), result) in append.parts.iter().zip(expected).zip(results) {
            let expected = match expected {
                Expected::Accepted | Expected::Duplicate(_) if refused => {
                    Expected::Refused(AppendError::Together)
                }
                other => other,
            };
            if let (Ok(appended), Expected::Accepted) = (&result, &expected) {
                rounds.push(appended.round);
            }
            self.part(part, expected, result, early);
        }
        assert!(rounds.windows(2).all(|two| two[0] == two[1]), "one round: {rounds:?}");
    }

    fn expected(&self, part: &Part) -> Expected {
        self.model.check(part.partition, &part.header)
    }

    fn part(
        &mut self,
        part: &Part,
        expected: Expected,
        result: Result<Appended, AppendError>,
        early: bool,
    ) {
        let id = part.partition;
        match (result, expected) {
            (Ok(appended), Expected::Accepted) => {
                let synced = !self.failed || appended.round <= self.published;
                assert!(synced || early, "acknowledged without a sync: {appended:?}");
                let batch = self.stored(part);
                assert_eq!(appended.base_offset.0, batch.base(), "offset in {id}");
                assert!(self.rounds.contains(&appended.round), "{appended:?} {:?}", self.rounds);
                assert!(appended.round >= self.last_round, "rounds rise");
                let settings = self.model.partitions[&id].settings;
                assert_eq!(appended.append_time, settings.append_time.then_some(self.now));
                self.check_log_start(id, &appended);
                self.last_round = appended.round;
                batch.round.set(Some(appended.round));
                self.figures.appended += 1;
                self.make(Change::Append(id, batch), early);
            }
            (Ok(appended), Expected::Duplicate(original)) => {
                let synced = !self.failed || appended.round <= self.published;
                assert!(synced || early, "acknowledged without a sync: {appended:?}");
                assert_eq!(appended.base_offset.0, original.base(), "the original's offset");
                self.promise(&original, appended.round);
                assert_eq!(Some(appended.round), original.round.get(), "the original's round");
                self.check_log_start(id, &appended);
                self.figures.duplicates += 1;
            }
            (Err(AppendError::Storage(_)), expected) => {
                assert!(self.failed, "refused although nothing failed");
                if matches!(expected, Expected::Accepted) {
                    let batch = self.stored(part);
                    self.make(Change::Append(id, batch), false);
                }
            }
            (Err(AppendError::DiskFull { .. }), _) => {
                assert!(self.may_be_full, "the disk is not full");
                self.figures.full += 1;
            }
            (
                Err(AppendError::TooLarge { bytes, max }),
                Expected::Accepted | Expected::Duplicate(_),
            ) => {
                assert!(bytes > max, "{bytes} of {max}");
            }
            (Err(error), Expected::Refused(expected)) => {
                assert_eq!(error, expected, "partition {id}");
                self.figures.refused += 1;
            }
            (Ok(appended), Expected::Refused(error)) => {
                panic!("partition {id} took {appended:?} in spite of: {error}")
            }
            (Err(error), _) => panic!("partition {id} refused for no reason: {error}"),
        }
    }

    /// A duplicate may be answered early although its original was not.
    fn promise(&mut self, original: &Rc<Stored>, round: Round) {
        let same = |change: &Change| match change {
            Change::Append(_, batch) => Rc::ptr_eq(batch, original),
            Change::Operation(..) => false,
        };
        if let Some(unsure) = self.unsure.iter_mut().find(|unsure| same(&unsure.change)) {
            unsure.early = true;
            original.round.set(original.round.get().or(Some(round)));
        }
    }

    fn check_log_start(&self, id: PartitionId, appended: &Appended) {
        let before = self.before.partitions.get(&id).map_or(0, |partition| partition.log_start);
        let now = self.model.partitions[&id].log_start;
        assert!((before..=now).contains(&appended.log_start.0), "log start {appended:?}");
    }

    fn change(
        &mut self,
        append: &Append,
        operations: &[Operation],
        settings: Settings,
        answer: Result<SmallVec<[Appended; 1]>, AppendError>,
    ) {
        self.group += 1;
        let expected: Vec<_> = append.parts.iter().map(|part| self.expected(part)).collect();
        match answer {
            Ok(appended) => {
                let synced = !self.failed || self.rounds.start <= self.published;
                assert!(synced, "a change was acknowledged without a sync");
                assert_eq!(appended.len(), append.parts.len());
                // Operations come first in their round.
                for operation in operations {
                    self.make(Change::Operation(*operation, settings), false);
                }
                for ((part, expected), one) in append.parts.iter().zip(expected).zip(appended) {
                    self.part(part, expected, Ok(one), false);
                }
            }
            Err(AppendError::Storage(message)) => {
                assert!(self.failed);
                for operation in operations {
                    self.make(Change::Operation(*operation, settings), false);
                }
                for (part, expected) in append.parts.iter().zip(expected) {
                    self.part(part, expected, Err(AppendError::Storage(message.clone())), false);
                }
            }
            Err(error @ (AppendError::DiskFull { .. } | AppendError::TooLarge { .. })) => {
                for (part, expected) in append.parts.iter().zip(expected) {
                    self.part(part, expected, Err(error.clone()), false);
                }
            }
            Err(error) => {
                let known = expected.iter().any(|one| match one {
                    Expected::Refused(expected) => *expected == error,
                    _ => false,
                });
                assert!(known, "a change was refused for no reason: {error}");
            }
        }
    }

    /// The batch as it must be read.
    fn stored(&self, part: &Part) -> Rc<Stored> {
        let partition = &self.model.partitions[&part.partition];
        let mut bytes = part.batch.to_vec();
        set_base_offset_and_epoch(&mut bytes, Offset(partition.next()), self.epoch);
        if partition.settings.append_time {
            set_log_append_time(&mut bytes, self.now);
        }
        Stored::new(part.batch.clone(), Bytes::from(bytes))
    }

    fn make(&mut self, change: Change, early: bool) {
        self.model.apply(&change);
        if self.failed {
            self.unsure.push(Unsure { change, group: self.group, early });
        }
    }
}

impl Asked {
    /// Carries a generator's model forward, so that the next command can build upon this one.
    pub(crate) fn assume(&self, model: &mut Model) {
        let (appends, operations, settings) = match self {
            Self::Submission(appends, _) => (&appends[..], &[][..], Settings::default()),
            Self::Change(append, operations, settings, _) => {
                (std::slice::from_ref(append), &operations[..], *settings)
            }
        };
        for part in appends.iter().flat_map(|append| &append.parts) {
            if matches!(model.check(part.partition, &part.header), Expected::Accepted) {
                let mut bytes = part.batch.to_vec();
                let base = Offset(model.partitions[&part.partition].next());
                set_base_offset_and_epoch(&mut bytes, base, LeaderEpoch(0));
                let batch = Stored::new(part.batch.clone(), Bytes::from(bytes));
                model.apply(&Change::Append(part.partition, batch));
            }
        }
        for operation in operations {
            model.apply(&Change::Operation(*operation, settings));
        }
    }

    /// Bytes at most that it takes in a round.
    pub(crate) fn bytes(&self) -> usize {
        const ENTRY_BYTES: usize = 64;
        let part = |part: &Part| part.batch.len() + ENTRY_BYTES;
        match self {
            Self::Submission(appends, _) => {
                appends.iter().flat_map(|append| &append.parts).map(part).sum()
            }
            Self::Change(append, operations, ..) => {
                append.parts.iter().map(part).sum::<usize>() + operations.len() * ENTRY_BYTES
            }
        }
    }
}

pub(crate) fn submission(appends: Vec<Append>) -> (Command, Asked) {
    let (sender, answer) = unbounded();
    let reply = Box::new(move |results| sender.send(results).expect("the other end waits"));
    let mut kept = appends.clone();
    // The log is the only one who holds a batch, as behind a door.
    for part in kept.iter_mut().flat_map(|append| &mut append.parts) {
        part.batch = Bytes::copy_from_slice(&part.batch);
    }
    let asked = Asked::Submission(kept, answer);
    (Command::Submit(Submission { appends, reply }), asked)
}

pub(crate) fn change(
    append: Append,
    operations: Vec<Operation>,
    settings: Settings,
) -> (Command, Asked) {
    let (sender, answer) = unbounded();
    let reply = Box::new(move |result| sender.send(result).expect("the other end waits"));
    let asked = Asked::Change(append.clone(), operations.clone(), settings, answer);
    let (unwritten, frees) = (Vec::new(), true);
    let change = anabranch_log::Change { append, operations, settings, unwritten, frees, reply };
    (Command::Change(Box::new(change)), asked)
}
