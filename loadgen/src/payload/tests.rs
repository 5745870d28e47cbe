use super::{EventBuffer, Events, Zipf, key_text, number_in};
use crate::args::{Keys, Payload, PayloadArgs};

fn args(size: usize, payload: Payload, keys: Keys) -> PayloadArgs {
    PayloadArgs { size, payload, keys, key_space: 1_000 }
}

#[test]
fn json_events_have_their_size_key_and_number() {
    let check = |size, n: u64| {
        let events = Events::new(&args(size, Payload::Json, Keys::Uniform)).expect("large enough");
        let mut buffer = EventBuffer::default();
        let expected = key_text(events.key_number(n).expect("there are keys"));
        let (key, value) = events.event(n, &mut buffer);
        assert_eq!((key, value.len()), (Some(expected.as_bytes()), size));
        let parsed: serde_json::Value = serde_json::from_slice(value).expect("it is JSON");
        assert_eq!(parsed["id"], expected);
        assert_eq!(parsed["seq"], n);
        assert_eq!(number_in(value), Some(n));
    };
    check(100, 0);
    check(110, 123_456);
    check(1_024, 999_999_999_999);
    let too_small = Events::new(&args(60, Payload::Json, Keys::None)).expect_err("too small");
    assert!(too_small.to_string().contains("--payload random"));
}

#[test]
fn random_events_differ_and_have_their_size() {
    let events = Events::new(&args(100, Payload::Random, Keys::None)).expect("any size will do");
    let mut buffer = EventBuffer::default();
    let first = events.event(0, &mut buffer).1.to_vec();
    let mut buffer = EventBuffer::default();
    let (key, second) = events.event(1, &mut buffer);
    assert_eq!((key, second.len()), (None, 100));
    assert_ne!(first, second);
}

#[test]
fn numbers_are_found_or_not() {
    let check = |value: &[u8], expected| assert_eq!(number_in(value), expected);
    check(b"{\"seq\":   42}", Some(42));
    check(b"{\"seq\":\"x\"}", None);
    check(b"{\"sequence\":1}", None);
    check(b"", None);
}

#[test]
fn zipf_prefers_the_first_ranks() {
    let zipf = Zipf::new(1_000_000);
    assert_eq!(zipf.rank(0.0), 0);
    assert!(zipf.rank(0.999_999_9) > 900_000);
    // With exponent 0.99 and a million keys, a tenth of all draws are about the first five.
    assert!(zipf.rank(0.1) < 10, "{}", zipf.rank(0.1));
    assert_eq!(Zipf::new(1).rank(0.7), 0);
}
