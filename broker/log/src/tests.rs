//! What the crate's parts promise each other. Accidents are simulated in `tests/simulation`.

mod backup;
mod compaction;
mod disks;
mod golden;
mod journal;
mod keys;
mod partition;
mod producers;
mod sweep;
mod threads;
mod transactions;

use crate::disk::sim::SimDisk;
use crate::disk::{Disk, DiskFile};
use anabranch_types::batch::{BatchBuilder, BatchHeader, set_base_offset_and_epoch};
use anabranch_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use std::sync::Arc;

fn sim_disk() -> Arc<dyn Disk> {
    Arc::new(SimDisk::new(1))
}

/// A batch with a record of `value_bytes` for each time, stamped as the log does it.
fn batch(base: Offset, times: &[i64], value_bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for time in times {
        builder.push(Timestamp(*time), Some(b"key"), Some(&vec![b'v'; value_bytes]), &[]);
    }
    let mut batch = builder.build().expect("no compression").to_vec();
    set_base_offset_and_epoch(&mut batch, base, LeaderEpoch(0));
    batch
}

/// The header of a batch of `count` records from a producer.
fn from_producer(id: i64, epoch: i16, sequence: i32, count: i32) -> BatchHeader {
    let mut builder = BatchBuilder::default();
    builder.set_producer(ProducerId(id), ProducerEpoch(epoch), Sequence(sequence));
    builder.push(Timestamp(1), None, None, &[]);
    let batch = builder.build().expect("no compression");
    let mut header = BatchHeader::read(&batch).expect("just built");
    header.last_offset_delta = count - 1;
    header.records_count = count;
    header
}

fn contents(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; file.bytes().expect("it is open") as usize];
    let read = file.read_at(&mut bytes, 0).expect("it is open");
    assert_eq!(read, bytes.len());
    bytes
}
