//! Open loop: what is due when, whatever became of what was due before, and how long it took.
//!
//! In: a rate, a clock's time. Out: how many are due by now and when each was; delays by percentile.
//! Never: a delay that begins later than it was meant to (no coordinated omission).

use hdrhistogram::Histogram;

/// Longer delays are recorded as this.
pub(crate) const DELAY_NS_MAX: u64 = 10_000_000_000;
const DIGITS: u8 = 3;
/// What a delay is told at.
const PERCENTILES: [f64; 9] = [0.0, 25.0, 50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 100.0];

/// When each of a series is due, evenly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    began: u64,
    hz: u64,
    rate: u64,
}

impl Schedule {
    /// From `began` on, in a clock of `hz` ticks a second, `rate` a second (at least one).
    pub(crate) fn new(began: u64, hz: u64, rate: u64) -> Self {
        Schedule { began, hz, rate: rate.max(1) }
    }

    /// When it began, in ticks.
    pub(crate) fn began(&self) -> u64 {
        self.began
    }

    /// Ticks of its clock in a second.
    pub(crate) fn hz(&self) -> u64 {
        self.hz
    }

    /// How many are due by now.
    pub(crate) fn due(&self, now: u64) -> u64 {
        let elapsed = u128::from(now.saturating_sub(self.began));
        u64::try_from(elapsed * u128::from(self.rate) / u128::from(self.hz)).unwrap_or(u64::MAX)
    }

    /// When this one was, the first being number 0.
    pub(crate) fn time_of(&self, number: u64) -> u64 {
        let ticks = u128::from(number + 1) * u128::from(self.hz) / u128::from(self.rate);
        self.began + u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

/// An empty histogram of delays in nanoseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, DELAY_NS_MAX, DIGITS).expect("the bounds are constants that fit")
}

/// Delays by percentile, in microseconds.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn percentiles_us(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let at = |percentile: f64| histogram.value_at_percentile(percentile) as f64 / 1e3;
    PERCENTILES.iter().map(|percentile| (*percentile, at(*percentile))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_due_evenly_and_at_its_time() {
        let schedule = Schedule::new(1_000, 3_000_000_000, 7_000_000);
        for number in [0, 1, 6_999_999, 7_000_000, 1 << 40] {
            let time = schedule.time_of(number);
            assert!(schedule.due(time + 1) > number, "{number} is due once it is time");
            assert!(schedule.due(time.saturating_sub(1)) <= number, "and not before");
        }
        assert_eq!(schedule.due(1_000 + 3_000_000_000), 7_000_000);
        assert_eq!(schedule.due(0), 0);
    }
}
