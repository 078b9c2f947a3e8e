//! The aggregate stage: drives the packet driver's aggregator.
//!
//! In: messages of the edges, over a link from each. Out: buffers, while the data mover keeps up: which
//! edge a flow has makes no difference to its share. Never: more than a few buffers ahead of the data mover, so that what waits, waits where the
//! round robin can still choose.

use std::net::IpAddr;
use std::sync::Arc;

use crate::edge::credit::bdp_bytes;
use crate::frame::Frame;
use crate::link::{Dealt, Link, REPLICAS_MAX};
use crate::packet_driver::aggregate::{Aggregator, Downstream};
use crate::packet_driver::{
    CLASS_COUNT, Lane, MessageKind, Outbound, OutboundBuffer, PeerIndex, PeerStatus, SessionNumber,
    Upstream,
};
use crate::time::{MILLISECOND_NS, Time};

/// Messages taken in per turn, at most.
const MESSAGES_PER_TURN: usize = 256;
/// Buffers between aggregation and the data mover, per peer and compressor, at most: one in its
/// hands, one behind it.
const BUFFERS_AHEAD: u64 = 2;
/// The same with as many compressors as there can be.
pub(super) const BUFFERS_AHEAD_MAX: u64 = BUFFERS_AHEAD * REPLICAS_MAX as u64;
/// What may be on its way to the data mover or queued there and more still be given, in time at
/// its rate: long enough to bridge a worker's sleep, short enough to be no delay to speak of.
const MOVER_QUEUE_NS: u64 = 2 * MILLISECOND_NS;
/// The least a backlog limit is set to, in bytes: four segments, so that a host can send on while
/// its acknowledgement is under way.
const BACKLOG_BYTES_MIN: u64 = 4 * 1460;
/// The least that the size of buffers is limited to, in bytes.
const BUFFER_BYTES_MIN: u64 = 4096;
/// Buffers that the backlog is divided into at least: where the rate is low, buffers are closed
/// before they are full, lest small messages wait for as long as a large buffer takes.
const BUFFERS_PER_BACKLOG: u64 = 2;

/// State of the aggregate stage.
pub struct AggregateStage<F> {
    aggregator: Aggregator<F>,
    peers: Arc<[PeerStatus]>,
    /// Per peer: buffers handed on so far, and the limit last set.
    handed_on: Box<[u64]>,
    /// How many of them may be on their way to the data mover.
    ahead_max: u64,
    buffer_size_max: u64,
    /// Per peer: the same as its rate allows.
    buffer_limits: Box<[u64]>,
    backlog_ns: u64,
    rates_bps: Box<[u64]>,
    edges: Box<[FromEdge<F>]>,
    /// The edge whose messages are taken in first.
    first: usize,
    /// Per peer: of how many edges the list of flows is complete, and how many flows were in these.
    lists: Box<[(usize, u64)]>,
}

/// What is known of one edge.
struct FromEdge<F> {
    /// Its first slot.
    first_slot: u32,
    /// By peer, the session that its messages are of: edges hear of changes at different times.
    sessions: Box<[SessionNumber]>,
    /// A message for which there was no place: what of a stream is here is acknowledged to a
    /// host, so it waits, and all of this edge behind it.
    held: Option<Outbound<F>>,
}

impl<F: Frame> AggregateStage<F> {
    /// A stage around an aggregator of buffers up to `buffer_size_max` bytes; `backlog_ns` is how
    /// much may wait in it, in time.
    #[must_use]
    pub fn new(
        aggregator: Aggregator<F>,
        peers: Arc<[PeerStatus]>,
        buffer_size_max: usize,
        backlog_ns: u64,
    ) -> Self {
        let count = peers.len();
        let backlog = aggregator.backlog();
        let edges = (0..aggregator.edges()).map(|edge| FromEdge {
            first_slot: backlog.of_edge(edge).first_slot(),
            sessions: vec![SessionNumber::NONE; count].into_boxed_slice(),
            held: None,
        });
        AggregateStage {
            edges: edges.collect(),
            first: 0,
            lists: vec![(0, 0); count].into_boxed_slice(),
            aggregator,
            peers,
            handed_on: vec![0; count].into_boxed_slice(),
            ahead_max: BUFFERS_AHEAD,
            buffer_size_max: buffer_size_max as u64,
            buffer_limits: vec![buffer_size_max as u64; count].into_boxed_slice(),
            backlog_ns,
            rates_bps: vec![0; count].into_boxed_slice(),
        }
    }

