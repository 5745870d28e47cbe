//! The fields of a line of text or CSV (PostgreSQL 15, `CopyReadAttributesText` and
//! `CopyReadAttributesCSV` in copyfromparse.c).

use super::lines::bad;
use anabranch_query::SqlError;
use std::borrow::Cow;

/// How fields stand in a line of text.
#[derive(Debug, Clone)]
pub(super) struct TextFields {
    pub(super) delimiter: u8,
    pub(super) null: String,
}

/// How fields stand in a line of CSV.
#[derive(Debug, Clone)]
pub(super) struct CsvFields {
    pub(super) delimiter: u8,
    pub(super) null: String,
    pub(super) quote: u8,
    pub(super) escape: u8,
    /// By column: NULL is taken as it stands.
    pub(super) not_null: Vec<bool>,
    /// By column: NULL may stand in quotes.
    pub(super) null_in_quotes: Vec<bool>,
}

/// Takes the fields of a line one by one, by their numbers; `None` is NULL.
pub(super) type Take<'a> = &'a mut dyn FnMut(usize, Option<&str>) -> Result<(), SqlError>;

impl TextFields {
    /// How many fields there were.
    pub(super) fn split(&self, line: &str, take: Take<'_>) -> Result<usize, SqlError> {
        let bytes = line.as_bytes();
        let (mut number, mut from) = (0, 0);
        loop {
            let (mut at, mut has_escapes) = (from, false);
            while at < bytes.len() && bytes[at] != self.delimiter {
                // What stands behind a backslash is no delimiter.
                let is_escape = bytes[at] == b'\\';
                has_escapes |= is_escape;
                at += if is_escape { 2 } else { 1 };
            }
            let end = at.min(bytes.len());
            // Both ends are beside ASCII, or the line's.
            let raw = line.get(from..end).unwrap_or_default();
            if raw == self.null {
                take(number, None)?;
            } else if has_escapes {
                take(number, Some(&unescaped(raw)?))?;
            } else {
                take(number, Some(raw))?;
            }
            number += 1;
            if at >= bytes.len() {
                return Ok(number);
            }
            from = at + 1;
        }
    }
}

/// `\b`, `\f`, `\n`, `\r`, `\t`, `\v`, `\101`, `\x41`; any other character is itself.
fn unescaped(raw: &str) -> Result<Cow<'_, str>, SqlError> {
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some(&escaped) = bytes.get(at) else { break };
        at += 1;
        match escaped {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => {
                let (value, digits) = number(&bytes[at - 1..], 8, 3);
                out.push(value);
                at += digits - 1;
            }
            b'x' => match number(&bytes[at..], 16, 2) {
                (_, 0) => out.push(b'x'),
                (value, digits) => {
                    out.push(value);
                    at += digits;
                }
            },
            other => out.push(other),
        }
    }
    checked(out).map(Cow::Owned)
}

/// The number that up to `digits_max` digits make, its low eight bits, and how many they were.
fn number(bytes: &[u8], radix: u32, digits_max: usize) -> (u8, usize) {
    let digits = bytes.iter().take(digits_max);
    let digits = digits.map_while(|byte| char::from(*byte).to_digit(radix));
    let (value, count) =
        digits.fold((0, 0), |(value, count), digit| (value * radix + digit, count + 1));
    ((value & 0xff) as u8, count)
}

/// Escapes can make anything of bytes.
fn checked(bytes: Vec<u8>) -> Result<String, SqlError> {
    let invalid = |bytes: &[u8]| {
        let shown: Vec<_> = bytes.iter().map(|byte| format!("0x{byte:02x}")).collect();
        SqlError::new(
            "22021",
            format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")),
        )
    };
    if bytes.contains(&0) {
        return Err(invalid(&[0]));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let length = error.utf8_error().error_len().unwrap_or(1);
        invalid(&error.as_bytes()[at..at + length])
    })
}

/// A line as text.
pub(super) fn text_of(line: &[u8]) -> Result<Cow<'_, str>, SqlError> {
    if line.contains(&0) {
        return checked(line.to_vec()).map(Cow::Owned);
    }
    match std::str::from_utf8(line) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(_) => checked(line.to_vec()).map(Cow::Owned),
    }
}

impl CsvFields {
    /// How many fields there were.
    pub(super) fn split(&self, line: &str, take: Take<'_>) -> Result<usize, SqlError> {
        let bytes = line.as_bytes();
        let (mut number, mut from) = (0, 0);
        loop {
            let stop = |byte: &u8| *byte == self.delimiter || *byte == self.quote;
            let stopped = bytes[from..].iter().position(stop).map(|length| from + length);
            let end = match stopped {
                Some(at) if bytes[at] == self.quote => {
                    let (value, end) = self.quoted(line, from, at)?;
                    let is_null = value == self.null && self.flag(&self.null_in_quotes, number);
                    take(number, (!is_null).then_some(value.as_str()))?;
                    end
                }
                other => {
                    let end = other.unwrap_or(bytes.len());
                    let raw = line.get(from..end).unwrap_or_default();
                    let is_null = raw == self.null && !self.flag(&self.not_null, number);
                    take(number, (!is_null).then_some(raw))?;
                    end
                }
            };
            number += 1;
            if end >= bytes.len() {
                return Ok(number);
            }
            from = end + 1;
        }
    }

    /// The field that begins at `from` and has its first quote at `at`, and where it ends.
    fn quoted(&self, line: &str, from: usize, at: usize) -> Result<(String, usize), SqlError> {
        let bytes = line.as_bytes();
        let mut value = bytes[from..at].to_vec();
        let (mut at, mut is_quoted) = (at, false);
        while let Some(&byte) = bytes.get(at) {
            if !is_quoted {
                if byte == self.delimiter {
                    break;
                }
                is_quoted = byte == self.quote;
                if !is_quoted {
                    value.push(byte);
                }
            } else if let (true, Some(&next)) = (byte == self.escape, bytes.get(at + 1))
                && (next == self.escape || next == self.quote)
            {
                value.push(next);
                at += 1;
            } else if byte == self.quote {
                is_quoted = false;
            } else {
                value.push(byte);
            }
            at += 1;
        }
        if is_quoted {
            return Err(bad("unterminated CSV quoted field"));
        }
        // Only ASCII was left out.
        Ok((checked(value)?, at))
    }

    fn flag(&self, flags: &[bool], number: usize) -> bool {
        flags.get(number).copied().unwrap_or(false)
    }
}
