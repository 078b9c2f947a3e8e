//! The aggregate stage: drives the packet driver's aggregator.
//!
//! In: messages of the edge stage. Out: buffers, while the data mover keeps up.
//! Never: more than a few buffers ahead of the data mover, so that what waits, waits where the
//! round robin can still choose.

use std::sync::Arc;

use crate::edge::credit::bdp_bytes;
use crate::frame::Frame;
use crate::link::Link;
use crate::packet_driver::PeerStatus;
use crate::packet_driver::Upstream;
use crate::packet_driver::aggregate::{Aggregator, Downstream};
use crate::packet_driver::{Outbound, OutboundBuffer, PeerIndex};
use crate::time::{MILLISECOND_NS, Time};

/// Messages taken in per turn, at most.
const MESSAGES_PER_TURN: usize = 256;
/// Buffers between aggregation and the data mover, per peer, at most.
const BUFFERS_AHEAD: u64 = 2;
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
    buffer_size_max: u64,
    /// Per peer: the same as its rate allows.
    buffer_limits: Box<[u64]>,
    backlog_ns: u64,
    rates_bps: Box<[u64]>,
    were_up: Box<[bool]>,
    /// A message for which there was no place: its bytes are acknowledged to a host, so it waits,
    /// and all behind it.
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
        AggregateStage {
            aggregator,
            peers,
            handed_on: vec![0; count].into_boxed_slice(),
            buffer_size_max: buffer_size_max as u64,
            buffer_limits: vec![buffer_size_max as u64; count].into_boxed_slice(),
            backlog_ns,
            rates_bps: vec![0; count].into_boxed_slice(),
            were_up: vec![false; count].into_boxed_slice(),
            held: None,
        }
    }

    /// The time that data may wait, in all and in a buffer that is not full, configured anew.
    pub fn reconfigure(&mut self, backlog_ns: u64, flush_deadline_ns: u64) {
        self.backlog_ns = backlog_ns;
        self.rates_bps.fill(0);
        self.aggregator.set_flush_deadline(flush_deadline_ns);
    }

    /// Takes messages in and fills at most one buffer; says whether there was anything to do.
    pub fn turn(
        &mut self,
        now: Time,
        messages: &mut Link<Upstream<F>>,
        buffers: &mut Link<OutboundBuffer>,
    ) -> bool {
        self.follow_rates();
        let mut busy = self.take_in(now, messages);
        if buffers.room() == 0 {
            return busy;
        }
        let pulled = {
            let Self { aggregator, peers, handed_on, buffer_limits, .. } = self;
            aggregator.pull(now, |peer| downstream(peers, handed_on, buffer_limits, peer))
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

    /// Takes messages in, in order, until there is no place for one.
    fn take_in(&mut self, now: Time, messages: &mut Link<Upstream<F>>) -> bool {
        let mut busy = false;
        for _ in 0..MESSAGES_PER_TURN {
            let item = self.held.take().map(Upstream::Message).or_else(|| messages.pop());
            match item {
                None => break,
                Some(Upstream::Message(message)) => {
                    if let Err(refused) = self.aggregator.push(now, message)
                        && !self.aggregator.has_place(refused.header.kind)
                    {
                        self.held = Some(refused);
                        break;
                    }
                    // Counted by the aggregator; its frame is freed here.
                }
                Some(Upstream::DiscardFlow { place, flow }) => {
                    self.aggregator.discard_flow(place, flow);
                }
                Some(Upstream::DiscardPeer { peer }) => self.aggregator.discard_peer(peer),
            }
            busy = true;
        }
        busy
    }

    /// When the next turn may have something to do, if nothing comes in until then.
    #[must_use]
    pub fn next_timeout(&self) -> Time {
        let (peers, handed_on, limits) = (&self.peers, &self.handed_on, &self.buffer_limits);
        self.aggregator.next_timeout(|peer| downstream(peers, handed_on, limits, peer))
    }

    fn follow_rates(&mut self) {
        for (index, status) in self.peers.iter().enumerate() {
            let is_up = status.is_up();
            if std::mem::replace(&mut self.were_up[index], is_up) && !is_up {
                // At once: the edge's word for it may wait behind a message without a place.
                self.aggregator.discard_peer(peer_index(index));
            }
            let rate_bps = status.rate_bps();
            if self.rates_bps[index] != rate_bps {
                self.rates_bps[index] = rate_bps;
                let limit_bytes = bdp_bytes(rate_bps, self.backlog_ns).max(BACKLOG_BYTES_MIN);
                self.aggregator.set_backlog_limit(peer_index(index), limit_bytes);
                let buffer_limit = (limit_bytes / BUFFERS_PER_BACKLOG)
                    .max(BUFFER_BYTES_MIN)
                    .min(self.buffer_size_max);
                self.buffer_limits[index] = buffer_limit;
                self.aggregator.set_buffer_limit(peer_index(index), buffer_limit);
            }
        }
    }
}

fn downstream(
    peers: &[PeerStatus],
    handed_on: &[u64],
    buffer_limits: &[u64],
    peer: PeerIndex,
) -> Downstream {
    let index = usize::from(peer.0);
    let (Some(status), Some(handed_on), Some(buffer_limit)) =
        (peers.get(index), handed_on.get(index), buffer_limits.get(index))
    else {
        return Downstream::Closed;
    };
    if !status.is_up() {
        return Downstream::Closed;
    }
    let ahead = handed_on.saturating_sub(status.buffers_taken());
    let queued_bytes = status.queued_bytes() + ahead * buffer_limit;
    if queued_bytes == 0 {
        Downstream::Idle
    } else if ahead >= BUFFERS_AHEAD || queued_bytes > bdp_bytes(status.rate_bps(), MOVER_QUEUE_NS)
    {
        Downstream::Full
    } else {
        Downstream::Busy
    }
}

fn peer_index(index: usize) -> PeerIndex {
    PeerIndex(u16::try_from(index).unwrap_or(u16::MAX))
}
