//! A WAN that is gone for a while, appliances that are killed, peers that are not there.

use dataplane::data_mover::MoverCounter;
use dataplane::edge::EdgeCounter;
use dataplane::interceptor::Fallback;
use dataplane::time::{MILLISECOND_NS, SECOND_NS};
use dataplane_sim::check::End;
use dataplane_sim::host::{Close, StreamScript};
use dataplane_sim::pair::{Event, PairConfig, Site};

use crate::support::{PORT, Run, both_ways, is_up, reader};

/// More than the WAN carries in the time these tests take.
const ENDLESS: u64 = 10_000_000_000;

/// Connections with data one way, the other, and both.
fn transfers(run: &mut Run, bytes: u64, v6: bool) {
    run.serve(Site::B, PORT, StreamScript::sender(bytes));
    run.serve(Site::B, PORT + 1, reader());
    run.serve(Site::B, PORT + 2, both_ways(bytes));
    run.connect(Site::A, PORT, 1, v6, reader());
    run.connect(Site::A, PORT + 1, 1, v6, StreamScript::sender(bytes));
    run.connect(Site::A, PORT + 2, 1, v6, both_ways(bytes));
}

/// Every host of every connection sees a reset; none a short stream.
fn expect_resets(run: &mut Run, within_ns: u64) {
    run.run_to_end(within_ns, 2);
    let (clients, servers) = run.reports();
    assert_eq!((clients.len(), servers.len()), (run.connections, run.connections));
    for end in clients.iter().chain(&servers) {
        assert_eq!(end.end, End::Reset, "{end:?}\n{}", run.describe());
        assert!(end.received_bytes + end.sent_bytes > 0, "mid-transfer: {end:?}");
    }
}

#[test]
fn three_seconds_of_silence_are_survived() {
    for cut in [false, true] {
        let mut run = Run::new(PairConfig::default());
        transfers(&mut run, 10_000_000, cut);
        run.pair.run_for(500 * MILLISECOND_NS);
        run.pair.change_wan(|wan| if cut { wan.up = false } else { wan.black_hole = true });
        run.pair.run_for(3 * SECOND_NS);
        run.pair.change_wan(|wan| (wan.up, wan.black_hole) = (true, false));
        run.finish(60 * SECOND_NS);
    }
}

#[test]
fn one_direction_may_be_silent_too() {
    for site in Site::BOTH {
        let mut run = Run::new(PairConfig::default());
        transfers(&mut run, 5_000_000, false);
        run.pair.run_for(300 * MILLISECOND_NS);
        let good = run.pair.wan(site).config().clone();
        let mut silent = good.clone();
        silent.black_hole = true;
        run.pair.happen(Event::Wan(site, silent));
        run.pair.run_for(3 * SECOND_NS);
        run.pair.happen(Event::Wan(site, good));
        run.finish(60 * SECOND_NS);
    }
}

#[test]
fn a_dead_wan_resets_both_hosts() {
    for v6 in [false, true] {
        let mut run = Run::new(PairConfig::default());
        transfers(&mut run, ENDLESS, v6);
        run.pair.run_for(SECOND_NS);
        run.pair.change_wan(|wan| wan.up = false);
        let dead_after_ns = run.pair.config().dead_after_ns;
        expect_resets(&mut run, dead_after_ns + 2 * SECOND_NS);
        run.pair.change_wan(|wan| wan.up = true);
        assert!(run.wait_for_session(5 * SECOND_NS), "{}", run.describe());
        run.expect_service(5 * SECOND_NS);
        run.settle();
    }
}

/// Kills an appliance in mid-transfer and starts it again `pause_ns` later.
fn restart(killed: Site, pause_ns: u64, v6: bool) {
    let mut run = Run::new(PairConfig::default());
    transfers(&mut run, ENDLESS, v6);
    run.pair.run_for(SECOND_NS);
    run.pair.happen(Event::Kill(killed));
    run.pair.run_for(pause_ns);
    run.pair.happen(Event::Start(killed));
    let started = run.pair.now();
    expect_resets(&mut run, 20 * SECOND_NS);
    let took_ns = run.pair.now().since_ns(started);
    assert!(took_ns < 5 * SECOND_NS, "{took_ns} ns until every host knew");
    run.expect_service(5 * SECOND_NS);
    run.settle();
}

#[test]
fn a_restart_is_seen_by_every_host() {
    for killed in Site::BOTH {
        restart(killed, 0, false);
        restart(killed, SECOND_NS, true);
    }
}

#[test]
fn a_restart_after_the_survivor_gave_up_is_seen_by_every_host() {
    for killed in Site::BOTH {
        restart(killed, 12 * SECOND_NS, false);
    }
}

