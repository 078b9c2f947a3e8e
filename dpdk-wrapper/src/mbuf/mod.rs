//! Packet buffers, owned.
//!
//! In: mbufs from a pool or a receive queue. Out: their bytes and what the device knows of them.
//! Never: shared data; an mbuf of this crate is one owner's alone, all its segments with it.

mod metadata;
mod raw;

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

pub use metadata::{ChecksumStatus, IpVersion, L4Protocol, RxChecksums, TxOffload, TxOffloadError};
use raw::Raw;

use crate::ffi;
use crate::mempool::Mempool;

/// An mbuf is short of free bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} bytes do not fit into the {available} that are free in this segment")]
pub struct NoRoom {
    /// Bytes asked for.
    pub wanted: usize,
    /// Bytes free.
    pub available: usize,
}

/// An mbuf has less data than is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} bytes cannot be removed from {available}")]
pub struct TooShort {
    /// Bytes to be removed.
    pub wanted: usize,
    /// Bytes that there are.
    pub available: usize,
}

/// Two mbufs cannot be chained: together they have more segments than an mbuf can count.
#[derive(Debug, thiserror::Error)]
#[error("a chain of more than 65535 segments is not possible: linearize first")]
pub struct ChainError {
    /// The mbuf that was to be chained, given back.
    pub tail: Mbuf,
}

/// One packet in one or more segments; dropping it returns all of them to their pools.
///
/// Neither `Clone` nor `Copy`. Lengths are in bytes. A pointer wide, so that an array of them is
/// what DPDK's burst functions take.
#[repr(transparent)]
pub struct Mbuf(Raw);

// SAFETY: an mbuf has one owner, and its pool takes it back from any thread.
unsafe impl Send for Mbuf {}
// SAFETY: shared references only read.
unsafe impl Sync for Mbuf {}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: owned here, and not used again.
        unsafe { ffi::shim_mbuf_free(self.0.as_ptr()) }
    }
}

impl Mbuf {
    /// Takes over an mbuf; `None` for null.
    ///
    /// # Safety
    ///
    /// Nobody else owns it, its data is not shared with another mbuf, and its pool outlives it.
    #[inline]
    pub(crate) unsafe fn from_raw(mbuf: *mut ffi::rte_mbuf) -> Option<Self> {
        // SAFETY: the caller's word.
        NonNull::new(mbuf).map(|mbuf| Mbuf(unsafe { Raw::new(mbuf) }))
    }

    /// Gives up the ownership.
    #[inline]
    fn into_raw(self) -> *mut ffi::rte_mbuf {
        let mbuf = self.0.as_ptr();
        std::mem::forget(self);
        mbuf
    }

    /// The data of the first segment.
    #[must_use]
    #[inline]
    pub fn data(&self) -> &[u8] {
        // SAFETY: data of a live segment, borrowed with the mbuf.
        unsafe { std::slice::from_raw_parts(self.0.data_ptr(), self.data_len()) }
    }

