//! Where to resume: the stamp of the last record that was given.

use crate::error::{Error, sqlstate};
use anabranch_engine::Stream;
use anabranch_types::partitioner::murmur2;
use anabranch_types::{Offset, PartitionId, Round, varint};

/// Everything up to here, in the order of stamps, was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token {
    pub(super) round: Round,
    pub(super) partition: PartitionId,
    pub(super) offset: Offset,
}

/// First byte of an encoded token.
const VERSION: u8 = 1;

impl Token {
    /// All of a round and of those before it.
    pub(super) fn after_round(round: Round) -> Self {
        Self { round, partition: PartitionId(u32::MAX), offset: Offset(i64::MAX) }
    }

    /// As text, bound to this broker's data and to this stream.
    pub(super) fn encode(self, cluster: &str, stream: &Stream) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&seal(cluster, stream).to_be_bytes());
        varint::put(&mut bytes, self.round.0 as i64);
        varint::put(&mut bytes, i64::from(self.partition.0));
        varint::put(&mut bytes, self.offset.0);
        hex(&bytes)
    }

    pub(super) fn decode(text: &str, cluster: &str, stream: &Stream) -> Result<Self, Error> {
        let bytes = unhex(text).ok_or_else(|| refused("it is not a token"))?;
        let Some((&[VERSION, a, b, c, d], mut rest)) = bytes.split_first_chunk::<5>() else {
            return Err(refused("it is not a token of this version"));
        };
        if u32::from_be_bytes([a, b, c, d]) != seal(cluster, stream) {
            return Err(refused("it is of another stream, or of a broker with other data"));
        }
        let mut number = || varint::take(&mut rest);
        let token =
            number().zip(number()).zip(number()).and_then(|((round, partition), offset)| {
                Some(Self {
                    round: Round(u64::try_from(round).ok()?),
                    partition: PartitionId(u32::try_from(partition).ok()?),
                    offset: Offset(offset),
                })
            });
        token.filter(|_| rest.is_empty()).ok_or_else(|| refused("it is cut off"))
    }
}

/// A token that cannot be used.
pub(super) fn refused(why: &str) -> Error {
    Error::new(sqlstate::INVALID_PARAMETER, format!("the resume token is not valid: {why}"))
        .hint("start again without a token")
}

fn seal(cluster: &str, stream: &Stream) -> u32 {
    let mut bytes = cluster.as_bytes().to_vec();
    bytes.extend_from_slice(stream.id.0.as_bytes());
    murmur2(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() > 128 {
        return None;
    }
    crate::rows::hex_bytes(&format!("\\x{text}"))
}
