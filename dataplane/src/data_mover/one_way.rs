//! Delays of one direction: what the datagrams sent met on their way, without the way back.
//!
//! In: when each datagram that has arrived was sent, and the sum of the times of arriving that the
//! receiver tells. Out: a round trip averaged over all datagrams that an acknowledgement is news of.
//! Never: a guess: where both ends do not speak of the same datagrams, there is no sample.
//!
//! A round trip measured with the highest number received is one draw, of the jitter of both
//! directions. The difference of two sums, one of sending and one of arriving, is the mean over
//! every datagram between two acknowledgements, of the direction whose queue is ours.

use super::received::REPORTS;
use super::wire::Arrivals;
use crate::time::{MICROSECOND_NS, SECOND_NS, Time};

/// Acknowledgements that speak of other datagrams than we know of, after which we begin anew.
const MISMATCHES_MAX: u32 = 16;
const _: () =
    assert!(MISMATCHES_MAX as usize > REPORTS, "what was told in vain is still told again");
/// Of these in a row without a match, the sums are given up for this session.
const GIVEN_UP_MISMATCHES: u32 = 4 * MISMATCHES_MAX;
/// Samples of which the difference of both clocks and the way back are the average. Later ones do
/// not change it: what a queue does must not be lost in it.
const OFFSET_SAMPLES: i64 = 16;

/// Longest round trip that is believed, in nanoseconds: a peer may tell any times, and what is made
/// of them is added up and multiplied.
const RTT_NS_MAX: u64 = 60 * SECOND_NS;

/// What an acknowledgement tells of the datagrams that it is news of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// How many they are.
    pub(crate) count: u32,
    /// When they were sent, on average.
    pub(crate) sent_at: Time,
    /// Their round trip in nanoseconds, on average: the delay of each on its way, and the mean way
    /// back.
    pub(crate) rtt_ns: u64,
}

/// The datagram of the highest number that has arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) sent_at: Time,
    /// When it arrived, by the receiver's clock, which wraps.
    pub(super) arrived_us: u32,
    /// The round trip measured with it in nanoseconds.
    pub(super) rtt_ns: u64,
}

/// Compares the sums of both ends.
///
/// Where so much is on its way that acknowledgements overtake each other by more than each repeats,
/// both ends hardly ever speak of the same datagrams. There the highest number alone is looked at:
/// of so many, the one that is ahead has met little jitter.
#[derive(Debug, Default)]
pub(super) struct OneWay {
    /// By the times of sending.
    pub(super) sent: Arrivals,
    /// Both sums when they were last compared: of sending, of arriving.
    compared: (Arrivals, Arrivals),
    mismatches: u32,
    /// The same since the last match; and whether sums are given up.
    unmatched: u32,
    given_up: bool,
    /// Time of arriving less that of sending, of the first number looked at since.
    first_us: Option<u32>,
    /// Round trip less delay of one direction, averaged: the way back, and the difference of the
    /// clocks.
    offset_ns: i64,
    samples: i64,
}

impl OneWay {
    /// A new acknowledgement tells `arrived`, and with `edge` that a higher number has: what it
    /// tells of the datagrams that are news.
    pub(super) fn heard(&mut self, arrived: Arrivals, edge: Option<Edge>) -> Option<Batch> {
        if self.given_up {
            return self.reached(&edge?);
        }
        let (sent, sent_us) = self.sent.since(&self.compared.0);
        let (count, arrived_us) = arrived.since(&self.compared.1);
        if count == 0 || count > u32::MAX / 2 {
            // Nothing new, or overtaken by a newer one.
            return None;
        }
        if count != sent {
            self.mismatches += 1;
            self.unmatched += 1;
            if self.unmatched > GIVEN_UP_MISMATCHES {
                (self.given_up, self.samples, self.offset_ns) = (true, 0, 0);
            }
            if self.mismatches > MISMATCHES_MAX {
                self.compared = (self.sent, arrived);
                self.mismatches = 0;
            }
            return None;
        }
        self.compared = (self.sent, arrived);
        (self.mismatches, self.unmatched) = (0, 0);
        // Sums wrap, their difference is a small signed number.
        let total_us = arrived_us.wrapping_sub(sent_us).cast_signed();
        let delay_ns = i64::try_from(i128::from(total_us) * 1_000 / i128::from(count)).ok()?;
        if let Some(edge) = edge {
            self.learn_offset(i64::try_from(edge.rtt_ns).ok()?.checked_sub(delay_ns)?);
        }
        let sent_at = Time::from_ns(sent_us / u64::from(count) * MICROSECOND_NS);
        self.batch(count, sent_at, delay_ns)
    }

