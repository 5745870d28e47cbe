//! Definitions inside transactions.

use crate::testing::{Broker, run};

async fn ok(session: &mut crate::session::Session, text: &str) -> Vec<String> {
    match run(session, text).await {
        Ok(given) => given.lines(),
        Err(error) => panic!("{text}: {} {error}", error.sqlstate),
    }
}

async fn code(session: &mut crate::session::Session, text: &str) -> &'static str {
    match run(session, text).await {
        Ok(given) => panic!("{text} did not fail: {given:?}"),
        Err(error) => error.sqlstate,
    }
}

#[tokio::test]
async fn what_a_transaction_creates_is_its_own_until_it_commits() {
    let broker = Broker::start();
    let (mut one, mut other) = (broker.session(), broker.session());
    ok(&mut one, "BEGIN; CREATE TABLE t (k int PRIMARY KEY, v text); CREATE TABLE e (a int)").await;
    ok(&mut one, "INSERT INTO t VALUES (1, 'a'), (2, 'b'); UPDATE t SET v = 'c' WHERE k = 2").await;
    ok(&mut one, "INSERT INTO e SELECT k FROM t; DELETE FROM t WHERE k = 1").await;
    assert_eq!(ok(&mut one, "SELECT k, v FROM t").await, ["2|c"]);
    assert_eq!(ok(&mut one, "SELECT a FROM e ORDER BY 1").await, ["1", "2"]);
    let names = "SELECT relname FROM pg_class WHERE relname IN ('t', 'e') AND relkind = 'r' \
                 ORDER BY 1";
    assert_eq!(ok(&mut one, names).await, ["e", "t"]);
    assert_eq!(code(&mut other, "SELECT * FROM t").await, "42P01");
    assert_eq!(ok(&mut other, names).await, Vec::<String>::new());
    ok(&mut one, "COMMIT").await;
    assert_eq!(ok(&mut other, "SELECT k, v FROM t").await, ["2|c"]);
    assert_eq!(ok(&mut one, "SELECT a FROM e ORDER BY 1").await, ["1", "2"]);
    assert_eq!(ok(&mut other, names).await, ["e", "t"]);
    // All of it came in one round.
    let rounds = "SELECT count(DISTINCT _offset) FROM log.e";
    assert_eq!(ok(&mut one, rounds).await, ["2"]);
}

#[tokio::test]
async fn what_is_rolled_back_was_never_there() {
    let broker = Broker::start();
    broker.run("CREATE TABLE old (k int PRIMARY KEY, v text)").await;
    broker.run("INSERT INTO old VALUES (1, 'a')").await;
    let mut one = broker.session();
    ok(&mut one, "BEGIN; CREATE TABLE t (k serial PRIMARY KEY); INSERT INTO t DEFAULT VALUES")
        .await;
    ok(&mut one, "ALTER TABLE old ADD COLUMN n int DEFAULT 7; ALTER TABLE old RENAME TO older")
        .await;
    ok(&mut one, "UPDATE older SET n = n + 1").await;
    assert_eq!(ok(&mut one, "SELECT k, v, n FROM older").await, ["1|a|8"]);
    assert_eq!(ok(&mut one, "SELECT nextval('t_k_seq')").await, ["2"]);
    ok(&mut one, "DROP TABLE older").await;
    assert_eq!(code(&mut one, "SELECT * FROM older").await, "42P01");
    ok(&mut one, "ROLLBACK").await;
    assert_eq!(ok(&mut one, "SELECT * FROM old").await, ["1|a"]);
    for text in ["SELECT * FROM t", "SELECT * FROM older", "SELECT nextval('t_k_seq')"] {
        assert_eq!(code(&mut one, text).await, "42P01", "{text}");
    }
    // The names are free, and nothing of the first is in the second.
    ok(&mut one, "CREATE TABLE t (k serial PRIMARY KEY)").await;
    assert_eq!(ok(&mut one, "SELECT count(*) FROM t").await, ["0"]);
    assert_eq!(ok(&mut one, "INSERT INTO t DEFAULT VALUES RETURNING k").await, ["1"]);
    // A client that goes away, and a statement that fails.
    ok(&mut one, "BEGIN; CREATE TABLE gone (a int)").await;
    drop(one);
    let mut two = broker.session();
    ok(&mut two, "BEGIN; CREATE TABLE gone (a int)").await;
    assert_eq!(code(&mut two, "CREATE TABLE gone (a int)").await, "42P07");
    assert_eq!(code(&mut two, "SELECT 1").await, "25P02");
    ok(&mut two, "COMMIT").await;
    assert_eq!(code(&mut two, "SELECT * FROM gone").await, "42P01");
}

