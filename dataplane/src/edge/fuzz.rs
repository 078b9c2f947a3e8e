//! An edge between a host and a peer that both send what they like.
//!
//! In: any bytes, as a list of things that happen: segments and frames of the host, messages of the
//! peer (opens without end, addresses that are not its own, credit that nobody has), sessions that
//! come and go. Out: nothing; a panic when memory is not bounded, something is said to the peer that
//! it cannot read, or something is left when everybody has gone.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::tcp::segment::{HEADER_LEN_MAX, Options, Timestamps};
use super::tcp::{Flags, Segment, TcpConfig};
use super::{EdgeConfig, EdgeStage};
use crate::frame::build::{prepend_ip, prepend_link};
use crate::frame::heap::{HeapFrame, HeapSource};
use crate::frame::ip::ethertype;
use crate::frame::ip::protocol::{ICMP, TCP, UDP};
use crate::frame::{
    FlowKey, Frame, IpHeader, LinkHeader, MacAddr, Side, VlanList, checksum, parse,
};
use crate::interceptor::{
    Config as InterceptorConfig, Interceptor, InterfaceAddress, Networks, Own,
    PeerStatus as Admission, Prefix, PrefixSet, Rule, RuleAction, RuleTable, SideConfig, Timeouts,
};
use crate::link::{Collected, Link};
use crate::packet_driver::aggregate::Downstream;
use crate::packet_driver::open::{OPEN_PARAMETERS_LEN, OpenParameters};
use crate::packet_driver::{
    AggregateConfig, Aggregator, BufferPool, Disaggregator, FlowId, Inbound, Lane, Message,
    MessageHeader, MessageKind, PeerIndex, PeerStatus, PoolClass, ReceiveMemory, SessionChange,
    SessionNumber, Upstream,
};
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

const PEER: PeerIndex = PeerIndex(0);
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 1, 5));
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 2, 9));
const HOST_MAC: MacAddr = MacAddr([2, 1, 0, 0, 0, 5]);
const FAR_MAC: MacAddr = MacAddr([2, 2, 0, 0, 0, 9]);
/// Longest buffer, in bytes.
const BUFFER_LEN_MAX: usize = 16 * 1024;
/// Flow ids that the script can name.
const FLOWS: usize = 16;
const CONNECTIONS: u32 = 8;
/// Within which everything is given back once everybody has gone, in nanoseconds.
const GONE_NS: u64 = 70 * SECOND_NS;

/// What happens next.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// So many bytes, or what is left.
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        head
    }

    /// A few more or less.
    fn delta(&mut self) -> Option<u32> {
        Some(u32::from(self.byte()?).wrapping_sub(16))
    }
}

struct Bench {
    stage: EdgeStage<HeapFrame>,
    aggregator: Aggregator<HeapFrame>,
    disaggregator: Disaggregator,
    buffers: BufferPool,
    source: HeapSource,
    memory: ReceiveMemory,
    now: Time,
    frames_in: [Link<HeapFrame>; 2],
    delivered: Collected<Inbound>,
    messages: Link<Upstream<HeapFrame>>,
    frames_out: [Link<HeapFrame>; 2],
    /// Whether the ports and the data mover take anything.
    ports_open: bool,
    mover_open: bool,
    sessions: u32,
    /// Flows that were spoken of, the latest last.
    flows: Vec<FlowId>,
    /// Of both connections of the host: its next sequence number, and the next to it.
    next: [(u32, u32); 2],
}

fn networks(last_but_one: u8) -> PrefixSet {
    let network = IpAddr::from([10, 77, last_but_one, 0]);
    Prefix::of(network, 24).into_iter().collect()
}

fn own_address(number: u8) -> Option<InterfaceAddress> {
    let address = IpAddr::from([10, 77, 1, number]);
    Some(InterfaceAddress { address, prefix: Prefix::of(address, 16)? })
}

