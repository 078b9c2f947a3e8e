//! Where hosts and peers are: learned, asked for, forgotten.

use super::*;

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
    for _ in 0..crate::interceptor::neighbours::REQUESTS_MAX {
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
    // We do not ask for ourselves.
    for own in [OWN_LAN, OWN_WAN, OWN_LAN6] {
        assert_eq!(bench.interceptor.route(Side::Lan, 0, ip(own), bench.now), Route::Unreachable);
    }
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

/// However many flows are over at once, the table has room for as many soon after.
#[test]
fn a_large_table_is_looked_through_in_ten_seconds() {
    const FLOWS: u16 = 60_000;
    let mut interceptor = Interceptor::new(Config {
        own: own(),
        rules: rules(),
        peers: vec![UP],
        flows: 2 * usize::from(FLOWS),
        neighbours: 64,
        timeouts: Timeouts::default(),
        secret: [1, 2],
    });
    let mut now = Time::from_ms(1);
    interceptor.housekeeping(now);
    for port in 0..FLOWS {
        let key = FlowKey::new(ip(HOST), ip(SERVER), port, 53, 17, 0);
        interceptor.insert(&key, Decision::pass(PassReason::NoRule), now).unwrap();
    }
    now = now + Timeouts::default().udp_ns;
    for _ in 0..=200 {
        interceptor.housekeeping(now);
        now = now + SECOND_NS / 20;
    }
    let counted = |counter| interceptor.counters().get(counter);
    assert_eq!(counted(InterceptorCounter::FlowsExpired), u64::from(FLOWS));
    assert_eq!(counted(InterceptorCounter::Flows), 0);
}
