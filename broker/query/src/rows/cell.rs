//! One value: from JSON or text to the column's type, or not at all.

mod list;

use anabranch_engine::{ColumnType, ItemType};
use anabranch_semantics::{
    date_days, interval, jsonb, numeric_bytes, time_micros, timestamp_micros, uuid_bytes,
};
use datafusion::arrow::array::{
    ArrayRef, BinaryViewBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    FixedSizeBinaryBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, IntervalMonthDayNanoBuilder, LargeBinaryBuilder, LargeStringBuilder,
    StringViewBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::compute::kernels::cast_utils::{Parser, string_to_timestamp_nanos};
use datafusion::arrow::datatypes::{DataType, Date32Type, Field, IntervalUnit, TimeUnit};
use jiter::Jiter;
use list::ListCells;
use std::collections::HashMap;
use std::sync::Arc;

/// The Arrow type of a column.
pub(crate) fn arrow_type(column: ColumnType) -> DataType {
    match column {
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Smallint => DataType::Int16,
        ColumnType::Integer => DataType::Int32,
        ColumnType::Bigint => DataType::Int64,
        ColumnType::Real => DataType::Float32,
        ColumnType::Double => DataType::Float64,
        ColumnType::Numeric { precision, scale } => DataType::Decimal128(precision, scale),
        ColumnType::Text | ColumnType::Json => DataType::Utf8View,
        ColumnType::Bytea => DataType::BinaryView,
        ColumnType::Date => DataType::Date32,
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        ColumnType::Timestamptz => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
        }
        ColumnType::Time => DataType::Time64(TimeUnit::Microsecond),
        ColumnType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
        ColumnType::Uuid => DataType::FixedSizeBinary(16),
        ColumnType::Jsonb => DataType::LargeUtf8,
        ColumnType::Array(item) => {
            DataType::List(Arc::new(Field::new_list_field(item_arrow_type(item), true)))
        }
    }
}

fn item_arrow_type(item: ItemType) -> DataType {
    column_of_item(item).map_or(DataType::LargeBinary, arrow_type)
}

/// The column type that items of an array are read as; none for numeric, which has digits of its
/// own in each item.
fn column_of_item(item: ItemType) -> Option<ColumnType> {
    Some(match item {
        ItemType::Boolean => ColumnType::Boolean,
        ItemType::Smallint => ColumnType::Smallint,
        ItemType::Integer => ColumnType::Integer,
        ItemType::Bigint => ColumnType::Bigint,
        ItemType::Real => ColumnType::Real,
        ItemType::Double => ColumnType::Double,
        ItemType::Numeric => return None,
        ItemType::Text => ColumnType::Text,
        ItemType::Bytea => ColumnType::Bytea,
        ItemType::Date => ColumnType::Date,
        ItemType::Timestamp => ColumnType::Timestamp,
        ItemType::Timestamptz => ColumnType::Timestamptz,
        ItemType::Time => ColumnType::Time,
        ItemType::Interval => ColumnType::Interval,
        ItemType::Uuid => ColumnType::Uuid,
        ItemType::Jsonb => ColumnType::Jsonb,
    })
}

/// Marks a text field as JSON, for doors that have a type for it.
pub(crate) fn json_metadata() -> HashMap<String, String> {
    HashMap::from([("ARROW:extension:name".to_owned(), "arrow.json".to_owned())])
}

/// A value that is not what its column says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DoesNotFit;

/// A column in the making.
pub(crate) enum CellBuilder {
    Boolean(BooleanBuilder),
    Smallint(Int16Builder),
    Integer(Int32Builder),
    Bigint(Int64Builder),
    Real(Float32Builder),
    Double(Float64Builder),
    Numeric(Decimal128Builder, i8, u8),
    Text(StringViewBuilder),
    /// Raw JSON.
    Json(StringViewBuilder),
    Bytea(BinaryViewBuilder),
    Date(Date32Builder),
    /// With or without time zone; kept in UTC.
    Timestamp(TimestampMicrosecondBuilder),
    Time(Time64MicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    Uuid(FixedSizeBinaryBuilder),
    /// JSON in the form of jsonb.
    Jsonb(LargeStringBuilder),
    /// Items of numeric arrays.
    AnyNumeric(LargeBinaryBuilder),
    List(ListCells),
}

impl CellBuilder {
    pub(crate) fn new(column: ColumnType) -> Self {
        match column {
            ColumnType::Boolean => Self::Boolean(BooleanBuilder::new()),
            ColumnType::Smallint => Self::Smallint(Int16Builder::new()),
            ColumnType::Integer => Self::Integer(Int32Builder::new()),
            ColumnType::Bigint => Self::Bigint(Int64Builder::new()),
            ColumnType::Real => Self::Real(Float32Builder::new()),
            ColumnType::Double => Self::Double(Float64Builder::new()),
            ColumnType::Numeric { precision, scale } => Self::Numeric(
                Decimal128Builder::new().with_data_type(DataType::Decimal128(precision, scale)),
                scale,
                precision,
            ),
            ColumnType::Text => Self::Text(StringViewBuilder::new()),
            ColumnType::Json => Self::Json(StringViewBuilder::new()),
            ColumnType::Bytea => Self::Bytea(BinaryViewBuilder::new()),
            ColumnType::Date => Self::Date(Date32Builder::new()),
            ColumnType::Timestamp | ColumnType::Timestamptz => Self::Timestamp(
                TimestampMicrosecondBuilder::new().with_data_type(arrow_type(column)),
            ),
            ColumnType::Time => Self::Time(Time64MicrosecondBuilder::new()),
            ColumnType::Interval => Self::Interval(IntervalMonthDayNanoBuilder::new()),
            ColumnType::Uuid => Self::Uuid(FixedSizeBinaryBuilder::new(16)),
            ColumnType::Jsonb => Self::Jsonb(LargeStringBuilder::new()),
            ColumnType::Array(item) => Self::List(ListCells::new(
                item_arrow_type(item),
                match column_of_item(item) {
                    Some(column) => Self::new(column),
                    None => Self::AnyNumeric(LargeBinaryBuilder::new()),
                },
            )),
        }
    }

