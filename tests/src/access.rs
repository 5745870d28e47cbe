//! Who may do what, with real clients: the first user is the admin, everybody else needs grants,
//! and all of it is there after a kill. Kafka's clients, psql, curl and WebSockets see the same.

use crate::broker::{Broker, root};
use crate::clients::installed;
use crate::process::{program, run, run_any};
use crate::psql::{query, value};
use crate::websocket::Socket;
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

/// psql as a user, with a password.
fn psql_as(broker: &Broker, user: &str, password: &str, sql: &str) -> Result<String, String> {
    let mut command = crate::psql::psql(broker);
    command
        .args(["-w", "-U", user, "-v", "VERBOSITY=verbose", "-c", sql])
        .env("PGPASSWORD", password);
    let output = run_any(&mut command, &[]);
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The status and the body of an answer to curl; `login` is `user:password`.
fn curl(broker: &Broker, login: Option<&str>, path: &str, body: Option<&str>) -> (String, String) {
    let mut command = program("curl");
    command.args(["-sS", "-w", "\n%{http_code}", &format!("http://{}{path}", broker.web())]);
    if let Some(login) = login {
        command.args(["-u", login]);
    }
    if let Some(body) = body {
        command.args(["-d", body]);
    }
    let said = run(&mut command, &[]);
    let (body, status) = said.rsplit_once('\n').expect("a status after the body");
    (status.to_owned(), body.to_owned())
}

#[test]
fn users_and_grants_by_sql() {
    let broker = Broker::start();
    query(&broker, "CREATE STREAM flights (n integer)");
    query(&broker, "INSERT INTO flights VALUES (1)");
    assert_eq!(value(&broker, "SELECT current_user"), "tester");
    query(&broker, "CREATE USER root PASSWORD 'secret'");
    let root = |sql: &str| psql_as(&broker, "root", "secret", sql);
    let ann = |sql: &str| psql_as(&broker, "ann", "it's", sql);
    let refused = |result: Result<String, String>, code: &str| {
        let said = result.expect_err("to be refused");
        assert!(said.contains(code), "{code}: {said}");
    };
    // Without a password nobody comes in, nor with a wrong one.
    refused(psql_as(&broker, "tester", "", "SELECT 1"), "no password supplied");
    refused(psql_as(&broker, "root", "wrong", "SELECT 1"), "password authentication failed");

    assert_eq!(root("CREATE ROLE ann LOGIN PASSWORD 'it''s'"), Ok(String::new()));
    refused(root("CREATE USER ann PASSWORD 'x'"), "42710");
    refused(root("GRANT SELECT ON flights TO bob"), "42704");
    refused(root("GRANT SELECT ON none TO ann"), "42P01");
    assert_eq!(ann("SELECT current_user"), Ok("ann".to_owned()));
    assert!(ann("SELECT n FROM flights").is_err());
    refused(ann("GRANT SELECT ON flights TO ann"), "42501");
    root("GRANT SELECT ON flights TO ann").expect("root may");
    assert_eq!(ann("SELECT n FROM flights"), Ok("1".to_owned()));
    refused(ann("INSERT INTO flights VALUES (2)"), "42501");
    let users = root("\\du").expect("root may");
    assert!(users.contains("ann|") && users.contains("root|"), "{users}");

    // Kafka's clients log in with the same password, and see the same grant.
    let (kafka_root, kafka_ann) =
        (json!(["SCRAM-SHA-512", "root", "secret"]), json!(["SCRAM-SHA-256", "ann", "it's"]));
    check(
        &broker,
        "confluent",
        &[
            (json!(["topics", kafka_ann]), json!(["flights"])),
            (json!(["produce", kafka_ann, "flights", "2"]), error("TOPIC_AUTHORIZATION_FAILED")),
            (json!(["grants", kafka_root]), json!(1)),
        ],
    );
    // An old librdkafka, which says its nonce twice.
    let mut kcat = program("kcat");
    kcat.args(["-q", "-b", &broker.kafka(), "-C", "-e", "-t", "flights"]);
    for setting in [
        "security.protocol=SASL_PLAINTEXT",
        "sasl.mechanism=SCRAM-SHA-256",
        "sasl.username=ann",
        "sasl.password=it's",
    ] {
        kcat.args(["-X", setting]);
    }
    assert_eq!(run(&mut kcat, &[]).trim(), "{\"n\":1}");
    root("REVOKE SELECT ON flights FROM ann").expect("root may");
    assert!(ann("SELECT n FROM flights").is_err());
    check(&broker, "confluent", &[(json!(["grants", kafka_root]), json!(0))]);
    root("DROP USER ann").expect("root may");
    refused(ann("SELECT 1"), "password authentication failed");
}

#[test]
fn users_on_the_web() {
    let broker = Broker::start();
    query(&broker, "CREATE STREAM flights (n integer)");
    query(&broker, "INSERT INTO flights VALUES (1)");
    assert_eq!(curl(&broker, None, "/", None).0, "200");
    query(&broker, "CREATE USER root PASSWORD 'secret'");
    psql_as(&broker, "root", "secret", "CREATE USER ann PASSWORD 'ann'").expect("root may");
    psql_as(&broker, "root", "secret", "GRANT SELECT ON flights TO ann").expect("root may");
    let events = "/v1/streams/flights/events";
    let check = |login: Option<&str>, path: &str, body: Option<&str>, expected: &str| {
        let (status, said) = curl(&broker, login, path, body);
        assert_eq!(status, expected, "{login:?} {path}: {said}");
        said
    };
    check(None, "/", None, "401");
    check(None, events, None, "401");
    check(Some("ann:wrong"), events, None, "401");
    check(Some("ann:ann"), "/", None, "200");
    assert!(check(Some("ann:ann"), events, None, "200").contains("\"n\":1"));
    check(Some("ann:ann"), events, Some("{\"n\":2}"), "403");
    check(Some("root:secret"), events, Some("{\"n\":2}"), "200");
    let rows = check(Some("ann:ann"), "/v1/sql", Some("SELECT current_user AS u"), "200");
    assert_eq!(rows.trim(), "{\"u\":\"ann\"}");
    assert!(audited(&broker, &["login failed", "ann"]) > 0, "{}", broker.log());

    // The client takes the user from the address.
    let url = format!("ws://ann:ann@{}/v1/ws", broker.web());
    let mut socket = Socket::open_by(program(installed("TEST_PYTHON")), &url);
    let from = json!({ "id": 1, "op": "subscribe", "stream": "flights", "from": "beginning" });
    socket.send(&from);
    assert_eq!(socket.next()["type"], "subscribed");
    assert_eq!(socket.next()["events"][0]["value"], json!({ "n": 1 }));
    let event = json!({ "value": { "n": 3 } });
    socket.send(&json!({ "id": 2, "op": "publish", "stream": "flights", "events": [event] }));
    let mut answer = socket.next();
    while answer["type"] == "events" {
        answer = socket.next();
    }
    assert_eq!(answer["error"]["code"], "denied", "{answer}");
}
