use crate::error::sqlstate;
use crate::testing::{Broker, run};
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
    let error = broker.fails("UPDATE t SET k = 'z'").await;
    assert_eq!(error.sqlstate, sqlstate::FEATURE_NOT_SUPPORTED);
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
    let broker = Broker::start();
    broker.run("CREATE STREAM e (n int, note text)").await;
    let error = broker
        .fails("INSERT INTO e SELECT n, repeat('x', 1000) FROM generate_series(1, 100000) n")
        .await;
    assert_eq!(error.sqlstate, sqlstate::PROGRAM_LIMIT_EXCEEDED);
    assert_eq!(broker.lines("SELECT count(*) FROM e").await, ["0"]);
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
