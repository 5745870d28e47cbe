use super::{BatchBuilder, BatchError, BatchHeader, Compression, ValidateOptions};
use super::{Ending, Left, batches, cover, decode_records, empty, ending, marker, retain};
use super::{set_base_offset_and_epoch, set_log_append_time, set_producer, validate};
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, varint};
use proptest::prelude::*;

type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn build(records: &[Owned], compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::default().compression(compression);
    for (timestamp, key, value, headers) in records {
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
        builder.push(Timestamp(*timestamp), key.as_deref(), value.as_deref(), &headers);
    }
    builder.build().expect("codecs accept any bytes").to_vec()
}

fn decode(batch: &[u8]) -> Result<Vec<Owned>, BatchError> {
    let header = BatchHeader::read(batch)?;
    let mut scratch = Vec::new();
    decode_records(&header, batch, &mut scratch)?
        .map(|record| {
            let record = record?;
            let headers = record
                .headers
                .iter()
                .map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec)))
                .collect();
            Ok((
                record.timestamp.0,
                record.key.map(<[u8]>::to_vec),
                record.value.map(<[u8]>::to_vec),
                headers,
            ))
        })
        .collect()
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

fn records() -> impl Strategy<Value = Vec<Owned>> {
    let header = (bytes(), prop::option::of(bytes()));
    let record = (
        0..2_000_000_000_000i64,
        prop::option::of(bytes()),
        prop::option::of(bytes()),
        prop::collection::vec(header, 0..3),
    );
    prop::collection::vec(record, 1..30)
}

fn codec() -> impl Strategy<Value = Compression> {
    prop::sample::select(vec![
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ])
}