    /// What the highest number alone tells.
    fn reached(&mut self, edge: &Edge) -> Option<Batch> {
        let sent_us = (edge.sent_at.as_ns() / MICROSECOND_NS) & u64::from(u32::MAX);
        let sent_us = u32::try_from(sent_us).unwrap_or(0);
        // Both clocks wrap; the difference to the first one is a small signed number.
        let first_us = *self.first_us.get_or_insert(edge.arrived_us.wrapping_sub(sent_us));
        let delay_us = edge.arrived_us.wrapping_sub(sent_us).wrapping_sub(first_us).cast_signed();
        let delay_ns = i64::from(delay_us) * 1_000;
        self.learn_offset(i64::try_from(edge.rtt_ns).ok()?.checked_sub(delay_ns)?);
        self.batch(1, edge.sent_at, delay_ns)
    }

    fn batch(&self, count: u32, sent_at: Time, delay_ns: i64) -> Option<Batch> {
        let round_trip_ns = self.offset_ns.checked_add(delay_ns)?;
        let rtt_ns = u64::try_from(round_trip_ns).unwrap_or(0).max(1);
        let believed = self.samples > 0 && rtt_ns <= RTT_NS_MAX;
        believed.then_some(Batch { count, sent_at, rtt_ns })
    }

    fn learn_offset(&mut self, offset_ns: i64) {
        if self.samples >= OFFSET_SAMPLES {
            return;
        }
        self.samples += 1;
        let off_ns = offset_ns.saturating_sub(self.offset_ns);
        self.offset_ns = self.offset_ns.saturating_add(off_ns / self.samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// `n` datagrams a millisecond apart from `at_us` on, each `delay_us` under way; the receiver's
    /// clock is `ahead_us` of ours.
    fn carry(one_way: &mut OneWay, arrived: &mut Arrivals, times: &[(u64, u64)], ahead_us: u64) {
        for (at_us, delay_us) in times {
            one_way.sent.add(*at_us);
            arrived.add(at_us.wrapping_add(*delay_us).wrapping_add(ahead_us));
        }
    }

    fn rtt_ns(one_way: &mut OneWay, arrived: Arrivals, rtt_ns: Option<u64>) -> Option<u64> {
        let edge = rtt_ns.map(|rtt_ns| Edge { sent_at: Time::ZERO, arrived_us: 0, rtt_ns });
        one_way.heard(arrived, edge).map(|batch| batch.rtt_ns)
    }

    #[test]
    fn a_sample_is_the_mean_of_all_that_is_news() {
        for ahead_us in [0, 7_000_000, u64::MAX - 5_000_000] {
            let (mut one_way, mut arrived) = (OneWay::default(), Arrivals::default());
            carry(&mut one_way, &mut arrived, &[(1_000, 40_000)], ahead_us);
            assert_eq!(rtt_ns(&mut one_way, arrived, Some(80 * MS)), Some(80 * MS));
            carry(&mut one_way, &mut arrived, &[(2_000, 41_000), (3_000, 45_000)], ahead_us);
            assert_eq!(rtt_ns(&mut one_way, arrived, None), Some(83 * MS));
        }
    }

    #[test]
    fn different_datagrams_are_not_compared() {
        let (mut one_way, mut arrived) = (OneWay::default(), Arrivals::default());
        carry(&mut one_way, &mut arrived, &[(1_000, 40_000)], 0);
        assert_eq!(rtt_ns(&mut one_way, arrived, Some(80 * MS)), Some(80 * MS));
        // One that we do not know of yet: the next acknowledgement tells of both.
        arrived.add(42_000);
        assert_eq!(rtt_ns(&mut one_way, arrived, None), None);
        one_way.sent.add(2_000);
        carry(&mut one_way, &mut arrived, &[(3_000, 44_000)], 0);
        assert_eq!(rtt_ns(&mut one_way, arrived, None), Some(82 * MS));
        let overtaken = Arrivals { count: arrived.count - 1, ..arrived };
        assert_eq!(rtt_ns(&mut one_way, overtaken, None), None);
    }

    #[test]
    fn a_round_trip_that_no_path_has_is_no_sample() {
        let (mut one_way, mut arrived) = (OneWay::default(), Arrivals::default());
        carry(&mut one_way, &mut arrived, &[(1_000, 40_000)], 0);
        assert_eq!(rtt_ns(&mut one_way, arrived, Some(80 * MS)), Some(80 * MS));
        for ahead_us in [60_000_000, 1 << 50, (1 << 63) - 1] {
            carry(&mut one_way, &mut arrived, &[(2_000, 40_000)], ahead_us);
            assert_eq!(rtt_ns(&mut one_way, arrived, None), None);
        }
        carry(&mut one_way, &mut arrived, &[(3_000, 41_000)], 0);
        assert_eq!(rtt_ns(&mut one_way, arrived, None), Some(81 * MS));
    }

    #[test]
    fn after_many_mismatches_it_begins_anew() {
        let (mut one_way, mut arrived) = (OneWay::default(), Arrivals::default());
        carry(&mut one_way, &mut arrived, &[(1_000, 40_000)], 0);
        assert_eq!(rtt_ns(&mut one_way, arrived, Some(80 * MS)), Some(80 * MS));
        // Never told: every acknowledgement of it was lost.
        arrived.add(42_000);
        for i in 0..=u64::from(MISMATCHES_MAX) {
            carry(&mut one_way, &mut arrived, &[(3_000 + i, 40_000)], 0);
            assert_eq!(rtt_ns(&mut one_way, arrived, None), None);
        }
        carry(&mut one_way, &mut arrived, &[(9_000, 50_000)], 0);
        assert_eq!(rtt_ns(&mut one_way, arrived, None), Some(90 * MS));
    }

    #[test]
    fn where_sums_never_match_the_highest_number_tells() {
        let (mut one_way, mut arrived) = (OneWay::default(), Arrivals::default());
        let mut last_ns = None;
        // The receiver's clock wraps on the way; from the hundredth on there is a queue of 7 ms.
        for i in 0..200_u32 {
            let (sent_us, queue_us) = (1_000 * i, if i < 100 { 0 } else { 7_000 });
            one_way.sent.add(u64::from(sent_us));
            // Two arrive for each that is told.
            arrived.add(u64::from(sent_us));
            arrived.add(u64::from(sent_us));
            let edge = Edge {
                sent_at: Time::from_ns(u64::from(sent_us) * 1_000),
                arrived_us: (u32::MAX - 120_000).wrapping_add(sent_us + queue_us),
                rtt_ns: 80 * MS + u64::from(queue_us) * 1_000,
            };
            let batch = one_way.heard(arrived, Some(edge));
            assert_eq!(batch.is_some(), i > GIVEN_UP_MISMATCHES, "{i}");
            last_ns = batch.map(|batch| batch.rtt_ns);
        }
        assert_eq!(last_ns, Some(87 * MS));
    }
}
