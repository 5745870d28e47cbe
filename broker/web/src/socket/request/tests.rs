use super::*;
use anabranch_types::{Offset, PartitionIndex};
use proptest::prelude::*;

#[test]
fn requests() {
    let check = |text: &str, expected: Op<'_>| {
        assert_eq!(parse(text), Ok(Request { id: 1, op: expected }), "{text}");
    };
    let name = || "s".to_owned();
    check(
        "{\"id\":1,\"op\":\"subscribe\",\"stream\":\"s\"}",
        Op::Subscribe { stream: name(), begin: Begin::Now },
    );
    check(
        "{\"op\":\"subscribe\",\"from\":\"0:5\",\"stream\":\"s\",\"id\":1}",
        Op::Subscribe {
            stream: name(),
            begin: Begin::Position(vec![(PartitionIndex(0), Offset(5))]),
        },
    );
    check(
        "{\"id\":1,\"op\":\"subscribe\",\"table\":\"s\",\"filter\":\"a = 'b'\"}",
        Op::SubscribeTable {
            table: name(),
            filter: Some("a = 'b'".to_owned()),
            begin: Begin::Beginning,
        },
    );
    check(
        "{\"id\":1,\"op\":\"subscribe\",\"table\":\"s\",\"from\":\"token:x\"}",
        Op::SubscribeTable { table: name(), filter: None, begin: Begin::Token("x".to_owned()) },
    );
    check("{\"id\":1,\"op\":\"unsubscribe\",\"sub\":7}", Op::Unsubscribe { sub: 7 });
    check("{\"id\":1,\"op\":\"ping\"}", Op::Ping);
    check(
        "{\"id\":1,\"op\":\"publish\",\"stream\":\"s\",\"events\":[{\"value\":{\"a\":1}}]}",
        Op::Publish {
            stream: name(),
            events: vec![NewEvent {
                value: Some(Cow::Borrowed(b"{\"a\":1}")),
                ..NewEvent::default()
            }],
        },
    );
}

#[test]
fn refused() {
    let check = |text: &str, id: Option<u64>, part: &str| {
        let refused = parse(text).expect_err(text);
        assert_eq!(refused.id, id, "{text}");
        assert!(refused.failure.message.contains(part), "{text}: {}", refused.failure);
    };
    check("", None, "not a request");
    check("[]", None, "not a request");
    check("[5,\"ping\",null,null,null,null,null,null]", None, "an object");
    let event = "[\"k\",null,1,null,null,null,null,null]";
    let text = format!("{{\"id\":1,\"op\":\"publish\",\"stream\":\"s\",\"events\":[{event}]}}");
    check(&text, Some(1), "an object");
    check("{\"op\":\"ping\"}", None, "missing field `id`");
    check("{\"id\":-1,\"op\":\"ping\"}", None, "not a request");
    check("{\"id\":9007199254740992,\"op\":\"ping\"}", None, "at most");
    check("{\"id\":1}", Some(1), "missing field `op`");
    check("{\"id\":1,\"op\":\"ping\",\"form\":1}", Some(1), "unknown field `form`");
    check("{\"id\":1,\"op\":\"ping\",\"from\":\"now\"}", Some(1), "does not go with");
    check("{\"id\":1,\"op\":\"pnig\"}", Some(1), "no op \"pnig\"");
    check("{\"id\":1,\"op\":\"subscribe\"}", Some(1), "one of stream and table");
    check(
        "{\"id\":1,\"op\":\"subscribe\",\"stream\":\"s\",\"filter\":\"a\"}",
        Some(1),
        "no filter",
    );
    check("{\"id\":1,\"op\":\"publish\",\"stream\":\"s\"}", Some(1), "events is missing");
    check("{\"id\":1,\"op\":\"publish\",\"stream\":\"s\",\"events\":[{}]}", Some(1), "no value");
    let events = vec!["{\"value\":1}"; crate::limits::EVENTS_MAX + 1].join(",");
    check(
        &format!("{{\"id\":1,\"op\":\"publish\",\"stream\":\"s\",\"events\":[{events}]}}"),
        Some(1),
        "more than 50000",
    );
}

proptest! {
    /// Any text is answered, never a panic.
    #[test]
    fn anything_is_read_or_refused(text in any::<String>()) {
        _ = parse(&text);
    }

    #[test]
    fn any_fields_are_read_or_refused(
        id in "[0-9]{1,3}",
        op in "subscribe|publish|unsubscribe|ping",
        field in "stream|table|from|filter|events|sub|x",
        value in "\"(now|0:1|token:|time:1|s)\"|[0-9]{1,3}|\\[\\{\"value\":[0-9]\\}\\]|null|\\{\\}",
        other in "\"events\":\\[\\{\"key\":(1|\"a\"|\\[1\\]),\"value\":1\\}\\]|\"stream\":\"s\"",
    ) {
        _ = parse(&format!("{{\"id\":{id},\"op\":\"{op}\",\"{field}\":{value},{other}}}"));
    }
}