#[tokio::test]
async fn savepoints_take_definitions_back() {
    let broker = Broker::start();
    let mut one = broker.session();
    ok(&mut one, "BEGIN; SAVEPOINT nothing; CREATE TABLE a (k int PRIMARY KEY)").await;
    ok(&mut one, "INSERT INTO a VALUES (1); SAVEPOINT s; ALTER TABLE a ADD COLUMN v text").await;
    ok(&mut one, "INSERT INTO a VALUES (2, 'x'); CREATE TABLE b (k serial); DROP TABLE a").await;
    ok(&mut one, "ROLLBACK TO s").await;
    assert_eq!(ok(&mut one, "SELECT * FROM a").await, ["1"]);
    assert_eq!(code(&mut one, "SELECT * FROM b").await, "42P01");
    ok(&mut one, "ROLLBACK TO s; CREATE TABLE b (k serial); INSERT INTO b DEFAULT VALUES; COMMIT")
        .await;
    assert_eq!(ok(&mut one, "SELECT * FROM a").await, ["1"]);
    assert_eq!(ok(&mut one, "INSERT INTO b DEFAULT VALUES RETURNING k").await, ["2"]);
    ok(&mut one, "BEGIN; SAVEPOINT s; DROP TABLE a, b; ROLLBACK TO s; COMMIT").await;
    assert_eq!(ok(&mut one, "SELECT count(*) FROM b").await, ["2"]);
}

#[tokio::test]
async fn a_stream_is_altered_by_one_at_a_time() {
    let broker = Broker::start();
    broker.run("CREATE TABLE t (k int PRIMARY KEY)").await;
    let (mut one, mut other) = (broker.session(), broker.session());
    ok(&mut one, "BEGIN; ALTER TABLE t ADD COLUMN a int; INSERT INTO t VALUES (1, 1)").await;
    ok(&mut other, "ALTER TABLE t ADD COLUMN b int").await;
    assert_eq!(code(&mut one, "COMMIT").await, "40001");
    assert_eq!(ok(&mut one, "SELECT count(*) FROM t").await, ["0"]);
    // The same name twice, and one that is dropped under the other.
    ok(&mut one, "BEGIN; CREATE TABLE n (a int)").await;
    ok(&mut other, "BEGIN; CREATE TABLE n (b int); CREATE SEQUENCE s; COMMIT").await;
    assert_eq!(code(&mut one, "COMMIT").await, "42P07");
    ok(&mut one, "BEGIN; ALTER TABLE t RENAME COLUMN b TO c").await;
    ok(&mut other, "DROP TABLE t").await;
    assert_eq!(code(&mut one, "COMMIT").await, "40001");
    // What others write meanwhile is there, and what they wrote of the same row is a conflict.
    ok(&mut one, "CREATE TABLE t (k int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)").await;
    ok(&mut one, "BEGIN; ALTER TABLE t ADD COLUMN n int DEFAULT 5; UPDATE t SET v = 2").await;
    ok(&mut other, "INSERT INTO t VALUES (2, 2)").await;
    ok(&mut one, "COMMIT").await;
    assert_eq!(ok(&mut other, "SELECT * FROM t ORDER BY k").await, ["1|2|5", "2|2|5"]);
    ok(&mut one, "BEGIN; ALTER TABLE t DROP COLUMN n; UPDATE t SET v = 3 WHERE k = 1").await;
    ok(&mut other, "UPDATE t SET v = 4 WHERE k = 1").await;
    assert_eq!(code(&mut one, "COMMIT").await, "40001");
    assert_eq!(ok(&mut other, "SELECT * FROM t ORDER BY k").await, ["1|4|5", "2|2|5"]);
}

