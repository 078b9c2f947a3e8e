//! One end of a TCP connection, driven by its script.

use std::net::SocketAddr;

use dataplane::time::Time;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{RecvError, Socket, State};

use super::NEVER_SENT;
use super::script::{Close, Pace, Read, StreamScript};
use crate::check::{End, StreamReport};
use crate::content::Content;

pub(super) struct Stream {
    /// `None` once the socket is gone.
    pub(super) handle: Option<SocketHandle>,
    pub(super) report: StreamReport,
    /// The acknowledgement that came last.
    last_ack: Option<LastAck>,
    /// The sequence number behind all that the stack has sent.
    sent_end: Option<i32>,
    script: StreamScript,
    sends: Content,
    receives: Content,
    read_at: Time,
    /// When the latest own turn began.
    turn_at: Time,
}

/// An acknowledgement number that came, perhaps repeatedly.
pub(super) struct LastAck {
    number: i32,
    /// How often it came again.
    pub(super) repeats: u32,
    /// When the stack first took it.
    pub(super) taken_at: Option<Time>,
    /// The window that the stack was told with it last.
    pub(super) window: u16,
}

impl Stream {
    pub(super) fn new(
        handle: SocketHandle,
        local: SocketAddr,
        remote: SocketAddr,
        script: StreamScript,
        sends: Content,
        receives: Content,
    ) -> Self {
        Stream {
            handle: Some(handle),
            report: StreamReport::new(local, remote, script.send_bytes),
            last_ack: None,
            sent_end: None,
            script,
            sends,
            receives,
            read_at: Time::ZERO,
            turn_at: Time::ZERO,
        }
    }

    /// Does what the script allows now; whether the socket is done for good.
    pub(super) fn step(&mut self, now: Time, socket: &mut Socket<'_>) -> bool {
        let established = !matches!(
            socket.state(),
            State::Listen | State::SynSent | State::SynReceived | State::Closed
        );
        if established && self.report.connected_at.is_none() {
            self.report.connected_at = Some(now);
            if let Read::After { delay_ns } = self.script.read {
                self.read_at = now + delay_ns;
            }
        }
        if self.report.connected_at.is_some() {
            self.read(now, socket);
            self.note_exchange(now);
            self.send(socket);
            self.close(socket);
        }
        self.note_end(now, socket.state());
        socket.state() == State::Closed && self.report.end != End::Open
    }

    /// When the script wants to go on by itself.
    pub(super) fn next_time(&self, now: Time) -> Time {
        let waits = self.handle.is_some() && self.script.read != Read::Free && self.read_at > now;
        if waits && self.report.end_of_stream_at.is_none() { self.read_at } else { Time::NEVER }
    }

    /// Notes the first acknowledgement number that the stack has taken.
    pub(super) fn note_first_ack(&mut self, now: Time, number: i32, window: u16) {
        self.last_ack.get_or_insert(LastAck { number, repeats: 0, taken_at: Some(now), window });
    }

    /// Notes an acknowledgement number; what it is a repetition of, if so. Older ones that were
    /// overtaken, and those of what was never sent, are none to the stack, and so no break.
    pub(super) fn repeated_ack(&mut self, number: i32, window: u16) -> Option<&mut LastAck> {
        let last = self.last_ack.as_mut()?;
        match number.wrapping_sub(last.number) {
            0 => {
                last.repeats = last.repeats.saturating_add(1);
                return Some(last);
            }
            1..NEVER_SENT => *last = LastAck { number, repeats: 0, taken_at: None, window },
            _ => {}
        }
        None
    }

    /// Notes the sequence number behind a segment that the stack has sent.
    pub(super) fn note_sent(&mut self, end: i32) {
        if self.sent_end.is_none_or(|last| end.wrapping_sub(last) > 0) {
            self.sent_end = Some(end);
        }
    }

    /// Whether an acknowledgement that is new leaves some of what the stack has sent.
    pub(super) fn leaves_some(&self, ack: i32) -> bool {
        let is_new = self.last_ack().is_some_and(|last| ack.wrapping_sub(last) > 0);
        is_new && self.sent_end.is_some_and(|end| end.wrapping_sub(ack) > 0)
    }

    /// The stack has just freed what the acknowledgement that came last is for.
    pub(super) fn ack_was_taken(&mut self, now: Time) {
        if let Some(last) = &mut self.last_ack {
            last.taken_at.get_or_insert(now);
        }
    }

    /// The acknowledgement number that came last; `None` before the connection is there.
    pub(super) fn last_ack(&self) -> Option<i32> {
        self.last_ack.as_ref().map(|last| last.number)
    }

