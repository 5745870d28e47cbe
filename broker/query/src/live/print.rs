//! Rows and keys of changes as JSON.

use super::{Change, Op};
use crate::rows::{KeyShape, Layout, patched, write_bytes_string};
use anabranch_engine::Stream;

pub(super) fn row(stream: &Stream, layout: &Layout, change: &Change, out: &mut Vec<u8>) {
    let Some(value) = change.value.as_deref().filter(|_| change.op == Op::Upsert) else {
        out.extend_from_slice(b"null");
        return;
    };
    if serde_json::from_slice::<serde::de::IgnoredAny>(value).is_err() {
        write_bytes_string(value, out);
        return;
    }
    let is_object = value.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    match change.key.as_deref().filter(|_| is_object) {
        Some(key) => {
            let columns = key_fields(stream, layout, key);
            match columns.is_empty() {
                true => out.extend_from_slice(value),
                false => out.extend_from_slice(&patched(value, &columns)),
            }
        }
        None => out.extend_from_slice(value),
    }
}

pub(super) fn key(layout: &Layout, change: &Change, out: &mut Vec<u8>) {
    let Some(key) = change.key.as_deref() else {
        out.extend_from_slice(b"null");
        return;
    };
    match (&layout.key, layout.key.columns_json(key)) {
        (KeyShape::Array(_), Some(_)) => out.extend_from_slice(key),
        (_, Some(columns)) => columns.iter().for_each(|column| out.extend_from_slice(column)),
        (_, None) => write_bytes_string(key, out),
    }
}

/// The key's columns as fields.
fn key_fields<'a>(stream: &'a Stream, layout: &Layout, key: &[u8]) -> Vec<(&'a str, Vec<u8>)> {
    let names = stream.key_columns().map(anabranch_engine::Column::field);
    names.zip(layout.key.columns_json(key).unwrap_or_default()).collect()
}
