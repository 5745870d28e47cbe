//! Tables over each store, against a map.

use super::*;
use crate::mutation::Row;
use crate::store::tests::{Memory, Rocks, Subject};
use crate::store::{MemoryStore, Sizes, Snapshot, Span, Write};
use crate::view::KeyRange;
use anabranch_types::{Stamp, Timestamp};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

macro_rules! on_every_store {
    ($($name:ident)*) => {
        mod memory {
            $(#[test] fn $name() { super::$name::<super::Memory>(); })*
        }
        mod rocks {
            $(#[test] fn $name() { super::$name::<super::Rocks>(); })*
        }
    };
}

on_every_store! {
    rows_are_read_back
    a_late_lower_stamp_loses
    a_delete_keeps_its_stamp_until_it_is_settled
    a_replay_meets_the_deletes_it_met_before
    a_view_does_not_change
    ranges_are_scanned
    a_dropped_table_stays_dropped
    bounds_hold_and_steps_beyond_them_pass
    a_view_that_pins_too_much_is_cancelled
    moved_keys_are_counted
    any_history_equals_a_map
}

const T: TableId = TableId(1);

fn small() -> Settings {
    Settings { runs_max: 4, run_rows_max: 24, ..Settings::default() }
}

fn open<S: Subject>(subject: &S, settings: Settings) -> Tables {
    Tables::over(subject.store(), settings).expect("it can be opened")
}

fn stamp(round: u64, partition: u32) -> Stamp {
    Stamp { round: Round(round), partition: PartitionId(partition), offset: Offset(round as i64) }
}

fn put(key: &str, round: u64, value: &str) -> Mutation {
    Mutation {
        table: T,
        key: Bytes::copy_from_slice(key.as_bytes()),
        stamp: stamp(round, 0),
        operation: Operation::Put {
            timestamp: Timestamp(round as i64 * 1_000),
            value: Bytes::copy_from_slice(value.as_bytes()),
            headers: Bytes::new(),
        },
    }
}

fn delete(key: &str, round: u64) -> Mutation {
    Mutation { operation: Operation::Delete, ..put(key, round, "") }
}

fn progress(applied: u64) -> Progress {
    Progress { applied: Round(applied), positions: vec![(PartitionId(0), Offset(applied as i64))] }
}

fn apply(tables: &Tables, applied: u64, mutations: &[Mutation]) {
    tables.apply(mutations.to_vec(), progress(applied)).expect("it can be applied");
}

fn value(tables: &Tables, key: &str) -> Option<String> {
    let row = tables.view().get(T, key.as_bytes()).expect("it can be read")?;
    Some(String::from_utf8(row.value.to_vec()).expect("tests write text"))
}

fn keys(view: &View, from: Bound<&str>, to: Bound<&str>) -> Vec<String> {
    let bytes = |key: &str| Bytes::copy_from_slice(key.as_bytes());
    let range = KeyRange { from: from.map(bytes), to: to.map(bytes) };
    view.scan(T, range)
        .map(|row| String::from_utf8(row.expect("it can be read").0.to_vec()))
        .collect::<Result<_, _>>()
        .expect("tests write text")
}

fn rows_are_read_back<S: Subject>() {
    let subject = S::new();
    let tables = open(&subject, Settings::default());
    let headers = Bytes::from_static(b"\x02\x02a\x01");
    let operation = Operation::Put {
        timestamp: Timestamp(5),
        value: Bytes::from_static(b"1"),
        headers: headers.clone(),
    };
    apply(&tables, 1, &[Mutation { operation, ..put("a", 1, "") }, put("", 1, "empty")]);
    let expected = Row {
        stamp: stamp(1, 0),
        timestamp: Timestamp(5),
        value: Bytes::from_static(b"1"),
        headers,
    };
    for _ in 0..2 {
        let view = tables.view();
        assert_eq!(view.get(T, b"a"), Ok(Some(expected.clone())));
        assert_eq!(value(&tables, ""), Some("empty".into()));
        assert_eq!(view.get(TableId(2), b"a"), Ok(None));
        let found = view
            .get_many(T, &[Bytes::from_static(b"x"), Bytes::from_static(b"a"), Bytes::new()])
            .expect("it can be read");
        assert_eq!(found[0], None);
        assert_eq!(found[1], Some(expected.clone()));
        assert_eq!(found[2].as_ref().map(|row| &row.value[..]), Some(&b"empty"[..]));
        tables.flush().expect("it can be flushed");
        assert_eq!(tables.view().runs.len(), 0);
        assert_eq!(tables.view().applied(), Round(1));
    }
    let expected = if S::DURABLE { progress(1) } else { Progress::default() };
    assert_eq!(tables.flushed(), expected);
}

fn a_late_lower_stamp_loses<S: Subject>() {
    let subject = S::new();
    let tables = open(&subject, Settings::default());
    apply(&tables, 5, &[put("a", 5, "five"), put("a", 4, "four"), put("b", 5, "five")]);
    assert_eq!(value(&tables, "a"), Some("five".into()));
    apply(&tables, 6, &[put("a", 3, "three"), put("c", 2, "two")]);
    assert_eq!(value(&tables, "a"), Some("five".into()));
    assert_eq!(value(&tables, "c"), Some("two".into()));
    tables.flush().expect("it can be flushed");
    apply(&tables, 7, &[put("a", 5, "five again"), put("b", 7, "seven"), put("c", 1, "one")]);
    assert_eq!(value(&tables, "a"), Some("five".into()));
    assert_eq!(value(&tables, "b"), Some("seven".into()));
    assert_eq!(value(&tables, "c"), Some("two".into()));
    apply(&tables, 8, &[put("b", 6, "six"), put("c", 3, "three")]);
    assert_eq!(value(&tables, "b"), Some("seven".into()));
    assert_eq!(value(&tables, "c"), Some("three".into()));
    assert_eq!(tables.stats().superseded, 4);
    assert_eq!(tables.stats().mutations, 10);
}

fn a_delete_keeps_its_stamp_until_it_is_settled<S: Subject>() {
    let subject = S::new();
    let tables = open(&subject, Settings::default());
    apply(&tables, 5, &[put("a", 1, "one"), put("b", 1, "one")]);
    apply(&tables, 6, &[delete("a", 5)]);
    for round in 7..9 {
        apply(&tables, round, &[put("a", 4, "four")]);
        assert_eq!(value(&tables, "a"), None);
        tables.flush().expect("it can be flushed");
    }
    let held = tables.view();
    tables.settle(Round(6));
    apply(&tables, 9, &[delete("b", 9)]);
    tables.flush().expect("it can be flushed");
    subject.tidy();
    assert_eq!((value(&tables, "a"), value(&tables, "b")), (None, None));
    let stored = |key: &str| {
        subject.store().snapshot().get(&codec::key(T, key.as_bytes())).expect("it can be read")
    };
    assert_eq!(stored("a"), None, "settled deletes take no space");
    assert!(stored("b").is_some(), "others do");
    assert_eq!(keys(&held, Bound::Unbounded, Bound::Unbounded), ["b"]);
}

/// A promise holds for what comes, not for what comes again.
fn a_replay_meets_the_deletes_it_met_before<S: Subject>() {
    let subject = S::new();
    let tables = open(&subject, Settings::default());
    let steps = [vec![put("a", 1, "one")], vec![delete("a", 5)], vec![put("a", 2, "two")]];
    apply(&tables, 1, &steps[0]);
    apply(&tables, 5, &steps[1]);
    tables.flush().expect("it can be flushed");
    apply(&tables, 6, &steps[2]);
    tables.settle(Round(10));
    subject.tidy();
    let left = subject.kill();
    drop(tables);
    let tables = open(&left, Settings::default());
    let contained = if S::DURABLE { 2 } else { 0 };
    for (step, applied) in steps.iter().zip([1, 5, 6]).skip(contained) {
        apply(&tables, applied, step);
    }
    assert_eq!(value(&tables, "a"), None);
}

fn a_view_does_not_change<S: Subject>() {
    let subject = S::new();
    let tables = open(&subject, small());
    apply(&tables, 1, &[put("a", 1, "one"), put("b", 1, "one")]);
    let before = tables.view();
    let mut scan = before.scan(T, KeyRange::ALL);
    assert!(scan.next().is_some());
    for round in 2..40 {
        apply(&tables, round, &[put("b", round, "later"), put(&format!("c{round}"), round, "x")]);
    }
    apply(&tables, 40, &[delete("a", 40)]);
    tables.flush().expect("it can be flushed");
    let (key, row) = scan.next().expect("there are two").expect("it can be read");
    assert_eq!((&key[..], &row.value[..]), (&b"b"[..], &b"one"[..]));
    assert!(scan.next().is_none());
    assert_eq!(keys(&before, Bound::Unbounded, Bound::Unbounded), ["a", "b"]);
    assert_eq!(before.applied(), Round(1));
    assert_eq!(tables.view().scan(T, KeyRange::ALL).count(), 39);
}

fn ranges_are_scanned<S: Subject>() {
    use Bound::{Excluded, Included, Unbounded};
    let subject = S::new();
    let tables = open(&subject, Settings::default());
    apply(&tables, 1, &[put("a", 1, ""), put("b", 1, ""), put("c", 1, ""), put("d", 1, "")]);
    tables.flush().expect("it can be flushed");
    apply(&tables, 2, &[delete("b", 2), put("ab", 2, ""), put("d", 2, "")]);
    apply(&tables, 3, &[put("e", 3, ""), put("ab", 3, ""), put("\0", 3, "")]);
    let other = Mutation { table: TableId(2), ..put("other", 4, "") };
    apply(&tables, 4, &[other]);
    let view = tables.view();
    let check = |from, to, expected: &[&str]| assert_eq!(keys(&view, from, to), expected);
    check(Unbounded, Unbounded, &["\0", "a", "ab", "c", "d", "e"]);
    check(Included("a"), Included("c"), &["a", "ab", "c"]);
    check(Excluded("a"), Excluded("c"), &["ab"]);
    check(Included("b"), Unbounded, &["c", "d", "e"]);
    check(Unbounded, Excluded("a"), &["\0"]);
    check(Included("e"), Excluded("e"), &[]);
    check(Included("e"), Included("e"), &["e"]);
    check(Included("e"), Included("a"), &[]);
    assert_eq!(view.scan(TableId(3), KeyRange::ALL).count(), 0);
}

fn a_dropped_table_stays_dropped<S: Subject>() {
    let subject = S::new();
    let tables = open(&subject, Settings::default());
    let other = Mutation { table: TableId(2), ..put("a", 1, "other") };
    apply(&tables, 1, &[put("a", 1, "one"), other]);
    tables.flush().expect("it can be flushed");
    apply(&tables, 2, &[put("b", 2, "two")]);
    let before = tables.view();
    tables.drop_table(T).expect("it can be dropped");
    apply(&tables, 3, &[put("c", 3, "three")]);
    let check = |tables: &Tables| {
        let view = tables.view();
        assert_eq!(view.scan(T, KeyRange::ALL).count(), 0);
        assert_eq!(view.get(T, b"a"), Ok(None));
        assert_eq!(view.get_many(T, &[Bytes::from_static(b"c")]), Ok(vec![None]));
        assert_eq!(tables.approximate_bytes(T), 0);
    };
    check(&tables);
    assert_eq!(keys(&before, Bound::Unbounded, Bound::Unbounded), ["a", "b"]);
    assert_eq!(tables.view().scan(TableId(2), KeyRange::ALL).count(), 1);
    let left = subject.kill();
    drop((before, tables));
    if S::DURABLE {
        let tables = open(&left, Settings::default());
        assert_eq!(tables.view().scan(TableId(2), KeyRange::ALL).count(), 1);
        apply(&tables, 3, &[put("c", 3, "three")]);
        check(&tables);
    }
}

fn bounds_hold_and_steps_beyond_them_pass<S: Subject>() {
    let subject = S::new();
    let tables = open(&subject, small());
    let mut round = 0;
    for step in [1, 1, 1, 1, 1, 1, 20, 20, 100, 1, 30, 13, 13, 12] {
        round += 1;
        let mutations: Vec<_> =
            (0..step).map(|n| put(&format!("{round}-{n}"), round, "value")).collect();
        apply(&tables, round, &mutations);
        let view = tables.view();
        assert!(view.runs.len() <= 4 && (view.rows <= 24 || view.runs.len() == 1));
    }
    assert_eq!(tables.view().scan(T, KeyRange::ALL).count(), 215);
    assert_eq!(tables.view().applied(), Round(round));
    assert!(tables.stats().writes > 0);
}

fn a_view_that_pins_too_much_is_cancelled<S: Subject>() {
    let subject = S::new();
    let tables = open(&subject, Settings { pinned_bytes_max: 2_000, ..small() });
    apply(&tables, 1, &[put("a", 1, &"x".repeat(1_500))]);
    let first = tables.view();
    let mut scan = first.scan(T, KeyRange::ALL);
    tables.flush().expect("it can be flushed");
    assert!(first.get(T, b"a").is_ok(), "one is within the bound");
    apply(&tables, 2, &[put("b", 2, &"x".repeat(1_500))]);
    let second = tables.view();
    tables.flush().expect("it can be flushed");
    assert_eq!(first.get(T, b"a"), Err(Error::Cancelled));
    assert!(matches!(scan.next(), Some(Err(Error::Cancelled))));
    assert!(scan.next().is_none(), "a scan ends with its error");
    assert!(second.get(T, b"a").is_ok(), "the oldest goes first");
    drop(scan);
    drop(first);
    apply(&tables, 3, &[]);
    assert!(second.get(T, b"a").is_ok());
    assert_eq!(tables.stats().cancelled, 1);
}

fn moved_keys_are_counted<S: Subject>() {
    let subject = S::new();
    let tables = open(&subject, Settings::default());
    let from = |round, partition| Mutation { stamp: stamp(round, partition), ..put("a", 1, "") };
    apply(&tables, 2, &[from(1, 0), from(2, 1)]);
    assert_eq!(tables.stats().keys_moved, 1);
    apply(&tables, 3, &[from(3, 0)]);
    tables.flush().expect("it can be flushed");
    assert_eq!(tables.stats().keys_moved, 2);
    apply(&tables, 4, &[from(4, 1)]);
    tables.flush().expect("it can be flushed");
    assert_eq!(tables.stats().keys_moved, 3);
}

#[test]
fn what_is_not_written_is_bounded() {
    let subject = Rocks::new();
    let tables = open(&subject, Settings { flush_bytes: 10_000, ..Settings::default() });
    for round in 1..50 {
        apply(&tables, round, &[put("same", round, &"x".repeat(1_000))]);
    }
    // The writer works beside us: it has to come to a flush, whenever that is.
    while tables.flushed().applied < Round(10) {
        std::thread::yield_now();
    }
    assert!(tables.stats().disk_bytes > 0);
}

#[test]
fn directories_are_opened_again_and_only_once_at_a_time() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let (tables, found) = Tables::open(directory.path()).expect("it can be opened");
    assert_eq!(found, Progress::default());
    apply(&tables, 3, &[put("a", 3, "three")]);
    assert_eq!(tables.flush(), Ok(progress(3)));
    let Err(Error::Store(message)) = Tables::open(directory.path()).map(drop) else {
        panic!("two brokers on one directory");
    };
    assert!(message.contains("another broker"), "{message}");
    drop(tables);
    let (tables, found) = Tables::open(directory.path()).expect("it can be opened");
    assert_eq!(found, progress(3));
    assert_eq!(value(&tables, "a"), Some("three".into()));
}

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// Mutations: table, key, rounds below the present one, partition, whether it is a delete.
    Apply(Vec<(u8, u8, u64, u8, bool)>),
    Flush,
    /// Killed, opened and replayed, from this many steps before what was flushed.
    Kill(usize),
    Drop(u8),
    /// No stamp lies further below the present round from now on.
    Settle(u64),
    Hold,
    Tidy,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let mutation =
        (0..3u8, 0..8u8, prop_oneof![3 => Just(0), 1 => 0..12u64], 0..2u8, any::<bool>());
    let step = prop_oneof![
        16 => proptest::collection::vec(mutation, 0..10).prop_map(Step::Apply),
        2 => Just(Step::Flush),
        2 => (0..3usize).prop_map(Step::Kill),
        1 => (0..3u8).prop_map(Step::Drop),
        1 => (0..6u64).prop_map(Step::Settle),
        2 => Just(Step::Hold),
        1 => Just(Step::Tidy),
    ];
    proptest::collection::vec(step, 0..50)
}

