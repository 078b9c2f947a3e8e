//! Which segments in flight are lost: those sent well before one that has arrived (RFC 8985).
//!
//! In: what each acknowledgement delivers, and the time. Out: records marked as lost, and when to
//! look again. Never: a decision about how much may be sent.

use super::rtt::Rtt;
use super::scoreboard::{Record, Scoreboard};
use super::sequence::Position;
use crate::time::Time;

/// Segments SACKed before the reordering window may be empty (RFC 5681's three duplicates).
const DUPLICATE_THRESHOLD: u32 = 3;
/// Recoveries without a duplicate report after which the window shrinks back (RFC 8985 6.2).
const WINDOW_PERSISTENCE: u8 = 16;

/// What is known of a path on which segments overtake each other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reordering {
    /// A segment arrived after one sent later, without a retransmission being involved.
    seen: bool,
    /// Reordering window in quarters of the minimum round trip, less one.
    extra_quarters: u8,
    persistence: u8,
}

/// RACK's state of one connection.
#[derive(Debug, Default)]
pub(super) struct Rack {
    /// When the most recently sent of all delivered segments was sent, and where it ends.
    newest_sent_at: Time,
    newest_end: Position,
    /// Round trip of that segment.
    rtt_ns: u64,
    /// The highest position that has arrived.
    highest: Position,
    pub(super) reordering: Reordering,
    /// A duplicate report widens the window once per round: not before this is acknowledged.
    round_end: Position,
}

impl Rack {
    /// The state before anything is delivered.
    pub(super) fn new(reordering: Reordering) -> Self {
        Rack { reordering, ..Rack::default() }
    }

    /// A segment has arrived, reported now (RFC 8985 6.2, steps 1 to 3).
    pub(super) fn delivered(&mut self, record: &Record, now: Time, rtt: &Rtt) {
        if record.end() > self.highest {
            self.highest = record.end();
        } else if !record.retransmitted {
            self.reordering.seen = true;
        }
        let rtt_ns = now.since_ns(record.sent_at);
        // The first transmission was acknowledged, not this one.
        if record.retransmitted && rtt_ns < rtt.min_ns {
            return;
        }
        self.rtt_ns = rtt_ns;
        if (record.sent_at, record.end()) > (self.newest_sent_at, self.newest_end) {
            self.newest_sent_at = record.sent_at;
            self.newest_end = record.end();
        }
    }

    /// The host reports a duplicate (RFC 2883): a retransmission was for nothing.
    pub(super) fn duplicate_reported(&mut self, acknowledged: Position, sent: Position) {
        if acknowledged >= self.round_end {
            self.round_end = sent;
            self.reordering.extra_quarters = self.reordering.extra_quarters.saturating_add(1);
            self.reordering.persistence = WINDOW_PERSISTENCE;
        }
    }

    /// A recovery has ended.
    pub(super) fn recovered(&mut self) {
        self.reordering.persistence = self.reordering.persistence.saturating_sub(1);
        if self.reordering.persistence == 0 {
            self.reordering.extra_quarters = 0;
        }
    }

    fn window_ns(&self, scoreboard: &Scoreboard, recovering: bool, rtt: &Rtt) -> u64 {
        if !self.reordering.seen && (recovering || scoreboard.sacked_count() >= DUPLICATE_THRESHOLD)
        {
            return 0;
        }
        let quarter = rtt.min_ns / 4;
        (quarter * (1 + u64::from(self.reordering.extra_quarters))).min(rtt.smoothed_ns)
    }

    /// Marks what is lost by now; returns how many segments that are, and when the next would be
    /// ([`Time::NEVER`]: only an acknowledgement can tell).
    pub(super) fn detect(
        &self,
        scoreboard: &mut Scoreboard,
        now: Time,
        recovering: bool,
        rtt: &Rtt,
    ) -> (u32, Time) {
        if self.newest_sent_at == Time::ZERO && self.newest_end == 0 {
            return (0, Time::NEVER);
        }
        let patience = self.rtt_ns.saturating_add(self.window_ns(scoreboard, recovering, rtt));
        let newest = (self.newest_sent_at, self.newest_end);
        let mut next = Time::NEVER;
        let count = scoreboard.judge(|record| {
            if (record.sent_at, record.end()) >= newest {
                // First transmissions are in order of time: none further back was sent earlier.
                return record.retransmitted.then_some(false);
            }
            let due = record.sent_at + patience;
            if due <= now {
                return Some(true);
            }
            next = next.min(due);
            Some(false)
        });
        (count, next)
    }
}
