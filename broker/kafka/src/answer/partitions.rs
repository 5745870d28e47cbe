//! Partitions as operators change and page through them: more of them, less in them.

use super::{BROKER_ID, NO_OPERATIONS, indexes, operations, text, visible};
use crate::door::Shared;
use crate::errors::{About, Fault, denied};
use crate::limits::DESCRIBED_PARTITIONS_MAX;
use anabranch_engine::{ErrorKind, Mode, Operation, ResourceKind, Stream, StreamChange};
use anabranch_types::{Offset, PartitionId, PartitionIndex};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::describe_topic_partitions_request::Cursor as RequestCursor;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreatePartitionsResponse, DeleteRecordsRequest,
    DeleteRecordsResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    TopicName,
};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

pub(super) async fn create(
    shared: &Shared,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut times: HashMap<_, u32> = HashMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(times.len());
    for topic in request.topics {
        let created = match times.remove(&topic.name) {
            None => continue,
            Some(1) => create_some(shared, &topic, request.validate_only).await,
            Some(_) => Err(Fault::new(
                ResponseError::InvalidRequest,
                "the topic stands in the request more than once",
            )),
        };
        let result = CreatePartitionsTopicResult::default().with_name(topic.name);
        results.push(match created {
            Ok(()) => result,
            Err(fault) => result
                .with_error_code(fault.error.code())
                .with_error_message(Some(text(&*fault.message))),
        });
    }
    CreatePartitionsResponse::default().with_results(results)
}

