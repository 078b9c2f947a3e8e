//! Hosts against each other through a pair.

use super::*;
use crate::check::{End, finished, safety};
use crate::host::{Application, Close, Host, HostConfig, Pace, Probe, Read, StreamScript};
use crate::lan::{Station, StationId};
use crate::link::Loss;
use dataplane::packet_driver::{AggregateCounter, DisaggregateCounter};

struct Bench {
    pair: Pair,
    client: StationId,
    server: StationId,
}

fn wan(loss: f64) -> LinkConfig {
    LinkConfig {
        rate_bps: 50_000_000,
        queue_bytes_max: 200_000,
        delay_ns: 20 * MILLISECOND_NS,
        loss: Loss::Independent { probability: loss },
        ..LinkConfig::default()
    }
}

fn cable() -> LinkConfig {
    LinkConfig { delay_ns: 20_000, ..LinkConfig::default() }
}

impl Bench {
    fn new(config: PairConfig) -> Self {
        println!("{config:?}");
        let mut pair = Pair::new(config);
        let mut host = |site, number: u8| {
            let host = Host::new(HostConfig::numbered(number), u64::from(number));
            pair.lan(site).connect(Station::Host(Box::new(host)), &cable())
        };
        let (client, server) = (host(SiteId::A, 1), host(SiteId::B, 129));
        Bench { pair, client, server }
    }

    fn serve(&mut self, script: StreamScript) {
        let server = self.pair.lan(SiteId::B).host(self.server);
        server.run(Application::Server { port: 80, backlog: 64, script });
    }

    // Connects once the appliances have found each other.
    fn connect(&mut self, v6: bool, connections: u16, script: StreamScript) {
        let remote = self.address(v6, 80);
        let (local_port, start_ns) = (20_000, SECOND_NS);
        self.pair.lan(SiteId::A).host(self.client).run(Application::Client {
            remote,
            local_port,
            connections,
            start_ns,
            script,
        });
    }

    fn address(&mut self, v6: bool, port: u16) -> SocketAddr {
        let server = self.pair.lan(SiteId::B).host(self.server);
        SocketAddr::new(server.address(v6).unwrap(), port)
    }

    fn transfer(&mut self, v6: bool, connections: u16, up: u64, down: u64) {
        self.serve(StreamScript::sender(down));
        self.connect(v6, connections, StreamScript::sender(up));
    }

    fn assert_optimized(&self, bytes: u64) {
        let handles = self.pair.handles(SiteId::A);
        let sent = handles.aggregate.get(AggregateCounter::DataBytesOut);
        let received = handles.disaggregate.get(DisaggregateCounter::DataBytesOut);
        assert!(
            sent + received >= bytes,
            "{sent} + {received} bytes went through the packet driver"
        );
    }

    // Hosts have closed, and time has passed: the appliances hold nothing any more.
    fn assert_nothing_is_left(&mut self) {
        let end = self.pair.now() + 40 * SECOND_NS;
        self.pair.run(end);
        for site in [SiteId::A, SiteId::B] {
            let handles = self.pair.handles(site);
            assert_eq!(handles.send_pool.in_use_bytes(), 0, "{site:?}");
            assert_eq!(handles.receive_pool.in_use_bytes(), 0, "{site:?}");
            assert_eq!(self.pair.frames_in_use(site), 0, "{site:?}");
        }
    }

    fn both(&self) -> (Vec<StreamReport>, Vec<StreamReport>) {
        (self.pair.streams(SiteId::A), self.pair.streams(SiteId::B))
    }

    // Runs until all connections are over, checking safety on the way.
    fn finish(&mut self, connections: usize) {
        let over = |pair: &mut Pair| {
            let (clients, servers) = (pair.streams(SiteId::A), pair.streams(SiteId::B));
            assert_eq!(safety(&clients, &servers), []);
            clients.len() == connections
                && clients.iter().chain(&servers).all(|stream| stream.end != End::Open)
        };
        let done = self.pair.run_until(Time::from_ns(120 * SECOND_NS), over);
        let (clients, servers) = self.both();
        let wrong: Vec<_> = finished(&clients, &servers).iter().map(ToString::to_string).collect();
        assert!(done && wrong.is_empty(), "{wrong:?} {:?}", self.pair.handles(SiteId::A).edge);
    }
}

