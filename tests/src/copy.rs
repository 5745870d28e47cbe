//! COPY, in and out, with psql and psycopg.

use crate::broker::{Broker, root};
use crate::clients::installed;
use crate::process::{program, run, run_any, say};
use crate::psql::{error, psql, query, value};
use std::path::Path;
use tempfile::TempDir;

/// A column of every type.
const EVERY: &str = "id bigint PRIMARY KEY, b boolean, s smallint, i integer, r real, \
    f double precision, n numeric(12,3), t text, y bytea, d date, ts timestamp, tz timestamptz, \
    tm time, iv interval, u uuid, j json, jb jsonb, texts text[], ints integer[], nums numeric[]";

/// Rows of [`EVERY`] as PostgreSQL's COPY writes them.
const ROWS: &str = concat!(
    "1\tt\t-3\t42\t0.5\t1e+300\t12.500\ta\\tb\\nc\\\\d, \"e\"\t\\\\x00ff\t2024-02-29\t",
    "2024-02-29 12:30:00.25\t2024-02-29 12:30:00.25+00\t04:05:06.789\t1 mon 3 days 04:00:00\t",
    "0190163d-8694-739b-aea5-966c26f8ad91\t{\"b\": 1, \"a\": null}\t{\"a\": null, \"b\": 1}\t",
    "{a,\"b c\",NULL,\"\\\\\"\"}\t{1,NULL,3}\t{1.50,100000000000000000000.1}\n",
    "2\tf\t0\t-2147483648\tNaN\t-Infinity\t-0.001\t\t\\\\x\tinfinity\tinfinity\t-infinity\t",
    "00:00:00\t00:00:00\t00000000-0000-0000-0000-000000000000\t[]\t\"x\"\t{}\t{}\t{}\n",
    "3\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n",
    "4\tt\t1\t1\t1\t1\t1.000\t\\\\N\t\\\\x2c\t2000-01-01\t2000-01-01 00:00:00\t",
    "2000-01-01 00:00:00+00\t23:59:59\t-1 days\tffffffff-ffff-ffff-ffff-ffffffffffff\t1\ttrue\t",
    "{\"\",NULL}\t{0}\t{0}\n",
);

/// psql with `\copy` and this as its standard input.
fn copy(broker: &Broker, command: &str, input: &str) -> std::process::Output {
    run_any(psql(broker).args(["-v", "VERBOSITY=verbose", "-c", command]), input.as_bytes())
}

#[track_caller]
fn copied(broker: &Broker, command: &str, input: &str) -> String {
    let output = copy(broker, command, input);
    assert!(output.status.success(), "{command}: {}", say(&output));
    say(&output)
}

#[track_caller]
fn refused(broker: &Broker, command: &str, input: &str, words: &[&str]) {
    let output = copy(broker, command, input);
    let said = say(&output);
    assert!(!output.status.success(), "{command}: succeeded");
    for word in words {
        assert!(said.contains(word), "{command}: {word:?} was to come, not {said}");
    }
}

