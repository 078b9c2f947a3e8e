//! How much of the link the hosts get: eta is goodput over capacity, loss and headers taken off.

use dataplane::time::SECOND_NS;
use dataplane_sim::host::{Close, StreamScript};
use dataplane_sim::link::Loss;
use dataplane_sim::pair::{PairConfig, Site};

use crate::support::{Expect, PORT, Run, reader};

/// Bytes of an IP packet of full size, and what of them are the hosts'.
const PACKET_BYTES: f64 = 1_500.0;
const PAYLOAD_BYTES: f64 = 1_420.0;

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
