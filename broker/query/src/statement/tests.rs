use super::*;
use crate::error::sqlstate;
use anabranch_engine::{ColumnType, Mode};

fn one(text: &str) -> Kind {
    let mut statements = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(statements.len(), 1, "{text}");
    statements.remove(0).kind
}

fn fails(text: &str) -> &'static str {
    match parse(text) {
        Ok(_) => panic!("{text} was taken"),
        Err(error) => error.sqlstate,
    }
}

#[test]
fn texts_are_split_into_statements() {
    let check = |text: &str, expected: &[&str]| {
        let found = parse(text).expect("statements");
        let texts: Vec<_> = found.iter().map(Statement::text).collect();
        assert_eq!(texts, expected);
    };
    check("", &[]);
    check(" ; ;\n-- nothing\n", &[]);
    check("SELECT 1; SELECT 2", &["SELECT 1", "SELECT 2"]);
    check("SELECT ';' ; BEGIN;", &["SELECT ';'", "BEGIN"]);
    check(
        "SELECT 'ä\n;ö' AS \"ü;\";\n  SELECT 2 -- x\n ;",
        &["SELECT 'ä\n;ö' AS \"ü;\"", "SELECT 2"],
    );
    check("SELECT $$;$$", &["SELECT $$;$$"]);
}

#[test]
fn table_is_a_query_where_one_may_stand() {
    for text in [
        "TABLE t",
        "(TABLE t) UNION ALL TABLE log.t",
        "EXPLAIN TABLE t",
        "SELECT 1 AS table, 2",
        "SELECT a AS table FROM t",
        "WITH t AS (TABLE u) TABLE t",
    ] {
        assert!(matches!(one(text), Kind::Query(_)), "{text}");
    }
    assert!(matches!(one("CREATE VIEW v AS TABLE t"), Kind::View(_)));
    assert!(matches!(one("CREATE TABLE v AS TABLE t"), Kind::Create(_)));
    assert!(matches!(one("DROP TABLE t"), Kind::Drop(_)));
    assert!(matches!(one("TRUNCATE TABLE t"), Kind::Truncate(_)));
}

#[test]
fn streams_are_created() {
    let Kind::Create(create) = one(
        "CREATE STREAM IF NOT EXISTS aircraft (tailnum text PRIMARY KEY, \"Seats\" int NOT NULL, \
         price numeric(10,2), at timestamp with time zone) \
         WITH (mode = 'upsert', partitions = 4, retention_ms = 86400000, \"segment.bytes\" = 1048576)",
    ) else {
        panic!("no CREATE")
    };
    assert_eq!(create.name.name, "aircraft");
    assert!(create.if_not_exists);
    assert_eq!((create.mode, create.partitions), (Some(Mode::Upsert), Some(4)));
    let settings: Vec<_> = create.settings.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(settings, ["retention.ms=86400000", "segment.bytes=1048576"]);
    let columns: Vec<_> = create
        .columns
        .iter()
        .map(|new| &new.column)
        .map(|c| (c.name.as_str(), c.data_type, c.in_key, c.not_null))
        .collect();
    assert_eq!(
        columns,
        [
            ("tailnum", ColumnType::Text, true, true),
            ("Seats", ColumnType::Integer, false, true),
            ("price", ColumnType::Numeric { precision: 10, scale: 2 }, false, false),
            ("at", ColumnType::Timestamptz, false, false),
        ]
    );
}

#[test]
fn a_primary_key_makes_an_upsert_stream() {
    let mode = |text: &str| match one(text) {
        Kind::Create(create) => create.mode,
        _ => panic!("no CREATE"),
    };
    assert_eq!(mode("CREATE TABLE t (a int, b text, PRIMARY KEY (a, b))"), Some(Mode::Upsert));
    assert_eq!(mode("CREATE TABLE t (a int)"), None);
    assert_eq!(mode("CREATE STREAM t"), None);
}

