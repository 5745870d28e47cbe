//! Fetch: whole batches from the one that contains the asked offset, sent as the log has them.
//!
//! Each request is answered in full and no fetch session is offered (`session_id` 0 says so,
//! KIP-227): sessions would be memory that a client decides about.

mod answer;
mod read;
#[cfg(test)]
mod tests;

pub(crate) use answer::answer;
pub(crate) use read::{Gathered, gather};

use crate::apis::FETCH_FLEXIBLE_FROM;
use crate::limits::REQUEST_ELEMENTS_MAX;
use crate::wire::{Malformed, Reader};
use uuid::Uuid;

/// First version that names topics by id (KIP-516).
pub(crate) const TOPIC_IDS_FROM: i16 = 13;

/// A fetch request. Fields that only followers use are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// Longest time to wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// Bytes to wait for.
    pub min_bytes: i32,
    /// Bytes to send at most, but for the first batch.
    pub max_bytes: i32,
    /// Whether only committed records are wanted.
    pub read_committed: bool,
    /// 0 for none.
    pub session_id: i32,
    /// The topics in order.
    pub topics: Vec<FetchTopic>,
    /// The partitions of all topics, in order.
    pub partitions: Vec<FetchPartition>,
}

/// A topic of a fetch request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchTopic {
    /// Its name, up to version 12.
    pub name: String,
    /// Its id, from version 13.
    pub id: Uuid,
    /// How many of [`FetchRequest::partitions`] are its.
    pub partitions: usize,
}

/// A partition of a fetch request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPartition {
    /// Which of [`FetchRequest::topics`].
    pub topic: usize,
    /// Kafka's number.
    pub index: i32,
    /// What the client takes the leader's epoch for, −1 if it does not say.
    pub leader_epoch: i32,
    /// Where to start.
    pub offset: i64,
    /// Bytes wanted of this partition.
    pub max_bytes: i32,
}

impl FetchRequest {
    /// Reads the body of a request. What stands behind the partitions (forgotten topics, rack)
    /// is of no use here and not looked at.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(body: &[u8], version: i16) -> Result<Self, Malformed> {
        let flexible = version >= FETCH_FLEXIBLE_FROM;
        let mut reader = Reader::new(body);
        if version <= 14 {
            reader.skip(4, "the replica id")?;
        }
        let mut request = Self {
            max_wait_ms: reader.int32("the longest wait")?,
            min_bytes: reader.int32("the fewest bytes")?,
            max_bytes: reader.int32("the most bytes")?,
            read_committed: reader.int8("the isolation level")? == 1,
            session_id: 0,
            topics: Vec::new(),
            partitions: Vec::new(),
        };
        if version >= 7 {
            let session = reader.int32("the session id")?;
            // Only what goes on in a session needs one (KIP-227).
            let goes_on = reader.int32("the session epoch")? > 0;
            request.session_id = if goes_on { session } else { 0 };
        }
        let topics = reader.count(flexible, "topics")?.unwrap_or(0);
        for _ in 0..topics {
            request.topic(&mut reader, version, flexible)?;
            if request.topics.len() + request.partitions.len() > REQUEST_ELEMENTS_MAX {
                return Err(Malformed::TooMany(REQUEST_ELEMENTS_MAX));
            }
        }
        Ok(request)
    }

    fn topic(
        &mut self,
        reader: &mut Reader<'_>,
        version: i16,
        flexible: bool,
    ) -> Result<(), Malformed> {
        let mut topic = FetchTopic { name: String::new(), id: Uuid::nil(), partitions: 0 };
        if version >= TOPIC_IDS_FROM {
            topic.id = reader.uuid("a topic id")?;
        } else {
            let name = reader
                .text(flexible, "a topic name")?
                .ok_or(Malformed::Invalid("a topic name is null"))?;
            let name = std::str::from_utf8(reader.slice(name))
                .map_err(|_| Malformed::Invalid("a topic name is not UTF-8"))?;
            if name.len() > i16::MAX as usize {
                return Err(Malformed::Invalid("a topic name is longer than any can be"));
            }
            name.clone_into(&mut topic.name);
        }
        topic.partitions = reader.count(flexible, "partitions")?.unwrap_or(0);
        if topic.partitions > REQUEST_ELEMENTS_MAX {
            return Err(Malformed::TooMany(REQUEST_ELEMENTS_MAX));
        }
        for _ in 0..topic.partitions {
            let index = reader.int32("a partition index")?;
            let leader_epoch = if version >= 9 { reader.int32("a leader epoch")? } else { -1 };
            let offset = reader.int64("a fetch offset")?;
            if version >= 12 {
                reader.skip(4, "the last fetched epoch")?;
            }
            if version >= 5 {
                reader.skip(8, "the log's start")?;
            }
            let max_bytes = reader.int32("the partition's most bytes")?;
            if flexible {
                reader.tags()?;
            }
            let topic = self.topics.len();
            self.partitions.push(FetchPartition { topic, index, leader_epoch, offset, max_bytes });
        }
        if flexible {
            reader.tags()?;
        }
        self.topics.push(topic);
        Ok(())
    }
}
