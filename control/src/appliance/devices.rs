//! The devices of an appliance: EAL, frames, both ports.
//!
//! In: a configuration, the EAL's arguments. Out: started ports, their queues, a pool. Never: a
//! device left configured: ports close with the last of their holders.

use dataplane::frame::MacAddr;
use dpdk_wrapper::{Eal, Mempool, MempoolConfig, Port, PortConfig, Queues, TxOffloads};

use super::ports::Ports;
use crate::args::Args;
use crate::config::Config;
use crate::io::{PortPair, QueuePair};

/// Bytes of headers that a frame may have beyond its IP packet: Ethernet, two tags.
const LINK_LEN_MAX: u16 = 22;
/// Mbufs that each thread keeps for itself.
const CACHE: u32 = 256;
/// The checksums that a device completes.
const CHECKSUMS: TxOffloads =
    TxOffloads::from_bits(TxOffloads::TCP_CKSUM.bits() | TxOffloads::UDP_CKSUM.bits());

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
    /// Whether they complete checksums in frames that they send.
    pub device_checksums: [bool; 2],
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
        let (lan, lan_mac, lan_pair) = port(&eal, &pool, args, "lan", &config.lan.port)?;
        let (wan, wan_mac, wan_pair) = port(&eal, &pool, args, "wan", &config.wan.port)?;
        let device_checksums = [lan_pair.checksums, wan_pair.checksums];
        let pair = Some(PortPair::new(lan_pair, wan_pair));
        let numbers = [lan.id().0, wan.id().0];
        let ports = Ports::new([lan, wan]);
        let macs = [lan_mac, wan_mac];
        Ok(Devices { eal, pool, ports, numbers, macs, device_checksums, pair })
    }
}

fn port(
    eal: &Eal,
    pool: &Mempool,
    args: &Args,
    side: &'static str,
    config: &crate::config::Port,
) -> Result<(Port, MacAddr, QueuePair), DeviceError> {
    let device = || config.device.to_string();
    let port = Port::open(eal, config.device.name()).map_err(|source| DeviceError::Open {
        side,
        device: device(),
        source,
    })?;
    let settings = PortConfig {
        rx_queues: 1,
        tx_queues: 1,
        rxd: args.rxd,
        txd: args.txd,
        mtu: Some(config.mtu),
        tx_offloads: CHECKSUMS,
        promiscuous: true,
        ..PortConfig::default()
    };
    let Queues { mut rx, mut tx, granted } = port
        .configure(&settings, std::slice::from_ref(pool))
        .map_err(|source| DeviceError::Configure { side, device: device(), source })?;
    let mac =
        port.mac().map_err(|source| DeviceError::Control { side, device: device(), source })?;
    let (Some(rx), Some(tx)) = (rx.pop(), tx.pop()) else {
        return Err(DeviceError::NoQueue { side, device: device() });
    };
    let checksums = granted.tx_offloads.contains(CHECKSUMS);
    Ok((port, MacAddr(mac.0), QueuePair { rx, tx, checksums }))
}
