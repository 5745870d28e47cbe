//! What tables and preconditions make of transactions.

use super::{append, open, part, rows, spec};
use crate::{
    Append, CheckedKeys, CommittedOffset, Engine, EpochAfter, ErrorKind, Mode, Part, Preconditions,
    Settings, TransactionError, key_hash,
};
use anabranch_types::batch::{BatchBuilder, Ending, ValidateOptions, validate};
use anabranch_types::{
    PartitionId, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::task::Poll;
use std::time::Duration;

/// A transactional producer that counts its records in each partition.
struct Producer {
    id: ProducerId,
    epoch: ProducerEpoch,
    sent: BTreeMap<PartitionId, i32>,
}

impl Producer {
    async fn new(engine: &Engine) -> Self {
        let (id, epoch) = engine.init_transactional("mine", 60_000, None).await.expect("a new id");
        Self { id, epoch, sent: BTreeMap::new() }
    }

    async fn begin(&self, engine: &Engine, partitions: &[PartitionId]) {
        let added = engine.add_to_transaction("mine", self.id, self.epoch, partitions).await;
        added.expect("it is the current producer");
    }

    async fn send(&mut self, engine: &Engine, to: PartitionId, records: &[(&str, Option<&str>)]) {
        let sequence = self.sent.entry(to).or_default();
        let mut builder = BatchBuilder::default();
        builder.set_producer(self.id, self.epoch, Sequence(*sequence));
        builder.set_transactional();
        for (key, value) in records {
            let value = value.map(str::as_bytes);
            builder.push(Timestamp(1_000), Some(key.as_bytes()), value, &[]);
        }
        *sequence += builder.count();
        let batch = builder.build().expect("not compressed");
        let options = ValidateOptions { keys_required: true, hash_keys: true };
        let passed = validate(&batch, options, key_hash, &mut Vec::new()).expect("just built");
        let part = Part::new(to, batch.freeze(), passed);
        engine.append(append([part])).await.expect("it is part of the transaction");
    }

    async fn end(&self, engine: &Engine, ending: Ending) {
        let ended =
            engine.end_transaction("mine", self.id, self.epoch, ending, EpochAfter::Same).await;
        ended.expect("a transaction is open");
    }
}

fn expected(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
    rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn open_with_tables(directory: &Path) -> Engine {
    let settings =
        Settings { disk_reserve_bytes: 0, journal_file_bytes: 1 << 20, ..Settings::new(directory) };
    Engine::open(settings).expect("a fresh or sound directory")
}

#[tokio::test]
async fn a_table_sees_a_transaction_whole_or_never() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open_with_tables(directory.path());
    let stream = engine.create_stream(spec("t", Mode::Upsert, 2)).await.expect("new");
    let [one, two] = stream.partitions[..] else { panic!("two partitions") };
    let plain = |to, key, value| engine.append(append([part(to, &[(key, value)])]));
    plain(one, "old", Some("0")).await.expect("accepted");
    let mut producer = Producer::new(&engine).await;
    producer.begin(&engine, &stream.partitions).await;
    producer.send(&engine, one, &[("a", Some("1")), ("b", Some("1")), ("old", None)]).await;
    producer.send(&engine, two, &[("c", Some("1"))]).await;
    assert_eq!(rows(&engine, "t").await, expected(&[("old", "0")]));
    // An open transaction delays nobody, and what is written after its record wins.
    plain(one, "b", Some("2")).await.expect("accepted");
    plain(two, "d", Some("2")).await.expect("accepted");
    let before = [("b", "2"), ("d", "2"), ("old", "0")];
    assert_eq!(rows(&engine, "t").await, expected(&before));
    producer.end(&engine, Ending::Commit).await;
    let committed = [("a", "1"), ("b", "2"), ("c", "1"), ("d", "2")];
    assert_eq!(rows(&engine, "t").await, expected(&committed));

    producer.begin(&engine, &[one]).await;
    producer.send(&engine, one, &[("a", Some("lost"))]).await;
    producer.end(&engine, Ending::Abort).await;
    assert_eq!(rows(&engine, "t").await, expected(&committed));

    // Open over a restart, with tables that were written meanwhile.
    producer.begin(&engine, &stream.partitions).await;
    producer.send(&engine, one, &[("a", Some("3"))]).await;
    producer.send(&engine, two, &[("c", None), ("e", Some("3"))]).await;
    plain(two, "d", None).await.expect("accepted");
    assert_eq!(rows(&engine, "t").await.len(), 3);
    engine.stop();
    drop(engine);
    let engine = open_with_tables(directory.path());
    assert_eq!(rows(&engine, "t").await, expected(&[("a", "1"), ("b", "2"), ("c", "1")]));
    producer.send(&engine, one, &[("f", Some("3"))]).await;
    producer.end(&engine, Ending::Commit).await;
    let after = expected(&[("a", "3"), ("b", "2"), ("e", "3"), ("f", "3")]);
    assert_eq!(rows(&engine, "t").await, after);
    engine.stop();
    drop(engine);

    // A table that is built anew from the log is the same.
    std::fs::remove_dir_all(directory.path().join("tables")).expect("it is there");
    let engine = open_with_tables(directory.path());
    assert_eq!(rows(&engine, "t").await, after);
    engine.stop();
}

#[tokio::test]
async fn a_precondition_on_an_undecided_key_is_a_conflict() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let stream = engine.create_stream(spec("t", Mode::Upsert, 1)).await.expect("new");
    let partition = stream.partitions[0];
    let insert = async |key: &str, cut| {
        let hashes = vec![key_hash(key.as_bytes())];
        let keys = vec![CheckedKeys { partitions: vec![partition], hashes }];
        let preconditions = Some(Box::new(Preconditions { cut, keys }));
        let append = Append { preconditions, ..append([part(partition, &[(key, Some("sql"))])]) };
        engine.append(append).await.map(drop).map_err(|error| error.kind)
    };
    let mut producer = Producer::new(&engine).await;
    producer.begin(&engine, &[partition]).await;
    producer.send(&engine, partition, &[("a", Some("1"))]).await;
    let cut = engine.published();
    assert_eq!(insert("a", cut).await, Err(ErrorKind::Conflict), "nobody knows yet");
    assert_eq!(insert("b", cut).await, Ok(()), "another key");
    producer.end(&engine, Ending::Abort).await;
    assert_eq!(insert("a", cut).await, Ok(()), "it never was");
    producer.begin(&engine, &[partition]).await;
    producer.send(&engine, partition, &[("c", Some("1"))]).await;
    let cut = engine.published();
    producer.end(&engine, Ending::Commit).await;
    assert_eq!(insert("c", cut).await, Err(ErrorKind::Conflict), "decided since the read");
    assert_eq!(insert("c", engine.published()).await, Ok(()), "read since then");
    engine.stop();
}

