//! Limits of the edge stage.

use std::sync::Arc;

use super::tcp::TcpConfig;
use crate::frame::FlowKey;

/// Limits and settings of the edge stage.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Split connections, at most.
    pub connections: u32,
    /// Of these, how many may wait for the far host's answer.
    pub half_open: u32,
    /// Queues that packet mode is spread over by its flows, behind those of the connections.
    pub datagram_slots: u32,
    /// Connections in TIME-WAIT, at most.
    pub time_wait: usize,
    /// Frames that all connections together may hold behind gaps, at most.
    pub held_frames_max: usize,
    /// Frames that may wait for each port, at most.
    pub frames_max: usize,
    /// Largest IP packet of the LAN, in bytes.
    pub lan_mtu: u16,
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

    /// Places of the packet driver's queues: connections, then packet mode.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.connections as usize + self.datagram_slots as usize
    }
}
