//! The stage as a whole: one host on the LAN, and the far side as messages.

mod grants;
mod restarts;
mod resting;

use std::net::IpAddr;
use std::sync::Arc;

use super::tcp::segment::HEADER_LEN_MAX;
use super::tcp::{Flags, Segment, TcpConfig};
use super::*;
use crate::frame::build::{prepend_ip, prepend_link};
use crate::frame::heap::{HeapFrame, HeapSource};
use crate::frame::ip::protocol::TCP;
use crate::frame::{
    FlowKey, Frame, IpHeader, LinkHeader, MacAddr, Side, VlanList, checksum, parse,
};
use crate::interceptor::{
    Config as InterceptorConfig, Interceptor, Networks, Own, PeerStatus as Admission, PrefixSet,
    Rule, RuleAction, RuleTable, SideConfig, Timeouts,
};
use crate::link::{Collected, Link};
use crate::packet_driver::open::OpenParameters;
use crate::packet_driver::{
    AggregateConfig, Aggregator, FlowId, Inbound, Message, MessageHeader, MessageKind, PeerIndex,
    PeerStatus, ReceiveMemory, SessionChange, SessionNumber, Upstream,
};
use crate::time::{MILLISECOND_NS, Time};

const HOST: &str = "10.77.1.5";
const FAR: &str = "10.77.2.9";
const HOST_MAC: MacAddr = MacAddr([2, 1, 0, 0, 0, 5]);
const FAR_MAC: MacAddr = MacAddr([2, 2, 0, 0, 0, 9]);
const PEER: PeerIndex = PeerIndex(0);
/// Ports of the host and of the far host.
const PORTS: (u16, u16) = (40_000, 80);
const ISN: u32 = 1_000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefixes(text: &str) -> PrefixSet {
    [text].iter().map(|text| text.parse().unwrap()).collect()
}

/// The host's connection, as in its frames.
fn key() -> FlowKey {
    FlowKey::new(ip(HOST), ip(FAR), PORTS.0, PORTS.1, TCP, 0)
}

/// A segment with these flags.
fn segment(flags: Flags, seq: u32, ack: u32) -> Segment {
    Segment { flags, seq, ack, window: 60_000, ..Segment::default() }
}

/// What the far side was sent, without what belongs to the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    kind: MessageKind,
    flow: FlowId,
    key: Option<FlowKey>,
    sequence: u64,
    status: u16,
}

struct Bench {
    stage: EdgeStage<HeapFrame>,
    source: HeapSource,
    memory: ReceiveMemory,
    now: Time,
    frames_in: [Link<HeapFrame>; 2],
    delivered: Collected<Inbound>,
    messages: Link<Upstream<HeapFrame>>,
    frames_out: [Link<HeapFrame>; 2],
    sessions: u32,
}

impl Bench {
    /// A stage that has just started; its peer is not up yet.
    fn new() -> Self {
        let side = |mac, address: &str| SideConfig {
            mac: MacAddr(mac),
            addresses: vec![address.parse().unwrap()],
            gateways: Vec::new(),
        };
        let own = Own {
            lan: side([2, 0, 0, 0, 0, 1], "10.77.1.1/16"),
            wan: side([2, 0, 0, 0, 0, 2], "10.77.1.2/16"),
            port: 4980,
        };
        let admission = vec![Admission { holding: true, ..Admission::default() }];
        let networks =
            Networks { local: prefixes("10.77.1.0/24"), peers: vec![prefixes("10.77.2.0/24")] };
        let rule = Rule {
            action: RuleAction::Optimize,
            destination: prefixes("10.77.0.0/16"),
            ..Rule::default()
        };
        let interceptor = Interceptor::new(InterceptorConfig {
            own,
            rules: Arc::new(RuleTable::new(vec![rule], networks)),
            peers: admission.clone(),
            flows: 64,
            neighbours: 16,
            timeouts: Timeouts::default(),
            secret: [1, 2],
        });
        let tcp = |ipv4| Arc::new(TcpConfig::for_mtu(1_500, ipv4));
        let config = EdgeConfig {
            edges: 1,
            edge: 0,
            connections: 16,
            half_open: 8,
            peers: 1,
            datagram_slots: 1,
            mirrors: 16,
            time_wait: 16,
            held_frames_max: 64,
            frames_max: 64,
            lan_mtu: 1_500,
            device_checksums: [false; 2],
            cut_bytes_max: 0,
            frames_spare: 0,
            tcp_v4: tcp(true),
            tcp_v6: tcp(false),
            secret: [7; 16],
        };
        let memory = ReceiveMemory::new(16 << 20, 64 * 1024, 1);
        let pool = memory.arrivals.clone();
        let flows_max = config.slots();
        let aggregator = AggregateConfig { flows_max, ..AggregateConfig::default() };
        let backlog = Aggregator::<HeapFrame>::new(aggregator, pool).backlog();
        let peers = Arc::new([PeerStatus::default()]);
        let endpoints = vec![ip("10.77.2.2")];
        Bench {
            stage: EdgeStage::new(
                config,
                interceptor,
                admission,
                peers,
                endpoints,
                backlog,
                memory.clone(),
            ),
            source: HeapSource::new(256),
            memory,
            now: Time::from_ms(1),
            frames_in: [Link::direct(64), Link::direct(64)],
            delivered: Collected::alone(Link::direct(64)),
            messages: Link::direct(1024),
            frames_out: [Link::direct(64), Link::direct(64)],
            sessions: 0,
        }
    }

