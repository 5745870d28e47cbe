//! What concerns the broker as a whole: the cluster of one, coordinators, producer ids.

use super::replicas::LOG_DIR;
use super::{BROKER_ID, Client, NO_OPERATIONS, cluster_operations, text, visible};
use crate::door::Shared;
use crate::errors::{About, Fault, denied};
use anabranch_engine::Operation;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeClusterResponse, DescribeLogDirsRequest,
    DescribeLogDirsResponse, FindCoordinatorRequest, FindCoordinatorResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::{BTreeMap, HashSet};

// What a client takes this endpoint for (KIP-919).
const ENDPOINT_BROKERS: i8 = 1;
const ENDPOINT_CONTROLLERS: i8 = 2;

/// Types of coordinators (KIP-98).
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(super) fn describe(
    shared: &Shared,
    client: &Client,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    if request.endpoint_type != ENDPOINT_BROKERS {
        let error = match request.endpoint_type {
            ENDPOINT_CONTROLLERS => ResponseError::MismatchedEndpointType,
            _ => ResponseError::UnsupportedEndpointType,
        };
        return DescribeClusterResponse::default()
            .with_error_code(error.code())
            .with_error_message(Some(text("this endpoint is a broker's")));
    }
    let operations = if request.include_cluster_authorized_operations {
        cluster_operations(shared)
    } else {
        NO_OPERATIONS
    };
    let broker = DescribeClusterBroker::default()
        .with_broker_id(BROKER_ID.into())
        .with_host(text(client.broker.host.as_str()))
        .with_port(i32::from(client.broker.port));
    DescribeClusterResponse::default()
        .with_cluster_id(text(shared.engine.cluster_id()))
        .with_controller_id(BROKER_ID.into())
        .with_brokers(vec![broker])
        .with_cluster_authorized_operations(operations)
}

pub(super) fn find_coordinator(
    shared: &Shared,
    client: &Client,
    version: i16,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let fault = |key: &str| match request.key_type {
        GROUP => shared.engine.check_group(Operation::Describe, key).err().map(denial),
        TRANSACTION => {
            shared.engine.check_transactional(Operation::Describe, key).err().map(denial)
        }
        _ => Some(Fault::new(
            ResponseError::InvalidRequest,
            "only groups (0) and transactions (1) have coordinators here",
        )),
    };
    if version >= 4 {
        let coordinators = request.coordinator_keys.into_iter().map(|key| {
            let fault = fault(&key);
            coordinator(client, key, fault.as_ref())
        });
        return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
    }
    let fault = fault(&request.key);
    let found = coordinator(client, request.key, fault.as_ref());
    FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_error_message(found.error_message)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port)
}

fn denial(error: anabranch_engine::Error) -> Fault {
    Fault::of(error, About::Coordinator)
}

fn coordinator(client: &Client, key: StrBytes, fault: Option<&Fault>) -> Coordinator {
    let coordinator = Coordinator::default().with_key(key);
    match fault {
        Some(fault) => coordinator
            .with_node_id((-1).into())
            .with_port(-1)
            .with_error_code(fault.error.code())
            .with_error_message(Some(text(&*fault.message))),
        None => coordinator
            .with_node_id(BROKER_ID.into())
            .with_host(text(client.broker.host.as_str()))
            .with_port(i32::from(client.broker.port)),
    }
}

pub(super) fn log_dirs(
    shared: &Shared,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    if let Err(error) = shared.engine.check_cluster(Operation::Describe) {
        return DescribeLogDirsResponse::default().with_error_code(denied(error).code());
    }
    // Who may see the broker's disk may see how large each topic is.
    let engine = &shared.own;
    let catalog = engine.catalog();
    let mut sizes: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
    let mut add = |name: &str, wanted: Option<&HashSet<i32>>| {
        let Some(stream) = visible(&catalog, name) else { return };
        let topic = sizes.entry(stream.name.clone()).or_default();
        for index in super::indexes(stream) {
            if wanted.is_none_or(|wanted| wanted.contains(&index.0)) {
                let log = stream.partition(index).and_then(|id| engine.marks(id));
                let bytes = log.map_or(0, |log| log.bytes());
                topic.insert(index.0, i64::try_from(bytes).unwrap_or(i64::MAX));
            }
        }
    };
    match &request.topics {
        None => catalog.streams().for_each(|stream| add(&stream.name, None)),
        Some(topics) => {
            for topic in topics {
                add(&topic.topic, Some(&topic.partitions.iter().copied().collect()));
            }
        }
    }
    let partition = |(index, bytes)| {
        DescribeLogDirsPartition::default().with_partition_index(index).with_partition_size(bytes)
    };
    let topics = sizes.into_iter().map(|(name, partitions)| {
        DescribeLogDirsTopic::default()
            .with_name(TopicName(text(name)))
            .with_partitions(partitions.into_iter().map(partition).collect())
    });
    let result = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_static_str(LOG_DIR))
        .with_topics(topics.collect());
    DescribeLogDirsResponse::default().with_results(vec![result])
}
