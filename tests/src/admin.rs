//! `anabranch groups`, `producers` and `acl`, against the real broker.

use crate::broker::{Broker, anabranch};
use crate::clients::{Client, Member, Record, Target};
use crate::process::{run, run_any, say};
use crate::psql::{query, value};
use serde_json::{Value, json};
use std::process::Command;

fn command(broker: &Broker, arguments: &str) -> Command {
    let mut command = anabranch();
    command.args(arguments.split_whitespace()).args(["--broker", &broker.kafka()]);
    command
}

/// The rows of a command's JSON.
#[track_caller]
fn rows(broker: &Broker, arguments: &str) -> Vec<Value> {
    let said = run(command(broker, arguments).arg("--json"), &[]);
    said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[track_caller]
fn refused(command: &mut Command, words: &[&str]) {
    let output = run_any(command, &[]);
    assert!(!output.status.success(), "{}", say(&output));
    for word in words {
        assert!(say(&output).contains(word), "{word}: {}", say(&output));
    }
}

#[test]
fn groups_are_shown_and_moved() {
    let at = Target::Ours(Box::new(Broker::start()));
    assert_eq!(
        Client::Confluent.admin(&at, &["create", "from", "1"]),
        json!({ "created": "from" })
    );
    assert_eq!(Client::Confluent.admin(&at, &["create", "to", "1"]), json!({ "created": "to" }));
    let records: Vec<Record> =
        (0..20).map(|n| Record::new(None, Some(b"x")).at(1_700_000_000_000 + n * 1000)).collect();
    Client::Confluent.produce(&at, "from", &[], &records);
    Client::Confluent.copy(&at, ["from", "to", "copies", "copier"], 20).finish();
    Client::Confluent.produce(&at, "from", &[], &records);
    let Target::Ours(broker) = &at else { unreachable!("just started") };
    let listed = rows(broker, "groups list");
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((&listed[0]["group"], &listed[0]["lag"]), (&json!("copies"), &json!(20)));
    let row = |committed: i64| {
        json!({ "stream": "from", "partition": 0, "committed": committed, "end": 40,
            "lag": 40 - committed })
    };
    assert_eq!(rows(broker, "groups describe copies"), [row(20)]);
    let reset = "groups reset copies --stream from --to";
    let expected = json!({ "stream": "from", "partition": 0, "before": 20, "after": 5 });
    assert_eq!(rows(broker, &format!("{reset} 5")), [expected]);
    assert_eq!(rows(broker, "groups describe copies"), [row(20)], "that was only shown");
    let places = [
        ("5", 5),
        ("earliest", 0),
        ("latest", 40),
        ("999", 40),
        ("2023-11-14T22:13:30Z", 10),
        ("2100-01-01T00:00:00Z", 40),
    ];
    for (to, expected) in places {
        rows(broker, &format!("{reset} {to} --execute"));
        assert_eq!(rows(broker, "groups describe copies"), [row(expected)], "{to}");
    }
    let table = run(&mut command(broker, "groups describe copies"), &[]);
    assert!(table.contains("COMMITTED") && table.contains("from"), "{table}");
    refused(&mut command(broker, &format!("{reset} yesterday")), &["earliest, latest"]);
    refused(&mut command(broker, "groups describe none"), &["anabranch groups list"]);

    let mut member = Client::Confluent.join(&at, "from", "live");
    Member::wait_all([&mut member], "assigned", |all| all[0].assigned == [0]);
    assert_eq!(rows(broker, "groups members live").len(), 1);
    refused(&mut command(broker, "groups delete live"), &["stop the group's consumers"]);
    run(&mut command(broker, "groups delete copies"), &[]);
    let left: Vec<_> =
        rows(broker, "groups list").into_iter().map(|row| row["group"].clone()).collect();
    assert_eq!(left, ["live"]);

    // Producers, and the transactional id of the loop.
    let producers = rows(broker, "producers list to");
    assert!(!producers.is_empty());
    let transactions = rows(broker, "producers transactions");
    assert_eq!(transactions[0]["transactional_id"], "copier", "{transactions:?}");
    assert_eq!(transactions[0]["state"], "CompleteCommit", "{transactions:?}");
    let epoch = |rows: &[Value]| rows[0]["epoch"].as_i64().expect("a number");
    run(&mut command(broker, "producers abort copier"), &[]);
    assert!(epoch(&rows(broker, "producers transactions")) > epoch(&transactions), "it is fenced");
    refused(&mut command(broker, "producers abort none"), &["producers transactions"]);
}

#[test]
fn grants_are_those_of_sql() {
    let broker = Broker::start();
    query(&broker, "CREATE STREAM flights (n integer)");
    let mut add = command(&broker, "acl add --to ann --operation read,describe --stream flights");
    run(&mut add, &[]);
    let listed = rows(&broker, "acl list --of ann");
    let expected = json!({ "principal": "User:ann", "permission": "allow", "operation": "read",
        "kind": "stream", "name": "flights", "pattern": "literal", "host": "*" });
    assert!(listed.len() == 2 && listed.contains(&expected), "{listed:?}");
    assert_eq!(value(&broker, "SELECT count(*) FROM sys.grants"), "2");
    let remove = "acl remove --to ann --operation read --stream flights";
    assert_eq!(rows(&broker, remove), [expected]);
    refused(&mut command(&broker, remove), &["no such grant"]);
    let wrong = "acl add --to ann --operation fly --stream flights";
    refused(&mut command(&broker, wrong), &["read, write"]);
    refused(&mut command(&broker, "acl add --to ann --operation read"), &["--stream"]);

    // With users a login is wanted.
    query(&broker, "CREATE USER root PASSWORD 'secret'");
    refused(&mut command(&broker, "acl list"), &["ClusterAuthorizationFailed", "--user"]);
    let as_root = |arguments: &str, password: &str| {
        let mut command = command(&broker, arguments);
        command.args(["--user", "root"]).env("ANABRANCH_PASSWORD", password);
        command
    };
    let said = run(&mut as_root("acl list", "secret"), &[]);
    assert!(said.contains("User:ann"), "{said}");
    refused(&mut as_root("acl list", "wrong"), &["root", "password is wrong"]);
    let mut forgotten = command(&broker, "acl list --user root");
    refused(&mut forgotten, &["ANABRANCH_PASSWORD"]);
}
