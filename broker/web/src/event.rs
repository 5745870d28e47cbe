//! Events as clients send them (`PROTOCOL.md`, section 1): from JSON to keys, values and headers.

#[cfg(test)]
mod tests;

use crate::error::{Code, Failure};
use crate::json::{from_base64, push_comma, push_string};
use crate::limits::EVENTS_MAX;
use anabranch_engine::ErrorKind;
use anabranch_types::{PartitionIndex, Timestamp};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Latest time a record may have: the last millisecond of the year 9999.
const TIMESTAMP_MAX: i64 = 253_402_300_799_999;

/// A name and a value.
pub(crate) type NewHeader<'a> = (Cow<'a, [u8]>, Option<Cow<'a, [u8]>>);

/// An event to publish.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct NewEvent<'a> {
    /// The record's key.
    pub(crate) key: Option<Cow<'a, [u8]>>,
    /// The record's value; `None` deletes in a keyed stream.
    pub(crate) value: Option<Cow<'a, [u8]>>,
    /// The record's headers.
    pub(crate) headers: Vec<NewHeader<'a>>,
    /// The record's time; `None` is now.
    pub(crate) timestamp: Option<Timestamp>,
    /// Where to, if the key is not to decide.
    pub(crate) partition: Option<PartitionIndex>,
}

/// An event's fields as they stand in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventFields<'a> {
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    key_base64: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    value_text: Option<String>,
    value_base64: Option<String>,
    headers: Option<AtMost<Object<HeaderFields>>>,
    ts: Option<i64>,
    partition: Option<i32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderFields {
    name: Option<String>,
    name_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
}

/// A JSON object. What serde derives would take an array of the fields in order as well.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        from.deserialize_map(Fields(PhantomData))
    }
}

/// Keeps `null` apart from a field that is missing.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl<'a> EventFields<'a> {
    /// The event that the fields say.
    ///
    /// # Errors
    /// Contradicting or missing fields.
    pub(crate) fn event(self) -> Result<NewEvent<'a>, Failure> {
        let key = match (self.key, self.key_base64) {
            (None, None) => None,
            (Some(key), None) => Some(key_bytes(key)?),
            (None, Some(key)) => Some(decoded("key_base64", &key)?),
            (Some(_), Some(_)) => return Err(Failure::invalid("both key and key_base64")),
        };
        let value = match (self.value, self.value_text, self.value_base64) {
            (Some(value), None, None) => {
                (value.get() != "null").then(|| Cow::Borrowed(value.get().as_bytes()))
            }
            (None, Some(text), None) => Some(Cow::Owned(text.into_bytes())),
            (None, None, Some(value)) => Some(decoded("value_base64", &value)?),
            (None, None, None) => {
                return Err(Failure::invalid("there is no value")
                    .hint("give value, value_text or value_base64; \"value\": null deletes"));
            }
            _ => {
                return Err(Failure::invalid("more than one of value, value_text, value_base64"));
            }
        };
        let headers = self.headers.map_or_else(
            || Ok(Vec::new()),
            |headers| headers.0.into_iter().map(|header| header.0.header()).collect(),
        )?;
        Ok(NewEvent {
            key,
            value,
            headers,
            timestamp: self.ts.map(timestamp).transpose()?,
            partition: self.partition.map(PartitionIndex),
        })
    }
}

impl HeaderFields {
    fn header<'a>(self) -> Result<NewHeader<'a>, Failure> {
        let name = match (self.name, self.name_base64) {
            (Some(name), None) => Cow::Owned(name.into_bytes()),
            (None, Some(name)) => decoded("name_base64", &name)?,
            _ => return Err(Failure::invalid("a header needs name or name_base64")),
        };
        let value = match (self.value, self.value_base64) {
            (Some(value), None) => Some(Cow::Owned(value.into_bytes())),
            (None, Some(value)) => Some(decoded("value_base64", &value)?),
            (None, None) => None,
            _ => {
                return Err(Failure::invalid("a header with both value and value_base64"));
            }
        };
        Ok((name, value))
    }
}

fn timestamp(ts: i64) -> Result<Timestamp, Failure> {
    if (0..=TIMESTAMP_MAX).contains(&ts) {
        return Ok(Timestamp(ts));
    }
    Err(Failure::invalid(format!("ts cannot be {ts}"))
        .hint("milliseconds since 1970 UTC, up to the year 9999"))
}

fn decoded(field: &str, text: &str) -> Result<Cow<'static, [u8]>, Failure> {
    from_base64(text).map(Cow::Owned).ok_or_else(|| {
        Failure::invalid(format!("{field} is not base64")).hint("RFC 4648, section 4, with padding")
    })
}

