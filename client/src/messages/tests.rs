use super::{PRODUCE, set_correlation};
use super::{api_versions, fetch, metadata, offsets, produce, topics};
use anabranch_types::batch::BatchBuilder;
use anabranch_types::{Offset, PartitionIndex, Timestamp};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    FetchResponse, MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader, TopicName,
    fetch_response::{FetchableTopicResponse, PartitionData},
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;

fn topic(name: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(name))
}

fn encode(message: &impl Encodable, version: i16) -> BytesMut {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).expect("the version knows these fields");
    out
}

#[test]
fn a_produce_frame_is_what_the_schema_says() {
    let check = |version: i16| {
        let what = produce::Prefix {
            client_id: "me",
            acks: -1,
            timeout_ms: 1_234,
            topic: "orders",
            partition: PartitionIndex(7),
        };
        let prefix = produce::prefix(what);
        let prefix_bytes = prefix.len();
        let mut builder = BatchBuilder::after(prefix);
        builder.push(Timestamp(5), Some(b"k"), Some(b"v"), &[]);
        let mut frame = builder.build_after().expect("valid");
        let batch = frame[prefix_bytes..].to_vec();
        produce::finish(&mut frame, prefix_bytes);
        produce::set_version(&mut frame, version);
        set_correlation(&mut frame, 42);

        let mut bytes = Bytes::from(frame);
        let length = i32::from_be_bytes(bytes.split_to(4)[..].try_into().expect("four bytes"));
        assert_eq!(length as usize, bytes.len());
        let header = RequestHeader::decode(&mut bytes, 1).expect("a header");
        assert_eq!((header.request_api_key, header.request_api_version), (0, version));
        assert_eq!(header.correlation_id, 42);
        let request = ProduceRequest::decode(&mut bytes, version).expect("a request");
        assert!(bytes.is_empty());
        assert_eq!((request.acks, request.timeout_ms), (-1, 1_234));
        let data = &request.topic_data[0].partition_data[0];
        assert_eq!((request.topic_data[0].name.as_str(), data.index), ("orders", 7));
        assert_eq!(data.records.as_deref(), Some(&batch[..]));
    };
    (PRODUCE.min..=PRODUCE.max).for_each(check);
}

#[test]
fn a_produce_answer_is_read_in_every_version() {
    let check = |version: i16| {
        let mut partition = PartitionProduceResponse::default()
            .with_index(3)
            .with_error_code(87)
            .with_base_offset(9);
        if version >= 8 {
            let fault = BatchIndexAndErrorMessage::default().with_batch_index(1);
            partition = partition
                .with_record_errors(vec![fault])
                .with_error_message(Some(StrBytes::from_static_str("no key")));
        }
        let answer = ProduceResponse::default().with_responses(vec![
            TopicProduceResponse::default()
                .with_name(topic("t"))
                .with_partition_responses(vec![partition]),
        ]);
        let body = encode(&answer, version);
        let read = produce::read(&body, version, "t", PartitionIndex(3)).expect("valid");
        assert_eq!((read.code, read.base_offset), (87, Offset(9)));
        assert_eq!(read.message, (version >= 8).then_some("no key"));
        assert!(produce::read(&body, version, "t", PartitionIndex(4)).is_err());
        assert!(produce::read(&body, version, "u", PartitionIndex(3)).is_err());
    };
    (PRODUCE.min..=PRODUCE.max).for_each(check);
}

#[test]
fn metadata_is_read_in_every_version() {
    let check = |version: i16| {
        let partition = |index: i32| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(1.into())
                .with_replica_nodes(vec![1.into()])
                .with_isr_nodes(vec![1.into()])
        };
        let answer = MetadataResponse::default()
            .with_brokers(vec![
                MetadataResponseBroker::default()
                    .with_node_id(1.into())
                    .with_host(StrBytes::from_static_str("::1"))
                    .with_port(9092),
            ])
            .with_topics(vec![
                MetadataResponseTopic::default()
                    .with_name(Some(topic("t")))
                    .with_partitions(vec![partition(1), partition(0)]),
                MetadataResponseTopic::default().with_name(Some(topic("u"))).with_error_code(3),
            ]);
        let read = metadata::read(&encode(&answer, version), version).expect("valid");
        assert_eq!(read.brokers[0].address, "[::1]:9092");
        let first = read.topics[0].as_ref().expect("no error");
        assert_eq!(first.partitions[1].index, PartitionIndex(1));
        assert_eq!(first.partitions[0].leader, Some(read.brokers[0].id));
        let error = read.topics[1].as_ref().expect_err("unknown");
        assert_eq!(error.to_string(), "topic u: UnknownTopicOrPartition (Kafka error 3)");
    };
    (super::METADATA.min..=super::METADATA.max).for_each(check);
}

#[test]
fn a_fetch_answer_names_the_bytes_of_each_partition() {
    let check = |version: i16| {
        let part = |index, records: &'static [u8]| {
            PartitionData::default()
                .with_partition_index(index)
                .with_high_watermark(50)
                .with_records(Some(Bytes::from_static(records)))
        };
        let answer = FetchResponse::default().with_responses(vec![
            FetchableTopicResponse::default()
                .with_topic(topic("t"))
                .with_partitions(vec![part(0, b"abc"), part(1, b"")]),
        ]);
        let body = encode(&answer, version);
        let parts = fetch::read(&body, version, "t").expect("valid");
        assert_eq!(&body[parts[0].records.clone()], b"abc");
        assert_eq!((parts[1].partition, parts[1].records.len()), (PartitionIndex(1), 0));
        assert_eq!(parts[1].high_watermark, Offset(50));
    };
    (super::FETCH.min..=super::FETCH.max).for_each(check);
}

#[test]
fn versions_that_do_not_meet_are_named() {
    let body = [0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 12];
    let Ok(api_versions::Answer::Versions(versions)) = api_versions::read(&body, true) else {
        panic!("the answer is valid");
    };
    let error = versions.pick(PRODUCE).expect_err("9 to 12 is newer than we speak");
    let expected = "the broker speaks Produce in versions 9 to 12, this client in 3 to 8";
    assert_eq!(error.to_string(), expected);
}

proptest! {
    #[test]
    fn any_answer_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200), version in 0..12i16) {
        let _ = api_versions::read(&body, version == 0);
        let _ = metadata::read(&body, version);
        let _ = topics::read_create(&body);
        let _ = topics::read_delete(&body);
        let _ = topics::read_init_producer_id(&body);
        let _ = offsets::read(&body, version, "");
        let _ = produce::read(&body, version, "", PartitionIndex(0));
        let _ = fetch::read(&body, version, "");
    }
}
