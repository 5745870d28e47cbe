use crate::error::sqlstate;
use crate::pending::{Event, Pending};
use crate::session::Session;
use crate::sql::{Settings, Sql};
use crate::testing::{Broker, run};
use anabranch_engine::Engine;
use anabranch_types::Timestamp;
use bytes::Bytes;
use std::time::Duration;

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(60);

async fn keyed() -> Broker {
    let broker = Broker::start();
    broker
        .run("CREATE STREAM t (k text PRIMARY KEY, n int, note text) WITH (mode = 'upsert', partitions = 2)")
        .await;
    broker
}

#[tokio::test]
async fn rows_become_events() {
    let broker = keyed().await;
    let given = broker.run("INSERT INTO t (k, n) VALUES ('a', 1), ('b', NULL)").await;
    assert_eq!(given.tag, "INSERT 0 2");
    assert_eq!(
        broker.lines("SELECT _json FROM log.t ORDER BY k").await,
        [r#"{"k":"a","n":1}"#, r#"{"k":"b","n":null}"#]
    );
    assert_eq!(broker.lines("SELECT * FROM t ORDER BY k").await, ["a|1|", "b||"]);
    let given = broker.run("INSERT INTO t SELECT 'c' || n, n + 1, 'it''s' FROM t WHERE n > 0 RETURNING k, n * 2 AS twice").await;
    assert_eq!(
        (given.columns.clone(), given.lines()),
        (vec!["k".to_owned(), "twice".to_owned()], vec!["c1|4".to_owned()])
    );
    assert_eq!(broker.lines("SELECT note FROM t WHERE k = 'c1'").await, ["it's"]);
}

#[tokio::test]
async fn keys_are_unique() {
    let broker = keyed().await;
    broker.run("INSERT INTO t VALUES ('a', 1)").await;
    let check = async |text: &str, expected: &str| {
        assert_eq!(broker.fails(text).await.sqlstate, expected, "{text}");
    };
    check("INSERT INTO t VALUES ('a', 2)", sqlstate::UNIQUE_VIOLATION).await;
    check("INSERT INTO t VALUES ('x', 1), ('x', 2)", sqlstate::UNIQUE_VIOLATION).await;
    check("INSERT INTO t (n) VALUES (1)", sqlstate::NOT_NULL_VIOLATION).await;
    check("INSERT INTO t (k) VALUES (NULL)", sqlstate::NOT_NULL_VIOLATION).await;
    check("INSERT INTO t (k, nothing) VALUES ('y', 1)", sqlstate::UNDEFINED_COLUMN).await;
    check("INSERT INTO t (k, n) VALUES ('y', 'no number')", sqlstate::INVALID_TEXT).await;
    check("INSERT INTO t (k, n) VALUES ('y')", sqlstate::SYNTAX_ERROR).await;
    check("INSERT INTO t VALUES ('y', 1, 'z', 2)", sqlstate::SYNTAX_ERROR).await;
    check("INSERT INTO t (k, k) VALUES ('y', 'z')", sqlstate::DUPLICATE_COLUMN).await;
    check("INSERT INTO t (k, _offset) VALUES ('y', 1)", "428C9").await;
    // Nothing of a statement that failed was written.
    assert_eq!(broker.lines("SELECT k, n FROM t").await, ["a|1"]);
    assert_eq!(broker.lines("SELECT count(*) FROM log.t").await, ["1"]);
}

#[tokio::test]
async fn a_large_statement_waits_for_nobody_but_others() {
    let broker = keyed().await;
    broker.run("ALTER STREAM t SET (max_message_bytes = 16000000)").await;
    // More than half of what may be in flight, as two rows.
    let insert = "INSERT INTO t (k, note) SELECT 'k' || n, repeat('x', 5000000) \
                  FROM generate_series(1, 2) AS all_rows (n)";
    let inserted = tokio::time::timeout(SOON, broker.run(insert)).await;
    assert_eq!(inserted.expect("it does not wait for itself").tag, "INSERT 0 2");
    let after = tokio::time::timeout(SOON, broker.run("INSERT INTO t (k) VALUES ('after')")).await;
    assert_eq!(after.expect("others go on").tag, "INSERT 0 1");
}

#[tokio::test]
async fn conflicts_are_passed_over_or_update() {
    let broker = keyed().await;
    broker.run("INSERT INTO t VALUES ('a', 1, 'old')").await;
    let given = broker.run("INSERT INTO t VALUES ('a', 2), ('b', 3) ON CONFLICT DO NOTHING").await;
    assert_eq!(given.tag, "INSERT 0 1");
    let given = broker
        .run(
            "INSERT INTO t (k, n) VALUES ('a', 10), ('c', 30) ON CONFLICT (k) \
             DO UPDATE SET n = t.n + excluded.n WHERE t.n < 100 RETURNING *",
        )
        .await;
    assert_eq!(given.lines(), ["c|30|", "a|11|old"]);
    let given = broker
        .run("INSERT INTO t AS r VALUES ('a', 1) ON CONFLICT (k) DO UPDATE SET n = 0 WHERE n > 100")
        .await;
    assert_eq!(given.tag, "INSERT 0 0");
    assert_eq!(broker.lines("SELECT * FROM t ORDER BY k").await, ["a|11|old", "b|3|", "c|30|"]);
    let check = async |text: &str, expected: &str| {
        assert_eq!(broker.fails(text).await.sqlstate, expected, "{text}");
    };
    check(
        "INSERT INTO t VALUES ('a', 1), ('a', 2) ON CONFLICT (k) DO UPDATE SET n = 1",
        sqlstate::CARDINALITY_VIOLATION,
    )
    .await;
    check("INSERT INTO t VALUES ('a', 1) ON CONFLICT (n) DO NOTHING", "42P10").await;
    check(
        "INSERT INTO t VALUES ('a', 1) ON CONFLICT (k) DO UPDATE SET k = 'z'",
        sqlstate::FEATURE_NOT_SUPPORTED,
    )
    .await;
}

#[tokio::test]
async fn rows_are_updated_and_deleted_by_what_where_says() {
    let broker = keyed().await;
    broker.run("INSERT INTO t VALUES ('a', 1, 'x'), ('b', 2, 'y'), ('c', 3, 'z')").await;
    // What DataFusion's own hooks get wrong.
    assert_eq!(broker.run("DELETE FROM t WHERE false").await.tag, "DELETE 0");
    assert_eq!(
        broker.run("UPDATE t SET n = n * 10 WHERE k IN (SELECT k FROM t WHERE n > 1)").await.tag,
        "UPDATE 2"
    );
    assert_eq!(
        broker.lines("SELECT k, n, note FROM t ORDER BY k").await,
        ["a|1|x", "b|20|y", "c|30|z"]
    );
    assert_eq!(
        broker.run("DELETE FROM t AS r WHERE r.k IN (SELECT k FROM t WHERE n > 20)").await.tag,
        "DELETE 1"
    );
    assert_eq!(broker.run("UPDATE t SET note = NULL, n = 5 WHERE k = 'a'").await.tag, "UPDATE 1");
    assert_eq!(broker.lines("SELECT * FROM t ORDER BY k").await, ["a|5|", "b|20|y"]);
    // Fields that nobody declared stay.
    broker.run("CREATE STREAM u (k text PRIMARY KEY, n int)").await;
    broker.produce("u", &[(Some("a"), Some(r#"{"n":1,"more":[1,2]}"#), 0)]).await;
    broker.run("UPDATE u SET n = 2").await;
    assert_eq!(broker.lines("SELECT _json FROM u").await, [r#"{"more":[1,2],"n":2}"#]);
}

#[tokio::test]
async fn statements_return_what_they_wrote() {
    let broker = keyed().await;
    broker.run("INSERT INTO t VALUES ('a', 1, 'x'), ('b', 2, 'y'), ('c', 3, 'z')").await;
    let given =
        broker.run("UPDATE t AS r SET n = n + 10 WHERE n > 1 RETURNING r.*, n * 2 AS twice").await;
    assert_eq!(given.columns, ["k", "n", "note", "twice"]);
    assert_eq!(
        (given.tag.as_str(), given.lines()),
        ("UPDATE 2", vec!["b|12|y|24".to_owned(), "c|13|z|26".to_owned()])
    );
    let given = broker.run("DELETE FROM t WHERE k = 'b' RETURNING *").await;
    assert_eq!((given.tag.as_str(), given.lines()), ("DELETE 1", vec!["b|12|y".to_owned()]));
    let given = broker.run("DELETE FROM t WHERE false RETURNING k").await;
    assert_eq!((given.columns.clone(), given.rows.len()), (vec!["k".to_owned()], 0));
    let given = broker
        .run("INSERT INTO t AS r VALUES ('d', 4) RETURNING r.k || '!', _json->>'n' AS n")
        .await;
    assert_eq!(given.lines(), ["d!|4"]);
    assert_eq!(
        broker.fails("DELETE FROM t RETURNING nothing").await.sqlstate,
        sqlstate::UNDEFINED_COLUMN
    );
    assert_eq!(broker.fails("DELETE FROM t RETURNING u.*").await.sqlstate, "42P01");
    assert_eq!(broker.lines("SELECT k FROM t ORDER BY k").await, ["a", "c", "d"]);
}

#[tokio::test]
async fn expressions_of_writes_know_their_session() {
    let broker = keyed().await;
    broker.run("CREATE SEQUENCE s").await;
    let version = broker.lines("SELECT version()").await;
    let given = broker
        .run("INSERT INTO t (k, note) VALUES ('a', version()) RETURNING note, version(), upper(k)")
        .await;
    assert_eq!(given.lines(), [format!("{0}|{0}|A", version[0])]);
    assert_eq!(given.columns, ["note", "version", "upper"]);
    // By key, and with what only a query can take.
    let mut session = broker.session();
    let updated = run(&mut session, "UPDATE t SET n = nextval('s') WHERE k = 'a'").await;
    assert_eq!(updated.expect("taken").tag, "UPDATE 1");
    let given = run(
        &mut session,
        "UPDATE t SET n = n + 10, note = current_user WHERE k = 'a' RETURNING *, currval('s')",
    )
    .await;
    assert_eq!(given.expect("rows").lines(), ["a|11|tester|1"]);
    let on_conflict = "INSERT INTO t (k) VALUES ('a') ON CONFLICT (k) DO UPDATE SET note = current_database() RETURNING note";
    let given = run(&mut session, on_conflict).await.expect("rows");
    assert_eq!(given.lines(), broker.lines("SELECT current_database()").await);
}

#[tokio::test]
async fn rows_are_found_by_joins() {
    let broker = keyed().await;
    broker.run("CREATE STREAM u (id int PRIMARY KEY, k text, more int)").await;
    broker.run("INSERT INTO t VALUES ('a', 1, 'x'), ('b', 2, 'y'), ('c', 3, 'z')").await;
    broker
        .run("INSERT INTO u VALUES (1, 'a', 100), (2, 'b', 200), (3, 'b', 200), (4, 'q', 0)")
        .await;
    let given = broker
        .run("UPDATE t SET n = t.n + u.more FROM u WHERE u.k = t.k RETURNING t.k, t.n, u.more")
        .await;
    assert_eq!(given.tag, "UPDATE 2");
    let mut lines = given.lines();
    lines.sort();
    assert_eq!(lines, ["a|101|100", "b|202|200"]);
    let given = broker
        .run(
            "UPDATE t SET (n, note) = (v.n, v.note) FROM (VALUES ('a', 5, 'five'), ('c', 6, 'six')) \
             AS v (k, n, note) WHERE t.k = v.k RETURNING *",
        )
        .await;
    assert_eq!(given.columns, ["k", "n", "note", "k", "n", "note"]);
    assert_eq!(given.rows.len(), 2);
    assert_eq!(
        broker.lines("SELECT * FROM t ORDER BY k").await,
        ["a|5|five", "b|202|y", "c|6|six"]
    );
    broker.run("UPDATE t SET (n, note) = (SELECT max(more), 'max' FROM u WHERE u.k = t.k) WHERE k = 'b'").await;
    assert_eq!(broker.lines("SELECT * FROM t WHERE k = 'b'").await, ["b|200|max"]);
    let given = broker.run("WITH gone AS (SELECT k FROM u WHERE more > 100) DELETE FROM t USING gone WHERE gone.k = t.k").await;
    assert_eq!(given.tag, "DELETE 1");
    let given = broker.run("DELETE FROM t USING u, (SELECT 5 AS five) f WHERE u.k = t.k AND t.n = f.five RETURNING u.id, five").await;
    assert_eq!(given.lines(), ["1|5"]);
    broker.run("WITH n AS (SELECT 9 AS nine) INSERT INTO t SELECT 'w', nine FROM n").await;
    assert_eq!(broker.lines("SELECT k, n FROM t ORDER BY k").await, ["c|6", "w|9"]);
    let check = async |text: &str, expected: &str| {
        assert_eq!(broker.fails(text).await.sqlstate, expected, "{text}");
    };
    check("UPDATE t SET (n, note) = (1, 'a', 2)", sqlstate::SYNTAX_ERROR).await;
    check("UPDATE t SET n = 1, n = 2", sqlstate::SYNTAX_ERROR).await;
    check("UPDATE t SET n = u.more FROM u WHERE k = 'c'", "42702").await;
    check("WITH x AS (DELETE FROM t RETURNING k) SELECT * FROM x", sqlstate::FEATURE_NOT_SUPPORTED)
        .await;
}

#[tokio::test]
async fn keys_are_changed_as_one() {
    let broker = Broker::start();
    broker
        .run("CREATE STREAM t (a int, b text, n int, PRIMARY KEY (a, b)) WITH (partitions = 3)")
        .await;
    broker.run("INSERT INTO t VALUES (1, 'x', 10), (2, 'x', 20), (3, 'x', 30)").await;
    // As a whole, not row by row.
    let given = broker.run("UPDATE t SET a = a + 1, n = n + 1 RETURNING a, b, n").await;
    assert_eq!(given.tag, "UPDATE 3");
    assert_eq!(
        broker.lines("SELECT a, b, n FROM t ORDER BY a").await,
        ["2|x|11", "3|x|21", "4|x|31"]
    );
    assert_eq!(broker.lines("SELECT _json->>'a' FROM t ORDER BY a").await, ["2", "3", "4"]);
    let check = async |text: &str, expected: &str| {
        assert_eq!(broker.fails(text).await.sqlstate, expected, "{text}");
    };
    check("UPDATE t SET a = 2 WHERE a = 3", sqlstate::UNIQUE_VIOLATION).await;
    check("UPDATE t SET a = 9", sqlstate::UNIQUE_VIOLATION).await;
    check("UPDATE t SET a = NULL", sqlstate::NOT_NULL_VIOLATION).await;
    broker.run("UPDATE t SET b = 'y' WHERE a = 2").await;
    assert_eq!(broker.lines("SELECT n FROM t WHERE a = 2 AND b = 'y'").await, ["11"]);
    assert_eq!(broker.lines("SELECT count(*) FROM t").await, ["3"]);
    let mut session = broker.session();
    run(&mut session, "BEGIN; UPDATE t SET a = 5 WHERE a = 4").await.expect("moved");
    let own = run(&mut session, "SELECT a FROM t ORDER BY a").await.expect("rows").lines();
    assert_eq!(own, ["2", "3", "5"]);
    // The new key is taken meanwhile.
    broker.run("INSERT INTO t VALUES (5, 'x', 0)").await;
    let error = run(&mut session, "COMMIT").await.expect_err("a conflict");
    assert_eq!(error.sqlstate, sqlstate::SERIALIZATION_FAILURE);
}

#[tokio::test]
async fn truncate_empties_streams() {
    let broker = keyed().await;
    broker.run("CREATE STREAM e (n int) WITH (partitions = 2)").await;
    broker.run("INSERT INTO t VALUES ('a', 1), ('b', 2)").await;
    broker.run("INSERT INTO e VALUES (1), (2)").await;
    let mut session = broker.session();
    run(&mut session, "BEGIN; INSERT INTO t VALUES ('c', 3); TRUNCATE TABLE t")
        .await
        .expect("within");
    assert_eq!(run(&mut session, "SELECT count(*) FROM t").await.expect("rows").lines(), ["0"]);
    run(&mut session, "ROLLBACK").await.expect("rollback");
    assert_eq!(broker.lines("SELECT count(*) FROM t").await, ["2"]);
    let error = run(&mut session, "BEGIN; TRUNCATE e").await.expect_err("cannot be undone");
    assert_eq!(error.sqlstate, sqlstate::TRANSACTION_ACTIVE);
    assert_eq!(broker.run("TRUNCATE t, e RESTRICT").await.tag, "TRUNCATE TABLE");
    assert_eq!(
        broker.lines("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM e)").await,
        ["0|0"]
    );
    broker.run("INSERT INTO t VALUES ('a', 3); INSERT INTO e VALUES (3)").await;
    assert_eq!(broker.lines("SELECT t.n, e.n FROM t, e").await, ["3|3"]);
    // Nothing to undo.
    run(&mut broker.session(), "BEGIN; TRUNCATE e; COMMIT").await.expect_err("not empty");
    broker.run("TRUNCATE e").await;
    run(&mut broker.session(), "BEGIN; TRUNCATE e; COMMIT").await.expect("empty");
}

#[tokio::test]
async fn a_statement_writes_more_than_one_batch_takes() {
    let broker = Broker::start();
    broker.run("CREATE STREAM t (k int PRIMARY KEY, note text) WITH (partitions = 1)").await;
    broker.run("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 9000) AS all_rows (n)").await;
    assert_eq!(broker.lines("SELECT count(*), sum(length(note)) FROM t").await, ["9000|9000000"]);
    assert_eq!(broker.lines("SELECT count(*) FROM log.t").await, ["9000"]);
    let error = broker.fails("INSERT INTO t VALUES (0, repeat('x', 2000000))").await;
    assert_eq!(error.sqlstate, sqlstate::PROGRAM_LIMIT_EXCEEDED);
}

#[tokio::test]
async fn streams_without_columns_take_keys_and_json() {
    let broker = Broker::start();
    broker.run("CREATE STREAM e WITH (partitions = 2)").await;
    broker.run(r#"INSERT INTO e (_key, _json) VALUES ('k', '{"a": 1}'), (NULL, '2')"#).await;
    broker.run(r"INSERT INTO e (_value) VALUES ('\xff00')").await;
    assert_eq!(
        broker
            .lines("SELECT _key, _json->>'a' FROM e WHERE _json IS NOT NULL ORDER BY 1 NULLS LAST")
            .await,
        ["6b|1", "|"]
    );
    let error = broker.fails("INSERT INTO e (_json) VALUES ('{')").await;
    assert_eq!(error.sqlstate, sqlstate::INVALID_TEXT);
    broker.run("CREATE STREAM c WITH (mode = 'upsert')").await;
    broker.run("INSERT INTO c (_key, _json) VALUES ('k', '1')").await;
    let error = broker.fails("INSERT INTO c (_key, _json) VALUES ('k', '2')").await;
    assert_eq!(error.sqlstate, sqlstate::UNIQUE_VIOLATION);
}

#[tokio::test]
async fn of_those_who_insert_one_key_one_wins() {
    let broker = keyed().await;
    let mut running = Vec::new();
    for number in 0..20 {
        let mut session = broker.session();
        running.push(tokio::spawn(async move {
            run(&mut session, &format!("INSERT INTO t VALUES ('same', {number})")).await
        }));
    }
    let mut won = 0;
    for task in running {
        match task.await.expect("no panic") {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error.sqlstate, sqlstate::UNIQUE_VIOLATION, "{error}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(broker.lines("SELECT count(*) FROM log.t").await, ["1"]);
}

#[tokio::test]
async fn concurrent_updates_lose_nothing() {
    let broker = keyed().await;
    broker.run("INSERT INTO t VALUES ('a', 0)").await;
    let mut running = Vec::new();
    for _ in 0..4 {
        let mut session = broker.session();
        running.push(tokio::spawn(async move {
            for _ in 0..5 {
                loop {
                    match run(&mut session, "UPDATE t SET n = n + 1 WHERE k = 'a'").await {
                        Ok(_) => break,
                        Err(error) => {
                            assert_eq!(error.sqlstate, sqlstate::SERIALIZATION_FAILURE, "{error}")
                        }
                    }
                }
            }
        }));
    }
    for task in running {
        task.await.expect("no panic");
    }
    assert_eq!(broker.lines("SELECT n FROM t").await, ["20"]);
}

#[tokio::test]
async fn a_statement_that_writes_too_much_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = Engine::open(anabranch_engine::Settings::new(directory.path()));
    let engine = engine.expect("an engine").own_session();
    let settings = Settings { threads: 2, memory_bytes_max: 32 << 20, ..Settings::default() };
    let sql = Sql::start(engine.clone(), settings).expect("query threads");
    let mut session = Session::new(sql.clone(), "tester");
    run(&mut session, "CREATE STREAM e (n int, note text)").await.expect("free");
    let insert = "INSERT INTO e SELECT n, repeat('x', 1000) FROM generate_series(1, 20000) n";
    let error = run(&mut session, insert).await.expect_err("more than the memory");
    assert_eq!(error.sqlstate, sqlstate::OUT_OF_MEMORY, "{error}");
    // In a transaction, all of its statements count.
    let insert = "INSERT INTO e SELECT n, repeat('x', 1000) FROM generate_series(1, 8000) n";
    run(&mut session, &format!("BEGIN; {insert}")).await.expect("half of the memory");
    let error = run(&mut session, insert).await.expect_err("more than the memory");
    assert_eq!(error.sqlstate, sqlstate::OUT_OF_MEMORY, "{error}");
    run(&mut session, "ROLLBACK").await.expect("a failed transaction");
    // What was held is free again.
    run(&mut session, insert).await.expect("within the memory");
    let count = run(&mut session, "SELECT count(*) FROM e").await.expect("a query");
    assert_eq!(count.lines(), ["8000"]);
    // Whatever memory there is.
    let stream = engine.catalog().by_name("e").expect("it is there").clone();
    let mut pending = Pending::up_to(10_000);
    let event = Event {
        partition: stream.partitions[0],
        stream,
        key: None,
        value: Some(Bytes::from(vec![b'x'; 4_000])),
        timestamp: Timestamp(0),
    };
    pending.push(event.clone()).expect("4 KB of 10");
    pending.push(event.clone()).expect("8 KB of 10");
    let error = pending.push(event).expect_err("12 KB of 10");
    assert_eq!(error.sqlstate, sqlstate::PROGRAM_LIMIT_EXCEEDED, "{error}");
    std::thread::spawn(move || {
        sql.stop();
        engine.stop();
    })
    .join()
    .expect("stopping does not panic");
}

#[tokio::test]
async fn a_statement_may_write_more_than_the_journal_holds() {
    let broker = Broker::start();
    broker.run("CREATE TABLE t (n int PRIMARY KEY, note text)").await;
    // 65 MB in one round.
    let given = broker
        .run("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 60000) n")
        .await;
    assert_eq!(given.tag, "INSERT 0 60000");
    assert_eq!(broker.lines("SELECT count(*), sum(length(note)) FROM t").await, ["60000|60000000"]);
}

/// One round all the same: nothing of it is seen before the rest.
#[tokio::test]
async fn what_is_more_than_a_batch_of_the_stream_goes_in_several() {
    let broker = Broker::start();
    broker.run("CREATE STREAM e (n int, note text) WITH (max_message_bytes = 10000)").await;
    broker
        .run("INSERT INTO e SELECT n, repeat('x', 1000) FROM generate_series(1, 100) AS all_rows (n)")
        .await;
    assert_eq!(broker.lines("SELECT count(*), max(_offset) FROM log.e").await, ["100|99"]);
    let error = broker.fails("INSERT INTO e SELECT 1, repeat('x', 11000)").await;
    assert_eq!(error.sqlstate, sqlstate::PROGRAM_LIMIT_EXCEEDED);
}
