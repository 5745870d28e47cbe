//! Reading across tail and segments, and retention.

use super::{batch, sim_disk};
use crate::partition::{Kept, PartitionLog};
use crate::read::{Chunk, ReadError, Until};
use anabranch_types::batch::batches;
use anabranch_types::{LeaderEpoch, Offset, PartitionId, Round, Timestamp};
use bytes::Bytes;
use proptest::prelude::*;
use smallvec::smallvec;

const SEGMENT_BYTES: u64 = 2_000;

/// A partition and what it should hold: base offset, end, round and size of each batch.
struct Filled {
    log: PartitionLog,
    batches: Vec<(i64, i64, Round, usize)>,
}

impl Filled {
    fn new() -> Self {
        let log = PartitionLog::new(sim_disk(), PartitionId(1), Kept::default());
        Self { log, batches: Vec::new() }
    }

    /// A round of batches: for each, the times of its records and the bytes of a value.
    fn publish(&mut self, round: u64, all: &[(Vec<i64>, usize)]) {
        let base = self.log.high_watermark();
        let (mut next, mut bytes) = (base, Vec::new());
        for (times, value_bytes) in all {
            let batch = batch(next, times, *value_bytes);
            let end = next.plus(times.len() as i64);
            self.batches.push((next.0, end.0, Round(round), batch.len()));
            bytes.extend(batch);
            next = end;
        }
        let chunk = Chunk::of(base, Round(round), Bytes::from(bytes)).measured();
        self.log.publish(smallvec![chunk], &[], LeaderEpoch(0));
    }

    /// Moves what waits to segments, and maybe out of memory.
    fn write(&self, evict: bool) {
        let end = self.log.high_watermark();
        let written = self.log.write_tail(end).expect("the disk is sound");
        self.log.roll(SEGMENT_BYTES).expect("the disk is sound");
        if evict {
            self.log.evict(written);
        }
    }

    /// What a read must give: batches by base offset.
    fn expected(&self, from: i64, bytes_max: usize, until: Option<Round>) -> Vec<i64> {
        let mut taken = 0;
        let mut out = Vec::new();
        for (base, end, round, bytes) in &self.batches {
            if *end <= from {
                continue;
            }
            taken += bytes;
            if until.is_some_and(|max| *round > max) || (!out.is_empty() && taken > bytes_max) {
                break;
            }
            out.push(*base);
        }
        out
    }

    /// Checks one read: a prefix of what is expected, at least one batch of it.
    fn check_read(&self, from: i64, bytes_max: usize, until: Option<Round>, rounds: bool) {
        let limit = until.map_or(Until::Published, Until::Round);
        let chunks = if rounds {
            self.log.read_rounds(Offset(from), bytes_max, limit)
        } else {
            self.log.read(Offset(from), bytes_max, limit)
        };
        let chunks = chunks.expect("in range");
        let found: Vec<i64> = chunks
            .iter()
            .flat_map(|chunk| batches(&chunk.bytes))
            .map(|batch| batch.expect("whole batches").0.base_offset.0)
            .collect();
        let expected = self.expected(from, bytes_max, until);
        assert_eq!(found.is_empty(), expected.is_empty(), "from {from}, {bytes_max} bytes");
        assert!(expected.starts_with(&found), "from {from}: {found:?}, not {expected:?}");
        if rounds {
            for chunk in &chunks {
                for (header, _) in batches(&chunk.bytes).flatten() {
                    let of = |batch: &&(i64, i64, Round, usize)| batch.0 == header.base_offset.0;
                    let known = self.batches.iter().find(of).expect("it was published");
                    assert_eq!(chunk.round, known.2);
                }
            }
        }
    }
}

fn many(count: usize, times: &[i64], value_bytes: usize) -> Vec<(Vec<i64>, usize)> {
    vec![(times.to_vec(), value_bytes); count]
}

#[test]
fn the_first_batch_may_be_larger_than_asked_for() {
    for evict in [false, true] {
        let mut filled = Filled::new();
        filled.publish(1, &many(1, &[1], 200_000));
        filled.publish(2, &many(2, &[2], 10));
        filled.write(evict);
        for bytes_max in [0, 1, 199_999] {
            assert_eq!(filled.expected(0, bytes_max, None), [0]);
            filled.check_read(0, bytes_max, None, true);
        }
        filled.check_read(1, 0, None, false);
    }
}

#[test]
fn what_is_out_of_range_is_refused() {
    let mut filled = Filled::new();
    filled.publish(1, &many(3, &[1], 10));
    filled.write(true);
    filled.log.set_log_start(Offset(1));
    let read = |from| filled.log.read(Offset(from), 1_000, Until::Published);
    let error = |asked| {
        let (start, end) = (Offset(1), Offset(3));
        Err(ReadError::OutOfRange { asked: Offset(asked), start, end })
    };
    assert_eq!(read(0), error(0));
    assert_eq!(read(4), error(4));
    assert_eq!(read(-1), error(-1));
    assert_eq!(read(3), Ok(Vec::new()));
    assert_eq!(read(1).map(|chunks| chunks[0].base_offset), Ok(Offset(1)));
}

