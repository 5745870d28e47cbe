//! Bits that flip: in segments, in the journal, in a checkpoint.

use crate::generate::part;
use anabranch_log::disk::Disk;
use anabranch_log::disk::sim::SimDisk;
use anabranch_log::{
    Append, Atomicity, Change, Command, Error, JournalSize, Log, Operation, Options, ReadError,
    SegmentWriter, Settings, Submission, Until,
};
use anabranch_types::batch::{BatchBuilder, batches};
use anabranch_types::{Offset, PartitionId, Round, Timestamp};
use crossbeam::channel::bounded;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use smallvec::SmallVec;
use std::collections::BTreeMap;

const PARTITION: PartitionId = PartitionId(20);
const NOW: Timestamp = Timestamp(1_700_000_000_000);
const BLOCK: u64 = 4096;

/// A log whose segment writer is driven by hand.
struct Small {
    disk: SimDisk,
    options: Options,
    log: Log,
    writer: SegmentWriter,
}

impl Small {
    fn create(seed: u64, journal: JournalSize, segment_bytes: u64) -> Self {
        let disk = SimDisk::new(seed);
        let options = Options {
            journal,
            reserve_bytes: 0,
            segment_bytes,
            boot: 1,
            accept_journal_damage: false,
        };
        let (log, writer) = open(&disk, &options).expect("an empty disk is sound");
        let mut small = Self { disk, options, log, writer };
        small.operate(Operation::Create(PARTITION));
        small
    }

    fn operate(&mut self, operation: Operation) {
        let parts = SmallVec::new();
        let append = Append { parts, atomicity: Atomicity::AllParts, preconditions: None };
        let reply = Box::new(|answer: Result<_, _>| {
            answer.expect("nothing is wrong yet");
        });
        let settings = Settings::default();
        let (operations, unwritten, frees) = (vec![operation], Vec::new(), true);
        let change = Change { append, operations, settings, unwritten, frees, reply };
        self.log.commit(&mut vec![Command::Change(Box::new(change))], NOW);
    }

    /// A round of batches, each of one record of `bytes`.
    fn round(&mut self, batches: usize, bytes: usize) {
        let mut appends = Vec::new();
        for _ in 0..batches {
            let mut builder = BatchBuilder::default();
            builder.push(NOW, None, Some(&vec![b'v'; bytes]), &[]);
            let raw = builder.build().expect("no compression").freeze();
            let parts = SmallVec::from_iter([part(PARTITION, raw)]);
            appends.push(Append { parts, atomicity: Atomicity::EachPart, preconditions: None });
        }
        let reply = Box::new(|answer: Vec<anabranch_log::AppendResult>| {
            assert!(answer.iter().flatten().all(Result::is_ok), "nothing is wrong yet");
        });
        self.log.commit(&mut vec![Command::Submit(Submission { appends, reply })], NOW);
    }

    fn checkpoint(&mut self) {
        let (done, _) = bounded(0);
        self.log.commit(&mut vec![Command::Checkpoint(done)], NOW);
        self.writer.run_pending(usize::MAX);
    }

    fn end(&self) -> Offset {
        let log = self.log.shared().partition(PARTITION).expect("it was created");
        log.high_watermark()
    }

    /// The round of each batch.
    fn rounds(&self) -> BTreeMap<i64, Round> {
        let log = self.log.shared().partition(PARTITION).expect("it was created");
        let mut rounds = BTreeMap::new();
        let mut from = log.log_start();
        while from < log.high_watermark() {
            let chunks = log.read_rounds(from, 1 << 20, Until::Published).expect("no damage yet");
            for chunk in &chunks {
                for (header, _) in batches(&chunk.bytes).flatten() {
                    rounds.insert(header.base_offset.0, chunk.round);
                }
            }
            from = chunks.last().expect("it has not ended").next_offset;
        }
        rounds
    }

    /// The process ends and another one begins.
    fn reopen(self) -> Result<Self, Error> {
        let Self { disk, mut options, .. } = self;
        disk.kill();
        options.boot += 1;
        let (log, writer) = open(&disk, &options)?;
        Ok(Self { disk, options, log, writer })
    }

    /// Base offsets of what can be read, step by step; or the error that ends it.
    fn read_all(&self, bytes_max: usize) -> Result<Vec<i64>, ReadError> {
        let log = self.log.shared().partition(PARTITION).expect("it was created");
        let mut found = Vec::new();
        let mut from = log.log_start();
        while from < log.high_watermark() {
            let chunks = log.read(from, bytes_max, Until::Published)?;
            let Some(last) = chunks.last() else { break };
            for chunk in &chunks {
                for batch in batches(&chunk.bytes) {
                    let (header, bytes) = batch.expect("only whole batches are read");
                    header.check_crc(bytes).expect("only sound batches are read");
                    found.push(header.base_offset.0);
                }
            }
            from = last.next_offset;
        }
        Ok(found)
    }
}

