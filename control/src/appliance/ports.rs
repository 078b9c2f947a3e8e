//! The ports as the commands see them: device, link, counters; start, stop, close.
//!
//! In: open ports. Out: plain data, by DPDK's numbers. Never: a counter of a device set to zero:
//! what `clear` was asked for is subtracted here.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use dpdk_wrapper::port::{ControlError, DeviceInfo, ErrorHandling, StartError};
use dpdk_wrapper::{Eal, Port, packet_sockets};

use crate::cli::{CommandError, DescriptorLimits, PortCounters, PortInfo, Xstat};

/// Names of device capabilities by their bits (rte_ethdev.h, `RTE_ETH_DEV_CAPA_*`).
const CAPABILITIES: [&str; 5] = [
    "RUNTIME_RX_QUEUE_SETUP",
    "RUNTIME_TX_QUEUE_SETUP",
    "RXQ_SHARE",
    "FLOW_RULE_KEEP",
    "FLOW_SHARED_OBJECT_KEEP",
];

/// Drivers that receive through sockets of the kernel.
const SOCKET_DRIVERS: [&str; 2] = ["net_af_xdp", "net_af_packet"];

/// Open ports, by number.
#[derive(Debug, Default)]
pub struct Ports {
    open: BTreeMap<u16, Port>,
    /// Counters when they were last cleared.
    cleared: BTreeMap<u16, PortCounters>,
}

impl Ports {
    /// These ports.
    pub fn new(ports: impl IntoIterator<Item = Port>) -> Self {
        let open = ports.into_iter().map(|port| (port.id().0, port)).collect();
        Ports { open, cleared: BTreeMap::new() }
    }

    /// Their numbers, ascending.
    #[must_use]
    pub fn numbers(&self) -> Vec<u16> {
        self.open.keys().copied().collect()
    }

    /// The sockets of all ports' drivers; `None` if any of them can only be polled.
    #[must_use]
    pub fn sockets(&self, eal: &Eal) -> Option<Vec<OwnedFd>> {
        let by_socket = |port: &Port| {
            port.device_info().is_ok_and(|info| SOCKET_DRIVERS.contains(&info.driver_name.as_str()))
        };
        self.open.values().all(by_socket).then(|| packet_sockets(eal))
    }

    /// Starts those that are not.
    ///
    /// # Errors
    /// The first that refused.
    pub fn start_all(&self) -> Result<(), StartError> {
        for port in self.open.values().filter(|port| !port.is_started()) {
            port.start()?;
        }
        Ok(())
    }

    /// Stops all.
    pub fn stop_all(&self) {
        for port in self.open.values() {
            // A port that does not stop is closed at the end of the process all the same.
            let _ = port.stop();
        }
    }

    /// Starts one.
    ///
    /// # Errors
    /// What the device refused.
    pub fn start(&self, number: u16) -> Result<(), CommandError> {
        let port = self.port(number)?;
        if port.is_started() {
            return Ok(());
        }
        port.start().map_err(refused)
    }

    /// Stops one.
    ///
    /// # Errors
    /// What the device refused.
    pub fn stop(&self, number: u16) -> Result<(), CommandError> {
        self.port(number)?.stop().map_err(refused)
    }

    /// Closes one whose queues are given back.
    ///
    /// # Errors
    /// Its queues are still somewhere.
    pub fn close(&mut self, number: u16) -> Result<(), CommandError> {
        let port = self.open.remove(&number).ok_or_else(|| self.unknown(number))?;
        match port.close() {
            Ok(()) => Ok(()),
            Err(error) => {
                let message = error.to_string();
                let dpdk_wrapper::port::CloseError::QueuesInUse { port, .. } = error else {
                    return Err(refused(message));
                };
                self.open.insert(number, port);
                Err(refused(message))
            }
        }
    }

    /// Turns promiscuous mode on or off.
    ///
    /// # Errors
    /// What the device refused.
    pub fn set_promiscuous(&self, number: u16, on: bool) -> Result<(), CommandError> {
        self.port(number)?.set_promiscuous(on).map_err(refused)
    }

    /// Device, link and limits.
    ///
    /// # Errors
    /// What the device refused.
    pub fn info(&self, number: u16) -> Result<PortInfo, CommandError> {
        let port = self.port(number)?;
        let device = port.device_info().map_err(refused)?;
        let link = port.link().map_err(refused)?;
        // What a device does not say is what it does not do.
        let said = |answer: Result<bool, ControlError>| answer.unwrap_or(false);
        let names = CAPABILITIES.iter().enumerate();
        Ok(PortInfo {
            port: number,
            link_up: link.up,
            link_speed_mbps: link.speed_mbps,
            full_duplex: link.full_duplex,
            autoneg: link.autoneg,
            mtu: port.mtu().map_err(refused)?,
            promiscuous: said(port.promiscuous()),
            all_multicast: said(port.all_multicast()),
            vlan_offload: port.vlan_offload().ok(),
            dev_capa_names: names
                .filter(|(bit, _)| device.dev_capa >> bit & 1 == 1)
                .map(|(_, name)| (*name).to_owned())
                .collect(),
            ..of_device(device)
        })
    }

