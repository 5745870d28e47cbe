//! VALUES of constants and parameters, without a plan.

use super::encode::bytes_of;
use super::target::{Written, written_type};
use crate::error::Error;
use crate::plan::placeholder_number;
use crate::rows::text_of;
use anabranch_semantics::cast_value;
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value, Values};
use std::sync::Arc;

/// A cell of VALUES.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    Constant(ScalarValue),
    /// `$n`, from 0.
    Parameter(usize),
}

/// The rows of `values`, if all cells are constants or parameters.
pub(super) fn cells(values: &Values, columns: usize) -> Option<Vec<Vec<Cell>>> {
    values
        .rows
        .iter()
        .map(|row| {
            let cells = row.content.iter().map(cell).collect::<Option<Vec<_>>>()?;
            (cells.len() == columns).then_some(cells)
        })
        .collect()
}

fn cell(expr: &Expr) -> Option<Cell> {
    if let Some(number) = placeholder_number(expr) {
        return Some(Cell::Parameter(number - 1));
    }
    constant(expr).map(Cell::Constant)
}

fn constant(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Null => Some(ScalarValue::Null),
            Value::Boolean(value) => Some(ScalarValue::Boolean(Some(*value))),
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
                Some(ScalarValue::Utf8View(Some(text.clone())))
            }
            Value::Number(text, _) => number(text),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match constant(expr)? {
            ScalarValue::Int64(Some(value)) => Some(ScalarValue::Int64(Some(-value))),
            ScalarValue::Utf8View(Some(text)) if !text.starts_with('-') => {
                Some(ScalarValue::Utf8View(Some(format!("-{text}"))))
            }
            _ => None,
        },
        Expr::Nested(inner) => constant(inner),
        _ => None,
    }
}

/// Integers as such; other numbers as text, which every type takes without loss.
fn number(text: &str) -> Option<ScalarValue> {
    match text.parse::<i64>() {
        Ok(integer) => Some(ScalarValue::Int64(Some(integer))),
        Err(_) => Some(ScalarValue::Utf8View(Some(text.to_owned()))),
    }
}

/// Types of the parameters, from the columns that they are written to; `None` where one is used
/// for columns of different types.
pub(super) fn parameter_types(rows: &[Vec<Cell>], columns: &[Written]) -> Option<Vec<DataType>> {
    let mut types: Vec<Option<DataType>> = Vec::new();
    for row in rows {
        for (cell, column) in row.iter().zip(columns) {
            let Cell::Parameter(number) = cell else {
                continue;
            };
            if types.len() <= *number {
                types.resize(*number + 1, None);
            }
            let wanted = written_type(column);
            match &types[*number] {
                Some(other) if other != &wanted => return None,
                _ => types[*number] = Some(wanted),
            }
        }
    }
    Some(types.into_iter().map(|found| found.unwrap_or(DataType::Utf8)).collect())
}

/// The rows as a batch of the columns' types.
pub(super) fn batch(
    rows: &[Vec<Cell>],
    columns: &[Written],
    parameters: &[ScalarValue],
) -> Result<RecordBatch, Error> {
    let arrays = columns.iter().enumerate().map(|(number, column)| {
        let wanted = written_type(column);
        let values = rows.iter().map(|row| value(&row[number], &wanted, column, parameters));
        let values = values.collect::<Result<Vec<_>, Error>>()?;
        Ok(ScalarValue::iter_to_array(values)?)
    });
    let arrays = arrays.collect::<Result<Vec<ArrayRef>, Error>>()?;
    let fields: Vec<_> = columns
        .iter()
        .zip(&arrays)
        .map(|(column, array)| Field::new(column.field.name(), array.data_type().clone(), true))
        .collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

fn value(
    cell: &Cell,
    wanted: &DataType,
    column: &Written,
    parameters: &[ScalarValue],
) -> Result<ScalarValue, Error> {
    let value = match cell {
        Cell::Constant(value) => value.clone(),
        Cell::Parameter(number) => parameters
            .get(*number)
            .cloned()
            .ok_or_else(|| Error::new("08P01", format!("there is no parameter ${}", number + 1)))?,
    };
    if let (DataType::BinaryView, Some(text)) = (wanted, text_of(&value)) {
        return Ok(ScalarValue::BinaryView(Some(bytes_of(text, column)?)));
    }
    if &value.data_type() == wanted {
        return Ok(value);
    }
    cast_value(&value, wanted).map_err(|error| {
        let message = format!("column \"{}\": {}", column.field.name(), error.message);
        Error { message, ..error.into() }
    })
}
