//! Roots, powers and logarithms, with as many digits as PostgreSQL gives (numeric.c).

use super::{Numeric, SCALE_MAX, SIGNIFICANT_DIGITS, overflow, ten_to};
use crate::error::Error;
use num_bigint::{BigInt, Sign};

/// Digits that are computed beyond those that are given.
const GUARD: i64 = 12;

/// A fixed-point number of `digits` digits after the point.
fn fixed(value: &Numeric, digits: i64) -> BigInt {
    match value.rescaled(u32::try_from(digits).unwrap_or(0)) {
        Numeric::Finite { unscaled, .. } => unscaled,
        _ => BigInt::default(),
    }
}

fn limited(scale: i64, at_least: [u32; 2]) -> u32 {
    let wanted = at_least.iter().fold(scale, |scale, least| scale.max(i64::from(*least)));
    wanted.clamp(0, SCALE_MAX) as u32
}

fn finish(value: BigInt, digits: i64, scale: u32) -> Result<Numeric, Error> {
    Numeric::new(value, digits as u32).rescaled(scale).checked()
}

pub(crate) fn square_root(value: &Numeric) -> Result<Numeric, Error> {
    if value.sign() < 0 {
        return Err(Error::new("2201F", "cannot take square root of a negative number"));
    }
    let Numeric::Finite { scale, .. } = value else {
        return Ok(value.clone());
    };
    let (weight, _) = value.leading_group();
    let weight = if value.is_zero() { 0 } else { weight };
    let scale = limited(SIGNIFICANT_DIGITS - ((weight + 1) * 4 / 2 - 1), [*scale, 0]);
    let digits = i64::from(scale) + 1;
    let root = (fixed(value, digits) * ten_to(digits.unsigned_abs())).sqrt();
    finish(root, digits, scale)
}

/// The decimal exponent of ln(value) (numeric.c, `estimate_ln_dweight`).
fn logarithm_exponent(value: &Numeric) -> i64 {
    if value.sign() <= 0 {
        return 0;
    }
    let near = value.to_f64();
    if (0.9..=1.1).contains(&near) {
        return match value.subtract(&Numeric::from(1)) {
            Ok(rest) => rest.exponent().unwrap_or(0),
            Err(_) => 0,
        };
    }
    let Numeric::Finite { unscaled, scale } = value else {
        return 0;
    };
    let digits = unscaled.magnitude().to_string();
    let kept = digits.len().min(8);
    let mantissa: f64 = digits[..kept].parse().unwrap_or(1.0);
    let power = (digits.len() - kept) as f64 - f64::from(*scale);
    (mantissa.ln() + power * std::f64::consts::LN_10).abs().log10() as i64
}

fn check_logarithm(value: &Numeric) -> Result<(), Error> {
    match value.sign() {
        0 if *value != Numeric::NaN => Err(Error::new("2201E", "cannot take logarithm of zero")),
        -1 => Err(Error::new("2201E", "cannot take logarithm of a negative number")),
        _ => Ok(()),
    }
}

pub(crate) fn natural_logarithm(value: &Numeric) -> Result<Numeric, Error> {
    check_logarithm(value)?;
    let Numeric::Finite { scale, .. } = value else {
        return Ok(value.clone());
    };
    let scale = limited(SIGNIFICANT_DIGITS - logarithm_exponent(value), [*scale, 0]);
    let digits = i64::from(scale) + GUARD;
    finish(ln_fixed(value, digits), digits, scale)
}

