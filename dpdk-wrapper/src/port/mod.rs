//! Ports: finding, configuring, starting, stopping, closing.
//!
//! In: a port number or a device name. Out: a [`Port`] for control, and its queues for packets.
//! Never: two owners of one port, or of one queue.
//!
//! ```text
//!   open -> configure -> start <-> stop -> (configure again) -> close
//! ```
//!
//! The device is closed when the [`Port`] and all its queues are gone. Stopping is possible at any
//! time, also while other threads poll: it waits for bursts under way, and later ones do nothing.

mod config;
mod hotplug;
mod info;
mod queue;
mod stats;

use std::ffi::CString;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use config::{ConfigureError, Granted, PortConfig, Queues};
pub use hotplug::{AttachError, DetachError, attach};
pub use info::{DescriptorLimits, DeviceInfo, ErrorHandling, LinkState, MacAddr};
pub use queue::{PrepareError, RxQueue, TxQueue};
pub use stats::{PortStats, Xstat};

use crate::eal::Eal;
use crate::errno::Errno;
use crate::mempool::Mempool;
use crate::offload::{RxOffloads, TxOffloads};
use crate::{ffi, log};
use config::said;
use queue::Gate;

const PORTS_MAX: usize = ffi::SHIM_MAX_ETHPORTS as usize;

/// Ports that have an owner in this process.
static OPEN: [AtomicBool; PORTS_MAX] = [const { AtomicBool::new(false) }; PORTS_MAX];

/// Devices come, go and are looked up one at a time: DPDK's lists of them have no lock of their own.
static DEVICES: Mutex<()> = Mutex::new(());

fn lock_devices() -> MutexGuard<'static, ()> {
    DEVICES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// DPDK's number of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The ports that DPDK has, open or not, in order.
#[must_use]
pub fn ports(_eal: &Eal) -> Vec<PortId> {
    let mut ids = [0u16; PORTS_MAX];
    #[expect(clippy::cast_possible_truncation, reason = "32")]
    let room = PORTS_MAX as u16;
    // SAFETY: room for that many port numbers.
    let count = unsafe { ffi::shim_ports(ids.as_mut_ptr(), room) };
    ids.iter().take(usize::from(count)).copied().map(PortId).collect()
}

/// How to name a port: by its number or its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortName<'a> {
    /// DPDK's number.
    Id(PortId),
    /// PCI address or vdev name.
    Device(&'a str),
}

impl From<PortId> for PortName<'_> {
    fn from(id: PortId) -> Self {
        PortName::Id(id)
    }
}

impl From<u16> for PortName<'_> {
    fn from(id: u16) -> Self {
        PortName::Id(PortId(id))
    }
}

impl<'a> From<&'a str> for PortName<'a> {
    fn from(name: &'a str) -> Self {
        PortName::Device(name)
    }
}

/// Why a port could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No port has that number.
    #[error("there is no port {id}; {}", present(.ports))]
    NoSuchPort {
        /// Asked for.
        id: PortId,
        /// Device names that there are.
        ports: Vec<String>,
    },
    /// No port has that device.
    #[error("there is no device {name:?}; {}", present(.ports))]
    NoSuchDevice {
        /// Asked for.
        name: String,
        /// Device names that there are.
        ports: Vec<String>,
    },
    /// It has an owner.
    #[error("port {0} is open already: a port has one owner")]
    AlreadyOpen(PortId),
}

/// What a user needs to correct a name.
fn present(ports: &[String]) -> String {
    if ports.is_empty() {
        "DPDK has found no device: name it with --vdev or -a, or bind it to vfio-pci".to_owned()
    } else {
        format!("DPDK has {}", ports.join(", "))
    }
}

/// Why a port could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It has no queues.
    #[error("port {0} is not configured: configure it before starting it")]
    NotConfigured(PortId),
    /// It is started.
    #[error("port {0} is started already")]
    Started(PortId),
    /// The driver refused.
    #[error("port {port} cannot be started: {errno}{}", said(.messages))]
    Failed {
        /// The port.
        port: PortId,
        /// The driver's reason.
        errno: Errno,
        /// What DPDK logged with it.
        messages: Vec<String>,
    },
}

/// Why a port could not be closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Queues of the port still exist. The port is given back.
    #[error("{count} queues of port {} are still in use: drop them before closing it", .port.id())]
    QueuesInUse {
        /// The port, as it was.
        port: Port,
        /// How many.
        count: usize,
    },
}

