//! Fetch, without sessions: what each partition has from an offset on.

use crate::Error;
use crate::wire::{self, Reader};
use anabranch_types::{Offset, PartitionIndex};
use bytes::BufMut;
use std::ops::Range;

/// One request, for partitions of one topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) wait_ms_max: i32,
    pub(crate) bytes_min: i32,
    pub(crate) bytes_max: i32,
    pub(crate) partition_bytes_max: i32,
    pub(crate) topic: &'a str,
    pub(crate) partitions: &'a [(PartitionIndex, Offset)],
}

pub(crate) fn put(out: &mut Vec<u8>, version: i16, request: Request<'_>) {
    // We are no replica.
    out.put_i32(-1);
    out.put_i32(request.wait_ms_max);
    out.put_i32(request.bytes_min);
    out.put_i32(request.bytes_max);
    // Read uncommitted.
    out.put_u8(0);
    if version >= 7 {
        // No session (KIP-227).
        out.put_i32(0);
        out.put_i32(-1);
    }
    wire::put_array(out, 1);
    wire::put_string(out, request.topic);
    wire::put_array(out, request.partitions.len());
    for (partition, offset) in request.partitions {
        out.put_i32(partition.0);
        if version >= 9 {
            out.put_i32(-1);
        }
        out.put_i64(offset.0);
        if version >= 5 {
            out.put_i64(-1);
        }
        out.put_i32(request.partition_bytes_max);
    }
    if version >= 7 {
        out.put_i32(0);
    }
    if version >= 11 {
        // No rack.
        wire::put_string(out, "");
    }
}

/// What one partition answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) partition: PartitionIndex,
    pub(crate) code: i16,
    pub(crate) high_watermark: Offset,
    /// Where its batches stand in the body.
    pub(crate) records: Range<usize>,
}

pub(crate) fn read(body: &[u8], version: i16, topic: &str) -> Result<Vec<Part>, Error> {
    let mut reader = Reader::new(body);
    let _throttle_ms = reader.i32()?;
    if version >= 7 {
        let code = reader.i16()?;
        if code != 0 {
            return Err(Error::refused(format!("fetching from topic {topic}"), code, None));
        }
        let _session = reader.i32()?;
    }
    let mut parts = Vec::new();
    for _ in 0..reader.array(6)? {
        if reader.string()? != topic {
            return Err(Error::Malformed("a fetch answer names another topic"));
        }
        for _ in 0..reader.array(30)? {
            parts.push(read_part(&mut reader, body.len(), version)?);
        }
    }
    Ok(parts)
}

fn read_part(reader: &mut Reader<'_>, body_bytes: usize, version: i16) -> Result<Part, Error> {
    let partition = PartitionIndex(reader.i32()?);
    let code = reader.i16()?;
    let high_watermark = Offset(reader.i64()?);
    let _last_stable = reader.i64()?;
    if version >= 5 {
        let _log_start = reader.i64()?;
    }
    let aborted = reader.array(16)?;
    reader.bytes(aborted * 16)?;
    if version >= 11 {
        let _preferred_replica = reader.i32()?;
    }
    let records = reader.nullable_bytes()?.unwrap_or_default().len();
    let end = body_bytes - reader.left();
    Ok(Part { partition, code, high_watermark, records: end - records..end })
}
