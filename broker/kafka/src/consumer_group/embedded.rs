//! What consumers write into the classic protocol: their subscription and their assignment.
//!
//! ```text
//! │ version INT16 │ topics │ user data │ owned (1+) │ generation (2+) │ rack (3+) │  subscription
//! │ version INT16 │ partitions │ user data │                                        assignment
//! ```
//! Source: Kafka's `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`, version 3.

use crate::wire::Reader;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet};

/// The newest version; those after it begin with the same fields.
const VERSION_MAX: i16 = 3;

/// Partitions by topic name.
pub(super) type Named = BTreeMap<String, BTreeSet<i32>>;

/// What a consumer wants and has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    /// The version that it writes, and so reads.
    pub(super) version: i16,
    pub(super) topics: BTreeSet<String>,
    /// Nothing before version 1: such consumers give up everything before they join.
    pub(super) owned: Named,
    pub(super) rack: Option<String>,
}

impl Subscription {
    /// `None` if it is not what a consumer writes.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let version = reader.int16("the version").ok()?.min(VERSION_MAX);
        if version < 0 {
            return None;
        }
        let mut read = Self { version, ..Self::default() };
        for _ in 0..reader.count(false, "topics").ok()?? {
            read.topics.insert(text(&mut reader)??);
        }
        reader.blob(false, "user data").ok()?;
        if version >= 1 {
            read.owned = partitions(&mut reader)?;
        }
        if version >= 2 {
            reader.int32("the generation").ok()?;
        }
        if version >= 3 {
            read.rack = text(&mut reader)?;
        }
        Some(read)
    }
}

/// The partitions of an assignment; none if nothing was assigned.
pub(super) fn read_assignment(bytes: &[u8]) -> Option<Named> {
    if bytes.is_empty() {
        return Some(Named::new());
    }
    let mut reader = Reader::new(bytes);
    reader.int16("the version").ok()?;
    partitions(&mut reader)
}

/// An assignment in a version that its reader knows.
pub(super) fn write_assignment(version: i16, assigned: &Named) -> Bytes {
    let mut out = BytesMut::new();
    let count = |length: usize| i32::try_from(length).expect("partitions are counted in 32 bits");
    out.put_i16(version);
    out.put_i32(count(assigned.len()));
    for (topic, indexes) in assigned {
        out.put_u16(u16::try_from(topic.len()).expect("names of topics are short"));
        out.put_slice(topic.as_bytes());
        out.put_i32(count(indexes.len()));
        indexes.iter().for_each(|&index| out.put_i32(index));
    }
    // No user data.
    out.put_i32(-1);
    out.freeze()
}

fn text(reader: &mut Reader<'_>) -> Option<Option<String>> {
    let Some(range) = reader.text(false, "a text").ok()? else { return Some(None) };
    Some(Some(std::str::from_utf8(reader.slice(range)).ok()?.to_owned()))
}

fn partitions(reader: &mut Reader<'_>) -> Option<Named> {
    let mut read = Named::new();
    for _ in 0..reader.count(false, "topics").ok()?? {
        let indexes = read.entry(text(reader)??).or_default();
        for _ in 0..reader.count(false, "partitions").ok()?? {
            indexes.insert(reader.int32("a partition").ok()?);
        }
    }
    read.retain(|_, indexes| !indexes.is_empty());
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::{Named, Subscription, read_assignment, write_assignment};
    use bytes::BytesMut;
    use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition;
    use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition as Owned;
    use kafka_protocol::messages::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName,
    };
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
    use std::collections::BTreeSet;

    fn named() -> Named {
        Named::from([("t".to_owned(), BTreeSet::from([0, 3]))])
    }

    #[test]
    fn subscriptions_of_all_versions_are_read() {
        let topic = TopicName(StrBytes::from_static_str("t"));
        for version in 0..=3 {
            let mut written = ConsumerProtocolSubscription::default()
                .with_topics(vec![StrBytes::from_static_str("t")]);
            if version >= 1 {
                let owned = Owned::default().with_topic(topic.clone()).with_partitions(vec![3, 0]);
                written.owned_partitions = vec![owned];
            }
            if version >= 3 {
                written.rack_id = Some(StrBytes::from_static_str("r"));
            }
            let mut bytes = BytesMut::from(&[0, version as u8][..]);
            written.encode(&mut bytes, version).expect("sound");
            let read = Subscription::read(&bytes).expect("sound");
            assert_eq!(read.topics, BTreeSet::from(["t".to_owned()]));
            assert_eq!(read.owned, if version >= 1 { named() } else { Named::new() });
            assert_eq!(read.rack.is_some(), version >= 3);
            for end in 0..bytes.len() {
                assert_eq!(Subscription::read(&bytes[..end]), None, "{end} bytes of {version}");
            }
        }
    }

    #[test]
    fn assignments_are_what_clients_read() {
        let bytes = write_assignment(1, &named());
        assert_eq!(read_assignment(&bytes), Some(named()));
        assert_eq!(read_assignment(&[]), Some(Named::new()));
        let decoded = ConsumerProtocolAssignment::decode(&mut bytes.slice(2..), 1).expect("sound");
        let topic = TopicName(StrBytes::from_static_str("t"));
        let expected = TopicPartition::default().with_topic(topic).with_partitions(vec![0, 3]);
        assert_eq!(decoded.assigned_partitions, [expected]);
    }
}
