use crate::testing::{Broker, run};
use anabranch_types::batch::Ending;

async fn check(broker: &Broker, text: &str, sqlstate: &str) {
    let error = broker.fails(text).await;
    assert_eq!(error.sqlstate, sqlstate, "{text}: {error}");
}

#[tokio::test]
async fn columns_get_their_defaults() {
    let broker = Broker::start();
    broker
        .run(
            "CREATE TABLE t (k text PRIMARY KEY, n int DEFAULT 1 + 1 NOT NULL, at timestamptz \
             DEFAULT now(), u uuid DEFAULT gen_random_uuid(), note text DEFAULT 'it''s', b int)",
        )
        .await;
    broker.run("INSERT INTO t (k) VALUES ('a'), ('b')").await;
    broker.run("INSERT INTO t VALUES ('c', DEFAULT, DEFAULT, DEFAULT, NULL); INSERT INTO t VALUES ('d', 5)").await;
    assert_eq!(
        broker.lines("SELECT k, n, at IS NULL, u IS NULL, note, b FROM t ORDER BY k").await,
        [
            "a|2|false|false|it's|",
            "b|2|false|false|it's|",
            "c|2|false|false||",
            "d|5|false|false|it's|"
        ]
    );
    assert_eq!(broker.lines("SELECT count(DISTINCT u) FROM t").await, ["4"]);
    broker.run("UPDATE t SET n = DEFAULT, note = 'x' WHERE k = 'd'").await;
    let upsert = "INSERT INTO t (k, n) VALUES ('a', 7), ('e', 7) ON CONFLICT (k) DO UPDATE \
                  SET n = excluded.n + t.n, note = DEFAULT";
    broker.run(upsert).await;
    assert_eq!(
        broker.lines("SELECT k, n, note FROM t WHERE k IN ('a', 'd', 'e') ORDER BY k").await,
        ["a|9|it's", "d|2|x", "e|7|it's"]
    );
    broker.run("ALTER TABLE t ALTER n DROP DEFAULT, ALTER COLUMN b SET DEFAULT 3").await;
    check(&broker, "INSERT INTO t (k) VALUES ('f')", "23502").await;
    broker.run("INSERT INTO t (k, n) VALUES ('f', 1)").await;
    assert_eq!(broker.lines("SELECT b FROM t WHERE k = 'f'").await, ["3"]);
    check(&broker, "ALTER TABLE t ALTER n SET DEFAULT 'x'", "22P02").await;
    check(&broker, "ALTER TABLE t ALTER n SET DEFAULT true", "42804").await;
    check(&broker, "ALTER TABLE t ALTER n SET DEFAULT b + 1", "0A000").await;
    check(&broker, "ALTER TABLE t ALTER n SET DEFAULT (SELECT 1)", "0A000").await;
    check(&broker, "ALTER TABLE t ALTER n SET DEFAULT max(1)", "42803").await;
    check(&broker, "ALTER TABLE t ALTER nothing SET DEFAULT 1", "42703").await;
}

#[tokio::test]
async fn streams_of_events_have_defaults_too() {
    let broker = Broker::start();
    broker
        .run("CREATE TABLE e (id serial, at date DEFAULT '2026-01-01', v int CHECK (v > 0))")
        .await;
    broker.run("INSERT INTO e (v) SELECT * FROM generate_series(1, 3)").await;
    broker.run("INSERT INTO e DEFAULT VALUES").await;
    check(&broker, "INSERT INTO e (v) VALUES (0)", "23514").await;
    // A value that was given out is gone, also where the statement failed.
    let given = broker.run("INSERT INTO e (v) VALUES (9) RETURNING id, v").await;
    assert_eq!(given.lines(), ["6|9"]);
    assert_eq!(
        broker.lines("SELECT id, at, v FROM e ORDER BY id").await,
        ["1|2026-01-01|1", "2|2026-01-01|2", "3|2026-01-01|3", "4|2026-01-01|", "6|2026-01-01|9"]
    );
}

