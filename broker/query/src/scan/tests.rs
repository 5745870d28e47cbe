use super::key_access::{KeyAccess, pushdown};
use super::log_bounds::LogBounds;
use crate::rows::{Layout, Relation};
use crate::testing::Broker;
use anabranch_engine::table::KeyRange;
use anabranch_types::{Offset, Timestamp};
use bytes::Bytes;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, col, lit};
use std::ops::Bound;
use std::sync::Arc;

async fn layouts(broker: &Broker) -> (Arc<Layout>, Arc<Layout>) {
    broker.run("CREATE STREAM by_text (k text PRIMARY KEY, n int)").await;
    broker.run("CREATE STREAM by_two (a int, b text, n int, PRIMARY KEY (a, b))").await;
    let layout = |name| {
        let stream = crate::catalog::find(&broker.engine, name).expect("a stream");
        Layout::new(&stream, Relation::Rows)
    };
    (layout("by_text"), layout("by_two"))
}

fn keys(keys: &[&str]) -> KeyAccess {
    KeyAccess::Points(keys.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect())
}

fn range(from: Bound<&str>, to: Bound<&str>) -> KeyAccess {
    let bytes = |bound: Bound<&str>| match bound {
        Bound::Included(key) => Bound::Included(Bytes::copy_from_slice(key.as_bytes())),
        Bound::Excluded(key) => Bound::Excluded(Bytes::copy_from_slice(key.as_bytes())),
        Bound::Unbounded => Bound::Unbounded,
    };
    KeyAccess::Range(KeyRange { from: bytes(from), to: bytes(to) })
}

#[tokio::test]
async fn predicates_on_the_key_become_lookups_and_ranges() {
    let broker = Broker::start();
    let (text, two) = layouts(&broker).await;
    let check = |layout: &Layout, filters: &[Expr], expected: KeyAccess| {
        assert_eq!(KeyAccess::new(layout, filters), expected, "{filters:?}");
    };
    check(&text, &[], range(Bound::Unbounded, Bound::Unbounded));
    check(&text, &[col("k").eq(lit("a"))], keys(&["a"]));
    check(&text, &[lit("a").eq(col("k"))], keys(&["a"]));
    check(&text, &[col("k").in_list(vec![lit("b"), lit("a"), lit("b")], false)], keys(&["a", "b"]));
    check(
        &text,
        &[col("k").in_list(vec![lit("b"), lit("a")], false), col("k").gt(lit("a"))],
        keys(&["b"]),
    );
    let either = col("k").eq(lit("b")).or(col("k").eq(lit("a")));
    check(&text, &[either], keys(&["a", "b"]));
    check(&text, &[col("k").eq(lit("a")), col("k").eq(lit("b"))], keys(&[]));
    check(
        &text,
        &[col("k").gt_eq(lit("a")), lit("c").gt(col("k"))],
        range(Bound::Included("a"), Bound::Excluded("c")),
    );
    check(&text, &[col("k").gt(lit("c")), col("k").lt(lit("a"))], keys(&[]));
    check(
        &text,
        &[col("k").like(lit("N1%x"))],
        range(Bound::Included("N1"), Bound::Excluded("N2")),
    );
    check(&text, &[col("_key").eq(lit(&b"a"[..]))], keys(&["a"]));
    check(&two, &[col("a").eq(lit(7)), col("b").eq(lit("x"))], keys(&[r#"[7,"x"]"#]));
    check(
        &two,
        &[col("a").in_list(vec![lit(7), lit(8)], false), col("b").eq(lit("x"))],
        keys(&[r#"[7,"x"]"#, r#"[8,"x"]"#]),
    );
}

#[tokio::test]
async fn only_what_is_read_wholly_is_exact() {
    use TableProviderFilterPushDown::{Exact, Inexact, Unsupported};
    let broker = Broker::start();
    let (text, two) = layouts(&broker).await;
    let check = |layout: &Layout, filters: &[Expr], expected: &[TableProviderFilterPushDown]| {
        let filters: Vec<_> = filters.iter().collect();
        assert_eq!(pushdown(layout, &filters), expected, "{filters:?}");
    };
    check(&text, &[col("k").eq(lit("a")), col("n").eq(lit(1))], &[Exact, Unsupported]);
    check(&text, &[col("k").lt(lit("a"))], &[Exact]);
    check(&text, &[col("k").like(lit("a%"))], &[Inexact]);
    check(&text, &[col("k").like(lit("%a"))], &[Unsupported]);
    check(&text, &[col("k").not_eq(lit("a"))], &[Unsupported]);
    check(&two, &[col("a").eq(lit(7))], &[Unsupported]);
    check(&two, &[col("a").gt(lit(7)), col("b").eq(lit("x"))], &[Unsupported, Unsupported]);
    check(&two, &[col("a").eq(lit(7)), col("b").eq(lit("x"))], &[Exact, Exact]);
}

#[test]
fn predicates_on_positions_bound_what_is_read() {
    let check = |filters: &[Expr], expected: LogBounds| {
        assert_eq!(LogBounds::new(filters), expected, "{filters:?}");
    };
    check(&[], LogBounds::default());
    check(
        &[col("_offset").gt(lit(9i64)), lit(20i64).gt_eq(col("_offset"))],
        LogBounds { from: Some(Offset(10)), to: Some(Offset(21)), ..LogBounds::default() },
    );
    check(
        &[col("_partition").in_list(vec![lit(0), lit(2)], false), col("_partition").eq(lit(2))],
        LogBounds { partitions: Some(vec![2]), ..LogBounds::default() },
    );
    let time = datafusion::scalar::ScalarValue::TimestampNanosecond(
        Some(1_500_000_999_999),
        Some("+00:00".into()),
    );
    check(
        &[col("_ts").gt_eq(lit(time))],
        LogBounds { since: Some(Timestamp(1_500_000)), ..LogBounds::default() },
    );
    check(&[col("other").eq(lit(1))], LogBounds::default());
}
