//! `to_char` and `to_timestamp` (PostgreSQL 15, 9.8), tables 9.27 and 9.28.

use crate::calendar::{
    DAY, HOUR, MINUTE, SECOND, checked_days, civil_of, day_of_week, day_of_year, iso_week,
};
use crate::datum::Span;
use crate::error::Error;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const ROMAN: [&str; 12] =
    ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// Longer patterns stand before those that they begin with.
const PATTERNS: [&str; 47] = [
    "SSSSS", "SSSS", "Y,YYY", "YYYY", "YYY", "YY", "Y", "IYYY", "IYY", "IY", "IDDD", "ID", "IW",
    "I", "HH24", "HH12", "HH", "MI", "MONTH", "MON", "MM", "MS", "SS", "US", "FF1", "FF2", "FF3",
    "FF4", "FF5", "FF6", "AM", "PM", "A.M.", "P.M.", "DAY", "DDD", "DD", "DY", "D", "WW", "W",
    "CC", "J", "Q", "RM", "TZ", "OF",
];

enum Piece {
    Text(String),
    Pattern { name: &'static str, written: String, fill: bool, ordinal: Option<bool> },
}

fn pieces(format: &str) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::new();
    let mut rest = format;
    let mut fill = true;
    let push = |out: &mut Vec<Piece>, text: &str| match out.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => out.push(Piece::Text(text.to_owned())),
    };
    'next: while let Some(c) = rest.chars().next() {
        if c == '"' {
            let inner = &rest[1..];
            let end = inner.find('"').unwrap_or(inner.len());
            push(&mut out, &inner[..end]);
            rest = inner.get(end + 1..).unwrap_or("");
            continue;
        }
        let upper = rest.to_ascii_uppercase();
        if upper.starts_with("FM") {
            fill = false;
            rest = &rest[2..];
            continue;
        }
        for name in PATTERNS {
            if upper.starts_with(name) {
                let written = rest[..name.len()].to_owned();
                rest = &rest[name.len()..];
                let ordinal = match rest.get(..2) {
                    Some("TH") => Some(true),
                    Some("th") => Some(false),
                    _ => None,
                };
                if ordinal.is_some() {
                    rest = &rest[2..];
                }
                out.push(Piece::Pattern { name, written, fill, ordinal });
                fill = true;
                continue 'next;
            }
        }
        push(&mut out, &rest[..c.len_utf8()]);
        rest = &rest[c.len_utf8()..];
    }
    out
}

fn number(value: i64, width: usize, fill: bool) -> String {
    if fill {
        let sign = if value < 0 { "-" } else { "" };
        format!("{sign}{:0width$}", value.abs(), width = width)
    } else {
        value.to_string()
    }
}

/// In the letters' cases of the pattern: `MONTH`, `Month`, `month`.
fn cased(name: &str, written: &str, width: usize) -> String {
    let mut letters = written.chars();
    let shown = match (letters.next(), letters.next()) {
        (Some(a), Some(b)) if a.is_ascii_uppercase() && b.is_ascii_uppercase() => {
            name.to_uppercase()
        }
        (Some(a), _) if a.is_ascii_uppercase() => name.to_owned(),
        _ => name.to_lowercase(),
    };
    format!("{shown:<width$}")
}

fn ending(digits: &str, upper: bool) -> &'static str {
    let teens = digits.len() > 1 && digits.as_bytes()[digits.len() - 2] == b'1';
    let found = match digits.bytes().last() {
        Some(b'1') if !teens => ("ST", "st"),
        Some(b'2') if !teens => ("ND", "nd"),
        Some(b'3') if !teens => ("RD", "rd"),
        _ => ("TH", "th"),
    };
    if upper { found.0 } else { found.1 }
}

