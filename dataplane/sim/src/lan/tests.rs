//! Hosts against each other, without a tpo between them: what the simulator asks of a pair must
//! hold for a cable.

use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::check::{End, StreamReport, Violation, finished, safety};
use crate::host::{Application, Close, HostConfig, Pace, Probe, Read, StreamScript};
use crate::link::{LinkCounter, Loss};
use crate::scripted::{Action, Damage, Outcome, Pattern, ScriptedConfig, Segment, flag};

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;
const MINUTES_10: Time = Time::from_ns(600 * SECOND);

struct Bench {
    lan: Lan,
    client: StationId,
    server: StationId,
}

fn good_link() -> LinkConfig {
    LinkConfig { delay_ns: 50_000, ..LinkConfig::default() }
}

fn bad_link() -> LinkConfig {
    LinkConfig {
        loss: Loss::Independent { probability: 0.02 },
        reorder_probability: 0.02,
        reorder_delay_ns: 300_000,
        duplicate_probability: 0.01,
        corrupt_probability: 0.01,
        ..good_link()
    }
}

impl Bench {
    fn new(link: &LinkConfig, seed: u64) -> Self {
        println!("seed {seed}, link {link:?}");
        let mut lan = Lan::new(seed);
        let mut host = |number| {
            let host = Host::new(HostConfig::numbered(number), seed + u64::from(number));
            lan.connect(Station::Host(Box::new(host)), link)
        };
        let (client, server) = (host(1), host(2));
        Bench { lan, client, server }
    }

    fn serve(&mut self, script: StreamScript) {
        let server = Application::Server { port: 80, backlog: 128, script };
        self.lan.host(self.server).run(server);
    }

    fn connect(&mut self, v6: bool, connections: u16, script: StreamScript) {
        let remote = self.address(v6, 80);
        let client =
            Application::Client { remote, local_port: 20_000, connections, start_ns: 0, script };
        self.lan.host(self.client).run(client);
    }

    fn address(&mut self, v6: bool, port: u16) -> SocketAddr {
        SocketAddr::new(self.lan.host(self.server).address(v6).unwrap(), port)
    }

    fn reports(&mut self, id: StationId) -> Vec<StreamReport> {
        self.lan.host(id).streams().cloned().collect()
    }

    fn both(&mut self) -> (Vec<StreamReport>, Vec<StreamReport>) {
        (self.reports(self.client), self.reports(self.server))
    }

    // Runs to the end, and everything must be as it should.
    fn finish(&mut self) -> (Vec<StreamReport>, Vec<StreamReport>) {
        self.lan.run(Time::ZERO, MINUTES_10);
        let (clients, servers) = self.both();
        assert_fine(&finished(&clients, &servers));
        assert_eq!(self.lan.host(self.client).open_sockets(), 0);
        assert_eq!(self.lan.host(self.server).open_sockets(), 0);
        (clients, servers)
    }
}

fn assert_fine(violations: &[Violation]) {
    let words: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(words.is_empty(), "{words:?}");
}

// Everything was sent, received and closed. When the last acknowledgements are lost for longer than
// the other end remembers, its answer is a reset after all that.
fn all_whole(reports: &[StreamReport], sent: u64, received: u64) {
    for report in reports {
        assert!(matches!(report.end, End::Orderly | End::ResetAfterClose), "{report:?}");
        assert!(report.end_of_stream_at.is_some() && report.send_closed);
        assert_eq!((report.sent_bytes, report.received_bytes), (sent, received));
    }
}

#[test]
fn bytes_arrive_whole_in_both_directions_over_bad_cables() {
    for seed in 0..12 {
        let mut bench = Bench::new(&bad_link(), seed);
        bench.serve(StreamScript::sender(300_000));
        bench.connect(seed % 2 == 1, 3, StreamScript::sender(200_000));
        let (clients, servers) = bench.finish();
        assert_eq!((clients.len(), servers.len()), (3, 3));
        all_whole(&clients, 200_000, 300_000);
        all_whole(&servers, 300_000, 200_000);
    }
}

