//! Records by their time.

use super::PartitionLog;
use crate::read::{ReadError, Until};
use anabranch_types::batch::{BatchHeader, batches, decode_records};
use anabranch_types::{Offset, Timestamp};
use std::sync::Arc;

impl PartitionLog {
    /// The first record whose time is `time` or later, with its time.
    ///
    /// # Errors
    /// The disk's.
    pub fn find_time(&self, time: Timestamp) -> Result<Option<(Offset, Timestamp)>, ReadError> {
        let start = self.log_start();
        let from = loop {
            let (segment, chunk) = {
                let state = self.state.lock();
                let segment = state.segments.iter().find(|found| found.end().max_timestamp >= time);
                let chunk = state.tail.iter().find(|found| found.max_timestamp >= time);
                (segment.map(Arc::clone), chunk.map(|found| found.base_offset))
            };
            match (segment, chunk) {
                (Some(segment), _) => match segment.find_time(time) {
                    Ok(found) => break found.unwrap_or(segment.base),
                    Err(error) => {
                        if let Some(gone) = self.gone(start) {
                            return Err(gone);
                        }
                        if self.has(&segment) {
                            return Err(self.storage(&error));
                        }
                    }
                },
                (None, Some(from)) => break from,
                (None, None) => return Ok(None),
            }
        };
        self.find_record(from.max(start), |header, _| header.max_timestamp >= time, |at| at >= time)
    }

    /// The first record with the highest time (ListOffsets −3, KIP-734).
    ///
    /// # Errors
    /// The disk's.
    pub fn find_max_time(&self) -> Result<Option<(Offset, Timestamp)>, ReadError> {
        let max = {
            let state = self.state.lock();
            let written = state.segments.iter().map(|segment| segment.end().max_timestamp).max();
            let tail = state.tail.iter().map(|chunk| chunk.max_timestamp).max();
            written.max(tail)
        };
        let Some(max) = max else { return Ok(None) };
        if let Some(found) = self.find_time(max)? {
            return Ok(Some(found));
        }
        // It stood before where the log begins now: what is left is looked at.
        let left = std::cell::Cell::new(None);
        let plain = |header: &BatchHeader, _: &[u8]| !header.is_control();
        let seen = |time| {
            left.set(left.get().max(Some(time)));
            false
        };
        self.find_record(self.log_start(), plain, seen)?;
        left.get().map_or(Ok(None), |max| self.find_time(max))
    }

    fn find_record(
        &self,
        mut from: Offset,
        in_batch: impl Fn(&BatchHeader, &[u8]) -> bool,
        in_record: impl Fn(Timestamp) -> bool,
    ) -> Result<Option<(Offset, Timestamp)>, ReadError> {
        const STEP_BYTES: usize = 1 << 20;
        let mut scratch = Vec::new();
        loop {
            let chunks = self.read(from, STEP_BYTES, Until::Published)?;
            let Some(last) = chunks.last() else { return Ok(None) };
            let next = last.next_offset;
            for chunk in &chunks {
                for (header, batch) in batches(&chunk.bytes).flatten() {
                    if !in_batch(&header, batch) {
                        continue;
                    }
                    // What cannot be decoded cannot have been validated: skip it like damage.
                    let Ok(records) = decode_records(&header, batch, &mut scratch) else {
                        continue;
                    };
                    for record in records.flatten() {
                        if record.offset >= from && in_record(record.timestamp) {
                            return Ok(Some((record.offset, record.timestamp)));
                        }
                    }
                }
            }
            from = next;
        }
    }
}
