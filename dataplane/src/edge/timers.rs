//! One deadline per edge, in a timer wheel: setting, moving and cancelling cost the same however
//! many edges there are.
//!
//! In: the place of an edge and a time. Out: places whose time has come, never early, late by at
//! most a tick. Never: an allocation after construction.

use crate::time::Time;

/// Resolution of the wheel, in nanoseconds.
pub const TICK_NS: u64 = 250_000;
const BUCKETS: usize = 4096;
const WORDS: usize = BUCKETS / 64;
const NONE: u32 = u32::MAX;
const UNSET: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Tick at which the entry is due; `UNSET` when it is in no bucket.
    due: u64,
    previous: u32,
    next: u32,
}

/// Deadlines of a fixed number of places.
#[derive(Debug)]
pub struct TimerWheel {
    heads: Box<[u32]>,
    occupied: [u64; WORDS],
    /// Deadlines that are set.
    set: usize,
    entries: Box<[Entry]>,
    /// All ticks before this one have been handed out.
    tick: u64,
}

impl TimerWheel {
    /// A wheel for places `0..places`, none of them set.
    #[must_use]
    pub fn new(places: usize) -> Self {
        TimerWheel {
            heads: vec![NONE; BUCKETS].into_boxed_slice(),
            occupied: [0; WORDS],
            set: 0,
            entries: vec![Entry { due: UNSET, previous: NONE, next: NONE }; places]
                .into_boxed_slice(),
            tick: 0,
        }
    }

    /// Sets (or moves) the deadline of `place`; [`Time::NEVER`] cancels it.
    pub fn set(&mut self, place: u32, deadline: Time) {
        let Some(entry) = self.entries.get(place as usize) else { return };
        if deadline == Time::NEVER {
            if entry.due != UNSET {
                self.unlink(place);
            }
            return;
        }
        let due = deadline.as_ns().div_ceil(TICK_NS).max(self.tick);
        if entry.due == due {
            return;
        }
        if entry.due != UNSET {
            self.unlink(place);
        }
        self.link(place, due);
    }

    /// A place whose deadline is not after `now`; its deadline is then unset.
    pub fn pop_due(&mut self, now: Time) -> Option<u32> {
        let now_tick = now.as_ns() / TICK_NS;
        while self.tick <= now_tick {
            let mut place = self.heads[bucket_of(self.tick)];
            while place != NONE {
                let entry = self.entries[place as usize];
                if entry.due <= self.tick {
                    self.unlink(place);
                    return Some(place);
                }
                // A later round of the wheel.
                place = entry.next;
            }
            match self.next_occupied(self.tick + 1) {
                Some(next) if next <= now_tick => self.tick = next,
                // Nothing before `now` is left; the current tick may still receive entries.
                _ if self.tick == now_tick => break,
                _ => self.tick = now_tick,
            }
        }
        None
    }

    /// A time not after the earliest deadline: exact to a tick within one turn of the wheel
    /// (about a second), else the end of the turn.
    #[must_use]
    pub fn next_timeout(&self) -> Time {
        // What is left in the bucket of the present tick is mostly of later rounds.
        let from = if self.has_due_now() { self.tick } else { self.tick + 1 };
        match self.next_occupied(from) {
            Some(tick) => Time::from_ns(tick.saturating_mul(TICK_NS)),
            None => Time::NEVER,
        }
    }

    fn has_due_now(&self) -> bool {
        let mut place = self.heads[bucket_of(self.tick)];
        while let Some(entry) = self.entries.get(place as usize) {
            if entry.due <= self.tick {
                return true;
            }
            place = entry.next;
        }
        false
    }

    /// The first tick from `from` on, within one turn, whose bucket holds anything.
    fn next_occupied(&self, from: u64) -> Option<u64> {
        if self.set == 0 {
            return None;
        }
        let start = bucket_of(from);
        for step in 0..=WORDS {
            let word = (start / 64 + step) % WORDS;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            } else if step == WORDS {
                bits &= !(u64::MAX << (start % 64));
            }
            if bits != 0 {
                let bucket = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (bucket + BUCKETS - start) % BUCKETS;
                return Some(from + ahead as u64);
            }
        }
        None
    }

    fn link(&mut self, place: u32, due: u64) {
        self.set += 1;
        let bucket = bucket_of(due);
        let head = self.heads[bucket];
        self.entries[place as usize] = Entry { due, previous: NONE, next: head };
        if head != NONE {
            self.entries[head as usize].previous = place;
        }
        self.heads[bucket] = place;
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
    }

    fn unlink(&mut self, place: u32) {
        let Entry { due, previous, next } = self.entries[place as usize];
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].next = next;
        } else {
            let bucket = bucket_of(due);
            self.heads[bucket] = next;
            if next == NONE {
                self.occupied[bucket / 64] &= !(1 << (bucket % 64));
            }
        }
        self.entries[place as usize] = Entry { due: UNSET, previous: NONE, next: NONE };
        self.set -= 1;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a remainder of BUCKETS fits")]
fn bucket_of(tick: u64) -> usize {
    (tick % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const PLACES: u32 = 8;

    proptest! {
        /// Agrees with a sorted map: nothing early, nothing lost, late by less than a tick.
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec(
            (0..PLACES, 0u64..3_000_000_000, 0u64..400_000_000), 1..200)
        ) {
            let mut wheel = TimerWheel::new(PLACES as usize);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = 0;
            for (place, after, advance) in steps {
                wheel.set(place, Time::from_ns(now + after));
                model.insert(place, now + after);
                now += advance;
                while let Some(place) = wheel.pop_due(Time::from_ns(now)) {
                    let due = model.remove(&place);
                    prop_assert!(due.is_some_and(|due| due <= now), "early or twice");
                }
                let late = model.values().any(|due| due + TICK_NS <= now);
                prop_assert!(!late, "late by more than a tick");
                if let Some(earliest) = model.values().min() {
                    let next = wheel.next_timeout().as_ns();
                    prop_assert!(next < earliest + TICK_NS);
                }
            }
            // A later round of the present bucket is no reason to be called at once.
            let tick = now / TICK_NS;
            if model.values().all(|due| *due > (tick + 1) * TICK_NS) {
                prop_assert!(wheel.next_timeout().as_ns() > tick * TICK_NS);
            }
            for place in 0..PLACES {
                wheel.set(place, Time::NEVER);
            }
            prop_assert_eq!(wheel.next_timeout(), Time::NEVER);
        }
    }
}