#[test]
fn faults_of_the_cables_strike_and_are_counted() {
    let mut bench = Bench::new(&bad_link(), 5);
    bench.serve(StreamScript::sender(2_000_000));
    bench.connect(false, 1, StreamScript::default());
    bench.finish();
    let cable = &bench.lan.cables[0].to_station;
    let count = |counter| cable.counters().get(counter);
    assert!(count(LinkCounter::PacketsCorrupted) > 3);
    assert!(count(LinkCounter::PacketsDuplicated) > 3);
    assert!(count(LinkCounter::PacketsHeldBack) > 3);
    assert!(count(LinkCounter::LossPackets) > 3);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut bench = Bench::new(&bad_link(), seed);
        bench.serve(StreamScript::sender(100_000));
        bench.connect(false, 5, StreamScript::sender(1_000));
        let (clients, servers) = bench.finish();
        (clients, servers)
    };
    assert_eq!(run(77), run(77));
    assert_ne!(run(77), run(78));
}

#[test]
fn request_and_response_take_turns() {
    let mut bench = Bench::new(&good_link(), 1);
    let turns = |own, peer, first| Pace::Turns { own_bytes: own, peer_bytes: peer, first };
    bench.serve(StreamScript {
        send_bytes: 50 * 700,
        pace: turns(700, 40, false),
        ..StreamScript::default()
    });
    bench.connect(
        false,
        1,
        StreamScript {
            send_bytes: 50 * 40,
            pace: turns(40, 700, true),
            close: Close::AfterSending,
            ..StreamScript::default()
        },
    );
    let (clients, servers) = bench.finish();
    all_whole(&clients, 2_000, 35_000);
    all_whole(&servers, 35_000, 2_000);
    let ended_ns = clients[0].end_of_stream_at.unwrap().as_ns();
    assert!(ended_ns > 50 * 200_000, "50 round trips take their time: {ended_ns}");
}

#[test]
fn a_half_closed_connection_goes_on_in_the_other_direction() {
    for server_closes_first in [false, true] {
        let late = StreamScript {
            send_bytes: 400_000,
            pace: Pace::AfterReceived(1_000),
            ..StreamScript::default()
        };
        let early = StreamScript::sender(1_000);
        let mut bench = Bench::new(&good_link(), 2);
        let (server, client) = if server_closes_first { (early, late) } else { (late, early) };
        bench.serve(server);
        bench.connect(true, 1, client);
        let (clients, servers) = bench.finish();
        let (early, late) = if server_closes_first {
            (&servers[0], &clients[0])
        } else {
            (&clients[0], &servers[0])
        };
        assert_eq!((early.received_bytes, late.received_bytes), (400_000, 1_000));
        assert!(late.end_of_stream_at.unwrap() < early.first_byte_at.unwrap() + MILLISECOND);
    }
}

#[test]
fn a_slow_reader_gets_everything_at_its_own_speed() {
    let mut bench = Bench::new(&good_link(), 3);
    bench.serve(StreamScript::sender(200_000));
    let read = Read::Slow { bytes: 2_000, interval_ns: 10 * MILLISECOND };
    bench.connect(false, 1, StreamScript { read, ..StreamScript::default() });
    let (clients, _) = bench.finish();
    all_whole(&clients, 0, 200_000);
    assert!(clients[0].end_of_stream_at.unwrap() >= Time::from_ms(990));
}

#[test]
fn a_window_closed_for_30_seconds_opens_again() {
    let mut bench = Bench::new(&good_link(), 3);
    bench.serve(StreamScript::sender(300_000));
    let read = Read::After { delay_ns: 30 * SECOND };
    bench.connect(false, 1, StreamScript { read, ..StreamScript::default() });
    let (clients, _) = bench.finish();
    all_whole(&clients, 0, 300_000);
    assert!(clients[0].first_byte_at.unwrap() >= Time::from_ns(30 * SECOND));
}

#[test]
fn an_abort_is_a_reset_at_the_other_end() {
    let mut bench = Bench::new(&good_link(), 4);
    bench.serve(StreamScript { send_bytes: 1_000_000, ..StreamScript::default() });
    let close = Close::Abort { sent_bytes: 0, received_bytes: 100_000 };
    bench.connect(false, 1, StreamScript { close, ..StreamScript::default() });
    let (clients, servers) = bench.finish();
    assert_eq!((clients[0].end, servers[0].end), (End::Aborted, End::Reset));
    assert!(clients[0].received_bytes >= 100_000);
    assert!(servers[0].end_of_stream_at.is_none());
}

#[test]
fn a_port_without_a_server_refuses() {
    for v6 in [false, true] {
        let mut bench = Bench::new(&good_link(), 4);
        bench.connect(v6, 1, StreamScript::sender(10));
        bench.lan.run(Time::ZERO, MINUTES_10);
        let (clients, servers) = bench.both();
        assert_eq!((clients[0].end, servers.len()), (End::Refused, 0));
        assert_eq!(clients[0].ended_at, Some(Time::from_ns(400_000)), "two round trips with ARP");
    }
}

