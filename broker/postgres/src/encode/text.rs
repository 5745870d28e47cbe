//! Values as text: what the types' output functions print (`anabranch_query::Texts`).

use super::unexpected;
use anabranch_query::Texts;
use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type};
use datafusion::arrow::error::ArrowError;
use std::fmt::Write;

pub(super) fn put(array: &ArrayRef, row: usize, out: &mut BytesMut) -> Result<(), ArrowError> {
    match array.data_type() {
        DataType::Int16 => put_display(array.as_primitive::<Int16Type>().value(row), out),
        DataType::Int32 => put_display(array.as_primitive::<Int32Type>().value(row), out),
        DataType::Int64 => put_display(array.as_primitive::<Int64Type>().value(row), out),
        DataType::Utf8View => out.put_slice(array.as_string_view().value(row).as_bytes()),
        _ => {
            let texts = Texts::new(array).map_err(|_| unexpected(array))?;
            out.put_slice(texts.get(row).as_bytes());
        }
    }
    Ok(())
}

fn put_display(value: impl std::fmt::Display, out: &mut BytesMut) {
    // Writing to memory does not fail.
    let _ = write!(out, "{value}");
}
