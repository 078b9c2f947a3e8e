//! Frames that are bridged, and those that must not be.

use super::*;

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