#[test]
fn definitions_that_would_lie_are_refused() {
    let check = |text, expected| assert_eq!(fails(text), expected, "{text}");
    check(
        "CREATE STREAM t (a int PRIMARY KEY) WITH (mode = 'append')",
        sqlstate::INVALID_TABLE_DEFINITION,
    );
    check("CREATE STREAM t (a int, b int, PRIMARY KEY (b, a))", sqlstate::INVALID_TABLE_DEFINITION);
    check(
        "CREATE STREAM t (a int PRIMARY KEY, PRIMARY KEY (a))",
        sqlstate::INVALID_TABLE_DEFINITION,
    );
    check("CREATE STREAM t (a int, PRIMARY KEY (x))", sqlstate::UNDEFINED_COLUMN);
    check("CREATE STREAM t (a int, a text)", sqlstate::DUPLICATE_COLUMN);
    check("CREATE STREAM t (_offset int)", sqlstate::RESERVED_NAME);
    check("CREATE TABLE t (a varchar(0))", sqlstate::INVALID_PARAMETER);
    check("CREATE TABLE t (a int DEFAULT 1 DEFAULT 2)", sqlstate::SYNTAX_ERROR);
    check("CREATE TABLE t (a serial DEFAULT 2)", sqlstate::SYNTAX_ERROR);
    check("CREATE TABLE t (a text GENERATED ALWAYS AS IDENTITY)", sqlstate::INVALID_PARAMETER);
    check("CREATE TABLE t (a int UNIQUE)", sqlstate::FEATURE_NOT_SUPPORTED);
    check("CREATE TEMP TABLE t (a int)", sqlstate::FEATURE_NOT_SUPPORTED);
    check("CREATE STREAM t (a int REFERENCES u)", sqlstate::FEATURE_NOT_SUPPORTED);
    check("CREATE STREAM t (a int, UNIQUE (a))", sqlstate::FEATURE_NOT_SUPPORTED);
    check("CREATE STREAM t (a frob)", sqlstate::UNDEFINED_OBJECT);
    check("CREATE STREAM t (a numeric(99,2))", sqlstate::INVALID_PARAMETER);
    check("CREATE STREAM t WITH (mode = 'document')", sqlstate::FEATURE_NOT_SUPPORTED);
    check("CREATE STREAM t (a int", sqlstate::SYNTAX_ERROR);
    check("CREATE UNIQUE INDEX i ON t (a)", sqlstate::FEATURE_NOT_SUPPORTED);
    check("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u", sqlstate::FEATURE_NOT_SUPPORTED);
    check("SELECT 1 FROM", sqlstate::SYNTAX_ERROR);
    check("SELECT 'x", sqlstate::SYNTAX_ERROR);
}

#[test]
fn streams_are_altered_and_dropped() {
    let Kind::Alter(alter) = one(
        "ALTER STREAM flights ADD COLUMN year integer, -- 0.1 % null\n ADD IF NOT EXISTS \"x y\" text;",
    ) else {
        panic!("no ALTER")
    };
    let added = |action: &StreamAction| match action {
        StreamAction::AddColumn(new, may) => (new.column.name.clone(), *may),
        other => panic!("{other:?}"),
    };
    let names: Vec<_> = alter.actions.iter().map(added).collect();
    assert_eq!(names, [("year".to_owned(), false), ("x y".to_owned(), true)]);
    assert!(matches!(
        one("ALTER TABLE public.flights INFER SCHEMA"),
        Kind::Alter(AlterStream { actions, .. }) if actions == [StreamAction::InferSchema]
    ));
    let Kind::Alter(alter) = one("ALTER STREAM f SET (retention_ms = -1, durability = 'os')")
    else {
        panic!("no ALTER")
    };
    let [StreamAction::Settings(settings)] = alter.actions.as_slice() else {
        panic!("no settings")
    };
    assert_eq!(settings.get("retention.ms"), Some(&Some("-1".to_owned())));
    let Kind::Drop(drop) = one("DROP STREAM IF EXISTS a, \"B\" CASCADE") else { panic!("no DROP") };
    assert!(drop.if_exists);
    assert_eq!(drop.names.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["a", "B"]);
}

