//! Kafka's primitive types on the wire, read with bounds and written into a buffer.
//!
//! Source: Kafka protocol guide, "Protocol Primitive Types"; KIP-482 for the compact ones.

use bytes::{BufMut, BytesMut};
use std::ops::Range;
use uuid::Uuid;

/// Why bytes are not a request. Kafka's answer to it is closing the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A field reaches beyond the end of the frame.
    #[error("the request is cut off: {what} needs {need} bytes, the frame has {have} more")]
    CutOff {
        /// The field.
        what: &'static str,
        /// Bytes it takes.
        need: usize,
        /// Bytes left.
        have: usize,
    },
    /// A length or count that nothing can have.
    #[error("the request is malformed: {0}")]
    Invalid(&'static str),
    /// More than is decoded at once.
    #[error("the request holds more than {0} array elements: send less at a time")]
    TooMany(usize),
    /// No such API, or not spoken here.
    #[error("API {key} version {version} is not supported; ask ApiVersions for those that are")]
    Unsupported {
        /// The API's number.
        key: i16,
        /// The version asked for.
        version: i16,
    },
}

/// A cursor over a frame. Every length is checked against what is left before it is believed.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    frame: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads `frame` from its start.
    #[must_use]
    pub fn new(frame: &'a [u8]) -> Self {
        Self { frame, at: 0 }
    }

    /// Where the cursor stands, in bytes from the frame's start.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.frame.len() - self.at
    }

    /// The bytes of a range that was read before.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> &'a [u8] {
        &self.frame[range]
    }

    /// Moves past `need` bytes and says where they stand.
    ///
    /// # Errors
    /// [`Malformed::CutOff`].
    #[inline]
    pub fn skip(&mut self, need: usize, what: &'static str) -> Result<Range<usize>, Malformed> {
        if need > self.remaining() {
            return Err(Malformed::CutOff { what, need, have: self.remaining() });
        }
        let start = self.at;
        self.at += need;
        Ok(start..self.at)
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let range = self.skip(N, what)?;
        let mut out = [0; N];
        out.copy_from_slice(&self.frame[range]);
        Ok(out)
    }

    /// INT8.
    ///
    /// # Errors
    /// [`Malformed::CutOff`].
    #[inline]
    pub fn int8(&mut self, what: &'static str) -> Result<i8, Malformed> {
        Ok(i8::from_be_bytes(self.array(what)?))
    }

    /// INT16.
    ///
    /// # Errors
    /// [`Malformed::CutOff`].
    #[inline]
    pub fn int16(&mut self, what: &'static str) -> Result<i16, Malformed> {
        Ok(i16::from_be_bytes(self.array(what)?))
    }

    /// INT32.
    ///
    /// # Errors
    /// [`Malformed::CutOff`].
    #[inline]
    pub fn int32(&mut self, what: &'static str) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    /// INT64.
    ///
    /// # Errors
    /// [`Malformed::CutOff`].
    #[inline]
    pub fn int64(&mut self, what: &'static str) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    /// UUID.
    ///
    /// # Errors
    /// [`Malformed::CutOff`].
    #[inline]
    pub fn uuid(&mut self, what: &'static str) -> Result<Uuid, Malformed> {
        Ok(Uuid::from_bytes(self.array(what)?))
    }

    /// UNSIGNED_VARINT; more than 32 bits are refused.
    ///
    /// # Errors
    /// [`Malformed`].
    #[inline]
    pub fn varint(&mut self, what: &'static str) -> Result<u32, Malformed> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = u8::from_be_bytes(self.array(what)?);
            if shift == 28 && byte > 0x0f {
                return Err(Malformed::Invalid("a variable-length number has more than 32 bits"));
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    /// COMPACT_NULLABLE_STRING in flexible versions, else NULLABLE_STRING: where it stands.
    ///
    /// # Errors
    /// [`Malformed`].
    #[inline]
    pub fn text(
        &mut self,
        flexible: bool,
        what: &'static str,
    ) -> Result<Option<Range<usize>>, Malformed> {
        if flexible {
            return self.compact(what);
        }
        match self.int16(what)? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length)
                    .map_err(|_| Malformed::Invalid("a string has a negative length"))?;
                self.skip(length, what).map(Some)
            }
        }
    }

    /// COMPACT_NULLABLE_BYTES in flexible versions, else NULLABLE_BYTES: where they stand.
    ///
    /// # Errors
    /// [`Malformed`].
    #[inline]
    pub fn blob(
        &mut self,
        flexible: bool,
        what: &'static str,
    ) -> Result<Option<Range<usize>>, Malformed> {
        if flexible {
            return self.compact(what);
        }
        match self.int32(what)? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length)
                    .map_err(|_| Malformed::Invalid("a byte field has a negative length"))?;
                self.skip(length, what).map(Some)
            }
        }
    }

    #[inline]
    fn compact(&mut self, what: &'static str) -> Result<Option<Range<usize>>, Malformed> {
        match self.varint(what)? {
            0 => Ok(None),
            length => self.skip(length as usize - 1, what).map(Some),
        }
    }

    /// The element count of a COMPACT_ARRAY in flexible versions, else of an ARRAY; `None` for
    /// null. An element takes at least a byte, so more elements than bytes are refused.
    ///
    /// # Errors
    /// [`Malformed`].
    #[inline]
    pub fn count(
        &mut self,
        flexible: bool,
        what: &'static str,
    ) -> Result<Option<usize>, Malformed> {
        let count = if flexible {
            match self.varint(what)? {
                0 => return Ok(None),
                count => count as usize - 1,
            }
        } else {
            match self.int32(what)? {
                -1 => return Ok(None),
                count => usize::try_from(count)
                    .map_err(|_| Malformed::Invalid("an array has a negative length"))?,
            }
        };
        if count > self.remaining() {
            return Err(Malformed::CutOff { what, need: count, have: self.remaining() });
        }
        Ok(Some(count))
    }

    /// Skips the tagged fields that end each struct of a flexible version; says how many.
    ///
    /// # Errors
    /// [`Malformed`].
    #[inline]
    pub fn tags(&mut self) -> Result<usize, Malformed> {
        let count = self.varint("tagged fields")? as usize;
        for _ in 0..count {
            self.varint("a tag")?;
            let length = self.varint("a tagged field's length")? as usize;
            self.skip(length, "a tagged field")?;
        }
        Ok(count)
    }
}

