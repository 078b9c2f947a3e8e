//! What follows from a connection's events, and the flows' way into and out of the tables.
//!
//! In: what happened on a connection, or what the far side did. Out: messages, credits, frames of
//! the connection, places given back. Never: a place left behind; a flow leaves all tables at once.

use super::credit::bdp_bytes;
use super::flow::{Carrier, Flow, Happened, Role};
use super::stage::EdgeStage;
use super::tcp::{Connection, Finished, Transmitted};
use super::writer::FrameWriter;
use super::{EdgeCounter, LanCounter};
use crate::frame::{FlowKey, Frame, FrameSource, Side};
use crate::interceptor::{Decision, Verdict};
use crate::packet_driver::reset::ResetCause;
use crate::packet_driver::{MessageKind, Outbound, PeerIndex, Upstream};
use crate::time::Time;

impl<F: Frame> EdgeStage<F> {
    /// Calls `act` on a flow's connection and acts on what happened.
    pub(super) fn with_connection(
        &mut self,
        now: Time,
        place: u32,
        act: impl FnOnce(&mut Connection<F>, &mut Carrier<'_, F>),
    ) {
        let Some(flow) = self.table.get_mut(place) else { return };
        let before = flow.handed_up;
        let Flow { facts, connection, handed_up, .. } = flow;
        let mut carrier = Carrier {
            facts,
            upstream: &mut self.upstream,
            handed_up,
            data_messages: 0,
            happened: Happened::default(),
        };
        act(connection.awake(&mut self.connections), &mut carrier);
        let Carrier { happened, data_messages, .. } = carrier;
        self.places.push(facts.peer, data_messages);
        let more = flow.handed_up - before;
        if more > 0 {
            self.counters.add(EdgeCounter::BytesFromHosts, more);
            self.pushed[place as usize] += more;
            if !flow.is_queued {
                flow.is_queued = true;
                self.queued.push_back(place);
            }
            self.update_limit(place);
        }
        self.note_held(place);
        self.settle(now, place, happened);
    }

    fn settle(&mut self, now: Time, place: u32, happened: Happened) {
        let Some(flow) = self.table.get_mut(place) else { return };
        if happened.established {
            let message = flow.facts.open_message(MessageKind::Accept, &flow.parameters());
            self.upstream.push_back(Upstream::Message(message));
            self.update_limit(place);
        }
        if let Some(offset) = happened.acknowledged {
            self.move_credit(now, place, offset);
        }
        if let Some(cause) = happened.ended {
            let Some(flow) = self.table.get_mut(place) else { return };
            flow.was_reset = true;
            let message = flow.facts.signal(MessageKind::Reset, 0, cause.to_status());
            let over = flow.connection.finished().is_some();
            self.send(message);
            if over {
                self.forget(now, place, EdgeCounter::FlowsReset);
            } else {
                // The host is given up, and is sent a reset in case it only seems gone.
                self.counters.increment(EdgeCounter::FlowsReset);
                self.reset_host(now, place);
            }
            return;
        }
        self.touch(place);
    }

    /// Moves the window that the host is offered: as far as the far side takes, and no further
    /// than the flow's share of what may wait here.
    pub(super) fn update_limit(&mut self, place: u32) {
        let Some(flow) = self.table.get_mut(place) else { return };
        let pushed = self.pushed.get(place as usize).copied().unwrap_or(0);
        let waiting = pushed.saturating_sub(self.backlog.drained_bytes(place));
        let share = self.backlog.flow_share_bytes(flow.facts.peer);
        let room = flow.handed_up + share.saturating_sub(waiting);
        let limit = room.min(flow.credit);
        if flow.connection.set_receive_limit(limit, &mut self.connections) {
            self.touch(place);
        }
    }

    /// Follows the packet driver's progress on flows that have bytes queued.
    pub(super) fn follow_backlog(&mut self, most: usize) -> bool {
        for _ in 0..most.min(self.queued.len()) {
            let Some(place) = self.queued.pop_front() else { break };
            let drained = self.backlog.drained_bytes(place);
            let is_quiet = self.pushed.get(place as usize).is_none_or(|pushed| drained >= *pushed);
            let Some(flow) = self.table.get_mut(place) else { continue };
            flow.is_queued = !is_quiet;
            if !is_quiet {
                self.queued.push_back(place);
            }
            self.update_limit(place);
            // Only those with news for their hosts: while the WAN stands still there is none, and
            // more flows than transmit in one turn must not keep the worker busy.
            if self.table.get(place).is_some_and(|flow| flow.connection.wants_transmit()) {
                self.touch(place);
            }
        }
        !self.queued.is_empty()
    }

    /// A place of which no message is queued any more.
    pub(super) fn vacant_place(&self) -> Option<u32> {
        self.table.vacant(|place| {
            let pushed = self.pushed.get(place as usize).copied().unwrap_or(0);
            self.backlog.drained_bytes(place) >= pushed
        })
    }

    /// Takes a flow out of all tables.
    pub(super) fn forget(&mut self, now: Time, place: u32, why: EdgeCounter) {
        let Some(flow) = self.table.get(place) else { return };
        let facts = flow.facts;
        let Some(mut flow) = self.table.remove(place) else { return };
        self.note_held(place);
        self.credit.close(&mut flow.grant);
        self.half_open -= u32::from(flow.is_half_open);
        self.timers.set(place, Time::NEVER);
        self.interceptor.abandon(flow.handle);
        let key_of_host = facts.key_to_host().reversed();
        if let Some(Finished::TimeWait(state)) = flow.connection.finished() {
            self.time_wait.insert(now, key_of_host, state);
        } else if flow.was_reset {
            self.time_wait.insert_reset(now, key_of_host);
        }
        self.connections.end(flow.connection);
        self.counters.increment(EdgeCounter::FlowsEnded);
        if why != EdgeCounter::FlowsEnded {
            self.counters.increment(why);
        }
        self.counters.set(EdgeCounter::Flows, self.table.len() as u64);
    }

    /// Ends a flow on both sides: the far side is told why, our host sees a reset.
    pub(super) fn abort(&mut self, now: Time, place: u32, cause: ResetCause) {
        let Some(flow) = self.table.get_mut(place) else { return };
        let message = flow.facts.signal(MessageKind::Reset, 0, cause.to_status());
        self.send(message);
        self.reset_host(now, place);
    }

    /// Our host sees a reset. The flow stays until that is sent (and repeated), but is no longer
    /// known to the far side.
    pub(super) fn reset_host(&mut self, now: Time, place: u32) {
        let Some(flow) = self.table.get_mut(place) else { return };
        flow.was_reset = true;
        if flow.link.is_some() {
            flow.connection.awake(&mut self.connections).reset(now);
        } else {
            // Nothing was sent to the host yet, and nothing can be.
            flow.connection.awake(&mut self.connections).abandon();
        }
        self.credit.close(&mut flow.grant);
        self.upstream.push_back(Upstream::DiscardFlow { flow: flow.facts.id, place });
        self.table.hide(place);
        self.note_held(place);
        self.touch(place);
    }

    /// Marks a flow as possibly having something to transmit.
    pub(super) fn touch(&mut self, place: u32) {
        let Some(flow) = self.table.get_mut(place) else { return };
        if !flow.is_ready {
            flow.is_ready = true;
            self.ready.push_back(place);
        }
    }

    /// Lets at most `most` flows transmit; says whether more might.
    pub(super) fn transmit<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        source: &mut S,
        most: usize,
    ) -> bool {
        for _ in 0..most.min(self.ready.len()) {
            let Some(place) = self.ready.pop_front() else { break };
            let Some(flow) = self.table.get_mut(place) else { continue };
            flow.is_ready = false;
            let mut blocked = false;
            if let (Some(link), Some(connection)) = (flow.link, flow.connection.if_awake()) {
                let mut writer = FrameWriter {
                    source,
                    frames: &mut self.frames[Side::Lan.index()],
                    frames_max: self.config.frames_max,
                    key: flow.facts.key_to_host(),
                    link,
                    dscp: flow.dscp,
                    device_checksums: self.config.device_checksums[Side::Lan.index()],
                    parts: &mut self.parts,
                    cut_bytes_max: self.config.cut_bytes_max,
                    frames_spare: self.config.frames_spare,
                    starved: false,
                    ip_bytes: 0,
                };
                blocked = connection.transmit(now, &mut writer) == Transmitted::Blocked;
                let (starved, ip_bytes) = (writer.starved, writer.ip_bytes);
                if starved {
                    self.counters.increment(EdgeCounter::FramesExhausted);
                }
                if let Some(lan) = self.lan.get(usize::from(flow.facts.peer.0)) {
                    lan.add(LanCounter::BytesFromPeer, ip_bytes);
                }
            }
            flow.connection.rest(now, &mut self.connections);
            self.timers.set(place, flow.connection.next_timeout());
            let state = flow.connection.state();
            if flow.shown.replace(state) != Some(state) {
                self.interceptor.set_edge_state(flow.handle, state.code());
            }
            if blocked {
                self.touch(place);
                return true;
            }
            if let Some(flow) = self.table.get(place)
                && flow.connection.finished().is_some()
            {
                self.forget(now, place, EdgeCounter::FlowsEnded);
            }
        }
        !self.ready.is_empty()
    }

