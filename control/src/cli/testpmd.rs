//! Ports and forwarding statistics in the format of dpdk-testpmd, byte for byte.
//!
//! Scripts that read testpmd's output read ours; a test compares the two.

use std::fmt::{self, Formatter};

use super::view::{DescriptorLimits, PortForwarding, PortInfo, PortStats, PortXstats};

/// Names of RSS flow types by their bits (rte_ethdev.h, `RTE_ETH_RSS_*`).
const RSS_TYPES: &[(u32, &str)] = &[
    (2, "ipv4"),
    (3, "ipv4-frag"),
    (4, "ipv4-tcp"),
    (5, "ipv4-udp"),
    (6, "ipv4-sctp"),
    (7, "ipv4-other"),
    (8, "ipv6"),
    (9, "ipv6-frag"),
    (10, "ipv6-tcp"),
    (11, "ipv6-udp"),
    (12, "ipv6-sctp"),
    (13, "ipv6-other"),
    (14, "l2-payload"),
    (15, "ipv6-ex"),
    (16, "ipv6-tcp-ex"),
    (17, "ipv6-udp-ex"),
    (18, "port"),
    (19, "vxlan"),
    (20, "geneve"),
    (21, "nvgre"),
    (23, "gtpu"),
    (24, "eth"),
    (25, "s-vlan"),
    (26, "c-vlan"),
    (27, "esp"),
    (28, "ah"),
    (29, "l2tpv3"),
    (30, "pfcp"),
    (31, "pppoe"),
    (32, "ecpri"),
    (33, "mpls"),
    (34, "ipv4-chksum"),
    (35, "l4-chksum"),
    (36, "l2tpv2"),
    (52, "l3-pre96"),
    (53, "l3-pre64"),
    (54, "l3-pre56"),
    (55, "l3-pre48"),
    (56, "l3-pre40"),
    (57, "l3-pre32"),
    (58, "l2-dst-only"),
    (59, "l2-src-only"),
    (60, "l4-dst-only"),
    (61, "l4-src-only"),
    (62, "l3-dst-only"),
    (63, "l3-src-only"),
];
/// Longest line of RSS flow types.
const RSS_LINE_MAX: usize = 64;
/// DPDK's bits of VLAN offloads (rte_ethdev.h, `RTE_ETH_VLAN_*_OFFLOAD`), in the order shown.
const VLAN_OFFLOADS: [(u32, &str); 4] =
    [(1 << 0, "strip"), (1 << 1, "filter"), (1 << 2, "extend"), (1 << 3, "qinq strip")];

/// `show port info`.
pub(crate) fn info(f: &mut Formatter<'_>, port: &PortInfo) -> fmt::Result {
    const BORDER: &str = "*********************";
    writeln!(f, "\n{BORDER} Infos for port {:<2} {BORDER}", port.port)?;
    writeln!(f, "MAC address: {}", mac(port.mac))?;
    writeln!(f, "Device name: {}", port.device_name)?;
    writeln!(f, "Driver name: {}", port.driver_name)?;
    let firmware = if port.firmware.is_empty() { "not available" } else { &port.firmware };
    writeln!(f, "Firmware-version: {firmware}")?;
    if let Some(devargs) = &port.devargs {
        writeln!(f, "Devargs: {devargs}")?;
    }
    writeln!(f, "Connect to socket: {}", port.socket)?;
    writeln!(f, "memory allocation on the socket: {}", port.memory_socket)?;
    writeln!(f, "Link status: {}", up(port.link_up))?;
    writeln!(f, "Link speed: {}", speed(port.link_speed_mbps))?;
    writeln!(f, "Link duplex: {}-duplex", if port.full_duplex { "full" } else { "half" })?;
    writeln!(f, "Autoneg status: {}", if port.autoneg { "On" } else { "Off" })?;
    writeln!(f, "MTU: {}", port.mtu)?;
    writeln!(f, "Promiscuous mode: {}", enabled(port.promiscuous))?;
    writeln!(f, "Allmulticast mode: {}", enabled(port.all_multicast))?;
    writeln!(f, "Maximum number of MAC addresses: {}", port.max_mac_addrs)?;
    writeln!(f, "Maximum number of MAC addresses of hash filtering: {}", port.max_hash_mac_addrs)?;
    if let Some(bits) = port.vlan_offload {
        let words = VLAN_OFFLOADS
            .map(|(bit, name)| format!("{name} {}", if bits & bit == 0 { "off" } else { "on" }));
        writeln!(f, "VLAN offload: \n  {}", words.join(", "))?;
    }
    if port.hash_key_size > 0 {
        writeln!(f, "Hash key size in bytes: {}", port.hash_key_size)?;
    }
    if port.reta_size > 0 {
        writeln!(f, "Redirection table size: {}", port.reta_size)?;
    }
    rss_types(f, port.rss_types)?;
    limits(f, port)
}

