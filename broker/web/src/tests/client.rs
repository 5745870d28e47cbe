//! A broker of the door alone, and clients of it.

use crate::{Limits, Settings, WebDoor};
use anabranch_engine::{Engine, Session};
use anabranch_query::Sql;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;

/// How long anything may take.
const SOON: Duration = Duration::from_secs(20);

/// An engine in a temporary directory, behind the door.
pub(super) struct Broker {
    pub(super) engine: Session,
    pub(super) stop: CancellationToken,
    address: SocketAddr,
    serving: JoinHandle<()>,
    _directory: TempDir,
}

impl Broker {
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let settings = anabranch_engine::Settings {
            disk_reserve_bytes: 0,
            ..anabranch_engine::Settings::new(directory.path())
        };
        let opened = tokio::task::spawn_blocking(move || {
            let engine = Engine::open_with_tables_in_memory(settings)?.own_session();
            let settings = anabranch_query::Settings {
                threads: 1,
                memory_bytes_max: 64 << 20,
                statement_timeout: None,
                spill_dir: None,
            };
            let sql = Sql::start(engine.clone(), settings)?;
            Ok::<_, anabranch_engine::Error>((engine, sql))
        });
        let (engine, sql) = opened.await.expect("no panic").expect("a fresh directory");
        let stop = CancellationToken::new();
        let limits = Limits { subscriptions_max: 2 };
        let settings = Settings { limits, ..Settings::default() };
        let door = WebDoor::bind(SocketAddr::from(([127, 0, 0, 1], 0)), settings);
        let door = door.expect("a free port");
        let address = door.addresses()[0];
        let served = door.serve(engine.clone(), sql.clone(), stop.clone());
        let served = served.expect("nobody else listens there");
        let serving = tokio::spawn(async move {
            served.await;
            let stopped = tokio::task::spawn_blocking(move || sql.stop());
            stopped.await.expect("queries stop");
        });
        Self { engine, stop, address, serving, _directory: directory }
    }

    /// Closes the door, then the engine.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        within(self.serving).await.expect("the door closes");
        let engine = self.engine;
        tokio::task::spawn_blocking(move || engine.stop()).await.expect("the engine stops");
    }

    /// One HTTP request with a JSON body (`null` for none); status and JSON of the answer.
    pub(super) async fn http(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, text) = self.http_text(method, path, body.as_bytes()).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// One HTTP request; status and body of the answer, chunk sizes left in.
    pub(super) async fn http_text(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let (head, body) = self.http_with(method, path, "", body).await;
        (status_of(&head), body)
    }

    /// The same with some more lines in the head; head and body of the answer.
    pub(super) async fn http_with(
        &self,
        method: &str,
        path: &str,
        lines: &str,
        body: &[u8],
    ) -> (String, String) {
        let request = async {
            let mut stream = self.connect().await;
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{lines}\
                 content-length: {}\r\n\r\n",
                self.address,
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = within(request).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.to_owned(), body.to_owned())
    }

    /// A connection that nothing was said on.
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the door is open")
    }
}

/// The status in the head of an answer.
pub(super) fn status_of(head: &str) -> u16 {
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.expect("a status")
}

/// A WebSocket client.
pub(super) struct Client {
    socket: WebSocketStream<TcpStream>,
    last_id: u64,
    /// Came in a message with others and are still to be given.
    changes: VecDeque<Value>,
}

impl Client {
    pub(super) async fn connect(broker: &Broker) -> Self {
        Self::connect_as(broker, None).await.expect("a WebSocket")
    }

    /// The same with a header Authorization; or the status that it was refused with.
    pub(super) async fn connect_as(broker: &Broker, login: Option<&str>) -> Result<Self, u16> {
        let url = format!("ws://{}/v1/ws", broker.address);
        let mut request = url.into_client_request().expect("an address");
        if let Some(login) = login {
            let login = login.parse().expect("a header");
            request.headers_mut().insert("authorization", login);
        }
        let connected = within(client_async(request, broker.connect().await)).await;
        let socket = match connected {
            Ok((socket, _)) => socket,
            Err(tungstenite::Error::Http(answer)) => return Err(answer.status().as_u16()),
            Err(error) => panic!("no WebSocket: {error}"),
        };
        let mut client = Self { socket, last_id: 0, changes: VecDeque::new() };
        let hello = client.next().await;
        assert_eq!(hello["type"], "hello");
        Ok(client)
    }

    /// Sends a request with an id of its own.
    pub(super) async fn send(&mut self, mut request: Value) -> u64 {
        self.last_id += 1;
        request["id"] = json!(self.last_id);
        self.send_text(&request.to_string()).await;
        self.last_id
    }

    /// Sends a request; the next message must be its answer.
    pub(super) async fn ask(&mut self, request: Value) -> Value {
        let id = self.send(request).await;
        let answer = self.next().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    pub(super) async fn send_text(&mut self, text: &str) {
        within(self.socket.send(Message::text(text))).await.expect("the connection is open");
    }

    pub(super) async fn send_binary(&mut self) {
        let message = Message::binary(b"?".as_slice());
        within(self.socket.send(message)).await.expect("the connection is open");
    }

    /// The next message; pings are answered on the way.
    pub(super) async fn next(&mut self) -> Value {
        loop {
            let message = within(self.socket.next()).await.expect("the connection is open");
            match message.expect("the connection is sound") {
                Message::Text(text) => {
                    assert!(!text.contains('\n'), "a message is one line: {text}");
                    return serde_json::from_str(&text).expect("messages are JSON");
                }
                Message::Ping(_) => {}
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    /// Keys of a snapshot's rows, and the token it ends with.
    pub(super) async fn snapshot(&mut self) -> (Vec<String>, String) {
        let mut keys = Vec::new();
        loop {
            let message = self.next().await;
            if message["type"] == "snapshot_complete" {
                let token = message["token"].as_str().expect("a token");
                return (keys, token.to_owned());
            }
            for row in message["rows"].as_array().expect("rows") {
                keys.push(row["key"].as_str().expect("a text key").to_owned());
            }
        }
    }

    /// The next change; messages that only bring a token are passed over.
    pub(super) async fn change(&mut self) -> Value {
        // How many come in one message is the door's affair.
        while self.changes.is_empty() {
            let message = self.next().await;
            assert_eq!(message["type"], "changes", "{message}");
            self.changes.extend(message["changes"].as_array().expect("changes").iter().cloned());
        }
        self.changes.pop_front().expect("just made sure")
    }

    /// The code that the server closes with.
    pub(super) async fn closed(&mut self) -> u16 {
        loop {
            match within(self.socket.next()).await.expect("a closing handshake") {
                Ok(Message::Close(frame)) => return frame.expect("a reason").code.into(),
                Ok(_) => {}
                Err(error) => panic!("no closing handshake: {error}"),
            }
        }
    }
}

pub(super) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.expect("in time")
}
