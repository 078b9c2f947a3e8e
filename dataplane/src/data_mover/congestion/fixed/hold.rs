//! Sending at the configured rate, until more is lost than is known to be lost at random.

use super::super::RoundSample;
use super::super::share::{RandomLoss, WHOLE, scaled};
use super::{Phase, Test};

/// Loss beyond what is known, of a million, that calls for a test.
const EXCESS_PPM: u64 = 15_000;
/// Rounds after a test before the next one.
const COOLDOWN_ROUNDS: u32 = 6;

/// State of holding the rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hold {
    cooldown: u32,
    /// Rounds in a row in which more was lost.
    excess: u32,
}

impl Hold {
    /// After a test that has found random loss.
    pub(super) fn after_test() -> Self {
        Hold { cooldown: COOLDOWN_ROUNDS, excess: 0 }
    }

    pub(super) fn on_round(
        &mut self,
        round: &RoundSample,
        loss: &mut RandomLoss,
    ) -> Option<Phase> {
        self.cooldown = self.cooldown.saturating_sub(1);
        let expected_bps = scaled(round.sent_bps, WHOLE - loss.ppm(), WHOLE);
        let tolerance_ppm = EXCESS_PPM + 3 * loss.deviation_ppm();
        let behind =
            round.delivered_bps < scaled(expected_bps, WHOLE.saturating_sub(tolerance_ppm), WHOLE);
        self.excess = if behind { self.excess + 1 } else { 0 };
        if let Some(settled) = &round.settled
            && (!behind || self.cooldown > 0)
            && !settled.silent
        {
            loss.learn(settled, false);
        }
        let doubtful = self.excess >= 2 && self.cooldown == 0;
        doubtful.then(|| Phase::Test(Test::new(round.delivered_bps)))
    }
}
