use super::*;

/// Keys and values of the events in a body.
fn events(
    parameters: PublishParameters,
    headers: &[(HeaderName, &'static str)],
    text: &str,
) -> Result<Vec<(Option<String>, Option<String>)>, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(name, HeaderValue::from_static(value));
    }
    let shape = Shape::new(parameters, &map).map_err(|failure| failure.message)?;
    let events = shape.events(text).map_err(|failure| failure.message)?;
    let text = |bytes: Option<Cow<'_, [u8]>>| {
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(events.into_iter().map(|event| (text(event.key), text(event.value))).collect())
}

fn pair(key: Option<&str>, value: Option<&str>) -> (Option<String>, Option<String>) {
    (key.map(str::to_owned), value.map(str::to_owned))
}

#[test]
fn bodies() {
    let check = |text: &str, values: &[Option<&str>]| {
        let expected: Vec<_> = values.iter().map(|value| pair(None, *value)).collect();
        assert_eq!(events(PublishParameters::default(), &[], text), Ok(expected), "{text}");
    };
    check("{\"a\": 1}", &[Some("{\"a\": 1}")]);
    check("[{\"a\":1},2, null]", &[Some("{\"a\":1}"), Some("2"), None]);
    check("{\"a\":1}\n{\"a\":2}\n", &[Some("{\"a\":1}"), Some("{\"a\":2}")]);
    check("[1]\n[2]", &[Some("1"), Some("2")]);
    check("", &[]);

    let lines = events(
        PublishParameters::default(),
        &[(CONTENT_TYPE, "application/x-ndjson; charset=utf-8")],
        "[1]\n[2]",
    );
    assert_eq!(lines, Ok(vec![pair(None, Some("[1]")), pair(None, Some("[2]"))]));
    for bad in ["{", "{\"a\":1", "a=1&b=2", "{\"a\":1},{\"a\":2}"] {
        assert!(events(PublishParameters::default(), &[], bad).is_err(), "{bad}");
    }
    let many = vec!["1"; EVENTS_MAX + 1].join(" ");
    assert!(events(PublishParameters::default(), &[], &many).is_err());
    let many = format!("[{}]", vec!["1"; EVENTS_MAX + 1].join(","));
    assert!(events(PublishParameters::default(), &[], &many).is_err());
}

#[test]
fn keys() {
    let key_field = |fields: &str| PublishParameters {
        key_field: Some(fields.to_owned()),
        ..PublishParameters::default()
    };
    let text = "{\"a\":\"x\",\"b\":5}";
    let check = |parameters, key| {
        assert_eq!(events(parameters, &[], text), Ok(vec![pair(Some(key), Some(text))]));
    };
    check(key_field("a"), "x");
    check(key_field("b"), "5");
    check(key_field("a, b"), "[\"x\",5]");
    check(PublishParameters { key: Some("k".to_owned()), ..Default::default() }, "k");
    let by_header = events(PublishParameters::default(), &[(KEY_HEADER, "h")], text);
    assert_eq!(by_header, Ok(vec![pair(Some("h"), Some(text))]));
    assert!(events(key_field("c"), &[], text).is_err());
    assert!(events(key_field("a,"), &[], text).is_err());
    assert!(events(key_field("a"), &[(KEY_HEADER, "h")], text).is_err());

    let envelope = || PublishParameters { envelope: true, ..PublishParameters::default() };
    let text = "{\"key\":\"k\",\"value\":1} {\"key\":\"l\",\"value\":null}";
    let expected = vec![pair(Some("k"), Some("1")), pair(Some("l"), None)];
    assert_eq!(events(envelope(), &[], text), Ok(expected));
    assert!(events(envelope(), &[], "{\"a\":1}").is_err());
}