#[tokio::test]
async fn dumps_are_restored_in_one_transaction() {
    let broker = Broker::start();
    let mut one = broker.session();
    for text in [
        "BEGIN",
        "CREATE TABLE public.t (id integer NOT NULL, name text)",
        "CREATE SEQUENCE public.t_id_seq AS integer START WITH 1 INCREMENT BY 1 NO MINVALUE NO \
         MAXVALUE CACHE 1",
        "ALTER SEQUENCE public.t_id_seq OWNED BY public.t.id",
        "ALTER TABLE ONLY public.t ALTER COLUMN id SET DEFAULT nextval('public.t_id_seq'::regclass)",
        "INSERT INTO public.t VALUES (1, 'a'), (2, 'b'), (3, NULL)",
        "SELECT setval('public.t_id_seq', 3, true)",
        "ALTER TABLE ONLY public.t ADD CONSTRAINT t_pkey PRIMARY KEY (id)",
        "INSERT INTO public.t (name) VALUES ('d')",
        "COMMIT",
    ] {
        ok(&mut one, text).await;
    }
    assert_eq!(ok(&mut one, "SELECT * FROM t ORDER BY id").await, ["1|a", "2|b", "3|", "4|d"]);
    assert_eq!(code(&mut one, "INSERT INTO t VALUES (4, 'x')").await, "23505");
    assert_eq!(ok(&mut one, "INSERT INTO t (name) VALUES ('e') RETURNING id").await, ["5"]);
    ok(&mut one, "BEGIN; CREATE TABLE u (a int); INSERT INTO u VALUES (1), (1)").await;
    assert_eq!(code(&mut one, "ALTER TABLE u ADD PRIMARY KEY (a)").await, "23505");
    ok(&mut one, "ROLLBACK").await;
    // The sequence went with its table, in the same transaction too.
    ok(&mut one, "BEGIN; DROP TABLE t").await;
    assert_eq!(code(&mut one, "SELECT nextval('t_id_seq')").await, "42P01");
    ok(&mut one, "ROLLBACK; BEGIN; DROP TABLE t; CREATE TABLE t (id serial); COMMIT").await;
    assert_eq!(ok(&mut one, "INSERT INTO t DEFAULT VALUES RETURNING id").await, ["1"]);
}

#[tokio::test]
async fn what_cannot_be_undone_stands_alone() {
    let broker = Broker::start();
    let mut one = broker.session();
    ok(&mut one, "CREATE TABLE e (a int); INSERT INTO e VALUES (1)").await;
    for text in [
        "ALTER TABLE e ADD PRIMARY KEY (a)",
        "ALTER STREAM e SET (mode = 'upsert')",
        "CREATE SEQUENCE s; ALTER SEQUENCE s INCREMENT BY 2; COMMIT; BEGIN; ALTER SEQUENCE s RESTART",
        "CREATE USER x PASSWORD 'secret-secret'",
    ] {
        ok(&mut one, "BEGIN").await;
        assert_eq!(code(&mut one, text).await, "0A000", "{text}");
        ok(&mut one, "ROLLBACK").await;
    }
    ok(&mut one, "BEGIN READ ONLY").await;
    assert_eq!(code(&mut one, "CREATE TABLE r (a int)").await, "25006");
    ok(&mut one, "ROLLBACK").await;
    // One text is a transaction, which they divide.
    one.begin_implicit();
    ok(&mut one, "CREATE TABLE f (a int); INSERT INTO f VALUES (1)").await;
    assert_eq!(code(&mut broker.session(), "SELECT * FROM f").await, "42P01");
    ok(&mut one, "ALTER TABLE e ADD PRIMARY KEY (a)").await;
    assert_eq!(broker.lines("SELECT * FROM f").await, ["1"]);
    assert_eq!(broker.lines("SELECT * FROM e").await, ["1"]);
}
