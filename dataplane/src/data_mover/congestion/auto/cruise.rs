//! Cruise: what the path carries is sent, for some rounds.

use super::super::RoundSample;
use super::super::share::WHOLE;
use super::Phase;
use super::model::Model;
use super::probe_rtt::ProbeRtt;
use super::probe_up::ProbeUp;

/// Rounds between two probes.
const ROUNDS: u32 = 6;
/// Least rate over the capacity while there is a queue, in millionths.
const QUEUED_PPM: u64 = 850_000;

/// State of cruising.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cruise {
    /// Of the probes before.
    successes: usize,
    rounds: u32,
}

impl Cruise {
    /// After a probe that followed so many that have found more.
    pub(super) fn after(successes: usize) -> Self {
        Cruise { successes, rounds: 0 }
    }

    pub(super) fn successes(&self) -> usize {
        self.successes
    }

    /// Rate over the capacity, in millionths: a queue is emptied within two round trips.
    pub(super) fn gain_ppm(&self, model: &Model) -> u64 {
        if model.is_shared() {
            return WHOLE;
        }
        WHOLE.saturating_sub(model.queue_ppm() / 2).max(QUEUED_PPM)
    }

    pub(super) fn on_round(&mut self, round: &RoundSample, model: &Model) -> Option<Phase> {
        if model.is_base_old(round.now) {
            return Some(Phase::ProbeRtt(ProbeRtt::default()));
        }
        self.rounds += 1;
        (self.rounds >= ROUNDS).then(|| Phase::ProbeUp(ProbeUp::default()))
    }
}
