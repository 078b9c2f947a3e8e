//! Probing for the round trip: for one round so little is sent that the queue empties, and the path
//! is seen without it.

use super::super::share::{WHOLE, scaled};
use super::super::{Mark, RoundSample};
use super::Phase;
use super::cruise::Cruise;
use super::model::Model;

/// Least rate over the capacity, in millionths.
const GAIN_PPM_MIN: u64 = 500_000;
/// Rounds after which it is over in any case.
const ROUNDS_MAX: u32 = 6;

/// State of the probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbeRtt {
    gain_ppm: u64,
    /// Rounds begun, the one of little included.
    rounds: u32,
}

impl ProbeRtt {
    /// Sends so much less that a round empties twice the queue there is, from the round on that
    /// begins now.
    pub(super) fn now(model: &Model) -> Self {
        ProbeRtt { rounds: 1, ..Self::soon(model) }
    }

    /// The same, from the next round on.
    pub(super) fn soon(model: &Model) -> Self {
        let queue_ns = model.queue_ns().max(model.target_ns());
        let less_ppm = scaled(2 * queue_ns, WHOLE, model.span_ns());
        ProbeRtt { gain_ppm: WHOLE.saturating_sub(less_ppm).max(GAIN_PPM_MIN), rounds: 0 }
    }

    /// Rate over the capacity, in millionths.
    pub(super) fn gain_ppm(&self) -> u64 {
        match self.rounds {
            0 | 1 => self.gain_ppm,
            _ => WHOLE,
        }
    }

    /// What the round is called that is sent now: only the first is of little.
    pub(super) fn mark(&self) -> Mark {
        match self.rounds {
            0 | 1 => Mark::ProbeRtt,
            _ => Mark::Cruise,
        }
    }

    pub(super) fn on_round(&mut self, round: &RoundSample, model: &mut Model) -> Option<Phase> {
        self.rounds += 1;
        let seen = round.mark == Mark::ProbeRtt && round.rtt_count > 0;
        if seen {
            model.seen_low(round);
        } else if self.rounds >= ROUNDS_MAX {
            model.set_base(round.now, model.base_ns());
        } else {
            return None;
        }
        Some(Phase::Cruise(Cruise::default()))
    }
}
