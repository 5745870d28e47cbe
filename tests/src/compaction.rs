//! A compacted topic as Kafka's clients and psql see it: batches with gaps in them, batches that
//! cover more than they hold, empty ones.

use crate::broker::Broker;
use crate::clients::{Client, Record, Target, hex};
use crate::process::{program, run};
use crate::psql::value;
use serde_json::Value;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

const KEYS: usize = 100;
const RECORDS: usize = 9_000;
const VALUE_BYTES: usize = 400;

/// Bytes of the segments of streams that are not the broker's own.
fn bytes(broker: &Broker) -> u64 {
    let directory = broker.data_dir().join("partitions");
    let partitions = std::fs::read_dir(directory).expect("it is there").flatten();
    let own =
        |name: &std::ffi::OsStr| name.to_string_lossy().parse::<u32>().is_ok_and(|id| id < 16);
    let files = partitions
        .filter(|partition| !own(&partition.file_name()))
        .flat_map(|partition| std::fs::read_dir(partition.path()).into_iter().flatten().flatten());
    // One may go while we look.
    files.filter_map(|file| file.metadata().ok()).map(|about| about.len()).sum()
}

/// What is in a topic: offset, key and value.
fn consume(at: &Target, topic: &str) -> Vec<(i64, String, Option<String>)> {
    let mut kcat = program("kcat");
    kcat.args(["-q", "-b", &at.address(), "-C", "-t", topic, "-o", "beginning", "-J", "-e"]);
    let said = run(&mut kcat, &[]);
    let records = said.lines().map(|line| {
        let record: Value = serde_json::from_str(line).expect("kcat -J prints JSON");
        let text = |name: &str| record[name].as_str().map(str::to_owned);
        let offset = record["offset"].as_i64().expect("a record has one");
        (offset, text("key").expect("all have one"), text("payload"))
    });
    records.collect()
}

#[test]
fn every_client_reads_a_compacted_topic() {
    let broker = Broker::start_with(&["streams.compaction_pause_seconds=1"]);
    let at = Target::Ours(Box::new(broker));
    let configs =
        ["cleanup.policy=compact", "segment.bytes=1048576", "min.cleanable.dirty.ratio=0.01"];
    let create: Vec<&str> = ["create", "latest", "1"].into_iter().chain(configs).collect();
    Client::Confluent.admin(&at, &create);
    let mut expected = BTreeMap::new();
    let mut records = Vec::new();
    for n in 0..RECORDS {
        // Some stay wherever they are.
        let key = if n % 97 == 1 { format!("once {n}") } else { format!("k{}", n * 7 % KEYS) };
        let value = (n % 13 != 0).then(|| format!("{n} {}", "x".repeat(VALUE_BYTES)));
        records.push(Record::new(Some(key.as_bytes()), value.as_deref().map(str::as_bytes)));
        match value {
            Some(value) => expected.insert(key, value),
            None => expected.remove(&key),
        };
    }
    let thirds: Vec<&[Record]> = records.chunks(RECORDS / 3).collect();
    Client::Confluent.produce(&at, "latest", &["compression=none"], thirds[0]);
    Client::Java.produce(&at, "latest", &["compression=lz4"], thirds[1]);
    Client::Confluent.produce(&at, "latest", &["compression=none"], thirds[2]);
    let Target::Ours(mut broker) = at else { unreachable!("it was ours") };
    let began = Instant::now();
    // Old files go with the checkpoint that does not name them.
    while bytes(&broker) > 10 * KEYS as u64 * VALUE_BYTES as u64 {
        assert!(began.elapsed() < Duration::from_secs(60), "not compacted:\n{}", broker.log());
        thread::sleep(Duration::from_millis(50));
    }
    broker.kill();
    broker.restart();
    let count = value(&broker, "SELECT count(*) FROM latest");
    assert_eq!(count, expected.len().to_string());
    let at = Target::Ours(broker);
    let read = consume(&at, "latest");
    assert!(read.len() < RECORDS / 10, "{} of {RECORDS} records are left", read.len());
    let mut folded = BTreeMap::new();
    for (_, key, value) in &read {
        match value {
            Some(value) => folded.insert(key.clone(), value.clone()),
            None => folded.remove(key),
        };
    }
    assert!(folded == expected, "the log is not the table");
    for client in Client::ALL {
        if client.compressions().contains(&"lz4") {
            let found = client.consume(&at, "latest", read.len());
            let same = found.iter().zip(&read).all(|(found, (offset, key, value))| {
                found.offset == Some(*offset)
                    && found.key == Some(hex(key.as_bytes()))
                    && found.value == value.as_ref().map(|value| hex(value.as_bytes()))
            });
            assert!(same && found.len() == read.len(), "{client:?} reads something else");
        }
    }
    // Between two records that are left.
    let gap = read.windows(2).find(|two| two[1].0 > two[0].0 + 1).expect("there are gaps");
    let from = (gap[0].0 + 1).to_string();
    let mut kcat = program("kcat");
    kcat.args(["-q", "-b", &at.address(), "-C", "-t", "latest", "-o", &from, "-c", "1"]);
    let said = run(kcat.args(["-f", "%o"]), &[]);
    assert_eq!(said.trim(), gap[1].0.to_string());
}
