//! Puts the messages of all flows into buffers.
//!
//! In: messages of edges, their data still in the frames they came in. Out: buffers, each of one
//! peer, class, kind and compression, filled by deficit round robin over the flows; a frame is
//! freed as soon as its data are copied. Never: more than the places reserved at start, an
//! allocation other than a buffer from the pool, a lock.
//!
//! Messages wait in the queue of their flow until a buffer is to be filled, so the choice of what
//! goes next is made as late as it can be, and a buffer is no larger than what there is to send.

mod backlog;
mod config;
mod drain;
mod flows;
mod schedule;
mod slab;
#[cfg(test)]
mod tests;
mod writer;

use std::net::IpAddr;
use std::sync::atomic::Ordering;

pub use backlog::{Backlog, FLOW_SHARE_BYTES_MIN};
pub use config::{AggregateConfig, AggregateCounter, DEADLINE_NS};

use super::header::{MESSAGE_DATA_MAX, header_len};
use super::routing::ROUTING_HEADER_LEN;
use super::{
    BufferKind, BufferPool, CLASS_COUNT, Lane, MessageKind, Outbound, OutboundBuffer, PeerIndex,
    SessionNumber,
};
use crate::counters::Counters;
use crate::frame::Frame;
use crate::time::Time;
use flows::Flows;
use schedule::{GroupIndex, Readiness, Schedule};
use slab::{Queue, Slab};

/// Bytes of data that a host is taken to put into one message when it sends much: less than an
/// Ethernet's segment has.
const PLACE_BYTES: u64 = 1_024;

/// What the next stage can take of a lane for a peer. All lanes of a peer are told at once, in the
/// order of [`Lane::all`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downstream {
    /// Nothing: there is no session, or no place at all.
    Closed,
    /// Control buffers only.
    Full,
    /// Buffers; it has work, so one that is not full had better wait for more.
    Busy,
    /// Buffers; it has nothing to do before, so waiting gains nothing.
    Idle,
}

#[derive(Default)]
struct Peer {
    /// The session that what is queued is of.
    session: SessionNumber,
    control: Queue,
    control_bytes: u64,
    schedule: Schedule,
    data_bytes: u64,
    flows: u64,
    /// Bytes of one buffer of a stream: less than the largest where the rate is low.
    buffer_limit: usize,
}

impl Peer {
    fn is_empty(&self) -> bool {
        self.control.is_empty() && self.flows == 0
    }

    // A group with this much queued fills a buffer.
    fn full_bytes(&self) -> u64 {
        self.buffer_limit.saturating_sub(ROUTING_HEADER_LEN) as u64
    }

    // What a flow may send before the next one's turn: a quarter of a buffer at most, however
    // small buffers are.
    fn quantum_bytes(&self, config: &AggregateConfig) -> u32 {
        let quarter = u32::try_from(self.buffer_limit / 4).unwrap_or(u32::MAX);
        config.quantum_bytes.min(quarter.max(config::QUANTUM_BYTES_MIN))
    }
}

/// Puts messages into buffers. One per worker that does so.
pub struct Aggregator<F> {
    config: AggregateConfig,
    pool: BufferPool,
    slab: Slab<F>,
    flows: Flows,
    peers: Box<[Peer]>,
    /// Whose turn it is.
    turn: usize,
    /// Before this, filling a buffer is not worth another try: the pool was empty.
    retry_at: Time,
    backlog: Backlog,
    counters: Counters<AggregateCounter>,
}

impl<F: Frame> Aggregator<F> {
    /// An aggregator with these limits, which takes its buffers from `pool`. Sizes and the quantum
    /// are raised to the least that works.
    #[must_use]
    pub fn new(mut config: AggregateConfig, pool: BufferPool) -> Self {
        config.quantum_bytes = config.quantum_bytes.max(config::QUANTUM_BYTES_MIN);
        config.buffer_size_max = config.buffer_size_max.max(config::BUFFER_SIZE_MIN);
        config.control_size_max = config.control_size_max.max(config::CONTROL_SIZE_MIN);
        Aggregator {
            slab: Slab::new(config.messages_max),
            flows: Flows::new(config.flows_max),
            peers: config
                .peers
                .iter()
                .map(|_| Peer { buffer_limit: config.buffer_size_max, ..Peer::default() })
                .collect(),
            turn: 0,
            retry_at: Time::ZERO,
            backlog: Backlog::new(
                config.flows_max,
                config.peers.len(),
                config.messages_max.saturating_sub(config.control_reserve),
                config.edges,
            ),
            counters: Counters::default(),
            config,
            pool,
        }
    }

