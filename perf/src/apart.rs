//! How far two cores are apart: what it takes a cache line to go from one to the other and back.
//!
//! In: a thread on each core, one that asks and one that looks whether it is asked. Out: the time of a
//! round trip. Never: a wait without end, though either thread may lose its core at any time.
//!
//! Core-to-core latency, as it is called. A hypervisor moves virtual processors about: two may be hardware threads of one core at one time,
//! then cores with a cache of their own at each end. What two threads do together takes up to twice
//! as long there, so that figures of different times are no longer of the same machine.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use core_affinity::CoreId;
use dpdk_wrapper::eal::tsc;
use serde::Serialize;

/// Round trips of a game, those before the clock starts included.
const TRIPS: u64 = 64;
const UNTIMED: u64 = 7;
/// On virtual machines a shorter round trip is taken for one within a core, by its first-level cache:
/// 37 to 40 ns on the EPYC that these limits are of, 80 to 130 between cores with a cache in common.
pub const NS_MIN: u64 = 55;
/// A longer one, for one between cores without: 470 to 530 ns there.
pub const NS_MAX: u64 = 250;
/// How long whoever serves waits for the next trip: more would be a pause in what is measured.
const TRIP_US: u64 = 10;
/// Longer than a game takes that has begun.
const PATIENCE_US: u64 = 100;
/// How long the first answer is waited for by whoever does nothing else meanwhile: longer than any turn
/// of a worker.
const FIRST_US: u64 = 10_000;
/// The same on the core of what is measured.
const FIRST_BESIDE_US: u64 = 200;
/// Between two games beside a measurement: each takes some 10 us of it.
const EVERY: Duration = Duration::from_millis(25);

const _: () = assert!(TRIPS < PATIENCE_US, "a microsecond for each trip is within patience");

/// A cache line of one writer, with no other near it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// What goes to and fro: one thread asks, one other serves.
#[derive(Debug)]
pub struct Ball {
    asked: Line,
    answered: Line,
    tsc_hz: u64,
    /// Whether processors are virtual, so that they may move.
    moves: bool,
}

impl Ball {
    /// One at rest.
    #[must_use]
    pub fn new(tsc_hz: u64) -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let moves = cpuinfo.split_whitespace().any(|word| word == "hypervisor");
        Ball { asked: Line::default(), answered: Line::default(), tsc_hz, moves }
    }

    /// Plays a game if the other side has begun one; next to nothing if not.
    #[inline]
    pub fn serve(&self) {
        if self.asked.0.load(Ordering::Relaxed) != self.answered.0.load(Ordering::Relaxed) {
            self.rally();
        }
    }

    #[cold]
    fn rally(&self) {
        let mut end = tsc() + self.ticks(TRIP_US);
        while tsc() < end {
            let asked = self.asked.0.load(Ordering::Acquire);
            if asked == self.answered.0.load(Ordering::Relaxed) {
                spin_loop();
                continue;
            }
            self.answered.0.store(asked, Ordering::Release);
            if asked.is_multiple_of(TRIPS) {
                return;
            }
            end = tsc() + self.ticks(TRIP_US);
        }
    }

    /// Whether the cores of this thread and of the one that serves are cores of their own with a cache
    /// in common; not so when nobody serves. Processors that nobody moves are taken as they are.
    #[must_use]
    pub fn is_fair(&self) -> bool {
        !self.moves || self.round_trip_ns(FIRST_US).is_some_and(is_fair)
    }

    /// Nanoseconds of a round trip; `None` when nobody has answered within `first_us`, or either thread
    /// lost its core.
    fn round_trip_ns(&self, first_us: u64) -> Option<u64> {
        let first = self.asked.0.load(Ordering::Relaxed).next_multiple_of(TRIPS);
        let mut begun = tsc();
        let mut end = begun + self.ticks(first_us);
        for trip in first + 1..=first + TRIPS {
            if trip == first + UNTIMED + 1 {
                begun = tsc();
                end = begun + self.ticks(PATIENCE_US);
            }
            self.asked.0.store(trip, Ordering::Release);
            while self.answered.0.load(Ordering::Acquire) != trip {
                if tsc() > end {
                    return None;
                }
                spin_loop();
            }
        }
        let ticks = u128::from(tsc() - begun) * 1_000_000_000;
        let trips = u128::from(TRIPS - UNTIMED);
        u64::try_from(ticks / trips / u128::from(self.tsc_hz.max(1))).ok()
    }

    fn ticks(&self, us: u64) -> u64 {
        self.tsc_hz / 1_000_000 * us
    }
}

