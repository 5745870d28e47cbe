use super::client::{batch, batch_at};
use super::consume::{fetch, records};
use super::{Broker, topic_name};
use anabranch_types::batch::{BatchBuilder, BatchHeader, set_log_append_time};
use anabranch_types::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    InitProducerIdRequest, ListOffsetsRequest, ProduceRequest, ProduceResponse,
};

pub(crate) fn produce(topic: &str, partition: i32, records: Bytes) -> ProduceRequest {
    let partition =
        PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic])
}

pub(super) fn only(response: ProduceResponse) -> PartitionProduceResponse {
    let mut topics = response.responses;
    assert_eq!((topics.len(), topics[0].partition_responses.len()), (1, 1));
    topics.remove(0).partition_responses.remove(0)
}

fn code(error: ResponseError) -> i16 {
    error.code()
}

#[tokio::test]
async fn offsets_follow_each_other() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let mut client = broker.client().await;
    for version in 3..=12 {
        let request = produce("t", 0, batch(&[(None, "a"), (None, "b")]));
        let appended = only(client.call(version, request).await);
        assert_eq!((appended.error_code, appended.base_offset), (0, i64::from(version - 3) * 2));
    }
    let id = broker.engine.catalog().by_name("t").expect("created").id.0;
    let mut request = produce("t", 0, batch(&[(None, "c")]));
    request.topic_data[0].name = topic_name("");
    request.topic_data[0].topic_id = id;
    let response = client.call(13, request).await;
    assert_eq!(response.responses[0].topic_id, id);
    assert_eq!(only(response).base_offset, 20);
}

#[tokio::test]
async fn many_requests_in_one_write_are_answered_in_order_and_reads_wait_for_them() {
    let broker = Broker::start();
    broker.topic("t", 2, &[]).await;
    let mut client = broker.client().await;
    let requests: Vec<_> = (0..5_000)
        .map(|n| match n % 100 {
            // Refusals and appends must keep their places.
            7 => produce("t", 9, batch(&[(None, "x")])),
            _ => produce("t", n % 2, batch(&[(None, "x")])),
        })
        .collect();
    let first = client.send_all(7, &requests).await;
    let latest = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![
        ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(
            (0..2)
                .map(|n| ListOffsetsPartition::default().with_partition_index(n).with_timestamp(-1))
                .collect(),
        ),
    ]);
    let asked = client.send(5, &latest).await;
    let mut next = [0; 2];
    for (n, correlation) in (0..requests.len()).zip(first..) {
        let answer = only(client.receive::<ProduceRequest>(7, correlation).await);
        if n % 100 == 7 {
            assert_eq!(answer.error_code, code(ResponseError::UnknownTopicOrPartition));
        } else {
            assert_eq!((answer.error_code, answer.base_offset), (0, next[n % 2]));
            next[n % 2] += 1;
        }
    }
    let ends = client.receive::<ListOffsetsRequest>(5, asked).await;
    let ends: Vec<_> = ends.topics[0].partitions.iter().map(|each| each.offset).collect();
    assert_eq!(ends, next);
}

#[tokio::test]
async fn acks_0_is_not_answered_and_an_error_closes() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let mut client = broker.client().await;
    let fire = |partition| produce("t", partition, batch(&[(None, "x")])).with_acks(0);
    client.send_all(9, &[fire(0), fire(0)]).await;
    let answer = only(client.call(9, produce("t", 0, batch(&[(None, "y")]))).await);
    assert_eq!(answer.base_offset, 2);
    client.send(9, &fire(5)).await;
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let broker = Broker::start();
    broker.topic("t", 1, &[("max.message.bytes", "1000")]).await;
    broker.topic("keyed", 1, &[("cleanup.policy", "compact")]).await;
    let mut client = broker.client().await;
    let mut check = async |request: ProduceRequest, error: ResponseError, words: &str| {
        let answer = only(client.call(8, request).await);
        let message = answer.error_message.as_deref().unwrap_or_default();
        assert_eq!(ResponseError::try_from_code(answer.error_code), Some(error), "{message}");
        assert!(message.contains(words), "{message}");
        assert_eq!(answer.base_offset, -1);
        answer
    };
    let good = batch(&[(None, "x")]);
    let request = produce("nowhere", 0, good.clone());
    check(request, ResponseError::UnknownTopicOrPartition, "create it").await;
    let request = produce("__groups", 0, good.clone());
    check(request, ResponseError::InvalidTopicException, "broker's own").await;
    let request = produce("t", 0, batch(&[(None, &"x".repeat(2000))]));
    check(request, ResponseError::MessageTooLarge, "max.message.bytes").await;
    let mut damaged = good.to_vec();
    *damaged.last_mut().expect("not empty") ^= 1;
    let request = produce("t", 0, damaged.into());
    check(request, ResponseError::CorruptMessage, "checksum").await;
    let request = produce("t", 0, [&good[..], &good[..]].concat().into());
    check(request, ResponseError::InvalidRecord, "exactly one batch").await;
    let request = produce("t", 0, Bytes::new());
    check(request, ResponseError::InvalidRecord, "exactly one record batch").await;
    let request = produce("t", 0, good).with_acks(3);
    check(request, ResponseError::InvalidRequiredAcks, "acks").await;
    let request = produce("keyed", 0, batch(&[(Some("k"), "x"), (None, "y")]));
    let answer = check(request, ResponseError::InvalidRecord, "key").await;
    assert_eq!(answer.record_errors[0].batch_index, 1);
}

