//! The interceptor as a whole: a bench that checks, with every frame, that the counters add up
//! and that nothing but an answer of our own changes a frame.

mod any;
mod bridged;
mod fragments;
mod neighbours;
mod own;
mod passing;
mod several;
mod taken;

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::counters::Kind;
use crate::frame::arp::{ArpOperation, ArpPacket};
use crate::frame::build::{UdpChecksum, prepend_ip, prepend_link, prepend_udp};
use crate::frame::heap::{HeapFrame, HeapSource};
use crate::frame::icmp::{self, Unreachable};
use crate::frame::ip::protocol::{AH, ESP, ICMP, ICMPV6, TCP};
use crate::frame::ip::tcp_flag::{ACK, RST, SYN};
use crate::frame::ndp::NdpPacket;
use crate::frame::{
    FlowKey, Frame, FrameSource, IpHeader, LinkHeader, MacAddr, VlanList, checksum, parse,
    solicited_node,
};
use crate::packet_driver::{Class, PeerIndex};
use crate::time::{SECOND_NS, Time};

const HOST: &str = "10.77.1.5";
const SERVER: &str = "10.77.2.9";
const HOST6: &str = "fd77:0:0:1::5";
const SERVER6: &str = "fd77:0:0:2::9";
const OWN_LAN: &str = "10.77.1.1";
const OWN_WAN: &str = "10.77.1.2";
const OWN_LAN6: &str = "fd77:0:0:1::1";
const HOST_MAC: MacAddr = MacAddr([2, 1, 0, 0, 0, 5]);
const SERVER_MAC: MacAddr = MacAddr([2, 2, 0, 0, 0, 9]);
const LAN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const WAN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const PORT: u16 = 4980;

