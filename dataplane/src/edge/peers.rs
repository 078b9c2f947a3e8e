//! Peers that come and go while the edge runs.
//!
//! In: what the control thread says of a peer, after the data mover has closed its session. Out:
//! resets to hosts, room for another peer in the same place. Never: more than a portion of the
//! tables looked at in one call; a flow of a peer that has left, when another one has its place.

use std::net::IpAddr;
use std::ops::Range;

use super::EdgeCounter;
use super::stage::EdgeStage;
use crate::frame::Frame;
use crate::interceptor::owner::FIRST_EDGE;
use crate::interceptor::{Fallback, PeerStatus as Admission};
use crate::packet_driver::PeerIndex;
use crate::time::Time;

/// Places of connections looked at in one call, at most.
const CONNECTIONS_PER_CALL: u32 = 256;
/// Entries of the flow table looked at in one call, at most.
const FLOWS_PER_CALL: usize = 2_048;

/// How far an edge is with forgetting a peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forgetting {
    connections: u32,
    flows: usize,
}

impl<F: Frame> EdgeStage<F> {
    /// A peer comes, whose endpoint has this address, to a place where nobody is. Connections that are
    /// under way are none of ours: none was split with it.
    pub fn welcome(&mut self, peer: PeerIndex, endpoint: IpAddr, fallback: Fallback) {
        let index = usize::from(peer.0);
        if let (Some(place), Some(gone)) = (self.endpoints.get_mut(index), self.gone.get_mut(index))
        {
            *place = Some(endpoint).filter(|_| self.config.edge == FIRST_EDGE);
            *gone = false;
        }
        self.restarts.forget_peer(peer);
        self.change_admission(peer, |admission| {
            *admission = Admission { fallback, ..Admission::default() };
        });
        // The way is asked for at once.
        self.housekeeping_at = Time::ZERO;
    }

    /// Forgets a peer that leaves, a portion in each call: hosts with flows over it see a reset, its
    /// flows in packet mode are decided anew. True when nothing of it is left.
    pub fn forget_peer(&mut self, now: Time, peer: PeerIndex, done: &mut Forgetting) -> bool {
        let index = usize::from(peer.0);
        // What it said before is still on its way.
        if !self.gone.get(index).is_some_and(|gone| *gone) {
            return false;
        }
        if done.connections < self.config.connections {
            let portion = portion(&mut done.connections, CONNECTIONS_PER_CALL);
            for place in portion.start..portion.end.min(self.config.connections) {
                self.reset_flow_of(now, place, peer, false);
                self.orphan(place, peer);
            }
            return false;
        }
        let entries = done.flows..done.flows + FLOWS_PER_CALL;
        done.flows = entries.end;
        if self.interceptor.forget_datagrams_of(peer, entries) {
            return false;
        }
        let packets = self.waiting.discard(peer) as u64;
        self.counters.add(EdgeCounter::PacketsUnresolved, packets);
        self.restarts.forget_peer(peer);
        if let Some(endpoint) = self.endpoints.get_mut(index)
            && endpoint.take().is_some()
            && let Some(status) = self.peers.get(index)
        {
            status.set_next_hop(None);
        }
        // Until the rules are others, its fallback holds.
        self.change_admission(peer, |admission| {
            *admission = Admission { fallback: admission.fallback, ..Admission::default() };
        });
        true
    }

    /// The flow in this place, if there is still one over this peer, is nobody's: a host may have to
    /// be told of its reset for longer than its peer is remembered.
    fn orphan(&mut self, place: u32, peer: PeerIndex) {
        if let Some(flow) = self.table.get_mut(place)
            && flow.facts.peer == peer
        {
            flow.facts.peer = PeerIndex::NOBODY;
            self.interceptor.set_peer_of(flow.handle, PeerIndex::NOBODY);
        }
    }

    /// How many peers there is a session with.
    pub(super) fn peers_up(&self) -> usize {
        self.admission.iter().filter(|admission| admission.up).count()
    }
}

/// The next portion of a table.
fn portion(at: &mut u32, most: u32) -> Range<u32> {
    let start = *at;
    *at = start.saturating_add(most);
    start..*at
}
