//! How fast the delay grows while a round is being sent: what a queue does when more is sent than
//! the path carries.
//!
//! In: mean delays of batches, and when these were sent. Out: the slope of the line through them.
//! Never: a rate from single arrivals, which jitter moves by a good part of a round trip.

use super::super::one_way::Batch;
use super::share::WHOLE;
use crate::time::{MICROSECOND_NS, Time};

/// A line through points, each with a weight, by least squares.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slope {
    /// The first point; all others are told by how far they are from it, in microseconds.
    origin: Option<(Time, u64)>,
    weight: i128,
    x: i128,
    y: i128,
    xx: i128,
    xy: i128,
}

impl Slope {
    pub(super) fn is_empty(&self) -> bool {
        self.origin.is_none()
    }

    /// Adds the mean of a batch, which weighs as much as it has datagrams.
    pub(super) fn add(&mut self, batch: &Batch) {
        let (from, from_ns) = *self.origin.get_or_insert((batch.sent_at, batch.rtt_ns));
        let difference =
            |a: u64, b: u64| (i128::from(a) - i128::from(b)) / i128::from(MICROSECOND_NS);
        let x = difference(batch.sent_at.as_ns(), from.as_ns());
        let y = difference(batch.rtt_ns, from_ns);
        let weight = i128::from(batch.count);
        self.weight += weight;
        self.x += weight * x;
        self.y += weight * y;
        self.xx += weight * x * x;
        self.xy += weight * x * y;
    }

    /// By how much the delay grows over the time of sending, in millionths; `None` without two
    /// points.
    pub(super) fn ppm(&self) -> Option<i64> {
        let spread = self.weight * self.xx - self.x * self.x;
        let together = self.weight * self.xy - self.x * self.y;
        let slope = (together * i128::from(WHOLE)).checked_div(spread)?;
        i64::try_from(slope).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(ms: u64, rtt_us: u64, count: u32) -> Batch {
        Batch { count, sent_at: Time::from_ms(ms), rtt_ns: rtt_us * MICROSECOND_NS }
    }

    #[test]
    fn a_tenth_more_than_the_path_carries_shows_as_a_tenth() {
        let mut slope = Slope::default();
        slope.add(&batch(1_000, 50_000, 5));
        assert_eq!(slope.ppm(), None);
        slope.add(&batch(1_010, 51_000, 20));
        slope.add(&batch(1_030, 53_000, 1));
        assert_eq!(slope.ppm(), Some(100_000));
    }

    #[test]
    fn batches_weigh_as_much_as_they_have_datagrams() {
        let mut slope = Slope::default();
        slope.add(&batch(0, 50_000, 1_000));
        slope.add(&batch(10, 50_000, 1_000));
        slope.add(&batch(5, 60_000, 1));
        assert_eq!(slope.ppm(), Some(0));
        slope.add(&batch(20, 40_000, 1_000));
        assert!(slope.ppm() < Some(-400_000));
    }
}
