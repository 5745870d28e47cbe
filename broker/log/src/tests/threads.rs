//! The log with its threads, on a real disk.

use crate::disk::RealDisk;
use crate::{
    Append, AppendError, Appended, Atomicity, Change, Command, JournalSize, LogHandle, Operation,
    Options, Part, Settings, Submission, Until, Watcher, key_hash,
};
use anabranch_types::batch::{BatchBuilder, ValidateOptions, batches, validate};
use anabranch_types::{Offset, PartitionId, Timestamp};
use crossbeam::channel::bounded;
use smallvec::SmallVec;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

const PARTITIONS: u32 = 4;

fn start(root: &Path, boot: u64) -> LogHandle {
    let disk = RealDisk::open(root).expect("nobody else has it");
    let options = Options {
        journal: JournalSize { file_bytes: 64 << 10, files: 3 },
        reserve_bytes: 0,
        segment_bytes: 50_000,
        boot,
        accept_journal_damage: false,
    };
    LogHandle::start(Arc::new(disk), &options).expect("the directory is sound")
}

fn append(partition: PartitionId, value: u64) -> Append {
    let mut builder = BatchBuilder::default();
    builder.push(Timestamp(1), None, Some(&value.to_le_bytes()), &[]);
    let raw = builder.build().expect("no compression").freeze();
    let passed = validate(&raw, ValidateOptions::default(), key_hash, &mut Vec::new());
    let part = Part::new(partition, raw, passed.expect("just built"));
    let parts = SmallVec::from_iter([part]);
    Append { parts, atomicity: Atomicity::EachPart, preconditions: None }
}

/// Submits and waits.
fn submit(log: &LogHandle, appends: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
    let (sender, answer) = bounded(1);
    let reply = Box::new(move |results: Vec<crate::AppendResult>| {
        let results = results.into_iter().flatten().collect();
        sender.send(results).expect("the other end waits");
    });
    assert!(log.send(Command::Submit(Submission { appends, reply })).is_ok(), "it runs");
    answer.recv().expect("every submission is answered")
}

fn create_partitions(log: &LogHandle) {
    let (sender, answer) = bounded(1);
    let operations = (0..PARTITIONS).map(|id| Operation::Create(PartitionId(100 + id))).collect();
    let parts = SmallVec::new();
    let append = Append { parts, atomicity: Atomicity::AllParts, preconditions: None };
    let reply = Box::new(move |result| sender.send(result).expect("the other end waits"));
    let change = Change {
        append,
        operations,
        settings: Settings::default(),
        unwritten: Vec::new(),
        frees: true,
        reply,
    };
    assert!(log.send(Command::Change(Box::new(change))).is_ok(), "it runs");
    answer.recv().expect("every change is answered").expect("ids are new");
}

/// All values of a partition, in order.
fn values(log: &LogHandle, partition: PartitionId) -> Vec<u64> {
    let log = log.shared().partition(partition).expect("it exists");
    let mut values = Vec::new();
    let mut from = Offset(0);
    while from < log.high_watermark() {
        let chunks = log.read(from, 10_000, Until::Published).expect("in range");
        for chunk in &chunks {
            for batch in batches(&chunk.bytes) {
                let (_, bytes) = batch.expect("only whole batches");
                let value: [u8; 8] = bytes[bytes.len() - 9..][..8].try_into().expect("8 bytes");
                values.push(u64::from_le_bytes(value));
            }
        }
        from = chunks.last().expect("it has not ended").next_offset;
    }
    values
}

/// Several producers against a journal that turns many times, a reader behind them, a restart.
#[test]
fn producers_and_readers_at_once() {
    const EACH: u64 = 400;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = start(directory.path(), 1);
    create_partitions(&log);
    thread::scope(|scope| {
        for id in 0..PARTITIONS {
            let (log, partition) = (&log, PartitionId(100 + id));
            scope.spawn(move || {
                for value in 0..EACH {
                    let answer = submit(log, vec![append(partition, value)]);
                    let appended = answer[0].as_ref().expect("nothing is wrong");
                    assert_eq!(appended.base_offset, Offset(value as i64));
                    // Whoever was answered can read what he wrote.
                    let log = log.shared().partition(partition).expect("it exists");
                    assert!(log.high_watermark() > appended.base_offset);
                }
            });
        }
        let log = &log;
        scope.spawn(move || {
            let all = |id| (0..values(log, PartitionId(100 + id)).len() as u64).collect::<Vec<_>>();
            for turn in 0..200 {
                let id = turn % PARTITIONS;
                let found = values(log, PartitionId(100 + id));
                assert!(all(id).starts_with(&found), "in order, without gaps");
            }
        });
    });
    log.stop();
    assert!(log.shared().figures().checkpoints > 1, "the journal has turned");
    assert!(log.send(Command::Stop).is_err(), "it has stopped");
    drop(log);
    let log = start(directory.path(), 2);
    for id in 0..PARTITIONS {
        let expected: Vec<u64> = (0..EACH).collect();
        assert_eq!(values(&log, PartitionId(100 + id)), expected);
    }
    assert_eq!(log.epoch().0, 1);
    log.stop();
}

#[derive(Default)]
struct Count(AtomicU64);

impl Watcher for Count {
    fn advanced(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn watchers_are_told_and_forgotten() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = start(directory.path(), 1);
    create_partitions(&log);
    let (one, every) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let partition = log.shared().partition(PartitionId(100)).expect("it exists");
    let weak = |count: &Arc<Count>| -> Weak<dyn Watcher> {
        let count: Arc<dyn Watcher> = Arc::clone(count) as _;
        Arc::downgrade(&count)
    };
    partition.watch(weak(&one));
    log.shared().watch(weak(&every));
    submit(&log, vec![append(PartitionId(100), 1)]);
    submit(&log, vec![append(PartitionId(101), 1)]);
    assert_eq!(one.0.load(Ordering::Relaxed), 1, "its own partition");
    assert_eq!(every.0.load(Ordering::Relaxed), 2, "every round");
    drop((one, every));
    submit(&log, vec![append(PartitionId(100), 2)]);
    log.stop();
}

#[test]
fn whoever_comes_too_late_is_told() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = start(directory.path(), 1);
    create_partitions(&log);
    let (sender, answer) = bounded(1);
    let reply = Box::new(move |results: Vec<crate::AppendResult>| {
        sender.send(results).expect("the other end waits");
    });
    let appends = vec![append(PartitionId(100), 1)];
    assert!(log.send(Command::Stop).is_ok(), "it runs");
    // Taken or refused by the queue, it is not appended.
    if log.send(Command::Submit(Submission { appends, reply })).is_ok()
        && let Ok(results) = answer.recv()
    {
        assert_eq!(results[0][0], Err(AppendError::Stopping));
    }
    log.stop();
}
