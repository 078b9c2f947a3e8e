//! What compression gains on links of 10 Mb/s to 10 Gb/s: off, LZ4 and `auto`, on the same content.
//!
//! In: how much is measured. Out: for each content and rate, the goodput before compression of each
//! mode, and whether `auto` reaches its bars. Never: a wait: the link is a model, and time is what
//! the processor spent on this thread plus what the model waits, so that a slow link takes no longer
//! to measure than a fast one, and what else the machine does counts for little.

pub mod content;
mod levels;
mod line;
pub mod output;

use dataplane::compression::{Level, Mode};

pub use content::{Content, ContentError};
pub use levels::{Cost, costs};
use line::Line;

use crate::micro::Quartiles;

/// Rates of the link, in Mb/s.
pub const RATES_MBPS: [u64; 11] =
    [10, 30, 100, 300, 1_000, 2_000, 3_000, 4_000, 5_000, 7_000, 10_000];
/// The modes, baselines first.
pub const MODES: [Mode; 3] = [Mode::None, Mode::Lz4, Mode::Auto];
/// Least goodput of `auto`, as a multiple of the best baseline's.
pub const BAR: f64 = 0.97;
/// Most that what cannot be compressed may grow, as a share of it.
pub const GROWTH_MAX: f64 = 0.001;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Buffers that pass before anything counts.
    pub first: usize,
    /// Buffers that count, of one lap.
    pub lap: usize,
    /// Laps of each mode; they take turns.
    pub laps: usize,
}

impl Plan {
    /// For figures that are published.
    pub const FULL: Plan = Plan { first: 400, lap: 1_500, laps: 7 };
    /// For a look.
    pub const QUICK: Plan = Plan { first: 400, lap: 600, laps: 3 };
}

/// What one lap of one mode gave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lap {
    /// Bytes before compression.
    pub plain_bytes: u64,
    /// Bytes after it.
    pub packed_bytes: u64,
    /// Time, in nanoseconds.
    pub ns: u64,
    /// Buffers that left at each level.
    pub levels: [u64; Level::COUNT],
}

impl Lap {
    /// Goodput before compression, in Mb/s.
    #[must_use]
    pub fn mbps(&self) -> f64 {
        self.plain_bytes as f64 * 8_000.0 / self.ns.max(1) as f64
    }
}

/// One mode on one link: all its laps, in order.
#[derive(Clone, Debug, Default)]
pub struct Laps(Vec<Lap>);

impl Laps {
    fn by_speed(&self) -> Vec<Lap> {
        let mut laps = self.0.clone();
        laps.sort_by(|a, b| a.mbps().total_cmp(&b.mbps()));
        laps
    }

    /// The one in the middle.
    #[must_use]
    pub fn median(&self) -> Lap {
        self.by_speed().get(self.0.len() / 2).copied().unwrap_or_default()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Goodput of the slowest and the fastest, in Mb/s.
    #[must_use]
    pub fn range_mbps(&self) -> (f64, f64) {
        let laps = self.by_speed();
        let of = |lap: Option<&Lap>| lap.map_or(0.0, Lap::mbps);
        (of(laps.first()), of(laps.last()))
    }
}

/// One content on one link.
#[derive(Clone, Debug)]
pub struct Row {
    /// What is sent.
    pub content: &'static str,
    /// Whether nothing of it can be saved.
    pub incompressible: bool,
    /// Rate of the link, in Mb/s.
    pub rate_mbps: u64,
    /// By mode, in the order of [`MODES`].
    pub laps: [Laps; MODES.len()],
}

impl Row {
    /// The laps of `auto`.
    #[must_use]
    pub fn auto(&self) -> &Laps {
        let [_, _, auto] = &self.laps;
        auto
    }

    /// The better baseline: its name and its laps.
    #[must_use]
    pub fn baseline(&self) -> (&'static str, &Laps) {
        let [off, lz4, _] = &self.laps;
        if lz4.median().mbps() > off.median().mbps() { ("LZ4", lz4) } else { ("off", off) }
    }

    /// Goodput of `auto` as a multiple of the better baseline's, by the laps that were measured
    /// beside each other.
    #[must_use]
    pub fn ratio(&self) -> Quartiles {
        let (_, baseline) = self.baseline();
        let beside = self.auto().0.iter().zip(&baseline.0);
        let mut ratios: Vec<f64> =
            beside.map(|(auto, baseline)| auto.mbps() / baseline.mbps()).collect();
        Quartiles::of(&mut ratios)
    }

    /// How much `auto` makes of a byte more than a byte.
    #[must_use]
    pub fn growth(&self) -> f64 {
        let auto = self.auto().median();
        auto.packed_bytes as f64 / auto.plain_bytes.max(1) as f64 - 1.0
    }

    /// Whether it is fast enough.
    #[must_use]
    pub fn is_fast(&self) -> bool {
        self.ratio().median >= BAR
    }

    /// Whether both bars are reached.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.is_fast() && (!self.incompressible || self.growth() < GROWTH_MAX)
    }
}

/// Measures all contents on all links; `told` each row as it is finished.
pub fn run(plan: Plan, contents: &[Content], told: &mut dyn FnMut(&Row)) -> Vec<Row> {
    let mut rows = Vec::new();
    for content in contents {
        for rate_mbps in RATES_MBPS {
            let mut lines = MODES.map(|mode| Line::new(mode, rate_mbps, content));
            for line in &mut lines {
                line.pass(plan.first);
            }
            let mut laps: [Laps; MODES.len()] = Default::default();
            for lap in 0..plan.laps {
                // Each mode is as often early as late.
                let order: [usize; MODES.len()] = if lap % 2 == 0 { [0, 1, 2] } else { [2, 1, 0] };
                for mode in order {
                    laps[mode].0.push(lines[mode].pass(plan.lap));
                }
            }
            let row = Row {
                content: content.name,
                incompressible: content.incompressible,
                rate_mbps,
                laps,
            };
            told(&row);
            rows.push(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in crate::compression) fn row(
        mbps: [u64; 3],
        packed_bytes: u64,
        incompressible: bool,
    ) -> Row {
        let lap = |mbps| Lap {
            plain_bytes: 1_000_000,
            packed_bytes,
            ns: 8_000_000_000 / mbps,
            ..Lap::default()
        };
        let laps = mbps.map(|mbps| Laps(vec![lap(mbps)]));
        Row { content: "any", incompressible, rate_mbps: 10, laps }
    }

    #[test]
    fn auto_is_held_against_the_better_of_the_others() {
        assert!(row([100, 200, 195], 1_000_000, false).passes());
        assert!(!row([100, 200, 190], 1_000_000, false).passes());
        assert!(!row([200, 100, 190], 1_000_000, false).passes());
    }

    #[test]
    fn what_cannot_be_compressed_must_not_grow() {
        assert!(row([100, 100, 100], 1_000_900, true).passes());
        assert!(!row([100, 100, 100], 1_001_100, true).passes());
    }

    #[test]
    fn a_slow_link_is_full_whatever_the_mode() {
        let [noise] = content::noise_only();
        for mode in MODES {
            let mut line = Line::new(mode, 10, &noise);
            line.pass(40);
            let mbps = line.pass(40).mbps();
            assert!((9.0..10.5).contains(&mbps), "{mode:?}: {mbps}");
        }
    }
}
