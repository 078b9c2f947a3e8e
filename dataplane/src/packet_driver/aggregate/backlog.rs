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

/// What is known of the messages of one edge.
#[derive(Debug)]
struct EdgeGauges {
    /// By peer.
    drained_messages: Box<[AtomicU64]>,
    drained_messages_of_all: AtomicU64,
}

/// Gauges of an aggregator, as one edge sees them; clones share them.
#[derive(Clone, Debug)]
pub struct Backlog {
    drained_bytes: Arc<[AtomicU64]>,
    peers: Arc<[PeerGauges]>,
    edges: Arc<[EdgeGauges]>,
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
        let gauges = || EdgeGauges {
            drained_messages: (0..peers).map(|_| AtomicU64::new(0)).collect(),
            drained_messages_of_all: AtomicU64::new(0),
        };
        Backlog {
            drained_bytes: (0..flows).map(|_| AtomicU64::new(0)).collect(),
            peers: (0..peers).map(|_| PeerGauges::default()).collect(),
            edges: (0..edges).map(|_| gauges()).collect(),
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
        self.edges.len()
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
        let edge = self.edges.get((slot / self.slots) as usize);
        if let Some(edge) = edge
            && let Some(gauge) = edge.drained_messages.get(peer)
        {
            add(gauge, messages);
            add(&edge.drained_messages_of_all, messages);
        }
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
        let gauges = self.edges.get(self.edge).map(|edge| &edge.drained_messages);
        let gauge = gauges.and_then(|gauges| gauges.get(usize::from(peer.0)));
        gauge.map_or(0, |gauge| gauge.load(Ordering::Relaxed))
    }

    /// The same for all peers together.
    #[must_use]
    pub fn drained_messages_of_all(&self) -> u64 {
        let edge = self.edges.get(self.edge);
        edge.map_or(0, |edge| edge.drained_messages_of_all.load(Ordering::Relaxed))
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