    pub(crate) fn append_null(&mut self) {
        match self {
            Self::Boolean(builder) => builder.append_null(),
            Self::Smallint(builder) => builder.append_null(),
            Self::Integer(builder) => builder.append_null(),
            Self::Bigint(builder) => builder.append_null(),
            Self::Real(builder) => builder.append_null(),
            Self::Double(builder) => builder.append_null(),
            Self::Numeric(builder, ..) => builder.append_null(),
            Self::Text(builder) | Self::Json(builder) => builder.append_null(),
            Self::Bytea(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
            Self::Interval(builder) => builder.append_null(),
            Self::Uuid(builder) => builder.append_null(),
            Self::Jsonb(builder) => builder.append_null(),
            Self::AnyNumeric(builder) => builder.append_null(),
            Self::List(cells) => cells.append_null(),
        }
    }

    /// Appends a JSON value; null where it does not fit.
    pub(crate) fn append_json(&mut self, raw: &[u8]) -> Result<(), DoesNotFit> {
        let appended = if raw == b"null" { None } else { self.try_append_json(raw) };
        if appended.is_none() {
            self.append_null();
        }
        if appended.is_none() && raw != b"null" { Err(DoesNotFit) } else { Ok(()) }
    }

    /// Appends text as it stands, for keys that are one text column.
    pub(crate) fn append_utf8(&mut self, bytes: &[u8]) -> Result<(), DoesNotFit> {
        match (std::str::from_utf8(bytes), &mut *self) {
            (Ok(text), Self::Text(builder)) => {
                builder.append_value(text);
                Ok(())
            }
            _ => {
                self.append_null();
                Err(DoesNotFit)
            }
        }
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Smallint(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Bigint(builder) => Arc::new(builder.finish()),
            Self::Real(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Numeric(builder, ..) => Arc::new(builder.finish()),
            Self::Text(builder) | Self::Json(builder) => Arc::new(builder.finish()),
            Self::Bytea(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Interval(builder) => Arc::new(builder.finish()),
            Self::Uuid(builder) => Arc::new(builder.finish()),
            Self::Jsonb(builder) => Arc::new(builder.finish()),
            Self::AnyNumeric(builder) => Arc::new(builder.finish()),
            Self::List(cells) => Arc::new(cells.finish()),
        }
    }

    fn try_append_json(&mut self, raw: &[u8]) -> Option<()> {
        match self {
            Self::Boolean(builder) => match raw {
                b"true" => builder.append_value(true),
                b"false" => builder.append_value(false),
                _ => return None,
            },
            Self::Smallint(builder) => builder.append_value(integer(raw)?.try_into().ok()?),
            Self::Integer(builder) => builder.append_value(integer(raw)?.try_into().ok()?),
            Self::Bigint(builder) => builder.append_value(integer(raw)?),
            Self::Real(builder) => builder.append_value(float(raw)? as f32),
            Self::Double(builder) => builder.append_value(float(raw)?),
            Self::Numeric(builder, scale, precision) => {
                builder.append_value(decimal(std::str::from_utf8(raw).ok()?, *precision, *scale)?);
            }
            Self::Text(builder) => match raw.first()? {
                b'"' => builder.append_value(Jiter::new(raw).next_str().ok()?),
                // Numbers and booleans in a text column read as `->>` gives them.
                _ => builder.append_value(std::str::from_utf8(raw).ok()?),
            },
            Self::Json(builder) => builder.append_value(std::str::from_utf8(raw).ok()?),
            Self::Bytea(builder) => {
                let mut json = Jiter::new(raw);
                builder.append_value(hex_bytes(json.next_str().ok()?)?);
            }
            Self::Date(builder) => {
                let mut json = Jiter::new(raw);
                builder.append_value(date(json.next_str().ok()?)?);
            }
            Self::Timestamp(builder) => {
                let mut json = Jiter::new(raw);
                builder.append_value(timestamp(json.next_str().ok()?)?);
            }
            Self::Time(builder) => {
                let mut json = Jiter::new(raw);
                builder.append_value(time_micros(json.next_str().ok()?)?);
            }
            Self::Interval(builder) => {
                let mut json = Jiter::new(raw);
                builder.append_value(interval(json.next_str().ok()?)?);
            }
            Self::Uuid(builder) => {
                let mut json = Jiter::new(raw);
                builder.append_value(uuid_bytes(json.next_str().ok()?)?).ok()?;
            }
            Self::Jsonb(builder) => {
                builder.append_value(jsonb(std::str::from_utf8(raw).ok()?)?);
            }
            Self::AnyNumeric(builder) => match raw.first()? {
                // What JSON has no number for.
                b'"' => {
                    let mut json = Jiter::new(raw);
                    builder.append_value(numeric_bytes(json.next_str().ok()?)?);
                }
                _ => builder.append_value(numeric_bytes(std::str::from_utf8(raw).ok()?)?),
            },
            Self::List(cells) => return cells.try_append_json(raw),
        }
        Some(())
    }
}

/// An integer, also where a producer wrote it as a float (`517.0`).
fn integer(raw: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(raw).ok()?;
    if let Ok(integer) = text.parse() {
        return Some(integer);
    }
    if !raw.first().is_some_and(|first| first.is_ascii_digit() || *first == b'-') {
        return None;
    }
    let float: f64 = text.parse().ok()?;
    // Beyond 2^53 a float no longer says which integer was meant.
    (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
}

/// A number, or a string with what JSON has no number for.
fn float(raw: &[u8]) -> Option<f64> {
    match raw {
        b"NaN" | b"\"NaN\"" => return Some(f64::NAN),
        b"Infinity" | b"\"Infinity\"" => return Some(f64::INFINITY),
        b"-Infinity" | b"\"-Infinity\"" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    if !raw.first().is_some_and(|first| first.is_ascii_digit() || *first == b'-') {
        return None;
    }
    std::str::from_utf8(raw).ok()?.parse().ok()
}

/// A decimal number as an integer of `10^-scale`: exact, or nothing. Nothing is ever rounded.
pub(crate) fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        None => (text, 0),
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    let shift = i32::from(scale) + exponent - i32::try_from(fraction.len()).ok()?;
    for _ in 0..shift.unsigned_abs() {
        if value == 0 {
            break;
        }
        value = if shift > 0 {
            value.checked_mul(10)?
        } else if value % 10 == 0 {
            value / 10
        } else {
            return None;
        };
    }
    let limit = 10i128.checked_pow(u32::from(precision))?;
    (value < limit).then_some(if negative { -value } else { value })
}

fn date(text: &str) -> Option<i32> {
    let plain = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    match plain {
        true => Date32Type::parse(text),
        false => is_beyond(text).then(|| date_days(text)).flatten(),
    }
}

/// Whether `text` is a date that has not four digits for its year: the infinities, years before
/// Christ and after 9999.
fn is_beyond(text: &str) -> bool {
    matches!(text, "infinity" | "-infinity")
        || text.ends_with(" BC")
        || text.split_once('-').is_some_and(|(year, _)| {
            (5..=6).contains(&year.len()) && year.bytes().all(|b| b.is_ascii_digit())
        })
}

/// Microseconds since 1970 UTC. Without an offset the time is taken as UTC.
fn timestamp(text: &str) -> Option<i64> {
    if is_beyond(text) {
        return timestamp_micros(text);
    }
    if text.len() < 10 || text.as_bytes()[4] != b'-' {
        return None;
    }
    match string_to_timestamp_nanos(text) {
        Ok(nanos) => Some(nanos.div_euclid(1_000)),
        // Years that nanoseconds do not reach.
        Err(_) => timestamp_micros(text),
    }
}

/// `\x…` in hexadecimal, as PostgreSQL writes bytea.
pub(crate) fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    if digits.len() % 2 != 0 {
        return None;
    }
    let nibble = |digit: u8| (digit as char).to_digit(16);
    digits
        .chunks_exact(2)
        .map(|pair| Some((nibble(pair[0])? * 16 + nibble(pair[1])?) as u8))
        .collect()
}

/// Whether `text` is a value of `column`, as it would be read from a JSON string or number; for
/// inference.
pub(crate) fn parse_text(column: ColumnType, text: &str) -> bool {
    match column {
        ColumnType::Date => date(text).is_some(),
        ColumnType::Timestamp | ColumnType::Timestamptz => timestamp(text).is_some(),
        ColumnType::Bytea => hex_bytes(text).is_some(),
        ColumnType::Uuid => text.len() == 36 && uuid_bytes(text).is_some(),
        _ => true,
    }
}
