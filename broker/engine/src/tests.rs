mod access;
mod draft;
mod transactions;

use crate::applier::Feed;
use crate::{
    Append, Atomicity, CheckedKeys, Column, ColumnType, CommittedOffset, Definition, Engine,
    ErrorKind, Mode, Part, Preconditions, Settings, StreamChange, StreamSpec, Until, key_hash,
};
use anabranch_log::Command;
use anabranch_table::{KeyRange, TableId};
use anabranch_types::batch::{BatchBuilder, ValidateOptions, batches, decode_records, validate};
use anabranch_types::{Offset, PartitionId, PartitionIndex, Round, Timestamp};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn settings(directory: &Path) -> Settings {
    Settings { disk_reserve_bytes: 0, journal_file_bytes: 1 << 20, ..Settings::new(directory) }
}

fn open(directory: &Path) -> Engine {
    Engine::open_with_tables_in_memory(settings(directory)).expect("a fresh or sound directory")
}

fn part(partition: PartitionId, records: &[(&str, Option<&str>)]) -> Part {
    let mut builder = BatchBuilder::default();
    for (key, value) in records {
        let value = value.map(str::as_bytes);
        builder.push(Timestamp(1_000), Some(key.as_bytes()), value, &[]);
    }
    let batch = builder.build().expect("not compressed");
    let options = ValidateOptions { keys_required: true, hash_keys: true };
    let passed = validate(&batch, options, key_hash, &mut Vec::new()).expect("just built");
    Part::new(partition, batch.freeze(), passed)
}

fn append(parts: impl IntoIterator<Item = Part>) -> Append {
    Append {
        parts: parts.into_iter().collect(),
        atomicity: Atomicity::AllParts,
        preconditions: None,
    }
}

fn spec(name: &str, mode: Mode, partitions: i32) -> StreamSpec {
    StreamSpec {
        name: name.to_owned(),
        mode: Some(mode),
        partitions: Some(partitions),
        ..StreamSpec::default()
    }
}

fn read_all(engine: &Engine, partition: PartitionId) -> Vec<(i64, String, Option<String>)> {
    let log = engine.partition(partition).expect("exists");
    let mut out = Vec::new();
    let mut next = log.log_start();
    while next < log.high_watermark() {
        for chunk in log.read(next, 1 << 20, Until::Published).expect("readable") {
            next = chunk.next_offset;
            for (header, batch) in batches(&chunk.bytes).map(|batch| batch.expect("sound")) {
                let mut scratch = Vec::new();
                for record in decode_records(&header, batch, &mut scratch).expect("plain") {
                    let record = record.expect("sound");
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let key = text(record.key.expect("keyed"));
                    out.push((record.offset.0, key, record.value.map(text)));
                }
            }
        }
    }
    out
}

async fn rows(engine: &Engine, stream: &str) -> BTreeMap<String, String> {
    let cut = engine.own_session().cut(SOON).await.expect("tables follow");
    let catalog = engine.catalog();
    let table = catalog.by_name(stream).and_then(|stream| stream.table).expect("keyed");
    let all = KeyRange { from: Bound::Unbounded, to: Bound::Unbounded };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    cut.tables
        .scan(table, all)
        .expect("it may be read")
        .map(|row| row.map(|(key, row)| (text(&key), text(&row.value))).expect("sound"))
        .collect()
}

/// As `assert_eq`, of rows that nobody wants to see all of.
#[track_caller]
fn check_rows(found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) {
    let (rows, of) = (found.len(), expected.len());
    let wrong = expected.iter().find(|(key, value)| found.get(*key) != Some(*value));
    assert!(rows == of && wrong.is_none(), "{rows} rows of {of}; one that is not there: {wrong:?}");
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let stream = engine.create_stream(spec("orders", Mode::Append, 2)).await.expect("new");
    let [first, second] = stream.partitions[..] else { panic!("two partitions") };
    let parts = [part(first, &[("a", Some("1")), ("b", None)]), part(second, &[("c", Some("3"))])];
    let appended = engine.append(append(parts)).await.expect("accepted");
    assert_eq!(appended[0].round, appended[1].round);
    assert_eq!(appended[0].base_offset, Offset(0));
    let expected = vec![(0, "a".to_owned(), Some("1".to_owned())), (1, "b".to_owned(), None)];
    assert_eq!(read_all(&engine, first), expected);
    let epoch = engine.leader_epoch();
    let cluster = engine.cluster_id().to_owned();
    engine.stop();
    drop(engine);

    let engine = open(directory.path());
    assert!(engine.leader_epoch() > epoch);
    assert_eq!(engine.cluster_id(), cluster);
    assert_eq!(engine.catalog().by_name("orders"), Some(&stream));
    assert_eq!(read_all(&engine, first), expected);
    let again = engine.append(append([part(first, &[("d", Some("4"))])])).await.expect("accepted");
    assert_eq!(again[0].base_offset, Offset(2));
    engine.stop();
}

