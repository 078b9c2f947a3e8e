//! Cruise: the rate is steered so that a short queue stands at the bottleneck, which is then never
//! idle.
//!
//! The rate is the capacity less a part of the queue that is too long (what answers at once), and
//! the capacity is what has passed while there was a queue, less a part of the same (what is right
//! in the end). While there is no queue at all the capacity grows, faster from round to round.

use super::super::RoundSample;
use super::super::share::{PERCENT, WHOLE, scaled};
use super::Phase;
use super::model::Model;
use super::probe_down::ProbeDown;
use super::probe_rtt::ProbeRtt;
use super::probe_up::ProbeUp;

/// Rounds between two probes.
const ROUNDS: u32 = 8;
/// Parts of a queue that is too long for a whole round, in millionths: by which the rate is lower,
/// and by which the capacity is lowered every round.
const RATE_PPM: u64 = 350_000;
const CAPACITY_PPM: u64 = 40_000;
/// Least rate over the capacity, in millionths.
const GAIN_PPM_MIN: u64 = 750_000;
/// What has passed while there was a queue counts by this part.
const PASSED_PART: u64 = 3;
/// Rate over the capacity where the window is what limits.
const SHARED_PPM: u64 = 125 * PERCENT;
/// Growth while the queue is shorter than is aimed at, in millionths: at most, of a round.
const CREEP_PPM: u64 = PERCENT / 4;
/// Growth while there is no queue, in millionths: of the first such round, and at most.
const GROWTH_PPM: u64 = PERCENT;
const GROWTH_PPM_MAX: u64 = 8 * PERCENT;
/// The same after so many rounds: the path carries far more than it did.
const LONG_QUIET_ROUNDS: u32 = 20;
const LONG_GROWTH_PPM: u64 = 25 * PERCENT;
/// The capacity over what was sent in the round that is known of, in millionths, at most.
const BLIND_PPM: u64 = 160 * PERCENT;
/// Rounds without a queue before the capacity grows, and until it grows twice as fast.
const QUIET_ROUNDS: u32 = 4;
const DOUBLING_ROUNDS: u32 = 3;
/// By how much less must have passed than was sent for all of it to count.
const BLOCKED_PPM: u64 = 40_000;
/// By how much the capacity is less, at least, when a queue too short to be seen overflows.
const OVERFLOW_PPM_MIN: u64 = PERCENT;

/// State of cruising.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cruise {
    rounds: u32,
    /// Rounds in a row without a queue.
    quiet: u32,
}

/// Rate over the capacity, in millionths.
pub(super) fn gain_ppm(model: &Model) -> u64 {
    if model.is_shared() {
        return SHARED_PPM;
    }
    let of_span = |ns: u64| scaled(scaled(ns, WHOLE, model.span_ns()), RATE_PPM, WHOLE);
    let (queue_ns, target_ns) = (model.queue_ns(), model.target_ns());
    let less_ppm = of_span(queue_ns.saturating_sub(target_ns));
    let more_ppm = of_span(target_ns.saturating_sub(queue_ns));
    (WHOLE + more_ppm).saturating_sub(less_ppm).max(GAIN_PPM_MIN)
}

impl Cruise {
    /// Goes on as it was before a probe.
    pub(super) fn again(self) -> Self {
        Cruise { rounds: 0, ..self }
    }

    pub(super) fn on_round(&mut self, round: &RoundSample, model: &mut Model) -> Option<Phase> {
        if let Some(phase) = self.steer(round, model) {
            return Some(phase);
        }
        if model.is_base_old(round.now) || model.may_be_shared() || model.is_queue_stuck() {
            return Some(Phase::ProbeRtt(ProbeRtt::now(model)));
        }
        self.rounds += 1;
        (self.rounds >= ROUNDS).then(|| Phase::ProbeUp(ProbeUp::from(*self)))
    }

