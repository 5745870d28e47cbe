//! Whole columns: cast from one type to another, printed, stored as decimals.

use crate::datum::{self, Datum, Reader};
use crate::error::Error;
use crate::numeric::{self, Numeric};
use crate::types::PgType;
use crate::{casts, output};
use datafusion::arrow::array::{Array, ArrayRef, Decimal128Builder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

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

/// `value` in the type `to`.
///
/// # Errors
/// PostgreSQL's, where the value is none of that type.
pub fn cast_value(value: &ScalarValue, to: &DataType) -> Result<ScalarValue, Error> {
    Ok(ScalarValue::try_from_array(&cast_array(&value.to_array()?, to)?, 0)?)
}

/// The values of `array` in the type `to`.
///
/// # Errors
/// PostgreSQL's, where a value is none of that type.
pub fn cast_array(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Error> {
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
