//! What every store must do. Each test here runs on each of them.

use super::*;
use crate::codec;
use crate::mutation::{Mutation, Operation, TableId};
use crate::tables::Settings;
use anabranch_types::{Offset, PartitionId, Stamp};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

/// A store that can be killed.
pub(crate) trait Subject: Sized {
    type Store: Store + 'static;

    /// An empty store.
    fn new() -> Self;

    /// The store.
    fn store(&self) -> Arc<Self::Store>;

    /// What is left when the process is killed.
    fn kill(&self) -> Self;

    /// Whether what was written survives that.
    const DURABLE: bool;

    /// Histories to play: fewer where each takes longer.
    const CASES: u32;

    /// Gives the store occasion to forget what it may.
    fn tidy(&self);
}

pub(crate) struct Memory(Arc<MemoryStore>);

impl Subject for Memory {
    type Store = MemoryStore;
    const DURABLE: bool = false;
    const CASES: u32 = 256;

    fn new() -> Self {
        Self(Arc::default())
    }

    fn store(&self) -> Arc<MemoryStore> {
        self.0.clone()
    }

    fn kill(&self) -> Self {
        Self::new()
    }

    fn tidy(&self) {
        self.0.write(&[], &mut [].into_iter()).expect("memory does not fail");
    }
}

pub(crate) struct Rocks {
    store: Arc<RocksStore>,
    _directory: TempDir,
}

impl Rocks {
    fn open(directory: TempDir) -> Self {
        let settings = Settings { block_cache_bytes: 1 << 20, ..Settings::default() };
        let store = RocksStore::open(directory.path(), &settings).expect("it can be opened");
        Self { store: Arc::new(store), _directory: directory }
    }
}

