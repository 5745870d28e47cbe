//! Compaction of one partition, without accidents: those are simulated.

use crate::compaction::{Compacted, Compaction, KeySet, Tombstones};
use crate::disk::Disk;
use crate::disk::sim::{Faults, SimDisk};
use crate::partition::{Kept, PartitionLog};
use crate::read::{Chunk, Until};
use crate::transactions::Event;
use anabranch_types::batch::{
    BatchBuilder, Compression, Ending, batches, decode_records, marker, set_base_offset_and_epoch,
};
use anabranch_types::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Round, Sequence, Timestamp,
};
use bytes::Bytes;
use proptest::prelude::*;
use smallvec::smallvec;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// A record: its offset, key and value.
type Found = (i64, u8, Option<u8>);

struct Subject {
    disk: SimDisk,
    log: PartitionLog,
    round: u64,
}

impl Subject {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        let log = PartitionLog::new(Arc::new(disk.clone()), PartitionId(1), Kept::default());
        Self { disk, log, round: 0 }
    }

    fn publish(&mut self, mut batch: Vec<u8>, epoch: i32, events: &[Event]) {
        self.round += 1;
        let base = self.log.high_watermark();
        set_base_offset_and_epoch(&mut batch, base, LeaderEpoch(epoch));
        let chunk = Chunk::of(base, Round(self.round), Bytes::from(batch)).measured();
        self.log.publish(smallvec![chunk], events, LeaderEpoch(epoch));
    }

    /// One batch, of the leader epoch `epoch`.
    fn put(&mut self, records: &[(u8, Option<u8>)], epoch: i32) {
        self.publish(batch(records, Compression::None), epoch, &[]);
    }

    /// A transaction of one batch and its marker.
    fn transaction(&mut self, producer: i64, records: &[(u8, Option<u8>)], ending: Ending) {
        let producer = ProducerId(producer);
        let first = self.log.high_watermark();
        let mut builder = builder(records, Compression::None);
        builder.set_producer(producer, ProducerEpoch(0), Sequence(0));
        builder.set_transactional();
        let batch = builder.build().expect("no compression").to_vec();
        self.publish(batch, 0, &[Event::Opened { producer, first }]);
        let at = self.log.high_watermark();
        let round = Round(self.round + 1);
        let marked = marker(producer, ProducerEpoch(0), ending, Timestamp(1));
        let marked = marked.expect("no compression").to_vec();
        self.publish(marked, 0, &[Event::Ended { producer, first, marker: at, ending, round }]);
    }

    /// Ends the segment, and lets memory go.
    fn seal(&self) {
        let end = self.log.high_watermark();
        let written = self.log.write_tail(end).expect("the disk is sound");
        self.log.roll(1).expect("the disk is sound");
        self.log.evict(written);
    }

    fn plan(&self, now: u64) -> Compaction<'static> {
        Compaction {
            below: self.log.high_watermark(),
            now: Timestamp(i64::try_from(now).expect("a time")),
            delete_retention_ms: DAY_MS,
            min_lag_ms: 0,
            segment_bytes: 1 << 30,
            keys_max: 1_000,
            free_bytes_min: 0,
            tombstones: Tombstones::All,
            stop: &|| false,
        }
    }

    fn compact(&self, now: u64) -> Compacted {
        self.log.compact(&self.plan(now)).expect("the disk is sound")
    }

    fn records(&self) -> Vec<Found> {
        records(&self.log)
    }

    fn files(&self) -> usize {
        self.disk.list("partitions/1").expect("it is there").len()
    }
}

fn builder(records: &[(u8, Option<u8>)], compression: Compression) -> BatchBuilder {
    let mut builder = BatchBuilder::default().compression(compression);
    for (key, value) in records {
        let value = value.map(|value| [value]);
        builder.push(Timestamp(1), Some(&[*key]), value.as_ref().map(|value| &value[..]), &[]);
    }
    builder
}

fn batch(records: &[(u8, Option<u8>)], compression: Compression) -> Vec<u8> {
    builder(records, compression).build().expect("codecs take any bytes").to_vec()
}

/// All that counts, and no gap before it.
fn records(log: &PartitionLog) -> Vec<Found> {
    let (mut out, mut next) = (Vec::new(), log.log_start());
    while next < log.high_watermark() {
        let chunks = log.read(next, 300, Until::Published).expect("in range");
        for (header, batch) in chunks.iter().flat_map(|chunk| batches(&chunk.bytes).flatten()) {
            assert!((header.base_offset..header.next_offset()).contains(&next));
            header.check_crc(batch).expect("it is whole");
            next = header.next_offset();
            if log.counts(&header) {
                let mut scratch = Vec::new();
                for record in decode_records(&header, batch, &mut scratch).expect("it decodes") {
                    let record = record.expect("it decodes");
                    let key = record.key.expect("all have one")[0];
                    out.push((record.offset.0, key, record.value.map(|value| value[0])));
                }
            }
        }
    }
    out
}