    /// The peer's reset has just closed the socket. What it holds was acknowledged, and can be
    /// read as before.
    pub(super) fn was_reset(&mut self, now: Time, socket: &mut Socket<'_>) {
        if self.report.end_of_stream_at.is_none() {
            self.read_up_to(u64::MAX, now, socket);
        }
        if self.report.end == End::Open {
            let closed = self.report.send_closed && self.report.end_of_stream_at.is_some();
            self.report.end = match self.report.connected_at {
                None => End::Refused,
                Some(_) if closed => End::ResetAfterClose,
                Some(_) => End::Reset,
            };
            self.report.ended_at = Some(now);
        }
    }

    fn read(&mut self, now: Time, socket: &mut Socket<'_>) {
        if self.report.end_of_stream_at.is_some() || now < self.read_at {
            return;
        }
        let quota = match self.script.read {
            Read::Slow { bytes, interval_ns } => {
                self.read_at = now + interval_ns;
                bytes
            }
            _ => u64::MAX,
        };
        self.read_up_to(quota, now, socket);
    }

    fn read_up_to(&mut self, mut quota: u64, now: Time, socket: &mut Socket<'_>) {
        loop {
            let offset = self.report.received_bytes;
            let (receives, limit) = (self.receives, quota);
            let read = socket.recv(|bytes| {
                let take = bytes.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
                (take, (take, receives.mismatch(offset, &bytes[..take])))
            });
            match read {
                Ok((0, _)) | Err(RecvError::InvalidState) => return,
                Ok((taken, mismatch)) => {
                    self.report.received_bytes += taken as u64;
                    quota -= taken as u64;
                    self.report.first_byte_at.get_or_insert(now);
                    self.report.mismatch_at = self.report.mismatch_at.or(mismatch);
                }
                Err(RecvError::Finished) => {
                    self.report.end_of_stream_at = Some(now);
                    return;
                }
            }
        }
    }

    /// Notes that the peer's turn is over; the next own one begins at once.
    fn note_exchange(&mut self, now: Time) {
        let Pace::Turns { peer_bytes, first: true, .. } = self.script.pace else { return };
        let report = &mut self.report;
        if report.sent_bytes == 0 {
            self.turn_at = now;
        }
        let over = report.received_bytes / peer_bytes.max(1);
        if over > report.exchanges_ns.len() as u64 {
            report.exchanges_ns.push(now.since_ns(self.turn_at));
            self.turn_at = now;
        }
    }

    fn send(&mut self, socket: &mut Socket<'_>) {
        let allowed = self.script.allowed_bytes(self.report.received_bytes);
        while self.report.sent_bytes < allowed && socket.can_send() {
            let (offset, sends) = (self.report.sent_bytes, self.sends);
            let left = usize::try_from(allowed - offset).unwrap_or(usize::MAX);
            let sent = socket.send(|room| {
                let len = room.len().min(left);
                sends.fill(offset, &mut room[..len]);
                (len, len)
            });
            match sent {
                Ok(len) if len > 0 => self.report.sent_bytes += len as u64,
                _ => return,
            }
        }
    }

    fn close(&mut self, socket: &mut Socket<'_>) {
        let report = &mut self.report;
        let all_sent = report.sent_bytes >= report.send_bytes;
        let due = match self.script.close {
            Close::AfterSending => all_sent,
            Close::AfterPeer => all_sent && report.end_of_stream_at.is_some(),
            Close::Abort { sent_bytes, received_bytes } => {
                let reached =
                    report.sent_bytes >= sent_bytes && report.received_bytes >= received_bytes;
                if reached && report.end == End::Open && socket.state() != State::Closed {
                    socket.abort();
                    report.end = End::Aborted;
                }
                false
            }
            Close::Never => false,
        };
        // In LAST-ACK the stack ignores every acknowledgement that repeats a former one: a window
        // that opens again is never seen, and what was lost before it shut is never sent again.
        let would_hang = socket.state() == State::CloseWait && socket.send_queue() > 0;
        if due && !would_hang && !report.send_closed {
            socket.close();
            report.send_closed = true;
        }
    }

    // A socket that closed without a reset did so in order: both directions are through.
    fn note_end(&mut self, now: Time, state: State) {
        if self.report.end == End::Aborted {
            self.report.ended_at.get_or_insert(now);
        }
        let over = matches!(state, State::TimeWait | State::Closed);
        let through = self.report.send_closed && self.report.end_of_stream_at.is_some();
        if self.report.end == End::Open && over && through {
            self.report.end = End::Orderly;
            self.report.ended_at = Some(now);
        }
    }
}
