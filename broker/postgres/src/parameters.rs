//! Parameters of clients, as values.

use crate::encode::{EPOCH_DAYS, EPOCH_MICROSECONDS, numeric_text};
use crate::types::{hint, item_of, of_data_type};
use anabranch_query::{SqlError, sqlstate};
use datafusion::arrow::datatypes::{DataType, Field, IntervalMonthDayNano};
use datafusion::scalar::ScalarValue;
use pgwire::api::Type;
use std::sync::Arc;

/// The type that a parameter is sent as: what the client said, else what the plan needs.
pub(crate) fn wire_type(client: Option<u32>, plan: &DataType) -> Type {
    client
        .filter(|oid| *oid != 0)
        .and_then(Type::from_oid)
        .filter(|of| *of != Type::UNKNOWN)
        .unwrap_or_else(|| of_data_type(plan))
}

/// The value of parameter `number` (from 1).
pub(crate) fn value(
    number: usize,
    bytes: Option<&[u8]>,
    of: &Type,
    is_binary: bool,
) -> Result<ScalarValue, SqlError> {
    let Some(bytes) = bytes else {
        return Ok(ScalarValue::Null);
    };
    let value = if is_binary { binary(bytes, of) } else { text(bytes, of) };
    value.map_err(|error| match error {
        Fault::Value => SqlError::new(
            if is_binary { "22P03" } else { sqlstate::INVALID_TEXT },
            format!("invalid value for parameter ${number} of type {}", of.name()),
        ),
        Fault::Type => SqlError::unsupported(format!(
            "parameter ${number}: binary values of type {} are not supported",
            of.name()
        ))
        .hint("send it as text"),
    })
}

/// A field of a binary COPY, which is of type `of`.
pub(crate) fn copied(bytes: &[u8], of: &Type) -> Result<ScalarValue, SqlError> {
    binary(bytes, of).map_err(|error| match error {
        Fault::Value => SqlError::new("22P03", "incorrect binary data format"),
        Fault::Type => {
            SqlError::unsupported(format!("binary values of type {} are not supported", of.name()))
                .hint("COPY as text or csv")
        }
    })
}

/// The type that binary values of type `of` are read as.
pub(crate) fn read_as(of: &Type) -> DataType {
    match *of {
        // The column says how many digits are kept, and jsonb gets its form.
        Type::NUMERIC | Type::JSONB => DataType::Utf8View,
        ref of => match item_of(of) {
            Some(item) => DataType::List(Arc::new(Field::new_list_field(read_as(&item), true))),
            None => hint(of.oid()).unwrap_or(DataType::Utf8View),
        },
    }
}

enum Fault {
    Value,
    Type,
}

fn text(bytes: &[u8], of: &Type) -> Result<ScalarValue, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::Value)?;
    if *of == Type::BYTEA {
        return Ok(ScalarValue::BinaryView(Some(match text.strip_prefix("\\x") {
            Some(digits) => hex(digits).ok_or(Fault::Value)?,
            None => text.as_bytes().to_vec(),
        })));
    }
    // Numbers may have spaces around them; text keeps its own.
    let is_text =
        matches!(*of, Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN);
    let text = if is_text { text } else { text.trim() };
    Ok(ScalarValue::Utf8View(Some(text.to_owned())))
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |digit: u8| (digit as char).to_digit(16);
    digits
        .chunks_exact(2)
        .map(|pair| Some((nibble(pair[0])? * 16 + nibble(pair[1])?) as u8))
        .collect()
}

