//! Writing JSON by hand into one buffer: on the way of a record there is no tree of values.

mod document;
#[cfg(test)]
mod tests;

pub(crate) use document::is_document;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Appends `text` as a JSON string, quotes included. Keys are made of it: the one form that the
/// query layer writes and looks up too.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => 0,
            _ => continue,
        };
        out.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        if short == 0 {
            out.extend_from_slice(b"\\u00");
            out.push(hex_digit(byte >> 4));
            out.push(hex_digit(byte & 0xf));
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

fn hex_digit(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble)]
}

/// Appends a whole number.
pub(crate) fn push_int(out: &mut Vec<u8>, value: i64) {
    // 20 bytes hold u64::MAX.
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a whole number without sign.
pub(crate) fn push_uint(out: &mut Vec<u8>, value: u64) {
    match i64::try_from(value) {
        Ok(value) => push_int(out, value),
        Err(_) => out.extend_from_slice(value.to_string().as_bytes()),
    }
}

/// Appends `bytes` as a JSON string of base64 (RFC 4648, section 4).
pub(crate) fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    let length = base64::encoded_len(bytes.len(), true).unwrap_or(usize::MAX);
    out.resize(start + length, 0);
    let written = STANDARD
        .encode_slice(bytes, &mut out[start..])
        .expect("the space was reserved for exactly these bytes");
    out.truncate(start + written);
    out.push(b'"');
}

/// The bytes that `text` stands for in base64.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Appends a JSON document on one line.
pub(crate) fn push_document(out: &mut Vec<u8>, document: &str) {
    let start = out.len();
    out.extend_from_slice(document.as_bytes());
    put_on_one_line(&mut out[start..]);
}

/// Turns the line breaks of JSON, which can only stand between tokens, into spaces.
pub(crate) fn put_on_one_line(json: &mut [u8]) {
    for byte in json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// Appends `,` unless `out` ends where a list begins.
pub(crate) fn push_comma(out: &mut Vec<u8>) {
    if !matches!(out.last(), None | Some(b'[' | b'{')) {
        out.push(b',');
    }
}
