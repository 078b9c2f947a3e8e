//! Transfers over good and bad links: every byte arrives, in order, and both ends close in order.

use dataplane::interceptor::Fallback;
use dataplane::pipeline::placement::Placement;
use dataplane::time::{MILLISECOND_NS, SECOND_NS};
use dataplane_sim::host::StreamScript;
use dataplane_sim::link::{LinkConfig, Loss};
use dataplane_sim::pair::{Event, PairConfig, Reload, Site};

use crate::support::{Expect, PORT, Run, both_ways, cable, reader};

const BYTES: u64 = 2_000_000;

fn lost(probability: f64) -> PairConfig {
    PairConfig::default().with_wan(|wan| wan.loss = Loss::Independent { probability })
}

/// A download, an upload, and both at once.
fn transfer_all_ways(config: &PairConfig, v6: bool) {
    let mut run = Run::new(config.clone());
    run.serve(Site::B, PORT, StreamScript::sender(BYTES));
    run.serve(Site::B, PORT + 1, reader());
    run.serve(Site::B, PORT + 2, both_ways(BYTES));
    run.connect(Site::A, PORT, 1, v6, reader());
    run.connect(Site::A, PORT + 1, 1, v6, StreamScript::sender(BYTES));
    run.connect(Site::A, PORT + 2, 1, v6, both_ways(BYTES));
    run.finish(120 * SECOND_NS);
}

#[test]
fn over_a_good_link() {
    for v6 in [false, true] {
        transfer_all_ways(&PairConfig::default(), v6);
    }
}

#[test]
fn with_the_data_movers_on_ipv6() {
    transfer_all_ways(&PairConfig { wan_v6: true, ..PairConfig::default() }, false);
}

#[test]
fn opened_at_both_sites() {
    let mut run = Run::new(PairConfig::default());
    for site in Site::BOTH {
        run.serve(site, PORT, both_ways(BYTES));
        run.connect(site.other(), PORT, 2, false, both_ways(BYTES));
    }
    run.finish(60 * SECOND_NS);
}

#[test]
fn with_loss() {
    for (probability, v6) in [(0.005, true), (0.02, false), (0.1, true)] {
        transfer_all_ways(&lost(probability), v6);
    }
}

#[test]
fn with_loss_in_bursts() {
    let config = PairConfig::default()
        .with_wan(|wan| wan.loss = Loss::Bursts { probability: 0.02, burst_mean: 8.0 });
    transfer_all_ways(&config, false);
}

#[test]
fn with_reordering() {
    let overtaken = PairConfig::default().with_wan(|wan| {
        wan.reorder_probability = 0.05;
        wan.reorder_delay_ns = 5 * MILLISECOND_NS;
    });
    transfer_all_ways(&overtaken, false);
    let jitter = PairConfig::default().with_wan(|wan| {
        wan.jitter_ns = 20 * MILLISECOND_NS;
        wan.jitter_reorders = true;
    });
    transfer_all_ways(&jitter, true);
}

#[test]
fn with_duplication_and_corruption() {
    let config = PairConfig::default().with_wan(|wan| {
        wan.duplicate_probability = 0.1;
        wan.corrupt_probability = 0.02;
    });
    transfer_all_ways(&config, false);
    transfer_all_ways(&config, true);
}

#[test]
fn over_a_slow_link_with_a_short_queue() {
    let mut config = PairConfig::default().with_wan(|wan| {
        wan.rate_bps = 10_000_000;
        wan.queue_bytes_max = 30_000;
    });
    config.rate_bps = 10_000_000;
    transfer_all_ways(&config, false);
}

#[test]
fn with_loss_on_both_lans() {
    let mut run = Run::new(PairConfig::default());
    let lossy = LinkConfig { loss: Loss::Independent { probability: 0.01 }, ..cable() };
    for site in Site::BOTH {
        run.pair.happen(Event::Lan(site, lossy.clone()));
    }
    run.serve(Site::B, PORT, both_ways(BYTES));
    run.connect(Site::A, PORT, 2, false, both_ways(BYTES));
    run.connect(Site::A, PORT, 2, true, both_ways(BYTES));
    run.finish(120 * SECOND_NS);
}

#[test]
fn fifty_at_once() {
    for v6 in [false, true] {
        let mut run = Run::new(lost(0.005));
        run.serve(Site::B, PORT, both_ways(200_000));
        run.connect(Site::A, PORT, 50, v6, both_ways(100_000));
        run.finish(60 * SECOND_NS);
    }
}

#[test]
fn many_short_ones() {
    let mut run = Run::new(PairConfig::default());
    run.serve(Site::B, PORT, both_ways(3_000));
    for _ in 0..20 {
        run.connect(Site::A, PORT, 20, false, both_ways(300));
        run.run_to_end(20 * SECOND_NS, 2);
    }
    run.finish(20 * SECOND_NS);
}

#[test]
fn with_one_stage_per_core() {
    let config = PairConfig { placement: Placement::one_stage_per_core(), ..lost(0.01) };
    transfer_all_ways(&config, false);
}

#[test]
fn across_new_configurations() {
    let mut run = Run::new(lost(0.01));
    run.serve(Site::B, PORT, both_ways(10_000_000));
    run.connect(Site::A, PORT, 2, false, both_ways(10_000_000));
    for (number, site) in (0..).zip(Site::BOTH.into_iter().cycle().take(6)) {
        run.pair.run_for(150 * MILLISECOND_NS);
        let (auto, rate_bps) = (number % 3 == 1, 20_000_000 * (1 + number));
        let (fallback, compress) = (Fallback::Refuse, number % 2 == 0);
        run.pair.happen(Event::Reload(site, Reload { rate_bps, auto, fallback, compress }));
        run.pair.run_for(10 * MILLISECOND_NS);
        let peer = &run.pair.tpo(site).handles.peers[0];
        assert!(auto || peer.rate_bps() <= rate_bps, "{} of {rate_bps}", peer.rate_bps());
    }
    run.finish(60 * SECOND_NS);
}

#[test]
fn with_little_memory() {
    let mut config = lost(0.01);
    config.limits.frames = 4096;
    config.limits.buffer_bytes = 16 << 20;
    let mut run = Run::new(config);
    run.serve(Site::B, PORT, both_ways(200_000));
    run.connect(Site::A, PORT, 30, false, both_ways(200_000));
    run.finish(120 * SECOND_NS);
}