    /// Counters since they were cleared.
    ///
    /// # Errors
    /// What the device refused.
    pub fn counters(&self, number: u16) -> Result<PortCounters, CommandError> {
        let cleared = self.cleared.get(&number).copied().unwrap_or_default();
        Ok(since(&self.counted(number)?, &cleared))
    }

    /// Counters as the device has them.
    ///
    /// # Errors
    /// What the device refused.
    pub fn counted(&self, number: u16) -> Result<PortCounters, CommandError> {
        let stats = self.port(number)?.stats().map_err(refused)?;
        Ok(PortCounters {
            rx_packets: stats.rx_packets,
            rx_bytes: stats.rx_bytes,
            rx_missed: stats.rx_missed,
            rx_errors: stats.rx_errors,
            rx_nombuf: stats.rx_no_mbuf,
            tx_packets: stats.tx_packets,
            tx_bytes: stats.tx_bytes,
            tx_errors: stats.tx_errors,
        })
    }

    /// Counters particular to the device.
    ///
    /// # Errors
    /// What the device refused.
    pub fn xstats(&self, number: u16) -> Result<Vec<Xstat>, CommandError> {
        let xstats = self.port(number)?.xstats().map_err(refused)?;
        Ok(xstats.into_iter().map(|x| Xstat { name: x.name, value: x.value }).collect())
    }

    /// Counts from zero again.
    ///
    /// # Errors
    /// What the device refused.
    pub fn clear(&mut self, number: u16) -> Result<(), CommandError> {
        self.cleared.insert(number, self.counted(number)?);
        Ok(())
    }

    fn port(&self, number: u16) -> Result<&Port, CommandError> {
        self.open.get(&number).ok_or_else(|| self.unknown(number))
    }

    fn unknown(&self, port: u16) -> CommandError {
        CommandError::NoSuchPort { port, valid: self.numbers() }
    }
}

/// An error of a device as what a command says.
pub(super) fn refused(error: impl ToString) -> CommandError {
    CommandError::Refused(error.to_string())
}

/// `now` less `earlier`.
pub(super) fn since(now: &PortCounters, earlier: &PortCounters) -> PortCounters {
    PortCounters {
        rx_packets: now.rx_packets.saturating_sub(earlier.rx_packets),
        rx_bytes: now.rx_bytes.saturating_sub(earlier.rx_bytes),
        rx_missed: now.rx_missed.saturating_sub(earlier.rx_missed),
        rx_errors: now.rx_errors.saturating_sub(earlier.rx_errors),
        rx_nombuf: now.rx_nombuf.saturating_sub(earlier.rx_nombuf),
        tx_packets: now.tx_packets.saturating_sub(earlier.tx_packets),
        tx_bytes: now.tx_bytes.saturating_sub(earlier.tx_bytes),
        tx_errors: now.tx_errors.saturating_sub(earlier.tx_errors),
    }
}

fn of_device(device: DeviceInfo) -> PortInfo {
    let limits = |from: dpdk_wrapper::port::DescriptorLimits| DescriptorLimits {
        min: from.min,
        max: from.max,
        align: from.align,
    };
    let socket = device.socket.unwrap_or(0);
    let has_arguments = device.bus_name == "vdev" || !device.devargs.is_empty();
    PortInfo {
        mac: device.mac.0,
        device_name: device.device_name,
        driver_name: device.driver_name,
        firmware: device.firmware,
        devargs: has_arguments.then_some(device.devargs),
        socket,
        memory_socket: socket,
        max_mac_addrs: device.max_mac_addrs,
        max_hash_mac_addrs: device.max_hash_mac_addrs,
        hash_key_size: device.hash_key_size,
        reta_size: device.reta_size,
        rss_types: device.rss_types,
        min_rx_bufsize: device.min_rx_bufsize,
        max_rx_pktlen: device.max_rx_pktlen,
        max_lro_pkt_size: device.max_lro_pkt_size,
        max_vfs: device.max_vfs,
        max_vmdq_pools: device.max_vmdq_pools,
        rx_queues: device.rx_queues,
        max_rx_queues: device.max_rx_queues,
        rxd: limits(device.rxd),
        tx_queues: device.tx_queues,
        max_tx_queues: device.max_tx_queues,
        txd: limits(device.txd),
        max_segs_per_packet: device.max_segs_per_packet,
        max_segs_per_mtu: device.max_segs_per_mtu,
        dev_capa: device.dev_capa,
        error_handling: match device.error_handling {
            ErrorHandling::None => "none",
            ErrorHandling::Passive => "passive",
            ErrorHandling::Proactive => "proactive",
            ErrorHandling::Unknown => "unknown",
        }
        .to_owned(),
        ..PortInfo::default()
    }
}
