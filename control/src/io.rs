//! The devices as the dataplane sees them: DPDK's mbufs as frames, a pair of ports as its two
//! sides.
//!
//! In: bursts of receive queues. Out: bursts to transmit queues. Never: a copy, a decision.

use std::collections::VecDeque;

use dataplane::frame::checksum::{self, Begun};
use dataplane::frame::{ChecksumStatus, Frame, FrameSource, Side};
use dataplane::pipeline::port::PortIo;
use dpdk_wrapper::mbuf::ChecksumStatus as Device;
use dpdk_wrapper::{Burst, Mbuf, Mempool, RxQueue, TxQueue};

/// Frames per call that transmits.
const BURST: usize = 64;
/// Frames per call that receives.
const GROUP: usize = 32;

/// An mbuf as a frame.
#[derive(Debug)]
pub struct MbufFrame(Mbuf);

impl Frame for MbufFrame {
    fn head(&self) -> &[u8] {
        self.0.data()
    }

    fn head_mut(&mut self) -> &mut [u8] {
        self.0.data_mut()
    }

    fn tail_count(&self) -> usize {
        self.0.segment_count() - 1
    }

    fn tail(&self, index: usize) -> &[u8] {
        self.0.segment(index + 1)
    }

    fn frame_len(&self) -> usize {
        self.0.pkt_len()
    }

    fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        if !self.0.is_contiguous() {
            return None;
        }
        self.0.append(len).ok()
    }

    fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        self.0.prepend(len).ok()
    }

    fn trim_front(&mut self, len: usize) {
        let len = len.min(self.0.data_len());
        // Within the first segment, so it cannot fail.
        let _ = self.0.adj(len);
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn checksum_status(&self) -> ChecksumStatus {
        let checksums = self.0.rx_checksums();
        match (checksums.ip, checksums.l4) {
            (Device::Bad, _) | (_, Device::Bad) => ChecksumStatus::Bad,
            (Device::Good, Device::Good) => ChecksumStatus::Good,
            (_, Device::Good) => ChecksumStatus::TransportGood,
            (_, Device::Unfilled) => ChecksumStatus::Unfilled,
            (_, Device::Unknown) => ChecksumStatus::Unknown,
        }
    }

    fn leave_checksum(&mut self, begun: &Begun) {
        let Begun { protocol, is_ipv4, link_len, ip_len, l4_len, segment_size } = *begun;
        let cut = (segment_size != 0).then_some((l4_len, segment_size));
        if !self.0.complete_on_transmit(protocol, is_ipv4, (link_len, ip_len), cut) {
            checksum::complete(self, begun);
        }
    }

    fn chain(&mut self, tail: Self) -> bool {
        self.0.chain(tail.0).is_ok()
    }

    fn segment_size(&self) -> u16 {
        self.0.segment_size()
    }
}

/// A pool of mbufs as a source of frames.
#[derive(Clone, Debug)]
pub struct MbufSource(Mempool);

impl MbufSource {
    /// Frames from this pool.
    #[must_use]
    pub fn new(pool: Mempool) -> Self {
        MbufSource(pool)
    }
}

impl FrameSource for MbufSource {
    type Frame = MbufFrame;

    fn alloc(&mut self) -> Option<MbufFrame> {
        self.0.alloc().map(MbufFrame)
    }

    fn free(&self) -> usize {
        self.0.uncached()
    }
}

/// The queue pair of one side.
#[derive(Debug)]
pub struct QueuePair {
    /// Receives.
    pub rx: RxQueue,
    /// Transmits.
    pub tx: TxQueue,
    /// What it was asked for.
    pub offloads: Offloads,
}

/// What a port does with checksums and large segments, because it was asked to and can.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offloads {
    /// Verifies IPv4 headers that it receives.
    pub verifies_ip: bool,
    /// Verifies TCP and UDP that it receives.
    pub verifies_l4: bool,
    /// Completes checksums of TCP and UDP that were begun.
    pub completes: bool,
    /// Payload bytes of a segment that it cuts into frames, at most; 0: it cuts none.
    pub cut_bytes_max: u32,
    /// Fills in the IPv4 header checksums of what it cuts.
    pub completes_ip: bool,
}

/// Both ports.
#[derive(Debug)]
pub struct PortPair {
    sides: [QueuePair; 2],
    received: Burst<GROUP>,
    sending: Burst<BURST>,
}

impl PortPair {
    /// The ports of the LAN and the WAN side.
    #[must_use]
    pub fn new(lan: QueuePair, wan: QueuePair) -> Self {
        PortPair { sides: [lan, wan], received: Burst::new(), sending: Burst::new() }
    }
}

impl PortIo for PortPair {
    type Frame = MbufFrame;

    fn receive(&mut self, side: Side, most: usize, into: &mut VecDeque<MbufFrame>) {
        let Offloads { verifies_ip, verifies_l4, .. } = self.sides[side.index()].offloads;
        // Vectorised drivers receive whole groups only, so a small remainder is left for later.
        for _ in 0..most / GROUP {
            let count = self.sides[side.index()].rx.rx_burst(&mut self.received);
            // All will be looked at soon, and come from elsewhere: the waits overlap.
            self.received.iter().for_each(Mbuf::prefetch);
            into.extend(self.received.drain().map(|mut mbuf| {
                // Drivers may say what they were not asked, and may not mean it.
                mbuf.forget_rx_checksums(!verifies_ip, !verifies_l4);
                MbufFrame(mbuf)
            }));
            if count < GROUP {
                break;
            }
        }
    }

    fn transmit(&mut self, side: Side, frames: &mut VecDeque<MbufFrame>) {
        let count = self.sending.room().min(frames.len());
        let QueuePair { tx, offloads, .. } = &mut self.sides[side.index()];
        for MbufFrame(mut mbuf) in frames.drain(..count) {
            if offloads.completes_ip {
                mbuf.complete_ip_where_cut();
            }
            // There is room for so many.
            let _ = self.sending.push(mbuf);
        }
        if offloads.completes && self.sending.iter().any(|mbuf| mbuf.tx_flags() != 0) {
            // A driver refuses what contradicts itself. None of ours does, and were there one, it
            // would go as it is rather than hold up all behind it.
            let _ = tx.tx_prepare(&mut self.sending);
        }
        tx.tx_burst(&mut self.sending);
        // What the device did not take goes back to the front, in order.
        while let Some(mbuf) = self.sending.pop() {
            frames.push_front(MbufFrame(mbuf));
        }
    }
}
