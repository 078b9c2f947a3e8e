//! Segments to the host: what is due, in the order in which it matters.

use super::connection::{AckDebt, Connection, Phase};
use super::interface::{Emit, Transmitted};
use super::segment::{
    Flags, SACK_BLOCKS_MAX, SACK_BLOCKS_WITH_TIMESTAMPS, SackBlock, Segment, Timestamps,
};
use super::send_queue::Payload;
use super::sender::{Recovery, TailProbe};
use super::sequence::{FIRST_BYTE, Position, offset_of, position_at, sequence_at};
use super::timer::Timer;
use crate::frame::Frame;
use crate::time::{SECOND_NS, Time};

/// Times a RST is sent.
const RESETS: u8 = 3;
/// Time between the first two of them; it doubles.
const RESET_INTERVAL_NS: u64 = SECOND_NS / 10;

/// No frame could be had: nothing has changed.
struct NoFrame;

impl<F: Frame> Connection<F> {
    /// Sends everything that may be sent now.
    pub fn transmit(&mut self, now: Time, out: &mut impl Emit) -> Transmitted {
        match self.transmit_due(now, out) {
            Ok(()) => Transmitted::Done,
            Err(NoFrame) => Transmitted::Blocked,
        }
    }

    fn transmit_due(&mut self, now: Time, out: &mut impl Emit) -> Result<(), NoFrame> {
        self.send_stray_reset(out)?;
        match self.phase {
            Phase::Held | Phase::Closed => Ok(()),
            Phase::SynSent => self.send_syn(now, out),
            Phase::SynReceived => {
                self.send_syn(now, out)?;
                self.send_acks(now, out)
            }
            Phase::Resetting => self.send_reset(now, out),
            Phase::TimeWait => self.send_acks(now, out),
            Phase::Synchronized => {
                let sent = self.transmit_data(now, out);
                self.arm(now);
                sent?;
                self.send_keepalive(now, out)?;
                self.send_acks(now, out)
            }
        }
    }

    fn transmit_data(&mut self, now: Time, out: &mut impl Emit) -> Result<(), NoFrame> {
        self.send_window_probe(now, out)?;
        if self.send.window_probe.is_some() {
            return Ok(());
        }
        self.send.window_limited = false;
        if self.retransmit_lost(now, out)? {
            self.send_new(now, out)?;
        }
        self.send_tail_probe(now, out)
    }

    /// RFC 9293 3.10.7.3 and 3.10.7.4: a segment that cannot be ours is answered with a RST that
    /// has its acknowledgement number.
    fn send_stray_reset(&mut self, out: &mut impl Emit) -> Result<(), NoFrame> {
        let Some(seq) = self.due.stray_reset else { return Ok(()) };
        let reset = Segment { seq, flags: Flags::RST, ..Segment::default() };
        emit(out, &reset, Payload::EMPTY)?;
        self.due.stray_reset = None;
        Ok(())
    }

    fn send_syn(&mut self, now: Time, out: &mut impl Emit) -> Result<(), NoFrame> {
        if !self.due.syn {
            return Ok(());
        }
        let answer = self.phase == Phase::SynReceived;
        let flags = if answer { Flags::SYN.with(Flags::ACK) } else { Flags::SYN };
        let mut syn = self.header(now, flags, 0);
        let options = &mut syn.options;
        options.mss = Some(self.config.mss);
        if answer {
            options.window_scale = self.host.window_scale.map(|_| self.config.window_scale());
            options.sack_permitted = self.send.sack;
        } else {
            options.window_scale = Some(self.config.window_scale());
            options.sack_permitted = self.config.sack;
            if self.config.timestamps {
                options.timestamps = Some(Timestamps { value: self.timestamp(now), echo: 0 });
            }
        }
        // RFC 7323 2.2: not scaled.
        let next = self.receive.next.max(FIRST_BYTE);
        let offer = self.receive.limit.min(next + u64::from(self.config.receive_window_max));
        let window = offer.saturating_sub(next).min(u64::from(u16::MAX));
        syn.window = u16::try_from(window).unwrap_or(u16::MAX);
        emit(out, &syn, Payload::EMPTY)?;
        self.receive.edge = self.receive.edge.max(next + window);
        self.due.syn = false;
        self.send.next = FIRST_BYTE;
        self.send.highest = FIRST_BYTE;
        self.send.sent_at = now;
        self.attempts = self.attempts.saturating_add(1);
        self.note_unanswered(now);
        self.timers.set_if_idle(Timer::Retransmit, now + self.send.rtt.timeout_ns(&self.config));
        Ok(())
    }

