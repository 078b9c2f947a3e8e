//! Micro benches: jobs of the dataplane beside other ways to do them, in one process.
//!
//! Prints a line for each, and exits 1 when a bar is missed without a stated reason.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use dpdk_wrapper::log::{self, LogLevel, LogTarget};
use dpdk_wrapper::{Eal, RuntimeFolder};
use perf::micro::{self, Plan, output};
use perf::program;

/// Megabytes of DPDK's memory: a table of 1M keys takes 90, the rings little.
const DPDK_MEGABYTES: &str = "320";

/// Measures jobs of the dataplane beside other ways to do them; every figure is a ratio of the same
/// run.
#[derive(Debug, Parser)]
#[command(name = "micro", version)]
struct Options {
    /// Only benches with all these words in their names: --only "classify 1M"
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
    /// List the benches with their baselines and bars
    #[arg(long)]
    list: bool,
    /// Use hugepages for DPDK's tables; ours then have those of the system's choice
    #[arg(long)]
    hugepages: bool,
}

impl Options {
    fn words(&self) -> Vec<String> {
        let only = self.only.as_deref().unwrap_or("");
        only.split_whitespace().map(str::to_owned).collect()
    }

    fn plan(&self) -> Plan {
        if self.quick { Plan::QUICK } else { Plan::FULL }
    }

    /// The options that matter to figures, as text.
    fn text(&self) -> String {
        let quick = if self.quick { "--quick " } else { "" };
        let hugepages = if self.hugepages { "--hugepages " } else { "" };
        let only = self.only.as_ref().map_or(String::new(), |words| format!("--only {words:?}"));
        format!("{quick}{hugepages}{only}").trim_end().to_owned()
    }
}

fn run(options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    let words = options.words();
    micro::check_words(&words)?;
    if let Some(path) = &options.output {
        // Now, not when everything is measured.
        program::check_writable(path)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    }
    log::set(LogTarget::Stderr, LogLevel::Error);
    let arguments = program::eal_arguments("micro", DPDK_MEGABYTES, options.hugepages)?;
    // Declared first, so that it goes last.
    let _folder = RuntimeFolder::of(&arguments, []);
    let eal = Eal::init(arguments)?;
    let rules = output::rules(&options.plan());
    let environment = program::environment(&eal, options.hugepages, options.text(), rules);
    println!(
        "{}, kernel {}, {}, pages {}, commit {}",
        environment.cpu, environment.kernel, environment.dpdk, environment.pages, options.commit
    );
    println!("{}\n\n{}", environment.rules, output::head());
    let rows =
        micro::run(&eal, options.plan(), &words, &mut |row| println!("{}", output::line(row)))?;
    if let Some(path) = &options.output {
        std::fs::write(
            path,
            output::json("micro", &options.commit, &environment, &rows, |_| None)?,
        )?;
    }
    Ok(rows.iter().all(micro::Row::passes))
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        for spec in micro::BENCHES {
            let bar = spec.bar.map_or_else(|| "-".to_owned(), |bar| format!("{bar:.2}"));
            println!("{:<24} beside {:<24} bar {bar}", spec.name, spec.baseline);
        }
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("micro: {error}");
            ExitCode::FAILURE
        }
    }
}
