//! Competing: how much may be in flight beside others who fill the queue whatever it costs.
//!
//! In: rounds, random loss. Out: a window in bytes. Never: a window while nobody else is there.
//!
//! Room that is made for such others is lost to them, and who makes none takes all from those who
//! give way when the queue overflows. So this gives way, and comes back, as CUBIC does (RFC 9438),
//! but not for losses that are random, as far as these were known before the others came.

use super::super::share::{DATAGRAM_BYTES, RandomLoss, bytes_in, scaled};
use super::super::{RoundSample, Settled};
use crate::time::{SECOND_NS, Time};

/// RFC 9438, section 4.1: growth in datagrams by the cube of seconds.
const CUBIC_C: f64 = 0.4;
/// What remains after an overflow; CUBIC keeps 70, but knows of it two round trips earlier.
const BETA_PERCENT: u64 = 65;
/// Section 4.3: growth in datagrams of a round trip, in hundredths.
const RENO_PERCENT: u64 = 53;
/// Rounds after a loss until losses of the time before are settled.
const STALE_ROUNDS: u32 = 4;
/// Where all give way to a full queue round trips become as much shorter, at least; and the rounds
/// for which nothing is given way to those who do not.
const SHORTER_PERCENT: u64 = 87;
const FIRM_ROUNDS: u32 = 100;
/// In flight at least, and paths at most.
const BYTES_MIN: u64 = 4 * DATAGRAM_BYTES;
const PATHS_MAX: u64 = 8;

/// The window, since it was last less than before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    bytes: u64,
    from_bytes: u64,
    peak_bytes: u64,
    since: Time,
    stale_rounds: u32,
    /// Round trip when it was made less, and the shortest since.
    full_ns: u64,
    least_ns: u64,
    /// Rounds for which the others are taken to give way to nothing.
    firm_rounds: u32,
}

impl Window {
    /// What is in flight now; `before_bytes` were when the others came.
    pub(super) fn new(round: &RoundSample, before_bytes: u64) -> Self {
        let bytes = bytes_in(round.passed_bps, round.rtt_ns).max(BYTES_MIN);
        let peak_bytes = bytes.max(before_bytes);
        Window {
            bytes,
            from_bytes: bytes,
            peak_bytes,
            since: round.now,
            stale_rounds: STALE_ROUNDS,
            full_ns: u64::MAX,
            least_ns: 0,
            firm_rounds: 0,
        }
    }

    /// What may be in flight on a path that holds `path_bytes` of ours without a queue, and
    /// `whole_bytes` of all. Those who give way to nothing have two paths in flight together with
    /// us, as BBR has: one of them is for us.
    pub(super) fn bytes(&self, path_bytes: u64, whole_bytes: u64) -> u64 {
        let bytes = if self.firm_rounds > 0 { whole_bytes } else { self.bytes };
        bytes.min(PATHS_MAX * path_bytes).max(BYTES_MIN)
    }

    /// A round with round trips is over on a path that holds `path_bytes` without a queue.
    pub(super) fn on_round(&mut self, round: &RoundSample, loss: &RandomLoss, path_bytes: u64) {
        self.stale_rounds = self.stale_rounds.saturating_sub(1);
        self.least_ns = self.least_ns.min(round.rtt_ns);
        if self.firm_rounds > 0 {
            self.firm_rounds -= 1;
            if self.firm_rounds == 0 {
                *self = Window::new(round, 0);
            }
            return;
        }
        let full = round.settled.as_ref().filter(|settled| is_full(settled, loss));
        if let (Some(settled), 0) = (full, self.stale_rounds) {
            if self.least_ns > scaled(self.full_ns, SHORTER_PERCENT, 100) {
                self.firm_rounds = FIRM_ROUNDS;
                return;
            }
            (self.full_ns, self.least_ns) = (round.rtt_ns.max(settled.rtt_ns), u64::MAX);
            self.peak_bytes = self.bytes;
            self.from_bytes = scaled(self.bytes, BETA_PERCENT, 100).max(BYTES_MIN);
            self.bytes = self.from_bytes;
            (self.since, self.stale_rounds) = (round.now, STALE_ROUNDS);
        } else if round.app_limited {
            // What is not used does not grow.
            self.since = self.since + round.round_ns;
        } else {
            let grown_bytes = self.grown_bytes(round);
            self.bytes = grown_bytes.max(self.bytes).min((PATHS_MAX * path_bytes).max(BYTES_MIN));
        }
    }

