//! Less is sent for a while, to see whether as much is lost then: if it is, the loss is random.

use super::super::{Mark, RoundSample};
use super::Phase;
use super::cruise::Cruise;

/// Rate over the capacity, in per cent.
pub(super) const GAIN_PERCENT: u64 = 88;
/// Rounds after which it is over in any case.
const ROUNDS_MAX: u32 = 3;

/// State of the experiment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProbeDown {
    rounds: u32,
}

impl ProbeDown {
    pub(super) fn on_round(&mut self, round: &RoundSample) -> Option<Phase> {
        self.rounds += 1;
        let seen = round.mark == Mark::ProbeDown;
        (seen || self.rounds >= ROUNDS_MAX).then(|| Phase::Cruise(Cruise::default()))
    }
}