#[test]
fn a_host_that_is_not_there_is_silence() {
    let mut bench = Bench::new(&good_link(), 4);
    let remote = SocketAddr::new(IpAddr::from([10, 0, 0, 99]), 80);
    let script = StreamScript::sender(10);
    bench.lan.host(bench.client).run(Application::Client {
        remote,
        local_port: 20_000,
        connections: 1,
        start_ns: 0,
        script,
    });
    bench.lan.run(Time::ZERO, Time::from_ns(20 * SECOND));
    let (clients, servers) = bench.both();
    assert_eq!((clients[0].end, clients[0].connected_at), (End::Open, None));
    let unfinished: Vec<Violation> = finished(&clients, &servers);
    assert_eq!(unfinished.len(), 1);
    assert_fine(&safety(&clients, &servers));
}

#[test]
fn many_short_connections_leave_nothing_behind() {
    let mut bench = Bench::new(&bad_link(), 6);
    bench.serve(StreamScript::sender(3_000));
    bench.connect(false, 100, StreamScript::sender(500));
    let (clients, servers) = bench.finish();
    assert_eq!((clients.len(), servers.len()), (100, 100));
    all_whole(&clients, 500, 3_000);
}

#[test]
fn a_network_that_heals_lets_everything_finish() {
    let mut bench = Bench::new(&good_link(), 8);
    bench.serve(StreamScript::sender(3_000_000));
    bench.connect(false, 4, StreamScript::sender(3_000_000));
    let cut = bench.lan.run(Time::ZERO, Time::from_ms(5));
    bench.lan.set_links(cut, &LinkConfig { up: false, ..good_link() });
    let healed = bench.lan.run(cut, Time::from_ns(3 * SECOND));
    let (clients, servers) = bench.both();
    assert_fine(&safety(&clients, &servers));
    assert!(clients.iter().all(|client| client.received_bytes < 3_000_000));
    bench.lan.set_links(healed, &good_link());
    bench.lan.run(healed, MINUTES_10);
    let (clients, servers) = bench.both();
    assert_fine(&finished(&clients, &servers));
    all_whole(&clients, 3_000_000, 3_000_000);
}

#[test]
fn datagrams_and_pings_come_back() {
    for v6 in [false, true] {
        let mut bench = Bench::new(&good_link(), 9);
        let probe = Probe { start_ns: 0, interval_ns: MILLISECOND, count: 100, len: 1_400 };
        let remote = bench.address(v6, 53);
        bench.lan.host(bench.server).run(Application::UdpEcho { port: 53 });
        let client = bench.lan.host(bench.client);
        client.run(Application::UdpClient { remote, local_port: 5_000, probe });
        client.run(Application::Ping { remote, identifier: 7, probe });
        bench.lan.run(Time::ZERO, Time::from_ns(10 * SECOND));
        for report in bench.lan.host(bench.client).probes() {
            assert_eq!((report.sent, report.returned, report.wrong), (100, 100, 0));
            // Two cables each way; the first has to find the MAC addresses.
            assert!(report.round_trips_ns.iter().skip(2).all(|ns| *ns == 200_000));
        }
    }
}

#[test]
fn datagrams_over_bad_cables_are_lost_but_never_wrong() {
    let mut bench = Bench::new(&bad_link(), 9);
    let probe = Probe { start_ns: 0, interval_ns: MILLISECOND, count: 2_000, len: 200 };
    let remote = bench.address(true, 53);
    bench.lan.host(bench.server).run(Application::UdpEcho { port: 53 });
    let client = bench.lan.host(bench.client);
    client.run(Application::UdpClient { remote, local_port: 5_000, probe });
    client.run(Application::Ping { remote, identifier: 7, probe });
    bench.lan.run(Time::ZERO, Time::from_ns(10 * SECOND));
    for report in bench.lan.host(bench.client).probes() {
        assert_eq!((report.sent, report.wrong), (2_000, 0));
        assert!((1_500..2_100).contains(&report.returned), "{}", report.returned);
    }
}

