//! The sending half: what the host has acknowledged, what is lost, what it takes.
//!
//! In: acknowledgements, SACK blocks, windows. Out: records marked lost or gone, the congestion
//! window, what happened. Never: a segment built here.

use super::config::TcpConfig;
use super::congestion::Congestion;
use super::rack::Rack;
use super::rtt::Rtt;
use super::scoreboard::{Fate, Record, Scoreboard};
use super::send_queue::SendQueue;
use super::sequence::{FIRST_BYTE, Position, before, offset_of, position_at};
use crate::time::Time;

/// Duplicate acknowledgements that stand for a loss when the host has no SACK (RFC 5681 3.2).
pub(super) const DUPLICATE_ACKS: u8 = 3;

/// Whether a loss is being repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// No loss.
    None,
    /// After a loss that later segments revealed: until `until` is acknowledged.
    Fast {
        /// What had been sent when the loss was found.
        until: Position,
    },
    /// After a retransmission timeout.
    Timeout {
        /// What had been sent when the timer fired.
        until: Position,
        /// Timestamp of the first retransmission: an acknowledgement that echoes an older one was
        /// for the first transmission (RFC 3522).
        stamp: Option<u32>,
    },
}

/// A tail loss probe that is out (RFC 8985 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TailProbe {
    pub(super) end: Position,
    pub(super) retransmission: bool,
}

/// What an acknowledgement did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Acked {
    /// SND.UNA moved.
    pub(super) advanced: bool,
    /// Our FIN was acknowledged by it.
    pub(super) fin: bool,
}

/// What an acknowledgement says.
#[derive(Debug)]
pub(super) struct Acknowledgement<'a> {
    pub(super) position: Position,
    /// Blocks as positions, each a range.
    pub(super) sack: &'a [(Position, Position)],
    /// The timestamp of ours that it echoes.
    pub(super) echo: Option<u32>,
    /// It has neither data nor news: a duplicate by RFC 5681 section 2.
    pub(super) duplicate: bool,
}

/// The sending half of a connection.
#[derive(Debug)]
pub(super) struct Sender {
    /// Initial sequence number.
    pub(super) initial: u32,
    /// SND.UNA.
    pub(super) unacknowledged: Position,
    /// SND.NXT.
    pub(super) next: Position,
    /// The highest position ever sent; above `next` after a window probe was taken back.
    pub(super) highest: Position,
    /// The right edge of the host's window.
    pub(super) window_edge: Position,
    /// The largest window the host ever offered.
    pub(super) window_max: u64,
    /// SND.WL1 and SND.WL2.
    pub(super) window_sequence: Position,
    pub(super) window_acknowledgement: Position,
    /// Shift of the host's windows.
    pub(super) scale: u8,
    /// Payload bytes of a full segment.
    pub(super) segment: u16,
    /// Stream offset up to which the far side may deliver.
    pub(super) granted: u64,
    /// Stream offset at which the far host ended its stream.
    pub(super) end: Option<u64>,
    pub(super) fin_acknowledged: bool,
    /// Whether the host SACKs; else duplicate acknowledgements are counted.
    pub(super) sack: bool,
    pub(super) queue: SendQueue,
    pub(super) board: Scoreboard,
    pub(super) rack: Rack,
    pub(super) rtt: Rtt,
    pub(super) congestion: Congestion,
    pub(super) recovery: Recovery,
    pub(super) tail_probe: Option<TailProbe>,
    /// The window probe that is out.
    pub(super) window_probe: Option<Position>,
    /// The congestion window, not the data, ended the last burst.
    pub(super) window_limited: bool,
    /// The first retransmission of a recovery does not wait for room.
    pub(super) repair_at_once: bool,
    pub(super) duplicate_acks: u8,
    /// When data were last sent.
    pub(super) sent_at: Time,
    /// When the host last acknowledged something new, or had nothing to acknowledge.
    pub(super) progress_at: Time,
}

impl Sender {
    pub(super) fn new(initial: u32, config: &TcpConfig) -> Self {
        let segment = config.mss_default.min(config.mss);
        Sender {
            initial,
            unacknowledged: 0,
            next: 0,
            highest: 0,
            window_edge: 0,
            window_max: 0,
            window_sequence: 0,
            window_acknowledgement: 0,
            scale: 0,
            segment,
            granted: 0,
            end: None,
            fin_acknowledged: false,
            sack: false,
            queue: SendQueue::default(),
            board: Scoreboard::default(),
            rack: Rack::default(),
            rtt: Rtt::default(),
            congestion: Congestion::new(
                segment,
                config.initial_window_segments,
                config.send_window_max,
            ),
            recovery: Recovery::None,
            tail_probe: None,
            window_probe: None,
            window_limited: false,
            repair_at_once: false,
            duplicate_acks: 0,
            sent_at: Time::ZERO,
            progress_at: Time::ZERO,
        }
    }

