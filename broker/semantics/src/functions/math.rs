//! Rounding, roots, logarithms and angles (PostgreSQL 15, 9.3).

use super::{Library, arithmetic::float_result};
use crate::casts::out_of_range;
use crate::datum::Datum;
use crate::error::{Error, sqlstate};
use crate::numeric::{self, Numeric, division_by_zero};
use crate::types::PgType::{self, *};

fn negative_root() -> Error {
    Error::new("2201F", "cannot take square root of a negative number")
}

fn negative_logarithm(is_zero: bool) -> Error {
    let what = if is_zero { "zero" } else { "a negative number" };
    Error::new("2201E", format!("cannot take logarithm of {what}"))
}

fn out_of_domain() -> Error {
    Error::new(sqlstate::NUMERIC_OUT_OF_RANGE, "input is out of range")
}

fn float(value: f64) -> Result<Datum, Error> {
    Ok(Datum::Float(value))
}

fn number(value: Numeric) -> Result<Datum, Error> {
    Ok(Datum::Numeric(value))
}

pub(super) fn add(library: &mut Library) {
    const F: &[PgType] = &[Float8];
    const FF: &[PgType] = &[Float8, Float8];
    library.strict("round", F, Float8, |a, _| float(a[0].float().round_ties_even()));
    library.strict("trunc", F, Float8, |a, _| float(a[0].float().trunc()));
    for name in ["ceil", "ceiling"] {
        library.strict(name, F, Float8, |a, _| float(a[0].float().ceil()));
    }
    library.strict("floor", F, Float8, |a, _| float(a[0].float().floor()));
    library.strict("sign", F, Float8, |a, _| {
        let x = a[0].float();
        float(if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            0.0
        })
    });
    for name in ["sqrt", "|/"] {
        library.strict(name, F, Float8, |a, _| match a[0].float() {
            x if x < 0.0 => Err(negative_root()),
            x => float(x.sqrt()),
        });
    }
    for name in ["cbrt", "||/"] {
        library.strict(name, F, Float8, |a, _| float(a[0].float().cbrt()));
    }
    library.strict("exp", F, Float8, |a, _| {
        let x = a[0].float();
        float_result(x.exp(), Float8, x.is_infinite() || x.is_nan(), x.is_infinite())
    });
    library.strict("ln", F, Float8, |a, _| logarithm(a[0].float(), f64::ln));
    for name in ["log", "log10"] {
        library.strict(name, F, Float8, |a, _| logarithm(a[0].float(), f64::log10));
    }
    for name in ["power", "pow", "^"] {
        library.strict(name, FF, Float8, |a, _| power(a[0].float(), a[1].float()));
    }
    library.strict("degrees", F, Float8, |a, _| {
        let x = a[0].float();
        float_result(x / (std::f64::consts::PI / 180.0), Float8, x.is_infinite(), x == 0.0)
    });
    library.strict("radians", F, Float8, |a, _| {
        let x = a[0].float();
        float_result(x * (std::f64::consts::PI / 180.0), Float8, x.is_infinite(), x == 0.0)
    });
    library.strict("pi", &[], Float8, |_, _| float(std::f64::consts::PI));
    library.strict("sin", F, Float8, |a, _| angle(a[0].float(), f64::sin));
    library.strict("cos", F, Float8, |a, _| angle(a[0].float(), f64::cos));
    library.strict("tan", F, Float8, |a, _| angle(a[0].float(), f64::tan));
    library.strict("cot", F, Float8, |a, _| angle(a[0].float(), |x| 1.0 / x.tan()));
    library.strict("asin", F, Float8, |a, _| arc(a[0].float(), f64::asin));
    library.strict("acos", F, Float8, |a, _| arc(a[0].float(), f64::acos));
    library.strict("atan", F, Float8, |a, _| float(a[0].float().atan()));
    library.strict("atan2", FF, Float8, |a, _| float(a[0].float().atan2(a[1].float())));
    library.strict("sinh", F, Float8, |a, _| float(a[0].float().sinh()));
    library.strict("cosh", F, Float8, |a, _| float(a[0].float().cosh()));
    library.strict("tanh", F, Float8, |a, _| float(a[0].float().tanh()));
    library.strict("width_bucket", &[Float8, Float8, Float8, Int4], Int4, |a, _| {
        bucket(a[0].float(), a[1].float(), a[2].float(), a[3].int())
    });
    library.strict("width_bucket", &[Numeric, Numeric, Numeric, Int4], Int4, |a, _| {
        let is_nan = |at: usize| a[at].numeric() == Numeric::NaN;
        if is_nan(0) || is_nan(1) || is_nan(2) {
            return Err(bad_bucket("operand, lower bound, and upper bound cannot be NaN"));
        }
        bucket(a[0].float(), a[1].float(), a[2].float(), a[3].int())
    });
    add_numeric(library);
    add_integer(library);
}