fn interceptor(admission: Vec<Admission>) -> Interceptor {
    let side = |number: u8| SideConfig {
        mac: MacAddr([2, 0, 0, 0, 0, number]),
        addresses: own_address(number).into_iter().collect(),
        gateways: Vec::new(),
    };
    let networks_of_both = Networks { local: networks(1), peers: vec![networks(2)] };
    let rule = Rule { action: RuleAction::Optimize, destination: networks(2), ..Rule::default() };
    Interceptor::new(InterceptorConfig {
        own: Own { lan: side(1), wan: side(2), port: 4980 },
        rules: Arc::new(RuleTable::new(vec![rule], networks_of_both)),
        peers: admission,
        flows: 64,
        neighbours: 16,
        timeouts: Timeouts::default(),
        secret: [1, 2],
    })
}

impl Bench {
    fn new() -> Self {
        let admission = vec![Admission { holding: true, ..Admission::default() }];
        let config = EdgeConfig {
            edges: 1,
            edge: 0,
            connections: CONNECTIONS,
            half_open: 4,
            peers: 1,
            datagram_slots: 1,
            mirrors: 16,
            time_wait: 8,
            held_frames_max: 16,
            frames_max: 64,
            lan_mtu: 1_500,
            device_checksums: [false; 2],
            cut_bytes_max: 0,
            frames_spare: 0,
            tcp_v4: Arc::new(TcpConfig::for_mtu(1_500, true)),
            tcp_v6: Arc::new(TcpConfig::for_mtu(1_500, false)),
            secret: [7; 16],
        };
        let memory = ReceiveMemory::new(1 << 20, BUFFER_LEN_MAX, 1);
        let buffers = BufferPool::new(&[PoolClass { size: BUFFER_LEN_MAX, count: 8, reserve: 1 }]);
        let aggregator = Aggregator::new(
            AggregateConfig {
                flows_max: config.slots(),
                messages_max: 256,
                control_reserve: 64,
                buffer_size_max: BUFFER_LEN_MAX,
                ..AggregateConfig::default()
            },
            buffers.clone(),
        );
        let stage = EdgeStage::new(
            config,
            interceptor(admission.clone()),
            admission,
            Arc::new([PeerStatus::default()]),
            vec![IpAddr::from([10, 77, 2, 2])],
            aggregator.backlog(),
            memory.clone(),
        );
        Bench {
            stage,
            aggregator,
            disaggregator: Disaggregator::new(&[]),
            buffers,
            source: HeapSource::new(192),
            memory,
            now: Time::from_ms(1),
            frames_in: [Link::direct(64), Link::direct(64)],
            delivered: Collected::alone(Link::direct(64)),
            messages: Link::direct(64),
            frames_out: [Link::direct(64), Link::direct(64)],
            ports_open: true,
            mover_open: true,
            sessions: 0,
            flows: Vec::with_capacity(FLOWS),
            next: [(1_000, 0); 2],
        }
    }

    /// A turn of the edge and of what stands around it.
    fn turn(&mut self) {
        // Something may be refused for ever, but not without an end to what is done in a turn.
        for _ in 0..64 {
            let Bench { stage, source, frames_in, delivered, messages, frames_out, .. } = self;
            let busy = stage.turn(self.now, frames_in, delivered, messages, frames_out, source);
            self.listen();
            if self.ports_open {
                self.transmit();
            }
            if !busy {
                return;
            }
        }
        assert!(!self.ports_open || !self.mover_open, "the edge spins");
    }

    /// Takes what is said to the peer, and reads it as the peer would.
    fn listen(&mut self) {
        while self.mover_open
            && let Some(upstream) = self.messages.pop()
        {
            match upstream {
                Upstream::Message(message) => {
                    if message.header.kind == MessageKind::Open {
                        self.heard(message.header.flow);
                    }
                    assert!(self.aggregator.push(self.now, message).is_ok(), "places for all");
                }
                Upstream::DiscardFlow { flow, place } => self.aggregator.discard_flow(place, flow),
                Upstream::Session { peer, session } => {
                    self.aggregator.begin_session(peer, session);
                }
            }
            self.pull();
        }
    }

