//! The `fixed` controller: the operator owns the capacity, loss says nothing about it.

use super::{AckSample, Controller};
use crate::time::{MILLISECOND_NS, SECOND_NS};

/// Before the first acknowledgement, in nanoseconds at the rate.
const INITIAL_NS: u64 = SECOND_NS;
/// Beyond round trips, in nanoseconds at the rate: acknowledgements are delayed, callers late.
const SLACK_NS: u64 = 50 * MILLISECOND_NS;

/// Always the same rate. What may be on its way is what the rate sends until a loss would have
/// been noticed: more only happens when nothing comes through, and then more is of no use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    rate_bps: u64,
    window_ns: u64,
}

impl Fixed {
    pub(crate) fn new(rate_bps: u64) -> Self {
        Fixed { rate_bps, window_ns: INITIAL_NS }
    }
}

impl Controller for Fixed {
    fn on_ack(&mut self, sample: &AckSample) {
        self.window_ns = (2 * sample.rtt_ns)
            .saturating_add(4 * sample.rtt_variation_ns)
            .saturating_add(SLACK_NS);
    }

    fn rate_bps(&self) -> u64 {
        self.rate_bps
    }

    fn in_flight_bytes_max(&self) -> u64 {
        let bytes = u128::from(self.rate_bps / 8) * u128::from(self.window_ns);
        u64::try_from(bytes / u128::from(SECOND_NS)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_changes_nothing_and_the_window_holds_two_round_trips() {
        let mut fixed = Fixed::new(200_000_000);
        let sample = AckSample {
            lost_bytes: 1_000_000,
            rtt_ns: 80 * MILLISECOND_NS,
            ..AckSample::default()
        };
        fixed.on_ack(&sample);
        assert_eq!(fixed.rate_bps(), 200_000_000);
        assert_eq!(fixed.in_flight_bytes_max(), 25_000 * (160 + 50));
    }
}
