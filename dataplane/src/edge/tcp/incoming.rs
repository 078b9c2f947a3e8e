//! Segments from the host: the checks of RFC 9293 3.10.7 with those of RFC 5961 and RFC 7323.

use super::connection::{ASKED_NS, AckDebt, Connection, Phase};
use super::interface::{Disposition, Upward};
use super::receiver::{HostFin, Taken};
use super::segment::{Flags, SACK_BLOCKS_MAX, Segment};
use super::sender::{Acked, Acknowledgement};
use super::sequence::{FIRST_BYTE, Position, before, offset_of, position_of};
use super::timer::Timer;
use crate::frame::Frame;
use crate::packet_driver::reset::ResetCause;
use crate::time::{SECOND_NS, Time};

/// A timestamp older than this says nothing about order any more (RFC 7323 5.5).
const STAMP_LIFETIME_NS: u64 = 24 * 24 * 3600 * SECOND_NS;
/// Duplicate acknowledgements owed at once to a host that counts them.
const DUPLICATE_ACKS_MAX: u8 = 8;

impl<F: Frame> Connection<F> {
    /// Takes a segment from the host with the frame that it came in.
    pub fn segment(
        &mut self,
        now: Time,
        segment: &Segment,
        frame: F,
        up: &mut impl Upward<F>,
    ) -> Disposition {
        let disposition = match self.phase {
            Phase::Held => self.in_held(now, segment, up),
            Phase::SynSent => self.in_syn_sent(now, segment, up),
            Phase::SynReceived | Phase::Synchronized => {
                self.in_synchronized(now, segment, frame, up)
            }
            Phase::Resetting => self.in_resetting(now, segment),
            Phase::TimeWait => {
                self.ack = AckDebt::Now;
                Disposition::Duplicate
            }
            Phase::Closed => Disposition::Closed,
        };
        if disposition == Disposition::Duplicate {
            self.totals.duplicates = self.totals.duplicates.saturating_add(1);
        }
        disposition
    }

    /// The host's SYN is with the far side: it may come again, or be taken back.
    fn in_held(&mut self, now: Time, segment: &Segment, up: &mut impl Upward<F>) -> Disposition {
        let flags = segment.flags;
        if flags.has(Flags::RST) {
            if segment.seq == self.receive.initial.wrapping_add(1) {
                self.end(ResetCause::Host, up);
                return Disposition::Taken;
            }
            return Disposition::OutOfWindow;
        }
        if !flags.has(Flags::SYN) || flags.has(Flags::ACK) {
            return Disposition::Unexpected;
        }
        if segment.seq == self.receive.initial {
            return Disposition::Duplicate;
        }
        // A new attempt from the same port: nothing has been sent, so it replaces the old one.
        self.take_syn(now, segment);
        Disposition::Taken
    }

    /// RFC 9293 3.10.7.3.
    fn in_syn_sent(
        &mut self,
        now: Time,
        segment: &Segment,
        up: &mut impl Upward<F>,
    ) -> Disposition {
        let flags = segment.flags;
        let acknowledged = flags.has(Flags::ACK);
        let expected = self.send.initial.wrapping_add(1);
        if acknowledged && segment.ack != expected {
            if !flags.has(Flags::RST) {
                self.due.stray_reset = Some(segment.ack);
            }
            return Disposition::UnacceptableAck;
        }
        if flags.has(Flags::RST) {
            if !acknowledged {
                return Disposition::Unexpected;
            }
            self.end(ResetCause::Host, up);
            return Disposition::Taken;
        }
        if !flags.has(Flags::SYN) {
            return Disposition::Unexpected;
        }
        self.take_syn(now, segment);
        self.heard(now);
        if acknowledged {
            self.ack = AckDebt::Now;
            self.establish(now, up);
        } else {
            // Simultaneous open.
            self.phase = Phase::SynReceived;
            self.due.syn = true;
        }
        Disposition::Taken
    }

    fn establish(&mut self, now: Time, up: &mut impl Upward<F>) {
        // Karn: a sample only if the SYN was sent once.
        if self.attempts <= 1 && self.send.sent_at != Time::ZERO {
            let rtt_ns = now.since_ns(self.send.sent_at);
            self.send.rtt.sample(rtt_ns, rtt_ns);
        }
        self.phase = Phase::Synchronized;
        self.attempts = 0;
        self.due.syn = false;
        self.send.established(now);
        self.timers.stop(Timer::Retransmit);
        if let Some(idle_ns) = self.config.keepalive_idle_ns {
            self.timers.set(Timer::Keepalive, now + idle_ns);
        }
        if self.active {
            up.established(&self.host);
        }
    }

