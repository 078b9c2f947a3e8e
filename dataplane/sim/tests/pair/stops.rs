//! Appliances that are stopped in order. In the simulator only the time to drain has a limit: all
//! else that a stop waits for has to happen.

use dataplane::data_mover::MoverCounter;
use dataplane::packet_driver::DisaggregateCounter;
use dataplane::pipeline::placement::Placement;
use dataplane::time::{MILLISECOND_NS, SECOND_NS};
use dataplane_sim::link::Loss;
use dataplane_sim::pair::{Event, PairConfig, Site};

use crate::support::{ENDLESS, Expect, Run, expect_resets, transfers};

/// A link over a satellite, on which words get lost.
fn satellite(placement: &Placement) -> PairConfig {
    let config =
        PairConfig { placement: placement.clone(), rate_bps: 50_000_000, ..PairConfig::default() };
    config.with_wan(|wan| {
        (wan.rate_bps, wan.delay_ns) = (50_000_000, 300 * MILLISECOND_NS);
        wan.loss = Loss::Independent { probability: 0.1 };
    })
}

fn stop(run: &mut Run, site: Site, drain_ns: u64, within_ns: u64) {
    run.pair.begin_stop(site, drain_ns);
    let until = run.pair.now() + drain_ns + within_ns;
    let stopped = run.pair.run_until(until, |pair| pair.tpo(site).has_stopped());
    assert!(stopped, "{}", run.describe());
}

fn placements() -> [Placement; 2] {
    [Placement::single(0), Placement::each_apart(2)]
}

#[test]
fn what_remains_is_reset_and_the_peer_has_heard_of_it_before_the_close() {
    for (placement, stopped) in placements().iter().zip(Site::BOTH) {
        let mut run = Run::new(satellite(placement));
        transfers(&mut run, ENDLESS, false);
        run.pair.run_for(4 * SECOND_NS);
        stop(&mut run, stopped, SECOND_NS, 10 * SECOND_NS);
        run.pair.happen(Event::Kill(stopped));
        expect_resets(&mut run, 2 * SECOND_NS);
        run.pair.happen(Event::Start(stopped));
        // Of the flows that end with a session, the peer lists to the new appliance those of whose
        // end it was not told: none. What it says is the end of the list.
        assert!(run.wait_for_session(10 * SECOND_NS), "{}", run.describe());
        run.pair.run_for(3 * SECOND_NS);
        let heard = run.pair.tpo(stopped).handles.disaggregate.iter();
        let heard: u64 = heard.map(|each| each.get(DisaggregateCounter::MessagesOut)).sum();
        assert_eq!(heard, 1, "{}", run.describe());
        let stayed = &run.pair.tpo(stopped.other()).handles.movers[0];
        assert_eq!(stayed.get(MoverCounter::SessionsClosed), 1, "{}", run.describe());
        assert_eq!(stayed.get(MoverCounter::SessionsLost), 0);
        run.expect_service(10 * SECOND_NS);
    }
}

#[test]
fn what_ends_in_time_ends_in_order() {
    for (placement, stopped) in placements().iter().zip(Site::BOTH) {
        let mut run = Run::new(satellite(placement));
        transfers(&mut run, 300_000, false);
        run.pair.run_for(2 * SECOND_NS);
        // No end of a connection, least of all its last word, is cut off.
        stop(&mut run, stopped, 30 * SECOND_NS, 10 * SECOND_NS);
        run.finish(SECOND_NS / 2);
    }
}