pub(super) fn timestamp(micros: i64, with_zone: bool, format: &str) -> Result<String, Error> {
    let days = micros.div_euclid(DAY);
    let time = micros.rem_euclid(DAY);
    let civil = civil_of(days);
    let year = if civil.year > 0 { civil.year } else { civil.year - 1 };
    let (iso_year, week) = iso_week(days);
    let clock = Clock::of(time);
    shown(format, |name, written, fill| {
        let weekday = day_of_week(days);
        let month = MONTHS[(civil.month - 1) as usize];
        let day = DAYS[weekday as usize];
        let fitted = |name: &str, width: usize| cased(name, written, if fill { width } else { 0 });
        Some(match name {
            "YYYY" => number(year.abs(), 4, fill),
            "YYY" => number(year.abs() % 1_000, 3, fill),
            "YY" => number(year.abs() % 100, 2, fill),
            "Y" => number(year.abs() % 10, 1, fill),
            "Y,YYY" => format!("{},{:03}", year.abs() / 1_000, year.abs() % 1_000),
            "IYYY" => number(iso_year, 4, fill),
            "IYY" => number(iso_year % 1_000, 3, fill),
            "IY" => number(iso_year % 100, 2, fill),
            "I" => number(iso_year % 10, 1, fill),
            "IW" => number(week, 2, fill),
            "ID" => number((weekday + 6) % 7 + 1, 1, fill),
            "IDDD" => number((week - 1) * 7 + (weekday + 6) % 7 + 1, 3, fill),
            "MM" => number(civil.month, 2, fill),
            "MONTH" => fitted(month, 9),
            "MON" => cased(&month[..3], written, 0),
            "RM" => format!("{:<4}", ROMAN[(civil.month - 1) as usize]),
            "DDD" => number(day_of_year(days), 3, fill),
            "DD" => number(civil.day, 2, fill),
            "DAY" => fitted(day, 9),
            "DY" => cased(&day[..3], written, 0),
            "D" => number(weekday + 1, 1, fill),
            "WW" => number((day_of_year(days) - 1) / 7 + 1, 2, fill),
            "W" => number((civil.day - 1) / 7 + 1, 1, fill),
            "Q" => number((civil.month - 1) / 3 + 1, 1, fill),
            "CC" => number((year + 99) / 100, 2, fill),
            "J" => number(days + 2_440_588, 1, fill),
            "TZ" if with_zone => if written.starts_with('t') { "utc" } else { "UTC" }.to_owned(),
            "TZ" => String::new(),
            "OF" => "+00".to_owned(),
            other => return clock.shown(other, written, fill),
        })
    })
}

struct Clock {
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    of_day: i64,
}

impl Clock {
    /// Of microseconds since midnight; of an interval, of as many as it has.
    fn of(time: i64) -> Self {
        Self {
            hour: time / HOUR,
            minute: time / MINUTE % 60,
            second: time / SECOND % 60,
            micros: time % SECOND,
            of_day: time / SECOND,
        }
    }

    fn shown(&self, name: &str, written: &str, fill: bool) -> Option<String> {
        let half = if self.hour % 24 >= 12 { "pm" } else { "am" };
        let dotted = if self.hour % 24 >= 12 { "p.m." } else { "a.m." };
        let upper = written.starts_with(|c: char| c.is_ascii_uppercase());
        let cased = |text: &str| if upper { text.to_uppercase() } else { text.to_owned() };
        Some(match name {
            "HH24" => number(self.hour, 2, fill),
            "HH12" | "HH" => match self.hour % 12 {
                0 => number(12, 2, fill),
                hour => number(hour, 2, fill),
            },
            "MI" => number(self.minute, 2, fill),
            "SS" => number(self.second, 2, fill),
            "MS" => number(self.micros / 1_000, 3, fill),
            "US" => number(self.micros, 6, fill),
            "SSSS" | "SSSSS" => self.of_day.to_string(),
            "AM" | "PM" => cased(half),
            "A.M." | "P.M." => cased(dotted),
            fraction if fraction.starts_with("FF") => {
                let digits = usize::from(fraction.as_bytes()[2] - b'0');
                format!("{:06}", self.micros)[..digits].to_owned()
            }
            _ => return None,
        })
    }
}

fn shown(
    format: &str,
    value: impl Fn(&str, &str, bool) -> Option<String>,
) -> Result<String, Error> {
    let mut out = String::new();
    for piece in pieces(format) {
        match piece {
            Piece::Text(text) => out.push_str(&text),
            Piece::Pattern { name, written, fill, ordinal } => {
                let text = value(name, &written, fill).ok_or_else(|| {
                    Error::new("22007", format!("invalid format specification: \"{name}\""))
                })?;
                out.push_str(&text);
                if let Some(upper) = ordinal {
                    out.push_str(ending(&text, upper));
                }
            }
        }
    }
    Ok(out)
}

