//! The five codecs of Kafka, each bounded in what it may expand to.

use super::BatchError;
use crate::limits::BATCH_DECOMPRESSED_BYTES_MAX;
use std::io::{self, Read, Write};

/// How the records of a batch are compressed. Batches are stored as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, raw or in the framing of xerial's Java library.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

impl Compression {
    pub(super) fn from_id(id: u8) -> Result<Self, BatchError> {
        Ok(match id {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            other => return Err(BatchError::Codec(other)),
        })
    }

    pub(super) fn id(self) -> i16 {
        self as i16
    }

    pub(super) fn compress(self, input: &[u8]) -> Result<Vec<u8>, BatchError> {
        let compressed = match self {
            Self::None => Ok(input.to_vec()),
            Self::Gzip => {
                let mut writer =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                writer.write_all(input).and_then(|()| writer.finish())
            }
            Self::Snappy => snap::raw::Encoder::new().compress_vec(input).map_err(io::Error::other),
            Self::Lz4 => {
                let mut writer = lz4_flex::frame::FrameEncoder::new(Vec::new());
                writer.write_all(input).and_then(|()| writer.finish().map_err(io::Error::other))
            }
            Self::Zstd => zstd::bulk::compress(input, 3),
        };
        compressed.map_err(refused)
    }

    /// Appends the expanded `input` to `out`.
    pub(super) fn decompress(self, input: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
        match self {
            Self::None => {
                out.extend_from_slice(input);
                Ok(())
            }
            Self::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(input), out),
            Self::Snappy => decompress_snappy(input, out),
            Self::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(input), out),
            Self::Zstd => {
                read_bounded(zstd::stream::read::Decoder::new(input).map_err(refused)?, out)
            }
        }
    }
}

fn refused(error: impl std::fmt::Display) -> BatchError {
    BatchError::Decompress(error.to_string())
}

fn too_large() -> BatchError {
    BatchError::Decompress(format!("it expands beyond {BATCH_DECOMPRESSED_BYTES_MAX} bytes"))
}

fn read_bounded(reader: impl Read, out: &mut Vec<u8>) -> Result<(), BatchError> {
    let bound = BATCH_DECOMPRESSED_BYTES_MAX as u64 + 1;
    let read = reader.take(bound).read_to_end(out).map_err(refused)?;
    if read as u64 == bound { Err(too_large()) } else { Ok(()) }
}

/// Java clients wrap snappy in xerial's framing: 8 bytes of magic, two versions, then blocks with
/// a big-endian length each. librdkafka and others send one raw block.
fn decompress_snappy(input: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
    const XERIAL: &[u8] = b"\x82SNAPPY\0";
    let Some(framed) = input.strip_prefix(XERIAL) else {
        return decompress_snappy_block(input, out);
    };
    let mut rest = framed.get(8..).ok_or_else(|| refused("snappy framing is cut off"))?;
    while !rest.is_empty() {
        let (length, after) =
            rest.split_first_chunk().ok_or_else(|| refused("snappy framing is cut off"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) =
            after.split_at_checked(length).ok_or_else(|| refused("a snappy block is cut off"))?;
        decompress_snappy_block(block, out)?;
        rest = after;
    }
    Ok(())
}

fn decompress_snappy_block(block: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
    let expanded = snap::raw::decompress_len(block).map_err(refused)?;
    // Snappy cannot expand more than about 22 times (a copy of 64 bytes takes three): a header
    // that promises more is a lie, and must not become an allocation.
    if expanded > block.len().saturating_mul(64)
        || out.len() + expanded > BATCH_DECOMPRESSED_BYTES_MAX
    {
        return Err(too_large());
    }
    let start = out.len();
    out.resize(start + expanded, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(refused)?;
    Ok(())
}
