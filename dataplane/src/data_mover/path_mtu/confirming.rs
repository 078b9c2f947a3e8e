//! Asking whether a length passes.
//!
//! A set of probes has one of this length, one of the base and one of the shortest length. What
//! only the shorter ones of a set survive is a matter of length; what none survives is not.
//!
//! A set is over when all of it is answered, and at the latest when answers would have come. So
//! nothing is waited for for ever, whatever becomes of the record of a probe: behind a window full
//! of datagrams that vanish it may take minutes until a probe is taken for lost.

use super::Pace;
use crate::time::{SECOND_NS, Time};

/// Long datagrams lost in a row, none sent later having arrived, which are a reason to ask.
pub(super) const DOUBT_LOSSES: u8 = 3;
/// Sets of probes in a row of which only the shorter ones arrive, after which the length does not
/// pass: one that was seen to pass, and one that was not.
const FAILED_SETS: u8 = 3;
const FAILED_SETS_AT_START: u8 = 2;
/// Longest time between two sets of probes while nothing arrives, in nanoseconds, unless a round
/// trip is longer.
const SILENT_NS_MAX: u64 = SECOND_NS;
/// Doublings of that time.
const SILENT_DOUBLINGS_MAX: u32 = 8;

/// What has become of one probe of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Unknown,
    Passed,
    Lost,
}

/// Sets of probes, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Confirming {
    /// What was sent since then and arrives is an answer, even if it is not of the present set.
    pub(super) since: Time,
    set_at: Time,
    /// When the rest of the set is to be sent; once it is sent, when the set is over.
    pub(super) due: Time,
    /// From the beginning of one set to that of the next, in nanoseconds, at least.
    gap_ns: u64,
    /// Probes of the set that were sent.
    sent: usize,
    fates: [Fate; 3],
    /// Sets that each length has survived; and in a row, that only shorter ones have.
    passed: [u8; 3],
    failed: [u8; 3],
    /// Sets in a row of which nothing arrived.
    silent: u32,
}

impl Confirming {
    /// The first set is due now; what was sent from `since` on counts.
    pub(super) fn new(now: Time, since: Time) -> Self {
        Confirming { since, due: now, set_at: now, ..Confirming::default() }
    }

    /// Which probe of a set of `count` is to be sent now.
    pub(super) fn next(&self, now: Time, count: usize) -> Option<usize> {
        (self.sent < count && self.due <= now).then_some(self.sent)
    }

    /// It was sent.
    pub(super) fn probe_sent(&mut self, now: Time, count: usize, pace: &Pace) {
        if self.sent == 0 {
            self.set_at = now;
        }
        self.sent += 1;
        if self.sent >= count {
            self.gap_ns = pace.round_ns;
            self.due = now + self.backed_off_ns(pace.answer_ns.max(pace.round_ns));
        }
    }

    /// Takes what has become of a probe of this length, for sets of these lengths, the longest
    /// first.
    pub(super) fn answer(&mut self, sent_at: Time, len: u16, fate: Fate, lens: &[u16]) {
        // A late answer says that the path carries this length; a late loss says nothing.
        let counts = match fate {
            Fate::Passed => sent_at >= self.since,
            _ => sent_at >= self.set_at,
        };
        for (known, _) in self.fates.iter_mut().zip(lens).filter(|(_, one)| counts && **one == len)
        {
            *known = fate;
        }
    }

    /// Whether nothing more is to be waited for.
    pub(super) fn is_over(&self, now: Time, count: usize) -> bool {
        let fates = self.fates.get(..count).unwrap_or(&[]);
        self.sent >= count && (self.due <= now || !fates.contains(&Fate::Unknown))
    }

    /// Ends the set; `is_seen` when its greatest length was seen to pass before. The length to
    /// fall back to, once that is clear.
    pub(super) fn end(&mut self, now: Time, lens: &[u16], is_seen: bool) -> Option<u16> {
        let fates = self.fates;
        let fates = fates.get(..lens.len())?;
        if fates.contains(&Fate::Passed) {
            self.silent = 0;
            self.count(fates);
        } else {
            self.silent = self.silent.saturating_add(1);
        }
        self.due = (self.set_at + self.backed_off_ns(self.gap_ns)).max(now);
        (self.sent, self.fates) = (0, [Fate::Unknown; 3]);
        self.verdict(lens, if is_seen { FAILED_SETS } else { FAILED_SETS_AT_START })
    }

    /// Within a silence less and less is asked.
    fn backed_off_ns(&self, ns: u64) -> u64 {
        let doubled_ns = ns << self.silent.min(SILENT_DOUBLINGS_MAX);
        doubled_ns.min(SILENT_NS_MAX.max(ns))
    }

    fn count(&mut self, fates: &[Fate]) {
        for (fate, (passed, failed)) in
            fates.iter().zip(self.passed.iter_mut().zip(&mut self.failed))
        {
            match fate {
                Fate::Passed => (*passed, *failed) = (passed.saturating_add(1), 0),
                _ => *failed = failed.saturating_add(1),
            }
        }
    }

    /// The longest that passes, if all longer ones have failed often enough.
    fn verdict(&self, lens: &[u16], failed_max: u8) -> Option<u16> {
        for (len, (passed, failed)) in lens.iter().zip(self.passed.iter().zip(&self.failed)) {
            if *passed > 0 {
                return Some(*len);
            }
            if *failed < failed_max {
                return None;
            }
        }
        None
    }
}
