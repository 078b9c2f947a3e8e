//! The thinnest path.
use dataplane::time::{MILLISECOND_NS, SECOND_NS, Time};
use dataplane_sim::host::{Application, Probe, StreamScript, Close};
use dataplane_sim::link::LinkConfig;
use dataplane_sim::pair::{Pair, PairConfig, Site};

#[test]
fn ping_goes_through() {
    let mut pair = Pair::new(PairConfig::default());
    let a = pair.add_host(Site::A, Site::A.host(10), &LinkConfig::default());
    let b = pair.add_host(Site::B, Site::B.host(10), &LinkConfig::default());
    let _ = b;
    let probe = Probe { start_ns: 1_000_000_000, interval_ns: 100 * MILLISECOND_NS, count: 10, len: 64 };
    pair.host(a).run(Application::Ping { remote: (Site::B.address(10, false), 0).into(), identifier: 7, probe });
    pair.run_for(5 * SECOND_NS);
    for site in Site::BOTH { println!("{site:?} {:#?} {:?}", pair.tpo(site).counters(), pair.tpo(site).tally); }
    println!("{:?}", pair.host(a).probes().collect::<Vec<_>>());
    assert_eq!(pair.host(a).probes().next().unwrap().returned, 10);
}

#[test]
fn download() {
    let mut pair = Pair::new(PairConfig::default());
    let a = pair.add_host(Site::A, Site::A.host(10), &LinkConfig::default());
    let b = pair.add_host(Site::B, Site::B.host(10), &LinkConfig::default());
    pair.host(b).run(Application::Server { port: 80, backlog: 4, script: StreamScript::sender(1_000_000) });
    pair.host(a).run(Application::Client { remote: (Site::B.address(10, false), 80).into(), local_port: 5000, connections: 1, start_ns: SECOND_NS, script: StreamScript { close: Close::AfterPeer, ..StreamScript::default() } });
    let done = pair.run_to_end(Time::from_ns(20 * SECOND_NS), 2);
    for site in Site::BOTH { println!("{site:?} {:#?} {:?}", pair.tpo(site).counters(), pair.tpo(site).tally); }
    println!("{:?} {:?} {:?}", pair.now(), pair.streams(Site::A), pair.streams(Site::B));
    assert!(done);
}
