//! Golden bytes, and that every row survives the way through.

use super::*;
use proptest::prelude::*;

fn mutation(operation: Operation) -> Mutation {
    Mutation {
        table: TableId(7),
        key: Bytes::from_static(b"k\0y"),
        stamp: Stamp { round: Round(300), partition: PartitionId(2), offset: Offset(5) },
        operation,
    }
}

fn check(operation: Operation, expected: &[u8]) {
    let mutation = mutation(operation.clone());
    let mut out = Vec::new();
    put_mutation(&mut out, &mutation);
    assert_eq!(out, expected);
    assert_eq!(stamp(&out).expect("it was just written"), mutation.stamp);
    let row = row(Bytes::from(out)).expect("it was just written");
    match operation {
        Operation::Delete => assert_eq!(row, None),
        Operation::Put { timestamp, value, headers } => {
            assert_eq!(row, Some(Row { stamp: mutation.stamp, timestamp, value, headers }));
        }
    }
}

/// What older brokers have on disk: never change these bytes, add a version.
#[test]
fn golden_rows() {
    let (timestamp, value) = (Timestamp(-1), Bytes::from_static(b"{}"));
    check(
        Operation::Put { timestamp, value: value.clone(), headers: Bytes::new() },
        &[0x10, 0xd8, 0x04, 0x04, 0x0a, 0x01, b'{', b'}'],
    );
    check(
        Operation::Put { timestamp, value, headers: Bytes::from_static(b"\x02\x02a\x01") },
        &[0x11, 0xd8, 0x04, 0x04, 0x0a, 0x01, 0x08, 2, 2, b'a', 1, b'{', b'}'],
    );
    check(Operation::Delete, &[0x12, 0xd8, 0x04, 0x04, 0x0a]);
}

/// As [`golden_rows`], for keys.
#[test]
fn golden_keys() {
    assert_eq!(key(TableId(7), b"k\0y"), [0, 0, 0, 7, b'k', 0, b'y']);
    assert_eq!(split_key(&[0, 0, 0, 7]).expect("an empty key"), (TableId(7), &b""[..]));
    assert!(split_key(&[0, 0, 7]).is_err());
    assert_eq!(progress_key(), *b"\xff\xff\xff\xffprogress");
    assert_eq!(dropped_key(TableId(1)), *b"\xff\xff\xff\xffdropped\0\0\0\x01");
}

/// As [`golden_rows`], for progress.
#[test]
fn golden_progress() {
    let mark = Mark {
        progress: Progress {
            applied: Round(258),
            positions: vec![(PartitionId(1), Offset(9)), (PartitionId(3), Offset(0))],
        },
        highest: Round(257),
    };
    let stored = encode_mark(&mark);
    let expected = [
        &[1][..],
        &[0, 0, 0, 0, 0, 0, 1, 2],
        &[0, 0, 0, 0, 0, 0, 1, 1],
        &[0, 0, 0, 2],
        &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9],
        &[0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0],
        &GOLDEN_PROGRESS_CRC,
    ]
    .concat();
    assert_eq!(stored, expected);
    assert_eq!(decode_mark(&stored).expect("it was just written"), mark);
    for at in 0..stored.len() {
        let mut bad = stored.clone();
        bad[at] ^= 0x10;
        assert!(decode_mark(&bad).is_err(), "byte {at} is not covered");
        assert!(decode_mark(&stored[..at]).is_err(), "cut off at {at}");
    }
}

const GOLDEN_PROGRESS_CRC: [u8; 4] = [0x81, 0x49, 0x9d, 0x25];

#[test]
fn cut_off_rows_are_damaged() {
    let stored = [0x11, 0xd8, 0x04, 0x04, 0x0a, 0x01, 0x08, 2, 2, b'a', 1];
    for at in 0..stored.len() {
        assert!(row(Bytes::copy_from_slice(&stored[..at])).is_err(), "cut off at {at}");
    }
    assert!(row(Bytes::from_static(&[0x12, 2, 2, 2, 0])).is_err(), "a delete with a value");
    assert!(row(Bytes::from_static(&[0x22, 2, 2, 2])).is_err(), "another version");
    assert!(row(Bytes::from_static(&[0x13, 2, 2, 2])).is_err(), "another kind");
}

proptest! {
    #[test]
    fn rows_survive(
        round: u64,
        partition: u32,
        offset: i64,
        timestamp: i64,
        value: Vec<u8>,
        headers: Vec<u8>,
    ) {
        let stamp = Stamp {
            round: Round(round),
            partition: PartitionId(partition),
            offset: Offset(offset),
        };
        let (value, headers) = (Bytes::from(value), Bytes::from(headers));
        let timestamp = Timestamp(timestamp);
        let mut out = Vec::new();
        put_mutation(&mut out, &Mutation {
            table: TableId(1),
            key: Bytes::new(),
            stamp,
            operation: Operation::Put {
                timestamp,
                value: value.clone(),
                headers: headers.clone(),
            },
        });
        let read = row(Bytes::from(out)).expect("it was just written");
        prop_assert_eq!(read, Some(Row { stamp, timestamp, value, headers }));
    }

    #[test]
    fn order_of_keys_survives(a: (u32, Vec<u8>), b: (u32, Vec<u8>)) {
        let stored = |(table, k): &(u32, Vec<u8>)| key(TableId(*table), k);
        prop_assert_eq!(stored(&a).cmp(&stored(&b)), a.cmp(&b));
    }

    #[test]
    fn any_bytes_are_a_row_or_an_error(stored: Vec<u8>) {
        let decoded = row(Bytes::from(stored.clone()));
        prop_assert!(decoded.is_err() || stamp(&stored).is_ok());
        let _refused_or_not = decode_mark(&stored);
    }
}
