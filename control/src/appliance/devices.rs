//! The devices of an appliance: EAL, frames, both ports.
//!
//! In: a configuration, the EAL's arguments. Out: started ports, their queues, a pool. Never: a
//! device left configured: ports close with the last of their holders.

use dataplane::frame::MacAddr;
use dpdk_wrapper::port::Granted;
use dpdk_wrapper::{Eal, Mempool, MempoolConfig, Port, PortConfig, Queues, RxOffloads, TxOffloads};

use super::ports::Ports;
use crate::args::Args;
use crate::config::{Config, Offload};
use crate::io::{Offloads, PortPair, QueuePair};

/// Bytes of headers that a frame may have beyond its IP packet: Ethernet, two tags.
const LINK_LEN_MAX: u16 = 22;
/// Payload bytes in an mbuf of a chain.
const MBUF_BYTES: u32 = 2048;
/// Mbufs that each thread keeps for itself.
const CACHE: u32 = 256;
/// The checksums that a device verifies behind the IP header.
const VERIFIED: RxOffloads =
    RxOffloads::from_bits(RxOffloads::TCP_CKSUM.bits() | RxOffloads::UDP_CKSUM.bits());
/// The checksums that a device completes.
const COMPLETED: TxOffloads =
    TxOffloads::from_bits(TxOffloads::TCP_CKSUM.bits() | TxOffloads::UDP_CKSUM.bits());
/// What a device needs to cut large segments that lie in several mbufs.
const CUTS: TxOffloads = TxOffloads::from_bits(
    COMPLETED.bits() | TxOffloads::TCP_TSO.bits() | TxOffloads::MULTI_SEGS.bits(),
);
/// Payload bytes of a large segment, at most: with IP and TCP headers at their longest it is one
/// IP packet.
const CUT_BYTES_MAX: u32 = 65_535 - 60 - 60;
/// Mbufs with payload of a large segment in a chain, fewest: for less it is not worth it.
const CUT_MBUFS_MIN: u32 = 4;