#[tokio::test]
async fn a_table_shows_every_acknowledged_write_at_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let stream = engine.create_stream(spec("aircraft", Mode::Upsert, 2)).await.expect("new");
    let mut expected = BTreeMap::new();
    for number in 0..500u32 {
        let key = format!("N{}", number % 37);
        let partition = stream.partitions[(number % 37 % 2) as usize];
        let value = (number % 11 != 3).then(|| number.to_string());
        let part = part(partition, &[(&key, value.as_deref())]);
        engine.append(append([part])).await.expect("accepted");
        match value {
            Some(value) => expected.insert(key, value),
            None => expected.remove(&key),
        };
        if number % 50 == 0 {
            assert_eq!(rows(&engine, "aircraft").await, expected);
        }
    }
    assert_eq!(rows(&engine, "aircraft").await, expected);
    engine.stop();
    drop(engine);
    // Tables in memory are rebuilt from the log: the fold is the same.
    let engine = open(directory.path());
    assert_eq!(rows(&engine, "aircraft").await, expected);
    engine.stop();
}

#[tokio::test]
async fn a_precondition_fails_once_its_key_was_written() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let stream = engine.create_stream(spec("keys", Mode::Upsert, 1)).await.expect("new");
    let partition = stream.partitions[0];
    let cut = engine.own_session().cut(SOON).await.expect("tables follow").round;
    let guarded = |key: &str| Append {
        preconditions: Some(Box::new(Preconditions {
            cut,
            keys: vec![CheckedKeys {
                partitions: vec![partition],
                hashes: vec![key_hash(key.as_bytes())],
            }],
        })),
        ..append([part(partition, &[(key, Some("guarded"))])])
    };
    engine.append(guarded("a")).await.expect("nobody wrote it");
    let error = engine.append(guarded("a")).await.expect_err("written since the cut");
    assert_eq!(error.kind, ErrorKind::Conflict);
    engine.append(guarded("b")).await.expect("another key");
    assert_eq!(rows(&engine, "keys").await.len(), 2);
    engine.stop();
}

#[tokio::test]
async fn dropped_streams_are_gone_and_their_names_free() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let old = engine.create_stream(spec("s", Mode::Upsert, 1)).await.expect("new");
    engine.append(append([part(old.partitions[0], &[("a", Some("1"))])])).await.expect("accepted");
    let twice = engine.create_stream(spec("s", Mode::Upsert, 1)).await.expect_err("exists");
    assert_eq!(twice.kind, ErrorKind::AlreadyExists);
    engine.drop_stream("s").await.expect("exists");
    let gone = engine.append(append([part(old.partitions[0], &[("a", Some("1"))])])).await;
    assert_eq!(gone.expect_err("dropped").kind, ErrorKind::NotFound);
    let new = engine.create_stream(spec("s", Mode::Upsert, 1)).await.expect("the name is free");
    assert_ne!(new.id, old.id);
    assert_ne!(new.partitions, old.partitions);
    assert!(rows(&engine, "s").await.is_empty());
    engine.stop();
    drop(engine);
    let engine = open(directory.path());
    assert_eq!(engine.catalog().by_name("s"), Some(&new));
    assert!(engine.partition(old.partitions[0]).is_none());
    engine.stop();
}

