//! Values out of text: what the types' input functions take (PostgreSQL 15, chapter 8).

use crate::calendar::{DAY, HOUR, MINUTE, SECOND, Zone, checked_days, checked_timestamp};
use crate::datum::{Datum, Span};
use crate::error::{Error, sqlstate};
use crate::json;
use crate::numeric::Numeric;
use crate::types::PgType;
use std::time::{SystemTime, UNIX_EPOCH};

/// The value of type `of` that `text` is.
pub(crate) fn parse(text: &str, of: PgType) -> Result<Datum, Error> {
    let invalid = || invalid(text, of);
    match of {
        PgType::Bool => boolean(text).map(Datum::Bool).ok_or_else(invalid),
        PgType::Int2 => integer(text, of, i64::from(i16::MIN), i64::from(i16::MAX)),
        PgType::Int4 => integer(text, of, i64::from(i32::MIN), i64::from(i32::MAX)),
        PgType::Int8 => integer(text, of, i64::MIN, i64::MAX),
        PgType::Float4 => float(text, of),
        PgType::Float8 => float(text, of),
        PgType::Numeric => Numeric::parse(text)?.map(Datum::Numeric).ok_or_else(invalid),
        PgType::Bytea => bytes(text),
        PgType::Date => date(text),
        PgType::Timestamp | PgType::Timestamptz => timestamp(text, of),
        PgType::Time => time(text),
        PgType::Interval => interval(text),
        PgType::Uuid => uuid(text).map(Datum::Uuid).ok_or_else(invalid),
        PgType::Json => json::checked(text).map(Datum::Text),
        PgType::Jsonb => json::parse(text).map(|value| Datum::Text(value.to_string())),
        PgType::Array(item) => array(text, *item),
        _ => Ok(Datum::Text(text.to_owned())),
    }
}

fn invalid(text: &str, of: PgType) -> Error {
    let code = match of {
        PgType::Date
        | PgType::Timestamp
        | PgType::Timestamptz
        | PgType::Time
        | PgType::Interval => "22007",
        _ => sqlstate::INVALID_TEXT,
    };
    Error::new(code, format!("invalid input syntax for type {}: \"{text}\"", of.name()))
}

fn out_of_range(text: &str, of: PgType) -> Error {
    Error::new(
        sqlstate::NUMERIC_OUT_OF_RANGE,
        format!("value \"{text}\" is out of range for type {}", of.name()),
    )
}

fn field_out_of_range(text: &str) -> Error {
    Error::new("22008", format!("date/time field value out of range: \"{text}\""))
}

fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

/// `t`, `tr`, … `true`, `yes`, `on`, `1` and their opposites.
fn boolean(text: &str) -> Option<bool> {
    let text = text.trim_matches(is_space).to_ascii_lowercase();
    if text.is_empty() {
        return None;
    }
    match text.as_str() {
        "on" | "1" => Some(true),
        "of" | "off" | "0" => Some(false),
        _ if "true".starts_with(&text) || "yes".starts_with(&text) => Some(true),
        _ if "false".starts_with(&text) || "no".starts_with(&text) => Some(false),
        _ => None,
    }
}

fn integer(text: &str, of: PgType, min: i64, max: i64) -> Result<Datum, Error> {
    let trimmed = text.trim_matches(is_space);
    let digits = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid(text, of));
    }
    match trimmed.parse::<i64>() {
        Ok(value) if (min..=max).contains(&value) => Ok(Datum::Int(value)),
        _ => Err(out_of_range(text, of)),
    }
}

