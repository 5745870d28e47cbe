use super::client::{Client, batch, batch_at};
use super::produce::produce;
use super::{Broker, topic_name};
use anabranch_engine::{
    CredentialChange, Grant, GrantFilter, Operation, Pattern, Permission, Principal, ResourceKind,
    credentials_of_password,
};
use anabranch_types::Timestamp;
use anabranch_types::batch::{BatchBuilder, Compression, batches, decode_records};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, OffsetForLeaderEpochRequest,
};
use std::time::Duration;

pub(super) fn fetch(topic: &str, wanted: &[(i32, i64)]) -> FetchRequest {
    let partitions = wanted.iter().map(|&(index, offset)| {
        FetchPartition::default()
            .with_partition(index)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(1 << 20)
    });
    let topic =
        FetchTopic::default().with_topic(topic_name(topic)).with_partitions(partitions.collect());
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic])
}

async fn append(client: &mut Client, topic: &str, partition: i32, values: &[&str]) {
    let records: Vec<_> = values.iter().map(|value| (None, *value)).collect();
    let response = client.call(9, produce(topic, partition, batch(&records))).await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
}

/// (offset, value) of all records of a partition in a response.
pub(super) fn records(response: &FetchResponse, at: usize) -> Vec<(i64, String)> {
    let partition = &response.responses[0].partitions[at];
    assert_eq!(partition.error_code, 0);
    let bytes = partition.records.clone().unwrap_or_default();
    let mut out = Vec::new();
    for (header, batch) in batches(&bytes).map(|batch| batch.expect("sound")) {
        let mut scratch = Vec::new();
        header.check_crc(batch).expect("unharmed");
        for record in decode_records(&header, batch, &mut scratch).expect("sound") {
            let record = record.expect("sound");
            let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
            out.push((record.offset.0, value));
        }
    }
    out
}

fn owned(expected: &[(i64, &str)]) -> Vec<(i64, String)> {
    expected.iter().map(|(offset, value)| (*offset, (*value).to_owned())).collect()
}

#[tokio::test]
async fn an_offset_inside_a_batch_gives_the_whole_batch() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let mut client = broker.client().await;
    append(&mut client, "t", 0, &["a", "b", "c"]).await;
    append(&mut client, "t", 0, &["d"]).await;
    for version in 4..=12 {
        let response = client.call(version, fetch("t", &[(0, 1)])).await;
        let expected = owned(&[(0, "a"), (1, "b"), (2, "c"), (3, "d")]);
        assert_eq!(records(&response, 0), expected, "version {version}");
        assert_eq!(response.responses[0].partitions[0].high_watermark, 4);
    }
    let id = broker.engine.catalog().by_name("t").expect("created").id.0;
    for version in 13..=18 {
        let mut request = fetch("t", &[(0, 3)]);
        request.topics[0].topic = topic_name("");
        request.topics[0].topic_id = id;
        let response = client.call(version, request).await;
        assert_eq!(records(&response, 0), owned(&[(3, "d")]), "version {version}");
    }
}

#[tokio::test]
async fn limits_hold_but_for_the_first_batch() {
    let broker = Broker::start();
    broker.topic("t", 2, &[]).await;
    let mut client = broker.client().await;
    let large = "x".repeat(5000);
    for partition in 0..2 {
        append(&mut client, "t", partition, &[&large]).await;
        append(&mut client, "t", partition, &[&large]).await;
    }
    let mut request = fetch("t", &[(0, 0), (1, 0)]);
    request.max_bytes = 100;
    let response = client.call(11, request.clone()).await;
    assert_eq!((records(&response, 0).len(), records(&response, 1).len()), (1, 0));
    request.max_bytes = 1 << 20;
    for partition in &mut request.topics[0].partitions {
        partition.partition_max_bytes = 6000;
    }
    let response = client.call(11, request).await;
    assert_eq!((records(&response, 0).len(), records(&response, 1).len()), (1, 1));
}

