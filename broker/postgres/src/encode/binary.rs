//! Values in binary: what the types' send functions write.

use super::{normal, numeric, unexpected};
use crate::types::of_data_type;
use anabranch_query::Texts;
use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use datafusion::arrow::error::ArrowError;

/// PostgreSQL counts from 2000-01-01.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
pub(crate) const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

pub(super) fn put(array: &ArrayRef, row: usize, out: &mut BytesMut) -> Result<(), ArrowError> {
    match array.data_type() {
        DataType::Boolean => out.put_u8(u8::from(array.as_boolean().value(row))),
        DataType::Int16 => out.put_i16(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => out.put_i32(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => out.put_i64(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => out.put_f32(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => out.put_f64(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => {
            numeric::put(&array.as_primitive::<Decimal128Type>().value_as_string(row), out);
        }
        DataType::Decimal256(..) => {
            numeric::put(&array.as_primitive::<Decimal256Type>().value_as_string(row), out);
        }
        DataType::LargeBinary => {
            let texts = Texts::new(array).map_err(|_| unexpected(array))?;
            numeric::put(&texts.get(row), out);
        }
        // jsonb_send: a version, then the text.
        DataType::LargeUtf8 => {
            out.put_u8(1);
            out.put_slice(array.as_string::<i64>().value(row).as_bytes());
        }
        DataType::FixedSizeBinary(16) => {
            out.put_slice(array.as_fixed_size_binary().value(row));
        }
        DataType::Utf8View => out.put_slice(array.as_string_view().value(row).as_bytes()),
        DataType::BinaryView => out.put_slice(array.as_binary_view().value(row)),
        DataType::Date32 => {
            out.put_i32(match array.as_primitive::<Date32Type>().value(row) {
                infinite @ (i32::MAX | i32::MIN) => infinite,
                days => days.saturating_sub(EPOCH_DAYS),
            });
        }
        DataType::Time64(_) => {
            out.put_i64(array.as_primitive::<Time64MicrosecondType>().value(row));
        }
        DataType::Timestamp(..) => {
            let value = array.as_primitive::<TimestampMicrosecondType>().value(row);
            out.put_i64(match value {
                // The infinities are the ends of the range here as there.
                i64::MAX | i64::MIN => value,
                value => value.saturating_sub(EPOCH_MICROSECONDS),
            });
        }
        DataType::Interval(_) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            out.put_i64(value.nanoseconds / 1_000);
            out.put_i32(value.days);
            out.put_i32(value.months);
        }
        DataType::List(_) => put_array(&normal(&array.as_list::<i32>().value(row))?, out)?,
        _ => return Err(unexpected(array)),
    }
    Ok(())
}

/// array_send: dimensions, whether there are nulls, the items' type; for each dimension length
/// and lower bound; the items.
fn put_array(items: &ArrayRef, out: &mut BytesMut) -> Result<(), ArrowError> {
    let item_type = of_data_type(items.data_type());
    if items.is_empty() {
        out.put_i32(0);
        out.put_i32(0);
        out.put_u32(item_type.oid());
        return Ok(());
    }
    out.put_i32(1);
    out.put_i32(i32::from(items.null_count() > 0));
    out.put_u32(item_type.oid());
    out.put_i32(i32::try_from(items.len()).unwrap_or(i32::MAX));
    out.put_i32(1);
    for row in 0..items.len() {
        super::put(items, row, super::Format::Binary, out)?;
    }
    Ok(())
}