pub(crate) fn logarithm(base: &Numeric, value: &Numeric) -> Result<Numeric, Error> {
    check_logarithm(base)?;
    check_logarithm(value)?;
    let (Numeric::Finite { scale: a, .. }, Numeric::Finite { scale: b, .. }) = (base, value) else {
        let is_nan = *base == Numeric::NaN || *value == Numeric::NaN;
        return Ok(match (base, value) {
            _ if is_nan => Numeric::NaN,
            (Numeric::Infinity, Numeric::Infinity) => Numeric::NaN,
            (Numeric::Infinity, _) => Numeric::from(0),
            _ => Numeric::Infinity,
        });
    };
    let exponent = logarithm_exponent(value) - logarithm_exponent(base);
    let scale = limited(SIGNIFICANT_DIGITS - exponent, [*a, *b]);
    let digits = i64::from(scale) + GUARD + 8;
    let below = Numeric::new(ln_fixed(base, digits), digits as u32);
    Numeric::new(ln_fixed(value, digits), digits as u32).divided_to(&below, scale)
}

pub(crate) fn exponential(value: &Numeric) -> Result<Numeric, Error> {
    let Numeric::Finite { scale, .. } = value else {
        return Ok(match value {
            Numeric::NegativeInfinity => Numeric::from(0),
            other => other.clone(),
        });
    };
    let decimal = value.to_f64() * std::f64::consts::LOG10_E;
    if decimal > 131_072.0 {
        return Err(overflow());
    }
    let decimal = decimal.max(-(SCALE_MAX as f64));
    let scale = limited(SIGNIFICANT_DIGITS - decimal as i64, [*scale, 0]);
    let digits = i64::from(scale) + GUARD + decimal.max(0.0) as i64;
    finish(exp_fixed(&fixed(value, digits), digits), digits, scale)
}

pub(crate) fn power(base: &Numeric, exponent: &Numeric) -> Result<Numeric, Error> {
    let (Numeric::Finite { scale: a, .. }, Numeric::Finite { scale: b, .. }) = (base, exponent)
    else {
        return Ok(power_of_special(base, exponent));
    };
    if base.is_zero() && exponent.sign() < 0 {
        return Err(Error::new("2201F", "zero raised to a negative power is undefined"));
    }
    let integral = exponent.truncated(0);
    let is_integer = integral.compare(exponent).is_eq();
    if base.sign() < 0 && !is_integer {
        return Err(Error::new(
            "2201F",
            "a negative number raised to a non-integer power yields a complex result",
        ));
    }
    if base.is_zero() {
        // 0 ^ 0 is 1.
        let value = Numeric::from(i64::from(exponent.is_zero()));
        return Ok(value.rescaled(SIGNIFICANT_DIGITS as u32));
    }
    if is_integer && let Some(times) = integral.to_i64().filter(|n| i32::try_from(*n).is_ok()) {
        return integer_power(base, times);
    }
    let magnitude = base.to_f64().abs();
    let decimal = exponent.to_f64() * magnitude.log10();
    if decimal > 131_072.0 {
        return Err(overflow());
    }
    let decimal = decimal.max(-(SCALE_MAX as f64));
    let scale = limited(SIGNIFICANT_DIGITS - decimal as i64, [*a, *b]);
    let digits = i64::from(scale) + GUARD + decimal.max(0.0) as i64 + 8;
    let product = fixed(exponent, digits) * ln_fixed(base, digits) / ten_to(digits.unsigned_abs());
    finish(exp_fixed(&product, digits), digits, scale)
}

fn power_of_special(base: &Numeric, exponent: &Numeric) -> Numeric {
    let one = Numeric::from(1);
    let is_one = base.compare(&one).is_eq();
    if exponent.is_zero() || is_one {
        return one;
    }
    if *base == Numeric::NaN || *exponent == Numeric::NaN {
        return Numeric::NaN;
    }
    let result = base.to_f64().powf(exponent.to_f64());
    if result == 0.0 {
        Numeric::from(0)
    } else if result > 0.0 {
        Numeric::Infinity
    } else {
        Numeric::NegativeInfinity
    }
}

