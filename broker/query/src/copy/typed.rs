//! Fields of text as values of their columns.

use super::CopyRows;
use crate::error::Error;
use anabranch_semantics::cast_array;
use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveBuilder, RecordBatch, StringViewArray,
};
use datafusion::arrow::datatypes::{
    DataType, Float64Type, Int16Type, Int32Type, Int64Type, Schema, SchemaRef,
};
use std::str::FromStr;
use std::sync::Arc;

/// Longest text of a field that an error shows (PostgreSQL 15, `MAX_COPY_DATA_DISPLAY`).
const SHOWN_BYTES_MAX: usize = 100;

/// The rows with the columns' types, where they came as text. Bytes stay text: they are read as
/// with INSERT.
pub(super) fn typed(stream: &str, schema: &SchemaRef, rows: CopyRows) -> Result<CopyRows, Error> {
    let columns = rows.batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(array, field)| column(array, field.data_type()));
    let columns: Vec<ArrayRef> = match columns.collect() {
        Ok(columns) => columns,
        Err(error) => return Err(located(stream, schema, &rows).unwrap_or(error)),
    };
    let types = schema.fields().iter().zip(&columns);
    let fields: Vec<_> = types
        .map(|(field, array)| field.as_ref().clone().with_data_type(array.data_type().clone()))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    Ok(CopyRows { batch: RecordBatch::try_new(schema, columns)?, lines: rows.lines })
}

fn column(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, Error> {
    let DataType::Utf8View = array.data_type() else {
        return Ok(array.clone());
    };
    let texts = array.as_string_view();
    let plain = match wanted {
        DataType::Utf8View | DataType::BinaryView => return Ok(array.clone()),
        DataType::Int16 => plain::<Int16Type>(texts, is_integer),
        DataType::Int32 => plain::<Int32Type>(texts, is_integer),
        DataType::Int64 => plain::<Int64Type>(texts, is_integer),
        DataType::Float64 => plain::<Float64Type>(texts, is_decimal),
        _ => None,
    };
    match plain {
        Some(array) => Ok(array),
        None => Ok(cast_array(array, wanted)?),
    }
}

/// The numbers, if all are written in the one way that nobody reads differently; else PostgreSQL's
/// rules decide.
fn plain<T: ArrowPrimitiveType>(
    texts: &StringViewArray,
    is_plain: fn(&[u8]) -> bool,
) -> Option<ArrayRef>
where
    T::Native: FromStr,
{
    let mut values = PrimitiveBuilder::<T>::with_capacity(texts.len());
    for text in texts {
        match text {
            None => values.append_null(),
            Some(text) if is_plain(text.as_bytes()) => values.append_value(text.parse().ok()?),
            Some(_) => return None,
        }
    }
    Some(Arc::new(values.finish()))
}

fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Few digits with at most one point: neither too large nor too small for a double.
fn is_decimal(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let points = digits.iter().filter(|byte| **byte == b'.').count();
    digits.len() <= 40
        && digits.len() > points
        && points <= 1
        && digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
}

/// The error of the first field that is not what its column wants, with its place.
fn located(stream: &str, schema: &SchemaRef, rows: &CopyRows) -> Option<Error> {
    for (row, line) in rows.lines.iter().enumerate() {
        for (array, field) in rows.batch.columns().iter().zip(schema.fields()) {
            let Err(error) = column(&array.slice(row, 1), field.data_type()) else { continue };
            let text = array.as_string_view_opt().map_or("", |texts| texts.value(row));
            return Some(error.context(|| {
                format!("COPY {stream}, line {line}, column {}: \"{}\"", field.name(), shown(text))
            }));
        }
    }
    None
}

fn shown(text: &str) -> String {
    if text.len() <= SHOWN_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
    format!("{}...", &text[..end])
}
