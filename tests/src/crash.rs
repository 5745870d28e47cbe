//! The real broker, killed again and again under load: nothing acknowledged is lost, nothing is
//! there twice, order is kept.

use crate::broker::{Broker, root};
use crate::clients::{Client, Record, Target, hex, installed};
use crate::process::{PATIENCE, program};
use crate::psql::query;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often the broker is killed.
const KILLS: u64 = 20;
const PRODUCERS: usize = 3;
const PARTITIONS: i32 = 4;
/// Acknowledgements that are waited for between two kills, so that each life of the broker does
/// some work however slow the machine is; a different number each time, so that kills hit all
/// moments of the commit loop.
const ACKNOWLEDGED_MIN: u64 = 300;

/// What a producer was told: the number of the record at (partition, offset).
type Acknowledged = BTreeMap<(i32, i64), u64>;

/// `steady.py` as a process.
pub(crate) struct Steady {
    name: String,
    child: Child,
    /// Closing it ends the producer.
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    acknowledged: Acknowledged,
}

impl Steady {
    pub(crate) fn start(broker: &Broker, topic: &str, name: String) -> Self {
        let mut child = program(installed("TEST_PYTHON"))
            .arg("-u")
            .arg(root().join("tests/clients/python/steady.py"))
            .args([&broker.kafka(), topic, &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the producer can be started");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // A failed test stops listening.
                drop(sender.send(line));
            }
        });
        let input = child.stdin.take();
        Self { name, child, input, lines, acknowledged: Acknowledged::new() }
    }

    /// Waits for some acknowledgements.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, count: u64) {
        let began = Instant::now();
        for _ in 0..count {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let line = self.lines.recv_timeout(left);
            self.take(&line.unwrap_or_else(|error| panic!("{} hears nothing: {error}", self.name)));
        }
    }

    /// Where the records are that it knows to be acknowledged, and their values in hexadecimal.
    pub(crate) fn records(&self) -> BTreeMap<(i32, i64), String> {
        let all = self.acknowledged.iter();
        all.map(|(place, n)| (*place, hex(self.value(*n).as_bytes()))).collect()
    }

    fn value(&self, n: u64) -> String {
        format!("{{\"producer\":\"{}\",\"n\":{n}}}", self.name)
    }

    /// Lets the producer finish what it has begun.
    #[track_caller]
    fn finish(&mut self) {
        self.input = None;
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.take(&line);
        }
        assert!(self.child.wait().expect("the producer is our process").success());
    }

    #[track_caller]
    fn take(&mut self, line: &str) {
        let mut numbers = line.split(' ');
        let mut next = || numbers.next().and_then(|text| text.parse().ok()).expect("three numbers");
        let place = (next() as i32, next());
        let n = u64::try_from(next()).expect("not negative");
        let before = self.acknowledged.insert(place, n);
        assert_eq!(before, None, "{}: two records at {place:?}", self.name);
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn killed_under_load_it_loses_nothing() {
    let at = Target::Ours(Box::new(Broker::start()));
    let topic = "load";
    let create = ["create", topic, &PARTITIONS.to_string(), "cleanup.policy=compact"];
    assert_eq!(Client::Confluent.admin(&at, &create), json!({ "created": topic }));
    let Target::Ours(mut broker) = at else { unreachable!("just started") };
    let mut producers: Vec<Steady> =
        (0..PRODUCERS).map(|n| Steady::start(&broker, topic, format!("p{n}"))).collect();
    let mut slowest = Duration::ZERO;
    for kill in 0..KILLS {
        for producer in &mut producers {
            producer.wait_for(ACKNOWLEDGED_MIN + kill * 97 % 211);
        }
        broker.kill();
        slowest = slowest.max(broker.restart());
    }
    producers.iter_mut().for_each(Steady::finish);
    // Once more, so that what is read is what is on disk.
    broker.kill();
    broker.restart();

    let count: usize = producers.iter().map(|producer| producer.acknowledged.len()).sum();
    let at = Target::Ours(broker);
    let read = Client::Confluent.consume(&at, topic, count);
    let end: i64 = Client::Confluent
        .admin(&at, &["offsets", topic, "-1"])
        .as_object()
        .expect("offsets by partition")
        .values()
        .map(|end| end.as_i64().expect("an offset"))
        .sum();
    // Idempotent producers that were allowed to finish: every record is acknowledged, once.
    assert_eq!(usize::try_from(end).expect("not negative"), count, "records that nobody sent");
    check_records(&producers, &read);
    let Target::Ours(broker) = &at else { unreachable!("just made") };
    check_table(broker, topic, &read);
    eprintln!("{count} records, {KILLS} kills, slowest start {slowest:?}");
}

/// The table is the fold of the log: of each key the record that was appended last.
pub(crate) fn check_table(broker: &Broker, topic: &str, read: &[Record]) {
    let mut last: BTreeMap<&str, &Record> = BTreeMap::new();
    for record in read {
        // A key is in one partition, whose records come in their order.
        let before = last.insert(record.key.as_deref().expect("keyed"), record);
        assert!(before.is_none_or(|before| before.partition == record.partition), "{record:?}");
    }
    let expected: Vec<String> = last
        .iter()
        .map(|(key, record)| {
            let (partition, offset) =
                (record.partition.expect("read"), record.offset.expect("read"));
            format!(
                "\\x{key}|{partition}|{offset}|\\x{}",
                record.value.as_deref().expect("a value")
            )
        })
        .collect();
    let rows = format!("SELECT _key, _partition, _offset, _value FROM {topic} ORDER BY _key");
    assert_eq!(query(broker, &rows), expected);
}

/// Each record is the one that was acknowledged there, and of each producer and partition the
/// numbers rise.
fn check_records(producers: &[Steady], read: &[Record]) {
    let mut last: BTreeMap<(usize, i32), u64> = BTreeMap::new();
    for record in read {
        let place = (record.partition.expect("read"), record.offset.expect("read"));
        let (index, n) = producers
            .iter()
            .enumerate()
            .find_map(|(index, producer)| Some((index, *producer.acknowledged.get(&place)?)))
            .unwrap_or_else(|| panic!("nobody was told of {place:?}: {record:?}"));
        let value = producers[index].value(n);
        assert_eq!(record.value.as_deref(), Some(hex(value.as_bytes()).as_str()), "at {place:?}");
        let before = last.insert((index, place.0), n);
        assert!(before < Some(n), "at {place:?}: {n} after {before:?}");
    }
}
