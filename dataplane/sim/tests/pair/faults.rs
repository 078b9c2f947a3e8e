//! Random faults over a few seeds; `perf/run seeds` runs thousands.
//!
//! `TPO_SIM_SEEDS` says how many seeds are tried, `TPO_SIM_SEED` which is the first.

use dataplane_sim::faults::{self, Draw};

const SEEDS: u64 = 12;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn whatever_happens_hosts_see_nothing_wrong() {
    let first = from_environment("TPO_SIM_SEED", 1);
    let count = from_environment("TPO_SIM_SEEDS", SEEDS);
    for seed in first..first + count {
        println!("seed {seed}");
        let run = faults::run(&Draw::of_seed(seed));
        run.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
}
