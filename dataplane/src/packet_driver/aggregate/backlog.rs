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
    drained_messages: AtomicU64,
}

/// Gauges of an aggregator; clones share them.
#[derive(Clone, Debug)]
pub struct Backlog {
    drained_bytes: Arc<[AtomicU64]>,
    peers: Arc<[PeerGauges]>,
    drained_messages: Arc<AtomicU64>,
    places: u64,
}

impl Backlog {
    pub(super) fn new(flows: usize, peers: usize, places: usize) -> Self {
        Backlog {
            drained_bytes: (0..flows).map(|_| AtomicU64::new(0)).collect(),
            peers: (0..peers).map(|_| PeerGauges::default()).collect(),
            drained_messages: Arc::default(),
            places: places as u64,
        }
    }

    pub(super) fn peer(&self, peer: usize) -> Option<&PeerGauges> {
        self.peers.get(peer)
    }

    pub(super) fn drained(&self, slot: u32, bytes: u64) {
        if let Some(gauge) = self.drained_bytes.get(slot as usize) {
            add(gauge, bytes);
        }
    }

    pub(super) fn left(&self, peer: usize, messages: u64) {
        if let Some(gauges) = self.peer(peer) {
            add(&gauges.drained_messages, messages);
            add(&self.drained_messages, messages);
        }
    }

    /// Bytes of data that have left the queue of `slot`, copied or discarded, since the start.
    /// It never goes back, also when the slot gets a new flow: a flow counts from what it read
    /// when it opened. What a flow pushed less what drained since is what it has queued.
    #[must_use]
    pub fn drained_bytes(&self, slot: u32) -> u64 {
        self.drained_bytes.get(slot as usize).map_or(0, |gauge| gauge.load(Ordering::Relaxed))
    }

    /// Messages with data for `peer` that have left their places (written to a buffer or dropped)
    /// since the start. What was pushed less this is what waits.
    #[must_use]
    pub fn drained_messages(&self, peer: PeerIndex) -> u64 {
        self.peer(usize::from(peer.0)).map_or(0, |p| p.drained_messages.load(Ordering::Relaxed))
    }

    /// The same for all peers together.
    #[must_use]
    pub fn drained_messages_of_all(&self) -> u64 {
        self.drained_messages.load(Ordering::Relaxed)
    }

    /// Messages with data that can wait at a time, of all peers together.
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
