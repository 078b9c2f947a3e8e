//! How long a packet takes onto the wire: exact over any number of packets.
//!
//! In: packet lengths and the rate. Out: durations. Never: a queue.

use dataplane::time::SECOND_NS;

/// Turns lengths into durations without losing the fraction of a nanosecond.
#[derive(Clone, Debug, Default)]
pub(super) struct Serializer {
    /// What the durations given out so far fell short of the exact sum, in units of
    /// 1 / rate nanoseconds; less than one nanosecond.
    remainder: u128,
}

impl Serializer {
    /// Time that `bytes` take at `rate_bps`, in nanoseconds; none when the rate has no limit.
    pub(super) fn duration_ns(&mut self, bytes: u64, rate_bps: u64) -> u64 {
        if rate_bps == 0 {
            return 0;
        }
        let rate = u128::from(rate_bps);
        let exact = u128::from(bytes) * 8 * u128::from(SECOND_NS) + self.remainder;
        self.remainder = exact % rate;
        u64::try_from(exact / rate).unwrap_or(u64::MAX)
    }

    /// Forgets the fraction: the rate is about to change.
    pub(super) fn reset(&mut self) {
        self.remainder = 0;
    }
}

/// What is left of a duration when the rate changes in the middle of a packet.
///
/// A new rate without limit ends it at once; an old one without limit has nothing left.
pub(super) fn rescaled_ns(left_ns: u64, rate_before_bps: u64, rate_after_bps: u64) -> u64 {
    let bits = u128::from(left_ns) * u128::from(rate_before_bps);
    bits.checked_div(u128::from(rate_after_bps))
        .map_or(0, |left| u64::try_from(left).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_packets_take_exactly_their_time() {
        // 1500 bytes at 7 bit/s do not divide evenly: 12000 bits last 1714.285714... s.
        let mut serializer = Serializer::default();
        let total: u64 = (0..7).map(|_| serializer.duration_ns(1500, 7)).sum();
        assert_eq!(total, 12_000 * SECOND_NS);
    }

    #[test]
    fn no_limit_takes_no_time() {
        assert_eq!(Serializer::default().duration_ns(u64::MAX, 0), 0);
    }

    #[test]
    fn a_change_of_rate_keeps_the_bits_that_are_left() {
        assert_eq!(rescaled_ns(1_000, 100, 50), 2_000);
        assert_eq!(rescaled_ns(1_000, 100, 0), 0);
        assert_eq!(rescaled_ns(0, 0, 100), 0);
    }
}
