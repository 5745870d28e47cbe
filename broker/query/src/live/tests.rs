use super::token::Token;
use super::*;
use crate::testing::Broker;
use anabranch_engine::{
    CredentialChange, Grant, GrantFilter, Pattern, Permission, Principal, ResourceKind,
    credentials_of_password,
};
use anabranch_types::PartitionId;
use anabranch_types::batch::{Compression, Ending};

async fn open(broker: &Broker, filter: Option<&str>, start: Start) -> Result<LiveTable, Error> {
    let spec = LiveSpec { stream: "t".to_owned(), filter: filter.map(str::to_owned), start };
    LiveTable::open(&broker.sql, spec).await
}

/// Takes batches until `count` changes have come; gives them as text, and the last token.
async fn take(live: &mut LiveTable, count: usize) -> (Vec<String>, Option<String>) {
    let (mut lines, mut token) = (Vec::new(), None);
    while lines.len() < count {
        let batch = live.next_batch().await.expect("a batch");
        token = batch.token.or(token);
        for change in &batch.changes {
            let mut row = Vec::new();
            live.row_json(change, &mut row);
            let mut key = Vec::new();
            live.key_json(change, &mut key);
            lines.push(format!(
                "{:?} {:?} {} {}",
                batch.phase,
                change.op,
                String::from_utf8_lossy(&key),
                String::from_utf8_lossy(&row)
            ));
        }
    }
    (lines, token)
}

async fn keyed() -> Broker {
    let broker = Broker::start();
    broker
        .run("CREATE STREAM t (id text PRIMARY KEY, n int) WITH (mode = 'upsert', partitions = 2)")
        .await;
    broker.run("INSERT INTO t VALUES ('a', 1), ('b', 20), ('c', 3)").await;
    broker
}

