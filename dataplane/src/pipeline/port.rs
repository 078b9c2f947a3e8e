//! The port stage: bursts from and to both ports.
//!
//! In: frames of the devices, frames that other stages made. Out: our own UDP datagrams to the
//! transmit stage, everything else to the edge stage, finished frames to the devices.
//! Never: a look beyond the headers, a frame dropped without a name.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::counters::Counters;
use crate::frame::Side;
use crate::frame::ip::protocol;
use crate::frame::{Frame, Transport, parse};
use crate::link::Link;

/// Most frames per burst.
pub const BURST_MAX: usize = 64;
/// Fewest: what vectorised drivers receive at a time.
pub const BURST_MIN: usize = 32;

/// The devices, as the port stage needs them.
pub trait PortIo {
    /// Their frames.
    type Frame: Frame;

    /// Receives at most `most` frames of one side, appending them.
    fn receive(&mut self, side: Side, most: usize, into: &mut Vec<Self::Frame>);

    /// Transmits from the front of `frames`; what the device did not take stays in it.
    fn transmit(&mut self, side: Side, frames: &mut VecDeque<Self::Frame>);
}

crate::counters! {
    /// Counters of the port stage.
    pub enum PortCounter, "port" {
        LanFramesIn: In, "lan_frames_in", "frames", "Frames received from the LAN port.";
        WanFramesIn: In, "wan_frames_in", "frames", "Frames received from the WAN port.";
        LanBytesIn: Info, "lan_bytes_in", "bytes", "Bytes of the frames received from the LAN port.";
        WanBytesIn: Info, "wan_bytes_in", "bytes", "Bytes of the frames received from the WAN port.";
        Datagrams: Out, "datagrams", "frames", "Frames with our own UDP, handed to the data mover.";
        ToEdge: Out, "to_edge", "frames", "Frames handed to the interceptor.";
        Overload: Drop, "overload", "frames", "Frames of the WAN that are not our own UDP, dropped because the interceptor is behind.";
        LanFramesOut: Info, "lan_frames_out", "frames", "Frames given to the LAN port.";
        WanFramesOut: Info, "wan_frames_out", "frames", "Frames given to the WAN port.";
        LanBytesOut: Info, "lan_bytes_out", "bytes", "Bytes of the frames given to the LAN port.";
        WanBytesOut: Info, "wan_bytes_out", "bytes", "Bytes of the frames given to the WAN port.";
    }
}

/// State of the port stage.
#[derive(Debug)]
pub struct PortStage<F> {
    own_addresses: Vec<IpAddr>,
    own_port: u16,
    burst: usize,
    received: Vec<F>,
    sending: [VecDeque<F>; 2],
    counters: Counters<PortCounter>,
}

impl<F: Frame> PortStage<F> {
    /// A stage that takes UDP to `own_port` of one of `own_addresses` for our own.
    #[must_use]
    pub fn new(own_addresses: Vec<IpAddr>, own_port: u16, burst: usize) -> Self {
        let burst = burst.clamp(BURST_MIN, BURST_MAX);
        PortStage {
            own_addresses,
            own_port,
            burst,
            received: Vec::with_capacity(BURST_MAX),
            sending: [VecDeque::with_capacity(BURST_MAX), VecDeque::with_capacity(BURST_MAX)],
            counters: Counters::default(),
        }
    }

    /// The counters, for readers.
    #[must_use]
    pub fn counters(&self) -> Counters<PortCounter> {
        self.counters.clone()
    }

    /// One burst per port and direction; says whether there was anything to do.
    pub fn turn<P: PortIo<Frame = F>>(
        &mut self,
        io: &mut P,
        to_edge: &mut Link<(Side, F)>,
        to_transmit: &mut Link<F>,
        from_edge: &mut [Link<F>; 2],
        from_transmit: &mut Link<F>,
    ) -> bool {
        let mut busy = self.receive_lan(io, to_edge);
        busy |= self.receive_wan(io, to_edge, to_transmit);
        busy | self.transmit(io, from_edge, from_transmit)
    }

