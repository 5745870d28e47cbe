//! `pg_attrdef`, `pg_sequence` and `pg_sequences`: what definitions say.

use super::{pg_type_of, rows_oid};
use crate::catalog::{PUBLIC, find, streams_of};
use crate::error::Error;
use anabranch_engine::{Column, ColumnType, Filled, SequenceStatus, Session as EngineSession};
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int16Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_pg_catalog::pg_catalog::oid_field::{kind, oid_field};
use std::sync::Arc;

/// Relations that are made here.
pub(super) const RELATIONS: [&str; 3] = ["pg_attrdef", "pg_sequence", "pg_sequences"];

/// Oids of sequences: their numbers are never used again.
pub(super) const SEQUENCE_OIDS_FROM: i32 = 1_500_000_000;
/// Oids of defaults: their places among all, as they are now.
const DEFAULT_OIDS_FROM: i32 = 1_600_000_000;

pub(super) fn sequence_oid(sequence: &SequenceStatus) -> i32 {
    relation_oid(sequence.sequence.id)
}

/// Of a sequence or a view.
pub(super) fn relation_oid(id: u32) -> i32 {
    SEQUENCE_OIDS_FROM.saturating_add(i32::try_from(id).unwrap_or(i32::MAX))
}

/// Columns of `pg_catalog.<name>`.
pub(super) fn schema_of(name: &str) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let large = |name: &str| Field::new(name, DataType::Int64, true);
    let flag = |name: &str| Field::new(name, DataType::Boolean, true);
    let small = |name: &str| Field::new(name, DataType::Int16, true);
    Arc::new(Schema::new(match name {
        "pg_attrdef" => vec![
            oid_field("oid", kind::OID, false),
            oid_field("adrelid", kind::REGCLASS, false),
            small("adnum"),
            text("adbin"),
        ],
        "pg_sequence" => vec![
            oid_field("seqrelid", kind::REGCLASS, false),
            oid_field("seqtypid", kind::REGTYPE, false),
            large("seqstart"),
            large("seqincrement"),
            large("seqmax"),
            large("seqmin"),
            large("seqcache"),
            flag("seqcycle"),
        ],
        _ => vec![
            text("schemaname"),
            text("sequencename"),
            text("sequenceowner"),
            text("data_type"),
            large("start_value"),
            large("min_value"),
            large("max_value"),
            large("increment_by"),
            flag("cycle"),
            large("cache_size"),
            large("last_value"),
        ],
    }))
}

pub(super) fn rows(
    name: &str,
    engine: &EngineSession,
    schema: SchemaRef,
) -> Result<RecordBatch, Error> {
    match name {
        "pg_attrdef" => defaults(engine, schema),
        "pg_sequence" => sequences(engine, schema),
        _ => shown_sequences(engine, schema),
    }
}

fn defaults(engine: &EngineSession, schema: SchemaRef) -> Result<RecordBatch, Error> {
    let mut all = Vec::new();
    for stream in streams_of(engine) {
        for (number, column) in (1i16..).zip(&stream.columns) {
            if let Some(text) = default_text(column) {
                all.push((rows_oid(&stream), number, text.to_owned()));
            }
        }
    }
    let oids = (DEFAULT_OIDS_FROM..).take(all.len());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(oids)),
        Arc::new(Int32Array::from_iter_values(all.iter().map(|(of, ..)| *of))),
        Arc::new(Int16Array::from_iter_values(all.iter().map(|(_, number, _)| *number))),
        Arc::new(StringArray::from_iter_values(all.iter().map(|(.., text)| text))),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// What `pg_attrdef` has of a column: its default, or how it is generated.
pub(in crate::catalog) fn default_text(column: &Column) -> Option<&str> {
    match &column.filled {
        Some(Filled::Default(text) | Filled::Generated(text)) => Some(text),
        Some(Filled::Identity { .. }) | None => None,
    }
}

