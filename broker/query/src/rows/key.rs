//! Keys: one column is its plain text, as Kafka clients write keys (`7`, `N14228`, `2013-01-01`);
//! several columns are a JSON array (`[7,"a"]`).
//!
//! Keys of integers, booleans and text have one canonical form (no spaces, shortest numbers). A
//! key in another form is another key to the log, so it does not read as the same row: its columns
//! are NULL. That makes a lookup by key exact.

use super::print::{write_json_string, write_json_value};
use anabranch_engine::{ColumnType, Stream};
use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::arrow::error::ArrowError;
use datafusion::scalar::ScalarValue;
use jiter::{Jiter, Peek};
use std::ops::Range;

/// How a stream's record keys read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyShape {
    /// No declared key: bytes.
    Raw,
    /// One text column.
    Text,
    /// One column of another type.
    Plain(ColumnType),
    /// A JSON array of these.
    Array(Vec<ColumnType>),
}

impl KeyShape {
    pub(crate) fn new(stream: &Stream) -> Self {
        let types: Vec<_> = stream.key_columns().map(|column| column.data_type).collect();
        match types.as_slice() {
            [] => Self::Raw,
            [ColumnType::Text] => Self::Text,
            [column] => Self::Plain(*column),
            _ => Self::Array(types),
        }
    }

    /// Key columns.
    pub(crate) fn columns(&self) -> usize {
        match self {
            Self::Raw => 0,
            Self::Text | Self::Plain(_) => 1,
            Self::Array(types) => types.len(),
        }
    }

    /// Whether equality of the columns is equality of the record keys.
    pub(crate) fn is_canonical(&self) -> bool {
        match self {
            Self::Raw => false,
            Self::Text => true,
            Self::Plain(column) => has_canonical_form(*column),
            Self::Array(types) => types.iter().all(|&column| has_canonical_form(column)),
        }
    }

    /// The columns of a key as JSON. `None` where it does not fit, or where none are declared.
    pub(crate) fn columns_json(&self, key: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut parts = Vec::new();
        match self {
            Self::Raw => None,
            Self::Text => quoted(key, &mut parts).map(|text| vec![text.to_vec()]),
            Self::Plain(column) => plain(*column, key, &mut parts).map(|json| vec![json.to_vec()]),
            Self::Array(_) => {
                let mut parts = Vec::new();
                self.cut(key, &mut parts)?;
                Some(parts.into_iter().map(|part| key[part].to_vec()).collect())
            }
        }
    }

    /// Cuts an array key into its columns' raw JSON. `None` where it does not fit.
    pub(crate) fn cut(&self, key: &[u8], parts: &mut Vec<Range<usize>>) -> Option<()> {
        let Self::Array(types) = self else {
            return None;
        };
        parts.clear();
        let mut json = Jiter::new(key);
        let mut next = match json.peek().ok()? {
            Peek::Array => json.known_array().ok()?,
            _ => return None,
        };
        while let Some(peek) = next {
            let start = json.current_index();
            json.known_skip(peek).ok()?;
            parts.push(start..json.current_index());
            if parts.len() > types.len() {
                return None;
            }
            next = json.array_step().ok()?;
        }
        json.finish().ok()?;
        (parts.len() == types.len() && self.stands_canonically(key, parts)).then_some(())
    }

    fn stands_canonically(&self, key: &[u8], parts: &[Range<usize>]) -> bool {
        let Self::Array(types) = self else {
            return true;
        };
        if !self.is_canonical() {
            return true;
        }
        let mut at = 1;
        for (part, &column) in parts.iter().zip(types) {
            if part.start != at || !canonical(column, &key[part.clone()]) {
                return false;
            }
            at = part.end + 1;
        }
        at == key.len()
    }

    /// The record key of row `row` of the key's columns, in the key's order; none may be null.
    pub(crate) fn encode(
        &self,
        columns: &[ArrayRef],
        row: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ArrowError> {
        match self {
            Self::Raw => {
                debug_assert!(false, "a stream without a declared key has no key columns");
            }
            Self::Text => out.extend_from_slice(text_at(&columns[0], row)?.as_bytes()),
            Self::Plain(column) => {
                let start = out.len();
                let field = Field::new("key", columns[0].data_type().clone(), false);
                write_json_value(&columns[0], row, &field, out)?;
                unquote(*column, start, out);
            }
            Self::Array(_) => {
                out.push(b'[');
                for (number, column) in columns.iter().enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    let field = Field::new("key", column.data_type().clone(), false);
                    write_json_value(column, row, &field, out)?;
                }
                out.push(b']');
            }
        }
        Ok(())
    }

