//! The client programs of `tests/clients`, and what they say.

use crate::broker::{Broker, root};
use crate::process::{PATIENCE, program, run};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Confluent,
    KafkaPython,
    Aiokafka,
    Kafkajs,
    Java,
}

/// A record, bytes in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) partition: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<i64>,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) headers: Vec<(String, Option<String>)>,
}

/// Where an acknowledged record is; nothing is known with `acks=0`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Placed {
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
}

/// The broker under test: ours, or an Apache Kafka that runs already and whose address is in
/// `TEST_KAFKA`. What holds for ours must hold for that one too.
pub(crate) enum Target {
    Ours(Box<Broker>),
    Kafka(String),
}

impl Target {
    pub(crate) fn start() -> Self {
        match std::env::var("TEST_KAFKA") {
            Ok(address) => Self::Kafka(address),
            Err(_) => Self::Ours(Box::new(Broker::start())),
        }
    }

    pub(crate) fn address(&self) -> String {
        match self {
            Self::Ours(broker) => broker.kafka(),
            Self::Kafka(address) => address.clone(),
        }
    }

    /// A topic's name that nobody has used.
    pub(crate) fn topic(name: &str) -> String {
        let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos();
        format!("{name}-{:x}", now % (1 << 48))
    }
}

impl Record {
    /// A record for partition 0 with everything else left to the client.
    pub(crate) fn new(key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        Self {
            partition: Some(0),
            offset: None,
            key: key.map(hex),
            value: value.map(hex),
            timestamp: None,
            headers: Vec::new(),
        }
    }

    pub(crate) fn at(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    pub(crate) fn on(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.map(hex)));
        self
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

impl Client {
    pub(crate) const ALL: [Self; 5] =
        [Self::Confluent, Self::KafkaPython, Self::Aiokafka, Self::Kafkajs, Self::Java];

    fn command(self) -> Command {
        let programs = root().join("tests/clients");
        let mut command = match self {
            Self::Confluent | Self::KafkaPython | Self::Aiokafka => {
                program(installed("TEST_PYTHON"))
            }
            Self::Kafkajs => program("node"),
            Self::Java => program("java"),
        };
        match self {
            Self::Confluent => command.arg(programs.join("python/confluent.py")),
            Self::KafkaPython => command.arg(programs.join("python/kafkapython.py")),
            Self::Aiokafka => command.arg(programs.join("python/aio.py")),
            Self::Kafkajs => command
                .env("NODE_PATH", installed("TEST_NODE_PATH"))
                .arg(programs.join("node/kafkajs.js")),
            Self::Java => command
                .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp"])
                .arg(installed("TEST_CLASSPATH"))
                .arg("Client"),
        };
        command
    }

    /// Compressions that the library has without plug-ins.
    pub(crate) fn compressions(self) -> &'static [&'static str] {
        match self {
            Self::Kafkajs => &["none", "gzip"],
            _ => &["none", "gzip", "snappy", "lz4", "zstd"],
        }
    }

    /// Produces records; returns where they are, in their order.
    #[track_caller]
    pub(crate) fn produce(
        self,
        at: &Target,
        topic: &str,
        options: &[&str],
        records: &[Record],
    ) -> Vec<Placed> {
        let mut input = Vec::new();
        for record in records {
            serde_json::to_writer(&mut input, record).expect("a record is JSON");
            input.push(b'\n');
        }
        let mut command = self.command();
        command.args(["produce", &at.address(), topic]).args(options);
        lines(&run(&mut command, &input))
    }

    /// The first `count` records of a topic, in the order of each partition.
    #[track_caller]
    pub(crate) fn consume(self, at: &Target, topic: &str, count: usize) -> Vec<Record> {
        let mut command = self.command();
        command.args(["consume", &at.address(), topic, &count.to_string()]);
        lines(&run(&mut command, &[]))
    }

    /// Transactions of records, each committed or aborted.
    #[track_caller]
    pub(crate) fn transact(
        self,
        at: &Target,
        topic: &str,
        id: &str,
        transactions: &[(Vec<Record>, bool)],
    ) {
        let end = |commit| if commit { "commit" } else { "abort" };
        let all = transactions.iter();
        let input: Vec<String> = all
            .clone()
            .map(|(records, commit)| json!({ "records": records, "end": end(*commit) }).to_string())
            .collect();
        let mut command = self.command();
        command.args(["transact", &at.address(), topic, id]);
        let ended: Vec<Value> =
            lines(&run(&mut command, format!("{}\n", input.join("\n")).as_bytes()));
        let expected: Vec<Value> =
            all.map(|(_, commit)| json!({ "ended": end(*commit) })).collect();
        assert_eq!(ended, expected, "{self:?}");
    }

    /// The exactly-once loop: from, to, group, transactional id.
    pub(crate) fn copy(self, at: &Target, names: [&str; 4], count: usize) -> Copier {
        let mut command = self.command();
        command.args(["copy", &at.address()]).args(names).arg(count.to_string());
        let (child, _input, events) = start(command);
        Copier { client: self, child, events, copied: 0 }
    }

