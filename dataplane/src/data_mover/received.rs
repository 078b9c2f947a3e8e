//! Which physical numbers have arrived, and when and what to tell the sender about them.
//!
//! In: numbers as they arrive, the time. Out: whether a number is new, bitmaps. Never: a datagram.
//!
//! Acknowledgements are partial, frequent and redundant: each covers what is new since several
//! acknowledgements before it, so every number is reported several times, and lost ones cost
//! nothing.

use super::config::NUMBERS_MAX;
use super::flags::Flags;
use super::recovery::{ACK_DELAY_NS_MAX, ACK_DELAY_NS_MIN, ACK_QUIET_NS};
use super::wire::Arrivals;
use crate::time::{MICROSECOND_NS, Time};

/// Datagrams after which an acknowledgement is due at once.
const ACK_EVERY: u32 = 32;
/// Acknowledgements that report each number.
pub(super) const REPORTS: usize = 8;
/// Bytes of bitmap in one acknowledgement, at most.
pub(super) const BITMAP_LEN_MAX: usize = 256;
/// One byte of acknowledgement is earned by this many bytes of data.
const ACK_SHARE: i64 = 128;
/// What an acknowledgement costs, in bytes: about its size, headers included, usually and without
/// its bitmap.
const ACK_COST: i64 = 152;
pub(super) const ACK_COST_MIN: usize = 122;
/// Acknowledgements that can be earned in advance.
const ACKS_EARNED_MAX: i64 = 24;
/// What may be owed: a long one is paid for by those after it, but what was sparse is not held against
/// bulk for long.
const OWED_MAX: i64 = 512;

const _: () = assert!(NUMBERS_MAX.is_power_of_two());
const _: () = assert!(BITMAP_LEN_MAX * 8 < NUMBERS_MAX as usize);

/// A sliding window of flags over the numbers up to the highest received.
#[derive(Debug)]
pub(super) struct Window {
    flags: Flags,
    highest: u64,
}

impl Window {
    pub(super) fn new() -> Self {
        Window { flags: Flags::new(NUMBERS_MAX as usize), highest: 0 }
    }

    pub(super) fn reset(&mut self) {
        self.flags.clear();
        self.highest = 0;
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether this number was not set before, as far as can be told.
    pub(super) fn is_new(&self, number: u64) -> bool {
        number >= self.lowest() && !self.contains(number)
    }

    fn lowest(&self) -> u64 {
        (self.highest + 1).saturating_sub(u64::from(NUMBERS_MAX)).max(1)
    }

    fn contains(&self, number: u64) -> bool {
        number <= self.highest && number >= self.lowest() && self.flags.get(number)
    }

    /// Sets the flag; false when it was set, or the number is below the window.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        if number > self.highest {
            self.advance(number);
        } else if number < self.lowest() || self.contains(number) {
            return false;
        }
        self.flags.set(number, true);
        true
    }

    /// Makes `number` the highest; flags of the numbers skipped are cleared.
    fn advance(&mut self, number: u64) {
        if number - self.highest >= u64::from(NUMBERS_MAX) {
            self.flags.clear();
        } else {
            self.flags.clear_range(self.highest + 1, number);
        }
        self.highest = number;
    }

    /// Eight flags from `number` on, which is not below the window.
    fn byte(&self, number: u64) -> u8 {
        let beyond = (number + 7).saturating_sub(self.highest);
        self.flags.byte(number) & u8::MAX.unbounded_shr(u32::try_from(beyond).unwrap_or(8))
    }
}

/// What arrived, and what of it has been told.
#[derive(Debug)]
pub(super) struct Received {
    window: Window,
    highest_at: Time,
    /// Of the datagrams to be acknowledged.
    arrivals: Arrivals,
    /// Lowest number of which there is news since the latest acknowledgement.
    news_from: u64,
    /// The same for each of the latest acknowledgements.
    told_from: [u64; REPORTS],
    /// Everything up to here was covered by an acknowledgement.
    told_to: u64,
    /// The latest acknowledgement was full: the next goes on here. What comes late meanwhile waits
    /// until all is told up to the highest, or the highest would never be told.
    going_on: Option<u64>,
    /// Datagrams to be acknowledged since the latest acknowledgement, and when the first came.
    waiting: u32,
    waiting_since: Time,
    acked_at: Time,
    /// Bytes that acknowledgements may have; less than none after a long one.
    earned: i64,
}

