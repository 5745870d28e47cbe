//! One value, read from and written to Arrow's arrays.

use crate::error::{Error, sqlstate};
use crate::numeric::Numeric;
use crate::types::PgType;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewBuilder, BooleanBuilder, Date32Builder,
    FixedSizeBinaryBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, IntervalMonthDayNanoBuilder, LargeBinaryBuilder, LargeStringBuilder, ListArray,
    NullArray, StringViewBuilder, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type,
    Int16Type, Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use num_bigint::BigInt;
use std::sync::Arc;

/// Months, days and microseconds, as PostgreSQL keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) months: i32,
    pub(crate) days: i32,
    pub(crate) micros: i64,
}

/// A value; its type is known beside it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Datum {
    Null,
    Bool(bool),
    /// smallint, integer, bigint.
    Int(i64),
    /// real, double precision.
    Float(f64),
    Numeric(Numeric),
    /// text, json and jsonb.
    Text(String),
    Bytes(Vec<u8>),
    /// Days since 1970; the ends of the range are the infinities.
    Date(i32),
    /// Microseconds since 1970 (UTC); the ends of the range are the infinities.
    Timestamp(i64),
    /// Microseconds since midnight.
    Time(i64),
    Span(Span),
    Uuid([u8; 16]),
    Array(Vec<Datum>),
}

impl Datum {
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(crate) fn bool(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    pub(crate) fn int(&self) -> i64 {
        match self {
            Self::Int(value) => *value,
            _ => 0,
        }
    }

    pub(crate) fn float(&self) -> f64 {
        match self {
            Self::Float(value) => *value,
            Self::Int(value) => *value as f64,
            Self::Numeric(value) => value.to_f64(),
            _ => 0.0,
        }
    }

    pub(crate) fn numeric(&self) -> Numeric {
        match self {
            Self::Numeric(value) => value.clone(),
            Self::Int(value) => Numeric::from(*value),
            _ => Numeric::NaN,
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(value) => value,
            _ => "",
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(value) => value,
            _ => &[],
        }
    }

    /// Days of a date, microseconds of a time or timestamp.
    pub(crate) fn ticks(&self) -> i64 {
        match self {
            Self::Date(value) => i64::from(*value),
            Self::Timestamp(value) | Self::Time(value) => *value,
            _ => 0,
        }
    }

    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Span(value) => *value,
            _ => Span::default(),
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }
}

/// A column, ready to be read value by value.
pub(crate) struct Reader {
    array: ArrayRef,
    of: PgType,
}

impl Reader {
    /// `of` is the type that the array stands for.
    pub(crate) fn new(array: &ArrayRef, of: PgType) -> Result<Self, Error> {
        Ok(Self { array: plain(array)?, of })
    }

    pub(crate) fn get(&self, row: usize) -> Datum {
        let array = &self.array;
        if array.is_null(row) || array.data_type() == &DataType::Null {
            return Datum::Null;
        }
        match array.data_type() {
            DataType::Boolean => Datum::Bool(array.as_boolean().value(row)),
            DataType::Int16 => Datum::Int(array.as_primitive::<Int16Type>().value(row).into()),
            DataType::Int32 => Datum::Int(array.as_primitive::<Int32Type>().value(row).into()),
            DataType::Int64 => Datum::Int(array.as_primitive::<Int64Type>().value(row)),
            DataType::Float32 => {
                Datum::Float(array.as_primitive::<Float32Type>().value(row).into())
            }
            DataType::Float64 => Datum::Float(array.as_primitive::<Float64Type>().value(row)),
            DataType::Decimal128(_, scale) => Datum::Numeric(Numeric::of_decimal(
                array.as_primitive::<Decimal128Type>().value(row),
                *scale,
            )),
            DataType::Decimal256(_, scale) => {
                let bytes = array.as_primitive::<Decimal256Type>().value(row).to_le_bytes();
                Datum::Numeric(Numeric::of_decimal(BigInt::from_signed_bytes_le(&bytes), *scale))
            }
            DataType::LargeBinary => {
                Datum::Numeric(Numeric::decode(array.as_binary::<i64>().value(row)))
            }
            DataType::Utf8View => Datum::Text(array.as_string_view().value(row).to_owned()),
            DataType::LargeUtf8 => Datum::Text(array.as_string::<i64>().value(row).to_owned()),
            DataType::BinaryView => Datum::Bytes(array.as_binary_view().value(row).to_vec()),
            DataType::FixedSizeBinary(16) => {
                let bytes = array.as_fixed_size_binary().value(row);
                Datum::Uuid(bytes.try_into().unwrap_or([0; 16]))
            }
            DataType::Date32 => Datum::Date(array.as_primitive::<Date32Type>().value(row)),
            DataType::Time64(_) => {
                Datum::Time(array.as_primitive::<Time64MicrosecondType>().value(row))
            }
            DataType::Timestamp(..) => {
                Datum::Timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row))
            }
            DataType::Interval(_) => {
                let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
                Datum::Span(Span {
                    months: value.months,
                    days: value.days,
                    micros: value.nanoseconds / 1_000,
                })
            }
            DataType::List(_) => {
                let items = array.as_list::<i32>().value(row);
                let of = match self.of {
                    PgType::Array(item) => *item,
                    _ => PgType::of(items.data_type()),
                };
                match Self::new(&items, of) {
                    Ok(reader) => {
                        Datum::Array((0..items.len()).map(|item| reader.get(item)).collect())
                    }
                    Err(_) => Datum::Null,
                }
            }
            _ => Datum::Null,
        }
    }
}