#[tokio::test]
async fn a_fetch_waits_for_records_and_no_longer_than_it_was_told() {
    let broker = Broker::start();
    broker.topic("t", 2, &[]).await;
    let (mut consumer, mut producer) = (broker.client().await, broker.client().await);
    let waiting = fetch("t", &[(0, 0), (1, 0)]).with_max_wait_ms(30_000);
    let correlation = consumer.send(11, &waiting).await;
    append(&mut producer, "t", 1, &["now"]).await;
    let response = consumer.receive::<FetchRequest>(11, correlation).await;
    assert_eq!((records(&response, 0), records(&response, 1)), (vec![], owned(&[(0, "now")])));

    // Too little for min_bytes: at the end of the wait it is sent all the same.
    let waiting = fetch("t", &[(1, 0)]).with_max_wait_ms(300).with_min_bytes(100_000);
    let begun = tokio::time::Instant::now();
    let response = consumer.call(11, waiting).await;
    assert_eq!(records(&response, 0), owned(&[(0, "now")]));
    assert!(begun.elapsed() >= Duration::from_millis(300));

    // Enough together, though not in one partition.
    let waiting = fetch("t", &[(0, 0), (1, 0)]).with_max_wait_ms(30_000).with_min_bytes(6_000);
    let correlation = consumer.send(11, &waiting).await;
    let large = "x".repeat(4_000);
    append(&mut producer, "t", 0, &[&large]).await;
    append(&mut producer, "t", 1, &[&large]).await;
    let response = consumer.receive::<FetchRequest>(11, correlation).await;
    assert_eq!((records(&response, 0).len(), records(&response, 1).len()), (1, 2));
}

/// A grant that goes while a fetch waits gives nothing more.
#[tokio::test]
async fn a_fetch_that_waits_is_denied_once_its_grant_is_gone() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let password = credentials_of_password("secret").expect("a good password");
    let root = ("root".to_owned(), CredentialChange::Create(password));
    broker.engine.change_credentials(vec![root]).await.expect("the broker may");
    let grant = |operation| Grant {
        kind: ResourceKind::Topic,
        pattern: Pattern::Literal("t".into()),
        principal: Principal::anonymous(),
        host: "*".into(),
        operation,
        permission: Permission::Allow,
    };
    let grants = vec![grant(Operation::Read), grant(Operation::Write)];
    broker.engine.add_grants(grants).await.expect("the broker may");
    let (mut consumer, mut producer) = (broker.client().await, broker.client().await);
    let waiting = fetch("t", &[(0, 0)]).with_max_wait_ms(30_000);
    let correlation = consumer.send(11, &waiting).await;
    let filter = GrantFilter { operation: Some(Operation::Read), ..GrantFilter::everything() };
    broker.engine.remove_grants(vec![filter]).await.expect("the broker may");
    append(&mut producer, "t", 0, &["secret"]).await;
    let response = consumer.receive::<FetchRequest>(11, correlation).await;
    let found = &response.responses[0].partitions[0];
    assert_eq!(found.error_code, ResponseError::TopicAuthorizationFailed.code());
    assert!(found.records.clone().unwrap_or_default().is_empty());
}

