//! Produce: one batch a request, so that a frame is one buffer from its first byte to its last.
//!
//! ```text
//! │ length │ request header │ no transaction, acks, time-out │ topic, partition │ length │ batch … │
//! └──────────────────── the prefix, the same for every batch of a partition ──┴── 4 ───┘
//! ```

use super::{PRODUCE, end_frame, start_frame};
use crate::Error;
use crate::wire::{self, Reader};
use anabranch_types::{Offset, PartitionIndex};
use bytes::BufMut;

/// What a partition's prefix says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prefix<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) acks: i16,
    pub(crate) timeout_ms: i32,
    pub(crate) topic: &'a str,
    pub(crate) partition: PartitionIndex,
}

/// Everything in front of the batch; its lengths and the version are written by [`finish`].
pub(crate) fn prefix(what: Prefix<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + what.topic.len());
    start_frame(&mut out, PRODUCE, PRODUCE.max, what.client_id);
    wire::put_nullable_string(&mut out, None);
    out.put_i16(what.acks);
    out.put_i32(what.timeout_ms);
    wire::put_array(&mut out, 1);
    wire::put_string(&mut out, what.topic);
    wire::put_array(&mut out, 1);
    out.put_i32(what.partition.0);
    out.put_i32(0);
    out
}

/// Completes a frame whose first `prefix_bytes` are a [`prefix`].
pub(crate) fn finish(frame: &mut [u8], prefix_bytes: usize) {
    let batch_bytes = i32::try_from(frame.len() - prefix_bytes).expect("batches are bounded");
    frame[prefix_bytes - 4..prefix_bytes].copy_from_slice(&batch_bytes.to_be_bytes());
    end_frame(frame);
}

/// Sets the version: the layout is the same in all that we speak.
pub(crate) fn set_version(frame: &mut [u8], version: i16) {
    frame[6..8].copy_from_slice(&version.to_be_bytes());
}

/// The answer for the one partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) code: i16,
    pub(crate) base_offset: Offset,
    pub(crate) message: Option<&'a str>,
}

/// Reads the answer and compares it with the topic and partition that were asked for.
pub(crate) fn read<'a>(
    body: &'a [u8],
    version: i16,
    topic: &str,
    partition: PartitionIndex,
) -> Result<Answer<'a>, Error> {
    let mut reader = Reader::new(body);
    if reader.array(6)? != 1 {
        return Err(Error::Malformed("a produce answer does not name exactly one topic"));
    }
    let length = usize::try_from(reader.i16()?).unwrap_or(usize::MAX);
    if length != topic.len() || reader.bytes(length)? != topic.as_bytes() {
        return Err(Error::Malformed("a produce answer names another topic"));
    }
    if reader.array(22)? != 1 || reader.i32()? != partition.0 {
        return Err(Error::Malformed("a produce answer names another partition"));
    }
    let code = reader.i16()?;
    let base_offset = Offset(reader.i64()?);
    let _append_time = reader.i64()?;
    if version >= 5 {
        let _log_start = reader.i64()?;
    }
    let mut message = None;
    if version >= 8 {
        for _ in 0..reader.array(6)? {
            let _number = reader.i32()?;
            message = message.or(reader.nullable_string()?);
        }
        // The batch's own message says more than that of its first faulty record.
        message = reader.nullable_string()?.or(message);
    }
    let _throttle_ms = reader.i32()?;
    Ok(Answer { code, base_offset, message })
}