impl Received {
    pub(super) fn new() -> Self {
        Received {
            window: Window::new(),
            highest_at: Time::ZERO,
            arrivals: Arrivals::default(),
            news_from: 1,
            told_from: [1; REPORTS],
            told_to: 0,
            going_on: None,
            waiting: 0,
            waiting_since: Time::ZERO,
            acked_at: Time::ZERO,
            earned: 0,
        }
    }

    /// Begins a session.
    pub(super) fn reset(&mut self) {
        self.window.reset();
        self.arrivals = Arrivals::default();
        self.news_from = 1;
        self.told_from = [1; REPORTS];
        self.told_to = 0;
        self.going_on = None;
        self.waiting = 0;
        self.acked_at = Time::ZERO;
        self.earned = ACKS_EARNED_MAX * ACK_COST;
    }

    /// Whether this number has not arrived before, as far as can be told.
    pub(super) fn is_new(&self, number: u64) -> bool {
        self.window.is_new(number)
    }

    /// A number arrived, with all it carried; `answered` when the sender wants to know.
    pub(super) fn insert(&mut self, now: Time, number: u64, ip_bytes: usize, answered: bool) {
        let highest = self.window.highest;
        if !self.window.insert(number) {
            return;
        }
        if number > highest {
            self.highest_at = now;
        }
        self.news_from = self.news_from.min(number);
        let earned = i64::try_from(ip_bytes).unwrap_or(0) / ACK_SHARE;
        self.earned = (self.earned + earned).min(ACKS_EARNED_MAX * ACK_COST);
        if answered {
            self.arrivals.add(now.as_ns() / MICROSECOND_NS);
            if self.waiting == 0 {
                self.waiting_since = now;
                if now.since_ns(self.acked_at) >= ACK_QUIET_NS {
                    self.earned = self.earned.max(0);
                }
            }
            self.waiting = self.waiting.saturating_add(1);
        }
    }

    /// The sender asks about all numbers from `number` on.
    pub(super) fn asked_from(&mut self, number: u64) {
        let covered = self.told_from.iter().copied().min().unwrap_or(0).min(self.news_from);
        if number < covered {
            self.news_from = number.max(self.window.lowest());
        }
    }

    pub(super) fn highest(&self) -> u64 {
        self.window.highest
    }

    /// How many have come that are to be acknowledged, and when.
    pub(super) fn arrivals(&self) -> Arrivals {
        self.arrivals
    }

    /// Microseconds since the highest number arrived.
    pub(super) fn delay_us(&self, now: Time) -> u32 {
        u32::try_from(now.since_ns(self.highest_at) / 1_000).unwrap_or(u32::MAX)
    }

    /// When the next acknowledgement is due, for a round trip of `rtt_ns`; [`Time::NEVER`] when
    /// there is nothing to acknowledge.
    pub(super) fn due(&self, rtt_ns: u64) -> Time {
        if self.waiting == 0 {
            return Time::NEVER;
        }
        let quiet = self.waiting_since.since_ns(self.acked_at) >= ACK_QUIET_NS;
        if self.earned < ACK_COST && !quiet {
            return self.waiting_since + ACK_DELAY_NS_MAX;
        }
        if self.waiting >= ACK_EVERY {
            return self.waiting_since;
        }
        let apart_ns = (rtt_ns / 16).clamp(ACK_DELAY_NS_MIN, ACK_DELAY_NS_MAX / 4);
        (self.waiting_since + ACK_DELAY_NS_MIN).max(self.acked_at + apart_ns)
    }

    /// Fills `out` (at most [`BITMAP_LEN_MAX`] bytes of it are used) with the flags for the next
    /// acknowledgement; the number of the first flag, and how many bytes are filled.
    pub(super) fn report(&mut self, now: Time, out: &mut [u8]) -> (u64, usize) {
        let highest = self.window.highest;
        // What lies between the highest told and the highest received is news, received or not.
        let news_from = self.news_from.min(self.told_to + 1).max(self.window.lowest());
        let redundant = self.told_from.iter().copied().min().unwrap_or(news_from);
        let bits_max = (out.len().min(BITMAP_LEN_MAX) * 8) as u64;
        let mut base = redundant.clamp(self.window.lowest(), news_from);
        if highest + 1 - base.min(highest + 1) > bits_max {
            base = news_from;
        }
        if let Some(from) = self.going_on {
            base = from.max(self.window.lowest());
        }
        let end = (base + bits_max).min(highest + 1);
        let mut len = 0;
        let mut at = base;
        for byte in out.iter_mut().take(BITMAP_LEN_MAX) {
            if at >= end {
                break;
            }
            *byte = self.window.byte(at);
            at += 8;
            len += 1;
        }
        self.told(now, len, news_from, end, highest);
        (base, len)
    }