fn logarithm(x: f64, of: fn(f64) -> f64) -> Result<Datum, Error> {
    if x <= 0.0 {
        return Err(negative_logarithm(x == 0.0));
    }
    float_result(of(x), Float8, x.is_infinite(), x == 1.0)
}

fn angle(x: f64, of: fn(f64) -> f64) -> Result<Datum, Error> {
    if x.is_infinite() { Err(out_of_domain()) } else { float(of(x)) }
}

fn arc(x: f64, of: fn(f64) -> f64) -> Result<Datum, Error> {
    if x.is_nan() || (-1.0..=1.0).contains(&x) { float(of(x)) } else { Err(out_of_domain()) }
}

/// float.c, `dpow`.
fn power(x: f64, y: f64) -> Result<Datum, Error> {
    if x == 0.0 && y < 0.0 {
        return Err(Error::new("2201F", "zero raised to a negative power is undefined"));
    }
    if x < 0.0 && y.is_finite() && y.floor() != y {
        return Err(Error::new(
            "2201F",
            "a negative number raised to a non-integer power yields a complex result",
        ));
    }
    let infinite = x.is_infinite() || y.is_infinite();
    float_result(x.powf(y), Float8, infinite, x == 0.0 || infinite)
}

fn bad_bucket(message: &str) -> Error {
    Error::new("2201G", message)
}

fn bucket(x: f64, low: f64, high: f64, count: i64) -> Result<Datum, Error> {
    if count <= 0 {
        return Err(bad_bucket("count must be greater than zero"));
    }
    if x.is_nan() || low.is_nan() || high.is_nan() {
        return Err(bad_bucket("operand, lower bound, and upper bound cannot be NaN"));
    }
    if low.is_infinite() || high.is_infinite() {
        return Err(bad_bucket("lower and upper bounds must be finite"));
    }
    if low == high {
        return Err(bad_bucket("lower bound cannot equal upper bound"));
    }
    let (x, low, high) = if low < high { (x, low, high) } else { (-x, -low, -high) };
    let found = if x < low {
        0
    } else if x >= high {
        count
            .checked_add(1)
            .filter(|n| *n <= i64::from(i32::MAX))
            .ok_or_else(|| out_of_range(Int4))?
    } else {
        ((x - low) / (high - low) * count as f64) as i64 + 1
    };
    Ok(Datum::Int(found.min(count + 1)))
}

