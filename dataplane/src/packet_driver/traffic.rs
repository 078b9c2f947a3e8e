//! What travels between the edges, the packet driver and the data mover besides buffers.

use super::{BufferSlice, FlowId, Message, Outbound, OutboundBuffer, PeerIndex, SessionNumber};
use crate::link::Part;

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
    /// The messages that follow are of this session; those before it will never be sent.
    Session {
        /// The peer.
        peer: PeerIndex,
        /// Its session; none while the peer is lost.
        session: SessionNumber,
    },
}

impl<F> Upstream<F> {
    /// Makes of a slot of one edge the slot among those of all, of which the edge's begin at `first`.
    pub fn put_behind(&mut self, first: u32) {
        match self {
            // The slot of no flow stays that.
            Upstream::Message(message) => message.slot = message.slot.saturating_add(first),
            Upstream::DiscardFlow { place, .. } => *place = place.saturating_add(first),
            Upstream::Session { .. } => {}
        }
    }
}

/// A change of a peer's session, in order with the buffers and messages around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// A session began.
    Up {
        /// Which one.
        session: SessionNumber,
        /// Whether it replaces one with a former incarnation of the peer.
        restarted: bool,
        /// Whether our flow ids carry the opener bit in it.
        opener: bool,
    },
    /// The session ended: the peer closed it or has been silent for too long.
    Down,
    /// The peer was taken out of the configuration: nothing more comes of it, and another one may
    /// have its place when all edges have forgotten it.
    Gone,
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
    /// All of what arrived at once is here: the next item may come from another decompressor.
    End,
}

impl Part for Inbound {
    fn is_last(&self) -> bool {
        !matches!(self, Inbound::Message(_))
    }
}

/// Compression makes one buffer of one.
impl Part for OutboundBuffer {
    fn is_last(&self) -> bool {
        true
    }
}
