//! What the edges may know of the aggregator: how far each flow and each peer have drained, and
//! how much more a peer's flows may hand over. Written by the aggregator's worker, read by any.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::PeerIndex;

/// However many flows share a backlog, each may have this many bytes queued.
pub const FLOW_SHARE_BYTES_MIN: u64 = 4096;

#[derive(Debug, Default)]
pub(super) struct PeerGauges {
    pub(super) queued_bytes: AtomicU64,
    pub(super) limit_bytes: AtomicU64,
    pub(super) flows: AtomicU64,
}

/// Gauges of an aggregator, as one edge sees them; clones share them.
#[derive(Clone, Debug)]
pub struct Backlog {
    drained_bytes: Arc<[AtomicU64]>,
    peers: Arc<[PeerGauges]>,
    /// Of each edge: for every peer, and then for all together.
    drained_messages: Arc<[AtomicU64]>,
    edges: usize,
    /// Slots of each edge, one edge's behind the other's.
    slots: u32,
    /// Places for messages of each edge.
    places: u64,
    /// Whose view it is.
    edge: usize,
}

impl Backlog {
    /// Of an aggregator with so many places for messages with data, shared out over the edges.
    pub(super) fn new(flows: usize, peers: usize, places: usize, edges: usize) -> Self {
        let edges = edges.max(1);
        Backlog {
            drained_bytes: (0..flows).map(|_| AtomicU64::new(0)).collect(),
            peers: (0..peers).map(|_| PeerGauges::default()).collect(),
            drained_messages: (0..edges * (peers + 1)).map(|_| AtomicU64::new(0)).collect(),
            edges,
            slots: u32::try_from(flows / edges).unwrap_or(u32::MAX).max(1),
            places: (places / edges) as u64,
            edge: 0,
        }
    }

    /// The same as another edge sees it.
    #[must_use]
    pub fn of_edge(&self, edge: usize) -> Self {
        Backlog { edge, ..self.clone() }
    }

    /// The first slot of this edge among all.
    #[must_use]
    pub fn first_slot(&self) -> u32 {
        self.slots.saturating_mul(u32::try_from(self.edge).unwrap_or(u32::MAX))
    }

    /// How many edges there are.
    pub(super) fn edges(&self) -> usize {
        self.edges
    }

    pub(super) fn peer(&self, peer: usize) -> Option<&PeerGauges> {
        self.peers.get(peer)
    }

    pub(super) fn drained(&self, slot: u32, bytes: u64) {
        if let Some(gauge) = self.drained_bytes.get(slot as usize) {
            add(gauge, bytes);
        }
    }

    /// Messages of `slot`, one of those of all edges, have left their places.
    pub(super) fn left(&self, slot: u32, peer: usize, messages: u64) {
        let peers = self.peers.len();
        let edge = if self.edges == 1 { 0 } else { (slot / self.slots) as usize };
        let first = edge * (peers + 1);
        let gauge = |index| self.drained_messages.get(first + index);
        if peer < peers
            && let (Some(of_peer), Some(of_all)) = (gauge(peer), gauge(peers))
        {
            add(of_peer, messages);
            add(of_all, messages);
        }
    }

    /// The gauges of an edge, for every peer and for all together.
    fn messages_of(&self, edge: usize) -> Option<&[AtomicU64]> {
        let each = self.peers.len() + 1;
        self.drained_messages.get(edge * each..)?.get(..each)
    }

    /// Bytes of data that have left the queue of `slot`, one of this edge's, copied or discarded, since the start.
    /// It never goes back, also when the slot gets a new flow: a flow counts from what it read
    /// when it opened. What a flow pushed less what drained since is what it has queued.
    #[must_use]
    pub fn drained_bytes(&self, slot: u32) -> u64 {
        let slot = slot.saturating_add(self.first_slot()) as usize;
        self.drained_bytes.get(slot).map_or(0, |gauge| gauge.load(Ordering::Relaxed))
    }

    /// Messages with data of this edge for `peer` that have left their places (written to a buffer or dropped)
    /// since the start. What was pushed less this is what waits.
    #[must_use]
    pub fn drained_messages(&self, peer: PeerIndex) -> u64 {
        let peer = Some(usize::from(peer.0)).filter(|peer| *peer < self.peers.len());
        let gauge = peer.and_then(|peer| self.messages_of(self.edge)?.get(peer));
        gauge.map_or(0, |gauge| gauge.load(Ordering::Relaxed))
    }

    /// The same for all peers together.
    #[must_use]
    pub fn drained_messages_of_all(&self) -> u64 {
        let gauge = self.messages_of(self.edge).and_then(<[AtomicU64]>::last);
        gauge.map_or(0, |gauge| gauge.load(Ordering::Relaxed))
    }

    /// Messages with data of this edge that can wait at a time, of all peers together.
    #[must_use]
    pub fn places(&self) -> u64 {
        self.places
    }

    /// Bytes of data queued for `peer`.
    #[must_use]
    pub fn queued_bytes(&self, peer: PeerIndex) -> u64 {
        self.peer(usize::from(peer.0)).map_or(0, |p| p.queued_bytes.load(Ordering::Relaxed))
    }

    /// Bytes that may still be queued for `peer` within its limit.
    #[must_use]
    pub fn room_bytes(&self, peer: PeerIndex) -> u64 {
        self.peer(usize::from(peer.0)).map_or(0, |p| {
            let queued = p.queued_bytes.load(Ordering::Relaxed);
            p.limit_bytes.load(Ordering::Relaxed).saturating_sub(queued)
        })
    }

    /// Bytes that one flow of `peer` may have queued: the limit shared by the flows that have
    /// data queued now, and never less than [`FLOW_SHARE_BYTES_MIN`], lest a crowd stand still.
    #[must_use]
    pub fn flow_share_bytes(&self, peer: PeerIndex) -> u64 {
        self.peer(usize::from(peer.0)).map_or(0, |p| {
            let flows = p.flows.load(Ordering::Relaxed).max(1);
            (p.limit_bytes.load(Ordering::Relaxed) / flows).max(FLOW_SHARE_BYTES_MIN)
        })
    }
}

// The only writer is the aggregator.
fn add(gauge: &AtomicU64, more: u64) {
    gauge.store(gauge.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}
