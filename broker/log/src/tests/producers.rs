//! Idempotent producers (KIP-98).

use super::from_producer;
use crate::append::AppendError;
use crate::codec::Reader;
use crate::limits::{PRODUCER_BATCHES, PRODUCER_EXPIRES_MS, PRODUCERS_MAX};
use crate::producers::{Producers, Written};
use anabranch_types::{Offset, Round, Sequence, Timestamp};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_000);

/// Producer 1, epoch 3, has written so many batches of two records each.
fn after(batches: i32, first: i32) -> Producers {
    let mut producers = Producers::default();
    let mut sequence = Sequence(first);
    for number in 0..batches {
        let header = from_producer(1, 3, sequence.0, 2);
        assert_eq!(producers.check(&header), Ok(None), "batch {number}");
        let offset = Offset(100 + 2 * i64::from(number));
        producers.record(&header, None, offset, Round(10 + number as u64), NOW);
        sequence = sequence.plus(2);
    }
    producers
}

#[test]
fn kip_98() {
    let producers = after(7, 0);
    let written = |number: i32| Written {
        first: Sequence(2 * number),
        last: Sequence(2 * number + 1),
        base_offset: Offset(100 + 2 * i64::from(number)),
        round: Round(10 + number as u64),
    };
    let out_of_order = |expected, found| Err(AppendError::OutOfOrderSequence { expected, found });
    let cases = [
        ("the next", (3, 14, 2), Ok(None)),
        ("the next, of another size", (3, 14, 5), Ok(None)),
        ("the last again", (3, 12, 2), Ok(Some(written(6)))),
        ("the fifth last again", (3, 4, 2), Ok(Some(written(2)))),
        ("the sixth last again", (3, 2, 2), out_of_order(14, 2)),
        ("a part of the last", (3, 12, 1), out_of_order(14, 12)),
        ("a gap", (3, 15, 2), out_of_order(14, 15)),
        ("an old epoch", (2, 14, 2), Err(AppendError::ProducerFenced { current: 3, found: 2 })),
        ("a new epoch from 0", (4, 0, 2), Ok(None)),
        ("a new epoch from elsewhere", (4, 14, 2), out_of_order(0, 14)),
    ];
    for (name, (epoch, sequence, count), expected) in cases {
        assert_eq!(producers.check(&from_producer(1, epoch, sequence, count)), expected, "{name}");
    }
    let unknown = from_producer(2, 0, 77, 1);
    assert_eq!(producers.check(&unknown), Ok(None), "its state may have expired");
    let none = from_producer(-1, -1, -1, 1);
    assert_eq!(producers.check(&none), Ok(None));
}

#[test]
fn a_new_epoch_forgets_the_old_ones_batches() {
    let mut producers = after(2, 0);
    producers.record(&from_producer(1, 4, 0, 2), None, Offset(200), Round(20), NOW);
    let again = producers.check(&from_producer(1, 4, 0, 2));
    assert_eq!(again.map(|written| written.map(|batch| batch.base_offset)), Ok(Some(Offset(200))));
    let fenced = AppendError::ProducerFenced { current: 4, found: 3 };
    assert_eq!(producers.check(&from_producer(1, 3, 4, 2)), Err(fenced));
}

#[test]
fn sequences_wrap_to_zero() {
    // 2³¹−3…2³¹−2, then 2³¹−1…0, then 1…2.
    let producers = after(3, i32::MAX - 2);
    let middle = producers.check(&from_producer(1, 3, i32::MAX, 2));
    assert_eq!(middle.map(|found| found.map(|batch| batch.last)), Ok(Some(Sequence(0))));
    assert_eq!(producers.check(&from_producer(1, 3, 3, 1)), Ok(None));
    let error = AppendError::OutOfOrderSequence { expected: 3, found: 0 };
    assert_eq!(producers.check(&from_producer(1, 3, 0, 1)), Err(error));
}

#[test]
fn the_silent_are_forgotten() {
    let mut producers = after(1, 0);
    producers.expire(Timestamp(NOW.0 + PRODUCER_EXPIRES_MS - 1));
    assert!(producers.check(&from_producer(1, 3, 0, 2)).expect("known").is_some());
    producers.expire(Timestamp(NOW.0 + PRODUCER_EXPIRES_MS));
    assert_eq!(producers.check(&from_producer(1, 3, 0, 2)), Ok(None), "it starts anew");
}

#[test]
fn of_too_many_the_one_that_wrote_longest_ago_is_forgotten() {
    let mut producers = Producers::default();
    for id in 0..=PRODUCERS_MAX as i64 {
        // The first is not the one that has been silent for longest.
        let time = if id == 0 { NOW.0 + 1_000_000 } else { NOW.0 + id };
        producers.record(&from_producer(id, 0, 0, 1), None, Offset(id), Round(1), Timestamp(time));
    }
    let known = |id| producers.check(&from_producer(id, 0, 0, 1)).expect("in order").is_some();
    assert!(known(0) && !known(1) && known(2) && known(PRODUCERS_MAX as i64));
}

proptest! {
    #[test]
    fn a_checkpoint_keeps_them(
        batches in prop::collection::vec((0..5i64, 0..3i16, 0..9i32, 1..4i32), 0..40),
    ) {
        let mut producers = Producers::default();
        for (number, (id, epoch, sequence, count)) in batches.iter().enumerate() {
            let header = from_producer(*id, *epoch, *sequence, *count);
            producers.record(&header, None, Offset(number as i64), Round(number as u64), NOW);
        }
        let mut bytes = Vec::new();
        producers.encode(&mut bytes);
        let mut fields = Reader(&bytes);
        prop_assert_eq!(Producers::decode(&mut fields), Some(producers));
        prop_assert!(fields.0.is_empty());
        for cut in 0..bytes.len() {
            prop_assert_eq!(Producers::decode(&mut Reader(&bytes[..cut])), None);
        }
    }

    /// Whatever comes in whatever order: a batch that was written is never written twice while
    /// its producer has at most five behind it.
    #[test]
    fn no_duplicates(order in prop::collection::vec(0..12i32, 0..60)) {
        let mut producers = Producers::default();
        let mut written = Vec::new();
        for number in order {
            let header = from_producer(1, 0, 3 * number, 3);
            match producers.check(&header) {
                Ok(None) => {
                    prop_assert!(!written.contains(&number));
                    if let Some(last) = written.last() {
                        prop_assert_eq!(number, last + 1);
                    }
                    producers.record(&header, None, Offset(i64::from(number)), Round(1), NOW);
                    written.push(number);
                }
                Ok(Some(original)) => {
                    prop_assert_eq!(original.base_offset, Offset(i64::from(number)));
                    let behind = written.iter().filter(|other| **other > number).count();
                    prop_assert!(behind < PRODUCER_BATCHES);
                }
                Err(_) => {}
            }
        }
    }
}