    /// The answer of an administrative command.
    #[track_caller]
    pub(crate) fn admin(self, at: &Target, arguments: &[&str]) -> Value {
        let mut command = self.command();
        command.args(["admin", &at.address()]).args(arguments);
        serde_json::from_str(&run(&mut command, &[])).expect("one JSON answer")
    }

    /// Joins a classic group.
    pub(crate) fn join(self, at: &Target, topic: &str, group: &str) -> Member {
        self.join_by(at, topic, group, &[])
    }

    /// Joins a group whose members the broker assigns (KIP-848).
    pub(crate) fn join_consumers(self, at: &Target, topic: &str, group: &str) -> Member {
        self.join_by(at, topic, group, &["consumer"])
    }

    fn join_by(self, at: &Target, topic: &str, group: &str, protocol: &[&str]) -> Member {
        let mut command = self.command();
        command.args(["group", &at.address(), topic, group]).args(protocol);
        let (child, commands, events) = start(command);
        let (assigned, records) = (Vec::new(), Vec::new());
        Member { client: self, commands, child, events, assigned, records }
    }
}

/// Starts a client's program; what it prints comes through the channel.
fn start(mut command: Command) -> (Child, Option<ChildStdin>, Receiver<Value>) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the client's program can be started");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let (sender, events) = channel();
    thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            // Who started it may be gone before its last line.
            drop(sender.send(serde_json::from_str(&line).expect("programs print JSON lines")));
        }
    });
    let input = child.stdin.take();
    (child, input, events)
}

/// The exactly-once loop, as a process.
pub(crate) struct Copier {
    client: Client,
    child: Child,
    events: Receiver<Value>,
    copied: u64,
}

impl Copier {
    /// Waits until it has copied so many records in all.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, count: u64) {
        while self.copied < count {
            let event = self.events.recv_timeout(PATIENCE);
            let event = event.unwrap_or_else(|error| panic!("{:?}: {error}", self.client));
            self.copied += event["copied"].as_u64().expect("it says how many");
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        while self.events.recv_timeout(PATIENCE).is_ok() {}
        assert!(self.child.wait().expect("it is our process").success(), "{:?}", self.client);
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        // It has ended already after `finish`.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A member of a consumer group, as a process.
pub(crate) struct Member {
    client: Client,
    child: Child,
    commands: Option<ChildStdin>,
    events: Receiver<Value>,
    /// Partitions that it has now.
    pub(crate) assigned: Vec<i32>,
    /// Records that it has received.
    pub(crate) records: Vec<Record>,
}

impl Member {
    /// Takes events until `done` holds for the members. Panics when none comes.
    #[track_caller]
    pub(crate) fn wait_all<const N: usize>(
        mut members: [&mut Self; N],
        what: &str,
        done: impl Fn(&[&mut Self; N]) -> bool,
    ) {
        let began = Instant::now();
        while !done(&members) {
            let states: Vec<_> =
                members.iter().map(|m| (m.client, m.assigned.clone(), m.records.len())).collect();
            assert!(began.elapsed() < PATIENCE, "{what}: never; members are {states:?}");
            for member in &mut members {
                // Several members are listened to in turn.
                if let Ok(event) = member.events.recv_timeout(std::time::Duration::from_millis(20))
                {
                    member.take(&event);
                }
            }
        }
    }

    #[track_caller]
    pub(crate) fn wait(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        Self::wait_all([self], what, |[member]| done(member));
    }

    fn take(&mut self, event: &Value) -> Option<BTreeMap<i32, i64>> {
        if let Some(assigned) = event.get("assigned") {
            self.assigned = serde_json::from_value(assigned.clone()).expect("partitions");
        } else if let Some(record) = event.get("record") {
            self.records.push(serde_json::from_value(record.clone()).expect("a record"));
        } else if let Some(committed) = event.get("committed") {
            return Some(serde_json::from_value(committed.clone()).expect("offsets"));
        }
        None
    }

    /// Commits what it has received; returns the offsets by partition.
    #[track_caller]
    pub(crate) fn commit(&mut self) -> BTreeMap<i32, i64> {
        self.tell("commit");
        loop {
            let event = self.events.recv_timeout(PATIENCE).expect("an answer to commit");
            if let Some(committed) = self.take(&event) {
                return committed;
            }
        }
    }

    /// Leaves the group and ends.
    #[track_caller]
    pub(crate) fn close(mut self) {
        self.tell("close");
        self.commands = None;
        loop {
            let event = self.events.recv_timeout(PATIENCE).expect("an answer to close");
            if event.get("closed").is_some() {
                break;
            }
            self.take(&event);
        }
        assert!(self.child.wait().expect("the member is our process").success());
    }

    fn tell(&mut self, command: &str) {
        let commands = self.commands.as_mut().expect("not closed");
        writeln!(commands, "{command}").expect("the member reads its commands");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It has ended already after `close`.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where `tests/setup.sh` has installed something.
pub(crate) fn installed(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run tests/run, which installs clients"))
}

fn lines<T: for<'de> Deserialize<'de>>(text: &str) -> Vec<T> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("programs print JSON lines"))
        .collect()
}
