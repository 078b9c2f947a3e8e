//! Pacing: when the next datagram may leave, so that the rate is kept exactly and never exceeded.
//!
//! In: what was sent, and the rate. Out: the time of the next datagram. Never: a timer of its own.

use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

/// How much lateness of the caller is made up for, in nanoseconds; longer is lost, so that no
/// burst is longer than this at the rate. As long as a scheduler takes to give a core back.
const CATCH_UP_NS: u64 = 3 * MILLISECOND_NS;

/// The time at which the next datagram may leave.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pacer {
    next: Time,
    /// Whether something is waiting for that time: only then is lateness made up for.
    waiting: bool,
    /// Of the last division, so that no fraction of a nanosecond adds up.
    remainder: u64,
}

impl Pacer {
    /// When the next datagram may leave.
    pub(super) fn next(&self) -> Time {
        self.next
    }

    /// Whether it may leave now.
    pub(super) fn ready(&self, now: Time) -> bool {
        self.next <= now
    }

    /// A datagram of `ip_bytes` left.
    pub(super) fn charge(&mut self, now: Time, ip_bytes: usize, rate_bps: u64) {
        let rate_bps = rate_bps.max(1);
        let bits = (ip_bytes as u64).saturating_mul(8);
        let cost = bits.saturating_mul(SECOND_NS).saturating_add(self.remainder);
        self.remainder = cost % rate_bps;
        let earliest = if self.waiting { now - CATCH_UP_NS } else { now };
        self.next = self.next.max(earliest) + cost / rate_bps;
    }

    /// The next datagram may leave at `latest`.
    pub(super) fn limit(&mut self, latest: Time) {
        self.next = self.next.min(latest);
    }

    /// There is something to send, and only the pacer holds it back.
    pub(super) fn hold(&mut self) {
        self.waiting = true;
    }

    /// There is nothing to send: time that passes without work earns nothing.
    pub(super) fn idle(&mut self, now: Time) {
        self.waiting = false;
        if self.next < now {
            (self.next, self.remainder) = (now, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(pacer: &mut Pacer, from: Time, to: Time, step_ns: u64, rate_bps: u64) -> u64 {
        let mut bytes = 0;
        let mut now = from;
        while now < to {
            while pacer.ready(now) {
                pacer.charge(now, 1_464, rate_bps);
                bytes += 1_464;
            }
            pacer.hold();
            now = now + step_ns;
        }
        bytes
    }

    #[test]
    fn the_rate_is_kept_to_the_byte_by_a_caller_that_is_late() {
        for (rate_bps, step_ns) in [(200_000_000, 1), (200_000_000, 700_000), (3_333_333, 99_991)] {
            let mut pacer = Pacer::default();
            let seconds = if step_ns == 1 { 0 } else { 100 };
            let to = Time::from_ms(seconds * 1_000 + 10);
            let bytes = sent(&mut pacer, Time::ZERO, to, step_ns, rate_bps);
            let exact = rate_bps / 8 * to.as_ns() / SECOND_NS;
            assert!(bytes.abs_diff(exact) <= 2 * 1_464 + rate_bps / 8 / 1_000, "{bytes} {exact}");
            assert!(bytes <= exact + 1_464, "{bytes} {exact}");
        }
    }

    #[test]
    fn idle_time_earns_no_burst() {
        for told in [false, true] {
            let mut pacer = Pacer::default();
            pacer.charge(Time::ZERO, 1_464, 200_000_000);
            let later = Time::from_ms(5_000);
            if told {
                pacer.hold();
                pacer.idle(later);
            }
            let bytes = sent(&mut pacer, later, later + 1, 1, 200_000_000);
            assert_eq!(bytes, 1_464);
        }
    }

    #[test]
    fn a_late_caller_makes_up_for_three_milliseconds_at_most() {
        let mut pacer = Pacer::default();
        pacer.hold();
        let later = Time::from_ms(5_000);
        let bytes = sent(&mut pacer, later, later + 1, 1, 200_000_000);
        assert!(bytes <= 3 * 25_000 + 2 * 1_464, "{bytes}");
    }
}
