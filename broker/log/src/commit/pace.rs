//! How fast appends come.

use anabranch_types::Timestamp;

/// Milliseconds over which a rate is taken.
const WINDOW_MS: u64 = 200;

/// Bytes a second, as of the last whole window.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    began: Timestamp,
    bytes: u64,
    bytes_per_s: u64,
}

impl Pace {
    /// Counts a round; the rate after it. A clock that jumps begins a new window.
    pub(crate) fn count(&mut self, bytes: usize, now: Timestamp) -> u64 {
        self.bytes += bytes as u64;
        let elapsed_ms = now.0.abs_diff(self.began.0);
        if elapsed_ms >= WINDOW_MS {
            self.bytes_per_s = self.bytes.saturating_mul(1000) / elapsed_ms;
            self.began = now;
            self.bytes = 0;
        }
        self.bytes_per_s
    }
}

#[cfg(test)]
#[test]
fn a_rate_is_that_of_the_last_window() {
    let mut pace = Pace::default();
    // The first window began long ago.
    assert_eq!(pace.count(1_000, Timestamp(1_000_000)), 1);
    assert_eq!(pace.count(50_000, Timestamp(1_000_100)), 1);
    assert_eq!(pace.count(50_000, Timestamp(1_000_200)), 500_000);
    assert_eq!(pace.count(0, Timestamp(1_000_399)), 500_000);
    assert_eq!(pace.count(0, Timestamp(1_000_400)), 0);
    assert_eq!(pace.count(7, Timestamp(0)), 0);
}
