//! Producers and their transactions as operators see and end them (KIP-664).

use super::{text, unknown, visible};
use crate::consumer_group::compile;
use crate::door::Shared;
use crate::errors::{About, Fault, denied};
use anabranch_engine::{Catalog, ErrorKind, Operation, TransactionStatus};
use anabranch_types::batch::Ending;
use anabranch_types::{PartitionIndex, ProducerEpoch, ProducerId};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest,
    DescribeTransactionsResponse, ListTransactionsRequest, ListTransactionsResponse, TopicName,
    TransactionalId, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
    describe_transactions_response, list_transactions_response,
};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;

/// States that a transactional id can be in, in Kafka. Ours ends in one step, so that some never
/// occur.
const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

pub(super) async fn describe(
    shared: &Shared,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let catalog = shared.engine.catalog();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let may = shared.engine.check_stream_access(Operation::Read, &topic.name).map_err(denied);
        let stream = visible(&catalog, &topic.name);
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            let partition = PartitionResponse::default().with_partition_index(index);
            let id = stream.and_then(|stream| stream.partition(PartitionIndex(index)));
            let found = match (may, id, stream) {
                (Err(error), ..) => Err(Fault::new(error, "the topic may not be read")),
                (Ok(()), Some(id), _) => {
                    let found = shared.engine.producers(id).await;
                    found.map_err(|error| Fault::of(error, About::Partition))
                }
                (Ok(()), None, Some(_)) => Err(Fault::new(
                    ResponseError::UnknownTopicOrPartition,
                    "the topic has no such partition",
                )),
                (Ok(()), None, None) => {
                    Err(Fault::new(unknown(shared, &topic.name), "there is no such topic"))
                }
            };
            partitions.push(match found {
                Err(fault) => partition
                    .with_error_code(fault.error.code())
                    .with_error_message(Some(text(&*fault.message))),
                Ok(producers) => {
                    let producers = producers.into_iter().map(|producer| {
                        ProducerState::default()
                            .with_producer_id(producer.id.0.into())
                            .with_producer_epoch(i32::from(producer.epoch.0))
                            .with_last_sequence(producer.last_sequence.map_or(-1, |last| last.0))
                            .with_last_timestamp(producer.last_append.0)
                            .with_current_txn_start_offset(
                                producer.transaction.map_or(-1, |first| first.0),
                            )
                    });
                    partition.with_active_producers(producers.collect())
                }
            });
        }
        topics.push(TopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    DescribeProducersResponse::default().with_topics(topics)
}

pub(super) async fn describe_transactions(
    shared: &Shared,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let catalog = shared.engine.catalog();
    let mut states = Vec::with_capacity(request.transactional_ids.len());
    for id in request.transactional_ids {
        let found = shared.engine.transaction(&id).await;
        let state = describe_transactions_response::TransactionState::default();
        states.push(match found {
            Ok(found) => described(state, &found, &catalog).with_transactional_id(id),
            Err(error) => {
                let error = if matches!(error.kind, ErrorKind::Denied(_)) {
                    denied(error)
                } else if id.is_empty() {
                    ResponseError::InvalidRequest
                } else {
                    ResponseError::TransactionalIdNotFound
                };
                state.with_error_code(error.code()).with_transactional_id(id)
            }
        });
    }
    DescribeTransactionsResponse::default().with_transaction_states(states)
}

fn described(
    state: describe_transactions_response::TransactionState,
    found: &TransactionStatus,
    catalog: &Catalog,
) -> describe_transactions_response::TransactionState {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for id in &found.partitions {
        if let Some((stream, index)) = catalog.by_partition(*id) {
            topics.entry(&stream.name).or_default().push(index.0);
        }
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        describe_transactions_response::TopicData::default()
            .with_topic(TopicName(text(name)))
            .with_partitions(partitions)
    });
    state
        .with_transaction_state(StrBytes::from_static_str(found.state))
        .with_transaction_timeout_ms(found.timeout_ms)
        .with_transaction_start_time_ms(found.since_ms.unwrap_or(-1))
        .with_producer_id(found.producer.0.into())
        .with_producer_epoch(found.epoch.0)
        .with_topics(topics.collect())
}