#[tokio::test]
async fn errors_and_deletions_end_a_wait() {
    // The second start: its epoch has one before it.
    let broker = Broker::start().restart().await;
    broker.topic("t", 1, &[]).await;
    let mut client = broker.client().await;
    let mut check = async |request: FetchRequest, error: ResponseError| {
        let response = client.call(11, request.with_max_wait_ms(30_000)).await;
        let code = response.responses[0].partitions[0].error_code;
        assert_eq!(ResponseError::try_from_code(code), Some(error));
    };
    check(fetch("nowhere", &[(0, 0)]), ResponseError::UnknownTopicOrPartition).await;
    check(fetch("t", &[(7, 0)]), ResponseError::UnknownTopicOrPartition).await;
    check(fetch("__groups", &[(0, 0)]), ResponseError::UnknownTopicOrPartition).await;
    check(fetch("t", &[(0, 5)]), ResponseError::OffsetOutOfRange).await;
    check(fetch("t", &[(0, -1)]), ResponseError::OffsetOutOfRange).await;
    let epoch = broker.engine.leader_epoch().0;
    let with_epoch = |epoch| {
        let mut request = fetch("t", &[(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        request
    };
    check(with_epoch(epoch - 1), ResponseError::FencedLeaderEpoch).await;
    check(with_epoch(epoch + 1), ResponseError::UnknownLeaderEpoch).await;

    let waiting = fetch("t", &[(0, 0)]).with_max_wait_ms(30_000);
    let correlation = client.send(11, &waiting).await;
    broker.engine.drop_stream("t").await.expect("dropped");
    let response = client.receive::<FetchRequest>(11, correlation).await;
    let code = response.responses[0].partitions[0].error_code;
    assert_eq!(code, ResponseError::UnknownTopicOrPartition.code());
}

fn list_offsets(time: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(time);
    let topic =
        ListOffsetsTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
    ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic])
}

#[tokio::test]
async fn offsets_are_found_by_time() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    let mut client = broker.client().await;
    let mut check = async |version: i16, time: i64, expected: (i64, i64)| {
        let response = client.call(version, list_offsets(time)).await;
        let partition = &response.topics[0].partitions[0];
        assert_eq!(partition.error_code, 0);
        assert_eq!((partition.offset, partition.timestamp), expected, "{version} {time}");
    };
    check(1, -1, (0, -1)).await;
    check(7, -3, (-1, -1)).await;
    let mut producer = broker.client().await;
    // Times 1000..1002, 5000, 3000: not in order, as producers are.
    for (time, values) in [(1_000, vec!["a", "b", "c"]), (5_000, vec!["d"]), (3_000, vec!["e"])] {
        let values: Vec<_> = values.into_iter().map(|value| (None, value)).collect();
        producer.call(9, produce("t", 0, batch_at(time, &values))).await;
    }
    for version in 1..=10 {
        check(version, -1, (5, -1)).await;
        check(version, -2, (0, -1)).await;
        check(version, 0, (0, 1_000)).await;
        check(version, 1_001, (1, 1_001)).await;
        check(version, 2_000, (3, 5_000)).await;
        check(version, 5_001, (-1, -1)).await;
    }
    check(7, -3, (3, 5_000)).await;
}

#[tokio::test]
async fn leader_epochs_end_where_the_next_begins() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    append(&mut broker.client().await, "t", 0, &["a", "b"]).await;
    let first = broker.engine.leader_epoch().0;
    let broker = broker.restart().await;
    let second = broker.engine.leader_epoch().0;
    assert!(second > first);
    let mut client = broker.client().await;
    append(&mut client, "t", 0, &["c"]).await;
    let mut check = async |epoch: i32, expected: (i32, i64)| {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(0)
            .with_current_leader_epoch(second)
            .with_leader_epoch(epoch);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(topic_name("t"))
            .with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id((-2).into())
            .with_topics(vec![topic]);
        let response = client.call(4, request).await;
        let found = &response.topics[0].partitions[0];
        assert_eq!((found.leader_epoch, found.end_offset), expected, "epoch {epoch}");
    };
    check(first, (first, 2)).await;
    check(second, (second, 3)).await;
}

/// The topic's setting decides, not what is in its batches.
#[tokio::test]
async fn a_consumer_that_does_not_know_zstd_is_told_so() {
    let broker = Broker::start();
    broker.topic("packed", 1, &[("compression.type", "zstd")]).await;
    broker.topic("any", 1, &[]).await;
    let mut client = broker.client().await;
    for topic in ["packed", "any"] {
        let mut builder = BatchBuilder::default().compression(Compression::Zstd);
        builder.push(Timestamp(1), None, Some(b"x"), &[]);
        let packed = builder.build().expect("it compresses").freeze();
        let answer = client.call(9, produce(topic, 0, packed)).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
    let refused = ResponseError::UnsupportedCompressionType.code();
    for (topic, version, expected) in
        [("packed", 9, refused), ("packed", 10, 0), ("any", 9, 0), ("any", 10, 0)]
    {
        let response = client.call(version, fetch(topic, &[(0, 0)])).await;
        let found = &response.responses[0].partitions[0];
        assert_eq!(found.error_code, expected, "{topic} at version {version}");
        if expected == 0 {
            assert_eq!(records(&response, 0), owned(&[(0, "x")]));
        }
    }
}