#[test]
fn session_statements_are_told() {
    let check = |text: &str, expected: SessionStatement| match one(text) {
        Kind::Session(found) => assert_eq!(found, expected, "{text}"),
        other => panic!("{text}: {other:?}"),
    };
    let set = |name: &str, value: &str| SessionStatement::Set {
        name: name.to_owned(),
        value: SetValue::Text(value.to_owned()),
        local: false,
    };
    check("SET statement_timeout = '5s'", set("statement_timeout", "5s"));
    check("SET SESSION statement_timeout TO 500", set("statement_timeout", "500"));
    check("SET TIME ZONE 'UTC'", set("timezone", "UTC"));
    check("set search_path to public, log", set("search_path", "public, log"));
    check(
        "SHOW TRANSACTION ISOLATION LEVEL",
        SessionStatement::Show(Some("transaction_isolation".to_owned())),
    );
    check("SHOW ALL", SessionStatement::Show(None));
    check(
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        SessionStatement::Begin { read_only: Some(true) },
    );
    check("START TRANSACTION", SessionStatement::Begin { read_only: None });
    check("END", SessionStatement::Commit);
    check("ABORT", SessionStatement::Rollback);
    check("ROLLBACK TO SAVEPOINT s", SessionStatement::RollbackTo("s".to_owned()));
    check("DISCARD ALL", SessionStatement::Discard);
    assert_eq!(fails("BEGIN ISOLATION LEVEL SERIALIZABLE"), sqlstate::FEATURE_NOT_SUPPORTED);
}

#[test]
fn results_are_named_as_postgresql_names_them() {
    let check = |text: &str, expected: &[&str]| {
        let Kind::Query(query) = one(text) else { panic!("no query") };
        let names = output_names(&query).apply(expected.len(), |number| format!("given_{number}"));
        assert_eq!(names, expected, "{text}");
    };
    check("SELECT count(*), max(a) FROM t", &["count", "max"]);
    check("SELECT _json->>'carrier', 1, a + b, 'x' FROM t", &["?column?"; 4]);
    check(
        "SELECT a::text, 1::int, CAST(b AS bigint), '1'::timestamptz FROM t",
        &["a", "int4", "b", "timestamptz"],
    );
    check("SELECT CASE WHEN true THEN 1 END, true, EXISTS (SELECT 1)", &["case", "bool", "exists"]);
    check("SELECT 1, *, count(a) AS n FROM t", &["?column?", "given_1", "given_2", "n"]);
    check(
        "SELECT (SELECT max(a) FROM t), coalesce(a, b), t.\"A\" FROM t",
        &["max", "coalesce", "A"],
    );
    check("SELECT 1 UNION ALL SELECT 2", &["?column?"]);
}

#[test]
fn roles() {
    let check = |text: &str, expected: RoleStatement| match one(text) {
        Kind::Role(found) => assert_eq!(found, expected, "{text}"),
        other => panic!("{text}: {other:?}"),
    };
    let (name, password) = ("ann".to_owned(), Secret("it's".to_owned()));
    let create = RoleStatement::Create { name: name.clone(), password: password.clone() };
    check("CREATE USER Ann PASSWORD 'it''s'", create.clone());
    check("create role ann WITH LOGIN ENCRYPTED PASSWORD 'it''s' NOSUPERUSER", create);
    check("ALTER ROLE ann WITH PASSWORD 'it''s'", RoleStatement::Alter { name, password });
    let names = vec!["ann".to_owned(), "Bob".to_owned()];
    let drop = RoleStatement::Drop { names: names.clone(), if_exists: true };
    check("DROP USER IF EXISTS ann, \"Bob\"", drop);
    check("DROP OWNED BY ann, \"Bob\" CASCADE", RoleStatement::DropOwned { names });
    assert!(!format!("{:?}", one("CREATE USER a PASSWORD 'hidden'")).contains("hidden"));

    check("CREATE USER user PASSWORD 'a'", {
        RoleStatement::Create { name: "user".to_owned(), password: Secret("a".to_owned()) }
    });
    assert_eq!(fails("CREATE USER ann"), sqlstate::FEATURE_NOT_SUPPORTED);
    assert_eq!(fails("CREATE USER ann PASSWORD ''"), sqlstate::FEATURE_NOT_SUPPORTED);
    assert_eq!(fails("ALTER USER ann PASSWORD NULL"), sqlstate::SYNTAX_ERROR);
    assert_eq!(fails("CREATE ROLE ann SUPERUSER PASSWORD 'a'"), sqlstate::FEATURE_NOT_SUPPORTED);
    assert_eq!(fails("DROP USER ann; DROP USER"), sqlstate::SYNTAX_ERROR);
}

