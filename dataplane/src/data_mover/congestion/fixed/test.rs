//! An eighth less is sent for a while: does less arrive?
//!
//! If the path carries it all, the share that is lost stays what it was; if it carries less than
//! is sent, an eighth less is sent of what is lost.

use super::super::share::{RandomLoss, WHOLE, scaled};
use super::super::{Mark, RoundSample, Settled};
use super::{Hold, Lowered, Phase};

/// Datagrams that a test needs, and rounds that it lasts at most.
const DATAGRAMS: u64 = 128;
const ROUNDS_MAX: u32 = 8;

/// State of a test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test {
    /// The share that was lost at the full rate.
    before_ppm: u64,
    /// Sent at the lower rate.
    datagrams: u64,
    rounds: u32,
    /// What became of that.
    arrived_bytes: u64,
    lost_bytes: u64,
    settled: u32,
}

impl Test {
    pub(super) fn new(before_ppm: u64) -> Self {
        Test { before_ppm, datagrams: 0, rounds: 0, arrived_bytes: 0, lost_bytes: 0, settled: 0 }
    }

    /// Whether less is still to be sent; then what became of it is waited for.
    pub(super) fn is_sending(&self) -> bool {
        self.rounds == 0 || (self.datagrams < DATAGRAMS && self.rounds < ROUNDS_MAX)
    }

    /// A round was sent.
    pub(super) fn on_round(&mut self, round: &RoundSample) {
        if self.is_sending() {
            self.rounds += 1;
            self.datagrams += round.datagrams;
        }
    }

    pub(super) fn on_settled(
        &mut self,
        round: &Settled,
        loss: &mut RandomLoss,
        configured_bps: u64,
    ) -> Option<Phase> {
        if round.mark != Mark::Test {
            return None;
        }
        self.arrived_bytes += round.arrived_bytes;
        self.lost_bytes += round.lost_bytes;
        self.settled += 1;
        if self.is_sending() || self.settled < self.rounds {
            return None;
        }
        let all = self.arrived_bytes + self.lost_bytes;
        let after_ppm = scaled(self.lost_bytes, WHOLE, all);
        // What arrives, in parts of the configured rate: an eighth less would be 14 of 16.
        let arrived_ppm = (WHOLE - after_ppm) / 8 * 7;
        if arrived_ppm > scaled(WHOLE - self.before_ppm, 15, 16) {
            let rate_bps = loss.sent_for(scaled(configured_bps, arrived_ppm, WHOLE));
            return Some(Phase::Lowered(Lowered::new(rate_bps)));
        }
        // What was known is forgotten, so that the new share is soon what is known.
        loss.doubt();
        Some(Phase::Hold(Hold::after_test()))
    }
}
