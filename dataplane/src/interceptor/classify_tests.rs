//! Every action and reason: a frame in, the action and its counter out. And any frame at all.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::own::Own;
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

#[test]
fn first_syn_makes_an_entry_and_its_retransmission_finds_it() {
    for (host, server) in [(HOST, SERVER), (HOST6, SERVER6)] {
        let mut bench = Bench::new();
        let syn = bench.tcp(host, server, 80, SYN, 1);
        let Action::NewFlow { flow, decision, parsed } = bench.lan(syn) else { panic!() };
        assert_eq!(decision.verdict, Verdict::Optimize);
        assert_eq!((decision.peer, decision.rule), (PeerIndex(0), RuleId(4)));
        assert_eq!((decision.class, decision.compress), (Class(2), true));
        assert_eq!(parsed.key, FlowKey::new(ip(host), ip(server), 40_000, 80, TCP, 0));
        assert_eq!(bench.interceptor.decision(flow).unwrap().slot, Decision::NO_SLOT);
        assert!(bench.interceptor.bind(flow, 77));
        let again = bench.tcp(host, server, 80, SYN, 1);
        let Action::Edge { found, .. } = bench.lan(again) else { panic!() };
        assert_eq!((found.flow, found.direction), (flow, Direction::Forward));
        assert_eq!(bench.interceptor.decision(flow).unwrap().slot, 77);
        let view = bench.interceptor.reader().iter().next().unwrap();
        assert_eq!(view.frames, [2, 0]);
        assert!(bench.interceptor.abandon(flow));
        assert_eq!(bench.interceptor.reader().iter().count(), 0);
    }
}

#[test]
fn two_syns_in_one_burst_are_one_flow() {
    let mut bench = Bench::new();
    let mut frames = [bench.syn(80), bench.syn(80)];
    let mut actions = Vec::new();
    bench.interceptor.classify(Side::Lan, &mut frames, bench.now, &mut actions);
    let [Action::NewFlow { flow, .. }, Action::Edge { found, .. }] = actions[..] else { panic!() };
    assert_eq!(found.flow, flow);
}

#[test]
fn bursts_longer_than_a_bulk_lookup() {
    let mut bench = Bench::with(256, UP);
    let mut frames: Vec<_> = (0..100).map(|port| bench.udp(HOST, SERVER, 1000 + port)).collect();
    let mut actions = Vec::new();
    bench.interceptor.classify(Side::Lan, &mut frames, bench.now, &mut actions);
    assert_eq!(actions.len(), 100);
    for (port, action) in (1000..).zip(&actions) {
        let Action::Datagram { parsed, .. } = action else { panic!() };
        assert_eq!(parsed.key.destination_port, port);
    }
}

#[test]
fn flow_opened_by_the_far_side() {
    let mut bench = Bench::new();
    // Before the far TPO took it, the flow was seen here and passed.
    let early = bench.tcp(HOST, SERVER, 80, ACK, 1);
    assert_eq!(bench.lan(early), Action::Forward);
    let key = FlowKey::new(ip(SERVER), ip(HOST), 80, 40_000, TCP, 0);
    let decision = Decision {
        verdict: Verdict::Optimize,
        rule: RuleId::NONE,
        peer: PeerIndex(0),
        class: Class(1),
        compress: true,
        slot: 3,
    };
    let flow = bench.interceptor.insert(&key, decision, bench.now).unwrap();
    assert_eq!(bench.interceptor.insert(&key, decision, bench.now), Err(InsertError::Exists));
    let answer = bench.tcp(HOST, SERVER, 80, SYN | ACK, 9);
    let Action::Edge { found, .. } = bench.lan(answer) else { panic!() };
    assert_eq!((found.flow, found.direction), (flow, Direction::Backward));
}

#[test]
fn packet_mode_for_all_but_tcp() {
    let mut bench = Bench::new();
    let frames = [
        bench.udp(HOST, SERVER, 53),
        bench.ping(HOST, SERVER),
        bench.packet(HOST, SERVER, 89, &[0; 20]),
    ];
    for frame in frames {
        let Action::Datagram { decision, .. } = bench.lan(frame) else { panic!() };
        assert_eq!((decision.verdict, decision.rule), (Verdict::Datagram, RuleId(4)));
    }
    assert_eq!(bench.interceptor.reader().iter().count(), 3);
    let back = bench.ping(SERVER6, HOST6);
    assert_eq!(bench.lan(back), Action::Forward, "no rule: not to a far network");
    // Under a tunnel rule, TCP too, whatever its flags.
    for flags in [SYN, ACK, RST] {
        let frame = bench.tcp(HOST, "10.88.0.1", 80, flags, 1);
        assert!(matches!(bench.lan(frame), Action::Datagram { .. }));
    }
}

