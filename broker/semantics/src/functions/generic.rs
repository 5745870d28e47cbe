//! Functions that take values of any type.

use super::text::{quote_ident, quote_literal};
use super::{Library, text};
use crate::compare::compare;
use crate::datum::Datum;
use crate::error::{Error, sqlstate};
use crate::output;
use crate::types::PgType::{self, *};
use datafusion::logical_expr::Volatility;

pub(super) fn add(library: &mut Library) {
    library.lenient("pg_typeof", &[Any], Text, |_, t| text(t[0].name()));
    for name in ["greatest", "least"] {
        let overload = library.lenient(name, &[AnyElement], AnyElement, |_, _| Ok(Datum::Null));
        overload.variadic = Some(AnyElement);
        overload.body = if name == "greatest" {
            |a, t| Ok(extreme(a, t, std::cmp::Ordering::Greater))
        } else {
            |a, t| Ok(extreme(a, t, std::cmp::Ordering::Less))
        };
    }
    let concat = library.lenient("concat", &[], Text, |a, t| {
        let shown = a.iter().zip(t).map(|(value, of)| output::print(value, *of));
        text(shown.collect::<String>())
    });
    concat.variadic = Some(Any);
    let concat_ws = library.lenient("concat_ws", &[Text], Text, |a, t| {
        if a[0].is_null() {
            return Ok(Datum::Null);
        }
        let shown = a.iter().zip(t).skip(1).filter(|(value, _)| !value.is_null());
        let shown: Vec<_> = shown.map(|(value, of)| output::print(value, *of)).collect();
        text(shown.join(a[0].text()))
    });
    concat_ws.variadic = Some(Any);
    let format = library.lenient("format", &[Text], Text, formatted);
    format.variadic = Some(Any);
    for name in ["num_nulls", "num_nonnulls"] {
        let overload = library.lenient(name, &[], Int4, |a, _| {
            super::int(a.iter().filter(|value| value.is_null()).count())
        });
        overload.variadic = Some(Any);
        if name == "num_nonnulls" {
            overload.body = |a, _| super::int(a.iter().filter(|value| !value.is_null()).count());
        }
    }
    library
        .strict("gen_random_uuid", &[], Uuid, |_, _| {
            Ok(Datum::Uuid(uuid::Uuid::new_v4().into_bytes()))
        })
        .volatility = Volatility::Volatile;
}

fn extreme(values: &[Datum], types: &[PgType], wanted: std::cmp::Ordering) -> Datum {
    let mut best = Datum::Null;
    for value in values.iter().filter(|value| !value.is_null()) {
        if best.is_null() || compare(value, &best, types[0]) == wanted {
            best = value.clone();
        }
    }
    best
}

/// `%s`, `%I`, `%L` with positions and widths (PostgreSQL 15, 9.4.1).
fn formatted(a: &[Datum], t: &[PgType]) -> Result<Datum, Error> {
    if a[0].is_null() {
        return Ok(Datum::Null);
    }
    let bad = |message: &str| Error::new(sqlstate::INVALID_PARAMETER, message.to_owned());
    let mut out = String::new();
    let mut chars = a[0].text().chars().peekable();
    let mut next = 1;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse::<usize>().ok()
        };
        let mut left = chars.next_if_eq(&'-').is_some();
        let mut width = number(&mut chars);
        if chars.next_if_eq(&'$').is_some() {
            next = width.take().filter(|at| *at > 0).ok_or_else(|| {
                bad("format specifies argument 0, but arguments are numbered from 1")
            })?;
            left = chars.next_if_eq(&'-').is_some();
            width = number(&mut chars);
        }
        let conversion = chars.next().ok_or_else(|| bad("unterminated format() type specifier"))?;
        if !matches!(conversion, 's' | 'I' | 'L') {
            return Err(bad(&format!("unrecognized format() type specifier \"{conversion}\"")));
        }
        let value = a.get(next).ok_or_else(|| bad("too few arguments for format()"))?;
        let plain = output::print(value, t[next]);
        next += 1;
        let shown = match (conversion, value.is_null()) {
            ('s', _) => plain,
            ('I', true) => {
                return Err(Error::new(
                    "22004",
                    "null values cannot be formatted as an SQL identifier",
                ));
            }
            ('I', false) => quote_ident(&plain),
            (_, true) => "NULL".to_owned(),
            (_, false) => quote_literal(&plain),
        };
        let padding = " ".repeat(width.unwrap_or(0).saturating_sub(shown.chars().count()));
        if left {
            out.push_str(&shown);
            out.push_str(&padding);
        } else {
            out.push_str(&padding);
            out.push_str(&shown);
        }
    }
    text(out)
}