/// The array in one of the types that [`Reader`] knows.
fn plain(array: &ArrayRef) -> Result<ArrayRef, Error> {
    let to = match array.data_type() {
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        DataType::FixedSizeBinary(size) if *size != 16 => DataType::BinaryView,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(TimeUnit::Nanosecond) => {
            DataType::Time64(TimeUnit::Microsecond)
        }
        DataType::Timestamp(unit, zone) if *unit != TimeUnit::Microsecond => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        DataType::Interval(unit) if *unit != IntervalUnit::MonthDayNano => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(item.clone())
        }
        DataType::Decimal32(..) | DataType::Decimal64(..) => DataType::Decimal128(38, 9),
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        _ => return Ok(array.clone()),
    };
    plain(&cast(array, &to)?)
}

/// A column of `of` out of values.
pub(crate) fn column(values: &[Datum], of: PgType) -> Result<ArrayRef, Error> {
    macro_rules! build {
        ($builder:expr, $value:ident => $pattern:pat => $append:expr) => {{
            let mut builder = $builder;
            for value in values {
                match value {
                    $pattern => builder.append_value($append),
                    _ => builder.append_null(),
                }
            }
            Ok(Arc::new(builder.finish()) as ArrayRef)
        }};
    }
    let out_of_range =
        || Error::new(sqlstate::NUMERIC_OUT_OF_RANGE, format!("{} out of range", of.name()));
    match of {
        PgType::Unknown => Ok(Arc::new(NullArray::new(values.len()))),
        PgType::Bool => build!(BooleanBuilder::new(), value => Datum::Bool(value) => *value),
        PgType::Int2 => {
            build!(Int16Builder::new(), value => Datum::Int(value) =>
                i16::try_from(*value).map_err(|_| out_of_range())?)
        }
        PgType::Int4 => {
            build!(Int32Builder::new(), value => Datum::Int(value) =>
                i32::try_from(*value).map_err(|_| out_of_range())?)
        }
        PgType::Int8 => build!(Int64Builder::new(), value => Datum::Int(value) => *value),
        PgType::Float4 => {
            build!(Float32Builder::new(), value => Datum::Float(value) => *value as f32)
        }
        PgType::Float8 => build!(Float64Builder::new(), value => Datum::Float(value) => *value),
        PgType::Numeric => {
            build!(LargeBinaryBuilder::new(), value => Datum::Numeric(value) => value.encode())
        }
        PgType::Jsonb => build!(LargeStringBuilder::new(), value => Datum::Text(value) => value),
        PgType::Bytea => build!(BinaryViewBuilder::new(), value => Datum::Bytes(value) => value),
        PgType::Date => build!(Date32Builder::new(), value => Datum::Date(value) => *value),
        PgType::Timestamp | PgType::Timestamptz => {
            build!(TimestampMicrosecondBuilder::new().with_data_type(of.arrow()),
                value => Datum::Timestamp(value) => *value)
        }
        PgType::Time => {
            build!(Time64MicrosecondBuilder::new(), value => Datum::Time(value) => *value)
        }
        PgType::Interval => {
            build!(IntervalMonthDayNanoBuilder::new(), value => Datum::Span(value) =>
                interval(*value)?)
        }
        PgType::Uuid => {
            let mut builder = FixedSizeBinaryBuilder::new(16);
            for value in values {
                match value {
                    Datum::Uuid(bytes) => builder.append_value(bytes)?,
                    _ => builder.append_null(),
                }
            }
            Ok(Arc::new(builder.finish()))
        }
        PgType::Array(item) => list(values, *item),
        PgType::Text
        | PgType::Json
        | PgType::Any
        | PgType::AnyElement
        | PgType::AnyArray
        | PgType::Other => {
            build!(StringViewBuilder::new(), value => Datum::Text(value) => value)
        }
    }
}

/// As Arrow keeps it.
pub(crate) fn interval(span: Span) -> Result<IntervalMonthDayNano, Error> {
    // Arrow keeps nanoseconds: 292 years of them.
    let nanos = span.micros.checked_mul(1_000).ok_or_else(|| {
        Error::new("22008", "interval out of range").hint("its time has at most 292 years here")
    })?;
    Ok(IntervalMonthDayNano::new(span.months, span.days, nanos))
}

fn list(values: &[Datum], item: PgType) -> Result<ArrayRef, Error> {
    let items: Vec<Datum> = values.iter().flat_map(|value| value.items().iter().cloned()).collect();
    let lengths = values.iter().map(|value| value.items().len());
    let nulls: NullBuffer = values.iter().map(|value| !value.is_null()).collect();
    let field = Arc::new(Field::new_list_field(item.arrow(), true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(field, offsets, column(&items, item)?, Some(nulls))?))
}