    fn pull(&mut self) {
        while let Some(buffer) = self.aggregator.pull(self.now, |_| [Downstream::Idle; Lane::COUNT])
        {
            let mut messages = self.disaggregator.messages(buffer.peer, buffer.bytes);
            let announced = messages.left();
            assert_eq!(messages.by_ref().count(), announced, "what is said can be read");
        }
    }

    fn heard(&mut self, flow: FlowId) {
        if !self.flows.contains(&flow) {
            if self.flows.len() == FLOWS {
                self.flows.remove(0);
            }
            self.flows.push(flow);
        }
    }

    /// Takes what leaves; the host notes what was sent to it.
    fn transmit(&mut self) {
        for side in [Side::Lan, Side::Wan] {
            while let Some(frame) = self.frames_out[side.index()].pop() {
                let Ok(parsed) = parse(frame.head(), frame.frame_len()) else { continue };
                if side == Side::Lan && parsed.key.protocol == TCP && parsed.is_ip() {
                    let at = parsed.l4_offset;
                    let l4 = frame.head().get(at as usize..).unwrap_or_default();
                    let which = usize::from(parsed.key.destination_port & 1);
                    if let Ok(segment) = Segment::parse(l4, at, parsed.ip_end - at) {
                        self.next[which].1 = segment.seq.wrapping_add(segment.sequence_len());
                    }
                }
            }
        }
    }

    /// Lets time pass, in a few turns.
    fn wait(&mut self, ns: u64) {
        for _ in 0..8 {
            self.now = self.now + ns / 8;
            self.turn();
        }
    }

    /// An IP packet with these bytes behind its header, which is right; so is the checksum.
    fn packet(&mut self, key: &FlowKey, l4: &[u8]) -> Option<HeapFrame> {
        let mut frame = self.source.frame_of(l4)?;
        let (source, destination, protocol) = (key.source(), key.destination(), key.protocol);
        checksum::fill_transport(frame.head_mut(), source, destination, protocol);
        let header = IpHeader { source, destination, protocol, traffic_class: 0, ttl: 64 };
        prepend_ip(&mut frame, &header).ok()?;
        Some(frame)
    }

    fn frame(&mut self, side: Side, key: &FlowKey, l4: &[u8]) {
        let Some(mut frame) = self.packet(key, l4) else { return };
        let link =
            LinkHeader { destination: FAR_MAC, source: HOST_MAC, vlans: VlanList::default() };
        let link = if side == Side::Lan { link } else { link.mirrored() };
        if prepend_link(&mut frame, &link, ethertype::IPV4).is_ok() {
            let _ = self.frames_in[side.index()].push(frame);
        }
    }

    fn hear(&mut self, inbound: Inbound) {
        if let Some(link) = self.delivered.of(0) {
            let _ = link.push(inbound);
        }
    }

    fn change(&mut self, change: SessionChange) {
        self.hear(Inbound::Session { peer: PEER, change });
    }

    fn message(&mut self, header: MessageHeader, data: &[u8]) {
        // Without memory the data mover takes no buffer.
        let Some(mut buffer) = self.memory.arrivals.alloc(data.len().max(1)) else { return };
        let Some(room) = buffer.append(data.len()) else { return };
        room.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        let message = Message { peer: PEER, header, data: buffer.freeze() };
        self.hear(Inbound::Message(message));
    }

    fn gone(&mut self) {
        (self.ports_open, self.mover_open) = (true, true);
        self.turn();
        self.change(SessionChange::Down);
        for _ in 0..GONE_NS / (4 * SECOND_NS) {
            self.wait(4 * SECOND_NS);
        }
        self.aggregator.begin_session(PEER, SessionNumber::NONE);
        assert!(self.stage.is_empty(), "a flow is left");
        assert!(self.stage.has_said_all(), "something is not said");
        assert_eq!(self.aggregator.queued_messages(), 0);
        let left = (self.memory.in_use_bytes(), self.buffers.in_use_bytes(), self.source.in_use());
        assert_eq!(left, (0, 0, 0), "bytes for hosts, bytes for the peer, frames");
    }
}

