//! The transactions of a partition as its readers see them: what is undecided, and what never
//! was. Changes with each published round; a recovery brings it back from checkpoint and journal.
//!
//! ```text
//!   log start         first of the oldest open one       high watermark
//!   ├── decided: all but what was aborted ──┼── may be undecided ──┤
//!                                           last stable offset
//! ```

use crate::codec::Reader;
use anabranch_types::batch::{BatchHeader, Ending};
use anabranch_types::{Offset, ProducerId, Round};
use std::collections::{BTreeMap, VecDeque};

/// Committed transactions remembered a partition: readers at an older cut than all of these see
/// them as if they had been committed before.
const COMMITTED_MAX: usize = 65_536;

/// What an append does to its producer's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The transaction's first records in the partition.
    Opened { producer: ProducerId, first: Offset },
    /// Its marker.
    Ended { producer: ProducerId, first: Offset, marker: Offset, ending: Ending, round: Round },
}

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted {
    /// Whose.
    pub producer: ProducerId,
    /// Offset of its first record.
    pub first: Offset,
    /// Offset of its marker.
    pub marker: Offset,
    /// The last stable offset once it was aborted: whatever ends later began there or behind.
    pub(crate) stable: Offset,
}

#[derive(Debug, Clone, Copy)]
struct Committed {
    producer: ProducerId,
    first: Offset,
    marker: Offset,
    round: Round,
}

#[derive(Default)]
pub(crate) struct Transactions {
    open: BTreeMap<ProducerId, Offset>,
    /// In the order of their markers.
    aborted: Vec<Aborted>,
    committed: VecDeque<Committed>,
}

impl Transactions {
    pub(crate) fn new(aborted: Vec<Aborted>) -> Self {
        Self { aborted, ..Self::default() }
    }

    /// Forgets aborted transactions whose records have gone, by their markers' offsets in order.
    pub(crate) fn forget(&mut self, markers: &[Offset]) {
        self.aborted.retain(|aborted| markers.binary_search(&aborted.marker).is_err());
    }

    /// Applies an event; one that was applied before changes nothing.
    pub(crate) fn apply(&mut self, event: &Event) {
        match *event {
            Event::Opened { producer, first } => {
                self.open.entry(producer).or_insert(first);
            }
            Event::Ended { producer, first, marker, ending, round } => {
                self.open.remove(&producer);
                match ending {
                    Ending::Commit
                        if self.committed.back().is_none_or(|last| last.marker < marker) =>
                    {
                        if self.committed.len() == COMMITTED_MAX {
                            self.committed.pop_front();
                        }
                        self.committed.push_back(Committed { producer, first, marker, round });
                    }
                    Ending::Abort
                        if self.aborted.last().is_none_or(|last| last.marker < marker) =>
                    {
                        // Not the high watermark: the same round may have begun another behind
                        // the marker, and a recovery knows a later one.
                        let stable = self.stable(marker.plus(1));
                        self.aborted.push(Aborted { producer, first, marker, stable });
                    }
                    Ending::Commit | Ending::Abort => {}
                }
            }
        }
    }

    /// The offset from which on something may be undecided.
    pub(crate) fn stable(&self, end: Offset) -> Offset {
        self.open.values().min().copied().unwrap_or(end)
    }

    /// Forgets what ended before the log's start.
    pub(crate) fn forget_below(&mut self, start: Offset) {
        let gone = self.aborted.partition_point(|aborted| aborted.marker < start);
        self.aborted.drain(..gone);
    }

    pub(crate) fn aborted(&self) -> &[Aborted] {
        &self.aborted
    }

    pub(crate) fn undecided_at(&self, at: Offset) -> Vec<(ProducerId, Offset)> {
        let open = self.open.iter().map(|(producer, first)| (*producer, *first));
        let committed = self.committed.iter().filter(|ended| at <= ended.marker);
        let all = open.chain(committed.map(|ended| (ended.producer, ended.first)));
        all.filter(|(_, first)| *first < at).collect()
    }

    /// Aborted transactions with records in `from..to`.
    pub(crate) fn aborted_within(&self, from: Offset, to: Offset) -> Vec<Aborted> {
        let first = self.aborted.partition_point(|aborted| aborted.marker < from);
        let mut found = Vec::new();
        for aborted in &self.aborted[first..] {
            if aborted.first < to {
                found.push(*aborted);
            }
            if aborted.stable >= to {
                break;
            }
        }
        found
    }

    /// Whether the batch's transaction was aborted.
    pub(crate) fn is_aborted(&self, header: &BatchHeader) -> bool {
        let at = header.base_offset;
        let first = self.aborted.partition_point(|aborted| aborted.marker < at);
        for aborted in &self.aborted[first..] {
            if aborted.producer == header.producer_id && aborted.first <= at {
                return true;
            }
            if aborted.stable > at {
                break;
            }
        }
        false
    }

    /// Whether the batch's transaction was committed in `cut` or before.
    pub(crate) fn is_committed(&self, header: &BatchHeader, cut: Round) -> bool {
        let (producer, at) = (header.producer_id, header.base_offset);
        if self.open.get(&producer).is_some_and(|first| *first <= at) || self.is_aborted(header) {
            return false;
        }
        let mut later = self.committed.iter().rev().take_while(|ended| ended.round > cut);
        !later.any(|ended| ended.producer == producer && ended.first <= at && at < ended.marker)
    }
}

pub(crate) fn encode_aborted(all: &[Aborted], out: &mut Vec<u8>) {
    out.extend((all.len() as u32).to_le_bytes());
    for aborted in all {
        out.extend(aborted.producer.0.to_le_bytes());
        for offset in [aborted.first, aborted.marker, aborted.stable] {
            out.extend(offset.0.to_le_bytes());
        }
    }
}

pub(crate) fn decode_aborted(fields: &mut Reader<'_>) -> Option<Vec<Aborted>> {
    let mut all = Vec::new();
    for _ in 0..fields.count(32)? {
        all.push(Aborted {
            producer: ProducerId(fields.i64()?),
            first: Offset(fields.i64()?),
            marker: Offset(fields.i64()?),
            stable: Offset(fields.i64()?),
        });
    }
    Some(all)
}
