//! Parameters of clients, as values.

use crate::encode::{EPOCH_DAYS, EPOCH_MICROSECONDS, numeric_text};
use crate::types::of_data_type;
use anabranch_query::{SqlError, sqlstate};
use datafusion::arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use pgwire::api::Type;

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
            let days = i32::from_be_bytes(fixed(bytes)?).checked_add(EPOCH_DAYS);
            ScalarValue::Date32(Some(days.ok_or(Fault::Value)?))
        }
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            let value = i64::from_be_bytes(fixed(bytes)?).checked_add(EPOCH_MICROSECONDS);
            let zone = (*of == Type::TIMESTAMPTZ).then(|| "+00:00".into());
            ScalarValue::TimestampMicrosecond(Some(value.ok_or(Fault::Value)?), zone)
        }
        Type::NUMERIC => ScalarValue::Utf8View(Some(numeric_text(bytes).ok_or(Fault::Value)?)),
        _ => return Err(Fault::Type),
    })
}