fn file(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn every_type_goes_round_in_every_format() {
    let broker = Broker::start();
    let dir = tempfile::tempdir().expect("a temporary directory");
    query(&broker, &format!("CREATE STREAM every ({EVERY})"));
    copied(&broker, "\\copy every FROM pstdin", ROWS);
    let all = |stream: &str| query(&broker, &format!("SELECT * FROM {stream} ORDER BY id"));
    let rows = all("every");
    // A line of text within a value is a line of psql's output.
    assert_eq!(rows.len(), 5, "{rows:?}");
    assert_eq!(copied(&broker, "COPY (SELECT * FROM every ORDER BY id) TO STDOUT", ""), ROWS);
    for format in ["text", "csv", "binary"] {
        let (again, path) = (format!("again_{format}"), file(&dir, format));
        query(&broker, &format!("CREATE STREAM {again} ({EVERY})"));
        copied(&broker, &format!("\\copy every TO '{path}' (FORMAT {format})"), "");
        copied(&broker, &format!("\\copy {again} FROM '{path}' (FORMAT {format})"), "");
        assert_eq!(all(&again), rows, "{format}");
        let log =
            |of: &str| query(&broker, &format!("SELECT _key, _json FROM log.{of} ORDER BY 1"));
        assert_eq!(log(&again), log("every"), "the events of {format}");
    }
}

#[test]
fn options_are_read_as_they_are_written() {
    let broker = Broker::start();
    query(&broker, "CREATE STREAM t (a integer, b text, c text)");
    let taken = |command: &str, input: &str, expected: &[&str]| {
        copied(&broker, command, input);
        let rows = query(&broker, "SELECT a, coalesce(b, '-'), coalesce(c, '-') FROM t ORDER BY a");
        assert_eq!(rows, expected, "{command}");
        query(&broker, "DROP STREAM t");
        query(&broker, "CREATE STREAM t (a integer, b text, c text)");
    };
    let rows = ["1|x|-", "2||y"];
    taken("\\copy t FROM pstdin CSV HEADER", "a,b,c\n1,x,\n2,\"\",y\n", &rows);
    taken("\\copy t FROM pstdin WITH (FORMAT csv, HEADER match)", "a,b,c\n1,x,\n2,\"\",y\n", &rows);
    taken("\\copy t FROM pstdin WITH DELIMITER ';' NULL AS '?'", "1;x;?\n2;;y\n", &rows);
    taken("\\copy t FROM pstdin WITH NULL AS ''", "1\tx\t\n2\ta\ty\n", &["1|x|-", "2|a|y"]);
    taken("\\copy t (c, a) FROM pstdin (DELIMITER '|', FREEZE)", "x|1\n", &["1|-|x"]);
    taken(
        "\\copy t FROM pstdin CSV QUOTE '''' ESCAPE AS '\\' FORCE NOT NULL b",
        "1,,'it\\'s'\n",
        &["1||it's"],
    );
    copied(&broker, "\\copy t FROM pstdin", "1\tx y\t\\N\n2\t\t\"q\"\n");
    let given = |command: &str, expected: &str| {
        assert_eq!(copied(&broker, command, ""), expected, "{command}");
    };
    let ordered = "(SELECT * FROM t ORDER BY a)";
    given(&format!("COPY {ordered} TO STDOUT"), "1\tx y\t\\N\n2\t\t\"q\"\n");
    given(
        &format!("COPY {ordered} TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE (a, c))"),
        "a,b,c\n\"1\",x y,\n\"2\",\"\",\"\"\"q\"\"\"\n",
    );
    given(
        &format!("COPY {ordered} TO STDOUT CSV NULL 'none' FORCE QUOTE *"),
        "\"1\",\"x y\",none\n\"2\",\"\",\"\"\"q\"\"\"\n",
    );
    given(
        &format!("COPY {ordered} TO STDOUT WITH DELIMITER ' ' HEADER"),
        "a b c\n1 x\\ y \\N\n2  \"q\"\n",
    );
    given("COPY (VALUES (1, NULL), (2, 'x')) TO STDOUT", "1\t\\N\n2\tx\n");
    given("COPY (INSERT INTO t VALUES (3, 'c') RETURNING a, b) TO STDOUT", "3\tc\n");
    given("COPY log.t (_offset) TO STDOUT", "0\n1\n2\n");
    given("COPY (SELECT name FROM sys.streams) TO STDOUT", "t\n");
    given("COPY (SELECT 1 WHERE false) TO STDOUT CSV HEADER", "?column?\n");
}

#[test]
fn undeclared_streams_go_round_by_key_and_value() {
    let broker = Broker::start();
    query(&broker, "CREATE STREAM raw WITH (mode = 'upsert')");
    copied(&broker, "\\copy raw FROM pstdin", "k1\t{\"n\": 1}\n\\\\x6b32\t[2]\n");
    assert_eq!(
        query(&broker, "SELECT _key, _json FROM raw ORDER BY 1"),
        ["\\x6b31|{\"n\": 1}", "\\x6b32|[2]"]
    );
    let rows = copied(&broker, "COPY raw TO STDOUT", "");
    let mut rows: Vec<_> = rows.lines().collect();
    rows.sort_unstable();
    assert_eq!(rows, ["\\\\x6b31\t{\"n\": 1}", "\\\\x6b32\t[2]"]);
}

#[test]
fn errors_say_where_and_nothing_is_written() {
    let broker = Broker::start();
    query(&broker, "CREATE STREAM t (k integer PRIMARY KEY, n integer NOT NULL, day date)");
    let from = "\\copy t FROM pstdin";
    let check = |input: &str, words: &[&str]| refused(&broker, from, input, words);
    check(
        "1\t1\t\\N\n2\tabc\t\\N\n",
        &[
            "22P02",
            "invalid input syntax for type integer: \"abc\"",
            "CONTEXT:  COPY t, line 2, column n: \"abc\"",
        ],
    );
    check("1\t1\tnever\n", &["22007", "COPY t, line 1, column day: \"never\""]);
    check("1\t99999999999\t\\N\n", &["22003", "COPY t, line 1, column n: \"99999999999\""]);
    check("1\t1\t\\N\n2\t\\N\t\\N\n", &["23502", "COPY t, line 2"]);
    check("1\t1\t\\N\n2\t1\t\\N\n1\t1\t\\N\n", &["23505", "COPY t, line 3"]);
    check("1\t1\n", &["22P04", "missing data for column \"day\"", "COPY t, line 1: \"1\t1\""]);
    check("1\t1\t\\N\t\n", &["22P04", "extra data after last expected column"]);
    let csv = "\\copy t FROM pstdin CSV";
    refused(&broker, csv, "1,1,\"\n", &["22P04", "unterminated CSV quoted field"]);
    refused(&broker, "\\copy t FROM pstdin BINARY", "1,1,1\n", &["22P04", "signature"]);
    refused(&broker, "\\copy t (k) FROM pstdin", "1\n", &["23502"]);
    refused(&broker, "\\copy t (k, x) FROM pstdin", "1\n", &["42703"]);
    refused(&broker, "\\copy nowhere FROM pstdin", "1\n", &["42P01"]);
    refused(&broker, "\\copy log.t FROM pstdin", "1\n", &["42809"]);
    assert_eq!(value(&broker, "SELECT count(*) FROM log.t"), "0");
    let says = |sql: &str, words: &[&str]| {
        let said = error(&broker, sql);
        words.iter().for_each(|word| assert!(said.contains(word), "{sql}: {word}, not {said}"));
    };
    says("COPY t FROM '/etc/passwd'", &["42501", "\\copy of psql"]);
    says("COPY t TO PROGRAM 'cat'", &["42501", "\\copy of psql"]);
    says("COPY t FROM STDIN (FORMAT xml)", &["22023", "\"xml\" not recognized"]);
    says("COPY t FROM STDIN (DELIMITER 'ab')", &["0A000", "single one-byte"]);
    says("COPY t FROM STDIN (QUOTE '|')", &["0A000", "only in CSV mode"]);
    says("COPY t FROM STDIN (HEADER, HEADER)", &["42601", "redundant"]);
    says("COPY t FROM STDIN (ENCODING 'LATIN1')", &["0A000", "UTF-8"]);
    says("COPY t FROM STDIN CSV FORCE NULL x", &["42P10"]);
    says("COPY t FROM STDIN WHERE k > 1", &["0A000"]);
    says("COPY (DELETE FROM t WHERE k = 1) TO STDOUT", &["0A000", "RETURNING"]);
    says("COPY (SELECT $1) TO STDOUT", &["42P02"]);
    says("COPY (SELECT k FROM nowhere) TO STDOUT", &["42P01"]);
}

#[test]
fn a_transaction_has_the_rows_of_its_copy() {
    let broker = Broker::start();
    query(&broker, "CREATE STREAM t (k integer PRIMARY KEY)");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = file(&dir, "rows");
    std::fs::write(&path, "1\n2\n").expect("the directory can be written");
    let session = |statements: &[&str]| {
        let mut psql = psql(&broker);
        for statement in statements {
            psql.args(["-c", statement]);
        }
        run_any(&mut psql, &[])
    };
    let from = format!("\\copy t FROM '{path}'");
    let count = || value(&broker, "SELECT count(*) FROM t");
    assert!(session(&["BEGIN", &from, "ROLLBACK"]).status.success());
    assert_eq!(count(), "0");
    assert!(session(&["BEGIN", "INSERT INTO t VALUES (3)", &from, "COMMIT"]).status.success());
    assert_eq!(count(), "3");
    let twice = session(&["DELETE FROM t", "BEGIN", "INSERT INTO t VALUES (2)", &from]);
    assert!(say(&twice).contains("duplicate key"), "{}", say(&twice));
    let read_only = session(&["BEGIN READ ONLY", &from]);
    assert!(say(&read_only).contains("read-only transaction"), "{}", say(&read_only));
    assert_eq!(count(), "0");
}

/// More than one append takes.
fn large(path: &Path, width: usize, last: &str) -> usize {
    const ROWS: usize = 120_000;
    let filler = "x".repeat(width);
    let rows = (0..ROWS).map(|number| format!("{number},{filler}\n"));
    let rows: String = rows.chain([last.to_owned()]).collect();
    assert!(rows.len() > 30_000_000);
    std::fs::write(path, rows).expect("the directory can be written");
    ROWS
}

#[test]
fn what_is_too_large_for_one_append_goes_in_pieces() {
    let broker = Broker::start();
    query(&broker, "CREATE STREAM t (k integer PRIMARY KEY, note text) WITH (partitions = 2)");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = file(&dir, "large.csv");
    let rows = large(Path::new(&path), 250, "");
    let from = format!("\\copy t FROM '{path}' CSV");
    let mut within = psql(&broker);
    let count = "SELECT count(*) FROM t";
    let within = within.args(["-c", "BEGIN", "-c", &from, "-c", count, "-c", "ROLLBACK"]);
    assert_eq!(run(within, &[]).trim(), rows.to_string());
    assert_eq!(value(&broker, "SELECT count(*) FROM log.t"), "0");
    let said = copied(&broker, &from, "");
    assert!(said.contains("appended in 2 pieces"), "{said}");
    assert_eq!(value(&broker, "SELECT count(*) FROM t"), rows.to_string());
    // The first piece stays; its key is met again in the second.
    query(&broker, "CREATE STREAM u (k integer PRIMARY KEY, note text)");
    large(Path::new(&path), 250, "0,again\n");
    let words = ["23505", "COPY u, line 120001", "were appended before and stay in the stream"];
    refused(&broker, &format!("\\copy u FROM '{path}' CSV"), "", &words);
    let kept: usize = value(&broker, "SELECT count(*) FROM u").parse().expect("a number");
    assert!(kept > 10_000 && kept < rows, "{kept}");
    // No piece is larger than the first.
    query(&broker, "CREATE STREAM wide (k integer, note text)");
    large(Path::new(&path), 600, "");
    let said = copied(&broker, &format!("\\copy wide FROM '{path}' CSV"), "");
    assert!(said.contains("appended in 4 pieces"), "{said}");
    assert_eq!(value(&broker, "SELECT count(*) FROM wide"), rows.to_string());
}

#[test]
fn psycopg_copies() {
    let broker = Broker::start();
    let mut client = program(installed("TEST_PYTHON"));
    client.arg(root().join("tests/clients/python/copy_rows.py"));
    run(client.args(["127.0.0.1", &broker.postgres_port().to_string()]), &[]);
}
