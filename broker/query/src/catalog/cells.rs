//! Relations written down row by row.

use crate::error::Error;
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int16Array, Int32Array, Int64Array, ListBuilder, PrimitiveBuilder,
    RecordBatch, StringArray, StringBuilder,
};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Int16Type, Int32Type, Schema, SchemaRef, TimeUnit,
};
use datafusion_pg_catalog::pg_catalog::oid_field::{kind, oid_field};
use std::collections::HashMap;
use std::sync::Arc;

/// A column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Text,
    /// One character ("char").
    Char,
    Timestamptz,
    Int2s,
    Oids,
    Texts,
}

/// A value; it is of its column's type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    /// Int2, Int4, Int8 and Oid.
    Int(i64),
    Text(String),
    /// Int2s and Oids.
    Ints(Vec<i32>),
}

impl Cell {
    pub(super) fn text(value: impl Into<String>) -> Self {
        Self::Text(value.into())
    }

    pub(super) fn int(value: impl Into<i64>) -> Self {
        Self::Int(value.into())
    }

    /// What a column that says nothing has (PostgreSQL has no nulls in most of them).
    pub(super) fn none(of: Of) -> Self {
        match of {
            Of::Bool => Self::Bool(false),
            Of::Int2 | Of::Int4 | Of::Int8 | Of::Oid => Self::Int(0),
            Of::Text | Of::Char | Of::Timestamptz | Of::Int2s | Of::Oids | Of::Texts => Self::Null,
        }
    }
}

/// Names and types of a relation's columns.
pub(super) type Shape = &'static [(&'static str, Of)];

pub(super) fn schema(shape: Shape) -> SchemaRef {
    let fields = shape.iter().map(|(name, of)| {
        let plain = |of| Field::new(*name, of, true);
        match of {
            Of::Bool => plain(DataType::Boolean),
            Of::Int2 => plain(DataType::Int16),
            Of::Int4 => plain(DataType::Int32),
            Of::Int8 => plain(DataType::Int64),
            Of::Oid => oid_field(*name, kind::OID, true),
            Of::Text => plain(DataType::Utf8),
            Of::Char => character(name),
            Of::Timestamptz => {
                plain(DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())))
            }
            Of::Int2s => plain(list_of(DataType::Int16)),
            Of::Oids => plain(list_of(DataType::Int32)),
            Of::Texts => plain(list_of(DataType::Utf8)),
        }
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The type "char": one character.
pub(super) fn character(name: &str) -> Field {
    let marked = HashMap::from([("pg.char".to_owned(), "true".to_owned())]);
    Field::new(name, DataType::Utf8, true).with_metadata(marked)
}

/// Arrays: of text, they are rights and options.
pub(super) fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// The rows; `cell` gives each row's value of each column, none where the column says nothing.
pub(super) fn batch<R>(
    shape: Shape,
    rows: &[R],
    cell: impl Fn(&R, &str) -> Option<Cell>,
) -> Result<RecordBatch, Error> {
    let columns = shape.iter().map(|(name, of)| {
        let cells = rows.iter().map(|row| cell(row, name).unwrap_or_else(|| Cell::none(*of)));
        array(*of, cells)
    });
    Ok(RecordBatch::try_new(schema(shape), columns.collect())?)
}

fn array(of: Of, cells: impl Iterator<Item = Cell>) -> ArrayRef {
    let int = |cell: Cell| match cell {
        Cell::Int(value) => Some(value),
        _ => None,
    };
    match of {
        Of::Bool => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Bool(value) => Some(value),
                    _ => None,
                })
                .collect::<BooleanArray>(),
        ),
        Of::Int2 => Arc::new(
            cells.map(|cell| int(cell).and_then(|v| v.try_into().ok())).collect::<Int16Array>(),
        ),
        Of::Int4 | Of::Oid => Arc::new(
            cells.map(|cell| int(cell).and_then(|v| v.try_into().ok())).collect::<Int32Array>(),
        ),
        Of::Int8 => Arc::new(cells.map(int).collect::<Int64Array>()),
        Of::Text | Of::Char => Arc::new(
            cells
                .map(|cell| match cell {
                    Cell::Text(value) => Some(value),
                    _ => None,
                })
                .collect::<StringArray>(),
        ),
        Of::Timestamptz => {
            let micros =
                cells.map(int).collect::<datafusion::arrow::array::TimestampMicrosecondArray>();
            Arc::new(micros.with_timezone("+00:00"))
        }
        Of::Int2s => lists::<Int16Type>(cells),
        Of::Oids => lists::<Int32Type>(cells),
        Of::Texts => {
            // Nothing here has any yet: rights and options are not kept this way.
            let mut lists = ListBuilder::new(StringBuilder::new());
            cells.for_each(|_| lists.append_null());
            Arc::new(lists.finish())
        }
    }
}

fn lists<T: ArrowPrimitiveType>(cells: impl Iterator<Item = Cell>) -> ArrayRef
where
    T::Native: TryFrom<i32>,
{
    let mut lists = ListBuilder::new(PrimitiveBuilder::<T>::new());
    for cell in cells {
        match cell {
            Cell::Ints(values) => {
                for value in values {
                    lists.values().append_option(T::Native::try_from(value).ok());
                }
                lists.append(true);
            }
            _ => lists.append_null(),
        }
    }
    Arc::new(lists.finish())
}
