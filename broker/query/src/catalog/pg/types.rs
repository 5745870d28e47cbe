//! `pg_type`: the types that columns and results have, and those of the catalogue itself.

use super::OWNER;
use crate::catalog::cells::{Cell, Of, Shape, batch};
use crate::error::Error;
use datafusion::arrow::array::RecordBatch;

/// PostgreSQL 15, 53.64.
pub(super) const SHAPE: Shape = &[
    ("oid", Of::Oid),
    ("typname", Of::Text),
    ("typnamespace", Of::Oid),
    ("typowner", Of::Oid),
    ("typlen", Of::Int2),
    ("typbyval", Of::Bool),
    ("typtype", Of::Char),
    ("typcategory", Of::Char),
    ("typispreferred", Of::Bool),
    ("typisdefined", Of::Bool),
    ("typdelim", Of::Char),
    ("typrelid", Of::Oid),
    ("typsubscript", Of::Text),
    ("typelem", Of::Oid),
    ("typarray", Of::Oid),
    ("typinput", Of::Text),
    ("typoutput", Of::Text),
    ("typreceive", Of::Text),
    ("typsend", Of::Text),
    ("typmodin", Of::Text),
    ("typmodout", Of::Text),
    ("typanalyze", Of::Text),
    ("typalign", Of::Char),
    ("typstorage", Of::Char),
    ("typnotnull", Of::Bool),
    ("typbasetype", Of::Oid),
    ("typtypmod", Of::Int4),
    ("typndims", Of::Int4),
    ("typcollation", Of::Oid),
    ("typdefaultbin", Of::Text),
    ("typdefault", Of::Text),
    ("typacl", Of::Texts),
];

/// A type of PostgreSQL's.
#[derive(Debug, Clone, Copy)]
pub(in crate::catalog) struct Known {
    pub(in crate::catalog) oid: i32,
    /// As in `pg_type`.
    pub(in crate::catalog) name: &'static str,
    /// As `format_type` spells it.
    pub(in crate::catalog) sql_name: &'static str,
    length: i16,
    category: &'static str,
    /// The oid of arrays of it; 0 where there are none.
    pub(in crate::catalog) array: i32,
    /// What vectors consist of.
    element: i32,
    /// What its functions are called; `_` follows for some.
    functions: &'static str,
}

const fn known(
    oid: i32,
    name: &'static str,
    sql_name: &'static str,
    length: i16,
    category: &'static str,
    array: i32,
    functions: &'static str,
) -> Known {
    Known { oid, name, sql_name, length, category, array, element: 0, functions }
}

/// All types but those of arrays.
pub(in crate::catalog) const KNOWN: [Known; 35] = [
    known(16, "bool", "boolean", 1, "B", 1000, "bool"),
    known(17, "bytea", "bytea", -1, "U", 1001, "bytea"),
    known(18, "char", "\"char\"", 1, "Z", 1002, "char"),
    known(19, "name", "name", 64, "S", 1003, "name"),
    known(20, "int8", "bigint", 8, "N", 1016, "int8"),
    known(21, "int2", "smallint", 2, "N", 1005, "int2"),
    Known { element: 21, ..known(22, "int2vector", "int2vector", -1, "A", 1006, "int2vector") },
    known(23, "int4", "integer", 4, "N", 1007, "int4"),
    known(24, "regproc", "regproc", 4, "N", 1008, "regproc"),
    known(25, "text", "text", -1, "S", 1009, "text"),
    known(26, "oid", "oid", 4, "N", 1028, "oid"),
    known(28, "xid", "xid", 4, "U", 1011, "xid"),
    Known { element: 26, ..known(30, "oidvector", "oidvector", -1, "A", 1013, "oidvector") },
    known(114, "json", "json", -1, "U", 199, "json_"),
    known(700, "float4", "real", 4, "N", 1021, "float4"),
    known(701, "float8", "double precision", 8, "N", 1022, "float8"),
    known(705, "unknown", "unknown", -2, "X", 0, "unknown"),
    known(869, "inet", "inet", -1, "I", 1041, "inet_"),
    known(1042, "bpchar", "character", -1, "S", 1014, "bpchar"),
    known(1043, "varchar", "character varying", -1, "S", 1015, "varchar"),
    known(1082, "date", "date", 4, "D", 1182, "date_"),
    known(1083, "time", "time without time zone", 8, "D", 1183, "time_"),
    known(1114, "timestamp", "timestamp without time zone", 8, "D", 1115, "timestamp_"),
    known(1184, "timestamptz", "timestamp with time zone", 8, "D", 1185, "timestamptz_"),
    known(1186, "interval", "interval", 16, "T", 1187, "interval_"),
    known(1266, "timetz", "time with time zone", 12, "D", 1270, "timetz_"),
    known(1700, "numeric", "numeric", -1, "N", 1231, "numeric_"),
    known(2205, "regclass", "regclass", 4, "N", 2210, "regclass"),
    known(2206, "regtype", "regtype", 4, "N", 2211, "regtype"),
    known(2249, "record", "record", -1, "P", 2287, "record_"),
    known(2278, "void", "void", 4, "P", 0, "void_"),
    known(2950, "uuid", "uuid", 16, "U", 2951, "uuid_"),
    known(3802, "jsonb", "jsonb", -1, "U", 3807, "jsonb_"),
    known(4089, "regnamespace", "regnamespace", 4, "N", 4090, "regnamespace"),
    known(4096, "regrole", "regrole", 4, "N", 4097, "regrole"),
];

