//! Preconditions: was a key written since it was read?

use crate::append::AppendError;
use crate::limits::{RECENT_KEYS_MAX, RECENT_KEYS_MS};
use crate::writer::RecentKeys;
use anabranch_types::{Round, Timestamp};
use proptest::prelude::*;

fn at(ms: i64) -> Timestamp {
    Timestamp(1_000_000 + ms)
}

#[test]
fn a_key_conflicts_with_older_cuts_only() {
    let mut keys = RecentKeys::new(Round(10));
    keys.add(Round(11), at(0), vec![1, 2]);
    keys.add(Round(12), at(0), vec![3]);
    let cases = [
        (1, 9, Err(AppendError::StaleCut)),
        (1, 10, Err(AppendError::Conflict)),
        (1, 11, Ok(())),
        (3, 11, Err(AppendError::Conflict)),
        (3, 12, Ok(())),
        (4, 10, Ok(())),
    ];
    for (key, cut, expected) in cases {
        assert_eq!(keys.check(key, Round(cut)), expected, "key {key}, cut {cut}");
    }
}

#[test]
fn what_is_old_and_applied_is_forgotten() {
    let mut keys = RecentKeys::new(Round(0));
    keys.add(Round(1), at(0), vec![1]);
    keys.add(Round(2), at(RECENT_KEYS_MS), vec![2]);
    // Old, but no table has it yet.
    keys.forget(at(RECENT_KEYS_MS + 1), Round(0));
    assert_eq!(keys.check(1, Round(0)), Err(AppendError::Conflict));
    keys.forget(at(RECENT_KEYS_MS + 1), Round(2));
    assert_eq!(keys.check(1, Round(0)), Err(AppendError::StaleCut));
    assert_eq!(keys.check(2, Round(1)), Err(AppendError::Conflict));
}

#[test]
fn too_many_are_forgotten_whatever_happens() {
    let mut keys = RecentKeys::new(Round(0));
    keys.add(Round(1), at(0), vec![1; RECENT_KEYS_MAX]);
    keys.add(Round(2), at(0), vec![2]);
    keys.forget(at(0), Round(0));
    assert_eq!(keys.check(1, Round(0)), Err(AppendError::StaleCut));
    assert_eq!(keys.check(2, Round(1)), Err(AppendError::Conflict));
}

proptest! {
    /// Never silent about a write that a cut did not see.
    #[test]
    fn no_write_is_missed(
        rounds in prop::collection::vec((prop::collection::vec(0..20u64, 0..5), 0..4_000i64), 1..40),
        applied in 0..40u64,
        key in 0..20u64,
        cut in 0..41u64,
    ) {
        let mut keys = RecentKeys::new(Round(0));
        let mut time = 0;
        let mut written = Vec::new();
        for (number, (hashes, later)) in rounds.iter().enumerate() {
            time += later;
            let round = Round(number as u64 + 1);
            keys.add(round, at(time), hashes.clone());
            keys.forget(at(time), Round(applied));
            written.extend(hashes.iter().map(|hash| (round, *hash)));
        }
        let conflict = written.iter().any(|(round, hash)| round.0 > cut && *hash == key);
        match keys.check(key, Round(cut)) {
            Ok(()) => prop_assert!(!conflict),
            Err(AppendError::Conflict) => prop_assert!(conflict),
            Err(AppendError::StaleCut) => prop_assert!(cut < applied),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
