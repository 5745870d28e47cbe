//! Definitions in SQL: defaults, constraints, sequences; with psql, and over crashes.

use crate::broker::Broker;
use crate::process::run;
use crate::psql::{error, psql, query, value};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

#[test]
fn psql_shows_what_was_defined() {
    let broker = Broker::start();
    query(
        &broker,
        "CREATE TABLE orders (id serial PRIMARY KEY, no bigint GENERATED ALWAYS AS IDENTITY, \
         name varchar(20) DEFAULT 'none' NOT NULL, price int CHECK (price > 0), \
         gross int GENERATED ALWAYS AS (price * 2) STORED)",
    );
    // With what stands below the columns.
    let shown = run(psql(&broker).args(["-P", "tuples_only=off", "-c", "\\d orders"]), &[]);
    for expected in [
        "id|integer||not null|nextval('orders_id_seq'::regclass)",
        "no|bigint||not null|generated always as identity",
        "name|character varying(20)||not null|'none'",
        "price|integer|||",
        "gross|integer|||generated always as (price * 2) stored",
        "\"orders_price_check\" CHECK (price > 0)",
    ] {
        assert!(shown.contains(expected), "{expected}\nis missing in\n{shown}");
    }
    let sequences = query(&broker, "\\ds").join("\n");
    assert!(sequences.contains("public|orders_id_seq|sequence"), "{sequences}");
    let sequence = query(&broker, "\\d orders_id_seq").join("\n");
    assert!(sequence.contains("integer|1|1|2147483647|1|no|1"), "{sequence}");
    assert_eq!(
        query(
            &broker,
            "SELECT conname, contype FROM pg_constraint WHERE conrelid = 'orders'::regclass \
             ORDER BY 1"
        ),
        ["orders_pkey|p", "orders_price_check|c"]
    );
}

#[test]
fn definitions_survive_a_crash() {
    let mut broker = Broker::start();
    query(
        &broker,
        "CREATE TABLE t (k int PRIMARY KEY, a int DEFAULT 7 CHECK (a < 10), b text, \
         c int GENERATED ALWAYS AS (a + 1) STORED, d varchar(2))",
    );
    query(&broker, "INSERT INTO t (k, b) VALUES (1, 'gone')");
    query(&broker, "ALTER TABLE t DROP COLUMN b");
    query(&broker, "ALTER TABLE t ADD COLUMN b text");
    query(&broker, "ALTER TABLE t RENAME COLUMN a TO n");
    broker.kill();
    broker.restart();
    query(&broker, "INSERT INTO t (k, b) VALUES (2, 'here')");
    assert_eq!(query(&broker, "SELECT k, n, b, c FROM t ORDER BY k"), ["1|7||8", "2|7|here|8"]);
    let refused = error(&broker, "INSERT INTO t (k, n) VALUES (3, 10)");
    assert!(refused.contains("23514") && refused.contains("\"t_a_check\""), "{refused}");
    assert!(error(&broker, "INSERT INTO t (k, d) VALUES (3, 'abc')").contains("22001"));
}

/// A psql that takes values for as long as the broker lives.
fn taker(broker: &Broker) -> Child {
    let taken = "SELECT nextval('s') FROM generate_series(1, 3);\n".repeat(20_000);
    let mut child = psql(broker)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("psql is installed");
    let mut input = child.stdin.take().expect("piped");
    std::thread::spawn(move || {
        // It ends when psql does.
        let _ = input.write_all(taken.as_bytes());
    });
    child
}