#[test]
fn grants() {
    use anabranch_engine::Operation::{All, Delete, Read, Write};
    let check = |text: &str, operations: &[anabranch_engine::Operation], notices: usize| {
        let Kind::Role(RoleStatement::Grant { privileges, on, to }) = one(text) else {
            panic!("{text}")
        };
        let found: Vec<_> = privileges.operations.iter().copied().collect();
        assert_eq!((found.as_slice(), privileges.notices.len()), (operations, notices), "{text}");
        (on, to)
    };
    let (on, to) = check("GRANT SELECT ON flights TO ann", &[Read], 0);
    assert!(matches!(&on, Objects::Streams(names) if names[0].name == "flights"));
    assert_eq!(to, [Grantee::Role("ann".to_owned())]);
    let (on, to) = check(
        "GRANT INSERT, SELECT, TRUNCATE ON TABLE a, \"B\" TO GROUP ann, PUBLIC",
        &[Read, Write, Delete],
        1,
    );
    assert!(matches!(&on, Objects::Streams(names) if names.len() == 2));
    assert_eq!(to[1], Grantee::Public);
    check("GRANT INSERT, UPDATE, DELETE ON STREAM a TO ann", &[Write], 0);
    check("GRANT APPEND, SUBSCRIBE ON table TO ann", &[Read, Write], 0);
    let (on, _) = check("GRANT ALL PRIVILEGES ON ALL TABLES IN SCHEMA public TO ann", &[All], 0);
    assert_eq!(on, Objects::AllStreams);
    let (on, _) = check("GRANT ALL ON schema TO ann", &[All], 0);
    assert!(matches!(&on, Objects::Streams(names) if names[0].name == "schema"));

    assert!(matches!(
        one("REVOKE ALL ON a FROM ann CASCADE"),
        Kind::Role(RoleStatement::Revoke { .. })
    ));
    let unsupported =
        |text: &str| assert_eq!(fails(text), sqlstate::FEATURE_NOT_SUPPORTED, "{text}");
    unsupported("GRANT admins TO ann");
    unsupported("GRANT USAGE ON SCHEMA public TO ann");
    unsupported("GRANT SELECT ON DATABASE a TO ann");
    unsupported("GRANT SELECT (a) ON flights TO ann");
    unsupported("GRANT SELECT ON a TO ann WITH GRANT OPTION");
    assert_eq!(fails("GRANT SELECT ON a FROM ann"), sqlstate::SYNTAX_ERROR);
    let system = "GRANT SELECT ON ALL TABLES IN SCHEMA sys TO ann";
    assert_eq!(fails(system), sqlstate::WRONG_OBJECT_TYPE);
}