fn add_numeric(library: &mut Library) {
    const N: &[PgType] = &[Numeric];
    const NN: &[PgType] = &[Numeric, Numeric];
    const NI: &[PgType] = &[Numeric, Int4];
    let of = Numeric;
    library.strict("round", N, of, |a, _| number(a[0].numeric().rescaled(0)));
    library.strict("round", NI, of, |a, _| number(a[0].numeric().rounded(a[1].int(), true)));
    library.strict("trunc", N, of, |a, _| number(a[0].numeric().truncated(0)));
    library.strict("trunc", NI, of, |a, _| number(a[0].numeric().rounded(a[1].int(), false)));
    for name in ["ceil", "ceiling"] {
        library.strict(name, N, of, |a, _| number(a[0].numeric().negated().floor().negated()));
    }
    library.strict("floor", N, of, |a, _| number(a[0].numeric().floor()));
    library.strict("sign", N, of, |a, _| {
        let value = a[0].numeric();
        number(if value == Numeric::NaN { value } else { Numeric::from(i64::from(value.sign())) })
    });
    library.strict("div", NN, of, |a, _| {
        a[0].numeric().div_integer(&a[1].numeric()).map(Datum::Numeric)
    });
    library.strict("scale", N, Int4, |a, _| {
        Ok(match a[0].numeric() {
            value @ Numeric::Finite { .. } => Datum::Int(value.scale().into()),
            _ => Datum::Null,
        })
    });
    library.strict("min_scale", N, Int4, |a, _| {
        Ok(match a[0].numeric() {
            value @ Numeric::Finite { .. } => Datum::Int(value.scale_min().into()),
            _ => Datum::Null,
        })
    });
    library.strict("trim_scale", N, of, |a, _| number(a[0].numeric().trimmed()));
    library.strict("sqrt", N, of, |a, _| numeric::square_root(&a[0].numeric()).map(Datum::Numeric));
    library.strict("exp", N, of, |a, _| numeric::exponential(&a[0].numeric()).map(Datum::Numeric));
    library.strict("ln", N, of, |a, _| {
        numeric::natural_logarithm(&a[0].numeric()).map(Datum::Numeric)
    });
    for name in ["log", "log10"] {
        library.strict(name, N, of, |a, _| {
            numeric::logarithm(&Numeric::from(10), &a[0].numeric()).map(Datum::Numeric)
        });
    }
    library.strict("log", NN, of, |a, _| {
        numeric::logarithm(&a[0].numeric(), &a[1].numeric()).map(Datum::Numeric)
    });
    for name in ["power", "pow", "^"] {
        library.strict(name, NN, of, |a, _| {
            numeric::power(&a[0].numeric(), &a[1].numeric()).map(Datum::Numeric)
        });
    }
}

fn add_integer(library: &mut Library) {
    for pair in [&[Int4, Int4] as &'static [PgType], &[Int8, Int8]] {
        library.strict("gcd", pair, pair[0], |a, t| {
            let found = gcd(a[0].int().into(), a[1].int().into());
            int_in_range(found, t[0])
        });
        library.strict("lcm", pair, pair[0], |a, t| {
            let (x, y) = (i128::from(a[0].int()), i128::from(a[1].int()));
            if x == 0 || y == 0 {
                return Ok(Datum::Int(0));
            }
            int_in_range((x / gcd(x, y) * y).abs(), t[0])
        });
    }
    library.strict("factorial", &[Int8], Numeric, |a, _| {
        let n = a[0].int();
        if n < 0 {
            return Err(out_of_domain_factorial());
        }
        if n > 32_177 {
            return Err(numeric::overflow());
        }
        let mut product = num_bigint::BigInt::from(1);
        for factor in 2..=n {
            product *= factor;
        }
        number(Numeric::new(product, 0))
    });
    let random = library.strict("random", &[], Float8, |_, _| float(rand::random::<f64>()));
    random.volatility = datafusion::logical_expr::Volatility::Volatile;
    library.strict("div", &[Int8, Int8], Int8, |a, _| match a[1].int() {
        0 => Err(division_by_zero()),
        by => Ok(Datum::Int(a[0].int().wrapping_div(by))),
    });
}

fn out_of_domain_factorial() -> Error {
    Error::new(sqlstate::NUMERIC_OUT_OF_RANGE, "factorial of a negative number is undefined")
}

fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn int_in_range(value: i128, of: PgType) -> Result<Datum, Error> {
    let value = i64::try_from(value).map_err(|_| out_of_range(of))?;
    crate::casts::integer(value, of)
}
