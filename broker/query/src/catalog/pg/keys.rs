//! `pg_index` and `pg_constraint`: the primary keys of streams, and what their rows must be.

use super::{PUBLIC, namespace_oid, rows_oid};
use crate::catalog::cells::{Cell, Of, Shape, batch};
use crate::catalog::streams_of;
use crate::error::Error;
use crate::rows::{Layout, Relation};
use crate::statement::shown_name;
use anabranch_engine::{Mode, Session as EngineSession, Stream};
use datafusion::arrow::array::RecordBatch;

/// PostgreSQL 15, 53.26.
pub(super) const INDEX: Shape = &[
    ("indexrelid", Of::Oid),
    ("indrelid", Of::Oid),
    ("indnatts", Of::Int2),
    ("indnkeyatts", Of::Int2),
    ("indisunique", Of::Bool),
    ("indnullsnotdistinct", Of::Bool),
    ("indisprimary", Of::Bool),
    ("indisexclusion", Of::Bool),
    ("indimmediate", Of::Bool),
    ("indisclustered", Of::Bool),
    ("indisvalid", Of::Bool),
    ("indcheckxmin", Of::Bool),
    ("indisready", Of::Bool),
    ("indislive", Of::Bool),
    ("indisreplident", Of::Bool),
    ("indkey", Of::Int2s),
    ("indcollation", Of::Oids),
    ("indclass", Of::Oids),
    ("indoption", Of::Int2s),
    ("indexprs", Of::Text),
    ("indpred", Of::Text),
];

/// PostgreSQL 15, 53.13.
pub(super) const CONSTRAINT: Shape = &[
    ("oid", Of::Oid),
    ("conname", Of::Text),
    ("connamespace", Of::Oid),
    ("contype", Of::Char),
    ("condeferrable", Of::Bool),
    ("condeferred", Of::Bool),
    ("convalidated", Of::Bool),
    ("conrelid", Of::Oid),
    ("contypid", Of::Oid),
    ("conindid", Of::Oid),
    ("conparentid", Of::Oid),
    ("confrelid", Of::Oid),
    ("confupdtype", Of::Char),
    ("confdeltype", Of::Char),
    ("confmatchtype", Of::Char),
    ("conislocal", Of::Bool),
    ("coninhcount", Of::Int4),
    ("connoinherit", Of::Bool),
    ("conkey", Of::Int2s),
    ("confkey", Of::Int2s),
    ("conpfeqop", Of::Oids),
    ("conppeqop", Of::Oids),
    ("conffeqop", Of::Oids),
    ("confdelsetcols", Of::Int2s),
    ("conexclop", Of::Oids),
    ("conbin", Of::Text),
];

/// The primary key of a stream.
#[derive(Debug, Clone)]
pub(in crate::catalog) struct Key {
    pub(in crate::catalog) table: String,
    pub(in crate::catalog) table_oid: i32,
    /// Of the index, whose name is the constraint's.
    pub(in crate::catalog) index_oid: i32,
    pub(in crate::catalog) constraint_oid: i32,
    pub(in crate::catalog) name: String,
    /// Names, and places among the visible columns from 1.
    pub(in crate::catalog) columns: Vec<(String, i32)>,
}

impl Key {
    /// The key of a keyed stream.
    pub(in crate::catalog) fn of(stream: &Stream) -> Option<Self> {
        let shown = Layout::new(stream, Relation::Rows).visible_schema();
        let columns: Vec<(String, i32)> = stream
            .key_columns()
            .filter_map(|column| {
                let at = shown.fields().iter().position(|field| field.name() == &column.name)?;
                Some((column.name.clone(), i32::try_from(at).ok()?.saturating_add(1)))
            })
            .collect();
        if stream.mode != Mode::Upsert || columns.is_empty() {
            return None;
        }
        let table_oid = rows_oid(stream);
        Some(Self {
            table: stream.name.clone(),
            table_oid,
            index_oid: table_oid.saturating_add(2),
            constraint_oid: table_oid.saturating_add(3),
            name: format!("{}_pkey", stream.name),
            columns,
        })
    }

