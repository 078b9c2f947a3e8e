//! What the interceptor says is to be done with a frame.

use super::flow_table::{FlowHandle, Found};
use super::reason::{DropReason, RefuseReason};
use super::verdict::Decision;
use crate::frame::Parsed;

/// What the caller has to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send it on the other side, as it is.
    Forward,
    /// It has become the answer to itself: send it on the side it came from.
    Answer,
    /// Let it go: all it had to say is known now.
    Consumed,
    /// Let it go.
    Drop(DropReason),
    /// A datagram for the data mover, checksums verified.
    ToMover(Parsed),
    /// The first packet (a SYN, checksums verified) of a flow to be split. It has an entry, whose
    /// slot the edge fills in with [`super::Interceptor::bind`], or it gives the flow up with
    /// [`super::Interceptor::decline`] or [`super::Interceptor::abandon`].
    NewFlow {
        /// Its entry.
        flow: FlowHandle,
        /// What was decided.
        decision: Decision,
        /// The packet.
        parsed: Parsed,
    },
    /// A packet of a split flow, checksums verified. The slot is read when it is needed
    /// ([`super::Interceptor::decision`]): in the burst of the first packet it is not known yet.
    Edge {
        /// The flow and which way the packet goes.
        found: Found,
        /// The packet.
        parsed: Parsed,
    },
    /// An ICMP error about a split flow, checksums verified: the quoted packet is one that was
    /// sent to the host.
    EdgeIcmp {
        /// The flow and which way the quoted packet went.
        found: Found,
        /// The ICMP packet.
        parsed: Parsed,
    },
    /// A fragment of a split flow: give it to [`super::Reassembly`], and what that gives back to
    /// [`super::Interceptor::classify`] again.
    Fragment(Parsed),
    /// A packet for packet mode.
    Datagram {
        /// What was decided; the flow may have no entry.
        decision: Decision,
        /// The packet.
        parsed: Parsed,
    },
    /// The first packet of a flow that is refused: tell the host (TCP by reset, the rest as
    /// prohibited), then let it go.
    Refuse {
        /// Why.
        reason: RefuseReason,
        /// The packet.
        parsed: Parsed,
    },
}