fn open(disk: &SimDisk, options: &Options) -> Result<(Log, SegmentWriter), Error> {
    let disk: std::sync::Arc<dyn Disk> = std::sync::Arc::new(disk.clone());
    Log::open(disk, options, |_| Box::new(|| panic!("the journal is large enough")))
}

fn large() -> JournalSize {
    JournalSize { file_bytes: 1 << 20, files: 4 }
}

#[test]
fn a_damaged_batch_is_skipped_and_counted() {
    for seed in 0..150 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut small = Small::create(seed, large(), rng.random_range(1_000..40_000));
        for _ in 0..rng.random_range(1..30) {
            small.round(rng.random_range(1..6), rng.random_range(1..400));
        }
        small.checkpoint();
        let mut small = small.reopen().expect("nothing is damaged yet");
        let whole = small.read_all(1 << 20).expect("nothing is damaged yet");
        let rounds = small.rounds();
        let count = rng.random_range(1..4);
        let (damaged, framing) = damage_batches(&small.disk, rng, count);
        let bytes_max = [1, 700, 1 << 20][rng.random_range(0..3)];
        // Where the framing is lost, the next round is where reading goes on.
        let lost = |base: &i64| {
            damaged.contains(base)
                || framing.is_some_and(|at| *base >= at && rounds[base] == rounds[&at])
        };
        let expected: Vec<i64> = whole.iter().copied().filter(|base| !lost(base)).collect();
        assert_eq!(small.read_all(bytes_max), Ok(expected), "seed {seed}, damaged {damaged:?}");
        let figures = small.log.shared().figures();
        assert_eq!(figures.damaged_batches, damaged.len() as u64, "seed {seed}: {damaged:?}");
        // Life goes on behind the damage.
        let end = small.end();
        small.round(1, 100);
        assert_eq!(small.read_all(1 << 20).expect("it is skipped").last(), Some(&end.0));
    }
}

/// Flips a bit in some batches, not in a leader epoch: no checksum covers that. Says in which, and
/// in which one so that it cannot be told where the next one stands.
fn damage_batches(disk: &SimDisk, rng: &mut StdRng, count: usize) -> (Vec<i64>, Option<i64>) {
    let files = filled_files(disk, ".log");
    let mut damaged = Vec::new();
    for _ in 0..count {
        let path = &files[rng.random_range(0..files.len())];
        let file = disk.open(path).expect("it is there");
        let mut bytes = vec![0; file.bytes().expect("it is there") as usize];
        file.read_at(&mut bytes, 0).expect("it can be read");
        let mut at = 0;
        let found: Vec<(usize, i64, usize)> = batches(&bytes)
            .flatten()
            .map(|(header, _)| {
                at += header.bytes;
                (at - header.bytes, header.base_offset.0, header.bytes)
            })
            .collect();
        let (at, base, length) = found[rng.random_range(0..found.len())];
        let byte = rng.random_range(0..length);
        if damaged.contains(&base) || (12..16).contains(&byte) {
            continue;
        }
        assert!(disk.damage(path, (at + byte) as u64), "it is within the file");
        damaged.push(base);
        let framing = (8..12).contains(&byte) || byte == 16 || (23..27).contains(&byte);
        if framing || byte < 8 {
            // It cannot be iterated any more.
            return (damaged, framing.then_some(base));
        }
    }
    (damaged, None)
}

/// Files of a kind with something in them.
fn filled_files(disk: &SimDisk, extension: &str) -> Vec<String> {
    let bytes = |path: &str| disk.open(path).expect("it is there").bytes().expect("it is there");
    let of_kind = |path: &String| path.ends_with(extension) && bytes(path) > 0;
    disk.paths().into_iter().filter(of_kind).collect()
}

#[test]
fn a_damaged_sidecar_gives_no_wrong_answer() {
    for seed in 0..100 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut small = Small::create(seed, large(), rng.random_range(1_000..40_000));
        for _ in 0..rng.random_range(1..30) {
            small.round(rng.random_range(1..6), rng.random_range(1..400));
        }
        small.checkpoint();
        let small = small.reopen().expect("nothing is damaged yet");
        let whole = small.read_all(1 << 20).expect("nothing is damaged yet");
        let all = filled_files(&small.disk, ".idx");
        let path = &all[rng.random_range(0..all.len())];
        let length = small.disk.open(path).expect("there").bytes().expect("there");
        assert!(small.disk.damage(path, rng.random_range(0..length)));
        match small.read_all(500) {
            Ok(found) => assert_eq!(found, whole, "seed {seed}"),
            Err(error) => assert!(matches!(error, ReadError::Storage { .. }), "seed {seed}"),
        }
    }
}

