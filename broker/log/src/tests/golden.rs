//! What stands on disk, byte by byte: a change here needs a new version of the format.

use super::contents;
use crate::checkpoint::Checkpoint;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::journal::{Journal, JournalFiles, JournalPosition, JournalSize, Link};
use crate::partition::Kept;
use crate::producers::Producers;
use crate::round::{Operation, entries, put_batches, put_operation};
use crate::segment::{Entry, SegmentEnd};
use crate::transactions::Aborted;
use anabranch_types::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Round, Timestamp,
};
use std::io::IoSlice;
use std::sync::Arc;

/// Compares bytes with hexadecimal digits; blanks and line ends separate fields.
#[track_caller]
fn check(bytes: &[u8], expected: &str) {
    let digits: String = expected.split_whitespace().collect();
    let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found, digits);
}

fn from_hex(digits: &str) -> Vec<u8> {
    let digits: String = digits.split_whitespace().collect();
    let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two digits")).collect()
}

#[test]
fn journal_record() {
    let disk = Arc::new(SimDisk::new(1));
    let size = JournalSize { file_bytes: 16 << 10, files: 2 };
    let files = Arc::new(JournalFiles::new(Arc::clone(&disk) as Arc<dyn Disk>, size));
    let next = Link {
        boot: 0x1122_3344_5566_7788,
        round: Round(7),
        before: 0xaabb_ccdd,
        position: JournalPosition { file: 3, at: 0 },
    };
    let mut journal = Journal::start(files, next).expect("the disk is sound");
    journal.write(&[IoSlice::new(b"1234"), IoSlice::new(b"56789")]).expect("the disk is sound");
    let bytes = contents(&*disk.open("journal/1").expect("slot of file 3"));
    // Magic, version, reserved; boot; round; length; CRC-32C of "123456789" (RFC 3720, e3069283);
    // the checksum of the header before; reserved; the header's own checksum.
    check(
        &bytes[..48],
        "414e424a 0100 0000 8877665544332211 0700000000000000 09000000 839206e3 ddccbbaa
         0000000000000000 9ba97786",
    );
    assert_eq!(&bytes[48..57], b"123456789");
    assert!(bytes[57..].iter().all(|byte| *byte == 0), "padding, and a file of zeros");
    assert_eq!(journal.next().position, JournalPosition { file: 3, at: 4096 });
    assert_eq!(journal.next().before.to_le_bytes(), bytes[44..48]);
}

#[test]
fn round_entries() {
    let mut out = Vec::new();
    put_operation(&mut out, &Operation::Create(PartitionId(1)));
    put_operation(&mut out, &Operation::Delete(PartitionId(2)));
    put_operation(&mut out, &Operation::SetLogStart(PartitionId(3), Offset(4)));
    put_operation(&mut out, &Operation::Begin(PartitionId(4), ProducerId(5), ProducerEpoch(6)));
    put_batches(&mut out, PartitionId(5), Offset(6), Timestamp(7), 2);
    out.extend(b"ab");
    check(
        &out,
        "02 01000000
         03 02000000
         04 03000000 0400000000000000
         06 04000000 0500000000000000 0600
         01 05000000 0600000000000000 0700000000000000 02000000 6162",
    );
    assert_eq!(entries(&out).flatten().count(), 5);
    // Cut off anywhere, the last entry is not understood rather than understood wrongly.
    assert!(entries(&out[..out.len() - 1]).last().expect("there are some").is_none());
}

#[test]
fn sidecar_entry() {
    let entry = Entry {
        base_offset: Offset(0x0102),
        round: Round(0x0304),
        position: 0x0506,
        max_timestamp: Timestamp(-1),
    };
    let bytes = entry.encode();
    check(&bytes, "0201000000000000 0403000000000000 ffffffffffffffff 06050000 bd6b0ca3");
    assert_eq!(Entry::decode(&bytes), Some(entry));
    for byte in 0..bytes.len() {
        let mut damaged = bytes;
        damaged[byte] ^= 1;
        assert_eq!(Entry::decode(&damaged), None, "byte {byte}");
    }
}

