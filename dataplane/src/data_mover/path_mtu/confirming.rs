//! Asking whether a length passes.
//!
//! A set of probes has one of this length, one of the base and one of the shortest length. What
//! only the shorter ones of a set survive is a matter of length; what none survives is not.

use crate::time::{SECOND_NS, Time};

/// Long datagrams lost in a row, none sent later having arrived, which are a reason to ask.
pub(super) const DOUBT_LOSSES: u8 = 3;
/// Sets of probes in a row of which only the shorter ones arrive, after which the length does not
/// pass: one that was seen to pass, and one that was not.
const FAILED_SETS: u8 = 3;
const FAILED_SETS_AT_START: u8 = 2;
/// Longest time between two sets of probes while nothing arrives, in nanoseconds.
const SILENT_GAP_NS_MAX: u64 = SECOND_NS;
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

/// What has become of a probe of the present set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) now: Time,
    pub(super) len: u16,
    pub(super) fate: Fate,
    /// Time between two sets, at least.
    pub(super) gap_ns: u64,
}

/// Sets of probes, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Confirming {
    /// A datagram of this length that was sent since then and arrives is an answer too.
    pub(super) since: Time,
    pub(super) set_at: Time,
    pub(super) due: Time,
    /// Probes of the set that were sent.
    pub(super) sent: usize,
    fates: [Fate; 3],
    /// Sets that each length has survived; and in a row, that only shorter ones have.
    passed: [u8; 3],
    failed: [u8; 3],
    /// Sets in a row of which nothing arrived.
    silent: u32,
}

impl Confirming {
    /// The first set is due now; full datagrams sent from `since` on count.
    pub(super) fn new(now: Time, since: Time) -> Self {
        Confirming { since, due: now, set_at: now, ..Confirming::default() }
    }

    /// Takes an answer, for sets of probes of these lengths, the longest first; `is_seen` when
    /// that one was seen to pass before. The length to fall back to, once that is clear.
    pub(super) fn answer(&mut self, answer: &Answer, lens: &[u16], is_seen: bool) -> Option<u16> {
        for (fate, _) in self.fates.iter_mut().zip(lens).filter(|(_, len)| **len == answer.len) {
            *fate = answer.fate;
        }
        let fates = self.fates;
        let known = fates.get(..lens.len())?;
        if self.sent < lens.len() || known.contains(&Fate::Unknown) {
            return None;
        }
        let alive = known.contains(&Fate::Passed);
        self.silent = if alive { 0 } else { self.silent.saturating_add(1) };
        if alive {
            self.count(known);
        }
        // Within a silence less and less is asked.
        let doubled_ns = answer.gap_ns << self.silent.min(SILENT_DOUBLINGS_MAX);
        let gap_ns = doubled_ns.min(SILENT_GAP_NS_MAX.max(answer.gap_ns));
        self.due = (self.set_at + gap_ns).max(answer.now);
        (self.sent, self.fates) = (0, [Fate::Unknown; 3]);
        self.verdict(lens, if is_seen { FAILED_SETS } else { FAILED_SETS_AT_START })
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