    /// The data of the first segment.
    #[must_use]
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.0.data_ptr(), self.data_len()) }
    }

    /// Asks for the first cache line of the data, ahead of its use.
    #[inline]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: any address may be asked for; SSE is part of x86-64.
            unsafe { _mm_prefetch(self.0.data_ptr().cast_const().cast(), _MM_HINT_T0) }
        }
    }

    /// Bytes in the first segment.
    #[must_use]
    #[inline]
    pub fn data_len(&self) -> usize {
        usize::from(self.0.data_len())
    }

    /// Bytes in all segments.
    #[must_use]
    #[inline]
    pub fn pkt_len(&self) -> usize {
        self.0.pkt_len() as usize
    }

    /// Number of segments, at least 1.
    #[must_use]
    #[inline]
    pub fn segment_count(&self) -> usize {
        usize::from(self.0.nb_segs())
    }

    /// True when all data is in the first segment.
    #[must_use]
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.0.nb_segs() == 1
    }

    /// Bytes free in front of the first segment's data.
    #[must_use]
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.0.headroom())
    }

    /// Bytes free behind the last segment's data.
    #[must_use]
    #[inline]
    pub fn tailroom(&self) -> usize {
        usize::from(self.0.last().tailroom())
    }

    /// The data, segment by segment.
    #[must_use]
    pub fn segments(&self) -> Segments<'_> {
        Segments { next: Some(self.0), _mbuf: PhantomData }
    }

    /// The data, segment by segment, to be rewritten in place.
    #[must_use]
    pub fn segments_mut(&mut self) -> SegmentsMut<'_> {
        SegmentsMut { next: Some(self.0), _mbuf: PhantomData }
    }

    /// The data of segment `index`, the first being 0; empty beyond the last. Walks the chain.
    #[must_use]
    pub fn segment(&self, index: usize) -> &[u8] {
        self.segments().nth(index).unwrap_or(&[])
    }

    /// Grows the last segment at its end; returns the new bytes, contents undefined.
    ///
    /// # Errors
    ///
    /// [`NoRoom`], and nothing changed, when the tailroom is smaller.
    #[inline]
    pub fn append(&mut self, len: usize) -> Result<&mut [u8], NoRoom> {
        let available = self.tailroom();
        let short = NoRoom { wanted: len, available };
        let grow = u16::try_from(len).ok().filter(|_| len <= available).ok_or(short)?;
        // SAFETY: a live mbuf of ours with that much tailroom.
        let bytes = unsafe { ffi::shim_mbuf_append(self.0.as_ptr(), grow) };
        // SAFETY: `len` bytes at the end of the data now, in memory that the pool initialised.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes.cast(), len) })
    }

    /// Grows the first segment at its front; returns the new bytes, contents undefined.
    ///
    /// # Errors
    ///
    /// [`NoRoom`], and nothing changed, when the headroom is smaller.
    #[inline]
    pub fn prepend(&mut self, len: usize) -> Result<&mut [u8], NoRoom> {
        let available = self.headroom();
        let short = NoRoom { wanted: len, available };
        let grow = u16::try_from(len).ok().filter(|_| len <= available).ok_or(short)?;
        // SAFETY: a live mbuf of ours with that much headroom.
        let bytes = unsafe { ffi::shim_mbuf_prepend(self.0.as_ptr(), grow) };
        // SAFETY: `len` bytes at the front of the data now, in memory that the pool initialised.
        Ok(unsafe { std::slice::from_raw_parts_mut(bytes.cast(), len) })
    }

    /// Removes `len` bytes from the front of the first segment.
    ///
    /// # Errors
    ///
    /// [`TooShort`], and nothing changed, when the first segment has fewer.
    #[inline]
    pub fn adj(&mut self, len: usize) -> Result<(), TooShort> {
        let available = self.data_len();
        let short = TooShort { wanted: len, available };
        let cut = u16::try_from(len).ok().filter(|_| len <= available).ok_or(short)?;
        self.0.set_data_off(self.0.data_off() + cut);
        self.0.set_data_len(self.0.data_len() - cut);
        self.0.set_pkt_len(self.0.pkt_len() - u32::from(cut));
        Ok(())
    }

    /// Removes `len` bytes from the end, over as many segments as it takes.
    ///
    /// # Errors
    ///
    /// [`TooShort`], and nothing changed, when the packet has fewer.
    pub fn trim(&mut self, len: usize) -> Result<(), TooShort> {
        let available = self.pkt_len();
        let keep = available.checked_sub(len).ok_or(TooShort { wanted: len, available })?;
        self.truncate(keep);
        Ok(())
    }

    /// Shortens the packet to `len` bytes and frees the segments that no longer hold any; longer
    /// than it is changes nothing.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.pkt_len() {
            return;
        }
        let mut keep = len;
        let mut segment = self.0;
        let mut count: u16 = 1;
        while keep > usize::from(segment.data_len()) {
            keep -= usize::from(segment.data_len());
            // `len` is less than the sum of all segments, so there is a next one.
            let Some(next) = segment.next() else { return };
            segment = next;
            count += 1;
        }
        // Both fit: they are less than the lengths that they replace.
        #[expect(clippy::cast_possible_truncation, reason = "at most the former data_len")]
        segment.set_data_len(keep as u16);
        #[expect(clippy::cast_possible_truncation, reason = "less than the former pkt_len")]
        self.0.set_pkt_len(len as u32);
        self.0.set_nb_segs(count);
        if let Some(rest) = segment.next() {
            segment.set_next_ptr(std::ptr::null_mut());
            // SAFETY: unlinked from this mbuf, hence owned here alone; frees to the chain's end.
            unsafe { ffi::shim_mbuf_free(rest.as_ptr()) }
        }
    }

    /// Puts the segments of `tail` behind those of this mbuf.
    ///
    /// # Errors
    ///
    /// Gives `tail` back when there would be too many segments.
    pub fn chain(&mut self, tail: Mbuf) -> Result<(), ChainError> {
        // SAFETY: two live mbufs of ours; on success the tail belongs to the head.
        if unsafe { ffi::shim_mbuf_chain(self.0.as_ptr(), tail.0.as_ptr()) } != 0 {
            return Err(ChainError { tail });
        }
        tail.into_raw();
        Ok(())
    }

    /// Moves the data of all segments into the first.
    ///
    /// # Errors
    ///
    /// [`NoRoom`], and nothing changed, when it does not fit behind the first segment's data.
    pub fn linearize(&mut self) -> Result<(), NoRoom> {
        // SAFETY: a live mbuf of ours.
        if unsafe { ffi::shim_mbuf_linearize(self.0.as_ptr()) } != 0 {
            return Err(NoRoom {
                wanted: self.pkt_len() - self.data_len(),
                available: usize::from(self.0.tailroom()),
            });
        }
        Ok(())
    }

    /// A copy with buffers of its own, metadata included, from `pool`; `None` when that is
    /// exhausted.
    #[must_use]
    pub fn copy(&self, pool: &Mempool) -> Option<Mbuf> {
        // SAFETY: reads a live mbuf; the pool is alive.
        let copy = unsafe { ffi::rte_pktmbuf_copy(self.0.as_ptr(), pool.as_ptr(), 0, u32::MAX) };
        // SAFETY: fresh mbufs that nobody else knows.
        unsafe { Mbuf::from_raw(copy) }
    }

    /// The port that the mbuf was received on.
    #[must_use]
    #[inline]
    pub fn port(&self) -> u16 {
        self.0.port()
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("pkt_len", &self.pkt_len())
            .field("segments", &self.segment_count())
            .field("headroom", &self.headroom())
            .finish_non_exhaustive()
    }
}

/// Iterator of [`Mbuf::segments`].
#[derive(Clone)]
pub struct Segments<'a> {
    next: Option<Raw>,
    _mbuf: PhantomData<&'a Mbuf>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let segment = self.next?;
        self.next = segment.next();
        let len = usize::from(segment.data_len());
        // SAFETY: data of a live segment, borrowed with the mbuf.
        Some(unsafe { std::slice::from_raw_parts(segment.data_ptr(), len) })
    }
}

/// Iterator of [`Mbuf::segments_mut`].
pub struct SegmentsMut<'a> {
    next: Option<Raw>,
    _mbuf: PhantomData<&'a mut Mbuf>,
}

impl<'a> Iterator for SegmentsMut<'a> {
    type Item = &'a mut [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a mut [u8]> {
        let segment = self.next?;
        self.next = segment.next();
        let len = usize::from(segment.data_len());
        // SAFETY: data of a live segment, borrowed exclusively with the mbuf; segments do not
        // overlap, and each is given out once.
        Some(unsafe { std::slice::from_raw_parts_mut(segment.data_ptr(), len) })
    }
}
