//! PostgreSQL's drivers, object mappers and tools against the broker.

use crate::broker::{Broker, root};
use crate::clients::installed;
use crate::process::{program, run, run_any, say};
use crate::psql::{psql, query, value};
use std::process::Command;

/// Runs a program of `tests/clients` on a broker of its own. It checks itself.
#[track_caller]
fn passes(mut client: Command) {
    let broker = Broker::start();
    run(client.args(["127.0.0.1", &broker.postgres_port().to_string()]), &[]);
}

fn python(name: &str) -> Command {
    let mut client = program(installed("TEST_PYTHON"));
    client.arg("-B").arg(root().join("tests/clients/postgres").join(name));
    client
}

#[test]
fn psycopg_has_cursors_pipelines_and_asyncio() {
    passes(python("with_psycopg.py"));
}

#[test]
fn psycopg2_works() {
    passes(python("with_psycopg2.py"));
}

#[test]
fn asyncpg_works_in_binary() {
    passes(python("with_asyncpg.py"));
}

#[test]
fn sqlalchemy_reflects_and_maps() {
    passes(python("with_sqlalchemy.py"));
}

#[test]
fn django_inspects_and_maps() {
    passes(python("with_django.py"));
}

#[test]
fn django_and_alembic_migrate() {
    passes(python("with_migrations.py"));
}

#[test]
fn node_postgres_works() {
    let mut client = program("node");
    client
        .env("NODE_PATH", installed("TEST_NODE_PATH"))
        .arg(root().join("tests/clients/node/postgres.js"));
    passes(client);
}

#[test]
fn pgx_works_in_binary() {
    passes(program(installed("TEST_PGX")));
}

#[test]
fn jdbc_knows_the_metadata() {
    let mut client = program("java");
    client
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp"])
        .arg(installed("TEST_CLASSPATH"))
        .arg("Jdbc");
    passes(client);
}

fn with_streams() -> Broker {
    let broker = Broker::start();
    query(
        &broker,
        "CREATE STREAM orders (id bigint PRIMARY KEY, name text NOT NULL, price numeric(10,2));
         CREATE STREAM readings (sensor text, n integer, at timestamptz, PRIMARY KEY (sensor, n));
         CREATE STREAM \"Clicks\" (page text)",
    );
    broker
}

/// What psql's backslash commands ask for.
#[test]
fn psql_lists_everything() {
    let broker = with_streams();
    let commands = [
        "\\l",
        "\\l+",
        "\\dn",
        "\\dn+",
        "\\d",
        "\\d+",
        "\\d orders",
        "\\d+ orders",
        "\\d orders_pkey",
        "\\d log.orders",
        "\\d+ log.orders",
        "\\d sys.*",
        "\\dt",
        "\\dt+",
        "\\dt public.*",
        "\\dv",
        "\\dv+",
        "\\di",
        "\\di+",
        "\\ds",
        "\\df",
        "\\df+",
        "\\du",
        "\\du+",
        "\\dp",
        "\\z orders",
        "\\dx",
        "\\dT",
        "\\dT+",
        "\\dC",
        "\\dD",
        "\\db",
        "\\db+",
        "\\do",
        "\\dO",
        "\\dc",
        "\\dRp",
        "\\dRs",
        "\\des",
        "\\dew",
        "\\det",
        "\\dm",
        "\\dE",
        "\\dF",
        "\\dg",
        "\\dl",
        "\\dL",
        "\\dP",
        "\\drds",
        "\\dy",
        "\\dA",
        "\\dX",
        "\\da",
        "\\dconfig",
        "\\ddp",
        "\\dd",
        "\\conninfo",
        "\\encoding",
    ];
    for command in commands {
        let output = run_any(psql(&broker).args(["-c", command]), &[]);
        let said = say(&output);
        assert!(!said.contains("ERROR"), "{command}: {said}");
    }
    let described = |command: &str| run(psql(&broker).args(["-c", command]), &[]);
    let table = run(psql(&broker).args(["-P", "tuples_only=off", "-c", "\\d orders"]), &[]);
    for line in [
        "id|bigint||not null|",
        "name|text||not null|",
        "price|numeric(10,2)|||",
        "    \"orders_pkey\" PRIMARY KEY, btree (id)",
    ] {
        assert!(table.lines().any(|said| said == line), "{line} is not in\n{table}");
    }
    let listed = described("\\dt");
    assert_eq!(
        listed.lines().collect::<Vec<_>>(),
        [
            "public|Clicks|table|postgres",
            "public|orders|table|postgres",
            "public|readings|table|postgres"
        ]
    );
    assert!(described("\\di").contains("public|readings_pkey|index|postgres|readings"));
    let gdesc = run(
        &mut psql(&broker),
        b"\\timing on\nSELECT id, name, price FROM orders \\gdesc\n\\timing off\n",
    );
    assert!(gdesc.starts_with("id|bigint\nname|text\nprice|numeric(10,2)\n"), "{gdesc}");
}