fn rss_types(f: &mut Formatter<'_>, types: u64) -> fmt::Result {
    if types == 0 {
        return writeln!(f, "No RSS offload flow type is supported.");
    }
    writeln!(f, "Supported RSS offload flow types:")?;
    let mut column = 0;
    for bit in (0..u64::BITS).filter(|bit| types >> bit & 1 == 1) {
        let name = RSS_TYPES.iter().find(|(known, _)| *known == bit);
        let name = name.map_or_else(|| format!("user-defined-{bit}"), |(_, name)| (*name).into());
        let width = name.len() + 2;
        column += width;
        if column > RSS_LINE_MAX {
            writeln!(f)?;
            column = width;
        }
        write!(f, "  {name}")?;
    }
    writeln!(f)
}

fn limits(f: &mut Formatter<'_>, port: &PortInfo) -> fmt::Result {
    writeln!(f, "Minimum size of RX buffer: {}", port.min_rx_bufsize)?;
    writeln!(f, "Maximum configurable length of RX packet: {}", port.max_rx_pktlen)?;
    writeln!(f, "Maximum configurable size of LRO aggregated packet: {}", port.max_lro_pkt_size)?;
    if port.max_vfs > 0 {
        writeln!(f, "Maximum number of VFs: {}", port.max_vfs)?;
    }
    if port.max_vmdq_pools > 0 {
        writeln!(f, "Maximum number of VMDq pools: {}", port.max_vmdq_pools)?;
    }
    queues(f, "RX", port.rx_queues, port.max_rx_queues, port.rxd)?;
    queues(f, "TX", port.tx_queues, port.max_tx_queues, port.txd)?;
    writeln!(f, "Max segment number per packet: {}", port.max_segs_per_packet)?;
    writeln!(f, "Max segment number per MTU/TSO: {}", port.max_segs_per_mtu)?;
    write!(f, "Device capabilities: 0x{:x}(", port.dev_capa)?;
    for name in &port.dev_capa_names {
        write!(f, " {name}")?;
    }
    writeln!(f, " )")?;
    writeln!(f, "Device error handling mode: {}", port.error_handling)
}

fn queues(
    f: &mut Formatter<'_>,
    side: &str,
    current: u16,
    most: u16,
    descriptors: DescriptorLimits,
) -> fmt::Result {
    writeln!(f, "Current number of {side} queues: {current}")?;
    writeln!(f, "Max possible {side} queues: {most}")?;
    writeln!(f, "Max possible number of {side}Ds per queue: {}", descriptors.max)?;
    writeln!(f, "Min possible number of {side}Ds per queue: {}", descriptors.min)?;
    writeln!(f, "{side}Ds number alignment: {}", descriptors.align)
}

/// `show port stats`.
pub(crate) fn stats(f: &mut Formatter<'_>, stats: &PortStats) -> fmt::Result {
    const BORDER: &str = "########################";
    let counters = &stats.counters;
    writeln!(f, "\n  {BORDER} NIC statistics for port {:<2} {BORDER}", stats.port)?;
    writeln!(
        f,
        "  RX-packets: {:<10} RX-missed: {:<10} RX-bytes:  {}",
        counters.rx_packets, counters.rx_missed, counters.rx_bytes
    )?;
    writeln!(f, "  RX-errors: {}", counters.rx_errors)?;
    writeln!(f, "  RX-nombuf:  {:<10}", counters.rx_nombuf)?;
    writeln!(
        f,
        "  TX-packets: {:<10} TX-errors: {:<10} TX-bytes:  {}",
        counters.tx_packets, counters.tx_errors, counters.tx_bytes
    )?;
    writeln!(f, "\n  Throughput (since last show)")?;
    writeln!(f, "  Rx-pps: {:>12}          Rx-bps: {:>12}", stats.rx_pps, stats.rx_bps)?;
    writeln!(f, "  Tx-pps: {:>12}          Tx-bps: {:>12}", stats.tx_pps, stats.tx_bps)?;
    writeln!(f, "  {BORDER}############################{BORDER}")
}

