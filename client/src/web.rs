//! The web door's WebSocket: subscribe to streams and tables, publish with acknowledgement
//! (`broker/web/PROTOCOL.md`).
//!
//! One task reads the socket and hands messages to whoever they are for. A subscription that is
//! not read fills its channel and then holds up the socket, all of it: the broker reads the log
//! only as fast as its clients do, so nothing piles up anywhere. Read every subscription, or use
//! one connection for each.

#[cfg(test)]
mod tests;

use ahash::AHashMap;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Largest message taken from the server; it sends about 256 KiB, or one larger event alone.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Messages of one subscription that wait to be read.
const MESSAGES_WAITING_MAX: usize = 8;

/// Longest wait for the handshake or an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Why the web door could not do something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WebError {
    /// The address is not one.
    #[error("{0:?} is not a WebSocket address; give it as ws://127.0.0.1:8080")]
    Address(String),
    /// The connection cannot be made, or broke.
    #[error("the WebSocket connection failed: {0}")]
    Connection(String),
    /// The server closed it, or the client was dropped.
    #[error("the WebSocket connection is closed")]
    Closed,
    /// The server did not answer in time.
    #[error("no answer over the WebSocket within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// The server sent something that is not in the protocol.
    #[error(
        "the server sent what the protocol does not know: {0}; is this Anabranch's web listener?"
    )]
    Malformed(String),
    /// The server refused.
    #[error("{code}: {message}{}", hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
    Refused {
        /// For programs.
        code: String,
        /// What happened.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}

/// What to subscribe to.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Subscribe<'a> {
    /// The stream whose events are wanted; or `table`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<&'a str>,
    /// The table whose rows and changes are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'a str>,
    /// A SQL predicate over the table's rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<&'a str>,
    /// `now`, `beginning`, a position, `time:…` or `token:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<&'a str>,
}

/// An event to publish; its value is one JSON document.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PublishEvent<'a> {
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a str>,
    /// The value, JSON text.
    pub value: &'a RawValue,
}

/// Where published events are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Published {
    /// The last round they came in.
    pub round: u64,
    /// One an event, in order.
    pub offsets: Vec<PublishedAt>,
}

/// Where one published event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct PublishedAt {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// One message of a subscription, as text; see [`Self::read`].
#[derive(Debug, Clone)]
pub struct FeedMessage(Utf8Bytes);

/// A message of a subscription, borrowed from its text.
#[derive(Debug)]
pub enum Feed<'a> {
    /// Events of one partition of a stream.
    Events {
        /// The partition.
        partition: i32,
        /// In the order of offsets.
        events: Vec<FeedEvent<'a>>,
        /// The offset to continue from.
        next: i64,
    },
    /// Part of a table's snapshot.
    Rows {
        /// The rows.
        rows: Vec<FeedRow<'a>>,
    },
    /// The snapshot is whole, at this round.
    SnapshotComplete {
        /// The cut.
        round: u64,
        /// Resumes from here.
        token: Option<Cow<'a, str>>,
    },
    /// Changes of a table's rows.
    Changes {
        /// The round after which the table is so.
        round: u64,
        /// Resumes after this message.
        token: Option<Cow<'a, str>>,
        /// In the order in which they won.
        changes: Vec<FeedRow<'a>>,
    },
    /// What later versions add.
    Other,
}

/// The fields of all messages. Not a tagged enum: that one buffers a message to find its tag, and
/// a value cannot be borrowed from a buffer.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    partition: Option<i32>,
    #[serde(borrow)]
    events: Option<Vec<FeedEvent<'a>>>,
    next: Option<i64>,
    #[serde(borrow)]
    rows: Option<Vec<FeedRow<'a>>>,
    round: Option<u64>,
    #[serde(borrow)]
    token: Option<Cow<'a, str>>,
    #[serde(borrow)]
    changes: Option<Vec<FeedRow<'a>>>,
}

impl<'a> Fields<'a> {
    /// The message; `None` when a field of its kind is missing.
    fn feed(self) -> Option<Feed<'a>> {
        Some(match &*self.kind {
            "events" => {
                Feed::Events { partition: self.partition?, events: self.events?, next: self.next? }
            }
            "rows" => Feed::Rows { rows: self.rows? },
            "snapshot_complete" => Feed::SnapshotComplete { round: self.round?, token: self.token },
            "changes" => {
                Feed::Changes { round: self.round?, token: self.token, changes: self.changes? }
            }
            _ => Feed::Other,
        })
    }
}