#[test]
fn keepalives_pass_while_nobody_speaks() {
    let mut lan = Lan::new(1);
    let mut host = |number, keep_alive_ns| {
        let config = HostConfig { keep_alive_ns, ..HostConfig::numbered(number) };
        lan.connect(Station::Host(Box::new(Host::new(config, number.into()))), &good_link())
    };
    let (client, server) = (host(1, Some(5 * SECOND)), host(2, None));
    let mut bench = Bench { lan, client, server };
    bench.serve(StreamScript { close: Close::Never, ..StreamScript::default() });
    bench.connect(false, 1, StreamScript { close: Close::Never, ..StreamScript::default() });
    let connected = bench.lan.run(Time::ZERO, Time::from_ms(100));
    let before = bench.lan.host(server).frames_in();
    bench.lan.run(connected, Time::from_ns(62 * SECOND));
    let probes = bench.lan.host(server).frames_in() - before;
    assert!((12..=14).contains(&probes), "{probes}");
    assert_eq!(bench.reports(client)[0].end, End::Open);
}

#[test]
fn two_lans_joined_at_their_ports_are_one() {
    let mut lans = [Lan::new(1), Lan::new(2)];
    let mut ids = Vec::new();
    for (number, lan) in (1..).zip(&mut lans) {
        let host = Host::new(HostConfig::numbered(number), number.into());
        ids.push(lan.connect(Station::Host(Box::new(host)), &bad_link()));
        // A third host on each side hears only what is for everybody.
        let other = Host::new(HostConfig::numbered(number + 10), number.into());
        ids.push(lan.connect(Station::Host(Box::new(other)), &good_link()));
    }
    let [client, client_neighbour, server, server_neighbour] = ids[..] else { unreachable!() };
    let remote = SocketAddr::new(lans[1].host(server).address(false).unwrap(), 80);
    let script = StreamScript::sender(200_000);
    lans[1].host(server).run(Application::Server { port: 80, backlog: 4, script });
    let start_ns = 1_000;
    let local_port = 9_000;
    let client_app = Application::Client { remote, local_port, connections: 2, start_ns, script };
    lans[0].host(client).run(client_app);

    let mut now = Time::ZERO;
    while now < MINUTES_10 {
        let mut frames = Vec::new();
        for from in [0, 1, 0, 1] {
            lans[from].step(now, &mut frames);
            frames.drain(..).for_each(|frame| lans[1 - from].inject(now, &frame));
        }
        let [a, b] = &mut lans;
        now = a.next_time().min(b.next_time());
    }
    let clients: Vec<_> = lans[0].host(client).streams().cloned().collect();
    let servers: Vec<_> = lans[1].host(server).streams().cloned().collect();
    assert_fine(&finished(&clients, &servers));
    all_whole(&clients, 200_000, 200_000);
    assert!(lans[0].host(client_neighbour).frames_in() < 10);
    assert!(lans[1].host(server_neighbour).frames_in() < 10);
}

fn scripted(bench: &mut Bench, v6: bool, script: Vec<Action>) -> StationId {
    let remote = bench.address(v6, 80);
    let ip = if v6 { "fd00::9".parse().unwrap() } else { IpAddr::from([10, 0, 0, 9]) };
    let config = ScriptedConfig {
        mac: [2, 0, 0, 0, 0, 9],
        peer_mac: [2, 0, 0, 0, 0, 2],
        local: SocketAddr::new(ip, 4_000),
        remote: Some(remote),
        isn: 0xffff_fff0,
    };
    let host = crate::scripted::ScriptedHost::new(config, script);
    bench.lan.connect(Station::Scripted(Box::new(host)), &good_link())
}

fn expect(pattern: Pattern) -> Action {
    Action::Expect { pattern, within_ns: SECOND }
}

#[test]
fn a_script_speaks_tcp_segment_by_segment() {
    for v6 in [false, true] {
        let mut bench = Bench::new(&good_link(), 10);
        bench.serve(StreamScript { send_bytes: 0, ..StreamScript::default() });
        let script = vec![
            Action::Send(Segment::syn(1_000)),
            expect(Pattern::flags(flag::SYN | flag::ACK).acking(1)),
            Action::Send(Segment::ack(1, 1)),
            Action::Send(
                Segment::data(1, 1, b"damaged")
                    .with_damage(Damage::Flip { at: if v6 { 75 } else { 55 }, with: 1 }),
            ),
            Action::Silence { ns: 100 * MILLISECOND },
            Action::Send(Segment::data(1, 1, b"whole")),
            expect(Pattern::flags(flag::ACK).acking(6)),
            Action::Send(Segment::fin(6, 1)),
            Action::Await {
                pattern: Pattern::flags(flag::FIN | flag::ACK).acking(7),
                within_ns: SECOND,
            },
            Action::Send(Segment::ack(7, 2)),
            Action::Silence { ns: SECOND },
        ];
        let id = scripted(&mut bench, v6, script);
        bench.lan.run(Time::ZERO, Time::from_ns(5 * SECOND));
        assert_eq!(*bench.lan.scripted(id).outcome(), Outcome::Done);
        let server = bench.reports(bench.server);
        assert_eq!((server[0].received_bytes, server[0].end), (5, End::Orderly));
        assert_eq!(server[0].mismatch_at, Some(0), "not what a client host would have sent");
    }
}

