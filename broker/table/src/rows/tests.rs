//! Sorting a step, and finding rows in it.

use super::*;
use crate::mutation::{Operation, TableId};
use anabranch_types::{Offset, PartitionId, Round, Stamp};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn mutation(table: u32, key: &[u8], round: u64, partition: u32) -> Mutation {
    Mutation {
        table: TableId(table),
        key: Bytes::copy_from_slice(key),
        stamp: Stamp { round: Round(round), partition: PartitionId(partition), offset: Offset(0) },
        operation: Operation::Delete,
    }
}

#[test]
fn a_shorter_key_comes_first_even_where_the_longer_goes_on_with_nul() {
    let mutations = [mutation(1, b"a\0\0", 1, 0), mutation(1, b"a", 1, 0), mutation(0, b"z", 1, 0)];
    assert_eq!(winners(&mutations).order, [2, 1, 0]);
}

#[test]
fn the_highest_stamp_of_a_key_stands_and_moves_are_counted() {
    let mutations = [
        mutation(1, b"k", 2, 0),
        mutation(1, b"k", 5, 1),
        mutation(1, b"k", 3, 0),
        mutation(2, b"k", 1, 0),
    ];
    let winners = winners(&mutations);
    assert_eq!(winners.order, [1, 3]);
    assert_eq!(winners.moves, 1);
}

#[test]
fn runs_are_counted_while_they_live() {
    let alive = Arc::new(AtomicU64::new(0));
    let mut builder = RowsBuilder::default();
    builder.push(b"\0\0\0\x01key", b"value");
    let run = Run::new(builder.build(), &alive);
    assert_eq!(alive.load(Relaxed), run.rows.bytes() as u64);
    drop(run);
    assert_eq!(alive.load(Relaxed), 0);
}

proptest! {
    #[test]
    fn winners_equal_a_map(
        input in vec((0..3u32, "[ab\0]{0,14}", 0..6u64, 0..2u32), 0..64),
    ) {
        let mutations: Vec<_> = input.iter()
            .map(|(table, key, round, at)| mutation(*table, key.as_bytes(), *round, *at))
            .collect();
        let mut expected: BTreeMap<(TableId, Bytes), Stamp> = BTreeMap::new();
        for m in &mutations {
            let stamp = expected.entry((m.table, m.key.clone())).or_insert(m.stamp);
            *stamp = (*stamp).max(m.stamp);
        }
        let found: Vec<_> = winners(&mutations).order.iter()
            .map(|&at| &mutations[at as usize])
            .map(|m| ((m.table, m.key.clone()), m.stamp))
            .collect();
        prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn rows_are_found(keys in btree_set("[abc]{0,4}", 0..40), probe in "[abc]{0,4}") {
        let mut builder = RowsBuilder::default();
        for key in &keys {
            builder.push(key.as_bytes(), b"");
        }
        let rows = builder.build();
        let expected = keys.iter().position(|key| *key == probe);
        prop_assert_eq!(rows.find(probe.as_bytes()), expected);
        prop_assert_eq!(rows.first_from(probe.as_bytes()), keys.range(..probe).count());
    }
}
