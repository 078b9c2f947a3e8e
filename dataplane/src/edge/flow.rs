//! One split connection's place in the edge stage: the connection to its host, and what its
//! messages need to say.

use std::collections::VecDeque;

use super::credit::Grant;
use super::standby::Standby;
use super::table::Named;
use super::tcp::{HostParameters, State, Upward};
use crate::copy::{self, Copied};
use crate::frame::{FlowKey, Frame, LinkHeader};
use crate::interceptor::FlowHandle;
use crate::packet_driver::message::INLINE_MAX;
use crate::packet_driver::open::OpenParameters;
use crate::packet_driver::reset::ResetCause;
use crate::packet_driver::{
    Class, FlowId, MessageHeader, MessageKind, Outbound, OutboundBody, PeerIndex, Upstream,
};
use crate::time::Time;

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

    /// A message without data.
    pub fn signal<F>(&self, kind: MessageKind, sequence: u64, status: u16) -> Outbound<F> {
        self.message(kind, sequence, status, OutboundBody::Empty)
    }

    /// An OPEN or ACCEPT.
    pub fn open_message<F>(&self, kind: MessageKind, parameters: &OpenParameters) -> Outbound<F> {
        let data = parameters.emit();
        let mut bytes = [0; INLINE_MAX];
        copy::bytes(Copied::Made, &mut bytes[..data.len()], &data);
        let len = u8::try_from(data.len()).unwrap_or(0);
        self.message(kind, 0, 0, OutboundBody::Inline { bytes, len })
    }
}

/// A split connection in the edge table.
#[derive(Debug)]
pub struct Flow<F> {
    /// What does not change.
    pub facts: FlowFacts,
    /// Its entry in the flow table.
    pub handle: FlowHandle,
    /// The connection to our host.
    pub connection: Standby<F>,
    /// How frames to our host are addressed: mirrored from its latest frame, or resolved.
    pub link: Option<LinkHeader>,
    /// DSCP of packets to our host: that of the other host.
    pub dscp: u8,
    /// What the far side may send to our host.
    pub grant: Grant,
    /// Offset below which the far side takes what our host sends.
    pub credit: u64,
    /// How often credit was given back: of CREDITs, those that were sent before count no more.
    pub credit_epoch: u16,
    /// When the use of the credit was last looked at, and how much was handed up by then.
    pub credit_seen_at: Time,
    /// See above.
    pub credit_seen: u64,
    /// Bytes of the stream from our host handed up.
    pub handed_up: u64,
    /// Sequence number of the host's SYN, for an ICMP error that answers it.
    pub syn_sequence: u32,
    /// DSCP of packets from our host, as its SYN or SYN-ACK had it.
    pub host_dscp: u8,
    /// Whether it counts among those that wait for the far host's answer.
    pub is_half_open: bool,
    /// State of the connection as the flow table has it.
    pub shown: Option<State>,
    /// Whether it ends by a reset, of the host or to it.
    pub was_reset: bool,
    /// Whether FIN-HELD was said.
    pub fin_held_said: bool,
    /// Whether it is in the list of flows that may have something to transmit.
    pub is_ready: bool,
    /// Whether it is in the list of flows with bytes in the packet driver's queue.
    pub is_queued: bool,
}

// What a frame is plays no part in it: a flow holds none itself.
const _: () = assert!(size_of::<Option<Flow<()>>>() <= 336, "there is one for every idle flow");

impl<F> Named for Flow<F> {
    fn name(&self) -> (PeerIndex, FlowId) {
        (self.facts.peer, self.facts.id)
    }
}

impl<F: Frame> Flow<F> {
    /// A flow as it begins.
    pub fn new(
        now: Time,
        facts: FlowFacts,
        connection: Standby<F>,
        grant: Grant,
        handle: FlowHandle,
    ) -> Self {
        let mut flow = Flow {
            facts,
            handle,
            connection,
            link: None,
            dscp: 0,
            host_dscp: 0,
            grant,
            credit: 0,
            credit_epoch: 0,
            credit_seen_at: now,
            credit_seen: 0,
            handed_up: 0,
            syn_sequence: 0,
            is_half_open: false,
            shown: None,
            was_reset: false,
            fin_held_said: false,
            is_ready: false,
            is_queued: false,
        };
        flow.connection.grant(flow.grant.granted());
        flow
    }

    /// What an OPEN or ACCEPT says of our host.
    pub fn parameters(&self) -> OpenParameters {
        let host = self.connection.host_parameters();
        OpenParameters {
            credit: self.grant.granted(),
            mss: host.mss,
            window_scale: host.window_scale,
            sack_permitted: host.sack_permitted,
            timestamps: host.timestamps,
            vlan: self.facts.key.vlan,
            dscp: self.host_dscp,
            class: self.facts.class.0,
            compress: self.facts.compress,
        }
    }
}

/// What happened on a connection, for the stage to act on after the call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Happened {
    /// The host we connected to has accepted.
    pub established: bool,
    /// The host has acknowledged everything below this offset.
    pub acknowledged: Option<u64>,
    /// The flow is over, and why.
    pub ended: Option<ResetCause>,
}

/// Carries a connection's events across: messages into a queue, the rest noted.
pub struct Carrier<'a, F> {
    /// The flow.
    pub facts: &'a FlowFacts,
    /// Where messages go.
    pub upstream: &'a mut VecDeque<Upstream<F>>,
    /// Bytes handed up so far.
    pub handed_up: &'a mut u64,
    /// Messages with data sent by this call.
    pub data_messages: u64,
    /// The rest.
    pub happened: Happened,
}

impl<F: Frame> Carrier<'_, F> {
    fn send(&mut self, message: Outbound<F>) {
        self.upstream.push_back(Upstream::Message(message));
    }
}

impl<F: Frame> Upward<F> for Carrier<'_, F> {
    fn data(&mut self, offset: u64, frame: F, start: u32, len: u32) {
        *self.handed_up = (*self.handed_up).max(offset + u64::from(len));
        self.data_messages += 1;
        let body = OutboundBody::Frame { frame, offset: start, len };
        self.send(self.facts.message(MessageKind::Data, offset, 0, body));
    }

    fn fin(&mut self, offset: u64) {
        self.send(self.facts.signal(MessageKind::Fin, offset, 0));
    }

    fn fin_acknowledged(&mut self, offset: u64) {
        self.send(self.facts.signal(MessageKind::FinAcked, offset, 0));
    }

    fn asked(&mut self) {
        self.send(self.facts.signal(MessageKind::Ask, 0, 0));
    }

    fn established(&mut self, _: &HostParameters) {
        self.happened.established = true;
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
}
