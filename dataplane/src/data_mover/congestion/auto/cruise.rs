//! Cruise: what the path carries is sent, for some rounds.

use super::super::RoundSample;
use super::Phase;
use super::model::{Model, Verdict};
use super::probe_rtt::ProbeRtt;
use super::probe_up::ProbeUp;

/// Rounds between two probes.
const ROUNDS: u32 = 6;
/// Rate over the capacity while there is a queue, in per cent.
const QUEUED_PERCENT: u64 = 95;

/// State of cruising.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cruise {
    /// Of the probes before.
    successes: usize,
    rounds: u32,
    queued: bool,
}

impl Cruise {
    /// After a probe that followed so many that have found more.
    pub(super) fn after(successes: usize) -> Self {
        Cruise { successes, rounds: 0, queued: false }
    }

    pub(super) fn successes(&self) -> usize {
        self.successes
    }

    pub(super) fn gain_percent(&self) -> u64 {
        if self.queued { QUEUED_PERCENT } else { 100 }
    }

    pub(super) fn on_round(
        &mut self,
        round: &RoundSample,
        verdict: Verdict,
        model: &Model,
    ) -> Option<Phase> {
        if model.is_base_old(round.now) {
            return Some(Phase::ProbeRtt(ProbeRtt::default()));
        }
        self.queued = verdict == Verdict::Full;
        self.rounds += 1;
        (self.rounds >= ROUNDS).then(|| Phase::ProbeUp(ProbeUp::default()))
    }
}
