//! The compress stage on a core of its own, before a link of a given rate.
//!
//! In: a mode, a rate, content. Out: how long buffers take. Never: a wait: while the stage has
//! nothing to do, time is set forward to when the link has room again.
//!
//! Around the stage are models, which take no time: a source that always has data and hands buffers
//! on by the rules of the packet driver (two ahead of the data mover, none while its queue is longer
//! than 2 ms, each as long as half of a backlog of 5 ms), and a link that takes so many bytes a
//! second from that queue.

use std::sync::Arc;

use dataplane::compression::{CompressionCounter, Compressor, Level, Mode};
use dataplane::link::Link;
use dataplane::packet_driver::routing::ROUTING_HEADER_LEN;
use dataplane::packet_driver::{
    BufferPool, BufferSlice, OutboundBuffer, PeerStatus, PoolClass, SessionNumber,
};
use dataplane::pipeline::compress::CompressStage;
use dataplane::time::{MILLISECOND_NS, Time};

use super::Lap;
use super::content::Content;
use super::levels::processor_ns;
use crate::micro::compress::{BUFFER, buffer_of, outbound};

/// Bytes of the shortest, however slow the link.
const BUFFER_MIN: usize = 4 << 10;
/// Half of the backlog that the packet driver keeps, in nanoseconds.
const BUFFER_NS: u64 = 5 * MILLISECOND_NS / 2;
/// What may wait for the link when another buffer is handed on, in nanoseconds.
const QUEUE_NS: u64 = 2 * MILLISECOND_NS;
/// Buffers between the source and the link's queue, at most.
const AHEAD: usize = 2;

/// One mode on one link.
pub(super) struct Line {
    stage: CompressStage,
    counters: dataplane::counters::Counters<CompressionCounter>,
    plain: Vec<BufferSlice>,
    next: usize,
    buffers: Link<OutboundBuffer>,
    packed: Link<OutboundBuffer>,
    now: Time,
    /// Picoseconds that the link takes for a byte.
    byte_ps: u64,
    /// When the link is done with all it was given, in picoseconds.
    done_ps: u64,
}

impl Line {
    pub(super) fn new(mode: Mode, rate_mbps: u64, content: &Content) -> Self {
        let rate_bps = rate_mbps * 1_000_000;
        let of_rate = usize::try_from(rate_bps / 8 * BUFFER_NS / 1_000_000_000).unwrap_or(BUFFER);
        let len = of_rate.clamp(BUFFER_MIN, BUFFER);
        let pool = BufferPool::new(&[PoolClass { size: BUFFER, count: 8, reserve: 0 }]);
        let compressor = Compressor::new(pool, &[mode]);
        let status = PeerStatus::default();
        status.set_session(SessionNumber(1));
        status.set_takes_zstd(true);
        status.set_path(20 * MILLISECOND_NS, rate_bps);
        Line {
            counters: compressor.counters().clone(),
            stage: CompressStage::new(compressor, Arc::new([status]), 1),
            plain: buffers_of(content, len),
            next: 0,
            buffers: Link::direct(AHEAD),
            packed: Link::direct(AHEAD),
            now: Time::ZERO,
            byte_ps: 8_000_000 / rate_mbps,
            done_ps: 0,
        }
    }

    /// Passes so many buffers.
    pub(super) fn pass(&mut self, count: usize) -> Lap {
        let levels = |line: &Line| {
            Level::ALL.map(|level| line.counters.get(CompressionCounter::of_level(level).0))
        };
        let before = levels(self);
        let began_ps = self.done_ps;
        let (mut passed, mut lap) = (0, Lap::default());
        while passed < count {
            self.stage.turn_begins(self.now);
            while let Some(buffer) = self.packed.pop() {
                lap.packed_bytes += buffer.bytes.len() as u64;
                self.send(buffer.bytes.len());
                passed += 1;
            }
            lap.plain_bytes += self.fill();
            let now = self.now;
            let began_ns = processor_ns();
            let busy = self.stage.turn(|| now, &mut self.buffers, &mut self.packed);
            if busy {
                self.now = now + processor_ns().saturating_sub(began_ns);
            } else {
                self.wait();
            }
        }
        let after = levels(self);
        lap.levels = std::array::from_fn(|n| after[n] - before[n]);
        lap.ns = (self.done_ps - began_ps) / 1_000;
        lap
    }

    /// Puts a buffer behind those that the link has.
    fn send(&mut self, len: usize) {
        let free_ps = self.done_ps.max(self.now.as_ns() * 1_000);
        self.done_ps = free_ps + len as u64 * self.byte_ps;
    }

    /// Time that the link still takes for what it has.
    fn queued_ns(&self) -> u64 {
        (self.done_ps / 1_000).saturating_sub(self.now.as_ns())
    }

    /// Hands buffers on as the packet driver would; how many bytes.
    fn fill(&mut self) -> u64 {
        let mut bytes = 0;
        while self.buffers.waiting() + self.packed.waiting() < AHEAD && self.may_hand_on() {
            let plain = self.plain[self.next % self.plain.len()].clone();
            self.next += 1;
            bytes += plain.len() as u64;
            let _ = self.buffers.push(outbound(plain));
        }
        bytes
    }

    fn may_hand_on(&self) -> bool {
        let len = self.plain.first().map_or(0, |plain| plain.len() as u64);
        let ahead_ns = self.buffers.waiting() as u64 * len * self.byte_ps / 1_000;
        self.queued_ns() + ahead_ns <= QUEUE_NS
    }

    /// Nothing can be done before the link has sent something.
    fn wait(&mut self) {
        let surplus_ns = self.queued_ns().saturating_sub(QUEUE_NS);
        self.now = self.now + surplus_ns.max(1_000);
    }
}

fn buffers_of(content: &Content, len: usize) -> Vec<BufferSlice> {
    let chunks = content.bytes.chunks_exact(len - ROUTING_HEADER_LEN);
    let pool = BufferPool::new(&[PoolClass { size: len, count: chunks.len(), reserve: 0 }]);
    chunks.filter_map(|data| buffer_of(&pool, data)).collect()
}
