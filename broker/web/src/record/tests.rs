use super::*;
use anabranch_types::Timestamp;
use anabranch_types::batch::{BatchBuilder, BatchHeader, decode_records};

/// The JSON of a record with these parts.
fn encode(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&[u8], Option<&[u8]>)],
    partition: Option<PartitionIndex>,
) -> String {
    let mut builder = BatchBuilder::default();
    builder.push(Timestamp(17), key, value, headers);
    let batch = builder.build().expect("no codec");
    let header = BatchHeader::read(&batch).expect("just built");
    let mut scratch = Vec::new();
    let mut records = decode_records(&header, &batch, &mut scratch).expect("just built");
    let mut out = Vec::new();
    push_record(&mut out, partition, &records.next().expect("one record").expect("just built"));
    String::from_utf8(out).expect("JSON is UTF-8")
}

#[test]
fn values() {
    let check = |value: &[u8], expected: &str| {
        let json = encode(Some(b"k"), Some(value), &[], None);
        assert_eq!(json, format!("{{\"offset\":0,\"ts\":17,\"key\":\"k\",{expected}}}"));
    };
    check(b"{\"a\": 1.00}", "\"value\":{\"a\": 1.00}");
    check(b"{\n\"a\":1}\n", "\"value\":{ \"a\":1} ");
    check(b"\"text\"", "\"value\":\"text\"");
    check(b"12", "\"value\":12");
    check(b"plain \"text\"", "\"value_text\":\"plain \\\"text\\\"\"");
    check(b"", "\"value_text\":\"\"");
    check(b"null", "\"value_text\":\"null\"");
    check(b" null\n", "\"value_text\":\" null\\n\"");
    check(b"{\"a\":1", "\"value_text\":\"{\\\"a\\\":1\"");
    check(&[0xff, 0x00], "\"value_base64\":\"/wA=\"");
}

#[test]
fn keys_headers_and_partition() {
    assert_eq!(
        encode(None, None, &[], Some(PartitionIndex(3))),
        "{\"partition\":3,\"offset\":0,\"ts\":17,\"key\":null,\"value\":null}"
    );
    let headers: &[(&[u8], Option<&[u8]>)] =
        &[(b"a", Some(b"1")), (b"a", None), (&[0xff], Some(&[0xfe]))];
    assert_eq!(
        encode(Some(&[0xff]), Some(b"1"), headers, None),
        "{\"offset\":0,\"ts\":17,\"key_base64\":\"/w==\",\"value\":1,\"headers\":[\
         {\"name\":\"a\",\"value\":\"1\"},{\"name\":\"a\",\"value\":null},\
         {\"name_base64\":\"/w==\",\"value_base64\":\"/g==\"}]}"
    );
}

#[test]
fn too_large_values_are_omitted() {
    let check = |value: &[u8], expected: &str| {
        let mut out = Vec::new();
        push_value(&mut out, Some(value));
        assert_eq!(String::from_utf8(out).expect("JSON is UTF-8"), expected);
    };
    check(&vec![b'a'; VALUE_BYTES_MAX + 1], "\"value_omitted_bytes\":16777217");
    // Each takes six characters in JSON.
    check(&[1; VALUE_BYTES_MAX / 6 + 1], "\"value_omitted_bytes\":2796203");
}
