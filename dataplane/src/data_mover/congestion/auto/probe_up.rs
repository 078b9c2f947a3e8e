//! Probing for bandwidth: for one round, more is sent than the path is known to carry.
//!
//! What became of that round is known a round later; if all of it was carried, the capacity is
//! that much higher, and the next probe follows at once and asks for more.

use super::super::share::{PERCENT, WHOLE};
use super::Phase;
use super::model::Model;
use super::probe_down::ProbeDown;

/// Rate over the capacity in per cent in probes that follow one, two and more that found more.
const GAINS_PERCENT: [u64; 2] = [150, 200];

/// State of a probe.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProbeUp {
    /// Probes in a row that have found more.
    successes: usize,
}

impl ProbeUp {
    /// A probe after so many that have found more.
    pub(super) fn after(successes: usize) -> Self {
        ProbeUp { successes }
    }

    /// Rate over the capacity, in millionths.
    pub(super) fn gain_ppm(&self, model: &Model) -> u64 {
        match self.successes {
            0 => WHOLE + model.probe_ppm(),
            1 => GAINS_PERCENT[0] * PERCENT,
            _ => GAINS_PERCENT[1] * PERCENT,
        }
    }

    /// The round is sent.
    pub(super) fn on_round(&self) -> Phase {
        Phase::ProbeDown(ProbeDown::after(self.successes))
    }
}
