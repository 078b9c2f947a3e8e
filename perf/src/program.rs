//! What the programs that measure in one process share: options, how DPDK is started, where it was
//! measured, how they end.
//!
//! In: arguments. Out: options, facts about the machine. Never: a device, a hugepage unasked.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use dpdk_wrapper::log::{self, LogLevel, LogTarget};
use dpdk_wrapper::{Eal, RuntimeFolder};
use serde::Serialize;

use crate::micro::output::Environment;
use crate::micro::{Plan, Spec};

/// Options that all of them have.
#[derive(Debug, Args)]
pub struct Common {
    /// Fewer and shorter rounds
    #[arg(long)]
    pub quick: bool,
    /// Where the results go, as JSON
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The commit that is measured, to stand in the results
    #[arg(long, default_value = "unknown")]
    pub commit: String,
}

impl Common {
    /// How long and how often is measured.
    #[must_use]
    pub fn plan(&self) -> Plan {
        if self.quick { Plan::QUICK } else { Plan::FULL }
    }

    /// Whether the results can be written; asked before anything is measured.
    ///
    /// # Errors
    /// Why they cannot.
    pub fn check(&self) -> Result<(), String> {
        let Some(path) = &self.output else { return Ok(()) };
        check_writable(path)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }

    /// Starts DPDK as `program` for one run, with so many megabytes of memory; nothing is measured
    /// whose results could not be written.
    ///
    /// # Errors
    /// The results cannot be written, or DPDK does not start.
    pub fn start(
        &self,
        program: &str,
        megabytes: &str,
        hugepages: bool,
    ) -> Result<Dpdk, Box<dyn Error>> {
        self.check()?;
        log::set(LogTarget::Stderr, LogLevel::Error);
        let arguments = eal_arguments(program, megabytes, hugepages)?;
        let folder = RuntimeFolder::of(&arguments, []);
        Ok(Dpdk { eal: Eal::init(arguments)?, _folder: folder })
    }
}

/// Options of those whose rows have names.
#[derive(Debug, Args)]
pub struct Choice {
    /// Only rows with all these words in their names: --only "classify 1M"
    #[arg(long, value_name = "WORDS")]
    pub only: Option<String>,
    /// List the rows with their baselines and bars
    #[arg(long)]
    pub list: bool,
}

impl Choice {
    /// What all chosen names contain.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let only = self.only.as_deref().unwrap_or("");
        only.split_whitespace().map(str::to_owned).collect()
    }

    /// The options that matter to figures, as text; `more` are those of the program.
    #[must_use]
    pub fn text(&self, common: &Common, more: &[&str]) -> String {
        let quick = common.quick.then_some("--quick");
        let only = self.only.as_ref().map(|words| format!("--only {words:?}"));
        let all: Vec<_> =
            quick.into_iter().chain(more.iter().copied()).chain(only.as_deref()).collect();
        all.join(" ")
    }
}

/// Lists rows with their baselines and bars.
pub fn list(specs: &[Spec]) {
    for spec in specs {
        let bar = spec.bar.map_or_else(|| "-".to_owned(), |bar| format!("{bar:.2}"));
        println!("{:<32} beside {:<24} bar {bar}", spec.name, spec.baseline);
    }
}

/// DPDK as it runs; what it left in files goes when it has ended.
#[derive(Debug)]
pub struct Dpdk {
    /// Dropped first.
    pub eal: Eal,
    _folder: RuntimeFolder,
}

/// How a program ends: well if it ran and all its bars hold.
#[must_use]
pub fn ended(program: &str, passes: Result<bool, Box<dyn Error>>) -> ExitCode {
    match passes {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Arguments that start DPDK without devices, with so many megabytes of memory, on the processors
/// that this process may use.
fn eal_arguments(program: &str, megabytes: &str, hugepages: bool) -> std::io::Result<Vec<String>> {
    let prefix = format!("{program}-{}", std::process::id());
    let lcores = format!("0@({})", cpus_allowed()?);
    let pages: &[&str] = if hugepages { &["--in-memory"] } else { &["--no-huge", "--no-shconf"] };
    let common = ["-m", megabytes, "--no-pci", "--no-telemetry", "--file-prefix", &prefix];
    let all = common.iter().chain(pages).chain(&["--lcores"]).copied().chain([&*lcores]);
    Ok(all.map(str::to_owned).collect())
}

/// The CPUs that this process may use, as a list such as `0-3,6`.
fn cpus_allowed() -> std::io::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    Ok(list.map_or("0", str::trim).to_owned())
}

/// Where it is measured, with which options and by which rules.
#[must_use]
pub fn environment(eal: &Eal, hugepages: bool, options: String, rules: String) -> Environment {
    let Machine { cpu, cpus, kernel } = Machine::look();
    Environment {
        cpu,
        cpus,
        kernel,
        dpdk: eal.version(),
        tsc_mhz: eal.tsc_hz() / 1_000_000,
        pages: if hugepages { "DPDK's 2 MiB, ours 4 KiB" } else { "4 KiB" },
        options,
        rules,
    }
}

/// What it is measured on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Processors of the machine.
    pub cpus: usize,
    /// Version of the kernel.
    pub kernel: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn look() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Machine {
            cpu: model.map_or("unknown", |(_, model)| model.trim()).to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            kernel: kernel.trim().to_owned(),
        }
    }
}

/// Whether a file can be written there; none is left behind, and one that is there stays as it is.
fn check_writable(path: &Path) -> std::io::Result<()> {
    let is_new = !path.exists();
    std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    if is_new { std::fs::remove_file(path) } else { Ok(()) }
}