/// Why a control call on a port failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The driver has no such function.
    #[error("port {port}: {operation} is not supported by its driver")]
    Unsupported {
        /// The port.
        port: PortId,
        /// What was being done.
        operation: &'static str,
    },
    /// The device must be stopped for it.
    #[error("port {port}: {operation} is not possible now: stop the port first")]
    Busy {
        /// The port.
        port: PortId,
        /// What was being done.
        operation: &'static str,
    },
    /// Any other reason.
    #[error("port {port}: {operation} failed: {errno}")]
    Failed {
        /// The port.
        port: PortId,
        /// What was being done.
        operation: &'static str,
        /// The driver's reason.
        errno: Errno,
    },
}

/// What a port and its queues share; the device closes with its last holder.
#[derive(Debug)]
struct Shared {
    id: PortId,
    state: Mutex<State>,
    /// After `state`, so that the pools in there go before the EAL may.
    _eal: Eal,
}

#[derive(Debug, Default)]
struct State {
    configured: bool,
    started: bool,
    promiscuous: bool,
    /// One for each queue handed out.
    gates: Vec<Arc<Gate>>,
    /// What the receive queues take mbufs from: not to be freed before the device is closed.
    pools: Vec<Mempool>,
}

impl Shared {
    /// Control calls on one port exclude each other: DPDK leaves that to its user.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let id = self.id;
        let mut state = self.lock();
        // Until the end: the number of a closed port goes to the next device, which must find it
        // without an owner. A port that was only looked at stays as it was.
        let _devices = state.configured.then(lock_devices);
        if state.configured {
            close_raw(&mut state, id);
        }
        drop(state);
        if let Some(open) = OPEN.get(usize::from(id.0)) {
            open.store(false, Ordering::Release);
        }
    }
}

fn stop_raw(state: &mut State, id: PortId) -> Result<(), Errno> {
    if !state.started {
        return Ok(());
    }
    for gate in &state.gates {
        gate.shut();
    }
    state.started = false;
    // SAFETY: no queue is being polled, the gates are shut.
    Errno::check(unsafe { ffi::rte_eth_dev_stop(id.0) }).map(drop)
}

/// Stops and closes the device. DPDK logs failures; the device counts as closed in any case.
fn close_raw(state: &mut State, id: PortId) {
    let _ = stop_raw(state, id);
    // SAFETY: stopped, and nobody polls.
    let closed = unsafe { ffi::rte_eth_dev_close(id.0) } == 0;
    state.configured = false;
    state.gates.clear();
    if closed {
        // The device has given its mbufs back.
        state.pools.clear();
    } else {
        // It may still write into them: they are kept until the end of the process.
        std::mem::forget(std::mem::take(&mut state.pools));
    }
}

/// Starts the device, in the receive mode that is wanted.
fn start_raw(state: &State, id: PortId) -> Result<(), Errno> {
    // SAFETY: configured with all its queues, by the caller's word.
    Errno::check(unsafe { ffi::rte_eth_dev_start(id.0) })?;
    if !state.promiscuous {
        return Ok(());
    }
    match Errno::check(info::set_promiscuous(id, true)) {
        // A device without a filter has nothing to turn off.
        Ok(_) | Err(Errno::ENOTSUP) => Ok(()),
        Err(errno) => {
            // SAFETY: started, and no gate is open yet.
            unsafe { ffi::rte_eth_dev_stop(id.0) };
            Err(errno)
        }
    }
}

/// The one owner of a port; all control calls are here. Its packets go through the queues that
/// [`Port::configure`] hands out.
#[derive(Debug)]
pub struct Port {
    shared: Arc<Shared>,
}

