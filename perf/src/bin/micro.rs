//! Micro benches: jobs of the dataplane beside other ways to do them, in one process.
//!
//! Prints a line for each, and exits 1 when a bar is missed without a stated reason.

use std::process::ExitCode;

use clap::Parser;
use perf::micro::{self, output};
use perf::program::{self, Choice, Common};

/// Megabytes of DPDK's memory: a table of 1M keys takes 90, the rings little.
const DPDK_MEGABYTES: &str = "320";

/// Measures jobs of the dataplane beside other ways to do them; every figure is a ratio of the same
/// run.
#[derive(Debug, Parser)]
#[command(name = "micro", version)]
struct Options {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    choice: Choice,
    /// Use hugepages for DPDK's tables; ours then have those of the system's choice
    #[arg(long)]
    hugepages: bool,
}

fn run(options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    let Options { common, choice, hugepages } = options;
    let words = choice.words();
    micro::check_words(&words)?;
    let dpdk = common.start("micro", DPDK_MEGABYTES, *hugepages)?;
    let plan = common.plan();
    let text = choice.text(common, if *hugepages { &["--hugepages"] } else { &[] });
    let environment = program::environment(&dpdk.eal, *hugepages, text, output::rules(&plan));
    println!(
        "{}, kernel {}, {}, pages {}, commit {}",
        environment.cpu, environment.kernel, environment.dpdk, environment.pages, common.commit
    );
    println!("{}\n\n{}", environment.rules, output::head());
    let rows = micro::run(&dpdk.eal, plan, &words, &mut |row| println!("{}", output::line(row)))?;
    if let Some(path) = &common.output {
        let json = output::json("micro", &common.commit, &environment, &rows, |_| None)?;
        std::fs::write(path, json)?;
    }
    Ok(rows.iter().all(micro::Row::passes))
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.choice.list {
        program::list(micro::BENCHES);
        return ExitCode::SUCCESS;
    }
    program::ended("micro", run(&options))
}
