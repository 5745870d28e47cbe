//! The relations of `information_schema` about constraints, and those that are empty here
//! (PostgreSQL 15, chapter 37).

use crate::catalog::cells::{Cell, Of, Shape, batch};
use crate::catalog::pg::{Key, constraints_of};
use crate::catalog::{DATABASE, PUBLIC};
use crate::error::Error;
use anabranch_engine::Session as EngineSession;
use datafusion::arrow::array::RecordBatch;

const TABLE_CONSTRAINTS: Shape = &[
    ("constraint_catalog", Of::Text),
    ("constraint_schema", Of::Text),
    ("constraint_name", Of::Text),
    ("table_catalog", Of::Text),
    ("table_schema", Of::Text),
    ("table_name", Of::Text),
    ("constraint_type", Of::Text),
    ("is_deferrable", Of::Text),
    ("initially_deferred", Of::Text),
    ("enforced", Of::Text),
    ("nulls_distinct", Of::Text),
];

const KEY_COLUMN_USAGE: Shape = &[
    ("constraint_catalog", Of::Text),
    ("constraint_schema", Of::Text),
    ("constraint_name", Of::Text),
    ("table_catalog", Of::Text),
    ("table_schema", Of::Text),
    ("table_name", Of::Text),
    ("column_name", Of::Text),
    ("ordinal_position", Of::Int4),
    ("position_in_unique_constraint", Of::Int4),
];

const CONSTRAINT_COLUMN_USAGE: Shape = &[
    ("table_catalog", Of::Text),
    ("table_schema", Of::Text),
    ("table_name", Of::Text),
    ("column_name", Of::Text),
    ("constraint_catalog", Of::Text),
    ("constraint_schema", Of::Text),
    ("constraint_name", Of::Text),
];

const REFERENTIAL_CONSTRAINTS: Shape = &[
    ("constraint_catalog", Of::Text),
    ("constraint_schema", Of::Text),
    ("constraint_name", Of::Text),
    ("unique_constraint_catalog", Of::Text),
    ("unique_constraint_schema", Of::Text),
    ("unique_constraint_name", Of::Text),
    ("match_option", Of::Text),
    ("update_rule", Of::Text),
    ("delete_rule", Of::Text),
];

const CHECK_CONSTRAINTS: Shape = &[
    ("constraint_catalog", Of::Text),
    ("constraint_schema", Of::Text),
    ("constraint_name", Of::Text),
    ("check_clause", Of::Text),
];

const ROUTINES: Shape = &[
    ("specific_catalog", Of::Text),
    ("specific_schema", Of::Text),
    ("specific_name", Of::Text),
    ("routine_catalog", Of::Text),
    ("routine_schema", Of::Text),
    ("routine_name", Of::Text),
    ("routine_type", Of::Text),
    ("data_type", Of::Text),
    ("type_udt_schema", Of::Text),
    ("type_udt_name", Of::Text),
    ("routine_body", Of::Text),
    ("routine_definition", Of::Text),
    ("external_language", Of::Text),
    ("is_deterministic", Of::Text),
    ("security_type", Of::Text),
];

const PARAMETERS: Shape = &[
    ("specific_catalog", Of::Text),
    ("specific_schema", Of::Text),
    ("specific_name", Of::Text),
    ("ordinal_position", Of::Int4),
    ("parameter_mode", Of::Text),
    ("parameter_name", Of::Text),
    ("data_type", Of::Text),
    ("udt_schema", Of::Text),
    ("udt_name", Of::Text),
    ("parameter_default", Of::Text),
];

const TRIGGERS: Shape = &[
    ("trigger_catalog", Of::Text),
    ("trigger_schema", Of::Text),
    ("trigger_name", Of::Text),
    ("event_manipulation", Of::Text),
    ("event_object_catalog", Of::Text),
    ("event_object_schema", Of::Text),
    ("event_object_table", Of::Text),
    ("action_statement", Of::Text),
    ("action_orientation", Of::Text),
    ("action_timing", Of::Text),
];

const CATALOG_NAME: Shape = &[("catalog_name", Of::Text)];

/// Names and columns.
pub(super) const ALL: [(&str, Shape); 9] = [
    ("table_constraints", TABLE_CONSTRAINTS),
    ("key_column_usage", KEY_COLUMN_USAGE),
    ("constraint_column_usage", CONSTRAINT_COLUMN_USAGE),
    ("referential_constraints", REFERENTIAL_CONSTRAINTS),
    ("check_constraints", CHECK_CONSTRAINTS),
    ("routines", ROUTINES),
    ("parameters", PARAMETERS),
    ("triggers", TRIGGERS),
    ("information_schema_catalog_name", CATALOG_NAME),
];

/// The rows of the relation `name`.
pub(super) fn rows(engine: &EngineSession, name: &str, shape: Shape) -> Result<RecordBatch, Error> {
    match name {
        "table_constraints" => batch(shape, &constraints_of(engine), |constraint, column| {
            Some(match column {
                "constraint_type" if constraint.key.is_some() => Cell::text("PRIMARY KEY"),
                "constraint_type" => Cell::text("CHECK"),
                "is_deferrable" | "initially_deferred" => Cell::text("NO"),
                "enforced" => Cell::text("YES"),
                _ => return named(&constraint.name, &constraint.table, column),
            })
        }),
        "check_constraints" => {
            let mut all = constraints_of(engine);
            all.retain(|constraint| constraint.key.is_none());
            batch(shape, &all, |constraint, column| match column {
                "check_clause" => constraint.definition.strip_prefix("CHECK ").map(Cell::text),
                _ => named(&constraint.name, &constraint.table, column),
            })
        }
        "key_column_usage" | "constraint_column_usage" => {
            let columns: Vec<(Key, String, i64)> = Key::all(engine)
                .into_iter()
                .flat_map(|key| {
                    let names: Vec<_> = key.columns.iter().map(|(name, _)| name.clone()).collect();
                    (1..).zip(names).map(move |(at, name)| (key.clone(), name, at))
                })
                .collect();
            batch(shape, &columns, |(key, name, at), column| {
                Some(match column {
                    "column_name" => Cell::text(name),
                    "ordinal_position" => Cell::Int(*at),
                    // Of foreign keys only.
                    "position_in_unique_constraint" => Cell::Null,
                    _ => return named(&key.name, &key.table, column),
                })
            })
        }
        "information_schema_catalog_name" => {
            batch(shape, &[()], |(), _| Some(Cell::text(DATABASE)))
        }
        _ => batch(shape, &[] as &[()], |(), _| None),
    }
}

fn named(name: &str, table: &str, column: &str) -> Option<Cell> {
    Some(match column {
        "constraint_catalog" | "table_catalog" => Cell::text(DATABASE),
        "constraint_schema" | "table_schema" => Cell::text(PUBLIC),
        "constraint_name" => Cell::text(name),
        "table_name" => Cell::text(table),
        _ => return None,
    })
}
