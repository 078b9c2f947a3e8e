//! What the programs that measure in one process share: how DPDK is started, where it was measured.
//!
//! In: options. Out: arguments, facts about the machine. Never: a device, a hugepage unasked.

use std::path::Path;

use dpdk_wrapper::Eal;

use crate::micro::output::Environment;

/// Arguments that start DPDK without devices, with so many megabytes of memory, on the processors
/// that this process may use.
///
/// # Errors
/// `/proc` does not say which those are.
pub fn eal_arguments(
    program: &str,
    megabytes: &str,
    hugepages: bool,
) -> std::io::Result<Vec<String>> {
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
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Environment {
        cpu: model.map_or("unknown", |(_, model)| model.trim()).to_owned(),
        cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        kernel: kernel.trim().to_owned(),
        dpdk: eal.version(),
        tsc_mhz: eal.tsc_hz() / 1_000_000,
        pages: if hugepages { "DPDK's 2 MiB, ours 4 KiB" } else { "4 KiB" },
        options,
        rules,
    }
}

/// Whether a file can be written there; none is left behind, and one that is there stays as it is.
///
/// # Errors
/// Why it cannot.
pub fn check_writable(path: &Path) -> std::io::Result<()> {
    let is_new = !path.exists();
    std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    if is_new { std::fs::remove_file(path) } else { Ok(()) }
}