#[tokio::test]
async fn a_table_is_followed_from_its_rows_on() {
    let broker = keyed().await;
    let mut live = open(&broker, Some("n < 10"), Start::Beginning).await.expect("a live query");
    let (lines, _) = take(&mut live, 2).await;
    assert_eq!(
        lines,
        [r#"Snapshot Upsert "a" {"n":1,"id":"a"}"#, r#"Snapshot Upsert "c" {"n":3,"id":"c"}"#,]
    );
    assert_eq!(live.next_batch().await.expect("the end").phase, Phase::SnapshotEnd);
    broker.run("UPDATE t SET n = 30 WHERE id = 'a'").await;
    broker.run("UPDATE t SET n = 5 WHERE id = 'b'").await;
    // Never matched, and still does not: nothing is said of it.
    broker.run("INSERT INTO t VALUES ('d', 99)").await;
    broker.run("DELETE FROM t WHERE id = 'd'").await;
    broker.run("DELETE FROM t WHERE id = 'c'").await;
    let (lines, token) = take(&mut live, 3).await;
    assert_eq!(
        lines,
        [
            r#"Live Delete "a" null"#,
            r#"Live Upsert "b" {"n":5,"id":"b"}"#,
            r#"Live Delete "c" null"#,
        ]
    );
    // Resumed, without gap or repeat.
    let mut again = open(&broker, Some("n < 10"), Start::Resume(token.expect("a token")))
        .await
        .expect("a resumed query");
    broker.run("INSERT INTO t VALUES ('e', 7)").await;
    let (lines, _) = take(&mut again, 1).await;
    assert_eq!(
        lines,
        [r#"Live Upsert "e" {"id":"e","n":7}"#
            .replace("\"id\":\"e\",\"n\":7", "\"n\":7,\"id\":\"e\"")]
    );
}

#[tokio::test]
async fn every_token_resumes_where_it_was_given() {
    let broker = Broker::start();
    broker.run("CREATE STREAM t WITH (partitions = 3)").await;
    let records: Vec<_> = (0..30).map(|n| (format!("{{\"n\":{n}}}"), n % 3)).collect();
    for (number, (value, partition)) in records.iter().enumerate() {
        let compression = if number % 2 == 0 { Compression::None } else { Compression::Lz4 };
        broker.produce_with("t", &[(None, Some(value), *partition)], compression).await;
    }
    let mut live = open(&broker, None, Start::Beginning).await.expect("a live query");
    let (all, _) = take(&mut live, 30).await;
    let expected: Vec<_> =
        records.iter().map(|(value, _)| format!("Live Upsert null {value}")).collect();
    assert_eq!(all, expected);
    // Each record came in a round of its own: resume after each of them.
    let stream = live.stream().clone();
    let mut rounds = open(&broker, None, Start::Beginning).await.expect("a live query");
    let batch = rounds.next_batch().await.expect("a batch");
    for (number, change) in batch.changes.iter().enumerate() {
        let token = Token {
            round: change.stamp.round,
            partition: change.stamp.partition,
            offset: change.stamp.offset,
        };
        let token = token.encode(broker.engine.cluster_id(), &stream);
        let mut again = open(&broker, None, Start::Resume(token)).await.expect("resumed");
        let left = 29 - number;
        if left > 0 {
            assert_eq!(take(&mut again, left).await.0, expected[number + 1..]);
        }
    }
}

#[tokio::test]
async fn an_append_stream_is_followed_from_now_and_from_offsets() {
    let broker = Broker::start();
    broker.run("CREATE STREAM t WITH (partitions = 1)").await;
    broker.produce("t", &[(None, Some("1"), 0), (Some("k"), Some("text"), 0)]).await;
    let mut now = open(&broker, None, Start::Now).await.expect("a live query");
    assert!(now.next_batch().await.expect("a token").token.is_some());
    let mut from = open(&broker, None, Start::Offsets(vec![(PartitionIndex(0), Offset(1))]))
        .await
        .expect("a live query");
    broker.produce("t", &[(None, None, 0)]).await;
    assert_eq!(take(&mut now, 1).await.0, ["Live Upsert null null"]);
    assert_eq!(take(&mut from, 2).await.0, [r#"Live Upsert "k" "text""#, "Live Upsert null null"]);
    let gone = open(&broker, None, Start::Offsets(vec![(PartitionIndex(0), Offset(9))])).await;
    assert_eq!(gone.err().map(|error| error.kind), Some(ErrorKind::OutOfRange));
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused() {
    let broker = keyed().await;
    let kind = |opened: Result<LiveTable, Error>| opened.err().map(|error| error.kind);
    let refused = Some(ErrorKind::InvalidArgument);
    for filter in ["n <", "nonsense = 1", "n", "count(*) > 1", "n IN (SELECT 1)", "n = $1"] {
        assert_eq!(kind(open(&broker, Some(filter), Start::Now).await), refused, "{filter}");
    }
    let other = Token::after_round(Round(1));
    let stream = find(&broker.engine, "t").expect("a stream");
    for token in [
        String::new(),
        "zz".to_owned(),
        other.encode("another cluster", &stream),
        Token { round: Round(u64::MAX >> 1), partition: PartitionId(0), offset: Offset(0) }
            .encode(broker.engine.cluster_id(), &stream),
    ] {
        assert_eq!(kind(open(&broker, None, Start::Resume(token)).await), refused);
    }
    let spec = LiveSpec { stream: "none".to_owned(), filter: None, start: Start::Now };
    assert_eq!(kind(LiveTable::open(&broker.sql, spec).await), Some(ErrorKind::NotFound));
}

#[tokio::test]
async fn transactions_are_read_when_they_are_decided() {
    let broker = keyed().await;
    broker.run("CREATE STREAM e WITH (partitions = 1)").await;
    let mut live = open(&broker, None, Start::Now).await.expect("a live query");
    live.next_batch().await.expect("where it begins");
    let count = "SELECT count(*), (SELECT count(*) AS n FROM t) AS m FROM e";
    let records = [(None, Some("1")), (None, Some("2"))];
    let meanwhile = async {
        assert_eq!(broker.lines(count).await, ["0|3"], "undecided");
        broker.produce("e", &[(None, Some("3"), 0)]).await;
        assert_eq!(broker.lines("SELECT _value FROM e").await, ["33"], "and delays nobody");
    };
    Box::pin(broker.transact("e", &records, Ending::Commit, meanwhile)).await;
    broker.transact("e", &records, Ending::Abort, async {}).await;
    let values = broker.lines("SELECT _offset, _value FROM e ORDER BY 1").await;
    assert_eq!(values, ["0|31", "1|32", "2|33"]);

    // Of the two rows, one is written again before the transaction is committed: that wins.
    let records = [(Some("a"), Some(r#"{"n":7}"#)), (Some("z"), Some(r#"{"n":8}"#))];
    let meanwhile = async {
        broker.run("INSERT INTO t VALUES ('y', 9)").await;
        broker.produce("t", &[(Some("a"), Some(r#"{"n":2}"#), 0)]).await;
        assert_eq!(broker.lines(count).await, ["3|4"]);
    };
    Box::pin(broker.transact("t", &records, Ending::Commit, meanwhile)).await;
    broker.transact("t", &[(Some("x"), Some("{}"))], Ending::Abort, async {}).await;
    broker.run("INSERT INTO t VALUES ('last', 0)").await;
    let (lines, token) = take(&mut live, 4).await;
    let expected = [
        r#"Live Upsert "y" {"n":9,"id":"y"}"#,
        r#"Live Upsert "a" {"n":2,"id":"a"}"#,
        r#"Live Upsert "z" {"n":8,"id":"z"}"#,
        r#"Live Upsert "last" {"n":0,"id":"last"}"#,
    ];
    assert_eq!(lines, expected);
    let rows =
        broker.lines("SELECT id, n FROM t WHERE id IN ('a', 'x', 'y', 'z') ORDER BY id").await;
    assert_eq!(rows, ["a|2", "y|9", "z|8"]);
    assert!(token.is_some());
}

#[tokio::test]
async fn who_may_not_read_any_more_is_given_nothing_more() {
    let broker = keyed().await;
    let engine = &broker.engine;
    let password = credentials_of_password("secret").expect("a good password");
    let users =
        ["root", "ann"].map(|name| (name.to_owned(), CredentialChange::Create(password.clone())));
    let own = engine.own_session();
    own.change_credentials(users.into()).await.expect("the broker may");
    let grant = Grant {
        kind: ResourceKind::Topic,
        pattern: Pattern::Literal("t".into()),
        principal: Principal::user("ann"),
        host: "*".into(),
        operation: Operation::Read,
        permission: Permission::Allow,
    };
    own.add_grants(vec![grant]).await.expect("the broker may");
    let ann = broker.sql.of(engine.session_by_certificate("127.0.0.1", "User:ann")).expect("SQL");
    let spec = LiveSpec { stream: "t".to_owned(), filter: None, start: Start::Beginning };
    let mut live = LiveTable::open(&ann, spec).await.expect("ann may read it");
    let _rows = take(&mut live, 3).await;
    own.remove_grants(vec![GrantFilter::everything()]).await.expect("the broker may");
    broker.run("INSERT INTO t VALUES ('d', 4)").await;
    let error = loop {
        match live.next_batch().await {
            Ok(batch) => assert!(batch.changes.is_empty(), "{batch:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, ErrorKind::Denied(ResourceKind::Topic));
}
