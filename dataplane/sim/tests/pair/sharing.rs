//! Flows beside each other: a slow reader takes nothing from fast ones, and nothing grows without
//! a limit.

use dataplane::edge::EdgeCounter;
use dataplane::time::{MILLISECOND_NS, SECOND_NS};
use dataplane_sim::host::{Close, Read, StreamScript};
use dataplane_sim::link::Loss;
use dataplane_sim::pair::{PairConfig, Site};

use crate::support::{Expect, PORT, Run, both_ways, reader};

const ENDLESS: u64 = 10_000_000_000;

fn endless() -> StreamScript {
    StreamScript { close: Close::Never, ..StreamScript::sender(ENDLESS) }
}

fn silent() -> StreamScript {
    StreamScript { close: Close::Never, ..reader() }
}

/// Bytes that each client at A received in `ns`.
fn received_in(run: &mut Run, ns: u64) -> Vec<u64> {
    let received = |run: &Run| -> Vec<u64> {
        run.reports().0.iter().map(|client| client.received_bytes).collect()
    };
    let before = received(run);
    run.pair.run_for(ns);
    received(run).iter().zip(before).map(|(after, before)| after - before).collect()
}

/// Jain's index of fairness: 1 when all are equal, 1/n when one has all.
fn fairness(shares: &[u64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), share| {
        let share = *share as f64;
        (sum + share, squares + share * share)
    });
    sum * sum / (shares.len() as f64 * squares)
}

#[test]
fn ten_flows_share_evenly() {
    for loss in [0.0, 0.01] {
        let config = PairConfig::default()
            .with_wan(|wan| wan.loss = Loss::Independent { probability: loss });
        let mut run = Run::new(config);
        run.serve(Site::B, PORT, endless());
        run.connect(Site::A, PORT, 10, false, silent());
        run.pair.run_for(2 * SECOND_NS);
        let shares = received_in(&mut run, 3 * SECOND_NS);
        let fairness = fairness(&shares);
        assert!(fairness >= 0.95, "loss {loss}: {fairness}: {shares:?}");
        run.check_safety();
    }
}

#[test]
fn a_slow_reader_takes_nothing_from_fast_ones() {
    let mut run = Run::new(PairConfig::default());
    run.serve(Site::B, PORT, endless());
    // It reads 10 kB/s and one reads nothing at all.
    let slow = Read::Slow { bytes: 1_000, interval_ns: 100 * MILLISECOND_NS };
    let never = Read::After { delay_ns: 1_000 * SECOND_NS };
    run.connect(Site::A, PORT, 1, false, StreamScript { read: slow, ..silent() });
    run.connect(Site::A, PORT, 1, false, StreamScript { read: never, ..silent() });
    run.connect(Site::A, PORT, 8, false, silent());
    run.pair.run_for(3 * SECOND_NS);
    let shares = received_in(&mut run, 4 * SECOND_NS);
    assert_eq!(shares[1], 0);
    assert!((30_000..60_000).contains(&shares[0]), "{shares:?}");
    // The eight others have the whole link, in equal parts.
    let sum: u64 = shares[2..].iter().sum();
    let link = 200_000_000 / 8 * 4;
    assert!(sum * 100 > link * 90, "{sum} of {link}: {shares:?}");
    assert!(fairness(&shares[2..]) >= 0.95, "{shares:?}");

    // What the slow ones keep is what they were granted, not more with time.
    let pinned = |run: &Run| run.pair.tpo(Site::A).handles.receive_pool.in_use_bytes();
    let before = pinned(&run);
    run.pair.run_for(6 * SECOND_NS);
    let after = pinned(&run);
    let capacity = run.pair.tpo(Site::A).handles.receive_pool.capacity_bytes();
    assert!(after < capacity / 2 && after < before + 4_000_000, "{before} {after} of {capacity}");
    run.check_safety();
}

#[test]
fn a_window_closed_for_half_a_minute_opens_again() {
    for v6 in [false, true] {
        let mut run = Run::new(PairConfig::default());
        run.serve(Site::B, PORT, StreamScript::sender(3_000_000));
        let late = Read::After { delay_ns: 30 * SECOND_NS };
        run.connect(Site::A, PORT, 1, v6, StreamScript { read: late, ..reader() });
        run.finish(60 * SECOND_NS);
        let (clients, _) = run.reports();
        assert_eq!(clients[0].received_bytes, 3_000_000);
        let waited_ns =
            clients[0].first_byte_at.unwrap().since_ns(clients[0].connected_at.unwrap());
        assert!(waited_ns >= 30 * SECOND_NS);
    }
}

#[test]
fn a_crowd_of_idle_flows_leaves_room() {
    let mut run = Run::new(PairConfig::default());
    run.serve(Site::B, PORT, StreamScript { close: Close::Never, ..both_ways(100) });
    run.serve(Site::B, PORT + 1, StreamScript::sender(5_000_000));
    run.connect(Site::A, PORT, 60, false, StreamScript { close: Close::Never, ..both_ways(100) });
    run.pair.run_for(5 * SECOND_NS);
    let edge = run.pair.tpo(Site::A).handles.edge.clone();
    assert_eq!(edge.get(EdgeCounter::Flows), 60);
    run.connect(Site::A, PORT + 1, 1, false, reader());
    let done = run.pair.run_until(run.pair.now() + 20 * SECOND_NS, |pair| {
        pair.streams(Site::A)[60].received_bytes == 5_000_000
    });
    assert!(done, "{}", run.describe());
    assert_eq!(edge.get(EdgeCounter::FlowsOverload), 0);
    run.check_safety();
}

#[test]
fn more_connections_than_places_take_the_fallback_and_none_is_broken() {
    let mut config = PairConfig::default();
    (config.limits.connections, config.limits.half_open) = (16, 16);
    let mut run = Run::new(config);
    run.serve(Site::B, PORT, both_ways(100_000));
    run.connect(Site::A, PORT, 40, false, both_ways(100_000));
    run.finish(60 * SECOND_NS);
    let edge = &run.pair.tpo(Site::A).handles.edge;
    let taken = edge.get(EdgeCounter::FlowsFromHosts);
    assert!((8..40).contains(&taken), "{taken}");
}

#[test]
fn nothing_to_do_costs_next_to_nothing() {
    let mut run = Run::new(PairConfig::default());
    run.serve(Site::B, PORT, silent());
    run.connect(Site::A, PORT, 5, false, silent());
    run.pair.run_for(5 * SECOND_NS);
    let turns = |run: &Run| run.pair.tpo(Site::A).tally.turns;
    let before = turns(&run);
    run.pair.run_for(10 * SECOND_NS);
    let per_second = (turns(&run) - before) / 10;
    assert!(per_second < 200, "{per_second} turns a second");
}
