//! The WebSocket: handshake, then a reader of requests and a writer of everything else, in one
//! task. The reader parses and publishes; the writer owns the subscriptions. Between them stands
//! a queue of answers, which permits bound; a subscription has no queue, only its position.

mod handshake;
mod reader;
pub(crate) mod request;
mod tables;
mod writer;

use crate::door::{Connection, Door};
use crate::error::Failure;
use crate::io::Patient;
use crate::limits::{CLOSE_TIMEOUT, MESSAGE_BYTES_MAX, READ_BUFFER_BYTES, REQUESTS_MAX};
use crate::login::Caller;
use crate::metrics::Gauge;
use anabranch_net::Stream;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use futures::StreamExt;
use futures::stream::{SplitSink, SplitStream};
use handshake::Accepted;
use hyper_util::rt::TokioIo;
use reader::Reader;
use std::borrow::Cow;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use writer::Writer;

/// What a connection stands on.
pub(crate) type Io = Patient<Stream>;
type Socket = WebSocketStream<Io>;
type Incoming = SplitStream<Socket>;
type Sending = SplitSink<Socket, Message>;

/// What is buffered before the socket is written to, in bytes. Flushes do not wait for it.
const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// Answers `GET /v1/ws`.
pub(crate) async fn upgrade(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    mut request: Request,
) -> Result<Response<Body>, Failure> {
    let Accepted { accept, subprotocol } = match handshake::accept(request.headers()) {
        Ok(accepted) => accepted,
        Err(refused) => return Ok(refused.into_response()),
    };
    let connection = request.extensions().get::<Connection>().cloned();
    let upgrade = hyper::upgrade::on(&mut request);
    let tasks = door.tasks.clone();
    tasks.spawn(async move {
        // The client may be gone before it has our answer.
        let upgraded = match upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => return tracing::debug!("no WebSocket after all: {error}"),
        };
        match upgraded.downcast::<TokioIo<Io>>() {
            Ok(parts) => {
                let (io, read) = (parts.io.into_inner(), parts.read_buf.to_vec());
                let config = Some(config());
                let socket =
                    WebSocketStream::from_partially_read(io, read, Role::Server, config).await;
                if let Some(Connection { peer, .. }) = &connection {
                    tracing::debug!(%peer, "a WebSocket began");
                }
                converse(door, caller, socket).await;
            }
            Err(_) => tracing::error!("a connection is not of the kind that was accepted"),
        }
        drop(connection);
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(subprotocol) = subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    Ok(response)
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
}

/// Why a conversation ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// The client closed, or is gone.
    Gone,
    /// We close, and say why.
    Close(CloseCode, Cow<'static, str>),
}

impl From<tungstenite::Error> for End {
    fn from(error: tungstenite::Error) -> Self {
        use tungstenite::Error;
        match error {
            Error::Capacity(_) => {
                let reason = format!("a message has at most {MESSAGE_BYTES_MAX} bytes");
                Self::Close(CloseCode::Size, reason.into())
            }
            Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                Self::Gone
            }
            Error::Protocol(error) => Self::Close(CloseCode::Protocol, error.to_string().into()),
            Error::Utf8(_) => Self::Close(CloseCode::Invalid, "a text message is UTF-8".into()),
            _ => Self::Gone,
        }
    }
}

async fn converse(door: Arc<Door>, caller: Caller, socket: Socket) {
    let _open = Counted::new(&door, |door| &door.counts.sockets);
    let (sink, stream) = socket.split();
    let (outbox, inbox) = mpsc::unbounded_channel();
    let requests = Arc::new(Semaphore::new(REQUESTS_MAX));
    let mut reader = Reader::new(door.clone(), caller.clone(), stream, outbox, requests);
    let mut writer = Writer::new(door.clone(), caller, sink, inbox);
    let end = tokio::select! {
        end = reader.run() => end,
        end = writer.run() => end,
        () = door.stop.cancelled() => End::Close(CloseCode::Away, "the broker is stopping".into()),
    };
    if let End::Close(code, reason) = end {
        let frame = CloseFrame { code, reason: Utf8Bytes::from(reason.as_ref()) };
        // Whatever fails here, the connection ends.
        _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye(reader, writer, frame)).await;
    }
}

async fn goodbye(
    mut reader: Reader,
    mut writer: Writer,
    frame: CloseFrame,
) -> Result<(), tungstenite::Error> {
    writer.close(frame).await?;
    if reader.drain().await {
        return Ok(());
    }
    // To close a socket that has something unread resets it: the client would lose our words.
    if let Ok(socket) = reader.into_stream().reunite(writer.into_sink()) {
        let mut io = socket.into_inner();
        io.shutdown().await?;
        let mut unread = [0; 4096];
        while io.read(&mut unread).await? > 0 {}
    }
    Ok(())
}

/// Raises a gauge while it lives.
struct Counted {
    door: Arc<Door>,
    gauge: fn(&Door) -> &Gauge,
}

impl Counted {
    fn new(door: &Arc<Door>, gauge: fn(&Door) -> &Gauge) -> Self {
        gauge(door).add(1);
        Self { door: door.clone(), gauge }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.gauge)(&self.door).add(-1);
    }
}
