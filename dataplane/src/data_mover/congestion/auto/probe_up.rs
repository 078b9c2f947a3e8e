//! Probing: for one round a little more is sent. How much longer the queue gets tells our share of
//! what all send over the bottleneck.

use super::super::RoundSample;
use super::Phase;
use super::cruise::{self, Cruise};
use super::model::Model;

/// State of a probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbeUp {
    cruise: Cruise,
}

impl ProbeUp {
    /// A probe in the midst of cruising.
    pub(super) fn from(cruise: Cruise) -> Self {
        ProbeUp { cruise }
    }

    /// Rate over the capacity, in millionths.
    pub(super) fn gain_ppm(&self, model: &Model) -> u64 {
        cruise::gain_ppm(model) + model.probe_ppm()
    }

    /// The round is sent; what has come through was of the round before.
    pub(super) fn on_round(&mut self, round: &RoundSample, model: &mut Model) -> Phase {
        let other = self.cruise.steer(round, model);
        other.unwrap_or(Phase::Cruise(self.cruise.again()))
    }
}
