use super::cell::{CellBuilder, decimal};
use super::fields::FieldScanner;
use super::*;
use anabranch_engine::{ColumnType, ItemType};
use datafusion::arrow::array::Array;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::scalar::ScalarValue;

const UUID: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";

fn fields(value: &str, names: &[&str]) -> Option<Vec<Option<String>>> {
    let mut scanner = FieldScanner::new(names.iter().map(ToString::to_string));
    // Twice: the second time the order is known.
    scanner.scan(value.as_bytes());
    scanner.scan(value.as_bytes()).then(|| {
        (0..names.len())
            .map(|slot| {
                let raw = scanner.slot(slot, value.as_bytes())?;
                Some(String::from_utf8_lossy(raw).into_owned())
            })
            .collect()
    })
}

#[test]
fn cuts_fields_out_of_objects() {
    let check = |value: &str, names: &[&str], expected: Option<&[Option<&str>]>| {
        let expected =
            expected.map(|all| all.iter().map(|one| one.map(str::to_owned)).collect::<Vec<_>>());
        assert_eq!(fields(value, names), expected, "{value}");
    };
    check(r#"{"a":1,"b":"x"}"#, &["b", "a"], Some(&[Some("\"x\""), Some("1")]));
    check(
        r#" { "a" : {"b":[1,2]} , "c":null } "#,
        &["a", "c"],
        Some(&[Some(r#"{"b":[1,2]}"#), Some("null")]),
    );
    check(r#"{"a":1,"a":2}"#, &["a"], Some(&[Some("2")]));
    check(r#"{"\u0061":1}"#, &["a"], Some(&[Some("1")]));
    check("{}", &["a"], Some(&[None]));
    check(r#"{"a":NaN,"b":-Infinity}"#, &["a", "b"], Some(&[Some("NaN"), Some("-Infinity")]));
    for bad in ["", "[1]", "1", "{", r#"{"a":1"#, r#"{"a":1}x"#, "nonsense", r#"{"a" 1}"#] {
        check(bad, &["a"], None);
    }
}

#[test]
fn an_order_that_changes_is_noticed() {
    let mut scanner = FieldScanner::new(["a".to_owned(), "b".to_owned()]);
    for value in [r#"{"x":0,"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, r#"{"a":1,"x":0,"y":0,"b":2}"#] {
        assert!(scanner.scan(value.as_bytes()));
        assert_eq!(scanner.slot(0, value.as_bytes()), Some(&b"1"[..]), "{value}");
        assert_eq!(scanner.slot(1, value.as_bytes()), Some(&b"2"[..]), "{value}");
    }
}

/// The value of JSON in a column; `None` where it does not fit.
fn cell(column: ColumnType, raw: &str) -> Option<String> {
    let mut builder = CellBuilder::new(column);
    let fits = builder.append_json(raw.as_bytes()).is_ok();
    let array = builder.finish();
    fits.then(|| array_value_to_string(&array, 0).expect("a value"))
}

#[test]
fn values_fit_or_are_misfits() {
    let check = |column, raw, expected: Option<&str>| {
        assert_eq!(cell(column, raw).as_deref(), expected, "{raw} as {column:?}");
    };
    check(ColumnType::Integer, "517", Some("517"));
    check(ColumnType::Integer, "517.0", Some("517"));
    check(ColumnType::Integer, "517.5", None);
    check(ColumnType::Integer, "3000000000", None);
    check(ColumnType::Integer, "\"5\"", None);
    check(ColumnType::Integer, "NaN", None);
    check(ColumnType::Integer, "null", Some(""));
    check(ColumnType::Bigint, "9007199254740993", Some("9007199254740993"));
    check(ColumnType::Double, "1e3", Some("1000.0"));
    check(ColumnType::Double, "NaN", Some("NaN"));
    check(ColumnType::Double, "\"Infinity\"", Some("inf"));
    check(ColumnType::Double, "true", None);
    check(ColumnType::Boolean, "true", Some("true"));
    check(ColumnType::Boolean, "1", None);
    check(ColumnType::Text, r#""a\nb\u00e9""#, Some("a\nbé"));
    check(ColumnType::Text, "12.50", Some("12.50"));
    check(ColumnType::Json, r#"{"a": [1]}"#, Some(r#"{"a": [1]}"#));
    check(ColumnType::Bytea, r#""\\x0aff""#, Some("0aff"));
    check(ColumnType::Bytea, r#""0aff""#, None);
    check(ColumnType::Date, r#""2013-01-01""#, Some("2013-01-01"));
    check(ColumnType::Date, r#""2013-13-01""#, None);
    check(ColumnType::Date, r#""x""#, None);
    check(ColumnType::Timestamp, r#""2013-01-01T05:00:00Z""#, Some("2013-01-01T05:00:00"));
    check(ColumnType::Timestamp, r#""2013-01-01 05:00:00.25""#, Some("2013-01-01T05:00:00.250"));
    check(ColumnType::Timestamptz, r#""2013-01-01T05:00:00-05:00""#, Some("2013-01-01T10:00:00Z"));
    check(ColumnType::Timestamp, "1357016400000", None);
    check(ColumnType::Time, r#""04:05:06.5""#, Some("04:05:06.500"));
    check(ColumnType::Time, r#""25:00""#, None);
    check(ColumnType::Interval, r#""1 fortnight""#, None);
    check(
        ColumnType::Uuid,
        r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#,
        Some("a0eebc999c0b4ef8bb6d6bb9bd380a11"),
    );
    check(ColumnType::Uuid, "\"a0eebc99\"", None);
    check(ColumnType::Jsonb, r#"{"b":1.50,"a":[]}"#, Some(r#"{"a": [], "b": 1.50}"#));
    let integers = ColumnType::Array(ItemType::Integer);
    check(integers, "[1, 2]", Some("[1, 2]"));
    check(integers, "[]", Some("[]"));
    check(integers, "[1, \"2\"]", None);
    check(integers, "[3000000000]", None);
    check(integers, "1", None);
    check(ColumnType::Array(ItemType::Text), r#"["a\"b"]"#, Some("[a\"b]"));
    let money = ColumnType::Numeric { precision: 6, scale: 2 };
    check(money, "12.5", Some("12.50"));
    check(money, "-9999.99", Some("-9999.99"));
    check(money, "12.345", None);
    check(money, "10000", None);
}

#[test]
fn an_array_that_does_not_fit_leaves_the_others_whole() {
    let mut builder = CellBuilder::new(ColumnType::Array(ItemType::Integer));
    for (raw, fits) in [("[1,2]", true), ("[3,true]", false), ("null", true), ("[4]", true)] {
        assert_eq!(builder.append_json(raw.as_bytes()).is_ok(), fits, "{raw}");
    }
    let array = builder.finish();
    let shown: Vec<_> =
        (0..array.len()).map(|row| array_value_to_string(&array, row).expect("a value")).collect();
    assert_eq!(shown, ["[1, 2]", "", "", "[4]"]);
}

#[test]
fn decimals_are_never_rounded() {
    let check = |text, expected| assert_eq!(decimal(text, 38, 3), expected, "{text}");
    check("1.5", Some(1_500));
    check("-0.001", Some(-1));
    check("1e2", Some(100_000));
    check("1500e-3", Some(1_500));
    check("1.0000", Some(1_000));
    check("1.0001", None);
    check("1e60", None);
    check("0e999999999", Some(0));
    check("", None);
    check("-", None);
    check("1,5", None);
}

fn cut(shape: &KeyShape, key: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    shape.cut(key.as_bytes(), &mut parts)?;
    Some(parts.into_iter().map(|part| key[part].to_owned()).collect())
}

#[test]
fn array_keys_are_cut_in_their_one_form() {
    let shape = KeyShape::Array(vec![ColumnType::Integer, ColumnType::Text]);
    let check = |key, expected: Option<&[&str]>| {
        let expected =
            expected.map(|parts| parts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(cut(&shape, key), expected, "{key}");
    };
    check(r#"[7,"a"]"#, Some(&["7", "\"a\""]));
    check(r#"[-7,"ä\""]"#, Some(&["-7", r#""ä\"""#]));
    for other in [
        r#"[7, "a"]"#,
        r#"[07,"a"]"#,
        r#"[7.0,"a"]"#,
        r#"[7,"\u0061"]"#,
        r#"[7]"#,
        r#"[7,"a",1]"#,
        r#"["7","a"]"#,
        "7",
        "",
        "[",
    ] {
        check(other, None);
    }
}

#[test]
fn a_key_of_one_column_is_its_text() {
    let check = |column, key: &str, json: Option<&str>| {
        let columns = KeyShape::Plain(column).columns_json(key.as_bytes());
        let expected = json.map(|json| vec![json.as_bytes().to_vec()]);
        assert_eq!(columns, expected, "{column:?} {key}");
    };
    check(ColumnType::Bigint, "42", Some("42"));
    check(ColumnType::Bigint, "-1", Some("-1"));
    for other in ["[42]", "042", "+42", "42.0", "\"42\"", " 42", "", "null"] {
        check(ColumnType::Bigint, other, None);
    }
    check(ColumnType::Boolean, "true", Some("true"));
    check(ColumnType::Boolean, "t", None);
    check(ColumnType::Uuid, UUID, Some(&format!("\"{UUID}\"")));
    check(ColumnType::Uuid, &UUID.to_uppercase(), None);
    check(ColumnType::Uuid, &UUID.replace('-', ""), None);
    check(ColumnType::Double, "1.50", Some("1.50"));
    check(ColumnType::Double, "NaN", Some("\"NaN\""));
    check(ColumnType::Date, "2013-01-01", Some("\"2013-01-01\""));
    check(ColumnType::Json, "{\"a\":1}", Some("{\"a\":1}"));
    check(ColumnType::Json, "{", None);
    assert_eq!(KeyShape::Raw.columns_json(b"42"), None);
    assert_eq!(KeyShape::Text.columns_json(b"a\"b"), Some(vec![b"\"a\\\"b\"".to_vec()]));
    assert_eq!(KeyShape::Text.columns_json(b"\xff"), None);
}

#[test]
fn literals_become_the_key_that_is_cut_again() {
    let shape = KeyShape::Array(vec![ColumnType::Bigint, ColumnType::Text, ColumnType::Boolean]);
    let values = [
        ScalarValue::Int32(Some(-7)),
        ScalarValue::Utf8View(Some("a\"\\\n\u{1}ä".to_owned())),
        ScalarValue::Boolean(Some(true)),
    ];
    let key = shape.encode_literals(&values).expect("a key");
    assert_eq!(&key[..], "[-7,\"a\\\"\\\\\\n\\u0001ä\",true]".as_bytes());
    assert!(cut(&shape, std::str::from_utf8(&key).expect("text")).is_some());
    assert_eq!(
        shape.encode_literals(&[ScalarValue::Null, ScalarValue::Null, ScalarValue::Null]),
        None
    );
    let bytes = anabranch_semantics::uuid_bytes(UUID).expect("a uuid");
    let value = ScalarValue::FixedSizeBinary(16, Some(bytes.to_vec()));
    let key = KeyShape::Plain(ColumnType::Uuid).encode_literals(std::slice::from_ref(&value));
    assert_eq!(key.as_deref(), Some(UUID.as_bytes()));
    let both = KeyShape::Array(vec![ColumnType::Uuid, ColumnType::Bigint]);
    let key = both.encode_literals(&[value, ScalarValue::Int64(Some(1))]).expect("a key");
    assert_eq!(
        cut(&both, std::str::from_utf8(&key).expect("text")).map(|parts| parts.len()),
        Some(2)
    );
    let number = KeyShape::Plain(ColumnType::Bigint);
    let key = number.encode_literals(&[ScalarValue::Int16(Some(42))]);
    assert_eq!(key.as_deref(), Some(&b"42"[..]));
    let text = KeyShape::Text.encode_literals(&[ScalarValue::Utf8(Some("N14228".to_owned()))]);
    assert_eq!(text.as_deref(), Some(&b"N14228"[..]));
}

#[test]
fn objects_are_patched_field_by_field() {
    let check = |old: &str, changes: &[(&str, &str)], expected: &str| {
        let changes: Vec<_> =
            changes.iter().map(|(name, raw)| (*name, raw.as_bytes().to_vec())).collect();
        let new = patched(old.as_bytes(), &changes);
        assert_eq!(String::from_utf8_lossy(&new), expected, "{old}");
    };
    check(r#"{"a":1,"b":[1, 2]}"#, &[("a", "2")], r#"{"b":[1, 2],"a":2}"#);
    check(r#"{"a":1}"#, &[("b", "null")], r#"{"a":1,"b":null}"#);
    check("{}", &[("b", "true")], r#"{"b":true}"#);
    check("no object", &[("b", "1")], r#"{"b":1}"#);
}
