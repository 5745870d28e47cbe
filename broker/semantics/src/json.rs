//! JSON: values as trees, with numbers as they were written (PostgreSQL 15, 8.14).

use crate::error::{Error, sqlstate};
use crate::numeric::Numeric;
use std::cmp::Ordering;
use std::fmt::{self, Write};

/// How deep values may be.
const DEPTH_MAX: usize = 512;

/// A value of jsonb: keys of objects stand once and in order, of equal ones the last is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(Numeric),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

fn invalid() -> Error {
    Error::new(sqlstate::INVALID_TEXT, "invalid input syntax for type json")
}

/// `text` as jsonb reads it.
pub(crate) fn parse(text: &str) -> Result<Json, Error> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.spaces();
    if parser.at < text.len() {
        return Err(invalid());
    }
    Ok(value)
}

/// `text` as it stands, if it is JSON.
pub(crate) fn checked(text: &str) -> Result<String, Error> {
    parse(text)?;
    Ok(text.to_owned())
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, Error> {
        let rest = &self.text[self.at..];
        let ends = !rest[word.len().min(rest.len())..].starts_with(|c: char| c.is_alphanumeric());
        if !rest.starts_with(word) || !ends {
            return Err(invalid());
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self, depth: usize) -> Result<Json, Error> {
        if depth > DEPTH_MAX {
            return Err(Error::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, "JSON is nested too deeply"));
        }
        self.spaces();
        match self.peek().ok_or_else(invalid)? {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'"' => self.string().map(Json::Text),
            b'[' => {
                self.at += 1;
                let mut items = Vec::new();
                self.spaces();
                if self.peek() == Some(b']') {
                    self.at += 1;
                    return Ok(Json::Array(items));
                }
                loop {
                    items.push(self.value(depth + 1)?);
                    if self.ends(b']')? {
                        return Ok(Json::Array(items));
                    }
                }
            }
            b'{' => {
                self.at += 1;
                let mut pairs = Vec::new();
                self.spaces();
                if self.peek() == Some(b'}') {
                    self.at += 1;
                    return Ok(Json::Object(pairs));
                }
                loop {
                    self.spaces();
                    if self.peek() != Some(b'"') {
                        return Err(invalid());
                    }
                    let key = self.string()?;
                    self.spaces();
                    if self.peek() != Some(b':') {
                        return Err(invalid());
                    }
                    self.at += 1;
                    pairs.push((key, self.value(depth + 1)?));
                    if self.ends(b'}')? {
                        return Ok(object(pairs));
                    }
                }
            }
            _ => self.number(),
        }
    }

    /// Whether what follows an item is the end of the whole; else a comma.
    fn ends(&mut self, end: u8) -> Result<bool, Error> {
        self.spaces();
        let next = self.peek();
        self.at += 1;
        match next {
            Some(found) if found == end => Ok(true),
            Some(b',') => Ok(false),
            _ => Err(invalid()),
        }
    }

    fn number(&mut self) -> Result<Json, Error> {
        let from = self.at;
        let digits = |parser: &mut Self| {
            let from = parser.at;
            while parser.peek().is_some_and(|b| b.is_ascii_digit()) {
                parser.at += 1;
            }
            parser.at - from
        };
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let first = self.peek();
        let whole = digits(self);
        if whole == 0 || (whole > 1 && first == Some(b'0')) {
            return Err(invalid());
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if digits(self) == 0 {
                return Err(invalid());
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'-' | b'+')) {
                self.at += 1;
            }
            if digits(self) == 0 {
                return Err(invalid());
            }
        }
        if self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(invalid());
        }
        Numeric::parse(&self.text[from..self.at])?.map(Json::Number).ok_or_else(invalid)
    }

    fn string(&mut self) -> Result<String, Error> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let c = rest.chars().next().ok_or_else(invalid)?;
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\\' => out.push(self.escape()?),
                c if (c as u32) < 0x20 => return Err(invalid()),
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let c = self.peek().ok_or_else(invalid)?;
        self.at += 1;
        Ok(match c {
            b'"' | b'\\' | b'/' => c as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex4()?;
                let code = if (0xd800..0xdc00).contains(&high) {
                    if !self.text[self.at..].starts_with("\\u") {
                        return Err(invalid());
                    }
                    self.at += 2;
                    let low = self.hex4()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(invalid());
                    }
                    0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                } else {
                    high
                };
                if code == 0 {
                    return Err(Error::new("22P05", "\\u0000 cannot be converted to text"));
                }
                char::from_u32(code).ok_or_else(invalid)?
            }
            _ => return Err(invalid()),
        })
    }

    fn hex4(&mut self) -> Result<u32, Error> {
        let digits = self.text.get(self.at..self.at + 4).ok_or_else(invalid)?;
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| invalid())
    }
}