/// What psql asks when the tabulator key is pressed.
#[test]
fn psql_completes_names() {
    let broker = with_streams();
    let check = |sql: &str, expected: &[&str]| assert_eq!(query(&broker, sql), expected, "{sql}");
    check(
        "SELECT c.relname, NULL::pg_catalog.text FROM pg_catalog.pg_class c \
         WHERE c.relkind IN ('r', 'S', 'v', 'm', 'f', 'p') \
         AND (c.relname) LIKE 'o%' AND pg_catalog.pg_table_is_visible(c.oid) \
         AND c.relnamespace <> (SELECT oid FROM pg_catalog.pg_namespace \
           WHERE nspname = 'pg_catalog') \
         UNION ALL SELECT NULL::pg_catalog.text, n.nspname FROM pg_catalog.pg_namespace n \
         WHERE n.nspname LIKE 'o%' AND n.nspname NOT LIKE E'pg\\\\_%' LIMIT 1000",
        &["orders|"],
    );
    check(
        "SELECT a.attname, NULL::pg_catalog.text FROM pg_catalog.pg_attribute a, \
         pg_catalog.pg_class c WHERE c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped \
         AND (a.attname) LIKE 'pr%' AND c.relname = 'orders' \
         AND pg_catalog.pg_table_is_visible(c.oid)",
        &["price|"],
    );
    check(
        "SELECT pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_class c \
         WHERE c.relname LIKE 'C%' AND pg_catalog.pg_table_is_visible(c.oid)",
        &["\"Clicks\""],
    );
}

/// Oids are the same in all relations, and after a restart.
#[test]
fn oids_are_consistent_and_stay() {
    let mut broker = with_streams();
    let oids = "SELECT c.oid, c.relname, c.relkind, n.nspname FROM pg_class c \
                JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 1";
    let check = |broker: &Broker, sql: &str, expected: &[&str]| {
        assert_eq!(query(broker, sql), expected, "{sql}");
    };
    check(
        &broker,
        "SELECT conname, contype, conrelid::regclass, conindid::regclass, conkey, \
         pg_get_constraintdef(oid), pg_get_indexdef(conindid) FROM pg_constraint ORDER BY 1",
        &[
            "orders_pkey|p|orders|orders_pkey|{1}|PRIMARY KEY (id)|\
             CREATE UNIQUE INDEX orders_pkey ON public.orders USING btree (id)",
            "readings_pkey|p|readings|readings_pkey|{1,2}|PRIMARY KEY (sensor, n)|\
             CREATE UNIQUE INDEX readings_pkey ON public.readings USING btree (sensor, n)",
        ],
    );
    // Every column has a known type, every array type an item type, and the other way round.
    check(
        &broker,
        "SELECT count(*) FROM pg_attribute a LEFT JOIN pg_type t ON t.oid = a.atttypid \
         WHERE t.oid IS NULL",
        &["0"],
    );
    check(
        &broker,
        "SELECT count(*) FROM pg_type t LEFT JOIN pg_type i ON i.oid = t.typelem \
         AND (i.typarray = t.oid OR t.typname LIKE '%vector') \
         WHERE t.typelem <> 0 AND i.oid IS NULL",
        &["0"],
    );
    check(
        &broker,
        "SELECT count(*) FROM pg_attribute a LEFT JOIN pg_class c ON c.oid = a.attrelid \
         WHERE c.oid IS NULL",
        &["0"],
    );
    check(
        &broker,
        "SELECT 'orders'::regclass::oid = 'public.orders'::regclass, to_regclass('nowhere') IS NULL, \
         '\"Clicks\"'::regclass, 'log.orders'::regclass, 'int4'::regtype::oid, 'bigint[]'::regtype",
        &["t|t|\"Clicks\"|log.orders|23|bigint[]"],
    );
    check(
        &broker,
        "SELECT table_name, constraint_name, string_agg(column_name, ',' ORDER BY ordinal_position) \
         FROM information_schema.table_constraints \
         JOIN information_schema.key_column_usage USING (constraint_name, table_name) \
         WHERE constraint_type = 'PRIMARY KEY' GROUP BY 1, 2 ORDER BY 1",
        &["orders|orders_pkey|id", "readings|readings_pkey|sensor,n"],
    );
    query(&broker, "CREATE TABLE checked (n int CONSTRAINT positive CHECK (n > 0))");
    check(
        &broker,
        "SELECT table_name, constraint_type, check_clause FROM information_schema.table_constraints \
         JOIN information_schema.check_constraints USING (constraint_name)",
        &["checked|CHECK|(n > 0)"],
    );
    let before = query(&broker, oids);
    assert!(before.len() > 8, "{before:?}");
    broker.stop();
    broker.restart();
    assert_eq!(query(&broker, oids), before);
}