    /// A reset is on its way: it is repeated to whoever shows that it has not arrived.
    fn in_resetting(&mut self, now: Time, segment: &Segment) -> Disposition {
        let flags = segment.flags;
        if flags.has(Flags::RST) {
            self.abandon();
            return Disposition::Taken;
        }
        if flags.has(Flags::SYN) && segment.seq != self.receive.initial {
            self.abandon();
            return Disposition::Closed;
        }
        if flags.has(Flags::ACK) {
            // RFC 9293 3.10.7.1: exactly what the host expects, so it needs no second look.
            self.due.stray_reset = Some(segment.ack);
        } else {
            self.due.reset = true;
        }
        self.heard_at = now;
        Disposition::Duplicate
    }

    fn heard(&mut self, now: Time) {
        self.heard_at = now;
        self.unanswered_since = Time::NEVER;
        if self.phase == Phase::Synchronized {
            self.attempts = 0;
        }
    }

    /// RFC 9293 3.10.7.4: states from SYN-RECEIVED on.
    fn in_synchronized(
        &mut self,
        now: Time,
        segment: &Segment,
        frame: F,
        up: &mut impl Upward<F>,
    ) -> Disposition {
        let flags = segment.flags;
        let start = position_of(self.receive.initial, self.receive.next, segment.seq);
        if flags.has(Flags::RST) {
            return self.on_reset(now, start, up);
        }
        let Some(mut start) = start else { return self.unacceptable(now, segment) };
        if flags.has(Flags::SYN) {
            match self.on_syn(now, start, segment) {
                // The SYN of a SYN-ACK that completes a simultaneous open is known.
                None => start = FIRST_BYTE,
                Some(disposition) => return disposition,
            }
        }
        if let Some(disposition) = self.check_timestamps(now, segment) {
            return disposition;
        }
        if !self.acceptable(start, segment) {
            self.note_keepalive(now, start, segment, up);
            return self.unacceptable(now, segment);
        }
        if !flags.has(Flags::ACK) {
            return Disposition::Unexpected;
        }
        if let Some(disposition) = self.on_ack(now, start, segment, up) {
            return disposition;
        }
        self.heard(now);
        self.note_timestamp(now, start, segment);
        if self.phase != Phase::Synchronized {
            return Disposition::Taken;
        }
        if segment.payload_len == 0 && !flags.has(Flags::FIN) {
            return Disposition::Taken;
        }
        // The urgent pointer is for the far host: its bytes are in the stream like any other
        // (RFC 6093).
        let disposition = self.on_data(now, start, segment, frame, up);
        if flags.has(Flags::FIN) {
            self.on_fin(now, start + u64::from(segment.payload_len), up);
        }
        disposition
    }

    /// RFC 5961 3.2: only the exact sequence number resets; one in the window is challenged.
    fn on_reset(
        &mut self,
        now: Time,
        start: Option<Position>,
        up: &mut impl Upward<F>,
    ) -> Disposition {
        let Some(start) = start else { return Disposition::OutOfWindow };
        // Behind a FIN that we hold, the host's next number is the one behind the FIN.
        if start == self.receive.next || start == self.receive.expected() {
            self.end(ResetCause::Host, up);
            return Disposition::Taken;
        }
        if start > self.receive.next && start < self.receive.edge {
            self.challenge(now);
            return Disposition::Challenged;
        }
        Disposition::OutOfWindow
    }

    /// A SYN where none is due. `None`: go on with the rest of the segment.
    fn on_syn(&mut self, now: Time, start: Position, segment: &Segment) -> Option<Disposition> {
        if self.phase == Phase::SynReceived && start == 0 {
            let completes = segment.flags.has(Flags::ACK)
                && segment.ack == self.send.initial.wrapping_add(1)
                && segment.payload_len == 0;
            if completes {
                self.ack = AckDebt::Now;
                return None;
            }
            // Our SYN-ACK was lost.
            self.due.syn = true;
            return Some(Disposition::Duplicate);
        }
        // RFC 5961 4.2, and the answer to a SYN-ACK whose acknowledgement was lost.
        self.challenge(now);
        Some(Disposition::Challenged)
    }

    /// PAWS (RFC 7323 5.3, R1); `None`: nothing against the segment.
    fn check_timestamps(&mut self, now: Time, segment: &Segment) -> Option<Disposition> {
        if !self.timestamps {
            return None;
        }
        let Some(timestamps) = segment.options.timestamps else {
            return Some(Disposition::MissingTimestamp);
        };
        let age_ns = now.since_ns(self.receive.recent_stamp_at);
        if before(timestamps.value, self.receive.recent_stamp) && age_ns < STAMP_LIFETIME_NS {
            self.challenge(now);
            return Some(Disposition::OldTimestamp);
        }
        None
    }

