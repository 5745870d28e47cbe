//! What DBeaver, Grafana, Metabase and pgAdmin ask when they connect, browse and chart: queries of
//! the same shape as theirs.

use crate::broker::Broker;
use crate::psql::query;

fn with_streams() -> Broker {
    let broker = Broker::start();
    query(
        &broker,
        "CREATE STREAM orders (id bigint PRIMARY KEY, name text NOT NULL, price numeric(10,2),
           at timestamptz);
         CREATE STREAM clicks (page text);
         INSERT INTO orders VALUES (1, 'a', 2, '2024-02-29 10:01:00Z'),
           (2, 'b', 3, '2024-02-29 10:04:00Z'), (3, 'c', 4, '2024-02-29 11:00:00Z')",
    );
    broker
}

#[track_caller]
fn check(broker: &Broker, sql: &str, expected: &[&str]) {
    assert_eq!(query(broker, sql), expected, "{sql}");
}

#[test]
fn dbeaver_browses() {
    let broker = with_streams();
    check(&broker, "SELECT current_schema(), session_user", &["public|tester"]);
    check(
        &broker,
        "SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n \
         LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = n.oid AND d.objsubid = 0 \
         AND d.classoid = 'pg_namespace'::regclass WHERE nspname = 'public' ORDER BY nspname",
        &["2200|2200|public|10|||"],
    );
    check(
        &broker,
        "SELECT t.typname, t.typcategory, c.relkind, format_type(nullif(t.typbasetype, 0), t.typtypmod) \
         FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid = t.typelem \
         LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid = t.typrelid \
         WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') \
         AND (et.typcategory IS NULL OR et.typcategory <> 'C') AND t.oid IN (23, 1007) ORDER BY 1",
        &["_int4|A||", "int4|N||"],
    );
    check(
        &broker,
        "SELECT c.relname, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid), \
         pg_catalog.pg_get_partkeydef(c.oid) FROM pg_catalog.pg_class c \
         LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 \
         AND d.classoid = 'pg_class'::regclass \
         WHERE c.relnamespace = 2200 AND c.relkind NOT IN ('i', 'I', 'c') ORDER BY 1",
        &["clicks|||", "orders|||"],
    );
    check(
        &broker,
        "SELECT c.relname, a.attname, a.attnum, pg_catalog.format_type(a.atttypid, a.atttypmod), \
         a.attnotnull, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value, dsc.description \
         FROM pg_catalog.pg_attribute a INNER JOIN pg_catalog.pg_class c ON (a.attrelid = c.oid) \
         LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid = ad.adrelid AND a.attnum = ad.adnum) \
         LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid) \
         WHERE NOT a.attisdropped AND c.oid = 'orders'::regclass ORDER BY a.attnum",
        &[
            "orders|id|1|bigint|t||",
            "orders|name|2|text|t||",
            "orders|price|3|numeric(10,2)|f||",
            "orders|at|4|timestamp with time zone|f||",
        ],
    );
    check(
        &broker,
        "SELECT i.indkey AS keys, c.relname, tc.relname AS tabrelname, dsc.description, \
         pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS pred_expr, \
         pg_catalog.pg_relation_size(i.indexrelid), pg_catalog.pg_stat_get_numscans(i.indexrelid) \
         FROM pg_catalog.pg_index i INNER JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
         INNER JOIN pg_catalog.pg_class tc ON tc.oid = i.indrelid \
         LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid = dsc.objoid \
         WHERE i.indrelid = 'orders'::regclass ORDER BY tabrelname, c.relname",
        &["{1}|orders_pkey|orders|||0|0"],
    );
    check(
        &broker,
        "SELECT c.conname, c.contype, t.relname, rt.relnamespace, d.description, \
         CASE WHEN c.contype = 'c' THEN \"substring\"(pg_get_constraintdef(c.oid), 7) ELSE NULL END \
         FROM pg_catalog.pg_constraint c INNER JOIN pg_catalog.pg_class t ON t.oid = c.conrelid \
         LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid = c.confrelid \
         LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 \
         AND d.classoid = 'pg_constraint'::regclass WHERE c.conrelid = 'orders'::regclass ORDER BY c.oid",
        &["orders_pkey|p|orders|||"],
    );
    check(
        &broker,
        "SELECT typinput = 'pg_catalog.array_in'::regproc AS is_array, typtype, typname, pg_type.oid \
         FROM pg_catalog.pg_type LEFT JOIN (SELECT ns.oid AS nspoid, ns.nspname, r.r \
         FROM pg_namespace AS ns JOIN (SELECT s.r, (current_schemas(false))[s.r] AS nspname \
         FROM generate_series(1, array_upper(current_schemas(false), 1)) AS s(r)) AS r \
         USING (nspname)) AS sp ON sp.nspoid = typnamespace WHERE pg_type.oid = 1007 \
         ORDER BY sp.r, pg_type.oid DESC",
        &["t|b|_int4|1007"],
    );
    check(
        &broker,
        "SELECT datname, pg_catalog.pg_encoding_to_char(encoding) FROM pg_catalog.pg_database db \
         WHERE datallowconn AND NOT datistemplate",
        &["anabranch|UTF8"],
    );
}

