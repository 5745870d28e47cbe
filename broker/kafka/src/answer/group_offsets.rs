//! Committed offsets: durable in the engine before they are answered.

use super::{text, visible};
use crate::classic_group::{CommitOf, Identity};
use crate::coordinator::Interests;
use crate::door::Shared;
use crate::errors::{About, Fault, denied};
use crate::limits::OFFSET_METADATA_BYTES_MAX;
use crate::wire::Reader;
use anabranch_engine::{CommittedOffset, Operation, Stream, StreamId};
use anabranch_types::PartitionIndex;
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

type Commit = (StreamId, PartitionIndex, Option<CommittedOffset>);

/// First version whose clients know what a stale epoch is (KIP-848).
const EPOCHS_FROM: i16 = 9;

pub(super) async fn commit(
    shared: &Shared,
    version: i16,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let who =
        Identity { member_id: &request.member_id, instance: request.group_instance_id.as_deref() };
    let generation = request.generation_id_or_member_epoch;
    // Old clients without a group have one without a name.
    let may = shared.engine.check_group(Operation::Read, &request.group_id).map_err(denied);
    let exists = shared.groups.has_members(&request.group_id).is_some()
        || !shared.own.committed_offsets(&request.group_id).is_empty();
    let of = CommitOf::Consumer;
    let allowed = shared.groups.check_commit(&request.group_id, who, generation, of);
    let allowed = allowed.map_err(|error| match error {
        ResponseError::StaleMemberEpoch if version < EPOCHS_FROM => {
            ResponseError::UnsupportedVersion
        }
        ResponseError::IllegalGeneration if !exists && version >= EPOCHS_FROM => {
            ResponseError::GroupIdNotFound
        }
        error => error,
    });
    let now = shared.engine.now().0;
    let catalog = shared.engine.catalog();
    let mut commits: Vec<Commit> = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let stream = visible(&catalog, &topic.name);
        let readable = group_and_topic(shared, may, &topic.name);
        let partitions = topic.partitions.into_iter().map(|partition| {
            let index = PartitionIndex(partition.partition_index);
            let metadata = partition.committed_metadata.as_deref();
            let (offset, epoch) = (partition.committed_offset, partition.committed_leader_epoch);
            let committed =
                readable.and_then(|()| committed(stream, index, (offset, epoch), metadata, now));
            let result = committed.and_then(|(stream, committed)| {
                allowed.map(|()| commits.push((stream, index, Some(committed))))
            });
            let error = result.map_or_else(|error| error.code(), |()| 0);
            OffsetCommitResponsePartition::default()
                .with_partition_index(index.0)
                .with_error_code(error)
        });
        let partitions = partitions.collect();
        topics.push(
            OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions),
        );
    }
    if !commits.is_empty()
        && let Err(error) = shared.engine.commit_offsets(&request.group_id, commits).await
    {
        tracing::warn!(group = &**request.group_id, %error, "offsets were not committed");
        let code = Fault::of(error, About::Coordinator).error.code();
        let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        partitions.filter(|each| each.error_code == 0).for_each(|each| each.error_code = code);
    }
    OffsetCommitResponse::default().with_topics(topics)
}

/// Whether offsets of a topic may be committed, if the group `may` be used.
pub(super) fn group_and_topic(
    shared: &Shared,
    may: Result<(), ResponseError>,
    topic: &str,
) -> Result<(), ResponseError> {
    may?;
    shared.engine.check_stream_access(Operation::Read, topic).map_err(denied)
}