#[tokio::test]
async fn bad_names_and_settings_are_refused_with_a_reason() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let check = |name: &str, kind| {
        let refused = engine.check_stream(&spec(name, Mode::Append, 1)).expect_err(name);
        assert_eq!(refused.kind, kind, "{name}: {refused}");
    };
    check("", ErrorKind::InvalidName);
    check("..", ErrorKind::InvalidName);
    check("a b", ErrorKind::InvalidName);
    check("__groups", ErrorKind::InvalidName);
    check(&"x".repeat(250), ErrorKind::InvalidName);
    engine.create_stream(spec("s", Mode::Append, 1)).await.expect("new");
    let change = |name: &str, value: &str| {
        StreamChange::Settings(BTreeMap::from([(name.to_owned(), Some(value.to_owned()))]))
    };
    let error = engine.alter_stream("s", change("retention.ms", "soon")).await.expect_err("bad");
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    let stream = engine.alter_stream("s", change("retention.ms", "1000")).await.expect("good");
    assert_eq!(stream.options.retention_ms, Some(1000));
    let key = Column { in_key: true, not_null: true, ..Column::new("id", ColumnType::Text) };
    let definition = Definition {
        seen: stream,
        columns: vec![key],
        checks: Vec::new(),
        retired: Vec::new(),
        sequences: Vec::new(),
        dropped: Vec::new(),
    };
    let error = engine.alter_stream("s", StreamChange::Define(Box::new(definition))).await;
    assert_eq!(error.expect_err("append streams have no key").kind, ErrorKind::InvalidArgument);
    engine.stop();
}

#[tokio::test]
async fn offsets_and_producer_ids_survive_a_restart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let stream = engine.create_stream(spec("s", Mode::Append, 1)).await.expect("new");
    let at = |offset| CommittedOffset {
        offset,
        leader_epoch: -1,
        metadata: "here".to_owned(),
        committed_ms: 5,
    };
    let index = PartitionIndex(0);
    engine.commit_offsets("g", vec![(stream.id, index, Some(at(7)))]).await.expect("durable");
    engine.commit_offsets("g,\"2", vec![(stream.id, index, Some(at(8)))]).await.expect("durable");
    let first = engine.new_producer_id().await.expect("durable");
    engine.stop();
    drop(engine);
    let engine = open(directory.path());
    assert_eq!(engine.groups(), ["g", "g,\"2"]);
    assert_eq!(engine.committed_offsets("g"), BTreeMap::from([((stream.id, index), at(7))]));
    assert!(engine.new_producer_id().await.expect("durable") > first);
    engine.drop_stream("s").await.expect("exists");
    assert!(engine.groups().is_empty());
    engine.stop();
}

#[tokio::test]
async fn old_records_go_by_retention() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let settings = BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]);
    let spec = StreamSpec { settings, ..spec("s", Mode::Append, 1) };
    let stream = engine.create_stream(spec).await.expect("new");
    // Its records are of 1970.
    engine.append(append([part(stream.partitions[0], &[("a", Some("1"))])])).await.expect("ok");
    engine.stop();
    drop(engine);
    let engine = open(directory.path());
    engine.retain().await;
    let later = append([part(stream.partitions[0], &[("b", Some("2"))])]);
    engine.append(later).await.expect("accepted");
    let log = engine.partition(stream.partitions[0]).expect("exists");
    assert_eq!(log.log_start(), Offset(1));
    assert_eq!(read_all(&engine, stream.partitions[0]).len(), 1);
    engine.stop();
}