    /// Corrects the capacity after a round; what to do when it seems to be far too high.
    pub(super) fn steer(&mut self, round: &RoundSample, model: &mut Model) -> Option<Phase> {
        if round.silent || round.datagrams == 0 || round.passed_bps == 0 {
            return None;
        }
        if model.is_shared() {
            model.compete(round);
            return None;
        }
        if let Some(excess_ppm) = model.overflow_ppm(round) {
            self.quiet = 0;
            if !model.is_loss_fresh() {
                // It may be random.
                return Some(Phase::ProbeDown(ProbeDown::default()));
            }
            // What was lost beyond random loss was lost in front of the bottleneck.
            model.overflowed(excess_ppm.clamp(OVERFLOW_PPM_MIN, WHOLE / 2));
            return None;
        }
        let (queue_ns, target_ns) = (model.queue_ns(), model.target_ns());
        if queue_ns > target_ns {
            let grown = self.quiet > QUIET_ROUNDS;
            self.quiet = 0;
            follow(round, model, grown);
        } else if !round.app_limited {
            self.quiet = if queue_ns <= 3 * target_ns / 4 { self.quiet + 1 } else { 0 };
            let missing_ppm = scaled(target_ns - queue_ns, WHOLE, target_ns);
            let growth_ppm = scaled(missing_ppm, CREEP_PPM, WHOLE).max(self.growth_ppm(model));
            let capacity_bps = model.capacity_bps();
            // That something passes is known only of what was sent, two rounds ago.
            let passed_bps = round.sent_bps.min(model.loss.sent_for(round.delivered_bps));
            let known_bps = scaled(passed_bps, BLIND_PPM, WHOLE).max(capacity_bps);
            let grown_bps = scaled(capacity_bps, WHOLE + growth_ppm, WHOLE);
            model.set_capacity(grown_bps.min(known_bps));
            if self.quiet > QUIET_ROUNDS {
                model.forgive();
            }
        }
        None
    }

    /// Growth of the capacity after some rounds without a queue, in millionths.
    fn growth_ppm(&mut self, model: &Model) -> u64 {
        if model.is_just_full() {
            // It may still carry no more than that: what has grown lately is not known of yet.
            self.quiet = self.quiet.min(QUIET_ROUNDS + 1);
        }
        match self.quiet.checked_sub(QUIET_ROUNDS) {
            None => 0,
            Some(LONG_QUIET_ROUNDS..) => LONG_GROWTH_PPM,
            Some(rounds) => (GROWTH_PPM << (rounds / DOUBLING_ROUNDS)).min(GROWTH_PPM_MAX),
        }
    }
}

/// There is a queue: what passes is what the path carries. After growth, which was blind, that
/// alone counts.
fn follow(round: &RoundSample, model: &mut Model, grown: bool) {
    let (queue_ns, target_ns) = (model.queue_ns(), model.target_ns());
    let capacity_bps = model.capacity_bps();
    let blocked = round.passed_bps < scaled(round.sent_bps, WHOLE - BLOCKED_PPM, WHOLE);
    if round.app_limited && !blocked {
        // What was sent has passed: that it was little says nothing of the path.
        return;
    }
    if grown || (blocked && queue_ns > 3 * target_ns) {
        model.full(round.passed_bps);
        model.set_capacity(capacity_bps.min(round.passed_bps.max(capacity_bps / 4)));
        return;
    }
    // A queue that is full neither grows nor shrinks, and loses what does not pass.
    let shrinks = round.passed_bps > scaled(round.sent_bps, WHOLE + BLOCKED_PPM, WHOLE);
    let passed_bps = match model.excess_ppm(round) {
        1.. if !shrinks => round.passed_bps.min(model.loss.sent_for(round.delivered_bps)),
        _ => round.passed_bps,
    };
    let passed_bps = passed_bps.clamp(capacity_bps / 2, capacity_bps * 2);
    model.full(passed_bps);
    let of_both_bps = capacity_bps - capacity_bps / PASSED_PART + passed_bps / PASSED_PART;
    let too_long_ppm = scaled(queue_ns - target_ns, WHOLE, model.span_ns()).min(WHOLE);
    let less_ppm = scaled(too_long_ppm, CAPACITY_PPM, WHOLE);
    model.set_capacity(scaled(of_both_bps, WHOLE - less_ppm, WHOLE));
}

