//! Compression over links of 10 Mb/s to 10 Gb/s: off, LZ4 and `auto`.
//!
//! Prints a line for each content and rate, and exits 1 when a bar is missed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use perf::compression::output::{self, Environment};
use perf::compression::{self, Plan, content};
use perf::program::{self, Common, Machine};

/// Measures what compression gains over links of many rates; time is the processor's, and the link
/// a model.
#[derive(Debug, Parser)]
#[command(name = "compression", version)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// Where the documents and sources are that are sent as text
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."))]
    text: PathBuf,
}

fn run(Options { common, text }: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    common.check()?;
    let (plan, options) = if common.quick { (Plan::QUICK, "--quick") } else { (Plan::FULL, "") };
    let machine = Machine::look();
    println!("{}, kernel {}, commit {}", machine.cpu, machine.kernel, common.commit);
    let rules = output::rules(&plan);
    println!("{rules}\n");
    let contents = content::all(text)?;
    let costs: Vec<_> = contents.iter().flat_map(compression::costs).collect();
    for cost in &costs {
        println!("{}", output::cost_line(cost));
    }
    println!("\n{}", output::head());
    let rows = compression::run(plan, &contents, &mut |row| println!("{}", output::line(row)));
    if let Some(path) = &common.output {
        let environment = Environment { machine, options: options.to_owned(), rules };
        std::fs::write(path, output::json(&common.commit, &environment, &rows, &costs)?)?;
    }
    Ok(rows.iter().all(compression::Row::passes))
}

fn main() -> ExitCode {
    program::ended("compression", run(&Options::parse()))
}