/// `show port xstats`.
pub(crate) fn xstats(f: &mut Formatter<'_>, port: &PortXstats) -> fmt::Result {
    writeln!(f, "###### NIC extended statistics for port {:<2}", port.port)?;
    for xstat in &port.xstats {
        writeln!(f, "{}: {}", xstat.name, xstat.value)?;
    }
    Ok(())
}

/// `show port summary`: `count` ports in all, and the ones asked for.
pub(crate) fn summary(f: &mut Formatter<'_>, count: usize, ports: &[PortInfo]) -> fmt::Result {
    writeln!(f, "Number of available ports: {count}")?;
    let [mac_address, name, driver, status] = ["MAC Address", "Name", "Driver", "Status"];
    writeln!(f, "Port {mac_address:<17} {name:<12} {driver:<14} {status:<8} Link")?;
    for port in ports {
        writeln!(
            f,
            "{:<4} {} {:<12} {:<14} {:<8} {}",
            port.port,
            mac(port.mac),
            port.device_name,
            port.driver_name,
            up(port.link_up),
            speed(port.link_speed_mbps)
        )?;
    }
    Ok(())
}

/// `show fwd stats all`, and what `stop` shows.
pub(crate) fn forwarding(f: &mut Formatter<'_>, ports: &[PortForwarding]) -> fmt::Result {
    const PORT: &str = "----------------------";
    const ALL: &str = "+++++++++++++++";
    let mut sum = PortForwarding::default();
    for port in ports {
        writeln!(f, "\n  {PORT} Forward statistics for port {:<2} {PORT}", port.port)?;
        received(f, port)?;
        if port.rx_errors.saturating_add(port.rx_nombuf) > 0 {
            writeln!(f, "  RX-error: {}", port.rx_errors)?;
            writeln!(f, "  RX-nombufs: {:<14}", port.rx_nombuf)?;
        }
        transmitted(f, port)?;
        writeln!(f, "  {PORT}--------------------------------{PORT}")?;
        sum.rx_packets = sum.rx_packets.saturating_add(port.rx_packets);
        sum.rx_dropped = sum.rx_dropped.saturating_add(port.rx_dropped);
        sum.rx_nombuf = sum.rx_nombuf.saturating_add(port.rx_nombuf);
        sum.tx_packets = sum.tx_packets.saturating_add(port.tx_packets);
        sum.tx_dropped = sum.tx_dropped.saturating_add(port.tx_dropped);
    }
    writeln!(f, "\n  {ALL} Accumulated forward statistics for all ports{ALL}")?;
    received(f, &sum)?;
    transmitted(f, &sum)?;
    if sum.rx_nombuf > 0 {
        writeln!(f, "  RX-nombufs: {:<14}", sum.rx_nombuf)?;
    }
    writeln!(f, "  {ALL}++++++++++++++++++++++++++++++++++++++++++++++{ALL}")
}

fn received(f: &mut Formatter<'_>, port: &PortForwarding) -> fmt::Result {
    let total = port.rx_packets.saturating_add(port.rx_dropped);
    writeln!(
        f,
        "  RX-packets: {:<14} RX-dropped: {:<14}RX-total: {total}",
        port.rx_packets, port.rx_dropped
    )
}

fn transmitted(f: &mut Formatter<'_>, port: &PortForwarding) -> fmt::Result {
    let total = port.tx_packets.saturating_add(port.tx_dropped);
    writeln!(
        f,
        "  TX-packets: {:<14} TX-dropped: {:<14}TX-total: {total}",
        port.tx_packets, port.tx_dropped
    )
}

/// The MAC address as DPDK writes it.
pub(crate) fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02X}")).join(":")
}

fn up(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

fn enabled(enabled: bool) -> &'static str {
    if enabled { "enabled" } else { "disabled" }
}

/// As `rte_eth_link_speed_to_str` writes it.
fn speed(mbps: Option<u32>) -> String {
    match mbps {
        None => "Unknown".to_owned(),
        Some(0) => "None".to_owned(),
        Some(2_500) => "2.5 Gbps".to_owned(),
        Some(mbps) if mbps < 1_000 => format!("{mbps} Mbps"),
        Some(mbps) => format!("{} Gbps", mbps / 1_000),
    }
}
