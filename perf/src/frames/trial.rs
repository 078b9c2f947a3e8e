//! A trial: frames at a rate that nothing slows down, each with the time at which it was meant to
//! be sent.
//!
//! In: a rate, a time. Out: what of it was lost, and how long each frame took since it was meant to
//! be sent, beside how long the generator itself was away. Never: a frame that waits because others
//! are late; what the port does not take when it is due is lost, as on a wire.

use std::io;
use std::path::Path;
use std::time::Duration;

use dpdk_wrapper::eal;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::content::Way;
use super::flood::{Flood, LOST_AFTER};
use super::lane::{BURST, Lane};
use super::watch::Watch;
use crate::open_loop::{DELAY_NS_MAX, Schedule, histogram, percentiles_us};

const NS_PER_S: u128 = 1_000_000_000;

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// Frames per second that were due, both ways together.
    pub rate: f64,
    /// Frames that were due.
    pub due: u64,
    /// Of these, that the port did not take when it was their time.
    pub refused: u64,
    /// Of these, while the watched thread of the device under test waited for its core.
    pub refused_waiting: u64,
    /// The longest wait of that thread for its core, in microseconds.
    pub wait_us_max: f64,
    /// Of these, that the generator had no time for.
    pub unsent: u64,
    /// Frames that came back.
    pub received: u64,
    /// Frames compared whole.
    pub compared: u64,
    /// Of these, not as they were sent.
    pub changed: u64,
    /// Part of its time that the generator had something to do.
    pub busy_share: f64,
    /// How late it was with a frame, at most, in microseconds.
    pub late_us_max: f64,
    /// Since a frame was meant to be sent until it was back, by percentile, in microseconds.
    pub delay_us: Vec<(f64, f64)>,
    /// What the generator's own absences would be for frames that are due all the time.
    pub away_us: Vec<(f64, f64)>,
}

/// What a trial gathers.
struct Seen {
    delays: Histogram<u64>,
    away: Histogram<u64>,
    refused: u64,
    late: u64,
    busy: u64,
    watch: Watch,
}

