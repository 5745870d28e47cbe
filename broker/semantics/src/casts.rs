//! Casts between types, with PostgreSQL's rounding and errors (`pg_cast`).

use crate::calendar::{DAY, checked_timestamp};
use crate::datum::{Datum, Span};
use crate::error::{Error, sqlstate};
use crate::input;
use crate::json::{self, Json};
use crate::numeric::Numeric;
use crate::output;
use crate::types::PgType::{self, *};

/// The first float beyond bigint.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// Whether there is an explicit cast.
pub(crate) fn exists(from: PgType, to: PgType) -> bool {
    let is_number = |of: PgType| matches!(of, Int2 | Int4 | Int8 | Float4 | Float8 | Numeric);
    if from == to || from == Unknown || from == Text || to == Text || from == Other || to == Any {
        return true;
    }
    match (from, to) {
        (Array(from), Array(to)) => exists(*from, *to),
        (Bool, Int4) | (Int4, Bool) => true,
        (Jsonb, Bool) => true,
        (Jsonb, to) if is_number(to) => true,
        (Json, Jsonb) | (Jsonb, Json) => true,
        (Date, Timestamp | Timestamptz)
        | (Timestamp, Date | Time | Timestamptz)
        | (Timestamptz, Date | Time | Timestamp)
        | (Time, Interval)
        | (Interval, Time) => true,
        (from, to) => is_number(from) && is_number(to),
    }
}

/// That there is none.
pub(crate) fn missing(from: PgType, to: PgType) -> Error {
    Error::new("42846", format!("cannot cast type {} to {}", from.name(), to.name()))
}

/// `value` of type `from` as one of type `to`.
pub(crate) fn cast(value: &Datum, from: PgType, to: PgType) -> Result<Datum, Error> {
    if value.is_null() || from == to {
        return Ok(value.clone());
    }
    match (from, to) {
        (_, Text | Any) => Ok(Datum::Text(text(value, from))),
        (Text | Unknown | Other, to) => input::parse(&text(value, from), to),
        (Bool, Int4) => Ok(Datum::Int(value.bool().into())),
        (Int4, Bool) => Ok(Datum::Bool(value.int() != 0)),
        (Int2 | Int4 | Int8, Int2 | Int4 | Int8) => integer(value.int(), to),
        (Int2 | Int4 | Int8, Float4) => Ok(Datum::Float((value.int() as f32).into())),
        (Int2 | Int4 | Int8, Float8) => Ok(Datum::Float(value.int() as f64)),
        (Int2 | Int4 | Int8, Numeric) => Ok(Datum::Numeric(Numeric::from(value.int()))),
        (Float4 | Float8, Int2 | Int4 | Int8) => {
            let rounded = value.float().round_ties_even();
            // 2^63 itself is beyond.
            if !(-TWO_TO_63..TWO_TO_63).contains(&rounded) {
                return Err(out_of_range(to));
            }
            integer(rounded as i64, to)
        }
        (Float4, Float8) => Ok(value.clone()),
        (Float8, Float4) => float4(value.float()),
        (Float4, Numeric) => Ok(Datum::Numeric(Numeric::from_f64(value.float(), 6))),
        (Float8, Numeric) => Ok(Datum::Numeric(Numeric::from_f64(value.float(), 15))),
        (Numeric, Int2 | Int4 | Int8) => from_numeric(&value.numeric(), to),
        (Numeric, Float4) => match value.numeric() {
            number @ Numeric::Finite { .. } => input::parse(&number.to_string(), Float4),
            other => Ok(Datum::Float(other.to_f64())),
        },
        (Numeric, Float8) => match value.numeric() {
            number @ Numeric::Finite { .. } => input::parse(&number.to_string(), Float8),
            other => Ok(Datum::Float(other.to_f64())),
        },
        (Date, Timestamp | Timestamptz) => match value.ticks() {
            days if days == i64::from(i32::MAX) => Ok(Datum::Timestamp(i64::MAX)),
            days if days == i64::from(i32::MIN) => Ok(Datum::Timestamp(i64::MIN)),
            days => checked_timestamp(i128::from(days) * i128::from(DAY))
                .map(Datum::Timestamp)
                .ok_or_else(|| Error::new("22008", "date out of range for timestamp")),
        },
        (Timestamp, Timestamptz) | (Timestamptz, Timestamp) => Ok(value.clone()),
        (Timestamp | Timestamptz, Date) => Ok(Datum::Date(match value.ticks() {
            i64::MAX => i32::MAX,
            i64::MIN => i32::MIN,
            micros => i32::try_from(micros.div_euclid(DAY)).unwrap_or(i32::MAX),
        })),
        (Timestamp | Timestamptz, Time) => Ok(match value.ticks() {
            i64::MAX | i64::MIN => Datum::Null,
            micros => Datum::Time(micros.rem_euclid(DAY)),
        }),
        (Time, Interval) => Ok(Datum::Span(Span { micros: value.ticks(), ..Span::default() })),
        (Interval, Time) => Ok(Datum::Time(value.span().micros.rem_euclid(DAY))),
        (Json, Jsonb) => input::parse(value.text(), Jsonb),
        (Jsonb, Json) => Ok(value.clone()),
        (Jsonb, to) => from_jsonb(value.text(), to),
        (Array(from), Array(to)) => {
            let items = value.items().iter().map(|item| cast(item, *from, *to));
            items.collect::<Result<_, _>>().map(Datum::Array)
        }
        _ => Err(missing(from, to)),
    }
}

