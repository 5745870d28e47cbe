//! Requests of KIP-848's consumer groups.

use super::{Client, NO_OPERATIONS, operations, text};
use crate::consumer_group::{ConsumerGroup, Heartbeat, HeartbeatError, Partitions};
use crate::door::Shared;
use crate::errors::{About, Fault};
use anabranch_engine::{Catalog, Guarded, Operation, ResourceKind, Stream, StreamId};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response as described;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, GroupId, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// From this version of the heartbeat on, members make their ids themselves (KIP-1082).
const ID_REQUIRED_FROM: i16 = 1;
/// From this version on, a description says what kind each member is.
const MEMBER_TYPE_FROM: i16 = 1;
/// A member that speaks the classic protocol (KIP-1099).
const CLASSIC_MEMBER: i8 = 0;
/// A member that speaks the consumer protocol.
const CONSUMER_MEMBER: i8 = 1;

pub(super) async fn heartbeat(
    shared: &Shared,
    client: &Client,
    version: i16,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    let told = if request.group_id.is_empty() {
        Err(HeartbeatError::new(ResponseError::InvalidRequest, "the group's name is empty"))
    } else if let Err(error) = may_join(shared, &request) {
        let Fault { error, message } = Fault::of(error, About::Coordinator);
        Err(HeartbeatError::new(error, message))
    } else {
        let mut heartbeat = read(client, &request);
        heartbeat.sees = visible(shared);
        match heartbeat.check(version >= ID_REQUIRED_FROM) {
            Err(error) => Err(error),
            Ok(()) => {
                if heartbeat.member_id.is_empty() {
                    heartbeat.member_id = uuid::Uuid::new_v4().to_string();
                }
                shared.groups.consumer_heartbeat(&request.group_id, heartbeat).await
            }
        }
    };
    match told {
        Ok(told) => ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(text(told.member_id)))
            .with_member_epoch(told.epoch)
            .with_heartbeat_interval_ms(i32::try_from(told.heartbeat_ms).unwrap_or(i32::MAX))
            .with_assignment(told.assignment.map(|partitions| {
                let topics = partitions.into_iter().map(|(id, indexes)| {
                    TopicPartitions::default()
                        .with_topic_id(id)
                        .with_partitions(indexes.into_iter().collect())
                });
                Assignment::default().with_topic_partitions(topics.collect())
            })),
        Err(HeartbeatError { error, message }) => ConsumerGroupHeartbeatResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(text(message))),
    }
}

/// Whether the client may be a member, and know the topics that it names.
fn may_join(
    shared: &Shared,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<(), anabranch_engine::Error> {
    shared.engine.check_group(Operation::Read, &request.group_id)?;
    let mut names = request.subscribed_topic_names.iter().flatten();
    names.try_for_each(|name| shared.engine.check_stream_access(Operation::Describe, name))
}

/// The topics that may be described, if those are not all: no others are found for a regular
/// expression (KIP-848).
fn visible(shared: &Shared) -> Option<BTreeSet<String>> {
    let name = |stream: &Arc<Stream>| stream.name.clone();
    (!shared.engine.sees_all()).then(|| shared.engine.catalog().streams().map(name).collect())
}

fn read(client: &Client, request: &ConsumerGroupHeartbeatRequest) -> Heartbeat {
    let owned = request.topic_partitions.as_ref().map(|topics| {
        let mut owned = Partitions::new();
        for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
            owned.entry(topic.topic_id).or_default().extend(&topic.partitions);
        }
        owned
    });
    let topics = request.subscribed_topic_names.as_ref();
    Heartbeat {
        member_id: request.member_id.to_string(),
        instance: request.instance_id.as_ref().map(ToString::to_string),
        rack: request.rack_id.as_ref().map(ToString::to_string),
        client_id: client.id.clone(),
        client_host: client.host(),
        epoch: request.member_epoch,
        rebalance_ms: u32::try_from(request.rebalance_timeout_ms).ok(),
        topics: topics.map(|names| names.iter().map(|name| name.to_string()).collect()),
        regex: request.subscribed_topic_regex.as_ref().map(ToString::to_string),
        sees: None,
        assignor: request.server_assignor.as_ref().map(ToString::to_string),
        owned,
    }
}

