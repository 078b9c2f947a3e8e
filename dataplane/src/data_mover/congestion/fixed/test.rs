//! An eighth less is sent for a while: does less arrive?
//!
//! If the path carries it all, the share that is lost stays what it was; if it carries less than
//! is sent, an eighth less is sent of what is lost. Losses in bursts differ much from round to
//! round: the test lasts until it is certain.

use super::super::share::{RandomLoss, WHOLE, scaled};
use super::super::{Mark, Settled};
use super::spread::Spread;
use super::{Hold, Lowered, Phase};

/// Blocks after which what is more likely is taken for certain.
const BLOCKS_MAX: u64 = 64;

/// State of a test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test {
    /// What was lost at the full rate, and at the lower one.
    before: Spread,
    after: Spread,
}

impl Test {
    pub(super) fn new(before: Spread) -> Self {
        Test { before, after: Spread::default() }
    }

    pub(super) fn on_settled(
        &mut self,
        block: &Settled,
        loss: &mut RandomLoss,
        configured_bps: u64,
    ) -> Option<Phase> {
        if block.mark != Mark::Test {
            return None;
        }
        self.after.add(block);
        // What arrives, in parts of the configured rate: an eighth less would be 14 of 16.
        let arrived_ppm = self.after.arrived_ppm() / 8 * 7;
        let as_much_ppm = scaled(self.before.arrived_ppm(), 15, 16);
        let error_ppm = self.before.error_ppm().max(self.after.error_ppm());
        let certain = arrived_ppm.abs_diff(as_much_ppm) >= error_ppm;
        if !certain && self.after.blocks() < BLOCKS_MAX {
            return None;
        }
        if arrived_ppm > as_much_ppm {
            let rate_bps = loss.sent_for(scaled(configured_bps, arrived_ppm, WHOLE));
            return Some(Phase::Lowered(Lowered::new(rate_bps)));
        }
        // What was known is forgotten: the new share is what both have seen.
        loss.doubt();
        loss.learn(self.before.sum(), false);
        loss.learn(self.after.sum(), false);
        Some(Phase::Hold(Hold::after_test()))
    }
}