fn any_history_equals_a_map<S: Subject>() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(S::CASES));
    runner
        .run(&steps(), |steps| {
            History::<S>::new().play(&steps);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

/// What was done, and what it should have come to.
struct History<S> {
    held: Vec<(Arc<View>, Model)>,
    /// `None` only while it is killed. The store's directory goes last.
    live: Option<(Tables, S)>,
    /// Step n was applied with progress n + 1.
    applied: Vec<Vec<Mutation>>,
    dropped: BTreeSet<TableId>,
    /// No stamp has a lower round.
    horizon: u64,
    /// How much was applied when that was promised.
    settled: Vec<usize>,
}

/// The mutation that stands, of each key.
type Model = BTreeMap<(TableId, Bytes), Mutation>;

impl<S: Subject> History<S> {
    fn new() -> Self {
        let subject = S::new();
        let tables = open(&subject, small());
        Self {
            held: Vec::new(),
            live: Some((tables, subject)),
            applied: Vec::new(),
            dropped: BTreeSet::new(),
            horizon: 0,
            settled: Vec::new(),
        }
    }

    fn tables(&self) -> &Tables {
        &self.live.as_ref().expect("it lives between steps").0
    }

    fn play(mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Apply(mutations) => self.apply(mutations),
                Step::Flush => {
                    let found = self.tables().flush().expect("it can be flushed");
                    let all = if S::DURABLE { self.applied.len() as u64 } else { 0 };
                    assert_eq!(found.applied, Round(all));
                }
                Step::Kill(before) => self.kill(*before),
                Step::Drop(table) => {
                    let table = TableId(u32::from(*table));
                    self.tables().drop_table(table).expect("it can be dropped");
                    self.dropped.insert(table);
                }
                Step::Settle(below) => {
                    self.horizon =
                        self.horizon.max((self.applied.len() as u64).saturating_sub(*below));
                    self.tables().settle(Round(self.horizon));
                    self.settled.push(self.applied.len());
                }
                Step::Hold => {
                    self.held.push((self.tables().view(), self.model(self.applied.len())));
                }
                Step::Tidy => self.live.as_ref().expect("it lives").1.tidy(),
            }
            check(&self.tables().view(), &self.model(self.applied.len()));
        }
        self.held.iter().for_each(|(view, model)| check(view, model));
    }

    fn apply(&mut self, mutations: &[(u8, u8, u64, u8, bool)]) {
        let round = self.applied.len() as u64 + 1;
        let mutations = mutations.iter().enumerate().map(|(at, mutation)| {
            let (table, key, below, partition, delete) = *mutation;
            let stamp = Stamp {
                round: Round(round.saturating_sub(below).max(self.horizon)),
                partition: PartitionId(u32::from(partition)),
                // No two mutations have one stamp.
                offset: Offset((round * 100) as i64 + at as i64),
            };
            let operation = if delete {
                Operation::Delete
            } else {
                Operation::Put {
                    timestamp: Timestamp(round as i64),
                    value: Bytes::from(format!("{round}/{at}")),
                    headers: Bytes::new(),
                }
            };
            let (table, key) = (TableId(u32::from(table)), Bytes::from(vec![b'a' + key; 3]));
            Mutation { table, key, stamp, operation }
        });
        let mutations: Vec<_> = mutations.collect();
        apply(self.tables(), round, &mutations);
        self.applied.push(mutations);
    }

    fn kill(&mut self, before: usize) {
        self.held.drain(..).for_each(|(view, model)| check(&view, &model));
        let (tables, subject) = self.live.take().expect("it lives between steps");
        let left = subject.kill();
        drop(tables);
        let subject = left;
        let tables = open(&subject, small());
        let found = tables.view().progress().clone();
        assert_eq!(tables.flushed(), found);
        let from = found.applied.0 as usize;
        let expected = if from == 0 { Progress::default() } else { progress(from as u64) };
        assert_eq!(found, expected);
        let kept = |model: Model| if S::DURABLE { model } else { Model::new() };
        check(&tables.view(), &kept(self.model(from)));
        if !S::DURABLE {
            // Nothing is left, not even what was dropped: that is the catalog's to know.
            for table in &self.dropped {
                tables.drop_table(*table).expect("it can be dropped");
            }
        }
        // What was applied before a promise may be below it: it does not come again once the
        // promise holds for the restart.
        let settled = self.settled.iter().copied().filter(|at| *at <= from).max().unwrap_or(0);
        for step in from.saturating_sub(before).max(settled)..self.applied.len() {
            // What was contained already changes nothing in the end; it does not go back either.
            let applied = (step as u64 + 1).max(found.applied.0);
            apply(&tables, applied, &self.applied[step]);
        }
        self.live = Some((tables, subject));
    }

    /// What stands after so many steps.
    fn model(&self, steps: usize) -> Model {
        let mut model = Model::new();
        for mutation in self.applied[..steps].iter().flatten() {
            if self.dropped.contains(&mutation.table) {
                continue;
            }
            let standing = model
                .entry((mutation.table, mutation.key.clone()))
                .or_insert_with(|| mutation.clone());
            if mutation.stamp > standing.stamp {
                standing.clone_from(mutation);
            }
        }
        model
    }
}

