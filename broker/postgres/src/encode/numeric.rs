//! Numeric in binary: digits to the base of ten thousand (PostgreSQL 15, numeric.c).

use bytes::{Buf, BufMut, BytesMut};

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;

/// Writes a decimal number such as `-12.50`.
pub(super) fn put(text: &str, out: &mut BytesMut) {
    const INFINITIES: [(&str, u16); 3] =
        [("NaN", NAN), ("Infinity", 0xd000), ("-Infinity", 0xf000)];
    if let Some((_, sign)) = INFINITIES.iter().find(|(name, _)| *name == text) {
        out.put_i16(0);
        out.put_i16(0);
        out.put_u16(*sign);
        out.put_u16(0);
        return;
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (NEGATIVE, rest),
        None => (0, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    // Groups of four digits, aligned at the point.
    let mut groups: Vec<i16> = Vec::new();
    let head = whole.len() % 4;
    let group = |digits: &[u8]| digits.iter().fold(0, |n, d| n * 10 + i16::from(d - b'0'));
    if head > 0 {
        groups.push(group(&whole.as_bytes()[..head]));
    }
    groups.extend(whole.as_bytes()[head..].chunks(4).map(group));
    let weight = groups.len() as i16 - 1;
    for four in fraction.as_bytes().chunks(4) {
        groups.push(group(four) * 10i16.pow(4 - four.len() as u32));
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let weight = weight - leading as i16;
    let mut groups = &groups[leading..];
    while let Some((0, rest)) = groups.split_last() {
        groups = rest;
    }
    out.put_i16(groups.len() as i16);
    out.put_i16(if groups.is_empty() { 0 } else { weight });
    out.put_u16(if groups.is_empty() { 0 } else { sign });
    out.put_u16(fraction.len() as u16);
    for group in groups {
        out.put_i16(*group);
    }
}

/// Reads a number as text; `None` where the bytes are not one.
pub(crate) fn take(mut bytes: &[u8]) -> Option<String> {
    if bytes.len() < 8 {
        return None;
    }
    let count = usize::try_from(bytes.get_i16()).ok()?;
    let weight = bytes.get_i16();
    let sign = bytes.get_u16();
    let scale = usize::from(bytes.get_u16());
    if sign == NAN || bytes.len() != count * 2 {
        return None;
    }
    let groups: Vec<i16> = (0..count).map(|_| bytes.get_i16()).collect();
    if groups.iter().any(|group| !(0..10_000).contains(group)) || !(-64..64).contains(&weight) {
        return None;
    }
    let group = |position: i16| {
        let index = usize::try_from(weight - position).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    if sign == NEGATIVE {
        text.push('-');
    }
    let mut whole: String = (0..=weight.max(0)).rev().map(|p| format!("{:04}", group(p))).collect();
    let zeros = whole.len() - whole.trim_start_matches('0').len();
    whole.drain(..zeros.min(whole.len() - 1));
    text.push_str(&whole);
    if scale > 0 {
        let positions = i16::try_from(scale.div_ceil(4)).ok()?;
        let fraction: String = (1..=positions).map(|p| format!("{:04}", group(-p))).collect();
        text.push('.');
        text.push_str(&fraction[..scale.min(fraction.len())]);
    }
    Some(text)
}
