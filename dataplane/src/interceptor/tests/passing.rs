//! The short way of packets whose flow passes, beside the whole way.

use super::*;
use crate::interceptor::classify::{Burst, Everyday, Seen};

const OTHER_HOST: &str = "10.77.1.6";
/// No rule is about it.
const ELSEWHERE: &str = "10.50.0.1";
const HOSTS: [&str; 3] = [HOST, OTHER_HOST, OWN_LAN];
const SERVERS: [&str; 3] = [SERVER, ELSEWHERE, OWN_WAN];
const PORTS: [u16; 4] = [22, 25, 80, PORT];
const FLAGS: [u8; 4] = [ACK, SYN, SYN | ACK, RST];
/// Destination and source station.
const STATIONS: [[MacAddr; 2]; 5] = [
    [SERVER_MAC, HOST_MAC],
    [SERVER_MAC, HOST_MAC],
    [LAN_MAC, HOST_MAC],
    [WAN_MAC, HOST_MAC],
    [SERVER_MAC, LAN_MAC],
];
/// Between two bursts: next to nothing, less and more than hosts are learned after, and so long
/// that flows are forgotten.
const PAUSES_NS: [u64; 4] = [1000, SECOND_NS * 6 / 10, SECOND_NS * 12 / 10, SECOND_NS * 700];

#[derive(Clone, Copy, Debug)]
struct Packet {
    host: usize,
    server: usize,
    port: usize,
    /// Of TCP; `None` for UDP.
    flags: Option<usize>,
    sequence: u32,
    to_host: bool,
    stations: usize,
}

impl Packet {
    fn frame(self, bench: &mut Bench) -> HeapFrame {
        let (host, server) = (HOSTS[self.host], SERVERS[self.server]);
        let (from, to) = if self.to_host { (server, host) } else { (host, server) };
        let ports = (40_000, PORTS[self.port]);
        let ports = if self.to_host { (ports.1, ports.0) } else { ports };
        let mut frame = match self.flags {
            Some(flags) => bench.tcp_with(from, to, ports, FLAGS[flags], self.sequence, &[]),
            None => {
                let mut datagram = Vec::new();
                datagram.extend(ports.0.to_be_bytes());
                datagram.extend(ports.1.to_be_bytes());
                datagram.extend([0, 12, 0, 0, 1, 2, 3, 4]);
                bench.packet(from, to, crate::frame::ip::protocol::UDP, &datagram)
            }
        };
        let [destination, source] = STATIONS[self.stations];
        frame.head_mut()[..6].copy_from_slice(&destination.0);
        frame.head_mut()[6..12].copy_from_slice(&source.0);
        frame
    }
}

prop_compose! {
    fn any_packet()(
        host in 0..HOSTS.len(),
        server in 0..SERVERS.len(),
        port in 0..PORTS.len(),
        flags in prop::option::of(0..FLAGS.len()),
        sequence in 1..3u32,
        to_host: bool,
        stations in 0..STATIONS.len(),
    ) -> Packet {
        Packet { host, server, port, flags, sequence, to_host, stations }
    }
}

/// All that is known: flows, counters, neighbours.
fn knowledge(bench: &mut Bench) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut flows: Vec<_> = bench.interceptor.reader().iter().collect();
    flows.sort_by_key(|view| view.key);
    let counters: Vec<_> =
        bench.interceptor.counters().iter().map(|(what, count)| (what.name, count)).collect();
    let stations = Side::BOTH.map(|side| {
        let neighbours = bench.interceptor.neighbours_mut(side);
        HOSTS.map(|host| neighbours.station(ip(host), 0))
    });
    (flows, counters, stations)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever comes, the same is done with it, counted and remembered; also where each packet is a
    /// burst by itself, whichever flows the others of its burst are of.
    #[test]
    fn the_short_way_ends_where_the_whole_one_does(
        bursts in prop::collection::vec(
            (any::<bool>(), 0..PAUSES_NS.len(), prop::collection::vec((any_packet(), 1..4usize), 1..8)),
            1..12),
    ) {
        let mut benches = [Bench::with(16, UP), Bench::with(16, UP), Bench::with(16, UP)];
        benches[1].interceptor.is_thorough = true;
        let burst_lens = [usize::MAX, usize::MAX, 1];
        for (from_lan, pause, packets) in bursts {
            let packets: Vec<_> = packets
                .into_iter()
                .flat_map(|(packet, times)| std::iter::repeat_n(packet, times))
                .collect();
            let side = if from_lan { Side::Lan } else { Side::Wan };
            let mut burst_lens = burst_lens.into_iter();
            let [ours, whole, single] = benches.each_mut().map(|bench| {
                bench.now = bench.now + PAUSES_NS[pause];
                bench.interceptor.housekeeping(bench.now);
                let mut frames: Vec<_> = packets.iter().map(|packet| packet.frame(bench)).collect();
                let (mut all, mut actions) = (Vec::new(), Vec::new());
                let burst_len = burst_lens.next().unwrap_or(1).min(frames.len());
                for frames in frames.chunks_mut(burst_len) {
                    bench.interceptor.classify(side, frames, bench.now, &mut actions);
                    all.append(&mut actions);
                }
                (all, knowledge(bench))
            });
            prop_assert_eq!(&ours, &whole);
            prop_assert_eq!(ours, single);
        }
    }
}

#[test]
fn packets_that_pass_take_the_short_way() {
    let mut bench = Bench::new();
    let packet = Packet {
        host: 0,
        server: 0,
        port: 0,
        flags: Some(1),
        sequence: 1,
        to_host: false,
        stations: 0,
    };
    let syn = packet.frame(&mut bench);
    assert_eq!(bench.lan(syn), Action::Forward);
    let (interceptor, now) = (&bench.interceptor, bench.now);
    let key = FlowKey::new(ip(HOST), ip(SERVER), 40_000, 22, TCP, 0);
    let found = interceptor.lookup(&key);
    assert!(found.is_some());
    let len = u32::try_from(packet.frame(&mut Bench::new()).frame_len()).unwrap();
    let passes = |side, tcp_flags| {
        interceptor.passes(side, &Everyday { tcp_flags, place: 0, len }, key, found, now)
    };
    assert_eq!(passes(Side::Lan, ACK), Some(PassReason::RulePass));
    assert_eq!(passes(Side::Wan, ACK), Some(PassReason::RulePass));
    assert_eq!(passes(Side::Lan, SYN), None, "it may begin another connection");
}

/// Frames of one flow in a row are looked up once; what is to or from our own stations is parsed.
#[test]
fn what_comes_together_has_one_key() {
    let mut bench = Bench::new();
    let mut frame = |port| bench.tcp_with(HOST, SERVER, (port, 22), ACK, 1, &[]);
    let mut frames: Vec<_> = [1, 1, 2, 1, 1, 1].into_iter().map(&mut frame).collect();
    frames[4].head_mut()[..6].copy_from_slice(&LAN_MAC.0);
    frames[5].head_mut()[6..12].copy_from_slice(&LAN_MAC.0);
    let mut burst = Burst::EMPTY;
    let interceptor = &bench.interceptor;
    burst.look_at(Side::Lan, &frames, interceptor.own(), &interceptor.flows);
    let ports: Vec<_> = burst.keys.iter().map(|key| key.source_port).collect();
    assert_eq!(ports, [1, 2, 1]);
    let seen = burst.seen.iter().map(|seen| match seen {
        Seen::Everyday(everyday) => (true, everyday.place),
        Seen::Parsed(_, place) => (false, *place),
    });
    let expected = [(true, 0), (true, 0), (true, 1), (true, 2), (false, 2), (false, 2)];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
}
