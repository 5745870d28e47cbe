//! Idempotent producers (KIP-98): what each wrote last, so that a retry is answered instead of
//! written twice.

use crate::append::AppendError;
use crate::codec::Reader;
use crate::limits::{PRODUCER_BATCHES, PRODUCER_EXPIRES_MS, PRODUCERS_MAX};
use anabranch_types::batch::BatchHeader;
use anabranch_types::{Offset, ProducerEpoch, ProducerId, Round, Sequence, Timestamp};
use std::collections::VecDeque;

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
        // A producer that is not known may start anywhere: its state may have expired.
        let Some(producer) = self.by_id.get(&header.producer_id) else { return Ok(None) };
        let found = header.base_sequence;
        if header.producer_epoch < producer.epoch {
            return Err(AppendError::ProducerFenced {
                current: producer.epoch.0,
                found: header.producer_epoch.0,
            });
        }
        if header.producer_epoch > producer.epoch {
            return match found {
                Sequence(0) => Ok(None),
                _ => Err(AppendError::OutOfOrderSequence { expected: 0, found: found.0 }),
            };
        }
        let last = found.plus(header.last_offset_delta);
        let original =
            producer.batches.iter().find(|batch| (batch.first, batch.last) == (found, last));
        if let Some(original) = original {
            return Ok(Some(*original));
        }
        match producer.batches.back() {
            Some(newest) if newest.last.plus(1) != found => Err(AppendError::OutOfOrderSequence {
                expected: newest.last.plus(1).0,
                found: found.0,
            }),
            _ => Ok(None),
        }
    }

    /// Remembers a batch that was appended.
    pub(crate) fn record(
        &mut self,
        header: &BatchHeader,
        base_offset: Offset,
        round: Round,
        now: Timestamp,
    ) {
        if header.producer_id == ProducerId::NONE {
            return;
        }
        if self.by_id.len() >= PRODUCERS_MAX && !self.by_id.contains_key(&header.producer_id) {
            self.forget_oldest();
        }
        let fresh = || Producer {
            epoch: header.producer_epoch,
            last_append: now,
            batches: VecDeque::with_capacity(PRODUCER_BATCHES),
        };
        let producer = self.by_id.entry(header.producer_id).or_insert_with(fresh);
        if producer.epoch != header.producer_epoch {
            *producer = fresh();
        }
        producer.last_append = now;
        if producer.batches.len() == PRODUCER_BATCHES {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Written {
            first: header.base_sequence,
            last: header.base_sequence.plus(header.last_offset_delta),
            base_offset,
            round,
        });
    }

    fn forget_oldest(&mut self) {
        let age = |(id, producer): &(&ProducerId, &Producer)| (producer.last_append, **id);
        let oldest = self.by_id.iter().min_by_key(age);
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.by_id.remove(&id);
        }
    }

    /// Forgets who has been silent for long, by the time of the append, never the batch's own.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.by_id.retain(|_, producer| now.0 - producer.last_append.0 < PRODUCER_EXPIRES_MS);
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend((self.by_id.len() as u32).to_le_bytes());
        let mut all: Vec<_> = self.by_id.iter().collect();
        all.sort_unstable_by_key(|(id, _)| **id);
        for (id, producer) in all {
            out.extend(id.0.to_le_bytes());
            out.extend(producer.epoch.0.to_le_bytes());
            out.extend(producer.last_append.0.to_le_bytes());
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
        for _ in 0..fields.count(19)? {
            let id = ProducerId(fields.i64()?);
            let epoch = ProducerEpoch(fields.i16()?);
            let last_append = Timestamp(fields.i64()?);
            let mut batches = VecDeque::with_capacity(PRODUCER_BATCHES);
            for _ in 0..fields.u8()?.min(PRODUCER_BATCHES as u8) {
                batches.push_back(Written {
                    first: Sequence(fields.i32()?),
                    last: Sequence(fields.i32()?),
                    base_offset: Offset(fields.i64()?),
                    round: Round(fields.u64()?),
                });
            }
            by_id.insert(id, Producer { epoch, last_append, batches });
        }
        Some(Self { by_id })
    }
}
