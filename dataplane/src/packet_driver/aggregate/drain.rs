//! How messages leave the queues: into a buffer, or discarded.

use super::super::{BufferKind, FlowId, Lane, MessageKind, Outbound, OutboundBuffer, PeerIndex};
use super::config::AggregateCounter;
use super::schedule::{GROUP_COUNT, GroupIndex};
use super::slab::Queue;
use super::writer::{Writer, Written};
use super::{
    Aggregator, Downstream, Peer, ROUTING_HEADER_LEN, group_of, is_closed, peer_index, wire_len,
};
use crate::frame::Frame;
use crate::time::Time;

impl<F: Frame> Aggregator<F> {
    /// Discards the data that `flow` has queued in `slot`; its control messages stay.
    pub fn discard_flow(&mut self, slot: u32, flow: FlowId) {
        self.discard_where(slot, AggregateCounter::MessagesReset, |id| id == flow);
    }

    /// Discards all that is queued for a peer.
    pub fn discard_peer(&mut self, peer: PeerIndex) {
        let index = usize::from(peer.0);
        if self.peers.get(index).is_none_or(Peer::is_empty) {
            return;
        }
        for group in (0..GROUP_COUNT).map(GroupIndex) {
            while let Some(slot) = self.first_flow(index, group) {
                self.discard_where(slot, AggregateCounter::MessagesPeerLost, |_| true);
            }
        }
        let Some(peer) = self.peers.get_mut(index) else { return };
        peer.control_bytes = 0;
        while let Some(message) = self.slab.pop_front(&mut peer.control) {
            self.counters.increment(AggregateCounter::MessagesPeerLost);
            self.counters.add(AggregateCounter::DataBytesDiscarded, message.body.len() as u64);
        }
    }

    /// Discards a message of a session that is over, in place of [`Aggregator::push`].
    pub fn discard(&mut self, message: &Outbound<F>) {
        let data_len = message.body.len() as u64;
        self.counters.increment(AggregateCounter::MessagesIn);
        self.counters.increment(AggregateCounter::MessagesPeerLost);
        self.counters.add(AggregateCounter::DataBytesIn, data_len);
        self.counters.add(AggregateCounter::DataBytesDiscarded, data_len);
        if matches!(message.header.kind, MessageKind::Data | MessageKind::Datagram) {
            self.backlog.drained(message.slot, data_len);
            self.backlog.left(message.slot, usize::from(message.peer.0), 1);
        }
    }

    fn discard_where(
        &mut self,
        slot: u32,
        reason: AggregateCounter,
        unwanted: impl Fn(FlowId) -> bool,
    ) {
        let Some(flow) = self.flows.get_mut(slot) else { return };
        let Some(front) = self.slab.front(&flow.queue) else { return };
        let (peer, group) = (usize::from(front.peer.0), group_of(front, flow.sparse));
        let (mut wire_bytes, mut data_bytes, mut messages) = (0, 0, 0);
        let mut kept = Queue::default();
        while let Some(at) = self.slab.front_at(&flow.queue)
            && let Some(message) = self.slab.pop_front(&mut flow.queue)
        {
            if unwanted(message.header.flow) {
                wire_bytes += wire_len(&message);
                data_bytes += message.body.len() as u64;
                messages += 1;
            } else {
                // The place it came from is free.
                let _ = self.slab.push_back(&mut kept, message, at);
            }
        }
        flow.queue = kept;
        self.counters.add(reason, messages);
        self.counters.add(AggregateCounter::DataBytesDiscarded, data_bytes);
        self.backlog.left(slot, peer, messages);
        self.drained(peer, group, slot, wire_bytes, data_bytes);
        self.settle(peer, group, slot);
        self.publish(peer);
    }

    /// Fills the next buffer of one peer.
    pub(super) fn fill_for(
        &mut self,
        now: Time,
        peer_index: usize,
        downstream: [Downstream; Lane::COUNT],
    ) -> Option<OutboundBuffer> {
        if is_closed(&downstream) {
            return None;
        }
        let peer = self.peers.get(peer_index)?;
        if !peer.control.is_empty() {
            return self.fill_control(now, peer_index);
        }
        let readiness = self.readiness(peer, downstream);
        let peer = self.peers.get_mut(peer_index)?;
        let (weights, quantum) = (&self.config.class_weights, peer.quantum_bytes(&self.config));
        let group = peer.schedule.choose(now, &readiness, weights, quantum)?;
        self.fill_group(now, peer_index, group)
    }

