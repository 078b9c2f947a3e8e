//! The two DPDK devices.
//!
//! In: device names. Out: started ports with one queue each way, and the pool behind them. Never:
//! a frame looked at.

use std::fs;
use std::path::Path;

use dpdk_wrapper::eal::EalError;
use dpdk_wrapper::port::{ConfigureError, OpenError, StartError};
use dpdk_wrapper::{
    Eal, Mempool, MempoolConfig, MempoolError, Port, PortConfig, RuntimeFolder, RxQueue, TxQueue,
};

/// Mbufs that the devices may hold themselves: two ports, each with a fill, a receive, a transmit
/// and a completion ring of 2048 descriptors (AF_XDP's, the greediest of the drivers used).
const DEVICE_MBUFS: u32 = 2 * 4 * 2048;
/// Memory of one mbuf: without hugepages DPDK puts one into each page, none across two.
const MBUF_BYTES: u32 = 4096;
/// Memory that DPDK needs for itself.
const BASE_MEGABYTES: u32 = 48;
/// Length of a path that looks like a PCI address, `0000:03:00.0`.
const PCI_ADDRESS_BYTES: usize = 12;

/// Why the ports cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// DPDK did not start.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// No memory.
    #[error(transparent)]
    Mempool(#[from] MempoolError),
    /// No such device.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The device refuses its configuration.
    #[error(transparent)]
    Configure(#[from] ConfigureError),
    /// The device does not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// A started port with its queues.
#[derive(Debug)]
pub struct EmulatorPort {
    /// Where frames come in.
    pub rx: RxQueue,
    /// Where frames go out.
    pub tx: TxQueue,
    /// Control; dropped after the queues.
    pub port: Port,
}

/// Both ports, and what their frames are made of.
#[derive(Debug)]
pub struct Ports {
    /// Port A, port B.
    pub ports: [EmulatorPort; 2],
    /// Where both receive into. After the ports, so that their mbufs are back before it goes.
    pub pool: Mempool,
    /// Where DPDK keeps its files; goes last.
    _folder: RuntimeFolder,
}

/// The EAL arguments for two devices, each a PCI address or a vdev such as
/// `net_af_xdp0,iface=eth1`, and `packets_max` packets each way.
#[must_use]
pub fn eal_arguments(devices: [&str; 2], packets_max: u32, hugepages: bool) -> Vec<String> {
    let bytes = u64::from(mbufs(packets_max)) * u64::from(MBUF_BYTES);
    let megabytes = u64::from(BASE_MEGABYTES) + bytes.div_ceil(1 << 20);
    let prefix = format!("wanem-{}", std::process::id());
    let mut arguments: Vec<String> =
        ["-m", &megabytes.to_string(), "--file-prefix", &prefix, "--no-telemetry"]
            .map(str::to_owned)
            .to_vec();
    // One lcore on every CPU that this process may use: no threads of DPDK's own, no pinning.
    let cpus = cpus_allowed().unwrap_or_else(|| "0".to_owned());
    arguments.extend(["--lcores".to_owned(), format!("0@({cpus})")]);
    if !hugepages {
        arguments.extend(["--no-huge", "--no-shconf"].map(str::to_owned));
    }
    if !devices.into_iter().any(is_pci) {
        arguments.push("--no-pci".to_owned());
    }
    for device in devices {
        let option = if is_pci(device) { "-a" } else { "--vdev" };
        arguments.extend([option, device].map(str::to_owned));
    }
    arguments
}

/// The CPUs that this process may use, as a list such as `0-3,6`.
fn cpus_allowed() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(list.trim().to_owned())
}

fn is_pci(device: &str) -> bool {
    device.len() == PCI_ADDRESS_BYTES && Path::new("/sys/bus/pci/devices").join(device).exists()
}

fn mbufs(packets_max: u32) -> u32 {
    packets_max.saturating_mul(2).saturating_add(DEVICE_MBUFS)
}

/// Starts DPDK and both ports.
///
/// # Errors
///
/// [`PortError`], in words for the user.
pub fn start(devices: [&str; 2], packets_max: u32, hugepages: bool) -> Result<Ports, PortError> {
    let arguments = eal_arguments(devices, packets_max, hugepages);
    let folder = RuntimeFolder::of(&arguments, []);
    let eal = Eal::init(arguments)?;
    let pool = Mempool::new(&eal, &MempoolConfig::new("wanem", mbufs(packets_max)))?;
    let ports = [open(&eal, devices[0], &pool)?, open(&eal, devices[1], &pool)?];
    Ok(Ports { ports, pool, _folder: folder })
}

fn open(eal: &Eal, device: &str, pool: &Mempool) -> Result<EmulatorPort, PortError> {
    // Everything behind the comma is for the driver.
    let name = device.split(',').next().unwrap_or(device);
    let port = Port::open(eal, name)?;
    let config = PortConfig { promiscuous: true, ..PortConfig::default() };
    let queues = port.configure(&config, std::slice::from_ref(pool))?;
    port.start()?;
    let (mut rx, mut tx) = (queues.rx, queues.tx);
    match (rx.pop(), tx.pop()) {
        (Some(rx), Some(tx)) => Ok(EmulatorPort { rx, tx, port }),
        _ => Err(ConfigureError::NoQueues(port.id()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_become_eal_arguments() {
        let devices = ["net_af_xdp0,iface=wan-a", "net_null1"];
        let arguments = eal_arguments(devices, 1000, false).join(" ");
        for part in [
            "--vdev net_af_xdp0,iface=wan-a",
            "--vdev net_null1",
            "--no-huge --no-shconf --no-pci",
            "-m 120 ",
        ] {
            assert!(arguments.contains(part), "{part} is not in {arguments}");
        }
        assert!(!eal_arguments(devices, 1000, true).contains(&"--no-huge".to_owned()));
    }
}
