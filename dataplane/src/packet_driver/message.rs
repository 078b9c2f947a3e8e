//! Messages: one edge's unit, a header and its data.

use super::{BufferSlice, Class, PeerIndex};
use crate::frame::{FlowKey, Frame, Shard};

/// Names a flow within a session: chosen by the TPO that opens it, with [`FlowId::OPENER_BIT`]
/// telling which of the two that was; never reused within a session. The low 16 bits are the flow's
/// [`Shard`], so that each side knows by the id which of its edges owns the flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

impl FlowId {
    /// Set in ids chosen by the side with the larger incarnation number.
    pub const OPENER_BIT: u64 = 1 << 63;

    /// The shard that the id says its flow belongs to.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
    pub fn shard(self) -> Shard {
        Shard(self.0 as u16)
    }
}

/// Function type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MessageKind {
    /// A host wants to connect: always in full form; data is [`super::open::OpenParameters`].
    Open = 1,
    /// The far host has accepted; data is [`super::open::OpenParameters`] of the far host.
    Accept = 2,
    /// Bytes of the stream, `sequence` being the offset of the first.
    Data = 3,
    /// The sender of this message takes all bytes below offset `sequence`.
    Credit = 4,
    /// The stream ends at offset `sequence`.
    Fin = 5,
    /// The host has acknowledged everything below offset `sequence` and the FIN there.
    FinAcked = 6,
    /// The flow is over; `status` is the [`ResetCause`](super::reset::ResetCause).
    Reset = 7,
    /// A whole IP packet; `sequence` counts them per sender.
    Datagram = 8,
    /// After a restart: a flow that the sender held with the peer's former incarnation; full form,
    /// source being the host on the side of the receiver of this message.
    Held = 9,
    /// End of the list of held flows; `sequence` is their number.
    HeldEnd = 10,
    /// The sender of this message holds the whole stream up to its FIN: enough for the host's FIN
    /// to be acknowledged once it has waited for long.
    FinHeld = 11,
    /// The sender of this message will not send bytes from offset `sequence` on before it is
    /// granted more: credit given back. `status` counts these messages of the flow, and is that of
    /// the CREDITs that are valid from now on.
    CreditReturn = 12,
    /// The host of the sender of this message asks whether the other is still there: the receiver
    /// asks its own host.
    Ask = 13,
}

/// The header of a message, in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHeader {
    /// Function type.
    pub kind: MessageKind,
    /// Flow; 0 for datagrams.
    pub flow: FlowId,
    /// The 5-tuple as the opener's host uses it: present in the full form.
    pub key: Option<FlowKey>,
    /// Stream offset in bytes, or as the kind says.
    pub sequence: u64,
    /// Of a reset: its cause; of a datagram: its [`DatagramStatus`](super::DatagramStatus); of a
    /// credit: how often credit had been given back; else 0.
    pub status: u16,
}

/// Most bytes that the edge makes itself for one message (the largest: open parameters).
pub const INLINE_MAX: usize = 48;

/// Where the data of an outbound message are.
#[derive(Debug)]
pub enum OutboundBody<F> {
    /// No data.
    Empty,
    /// A few bytes made by the edge.
    Inline {
        /// The bytes; the first `len` count.
        bytes: [u8; INLINE_MAX],
        /// How many.
        len: u8,
    },
    /// Bytes `offset..offset + len` of a frame, which is freed once they are copied.
    Frame {
        /// The frame they came in.
        frame: F,
        /// First byte.
        offset: u32,
        /// Number of bytes.
        len: u32,
    },
}

impl<F: Frame> OutboundBody<F> {
    /// Length of the data in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            OutboundBody::Empty => 0,
            OutboundBody::Inline { len, .. } => usize::from(*len),
            OutboundBody::Frame { len, .. } => *len as usize,
        }
    }

    /// Whether there are no data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the data are where the body says.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        match self {
            OutboundBody::Empty => true,
            OutboundBody::Inline { len, .. } => usize::from(*len) <= INLINE_MAX,
            OutboundBody::Frame { frame, offset, len } => {
                u64::from(*offset) + u64::from(*len) <= frame.frame_len() as u64
            }
        }
    }

    /// Removes `n` bytes (at most all) from the front.
    #[expect(clippy::disallowed_methods, reason = "a few bytes that the edge made")]
    pub fn advance(&mut self, n: usize) {
        let n = n.min(self.len());
        match self {
            OutboundBody::Empty => {}
            OutboundBody::Inline { bytes, len } => {
                bytes.copy_within(n.., 0);
                *len = len.saturating_sub(u8::try_from(n).unwrap_or(u8::MAX));
            }
            OutboundBody::Frame { offset, len, .. } => {
                let n = u32::try_from(n).unwrap_or(u32::MAX);
                *offset = offset.saturating_add(n);
                *len = len.saturating_sub(n);
            }
        }
    }
}

/// A message on its way from an edge to the packet driver.
#[derive(Debug)]
pub struct Outbound<F> {
    /// Where it goes.
    pub peer: PeerIndex,
    /// Class of its rule.
    pub class: Class,
    /// Whether its rule allows compression.
    pub compress: bool,
    /// The flow's place in the edge's table, the key of the round robin.
    pub slot: u32,
    /// Header.
    pub header: MessageHeader,
    /// Data.
    pub body: OutboundBody<F>,
}

/// A message that came from the far side.
#[derive(Debug)]
pub struct Message {
    /// Where it came from.
    pub peer: PeerIndex,
    /// Header.
    pub header: MessageHeader,
    /// Data: a slice of the buffer it came in.
    pub data: BufferSlice,
}