pub(super) async fn list_transactions(
    shared: &Shared,
    request: &ListTransactionsRequest,
) -> ListTransactionsResponse {
    let pattern = match request.transactional_id_pattern.as_deref() {
        None | Some("") => None,
        Some(pattern) => match compile(pattern) {
            Ok(pattern) => Some(pattern),
            Err(_) => {
                let error = ResponseError::InvalidRegularExpression;
                return ListTransactionsResponse::default().with_error_code(error.code());
            }
        },
    };
    let is_known = |state: &StrBytes| STATES.contains(&&**state);
    let unknown = request.state_filters.iter().filter(|state| !is_known(state)).cloned();
    let unknown: Vec<StrBytes> = unknown.collect();
    let states: Vec<&StrBytes> =
        request.state_filters.iter().filter(|state| is_known(state)).collect();
    // Filters of which none is known let nothing through.
    let any_state = request.state_filters.is_empty();
    let now = shared.engine.now().0;
    let wanted = |found: &TransactionStatus| {
        (any_state || states.iter().any(|state| &***state == found.state))
            && (request.producer_id_filters.is_empty()
                || request.producer_id_filters.iter().any(|id| id.0 == found.producer.0))
            && (request.duration_filter < 0
                || found.since_ms.is_none_or(|since| now - since > request.duration_filter))
            && pattern.as_ref().is_none_or(|pattern| pattern.is_match(&found.id))
    };
    let found = shared.engine.transactions().await.into_iter().filter(wanted);
    let states = found.map(|found| {
        list_transactions_response::TransactionState::default()
            .with_transactional_id(TransactionalId(text(found.id)))
            .with_producer_id(found.producer.0.into())
            .with_transaction_state(StrBytes::from_static_str(found.state))
    });
    ListTransactionsResponse::default()
        .with_unknown_state_filters(unknown)
        .with_transaction_states(states.collect())
}

/// What a client asks for to end a transaction that its coordinator does not know of.
pub(super) async fn write_markers(
    shared: &Shared,
    request: WriteTxnMarkersRequest,
) -> WriteTxnMarkersResponse {
    let catalog = shared.engine.catalog();
    let mut markers = Vec::with_capacity(request.markers.len());
    for marker in request.markers {
        let ending = if marker.transaction_result { Ending::Commit } else { Ending::Abort };
        let (producer, epoch) =
            (ProducerId(marker.producer_id.0), ProducerEpoch(marker.producer_epoch));
        let may = shared.engine.check_markers().map_err(denied);
        let mut topics = Vec::with_capacity(marker.topics.len());
        for topic in marker.topics {
            let stream = visible(&catalog, &topic.name);
            let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
            for index in topic.partition_indexes {
                let id = stream.and_then(|stream| stream.partition(PartitionIndex(index)));
                let error = match (may, id) {
                    (Err(error), _) => error.code(),
                    (Ok(()), None) => ResponseError::UnknownTopicOrPartition.code(),
                    (Ok(()), Some(id)) => {
                        let written = shared.engine.write_marker(id, producer, epoch, ending).await;
                        let code = |error| Fault::of(error, About::Partition).error.code();
                        written.map_or_else(code, |()| 0)
                    }
                };
                partitions.push(
                    WritableTxnMarkerPartitionResult::default()
                        .with_partition_index(index)
                        .with_error_code(error),
                );
            }
            topics.push(
                WritableTxnMarkerTopicResult::default()
                    .with_name(topic.name)
                    .with_partitions(partitions),
            );
        }
        markers.push(
            WritableTxnMarkerResult::default()
                .with_producer_id(marker.producer_id)
                .with_topics(topics),
        );
    }
    WriteTxnMarkersResponse::default().with_markers(markers)
}