#[tokio::test]
async fn rows_go_with_the_records_that_retention_takes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let settings = BTreeMap::from([
        ("cleanup.policy".to_owned(), "compact,delete".to_owned()),
        ("retention.ms".to_owned(), "1000".to_owned()),
    ]);
    let spec = StreamSpec { settings, ..spec("s", Mode::Upsert, 1) };
    let stream = engine.create_stream(spec).await.expect("new");
    let partition = stream.partitions[0];
    // Of 1970, more than go in one append.
    let keys: Vec<String> = (0..2_500).map(|number| format!("k{number}")).collect();
    let old: Vec<(&str, Option<&str>)> = keys.iter().map(|key| (&key[..], Some("old"))).collect();
    engine.append(append([part(partition, &old)])).await.expect("accepted");
    assert_eq!(rows(&engine, "s").await.len(), 2_500);
    engine.stop();
    drop(engine);
    // A start begins new segments with what is written after it.
    let engine = open(directory.path());
    engine.retain().await;
    assert_eq!(engine.partition(partition).expect("exists").log_start(), Offset(2_500));
    assert_eq!(rows(&engine, "s").await, BTreeMap::new());
    let left = read_all(&engine, partition);
    assert_eq!(left.len(), 2_500, "a tombstone for each row, which subscribers see");
    assert!(left.iter().all(|(_, _, value)| value.is_none()));
    // Written anew, a row stays.
    engine.append(append([part(partition, &[("k7", Some("new"))])])).await.expect("accepted");
    engine.retain().await;
    assert_eq!(rows(&engine, "s").await.len(), 1);
    engine.stop();
    drop(engine);
    let engine = open(directory.path());
    assert_eq!(rows(&engine, "s").await.len(), 1, "a table of what is left in the log");
    engine.stop();
}

#[tokio::test]
async fn rows_go_when_they_have_lived_long_enough() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let ttl = |name: &str, mode| StreamSpec {
        settings: BTreeMap::from([("ttl.ms".to_owned(), "60000".to_owned())]),
        ..spec(name, mode, 2)
    };
    let refused = engine.create_stream(ttl("e", Mode::Append)).await.expect_err("it has no rows");
    assert_eq!(refused.kind, ErrorKind::InvalidArgument);
    let stream = engine.create_stream(ttl("s", Mode::Upsert)).await.expect("new");
    // Of 1970, but for one.
    let old: Vec<String> = (0..1_500).map(|number| format!("k{number}")).collect();
    let records: Vec<(&str, Option<&str>)> = old.iter().map(|key| (&key[..], Some("v"))).collect();
    engine.append(append([part(stream.partitions[0], &records)])).await.expect("accepted");
    let mut builder = BatchBuilder::default();
    builder.push(engine.now(), Some(b"young"), Some(b"v"), &[]);
    let batch = builder.build().expect("not compressed").freeze();
    let options = ValidateOptions { keys_required: true, hash_keys: true };
    let passed = validate(&batch, options, key_hash, &mut Vec::new()).expect("just built");
    let young = Part::new(stream.partitions[1], batch, passed);
    engine.append(append([young])).await.expect("accepted");
    engine.expire_rows(&stream).await.expect("nobody else writes");
    assert_eq!(rows(&engine, "s").await.into_keys().collect::<Vec<_>>(), ["young"]);
    let log = read_all(&engine, stream.partitions[0]);
    assert_eq!(log.iter().filter(|(_, _, value)| value.is_none()).count(), 1_500);
    // Another look finds nothing to do.
    engine.expire_rows(&stream).await.expect("nobody else writes");
    assert_eq!(read_all(&engine, stream.partitions[0]).len(), log.len());
    engine.stop();
}

#[tokio::test]
async fn an_interest_wakes_for_what_came_since_it_was_taken() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let stream = engine.create_stream(spec("s", Mode::Append, 1)).await.expect("new");
    let mut interest = engine.own_session().interest(&stream.partitions);
    engine.append(append([part(stream.partitions[0], &[("a", None)])])).await.expect("accepted");
    tokio::time::timeout(SOON, interest.changed()).await.expect("it advanced");
    engine.stop();
}

fn policy(policy: &str) -> StreamChange {
    let change = ("cleanup.policy".to_owned(), Some(policy.to_owned()));
    StreamChange::Settings(BTreeMap::from([change]))
}

