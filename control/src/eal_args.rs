//! The arguments that start DPDK, from the configuration and the machine.
//!
//! In: the EAL options given, the configuration, what the machine has. Out: a whole argument list.
//! Whatever the options given speak of is theirs to say: nothing is derived beside it.

use crate::config::{Config, Device, Limits, Size};
use crate::machine::Machine;

/// Memory of DPDK beside the frames: queues and tables of drivers, rings.
const DRIVER_MEMORY: Size = Size(96 << 20);
/// One byte in so many is lost to alignment and to the pool's own ring.
const POOL_SLACK: u64 = 8;

/// Options of the EAL that say where threads run.
const CORE_OPTIONS: [&str; 5] = ["-c", "-l", "--lcores", "--coremask", "-s"];
/// Options of the EAL that say what memory there is, or of what kind.
const MEMORY_OPTIONS: [&str; 7] = [
    "-m",
    "--socket-mem",
    "--huge-dir",
    "--in-memory",
    "--legacy-mem",
    "--huge-unlink",
    "--single-file-segments",
];
/// Options of the EAL that choose PCI devices.
const PCI_OPTIONS: [&str; 5] = ["-a", "--allow", "-b", "--block", "--no-pci"];

/// The argument list of the EAL, without the program's name.
#[must_use]
pub fn eal_args(given: &[String], config: Option<&Config>, machine: &Machine) -> Vec<String> {
    let mut args = given.to_vec();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|word| (*word).to_owned()));
    if !says(given, &CORE_OPTIONS) {
        // The EAL has one thread, ours, on any core: workers are threads of our own, each pinned
        // to the core that the configuration says.
        let cores: Vec<String> = machine.cores.iter().map(usize::to_string).collect();
        add(&["--lcores", &format!("0@({})", cores.join(","))]);
    }
    memory(given, config, machine, &mut add);
    if !says(given, &["--file-prefix"]) {
        add(&["--file-prefix", &file_prefix(config)]);
    }
    if let Some(config) = config {
        devices(given, config, &mut add);
    }
    args
}

/// Names what DPDK keeps of this process; without a configuration, there may be several alike.
fn file_prefix(config: Option<&Config>) -> String {
    match config {
        Some(config) => format!("tpo-{}", config.name),
        None => format!("tpo-{}", std::process::id()),
    }
}

/// Hugepages if enough are free, else none. Either way all memory is reserved at start, and no
/// file is left behind when tpo ends.
fn memory(
    given: &[String],
    config: Option<&Config>,
    machine: &Machine,
    add: &mut impl FnMut(&[&str]),
) {
    let needed = memory_needed(config);
    let megabytes = needed.0.div_ceil(1 << 20).to_string();
    if says(given, &["--no-huge"]) {
        if !says(given, &MEMORY_OPTIONS) {
            add(&["-m", &megabytes]);
        }
        if !says(given, &["--no-shconf"]) {
            add(&["--no-shconf"]);
        }
        return;
    }
    if says(given, &MEMORY_OPTIONS) {
        return;
    }
    if machine.hugepages_free < needed {
        add(&["--no-huge", "-m", &megabytes]);
        if !says(given, &["--no-shconf"]) {
            add(&["--no-shconf"]);
        }
        return;
    }
    add(&["--in-memory", "-m", &megabytes]);
    // A vhost back end takes few memory regions, and hugepages would be one each.
    let is_vhost = |device: &Device| device.name().contains("virtio_user");
    if config.is_some_and(|config| ports(config).any(is_vhost)) {
        add(&["--single-file-segments"]);
    }
}

fn memory_needed(config: Option<&Config>) -> Size {
    let default = u64::from(Limits::default().frames) * crate::config::FRAME_MEMORY;
    let frames = config.map_or(default, |config| config.frame_memory().0);
    Size(frames.saturating_add(frames / POOL_SLACK).saturating_add(DRIVER_MEMORY.0))
}

fn devices(given: &[String], config: &Config, add: &mut impl FnMut(&[&str])) {
    let named: Vec<&str> = values(given, &["--vdev", "-a", "--allow"])
        .map(|value| value.split(',').next().unwrap_or(value))
        .collect();
    for device in ports(config).filter(|device| !named.contains(&device.name())) {
        match device {
            Device::Pci { .. } => add(&["-a", &device.to_string()]),
            Device::Virtual { .. } => add(&["--vdev", &device.to_string()]),
        }
    }
    let has_pci = ports(config).any(|device| matches!(device, Device::Pci { .. }));
    if !has_pci && !says(given, &PCI_OPTIONS) {
        add(&["--no-pci"]);
    }
}

