//! What the log must hold: the same commands, without files, threads or accidents.

use anabranch_log::{AppendError, Operation, Settings};
use anabranch_types::batch::{BatchHeader, Ending, decode_records, ending};
use anabranch_types::{PartitionId, ProducerId, Round, Sequence};
use bytes::Bytes;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// A batch that was appended, or may have been.
pub(crate) struct Stored {
    pub(crate) header: BatchHeader,
    /// As it was produced.
    pub(crate) raw: Bytes,
    /// As it must be read.
    pub(crate) bytes: Bytes,
    /// The time of each record.
    pub(crate) times: Vec<i64>,
    /// The round it came in, once that is known.
    pub(crate) round: Cell<Option<Round>>,
}

impl Stored {
    pub(crate) fn new(raw: Bytes, bytes: Bytes) -> Rc<Self> {
        let header = BatchHeader::read(&bytes).expect("the generator builds whole batches");
        let mut scratch = Vec::new();
        let records = decode_records(&header, &bytes, &mut scratch).expect("no compression");
        let times = records.map(|record| record.expect("well formed").timestamp.0).collect();
        Rc::new(Self { header, raw, bytes, times, round: Cell::new(None) })
    }

    pub(crate) fn base(&self) -> i64 {
        self.header.base_offset.0
    }

    pub(crate) fn next(&self) -> i64 {
        self.header.next_offset().0
    }
}

/// A record, without what its place says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) time: i64,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Bytes,
}

/// The records of a batch with their offsets.
pub(crate) fn records(header: &BatchHeader, batch: &[u8]) -> Vec<(i64, Record)> {
    let mut scratch = Vec::new();
    let records = decode_records(header, batch, &mut scratch).expect("no compression");
    records
        .map(|record| {
            let record = record.expect("well formed");
            let mut headers = Vec::new();
            record.headers.encode(&mut headers);
            let content = Record {
                time: record.timestamp.0,
                key: record.key.map(Bytes::copy_from_slice),
                value: record.value.map(Bytes::copy_from_slice),
                headers: Bytes::from(headers),
            };
            (record.offset.0, content)
        })
        .collect()
}

/// Compactions that were begun: whether they had an effect, a crash may leave open.
#[derive(Clone, Copy, Default)]
pub(crate) struct Compacted {
    /// Superseded records below may have gone.
    pub(crate) until: i64,
    /// Tombstones and markers below may have gone.
    pub(crate) tombstones_until: i64,
}

#[derive(Clone, Default)]
pub(crate) struct Partition {
    pub(crate) compacted: Compacted,
    pub(crate) settings: Settings,
    pub(crate) log_start: i64,
    /// All there ever were, also below the start.
    pub(crate) batches: Vec<Rc<Stored>>,
    pub(crate) producers: BTreeMap<ProducerId, Producer>,
    /// Transactions with records, and their markers' offsets once they have ended.
    pub(crate) transactions: Vec<Ended>,
}

/// A transaction with records in the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) producer: ProducerId,
    pub(crate) first: i64,
    pub(crate) end: Option<(i64, Ending)>,
}

#[derive(Clone)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    /// The last five.
    pub(crate) recent: VecDeque<Rc<Stored>>,
    /// Whether a transaction was begun.
    pub(crate) begun: bool,
}

impl Producer {
    pub(crate) fn next(&self) -> Sequence {
        let Some(newest) = self.recent.back() else { return Sequence(0) };
        let newest = &newest.header;
        newest.base_sequence.plus(newest.last_offset_delta).plus(1)
    }
}

impl Partition {
    /// The offset of the next record.
    pub(crate) fn next(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.next())
    }

    /// Whether the batch's records count: they are no markers, and not of an aborted transaction.
    pub(crate) fn counts(&self, header: &BatchHeader) -> bool {
        if header.is_control() {
            return false;
        }
        let its =
            self.transactions.iter().rev().find(|one| {
                one.producer == header.producer_id && one.first <= header.base_offset.0
            });
        let aborted = its.is_some_and(|one| matches!(one.end, Some((_, Ending::Abort))));
        !(header.is_transactional() && aborted)
    }

    /// Whether a record with the same key follows that counts, below `until`.
    pub(crate) fn is_superseded(&self, offset: i64, record: &Record, until: i64) -> bool {
        let first = self.batches.partition_point(|batch| batch.next() <= offset);
        let later = self.batches[first..].iter().take_while(|batch| batch.base() < until);
        later.filter(|batch| self.counts(&batch.header)).any(|batch| {
            let all = records(&batch.header, &batch.bytes);
            all.iter().any(|(at, other)| *at > offset && *at < until && other.key == record.key)
        })
    }

    /// Whether compaction may have dropped a record.
    pub(crate) fn may_lack(&self, batch: &Stored, offset: i64, record: &Record) -> bool {
        let Compacted { until, tombstones_until } = self.compacted;
        offset < self.log_start
            || offset < until
                && (!self.counts(&batch.header)
                    || record.key.is_none()
                    || self.is_superseded(offset, record, until)
                    || record.value.is_none() && offset < tombstones_until)
    }

    /// Batches that can be read: those with a record at the start or behind.
    pub(crate) fn visible(&self) -> &[Rc<Stored>] {
        let first = self.batches.partition_point(|batch| batch.next() <= self.log_start);
        &self.batches[first..]
    }

    fn producer(&mut self, id: ProducerId, epoch: i16) -> &mut Producer {
        let fresh = |begun| Producer { epoch, recent: VecDeque::new(), begun };
        let producer = self.producers.entry(id).or_insert_with(|| fresh(false));
        if producer.epoch != epoch {
            *producer = fresh(producer.begun);
        }
        producer
    }

    fn begin(&mut self, id: ProducerId, epoch: i16) {
        if self.producers.get(&id).is_none_or(|producer| producer.epoch <= epoch) {
            self.producer(id, epoch).begun = true;
        }
    }

    fn push(&mut self, batch: &Rc<Stored>) {
        let header = &batch.header;
        self.batches.push(Rc::clone(batch));
        if header.producer_id == ProducerId::NONE {
            return;
        }
        let (id, epoch) = (header.producer_id, header.producer_epoch.0);
        let open = self.transactions.iter_mut().find(|one| one.producer == id && one.end.is_none());
        if let Some(ending) = ending(header, &batch.bytes) {
            if let Some(open) = open {
                open.end = Some((batch.base(), ending));
            }
            let known = self.producers.get(&id).map_or(epoch, |producer| producer.epoch);
            self.producer(id, epoch.max(known)).begun = false;
            return;
        }
        if header.is_transactional() && open.is_none() {
            self.transactions.push(Ended { producer: id, first: batch.base(), end: None });
        }
        let producer = self.producer(id, epoch);
        producer.recent.push_back(Rc::clone(batch));
        if producer.recent.len() > 5 {
            producer.recent.pop_front();
        }
    }
}

