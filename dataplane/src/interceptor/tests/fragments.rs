//! Fragments: of TCP, whose ports only the first shows, and of what goes in packet mode.

use super::*;

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
    // Fragments of a split flow come back to it as one packet.
    let mut reassembly = Reassembly::default();
    let mut whole = None;
    for frame in fragments(&mut bench, &split) {
        let (action, frame) = bench.take(Side::Lan, frame);
        let Action::Fragment(parsed) = action else { panic!() };
        whole = reassembly.add(frame, &parsed, bench.now);
    }
    let Action::Edge { parsed, .. } = bench.lan(whole.unwrap()) else { panic!() };
    assert_eq!(parsed.key, FlowKey::new(ip(HOST), ip(SERVER), 40_000, 80, TCP, 0));
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
