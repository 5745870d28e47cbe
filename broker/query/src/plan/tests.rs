//! Whole queries: what PostgreSQL 15 says of the same rows.

use crate::testing::Broker;

async fn two_streams() -> Broker {
    let broker = Broker::start();
    broker
        .run("CREATE STREAM a (i int PRIMARY KEY, n numeric(10,2), f float8, t text, m interval)")
        .await;
    broker.run("CREATE STREAM b (i int PRIMARY KEY, n numeric(10,3), t text)").await;
    broker
        .run(
            "INSERT INTO a VALUES (1, 1.0, 0.0, 'x', '1 mon'), (2, 2.5, '-0', 'y', '30 days'), \
             (3, NULL, 'nan', 'x', '2 days'), (4, 1, 'nan', NULL, '-1 mon')",
        )
        .await;
    broker.run("INSERT INTO b VALUES (1, 1.000, 'x'), (2, 2.5, 'y'), (3, 7, 'x')").await;
    broker
}

async fn check(broker: &Broker, query: &str, expected: &[&str]) {
    assert_eq!(broker.lines(query).await, expected, "{query}");
}

#[tokio::test]
async fn subqueries_look_at_the_outer_row_in_any_way() {
    let broker = two_streams().await;
    check(
        &broker,
        "SELECT a.i, (SELECT count(*) FROM b WHERE b.i < a.i) FROM a ORDER BY 1",
        &["1|0", "2|1", "3|2", "4|3"],
    )
    .await;
    check(
        &broker,
        "SELECT a.i, (SELECT max(b.n) FROM b WHERE b.i <= a.i AND b.t = a.t) FROM a ORDER BY 1",
        &["1|1.000", "2|2.500", "3|7.000", "4|"],
    )
    .await;
    check(
        &broker,
        "SELECT a.i FROM a WHERE a.n < (SELECT avg(b.n) FROM b WHERE b.i <> a.i) ORDER BY 1",
        &["1", "2", "4"],
    )
    .await;
    check(
        &broker,
        "SELECT a.i, x.v FROM a, LATERAL (SELECT b.i AS v FROM b WHERE b.i <= a.i ORDER BY b.i \
         LIMIT 2) x ORDER BY 1, 2",
        &["1|1", "2|1", "2|2", "3|1", "3|2", "4|1", "4|2"],
    )
    .await;
    check(
        &broker,
        "SELECT a.i, x.v FROM a LEFT JOIN LATERAL (SELECT b.i AS v FROM b WHERE b.t = a.t \
         ORDER BY b.i DESC LIMIT 1) x ON true ORDER BY 1, 2",
        &["1|3", "2|2", "3|3", "4|"],
    )
    .await;
    check(
        &broker,
        "SELECT a.i, x.v FROM a, LATERAL (SELECT b.i * a.i AS v FROM b WHERE b.t = a.t) x \
         ORDER BY 1, 2",
        &["1|1", "1|3", "2|4", "3|3", "3|9"],
    )
    .await;
    check(
        &broker,
        "SELECT a.i, ARRAY(SELECT b.i FROM b WHERE b.i <= a.i ORDER BY 1 DESC) FROM a ORDER BY 1",
        &["1|{1}", "2|{2,1}", "3|{3,2,1}", "4|{3,2,1}"],
    )
    .await;
    check(&broker, "SELECT ARRAY(SELECT i FROM a WHERE i > 9)", &["{}"]).await;
}

#[tokio::test]
async fn subqueries_are_conditions_and_values_anywhere() {
    let broker = two_streams().await;
    check(
        &broker,
        "SELECT i, EXISTS (SELECT 1 FROM b WHERE b.i > a.i) FROM a ORDER BY 1",
        &["1|true", "2|true", "3|false", "4|false"],
    )
    .await;
    check(&broker, "SELECT EXISTS (SELECT 1 FROM b)", &["true"]).await;
    check(
        &broker,
        "SELECT i, i IN (SELECT i FROM b), n NOT IN (SELECT n FROM b) FROM a ORDER BY 1",
        &["1|true|false", "2|true|false", "3|true|", "4|false|false"],
    )
    .await;
    check(
        &broker,
        "SELECT i, i IN (SELECT i FROM b WHERE t = a.t) FROM a ORDER BY 1",
        &["1|true", "2|true", "3|true", "4|false"],
    )
    .await;
    check(
        &broker,
        "SELECT a.i, (SELECT b.t FROM b WHERE b.i = a.i) FROM a ORDER BY 1",
        &["1|x", "2|y", "3|x", "4|"],
    )
    .await;
    let error = broker.fails("SELECT (SELECT b.t FROM b WHERE b.i <= a.i) FROM a").await;
    assert_eq!(error.sqlstate, "21000");
}

#[tokio::test]
async fn equal_values_are_one_whatever_they_look_like() {
    let broker = two_streams().await;
    check(
        &broker,
        "SELECT n, count(*) FROM (VALUES (1.0), (1.00), (2)) v(n) GROUP BY n ORDER BY 2",
        &["2|1", "1.0|2"],
    )
    .await;
    check(&broker, "SELECT count(DISTINCT n) FROM (VALUES (1.0), (1.00), (2)) v(n)", &["2"]).await;
    check(&broker, "SELECT DISTINCT n FROM (VALUES (1.0), (1.00)) v(n)", &["1.0"]).await;
    check(&broker, "SELECT count(*) FROM a GROUP BY m ORDER BY 1", &["1", "1", "2"]).await;
    check(&broker, "SELECT i FROM a ORDER BY m, i", &["4", "3", "1", "2"]).await;
    check(
        &broker,
        "SELECT i, row_number() OVER (PARTITION BY f ORDER BY i) FROM a ORDER BY 1",
        &["1|1", "2|2", "3|1", "4|2"],
    )
    .await;
    check(
        &broker,
        "SELECT i, count(*) OVER (PARTITION BY ('2'::numeric >= i) ORDER BY i) FROM a ORDER BY 1",
        &["1|1", "2|2", "3|1", "4|2"],
    )
    .await;
    check(&broker, "SELECT n FROM b EXCEPT SELECT n FROM a", &["7.000"]).await;
    check(&broker, "SELECT a.i, b.i FROM a JOIN b USING (n) ORDER BY 1", &["1|1", "2|2", "4|1"])
        .await;
    check(&broker, "SELECT 1.0 IN (SELECT n FROM a)", &["true"]).await;
    check(
        &broker,
        "SELECT j FROM (VALUES ('[]'::jsonb), ('1'), ('\"a\"'), ('{\"a\":1}'), ('null'), \
         ('[1,2]'), ('true')) v(j) ORDER BY j",
        &["[]", "null", "\"a\"", "1", "true", "[1, 2]", "{\"a\": 1}"],
    )
    .await;
}