#[test]
fn rules_that_take_nothing() {
    let mut bench = Bench::new();
    let cases = [
        (bench.syn(22), Action::Forward, InterceptorCounter::RulePass),
        (bench.syn(25), Action::Drop(DropReason::RuleDrop), InterceptorCounter::RuleDrop),
        (bench.tcp(HOST, "10.99.0.1", 80, SYN, 1), Action::Forward, InterceptorCounter::NoPeer),
        (bench.tcp(HOST, "10.98.0.1", 80, SYN, 1), Action::Forward, InterceptorCounter::NoRule),
    ];
    for (frame, action, counter) in cases {
        assert_eq!(bench.lan(frame), action);
        assert_eq!(bench.count(counter), 1);
    }
    // A dropped flow is dropped in both directions.
    let back = bench.tcp_with(SERVER, HOST, (25, 40_000), SYN | ACK, 1, &[]);
    assert_eq!(bench.wan(back), Action::Drop(DropReason::RuleDrop));
}

#[test]
fn connection_whose_syn_was_not_seen_is_passed_and_never_reset() {
    let mut bench = Bench::new();
    for flags in [ACK, SYN | ACK, RST, 0] {
        let frame = bench.tcp(HOST, SERVER, 80, flags, 5);
        assert_eq!(bench.lan(frame), Action::Forward);
    }
    assert_eq!(bench.count(InterceptorCounter::SynNotSeen), 4);
    // The ports are used again for a new connection, whose SYN is seen.
    let syn = bench.syn(80);
    assert!(matches!(bench.lan(syn), Action::NewFlow { .. }));
}

#[test]
fn connections_that_cannot_be_split_are_passed() {
    let mut bench = Bench::new();
    let md5 = [&[1, 1, 19, 18], &[0; 16][..]].concat();
    let ao = [2, 4, 5, 180, 29, 4, 1, 1];
    for (n, options) in (1..).zip([&md5[..], &ao[..]]) {
        let syn = bench.tcp_with(HOST, SERVER, (n, 80), SYN, 1, options);
        assert_eq!(bench.lan(syn), Action::Forward);
        assert_eq!(bench.count(InterceptorCounter::TcpAuthentication), u64::from(n));
    }
    // Ordinary and broken options do not look like it.
    for (n, options) in (10..).zip([[2, 4, 19, 29, 4, 2, 1, 0], [8, 0, 19, 18, 0, 0, 0, 0]]) {
        let syn = bench.tcp_with(HOST, SERVER, (n, 80), SYN, 1, &options);
        assert!(matches!(bench.lan(syn), Action::NewFlow { .. }));
    }
    for protocol in [ESP, AH] {
        let frame = bench.packet(HOST, SERVER, protocol, &[0; 24]);
        assert_eq!(bench.lan(frame), Action::Forward);
    }
    assert_eq!(bench.count(InterceptorCounter::Encapsulated), 2);
}

#[test]
fn peer_down_and_overload_by_fallback() {
    let down = PeerStatus { up: false, ..UP };
    let overloaded = PeerStatus { overloaded: true, ..UP };
    for (status, pass, refuse) in [
        (down, InterceptorCounter::PeerDown, RefuseReason::RefusedPeerDown),
        (overloaded, InterceptorCounter::Overloaded, RefuseReason::RefusedOverloaded),
    ] {
        let mut bench = Bench::with(64, status);
        let syn = bench.syn(80);
        assert_eq!(bench.lan(syn), Action::Forward);
        assert_eq!(bench.count(pass), 1);
        // The peer comes up: the retransmitted SYN stays with its verdict, a new one does not.
        bench.set_peer(UP);
        let again = bench.syn(80);
        assert_eq!(bench.lan(again), Action::Forward);
        let fresh = bench.tcp(HOST, SERVER, 80, SYN, 999);
        assert!(matches!(bench.lan(fresh), Action::NewFlow { .. }));

        let mut bench = Bench::with(64, PeerStatus { fallback: Fallback::Refuse, ..status });
        for frame in [bench.syn(80), bench.syn(80), bench.udp(HOST, SERVER, 53)] {
            let Action::Refuse { reason, .. } = bench.lan(frame) else { panic!() };
            assert_eq!(reason, refuse);
        }
        assert_eq!(bench.interceptor.reader().iter().count(), 0);
    }
}

