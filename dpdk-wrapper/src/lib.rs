//! The only crate with DPDK in it: bindings and a safe API over them.
//!
//! In: EAL arguments, device names, port settings. Out: [`Eal`], [`Mempool`], [`Mbuf`],
//! [`Burst`], [`Port`] with its [`RxQueue`]s and [`TxQueue`]s; what others are measured against
//! ([`baseline`]). Never: a packet parsed, a thread started, a policy for what a full queue did not
//! take.
//!
//! Who owns what:
//!
//! - The EAL starts once in a process ([`Eal::init`]) and is cleaned up when the last of its
//!   handles is gone; pools, ports and registered threads each hold one.
//! - An [`Mbuf`] is owned by exactly one place: a variable, a [`Burst`], or a device. Dropping it
//!   returns it to its pool. What `tx_burst` took is gone, what it did not take is still yours.
//! - A queue is handed out once, by [`Port::configure`], and keeps its port open. Polling it while
//!   the port is stopped is harmless and yields nothing.
//! - Polling and moving mbufs allocates no memory and takes no lock. Control calls (everything
//!   on [`Port`]) may do both.
//!
//! ```no_run
//! use dpdk_wrapper::{Burst, Eal, Mempool, MempoolConfig, Port, PortConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let eal = Eal::init(["--no-huge", "-m", "256", "--no-pci", "--vdev", "net_null0"])?;
//! let pool = Mempool::new(&eal, &MempoolConfig::new("rx", 8191))?;
//! let port = Port::open(&eal, "net_null0")?;
//! let mut queues = port.configure(&PortConfig::default(), std::slice::from_ref(&pool))?;
//! port.start()?;
//! let (rx, tx) = (&mut queues.rx[0], &mut queues.tx[0]);
//! let mut burst: Burst = Burst::new();
//! rx.rx_burst(&mut burst);
//! tx.tx_burst(&mut burst);
//! # Ok(())
//! # }
//! ```

pub mod baseline;
mod burst;
pub mod eal;
mod errno;
mod ffi;
pub mod log;
pub mod mbuf;
pub mod memory;
mod mempool;
mod offload;
pub mod port;
mod runtime_folder;
mod sockets;
mod thread;

pub use burst::{Burst, Drain};
pub use eal::{Eal, EalError};
pub use errno::Errno;
pub use mbuf::Mbuf;
pub use mempool::{Mempool, MempoolConfig, MempoolError};
pub use offload::{RxOffloads, TxOffloads};
pub use port::{Port, PortConfig, PortId, Queues, RxQueue, TxQueue, ports};
pub use runtime_folder::RuntimeFolder;
pub use sockets::packet_sockets;
pub use thread::{RegisterError, ThreadRegistration, current_lcore, set_nice};
