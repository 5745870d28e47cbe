use crate::testing::{Broker, run};

async fn check(broker: &Broker, text: &str, sqlstate: &str) {
    let error = broker.fails(text).await;
    assert_eq!(error.sqlstate, sqlstate, "{text}: {error}");
}

async fn orders() -> Broker {
    let broker = Broker::start();
    broker.run("CREATE TABLE orders (id int PRIMARY KEY, who text, price int)").await;
    broker.run("INSERT INTO orders VALUES (1, 'a', 10), (2, 'b', 20), (3, 'a', 30)").await;
    broker
}

#[tokio::test]
async fn a_view_is_its_query() {
    let broker = orders().await;
    broker
        .run("CREATE VIEW totals (who, total) AS SELECT who, sum(price) FROM orders GROUP BY who")
        .await;
    assert_eq!(broker.lines("SELECT * FROM totals ORDER BY who").await, ["a|40", "b|20"]);
    assert_eq!(broker.lines("SELECT total FROM public.totals t WHERE t.who = 'b'").await, ["20"]);
    assert_eq!(
        broker
            .lines("SELECT o.id, totals.total FROM orders o JOIN totals USING (who) ORDER BY 1")
            .await,
        ["1|40", "2|20", "3|40"]
    );
    broker.run("INSERT INTO orders VALUES (4, 'c', 5)").await;
    assert_eq!(broker.lines("TABLE totals ORDER BY 1").await, ["a|40", "b|20", "c|5"]);
    assert_eq!(broker.lines("SELECT x, y FROM totals v (x, y) WHERE y > 30").await, ["a|40"]);
    // A view of a view, and one whose query has names of its own.
    broker
        .run(
            "CREATE VIEW best AS WITH totals AS (SELECT * FROM totals WHERE total > 10) \
             SELECT who FROM totals ORDER BY total DESC LIMIT 1",
        )
        .await;
    assert_eq!(broker.lines("SELECT * FROM best").await, ["a"]);
    // What WITH calls by the name of a stream is not what the view reads.
    assert_eq!(
        broker
            .lines(
                "WITH orders AS (SELECT 1 AS one) SELECT count(*), sum(total) FROM totals, orders"
            )
            .await,
        ["3|65"]
    );
    assert_eq!(broker.lines("WITH totals AS (SELECT 1 AS one) SELECT * FROM totals").await, ["1"]);
    assert_eq!(
        broker.lines("SELECT id FROM orders WHERE who IN (SELECT who FROM best) ORDER BY id").await,
        ["1", "3"]
    );
    broker.run("CREATE TABLE copy AS SELECT * FROM totals").await;
    broker.run("UPDATE orders SET price = 0 FROM best WHERE orders.who = best.who").await;
    assert_eq!(broker.lines("SELECT * FROM best").await, ["b"]);
    assert_eq!(broker.lines("SELECT count(*) FROM copy").await, ["3"]);
    // By a key, through parameters and in a transaction that sees its own writes.
    broker.run("CREATE VIEW cheap AS SELECT id, price FROM orders WHERE price < 10").await;
    assert_eq!(broker.lines("SELECT price FROM cheap WHERE id = 4").await, ["5"]);
    let mut session = broker.session();
    let given =
        run(&mut session, "BEGIN; DELETE FROM orders WHERE id = 4; SELECT count(*) FROM cheap");
    assert_eq!(given.await.expect("fits").lines(), ["2"]);
}

