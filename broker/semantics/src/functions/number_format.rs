//! `to_char` and `to_number` of numbers (PostgreSQL 15, 9.8, table 9.29): digits, signs, groups.

use super::Library;
use crate::datum::Datum;
use crate::error::{Error, sqlstate};
use crate::numeric::Numeric;
use crate::types::PgType::{self, *};

pub(super) fn add(library: &mut Library) {
    for arguments in [
        &[Int4, Text] as &'static [PgType],
        &[Int8, Text],
        &[Numeric, Text],
        &[Float4, Text],
        &[Float8, Text],
    ] {
        library.strict("to_char", arguments, Text, |a, _| {
            Format::parse(a[1].text())?.shown(&a[0]).map(Datum::Text)
        });
    }
    library.strict("to_number", &[Text, Text], Numeric, |a, _| {
        let kept: String =
            a[0].text().chars().filter(|c| c.is_ascii_digit() || matches!(c, '.' | '-')).collect();
        Numeric::parse(&kept)?.map(Datum::Numeric).ok_or_else(|| {
            Error::new(sqlstate::INVALID_TEXT, "invalid input syntax for type numeric: \" \"")
        })
    });
}

/// What a pattern says.
#[derive(Default)]
struct Format {
    /// Digits and groups before the point: `9`, `0`, `,`, and other characters.
    whole: Vec<char>,
    fraction: Vec<char>,
    has_point: bool,
    fill: bool,
    sign: SignStyle,
    /// `MI`, `S` or `PR` stands at the end.
    sign_at_end: bool,
    /// Digits behind `V`: the number is shown times ten to their power.
    shift: Option<usize>,
    notation: Notation,
}

/// How the number is written.
#[derive(Default, PartialEq, Clone, Copy)]
enum Notation {
    #[default]
    Digits,
    /// `EEEE`.
    Scientific,
    /// `RN` or `rn`.
    Roman { is_lower: bool },
}

#[derive(Default, PartialEq, Clone, Copy)]
enum SignStyle {
    #[default]
    Usual,
    Signed,
    Minus,
    Brackets,
}

impl Format {
    fn parse(pattern: &str) -> Result<Self, Error> {
        let mut format = Self { fill: true, ..Self::default() };
        let mut rest = pattern;
        while let Some(c) = rest.chars().next() {
            let upper = rest.to_ascii_uppercase();
            let digits_seen = !format.whole.is_empty();
            let taken = if upper.starts_with("FM") {
                if upper.contains("EEEE") {
                    return Err(incompatible("EEEE"));
                }
                format.fill = false;
                2
            } else if upper.starts_with("MI") {
                format.sign = SignStyle::Minus;
                format.sign_at_end = digits_seen;
                2
            } else if upper.starts_with("PR") {
                format.sign = SignStyle::Brackets;
                2
            } else if upper.starts_with("EEEE") {
                if format.sign != SignStyle::Usual || format.shift.is_some() {
                    return Err(incompatible("EEEE"));
                }
                format.notation = Notation::Scientific;
                4
            } else if upper.starts_with("RN") {
                format.notation = Notation::Roman { is_lower: rest.starts_with('r') };
                2
            } else if upper.starts_with('V') {
                if format.has_point {
                    return Err(incompatible("V"));
                }
                format.shift = Some(0);
                1
            } else {
                let is_digit = matches!(c, '9' | '0');
                if format.notation == Notation::Scientific && is_digit {
                    return Err(Error::syntax("\"EEEE\" must be the last pattern used"));
                }
                if let (Some(shift), true) = (&mut format.shift, is_digit) {
                    *shift += 1;
                }
                match c.to_ascii_uppercase() {
                    'S' => {
                        format.sign = SignStyle::Signed;
                        format.sign_at_end = digits_seen;
                    }
                    '.' | 'D' if format.shift.is_some() => return Err(incompatible("V")),
                    '.' | 'D' => format.has_point = true,
                    'G' => format.push(','),
                    'L' => format.push(' '),
                    _ => format.push(c),
                }
                c.len_utf8()
            };
            rest = &rest[taken..];
        }
        Ok(format)
    }

    fn push(&mut self, c: char) {
        if self.has_point { self.fraction.push(c) } else { self.whole.push(c) }
    }