#[test]
fn grafana_finds_tables_and_charts() {
    let broker = with_streams();
    check(
        &broker,
        "SELECT quote_ident(table_name) FROM information_schema.tables \
         WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog') \
         AND table_type = 'BASE TABLE' AND quote_ident(table_schema) IN (\
           SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END \
           FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1), \
             array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i, \
             string_to_array(current_setting('search_path'), ',') s) ORDER BY table_name",
        &["clicks", "orders"],
    );
    check(
        &broker,
        "SELECT quote_ident(column_name) AS \"column\", data_type AS \"type\" \
         FROM information_schema.columns WHERE CASE WHEN array_length(parse_ident('public.orders'), 1) = 2 \
         THEN quote_ident(table_schema) = (parse_ident('public.orders'))[1] \
           AND quote_ident(table_name) = (parse_ident('public.orders'))[2] \
         ELSE quote_ident(table_name) = 'public.orders' END ORDER BY ordinal_position",
        &["id|bigint", "name|text", "price|numeric", "at|timestamp with time zone"],
    );
    // $__timeGroupAlias(at, '5m') and $__timeFilter(at).
    check(
        &broker,
        "SELECT floor(extract(epoch FROM at) / 300) * 300 AS \"time\", sum(price) AS \"value\" \
         FROM orders WHERE at BETWEEN '2024-02-29T10:00:00Z' AND '2024-02-29T10:30:00Z' \
         GROUP BY 1 ORDER BY 1",
        &["1709200800|5.00"],
    );
    // $__timeEpoch, $__unixEpochFilter.
    check(
        &broker,
        "SELECT extract(epoch FROM at) AS \"time\", name AS metric FROM orders \
         WHERE extract(epoch FROM at) >= 1709204400 AND extract(epoch FROM at) <= 1709204500",
        &["1709204400.000000|c"],
    );
}

#[test]
fn metabase_syncs() {
    let broker = with_streams();
    check(
        &broker,
        "SELECT nspname AS \"TABLE_SCHEM\", current_database() AS \"TABLE_CATALOG\" \
         FROM pg_catalog.pg_namespace WHERE nspname <> 'pg_toast' \
         AND (nspname !~ '^pg_temp_' OR nspname = (pg_catalog.current_schemas(true))[1]) \
         AND (nspname !~ '^pg_toast_temp_' OR nspname = replace((pg_catalog.current_schemas(true))[1], \
           'pg_temp_', 'pg_toast_temp_')) ORDER BY \"TABLE_SCHEM\"",
        &[
            "information_schema|anabranch",
            "log|anabranch",
            "pg_catalog|anabranch",
            "public|anabranch",
            "sys|anabranch",
        ],
    );
    check(
        &broker,
        "WITH table_privileges AS (SELECT NULL AS role, t.schemaname AS schema, t.objectname AS table, \
           pg_catalog.has_any_column_privilege(current_user, '\"' || replace(t.schemaname, '\"', '\"\"') \
             || '\".\"' || replace(t.objectname, '\"', '\"\"') || '\"', 'update') AS update, \
           pg_catalog.has_table_privilege(current_user, '\"' || replace(t.schemaname, '\"', '\"\"') \
             || '\".\"' || replace(t.objectname, '\"', '\"\"') || '\"', 'delete') AS delete \
           FROM (SELECT schemaname, tablename AS objectname FROM pg_catalog.pg_tables \
             UNION SELECT schemaname, viewname AS objectname FROM pg_catalog.pg_views \
             UNION SELECT schemaname, matviewname AS objectname FROM pg_catalog.pg_matviews) t \
           WHERE t.schemaname !~ '^pg_' AND t.schemaname IN ('public', 'log') \
           AND pg_catalog.has_schema_privilege(current_user, t.schemaname, 'usage')) \
         SELECT t.* FROM table_privileges t ORDER BY 2, 3",
        &["|log|clicks|f|f", "|log|orders|f|f", "|public|clicks|t|t", "|public|orders|t|t"],
    );
    check(
        &broker,
        "SELECT \"n\".\"nspname\" AS \"schema\", \"c\".\"relname\" AS \"name\", \
         CASE \"c\".\"relkind\" WHEN 'r' THEN 'TABLE' WHEN 'v' THEN 'VIEW' ELSE NULL END AS \"type\", \
         \"d\".\"description\", \"stat\".\"n_live_tup\" FROM \"pg_catalog\".\"pg_class\" AS \"c\" \
         INNER JOIN \"pg_catalog\".\"pg_namespace\" AS \"n\" ON \"c\".\"relnamespace\" = \"n\".\"oid\" \
         LEFT JOIN \"pg_catalog\".\"pg_description\" AS \"d\" ON (\"c\".\"oid\" = \"d\".\"objoid\") \
         AND (\"d\".\"objsubid\" = '0') AND (\"d\".\"classoid\" = 'pg_class'::regclass) \
         LEFT JOIN \"pg_stat_user_tables\" AS \"stat\" ON (\"n\".\"nspname\" = \"stat\".\"schemaname\") \
         AND (\"c\".\"relname\" = \"stat\".\"relname\") WHERE (\"n\".\"nspname\" !~ '^pg_') \
         AND c.relkind IN ('r', 'p', 'v', 'f', 'm') AND (\"n\".\"nspname\" IN ('public')) ORDER BY 3, 1, 2",
        &["public|clicks|TABLE||0", "public|orders|TABLE||0"],
    );
    check(
        &broker,
        "SELECT c.column_name AS name, CASE WHEN c.udt_schema IN ('public', 'pg_catalog') \
           THEN format('%s', c.udt_name) ELSE format('\"%s\".\"%s\"', c.udt_schema, c.udt_name) END, \
         c.ordinal_position - 1, pk.column_name IS NOT NULL AS \"pk?\", \
         col_description(CAST(CAST(format('%I.%I', CAST(c.table_schema AS text), \
           CAST(c.table_name AS text)) AS regclass) AS oid), c.ordinal_position) AS comment, \
         ((column_default IS NULL) OR (lower(column_default) = 'null')) AND (is_nullable = 'NO') \
           AND NOT (((column_default IS NOT NULL) AND (column_default LIKE '%nextval(%')) \
           OR (is_identity <> 'NO')) AS required \
         FROM information_schema.columns AS c LEFT JOIN (SELECT tc.table_schema, tc.table_name, kc.column_name \
           FROM information_schema.table_constraints AS tc INNER JOIN information_schema.key_column_usage AS kc \
           ON (tc.constraint_name = kc.constraint_name) AND (tc.table_schema = kc.table_schema) \
           AND (tc.table_name = kc.table_name) WHERE tc.constraint_type = 'PRIMARY KEY') AS pk \
         ON (c.table_schema = pk.table_schema) AND (c.table_name = pk.table_name) \
         AND (c.column_name = pk.column_name) WHERE c.table_schema !~ '^information_schema|catalog_history|pg_' \
         AND (c.table_schema IN ('public')) AND (c.table_name IN ('orders')) ORDER BY c.ordinal_position",
        &["id|int8|0|t||t", "name|text|1|f||t", "price|numeric|2|f||f", "at|timestamptz|3|f||f"],
    );
}

