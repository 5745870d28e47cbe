//! Idempotent and transactional producers (KIP-98): what each wrote last, so that a retry is
//! answered instead of written twice, and whether it has a transaction in the partition.

use crate::append::AppendError;
use crate::codec::Reader;
use crate::limits::{PRODUCER_BATCHES, PRODUCER_EXPIRES_MS, PRODUCERS_MAX};
use crate::transactions::Event;
use anabranch_types::batch::{BatchHeader, Ending};
use anabranch_types::{Offset, ProducerEpoch, ProducerId, Round, Sequence, Timestamp};
use std::collections::VecDeque;

/// What is remembered of a producer in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownProducer {
    /// Its id.
    pub id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// Sequence of its last record; `None` if it has written none in this epoch.
    pub last_sequence: Option<Sequence>,
    /// When it last wrote, by the broker's clock.
    pub last_append: Timestamp,
    /// First record of its open transaction.
    pub transaction: Option<Offset>,
}

/// The producers of one partition.
#[derive(Default, Debug, Clone, PartialEq, Eq)]
pub(crate) struct Producers {
    by_id: ahash::HashMap<ProducerId, Producer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    last_append: Timestamp,
    batches: VecDeque<Written>,
    transaction: Transaction,
}

/// A producer's transaction in the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    /// Transactional batches are refused: one that was late would join the next transaction, or
    /// begin one that nobody ends.
    None,
    /// The partition was added to it.
    Begun,
    /// It has records here, from this offset on.
    Open(Offset),
}

impl Producer {
    fn new(epoch: ProducerEpoch, now: Timestamp) -> Self {
        let batches = VecDeque::with_capacity(PRODUCER_BATCHES);
        Self { epoch, last_append: now, batches, transaction: Transaction::None }
    }
}

/// A batch that a producer wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    pub(crate) base_offset: Offset,
    pub(crate) round: Round,
}