async fn create_some(
    shared: &Shared,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Fault> {
    let may = shared.engine.check_stream_access(Operation::Alter, &topic.name);
    may.map_err(|error| Fault::of(error, About::Topic))?;
    let catalog = shared.engine.catalog();
    let stream = visible(&catalog, &topic.name).ok_or_else(|| {
        Fault::new(ResponseError::UnknownTopicOrPartition, "there is no such topic")
    })?;
    let invalid = |message: String| Fault::new(ResponseError::InvalidPartitions, message);
    let checked = shared.engine.check_partitions(&stream.name, topic.count);
    checked.map_err(|error| invalid(error.message))?;
    if let Some(assignments) = &topic.assignments {
        let here = |brokers: &[BrokerId]| brokers.len() == 1 && brokers[0].0 == BROKER_ID;
        let new = i64::from(topic.count) - stream.partitions.len() as i64;
        if assignments.len() as i64 != new || !assignments.iter().all(|each| here(&each.broker_ids))
        {
            return Err(Fault::new(
                ResponseError::InvalidReplicaAssignment,
                format!("{new} partitions are new: assign each of them to [{BROKER_ID}]"),
            ));
        }
    }
    if validate_only {
        return Ok(());
    }
    let change = StreamChange::Partitions(topic.count);
    match shared.engine.alter_stream(&stream.name, change).await {
        Ok(stream) => {
            tracing::info!(topic = %stream.name, partitions = topic.count, "has more partitions");
            Ok(())
        }
        Err(error) if error.kind == ErrorKind::InvalidArgument => Err(invalid(error.message)),
        Err(error) => Err(Fault::of(error, About::Topic)),
    }
}

/// Asked for instead of an offset: all that is there.
const EVERYTHING: i64 = -1;

pub(super) async fn delete_records(
    shared: &Shared,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let catalog = shared.engine.catalog();
    let mut starts: Vec<(PartitionId, Offset)> = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let may = shared.engine.check_stream_access(Operation::Delete, &topic.name);
        let may = may.map_err(denied);
        let stream = visible(&catalog, &topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let index = PartitionIndex(wanted.partition_index);
            let start = may.and_then(|()| new_start(shared, stream, index, wanted.offset));
            let result = DeleteRecordsPartitionResult::default()
                .with_partition_index(wanted.partition_index);
            partitions.push(match start {
                Ok((id, start)) => {
                    starts.extend(id.map(|id| (id, start)));
                    result.with_low_watermark(start.0)
                }
                Err(error) => result.with_low_watermark(-1).with_error_code(error.code()),
            });
        }
        topics.push(
            DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions),
        );
    }
    if let Err(error) = shared.engine.delete_records(starts).await {
        let code = Fault::of(error, About::Topic).error.code();
        let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        for partition in partitions.filter(|partition| partition.error_code == 0) {
            partition.error_code = code;
            partition.low_watermark = -1;
        }
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

/// Where the partition is to begin, and its id if that is later than now.
fn new_start(
    shared: &Shared,
    stream: Option<&Arc<Stream>>,
    index: PartitionIndex,
    to: i64,
) -> Result<(Option<PartitionId>, Offset), ResponseError> {
    let unknown = ResponseError::UnknownTopicOrPartition;
    let stream = stream.ok_or(unknown)?;
    let id = stream.partition(index).ok_or(unknown)?;
    // Of a table, records are deleted by key, unless its policy says delete as well.
    let deletes = stream.settings.get("cleanup.policy").is_some_and(|all| all.contains("delete"));
    if stream.mode == Mode::Upsert && !deletes {
        return Err(ResponseError::PolicyViolation);
    }
    let log = shared.engine.marks(id).ok_or(unknown)?;
    let to = if to == EVERYTHING { log.high_watermark() } else { Offset(to) };
    if to < Offset(0) || to > log.high_watermark() {
        return Err(ResponseError::OffsetOutOfRange);
    }
    let now = log.log_start();
    Ok(if to > now { (Some(id), to) } else { (None, now) })
}

pub(super) fn describe(
    shared: &Shared,
    request: &DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let catalog = shared.engine.catalog();
    let mut names: BTreeSet<String> = if request.topics.is_empty() {
        let visible = catalog.streams().filter(|stream| !stream.is_internal());
        visible.map(|stream| stream.name.clone()).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.to_string()).collect()
    };
    let is_wrong = |cursor: &RequestCursor| {
        let asked = request.topics.iter().any(|topic| topic.name == cursor.topic_name);
        cursor.partition_index < 0 || !(request.topics.is_empty() || asked)
    };
    if request.cursor.as_ref().is_some_and(is_wrong) {
        let refused = request.topics.iter().map(|topic| {
            DescribeTopicPartitionsResponseTopic::default()
                .with_error_code(ResponseError::InvalidRequest.code())
                .with_name(Some(topic.name.clone()))
                .with_topic_authorized_operations(NO_OPERATIONS)
        });
        return DescribeTopicPartitionsResponse::default().with_topics(refused.collect());
    }
    let mut first = 0;
    if let Some(cursor) = &request.cursor {
        first = cursor.partition_index;
        let from = cursor.topic_name.to_string();
        names = names.split_off(&from);
        if !names.contains(&from) {
            first = 0;
        }
    }
    let mut room = usize::try_from(request.response_partition_limit).unwrap_or(0);
    room = room.clamp(1, DESCRIBED_PARTITIONS_MAX);
    let epoch = shared.engine.leader_epoch().0;
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        let cursor = |index| {
            let name = TopicName(text(name.as_str()));
            Some(Cursor::default().with_topic_name(name).with_partition_index(index))
        };
        if room == 0 {
            response.next_cursor = cursor(0);
            break;
        }
        if let Err(error) = shared.engine.check_stream_access(Operation::Describe, &name) {
            response.topics.push(refused(&name, denied(error)));
            continue;
        }
        let Some(stream) = visible(&catalog, &name) else {
            response.topics.push(refused(&name, super::unknown(shared, &name)));
            continue;
        };
        let from = std::mem::take(&mut first);
        let mut all =
            indexes(stream).map(|index| index.0).filter(|&index| index >= from).peekable();
        let mut partitions = Vec::new();
        while room > 0
            && let Some(index) = all.next()
        {
            room -= 1;
            partitions.push(partition(index, epoch));
        }
        let next = all.peek().copied();
        response.topics.push(
            DescribeTopicPartitionsResponseTopic::default()
                .with_name(Some(TopicName(text(name.as_str()))))
                .with_topic_id(stream.id.0)
                .with_partitions(partitions)
                .with_topic_authorized_operations(operations(shared, ResourceKind::Topic, &name)),
        );
        if let Some(next) = next {
            response.next_cursor = cursor(next);
            break;
        }
    }
    response
}

fn partition(index: i32, epoch: i32) -> DescribeTopicPartitionsResponsePartition {
    // Java's client fails on null lists.
    DescribeTopicPartitionsResponsePartition::default()
        .with_partition_index(index)
        .with_leader_id(BROKER_ID.into())
        .with_leader_epoch(epoch)
        .with_replica_nodes(vec![BROKER_ID.into()])
        .with_isr_nodes(vec![BROKER_ID.into()])
        .with_eligible_leader_replicas(Some(Vec::new()))
        .with_last_known_elr(Some(Vec::new()))
}

fn refused(name: &str, error: ResponseError) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(TopicName(text(name))))
        .with_topic_authorized_operations(NO_OPERATIONS)
}
