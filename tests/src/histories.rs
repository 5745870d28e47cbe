//! Histories of SQL transactions and Kafka records on the same keys, through kill -9: nothing is
//! lost, each transaction is there as a whole or not at all, saw one snapshot, and overwrote what
//! it had read; no key is inserted twice.

mod check;

use crate::broker::{Broker, root};
use crate::clients::installed;
use crate::process::{PATIENCE, program};
use crate::psql::query;
use check::{Done, check};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

const KEYS: usize = 12;
const KILLS: usize = 6;
/// Things done between two kills.
const DONE_MIN: usize = 250;

#[test]
fn transactions_and_records_on_the_same_keys_are_a_history() {
    let mut broker = Broker::start();
    query(&broker, "CREATE STREAM shared (k text PRIMARY KEY, writer text) WITH (partitions = 3)");
    query(
        &broker,
        &format!(
            "INSERT INTO shared SELECT 'k' || n, 'first' FROM generate_series(0, {}) n",
            KEYS - 1
        ),
    );
    let mut child = program(installed("TEST_PYTHON"))
        .arg("-u")
        .arg(root().join("tests/clients/python/history.py"))
        .args([&broker.kafka(), &broker.postgres_port().to_string(), "shared", &KEYS.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            // A failed test stops listening.
            drop(sender.send(line));
        }
    });
    let mut history: Vec<Done> = Vec::new();
    let entry = |line: String| -> Done {
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    };
    for _ in 0..KILLS {
        let began = Instant::now();
        for _ in 0..DONE_MIN {
            let left = PATIENCE.saturating_sub(began.elapsed());
            history.push(entry(lines.recv_timeout(left).expect("clients go on")));
        }
        broker.kill();
        broker.restart();
    }
    drop(child.stdin.take());
    while let Ok(line) = lines.recv_timeout(PATIENCE) {
        history.push(entry(line));
    }
    assert!(child.wait().expect("it is our process").success(), "a client failed");
    broker.kill();
    broker.restart();

    let committed = history.iter().filter(|done| done.is_transaction() && done.is_yes()).count();
    assert!(committed > KILLS * 10, "only {committed} transactions were committed");
    if let Err(wrong) = check(&history, &log_of(&broker)) {
        panic!("{wrong}");
    }
    let rows = query(&broker, "SELECT k, writer FROM shared ORDER BY k");
    let last: BTreeMap<String, String> = log_of(&broker)
        .into_iter()
        .filter_map(|(key, writers)| Some((key, writers.last()?.clone())))
        .collect();
    let expected: Vec<String> =
        last.iter().map(|(key, writer)| format!("{key}|{writer}")).collect();
    assert_eq!(rows, expected, "the table is not the fold of the log");
    eprintln!("{} things done, {committed} transactions, {KILLS} kills", history.len());
}

/// Who wrote each key, in the log's order. A key is in one partition.
fn log_of(broker: &Broker) -> BTreeMap<String, Vec<String>> {
    let events =
        query(broker, "SELECT k, writer, _partition FROM log.shared ORDER BY _partition, _offset");
    let mut log: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut place: BTreeMap<String, String> = BTreeMap::new();
    for event in events {
        let mut cells = event.split('|').map(ToOwned::to_owned);
        let (Some(key), Some(writer), Some(partition)) = (cells.next(), cells.next(), cells.next())
        else {
            panic!("{event}");
        };
        let before = place.insert(key.clone(), partition.clone());
        assert!(before.is_none_or(|before| before == partition), "{key} is in two partitions");
        log.entry(key).or_default().push(writer);
    }
    log
}
