//! The port stage: bursts from and to both ports.
//!
//! In: frames of the devices, frames that other stages made. Out: our own UDP datagrams to the
//! transmit stage, everything else to the edge stage (of several, the owner of its flow), finished
//! frames to the devices.
//! Never: a look beyond the headers, a frame dropped without a name.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::counters::Counters;
use crate::frame::Side;
use crate::frame::ip::protocol;
use crate::frame::{Frame, Transport, parse, parse_plain};
use crate::interceptor::{FlowHasher, Owners};
use crate::link::{Link, REPLICAS_MAX};

/// Most frames per burst.
pub const BURST_MAX: usize = 64;
/// Fewest: what vectorised drivers receive at a time.
pub const BURST_MIN: usize = 32;

/// The devices, as the port stage needs them.
pub trait PortIo {
    /// Their frames.
    type Frame: Frame;

    /// Receives at most `most` frames of one side, appending them.
    fn receive(&mut self, side: Side, most: usize, into: &mut VecDeque<Self::Frame>);

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
    received: VecDeque<F>,
    /// Of those received from the WAN, what is not our own, when some of it is.
    others: VecDeque<F>,
    sending: [VecDeque<F>; 2],
    /// Where there are several edges: who owns a frame, and what of a burst is for each.
    owners: Option<Owners>,
    shares: Box<[VecDeque<F>]>,
    /// The edge whose frames are sent first.
    first: usize,
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
            received: VecDeque::with_capacity(BURST_MAX),
            others: VecDeque::with_capacity(BURST_MAX),
            // Beyond a burst, one frame of each stage that sends.
            sending: [(); 2].map(|()| VecDeque::with_capacity(BURST_MAX + 1 + REPLICAS_MAX)),
            owners: None,
            shares: Box::default(),
            first: 0,
            counters: Counters::default(),
        }
    }

    /// The same for so many edges.
    #[must_use]
    pub fn with_edges(mut self, edges: usize, hasher: FlowHasher) -> Self {
        if edges > 1 {
            self.owners = Some(Owners::new(edges, hasher));
            self.shares = (0..edges).map(|_| VecDeque::with_capacity(BURST_MAX)).collect();
        }
        self
    }

    /// The counters, for readers.
    #[must_use]
    pub fn counters(&self) -> Counters<PortCounter> {
        self.counters.clone()
    }

    /// One burst per port and direction; says whether there was anything to do. Links to and from
    /// edges are by edge and side.
    pub fn turn<P: PortIo<Frame = F>>(
        &mut self,
        io: &mut P,
        to_edges: &mut [[Link<F>; 2]],
        to_transmit: &mut Link<F>,
        from_edges: &mut [[Link<F>; 2]],
        from_transmit: &mut Link<F>,
    ) -> bool {
        let mut busy = self.receive_lan(io, to_edges);
        busy |= self.receive_wan(io, to_edges, to_transmit);
        busy | self.transmit(io, from_edges, from_transmit)
    }

    /// Whether no frame waits for a device to take it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.sending.iter().all(VecDeque::is_empty)
    }

    /// What an edge has no room for stays in the device's queue.
    fn receive_lan<P: PortIo<Frame = F>>(
        &mut self,
        io: &mut P,
        to_edges: &mut [[Link<F>; 2]],
    ) -> bool {
        // All of a burst or nothing, so that there is a place for every frame, whoever owns it.
        if to_edges.iter().any(|[lan, _]| lan.room() < self.burst) {
            return true;
        }
        io.receive(Side::Lan, self.burst, &mut self.received);
        if self.received.is_empty() {
            return false;
        }
        self.counters.add(PortCounter::LanFramesIn, self.received.len() as u64);
        self.counters.add(PortCounter::LanBytesIn, bytes_of(&self.received));
        self.pass_to_edges(Side::Lan, to_edges);
        true
    }

    /// Our own datagrams carry acknowledgements, so they are received whenever the data mover has
    /// room, also while the edge has none.
    fn receive_wan<P: PortIo<Frame = F>>(
        &mut self,
        io: &mut P,
        to_edges: &mut [[Link<F>; 2]],
        to_transmit: &mut Link<F>,
    ) -> bool {
        if to_transmit.room() < self.burst {
            return true;
        }
        io.receive(Side::Wan, self.burst, &mut self.received);
        if self.received.is_empty() {
            return false;
        }
        self.counters.add(PortCounter::WanFramesIn, self.received.len() as u64);
        self.counters.add(PortCounter::WanBytesIn, bytes_of(&self.received));
        if !self.received.iter().any(|frame| self.is_own_datagram(frame)) {
            self.pass_to_edges(Side::Wan, to_edges);
            return true;
        }
        while let Some(frame) = self.received.pop_front() {
            if self.is_own_datagram(&frame) {
                self.counters.increment(PortCounter::Datagrams);
                let _ = to_transmit.push(frame);
            } else {
                self.others.push_back(frame);
            }
        }
        std::mem::swap(&mut self.received, &mut self.others);
        self.pass_to_edges(Side::Wan, to_edges);
        true
    }

    /// What was received and is not our own, each frame to its owner; dropped where that has no room.
    fn pass_to_edges(&mut self, side: Side, to_edges: &mut [[Link<F>; 2]]) {
        let frames = self.received.len();
        let mut left = 0;
        if let Some(owners) = &mut self.owners {
            while let Some(frame) = self.received.pop_front() {
                let owner = owners.of_frame(side, &frame);
                if let Some(share) = self.shares.get_mut(owner) {
                    share.push_back(frame);
                }
            }
            for (share, to_edge) in self.shares.iter_mut().zip(to_edges) {
                to_edge[side.index()].push_all(share);
                left += share.len();
                share.clear();
            }
        } else if let [to_edge] = to_edges {
            to_edge[side.index()].push_all(&mut self.received);
            left = self.received.len();
            self.received.clear();
        }
        self.counters.add(PortCounter::ToEdge, (frames - left) as u64);
        self.counters.add(PortCounter::Overload, left as u64);
    }

    fn is_own_datagram(&self, frame: &F) -> bool {
        if let Some(plain) = parse_plain(frame.head(), frame.frame_len()) {
            return plain.key.destination_port == self.own_port
                && plain.key.protocol == protocol::UDP
                && self.own_addresses.contains(&plain.key.destination());
        }
        let Ok(parsed) = parse(frame.head(), frame.frame_len()) else { return false };
        parsed.transport == Transport::Udp
            && parsed.key.protocol == protocol::UDP
            && parsed.key.destination_port == self.own_port
            && self.own_addresses.contains(&parsed.key.destination())
    }

    fn transmit<P: PortIo<Frame = F>>(
        &mut self,
        io: &mut P,
        from_edges: &mut [[Link<F>; 2]],
        from_transmit: &mut Link<F>,
    ) -> bool {
        let mut busy = false;
        // By turns, so that no edge stands behind another.
        self.first = if self.first + 1 < from_edges.len() { self.first + 1 } else { 0 };
        for side in Side::BOTH {
            let queue = &mut self.sending[side.index()];
            // More than was received: headers make more datagrams of what came in, and what cannot
            // leave as fast as it comes waits in every queue on its way, out of all caches.
            if side == Side::Lan || from_transmit.waiting() == 0 {
                let (behind, ahead) = from_edges.split_at_mut(self.first);
                for from_edge in ahead.iter_mut().chain(behind) {
                    let most = BURST_MAX.saturating_sub(queue.len());
                    from_edge[side.index()].pop_into(most, queue);
                }
            }
            // By turns, so that neither the data mover nor passing frames starve.
            while side == Side::Wan && queue.len() < BURST_MAX {
                let datagram = from_transmit.pop();
                let before = queue.len();
                queue.extend(datagram);
                queue.extend(from_edges.iter_mut().filter_map(|edge| edge[side.index()].pop()));
                if queue.len() == before {
                    break;
                }
            }
            if queue.is_empty() {
                continue;
            }
            let (frames_before, bytes_before) = (queue.len(), bytes_of(queue));
            io.transmit(side, queue);
            let (frames_out, bytes_out) = match side {
                Side::Lan => (PortCounter::LanFramesOut, PortCounter::LanBytesOut),
                Side::Wan => (PortCounter::WanFramesOut, PortCounter::WanBytesOut),
            };
            self.counters.add(frames_out, (frames_before - queue.len()) as u64);
            self.counters.add(bytes_out, bytes_before - bytes_of(queue));
            busy = true;
        }
        busy
    }
}

