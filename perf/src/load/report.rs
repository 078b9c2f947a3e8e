//! What came of a run, as it is written.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::open_loop::percentiles_us;

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Seconds that counted.
    pub seconds: f64,
    /// Bytes that servers received then, compared byte by byte.
    pub bytes: u64,
    /// The same as a rate.
    pub gbps: f64,
    /// A tenth and nine tenths of the rates in slices of 50 ms.
    pub spread_gbps: [f64; 2],
    /// Requests, or new connections, that were meant to begin then.
    pub due: u64,
    /// Of these, that were answered.
    pub answered: u64,
    /// Answers that came in this time, by second.
    pub answers_per_second: f64,
    /// Since a connection was meant to begin until it was open, by percentile, in microseconds.
    pub opening_us: Vec<(f64, f64)>,
    /// Since a request, or its connection, was meant to begin until its answer was whole.
    pub delay_us: Vec<(f64, f64)>,
    /// Part of its time that the generator had something to do.
    pub busy_share: f64,
    /// What should not have happened, and how many connections there were, over the whole run.
    pub connections: Connections,
    /// The longest frames that clients, servers received, in bytes.
    pub frame_bytes_max: [usize; 2],
}

/// Connections, and what went wrong with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Connections {
    /// Opened and closed in order, as clients saw it.
    pub opened: u64,
    /// Closed in order.
    pub closed: u64,
    /// Refused.
    pub refused: u64,
    /// Ended by a reset, at either end.
    pub resets: u64,
    /// Not over when the time was up, at either end.
    pub left: usize,
    /// Bytes of streams that were sent and never arrived.
    pub missing_bytes: u64,
    /// Looks that found bytes which were not as they had been sent.
    pub wrong: u64,
    /// Segments with a wrong checksum.
    pub damaged: u64,
    /// Segments of connections that there are none of.
    pub strays: u64,
    /// Frames that there was no memory for.
    pub frames_lost: u64,
}

/// Rates at a tenth and at nine tenths of all slices.
pub(super) fn spread(slices: &mut [f64]) -> [f64; 2] {
    slices.sort_unstable_by(f64::total_cmp);
    let at = |tenth: usize| slices.get(slices.len().saturating_sub(1) * tenth / 10);
    [1, 9].map(|tenth| at(tenth).copied().unwrap_or(0.0))
}

/// Percentiles; none of nothing.
pub(super) fn percentiles(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() { Vec::new() } else { percentiles_us(histogram) }
}