impl Port {
    /// Takes a port by number (`0u16`, a [`PortId`]) or device name (`"0000:01:00.0"`,
    /// `"net_null0"`).
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open<'a>(eal: &Eal, name: impl Into<PortName<'a>>) -> Result<Self, OpenError> {
        let _devices = lock_devices();
        let id = match name.into() {
            PortName::Id(id) if ports(eal).contains(&id) => id,
            PortName::Id(id) => {
                return Err(OpenError::NoSuchPort { id, ports: device_names(eal) });
            }
            PortName::Device(name) => port_of_device(name).ok_or_else(|| {
                OpenError::NoSuchDevice { name: name.to_owned(), ports: device_names(eal) }
            })?,
        };
        let taken = OPEN.get(usize::from(id.0)).map(|open| open.swap(true, Ordering::AcqRel));
        if taken != Some(false) {
            return Err(OpenError::AlreadyOpen(id));
        }
        let state = Mutex::new(State::default());
        Ok(Port { shared: Arc::new(Shared { id, state, _eal: eal.clone() }) })
    }

    /// The port's number.
    #[must_use]
    pub fn id(&self) -> PortId {
        self.shared.id
    }

    /// True between [`Port::start`] and [`Port::stop`].
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.shared.lock().started
    }

    /// Sets the port up and hands out its queues, each of them once. Receive queue `i` takes its
    /// mbufs from `pools[i % pools.len()]`.
    ///
    /// # Errors
    ///
    /// See [`ConfigureError`]. After [`ConfigureError::Failed`] the port can be configured again.
    pub fn configure(
        &self,
        config: &PortConfig,
        pools: &[Mempool],
    ) -> Result<Queues, ConfigureError> {
        let mut state = self.shared.lock();
        let port = self.id();
        if state.started {
            return Err(ConfigureError::Started(port));
        }
        let count = in_use(&state.gates);
        if count != 0 {
            return Err(ConfigureError::QueuesInUse { port, count });
        }
        if config.rx_queues > 0 && pools.is_empty() {
            return Err(ConfigureError::NoPool(port));
        }
        state.gates.clear();
        // Also those of an earlier set-up stay until the device has let go of them.
        state.pools.extend_from_slice(pools);
        state.configured = true;
        let (result, messages) = log::capture(|| set_up(port, config, pools));
        let granted = result.map_err(|failure| failure.with(port, messages))?;
        state.pools = pools.to_vec();
        state.promiscuous = config.promiscuous;
        let mut hand_out = || {
            let gate = Arc::new(Gate::default());
            state.gates.push(Arc::clone(&gate));
            gate
        };
        let shared = &self.shared;
        let rx = (0..config.rx_queues).map(|i| RxQueue::new(shared, &hand_out(), i)).collect();
        let chains = granted.tx_offloads.contains(TxOffloads::MULTI_SEGS);
        let tx =
            (0..config.tx_queues).map(|i| TxQueue::new(shared, &hand_out(), i, chains)).collect();
        Ok(Queues { rx, tx, granted })
    }

    /// Starts the device: packets flow.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(&self) -> Result<(), StartError> {
        let mut state = self.shared.lock();
        let port = self.id();
        if state.started {
            return Err(StartError::Started(port));
        }
        if state.gates.is_empty() {
            return Err(StartError::NotConfigured(port));
        }
        let (result, messages) = log::capture(|| start_raw(&state, port));
        result.map_err(|errno| StartError::Failed { port, errno, messages })?;
        state.started = true;
        for gate in &state.gates {
            gate.open();
        }
        Ok(())
    }

    /// Stops the device. Waits for bursts under way on other threads; until the next start the
    /// queues receive nothing and take nothing. A port that is not started is left as it is.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver refuses; the queues are shut all the same.
    pub fn stop(&self) -> Result<(), ControlError> {
        let mut state = self.shared.lock();
        stop_raw(&mut state, self.id()).map_err(|errno| self.error("stopping", errno))
    }

    /// Stops and closes the device. Without this it closes when the port and all its queues are
    /// gone. A closed device is not there any more until it is attached anew.
    ///
    /// # Errors
    ///
    /// [`CloseError::QueuesInUse`], and nothing has happened, when a queue still exists.
    pub fn close(self) -> Result<(), CloseError> {
        let count = self.queues_in_use();
        if count != 0 {
            return Err(CloseError::QueuesInUse { port: self, count });
        }
        let _devices = lock_devices();
        close_raw(&mut self.shared.lock(), self.id());
        // Under the lock, as in `Shared::drop`.
        drop(self);
        Ok(())
    }

    /// Queues that were handed out and still exist.
    #[must_use]
    pub fn queues_in_use(&self) -> usize {
        in_use(&self.shared.lock().gates)
    }

    fn error(&self, operation: &'static str, errno: Errno) -> ControlError {
        let port = self.id();
        match errno {
            Errno::ENOTSUP => ControlError::Unsupported { port, operation },
            Errno::EBUSY => ControlError::Busy { port, operation },
            errno => ControlError::Failed { port, operation, errno },
        }
    }

    fn check(&self, operation: &'static str, result: i32) -> Result<(), ControlError> {
        Errno::check(result).map(drop).map_err(|errno| self.error(operation, errno))
    }
}