/// Writes an UNSIGNED_VARINT.
#[inline]
pub(crate) fn put_varint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Writes an array's element count.
#[inline]
pub(crate) fn put_count(out: &mut BytesMut, flexible: bool, count: usize) {
    let count = u32::try_from(count).expect("a count taken from a bounded request");
    if flexible {
        put_varint(out, count + 1);
    } else {
        out.put_u32(count);
    }
}

/// Writes a string of at most 32,767 bytes.
#[inline]
pub(crate) fn put_text(out: &mut BytesMut, flexible: bool, text: &[u8]) {
    let length = u16::try_from(text.len()).expect("names come from requests that bound them");
    if flexible {
        put_varint(out, u32::from(length) + 1);
    } else {
        out.put_u16(length);
    }
    out.put_slice(text);
}

/// Writes a string that may be null.
#[inline]
pub(crate) fn put_nullable_text(out: &mut BytesMut, flexible: bool, text: Option<&str>) {
    match text {
        Some(text) => put_text(out, flexible, text.as_bytes()),
        None if flexible => out.put_u8(0),
        None => out.put_i16(-1),
    }
}

/// Writes the (empty) tagged fields that end a struct of a flexible version.
#[inline]
pub(crate) fn put_no_tags(out: &mut BytesMut, flexible: bool) {
    if flexible {
        out.put_u8(0);
    }
}

/// Starts a response frame; [`end_frame`] completes it.
#[inline]
pub(crate) fn begin_frame(out: &mut BytesMut, correlation: i32, tagged_header: bool) -> usize {
    let start = out.len();
    out.put_u32(0);
    out.put_i32(correlation);
    put_no_tags(out, tagged_header);
    start
}

/// Writes the length in front of the frame that starts at `start`, `extra` bytes of which are
/// sent from elsewhere.
#[inline]
pub(crate) fn end_frame(out: &mut BytesMut, start: usize, extra: usize) {
    let length = u32::try_from(out.len() - start - 4 + extra).expect("responses are bounded");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}