/// A flow between a host here and one there; one in sixteen is of addresses that are nobody's.
fn key(code: u8) -> FlowKey {
    let protocol = [TCP, UDP, ICMP, TCP][usize::from(code >> 1 & 3)];
    let (mut host, mut far) = (HOST, FAR);
    if code >> 4 == 0xf {
        (host, far) = (IpAddr::from([192, 0, 2, code]), FAR);
    }
    let mut ports = (40_000 + u16::from(code & 1), 80 + u16::from(code >> 4));
    if code & 8 != 0 {
        std::mem::swap(&mut host, &mut far);
        ports = (ports.1, ports.0);
    }
    FlowKey::new(host, far, ports.0, ports.1, protocol, 0)
}

/// Drives an edge by bytes, then lets everybody go.
///
/// # Panics
/// When what must hold does not.
pub(crate) fn edge(bytes: &[u8]) {
    drive(bytes).gone();
}

fn drive(bytes: &[u8]) -> Bench {
    let mut bench = Bench::new();
    let mut script = Script(bytes);
    while let Some(code) = script.byte() {
        if happen(&mut bench, code, &mut script).is_none() {
            break;
        }
        bench.turn();
        assert!(bench.memory.in_use_bytes() <= bench.memory.capacity_bytes());
        assert!(bench.stage.table.len() <= CONNECTIONS as usize);
    }
    bench
}

/// One thing happens; `None` at the end of the script.
fn happen(bench: &mut Bench, code: u8, script: &mut Script<'_>) -> Option<()> {
    let other = code & 8 != 0;
    match code & 7 {
        0 => {
            let unit_ns = if other { 50 * MILLISECOND_NS } else { MILLISECOND_NS };
            bench.wait(u64::from(script.byte()?) * unit_ns);
        }
        1 => host_segment(bench, other, script)?,
        2 => {
            let side = if other { Side::Wan } else { Side::Lan };
            let len = usize::from(script.byte()?);
            if let Some(frame) = bench.source.frame_of(script.bytes(len)) {
                let _ = bench.frames_in[side.index()].push(frame);
            }
        }
        3 => {
            let side = if other { Side::Wan } else { Side::Lan };
            let (key, len) = (key(script.byte()?), usize::from(script.byte()?));
            bench.frame(side, &key, script.bytes(len));
        }
        4 | 5 => peer_message(bench, code, script)?,
        6 => {
            bench.sessions += 1;
            let session = SessionNumber(bench.sessions);
            bench.change(match script.byte()? % 4 {
                0 => SessionChange::Down,
                1 => SessionChange::Up { session, restarted: true, opener: other },
                _ => SessionChange::Up { session, restarted: false, opener: other },
            });
        }
        _ if other => bench.ports_open = !bench.ports_open,
        _ => bench.mover_open = !bench.mover_open,
    }
    Some(())
}

/// A segment of one of the host's two connections, near to where it is.
fn host_segment(bench: &mut Bench, with_options: bool, script: &mut Script<'_>) -> Option<()> {
    let which = script.byte()? & 9;
    let flags = Flags(script.byte()?);
    let (own, other) = bench.next[usize::from(which & 1)];
    let seq = own.wrapping_add(script.delta()?);
    let ack = other.wrapping_add(script.delta()?);
    let len = usize::from(script.word()? % 1_400);
    let mut segment = Segment { flags, seq, ack, window: script.word()?, ..Segment::default() };
    if with_options {
        let stamps = Timestamps { value: u32::from(script.byte()?), echo: 0 };
        segment.options = Options {
            mss: Some(script.word()?),
            window_scale: Some(script.byte()? & 15),
            sack_permitted: true,
            timestamps: (stamps.value & 1 == 1).then_some(stamps),
            ..Options::default()
        };
    }
    let key = key(which & 1);
    let mut l4 = vec![0; HEADER_LEN_MAX + len];
    let header_len = segment.emit(key.source_port, key.destination_port, &mut l4)?;
    l4.truncate(header_len + len);
    bench.frame(Side::Lan, &key, &l4);
    if which & 8 == 0 {
        let taken = u32::try_from(len).unwrap_or(0)
            + u32::from(flags.0 & 1)
            + u32::from(flags.has(Flags::SYN));
        bench.next[usize::from(which & 1)].0 = seq.wrapping_add(taken);
    }
    Some(())
}