fn float(text: &str, of: PgType) -> Result<Datum, Error> {
    let trimmed = text.trim_matches(is_space);
    let lower = trimmed.to_ascii_lowercase();
    let special = match lower.as_str() {
        "nan" => Some(f64::NAN),
        "infinity" | "inf" | "+infinity" | "+inf" => Some(f64::INFINITY),
        "-infinity" | "-inf" => Some(f64::NEG_INFINITY),
        _ => None,
    };
    if let Some(value) = special {
        return Ok(Datum::Float(value));
    }
    if !lower.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'-' | b'+')) {
        return Err(invalid(text, of));
    }
    let value: f64 = trimmed.parse().map_err(|_| invalid(text, of))?;
    let nonzero =
        lower.split('e').next().is_some_and(|m| m.bytes().any(|b| (b'1'..=b'9').contains(&b)));
    let kept =
        if of == PgType::Float4 { f64::from(trimmed.parse::<f32>().unwrap_or(0.0)) } else { value };
    if kept.is_infinite() || (kept == 0.0 && nonzero) {
        return Err(Error::new(
            sqlstate::NUMERIC_OUT_OF_RANGE,
            format!("\"{text}\" is out of range for type {}", of.name()),
        ));
    }
    Ok(Datum::Float(kept))
}

fn nibble(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|value| value as u8)
}

/// `\x…` in hexadecimal, or text with backslashes before octal digits.
fn bytes(text: &str) -> Result<Datum, Error> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = digits.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let bad = digits.iter().find(|digit| nibble(**digit).is_none());
        if let Some(bad) = bad {
            return Err(Error::new(
                sqlstate::INVALID_PARAMETER,
                format!("invalid hexadecimal digit: \"{}\"", *bad as char),
            ));
        }
        if !digits.len().is_multiple_of(2) {
            return Err(Error::new(
                sqlstate::INVALID_PARAMETER,
                "invalid hexadecimal data: odd number of digits",
            ));
        }
        let value = |pair: &[u8]| nibble(pair[0]).unwrap_or(0) << 4 | nibble(pair[1]).unwrap_or(0);
        return Ok(Datum::Bytes(digits.chunks_exact(2).map(value).collect()));
    }
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        let octal = bytes.get(at + 1..at + 4).filter(|digits| {
            (b'0'..=b'3').contains(&digits[0])
                && digits[1..].iter().all(|digit| (b'0'..=b'7').contains(digit))
        });
        if let Some(digits) = octal {
            out.push(digits.iter().fold(0u8, |value, digit| (value << 3) | (digit - b'0')));
            at += 4;
        } else if bytes.get(at + 1) == Some(&b'\\') {
            out.push(b'\\');
            at += 2;
        } else {
            return Err(invalid(text, PgType::Bytea));
        }
    }
    Ok(Datum::Bytes(out))
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.strip_prefix('{').map_or(Some(text), |rest| rest.strip_suffix('}'))?;
    let mut out = [0u8; 16];
    let mut digits = 0;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        // A hyphen may stand after each group of four digits.
        if bytes[at] == b'-' {
            if digits % 4 != 0
                || digits == 0
                || digits == 32
                || bytes.get(at.wrapping_sub(1)) == Some(&b'-')
            {
                return None;
            }
            at += 1;
            continue;
        }
        if digits == 32 {
            return None;
        }
        let value = nibble(bytes[at])?;
        out[digits / 2] |= if digits % 2 == 0 { value << 4 } else { value };
        digits += 1;
        at += 1;
    }
    (digits == 32).then_some(out)
}

/// What the words of a date and time say.
#[derive(Default)]
struct Moment {
    date: Option<i32>,
    /// Microseconds since midnight.
    time: Option<i64>,
    zone: Option<Zone>,
    special: Option<Special>,
}

