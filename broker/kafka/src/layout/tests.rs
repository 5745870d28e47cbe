use super::{Field, Kind, Layout};
use crate::apis::{APIS, Api};
use crate::limits::REQUEST_ELEMENTS_MAX;
use crate::wire::{Malformed, put_count, put_text, put_varint};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestKind};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// Writes a request that a layout allows, from random choices: so that it can be seen whether
/// the crate understands the same by it.
struct Writer {
    out: BytesMut,
    version: i16,
    flexible: bool,
    rng: TestRng,
}

impl Writer {
    fn write(layout: &Layout, version: i16, seed: [u8; 32]) -> Bytes {
        let mut writer = Self {
            out: BytesMut::new(),
            version,
            flexible: layout.is_flexible(version),
            rng: TestRng::from_seed(RngAlgorithm::ChaCha, &seed),
        };
        writer.fields(layout.fields);
        writer.out.freeze()
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound
    }

    fn fields(&mut self, fields: &'static [Field]) {
        for field in fields {
            if (field.from..=field.to).contains(&self.version) {
                self.kind(&field.kind);
            }
        }
        if self.flexible {
            let tags = self.below(2);
            put_varint(&mut self.out, tags);
            for _ in 0..tags {
                // A tag that no schema has.
                put_varint(&mut self.out, 99);
                put_varint(&mut self.out, 2);
                self.out.put_slice(b"??");
            }
        }
    }

    fn kind(&mut self, kind: &'static Kind) {
        match kind {
            // Zeros and ones are sound as numbers and as booleans.
            Kind::Fixed(bytes) => {
                for _ in 0..*bytes {
                    let byte = self.below(2) as u8;
                    self.out.put_u8(byte);
                }
            }
            Kind::Text => {
                let text = &"sesame"[..self.below(7) as usize];
                put_text(&mut self.out, self.flexible, text.as_bytes());
            }
            Kind::Blob if self.flexible => put_text(&mut self.out, true, b"\0\xff"),
            Kind::Blob => {
                self.out.put_i32(2);
                self.out.put_slice(b"\0\xff");
            }
            Kind::Array(element) => {
                let count = self.below(3) as usize;
                put_count(&mut self.out, self.flexible, count);
                for _ in 0..count {
                    self.kind(element);
                }
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::Optional(fields) => {
                let there = self.below(2) == 1;
                self.out.put_i8(if there { 1 } else { -1 });
                if there {
                    self.fields(fields);
                }
            }
        }
    }
}

fn checked() -> impl Iterator<Item = (&'static Api, &'static Layout, i16)> {
    let laid_out = APIS.iter().filter_map(|api| Some((api, api.layout?)));
    laid_out.flat_map(|(api, layout)| (api.min..=api.max).map(move |v| (api, layout, v)))
}

fn decode(api: &Api, body: &Bytes, version: i16) -> Option<(RequestKind, usize)> {
    let key = ApiKey::try_from(api.key as i16).expect("an API of Kafka's");
    let mut rest = body.clone();
    let request = RequestKind::decode(key, &mut rest, version).ok()?;
    Some((request, body.len() - rest.len()))
}

proptest! {
    /// What the layouts say is what the crate decodes and encodes, byte for byte.
    #[test]
    fn layouts_follow_the_schemas(seed in any::<[u8; 32]>()) {
        for (api, layout, version) in checked() {
            let what = format!("{:?} {version}", api.key);
            let body = Writer::write(layout, version, seed);
            prop_assert_eq!(layout.check(version, &body), Ok(body.len()), "{}", &what);
            let (request, used) = decode(api, &body, version).expect(&what);
            prop_assert_eq!(used, body.len(), "{}", &what);
            let mut encoded = BytesMut::new();
            request.encode(&mut encoded, version).expect(&what);
            prop_assert_eq!(encoded.freeze(), body, "{}", &what);
        }
    }

    /// Whatever comes: what passes the check is decoded to the same end, or refused for a null
    /// or for text that is not UTF-8.
    #[test]
    fn what_passes_is_safe_to_decode(
        seed in any::<[u8; 32]>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for (api, layout, version) in checked() {
            let mut body = Writer::write(layout, version, seed).to_vec();
            if body.is_empty() {
                continue;
            }
            for (at, byte) in &damage {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            let body = Bytes::from(body);
            if let Ok(end) = layout.check(version, &body)
                && let Some((_, used)) = decode(api, &body, version)
            {
                prop_assert_eq!(used, end, "{:?} {}", api.key, version);
            }
        }
    }
}

#[test]
fn a_giant_array_is_refused_by_its_length() {
    let check = |version: i16, body: &[u8]| {
        let metadata = &super::METADATA;
        let result = metadata.check(version, body);
        assert!(matches!(result, Err(Malformed::CutOff { .. })), "{result:?}");
    };
    check(1, &i32::MAX.to_be_bytes());
    check(9, &[0xff, 0xff, 0xff, 0xff, 0x0f]);
    // As many elements as there are bytes pass the first look, and fail at the second.
    check(1, &[0, 0, 0, 4, 0, 0, 0, 0]);
    let negative = super::METADATA.check(1, &(-2i32).to_be_bytes());
    assert!(matches!(negative, Err(Malformed::Invalid(_))), "{negative:?}");
}

#[test]
fn elements_are_counted_together() {
    // A list of groups' names, each empty.
    let mut body = BytesMut::new();
    let count = REQUEST_ELEMENTS_MAX + 1;
    put_count(&mut body, true, count);
    body.put_bytes(1, count);
    body.put_u8(0);
    let result = super::DELETE_GROUPS.check(2, &body);
    assert_eq!(result, Err(Malformed::TooMany(REQUEST_ELEMENTS_MAX)));
    // Tagged fields count too.
    let mut body = BytesMut::new();
    put_count(&mut body, true, 0);
    put_varint(&mut body, u32::try_from(count).expect("it fits"));
    body.put_bytes(0, count * 2);
    let result = super::DELETE_GROUPS.check(2, &body);
    assert_eq!(result, Err(Malformed::TooMany(REQUEST_ELEMENTS_MAX)));
}