fn a_checkpoint() -> Checkpoint {
    let mut producers = Producers::default();
    let header = super::from_producer(9, 2, i32::MAX, 2);
    producers.record(&header, None, Offset(40), Round(5), Timestamp(6));
    producers.begin(ProducerId(9), ProducerEpoch(2), Timestamp(6));
    let kept = Kept {
        log_start: Offset(1),
        log_end: Offset(50),
        cleaned: Offset(45),
        segments: vec![SegmentEnd {
            base: Offset(0),
            generation: 2,
            bytes: 1_000,
            entries: 3,
            max_timestamp: Timestamp(8),
        }],
        epochs: vec![(LeaderEpoch(0), Offset(0))],
        aborted: vec![Aborted {
            producer: ProducerId(9),
            first: Offset(20),
            marker: Offset(30),
            stable: Offset(31),
        }],
    };
    Checkpoint {
        number: 3,
        epoch: LeaderEpoch(4),
        journal: JournalSize { file_bytes: 8192, files: 2 },
        link: Link {
            boot: 10,
            round: Round(11),
            before: 12,
            position: JournalPosition { file: 13, at: 4096 },
        },
        partitions: vec![(PartitionId(14), kept, producers)],
        unlinking: vec![PartitionId(15)],
    }
}

#[test]
fn checkpoint_slot() {
    let disk = SimDisk::new(1);
    let checkpoint = a_checkpoint();
    checkpoint.write(&disk).expect("the disk is sound");
    let bytes = contents(&*disk.open("checkpoint.1").expect("3 is odd"));
    check(
        &bytes,
        "414e4243 0300 0000 fb000000 f2a6ba9a
         0300000000000000 04000000 0020000000000000 0200000000000000
         0a00000000000000 0b00000000000000 0c000000 0d00000000000000 0010000000000000
         01000000
         0e000000 0100000000000000 3200000000000000 2d00000000000000
         01000000 0000000000000000 02000000 e803000000000000 0300000000000000 0800000000000000
         01000000 00000000 0000000000000000
         01000000 0900000000000000 1400000000000000 1e00000000000000 1f00000000000000
         01000000 0900000000000000 0200 0600000000000000 feffffffffffffff
         01 ffffff7f 00000000 2800000000000000 0500000000000000
         01000000 0f000000",
    );
    assert_eq!(Checkpoint::decode_slot(&bytes), Some(checkpoint));
    for byte in (0..bytes.len()).filter(|byte| !(6..8).contains(byte)) {
        let mut damaged = bytes.clone();
        damaged[byte] ^= 1;
        assert_eq!(Checkpoint::decode_slot(&damaged), None, "byte {byte}");
        assert_eq!(Checkpoint::decode_slot(&bytes[..byte]), None, "cut off at {byte}");
    }
}

/// As the builds before there was compaction wrote it.
#[test]
fn an_older_checkpoint_can_be_read() {
    let bytes = from_hex(
        "414e4243 0200 0000 ef000000 e9009a03
         0300000000000000 04000000 0020000000000000 0200000000000000
         0a00000000000000 0b00000000000000 0c000000 0d00000000000000 0010000000000000
         01000000
         0e000000 0100000000000000 3200000000000000
         01000000 0000000000000000 e803000000000000 0300000000000000 0800000000000000
         01000000 00000000 0000000000000000
         01000000 0900000000000000 1400000000000000 1e00000000000000 1f00000000000000
         01000000 0900000000000000 0200 0600000000000000 feffffffffffffff
         01 ffffff7f 00000000 2800000000000000 0500000000000000
         01000000 0f000000",
    );
    let mut expected = a_checkpoint();
    let kept = &mut expected.partitions[0].1;
    kept.cleaned = Offset(0);
    kept.segments[0].generation = 0;
    assert_eq!(Checkpoint::decode_slot(&bytes), Some(expected));
}