    fn fill_control(&mut self, now: Time, index: usize) -> Option<OutboundBuffer> {
        let peer = self.peers.get_mut(index)?;
        let len_max = self.config.control_size_max;
        let Some(buffer) = self.pool.alloc_reserved(buffer_len(peer.control_bytes, len_max)) else {
            return self.no_buffer(now);
        };
        let destination = self.config.peers.get(index).copied().flatten();
        let mut writer = Writer::new(buffer, len_max);
        while let Some(front) = self.slab.front_mut(&peer.control) {
            let (wire_len, data_len) = (wire_len(front), front.body.len() as u64);
            if writer.write(front, destination) != Written::Whole {
                break;
            }
            self.slab.pop_front(&mut peer.control);
            peer.control_bytes = peer.control_bytes.saturating_sub(wire_len);
            self.counters.increment(AggregateCounter::MessagesOut);
            self.counters.add(AggregateCounter::DataBytesOut, data_len);
        }
        self.counters.increment(AggregateCounter::ControlBuffersOut);
        Some(OutboundBuffer {
            peer: peer_index(index),
            session: self.session(peer_index(index)),
            lane: Lane::BULK,
            kind: BufferKind::Control,
            compress: false,
            deadline: None,
            bytes: writer.finish(BufferKind::Control),
        })
    }

    fn fill_group(&mut self, now: Time, index: usize, group: GroupIndex) -> Option<OutboundBuffer> {
        let first = loop {
            let slot = self.first_flow(index, group)?;
            if !self.rest(index, group, slot) {
                break self.slab.front(&self.flows.get(slot)?.queue)?;
            }
        };
        let limit = self.peers.get(index)?.buffer_limit;
        let len_max = match group.kind() {
            // A packet is not cut: its buffer is as large as it has to be.
            BufferKind::Datagram => limit
                .min(self.config.packet_buffer_size_max)
                .max(ROUTING_HEADER_LEN + usize::try_from(wire_len(first)).unwrap_or(limit))
                .min(self.config.buffer_size_max),
            BufferKind::Stream | BufferKind::Control => limit,
        };
        let queued = self.peers.get(index)?.schedule.groups.get(group.0)?.wire_bytes;
        let Some(buffer) = self.pool.alloc(buffer_len(queued, len_max)) else {
            return self.no_buffer(now);
        };
        let mut writer = Writer::new(buffer, len_max);
        let mut deadline = None;
        while let Some(slot) = self.first_flow(index, group) {
            if self.rest(index, group, slot) {
                continue;
            }
            let until = self.until(group, slot);
            if until.is_some_and(|until| until <= now) {
                self.expire_one(index, group, slot);
                continue;
            }
            let written = writer.messages();
            let goes_on = self.write_one(now, &mut writer, index, group, slot);
            if writer.messages() > written {
                deadline = deadline.min(until).or(until);
            }
            if !goes_on {
                break;
            }
        }
        if writer.messages() == 0 {
            return None;
        }
        let bytes = writer.finish(group.kind());
        if let Some(peer) = self.peers.get_mut(index) {
            peer.schedule.charge(group, bytes.len(), now);
        }
        self.publish(index);
        Some(OutboundBuffer {
            peer: peer_index(index),
            session: self.session(peer_index(index)),
            lane: group.lane(),
            kind: group.kind(),
            compress: group.compress(),
            deadline,
            bytes,
        })
    }

    fn no_buffer(&mut self, now: Time) -> Option<OutboundBuffer> {
        self.counters.increment(AggregateCounter::NoBuffer);
        self.retry_at = now + self.config.flush_deadline_ns;
        None
    }

    fn first_flow(&self, peer: usize, group: GroupIndex) -> Option<u32> {
        self.peers.get(peer)?.schedule.groups.get(group.0)?.flows.front()
    }

    /// Until when the first message of a flow is of use.
    fn until(&self, group: GroupIndex, slot: u32) -> Option<Time> {
        if group.kind() != BufferKind::Datagram {
            return None;
        }
        let deadline_ns = *self.config.deadlines_ns.get(usize::from(group.class().0))?;
        let at = self.slab.front_at(&self.flows.get(slot)?.queue)?;
        (deadline_ns > 0).then_some(at + deadline_ns)
    }

    /// Drops the first message of a flow, which nobody has a use for any more.
    fn expire_one(&mut self, peer: usize, group: GroupIndex, slot: u32) {
        let Some(flow) = self.flows.get_mut(slot) else { return };
        let Some(message) = self.slab.pop_front(&mut flow.queue) else { return };
        let data_len = message.body.len() as u64;
        self.counters.increment(AggregateCounter::DatagramsExpired);
        self.counters.add(AggregateCounter::DataBytesDiscarded, data_len);
        self.backlog.left(slot, peer, 1);
        self.drained(peer, group, slot, wire_len(&message), data_len);
        self.settle(peer, group, slot);
        self.publish(peer);
    }

