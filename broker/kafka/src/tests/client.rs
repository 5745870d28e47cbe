//! A Kafka client of a few lines, on the crate's client side.

use anabranch_types::Timestamp;
use anabranch_types::batch::BatchBuilder;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    stream: TcpStream,
    correlation: i32,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the door is open");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, correlation: 0 }
    }

    /// Sends a request and waits for its response.
    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: R) -> R::Response {
        let correlation = self.send(version, &request).await;
        self.receive::<R>(version, correlation).await
    }

    /// Sends a request; says its correlation id.
    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        self.correlation += 1;
        let frame = frame(version, request, self.correlation);
        self.send_bytes(&frame).await;
        self.correlation
    }

    /// Encodes many requests and sends them in one write; says the first correlation id.
    pub(crate) async fn send_all<R: Request>(&mut self, version: i16, requests: &[R]) -> i32 {
        let first = self.correlation + 1;
        let mut frames = BytesMut::new();
        for request in requests {
            self.correlation += 1;
            frames.put(frame(version, request, self.correlation));
        }
        self.send_bytes(&frames).await;
        first
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the door reads");
    }

    /// The next response, which must be the one to `correlation`.
    pub(crate) async fn receive<R: Request>(
        &mut self,
        version: i16,
        correlation: i32,
    ) -> R::Response {
        let mut frame = self.receive_frame().await.expect("the connection lives");
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version));
        assert_eq!(header.expect("sound").correlation_id, correlation, "out of order");
        let response = R::Response::decode(&mut frame, version).expect("sound");
        assert!(frame.is_empty(), "{} bytes too many", frame.len());
        response
    }

    /// The next response, without its length; `None` when the connection is closed.
    pub(crate) async fn receive_frame(&mut self) -> Option<Bytes> {
        let receive = async {
            let length = self.stream.read_u32().await.ok()?;
            let mut frame = BytesMut::zeroed(length as usize);
            self.stream.read_exact(&mut frame).await.ok()?;
            Some(frame.freeze())
        };
        tokio::time::timeout(SOON, receive).await.expect("an answer in time")
    }

    pub(crate) async fn is_closed(&mut self) -> bool {
        self.receive_frame().await.is_none()
    }

    pub(crate) async fn versions(&mut self, version: i16) -> ApiVersionsResponse {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("test"))
            .with_client_software_version(StrBytes::from_static_str("1.0"));
        self.call(version, request).await
    }

    /// As [`Self::versions`], on a connection that may be refused.
    pub(crate) async fn try_versions(&mut self) -> bool {
        let frame = frame(0, &ApiVersionsRequest::default(), 1);
        self.stream.write_all(&frame).await.is_ok() && self.receive_frame().await.is_some()
    }
}

fn frame<R: Request>(version: i16, request: &R, correlation: i32) -> Bytes {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("tests")));
    let mut body = BytesMut::new();
    let key = ApiKey::try_from(R::KEY).expect("an API of Kafka's");
    header.encode(&mut body, key.request_header_version(version)).expect("sound");
    request.encode(&mut body, version).expect("sound");
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(body.len()).expect("small"));
    frame.put(body);
    frame.freeze()
}

/// A batch of records: (key, value).
pub(crate) fn batch(records: &[(Option<&str>, &str)]) -> Bytes {
    batch_at(1_700_000_000_000, records)
}

/// A batch whose records have the times `from`, `from` + 1, …
pub(crate) fn batch_at(from: i64, records: &[(Option<&str>, &str)]) -> Bytes {
    let mut builder = BatchBuilder::default();
    for (number, (key, value)) in (0..).zip(records) {
        let key = key.map(str::as_bytes);
        builder.push(Timestamp(from + number), key, Some(value.as_bytes()), &[]);
    }
    builder.build().expect("not compressed").freeze()
}