#[tokio::test]
async fn rows_are_checked() {
    let broker = Broker::start();
    broker
        .run(
            "CREATE TABLE t (k int PRIMARY KEY, a int CHECK (a > 0), b int, \
             CONSTRAINT ordered CHECK (a < b), CHECK (b < 100))",
        )
        .await;
    broker.run("INSERT INTO t VALUES (1, 1, 2), (2, NULL, NULL)").await;
    let named = async |text: &str, name: &str| {
        let error = broker.fails(text).await;
        assert_eq!(error.sqlstate, "23514", "{text}: {error}");
        assert!(error.message.contains(&format!("\"{name}\"")), "{error}");
    };
    named("INSERT INTO t VALUES (3, 0, 2)", "t_a_check").await;
    named("INSERT INTO t VALUES (3, 3, 2)", "ordered").await;
    named("INSERT INTO t (k, b) VALUES (3, 100)", "t_b_check").await;
    named("UPDATE t SET a = 5 WHERE k = 1", "ordered").await;
    named("INSERT INTO t VALUES (1) ON CONFLICT (k) DO UPDATE SET b = 0", "ordered").await;
    assert_eq!(broker.lines("SELECT k, a, b FROM t ORDER BY k").await, ["1|1|2", "2||"]);
    check(&broker, "ALTER TABLE t ADD CONSTRAINT big CHECK (a > 1)", "23514").await;
    broker.run("ALTER TABLE t DROP CONSTRAINT ordered, ADD CONSTRAINT big CHECK (a < 50)").await;
    named("UPDATE t SET a = 60 WHERE k = 1", "big").await;
    broker.run("UPDATE t SET a = 5 WHERE k = 1").await;
    check(&broker, "ALTER TABLE t DROP CONSTRAINT ordered", "42704").await;
    check(&broker, "ALTER TABLE t ADD CONSTRAINT big CHECK (a < 50)", "42710").await;
    check(&broker, "ALTER TABLE t ADD CHECK (nothing > 1)", "42703").await;
    check(&broker, "ALTER TABLE t ADD CHECK (a + 1)", "42804").await;
    check(&broker, "ALTER TABLE t ADD CHECK (a > (SELECT 1))", "0A000").await;
    check(&broker, "ALTER TABLE t ALTER b SET NOT NULL", "23502").await;
    broker.run("UPDATE t SET b = 6 WHERE k = 2").await;
    broker.run("ALTER TABLE t ALTER b SET NOT NULL").await;
    check(&broker, "UPDATE t SET b = NULL WHERE k = 2", "23502").await;
    broker.run("ALTER TABLE t ALTER b DROP NOT NULL").await;
    check(&broker, "ALTER TABLE t ALTER k DROP NOT NULL", "42P16").await;
}

#[tokio::test]
async fn generated_columns_follow_their_row() {
    let broker = Broker::start();
    broker
        .run(
            "CREATE TABLE t (k text PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) \
             STORED CHECK (twice < 20))",
        )
        .await;
    broker.run("INSERT INTO t VALUES ('x', 1), ('y', NULL)").await;
    broker.run("INSERT INTO t VALUES ('z', 3, DEFAULT)").await;
    broker.run("UPDATE t SET a = a + 4 WHERE k = 'x'").await;
    broker.run("INSERT INTO t VALUES ('z') ON CONFLICT (k) DO UPDATE SET a = 4").await;
    assert_eq!(broker.lines("SELECT * FROM t ORDER BY k").await, ["x|5|10", "y||", "z|4|8"]);
    check(&broker, "INSERT INTO t VALUES ('w', 1, 2)", "428C9").await;
    check(&broker, "UPDATE t SET twice = 3", "428C9").await;
    check(&broker, "UPDATE t SET a = 10", "23514").await;
    check(&broker, "CREATE TABLE u (a int, b text GENERATED ALWAYS AS (now()) STORED)", "42P17")
        .await;
    let chain = "CREATE TABLE u (a int, b int GENERATED ALWAYS AS (a) STORED, \
                 c int GENERATED ALWAYS AS (b) STORED)";
    check(&broker, chain, "42P17").await;
    check(&broker, "ALTER TABLE t DROP COLUMN a", "2BP01").await;
}

