//! Appliances that are killed and started again: what each host sees of it.

use dataplane::data_mover::MoverCounter;
use dataplane::edge::EdgeCounter;
use dataplane::pipeline::placement::{Placement, StageKind};
use dataplane::pipeline::transmit::TransmitCounter;
use dataplane::time::{MILLISECOND_NS, SECOND_NS};
use dataplane_sim::host::{Close, StreamScript};
use dataplane_sim::pair::{Event, PairConfig, Site};

use crate::support::{ENDLESS, Expect, PORT, Run, both_ways, expect_resets, reader, transfers};

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

/// What was under way to the killed appliance does not reach the one that takes its place, whatever
/// stands still meanwhile.
fn hears_nothing_of_former_flows(placement: &Placement, killed: Site, stalled: Option<StageKind>) {
    let config = PairConfig { placement: placement.clone(), ..PairConfig::default() };
    let mut run = Run::new(config);
    transfers(&mut run, ENDLESS, false);
    run.pair.run_for(SECOND_NS);
    // The system lets one thread wait while the others go on: buffers stay in its links.
    run.pair.stall(killed.other(), stalled);
    run.pair.run_for(20 * MILLISECOND_NS);
    run.pair.happen(Event::Kill(killed));
    run.pair.happen(Event::Start(killed));
    let replaced = run.pair.run_until(run.pair.now() + 5 * SECOND_NS, |pair| {
        let mover = &pair.tpo(killed.other()).handles.movers[0];
        mover.get(MoverCounter::SessionsUp) == 2
    });
    assert!(replaced, "{}", run.describe());
    run.pair.stall(killed.other(), None);
    expect_resets(&mut run, 20 * SECOND_NS);
    for site in Site::BOTH {
        let edge = &run.pair.tpo(site).handles.edge;
        assert_eq!(edge.get(EdgeCounter::FlowUnknown), 0, "{}", run.describe());
        assert_eq!(edge.get(EdgeCounter::ProtocolErrors), 0, "{}", run.describe());
    }
    let stale = &run.pair.tpo(killed.other()).handles.transmit;
    let is_stale = stale.get(TransmitCounter::BuffersStale) > 0;
    assert_eq!(is_stale, stalled == Some(StageKind::Compress), "{}", run.describe());
    run.expect_service(5 * SECOND_NS);
    run.settle();
}

#[test]
fn a_restarted_appliance_hears_nothing_of_former_flows() {
    for killed in Site::BOTH {
        hears_nothing_of_former_flows(&Placement::single(0), killed, None);
        for replicas in [1, 3] {
            let placement = Placement::each_apart(replicas);
            hears_nothing_of_former_flows(&placement, killed, Some(StageKind::Compress));
        }
    }
}

/// A decompressor stands still with buffers of the session that ends: the others do not bring the
/// change of session, nor what comes after it, to the edge before them.
#[test]
fn a_slow_decompressor_is_waited_for_when_a_session_changes() {
    for killed in Site::BOTH {
        let placement = Placement::each_apart(3);
        hears_nothing_of_former_flows(&placement, killed, Some(StageKind::Decompress));
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

/// Then nobody has a list of the connections from before: nothing is promised of them but that no
/// byte is wrong and no stream ends early.
#[test]
fn both_killed_at_once_serve_new_connections() {
    for (pause_ns, v6) in [(0, false), (2 * SECOND_NS, true)] {
        let mut run = Run::new(PairConfig::default());
        transfers(&mut run, ENDLESS, v6);
        run.pair.run_for(SECOND_NS);
        run.forgotten_at = Some(run.pair.now());
        Site::BOTH.into_iter().for_each(|site| run.pair.happen(Event::Kill(site)));
        run.pair.happen(Event::Start(Site::A));
        run.pair.run_for(pause_ns);
        run.pair.happen(Event::Start(Site::B));
        assert!(run.wait_for_session(5 * SECOND_NS), "{}", run.describe());
        run.pair.run_for(SECOND_NS);
        run.expect_service(5 * SECOND_NS);
        run.pair.run_for(60 * SECOND_NS);
        assert!(run.all_ended(), "{}", run.describe());
        run.check_safety();
        run.settle();
    }
}