#[tokio::test]
async fn a_stream_becomes_a_table_of_all_it_holds_and_a_stream_again() {
    // More than the applier takes of one partition in a step.
    const RECORDS: usize = 70_000;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let other = engine.create_stream(spec("other", Mode::Upsert, 1)).await.expect("new");
    let stream = engine.create_stream(spec("t", Mode::Append, 2)).await.expect("new");
    let mut expected = BTreeMap::new();
    for chunk in (0..RECORDS).collect::<Vec<_>>().chunks(10_000) {
        let records: Vec<(String, String)> =
            chunk.iter().map(|n| (format!("k{}", n % 50_000), n.to_string())).collect();
        let refs: Vec<(&str, Option<&str>)> =
            records.iter().map(|(key, value)| (key.as_str(), Some(value.as_str()))).collect();
        engine.append(append([part(stream.partitions[0], &refs)])).await.expect("accepted");
        expected.extend(records);
    }
    let late = [("k1", None), ("z", Some("1"))];
    engine.append(append([part(stream.partitions[0], &late)])).await.expect("accepted");
    expected.remove("k1");
    expected.insert("z".to_owned(), "1".to_owned());
    let put = |to, key, value| engine.append(append([part(to, &[(key, Some(value))])]));
    put(other.partitions[0], "a", "1").await.expect("accepted");
    let newest = engine.own_session().applied().round;

    let table = engine.alter_stream("t", policy("compact")).await.expect("it can be changed");
    assert_eq!((table.mode, table.table.is_some()), (Mode::Upsert, true));
    check_rows(&rows(&engine, "t").await, &expected);
    assert!(engine.own_session().applied().round >= newest, "no table has become older");
    put(stream.partitions[1], "z", "2").await.expect("accepted");
    expected.insert("z".to_owned(), "2".to_owned());
    check_rows(&rows(&engine, "t").await, &expected);

    let end = |engine: &Engine| {
        let ends = stream.partitions.iter().map(|id| engine.partition(*id).expect("it is there"));
        ends.map(|log| log.high_watermark().0).sum::<i64>()
    };
    let records = end(&engine);
    engine.stop();
    drop(engine);
    let engine = open(directory.path());
    check_rows(&rows(&engine, "t").await, &expected);
    let plain = engine.alter_stream("t", policy("delete")).await.expect("it can be changed");
    assert_eq!((plain.mode, plain.table, end(&engine)), (Mode::Append, None, records));
    engine.alter_stream("t", policy("compact")).await.expect("and again");
    check_rows(&rows(&engine, "t").await, &expected);
    assert_eq!(rows(&engine, "other").await.len(), 1);
}