#[test]
fn streams_pass_through_a_pair() {
    for (seed, v6, stage_per_core) in [(1, false, false), (2, true, false), (3, false, true)] {
        let config = PairConfig { stage_per_core, ..PairConfig::new(seed, wan(0.01)) };
        let mut bench = Bench::new(config);
        bench.transfer(v6, 3, 300_000, 500_000);
        bench.finish(3);
        let (clients, _) = bench.both();
        assert!(clients.iter().all(|client| client.received_bytes == 500_000));
        bench.assert_optimized(3 * 800_000);
        bench.assert_nothing_is_left();
    }
}

#[test]
fn a_half_closed_connection_goes_on_in_the_other_direction() {
    let late = StreamScript {
        send_bytes: 400_000,
        pace: Pace::AfterReceived(1_000),
        ..StreamScript::default()
    };
    for (server, client) in
        [(late, StreamScript::sender(1_000)), (StreamScript::sender(1_000), late)]
    {
        let mut bench = Bench::new(PairConfig::new(4, wan(0.005)));
        bench.serve(server);
        bench.connect(false, 1, client);
        bench.finish(1);
        bench.assert_optimized(401_000);
    }
}

#[test]
fn lan_faults_and_wan_faults_together_harm_no_stream() {
    for seed in 10..20 {
        let mut bench = Bench::new(PairConfig::new(
            seed,
            LinkConfig {
                jitter_ns: 5 * MILLISECOND_NS,
                jitter_reorders: true,
                duplicate_probability: 0.01,
                corrupt_probability: 0.005,
                ..wan(0.03)
            },
        ));
        let bad = LinkConfig {
            loss: Loss::Independent { probability: 0.01 },
            reorder_probability: 0.02,
            reorder_delay_ns: 200_000,
            ..cable()
        };
        bench.pair.lan(SiteId::A).set_links(Time::ZERO, &bad);
        bench.pair.lan(SiteId::B).set_links(Time::ZERO, &bad);
        bench.transfer(seed % 2 == 0, 4, 60_000, 150_000);
        bench.finish(4);
    }
}

#[test]
fn a_refused_port_is_refused() {
    for v6 in [false, true] {
        let mut bench = Bench::new(PairConfig::new(5, wan(0.0)));
        bench.connect(v6, 1, StreamScript::sender(10));
        bench.pair.run(Time::from_ns(3 * SECOND_NS));
        let (clients, _) = bench.both();
        assert_eq!(clients[0].end, End::Refused);
        assert!(clients[0].ended_at.unwrap() < Time::from_ms(1_200), "{:?}", clients[0].ended_at);
    }
}

#[test]
fn an_abort_goes_through_as_a_reset() {
    let mut bench = Bench::new(PairConfig::new(6, wan(0.0)));
    bench.serve(StreamScript { send_bytes: 5_000_000, ..StreamScript::default() });
    let close = Close::Abort { sent_bytes: 0, received_bytes: 100_000 };
    bench.connect(false, 1, StreamScript { close, ..StreamScript::default() });
    bench.finish(1);
    let (clients, servers) = bench.both();
    assert_eq!((clients[0].end, servers[0].end), (End::Aborted, End::Reset));
    bench.assert_nothing_is_left();
}

#[test]
fn a_slow_reader_slows_only_itself() {
    let mut bench = Bench::new(PairConfig::new(7, wan(0.0)));
    bench.serve(StreamScript::sender(3_000_000));
    let read = Read::After { delay_ns: 30 * SECOND_NS };
    bench.connect(false, 1, StreamScript { read, ..StreamScript::default() });
    let remote = bench.address(false, 80);
    bench.pair.lan(SiteId::A).host(bench.client).run(Application::Client {
        remote,
        local_port: 30_000,
        connections: 3,
        start_ns: SECOND_NS,
        script: StreamScript::default(),
    });
    bench.finish(4);
    let (clients, _) = bench.both();
    for client in &clients[1..] {
        assert!(client.end_of_stream_at.unwrap() < Time::from_ns(5 * SECOND_NS));
    }
    assert!(clients[0].first_byte_at.unwrap() >= Time::from_ns(30 * SECOND_NS));
}

