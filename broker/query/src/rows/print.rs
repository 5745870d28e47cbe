//! Arrow values as JSON text: for events that SQL writes and for doors that speak JSON.

use anabranch_semantics::{Texts, numeric_text};
use chrono::{Datelike, NaiveDate, NaiveTime, Timelike};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::temporal_conversions::date32_to_datetime;
use std::io::Write;

/// Writes row `row` of `array` as JSON. Text whose `field` is marked as JSON stands as it is,
/// where it is valid.
pub(crate) fn write_json_value(
    array: &ArrayRef,
    row: usize,
    field: &Field,
    out: &mut Vec<u8>,
) -> Result<(), ArrowError> {
    if array.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    macro_rules! plain {
        ($type:ty) => {
            write!(out, "{}", array.as_primitive::<$type>().value(row))?
        };
    }
    match array.data_type() {
        DataType::Boolean => write!(out, "{}", array.as_boolean().value(row))?,
        DataType::Int8 => plain!(Int8Type),
        DataType::Int16 => plain!(Int16Type),
        DataType::Int32 => plain!(Int32Type),
        DataType::Int64 => plain!(Int64Type),
        DataType::UInt8 => plain!(UInt8Type),
        DataType::UInt16 => plain!(UInt16Type),
        DataType::UInt32 => plain!(UInt32Type),
        DataType::UInt64 => plain!(UInt64Type),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            if value.is_finite() {
                write!(out, "{value:?}")?
            } else {
                write_special(value.into(), out)
            }
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            if value.is_finite() { write!(out, "{value:?}")? } else { write_special(value, out) }
        }
        DataType::Decimal128(_, _) => {
            let text = array.as_primitive::<Decimal128Type>().value_as_string(row);
            out.extend_from_slice(text.as_bytes());
        }
        DataType::Utf8 => write_text(array.as_string::<i32>().value(row), field, out),
        // jsonb.
        DataType::LargeUtf8 => {
            out.extend_from_slice(array.as_string::<i64>().value(row).as_bytes());
        }
        DataType::Utf8View => write_text(array.as_string_view().value(row), field, out),
        DataType::Binary => write_hex_string(array.as_binary::<i32>().value(row), out),
        DataType::LargeBinary => {
            let text = numeric_text(array.as_binary::<i64>().value(row));
            if text.ends_with(|c: char| c.is_ascii_digit()) {
                out.extend_from_slice(text.as_bytes());
            } else {
                write_json_string(&text, out);
            }
        }
        DataType::BinaryView => write_hex_string(array.as_binary_view().value(row), out),
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(row);
            match date32_to_datetime(days) {
                Some(date) if is_four_digits(date.year()) => {
                    out.push(b'"');
                    write_date(date.date(), out);
                    out.push(b'"');
                }
                _ => write_printed(array, row, out)?,
            }
        }
        DataType::Timestamp(unit, zone) => write_timestamp(array, row, *unit, zone.is_some(), out)?,
        DataType::List(item) => write_list(&array.as_list::<i32>().value(row), item, out)?,
        DataType::LargeList(item) => write_list(&array.as_list::<i64>().value(row), item, out)?,
        DataType::Struct(fields) => {
            let columns = array.as_struct();
            out.push(b'{');
            for (number, inner) in fields.iter().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                write_json_string(inner.name(), out);
                out.push(b':');
                write_json_value(columns.column(number), row, inner, out)?;
            }
            out.push(b'}');
        }
        _ => write_printed(array, row, out)?,
    }
    Ok(())
}

/// Writes `text` as a JSON string.
pub(crate) fn write_json_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

/// Writes `\x…` in hexadecimal, as PostgreSQL writes bytea (without quotes).
pub(crate) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() * 2 + 2);
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn write_text(text: &str, field: &Field, out: &mut Vec<u8>) {
    if anabranch_semantics::is_json(field)
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    {
        out.extend_from_slice(text.trim().as_bytes());
    } else {
        write_json_string(text, out);
    }
}

/// As a string of what clients see: intervals, uuids, infinite and very distant times.
fn write_printed(array: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let texts = Texts::new(array).map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
    write_json_string(&texts.get(row), out);
    Ok(())
}

