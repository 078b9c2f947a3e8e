//! Connections in number: open, coming and going, and a large flow table.
//!
//! Prints a line for each figure, and exits 1 when a bar is missed without a stated reason.

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser;
use perf::connections::{self, Figure, Size};
use perf::program::{self, Common, Dpdk};
use stats_alloc::StatsAlloc;

/// Counts what is asked for.
#[global_allocator]
static ALLOCATOR: StatsAlloc<System> = StatsAlloc::system();

/// Megabytes of DPDK's memory: the frames.
const DPDK_MEGABYTES: &str = "256";

/// Measures what connections cost both appliances, on one core each.
#[derive(Debug, Parser)]
#[command(name = "connections", version)]
struct Options {
    #[command(flatten)]
    common: Common,
}

/// Bytes asked for and not given back, and how often memory was asked for.
fn allocated() -> (usize, usize) {
    let stats = ALLOCATOR.stats();
    let bytes = stats.bytes_allocated.saturating_sub(stats.bytes_deallocated);
    let grown = stats.bytes_reallocated.max(0).unsigned_abs();
    (bytes.saturating_add(grown), stats.allocations + stats.reallocations)
}

fn run(Options { common }: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    let Dpdk { eal, .. } = &common.start("connections", DPDK_MEGABYTES, false)?;
    let (size, text) = if common.quick { (Size::QUICK, "--quick") } else { (Size::FULL, "") };
    let rules = "each figure once, of the ticks of one appliance; nothing is left out".to_owned();
    let environment = program::environment(eal, false, text.to_owned(), rules);
    println!("{}, kernel {}, TSC {} MHz", environment.cpu, environment.kernel, environment.tsc_mhz);
    let figures =
        connections::run(eal, size, allocated, &mut |figure| println!("{}", figure.text()))?;
    if let Some(path) = &common.output {
        let document = serde_json::json!({
            "scenario": "connections",
            "commit": common.commit,
            "environment": environment,
            "results": figures,
        });
        std::fs::write(path, serde_json::to_string_pretty(&document)? + "\n")?;
    }
    Ok(figures.iter().all(Figure::passes))
}

fn main() -> ExitCode {
    program::ended("connections", run(&Options::parse()))
}
