//! Single values out of the text that stands for them in events, in the form that Arrow keeps.

use crate::datum::{self, Datum};
use crate::input;
use crate::numeric::Numeric;
use crate::types::PgType;
use datafusion::arrow::datatypes::IntervalMonthDayNano;

/// Days since 1970 of a date as text.
#[must_use]
pub fn date_days(text: &str) -> Option<i32> {
    match input::parse(text, PgType::Date) {
        Ok(Datum::Date(days)) => Some(days),
        _ => None,
    }
}

/// Microseconds since 1970 of a time as text; in UTC where it names no zone.
#[must_use]
pub fn timestamp_micros(text: &str) -> Option<i64> {
    match input::parse(text, PgType::Timestamptz) {
        Ok(Datum::Timestamp(micros)) => Some(micros),
        _ => None,
    }
}

/// Microseconds since midnight of a time as text.
#[must_use]
pub fn time_micros(text: &str) -> Option<i64> {
    match input::parse(text, PgType::Time) {
        Ok(Datum::Time(micros)) => Some(micros),
        _ => None,
    }
}

/// An interval as text.
#[must_use]
pub fn interval(text: &str) -> Option<IntervalMonthDayNano> {
    match input::parse(text, PgType::Interval) {
        Ok(Datum::Span(span)) => datum::interval(span).ok(),
        _ => None,
    }
}

/// A uuid as text.
#[must_use]
pub fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    match input::parse(text, PgType::Uuid) {
        Ok(Datum::Uuid(bytes)) => Some(bytes),
        _ => None,
    }
}

/// JSON text as jsonb has it: keys in order and once, one space after colons and commas.
#[must_use]
pub fn jsonb(text: &str) -> Option<String> {
    match input::parse(text, PgType::Jsonb) {
        Ok(Datum::Text(text)) => Some(text),
        _ => None,
    }
}

/// A number as the bytes that Arrow's `LargeBinary` has.
#[must_use]
pub fn numeric_bytes(text: &str) -> Option<Vec<u8>> {
    Numeric::parse(text).ok()?.map(|number| number.encode())
}

/// The number that a value of Arrow's `LargeBinary` is.
#[must_use]
pub fn numeric_text(bytes: &[u8]) -> String {
    Numeric::decode(bytes).to_string()
}
