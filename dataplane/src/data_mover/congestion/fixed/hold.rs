//! Sending at the configured rate, until more is lost than is known to be lost at random.

use super::super::share::RandomLoss;
use super::super::{Mark, Settled};
use super::{Phase, Test};

/// Loss beyond what is known, of a million, that calls for a test.
const EXCESS_PPM: u64 = 15_000;
/// Rounds in a row that must have it.
const EXCESS_ROUNDS: u32 = 2;
/// Rounds after a test before the next one, in which what is lost is learned.
const COOLDOWN_ROUNDS: u32 = 8;

/// State of holding the rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hold {
    cooldown: u32,
    excess: u32,
}

impl Hold {
    /// After a test that has found random loss.
    pub(super) fn after_test() -> Self {
        Hold { cooldown: COOLDOWN_ROUNDS, excess: 0 }
    }

    pub(super) fn on_settled(&mut self, round: &Settled, loss: &mut RandomLoss) -> Option<Phase> {
        self.cooldown = self.cooldown.saturating_sub(1);
        if round.mark != Mark::Hold {
            return None;
        }
        let expected_ppm = loss.ppm() + loss.noise_ppm(round.datagrams()) + EXCESS_PPM;
        let excessive = round.lost_ppm() > expected_ppm;
        self.excess = if excessive { self.excess + 1 } else { 0 };
        if !excessive || self.cooldown > 0 {
            loss.learn(round, false);
        }
        let doubtful = self.excess >= EXCESS_ROUNDS && self.cooldown == 0;
        doubtful.then(|| Phase::Test(Test::new(round.lost_ppm())))
    }
}