/// Reads everything in every way.
fn check(view: &View, model: &Model) {
    for table in (0..3).map(TableId) {
        let row = |mutation: &Mutation| match &mutation.operation {
            Operation::Delete => None,
            Operation::Put { timestamp, value, headers } => Some(Row {
                stamp: mutation.stamp,
                timestamp: *timestamp,
                value: value.clone(),
                headers: headers.clone(),
            }),
        };
        let keys: Vec<_> = (0..9).rev().map(|key| Bytes::from(vec![b'a' + key; 3])).collect();
        let expected: Vec<_> =
            keys.iter().map(|key| model.get(&(table, key.clone())).and_then(row)).collect();
        assert_eq!(view.get_many(table, &keys), Ok(expected.clone()));
        for (key, expected) in keys.iter().zip(&expected) {
            assert_eq!(view.get(table, key), Ok(expected.clone()));
        }
        let rows = |from: usize, to: usize| {
            let rows = keys.iter().zip(&expected).rev().skip(from).take(to - from);
            rows.filter_map(|(key, row)| Some((key.clone(), row.clone()?))).collect::<Vec<_>>()
        };
        let scan = |range| view.scan(table, range).collect::<Result<Vec<_>, _>>();
        assert_eq!(scan(KeyRange::ALL), Ok(rows(0, 9)));
        let from = Bound::Included(Bytes::from_static(b"ccc"));
        assert_eq!(scan(KeyRange { from, to: Bound::Included(keys[2].clone()) }), Ok(rows(2, 7)));
    }
}