#[test]
fn established_flows_stay_when_the_peer_goes() {
    let mut bench = Bench::new();
    bench.split(80);
    let first = bench.udp(HOST, SERVER, 53);
    assert!(matches!(bench.lan(first), Action::Datagram { .. }));
    bench.set_peer(PeerStatus { up: false, ..UP });
    let segment = bench.tcp(HOST, SERVER, 80, ACK, 2);
    assert!(matches!(bench.lan(segment), Action::Edge { .. }));
    // Datagrams have nothing to lose: they go by the present state.
    let second = bench.udp(HOST, SERVER, 53);
    assert_eq!(bench.lan(second), Action::Forward);
    bench.set_peer(PeerStatus { up: false, fallback: Fallback::Refuse, ..UP });
    let third = bench.udp(HOST, SERVER, 53);
    assert_eq!(bench.lan(third), Action::Drop(DropReason::PeerDownDatagram));
}

#[test]
fn own_overload_keeps_out_new_split_flows_only() {
    let mut bench = Bench::new();
    bench.split(80);
    bench.interceptor.set_edge_overloaded(true);
    let syn = bench.syn(81);
    assert_eq!(bench.lan(syn), Action::Forward);
    let (segment, datagram) = (bench.tcp(HOST, SERVER, 80, ACK, 2), bench.udp(HOST, SERVER, 53));
    assert!(matches!(bench.lan(segment), Action::Edge { .. }));
    assert!(matches!(bench.lan(datagram), Action::Datagram { .. }));
    bench.interceptor.set_edge_overloaded(false);
    let syn = bench.syn(82);
    assert!(matches!(bench.lan(syn), Action::NewFlow { .. }));
}

#[test]
fn passed_flows_leave_half_of_the_table_to_split_ones() {
    let mut bench = Bench::with(32, UP);
    for port in 1000..1040 {
        let frame = bench.tcp(HOST, SERVER, port, ACK, 1);
        assert_eq!(bench.lan(frame), Action::Forward);
    }
    assert_eq!(bench.interceptor.reader().iter().count(), 16);
    for port in 2000..2014 {
        let syn = bench.syn(port);
        assert!(matches!(bench.lan(syn), Action::NewFlow { .. }), "{port}");
    }
    assert!(bench.interceptor.is_overloaded());
    let syn = bench.syn(2014);
    assert_eq!(bench.lan(syn), Action::Forward);
    assert_eq!(bench.count(InterceptorCounter::Overloaded), 1);
    // Datagrams go on without an entry.
    let datagram = bench.udp(HOST, SERVER, 53);
    assert!(matches!(bench.lan(datagram), Action::Datagram { .. }));
    assert_eq!(bench.interceptor.reader().iter().count(), 30);
}

#[test]
fn unknown_connections_wait_for_the_list_after_a_restart() {
    let mut bench = Bench::with(64, PeerStatus { holding: true, ..UP });
    let (segment, syn) = (bench.tcp(HOST, SERVER, 80, ACK, 2), bench.syn(81));
    assert_eq!(bench.lan(segment), Action::Drop(DropReason::HeldAfterRestart));
    assert!(matches!(bench.lan(syn), Action::NewFlow { .. }));
    bench.set_peer(UP);
    let segment = bench.tcp(HOST, SERVER, 80, ACK, 2);
    assert_eq!(bench.lan(segment), Action::Forward);
}

#[test]
fn wan_side_is_bridged_but_for_split_flows() {
    let mut bench = Bench::new();
    let syn = bench.tcp(SERVER, HOST, 80, SYN, 1);
    assert_eq!(bench.wan(syn), Action::Forward, "rules are for the LAN side");
    bench.split(80);
    let forged = bench.tcp_with(SERVER, HOST, (80, 40_000), ACK, 1, &[]);
    assert_eq!(bench.wan(forged), Action::Drop(DropReason::SplitFlowOnWan));
    let same = bench.tcp(HOST, SERVER, 80, ACK, 1);
    assert_eq!(bench.wan(same), Action::Drop(DropReason::SplitFlowOnWan));
    let other = bench.tcp_with(SERVER, HOST, (81, 40_000), ACK, 1, &[]);
    assert_eq!(bench.wan(other), Action::Forward);
    assert_eq!(bench.count(InterceptorCounter::WanToLan), 2);
}

