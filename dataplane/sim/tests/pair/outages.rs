//! A WAN that is gone for a while, peers that are not there.

use dataplane::data_mover::MoverCounter;
use dataplane::edge::EdgeCounter;
use dataplane::interceptor::Fallback;
use dataplane::time::{MILLISECOND_NS, SECOND_NS};
use dataplane_sim::check::End;
use dataplane_sim::host::StreamScript;
use dataplane_sim::link::LinkConfig;
use dataplane_sim::pair::{Event, PairConfig, Site};

use crate::support::{
    ENDLESS, Expect, PORT, Run, both_ways, cable, expect_resets, is_up, reader, transfers,
};

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

/// The largest datagram of these has 52 bytes of ours and 28 of headers beside the pieces.
#[test]
fn a_smaller_mtu_is_nothing_to_smaller_datagrams() {
    let mut config = PairConfig::default();
    config.limits.segment_size_max = 1_000;
    let mut run = Run::new(config);
    transfers(&mut run, 5_000_000, false);
    run.pair.run_for(300 * MILLISECOND_NS);
    run.pair.change_wan(|wan| wan.mtu_bytes = 1_100);
    run.finish(30 * SECOND_NS);
}

/// The largest datagrams have 1,500 bytes; both directions are busy, with acknowledgements in them.
#[test]
fn a_path_that_takes_less_is_followed_down_and_back() {
    for (mtu_bytes, site) in
        [(1_400, None), (1_300, Some(Site::A)), (1_240, Some(Site::B)), (1_100, None), (600, None)]
    {
        let mut run = Run::new(PairConfig::default());
        transfers(&mut run, 10_000_000, false);
        run.pair.run_for(300 * MILLISECOND_NS);
        match site {
            None => run.pair.change_wan(|wan| wan.mtu_bytes = mtu_bytes),
            Some(site) => {
                let less = LinkConfig { mtu_bytes, ..run.pair.wan(site).config().clone() };
                run.pair.happen(Event::Wan(site, less));
            }
        }
        run.pair.run_for(3 * SECOND_NS);
        for other in Site::BOTH {
            let narrowed = site.is_none_or(|site| site == other);
            let tpo = run.pair.tpo(other);
            let mover = &tpo.handles.movers[0];
            assert_eq!(mover.get(MoverCounter::BlackHoles) > 0, narrowed, "{mtu_bytes} {other:?}");
            let (ip_bytes, _) = tpo.handles.peers[0].path_mtu();
            assert_eq!(ip_bytes <= mtu_bytes, narrowed, "{ip_bytes}, {mtu_bytes} {other:?}");
        }
        run.finish(60 * SECOND_NS);
    }
}

/// Under load the ends no longer hear each other. With little to say they do, by small datagrams:
/// then it shows by what does not arrive.
#[test]
fn a_path_that_does_not_carry_our_datagrams_any_more_is_a_lost_peer() {
    let mut run = Run::new(PairConfig::default());
    run.pair.change_wan(|wan| wan.mtu_bytes = 500);
    run.serve(Site::B, PORT, StreamScript::sender(10_000));
    run.connect(Site::A, PORT, 1, false, reader());
    let dead_after_ns = run.pair.config().dead_after_ns;
    run.run_to_end(2 * dead_after_ns, 2);
    let (clients, servers) = run.reports();
    assert!(clients.iter().chain(&servers).all(|end| end.end == End::Reset), "{clients:?}");
    let stalled = Site::BOTH.map(|site| {
        let mover = &run.pair.tpo(site).handles.movers[0];
        mover.get(MoverCounter::SessionsStalled)
    });
    assert!(stalled.iter().sum::<u64>() > 0);
    run.pair.change_wan(|wan| wan.mtu_bytes = 0);
    assert!(run.wait_for_session(5 * SECOND_NS), "{}", run.describe());
    run.expect_service(5 * SECOND_NS);
    run.settle();
}

#[test]
fn a_paused_appliance_and_a_dead_lan_lose_nothing() {
    for site in Site::BOTH {
        let mut run = Run::new(PairConfig::default());
        transfers(&mut run, 5_000_000, false);
        run.pair.run_for(300 * MILLISECOND_NS);
        run.pair.happen(Event::Pause(site, SECOND_NS));
        run.pair.run_for(2 * SECOND_NS);
        run.pair.happen(Event::Lan(site, LinkConfig { black_hole: true, ..cable() }));
        run.pair.run_for(3 * SECOND_NS);
        run.pair.happen(Event::Lan(site, cable()));
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
