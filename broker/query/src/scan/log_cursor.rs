//! Reading a partition's records, some at a time.

use crate::error::Error;
use crate::limits::{READ_BYTES, SCAN_BYTES_MAX, SCAN_ROWS_MAX};
use crate::rows::{RowHeaders, RowInput, RowsBuilder};
use anabranch_engine::{Chunk, PartitionLog, ReadError, Until};
use anabranch_types::batch::{BatchHeader, Record, batches, decode_records};
use anabranch_types::{Offset, PartitionIndex};
use std::collections::VecDeque;
use std::sync::Arc;

/// Where a reader of one partition stands. Holds at most what one read of the log gave.
pub(crate) struct LogCursor {
    log: Arc<PartitionLog>,
    partition: PartitionIndex,
    next: Offset,
    /// Before this offset; `None` to the end of `until`.
    to: Option<Offset>,
    until: Until,
    chunks: VecDeque<Chunk>,
    scratch: Vec<u8>,
    /// Damaged batches that the partition's readers had met before.
    damaged_before: u64,
}

/// What ended a call of [`LogCursor::fill`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Enough rows; there may be more.
    Enough,
    /// Everything was read.
    End,
}

impl LogCursor {
    /// Reads `log` from `from` (or from its start, where that is later) on.
    pub(crate) fn new(
        log: Arc<PartitionLog>,
        partition: PartitionIndex,
        from: Offset,
        to: Option<Offset>,
        until: Until,
    ) -> Self {
        let next = from.max(log.log_start());
        let damaged_before = log.damaged_batches();
        let (chunks, scratch) = (VecDeque::new(), Vec::new());
        Self { log, partition, next, to, until, chunks, scratch, damaged_before }
    }

    /// The partition, if damaged batches were skipped since this reader began.
    pub(crate) fn met_damage(&self) -> Option<PartitionIndex> {
        (self.log.damaged_batches() > self.damaged_before).then_some(self.partition)
    }

    /// Adds rows until there are `rows_enough`, in whole record batches where that is not far
    /// more.
    pub(crate) fn fill(
        &mut self,
        rows: &mut RowsBuilder,
        rows_enough: usize,
    ) -> Result<Filled, Error> {
        self.visit(|partition, record| {
            rows.push(RowInput {
                partition,
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key,
                value: record.value,
                headers: RowHeaders::Record(record.headers),
            });
            if rows.rows() >= SCAN_ROWS_MAX || rows.bytes() >= SCAN_BYTES_MAX {
                Visit::Stop
            } else if rows.rows() >= rows_enough {
                Visit::StopAfterBatch
            } else {
                Visit::Continue
            }
        })
    }

    /// Shows records in order until `visit` stops it.
    pub(crate) fn visit(
        &mut self,
        mut visit: impl FnMut(PartitionIndex, &Record<'_>) -> Visit,
    ) -> Result<Filled, Error> {
        loop {
            if self.to.is_some_and(|to| self.next >= to) || !self.read_ahead()? {
                return Ok(Filled::End);
            }
            let Some(chunk) = self.chunks.front().cloned() else {
                return Ok(Filled::End);
            };
            for batch in batches(&chunk.bytes) {
                let (header, bytes) = batch.map_err(|error| self.damaged(&error))?;
                if header.next_offset() <= self.next {
                    continue;
                }
                if self.visit_batch(&header, bytes, &mut visit)? {
                    return Ok(Filled::Enough);
                }
                if self.to.is_some_and(|to| self.next >= to) {
                    return Ok(Filled::End);
                }
            }
            self.chunks.pop_front();
        }
    }

    /// Whether `visit` wants no more.
    fn visit_batch(
        &mut self,
        header: &BatchHeader,
        bytes: &[u8],
        visit: &mut impl FnMut(PartitionIndex, &Record<'_>) -> Visit,
    ) -> Result<bool, Error> {
        let end = header.next_offset();
        let mut enough = false;
        let counts = match self.until {
            Until::Round(cut) => self.log.counts_at(header, cut),
            Until::Stable | Until::Published => self.log.counts(header),
        };
        if counts {
            let mut scratch = std::mem::take(&mut self.scratch);
            let records = decode_records(header, bytes, &mut scratch)
                .map_err(|error| self.damaged(&error))?;
            for record in records {
                let record = record.map_err(|error| self.damaged(&error))?;
                if record.offset < self.next {
                    continue;
                }
                if self.to.is_some_and(|to| record.offset >= to) {
                    break;
                }
                self.next = record.offset.plus(1);
                match visit(self.partition, &record) {
                    Visit::Continue => {}
                    Visit::StopAfterBatch => enough = true,
                    Visit::Stop => {
                        self.scratch = scratch;
                        return Ok(true);
                    }
                }
            }
            self.scratch = scratch;
        }
        self.next = self.next.max(end);
        Ok(enough)
    }

    /// Reads the next chunks if there are none; false at the end.
    fn read_ahead(&mut self) -> Result<bool, Error> {
        while self.chunks.is_empty() {
            match self.log.read(self.next, READ_BYTES, self.until) {
                Ok(chunks) if chunks.is_empty() => return Ok(false),
                Ok(chunks) => self.chunks = chunks.into(),
                // Retention was faster: what is gone is gone.
                Err(ReadError::OutOfRange { start, .. }) if self.next < start => self.next = start,
                Err(ReadError::OutOfRange { .. }) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> Error {
        Error::new(
            "XX001",
            format!("partition {} is damaged near offset {}: {error}", self.partition, self.next),
        )
        .hint("`anabranch log verify` tells what is damaged")
    }
}

/// What a visitor wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visit {
    Continue,
    /// The rest of this record batch, then no more.
    StopAfterBatch,
    Stop,
}
