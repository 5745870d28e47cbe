//! VALUES of constants, parameters and what is computed of constants, without a plan.

use super::encode::bytes_of;
use super::target::{Written, written_type};
use crate::error::Error;
use crate::evaluate;
use crate::plan::{PlanContext, placeholder_number};
use crate::rows::text_of;
use crate::sql::Sql;
use crate::statement::{calls_sequences, next_value_of};
use anabranch_semantics::cast_value;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use datafusion::execution::session_state::SessionState;
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value, Values, visit_expressions};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A cell of VALUES.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    Constant(ScalarValue),
    /// `$n`, from 0.
    Parameter(usize),
    /// `-$n`, from 0.
    Negated(usize),
    /// Without parameters.
    Computed(Box<Computed>),
    /// The next value of this sequence.
    Next(String),
}

/// An expression without columns and parameters.
#[derive(Debug, Clone)]
pub(super) struct Computed(datafusion::logical_expr::Expr);

impl Computed {
    fn value(&self, state: &SessionState) -> Result<ScalarValue, Error> {
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let row =
            RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
        let values = evaluate::values(state, &self.0, &DFSchema::empty(), &row, &[])?;
        Ok(ScalarValue::try_from_array(&values, 0)?)
    }
}

fn parameter(parameters: &[ScalarValue], number: usize) -> Result<ScalarValue, Error> {
    let value = parameters.get(number).cloned();
    value.ok_or_else(|| Error::new("08P01", format!("there is no parameter ${}", number + 1)))
}

/// The rows of `values`, if no cell takes a plan.
pub(super) fn cells(
    state: &SessionState,
    context: &PlanContext,
    values: &Values,
    columns: usize,
) -> Option<Vec<Vec<Cell>>> {
    values
        .rows
        .iter()
        .map(|row| {
            let cells = row
                .content
                .iter()
                .map(|expr| cell(state, context, expr))
                .collect::<Option<Vec<_>>>()?;
            (cells.len() == columns).then_some(cells)
        })
        .collect()
}

fn cell(state: &SessionState, context: &PlanContext, expr: &Expr) -> Option<Cell> {
    if let Some(number) = placeholder_number(expr) {
        return Some(Cell::Parameter(number - 1));
    }
    if let Expr::UnaryOp { op: UnaryOperator::Minus, expr } = expr
        && let Some(number) = placeholder_number(expr)
    {
        return Some(Cell::Negated(number - 1));
    }
    if let Some(sequence) = next_value_of(expr) {
        return Some(Cell::Next(sequence));
    }
    let constant = constant(expr).map(Cell::Constant);
    constant.or_else(|| computed(state, context, expr))
}

/// `now()`, `upper('a')`, `1 + 1`: nothing that asks a sequence or a stream.
fn computed(state: &SessionState, context: &PlanContext, expr: &Expr) -> Option<Cell> {
    let asks = visit_expressions(expr, |expr| match expr {
        Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => ControlFlow::Break(()),
        other if placeholder_number(other).is_some() => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    if asks.is_break() || calls_sequences(expr) {
        return None;
    }
    // What does not plan here is planned as a query, which then says why not.
    let expr = evaluate::logical_within(state, context, expr, &DFSchema::empty()).ok()?;
    Some(Cell::Computed(Box::new(Computed(expr))))
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
            let (Cell::Parameter(number) | Cell::Negated(number)) = cell else {
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
    state: &SessionState,
    rows: &[Vec<Cell>],
    columns: &[Written],
    parameters: &[ScalarValue],
) -> Result<RecordBatch, Error> {
    let arrays = columns.iter().enumerate().map(|(number, column)| {
        let wanted = written_type(column);
        let values = rows.iter().map(|row| value(state, &row[number], &wanted, column, parameters));
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
    state: &SessionState,
    cell: &Cell,
    wanted: &DataType,
    column: &Written,
    parameters: &[ScalarValue],
) -> Result<ScalarValue, Error> {
    let value = match cell {
        Cell::Constant(value) => value.clone(),
        Cell::Next(_) => return Err(Error::internal("a sequence's value was not taken")),
        Cell::Computed(computed) => computed.value(state)?,
        Cell::Parameter(number) => parameter(parameters, *number)?,
        Cell::Negated(number) => parameter(parameters, *number)?.arithmetic_negate()?,
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