    /// So many more bytes are in the acknowledgement.
    pub(super) fn spent(&mut self, len: usize) {
        let len = i64::try_from(len).unwrap_or(OWED_MAX);
        self.earned = self.earned.saturating_sub(len).max(-OWED_MAX);
    }

    fn told(&mut self, now: Time, len: usize, news_from: u64, end: u64, highest: u64) {
        self.acked_at = now;
        self.spent(ACK_COST_MIN + len);
        if end <= highest {
            // Too much for one: the rest follows at once, and is told once.
            if self.going_on.is_none() {
                self.news_from = u64::MAX;
                self.told_from = [end; REPORTS];
            }
            self.told_to = self.told_to.max(end - 1);
            self.going_on = Some(end);
            (self.waiting, self.waiting_since) = (ACK_EVERY, now);
            return;
        }
        if self.going_on.take().is_some() {
            self.told_to = highest;
            self.told_from = [highest + 1; REPORTS];
            self.news_from = self.news_from.min(highest + 1);
            (self.waiting, self.waiting_since) = (u32::from(self.news_from <= highest), now);
            return;
        }
        self.told_to = highest;
        self.news_from = highest + 1;
        self.told_from.rotate_right(1);
        if let Some(first) = self.told_from.first_mut() {
            *first = news_from;
        }
        self.waiting = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};

    use super::super::rng::Rng;
    use super::super::wire::Bitmap;
    use super::*;
    use crate::time::MILLISECOND_NS;

    fn told(received: &mut Received, at_ms: u64) -> Vec<(u64, bool)> {
        let mut out = [0; BITMAP_LEN_MAX];
        let (base, len) = received.report(Time::from_ms(at_ms), &mut out);
        let highest = received.highest();
        Bitmap { base, bytes: &out[..len] }.iter().filter(|(n, _)| *n <= highest).collect()
    }

