//! Congestion control: how fast to send, and how much may be on its way.
//!
//! In: what was acknowledged and lost, as data. Out: a rate and a limit. Never: a clock, a timer.

mod fixed;

pub(super) use fixed::Fixed;

use crate::time::Time;

/// What one acknowledgement said, in sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckSample {
    /// When it arrived.
    pub now: Time,
    /// IP bytes newly acknowledged.
    pub acked_bytes: u64,
    /// IP bytes newly taken for lost.
    pub lost_bytes: u64,
    /// IP bytes still on their way.
    pub in_flight_bytes: u64,
    /// Smoothed round trip in nanoseconds.
    pub rtt_ns: u64,
    /// Variation of the round trip in nanoseconds.
    pub rtt_variation_ns: u64,
}

/// A congestion controller.
pub trait Controller: std::fmt::Debug + Send {
    /// An acknowledgement was processed.
    fn on_ack(&mut self, sample: &AckSample);

    /// Rate in bits per second at which to send; counts IP bytes, everything sent included.
    fn rate_bps(&self) -> u64;

    /// IP bytes that may be on their way.
    fn in_flight_bytes_max(&self) -> u64;
}