    /// A RST that the host must believe: with the number it expects if everything arrived, and
    /// with the one it expects if nothing did (RFC 5961 3.2 asks for an exact match).
    fn send_reset(&mut self, now: Time, out: &mut impl Emit) -> Result<(), NoFrame> {
        if !self.due.reset {
            return Ok(());
        }
        let first = if self.send.highest == 0 {
            // RFC 9293 3.10.7.1, the answer to a SYN.
            let mut refusal = self.header(now, Flags::RST.with(Flags::ACK), 0);
            refusal.seq = 0;
            refusal
        } else if self.active && self.receive.next == 0 {
            // Nothing was heard of the host: there is nothing to acknowledge.
            self.header(now, Flags::RST, self.send.next)
        } else {
            self.header(now, Flags::RST.with(Flags::ACK), self.send.highest)
        };
        emit(out, &first, Payload::EMPTY)?;
        if self.send.unacknowledged != self.send.highest && self.send.unacknowledged > 0 {
            let second = self.header(now, Flags::RST.with(Flags::ACK), self.send.unacknowledged);
            // The first is out; a missing frame for this one is made good by the repetition.
            let _ = out.emit(&second, Payload::EMPTY);
        }
        self.due.reset = false;
        self.attempts = self.attempts.saturating_add(1);
        let wait_ns = RESET_INTERVAL_NS << self.attempts.min(RESETS);
        self.timers.set(Timer::Retransmit, now + wait_ns);
        Ok(())
    }

    /// The repetition of a RST is due, or the last one has had its time.
    pub(super) fn reset_timeout(&mut self) {
        if self.attempts >= RESETS {
            self.abandon();
        } else {
            self.due.reset = true;
        }
    }

    /// Sends lost segments again, as the windows allow; true when none remains.
    fn retransmit_lost(&mut self, now: Time, out: &mut impl Emit) -> Result<bool, NoFrame> {
        while let Some((index, mut record)) = self.send.board.first_lost() {
            let full = self.full_record(record.start);
            if record.len > full {
                self.send.board.split(index, full);
                record.len = full;
            }
            let in_flight = self.send.board.in_flight();
            let head = record.start == self.send.unacknowledged;
            let at_once = std::mem::take(&mut self.send.repair_at_once) || in_flight == 0;
            if !at_once && in_flight + u64::from(record.len) > self.send.congestion.window() {
                self.send.window_limited = true;
                return Ok(false);
            }
            if !head && record.end() > self.send.window_edge {
                return Ok(false);
            }
            if let Err(NoFrame) = self.send_range(now, record.start, record.len, None, out) {
                self.send.repair_at_once |= at_once;
                return Err(NoFrame);
            }
            self.send.board.resent(index, now);
            self.totals.retransmitted_segments =
                self.totals.retransmitted_segments.saturating_add(1);
            let stamp_now = self.timestamp(now);
            if let Recovery::Timeout { stamp: stamp @ None, .. } = &mut self.send.recovery
                && self.timestamps
                && self.send.rtt.backoff == 1
                && head
            {
                *stamp = Some(stamp_now);
            }
        }
        Ok(true)
    }

    /// Sequence space of a full segment from `start`: a FIN rides on the last bytes for free.
    fn full_record(&self, start: Position) -> u32 {
        let full = u32::from(self.send.segment);
        let ends = self.send.fin_position().is_some_and(|fin| start + u64::from(full) == fin);
        full + u32::from(ends)
    }

    /// Sends what has not been sent, in whole segments unless it is the last that is there.
    fn send_new(&mut self, now: Time, out: &mut impl Emit) -> Result<(), NoFrame> {
        while let Some(len) = self.next_new(now) {
            let run = self.run_from(len, out.run_bytes_max());
            if run < 2 || !self.send_run(now, run, out) {
                self.send_first_time(now, len, out)?;
            }
        }
        Ok(())
    }

