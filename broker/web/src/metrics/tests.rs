use super::process::{cpu_seconds, status_bytes};
use super::*;

#[test]
fn the_text_format() {
    let mut out = Exposition::default();
    out.add("a_total", Kind::Counter, "What it\nis.", 3.0);
    let samples: &[(&[(&str, &str)], f64)] =
        &[(&[("door", "kafka"), ("api", "a\"b")], 1.5), (&[("door", "x")], 2.0)];
    out.add_labelled("b", Kind::Gauge, "B.", samples);
    let expected = "# HELP a_total What it\\nis.\n# TYPE a_total counter\na_total 3\n\
                    # HELP b B.\n# TYPE b gauge\nb{door=\"kafka\",api=\"a\\\"b\"} 1.5\n\
                    b{door=\"x\"} 2\n";
    assert_eq!(out.into_text(), expected);
}

#[test]
fn proc() {
    let stat = "42 (a) b) S 1 42 42 0 -1 4194560 2000 0 0 0 150 25 0 0 20 0 9 0 100 0 0";
    assert_eq!(cpu_seconds(stat), Some(1.75));
    assert_eq!(cpu_seconds(""), None);
    let status = "Name:\tx\nVmHWM:\t  200 kB\nVmRSS:\t  100 kB\n";
    assert_eq!(status_bytes(status, "VmRSS:"), Some(102_400.0));
    assert_eq!(status_bytes(status, "VmSwap:"), None);
}
