//! Messages from the far side.
//!
//! In: messages in the order the packet driver took buffers apart (buffers overtake each other).
//! Out: calls on the flow's connection, new flows. Never: trust; what is not allowed or makes no
//! sense is counted and, where a flow is concerned, answered by a reset.

use super::EdgeCounter;
use super::flow::{Flow, FlowFacts, Role};
use super::stage::{EdgeStage, UPSTREAM_BUSY};
use super::standby::ConnectionReserve;
use super::tcp::Connection;
use crate::frame::{FlowKey, Frame, FrameSource};
use crate::interceptor::{Decision, RuleId, Verdict};
use crate::packet_driver::open::OpenParameters;
use crate::packet_driver::reset::ResetCause;
use crate::packet_driver::{
    Class, FlowId, Message, MessageHeader, MessageKind, Outbound, OutboundBody, PeerIndex,
};
use crate::time::Time;

/// Resets that came before their open and are remembered, at most (buffers overtake each other
/// by no more than a few round trips).
pub(super) const TOMBSTONES: usize = 1024;

impl<F: Frame> EdgeStage<F> {
    /// Acts on one message.
    pub(super) fn message<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        message: Message,
        source: &mut S,
    ) {
        match message.header.kind {
            MessageKind::Datagram => self.datagram_arrived(now, &message, source),
            MessageKind::Open => self.open_arrived(now, &message),
            MessageKind::Held => self.held_arrived(now, &message, source),
            MessageKind::HeldEnd => self.held_ended(message.peer),
            _ => self.flow_message(now, message, source),
        }
    }

    fn flow_message<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        message: Message,
        source: &mut S,
    ) {
        let Message { peer, header, data } = message;
        let Some(place) = self.table.place_of(peer, header.flow) else {
            self.message_of_no_flow(peer, header.kind, header.flow);
            return;
        };
        if header.kind == MessageKind::Reset {
            let cause = ResetCause::from_status(header.status).unwrap_or(ResetCause::Host);
            self.end_from_far(now, place, cause, source);
            return;
        }
        if header.kind == MessageKind::Accept {
            if !self.accepted(now, place, &data) {
                self.break_off(now, place);
            }
            return;
        }
        if header.kind == MessageKind::Ask {
            self.with_connection(now, place, |connection, up| connection.ask(now, up));
            self.touch(place);
            return;
        }
        let taken = match header.kind {
            MessageKind::Data => self.deliver(place, header.sequence, data),
            MessageKind::CreditReturn => self.credit_returned(now, place, &header),
            _ => {
                let flow = self.table.get_mut(place);
                flow.is_none_or(|flow| apply(flow, &header, &mut self.connections))
            }
        };
        if taken {
            if header.kind == MessageKind::Credit {
                self.update_limit(place);
            }
            self.say_fin_held(place);
            self.touch(place);
        } else {
            self.break_off(now, place);
        }
    }

    /// A message of a flow that is over here, or was never opened. A reset is remembered and never
    /// answered; ACCEPT and ASK are, because the far edge would keep its connection for ever.
    fn message_of_no_flow(&mut self, peer: PeerIndex, kind: MessageKind, flow: FlowId) {
        if kind == MessageKind::Reset {
            self.bury(peer, flow);
            return;
        }
        self.counters.increment(EdgeCounter::FlowUnknown);
        let asks = matches!(kind, MessageKind::Accept | MessageKind::Ask);
        if asks && self.upstream.len() < 2 * UPSTREAM_BUSY {
            self.send(reset_of_no_flow(peer, flow));
        }
    }

    /// The far host has accepted: so does its stand-in here.
    fn accepted(&mut self, now: Time, place: u32, data: &[u8]) -> bool {
        let Some(parameters) = OpenParameters::parse(data) else { return false };
        let Some(flow) = self.table.get_mut(place) else { return true };
        if flow.facts.role != Role::Opener {
            return false;
        }
        flow.credit = flow.credit.max(parameters.credit);
        flow.dscp = parameters.dscp;
        self.half_open -= u32::from(std::mem::take(&mut flow.is_half_open));
        self.update_limit(place);
        if let Some(flow) = self.table.get_mut(place) {
            flow.connection.awake(&mut self.connections).answer(now);
        }
        self.touch(place);
        true
    }

    /// The peer broke the protocol on this flow: both hosts see a reset.
    fn break_off(&mut self, now: Time, place: u32) {
        self.counters.increment(EdgeCounter::ProtocolErrors);
        self.abort(now, place, ResetCause::Protocol);
    }

    /// Once the far stream's end and every byte before it are here, the far side may know.
    fn say_fin_held(&mut self, place: u32) {
        let Some(flow) = self.table.get_mut(place) else { return };
        if flow.fin_held_said || !flow.connection.holds_far_stream() {
            return;
        }
        flow.fin_held_said = true;
        let message = flow.facts.signal(MessageKind::FinHeld, 0, 0);
        self.send(message);
    }

    fn open_arrived(&mut self, now: Time, message: &Message) {
        let (peer, id) = (message.peer, message.header.flow);
        let (Some(key), Some(parameters)) =
            (message.header.key, OpenParameters::parse(&message.data))
        else {
            self.counters.increment(EdgeCounter::ProtocolErrors);
            return;
        };
        if self.upstream.len() >= 2 * UPSTREAM_BUSY {
            // A peer that takes no answers gets none.
            self.counters.increment(EdgeCounter::OpensOverload);
            return;
        }
        if self.table.place_of(peer, id).is_some() || self.unearth(peer, id) {
            self.counters.increment(EdgeCounter::OpensRepeated);
            return;
        }
        let opened = if self.stopping {
            Err((EdgeCounter::OpensOverload, ResetCause::Stopping))
        } else if self.config.edges > 1 && !self.config.owns(&key) {
            // It came by its id, its host's frames will go by their 5-tuple.
            Err((EdgeCounter::OpensMisnamed, ResetCause::NotAllowed))
        } else if !self.accepts(peer, &key) {
            Err((EdgeCounter::OpensNotAllowed, ResetCause::NotAllowed))
        } else if self.place_of_key(&key).is_some() {
            // The host uses the 5-tuple anew before the far side knows that the old flow is over:
            // it will try again.
            Err((EdgeCounter::OpensTaken, ResetCause::Silence))
        } else {
            self.open_responder(now, peer, id, key, &parameters)
                .ok_or((EdgeCounter::OpensOverload, ResetCause::Overload))
        };
        match opened {
            Ok(place) => {
                self.counters.increment(EdgeCounter::FlowsFromPeers);
                self.update_limit(place);
                self.resolve(now, place);
                self.touch(place);
            }
            Err((counter, cause)) => {
                self.counters.increment(counter);
                let facts = FlowFacts::of_open(peer, id, key, &parameters);
                self.send(facts.signal(MessageKind::Reset, 0, cause.to_status()));
            }
        }
    }

    fn open_responder(
        &mut self,
        now: Time,
        peer: PeerIndex,
        id: FlowId,
        key: FlowKey,
        parameters: &OpenParameters,
    ) -> Option<u32> {
        let place = self.vacant_place()?;
        let mut grant = self.credit.open(now, self.bdp_bytes(peer))?;
        let facts = FlowFacts { place, ..FlowFacts::of_open(peer, id, key, parameters) };
        let decision = Decision {
            verdict: Verdict::Optimize,
            rule: RuleId::NONE,
            peer,
            class: facts.class,
            compress: facts.compress,
            slot: place,
        };
        let Ok(handle) = self.interceptor.insert(&key, decision, now) else {
            self.credit.close(&mut grant);
            return None;
        };
        let numbers = self.numbers.numbers(now, &key);
        let connection = Connection::connect(now, self.config.tcp(&key), numbers);
        let connection = self.connections.begin(connection);
        let mut flow = Flow::new(now, facts, connection, grant, handle);
        flow.credit = parameters.credit;
        flow.dscp = parameters.dscp;
        if let Some(mut flow) = self.table.insert(place, flow) {
            self.credit.close(&mut flow.grant);
            self.interceptor.abandon(handle);
            return None;
        }
        self.begins_anew(&key);
        self.counters.set(EdgeCounter::Flows, self.table.len() as u64);
        Some(place)
    }

    /// Remembers that a flow was reset before its open came.
    fn bury(&mut self, peer: PeerIndex, flow: FlowId) {
        if self.tombstones.len() >= TOMBSTONES {
            self.tombstones.pop_front();
        }
        self.tombstones.push_back((peer, flow));
    }

    /// Whether a flow was reset before its open came; that is then forgotten.
    fn unearth(&mut self, peer: PeerIndex, flow: FlowId) -> bool {
        let found = self.tombstones.iter().position(|entry| *entry == (peer, flow));
        found.and_then(|index| self.tombstones.swap_remove_back(index)).is_some()
    }
}