#[test]
fn an_offset_within_a_batch_gives_the_batch() {
    let mut filled = Filled::new();
    filled.publish(1, &many(2, &[1, 2, 3, 4], 10));
    for evict in [false, true] {
        for from in 0..8 {
            filled.check_read(from, 1_000, None, true);
        }
        filled.write(evict);
    }
}

proptest! {
    #[test]
    fn reads_give_what_was_published(
        rounds in prop::collection::vec(
            (prop::collection::vec((1..4usize, 0..1_500usize), 1..5), 0..4u8),
            1..25,
        ),
        reads in prop::collection::vec((0..100u64, 0..9_000usize, 0..30u64, any::<bool>()), 30),
    ) {
        let mut filled = Filled::new();
        for (number, (all, then)) in rounds.iter().enumerate() {
            let all: Vec<_> =
                all.iter().map(|(records, bytes)| (vec![5; *records], *bytes)).collect();
            filled.publish(number as u64 + 1, &all);
            match then {
                0 => filled.write(false),
                1 => filled.write(true),
                _ => {}
            }
        }
        let end = filled.log.high_watermark().0;
        for (at, bytes_max, until, by_rounds) in reads {
            let from = (at as i64) * end / 100;
            let until = (until < 25).then_some(Round(until));
            filled.check_read(from, bytes_max, until, by_rounds);
        }
        // Step by step to the end, however small the steps.
        let mut from = 0;
        while from < end {
            let chunks = filled.log.read(Offset(from), 1, Until::Published).expect("in range");
            let next = chunks[0].next_offset.0;
            prop_assert!(next > from);
            from = next;
        }
    }

    #[test]
    fn times_are_found(
        rounds in prop::collection::vec((prop::collection::vec(0..50i64, 1..5), 0..3u8), 1..25),
        start in 0..60i64,
        asked in -1..52i64,
    ) {
        let mut filled = Filled::new();
        let mut all = Vec::new();
        for (number, (times, then)) in rounds.iter().enumerate() {
            filled.publish(number as u64 + 1, &[(times.clone(), 300)]);
            all.extend(times);
            match then {
                0 => filled.write(false),
                1 => filled.write(true),
                _ => {}
            }
        }
        let start = start.min(all.len() as i64);
        filled.log.set_log_start(Offset(start));
        let kept = || all.iter().enumerate().skip(start as usize);
        let expected = kept().find(|(_, time)| **time >= asked);
        let expected = expected.map(|(offset, time)| (Offset(offset as i64), Timestamp(*time)));
        prop_assert_eq!(filled.log.find_time(Timestamp(asked)).expect("in range"), expected);
    }
}

/// Five rounds of one record each, a second apart, each in a segment of its own but the last, which
/// waits in memory.
fn five_segments() -> Filled {
    let mut filled = Filled::new();
    for round in 1..=5 {
        filled.publish(round, &many(1, &[1_000 * round as i64], 3_000));
        if round < 5 {
            filled.write(true);
        }
    }
    filled
}

#[test]
fn retention_goes_by_whole_segments() {
    let filled = five_segments();
    let bytes = filled.batches[0].3 as u64;
    let cases = [
        // now, keep ms, keep bytes, expected start
        (6_000, None, None, None),
        (6_000, Some(10_000), None, None),
        (6_000, Some(4_999), None, Some(1)),
        (6_000, Some(3_000), None, Some(2)),
        // What waits in memory stays.
        (60_000, Some(1), None, Some(4)),
        (6_000, None, Some(4 * bytes), None),
        (6_000, None, Some(3 * bytes), Some(1)),
        (6_000, None, Some(3 * bytes - 1), Some(1)),
        (6_000, None, Some(2 * bytes), Some(2)),
        (6_000, None, Some(0), Some(4)),
        (6_000, Some(10_000), Some(2 * bytes), Some(2)),
        (6_000, Some(u64::MAX), None, None),
    ];
    for (now, keep_ms, keep_bytes, expected) in cases {
        let found = filled.log.retain_from(Timestamp(now), keep_ms, keep_bytes);
        assert_eq!(found.map(|start| start.0), expected, "{now} {keep_ms:?} {keep_bytes:?}");
    }
}

#[test]
fn everything_goes_by_age_once_it_is_written() {
    let filled = five_segments();
    filled.write(true);
    let start = filled.log.retain_from(Timestamp(60_000), Some(1), None);
    assert_eq!(start, Some(Offset(5)));
    filled.log.set_log_start(Offset(5));
    assert_eq!(filled.log.bytes(), 0);
    let (kept, _, removed) = filled.log.kept();
    assert_eq!((kept.log_start, kept.log_end), (Offset(5), Offset(5)));
    assert_eq!(removed.len(), 5);
    // Nothing more is to be gained.
    assert_eq!(filled.log.retain_from(Timestamp(60_000), Some(1), Some(0)), None);
}

#[test]
fn retention_never_moves_the_start_back() {
    let filled = five_segments();
    filled.log.set_log_start(Offset(4));
    let bytes = filled.batches[0].3 as u64;
    assert_eq!(filled.log.retain_from(Timestamp(6_000), Some(3_000), Some(2 * bytes)), None);
}
