//! The order of values: collation C, NaN above all numbers, months of thirty days.

use crate::calendar::DAY;
use crate::datum::{Datum, Span};
use crate::json;
use crate::types::PgType;
use std::cmp::Ordering;

/// Compares values of one type that are not null.
pub(crate) fn compare(a: &Datum, b: &Datum, of: PgType) -> Ordering {
    match (a, b) {
        (Datum::Bool(a), Datum::Bool(b)) => a.cmp(b),
        (Datum::Int(a), Datum::Int(b)) => a.cmp(b),
        (Datum::Float(a), Datum::Float(b)) => float(*a, *b),
        (Datum::Numeric(a), Datum::Numeric(b)) => a.compare(b),
        (Datum::Text(a), Datum::Text(b)) if of == PgType::Jsonb => {
            match (json::parse(a), json::parse(b)) {
                (Ok(a), Ok(b)) => a.compare(&b),
                _ => a.cmp(b),
            }
        }
        (Datum::Text(a), Datum::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Datum::Bytes(a), Datum::Bytes(b)) => a.cmp(b),
        (Datum::Uuid(a), Datum::Uuid(b)) => a.cmp(b),
        (Datum::Span(a), Datum::Span(b)) => total(*a).cmp(&total(*b)),
        (Datum::Array(a), Datum::Array(b)) => {
            let of = match of {
                PgType::Array(item) => *item,
                other => other,
            };
            let pairs = a.iter().zip(b).map(|(a, b)| nulls_last(a, b, of));
            let mut pairs = pairs.skip_while(|order| order.is_eq());
            pairs.next().unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => a.ticks().cmp(&b.ticks()),
    }
}

/// As items of arrays compare: nulls are equal, and above all else.
pub(crate) fn nulls_last(a: &Datum, b: &Datum, of: PgType) -> Ordering {
    match (a.is_null(), b.is_null()) {
        (false, false) => compare(a, b, of),
        (a, b) => a.cmp(&b),
    }
}

fn float(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Microseconds, with months of thirty days.
pub(crate) fn total(span: Span) -> i128 {
    let days = i128::from(span.months) * 30 + i128::from(span.days);
    days * i128::from(DAY) + i128::from(span.micros)
}
