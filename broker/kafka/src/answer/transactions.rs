//! Transactions: what a producer says to its coordinator (KIP-98, KIP-447, KIP-588).

use super::group_offsets::{committed, group_and_topic};
use super::visible;
use crate::classic_group::{CommitOf, Identity};
use crate::door::Shared;
use crate::errors::{About, Fault, denied};
use anabranch_engine::{EpochAfter, Operation, TRANSACTION_TIMEOUT_MS_MAX, TransactionError};
use anabranch_types::batch::Ending;
use anabranch_types::{PartitionIndex, ProducerEpoch, ProducerId};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
    InitProducerIdResponse, TopicName, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use std::collections::HashMap;

/// First versions whose clients know PRODUCER_FENCED (KIP-588).
const INIT_FENCED_FROM: i16 = 4;
const FENCED_FROM: i16 = 2;
/// First version of EndTxn and TxnOffsetCommit for transactions of version 2: what is written to
/// is part of them without a word, and each end gives the producer a new epoch (KIP-890).
const VERSION_2_FROM: i16 = 5;
/// First version of TxnOffsetCommit whose clients know TRANSACTION_ABORTABLE (KIP-890).
const ABORTABLE_FROM: i16 = 4;

pub(crate) fn code(error: TransactionError, knows_fenced: bool) -> ResponseError {
    match error {
        TransactionError::Fenced if knows_fenced => ResponseError::ProducerFenced,
        TransactionError::Fenced => ResponseError::InvalidProducerEpoch,
        TransactionError::UnknownProducer => ResponseError::InvalidProducerIdMapping,
        TransactionError::InvalidState(_) => ResponseError::InvalidTxnState,
        TransactionError::Engine(error) => Fault::of(error, About::Coordinator).error,
    }
}

fn number(result: Result<(), ResponseError>) -> i16 {
    result.map_or_else(|error| error.code(), |()| 0)
}

pub(super) async fn init_producer_id(
    shared: &Shared,
    version: i16,
    request: &InitProducerIdRequest,
) -> InitProducerIdResponse {
    match init(shared, version, request).await {
        Ok((id, epoch)) => InitProducerIdResponse::default()
            .with_producer_id(id.0.into())
            .with_producer_epoch(epoch.0),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id((-1).into())
            .with_producer_epoch(-1),
    }
}

async fn init(
    shared: &Shared,
    version: i16,
    request: &InitProducerIdRequest,
) -> Result<(ProducerId, ProducerEpoch), ResponseError> {
    let engine = &shared.engine;
    let Some(id) = &request.transactional_id else {
        return engine.new_producer_id().await.map(|id| (id, ProducerEpoch(0))).map_err(|error| {
            tracing::warn!(%error, "no producer id can be given out");
            Fault::of(error, About::Coordinator).error
        });
    };
    engine.check_transactional(Operation::Write, id).map_err(denied)?;
    let known = match (request.producer_id.0, request.producer_epoch) {
        (-1, -1) => None,
        (producer, epoch) if producer >= 0 && epoch >= 0 => {
            Some((ProducerId(producer), ProducerEpoch(epoch)))
        }
        _ => return Err(ResponseError::InvalidRequest),
    };
    if id.is_empty() {
        return Err(ResponseError::InvalidRequest);
    }
    let timeout_ms = request.transaction_timeout_ms;
    if !(1..=TRANSACTION_TIMEOUT_MS_MAX).contains(&timeout_ms) {
        return Err(ResponseError::InvalidTransactionTimeout);
    }
    engine
        .init_transactional(id, timeout_ms, known)
        .await
        .map_err(|error| code(error, version >= INIT_FENCED_FROM))
}

pub(super) async fn add_partitions(
    shared: &Shared,
    version: i16,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let catalog = shared.engine.catalog();
    let mut partitions = Vec::new();
    let mut unknown = false;
    let topics = request.v3_and_below_topics;
    let id = &request.v3_and_below_transactional_id;
    let may = shared.engine.check_transactional(Operation::Write, id).map_err(denied);
    let mut refused: HashMap<TopicName, ResponseError> = HashMap::new();
    for topic in topics.iter().filter(|_| may.is_ok()) {
        if let Err(error) = shared.engine.check_stream_access(Operation::Write, &topic.name) {
            refused.insert(topic.name.clone(), denied(error));
        }
        let stream = visible(&catalog, &topic.name);
        for index in &topic.partitions {
            match stream.and_then(|stream| stream.partition(PartitionIndex(*index))) {
                Some(partition) => partitions.push(partition),
                None => unknown = true,
            }
        }
    }
    let result = if let Err(error) = may {
        Err(error)
    } else if unknown || !refused.is_empty() {
        Err(ResponseError::OperationNotAttempted)
    } else {
        let producer = ProducerId(request.v3_and_below_producer_id.0);
        let epoch = ProducerEpoch(request.v3_and_below_producer_epoch);
        let added = shared.engine.add_to_transaction(id, producer, epoch, &partitions).await;
        added.map_err(|error| code(error, version >= FENCED_FROM))
    };
    let of_topic = |topic: AddPartitionsToTxnTopic| {
        let stream = visible(&catalog, &topic.name);
        let results = topic.partitions.iter().map(|index| {
            let known =
                stream.is_some_and(|stream| stream.partition(PartitionIndex(*index)).is_some());
            let result = match refused.get(&topic.name) {
                _ if may.is_err() => result,
                Some(error) => Err(*error),
                None if known => result,
                None => Err(ResponseError::UnknownTopicOrPartition),
            };
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*index)
                .with_partition_error_code(number(result))
        });
        let results = results.collect();
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name)
            .with_results_by_partition(results)
    };
    AddPartitionsToTxnResponse::default()
        .with_results_by_topic_v3_and_below(topics.into_iter().map(of_topic).collect())
}