/// What must become of a part.
pub(crate) enum Expected {
    Accepted,
    Duplicate(Rc<Stored>),
    Refused(AppendError),
}

/// What changes the model.
pub(crate) enum Change {
    Append(PartitionId, Rc<Stored>),
    Operation(Operation, Settings),
}

#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) partitions: BTreeMap<PartitionId, Partition>,
    pub(crate) deleted: BTreeSet<PartitionId>,
}

impl Model {
    /// By KIP-98, except that an unknown producer may begin anywhere, and that a number that is
    /// used again after an abort is no duplicate.
    pub(crate) fn check(&self, partition: PartitionId, header: &BatchHeader) -> Expected {
        let Some(found) = self.partitions.get(&partition) else {
            return Expected::Refused(AppendError::UnknownPartition(partition));
        };
        let outside = || Expected::Refused(AppendError::NotInTransaction);
        let Some(producer) = found.producers.get(&header.producer_id) else {
            let begins = header.is_transactional() && !header.is_control();
            return if begins { outside() } else { Expected::Accepted };
        };
        let out_of_order = |expected: i32| {
            let found = header.base_sequence.0;
            Expected::Refused(AppendError::OutOfOrderSequence { expected, found })
        };
        if header.is_control() {
            return Expected::Accepted;
        }
        let (current, epoch) = (producer.epoch, header.producer_epoch.0);
        if epoch < current {
            return Expected::Refused(AppendError::ProducerFenced { current, found: epoch });
        }
        if epoch > current && header.is_transactional() {
            return outside();
        }
        if epoch > current {
            return if header.base_sequence.0 == 0 { Expected::Accepted } else { out_of_order(0) };
        }
        let same = |other: &&Rc<Stored>| {
            other.header.base_sequence == header.base_sequence
                && other.header.last_offset_delta == header.last_offset_delta
        };
        // What an earlier transaction wrote is none of the one that is begun.
        let id = header.producer_id;
        let open = found.transactions.iter().find(|one| one.producer == id && one.end.is_none());
        let is_own = |original: &&Rc<Stored>| {
            !header.is_transactional()
                || !producer.begun
                || open.is_some_and(|open| original.base() >= open.first)
        };
        if let Some(original) = producer.recent.iter().find(same).filter(is_own) {
            return Expected::Duplicate(Rc::clone(original));
        }
        if header.is_transactional() != producer.begun {
            return outside();
        }
        let used = |batch: &Rc<Stored>| {
            let first = batch.header.base_sequence;
            let last = first.plus(batch.header.last_offset_delta);
            (first.0..=last.0).contains(&header.base_sequence.0)
        };
        if header.is_transactional() && open.is_none() && producer.recent.iter().any(used) {
            let found = header.base_sequence.0;
            return Expected::Refused(AppendError::SequenceUsedBefore { found });
        }
        let next = producer.next();
        if next == header.base_sequence || producer.recent.is_empty() {
            Expected::Accepted
        } else {
            out_of_order(next.0)
        }
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Append(id, batch) => {
                // Deleted in the same round: nobody will ever see it.
                if let Some(partition) = self.partitions.get_mut(id) {
                    partition.push(batch);
                }
            }
            Change::Operation(Operation::Create(id), settings) => {
                let partition = Partition { settings: *settings, ..Partition::default() };
                self.partitions.insert(*id, partition);
            }
            Change::Operation(Operation::Delete(id), _) => {
                self.partitions.remove(id);
                self.deleted.insert(*id);
            }
            Change::Operation(Operation::Begin(id, producer, epoch), _) => {
                if let Some(partition) = self.partitions.get_mut(id) {
                    partition.begin(*producer, epoch.0);
                }
            }
            Change::Operation(Operation::SetLogStart(id, start), _) => {
                if let Some(partition) = self.partitions.get_mut(id) {
                    partition.log_start = start.0.clamp(partition.log_start, partition.next());
                }
            }
        }
    }
}
