//! The views of `pg_catalog`: tables, views, indexes and more, each in a readable row.

use super::keys::Key;
use super::{Described, OWNER_NAME, PUBLIC, relations};
use crate::catalog::DATABASE;
use crate::catalog::cells::{Cell, Of, Shape, batch};
use crate::error::Error;
use crate::session::defaults;
use anabranch_engine::Session as EngineSession;
use datafusion::arrow::array::RecordBatch;

const TABLES: Shape = &[
    ("schemaname", Of::Text),
    ("tablename", Of::Text),
    ("tableowner", Of::Text),
    ("tablespace", Of::Text),
    ("hasindexes", Of::Bool),
    ("hasrules", Of::Bool),
    ("hastriggers", Of::Bool),
    ("rowsecurity", Of::Bool),
];

const VIEWS: Shape = &[
    ("schemaname", Of::Text),
    ("viewname", Of::Text),
    ("viewowner", Of::Text),
    ("definition", Of::Text),
];

const MATERIALIZED_VIEWS: Shape = &[
    ("schemaname", Of::Text),
    ("matviewname", Of::Text),
    ("matviewowner", Of::Text),
    ("tablespace", Of::Text),
    ("hasindexes", Of::Bool),
    ("ispopulated", Of::Bool),
    ("definition", Of::Text),
];

const INDEXES: Shape = &[
    ("schemaname", Of::Text),
    ("tablename", Of::Text),
    ("indexname", Of::Text),
    ("tablespace", Of::Text),
    ("indexdef", Of::Text),
];

const LOCKS: Shape = &[
    ("locktype", Of::Text),
    ("database", Of::Oid),
    ("relation", Of::Oid),
    ("page", Of::Int4),
    ("tuple", Of::Int2),
    ("virtualxid", Of::Text),
    ("transactionid", Of::Oid),
    ("classid", Of::Oid),
    ("objid", Of::Oid),
    ("objsubid", Of::Int2),
    ("virtualtransaction", Of::Text),
    ("pid", Of::Int4),
    ("mode", Of::Text),
    ("granted", Of::Bool),
    ("fastpath", Of::Bool),
    ("waitstart", Of::Timestamptz),
];

const SETTINGS: Shape = &[
    ("name", Of::Text),
    ("setting", Of::Text),
    ("unit", Of::Text),
    ("category", Of::Text),
    ("short_desc", Of::Text),
    ("extra_desc", Of::Text),
    ("context", Of::Text),
    ("vartype", Of::Text),
    ("source", Of::Text),
    ("min_val", Of::Text),
    ("max_val", Of::Text),
    ("enumvals", Of::Texts),
    ("boot_val", Of::Text),
    ("reset_val", Of::Text),
    ("sourcefile", Of::Text),
    ("sourceline", Of::Int4),
    ("pending_restart", Of::Bool),
];

const DATABASES: Shape = &[
    ("oid", Of::Oid),
    ("datname", Of::Text),
    ("datdba", Of::Oid),
    ("encoding", Of::Int4),
    ("datlocprovider", Of::Text),
    ("datistemplate", Of::Bool),
    ("datallowconn", Of::Bool),
    ("datconnlimit", Of::Int4),
    ("datfrozenxid", Of::Oid),
    ("datminmxid", Of::Oid),
    ("dattablespace", Of::Oid),
    ("datcollate", Of::Text),
    ("datctype", Of::Text),
    ("daticulocale", Of::Text),
    ("datcollversion", Of::Text),
    ("datacl", Of::Texts),
];

const STATISTICS: Shape = &[
    ("relid", Of::Oid),
    ("schemaname", Of::Text),
    ("relname", Of::Text),
    ("seq_scan", Of::Int8),
    ("seq_tup_read", Of::Int8),
    ("idx_scan", Of::Int8),
    ("idx_tup_fetch", Of::Int8),
    ("n_tup_ins", Of::Int8),
    ("n_tup_upd", Of::Int8),
    ("n_tup_del", Of::Int8),
    ("n_tup_hot_upd", Of::Int8),
    ("n_live_tup", Of::Int8),
    ("n_dead_tup", Of::Int8),
    ("n_mod_since_analyze", Of::Int8),
    ("n_ins_since_vacuum", Of::Int8),
    ("last_vacuum", Of::Timestamptz),
    ("last_autovacuum", Of::Timestamptz),
    ("last_analyze", Of::Timestamptz),
    ("last_autoanalyze", Of::Timestamptz),
    ("vacuum_count", Of::Int8),
    ("autovacuum_count", Of::Int8),
    ("analyze_count", Of::Int8),
    ("autoanalyze_count", Of::Int8),
];

