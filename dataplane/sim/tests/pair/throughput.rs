//! How much of the link the hosts get: eta is goodput over capacity, loss and headers taken off.

use dataplane::time::{MILLISECOND_NS, SECOND_NS};
use dataplane_sim::host::{Close, StreamScript};
use dataplane_sim::link::{LinkConfig, Loss};
use dataplane_sim::pair::{PairConfig, Site};

use crate::support::{Expect, PORT, Run, reader};

/// Bytes of an IP packet of full size, and what of them are the hosts'.
const PACKET_BYTES: f64 = 1_500.0;
const PAYLOAD_BYTES: f64 = 1_438.0;

/// Runs endless streams and returns what each direction got: (to A, to B), as eta.
fn eta(loss: f64, download: bool, upload: bool) -> (f64, f64) {
    let config =
        PairConfig::default().with_wan(|wan| wan.loss = Loss::Independent { probability: loss });
    let capacity_bps = config.rate_bps as f64;
    let mut run = Run::new(config);
    let endless = StreamScript { close: Close::Never, ..StreamScript::sender(u64::MAX) };
    let silent = StreamScript { close: Close::Never, ..reader() };
    run.serve(Site::B, PORT, if download { endless } else { silent });
    run.connect(Site::A, PORT, 1, false, if upload { endless } else { silent });
    // The first seconds are left out: the window has to find its size.
    run.pair.run_for(3 * SECOND_NS);
    let before = received(&run);
    const MEASURED_S: u64 = 4;
    run.pair.run_for(MEASURED_S * SECOND_NS);
    run.check_safety();
    let after = received(&run);
    let share = capacity_bps * (1.0 - loss) * PAYLOAD_BYTES / PACKET_BYTES;
    let of = |bytes: u64| bytes as f64 * 8.0 / MEASURED_S as f64 / share;
    (of(after.0 - before.0), of(after.1 - before.1))
}

fn received(run: &Run) -> (u64, u64) {
    let at = |site| run.pair.streams(site).iter().map(|end| end.received_bytes).sum();
    (at(Site::A), at(Site::B))
}

#[test]
fn one_flow_fills_a_lossy_link() {
    for loss in [0.0, 0.005, 0.02] {
        let (eta, _) = eta(loss, true, false);
        println!("loss {loss}: {eta:.4}");
        assert!(eta >= 0.95, "eta {eta} at loss {loss}");
    }
}

#[test]
fn both_directions_are_filled_at_once() {
    let (to_a, to_b) = eta(0.005, true, true);
    println!("both ways: {to_a:.4} {to_b:.4}");
    assert!(to_a >= 0.93 && to_b >= 0.93, "{to_a} {to_b}");
}

/// One flow at a rate that is measured, while the path has become another since the session began;
/// eta from the third second on.
fn measured_eta(seed: u64, change: impl Fn(&mut LinkConfig)) -> f64 {
    let rate_bps = 200_000_000;
    let config = PairConfig { seed, auto: true, rate_bps: 10 * rate_bps, ..PairConfig::default() };
    let mut run = Run::new(config.with_wan(|wan| {
        wan.rate_bps = rate_bps;
        wan.delay_ns = 50 * MILLISECOND_NS;
        wan.queue_bytes_max = 2_500_000;
    }));
    run.pair.run_for(SECOND_NS);
    run.pair.change_wan(change);
    run.serve(Site::B, PORT, StreamScript { close: Close::Never, ..reader() });
    let endless = StreamScript { close: Close::Never, ..StreamScript::sender(u64::MAX) };
    run.connect(Site::A, PORT, 1, false, endless);
    run.pair.run_for(3 * SECOND_NS);
    let before = received(&run).1;
    const MEASURED_S: u64 = 5;
    run.pair.run_for(MEASURED_S * SECOND_NS);
    run.check_safety();
    let bytes = received(&run).1 - before;
    let share = rate_bps as f64 * (1.0 - LOSS) * PAYLOAD_BYTES / PACKET_BYTES;
    bytes as f64 * 8.0 / MEASURED_S as f64 / share
}

const LOSS: f64 = 0.005;

/// Nearly all that goes back is credit and acknowledgements: what little is to be sent says nothing
/// of that direction's rate, and credit must not be paced by it.
#[test]
fn one_flow_fills_a_lossy_link_whose_rate_is_measured() {
    for seed in [1, 3] {
        let eta = measured_eta(seed, |wan| wan.loss = Loss::Independent { probability: LOSS });
        println!("seed {seed}: {eta:.4}");
        assert!(eta >= 0.97, "eta {eta}, seed {seed}");
    }
}

/// Jitter begins while hardly anything is sent: start-up takes it for no queue.
#[test]
fn one_flow_fills_a_link_with_jitter_since_lately() {
    for seed in [2, 4] {
        let eta = measured_eta(seed, |wan| {
            wan.loss = Loss::Independent { probability: LOSS };
            wan.jitter_ns = 30 * MILLISECOND_NS;
            wan.reorder_probability = 0.02;
            wan.reorder_delay_ns = 10 * MILLISECOND_NS;
        });
        println!("seed {seed}: {eta:.4}");
        assert!(eta >= 0.9, "eta {eta}, seed {seed}");
    }
}