    fn shown(&self, given: &Datum) -> Result<String, Error> {
        let value = &match given {
            Datum::Float(value) => Numeric::from_f64(*value, 15),
            other => other.numeric(),
        };
        let is_digit = |c: &&char| matches!(**c, '9' | '0');
        let places = self.whole.iter().filter(is_digit).count();
        let decimals = self.fraction.iter().filter(is_digit).count();
        match self.notation {
            Notation::Digits => {}
            Notation::Scientific => return scientific(given, places, decimals),
            Notation::Roman { is_lower } => return Ok(self.roman(value, is_lower)),
        }
        let shifted;
        let value = match self.shift {
            None => value,
            Some(digits) => {
                let power = (0..digits).map(|_| '0').collect::<String>();
                let power = Numeric::parse(&format!("1{power}"))?.unwrap_or(Numeric::from(1));
                shifted = value.multiply(&power)?;
                &shifted
            }
        };
        let rounded = value.rounded(decimals as i64, true);
        let text = rounded.to_string();
        let negative = rounded.sign() < 0;
        let magnitude = text.trim_start_matches('-');
        let (digits, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
        let is_special = !matches!(value, Numeric::Finite { .. });
        let digits = if digits == "0" && decimals > 0 && !is_special { "" } else { digits };
        let overflows = digits.len() > places || is_special;
        let whole = self.whole_shown(if overflows { None } else { Some(digits) }, places);
        let mut out = whole;
        if self.has_point {
            out.push('.');
            out.push_str(&self.fraction_shown(if overflows { None } else { Some(fraction) }));
        }
        Ok(self.signed(out, negative))
    }

    /// What stands beside the numeral is shown behind it; signs and digits are not.
    fn roman(&self, value: &Numeric, is_lower: bool) -> String {
        let rounded = value.rounded(0, true);
        let number = rounded.to_i64().filter(|number| (1..4_000).contains(number));
        let shown = match number {
            None => "#".repeat(ROMAN_WIDTH),
            Some(number) if is_lower => numeral(number).to_lowercase(),
            Some(number) => numeral(number),
        };
        let beside: String = self.whole.iter().filter(|c| !matches!(c, '9' | '0' | ',')).collect();
        match self.fill {
            true => format!("{shown:>ROMAN_WIDTH$}{beside}"),
            false => shown + &beside,
        }
    }

    /// `None`: as many `#` as there are places.
    fn whole_shown(&self, digits: Option<&str>, places: usize) -> String {
        let missing = places - digits.map_or(places, str::len).min(places);
        let first_zero = self
            .whole
            .iter()
            .filter(|c| matches!(c, '9' | '0'))
            .position(|c| *c == '0')
            .unwrap_or(places);
        let mut place = 0;
        let mut begun = false;
        let mut out = String::new();
        for c in &self.whole {
            match c {
                '9' | '0' => {
                    let shown = match digits {
                        None => '#',
                        Some(digits) if place >= missing => {
                            digits.as_bytes().get(place - missing).map_or('0', |b| *b as char)
                        }
                        Some(_) if place >= first_zero => '0',
                        Some(_) => ' ',
                    };
                    begun |= shown != ' ';
                    out.push(shown);
                    place += 1;
                }
                ',' => out.push(if begun { ',' } else { ' ' }),
                other => out.push(*other),
            }
        }
        // A lone nine before the point shows the zero.
        if !begun && !self.has_point && digits.is_some() {
            out.pop();
            out.push('0');
        }
        out
    }

    fn fraction_shown(&self, digits: Option<&str>) -> String {
        let mut digits_left = digits.map(|digits| digits.chars());
        let mut out: String = self
            .fraction
            .iter()
            .map(|c| match c {
                '9' | '0' => match &mut digits_left {
                    None => '#',
                    Some(digits) => digits.next().unwrap_or('0'),
                },
                other => *other,
            })
            .collect();
        if !self.fill && digits.is_some() {
            let last_zero = self.fraction.iter().rposition(|c| *c == '0').map_or(0, |at| at + 1);
            while out.len() > last_zero && out.ends_with('0') {
                out.pop();
            }
        }
        out
    }

    fn signed(&self, number: String, negative: bool) -> String {
        let leading = number.len() - number.trim_start().len();
        let (spaces, body) = number.split_at(leading);
        let sign = match (self.sign, negative) {
            (SignStyle::Signed, false) => "+",
            (SignStyle::Brackets, true) => "<",
            (_, true) => "-",
            (SignStyle::Minus, false) if self.sign_at_end => "",
            (_, false) => " ",
        };
        let tail = match (self.sign, negative) {
            (SignStyle::Brackets, true) => ">",
            (SignStyle::Brackets, false) => " ",
            _ => "",
        };
        let shown = if self.sign_at_end && matches!(self.sign, SignStyle::Signed | SignStyle::Minus)
        {
            let sign = if sign.is_empty() { " " } else { sign };
            format!("{spaces}{body}{sign}")
        } else if self.sign == SignStyle::Minus {
            format!("{sign}{spaces}{body}")
        } else {
            format!("{spaces}{sign}{body}{tail}")
        };
        if self.fill { shown } else { shown.trim().to_owned() }
    }
}

fn incompatible(pattern: &str) -> Error {
    Error::syntax(format!("\"{pattern}\" is incompatible with other formats"))
}

/// Columns that the longest numeral takes (MMMDCCCLXXXVIII).
const ROMAN_WIDTH: usize = 15;

fn numeral(mut number: i64) -> String {
    const PARTS: [(i64, &str); 13] = [
        (1_000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let mut out = String::new();
    for (value, letters) in PARTS {
        while number >= value {
            out.push_str(letters);
            number -= value;
        }
    }
    out
}

/// `1.23e+04`, with a space where a minus would stand.
fn scientific(value: &Datum, places: usize, decimals: usize) -> Result<String, Error> {
    let written = match value {
        Datum::Float(value) if value.is_finite() => format!("{value:.decimals$e}"),
        Datum::Int(value) => format!("{:.decimals$e}", *value as f64),
        Datum::Numeric(value @ Numeric::Finite { .. }) => {
            // As PostgreSQL does it (numeric_out_sci): 9.99 with one digit is 10.0e+00.
            let exponent = value.exponent().unwrap_or(0);
            let unit = Numeric::parse(&format!("1e{exponent}"))?.unwrap_or(Numeric::from(1));
            let mantissa = value.divided_to(&unit, u32::try_from(decimals).unwrap_or(0))?;
            format!("{mantissa}e{exponent}")
        }
        _ => return Ok(format!(" {}.{}", "#".repeat(places), "#".repeat(decimals + 4))),
    };
    let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let (mark, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    let space = if mantissa.starts_with('-') { "" } else { " " };
    Ok(format!("{space}{mantissa}e{mark}{exponent:0>2}"))
}
