//! What a port is set up with.

use crate::errno::Errno;
use crate::offload::{RxOffloads, TxOffloads};
use crate::port::{PortId, RxQueue, TxQueue};

/// Settings of a port. The default: one queue each way, everything else the driver's choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Descriptors of each receive queue, adjusted to the device's limits; 0 for its choice.
    pub rxd: u16,
    /// Descriptors of each transmit queue, likewise.
    pub txd: u16,
    /// Largest IP packet, in bytes; `None` for the driver's choice (1500 as a rule).
    pub mtu: Option<u16>,
    /// Receive offloads wanted. Those that the device lacks are left out; [`Granted`] tells.
    pub rx_offloads: RxOffloads,
    /// Transmit offloads wanted, likewise. `MBUF_FAST_FREE` and `MT_LOCKFREE` are never enabled:
    /// a burst may hold mbufs of several pools, and a queue has one user.
    pub tx_offloads: TxOffloads,
    /// Receive everything, not only frames to the port's own MAC address. A device that has no
    /// filter to turn off is content; [`Port::promiscuous`](crate::Port::promiscuous) tells.
    pub promiscuous: bool,
    /// Spread flows over the receive queues so that both directions of a flow meet in one, where
    /// the device can hash.
    pub symmetric_rss: bool,
}

impl Default for PortConfig {
    fn default() -> Self {
        PortConfig {
            rx_queues: 1,
            tx_queues: 1,
            rxd: 0,
            txd: 0,
            mtu: None,
            rx_offloads: RxOffloads::NONE,
            tx_offloads: TxOffloads::NONE,
            promiscuous: false,
            symmetric_rss: false,
        }
    }
}

/// What the device was set up with in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Descriptors of each receive queue; 0 for the driver's choice.
    pub rxd: u16,
    /// Descriptors of each transmit queue, likewise.
    pub txd: u16,
    /// Receive offloads enabled.
    pub rx_offloads: RxOffloads,
    /// Transmit offloads enabled.
    pub tx_offloads: TxOffloads,
}

/// The queues of a configured port, each of them once; index = queue number.
#[derive(Debug)]
pub struct Queues {
    /// Receive queues.
    pub rx: Vec<RxQueue>,
    /// Transmit queues.
    pub tx: Vec<TxQueue>,
    /// What the device was set up with.
    pub granted: Granted,
}

/// Why a port could not be configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// It is started.
    #[error("port {0} is started: stop it before configuring it")]
    Started(PortId),
    /// Queues of an earlier configuration still exist.
    #[error("{count} queues of port {port} are still in use: drop them before configuring it")]
    QueuesInUse {
        /// The port.
        port: PortId,
        /// How many.
        count: usize,
    },
    /// Receive queues without memory.
    #[error("port {0}: receive queues need at least one mempool")]
    NoPool(PortId),
    /// More queues than the device has.
    #[error("port {port} has {max} {direction} queues, {wanted} are wanted: ask for fewer")]
    TooManyQueues {
        /// The port.
        port: PortId,
        /// "receive" or "transmit".
        direction: &'static str,
        /// Asked for.
        wanted: u16,
        /// There are.
        max: u16,
    },
    /// No queue at all.
    #[error("port {0}: a port needs at least one receive or transmit queue")]
    NoQueues(PortId),
    /// The MTU is beyond the device.
    #[error("port {port}: an MTU of {wanted} is outside what the device can do, {min} to {max}")]
    Mtu {
        /// The port.
        port: PortId,
        /// Asked for.
        wanted: u16,
        /// Device minimum.
        min: u16,
        /// Device maximum.
        max: u16,
    },
    /// The driver refused.
    #[error("port {port}: {step} failed: {errno}{}", said(.messages))]
    Failed {
        /// The port.
        port: PortId,
        /// What was being done.
        step: &'static str,
        /// The driver's reason.
        errno: Errno,
        /// What DPDK logged with it.
        messages: Vec<String>,
    },
}

/// The log's words as the end of a sentence.
pub(super) fn said(messages: &[String]) -> String {
    if messages.is_empty() { String::new() } else { format!(" ({})", messages.join("; ")) }
}
