//! Probing for the round trip: little is sent, so that the path is seen without our queue.

use super::super::{Mark, RoundSample};
use super::Phase;
use super::cruise::Cruise;
use super::model::Model;

/// Rate over the capacity, in per cent.
pub(super) const GAIN_PERCENT: u64 = 50;
/// Rounds after which it is over in any case.
const ROUNDS_MAX: u32 = 6;

/// In flight at most meanwhile.
pub(super) fn in_flight_bytes_max(model: &Model) -> u64 {
    model.in_flight_bytes(50)
}

/// State of the probe.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProbeRtt {
    rounds: u32,
}

impl ProbeRtt {
    pub(super) fn on_round(&mut self, round: &RoundSample, model: &mut Model) -> Option<Phase> {
        self.rounds += 1;
        let seen = round.mark == Mark::ProbeRtt && round.rtt_count > 0;
        if seen {
            model.set_base(round.now, round.rtt_last_ns);
        } else if self.rounds >= ROUNDS_MAX {
            model.set_base(round.now, model.base_ns());
        } else {
            return None;
        }
        Some(Phase::Cruise(Cruise::after(0)))
    }
}
