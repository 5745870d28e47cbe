//! Values to the wire, as text and in binary (PostgreSQL 15, 55.2.3 and the types' send
//! functions).

mod binary;
mod numeric;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use binary::{EPOCH_DAYS, EPOCH_MICROSECONDS};
pub(crate) use numeric::take as numeric_text;

use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, StringViewBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::array_value_to_string;
use std::sync::Arc;

/// How a column goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Binary,
}

impl Format {
    pub(crate) fn from_code(code: i16) -> Self {
        if code == 1 { Self::Binary } else { Self::Text }
    }

    pub(crate) fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// A batch of rows, ready to be sent.
pub(crate) struct Rows {
    columns: Vec<(ArrayRef, Format)>,
    rows: usize,
    next: usize,
}

impl Rows {
    /// `formats` are those of the columns.
    pub(crate) fn new(batch: &RecordBatch, formats: &[Format]) -> Result<Self, ArrowError> {
        let columns = batch
            .columns()
            .iter()
            .zip(formats)
            .map(|(array, &format)| Ok((normal(array)?, format)))
            .collect::<Result<_, ArrowError>>()?;
        Ok(Self { columns, rows: batch.num_rows(), next: 0 })
    }

    /// Appends the next row as a DataRow; false when there is none.
    pub(crate) fn put_next(&mut self, out: &mut BytesMut) -> Result<bool, ArrowError> {
        if self.next >= self.rows {
            return Ok(false);
        }
        out.put_u8(b'D');
        let length_at = out.len();
        out.put_i32(0);
        out.put_i16(i16::try_from(self.columns.len()).unwrap_or(i16::MAX));
        for (array, format) in &self.columns {
            put(array, self.next, *format, out)?;
        }
        set_length(out, length_at);
        self.next += 1;
        Ok(true)
    }

    /// Whether all rows were taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.next >= self.rows
    }
}

/// Writes the number of bytes from `at` on at `at`.
pub(crate) fn set_length(out: &mut BytesMut, at: usize) {
    let length = i32::try_from(out.len() - at).unwrap_or(i32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// A value with its length in front; −1 for null.
pub(crate) fn put(
    array: &ArrayRef,
    row: usize,
    format: Format,
    out: &mut BytesMut,
) -> Result<(), ArrowError> {
    if array.is_null(row) || array.data_type() == &DataType::Null {
        out.put_i32(-1);
        return Ok(());
    }
    let at = out.len();
    out.put_i32(0);
    match format {
        Format::Text => text::put(array, row, out)?,
        Format::Binary => binary::put(array, row, out)?,
    }
    let length = i32::try_from(out.len() - at - 4).unwrap_or(i32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// The array in one of the types that are written: each PostgreSQL type has one.
pub(crate) fn normal(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let to = match array.data_type() {
        DataType::Null
        | DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8View
        | DataType::BinaryView
        | DataType::Date32
        | DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::LargeBinary
        | DataType::LargeUtf8
        | DataType::FixedSizeBinary(16)
        | DataType::List(_)
        | DataType::Time64(TimeUnit::Microsecond)
        | DataType::Timestamp(TimeUnit::Microsecond, _)
        | DataType::Interval(IntervalUnit::MonthDayNano) => return Ok(array.clone()),
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary | DataType::FixedSizeBinary(_) => DataType::BinaryView,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        DataType::Interval(_) | DataType::Duration(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(item.clone())
        }
        DataType::Dictionary(_, value) => return normal(&cast(array, value)?),
        _ => return as_text(array),
    };
    cast(array, &to)
}

fn as_text(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let mut texts = StringViewBuilder::with_capacity(array.len());
    for row in 0..array.len() {
        if array.is_null(row) {
            texts.append_null();
        } else {
            texts.append_value(array_value_to_string(array, row)?);
        }
    }
    Ok(Arc::new(texts.finish()))
}

/// A type that [`normal`] does not give.
fn unexpected(array: &ArrayRef) -> ArrowError {
    ArrowError::NotYetImplemented(format!("values of type {} for clients", array.data_type()))
}
