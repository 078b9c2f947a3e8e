//! Congestion control: how fast to send, and how much may be on its way.
//!
//! In: what became of what was sent, as data. Out: a rate and a limit. Never: a clock, a timer.

mod auto;
mod fixed;
mod rounds;
mod share;
mod slope;

pub(super) use rounds::{Heard, Outcome, RoundTag, Rounds};
pub use rounds::{RoundSample, Settled};

use auto::Auto;
use fixed::Fixed;

use crate::time::Time;

/// Rates in bits per second that can be worked with.
const RATE_BPS_MIN: u64 = 1_000;
const RATE_BPS_MAX: u64 = 1 << 40;

/// How the rate to a peer is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Congestion {
    /// The operator owns the capacity and names it, in bits of IP packets per second.
    Fixed {
        /// The capacity.
        rate_bps: u64,
    },
    /// The path is measured.
    Auto {
        /// What the capacity may be: shortens the start.
        hint_bps: Option<u64>,
        /// Never faster than this.
        rate_bps_max: u64,
    },
}

impl Congestion {
    /// The fastest rate that it can come to, in bits per second.
    #[must_use]
    pub fn rate_bps_max(&self) -> u64 {
        match self {
            Congestion::Fixed { rate_bps } => *rate_bps,
            Congestion::Auto { rate_bps_max, .. } => *rate_bps_max,
        }
    }

    /// The same within what the code can work with.
    pub(super) fn clamped(self) -> Self {
        let clamped = |rate_bps: u64| rate_bps.clamp(RATE_BPS_MIN, RATE_BPS_MAX);
        match self {
            Congestion::Fixed { rate_bps } => Congestion::Fixed { rate_bps: clamped(rate_bps) },
            Congestion::Auto { hint_bps, rate_bps_max } => Congestion::Auto {
                hint_bps: hint_bps.map(clamped),
                rate_bps_max: clamped(rate_bps_max),
            },
        }
    }

    /// A controller that has seen nothing yet, on a path with this round trip if one is known.
    pub(super) fn controller(&self, path: PathStart) -> Box<dyn Controller> {
        match *self {
            Congestion::Fixed { rate_bps } => Box::new(Fixed::new(rate_bps)),
            Congestion::Auto { hint_bps, rate_bps_max } => {
                Box::new(Auto::new(hint_bps, rate_bps_max, path))
            }
        }
    }
}

/// What is known of a path before the first datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathStart {
    /// When the session began.
    pub(super) now: Time,
    /// A round trip, from the handshake.
    pub(super) rtt_ns: Option<u64>,
    /// IP bytes of a full datagram.
    pub(super) datagram_bytes: u64,
}

/// What a controller is doing, which is also what a round is called that begins meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Mark {
    /// `auto`: growing until the path is full.
    #[default]
    Startup,
    /// `auto`: emptying the queue that start-up has made.
    Drain,
    /// `auto`: sending what the path delivers.
    Cruise,
    /// `auto`: sending more, to see whether more is delivered.
    ProbeUp,
    /// `auto`: sending less, to empty the queue again.
    ProbeDown,
    /// `auto`: sending little, to see the path without our queue.
    ProbeRtt,
    /// `fixed`: sending at the configured rate.
    Hold,
    /// `fixed`: sending less, to see whether less is delivered.
    Test,
    /// `fixed`: sending what the path was seen to deliver.
    Lowered,
    /// `fixed`: sending more again, to see whether more is delivered.
    Raise,
}

impl Mark {
    /// All of them.
    pub const ALL: [Mark; 10] = [
        Mark::Startup,
        Mark::Drain,
        Mark::Cruise,
        Mark::ProbeUp,
        Mark::ProbeDown,
        Mark::ProbeRtt,
        Mark::Hold,
        Mark::Test,
        Mark::Lowered,
        Mark::Raise,
    ];

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mark::Startup => "startup",
            Mark::Drain => "drain",
            Mark::Cruise => "cruise",
            Mark::ProbeUp => "probe up",
            Mark::ProbeDown => "probe down",
            Mark::ProbeRtt => "probe rtt",
            Mark::Hold => "hold",
            Mark::Test => "test",
            Mark::Lowered => "lowered",
            Mark::Raise => "raise",
        }
    }
}

/// What is known after one acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckSample {
    /// When it arrived.
    pub now: Time,
    /// IP bytes still on their way, but for those that others have overtaken.
    pub outstanding_bytes: u64,
    /// Rate of arriving over about half a round trip, in bits per second, by the receiver's clock.
    pub delivered_bps: Option<u64>,
    /// The round trip that it measured, in nanoseconds, without the receiver's delay.
    pub rtt_ns: Option<u64>,
    /// Shortest round trip of a single datagram in half a minute, in nanoseconds.
    pub least_ns: u64,
    /// Smoothed round trip in nanoseconds.
    pub smoothed_ns: u64,
    /// Variation of the round trip in nanoseconds.
    pub variation_ns: u64,
    /// Time between acknowledgements in nanoseconds, smoothed.
    pub spacing_ns: u64,
}

/// A congestion controller.
pub trait Controller: std::fmt::Debug + Send {
    /// An acknowledgement was processed.
    fn on_ack(&mut self, sample: &AckSample);

    /// Acknowledgements have passed a round, and the next one begins.
    fn on_round(&mut self, sample: &RoundSample);

    /// IP bytes of a full datagram are others from now on.
    fn set_datagram_bytes(&mut self, _datagram_bytes: u64) {}

    /// Rate in bits per second at which to send; counts IP bytes, everything sent included.
    fn rate_bps(&self) -> u64;

    /// What the path is taken to carry, in bits per second.
    fn capacity_bps(&self) -> u64;

    /// Share of the datagrams, of a million, that is taken to be lost whatever the rate.
    fn random_loss_ppm(&self) -> u64;

    /// IP bytes that may be on their way.
    fn in_flight_bytes_max(&self) -> u64;

    /// What it is doing.
    fn mark(&self) -> Mark;
}