/// Whatever a request was at when its client went: with the transaction, its offsets are gone.
#[tokio::test]
async fn a_client_that_goes_leaves_nothing_half_done() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = open(directory.path());
    let stream = engine.create_stream(spec("t", Mode::Append, 1)).await.expect("new");
    let producer = Producer::new(&engine).await;
    let (id, epoch) = (producer.id, producer.epoch);
    let added = engine.add_group_to_transaction("mine", id, epoch, "g").await;
    added.expect("it is the current producer");
    let offset =
        CommittedOffset { offset: 7, leader_epoch: -1, metadata: String::new(), committed_ms: 0 };
    let offsets = vec![(stream.id, PartitionIndex(0), offset)];
    let commit = engine.commit_offsets_in_transaction("mine", id, epoch, "g", offsets);
    let mut commit = Box::pin(commit);
    // It is begun and then dropped, as when the connection ends.
    let begin = std::future::poll_fn(|context| Poll::Ready(commit.as_mut().poll(context)));
    assert!(begin.await.is_pending(), "it waits for the disk");
    drop(commit);
    producer.end(&engine, Ending::Abort).await;
    engine.settle_offsets("g", Duration::from_secs(30)).await;
    assert!(engine.pending_offsets("g").is_empty());
    // Neither does a later transaction commit them, nor one after a restart.
    let engine = {
        engine.stop();
        drop(engine);
        open(directory.path())
    };
    let producer = Producer::new(&engine).await;
    producer.begin(&engine, &stream.partitions).await;
    producer.end(&engine, Ending::Commit).await;
    assert!(engine.committed_offsets("g").is_empty());
}

#[tokio::test]
async fn an_end_that_raises_the_epoch_can_be_asked_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = open(directory.path());
    let stream = engine.create_stream(spec("t", Mode::Append, 1)).await.expect("new");
    let producer = Producer::new(&engine).await;
    let end = async |engine: &Engine, epoch: i16, ending| {
        let (id, epoch) = (producer.id, ProducerEpoch(epoch));
        let ended = engine.end_transaction("mine", id, epoch, ending, EpochAfter::Next).await;
        ended.map(|(id, epoch)| (id == producer.id, epoch.0))
    };
    let refused = |ended: Result<_, TransactionError>| {
        matches!(ended, Err(TransactionError::InvalidState(_)))
    };
    assert!(refused(end(&engine, 0, Ending::Commit).await), "nothing has begun");
    producer.begin(&engine, &stream.partitions[..1]).await;
    assert_eq!(end(&engine, 0, Ending::Commit).await.expect("open"), (true, 1));
    assert_eq!(end(&engine, 0, Ending::Commit).await.expect("again"), (true, 1));
    assert!(refused(end(&engine, 0, Ending::Abort).await), "it was committed");
    engine.stop();
    drop(engine);
    let engine = open(directory.path());
    assert_eq!(end(&engine, 0, Ending::Commit).await.expect("after a restart"), (true, 1));
    assert!(refused(end(&engine, 1, Ending::Commit).await), "nothing has begun");
    // An abort needs no beginning.
    assert_eq!(end(&engine, 1, Ending::Abort).await.expect("empty"), (true, 2));
    let fenced = end(&engine, 0, Ending::Commit).await;
    assert!(matches!(fenced, Err(TransactionError::Fenced)), "{fenced:?}");
}
