//! What SQL means: types, casts, operators and functions as PostgreSQL 15 has them.
//!
//! ```text
//! syntax ── desugar ──> calls by name ── DataFusion plans ──> resolve ──> calls with types
//!                                                             │ select: which overload
//!                                                             │ casts of the arguments
//! values: Arrow arrays <── datum ──> functions, casts, aggregates
//! ```
//! To add a function, add a line to its family in [`functions`].
//!
//! Invariant: what a value cannot be is an error with PostgreSQL's code; nothing wraps or is rounded
//! that PostgreSQL does not round.

mod aggregates;
mod calendar;
mod call;
mod casts;
mod compare;
mod datum;
mod desugar;
mod functions;
mod input;
mod json;
mod jsonpath;
mod numeric;
mod output;
mod resolve;
mod select;
#[cfg(test)]
mod tests;
mod types;

pub(crate) use desugar::desugar;
pub(crate) use resolve::{resolve, resolve_expr};

use crate::error::Error;
use datafusion::arrow::array::{Array, ArrayRef, Decimal128Builder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::Volatility;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datum::{Datum, Reader};
use numeric::Numeric;
use std::sync::Arc;
use types::PgType;

/// Registers all functions.
pub(crate) fn register(context: &mut SessionContext) -> datafusion::error::Result<()> {
    for (name, overloads) in functions::FUNCTIONS.iter() {
        let volatility =
            overloads.iter().map(|overload| overload.volatility).max_by_key(|of| match of {
                Volatility::Immutable => 0,
                Volatility::Stable => 1,
                Volatility::Volatile => 2,
            });
        let volatility = volatility.unwrap_or(Volatility::Immutable);
        context.register_udf(Arc::new(call::Named::udf(name, volatility)))?;
    }
    for name in resolve::names() {
        context.register_udf(Arc::new(call::Named::udf(&name, Volatility::Immutable)))?;
    }
    for aggregate in aggregates::all() {
        context.register_udaf(Arc::new(aggregate))?;
    }
    Ok(())
}

/// Prints values of an array as text, as clients see them.
pub struct Texts {
    reader: Reader,
    of: PgType,
}

impl Texts {
    /// Of `array`.
    ///
    /// # Errors
    /// When its type cannot be read.
    pub fn new(array: &ArrayRef) -> Result<Self, Error> {
        let of = PgType::of(array.data_type());
        Ok(Self { reader: Reader::new(array, of)?, of })
    }

    /// The value of `row`; nothing for null.
    #[must_use]
    pub fn get(&self, row: usize) -> String {
        output::print(&self.reader.get(row), self.of)
    }
}

impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Texts").field("of", &self.of).finish_non_exhaustive()
    }
}

/// `value` in the type `to`, with PostgreSQL's errors.
pub(crate) fn cast_value(value: &ScalarValue, to: &DataType) -> Result<ScalarValue, Error> {
    Ok(ScalarValue::try_from_array(&cast_array(&value.to_array()?, to)?, 0)?)
}

/// The values of `array` in the type `to`, with PostgreSQL's errors.
pub(crate) fn cast_array(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Error> {
    let from = PgType::of(array.data_type());
    let into = PgType::of(to);
    if array.data_type() == to {
        return Ok(array.clone());
    }
    // The same values in another form of Arrow's.
    if from == into && into != PgType::Numeric {
        return Ok(cast(array, to)?);
    }
    let reader = Reader::new(array, from)?;
    let values = (0..array.len())
        .map(|row| casts::cast(&reader.get(row), from, into))
        .collect::<Result<Vec<_>, _>>()?;
    match to {
        DataType::Decimal128(precision, scale) => decimals(&values, *precision, *scale),
        _ => {
            let column = datum::column(&values, into)?;
            if column.data_type() == to { Ok(column) } else { Ok(cast(&column, to)?) }
        }
    }
}

/// Values of numeric(precision, scale), as they are stored.
fn decimals(values: &[Datum], precision: u8, scale: i8) -> Result<ArrayRef, Error> {
    let of = DataType::Decimal128(precision, scale);
    let mut builder = Decimal128Builder::new().with_data_type(of);
    for value in values {
        let Datum::Numeric(number) = value else {
            builder.append_null();
            continue;
        };
        match casts::with_digits(number, i64::from(precision), i64::from(scale))? {
            Numeric::Finite { unscaled, .. } => {
                builder.append_value(i128::try_from(unscaled).map_err(|_| numeric::overflow())?);
            }
            _ => return Err(numeric::overflow()),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Microseconds since 1970 of a time as text; in UTC where it names no zone.
pub(crate) fn timestamp_micros(text: &str) -> Option<i64> {
    match input::parse(text, PgType::Timestamptz) {
        Ok(Datum::Timestamp(micros)) => Some(micros),
        _ => None,
    }
}

/// The number that a value of Arrow's `LargeBinary` is.
pub(crate) fn numeric_text(bytes: &[u8]) -> String {
    Numeric::decode(bytes).to_string()
}