#[test]
fn a_script_says_at_which_step_it_failed_and_what_came_instead() {
    let mut bench = Bench::new(&good_link(), 10);
    let script =
        vec![Action::Send(Segment::syn(1_000)), expect(Pattern::flags(flag::SYN | flag::ACK))];
    let id = scripted(&mut bench, false, script);
    bench.lan.run(Time::ZERO, Time::from_ns(5 * SECOND));
    let Outcome::Failed { step: 1, instead: Some(seen) } = bench.lan.scripted(id).outcome() else {
        panic!("{:?}", bench.lan.scripted(id).outcome());
    };
    assert_eq!((seen.flags, seen.ack), (flag::RST | flag::ACK, 1));

    let script = vec![expect(Pattern::default())];
    let id = scripted(&mut bench, true, script);
    bench.lan.run(Time::from_ns(5 * SECOND), Time::from_ns(9 * SECOND));
    let outcome = bench.lan.scripted(id).outcome();
    assert_eq!(*outcome, Outcome::Failed { step: 0, instead: None });
}

/// A host sends this much to one that tells a window with `first`, has the first of the segments
/// (`awaited` is the last of them), shuts the window and opens it again: the rest was lost, and has
/// to be sent again.
fn a_window_shuts_over_a_loss(bytes: u64, first: Segment, awaited: u32, seq: u32, shut_ns: u64) {
    let mut bench = Bench::new(&good_link(), 10);
    bench.serve(StreamScript::sender(bytes));
    let segment = |seq, within_ns| Action::Await {
        pattern: Pattern { seq: Some(seq), ..Pattern::default() },
        within_ns,
    };
    let script = vec![
        Action::Send(Segment::syn(1_000)),
        expect(Pattern::flags(flag::SYN | flag::ACK)),
        Action::Send(first.with_window(3_000)),
        segment(awaited, SECOND),
        Action::Send(Segment::ack(seq, 1_001).with_window(0)),
        Action::Wait { ns: shut_ns },
        Action::Forget,
        Action::Send(Segment::ack(seq, 1_001).with_window(4_000)),
        segment(1_001, 30 * SECOND),
    ];
    let id = scripted(&mut bench, false, script);
    bench.lan.run(Time::ZERO, Time::from_ns(40 * SECOND));
    let host = bench.lan.scripted(id);
    assert_eq!(*host.outcome(), Outcome::Done, "{:?}", host.log());
}

#[test]
fn a_window_that_opens_again_is_seen_by_a_host_that_closed_last() {
    // Two of three segments are lost.
    a_window_shuts_over_a_loss(4_000, Segment::fin(1, 1), 2_001, 2, 100 * MILLISECOND);
}

/// As a rounded window may (RFC 7323 2.4); then the host has to send again what was under way.
#[test]
fn a_window_that_shuts_over_something_lost_does_not_make_a_host_forget_it() {
    a_window_shuts_over_a_loss(2_000, Segment::ack(1, 1), 1_001, 1, MILLISECOND);
}

#[test]
fn what_a_host_has_acknowledged_is_read_though_a_reset_follows() {
    let mut bench = Bench::new(&good_link(), 10);
    let read = Read::After { delay_ns: 10 * SECOND };
    bench.serve(StreamScript { read, ..StreamScript::default() });
    let script = vec![
        Action::Send(Segment::syn(1_000)),
        expect(Pattern::flags(flag::SYN | flag::ACK).acking(1)),
        Action::Send(Segment::data(1, 1, b"whole")),
        expect(Pattern::flags(flag::ACK).acking(6)),
        Action::Send(Segment::rst(6)),
    ];
    let id = scripted(&mut bench, false, script);
    bench.lan.run(Time::ZERO, Time::from_ns(5 * SECOND));
    assert_eq!(*bench.lan.scripted(id).outcome(), Outcome::Done);
    let server = bench.reports(bench.server);
    assert_eq!((server[0].received_bytes, server[0].end), (5, End::Reset));
}
