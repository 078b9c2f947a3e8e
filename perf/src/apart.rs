//! How far two cores are apart: what it takes a cache line to go from one to the other and back.
//!
//! In: a thread on each core, one that asks and one that looks whether it is asked. Out: the time of a
//! round trip. Never: a wait without end, though either thread may lose its core at any time.
//!
//! A hypervisor moves virtual processors about: two may be hardware threads of one core at one time,
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
const UNTIMED: u64 = 8;
/// A round trip is shorter within one core, by its first-level cache.
pub const NS_MIN: u64 = 55;
/// It is longer where the two have no cache in common.
pub const NS_MAX: u64 = 250;
/// Longer than a game ever takes.
const PATIENCE_US: u64 = 100;
/// Between two games beside a measurement: each takes some 10 us of it.
const EVERY: Duration = Duration::from_millis(25);

const _: () = assert!(TRIPS * 1_000 < PATIENCE_US * 1_000, "a microsecond each is within patience");

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
}

impl Ball {
    /// One at rest.
    #[must_use]
    pub fn new(tsc_hz: u64) -> Self {
        Ball { asked: Line::default(), answered: Line::default(), tsc_hz }
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
        let end = tsc() + self.patience();
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
        }
    }

    /// Nanoseconds of a round trip; `None` when nobody serves, or either thread lost its core.
    pub fn round_trip_ns(&self) -> Option<u64> {
        let first = self.asked.0.load(Ordering::Relaxed).next_multiple_of(TRIPS);
        let mut begun = tsc();
        let end = begun + self.patience();
        for trip in first + 1..=first + TRIPS {
            if trip == first + UNTIMED {
                begun = tsc();
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
        let trips = u128::from(TRIPS - UNTIMED + 1);
        u64::try_from(ticks / trips / u128::from(self.tsc_hz.max(1))).ok()
    }

    fn patience(&self) -> u64 {
        self.tsc_hz / 1_000_000 * PATIENCE_US
    }
}

/// Whether two cores a round trip of these nanoseconds apart are cores of their own with a cache in
/// common.
#[must_use]
pub fn is_fair(round_trip_ns: u64) -> bool {
    (NS_MIN..=NS_MAX).contains(&round_trip_ns)
}

/// How far both cores were apart during a measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Apart {
    /// Games that were played.
    pub games: usize,
    /// Part of them that were fair ([`is_fair`]).
    pub fair: f64,
    /// The round trip in the middle of them, in nanoseconds.
    pub median_ns: u64,
}

impl Apart {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn of(mut round_trips_ns: Vec<u64>) -> Self {
        round_trips_ns.sort_unstable();
        let games = round_trips_ns.len();
        let fair = round_trips_ns.iter().filter(|ns| is_fair(**ns)).count();
        Apart {
            games,
            fair: fair as f64 / games.max(1) as f64,
            median_ns: round_trips_ns.get(games / 2).copied().unwrap_or(0),
        }
    }
}

/// A thread on another core that asks every so often, beside what that core does.
#[derive(Debug)]
pub struct Asker {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u64>>,
}

impl Asker {
    /// Starts it; the caller serves.
    ///
    /// # Errors
    /// The system refused a thread.
    pub fn start(ball: Arc<Ball>, core: usize) -> std::io::Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = thread::Builder::new().name("asker".into()).spawn(move || {
            core_affinity::set_for_current(CoreId { id: core });
            // In front of the thread that polls there; without it, it asks less often.
            let _ = dpdk_wrapper::set_nice(-20);
            let mut found = Vec::new();
            while !ended.load(Ordering::Acquire) {
                thread::park_timeout(EVERY);
                found.extend(ball.round_trip_ns());
            }
            found
        })?;
        Ok(Asker { ends, thread })
    }

    /// Ends it; what it has found.
    #[must_use]
    pub fn stop(self) -> Apart {
        self.ends.store(true, Ordering::Release);
        self.thread.thread().unpark();
        Apart::of(self.thread.join().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: u64 = 1_000_000_000;

    #[test]
    fn a_game_ends_whether_anybody_serves_or_not() {
        let ball = Ball::new(HZ);
        assert_eq!(ball.round_trip_ns(), None, "nobody serves");
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Acquire) {
                    ball.serve();
                    thread::yield_now();
                }
            });
            // As often as it takes until neither loses its core.
            while ball.round_trip_ns().is_none() {
                thread::yield_now();
            }
            ended.store(true, Ordering::Release);
        });
        assert_eq!(ball.round_trip_ns(), None, "nobody serves any more");
    }

    #[test]
    fn who_asks_beside_a_measurement_ends_with_it() {
        let ball = Arc::new(Ball::new(HZ));
        let asker = Asker::start(Arc::clone(&ball), 0).unwrap();
        while ball.asked.0.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        assert_eq!(asker.stop(), Apart::default());
    }

    #[test]
    fn what_is_fair_is_told_by_games() {
        let apart = Apart::of(vec![38, 500, 90, 100]);
        assert_eq!(apart, Apart { games: 4, fair: 0.5, median_ns: 100 });
        assert_eq!(Apart::of(Vec::new()), Apart::default());
    }
}
