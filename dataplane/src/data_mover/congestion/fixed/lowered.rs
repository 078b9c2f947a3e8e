//! Sending what the path was seen to carry, and asking from time to time for more.

use super::super::share::{RandomLoss, WHOLE, scaled};
use super::super::{Mark, RoundSample};
use super::{Hold, Phase};

/// Rounds at a rate before more is asked for.
const ROUNDS: u32 = 8;
/// A delivered rate may be so far off for reasons of its own.
const TOLERANCE_PPM: u64 = 30_000;

/// State of sending less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lowered {
    rate_bps: u64,
    rounds: u32,
    raising: bool,
}

impl Lowered {
    pub(super) fn new(rate_bps: u64) -> Self {
        Lowered { rate_bps, rounds: 0, raising: false }
    }

    fn raised_bps(&self) -> u64 {
        scaled(self.rate_bps, 9, 8)
    }

    pub(super) fn rate_bps(&self) -> u64 {
        if self.raising { self.raised_bps() } else { self.rate_bps }
    }

    pub(super) fn mark(&self) -> Mark {
        if self.raising { Mark::Raise } else { Mark::Lowered }
    }

    pub(super) fn on_round(
        &mut self,
        round: &RoundSample,
        loss: &RandomLoss,
        configured_bps: u64,
    ) -> Option<Phase> {
        let carried_bps = loss.sent_for(round.delivered_bps);
        let tolerance_ppm = TOLERANCE_PPM + 3 * loss.deviation_ppm();
        let tolerated = |bps| scaled(bps, WHOLE.saturating_sub(tolerance_ppm), WHOLE);
        let carried = carried_bps >= tolerated(round.sent_bps);
        self.rounds += 1;
        if self.raising {
            // What became of the round is known when the next is sent: at the rate as it was.
            (self.raising, self.rounds) = (false, 0);
        } else if round.mark == Mark::Raise && carried {
            self.rate_bps = self.raised_bps();
            if self.rate_bps >= configured_bps {
                return Some(Phase::Hold(Hold::after_test()));
            }
            (self.raising, self.rounds) = (true, 0);
        } else if round.mark == Mark::Lowered && !carried {
            (self.rate_bps, self.rounds) = (carried_bps, 0);
        } else if self.rounds >= ROUNDS {
            (self.raising, self.rounds) = (true, 0);
        }
        None
    }
}
