//! Who may do what, with real clients: the first user is the admin, everybody else needs grants,
//! and all of it is there after a kill.

use crate::broker::{Broker, root};
use crate::clients::installed;
use crate::process::{program, run};
use serde_json::{Value, json};

/// What `access.py` found for each step, in order.
fn steps(broker: &Broker, library: &str, steps: &[Value]) -> Vec<Value> {
    let input: String = steps.iter().map(|step| format!("{step}\n")).collect();
    let mut command = program(installed("TEST_PYTHON"));
    command.arg(root().join("tests/clients/python/access.py"));
    command.args([library, &broker.kafka()]);
    let said = run(&mut command, input.as_bytes());
    said.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
}

#[track_caller]
fn check(broker: &Broker, library: &str, expected: &[(Value, Value)]) {
    let asked: Vec<Value> = expected.iter().map(|(step, _)| step.clone()).collect();
    let found = steps(broker, library, &asked);
    for ((step, expected), found) in expected.iter().zip(&found) {
        assert_eq!(found, expected, "{library}: {step}\n{}", broker.log());
    }
    assert_eq!(found.len(), expected.len());
}

fn error(name: &str) -> Value {
    json!({ "error": name })
}

/// Lines of the audit with these words in them.
fn audited(broker: &Broker, words: &[&str]) -> usize {
    let log = broker.log();
    let lines = log.lines().filter(|line| line.contains("\"target\":\"audit\""));
    lines.filter(|line| words.iter().all(|word| line.contains(word))).count()
}

const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

#[test]
fn the_first_user_is_the_admin_and_others_need_grants() {
    let mut broker = Broker::start();
    let nobody = Value::Null;
    let root = json!(["SCRAM-SHA-256", "root", "secret"]);
    let ann = json!(["SCRAM-SHA-512", "ann", "pass,=word"]);
    let wrong = json!(["SCRAM-SHA-512", "ann", "another"]);
    // Open, until there is a user.
    check(
        &broker,
        "confluent",
        &[
            (json!(["create", nobody, "flights"]), Value::Null),
            (json!(["create", nobody, "secrets"]), Value::Null),
            (json!(["produce", nobody, "flights", "1"]), Value::Null),
            (json!(["user", nobody, "root", "secret", "SCRAM-SHA-256"]), Value::Null),
            (json!(["topics", nobody]), json!([])),
            (json!(["create", nobody, "more"]), error("TOPIC_AUTHORIZATION_FAILED")),
            (
                json!(["user", nobody, "eve", "x", "SCRAM-SHA-256"]),
                error("CLUSTER_AUTHORIZATION_FAILED"),
            ),
            (json!(["topics", root]), json!(["flights", "secrets"])),
            (json!(["user", root, "ann", "pass,=word", "SCRAM-SHA-512"]), Value::Null),
            (json!(["produce", ann, "flights", "2"]), error("TOPIC_AUTHORIZATION_FAILED")),
        ],
    );
    assert!(audited(&broker, &["denied", "User:ann", "flights"]) > 0, "{}", broker.log());
    let grant = |principal: &str, kind: &str, name: &str, pattern: &str, operation: &str| {
        json!(["grant", root, principal, kind, name, pattern, operation, "ALLOW"])
    };
    check(
        &broker,
        "confluent",
        &[
            (grant("User:ann", "TOPIC", "fli", "PREFIXED", "WRITE"), Value::Null),
            (json!(["produce", ann, "flights", "2"]), Value::Null),
            (json!(["consume", ann, "flights", "g"]), error("GROUP_AUTHORIZATION_FAILED")),
            (grant("User:ann", "GROUP", "g", "LITERAL", "READ"), Value::Null),
            (json!(["consume", ann, "flights", "g"]), error("TOPIC_AUTHORIZATION_FAILED")),
            (grant("User:*", "TOPIC", "flights", "LITERAL", "READ"), Value::Null),
            (json!(["consume", ann, "flights", "g"]), json!(["1", "2"])),
            (json!(["topics", ann]), json!(["flights"])),
            (json!(["topics", nobody]), json!(["flights"])),
            (json!(["produce", ann, "secrets", "3"]), error("TOPIC_AUTHORIZATION_FAILED")),
            (json!(["produce", wrong, "flights", "3"]), error("_AUTHENTICATION")),
            (json!(["grants", root]), json!(3)),
        ],
    );
    assert!(audited(&broker, &["login failed", "ann"]) > 0, "{}", broker.log());
    broker.kill();
    broker.restart();
    check(
        &broker,
        "confluent",
        &[
            (json!(["topics", nobody]), json!(["flights"])),
            (json!(["produce", ann, "flights", "3"]), Value::Null),
            (json!(["produce", ann, "secrets", "3"]), error("TOPIC_AUTHORIZATION_FAILED")),
            (json!(["produce", wrong, "flights", "3"]), error("_AUTHENTICATION")),
            (json!(["grants", root]), json!(3)),
        ],
    );
}

#[test]
fn every_mechanism_with_every_client() {
    let broker = Broker::start();
    let nobody = Value::Null;
    let admin = json!(["PLAIN", "root", "secret"]);
    let user = |login: &Value, mechanism: &str| {
        (json!(["user", login, "root", "secret", mechanism]), Value::Null)
    };
    check(&broker, "confluent", &[user(&nobody, "SCRAM-SHA-256"), user(&admin, "SCRAM-SHA-512")]);
    for mechanism in MECHANISMS {
        for library in ["confluent", "kafka-python"] {
            let topic = format!("{library}-{mechanism}");
            let login = json!([mechanism, "root", "secret"]);
            check(
                &broker,
                library,
                &[
                    (json!(["produce", login, topic, "1"]), Value::Null),
                    (json!(["consume", login, topic, topic]), json!(["1"])),
                ],
            );
        }
    }
}
