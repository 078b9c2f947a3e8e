//! Probing for bandwidth: for one round, more is sent than the path is known to carry.
//!
//! What became of that round is known a round later; if all of it was carried, the capacity is
//! that much higher, and the next probe follows at once and asks for more.

use super::Phase;
use super::probe_down::ProbeDown;

/// Rate over the capacity in the first probe, in per cent, and in those after one that found more.
const GAINS_PERCENT: [u64; 3] = [120, 150, 200];

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

    pub(super) fn gain_percent(&self) -> u64 {
        let last = GAINS_PERCENT.len() - 1;
        GAINS_PERCENT.get(self.successes.min(last)).copied().unwrap_or(100)
    }

    /// The round is sent.
    pub(super) fn on_round(&self) -> Phase {
        Phase::ProbeDown(ProbeDown::after(self.successes))
    }
}
