//! What readers are told of transactions, against a list of all of them.

use crate::append::AppendError;
use crate::producers::Producers;
use crate::transactions::{Event, Transactions};
use anabranch_types::batch::{BatchBuilder, BatchHeader, Ending};
use anabranch_types::{Offset, ProducerEpoch, ProducerId, Round, Sequence, Timestamp};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_000);

fn header(id: i64, epoch: i16, sequence: i32, at: i64) -> BatchHeader {
    let mut builder = BatchBuilder::default();
    builder.set_producer(ProducerId(id), ProducerEpoch(epoch), Sequence(sequence));
    builder.set_transactional();
    builder.push(NOW, None, None, &[]);
    let batch = builder.build().expect("no compression");
    let mut header = BatchHeader::read(&batch).expect("just built");
    header.base_offset = Offset(at);
    header
}

fn marker(id: i64, epoch: i16, ending: Ending, at: i64) -> BatchHeader {
    let batch = anabranch_types::batch::marker(ProducerId(id), ProducerEpoch(epoch), ending, NOW);
    let mut header = BatchHeader::read(&batch.expect("built")).expect("just built");
    header.base_offset = Offset(at);
    header
}

#[test]
fn a_number_used_again_after_an_abort_is_no_duplicate() {
    let mut producers = Producers::default();
    let record = |producers: &mut Producers, sequence, at| {
        producers.record(&header(1, 0, sequence, at), None, Offset(at), Round(1), NOW);
    };
    producers.begin(ProducerId(1), ProducerEpoch(0), NOW);
    record(&mut producers, 0, 10);
    let again = producers.check(&header(1, 0, 0, 0)).expect("a retry within the transaction");
    assert_eq!(again.map(|original| original.base_offset), Some(Offset(10)));
    // The answer was lost, the client gave the record up and aborted.
    let abort = marker(1, 0, Ending::Abort, 11);
    producers.record(&abort, Some(Ending::Abort), Offset(11), Round(2), NOW);
    producers.begin(ProducerId(1), ProducerEpoch(0), NOW);
    let used_before = Err(AppendError::SequenceUsedBefore { found: 0 });
    assert_eq!(producers.check(&header(1, 0, 0, 0)), used_before);
    record(&mut producers, 1, 12);
    let expected = Err(AppendError::OutOfOrderSequence { expected: 2, found: 0 });
    assert_eq!(producers.check(&header(1, 0, 0, 0)), expected);
}

#[test]
fn a_producer_writes_only_within_its_transaction() {
    let mut producers = Producers::default();
    let outside = Err(AppendError::NotInTransaction);
    assert_eq!(producers.check(&header(1, 0, 0, 0)), outside, "not known");
    producers.begin(ProducerId(1), ProducerEpoch(0), NOW);
    assert_eq!(producers.check(&header(1, 0, 0, 0)), Ok(None));
    assert_eq!(producers.check(&header(1, 1, 0, 0)), outside, "not begun in this epoch");
    let opened = producers.record(&header(1, 0, 0, 10), None, Offset(10), Round(1), NOW);
    let first = Offset(10);
    assert_eq!(opened, Some(Event::Opened { producer: ProducerId(1), first }));
    assert_eq!(producers.record(&header(1, 0, 1, 11), None, Offset(11), Round(1), NOW), None);
    let mut plain = header(1, 0, 2, 12);
    plain.attributes = 0;
    assert_eq!(producers.check(&plain), outside, "a plain batch in a transaction");

    // Fenced while open: the marker has the new epoch.
    let abort = marker(1, 1, Ending::Abort, 12);
    assert_eq!(producers.check(&abort), Ok(None));
    let ended = producers.record(&abort, Some(Ending::Abort), Offset(12), Round(2), NOW);
    let (producer, marker_at, ending) = (ProducerId(1), Offset(12), Ending::Abort);
    let expected = Event::Ended { producer, first, marker: marker_at, ending, round: Round(2) };
    assert_eq!(ended, Some(expected));
    let fenced = producers.check(&header(1, 0, 2, 13));
    assert_eq!(fenced, Err(AppendError::ProducerFenced { current: 1, found: 0 }));
    // A marker of an older epoch ends the transaction all the same, and fences nobody less.
    let mut others = producers.clone();
    let late = marker(1, 0, Ending::Commit, 13);
    assert_eq!(others.check(&late), Ok(None));
    assert_eq!(others.record(&late, Some(Ending::Commit), Offset(13), Round(3), NOW), None);
    assert_eq!(others.check(&header(1, 0, 2, 14)), fenced);
    assert_eq!(producers.check(&header(1, 1, 0, 13)), outside, "late: it joins no other");
    assert_eq!(
        producers.record(
            &marker(1, 1, Ending::Commit, 13),
            Some(Ending::Commit),
            Offset(13),
            Round(3),
            NOW
        ),
        None,
        "nothing was written"
    );
}

