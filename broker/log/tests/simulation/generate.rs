//! Random commands that make sense, and some that do not.

use crate::model::{Model, Partition};
use anabranch_log::{Append, Atomicity, Operation, Part, Settings, key_hash};
use anabranch_types::batch::{
    BatchBuilder, BatchHeader, Ending, ValidateOptions, marker, validate,
};
use anabranch_types::{Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp};
use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use smallvec::SmallVec;

/// The catalog of these worlds: below [`anabranch_log::limits::INTERNAL_PARTITIONS`].
pub(crate) const CATALOG: PartitionId = PartitionId(0);
const PRODUCERS: i64 = 3;

pub(crate) struct Generator<'a> {
    pub(crate) rng: &'a mut StdRng,
    /// Numbers the records, so that no two batches are alike.
    pub(crate) counter: &'a mut u64,
    pub(crate) now: Timestamp,
    /// Bytes of the largest round.
    pub(crate) round_bytes_max: usize,
}

impl Generator<'_> {
    pub(crate) fn settings(&mut self) -> Settings {
        Settings {
            answer_early: self.rng.random_bool(0.3),
            append_time: self.rng.random_bool(0.3),
            ..Settings::default()
        }
    }

    pub(crate) fn append(&mut self, model: &Model) -> Append {
        let together = self.rng.random_bool(0.3);
        let mut parts: SmallVec<[Part; 1]> = SmallVec::new();
        for _ in 0..self.rng.random_range(1..=4) {
            let id = self.partition(model);
            // One batch a partition.
            if parts.iter().all(|part| part.partition != id) {
                parts.push(self.part(id, model));
            }
        }
        let atomicity = if together { Atomicity::AllParts } else { Atomicity::EachPart };
        Append { parts, atomicity, preconditions: None }
    }

    /// An operation and, mostly, a record of it in the catalog.
    pub(crate) fn change(
        &mut self,
        model: &Model,
        published: &Model,
        next_id: &mut u32,
        first_of_all: bool,
    ) -> (Append, Vec<Operation>) {
        let mut parts = SmallVec::new();
        if self.rng.random_bool(0.7) {
            parts.push(self.part(CATALOG, model));
        }
        let append = Append { parts, atomicity: Atomicity::AllParts, preconditions: None };
        let mut operations = Vec::new();
        let target = self.partition(model);
        if target != CATALOG && self.rng.random_bool(0.4) {
            return self.begin(target, model);
        }
        let known = published.partitions.get(&target);
        match self.rng.random_range(0..10) {
            0..4 => {
                for _ in 0..self.rng.random_range(1..=3) {
                    operations.push(Operation::Create(PartitionId(*next_id)));
                    *next_id += 1;
                }
            }
            4..6 if target != CATALOG => operations.push(Operation::Delete(target)),
            _ => {
                let start = known.map_or(0, |partition| self.log_start(partition, first_of_all));
                operations.push(Operation::SetLogStart(target, Offset(start)));
            }
        }
        (append, operations)
    }

    /// A transaction, and a record of it: by that a recovery is seen to have it.
    fn begin(&mut self, target: PartitionId, model: &Model) -> (Append, Vec<Operation>) {
        let producer = ProducerId(self.rng.random_range(1..=PRODUCERS));
        let partition = model.partitions.get(&target);
        let known = partition.and_then(|partition| partition.producers.get(&producer));
        let change = if self.rng.random_bool(0.2) { self.rng.random_range(-1..=1) } else { 0 };
        let epoch = ProducerEpoch((known.map_or(0, |known| known.epoch) + change).max(0));
        let parts = SmallVec::from_iter([part(CATALOG, self.batch(None, false))]);
        let append = Append { parts, atomicity: Atomicity::AllParts, preconditions: None };
        (append, vec![Operation::Begin(target, producer, epoch)])
    }

    fn log_start(&mut self, partition: &Partition, beyond: bool) -> i64 {
        match self.rng.random_range(0..10) {
            // Beyond what is published, which is known only if nothing else comes before.
            0 if beyond => i64::MAX,
            1 => partition.log_start - 5,
            2 | 3 => partition.next(),
            _ => self.rng.random_range(partition.log_start..=partition.next()),
        }
    }

    pub(crate) fn partition(&mut self, model: &Model) -> PartitionId {
        let unknown = model.partitions.is_empty() || self.rng.random_bool(0.02);
        if unknown {
            let deleted = model.deleted.iter().next().copied();
            return deleted.unwrap_or(PartitionId(9_999));
        }
        let number = self.rng.random_range(0..model.partitions.len());
        *model.partitions.keys().nth(number).expect("below the length")
    }

    /// A batch for one partition: new, or a producer's, or one that was sent before.
    pub(crate) fn part(&mut self, id: PartitionId, model: &Model) -> Part {
        let partition = model.partitions.get(&id);
        let raw = if id != CATALOG && self.rng.random_bool(0.5) {
            self.producers_batch(partition)
        } else {
            self.batch(None, false)
        };
        part(id, raw)
    }

    fn producers_batch(&mut self, partition: Option<&Partition>) -> Bytes {
        let id = ProducerId(self.rng.random_range(1..=PRODUCERS));
        let Some(producer) = partition.and_then(|partition| partition.producers.get(&id)) else {
            let first = if self.rng.random_bool(0.3) { i32::MAX - 3 } else { 0 };
            let transactional = self.rng.random_bool(0.1);
            return self.batch(Some((id, 0, first)), transactional);
        };
        let epoch = producer.epoch;
        let next = producer.next().0;
        if self.rng.random_bool(if producer.begun { 0.3 } else { 0.03 }) {
            let fences = if self.rng.random_bool(0.3) { self.rng.random_range(-1..=1) } else { 0 };
            let ending = if self.rng.random_bool(0.5) { Ending::Commit } else { Ending::Abort };
            let marker = marker(id, ProducerEpoch((epoch + fences).max(0)), ending, self.now);
            return marker.expect("no compression").freeze();
        }
        let transactional = producer.begun != self.rng.random_bool(0.05);
        if producer.recent.is_empty() {
            return self.batch(Some((id, epoch, next)), transactional);
        }
        let pick = self.rng.random_range(0..100);
        let (epoch, sequence) = match pick {
            0..55 => (epoch, next),
            55..80 => {
                let number = self.rng.random_range(0..producer.recent.len());
                return producer.recent[number].raw.clone();
            }
            80..87 => {
                let all = &partition.expect("it knows the producer").batches;
                let number = self.rng.random_range(0..all.len());
                return all[number].raw.clone();
            }
            87..91 => (epoch, Sequence(next).plus(3).0),
            91..94 => ((epoch - 1).max(0), next),
            94..97 => (epoch + 1, 0),
            _ => (epoch + 1, 7),
        };
        self.batch(Some((id, epoch, sequence)), transactional)
    }

    fn batch(&mut self, producer: Option<(ProducerId, i16, i32)>, transactional: bool) -> Bytes {
        let mut builder = BatchBuilder::default();
        if let Some((id, epoch, sequence)) = producer {
            builder.set_producer(id, ProducerEpoch(epoch), Sequence(sequence));
        }
        if transactional {
            builder.set_transactional();
        }
        let largest = match self.rng.random_range(0..100) {
            0 => self.round_bytes_max + 1,
            1..4 => self.round_bytes_max / 2,
            4..10 => 5_000,
            _ => 300,
        };
        for _ in 0..self.rng.random_range(1..=4) {
            *self.counter += 1;
            let mut value = self.counter.to_le_bytes().to_vec();
            value.resize(self.rng.random_range(8..=largest.max(9)), 0x5a);
            let time = Timestamp(self.now.0 + self.rng.random_range(-500..=500));
            let key = [b'a' + self.rng.random_range(0..5)];
            let key = (!self.rng.random_bool(0.03)).then_some(&key[..]);
            if self.rng.random_bool(0.15) {
                let number = self.counter.to_le_bytes();
                builder.push(time, key, None, &[(b"number", Some(&number))]);
            } else {
                builder.push(time, key, Some(&value), &[]);
            }
        }
        builder.build().expect("no compression").freeze()
    }
}

/// The batch as a door hands it on.
pub(crate) fn part(id: PartitionId, raw: Bytes) -> Part {
    let header = BatchHeader::read(&raw).expect("a whole batch");
    if header.is_control() {
        let max_timestamp = header.max_timestamp;
        return Part { partition: id, batch: raw, header, max_timestamp, key_hashes: Vec::new() };
    }
    let passed = validate(&raw, ValidateOptions::default(), key_hash, &mut Vec::new())
        .expect("the generator builds valid batches");
    Part::new(id, raw, passed)
}
