//! The `auto` controller: measures the path, fills it, and keeps its queue short.
//!
//! In: rounds and acknowledgements. Out: a rate, a limit. Never: a reaction to a loss as such.
//!
//! It models the path as BBR does ("BBR: Congestion-Based Congestion Control", ACM Queue 2016), by
//! what it delivers and its round trip, but for one thing: the rates of sending and arriving are
//! compared round by round, for the same datagrams. What is lost while there is no queue cannot be
//! lost for want of capacity: it is the path's random loss, and the rate is set so that what
//! remains after it fills the link. And the rate is steered by the queue itself: each
//! acknowledgement tells the mean delay of all that it is news of, precisely enough to hold a short
//! queue under any jitter, so that the link is never idle and the queue never long.

mod compete;
mod cruise;
mod dips;
mod drain;
mod model;
mod overflow;
mod probe_down;
mod probe_rtt;
mod probe_up;
mod startup;

use cruise::Cruise;
use drain::Drain;
use model::Model;
use probe_down::ProbeDown;
use probe_rtt::ProbeRtt;
use probe_up::ProbeUp;
use startup::Startup;

use super::share::{PERCENT, WHOLE, scaled};
use super::{AckSample, Controller, Mark, PathStart, RoundSample};

/// What it is doing.
///
/// ```text
///           path is full          queue is empty          a round later
///   Startup ------------> Drain ----------------> ProbeRtt ------------> Cruise
///      ^                                           |  ^                    |
///      +-------------------------------------------+  +--------------------+
///         there was none: the path became longer,       no empty queue seen for long,
///         or little was sent                             or a long one that stays
///
///          some rounds                               more is lost than at random
///   Cruise -----------> ProbeUp        Cruise, ProbeUp -------------------------> ProbeDown
///      ^                   |              ^                                          |
///      +-------------------+              +------------------------------------------+
///          a round later                       what is lost then has been seen
/// ```
#[derive(Clone, Copy, Debug)]
enum Phase {
    Startup(Startup),
    Drain(Drain),
    Cruise(Cruise),
    ProbeUp(ProbeUp),
    ProbeDown(ProbeDown),
    ProbeRtt(ProbeRtt),
}

/// The controller.
#[derive(Debug)]
pub(super) struct Auto {
    model: Model,
    phase: Phase,
}

impl Auto {
    pub(super) fn new(hint_bps: Option<u64>, rate_bps_max: u64, path: PathStart) -> Self {
        let model = Model::new(rate_bps_max, path);
        let phase = Phase::Startup(Startup::new(hint_bps, &model));
        Auto { model, phase }
    }

    /// Rate over what is known, in millionths.
    fn gain_ppm(&self) -> u64 {
        match &self.phase {
            Phase::Startup(_) => startup::GAIN_PERCENT * PERCENT,
            Phase::Drain(_) => drain::GAIN_PERCENT * PERCENT,
            Phase::Cruise(_) => cruise::gain_ppm(&self.model),
            Phase::ProbeUp(up) => up.gain_ppm(&self.model),
            Phase::ProbeDown(_) => probe_down::GAIN_PERCENT * PERCENT,
            Phase::ProbeRtt(probe) => probe.gain_ppm(),
        }
    }
}

impl Controller for Auto {
    fn on_ack(&mut self, sample: &AckSample) {
        self.model.on_ack(sample);
        let next = match &mut self.phase {
            Phase::Startup(startup) => startup.on_ack(sample, &mut self.model),
            Phase::Drain(drain) => drain.on_ack(sample, &self.model),
            _ => None,
        };
        self.phase = next.unwrap_or(self.phase);
    }

    fn on_round(&mut self, round: &RoundSample) {
        self.model.on_round(round);
        let next = match &mut self.phase {
            Phase::Startup(startup) => startup.on_round(round, &mut self.model),
            Phase::Drain(drain) => drain.on_round(&self.model),
            Phase::Cruise(cruise) => cruise.on_round(round, &mut self.model),
            Phase::ProbeUp(up) => Some(up.on_round(round, &mut self.model)),
            Phase::ProbeDown(down) => down.on_round(round),
            Phase::ProbeRtt(probe) => probe.on_round(round, &mut self.model),
        };
        self.phase = next.unwrap_or(self.phase);
    }

    fn set_datagram_bytes(&mut self, datagram_bytes: u64) {
        self.model.set_datagram_bytes(datagram_bytes);
    }

    fn rate_bps(&self) -> u64 {
        let gain_ppm = self.gain_ppm();
        let rate_bps = match &self.phase {
            Phase::Startup(startup) => scaled(startup.basis_bps(), gain_ppm, WHOLE),
            // What is learned at a low rate must not be of a queue that is full all the same.
            Phase::ProbeDown(_) => self.model.low_bps(gain_ppm),
            Phase::ProbeRtt(_) if gain_ppm < WHOLE => self.model.low_bps(gain_ppm),
            _ => scaled(self.model.capacity_bps(), gain_ppm, WHOLE),
        };
        self.model.limited_bps(rate_bps)
    }

    fn capacity_bps(&self) -> u64 {
        match &self.phase {
            Phase::Startup(_) => self.rate_bps(),
            _ => self.model.capacity_bps(),
        }
    }

    fn random_loss_ppm(&self) -> u64 {
        self.model.loss.ppm()
    }

    fn in_flight_bytes_max(&self) -> u64 {
        match &self.phase {
            Phase::Startup(startup) => startup.in_flight_bytes_max(&self.model),
            _ => self.model.in_flight_max(),
        }
    }

    fn mark(&self) -> Mark {
        match &self.phase {
            Phase::Startup(_) => Mark::Startup,
            Phase::Drain(_) => Mark::Drain,
            Phase::Cruise(_) => Mark::Cruise,
            Phase::ProbeUp(_) => Mark::ProbeUp,
            Phase::ProbeDown(_) => Mark::ProbeDown,
            Phase::ProbeRtt(probe) => probe.mark(),
        }
    }
}