#[test]
fn a_retry_after_the_end_is_answered() {
    let mut producers = Producers::default();
    producers.begin(ProducerId(1), ProducerEpoch(0), NOW);
    producers.record(&header(1, 0, 0, 10), None, Offset(10), Round(1), NOW);
    let commit = marker(1, 0, Ending::Commit, 11);
    producers.record(&commit, Some(Ending::Commit), Offset(11), Round(2), NOW);
    let original = producers.check(&header(1, 0, 0, 99)).expect("a duplicate");
    assert_eq!(original.map(|written| written.base_offset), Some(Offset(10)));
    assert_eq!(producers.check(&header(1, 0, 1, 99)), Err(AppendError::NotInTransaction));
}

/// One transaction of the model.
#[derive(Debug, Clone, Copy)]
struct Known {
    producer: i64,
    first: i64,
    /// Offset, round and ending of the marker.
    end: Option<(i64, u64, Ending)>,
}

proptest! {
    #[test]
    fn any_history_reads_as_it_was(steps in prop::collection::vec((0..4i64, 0..6u8), 0..120)) {
        let mut transactions = Transactions::default();
        let mut known: Vec<Known> = Vec::new();
        let mut batches: Vec<(i64, i64)> = Vec::new();
        for (number, (producer, what)) in steps.into_iter().enumerate() {
            let (at, round) = (number as i64, number as u64);
            let open = known.iter_mut().find(|one| one.producer == producer && one.end.is_none());
            let event = match (open, what) {
                (Some(one), 0 | 1) => {
                    let ending = if what == 0 { Ending::Abort } else { Ending::Commit };
                    one.end = Some((at, round, ending));
                    Some(Event::Ended {
                        producer: ProducerId(producer),
                        first: Offset(one.first),
                        marker: Offset(at),
                        ending,
                        round: Round(round),
                    })
                }
                (Some(_), _) => {
                    batches.push((producer, at));
                    None
                }
                (None, _) => {
                    known.push(Known { producer, first: at, end: None });
                    batches.push((producer, at));
                    Some(Event::Opened { producer: ProducerId(producer), first: Offset(at) })
                }
            };
            if let Some(event) = event {
                transactions.apply(&event);
                // As a recovery may.
                transactions.apply(&event);
            }
            let open = known.iter().filter(|one| one.end.is_none()).map(|one| one.first).min();
            prop_assert_eq!(transactions.stable(Offset(at + 1)), Offset(open.unwrap_or(at + 1)));
        }
        let last = batches.len() as i64 + known.len() as i64;
        for (producer, at) in batches {
            let its = known.iter().filter(|one| one.producer == producer && one.first <= at);
            let its = its.max_by_key(|one| one.first).expect("each batch is part of one");
            let header = header(producer, 0, 0, at);
            let aborted = matches!(its.end, Some((.., Ending::Abort)));
            prop_assert_eq!(transactions.is_aborted(&header), aborted);
            for cut in [0, at as u64, at as u64 + 3, u64::MAX] {
                let committed = matches!(its.end, Some((_, round, Ending::Commit)) if round <= cut);
                prop_assert_eq!(transactions.is_committed(&header, Round(cut)), committed);
            }
        }
        for (from, to) in [(0, last), (last / 3, last / 2), (last / 2, last)] {
            let expected: Vec<_> = known
                .iter()
                .filter_map(|one| match one.end {
                    Some((marker, _, Ending::Abort)) => Some((marker, one.first)),
                    _ => None,
                })
                .filter(|(marker, first)| *marker >= from && *first < to)
                .collect();
            let found = transactions.aborted_within(Offset(from), Offset(to));
            let mut expected: Vec<_> = expected;
            expected.sort_unstable();
            let found: Vec<_> = found.iter().map(|one| (one.marker.0, one.first.0)).collect();
            prop_assert_eq!(found, expected);
            let mut expected: Vec<_> = known
                .iter()
                .filter(|one| one.first < from)
                .filter(|one| match one.end {
                    None => true,
                    Some((marker, _, ending)) => marker >= from && ending == Ending::Commit,
                })
                .map(|one| (one.producer, one.first))
                .collect();
            expected.sort_unstable();
            let mut found: Vec<_> = transactions
                .undecided_at(Offset(from))
                .into_iter()
                .map(|(producer, first)| (producer.0, first.0))
                .collect();
            found.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