    /// Position of our FIN, once the far host's stream has ended.
    pub(super) fn fin_position(&self) -> Option<Position> {
        self.end.map(position_at)
    }

    pub(super) fn fin_sent(&self) -> bool {
        self.fin_position().is_some_and(|fin| self.highest > fin)
    }

    /// The end of what could be sent now: contiguous bytes, and the FIN when it is next.
    pub(super) fn available_end(&self) -> Position {
        let bytes_end = position_at(self.queue.contiguous_end());
        match self.fin_position() {
            Some(fin) if fin == bytes_end => fin + 1,
            _ => bytes_end,
        }
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.available_end() > self.next
    }

    /// The SYN is acknowledged.
    pub(super) fn established(&mut self, now: Time) {
        self.unacknowledged = FIRST_BYTE;
        self.next = self.next.max(FIRST_BYTE);
        self.highest = self.highest.max(FIRST_BYTE);
        self.progress_at = now;
        self.rtt.backoff = 0;
    }

    /// Takes the window of a segment unless a later one has been seen (RFC 9293 3.10.7.4).
    pub(super) fn update_window(&mut self, sequence: Position, ack: Position, window: u64) -> bool {
        let newer = self.window_sequence < sequence
            || (self.window_sequence == sequence && self.window_acknowledgement <= ack);
        if !newer {
            return false;
        }
        self.window_sequence = sequence;
        self.window_acknowledgement = ack;
        let edge = ack + window;
        let moved = edge != self.window_edge;
        // A window that closed over what was in flight has opened: the host has dropped that.
        let closed = self.window_edge <= self.unacknowledged;
        if closed && edge > self.unacknowledged && self.window_probe.is_none() {
            self.resend_in_flight();
        }
        self.window_edge = edge;
        self.window_max = self.window_max.max(window);
        moved
    }

    fn resend_in_flight(&mut self) {
        if self.board.judge(|_| Some(true)) > 0 {
            self.repair_at_once = true;
            self.rtt.backoff = 0;
        }
    }

    /// Takes the probe of a closed window back once the window is open and the host has not kept
    /// the probe's byte: it is sent again with what follows.
    pub(super) fn end_window_probe(&mut self) {
        let Some(position) = self.window_probe else { return };
        if self.unacknowledged > position {
            self.window_probe = None;
        } else if self.window_edge > position {
            self.window_probe = None;
            self.board.unsend_last();
            self.next = position;
        }
    }

    /// Takes an acknowledgement between SND.UNA and the highest position sent.
    pub(super) fn acknowledge(&mut self, now: Time, ack: &Acknowledgement<'_>) -> Acked {
        let in_flight = self.board.in_flight();
        let advanced = ack.position > self.unacknowledged;
        let reported = self.note_duplicate_report(ack);
        self.deliver(now, ack, advanced);
        let mut acked = Acked { advanced, fin: false };
        if advanced {
            let bytes = ack.position - self.unacknowledged;
            self.unacknowledged = ack.position;
            self.next = self.next.max(ack.position);
            self.queue.acknowledge(offset_of(ack.position));
            acked.fin =
                !self.fin_acknowledged && self.fin_position().is_some_and(|fin| ack.position > fin);
            self.fin_acknowledged |= acked.fin;
            self.progress_at = now;
            self.rtt.backoff = 0;
            self.undo_if_spurious(ack);
            self.leave_recovery(ack.position);
            self.grow(bytes, in_flight, now);
        }
        self.check_tail_probe(ack, advanced, reported, in_flight);
        acked
    }

    fn grow(&mut self, bytes: u64, in_flight: u64, now: Time) {
        let slow_start = self.congestion.window() < self.congestion.threshold();
        let used = self.window_limited || (slow_start && in_flight * 2 >= self.congestion.window());
        if used && !matches!(self.recovery, Recovery::Fast { .. }) {
            self.congestion.acknowledged(bytes, now, &self.rtt);
        }
    }

    /// RFC 2883 section 4: the first block is below the acknowledgement or within the second.
    fn note_duplicate_report(&mut self, ack: &Acknowledgement<'_>) -> bool {
        let Some(&(start, end)) = ack.sack.first() else { return false };
        let reported = end <= ack.position
            || ack.sack.get(1).is_some_and(|outer| outer.0 <= start && end <= outer.1);
        if reported {
            self.rack.duplicate_reported(ack.position, self.next);
        }
        reported
    }