#[derive(Clone, Copy)]
enum Special {
    Infinity,
    NegativeInfinity,
    /// Microseconds since 1970.
    At(i64),
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn date(text: &str) -> Result<Datum, Error> {
    let moment = moment(text, PgType::Date)?;
    match (moment.special, moment.date) {
        (Some(Special::Infinity), _) => Ok(Datum::Date(i32::MAX)),
        (Some(Special::NegativeInfinity), _) => Ok(Datum::Date(i32::MIN)),
        (Some(Special::At(micros)), _) => {
            Ok(Datum::Date(i32::try_from(micros.div_euclid(DAY)).unwrap_or(0)))
        }
        (None, Some(date)) => Ok(Datum::Date(date)),
        (None, None) => Err(invalid(text, PgType::Date)),
    }
}

fn timestamp(text: &str, of: PgType) -> Result<Datum, Error> {
    let moment = moment(text, of)?;
    let micros = match (moment.special, moment.date) {
        (Some(Special::Infinity), _) => return Ok(Datum::Timestamp(i64::MAX)),
        (Some(Special::NegativeInfinity), _) => return Ok(Datum::Timestamp(i64::MIN)),
        (Some(Special::At(micros)), _) => return Ok(Datum::Timestamp(micros)),
        (None, Some(date)) => {
            i128::from(date) * i128::from(DAY) + i128::from(moment.time.unwrap_or(0))
        }
        (None, None) => return Err(invalid(text, of)),
    };
    let range = || Error::new("22008", format!("timestamp out of range: \"{text}\""));
    let local = checked_timestamp(micros).ok_or_else(range)?;
    match moment.zone {
        // The session's zone is UTC.
        Some(zone) if of == PgType::Timestamptz => {
            let offset = zone.offset_of_local(local);
            let utc = i128::from(local) - i128::from(offset) * i128::from(SECOND);
            checked_timestamp(utc).map(Datum::Timestamp).ok_or_else(range)
        }
        _ => Ok(Datum::Timestamp(local)),
    }
}

fn time(text: &str) -> Result<Datum, Error> {
    let moment = moment(text, PgType::Time)?;
    match (moment.time, moment.special) {
        (Some(time), _) => Ok(Datum::Time(time)),
        (None, Some(Special::At(micros))) => Ok(Datum::Time(micros.rem_euclid(DAY))),
        _ => Err(invalid(text, PgType::Time)),
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

fn month_of(word: &str) -> Option<i64> {
    let full = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let at = MONTHS.iter().position(|month| *month == word);
    at.or_else(|| full.iter().position(|month| *month == word))
        .or_else(|| (word == "sept").then_some(8))
        .map(|at| at as i64 + 1)
}

fn moment(text: &str, of: PgType) -> Result<Moment, Error> {
    let bad = || invalid(text, of);
    let lower = text.trim_matches(is_space).to_ascii_lowercase();
    let mut found = Moment::default();
    // Numbers and names of a date that is not in one word.
    let mut loose: Vec<i64> = Vec::new();
    let mut month = None;
    let mut before_christ = false;
    let mut day_word: Option<(i64, i64, i64)> = None;
    for word in words(&lower).iter() {
        let first = word.as_bytes()[0];
        match word.as_str() {
            "infinity" | "+infinity" => found.special = Some(Special::Infinity),
            "-infinity" => found.special = Some(Special::NegativeInfinity),
            "epoch" => found.special = Some(Special::At(0)),
            "now" => found.special = Some(Special::At(now())),
            "today" => found.special = Some(Special::At(now().div_euclid(DAY) * DAY)),
            "tomorrow" => found.special = Some(Special::At((now().div_euclid(DAY) + 1) * DAY)),
            "yesterday" => found.special = Some(Special::At((now().div_euclid(DAY) - 1) * DAY)),
            "bc" => before_christ = true,
            "ad" | "t" => {}
            "am" | "pm" => {
                let time = found.time.ok_or_else(bad)?;
                let hour = time / HOUR;
                if hour > 12 {
                    return Err(field_out_of_range(text));
                }
                let from = time % HOUR;
                found.time = Some(from + (hour % 12 + if word == "pm" { 12 } else { 0 }) * HOUR);
            }
            _ if word.contains(':') && first.is_ascii_digit() => {
                found.time = Some(clock(word, text).map_err(|code| match code {
                    Fault::Syntax => bad(),
                    Fault::Range(error) => error,
                })?);
            }
            _ if (first == b'+' || first == b'-') && found.time.is_some() => {
                found.zone = Some(Zone::Fixed(offset(word).ok_or_else(bad)?));
            }
            _ if first.is_ascii_digit() && word[1..].contains(['-', '/', '.']) => {
                if day_word.is_some() {
                    return Err(bad());
                }
                day_word = Some(day(word).ok_or_else(bad)?);
            }
            _ if first.is_ascii_digit() => {
                if !word.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(bad());
                }
                match word.len() {
                    8 if loose.is_empty() && day_word.is_none() => {
                        let part = |range: std::ops::Range<usize>| word[range].parse().unwrap_or(0);
                        day_word = Some((part(0..4), part(4..6), part(6..8)));
                    }
                    6 if day_word.is_some() => {
                        let part = |range: std::ops::Range<usize>| word[range].parse().unwrap_or(0);
                        found.time =
                            Some(part(0..2) * HOUR + part(2..4) * MINUTE + part(4..6) * SECOND);
                    }
                    _ => loose.push(word.parse().map_err(|_| bad())?),
                }
            }
            _ => {
                if let Some(number) = month_of(word) {
                    month = Some(number);
                } else if ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
                    .iter()
                    .any(|day| word.starts_with(day) && word.ends_with("day") || word == day)
                {
                    // A weekday says nothing.
                } else if let (Some(zone), true) =
                    (Zone::parse(word), found.time.is_some() || day_word.is_some())
                {
                    found.zone = Some(zone);
                } else if found.time.is_some() || day_word.is_some() {
                    if word.bytes().all(|b| b.is_ascii_alphabetic()) && word.len() < 4 {
                        return Err(bad());
                    }
                    if word.contains('/') {
                        return Err(Error::new(
                            sqlstate::INVALID_PARAMETER,
                            format!("time zone \"{word}\" not recognized"),
                        ));
                    }
                    return Err(bad());
                } else {
                    return Err(bad());
                }
            }
        }
    }
    let parts = match (day_word, month, loose.as_slice()) {
        (Some(day), None, []) => Some(day),
        (None, Some(month), [a, b]) if *a > 31 => Some((*a, month, *b)),
        (None, Some(month), [a, b]) => Some((*b, month, *a)),
        (None, None, []) => None,
        _ => return Err(bad()),
    };
    if let Some((year, month, day)) = parts {
        let year = if before_christ { 1 - year } else { year };
        if !before_christ && year == 0 {
            return Err(field_out_of_range(text));
        }
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(field_out_of_range(text));
        }
        found.date = Some(checked_days(year, month, day).ok_or_else(|| {
            let name = if of == PgType::Date { "date" } else { "timestamp" };
            match (1..=crate::calendar::days_in_month(year, month)).contains(&day) {
                true => Error::new("22008", format!("{name} out of range: \"{text}\"")),
                false => field_out_of_range(text),
            }
        })?);
    }
    if found.date.is_none() && found.time.is_none() && found.special.is_none() {
        return Err(bad());
    }
    Ok(found)
}

/// Words: what spaces separate, and `T`, zones and `am` that stand close to a time.
fn words(lower: &str) -> Vec<String> {
    let mut out = Vec::new();
    for piece in lower.split(|c: char| is_space(c) || c == ',') {
        let mut rest = piece;
        // 2020-01-02t03:04:05z
        if let Some((day, time)) = rest.split_once('t')
            && day.contains('-')
            && day.bytes().all(|b| b.is_ascii_digit() || b == b'-')
            && time.starts_with(|c: char| c.is_ascii_digit())
        {
            out.push(day.to_owned());
            rest = time;
        }
        if rest.contains(':') && rest.starts_with(|c: char| c.is_ascii_digit()) {
            let end = rest
                .find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.'))
                .unwrap_or(rest.len());
            out.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        if !rest.is_empty() {
            out.push(rest.to_owned());
        }
    }
    out
}

enum Fault {
    Syntax,
    Range(Error),
}

/// `hh:mm[:ss[.ffffff]]`; 24:00:00 is the end of a day.
fn clock(word: &str, text: &str) -> Result<i64, Fault> {
    let mut parts = word.split(':');
    let mut number = || -> Result<Option<&str>, Fault> { Ok(parts.next()) };
    let digits = |part: Option<&str>| -> Result<i64, Fault> {
        part.filter(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|part| part.parse().ok())
            .ok_or(Fault::Syntax)
    };
    let hour = digits(number()?)?;
    let minute = digits(number()?)?;
    let seconds = match number()? {
        None => 0,
        Some(part) => seconds_of(part).ok_or(Fault::Syntax)?,
    };
    if parts.next().is_some() {
        return Err(Fault::Syntax);
    }
    let total = hour * HOUR + minute * MINUTE + seconds;
    if minute > 59 || seconds > 60 * SECOND || hour > 24 || total > DAY {
        return Err(Fault::Range(field_out_of_range(text)));
    }
    Ok(total)
}

/// Seconds with a fraction, in microseconds.
fn seconds_of(part: &str) -> Option<i64> {
    let (whole, fraction) = part.split_once('.').unwrap_or((part, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let micros = if fraction.is_empty() {
        0
    } else {
        (format!("0.{fraction}").parse::<f64>().ok()? * 1e6).round_ties_even() as i64
    };
    whole.checked_mul(SECOND)?.checked_add(micros)
}

/// Seconds east of UTC of `+02`, `-0330`, `+02:00`.
fn offset(word: &str) -> Option<i64> {
    let sign = if word.starts_with('-') { -1 } else { 1 };
    let digits = &word[1..];
    let (hours, minutes, seconds): (i64, i64, i64) =
        match digits.split(':').collect::<Vec<_>>().as_slice() {
            [one] if one.len() <= 2 => (one.parse().ok()?, 0, 0),
            [one] if one.len() <= 4 => {
                let (hours, minutes) = one.split_at(one.len() - 2);
                (hours.parse().ok()?, minutes.parse().ok()?, 0)
            }
            [hours, minutes] => (hours.parse().ok()?, minutes.parse().ok()?, 0),
            [hours, minutes, seconds] => {
                (hours.parse().ok()?, minutes.parse().ok()?, seconds.parse().ok()?)
            }
            _ => return None,
        };
    (hours <= 15 && minutes < 60 && seconds < 60)
        .then_some(sign * (hours * 3_600 + minutes * 60 + seconds))
}

/// `2020-01-02`, `1/2/2020`.
fn day(word: &str) -> Option<(i64, i64, i64)> {
    let separator = ['-', '/', '.'].into_iter().find(|c| word.contains(*c))?;
    let parts: Vec<_> = word.split(separator).collect();
    let number =
        |text: &str| text.parse::<i64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    match parts.as_slice() {
        [year, month, day] if year.len() > 2 => {
            Some((number(year)?, number(month).or_else(|| month_of(month))?, number(day)?))
        }
        [day, month, year] if month_of(month).is_some() => {
            Some((short_year(year, number(year)?), month_of(month)?, number(day)?))
        }
        // DateStyle MDY.
        [month, day, year] => Some((short_year(year, number(year)?), number(month)?, number(day)?)),
        _ => None,
    }
}

fn short_year(text: &str, year: i64) -> i64 {
    match (text.len(), year) {
        (1 | 2, 0..70) => year + 2_000,
        (1 | 2, _) => year + 1_900,
        _ => year,
    }
}

/// `1 year 2 mons 3 days 04:05:06.7`, `P1Y2M3DT4H5M6S`, `1.5 hours`.
fn interval(text: &str) -> Result<Datum, Error> {
    let bad = || invalid(text, PgType::Interval);
    let range = || Error::new("22015", format!("interval field value out of range: \"{text}\""));
    let lower = text.trim_matches(is_space).to_ascii_lowercase();
    let mut total = Total::default();
    if let Some(iso) = lower.strip_prefix('p').filter(|rest| !rest.is_empty()) {
        iso_interval(iso, &mut total).ok_or_else(bad)?;
        return total.finish().map(Datum::Span).ok_or_else(range);
    }
    let mut negate_all = false;
    let mut pending: Option<&str> = None;
    let mut any = false;
    let pieces: Vec<String> = lower
        .split(|c: char| is_space(c))
        .filter(|piece| !piece.is_empty())
        .flat_map(split_unit)
        .collect();
    for piece in &pieces {
        let sign_free = piece.trim_start_matches(['-', '+']);
        if piece == "@" {
            continue;
        }
        if piece == "ago" {
            negate_all = true;
            continue;
        }
        if sign_free.contains(':') {
            if let Some(days) = pending.take() {
                total.add(days, "day").ok_or_else(bad)?;
            }
            let sign = if piece.starts_with('-') { -1 } else { 1 };
            let mut parts = sign_free.split(':');
            let digits = |part: Option<&str>| part.and_then(|part| part.parse::<i64>().ok());
            let hours = digits(parts.next()).ok_or_else(bad)?;
            let minutes = digits(parts.next()).ok_or_else(bad)?;
            let seconds = match parts.next() {
                Some(part) => seconds_of(part).ok_or_else(bad)?,
                None => 0,
            };
            if minutes > 59 || seconds > 60 * SECOND {
                return Err(range());
            }
            let micros = i128::from(hours) * i128::from(HOUR)
                + i128::from(minutes * MINUTE)
                + i128::from(seconds);
            total.micros += i128::from(sign) * micros;
            any = true;
        } else if sign_free.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            if pending.is_some() {
                return Err(bad());
            }
            pending = Some(piece);
        } else if let Some(number) = pending.take() {
            total.add(number, piece).ok_or_else(bad)?;
            any = true;
        } else {
            return Err(bad());
        }
    }
    if let Some(number) = pending {
        // A number alone is seconds.
        total.add(number, "second").ok_or_else(bad)?;
        any = true;
    }
    if !any {
        return Err(bad());
    }
    if negate_all {
        total = Total { months: -total.months, days: -total.days, micros: -total.micros };
    }
    total.finish().map(Datum::Span).ok_or_else(range)
}

/// `3days` as `3` and `days`.
fn split_unit(piece: &str) -> Vec<String> {
    let at = piece.find(|c: char| c.is_ascii_alphabetic());
    match at {
        Some(at) if at > 0 => vec![piece[..at].to_owned(), piece[at..].to_owned()],
        _ => vec![piece.to_owned()],
    }
}

#[derive(Default)]
struct Total {
    months: i128,
    days: i128,
    micros: i128,
}

impl Total {
    fn add(&mut self, number: &str, unit: &str) -> Option<()> {
        let (sign, digits) = match number.strip_prefix('-') {
            Some(rest) => (-1.0, rest),
            None => (1.0, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction: f64 = match fraction {
            "" => 0.0,
            digits => format!("0.{digits}").parse().ok()?,
        };
        let whole = i128::from(whole) * sign as i128;
        let fraction = fraction * sign;
        let micros = |unit: i64| {
            whole * i128::from(unit) + (fraction * unit as f64).round_ties_even() as i128
        };
        let days = |each: f64| {
            let days = fraction * each;
            (days.trunc() as i128, ((days - days.trunc()) * DAY as f64).round_ties_even() as i128)
        };
        let months =
            |each: i128| (whole * each, (fraction * each as f64).round_ties_even() as i128);
        match unit.strip_suffix('s').filter(|unit| unit.len() > 1).unwrap_or(unit) {
            "microsecond" | "usec" | "u" | "microsec" => self.micros += micros(1),
            "millisecond" | "msec" | "m_" | "millisec" => self.micros += micros(1_000),
            "second" | "sec" | "s" => self.micros += micros(SECOND),
            "minute" | "min" | "m" => self.micros += micros(MINUTE),
            "hour" | "hr" | "h" => self.micros += micros(HOUR),
            "day" | "d" => {
                self.days += whole;
                self.micros += (fraction * DAY as f64).round_ties_even() as i128;
            }
            "week" | "w" => {
                let (more, micros) = days(7.0);
                self.days += whole * 7 + more;
                self.micros += micros;
            }
            "month" | "mon" => {
                let (more, micros) = days(30.0);
                self.months += whole;
                self.days += more;
                self.micros += micros;
            }
            "year" | "yr" | "y" => {
                let (whole, more) = months(12);
                self.months += whole + more;
            }
            "decade" | "dec" => {
                let (whole, more) = months(120);
                self.months += whole + more;
            }
            "century" | "cent" | "c" | "centurie" => {
                let (whole, more) = months(1_200);
                self.months += whole + more;
            }
            "millennium" | "mil" | "millennia" => {
                let (whole, more) = months(12_000);
                self.months += whole + more;
            }
            _ => return None,
        }
        Some(())
    }

    fn finish(self) -> Option<Span> {
        Some(Span {
            months: i32::try_from(self.months).ok()?,
            days: i32::try_from(self.days).ok()?,
            micros: i64::try_from(self.micros).ok()?,
        })
    }
}

/// What follows `P` (ISO 8601, 4.4.3.2).
fn iso_interval(iso: &str, total: &mut Total) -> Option<()> {
    let mut in_time = false;
    let mut rest = iso;
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('t') {
            in_time = true;
            rest = time;
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let number = &rest[..end];
        let unit = match (&rest[end..=end], in_time) {
            ("y", false) => "year",
            ("m", false) => "month",
            ("w", false) => "week",
            ("d", false) => "day",
            ("h", true) => "hour",
            ("m", true) => "minute",
            ("s", true) => "second",
            _ => return None,
        };
        total.add(number, unit)?;
        rest = &rest[end + 1..];
    }
    Some(())
}

/// `{1,NULL,"a b"}` (PostgreSQL 15, 8.15.6); of one dimension.
fn array(text: &str, item: PgType) -> Result<Datum, Error> {
    let malformed =
        || Error::new(sqlstate::INVALID_TEXT, format!("malformed array literal: \"{text}\""));
    let inner = text.trim_matches(is_space);
    let inner =
        inner.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(malformed)?;
    let mut items = Vec::new();
    let mut chars = inner.chars().peekable();
    if inner.trim_matches(is_space).is_empty() {
        return Ok(Datum::Array(items));
    }
    loop {
        while chars.next_if(|c| is_space(*c)).is_some() {}
        let mut value = String::new();
        let mut quoted = false;
        let mut end_of_text = 0;
        loop {
            match chars.next() {
                None | Some(',') => break,
                Some('"') if !quoted && value.trim_matches(is_space).is_empty() => {
                    value.clear();
                    quoted = true;
                    loop {
                        match chars.next().ok_or_else(malformed)? {
                            '"' => break,
                            '\\' => value.push(chars.next().ok_or_else(malformed)?),
                            c => value.push(c),
                        }
                    }
                    while chars.next_if(|c| is_space(*c)).is_some() {}
                    if chars.peek().is_some_and(|c| *c != ',') {
                        return Err(malformed());
                    }
                }
                Some('{' | '}' | '"') => {
                    return Err(if inner.starts_with('{') {
                        Error::unsupported("arrays of more dimensions are not supported")
                    } else {
                        malformed()
                    });
                }
                Some('\\') => {
                    value.push(chars.next().ok_or_else(malformed)?);
                    end_of_text = value.len();
                }
                Some(c) => {
                    value.push(c);
                    if !is_space(c) {
                        end_of_text = value.len();
                    }
                }
            }
            if quoted && chars.peek().is_none() {
                break;
            }
        }
        if !quoted {
            value.truncate(end_of_text);
            if value.is_empty() {
                return Err(malformed());
            }
        }
        if !quoted && value.eq_ignore_ascii_case("null") {
            items.push(Datum::Null);
        } else {
            items.push(parse(&value, item)?);
        }
        if chars.peek().is_none() {
            if inner.trim_end_matches(is_space).ends_with(',') {
                return Err(malformed());
            }
            return Ok(Datum::Array(items));
        }
    }
}
