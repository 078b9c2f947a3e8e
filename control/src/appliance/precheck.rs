//! What devices need of the system, looked at before DPDK is started: DPDK says little about it.
//!
//! In: devices of a configuration, what the process may do and which interfaces there are. Out:
//! one sentence about the first device that cannot work. Never: a device touched.

use std::fs;

use crate::config::{Config, Device};

/// Capabilities by their numbers (linux/capability.h).
const NET_ADMIN: (u32, &str) = (12, "CAP_NET_ADMIN");
const NET_RAW: (u32, &str) = (13, "CAP_NET_RAW");
const SYS_ADMIN: (u32, &str) = (21, "CAP_SYS_ADMIN");
const BPF: (u32, &str) = (39, "CAP_BPF");

/// Why a device cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PrecheckError {
    /// The process may not do what the driver does.
    #[error("{side} device {device}: missing privilege {missing}: run tpo as root")]
    Privilege {
        /// `lan` or `wan`.
        side: &'static str,
        /// As configured.
        device: String,
        /// The capability.
        missing: &'static str,
    },
    /// The interface that the device is to use is not there.
    #[error(
        "{side} device {device}: there is no network interface {interface}: \
         check its name, or create it first"
    )]
    NoInterface {
        /// `lan` or `wan`.
        side: &'static str,
        /// As configured.
        device: String,
        /// What is not there.
        interface: String,
    },
}

/// What of the system devices depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct System {
    /// Effective capabilities of this process, one bit each.
    pub(super) capabilities: u64,
    /// Names of the network interfaces.
    pub(super) interfaces: Vec<String>,
}

impl System {
    /// Asks the operating system; what it does not tell counts as there, for DPDK to find out.
    #[must_use]
    pub(super) fn detect() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let interfaces = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
        System {
            capabilities: capabilities(&status).unwrap_or(u64::MAX),
            interfaces: interface_names(&interfaces),
        }
    }

    fn has(&self, (bit, _): (u32, &str)) -> bool {
        self.capabilities >> bit & 1 == 1
    }
}

fn capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The names in `/proc/net/dev`: two lines of titles, then `name: figures`.
fn interface_names(table: &str) -> Vec<String> {
    let names = table.lines().skip(2).filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

/// Whether the devices of a configuration can work on this system.
///
/// # Errors
/// What the first of them lacks.
pub(super) fn check(config: &Config, system: &System) -> Result<(), PrecheckError> {
    check_device("lan", &config.lan.port.device, system)?;
    check_device("wan", &config.wan.port.device, system)
}

fn check_device(side: &'static str, device: &Device, system: &System) -> Result<(), PrecheckError> {
    let needs: &[(u32, &'static str)] = match device.name() {
        name if name.starts_with("net_af_packet") => &[NET_RAW, NET_ADMIN],
        name if name.starts_with("net_af_xdp") => &[NET_RAW, NET_ADMIN, BPF],
        name if name.starts_with("net_tap") => &[NET_ADMIN],
        _ => return Ok(()),
    };
    // An older kernel asks for CAP_SYS_ADMIN where a newer one asks for CAP_BPF.
    let has = |need| system.has(need) || (need == BPF && system.has(SYS_ADMIN));
    if let Some((_, missing)) = needs.iter().find(|need| !has(**need)) {
        return Err(PrecheckError::Privilege { side, device: device.to_string(), missing });
    }
    let attaches = !device.name().starts_with("net_tap");
    match device.argument("iface").filter(|_| attaches) {
        Some(name) if !system.interfaces.iter().any(|known| known == name) => {
            let interface = name.to_owned();
            Err(PrecheckError::NoInterface { side, device: device.to_string(), interface })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u64 = u64::MAX;

    fn check(device: &str, capabilities: u64) -> Result<(), PrecheckError> {
        let system = System { capabilities, interfaces: vec!["lo".into(), "lan0".into()] };
        check_device("lan", &Device::parse(device).unwrap(), &system)
    }

    #[test]
    fn each_driver_needs_its_own_privileges() {
        let without = |bits: &[u32]| bits.iter().fold(ROOT, |all, bit| all & !(1 << bit));
        for (device, capabilities, missing) in [
            ("net_af_packet0,iface=lan0", without(&[13]), Some("CAP_NET_RAW")),
            ("net_af_packet0,iface=lan0", without(&[21, 39]), None),
            ("net_af_xdp0,iface=lan0", without(&[12]), Some("CAP_NET_ADMIN")),
            ("net_af_xdp0,iface=lan0", without(&[39]), None),
            ("net_af_xdp0,iface=lan0", without(&[21, 39]), Some("CAP_BPF")),
            ("net_tap0,iface=new0", without(&[12]), Some("CAP_NET_ADMIN")),
            ("net_null0", 0, None),
            ("0000:03:00.0", 0, None),
        ] {
            let found = match check(device, capabilities) {
                Err(PrecheckError::Privilege { missing, .. }) => Some(missing),
                _ => None,
            };
            assert_eq!(found, missing, "{device} {capabilities:x}");
        }
    }

    #[test]
    fn an_interface_must_be_there_unless_it_is_made() {
        let error = check("net_af_xdp0,iface=nosuch0", ROOT).unwrap_err();
        assert!(error.to_string().contains("there is no network interface nosuch0"), "{error}");
        assert_eq!(check("net_af_packet0,iface=lan0", ROOT), Ok(()));
        assert_eq!(check("net_tap0,iface=new0", ROOT), Ok(()));
    }

    #[test]
    fn the_tables_of_linux_are_read() {
        assert_eq!(capabilities("Name:\ttpo\nCapEff:\t000001ffffffffff\n"), Some(0x1ff_ffff_ffff));
        assert_eq!(capabilities("Name:\ttpo\n"), None);
        let table = "Inter-| Receive\n face |bytes\n    lo:  1 2\nwlan-0: 3 4\n";
        assert_eq!(interface_names(table), ["lo", "wlan-0"]);
        assert!(System::detect().interfaces.contains(&"lo".to_owned()));
    }
}