    /// How many segments a run may have whose first has `len`: as many as would go out now if they
    /// were sent one by one, as long as they are full and have no FIN.
    fn run_from(&self, len: u32, bytes_max: u32) -> u64 {
        let send = &self.send;
        let full = u64::from(send.segment);
        if u64::from(len) != full {
            return 1;
        }
        let bytes_end = position_at(send.queue.contiguous_end());
        let most = bytes_end
            .min(send.window_edge)
            .saturating_sub(send.next)
            .min(send.congestion.window().saturating_sub(send.board.in_flight()))
            .min(u64::from(bytes_max));
        let count = most / full;
        let ends = send.fin_position().is_some_and(|fin| send.next + count * full == fin);
        count.saturating_sub(u64::from(ends))
    }

    /// Sends so many full segments for the first time as one that a device cuts; false, and nothing
    /// has changed, when that cannot be.
    fn send_run(&mut self, now: Time, count: u64, out: &mut impl Emit) -> bool {
        let (start, size) = (self.send.next, self.send.segment);
        let Ok(len) = u32::try_from(count * u64::from(size)) else { return false };
        if self.send_range(now, start, len, Some(size), out).is_err() {
            return false;
        }
        self.sent_first_time(now, len, size.into());
        true
    }

    /// Length in sequence space of the next new segment that may go out now.
    fn next_new(&mut self, now: Time) -> Option<u32> {
        let send = &mut self.send;
        let available = send.available_end().checked_sub(send.next).filter(|&n| n > 0)?;
        if send.board.is_empty()
            && now.since_ns(send.sent_at) > send.rtt.timeout_base_ns(&self.config)
        {
            send.congestion.restart(self.config.initial_window_segments);
        }
        let window = send.window_edge.checked_sub(send.next).filter(|&n| n > 0)?;
        let full = u64::from(self.full_record(self.send.next));
        let send = &mut self.send;
        let whole = available.min(full);
        let len = whole.min(window);
        // RFC 9293 3.8.6.2.1: no silly segment because of a silly window.
        if len < whole && len < send.window_max / 2 {
            return None;
        }
        let in_flight = send.board.in_flight();
        if in_flight > 0 && in_flight + len > send.congestion.window() {
            send.window_limited = true;
            return None;
        }
        u32::try_from(len).ok()
    }

    fn send_first_time(&mut self, now: Time, len: u32, out: &mut impl Emit) -> Result<(), NoFrame> {
        self.send_range(now, self.send.next, len, None, out)?;
        self.sent_first_time(now, len, len);
        Ok(())
    }

    /// `len` from SND.NXT on has been sent, in segments of `size`.
    fn sent_first_time(&mut self, now: Time, len: u32, size: u32) {
        if self.send.board.is_empty() {
            self.send.progress_at = now;
        }
        for _ in 0..len / size.max(1) {
            self.send.board.push(self.send.next, size, now);
            self.send.next += u64::from(size);
        }
        self.send.highest = self.send.highest.max(self.send.next);
        self.send.sent_at = now;
        self.timers.stop(Timer::TailProbe);
        self.arm_tail_probe(now);
    }

    /// Sends positions `start..start + len`, the FIN included when it is among them; as a run of
    /// segments with so many bytes each, or as one.
    fn send_range(
        &mut self,
        now: Time,
        start: Position,
        len: u32,
        run: Option<u16>,
        out: &mut impl Emit,
    ) -> Result<(), NoFrame> {
        let end = start + u64::from(len);
        let fin = self.send.fin_position().is_some_and(|fin| end > fin);
        let payload_len = len - u32::from(fin);
        let mut flags = Flags::ACK;
        if fin {
            flags = flags.with(Flags::FIN);
        }
        if payload_len > 0 && end >= self.send.available_end() {
            flags = flags.with(Flags::PSH);
        }
        let mut segment = self.header(now, flags, start);
        segment.payload_len = payload_len;
        let told = self.set_window(&mut segment);
        let payload = self.send.queue.range(offset_of(start), payload_len);
        let sent = match run {
            Some(size) => out.emit_run(&segment, payload, size),
            None => out.emit(&segment, payload),
        };
        if !sent {
            return Err(NoFrame);
        }
        self.acknowledged_by(told, false);
        self.note_unanswered(now);
        Ok(())
    }

