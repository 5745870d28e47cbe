//! Produce requests, decoded by hand: nothing is allocated and record batches stay where they
//! arrived. A request is walked twice: once to hand its batches to the commit loop, and again to
//! write its response, so that nothing about its topics has to be remembered in between.
//!
//! Source: Kafka protocol guide, "Produce API"; KIP-516 for topic ids (from version 13).

mod admit;
mod answer;
#[cfg(test)]
mod tests;
mod transaction;

pub(crate) use admit::{Admission, Admitted, Fault};
pub(crate) use answer::{Outcome, answer};
pub(crate) use transaction::{Joining, join};

use crate::apis::PRODUCE_FLEXIBLE_FROM;
use crate::limits::REQUEST_ELEMENTS_MAX;
use crate::wire::{Malformed, Reader};
use std::ops::Range;
use uuid::Uuid;

/// First version that names topics by id (KIP-516).
pub(crate) const TOPIC_IDS_FROM: i16 = 13;

/// What a topic is called in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// By name; not yet known to be UTF-8.
    Name(&'a [u8]),
    /// By id.
    Id(Uuid),
}

/// What stands before the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceHead {
    /// Where the transactional id stands in the body, if one is given.
    pub transactional: Option<(usize, usize)>,
    /// 0, 1 or −1 (all).
    pub acks: i16,
    /// Topics to come.
    pub topics: usize,
}

/// Called by [`walk`] with each part of a request, in order.
pub trait Visitor {
    /// Before the first topic.
    fn head(&mut self, head: ProduceHead);
    /// A topic, and how many partitions of it follow.
    fn topic(&mut self, topic: TopicRef<'_>, partitions: usize);
    /// A partition of the topic, where the field of its records begins in the body, and where in
    /// it the records themselves stand.
    fn partition(&mut self, index: i32, field: usize, records: Option<Range<usize>>);
    /// After the last partition of a topic.
    fn topic_end(&mut self);
}

/// A visitor for checking only.
#[derive(Debug)]
pub struct Nothing;

impl Visitor for Nothing {
    fn head(&mut self, _: ProduceHead) {}
    fn topic(&mut self, _: TopicRef<'_>, _: usize) {}
    fn partition(&mut self, _: i32, _: usize, _: Option<Range<usize>>) {}
    fn topic_end(&mut self) {}
}

/// Walks the body of a produce request.
///
/// # Errors
/// [`Malformed`]; the visitor has then seen a part of the request.
#[inline]
pub fn walk<V: Visitor>(body: &[u8], version: i16, visitor: &mut V) -> Result<(), Malformed> {
    let flexible = version >= PRODUCE_FLEXIBLE_FROM;
    let mut reader = Reader::new(body);
    let transactional = reader.text(flexible, "the transactional id")?;
    let transactional = transactional.map(|range| (range.start, range.end));
    let acks = reader.int16("acks")?;
    reader.skip(4, "the timeout")?;
    let topics = reader.count(flexible, "topics")?.unwrap_or(0);
    let mut elements = topics;
    visitor.head(ProduceHead { transactional, acks, topics });
    for _ in 0..topics {
        let topic = if version >= TOPIC_IDS_FROM {
            TopicRef::Id(reader.uuid("a topic id")?)
        } else {
            let name = reader
                .text(flexible, "a topic name")?
                .ok_or(Malformed::Invalid("a topic name is null"))?;
            if name.len() > i16::MAX as usize {
                return Err(Malformed::Invalid("a topic name is longer than any can be"));
            }
            TopicRef::Name(reader.slice(name))
        };
        let partitions = reader.count(flexible, "partitions")?.unwrap_or(0);
        elements += partitions;
        if elements > REQUEST_ELEMENTS_MAX {
            return Err(Malformed::TooMany(REQUEST_ELEMENTS_MAX));
        }
        visitor.topic(topic, partitions);
        for _ in 0..partitions {
            let index = reader.int32("a partition index")?;
            let field = reader.position();
            let records = reader.blob(flexible, "records")?;
            if flexible {
                reader.tags()?;
            }
            visitor.partition(index, field, records);
        }
        if flexible {
            reader.tags()?;
        }
        visitor.topic_end();
    }
    if flexible {
        reader.tags()?;
    }
    Ok(())
}