/// A row: a type, or the arrays of it.
struct Row(&'static Known, bool);

pub(super) fn types() -> Result<RecordBatch, Error> {
    let rows: Vec<Row> = KNOWN
        .iter()
        .flat_map(|of| [Some(Row(of, false)), (of.array != 0).then_some(Row(of, true))])
        .flatten()
        .collect();
    batch(SHAPE, &rows, |Row(of, is_array), column| cell(of, *is_array, column))
}

fn cell(of: &Known, is_array: bool, column: &str) -> Option<Cell> {
    let function = |plain: &str, array: &str| {
        Cell::text(if is_array { array.to_owned() } else { format!("{}{plain}", of.functions) })
    };
    Some(match column {
        "oid" => Cell::int(if is_array { of.array } else { of.oid }),
        "typname" if is_array => Cell::Text(format!("_{}", of.name)),
        "typname" => Cell::text(of.name),
        "typnamespace" => Cell::Int(11),
        "typowner" => Cell::int(OWNER),
        "typlen" => Cell::int(if is_array { -1 } else { of.length }),
        "typbyval" => Cell::Bool(!is_array && matches!(of.length, 1 | 2 | 4 | 8)),
        "typtype" => Cell::text(if of.category == "P" || of.oid == 705 { "p" } else { "b" }),
        "typcategory" => Cell::text(if is_array { "A" } else { of.category }),
        "typispreferred" => {
            let preferred = ["bool", "text", "oid", "float8", "timestamptz", "interval"];
            Cell::Bool(!is_array && preferred.contains(&of.name))
        }
        "typisdefined" => Cell::Bool(true),
        "typdelim" => Cell::text(","),
        "typsubscript" if is_array || of.element != 0 => Cell::text("array_subscript_handler"),
        "typsubscript" if of.name == "jsonb" => Cell::text("jsonb_subscript_handler"),
        "typelem" => Cell::int(if is_array { of.oid } else { of.element }),
        "typarray" if !is_array => Cell::int(of.array),
        "typinput" => function("in", "array_in"),
        "typoutput" => function("out", "array_out"),
        "typreceive" => function("recv", "array_recv"),
        "typsend" => function("send", "array_send"),
        "typsubscript" | "typmodin" | "typmodout" | "typanalyze" => Cell::text("-"),
        "typalign" => Cell::text(match of.length {
            _ if is_array => "i",
            1 => "c",
            2 => "s",
            8 | 12 => "d",
            _ => "i",
        }),
        "typstorage" => Cell::text(if is_array || of.length < 0 { "x" } else { "p" }),
        "typtypmod" => Cell::Int(-1),
        "typcollation" => Cell::Int(match of.name {
            "text" | "varchar" | "bpchar" => 100,
            "name" => 950,
            _ => 0,
        }),
        _ => return None,
    })
}
