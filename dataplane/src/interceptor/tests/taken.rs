//! Flows that are taken, and why others are not: a frame in, the action and its counter out.

use super::*;

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
fn entry_replaced_within_a_burst() {
    let mut bench = Bench::new();
    let old = bench.tcp(HOST, SERVER, 80, ACK, 1);
    assert_eq!(bench.lan(old), Action::Forward);
    let mut frames = [bench.syn(80), bench.syn(80)];
    let mut actions = Vec::new();
    bench.interceptor.classify(Side::Lan, &mut frames, bench.now, &mut actions);
    let [Action::NewFlow { flow, .. }, Action::Edge { found, .. }] = actions[..] else { panic!() };
    assert_eq!(found.flow, flow);
    assert_eq!(bench.interceptor.reader().iter().count(), 1);
}

#[test]
fn flow_that_the_edge_declines_is_passed_for_good() {
    let mut bench = Bench::new();
    let syn = bench.tcp(HOST, SERVER, 80, SYN, 7);
    let Action::NewFlow { flow, .. } = bench.lan(syn) else { panic!() };
    assert!(bench.interceptor.decline(flow, 7));
    let again = bench.tcp(HOST, SERVER, 80, SYN, 7);
    assert_eq!(bench.lan(again), Action::Forward);
    assert_eq!(bench.count(InterceptorCounter::Overloaded), 1);
    let fresh = bench.tcp(HOST, SERVER, 80, SYN, 8);
    assert!(matches!(bench.lan(fresh), Action::NewFlow { .. }));
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
fn reload_keeps_the_decisions_of_flows_that_have_one() {
    let mut bench = Bench::new();
    bench.split(80);
    bench.interceptor.reconfigure(Arc::default(), vec![UP]);
    let (segment, syn) = (bench.tcp(HOST, SERVER, 80, ACK, 2), bench.syn(81));
    assert!(matches!(bench.lan(segment), Action::Edge { .. }));
    assert_eq!(bench.lan(syn), Action::Forward);
}