/// A message of any kind, of a flow that there is or of another.
fn peer_message(bench: &mut Bench, code: u8, script: &mut Script<'_>) -> Option<()> {
    let kind = MessageKind::from_code(1 + script.byte()? % 13)?;
    let flow = match script.byte()? {
        own @ 0..0x80 if !bench.flows.is_empty() => {
            bench.flows[usize::from(own) % bench.flows.len()]
        }
        new => FlowId(u64::from(new) | u64::from(new & 1) << 63),
    };
    let key = Some(script.byte()?).filter(|code| *code != 0).map(key);
    let low = u64::from(script.word()?);
    let sequence = if code & 8 == 0 { low } else { u64::MAX - low };
    let status = u16::from(script.byte()?);
    let header = MessageHeader { kind, flow, key, sequence, status };
    let parameters =
        OpenParameters { credit: 1 << 16, mss: 1_460, sack_permitted: true, ..Default::default() };
    let mut data = match kind {
        MessageKind::Open | MessageKind::Accept if code & 0x10 == 0 => parameters.emit().to_vec(),
        MessageKind::Open | MessageKind::Accept => script.bytes(OPEN_PARAMETERS_LEN).to_vec(),
        MessageKind::Data => vec![7; usize::from(script.word()? % 4_000)],
        _ => {
            let len = usize::from(script.byte()?);
            script.bytes(len).to_vec()
        }
    };
    if kind == MessageKind::Datagram
        && let Some(key) = header.key
        && let Some(frame) = bench.packet(&key, &data)
    {
        data = frame.head().to_vec();
    }
    if kind == MessageKind::Open {
        bench.heard(flow);
    }
    bench.message(header, &data);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::EdgeCounter as C;
    use super::*;

    /// What is counted once a script of the corpus is over.
    fn counted<const N: usize>(script: &[u8], of: [C; N]) -> [u64; N] {
        let counters = drive(script).stage.counters();
        of.map(|counter| counters.get(counter))
    }

    #[test]
    fn the_scripts_of_the_corpus_do_what_their_names_say() {
        macro_rules! script {
            ($name:literal) => {
                include_bytes!(concat!("../../../fuzz/corpus/edge/", $name))
            };
        }
        let of_streams = [C::FlowsFromHosts, C::BytesFromHosts, C::BytesFromPeers];
        assert_eq!(counted(script!("connects"), of_streams), [1, 0, 0]);
        assert_eq!(counted(script!("transfer"), of_streams), [1, 1_800, 4_000]);
        assert_eq!(counted(script!("gaps"), of_streams), [1, 0, 4_000]);
        assert_eq!(counted(script!("nothing_taken"), of_streams), [1, 2_600, 3_000]);
        let of_ends = [C::FlowsEnded, C::FlowsReset, C::FlowsRefused];
        assert_eq!(counted(script!("closes"), of_ends), [1, 0, 0]);
        assert_eq!(counted(script!("reset"), of_ends), [0, 1, 0]);
        assert_eq!(counted(script!("refused"), of_ends), [0, 0, 1]);
        assert_eq!(counted(script!("lost_and_back"), of_ends), [1, 1, 0]);
        let of_opens = [C::FlowsFromPeers, C::OpensOverload, C::BytesFromPeers];
        assert_eq!(counted(script!("opened_by_the_peer"), of_opens), [1, 0, 2_000]);
        assert_eq!(counted(script!("opens_without_end"), of_opens), [8, 20, 0]);
        let not_allowed = [C::OpensNotAllowed, C::PacketsNotAllowed];
        assert_eq!(counted(script!("addresses_of_others"), not_allowed), [2, 1]);
        let of_packets = [C::PacketsFromHosts, C::PacketsFromPeers];
        assert_eq!(counted(script!("packets"), of_packets), [1, 1]);
    }
}