/// As text: what is printed, but `true` and `false` for booleans.
pub(crate) fn text(value: &Datum, of: PgType) -> String {
    match value {
        Datum::Bool(value) => value.to_string(),
        other => output::print(other, of),
    }
}

pub(crate) fn out_of_range(of: PgType) -> Error {
    Error::new(sqlstate::NUMERIC_OUT_OF_RANGE, format!("{} out of range", of.name()))
}

/// An integer in the range of its type.
pub(crate) fn integer(value: i64, of: PgType) -> Result<Datum, Error> {
    let fits = match of {
        Int2 => i16::try_from(value).is_ok(),
        Int4 => i32::try_from(value).is_ok(),
        _ => true,
    };
    if fits { Ok(Datum::Int(value)) } else { Err(out_of_range(of)) }
}

fn float4(value: f64) -> Result<Datum, Error> {
    let kept = value as f32;
    let range = |what: &str| {
        Error::new(sqlstate::NUMERIC_OUT_OF_RANGE, format!("value out of range: {what}"))
    };
    if kept.is_infinite() && value.is_finite() {
        return Err(range("overflow"));
    }
    if kept == 0.0 && value != 0.0 {
        return Err(range("underflow"));
    }
    Ok(Datum::Float(kept.into()))
}

fn from_numeric(value: &Numeric, to: PgType) -> Result<Datum, Error> {
    match value {
        Numeric::NaN => Err(Error::unsupported(format!("cannot convert NaN to {}", to.name()))),
        Numeric::Infinity | Numeric::NegativeInfinity => {
            Err(Error::unsupported(format!("cannot convert infinity to {}", to.name())))
        }
        Numeric::Finite { .. } => integer(value.to_i64().ok_or_else(|| out_of_range(to))?, to),
    }
}

fn from_jsonb(text: &str, to: PgType) -> Result<Datum, Error> {
    let value = json::parse(text)?;
    let found = match &value {
        Json::Number(number) if to != Bool => {
            return cast(&Datum::Numeric(number.clone()), Numeric, to);
        }
        Json::Bool(value) if to == Bool => return Ok(Datum::Bool(*value)),
        other => other.type_name(),
    };
    let found = match found {
        "number" => "numeric",
        other => other,
    };
    Err(Error::new(
        sqlstate::INVALID_PARAMETER,
        format!("cannot cast jsonb {found} to type {}", to.name()),
    ))
}

/// `numeric(precision, scale)`.
pub(crate) fn with_digits(value: &Numeric, precision: i64, scale: i64) -> Result<Numeric, Error> {
    let rounded = match value {
        Numeric::Finite { .. } => value.rounded(scale, true),
        Numeric::NaN => return Ok(Numeric::NaN),
        _ => return Err(field_overflow()),
    };
    let fits = rounded.exponent().is_none_or(|exponent| exponent < precision - scale);
    if fits { Ok(rounded) } else { Err(field_overflow()) }
}

fn field_overflow() -> Error {
    Error::new(sqlstate::NUMERIC_OUT_OF_RANGE, "numeric field overflow")
}