const COLLATIONS: Shape = &[
    ("oid", Of::Oid),
    ("collname", Of::Text),
    ("collnamespace", Of::Oid),
    ("collowner", Of::Oid),
    ("collprovider", Of::Char),
    ("collisdeterministic", Of::Bool),
    ("collencoding", Of::Int4),
    ("collcollate", Of::Text),
    ("collctype", Of::Text),
    ("colliculocale", Of::Text),
    ("collversion", Of::Text),
];

/// Names and columns of the views, and of the collations.
pub(super) const ALL: [(&str, Shape); 10] = [
    ("pg_collation", COLLATIONS),
    ("pg_tables", TABLES),
    ("pg_views", VIEWS),
    ("pg_matviews", MATERIALIZED_VIEWS),
    ("pg_indexes", INDEXES),
    ("pg_locks", LOCKS),
    ("pg_settings", SETTINGS),
    ("pg_database", DATABASES),
    ("pg_stat_user_tables", STATISTICS),
    ("pg_stat_all_tables", STATISTICS),
];

/// The rows of the view `name`.
pub(super) fn rows(engine: &EngineSession, name: &str, shape: Shape) -> Result<RecordBatch, Error> {
    let described = |wanted: fn(&Described) -> bool| -> Vec<Described> {
        relations(engine).into_iter().filter(wanted).collect()
    };
    match name {
        "pg_tables" => batch(shape, &described(Described::is_table), table),
        "pg_views" => batch(shape, &described(Described::is_view), view),
        "pg_indexes" => batch(shape, &Key::all(engine), index),
        "pg_settings" => {
            batch(shape, &defaults(), |(name, value), column| setting(name, value, column))
        }
        "pg_collation" => {
            let known = [(100, "default"), (950, "C"), (951, "POSIX")];
            batch(shape, &known, |(oid, name), column| collation(*oid, name, column))
        }
        "pg_database" => batch(shape, &[()], |(), column| database(column)),
        "pg_stat_user_tables" | "pg_stat_all_tables" => {
            batch(shape, &described(Described::is_table), |relation, column| match column {
                "relid" => Some(Cell::int(relation.oid)),
                "schemaname" => Some(Cell::text(relation.schema)),
                "relname" => Some(Cell::text(&relation.name)),
                _ => None,
            })
        }
        _ => batch(shape, &[] as &[()], |(), _| None),
    }
}

fn table(relation: &Described, column: &str) -> Option<Cell> {
    Some(match column {
        "schemaname" => Cell::text(relation.schema),
        "tablename" => Cell::text(&relation.name),
        "tableowner" => Cell::text(OWNER_NAME),
        "hasindexes" => Cell::Bool(relation.has_index),
        _ => return None,
    })
}

fn view(relation: &Described, column: &str) -> Option<Cell> {
    Some(match column {
        "schemaname" => Cell::text(relation.schema),
        "viewname" => Cell::text(&relation.name),
        "viewowner" => Cell::text(OWNER_NAME),
        "definition" => Cell::Text(relation.definition()?),
        _ => return None,
    })
}

fn index(key: &Key, column: &str) -> Option<Cell> {
    Some(match column {
        "schemaname" => Cell::text(PUBLIC),
        "tablename" => Cell::text(&key.table),
        "indexname" => Cell::text(&key.name),
        "indexdef" => Cell::Text(key.index_definition()),
        _ => return None,
    })
}

fn setting(name: &str, value: &str, column: &str) -> Option<Cell> {
    Some(match column {
        "name" => Cell::text(name),
        "setting" | "boot_val" | "reset_val" => Cell::text(value),
        "category" => Cell::text("Client Connection Defaults"),
        "short_desc" => Cell::text(""),
        "context" => Cell::text("user"),
        "vartype" => Cell::text("string"),
        "source" => Cell::text("default"),
        _ => return None,
    })
}

/// All of them order by bytes.
fn collation(oid: i32, name: &str, column: &str) -> Option<Cell> {
    Some(match column {
        "oid" => Cell::int(oid),
        "collname" => Cell::text(name),
        "collnamespace" => Cell::Int(11),
        "collowner" => Cell::int(super::OWNER),
        "collprovider" => Cell::text(if name == "default" { "d" } else { "c" }),
        "collisdeterministic" => Cell::Bool(true),
        "collencoding" => Cell::Int(-1),
        "collcollate" | "collctype" if name != "default" => Cell::text(name),
        _ => return None,
    })
}

fn database(column: &str) -> Option<Cell> {
    Some(match column {
        "oid" => Cell::int(super::DATABASE_OID),
        "datname" => Cell::text(DATABASE),
        "datdba" => Cell::int(super::OWNER),
        // UTF8.
        "encoding" => Cell::Int(6),
        "datlocprovider" => Cell::text("c"),
        "datallowconn" => Cell::Bool(true),
        "datconnlimit" => Cell::Int(-1),
        "dattablespace" => Cell::Int(1663),
        "datcollate" | "datctype" => Cell::text("C"),
        _ => return None,
    })
}
