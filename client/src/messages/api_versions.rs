//! ApiVersions: which requests a broker takes, in which versions (KIP-35, KIP-511).

use super::Api;
use crate::wire::{self, Reader};
use crate::{Error, limits};
use bytes::BufMut;

/// The broker's answer: (key, min, max) of each request it takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Versions(Vec<(i16, i16, i16)>);

/// What the broker said to a v3 request.
pub(crate) enum Answer {
    Versions(Versions),
    /// It does not know v3 (KIP-511): ask again with v0.
    AskOlder,
}

const UNSUPPORTED_VERSION: i16 = 35;

/// Body of a v3 request, with the header's tagged fields in front.
pub(crate) fn put_v3(out: &mut Vec<u8>) {
    out.put_u8(0);
    wire::put_compact_string(out, "anabranch-client");
    wire::put_compact_string(out, env!("CARGO_PKG_VERSION"));
    out.put_u8(0);
}

/// Reads the answer to version 3, or to version 0 where `v0`.
pub(crate) fn read(body: &[u8], v0: bool) -> Result<Answer, Error> {
    let mut reader = Reader::new(body);
    let code = reader.i16()?;
    if code == UNSUPPORTED_VERSION && !v0 {
        return Ok(Answer::AskOlder);
    }
    if code != 0 {
        return Err(Error::refused("asking for the broker's versions", code, None));
    }
    let count = if v0 { reader.array(6)? } else { reader.compact_array(7)? };
    let mut apis = Vec::with_capacity(count.min(limits::PARTITIONS_MAX));
    for _ in 0..count {
        apis.push((reader.i16()?, reader.i16()?, reader.i16()?));
        if !v0 {
            reader.tags()?;
        }
    }
    Ok(Answer::Versions(Versions(apis)))
}

impl Versions {
    /// The newest version that both sides speak.
    pub(crate) fn pick(&self, api: Api) -> Result<i16, Error> {
        let found = self.0.iter().find(|(key, ..)| *key == api.key);
        let (min, max) = found.map_or((-1, -1), |(_, min, max)| (*min, *max));
        let version = max.min(api.max);
        if version < api.min || version < min {
            return Err(Error::Version {
                api: api.name,
                min,
                max,
                ours_min: api.min,
                ours_max: api.max,
            });
        }
        Ok(version)
    }
}
