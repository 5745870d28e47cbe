//! Topics: create, delete, describe, and where their partitions begin and end.

use crate::cluster::{Client, check_name};
use crate::messages::{CREATE_TOPICS, DELETE_TOPICS, LIST_OFFSETS, offsets, topics};
use crate::{BrokerId, Error, TopicMetadata, error};
use anabranch_types::{Offset, PartitionIndex, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name, 1 to 249 bytes.
    pub name: String,
    /// Partitions; −1 is the broker's default (Kafka 2.4 or newer).
    pub partitions: i32,
    /// Replicas; −1 is the broker's default.
    pub replication: i16,
    /// Kafka's topic configs, such as `("cleanup.policy", "compact")`.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with the broker's defaults otherwise.
    #[must_use]
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, replication: -1, configs: Vec::new() }
    }
}

/// A place in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetAt {
    /// The first record that is still there.
    Beginning,
    /// The offset of the next record.
    End,
    /// The first record of this time or later.
    Time(Timestamp),
}

/// Administration, from [`Client::admin`].
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates a topic and waits until it can be described.
    ///
    /// # Errors
    /// [`Error::Refused`], with code 36 where it exists already.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<Arc<TopicMetadata>, Error> {
        check_name(&topic.name)?;
        let long = |text: &String| text.len() > i16::MAX as usize;
        if topic.configs.iter().any(|(name, value)| long(name) || long(value)) {
            return Err(Error::Config("a topic's config is longer than 32,767 bytes"));
        }
        let name = topic.name.clone();
        let wait = self.client.config().request_timeout;
        let (body, _) = self
            .client
            .call(CREATE_TOPICS, |out, _| topics::put_create(out, &[topic], wait))
            .await?;
        one_of(topics::read_create(&body)?, &name)?;
        // The cluster can have made it before each broker's metadata knows.
        self.client.retrying(|| Box::pin(self.client.refresh(&name))).await
    }

    /// Deletes a topic with all its records.
    ///
    /// # Errors
    /// [`Error::Refused`], with code 3 where there is none.
    pub async fn delete_topic(&self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        let wait = self.client.config().request_timeout;
        let (body, _) = self
            .client
            .call(DELETE_TOPICS, |out, _| topics::put_delete(out, &[name], wait))
            .await?;
        self.client.forget(name);
        one_of(topics::read_delete(&body)?, name)
    }

    /// Describes a topic, without creating it where the client's config forbids that.
    ///
    /// # Errors
    /// [`Error::Refused`] where there is none.
    pub async fn topic(&self, name: &str) -> Result<Arc<TopicMetadata>, Error> {
        self.client.refresh(name).await
    }

    /// Every topic of the cluster that can be described now.
    ///
    /// # Errors
    /// When the cluster cannot be asked.
    pub async fn topics(&self) -> Result<Vec<TopicMetadata>, Error> {
        let answer = self.client.metadata(None).await?;
        Ok(answer.topics.into_iter().filter_map(Result::ok).collect())
    }

    /// Where `at` is in every partition of the topic, sorted by partition; `None` where no
    /// record is that young.
    ///
    /// # Errors
    /// When the topic is not there or a partition has no leader.
    pub async fn offsets(
        &self,
        topic: &str,
        at: OffsetAt,
    ) -> Result<Vec<(PartitionIndex, Option<Offset>)>, Error> {
        self.client.retrying(|| Box::pin(self.offsets_once(topic, at))).await
    }

    async fn offsets_once(
        &self,
        topic: &str,
        at: OffsetAt,
    ) -> Result<Vec<(PartitionIndex, Option<Offset>)>, Error> {
        let metadata = self.client.refresh(topic).await?;
        let mut by_leader: BTreeMap<BrokerId, Vec<PartitionIndex>> = BTreeMap::new();
        for partition in &metadata.partitions {
            let what = || format!("offsets of topic {topic}");
            let leader = partition
                .leader
                .ok_or_else(|| Error::refused(what(), error::LEADER_NOT_AVAILABLE, None))?;
            by_leader.entry(leader).or_default().push(partition.index);
        }
        let mut found = Vec::new();
        for (leader, partitions) in by_leader {
            let mut connection = self.client.open(leader).await?;
            let (body, version) = connection
                .call(LIST_OFFSETS, |out, version| {
                    offsets::put(out, version, topic, &partitions, at);
                })
                .await?;
            found.extend(offsets::read(&body, version, topic)?);
        }
        found.sort_by_key(|(partition, _)| *partition);
        if found.len() != metadata.partitions.len() {
            return Err(Error::Malformed("it does not give each partition's offset once"));
        }
        Ok(found)
    }
}

fn one_of(results: Vec<(String, Result<(), Error>)>, name: &str) -> Result<(), Error> {
    let found = results.into_iter().find(|(topic, _)| topic == name);
    found.ok_or(Error::Malformed("it leaves out the topic"))?.1
}
