use super::*;

fn parse(json: &str) -> Result<NewEvent<'_>, String> {
    serde_json::from_str::<EventFields<'_>>(json)
        .map_err(|error| error.to_string())?
        .event()
        .map_err(|failure| failure.message)
}

#[test]
fn keys() {
    let check = |json: &str, expected: Option<&[u8]>| {
        let json = format!("{{{json}\"value\":1}}");
        assert_eq!(parse(&json).expect("an event").key.as_deref(), expected, "{json}");
    };
    check("", None);
    check("\"key\":null,", None);
    check("\"key\":\"\",", Some(b""));
    check("\"key\":\"N1\",", Some(b"N1"));
    check("\"key\":\"a\\u00e9\\n\",", Some("aé\n".as_bytes()));
    check("\"key\":5,", Some(b"5"));
    check("\"key\":true,", Some(b"true"));
    check("\"key\":[ 5 ],", Some(b"5"));
    check("\"key\":[\"N1\"],", Some(b"N1"));
    check("\"key\":[\"E\\u0057R\" , 5.50, true],", Some(b"[\"EWR\",5.50,true]"));
    check("\"key_base64\":\"/wA=\",", Some(&[0xff, 0]));
    for bad in [
        "\"key\":{},",
        "\"key\":[null],",
        "\"key\":[[1]],",
        "\"key_base64\":\"?\",",
        "\"key\":\"a\",\"key_base64\":\"\",",
    ] {
        assert!(parse(&format!("{{{bad}\"value\":1}}")).is_err(), "{bad}");
    }
}

#[test]
fn values() {
    let check = |json: &str, expected: Option<&[u8]>| {
        let json = format!("{{{json}}}");
        assert_eq!(parse(&json).expect("an event").value.as_deref(), expected, "{json}");
    };
    check("\"value\":null", None);
    check("\"value\": {\"a\" : 1.0}", Some(b"{\"a\" : 1.0}"));
    check("\"value\":\"null\"", Some(b"\"null\""));
    check("\"value_text\":\"null\"", Some(b"null"));
    check("\"value_base64\":\"/wA=\"", Some(&[0xff, 0]));
    for bad in [
        "",
        "\"value\":1,\"value_text\":\"\"",
        "\"value\":",
        "\"valeu\":1",
        "\"value\":1,\"ts\":-1",
        "\"value\":1,\"ts\":253402300800000",
        "\"value\":1,\"headers\":[{}]",
        "\"value\":1,\"headers\":[{\"name\":1}]",
    ] {
        assert!(parse(&format!("{{{bad}}}")).is_err(), "{bad}");
    }
}

#[test]
fn headers_time_and_partition() {
    let event = parse(
        "{\"value\":1,\"ts\":17,\"partition\":2,\"headers\":[{\"name\":\"a\",\"value\":\"1\"},\
         {\"name_base64\":\"/w==\",\"value_base64\":\"/g==\"},{\"name\":\"b\",\"value\":null}]}",
    )
    .expect("an event");
    assert_eq!(event.timestamp, Some(Timestamp(17)));
    assert_eq!(event.partition, Some(PartitionIndex(2)));
    let headers: Vec<(&[u8], Option<&[u8]>)> =
        event.headers.iter().map(|(name, value)| (name.as_ref(), value.as_deref())).collect();
    assert_eq!(headers, [(&b"a"[..], Some(&b"1"[..])), (&[0xff], Some(&[0xfe])), (b"b", None)]);
}

#[test]
fn keys_from_fields() {
    let check = |value: &str, names: &[&str], expected: Option<&str>| {
        let key = key_from_fields(value.as_bytes(), names).ok();
        assert_eq!(key.as_deref(), expected.map(str::as_bytes), "{value} {names:?}");
    };
    check("{\"a\":\"x\",\"b\":5}", &["a"], Some("x"));
    check("{\"a\":\"x\",\"b\":5}", &["b"], Some("5"));
    check("{\"a\":\"x\",\"b\":5}", &["b", "a"], Some("[5,\"x\"]"));
    check("{\"a\":1,\"\\u0061\":\"2\"}", &["a"], Some("2"));
    check("{\"a\":null}", &["a"], None);
    check("{\"a\":1}", &["b"], None);
    check("[1]", &["a"], None);
    check("\u{e9}", &["a"], None);
}

#[test]
fn keys_from_columns() {
    let check = |text: &str, expected: Option<&str>| {
        let key = key_from_columns(text).ok();
        assert_eq!(key.as_deref(), expected.map(str::as_bytes), "{text}");
    };
    check("[\"EWR\", 5]", Some("[\"EWR\",5]"));
    check("[\"EWR\", null]", None);
    for bad in ["5", "\"EWR\"", "[", "null", "{}"] {
        check(bad, None);
    }
}
