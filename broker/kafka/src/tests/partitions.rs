use super::client::batch;
use super::produce::produce;
use super::{Broker, topic_name};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::{
    CreatePartitionsRequest, DeleteRecordsRequest, DescribeTopicPartitionsRequest,
};
use kafka_protocol::protocol::StrBytes;

#[tokio::test]
async fn topics_get_more_partitions() {
    let broker = Broker::start();
    broker.topic("t", 2, &[]).await;
    broker.topic("keyed", 1, &[("cleanup.policy", "compact")]).await;
    let mut client = broker.client().await;
    let request = |name: &str, count| {
        let topic = CreatePartitionsTopic::default()
            .with_name(topic_name(name))
            .with_count(count)
            .with_assignments(None);
        CreatePartitionsRequest::default().with_topics(vec![topic])
    };
    for (name, count, expected) in [
        ("t", 2, Err(ResponseError::InvalidPartitions)),
        ("t", 1, Err(ResponseError::InvalidPartitions)),
        ("t", 1_000_000, Err(ResponseError::InvalidPartitions)),
        ("nothing", 3, Err(ResponseError::UnknownTopicOrPartition)),
        ("t", 5, Ok(())),
        ("keyed", 3, Ok(())),
    ] {
        let told = client.call(3, request(name, count)).await;
        let code = expected.map_or_else(|error| error.code(), |()| 0);
        assert_eq!(told.results[0].error_code, code, "{name} {count}");
    }
    let dry = client.call(3, request("t", 9).with_validate_only(true)).await;
    assert_eq!(dry.results[0].error_code, 0);
    let produced = client.call(9, produce("t", 4, batch(&[(Some("k"), "v")]))).await;
    assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);

    let broker = broker.restart().await;
    let catalog = broker.engine.catalog();
    let partitions = |name: &str| catalog.by_name(name).expect("it was created").partitions.len();
    assert_eq!((partitions("t"), partitions("keyed")), (5, 3));
}

#[tokio::test]
async fn records_are_deleted_up_to_an_offset() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]).await;
    broker.topic("keyed", 1, &[("cleanup.policy", "compact")]).await;
    let mut client = broker.client().await;
    for _ in 0..5 {
        client.call(9, produce("t", 0, batch(&[(Some("k"), "v")]))).await;
    }
    let request = |name: &str, partition, offset| {
        let partition =
            DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(topic_name(name))
            .with_partitions(vec![partition]);
        DeleteRecordsRequest::default().with_topics(vec![topic])
    };
    for (name, partition, offset, expected) in [
        ("t", 0, 2, Ok(2)),
        ("t", 0, 1, Ok(2)),
        ("t", 0, 6, Err(ResponseError::OffsetOutOfRange)),
        ("t", 0, -2, Err(ResponseError::OffsetOutOfRange)),
        ("t", 1, 0, Err(ResponseError::UnknownTopicOrPartition)),
        ("keyed", 0, 0, Err(ResponseError::PolicyViolation)),
        ("t", 0, -1, Ok(5)),
    ] {
        let told = client.call(2, request(name, partition, offset)).await;
        let told = &told.topics[0].partitions[0];
        let expected = match expected {
            Ok(start) => (0, start),
            Err(error) => (error.code(), -1),
        };
        assert_eq!((told.error_code, told.low_watermark), expected, "{name} {partition} {offset}");
    }
}

#[tokio::test]
async fn partitions_are_described_a_page_at_a_time() {
    let broker = Broker::start();
    for (name, partitions) in [("a", 3), ("b", 2), ("c", 1)] {
        broker.topic(name, partitions, &[]).await;
    }
    let mut client = broker.client().await;
    let mut cursor: Option<Cursor> = None;
    let mut seen = Vec::new();
    for _ in 0..6 {
        let request = DescribeTopicPartitionsRequest::default()
            .with_response_partition_limit(2)
            .with_cursor(cursor.take());
        let page = client.call(0, request).await;
        for topic in page.topics {
            let name = topic.name.expect("named").to_string();
            seen.extend(topic.partitions.iter().map(|each| (name.clone(), each.partition_index)));
        }
        let Some(next) = page.next_cursor else { break };
        cursor = Some(
            Cursor::default()
                .with_topic_name(next.topic_name)
                .with_partition_index(next.partition_index),
        );
    }
    let expected = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("c", 0)];
    assert_eq!(seen, expected.map(|(name, index)| (name.to_owned(), index)));
    let names = ["nothing", "!"].map(|name| TopicRequest::default().with_name(topic_name(name)));
    let request = DescribeTopicPartitionsRequest::default().with_topics(names.to_vec());
    let told = client.call(0, request).await;
    let codes: Vec<(StrBytes, i16)> = told
        .topics
        .into_iter()
        .map(|topic| (topic.name.expect("named").0, topic.error_code))
        .collect();
    let expected = [
        ("!", ResponseError::InvalidTopicException.code()),
        ("nothing", ResponseError::UnknownTopicOrPartition.code()),
    ];
    assert_eq!(codes, expected.map(|(name, code)| (StrBytes::from_static_str(name), code)));
}
