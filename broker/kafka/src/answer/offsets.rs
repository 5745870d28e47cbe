//! Where logs begin and end, and where records of a time stand.

use super::visible;
use crate::door::Shared;
use crate::errors::{About, Fault};
use anabranch_engine::{Marks, Operation, ReadError};
use anabranch_types::{LeaderEpoch, Offset, PartitionIndex, Timestamp};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};

// Times that stand for places (KIP-79, KIP-734, KIP-405).
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIME: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// An isolation level (KIP-98).
const READ_COMMITTED: i8 = 1;

pub(super) async fn list(
    shared: &Shared,
    version: i16,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let committed = request.isolation_level == READ_COMMITTED;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let result = list_one(shared, &topic.name, &wanted, version, committed).await;
            let partition = ListOffsetsPartitionResponse::default()
                .with_partition_index(wanted.partition_index);
            partitions.push(match result {
                Ok((offset, time)) => {
                    let found = partition.with_offset(offset.0).with_timestamp(time.0);
                    if version >= 4 && offset.0 >= 0 {
                        found.with_leader_epoch(shared.engine.leader_epoch().0)
                    } else {
                        found
                    }
                }
                Err(fault) => {
                    partition.with_error_code(fault.error.code()).with_offset(-1).with_timestamp(-1)
                }
            });
        }
        topics.push(
            ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions),
        );
    }
    ListOffsetsResponse::default().with_topics(topics)
}

/// An offset and the time of the record there; −1 and −1 if no record is meant.
async fn list_one(
    shared: &Shared,
    topic: &str,
    wanted: &ListOffsetsPartition,
    version: i16,
    committed: bool,
) -> Result<(Offset, Timestamp), Fault> {
    let known_from = match wanted.timestamp {
        LATEST | EARLIEST | 0.. => 1,
        MAX_TIME => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        _ => i16::MAX,
    };
    if version < known_from {
        let message = format!("version {version} knows no time {}", wanted.timestamp);
        return Err(Fault::new(ResponseError::UnsupportedVersion, message));
    }
    let log = find(shared, topic, wanted.partition_index, wanted.current_leader_epoch)?;
    let none = Timestamp(-1);
    match wanted.timestamp {
        LATEST if committed => Ok((log.last_stable(), none)),
        LATEST => Ok((log.high_watermark(), none)),
        EARLIEST | EARLIEST_LOCAL => Ok((log.log_start(), none)),
        LATEST_TIERED => Ok((Offset(-1), none)),
        MAX_TIME => search(log, |log| log.find_max_time()).await,
        time => search(log, move |log| log.find_time(Timestamp(time))).await,
    }
}

/// Looks for a record; decodes batches and reads the disk, so it runs aside.
async fn search(
    log: Marks,
    find: impl FnOnce(&Marks) -> Result<Option<(Offset, Timestamp)>, ReadError> + Send + 'static,
) -> Result<(Offset, Timestamp), Fault> {
    match tokio::task::spawn_blocking(move || find(&log)).await {
        Ok(Ok(found)) => Ok(found.unwrap_or((Offset(-1), Timestamp(-1)))),
        Ok(Err(error)) => Err(Fault::read(error)),
        Err(error) => {
            tracing::error!(%error, "a search by time was broken off");
            let code = ResponseError::UnknownServerError;
            Err(Fault::new(code, "the search was broken off"))
        }
    }
}

fn find(shared: &Shared, topic: &str, index: i32, epoch: i32) -> Result<Marks, Fault> {
    let unknown = || {
        let error = ResponseError::UnknownTopicOrPartition;
        Fault::new(error, "there is no such partition")
    };
    let may = shared.engine.check_stream_access(Operation::Describe, topic);
    may.map_err(|error| Fault::of(error, About::Topic))?;
    let catalog = shared.engine.catalog();
    let log = visible(&catalog, topic)
        .and_then(|stream| stream.partition(PartitionIndex(index)))
        .and_then(|id| shared.engine.marks(id))
        .ok_or_else(unknown)?;
    // KIP-320.
    match epoch.cmp(&shared.engine.leader_epoch().0) {
        _ if epoch < 0 => Ok(log),
        std::cmp::Ordering::Equal => Ok(log),
        std::cmp::Ordering::Less => {
            Err(Fault::new(ResponseError::FencedLeaderEpoch, "the leader epoch is old"))
        }
        std::cmp::Ordering::Greater => {
            Err(Fault::new(ResponseError::UnknownLeaderEpoch, "the leader epoch is unknown"))
        }
    }
}

pub(super) fn leader_epochs(
    shared: &Shared,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let current = shared.engine.leader_epoch();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|wanted| {
            let partition = EpochEndOffset::default().with_partition(wanted.partition);
            let log = find(shared, &topic.topic, wanted.partition, wanted.current_leader_epoch);
            match log.map(|log| epoch_end(&log, LeaderEpoch(wanted.leader_epoch), current)) {
                Ok(Some((epoch, end))) => {
                    partition.with_leader_epoch(epoch.0).with_end_offset(end.0)
                }
                Ok(None) => partition.with_leader_epoch(-1).with_end_offset(-1),
                Err(fault) => partition
                    .with_error_code(fault.error.code())
                    .with_leader_epoch(-1)
                    .with_end_offset(-1),
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

/// Where an epoch ends. The current one has begun, whether or not anything was written in it.
fn epoch_end(
    log: &Marks,
    epoch: LeaderEpoch,
    current: LeaderEpoch,
) -> Option<(LeaderEpoch, Offset)> {
    match epoch.cmp(&current) {
        _ if epoch.0 < 0 => None,
        std::cmp::Ordering::Greater => None,
        std::cmp::Ordering::Equal => Some((current, log.high_watermark())),
        std::cmp::Ordering::Less => log.epoch_end(epoch).or(Some((epoch, log.log_start()))),
    }
}
