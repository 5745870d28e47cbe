//! Transactions of every client: what is aborted nobody reads, and the exactly-once loop copies
//! each record once, whatever happens to the broker.

use crate::clients::{Client, Record, Target, hex};
use crate::psql::value;
use serde_json::json;
use std::collections::BTreeSet;

/// Records that the loop copies: ten transactions or more.
const COPIED: usize = 100;
/// How often the broker is killed meanwhile.
const KILLS: u64 = 2;

fn records(text: &str, count: usize) -> Vec<Record> {
    let record = |n| Record::new(Some(b"key"), Some(format!("{text} {n}").as_bytes()));
    (0..count).map(record).collect()
}

/// One client commits and aborts; all clients, and SQL, read what was committed.
fn check_transactions(client: Client) {
    let at = Target::start();
    let topic = Target::topic("decided");
    assert_eq!(Client::Confluent.admin(&at, &["create", &topic, "1"]), json!({ "created": topic }));
    let id = Target::topic("producer");
    let transactions = [("first", 3, true), ("lost", 2, false), ("second", 1, true)];
    let all: Vec<_> =
        transactions.iter().map(|&(text, count, commit)| (records(text, count), commit)).collect();
    client.transact(&at, &topic, &id, &all);
    // Each transaction is followed by its marker.
    let expected: Vec<_> = (0..3)
        .map(|n| (n, hex(format!("first {n}").as_bytes())))
        .chain([(7, hex(b"second 0"))])
        .collect();
    for reader in Client::ALL {
        let read: Vec<_> = reader
            .consume(&at, &topic, expected.len())
            .into_iter()
            .map(|record| (record.offset.expect("read"), record.value.expect("a value")))
            .collect();
        assert_eq!(read, expected, "{reader:?} reads what {client:?} wrote");
    }
    if let Target::Ours(broker) = &at {
        let sql =
            format!("SELECT string_agg(_offset::text, ' ' ORDER BY _offset) FROM \"{topic}\"");
        assert_eq!(value(broker, &sql), "0 1 2 7");
    }
}

/// Consume, produce and commit in transactions, while the broker is killed.
fn check_copy(client: Client) {
    let at = Target::start();
    let [from, to, group, id] = ["from", "to", "group", "copier"].map(Target::topic);
    for topic in [&from, &to] {
        assert_eq!(
            Client::Confluent.admin(&at, &["create", topic, "1"]),
            json!({ "created": topic })
        );
    }
    Client::Confluent.produce(&at, &from, &[], &records("n", COPIED));
    let mut copier = client.copy(&at, [&from, &to, &group, &id], COPIED);
    copier.wait_for(10);
    let mut at = at;
    for kill in 1..=KILLS {
        if let Target::Ours(broker) = &mut at {
            broker.kill();
            broker.restart();
        }
        copier.wait_for(10 + 30 * kill);
    }
    copier.finish();
    let read = Client::Confluent.consume(&at, &to, COPIED);
    let values: BTreeSet<_> = read.iter().filter_map(|record| record.value.clone()).collect();
    let expected = records("n", COPIED).into_iter().filter_map(|record| record.value);
    assert_eq!(values, expected.collect(), "{client:?}: each record once");
    let committed = Client::Confluent.admin(&at, &["committed", &group, &from]);
    assert_eq!(committed, json!({ "0": COPIED }), "{client:?}: the group has read all of them");
    if let Target::Ours(broker) = &at {
        let sql = format!("SELECT count(*) FROM \"{to}\"");
        assert_eq!(value(broker, &sql), COPIED.to_string(), "{client:?}: and nothing twice");
    }
}

macro_rules! for_each_client {
    ($($name:ident = $client:expr;)*) => {$(
        mod $name {
            use crate::clients::Client;

            #[test]
            fn commits_and_aborts() {
                super::check_transactions($client);
            }

            #[test]
            fn copies_exactly_once() {
                super::check_copy($client);
            }
        }
    )*};
}

for_each_client! {
    confluent = Client::Confluent;
    kafka_python = Client::KafkaPython;
    aiokafka = Client::Aiokafka;
    kafkajs = Client::Kafkajs;
    java = Client::Java;
}
