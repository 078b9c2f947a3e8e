//! Messages from the far side.
//!
//! In: messages in the order the packet driver took buffers apart (buffers overtake each other).
//! Out: calls on the flow's connection, new flows, packets of packet mode. Never: trust; what is
//! not allowed or makes no sense is counted and, where a flow is concerned, answered by a reset.

use super::EdgeCounter;
use super::flow::{Flow, FlowFacts, Role};
use super::stage::{EdgeStage, Work};
use super::tcp::Connection;
use crate::frame::{Frame, FrameSource};
use crate::packet_driver::message::Message;
use crate::packet_driver::open::OpenParameters;
use crate::packet_driver::reset::ResetCause;
use crate::packet_driver::{Class, FlowId, MessageKind, OutboundBody, PeerIndex};
use crate::time::Time;

impl<F: Frame> EdgeStage<F> {
    /// Acts on one message.
    pub(super) fn message<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        message: Message,
        work: &mut Work<'_, S>,
    ) {
        match message.header.kind {
            MessageKind::Datagram => self.datagram_arrived(now, &message, work),
            MessageKind::Open => self.open_arrived(now, &message),
            MessageKind::Held => self.held_arrived(now, &message),
            MessageKind::HeldEnd => self.held_ended(now, message.peer),
            _ => self.flow_message(now, message),
        }
    }

    fn flow_message(&mut self, now: Time, message: Message) {
        let Message { peer, header, data } = message;
        let Some(place) = self.table.place_of(peer, header.flow) else {
            if header.kind == MessageKind::Reset {
                self.remember_reset(peer, header.flow);
            } else {
                self.counters.increment(EdgeCounter::FlowUnknown);
            }
            return;
        };
        let Some(flow) = self.table.get_mut(place) else { return };
        let taken = match header.kind {
            MessageKind::Accept => match OpenParameters::parse(&data) {
                Some(parameters) if flow.facts.role == Role::Opener => {
                    flow.credit = flow.credit.max(parameters.credit);
                    flow.dscp = parameters.dscp;
                    flow.connection.answer(now, &parameters);
                    self.half_open = self.half_open.saturating_sub(u32::from(flow.is_half_open));
                    flow.is_half_open = false;
                    true
                }
                _ => false,
            },
            MessageKind::Data => {
                let len = data.len() as u64;
                let end = header.sequence.checked_add(len);
                let granted = flow.grant.granted();
                let allowed = end.is_some_and(|end| end <= granted);
                if allowed {
                    self.counters.add(EdgeCounter::BytesFromPeers, len);
                }
                let data = self.memory.fit(data, &flow.connection);
                allowed && flow.connection.deliver(header.sequence, data).is_ok()
            }
            MessageKind::Credit => {
                flow.credit = flow.credit.max(header.sequence);
                true
            }
            MessageKind::Fin => flow.connection.deliver_fin(header.sequence).is_ok(),
            MessageKind::FinAcked => {
                flow.connection.fin_acknowledged(now);
                true
            }
            MessageKind::FinHeld => {
                flow.connection.fin_held(now);
                true
            }
            MessageKind::Reset => {
                let cause = ResetCause::from_status(header.status).unwrap_or(ResetCause::Host);
                self.end_from_far(now, place, cause);
                return;
            }
            MessageKind::Open
            | MessageKind::Datagram
            | MessageKind::Held
            | MessageKind::HeldEnd => true,
        };
        if taken {
            self.say_fin_held(place);
            self.touch(place);
        } else {
            self.counters.increment(EdgeCounter::ProtocolErrors);
            self.abort(now, place, ResetCause::Protocol);
        }
    }

    /// Once the far side's FIN and every byte before it are here, the far side may know.
    fn say_fin_held(&mut self, place: u32) {
        let Some(flow) = self.table.get_mut(place) else { return };
        if flow.fin_held_said || !flow.connection.holds_everything() {
            return;
        }
        flow.fin_held_said = true;
        let message = flow.facts.message(MessageKind::FinHeld, 0, 0, OutboundBody::Empty);
        self.send(message);
    }

    fn open_arrived(&mut self, now: Time, message: &Message) {
        let peer = message.peer;
        let id = message.header.flow;
        let (Some(key), Some(parameters)) =
            (message.header.key, OpenParameters::parse(&message.data))
        else {
            self.counters.increment(EdgeCounter::ProtocolErrors);
            return;
        };
        if self.table.place_of(peer, id).is_some() || self.take_remembered_reset(peer, id) {
            self.counters.increment(EdgeCounter::OpensRepeated);
            return;
        }
        let refusal = if !self.accepts(peer, &key) {
            Some((EdgeCounter::OpensNotAllowed, ResetCause::NotAllowed))
        } else if self.interceptor.flow_place(&key).is_some() {
            // The host uses the same 5-tuple in a flow that is not over yet.
            Some((EdgeCounter::OpensTaken, ResetCause::Silence))
        } else {
            None
        };
        if let Some((counter, cause)) = refusal {
            self.counters.increment(counter);
            self.refuse_open(peer, id, &key, cause);
            return;
        }
        if self.open_responder(now, peer, id, key, &parameters).is_none() {
            self.counters.increment(EdgeCounter::OpensOverload);
            self.refuse_open(peer, id, &key, ResetCause::Overload);
        }
    }

    fn open_responder(
        &mut self,
        now: Time,
        peer: PeerIndex,
        id: FlowId,
        key: crate::frame::FlowKey,
        parameters: &OpenParameters,
    ) -> Option<()> {
        let place = self.vacant_place()?;
        let grant = self.credit.open(now, self.bdp_bytes(peer))?;
        let config = self.tcp_config(&key);
        let isn = self.isn.generate(now, &key);
        let connection = Connection::connect(now, config, parameters, isn);
        let facts = FlowFacts {
            place,
            peer,
            id,
            key,
            role: Role::Responder,
            class: Class(parameters.class),
            compress: parameters.compress,
        };
        let mut flow = Flow::new(facts, connection, grant);
        flow.credit = parameters.credit;
        flow.dscp = parameters.dscp;
        flow.vlan = parameters.vlan;
        if !self.register(now, flow) {
            return None;
        }
        self.counters.increment(EdgeCounter::FlowsFromPeers);
        self.resolve(now, place);
        self.touch(place);
        Some(())
    }
}