#[tokio::test]
async fn sequences_count() {
    let broker = Broker::start();
    let mut session = broker.session();
    let mut ask = async |text: &str| match run(&mut session, text).await {
        Ok(given) => given.lines().join(" "),
        Err(error) => error.sqlstate.to_owned(),
    };
    assert_eq!(ask("CREATE SEQUENCE s START 5 INCREMENT BY 2 MAXVALUE 10").await, "");
    assert_eq!(ask("SELECT currval('s')").await, "55000");
    assert_eq!(ask("SELECT lastval()").await, "55000");
    assert_eq!(ask("SELECT nextval('s')").await, "5");
    assert_eq!(ask("SELECT nextval('s'::regclass), currval('public.s')").await, "7|7");
    assert_eq!(ask("SELECT lastval()").await, "7");
    assert_eq!(ask("SELECT last_value, is_called FROM s").await, "7|true");
    assert_eq!(ask("SELECT nextval('s')").await, "9");
    assert_eq!(ask("SELECT nextval('s')").await, "2200H");
    assert_eq!(ask("SELECT setval('s', 11)").await, "22003");
    assert_eq!(ask("SELECT setval('s', 6, false)").await, "6");
    assert_eq!(ask("SELECT nextval('s')").await, "6");
    assert_eq!(
        ask("ALTER SEQUENCE s RESTART WITH 3 INCREMENT 1 CYCLE MINVALUE 2 MAXVALUE 4").await,
        "22023"
    );
    assert_eq!(
        ask("ALTER SEQUENCE s RESTART WITH 3 INCREMENT 1 CYCLE MINVALUE 2 MAXVALUE 4 START 2")
            .await,
        ""
    );
    assert_eq!(ask("SELECT nextval('s') FROM generate_series(1, 4)").await, "3 4 2 3");
    assert_eq!(ask("SELECT sequencename, last_value, max_value FROM pg_sequences").await, "s|3|4");
    assert_eq!(ask("CREATE SEQUENCE s").await, "42P07");
    assert_eq!(ask("CREATE SEQUENCE IF NOT EXISTS s").await, "");
    assert_eq!(ask("CREATE SEQUENCE r INCREMENT 0").await, "22023");
    assert_eq!(ask("CREATE TABLE t (k int PRIMARY KEY DEFAULT nextval('s'), v text)").await, "");
    assert_eq!(ask("INSERT INTO t (v) VALUES ('a'), ('b') RETURNING k").await, "4 2");
    assert_eq!(
        ask("INSERT INTO t VALUES (nextval('s'), 'c'), (7, upper('d')) RETURNING k, v").await,
        "3|c 7|D"
    );
    assert_eq!(ask("DROP SEQUENCE s").await, "2BP01");
    assert_eq!(ask("ALTER TABLE t ALTER k DROP DEFAULT").await, "");
    assert_eq!(ask("DROP SEQUENCE s").await, "");
    assert_eq!(ask("SELECT nextval('s')").await, "42P01");
}

#[tokio::test]
async fn identities() {
    let broker = Broker::start();
    broker
        .run(
            "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY (START 10) PRIMARY KEY, v int); \
             CREATE TABLE u (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v int)",
        )
        .await;
    assert_eq!(
        broker.run("INSERT INTO t (v) VALUES (1), (2) RETURNING id").await.lines(),
        ["10", "11"]
    );
    assert_eq!(broker.run("INSERT INTO t VALUES (DEFAULT, 3) RETURNING id").await.lines(), ["12"]);
    check(&broker, "INSERT INTO t VALUES (5, 1)", "428C9").await;
    check(&broker, "UPDATE t SET id = 5", "428C9").await;
    broker.run("INSERT INTO t (id, v) OVERRIDING SYSTEM VALUE VALUES (5, 1)").await;
    broker.run("INSERT INTO u VALUES (1, 1)").await;
    check(&broker, "INSERT INTO u (v) VALUES (1)", "23505").await;
    broker.run("INSERT INTO u (v) VALUES (2)").await;
    assert_eq!(broker.lines("SELECT * FROM u ORDER BY id").await, ["1|1", "2|2"]);
    assert_eq!(broker.lines("SELECT pg_get_serial_sequence('t', 'id')").await, ["public.t_id_seq"]);
    broker.run("DROP TABLE t").await;
    check(&broker, "SELECT nextval('t_id_seq')", "42P01").await;
}

