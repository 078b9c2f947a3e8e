//! After a probe: less is sent, until the queue that the probe may have made is empty.

use super::super::AckSample;
use super::Phase;
use super::cruise::Cruise;
use super::model::Model;

/// Rate over the capacity, in per cent.
pub(super) const GAIN_PERCENT: u64 = 75;
/// Rounds after which it is over in any case.
const ROUNDS_MAX: u32 = 3;

/// State of emptying the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbeDown {
    successes: usize,
    rounds: u32,
}

impl ProbeDown {
    /// After a probe that followed so many that have found more.
    pub(super) fn after(successes: usize) -> Self {
        ProbeDown { successes, rounds: 0 }
    }

    pub(super) fn successes(&self) -> usize {
        self.successes
    }

    pub(super) fn on_ack(&self, sample: &AckSample, model: &Model) -> Option<Phase> {
        let drained = sample.outstanding_bytes <= model.path_bytes();
        drained.then(|| Phase::Cruise(Cruise::after(self.successes)))
    }

    pub(super) fn on_round(&mut self, model: &Model) -> Option<Phase> {
        self.rounds += 1;
        (self.rounds >= ROUNDS_MAX || model.is_shared())
            .then(|| Phase::Cruise(Cruise::after(self.successes)))
    }
}