    fn insert(received: &mut Received, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            received.insert(Time::ZERO, number, 1_464, true);
        }
    }

    #[test]
    fn each_number_is_reported_several_times() {
        let mut received = Received::new();
        let mut reports = std::collections::HashMap::new();
        for ack in 0..40 {
            insert(&mut received, (ack * 32 + 1..=ack * 32 + 32).filter(|n| n % 7 != 0));
            for (number, flag) in told(&mut received, ack) {
                assert_eq!(flag, number % 7 != 0);
                *reports.entry(number).or_insert(0) += 1;
            }
        }
        for number in 1..=30 * 32 {
            assert!((8..=9).contains(&reports[&number]), "{number}: {}", reports[&number]);
        }
    }

    #[test]
    fn a_late_number_is_reported_although_the_window_has_passed() {
        let mut received = Received::new();
        for ack in 0..40 {
            insert(&mut received, (ack * 32 + 1..=ack * 32 + 32).filter(|n| *n != 50));
            told(&mut received, ack);
        }
        insert(&mut received, [50]);
        for ack in 40..47 {
            assert!(told(&mut received, ack).contains(&(50, true)));
        }
    }

    #[test]
    fn a_long_gap_is_told_in_several_acknowledgements_at_once() {
        let mut received = Received::new();
        received.reset();
        insert(&mut received, 1..=10);
        told(&mut received, 0);
        insert(&mut received, [10_000]);
        let mut covered = std::collections::BTreeSet::new();
        let mut acks = 0;
        while received.due(80 * MILLISECOND_NS) <= Time::from_ms(10) {
            acks += 1;
            covered.extend(told(&mut received, 1).iter().map(|(number, _)| *number));
        }
        assert_eq!(acks, 5);
        assert!((11..=10_000).all(|number| covered.contains(&number)));
    }

    #[test]
    fn what_comes_late_again_and_again_does_not_keep_the_highest_from_being_told() {
        let mut received = Received::new();
        received.reset();
        insert(&mut received, (1..=20_000).filter(|number| number % 20 != 0));
        let mut covered = std::collections::BTreeSet::new();
        for ack in 1..=40 {
            // A late one, far behind, and a new one before each acknowledgement.
            insert(&mut received, [ack * 20, 20_000 + ack]);
            covered.extend(told(&mut received, ack).into_iter().filter(|(_, flag)| *flag));
        }
        assert!((20_001..20_030).all(|number| covered.contains(&(number, true))));
        assert!((1..=20).all(|late| covered.contains(&(late * 20, true))));
    }

    #[test]
    fn the_sender_can_ask_for_what_no_acknowledgement_covers_any_more() {
        let mut received = Received::new();
        for ack in 0..40 {
            insert(&mut received, ack * 32 + 1..=ack * 32 + 32);
            told(&mut received, ack);
        }
        assert!(!told(&mut received, 41).contains(&(100, true)));
        received.asked_from(100);
        assert!(told(&mut received, 42).contains(&(100, true)));
    }

    #[test]
    fn duplicates_are_known_within_the_window_and_refused_below_it() {
        let mut received = Received::new();
        let window = u64::from(NUMBERS_MAX);
        insert(&mut received, [1, 5, window + 3]);
        assert!(!received.is_new(5));
        assert!(!received.is_new(3), "below the window");
        assert!(received.is_new(6));
        insert(&mut received, [3 * window]);
        assert!(received.is_new(3 * window - 1));
        assert!(!received.is_new(window + 3));
    }

    #[test]
    fn the_window_agrees_with_a_set() {
        let mut window = Window::new();
        let mut set = std::collections::HashSet::new();
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (window.highest + 200).saturating_sub(state >> 40 & 0x3ff).max(1);
            assert_eq!(window.insert(number), set.insert(number), "{number}");
        }
    }

    #[test]
    fn acknowledgements_are_earned_by_data() {
        let mut received = Received::new();
        received.reset();
        let mut acks = 0;
        let mut now = Time::from_ms(1_000);
        for number in 1..10_000 {
            now = now + 1_000_000;
            received.insert(now, number, 1_464, true);
            if received.due(MILLISECOND_NS) <= now {
                acks += 1;
                received.report(now, &mut [0; 64]);
            }
        }
        assert!(acks * 130 * 100 < 10_000 * 1_464 + 24 * 14_000, "{acks}");
        assert!(acks > 500, "{acks}");
    }

    #[test]
    fn what_was_sparse_is_not_held_against_bulk_for_long() {
        let mut received = Received::new();
        received.reset();
        let mut now = Time::from_ms(1_000);
        let mut number = 0;
        // Ten seconds of little: each is acknowledged, and earns nothing.
        for _ in 0..200 {
            number += 1;
            now = now + 50 * MILLISECOND_NS;
            received.insert(now, number, 100, true);
            let due = received.due(MILLISECOND_NS);
            assert!(due <= now + ACK_DELAY_NS_MAX);
            received.report(due, &mut [0; BITMAP_LEN_MAX]);
        }
        // Then 1.2 Gb/s.
        now = now + 50 * MILLISECOND_NS;
        let mut bulk_bytes = 0;
        while received.due(MILLISECOND_NS) > now {
            number += 1;
            now = now + 10 * MICROSECOND_NS;
            received.insert(now, number, 1_464, true);
            bulk_bytes += 1_464;
        }
        assert!(bulk_bytes <= 100_000, "{bulk_bytes} bytes until the first acknowledgement");
    }

    #[test]
    fn the_highest_is_told_within_as_many_as_hold_all_that_is_news() {
        let mut rng = Rng::new(7);
        let mut received = Received::new();
        received.reset();
        // Newest first: what each acknowledgement was to tell.
        let mut awaited: VecDeque<u64> = VecDeque::new();
        let mut next = 30_000;
        for _ in 0..2_000 {
            // Late ones by up to 30,000, which is the news of 15 acknowledgements, and new ones.
            let late = (0..rng.next_u64() % 4).map(|_| next - 1 - rng.next_u64() % 29_999);
            insert(&mut received, late.collect::<Vec<_>>());
            let new = 1 + rng.next_u64() % 64;
            insert(&mut received, (next..next + new).filter(|number| number % 7 != 0));
            next += new;
            awaited.push_front(received.highest());
            let told: HashSet<u64> = told(&mut received, 0)
                .into_iter()
                .filter(|(_, flag)| *flag)
                .map(|(n, _)| n)
                .collect();
            awaited.retain(|highest| !told.contains(highest));
            assert!(awaited.len() <= 16, "{} acknowledgements without it", awaited.len());
        }
    }
}