    /// The same with a session, and the peer's list of flows behind it.
    fn up() -> Self {
        let mut bench = Bench::new();
        bench.session(false);
        bench.far(MessageKind::HeldEnd, FlowId(0), None, 0, 0, &[]);
        bench.said();
        bench
    }

    fn turn(&mut self) {
        let Bench { stage, source, frames_in, delivered, messages, frames_out, .. } = self;
        while stage.turn(self.now, frames_in, delivered, messages, frames_out, source) {}
    }

    /// Lets time pass, with a turn every 10 ms.
    fn wait(&mut self, ns: u64) {
        let until = self.now + ns;
        while self.now < until {
            self.now = (self.now + 10 * MILLISECOND_NS).min(until);
            self.turn();
        }
    }

    fn hear(&mut self, inbound: Inbound) {
        if let Some(link) = self.delivered.of(0) {
            let _ = link.push(inbound);
        }
    }

    fn change(&mut self, change: SessionChange) {
        self.hear(Inbound::Session { peer: PEER, change });
        self.turn();
    }

    fn session(&mut self, restarted: bool) {
        self.sessions += 1;
        let session = SessionNumber(self.sessions);
        self.change(SessionChange::Up { session, restarted, opener: true });
    }

    /// A message from the far side.
    fn far(
        &mut self,
        kind: MessageKind,
        flow: FlowId,
        key: Option<FlowKey>,
        sequence: u64,
        status: u16,
        data: &[u8],
    ) {
        let mut buffer = self.memory.arrivals.alloc(data.len()).unwrap();
        buffer.append(data.len()).unwrap().copy_from_slice(data);
        let header = MessageHeader { kind, flow, key, sequence, status };
        let message = Message { peer: PEER, header, data: buffer.freeze() };
        self.hear(Inbound::Message(message));
        self.turn();
    }

    /// What the far side was sent since this was last asked.
    fn said(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        while let Some(upstream) = self.messages.pop() {
            let Upstream::Message(message) = upstream else { continue };
            let MessageHeader { kind, flow, key, sequence, status } = message.header;
            said.push(Said { kind, flow, key, sequence, status });
        }
        said
    }

    /// A segment of the host arrives.
    fn host(&mut self, segment: &Segment) {
        self.frame(Side::Lan, &key(), segment);
    }

    fn frame(&mut self, side: Side, key: &FlowKey, segment: &Segment) {
        let mut bytes = [0; HEADER_LEN_MAX];
        let len = segment.emit(key.source_port, key.destination_port, &mut bytes).unwrap();
        let mut frame = self.source.frame_of(&bytes[..len]).unwrap();
        let (source, destination) = (key.source(), key.destination());
        checksum::fill_transport(frame.head_mut(), source, destination, TCP);
        let header = IpHeader { source, destination, protocol: TCP, traffic_class: 0, ttl: 64 };
        prepend_ip(&mut frame, &header).unwrap();
        let link =
            LinkHeader { destination: FAR_MAC, source: HOST_MAC, vlans: VlanList::default() };
        let link = if side == Side::Lan { link } else { link.mirrored() };
        prepend_link(&mut frame, &link, header.ethertype()).unwrap();
        let _ = self.frames_in[side.index()].push(frame);
        self.turn();
    }

    /// Segments that left a port since this was last asked, without what else left.
    fn sent(&mut self, side: Side) -> Vec<Segment> {
        let mut sent = Vec::new();
        while let Some(frame) = self.frames_out[side.index()].pop() {
            let parsed = parse(frame.head(), frame.frame_len()).unwrap();
            if parsed.key.protocol == TCP {
                let at = parsed.l4_offset;
                let bytes = &frame.head()[at as usize..];
                sent.push(Segment::parse(bytes, at, parsed.ip_end - at).unwrap());
            }
        }
        sent
    }

    /// Segments to the host.
    fn host_got(&mut self) -> Vec<Segment> {
        self.sent(Side::Lan)
    }

    /// The host connects, and the far host has not answered yet: the flow's id.
    fn open(&mut self) -> FlowId {
        self.host(&segment(Flags::SYN, ISN, 0));
        let said = self.said();
        let [open] = said.as_slice() else { panic!("{said:?}") };
        assert_eq!((open.kind, open.key), (MessageKind::Open, Some(key())));
        assert_eq!(self.host_got(), []);
        open.flow
    }

    /// The host is connected: the flow's id, and the sequence number of the first byte to it.
    fn connect(&mut self) -> (FlowId, u32) {
        let flow = self.open();
        let parameters = OpenParameters { credit: 1 << 20, mss: 1_460, ..Default::default() };
        self.far(MessageKind::Accept, flow, None, 0, 0, &parameters.emit());
        let sent = self.host_got();
        let [answer] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(answer.flags, Flags::SYN.with(Flags::ACK));
        let first = answer.seq.wrapping_add(1);
        self.host(&segment(Flags::ACK, ISN + 1, first));
        (flow, first)
    }
}