#[test]
fn a_host_that_only_waits_sees_the_restart() {
    for killed in Site::BOTH {
        let mut run = Run::new(PairConfig::default());
        // Both ends have said something and now wait for each other.
        let waits = StreamScript { close: Close::Never, ..both_ways(1_000) };
        run.serve(Site::B, PORT, waits);
        run.connect(Site::A, PORT, 3, false, waits);
        run.pair.run_for(2 * SECOND_NS);
        run.pair.happen(Event::Kill(killed));
        run.pair.happen(Event::Start(killed));
        expect_resets(&mut run, 10 * SECOND_NS);
        run.settle();
        let counters = &run.pair.tpo(killed).handles.edge;
        assert_eq!(counters.get(EdgeCounter::RestartResets), 3);
    }
}

#[test]
fn connections_of_others_survive_a_restart() {
    // Without a rule, connections are not ours.
    let config =
        PairConfig { action: dataplane::interceptor::RuleAction::Pass, ..PairConfig::default() };
    let mut run = Run::new(config);
    run.serve(Site::B, PORT, StreamScript::sender(3_000_000));
    run.connect(Site::A, PORT, 1, false, reader());
    run.pair.run_for(SECOND_NS);
    run.pair.happen(Event::Kill(Site::A));
    run.pair.happen(Event::Start(Site::A));
    run.finish(120 * SECOND_NS);
}

#[test]
fn without_a_session_new_flows_take_the_fallback() {
    for v6 in [false, true] {
        // The two do not agree, so there will never be a session.
        let config = PairConfig { digests: [1, 2], ..PairConfig::default() };

        let mut run = Run::cold(PairConfig { fallback: Fallback::Pass, ..config.clone() });
        run.pair.run_for(SECOND_NS);
        transfers(&mut run, 200_000, v6);
        run.finish(60 * SECOND_NS);
        let edge = &run.pair.tpo(Site::A).handles.edge;
        assert_eq!(edge.get(EdgeCounter::FlowsFromHosts), 0);

        let mut run = Run::cold(PairConfig { fallback: Fallback::Refuse, ..config });
        run.pair.run_for(SECOND_NS);
        run.serve(Site::B, PORT, reader());
        run.connect(Site::A, PORT, 3, v6, reader());
        run.run_to_end(SECOND_NS, 1);
        let (clients, servers) = run.reports();
        assert!(servers.is_empty());
        assert!(clients.iter().all(|client| client.end == End::Refused), "{clients:?}");
        run.settle();
    }
}

#[test]
fn encryption_at_one_end_only_is_counted_at_both_and_nothing_leaves() {
    for encrypted in [[true, false], [false, true]] {
        let fallback = Fallback::Refuse;
        let mut run = Run::cold(PairConfig { encrypted, fallback, ..PairConfig::default() });
        run.pair.run_for(3 * SECOND_NS);
        run.serve(Site::B, PORT, reader());
        run.connect(Site::A, PORT, 1, false, reader());
        run.run_to_end(SECOND_NS, 1);
        let (clients, servers) = run.reports();
        assert!(servers.is_empty() && clients.iter().all(|client| client.end == End::Refused));
        for (site, encrypts) in Site::BOTH.into_iter().zip(encrypted) {
            let mover = &run.pair.tpo(site).handles.movers[0];
            let counter = if encrypts { MoverCounter::DropClear } else { MoverCounter::DropSealed };
            assert!(mover.get(counter) > 1, "{site:?}");
            assert_eq!(mover.get(MoverCounter::SessionsUp), 0);
        }
        run.settle();
    }
}

#[test]
fn what_was_passed_stays_passed_when_the_session_comes_up() {
    let mut run = Run::cold(PairConfig::default());
    run.serve(Site::B, PORT, StreamScript::sender(1_000_000));
    run.connect(Site::A, PORT, 1, false, reader());
    run.finish(60 * SECOND_NS);
    let tpo = run.pair.tpo(Site::A);
    assert!(is_up(tpo));
    assert_eq!(tpo.handles.edge.get(EdgeCounter::FlowsFromHosts), 0);
}

#[test]
fn after_the_peer_is_lost_new_flows_take_the_fallback() {
    let mut run = Run::new(PairConfig { fallback: Fallback::Refuse, ..PairConfig::default() });
    run.serve(Site::B, PORT, reader());
    // The hosts have to know where each other is.
    run.connect(Site::A, PORT, 1, false, both_ways(1));
    run.run_to_end(5 * SECOND_NS, 2);
    run.pair.change_wan(|wan| wan.up = false);
    run.pair.run_for(run.pair.config().dead_after_ns + SECOND_NS);
    run.connect(Site::A, PORT, 1, false, both_ways(1));
    let refused = run
        .pair
        .run_until(run.pair.now() + SECOND_NS, |pair| pair.streams(Site::A)[1].end == End::Refused);
    assert!(refused, "{}", run.describe());
    run.pair.change_wan(|wan| wan.up = true);
    assert!(run.wait_for_session(5 * SECOND_NS));
    run.settle();
}