fn keys(keys: &[u8]) -> KeySet {
    let mut set = KeySet::default();
    keys.iter().for_each(|key| set.insert(&[*key]));
    set
}

#[test]
fn the_last_record_of_each_key_stays() {
    let mut subject = Subject::new();
    subject.put(&[(1, Some(1)), (2, Some(1)), (1, Some(2))], 0);
    subject.put(&[(3, Some(1))], 0);
    subject.seal();
    subject.put(&[(1, Some(3)), (3, Some(2))], 0);
    subject.seal();
    subject.put(&[(2, Some(9))], 0);
    let dirt = subject.log.dirt(Offset(7), Timestamp(2), 0);
    assert_eq!((dirt.clean, dirt.ratio(), dirt.since), (0, 1.0, Some(Timestamp(1))));
    let done = subject.compact(2);
    assert_eq!(done.until, Offset(6));
    assert!(done.bytes_after < done.bytes_before, "{done:?}");
    // The last is in no sealed segment: it is not known to the pass.
    let expected = [(1, 2, Some(1)), (4, 1, Some(3)), (5, 3, Some(2)), (6, 2, Some(9))];
    assert_eq!(subject.records(), expected);
    let dirt = subject.log.dirt(Offset(7), Timestamp(2), 0);
    assert_eq!((dirt.dirty, dirt.since, dirt.clean), (0, None, done.bytes_after));
    assert_eq!(subject.compact(3), Compacted { until: Offset(6), ..Compacted::default() });
    subject.seal();
    subject.compact(3);
    assert_eq!(subject.records(), expected[1..]);
}

#[test]
fn nothing_is_touched_beyond_the_limits() {
    let mut subject = Subject::new();
    for value in 0..4 {
        subject.put(&[(1, Some(value))], 0);
        subject.seal();
    }
    let plan = Compaction { below: Offset(2), ..subject.plan(2) };
    assert_eq!(subject.log.compact(&plan).expect("sound").until, Offset(2));
    assert_eq!(subject.records(), [(1, 1, Some(1)), (2, 1, Some(2)), (3, 1, Some(3))]);
    let plan = Compaction { min_lag_ms: 5, ..subject.plan(5) };
    assert_eq!(subject.log.compact(&plan).expect("sound").until, Offset(2), "all are too young");
    let plan = Compaction { min_lag_ms: 5, ..subject.plan(6) };
    subject.log.compact(&plan).expect("sound");
    assert_eq!(subject.records(), [(3, 1, Some(3))]);
    subject.put(&[(1, Some(9))], 0);
    subject.seal();
    subject.disk.set_faults(Faults { capacity: 100_000, ..Faults::default() });
    let plan = Compaction { free_bytes_min: 100_000, ..subject.plan(6) };
    let error = subject.log.compact(&plan).expect_err("there is no room");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(subject.records().len(), 2);
}

#[test]
fn tombstones_stay_for_a_while() {
    let mut subject = Subject::new();
    subject.put(&[(1, Some(1)), (2, Some(1))], 0);
    subject.put(&[(1, None), (2, None)], 0);
    subject.seal();
    subject.compact(10);
    let tombstones = [(2, 1, None), (3, 2, None)];
    assert_eq!(subject.records(), tombstones);
    assert!(subject.log.due_tombstones(&subject.plan(9 + DAY_MS)).expect("sound").is_empty());
    let due = subject.log.due_tombstones(&subject.plan(10 + DAY_MS)).expect("sound");
    assert!(due.contains(&[1]) && due.contains(&[2]) && !due.contains(&[3]));
    subject.put(&[(3, Some(1))], 0);
    subject.seal();
    subject.compact(9 + DAY_MS);
    assert_eq!(subject.records()[..2], tombstones);
    subject.put(&[(3, Some(2))], 0);
    subject.seal();
    let only_two = keys(&[2]);
    let plan = subject.plan(10 + DAY_MS);
    let plan = Compaction { tombstones: Tombstones::Of(&only_two), ..plan };
    subject.log.compact(&plan).expect("sound");
    assert_eq!(subject.records(), [(2, 1, None), (5, 3, Some(2))], "1 is held elsewhere");
}

