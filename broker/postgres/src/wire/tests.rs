use super::*;

fn message(kind: u8, body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::from(&[kind][..]);
    bytes.extend_from_slice(&i32::try_from(body.len() + 4).expect("small").to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn decoded(kind: u8, body: &[u8]) -> Result<Message, WireError> {
    let mut bytes = message(kind, body);
    let length = length(&bytes)?.expect("a whole message");
    let decoded = take(&mut bytes, length);
    assert!(bytes.is_empty());
    decoded
}

#[test]
fn messages_are_read() {
    let check = |kind, body: &[u8], expected| assert_eq!(decoded(kind, body), Ok(expected));
    check(b'Q', b"SELECT 1\0", Message::Query("SELECT 1".to_owned()));
    check(
        b'P',
        b"s\0SELECT $1\0\0\x01\0\0\0\x17",
        Message::Parse { name: "s".to_owned(), text: "SELECT $1".to_owned(), types: vec![23] },
    );
    check(
        b'B',
        b"\0s\0\0\x01\0\x01\0\x02\0\0\0\x02hi\xff\xff\xff\xff\0\x00",
        Message::Bind(Bind {
            portal: String::new(),
            statement: "s".to_owned(),
            parameter_formats: vec![1],
            parameters: vec![Some(Bytes::from_static(b"hi")), None],
            result_formats: Vec::new(),
        }),
    );
    check(b'D', b"Ss\0", Message::Describe(Target::Statement("s".to_owned())));
    check(b'E', b"\0\0\0\0\x05", Message::Execute { portal: String::new(), rows_max: 5 });
    check(b'S', b"", Message::Sync);
    check(b'd', b"anything", Message::CopyData(Bytes::from_static(b"anything")));
    check(b'c', b"", Message::CopyDone);
    check(b'f', b"why\0", Message::CopyFail("why".to_owned()));
    check(b'p', b"anything", Message::Stray);
}

#[test]
fn every_cut_of_a_message_is_an_error_or_waits() {
    let whole = message(b'B', b"\0s\0\0\x01\0\x01\0\x02\0\0\0\x02hi\xff\xff\xff\xff\0\x00");
    for cut in 0..whole.len() {
        let found = length(&whole[..cut]).expect("a length that is allowed");
        assert!(found.is_none_or(|length| length > cut));
    }
    let body = &whole[HEAD..];
    for cut in 0..body.len() {
        assert!(decoded(b'B', &body[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn counts_and_lengths_are_not_believed() {
    let check = |kind, body: &[u8]| assert!(decoded(kind, body).is_err(), "{body:?}");
    check(b'P', b"s\0x\0\xff\xff");
    check(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xffx");
    check(b'B', b"\0\0\0\x01\0\x09\0\0\0\0");
    check(b'Q', b"no end");
    check(b'Q', b"\xff\0");
    check(b'Q', b"end\0more");
    check(b'D', b"Xs\0");
    assert!(matches!(length(b"Q\x7f\xff\xff\xff"), Err(WireError::TooLarge { .. })));
    assert!(length(b"Q\0\0\0\x03").is_err());
}

#[test]
fn first_messages_are_told_apart() {
    let check = |bytes: &[u8], expected| {
        assert_eq!(take_first(&mut BytesMut::from(bytes)), expected, "{bytes:?}");
    };
    check(b"\0\0\0\x08\x04\xd2\x16\x2f", Ok(Some(First::Tls)));
    check(b"\0\0\0\x08\x04\xd2\x16\x30", Ok(Some(First::Gss)));
    check(
        b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07\0\0\0\x09",
        Ok(Some(First::Cancel { process_id: 7, secret: 9 })),
    );
    check(
        b"\0\0\0\x10\0\x03\0\x02user\0a\0\0",
        Ok(Some(First::Startup {
            minor: 2,
            parameters: vec![("user".to_owned(), "a".to_owned())],
        })),
    );
    check(b"\0\0\0\x10\0\x03", Ok(None));
    check(b"\0\0\0\x09\0\x04\0\0\0", Err(WireError::Version(4, 0)));
    check(b"\0\0\0\x0a\0\x03\0\0a\0", Err(WireError::Malformed("a string does not end")));
}