/// A journal of ten rounds, each in a block of its own behind the one that created the partition.
fn ten_rounds(seed: u64) -> Small {
    let mut small = Small::create(seed, large(), 1 << 20);
    for _ in 0..10 {
        small.round(1, 100);
    }
    small
}

/// Bytes of the records above, without padding.
const RECORD_BYTES: u64 = 200;

#[test]
fn a_journal_damaged_in_the_middle_is_not_opened() {
    for seed in 0..100 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let small = ten_rounds(seed);
        // Round 1 created the partition, round 11 is the last.
        let round = rng.random_range(2..11);
        let at = (round - 1) * BLOCK + rng.random_range(0..RECORD_BYTES);
        assert!(small.disk.damage("journal/0", at));
        let (disk, mut options) = (small.disk.clone(), small.options.clone());
        match small.reopen().map(|_| ()) {
            Err(Error::JournalDamaged { round: found, later, .. }) => {
                assert_eq!((found.0, later.0), (round, round + 1), "seed {seed}");
            }
            other => panic!("seed {seed}: round {round} is damaged, but {other:?}"),
        }
        // Whoever gives up what stands behind gets what stands before.
        options.accept_journal_damage = true;
        options.boot = 77;
        let (log, _) = open(&disk, &options).expect("damage was accepted");
        let end = log.shared().partition(PARTITION).expect("it was created").high_watermark();
        assert_eq!((end.0 as u64, log.next_round()), (round - 2, Round(round)), "seed {seed}");
    }
}

#[test]
fn a_damaged_last_record_counts_as_torn() {
    for seed in 0..100 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let small = ten_rounds(seed);
        assert!(small.disk.damage("journal/0", 10 * BLOCK + rng.random_range(0..RECORD_BYTES)));
        let small = small.reopen().expect("a torn record is no damage");
        assert_eq!(small.end(), Offset(9), "seed {seed}");
    }
}

#[test]
fn damaged_padding_is_no_damage() {
    let small = ten_rounds(1);
    assert!(small.disk.damage("journal/0", 3 * BLOCK + 4_000));
    assert_eq!(small.reopen().expect("nothing that counts is damaged").end(), Offset(10));
}

/// Whatever happens to one slot: the log opens with everything, or says that it cannot.
#[test]
fn a_damaged_checkpoint_loses_nothing_silently() {
    let mut opened = 0;
    for seed in 0..300 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let journal = JournalSize { file_bytes: 16 << 10, files: 4 };
        let mut small = Small::create(seed, journal, 3_000);
        for _ in 0..rng.random_range(0..40) {
            match rng.random_range(0..10) {
                0 => small.checkpoint(),
                1 => small = small.reopen().expect("nothing is damaged yet"),
                _ => small.round(rng.random_range(1..4), rng.random_range(1..500)),
            }
            small.writer.run_pending(1);
        }
        let (end, next_round) = (small.end(), small.log.next_round());
        let path = format!("checkpoint.{}", rng.random_range(0..2));
        let Ok(file) = small.disk.open(&path) else { continue };
        let length = file.bytes().expect("it is there");
        assert!(small.disk.damage(&path, rng.random_range(0..length)));
        match small.reopen() {
            Ok(small) => {
                opened += 1;
                assert_eq!(small.end(), end, "seed {seed}: records were lost silently");
                assert!(small.log.next_round() >= next_round, "seed {seed}: rounds were lost");
                let found = small.read_all(1 << 20).expect("the segments are sound");
                assert_eq!(found.len() as i64, end.0, "seed {seed}");
            }
            Err(Error::JournalDamaged { .. } | Error::CheckpointDamaged | Error::Io(_)) => {}
            // The byte that was damaged says which version it is.
            Err(Error::CheckpointVersion { .. }) => {}
            Err(other) => panic!("seed {seed}: {other}"),
        }
    }
    assert!(opened > 100, "mostly, the other slot is enough: {opened}");
}

#[test]
fn without_any_checkpoint_nothing_is_opened_as_new() {
    for written in [false, true] {
        let mut small = ten_rounds(3);
        if written {
            small.checkpoint();
        }
        for slot in 0..2 {
            small.disk.damage(&format!("checkpoint.{slot}"), 30);
        }
        let answer = small.reopen().map(|_| ());
        assert!(matches!(answer, Err(Error::CheckpointDamaged)), "{answer:?}");
    }
    let small = ten_rounds(3);
    for slot in 0..2 {
        // The version.
        small.disk.damage(&format!("checkpoint.{slot}"), 4);
    }
    let answer = small.reopen().map(|_| ());
    assert!(matches!(answer, Err(Error::CheckpointVersion { .. })), "{answer:?}");
}