#[test]
fn icmp_error_about_a_split_flow() {
    for (host, server, router) in
        [(HOST, SERVER, "10.77.1.200"), (HOST6, SERVER6, "fd77:0:0:1::200")]
    {
        let mut bench = Bench::new();
        let syn = bench.tcp(host, server, 80, SYN, 1);
        let Action::NewFlow { flow, .. } = bench.lan(syn) else { panic!() };
        // What the edge sent to the host, as the server.
        let sent = bench.tcp_with(server, host, (80, 40_000), ACK, 1, &[]);
        let mut error = |source: &str| {
            let mut frame = bench.source.alloc().unwrap();
            let original = &sent.head()[14..];
            icmp::write_unreachable(
                &mut frame,
                &host_to_server(),
                ip(source),
                Unreachable::Host,
                original,
            )
            .unwrap();
            frame
        };
        let (from_lan, from_wan, mut broken) = (error(router), error(router), error(router));
        let Action::EdgeIcmp { found, parsed } = bench.lan(from_lan) else { panic!() };
        assert_eq!((found.flow, found.direction), (flow, Direction::Backward));
        let reason = Unreachable::of_code(parsed.key.is_ipv4(), parsed.icmp_type, parsed.icmp_code);
        assert_eq!(reason, Some(Unreachable::Host));
        assert_eq!(bench.wan(from_wan), Action::Drop(DropReason::SplitFlowOnWan));
        let last = parse(broken.head(), broken.frame_len()).unwrap().ip_end as usize - 1;
        broken.head_mut()[last] ^= 1;
        assert!(!matches!(bench.lan(broken), Action::EdgeIcmp { .. }));
        bench.interceptor.abandon(flow);
        let (mut late, destination) = (bench.source.alloc().unwrap(), ip(router));
        icmp::write_unreachable(
            &mut late,
            &host_to_server(),
            destination,
            Unreachable::Host,
            &sent.head()[14..],
        )
        .unwrap();
        assert!(!matches!(bench.lan(late), Action::EdgeIcmp { .. }));
    }
}

#[test]
fn groups_broadcasts_and_link_local_are_never_taken() {
    let mut bench = Bench::new();
    for destination in
        ["224.0.0.251", "255.255.255.255", "169.254.1.1", "10.77.1.255", "ff02::fb", "fe80::1"]
    {
        let source = if ip(destination).is_ipv4() { HOST } else { HOST6 };
        let frame = bench.udp(source, destination, 53);
        assert_eq!(bench.lan(frame), Action::Forward, "{destination}");
    }
    let mut group_station = bench.udp(HOST, SERVER, 53);
    set_destination(&mut group_station, MacAddr::BROADCAST);
    assert_eq!(bench.lan(group_station), Action::Forward);
    assert_eq!(bench.count(InterceptorCounter::NotUnicast), 7);
    let other = bench.frame(&[&SERVER_MAC.0[..], &HOST_MAC.0, &[0x88, 0xcc], &[0; 46]].concat());
    assert_eq!(bench.lan(other), Action::Forward);
    assert_eq!(bench.count(InterceptorCounter::NotIp), 1);
    assert_eq!(bench.interceptor.reader().iter().count(), 0);
}

#[test]
fn wrong_checksums_open_nothing_and_touch_no_split_flow() {
    let mut bench = Bench::new();
    let mut syn = bench.syn(80);
    syn.head_mut()[38] ^= 1;
    assert_eq!(bench.lan(syn), Action::Drop(DropReason::BadChecksum));
    assert_eq!(bench.interceptor.reader().iter().count(), 0);
    bench.split(80);
    let mut segment = bench.tcp(HOST, SERVER, 80, ACK, 2);
    segment.head_mut()[24] ^= 1;
    assert_eq!(bench.lan(segment), Action::Drop(DropReason::BadChecksum));
}

#[test]
fn malformed_frames_are_left_to_the_hosts() {
    let mut bench = Bench::new();
    let runt = bench.frame(&[0; 13]);
    assert_eq!(bench.lan(runt), Action::Drop(DropReason::Runt));
    let syn = bench.syn(80).head()[..54].to_vec();
    for len in 14..54 {
        let cut = bench.frame(&syn[..len]);
        assert_eq!(bench.lan(cut), Action::Forward, "{len}");
    }
    assert_eq!(bench.count(InterceptorCounter::MalformedPassed), 40);
    assert_eq!(bench.interceptor.reader().iter().count(), 0);
}

