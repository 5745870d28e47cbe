//! ListOffsets: where partitions begin and end, or what a time means.

use crate::wire::{self, Reader};
use crate::{Error, OffsetAt};
use anabranch_types::{Offset, PartitionIndex};
use bytes::BufMut;

pub(crate) fn put(
    out: &mut Vec<u8>,
    version: i16,
    topic: &str,
    partitions: &[PartitionIndex],
    at: OffsetAt,
) {
    // We are no replica.
    out.put_i32(-1);
    if version >= 2 {
        // Read uncommitted.
        out.put_u8(0);
    }
    wire::put_array(out, 1);
    wire::put_string(out, topic);
    wire::put_array(out, partitions.len());
    for partition in partitions {
        out.put_i32(partition.0);
        if version >= 4 {
            out.put_i32(-1);
        }
        out.put_i64(match at {
            OffsetAt::Beginning => -2,
            OffsetAt::End => -1,
            OffsetAt::Time(time) => time.0,
        });
    }
}

/// The offset of each partition; `None` where no record is that young.
pub(crate) fn read(
    body: &[u8],
    version: i16,
    topic: &str,
) -> Result<Vec<(PartitionIndex, Option<Offset>)>, Error> {
    let mut reader = Reader::new(body);
    if version >= 2 {
        let _throttle_ms = reader.i32()?;
    }
    let mut offsets = Vec::new();
    for _ in 0..reader.array(6)? {
        if reader.string()? != topic {
            return Err(Error::Malformed("it names a topic that was not asked for"));
        }
        for _ in 0..reader.array(22)? {
            let partition = PartitionIndex(reader.i32()?);
            let code = reader.i16()?;
            let _timestamp = reader.i64()?;
            let offset = reader.i64()?;
            if version >= 4 {
                let _leader_epoch = reader.i32()?;
            }
            if code != 0 {
                let what = format!("offsets of partition {partition} of topic {topic}");
                return Err(Error::refused(what, code, None));
            }
            offsets.push((partition, (offset >= 0).then_some(Offset(offset))));
        }
    }
    Ok(offsets)
}
