//! CreateTopics and DeleteTopics, and InitProducerId beside them.

use crate::wire::{self, Reader};
use crate::{Error, NewTopic};
use anabranch_types::{ProducerEpoch, ProducerId};
use bytes::BufMut;
use std::time::Duration;

pub(crate) fn put_create(out: &mut Vec<u8>, topics: &[NewTopic], timeout: Duration) {
    wire::put_array(out, topics.len());
    for topic in topics {
        wire::put_string(out, &topic.name);
        out.put_i32(topic.partitions);
        out.put_i16(topic.replication);
        // No assignments by hand.
        out.put_i32(0);
        wire::put_array(out, topic.configs.len());
        for (name, value) in &topic.configs {
            wire::put_string(out, name);
            wire::put_nullable_string(out, Some(value));
        }
    }
    out.put_i32(timeout_ms(timeout));
    out.put_u8(0);
}

/// What became of each topic, by name.
pub(crate) fn read_create(body: &[u8]) -> Result<Vec<(String, Result<(), Error>)>, Error> {
    let mut reader = Reader::new(body);
    let _throttle_ms = reader.i32()?;
    let mut results = Vec::new();
    for _ in 0..reader.array(6)? {
        let name = reader.string()?.to_owned();
        let code = reader.i16()?;
        let message = reader.nullable_string()?;
        let result = outcome(format!("creating topic {name}"), code, message);
        results.push((name, result));
    }
    Ok(results)
}

pub(crate) fn put_delete(out: &mut Vec<u8>, topics: &[&str], timeout: Duration) {
    wire::put_array(out, topics.len());
    topics.iter().for_each(|topic| wire::put_string(out, topic));
    out.put_i32(timeout_ms(timeout));
}

/// What became of each topic, by name.
pub(crate) fn read_delete(body: &[u8]) -> Result<Vec<(String, Result<(), Error>)>, Error> {
    let mut reader = Reader::new(body);
    let _throttle_ms = reader.i32()?;
    let mut results = Vec::new();
    for _ in 0..reader.array(4)? {
        let name = reader.string()?.to_owned();
        let code = reader.i16()?;
        let result = outcome(format!("deleting topic {name}"), code, None);
        results.push((name, result));
    }
    Ok(results)
}

/// Asks for an id for a producer without transactions.
pub(crate) fn put_init_producer_id(out: &mut Vec<u8>) {
    wire::put_nullable_string(out, None);
    out.put_i32(i32::MAX);
}

pub(crate) fn read_init_producer_id(body: &[u8]) -> Result<(ProducerId, ProducerEpoch), Error> {
    let mut reader = Reader::new(body);
    let _throttle_ms = reader.i32()?;
    outcome("asking for a producer id".to_owned(), reader.i16()?, None)?;
    let (id, epoch) = (ProducerId(reader.i64()?), ProducerEpoch(reader.i16()?));
    if id.0 < 0 || epoch.0 < 0 {
        return Err(Error::Malformed("a producer id is negative"));
    }
    Ok((id, epoch))
}

fn outcome(what: String, code: i16, message: Option<&str>) -> Result<(), Error> {
    if code == 0 { Ok(()) } else { Err(Error::refused(what, code, message)) }
}

fn timeout_ms(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}