    /// The same for so many compressors.
    #[must_use]
    pub fn with_compressors(mut self, compressors: usize) -> Self {
        self.ahead_max = BUFFERS_AHEAD * compressors.clamp(1, REPLICAS_MAX) as u64;
        self
    }

    /// The time that data may wait, in all and in a buffer that is not full, and for how long packets
    /// of each class are of use, configured anew.
    pub fn reconfigure(
        &mut self,
        backlog_ns: u64,
        flush_deadline_ns: u64,
        deadlines_ns: [u64; CLASS_COUNT],
    ) {
        self.backlog_ns = backlog_ns;
        self.rates_bps.fill(0);
        self.aggregator.set_flush_deadline(flush_deadline_ns);
        self.aggregator.set_deadlines(deadlines_ns);
    }

    /// A peer comes, which has this address, to a place where nobody is.
    pub fn welcome(&mut self, peer: PeerIndex, address: IpAddr) {
        self.aggregator.set_address(peer, address);
    }

    /// Whether no message waits here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let held = self.edges.iter().any(|edge| edge.held.is_some());
        !held && self.aggregator.queued_messages() == 0
    }

    /// Takes messages in, from each edge, and fills at most one buffer; says whether there was
    /// anything to do.
    pub fn turn(
        &mut self,
        now: Time,
        messages: &mut [Link<Upstream<F>>],
        buffers: &mut Dealt<OutboundBuffer>,
    ) -> bool {
        self.follow_peers();
        let mut busy = self.take_in(now, messages);
        if buffers.room() == 0 {
            return busy;
        }
        let pulled = {
            let Self { aggregator, peers, handed_on, buffer_limits, ahead_max, .. } = self;
            let gone = HandedOn { handed_on, buffer_limits, ahead_max: *ahead_max };
            aggregator.pull(now, |peer| gone.downstream(peers, peer))
        };
        if let Some(buffer) = pulled {
            if let Some(count) = self.handed_on.get_mut(usize::from(buffer.peer.0)) {
                *count += 1;
            }
            let _ = buffers.push(buffer);
            busy = true;
        }
        busy
    }

    /// Takes messages in, of one edge after the other, who is first by turns.
    fn take_in(&mut self, now: Time, messages: &mut [Link<Upstream<F>>]) -> bool {
        let edges = messages.len().min(self.edges.len()).max(1);
        self.first = if self.first + 1 < edges { self.first + 1 } else { 0 };
        let mut busy = false;
        for step in 0..edges {
            let edge = (self.first + step) % edges;
            if let Some(messages) = messages.get_mut(edge) {
                busy |= self.take_from(now, edge, messages, MESSAGES_PER_TURN / edges);
            }
        }
        busy
    }

    /// Takes in at most `most` messages of an edge, in order, until there is no place for one.
    fn take_from(
        &mut self,
        now: Time,
        edge: usize,
        messages: &mut Link<Upstream<F>>,
        most: usize,
    ) -> bool {
        let mut busy = false;
        for _ in 0..most {
            let Some(from) = self.edges.get_mut(edge) else { break };
            let (held, first_slot) = (from.held.take(), from.first_slot);
            let is_new = held.is_none();
            let mut item = held.map(Upstream::Message).or_else(|| messages.pop());
            if let Some(item) = &mut item
                && is_new
            {
                item.put_behind(first_slot);
            }
            match item {
                None => break,
                Some(Upstream::Message(message)) if !self.is_current(edge, message.peer) => {
                    // Before its place is asked for: nothing waits for what will never be sent.
                    self.aggregator.discard(&message);
                }
                Some(Upstream::Message(message)) => {
                    let whole = if is_new { self.whole_list(message) } else { Some(message) };
                    if let Some(message) = whole
                        && let Err(refused) = self.aggregator.push(now, message)
                    {
                        debug_assert!(refused.header.kind != MessageKind::Datagram);
                        if let Some(from) = self.edges.get_mut(edge) {
                            from.held = Some(refused);
                        }
                        break;
                    }
                }
                Some(Upstream::DiscardFlow { place, flow }) => {
                    self.aggregator.discard_flow(place, flow);
                }
                Some(Upstream::Session { peer, session }) => {
                    self.begin_session(edge, peer, session);
                }
            }
            busy = true;
        }
        busy
    }

    /// An edge's messages are of this session from now on. The first edge that says so begins it for
    /// all: what is queued is of a former one.
    fn begin_session(&mut self, edge: usize, peer: PeerIndex, session: SessionNumber) {
        let index = usize::from(peer.0);
        let of_edge = self.edges.get_mut(edge).and_then(|from| from.sessions.get_mut(index));
        if let Some(of_edge) = of_edge {
            *of_edge = session;
        }
        // That it is over is seen by its peer's status, and messages of it are not sent.
        if session.is_after(self.aggregator.session(peer)) {
            self.aggregator.begin_session(peer, session);
            if let Some(list) = self.lists.get_mut(index) {
                *list = (0, 0);
            }
        }
    }

    /// A peer is told once that the list of flows that it held is complete: when those of all edges
    /// are. Any other message as it is.
    fn whole_list(&mut self, mut message: Outbound<F>) -> Option<Outbound<F>> {
        if message.header.kind != MessageKind::HeldEnd {
            return Some(message);
        }
        let (complete, flows) = self.lists.get_mut(usize::from(message.peer.0))?;
        *complete += 1;
        *flows += message.header.sequence;
        message.header.sequence = *flows;
        (*complete == self.edges.len()).then_some(message)
    }

    /// When the next turn may have something to do, if nothing comes in until then.
    #[must_use]
    pub fn next_timeout(&self) -> Time {
        let Self { handed_on, buffer_limits, ahead_max, .. } = self;
        let gone = HandedOn { handed_on, buffer_limits, ahead_max: *ahead_max };
        self.aggregator.next_timeout(|peer| gone.downstream(&self.peers, peer))
    }

    /// Whether the messages that come from an edge for a peer now are of the session that there is:
    /// edges hear of changes later than the data mover.
    fn is_current(&self, edge: usize, peer: PeerIndex) -> bool {
        let index = usize::from(peer.0);
        let session = self.edges.get(edge).and_then(|from| from.sessions.get(index));
        let (Some(status), Some(session)) = (self.peers.get(index), session) else { return false };
        is_current(status, *session)
    }

    fn follow_peers(&mut self) {
        for (index, status) in self.peers.iter().enumerate() {
            let peer = peer_index(index);
            if !is_current(status, self.aggregator.session(peer)) {
                // At once: the edge's word for it may wait behind a message without a place.
                self.aggregator.discard_peer(peer);
            }
            let rate_bps = status.rate_bps();
            if self.rates_bps[index] != rate_bps {
                self.rates_bps[index] = rate_bps;
                let limit_bytes = bdp_bytes(rate_bps, self.backlog_ns).max(BACKLOG_BYTES_MIN);
                self.aggregator.set_backlog_limit(peer, limit_bytes);
                let buffer_limit = (limit_bytes / BUFFERS_PER_BACKLOG)
                    .max(BUFFER_BYTES_MIN)
                    .min(self.buffer_size_max);
                self.buffer_limits[index] = buffer_limit;
                self.aggregator.set_buffer_limit(peer, buffer_limit);
            }
        }
    }
}

