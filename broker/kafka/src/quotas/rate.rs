//! A rate over the last seconds, sampled as Kafka samples it (`quota.window.num` 11,
//! `quota.window.size.seconds` 1), so that clients are held back as they are used to.

use std::collections::VecDeque;

/// Samples that a rate is made of.
const SAMPLES: usize = 11;
/// What a sample takes, in milliseconds.
const SAMPLE_MS: u64 = 1_000;
/// Whole samples that a rate spans at least: a burst counts as spread over as many.
pub(super) const WHOLE_SAMPLES: u64 = SAMPLES as u64 - 1;

#[derive(Debug, Default)]
pub(super) struct Rate {
    /// Oldest first.
    samples: VecDeque<Sample>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    start_ms: u64,
    last_ms: u64,
    value: f64,
}

impl Rate {
    /// Adds to the newest sample.
    pub(super) fn record(&mut self, value: f64, now_ms: u64) {
        self.forget_old(now_ms);
        match self.samples.back_mut() {
            Some(newest) if now_ms.saturating_sub(newest.start_ms) < SAMPLE_MS => {
                newest.value += value;
                newest.last_ms = now_ms;
            }
            _ => {
                if self.samples.len() > SAMPLES {
                    self.samples.pop_front();
                }
                self.samples.push_back(Sample { start_ms: now_ms, last_ms: now_ms, value });
            }
        }
    }

    /// How long to wait until the rate is no more than `most` a second, in milliseconds.
    pub(super) fn excess_ms(&mut self, most: f64, now_ms: u64) -> u64 {
        self.forget_old(now_ms);
        let window_ms = self.window_ms(now_ms) as f64;
        let sum: f64 = self.samples.iter().map(|sample| sample.value).sum();
        let rate = sum * 1_000.0 / window_ms;
        // A cast of a number that is too large gives the largest.
        if rate > most { ((rate - most) / most * window_ms).round() as u64 } else { 0 }
    }

    /// Whether nothing counts any longer.
    pub(super) fn is_idle(&mut self, now_ms: u64) -> bool {
        self.forget_old(now_ms);
        self.samples.is_empty()
    }

    fn window_ms(&self, now_ms: u64) -> u64 {
        let start_ms = self.samples.front().map_or(now_ms, |oldest| oldest.start_ms);
        let elapsed_ms = now_ms.saturating_sub(start_ms);
        let missing = WHOLE_SAMPLES.saturating_sub(elapsed_ms / SAMPLE_MS);
        (elapsed_ms + missing * SAMPLE_MS).max(1)
    }

    fn forget_old(&mut self, now_ms: u64) {
        let is_old =
            |sample: &Sample| now_ms.saturating_sub(sample.last_ms) >= SAMPLES as u64 * SAMPLE_MS;
        while self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn a_burst_waits_until_it_is_what_was_allowed() {
        let mut rate = Rate::default();
        // 10 s at 1,000 a second are free.
        rate.record(10_000.0, 0);
        assert_eq!(rate.excess_ms(1_000.0, 0), 0);
        rate.record(5_000.0, 0);
        assert_eq!(rate.excess_ms(1_000.0, 0), 5_000);
        // What has passed meanwhile counts.
        assert_eq!(rate.excess_ms(1_000.0, 400), 4_600);
        assert_eq!(rate.excess_ms(1_000.0, 10_999), 4_001);
        // In the end all of it is forgotten at once.
        assert!(!rate.is_idle(10_999));
        assert!(rate.is_idle(11_000));
    }

    #[test]
    fn a_steady_rate_is_held_to_its_bound() {
        let mut rate = Rate::default();
        let mut waited_ms = 0;
        for second in 0..60 {
            let now_ms = second * 1_000;
            rate.record(2_000.0, now_ms);
            waited_ms = rate.excess_ms(1_000.0, now_ms);
        }
        // Eleven to twelve samples of twice as much as may be.
        assert!((9_000..=14_000).contains(&waited_ms), "{waited_ms}");
    }
}
