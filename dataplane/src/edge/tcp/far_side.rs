//! What the far side does to a connection: its answer, its bytes, its end, its credit, its reset.

use super::connection::{ASKED_NS, AckDebt, Connection, Due, Phase};
use super::interface::{HostParameters, Upward};
use super::receiver::HostFin;
use super::send_queue::DeliverError;
use super::sequence::position_at;
use crate::frame::Frame;
use crate::packet_driver::{BufferPool, BufferSlice};
use crate::time::Time;

impl<F: Frame> Connection<F> {
    /// What the host's SYN said.
    #[must_use]
    pub fn host_parameters(&self) -> HostParameters {
        self.host
    }

    /// The far host has accepted: the SYN-ACK is due. Call [`Connection::set_receive_limit`]
    /// first, so that it offers a window.
    pub fn answer(&mut self, now: Time) {
        if self.phase == Phase::Held {
            self.phase = Phase::SynReceived;
            self.due.syn = true;
            self.heard_at = now;
        }
    }

    /// The far host asks whether this host is still there, so it has to answer: a host that has
    /// forgotten the connection does so with a reset. One that never answers is gone after as many
    /// keepalives as when it is silent by itself; questions that were held up on their way and come
    /// together are one.
    pub fn ask(&mut self, now: Time, up: &mut impl Upward<F>) {
        // What is in flight asks by itself.
        if self.phase != Phase::Synchronized || !self.send.board.is_empty() {
            return;
        }
        if self.host_asked_at.is_some_and(|at| now < at + ASKED_NS) {
            return;
        }
        if self.attempts >= self.config.keepalive_probes {
            self.give_up(now, up);
        } else {
            self.host_asked_at = Some(now);
            self.due.keepalive = true;
        }
    }

    /// Lets the far side deliver up to stream offset `offset`; never less than before.
    pub fn grant(&mut self, offset: u64) {
        self.send.granted = self.send.granted.max(offset);
    }

    /// Takes bytes of the far host's stream, in order or not; what is there already is left out.
    ///
    /// # Errors
    /// The peer broke the protocol on this flow; nothing was taken.
    pub fn deliver(&mut self, offset: u64, data: BufferSlice) -> Result<(), DeliverError> {
        self.deliver_to(offset, data, None)
    }

    /// The same, the bytes copied out of their buffer into chunks of the pool `keep` if there is
    /// one.
    ///
    /// # Errors
    /// As for [`Connection::deliver`].
    pub fn deliver_to(
        &mut self,
        offset: u64,
        data: BufferSlice,
        keep: Option<&BufferPool>,
    ) -> Result<(), DeliverError> {
        match self.phase {
            Phase::TimeWait | Phase::Resetting | Phase::Closed => {
                return Err(DeliverError::NotOpen);
            }
            Phase::Held | Phase::SynSent | Phase::SynReceived | Phase::Synchronized => {}
        }
        let end = offset.checked_add(data.len() as u64).ok_or(DeliverError::BeyondGrant)?;
        if end > self.send.granted {
            return Err(DeliverError::BeyondGrant);
        }
        if self.send.end.is_some_and(|last| end > last) {
            return Err(DeliverError::BeyondEnd);
        }
        self.send.queue.insert(offset, data, self.config.send_pieces_max, keep)
    }

    /// Copies what waits for the host out of the buffers that it came in; how many bytes.
    pub fn keep_all(&mut self, pool: &BufferPool) -> u64 {
        self.send.queue.keep_all(pool)
    }

    /// The far side gives back what it was granted from stream offset `offset` on; false when it
    /// has sent bytes from there.
    pub fn shrink_grant(&mut self, offset: u64) -> bool {
        let unused =
            self.send.queue.end() <= offset && self.send.end.is_none_or(|end| end <= offset);
        if unused {
            self.send.granted = self.send.granted.min(offset);
        }
        unused
    }

    /// The far host's stream ends at `offset`: our FIN follows the last byte.
    ///
    /// # Errors
    /// Bytes beyond `offset` are there, or another end was named before.
    pub fn deliver_fin(&mut self, offset: u64) -> Result<(), DeliverError> {
        if self.send.queue.end() > offset || self.send.end.is_some_and(|end| end != offset) {
            return Err(DeliverError::BeyondEnd);
        }
        self.send.end = Some(offset);
        Ok(())
    }

    /// The far host has acknowledged the FIN of our host: now we do.
    pub fn fin_acknowledged(&mut self) {
        if matches!(self.receive.fin, HostFin::Held(_)) {
            self.acknowledge_host_fin();
        }
    }

    /// The far edge holds every byte before our host's FIN: enough to acknowledge the FIN once it
    /// has waited for [`TcpConfig::fin_timeout_ns`].
    pub fn fin_stored(&mut self) {
        if !matches!(self.receive.fin, HostFin::Held(_)) {
            return;
        }
        self.fin_stored = true;
        if self.fin_expired {
            self.acknowledge_host_fin();
        }
    }

    /// Bytes below stream offset `offset` may be accepted from the host; never less than before.
    /// It decides the window that the host is offered.
    pub fn set_receive_limit(&mut self, offset: u64) {
        self.receive.limit = self.receive.limit.max(position_at(offset));
        if self.phase != Phase::Synchronized || self.receive.end().is_some() {
            return;
        }
        let edge = self.offer();
        let room = edge - self.receive.next;
        if edge > self.receive.edge && 2 * self.receive.window() <= room {
            self.ack = AckDebt::Now;
        }
    }

    /// The right edge that the next segment tells.
    pub(super) fn offer(&self) -> u64 {
        let segment = u64::from(self.config.mss);
        self.receive.edge_to_offer(u64::from(self.config.receive_window_max), segment)
    }

    /// Ends the connection with a RST to the host, which is repeated in case it is lost; queued
    /// bytes are discarded.
    pub fn reset(&mut self, now: Time) {
        match self.phase {
            Phase::Closed | Phase::TimeWait | Phase::Resetting => return,
            // Nothing that a host could know of has been sent.
            Phase::SynSent if self.attempts == 0 => {
                self.phase = Phase::Closed;
                self.forget();
                return;
            }
            _ => {}
        }
        self.forget();
        self.phase = Phase::Resetting;
        self.attempts = 0;
        self.due = Due { reset: true, ..Due::default() };
        self.ack = AckDebt::None;
        self.heard_at = now;
    }

    /// Ends the connection without a word to the host: silence stays silence.
    pub fn abandon(&mut self) {
        self.phase = Phase::Closed;
        self.due = Due::default();
        self.ack = AckDebt::None;
        self.forget();
    }
}
