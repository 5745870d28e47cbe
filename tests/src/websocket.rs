//! The Python package `websockets` against the broker.

use crate::broker::{Broker, root};
use crate::clients::installed;
use crate::process::{PATIENCE, program};
use crate::psql::query;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// A connection, by a client process.
pub(crate) struct Socket {
    child: Child,
    requests: ChildStdin,
    messages: Receiver<Value>,
}

impl Socket {
    /// Connects, and takes the broker's greeting.
    #[track_caller]
    pub(crate) fn open(broker: &Broker) -> Self {
        Self::open_by(program(installed("TEST_PYTHON")), &format!("ws://{}/v1/ws", broker.web()))
    }

    /// The same at any address, by a Python in an environment of its own.
    #[track_caller]
    pub(crate) fn open_by(mut python: Command, url: &str) -> Self {
        let mut child = python
            .arg(root().join("tests/clients/python/websocket.py"))
            .arg(url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client can be started");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, messages) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let message = serde_json::from_str(&line).expect("the door sends JSON");
                // A test that is over stops listening.
                drop(sender.send(message));
            }
        });
        let requests = child.stdin.take().expect("piped");
        let mut socket = Self { child, requests, messages };
        assert_eq!(socket.next()["type"], "hello");
        socket
    }

    /// Sends a message.
    pub(crate) fn send(&mut self, message: &Value) {
        writeln!(self.requests, "{message}").expect("the client reads");
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Value {
        self.messages.recv_timeout(PATIENCE).expect("another message")
    }

    /// The rows of a subscription to a table, until its snapshot is complete.
    #[track_caller]
    pub(crate) fn snapshot(&mut self, subscription: u64) -> Vec<Value> {
        let subscribed = self.next();
        assert_eq!(subscribed["type"], "subscribed", "{subscribed}");
        assert_eq!(subscribed["id"], subscription);
        let mut all = Vec::new();
        loop {
            let message = self.next();
            match message["type"].as_str() {
                Some("rows") => all.extend(message["rows"].as_array().expect("rows").clone()),
                Some("snapshot_complete") => return all,
                _ => panic!("a snapshot was to come, not {message}"),
            }
        }
    }

    /// The next change of a subscription to a table, which must come alone.
    #[track_caller]
    pub(crate) fn change(&mut self, subscription: u64) -> Value {
        let (mut changes, _) = self.changes(subscription);
        assert_eq!(changes.len(), 1, "{changes:?}");
        changes.remove(0)
    }

    /// The next changes of a subscription to a table, and the token after them.
    #[track_caller]
    pub(crate) fn changes(&mut self, subscription: u64) -> (Vec<Value>, Value) {
        loop {
            let message = self.next();
            assert_eq!(message["type"], "changes", "{message}");
            assert_eq!(message["sub"], subscription, "{message}");
            let changes = message["changes"].as_array().expect("changes");
            if !changes.is_empty() {
                return (changes.clone(), message["token"].clone());
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The client may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn publishes_and_follows_a_stream() {
    let broker = Broker::start();
    let mut writer = Socket::open(&broker);
    let publish = |id: u64, n: u64| {
        json!({ "id": id, "op": "publish", "stream": "events",
                "events": [{ "key": "a", "value": { "n": n } }] })
    };
    writer.send(&publish(1, 0));
    let published = writer.next();
    assert_eq!(published["type"], "published", "{published}");
    assert_eq!(published["offsets"], json!([{ "partition": 0, "offset": 0 }]));

    let mut reader = Socket::open(&broker);
    reader.send(&json!({ "id": 1, "op": "subscribe", "stream": "events", "from": "beginning" }));
    assert_eq!(reader.next()["type"], "subscribed");
    writer.send(&publish(2, 1));
    let mut events = Vec::new();
    while events.len() < 2 {
        let message = reader.next();
        assert_eq!(message["type"], "events", "{message}");
        events.extend(message["events"].as_array().expect("events").clone());
    }
    let told =
        |event: &Value| (event["offset"].clone(), event["key"].clone(), event["value"].clone());
    assert_eq!(told(&events[0]), (json!(0), json!("a"), json!({ "n": 0 })));
    assert_eq!(told(&events[1]), (json!(1), json!("a"), json!({ "n": 1 })));
}

#[test]
fn a_table_s_subscription_resumes_after_a_crash() {
    let mut broker = Broker::start();
    query(&broker, "CREATE STREAM t (k text PRIMARY KEY, n integer) WITH (mode = 'upsert')");
    query(&broker, "INSERT INTO t VALUES ('a', 1), ('b', 2)");
    let mut socket = Socket::open(&broker);
    socket.send(&json!({ "id": 1, "op": "subscribe", "table": "t", "filter": "n < 10" }));
    assert_eq!(socket.snapshot(1).len(), 2);
    query(&broker, "INSERT INTO t VALUES ('c', 3)");
    let (changes, token) = socket.changes(1);
    assert_eq!(changes[0]["key"], json!("c"));

    broker.kill();
    broker.restart();
    query(&broker, "INSERT INTO t VALUES ('d', 4), ('e', 50)");
    let mut socket = Socket::open(&broker);
    let from = token.as_str().expect("a token").to_owned();
    let from = if from.starts_with("token:") { from } else { format!("token:{from}") };
    socket.send(&json!({
        "id": 2, "op": "subscribe", "table": "t", "filter": "n < 10", "from": from,
    }));
    assert_eq!(socket.next()["type"], "subscribed");
    let (changes, _) = socket.changes(2);
    let upserts: Vec<_> =
        changes.iter().filter(|c| c["op"] == "upsert").map(|c| &c["key"]).collect();
    assert_eq!(upserts, [&json!("d")], "only what came after the token and matches");
}

#[test]
fn http_answers() {
    let broker = Broker::start();
    let get = |path: &str| -> String {
        let script = "import sys, urllib.request as u; \
                      print(u.urlopen(sys.argv[1]).read().decode(), end='')";
        let url = format!("http://{}{path}", broker.web());
        crate::process::run(program("python3").args(["-c", script, &url]), &[])
    };
    assert_eq!(get("/healthz").trim(), r#"{"status":"ok"}"#);
    let metrics = get("/metrics");
    assert!(metrics.contains("anabranch_kafka_connections_total"), "{metrics}");
    let streams: Value = serde_json::from_str(&get("/v1/streams")).expect("JSON");
    assert!(streams["streams"].is_array());
}
