//! What a link is like: plain data, printed with the seed, changed while the link runs.

use dataplane::time::Time;

/// One direction of a link.
///
/// The default is a perfect link: no limit, no delay, no loss.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// Rate at which IP bytes are serialised, in bit/s; 0 is without limit.
    pub rate_bps: u64,
    /// IP bytes that may wait for serialisation (the packet on its way out is not counted); what
    /// finds no room is dropped. Without effect when the rate has no limit.
    pub queue_bytes_max: u64,
    /// Time from the end of serialisation to delivery.
    pub delay_ns: u64,
    /// Additional delay, uniform over 0 to this, drawn for each packet.
    pub jitter_ns: u64,
    /// Whether jitter lets packets overtake each other. If not, a packet waits for the one before.
    pub jitter_reorders: bool,
    /// Which packets are lost, after they took their time in the queue.
    pub loss: Loss,
    /// Probability that a packet arrives twice.
    pub duplicate_probability: f64,
    /// Probability that a packet arrives damaged; the one who takes it out does the damage.
    pub corrupt_probability: f64,
    /// Probability that a packet is held back by [`Self::reorder_delay_ns`], so that those behind
    /// it overtake.
    pub reorder_probability: f64,
    /// By how much a packet that is to be overtaken is held back.
    pub reorder_delay_ns: u64,
    /// Longer IP packets are dropped; 0 is without limit.
    pub mtu_bytes: u64,
    /// Whether the link is there. Cutting it loses what is on it.
    pub up: bool,
    /// Whether the link swallows what is put on it. What is already on it still arrives.
    pub black_hole: bool,
    /// Times at which it does so by itself, again and again.
    pub black_hole_windows: Option<Windows>,
}

/// Times that come again and again, on the link's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// From the beginning of one to the beginning of the next.
    pub every_ns: u64,
    /// Length of each; it ends when the next would begin.
    pub length_ns: u64,
}

impl Windows {
    /// Whether a time is within a window; the first is at the end of the first period.
    #[must_use]
    pub fn contain(&self, now: Time) -> bool {
        let into_ns = now.as_ns() % self.every_ns.max(1);
        into_ns >= self.every_ns.saturating_sub(self.length_ns)
    }
}

/// How packets get lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Each packet on its own.
    Independent {
        /// Share of the packets lost, 0 to 1.
        probability: f64,
    },
    /// In bursts: a two-state Markov chain that loses everything in its bad state (E. N. Gilbert,
    /// "Capacity of a burst-noise channel", 1960, with a bad state that lets nothing through).
    Bursts {
        /// Share of the packets lost in the long run, 0 to 1.
        probability: f64,
        /// Mean number of packets lost in a row, at least 1. The share can be reached while
        /// `probability <= burst_mean / (burst_mean + 1)`; beyond, the chain loses what it can.
        burst_mean: f64,
    },
    /// In two states, each with a loss of its own (E. O. Elliott, "Estimates of error rates for
    /// codes on burst-noise channels", 1963).
    GilbertElliott {
        /// Probability that the next packet meets the bad state after one that met the good.
        good_to_bad: f64,
        /// And the other way round.
        bad_to_good: f64,
        /// Share lost in the good state.
        loss_good: f64,
        /// Share lost in the bad state.
        loss_bad: f64,
    },
}

impl Default for LinkConfig {
    fn default() -> Self {
        LinkConfig {
            rate_bps: 0,
            queue_bytes_max: u64::MAX,
            delay_ns: 0,
            jitter_ns: 0,
            jitter_reorders: false,
            loss: Loss::default(),
            duplicate_probability: 0.0,
            corrupt_probability: 0.0,
            reorder_probability: 0.0,
            reorder_delay_ns: 0,
            mtu_bytes: 0,
            up: true,
            black_hole: false,
            black_hole_windows: None,
        }
    }
}

impl LinkConfig {
    /// Whether a packet can overtake another.
    #[must_use]
    pub fn reorders(&self) -> bool {
        (self.jitter_reorders && self.jitter_ns > 0)
            || (self.reorder_probability > 0.0 && self.reorder_delay_ns > 0)
    }
}

impl Loss {
    /// Nothing is lost.
    pub const NONE: Loss = Loss::Independent { probability: 0.0 };

    /// Share of the packets lost in the long run, as configured.
    #[must_use]
    pub fn probability(self) -> f64 {
        match self {
            Loss::Independent { probability } | Loss::Bursts { probability, .. } => probability,
            Loss::GilbertElliott { good_to_bad, bad_to_good, loss_good, loss_bad } => {
                let moves = good_to_bad + bad_to_good;
                let bad = if moves > 0.0 { good_to_bad / moves } else { 0.0 };
                bad * loss_bad + (1.0 - bad) * loss_good
            }
        }
    }
}

impl Default for Loss {
    fn default() -> Self {
        Loss::NONE
    }
}
