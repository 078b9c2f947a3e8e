//! Drain: what start-up has put into the queue is let out of it.

use super::super::AckSample;
use super::super::share::{PERCENT, WHOLE};
use super::Phase;
use super::model::Model;
use super::probe_rtt::ProbeRtt;

/// Rate over the capacity, in per cent.
pub(super) const GAIN_PERCENT: u64 = 35;
/// Less than the capacity, in millionths.
const LESS_PPM: u64 = WHOLE - GAIN_PERCENT * PERCENT;
/// Rounds after which it is over in any case.
const ROUNDS_MAX: u32 = 8;

/// State of draining.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    rounds: u32,
    /// Round trip when start-up was over.
    before_ns: u64,
    /// Start-up had little to send when it ended.
    app_limited: bool,
}

impl Drain {
    pub(super) fn from(before_ns: u64, app_limited: bool) -> Self {
        Drain { rounds: 0, before_ns, app_limited }
    }

    fn over(&self, model: &Model) -> Phase {
        // Who sent all that was allowed has seen that no more is delivered. Who did not may have
        // taken a path that has become longer for a full one.
        let less_ppm = if self.app_limited { LESS_PPM } else { 0 };
        Phase::ProbeRtt(ProbeRtt::started(model, self.before_ns, less_ppm))
    }

    pub(super) fn on_ack(&self, sample: &AckSample, model: &Model) -> Option<Phase> {
        let empty_ns = model.base_ns() + model.target_ns();
        let drained = sample.outstanding_bytes <= model.path_bytes()
            || sample.rtt_ns.is_some_and(|rtt_ns| rtt_ns <= empty_ns);
        drained.then(|| self.over(model))
    }

    pub(super) fn on_round(&mut self, model: &Model) -> Option<Phase> {
        self.rounds += 1;
        (self.rounds > ROUNDS_MAX).then(|| self.over(model))
    }
}
