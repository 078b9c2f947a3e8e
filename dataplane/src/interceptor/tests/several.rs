//! Several edges: who owns what, and what they tell each other.

use super::*;
use crate::frame::Shard;
use crate::interceptor::owner::{FIRST_EDGE, owner_of_packet};
use crate::interceptor::stations::SIGHTINGS_MAX;

const EDGES: usize = 5;

fn owners() -> Owners {
    Owners::new(EDGES, FlowHasher::new([1, 2]))
}

/// The connection to this port, as in the host's frames, and its owner.
fn connection(port: u16) -> (FlowKey, usize) {
    let key = FlowKey::new(ip(HOST), ip(SERVER), 40_000, port, TCP, 0);
    (key, Shard::of(&key).owner(EDGES))
}

#[test]
fn whatever_belongs_to_a_connection_goes_to_one_owner() {
    let (mut bench, mut owners) = (Bench::new(), owners());
    let mut seen = [false; EDGES];
    for port in 80..140 {
        let (_, owner) = connection(port);
        seen[owner] = true;
        let segment = bench.tcp(HOST, SERVER, port, ACK, 1);
        let back = bench.tcp_with(SERVER, HOST, (port, 40_000), ACK, 1, &[]);
        assert_eq!(owners.of_frame(Side::Lan, &segment), owner);
        assert_eq!(owners.of_frame(Side::Wan, &back), owner);
        // An ICMP error that quotes it, from either side and as a peer delivers it.
        let quoted = segment.head()[14..42].to_vec();
        let error =
            bench.packet(SERVER, HOST, ICMP, &[&[3, 1, 0, 0, 0, 0, 0, 0], &quoted[..]].concat());
        assert_eq!(Side::BOTH.map(|side| owners.of_frame(side, &error)), [owner; 2]);
        assert_eq!(owner_of_packet(&error.head()[14..], EDGES), owner);
        // Its fragments, the later ones once the first was there.
        let [first, later] = fragments(&mut bench, &segment);
        assert_eq!([&first, &later].map(|frame| owners.of_frame(Side::Lan, frame)), [owner; 2]);
    }
    assert_eq!(seen, [true; EDGES]);
}

#[test]
fn a_fragment_that_overtook_its_first_goes_by_its_addresses() {
    let (mut bench, mut owners) = (Bench::new(), owners());
    let (key, _) = connection(80);
    let segment = bench.tcp(HOST, SERVER, 80, ACK, 1);
    let [_, later] = fragments(&mut bench, &segment);
    let bare = FlowKey::new(key.source(), key.destination(), 0, 0, TCP, 0);
    assert_eq!(owners.of_frame(Side::Lan, &later), Shard::of(&bare).owner(EDGES));
}

/// What is carried in packet mode has the owner that its answers have on the LAN.
#[test]
fn packets_that_peers_deliver_have_the_owner_of_their_answers() {
    let (mut bench, mut owners) = (Bench::new(), owners());
    for port in 0..20 {
        let there = bench.udp(SERVER, HOST, port);
        let mut back = bench.udp(HOST, SERVER, 5000);
        back.head_mut()[34..36].copy_from_slice(&port.to_be_bytes());
        assert_eq!(owner_of_packet(&there.head()[14..], EDGES), owners.of_frame(Side::Lan, &back));
    }
    let (there, back) = (bench.ping(SERVER6, HOST6), bench.ping(HOST6, SERVER6));
    assert_eq!(owner_of_packet(&there.head()[14..], EDGES), owners.of_frame(Side::Lan, &back));
    let mut whole = bench.udp(SERVER, HOST, 53);
    whole.append(20).unwrap().fill(0);
    let cut = fragments(&mut bench, &whole);
    let of_each = cut.map(|frame| owner_of_packet(&frame.head()[14..], EDGES));
    assert_eq!(of_each[0], of_each[1]);
    assert_eq!(owner_of_packet(&[], EDGES), FIRST_EDGE);
}

#[test]
fn what_is_no_flows_goes_to_the_first_edge() {
    let (mut bench, mut owners) = (Bench::new(), owners());
    let question = arp(HOST, HOST_MAC, OWN_LAN, ArpOperation::Request);
    let frames = [
        arp_frame(&mut bench, question, LAN_MAC),
        solicitation(&mut bench, HOST6, OWN_LAN6),
        bench.frame(&[7; 5]),
        bench.frame(&[7; 60]),
    ];
    for frame in &frames {
        assert_eq!(owners.of_frame(Side::Lan, frame), FIRST_EDGE);
    }
}

