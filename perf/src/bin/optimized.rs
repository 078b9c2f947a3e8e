//! Optimized TCP: what both appliances do for one direction of streams, on one core, beside the
//! floor under it.
//!
//! Prints a line for each row and where its cycles go, and exits 1 when a bar is missed without a
//! stated reason.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use dpdk_wrapper::log::{self, LogLevel, LogTarget};
use dpdk_wrapper::memory::LargePages;
use dpdk_wrapper::{Eal, RuntimeFolder};
use perf::micro::Plan;
use perf::micro::output;
use perf::{optimized, program};

/// As in the product.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

/// Megabytes of DPDK's memory: the frames.
const DPDK_MEGABYTES: &str = "256";

/// Measures both appliances' work for one direction of TCP streams, on one core.
#[derive(Debug, Parser)]
#[command(name = "optimized", version)]
struct Options {
    /// Only rows with all these words in their names: --only "encrypted LZ4"
    #[arg(long, value_name = "WORDS")]
    only: Option<String>,
    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Where the results go, as JSON
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The commit that is measured, to stand in the results
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// List the rows with their baselines and bars
    #[arg(long)]
    list: bool,
}

fn run(options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    let only = options.only.as_deref().unwrap_or("");
    let words: Vec<String> = only.split_whitespace().map(str::to_owned).collect();
    optimized::check_words(&words)?;
    if let Some(path) = &options.output {
        // Now, not when everything is measured.
        program::check_writable(path)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    log::set(LogTarget::Stderr, LogLevel::Error);
    let arguments = program::eal_arguments("optimized", DPDK_MEGABYTES, false)?;
    // Declared first, so that it goes last.
    let _folder = RuntimeFolder::of(&arguments, []);
    let eal = Eal::init(arguments)?;
    let plan = if options.quick { Plan::QUICK } else { Plan::FULL };
    let quick = if options.quick { "--quick " } else { "" };
    let text =
        options.only.as_ref().map_or(quick.to_owned(), |only| format!("{quick}--only {only:?}"));
    let environment = program::environment(&eal, false, text, output::rules(&plan));
    println!(
        "{}, kernel {}, {}, TSC {} MHz, commit {}\n{}\n\n{}",
        environment.cpu,
        environment.kernel,
        environment.dpdk,
        environment.tsc_mhz,
        options.commit,
        environment.rules,
        output::head()
    );
    let found = optimized::run(&eal, plan, &words, &mut |found| {
        println!("{}\n{}", output::line(&found.row), found.text());
    })?;
    let rows: Vec<_> = found.iter().map(|found| found.row).collect();
    if let Some(path) = &options.output {
        let more = |row: usize| found.get(row).map(|found| found.json());
        let json = output::json("optimized", &options.commit, &environment, &rows, more)?;
        std::fs::write(path, json)?;
    }
    Ok(rows.iter().all(perf::micro::Row::passes))
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        for spec in optimized::specs() {
            let bar = spec.bar.map_or_else(|| "-".to_owned(), |bar| format!("{bar:.2}"));
            println!("{:<32} beside {:<24} bar {bar}", spec.name, spec.baseline);
        }
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("optimized: {error}");
            ExitCode::FAILURE
        }
    }
}