    /// The counters. Taken in = put out + discarded + still queued.
    #[must_use]
    pub fn counters(&self) -> &Counters<AggregateCounter> {
        &self.counters
    }

    /// How many edges give it messages, each in slots of its own.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.backlog.edges()
    }

    /// Gauges that the edges read, also from other workers; as the first of them sees them.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.backlog.clone()
    }

    /// Bytes of data that `peer`'s flows may have queued: backlog time times rate. It bounds what
    /// [`Backlog`] promises; what was promised before is still taken. No more is promised than there
    /// are places for, in segments of [`PLACE_BYTES`]: what finds none is dropped.
    pub fn set_backlog_limit(&mut self, peer: PeerIndex, limit_bytes: u64) {
        let limit_bytes = limit_bytes.min(self.backlog.places() * PLACE_BYTES);
        if let Some(gauges) = self.backlog.peer(usize::from(peer.0)) {
            gauges.limit_bytes.store(limit_bytes, Ordering::Relaxed);
        }
    }

    /// Bytes of one buffer for `peer`, at most: less than the largest where the rate is low. Flows
    /// take turns after shares that are accordingly smaller.
    pub fn set_buffer_limit(&mut self, peer: PeerIndex, limit_bytes: u64) {
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        let limit = limit.clamp(config::BUFFER_SIZE_MIN, self.config.buffer_size_max);
        if let Some(peer) = self.peers.get_mut(usize::from(peer.0)) {
            peer.buffer_limit = limit;
        }
    }

    /// The address of a peer, for headers in full form.
    pub fn set_address(&mut self, peer: PeerIndex, address: IpAddr) {
        if let Some(place) = self.config.peers.get_mut(usize::from(peer.0)) {
            *place = Some(address);
        }
    }

    /// How long a buffer that is not full may wait for more, in nanoseconds.
    pub fn set_flush_deadline(&mut self, flush_deadline_ns: u64) {
        self.config.flush_deadline_ns = flush_deadline_ns;
    }

    /// For how long packets of each class are of use, in nanoseconds.
    pub fn set_deadlines(&mut self, deadlines_ns: [u64; CLASS_COUNT]) {
        self.config.deadlines_ns = deadlines_ns;
    }

    /// Messages that wait.
    #[must_use]
    pub fn queued_messages(&self) -> usize {
        self.slab.used_count()
    }

    /// Bytes of data that wait in the queue of `slot`.
    #[must_use]
    pub fn queued_bytes(&self, slot: u32) -> u64 {
        self.flows.get(slot).map_or(0, |flow| flow.data_bytes)
    }

    /// The session that `peer`'s messages are of.
    #[must_use]
    pub fn session(&self, peer: PeerIndex) -> SessionNumber {
        self.peers.get(usize::from(peer.0)).map_or(SessionNumber::NONE, |peer| peer.session)
    }

    /// Messages to `peer` are of this session from now on; what is queued is of a former one.
    pub fn begin_session(&mut self, peer: PeerIndex, session: SessionNumber) {
        self.discard_peer(peer);
        if let Some(peer) = self.peers.get_mut(usize::from(peer.0)) {
            peer.session = session;
        }
    }

    /// Takes a message in. A reset discards what its flow has queued. What no buffer can carry
    /// (slot, peer or range that do not exist, too long) is dropped, and so are packets of packet
    /// mode that find no place; both are counted, and are drained from every account.
    ///
    /// # Errors
    /// The message itself, when it is of a stream or a control message and finds no place (data
    /// leave the reserved ones to control messages): the caller keeps it and tries again. Bytes
    /// of a stream are acknowledged to their host, so nothing here drops them for want of room.
    #[expect(clippy::result_large_err, reason = "the error is the message itself, moved back")]
    pub fn push(&mut self, now: Time, message: Outbound<F>) -> Result<(), Outbound<F>> {
        if !self.can_carry(&message) {
            debug_assert!(
                message.header.kind != MessageKind::Data,
                "bytes that were acknowledged to a host: {:?}",
                message.header
            );
            self.drop_pushed(AggregateCounter::MessagesRefused, &message);
            return Ok(());
        }
        let data_len = message.body.len() as u64;
        let kind = message.header.kind.buffer_kind();
        let pushed = match kind {
            BufferKind::Control => self.push_control(now, message),
            BufferKind::Stream | BufferKind::Datagram => self.push_data(now, message),
        };
        match (pushed, kind) {
            (Ok(()), _) => {
                self.counters.increment(AggregateCounter::MessagesIn);
                self.counters.add(AggregateCounter::DataBytesIn, data_len);
                Ok(())
            }
            (Err(message), BufferKind::Datagram) => {
                self.drop_pushed(AggregateCounter::DatagramsFull, &message);
                Ok(())
            }
            (Err(message), _) => {
                self.counters.increment(AggregateCounter::MessagesWaited);
                Err(message)
            }
        }
    }

    // Whether there is a buffer that can carry a message, a peer it is for and a slot it is in.
    fn can_carry(&self, message: &Outbound<F>) -> bool {
        let kind = message.header.kind;
        let known = usize::from(message.peer.0) < self.peers.len()
            && (kind.buffer_kind() == BufferKind::Control
                || self.flows.get(message.slot).is_some());
        let fits = match kind.buffer_kind() {
            BufferKind::Control => fits(message, self.config.control_size_max),
            BufferKind::Datagram => fits(message, self.config.buffer_size_max),
            // Cut to what there is room for.
            BufferKind::Stream => true,
        };
        known && fits && message.body.is_sound()
    }

    // A message ends here: it came in, was dropped, and is drained from every account.
    fn drop_pushed(&mut self, reason: AggregateCounter, message: &Outbound<F>) {
        let data_len = message.body.len() as u64;
        self.counters.increment(AggregateCounter::MessagesIn);
        self.counters.increment(reason);
        self.counters.add(AggregateCounter::DataBytesIn, data_len);
        self.counters.add(AggregateCounter::DataBytesDiscarded, data_len);
        if message.header.kind.buffer_kind() != BufferKind::Control {
            self.backlog.drained(message.slot, data_len);
            self.backlog.left(message.slot, usize::from(message.peer.0), 1);
        }
    }

    #[expect(clippy::result_large_err, reason = "the error is the message itself, moved back")]
    fn push_control(&mut self, now: Time, message: Outbound<F>) -> Result<(), Outbound<F>> {
        let wire_len = wire_len(&message);
        let Some(peer) = self.peers.get_mut(usize::from(message.peer.0)) else {
            return Err(message);
        };
        let (kind, slot, flow) = (message.header.kind, message.slot, message.header.flow);
        self.slab.push_back(&mut peer.control, message, now)?;
        peer.control_bytes += wire_len;
        if kind == MessageKind::Reset {
            self.discard_flow(slot, flow);
        }
        Ok(())
    }

    #[expect(clippy::result_large_err, reason = "the error is the message itself, moved back")]
    fn push_data(&mut self, now: Time, message: Outbound<F>) -> Result<(), Outbound<F>> {
        let (wire_len, data_len) = (wire_len(&message), message.body.len() as u64);
        let (slot, peer_index) = (message.slot, usize::from(message.peer.0));
        let (Some(peer), Some(flow)) = (self.peers.get_mut(peer_index), self.flows.get_mut(slot))
        else {
            return Err(message);
        };
        // A slot that went to a flow of another peer has to empty first.
        let front = self.slab.front(&flow.queue);
        let moved = front.is_some_and(|front| front.peer != message.peer);
        if moved || self.slab.free_count() <= self.config.control_reserve {
            return Err(message);
        }
        let starts = front.is_none();
        if starts {
            // Not one that a crowd keeps waiting for its turn: it had nothing to send.
            flow.sparse = message.body.len() <= config::SPARSE_BYTES_MAX
                && now >= flow.served_at + config::SPARSE_AFTER_NS;
            flow.deficit = if flow.sparse {
                config::SPARSE_QUANTUM_BYTES
            } else {
                i64::from(peer.quantum_bytes(&self.config))
            };
        }
        let GroupIndex(index) = group_of(front.unwrap_or(&message), flow.sparse);
        self.slab.push_back(&mut flow.queue, message, now)?;
        flow.data_bytes += data_len;
        flow.wire_bytes += wire_len;
        peer.data_bytes += data_len;
        if let Some(group) = peer.schedule.groups.get_mut(index) {
            if group.wire_bytes == 0 {
                group.since = now;
            }
            group.wire_bytes += wire_len;
            if starts {
                peer.flows += 1;
                self.flows.link(&mut group.flows, slot);
            }
        }
        self.publish(peer_index);
        Ok(())
    }

    /// The next buffer, if there is one to be filled: control first, then by class. `downstream`
    /// says what the next stage can take of each lane for a peer, as of now.
    pub fn pull(
        &mut self,
        now: Time,
        mut downstream: impl FnMut(PeerIndex) -> [Downstream; Lane::COUNT],
    ) -> Option<OutboundBuffer> {
        let count = self.peers.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            if self.peers.get(index).is_none_or(Peer::is_empty) {
                continue;
            }
            if let Some(buffer) = self.fill_for(now, index, downstream(peer_index(index))) {
                self.turn = (index + 1) % count;
                self.counters.increment(AggregateCounter::BuffersOut);
                self.counters.add(AggregateCounter::BytesOut, buffer.bytes.len() as u64);
                return Some(buffer);
            }
        }
        None
    }

    /// When [`Aggregator::pull`] may next have a buffer, if nothing is pushed until then.
    pub fn next_timeout(
        &self,
        mut downstream: impl FnMut(PeerIndex) -> [Downstream; Lane::COUNT],
    ) -> Time {
        let waiting = self.peers.iter().enumerate().filter(|(_, peer)| !peer.is_empty());
        let earliest = waiting.map(|(index, peer)| {
            let downstream = downstream(peer_index(index));
            if is_closed(&downstream) {
                Time::NEVER
            } else if !peer.control.is_empty() {
                Time::ZERO
            } else {
                peer.schedule.next_timeout(&self.readiness(peer, downstream))
            }
        });
        earliest.min().unwrap_or(Time::NEVER).max(self.retry_at)
    }

    fn readiness(&self, peer: &Peer, downstream: [Downstream; Lane::COUNT]) -> Readiness {
        let packets_bytes = self.config.packet_buffer_size_max.saturating_sub(ROUTING_HEADER_LEN);
        Readiness {
            downstream,
            full_bytes: peer.full_bytes(),
            packets_full_bytes: packets_bytes as u64,
            flush_deadline_ns: self.config.flush_deadline_ns,
        }
    }

    // Tells the readers of the gauges how much a peer has queued.
    fn publish(&self, peer_index: usize) {
        let Some(peer) = self.peers.get(peer_index) else { return };
        let Some(gauges) = self.backlog.peer(peer_index) else { return };
        gauges.queued_bytes.store(peer.data_bytes, Ordering::Relaxed);
        gauges.flows.store(peer.flows, Ordering::Relaxed);
    }
}

fn peer_index(index: usize) -> PeerIndex {
    PeerIndex(u16::try_from(index).unwrap_or(u16::MAX))
}

/// Whether there is nobody to take anything.
fn is_closed(states: &[Downstream; Lane::COUNT]) -> bool {
    states.iter().all(|state| *state == Downstream::Closed)
}

fn group_of<F>(message: &Outbound<F>, sparse: bool) -> GroupIndex {
    let lane = Lane::new(message.class, sparse);
    GroupIndex::new(lane, message.header.kind.buffer_kind(), message.compress)
}

// Bytes of header and data; merging may save some of them.
fn wire_len<F: Frame>(message: &Outbound<F>) -> u64 {
    (header_len(&message.header) + message.body.len()) as u64
}

// Whether a message fits a buffer without being cut.
fn fits<F: Frame>(message: &Outbound<F>, buffer_len_max: usize) -> bool {
    message.body.len() <= MESSAGE_DATA_MAX
        && wire_len(message) + ROUTING_HEADER_LEN as u64 <= buffer_len_max as u64
}