/// The same, by the relation's oid and the column's number.
pub(in crate::catalog) fn column_default(
    engine: &EngineSession,
    relation: i64,
    number: i64,
) -> Option<String> {
    let stream =
        streams_of(engine).into_iter().find(|stream| i64::from(rows_oid(stream)) == relation)?;
    let number = usize::try_from(number).ok()?.checked_sub(1)?;
    default_text(stream.columns.get(number)?).map(str::to_owned)
}

fn large(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn sequences(engine: &EngineSession, schema: SchemaRef) -> Result<RecordBatch, Error> {
    let all = engine.sequences();
    let spec = || all.iter().map(|one| &one.sequence.spec);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(all.iter().map(sequence_oid))),
        Arc::new(Int32Array::from_iter_values(spec().map(|spec| pg_type_of(spec.data_type).oid))),
        large(spec().map(|spec| spec.start)),
        large(spec().map(|spec| spec.increment)),
        large(spec().map(|spec| spec.max)),
        large(spec().map(|spec| spec.min)),
        large(spec().map(|spec| spec.cache)),
        Arc::new(BooleanArray::from_iter(spec().map(|spec| Some(spec.cycle)))),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn shown_sequences(engine: &EngineSession, schema: SchemaRef) -> Result<RecordBatch, Error> {
    let all = engine.sequences();
    let spec = || all.iter().map(|one| &one.sequence.spec);
    let text = |of: &'static str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(all.iter().map(|_| of)))
    };
    let columns: Vec<ArrayRef> = vec![
        text(PUBLIC),
        Arc::new(StringArray::from_iter_values(spec().map(|spec| &spec.name))),
        text("postgres"),
        Arc::new(StringArray::from_iter_values(spec().map(|spec| pg_type_of(spec.data_type).name))),
        large(spec().map(|spec| spec.start)),
        large(spec().map(|spec| spec.min)),
        large(spec().map(|spec| spec.max)),
        large(spec().map(|spec| spec.increment)),
        Arc::new(BooleanArray::from_iter(spec().map(|spec| Some(spec.cycle)))),
        large(spec().map(|spec| spec.cache)),
        Arc::new(Int64Array::from_iter(all.iter().map(|one| one.is_called.then_some(one.last)))),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// A sequence as a relation: `SELECT last_value FROM s`.
pub(in crate::catalog) fn sequence_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("last_value", DataType::Int64, false),
        Field::new("log_cnt", DataType::Int64, false),
        Field::new("is_called", DataType::Boolean, false),
    ]))
}

/// Its row.
pub(in crate::catalog) fn sequence_row(
    engine: &EngineSession,
    name: &str,
    schema: SchemaRef,
) -> Result<RecordBatch, Error> {
    let all = engine.sequences();
    let found: Vec<_> = all.iter().filter(|one| one.sequence.spec.name == name).collect();
    let columns: Vec<ArrayRef> = vec![
        large(found.iter().map(|one| one.last)),
        large(found.iter().map(|_| 0)),
        Arc::new(BooleanArray::from_iter(found.iter().map(|one| Some(one.is_called)))),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// `attidentity` and `attgenerated` of a stream's column.
pub(super) fn attribute_kinds(column: &Column) -> (&'static str, &'static str) {
    match &column.filled {
        Some(Filled::Identity { always: true, .. }) => ("a", ""),
        Some(Filled::Identity { always: false, .. }) => ("d", ""),
        Some(Filled::Generated(_)) => ("", "s"),
        Some(Filled::Default(_)) | None => ("", ""),
    }
}

/// Whether a stream has the name, or else a sequence.
pub(in crate::catalog) fn is_sequence(engine: &EngineSession, name: &str) -> bool {
    find(engine, name).is_none() && engine.sequence(name).is_ok()
}

/// The type that `information_schema` and `pg_sequences` name.
pub(super) fn arrow_field(data_type: ColumnType) -> Field {
    Field::new("value", crate::rows::arrow_type(data_type), true)
}
