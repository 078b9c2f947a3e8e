//! Optimized TCP: what both appliances do for one direction of streams, on one core, beside the
//! floor under it.
//!
//! Prints a line for each row and where its cycles go, and exits 1 when a bar is missed without a
//! stated reason.

use std::process::ExitCode;

use clap::Parser;
use dpdk_wrapper::memory::LargePages;
use perf::micro::output;
use perf::optimized::{self, Found};
use perf::program::{self, Choice, Common};

/// As in the product.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

/// Megabytes of DPDK's memory: the frames.
const DPDK_MEGABYTES: &str = "256";

/// Measures both appliances' work for one direction of TCP streams, on one core.
#[derive(Debug, Parser)]
#[command(name = "optimized", version)]
struct Options {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice,
}

fn run(Options { common, choice }: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    let words = choice.words();
    optimized::check_words(&words)?;
    let dpdk = common.start("optimized", DPDK_MEGABYTES, false)?;
    let plan = common.plan();
    let text = choice.text(common, &[]);
    let environment = program::environment(&dpdk.eal, false, text, output::rules(&plan));
    println!(
        "{}, kernel {}, {}, TSC {} MHz, commit {}\n{}\n\n{}",
        environment.cpu,
        environment.kernel,
        environment.dpdk,
        environment.tsc_mhz,
        common.commit,
        environment.rules,
        output::head()
    );
    let found = optimized::run(&dpdk.eal, plan, &words, &mut |found| {
        println!("{}\n{}", output::line(&found.row), found.text());
    })?;
    let rows: Vec<_> = found.iter().map(|found| found.row).collect();
    if let Some(path) = &common.output {
        let more = |row: usize| found.get(row).map(|found| found.json());
        let json = output::json("optimized", &common.commit, &environment, &rows, more)?;
        std::fs::write(path, json)?;
    }
    Ok(found.iter().all(Found::passes))
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.choice.list {
        program::list(&optimized::specs());
        return ExitCode::SUCCESS;
    }
    program::ended("optimized", run(&options))
}