    fn deliver(&mut self, now: Time, ack: &Acknowledgement<'_>, advanced: bool) {
        let Sender { board, rack, rtt, .. } = self;
        let before_sample = *rtt;
        let mut oldest = Time::NEVER;
        let mut newest = Time::ZERO;
        let mut delivered = |record: &Record| {
            if !record.retransmitted {
                oldest = oldest.min(record.sent_at);
                newest = newest.max(record.sent_at);
            }
            rack.delivered(record, now, &before_sample);
        };
        // Without SACK, what duplicates stood for is no longer known once something is repaired.
        if advanced && !self.sack {
            board.forget_sacks();
            self.duplicate_acks = 0;
        }
        board.acknowledge(ack.position, &mut delivered);
        for &(start, end) in ack.sack {
            if start >= ack.position {
                board.sack(start, end, &mut delivered);
            }
        }
        if oldest != Time::NEVER {
            rtt.sample(now.since_ns(oldest), now.since_ns(newest));
        }
        if !self.sack && ack.duplicate && !board.is_empty() {
            self.count_duplicate(now);
        }
    }

    /// A duplicate acknowledgement from a host without SACK: some segment behind the first has
    /// arrived, as if SACKed.
    fn count_duplicate(&mut self, now: Time) {
        self.duplicate_acks = self.duplicate_acks.saturating_add(1);
        let arrived = self.board.records().skip(1).find(|record| record.fate == Fate::InFlight);
        if let Some(record) = arrived.copied() {
            let Sender { board, rack, rtt, .. } = self;
            board.sack(record.start, record.end(), |record| {
                rack.delivered(record, now, rtt);
            });
        }
    }

    /// The timer fired although nothing was lost: the acknowledgement is for what was sent before
    /// (RFC 3522, RFC 4015).
    fn undo_if_spurious(&mut self, ack: &Acknowledgement<'_>) {
        if let Recovery::Timeout { stamp: Some(stamp), .. } = self.recovery {
            if ack.echo.is_some_and(|echo| before(echo, stamp)) {
                self.congestion.undo();
                self.board.revive_lost();
                self.recovery = Recovery::None;
            } else {
                self.forget_stamp();
            }
        }
    }

    fn forget_stamp(&mut self) {
        if let Recovery::Timeout { stamp, .. } = &mut self.recovery {
            *stamp = None;
        }
    }

    fn leave_recovery(&mut self, ack: Position) {
        match self.recovery {
            Recovery::Fast { until } | Recovery::Timeout { until, .. } if ack >= until => {
                self.recovery = Recovery::None;
                self.rack.recovered();
            }
            // NewReno (RFC 6582): a partial acknowledgement points at the next loss.
            Recovery::Fast { .. } if !self.sack => {
                let head = self.unacknowledged;
                self.board.judge(|record| Some(record.start == head && !record.retransmitted));
            }
            _ => {}
        }
    }

    /// RFC 8985 7.4: a probe that repaired the loss of the tail has hidden a congestion event.
    fn check_tail_probe(
        &mut self,
        ack: &Acknowledgement<'_>,
        advanced: bool,
        reported: bool,
        in_flight: u64,
    ) {
        let Some(probe) = self.tail_probe else { return };
        if ack.position < probe.end {
            return;
        }
        let quiet = !advanced && ack.sack.is_empty();
        if !probe.retransmission || reported || quiet {
            self.tail_probe = None;
        } else if ack.position > probe.end {
            self.tail_probe = None;
            if self.recovery == Recovery::None {
                self.congestion.loss(in_flight, &self.rtt);
            }
        }
    }

    /// Marks what is lost by now and enters recovery if something is; returns how many segments,
    /// and when to look again.
    pub(super) fn detect_losses(&mut self, now: Time) -> (u32, Time) {
        let in_flight = self.board.in_flight();
        let recovering = self.recovery != Recovery::None;
        let (mut count, next) = self.rack.detect(&mut self.board, now, recovering, &self.rtt);
        if !self.sack && !recovering && self.duplicate_acks >= DUPLICATE_ACKS {
            let head = self.unacknowledged;
            count += self.board.judge(|record| (record.start == head).then_some(true));
        }
        if count > 0 && !recovering {
            self.recovery = Recovery::Fast { until: self.next };
            self.repair_at_once = true;
            self.congestion.loss(in_flight, &self.rtt);
        }
        (count, next)
    }

    /// The retransmission timer fired: all that is not SACKed counts as lost. SACKs are forgotten
    /// when the timer fires again without progress (RFC 2018 section 8).
    pub(super) fn timeout(&mut self) {
        let in_flight = self.board.in_flight() + self.board.lost();
        let again = self.rtt.backoff > 0;
        if again || !self.sack {
            self.board.forget_sacks();
        }
        self.rtt.backoff = self.rtt.backoff.saturating_add(1);
        self.congestion.timeout(in_flight, again);
        self.board.judge(|_| Some(true));
        self.recovery = Recovery::Timeout { until: self.next, stamp: None };
        self.repair_at_once = true;
        self.tail_probe = None;
        self.duplicate_acks = 0;
    }

    /// Lets go of everything.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.board.clear();
        self.window_probe = None;
        self.tail_probe = None;
    }
}
