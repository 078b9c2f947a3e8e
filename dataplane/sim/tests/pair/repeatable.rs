//! The same options give the same run; where the stages run makes no difference to the hosts.

use dataplane::edge::EdgeCounter;
use dataplane::pipeline::placement::Placement;
use dataplane::time::{MILLISECOND_NS, SECOND_NS};
use dataplane_sim::check::StreamReport;
use dataplane_sim::link::Loss;
use dataplane_sim::pair::{PairConfig, Site};

use crate::support::{Expect, PORT, Run, both_ways};

fn run(config: PairConfig) -> (u64, Vec<StreamReport>) {
    let mut run = Run::new(config);
    run.serve(Site::B, PORT, both_ways(300_000));
    run.connect(Site::A, PORT, 3, false, both_ways(300_000));
    run.finish(60 * SECOND_NS);
    let (mut clients, servers) = run.reports();
    clients.extend(servers);
    (run.pair.fingerprint(), clients)
}

fn faulty(seed: u64) -> PairConfig {
    let config = PairConfig { seed, ..PairConfig::default() };
    config.with_wan(|wan| {
        wan.loss = Loss::Independent { probability: 0.02 };
        wan.jitter_ns = 5 * MILLISECOND_NS;
        wan.jitter_reorders = true;
        wan.duplicate_probability = 0.01;
        wan.corrupt_probability = 0.01;
    })
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (first, _) = run(faulty(3));
    assert_eq!(run(faulty(3)).0, first);
    assert_ne!(run(faulty(4)).0, first);
}

/// Each edge has some of the flows, the same ones at both sites, and all add up.
#[test]
fn each_of_several_edges_has_its_part_of_the_flows() {
    let placement = Placement::each_apart(3);
    let mut run = Run::new(PairConfig { placement, ..PairConfig::default() });
    run.serve(Site::B, PORT, both_ways(20_000));
    run.connect(Site::A, PORT, 30, false, both_ways(20_000));
    run.finish(60 * SECOND_NS);
    for site in Site::BOTH {
        let edge = &run.pair.tpo(site).handles.edge;
        let counter = match site {
            Site::A => EdgeCounter::FlowsFromHosts,
            Site::B => EdgeCounter::FlowsFromPeers,
        };
        let of_each: Vec<_> = edge.each().iter().map(|edge| edge.get(counter)).collect();
        assert!(of_each.len() == 3 && of_each.iter().all(|flows| *flows > 2), "{of_each:?}");
        assert_eq!((edge.get(counter), edge.get(EdgeCounter::OpensMisnamed)), (30, 0));
    }
}

#[test]
fn every_placement_gives_the_same_streams() {
    let streams = |placement: Placement, placement_b, uneven| {
        let config = PairConfig { placement, placement_b, uneven, compress: true, ..faulty(5) };
        let (_, reports) = run(config);
        let mut streams: Vec<_> = reports
            .iter()
            .map(|end| (end.local, end.remote, end.sent_bytes, end.received_bytes, end.end))
            .collect();
        streams.sort_by_key(|stream| (stream.0, stream.1));
        streams
    };
    let single = streams(Placement::single(0), None, false);
    for replicas in [1, 2, 4] {
        // Neither knows how many the other has.
        for (other, uneven) in [(None, false), (None, true), (Some(3), true)] {
            let placement_b = other.map(Placement::each_apart);
            let apart = streams(Placement::each_apart(replicas), placement_b, uneven);
            assert_eq!(apart, single, "{replicas} {other:?} {uneven}");
        }
    }
}