fn ports(config: &Config) -> impl Iterator<Item = &Device> {
    [&config.lan.port.device, &config.wan.port.device].into_iter()
}

/// Whether one of `options` is among the arguments given, alone or with a value joined to it.
fn says(given: &[String], options: &[&str]) -> bool {
    given.iter().any(|argument| options.iter().any(|option| joined(argument, option).is_some()))
}

/// The value joined to an option (`-l0`, `--lcores=0`); empty if none is.
fn joined<'a>(argument: &'a str, option: &str) -> Option<&'a str> {
    let rest = argument.strip_prefix(option)?;
    if option.starts_with("--") && !rest.is_empty() { rest.strip_prefix('=') } else { Some(rest) }
}

/// The values of `options` among the arguments given.
fn values<'a>(given: &'a [String], options: &'a [&str]) -> impl Iterator<Item = &'a str> {
    given.iter().enumerate().filter_map(move |(index, argument)| {
        let value = options.iter().find_map(|option| joined(argument, option))?;
        if value.is_empty() { given.get(index + 1).map(String::as_str) } else { Some(value) }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn machine(hugepages: u64) -> Machine {
        Machine { cores: vec![0, 1, 4], memory: Size(8 << 30), hugepages_free: Size(hugepages) }
    }

    fn config(lan: &str, wan: &str) -> Config {
        let text = include_str!("config/tests/minimal.toml")
            .replace("0000:03:00.0", lan)
            .replace("0000:03:00.1", wan);
        Config::parse(Path::new("a.toml"), &text, &machine(0)).unwrap().0
    }

    fn derived(given: &str, config: Option<&Config>, hugepages: u64) -> String {
        let given: Vec<String> = given.split_whitespace().map(str::to_owned).collect();
        eal_args(&given, config, &machine(hugepages)).join(" ")
    }

    #[test]
    fn vdevs_without_hugepages() {
        let config = config("net_af_xdp0,iface=lan0", "net_af_xdp1,iface=wan0");
        assert_eq!(
            derived("", Some(&config), 0),
            "--lcores 0@(0,1,4) --no-huge -m 138 --no-shconf --file-prefix tpo-small \
             --vdev net_af_xdp0,iface=lan0 --vdev net_af_xdp1,iface=wan0 --no-pci"
        );
    }

    #[test]
    fn nics_with_hugepages() {
        let config = config("0000:03:00.0", "0000:03:00.1,rx_vec_en=1");
        assert_eq!(
            derived("", Some(&config), 1 << 30),
            "--lcores 0@(0,1,4) --in-memory -m 138 --file-prefix tpo-small \
             -a 0000:03:00.0 -a 0000:03:00.1,rx_vec_en=1"
        );
        assert!(derived("", Some(&config), 1 << 20).contains("--no-huge"), "too few are none");
        let vhost = self::config("net_virtio_user0,path=/tmp/a", "net_null0");
        assert!(derived("", Some(&vhost), 1 << 30).contains("--single-file-segments"));
    }

    #[test]
    fn options_given_are_left_alone() {
        let config = config("net_null0", "net_null1");
        let args = derived(
            "-l 2 -m64 --no-huge --no-shconf --file-prefix=x --vdev=net_null1,size=64",
            Some(&config),
            0,
        );
        assert_eq!(
            args,
            "-l 2 -m64 --no-huge --no-shconf --file-prefix=x --vdev=net_null1,size=64 \
             --vdev net_null0 --no-pci"
        );
        let args = derived("--lcores=1 --no-huge -a 0000:01:00.0", Some(&config), 0);
        assert_eq!(
            args,
            "--lcores=1 --no-huge -a 0000:01:00.0 -m 138 --no-shconf --file-prefix tpo-small \
             --vdev net_null0 --vdev net_null1"
        );
        let args = derived("--socket-mem 1024", Some(&config), 0);
        assert!(!args.contains("--no-huge") && !args.contains(" -m "), "{args}");
    }

    #[test]
    fn without_a_configuration_devices_are_those_given() {
        assert_eq!(
            derived("--vdev net_null0 --no-pci", None, 0),
            format!(
                "--vdev net_null0 --no-pci --lcores 0@(0,1,4) --no-huge -m 138 --no-shconf \
                 --file-prefix tpo-{}",
                std::process::id()
            )
        );
    }

    #[test]
    fn more_frames_need_more_memory() {
        let text =
            include_str!("config/tests/minimal.toml").to_owned() + "[limits]\nframes = 65536\n";
        let config = Config::parse(Path::new("a.toml"), &text, &machine(0)).unwrap().0;
        assert!(
            derived("", Some(&config), 0).contains("-m 263"),
            "{}",
            derived("", Some(&config), 0)
        );
    }
}
