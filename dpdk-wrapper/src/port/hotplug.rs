//! Devices that come and go while the EAL runs.

use std::ffi::{CStr, CString};

use super::{Port, PortId, close_raw, lock_devices};
use crate::eal::Eal;
use crate::errno::Errno;
use crate::port::config::said;
use crate::{ffi, log};

/// Why a device could not be attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The name cannot be passed to C.
    #[error("device name {0:?} contains a NUL byte: remove it")]
    NulByte(String),
    /// It is attached.
    #[error("device {0:?} is attached already")]
    Exists(String),
    /// There is none, or its driver does not take it.
    #[error(
        "device {devargs:?} cannot be attached: {errno}{}; check the name (PCI address, or driver name and arguments of a vdev) and the driver it is bound to",
        said(.messages)
    )]
    Failed {
        /// As given.
        devargs: String,
        /// DPDK's reason.
        errno: Errno,
        /// What DPDK logged with it.
        messages: Vec<String>,
    },
    /// It is attached and has no port.
    #[error("device {0:?} is attached but is no Ethernet device")]
    NoPort(String),
}

/// Why a device could not be detached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetachError {
    /// Queues of the port still exist. The port is given back.
    #[error("{count} queues of port {} are still in use: drop them before detaching it", .port.id())]
    QueuesInUse {
        /// The port, as it was.
        port: Port,
        /// How many.
        count: usize,
    },
    /// The device has other ports, which would go with it. The port is given back.
    #[error("port {} shares its device with other ports: close it instead", .port.id())]
    SharedDevice {
        /// The port, as it was.
        port: Port,
    },
    /// The driver refused; the port is closed.
    #[error("port {port} is closed, but its device cannot be detached: {errno}")]
    Failed {
        /// The port that was.
        port: PortId,
        /// DPDK's reason.
        errno: Errno,
    },
}

/// Most ports of one device that are looked for.
const DEVICE_PORTS_MAX: usize = ffi::SHIM_MAX_ETHPORTS as usize;

/// Attaches a device by its devargs, e.g. `net_ring0`, `net_af_xdp0,iface=eth1` or
/// `0000:01:00.0`; returns its ports (most devices have one).
///
/// # Errors
///
/// See [`AttachError`].
pub fn attach(eal: &Eal, devargs: &str) -> Result<Vec<PortId>, AttachError> {
    let c = CString::new(devargs).map_err(|_| AttachError::NulByte(devargs.to_owned()))?;
    // Held for the call: the EAL is up.
    let _eal = eal.clone();
    let _devices = lock_devices();
    // DPDK reports success for a device that it has already.
    if !ports_of(&c).is_empty() {
        return Err(AttachError::Exists(devargs.to_owned()));
    }
    let (result, messages) = log::capture(|| {
        // SAFETY: a C string; DPDK checks the rest.
        Errno::check(unsafe { ffi::shim_attach(c.as_ptr()) })
    });
    result.map_err(|errno| AttachError::Failed { devargs: devargs.to_owned(), errno, messages })?;
    let ports = ports_of(&c);
    if ports.is_empty() { Err(AttachError::NoPort(devargs.to_owned())) } else { Ok(ports) }
}

/// The ports of the device that these devargs name.
fn ports_of(devargs: &CStr) -> Vec<PortId> {
    let mut ids = [0u16; DEVICE_PORTS_MAX];
    #[expect(clippy::cast_possible_truncation, reason = "32")]
    let room = DEVICE_PORTS_MAX as u16;
    // SAFETY: a C string, and room for that many port numbers.
    let count = unsafe { ffi::shim_ports_of_device(devargs.as_ptr(), ids.as_mut_ptr(), room) };
    ids.iter().take(usize::from(count)).copied().map(PortId).collect()
}

impl Port {
    /// Stops and closes the port and removes its device.
    ///
    /// # Errors
    ///
    /// See [`DetachError`].
    pub fn detach(self) -> Result<(), DetachError> {
        let count = self.queues_in_use();
        if count != 0 {
            return Err(DetachError::QueuesInUse { port: self, count });
        }
        let id = self.id();
        // SAFETY: a control call on an open port.
        let device = unsafe { ffi::shim_port_device(id.0) };
        // SAFETY: compares the pointer with that of each port.
        if unsafe { ffi::shim_device_port_count(device) } > 1 {
            return Err(DetachError::SharedDevice { port: self });
        }
        let _devices = lock_devices();
        close_raw(&mut self.shared.lock(), id);
        // SAFETY: the device of that port, whose only port is closed.
        let result = Errno::check(unsafe { ffi::shim_detach(device) });
        // Under the lock: the next device with this number must find it without an owner.
        drop(self);
        result.map(drop).map_err(|errno| DetachError::Failed { port: id, errno })
    }
}