    // A flow that has had its share goes to the end of the line, with its share of the next round.
    fn rest(&mut self, peer: usize, group: GroupIndex, slot: u32) -> bool {
        let Some(flow) = self.flows.get_mut(slot).filter(|flow| flow.deficit <= 0) else {
            return false;
        };
        let peer = self.peers.get_mut(peer);
        let quantum = peer
            .as_ref()
            .map_or(self.config.quantum_bytes, |peer| peer.quantum_bytes(&self.config));
        flow.deficit += i64::from(quantum);
        flow.sparse = false;
        let wire_bytes = flow.wire_bytes;
        let Some(peer) = peer else { return true };
        let to = group.ordinary();
        let Some(from) = peer.schedule.groups.get_mut(group.0) else { return true };
        self.flows.unlink(&mut from.flows, slot);
        let since = from.since;
        if to != group {
            from.wire_bytes = from.wire_bytes.saturating_sub(wire_bytes);
        }
        if let Some(ordinary) = peer.schedule.groups.get_mut(to.0) {
            if to != group {
                ordinary.since = ordinary.since.min(since);
                ordinary.wire_bytes += wire_bytes;
            }
            self.flows.link(&mut ordinary.flows, slot);
        }
        true
    }

    // Writes the first message of a flow; whether the buffer can take more.
    fn write_one(
        &mut self,
        now: Time,
        writer: &mut Writer,
        peer: usize,
        group: GroupIndex,
        slot: u32,
    ) -> bool {
        let destination = self.config.peers.get(peer).copied().flatten();
        let Some(flow) = self.flows.get_mut(slot) else { return false };
        let Some(front) = self.slab.front_mut(&flow.queue) else { return false };
        let (wire_before, data_before) = (wire_len(front), front.body.len() as u64);
        let headers_before = writer.messages();
        let written = writer.write(front, destination);
        let data_len = data_before.saturating_sub(front.body.len() as u64);
        flow.deficit -= i64::try_from(data_len).unwrap_or(i64::MAX);
        flow.served_at = now;
        let wire_len = if written == Written::Whole {
            self.slab.pop_front(&mut flow.queue);
            self.counters.increment(AggregateCounter::MessagesOut);
            self.backlog.left(slot, peer, 1);
            if writer.messages() == headers_before {
                self.counters.increment(AggregateCounter::MessagesMerged);
            }
            wire_before
        } else {
            data_len
        };
        self.counters.add(AggregateCounter::DataBytesOut, data_len);
        self.drained(peer, group, slot, wire_len, data_len);
        if written == Written::Whole {
            self.settle(peer, group, slot);
        }
        written == Written::Whole
    }

    // Bytes have left the queue of a flow: keeps all sums.
    fn drained(
        &mut self,
        peer: usize,
        group: GroupIndex,
        slot: u32,
        wire_bytes: u64,
        data_bytes: u64,
    ) {
        if let Some(flow) = self.flows.get_mut(slot) {
            flow.wire_bytes = flow.wire_bytes.saturating_sub(wire_bytes);
            flow.data_bytes = flow.data_bytes.saturating_sub(data_bytes);
        }
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.data_bytes = peer.data_bytes.saturating_sub(data_bytes);
            if let Some(group) = peer.schedule.groups.get_mut(group.0) {
                group.wire_bytes = group.wire_bytes.saturating_sub(wire_bytes);
            }
        }
        self.backlog.drained(slot, data_bytes);
    }

    // After messages left a flow of `group`: it leaves the group when it is empty, or when its
    // next message belongs to another (its slot went to a new flow).
    fn settle(&mut self, peer: usize, group: GroupIndex, slot: u32) {
        let Some(peer) = self.peers.get_mut(peer) else { return };
        let Some(flow) = self.flows.get(slot) else { return };
        let wire_bytes = flow.wire_bytes;
        let next = self.slab.front(&flow.queue).map(|next| group_of(next, flow.sparse));
        if next == Some(group) {
            return;
        }
        let Some(from) = peer.schedule.groups.get_mut(group.0) else { return };
        self.flows.unlink(&mut from.flows, slot);
        from.wire_bytes = from.wire_bytes.saturating_sub(wire_bytes);
        let since = from.since;
        let Some(next) = next else {
            peer.flows = peer.flows.saturating_sub(1);
            return;
        };
        let Some(to) = peer.schedule.groups.get_mut(next.0) else { return };
        self.flows.link(&mut to.flows, slot);
        to.since = to.since.min(since);
        to.wire_bytes += wire_bytes;
    }
}

// A buffer for what is queued, or as large as one may be.
fn buffer_len(queued_bytes: u64, len_max: usize) -> usize {
    usize::try_from(queued_bytes).unwrap_or(len_max).saturating_add(ROUTING_HEADER_LEN).min(len_max)
}
