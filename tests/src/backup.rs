//! A backup of the running broker under load, and what is restored from it.

use crate::broker::{Broker, anabranch};
use crate::clients::{Client, Target};
use crate::crash::{Steady, check_table};
use crate::process::{run, run_any, say};
use crate::psql::{query, value};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

const PARTITIONS: i32 = 4;
/// Records that the exactly-once loop copies: more than it can until the backup is made.
const COPIED: usize = 20_000;

fn backup(broker: &Broker, arguments: &[&str]) -> Command {
    let mut command = anabranch();
    command
        .args(["backup", "--set"])
        .arg(format!("data_dir={}", broker.data_dir().display()))
        .args(arguments);
    command
}

fn restore(from: &Path, to: &Path) -> Command {
    let mut command = anabranch();
    command.args(["restore", "--from"]).arg(from).arg("--data-dir").arg(to);
    command
}

#[test]
fn a_backup_under_load_is_one_cut() {
    let at = Target::Ours(Box::new(Broker::start_with(&["journal.file_bytes=1MiB"])));
    let partitions = PARTITIONS.to_string();
    for (topic, policy) in [("keyed", "compact"), ("plain", "delete"), ("from", "delete")] {
        let policy = format!("cleanup.policy={policy}");
        let created = Client::Confluent.admin(&at, &["create", topic, &partitions, &policy]);
        assert_eq!(created, json!({ "created": topic }));
    }
    let created = Client::Confluent.admin(&at, &["create", "to", "1"]);
    assert_eq!(created, json!({ "created": "to" }));
    let Target::Ours(broker) = &at else { unreachable!("just started") };
    query(broker, "GRANT SELECT ON keyed TO PUBLIC");
    let mut feeder = Steady::start(broker, "from", "feeder".to_owned());
    let mut producers = ["keyed", "plain"]
        .map(|topic| (topic, Steady::start(broker, topic, format!("{topic}-producer"))));
    let mut copier = Client::Confluent.copy(&at, ["from", "to", "group", "copier"], COPIED);
    feeder.wait_for(100);
    copier.wait_for(50);
    for (_, producer) in &mut producers {
        producer.wait_for(5_000);
    }
    // What was acknowledged by now has to be there.
    let acknowledged = producers.each_ref().map(|(topic, producer)| (*topic, producer.records()));
    let Target::Ours(mut broker) = at else { unreachable!("just started") };
    let to = broker.data_dir().with_file_name("backup");
    let path = to.to_str().expect("UTF-8");
    let made: Value =
        serde_json::from_str(&run(&mut backup(&broker, &["--json", "--to", path]), &[]))
            .expect("JSON");
    assert!(made["bytes"].as_u64() > Some(100_000), "{made}");
    // The load goes on, and what it does later is lost with the directory.
    for (_, producer) in &mut producers {
        producer.wait_for(1_000);
    }
    drop((producers, feeder, copier));
    broker.kill();
    let data = broker.data_dir();
    fs::rename(&data, data.with_file_name("lost")).expect("both are ours");
    run(&mut backup(&broker, &["--verify", path]), &[]);
    run(&mut restore(&to, &data), &[]);
    broker.restart();

    let at = Target::Ours(broker);
    let Target::Ours(broker) = &at else { unreachable!("just made") };
    for (topic, acknowledged) in acknowledged {
        let ends = Client::Confluent.admin(&at, &["offsets", topic, "-1"]);
        let count = ends.as_object().expect("by partition").values();
        let count: i64 = count.map(|end| end.as_i64().expect("an offset")).sum();
        let read = Client::Confluent.consume(&at, topic, usize::try_from(count).expect("some"));
        let there: BTreeMap<_, _> = read
            .iter()
            .map(|record| {
                let place = (record.partition.expect("read"), record.offset.expect("read"));
                (place, record.value.as_ref())
            })
            .collect();
        for (place, text) in &acknowledged {
            let found = there.get(place);
            assert_eq!(found, Some(&Some(text)), "{topic}: {place:?} was acknowledged before");
        }
        if topic == "keyed" {
            check_table(broker, topic, &read);
        }
    }
    // Each transaction is there with its records and its offsets, or not at all.
    let committed = Client::Confluent.admin(&at, &["committed", "group", "from"]);
    let committed: i64 = committed
        .as_object()
        .expect("by partition")
        .values()
        .filter_map(Value::as_i64)
        .map(|next| next.max(0))
        .sum();
    assert!(committed >= 50, "{committed}");
    assert_eq!(value(broker, "SELECT count(*) FROM \"to\""), committed.to_string());
    assert_eq!(value(broker, "SELECT count(*) FROM sys.grants"), "1");
    query(broker, r#"INSERT INTO plain (_json) VALUES ('{"after": true}')"#);
    let after = "SELECT count(*) FROM plain WHERE (_json->>'after')::boolean";
    assert_eq!(value(broker, after), "1");
    assert_eq!(broker.log_lines("ERROR"), 0, "{}", broker.log());
}

#[test]
fn what_is_no_sound_backup_is_refused() {
    let mut broker = Broker::start();
    query(&broker, "CREATE STREAM readings (id integer PRIMARY KEY) WITH (mode = 'upsert')");
    query(&broker, "INSERT INTO readings VALUES (1), (2)");
    let to = broker.data_dir().with_file_name("backup");
    let path = to.to_str().expect("UTF-8");
    let refused = |mut command: Command, words: &[&str]| {
        let output = run_any(&mut command, &[]);
        assert!(!output.status.success(), "{}", say(&output));
        for word in words {
            assert!(say(&output).contains(word), "{word}: {}", say(&output));
        }
    };
    run(&mut backup(&broker, &["--to", path]), &[]);
    // Nothing is overwritten, and a backup is not served.
    refused(backup(&broker, &["--to", path]), &["not empty"]);
    refused(restore(&to, &broker.data_dir()), &["not empty"]);
    let mut serve = anabranch();
    serve.args(["serve", "--set", &format!("data_dir={path}")]);
    for door in ["kafka", "postgres", "web"] {
        serve.args(["--set", &format!("{door}.listen=off")]);
    }
    refused(serve, &["anabranch restore --from"]);
    // A stopped broker can be backed up just so.
    assert!(broker.stop().success());
    let cold = to.with_file_name("cold");
    run(&mut backup(&broker, &["--to", cold.to_str().expect("UTF-8")]), &[]);
    let again = to.with_file_name("again");
    run(&mut restore(&cold, &again), &[]);
    fs::remove_dir_all(broker.data_dir()).expect("ours");
    fs::rename(&again, broker.data_dir()).expect("ours");
    broker.restart();
    assert_eq!(value(&broker, "SELECT sum(id) FROM readings"), "3");

    // Of every file one byte is wrong, one after the other.
    let manifest = fs::read_to_string(to.join("backup.manifest")).expect("text");
    let files: Vec<&str> = manifest
        .lines()
        .filter_map(|line| {
            let mut words = line.splitn(3, ' ');
            let bytes: u64 = words.nth(1)?.parse().ok()?;
            words.next().filter(|_| bytes > 0)
        })
        .collect();
    assert!(files.len() > 5, "{manifest}");
    let target = to.with_file_name("restored");
    for name in files {
        let file = fs::File::options().read(true).write(true).open(to.join(name)).expect("there");
        let at = file.metadata().expect("open").len() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("long enough");
        file.write_all_at(&[byte[0] ^ 1], at).expect("ours");
        refused(backup(&broker, &["--verify", path]), &[name, "damaged"]);
        refused(restore(&to, &target), &[name, "damaged"]);
        assert!(!target.exists(), "nothing is left");
        file.write_all_at(&byte, at).expect("ours");
    }
    fs::remove_file(to.join("backup.manifest")).expect("ours");
    refused(restore(&to, &target), &["not finished"]);
}
