//! The bars, and what bounds a cell that cannot reach them.

use super::cell::{Cell, Controller, Pattern};
use super::run::Figures;

/// Bytes of IP of a full datagram.
const DATAGRAM_IP_BYTES: u64 = 1_458;
/// Datagrams that kernel BBR sends in the first round trip.
const BBR_INITIAL_DATAGRAMS: f64 = 10.0;
/// Bytes of data for each acknowledgement: 152 with its headers, 1 for 128.
const ACKNOWLEDGED_BYTES: u64 = 152 * 128;
/// Acknowledgements may be so far apart, in milliseconds, when they have little to acknowledge.
const ACKNOWLEDGEMENT_MS: f64 = 25.0;

/// What the figures of a cell are worth.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Every bar is reached.
    Ok,
    /// Bars are missed, and something that is no fault of the data mover bounds the cell.
    Bounded {
        /// The bars.
        missed: String,
        /// What bounds it.
        reason: &'static str,
    },
    /// Bars are missed.
    Missed {
        /// The bars.
        missed: String,
    },
}

impl Verdict {
    /// As it stands in the results.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Verdict::Ok => "ok".to_owned(),
            Verdict::Bounded { missed, reason } => format!("{missed}: {reason}"),
            Verdict::Missed { missed } => format!("missed {missed}"),
        }
    }
}

/// The least eta of a cell whose losses are independent.
#[must_use]
pub fn eta_min(loss_ppm: u32) -> f64 {
    match loss_ppm {
        0..=10_000 => 0.98,
        10_001..=50_000 => 0.97,
        50_001..=100_000 => 0.95,
        _ => 0.90,
    }
}

/// The longest 95th percentile of the queue that a cell may cause, in milliseconds.
#[must_use]
pub fn queue_ms_max(cell: &Cell) -> f64 {
    (cell.rtt_ms as f64 / 4.0).max(5.0)
}

/// Datagrams taken for lost that were not, at most, as a share of those sent.
#[must_use]
pub fn spurious_max(cell: &Cell) -> Option<f64> {
    match cell.pattern {
        Pattern::Jitter | Pattern::Reordering => Some(0.01),
        Pattern::Independent | Pattern::Bursts => (cell.loss_ppm <= 10_000).then_some(0.002),
    }
}

/// Round trips until the link is full, at most: kernel BBR begins with ten datagrams and doubles
/// every round trip. What is lost, and jitter, slow it down as well.
#[must_use]
pub fn rampup_max(cell: &Cell) -> f64 {
    let datagrams = (cell.bdp_bytes() / DATAGRAM_IP_BYTES).max(1) as f64;
    let doublings = (datagrams / BBR_INITIAL_DATAGRAMS).log2().max(1.0);
    let per_round = (2.0 * (1.0 - cell.loss())).log2();
    let slower = if cell.pattern == Pattern::Jitter { 1.75 } else { 1.0 };
    let doubled = (doublings / per_round + 2.0) * slower;
    doubled.max(ACKNOWLEDGEMENT_MS / cell.rtt_ms as f64)
}

/// Judges a cell; `independent` is the eta of the cell that differs by its pattern only.
#[must_use]
pub fn judge(cell: &Cell, figures: &Figures, independent: Option<f64>) -> Verdict {
    let mut missed = Vec::new();
    let least = match (cell.pattern, independent) {
        (Pattern::Independent, _) => eta_min(cell.loss_ppm),
        (_, Some(eta)) => 0.95 * eta.min(1.0),
        (_, None) => 0.95 * eta_min(cell.loss_ppm),
    };
    if figures.eta < least {
        missed.push(format!("eta {:.3} < {least:.3}", figures.eta));
    }
    let queue_max = queue_ms_max(cell);
    if figures.queue_p95_ms > queue_max {
        missed.push(format!("queue {:.1} ms > {queue_max:.1} ms", figures.queue_p95_ms));
    }
    if let Some(most) = spurious_max(cell)
        && figures.spurious > most
    {
        missed.push(format!("spurious {:.4} > {most}", figures.spurious));
    }
    let rampup_max = rampup_max(cell);
    if cell.controller == Controller::Auto && figures.rampup_rtt > rampup_max {
        missed.push(format!("ramp-up {:.1} > {rampup_max:.1} RTT", figures.rampup_rtt));
    }
    if missed.is_empty() {
        return Verdict::Ok;
    }
    let reason = bound(cell, figures, &missed);
    let missed = missed.join("; ");
    match reason {
        Some(reason) => Verdict::Bounded { missed, reason },
        None => Verdict::Missed { missed },
    }
}

/// What bounds a cell, whoever sends: a queue that is shorter than the time between two
/// acknowledgements, of which no more come than a hundredth of the data's bytes pays for, cannot be
/// held any more exactly than within that time. They are earned by what arrives.
fn bound(cell: &Cell, figures: &Figures, missed: &[String]) -> Option<&'static str> {
    let arriving_bps = cell.rate_bps() as f64 * (1.0 - cell.loss());
    let apart_ms = ACKNOWLEDGED_BYTES as f64 * 8.0 / arriving_bps * 1e3;
    let within = queue_ms_max(cell) < apart_ms && figures.queue_p95_ms <= apart_ms;
    let only = missed.len() == 1 && figures.queue_p95_ms > queue_ms_max(cell);
    (within && only).then_some("acknowledgements under 1 % of the data are further apart")
}