/// Most times the applier sees at once that one table went and another came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_begins_at_the_start_whatever_was_followed_before() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let stream = engine.create_stream(spec("t", Mode::Upsert, 1)).await.expect("new");
    let put = append([part(stream.partitions[0], &[("a", Some("1"))])]);
    engine.append(put).await.expect("accepted");
    assert_eq!(rows(&engine, "t").await.len(), 1);
    let mut last = stream.table.expect("it is one");
    for table in (100..150).map(TableId) {
        let log = engine.partition(stream.partitions[0]).expect("it is there");
        engine.inner.applier.drop_table(last);
        let feeds = vec![Feed { table, log }];
        engine.inner.applier.feed_from_the_start(feeds).await.expect("it follows");
        let cut = engine.own_session().cut(SOON).await.expect("tables follow");
        assert!(cut.tables.get(table, b"a").expect("readable").is_some(), "{table:?} is empty");
        last = table;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_key_was_not_added_for_is_removed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let stream = engine.create_stream(spec("t", Mode::Append, 2)).await.expect("new");
    let put = |to: PartitionId, key| append([part(to, &[(key, Some("{}"))])]);
    engine.append(put(stream.partitions[0], "a")).await.expect("accepted");
    let columns = vec![Column { in_key: true, ..Column::new("k", ColumnType::Text) }];
    let begin = || engine.begin_rekeying("t", columns.clone());
    let gone =
        |engine: &Engine, ids: &[PartitionId]| ids.iter().all(|id| engine.partition(*id).is_none());

    // Given up.
    let rekeying = begin().await.expect("it has no key");
    let first = rekeying.stream().partitions.clone();
    assert!(!gone(&engine, &first));
    drop(rekeying);
    // Written to meanwhile.
    let rekeying = begin().await.expect("it has no key");
    engine.append(put(rekeying.stream().partitions[1], "a")).await.expect("accepted");
    engine.append(put(stream.partitions[1], "b")).await.expect("accepted");
    let second = rekeying.stream().partitions.clone();
    let error = rekeying.finish().await.expect_err("it was written to");
    assert_eq!(error.kind, ErrorKind::Conflict);
    while !gone(&engine, &first) || !gone(&engine, &second) {
        tokio::task::yield_now().await;
    }
    // Killed.
    let rekeying = begin().await.expect("it has no key");
    engine.append(put(rekeying.stream().partitions[1], "a")).await.expect("accepted");
    let third = rekeying.stream().partitions.clone();
    engine.stop();
    // Nobody is left who could remove them.
    std::thread::spawn(|| drop(rekeying)).join().expect("it does not panic");
    drop(engine);
    let engine = open(directory.path());
    while !gone(&engine, &third) {
        tokio::task::yield_now().await;
    }
    assert_eq!(engine.catalog().find("t").expect("it is there").partitions, stream.partitions);

    // And added.
    let rekeying = engine.begin_rekeying("t", columns.clone()).await.expect("it has no key");
    for (key, to) in [("a", 0), ("b", 1)] {
        let append = put(rekeying.stream().partitions[to], key);
        engine.append(append).await.expect("accepted");
    }
    let stream = rekeying.finish().await.expect("nobody wrote");
    assert_eq!(rows(&engine, "t").await.len(), 2);
    engine.stop();
    drop(engine);
    let engine = open(directory.path());
    assert_eq!(rows(&engine, "t").await.len(), 2);
    assert!(!gone(&engine, &stream.partitions));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_become_tables_while_others_are_written() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let other = engine.create_stream(spec("other", Mode::Upsert, 1)).await.expect("new");
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (engine, done) = (engine.clone(), Arc::clone(&done));
        async move {
            let mut rounds = Round(0);
            for n in 0.. {
                if done.load(Ordering::Acquire) {
                    break;
                }
                let value = n.to_string();
                let put = part(other.partitions[0], &[("a", Some(&value))]);
                engine.append(append([put])).await.expect("accepted");
                let applied = engine.applied().0;
                assert!(applied >= rounds, "tables became older");
                rounds = applied;
            }
        }
    });
    // More than the applier takes in a step.
    const PARTITIONS: i32 = 64;
    const ROUNDS: usize = 4;
    const RECORDS: usize = 600;
    for n in 0..5 {
        let name = format!("s{n}");
        let stream =
            engine.create_stream(spec(&name, Mode::Append, PARTITIONS)).await.expect("new");
        for round in 0..ROUNDS {
            let parts = stream.partitions.iter().map(|partition| {
                let keys: Vec<String> =
                    (0..RECORDS).map(|n| format!("{partition} {round} {n}")).collect();
                let records: Vec<_> = keys.iter().map(|key| (key.as_str(), Some("1"))).collect();
                part(*partition, &records)
            });
            engine.append(append(parts)).await.expect("accepted");
        }
        engine.alter_stream(&name, policy("compact")).await.expect("it can be changed");
        let expected = stream.partitions.len() * ROUNDS * RECORDS;
        assert_eq!(rows(&engine, &name).await.len(), expected, "{name}");
    }
    done.store(true, Ordering::Release);
    writer.await.expect("it saw no table become older");
}

fn changes(all: &[(&str, &str)]) -> StreamChange {
    let all = all.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
    StreamChange::Settings(all.collect())
}

/// Full segments are ended with a checkpoint.
fn checkpoint(engine: &Engine) {
    let (done, finished) = crossbeam::channel::bounded(0);
    assert!(engine.inner.log.send(Command::Checkpoint(done)).is_ok(), "it runs");
    finished.recv().expect_err("it is told by closing");
}