#[tokio::test]
async fn texts_have_a_length() {
    let broker = Broker::start();
    broker.run("CREATE TABLE t (k varchar(3) PRIMARY KEY, c char(2), d varchar)").await;
    broker.run("INSERT INTO t VALUES ('äöü', 'a ', 'long enough'), ('x  ', 'ab   ', NULL)").await;
    assert_eq!(
        broker.lines("SELECT k, c, c = 'a' FROM t ORDER BY k").await,
        ["x  |ab|false", "äöü|a|true"]
    );
    check(&broker, "INSERT INTO t VALUES ('abcd')", "22001").await;
    check(&broker, "INSERT INTO t VALUES ('abc', 'abc')", "22001").await;
    check(&broker, "UPDATE t SET c = 'abc'", "22001").await;
    check(&broker, "ALTER TABLE t ALTER d TYPE varchar(5)", "22001").await;
    broker.run("ALTER TABLE t ALTER d TYPE varchar(20)").await;
    check(&broker, "UPDATE t SET d = repeat('x', 21)", "22001").await;
}

#[tokio::test]
async fn columns_are_dropped_renamed_and_retyped() {
    let broker = Broker::start();
    broker.run("CREATE TABLE t (k text PRIMARY KEY, a int CHECK (a > 0), b text)").await;
    broker.run("INSERT INTO t VALUES ('x', 1, 'one'), ('y', 2, '2')").await;
    broker.run("ALTER TABLE t RENAME COLUMN a TO n").await;
    assert_eq!(broker.lines("SELECT k, n FROM t ORDER BY k").await, ["x|1", "y|2"]);
    check(&broker, "UPDATE t SET n = 0", "23514").await;
    broker.run("UPDATE t SET n = 3 WHERE k = 'y'").await;
    broker.run("INSERT INTO t (k, n) VALUES ('z', 4)").await;
    assert_eq!(broker.lines("SELECT k, n FROM t ORDER BY k").await, ["x|1", "y|3", "z|4"]);
    assert_eq!(broker.lines("SELECT _json FROM log.t WHERE k = 'z'").await, [r#"{"k":"z","a":4}"#]);
    broker.run("ALTER TABLE t DROP COLUMN b").await;
    check(&broker, "SELECT b FROM t", "42703").await;
    let given = broker.run("ALTER TABLE t ADD COLUMN b text DEFAULT 'new'").await;
    assert_eq!(given.notices.len(), 1, "{:?}", given.notices);
    assert_eq!(broker.lines("SELECT k, b FROM t ORDER BY k").await, ["x|new", "y|new", "z|new"]);
    broker.run("UPDATE t SET b = NULL WHERE k = 'x'").await;
    broker.run("UPDATE t SET n = 9 WHERE k = 'y'").await;
    assert_eq!(broker.lines("SELECT k, b FROM t ORDER BY k").await, ["x|", "y|new", "z|new"]);
    check(&broker, "ALTER TABLE t DROP COLUMN k", "0A000").await;
    check(&broker, "ALTER TABLE t RENAME n TO b", "42701").await;

    broker.run("ALTER TABLE t ADD COLUMN c text").await;
    broker.run("UPDATE t SET c = 'no number' WHERE k = 'y'").await;
    let error = broker.fails("ALTER TABLE t ALTER c TYPE int").await;
    assert_eq!(error.sqlstate, "22P02");
    assert!(error.message.contains("no number") && error.message.contains("key y"), "{error}");
    broker.run("ALTER TABLE t ALTER c TYPE int ON MISFIT NULL").await;
    broker.run("UPDATE t SET n = 70000 WHERE k = 'x'").await;
    check(&broker, "ALTER TABLE t ALTER n TYPE smallint", "22003").await;
    broker.run("ALTER TABLE t ALTER n TYPE bigint").await;
    broker.run("ALTER TABLE t RENAME TO other").await;
    assert_eq!(
        broker.lines("SELECT k, n, c FROM other ORDER BY k").await,
        ["x|70000|", "y|9|", "z|4|"]
    );
    check(&broker, "SELECT 1 FROM t", "42P01").await;
    check(&broker, "ALTER TABLE other ADD COLUMN d int NOT NULL", "23502").await;
    broker.run("ALTER TABLE other ADD COLUMN d int NOT NULL DEFAULT 5").await;
    assert_eq!(broker.lines("SELECT DISTINCT d FROM other").await, ["5"]);
}

#[tokio::test]
async fn tables_as_tools_make_them() {
    let broker = Broker::start();
    let made = broker
        .run(
            "CREATE TABLE t (id SERIAL NOT NULL, name character varying(255) COLLATE \"C\" DEFAULT \
             'a'::character varying NOT NULL, at timestamp(6) without time zone, CONSTRAINT key_of_t \
             PRIMARY KEY (id) WITH (fillfactor=90)) WITH (fillfactor = 100)",
        )
        .await;
    assert_eq!((made.tag.as_str(), made.notices.len()), ("CREATE TABLE", 1));
    assert_eq!(
        broker.run("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t USING btree (name)").await.tag,
        "CREATE INDEX"
    );
    check(&broker, "CREATE INDEX i ON nothing (name)", "42P01").await;
    assert_eq!(broker.run("DROP INDEX i").await.tag, "DROP INDEX");
    assert_eq!(broker.run("COMMENT ON TABLE t IS 'x'").await.tag, "COMMENT");
    broker.run("INSERT INTO t (name) VALUES ('a'), (DEFAULT)").await;
    let made = broker.run("CREATE TABLE c AS SELECT id, name AS n, id * 1.5 AS f FROM t").await;
    assert_eq!(made.tag, "SELECT 2");
    assert_eq!(broker.lines("SELECT id, n FROM c ORDER BY id").await, ["1|a", "2|a"]);
    broker.run("CREATE TABLE d (x, y) AS SELECT 1, 'b' WITH NO DATA").await;
    assert_eq!(broker.lines("SELECT count(*) FROM d").await, ["0"]);
    check(&broker, "CREATE TABLE e AS SELECT 1/0 AS x", "22012").await;
    check(&broker, "SELECT * FROM e", "42P01").await;
    assert_eq!(
        broker
            .lines(
                "SELECT column_name, column_default, is_nullable, data_type, \
                 character_maximum_length FROM information_schema.columns WHERE table_name = 't' \
                 AND table_schema = 'public' ORDER BY ordinal_position"
            )
            .await,
        [
            "id|nextval('t_id_seq'::regclass)|NO|integer|",
            "name|'a'::CHARACTER VARYING|NO|character varying|255",
            "at||YES|timestamp without time zone|",
        ]
    );
}

#[tokio::test]
async fn a_key_is_added_to_rows_that_there_are() {
    let broker = Broker::start();
    broker.run("CREATE TABLE t (id serial, n int CHECK (n > 0), gone text, v text)").await;
    broker
        .run("INSERT INTO t (n, v) SELECT n, 'v' || n FROM generate_series(1, 20000) n ORDER BY n")
        .await;
    broker.run("ALTER TABLE t DROP gone; ALTER TABLE t RENAME v TO w").await;
    broker.run("CREATE TABLE u (a int, b text)").await;
    broker.run("INSERT INTO u VALUES (1, 'x'), (1, 'y'), (2, NULL)").await;
    let before = broker.lines("SELECT id, n, w FROM t ORDER BY id").await;

    check(&broker, "ALTER TABLE u ADD PRIMARY KEY (a)", "23505").await;
    check(&broker, "ALTER TABLE u ADD PRIMARY KEY (b)", "23502").await;
    check(&broker, "ALTER TABLE u ADD PRIMARY KEY (c)", "42703").await;
    check(&broker, "ALTER TABLE u ADD PRIMARY KEY (b, a)", "42P16").await;
    check(&broker, "ALTER TABLE u ADD COLUMN c int PRIMARY KEY", "0A000").await;
    check(&broker, "ALTER TABLE u ADD PRIMARY KEY (a), DROP b", "42601").await;
    assert_eq!(broker.lines("SELECT count(*) FROM u").await, ["3"], "nothing has changed");
    check(&broker, "UPDATE u SET b = 'z'", "0A000").await;

    let given = broker.run("ALTER TABLE t ADD CONSTRAINT t_pkey PRIMARY KEY (id)").await;
    assert_eq!((given.tag.as_str(), given.notices.len()), ("ALTER TABLE", 1));
    assert_eq!(broker.lines("SELECT id, n, w FROM t ORDER BY id").await, before);
    assert_eq!(broker.lines("SELECT count(*), min(_offset) FROM log.t").await, ["20000|0"]);
    broker.run("UPDATE t SET w = 'changed' WHERE id = 7").await;
    assert_eq!(broker.lines("SELECT n, w FROM t WHERE id = 7").await, ["7|changed"]);
    check(&broker, "INSERT INTO t (id, n) VALUES (8, 1)", "23505").await;
    check(&broker, "INSERT INTO t (n) VALUES (0)", "23514").await;
    check(&broker, "ALTER TABLE t ADD PRIMARY KEY (n)", "42P16").await;
    // The sequence is still the column's; the row that was refused took a value.
    assert_eq!(broker.run("INSERT INTO t (n) VALUES (1) RETURNING id").await.lines(), ["20002"]);
    broker.run("DROP TABLE t").await;
    assert_eq!(broker.lines("SELECT count(*) FROM pg_sequences").await, ["0"]);
}

/// Columns may be called what SQL has another meaning for.
#[tokio::test]
async fn a_key_is_added_of_columns_with_any_name() {
    let broker = Broker::start();
    broker.run("CREATE TABLE \"order\" (\"user\" text, \"select\" int, \"Q\"\"x\" int)").await;
    broker.run("INSERT INTO \"order\" VALUES ('a', 1, 1), ('b', 1, 1)").await;
    broker.run("ALTER TABLE \"order\" ALTER \"user\" SET NOT NULL").await;
    broker.run("ALTER TABLE \"order\" ADD PRIMARY KEY (\"user\", \"select\", \"Q\"\"x\")").await;
    broker.run("UPDATE \"order\" SET \"user\" = 'c' WHERE \"user\" = 'b'").await;
    assert_eq!(broker.lines("SELECT \"user\" FROM \"order\" ORDER BY 1").await, ["a", "c"]);
}

/// Rows come while a key is added, and none is lost: it is done again, or fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_come_while_a_key_is_added_are_kept() {
    let broker = Broker::start();
    broker.run("CREATE TABLE t (id serial, n int)").await;
    broker.run("INSERT INTO t (n) SELECT n FROM generate_series(1, 5000) n").await;
    let mut session = broker.session();
    let writer = tokio::spawn(async move {
        let mut written = 0;
        for n in 0..200 {
            match run(&mut session, &format!("INSERT INTO t (n) VALUES ({n})")).await {
                Ok(_) => written += 1,
                Err(error) => assert_eq!(error.sqlstate, "40001", "{error}"),
            }
        }
        written
    });
    let mut session = broker.session();
    let mut adds = 0;
    while let Err(error) = run(&mut session, "ALTER TABLE t ADD PRIMARY KEY (id)").await {
        assert_eq!(error.sqlstate, "40001", "{error}");
        adds += 1;
        assert!(adds < 1000, "it never comes to an end");
    }
    let written: u64 = writer.await.expect("it does not panic");
    assert!(written > 0, "somebody wrote");
    assert_eq!(broker.lines("SELECT count(*) FROM t").await, [(5000 + written).to_string()]);
}

#[tokio::test]
async fn a_key_waits_for_open_transactions() {
    let broker = Broker::start();
    broker.run("CREATE TABLE t (n int)").await;
    let records = [(None, Some("{\"n\":1}"))];
    let meanwhile = async {
        check(&broker, "ALTER TABLE t ADD PRIMARY KEY (n)", "40001").await;
    };
    broker.transact("t", &records, Ending::Commit, meanwhile).await;
    broker.run("ALTER TABLE t ADD PRIMARY KEY (n)").await;
    assert_eq!(broker.lines("SELECT n FROM t").await, ["1"]);
}