/// Why the devices could not be had. Each sentence says what and, where it can, what to do.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The EAL.
    #[error(transparent)]
    Eal(#[from] dpdk_wrapper::EalError),
    /// The pool of frames.
    #[error(transparent)]
    Mempool(#[from] dpdk_wrapper::MempoolError),
    /// A port is not there, or taken.
    #[error("{side} device {device}: {source}")]
    Open {
        /// `lan` or `wan`.
        side: &'static str,
        /// As configured.
        device: String,
        /// What DPDK said.
        source: dpdk_wrapper::port::OpenError,
    },
    /// A port could not be configured.
    #[error("{side} device {device}: {source}")]
    Configure {
        /// `lan` or `wan`.
        side: &'static str,
        /// As configured.
        device: String,
        /// What DPDK said.
        source: dpdk_wrapper::port::ConfigureError,
    },
    /// A port could not be asked or told something.
    #[error("{side} device {device}: {source}")]
    Control {
        /// `lan` or `wan`.
        side: &'static str,
        /// As configured.
        device: String,
        /// What DPDK said.
        source: dpdk_wrapper::port::ControlError,
    },
    /// A port had no queue for us.
    #[error("{side} device {device}: it has no queue pair")]
    NoQueue {
        /// `lan` or `wan`.
        side: &'static str,
        /// As configured.
        device: String,
    },
}

/// The devices of an appliance in inline mode.
#[derive(Debug)]
pub struct Devices {
    /// DPDK.
    pub eal: Eal,
    /// Frames of all ports and stages.
    pub pool: Mempool,
    /// LAN and WAN port.
    pub ports: Ports,
    /// Their numbers, LAN first.
    pub numbers: [u16; 2],
    /// Their stations.
    pub macs: [MacAddr; 2],
    /// What they do with checksums and large segments.
    pub offloads: [Offloads; 2],
    /// Their queues, while no worker has them.
    pub pair: Option<PortPair>,
}

impl Devices {
    /// Opens and configures what the configuration names; the ports are not started.
    ///
    /// # Errors
    /// The first device that could not be had.
    pub fn open(eal_args: &[String], args: &Args, config: &Config) -> Result<Self, DeviceError> {
        let eal = Eal::init(eal_args)?;
        let mtu = config.lan.port.mtu.max(config.wan.port.mtu);
        let pool = Mempool::new(
            &eal,
            &MempoolConfig {
                cache: CACHE,
                data_room: MempoolConfig::DATA_ROOM_DEFAULT
                    .max(mtu + LINK_LEN_MAX + MempoolConfig::HEADROOM),
                ..MempoolConfig::new("frames", config.limits.frames)
            },
        )?;
        // Only segments to hosts may be large. To ask for more costs some drivers their fast ways.
        let lan_tx = CUTS | TxOffloads::IPV4_CKSUM;
        let (lan, lan_mac, lan_pair) = port(&eal, &pool, args, "lan", &config.lan.port, lan_tx)?;
        let (wan, wan_mac, wan_pair) = port(&eal, &pool, args, "wan", &config.wan.port, COMPLETED)?;
        let offloads = [lan_pair.offloads, wan_pair.offloads];
        let pair = Some(PortPair::new(lan_pair, wan_pair));
        let numbers = [lan.id().0, wan.id().0];
        let ports = Ports::new([lan, wan]);
        let macs = [lan_mac, wan_mac];
        Ok(Devices { eal, pool, ports, numbers, macs, offloads, pair })
    }
}

fn port(
    eal: &Eal,
    pool: &Mempool,
    args: &Args,
    side: &'static str,
    config: &crate::config::Port,
    tx_offloads: TxOffloads,
) -> Result<(Port, MacAddr, QueuePair), DeviceError> {
    let device = || config.device.to_string();
    let port = Port::open(eal, config.device.name()).map_err(|source| DeviceError::Open {
        side,
        device: device(),
        source,
    })?;
    let (rx_offloads, tx_offloads) = match config.offload {
        Offload::Auto => (VERIFIED | RxOffloads::IPV4_CKSUM, tx_offloads),
        Offload::None => (RxOffloads::NONE, TxOffloads::NONE),
    };
    let settings = PortConfig {
        rx_queues: 1,
        tx_queues: 1,
        rxd: args.rxd,
        txd: args.txd,
        mtu: Some(config.mtu),
        rx_offloads,
        tx_offloads,
        promiscuous: true,
        ..PortConfig::default()
    };
    let Queues { mut rx, mut tx, granted } = port
        .configure(&settings, std::slice::from_ref(pool))
        .map_err(|source| DeviceError::Configure { side, device: device(), source })?;
    let control = |source| DeviceError::Control { side, device: device(), source };
    let info = port.device_info().map_err(control)?;
    let mac =
        port.mac().map_err(|source| DeviceError::Control { side, device: device(), source })?;
    let (Some(rx), Some(tx)) = (rx.pop(), tx.pop()) else {
        return Err(DeviceError::NoQueue { side, device: device() });
    };
    let offloads = offloads(&granted, info.max_segs_per_packet);
    Ok((port, MacAddr(mac.0), QueuePair { rx, tx, offloads }))
}

/// What a port does, by what it was granted; it sends chains of at most `mbufs_max`, 0: of any
/// length.
fn offloads(granted: &Granted, mbufs_max: u16) -> Offloads {
    let (rx, tx) = (granted.rx_offloads, granted.tx_offloads);
    // The first of a chain has the headers.
    let payload_mbufs = if mbufs_max == 0 { u32::MAX } else { u32::from(mbufs_max) - 1 };
    let in_mbufs = payload_mbufs.saturating_mul(MBUF_BYTES);
    let cuts = tx.contains(CUTS) && payload_mbufs >= CUT_MBUFS_MIN;
    Offloads {
        verifies_ip: rx.contains(RxOffloads::IPV4_CKSUM),
        verifies_l4: rx.contains(VERIFIED),
        completes: tx.contains(COMPLETED),
        cut_bytes_max: if cuts { CUT_BYTES_MAX.min(in_mbufs) } else { 0 },
        completes_ip: tx.contains(TxOffloads::IPV4_CKSUM),
    }
}