const UP: PeerStatus =
    PeerStatus { fallback: Fallback::Pass, up: true, overloaded: false, holding: false };

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefixes(texts: &[&str]) -> PrefixSet {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn own() -> Own {
    let side = |mac, addresses: &[&str], gateway: &str| SideConfig {
        mac,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        gateways: vec![ip(gateway)],
    };
    Own {
        lan: side(LAN_MAC, &["10.77.1.1/24", "fd77:0:0:1::1/64"], "10.77.1.254"),
        wan: side(WAN_MAC, &["10.77.1.2/24"], "10.77.1.253"),
        port: PORT,
    }
}

fn ports(first: u16, last: u16) -> Vec<PortRange> {
    vec![PortRange { first, last }]
}

/// Drop port 25, pass port 22, tunnel 10.88, 10.99 to nobody, and optimize the far networks.
fn rules() -> Arc<RuleTable> {
    let far = || prefixes(&["10.77.0.0/16", "fd77:0:0:2::/64"]);
    let rule = |action, range: Vec<PortRange>| Rule {
        action,
        destination_ports: range,
        destination: far(),
        class: Class(2),
        compress: true,
        ..Rule::default()
    };
    let nobody =
        Rule { destination: prefixes(&["10.99.0.0/16"]), ..rule(RuleAction::Optimize, Vec::new()) };
    let tunnel = Rule {
        destination: prefixes(&["10.88.0.0/16"]),
        peer: Some(PeerIndex(0)),
        ..rule(RuleAction::Tunnel, Vec::new())
    };
    Arc::new(RuleTable::new(
        vec![
            rule(RuleAction::Drop, ports(25, 25)),
            rule(RuleAction::Pass, ports(22, 22)),
            tunnel,
            nobody,
            rule(RuleAction::Optimize, Vec::new()),
        ],
        Networks {
            local: prefixes(&["10.77.1.0/24"]),
            peers: vec![prefixes(&["10.77.2.0/24", "fd77:0:0:2::/64"])],
        },
    ))
}

struct Bench {
    interceptor: Interceptor,
    source: HeapSource,
    now: Time,
}

impl Bench {
    fn new() -> Self {
        Bench::with(64, UP)
    }

    fn with(flows: usize, peer: PeerStatus) -> Self {
        let config = Config {
            own: own(),
            rules: rules(),
            peers: vec![peer],
            flows,
            neighbours: 16,
            timeouts: Timeouts::default(),
            secret: [1, 2],
        };
        Bench {
            interceptor: Interceptor::new(config),
            source: HeapSource::new(128),
            now: Time::from_ms(1),
        }
    }

    fn frame(&mut self, bytes: &[u8]) -> HeapFrame {
        self.source.frame_of(bytes).unwrap()
    }

    /// One frame in; its action, checked against the counters, and the frame as it is then.
    fn take(&mut self, side: Side, frame: HeapFrame) -> (Action, HeapFrame) {
        let before = frame.head().to_vec();
        let mut frames = [frame];
        let mut actions = Vec::new();
        self.interceptor.classify(side, &mut frames, self.now, &mut actions);
        assert_eq!(actions.len(), 1);
        let [frame] = frames;
        if actions[0] != Action::Answer {
            assert_eq!(frame.head(), before, "only an answer of our own changes a frame");
        }
        self.check_sums();
        (actions[0], frame)
    }

    fn lan(&mut self, frame: HeapFrame) -> Action {
        self.take(Side::Lan, frame).0
    }

    fn wan(&mut self, frame: HeapFrame) -> Action {
        self.take(Side::Wan, frame).0
    }

    fn check_sums(&self) {
        let sum = |kind| {
            let counters = self.interceptor.counters().iter();
            counters.filter(|(definition, _)| definition.kind == kind).map(|(_, n)| n).sum::<u64>()
        };
        assert_eq!(sum(Kind::In), sum(Kind::Out) + sum(Kind::Drop));
    }

    fn count(&self, counter: InterceptorCounter) -> u64 {
        self.interceptor.counters().get(counter)
    }

    fn set_peer(&mut self, status: PeerStatus) {
        self.interceptor.set_peer(PeerIndex(0), status);
    }

    /// An IP packet in a frame from the host's station to the server's.
    fn packet(&mut self, from: &str, to: &str, protocol: u8, payload: &[u8]) -> HeapFrame {
        let mut frame = self.frame(payload);
        checksum::fill_transport(frame.head_mut(), ip(from), ip(to), protocol);
        let header =
            IpHeader { source: ip(from), destination: ip(to), protocol, traffic_class: 0, ttl: 64 };
        prepend_ip(&mut frame, &header).unwrap();
        prepend_link(&mut frame, &host_to_server(), header.ethertype()).unwrap();
        frame
    }

    fn tcp(&mut self, from: &str, to: &str, port: u16, flags: u8, sequence: u32) -> HeapFrame {
        self.tcp_with(from, to, (40_000, port), flags, sequence, &[])
    }

    fn tcp_with(
        &mut self,
        from: &str,
        to: &str,
        ports: (u16, u16),
        flags: u8,
        sequence: u32,
        options: &[u8],
    ) -> HeapFrame {
        let mut segment = Vec::new();
        segment.extend(ports.0.to_be_bytes());
        segment.extend(ports.1.to_be_bytes());
        segment.extend(sequence.to_be_bytes());
        let offset = u8::try_from(5 + options.len() / 4).unwrap() << 4;
        segment.extend([0, 0, 0, 0, offset, flags, 1, 0, 0, 0, 0, 0]);
        segment.extend(options);
        self.packet(from, to, TCP, &segment)
    }

    fn syn(&mut self, port: u16) -> HeapFrame {
        self.tcp(HOST, SERVER, port, SYN, 1)
    }

    fn udp(&mut self, from: &str, to: &str, port: u16) -> HeapFrame {
        let mut frame = self.frame(b"datagram");
        let header = IpHeader {
            source: ip(from),
            destination: ip(to),
            protocol: 0,
            traffic_class: 0,
            ttl: 9,
        };
        prepend_udp(&mut frame, &header, (5000, port), UdpChecksum::Computed).unwrap();
        prepend_link(&mut frame, &host_to_server(), header.ethertype()).unwrap();
        frame
    }

    fn ping(&mut self, from: &str, to: &str) -> HeapFrame {
        let (kind, protocol) = if ip(to).is_ipv4() { (8, ICMP) } else { (128, ICMPV6) };
        self.packet(from, to, protocol, &[kind, 0, 0, 0, 7, 7, 0, 1])
    }

    /// A split flow whose slot is 5.
    fn split(&mut self, port: u16) -> FlowHandle {
        let syn = self.syn(port);
        let Action::NewFlow { flow, .. } = self.lan(syn) else { panic!("not taken") };
        assert!(self.interceptor.bind(flow, 5));
        flow
    }
}

fn host_to_server() -> LinkHeader {
    LinkHeader { destination: SERVER_MAC, source: HOST_MAC, vlans: VlanList::default() }
}

fn set_destination(frame: &mut HeapFrame, mac: MacAddr) {
    frame.head_mut()[..6].copy_from_slice(&mac.0);
}

/// The packet cut into a first fragment of 16 bytes and a later one.
fn fragments(bench: &mut Bench, whole: &HeapFrame) -> [HeapFrame; 2] {
    let bytes = whole.head();
    let make = |bench: &mut Bench, payload: &[u8], flags: u16| {
        let mut packet = bytes[14..34].to_vec();
        packet[2..4].copy_from_slice(&u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
        packet[4..6].copy_from_slice(&77u16.to_be_bytes());
        packet[6..8].copy_from_slice(&flags.to_be_bytes());
        checksum::fill_ipv4_header(&mut packet);
        let mut frame = bench.frame(&[&packet[..], payload].concat());
        prepend_link(&mut frame, &host_to_server(), 0x0800).unwrap();
        frame
    };
    [make(bench, &bytes[34..50], 0x2000), make(bench, &bytes[50..54], 2)]
}

fn arp(sender: &str, mac: MacAddr, target: &str, operation: ArpOperation) -> ArpPacket {
    let v4 = |text: &str| text.parse().unwrap();
    ArpPacket {
        operation,
        sender_mac: mac,
        sender: v4(sender),
        target_mac: MacAddr::ZERO,
        target: v4(target),
    }
}

fn arp_frame(bench: &mut Bench, packet: ArpPacket, destination: MacAddr) -> HeapFrame {
    let mut frame = bench.source.alloc().unwrap();
    let link = LinkHeader { destination, source: packet.sender_mac, vlans: VlanList::of_id(7) };
    packet.write(&mut frame, &link).unwrap();
    frame
}

fn solicitation(bench: &mut Bench, from: &str, target: &str) -> HeapFrame {
    let v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap();
    let mut frame = bench.source.alloc().unwrap();
    let link =
        LinkHeader { destination: MacAddr::ZERO, source: HOST_MAC, vlans: VlanList::default() };
    NdpPacket::write_solicitation(&mut frame, &link, v6(from), v6(target)).unwrap();
    frame
}
