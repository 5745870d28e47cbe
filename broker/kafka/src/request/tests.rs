use super::{Head, Request, decode};
use crate::apis::{APIS, ApiKey};
use crate::wire::Malformed;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::RequestHeader;
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::prelude::*;

#[test]
fn heads_of_every_version_are_read() {
    for api in APIS {
        for version in api.min..=api.max {
            let header = RequestHeader::default()
                .with_request_api_key(api.key as i16)
                .with_request_api_version(version)
                .with_correlation_id(77)
                .with_client_id(Some(StrBytes::from_static_str("me")));
            let crate_key = kafka_protocol::messages::ApiKey::try_from(api.key as i16)
                .expect("an API of Kafka's");
            let mut frame = BytesMut::new();
            let header_version = crate_key.request_header_version(version);
            header.encode(&mut frame, header_version).expect("sound");
            let end = frame.len();
            frame.put_slice(b"body");
            let head = Head::read(&frame).expect("sound");
            assert_eq!((head.api.key, head.version, head.correlation), (api.key, version, 77));
            assert_eq!(&frame[head.client.0..head.client.1], b"me");
            assert_eq!(head.body, end, "{:?} {version}", api.key);
            assert_eq!(head.flexible, header_version == 2, "{:?} {version}", api.key);
        }
    }
}

#[test]
fn our_ranges_lie_within_the_crates() {
    for api in APIS {
        let key = kafka_protocol::messages::ApiKey::try_from(api.key as i16).expect("Kafka's");
        let range = key.valid_versions();
        assert!(range.min <= api.min && api.max <= range.max, "{:?} {range:?}", api.key);
    }
}

#[test]
fn what_is_not_spoken_is_refused() {
    let check = |key: i16, version: i16, expected: Result<bool, Malformed>| {
        let mut frame = BytesMut::new();
        frame.put_i16(key);
        frame.put_i16(version);
        frame.put_i32(1);
        frame.put_i16(-1);
        let unknown = decode(&frame.freeze())
            .map(|(_, request)| matches!(request, Request::ApiVersions(None)));
        assert_eq!(unknown, expected);
    };
    let produce = ApiKey::Produce as i16;
    check(produce, 2, Err(Malformed::Unsupported { key: produce, version: 2 }));
    check(produce, 99, Err(Malformed::Unsupported { key: produce, version: 99 }));
    check(1234, 0, Err(Malformed::Unsupported { key: 1234, version: 0 }));
    // KIP-511: an unknown version of ApiVersions is answered.
    check(ApiKey::ApiVersions as i16, 99, Ok(true));
    check(ApiKey::ApiVersions as i16, 0, Ok(false));
}

proptest! {
    /// Any bytes behind any known head: an answer or a refusal, in bounded memory.
    #[test]
    fn any_bytes_can_be_decoded(
        api in 0..APIS.len(),
        version in 0i16..20,
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut frame = BytesMut::new();
        frame.put_i16(APIS[api].key as i16);
        frame.put_i16(version);
        frame.put_slice(&body);
        let _ = decode(&frame.freeze());
    }
}

#[test]
fn a_frame_can_be_shorter_than_a_head() {
    for length in 0..8 {
        assert!(decode(&Bytes::from(vec![0; length])).is_err());
    }
}
