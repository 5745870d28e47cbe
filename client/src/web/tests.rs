use super::{Feed, FeedMessage, Subscribe, host_of};

#[test]
fn addresses_are_taken_apart() {
    let check = |address, expected| assert_eq!(host_of(address), expected);
    check("ws://127.0.0.1:8080", Some("127.0.0.1:8080"));
    check("ws://[::1]:8080/v1/ws", Some("[::1]:8080"));
    check("ws://localhost", None);
    check("http://127.0.0.1:8080", None);
    check("ws://:8080", None);
}

#[test]
fn a_subscription_names_only_what_is_asked_for() {
    let what = Subscribe { stream: Some("flights"), from: Some("now"), ..Subscribe::default() };
    let text = serde_json::to_string(&what).expect("plain fields");
    assert_eq!(text, r#"{"stream":"flights","from":"now"}"#);
}

#[test]
fn messages_of_the_protocol_are_read() {
    let read = |text: &str| FeedMessage(text.into());
    let message = read(
        r#"{"type":"events","sub":1,"partition":3,"events":[{"offset":7,"ts":9,"key":"N1","value":{"n": 1.50}}],"next":8}"#,
    );
    let Ok(Feed::Events { partition: 3, events, next: 8 }) = message.read() else {
        panic!("these are events");
    };
    assert_eq!(events[0].value.expect("there is one").get(), r#"{"n": 1.50}"#);
    let message = read(
        r#"{"type":"changes","sub":1,"round":4,"token":"t","changes":[{"op":"delete","key":"N5","partition":0,"offset":1,"ts":2}]}"#,
    );
    let Ok(Feed::Changes { round: 4, changes, .. }) = message.read() else {
        panic!("these are changes");
    };
    assert_eq!((changes[0].op, changes[0].row.is_none()), (Some("delete"), true));
    assert!(matches!(read(r#"{"type":"news","sub":1}"#).read(), Ok(Feed::Other)));
    assert!(read(r#"{"type":"events"}"#).read().is_err());
}