    /// RFC 7323 4.3: the timestamp to echo is that of the segment that the last acknowledgement
    /// waited for.
    fn note_timestamp(&mut self, now: Time, start: Position, segment: &Segment) {
        let Some(timestamps) = segment.options.timestamps.filter(|_| self.timestamps) else {
            return;
        };
        if start <= self.receive.acknowledged
            && !before(timestamps.value, self.receive.recent_stamp)
        {
            self.receive.recent_stamp = timestamps.value;
            self.receive.recent_stamp_at = now;
        }
    }

    /// The four cases of RFC 9293 3.10.7.4, table 6, and two allowances: with a closed window the
    /// acknowledgement of a segment at its edge still counts; behind a FIN that we hold, the host
    /// goes on from the number behind it.
    fn acceptable(&self, start: Position, segment: &Segment) -> bool {
        let next = self.receive.next;
        let edge = self.receive.edge.max(self.receive.expected());
        let len = segment.payload_len + u32::from(segment.flags.has(Flags::FIN));
        if len == 0 {
            return start >= next && start <= edge;
        }
        start == next || (start < edge && start + u64::from(len) > next)
    }

    /// RFC 9293 3.8.4: the number before the next one, with one byte or none. It is answered like
    /// any other segment that is not acceptable.
    fn note_keepalive(
        &mut self,
        now: Time,
        start: Position,
        segment: &Segment,
        up: &mut impl Upward<F>,
    ) {
        let flags = segment.flags;
        let is_keepalive = start + 1 == self.receive.next
            && segment.payload_len <= 1
            && flags.has(Flags::ACK)
            && !flags.has(Flags::FIN);
        let is_due = self.asked_at.is_none_or(|at| now >= at + ASKED_NS);
        if is_keepalive && is_due && self.phase == Phase::Synchronized {
            self.asked_at = Some(now);
            up.asked();
        }
    }

    fn unacceptable(&mut self, now: Time, segment: &Segment) -> Disposition {
        if segment.payload_len > 1 || segment.flags.has(Flags::FIN) {
            // A retransmission whose acknowledgement was lost must be answered every time.
            self.ack = AckDebt::Now;
        } else {
            self.challenge(now);
        }
        Disposition::OutOfWindow
    }

    /// The acknowledgement and the window of a segment; `Some`: the segment goes no further.
    fn on_ack(
        &mut self,
        now: Time,
        start: Position,
        segment: &Segment,
        up: &mut impl Upward<F>,
    ) -> Option<Disposition> {
        let una = self.send.unacknowledged;
        let position = position_of(self.send.initial, una, segment.ack);
        if self.phase == Phase::SynReceived {
            if position != Some(FIRST_BYTE) {
                self.due.stray_reset = Some(segment.ack);
                return Some(Disposition::UnacceptableAck);
            }
            self.establish(now, up);
            self.take_window(start, FIRST_BYTE, segment);
            return None;
        }
        // RFC 5961 5.2.
        let acceptable = position.filter(|&position| {
            position <= self.send.highest && position + self.send.window_max >= una
        });
        let Some(position) = acceptable else {
            self.challenge(now);
            return Some(Disposition::UnacceptableAck);
        };
        if position < una {
            return None;
        }
        let window_moved = self.take_window(start, position, segment);
        let acked = self.take_acknowledgement(now, position, segment, window_moved);
        self.after_acknowledgement(now, acked, up);
        None
    }

    fn take_window(&mut self, start: Position, position: Position, segment: &Segment) -> bool {
        let window = u64::from(segment.window) << self.send.scale;
        self.send.update_window(start, position, window)
    }

    fn take_acknowledgement(
        &mut self,
        now: Time,
        position: Position,
        segment: &Segment,
        window_moved: bool,
    ) -> Acked {
        let mut sack = [(0, 0); SACK_BLOCKS_MAX];
        let mut count = 0;
        if self.send.sack {
            let una = self.send.unacknowledged;
            for block in segment.options.sack.as_slice() {
                let start = position_of(self.send.initial, una, block.start);
                let end = position_of(self.send.initial, una, block.end);
                // A block beyond what was sent is nonsense; one far below is a duplicate report.
                let range =
                    start.zip(end).filter(|&(start, end)| start < end && end <= self.send.highest);
                if let (Some(range), Some(slot)) = (range, sack.get_mut(count)) {
                    *slot = range;
                    count += 1;
                }
            }
        }
        let duplicate =
            position == self.send.unacknowledged && segment.sequence_len() == 0 && !window_moved;
        let ack = Acknowledgement {
            position,
            sack: sack.get(..count).unwrap_or(&[]),
            echo: segment.options.timestamps.map(|timestamps| timestamps.echo),
            duplicate,
        };
        self.send.acknowledge(now, &ack)
    }

