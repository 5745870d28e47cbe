//! The door as a driver sees it: tokio-postgres, over a real socket and a real engine.

use crate::{PostgresDoor, PostgresSettings};
use anabranch_engine::{Engine, Session};
use anabranch_net::Rules;
use anabranch_query::Sql;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;

struct Broker {
    address: SocketAddr,
    shutdown: CancellationToken,
    engine: Session,
    sql: Arc<Sql>,
    _directory: tempfile::TempDir,
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shutdown.cancel();
        let (sql, engine) = (self.sql.clone(), self.engine.clone());
        // Stopping blocks, which a test's own runtime does not take.
        let stopping = std::thread::spawn(move || {
            sql.stop();
            engine.stop();
        });
        stopping.join().expect("stopping does not panic");
    }
}

impl Broker {
    async fn start() -> Self {
        Self::start_with(100).await
    }

    async fn start_with(connections_max: usize) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut settings = anabranch_engine::Settings::new(directory.path());
        settings.disk_reserve_bytes = 0;
        let engine = Engine::open(settings).expect("an engine").own_session();
        let settings = anabranch_query::Settings { threads: 2, ..Default::default() };
        let sql = Sql::start(engine.clone(), settings).expect("query threads");
        let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
        let rules = Rules { connections_max, ..Rules::default() };
        let door = PostgresDoor::bind(PostgresSettings { listen, rules }).expect("a door");
        let address = door.addresses()[0];
        let shutdown = CancellationToken::new();
        tokio::spawn(door.serve(sql.clone(), shutdown.clone()));
        Self { address, shutdown, engine, sql, _directory: directory }
    }

    async fn connect(&self) -> Client {
        let config = format!("host=127.0.0.1 port={} user=tester dbname=any", self.address.port());
        let (client, connection) =
            tokio_postgres::connect(&config, NoTls).await.expect("a connection");
        tokio::spawn(connection);
        client
    }
}

fn code(error: &tokio_postgres::Error) -> String {
    error.code().map_or_else(|| format!("{error:?}"), |code| code.code().to_owned())
}

#[tokio::test]
async fn a_driver_prepares_binds_and_reads() {
    let broker = Broker::start().await;
    let client = broker.connect().await;
    client
        .batch_execute(
            "CREATE STREAM t (k text PRIMARY KEY, i integer, b bigint, f double precision, \
             ok boolean, d date, ts timestamptz, raw bytea, n numeric(10,2), doc json)",
        )
        .await
        .expect("a stream");
    let insert = client
        .prepare("INSERT INTO t (k, i, b, f, ok, raw) VALUES ($1, $2, $3, $4, $5, $6)")
        .await
        .expect("a statement");
    assert_eq!(
        insert.params(),
        [Type::TEXT, Type::INT4, Type::INT8, Type::FLOAT8, Type::BOOL, Type::BYTEA]
    );
    for number in 0..3i32 {
        let (key, raw) = (format!("k{number}"), vec![0u8, 255, number as u8]);
        let written = client
            .execute(&insert, &[&key, &number, &i64::from(number), &0.5f64, &(number > 0), &raw])
            .await
            .expect("an insert");
        assert_eq!(written, 1);
    }
    let rows = client
        .query("SELECT k, i, b, f, ok, raw, d FROM t WHERE k = $1", &[&"k2"])
        .await
        .expect("rows");
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!(row.get::<_, &str>("k"), "k2");
    assert_eq!((row.get::<_, i32>(1), row.get::<_, i64>(2)), (2, 2));
    assert_eq!((row.get::<_, f64>(3), row.get::<_, bool>(4)), (0.5, true));
    assert_eq!(row.get::<_, Vec<u8>>(5), [0, 255, 2]);
    assert_eq!(row.get::<_, Option<String>>("k").as_deref(), Some("k2"));
    assert!(row.columns()[6].type_() == &Type::DATE);
    let count: i64 = client
        .query_one("SELECT count(*) FROM t WHERE i >= $1", &[&1i32])
        .await
        .expect("a row")
        .get("count");
    assert_eq!(count, 2);
}

#[tokio::test]
async fn simple_queries_give_text_and_tags() {
    let broker = Broker::start().await;
    let client = broker.connect().await;
    let messages = client
        .simple_query(
            "CREATE TABLE t (k int PRIMARY KEY, x text); INSERT INTO t VALUES (1, 'a'), (2, NULL); \
             SELECT * FROM t ORDER BY k; SHOW server_version",
        )
        .await
        .expect("results");
    let text: Vec<String> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len()).map(|i| row.get(i).unwrap_or("NULL")).collect::<Vec<_>>().join("|"),
            ),
            SimpleQueryMessage::CommandComplete(count) => Some(format!("({count})")),
            _ => None,
        })
        .collect();
    assert_eq!(text, ["(0)", "(2)", "1|a", "2|NULL", "(2)", "15.0", "(0)"]);
}

