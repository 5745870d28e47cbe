//! Values as text: what the types' output functions print.

use super::{normal, unexpected};
use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};
use std::fmt::Write;

pub(super) fn put(array: &ArrayRef, row: usize, out: &mut BytesMut) -> Result<(), ArrowError> {
    macro_rules! plain {
        ($type:ty) => {
            put_display(array.as_primitive::<$type>().value(row), out)
        };
    }
    match array.data_type() {
        DataType::Boolean => out.put_u8(if array.as_boolean().value(row) { b't' } else { b'f' }),
        DataType::Int16 => plain!(Int16Type),
        DataType::Int32 => plain!(Int32Type),
        DataType::Int64 => plain!(Int64Type),
        DataType::Float32 => put_float(
            array.as_primitive::<Float32Type>().value(row).into(),
            &format!("{:e}", array.as_primitive::<Float32Type>().value(row)),
            6,
            out,
        ),
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            put_float(value, &format!("{value:e}"), 15, out);
        }
        DataType::Decimal128(..) => {
            out.put_slice(array.as_primitive::<Decimal128Type>().value_as_string(row).as_bytes());
        }
        DataType::Decimal256(..) => {
            out.put_slice(array.as_primitive::<Decimal256Type>().value_as_string(row).as_bytes());
        }
        DataType::Utf8View => out.put_slice(array.as_string_view().value(row).as_bytes()),
        DataType::BinaryView => put_hex(array.as_binary_view().value(row), out),
        DataType::Date32 => put_date(array.as_primitive::<Date32Type>().value(row), out),
        DataType::Time64(_) => {
            put_time(array.as_primitive::<Time64MicrosecondType>().value(row), out);
        }
        DataType::Timestamp(_, zone) => {
            let value = array.as_primitive::<TimestampMicrosecondType>().value(row);
            put_timestamp(value, out);
            if zone.is_some() {
                // Times are kept and shown in UTC.
                out.put_slice(b"+00");
            }
        }
        DataType::Interval(_) => {
            put_interval(array.as_primitive::<IntervalMonthDayNanoType>().value(row), out);
        }
        DataType::List(_) => put_array(&normal(&array.as_list::<i32>().value(row))?, out)?,
        _ => return Err(unexpected(array)),
    }
    Ok(())
}

fn put_display(value: impl std::fmt::Display, out: &mut BytesMut) {
    // Writing to memory does not fail.
    let _ = write!(out, "{value}");
}

/// The shortest digits that read back, laid out as PostgreSQL does (d2s.c): plain from 10^-4 to
/// below 10^`plain_below`, else with an exponent of at least two digits.
fn put_float(value: f64, scientific: &str, plain_below: i32, out: &mut BytesMut) {
    if value.is_nan() {
        return out.put_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.put_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    out.put_slice(sign.as_bytes());
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    if value == 0.0 {
        return out.put_u8(b'0');
    }
    if exponent < -4 || exponent >= plain_below {
        out.put_slice(mantissa.as_bytes());
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "e{sign}{:02}", exponent.abs());
    } else if exponent < 0 {
        out.put_slice(b"0.");
        out.put_bytes(b'0', (-exponent - 1) as usize);
        out.put_slice(digits.as_bytes());
    } else {
        let whole = exponent as usize + 1;
        if digits.len() <= whole {
            out.put_slice(digits.as_bytes());
            out.put_bytes(b'0', whole - digits.len());
        } else {
            out.put_slice(&digits.as_bytes()[..whole]);
            out.put_u8(b'.');
            out.put_slice(&digits.as_bytes()[whole..]);
        }
    }
}

fn put_hex(bytes: &[u8], out: &mut BytesMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() * 2 + 2);
    out.put_slice(b"\\x");
    for byte in bytes {
        out.put_u8(DIGITS[usize::from(byte >> 4)]);
        out.put_u8(DIGITS[usize::from(byte & 15)]);
    }
}

fn put_date(days: i32, out: &mut BytesMut) {
    match date32_to_datetime(days) {
        Some(date) => put_display(date.format("%Y-%m-%d"), out),
        None => put_display(days, out),
    }
}

fn put_timestamp(microseconds: i64, out: &mut BytesMut) {
    match timestamp_us_to_datetime(microseconds) {
        Some(time) => {
            put_display(time.format("%Y-%m-%d %H:%M:%S"), out);
            put_fraction(microseconds.rem_euclid(1_000_000), out);
        }
        None => put_display(microseconds, out),
    }
}

fn put_time(microseconds: i64, out: &mut BytesMut) {
    let seconds = microseconds.div_euclid(1_000_000);
    let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    put_fraction(microseconds.rem_euclid(1_000_000), out);
}

/// Microseconds without trailing zeros.
fn put_fraction(microseconds: i64, out: &mut BytesMut) {
    if microseconds != 0 {
        let digits = format!("{microseconds:06}");
        out.put_u8(b'.');
        out.put_slice(digits.trim_end_matches('0').as_bytes());
    }
}

/// `1 year 2 mons 3 days 04:05:06.7` (`IntervalStyle` postgres).
fn put_interval(value: IntervalMonthDayNano, out: &mut BytesMut) {
    let mut parts = Vec::new();
    let mut part = |count: i32, one: &str, many: &str| {
        if count != 0 {
            parts.push(format!("{count} {}", if count == 1 { one } else { many }));
        }
    };
    part(value.months / 12, "year", "years");
    part(value.months % 12, "mon", "mons");
    part(value.days, "day", "days");
    let microseconds = value.nanoseconds / 1_000;
    if microseconds != 0 || parts.is_empty() {
        let mut time = BytesMut::new();
        if microseconds < 0 {
            time.put_u8(b'-');
        }
        put_time(microseconds.abs(), &mut time);
        parts.push(String::from_utf8_lossy(&time).into_owned());
    }
    out.put_slice(parts.join(" ").as_bytes());
}

/// `{a,"b c",NULL}` (PostgreSQL 15, 8.15.6).
fn put_array(items: &ArrayRef, out: &mut BytesMut) -> Result<(), ArrowError> {
    out.put_u8(b'{');
    for row in 0..items.len() {
        if row > 0 {
            out.put_u8(b',');
        }
        if items.is_null(row) || items.data_type() == &DataType::Null {
            out.put_slice(b"NULL");
            continue;
        }
        let mut item = BytesMut::new();
        put(items, row, &mut item)?;
        let nested = matches!(items.data_type(), DataType::List(_));
        let special = |byte: &u8| matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\' | b' ');
        let quoted = !nested
            && (item.is_empty()
                || item.eq_ignore_ascii_case(b"null")
                || item.iter().any(|byte| special(byte) || byte.is_ascii_whitespace()));
        if !quoted {
            out.put_slice(&item);
            continue;
        }
        out.put_u8(b'"');
        for byte in item {
            if matches!(byte, b'"' | b'\\') {
                out.put_u8(b'\\');
            }
            out.put_u8(byte);
        }
        out.put_u8(b'"');
    }
    out.put_u8(b'}');
    Ok(())
}