/// In memory where there is such a place: what a kill leaves does not depend on the disk, and each
/// history syncs a hundred times.
fn directory() -> TempDir {
    let shared_memory = Path::new("/dev/shm");
    let made = if shared_memory.is_dir() {
        tempfile::tempdir_in(shared_memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a directory can be made")
}

impl Subject for Rocks {
    type Store = RocksStore;
    const DURABLE: bool = true;
    const CASES: u32 = 64;

    fn new() -> Self {
        Self::open(directory())
    }

    fn store(&self) -> Arc<RocksStore> {
        self.store.clone()
    }

    fn kill(&self) -> Self {
        let directory = directory();
        self.store.copy_as_killed(directory.path());
        Self::open(directory)
    }

    fn tidy(&self) {
        self.store.compact();
    }
}

/// Runs each function on each store.
macro_rules! on_every_store {
    ($($(#[$attribute:meta])* $name:ident)*) => {
        mod memory {
            $(#[test] fn $name() { super::$name::<super::Memory>(); })*
        }
        mod rocks {
            $(#[test] fn $name() { super::$name::<super::Rocks>(); })*
        }
    };
}

on_every_store! {
    an_empty_store_has_nothing
    snapshots_do_not_change
    spans_are_removed_before_rows_are_written
    cursors_keep_to_their_range
    pieces_hold_at_least_one_row
    many_keys_are_read_at_once
    what_was_written_survives
    deletes_vanish_when_settled
    any_history_equals_a_map
}

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

fn write(store: &impl Store, writes: &[Write<'_>]) {
    store.write(&[], &mut writes.iter().copied()).expect("it can be written");
}

fn span(from: &[u8], to: &[u8]) -> Span {
    (from.to_vec(), to.to_vec())
}

fn put<'a>(key: &'a [u8], stored: &'a [u8]) -> Write<'a> {
    Write::Put { key, stored }
}

/// All rows from `from` to `to`, taken in pieces of about `bytes`.
fn content(snapshot: &dyn Snapshot, from: &[u8], to: &[u8], bytes: usize) -> Content {
    let mut cursor = snapshot.cursor(from, to);
    let mut content = Content::new();
    loop {
        let rows = cursor.next(bytes).expect("it can be read");
        if rows.is_empty() {
            return content;
        }
        for row in 0..rows.len() {
            let (key, stored) = (rows.key(row).to_vec(), rows.stored(row).to_vec());
            assert!(content.last_key_value().is_none_or(|last| *last.0 < key), "out of order");
            content.insert(key, stored);
        }
    }
}

fn all(store: &impl Store) -> Content {
    content(&*store.snapshot(), b"", &codec::OWN.0.to_be_bytes(), 1 << 20)
}

fn expect(rows: &[(&str, &str)]) -> Content {
    rows.iter().map(|(key, stored)| (key.as_bytes().to_vec(), stored.as_bytes().to_vec())).collect()
}

fn an_empty_store_has_nothing<S: Subject>() {
    let subject = S::new();
    let store = subject.store();
    assert_eq!(all(&*store), expect(&[]));
    assert_eq!(store.snapshot().get(b"key"), Ok(None));
    assert_eq!(store.is_durable(), S::DURABLE);
    store.write(&[], &mut [].into_iter()).expect("nothing can be written");
}

fn snapshots_do_not_change<S: Subject>() {
    let subject = S::new();
    let store = subject.store();
    write(&*store, &[put(b"a", b"1"), put(b"b", b"1"), put(b"c", b"1")]);
    let before = store.snapshot();
    let mut cursor = before.cursor(b"", b"z");
    assert_eq!(cursor.next(1).expect("it can be read").key(0), b"a");
    write(&*store, &[put(b"b", b"2"), Write::Delete { key: b"c" }, put(b"d", b"2")]);
    store.write(&[span(b"a", b"c")], &mut [].into_iter()).expect("it can be written");
    let rows = cursor.next(1).expect("it can be read");
    assert_eq!((rows.key(0), rows.stored(0)), (&b"b"[..], &b"1"[..]));
    assert_eq!(content(&*before, b"", b"z", 1), expect(&[("a", "1"), ("b", "1"), ("c", "1")]));
    assert_eq!(before.get(b"b"), Ok(Some(Bytes::from_static(b"1"))));
    assert_eq!(before.get(b"d"), Ok(None));
    assert_eq!(all(&*store), expect(&[("d", "2")]));
    drop(cursor);
    drop(before);
    write(&*store, &[put(b"b", b"3")]);
    assert_eq!(all(&*store), expect(&[("b", "3"), ("d", "2")]));
}

fn spans_are_removed_before_rows_are_written<S: Subject>() {
    let subject = S::new();
    let store = subject.store();
    write(&*store, &[put(b"a", b"1"), put(b"b", b"1"), put(b"c", b"1"), put(b"e", b"1")]);
    let spans = [span(b"e", b"f"), span(b"a", b"b"), span(b"a", b"a\0")];
    let writes = [put(b"c", b""), Write::Delete { key: b"d" }, put(b"f", b"2")];
    store.write(&spans, &mut writes.into_iter()).expect("it can be written");
    assert_eq!(all(&*store), expect(&[("b", "1"), ("c", ""), ("f", "2")]));
}

fn cursors_keep_to_their_range<S: Subject>() {
    let subject = S::new();
    let store = subject.store();
    write(&*store, &[put(b"a", b"1"), put(b"a\0", b"2"), put(b"b", b"3"), put(b"\xff", b"4")]);
    let snapshot = store.snapshot();
    let keys = |from: &[u8], to: &[u8]| content(&*snapshot, from, to, 1).into_keys().collect();
    let check = |from: &[u8], to: &[u8], expected: &[&[u8]]| {
        let found: Vec<Vec<u8>> = keys(from, to);
        assert_eq!(found, expected, "{from:?} to {to:?}");
    };
    check(b"a", b"b", &[b"a", b"a\0"]);
    check(b"a\0", b"b\0", &[b"a\0", b"b"]);
    check(b"c", b"\xff", &[]);
    check(b"c", b"\xff\0", &[b"\xff"]);
    check(b"b", b"b", &[]);
    check(b"b", b"a", &[]);
}

fn pieces_hold_at_least_one_row<S: Subject>() {
    let subject = S::new();
    let store = subject.store();
    let large = vec![7; 100_000];
    write(&*store, &[put(b"a", &large), put(b"b", b"1"), put(b"c", b"2")]);
    let snapshot = store.snapshot();
    let mut cursor = snapshot.cursor(b"", b"z");
    let mut lengths = Vec::new();
    loop {
        let rows = cursor.next(10).expect("it can be read");
        lengths.push(rows.len());
        if rows.is_empty() {
            break;
        }
    }
    assert_eq!(lengths[0], 1);
    assert_eq!(lengths.iter().sum::<usize>(), 3);
    assert!(cursor.next(10).expect("the end stays the end").is_empty());
}

fn many_keys_are_read_at_once<S: Subject>() {
    let subject = S::new();
    let store = subject.store();
    let keys: Vec<_> = (0..3_000u32).map(|n| n.to_be_bytes()).collect();
    let writes: Vec<_> = keys.iter().step_by(2).map(|key| put(key, key)).collect();
    write(&*store, &writes[..1_000]);
    write(&*store, &writes[1_000..]);
    let sought: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let found = store.snapshot().get_many(&sought).expect("it can be read");
    for (at, (key, found)) in keys.iter().zip(found).enumerate() {
        let expected = (at % 2 == 0).then(|| Bytes::copy_from_slice(key));
        assert_eq!(found, expected, "key {at}");
    }
    assert_eq!(store.snapshot().get_many(&[b"x", b"x"]), Ok(vec![None, None]));
    assert_eq!(store.snapshot().get_many(&[]), Ok(vec![]));
}

fn what_was_written_survives<S: Subject>() {
    let subject = S::new();
    let store = subject.store();
    write(&*store, &[put(b"a", b"1"), put(b"c", b"1")]);
    store.write(&[span(b"a", b"b")], &mut [put(b"b", b"2")].into_iter()).expect("it can");
    let left = subject.kill();
    let expected = if S::DURABLE { expect(&[("b", "2"), ("c", "1")]) } else { expect(&[]) };
    assert_eq!(all(&*left.store()), expected);
    write(&*left.store(), &[put(b"a", b"3")]);
    assert_eq!(all(&*left.store()).len(), expected.len() + 1);
}

fn deletes_vanish_when_settled<S: Subject>() {
    let subject = S::new();
    let store = subject.store();
    let stored = |round, operation| {
        let stamp = Stamp { round: Round(round), partition: PartitionId(0), offset: Offset(0) };
        let mut out = Vec::new();
        let (table, key) = (TableId(0), Bytes::new());
        codec::put_mutation(&mut out, &Mutation { table, key, stamp, operation });
        out
    };
    let value = Bytes::from_static(b"v");
    let row =
        Operation::Put { timestamp: anabranch_types::Timestamp(0), value, headers: Bytes::new() };
    let (row, early, late) =
        (stored(1, row), stored(4, Operation::Delete), stored(5, Operation::Delete));
    write(&*store, &[put(b"\0\0\0\0a", &row), put(b"\0\0\0\0b", &row), put(b"\0\0\0\0c", &row)]);
    subject.tidy();
    let before = store.snapshot();
    write(&*store, &[put(b"\0\0\0\0b", &early), put(b"\0\0\0\0c", &late)]);
    // The store's own keys are no rows, whatever they look like.
    write(&*store, &[put(b"\xff\xff\xff\xffx", &early)]);
    subject.tidy();
    assert_eq!(all(&*store).len(), 3);
    store.settle(Round(5));
    subject.tidy();
    let keys: Vec<_> = all(&*store).into_keys().collect();
    assert_eq!(keys, [&b"\0\0\0\0a"[..], b"\0\0\0\0c"]);
    assert!(store.snapshot().get(b"\xff\xff\xff\xffx").expect("it can be read").is_some());
    assert_eq!(before.get(b"\0\0\0\0b"), Ok(Some(Bytes::from(row))));
}

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Remove(u8, u8),
    /// Ends a batch.
    Write,
    Snapshot,
    DropSnapshot,
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..12u8;
    let step = prop_oneof![
        8 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => key.clone().prop_map(Step::Delete),
        1 => (key.clone(), key).prop_map(|(from, to)| Step::Remove(from, to.max(from + 1))),
        4 => Just(Step::Write),
        2 => Just(Step::Snapshot),
        1 => Just(Step::DropSnapshot),
        1 => Just(Step::Kill),
    ];
    proptest::collection::vec(step, 0..60)
}

fn any_history_equals_a_map<S: Subject>() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(S::CASES));
    runner
        .run(&steps(), |steps| {
            play::<S>(&steps);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

fn play<S: Subject>(steps: &[Step]) {
    let mut now = Content::new();
    let mut subject = S::new();
    let mut batch: Vec<Step> = Vec::new();
    let mut snapshots: Vec<(Arc<dyn Snapshot>, Content)> = Vec::new();
    for step in steps {
        match step {
            Step::Put(..) | Step::Delete(_) | Step::Remove(..) => batch.push(step.clone()),
            Step::Write => write_batch(&*subject.store(), &std::mem::take(&mut batch), &mut now),
            Step::Snapshot => snapshots.push((subject.store().snapshot(), now.clone())),
            Step::DropSnapshot => snapshots.truncate(snapshots.len() / 2),
            Step::Kill => {
                snapshots.clear();
                subject = subject.kill();
                if !S::DURABLE {
                    now.clear();
                }
            }
        }
        snapshots.iter().for_each(|(snapshot, expected)| {
            assert_eq!(content(&**snapshot, b"", &[0xff], 3), *expected);
        });
        assert_eq!(all(&*subject.store()), now);
    }
}

/// Brings the steps into the form that a write has.
fn write_batch(store: &impl Store, batch: &[Step], now: &mut Content) {
    let mut spans = Vec::new();
    let mut rows = BTreeMap::new();
    for step in batch {
        match step {
            Step::Put(key, stored) => drop(rows.insert([*key], Some([*stored]))),
            Step::Delete(key) => drop(rows.insert([*key], None)),
            Step::Remove(from, to) => spans.push(span(&[*from], &[*to])),
            _ => unreachable!("a batch holds writes"),
        }
    }
    let inside = |key: &[u8]| spans.iter().any(|(from, to)| &from[..] <= key && key < &to[..]);
    rows.retain(|key, _| !inside(key));
    now.retain(|key, _| !inside(key));
    for (key, stored) in &rows {
        match stored {
            Some(stored) => drop(now.insert(key.to_vec(), stored.to_vec())),
            None => drop(now.remove(&key[..])),
        }
    }
    let mut writes = rows.iter().map(|(key, stored)| match stored {
        Some(stored) => put(key, stored),
        None => Write::Delete { key },
    });
    store.write(&spans, &mut writes).expect("it can be written");
}