/// An event of a stream.
#[derive(Debug, Deserialize)]
pub struct FeedEvent<'a> {
    /// Its offset.
    pub offset: i64,
    /// Its time, milliseconds since 1970 UTC.
    pub ts: i64,
    /// Its key, JSON; absent where it is not UTF-8.
    #[serde(borrow)]
    pub key: Option<&'a RawValue>,
    /// Its value, JSON; absent where it is not a JSON document.
    #[serde(borrow)]
    pub value: Option<&'a RawValue>,
}

/// A row of a table, or a change of one.
#[derive(Debug, Deserialize)]
pub struct FeedRow<'a> {
    /// `upsert` or `delete`, in changes.
    pub op: Option<&'a str>,
    /// Its key, JSON.
    #[serde(borrow)]
    pub key: Option<&'a RawValue>,
    /// The row, JSON; none for a delete.
    #[serde(borrow)]
    pub row: Option<&'a RawValue>,
    /// The partition of its record.
    pub partition: i32,
    /// The offset of its record.
    pub offset: i64,
    /// The time of its record, milliseconds since 1970 UTC.
    pub ts: i64,
}

impl FeedMessage {
    /// What it says.
    ///
    /// # Errors
    /// When the protocol does not know it.
    pub fn read(&self) -> Result<Feed<'_>, WebError> {
        let fields = serde_json::from_str::<Fields<'_>>(&self.0)
            .map_err(|error| malformed(&self.0, &error.to_string()))?;
        fields.feed().ok_or_else(|| malformed(&self.0, "a field of its type is missing"))
    }
}

/// What every message has.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    id: Option<u64>,
    sub: Option<u64>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
    hint: Option<String>,
}

#[derive(Serialize)]
struct Request<'a, T> {
    id: u64,
    op: &'a str,
    #[serde(flatten)]
    body: T,
}

type Socket = WebSocketStream<TcpStream>;
type Answer = oneshot::Sender<Result<Utf8Bytes, WebError>>;
type FeedSender = mpsc::Sender<Result<FeedMessage, WebError>>;

#[derive(Default)]
struct Waiting {
    answers: AHashMap<u64, Answer>,
    feeds: AHashMap<u64, FeedSender>,
    closed: bool,
}

/// A WebSocket connection.
pub struct WebClient {
    sink: tokio::sync::Mutex<SplitSink<Socket, Message>>,
    waiting: Arc<Mutex<Waiting>>,
    next_id: AtomicU64,
    reader: tokio::task::AbortHandle,
}

impl Drop for WebClient {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl WebClient {
    /// Connects to `ws://host:port`; the path is the protocol's own.
    ///
    /// # Errors
    /// When nothing listens there, or something else does.
    pub async fn connect(address: &str) -> Result<Self, WebError> {
        let host = host_of(address).ok_or_else(|| WebError::Address(address.to_owned()))?;
        let stream = TcpStream::connect(host).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let handshake =
            client_async_with_config(format!("ws://{host}/v1/ws"), stream, Some(config));
        let (socket, _) = tokio::time::timeout(ANSWER_TIMEOUT, handshake)
            .await
            .map_err(|_| WebError::Timeout)?
            .map_err(failed)?;
        let (sink, source) = socket.split();
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let reader = tokio::spawn(read(source, Arc::clone(&waiting))).abort_handle();
        let sink = tokio::sync::Mutex::new(sink);
        Ok(Self { sink, waiting, next_id: AtomicU64::new(1), reader })
    }

    /// Subscribes.
    ///
    /// # Errors
    /// [`WebError::Refused`] where there is no such stream or the filter is wrong.
    pub async fn subscribe(&self, what: Subscribe<'_>) -> Result<Subscription, WebError> {
        let (feed, messages) = mpsc::channel(MESSAGES_WAITING_MAX);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        // Messages can follow the answer at once.
        lock(&self.waiting).feeds.insert(id, feed);
        let answer = self.ask(id, "subscribe", what).await;
        if answer.is_err() {
            lock(&self.waiting).feeds.remove(&id);
        }
        answer.map(|_| Subscription { messages })
    }

    /// Publishes; the answer is the acknowledgement.
    ///
    /// # Errors
    /// When the broker refuses an event or cannot store them.
    pub async fn publish(
        &self,
        stream: &str,
        events: &[PublishEvent<'_>],
    ) -> Result<Published, WebError> {
        #[derive(Serialize)]
        struct Publish<'a> {
            stream: &'a str,
            events: &'a [PublishEvent<'a>],
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let answer = self.ask(id, "publish", Publish { stream, events }).await?;
        serde_json::from_str(&answer).map_err(|error| malformed(&answer, &error.to_string()))
    }