#[cfg(test)]
mod tests {
    use super::super::super::PathStart;
    use super::*;
    use crate::time::{MILLISECOND_NS, Time};

    const MBIT: u64 = 1_000_000;
    const RTT_NS: u64 = 80 * MILLISECOND_NS;

    /// A path of this round trip, taken to carry 50 Mb/s.
    fn model() -> Model {
        let path = PathStart { now: Time::ZERO, rtt_ns: Some(RTT_NS), datagram_bytes: 1_500 };
        let mut model = Model::new(10_000 * MBIT, path);
        model.set_capacity(50 * MBIT);
        model
    }

    /// A round in which so much was sent and passed, and met a queue as long as this.
    fn round(sent_bps: u64, passed_bps: u64, queue_ms: u64) -> RoundSample {
        RoundSample {
            datagrams: 100,
            sent_bps,
            delivered_bps: passed_bps,
            passed_bps,
            round_ns: RTT_NS,
            rtt_ns: RTT_NS + queue_ms * MILLISECOND_NS,
            rtt_last_ns: RTT_NS + queue_ms * MILLISECOND_NS,
            rtt_count: 8,
            ..RoundSample::default()
        }
    }

    /// Rounds of this rate without a queue; what the capacity is then.
    fn capacity_after(rounds: u64, sent_bps: u64) -> u64 {
        let (mut model, mut cruise) = (model(), Cruise::default());
        for number in 1..=rounds {
            let now = Time::from_ms(80 * number);
            let round = RoundSample { now, ..round(sent_bps, sent_bps, 0) };
            model.on_round(&round);
            cruise.steer(&round, &mut model);
        }
        model.capacity_bps()
    }

    #[test]
    fn what_passes_without_a_queue_raises_the_capacity() {
        assert!(capacity_after(30, 70 * MBIT) > 60 * MBIT);
    }

    #[test]
    fn what_was_not_sent_was_not_seen_to_pass() {
        // A sender that is held up sends half of what it might, and nobody says so.
        assert_eq!(capacity_after(100, 25 * MBIT), 50 * MBIT);
        assert!(capacity_after(100, 40 * MBIT) <= 64 * MBIT);
    }

    /// What the capacity is after a round in which half is lost and there is a queue, where so much
    /// had passed if all had arrived.
    fn capacity_after_losses(passed_bps: u64) -> u64 {
        let mut model = model();
        let round = RoundSample {
            delivered_bps: 25 * MBIT,
            absent_ppm: 500_000,
            ..round(50 * MBIT, passed_bps, 5)
        };
        model.on_round(&round);
        follow(&round, &mut model, false);
        model.capacity_bps()
    }

    /// What the capacity is after a round in which half of it was sent, and met a queue that is gone
    /// at its end, if so much passed.
    fn capacity_after_little(passed_bps: u64) -> u64 {
        let mut model = model();
        let round = RoundSample {
            rtt_last_ns: RTT_NS,
            app_limited: true,
            ..round(25 * MBIT, passed_bps, 8)
        };
        model.on_round(&round);
        Cruise::default().steer(&round, &mut model);
        model.capacity_bps()
    }

    #[test]
    fn what_had_little_to_send_lowers_the_capacity_only_if_it_did_not_pass() {
        assert_eq!(capacity_after_little(25 * MBIT), 50 * MBIT);
        assert!(capacity_after_little(20 * MBIT) < 45 * MBIT);
    }

    #[test]
    fn a_queue_that_shrinks_is_not_full_whatever_is_lost() {
        assert!(capacity_after_losses(50 * MBIT) < 45 * MBIT);
        assert!(capacity_after_losses(55 * MBIT) > 50 * MBIT);
    }
}
