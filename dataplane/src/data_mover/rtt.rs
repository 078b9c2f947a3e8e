//! The round trip as the sender sees it: shortest, smoothed, variation (RFC 9002 section 5).

use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

/// Assumed before the first sample, in nanoseconds (RFC 9002 section 6.2.2 has 333 ms).
const INITIAL_NS: u64 = 333 * MILLISECOND_NS;
/// How long a shortest round trip is believed, in nanoseconds.
const MIN_VALID_NS: u64 = 30 * SECOND_NS;

/// Estimates of the round trip, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rtt {
    /// Whether there was a sample.
    sampled: bool,
    latest_ns: u64,
    smoothed_ns: u64,
    variation_ns: u64,
    min_ns: u64,
    min_at: Time,
}

impl Rtt {
    pub(super) fn new() -> Self {
        Rtt {
            sampled: false,
            latest_ns: INITIAL_NS,
            smoothed_ns: INITIAL_NS,
            variation_ns: INITIAL_NS / 2,
            min_ns: INITIAL_NS,
            min_at: Time::ZERO,
        }
    }

    /// One sample: from sending to the acknowledgement, and the part of it that the receiver says
    /// it took.
    pub(super) fn sample(&mut self, now: Time, total_ns: u64, delay_ns: u64) {
        let net_ns = total_ns.saturating_sub(delay_ns).max(1);
        self.latest_ns = total_ns;
        if !self.sampled {
            self.sampled = true;
            self.smoothed_ns = net_ns;
            self.variation_ns = net_ns / 2;
            (self.min_ns, self.min_at) = (net_ns, now);
            return;
        }
        if net_ns <= self.min_ns || now.since_ns(self.min_at) > MIN_VALID_NS {
            (self.min_ns, self.min_at) = (net_ns, now);
        }
        let deviation_ns = self.smoothed_ns.abs_diff(net_ns);
        self.variation_ns = (3 * self.variation_ns + deviation_ns) / 4;
        self.smoothed_ns = (7 * self.smoothed_ns + net_ns) / 8;
    }

    /// The latest sample, the receiver's delay included.
    pub(super) fn latest_ns(&self) -> u64 {
        self.latest_ns
    }

    pub(super) fn smoothed_ns(&self) -> u64 {
        self.smoothed_ns
    }

    pub(super) fn variation_ns(&self) -> u64 {
        self.variation_ns
    }

    pub(super) fn min_ns(&self) -> u64 {
        self.min_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receivers_delay_is_not_part_of_the_path() {
        let mut rtt = Rtt::new();
        rtt.sample(Time::from_ms(100), 90 * MILLISECOND_NS, 10 * MILLISECOND_NS);
        assert_eq!(rtt.smoothed_ns(), 80 * MILLISECOND_NS);
        assert_eq!(rtt.latest_ns(), 90 * MILLISECOND_NS);
        for _ in 0..100 {
            rtt.sample(Time::from_ms(200), 100 * MILLISECOND_NS, 0);
        }
        assert_eq!(rtt.min_ns(), 80 * MILLISECOND_NS);
        assert!(rtt.smoothed_ns() > 99 * MILLISECOND_NS);
        assert!(rtt.variation_ns() < MILLISECOND_NS);
    }

    #[test]
    fn a_shortest_round_trip_is_forgotten() {
        let mut rtt = Rtt::new();
        rtt.sample(Time::ZERO, 10, 0);
        rtt.sample(Time::ZERO + MIN_VALID_NS, 20, 0);
        assert_eq!(rtt.min_ns(), 10);
        rtt.sample(Time::ZERO + MIN_VALID_NS + 1, 20, 0);
        assert_eq!(rtt.min_ns(), 20);
    }
}
