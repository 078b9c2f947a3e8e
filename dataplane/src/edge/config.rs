//! Limits of the edge stage.

use std::sync::Arc;

use super::tcp::TcpConfig;
use crate::frame::{FlowKey, Shard};
use crate::packet_driver::{CLASS_COUNT, Class, PeerIndex};

/// Groups of queues in packet mode of one peer: by class, with and without compression.
const GROUPS: usize = CLASS_COUNT * 2;

/// Limits and settings of the edge stage.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// How many edges share the flows, and which of them this one is, counted from 0.
    pub edges: usize,
    /// See above.
    pub edge: usize,
    /// Split connections, at most.
    pub connections: u32,
    /// Of these, how many may wait for the far host's answer.
    pub half_open: u32,
    /// Peers.
    pub peers: usize,
    /// Queues of each peer, class and compression that flows in packet mode are spread over,
    /// behind those of the connections.
    pub datagram_slots: u32,
    /// Flows in packet mode whose host's link address is remembered, about.
    pub mirrors: usize,
    /// Connections in TIME-WAIT, at most.
    pub time_wait: usize,
    /// Frames that all connections together may hold behind gaps, at most.
    pub held_frames_max: usize,
    /// Frames that may wait for each port, at most.
    pub frames_max: usize,
    /// Frames that large segments leave for others: with fewer none is made.
    pub frames_spare: usize,
    /// Largest IP packet of the LAN, in bytes.
    pub lan_mtu: u16,
    /// By side, whether the port completes the checksums of TCP and UDP in frames that it sends.
    pub device_checksums: [bool; 2],
    /// Payload bytes of a segment that the LAN port cuts into frames, at most; 0 where it cuts none.
    /// Only a port that completes checksums cuts.
    pub cut_bytes_max: u32,
    /// TCP over IPv4.
    pub tcp_v4: Arc<TcpConfig>,
    /// TCP over IPv6.
    pub tcp_v6: Arc<TcpConfig>,
    /// Random; initial sequence numbers are made from it.
    pub secret: [u8; 16],
}

impl EdgeConfig {
    /// The settings of connections with this 5-tuple.
    #[must_use]
    pub fn tcp(&self, key: &FlowKey) -> &Arc<TcpConfig> {
        if key.is_ipv4() { &self.tcp_v4 } else { &self.tcp_v6 }
    }

    /// Whether this edge owns flows with this 5-tuple.
    #[must_use]
    pub fn owns(&self, key: &FlowKey) -> bool {
        Shard::of(key).owner(self.edges) == self.edge
    }

    /// Places of the packet driver's queues: connections, then packet mode.
    #[must_use]
    pub fn slots(&self) -> usize {
        let per_peer = GROUPS * self.datagram_slots.max(1) as usize;
        self.connections as usize + self.peers * per_peer
    }

    /// The queue of a flow in packet mode whose hash this is: what shares a queue shares its peer,
    /// class and compression, so that nothing waits for what goes elsewhere, or later.
    #[must_use]
    pub fn datagram_slot(&self, peer: PeerIndex, class: Class, compress: bool, hash: u64) -> u32 {
        let spread = self.datagram_slots.max(1);
        let group = usize::from(class.0).min(CLASS_COUNT - 1) * 2 + usize::from(compress);
        let group = usize::from(peer.0) * GROUPS + group;
        // The upper half of the hash, scaled: below the spread.
        let within = ((hash >> 32) * u64::from(spread)) >> 32;
        let slot = u64::from(self.connections) + group as u64 * u64::from(spread) + within;
        u32::try_from(slot).unwrap_or(u32::MAX)
    }
}
