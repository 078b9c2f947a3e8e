//! The packet driver: messages of all flows into buffers, and buffers apart at the far side.
//!
//! In: messages of edges (header, and data still in the frame it came in); complete buffers from
//! the far side. Out: buffers that begin with a routing header; messages whose data are slices of
//! a buffer. Never: a decision about a flow, a second copy.

pub mod aggregate;
pub mod buffer;
pub mod datagram;
pub mod disaggregate;
pub mod header;
pub mod lane;
pub mod message;
pub mod open;
pub mod peer_security;
pub mod peer_status;
pub mod receive_memory;
pub mod reset;
pub mod routing;
pub mod traffic;
mod wire;

pub use aggregate::{AggregateConfig, AggregateCounter, Aggregator, Backlog, Downstream};
pub use buffer::{BufferMut, BufferPool, BufferSlice, PoolClass};
pub use datagram::DatagramStatus;
pub use disaggregate::{DisaggregateCounter, Disaggregator, Messages};
pub use lane::Lane;
pub use message::{FlowId, Message, MessageHeader, MessageKind, Outbound, OutboundBody};
pub use peer_security::{LastEnd, PeerSecurity, Shield};
pub use peer_status::{PeerAnswer, PeerStatus};
pub use receive_memory::ReceiveMemory;
pub use traffic::{Arrived, Inbound, SessionChange, Upstream};

use crate::time::Time;

/// Which peer (far TPO): its place in every table by peer, which it has for as long as it is
/// configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerIndex(pub u16);

impl PeerIndex {
    /// Of a flow whose peer has left: the place of none.
    pub const NOBODY: PeerIndex = PeerIndex(u16::MAX);
}

/// Which session with a peer, counted from 1 as they come up; 0 is none. Flows belong to one, so what
/// is made for a session never travels in another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionNumber(pub u32);

impl SessionNumber {
    /// There is no session.
    pub const NONE: Self = SessionNumber(0);

    /// Whether this is a later session than `other`; any is later than none.
    #[must_use]
    pub fn is_after(self, other: Self) -> bool {
        let ahead = self.0.wrapping_sub(other.0);
        self != Self::NONE && (other == Self::NONE || (ahead > 0 && ahead <= u32::MAX / 2))
    }
}

/// Traffic class of a rule: a smaller number is served first; flows of one class share evenly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class(pub u8);

/// Number of traffic classes.
pub const CLASS_COUNT: usize = 4;

/// Share of each class while others wait; the one with the smaller number has its share first.
pub const CLASS_WEIGHTS: [u32; CLASS_COUNT] = [8, 4, 2, 1];

/// What a buffer holds, and so what becomes of it when it is lost. The kinds never share a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BufferKind {
    /// Open, accept, credit, fin, reset: small, first, recovered.
    Control,
    /// Stream data: recovered.
    Stream,
    /// Whole IP packets: recovered while they are of use, then given up and counted.
    Datagram,
}

/// A buffer on its way from the packet driver to the data mover (through compression).
#[derive(Debug)]
pub struct OutboundBuffer {
    /// Where it goes.
    pub peer: PeerIndex,
    /// The session that its messages are of.
    pub session: SessionNumber,
    /// Its place among buffers with data, by the class of all its messages.
    pub lane: Lane,
    /// Kind of all its messages.
    pub kind: BufferKind,
    /// Whether the rule of its messages allows compression.
    pub compress: bool,
    /// Of datagrams: until when the peer has a use for them. `None`: they are sent once, whenever
    /// that is.
    pub deadline: Option<Time>,
    /// Routing header and messages.
    pub bytes: BufferSlice,
}
