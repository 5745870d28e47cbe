use super::{Admission, Admitted, Fault, Outcome, ProduceHead, TopicRef, Visitor, answer, walk};
use crate::apis::PRODUCE_FLEXIBLE_FROM;
use crate::wire::Malformed;
use anabranch_engine::{AppendError, AppendResult, Appended, Catalog};
use anabranch_types::{Offset, Round, Timestamp};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use std::ops::Range;
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(7);

fn request(version: i16, acks: i16) -> Bytes {
    let partition = |index, records: Option<&'static [u8]>| {
        PartitionProduceData::default()
            .with_index(index)
            .with_records(records.map(Bytes::from_static))
    };
    let topic = |name, partitions| {
        let topic = TopicProduceData::default().with_partition_data(partitions);
        if version >= 13 {
            topic.with_topic_id(ID)
        } else {
            topic.with_name(TopicName(StrBytes::from_static_str(name)))
        }
    };
    let request =
        ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![
            topic("a", vec![partition(0, Some(b"first")), partition(3, None)]),
            topic("b", vec![partition(1, Some(b"last"))]),
        ]);
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("sound");
    body.freeze()
}

#[derive(Default)]
struct Seen {
    body: Bytes,
    lines: Vec<String>,
    fields: Vec<Range<usize>>,
}

impl Visitor for Seen {
    fn head(&mut self, head: ProduceHead) {
        self.lines.push(format!("{} {} {}", head.transactional.is_some(), head.acks, head.topics));
    }
    fn topic(&mut self, topic: TopicRef<'_>, partitions: usize) {
        let topic = match topic {
            TopicRef::Name(name) => String::from_utf8_lossy(name).into_owned(),
            TopicRef::Id(id) => id.as_u128().to_string(),
        };
        self.lines.push(format!("{topic} {partitions}"));
    }
    fn partition(&mut self, index: i32, field: usize, records: Option<Range<usize>>) {
        self.fields.extend(records.iter().map(|records| field..records.end));
        let records = records.map(|records| String::from_utf8_lossy(&self.body[records]).into());
        let records: String = records.unwrap_or_else(|| "null".to_owned());
        self.lines.push(format!("{index} {records}"));
    }
    fn topic_end(&mut self) {
        self.lines.push("end".to_owned());
    }
}

impl Seen {
    fn walk(body: &Bytes, version: i16) -> Self {
        let mut seen = Self { body: body.clone(), lines: Vec::new(), fields: Vec::new() };
        walk(body, version, &mut seen).expect("sound");
        seen
    }
}

#[test]
fn records_can_be_taken_out_of_a_request() {
    for version in 3..=13 {
        let body = request(version, -1);
        let seen = Seen::walk(&body, version);
        let flexible = version >= PRODUCE_FLEXIBLE_FROM;
        let expected = seen.lines.iter().map(|line| match line.split_once(' ') {
            Some((number, "first" | "last")) => format!("{number} null"),
            _ => line.clone(),
        });
        let rest = super::admit::without(&body, &seen.fields, flexible);
        assert_eq!(Seen::walk(&rest, version).lines, expected.collect::<Vec<_>>());
        let rest = super::admit::without(&body, &seen.fields[1..], flexible);
        let left = Seen::walk(&rest, version).lines;
        assert!(left.contains(&"0 first".to_owned()) && left.contains(&"1 null".to_owned()));
    }
}

#[test]
fn requests_of_every_version_are_walked() {
    for version in 3..=13 {
        let body = request(version, -1);
        let seen = Seen::walk(&body, version);
        let (a, b) = if version >= 13 { ("7", "7") } else { ("a", "b") };
        let expected = [
            "false -1 2",
            &format!("{a} 2"),
            "0 first",
            "3 null",
            "end",
            &format!("{b} 1"),
            "1 last",
            "end",
        ];
        assert_eq!(seen.lines, expected, "version {version}");
        for cut in 0..body.len() {
            let result = walk(&body[..cut], version, &mut super::Nothing);
            assert!(matches!(result, Err(Malformed::CutOff { .. })), "{version} {cut}");
        }
    }
}

