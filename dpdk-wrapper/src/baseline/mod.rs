//! What DPDK offers for jobs that tpo does by itself: what tpo is measured against.
//!
//! In: keys, items, bytes. Out: positions, items, sums, as DPDK finds them. Never: used by the
//! appliance.

mod hash;
mod ring;

pub use hash::{Hash, HashError};
pub use ring::{RingConsumer, RingError, RingProducer, ring};

use crate::ffi;

/// The one's complement sum of some bytes, not complemented, in the byte order of memory
/// (`rte_raw_cksum`).
#[must_use]
pub fn raw_checksum(bytes: &[u8]) -> u16 {
    // SAFETY: reads the bytes of the slice.
    unsafe { ffi::shim_raw_cksum(bytes.as_ptr().cast(), bytes.len()) }
}
