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
