//! The segment that a pass writes.

use crate::read::Chunk;
use crate::segment::Segment;
use anabranch_types::batch::{BatchHeader, cover, empty};
use anabranch_types::{LeaderEpoch, Offset, Round};
use bytes::Bytes;
use std::io;

/// Bytes that are written at a time.
const WRITE_BYTES: usize = 1 << 20;

/// A segment in the making. Batches come in order and cover all offsets: what is dropped is
/// covered by the batch before, if that is of the same leader epoch, or else by an empty one.
/// (A consumer that goes on behind a batch says its epoch; the two have to agree.)
pub(super) struct Output {
    segment: Segment,
    /// Batches cover everything below, once `last` does its part.
    next: Offset,
    last: Option<Last>,
    /// Batches of one round, not written yet.
    open: Option<(Round, Offset, Vec<u8>)>,
    chunks: Vec<Chunk>,
    chunk_bytes: usize,
    /// It is not the same as what was read.
    is_changed: bool,
}

/// The last batch: it may still have to cover more.
struct Last {
    round: Round,
    base: Offset,
    epoch: LeaderEpoch,
    covers: Offset,
    batch: Vec<u8>,
}

impl Output {
    /// `segments` become one.
    pub(super) fn new(segment: Segment, segments: usize) -> Self {
        Self {
            next: segment.base,
            segment,
            last: None,
            open: None,
            chunks: Vec::new(),
            chunk_bytes: 0,
            is_changed: segments > 1,
        }
    }

    /// The offset of the batch that is to come next.
    pub(super) fn next(&self) -> Offset {
        self.next
    }

    /// Adds a batch: `batch` is what stays of the one that `header` describes.
    pub(super) fn push(
        &mut self,
        round: Round,
        header: &BatchHeader,
        batch: &[u8],
    ) -> io::Result<()> {
        self.settle()?;
        self.last = Some(Last {
            round,
            base: header.base_offset,
            epoch: header.leader_epoch,
            covers: header.next_offset(),
            batch: batch.to_vec(),
        });
        self.next = header.next_offset();
        Ok(())
    }

    /// As [`Self::push`], of a batch that is not what it was.
    pub(super) fn push_part(
        &mut self,
        round: Round,
        header: &BatchHeader,
        part: &[u8],
    ) -> io::Result<()> {
        self.is_changed = true;
        self.push(round, header, part)
    }

    /// Leaves a batch out.
    pub(super) fn drop(&mut self, round: Round, header: &BatchHeader) -> io::Result<()> {
        self.is_changed = true;
        let (base, epoch) = (header.base_offset, header.leader_epoch);
        if self.last.as_ref().is_none_or(|last| last.epoch != epoch) {
            self.settle()?;
            let (covers, batch) = (base.plus(1), empty(base, epoch));
            self.last = Some(Last { round, base, epoch, covers, batch });
        }
        self.next = header.next_offset();
        Ok(())
    }

    /// The last batch is as it is to be.
    fn settle(&mut self) -> io::Result<()> {
        let Some(mut last) = self.last.take() else { return Ok(()) };
        if last.covers != self.next {
            cover(&mut last.batch, self.next);
        }
        let ends = |(round, _, bytes): &(Round, Offset, Vec<u8>)| {
            *round != last.round || bytes.len() >= WRITE_BYTES
        };
        if self.open.as_ref().is_some_and(ends) {
            self.close();
        }
        if self.chunk_bytes >= WRITE_BYTES {
            self.write()?;
        }
        let begin = || (last.round, last.base, Vec::new());
        self.open.get_or_insert_with(begin).2.extend_from_slice(&last.batch);
        Ok(())
    }

    fn close(&mut self) {
        if let Some((round, base, bytes)) = self.open.take() {
            self.chunk_bytes += bytes.len();
            self.chunks.push(Chunk::of(base, round, Bytes::from(bytes)).measured());
        }
    }

    fn write(&mut self) -> io::Result<()> {
        self.segment.append(&self.chunks)?;
        self.chunks.clear();
        self.chunk_bytes = 0;
        Ok(())
    }

    /// Makes it durable, if it differs from what was read; says whether.
    pub(super) fn finish(&mut self) -> io::Result<bool> {
        if self.is_changed {
            self.settle()?;
            self.close();
            self.write()?;
            self.segment.sync()?;
            self.segment.sync_name()?;
        }
        Ok(self.is_changed)
    }

    pub(super) fn into_segment(self) -> Segment {
        self.segment
    }
}
