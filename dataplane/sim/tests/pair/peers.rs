//! Peers that a reload takes out and adds, under load: what hosts see of it, and what is left.

use dataplane::data_mover::MoverCounter;
use dataplane::edge::EdgeCounter;
use dataplane::interceptor::Fallback;
use dataplane::packet_driver::PeerIndex;
use dataplane::pipeline::appliance::PeerSettings;
use dataplane::pipeline::placement::{Placement, StageKind};
use dataplane::time::{MILLISECOND_NS, SECOND_NS};
use dataplane_sim::host::{Application, Probe, StreamScript};
use dataplane_sim::link::LinkConfig;
use dataplane_sim::pair::{Change, Event, PairConfig, Site};

use crate::support::{ENDLESS, Expect, PORT, Run, cable, expect_resets, reader, transfers};

const FIRST: Option<PeerIndex> = Some(PeerIndex(0));
const SECOND: Option<PeerIndex> = Some(PeerIndex(1));

fn with_places(placement: &Placement, encrypted: bool) -> PairConfig {
    let mut config = PairConfig { placement: placement.clone(), ..PairConfig::default() };
    config.limits.peers = 3;
    config.encrypted = [encrypted; 2];
    config
}

/// Runs until the appliance of a site has done what a reload asked of it.
fn done(run: &mut Run, site: Site, within_ns: u64) {
    let until = run.pair.now() + within_ns;
    let done = run.pair.run_until(until, |pair| pair.tpo(site).has_changed_peers());
    assert!(done, "{}", run.describe());
}

/// Nobody heard of flows of a session that is over.
fn heard_nothing_of_former_flows(run: &Run) {
    for site in Site::BOTH {
        let edge = &run.pair.tpo(site).handles.edge;
        assert_eq!(edge.get(EdgeCounter::FlowUnknown), 0, "{}", run.describe());
        assert_eq!(edge.get(EdgeCounter::ProtocolErrors), 0, "{}", run.describe());
    }
}

/// A peer is taken out in mid-transfer, and added again in another place.
fn leaves_and_comes(placement: &Placement, encrypted: bool, v6: bool) {
    let mut run = Run::new(with_places(placement, encrypted));
    transfers(&mut run, ENDLESS, v6);
    run.pair.run_for(SECOND_NS);
    run.pair.happen(Event::Move(Site::A, FIRST, None));
    done(&mut run, Site::A, SECOND_NS);
    expect_resets(&mut run, 10 * SECOND_NS);
    heard_nothing_of_former_flows(&run);
    let status =
        |run: &Run, site: Site, place: usize| run.pair.tpo(site).handles.peers[place].is_up();
    assert!(!status(&run, Site::A, 0) && !status(&run, Site::B, 0));
    // Nobody is the peer of its networks: new connections pass.
    let split = |run: &Run| run.pair.tpo(Site::A).handles.edge.get(EdgeCounter::FlowsFromHosts);
    let before = split(&run);
    run.expect_service(5 * SECOND_NS);
    assert_eq!(split(&run), before, "{}", run.describe());
    run.settle();

    run.pair.happen(Event::Move(Site::A, None, SECOND));
    done(&mut run, Site::A, SECOND_NS);
    assert!(run.wait_for_session(5 * SECOND_NS), "{}", run.describe());
    assert!(status(&run, Site::A, 1) && !status(&run, Site::A, 0));
    run.expect_service(5 * SECOND_NS);
    assert!(split(&run) > before, "{}", run.describe());
    let movers = &run.pair.tpo(Site::A).handles.movers;
    let up: Vec<u64> = movers.iter().map(|mover| mover.get(MoverCounter::SessionsUp)).collect();
    assert_eq!(up, [1, 1, 0]);
    run.settle();
}

#[test]
fn a_peer_leaves_under_load_and_comes_again() {
    for (encrypted, v6) in [(false, false), (true, true)] {
        leaves_and_comes(&Placement::single(0), encrypted, v6);
        leaves_and_comes(&Placement::each_apart(3), encrypted, v6);
    }
}

/// A peer gives its place up and has it again at once, while one thread or another does not run:
/// who comes hears nothing of who was there.
fn is_replaced(placement: &Placement, encrypted: bool, stalled: Option<StageKind>) {
    let mut run = Run::new(with_places(placement, encrypted));
    transfers(&mut run, ENDLESS, false);
    run.pair.run_for(SECOND_NS);
    run.pair.stall(Site::A, stalled);
    run.pair.run_for(20 * MILLISECOND_NS);
    run.pair.happen(Event::Move(Site::A, FIRST, FIRST));
    run.pair.run_for(200 * MILLISECOND_NS);
    run.pair.stall(Site::A, None);
    done(&mut run, Site::A, 2 * SECOND_NS);
    expect_resets(&mut run, 10 * SECOND_NS);
    assert!(run.wait_for_session(5 * SECOND_NS), "{}", run.describe());
    heard_nothing_of_former_flows(&run);
    run.expect_service(5 * SECOND_NS);
    run.settle();
}