pub(super) async fn add_offsets(
    shared: &Shared,
    version: i16,
    request: &AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let (producer, epoch) =
        (ProducerId(request.producer_id.0), ProducerEpoch(request.producer_epoch));
    let (id, group) = (&request.transactional_id, &request.group_id);
    let added = shared.engine.add_group_to_transaction(id, producer, epoch, group).await;
    let result = added.map_err(|error| code(error, version >= FENCED_FROM));
    AddOffsetsToTxnResponse::default().with_error_code(number(result))
}

pub(super) async fn commit_offsets(
    shared: &Shared,
    version: i16,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let generation = request.generation_id;
    let who =
        Identity { member_id: &request.member_id, instance: request.group_instance_id.as_deref() };
    // Clients of before KIP-447 do not say who they are.
    let anonymous = generation < 0 && who.member_id.is_empty() && who.instance.is_none();
    let engine = &shared.engine;
    let may = engine.check_transactional(Operation::Write, &request.transactional_id);
    let may = may.and_then(|()| engine.check_group(Operation::Read, &request.group_id));
    let may = may.map_err(denied);
    let allowed = if let Err(error) = may {
        Err(error)
    } else if request.group_id.is_empty() {
        Err(ResponseError::InvalidGroupId)
    } else if anonymous {
        Ok(())
    } else {
        let of = CommitOf::Transaction;
        shared.groups.check_commit(&request.group_id, who, generation, of).map_err(|error| {
            // What a stale epoch is, this request does not say.
            let stale = error == ResponseError::StaleMemberEpoch;
            if stale { ResponseError::IllegalGeneration } else { error }
        })
    };
    let now = shared.engine.now().0;
    let catalog = shared.engine.catalog();
    let mut offsets = Vec::new();
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
                allowed.map(|()| offsets.push((stream, index, committed)))
            });
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(index.0)
                .with_error_code(number(result))
        });
        let partitions = partitions.collect();
        topics.push(
            TxnOffsetCommitResponseTopic::default()
                .with_name(topic.name)
                .with_partitions(partitions),
        );
    }
    let (producer, epoch) =
        (ProducerId(request.producer_id.0), ProducerEpoch(request.producer_epoch));
    let (id, group) = (&request.transactional_id, &request.group_id);
    if may.is_err() {
        return TxnOffsetCommitResponse::default().with_topics(topics);
    }
    let engine = &shared.engine;
    let mut result = Ok(());
    if version >= VERSION_2_FROM && !offsets.is_empty() {
        result = engine.add_group_to_transaction(id, producer, epoch, group).await;
    }
    if result.is_ok() {
        result = engine.commit_offsets_in_transaction(id, producer, epoch, group, offsets).await;
    }
    if let Err(error) = result {
        let code = match code(error, false) {
            ResponseError::InvalidTxnState if version >= ABORTABLE_FROM => {
                ResponseError::TransactionAbortable
            }
            other => other,
        };
        let code = code.code();
        let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        partitions.filter(|each| each.error_code == 0).for_each(|each| each.error_code = code);
    }
    TxnOffsetCommitResponse::default().with_topics(topics)
}

pub(super) async fn end(shared: &Shared, version: i16, request: &EndTxnRequest) -> EndTxnResponse {
    if request.transactional_id.is_empty() {
        let error = ResponseError::InvalidRequest;
        return EndTxnResponse::default().with_error_code(error.code());
    }
    let ending = if request.committed { Ending::Commit } else { Ending::Abort };
    let producer = ProducerId(request.producer_id.0);
    let epoch = ProducerEpoch(request.producer_epoch);
    let id = &request.transactional_id;
    let after = if version >= VERSION_2_FROM { EpochAfter::Next } else { EpochAfter::Same };
    let ended = shared.engine.end_transaction(id, producer, epoch, ending, after).await;
    let none = EndTxnResponse::default();
    match ended {
        Ok((producer, epoch)) if version >= VERSION_2_FROM => {
            none.with_producer_id(producer.0.into()).with_producer_epoch(epoch.0)
        }
        Ok(_) => none,
        Err(error) => none.with_error_code(code(error, version >= FENCED_FROM).code()),
    }
}