fn binary(bytes: &[u8], of: &Type) -> Result<ScalarValue, Fault> {
    fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
        bytes.try_into().map_err(|_| Fault::Value)
    }
    Ok(match *of {
        Type::BOOL => ScalarValue::Boolean(Some(fixed::<1>(bytes)?[0] != 0)),
        Type::INT2 => ScalarValue::Int16(Some(i16::from_be_bytes(fixed(bytes)?))),
        Type::INT4 => ScalarValue::Int32(Some(i32::from_be_bytes(fixed(bytes)?))),
        Type::INT8 => ScalarValue::Int64(Some(i64::from_be_bytes(fixed(bytes)?))),
        Type::OID | Type::REGCLASS | Type::REGTYPE => {
            ScalarValue::Int64(Some(i64::from(u32::from_be_bytes(fixed(bytes)?))))
        }
        Type::FLOAT4 => ScalarValue::Float32(Some(f32::from_be_bytes(fixed(bytes)?))),
        Type::FLOAT8 => ScalarValue::Float64(Some(f64::from_be_bytes(fixed(bytes)?))),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::UNKNOWN => {
            let text = std::str::from_utf8(bytes).map_err(|_| Fault::Value)?;
            ScalarValue::Utf8View(Some(text.to_owned()))
        }
        // jsonb_send: a version byte, then the text.
        Type::JSONB => match bytes.split_first() {
            Some((1, rest)) => {
                let text = std::str::from_utf8(rest).map_err(|_| Fault::Value)?;
                ScalarValue::Utf8View(Some(text.to_owned()))
            }
            _ => return Err(Fault::Value),
        },
        Type::BYTEA => ScalarValue::BinaryView(Some(bytes.to_vec())),
        Type::DATE => {
            let days = match i32::from_be_bytes(fixed(bytes)?) {
                // The infinities are the ends of the range here as there.
                infinite @ (i32::MAX | i32::MIN) => Some(infinite),
                days => days.checked_add(EPOCH_DAYS),
            };
            ScalarValue::Date32(Some(days.ok_or(Fault::Value)?))
        }
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            let value = match i64::from_be_bytes(fixed(bytes)?) {
                infinite @ (i64::MAX | i64::MIN) => Some(infinite),
                value => value.checked_add(EPOCH_MICROSECONDS),
            };
            let zone = (*of == Type::TIMESTAMPTZ).then(|| "+00:00".into());
            ScalarValue::TimestampMicrosecond(Some(value.ok_or(Fault::Value)?), zone)
        }
        Type::NUMERIC => ScalarValue::Utf8View(Some(numeric_text(bytes).ok_or(Fault::Value)?)),
        Type::UUID => ScalarValue::FixedSizeBinary(16, Some(fixed::<16>(bytes)?.to_vec())),
        Type::TIME => ScalarValue::Time64Microsecond(Some(i64::from_be_bytes(fixed(bytes)?))),
        Type::INTERVAL => ScalarValue::IntervalMonthDayNano(Some(interval(fixed(bytes)?)?)),
        ref of => array(bytes, &item_of(of).ok_or(Fault::Type)?)?,
    })
}

/// interval_send: microseconds, days, months.
fn interval(bytes: [u8; 16]) -> Result<IntervalMonthDayNano, Fault> {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    let micros = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let days = i32::from_be_bytes([i, j, k, l]);
    let months = i32::from_be_bytes([m, n, o, p]);
    let nanos = micros.checked_mul(1_000).ok_or(Fault::Value)?;
    Ok(IntervalMonthDayNano::new(months, days, nanos))
}

/// array_send: dimensions, whether there are nulls, the items' type; of the one dimension length
/// and lower bound; the items, each with its length in front, −1 for null.
fn array(bytes: &[u8], item: &Type) -> Result<ScalarValue, Fault> {
    let mut rest = bytes;
    let mut number = || -> Result<i32, Fault> {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or(Fault::Value)?;
        rest = tail;
        Ok(i32::from_be_bytes(*head))
    };
    let (dimensions, _, _) = (number()?, number()?, number()?);
    let length = match dimensions {
        0 => 0,
        1 => {
            let length = number()?;
            number()?;
            usize::try_from(length).map_err(|_| Fault::Value)?
        }
        _ => return Err(Fault::Type),
    };
    // What a null has to be: the others' type.
    let mut items = Vec::new();
    for _ in 0..length {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or(Fault::Value)?;
        rest = tail;
        items.push(match i32::from_be_bytes(*head) {
            -1 => None,
            size => {
                let size = usize::try_from(size).map_err(|_| Fault::Value)?;
                let (value, tail) = rest.split_at_checked(size).ok_or(Fault::Value)?;
                rest = tail;
                Some(binary(value, item)?)
            }
        });
    }
    let of = read_as(item);
    let null = ScalarValue::try_from(&of).map_err(|_| Fault::Type)?;
    let items: Vec<_> =
        items.into_iter().map(|value| value.unwrap_or_else(|| null.clone())).collect();
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&items, &of)))
}
