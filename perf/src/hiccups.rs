//! How long each core is away: what the kernel and the hypervisor take of a thread that only looks
//! at the clock.
//!
//! In: how long to look. Out: a histogram of the gaps between two looks. Never: anything else on
//! the core meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Shorter gaps are the look itself.
pub const GAP_NS_MIN: u64 = 1_000;
const GAP_NS_MAX: u64 = 10_000_000_000;
const DIGITS: u8 = 2;

/// What was seen on one core.
#[derive(Clone, Debug, Serialize)]
pub struct Core {
    /// Its number.
    pub core: usize,
    /// How long it was watched.
    pub seconds: f64,
    /// Part of that time that was in gaps.
    pub away: f64,
    /// The longest gap.
    pub longest_us: f64,
    /// Gaps by length, each bucket twice as long as the one before.
    pub gaps: Vec<Bucket>,
}

/// Gaps of one length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bucket {
    /// They are shorter than this.
    pub below_us: f64,
    /// How many there were.
    pub count: u64,
}

/// Why nothing was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HiccupError {
    /// A thread cannot be put there.
    #[error("core {0} cannot be used by this process")]
    NoCore(usize),
    /// The watching thread ended.
    #[error("the thread that watches core {0} has ended")]
    Ended(usize),
}

/// Watches the cores at once.
///
/// # Errors
/// [`HiccupError`].
pub fn watch(cores: &[CoreId], time: Duration) -> Result<Vec<Core>, HiccupError> {
    thread::scope(|scope| {
        let threads: Vec<_> = cores
            .iter()
            .map(|core| (core.id, scope.spawn(move || watch_one(*core, time))))
            .collect();
        threads
            .into_iter()
            .map(|(core, thread)| thread.join().map_err(|_| HiccupError::Ended(core))?)
            .collect()
    })
}

fn watch_one(core: CoreId, time: Duration) -> Result<Core, HiccupError> {
    if !core_affinity::set_for_current(core) {
        return Err(HiccupError::NoCore(core.id));
    }
    let mut gaps = Gaps::new();
    let began = Instant::now();
    let mut latest = began;
    while latest - began < time {
        let now = Instant::now();
        gaps.add(now - latest);
        latest = now;
    }
    Ok(gaps.report(core.id, latest - began))
}

/// Gaps, as they are seen.
struct Gaps {
    histogram: Histogram<u64>,
    sum: Duration,
}

impl Gaps {
    fn new() -> Self {
        let histogram = Histogram::new_with_bounds(GAP_NS_MIN, GAP_NS_MAX, DIGITS)
            .expect("the bounds are constants that fit each other");
        Gaps { histogram, sum: Duration::ZERO }
    }

    fn add(&mut self, gap: Duration) {
        let ns = u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX);
        if ns >= GAP_NS_MIN {
            self.histogram.saturating_record(ns);
            self.sum += gap;
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn report(&self, core: usize, watched: Duration) -> Core {
        let us = |ns: u64| ns as f64 / 1e3;
        let gaps = self
            .histogram
            .iter_log(2 * GAP_NS_MIN, 2.0)
            .map(|step| Bucket {
                below_us: us(step.value_iterated_to() + 1),
                count: step.count_since_last_iteration(),
            })
            .collect();
        Core {
            core,
            seconds: watched.as_secs_f64(),
            away: self.sum.as_secs_f64() / watched.as_secs_f64().max(f64::MIN_POSITIVE),
            longest_us: us(self.histogram.max()),
            gaps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_by_length_and_looks_are_not_gaps() {
        let mut gaps = Gaps::new();
        for us in [0, 1, 1, 3, 900] {
            gaps.add(Duration::from_micros(us));
        }
        let report = gaps.report(1, Duration::from_millis(10));
        assert_eq!(report.gaps.iter().map(|bucket| bucket.count).sum::<u64>(), 4);
        assert_eq!(report.gaps[0], Bucket { below_us: 2.0, count: 2 });
        assert_eq!(report.gaps[1].count, 1);
        assert!((report.away - 0.0905).abs() < 1e-9 && report.longest_us >= 900.0, "{report:?}");
    }

    #[test]
    fn every_core_is_watched() {
        let cores = core_affinity::get_core_ids().unwrap();
        let seen = watch(&cores, Duration::from_millis(2)).unwrap();
        assert_eq!(seen.len(), cores.len());
        assert!(seen.iter().all(|core| core.seconds >= 0.002 && core.away <= 1.0));
    }
}
