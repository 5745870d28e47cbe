//! `information_schema`: tables, columns and schemata, in PostgreSQL's words.

use super::computed::computed;
use super::pg::{pg_type, udt_name};
use super::{DATABASE, LOG, PUBLIC, SCHEMAS, streams_of, sys};
use crate::error::Error;
use crate::rows::{Layout, Relation};
use anabranch_engine::Session as EngineSession;
use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, new_null_array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use std::fmt;
use std::sync::Arc;

const RELATIONS: [&str; 4] = ["tables", "columns", "schemata", "views"];

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
            _ => return Ok(None),
        }
        .map(Some)
    }

    fn table_exist(&self, name: &str) -> bool {
        RELATIONS.contains(&name)
    }
}

/// (schema, name, visible columns)
fn relations(engine: &EngineSession) -> Vec<(&'static str, String, SchemaRef, Vec<String>)> {
    let mut all = Vec::new();
    for stream in streams_of(engine) {
        let not_null: Vec<_> = stream
            .columns
            .iter()
            .filter(|column| column.not_null || column.in_key)
            .map(|column| column.name.clone())
            .collect();
        let rows = Layout::new(&stream, Relation::Rows).visible_schema();
        all.push((PUBLIC, stream.name.clone(), rows, not_null));
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
    ]))
}

fn columns(engine: &EngineSession, schema: SchemaRef) -> Result<RecordBatch, Error> {
    let relations = relations(engine);
    let all: Vec<_> = relations
        .iter()
        .flat_map(|(schema, name, columns, not_null)| {
            (1..).zip(columns.fields()).map(move |(number, field)| {
                (*schema, name.as_str(), number, field.clone(), not_null.contains(field.name()))
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
    let columns = vec![
        strings(all.iter().map(|_| DATABASE)),
        strings(all.iter().map(|(schema, ..)| *schema)),
        strings(all.iter().map(|(_, name, ..)| *name)),
        strings(all.iter().map(|(_, _, _, field, _)| field.name().as_str())),
        Arc::new(Int32Array::from_iter_values(all.iter().map(|(_, _, number, ..)| *number))),
        new_null_array(&DataType::Utf8, all.len()),
        strings(all.iter().map(|(.., not_null)| if *not_null { "NO" } else { "YES" })),
        strings(all.iter().map(|(_, _, _, field, _)| pg_type(field).name)),
        new_null_array(&DataType::Int32, all.len()),
        digits(&|precision, _| i32::from(precision)),
        digits(&|_, scale| i32::from(scale)),
        Arc::new(StringArray::from_iter_values(
            all.iter().map(|(_, _, _, field, _)| udt_name(pg_type(field).oid)),
        )),
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
