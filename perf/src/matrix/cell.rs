//! What a link is like, and which links the matrix has.

use dataplane::time::{MICROSECOND_NS, MILLISECOND_NS};
use dataplane_sim::link::{LinkConfig, Loss};

/// Round trips in milliseconds.
pub const RTTS_MS: [u64; 6] = [1, 10, 50, 100, 200, 400];
/// Shares lost, of a million.
pub const LOSSES_PPM: [u32; 7] = [0, 100, 1_000, 10_000, 50_000, 100_000, 200_000];
/// Capacities in Mb/s.
pub const CAPACITIES_MBPS: [u64; 4] = [10, 100, 1_000, 10_000];
/// Queues in thousandths of rate times round trip.
pub const BUFFERS_MILLI_BDP: [u64; 3] = [100, 1_000, 4_000];
/// Packets of the shortest queue.
const QUEUE_PACKETS_MIN: u64 = 16;
/// Bytes of a packet that the queue is counted in.
const PACKET_BYTES: u64 = 1_500;
/// Packets lost in a row, on average.
const BURST_MEAN: f64 = 8.0;
/// Share of the packets that others overtake.
const REORDERED: f64 = 0.05;

/// What else happens to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Each is lost on its own.
    Independent,
    /// Those with data are lost in bursts.
    Bursts,
    /// Each is late by up to a quarter of the round trip in either direction, and may be overtaken:
    /// round trips differ by half of the shortest.
    Jitter,
    /// Some are held back by a quarter of the round trip.
    Reordering,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Pattern; 4] =
        [Pattern::Independent, Pattern::Bursts, Pattern::Jitter, Pattern::Reordering];

    /// Its name in the results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Pattern::Independent => "independent",
            Pattern::Bursts => "bursts",
            Pattern::Jitter => "jitter",
            Pattern::Reordering => "reordering",
        }
    }
}

/// Which controller sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Without a hint.
    Auto,
    /// At the capacity.
    Fixed,
}

impl Controller {
    /// Its name in the results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Controller::Auto => "auto",
            Controller::Fixed => "fixed",
        }
    }
}

/// One link and who sends over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Round trip without queues.
    pub rtt_ms: u64,
    /// Share of the packets lost behind the queue, of a million, in both directions.
    pub loss_ppm: u32,
    /// What else happens to them.
    pub pattern: Pattern,
    /// Queue, in thousandths of capacity times round trip.
    pub buffer_milli_bdp: u64,
    /// Capacity of both directions.
    pub capacity_mbps: u64,
    /// Who sends.
    pub controller: Controller,
}

impl Cell {
    /// Capacity in bits per second.
    #[must_use]
    pub fn rate_bps(&self) -> u64 {
        self.capacity_mbps * 1_000_000
    }

    /// Round trip in nanoseconds.
    #[must_use]
    pub fn rtt_ns(&self) -> u64 {
        self.rtt_ms * MILLISECOND_NS
    }

    /// Capacity times round trip in bytes.
    #[must_use]
    pub fn bdp_bytes(&self) -> u64 {
        self.rate_bps() / 8 * self.rtt_ms / 1_000
    }

    /// The share lost.
    #[must_use]
    pub fn loss(&self) -> f64 {
        f64::from(self.loss_ppm) / 1e6
    }

    /// The queue in thousandths of capacity times round trip.
    #[must_use]
    pub fn queue_bytes(&self) -> u64 {
        let bytes = self.bdp_bytes() * self.buffer_milli_bdp / 1_000;
        bytes.max(QUEUE_PACKETS_MIN * PACKET_BYTES)
    }

    /// The way back. A burst is a matter of time, and acknowledgements are far apart: as many of them
    /// are lost, but each on its own.
    #[must_use]
    pub fn link_back(&self) -> LinkConfig {
        LinkConfig { loss: Loss::Independent { probability: self.loss() }, ..self.link() }
    }

    /// The way of the data.
    #[must_use]
    pub fn link(&self) -> LinkConfig {
        let probability = self.loss();
        let bursts = self.pattern == Pattern::Bursts;
        let link = LinkConfig {
            rate_bps: self.rate_bps(),
            queue_bytes_max: self.queue_bytes(),
            delay_ns: self.rtt_ns() / 2,
            loss: match bursts {
                true => Loss::Bursts { probability, burst_mean: BURST_MEAN },
                false => Loss::Independent { probability },
            },
            ..LinkConfig::default()
        };
        match self.pattern {
            Pattern::Independent | Pattern::Bursts => link,
            Pattern::Jitter => {
                LinkConfig { jitter_ns: self.rtt_ns() / 4, jitter_reorders: true, ..link }
            }
            Pattern::Reordering => LinkConfig {
                reorder_probability: REORDERED,
                reorder_delay_ns: (self.rtt_ns() / 4).max(MICROSECOND_NS),
                ..link
            },
        }
    }

    /// Fixes what is random in a run: the same for the same cell, whatever else is run.
    #[must_use]
    pub fn seed(&self, run: u64) -> u64 {
        let parts = [
            self.rtt_ms,
            u64::from(self.loss_ppm),
            self.pattern as u64,
            self.buffer_milli_bdp,
            self.capacity_mbps,
        ];
        parts.iter().fold(1 + run, |seed, part| seed.wrapping_mul(1_000_003).wrapping_add(*part))
    }

    /// As few words as tell it from all others.
    #[must_use]
    pub fn name(&self) -> String {
        format!(
            "{} Mb/s, {} ms, loss {} %, {}, queue {} BDP, {}",
            self.capacity_mbps,
            self.rtt_ms,
            f64::from(self.loss_ppm) / 1e4,
            self.pattern.name(),
            self.buffer_milli_bdp as f64 / 1e3,
            self.controller.name(),
        )
    }
}

/// How much of the matrix is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Full,
    /// All of 10 and 100 Mb/s, and of the faster ones cells in which every pair of values occurs.
    Default,
}

/// The cells, in a fixed order: of `auto`, and then a diagonal of `fixed`.
#[must_use]
pub fn cells(extent: Extent) -> Vec<Cell> {
    let mut list = Vec::new();
    for capacity_mbps in CAPACITIES_MBPS {
        for (i, rtt_ms) in RTTS_MS.into_iter().enumerate() {
            for (j, loss_ppm) in LOSSES_PPM.into_iter().enumerate() {
                for (k, pattern) in Pattern::ALL.into_iter().enumerate() {
                    for (l, buffer_milli_bdp) in BUFFERS_MILLI_BDP.into_iter().enumerate() {
                        let cell = |controller| Cell {
                            rtt_ms,
                            loss_ppm,
                            pattern,
                            buffer_milli_bdp,
                            capacity_mbps,
                            controller,
                        };
                        // A Latin arrangement: each pair of values occurs, most triples do not.
                        let every = if capacity_mbps < 1_000 { 1 } else { 4 };
                        let chosen = (i + j + k + 2 * l) % every == 0
                            && (capacity_mbps < 10_000 || (i + 2 * j + l) % 3 == 0);
                        if chosen || extent == Extent::Full {
                            list.push(cell(Controller::Auto));
                        }
                        if (i + j) % 6 == k + 1 && l == 1 {
                            list.push(cell(Controller::Fixed));
                        }
                    }
                }
            }
        }
    }
    list.sort_by_key(|cell| cell.controller == Controller::Fixed);
    list
}