    fn grown_bytes(&self, round: &RoundSample) -> u64 {
        let elapsed_ns = round.now.since_ns(self.since);
        let rounds_percent = scaled(elapsed_ns, RENO_PERCENT, round.rtt_ns);
        let reno_bytes = self.from_bytes + rounds_percent * DATAGRAM_BYTES / 100;
        self.cubic_bytes(elapsed_ns).max(reno_bytes)
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "windows and times are far below 2^52, and the result is not negative"
    )]
    fn cubic_bytes(&self, elapsed_ns: u64) -> u64 {
        let datagrams = |bytes: u64| bytes as f64 / DATAGRAM_BYTES as f64;
        let peak = datagrams(self.peak_bytes);
        let peak_after_s = ((peak - datagrams(self.from_bytes)).max(0.0) / CUBIC_C).cbrt();
        let beyond_s = elapsed_ns as f64 / SECOND_NS as f64 - peak_after_s;
        ((CUBIC_C * beyond_s.powi(3) + peak).max(0.0) * DATAGRAM_BYTES as f64) as u64
    }
}

/// Whether a queue that is full took of it, beyond what is lost at random.
fn is_full(settled: &Settled, loss: &RandomLoss) -> bool {
    let by_chance_ppm = loss.ppm() + loss.noise_ppm(settled.datagrams());
    !settled.silent && settled.lost_ppm() > by_chance_ppm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::MILLISECOND_NS;

    const RTT_NS: u64 = 100 * MILLISECOND_NS;
    const PATH_BYTES: u64 = 600_000;
    const WHOLE_BYTES: u64 = 900_000;

    /// A window of 600,000 bytes, and rounds of it.
    struct Beside {
        window: Window,
        loss: RandomLoss,
        round: RoundSample,
    }

    impl Beside {
        fn new() -> Self {
            let round = RoundSample {
                datagrams: 400,
                passed_bps: 48_000_000,
                round_ns: RTT_NS,
                rtt_ns: RTT_NS,
                rtt_count: 20,
                ..RoundSample::default()
            };
            Beside { window: Window::new(&round, 0), loss: RandomLoss::default(), round }
        }

        /// Rounds with so many of a hundred lost.
        fn rounds(&mut self, count: u32, lost_percent: u64) -> u64 {
            for _ in 0..count {
                self.round.now = self.round.now + RTT_NS;
                let lost_bytes = 6_000 * lost_percent;
                let arrived_bytes = 600_000 - lost_bytes;
                let settled = Settled { lost_bytes, arrived_bytes, ..Settled::default() };
                self.round.settled = Some(settled);
                self.window.on_round(&self.round, &self.loss, PATH_BYTES);
            }
            self.window.bytes(PATH_BYTES, WHOLE_BYTES)
        }
    }

    #[test]
    fn it_gives_way_when_the_queue_overflows_and_comes_back_as_cubic_does() {
        let mut beside = Beside::new();
        let peak = beside.rounds(STALE_ROUNDS, 0);
        assert_eq!(beside.rounds(1, 5), peak * BETA_PERCENT / 100);
        // The cube root of 140 datagrams over 0.4 is 7.0 seconds.
        assert!(beside.rounds(30, 0) < 590_000);
        let back = beside.rounds(37, 0);
        assert!((595_000..605_000).contains(&back), "{back}");
        assert!(beside.rounds(60, 0) > 650_000);
    }

    #[test]
    fn what_is_lost_at_random_is_no_overflow() {
        let mut beside = Beside::new();
        for _ in 0..50 {
            let settled =
                Settled { lost_bytes: 60_000, arrived_bytes: 540_000, ..Settled::default() };
            beside.loss.learn(&settled, false);
        }
        assert!(beside.rounds(20, 10) >= 600_000);
        assert!(beside.rounds(1, 40) < 500_000);
    }

    #[test]
    fn nothing_is_given_to_those_who_do_not_give_way() {
        let mut beside = Beside::new();
        beside.rounds(STALE_ROUNDS, 0);
        assert!(beside.rounds(1, 5) < 430_000);
        // Round trips are as long as ever.
        assert_eq!(beside.rounds(STALE_ROUNDS + 1, 5), WHOLE_BYTES);
        assert_eq!(beside.rounds(50, 5), WHOLE_BYTES);
        assert!((0..FIRM_ROUNDS).any(|_| beside.rounds(1, 5) < PATH_BYTES), "it is tried again");
    }

    #[test]
    fn what_is_not_used_does_not_grow() {
        let mut beside = Beside::new();
        beside.round.app_limited = true;
        assert_eq!(beside.rounds(200, 0), 600_000);
    }
}
