//! Counters of a port.

use std::ffi::CStr;

use super::{ControlError, Port};
use crate::errno::Errno;
use crate::ffi;

/// The counters that every driver has, since the port was started or they were reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that the device dropped because the receive queues were full.
    pub rx_missed: u64,
    /// Packets received with errors.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets dropped because the pool was exhausted.
    pub rx_no_mbuf: u64,
}

/// One of the counters that a driver has beyond [`PortStats`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xstat {
    /// The driver's name for it.
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// How often a listing is taken anew when its length has changed meanwhile.
const XSTATS_ATTEMPTS: usize = 4;

impl Port {
    /// The basic counters.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver cannot tell.
    pub fn stats(&self) -> Result<PortStats, ControlError> {
        let _lock = self.shared.lock();
        let mut raw = ffi::rte_eth_stats::default();
        // SAFETY: writes the structure given.
        let result = unsafe { ffi::rte_eth_stats_get(self.id().0, &raw mut raw) };
        self.check("reading statistics", result)?;
        Ok(PortStats {
            rx_packets: raw.ipackets,
            tx_packets: raw.opackets,
            rx_bytes: raw.ibytes,
            tx_bytes: raw.obytes,
            rx_missed: raw.imissed,
            rx_errors: raw.ierrors,
            tx_errors: raw.oerrors,
            rx_no_mbuf: raw.rx_nombuf,
        })
    }

    /// Sets the basic counters to zero.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver cannot.
    pub fn reset_stats(&self) -> Result<(), ControlError> {
        let _lock = self.shared.lock();
        // SAFETY: a control call on an open port.
        let result = unsafe { ffi::rte_eth_stats_reset(self.id().0) };
        self.check("resetting statistics", result)
    }

    /// All counters of the driver, in its order. Names and values belong together even when their
    /// number changes between two calls (queues added, link state): the listing is then taken anew.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver cannot tell.
    pub fn xstats(&self) -> Result<Vec<Xstat>, ControlError> {
        let _lock = self.shared.lock();
        for _ in 0..XSTATS_ATTEMPTS {
            let names = self.xstat_names()?;
            let Ok(room) = u32::try_from(names.len()) else { break };
            let mut values = vec![ffi::rte_eth_xstat::default(); names.len()];
            // SAFETY: room for as many values as are announced.
            let count = unsafe { ffi::rte_eth_xstats_get(self.id().0, values.as_mut_ptr(), room) };
            self.check("reading extended statistics", count)?;
            // A larger answer means that the values did not fit and are not there.
            if usize::try_from(count) == Ok(names.len()) {
                return Ok(values.iter().filter_map(|raw| named(raw, &names)).collect());
            }
        }
        Err(self.error("reading extended statistics", Errno::EAGAIN))
    }

    /// Sets all counters of the driver to zero.
    ///
    /// # Errors
    ///
    /// [`ControlError`] when the driver cannot.
    pub fn reset_xstats(&self) -> Result<(), ControlError> {
        let _lock = self.shared.lock();
        // SAFETY: a control call on an open port.
        let result = unsafe { ffi::rte_eth_xstats_reset(self.id().0) };
        self.check("resetting extended statistics", result)
    }

    fn xstat_names(&self) -> Result<Vec<String>, ControlError> {
        let mut raw: Vec<ffi::rte_eth_xstat_name> = Vec::new();
        for _ in 0..XSTATS_ATTEMPTS {
            let Ok(room) = u32::try_from(raw.len()) else { break };
            let into = if raw.is_empty() { std::ptr::null_mut() } else { raw.as_mut_ptr() };
            // SAFETY: room for as many names as are announced; null asks for their number.
            let count = unsafe { ffi::rte_eth_xstats_get_names(self.id().0, into, room) };
            self.check("reading the names of extended statistics", count)?;
            let count = usize::try_from(count).unwrap_or(0);
            if count <= raw.len() {
                raw.truncate(count);
                break;
            }
            raw = vec![ffi::rte_eth_xstat_name::default(); count];
        }
        Ok(raw.iter().map(text_of).collect())
    }
}

/// A value with its name, which it refers to by index.
fn named(raw: &ffi::rte_eth_xstat, names: &[String]) -> Option<Xstat> {
    let name = names.get(usize::try_from(raw.id).ok()?)?;
    Some(Xstat { name: name.clone(), value: raw.value })
}

fn text_of(raw: &ffi::rte_eth_xstat_name) -> String {
    text(&raw.name)
}

/// The text of a C character array, up to its NUL.
pub(super) fn text(array: &[std::ffi::c_char]) -> String {
    // SAFETY: characters and bytes have one layout.
    let bytes = unsafe { std::slice::from_raw_parts(array.as_ptr().cast::<u8>(), array.len()) };
    CStr::from_bytes_until_nul(bytes)
        .map_or_else(|_| String::from_utf8_lossy(bytes), CStr::to_string_lossy)
        .into_owned()
}
