//! Threads that DPDK knows.
//!
//! In: a running thread, pinned by its owner. Out: an lcore id for as long as the registration
//! lives, and with it mempool caches. Never: a thread started or pinned here.

use std::marker::PhantomData;

use crate::eal::Eal;
use crate::errno::Errno;
use crate::ffi;

/// Why a thread could not be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// It has an lcore id.
    #[error("this thread already is lcore {0}: register a thread once")]
    AlreadyRegistered(u32),
    /// All lcore ids are taken.
    #[error("no lcore id is free: start DPDK with fewer lcores (--lcores) or run fewer workers")]
    NoFreeLcore,
    /// Any other reason.
    #[error("DPDK did not register this thread: {0}")]
    Failed(Errno),
}

/// Makes the current thread known to DPDK until dropped.
///
/// A thread without an lcore id has no mempool cache, which makes every allocation some ten times
/// dearer. Order for a worker: spawn, pin, register, poll. Registering turns off DPDK's
/// multi-process support (no second process can attach).
#[derive(Debug)]
pub struct ThreadRegistration {
    _eal: Eal,
    lcore: u32,
    /// The id belongs to this thread: neither `Send` nor `Sync`.
    _thread: PhantomData<*const ()>,
}

impl ThreadRegistration {
    /// Registers the calling thread.
    ///
    /// # Errors
    ///
    /// See [`RegisterError`]. The thread that called [`Eal::init`] is registered from the start.
    pub fn new(eal: &Eal) -> Result<Self, RegisterError> {
        if let Some(lcore) = current_lcore() {
            return Err(RegisterError::AlreadyRegistered(lcore));
        }
        // SAFETY: the EAL is up; the thread has no lcore id yet.
        if unsafe { ffi::rte_thread_register() } != 0 {
            let errno = Errno::last();
            return Err(if errno == Errno::ENOMEM {
                RegisterError::NoFreeLcore
            } else {
                RegisterError::Failed(errno)
            });
        }
        let lcore = current_lcore().unwrap_or(ffi::SHIM_LCORE_ID_ANY);
        Ok(ThreadRegistration { _eal: eal.clone(), lcore, _thread: PhantomData })
    }

    /// The id that DPDK gave to this thread.
    #[must_use]
    pub fn lcore_id(&self) -> u32 {
        self.lcore
    }
}

impl Drop for ThreadRegistration {
    fn drop(&mut self) {
        // SAFETY: this very thread was registered by `new`; the EAL is up, `_eal` sees to it.
        unsafe { ffi::rte_thread_unregister() }
    }
}

/// Puts the calling thread in front of those of usual priority on its core, where the system lets it
/// (`CAP_SYS_NICE`); `nice` from -20, the most urgent, to 19.
///
/// # Errors
///
/// The system's reason, and nothing changed.
pub fn set_nice(nice: i32) -> std::io::Result<()> {
    // SAFETY: plain numbers; 0 is the calling thread, which Linux has priorities for.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// The lcore id of the calling thread; `None` when DPDK does not know it.
#[must_use]
pub fn current_lcore() -> Option<u32> {
    // SAFETY: reads a thread-local integer.
    let lcore = unsafe { ffi::shim_lcore_id() };
    (lcore != ffi::SHIM_LCORE_ID_ANY).then_some(lcore)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_alone_gets_another_priority() {
        // SAFETY: plain numbers; 0 is the calling thread.
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = nice();
        let after = std::thread::spawn(move || {
            set_nice(19).expect("less is always allowed");
            nice()
        });
        assert_eq!((after.join().unwrap(), nice()), (19, before));
    }
}