/// numeric.c, `power_var_int`.
fn integer_power(base: &Numeric, times: i64) -> Result<Numeric, Error> {
    let Numeric::Finite { unscaled, scale } = base else {
        return Ok(Numeric::NaN);
    };
    let digits = unscaled.magnitude().to_string();
    let kept = digits.len().min(16);
    let mantissa: f64 = digits[..kept].parse().unwrap_or(1.0);
    let decimal =
        times as f64 * (mantissa.log10() + (digits.len() - kept) as f64 - f64::from(*scale));
    if decimal > 131_072.0 {
        return Err(overflow());
    }
    let scale = limited(SIGNIFICANT_DIGITS, [base.scale(), 0]);
    if decimal < -(SCALE_MAX as f64) {
        return Ok(Numeric::new(0, scale));
    }
    let magnitude = u32::try_from(times.unsigned_abs()).unwrap_or(u32::MAX);
    // Small results exactly, others with enough digits.
    if f64::from(magnitude) * digits.len() as f64 <= 20_000.0 {
        let exact = Numeric::new(unscaled.pow(magnitude), base.scale() * magnitude);
        return match times < 0 {
            true => Numeric::from(1).divided_to(&exact, scale),
            false => exact.rescaled(scale).checked(),
        };
    }
    let work = i64::from(scale) + GUARD + decimal.max(0.0) as i64 + 12;
    let product = ln_fixed(&positive(base), work) * times;
    let value = exp_fixed(&product, work);
    let negative = base.sign() < 0 && times % 2 != 0;
    finish(if negative { -value } else { value }, work, scale)
}

fn positive(value: &Numeric) -> Numeric {
    if value.sign() < 0 { value.negated() } else { value.clone() }
}

/// e^x for a fixed-point number.
fn exp_fixed(x: &BigInt, digits: i64) -> BigInt {
    // Halved until it is small, then squared as often.
    let one = ten_to(digits.unsigned_abs());
    let mut halvings = 0u32;
    let mut small = x.clone();
    let limit: BigInt = &one / 256;
    while small.magnitude() > limit.magnitude() {
        small /= 2;
        halvings += 1;
    }
    // Each squaring loses a bit.
    let extra = ten_to(u64::from(halvings / 3 + 4));
    let one = &one * &extra;
    let x = x * &extra / (BigInt::from(1) << halvings);
    let mut term = one.clone();
    let mut sum = one.clone();
    let mut n = 1;
    loop {
        term = term * &x / &one / n;
        if term.sign() == Sign::NoSign {
            break;
        }
        sum += &term;
        n += 1;
    }
    for _ in 0..halvings {
        sum = &sum * &sum / &one;
    }
    sum / extra
}

/// ln of a positive number, as a fixed-point number.
fn ln_fixed(value: &Numeric, digits: i64) -> BigInt {
    let Numeric::Finite { unscaled, scale } = value else {
        return BigInt::default();
    };
    let extra = 10;
    let work = digits + extra;
    let one = ten_to(work.unsigned_abs());
    // value = mantissa · 10^power, with a mantissa between 0.1 and 10.
    let length = unscaled.magnitude().to_string().len() as i64;
    let power = length - 1 - i64::from(*scale);
    let power = if power == -1 { 0 } else { power };
    let shift = work - i64::from(*scale) - power;
    let mantissa = if shift >= 0 {
        unscaled * ten_to(shift.unsigned_abs())
    } else {
        unscaled / ten_to(shift.unsigned_abs())
    };
    let mut total = ln_near_one(mantissa, &one);
    if power != 0 {
        total += ln_near_one(BigInt::from(10) * &one, &one) * power;
    }
    total / ten_to(extra.unsigned_abs())
}

/// By roots until the number is close to one, then 2·artanh((y−1)/(y+1)).
fn ln_near_one(value: BigInt, one: &BigInt) -> BigInt {
    let mut y = value;
    for _ in 0..6 {
        y = (y * one).sqrt();
    }
    let z = (&y - one) * one / (&y + one);
    let square = &z * &z / one;
    let mut term = z.clone();
    let mut sum = z;
    let mut n = 3;
    loop {
        term = term * &square / one;
        if term.sign() == Sign::NoSign {
            break;
        }
        sum += &term / n;
        n += 2;
    }
    sum * 2 * 64
}