#[tokio::test]
async fn all_columns_are_those_that_there_were() {
    let broker = orders().await;
    broker.run("CREATE VIEW v AS SELECT * FROM orders").await;
    broker.run("CREATE VIEW w (a) AS SELECT *, price * 2 AS double FROM orders").await;
    broker.run("ALTER TABLE orders ADD COLUMN note text DEFAULT 'x'").await;
    assert_eq!(broker.run("SELECT * FROM v").await.columns, ["id", "who", "price"]);
    assert_eq!(broker.run("SELECT * FROM w").await.columns, ["a", "who", "price", "double"]);
    assert_eq!(broker.lines("SELECT * FROM w WHERE a = 2").await, ["2|b|20|40"]);
    check(&broker, "ALTER TABLE orders DROP COLUMN price", "2BP01").await;
    check(&broker, "ALTER TABLE orders RENAME COLUMN who TO whom", "2BP01").await;
    check(&broker, "ALTER TABLE orders ALTER price TYPE bigint", "2BP01").await;
    check(&broker, "ALTER TABLE orders RENAME TO other", "2BP01").await;
    broker.run("ALTER TABLE orders DROP COLUMN note").await;
    // Columns whose names are not unique are told by where they stand.
    let pairs = "SELECT * FROM (SELECT 1 AS n) x, (SELECT 2 AS n) y";
    broker.run(&format!("CREATE VIEW pairs (a, b) AS {pairs}")).await;
    assert_eq!(broker.lines("SELECT b, a FROM pairs").await, ["2|1"]);
}

#[tokio::test]
async fn with_has_its_own_names() {
    let broker = orders().await;
    let same = async |text: &str, expected: &[&str]| {
        assert_eq!(broker.lines(text).await, expected, "{text}");
    };
    same(
        "WITH orders AS (SELECT * FROM orders WHERE id < 3) SELECT * FROM orders ORDER BY id",
        &["1|a|10", "2|b|20"],
    )
    .await;
    same(
        "WITH a AS (SELECT 1 AS n) SELECT b.n, a.n FROM \
         (WITH a AS (SELECT n + 1 AS n FROM a) SELECT * FROM a) b, a",
        &["2|1"],
    )
    .await;
    same(
        "WITH RECURSIVE orders (n) AS (SELECT 1 UNION ALL SELECT orders.n + 1 FROM orders \
         WHERE n < 3) SELECT sum(orders.n) FROM orders",
        &["6"],
    )
    .await;
    same(
        "WITH orders AS (SELECT 2 AS id) SELECT o.who FROM public.orders o JOIN orders USING (id)",
        &["b"],
    )
    .await;
    same("SELECT count(*) FROM (TABLE orders UNION ALL (TABLE orders)) t", &["6"]).await;
    same("WITH t AS (TABLE orders) TABLE t ORDER BY id LIMIT 1", &["1|a|10"]).await;
    check(&broker, "WITH a AS (SELECT 1), a AS (SELECT 2) SELECT * FROM a", "42712").await;
    // Views whose queries have names that queries around have too.
    broker
        .run("CREATE VIEW v AS WITH t AS (SELECT id FROM orders) SELECT t.id FROM t WHERE id > 1")
        .await;
    same("WITH t AS (SELECT id FROM v) SELECT t.id FROM t ORDER BY id", &["2", "3"]).await;
    same(
        "WITH t AS (SELECT 2 AS id), orders AS (SELECT 3 AS id) \
         SELECT v.id FROM v, t, orders WHERE v.id = t.id",
        &["2"],
    )
    .await;
    broker
        .run(
            "WITH orders AS (SELECT 1 AS id) UPDATE orders SET price = 11 FROM orders AS o \
             WHERE orders.id = o.id",
        )
        .await;
    same("SELECT price FROM orders WHERE id = 1", &["11"]).await;
    let deep = |depth| {
        let inner = (0..depth).fold("SELECT id FROM v".to_owned(), |inner, n| {
            format!("WITH w{n} AS ({inner}) SELECT id FROM w{n}")
        });
        format!("SELECT count(*) FROM ({inner}) t")
    };
    same(&deep(11), &["2"]).await;
    check(&broker, &deep(30), "54001").await;
}

