//! ApiVersions: written by hand for the sake of old clients.
//!
//! librdkafka before 2.2.0 skips tagged fields one byte short, so fields at their defaults are
//! left out; the response header never has tags; and a version that is not known is answered in
//! version 0, never by closing the connection (KIP-511).

use super::Client;
use crate::apis::{APIS, Api, ApiKey};
use crate::connection::Output;
use crate::request::Head;
use crate::wire::{begin_frame, end_frame, put_count, put_no_tags, put_text, put_varint};
use bytes::{BufMut, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiVersionsRequest;

pub(super) fn answer(
    client: &mut Client,
    head: &Head,
    request: Option<ApiVersionsRequest>,
    out: &mut Output,
) {
    let out = out.tail();
    let start = begin_frame(out, head.correlation, false);
    match request {
        None => {
            out.put_i16(ResponseError::UnsupportedVersion.code());
            body(out, 0, APIS.iter().filter(|api| api.key == ApiKey::ApiVersions));
        }
        Some(request) => {
            let name = &*request.client_software_name;
            let version = &*request.client_software_version;
            if head.version >= 3 && !(is_software_name(name) && is_software_name(version)) {
                out.put_i16(ResponseError::InvalidRequest.code());
                body(out, head.version, [].iter());
            } else {
                if head.version >= 3 {
                    client.software = format!("{name} {version}");
                }
                out.put_i16(0);
                body(out, head.version, APIS.iter());
            }
        }
    }
    end_frame(out, start, 0);
}

fn body<'a>(out: &mut BytesMut, version: i16, apis: impl Iterator<Item = &'a Api> + Clone) {
    let has_features = apis.clone().next().is_some();
    let flexible = version >= 3;
    put_count(out, flexible, apis.clone().count());
    for api in apis {
        out.put_i16(api.key as i16);
        out.put_i16(api.min_advertised());
        out.put_i16(api.max);
        put_no_tags(out, flexible);
    }
    if version >= 1 {
        out.put_i32(0); // throttle_time_ms
    }
    // Old kcat cannot read tags, and asks with version 3.
    if version >= 4 && has_features {
        features(out);
    } else {
        put_no_tags(out, flexible);
    }
}

/// The one feature that clients look for (KIP-584, KIP-890).
const FEATURE: &[u8] = b"transaction.version";
const FEATURE_VERSION_MAX: i16 = 2;

/// The tagged fields: 0 what is supported (from, to), 1 the epoch of 2, what is in force (to,
/// from).
fn features(out: &mut BytesMut) {
    let mut feature = BytesMut::new();
    put_count(&mut feature, true, 1);
    put_text(&mut feature, true, FEATURE);
    let tag = |out: &mut BytesMut, number: u32, field: &[u8]| {
        put_varint(out, number);
        put_varint(out, u32::try_from(field.len()).expect("short"));
        out.put_slice(field);
    };
    let with = |versions: [i16; 2]| {
        let mut field = feature.clone();
        versions.iter().for_each(|&version| field.put_i16(version));
        put_no_tags(&mut field, true);
        field
    };
    put_varint(out, 3);
    tag(out, 0, &with([0, FEATURE_VERSION_MAX]));
    tag(out, 1, &0i64.to_be_bytes());
    tag(out, 2, &with([FEATURE_VERSION_MAX, FEATURE_VERSION_MAX]));
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?` (KIP-511).
fn is_software_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
}
