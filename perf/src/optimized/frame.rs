//! Frames of the pair: mbufs, as in the product, and cables instead of devices.
//!
//! In: frames of hosts and of the other appliance. Out: the same. Never: a copy; a frame is moved.

use std::collections::VecDeque;

use dataplane::frame::checksum::{self, Begun};
use dataplane::frame::{ChecksumStatus, Frame, FrameSource, Side};
use dataplane::pipeline::port::PortIo;
use dpdk_wrapper::{Mbuf, Mempool};

/// An mbuf, and whether the device that received it has verified its checksums.
#[derive(Debug)]
pub(crate) struct MbufFrame {
    mbuf: Mbuf,
    verified: bool,
}

impl MbufFrame {
    /// The bytes behind the first part, part by part.
    pub(crate) fn tails(&self) -> impl Iterator<Item = &[u8]> {
        self.mbuf.segments().skip(1)
    }
}

impl Frame for MbufFrame {
    fn head(&self) -> &[u8] {
        self.mbuf.data()
    }

    fn head_mut(&mut self) -> &mut [u8] {
        self.mbuf.data_mut()
    }

    fn tail_count(&self) -> usize {
        self.mbuf.segment_count() - 1
    }

    fn tail(&self, index: usize) -> &[u8] {
        self.mbuf.segment(index + 1)
    }

    fn frame_len(&self) -> usize {
        self.mbuf.pkt_len()
    }

    fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        if !self.mbuf.is_contiguous() {
            return None;
        }
        self.mbuf.append(len).ok()
    }

    fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        self.mbuf.prepend(len).ok()
    }

    fn trim_front(&mut self, len: usize) {
        let len = len.min(self.mbuf.data_len());
        // Within the first segment, so it cannot fail.
        let _ = self.mbuf.adj(len);
    }

    fn truncate(&mut self, len: usize) {
        self.mbuf.truncate(len);
    }

    fn leave_checksum(&mut self, begun: &Begun) {
        let Begun { protocol, is_ipv4, link_len, ip_len, l4_len, segment_size } = *begun;
        let cut = (segment_size != 0).then_some((l4_len, segment_size));
        if !self.mbuf.complete_on_transmit(protocol, is_ipv4, (link_len, ip_len), cut) {
            checksum::complete(self, begun);
        }
    }

    fn chain(&mut self, tail: Self) -> bool {
        self.mbuf.chain(tail.mbuf).is_ok()
    }

    fn segment_size(&self) -> u16 {
        self.mbuf.segment_size()
    }

    fn checksum_status(&self) -> ChecksumStatus {
        if self.verified { ChecksumStatus::Good } else { ChecksumStatus::Unknown }
    }
}

/// A pool of mbufs as a source of frames.
#[derive(Clone, Debug)]
pub(crate) struct MbufSource(pub(crate) Mempool);

impl FrameSource for MbufSource {
    type Frame = MbufFrame;

    fn alloc(&mut self) -> Option<MbufFrame> {
        self.0.alloc().map(|mbuf| MbufFrame { mbuf, verified: false })
    }

    fn free(&self) -> usize {
        self.0.uncached()
    }
}

/// Frames in the order in which they were sent.
pub(crate) type Queue = VecDeque<MbufFrame>;

/// Frames that there is room for in a queue; it grows where that does not do.
const QUEUE_ROOM: usize = 8_192;

/// Both ports of an appliance: frames wait until it receives them, and until they are fetched.
#[derive(Debug)]
pub(crate) struct Ports {
    /// Whether frames are received with their checksums verified.
    pub(crate) verifies: bool,
    /// Frames to be received, by side.
    pub(crate) received: [Queue; 2],
    /// Frames sent, by side.
    pub(crate) sent: [Queue; 2],
}

impl Ports {
    /// Ports at which nothing waits.
    pub(crate) fn new(verifies: bool) -> Self {
        let queues = || [(); 2].map(|()| VecDeque::with_capacity(QUEUE_ROOM));
        Ports { verifies, received: queues(), sent: queues() }
    }
}

impl PortIo for Ports {
    type Frame = MbufFrame;

    fn receive(&mut self, side: Side, most: usize, into: &mut Queue) {
        let queue = &mut self.received[side.index()];
        let count = most.min(queue.len());
        let verified = self.verifies;
        into.extend(queue.drain(..count).map(|frame| MbufFrame { verified, ..frame }));
    }

    fn transmit(&mut self, side: Side, frames: &mut Queue) {
        self.sent[side.index()].append(frames);
    }
}