proptest! {
    #[test]
    fn a_batch_decodes_to_what_was_built(records in records(), codec in codec()) {
        let batch = build(&records, codec);
        let passed = validate(&batch, ValidateOptions::default(), |_| 0, &mut Vec::new());
        let max = records.iter().map(|record| record.0).max().expect("not empty");
        prop_assert_eq!(passed.expect("valid").max_timestamp, Timestamp(max));
        prop_assert_eq!(decode(&batch).expect("valid"), records);
    }

    #[test]
    fn a_flipped_bit_is_found(records in records(), codec in codec(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut batch = build(&records, codec);
        let at = at.index(batch.len());
        // Base offset and leader epoch are the broker's to write, outside the checksum.
        prop_assume!(!(0..8).contains(&at) && !(12..16).contains(&at));
        batch[at] ^= 1 << bit;
        prop_assert!(validate(&batch, ValidateOptions::default(), |_| 0, &mut Vec::new()).is_err());
    }

    #[test]
    fn any_bytes_are_refused_or_decoded(mut input in prop::collection::vec(any::<u8>(), 0..300), fix in any::<bool>()) {
        if fix && input.len() >= 61 {
            // Make it a batch in form, so that the record decoder sees the garbage.
            let length = (input.len() - 12) as i32;
            input[8..12].copy_from_slice(&length.to_be_bytes());
            input[16] = 2;
            let crc = crc32c::crc32c(&input[21..]);
            input[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let _ = validate(&input, ValidateOptions::default(), |_| 0, &mut Vec::new());
        let _ = decode(&input);
        let _ = batches(&input).count();
    }

    #[test]
    fn varints_round_trip(value in any::<i64>()) {
        let mut out = Vec::new();
        varint::put(&mut out, value);
        prop_assert_eq!(out.len(), varint::len(value));
        prop_assert_eq!(varint::take(&mut &out[..]), Some(value));
    }
}

#[test]
fn batches_end_quietly_where_the_last_is_cut_off() {
    let one = build(&[(1, None, Some(b"a".to_vec()), vec![])], Compression::None);
    let mut two = one.clone();
    two.extend(&one[..40]);
    assert_eq!(batches(&two).filter(Result::is_ok).count(), 1);
    assert_eq!(batches(&two).count(), 1);
}

#[test]
fn a_batch_has_the_bytes_kafka_gives_it() {
    // The batch that kafka-python 2.0's builder makes of this record.
    let batch = build(
        &[(1_700_000_000_000, Some(b"k".to_vec()), Some(b"v".to_vec()), vec![])],
        Compression::None,
    );
    assert_eq!(batch.len(), 61 + 9);
    assert_eq!(&batch[61..], &[16, 0, 0, 0, 2, b'k', 2, b'v', 0]);
    let header = BatchHeader::read(&batch).expect("valid");
    assert_eq!(header.next_offset(), Offset(1));
}

#[test]
fn a_batch_behind_a_prefix_is_the_same_batch() {
    let check = |codec| {
        let make = |prefix: &[u8]| {
            let mut builder = BatchBuilder::after(prefix.to_vec()).compression(codec);
            builder.push(Timestamp(5), Some(b"k"), Some(&[7; 300]), &[]);
            assert_eq!(builder.bytes(), 61 + 2 + 4 + 2 + 2 + 300);
            builder
        };
        let alone = make(b"").build().expect("valid");
        assert_eq!(make(b"frame").build().expect("valid"), alone);
        let framed = make(b"frame").build_after().expect("valid");
        assert_eq!(framed.strip_prefix(b"frame"), Some(&alone[..]));
    };
    check(Compression::None);
    check(Compression::Lz4);
}

#[test]
fn a_producer_set_later_is_the_one_set_before() {
    let producer = (ProducerId(9), ProducerEpoch(2), Sequence(77));
    let mut before = BatchBuilder::default();
    before.set_producer(producer.0, producer.1, producer.2);
    before.push(Timestamp(1), None, Some(b"v"), &[]);
    let mut later = build(&[(1, None, Some(b"v".to_vec()), vec![])], Compression::None);
    set_producer(&mut later, producer.0, producer.1, producer.2);
    assert_eq!(before.build().expect("valid"), later);
}

#[test]
fn a_null_key_is_named_where_keys_are_required() {
    let batch = build(
        &[(1, Some(b"k".to_vec()), None, vec![]), (1, None, None, vec![])],
        Compression::None,
    );
    let options = ValidateOptions { keys_required: true, hash_keys: false };
    let fault = validate(&batch, options, |_| 0, &mut Vec::new()).expect_err("a key is missing");
    assert_eq!(
        fault.to_string(),
        "this stream is keyed: every record needs a key (record 1 of the batch)"
    );
}

#[test]
fn markers_say_how_a_transaction_ends() {
    for how in [Ending::Abort, Ending::Commit] {
        let batch = marker(ProducerId(7), ProducerEpoch(3), how, Timestamp(5)).expect("built");
        let header = BatchHeader::read(&batch).expect("a batch");
        header.check_crc(&batch).expect("its checksum holds");
        assert!(header.is_control() && header.is_transactional());
        assert_eq!((header.producer_id, header.producer_epoch), (ProducerId(7), ProducerEpoch(3)));
        assert_eq!(ending(&header, &batch), Some(how));
    }
    let mut builder = BatchBuilder::default();
    builder.push(Timestamp(1), Some(&[0, 0, 0, 1]), None, &[]);
    let batch = builder.build().expect("built");
    assert_eq!(ending(&BatchHeader::read(&batch).expect("a batch"), &batch), None);
}

proptest! {
    #[test]
    fn compaction_leaves_what_is_wanted(
        records in records(),
        codec in codec(),
        wanted in prop::collection::vec(any::<bool>(), 30),
        horizon in 0..3_000_000_000_000i64,
        append_time in prop::option::of(1..2_000_000_000_000i64),
    ) {
        let mut batch = build(&records, codec);
        set_base_offset_and_epoch(&mut batch, Offset(70), LeaderEpoch(3));
        if let Some(time) = append_time {
            set_log_append_time(&mut batch, Timestamp(time));
        }
        let header = BatchHeader::read(&batch).expect("it decodes");
        let is_wanted = |offset: i64| wanted[(offset - 70) as usize];
        let left = retain(&header, &batch, Timestamp(horizon), &mut Vec::new(), |record| {
            is_wanted(record.offset.0)
        });
        let all = decode(&batch).expect("it decodes");
        let expected: Vec<(i64, Owned)> =
            (70..).zip(all).filter(|(offset, _)| is_wanted(*offset)).collect();
        let has_tombstone = expected.iter().any(|(_, (_, _, value, _))| value.is_none());
        let mut found = match left.expect("it decodes") {
            Left::Nothing => {
                prop_assert!(expected.is_empty());
                return Ok(());
            }
            Left::Whole => {
                prop_assert!(expected.len() == records.len() && !has_tombstone);
                batch
            }
            Left::Part(part) => part,
        };
        cover(&mut found, Offset(2_000_000_000));
        let after = BatchHeader::read(&found).expect("it decodes");
        after.check_crc(&found).expect("it decodes");
        prop_assert_eq!(after.base_offset, Offset(70));
        prop_assert_eq!(after.next_offset(), Offset(2_000_000_000));
        prop_assert_eq!(after.leader_epoch, LeaderEpoch(3));
        prop_assert_eq!(after.delete_horizon(), has_tombstone.then_some(Timestamp(horizon)));
        let newest = expected.iter().map(|(_, (time, ..))| *time).max();
        prop_assert_eq!(Some(after.max_timestamp.0), newest);
        let (mut scratch, mut offsets) = (Vec::new(), Vec::new());
        for record in decode_records(&after, &found, &mut scratch).expect("it decodes") {
            offsets.push(record.expect("it decodes").offset.0);
        }
        let content: Vec<Owned> = expected.iter().map(|(_, record)| record.clone()).collect();
        prop_assert_eq!(offsets, expected.iter().map(|(offset, _)| *offset).collect::<Vec<_>>());
        prop_assert_eq!(decode(&found).expect("it decodes"), content);
        // Once more, much later: what has a horizon keeps it.
        let again = retain(&after, &found, Timestamp(i64::MAX), &mut Vec::new(), |_| true);
        prop_assert_eq!(again.expect("it decodes"), Left::Whole);
    }
}

#[test]
fn an_empty_batch_covers_offsets() {
    let mut batch = empty(Offset(100), LeaderEpoch(7));
    cover(&mut batch, Offset(1_000));
    let header = BatchHeader::read(&batch).expect("it decodes");
    header.check_crc(&batch).expect("it decodes");
    assert_eq!((header.base_offset, header.next_offset()), (Offset(100), Offset(1_000)));
    assert_eq!((header.records_count, header.leader_epoch), (0, LeaderEpoch(7)));
    assert_eq!(decode(&batch).expect("it decodes"), []);
}
