//! `information_schema`: tables, columns and schemata, in PostgreSQL's words.

mod constraints;

use super::cells;
use super::computed::computed;
use super::pg::{OWNER_NAME, default_text, pg_type, pg_type_of_column, udt_name};
use super::{DATABASE, LOG, PUBLIC, SCHEMAS, streams_of, sys, view_schema};
use crate::error::Error;
use crate::rows::{Layout, Relation};
use anabranch_engine::{Column, ColumnType, Filled, SequenceSpec, Session as EngineSession};
use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, new_null_array};
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
        let others = constraints::ALL.iter().map(|(name, _)| name);
        RELATIONS.iter().chain(others).map(ToString::to_string).collect()
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
                    "is_typed",
                    "commit_action",
                    "self_referencing_column_name",
                    "reference_generation",
                    "user_defined_type_catalog",
                    "user_defined_type_schema",
                    "user_defined_type_name",
                ]);
                computed(Arc::new(Schema::new(fields)), move |schema| tables(&engine, schema))
            }
            "columns" => computed(columns_schema(), move |schema| columns(&engine, schema)),
            "schemata" => {
                let fields = text(&[
                    "catalog_name",
                    "schema_name",
                    "schema_owner",
                    "default_character_set_catalog",
                    "default_character_set_schema",
                    "default_character_set_name",
                    "sql_path",
                ]);
                computed(Arc::new(Schema::new(fields)), schemata)
            }
            "views" => {
                let fields = text(&[
                    "table_catalog",
                    "table_schema",
                    "table_name",
                    "view_definition",
                    "check_option",
                    "is_updatable",
                    "is_insertable_into",
                ]);
                computed(Arc::new(Schema::new(fields)), move |schema| views(&engine, schema))
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
            _ => match constraints::ALL.iter().find(|(other, _)| *other == name) {
                Some((name, shape)) => {
                    computed(cells::schema(shape), move |_| constraints::rows(&engine, name, shape))
                }
                None => return Ok(None),
            },
        }
        .map(Some)
    }

    fn table_exist(&self, name: &str) -> bool {
        RELATIONS.contains(&name) || constraints::ALL.iter().any(|(other, _)| *other == name)
    }
}

