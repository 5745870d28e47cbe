//! Values as text: what the types' output functions print.

use crate::calendar::{Civil, DAY, HOUR, MINUTE, SECOND, civil_of};
use crate::datum::{Datum, Span};
use crate::types::PgType;
use std::fmt::Write;

/// `value`, which is of type `of`, as text; nothing for null.
pub(crate) fn print(value: &Datum, of: PgType) -> String {
    match value {
        Datum::Null => String::new(),
        Datum::Bool(value) => if *value { "t" } else { "f" }.to_owned(),
        Datum::Int(value) => value.to_string(),
        Datum::Float(value) if of == PgType::Float4 => float4(*value as f32),
        Datum::Float(value) => float8(*value),
        Datum::Numeric(value) => value.to_string(),
        Datum::Text(value) => value.clone(),
        Datum::Bytes(value) => hex(value),
        Datum::Date(value) => date(*value),
        Datum::Timestamp(value) => timestamp(*value, of == PgType::Timestamptz),
        Datum::Time(value) => time(*value),
        Datum::Span(value) => interval(*value),
        Datum::Uuid(value) => uuid(value),
        Datum::Array(items) => {
            let item = match of {
                PgType::Array(item) => *item,
                _ => PgType::Text,
            };
            array(items, item)
        }
    }
}

pub(crate) fn float8(value: f64) -> String {
    float(value, &format!("{value:e}"), 15)
}

pub(crate) fn float4(value: f32) -> String {
    float(value.into(), &format!("{value:e}"), 6)
}

/// The shortest digits that read back, laid out as PostgreSQL does (d2s.c): plain from 10^-4 to
/// below 10^`plain_below`, else with an exponent of at least two digits.
fn float(value: f64, scientific: &str, plain_below: i32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    if value == 0.0 {
        return format!("{sign}0");
    }
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    if exponent < -4 || exponent >= plain_below {
        let mark = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{mark}{:02}", exponent.abs());
    }
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize));
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        format!("{sign}{digits}{}", "0".repeat(whole - digits.len()))
    } else {
        format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2 + 2);
    out.push_str("\\x");
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn uuid(bytes: &[u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{byte:02x}");
    }
    out
}

fn infinity(is_positive: bool) -> String {
    if is_positive { "infinity" } else { "-infinity" }.to_owned()
}

pub(crate) fn date(days: i32) -> String {
    if days == i32::MAX || days == i32::MIN {
        return infinity(days > 0);
    }
    let (text, before_christ) = civil(i64::from(days));
    if before_christ { text + " BC" } else { text }
}

/// The day, and whether it is before Christ.
fn civil(days: i64) -> (String, bool) {
    let Civil { year, month, day } = civil_of(days);
    let shown = if year > 0 { year } else { 1 - year };
    (format!("{shown:04}-{month:02}-{day:02}"), year <= 0)
}

pub(crate) fn timestamp(micros: i64, with_zone: bool) -> String {
    if micros == i64::MAX || micros == i64::MIN {
        return infinity(micros > 0);
    }
    let (day, before_christ) = civil(micros.div_euclid(DAY));
    let zone = if with_zone { "+00" } else { "" };
    let era = if before_christ { " BC" } else { "" };
    format!("{day} {}{zone}{era}", time(micros.rem_euclid(DAY)))
}

pub(crate) fn time(micros: i64) -> String {
    let mut out =
        format!("{:02}:{:02}:{:02}", micros / HOUR, micros / MINUTE % 60, micros / SECOND % 60);
    fraction(micros % SECOND, &mut out);
    out
}

/// Microseconds without trailing zeros.
fn fraction(micros: i64, out: &mut String) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
}

/// `1 year 2 mons -3 days +04:05:06.7` (`IntervalStyle` postgres): after something negative,
/// what is positive says so.
pub(crate) fn interval(span: Span) -> String {
    let mut out = String::new();
    let mut after_negative = false;
    let mut part = |count: i64, one: &str| {
        if count == 0 {
            return;
        }
        let space = if out.is_empty() { "" } else { " " };
        let plus = if after_negative && count > 0 { "+" } else { "" };
        let many = if count == 1 { "" } else { "s" };
        let _ = write!(out, "{space}{plus}{count} {one}{many}");
        after_negative = count < 0;
    };
    part(i64::from(span.months / 12), "year");
    part(i64::from(span.months % 12), "mon");
    part(i64::from(span.days), "day");
    if span.micros != 0 || out.is_empty() {
        if !out.is_empty() {
            out.push(' ');
        }
        if span.micros < 0 {
            out.push('-');
        } else if after_negative {
            out.push('+');
        }
        let micros = i64::try_from(span.micros.unsigned_abs()).unwrap_or(i64::MAX);
        out.push_str(&time(micros));
    }
    out
}

/// `{a,"b c",NULL}` (PostgreSQL 15, 8.15.6).
fn array(items: &[Datum], of: PgType) -> String {
    let mut out = String::from("{");
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        if item.is_null() {
            out.push_str("NULL");
            continue;
        }
        let text = print(item, of);
        let special = |c: char| {
            matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_ascii_whitespace() || c == '\u{b}'
        };
        if !text.is_empty() && !text.eq_ignore_ascii_case("null") && !text.contains(special) {
            out.push_str(&text);
            continue;
        }
        out.push('"');
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    }
    out.push('}');
    out
}
