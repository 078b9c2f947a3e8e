//! Peers that leave the data mover, and that come to it, while it runs.
//!
//! In: who leaves, the session of who comes, made on another thread. Out: the session of who has left,
//! to be dropped there. Never: a table laid out or given back here; a place with two peers.

use super::TransmitStage;
use crate::data_mover::{CloseReason, Session};
use crate::frame::Frame;
use crate::link::Dealt;
use crate::packet_driver::{Arrived, PeerIndex, SessionChange, SessionNumber};
use crate::pipeline::newcomer::Newcomer;
use crate::time::Time;

/// What each of so many peers has of the memory for incomplete buffers, in bytes.
pub(in crate::pipeline) fn share_of_reassembly(bytes: usize, peers: usize) -> u32 {
    u32::try_from(bytes / peers.max(1)).unwrap_or(u32::MAX)
}

impl<F: Frame> TransmitStage<F> {
    /// This peer leaves with the next turn: its session is closed, which it is told by the next
    /// datagrams, and all stages behind are told that nothing more comes.
    pub fn leave(&mut self, peer: PeerIndex) {
        if !self.leaving.contains(&peer) {
            self.leaving.push(peer);
        }
    }

    /// Takes a peer that leaves out, once all that it is to be told was sent; `None` until then.
    pub fn part(&mut self, peer: PeerIndex) -> Option<Session> {
        if self.leaving.contains(&peer) {
            return None;
        }
        let told = self.sessions.get_mut(peer)?.next_timeout() == Time::NEVER;
        if told { self.take_out(peer) } else { None }
    }

    /// Takes a peer out, whatever it was told.
    pub fn take_out(&mut self, peer: PeerIndex) -> Option<Session> {
        let session = self.sessions.remove(peer)?;
        let index = usize::from(peer.0);
        if let Some(place) = self.paths.get_mut(index) {
            *place = None;
        }
        if let Some(place) = self.found.get_mut(index) {
            *place = None;
        }
        if let (Some(status), Some(taken)) = (self.peers.get(index), self.taken.get(index)) {
            status.vacate(*taken);
        }
        self.share_memory();
        Some(session)
    }

    /// A peer comes, to a place that all stages have ready; it comes back while there is something
    /// on its way to who had the place before.
    ///
    /// # Errors
    /// The same peer.
    pub fn join(&mut self, newcomer: Box<Newcomer>) -> Result<(), Box<Newcomer>> {
        let index = usize::from(newcomer.peer.0);
        if self.sessions.get(newcomer.peer).is_some() || !self.sessions.has_heard_all() {
            return Err(newcomer);
        }
        let Newcomer { peer, path, session } = *newcomer;
        if let Some(place) = self.paths.get_mut(index) {
            *place = Some(path);
            self.sessions.insert(peer, path.destination, session);
        }
        self.share_memory();
        Ok(())
    }

    /// Each peer has an even share of the memory for incomplete buffers.
    fn share_memory(&mut self) {
        let Some(bytes) = self.reassembly_bytes else { return };
        let share = share_of_reassembly(bytes, self.sessions.count());
        for (_, session) in self.sessions.iter_mut() {
            session.set_reassembly_bytes_max(share);
        }
    }

    /// Closes the sessions of peers that leave, and tells those behind.
    pub(super) fn let_leave(&mut self, now: Time, arrived: &mut Dealt<Arrived>) -> bool {
        let mut busy = false;
        while arrived.room() > 0
            && let Some(peer) = self.leaving.pop()
        {
            busy = true;
            self.sessions.close(now, peer, CloseReason::Reconfigured);
            if let Some(status) = self.peers.get(usize::from(peer.0)) {
                status.set_session(SessionNumber::NONE);
            }
            let _ = arrived.push(Arrived::Session { peer, change: SessionChange::Gone });
        }
        busy
    }
}
