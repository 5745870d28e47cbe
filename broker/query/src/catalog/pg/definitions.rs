//! `pg_attrdef`, `pg_constraint`, `pg_sequence` and `pg_sequences`: what definitions say.

use super::{namespace_oid, pg_type_of, rows_oid};
use crate::catalog::{PUBLIC, find, streams_of};
use crate::error::Error;
use crate::sequences::quoted_name;
use anabranch_engine::{
    Column, ColumnType, Filled, SequenceStatus, Session as EngineSession, Stream,
};
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int16Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, new_null_array,
};
use datafusion::arrow::datatypes::{DataType, Field, Int16Type, Schema, SchemaRef};
use datafusion_pg_catalog::pg_catalog::oid_field::{kind, oid_field};
use std::sync::Arc;

/// Relations that are made here.
pub(super) const RELATIONS: [&str; 4] =
    ["pg_attrdef", "pg_constraint", "pg_sequence", "pg_sequences"];

/// Oids of sequences: their numbers are never used again.
pub(super) const SEQUENCE_OIDS_FROM: i32 = 1_500_000_000;
/// Oids of defaults and constraints: their places among all, as they are now.
const DEFAULT_OIDS_FROM: i32 = 1_600_000_000;
const CONSTRAINT_OIDS_FROM: i32 = 1_700_000_000;

pub(super) fn sequence_oid(sequence: &SequenceStatus) -> i32 {
    let id = i32::try_from(sequence.sequence.id).unwrap_or(i32::MAX);
    SEQUENCE_OIDS_FROM.saturating_add(id)
}

/// Columns of `pg_catalog.<name>`.
pub(super) fn schema_of(name: &str) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Int32, true);
    let large = |name: &str| Field::new(name, DataType::Int64, true);
    let flag = |name: &str| Field::new(name, DataType::Boolean, true);
    let small = |name: &str| Field::new(name, DataType::Int16, true);
    let numbers = |name: &str| {
        Field::new(
            name,
            DataType::List(Arc::new(Field::new_list_field(DataType::Int16, true))),
            true,
        )
    };
    Arc::new(Schema::new(match name {
        "pg_attrdef" => vec![
            oid_field("oid", kind::OID, false),
            oid_field("adrelid", kind::REGCLASS, false),
            small("adnum"),
            text("adbin"),
        ],
        "pg_constraint" => vec![
            oid_field("oid", kind::OID, false),
            text("conname"),
            oid_field("connamespace", kind::REGNAMESPACE, false),
            text("contype"),
            flag("condeferrable"),
            flag("condeferred"),
            flag("convalidated"),
            oid_field("conrelid", kind::REGCLASS, false),
            number("contypid"),
            number("conindid"),
            number("conparentid"),
            number("confrelid"),
            text("confupdtype"),
            text("confdeltype"),
            text("confmatchtype"),
            flag("conislocal"),
            number("coninhcount"),
            flag("connoinherit"),
            numbers("conkey"),
            numbers("confkey"),
            text("conbin"),
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
        "pg_constraint" => constraints(engine, schema),
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

/// A constraint of a stream.
struct Constraint {
    oid: i32,
    stream: Arc<Stream>,
    name: String,
    kind: &'static str,
    definition: String,
    /// Numbers of the key's columns.
    key: Option<Vec<Option<i16>>>,
}

fn all_constraints(engine: &EngineSession) -> Vec<Constraint> {
    let mut all = Vec::new();
    let mut oids = CONSTRAINT_OIDS_FROM..;
    for stream in streams_of(engine) {
        let keyed = (1i16..).zip(&stream.columns).filter(|(_, column)| column.in_key);
        let (numbers, names): (Vec<_>, Vec<_>) =
            keyed.map(|(number, column)| (Some(number), quoted_name(&column.name))).unzip();
        if !names.is_empty() {
            all.push(Constraint {
                oid: oids.next().unwrap_or_default(),
                name: format!("{}_pkey", stream.name),
                kind: "p",
                definition: format!("PRIMARY KEY ({})", names.join(", ")),
                key: Some(numbers),
                stream: Arc::clone(&stream),
            });
        }
        for check in &stream.checks {
            all.push(Constraint {
                oid: oids.next().unwrap_or_default(),
                name: check.name.clone(),
                kind: "c",
                definition: format!("CHECK ({})", check.expression),
                key: None,
                stream: Arc::clone(&stream),
            });
        }
    }
    all
}

/// What `pg_get_constraintdef` gives.
pub(in crate::catalog) fn constraint_definition(
    engine: &EngineSession,
    oid: i64,
) -> Option<String> {
    let found = all_constraints(engine).into_iter().find(|one| i64::from(one.oid) == oid);
    found.map(|constraint| constraint.definition)
}

fn constraints(engine: &EngineSession, schema: SchemaRef) -> Result<RecordBatch, Error> {
    let all = all_constraints(engine);
    let rows = all.len();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let texts = |of: &dyn Fn(&Constraint) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(all.iter().map(of)))
        };
        let numbers = |of: &dyn Fn(&Constraint) -> i32| -> ArrayRef {
            Arc::new(Int32Array::from_iter_values(all.iter().map(of)))
        };
        match field.name().as_str() {
            "oid" => numbers(&|one| one.oid),
            "conname" => texts(&|one| one.name.clone()),
            "connamespace" => numbers(&|_| namespace_oid(PUBLIC)),
            "contype" => texts(&|one| one.kind.to_owned()),
            "conrelid" => numbers(&|one| rows_oid(&one.stream)),
            "conindid" => numbers(&|one| match one.kind {
                "p" => rows_oid(&one.stream).saturating_add(2),
                _ => 0,
            }),
            "convalidated" | "conislocal" => Arc::new(BooleanArray::from(vec![true; rows])),
            "confupdtype" | "confdeltype" | "confmatchtype" => texts(&|_| " ".to_owned()),
            "conkey" => Arc::new(ListArray::from_iter_primitive::<Int16Type, _, _>(
                all.iter().map(|one| one.key.clone()),
            )),
            _ => match field.data_type() {
                DataType::Int32 => numbers(&|_| 0),
                DataType::Boolean => Arc::new(BooleanArray::from(vec![false; rows])),
                other => new_null_array(other, rows),
            },
        }
    });
    Ok(RecordBatch::try_new(schema.clone(), columns.collect())?)
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