fn respond(version: i16, request: &Admitted, result: Option<&AppendResult>) -> ProduceResponse {
    let mut out = BytesMut::from(&b"before"[..]);
    answer(&mut out, request, result);
    out.advance(6);
    let length = out.get_u32() as usize;
    assert_eq!(out.len(), length);
    let mut out = out.freeze();
    let header = ResponseHeader::decode(&mut out, ProduceResponse::header_version(version));
    assert_eq!(header.expect("sound").correlation_id, 42);
    let response = ProduceResponse::decode(&mut out, version).expect("sound");
    assert!(out.is_empty(), "{} bytes too many", out.len());
    response
}

#[test]
fn responses_of_every_version_are_written() {
    for version in 3..=13 {
        let fault = Fault {
            error: ResponseError::InvalidRecord,
            message: "no key".into(),
            records: vec![5],
        };
        let admitted = Admitted {
            correlation: 42,
            version,
            answered: true,
            body: request(version, 1),
            faults: vec![(1, fault)],
            appended: true,
            joining: None,
            throttle: None,
        };
        let appended = Appended {
            base_offset: Offset(100),
            round: Round(9),
            log_start: Offset(3),
            append_time: Some(Timestamp(1234)),
        };
        let error = AppendError::OutOfOrderSequence { expected: 1, found: 9 };
        let result: AppendResult = [Ok(appended), Err(error.clone())].into_iter().collect();
        let response = respond(version, &admitted, Some(&result));

        let topics = &response.responses;
        assert_eq!(topics.len(), 2);
        let [good, refused] = &topics[0].partition_responses[..] else { panic!("two partitions") };
        let [failed] = &topics[1].partition_responses[..] else { panic!("one partition") };
        assert_eq!((good.index, good.error_code), (0, 0));
        assert_eq!((good.base_offset, good.log_append_time_ms), (100, 1234));
        assert_eq!((refused.index, refused.error_code, refused.base_offset), (3, 87, -1));
        assert_eq!((failed.index, failed.error_code), (1, 45));
        if version >= 5 {
            assert_eq!((good.log_start_offset, refused.log_start_offset), (3, -1));
        }
        if version >= 8 {
            assert_eq!(good.error_message, None);
            assert_eq!(refused.error_message.as_deref(), Some("no key"));
            assert_eq!(refused.record_errors[0].batch_index, 5);
            assert_eq!(failed.error_message.as_deref(), Some(&*error.to_string()));
        }
        if version >= 13 {
            assert_eq!(topics[0].topic_id, ID);
        } else {
            assert_eq!((&**topics[0].name, &**topics[1].name), ("a", "b"));
        }
    }
}

#[test]
fn an_append_without_an_answer_is_a_retriable_error() {
    let body = request(9, 1);
    let admitted = Admitted {
        correlation: 42,
        version: 9,
        answered: true,
        body,
        faults: Vec::new(),
        appended: true,
        joining: None,
        throttle: None,
    };
    let response = respond(9, &admitted, None);
    let codes = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    for partition in codes {
        let error = ResponseError::try_from_code(partition.error_code).expect("an error");
        assert!(error.is_retriable(), "{error}");
    }
}

#[test]
fn acks_0_gets_no_answer_but_is_told_apart() {
    let check = |acks: i16, expected: Outcome, bytes: bool| {
        let body = request(9, acks);
        let catalog = Catalog::default();
        let mut admission = Admission::new(&|_| Ok(()), &catalog, &body, 9, Timestamp(0));
        walk(&body, 9, &mut admission).expect("sound");
        let (admitted, append) = admission.finish(1);
        assert!(append.is_none(), "there is no such topic");
        assert_eq!(admitted.faults.len(), 3);
        let mut out = BytesMut::new();
        assert_eq!(answer(&mut out, &admitted, None), expected);
        assert_eq!(!out.is_empty(), bytes);
    };
    check(0, Outcome::Refused, false);
    check(1, Outcome::Refused, true);
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let fault = Fault {
        error: ResponseError::InvalidRecord,
        message: "é".repeat(2000).into(),
        records: Vec::new(),
    };
    let admitted = Admitted {
        correlation: 42,
        version: 8,
        answered: true,
        body: request(8, 1),
        faults: vec![(0, fault.clone()), (1, fault.clone()), (2, fault)],
        appended: false,
        joining: None,
        throttle: None,
    };
    let response = respond(8, &admitted, None);
    let message = response.responses[0].partition_responses[0].error_message.as_deref();
    assert_eq!(message, Some(&*"é".repeat(500)));
}
