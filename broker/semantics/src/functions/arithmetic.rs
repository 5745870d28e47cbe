//! `+ - * / %` and the bits of integers: checked, never wrapping (PostgreSQL 15, 9.3).

use super::{Library, boolean};
use crate::casts::{integer, out_of_range};
use crate::datum::Datum;
use crate::error::{Error, sqlstate};
use crate::numeric::{Numeric, division_by_zero};
use crate::types::PgType::{self, *};
use datafusion::arrow::array::{ArrayRef, Datum as ArrowDatum};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::error::ArrowError;

/// An operator on integers that Arrow computes for whole columns.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Integers {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Integers {
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "+" => Self::Add,
            "-" => Self::Subtract,
            "*" => Self::Multiply,
            "/" => Self::Divide,
            "%" => Self::Modulo,
            _ => return None,
        })
    }
}

/// The results of `operator` for columns of the integer type `of`.
pub(crate) fn integers(
    operator: Integers,
    left: &dyn ArrowDatum,
    right: &dyn ArrowDatum,
    of: PgType,
) -> Result<ArrayRef, Error> {
    let computed = match operator {
        Integers::Add => numeric::add(left, right),
        Integers::Subtract => numeric::sub(left, right),
        Integers::Multiply => numeric::mul(left, right),
        Integers::Divide => numeric::div(left, right),
        Integers::Modulo => numeric::rem(left, right),
    };
    computed.map_err(|error| match error {
        ArrowError::DivideByZero => division_by_zero(),
        ArrowError::ArithmeticOverflow(_) => out_of_range(of),
        other => other.into(),
    })
}

fn int_result(value: Option<i64>, types: &[PgType]) -> Result<Datum, Error> {
    integer(value.ok_or_else(|| out_of_range(types[0]))?, types[0])
}

/// A float that must not have become infinite or nothing (float.h).
pub(super) fn float_result(
    value: f64,
    of: PgType,
    may_be_infinite: bool,
    may_be_zero: bool,
) -> Result<Datum, Error> {
    let value = if of == Float4 { f64::from(value as f32) } else { value };
    let range = |what: &str| {
        Error::new(sqlstate::NUMERIC_OUT_OF_RANGE, format!("value out of range: {what}"))
    };
    if value.is_infinite() && !may_be_infinite {
        return Err(range("overflow"));
    }
    if value == 0.0 && !may_be_zero {
        return Err(range("underflow"));
    }
    Ok(Datum::Float(value))
}

fn wider(types: &[PgType]) -> PgType {
    if types.contains(&Float8) { Float8 } else { Float4 }
}

fn floats(a: &[Datum]) -> (f64, f64) {
    (a[0].float(), a[1].float())
}

fn numeric_result(value: Result<Numeric, Error>) -> Result<Datum, Error> {
    value.map(Datum::Numeric)
}

pub(super) fn add(library: &mut Library) {
    const INTEGERS: [&[PgType]; 3] = [&[Int2, Int2], &[Int4, Int4], &[Int8, Int8]];
    const ONE: [&[PgType]; 3] = [&[Int2], &[Int4], &[Int8]];
    for pair in INTEGERS {
        let of = pair[0];
        library.strict("+", pair, of, |a, t| int_result(a[0].int().checked_add(a[1].int()), t));
        library.strict("-", pair, of, |a, t| int_result(a[0].int().checked_sub(a[1].int()), t));
        library.strict("*", pair, of, |a, t| int_result(a[0].int().checked_mul(a[1].int()), t));
        library.strict("/", pair, of, |a, t| match a[1].int() {
            0 => Err(division_by_zero()),
            by => int_result(a[0].int().checked_div(by), t),
        });
        for name in ["%", "mod"] {
            library.strict(name, pair, of, |a, _| match a[1].int() {
                0 => Err(division_by_zero()),
                // The smallest number by −1 would overflow.
                by => Ok(Datum::Int(a[0].int().wrapping_rem(by))),
            });
        }
        library.strict("&", pair, of, |a, _| Ok(Datum::Int(a[0].int() & a[1].int())));
        library.strict("|", pair, of, |a, _| Ok(Datum::Int(a[0].int() | a[1].int())));
        library.strict("#", pair, of, |a, _| Ok(Datum::Int(a[0].int() ^ a[1].int())));
    }
    for one in ONE {
        let of = one[0];
        library.strict("-", one, of, |a, t| int_result(a[0].int().checked_neg(), t));
        library.strict("~", one, of, |a, _| Ok(Datum::Int(!a[0].int())));
        for name in ["abs", "@"] {
            library.strict(name, one, of, |a, t| int_result(a[0].int().checked_abs(), t));
        }
        library.strict("+", one, of, |a, _| Ok(a[0].clone()));
    }
    // Bits are moved as the processor does it: by the count's lowest five or six bits.
    library.strict("<<", &[Int2, Int4], Int2, |a, _| {
        Ok(Datum::Int(i64::from(((a[0].int() as i32) << (a[1].int() & 31)) as i16)))
    });
    library
        .strict(">>", &[Int2, Int4], Int2, |a, _| Ok(Datum::Int(a[0].int() >> (a[1].int() & 31))));
    library.strict("<<", &[Int4, Int4], Int4, |a, _| {
        Ok(Datum::Int(i64::from((a[0].int() as i32) << (a[1].int() & 31))))
    });
    library
        .strict(">>", &[Int4, Int4], Int4, |a, _| Ok(Datum::Int(a[0].int() >> (a[1].int() & 31))));
    library
        .strict("<<", &[Int8, Int4], Int8, |a, _| Ok(Datum::Int(a[0].int() << (a[1].int() & 63))));
    library
        .strict(">>", &[Int8, Int4], Int8, |a, _| Ok(Datum::Int(a[0].int() >> (a[1].int() & 63))));
    add_floats(library);
    add_numerics(library);
    library.strict("pg_jit_available", &[], Bool, |_, _| boolean(false));
}

