//! One batch on its way, as the produce request that carries it.

use crate::messages::produce;
use crate::{Error, Record};
use anabranch_types::Sequence;
use anabranch_types::batch::{BatchBuilder, Compression};
use smallvec::SmallVec;
use std::time::Instant;

/// A request in one buffer, from the open batch to the answer. Its buffers are used again.
#[derive(Debug)]
pub(super) struct Frame<T> {
    /// While records are added: it owns the buffer then.
    batch: Option<BatchBuilder>,
    /// The finished request.
    pub(super) bytes: Vec<u8>,
    pub(super) prefix_bytes: usize,
    /// One a record.
    pub(super) tickets: SmallVec<[T; 1]>,
    pub(super) records_count: i32,
    /// What it holds of the producer's budget.
    pub(super) reserved_bytes: usize,
    /// Position among the partition's frames: order holds across retries.
    pub(super) number: u64,
    /// When its first record came.
    pub(super) opened: Instant,
    /// When it was last handed to the socket.
    pub(super) sent: Instant,
    /// The idempotent producer's sequence, once given.
    pub(super) sequence: Option<Sequence>,
    pub(super) correlation: i32,
    /// The lane's number of its partition.
    pub(super) slot: usize,
    /// Why it cannot be sent at all.
    pub(super) fault: Option<Error>,
}

impl<T> Frame<T> {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            batch: None,
            bytes: Vec::new(),
            prefix_bytes: 0,
            tickets: SmallVec::new(),
            records_count: 0,
            reserved_bytes: 0,
            number: 0,
            opened: now,
            sent: now,
            sequence: None,
            correlation: 0,
            slot: 0,
            fault: None,
        }
    }

    /// Starts a batch behind `prefix`.
    pub(super) fn open(&mut self, prefix: &[u8], compression: Compression, now: Instant) {
        assert!(self.tickets.is_empty() && self.reserved_bytes == 0, "the frame is in use");
        self.bytes.clear();
        self.bytes.extend_from_slice(prefix);
        self.prefix_bytes = prefix.len();
        let bytes = std::mem::take(&mut self.bytes);
        self.batch = Some(BatchBuilder::after(bytes).compression(compression));
        self.opened = now;
        self.sequence = None;
    }

    #[inline]
    pub(super) fn push(&mut self, record: &Record<'_>, ticket: T, reserved_bytes: usize) {
        let batch = self.batch.as_mut().expect("records are added to open frames only");
        batch.push(record.time(), record.key, record.value, record.headers);
        self.tickets.push(ticket);
        self.reserved_bytes += reserved_bytes;
    }

    /// Bytes of the open batch.
    pub(super) fn batch_bytes(&self) -> usize {
        self.batch.as_ref().map_or(0, BatchBuilder::bytes)
    }

    /// Completes the request, all but version, correlation and sequence.
    pub(super) fn seal(&mut self) {
        let batch = self.batch.take().expect("a frame is sealed once");
        self.records_count = batch.count();
        match batch.build_after() {
            Ok(bytes) => {
                self.bytes = bytes;
                produce::finish(&mut self.bytes, self.prefix_bytes);
            }
            Err(error) => self.fault = Some(error.into()),
        }
    }

    /// The batch within the sealed request.
    pub(super) fn batch_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.prefix_bytes..]
    }
}