/// (schema, name, visible columns, what was declared of them)
fn relations(engine: &EngineSession) -> Vec<(&'static str, String, SchemaRef, Vec<Column>)> {
    let mut all = Vec::new();
    for view in engine.catalog().views() {
        all.push((PUBLIC, view.spec.name.clone(), view_schema(view), Vec::new()));
    }
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
    let catalog = engine.catalog();
    let is_rows = |schema: &str, name: &str| schema == PUBLIC && catalog.view(name).is_none();
    let columns = vec![
        strings(all.iter().map(|_| DATABASE)),
        strings(all.iter().map(|(schema, ..)| *schema)),
        strings(all.iter().map(|(_, name, ..)| name.as_str())),
        strings(all.iter().map(|(schema, name, ..)| match is_rows(schema, name) {
            true => "BASE TABLE",
            false => "VIEW",
        })),
        strings(all.iter().map(|(schema, name, ..)| match is_rows(schema, name) {
            true => "YES",
            false => "NO",
        })),
        strings(all.iter().map(|_| "NO")),
    ];
    let unsaid =
        (columns.len()..schema.fields().len()).map(|_| new_null_array(&DataType::Utf8, all.len()));
    let columns = columns.into_iter().chain(unsaid).collect();
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn views(engine: &EngineSession, schema: SchemaRef) -> Result<RecordBatch, Error> {
    let catalog = engine.catalog();
    let all: Vec<_> = catalog.views().collect();
    let same = |text: &'static str| strings(all.iter().map(|_| text));
    let columns = vec![
        same(DATABASE),
        same(PUBLIC),
        strings(all.iter().map(|view| view.spec.name.as_str())),
        strings(all.iter().map(|view| view.spec.query.as_str())),
        same("NONE"),
        same("NO"),
        same("NO"),
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
        number("character_octet_length"),
        number("numeric_precision_radix"),
        number("datetime_precision"),
        text("interval_type"),
        number("interval_precision"),
        text("character_set_name"),
        text("collation_name"),
        text("domain_catalog"),
        text("domain_schema"),
        text("domain_name"),
        text("udt_catalog"),
        text("udt_schema"),
        text("scope_name"),
        number("maximum_cardinality"),
        text("dtd_identifier"),
        text("is_self_referencing"),
        text("is_identity"),
        text("identity_generation"),
        text("identity_start"),
        text("identity_increment"),
        text("identity_maximum"),
        text("identity_minimum"),
        text("identity_cycle"),
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
    let digits = |of: &dyn Fn(Digits) -> Option<i32>| -> ArrayRef {
        Arc::new(Int32Array::from_iter(
            all.iter().map(|(_, _, _, field, _)| of(digits_of(field.data_type()))),
        ))
    };
    let filled = |of: &dyn Fn(&Column) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(all.iter().map(|(.., column)| of((*column)?))))
    };
    let told = |of: &dyn Fn(&Filled) -> bool, yes: &'static str, no: &'static str| {
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
        digits(&|of| of.precision),
        digits(&|of| of.scale),
        Arc::new(StringArray::from_iter_values(
            all.iter().map(|(_, _, _, field, column)| udt_name(typed(field, column).oid)),
        )),
    ];
    let said = |name: &str| -> Option<ArrayRef> {
        let rows = all.iter();
        Some(match name {
            "numeric_precision_radix" => digits(&|of| of.radix),
            "datetime_precision" => digits(&|of| of.fraction),
            "udt_catalog" => strings(rows.map(|_| DATABASE)),
            "udt_schema" => strings(rows.map(|_| "pg_catalog")),
            "dtd_identifier" => Arc::new(StringArray::from_iter_values(
                rows.map(|(_, _, number, ..)| number.to_string()),
            )),
            "is_self_referencing" | "identity_cycle" => strings(rows.map(|_| "NO")),
            "is_identity" => told(&|filled| matches!(filled, Filled::Identity { .. }), "YES", "NO"),
            "identity_generation" => filled(&|column| match &column.filled {
                Some(Filled::Identity { always: true, .. }) => Some("ALWAYS".to_owned()),
                Some(Filled::Identity { always: false, .. }) => Some("BY DEFAULT".to_owned()),
                _ => None,
            }),
            "is_generated" => {
                told(&|filled| matches!(filled, Filled::Generated(_)), "ALWAYS", "NEVER")
            }
            "generation_expression" => filled(&|column| match &column.filled {
                Some(Filled::Generated(text)) => Some(text.clone()),
                _ => None,
            }),
            "is_updatable" => strings(rows.map(|(schema, .., column)| {
                let filled = column.and_then(|column| column.filled.as_ref());
                let computed = matches!(filled, Some(Filled::Generated(_)));
                if *schema == PUBLIC && !computed { "YES" } else { "NO" }
            })),
            _ => return None,
        })
    };
    let others = schema.fields().iter().skip(columns.len()).map(|field| {
        said(field.name()).unwrap_or_else(|| new_null_array(field.data_type(), all.len()))
    });
    let columns = columns.into_iter().chain(others).collect();
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

/// How many digits values of a type have.
#[derive(Clone, Copy, Default)]
struct Digits {
    precision: Option<i32>,
    scale: Option<i32>,
    /// What the precision counts: bits or decimal digits.
    radix: Option<i32>,
    /// Digits of a second's fraction.
    fraction: Option<i32>,
}

fn digits_of(data_type: &DataType) -> Digits {
    let bits = |precision, scale| Digits {
        precision: Some(precision),
        scale,
        radix: Some(2),
        fraction: None,
    };
    let fraction = |digits| Digits { fraction: Some(digits), ..Digits::default() };
    match data_type {
        DataType::Int16 => bits(16, Some(0)),
        DataType::Int32 => bits(32, Some(0)),
        DataType::Int64 => bits(64, Some(0)),
        DataType::Float32 => bits(24, None),
        DataType::Float64 => bits(53, None),
        DataType::Decimal128(precision, scale) => Digits {
            precision: Some(i32::from(*precision)),
            scale: Some(i32::from(*scale)),
            radix: Some(10),
            fraction: None,
        },
        DataType::LargeBinary => Digits { radix: Some(10), ..Digits::default() },
        DataType::Date32 => fraction(0),
        DataType::Time64(_) | DataType::Timestamp(..) | DataType::Interval(_) => fraction(6),
        _ => Digits::default(),
    }
}

fn schemata(schema: SchemaRef) -> Result<RecordBatch, Error> {
    let columns = vec![
        strings(SCHEMAS.iter().map(|_| DATABASE)),
        strings(SCHEMAS.into_iter()),
        strings(SCHEMAS.iter().map(|_| OWNER_NAME)),
    ];
    let unsaid = (columns.len()..schema.fields().len())
        .map(|_| new_null_array(&DataType::Utf8, SCHEMAS.len()));
    let columns = columns.into_iter().chain(unsaid).collect();
    Ok(RecordBatch::try_new(schema, columns)?)
}