#[test]
fn what_another_partition_holds_is_known() {
    let mut subject = Subject::new();
    subject.put(&[(1, Some(1)), (2, None)], 0);
    subject.seal();
    subject.put(&[(3, Some(1))], 0);
    let mut set = keys(&[1, 2, 3, 4]);
    subject.log.forget_held(&mut set).expect("the disk is sound");
    let left: Vec<u8> = (1..=4).filter(|key| set.contains(&[*key])).collect();
    assert_eq!(left, [2, 4]);
}

#[test]
fn aborted_transactions_go_and_committed_ones_stay() {
    let mut subject = Subject::new();
    subject.put(&[(1, Some(1))], 0);
    subject.transaction(7, &[(1, Some(2)), (2, Some(2))], Ending::Abort);
    subject.transaction(7, &[(3, Some(3))], Ending::Commit);
    subject.transaction(8, &[(4, Some(4))], Ending::Commit);
    subject.put(&[(4, Some(5))], 0);
    subject.seal();
    let count = |subject: &Subject| {
        let chunks = subject.log.read(Offset(0), 1 << 20, Until::Published).expect("in range");
        let all = chunks.iter().flat_map(|chunk| batches(&chunk.bytes).flatten());
        all.filter(|(header, _)| header.is_control()).count()
    };
    subject.compact(2);
    let expected = [(0, 1, Some(1)), (4, 3, Some(3)), (8, 4, Some(5))];
    assert_eq!(subject.records(), expected);
    assert_eq!(count(&subject), 3, "somebody may have seen the records");
    assert_eq!(subject.log.aborted_within(Offset(0), Offset(9)).len(), 1);
    subject.put(&[(5, Some(5))], 0);
    subject.seal();
    subject.compact(2 + DAY_MS);
    assert_eq!(subject.records()[..3], expected);
    assert_eq!(count(&subject), 1, "the one whose record is there");
    assert_eq!(subject.log.aborted_within(Offset(0), Offset(9)), []);
}

/// A consumer that goes on behind a batch says the batch's epoch, and is told that its log was cut
/// if that epoch ended before (KIP-320).
#[test]
fn no_batch_reaches_into_another_leader_epoch() {
    let mut subject = Subject::new();
    for epoch in 0..3 {
        subject.put(&[(epoch, Some(0))], i32::from(epoch));
        subject.put(&[(9, Some(epoch))], i32::from(epoch));
    }
    subject.put(&[(1, Some(1)), (2, Some(1))], 3);
    subject.seal();
    subject.compact(2);
    let chunks = subject.log.read(Offset(0), 1 << 20, Until::Published).expect("in range");
    for (header, _) in chunks.iter().flat_map(|chunk| batches(&chunk.bytes).flatten()) {
        let (epoch, end) = subject.log.epoch_end(header.leader_epoch).expect("it is known");
        assert_eq!(epoch, header.leader_epoch);
        assert!(header.next_offset() <= end, "{header:?} ends behind {end}");
    }
    assert_eq!(subject.records().len(), 4);
}

#[test]
fn a_pass_goes_as_far_as_its_memory() {
    let mut subject = Subject::new();
    for key in 0..20 {
        subject.put(&[(key, Some(0))], 0);
        subject.put(&[(key, Some(1))], 0);
    }
    subject.seal();
    let mut clean = Offset(0);
    for pass in 1..=7 {
        let plan = Compaction { keys_max: 4, ..subject.plan(2) };
        let done = subject.log.compact(&plan).expect("the disk is sound");
        assert!(done.until > clean, "pass {pass}");
        clean = done.until;
        if clean == Offset(40) {
            assert_eq!(subject.records().len(), 20);
            return;
        }
    }
    panic!("seven passes were not enough: {clean}");
}

#[test]
fn small_segments_become_one() {
    let mut subject = Subject::new();
    for value in 0..10 {
        subject.put(&[(value, Some(value))], 0);
        subject.seal();
    }
    let before = subject.records();
    subject.compact(2);
    assert_eq!(subject.records(), before);
    let (kept, segments, removed) = subject.log.kept();
    assert_eq!((kept.segments.len(), kept.cleaned), (2, Offset(10)), "one, and the open one");
    removed.iter().for_each(|segment| segment.remove().expect("it is there"));
    assert_eq!(subject.files(), 2 * segments.len());
    // As a restart does.
    let again = PartitionLog::new(Arc::new(subject.disk.clone()), PartitionId(1), kept);
    assert_eq!(records(&again), before);
}