/// Functions that drivers and tools call.
#[test]
fn functions_of_the_system_answer() {
    let broker = with_streams();
    query(&broker, "INSERT INTO orders VALUES (1, 'a', 2)");
    let check = |sql: &str, expected: &str| assert_eq!(value(&broker, sql), expected, "{sql}");
    check("SELECT format_type(1700, 655366), format_type(1007, -1)", "numeric(10,2)|integer[]");
    check("SELECT pg_total_relation_size('orders') > 0, pg_relation_size('\"Clicks\"')", "t|0");
    check(
        "SELECT pg_size_pretty(10239::bigint), pg_size_pretty(10240::bigint)",
        "10239 bytes|10 kB",
    );
    check("SELECT pg_size_pretty(123456789::bigint)", "118 MB");
    check("SELECT has_table_privilege('orders', 'select, insert'), pg_is_in_recovery()", "t|f");
    check("SELECT has_table_privilege('log.orders', 'insert')", "f");
    check(
        "SELECT pg_get_userbyid(10), obj_description('orders'::regclass, 'pg_class') IS NULL",
        "postgres|t",
    );
    check("SELECT pg_advisory_unlock_all()", "");
    check("SELECT pg_backend_pid() > 0, version() LIKE 'PostgreSQL 15%'", "t|t");
    check(
        "SELECT current_setting('server_version_num'), current_setting('no.such', true) IS NULL",
        "150000|t",
    );
    let set = run(
        psql(&broker).args([
            "-c",
            "SELECT set_config('application_name', 'Mine', false)",
            "-c",
            "SHOW application_name",
        ]),
        &[],
    );
    assert_eq!(set, "Mine\nMine\n");
    let error = crate::psql::error(&broker, "SELECT pg_advisory_lock(1)");
    assert!(error.contains("0A000"), "{error}");
    let error = crate::psql::error(&broker, "SELECT 'nowhere'::regclass");
    assert!(error.contains("42P01"), "{error}");
}

/// READ ONLY as the session's default holds for statements alone, too.
#[test]
fn sessions_can_be_read_only() {
    let broker = with_streams();
    let said = run_any(
        psql(&broker).args(["-v", "VERBOSITY=verbose"]).args([
            "-c",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "-c",
            "SHOW transaction_read_only",
            "-c",
            "INSERT INTO orders VALUES (1, 'a', 2)",
        ]),
        &[],
    );
    let said = say(&said);
    assert!(said.contains("on\n") && said.contains("25006"), "{said}");
    let said = run(
        psql(&broker).args([
            "-c",
            "SET default_transaction_read_only = on",
            "-c",
            "BEGIN READ WRITE; INSERT INTO orders VALUES (1, 'a', 2); COMMIT",
            "-c",
            "SELECT count(*) FROM orders",
        ]),
        &[],
    );
    assert_eq!(said, "1\n");
}
