//! Where replicas and leaders are: there is one broker, so that everything is where it should be,
//! and what would move it elsewhere is refused.

use super::{BROKER_ID, Client, text, visible};
use crate::door::Shared;
use crate::errors::{About, Fault, denied};
use anabranch_engine::{Catalog, Operation};
use anabranch_types::PartitionIndex;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use kafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, DescribeQuorumRequest,
    DescribeQuorumResponse, ElectLeadersRequest, ElectLeadersResponse,
    ListPartitionReassignmentsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

/// What the one log directory is called: paths of the host are nobody else's business.
pub(super) const LOG_DIR: &str = "data";
/// The topic of Kafka's own cluster state (KIP-595).
const CLUSTER_METADATA: &str = "__cluster_metadata";

fn is_there(catalog: &Catalog, topic: &str, index: i32) -> bool {
    let stream = visible(catalog, topic);
    stream.is_some_and(|stream| stream.partition(PartitionIndex(index)).is_some())
}

pub(super) fn elect_leaders(shared: &Shared, request: ElectLeadersRequest) -> ElectLeadersResponse {
    if let Err(error) = shared.engine.check_cluster(Operation::Alter) {
        return ElectLeadersResponse::default().with_error_code(denied(error).code());
    }
    let catalog = shared.engine.catalog();
    // Of all partitions, those that need no election are not told.
    let topics = request.topic_partitions.unwrap_or_default();
    let topics = topics.into_iter().map(|topic| {
        let results = topic.partitions.iter().map(|&index| {
            let (error, message) = if is_there(&catalog, &topic.topic, index) {
                (ResponseError::ElectionNotNeeded, "the leader is the one broker")
            } else {
                (ResponseError::UnknownTopicOrPartition, "there is no such partition")
            };
            PartitionResult::default()
                .with_partition_id(index)
                .with_error_code(error.code())
                .with_error_message(Some(text(message)))
        });
        let results = results.collect();
        ReplicaElectionResult::default().with_topic(topic.topic).with_partition_result(results)
    });
    ElectLeadersResponse::default().with_replica_election_results(topics.collect())
}

pub(super) fn reassign(
    shared: &Shared,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    if let Err(error) = shared.engine.check_cluster(Operation::Alter) {
        let fault = Fault::of(error, About::Topic);
        return AlterPartitionReassignmentsResponse::default()
            .with_error_code(fault.error.code())
            .with_error_message(Some(text(&*fault.message)));
    }
    let catalog = shared.engine.catalog();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let there = is_there(&catalog, &topic.name, partition.partition_index);
            let response = ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index);
            match check_reassignment(there, &partition) {
                Ok(()) => response,
                Err((error, message)) => response
                    .with_error_code(error.code())
                    .with_error_message(Some(StrBytes::from_static_str(message))),
            }
        });
        let partitions = partitions.collect();
        ReassignableTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    AlterPartitionReassignmentsResponse::default().with_responses(topics.collect())
}

fn check_reassignment(
    there: bool,
    partition: &ReassignablePartition,
) -> Result<(), (ResponseError, &'static str)> {
    if !there {
        return Err((ResponseError::UnknownTopicOrPartition, "there is no such partition"));
    }
    match &partition.replicas {
        None => Err((ResponseError::NoReassignmentInProgress, "nothing is being reassigned")),
        Some(replicas) if replicas.len() == 1 && replicas[0].0 == BROKER_ID => Ok(()),
        Some(_) => Err((ResponseError::InvalidReplicaAssignment, "there is only one broker")),
    }
}

/// Nothing is ever on its way.
pub(super) fn reassignments(shared: &Shared) -> ListPartitionReassignmentsResponse {
    if let Err(error) = shared.engine.check_cluster(Operation::Describe) {
        let fault = Fault::of(error, About::Topic);
        return ListPartitionReassignmentsResponse::default()
            .with_error_code(fault.error.code())
            .with_error_message(Some(text(&*fault.message)));
    }
    ListPartitionReassignmentsResponse::default()
}

pub(super) fn alter_log_dirs(
    shared: &Shared,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let may = shared.engine.check_cluster(Operation::Alter).map_err(denied);
    let catalog = shared.engine.catalog();
    let mut results = Vec::new();
    for dir in request.dirs {
        for topic in dir.topics {
            let partitions = topic.partitions.iter().map(|&index| {
                let error = if let Err(error) = may {
                    error.code()
                } else if &*dir.path != LOG_DIR {
                    ResponseError::LogDirNotFound.code()
                } else if is_there(&catalog, &topic.name, index) {
                    0
                } else {
                    ResponseError::UnknownTopicOrPartition.code()
                };
                AlterReplicaLogDirPartitionResult::default()
                    .with_partition_index(index)
                    .with_error_code(error)
            });
            let partitions = partitions.collect();
            results.push(
                AlterReplicaLogDirTopicResult::default()
                    .with_topic_name(topic.name)
                    .with_partitions(partitions),
            );
        }
    }
    AlterReplicaLogDirsResponse::default().with_results(results)
}

/// A quorum of one, whose log is the catalog's.
pub(super) fn quorum(
    shared: &Shared,
    client: &Client,
    version: i16,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    if let Err(error) = shared.engine.check_cluster(Operation::Describe) {
        return DescribeQuorumResponse::default().with_error_code(denied(error).code());
    }
    let catalog = shared.own.catalog();
    let own = catalog.by_name("__catalog").and_then(|stream| stream.partition(PartitionIndex(0)));
    let end = own.and_then(|id| shared.own.marks(id)).map_or(0, |log| log.high_watermark().0);
    let now = shared.engine.now().0;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let data = PartitionData::default().with_partition_index(partition.partition_index);
            if &**topic.topic_name != CLUSTER_METADATA || partition.partition_index != 0 {
                return data.with_error_code(ResponseError::UnknownTopicOrPartition.code());
            }
            let mut voter =
                ReplicaState::default().with_replica_id(BROKER_ID.into()).with_log_end_offset(end);
            if version >= 1 {
                voter.last_fetch_timestamp = now;
                voter.last_caught_up_timestamp = now;
            }
            data.with_leader_id(BROKER_ID.into())
                .with_leader_epoch(shared.engine.leader_epoch().0)
                .with_high_watermark(end)
                .with_current_voters(vec![voter])
        });
        let partitions = partitions.collect();
        TopicData::default()
            .with_topic_name(TopicName(topic.topic_name.0.clone()))
            .with_partitions(partitions)
    });
    let response = DescribeQuorumResponse::default().with_topics(topics.collect());
    if version < 2 {
        return response;
    }
    let listener = Listener::default()
        .with_name(StrBytes::from_static_str("PLAINTEXT"))
        .with_host(text(client.broker.host.as_str()))
        .with_port(client.broker.port);
    let node = Node::default().with_node_id(BROKER_ID.into()).with_listeners(vec![listener]);
    response.with_nodes(vec![node])
}
