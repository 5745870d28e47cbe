//! kcat, the oldest client in common use (librdkafka 2.0), by its own command line.

use crate::clients::Target;
use crate::process::{program, run};
use serde_json::{Value, json};
use std::process::Command;

fn kcat(at: &Target, arguments: &[&str]) -> Command {
    let mut command = program("kcat");
    command.args(["-q", "-b", &at.address(), "-X", "socket.timeout.ms=30000"]).args(arguments);
    command
}

/// What is in a topic, a JSON object a record.
#[track_caller]
fn consume(at: &Target, topic: &str, more: &[&str]) -> Vec<Value> {
    let mut arguments = vec!["-C", "-t", topic, "-J", "-e"];
    arguments.extend(more);
    let said = run(&mut kcat(at, &arguments), &[]);
    said.lines().map(|line| serde_json::from_str(line).expect("kcat -J prints JSON")).collect()
}

#[test]
fn produces_and_consumes() {
    let at = Target::start();
    let topic = Target::topic("kcat");
    for more in [&[][..], &["-z", "gzip"], &["-z", "snappy"], &["-z", "lz4"], &["-z", "zstd"]] {
        let mut arguments = vec!["-P", "-t", &topic, "-K", "\t", "-Z", "-H", "from=kcat"];
        arguments.extend(more);
        run(&mut kcat(&at, &arguments), b"N14228\t{\"flight\":1545}\n\tno key\nN24211\t\n");
    }
    run(&mut kcat(&at, &["-P", "-t", &topic, "-X", "enable.idempotence=true"]), b"last\n");

    let read = consume(&at, &topic, &["-o", "beginning"]);
    assert_eq!(read.len(), 5 * 3 + 1);
    for (number, three) in read.chunks_exact(3).enumerate() {
        let expected = [
            (json!("N14228"), json!("{\"flight\":1545}")),
            (Value::Null, json!("no key")),
            (json!("N24211"), Value::Null),
        ];
        for (place, (record, (key, payload))) in three.iter().zip(expected).enumerate() {
            assert_eq!(record["offset"], json!(number * 3 + place), "{record}");
            assert_eq!((&record["key"], &record["payload"]), (&key, &payload), "{record}");
            assert_eq!(record["headers"], json!(["from", "kcat"]), "{record}");
        }
    }
    assert_eq!(read[15]["payload"], json!("last"));

    let tail = consume(&at, &topic, &["-o", "-2"]);
    assert_eq!(tail.iter().map(|record| &record["offset"]).collect::<Vec<_>>(), [14, 15]);
    let inside = consume(&at, &topic, &["-o", "1", "-c", "1"]);
    assert_eq!(inside[0]["payload"], json!("no key"), "an offset within a batch");
}

#[test]
fn lists_and_finds_by_time() {
    let at = Target::start();
    let topic = Target::topic("kcat");
    run(&mut kcat(&at, &["-P", "-t", &topic]), b"one\ntwo\n");
    let listed = run(&mut kcat(&at, &["-L", "-J", "-t", &topic]), &[]);
    let listed: Value = serde_json::from_str(&listed).expect("kcat -L -J prints JSON");
    assert_eq!(listed["brokers"][0]["name"], json!(at.address()));
    assert_eq!(listed["topics"][0]["topic"], json!(topic));
    assert_eq!(listed["topics"][0]["partitions"][0]["partition"], json!(0));

    let asked = |when: &str| {
        let said = run(&mut kcat(&at, &["-Q", "-t", &format!("{topic}:0:{when}")]), &[]);
        said.split_whitespace().last().map(ToOwned::to_owned)
    };
    assert_eq!(asked("-2").as_deref(), Some("0"), "the beginning");
    assert_eq!(asked("-1").as_deref(), Some("2"), "the end");
    assert_eq!(asked("1000").as_deref(), Some("0"), "the first record after 1970");
}

#[test]
fn consumes_as_a_group() {
    let at = Target::start();
    let (topic, group) = (Target::topic("kcat"), Target::topic("group"));
    let join = || {
        let settings = ["-X", "auto.offset.reset=earliest", "-e", "-f", "%s\n"];
        run(kcat(&at, &["-G", &group]).args(settings).arg(&topic), &[])
    };
    run(&mut kcat(&at, &["-P", "-t", &topic]), b"one\ntwo\n");
    assert_eq!(join(), "one\ntwo\n");
    run(&mut kcat(&at, &["-P", "-t", &topic]), b"three\n");
    assert_eq!(join(), "three\n", "it goes on where it stopped");
}
