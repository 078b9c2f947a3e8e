//! One split connection's place in the edge stage: the connection to its host, and what its
//! messages need to say.

use std::collections::VecDeque;

use super::credit::Grant;
use super::tcp::{Connection, Upward};
use crate::frame::{FlowKey, Frame, LinkHeader};
use crate::packet_driver::message::INLINE_MAX;
use crate::packet_driver::open::OpenParameters;
use crate::packet_driver::reset::ResetCause;
use crate::packet_driver::{
    Class, FlowId, MessageHeader, MessageKind, Outbound, OutboundBody, PeerIndex, Upstream,
};


/// Which host of a flow is behind this appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that opens the connection.
    Opener,
    /// The one that is connected to.
    Responder,
}

/// What every message of a flow carries or is queued by. Does not change while the flow lives.
#[derive(Clone, Copy, Debug)]
pub struct FlowFacts {
    /// Place in the edge table.
    pub place: u32,
    /// The peer that has the other edge.
    pub peer: PeerIndex,
    /// Name of the flow between the two.
    pub id: FlowId,
    /// 5-tuple as the opener's host uses it.
    pub key: FlowKey,
    /// Which host is ours.
    pub role: Role,
    /// Class of the rule.
    pub class: Class,
    /// Whether the rule allows compression.
    pub compress: bool,
}

impl FlowFacts {
    /// The 5-tuple of frames to our host.
    #[must_use]
    pub fn key_to_host(&self) -> FlowKey {
        match self.role {
            Role::Opener => self.key.reversed(),
            Role::Responder => self.key,
        }
    }

    /// A message of this flow. The opener's first message has the full form; by the time any
    /// other is sent, the far side knows the flow.
    pub fn message<F>(
        &self,
        kind: MessageKind,
        sequence: u64,
        status: u16,
        body: OutboundBody<F>,
    ) -> Outbound<F> {
        let key = (kind == MessageKind::Open).then_some(self.key);
        Outbound {
            peer: self.peer,
            class: self.class,
            compress: self.compress,
            slot: self.place,
            header: MessageHeader { kind, flow: self.id, key, sequence, status },
            body,
        }
    }

    /// An OPEN or ACCEPT.
    pub fn open_message<F>(&self, kind: MessageKind, parameters: &OpenParameters) -> Outbound<F> {
        let data = parameters.emit();
        let mut bytes = [0; INLINE_MAX];
        bytes[..data.len()].copy_from_slice(&data);
        let len = u8::try_from(data.len()).unwrap_or(0);
        self.message(kind, 0, 0, OutboundBody::Inline { bytes, len })
    }
}

/// A split connection in the edge table.
#[derive(Debug)]
pub struct Flow<F> {
    /// What does not change.
    pub facts: FlowFacts,
    /// The connection to our host.
    pub connection: Connection<F>,
    /// How frames to our host are addressed: mirrored from its latest frame, or resolved.
    pub link: Option<LinkHeader>,
    /// DSCP of packets to our host: that of the other host.
    pub dscp: u8,
    /// What the far side may send to our host.
    pub grant: Grant,
    /// Offset below which the far side takes what our host sends.
    pub credit: u64,
    /// Bytes of the stream from our host handed up.
    pub handed_up: u64,
    /// Sequence number of the host's SYN, for an ICMP error that answers it.
    pub syn_sequence: u32,
    /// Whether FIN-HELD was said.
    pub fin_held_said: bool,
    /// Whether it is in the list of flows that may have something to transmit.
    pub is_ready: bool,
    /// Whether it is in the list of flows with bytes in the packet driver's queue.
    pub is_queued: bool,
}

/// What happened on a connection, for the stage to act on after the call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Happened {
    /// The far host accepted.
    pub established: Option<OpenParameters>,
    /// The host has acknowledged everything below this offset.
    pub acknowledged: Option<u64>,
    /// The flow is over, and why.
    pub ended: Option<ResetCause>,
    /// Both directions are closed in order.
    pub closed: bool,
}

/// Carries a connection's events across: messages into a queue, the rest noted.
pub struct Carrier<'a, F> {
    /// The flow.
    pub facts: &'a FlowFacts,
    /// Where messages go.
    pub upstream: &'a mut VecDeque<Upstream<F>>,
    /// Bytes handed up so far.
    pub handed_up: &'a mut u64,
    /// The rest.
    pub happened: Happened,
}

impl<F: Frame> Carrier<'_, F> {
    fn send(&mut self, kind: MessageKind, sequence: u64, body: OutboundBody<F>) {
        self.upstream.push_back(Upstream::Message(self.facts.message(kind, sequence, 0, body)));
    }
}

impl<F: Frame> Upward<F> for Carrier<'_, F> {
    fn data(&mut self, offset: u64, frame: F, from: u32, len: u32) {
        *self.handed_up = (*self.handed_up).max(offset + u64::from(len));
        self.send(MessageKind::Data, offset, OutboundBody::Frame { frame, offset: from, len });
    }

    fn fin(&mut self, offset: u64) {
        self.send(MessageKind::Fin, offset, OutboundBody::Empty);
    }

    fn fin_acknowledged(&mut self, offset: u64) {
        self.send(MessageKind::FinAcked, offset, OutboundBody::Empty);
    }

    fn established(&mut self, parameters: OpenParameters) {
        self.happened.established = Some(parameters);
    }

    fn acknowledged(&mut self, offset: u64) {
        self.happened.acknowledged = Some(offset);
    }

    fn refused(&mut self, cause: ResetCause) {
        self.happened.ended = Some(cause);
    }

    fn reset(&mut self, cause: ResetCause) {
        self.happened.ended = Some(cause);
    }

    fn closed(&mut self) {
        self.happened.closed = true;
    }
}
