//! Records as JSON (`PROTOCOL.md`, section 1): the hot path out.

#[cfg(test)]
mod tests;

use crate::json::{
    is_document, push_base64, push_comma, push_document, push_int, push_string, push_uint,
};
use crate::limits::VALUE_BYTES_MAX;
use anabranch_types::batch::Record;
use anabranch_types::{Offset, PartitionIndex};

/// Appends a record as an object; its partition stands in it or in the message around it.
pub(crate) fn push_record(
    out: &mut Vec<u8>,
    partition: Option<PartitionIndex>,
    record: &Record<'_>,
) {
    out.push(b'{');
    if let Some(partition) = partition {
        out.extend_from_slice(b"\"partition\":");
        push_int(out, i64::from(partition.0));
        out.push(b',');
    }
    out.extend_from_slice(b"\"offset\":");
    let Offset(offset) = record.offset;
    push_int(out, offset);
    out.extend_from_slice(b",\"ts\":");
    push_int(out, record.timestamp.0);
    out.push(b',');
    push_key(out, record.key);
    out.push(b',');
    push_value(out, record.value);
    if !record.headers.is_empty() {
        push_headers(out, record);
    }
    out.push(b'}');
}

/// Appends the key's field.
pub(crate) fn push_key(out: &mut Vec<u8>, key: Option<&[u8]>) {
    match key {
        None => out.extend_from_slice(b"\"key\":null"),
        Some(key) => push_text_or_base64(out, "key", key),
    }
}

/// Appends the value's field.
pub(crate) fn push_value(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let Some(value) = value else {
        out.extend_from_slice(b"\"value\":null");
        return;
    };
    // Six characters for a control character is the worst case; checked only where it matters.
    if value.len() > VALUE_BYTES_MAX {
        push_omitted(out, value);
        return;
    }
    let start = out.len();
    match std::str::from_utf8(value) {
        Ok(text) if is_document(text) && !is_null(text) => {
            out.extend_from_slice(b"\"value\":");
            push_document(out, text);
        }
        Ok(text) => {
            out.extend_from_slice(b"\"value_text\":");
            push_string(out, text);
        }
        Err(_) => {
            out.extend_from_slice(b"\"value_base64\":");
            push_base64(out, value);
        }
    }
    if out.len() - start > VALUE_BYTES_MAX {
        out.truncate(start);
        push_omitted(out, value);
    }
}

/// `null` inside a field would read as no value.
fn is_null(document: &str) -> bool {
    document.len() >= 4 && document.trim_ascii() == "null"
}

fn push_omitted(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(b"\"value_omitted_bytes\":");
    push_uint(out, value.len() as u64);
}

fn push_text_or_base64(out: &mut Vec<u8>, field: &str, bytes: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(field.as_bytes());
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            out.extend_from_slice(b"\":");
            push_string(out, text);
        }
        Err(_) => {
            out.extend_from_slice(b"_base64\":");
            push_base64(out, bytes);
        }
    }
}

fn push_headers(out: &mut Vec<u8>, record: &Record<'_>) {
    out.extend_from_slice(b",\"headers\":[");
    for header in record.headers.iter() {
        push_comma(out);
        out.push(b'{');
        push_text_or_base64(out, "name", header.name);
        out.push(b',');
        match header.value {
            None => out.extend_from_slice(b"\"value\":null"),
            Some(value) => push_text_or_base64(out, "value", value),
        }
        out.push(b'}');
    }
    out.push(b']');
}
