//! Where reading begins, and positions as text: `0:1500,1:72`.

use crate::error::Failure;
use anabranch_types::{Offset, PartitionIndex, Timestamp};

/// Most partitions a position may name.
const PARTITIONS_MAX: usize = 100_000;

/// Where reading begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Begin {
    /// After what is there.
    Now,
    /// With the first that is kept.
    Beginning,
    /// At these offsets; other partitions with the first that is kept.
    Position(Vec<(PartitionIndex, Offset)>),
    /// With the first record of that time or later.
    Time(Timestamp),
    /// After what the token covers (tables only).
    Token(String),
}

impl Begin {
    /// Parses what clients send.
    ///
    /// # Errors
    /// Anything else, with what is allowed.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        match text {
            "now" => return Ok(Self::Now),
            "beginning" => return Ok(Self::Beginning),
            _ => {}
        }
        if let Some(token) = text.strip_prefix("token:") {
            return Ok(Self::Token(token.to_owned()));
        }
        if let Some(time) = text.strip_prefix("time:") {
            let time = time.parse().map_err(|_| refused(text))?;
            return Ok(Self::Time(Timestamp(time)));
        }
        Ok(Self::Position(parse_position(text).ok_or_else(|| refused(text))?))
    }
}

fn refused(text: &str) -> Failure {
    let shown: String = text.chars().take(80).collect();
    Failure::invalid(format!("`from` cannot be {shown:?}")).hint(
        "\"now\", \"beginning\", a position such as \"0:1500,1:72\", \"time:<milliseconds>\", \
         or \"token:<token>\" for a table",
    )
}

/// The offsets in `0:1500,1:72`, each partition once.
fn parse_position(text: &str) -> Option<Vec<(PartitionIndex, Offset)>> {
    let mut position = Vec::new();
    for entry in text.split(',') {
        let (partition, offset) = entry.split_once(':')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(partition) || !digits(offset) || position.len() == PARTITIONS_MAX {
            return None;
        }
        position.push((PartitionIndex(partition.parse().ok()?), Offset(offset.parse().ok()?)));
    }
    let mut partitions: Vec<_> = position.iter().map(|(partition, _)| partition).collect();
    partitions.sort_unstable();
    let distinct = partitions.windows(2).all(|pair| pair[0] != pair[1]);
    distinct.then_some(position)
}

/// A position as text; [`Begin::parse`] takes it.
pub(crate) fn position_text(
    position: impl IntoIterator<Item = (PartitionIndex, Offset)>,
) -> String {
    let entries: Vec<_> =
        position.into_iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
    entries.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from() {
        let check = |text: &str, expected: Option<Begin>| {
            assert_eq!(Begin::parse(text).ok(), expected, "{text}");
        };
        check("now", Some(Begin::Now));
        check("beginning", Some(Begin::Beginning));
        check("time:17", Some(Begin::Time(Timestamp(17))));
        check("token:a b", Some(Begin::Token("a b".to_owned())));
        let position = vec![(PartitionIndex(0), Offset(1500)), (PartitionIndex(1), Offset(72))];
        assert_eq!(position_text(position.clone()), "0:1500,1:72");
        check("0:1500,1:72", Some(Begin::Position(position)));
        for bad in [
            "",
            "0",
            ":",
            "0:",
            ":1",
            "0:1,",
            "0:-1",
            "-1:0",
            "+0:1",
            "0:1,0:2",
            "0:1;1:2",
            "0:9223372036854775808",
            "2147483648:0",
            "time:",
            "time:x",
            "earliest",
        ] {
            check(bad, None);
        }
    }
}
