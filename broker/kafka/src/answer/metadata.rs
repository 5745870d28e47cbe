//! Metadata: where topics are, which is always here; and the creation of topics that are named
//! for the first time.

use super::{BROKER_ID, Client, NO_OPERATIONS, cluster_operations, indexes, operations, text};
use crate::door::Shared;
use crate::errors::{About, Fault};
use anabranch_engine::{
    ErrorKind, Operation, ResourceKind, Stream, StreamId, StreamRef, StreamSpec,
};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::collections::HashSet;
use std::sync::Arc;
use uuid::Uuid;

pub(super) async fn metadata(
    shared: &Shared,
    client: &Client,
    version: i16,
    request: MetadataRequest,
) -> MetadataResponse {
    let with_operations = version >= 8 && request.include_topic_authorized_operations;
    let epoch = shared.engine.leader_epoch().0;
    let describe = |stream: &Stream| {
        let operations = if with_operations {
            operations(shared, ResourceKind::Topic, &stream.name)
        } else {
            NO_OPERATIONS
        };
        topic(stream, version, epoch, operations)
    };
    let mut topics = Vec::new();
    // Version 0 cannot say null: there an empty list asks for all topics.
    let all = request.topics.as_ref().is_none_or(|topics| version == 0 && topics.is_empty());
    if all {
        let catalog = shared.engine.catalog();
        let visible = catalog.streams().filter(|stream| !stream.is_internal());
        topics.extend(visible.map(|stream| describe(stream)));
    } else {
        let create = version < 4 || request.allow_auto_topic_creation;
        // A topic that is named twice is described once: answers stay in proportion.
        let (mut seen, mut found) = (HashSet::new(), HashSet::new());
        let mut wanted = request.topics.unwrap_or_default();
        // As Kafka has it: if one is asked for by its id, all are, and names do not count.
        if wanted.iter().any(|wanted| !wanted.topic_id.is_nil()) {
            wanted.retain(|wanted| !wanted.topic_id.is_nil());
            wanted.iter_mut().for_each(|wanted| wanted.name = None);
        }
        for wanted in wanted {
            if !seen.insert((wanted.name.clone(), wanted.topic_id)) {
                continue;
            }
            topics.push(match find(shared, &wanted, create).await {
                Ok(stream) if !found.insert(stream.id) => continue,
                Ok(stream) => describe(&stream),
                Err(fault) => refused(wanted, version, fault.error),
            });
        }
    }
    let mut response = MetadataResponse::default()
        .with_brokers(vec![broker(client)])
        .with_cluster_id(Some(text(shared.engine.cluster_id())))
        .with_controller_id(BROKER_ID.into())
        .with_topics(topics);
    if (8..=10).contains(&version) && request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = cluster_operations(shared);
    }
    response
}

fn broker(client: &Client) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(BROKER_ID.into())
        .with_host(text(client.broker.host.as_str()))
        .with_port(i32::from(client.broker.port))
}

/// The topic that is meant; created if it is new and may be.
async fn find(
    shared: &Shared,
    wanted: &MetadataRequestTopic,
    create: bool,
) -> Result<Arc<Stream>, Fault> {
    let catalog = shared.engine.catalog();
    let Some(name) = &wanted.name else {
        let id = StreamRef::Id(StreamId(wanted.topic_id));
        return match shared.engine.look_up(id, Operation::Describe) {
            Ok(stream) if !stream.is_internal() => Ok(stream),
            Err(error) if matches!(error.kind, ErrorKind::Denied(_)) => {
                Err(Fault::of(error, About::Topic))
            }
            Ok(_) | Err(_) => {
                Err(Fault::new(ResponseError::UnknownTopicId, "no topic has this id"))
            }
        };
    };
    let may = shared.engine.check_stream_access(Operation::Describe, name);
    may.map_err(|error| Fault::of(error, About::Topic))?;
    match catalog.by_name(name) {
        Some(stream) if stream.is_internal() => {
            let error = ResponseError::InvalidTopicException;
            return Err(Fault::new(error, "the topic is the broker's own"));
        }
        Some(stream) => return Ok(Arc::clone(stream)),
        None => {}
    }
    if create {
        return shared
            .engine
            .find_or_create(name)
            .await
            .map_err(|error| Fault::of(error, About::Topic));
    }
    let spec = StreamSpec { name: name.to_string(), ..StreamSpec::default() };
    match shared.own.check_stream(&spec) {
        Err(error) if error.kind == ErrorKind::InvalidName => Err(Fault::of(error, About::Topic)),
        Ok(()) | Err(_) => {
            let error = ResponseError::UnknownTopicOrPartition;
            Err(Fault::new(error, "there is no such topic"))
        }
    }
}

fn topic(stream: &Stream, version: i16, epoch: i32, operations: i32) -> MetadataResponseTopic {
    let partition = |index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BROKER_ID.into())
            .with_leader_epoch(epoch)
            .with_replica_nodes(vec![BROKER_ID.into()])
            .with_isr_nodes(vec![BROKER_ID.into()])
    };
    let mut topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(stream.name.as_str()))))
        .with_partitions(indexes(stream).map(|index| partition(index.0)).collect())
        .with_topic_authorized_operations(operations);
    if version >= 10 {
        topic.topic_id = stream.id.0;
    }
    topic
}

fn refused(
    wanted: MetadataRequestTopic,
    version: i16,
    error: ResponseError,
) -> MetadataResponseTopic {
    let mut topic = MetadataResponseTopic::default()
        .with_error_code(error.code())
        .with_topic_id(wanted.topic_id);
    // Names may be null from version 12.
    topic.name = match wanted.name {
        None if version < 12 => Some(TopicName(StrBytes::new())),
        name => name,
    };
    if topic.name.is_some() {
        topic.topic_id = Uuid::nil();
    }
    topic
}
