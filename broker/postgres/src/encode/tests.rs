use super::*;
use datafusion::arrow::array::ListArray;
use datafusion::arrow::array::{
    Date32Array, Decimal128Array, Float32Array, Float64Array, IntervalMonthDayNanoArray,
    StringArray, Time64NanosecondArray, TimestampMillisecondArray, UInt64Array,
};
use datafusion::arrow::datatypes::{Int32Type, IntervalMonthDayNano};

fn encoded(array: impl Array + 'static, format: Format) -> Vec<u8> {
    let array = normal(&(Arc::new(array) as ArrayRef)).expect("a type that is written");
    let mut out = BytesMut::new();
    put(&array, 0, format, &mut out).expect("a value");
    out[4..].to_vec()
}

fn text(array: impl Array + 'static) -> String {
    String::from_utf8(encoded(array, Format::Text)).expect("text")
}

#[test]
fn floats_are_printed_as_postgresql_prints_them() {
    let check = |value: f64, expected: &str| {
        assert_eq!(text(Float64Array::from(vec![value])), expected);
    };
    check(0.0, "0");
    check(1.0, "1");
    check(-1.5, "-1.5");
    check(0.1, "0.1");
    check(0.0001, "0.0001");
    check(0.00001, "1e-05");
    check(123_456_789_012_345.0, "123456789012345");
    check(1e15, "1e+15");
    check(1.25e100, "1.25e+100");
    check(25.495_520_655_761_7, "25.4955206557617");
    check(f64::NAN, "NaN");
    check(f64::NEG_INFINITY, "-Infinity");
    assert_eq!(text(Float32Array::from(vec![1_234_567.0f32])), "1.234567e+06");
    assert_eq!(text(Float32Array::from(vec![0.1f32])), "0.1");
}

#[test]
fn other_types_are_printed_as_postgresql_prints_them() {
    assert_eq!(text(Date32Array::from(vec![15_706])), "2013-01-01");
    let time = TimestampMillisecondArray::from(vec![1_357_016_400_500]);
    assert_eq!(text(time.clone()), "2013-01-01 05:00:00.5");
    assert_eq!(text(time.with_timezone("+00:00")), "2013-01-01 05:00:00.5+00");
    assert_eq!(text(Time64NanosecondArray::from(vec![3_723_000_000_000])), "01:02:03");
    assert_eq!(text(UInt64Array::from(vec![7])), "7");
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None])]);
    assert_eq!(text(list), "{1,NULL}");
    let interval = |months, days, nanoseconds| {
        text(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(
            months,
            days,
            nanoseconds,
        )]))
    };
    assert_eq!(interval(14, 3, 3_723_500_000_000), "1 year 2 mons 3 days 01:02:03.5");
    assert_eq!(interval(0, 0, 0), "00:00:00");
    assert_eq!(interval(0, 0, -1_000_000_000), "-00:00:01");
}

#[test]
fn numerics_go_and_come_back_in_binary() {
    for number in [
        "0",
        "1",
        "-1",
        "12.50",
        "-0.05",
        "10000",
        "99999999.9999",
        "123456789012345678.000001",
        "0.00000001",
    ] {
        let mut out = BytesMut::new();
        numeric::put(number, &mut out);
        assert_eq!(numeric_text(&out).as_deref(), Some(number));
    }
    let wide = Decimal128Array::from(vec![-1250]).with_precision_and_scale(6, 2).expect("a type");
    assert_eq!(
        encoded(wide.clone(), Format::Binary),
        [0, 2, 0, 0, 0x40, 0, 0, 2, 0, 12, 0x13, 0x88]
    );
    assert_eq!(text(wide), "-12.50");
    assert_eq!(numeric_text(b""), None);
    assert_eq!(numeric_text(&[0, 1, 0, 0, 0, 0, 0, 0]), None);
}

#[test]
fn binary_counts_from_2000() {
    assert_eq!(
        encoded(Date32Array::from(vec![EPOCH_DAYS + 1]), Format::Binary),
        1i32.to_be_bytes()
    );
    let time = TimestampMillisecondArray::from(vec![EPOCH_MICROSECONDS / 1_000 + 1]);
    assert_eq!(encoded(time, Format::Binary), 1_000i64.to_be_bytes());
    assert_eq!(encoded(StringArray::from(vec!["ä"]), Format::Binary), "ä".as_bytes());
}
