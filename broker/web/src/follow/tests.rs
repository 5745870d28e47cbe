use super::*;
use anabranch_types::batch::{BatchBuilder, set_base_offset_and_epoch};
use anabranch_types::{LeaderEpoch, Round, Timestamp};

/// Keeps the offsets it is given, `room` at most.
struct Offsets {
    seen: Vec<i64>,
    room: usize,
}

impl Sink for Offsets {
    fn record(&mut self, _: PartitionIndex, record: &Record<'_>) {
        let Offset(offset) = record.offset;
        self.seen.push(offset);
    }

    fn is_full(&self, compressed: bool) -> bool {
        self.seen.len() >= if compressed { 2 * self.room } else { self.room }
    }

    fn partition_end(&mut self, _: PartitionIndex, _: Offset) {}
}

/// A chunk of batches: base offset, records, codec.
fn chunk(of: &[(i64, usize, Compression)]) -> Vec<Chunk> {
    let mut bytes = Vec::new();
    for &(base, count, codec) in of {
        let mut builder = BatchBuilder::default().compression(codec);
        for _ in 0..count {
            builder.push(Timestamp(17), None, Some(b"1"), &[]);
        }
        let mut batch = builder.build().expect("it compresses");
        set_base_offset_and_epoch(&mut batch, Offset(base), LeaderEpoch(1));
        bytes.extend_from_slice(&batch);
    }
    let (base, count, _) = of[of.len() - 1];
    vec![Chunk {
        base_offset: Offset(of[0].0),
        next_offset: Offset(base + count as i64),
        round: Round(1),
        max_timestamp: Timestamp(17),
        bytes: bytes.into(),
    }]
}

#[test]
fn records_from_a_position_until_full() {
    let check = |chunks: &[Chunk], from: i64, room: usize, seen: &[i64], after: i64| {
        let mut sink = Offsets { seen: Vec::new(), room };
        let mut next = Offset(from);
        feed(|_| true, chunks, PartitionIndex(0), &mut next, &mut sink).expect("sound batches");
        assert_eq!((sink.seen.as_slice(), next), (seen, Offset(after)));
    };
    // Between 13 and 20 is a gap.
    let plain = chunk(&[(10, 3, Compression::None), (20, 2, Compression::None)]);
    check(&plain, 10, 9, &[10, 11, 12, 20, 21], 22);
    check(&plain, 11, 9, &[11, 12, 20, 21], 22);
    check(&plain, 15, 9, &[20, 21], 22);
    check(&plain, 10, 1, &[10], 11);
    check(&plain, 10, 3, &[10, 11, 12], 13);
    check(&plain, 22, 9, &[], 22);
    // A compressed batch is followed further before it is left in the middle.
    let lz4 = chunk(&[(10, 3, Compression::Lz4), (20, 2, Compression::Lz4)]);
    check(&lz4, 10, 1, &[10, 11], 12);
    check(&lz4, 10, 2, &[10, 11, 12], 13);
}

#[test]
fn a_broken_batch_says_where_to_go_on() {
    let mut chunks = chunk(&[(10, 3, Compression::None)]);
    let mut bytes = chunks[0].bytes.to_vec();
    let end = bytes.len() - 1;
    // The last record claims a header that is not there.
    bytes[end] = 2;
    chunks[0].bytes = bytes.into();
    let mut sink = Offsets { seen: Vec::new(), room: 9 };
    let mut next = Offset(10);
    let error =
        feed(|_| true, &chunks, PartitionIndex(0), &mut next, &mut sink).expect_err("broken");
    assert!(matches!(error, StepError::Batch { after: Offset(13), .. }), "{error}");
    assert_eq!(sink.seen, [10, 11]);
}