/// Shorter keys first, then by bytes (jsonb_util.c, `lengthCompareJsonbString`).
fn by_key(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

/// An object of these pairs; of equal keys the last counts.
pub(crate) fn object(mut pairs: Vec<(String, Json)>) -> Json {
    pairs.reverse();
    pairs.sort_by(|a, b| by_key(&a.0, &b.0));
    pairs.dedup_by(|later, earlier| later.0 == earlier.0);
    Json::Object(pairs)
}

impl Json {
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(pairs) => {
                pairs.binary_search_by(|pair| by_key(&pair.0, key)).ok().map(|at| &pairs[at].1)
            }
            _ => None,
        }
    }

    /// An item of an array; below zero from its end.
    pub(crate) fn item(&self, index: i64) -> Option<&Self> {
        match self {
            Self::Array(items) => position(index, items.len()).map(|at| &items[at]),
            _ => None,
        }
    }

    /// What `->>` gives: strings as they are, nothing for null.
    pub(crate) fn as_text(&self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// Whether two scalars, arrays or objects are the same.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.compare(other) == Ordering::Equal
    }

    /// The order of jsonb (PostgreSQL 15, 8.14.4).
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let rank = |value: &Self| match value {
            Self::Null => 0,
            Self::Text(_) => 1,
            Self::Number(_) => 2,
            Self::Bool(_) => 3,
            // An empty array is less than any scalar (compareJsonbContainers).
            Self::Array(_) => 4,
            Self::Object(_) => 5,
        };
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.compare(b),
            (Self::Text(a), Self::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Array(a), Self::Array(b)) => a.len().cmp(&b.len()).then_with(|| {
                a.iter()
                    .zip(b)
                    .map(|(a, b)| a.compare(b))
                    .find(|order| order.is_ne())
                    .unwrap_or(Ordering::Equal)
            }),
            (Self::Object(a), Self::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
                a.iter()
                    .zip(b)
                    // Pairs stand in another order than the one that keys compare in.
                    .map(|(a, b)| {
                        a.0.as_bytes().cmp(b.0.as_bytes()).then_with(|| a.1.compare(&b.1))
                    })
                    .find(|order| order.is_ne())
                    .unwrap_or(Ordering::Equal)
            }),
            (Self::Array(a), scalar) if a.is_empty() && rank(scalar) < 4 => Ordering::Less,
            (scalar, Self::Array(b)) if b.is_empty() && rank(scalar) < 4 => Ordering::Greater,
            _ => rank(self).cmp(&rank(other)),
        }
    }

    /// Bytes that compare as the values do ([`Json::compare`]), the same for equal values.
    pub(crate) fn key(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_key(&mut out);
        out
    }

    fn write_key(&self, out: &mut Vec<u8>) {
        let length = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes();
        // jsonb has no character 0.
        match self {
            Self::Array(items) if items.is_empty() => out.push(0),
            Self::Null => out.push(1),
            Self::Text(text) => {
                out.push(2);
                out.extend_from_slice(text.as_bytes());
                out.push(0);
            }
            Self::Number(number) => {
                out.push(3);
                out.extend_from_slice(&number.key());
            }
            Self::Bool(value) => out.extend_from_slice(&[4, u8::from(*value)]),
            Self::Array(items) => {
                out.push(5);
                out.extend_from_slice(&length(items.len()));
                items.iter().for_each(|item| item.write_key(out));
            }
            Self::Object(pairs) => {
                out.push(6);
                out.extend_from_slice(&length(pairs.len()));
                for (key, value) in pairs {
                    out.extend_from_slice(key.as_bytes());
                    out.push(0);
                    value.write_key(out);
                }
            }
        }
    }

    /// `@>`: an array contains its items, at the top also as a scalar.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Array(items), scalar) if !matches!(scalar, Self::Array(_) | Self::Object(_)) => {
                items.iter().any(|item| item.same(scalar))
            }
            _ => self.contains_within(other),
        }
    }

    fn contains_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Object(_), Self::Object(wanted)) => wanted.iter().all(|(key, value)| {
                self.get(key).is_some_and(|found| found.contains_within(value))
            }),
            (Self::Array(items), Self::Array(wanted)) => {
                wanted.iter().all(|value| items.iter().any(|item| item.contains_within(value)))
            }
            _ => self.same(other),
        }
    }
}

/// Where an index that counts from the end if it is negative stands.
pub(crate) fn position(index: i64, length: usize) -> Option<usize> {
    let at = if index < 0 { index + length as i64 } else { index };
    usize::try_from(at).ok().filter(|at| *at < length)
}

/// A JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Array(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Object(pairs) => {
                f.write_str("{")?;
                for (at, (key, value)) in pairs.iter().enumerate() {
                    write!(f, "{}{}: {value}", if at > 0 { ", " } else { "" }, quoted(key))?;
                }
                f.write_str("}")
            }
        }
    }
}
