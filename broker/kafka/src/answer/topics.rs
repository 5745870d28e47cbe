//! Creating and deleting topics.

use super::{BROKER_ID, configs, text, visible};
use crate::door::Shared;
use crate::errors::{About, Fault, denied};
use anabranch_engine::{
    ErrorKind, Operation, Stream, StreamId, StreamSpec, check_setting, known_setting,
};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What a topic is or would be.
struct Outcome {
    id: uuid::Uuid,
    partitions: i32,
    settings: BTreeMap<String, String>,
}

pub(super) async fn create(
    shared: &Shared,
    version: i16,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut times: HashMap<_, u32> = HashMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    let mut topics = Vec::with_capacity(times.len());
    for topic in request.topics {
        // Of a name that stands there twice, neither is created; it is answered once.
        let created = match times.remove(&topic.name) {
            None => continue,
            Some(1) => create_one(shared, &topic, request.validate_only).await,
            Some(_) => Err(Fault::new(
                ResponseError::InvalidRequest,
                "the topic stands in the request more than once",
            )),
        };
        let result = CreatableTopicResult::default().with_name(topic.name);
        topics.push(match created {
            Ok(outcome) => created_result(shared, result, outcome, version),
            Err(fault) => {
                // Java's client fails on null configs, so they are empty (quirk of KIP-525).
                let message = Some(text(&*fault.message));
                result
                    .with_error_code(fault.error.code())
                    .with_error_message(message)
                    .with_configs(Some(Vec::new()))
            }
        });
    }
    CreateTopicsResponse::default().with_topics(topics)
}

fn created_result(
    shared: &Shared,
    result: CreatableTopicResult,
    outcome: Outcome,
    version: i16,
) -> CreatableTopicResult {
    let mut result = result.with_configs(Some(Vec::new()));
    if version >= 5 {
        match shared.engine.check_stream_access(Operation::DescribeConfigs, &result.name.0) {
            Ok(()) => {
                result.num_partitions = outcome.partitions;
                result.replication_factor = 1;
                result.configs = Some(configs::created(&outcome.settings));
            }
            // KIP-525: the topic is there, what it is like is not told.
            Err(error) => {
                result.num_partitions = -1;
                result.replication_factor = -1;
                result.topic_config_error_code = denied(error).code();
            }
        }
    }
    if version >= 7 {
        result.topic_id = outcome.id;
    }
    result
}

async fn create_one(
    shared: &Shared,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<Outcome, Fault> {
    let may = shared.engine.check_create(&topic.name);
    may.map_err(|error| Fault::of(error, About::Topic))?;
    let partitions = if topic.assignments.is_empty() {
        if !matches!(topic.replication_factor, 1 | -1) {
            let message = format!(
                "replication factor {}: there is one broker, so it is 1 (or -1 for the default)",
                topic.replication_factor
            );
            return Err(Fault::new(ResponseError::InvalidReplicationFactor, message));
        }
        match topic.num_partitions {
            -1 => None,
            count if count >= 1 => Some(count),
            _ => return Err(invalid_partitions("a topic has at least one partition")),
        }
    } else {
        Some(assigned_partitions(topic)?)
    };
    let mut settings = BTreeMap::new();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            let message = format!("{} needs a value", &*config.name);
            return Err(Fault::new(ResponseError::InvalidConfig, message));
        };
        // As it is kept; a bad one is found below.
        let kept = known_setting(&config.name).and_then(|known| check_setting(known, value).ok());
        settings.insert(config.name.to_string(), kept.unwrap_or_else(|| value.to_string()));
    }
    let spec =
        StreamSpec { name: topic.name.to_string(), partitions, settings, ..StreamSpec::default() };
    if let Err(error) = shared.engine.check_stream(&spec) {
        let plain = StreamSpec { settings: BTreeMap::new(), ..spec };
        let same = shared.engine.check_stream(&plain).map_err(|error| error.kind);
        return Err(match (error.kind, same) {
            // Without settings it is still wrong: then it is the number of partitions.
            (ErrorKind::InvalidArgument, Err(ErrorKind::InvalidArgument)) => {
                invalid_partitions(error.message)
            }
            _ => Fault::of(error, About::Topic),
        });
    }
    if validate_only {
        return Ok(Outcome {
            id: uuid::Uuid::nil(),
            partitions: partitions.unwrap_or(shared.engine.partitions_default()),
            settings: spec.settings,
        });
    }
    let stream = shared.engine.create_stream(spec).await;
    let stream = stream.map_err(|error| Fault::of(error, About::Topic))?;
    tracing::info!(topic = %stream.name, partitions = stream.partitions.len(), "created");
    Ok(Outcome { id: stream.id.0, partitions: count(&stream), settings: stream.settings.clone() })
}

