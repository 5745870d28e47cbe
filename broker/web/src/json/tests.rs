use super::*;
use proptest::prelude::*;

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

#[test]
fn documents() {
    let check = |text: &str, expected: bool| assert_eq!(is_document(text), expected, "{text}");
    for good in [
        "null",
        "true",
        " false ",
        "0",
        "-0",
        "-1.5e+3",
        "1E5",
        "\"\"",
        "\"a\\n\\u00e9\"",
        "\"\\ud83d\\ude00\"",
        "[]",
        "{}",
        "[1,2]",
        " [ [ ] , { } ] ",
        "{\"a\":1}",
        "{\"a\":{\"b\":[1,{\"c\":null}]},\"d\":\"ä\"}",
        "{\n\t\"a\" : 1\r\n}",
        "1e307",
        "0.00000000001",
        "1e-999",
    ] {
        check(good, true);
    }
    for bad in [
        "",
        " ",
        "nul",
        "nulll",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "\"",
        "\"a",
        "\"\n\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\ud83d\"",
        "\"\\ude00\"",
        "\"\\ud83d\\u0041\"",
        "[",
        "]",
        "[1",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "}",
        "{1:2}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":1]",
        "[1}",
        "{}{}",
        "1 2",
        "NaN",
        "Infinity",
        "'a'",
        "1e308",
        "1e999999999999999999999",
    ] {
        check(bad, false);
    }
    check(&format!("{}1{}", "[".repeat(100), "]".repeat(100)), true);
    check(&format!("{}1{}", "[".repeat(101), "]".repeat(101)), false);
    check(&"1".repeat(256), true);
    check(&"1".repeat(257), false);
    check(&format!("0.{}", "1".repeat(300)), false);
}

#[test]
fn strings_and_numbers() {
    let check = |input: &str, expected: &str| {
        assert_eq!(text(|out| push_string(out, input)), expected);
    };
    check("", "\"\"");
    check("plain ä €", "\"plain ä €\"");
    check(
        "a\"b\\c\n\r\t\u{8}\u{c}\u{0}\u{1f}",
        "\"a\\\"b\\\\c\\n\\r\\t\\u0008\\u000c\\u0000\\u001f\"",
    );
    let check = |input: i64, expected: &str| assert_eq!(text(|out| push_int(out, input)), expected);
    check(0, "0");
    check(-1, "-1");
    check(1_700_000_000_000, "1700000000000");
    check(i64::MIN, "-9223372036854775808");
    assert_eq!(text(|out| push_uint(out, u64::MAX)), "18446744073709551615");
    assert_eq!(text(|out| push_document(out, "{\r\n\"a\":1}")), "{  \"a\":1}");
    assert_eq!(text(|out| push_base64(out, &[0xff, 0])), "\"/wA=\"");
}

proptest! {
    /// Whatever we pass on as a document, a strict parser takes.
    #[test]
    fn a_document_parses(text in "[\\[\\]{}\",:0-9eE+.\\\\u -]{0,40}|\\{\"[a-z]\":.{0,20}\\}") {
        let parsed = serde_json::from_str::<serde_json::Value>(&text);
        if is_document(&text) {
            prop_assert!(parsed.is_ok(), "{text}");
        } else {
            // Nor do we refuse what is one, short of the bounds.
            prop_assert!(parsed.is_err() || text.contains(['e', 'E']), "{text}");
        }
    }

    #[test]
    fn strings_come_back(input in any::<String>()) {
        let written = text(|out| push_string(out, &input));
        prop_assert!(is_document(&written));
        prop_assert_eq!(serde_json::from_str::<String>(&written).ok(), Some(input));
    }

    #[test]
    fn base64_comes_back(input in any::<Vec<u8>>()) {
        let written = text(|out| push_base64(out, &input));
        prop_assert_eq!(from_base64(written.trim_matches('"')), Some(input));
    }
}