#[test]
fn a_pass_can_be_given_up() {
    let mut subject = Subject::new();
    (0..10).for_each(|value| subject.put(&[(1, Some(value))], 0));
    subject.seal();
    let before = subject.records();
    for questions in 0..20 {
        let left = std::cell::Cell::new(questions);
        let stop = || left.replace(left.get() - 1) <= 0;
        let plan = Compaction { stop: &stop, ..subject.plan(2) };
        let done = subject.log.compact(&plan).expect("the disk is sound");
        assert_eq!(done.until, Offset(0), "after {questions} questions");
        assert_eq!(subject.records(), before);
    }
    assert_eq!(subject.files(), 4, "two segments and nothing else");
}

#[test]
fn a_segment_ends_when_it_is_old() {
    let mut subject = Subject::new();
    let roll = |subject: &Subject, later: i64| {
        let is_old = subject.log.roll_if_older(Timestamp(crate::now().0 + later), 60_000);
        subject.log.write_tail(subject.log.high_watermark()).expect("the disk is sound");
        subject.log.roll(1 << 30).expect("the disk is sound");
        (is_old, subject.log.segments().len())
    };
    assert_eq!(roll(&subject, 70_000), (false, 0), "nothing is there");
    subject.put(&[(1, Some(1))], 0);
    assert_eq!(roll(&subject, 70_000), (false, 1), "it is only in memory");
    assert_eq!(roll(&subject, 1_000), (false, 1), "it is young");
    assert_eq!(roll(&subject, 70_000), (true, 2));
    assert_eq!(roll(&subject, 200_000), (false, 2), "the new one is empty");
}

#[test]
fn readers_do_not_notice() {
    let mut subject = Subject::new();
    let done = AtomicBool::new(false);
    for value in 0..100 {
        subject.put(&[(value % 10, Some(value)), (100 + value, Some(0))], 0);
        if value % 5 == 0 {
            subject.seal();
        }
    }
    let log = &subject.log;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let found = records(log);
                    let last: BTreeMap<u8, i64> =
                        found.iter().map(|(offset, key, _)| (*key, *offset)).collect();
                    assert_eq!(last.len(), 110, "every key is there");
                }
            });
        }
        for pass in 0..40 {
            let below = Offset(5 * pass);
            let plan = Compaction { below, segment_bytes: 3_000, ..subject.plan(2) };
            log.compact(&plan).expect("the disk is sound");
            // As the sweep does after a checkpoint: shortened first.
            for segment in log.kept().2 {
                for extension in ["log", "idx"] {
                    let file = subject.disk.open(&segment.path(extension)).expect("it is there");
                    file.set_len(10).expect("the disk is sound");
                }
                segment.remove().expect("the disk is sound");
            }
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(log.damaged_batches(), 0);
}

proptest! {
    #[test]
    fn the_fold_is_the_same(
        all in prop::collection::vec(
            (prop::collection::vec((0..6u8, prop::option::of(any::<u8>())), 1..6), 0..10u8),
            1..60,
        ),
        codec in prop::sample::select(vec![Compression::None, Compression::Lz4, Compression::Zstd]),
        keys_max in 1..8usize,
        segment_bytes in prop::sample::select(vec![1u64, 300, 1_000, 1 << 30]),
    ) {
        let mut subject = Subject::new();
        for (number, (records, action)) in all.iter().enumerate() {
            subject.publish(batch(records, codec), 0, &[]);
            let now = number as u64;
            match action {
                0..2 => subject.seal(),
                2 => {
                    let plan = subject.plan(now);
                    let plan =
                        Compaction { keys_max, segment_bytes, delete_retention_ms: 5, ..plan };
                    let before = fold(&subject.records());
                    let done = subject.log.compact(&plan).expect("the disk is sound");
                    let after = subject.records();
                    prop_assert_eq!(fold(&after), before);
                    let clean: Vec<u8> = after
                        .iter()
                        .filter(|(offset, ..)| *offset < done.until.0)
                        .map(|(_, key, _)| *key)
                        .collect();
                    let mut once = clean.clone();
                    once.sort_unstable();
                    once.dedup();
                    prop_assert_eq!(clean.len(), once.len(), "superseded: {:?}", after);
                }
                _ => {}
            }
        }
        subject.seal();
        let expected: Vec<(u8, Option<u8>)> =
            all.iter().flat_map(|(records, _)| records).copied().collect();
        let numbered = expected.iter().enumerate();
        let numbered: Vec<Found> =
            numbered.map(|(offset, (key, value))| (offset as i64, *key, *value)).collect();
        prop_assert_eq!(fold(&subject.records()), fold(&numbered));
    }
}

/// The table.
fn fold(records: &[Found]) -> BTreeMap<u8, u8> {
    let mut table = BTreeMap::new();
    for (_, key, value) in records {
        match value {
            Some(value) => table.insert(*key, *value),
            None => table.remove(key),
        };
    }
    table
}