#[test]
fn no_value_comes_twice_over_crashes() {
    let mut broker = Broker::start();
    query(&broker, "CREATE SEQUENCE s");
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for _ in 0..3 {
        let takers: Vec<_> = (0..3).map(|_| taker(&broker)).collect();
        let mut readers = Vec::new();
        let (sender, receiver) = std::sync::mpsc::channel();
        for mut taker in takers {
            let output = taker.stdout.take().expect("piped");
            let sender = sender.clone();
            readers.push(std::thread::spawn(move || {
                let lines = BufReader::new(output).lines().map_while(Result::ok);
                for value in lines.filter_map(|line| line.parse::<i64>().ok()) {
                    if sender.send(value).is_err() {
                        break;
                    }
                }
                taker.wait().expect("our process");
            }));
        }
        drop(sender);
        // The crash comes while values are taken.
        for (number, value) in receiver.iter().enumerate() {
            if number == 500 {
                broker.kill();
            }
            assert!(seen.insert(value), "{value} came twice");
            count += 1;
        }
        for reader in readers {
            reader.join().expect("a reader reads");
        }
        broker.restart();
    }
    assert!(count >= 1_500, "{count}");
    let last: i64 = value(&broker, "SELECT nextval('s')").parse().expect("a number");
    assert!(seen.iter().all(|value| *value < last), "{last}");
}

#[test]
fn sessions_together_take_each_value_once() {
    let broker = Broker::start();
    query(&broker, "CREATE TABLE t (id bigserial PRIMARY KEY, worker int)");
    let insert = |worker: usize| {
        let mut psql = psql(&broker);
        std::thread::spawn(move || {
            let inserts = format!("INSERT INTO t (worker) VALUES ({worker}), ({worker});\n");
            run(psql.args(["-f", "-"]), inserts.repeat(50).as_bytes())
        })
    };
    let workers: Vec<_> = (0..4).map(insert).collect();
    for worker in workers {
        worker.join().expect("no key came twice");
    }
    assert_eq!(value(&broker, "SELECT count(*), max(id) FROM t"), "400|400");
}

#[test]
fn rows_go_when_their_time_has_come() {
    let broker = Broker::start();
    query(&broker, "CREATE TABLE sessions (id text PRIMARY KEY) WITH (ttl_ms = 1000)");
    query(&broker, "INSERT INTO sessions VALUES ('a'), ('b')");
    let began = Instant::now();
    while value(&broker, "SELECT count(*) FROM sessions") != "0" {
        assert!(began.elapsed() < Duration::from_secs(60), "they stay");
    }
    let deleted = "SELECT count(*) FROM log.sessions WHERE _op = 'delete'";
    assert_eq!(value(&broker, deleted), "2");
    let said = error(&broker, "CREATE TABLE events (n int) WITH (ttl_ms = 1000)");
    assert!(said.contains("retention.ms"), "{said}");
}

/// What a transaction has defined and not committed is gone with the broker, and its names are free.
#[test]
fn definitions_that_were_not_committed_are_gone_after_a_crash() {
    let mut broker = Broker::start();
    query(&broker, "CREATE TABLE old (k int PRIMARY KEY)");
    for round in 0..3 {
        query(
            &broker,
            &format!(
                "BEGIN; CREATE TABLE t{round} (k serial PRIMARY KEY, v text); CREATE VIEW v{round} AS \
                 SELECT v FROM t{round}; INSERT INTO t{round} (v) VALUES ('kept'); \
                 ALTER TABLE old ADD COLUMN c{round} int DEFAULT {round}; COMMIT"
            ),
        );
        let mut open = psql(&broker)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql starts");
        let statements = "BEGIN; DROP TABLE old; CREATE TABLE lost (k serial PRIMARY KEY);\n\
                          INSERT INTO lost DEFAULT VALUES RETURNING 'said';\n";
        let mut stdin = open.stdin.take().expect("it is piped");
        stdin.write_all(statements.as_bytes()).expect("psql reads");
        let out = BufReader::new(open.stdout.take().expect("it is piped"));
        let mut lines = out.lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "said"), "psql says what it was given");
        broker.kill();
        broker.restart();
        drop(stdin);
        open.wait().expect("psql ends");
        assert_eq!(query(&broker, &format!("SELECT * FROM v{round}")), ["kept"]);
        let said = error(&broker, "SELECT * FROM lost");
        assert!(said.contains("42P01"), "{said}");
    }
    assert_eq!(
        query(&broker, "INSERT INTO old VALUES (1, 5, 6, 7) RETURNING k, c0, c1, c2"),
        ["1|5|6|7"]
    );
}