fn add_floats(library: &mut Library) {
    const PAIRS: [&[PgType]; 2] = [&[Float4, Float4], &[Float8, Float8]];
    const ONE: [&[PgType]; 2] = [&[Float4], &[Float8]];
    for pair in PAIRS {
        let of = pair[0];
        library.strict("+", pair, of, |a, t| {
            let (x, y) = floats(a);
            float_result(x + y, wider(t), x.is_infinite() || y.is_infinite(), true)
        });
        library.strict("-", pair, of, |a, t| {
            let (x, y) = floats(a);
            float_result(x - y, wider(t), x.is_infinite() || y.is_infinite(), true)
        });
        library.strict("*", pair, of, |a, t| {
            let (x, y) = floats(a);
            let infinite = x.is_infinite() || y.is_infinite();
            float_result(x * y, wider(t), infinite, x == 0.0 || y == 0.0)
        });
        library.strict("/", pair, of, |a, t| {
            let (x, y) = floats(a);
            if y == 0.0 && !x.is_nan() {
                return Err(division_by_zero());
            }
            float_result(x / y, wider(t), x.is_infinite(), x == 0.0 || y.is_infinite())
        });
    }
    // real and double precision are double precision.
    const MIXED: [&[PgType]; 2] = [&[Float4, Float8], &[Float8, Float4]];
    for pair in MIXED {
        for name in ["+", "-", "*", "/"] {
            let twice = library.0[name].iter().find(|it| it.arguments == [Float8, Float8]);
            let Some(body) = twice.map(|it| it.body) else { continue };
            library.strict(name, pair, Float8, body);
        }
    }
    for one in ONE {
        let of = one[0];
        library.strict("-", one, of, |a, _| Ok(Datum::Float(-a[0].float())));
        library.strict("+", one, of, |a, _| Ok(a[0].clone()));
        for name in ["abs", "@"] {
            library.strict(name, one, of, |a, _| Ok(Datum::Float(a[0].float().abs())));
        }
    }
}

fn add_numerics(library: &mut Library) {
    const PAIR: &[PgType] = &[Numeric, Numeric];
    let of = Numeric;
    library.strict("+", PAIR, of, |a, _| numeric_result(a[0].numeric().add(&a[1].numeric())));
    library.strict("-", PAIR, of, |a, _| numeric_result(a[0].numeric().subtract(&a[1].numeric())));
    library.strict("*", PAIR, of, |a, _| numeric_result(a[0].numeric().multiply(&a[1].numeric())));
    library.strict("/", PAIR, of, |a, _| numeric_result(a[0].numeric().divide(&a[1].numeric())));
    for name in ["%", "mod"] {
        library
            .strict(name, PAIR, of, |a, _| numeric_result(a[0].numeric().modulo(&a[1].numeric())));
    }
    library.strict("-", &[Numeric], of, |a, _| Ok(Datum::Numeric(a[0].numeric().negated())));
    library.strict("+", &[Numeric], of, |a, _| Ok(a[0].clone()));
    for name in ["abs", "@"] {
        library.strict(name, &[Numeric], of, |a, _| {
            let value = a[0].numeric();
            Ok(Datum::Numeric(if value.sign() < 0 { value.negated() } else { value }))
        });
    }
}
