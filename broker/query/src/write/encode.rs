//! Rows into keys and values of events.

use super::length::within_length;
use super::target::{Role, Target, Written, null_violation, written_type};
use crate::error::{Error, sqlstate};
use crate::rows::{hex_bytes, write_json_string, write_json_value};
use anabranch_semantics::cast_array;
use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryViewBuilder, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use std::sync::Arc;

/// Rows that are going to be written: one array for each written column, of its type.
pub(super) struct Encoder<'a> {
    target: &'a Target,
    columns: &'a [Written],
    arrays: Vec<ArrayRef>,
    /// Arrays of the key's columns, in the key's order.
    key: Vec<ArrayRef>,
    /// `"name":` of each column.
    names: Vec<Vec<u8>>,
}

impl<'a> Encoder<'a> {
    /// Brings the columns of `batch` to the types that are written, and checks NOT NULL.
    pub(super) fn new(
        target: &'a Target,
        columns: &'a [Written],
        batch: &RecordBatch,
    ) -> Result<Self, Error> {
        let arrays = columns
            .iter()
            .zip(batch.columns())
            .map(|(column, array)| assigned(target, column, array))
            .collect::<Result<Vec<_>, Error>>()?;
        let mut key: Vec<(usize, ArrayRef)> = columns
            .iter()
            .zip(&arrays)
            .filter_map(|(column, array)| match column.role {
                Role::Key(part) => Some((part, array.clone())),
                _ => None,
            })
            .collect();
        key.sort_by_key(|(part, _)| *part);
        let key = key.into_iter().map(|(_, array)| array).collect();
        let names = columns.iter().map(|column| {
            let mut name = Vec::new();
            write_json_string(&column.json, &mut name);
            name.push(b':');
            name
        });
        Ok(Self { target, columns, arrays, key, names: names.collect() })
    }

    pub(super) fn arrays(&self) -> &[ArrayRef] {
        &self.arrays
    }

    /// The key of row `row`.
    pub(super) fn key(&self, row: usize) -> Result<Option<Bytes>, Error> {
        if !self.key.is_empty() {
            let mut key = Vec::new();
            self.target.layout.key.encode(&self.key, row, &mut key)?;
            return Ok(Some(Bytes::from(key)));
        }
        let raw = self.columns.iter().position(|column| column.role == Role::RawKey);
        let Some(array) = raw.map(|raw| &self.arrays[raw]).filter(|array| !array.is_null(row))
        else {
            return match self.target.is_keyed() {
                true => Err(null_violation(&self.target.stream, "_key")),
                false => Ok(None),
            };
        };
        Ok(Some(Bytes::copy_from_slice(array.as_binary_view().value(row))))
    }

    /// The value of row `row`: the JSON object of its columns, or the bytes that were given.
    pub(super) fn value(&self, row: usize) -> Result<Option<Bytes>, Error> {
        if let Some(raw) = self.columns.iter().position(|column| column.role == Role::RawValue) {
            return self.raw_value(raw, row);
        }
        if self.target.stream.columns.is_empty() {
            // Only a key was given.
            return match self.target.is_keyed() {
                true => Err(null_violation(&self.target.stream, "_json")),
                false => Ok(None),
            };
        }
        let names: usize = self.names.iter().map(Vec::len).sum();
        let mut value = Vec::with_capacity(names + 12 * self.names.len());
        value.push(b'{');
        for ((column, array), name) in self.columns.iter().zip(&self.arrays).zip(&self.names) {
            if value.len() > 1 {
                value.push(b',');
            }
            value.extend_from_slice(name);
            write_json_value(array, row, &column.field, &mut value)?;
        }
        value.push(b'}');
        Ok(Some(Bytes::from(value)))
    }

    fn raw_value(&self, raw: usize, row: usize) -> Result<Option<Bytes>, Error> {
        let (column, array) = (&self.columns[raw], &self.arrays[raw]);
        if array.is_null(row) {
            return match self.target.is_keyed() {
                // A null value would delete the key.
                true => Err(null_violation(&self.target.stream, column.field.name())),
                false => Ok(None),
            };
        }
        Ok(raw_bytes(array, row))
    }
}

/// The bytes of a cell of `_key`, `_value` or `_json`; `None` for null.
pub(super) fn raw_bytes(array: &ArrayRef, row: usize) -> Option<Bytes> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::BinaryView => Bytes::copy_from_slice(array.as_binary_view().value(row)),
        _ => Bytes::copy_from_slice(array.as_string_view().value(row).as_bytes()),
    })
}

/// `array` as values of `column` (PostgreSQL's assignment casts, more or less).
pub(super) fn assigned(
    target: &Target,
    column: &Written,
    array: &ArrayRef,
) -> Result<ArrayRef, Error> {
    let wanted = written_type(column);
    let assigned = if wanted == DataType::BinaryView && is_text(array.data_type()) {
        bytes_of_text(array, column)?
    } else if &wanted == array.data_type() {
        array.clone()
    } else {
        cast_array(array, &wanted).map_err(|error| {
            let message = format!("column \"{}\": {}", column.field.name(), error.message);
            Error { message, ..error.into() }
        })?
    };
    if column.not_null && assigned.null_count() > 0 {
        return Err(null_violation(&target.stream, column.field.name()));
    }
    let assigned = match column.length {
        Some(length) => within_length(assigned, length)?,
        None => assigned,
    };
    if anabranch_semantics::is_json(&column.field) {
        check_json(&assigned, column)?;
    }
    Ok(assigned)
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Text for a bytea column.
fn bytes_of_text(array: &ArrayRef, column: &Written) -> Result<ArrayRef, Error> {
    let text = cast(array, &DataType::Utf8View)?;
    let text = text.as_string_view();
    let mut bytes = BinaryViewBuilder::with_capacity(text.len());
    for value in text {
        match value {
            None => bytes.append_null(),
            Some(value) => bytes.append_value(bytes_of(value, column)?),
        }
    }
    Ok(Arc::new(bytes.finish()))
}

/// `\x…` in hexadecimal, any other text as its bytes.
pub(super) fn bytes_of(text: &str, column: &Written) -> Result<Vec<u8>, Error> {
    if !text.starts_with("\\x") {
        return Ok(text.as_bytes().to_vec());
    }
    hex_bytes(text).ok_or_else(|| {
        Error::new(
            sqlstate::INVALID_TEXT,
            format!(
                "invalid hexadecimal digits for column \"{}\": \"{text}\"",
                column.field.name()
            ),
        )
    })
}

fn check_json(array: &ArrayRef, column: &Written) -> Result<(), Error> {
    for value in array.as_string_view().iter().flatten() {
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(value) {
            return Err(Error::new(
                sqlstate::INVALID_TEXT,
                format!("invalid input syntax for type json: {error}"),
            )
            .hint(format!("column {} takes JSON text", column.field.name())));
        }
    }
    Ok(())
}