    /// Whether no frame waits for a device to take it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.sending.iter().all(VecDeque::is_empty)
    }

    /// What the edge has no room for stays in the device's queue.
    fn receive_lan<P: PortIo<Frame = F>>(
        &mut self,
        io: &mut P,
        to_edge: &mut Link<(Side, F)>,
    ) -> bool {
        // All of a burst or nothing, so that there is a place for every frame.
        if to_edge.room() < self.burst {
            return true;
        }
        io.receive(Side::Lan, self.burst, &mut self.received);
        let busy = !self.received.is_empty();
        for frame in self.received.drain(..) {
            self.counters.increment(PortCounter::LanFramesIn);
            self.counters.add(PortCounter::LanBytesIn, frame.frame_len() as u64);
            self.counters.increment(PortCounter::ToEdge);
            // There was room for every frame asked for.
            let _ = to_edge.push((Side::Lan, frame));
        }
        busy
    }

    /// Our own datagrams carry acknowledgements, so they are received whenever the data mover has
    /// room, also while the edge has none.
    fn receive_wan<P: PortIo<Frame = F>>(
        &mut self,
        io: &mut P,
        to_edge: &mut Link<(Side, F)>,
        to_transmit: &mut Link<F>,
    ) -> bool {
        if to_transmit.room() < self.burst {
            return true;
        }
        let mut received = std::mem::take(&mut self.received);
        io.receive(Side::Wan, self.burst, &mut received);
        let busy = !received.is_empty();
        for frame in received.drain(..) {
            self.counters.increment(PortCounter::WanFramesIn);
            self.counters.add(PortCounter::WanBytesIn, frame.frame_len() as u64);
            if self.is_own_datagram(&frame) {
                self.counters.increment(PortCounter::Datagrams);
                let _ = to_transmit.push(frame);
            } else if to_edge.push((Side::Wan, frame)).is_ok() {
                self.counters.increment(PortCounter::ToEdge);
            } else {
                self.counters.increment(PortCounter::Overload);
            }
        }
        self.received = received;
        busy
    }

    fn is_own_datagram(&self, frame: &F) -> bool {
        let Ok(parsed) = parse(frame.head(), frame.frame_len()) else { return false };
        parsed.transport == Transport::Udp
            && parsed.key.protocol == protocol::UDP
            && parsed.key.destination_port == self.own_port
            && self.own_addresses.contains(&parsed.key.destination())
    }

    fn transmit<P: PortIo<Frame = F>>(
        &mut self,
        io: &mut P,
        from_edge: &mut [Link<F>; 2],
        from_transmit: &mut Link<F>,
    ) -> bool {
        let mut busy = false;
        for side in Side::BOTH {
            let queue = &mut self.sending[side.index()];
            // By turns, so that neither the data mover nor passing frames starve.
            while queue.len() < self.burst {
                let datagram = if side == Side::Wan { from_transmit.pop() } else { None };
                let edge = from_edge[side.index()].pop();
                if datagram.is_none() && edge.is_none() {
                    break;
                }
                queue.extend(datagram);
                queue.extend(edge);
            }
            if queue.is_empty() {
                continue;
            }
            let bytes = |queue: &VecDeque<F>| queue.iter().map(Frame::frame_len).sum::<usize>();
            let (frames_before, bytes_before) = (queue.len(), bytes(queue));
            io.transmit(side, queue);
            let (frames_out, bytes_out) = match side {
                Side::Lan => (PortCounter::LanFramesOut, PortCounter::LanBytesOut),
                Side::Wan => (PortCounter::WanFramesOut, PortCounter::WanBytesOut),
            };
            self.counters.add(frames_out, (frames_before - queue.len()) as u64);
            self.counters.add(bytes_out, (bytes_before - bytes(queue)) as u64);
            busy = true;
        }
        busy
    }
}