impl Flood {
    /// Sends `rate` frames a second, both directions together, for so long; `thread` is the file
    /// ([`super::watch`]) of the one that polls in the device under test.
    ///
    /// # Errors
    /// There is no such thread.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn trial(&mut self, rate: u64, time: Duration, thread: Option<&Path>) -> io::Result<Trial> {
        // What is still on its way is none of this.
        self.drain();
        self.lanes.iter_mut().for_each(Lane::forget_lost);
        let before = self.counts();
        let firsts = Way::BOTH.map(|way| self.lanes[way.index()].next_number());
        let schedule = Schedule::new(eal::tsc(), self.hz, rate / 2);
        let end = schedule.began() + self.ticks(time);
        let mut now = schedule.began();
        let watch = Watch::new(thread, self.hz, now)?;
        let (delays, away) = (histogram(), histogram());
        let mut seen = Seen { delays, away, refused: 0, late: 0, busy: 0, watch };
        while now < end {
            let moved = self.take_timed(&schedule, firsts, &mut seen)
                + self.send_due(&schedule, firsts, now, &mut seen);
            let after = eal::tsc();
            let gap = self.ns(after - now);
            // As a frame would meet it that is due any time meanwhile.
            seen.away.saturating_record(gap);
            if moved > 0 {
                seen.busy += after - now;
            }
            seen.watch.look(after);
            now = after;
        }
        let sent = Way::BOTH.map(|way| self.lanes[way.index()].next_number() - firsts[way.index()]);
        let due = 2 * schedule.due(now);
        let latest = eal::tsc() + self.ticks(LOST_AFTER);
        while self.lanes.iter().any(|lane| lane.in_flight() > 0) && eal::tsc() < latest {
            self.take_timed(&schedule, firsts, &mut seen);
        }
        seen.watch.look_now(eal::tsc());
        let after = self.counts();
        Ok(Trial {
            rate: due as f64 * self.hz as f64 / (now - schedule.began()) as f64,
            due,
            refused: seen.refused,
            refused_waiting: seen.watch.waiting,
            wait_us_max: seen.watch.wait_ns_max as f64 / 1e3,
            unsent: due.saturating_sub(sent.iter().sum()),
            received: after.received - before.received,
            compared: after.compared - before.compared,
            changed: after.changed - before.changed,
            busy_share: seen.busy as f64 / (now - schedule.began()) as f64,
            late_us_max: self.ns(seen.late) as f64 / 1e3,
            delay_us: percentiles_us(&seen.delays),
            away_us: percentiles_us(&weighted(&seen.away)),
        })
    }

    fn ns(&self, ticks: u64) -> u64 {
        u64::try_from(u128::from(ticks) * NS_PER_S / u128::from(self.hz)).unwrap_or(u64::MAX)
    }

    /// Sends a burst of what is due, each way; how many frames.
    fn send_due(&mut self, at: &Schedule, firsts: [u64; 2], now: u64, seen: &mut Seen) -> u64 {
        let mut moved = 0;
        for (lane, first) in self.lanes.iter_mut().zip(firsts) {
            let done = lane.next_number() - first;
            let due = at.due(now).saturating_sub(done).min(BURST as u64);
            if due == 0 {
                continue;
            }
            seen.late = seen.late.max(now.saturating_sub(at.time_of(done)));
            let count = usize::try_from(due).unwrap_or(BURST);
            let refused = (count - lane.send_exactly(count, &self.pool)) as u64;
            seen.refused += refused;
            seen.watch.refused(now, refused);
            moved += due;
        }
        moved
    }

    /// Takes what has come back, and notes how long it took.
    fn take_timed(&mut self, at: &Schedule, firsts: [u64; 2], seen: &mut Seen) -> u64 {
        let mut taken = 0;
        for (number, rx) in self.rx.iter_mut().rev().enumerate() {
            rx.rx_burst(&mut self.burst);
            if self.burst.is_empty() {
                continue;
            }
            let (lane, first) = (&mut self.lanes[number], firsts[number]);
            let (now, mut ours) = (eal::tsc(), 0);
            for mbuf in self.burst.iter() {
                let Some(frame) = lane.number_of(mbuf.data()) else { continue };
                ours += 1;
                if let Some(place) = frame.checked_sub(first) {
                    let ticks = now.saturating_sub(at.time_of(place));
                    let ns = u128::from(ticks) * NS_PER_S / u128::from(at.hz());
                    seen.delays.saturating_record(u64::try_from(ns).unwrap_or(u64::MAX));
                }
            }
            taken += lane.take_known(&mut self.burst, ours) as u64;
        }
        taken
    }
}

/// Each absence as often as it is long: so many frames would have met it, and each only what was
/// left of it.
fn weighted(gaps: &Histogram<u64>) -> Histogram<u64> {
    let mut delays = histogram();
    let shortest = gaps.value_at_quantile(0.5).max(1);
    for gap in gaps.iter_recorded() {
        let value = gap.value_iterated_to();
        let steps = (value / shortest).clamp(1, 1_000);
        for step in 1..=steps {
            let weight = (gap.count_at_value() * value / shortest / steps).max(1);
            // A histogram of this size takes every value up to its bound.
            let _ = delays.record_n((value * step / steps).clamp(1, DELAY_NS_MAX), weight);
        }
    }
    delays
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_absence_weighs_by_its_length() {
        let mut gaps = histogram();
        // A second of short looks, and one absence of as long: half of all frames would have met it.
        gaps.record_n(100, 10_000_000).unwrap();
        gaps.record(1_000_000_000).unwrap();
        let delays = weighted(&gaps);
        assert!(delays.value_at_quantile(0.49) <= 100);
        let half = delays.value_at_quantile(0.75);
        assert!((490_000_000..=510_000_000).contains(&half), "{half}");
    }
}
