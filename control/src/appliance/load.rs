//! How busy cores are, over the last second or two.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::worker::CoreReport;

/// How often a core's report is noted.
const PERIOD: Duration = Duration::from_secs(1);

/// A report at one time.
#[derive(Clone, Copy, Debug)]
struct Noted {
    at: Instant,
    turns: u64,
    busy_ns: u64,
}

impl Noted {
    fn of(report: &CoreReport, at: Instant) -> Self {
        Noted {
            at,
            turns: report.turns.load(Ordering::Relaxed),
            busy_ns: report.busy_ns.load(Ordering::Relaxed),
        }
    }
}

/// Reports of cores as they were a while ago.
#[derive(Debug, Default)]
pub(super) struct LoadMeter(BTreeMap<usize, [Noted; 2]>);

impl LoadMeter {
    /// Notes a core's report, if the last note is a while ago; says whether it did.
    pub(super) fn note(&mut self, core: usize, report: &CoreReport, now: Instant) -> bool {
        let noted = Noted::of(report, now);
        let [before, last] = self.0.entry(core).or_insert([noted, noted]);
        let is_due = now.saturating_duration_since(last.at) >= PERIOD;
        if is_due {
            (*before, *last) = (*last, noted);
        }
        is_due
    }

    /// Turns per second of a core, and the part of its time in turns that did something, in
    /// percent.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(super) fn load(&self, core: usize, report: &CoreReport, now: Instant) -> (u64, f64) {
        let Some([before, _]) = self.0.get(&core) else { return (0, 0.0) };
        let latest = Noted::of(report, now);
        let elapsed_ns = now.saturating_duration_since(before.at).as_nanos().max(1);
        let turns = u128::from(latest.turns.saturating_sub(before.turns)) * 1_000_000_000;
        let busy_ns = latest.busy_ns.saturating_sub(before.busy_ns) as f64;
        let per_second = u64::try_from(turns / elapsed_ns).unwrap_or(u64::MAX);
        (per_second, (busy_ns * 100.0 / elapsed_ns as f64).min(100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_growth_since_a_second_or_two_ago() {
        let (report, start) = (CoreReport::default(), Instant::now());
        let mut meter = LoadMeter::default();
        assert_eq!(meter.load(0, &report, start), (0, 0.0));
        for second in 0..4_u32 {
            let now = start + Duration::from_secs(second.into());
            assert_eq!(meter.note(0, &report, now), second > 0);
            assert!(!meter.note(0, &report, now + Duration::from_millis(1)));
            report.turns.fetch_add(1000, Ordering::Relaxed);
            report.busy_ns.fetch_add(250_000_000, Ordering::Relaxed);
        }
        let (turns, busy) = meter.load(0, &report, start + Duration::from_secs(4));
        assert_eq!(turns, 1000);
        assert!((busy - 25.0).abs() < 0.01, "{busy}");
    }
}