/// One of several edges.
fn shared() -> Bench {
    let Bench { interceptor, source, now } = Bench::new();
    Bench { interceptor: interceptor.shared(), source, now }
}

fn sightings(bench: &mut Bench) -> Vec<Sighting> {
    std::iter::from_fn(|| bench.interceptor.next_sighting()).collect()
}

#[test]
fn what_one_edge_sees_of_the_lan_the_others_know() {
    let (mut bench, mut other) = (shared(), shared());
    let frame = bench.udp(HOST, SERVER, 53);
    bench.lan(frame);
    let told = sightings(&mut bench);
    let [sighting] = told[..] else { panic!("{told:?}") };
    assert_eq!((sighting.address, sighting.mac), (ip(HOST), HOST_MAC));
    other.interceptor.hear(sighting, other.now);
    let known = LinkHeader { destination: HOST_MAC, source: LAN_MAC, vlans: VlanList::default() };
    assert_eq!(other.interceptor.route(Side::Lan, 0, ip(HOST), other.now), Route::Known(known));
    // What was heard is not passed on; what has not changed is told again after a minute.
    assert_eq!(sightings(&mut other), []);
    for (seconds, times) in [(2, 0), (50, 0), (61, 1), (62, 0)] {
        for each in [&mut bench, &mut other] {
            each.now = Time::from_ms(1) + seconds * SECOND_NS;
            let frame = each.udp(HOST, SERVER, 53);
            each.lan(frame);
            assert_eq!(sightings(each).len(), times, "{seconds}");
        }
    }
    // Nothing of the WAN, and nothing where there is no other edge.
    let frame = bench.udp("10.77.2.66", HOST, 53);
    bench.wan(frame);
    assert_eq!(sightings(&mut bench), []);
    let mut alone = Bench::new();
    let frame = alone.udp(HOST, SERVER, 53);
    alone.lan(frame);
    assert_eq!(sightings(&mut alone), []);
}

#[test]
fn the_answer_to_what_another_edge_has_asked_is_told_to_it() {
    let (mut first, mut asks) = (shared(), shared());
    // The first edge has known it for long; the other one does not, and asks.
    let link = arp(HOST, HOST_MAC, OWN_LAN, ArpOperation::Request);
    let frame = arp_frame(&mut first, link, LAN_MAC);
    first.lan(frame);
    sightings(&mut first);
    assert_eq!(asks.interceptor.route(Side::Lan, 7, ip(HOST), asks.now), Route::Pending);
    assert!(asks.interceptor.next_request(&mut asks.source, asks.now).is_some());
    let reply = arp(HOST, HOST_MAC, OWN_LAN, ArpOperation::Reply);
    let frame = arp_frame(&mut first, reply, LAN_MAC);
    assert_eq!(first.lan(frame), Action::Consumed);
    let told = sightings(&mut first);
    assert_eq!(told.len(), 1);
    asks.interceptor.hear(told[0], asks.now);
    assert!(matches!(asks.interceptor.route(Side::Lan, 7, ip(HOST), asks.now), Route::Known(_)));
}

/// However many hosts there are, what waits is bounded, and what found no place is told later.
#[test]
fn what_finds_no_place_is_told_when_it_is_seen_again() {
    let mut bench = shared();
    let see = |bench: &mut Bench| {
        for n in 0..16_u8 {
            let address = format!("10.77.1.{}", 100 + n);
            let frame = bench.udp(&address, SERVER, 53);
            bench.lan(frame);
        }
    };
    // Answers to us are told each time.
    for _ in 0..=SIGHTINGS_MAX {
        let reply = arp(HOST, HOST_MAC, OWN_LAN, ArpOperation::Reply);
        let frame = arp_frame(&mut bench, reply, LAN_MAC);
        bench.lan(frame);
    }
    see(&mut bench);
    let told = sightings(&mut bench);
    assert_eq!(told.len(), SIGHTINGS_MAX);
    assert!(told.iter().all(|sighting| sighting.address == ip(HOST)));
    bench.now = bench.now + 2 * SECOND_NS;
    see(&mut bench);
    // The table has room for eight: some were forgotten meanwhile, and all are told.
    assert_eq!(sightings(&mut bench).len(), 16);
}
