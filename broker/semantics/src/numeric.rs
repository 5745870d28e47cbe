//! Numeric: exact decimal numbers of any length, each with its own digits after the point
//! (PostgreSQL 15, numeric.c).

mod transcendental;

pub(crate) use transcendental::{exponential, logarithm, natural_logarithm, power, square_root};

use crate::error::{Error, sqlstate};
use num_bigint::{BigInt, Sign};
use std::cmp::Ordering;

/// Most digits after the point that a result has.
const SCALE_MAX: i64 = 1_000;
/// Significant digits that division and functions give at least.
const SIGNIFICANT_DIGITS: i64 = 16;
/// Most digits before the point (numeric.c, NUMERIC_WEIGHT_MAX).
const WHOLE_DIGITS_MAX: usize = 131_072;
/// Most digits after the point that are read.
const SCALE_READ_MAX: i64 = 16_383;

/// A number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Numeric {
    /// `unscaled · 10^-scale`, shown with `scale` digits after the point.
    Finite {
        unscaled: BigInt,
        scale: u32,
    },
    NaN,
    Infinity,
    NegativeInfinity,
}

use Numeric::*;

pub(crate) fn overflow() -> Error {
    Error::new(sqlstate::NUMERIC_OUT_OF_RANGE, "value overflows numeric format")
}

pub(crate) fn division_by_zero() -> Error {
    Error::new(sqlstate::DIVISION_BY_ZERO, "division by zero")
}

fn ten_to(power: u64) -> BigInt {
    BigInt::from(10u8).pow(u32::try_from(power).unwrap_or(u32::MAX))
}

impl Numeric {
    pub(crate) fn new(unscaled: impl Into<BigInt>, scale: u32) -> Self {
        Finite { unscaled: unscaled.into(), scale }
    }

    /// Of a decimal of Arrow's, whose scale may be below zero.
    pub(crate) fn of_decimal(unscaled: impl Into<BigInt>, scale: i8) -> Self {
        match u32::try_from(scale) {
            Ok(scale) => Self::new(unscaled, scale),
            Err(_) => Self::new(unscaled.into() * ten_to(u64::from(scale.unsigned_abs())), 0),
        }
    }

    /// Fails where there are more digits before the point than numeric holds.
    fn checked(self) -> Result<Self, Error> {
        if let Finite { unscaled, scale } = &self
            && unscaled.bits() > 400_000
            && unscaled.magnitude().to_string().len() > WHOLE_DIGITS_MAX + *scale as usize
        {
            return Err(overflow());
        }
        Ok(self)
    }

