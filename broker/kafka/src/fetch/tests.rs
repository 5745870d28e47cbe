use super::{FetchPartition, FetchRequest, Gathered, answer};
use crate::apis::Api;
use crate::connection::Output;
use crate::errors::Fault;
use crate::request::Head;
use anabranch_engine::Chunk;
use anabranch_types::{Offset, ProducerId, Round, Timestamp};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition as Partition, FetchTopic};
use kafka_protocol::messages::{FetchRequest as Message, FetchResponse, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(7);

fn head(version: i16) -> Head {
    let api = Api::find(1, version).expect("Fetch");
    let flexible = api.is_flexible(version);
    Head { api, version, correlation: 42, flexible, client: (0, 0), body: 0 }
}

fn request(version: i16) -> (Bytes, FetchRequest) {
    let partition = |index: i32| {
        let partition = Partition::default()
            .with_partition(index)
            .with_fetch_offset(i64::from(index) * 10)
            .with_partition_max_bytes(1000);
        if version >= 9 { partition.with_current_leader_epoch(4) } else { partition }
    };
    let topic = |name: &'static str, partitions| {
        let topic = FetchTopic::default().with_partitions(partitions);
        if version >= 13 {
            topic.with_topic_id(ID)
        } else {
            topic.with_topic(TopicName(StrBytes::from_static_str(name)))
        }
    };
    let message = Message::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(5000)
        .with_isolation_level(1)
        .with_topics(vec![
            topic("a", vec![partition(0), partition(1)]),
            topic("b", vec![partition(2)]),
        ]);
    let mut body = BytesMut::new();
    message.encode(&mut body, version).expect("sound");
    let read = FetchRequest::read(&body, version).expect("sound");
    (body.freeze(), read)
}

#[test]
fn requests_of_every_version_are_read() {
    for version in 4..=18 {
        let (body, read) = request(version);
        assert_eq!((read.max_wait_ms, read.min_bytes, read.max_bytes), (500, 1, 5000));
        assert!(read.read_committed);
        let leader_epoch = if version >= 9 { 4 } else { -1 };
        let partition = |topic, index: i32| FetchPartition {
            topic,
            index,
            leader_epoch,
            offset: i64::from(index) * 10,
            max_bytes: 1000,
        };
        assert_eq!(
            read.partitions,
            [partition(0, 0), partition(0, 1), partition(1, 2)],
            "version {version}"
        );
        let counts: Vec<_> = read.topics.iter().map(|topic| topic.partitions).collect();
        assert_eq!(counts, [2, 1]);
        if version >= 13 {
            assert_eq!(read.topics[0].id, ID);
        } else {
            assert_eq!(read.topics[1].name, "b");
        }
        for cut in 0..20 {
            assert!(FetchRequest::read(&body[..cut], version).is_err(), "{version} {cut}");
        }
    }
}

fn gathered(pieces: &[&Bytes]) -> Gathered {
    let chunk = |bytes: &&Bytes| Chunk {
        base_offset: Offset(0),
        next_offset: Offset(1),
        round: Round(1),
        max_timestamp: Timestamp(0),
        bytes: Bytes::clone(bytes),
    };
    Gathered {
        fault: None,
        high_watermark: Offset(50),
        last_stable: Offset(40),
        log_start: Offset(5),
        chunks: pieces.iter().map(chunk).collect(),
        aborted: vec![(ProducerId(7), Offset(30)), (ProducerId(8), Offset(31))],
    }
}

fn decode(version: i16, out: &Output) -> FetchResponse {
    let mut bytes = out.to_bytes();
    let length = bytes.get_u32() as usize;
    assert_eq!(bytes.len(), length);
    let header = ResponseHeader::decode(&mut bytes, FetchResponse::header_version(version));
    assert_eq!(header.expect("sound").correlation_id, 42);
    let response = FetchResponse::decode(&mut bytes, version).expect("sound");
    assert!(bytes.is_empty(), "{} bytes too many", bytes.len());
    response
}

#[test]
fn responses_of_every_version_are_written() {
    // Large pieces are sent as they are, small ones copied: both must come out in their place.
    let (large, small) = (Bytes::from(vec![1; 5000]), Bytes::from(vec![2; 10]));
    for version in 4..=18 {
        let (_, request) = request(version);
        let mut faulty = gathered(&[]);
        faulty.fault = Some(Fault::new(ResponseError::OffsetOutOfRange, "beyond the end"));
        let found = vec![gathered(&[&large, &small]), faulty, gathered(&[&small, &large])];
        let mut out = Output::default();
        answer(&mut out, &head(version), &request, None, None, found);
        let response = decode(version, &out);
        assert_eq!((response.error_code, response.session_id), (0, 0));
        let partitions: Vec<_> =
            response.responses.iter().flat_map(|topic| &topic.partitions).collect();
        let codes: Vec<_> = partitions.iter().map(|each| each.error_code).collect();
        assert_eq!(codes, [0, 1, 0], "version {version}");
        let records = |at: usize| partitions[at].records.clone().unwrap_or_default();
        assert_eq!(records(0), [&large[..], &small[..]].concat());
        assert_eq!(records(1), Bytes::new());
        assert_eq!(records(2), [&small[..], &large[..]].concat());
        assert_eq!((partitions[0].high_watermark, partitions[0].last_stable_offset), (50, 40));
        let aborted = partitions[0].aborted_transactions.iter().flatten();
        let aborted: Vec<_> = aborted.map(|one| (one.producer_id.0, one.first_offset)).collect();
        assert_eq!(aborted, [(7, 30), (8, 31)]);
        if version >= 5 {
            assert_eq!(partitions[0].log_start_offset, 5);
        }
        if version >= 13 {
            assert_eq!(response.responses[0].topic_id, ID);
        } else {
            assert_eq!(&**response.responses[1].topic, "b");
        }
    }
}

#[test]
fn an_unknown_session_is_refused_as_a_whole() {
    let (_, request) = request(12);
    let mut out = Output::default();
    let fault = Some(ResponseError::FetchSessionIdNotFound);
    answer(&mut out, &head(12), &request, None, fault, Vec::new());
    let response = decode(12, &out);
    assert_eq!((response.error_code, response.responses.len()), (70, 0));
}
