//! Metadata: brokers, topics, and who leads each partition.

use crate::wire::{self, Reader};
use crate::{Error, error, limits};
use anabranch_types::PartitionIndex;
use bytes::BufMut;
use std::fmt;

/// Kafka's id of a broker in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerId(pub i32);

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A broker and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: BrokerId,
    /// `host:port`.
    pub address: String,
}

/// A topic as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its name.
    pub name: String,
    /// Its partitions, sorted by index.
    pub partitions: Vec<PartitionMetadata>,
}

/// A partition and its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Its number in the topic.
    pub index: PartitionIndex,
    /// Who leads it; `None` during an election.
    pub leader: Option<BrokerId>,
}

/// The answer: brokers, and each topic or why there is none.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) brokers: Vec<Broker>,
    pub(crate) topics: Vec<Result<TopicMetadata, Error>>,
}

/// `topics`: which; `None` asks for all.
pub(crate) fn put(out: &mut Vec<u8>, version: i16, topics: Option<&[&str]>, auto_create: bool) {
    match topics {
        None => out.put_i32(-1),
        Some(topics) => {
            wire::put_array(out, topics.len());
            topics.iter().for_each(|topic| wire::put_string(out, topic));
        }
    }
    out.put_u8(u8::from(auto_create));
    if version >= 8 {
        // No authorized operations of cluster or topics.
        out.put_u16(0);
    }
}

pub(crate) fn read(body: &[u8], version: i16) -> Result<Metadata, Error> {
    let mut reader = Reader::new(body);
    let _throttle_ms = reader.i32()?;
    let mut brokers = Vec::new();
    for _ in 0..reader.array(12)? {
        let id = BrokerId(reader.i32()?);
        let host = reader.string()?;
        let port = reader.i32()?;
        let _rack = reader.nullable_string()?;
        // An IPv6 address needs brackets before a port.
        let address =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        brokers.push(Broker { id, address });
    }
    let _cluster_id = reader.nullable_string()?;
    let _controller = reader.i32()?;
    let mut topics = Vec::new();
    for _ in 0..reader.array(9)? {
        topics.push(read_topic(&mut reader, version)?);
    }
    Ok(Metadata { brokers, topics })
}

fn read_topic(
    reader: &mut Reader<'_>,
    version: i16,
) -> Result<Result<TopicMetadata, Error>, Error> {
    let code = reader.i16()?;
    let name = reader.string()?.to_owned();
    let _internal = reader.bool()?;
    let count = reader.array(18)?;
    if count > limits::PARTITIONS_MAX {
        return Err(Error::Malformed("a topic has too many partitions"));
    }
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        partitions.push(read_partition(reader, version)?);
    }
    if version >= 8 {
        reader.i32()?;
    }
    if code != 0 {
        return Ok(Err(Error::refused(format!("topic {name}"), code, None)));
    }
    partitions.sort_by_key(|partition| partition.index);
    let dense = partitions.iter().enumerate().all(|(at, found)| found.index.0 as usize == at);
    if !dense || partitions.is_empty() {
        return Err(Error::Malformed("a topic's partitions are not numbered from 0"));
    }
    Ok(Ok(TopicMetadata { name, partitions }))
}

fn read_partition(reader: &mut Reader<'_>, version: i16) -> Result<PartitionMetadata, Error> {
    let code = reader.i16()?;
    let index = PartitionIndex(reader.i32()?);
    let leader = reader.i32()?;
    if version >= 7 {
        let _leader_epoch = reader.i32()?;
    }
    let _replicas = {
        let count = reader.array(4)?;
        reader.bytes(count * 4)?
    };
    let _in_sync = {
        let count = reader.array(4)?;
        reader.bytes(count * 4)?
    };
    if version >= 5 {
        let count = reader.array(4)?;
        let _offline = reader.bytes(count * 4)?;
    }
    let known = leader >= 0 && !error::is_stale_metadata(code);
    Ok(PartitionMetadata { index, leader: known.then_some(BrokerId(leader)) })
}