#[test]
fn frames_of_our_own_stations_and_to_them() {
    let mut bench = Bench::new();
    let mut looped = bench.syn(80);
    looped.head_mut()[6..12].copy_from_slice(&WAN_MAC.0);
    assert_eq!(bench.lan(looped), Action::Drop(DropReason::Looped));
    let mut stray = bench.tcp(HOST, "10.98.0.1", 80, SYN, 1);
    set_destination(&mut stray, LAN_MAC);
    assert_eq!(bench.lan(stray), Action::Drop(DropReason::NotForUs));
    // What a rule takes is taken, to whichever station it was sent.
    let mut taken = bench.syn(80);
    set_destination(&mut taken, LAN_MAC);
    assert!(matches!(bench.lan(taken), Action::NewFlow { .. }));
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

#[test]
fn fragments_of_tcp_follow_their_first() {
    let mut bench = Bench::new();
    let (passed, split) =
        (bench.tcp(HOST, SERVER, 81, ACK, 1), bench.tcp(HOST, SERVER, 80, ACK, 1));
    bench.split(80);
    // A later one first: it might be of a split flow.
    let [first, later] = fragments(&mut bench, &passed);
    assert_eq!(bench.lan(later), Action::Drop(DropReason::EarlyFragment));
    assert_eq!(bench.lan(first), Action::Forward);
    let [_, later] = fragments(&mut bench, &passed);
    assert_eq!(bench.lan(later), Action::Forward);
    assert_eq!(bench.count(InterceptorCounter::TcpFragment), 2);
    let [first, later] = fragments(&mut bench, &split);
    assert_eq!(bench.lan(first), Action::Drop(DropReason::SplitFlowFragment));
    assert_eq!(bench.lan(later), Action::Drop(DropReason::SplitFlowFragment));
    // From the WAN side: only what is known to be of a split flow is kept out.
    let back = bench.tcp_with(SERVER, HOST, (80, 40_000), ACK, 1, &[]);
    let [first, later] = fragments(&mut bench, &back);
    assert_eq!(bench.wan(later), Action::Forward);
    assert_eq!(bench.wan(first), Action::Drop(DropReason::SplitFlowOnWan));
    let [_, later] = fragments(&mut bench, &back);
    assert_eq!(bench.wan(later), Action::Drop(DropReason::SplitFlowOnWan));
    assert_eq!(bench.interceptor.reader().iter().count(), 1);
}

#[test]
fn fragments_of_udp_go_in_packet_mode_together() {
    let mut bench = Bench::new();
    let mut whole = bench.udp(HOST, SERVER, 53);
    whole.append(20).unwrap().fill(0);
    for fragment in fragments(&mut bench, &whole) {
        let Action::Datagram { parsed, .. } = bench.lan(fragment) else { panic!() };
        assert_eq!((parsed.key.source_port, parsed.key.destination_port), (0, 0));
    }
    assert_eq!(bench.interceptor.reader().iter().count(), 1);
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

#[test]
fn arp_for_own_addresses_is_answered_from_the_station_of_that_side() {
    for (side, own_mac) in [(Side::Lan, LAN_MAC), (Side::Wan, WAN_MAC)] {
        for target in [OWN_LAN, OWN_WAN] {
            let mut bench = Bench::new();
            let request = arp(HOST, HOST_MAC, target, ArpOperation::Request);
            let frame = arp_frame(&mut bench, request, MacAddr::BROADCAST);
            let (action, frame) = bench.take(side, frame);
            assert_eq!(action, Action::Answer);
            let parsed = parse(frame.head(), frame.frame_len()).unwrap();
            let reply = ArpPacket::parse(&frame.head()[parsed.l3_offset as usize..]).unwrap();
            assert_eq!(reply, request.reply(own_mac));
            let link = LinkHeader::of(frame.head(), &parsed).unwrap();
            assert_eq!((link.destination, link.source), (HOST_MAC, own_mac));
            assert_eq!(link.vlans, VlanList::of_id(7));
            assert!(frame.frame_len() >= 60);
            // And the host is known now, on that side.
            let known = LinkHeader { destination: HOST_MAC, source: own_mac, vlans: link.vlans };
            assert_eq!(bench.interceptor.route(side, 7, ip(HOST), bench.now), Route::Known(known));
        }
    }
}

#[test]
fn arp_between_others_is_bridged_and_learned() {
    let mut bench = Bench::new();
    let request = arp(HOST, HOST_MAC, "10.77.1.9", ArpOperation::Request);
    let frame = arp_frame(&mut bench, request, MacAddr::BROADCAST);
    assert_eq!(bench.lan(frame), Action::Forward);
    assert!(matches!(bench.interceptor.route(Side::Lan, 7, ip(HOST), bench.now), Route::Known(_)));
    // The host moves to another station and says so.
    let moved = MacAddr([2, 1, 0, 0, 0, 6]);
    let announcement = arp(HOST, moved, HOST, ArpOperation::Request);
    let frame = arp_frame(&mut bench, announcement, MacAddr::BROADCAST);
    assert_eq!(bench.lan(frame), Action::Forward);
    let Route::Known(link) = bench.interceptor.route(Side::Lan, 7, ip(HOST), bench.now) else {
        panic!()
    };
    assert_eq!(link.destination, moved);
    // Somebody claims our address: counted, not believed, not hidden.
    let claim = arp(OWN_LAN, moved, OWN_LAN, ArpOperation::Request);
    let frame = arp_frame(&mut bench, claim, MacAddr::BROADCAST);
    assert_eq!(bench.lan(frame), Action::Forward);
    assert_eq!(bench.count(InterceptorCounter::AddressConflict), 1);
    // A reply to us ends here.
    let reply = arp("10.77.1.9", SERVER_MAC, OWN_LAN, ArpOperation::Reply);
    let frame = arp_frame(&mut bench, reply, LAN_MAC);
    assert_eq!(bench.lan(frame), Action::Consumed);
}

fn solicitation(bench: &mut Bench, from: &str, target: &str) -> HeapFrame {
    let v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap();
    let mut frame = bench.source.alloc().unwrap();
    let link =
        LinkHeader { destination: MacAddr::ZERO, source: HOST_MAC, vlans: VlanList::default() };
    NdpPacket::write_solicitation(&mut frame, &link, v6(from), v6(target)).unwrap();
    frame
}

#[test]
fn neighbour_discovery_of_own_addresses() {
    let mut bench = Bench::new();
    let frame = solicitation(&mut bench, HOST6, OWN_LAN6);
    let (action, frame) = bench.take(Side::Lan, frame);
    assert_eq!(action, Action::Answer);
    let parsed = parse(frame.head(), frame.frame_len()).unwrap();
    assert!(checksum::frame_ok(&frame, &parsed));
    assert_eq!((parsed.key.source(), parsed.key.destination()), (ip(OWN_LAN6), ip(HOST6)));
    assert_eq!((parsed.ttl, &frame.head()[..6]), (255, &HOST_MAC.0[..]));
    let expected = NdpPacket::Advertisement {
        target: OWN_LAN6.parse().unwrap(),
        target_mac: Some(LAN_MAC),
        solicited: true,
        overrides: true,
    };
    assert_eq!(NdpPacket::parse(parsed.l4(frame.head())), Some(expected));
    assert!(matches!(bench.interceptor.route(Side::Lan, 0, ip(HOST6), bench.now), Route::Known(_)));
    // Who looks for duplicates is told by all nodes' group.
    let frame = solicitation(&mut bench, "::", OWN_LAN6);
    let (action, frame) = bench.take(Side::Lan, frame);
    assert_eq!(action, Action::Answer);
    let parsed = parse(frame.head(), frame.frame_len()).unwrap();
    assert_eq!(parsed.key.destination(), ip("ff02::1"));
    assert_eq!(frame.head()[..6], [0x33, 0x33, 0, 0, 0, 1]);
    // Others' solicitations are bridged; a wrong hop limit teaches nothing.
    let frame = solicitation(&mut bench, "fd77:0:0:1::7", SERVER6);
    assert_eq!(bench.lan(frame), Action::Forward);
    let mut remote = solicitation(&mut bench, "fd77:0:0:1::8", SERVER6);
    remote.head_mut()[21] = 254;
    assert_eq!(bench.lan(remote), Action::Forward);
    let route =
        |bench: &mut Bench, to: &str| bench.interceptor.route(Side::Lan, 0, ip(to), bench.now);
    assert!(matches!(route(&mut bench, "fd77:0:0:1::7"), Route::Known(_)));
    assert_eq!(route(&mut bench, "fd77:0:0:1::8"), Route::Pending);
}

#[test]
fn ping_to_own_addresses() {
    for (from, to) in [(HOST, OWN_LAN), (HOST, OWN_WAN), (HOST6, OWN_LAN6)] {
        let mut bench = Bench::new();
        let frame = bench.ping(from, to);
        let (action, frame) = bench.take(Side::Lan, frame);
        assert_eq!(action, Action::Answer);
        let parsed = parse(frame.head(), frame.frame_len()).unwrap();
        assert_eq!((parsed.key.source(), parsed.key.destination()), (ip(to), ip(from)));
        let mut broken = bench.ping(from, to);
        let len = parsed.ip_end as usize;
        broken.head_mut()[len - 1] ^= 1;
        assert_eq!(bench.lan(broken), Action::Drop(DropReason::BadChecksum));
    }
}

#[test]
fn own_port_belongs_to_the_data_mover() {
    let mut bench = Bench::new();
    let frame = bench.udp(SERVER, OWN_WAN, PORT);
    let Action::ToMover(parsed) = bench.wan(frame) else { panic!() };
    assert_eq!(parsed.payload_len(), 8);
    assert!(matches!(
        bench.interceptor.route(Side::Wan, 0, ip(SERVER), bench.now),
        Route::Known(_)
    ));
    let unknown = DropReason::OwnUnknown;
    let frame = bench.udp(SERVER, OWN_WAN, PORT + 1);
    assert_eq!(bench.wan(frame), Action::Drop(unknown));
    let frame = bench.udp(SERVER, OWN_LAN, PORT);
    assert_eq!(bench.wan(frame), Action::Drop(unknown), "not a WAN address");
    let frame = bench.udp(HOST, OWN_WAN, PORT);
    assert_eq!(bench.lan(frame), Action::Drop(unknown), "not from the WAN side");
    let mut broken = bench.udp(SERVER, OWN_WAN, PORT);
    broken.head_mut()[45] ^= 1;
    assert_eq!(bench.wan(broken), Action::Drop(DropReason::BadChecksum));
    let mut whole = bench.udp(SERVER, OWN_WAN, PORT);
    whole.append(20).unwrap().fill(0);
    for fragment in fragments(&mut bench, &whole) {
        assert_eq!(bench.wan(fragment), Action::Drop(DropReason::OwnFragment));
    }
    let segment = bench.tcp(HOST, OWN_LAN, 22, SYN, 1);
    assert_eq!(bench.lan(segment), Action::Drop(unknown));
}

#[test]
fn hosts_are_learned_from_their_frames_with_their_vlan() {
    let mut bench = Bench::new();
    let mut frame = bench.udp(HOST, SERVER, 53);
    frame.trim_front(14);
    let link = LinkHeader { vlans: VlanList::of_id(9), ..host_to_server() };
    prepend_link(&mut frame, &link, 0x0800).unwrap();
    assert!(matches!(bench.lan(frame), Action::Datagram { .. }));
    let known = LinkHeader { destination: HOST_MAC, source: LAN_MAC, vlans: VlanList::of_id(9) };
    assert_eq!(bench.interceptor.route(Side::Lan, 9, ip(HOST), bench.now), Route::Known(known));
    // A stranger on the WAN side does not get to say where our hosts or peers are.
    let forged = bench.udp("10.77.1.66", HOST, 53);
    assert_eq!(bench.wan(forged), Action::Forward);
    let stranger = ip("10.77.1.66");
    assert_eq!(bench.interceptor.route(Side::Wan, 0, stranger, bench.now), Route::Pending);
    assert_eq!(bench.interceptor.route(Side::Lan, 0, stranger, bench.now), Route::Pending);
}

#[test]
fn on_link_host_is_asked_for_and_found() {
    let mut bench = Bench::new();
    let (host, now) = (ip(HOST), bench.now);
    assert_eq!(bench.interceptor.route(Side::Lan, 7, host, now), Route::Pending);
    let (side, frame) = bench.interceptor.next_request(&mut bench.source, now).unwrap();
    assert_eq!((side, &frame.head()[..6]), (Side::Lan, &MacAddr::BROADCAST.0[..]));
    let parsed = parse(frame.head(), frame.frame_len()).unwrap();
    assert_eq!(parsed.vlans, VlanList::of_id(7));
    let request = ArpPacket::parse(&frame.head()[parsed.l3_offset as usize..]).unwrap();
    assert_eq!(request, arp(OWN_LAN, LAN_MAC, HOST, ArpOperation::Request));
    assert!(bench.interceptor.next_request(&mut bench.source, now).is_none());
    let reply = arp_frame(&mut bench, request.reply(HOST_MAC), LAN_MAC);
    assert_eq!(bench.lan(reply), Action::Consumed);
    let outcome = Outcome { side: Side::Lan, vlan: 7, next_hop: host, reachable: true };
    assert_eq!(bench.interceptor.next_outcome(), Some(outcome));
    assert!(matches!(bench.interceptor.route(Side::Lan, 7, host, now), Route::Known(_)));
    bench.interceptor.forget_neighbour(Side::Lan, 7, host);
    assert_eq!(bench.interceptor.route(Side::Lan, 7, host, now), Route::Pending);
}

#[test]
fn ipv6_host_is_solicited_at_its_group() {
    let mut bench = Bench::new();
    assert_eq!(bench.interceptor.route(Side::Lan, 0, ip(HOST6), bench.now), Route::Pending);
    let (side, frame) = bench.interceptor.next_request(&mut bench.source, bench.now).unwrap();
    let parsed = parse(frame.head(), frame.frame_len()).unwrap();
    assert_eq!(side, Side::Lan);
    assert_eq!(parsed.key.source(), ip(OWN_LAN6));
    assert_eq!(parsed.key.destination(), IpAddr::V6(solicited_node(HOST6.parse().unwrap())));
}

#[test]
fn off_link_goes_to_the_gateway_and_silence_is_unreachable() {
    let mut bench = Bench::new();
    let (server, gateway) = (ip(SERVER), ip("10.77.1.253"));
    assert_eq!(bench.interceptor.route(Side::Wan, 0, server, bench.now), Route::Pending);
    for _ in 0..neighbours::REQUESTS_MAX {
        let (side, frame) = bench.interceptor.next_request(&mut bench.source, bench.now).unwrap();
        assert_eq!(side, Side::Wan);
        let request = ArpPacket::parse(&frame.head()[14..]).unwrap();
        assert_eq!(IpAddr::V4(request.target), gateway);
        assert_eq!((request.sender_mac, request.sender), (WAN_MAC, OWN_WAN.parse().unwrap()));
        assert_eq!(bench.interceptor.next_outcome(), None);
        bench.now = bench.interceptor.next_timeout();
    }
    assert!(bench.interceptor.next_request(&mut bench.source, bench.now).is_none());
    let outcome = Outcome { side: Side::Wan, vlan: 0, next_hop: gateway, reachable: false };
    assert_eq!(bench.interceptor.next_outcome(), Some(outcome));
    assert_eq!(bench.interceptor.route(Side::Wan, 0, server, bench.now), Route::Unreachable);
    assert_eq!(bench.interceptor.next_timeout(), Time::NEVER);
    // No IPv6 address on the WAN side, so no way to an IPv6 host there.
    assert_eq!(bench.interceptor.route(Side::Wan, 0, ip(SERVER6), bench.now), Route::Unreachable);
    bench.interceptor.housekeeping(bench.now);
    assert_eq!(bench.count(InterceptorCounter::NeighbourFailures), 1);
    assert_eq!(bench.count(InterceptorCounter::NeighbourRequests), 3);
}

#[test]
fn housekeeping_ages_flows_and_neighbours() {
    let mut bench = Bench::new();
    bench.split(80);
    let frame = bench.udp(HOST, SERVER, 53);
    bench.lan(frame);
    bench.interceptor.housekeeping(bench.now);
    let gauges = |bench: &Bench| {
        (bench.count(InterceptorCounter::Flows), bench.count(InterceptorCounter::Neighbours))
    };
    assert_eq!(gauges(&bench), (2, 1));
    bench.interceptor.housekeeping(bench.now + 1000 * SECOND_NS);
    assert_eq!(gauges(&bench), (1, 0));
    assert_eq!(bench.count(InterceptorCounter::FlowsExpired), 1);
}

#[test]
fn reload_keeps_the_decisions_of_flows_that_have_one() {
    let mut bench = Bench::new();
    bench.split(80);
    bench.interceptor.reconfigure(Arc::default(), vec![UP]);
    let (segment, syn) = (bench.tcp(HOST, SERVER, 80, ACK, 2), bench.syn(81));
    assert!(matches!(bench.lan(segment), Action::Edge { .. }));
    assert_eq!(bench.lan(syn), Action::Forward);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any frames, also damaged good ones: no panic, one action each, sums that add up, and no
    /// frame changed that goes on.
    #[test]
    fn any_frames_at_all(
        bursts in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(
                (0..8usize, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
                 prop::collection::vec(any::<u8>(), 0..100)), 1..20)), 1..6),
    ) {
        let mut bench = Bench::with(16, UP);
        for (from_lan, burst) in bursts {
            let side = if from_lan { Side::Lan } else { Side::Wan };
            let mut frames = Vec::new();
            for (kind, damage, noise) in burst {
                let request = arp(HOST, HOST_MAC, OWN_LAN, ArpOperation::Request);
                let mut frame = match kind {
                    0 => bench.syn(80),
                    1 => bench.tcp(HOST6, SERVER6, 80, ACK, 1),
                    2 => bench.udp(SERVER, OWN_WAN, PORT),
                    3 => bench.ping(HOST6, OWN_LAN6),
                    4 => arp_frame(&mut bench, request, MacAddr::BROADCAST),
                    5 => solicitation(&mut bench, HOST6, OWN_LAN6),
                    6 => {
                        let whole = bench.syn(80);
                        let [first, _] = fragments(&mut bench, &whole);
                        first
                    }
                    _ => bench.frame(&noise),
                };
                for (at, value) in damage {
                    if !frame.head().is_empty() {
                        let at = at.index(frame.head().len());
                        frame.head_mut()[at] = value;
                    }
                }
                frames.push(frame);
            }
            let before: Vec<_> = frames.iter().map(|frame| frame.head().to_vec()).collect();
            let mut actions = Vec::new();
            bench.interceptor.classify(side, &mut frames, bench.now, &mut actions);
            prop_assert_eq!(actions.len(), frames.len());
            for ((frame, before), action) in frames.iter().zip(&before).zip(&actions) {
                prop_assert!(*action == Action::Answer || frame.head() == &before[..]);
            }
            bench.check_sums();
            while bench.interceptor.next_request(&mut bench.source, bench.now).is_some() {}
            bench.now = bench.now + SECOND_NS;
            bench.interceptor.housekeeping(bench.now);
        }
        prop_assert_eq!(bench.source.in_use(), 0);
    }
}
