//! The response to a fetch request: written by hand, so that record batches go from the log to
//! the socket without being copied.

use super::{FetchRequest, Gathered, TOPIC_IDS_FROM};
use crate::apis::FETCH_FLEXIBLE_FROM;
use crate::connection::Output;
use crate::quotas::throttle_ms;
use crate::request::Head;
use crate::wire::{begin_frame, end_frame, put_count, put_no_tags, put_text, put_varint};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use std::time::Duration;

/// Writes the response. `fault` is one of the request as a whole; then nothing was gathered, nor
/// where a quota has the client wait (`throttle`).
pub(crate) fn answer(
    out: &mut Output,
    head: &Head,
    request: &FetchRequest,
    throttle: Option<Duration>,
    fault: Option<ResponseError>,
    gathered: Vec<Gathered>,
) {
    let version = head.version;
    let flexible = version >= FETCH_FLEXIBLE_FROM;
    // The records' places in what is written by hand: (bytes written before them, records).
    let mut records: Vec<(usize, Bytes)> = Vec::new();
    let mut own = BytesMut::with_capacity(64 + 64 * gathered.len());
    let start = begin_frame(&mut own, head.correlation, flexible);
    own.put_i32(throttle_ms(throttle));
    if version >= 7 {
        own.put_i16(fault.map_or(0, |fault| fault.code()));
        own.put_i32(0); // session_id: none
    }
    let answered = !gathered.is_empty();
    put_count(&mut own, flexible, if answered { request.topics.len() } else { 0 });
    let mut partitions = request.partitions.iter().zip(gathered);
    for topic in request.topics.iter().filter(|_| answered) {
        if version >= TOPIC_IDS_FROM {
            own.put_slice(topic.id.as_bytes());
        } else {
            put_text(&mut own, flexible, topic.name.as_bytes());
        }
        put_count(&mut own, flexible, topic.partitions);
        for (wanted, found) in partitions.by_ref().take(topic.partitions) {
            let committed = request.read_committed;
            partition(&mut own, version, wanted.index, committed, &found);
            records.extend(found.chunks.into_iter().map(|chunk| (own.len(), chunk.bytes)));
            put_no_tags(&mut own, flexible);
        }
        put_no_tags(&mut own, flexible);
    }
    put_no_tags(&mut own, flexible);
    let extra = records.iter().map(|(_, bytes)| bytes.len()).sum();
    end_frame(&mut own, start, extra);
    let mut sent = 0;
    for (at, bytes) in records {
        out.copy(&own[sent..at]);
        sent = at;
        out.push(bytes);
    }
    out.copy(&own[sent..]);
}

fn partition(out: &mut BytesMut, version: i16, index: i32, committed: bool, found: &Gathered) {
    let flexible = version >= FETCH_FLEXIBLE_FROM;
    out.put_i32(index);
    out.put_i16(found.fault.as_ref().map_or(0, |fault| fault.error.code()));
    out.put_i64(found.high_watermark.0);
    out.put_i64(found.last_stable.0);
    if version >= 5 {
        out.put_i64(found.log_start.0);
    }
    // Who reads uncommitted is not told about aborted transactions.
    match (committed, flexible) {
        (true, _) => {
            put_count(out, flexible, found.aborted.len());
            for (producer, first) in &found.aborted {
                out.put_i64(producer.0);
                out.put_i64(first.0);
                put_no_tags(out, flexible);
            }
        }
        (false, true) => out.put_u8(0),
        (false, false) => out.put_i32(-1),
    }
    if version >= 11 {
        out.put_i32(-1); // preferred_read_replica
    }
    let bytes = u32::try_from(found.bytes()).expect("a response's records are bounded");
    if flexible {
        put_varint(out, bytes + 1);
    } else {
        out.put_u32(bytes);
    }
}