    fn after_acknowledgement(&mut self, now: Time, acked: Acked, up: &mut impl Upward<F>) {
        self.send.end_window_probe();
        if self.send.window_edge > self.send.next && self.timers.get(Timer::Persist) != Time::NEVER
        {
            self.timers.stop(Timer::Persist);
            self.send.rtt.backoff = 0;
        }
        if !self.send.board.is_empty() {
            self.detect_losses(now);
        }
        if acked.advanced || self.send.repair_at_once {
            self.timers.stop(Timer::Retransmit);
            self.timers.stop(Timer::TailProbe);
        }
        if acked.advanced {
            up.acknowledged(self.acknowledged_offset());
        }
        if acked.fin {
            up.fin_acknowledged(self.acknowledged_offset());
            self.check_closed();
        }
        if self.phase == Phase::Synchronized {
            self.arm(now);
        }
    }

    /// The payload of an acceptable segment, cut to the window and to the end of the stream.
    fn on_data(
        &mut self,
        now: Time,
        start: Position,
        segment: &Segment,
        frame: F,
        up: &mut impl Upward<F>,
    ) -> Disposition {
        if segment.payload_len == 0 {
            return Disposition::Taken;
        }
        let end_max = self.receive.end().unwrap_or(Position::MAX).min(self.receive.edge);
        let end = (start + u64::from(segment.payload_len)).min(end_max);
        if end <= start {
            self.ack = AckDebt::Now;
            return Disposition::OutOfWindow;
        }
        let len = u32::try_from(end - start).unwrap_or(segment.payload_len);
        self.receive.largest_segment = self.receive.largest_segment.max(len);
        let gaps_before = self.receive.held_frames() > 0;
        let taken = self.receive.take(
            start,
            segment.payload_offset,
            len,
            frame,
            self.config.held_frames_max,
            |position, frame, from, len| up.data(offset_of(position), frame, from, len),
        );
        let quick = gaps_before || taken != Taken::InOrder || self.receive.has_duplicate();
        self.owe_ack(now, quick);
        match taken {
            Taken::InOrder => {
                self.check_fin(now, up);
                Disposition::Taken
            }
            Taken::Held => {
                self.totals.out_of_order = self.totals.out_of_order.saturating_add(1);
                self.owe_duplicate_ack();
                Disposition::Taken
            }
            Taken::Duplicate => Disposition::Duplicate,
            Taken::NoRoom => {
                self.owe_duplicate_ack();
                Disposition::NoRoom
            }
        }
    }

    /// RFC 5681 4.2: at once for anything out of order and for every second full segment, else
    /// after a short wait for company.
    fn owe_ack(&mut self, now: Time, quick: bool) {
        let pending = self.receive.next - self.receive.acknowledged;
        if quick || pending >= 2 * u64::from(self.receive.largest_segment) {
            self.ack = AckDebt::Now;
        } else if self.ack == AckDebt::None {
            self.ack = AckDebt::Delayed;
            self.timers.set_if_idle(Timer::DelayedAck, now + self.config.delayed_ack_ns);
        }
    }

    /// Segments of one burst share an acknowledgement; a host without SACK counts duplicates, so
    /// each segment behind a gap is worth one.
    fn owe_duplicate_ack(&mut self) {
        if !self.send.sack && self.due.duplicate_acks < DUPLICATE_ACKS_MAX {
            self.due.duplicate_acks += 1;
        }
    }

    fn on_fin(&mut self, now: Time, position: Position, up: &mut impl Upward<F>) {
        // A FIN needs no room: it may stand right at the edge of a closed window.
        if position <= self.receive.edge.max(self.receive.next) && self.receive.note_fin(position) {
            self.fin_in_order(now, up);
        }
        self.ack = AckDebt::Now;
    }

    fn check_fin(&mut self, now: Time, up: &mut impl Upward<F>) {
        if self.receive.fin_in_order() {
            self.fin_in_order(now, up);
        }
    }

    fn fin_in_order(&mut self, now: Time, up: &mut impl Upward<F>) {
        debug_assert!(matches!(self.receive.fin, HostFin::Held(_)));
        self.timers.set(Timer::FinHeld, now + self.config.fin_timeout_ns);
        self.ack = AckDebt::Now;
        up.fin(offset_of(self.receive.next));
    }
}