#[test]
fn copies_are_read_in_either_syntax() {
    let copy = |text: &str| match one(text) {
        Kind::Copy(copy) => copy,
        other => panic!("{text}: {other:?}"),
    };
    let same = |one: &str, other: &str| {
        let (one, other) = (copy(one), copy(other));
        assert_eq!((one.direction, one.options), (other.direction, other.options));
    };
    same("COPY t FROM STDIN", "COPY t (a, b) FROM stdin WITH (FORMAT text)");
    same("COPY t FROM STDIN BINARY", "COPY BINARY t FROM STDIN");
    same("COPY t FROM STDIN WITH BINARY", "COPY t FROM STDIN (FORMAT 'binary', FREEZE on)");
    same(
        "COPY t FROM STDIN CSV HEADER DELIMITER AS E'\\t' FORCE NOT NULL a, b FORCE NULL c",
        "COPY t FROM STDIN (FORMAT csv, HEADER true, DELIMITER '\t', FORCE_NOT_NULL (a, b), \
         FORCE_NULL (c))",
    );
    same(
        "COPY t TO STDOUT USING DELIMITERS '|' WITH NULL 'x' ENCODING 'UTF8'",
        "COPY t TO STDOUT (NULL 'x', ENCODING 'utf-8', DELIMITER '|')",
    );
    same(
        "COPY t TO STDOUT CSV QUOTE '''' ESCAPE '\\' FORCE QUOTE *",
        "COPY (SELECT (1), ')') TO STDOUT (FORMAT csv, QUOTE '''', ESCAPE '\\', FORCE_QUOTE *)",
    );
    let Copied::Query(query) = copy("COPY (SELECT ((1)), ')' ) TO STDOUT").copied else {
        panic!("no query");
    };
    assert_eq!(query.text, "SELECT ((1)), ')'");
    let Copied::Relation { name, columns } = copy("COPY public.\"T\" (\"A\", B) TO STDOUT").copied
    else {
        panic!("no relation");
    };
    assert_eq!((name.schema.as_deref(), name.name.as_str()), (Some("public"), "T"));
    assert_eq!(columns, ["A", "b"]);
    assert!(matches!(copy("COPY binary FROM STDIN").copied,
        Copied::Relation { name, .. } if name.name == "binary"));
}

#[test]
fn copies_that_make_no_sense_are_refused() {
    let check = |text: &str, code: &str| {
        assert_eq!(parse(text).expect_err(text).sqlstate, code, "{text}");
    };
    check("COPY t", sqlstate::SYNTAX_ERROR);
    check("COPY () TO STDOUT", sqlstate::SYNTAX_ERROR);
    check("COPY (SELECT 1 TO STDOUT", sqlstate::SYNTAX_ERROR);
    check("COPY (SELECT 1) FROM STDIN", sqlstate::SYNTAX_ERROR);
    check("COPY (CREATE STREAM t (a int)) TO STDOUT", sqlstate::SYNTAX_ERROR);
    check("COPY t FROM 'file'", sqlstate::INSUFFICIENT_PRIVILEGE);
    check("COPY t FROM PROGRAM 'ls'", sqlstate::INSUFFICIENT_PRIVILEGE);
    check("COPY t FROM STDIN WHERE a > 1", sqlstate::FEATURE_NOT_SUPPORTED);
    check("COPY t FROM STDIN (FORMAT xml)", sqlstate::INVALID_PARAMETER);
    check("COPY t FROM STDIN (FROB)", sqlstate::SYNTAX_ERROR);
    check("COPY t FROM STDIN (FORMAT csv, FORMAT csv)", sqlstate::SYNTAX_ERROR);
    check("COPY t FROM STDIN BINARY CSV", sqlstate::SYNTAX_ERROR);
    check("COPY t FROM STDIN (HEADER maybe)", sqlstate::SYNTAX_ERROR);
    check("COPY t TO STDOUT (HEADER match)", sqlstate::FEATURE_NOT_SUPPORTED);
    check("COPY t FROM STDIN (FORMAT binary, HEADER)", sqlstate::FEATURE_NOT_SUPPORTED);
    check("COPY t FROM STDIN (FORMAT binary, NULL 'x')", sqlstate::SYNTAX_ERROR);
    check("COPY t FROM STDIN (DELIMITER 'a')", sqlstate::INVALID_PARAMETER);
    check("COPY t FROM STDIN (DELIMITER E'\\n')", sqlstate::INVALID_PARAMETER);
    check("COPY t FROM STDIN (DELIMITER 'ä')", sqlstate::FEATURE_NOT_SUPPORTED);
    check("COPY t FROM STDIN (NULL E'\\t')", sqlstate::FEATURE_NOT_SUPPORTED);
    check("COPY t FROM STDIN (NULL E'\\n')", sqlstate::INVALID_PARAMETER);
    check("COPY t FROM STDIN (FORMAT csv, QUOTE ',')", sqlstate::INVALID_PARAMETER);
    check("COPY t FROM STDIN (FORMAT csv, NULL '\"')", sqlstate::FEATURE_NOT_SUPPORTED);
    check("COPY t FROM STDIN (FORCE_NULL (a))", sqlstate::FEATURE_NOT_SUPPORTED);
    check("COPY t FROM STDIN (FORMAT csv, FORCE_QUOTE *)", sqlstate::FEATURE_NOT_SUPPORTED);
    check("COPY t TO STDOUT (FORMAT csv, FORCE_NULL (a))", sqlstate::FEATURE_NOT_SUPPORTED);
    check("COPY t FROM STDIN (FORMAT csv, FORCE_NULL *)", sqlstate::INVALID_PARAMETER);
}