/// Whether ISO 8601 has the year without further agreement.
fn is_four_digits(year: i32) -> bool {
    (1..=9_999).contains(&year)
}

fn write_hex_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"\\");
    write_hex(bytes, out);
    out.push(b'"');
}

/// JSON has no number for these; PostgreSQL's words, as strings.
fn write_special(value: f64, out: &mut Vec<u8>) {
    let word: &[u8] = if value.is_nan() {
        b"\"NaN\""
    } else if value > 0.0 {
        b"\"Infinity\""
    } else {
        b"\"-Infinity\""
    };
    out.extend_from_slice(word);
}

fn write_timestamp(
    array: &ArrayRef,
    row: usize,
    unit: TimeUnit,
    zoned: bool,
    out: &mut Vec<u8>,
) -> Result<(), ArrowError> {
    let time = match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value_as_datetime(row),
        TimeUnit::Millisecond => {
            array.as_primitive::<TimestampMillisecondType>().value_as_datetime(row)
        }
        TimeUnit::Microsecond => {
            array.as_primitive::<TimestampMicrosecondType>().value_as_datetime(row)
        }
        TimeUnit::Nanosecond => {
            array.as_primitive::<TimestampNanosecondType>().value_as_datetime(row)
        }
    };
    match time {
        // RFC 3339; times are kept in UTC.
        Some(time) if is_four_digits(time.year()) => {
            out.push(b'"');
            write_date(time.date(), out);
            write_time(time.time(), out);
            out.extend_from_slice(if zoned { b"Z\"" } else { b"\"" });
        }
        _ => write_printed(array, row, out)?,
    }
    Ok(())
}

/// `2024-02-29`, of a year with four digits. A format string would be read again for each value.
fn write_date(date: NaiveDate, out: &mut Vec<u8>) {
    write_digits(date.year().unsigned_abs(), 4, out);
    out.push(b'-');
    write_digits(date.month(), 2, out);
    out.push(b'-');
    write_digits(date.day(), 2, out);
}

/// `T12:30:00`, with three, six or nine digits behind a point where there are any.
fn write_time(time: NaiveTime, out: &mut Vec<u8>) {
    for (mark, part) in [(b'T', time.hour()), (b':', time.minute()), (b':', time.second())] {
        out.push(mark);
        write_digits(part, 2, out);
    }
    let nanos = time.nanosecond();
    if nanos > 0 {
        out.push(b'.');
        match (nanos % 1_000_000, nanos % 1_000) {
            (0, _) => write_digits(nanos / 1_000_000, 3, out),
            (_, 0) => write_digits(nanos / 1_000, 6, out),
            _ => write_digits(nanos, 9, out),
        }
    }
}

/// The last `count` decimal digits, with zeros in front.
fn write_digits(value: u32, count: u32, out: &mut Vec<u8>) {
    out.extend((0..count).rev().map(|place| b'0' + (value / 10u32.pow(place) % 10) as u8));
}

fn write_list(items: &ArrayRef, item: &Field, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    out.push(b'[');
    for number in 0..items.len() {
        if number > 0 {
            out.push(b',');
        }
        write_json_value(items, number, item, out)?;
    }
    out.push(b']');
    Ok(())
}

/// Writes a record's headers as a JSON array of `{"key":…,"value":…}`.
pub(crate) fn write_headers<'a>(
    headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    out: &mut Vec<u8>,
) {
    out.push(b'[');
    for (number, (name, value)) in headers.enumerate() {
        out.extend_from_slice(if number > 0 { b",{\"key\":" } else { b"{\"key\":" });
        write_bytes_string(name, out);
        out.extend_from_slice(b",\"value\":");
        match value {
            None => out.extend_from_slice(b"null"),
            Some(value) => write_bytes_string(value, out),
        }
        out.push(b'}');
    }
    out.push(b']');
}

/// Writes bytes as a JSON string: text, or `\x…` where they are not UTF-8.
pub(crate) fn write_bytes_string(bytes: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => write_json_string(text, out),
        Err(_) => write_hex_string(bytes, out),
    }
}

/// The words of `_op`.
pub(crate) fn operation_word(keyed: bool, has_value: bool) -> &'static str {
    match (keyed, has_value) {
        (false, _) => "insert",
        (true, true) => "upsert",
        (true, false) => "delete",
    }
}