#[tokio::test]
async fn logs_are_compacted_and_tables_stay() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    // Only when it is asked to.
    let never = Duration::from_secs(24 * 3600);
    let settings = Settings { compaction_pause: never, ..settings(directory.path()) };
    let open = || Engine::open(settings.clone()).expect("a fresh or sound directory");
    let engine = open();
    let stream = engine.create_stream(spec("t", Mode::Upsert, 2)).await.expect("new");
    let change = [("segment.bytes", "1048576"), ("delete.retention.ms", "0")];
    engine.alter_stream("t", changes(&change)).await.expect("they are known");
    let value = "v".repeat(1_000);
    let mut expected = BTreeMap::new();
    let log = |engine: &Engine, number: usize| {
        engine.partition(stream.partitions[number]).expect("it is there")
    };
    let fill = async |engine: &Engine, expected: &mut BTreeMap<String, String>, from: usize| {
        for n in from..from + 4_000 {
            let key = format!("k{}", n % 300);
            let value = format!("{n} {value}");
            // In the other partition lies what was deleted in the first.
            let parts = match n % 300 {
                0..20 => vec![
                    part(stream.partitions[1], &[(&key, Some(&value))]),
                    part(stream.partitions[0], &[(&key, None)]),
                ],
                20..40 if n / 300 % 2 == 1 => vec![part(stream.partitions[0], &[(&key, None)])],
                _ => vec![part(stream.partitions[0], &[(&key, Some(&value))])],
            };
            let is_there = parts.iter().any(|part| part.batch.len() > 500) && n % 300 >= 20;
            for part in parts {
                engine.append(append([part])).await.expect("accepted");
            }
            if is_there {
                expected.insert(key, value);
            } else {
                expected.remove(&key);
            }
        }
    };
    fill(&engine, &mut expected, 0).await;
    let before = log(&engine, 0).bytes();
    assert!(before > 3 << 20, "more than a segment: {before}");
    check_rows(&rows(&engine, "t").await, &expected);
    checkpoint(&engine);
    engine.compact();
    let after = log(&engine, 0).bytes();
    assert!(after < before / 2, "{after} of {before}");
    check_rows(&rows(&engine, "t").await, &expected);
    // Deletions that everybody has seen go too, but for those of keys that are held elsewhere.
    fill(&engine, &mut expected, 4_000).await;
    checkpoint(&engine);
    engine.compact();
    fill(&engine, &mut expected, 8_000).await;
    checkpoint(&engine);
    engine.compact();
    check_rows(&rows(&engine, "t").await, &expected);
    let stats = engine.stats();
    assert!(stats.compactions >= 3 && stats.compacted_bytes_after < stats.compacted_bytes_before);
    engine.stop();
    drop(engine);
    // Rebuilt from what is left of the log.
    std::fs::remove_dir_all(directory.path().join("tables")).expect("it is there");
    let engine = open();
    check_rows(&rows(&engine, "t").await, &expected);
    engine.stop();
}

fn sequence(name: &str, max: i64) -> crate::SequenceSpec {
    crate::SequenceSpec {
        name: name.to_owned(),
        data_type: ColumnType::Bigint,
        start: 1,
        increment: 1,
        min: 1,
        max,
        cache: 1,
        cycle: false,
        column: None,
    }
}

#[tokio::test]
async fn sequences_give_no_value_twice_over_restarts() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut highest = 0;
    for start in 0..3 {
        let engine = open(directory.path());
        if start == 0 {
            engine.own_session().create_sequence(sequence("s", i64::MAX)).await.expect("new");
        }
        for count in [1, 1, 40, 31, 3] {
            let values = engine.next_values("s", count).await.expect("far from its end");
            assert_eq!(values.len(), count);
            assert!(values[0] > highest, "{values:?} after {highest}");
            highest = *values.last().expect("some");
        }
        engine.stop();
    }
    assert!(highest < 3 * (76 + 33), "{highest}: gaps are small");
}

#[tokio::test]
async fn a_sequence_ends_and_goes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    engine.own_session().create_sequence(sequence("s", 3)).await.expect("new");
    assert_eq!(engine.next_values("s", 3).await.expect("within"), [1, 2, 3]);
    let error = engine.next_values("s", 1).await.expect_err("at its end");
    assert!(matches!(error, crate::SequenceError::Exhausted { limit: 3, .. }), "{error}");
    let set = |value| engine.change_sequence("s", crate::SequenceChange::Set(value, false));
    assert!(set(4).await.is_err());
    set(2).await.expect("within");
    assert_eq!(engine.next_values("s", 1).await.expect("set back"), [2]);
    engine.own_session().drop_sequence("s").await.expect("exists");
    assert!(engine.next_values("s", 1).await.is_err());
    engine.stop();
}