#[tokio::test]
async fn strings_in_views_are_what_they_were() {
    let broker = Broker::start();
    broker
        .run(
            r"CREATE VIEW v AS SELECT 'it''''s' AS a, 'x\''y' AS b, 'p\\' AS c, '''' AS d, 'a\n' AS e",
        )
        .await;
    let expected = [r"it''s|x\'y|p\\|'|a\n"];
    assert_eq!(broker.lines(r"SELECT 'it''''s', 'x\''y', 'p\\', '''', 'a\n'").await, expected);
    assert_eq!(broker.lines("SELECT * FROM v").await, expected);
    broker.run(r"CREATE TABLE t AS SELECT 'it''''s' AS a, '\'' || ''' AS b").await;
    assert_eq!(broker.lines("SELECT a, b FROM t").await, [r"it''s|\' || '"]);
    broker.run(r"CREATE TABLE u (a int, b text DEFAULT 'it''''s\''')").await;
    broker.run("INSERT INTO u (a) VALUES (1)").await;
    assert_eq!(broker.lines("SELECT b FROM u").await, [r"it''s\'"]);
}

#[tokio::test]
async fn only_what_a_view_needs_is_kept_for_it() {
    let broker = orders().await;
    broker.run("CREATE TABLE other (id int PRIMARY KEY, who text, note text)").await;
    // Names of columns of something else, and of WITH, are not this stream's.
    broker
        .run(
            "CREATE VIEW v AS WITH other AS (SELECT id, who AS note FROM orders) \
             SELECT id, note FROM other",
        )
        .await;
    broker.run("ALTER TABLE orders DROP COLUMN price").await;
    broker.run("ALTER TABLE other RENAME COLUMN note TO remark").await;
    broker.run("ALTER TABLE other RENAME TO another").await;
    broker.run("DROP TABLE another").await;
    broker.run("CREATE VIEW w AS SELECT note FROM v").await;
    broker.run("CREATE VIEW past AS SELECT who FROM log.orders").await;
    check(&broker, "ALTER TABLE orders DROP COLUMN who", "2BP01").await;
    assert_eq!(broker.run("SELECT * FROM orders").await.columns, ["id", "who"]);
    let mut gone = broker.run("ALTER TABLE orders DROP COLUMN who CASCADE").await.notices;
    gone.sort();
    assert_eq!(
        gone,
        ["drop cascades to view past", "drop cascades to view v", "drop cascades to view w"]
    );
    broker.run("CREATE TABLE a (id int); CREATE VIEW on_a AS SELECT id FROM a").await;
    // One that fails in the middle does nothing.
    check(&broker, "DROP TABLE a, orders, nothing CASCADE", "42P01").await;
    assert_eq!(broker.lines("SELECT count(*) FROM on_a").await, ["0"]);
    check(&broker, "SELECT * FROM on_a FOR UPDATE", "0A000").await;
    broker.run("SELECT * FROM orders, on_a FOR UPDATE OF orders").await;
}

