//! `information_schema`: tables, columns and schemata, in PostgreSQL's words.

use super::computed::computed;
use super::pg::{default_text, pg_type, pg_type_of_column, udt_name};
use super::{DATABASE, LOG, PUBLIC, SCHEMAS, streams_of, sys};
use crate::error::Error;
use crate::rows::{Layout, Relation};
use anabranch_engine::{Column, ColumnType, Filled, SequenceSpec, Session as EngineSession};
use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use std::fmt;
use std::sync::Arc;

const RELATIONS: [&str; 5] = ["tables", "columns", "schemata", "views", "sequences"];

pub(super) struct Information {
    pub(super) engine: EngineSession,
}

impl fmt::Debug for Information {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Information").finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        RELATIONS.iter().map(ToString::to_string).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let engine = self.engine.clone();
        let text = |names: &[&str]| -> Vec<Field> {
            names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect()
        };
        match name {
            "tables" => {
                let fields = text(&[
                    "table_catalog",
                    "table_schema",
                    "table_name",
                    "table_type",
                    "is_insertable_into",
                ]);
                computed(Arc::new(Schema::new(fields)), move |schema| tables(&engine, schema))
            }
            "columns" => computed(columns_schema(), move |schema| columns(&engine, schema)),
            "schemata" => {
                let fields = text(&["catalog_name", "schema_name", "schema_owner"]);
                computed(Arc::new(Schema::new(fields)), schemata)
            }
            "views" => {
                let fields =
                    text(&["table_catalog", "table_schema", "table_name", "view_definition"]);
                computed(Arc::new(Schema::new(fields)), |schema| Ok(RecordBatch::new_empty(schema)))
            }
            "sequences" => {
                let fields = text(&[
                    "sequence_catalog",
                    "sequence_schema",
                    "sequence_name",
                    "data_type",
                    "start_value",
                    "minimum_value",
                    "maximum_value",
                    "increment",
                    "cycle_option",
                ]);
                computed(Arc::new(Schema::new(fields)), move |schema| sequences(&engine, schema))
            }
            _ => return Ok(None),
        }
        .map(Some)
    }

    fn table_exist(&self, name: &str) -> bool {
        RELATIONS.contains(&name)
    }
}

/// (schema, name, visible columns, what was declared of them)
fn relations(engine: &EngineSession) -> Vec<(&'static str, String, SchemaRef, Vec<Column>)> {
    let mut all = Vec::new();
    for stream in streams_of(engine) {
        let rows = Layout::new(&stream, Relation::Rows).visible_schema();
        all.push((PUBLIC, stream.name.clone(), rows, stream.columns.clone()));
        let events = Layout::new(&stream, Relation::Log).visible_schema();
        all.push((LOG, stream.name.clone(), events, Vec::new()));
    }
    for name in sys::RELATIONS {
        if let Some(schema) = sys::schema_of(name) {
            all.push(("sys", name.to_owned(), schema, Vec::new()));
        }
    }
    all
}

fn strings<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn tables(engine: &EngineSession, schema: SchemaRef) -> Result<RecordBatch, Error> {
    let all = relations(engine);
    let is_rows = |schema: &str| schema == PUBLIC;
    let columns = vec![
        strings(all.iter().map(|_| DATABASE)),
        strings(all.iter().map(|(schema, ..)| *schema)),
        strings(all.iter().map(|(_, name, ..)| name.as_str())),
        strings(all.iter().map(|(schema, ..)| if is_rows(schema) { "BASE TABLE" } else { "VIEW" })),
        strings(all.iter().map(|(schema, ..)| if is_rows(schema) { "YES" } else { "NO" })),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn columns_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Int32, true);
    Arc::new(Schema::new(vec![
        text("table_catalog"),
        text("table_schema"),
        text("table_name"),
        text("column_name"),
        number("ordinal_position"),
        text("column_default"),
        text("is_nullable"),
        text("data_type"),
        number("character_maximum_length"),
        number("numeric_precision"),
        number("numeric_scale"),
        text("udt_name"),
        text("is_identity"),
        text("identity_generation"),
        text("is_generated"),
        text("generation_expression"),
        text("is_updatable"),
    ]))
}

