//! The protocol's primitive types (Kafka protocol guide, "Protocol Primitive Types").

use crate::Error;
use bytes::BufMut;

#[cfg(test)]
mod tests;

/// Reads an answer; everything is compared with the bytes that are left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

const CUT_OFF: Error = Error::Malformed("it is cut off");

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some((taken, rest)) = self.rest.split_first_chunk() else { return Err(CUT_OFF) };
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else { return Err(CUT_OFF) };
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Error> {
        Ok(self.fixed::<1>()?[0] != 0)
    }

    #[inline]
    pub(crate) fn i16(&mut self) -> Result<i16, Error> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    #[inline]
    pub(crate) fn i32(&mut self) -> Result<i32, Error> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    #[inline]
    pub(crate) fn i64(&mut self) -> Result<i64, Error> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    fn uvarint(&mut self) -> Result<u32, Error> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.fixed()?;
            let part = u32::from(byte & 0x7f);
            if shift == 28 && part > 0xf {
                break;
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::Malformed("a variable-length number does not end"))
    }

    #[inline]
    pub(crate) fn nullable_string(&mut self) -> Result<Option<&'a str>, Error> {
        let Ok(length) = usize::try_from(self.i16()?) else {
            return Ok(None);
        };
        let bytes = self.bytes(length)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| Error::Malformed("a string is not UTF-8"))
    }

    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, Error> {
        self.nullable_string()?.ok_or(Error::Malformed("a string is null"))
    }

    /// The length of an array whose elements take at least `bytes_min` each; null is empty.
    #[inline]
    pub(crate) fn array(&mut self, bytes_min: usize) -> Result<usize, Error> {
        let count = usize::try_from(self.i32()?).unwrap_or(0);
        self.fits(count, bytes_min)
    }

    /// As [`Self::array`], in the compact encoding (KIP-482).
    pub(crate) fn compact_array(&mut self, bytes_min: usize) -> Result<usize, Error> {
        let count = (self.uvarint()? as usize).saturating_sub(1);
        self.fits(count, bytes_min)
    }

    fn fits(&self, count: usize, bytes_min: usize) -> Result<usize, Error> {
        if count.saturating_mul(bytes_min) > self.rest.len() {
            return Err(Error::Malformed("an array is longer than the answer"));
        }
        Ok(count)
    }

    /// The length of nullable bytes.
    pub(crate) fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, Error> {
        match usize::try_from(self.i32()?) {
            Ok(length) => self.bytes(length).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Skips tagged fields (KIP-482).
    pub(crate) fn tags(&mut self) -> Result<(), Error> {
        let count = self.uvarint()?;
        for _ in 0..count {
            self.uvarint()?;
            let length = self.uvarint()?;
            self.bytes(length as usize)?;
        }
        Ok(())
    }
}

/// Appends a string, or null.
///
/// # Panics
/// If it is longer than the protocol can say; callers check names first.
pub(crate) fn put_nullable_string(out: &mut Vec<u8>, value: Option<&str>) {
    match value {
        None => out.put_i16(-1),
        Some(value) => put_string(out, value),
    }
}

/// Appends a string.
///
/// # Panics
/// As [`put_nullable_string`].
pub(crate) fn put_string(out: &mut Vec<u8>, value: &str) {
    let length = i16::try_from(value.len()).expect("names are checked before they are sent");
    out.put_i16(length);
    out.extend_from_slice(value.as_bytes());
}

/// Appends a short string in the compact encoding (KIP-482).
pub(crate) fn put_compact_string(out: &mut Vec<u8>, value: &str) {
    let length = u8::try_from(value.len() + 1).ok().filter(|length| *length < 0x80);
    out.put_u8(length.expect("only our own short names are sent so"));
    out.extend_from_slice(value.as_bytes());
}

/// Appends the length of an array.
pub(crate) fn put_array(out: &mut Vec<u8>, count: usize) {
    out.put_i32(i32::try_from(count).expect("requests are bounded"));
}