pub(super) fn describe(
    shared: &Shared,
    version: i16,
    request: ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let catalog = shared.engine.catalog();
    let mut seen = HashSet::new();
    let names = request.group_ids.into_iter().filter(|name| seen.insert(name.clone()));
    let groups = names.map(|name| {
        if name.is_empty() {
            return described::DescribedGroup::default()
                .with_error_code(ResponseError::InvalidGroupId.code())
                .with_error_message(Some(text("a group needs a name")))
                .with_group_id(name)
                .with_authorized_operations(NO_OPERATIONS);
        }
        let refused = |name: GroupId, error: ResponseError, message: &str| {
            described::DescribedGroup::default()
                .with_error_code(error.code())
                .with_error_message(Some(text(message)))
                .with_group_id(name)
                .with_authorized_operations(NO_OPERATIONS)
        };
        if let Err(error) = shared.engine.check_group(Operation::Describe, &name) {
            let Fault { error, message } = Fault::of(error, About::Coordinator);
            return refused(name, error, &message);
        }
        let operations = if request.include_authorized_operations {
            operations(shared, ResourceKind::Group, &name)
        } else {
            NO_OPERATIONS
        };
        // Members are told of only to who may know all their topics.
        let may = |topic: &str| {
            shared
                .engine
                .may(Operation::Describe, Guarded { kind: ResourceKind::Topic, name: topic })
        };
        let hidden = shared.groups.describe_consumer(&name, |group| {
            group.members.values().flat_map(|member| &member.topics).any(|topic| !may(topic))
        });
        if hidden == Some(true) {
            let message = "The group has described topic(s) that the client is not authorized to \
                           describe.";
            return refused(name, ResponseError::TopicAuthorizationFailed, message);
        }
        let found = shared.groups.describe_consumer(&name, |group| {
            described_group(name.clone(), group, &catalog, version)
                .with_authorized_operations(operations)
        });
        found.unwrap_or_else(|| {
            described::DescribedGroup::default()
                .with_error_code(ResponseError::GroupIdNotFound.code())
                .with_error_message(Some(text("there is no such group of the consumer protocol")))
                .with_group_id(name)
                .with_authorized_operations(NO_OPERATIONS)
        })
    });
    ConsumerGroupDescribeResponse::default().with_groups(groups.collect())
}

fn described_group(
    name: GroupId,
    group: &ConsumerGroup,
    catalog: &Catalog,
    version: i16,
) -> described::DescribedGroup {
    let members = group.members.iter().map(|(id, member)| {
        let described = described::Member::default()
            .with_member_id(text(id.as_str()))
            .with_instance_id(member.instance.as_deref().map(text))
            .with_rack_id(member.rack.as_deref().map(text))
            .with_member_epoch(member.epoch)
            .with_client_id(text(member.client_id.as_str()))
            .with_client_host(text(member.client_host.as_str()))
            .with_subscribed_topic_names(names(&member.topics))
            .with_subscribed_topic_regex(Some(text(member.regex.as_deref().unwrap_or_default())))
            .with_assignment(assignment(&member.assigned, catalog))
            .with_target_assignment(assignment(&member.target, catalog));
        if version < MEMBER_TYPE_FROM {
            return described;
        }
        let is_classic = member.classic.is_some();
        described.with_member_type(if is_classic { CLASSIC_MEMBER } else { CONSUMER_MEMBER })
    });
    described::DescribedGroup::default()
        .with_group_id(name)
        .with_group_state(StrBytes::from_static_str(group.state()))
        .with_group_epoch(group.head.epoch)
        .with_assignment_epoch(group.head.target_epoch)
        .with_assignor_name(StrBytes::from_static_str(group.assignor().name()))
        .with_members(members.collect())
}

fn names(topics: &BTreeSet<String>) -> Vec<TopicName> {
    topics.iter().map(|name| TopicName(text(name.as_str()))).collect()
}

/// Partitions of topics that are there.
fn assignment(partitions: &Partitions, catalog: &Catalog) -> described::Assignment {
    let topics = partitions.iter().filter_map(|(&id, indexes)| {
        let stream = catalog.by_id(StreamId(id))?;
        let topic = described::TopicPartitions::default()
            .with_topic_id(id)
            .with_topic_name(TopicName(text(stream.name.as_str())))
            .with_partitions(indexes.iter().copied().collect());
        Some(topic)
    });
    described::Assignment::default().with_topic_partitions(topics.collect())
}
