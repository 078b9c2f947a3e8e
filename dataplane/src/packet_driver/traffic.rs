//! What travels between the edges, the packet driver and the data mover besides buffers.

use super::{BufferSlice, FlowId, Message, Outbound, PeerIndex};

/// From the edge stage to the packet driver.
#[derive(Debug)]
pub enum Upstream<F> {
    /// A message to aggregate.
    Message(Outbound<F>),
    /// The flow at this place was reset: what it has queued is worth nothing.
    DiscardFlow {
        /// The flow.
        flow: FlowId,
        /// Place in the edge's table.
        place: u32,
    },
    /// The peer is lost: nothing queued for it will ever be sent.
    DiscardPeer {
        /// The peer.
        peer: PeerIndex,
    },
}

/// A change of a peer's session, in order with the buffers and messages around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// A session began.
    Up {
        /// Whether it replaces one with a former incarnation of the peer.
        restarted: bool,
    },
    /// The session ended: the peer closed it or has been silent for too long.
    Down,
}

/// From the data mover to decompression.
#[derive(Debug)]
pub enum Arrived {
    /// A complete buffer.
    Buffer {
        /// From where.
        peer: PeerIndex,
        /// The buffer as it was handed to the far data mover.
        bytes: BufferSlice,
    },
    /// The peer's session changed.
    Session {
        /// Which peer.
        peer: PeerIndex,
        /// How.
        change: SessionChange,
    },
}

/// From the packet driver to the edge stage.
#[derive(Debug)]
pub enum Inbound {
    /// A message.
    Message(Message),
    /// The peer's session changed.
    Session {
        /// Which peer.
        peer: PeerIndex,
        /// How.
        change: SessionChange,
    },
}