/// A queue holds its gate for as long as it exists.
fn in_use(gates: &[Arc<Gate>]) -> usize {
    gates.iter().filter(|gate| Arc::strong_count(gate) > 1).count()
}

fn device_names(eal: &Eal) -> Vec<String> {
    ports(eal)
        .into_iter()
        .filter_map(|id| id.device_info(eal).ok())
        .map(|info| info.device_name)
        .collect()
}

fn port_of_device(name: &str) -> Option<PortId> {
    let name = CString::new(name).ok()?;
    let mut id = 0;
    // SAFETY: a C string, and an integer to write.
    let result = unsafe { ffi::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut id) };
    (result == 0).then_some(PortId(id))
}

/// What went wrong in [`set_up`].
enum Failure {
    Refused(ConfigureError),
    Driver(&'static str, Errno),
}

impl Failure {
    fn with(self, port: PortId, messages: Vec<String>) -> ConfigureError {
        match self {
            Failure::Refused(error) => error,
            Failure::Driver(step, errno) => ConfigureError::Failed { port, step, errno, messages },
        }
    }
}

fn check_limits(
    port: PortId,
    config: &PortConfig,
    device: &ffi::shim_port_info,
) -> Result<(), ConfigureError> {
    let queues = [
        ("receive", config.rx_queues, device.max_rx_queues),
        ("transmit", config.tx_queues, device.max_tx_queues),
    ];
    for (direction, wanted, max) in queues {
        if wanted > max {
            return Err(ConfigureError::TooManyQueues { port, direction, wanted, max });
        }
    }
    if config.rx_queues == 0 && config.tx_queues == 0 {
        return Err(ConfigureError::NoQueues(port));
    }
    if let Some(wanted) = config.mtu {
        let (min, max) = (device.min_mtu, device.max_mtu);
        // 0 as the maximum: the driver does not say.
        if wanted < min || (max != 0 && wanted > max) {
            return Err(ConfigureError::Mtu { port, wanted, min, max });
        }
    }
    Ok(())
}

/// Configures the device and all its queues.
fn set_up(port: PortId, config: &PortConfig, pools: &[Mempool]) -> Result<Granted, Failure> {
    let device = info::raw_info(port).map_err(|e| Failure::Driver("reading device info", e))?;
    check_limits(port, config, &device).map_err(Failure::Refused)?;
    // What this crate cannot promise to a driver (see `PortConfig::tx_offloads`).
    let never = TxOffloads::MBUF_FAST_FREE | TxOffloads::MT_LOCKFREE;
    let rx_offloads = config.rx_offloads & RxOffloads::from_bits(device.rx_offloads);
    let tx_offloads = (config.tx_offloads & TxOffloads::from_bits(device.tx_offloads)) - never;
    let mut raw = ffi::shim_port_config {
        rx_queues: config.rx_queues,
        tx_queues: config.tx_queues,
        rxd: config.rxd,
        txd: config.txd,
        mtu: config.mtu.unwrap_or(0),
        symmetric_rss: u8::from(config.symmetric_rss),
        rx_offloads: rx_offloads.bits(),
        tx_offloads: tx_offloads.bits(),
    };
    let step = |name, result| Errno::check(result).map_err(|e| Failure::Driver(name, e)).map(drop);
    // SAFETY: a stopped port that this call has locked.
    step("configuring", unsafe { ffi::shim_port_configure(port.0, &raw mut raw) })?;
    for (queue, pool) in (0..config.rx_queues).zip(pools.iter().cycle()) {
        // SAFETY: as above; the pool lives in the port's state until the device is closed.
        step("setting up a receive queue", unsafe {
            ffi::shim_rx_queue_setup(port.0, queue, raw.rxd, pool.as_ptr(), raw.rx_offloads)
        })?;
    }
    for queue in 0..config.tx_queues {
        // SAFETY: as above.
        step("setting up a transmit queue", unsafe {
            ffi::shim_tx_queue_setup(port.0, queue, raw.txd, raw.tx_offloads)
        })?;
    }
    Ok(Granted { rxd: raw.rxd, txd: raw.txd, rx_offloads, tx_offloads })
}
