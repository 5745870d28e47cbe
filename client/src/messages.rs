//! The requests this client sends and the answers it reads, by hand: few, in versions without
//! compact encodings, so that a produce frame has fixed places for its lengths and every answer
//! is decoded with bounds.

pub(crate) mod api_versions;
pub(crate) mod fetch;
pub(crate) mod metadata;
pub(crate) mod offsets;
pub(crate) mod produce;
#[cfg(test)]
mod tests;
pub(crate) mod topics;

use crate::wire;
use bytes::BufMut;

/// A kind of request, with the versions that this client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Api {
    pub(crate) key: i16,
    pub(crate) name: &'static str,
    pub(crate) min: i16,
    pub(crate) max: i16,
}

pub(crate) const PRODUCE: Api = Api { key: 0, name: "Produce", min: 3, max: 8 };
pub(crate) const FETCH: Api = Api { key: 1, name: "Fetch", min: 4, max: 11 };
pub(crate) const LIST_OFFSETS: Api = Api { key: 2, name: "ListOffsets", min: 1, max: 5 };
pub(crate) const METADATA: Api = Api { key: 3, name: "Metadata", min: 4, max: 8 };
pub(crate) const API_VERSIONS: Api = Api { key: 18, name: "ApiVersions", min: 0, max: 3 };
pub(crate) const CREATE_TOPICS: Api = Api { key: 19, name: "CreateTopics", min: 2, max: 4 };
pub(crate) const DELETE_TOPICS: Api = Api { key: 20, name: "DeleteTopics", min: 1, max: 3 };
pub(crate) const INIT_PRODUCER_ID: Api = Api { key: 22, name: "InitProducerId", min: 0, max: 1 };

/// Where the correlation id stands in a frame.
pub(crate) const CORRELATION_AT: usize = 8;

/// Starts a frame: room for its length, then the request header (v1) with correlation id 0.
pub(crate) fn start_frame(out: &mut Vec<u8>, api: Api, version: i16, client_id: &str) {
    out.put_i32(0);
    out.put_i16(api.key);
    out.put_i16(version);
    out.put_i32(0);
    wire::put_string(out, client_id);
}

/// Writes the frame's length.
pub(crate) fn end_frame(frame: &mut [u8]) {
    let length = i32::try_from(frame.len() - 4).expect("frames are bounded");
    frame[..4].copy_from_slice(&length.to_be_bytes());
}

/// Writes the frame's correlation id.
pub(crate) fn set_correlation(frame: &mut [u8], correlation: i32) {
    frame[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation.to_be_bytes());
}
