use crate::error::sqlstate;
use crate::statement::parse;
use crate::testing::{Broker, collect, run};
use anabranch_types::batch::Compression;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

/// Three flights of a topic that nobody declared.
async fn flights() -> Broker {
    let broker = Broker::start();
    broker
        .produce(
            "flights",
            &[
                (
                    Some("N14228"),
                    Some(r#"{"carrier":"UA","flight":1545,"dep_delay":2.0,"tailnum":"N14228"}"#),
                    0,
                ),
                (
                    Some("N24211"),
                    Some(r#"{"carrier":"UA","flight":1714,"dep_delay":4.0,"tailnum":"N24211"}"#),
                    0,
                ),
                (None, Some(r#"{"carrier":"AA","flight":1141,"dep_delay":null}"#), 0),
            ],
        )
        .await;
    broker
}

#[tokio::test]
async fn an_undeclared_topic_is_a_relation() {
    let broker = flights().await;
    let given =
        broker.run("SELECT _json->>'carrier', count(*) FROM flights GROUP BY 1 ORDER BY 1").await;
    assert_eq!(given.columns, ["?column?", "count"]);
    assert_eq!(given.lines(), ["AA|1", "UA|2"]);
    let given = broker.run("SELECT * FROM flights LIMIT 1").await;
    assert_eq!(given.columns, ["_key", "_value", "_json"]);
    let given = broker.run("SELECT * FROM log.flights LIMIT 1").await;
    assert_eq!(
        given.columns,
        ["_partition", "_offset", "_ts", "_op", "_key", "_headers", "_value", "_json"]
    );
    assert_eq!(
        broker.lines("SELECT _offset, _op, _headers, _json->'flight' FROM flights WHERE _offset >= 1 ORDER BY 1").await,
        [
            r#"1|insert|[{"key":"source","value":"test"}]|1714"#,
            r#"2|insert|[{"key":"source","value":"test"}]|1141"#,
        ]
    );
    assert_eq!(broker.lines("SELECT count(*) FROM flights WHERE _key IS NULL").await, ["1"]);
    assert_eq!(
        broker.lines("SELECT (_json->>'dep_delay')::float8 + 1 FROM flights WHERE _json ? 'tailnum' ORDER BY 1").await,
        ["3.0", "5.0"]
    );
}

#[tokio::test]
async fn an_inferred_schema_declares_columns() {
    let broker = flights().await;
    let ddl = broker.lines("ALTER STREAM flights INFER SCHEMA").await.join("\n");
    assert!(ddl.contains("ADD COLUMN carrier text,"), "{ddl}");
    assert!(
        ddl.contains("ADD COLUMN dep_delay double precision, -- 33.3 % null or missing"),
        "{ddl}"
    );
    assert!(ddl.contains("ADD COLUMN flight integer,"), "{ddl}");
    assert_eq!(broker.run(&ddl).await.tag, "ALTER STREAM");
    let given = broker.run("SELECT * FROM flights WHERE carrier = 'UA' ORDER BY flight").await;
    assert_eq!(given.columns, ["carrier", "flight", "dep_delay", "tailnum"]);
    assert_eq!(given.lines(), ["UA|1545|2.0|N14228", "UA|1714|4.0|N24211"]);
    assert_eq!(
        broker.lines("SELECT _offset, _json->>'flight' FROM flights WHERE flight > 1600").await,
        ["1|1714"]
    );
    let again = broker.lines("ALTER STREAM flights INFER SCHEMA").await;
    assert!(again[0].starts_with("--"), "{again:?}");
}

#[tokio::test]
async fn misfits_are_null_and_told() {
    let broker = flights().await;
    broker.run("ALTER STREAM flights ADD COLUMN carrier integer, ADD COLUMN flight integer").await;
    let given = broker.run("SELECT carrier, flight FROM flights ORDER BY 2").await;
    assert_eq!(given.lines(), ["|1141", "|1545", "|1714"]);
    assert_eq!(given.notices.len(), 1);
    assert!(given.notices[0].contains("3 values do not fit"), "{:?}", given.notices);
    assert!(given.notices[0].contains("column carrier of flights, partition 0 offset 0"));
}

#[tokio::test]
async fn stars_show_no_system_columns() {
    let broker = Broker::start();
    broker.run("CREATE STREAM a (id int, x text)").await;
    broker.run("CREATE STREAM b (id int, y text)").await;
    broker.run("INSERT INTO a VALUES (1, 'x')").await;
    broker.run("INSERT INTO b VALUES (1, 'y')").await;
    let check = async |text: &str, expected: &[&str], lines: &[&str]| {
        let given = broker.run(text).await;
        assert_eq!(given.columns, expected, "{text}");
        assert_eq!(given.lines(), lines, "{text}");
    };
    check("SELECT * FROM a", &["id", "x"], &["1|x"]).await;
    check("TABLE a", &["id", "x"], &["1|x"]).await;
    check("SELECT * FROM a JOIN b ON a.id = b.id", &["id", "x", "id", "y"], &["1|x|1|y"]).await;
    check("SELECT b.*, a.x FROM a, b", &["id", "y", "x"], &["1|y|x"]).await;
    check("SELECT * FROM a JOIN b USING (id)", &["id", "x", "y"], &["1|x|y"]).await;
    check("SELECT * FROM a NATURAL JOIN b", &["id", "x", "y"], &["1|x|y"]).await;
    check("SELECT *, _offset FROM a", &["id", "x", "_offset"], &["1|x|0"]).await;
    check("SELECT * FROM (SELECT _offset, x FROM a)", &["_offset", "x"], &["0|x"]).await;
    check("SELECT * FROM (SELECT * FROM a) s, b", &["id", "x", "id", "y"], &["1|x|1|y"]).await;
    check("WITH a AS (SELECT 1 AS one) SELECT * FROM a", &["one"], &["1"]).await;
    check("SELECT s.* FROM public.a AS s", &["id", "x"], &["1|x"]).await;
    check("SELECT a.* FROM public.a", &["id", "x"], &["1|x"]).await;
    check("SELECT * FROM a WHERE id IN (SELECT id FROM b)", &["id", "x"], &["1|x"]).await;
    check(
        "SELECT * FROM (SELECT * FROM a UNION ALL SELECT * FROM b) u ORDER BY 2",
        &["id", "x"],
        &["1|x", "1|y"],
    )
    .await;
    check(
        "SELECT 1, 1, count(*), count(*) FROM a",
        &["?column?", "?column?", "count", "count"],
        &["1|1|1|1"],
    )
    .await;
}

#[tokio::test]
async fn rows_are_the_latest_values_and_the_log_is_their_history() {
    let broker = Broker::start();
    broker
        .run("CREATE STREAM aircraft (tailnum text PRIMARY KEY, seats int) WITH (mode = 'upsert', partitions = 3)")
        .await;
    for (number, value) in [(0, "{\"seats\":1}"), (1, "{\"seats\":2}"), (0, "{\"seats\":3}")] {
        let key = format!("N{number}");
        let partition =
            usize::try_from(anabranch_types::partitioner::partition_of(key.as_bytes(), 3).0)
                .expect("a partition");
        broker
            .produce_with("aircraft", &[(Some(&key), Some(value), partition)], Compression::Zstd)
            .await;
    }
    let partition =
        usize::try_from(anabranch_types::partitioner::partition_of(b"N1", 3).0).expect("one");
    broker.produce("aircraft", &[(Some("N1"), None, partition)]).await;
    assert_eq!(broker.lines("SELECT * FROM aircraft").await, ["N0|3"]);
    assert_eq!(
        broker.lines("SELECT tailnum, seats, _op FROM log.aircraft ORDER BY _ts, tailnum, seats NULLS LAST").await.len(),
        4
    );
    assert_eq!(
        broker.lines("SELECT count(*), count(seats) FROM log.aircraft WHERE _op = 'upsert'").await,
        ["3|3"]
    );
}

#[tokio::test]
async fn keys_are_looked_up() {
    let broker = Broker::start();
    broker.run("CREATE STREAM t (k text PRIMARY KEY, n int)").await;
    let values: Vec<_> = (0..300).map(|n| format!("('k{n:03}', {n})")).collect();
    broker.run(&format!("INSERT INTO t VALUES {}", values.join(", "))).await;
    let check = async |condition: &str, expected: &[&str]| {
        let lines = broker.lines(&format!("SELECT n FROM t WHERE {condition} ORDER BY n")).await;
        assert_eq!(lines, expected, "{condition}");
    };
    check("k = 'k007'", &["7"]).await;
    check("k = 'nothing'", &[]).await;
    check("k IN ('k001', 'k299', 'x')", &["1", "299"]).await;
    check("k > 'k297'", &["298", "299"]).await;
    check("k BETWEEN 'k010' AND 'k011'", &["10", "11"]).await;
    check("k LIKE 'k29%' AND n > 297", &["298", "299"]).await;
    check("k = 'k007' OR n = 8", &["7", "8"]).await;
    let plan = broker.lines("EXPLAIN SELECT n FROM t WHERE k = 'k007'").await.join("\n");
    assert!(plan.contains("keys=1"), "{plan}");
    let plan =
        broker.lines("EXPLAIN SELECT n FROM t WHERE k >= 'k2' AND k < 'k3'").await.join("\n");
    assert!(plan.contains("from=") && !plan.contains("FilterExec"), "{plan}");
    assert_eq!(broker.lines("SELECT count(*), sum(n) FROM t").await, ["300|44850"]);
}

#[tokio::test]
async fn a_prepared_lookup_is_answered_without_a_plan() {
    let broker = Broker::start();
    broker.run("CREATE STREAM t (k text PRIMARY KEY, n int)").await;
    broker.run("INSERT INTO t VALUES ('a', 1), ('b', 2)").await;
    let mut session = broker.session();
    let statement = parse("SELECT n, k FROM t WHERE k = $1").expect("sql").remove(0);
    let mut prepared = Arc::new(session.prepare(statement, Vec::new()).await.expect("a plan"));
    assert!(matches!(&prepared.plan, super::Plan::Query(plan) if plan.point.is_some()));
    for (key, expected) in [("b", vec!["2|b"]), ("a", vec!["1|a"]), ("x", vec![])] {
        let value = ScalarValue::Utf8(Some(key.to_owned()));
        let outcome = session.execute(&mut prepared, vec![value]).await.expect("rows");
        assert_eq!(collect(outcome).await.expect("rows").lines(), expected);
    }
    // A definition in between is noticed; one that changes the result is an error.
    broker.run("CREATE STREAM other").await;
    let value = ScalarValue::Utf8(Some("a".to_owned()));
    assert!(session.execute(&mut prepared, vec![value]).await.is_ok());
}

#[tokio::test]
async fn a_transaction_reads_one_cut_and_writes_at_its_end() {
    let broker = Broker::start();
    broker.run("CREATE STREAM t (k text PRIMARY KEY, n int)").await;
    broker.run("INSERT INTO t VALUES ('a', 1)").await;
    let mut session = broker.session();
    run(&mut session, "BEGIN").await.expect("begin");
    let before = run(&mut session, "SELECT count(*) FROM t").await.expect("rows").lines();
    broker.run("INSERT INTO t VALUES ('b', 2)").await;
    let after = run(&mut session, "SELECT count(*) FROM t").await.expect("rows").lines();
    assert_eq!((before, after), (vec!["1".to_owned()], vec!["1".to_owned()]));
    run(&mut session, "INSERT INTO t VALUES ('c', 3)").await.expect("insert");
    let own = run(&mut session, "SELECT k FROM t ORDER BY k").await.expect("its own").lines();
    assert_eq!(own, ["a", "c"]);
    let error = run(&mut session, "SELECT nothing").await.expect_err("no such column");
    assert_eq!(error.sqlstate, sqlstate::UNDEFINED_COLUMN);
    let error = run(&mut session, "SELECT 1").await.expect_err("failed");
    assert_eq!(error.sqlstate, sqlstate::TRANSACTION_FAILED);
    assert_eq!(run(&mut session, "COMMIT").await.expect("end").tag, "ROLLBACK");
    assert_eq!(broker.lines("SELECT k FROM t ORDER BY k").await, ["a", "b"]);

    run(
        &mut session,
        "BEGIN; INSERT INTO t VALUES ('c', 3); SAVEPOINT s; INSERT INTO t VALUES ('d', 4)",
    )
    .await
    .expect("inserts");
    run(&mut session, "ROLLBACK TO s; UPDATE t SET n = 10 WHERE k = 'a'; COMMIT")
        .await
        .expect("commit");
    assert_eq!(broker.lines("SELECT k, n FROM t ORDER BY k").await, ["a|10", "b|2", "c|3"]);

    // Somebody else writes a key that was decided upon.
    run(&mut session, "BEGIN; UPDATE t SET n = 0 WHERE k = 'b'").await.expect("update");
    broker.run("UPDATE t SET n = 5 WHERE k = 'b'").await;
    let error = run(&mut session, "COMMIT").await.expect_err("a conflict");
    assert_eq!(error.sqlstate, sqlstate::SERIALIZATION_FAILURE);
    assert_eq!(broker.lines("SELECT n FROM t WHERE k = 'b'").await, ["5"]);
}

#[tokio::test]
async fn a_transaction_sees_what_it_has_written() {
    let broker = Broker::start();
    broker.run("CREATE STREAM t (k text PRIMARY KEY, n int) WITH (partitions = 3)").await;
    broker.run("CREATE STREAM e (n int) WITH (partitions = 2)").await;
    broker.run("INSERT INTO t VALUES ('b', 2), ('d', 4), ('f', 6)").await;
    broker.run("INSERT INTO e VALUES (1)").await;
    let mut session = broker.session();
    let mut run = async |text: &str| run(&mut session, text).await.expect(text).lines();
    run("BEGIN; INSERT INTO t VALUES ('a', 1), ('g', 7); DELETE FROM t WHERE k = 'd'").await;
    run("UPDATE t SET n = 60 WHERE k = 'f'; INSERT INTO e VALUES (2), (3)").await;
    assert_eq!(run("SELECT k, n FROM t").await, ["a|1", "b|2", "f|60", "g|7"]);
    assert_eq!(run("SELECT k FROM t WHERE k >= 'b' AND k < 'g'").await, ["b", "f"]);
    assert_eq!(run("SELECT k FROM t WHERE k > 'c' AND k < 'b'").await, [""; 0]);
    assert_eq!(run("SELECT n FROM t WHERE k = 'f'").await, ["60"]);
    assert_eq!(run("SELECT n FROM t WHERE k = 'd'").await, [""; 0]);
    assert_eq!(
        run("SELECT k FROM t WHERE k IN ('a', 'b', 'd') ORDER BY n LIMIT 2").await,
        ["a", "b"]
    );
    assert_eq!(run("SELECT sum(n), count(*) FROM e").await, ["6|3"]);
    // The log is what was appended.
    assert_eq!(run("SELECT count(*) FROM log.e").await, ["1"]);
    // Written once more, by what it sees.
    run("UPDATE t SET n = n + 1 WHERE n >= 60; DELETE FROM t WHERE k = 'a'").await;
    run("INSERT INTO t VALUES ('d', 40), ('f', 0) ON CONFLICT (k) DO UPDATE SET n = t.n * 10")
        .await;
    run("SAVEPOINT s; DELETE FROM t; INSERT INTO e SELECT n FROM e; INSERT INTO t VALUES ('z', 0)")
        .await;
    assert_eq!(run("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM e)").await, ["1|6"]);
    run("ROLLBACK TO s").await;
    assert_eq!(run("SELECT k, n FROM t").await, ["b|2", "d|40", "f|610", "g|7"]);
    assert_eq!(broker.lines("SELECT k, n FROM t").await, ["b|2", "d|4", "f|6"]);
    run("COMMIT").await;
    assert_eq!(broker.lines("SELECT k, n FROM t").await, ["b|2", "d|40", "f|610", "g|7"]);
    assert_eq!(broker.lines("SELECT n FROM e ORDER BY n").await, ["1", "2", "3"]);
    // Of each key, what the transaction left: 'a' as deleted.
    let log = "SELECT k, _op FROM log.t WHERE n IS DISTINCT FROM 2 ORDER BY k, _offset";
    assert_eq!(
        broker.lines(log).await,
        ["a|delete", "d|upsert", "d|upsert", "f|upsert", "f|upsert", "g|upsert"]
    );
}

#[tokio::test]
async fn what_is_local_ends_with_several_statements() {
    let broker = Broker::start();
    let mut session = broker.session();
    let timeout = async |session: &mut crate::session::Session| {
        run(session, "SHOW statement_timeout").await.expect("rows").lines()
    };
    let before = timeout(&mut session).await;
    for fails in [false, true] {
        session.begin_implicit();
        run(&mut session, "SET LOCAL statement_timeout = '7s'").await.expect("set");
        assert_eq!(timeout(&mut session).await, ["7s"]);
        match fails {
            false => session.commit_implicit().await.expect("nothing to commit"),
            true => session.fail(),
        }
        assert_eq!(timeout(&mut session).await, before, "fails: {fails}");
    }
}

#[tokio::test]
async fn rows_locked_for_update_make_a_conflict() {
    let broker = Broker::start();
    broker.run("CREATE STREAM t (k text PRIMARY KEY, n int)").await;
    broker.run("CREATE STREAM u (k text PRIMARY KEY, n int)").await;
    broker.run("INSERT INTO t VALUES ('a', 1), ('b', 2)").await;
    let mut session = broker.session();
    for (lock, conflicts) in [
        ("SELECT n FROM t WHERE k = 'a' FOR UPDATE", true),
        ("SELECT n FROM t ORDER BY n LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED", true),
        ("SELECT t.n FROM t JOIN u USING (k) FOR UPDATE", false),
        ("SELECT n FROM t WHERE k = 'b' FOR UPDATE", false),
        ("SELECT x.n FROM t AS x, t AS y WHERE x.k = 'b' AND y.k = 'a' FOR UPDATE OF x", false),
        ("SELECT n FROM t WHERE k = 'a'", false),
    ] {
        run(&mut session, "BEGIN").await.expect("begin");
        run(&mut session, lock).await.expect(lock);
        run(&mut session, "INSERT INTO u VALUES ('x', 1)").await.expect("insert");
        broker.run("UPDATE t SET n = n WHERE k = 'a'").await;
        let ended = run(&mut session, "COMMIT").await.map_err(|error| error.sqlstate);
        let expected = if conflicts { Err(sqlstate::SERIALIZATION_FAILURE) } else { Ok(()) };
        assert_eq!(ended.map(|_| ()), expected, "{lock}");
        broker.run("DELETE FROM u").await;
    }
    let error = broker.fails("SELECT count(*) FROM t GROUP BY n FOR UPDATE").await;
    assert_eq!(error.sqlstate, sqlstate::FEATURE_NOT_SUPPORTED);
}

#[tokio::test]
async fn settings_do_something_or_are_refused() {
    let broker = Broker::start();
    let mut session = broker.session();
    let given = run(&mut session, "SET statement_timeout = '30s'; SHOW statement_timeout").await;
    assert_eq!(given.expect("rows").lines(), ["30s"]);
    let given = run(
        &mut session,
        "SELECT current_setting('statement_timeout'), current_user, current_schema()",
    )
    .await;
    assert_eq!(given.expect("rows").lines(), ["30s|tester|public"]);
    run(&mut session, "SET read_freshness = 'strong'").await.expect("strong");
    let check = async |text: &str, expected: &str| {
        assert_eq!(broker.fails(text).await.sqlstate, expected, "{text}");
    };
    check("SET read_freshness = 'eventual'", sqlstate::FEATURE_NOT_SUPPORTED).await;
    check("SET client_encoding = 'LATIN1'", sqlstate::INVALID_PARAMETER).await;
    check("SET nonsense = 1", sqlstate::UNDEFINED_OBJECT).await;
    check("SET server_version = '16'", "55P02").await;
    check("SHOW nonsense", sqlstate::UNDEFINED_OBJECT).await;
    assert!(broker.lines("SELECT version()").await[0].starts_with("PostgreSQL 15"));
}

#[tokio::test]
async fn errors_have_postgresql_codes_and_say_what_to_do() {
    let broker = flights().await;
    let check = async |text: &str, expected: &str| {
        let error = broker.fails(text).await;
        assert_eq!(error.sqlstate, expected, "{text}: {error}");
    };
    check("SELECT * FROM nothing", sqlstate::UNDEFINED_TABLE).await;
    check("SELECT carrier FROM flights", sqlstate::UNDEFINED_COLUMN).await;
    check("SELECT nothing(1)", sqlstate::UNDEFINED_FUNCTION).await;
    check("SELECT 1/0", sqlstate::DIVISION_BY_ZERO).await;
    check("SELECT 'x'::int", sqlstate::INVALID_TEXT).await;
    check("SELECT 1 +", sqlstate::SYNTAX_ERROR).await;
    check("UPDATE flights SET _json = '{}'", sqlstate::FEATURE_NOT_SUPPORTED).await;
    check("DELETE FROM flights", sqlstate::FEATURE_NOT_SUPPORTED).await;
    check("DROP STREAM nothing", sqlstate::UNDEFINED_TABLE).await;
    check("CREATE STREAM flights", sqlstate::DUPLICATE_TABLE).await;
    check("INSERT INTO log.flights VALUES (1)", sqlstate::WRONG_OBJECT_TYPE).await;
    let error = broker.fails("SELECT carrier FROM flights").await;
    assert!(error.hint.is_some_and(|hint| hint.contains("_json->>'carrier'")));
}

#[tokio::test]
async fn a_statement_ends_at_its_timeout() {
    let broker = Broker::start();
    let error = broker
        .fails(
            "SET statement_timeout = 50; SELECT count(*) FROM generate_series(1, 100000000000) a",
        )
        .await;
    assert_eq!(error.sqlstate, sqlstate::QUERY_CANCELED);
}

#[tokio::test]
async fn the_system_catalogue_describes_streams() {
    let broker = flights().await;
    broker.run("CREATE STREAM t (id int, name text NOT NULL, doc json, PRIMARY KEY (id))").await;
    assert_eq!(
        broker
            .lines("SELECT name, mode, key, partitions, records FROM sys.streams ORDER BY 1")
            .await,
        ["flights|append||1|3", "t|upsert|id|1|0"]
    );
    assert_eq!(
        broker
            .lines(
                "SELECT stream, partition, log_start, high_watermark FROM sys.partitions ORDER BY 1"
            )
            .await,
        ["flights|0|0|3", "t|0|0|0"]
    );
    assert_eq!(
        broker
            .lines(
                "SELECT column_name, data_type, is_nullable FROM information_schema.columns \
                 WHERE table_schema = 'public' AND table_name = 't' ORDER BY ordinal_position"
            )
            .await,
        ["id|integer|NO", "name|text|NO", "doc|json|YES"]
    );
    assert_eq!(
        broker
            .lines(
                "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
                 ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relkind = 'r' \
                 AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1"
            )
            .await,
        ["flights", "t"]
    );
}

#[tokio::test]
async fn a_cursor_reads_at_its_transaction_s_cut() {
    let broker = Broker::start();
    broker.run("CREATE STREAM a (k bigint PRIMARY KEY)").await;
    broker.run("INSERT INTO a SELECT k FROM generate_series(1, 30000) AS s(k)").await;
    let (mut session, mut other) = (broker.session(), broker.session());
    run(&mut session, "BEGIN; DECLARE c CURSOR FOR SELECT k FROM a ORDER BY k")
        .await
        .expect("runs");
    run(&mut other, "DELETE FROM a WHERE k > 2").await.expect("runs");
    let given = run(&mut session, "FETCH 2 FROM c").await.expect("rows");
    assert_eq!(given.tag, "FETCH 2");
    assert_eq!(given.lines(), ["1", "2"]);
    let moved = run(&mut session, "MOVE 20000 FROM c").await.expect("moves");
    assert_eq!(moved.tag, "MOVE 20000");
    let next = run(&mut session, "FETCH c").await.expect("rows");
    assert_eq!(next.lines(), ["20003"]);
    let back = run(&mut session, "FETCH PRIOR FROM c").await;
    assert_eq!(back.expect_err("forward only").sqlstate, sqlstate::OBJECT_NOT_IN_STATE);
    run(&mut session, "ROLLBACK").await.expect("runs");
    let gone = run(&mut session, "FETCH c").await;
    assert_eq!(gone.expect_err("closed").sqlstate, sqlstate::INVALID_CURSOR_NAME);
    let alone = run(&mut session, "DECLARE c CURSOR FOR SELECT 1").await;
    assert_eq!(alone.expect_err("no transaction").sqlstate, sqlstate::NO_TRANSACTION);
    run(&mut session, "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT k FROM a; COMMIT")
        .await
        .expect("runs");
    assert_eq!(run(&mut session, "FETCH ALL c").await.expect("rows").lines().len(), 2);
    run(&mut session, "CLOSE c").await.expect("closes");
}

#[tokio::test]
async fn what_does_not_fit_is_kept_and_listed() {
    let broker = Broker::start();
    let none = "SELECT count(*) FROM sys.dead_letters";
    assert_eq!(broker.lines(none).await, ["0"]);
    broker.run("CREATE TABLE f (k text PRIMARY KEY, n int, day date)").await;
    broker.run("CREATE TABLE \"Raw\" (n int)").await;
    broker.run("CREATE TABLE plain WITH (partitions = 2)").await;
    let records = [
        ("a", r#"{"n":1,"day":"2024-01-01"}"#),
        ("b", r#"{"n":"x","day":"2024-01-01"}"#),
        ("c", "no json"),
        ("d", r#"{"n":[1],"day":"never"}"#),
        ("e", "{}"),
    ];
    for (key, value) in records {
        broker.produce("f", &[(Some(key), Some(value), 0)]).await;
        broker.produce("Raw", &[(None, Some(value), 0)]).await;
        broker.produce("plain", &[(None, Some(value), 0)]).await;
    }
    broker.produce("f", &[(Some("e"), None, 0)]).await;
    assert_eq!(
        broker.lines("SELECT k, _misfits FROM f ORDER BY k").await,
        ["a|", "b|{n}", "c|{_value}", "d|{day,n}"]
    );
    assert_eq!(broker.lines("SELECT n, _misfits FROM f WHERE k = 'b'").await, ["|{n}"]);
    assert_eq!(broker.run("SELECT * FROM f").await.columns, ["k", "n", "day"]);
    assert_eq!(
        broker
            .lines(
                "SELECT stream, partition, \"offset\", convert_from(key, 'UTF8'), misfits FROM \
                 sys.dead_letters ORDER BY 1, 3"
            )
            .await,
        [
            "Raw|0|1||{n}",
            "Raw|0|2||{_value}",
            "Raw|0|3||{n}",
            "f|0|1|b|{n}",
            "f|0|2|c|{_value}",
            "f|0|3|d|{day,n}"
        ]
    );
    assert_eq!(
        broker.lines("SELECT count(*) FROM sys.dead_letters d WHERE d.stream = 'f'").await,
        ["3"]
    );
    // What is corrected is a dead letter of the past.
    broker.run("UPDATE f SET n = 2 WHERE k = 'b'").await;
    assert_eq!(broker.lines("SELECT count(*) FROM f WHERE _misfits IS NOT NULL").await, ["2"]);
    let error = broker.fails("INSERT INTO f (k, _misfits) VALUES ('x', NULL)").await;
    assert_eq!(error.sqlstate, "428C9", "{error}");
}

#[tokio::test]
async fn what_is_not_at_hand_is_looked_up_by_the_query_threads() {
    let broker = Broker::start();
    broker.run("CREATE STREAM a (k bigint PRIMARY KEY, n int)").await;
    broker.run("INSERT INTO a SELECT k, 0 FROM generate_series(1, 100) AS s(k)").await;
    // More keys than are looked up where the connection is served.
    let keys: Vec<_> = (1..=40).map(|key| key.to_string()).collect();
    let update = format!("UPDATE a SET n = n + 1 WHERE k IN ({})", keys.join(", "));
    assert_eq!(broker.run(&update).await.tag, "UPDATE 40");
    let mut session = broker.session();
    let all = format!("BEGIN; UPDATE a SET n = 5 WHERE k = 7; {update}; {update}; COMMIT");
    run(&mut session, &all).await.expect("nobody else writes");
    assert_eq!(
        broker.lines("SELECT n, count(*) FROM a GROUP BY n ORDER BY n").await,
        ["0|60", "3|39", "7|1"]
    );
    let delete = format!("DELETE FROM a WHERE k IN ({})", keys.join(", "));
    assert_eq!(broker.run(&delete).await.tag, "DELETE 40");
}

#[tokio::test]
async fn long_series_are_called_as_short_ones_are() {
    let broker = Broker::start();
    for (text, expected) in [
        ("SELECT n, n + 1 FROM generate_series(1, 200000) n WHERE n > 199999", "200000|200001"),
        ("SELECT max(generate_series) FROM generate_series(1, 200000)", "200000"),
        ("SELECT count(g.k) FROM generate_series(1, 200000) AS g (k)", "200000"),
    ] {
        assert_eq!(broker.lines(text).await, [expected], "{text}");
    }
}
