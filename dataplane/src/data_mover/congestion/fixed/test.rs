//! An eighth less is sent for a round: does less arrive?

use super::super::share::{RandomLoss, scaled};
use super::super::{Mark, RoundSample};
use super::{Hold, Lowered, Phase};

/// State of a test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test {
    /// What arrived at the full rate.
    before_bps: u64,
}

impl Test {
    pub(super) fn new(before_bps: u64) -> Self {
        Test { before_bps }
    }

    pub(super) fn on_round(
        &mut self,
        round: &RoundSample,
        loss: &mut RandomLoss,
    ) -> Option<Phase> {
        if round.mark != Mark::Test {
            self.before_bps = self.before_bps.min(round.delivered_bps);
            return None;
        }
        // An eighth less would be 14 of 16.
        if round.delivered_bps > scaled(self.before_bps, 15, 16) {
            let rate_bps = loss.sent_for(round.delivered_bps);
            return Some(Phase::Lowered(Lowered::new(rate_bps)));
        }
        // Half of what is known is forgotten, so that the new share is soon what is known.
        loss.doubt();
        Some(Phase::Hold(Hold::after_test()))
    }
}
