//! DPDK's own words while tpo starts.
//!
//! In: the log of DPDK. Out: nothing, if starting fails: then its errors are in the one sentence
//! that says why. If it succeeds: the warnings, and from then on everything from a warning up.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use dpdk_wrapper::log::{self, LogLevel, LogTarget};
use dpdk_wrapper::port::OpenError;

use super::devices::DeviceError;

/// What DPDK 22.11 warns of at every start, and means nothing.
const USUAL: &str = "TELEMETRY: No legacy callbacks";

/// Holds DPDK's log back.
pub(super) struct StartLog(Option<Arc<Mutex<Vec<String>>>>);

impl StartLog {
    /// From now on; unless the EAL's options say what is to be logged.
    pub(super) fn hold(eal_args: &[String]) -> Self {
        if eal_args.iter().any(|argument| argument.starts_with("--log-level")) {
            return StartLog(None);
        }
        let held: Arc<Mutex<Vec<String>>> = Arc::default();
        let into = Arc::clone(&held);
        let keep = move |_: LogLevel, text: &str| {
            into.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
        };
        log::set(LogTarget::Callback(Arc::new(keep)), LogLevel::Warning);
        StartLog(Some(held))
    }

    /// Why a device could not be had: DPDK goes on without one that it could not make, so that
    /// only its log says why.
    pub(super) fn explain(&self, error: &DeviceError) -> String {
        let is_absent =
            matches!(error, DeviceError::Open { source: OpenError::NoSuchDevice { .. }, .. });
        let mut text = error.to_string();
        if let Some(held) = self.0.as_ref().filter(|_| is_absent) {
            let held = held.lock().unwrap_or_else(PoisonError::into_inner);
            for line in held.iter().filter(|line| !line.starts_with(USUAL)) {
                text.push_str("; ");
                text.push_str(line);
            }
        }
        text
    }

    /// tpo has started.
    pub(super) fn release(self) {
        let Some(held) = self.0 else { return };
        log::set(LogTarget::Stderr, LogLevel::Warning);
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        for line in held.drain(..).filter(|line| !line.starts_with(USUAL)) {
            // Nobody is there to be told if standard error is gone.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }
}
