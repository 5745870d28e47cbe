use super::{Meter, Sums, add, histogram, quantile_ms};
use std::time::{Duration, Instant};

#[test]
fn latencies_count_from_the_intended_time() {
    let base = Instant::now();
    let meter = Meter::new(base, 2);
    let mut sums = Sums::start(&meter);
    let at = base + Duration::from_millis(10);
    let tickets = [0, 5_000_000, 9_000_000].into_iter();
    meter.delivered(1, at, tickets);
    meter.counted(0, 4);
    let sample = sums.tick(&meter);
    assert_eq!(sums.events, 7);
    assert_eq!(sums.latencies.len(), 3);
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 0.02, "{found}");
    near(sample.p50_ms, 5.0);
    near(sample.p99_ms, 10.0);
    near(quantile_ms(&sums.latencies, 0.01), 1.0);
}

#[test]
fn a_start_forgets_the_warm_up() {
    let meter = Meter::new(Instant::now(), 1);
    meter.counted(0, 100);
    let mut sums = Sums::start(&meter);
    meter.counted(0, 1);
    sums.tick(&meter);
    assert_eq!(sums.events, 1);
}

#[test]
fn latencies_beyond_the_bounds_count_at_the_bound() {
    let mut latencies = histogram();
    add(&mut latencies, Duration::ZERO);
    add(&mut latencies, Duration::from_secs(100_000));
    assert_eq!(latencies.len(), 2);
    assert_eq!(latencies.min(), 1);
    assert!(quantile_ms(&latencies, 1.0) >= 119_000.0);
    assert_eq!(quantile_ms(&histogram(), 0.99), 0.0);
}
