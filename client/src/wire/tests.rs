use super::Reader;

#[test]
fn an_array_longer_than_the_answer_is_refused_before_it_is_read() {
    let check = |bytes: &[u8], bytes_min, expected: Option<usize>| {
        assert_eq!(Reader::new(bytes).array(bytes_min).ok(), expected);
    };
    check(&[0, 0, 0, 2, 1, 1], 1, Some(2));
    check(&[0, 0, 0, 2, 1, 1], 2, None);
    check(&[0x7f, 0xff, 0xff, 0xff, 1, 1], 1, None);
    check(&[0xff, 0xff, 0xff, 0xff], 1, Some(0));
}

#[test]
fn variable_length_numbers_end() {
    let check = |bytes: &[u8], expected: Option<u32>| {
        assert_eq!(Reader::new(bytes).uvarint().ok(), expected);
    };
    check(&[5], Some(5));
    check(&[0x80, 1], Some(128));
    check(&[0xff, 0xff, 0xff, 0xff, 0x0f], Some(u32::MAX));
    check(&[0xff, 0xff, 0xff, 0xff, 0x1f], None);
    check(&[0x80, 0x80, 0x80, 0x80, 0x80, 0], None);
    check(&[0x80], None);
}

#[test]
fn strings_are_cut_and_checked() {
    let check = |bytes: &[u8], expected: Option<Option<&str>>| {
        assert_eq!(Reader::new(bytes).nullable_string().ok(), expected);
    };
    check(b"\0\x02ab", Some(Some("ab")));
    check(b"\xff\xff", Some(None));
    check(b"\0\x03ab", None);
    check(b"\0\x01\xff", None);
}