/// Whether messages of this session can still be sent.
fn is_current(status: &PeerStatus, session: SessionNumber) -> bool {
    session != SessionNumber::NONE && status.session() == session
}

/// What was given to the data mover, by peer.
struct HandedOn<'a> {
    handed_on: &'a [u64],
    buffer_limits: &'a [u64],
    ahead_max: u64,
}

impl HandedOn<'_> {
    /// Whether the data mover is to be given more, by lane.
    fn downstream(&self, peers: &[PeerStatus], peer: PeerIndex) -> [Downstream; Lane::COUNT] {
        let index = usize::from(peer.0);
        let mut states = [Downstream::Closed; Lane::COUNT];
        let (Some(status), Some(handed_on), Some(buffer_limit)) =
            (peers.get(index), self.handed_on.get(index), self.buffer_limits.get(index))
        else {
            return states;
        };
        if !status.is_up() {
            return states;
        }
        let ahead = handed_on.saturating_sub(status.buffers_taken());
        let own_max = bdp_bytes(status.rate_bps(), MOVER_QUEUE_NS);
        // Of this lane and of those that go before it.
        let mut before = 0_u64;
        for (state, queued_bytes) in states.iter_mut().zip(status.queued_bytes()) {
            before = before.saturating_add(queued_bytes);
            // Each lane has a queue of its own there, lest one that goes first waits for those behind.
            let own = queued_bytes.saturating_add(ahead * buffer_limit);
            *state = if before == 0 && ahead == 0 {
                Downstream::Idle
            } else if ahead >= self.ahead_max || own > own_max {
                Downstream::Full
            } else {
                Downstream::Busy
            };
        }
        states
    }
}

fn peer_index(index: usize) -> PeerIndex {
    PeerIndex(u16::try_from(index).unwrap_or(u16::MAX))
}

#[cfg(test)]
#[path = "aggregate_tests.rs"]
mod tests;