pub(super) fn interval(it: Span, format: &str) -> Result<String, Error> {
    let time = it.micros;
    let clock = Clock::of(time);
    shown(format, |name, written, fill| {
        Some(match name {
            "YYYY" => number(i64::from(it.months / 12), 4, fill),
            "MM" => number(i64::from(it.months % 12), 2, fill),
            "DD" => number(it.days.into(), 2, fill),
            other => return clock.shown(other, written, fill),
        })
    })
}

/// Microseconds since 1970 of `text`, read by `format`.
pub(super) fn parse(text: &str, format: &str) -> Result<i64, Error> {
    let mut rest = text.trim_start();
    let (mut year, mut month, mut day) = (1, 1, 1);
    let (mut hour, mut minute, mut second, mut micros) = (0, 0, 0, 0);
    let mut pm = None;
    for piece in pieces(format) {
        match piece {
            Piece::Text(separators) => {
                for c in separators.chars() {
                    let trimmed = rest.trim_start();
                    if c.is_alphanumeric() || c == ' ' {
                        rest =
                            if c == ' ' { trimmed } else { rest.strip_prefix(c).unwrap_or(rest) };
                    } else {
                        rest =
                            trimmed.strip_prefix(|d: char| !d.is_alphanumeric()).unwrap_or(trimmed);
                    }
                }
            }
            Piece::Pattern { name, .. } => {
                rest = rest.trim_start();
                if rest.is_empty() {
                    break;
                }
                let width = match name {
                    "YYYY" | "IYYY" => 4,
                    "MS" | "DDD" | "YYY" => 3,
                    "US" => 6,
                    _ => 2,
                };
                if matches!(name, "MON" | "MONTH" | "AM" | "PM" | "DAY" | "DY") {
                    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
                    let word = rest[..end].to_ascii_lowercase();
                    rest = &rest[end..];
                    match name {
                        "AM" | "PM" => pm = Some(word == "pm"),
                        "MON" | "MONTH" => {
                            let found = MONTHS.iter().position(|month| {
                                word.len() > 2 && month.to_lowercase().starts_with(&word[..3])
                            });
                            month = found.ok_or_else(|| invalid(&word, name))? as i64 + 1;
                        }
                        _ => {}
                    }
                    continue;
                }
                let end = rest
                    .char_indices()
                    .take(width)
                    .find(|(_, c)| !c.is_ascii_digit())
                    .map_or(rest.len().min(width), |(at, _)| at);
                let digits = rest.get(..end).unwrap_or("");
                let value: i64 = digits.parse().map_err(|_| invalid(rest, name))?;
                rest = &rest[end..];
                match name {
                    "YYYY" => year = value,
                    "YY" => year = if value < 70 { 2_000 + value } else { 1_900 + value },
                    "MM" => month = value,
                    "DD" => day = value,
                    "HH24" | "HH12" | "HH" => hour = value,
                    "MI" => minute = value,
                    "SS" => second = value,
                    "MS" => micros = value * 10_i64.pow(3 - digits.len() as u32) * 1_000,
                    "US" => micros = value * 10_i64.pow(6 - digits.len() as u32),
                    _ => {}
                }
            }
        }
    }
    let range = || Error::new("22008", format!("date/time field value out of range: \"{text}\""));
    match pm {
        Some(true) if hour < 12 => hour += 12,
        Some(false) if hour == 12 => hour = 0,
        _ => {}
    }
    let days = checked_days(year, month, day).ok_or_else(range)?;
    if hour > 23 || minute > 59 || second > 59 {
        return Err(range());
    }
    Ok(i64::from(days) * DAY + hour * HOUR + minute * MINUTE + second * SECOND + micros)
}

fn invalid(value: &str, pattern: &str) -> Error {
    Error::new("22007", format!("invalid value \"{value}\" for \"{pattern}\""))
}
