//! VALUES of constants and parameters, without a plan.

use super::encode::bytes_of;
use super::target::{Written, written_type};
use crate::error::Error;
use crate::plan::placeholder_number;
use crate::rows::text_of;
use crate::sql::Sql;
use crate::statement::next_value_of;
use anabranch_semantics::cast_value;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value, Values};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A cell of VALUES.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    Constant(ScalarValue),
    /// `$n`, from 0.
    Parameter(usize),
    /// The next value of this sequence.
    Next(String),
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
    if let Some(sequence) = next_value_of(expr) {
        return Some(Cell::Next(sequence));
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

/// The rows with values of sequences in place.
pub(super) async fn with_next<'a>(
    rows: &'a [Vec<Cell>],
    sql: &Sql,
    session: i32,
) -> Result<Cow<'a, [Vec<Cell>]>, Error> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for cell in rows.iter().flatten() {
        if let Cell::Next(sequence) = cell {
            *counts.entry(sequence).or_default() += 1;
        }
    }
    if counts.is_empty() {
        return Ok(Cow::Borrowed(rows));
    }
    let mut taken = BTreeMap::new();
    for (sequence, count) in counts {
        taken.insert(sequence, sql.sequences().next(session, sequence, count).await?.into_iter());
    }
    let mut value = |cell: &Cell| match cell {
        Cell::Next(sequence) => {
            let value = taken.get_mut(sequence.as_str()).and_then(Iterator::next);
            Cell::Constant(ScalarValue::Int64(value))
        }
        other => other.clone(),
    };
    Ok(Cow::Owned(rows.iter().map(|row| row.iter().map(&mut value).collect()).collect()))
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
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
}

fn value(
    cell: &Cell,
    wanted: &DataType,
    column: &Written,
    parameters: &[ScalarValue],
) -> Result<ScalarValue, Error> {
    let value = match cell {
        Cell::Constant(value) => value.clone(),
        Cell::Next(_) => return Err(Error::internal("a sequence's value was not taken")),
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