#[test]
fn cursors_are_declared_and_fetched_from() {
    let fetch = |text: &str| match one(text) {
        Kind::Cursor(CursorStatement::Fetch(fetch)) => (fetch.name, fetch.rows, fetch.moves),
        other => panic!("{text}: {other:?}"),
    };
    let check = |text: &str, rows: FetchRows| {
        assert_eq!(fetch(text), ("c".to_owned(), rows, false), "{text}");
    };
    check("FETCH c", FetchRows::Next(1));
    check("FETCH NEXT FROM c", FetchRows::Next(1));
    check("FETCH 5 c", FetchRows::Next(5));
    check("FETCH FORWARD 5 IN c", FetchRows::Next(5));
    check("FETCH FORWARD FROM c", FetchRows::Next(1));
    check("FETCH ALL c", FetchRows::Next(u64::MAX));
    check("FETCH RELATIVE 3 FROM c", FetchRows::Skip(3));
    check("FETCH ABSOLUTE 3 FROM c", FetchRows::Absolute(3));
    check("FETCH -1 FROM c", FetchRows::Back);
    check("FETCH 0 FROM c", FetchRows::Back);
    check("FETCH BACKWARD ALL FROM c", FetchRows::Back);
    assert_eq!(fetch("MOVE 2 IN next"), ("next".to_owned(), FetchRows::Next(2), true));
    assert_eq!(fetch("FETCH next").0, "next");
    let Kind::Cursor(CursorStatement::Declare(declare)) =
        one("DECLARE \"My c\" NO SCROLL CURSOR WITH HOLD FOR SELECT * FROM a WHERE b = $1")
    else {
        panic!("no DECLARE")
    };
    assert_eq!((declare.name.as_str(), declare.hold), ("My c", true));
    assert_eq!(declare.query.text(), "SELECT * FROM a WHERE b = $1");
    assert_eq!(fails("DECLARE c SCROLL CURSOR FOR SELECT 1"), sqlstate::FEATURE_NOT_SUPPORTED);
    assert_eq!(fails("DECLARE c CURSOR FOR DELETE FROM a"), sqlstate::SYNTAX_ERROR);
    assert_eq!(fails("FETCH 2 FROM"), sqlstate::SYNTAX_ERROR);
}

#[test]
fn statements_are_prepared_by_name() {
    let Kind::Prepared(PreparedStatement::Prepare { name, statement }) =
        one("PREPARE p (numeric(10, 2), text) AS SELECT $1 + 1, f($2), $3")
    else {
        panic!("no PREPARE")
    };
    let Kind::Query(query) = &statement.kind else { panic!("no query") };
    assert_eq!(name, "p");
    assert_eq!(query.to_string(), "SELECT CAST($1 AS NUMERIC(10,2)) + 1, f(CAST($2 AS TEXT)), $3");
    let Kind::Prepared(PreparedStatement::Execute { values: Some(values), .. }) =
        one("EXECUTE p (1, f(2, 3), ARRAY[4, 5])")
    else {
        panic!("no EXECUTE")
    };
    assert_eq!(values.text(), "SELECT (1), (f(2, 3)), (ARRAY[4, 5])");
    assert!(matches!(
        one("EXECUTE p"),
        Kind::Prepared(PreparedStatement::Execute { values: None, .. })
    ));
    assert_eq!(fails("EXECUTE p (1"), sqlstate::SYNTAX_ERROR);
    assert_eq!(fails("PREPARE p AS BEGIN"), sqlstate::FEATURE_NOT_SUPPORTED);
    assert_eq!(fails("SET TRANSACTION SNAPSHOT 'x'"), sqlstate::FEATURE_NOT_SUPPORTED);
}