fn bytes_of<F: Frame>(frames: &VecDeque<F>) -> u64 {
    frames.iter().map(|frame| frame.frame_len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::build::{UdpChecksum, prepend_ip, prepend_link, prepend_udp};
    use crate::frame::heap::{HeapFrame, HeapSource};
    use crate::frame::{IpHeader, LinkHeader, MacAddr, VlanList};

    const OWN: [u8; 4] = [10, 0, 0, 1];
    const OTHER: [u8; 4] = [10, 0, 0, 2];
    const PORT: u16 = 4980;

    #[derive(Default)]
    struct Io {
        waiting: VecDeque<HeapFrame>,
        /// Frames that the device takes.
        takes: usize,
    }

    impl PortIo for Io {
        type Frame = HeapFrame;

        fn receive(&mut self, side: Side, most: usize, into: &mut VecDeque<HeapFrame>) {
            if side == Side::Wan {
                let count = most.min(self.waiting.len());
                into.extend(self.waiting.drain(..count));
            }
        }

        fn transmit(&mut self, _: Side, frames: &mut VecDeque<HeapFrame>) {
            frames.drain(..self.takes.min(frames.len()));
        }
    }

    /// UDP to this address and port, a number as its source port, with or without IP options.
    fn datagram(
        source: &mut HeapSource,
        to: [u8; 4],
        port: u16,
        options: bool,
        number: u8,
    ) -> HeapFrame {
        let mut frame = source.frame_of(&[]).unwrap();
        let header = IpHeader {
            source: OTHER.into(),
            destination: to.into(),
            protocol: protocol::UDP,
            traffic_class: 0,
            ttl: 64,
        };
        let ports = (u16::from(number), port);
        if options {
            let mut udp = [0_u8; 8];
            udp[..2].copy_from_slice(&ports.0.to_be_bytes());
            udp[2..4].copy_from_slice(&ports.1.to_be_bytes());
            udp[5] = 8;
            frame = source.frame_of(&[&[1, 1, 1, 0][..], &udp].concat()).unwrap();
            prepend_ip(&mut frame, &header).unwrap();
            frame.head_mut()[0] = 0x46;
        } else {
            prepend_udp(&mut frame, &header, ports, UdpChecksum::Computed).unwrap();
        }
        let link = LinkHeader {
            destination: MacAddr::BROADCAST,
            source: MacAddr::ZERO,
            vlans: VlanList::default(),
        };
        prepend_link(&mut frame, &link, header.ethertype()).unwrap();
        frame
    }

    fn numbers(link: &mut Link<HeapFrame>) -> Vec<u16> {
        let frames = std::iter::from_fn(|| link.pop());
        frames.map(|f| parse(f.head(), f.frame_len()).unwrap().key.source_port).collect()
    }

    /// Puts frames on the WAN; the numbers of those that went to the edge and to the data mover.
    fn turn(
        stage: &mut PortStage<HeapFrame>,
        frames: Vec<HeapFrame>,
        room: usize,
    ) -> [Vec<u16>; 2] {
        let mut to_edge = [[Link::direct(BURST_MIN), Link::direct(room)]];
        let mut to_transmit = Link::direct(2 * BURST_MIN);
        let mut from_edge = [[Link::direct(1), Link::direct(1)]];
        let mut io = Io { waiting: frames.into(), takes: 0 };
        stage.turn(&mut io, &mut to_edge, &mut to_transmit, &mut from_edge, &mut Link::direct(1));
        [numbers(&mut to_edge[0][1]), numbers(&mut to_transmit)]
    }

    #[test]
    fn our_own_datagrams_are_told_from_the_others_whose_order_is_kept() {
        let mut source = HeapSource::new(64);
        let mut stage = PortStage::new(vec![OWN.into()], PORT, BURST_MIN);
        let mut frames = Vec::new();
        let all = [(OTHER, PORT), (OWN, PORT), (OWN, 53), (OTHER, 53)];
        for (number, (options, (to, port))) in
            (0..).zip([false, true].into_iter().flat_map(|options| all.map(|to| (options, to))))
        {
            frames.push(datagram(&mut source, to, port, options, number));
        }
        let frames_in = frames.len() as u64;
        let [edge, mover] = turn(&mut stage, frames, 64);
        assert_eq!((edge, mover), (vec![0, 2, 3, 4, 6, 7], vec![1, 5]));
        let counters = stage.counters();
        assert_eq!(counters.get(PortCounter::WanFramesIn), frames_in);
        assert_eq!(counters.get(PortCounter::Datagrams), 2);
        assert_eq!(counters.get(PortCounter::ToEdge), 6);
        assert_eq!(source.in_use(), 0);
    }

    /// Each frame goes to the edge that owns its flow, in order; what one has no room for is dropped,
    /// and of the LAN nothing is received then, lest it is.
    #[test]
    fn of_several_edges_each_gets_its_own_frames_in_their_order() {
        const EDGES: usize = 3;
        let mut source = HeapSource::new(64);
        let mut stage = PortStage::new(vec![OWN.into()], PORT, BURST_MIN)
            .with_edges(EDGES, FlowHasher::new([1, 2]));
        let frames: Vec<_> =
            (0..32).map(|n| datagram(&mut source, OTHER, 53, n % 5 == 0, n)).collect();
        let owner = |frame: &HeapFrame| {
            let key = parse(frame.head(), frame.frame_len()).unwrap().key;
            crate::frame::Shard::of(&key).owner(EDGES)
        };
        let mut expected = vec![Vec::new(); EDGES];
        for (n, frame) in (0..).zip(&frames) {
            expected[owner(frame)].push(n);
        }
        assert!(expected.iter().all(|numbers| numbers.len() > 4), "{expected:?}");
        let rooms = [64, 4, 64];
        let mut to_edges = rooms.map(|room| [Link::direct(64), Link::direct(room)]);
        let mut from_edges = [(); EDGES].map(|()| [Link::direct(1), Link::direct(1)]);
        let mut to_transmit = Link::direct(64);
        let mut io = Io { waiting: frames.into(), takes: 0 };
        stage.turn(&mut io, &mut to_edges, &mut to_transmit, &mut from_edges, &mut Link::direct(1));
        let lost = expected[1].len() - 4;
        expected[1].truncate(4);
        assert_eq!(to_edges.each_mut().map(|[_, wan]| numbers(wan)).to_vec(), expected);
        assert_eq!(stage.counters().get(PortCounter::Overload), lost as u64);
        assert_eq!(stage.counters().get(PortCounter::ToEdge), 32 - lost as u64);
        assert_eq!(source.in_use(), 0);
    }

    #[test]
    fn frames_of_all_edges_leave() {
        let mut source = HeapSource::new(200);
        let mut stage = PortStage::new(vec![OWN.into()], PORT, BURST_MIN)
            .with_edges(2, FlowHasher::new([1, 2]));
        for side in Side::BOTH {
            let mut to_edges = [(); 2].map(|()| [Link::direct(BURST_MIN), Link::direct(BURST_MIN)]);
            let mut from_edges =
                [(); 2].map(|()| [Link::direct(BURST_MAX), Link::direct(BURST_MAX)]);
            let mut from_transmit = Link::direct(BURST_MAX);
            for _ in 0..BURST_MAX / 2 {
                for edge in &mut from_edges {
                    edge[side.index()].push(source.frame_of(&[0; 60]).unwrap()).unwrap();
                }
                if side == Side::Wan {
                    from_transmit.push(source.frame_of(&[1; 60]).unwrap()).unwrap();
                }
            }
            let mut io = Io { waiting: VecDeque::new(), takes: usize::MAX };
            let mut to_transmit = Link::direct(2 * BURST_MIN);
            for _ in 0..3 {
                let (to, from) = (&mut to_edges, &mut from_edges);
                stage.turn(&mut io, to, &mut to_transmit, from, &mut from_transmit);
            }
            assert_eq!(source.in_use(), 0, "{side:?}");
        }
    }

    #[test]
    fn more_frames_leave_in_a_turn_than_are_received_in_one() {
        let mut source = HeapSource::new(200);
        let mut stage = PortStage::new(vec![OWN.into()], PORT, BURST_MIN);
        for side in Side::BOTH {
            let mut to_edge = [[Link::direct(BURST_MIN), Link::direct(BURST_MIN)]];
            let mut from_edge = [[Link::direct(BURST_MAX), Link::direct(BURST_MAX)]];
            let mut from_transmit = Link::direct(BURST_MAX);
            for _ in 0..BURST_MIN {
                from_edge[0][side.index()].push(source.frame_of(&[0; 60]).unwrap()).unwrap();
                let more = source.frame_of(&[1; 60]).unwrap();
                match side {
                    Side::Lan => from_edge[0][side.index()].push(more).unwrap(),
                    Side::Wan => from_transmit.push(more).unwrap(),
                }
            }
            let mut io = Io { waiting: VecDeque::new(), takes: usize::MAX };
            let mut to_transmit = Link::direct(2 * BURST_MIN);
            let (to_edge, from_edge) = (&mut to_edge, &mut from_edge);
            stage.turn(&mut io, to_edge, &mut to_transmit, from_edge, &mut from_transmit);
            assert_eq!(source.in_use(), 0, "{side:?}");
        }
    }

    #[test]
    fn what_the_edge_has_no_room_for_is_dropped_and_counted_but_for_our_own() {
        let mut source = HeapSource::new(64);
        let mut stage = PortStage::new(vec![OWN.into()], PORT, BURST_MIN);
        for own in [0_u8, 1] {
            let mut frames: Vec<_> =
                (0..5).map(|n| datagram(&mut source, OTHER, 53, false, n)).collect();
            frames.extend((0..own).map(|n| datagram(&mut source, OWN, PORT, false, 100 + n)));
            let [edge, mover] = turn(&mut stage, frames, 3);
            assert_eq!((edge, mover.len()), (vec![0, 1, 2], usize::from(own)));
            let overload = stage.counters().get(PortCounter::Overload);
            assert_eq!(overload, 2 * (u64::from(own) + 1));
        }
        assert_eq!(source.in_use(), 0);
    }
}
