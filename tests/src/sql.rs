//! PostgreSQL's clients against the broker, beyond the tour.

use crate::broker::{Broker, root};
use crate::clients::{Client, Record, Target, installed};
use crate::process::{program, run};
use crate::psql::{error, query, value};

#[test]
fn psycopg_speaks_the_extended_protocol() {
    let broker = Broker::start();
    let mut client = program(installed("TEST_PYTHON"));
    client.arg(root().join("tests/clients/python/postgres.py"));
    run(client.args(["127.0.0.1", &broker.postgres_port().to_string()]), &[]);
}

/// As text and in binary, with the types that the catalogue says.
#[test]
fn psycopg_sends_and_asks_for_values_of_every_type() {
    let broker = Broker::start();
    let mut client = program(installed("TEST_PYTHON"));
    client.arg(root().join("tests/clients/python/columns.py"));
    run(client.args(["127.0.0.1", &broker.postgres_port().to_string()]), &[]);
}

/// A write that was acknowledged at one door is seen at once at another.
#[test]
fn reads_what_was_acknowledged_before() {
    let at = Target::Ours(Box::new(Broker::start()));
    let Target::Ours(broker) = &at else { unreachable!("just started") };
    let keyed = |n: u8| Record::new(Some(&[b'a' + n]), Some(format!("{{\"n\":{n}}}").as_bytes()));
    for n in 0..3 {
        Client::Confluent.produce(&at, "seen", &[], &[keyed(n)]);
        let counted = value(broker, "SELECT count(*), max(_json->>'n') FROM seen");
        assert_eq!(counted, format!("{}|{n}", n + 1));
    }
    query(broker, "CREATE STREAM rows (k text PRIMARY KEY, n integer) WITH (mode = 'upsert')");
    query(broker, "INSERT INTO rows VALUES ('x', 1)");
    Client::Java.produce(&at, "rows", &[], &[Record::new(Some(b"x"), Some(b"{\"n\":2}"))]);
    assert_eq!(query(broker, "SELECT * FROM rows"), ["x|2"]);
    Client::Java.produce(&at, "rows", &[], &[Record::new(Some(b"x"), None)]);
    assert!(query(broker, "SELECT * FROM rows").is_empty(), "a null value deletes");
    assert_eq!(value(broker, "SELECT count(*) FROM log.rows"), "3");
}

/// Several statements of one text are one transaction, with what they define.
#[test]
fn statements_of_one_text_stand_or_fall_together() {
    let broker = Broker::start();
    query(&broker, "CREATE STREAM rows (k text PRIMARY KEY, n integer)");
    query(
        &broker,
        "INSERT INTO rows VALUES ('a', 1); UPDATE rows SET n = n + 1; INSERT INTO rows VALUES ('b', 1)",
    );
    assert_eq!(query(&broker, "SELECT k, n FROM rows ORDER BY k"), ["a|2", "b|1"]);
    let said = error(&broker, "DELETE FROM rows; INSERT INTO rows VALUES ('c', 1), ('c', 2)");
    assert!(said.contains("23505"), "{said}");
    let said = error(
        &broker,
        "INSERT INTO rows VALUES ('d', 1); CREATE STREAM more (n integer); INSERT INTO more VALUES (1); SELECT nothing",
    );
    assert!(said.contains("42703"), "{said}");
    assert_eq!(query(&broker, "SELECT k FROM rows ORDER BY k"), ["a", "b"]);
    query(
        &broker,
        "CREATE STREAM more (n integer); INSERT INTO more VALUES (1); TRUNCATE more; \
         INSERT INTO rows VALUES ('d', 1)",
    );
    assert_eq!(query(&broker, "SELECT k FROM rows ORDER BY k"), ["a", "b", "d"]);
    assert_eq!(value(&broker, "SELECT count(*) FROM more"), "0");
    let seen = query(
        &broker,
        "BEGIN; INSERT INTO more VALUES (1); SELECT count(*) FROM more; ROLLBACK; SELECT count(*) FROM more",
    );
    assert_eq!(seen, ["1", "0"]);
}

#[test]
fn errors_have_postgresql_s_codes() {
    let broker = Broker::start();
    query(&broker, "CREATE STREAM rows (k text PRIMARY KEY, n integer) WITH (mode = 'upsert')");
    query(&broker, "INSERT INTO rows VALUES ('x', 1)");
    let check = |sql: &str, code: &str| {
        let said = error(&broker, sql);
        assert!(said.contains(code), "{sql}: {code} was to come, not {said}");
    };
    check("INSERT INTO rows VALUES ('x', 1)", "23505");
    check("SELECT * FROM nowhere", "42P01");
    check("SELECT nothing FROM rows", "42703");
    check("SELEC 1", "42601");
    check("CREATE STREAM rows (k text)", "42P07");
}