    /// The keys of all streams.
    pub(in crate::catalog) fn all(engine: &EngineSession) -> Vec<Self> {
        streams_of(engine).iter().filter_map(|stream| Self::of(stream)).collect()
    }

    /// Names of its columns, with commas, quoted where they must be.
    pub(in crate::catalog) fn list(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|(name, _)| shown_name(name)).collect();
        names.join(", ")
    }

    /// `pg_get_indexdef`.
    pub(in crate::catalog) fn index_definition(&self) -> String {
        format!(
            "CREATE UNIQUE INDEX {} ON {PUBLIC}.{} USING btree ({})",
            shown_name(&self.name),
            shown_name(&self.table),
            self.list()
        )
    }

    fn numbers(&self) -> Cell {
        Cell::Ints(self.columns.iter().map(|(_, number)| *number).collect())
    }

    fn count(&self) -> Cell {
        Cell::Int(i64::try_from(self.columns.len()).unwrap_or(i64::MAX))
    }

    fn zeros(&self) -> Cell {
        Cell::Ints(vec![0; self.columns.len()])
    }
}

pub(super) fn indexes(engine: &EngineSession) -> Result<RecordBatch, Error> {
    batch(INDEX, &Key::all(engine), |key, column| {
        Some(match column {
            "indexrelid" => Cell::int(key.index_oid),
            "indrelid" => Cell::int(key.table_oid),
            "indnatts" | "indnkeyatts" => key.count(),
            "indisunique" | "indisprimary" | "indimmediate" | "indisvalid" | "indisready"
            | "indislive" => Cell::Bool(true),
            "indkey" => key.numbers(),
            "indcollation" | "indclass" | "indoption" => key.zeros(),
            _ => return None,
        })
    })
}

/// Oids of CHECK constraints: their places among all, as they are now.
const CHECK_OIDS_FROM: i32 = 1_700_000_000;

/// A constraint of a stream.
pub(in crate::catalog) struct Constraint {
    pub(in crate::catalog) oid: i32,
    /// What `pg_get_constraintdef` gives.
    pub(in crate::catalog) definition: String,
    pub(in crate::catalog) name: String,
    pub(in crate::catalog) table: String,
    table_oid: i32,
    /// Of a primary key; others are CHECK.
    pub(in crate::catalog) key: Option<Key>,
}

/// The constraints of all streams.
pub(in crate::catalog) fn constraints_of(engine: &EngineSession) -> Vec<Constraint> {
    let mut all = Vec::new();
    let mut oids = CHECK_OIDS_FROM..;
    for stream in streams_of(engine) {
        if let Some(key) = Key::of(&stream) {
            all.push(Constraint {
                oid: key.constraint_oid,
                definition: format!("PRIMARY KEY ({})", key.list()),
                name: key.name.clone(),
                table: key.table.clone(),
                table_oid: key.table_oid,
                key: Some(key),
            });
        }
        for check in &stream.checks {
            all.push(Constraint {
                oid: oids.next().unwrap_or_default(),
                definition: format!("CHECK ({})", check.expression),
                name: check.name.clone(),
                table: stream.name.clone(),
                table_oid: rows_oid(&stream),
                key: None,
            });
        }
    }
    all
}

pub(super) fn constraints(engine: &EngineSession) -> Result<RecordBatch, Error> {
    batch(CONSTRAINT, &constraints_of(engine), |constraint, column| {
        Some(match column {
            "oid" => Cell::int(constraint.oid),
            "conname" => Cell::text(&constraint.name),
            "connamespace" => Cell::int(namespace_oid(PUBLIC)),
            "contype" => Cell::text(if constraint.key.is_some() { "p" } else { "c" }),
            "convalidated" | "conislocal" => Cell::Bool(true),
            "connoinherit" => Cell::Bool(constraint.key.is_some()),
            "conrelid" => Cell::int(constraint.table_oid),
            "conindid" => Cell::int(constraint.key.as_ref()?.index_oid),
            "confupdtype" | "confdeltype" | "confmatchtype" => Cell::text(" "),
            "conkey" => constraint.key.as_ref()?.numbers(),
            _ => return None,
        })
    })
}