/// How many partitions an assignment by hand asks for: it must number them from 0 and put all of
/// them here.
fn assigned_partitions(topic: &CreatableTopic) -> Result<i32, Fault> {
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        return Err(Fault::new(
            ResponseError::InvalidRequest,
            "with assignments, partitions and replication factor must both be -1",
        ));
    }
    let here = |each: &CreatableReplicaAssignment| {
        each.broker_ids.len() == 1 && each.broker_ids[0].0 == BROKER_ID
    };
    let numbers: HashSet<i32> = topic.assignments.iter().map(|each| each.partition_index).collect();
    let count = i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX);
    if numbers.len() != topic.assignments.len() || (0..count).any(|n| !numbers.contains(&n)) {
        let error = ResponseError::InvalidReplicaAssignment;
        return Err(Fault::new(error, "assignments must number the partitions from 0, each once"));
    }
    if !topic.assignments.iter().all(here) {
        let message =
            format!("the only broker is {BROKER_ID}: assign each partition to [{BROKER_ID}]");
        return Err(Fault::new(ResponseError::InvalidReplicaAssignment, message));
    }
    Ok(count)
}

fn invalid_partitions(message: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
    Fault::new(ResponseError::InvalidPartitions, message)
}

fn count(stream: &Stream) -> i32 {
    i32::try_from(stream.partitions.len()).unwrap_or(i32::MAX)
}

pub(super) async fn delete(
    shared: &Shared,
    version: i16,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let by_name = |name| DeleteTopicState::default().with_name(Some(name));
    let topics: Vec<DeleteTopicState> = if version >= 6 {
        request.topics
    } else {
        request.topic_names.into_iter().map(by_name).collect()
    };
    let mut responses = Vec::with_capacity(topics.len());
    for topic in topics {
        let deleted = delete_one(shared, &topic).await;
        let result = DeletableTopicResult::default().with_name(topic.name);
        let result = if version >= 6 { result.with_topic_id(topic.topic_id) } else { result };
        responses.push(match deleted {
            Ok((name, id)) => {
                let result = result.with_name(Some(text(name).into()));
                if version >= 6 { result.with_topic_id(id) } else { result }
            }
            Err(fault) => {
                let result = result.with_error_code(fault.error.code());
                if version >= 5 {
                    result.with_error_message(Some(text(&*fault.message)))
                } else {
                    result
                }
            }
        });
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

async fn delete_one(
    shared: &Shared,
    topic: &DeleteTopicState,
) -> Result<(String, uuid::Uuid), Fault> {
    let denial = |error| Fault::of(error, About::Topic);
    let catalog = shared.own.catalog();
    let stream = match &topic.name {
        Some(name) => {
            shared.engine.check_stream_access(Operation::Describe, name).map_err(denial)?;
            visible(&catalog, name).ok_or_else(|| {
                Fault::new(ResponseError::UnknownTopicOrPartition, "there is no such topic")
            })
        }
        None if topic.topic_id.is_nil() => {
            let message = "a topic is deleted by its name or its id";
            Err(Fault::new(ResponseError::InvalidRequest, message))
        }
        None => catalog
            .by_id(StreamId(topic.topic_id))
            .filter(|stream| !stream.is_internal())
            .ok_or_else(|| Fault::new(ResponseError::UnknownTopicId, "no topic has this id")),
    }?;
    shared.engine.check_drop(&stream.name).map_err(denial)?;
    let dropped = shared.engine.drop_stream(&stream.name).await;
    dropped.map_err(|error| Fault::of(error, About::Topic))?;
    tracing::info!(topic = %stream.name, "deleted");
    Ok((stream.name.clone(), stream.id.0))
}
