//! Sending at the configured rate, until more is lost than is known to be lost at random.

use super::super::share::RandomLoss;
use super::super::{Mark, Settled};
use super::spread::Spread;
use super::{Phase, Test};

/// Loss beyond what is known, of a million, that calls for a test.
const EXCESS_PPM: u64 = 15_000;
/// The share that arrives is known well enough when it may be off by this part of it; after so many
/// blocks in any case.
const CERTAIN_PART: u64 = 20;
const BLOCKS_MAX: u64 = 32;
/// Blocks after a test before the next one, in which what is lost is learned.
const COOLDOWN_BLOCKS: u32 = 8;

/// State of holding the rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hold {
    cooldown: u32,
    /// Blocks in a row that have it, but for the first: it may have begun in its midst.
    excess: Option<Spread>,
}

impl Hold {
    /// After a test that has found random loss.
    pub(super) fn after_test() -> Self {
        Hold { cooldown: COOLDOWN_BLOCKS, excess: None }
    }

    pub(super) fn on_settled(&mut self, block: &Settled, loss: &mut RandomLoss) -> Option<Phase> {
        self.cooldown = self.cooldown.saturating_sub(1);
        if block.mark != Mark::Hold {
            return None;
        }
        let expected_ppm = loss.ppm() + loss.noise_ppm(block.datagrams()) + EXCESS_PPM;
        let excessive = block.lost_ppm() > expected_ppm;
        if !excessive || self.cooldown > 0 {
            loss.learn(block, false);
            self.excess = None;
            return None;
        }
        let Some(excess) = &mut self.excess else {
            self.excess = Some(Spread::default());
            return None;
        };
        excess.add(block);
        let certain = excess.error_ppm() <= excess.arrived_ppm() / CERTAIN_PART;
        let doubtful = certain || excess.blocks() >= BLOCKS_MAX;
        doubtful.then(|| Phase::Test(Test::new(*excess)))
    }
}