fn is_fair(round_trip_ns: u64) -> bool {
    (NS_MIN..=NS_MAX).contains(&round_trip_ns)
}

/// How far both cores were apart during a measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Apart {
    /// Games that were begun.
    pub games: usize,
    /// Those that ended: in the others somebody did not answer in time.
    pub ended: usize,
    /// Part of those begun by which the cores are of their own with a cache in common.
    pub fair: f64,
    /// The round trip in the middle of those that ended, in nanoseconds.
    pub median_ns: u64,
}

impl Apart {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn of(found: &[Option<u64>], moves: bool) -> Self {
        let mut round_trips_ns: Vec<_> = found.iter().flatten().copied().collect();
        round_trips_ns.sort_unstable();
        let fair = round_trips_ns.iter().filter(|ns| !moves || is_fair(**ns)).count();
        Apart {
            games: found.len(),
            ended: round_trips_ns.len(),
            fair: fair as f64 / found.len().max(1) as f64,
            median_ns: round_trips_ns.get(round_trips_ns.len() / 2).copied().unwrap_or(0),
        }
    }
}

/// A thread on another core that asks every so often, beside what that core does.
#[derive(Debug)]
pub struct Asker {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Option<u64>>>,
    moves: bool,
}

impl Asker {
    /// Starts it; the caller serves.
    ///
    /// # Errors
    /// The system refused a thread.
    pub fn start(ball: Arc<Ball>, core: usize) -> std::io::Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let (ended, moves) = (Arc::clone(&ends), ball.moves);
        let thread = thread::Builder::new().name("asker".into()).spawn(move || {
            // On another core it would measure something else.
            if !core_affinity::set_for_current(CoreId { id: core }) {
                return Vec::new();
            }
            // In front of the thread that polls there; without it, it asks less often.
            let _ = dpdk_wrapper::set_nice(-20);
            let mut found = Vec::new();
            while !ended.load(Ordering::Acquire) {
                thread::park_timeout(EVERY);
                found.push(ball.round_trip_ns(FIRST_BESIDE_US));
            }
            // Nobody may have been there any more for the last one.
            found.pop();
            found
        })?;
        Ok(Asker { ends, thread, moves })
    }

    /// Ends it; what it has found.
    #[must_use]
    pub fn stop(self) -> Apart {
        self.ends.store(true, Ordering::Release);
        self.thread.thread().unpark();
        Apart::of(&self.thread.join().unwrap_or_default(), self.moves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 1_000_000_000;

    #[test]
    fn a_game_ends_whether_anybody_serves_or_not() {
        let ball = Ball::new(HZ);
        assert_eq!(ball.round_trip_ns(1), None, "nobody serves");
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let [here, there, ..] = *cores.as_slice() else { return };
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                core_affinity::set_for_current(there);
                while !ended.load(Ordering::Acquire) {
                    ball.serve();
                    thread::yield_now();
                }
            });
            let player = scope.spawn(|| {
                core_affinity::set_for_current(here);
                // As often as it takes until neither loses its core.
                while ball.round_trip_ns(FIRST_US).is_none() {
                    thread::yield_now();
                }
            });
            player.join().unwrap();
            ended.store(true, Ordering::Release);
        });
        assert_eq!(ball.round_trip_ns(1), None, "nobody serves any more");
    }

    #[test]
    fn who_asks_beside_a_measurement_ends_with_it() {
        let ball = Arc::new(Ball::new(HZ));
        let asker = Asker::start(Arc::clone(&ball), 0).unwrap();
        while ball.asked.0.load(Ordering::Relaxed) < 2 * TRIPS {
            thread::yield_now();
        }
        let found = asker.stop();
        assert!(found.games >= 1 && found.ended == 0 && found.fair == 0.0, "{found:?}");
    }

    #[test]
    fn what_is_fair_is_told_by_games() {
        let found = [Some(38), Some(500), Some(90), None, Some(100)];
        let expected = Apart { games: 5, ended: 4, fair: 0.4, median_ns: 100 };
        assert_eq!(Apart::of(&found, true), expected);
        assert_eq!(Apart::of(&found, false), Apart { fair: 0.8, ..expected });
        assert_eq!(Apart::of(&[], true), Apart::default());
    }
}