#[test]
fn datagrams_and_pings_come_back() {
    for v6 in [false, true] {
        let mut bench = Bench::new(PairConfig::new(8, wan(0.0)));
        let probe =
            Probe { start_ns: SECOND_NS, interval_ns: 10 * MILLISECOND_NS, count: 100, len: 1_400 };
        let remote = bench.address(v6, 53);
        bench.pair.lan(SiteId::B).host(bench.server).run(Application::UdpEcho { port: 53 });
        let client = bench.pair.lan(SiteId::A).host(bench.client);
        client.run(Application::UdpClient { remote, local_port: 5_000, probe });
        client.run(Application::Ping { remote, identifier: 7, probe });
        bench.pair.run(Time::from_ns(5 * SECOND_NS));
        for report in bench.pair.lan(SiteId::A).host(bench.client).probes() {
            assert_eq!((report.sent, report.returned, report.wrong), (100, 100, 0));
            let mut round_trips_ns = report.round_trips_ns.clone();
            round_trips_ns.sort_unstable();
            assert!(round_trips_ns[50] < 42 * MILLISECOND_NS, "{}", round_trips_ns[50]);
        }
        bench.assert_optimized(2 * 2 * 100 * 1_400);
    }
}

#[test]
fn a_wan_that_is_dead_for_three_seconds_breaks_nothing() {
    let mut bench = Bench::new(PairConfig::new(9, wan(0.0)));
    bench.transfer(false, 2, 5_000_000, 5_000_000);
    bench.pair.run(Time::from_ms(1_500));
    bench.pair.set_wan(&LinkConfig { up: false, ..wan(0.0) });
    bench.pair.run(Time::from_ms(4_500));
    bench.pair.set_wan(&wan(0.0));
    bench.finish(2);
    let (clients, _) = bench.both();
    assert!(clients.iter().all(|client| client.received_bytes == 5_000_000));
}

#[test]
fn a_wan_that_is_dead_for_long_resets_both_hosts() {
    let mut bench = Bench::new(PairConfig::new(9, wan(0.0)));
    bench.transfer(false, 2, 5_000_000, 5_000_000);
    bench.pair.run(Time::from_ms(1_500));
    bench.pair.set_wan(&LinkConfig { up: false, ..wan(0.0) });
    bench.finish(2);
    let (clients, servers) = bench.both();
    assert!(clients.iter().chain(&servers).all(|stream| stream.end == End::Reset));
    bench.assert_nothing_is_left();
}

#[test]
fn one_flow_of_random_bytes_fills_the_link() {
    for loss in [0.0, 0.005, 0.02] {
        let mut bench = Bench::new(PairConfig::new(12, wan(loss)));
        bench.serve(StreamScript::sender(20_000_000));
        bench.connect(false, 1, StreamScript::default());
        bench.finish(1);
        let (clients, _) = bench.both();
        let took = clients[0].end_of_stream_at.unwrap().since_ns(clients[0].connected_at.unwrap());
        let goodput_bps = 20_000_000.0 * 8.0 * 1e9 / took as f64;
        let eta = goodput_bps / (50e6 * (1.0 - loss) * 1420.0 / 1500.0);
        println!("loss {loss}: eta {eta}");
        assert!(eta >= 0.95, "loss {loss}: {eta}");
    }
}

#[test]
fn a_restart_of_either_appliance_resets_both_hosts() {
    for site in [SiteId::A, SiteId::B] {
        let mut bench = Bench::new(PairConfig::new(11, wan(0.0)));
        bench.serve(StreamScript::sender(50_000_000));
        bench.connect(false, 2, StreamScript::default());
        bench.pair.run(Time::from_ms(1_500));
        bench.pair.restart(site);
        bench.finish(2);
        let (clients, servers) = bench.both();
        assert!(clients.iter().chain(&servers).all(|stream| stream.end == End::Reset), "{site:?}");
        bench.assert_nothing_is_left();
    }
}