    /// Reads a number as `numeric_in` does; none if it is not one.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, Error> {
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
        let (negative, digits) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        match digits.to_ascii_lowercase().as_str() {
            "nan" if digits.len() == text.len() => return Ok(Some(NaN)),
            "inf" | "infinity" => {
                return Ok(Some(if negative { NegativeInfinity } else { Infinity }));
            }
            _ => {}
        }
        let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
            None => (digits, 0),
            Some((mantissa, exponent)) => {
                let bare = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
                if bare.is_empty() || !bare.bytes().all(|b| b.is_ascii_digit()) {
                    return Ok(None);
                }
                match exponent.parse::<i64>() {
                    Ok(exponent) if exponent.abs() < 1_000_000 => (mantissa, exponent),
                    _ => return Err(overflow()),
                }
            }
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !is_number(whole) || !is_number(fraction) {
            return Ok(None);
        }
        let mut unscaled: BigInt = format!("{whole}{fraction}").parse().unwrap_or_default();
        if negative {
            unscaled = -unscaled;
        }
        let scale = fraction.len() as i64 - exponent;
        if scale > SCALE_READ_MAX {
            return Self::new(unscaled, u32::try_from(scale).unwrap_or(u32::MAX))
                .rescaled(SCALE_READ_MAX as u32)
                .checked()
                .map(Some);
        }
        if scale < 0 {
            if unscaled.sign() != Sign::NoSign
                && (-scale) as usize + whole.len() > WHOLE_DIGITS_MAX + 1
            {
                return Err(overflow());
            }
            return Self::new(unscaled * ten_to(scale.unsigned_abs()), 0).checked().map(Some);
        }
        Self::new(unscaled, scale as u32).checked().map(Some)
    }

    /// With `scale` digits after the point, rounded away from zero at half.
    pub(crate) fn rescaled(&self, scale: u32) -> Self {
        self.brought_to(scale, true)
    }

    /// With `scale` digits after the point, the others cut off.
    pub(crate) fn truncated(&self, scale: u32) -> Self {
        self.brought_to(scale, false)
    }

    fn brought_to(&self, to: u32, rounds: bool) -> Self {
        let Finite { unscaled, scale } = self else {
            return self.clone();
        };
        if to >= *scale {
            return Self::new(unscaled * ten_to(u64::from(to - scale)), to);
        }
        Self::new(divided(unscaled, &ten_to(u64::from(scale - to)), rounds), to)
    }

    /// `round(self, digits)`: digits below zero round before the point.
    pub(crate) fn rounded(&self, digits: i64, rounds: bool) -> Self {
        let digits = digits.clamp(-2_000, 2_000);
        if digits >= 0 {
            return self.brought_to(digits as u32, rounds);
        }
        let Finite { unscaled, scale } = self else {
            return self.clone();
        };
        let unit = ten_to(digits.unsigned_abs() + u64::from(*scale));
        Self::new(divided(unscaled, &unit, rounds) * ten_to(digits.unsigned_abs()), 0)
    }

    pub(crate) fn scale(&self) -> u32 {
        match self {
            Finite { scale, .. } => *scale,
            _ => 0,
        }
    }

    pub(crate) fn is_zero(&self) -> bool {
        matches!(self, Finite { unscaled, .. } if unscaled.sign() == Sign::NoSign)
    }

    /// −1, 0 or 1; 0 for NaN too.
    pub(crate) fn sign(&self) -> i32 {
        match self {
            Finite { unscaled, .. } => match unscaled.sign() {
                Sign::Minus => -1,
                Sign::NoSign => 0,
                Sign::Plus => 1,
            },
            NaN => 0,
            Infinity => 1,
            NegativeInfinity => -1,
        }
    }

    pub(crate) fn negated(&self) -> Self {
        match self {
            Finite { unscaled, scale } => Self::new(-unscaled, *scale),
            NaN => NaN,
            Infinity => NegativeInfinity,
            NegativeInfinity => Infinity,
        }
    }

    fn infinity_of(sign: i32) -> Self {
        match sign {
            1 => Infinity,
            -1 => NegativeInfinity,
            _ => NaN,
        }
    }

    fn aligned(a: &BigInt, a_scale: u32, b: &BigInt, b_scale: u32) -> (BigInt, BigInt, u32) {
        let scale = a_scale.max(b_scale);
        let up = |n: &BigInt, from: u32| n * ten_to(u64::from(scale - from));
        (up(a, a_scale), up(b, b_scale), scale)
    }

    pub(crate) fn add(&self, other: &Self) -> Result<Self, Error> {
        match (self, other) {
            (Finite { unscaled: a, scale: x }, Finite { unscaled: b, scale: y }) => {
                let (a, b, scale) = Self::aligned(a, *x, b, *y);
                Self::new(a + b, scale).checked()
            }
            (NaN, _) | (_, NaN) => Ok(NaN),
            (Infinity, NegativeInfinity) | (NegativeInfinity, Infinity) => Ok(NaN),
            (Finite { .. }, infinite) | (infinite, _) => Ok(infinite.clone()),
        }
    }

    pub(crate) fn subtract(&self, other: &Self) -> Result<Self, Error> {
        self.add(&other.negated())
    }

    pub(crate) fn multiply(&self, other: &Self) -> Result<Self, Error> {
        match (self, other) {
            (Finite { unscaled: a, scale: x }, Finite { unscaled: b, scale: y }) => {
                let product = Self::new(a * b, x + y);
                if i64::from(x + y) > SCALE_READ_MAX {
                    return product.rescaled(SCALE_READ_MAX as u32).checked();
                }
                product.checked()
            }
            (NaN, _) | (_, NaN) => Ok(NaN),
            _ => Ok(Self::infinity_of(self.sign() * other.sign())),
        }
    }

    pub(crate) fn divide(&self, other: &Self) -> Result<Self, Error> {
        match (self, other) {
            (NaN, _) | (_, NaN) => Ok(NaN),
            _ if other.is_zero() => Err(division_by_zero()),
            (Finite { .. }, Finite { .. }) => {
                let scale = Self::division_scale(self, other);
                self.divided_to(other, scale)
            }
            (Finite { .. }, _) => Ok(Self::new(0, 0)),
            (_, Finite { .. }) => Ok(Self::infinity_of(self.sign() * other.sign())),
            _ => Ok(NaN),
        }
    }

    /// The quotient of finite numbers with `scale` digits after the point.
    pub(crate) fn divided_to(&self, other: &Self, scale: u32) -> Result<Self, Error> {
        let (Finite { unscaled: a, scale: x }, Finite { unscaled: b, scale: y }) = (self, other)
        else {
            return Ok(NaN);
        };
        if b.sign() == Sign::NoSign {
            return Err(division_by_zero());
        }
        let shift = i64::from(scale) + i64::from(*y) - i64::from(*x);
        let quotient = if shift >= 0 {
            divided(&(a * ten_to(shift.unsigned_abs())), b, true)
        } else {
            divided(a, &(b * ten_to(shift.unsigned_abs())), true)
        };
        Self::new(quotient, scale).checked()
    }

    /// numeric.c, `select_div_scale`: in digits to the base of ten thousand.
    fn division_scale(a: &Self, b: &Self) -> u32 {
        let (weight_a, first_a) = a.leading_group();
        let (weight_b, first_b) = b.leading_group();
        let mut weight = weight_a - weight_b;
        if first_a <= first_b {
            weight -= 1;
        }
        let scale = SIGNIFICANT_DIGITS - weight * 4;
        scale.max(i64::from(a.scale())).max(i64::from(b.scale())).clamp(0, SCALE_MAX) as u32
    }

    /// Weight and value of the first digit to the base of ten thousand; zeros for zero.
    fn leading_group(&self) -> (i64, u32) {
        let Finite { unscaled, scale } = self else {
            return (0, 0);
        };
        if unscaled.sign() == Sign::NoSign {
            return (0, 0);
        }
        let digits = unscaled.magnitude().to_string();
        // The decimal exponent of the first digit, 0 for units.
        let exponent = digits.len() as i64 - 1 - i64::from(*scale);
        let weight = exponent.div_euclid(4);
        let taken = (exponent.rem_euclid(4) + 1) as usize;
        let mut group: u32 = 0;
        for at in 0..taken {
            let digit = digits.as_bytes().get(at).map_or(0, |digit| u32::from(digit - b'0'));
            group = group * 10 + digit;
        }
        (weight, group)
    }

    /// The decimal exponent of the first digit; none for zero.
    pub(crate) fn exponent(&self) -> Option<i64> {
        match self {
            Finite { unscaled, scale } if unscaled.sign() != Sign::NoSign => {
                Some(unscaled.magnitude().to_string().len() as i64 - 1 - i64::from(*scale))
            }
            _ => None,
        }
    }

    pub(crate) fn modulo(&self, other: &Self) -> Result<Self, Error> {
        match (self, other) {
            (NaN, _) | (_, NaN) => Ok(NaN),
            _ if other.is_zero() => Err(division_by_zero()),
            (Finite { unscaled: a, scale: x }, Finite { unscaled: b, scale: y }) => {
                let (a, b, scale) = Self::aligned(a, *x, b, *y);
                Ok(Self::new(a % b, scale))
            }
            (Finite { .. }, _) => Ok(self.clone()),
            _ => Ok(NaN),
        }
    }

    /// The quotient cut off to an integer.
    pub(crate) fn div_integer(&self, other: &Self) -> Result<Self, Error> {
        match (self, other) {
            (Finite { unscaled: a, scale: x }, Finite { unscaled: b, scale: y })
                if b.sign() != Sign::NoSign =>
            {
                let (a, b, _) = Self::aligned(a, *x, b, *y);
                Ok(Self::new(a / b, 0))
            }
            _ => self.divide(other),
        }
    }

    pub(crate) fn floor(&self) -> Self {
        let cut = self.truncated(0);
        if self.sign() < 0 && cut.compare(self) != Ordering::Equal {
            return cut.subtract(&Self::new(1, 0)).unwrap_or(NaN);
        }
        cut
    }

    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let rank = |number: &Self| match number {
            NegativeInfinity => 0,
            Finite { .. } => 1,
            Infinity => 2,
            NaN => 3,
        };
        match (self, other) {
            (Finite { unscaled: a, scale: x }, Finite { unscaled: b, scale: y }) => {
                let (a, b, _) = Self::aligned(a, *x, b, *y);
                a.cmp(&b)
            }
            _ => rank(self).cmp(&rank(other)),
        }
    }

    /// The nearest integer, if it fits.
    pub(crate) fn to_i64(&self) -> Option<i64> {
        match self.rescaled(0) {
            Finite { unscaled, .. } => i64::try_from(unscaled).ok(),
            _ => None,
        }
    }

    pub(crate) fn to_f64(&self) -> f64 {
        match self {
            Finite { .. } => self.to_string().parse().unwrap_or(f64::NAN),
            NaN => f64::NAN,
            Infinity => f64::INFINITY,
            NegativeInfinity => f64::NEG_INFINITY,
        }
    }

    /// Of a float, with `digits` significant digits (15 for double precision, 6 for real).
    pub(crate) fn from_f64(value: f64, digits: usize) -> Self {
        if value.is_nan() {
            return NaN;
        }
        if value.is_infinite() {
            return Self::infinity_of(if value > 0.0 { 1 } else { -1 });
        }
        // `%.*g` leaves zeros at the end away.
        let text = format!("{value:.*e}", digits - 1);
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let mantissa = match mantissa.contains('.') {
            true => mantissa.trim_end_matches('0').trim_end_matches('.'),
            false => mantissa,
        };
        let number = Self::parse(&format!("{mantissa}e{exponent}"));
        number.ok().flatten().unwrap_or(NaN)
    }

    /// Without zeros at the end of the digits after the point.
    pub(crate) fn trimmed(&self) -> Self {
        self.truncated(self.scale_min())
    }

    /// Digits after the point that are needed.
    pub(crate) fn scale_min(&self) -> u32 {
        let Finite { unscaled, scale } = self else {
            return 0;
        };
        if unscaled.sign() == Sign::NoSign {
            return 0;
        }
        let digits = unscaled.magnitude().to_string();
        let zeros = digits.bytes().rev().take_while(|b| *b == b'0').count() as u32;
        scale.saturating_sub(zeros)
    }

    /// Bytes that compare as the numbers do; of equal numbers, the one with fewer digits after
    /// the point is less. [`Numeric::key`] leaves those digits away.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.key();
        bytes.extend_from_slice(&(self.scale().min(0xffff) as u16).to_be_bytes());
        bytes
    }

    /// The key within what [`Numeric::encode`] wrote.
    pub(crate) fn key_within(encoded: &[u8]) -> &[u8] {
        &encoded[..encoded.len().saturating_sub(2)]
    }

    /// Bytes that compare as the numbers do, the same for equal numbers.
    pub(crate) fn key(&self) -> Vec<u8> {
        let (unscaled, scale) = match self {
            NegativeInfinity => return vec![0],
            Infinity => return vec![4],
            NaN => return vec![5],
            Finite { unscaled, scale } => (unscaled, scale),
        };
        if unscaled.sign() == Sign::NoSign {
            return vec![2];
        }
        let digits = unscaled.magnitude().to_string();
        // The value is 0.digits · 10^exponent.
        let exponent = digits.len() as i32 - *scale as i32;
        let digits = digits.trim_end_matches('0').as_bytes();
        let mut bytes = vec![3];
        bytes.extend_from_slice(&((exponent as u32) ^ 0x8000_0000).to_be_bytes());
        for pair in digits.chunks(2) {
            let second = pair.get(1).map_or(0, |digit| digit - b'0');
            bytes.push((pair[0] - b'0') * 10 + second + 1);
        }
        bytes.push(0);
        if unscaled.sign() == Sign::Minus {
            bytes[0] = 1;
            bytes[1..].iter_mut().for_each(|byte| *byte = !*byte);
        }
        bytes
    }

    /// Reads what [`Numeric::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let Some((scale, key)) = bytes.split_last_chunk::<2>().map(|(key, scale)| (scale, key))
        else {
            return NaN;
        };
        let scale = u32::from(u16::from_be_bytes(*scale));
        match key.first() {
            Some(0) => NegativeInfinity,
            Some(2) => Self::new(0, scale),
            Some(4) => Infinity,
            Some(&class @ (1 | 3)) if key.len() >= 6 => {
                let flip = if class == 1 { 0xff } else { 0 };
                let at = |index: usize| key[index] ^ flip;
                let exponent =
                    (u32::from_be_bytes([at(1), at(2), at(3), at(4)]) ^ 0x8000_0000) as i32;
                let mut digits = String::with_capacity(key.len() * 2);
                for index in 5..key.len() - 1 {
                    let pair = at(index) - 1;
                    digits.push((b'0' + pair / 10) as char);
                    digits.push((b'0' + pair % 10) as char);
                }
                // The integer of 10^-scale: as many digits as stand before that place.
                let wanted = usize::try_from(exponent + scale as i32).unwrap_or(0);
                if digits.len() > wanted {
                    digits.truncate(wanted);
                }
                while digits.len() < wanted {
                    digits.push('0');
                }
                let unscaled: BigInt = digits.parse().unwrap_or_default();
                Self::new(if class == 1 { -unscaled } else { unscaled }, scale)
            }
            _ => NaN,
        }
    }
}

/// The quotient, cut off or rounded away from zero at half.
fn divided(a: &BigInt, b: &BigInt, rounds: bool) -> BigInt {
    let quotient = a / b;
    if !rounds {
        return quotient;
    }
    let rest = a - &quotient * b;
    if (rest.magnitude() << 1u32) < *b.magnitude() {
        return quotient;
    }
    let away = if (a.sign() == Sign::Minus) == (b.sign() == Sign::Minus) { 1 } else { -1 };
    quotient + away
}

impl std::fmt::Display for Numeric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (unscaled, scale) = match self {
            NaN => return f.write_str("NaN"),
            Infinity => return f.write_str("Infinity"),
            NegativeInfinity => return f.write_str("-Infinity"),
            Finite { unscaled, scale } => (unscaled, *scale as usize),
        };
        if unscaled.sign() == Sign::Minus {
            f.write_str("-")?;
        }
        let digits = unscaled.magnitude().to_string();
        if scale == 0 {
            return f.write_str(&digits);
        }
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        write!(f, "{whole}.{fraction}")
    }
}

impl From<i64> for Numeric {
    fn from(value: i64) -> Self {
        Self::new(value, 0)
    }
}
