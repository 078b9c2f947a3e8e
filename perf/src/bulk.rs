//! Buffers of bulk data as the packet driver hands them on, for what is measured alone.

use dataplane::packet_driver::{
    BufferKind, BufferSlice, Lane, OutboundBuffer, PeerIndex, SessionNumber,
};

/// One for the first session with the first peer, to be sent as it is.
pub(crate) fn outbound(bytes: BufferSlice) -> OutboundBuffer {
    OutboundBuffer {
        peer: PeerIndex(0),
        session: SessionNumber(1),
        lane: Lane::BULK,
        kind: BufferKind::Stream,
        deadline: None,
        compress: false,
        bytes,
    }
}