/// A key as the client wrote it: a string stands for itself, a number or boolean for its text,
/// and an array for that of its columns.
fn key_bytes(key: &RawValue) -> Result<Cow<'_, [u8]>, Failure> {
    let text = key.get();
    match text.as_bytes().first() {
        Some(b'"') => Ok(string_bytes(text)),
        Some(b'[') => {
            let columns: AtMost<&RawValue> = serde_json::from_str(text)
                .map_err(|error| Failure::invalid(format!("key: {error}")))?;
            columns_key(&columns.0).map(Cow::Owned)
        }
        Some(b'{' | b'n') => Err(Failure::invalid("a key cannot be an object").hint(
            "give a string, a number, or an array of the key's columns; key_base64 for bytes",
        )),
        _ => Ok(Cow::Borrowed(text.as_bytes())),
    }
}

/// What a JSON string says. `text` has passed a parser.
fn string_bytes(text: &str) -> Cow<'_, [u8]> {
    let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match inside {
        Some(inside) if !inside.contains('\\') => Cow::Borrowed(inside.as_bytes()),
        // Half a surrogate pair passes as raw JSON but is no text: take what was written.
        _ => serde_json::from_str::<String>(text)
            .map_or(Cow::Borrowed(text.as_bytes()), |text| Cow::Owned(text.into_bytes())),
    }
}

/// A key of columns: the text of one, or a JSON array of several without white space.
fn columns_key(columns: &[&RawValue]) -> Result<Vec<u8>, Failure> {
    if let [only] = columns
        && only.get().starts_with('"')
    {
        return Ok(string_bytes(only.get()).into_owned());
    }
    let mut key = vec![b'['];
    for column in columns {
        push_comma(&mut key);
        match column.get().as_bytes() {
            b"null" => {
                return Err(Failure::new(
                    Code::Engine(ErrorKind::InvalidRecord),
                    "a column of the key cannot be null",
                ));
            }
            [b'"', ..] => {
                let text: String = serde_json::from_str(column.get())
                    .map_err(|error| Failure::invalid(format!("key: {error}")))?;
                push_string(&mut key, &text);
            }
            [b'{' | b'[', ..] => {
                return Err(Failure::invalid(
                    "a column of the key cannot be an object or an array",
                ));
            }
            other => key.extend_from_slice(other),
        }
    }
    if columns.len() == 1 {
        key.remove(0);
    } else {
        key.push(b']');
    }
    Ok(key)
}

/// The key that the fields `names` of a value make.
///
/// # Errors
/// When the value is no object, or lacks a field.
pub(crate) fn key_from_fields(value: &[u8], names: &[&str]) -> Result<Vec<u8>, Failure> {
    let text = std::str::from_utf8(value).map_err(|_| no_object())?;
    let mut json = serde_json::Deserializer::from_str(text);
    let found = json.deserialize_map(Pick { names }).map_err(|_| no_object())?;
    let mut columns = Vec::with_capacity(names.len());
    for (name, column) in names.iter().zip(&found) {
        let column = column.filter(|column| column.get() != "null").ok_or_else(|| {
            Failure::new(
                Code::Engine(ErrorKind::InvalidRecord),
                format!("the key is taken from the field {name:?}, which the value does not have"),
            )
            .hint("give the event a key, or its value the field")
        })?;
        columns.push(column);
    }
    columns_key(&columns)
}

/// The record key of several columns, given as an array.
///
/// # Errors
/// When it is none, or has columns that no key has.
pub(crate) fn key_from_columns(text: &str) -> Result<Vec<u8>, Failure> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(array) if array.get().starts_with('[') => key_bytes(array).map(Cow::into_owned),
        _ => Err(Failure::invalid("the key has several columns: give a JSON array of them")),
    }
}

fn no_object() -> Failure {
    Failure::new(
        Code::Engine(ErrorKind::InvalidRecord),
        "the key is taken from the value's fields, but the value is no JSON object",
    )
    .hint("give the event a key")
}

/// Finds some fields of an object; of two with one name, the last.
struct Pick<'n> {
    names: &'n [&'n str],
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.names.len()];
        while let Some(field) = map.next_key::<FieldName<'de>>()? {
            match self.names.iter().position(|&name| name == field.0) {
                Some(at) => found[at] = Some(map.next_value()?),
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(found)
    }
}

#[derive(Deserialize)]
struct FieldName<'a>(#[serde(borrow)] Cow<'a, str>);

/// A list that ends the parse when it grows beyond [`EVENTS_MAX`].
pub(crate) struct AtMost<T>(pub(crate) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for AtMost<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(AtMostVisitor(PhantomData))
    }
}

struct AtMostVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtMostVisitor<T> {
    type Value = AtMost<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == EVENTS_MAX {
                return Err(A::Error::custom(format!(
                    "more than {EVENTS_MAX} in one request: send them in several"
                )));
            }
            items.push(item);
        }
        Ok(AtMost(items))
    }
}
