//! Rings of DPDK (`rte_ring`) with one producer and one consumer.
//!
//! In: words. Out: the same words, in order, in another thread. Never: a word dropped.

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::eal::Eal;
use crate::errno::Errno;
use crate::ffi;

/// Why a ring could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The name does not fit.
    #[error("ring name {0:?} must be 1 to {max} bytes without NUL", max = ffi::SHIM_RING_NAMESIZE - 1)]
    BadName(String),
    /// DPDK's reason.
    #[error("ring {name:?} of {count} could not be made (the size is a power of two): {errno}")]
    Failed {
        /// The ring.
        name: String,
        /// Its size.
        count: u32,
        /// The reason.
        errno: Errno,
    },
}

#[derive(Debug)]
struct Inner {
    ring: NonNull<ffi::rte_ring>,
    _eal: Eal,
}

// SAFETY: one producer and one consumer may use a ring at the same time, and there is one handle for
// each, whose methods ask for `&mut`.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: made by `ring`, and both handles are gone.
        unsafe { ffi::rte_ring_free(self.ring.as_ptr()) }
    }
}

/// Where words go in.
#[derive(Debug)]
pub struct RingProducer(Arc<Inner>);

/// Where they come out.
#[derive(Debug)]
pub struct RingConsumer(Arc<Inner>);

/// A ring of `count` places, a power of two, one of which stays empty; its name is unique in the
/// process.
///
/// # Errors
/// See [`RingError`].
pub fn ring(eal: &Eal, name: &str, count: u32) -> Result<(RingProducer, RingConsumer), RingError> {
    let c_name = match CString::new(name) {
        Ok(c) if (1..ffi::SHIM_RING_NAMESIZE as usize).contains(&name.len()) => c,
        _ => return Err(RingError::BadName(name.to_owned())),
    };
    // SAFETY: the EAL is up, the name is a C string.
    let ring = unsafe { ffi::shim_ring_create(c_name.as_ptr(), count) };
    let failed = || RingError::Failed { name: name.to_owned(), count, errno: Errno::last() };
    let ring = NonNull::new(ring).ok_or_else(failed)?;
    let inner = Arc::new(Inner { ring, _eal: eal.clone() });
    Ok((RingProducer(Arc::clone(&inner)), RingConsumer(inner)))
}

impl RingProducer {
    /// Puts in as many of the first items as there is room for; how many.
    #[inline]
    pub fn enqueue(&mut self, items: &[usize]) -> usize {
        let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        // SAFETY: the ring reads at most `count` words of the slice and follows none of them; this
        // is its only producer.
        unsafe {
            ffi::shim_ring_enqueue_burst(self.0.ring.as_ptr(), items.as_ptr(), count) as usize
        }
    }
}

impl RingConsumer {
    /// Takes out as many as there are and fit into `into`, from its front; how many.
    #[inline]
    pub fn dequeue(&mut self, into: &mut [usize]) -> usize {
        let count = u32::try_from(into.len()).unwrap_or(u32::MAX);
        // SAFETY: the ring writes at most `count` words into the slice; this is its only consumer.
        unsafe {
            ffi::shim_ring_dequeue_burst(self.0.ring.as_ptr(), into.as_mut_ptr(), count) as usize
        }
    }
}
