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
    /// The acknowledgement number that came last, and how often it came again.
    last_ack: Option<(i32, u32)>,
    script: StreamScript,
    sends: Content,
    receives: Content,
    read_at: Time,
    /// When the latest own turn began.
    turn_at: Time,
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
    pub(super) fn note_first_ack(&mut self, ack: i32) {
        self.last_ack.get_or_insert((ack, 0));
    }

    /// Notes an acknowledgement number; how often it came before without a break. Older ones that
    /// were overtaken, and those of what was never sent, are none to the stack, and so no break.
    pub(super) fn repeats_of_ack(&mut self, ack: i32) -> u32 {
        let Some((last, repeats)) = &mut self.last_ack else { return 0 };
        match ack.wrapping_sub(*last) {
            0 => *repeats = repeats.saturating_add(1),
            1..NEVER_SENT => (*last, *repeats) = (ack, 0),
            _ => return 0,
        }
        *repeats
    }

    /// The acknowledgement number that came last; `None` before the connection is there.
    pub(super) fn last_ack(&self) -> Option<i32> {
        self.last_ack.map(|(ack, _)| ack)
    }

    /// The peer's reset has just closed the socket.
    pub(super) fn was_reset(&mut self, now: Time) {
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
        let mut quota = match self.script.read {
            Read::Slow { bytes, interval_ns } => {
                self.read_at = now + interval_ns;
                bytes
            }
            _ => u64::MAX,
        };
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