/// A store on a disk that can be full.
struct OnDisk {
    store: MemoryStore,
    is_full: AtomicBool,
}

impl Store for OnDisk {
    fn write(
        &self,
        spans: &[Span],
        writes: &mut dyn Iterator<Item = Write<'_>>,
    ) -> Result<(), Error> {
        match self.is_full.load(Ordering::SeqCst) {
            true => Err(Error::Full("as it is".to_owned())),
            false => self.store.write(spans, writes),
        }
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.store.snapshot()
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn settle(&self, horizon: Round) {
        self.store.settle(horizon);
    }

    fn copy(&self, directory: &Path) -> Result<bool, Error> {
        self.store.copy(directory)
    }

    fn sizes(&self) -> Sizes {
        self.store.sizes()
    }

    fn range_bytes(&self, from: &[u8], to: &[u8]) -> u64 {
        self.store.range_bytes(from, to)
    }
}

#[test]
fn a_full_disk_ends_nothing() {
    let disk = Arc::new(OnDisk { store: MemoryStore::default(), is_full: AtomicBool::new(true) });
    let tables = Tables::over(disk.clone(), Settings::default()).expect("it can be opened");
    apply(&tables, 1, &[put("a", 1, "one")]);
    let error = tables.flush().expect_err("there is no space");
    assert!(matches!(error, Error::Full(_)), "{error}");
    apply(&tables, 2, &[put("b", 2, "two")]);
    assert_eq!(tables.view().applied(), Round(2));
    assert_eq!(value(&tables, "a").as_deref(), Some("one"));
    assert_eq!(value(&tables, "b").as_deref(), Some("two"));
    assert_eq!(tables.flushed().applied, Round(0));
    disk.is_full.store(false, Ordering::SeqCst);
    assert_eq!(tables.flush().expect("there is space").applied, Round(2));
    assert_eq!(value(&tables, "a").as_deref(), Some("one"));
    disk.is_full.store(true, Ordering::SeqCst);
    tables.drop_table(T).expect_err("there is no space again");
}