#[tokio::test]
async fn errors_leave_the_connection_usable() {
    let broker = Broker::start().await;
    let mut client = broker.connect().await;
    let error = client.query("SELECT * FROM nothing", &[]).await.expect_err("no such stream");
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE));
    let hint = error.as_db_error().and_then(|error| error.hint()).unwrap_or_default();
    assert!(hint.contains("sys.streams"), "{hint}");
    client.batch_execute("CREATE STREAM t (k text PRIMARY KEY)").await.expect("a stream");
    client.execute("INSERT INTO t VALUES ('a')", &[]).await.expect("an insert");
    let error = client.execute("INSERT INTO t VALUES ('a')", &[]).await.expect_err("a duplicate");
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));

    let transaction = client.transaction().await.expect("a transaction");
    transaction.execute("INSERT INTO t VALUES ('b')", &[]).await.expect("an insert");
    transaction.commit().await.expect("a commit");
    let transaction = client.transaction().await.expect("a transaction");
    transaction.execute("INSERT INTO t VALUES ('c')", &[]).await.expect("an insert");
    transaction.execute("INSERT INTO t VALUES ('a')", &[]).await.expect_err("a duplicate");
    let error = transaction.execute("INSERT INTO t VALUES ('d')", &[]).await.expect_err("failed");
    assert_eq!(error.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
    transaction.rollback().await.expect("a rollback");
    let rows = client.query("SELECT k FROM t ORDER BY k", &[]).await.expect("rows");
    let keys: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(keys, ["a", "b"]);
}

#[tokio::test]
async fn portals_give_some_rows_at_a_time() {
    let broker = Broker::start().await;
    let mut client = broker.connect().await;
    client.batch_execute("CREATE STREAM e (n int)").await.expect("a stream");
    client
        .execute("INSERT INTO e SELECT n::int FROM generate_series(1, 1000) n", &[])
        .await
        .expect("an insert");
    let transaction = client.transaction().await.expect("a transaction");
    let portal = transaction.bind("SELECT n FROM e ORDER BY n", &[]).await.expect("a portal");
    let mut seen = Vec::new();
    for wanted in [1, 10, i32::MAX] {
        let rows = transaction.query_portal(&portal, wanted).await.expect("rows");
        seen.push(rows.len());
    }
    assert_eq!(seen, [1, 10, 989]);
    transaction.rollback().await.expect("a rollback");
}

#[tokio::test]
async fn a_statement_is_cancelled_while_it_runs() {
    let broker = Broker::start().await;
    let client = broker.connect().await;
    let token = client.cancel_token();
    let running = tokio::spawn(async move {
        let long = "SELECT count(*) FROM generate_series(1, 1000000000000) a";
        let error = client.simple_query(long).await.expect_err("cancelled");
        (client, code(&error))
    });
    // Cancelling what does not run yet is no error, and has no effect: it is asked again.
    while !running.is_finished() {
        token.cancel_query(NoTls).await.expect("a cancellation");
    }
    let (client, code) = running.await.expect("no panic");
    assert_eq!(code, "57014");
    client.simple_query("SELECT 1").await.expect("the connection goes on");
}

#[tokio::test]
async fn large_results_stream() {
    let broker = Broker::start().await;
    let client = broker.connect().await;
    let rows = client
        .query("SELECT n AS value, repeat('x', 1000) AS text FROM generate_series(1, 20000) n", &[])
        .await
        .expect("rows");
    assert_eq!(rows.len(), 20_000);
    assert_eq!(rows[19_999].get::<_, &str>("text").len(), 1000);
}

#[tokio::test]
async fn too_many_connections_are_told() {
    let broker = Broker::start_with(1).await;
    let _first = broker.connect().await;
    let config = format!("host=127.0.0.1 port={} user=tester", broker.address.port());
    let error = tokio_postgres::connect(&config, NoTls).await.map(|_| ()).expect_err("refused");
    assert_eq!(code(&error), "53300");
}

#[tokio::test]
async fn nonsense_ends_the_connection_with_an_error() {
    let broker = Broker::start().await;
    let check = async |bytes: &[u8], expected: &str| {
        let mut socket = TcpStream::connect(broker.address).await.expect("a socket");
        socket.write_all(bytes).await.expect("written");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.expect("read");
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains(expected), "{bytes:?}: {text}");
    };
    check(&[0, 0, 0, 1, 0, 0, 0, 0], "startup packet").await;
    check(&[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0], "startup packet").await;
    check(b"\0\0\0\x09\0\x02\0\0\0", "unsupported frontend protocol 2.0").await;
    let startup = b"\0\0\0\x15\0\x03\0\0user\0tester\0\0";
    let after = |message: &[u8]| [&startup[..], message].concat();
    check(&after(b"?\0\0\0\x04"), "invalid frontend message type").await;
    check(&after(b"Q\x7f\xff\xff\xff"), "at most").await;
    check(&after(b"Q\xff\xff\xff\xff"), "negative length").await;
    check(&after(b"B\0\0\0\x0a\0\0\xff\xff\xff\xff"), "a count does not fit").await;
}

#[tokio::test]
async fn shutting_down_tells_clients() {
    let broker = Broker::start().await;
    let client = broker.connect().await;
    client.simple_query("SELECT 1").await.expect("a result");
    broker.shutdown.cancel();
    let error = loop {
        if let Err(error) = client.simple_query("SELECT 1").await {
            break error;
        }
    };
    assert!(code(&error) == "57P01" || error.is_closed(), "{error:?}");
}