    /// Writes the window; returns the right edge it tells.
    fn set_window(&self, segment: &mut Segment) -> Position {
        let (window, told) = self.receive.window_field(self.offer(), self.receive.scale);
        segment.window = window;
        told
    }

    /// A segment with our acknowledgement went out; `complete`: with SACK blocks, if any.
    fn acknowledged_by(&mut self, told: Position, complete: bool) {
        if !complete && (self.receive.held_frames() > 0 || self.receive.has_duplicate()) {
            return;
        }
        self.receive.acknowledgement_sent(told);
        self.ack = AckDebt::None;
        self.timers.stop(Timer::DelayedAck);
    }

    fn note_unanswered(&mut self, now: Time) {
        self.unanswered_since = self.unanswered_since.min(now);
    }

    /// RFC 8985 7.3: the tail is silent; a new segment or the last one again asks for an answer.
    fn send_tail_probe(&mut self, now: Time, out: &mut impl Emit) -> Result<(), NoFrame> {
        if !self.due.tail_probe {
            return Ok(());
        }
        // Beyond a window that shrank there is no use in asking.
        let edge = self.send.window_edge;
        let Some(last) = self.send.board.last().filter(|last| last.end() <= edge) else {
            self.due.tail_probe = false;
            return Ok(());
        };
        let full = u64::from(self.full_record(self.send.next));
        let room = self.send.window_edge.saturating_sub(self.send.next);
        let new = (self.send.available_end() - self.send.next).min(full);
        let retransmission = new == 0 || room < new;
        if retransmission {
            self.send_range(now, last.start, last.len, None, out)?;
            let index = self.send.board.len() - 1;
            self.send.board.resent(index, now);
            self.totals.retransmitted_segments =
                self.totals.retransmitted_segments.saturating_add(1);
        } else {
            let len = u32::try_from(new).unwrap_or(u32::MAX);
            self.send_first_time(now, len, out)?;
        }
        self.due.tail_probe = false;
        self.totals.tail_probes = self.totals.tail_probes.saturating_add(1);
        self.send.tail_probe = Some(TailProbe { end: self.send.next, retransmission });
        self.timers.stop(Timer::TailProbe);
        self.timers.stop(Timer::Retransmit);
        Ok(())
    }

    /// RFC 9293 3.8.6.1: one octet (or the FIN) beyond a closed window.
    fn send_window_probe(&mut self, now: Time, out: &mut impl Emit) -> Result<(), NoFrame> {
        if !self.due.window_probe {
            return Ok(());
        }
        if self.send.window_probe.is_some() {
            let Some(record) = self.send.board.last() else { return Ok(()) };
            self.send_range(now, record.start, record.len, None, out)?;
            let index = self.send.board.len() - 1;
            self.send.board.resent(index, now);
        } else if self.send.board.is_empty() && self.send.has_unsent() {
            let start = self.send.next;
            let room = u32::try_from(self.send.window_edge.saturating_sub(start));
            // RFC 9293 3.8.6.2.1 (4): a window that is only silly has waited long enough.
            self.send_first_time(now, room.unwrap_or(u32::MAX).max(1), out)?;
            self.send.window_probe = Some(start).filter(|&start| start >= self.send.window_edge);
        } else {
            self.due.window_probe = false;
            return Ok(());
        }
        self.timers.stop(Timer::TailProbe);
        self.due.window_probe = false;
        self.totals.window_probes = self.totals.window_probes.saturating_add(1);
        Ok(())
    }

    /// RFC 9293 3.8.4: a number that the host has acknowledged, so it must answer.
    fn send_keepalive(&mut self, now: Time, out: &mut impl Emit) -> Result<(), NoFrame> {
        if !self.due.keepalive {
            return Ok(());
        }
        let mut probe = self.header(now, Flags::ACK, self.send.next - 1);
        self.set_window(&mut probe);
        emit(out, &probe, Payload::EMPTY)?;
        self.due.keepalive = false;
        self.attempts = self.attempts.saturating_add(1);
        self.note_unanswered(now);
        Ok(())
    }

