//! JSON as it was written: parts are cut out of the text.

use super::scan::Members;
use crate::datum::Datum;
use crate::error::{Error, sqlstate};
use crate::json::{Json as Tree, parse, position, quoted};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::ColumnarValue;
use datafusion::scalar::ScalarValue;
use jiter::{Jiter, Peek};
use memchr::memmem::Finder;
use std::sync::Arc;

/// In what form a part is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// As it stands.
    Json,
    /// Strings without quotes, nothing for null.
    Text,
}

/// The members of one key, for a column of documents.
pub(super) fn members(args: &[ColumnarValue], cut: Cut) -> Option<Result<ArrayRef, Error>> {
    let [
        ColumnarValue::Array(documents),
        ColumnarValue::Scalar(ScalarValue::Utf8View(Some(key)) | ScalarValue::Utf8(Some(key))),
    ] = args
    else {
        return None;
    };
    if documents.data_type() != &DataType::Utf8View {
        return None;
    }
    let build = || {
        let wanted = Wanted::new(key);
        let mut builder = StringViewBuilder::with_capacity(documents.len());
        for document in documents.as_string_view() {
            match (document.and_then(|document| wanted.find(document)), cut) {
                (None, _) => builder.append_null(),
                (Some(part), Cut::Json) => builder.append_value(part),
                (Some(part), Cut::Text) => match plain(part) {
                    Some(text) => builder.append_value(text),
                    None => match as_text(Some(part))? {
                        Datum::Text(text) => builder.append_value(text),
                        _ => builder.append_null(),
                    },
                },
            }
        }
        Ok(Arc::new(builder.finish()) as ArrayRef)
    };
    Some(build())
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

/// The value at which `jiter` stands, as text; it stands behind it then.
fn cut<'a>(text: &'a str, jiter: &mut Jiter<'_>) -> Option<&'a str> {
    let from = jiter.current_index();
    jiter.next_skip().ok()?;
    text.get(from..jiter.current_index()).map(trimmed)
}

/// A key that members are found by.
struct Wanted<'k> {
    key: &'k str,
    /// Finds it as it stands in documents, but for backslashes.
    finder: Finder<'static>,
}

impl<'k> Wanted<'k> {
    fn new(key: &'k str) -> Self {
        Self { key, finder: Finder::new(&format!("\"{key}\"")).into_owned() }
    }

    /// Whether the key may stand in `rest`, which has no backslash: else what was found before
    /// is the last.
    fn may_follow(&self, rest: &str) -> bool {
        self.finder.find(rest.as_bytes()).is_some()
    }

    /// The last member of this key.
    fn find<'a>(&self, text: &'a str) -> Option<&'a str> {
        let Some(mut members) = Members::of(text) else {
            return self.parsed(text);
        };
        let mut found = None;
        while let Some((key, value)) = members.next() {
            if key == self.key {
                found = Some(value);
                if !self.may_follow(members.rest()) {
                    break;
                }
            }
        }
        found
    }

    /// The same, of documents with escapes.
    fn parsed<'a>(&self, text: &'a str) -> Option<&'a str> {
        let mut jiter = Jiter::new(text.as_bytes());
        if jiter.peek().ok()? != Peek::Object {
            return None;
        }
        let mut found = None;
        let mut is_wanted = jiter.next_object().ok()?.map(|name| name == self.key);
        while let Some(this) = is_wanted {
            if this {
                found = Some(cut(text, &mut jiter)?);
            } else {
                jiter.next_skip().ok()?;
            }
            is_wanted = jiter.next_key().ok()?.map(|name| name == self.key);
        }
        found
    }
}

/// The last member of this key.
pub(super) fn member<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    Wanted::new(key).find(text)
}

fn items(text: &str) -> Option<Vec<&str>> {
    let mut jiter = Jiter::new(text.as_bytes());
    if jiter.peek().ok()? != Peek::Array {
        return None;
    }
    let mut items = Vec::new();
    let mut next = jiter.next_array().ok()?;
    while next.is_some() {
        items.push(cut(text, &mut jiter)?);
        next = jiter.array_step().ok()?;
    }
    Some(items)
}

pub(super) fn item(text: &str, index: i64) -> Option<&str> {
    let items = items(text)?;
    position(index, items.len()).map(|at| items[at])
}

pub(super) fn path<'a>(text: &'a str, steps: &Option<Vec<String>>) -> Option<&'a str> {
    steps.as_ref()?.iter().try_fold(text, |text, step| match trimmed(text).starts_with('[') {
        true => item(text, step.trim().parse().ok()?),
        false => member(text, step),
    })
}

/// The text of a part that needs no work.
fn plain(part: &str) -> Option<&str> {
    match part.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').filter(|text| !text.contains('\\')),
        None if part == "null" => None,
        None => Some(part),
    }
}

pub(super) fn as_text(part: Option<&str>) -> Result<Datum, Error> {
    let Some(part) = part else {
        return Ok(Datum::Null);
    };
    match plain(part) {
        Some(text) => Ok(Datum::Text(text.to_owned())),
        None => Ok(parse(part)?.as_text().map_or(Datum::Null, Datum::Text)),
    }
}

/// Without members that are null, and without spaces.
pub(super) fn stripped(text: &str) -> Result<String, Error> {
    let bad = || Error::new(sqlstate::INVALID_TEXT, "invalid input syntax for type json");
    let text = trimmed(text);
    let mut parts = Vec::new();
    match text.as_bytes().first() {
        Some(b'{') => {
            let mut jiter = Jiter::new(text.as_bytes());
            let mut next = jiter.next_object().map_err(|_| bad())?.map(quoted);
            while let Some(name) = next {
                let value = cut(text, &mut jiter).ok_or_else(bad)?;
                if value != "null" {
                    parts.push(format!("{name}:{}", stripped(value)?));
                }
                next = jiter.next_key().map_err(|_| bad())?.map(quoted);
            }
            Ok(format!("{{{}}}", parts.join(",")))
        }
        Some(b'[') => {
            for value in items(text).ok_or_else(bad)? {
                parts.push(stripped(value)?);
            }
            Ok(format!("[{}]", parts.join(",")))
        }
        Some(b'"') => Ok(match parse(text)? {
            Tree::Text(text) => quoted(&text),
            other => other.to_string(),
        }),
        _ => Ok(text.to_owned()),
    }
}