/// What a request commits for a partition, which must be there: offset and leader epoch, and the
/// client's words.
pub(super) fn committed(
    stream: Option<&Arc<Stream>>,
    index: PartitionIndex,
    (offset, leader_epoch): (i64, i32),
    metadata: Option<&str>,
    now: i64,
) -> Result<(StreamId, CommittedOffset), ResponseError> {
    let stream = stream
        .filter(|stream| stream.partition(index).is_some())
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let metadata = metadata.unwrap_or_default();
    if metadata.len() > OFFSET_METADATA_BYTES_MAX {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    let metadata = metadata.to_owned();
    Ok((stream.id, CommittedOffset { offset, leader_epoch, metadata, committed_ms: now }))
}

/// First version that can ask for stable offsets only, and be told to come again (KIP-447).
const REQUIRE_STABLE_FROM: i16 = 7;
/// How long an older client waits for a transaction of its group to end. After a restart its
/// consumer asks where to go on before its producer has asked again to commit: an answer at once
/// would have it read the transaction's records once more.
const UNSTABLE_WAIT: Duration = Duration::from_secs(5);

/// A topic's partitions with what is committed for them.
struct Fetched {
    topic: StrBytes,
    partitions: Vec<Found>,
}

/// What is committed for a partition.
struct Found {
    index: i32,
    offset: Option<CommittedOffset>,
    /// An open transaction may commit another, and the client asked for what is stable (KIP-447).
    unstable: bool,
    /// The topic may not be described.
    denied: Option<ResponseError>,
}

impl Found {
    fn error(&self) -> i16 {
        match self.denied {
            Some(error) => error.code(),
            None if self.unstable => ResponseError::UnstableOffsetCommit.code(),
            None => 0,
        }
    }
}

pub(super) async fn fetch(
    shared: &Shared,
    version: i16,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let stable = request.require_stable;
    if version < REQUIRE_STABLE_FROM {
        shared.engine.settle_offsets(&request.group_id, UNSTABLE_WAIT).await;
    }
    if version < 8 {
        if let Err(error) = shared.engine.check_group(Operation::Describe, &request.group_id) {
            return refused_old(version, request, denied(error));
        }
        let topics = request.topics.map(|topics| {
            topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
        });
        let topics = fetched(shared, &request.group_id, topics, stable).into_iter().map(|topic| {
            OffsetFetchResponseTopic::default()
                .with_name(TopicName(topic.topic))
                .with_partitions(topic.partitions.into_iter().map(partition_old).collect())
        });
        return OffsetFetchResponse::default().with_topics(topics.collect());
    }
    let mut seen = HashSet::new();
    let wanted = request.groups.into_iter().filter(|group| seen.insert(group.group_id.clone()));
    let groups = wanted.map(|group| {
        if let Err(error) = shared.engine.check_group(Operation::Describe, &group.group_id) {
            return OffsetFetchResponseGroup::default()
                .with_error_code(denied(error).code())
                .with_group_id(group.group_id);
        }
        let id = group.member_id.as_deref().unwrap_or_default();
        let is_admin = id.is_empty() && group.member_epoch < 0;
        if !is_admin
            && let Err(error) = shared.groups.check_fetch(&group.group_id, id, group.member_epoch)
        {
            return OffsetFetchResponseGroup::default()
                .with_error_code(error.code())
                .with_group_id(group.group_id);
        }
        let topics = group.topics.map(|topics| {
            topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
        });
        let topics = fetched(shared, &group.group_id, topics, stable).into_iter().map(|topic| {
            OffsetFetchResponseTopics::default()
                .with_name(TopicName(topic.topic))
                .with_partitions(topic.partitions.into_iter().map(partition).collect())
        });
        OffsetFetchResponseGroup::default()
            .with_topics(topics.collect())
            .with_group_id(group.group_id)
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

/// The answer to who may not describe the group: before version 2 each partition says so.
fn refused_old(
    version: i16,
    request: OffsetFetchRequest,
    error: ResponseError,
) -> OffsetFetchResponse {
    if version >= 2 {
        return OffsetFetchResponse::default().with_error_code(error.code());
    }
    let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
        let partition = |index| {
            let denied = Some(error);
            partition_old(Found { index, offset: None, unstable: false, denied })
        };
        let partitions = topic.partition_indexes.into_iter().map(partition);
        OffsetFetchResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

/// `None` asks for everything the group has.
fn fetched(
    shared: &Shared,
    group: &GroupId,
    topics: Option<Vec<(TopicName, Vec<i32>)>>,
    stable: bool,
) -> Vec<Fetched> {
    // Before what is committed: a transaction that ends in between is then either still pending
    // here or already among those.
    let pending = if stable { shared.engine.pending_offsets(group) } else { BTreeSet::new() };
    let committed = shared.engine.committed_offsets(group);
    let found = |place: Option<(StreamId, PartitionIndex)>, index: PartitionIndex| {
        let unstable = place.is_some_and(|place| pending.contains(&place));
        let offset = place.filter(|_| !unstable).and_then(|place| committed.get(&place).cloned());
        Found { index: index.0, offset, unstable, denied: None }
    };
    let catalog = shared.engine.catalog();
    let Some(topics) = topics else {
        let mut all: BTreeMap<&str, Vec<Found>> = BTreeMap::new();
        for &(stream, index) in committed.keys() {
            if let Some(known) = catalog.by_id(stream) {
                all.entry(&known.name).or_default().push(found(Some((stream, index)), index));
            }
        }
        let all = all.into_iter();
        return all.map(|(topic, partitions)| Fetched { topic: text(topic), partitions }).collect();
    };
    let topics = topics.into_iter().map(|(name, indexes)| {
        let denied =
            shared.engine.check_stream_access(Operation::Describe, &name).map_err(denied).err();
        let stream = visible(&catalog, &name).map(|stream| stream.id);
        let indexes = indexes.into_iter().map(PartitionIndex);
        let find = |index| {
            let found = found(stream.map(|stream| (stream, index)), index);
            if denied.is_some() { Found { offset: None, denied, ..found } } else { found }
        };
        let partitions = indexes.map(find).collect();
        Fetched { topic: name.0, partitions }
    });
    topics.collect()
}

fn partition_old(found: Found) -> OffsetFetchResponsePartition {
    let error = found.error();
    let (offset, leader_epoch, metadata) = parts(found.offset);
    OffsetFetchResponsePartition::default()
        .with_partition_index(found.index)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(leader_epoch)
        .with_metadata(Some(metadata))
        .with_error_code(error)
}

fn partition(found: Found) -> OffsetFetchResponsePartitions {
    let error = found.error();
    let (offset, leader_epoch, metadata) = parts(found.offset);
    OffsetFetchResponsePartitions::default()
        .with_partition_index(found.index)
        .with_committed_offset(offset)
        .with_committed_leader_epoch(leader_epoch)
        .with_metadata(Some(metadata))
        .with_error_code(error)
}

/// Nothing committed is −1, not an error.
fn parts(committed: Option<CommittedOffset>) -> (i64, i32, StrBytes) {
    match committed {
        Some(committed) => (committed.offset, committed.leader_epoch, text(committed.metadata)),
        None => (-1, -1, StrBytes::new()),
    }
}

pub(super) async fn delete(shared: &Shared, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let group = &request.group_id;
    if group.is_empty() {
        let error = ResponseError::InvalidGroupId.code();
        return OffsetDeleteResponse::default().with_error_code(error);
    }
    if let Err(error) = shared.engine.check_group(Operation::Delete, group) {
        return OffsetDeleteResponse::default().with_error_code(denied(error).code());
    }
    let committed = shared.own.committed_offsets(group);
    let has_members = shared.groups.has_members(group);
    if committed.is_empty() && has_members.is_none() {
        let error = ResponseError::GroupIdNotFound.code();
        return OffsetDeleteResponse::default().with_error_code(error);
    }
    let subscribed = subscribed(shared, group);
    let catalog = shared.engine.catalog();
    let mut removals: Vec<Commit> = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let may = group_and_topic(shared, Ok(()), &topic.name);
        let stream = visible(&catalog, &topic.name);
        let partitions = topic.partitions.into_iter().map(|partition| {
            let index = PartitionIndex(partition.partition_index);
            let found = stream.filter(|stream| stream.partition(index).is_some());
            let error = match found {
                _ if may.is_err() => may.map_or_else(|error| error.code(), |()| 0),
                _ if subscribed.contains(&*topic.name.0) => {
                    ResponseError::GroupSubscribedToTopic.code()
                }
                None => ResponseError::UnknownTopicOrPartition.code(),
                Some(stream) => {
                    removals.push((stream.id, index, None));
                    0
                }
            };
            OffsetDeleteResponsePartition::default()
                .with_partition_index(index.0)
                .with_error_code(error)
        });
        let partitions = partitions.collect();
        topics.push(
            OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(partitions),
        );
    }
    let response = OffsetDeleteResponse::default().with_topics(topics);
    match shared.engine.commit_offsets(group, removals).await {
        Ok(()) => response,
        Err(error) => {
            let error = Fault::of(error, About::Coordinator).error.code();
            OffsetDeleteResponse::default().with_error_code(error)
        }
    }
}

/// Topics that members of a group of consumers are subscribed to.
fn subscribed(shared: &Shared, group: &str) -> HashSet<String> {
    match shared.groups.interests(group) {
        Interests::Classic(metadata) => {
            metadata.into_iter().filter_map(subscription_topics).flatten().collect()
        }
        Interests::Consumer(topics) => topics.into_iter().collect(),
    }
}

/// The topics of a consumer's subscription: INT16 version, then an array of names. What other
/// kinds of groups say is none of ours.
fn subscription_topics(metadata: Bytes) -> Option<Vec<String>> {
    let mut reader = Reader::new(&metadata);
    reader.int16("the version").ok()?;
    let count = reader.count(false, "topics").ok()??;
    let mut topics = Vec::new();
    for _ in 0..count {
        let name = reader.text(false, "a topic").ok()??;
        topics.push(String::from_utf8_lossy(reader.slice(name)).into_owned());
    }
    Some(topics)
}