impl Producers {
    /// Whether a batch may be appended: `Ok(None)`; or is one that was: `Ok(Some(original))`.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Option<Written>, AppendError> {
        if header.producer_id == ProducerId::NONE {
            return Ok(None);
        }
        let outside = AppendError::NotInTransaction;
        // A producer that is not known may start anywhere: its state may have expired.
        let Some(producer) = self.by_id.get(&header.producer_id) else {
            let begins = header.is_transactional() && !header.is_control();
            return if begins { Err(outside) } else { Ok(None) };
        };
        if header.is_control() {
            // The coordinator's word: whoever writes with this id, the transaction has to end.
            return Ok(None);
        }
        let found = header.base_sequence;
        if header.producer_epoch < producer.epoch {
            return Err(AppendError::ProducerFenced {
                current: producer.epoch.0,
                found: header.producer_epoch.0,
            });
        }
        if header.producer_epoch > producer.epoch {
            return match found {
                _ if header.is_transactional() => Err(outside),
                Sequence(0) => Ok(None),
                _ => Err(AppendError::OutOfOrderSequence { expected: 0, found: found.0 }),
            };
        }
        let last = found.plus(header.last_offset_delta);
        let original =
            producer.batches.iter().find(|batch| (batch.first, batch.last) == (found, last));
        // What the transaction before wrote is none of this one's: a producer that gave up a batch
        // and aborted may use its number again.
        let is_own = |original: &&Written| match producer.transaction {
            _ if !header.is_transactional() => true,
            Transaction::None => true,
            Transaction::Begun => false,
            Transaction::Open(first) => original.base_offset >= first,
        };
        if let Some(original) = original.filter(is_own) {
            return Ok(Some(*original));
        }
        if header.is_transactional() == (producer.transaction == Transaction::None) {
            return Err(outside);
        }
        // What was given up and aborted had been written. Clients can go on after this error; out of
        // order would be the end of a producer of librdkafka.
        let used = |batch: &Written| (batch.first.0..=batch.last.0).contains(&found.0);
        if producer.transaction == Transaction::Begun && producer.batches.iter().any(used) {
            return Err(AppendError::SequenceUsedBefore { found: found.0 });
        }
        match producer.batches.back() {
            Some(newest) if newest.last.plus(1) != found => Err(AppendError::OutOfOrderSequence {
                expected: newest.last.plus(1).0,
                found: found.0,
            }),
            _ => Ok(None),
        }
    }

    /// Begins the producer's transaction here, if it has none, and fences older epochs.
    pub(crate) fn begin(&mut self, id: ProducerId, epoch: ProducerEpoch, now: Timestamp) {
        if self.by_id.get(&id).is_some_and(|producer| producer.epoch > epoch) {
            return;
        }
        let producer = self.of(id, epoch, now);
        if producer.transaction == Transaction::None {
            producer.transaction = Transaction::Begun;
        }
    }

    /// The producer, in this epoch: what it wrote in another counts no more.
    fn of(&mut self, id: ProducerId, epoch: ProducerEpoch, now: Timestamp) -> &mut Producer {
        if self.by_id.len() >= PRODUCERS_MAX && !self.by_id.contains_key(&id) {
            self.forget_oldest();
        }
        let producer = self.by_id.entry(id).or_insert_with(|| Producer::new(epoch, now));
        if producer.epoch != epoch {
            let transaction = producer.transaction;
            *producer = Producer { transaction, ..Producer::new(epoch, now) };
        }
        // A recovery does not know when a transaction began.
        producer.last_append = producer.last_append.max(now);
        producer
    }

    /// All that have a batch or a marker here, in the order of their ids.
    pub(crate) fn known(&self) -> Vec<KnownProducer> {
        let is_only_expected = |producer: &Producer| {
            producer.transaction == Transaction::Begun && producer.batches.is_empty()
        };
        let all = self.by_id.iter().filter(|(_, producer)| !is_only_expected(producer)).map(
            |(id, producer)| KnownProducer {
                id: *id,
                epoch: producer.epoch,
                last_sequence: producer.batches.back().map(|batch| batch.last),
                last_append: producer.last_append,
                transaction: match producer.transaction {
                    Transaction::Open(first) => Some(first),
                    Transaction::None | Transaction::Begun => None,
                },
            },
        );
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by_key(|producer| producer.id);
        all
    }

    /// Producers whose transaction has records here.
    pub(crate) fn open(&self) -> impl Iterator<Item = (ProducerId, Offset)> {
        self.by_id.iter().filter_map(|(id, producer)| match producer.transaction {
            Transaction::Open(first) => Some((*id, first)),
            _ => None,
        })
    }

    /// Remembers a batch that was appended; `marker` is what it says if it is a control batch.
    pub(crate) fn record(
        &mut self,
        header: &BatchHeader,
        marker: Option<Ending>,
        base_offset: Offset,
        round: Round,
        now: Timestamp,
    ) -> Option<Event> {
        if header.producer_id == ProducerId::NONE {
            return None;
        }
        let id = header.producer_id;
        let known = self.by_id.get(&id).map(|producer| producer.epoch);
        // Only a marker may come late, and it brings no older epoch back.
        let epoch = known.map_or(header.producer_epoch, |known| known.max(header.producer_epoch));
        let producer = self.of(id, epoch, now);
        if header.is_control() {
            let ended = std::mem::replace(&mut producer.transaction, Transaction::None);
            let (Transaction::Open(first), Some(ending)) = (ended, marker) else { return None };
            return Some(Event::Ended { producer: id, first, marker: base_offset, ending, round });
        }
        if producer.batches.len() == PRODUCER_BATCHES {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Written {
            first: header.base_sequence,
            last: header.base_sequence.plus(header.last_offset_delta),
            base_offset,
            round,
        });
        let opens = header.is_transactional() && producer.transaction == Transaction::Begun;
        opens.then(|| {
            producer.transaction = Transaction::Open(base_offset);
            Event::Opened { producer: id, first: base_offset }
        })
    }

    fn forget_oldest(&mut self) {
        let age = |(id, producer): &(&ProducerId, &Producer)| (producer.last_append, **id);
        let idle = |(_, producer): &(_, &Producer)| producer.transaction == Transaction::None;
        let oldest = self.by_id.iter().filter(idle).min_by_key(age);
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.by_id.remove(&id);
        }
    }

    /// Forgets who has been silent for long, by the time of the append, never the batch's own.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.by_id.retain(|_, producer| {
            now.0 - producer.last_append.0 < PRODUCER_EXPIRES_MS
                || producer.transaction != Transaction::None
        });
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend((self.by_id.len() as u32).to_le_bytes());
        let mut all: Vec<_> = self.by_id.iter().collect();
        all.sort_unstable_by_key(|(id, _)| **id);
        for (id, producer) in all {
            out.extend(id.0.to_le_bytes());
            out.extend(producer.epoch.0.to_le_bytes());
            out.extend(producer.last_append.0.to_le_bytes());
            out.extend(match producer.transaction {
                Transaction::None => [0xff; 8],
                Transaction::Begun => (-2i64).to_le_bytes(),
                Transaction::Open(first) => first.0.to_le_bytes(),
            });
            out.push(producer.batches.len() as u8);
            for batch in &producer.batches {
                out.extend(batch.first.0.to_le_bytes());
                out.extend(batch.last.0.to_le_bytes());
                out.extend(batch.base_offset.0.to_le_bytes());
                out.extend(batch.round.0.to_le_bytes());
            }
        }
    }

    pub(crate) fn decode(fields: &mut Reader<'_>) -> Option<Self> {
        let mut by_id = ahash::HashMap::default();
        for _ in 0..fields.count(27)? {
            let id = ProducerId(fields.i64()?);
            let epoch = ProducerEpoch(fields.i16()?);
            let last_append = Timestamp(fields.i64()?);
            let transaction = match fields.i64()? {
                -1 => Transaction::None,
                -2 => Transaction::Begun,
                first => Transaction::Open(Offset(first)),
            };
            let mut batches = VecDeque::with_capacity(PRODUCER_BATCHES);
            for _ in 0..fields.u8()?.min(PRODUCER_BATCHES as u8) {
                batches.push_back(Written {
                    first: Sequence(fields.i32()?),
                    last: Sequence(fields.i32()?),
                    base_offset: Offset(fields.i64()?),
                    round: Round(fields.u64()?),
                });
            }
            by_id.insert(id, Producer { epoch, last_append, batches, transaction });
        }
        Some(Self { by_id })
    }
}