    async fn ask(&self, id: u64, op: &str, body: impl Serialize) -> Result<Utf8Bytes, WebError> {
        let text = serde_json::to_string(&Request { id, op, body }).map_err(failed)?;
        let (send, answer) = oneshot::channel();
        {
            let mut waiting = lock(&self.waiting);
            if waiting.closed {
                return Err(WebError::Closed);
            }
            waiting.answers.insert(id, send);
        }
        let exchange = async {
            self.sink.lock().await.send(Message::text(text)).await.map_err(failed)?;
            answer.await.unwrap_or(Err(WebError::Closed))
        };
        let result = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await;
        lock(&self.waiting).answers.remove(&id);
        result.unwrap_or(Err(WebError::Timeout))
    }
}

/// Messages of one subscription, in order.
#[derive(Debug)]
pub struct Subscription {
    messages: mpsc::Receiver<Result<FeedMessage, WebError>>,
}

impl Subscription {
    /// The next message.
    ///
    /// # Errors
    /// When the subscription or the connection ended, and why.
    pub async fn next(&mut self) -> Result<FeedMessage, WebError> {
        self.messages.recv().await.unwrap_or(Err(WebError::Closed))
    }
}

async fn read(mut source: SplitStream<Socket>, waiting: Arc<Mutex<Waiting>>) {
    let ended = loop {
        let text = match source.next().await {
            None | Some(Ok(Message::Close(_))) => break WebError::Closed,
            Some(Err(error)) => break failed(error),
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(_)) => continue,
        };
        if let Err(error) = hand_on(text, &waiting).await {
            break error;
        }
    };
    let (answers, feeds) = {
        let mut waiting = lock(&waiting);
        waiting.closed = true;
        (std::mem::take(&mut waiting.answers), std::mem::take(&mut waiting.feeds))
    };
    for answer in answers.into_values() {
        // Whoever stopped waiting does not want to know.
        let _ = answer.send(Err(ended.clone()));
    }
    for feed in feeds.into_values() {
        let _ = feed.send(Err(ended.clone())).await;
    }
}

/// Gives a message to whoever waits for it.
async fn hand_on(text: Utf8Bytes, waiting: &Mutex<Waiting>) -> Result<(), WebError> {
    let head: Head<'_> =
        serde_json::from_str(&text).map_err(|error| malformed(&text, &error.to_string()))?;
    let (id, sub) = (head.id, head.sub);
    let refusal =
        head.error.map(|Refusal { code, message, hint }| WebError::Refused { code, message, hint });
    let is_error = head.kind == "error";
    if is_error && refusal.is_none() {
        return Err(malformed(&text, "an error without an explanation"));
    }
    if let Some(id) = id {
        let answer = lock(waiting).answers.remove(&id);
        if let Some(answer) = answer {
            let _ = answer.send(refusal.map_or(Ok(text), Err));
        }
        return Ok(());
    }
    let Some(sub) = sub else {
        // The greeting, or a complaint about what could not be read at all.
        return refusal.map_or(Ok(()), Err);
    };
    let feed = if is_error {
        lock(waiting).feeds.remove(&sub)
    } else {
        lock(waiting).feeds.get(&sub).cloned()
    };
    if let Some(feed) = feed
        && feed.send(refusal.map_or(Ok(FeedMessage(text)), Err)).await.is_err()
    {
        // The subscription was dropped; the connection goes on for the others.
        lock(waiting).feeds.remove(&sub);
    }
    Ok(())
}

fn host_of(address: &str) -> Option<&str> {
    let rest = address.strip_prefix("ws://")?;
    let host = rest.split('/').next()?;
    let (name, port) = host.rsplit_once(':')?;
    (!name.is_empty() && port.parse::<u16>().is_ok()).then_some(host)
}

fn lock(waiting: &Mutex<Waiting>) -> std::sync::MutexGuard<'_, Waiting> {
    // Maps are changed by single calls.
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(error: impl std::fmt::Display) -> WebError {
    WebError::Connection(error.to_string())
}

fn malformed(text: &str, why: &str) -> WebError {
    let shown: String = text.chars().take(200).collect();
    WebError::Malformed(format!("{why}, in {shown}"))
}

impl From<tungstenite::Error> for WebError {
    fn from(error: tungstenite::Error) -> Self {
        failed(error)
    }
}