    /// Queues a message for the packet driver.
    pub(super) fn send(&mut self, message: Outbound<F>) {
        self.upstream.push_back(Upstream::Message(message));
    }

    /// Bandwidth-delay product of the path from a peer, in bytes.
    pub(super) fn bdp_bytes(&self, peer: PeerIndex) -> u64 {
        self.peers
            .get(usize::from(peer.0))
            .map_or(0, |status| bdp_bytes(status.rate_from_bps(), status.rtt_ns()))
    }

    /// Whether a flow that comes from `peer` may be delivered here.
    pub(super) fn accepts(&self, peer: PeerIndex, key: &FlowKey) -> bool {
        self.interceptor.rules().networks().accepts(peer, key)
    }

    /// The place of a split flow by its key, in either direction.
    pub(super) fn place_of_key(&self, key: &FlowKey) -> Option<u32> {
        let found = self.interceptor.lookup(key)?;
        let decision = self.interceptor.decision(found.flow)?;
        (decision.verdict == Verdict::Optimize && decision.slot != Decision::NO_SLOT)
            .then_some(decision.slot)
    }

    /// Whether the flow's host is the one that opened it and still waits.
    pub(super) fn is_held(&self, place: u32) -> bool {
        self.table
            .get(place)
            .is_some_and(|flow| flow.facts.role == Role::Opener && flow.is_half_open)
    }
}
