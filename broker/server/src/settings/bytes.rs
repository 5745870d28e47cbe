//! A size: `512MiB`, `2 GB`, or a plain number of bytes.

use super::SettingsError;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(u64);

/// Largest unit first, so that a size is printed with the largest that divides it.
const UNITS: [(&str, u64); 7] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

impl Bytes {
    /// So many mebibytes.
    pub(crate) const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The number of bytes.
    pub(crate) fn get(self) -> u64 {
        self.0
    }

    /// Refuses what is smaller or larger.
    pub(crate) fn check(
        self,
        key: &'static str,
        min: Self,
        max: Self,
    ) -> Result<(), SettingsError> {
        if (min.0..=max.0).contains(&self.0) {
            return Ok(());
        }
        Err(SettingsError::Size { key, found: self, min, max })
    }

    /// As much of it as this machine can address.
    pub(crate) fn get_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a size: write one such as \"512MiB\"");
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (count, unit) = text.split_at(digits);
        let count: u64 = count.parse().map_err(|_| wrong())?;
        let unit = unit.trim();
        let scale = match unit {
            "" | "B" => 1,
            _ => {
                let found = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
                found.ok_or_else(wrong)?.1
            }
        };
        count.checked_mul(scale).map(Self).ok_or_else(|| format!("\"{text}\" is too large"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, scale)| self.0 > 0 && self.0.is_multiple_of(*scale));
        match unit {
            Some((name, scale)) => write!(f, "{}{name}", self.0 / scale),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"512MiB\"")
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<Bytes, E> {
        u64::try_from(count).map(Bytes).map_err(|_| E::custom("a size is not negative"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
        text.parse().map_err(E::custom)
    }
}
