//! The environment abstraction layer: its start and its end, and the clock it calibrates.
//!
//! In: EAL arguments. Out: an [`Eal`], which everything else of DPDK asks for. Never: a second
//! start; DPDK supports one per process.

use std::ffi::{CStr, CString, c_char};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::errno::Errno;
use crate::{ffi, log};

/// Why the EAL did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EalError {
    /// `Eal::init` was called before in this process, whatever came of it.
    #[error("DPDK can be started only once in a process: keep the first Eal and clone it")]
    AlreadyInitialised,
    /// An argument cannot be passed to C.
    #[error("EAL argument {0:?} contains a NUL byte: remove it")]
    NulByte(String),
    /// The log could not be routed.
    #[error("DPDK's log cannot be redirected: {0}")]
    Log(Errno),
    /// `rte_eal_init` failed.
    #[error("DPDK did not start: {} ({errno}){}", .messages.join("; "), hint(.messages, *.errno))]
    Init {
        /// DPDK's reason.
        errno: Errno,
        /// The error messages it logged on the way, oldest first.
        messages: Vec<String>,
    },
}

/// Why the EAL could not be cleaned up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CleanupError {
    /// Something that needs the EAL still exists.
    #[error("DPDK is still in use: drop all ports, queues, pools and thread registrations first")]
    StillInUse,
    /// `rte_eal_cleanup` failed.
    #[error("DPDK could not release its resources: {0}")]
    Failed(Errno),
}

/// What usually helps.
fn hint(messages: &[String], errno: Errno) -> &'static str {
    let says = |word: &str| messages.iter().any(|message| message.contains(word));
    if says("hugepage") || says("huge page") {
        ": reserve hugepages, or pass --no-huge -m MEGABYTES"
    } else if errno.code() == 13 || says("ermission") {
        ": run as root"
    } else if says("failed to parse device") || says("vdev") {
        ": check the device names after --vdev and -a"
    } else {
        ": check the EAL arguments"
    }
}

/// A handle on the running EAL; clones share it.
///
/// Pools, ports and thread registrations hold one each, so that the clean-up (devices released,
/// memory returned) happens when the last user is gone, in whatever order things are dropped.
#[derive(Clone, Debug)]
pub struct Eal {
    guard: Arc<Guard>,
}

#[derive(Debug)]
struct Guard(());

impl Guard {
    fn cleanup(&self) -> Result<(), Errno> {
        // SAFETY: the EAL is up, and nothing that needs it is left: each such thing holds the
        // guard, and this runs for the last holder.
        Errno::check(unsafe { ffi::rte_eal_cleanup() }).map(drop)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Nobody is left to be told of a failure; DPDK has logged it.
        let _ = self.cleanup();
    }
}

static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts DPDK with these arguments (without a program name), e.g.
    /// `["--no-huge", "-m", "512", "--vdev", "net_null0"]`.
    ///
    /// The calling thread becomes DPDK's main lcore. `rte_eal_init` pins it to one CPU; its
    /// affinity is restored before this returns, so threads that it spawns are not pinned. Without
    /// `-l` or `--lcores` DPDK starts a (sleeping) thread per CPU: pass e.g. `--lcores 0@(0-3)`
    /// with all CPUs of the process to avoid that.
    ///
    /// `--help` and `--version` among the arguments end the process, in DPDK.
    ///
    /// # Errors
    ///
    /// See [`EalError`]; a failed start cannot be repeated in the same process.
    pub fn init<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Result<Self, EalError> {
        let mut argv = vec![c"dpdk".to_owned().into_raw()];
        for arg in args {
            let arg = arg.as_ref();
            let Ok(c) = CString::new(arg) else {
                return Err(EalError::NulByte(arg.to_owned()));
            };
            // Leaked, once per process: DPDK may keep pointers into its arguments.
            argv.push(c.into_raw());
        }
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyInitialised);
        }
        log::redirect().map_err(EalError::Log)?;
        let (result, messages) = log::capture(|| start(argv));
        match result {
            Ok(()) => Ok(Eal { guard: Arc::new(Guard(())) }),
            Err(errno) => Err(EalError::Init { errno, messages }),
        }
    }

    /// Ends DPDK now rather than with the last handle.
    ///
    /// # Errors
    ///
    /// [`CleanupError::StillInUse`] when this is not the last handle: then nothing has happened,
    /// and the clean-up comes with the drop of the last one.
    pub fn cleanup(self) -> Result<(), CleanupError> {
        let guard = Arc::into_inner(self.guard).ok_or(CleanupError::StillInUse)?;
        let result = guard.cleanup().map_err(CleanupError::Failed);
        // Its drop would clean up once more.
        std::mem::forget(guard);
        result
    }

    /// Ticks of [`tsc`] per second.
    #[must_use]
    pub fn tsc_hz(&self) -> u64 {
        // SAFETY: reads what the EAL measured at its start.
        unsafe { ffi::rte_get_tsc_hz() }
    }

    /// What DPDK calls its version, e.g. `DPDK 22.11.4`.
    #[must_use]
    pub fn version(&self) -> String {
        // SAFETY: a constant string of DPDK.
        let version = unsafe { CStr::from_ptr(ffi::rte_version()) };
        version.to_string_lossy().into_owned()
    }

    /// Keeps the EAL up until the end of the process.
    pub(crate) fn leak(&self) {
        std::mem::forget(self.clone());
    }
}

fn start(mut argv: Vec<*mut c_char>) -> Result<(), Errno> {
    let count = i32::try_from(argv.len()).unwrap_or(i32::MAX);
    argv.push(std::ptr::null_mut());
    let argv = argv.leak();
    let mut errno = 0;
    // SAFETY: `argv` holds `count` C strings and a null, all alive for ever; first call in this
    // process.
    let result = unsafe { ffi::shim_eal_init(count, argv.as_mut_ptr(), &raw mut errno) };
    if result < 0 { Err(Errno::new(errno)) } else { Ok(()) }
}

/// The time stamp counter, in ticks of [`Eal::tsc_hz`]. Not serialising; valid before the EAL is
/// up.
#[must_use]
#[inline]
pub fn tsc() -> u64 {
    // SAFETY: reads a CPU register.
    unsafe { ffi::shim_tsc() }
}

/// Tells the CPU that this is a spin loop.
#[inline]
pub fn pause() {
    std::hint::spin_loop();
}
