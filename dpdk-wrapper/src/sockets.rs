//! The kernel's sockets behind software drivers: what a thread can wait on instead of polling.
//!
//! In: an EAL with its ports configured. Out: handles that are readable while a frame waits.
//! Never: a read, a write, a socket that is not a driver's.
//!
//! net_af_xdp and net_af_packet receive through sockets, but DPDK offers no way to wait for them:
//! neither driver has receive interrupts. The kernel wakes a poll on such a socket like any other.

use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use crate::eal::Eal;
use crate::ffi;

/// Handles of all packet sockets (AF_XDP, AF_PACKET) of this process, in no order; none where the
/// ports have other drivers. A socket stays open as long as its handle: drop it before its port
/// is closed.
#[must_use]
pub fn packet_sockets(_eal: &Eal) -> Vec<OwnedFd> {
    let Ok(open) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    open.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok())
        .filter(|fd| is_packet_socket(*fd))
        .filter_map(|fd| {
            // SAFETY: open a moment ago; if another thread has closed it since, this is an error.
            unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().ok()
        })
        .collect()
}

fn is_packet_socket(fd: RawFd) -> bool {
    // SAFETY: any number may be asked about.
    let domain = unsafe { ffi::shim_socket_domain(fd) };
    domain == ffi::SHIM_AF_XDP || domain == ffi::SHIM_AF_PACKET
}