#[tokio::test]
async fn views_are_replaced_renamed_and_dropped() {
    let broker = orders().await;
    broker.run("CREATE VIEW v AS SELECT id FROM orders").await;
    check(&broker, "CREATE VIEW v AS SELECT 1 AS id", "42P07").await;
    check(&broker, "CREATE VIEW orders AS SELECT 1 AS id", "42P07").await;
    check(&broker, "CREATE TABLE v (a int)", "42P07").await;
    check(&broker, "CREATE SEQUENCE v", "42P07").await;
    check(&broker, "CREATE OR REPLACE VIEW v AS SELECT who FROM orders", "42P16").await;
    check(&broker, "CREATE OR REPLACE VIEW v AS SELECT id::text AS id FROM orders", "42P16").await;
    broker.run("CREATE OR REPLACE VIEW v AS SELECT id, who FROM orders WHERE price > 10").await;
    assert_eq!(broker.lines("SELECT * FROM v ORDER BY id").await, ["2|b", "3|a"]);
    broker.run("CREATE VIEW w AS SELECT who FROM v").await;
    check(&broker, "CREATE OR REPLACE VIEW v AS SELECT 1 AS id, who FROM w", "42P17").await;
    check(&broker, "ALTER VIEW v RENAME TO u", "2BP01").await;
    broker.run("ALTER VIEW w RENAME TO u").await;
    assert_eq!(broker.lines("SELECT count(*) FROM u").await, ["2"]);
    check(&broker, "SELECT * FROM w", "42P01").await;
    check(&broker, "DROP VIEW v", "2BP01").await;
    check(&broker, "DROP TABLE orders", "2BP01").await;
    check(&broker, "DROP TABLE v", "42809").await;
    check(&broker, "DROP VIEW orders", "42809").await;
    check(&broker, "DROP VIEW nothing", "42P01").await;
    check(&broker, "INSERT INTO v VALUES (1, 'x')", "55000").await;
    check(&broker, "UPDATE v SET who = 'x'", "55000").await;
    assert_eq!(broker.run("DROP VIEW IF EXISTS nothing").await.notices.len(), 1);
    let dropped = broker.run("DROP TABLE orders CASCADE").await;
    assert_eq!(dropped.notices, ["drop cascades to view v", "drop cascades to view u"]);
    assert_eq!(
        broker.lines("SELECT count(*) FROM pg_views WHERE schemaname = 'public'").await,
        ["0"]
    );
    check(&broker, "CREATE VIEW x AS SELECT * FROM nothing", "42P01").await;
    check(&broker, "CREATE VIEW x AS SELECT $1::int AS a", "42P02").await;
    check(&broker, "CREATE VIEW x AS SELECT 1 AS a, 2 AS a", "42701").await;
    check(&broker, "CREATE VIEW x (a, b) AS SELECT 1 AS a", "42601").await;
    check(&broker, "CREATE MATERIALIZED VIEW x AS SELECT 1 AS a", "0A000").await;
}

#[tokio::test]
async fn views_belong_to_transactions() {
    let broker = orders().await;
    let mut one = broker.session();
    let own = "BEGIN; CREATE TABLE t (k int PRIMARY KEY); CREATE VIEW v AS SELECT k + 1 AS n FROM \
               t; INSERT INTO t VALUES (1); SELECT * FROM v";
    assert_eq!(run(&mut one, own).await.expect("fits").lines(), ["2"]);
    check(&broker, "SELECT * FROM v", "42P01").await;
    run(&mut one, "SAVEPOINT s; DROP VIEW v; ROLLBACK TO s; COMMIT").await.expect("fits");
    assert_eq!(broker.lines("SELECT * FROM v").await, ["2"]);
    run(&mut one, "BEGIN; DROP TABLE t CASCADE; CREATE VIEW v AS SELECT 7 AS n")
        .await
        .expect("fits");
    run(&mut one, "ROLLBACK").await.expect("fits");
    assert_eq!(broker.lines("SELECT * FROM v").await, ["2"]);
}

#[tokio::test]
async fn the_catalogue_has_views() {
    let broker = orders().await;
    broker.run("CREATE VIEW v AS SELECT id, price::float8 AS price FROM orders").await;
    assert_eq!(broker.lines("SELECT relkind FROM pg_class WHERE oid = 'v'::regclass").await, ["v"]);
    let definition = "SELECT pg_get_viewdef('v'::regclass, true)";
    assert_eq!(broker.lines(definition).await, [" SELECT id, price::FLOAT8 AS price FROM orders;"]);
    assert_eq!(
        broker
            .lines(
                "SELECT table_name, view_definition IS NOT NULL FROM information_schema.views \
                 WHERE table_schema = 'public'"
            )
            .await,
        ["v|true"]
    );
    assert_eq!(
        broker
            .lines(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE \
                 attrelid = 'v'::regclass ORDER BY attnum"
            )
            .await,
        ["id|integer", "price|double precision"]
    );
    assert_eq!(
        broker
            .lines(
                "SELECT table_type FROM information_schema.tables WHERE table_name = 'v' \
                 AND table_schema = 'public'"
            )
            .await,
        ["VIEW"]
    );
}