    /// The record key that has these values; `None` where no record key can have them.
    pub(crate) fn encode_literals(&self, values: &[ScalarValue]) -> Option<Bytes> {
        match (self, values) {
            (Self::Text, [value]) => Some(Bytes::copy_from_slice(text_of(value)?.as_bytes())),
            (Self::Plain(column), [value]) => {
                let mut out = Vec::new();
                write_literal(*column, value, &mut out)?;
                unquote(*column, 0, &mut out);
                Some(Bytes::from(out))
            }
            (Self::Array(types), values) if types.len() == values.len() => {
                let mut out = vec![b'['];
                for (number, (&column, value)) in types.iter().zip(values).enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    write_literal(column, value, &mut out)?;
                }
                out.push(b']');
                Some(Bytes::from(out))
            }
            _ => None,
        }
    }
}

/// A key of one column that is not text, as JSON. `None` where it does not fit.
pub(super) fn plain<'a>(
    column: ColumnType,
    key: &'a [u8],
    scratch: &'a mut Vec<u8>,
) -> Option<&'a [u8]> {
    match column {
        ColumnType::Uuid => quoted(key, scratch).filter(|json| canonical(column, json)),
        column if has_canonical_form(column) => canonical(column, key).then_some(key),
        ColumnType::Json => is_json(key).then_some(key),
        ColumnType::Real | ColumnType::Double | ColumnType::Numeric { .. } if is_json(key) => {
            Some(key)
        }
        _ => quoted(key, scratch),
    }
}

fn is_json(text: &[u8]) -> bool {
    let mut json = Jiter::new(text);
    json.next_skip().is_ok() && json.finish().is_ok()
}

/// Text as a JSON string.
fn quoted<'a>(text: &[u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    scratch.clear();
    write_json_string(std::str::from_utf8(text).ok()?, scratch);
    Some(scratch)
}

fn has_canonical_form(column: ColumnType) -> bool {
    matches!(
        column,
        ColumnType::Text
            | ColumnType::Smallint
            | ColumnType::Integer
            | ColumnType::Bigint
            | ColumnType::Boolean
            | ColumnType::Uuid
    )
}

/// A string that is the whole key stands without its quotes: dates and the like have nothing in
/// them that JSON would escape.
fn unquote(column: ColumnType, start: usize, out: &mut Vec<u8>) {
    if column != ColumnType::Json && out.get(start) == Some(&b'"') {
        out.pop();
        out.remove(start);
    }
}

fn canonical(column: ColumnType, raw: &[u8]) -> bool {
    match column {
        ColumnType::Text => {
            let mut json = Jiter::new(raw);
            let Ok(text) = json.next_str() else {
                return false;
            };
            let mut again = Vec::with_capacity(raw.len());
            write_json_string(text, &mut again);
            again == raw
        }
        ColumnType::Boolean => raw == b"true" || raw == b"false",
        ColumnType::Uuid => {
            let text = Jiter::new(raw).next_str().ok().map(ToOwned::to_owned);
            let same = |text: String| {
                let bytes = anabranch_semantics::uuid_bytes(&text)?;
                Some(uuid_text(&bytes) == text && raw.len() == text.len() + 2)
            };
            text.and_then(same).unwrap_or(false)
        }
        _ => std::str::from_utf8(raw)
            .ok()
            .and_then(|text| text.parse::<i64>().ok().map(|value| value.to_string() == text))
            .unwrap_or(false),
    }
}

fn write_literal(column: ColumnType, value: &ScalarValue, out: &mut Vec<u8>) -> Option<()> {
    match column {
        ColumnType::Text => write_json_string(text_of(value)?, out),
        ColumnType::Boolean => match value {
            ScalarValue::Boolean(Some(value)) => {
                out.extend_from_slice(if *value { b"true" } else { b"false" });
            }
            _ => return None,
        },
        ColumnType::Smallint | ColumnType::Integer | ColumnType::Bigint => {
            out.extend_from_slice(integer_of(value)?.to_string().as_bytes());
        }
        ColumnType::Uuid => match value {
            ScalarValue::FixedSizeBinary(16, Some(bytes)) => {
                let bytes = bytes.as_slice().try_into().ok()?;
                write_json_string(&uuid_text(&bytes), out);
            }
            _ => return None,
        },
        _ => return None,
    }
    Some(())
}

/// The one form that a uuid has as a key: lower case, with hyphens.
fn uuid_text(bytes: &[u8; 16]) -> String {
    uuid::Uuid::from_bytes(*bytes).hyphenated().to_string()
}

/// The text of a literal.
pub(crate) fn text_of(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => Some(text),
        _ => None,
    }
}

fn integer_of(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int8(Some(value)) => Some(i64::from(*value)),
        ScalarValue::Int16(Some(value)) => Some(i64::from(*value)),
        ScalarValue::Int32(Some(value)) => Some(i64::from(*value)),
        ScalarValue::Int64(Some(value)) => Some(*value),
        _ => None,
    }
}

fn text_at(column: &ArrayRef, row: usize) -> Result<&str, ArrowError> {
    match column.data_type() {
        DataType::Utf8View => Ok(column.as_string_view().value(row)),
        DataType::Utf8 => Ok(column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Ok(column.as_string::<i64>().value(row)),
        other => Err(ArrowError::CastError(format!("a text key cannot be {other}"))),
    }
}
