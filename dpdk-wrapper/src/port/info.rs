//! What a port is and how it stands.

use std::fmt;

use super::stats::text;
use super::{ControlError, Port, PortId};
use crate::eal::Eal;
use crate::errno::Errno;
use crate::ffi;
use crate::offload::{RxOffloads, TxOffloads};

/// An Ethernet address, as it is on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}

/// Limits on the number of descriptors of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorLimits {
    /// At least.
    pub min: u16,
    /// At most.
    pub max: u16,
    /// A multiple of this.
    pub align: u16,
}

/// How a device recovers from errors (`enum rte_eth_err_handle_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorHandling {
    /// It does not.
    None,
    /// It asks to be reset.
    Passive,
    /// It resets itself.
    Proactive,
    /// A way of a later DPDK.
    Unknown,
}

impl ErrorHandling {
    fn of(mode: u8) -> Self {
        match mode {
            0 => ErrorHandling::None,
            1 => ErrorHandling::Passive,
            2 => ErrorHandling::Proactive,
            _ => ErrorHandling::Unknown,
        }
    }
}

/// What a device is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The port's number.
    pub port: PortId,
    /// PCI address or vdev name.
    pub device_name: String,
    /// The driver, e.g. `net_af_xdp`.
    pub driver_name: String,
    /// The bus, e.g. `pci` or `vdev`.
    pub bus_name: String,
    /// The arguments that the device was made with.
    pub devargs: String,
    /// Firmware version; empty when the driver has none to tell.
    pub firmware: String,
    /// Its own address.
    pub mac: MacAddr,
    /// NUMA node; `None` when it has none.
    pub socket: Option<u32>,
    /// The kernel's index of the interface behind it; `None` when there is none.
    pub if_index: Option<u32>,
    /// Smallest MTU, bytes.
    pub min_mtu: u16,
    /// Largest MTU, bytes; 65535 when the driver sets no limit.
    pub max_mtu: u16,
    /// Smallest receive buffer, bytes.
    pub min_rx_bufsize: u32,
    /// Longest frame that can be received, bytes.
    pub max_rx_pktlen: u32,
    /// Longest packet that it can put together from several, bytes.
    pub max_lro_pkt_size: u32,
    /// Receive queues that there are.
    pub max_rx_queues: u16,
    /// Transmit queues that there are.
    pub max_tx_queues: u16,
    /// Receive queues configured.
    pub rx_queues: u16,
    /// Transmit queues configured.
    pub tx_queues: u16,
    /// Receive descriptors.
    pub rxd: DescriptorLimits,
    /// Transmit descriptors.
    pub txd: DescriptorLimits,
    /// Segments of one packet to send, segmentation included; 0 or 65535 when there is no limit.
    pub max_segs_per_packet: u16,
    /// Segments of one packet of MTU size to send.
    pub max_segs_per_mtu: u16,
    /// MAC addresses that can be set.
    pub max_mac_addrs: u32,
    /// Hash MAC addresses that can be set.
    pub max_hash_mac_addrs: u32,
    /// Virtual functions.
    pub max_vfs: u16,
    /// VMDq pools.
    pub max_vmdq_pools: u16,
    /// Entries of the RSS redirection table.
    pub reta_size: u16,
    /// Bytes of the RSS key.
    pub hash_key_size: u8,
    /// How it recovers from errors.
    pub error_handling: ErrorHandling,
    /// Flow types that RSS can hash (`RTE_ETH_RSS_*` bits).
    pub rss_types: u64,
    /// Speeds (`RTE_ETH_LINK_SPEED_*` bits).
    pub speed_capa: u32,
    /// Device capabilities (`RTE_ETH_DEV_CAPA_*` bits).
    pub dev_capa: u64,
    /// Device flags (`RTE_ETH_DEV_*` bits).
    pub dev_flags: u32,
    /// Receive offloads that it can do.
    pub rx_offloads: RxOffloads,
    /// Transmit offloads that it can do.
    pub tx_offloads: TxOffloads,
}

/// The state of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Carrier.
    pub up: bool,
    /// Megabits per second; `None` when not known.
    pub speed_mbps: Option<u32>,
    /// Full duplex.
    pub full_duplex: bool,
    /// Negotiated rather than set.
    pub autoneg: bool,
}