#[test]
fn who_comes_hears_nothing_of_who_had_the_place() {
    for encrypted in [false, true] {
        is_replaced(&Placement::single(0), encrypted, None);
        let placement = Placement::each_apart(2);
        is_replaced(&placement, encrypted, None);
        for stage in
            [StageKind::Edge, StageKind::Aggregate, StageKind::Compress, StageKind::Decompress]
        {
            is_replaced(&placement, encrypted, Some(stage));
        }
    }
}

/// What a peer was told when it was taken out is lost: it learns it from the session that follows.
#[test]
fn a_close_that_is_lost_does_no_harm() {
    for encrypted in [false, true] {
        let mut run = Run::new(with_places(&Placement::single(0), encrypted));
        transfers(&mut run, ENDLESS, false);
        run.pair.run_for(SECOND_NS);
        let whole = run.pair.wan(Site::A).config().clone();
        let dead = LinkConfig { up: false, ..whole.clone() };
        run.pair.happen(Event::Wan(Site::A, dead));
        run.pair.happen(Event::Move(Site::A, FIRST, FIRST));
        done(&mut run, Site::A, SECOND_NS);
        run.pair.happen(Event::Wan(Site::A, whole));
        assert!(run.wait_for_session(5 * SECOND_NS), "{}", run.describe());
        expect_resets(&mut run, 20 * SECOND_NS);
        run.expect_service(5 * SECOND_NS);
        run.settle();
    }
}

/// Connections over one peer go on while places beside it change hands all the time.
#[test]
fn others_do_not_notice() {
    for placement in [Placement::single(0), Placement::each_apart(2)] {
        let mut run = Run::new(with_places(&placement, true));
        run.serve(Site::B, PORT, StreamScript::sender(2_000_000));
        run.connect(Site::A, PORT, 4, false, reader());
        let settings = run.pair.config().appliance(Site::A, 1).peers[0].clone();
        let stranger = PeerSettings {
            endpoint: ([10, 77, 9, 2], 4980).into(),
            keys: None,
            ..settings.clone()
        };
        for round in 0..20 {
            let place = PeerIndex(1 + round % 2);
            let mut new = run.pair.config().reconfiguration(Site::A, FIRST);
            new.peers = vec![(PeerIndex(0), settings.clone()), (place, stranger.clone())].into();
            let join = vec![(place, stranger.clone(), (u64::from(round), u64::from(round)))];
            let leave = if round == 0 { Vec::new() } else { vec![PeerIndex(1 + (round + 1) % 2)] };
            run.pair.change_peers(Site::A, &Change { leave, join, new });
            done(&mut run, Site::A, SECOND_NS);
            run.pair.run_for(30 * MILLISECOND_NS);
        }
        run.finish(60 * SECOND_NS);
        let movers = &run.pair.tpo(Site::A).handles.movers;
        assert_eq!(movers[0].get(MoverCounter::SessionsClosed), 0);
        // Each said hello.
        assert!(movers[1..].iter().all(|mover| mover.get(MoverCounter::HellosOut) >= 10));
    }
}

/// Packets of flows in packet mode go by the rules that there are, once their peer has left: what
/// was on its way is lost, and nothing else.
#[test]
fn packets_go_another_way_when_their_peer_has_left() {
    const COUNT: u16 = 100;
    let config = with_places(&Placement::each_apart(2), true);
    let mut run = Run::new(PairConfig { fallback: Fallback::Pass, ..config });
    let [a, b] = Site::BOTH.map(|site| run.pair.add_host(site, site.host(11), &cable()));
    run.pair.host(b).run(Application::UdpEcho { port: 7 });
    let start_ns = run.pair.now().as_ns();
    let probe = Probe { start_ns, interval_ns: 10 * MILLISECOND_NS, count: COUNT, len: 512 };
    let remote = (Site::B.address(11, false), 7).into();
    run.pair.host(a).run(Application::UdpClient { remote, local_port: 3_000, probe });
    run.pair.run_for(500 * MILLISECOND_NS);
    let carried = |run: &Run| run.pair.tpo(Site::A).handles.edge.get(EdgeCounter::PacketsFromHosts);
    let before = carried(&run);
    assert!(before > 20);
    run.pair.happen(Event::Move(Site::A, FIRST, None));
    run.pair.run_for(5 * SECOND_NS);
    assert!(carried(&run) <= before + 1, "{}", run.describe());
    let report = run.pair.host(a).probes().next().cloned().unwrap();
    assert_eq!((report.sent, report.wrong), (u64::from(COUNT), 0));
    let lost = report.sent - report.returned;
    assert!(lost <= 10, "more than a round trip: {lost}");
    run.settle();
}

/// New connections have the fallback while a place is empty of a session, and never leave in the
/// clear before the rules have changed.
#[test]
fn a_peer_that_refuses_refuses_to_its_end() {
    let config =
        PairConfig { fallback: Fallback::Refuse, ..with_places(&Placement::single(0), true) };
    let mut run = Run::new(config);
    run.pair.happen(Event::Move(Site::A, FIRST, FIRST));
    done(&mut run, Site::A, SECOND_NS);
    assert!(run.wait_for_session(5 * SECOND_NS), "{}", run.describe());
    run.expect_service(5 * SECOND_NS);
    run.settle();
}
