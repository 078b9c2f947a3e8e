//! A fixed-capacity array of owned mbufs: the unit of all polling.
//!
//! In: mbufs, at the end. Out: mbufs, from the front (as a device takes them) or the end. Never:
//! an allocation.

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr;

use crate::ffi;
use crate::mbuf::Mbuf;

/// Up to `N` mbufs, in order; reads and indexes as a slice of [`Mbuf`].
///
/// Dropping or clearing it frees them in bulk, each to its own pool.
pub struct Burst<const N: usize = 32> {
    /// The first `len` are initialised.
    slots: [MaybeUninit<Mbuf>; N],
    len: usize,
}

impl<const N: usize> Burst<N> {
    /// DPDK counts bursts in 16 bits.
    const CAPACITY_FITS: () = assert!(N > 0 && N <= u16::MAX as usize);

    /// An empty burst.
    #[must_use]
    pub const fn new() -> Self {
        const { Self::CAPACITY_FITS };
        Burst { slots: [const { MaybeUninit::uninit() }; N], len: 0 }
    }

    /// Mbufs that fit, those that are there included.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        N
    }

    /// Mbufs that can be added.
    #[must_use]
    pub const fn room(&self) -> usize {
        N - self.len
    }

    /// True when nothing can be added.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.len == N
    }

    /// Adds an mbuf at the end.
    ///
    /// # Errors
    ///
    /// Gives the mbuf back when the burst is full.
    #[inline]
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        match self.slots.get_mut(self.len) {
            Some(slot) => {
                slot.write(mbuf);
                self.len += 1;
                Ok(())
            }
            None => Err(mbuf),
        }
    }

    /// Takes the last mbuf.
    #[inline]
    pub fn pop(&mut self) -> Option<Mbuf> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: the slot was initialised, and no longer counts.
        Some(unsafe { self.slots[self.len].assume_init_read() })
    }

    /// Moves as many mbufs as fit from the front of `other` to the end of this; returns how many.
    pub fn append<const M: usize>(&mut self, other: &mut Burst<M>) -> usize {
        let count = self.room().min(other.len);
        // SAFETY: `count` initialised slots there, `count` free ones here, two distinct bursts.
        unsafe {
            ptr::copy_nonoverlapping(
                other.slots.as_ptr(),
                self.slots.as_mut_ptr().add(self.len),
                count,
            );
            self.grow(count);
            other.forget_front(count);
        }
        count
    }

    /// Frees all but the first `len` mbufs.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            let count = self.len - len;
            self.len = len;
            // SAFETY: these slots were initialised, and no longer count.
            unsafe { free_bulk(self.slots.as_mut_ptr().add(len), count) };
        }
    }

    /// Frees all mbufs.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Takes all mbufs, first to last; what is not taken is freed.
    pub fn drain(&mut self) -> Drain<'_, N> {
        let end = self.len;
        // The iterator owns them now: forgetting it leaks, and frees nothing twice.
        self.len = 0;
        Drain { burst: self, next: 0, end }
    }

    /// The free slots.
    pub(crate) fn spare(&mut self) -> &mut [MaybeUninit<Mbuf>] {
        &mut self.slots[self.len..]
    }

    /// The mbufs as DPDK sees them.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut *mut ffi::rte_mbuf {
        self.slots.as_mut_ptr().cast()
    }

    /// Counts `count` more slots as initialised.
    ///
    /// # Safety
    ///
    /// They are, with mbufs that nobody else owns, and `count` is at most [`Burst::room`].
    pub(crate) unsafe fn grow(&mut self, count: usize) {
        debug_assert!(count <= self.room());
        self.len += count;
    }

    /// Gives up the first `count` mbufs without freeing them; the others move to the front.
    ///
    /// # Safety
    ///
    /// Somebody else owns them now, and `count` is at most the length.
    pub(crate) unsafe fn forget_front(&mut self, count: usize) {
        debug_assert!(count <= self.len);
        self.len -= count;
        let slots = self.slots.as_mut_ptr();
        // SAFETY: both ranges lie within the slots that were initialised.
        unsafe { ptr::copy(slots.add(count), slots, self.len) };
    }
}

/// Frees `count` mbufs, each to its own pool.
///
/// # Safety
///
/// They are initialised and owned by the caller, who forgets them.
unsafe fn free_bulk(first: *mut MaybeUninit<Mbuf>, count: usize) {
    #[expect(clippy::cast_possible_truncation, reason = "a burst has at most 65535")]
    let count = count as u32;
    // SAFETY: `Mbuf` is a transparent pointer to an mbuf; ownership passes to DPDK.
    unsafe { ffi::rte_pktmbuf_free_bulk(first.cast(), count) }
}

impl<const N: usize> Drop for Burst<N> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<const N: usize> Default for Burst<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Deref for Burst<N> {
    type Target = [Mbuf];

    #[inline]
    fn deref(&self) -> &[Mbuf] {
        // SAFETY: the first `len` slots are initialised.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr().cast(), self.len) }
    }
}

impl<const N: usize> DerefMut for Burst<N> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Mbuf] {
        // SAFETY: the first `len` slots are initialised.
        unsafe { std::slice::from_raw_parts_mut(self.slots.as_mut_ptr().cast(), self.len) }
    }
}

impl<const N: usize> fmt::Debug for Burst<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Iterator of [`Burst::drain`].
#[derive(Debug)]
pub struct Drain<'a, const N: usize> {
    burst: &'a mut Burst<N>,
    next: usize,
    end: usize,
}

impl<const N: usize> Iterator for Drain<'_, N> {
    type Item = Mbuf;

    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        if self.next == self.end {
            return None;
        }
        let slot = &self.burst.slots[self.next];
        self.next += 1;
        // SAFETY: slots `next..end` are initialised and owned by this iterator.
        Some(unsafe { slot.assume_init_read() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }
}

impl<const N: usize> ExactSizeIterator for Drain<'_, N> {}

impl<const N: usize> Drop for Drain<'_, N> {
    fn drop(&mut self) {
        let count = self.end - self.next;
        // SAFETY: slots `next..end` are initialised and owned by this iterator.
        unsafe { free_bulk(self.burst.slots.as_mut_ptr().add(self.next), count) };
    }
}