pub(super) fn raw_info(port: PortId) -> Result<ffi::shim_port_info, Errno> {
    // SAFETY: plain integers and character arrays, for which zero is a value.
    let mut raw: ffi::shim_port_info = unsafe { std::mem::zeroed() };
    // SAFETY: writes the structure given; port numbers are checked by DPDK.
    Errno::check(unsafe { ffi::shim_port_info(port.0, &raw mut raw) })?;
    Ok(raw)
}

fn firmware(port: PortId) -> String {
    let mut buffer = [0; 128];
    // SAFETY: a buffer of that many characters.
    let result =
        unsafe { ffi::rte_eth_dev_fw_version_get(port.0, buffer.as_mut_ptr(), buffer.len()) };
    if result == 0 { text(&buffer) } else { String::new() }
}

fn limits(raw: ffi::shim_desc_limits) -> DescriptorLimits {
    DescriptorLimits { min: raw.min, max: raw.max, align: raw.align }
}

impl PortId {
    /// What the device is and can do; needs no open [`Port`].
    ///
    /// # Errors
    ///
    /// DPDK's reason, e.g. that there is no such port.
    pub fn device_info(self, _eal: &Eal) -> Result<DeviceInfo, Errno> {
        device_info(self)
    }
}

/// Call with the EAL up.
pub(super) fn device_info(port: PortId) -> Result<DeviceInfo, Errno> {
    let raw = raw_info(port)?;
    Ok(DeviceInfo {
        port,
        device_name: text(&raw.device_name),
        driver_name: text(&raw.driver_name),
        bus_name: text(&raw.bus_name),
        devargs: text(&raw.devargs),
        firmware: firmware(port),
        mac: MacAddr(raw.mac),
        socket: u32::try_from(raw.socket_id).ok(),
        if_index: (raw.if_index != 0).then_some(raw.if_index),
        min_mtu: raw.min_mtu,
        max_mtu: raw.max_mtu,
        min_rx_bufsize: raw.min_rx_bufsize,
        max_rx_pktlen: raw.max_rx_pktlen,
        max_lro_pkt_size: raw.max_lro_pkt_size,
        max_rx_queues: raw.max_rx_queues,
        max_tx_queues: raw.max_tx_queues,
        rx_queues: raw.rx_queues,
        tx_queues: raw.tx_queues,
        rxd: limits(raw.rxd),
        txd: limits(raw.txd),
        max_segs_per_packet: raw.max_segs_per_packet,
        max_segs_per_mtu: raw.max_segs_per_mtu,
        max_mac_addrs: raw.max_mac_addrs,
        max_hash_mac_addrs: raw.max_hash_mac_addrs,
        max_vfs: raw.max_vfs,
        max_vmdq_pools: raw.max_vmdq_pools,
        reta_size: raw.reta_size,
        hash_key_size: raw.hash_key_size,
        error_handling: ErrorHandling::of(raw.error_handling),
        rss_types: raw.rss_types,
        speed_capa: raw.speed_capa,
        dev_capa: raw.dev_capa,
        dev_flags: raw.dev_flags,
        rx_offloads: RxOffloads::from_bits(raw.rx_offloads),
        tx_offloads: TxOffloads::from_bits(raw.tx_offloads),
    })
}

impl Port {
    /// What the device is and can do.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver cannot tell.
    pub fn device_info(&self) -> Result<DeviceInfo, ControlError> {
        let _lock = self.shared.lock();
        device_info(self.id()).map_err(|errno| self.error("reading device information", errno))
    }

    /// The port's own Ethernet address.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver cannot tell.
    pub fn mac(&self) -> Result<MacAddr, ControlError> {
        let _lock = self.shared.lock();
        let raw = raw_info(self.id()).map_err(|e| self.error("reading the MAC address", e))?;
        Ok(MacAddr(raw.mac))
    }