#[test]
fn pgadmin_connects_and_browses() {
    let broker = with_streams();
    check(
        &broker,
        "SELECT CASE WHEN (SELECT count(extname) FROM pg_catalog.pg_extension WHERE extname = 'bdr') > 0 \
         THEN 'pgd' WHEN (SELECT count(*) FROM pg_replication_slots) > 0 THEN 'log' ELSE NULL END AS type",
        &[""],
    );
    check(
        &broker,
        "SELECT db.datname, pg_catalog.pg_encoding_to_char(db.encoding) AS serverencoding, \
         has_database_privilege(db.oid, 'CREATE') AS cancreate, datistemplate \
         FROM pg_catalog.pg_database db WHERE db.datname = current_database()",
        &["anabranch|UTF8|t|f"],
    );
    check(
        &broker,
        "SELECT rel.relname AS name, (SELECT count(*) FROM pg_catalog.pg_trigger \
           WHERE tgrelid = rel.oid AND tgisinternal = FALSE) AS triggercount, \
         (SELECT count(*) FROM pg_catalog.pg_inherits WHERE inhrelid = rel.oid LIMIT 1) AS is_inherits \
         FROM pg_catalog.pg_class rel WHERE rel.relkind IN ('r', 's', 't', 'p') \
         AND rel.relnamespace = 2200::oid AND NOT rel.relispartition ORDER BY rel.relname",
        &["clicks|0|0", "orders|0|0"],
    );
    check(
        &broker,
        "SELECT att.attname AS name, att.attnum, pg_catalog.format_type(ty.oid, NULL) AS datatype, \
         att.attnotnull, pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS defval, \
         CASE WHEN att.attnum = ANY((SELECT con.conkey FROM pg_catalog.pg_class cl_oc \
           JOIN pg_catalog.pg_constraint con ON con.conrelid = cl_oc.oid AND con.contype = 'p' \
           WHERE cl_oc.oid = 'orders'::regclass)::int[]) THEN true ELSE false END AS is_pk \
         FROM pg_catalog.pg_attribute att JOIN pg_catalog.pg_type ty ON ty.oid = atttypid \
         LEFT OUTER JOIN pg_catalog.pg_attrdef def ON adrelid = att.attrelid AND adnum = att.attnum \
         WHERE att.attrelid = 'orders'::regclass::oid AND att.attnum > 0 \
         AND att.attisdropped IS FALSE ORDER BY att.attnum LIMIT 2",
        &["id|1|bigint|t||t", "name|2|text|t||f"],
    );
    check(
        &broker,
        "SELECT nsp.nspname AS name, has_schema_privilege(nsp.oid, 'CREATE') AS can_create, \
         (SELECT array_to_string(nsp.nspacl, ',')) AS acl FROM pg_catalog.pg_namespace nsp \
         WHERE nspname NOT LIKE E'pg\\\\_%' AND nspname <> 'information_schema' ORDER BY nspname",
        &["log|t|", "public|t|", "sys|t|"],
    );
}
