//! Transfers over good and bad links: every byte arrives, in order, and both ends close in order.

use dataplane::time::SECOND_NS;
use dataplane_sim::host::StreamScript;
use dataplane_sim::link::{LinkConfig, Loss};
use dataplane_sim::pair::{PairConfig, Site};

use crate::support::{PORT, Run, both_ways, reader};

const BYTES: u64 = 2_000_000;

fn lossy(probability: f64) -> PairConfig {
    PairConfig::default().with_wan(|wan| wan.loss = Loss::Independent { probability })
}

fn download(config: PairConfig, v6: bool) {
    let mut run = Run::new(config);
    run.serve(Site::B, PORT, StreamScript::sender(BYTES));
    run.connect(Site::A, PORT, 1, v6, reader());
    run.finish(60 * SECOND_NS);
}

#[test]
fn a_download() {
    for v6 in [false, true] {
        download(PairConfig::default(), v6);
    }
}
