//! The records inside a batch, borrowed from its bytes.

use super::header::HEADER_BYTES;
use super::{BatchError, BatchHeader, Compression};
use crate::limits::RECORD_HEADERS_MAX;
use crate::{Offset, Timestamp, varint};

/// One record; `None` and empty are different for key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset, given that its batch's base offset is right.
    pub offset: Offset,
    /// Its time: the producer's, or the append's where the batch says so.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` deletes the key in a keyed stream.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: Headers<'a>,
}

/// A record's headers; already checked, decoded on demand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

/// One header: Kafka requires UTF-8 names but does not check them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    /// Headers of the record.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends the headers as [`Self::decode`] takes them: a count, then name and value each.
    /// Nothing for no headers.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.count > 0 {
            varint::put(out, self.count as i64);
            out.extend_from_slice(self.bytes);
        }
    }

    /// The headers that [`Self::encode`] wrote; `None` if it did not.
    #[must_use]
    pub fn decode(mut encoded: &'a [u8]) -> Option<Self> {
        if encoded.is_empty() {
            return Some(Self::default());
        }
        let count = usize::try_from(varint::take(&mut encoded)?).ok()?;
        let mut rest = encoded;
        for _ in 0..count {
            take_header(&mut rest)?;
        }
        rest.is_empty().then_some(Self { count, bytes: encoded })
    }

    /// The headers in order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let mut rest = self.bytes;
        (0..self.count).map_while(move |_| take_header(&mut rest))
    }
}

/// Finds the records of `batch`. Where they are compressed they are expanded into `scratch`,
/// which is cleared first.
///
/// # Errors
/// An unknown codec, or one that refuses the bytes.
pub fn decode_records<'a>(
    header: &BatchHeader,
    batch: &'a [u8],
    scratch: &'a mut Vec<u8>,
) -> Result<Records<'a>, BatchError> {
    let payload = &batch[HEADER_BYTES..header.bytes];
    let bytes = match header.compression()? {
        Compression::None => payload,
        codec => {
            scratch.clear();
            codec.decompress(payload, scratch)?;
            scratch
        }
    };
    Ok(Records {
        rest: bytes,
        left: header.records_count.max(0) as usize,
        base_offset: header.base_offset,
        base_timestamp: header.base_timestamp,
        append_time: header.is_log_append_time().then_some(header.max_timestamp),
    })
}

/// Iterator over the records of a batch: as many as its header says, or an error.
#[derive(Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    left: usize,
    base_offset: Offset,
    base_timestamp: Timestamp,
    append_time: Option<Timestamp>,
}

impl<'a> Records<'a> {
    /// Bytes that are left after the records taken so far.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self) -> Option<Record<'a>> {
        let length = usize::try_from(varint::take(&mut self.rest)?).ok()?;
        let (mut body, rest) = self.rest.split_at_checked(length)?;
        let (_attributes, after) = body.split_first()?;
        body = after;
        let timestamp_delta = varint::take(&mut body)?;
        let offset_delta = varint::take(&mut body)?;
        let key = take_bytes(&mut body)?;
        let value = take_bytes(&mut body)?;
        let count = usize::try_from(varint::take(&mut body)?).ok()?;
        if count > RECORD_HEADERS_MAX {
            return None;
        }
        let headers = Headers { count, bytes: body };
        for _ in 0..count {
            take_header(&mut body)?;
        }
        if !body.is_empty() || offset_delta < 0 || offset_delta > i64::from(i32::MAX) {
            return None;
        }
        self.rest = rest;
        Some(Record {
            offset: Offset(self.base_offset.0.wrapping_add(offset_delta)),
            timestamp: self
                .append_time
                .unwrap_or(Timestamp(self.base_timestamp.0.wrapping_add(timestamp_delta))),
            key,
            value,
            headers,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let record = self.take();
        if record.is_none() {
            self.left = 0;
        }
        Some(record.ok_or(BatchError::Malformed("a record's framing is broken")))
    }
}

#[inline]
fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::take(input)?;
    if length < 0 {
        return (length == -1).then_some(None);
    }
    let (bytes, rest) = input.split_at_checked(usize::try_from(length).ok()?)?;
    *input = rest;
    Some(Some(bytes))
}

fn take_header<'a>(input: &mut &'a [u8]) -> Option<Header<'a>> {
    let name = take_bytes(input)??;
    let value = take_bytes(input)?;
    Some(Header { name, value })
}