fn columns(engine: &EngineSession, schema: SchemaRef) -> Result<RecordBatch, Error> {
    let relations = relations(engine);
    let all: Vec<_> = relations
        .iter()
        .flat_map(|(schema, name, columns, declared)| {
            (1..).zip(columns.fields()).map(move |(number, field)| {
                let column = declared.iter().find(|column| &column.name == field.name());
                (*schema, name.as_str(), number, field.clone(), column)
            })
        })
        .collect();
    let digits = |of: &dyn Fn(u8, i8) -> i32| -> ArrayRef {
        Arc::new(Int32Array::from_iter(all.iter().map(
            |(_, _, _, field, _)| match field.data_type() {
                DataType::Decimal128(precision, scale) => Some(of(*precision, *scale)),
                _ => None,
            },
        )))
    };
    let filled = |of: &dyn Fn(&Column) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(all.iter().map(|(.., column)| of((*column)?))))
    };
    let said = |of: &dyn Fn(&Filled) -> bool, yes: &'static str, no: &'static str| {
        strings(all.iter().map(|(.., column)| {
            let filled = column.and_then(|column| column.filled.as_ref());
            if filled.is_some_and(of) { yes } else { no }
        }))
    };
    let not_null = |column: &Column| column.not_null || column.in_key;
    let typed = |field: &Field, column: &Option<&Column>| match column {
        Some(column) => pg_type_of_column(column, field),
        None => pg_type(field),
    };
    let columns = vec![
        strings(all.iter().map(|_| DATABASE)),
        strings(all.iter().map(|(schema, ..)| *schema)),
        strings(all.iter().map(|(_, name, ..)| *name)),
        strings(all.iter().map(|(_, _, _, field, _)| field.name().as_str())),
        Arc::new(Int32Array::from_iter_values(all.iter().map(|(_, _, number, ..)| *number))),
        filled(&|column| match &column.filled {
            Some(Filled::Default(_)) => default_text(column).map(str::to_owned),
            _ => None,
        }),
        strings(all.iter().map(|(.., column)| match column.is_some_and(not_null) {
            true => "NO",
            false => "YES",
        })),
        strings(all.iter().map(|(_, _, _, field, column)| typed(field, column).name)),
        Arc::new(Int32Array::from_iter(all.iter().map(|(.., column)| {
            (*column)?.length.and_then(|length| i32::try_from(length.max).ok())
        }))),
        digits(&|precision, _| i32::from(precision)),
        digits(&|_, scale| i32::from(scale)),
        Arc::new(StringArray::from_iter_values(
            all.iter().map(|(_, _, _, field, column)| udt_name(typed(field, column).oid)),
        )),
        said(&|filled| matches!(filled, Filled::Identity { .. }), "YES", "NO"),
        filled(&|column| match &column.filled {
            Some(Filled::Identity { always: true, .. }) => Some("ALWAYS".to_owned()),
            Some(Filled::Identity { always: false, .. }) => Some("BY DEFAULT".to_owned()),
            _ => None,
        }),
        said(&|filled| matches!(filled, Filled::Generated(_)), "ALWAYS", "NEVER"),
        filled(&|column| match &column.filled {
            Some(Filled::Generated(text)) => Some(text.clone()),
            _ => None,
        }),
        said(&|filled| matches!(filled, Filled::Generated(_)), "NO", "YES"),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn sequences(engine: &EngineSession, schema: SchemaRef) -> Result<RecordBatch, Error> {
    let all = engine.sequences();
    let spec = || all.iter().map(|one| &one.sequence.spec);
    let numbers = |of: &dyn Fn(&SequenceSpec) -> i64| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(spec().map(|spec| of(spec).to_string())))
    };
    let columns = vec![
        strings(all.iter().map(|_| DATABASE)),
        strings(all.iter().map(|_| PUBLIC)),
        strings(spec().map(|spec| spec.name.as_str())),
        strings(spec().map(|spec| match spec.data_type {
            ColumnType::Smallint => "smallint",
            ColumnType::Integer => "integer",
            _ => "bigint",
        })),
        numbers(&|spec| spec.start),
        numbers(&|spec| spec.min),
        numbers(&|spec| spec.max),
        numbers(&|spec| spec.increment),
        strings(spec().map(|spec| if spec.cycle { "YES" } else { "NO" })),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn schemata(schema: SchemaRef) -> Result<RecordBatch, Error> {
    let columns = vec![
        strings(SCHEMAS.iter().map(|_| DATABASE)),
        strings(SCHEMAS.into_iter()),
        strings(SCHEMAS.iter().map(|_| "postgres")),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}
