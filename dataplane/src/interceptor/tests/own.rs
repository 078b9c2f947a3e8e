//! Our own addresses and stations: ARP, neighbour discovery, echo, the UDP port.

use super::*;

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