/// The messages that only move a number; false when the flow cannot have it.
fn apply<F: Frame>(
    flow: &mut Flow<F>,
    header: &MessageHeader,
    connections: &mut ConnectionReserve<F>,
) -> bool {
    match header.kind {
        MessageKind::Credit => {
            if header.status == flow.credit_epoch {
                flow.credit = flow.credit.max(header.sequence);
            }
            true
        }
        MessageKind::Fin => flow.connection.awake(connections).deliver_fin(header.sequence).is_ok(),
        MessageKind::FinAcked => {
            if let Some(connection) = flow.connection.if_awake() {
                connection.fin_acknowledged();
            }
            true
        }
        MessageKind::FinHeld => {
            if let Some(connection) = flow.connection.if_awake() {
                connection.fin_stored();
            }
            true
        }
        _ => false,
    }
}

/// Tells a peer that a flow is not known here.
fn reset_of_no_flow<F>(peer: PeerIndex, flow: FlowId) -> Outbound<F> {
    let status = ResetCause::Unknown.to_status();
    Outbound {
        peer,
        class: Class(0),
        compress: false,
        // It has no queue here that could be discarded.
        slot: u32::MAX,
        header: MessageHeader { kind: MessageKind::Reset, flow, key: None, sequence: 0, status },
        body: OutboundBody::Empty,
    }
}

impl FlowFacts {
    /// The facts of a flow that a peer opens; it has no place yet.
    fn of_open(peer: PeerIndex, id: FlowId, key: FlowKey, parameters: &OpenParameters) -> Self {
        FlowFacts {
            place: u32::MAX,
            peer,
            id,
            key,
            role: Role::Responder,
            class: Class(parameters.class),
            compress: parameters.compress,
        }
    }
}
