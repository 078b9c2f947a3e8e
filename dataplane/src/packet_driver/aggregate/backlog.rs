//! What the edges may know of the aggregator: how far each flow has drained, and how much more a
//! peer's flows may hand over. Written by the aggregator's worker, read by any.

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

/// Gauges of an aggregator; clones share them.
#[derive(Clone, Debug)]
pub struct Backlog {
    drained_bytes: Arc<[AtomicU64]>,
    peers: Arc<[PeerGauges]>,
}

impl Backlog {
    pub(super) fn new(flows: usize, peers: usize) -> Self {
        Backlog {
            drained_bytes: (0..flows).map(|_| AtomicU64::new(0)).collect(),
            peers: (0..peers).map(|_| PeerGauges::default()).collect(),
        }
    }

    pub(super) fn peer(&self, peer: usize) -> Option<&PeerGauges> {
        self.peers.get(peer)
    }

    pub(super) fn drained(&self, slot: u32, bytes: u64) {
        if let Some(gauge) = self.drained_bytes.get(slot as usize) {
            let value = gauge.load(Ordering::Relaxed).wrapping_add(bytes);
            gauge.store(value, Ordering::Relaxed);
        }
    }

    /// Bytes of data that have left the queue of `slot`, copied or discarded, since the start.
    /// It never goes back, also when the slot gets a new flow: a flow counts from what it read
    /// when it opened. What a flow pushed less what drained since is what it has queued.
    #[must_use]
    pub fn drained_bytes(&self, slot: u32) -> u64 {
        self.drained_bytes.get(slot as usize).map_or(0, |gauge| gauge.load(Ordering::Relaxed))
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