    fn send_acks(&mut self, now: Time, out: &mut impl Emit) -> Result<(), NoFrame> {
        while self.ack == AckDebt::Now || self.due.duplicate_acks > 0 {
            // Linux and others drop an acknowledgement from beyond their window.
            let position = self.send.next.min(self.send.window_edge.max(self.send.unacknowledged));
            let mut ack = self.header(now, Flags::ACK, position);
            let told = self.set_window(&mut ack);
            self.add_sack_blocks(&mut ack);
            emit(out, &ack, Payload::EMPTY)?;
            self.acknowledged_by(told, true);
            self.due.duplicate_acks = self.due.duplicate_acks.saturating_sub(1);
        }
        Ok(())
    }

    fn add_sack_blocks(&self, ack: &mut Segment) {
        if !self.send.sack {
            return;
        }
        let max = if self.timestamps { SACK_BLOCKS_WITH_TIMESTAMPS } else { SACK_BLOCKS_MAX };
        let initial = self.receive.initial;
        self.receive.sack_blocks(max, |start, end| {
            let block =
                SackBlock { start: sequence_at(initial, start), end: sequence_at(initial, end) };
            ack.options.sack.push(block);
        });
    }

    /// Arms the timers that what is in flight, or cannot be sent, asks for.
    pub(super) fn arm(&mut self, now: Time) {
        let send = &self.send;
        let timeout_ns = send.rtt.timeout_ns(&self.config);
        if send.board.is_empty() {
            self.timers.stop(Timer::Retransmit);
            self.timers.stop(Timer::TailProbe);
            self.timers.stop(Timer::Reorder);
            if send.has_unsent() && !self.window_is_open() {
                self.timers.set_if_idle(Timer::Persist, now + timeout_ns);
            } else {
                self.timers.stop(Timer::Persist);
                let rests_at = self.rests_at();
                if self.has_spare_memory() {
                    self.timers.set_if_idle(Timer::Release, now + self.config.idle_release_ns);
                } else if self.may_rest_soon() && rests_at > now {
                    self.timers.set_if_idle(Timer::Release, rests_at);
                }
            }
        } else if send.window_probe.is_some() {
            self.timers.stop(Timer::Retransmit);
            self.timers.set_if_idle(Timer::Persist, now + timeout_ns);
        } else {
            self.timers.stop(Timer::Persist);
            let delay_ns = if send.rtt.backoff == 0 { self.host_ack_delay_ns() } else { 0 };
            self.timers.set_if_idle(Timer::Retransmit, now + (timeout_ns + delay_ns));
            self.arm_tail_probe(now);
        }
    }

    /// How long the host may sit on its acknowledgement of what is in flight: it need not hurry for
    /// less than two full segments (RFC 5681 4.2).
    fn host_ack_delay_ns(&self) -> u64 {
        let two = 2 * u64::from(self.send.segment);
        if self.send.board.in_flight() < two { self.config.host_ack_delay_ns } else { 0 }
    }

    /// Whether the host's window lets something be sent that is there.
    fn window_is_open(&self) -> bool {
        let send = &self.send;
        let window = send.window_edge.saturating_sub(send.next);
        let whole = (send.available_end() - send.next).min(u64::from(send.segment));
        window > 0 && (window >= whole || window >= send.window_max / 2)
    }

    /// RFC 8985 7.2: counted from the latest new segment or acknowledgement.
    fn arm_tail_probe(&mut self, now: Time) {
        let send = &self.send;
        let wanted = send.sack
            && send.recovery == Recovery::None
            && send.tail_probe.is_none()
            && send.board.sacked_count() == 0
            && !send.board.is_empty()
            && !self.due.tail_probe;
        if !wanted {
            return;
        }
        let mut wait_ns = match send.rtt.smoothed_ns {
            0 => self.config.rto_initial_ns,
            smoothed_ns => (2 * smoothed_ns).max(self.config.probe_timeout_min_ns),
        };
        wait_ns += self.host_ack_delay_ns();
        self.timers.set_if_idle(Timer::TailProbe, now + wait_ns);
    }
}

fn emit(out: &mut impl Emit, segment: &Segment, payload: Payload<'_>) -> Result<(), NoFrame> {
    if out.emit(segment, payload) { Ok(()) } else { Err(NoFrame) }
}