#[tokio::test]
async fn times_are_held_to_the_topics_bounds() {
    let broker = Broker::start();
    broker.topic("t", 1, &[("message.timestamp.before.max.ms", "1000")]).await;
    broker.topic("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let mut client = broker.client().await;
    let old = batch_at(1_000, &[(None, "x")]);
    let answer = only(client.call(8, produce("t", 0, old.clone())).await);
    assert_eq!(answer.error_code, code(ResponseError::InvalidTimestamp));
    // Those that are well can be sent again without the others.
    let mut builder = BatchBuilder::default();
    for time in [broker.engine.now().0, -1, 5] {
        builder.push(Timestamp(time), None, Some(b"x"), &[]);
    }
    let mixed = builder.build().expect("not compressed").freeze();
    let answer = only(client.call(8, produce("t", 0, mixed)).await);
    let refused: Vec<i32> = answer.record_errors.iter().map(|each| each.batch_index).collect();
    assert_eq!(refused, [2]);
    let now = broker.engine.now().0;
    let answer = only(client.call(8, produce("t", 0, batch_at(now, &[(None, "x")]))).await);
    assert_eq!((answer.error_code, answer.log_append_time_ms), (0, -1));
    let answer = only(client.call(8, produce("stamped", 0, old)).await);
    assert!(answer.error_code == 0 && answer.log_append_time_ms >= now);
}

/// Whose times count is the topic's to say, not the producer's.
#[tokio::test]
async fn a_producer_cannot_say_that_the_broker_gave_the_times() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let mut client = broker.client().await;
    let now = broker.engine.now();
    let mut claimed = batch_at(now.0, &[(None, "x")]).to_vec();
    set_log_append_time(&mut claimed, now);
    let answer = only(client.call(8, produce("t", 0, claimed.into())).await);
    assert_eq!((answer.error_code, answer.log_append_time_ms), (0, -1));
    let response = client.call(11, fetch("t", &[(0, 0)])).await;
    assert_eq!(records(&response, 0), [(0, "x".to_owned())]);
    let bytes = response.responses[0].partitions[0].records.clone().unwrap_or_default();
    let header = BatchHeader::read(&bytes).expect("a batch");
    assert_eq!((header.is_log_append_time(), header.max_timestamp), (false, now));
}

fn idempotent(id: i64, epoch: i16, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::default();
    builder.set_producer(ProducerId(id), ProducerEpoch(epoch), Sequence(sequence));
    builder.push(Timestamp(1), None, Some(b"x"), &[]);
    builder.build().expect("not compressed").freeze()
}

#[tokio::test]
async fn a_duplicate_gets_the_offset_of_the_original() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let mut client = broker.client().await;
    // The crate's default is an empty id, which is not none.
    let ask = || InitProducerIdRequest::default().with_transactional_id(None);
    let given = client.call(4, ask()).await;
    assert_eq!((given.error_code, given.producer_epoch), (0, 0));
    let id = given.producer_id.0;
    let other = client.call(4, ask()).await;
    assert_ne!(other.producer_id.0, id);

    let mut check = async |epoch: i16, sequence: i32, expected: Result<i64, ResponseError>| {
        let answer = only(client.call(9, produce("t", 0, idempotent(id, epoch, sequence))).await);
        let got =
            ResponseError::try_from_code(answer.error_code).map_or(Ok(answer.base_offset), Err);
        assert_eq!(got, expected, "epoch {epoch}, sequence {sequence}");
    };
    check(0, 0, Ok(0)).await;
    check(0, 1, Ok(1)).await;
    check(0, 0, Ok(0)).await;
    check(0, 1, Ok(1)).await;
    check(0, 5, Err(ResponseError::OutOfOrderSequenceNumber)).await;
    check(0, 2, Ok(2)).await;
    check(1, 0, Ok(3)).await;
    check(0, 3, Err(ResponseError::InvalidProducerEpoch)).await;
    check(1, 1, Ok(4)).await;
}

#[tokio::test]
async fn a_large_request_passes_and_a_larger_one_does_not() {
    let broker = Broker::start();
    broker.topic("t", 4, &[("max.message.bytes", "8000000")]).await;
    let mut client = broker.client().await;
    let value = "x".repeat(3_000_000);
    let records = batch(&[(None, &value)]);
    let mut request = produce("t", 0, records.clone());
    for index in 1..4 {
        let records = Some(records.clone());
        request.topic_data[0]
            .partition_data
            .push(PartitionProduceData::default().with_index(index).with_records(records));
    }
    for round in 0..3 {
        let response = client.call(9, request.clone()).await;
        for partition in &response.responses[0].partition_responses {
            assert_eq!((partition.error_code, partition.base_offset), (0, round));
        }
    }
    client.send_bytes(&(200_000_000u32).to_be_bytes()).await;
    client.send_bytes(&[0, 0, 0, 9, 0, 0, 0, 1]).await;
    assert!(client.is_closed().await);
}