    /// The state of the link, without waiting for it.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver cannot tell.
    pub fn link(&self) -> Result<LinkState, ControlError> {
        let _lock = self.shared.lock();
        let mut raw = ffi::shim_link::default();
        // SAFETY: writes the structure given.
        let result = unsafe { ffi::shim_port_link(self.id().0, &raw mut raw) };
        self.check("reading the link state", result)?;
        Ok(LinkState {
            up: raw.up != 0,
            speed_mbps: (raw.speed_mbps != u32::MAX).then_some(raw.speed_mbps),
            full_duplex: raw.full_duplex != 0,
            autoneg: raw.autoneg != 0,
        })
    }

    /// Takes the link up or down.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver cannot.
    pub fn set_link(&self, up: bool) -> Result<(), ControlError> {
        let _lock = self.shared.lock();
        // SAFETY: a control call on an open port.
        let result = unsafe { ffi::shim_port_set_link(self.id().0, i32::from(up)) };
        self.check("setting the link", result)
    }

    /// True when frames to any address are received.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver cannot tell.
    pub fn promiscuous(&self) -> Result<bool, ControlError> {
        let _lock = self.shared.lock();
        // SAFETY: a control call on an open port.
        let result = unsafe { ffi::rte_eth_promiscuous_get(self.id().0) };
        self.check("reading promiscuous mode", result).map(|()| result == 1)
    }

    /// Receives frames to any address, or no longer; also after the next start.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver cannot.
    pub fn set_promiscuous(&self, on: bool) -> Result<(), ControlError> {
        let mut state = self.shared.lock();
        self.check("setting promiscuous mode", set_promiscuous(self.id(), on))?;
        state.promiscuous = on;
        Ok(())
    }

    /// True when frames to any multicast address are received.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver cannot tell.
    pub fn all_multicast(&self) -> Result<bool, ControlError> {
        let _lock = self.shared.lock();
        // SAFETY: a control call on an open port.
        let result = unsafe { ffi::rte_eth_allmulticast_get(self.id().0) };
        self.check("reading all-multicast mode", result).map(|()| result == 1)
    }

    /// Receives frames to any multicast address, or no longer.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver cannot.
    pub fn set_all_multicast(&self, on: bool) -> Result<(), ControlError> {
        let _lock = self.shared.lock();
        let id = self.id().0;
        // SAFETY: control calls on an open port.
        let result = unsafe {
            if on {
                ffi::rte_eth_allmulticast_enable(id)
            } else {
                ffi::rte_eth_allmulticast_disable(id)
            }
        };
        self.check("setting all-multicast mode", result)
    }

    /// Largest IP packet, in bytes.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver cannot tell.
    pub fn mtu(&self) -> Result<u16, ControlError> {
        let _lock = self.shared.lock();
        let mut mtu = 0;
        // SAFETY: writes the integer given.
        let result = unsafe { ffi::rte_eth_dev_get_mtu(self.id().0, &raw mut mtu) };
        self.check("reading the MTU", result).map(|()| mtu)
    }

    /// Sets the largest IP packet, in bytes. Configure the port first; some devices must be
    /// stopped for it.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the device cannot.
    pub fn set_mtu(&self, mtu: u16) -> Result<(), ControlError> {
        let _lock = self.shared.lock();
        // SAFETY: a control call on an open port.
        let result = unsafe { ffi::rte_eth_dev_set_mtu(self.id().0, mtu) };
        self.check("setting the MTU", result)
    }

    /// The VLAN offloads that are on (`RTE_ETH_VLAN_*_OFFLOAD` bits).
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver cannot tell.
    pub fn vlan_offload(&self) -> Result<u32, ControlError> {
        let _lock = self.shared.lock();
        // SAFETY: a control call on an open port.
        let result = unsafe { ffi::rte_eth_dev_get_vlan_offload(self.id().0) };
        self.check("reading VLAN offloads", result).map(|()| result.unsigned_abs())
    }
}

/// Sets the mode; returns 0 or a negative errno.
pub(super) fn set_promiscuous(port: PortId, on: bool) -> i32 {
    // SAFETY: control calls; port numbers are checked by DPDK.
    unsafe {
        if on {
            ffi::rte_eth_promiscuous_enable(port.0)
        } else {
            ffi::rte_eth_promiscuous_disable(port.0)
        }
    }
}
