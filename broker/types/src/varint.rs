//! Zigzag variable-length integers, as record batches use them (Kafka protocol guide, "VARINT").

/// Appends `value` in zigzag encoding, 1 to 10 bytes.
pub fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Bytes that [`put`] writes for `value`.
#[must_use]
pub fn len(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes an integer from the front of `input`; `None` when it is cut off or longer than 10 bytes.
#[inline]
pub fn take(input: &mut &[u8]) -> Option<i64> {
    // Nearly every field of a record fits one byte, and lengths and offsets two: a third of the
    // time of validating a batch went into the loop below.
    let (&first, rest) = input.split_first()?;
    if first < 0x80 {
        *input = rest;
        return Some(i64::from(first >> 1) ^ -i64::from(first & 1));
    }
    if let Some((&second, rest)) = rest.split_first()
        && second < 0x80
    {
        *input = rest;
        let value = i64::from(first & 0x7f) | i64::from(second) << 7;
        return Some(value >> 1 ^ -(value & 1));
    }
    take_long(first, rest, input)
}

#[cold]
fn take_long<'a>(first: u8, rest: &'a [u8], input: &mut &'a [u8]) -> Option<i64> {
    let mut value = u64::from(first & 0x7f);
    let mut shift = 7;
    for (at, &byte) in rest.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            *input = &rest[at + 1..];
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
        shift += 7;
    }
    None
}
