//! The fields of `struct rte_mbuf`, by the offsets that the C compiler gave to the shim.
//!
//! The only file that knows them: when a DPDK version moves a field, nothing here changes.

use std::ptr::NonNull;

use crate::ffi;

/// One segment. Copying it copies the pointer, not the ownership, which is [`super::Mbuf`]'s.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Raw(NonNull<ffi::rte_mbuf>);

macro_rules! fields {
    ($($(#[$doc:meta])* $get:ident $(, $set:ident)?: $ty:ty = $offset:ident;)*) => {
        impl Raw {
            $(
                $(#[$doc])*
                #[inline]
                pub(super) fn $get(self) -> $ty {
                    // SAFETY: a live mbuf, by the contract of `new`; offset and type are those of
                    // the header, checked in the shim.
                    unsafe { self.field::<$ty>(ffi::$offset).read() }
                }
                $(
                    #[inline]
                    pub(super) fn $set(self, value: $ty) {
                        // SAFETY: as above; whoever writes holds the mbuf exclusively.
                        unsafe { self.field::<$ty>(ffi::$offset).write(value) }
                    }
                )?
            )*
        }
    };
}

fields! {
    /// Start of the buffer.
    buf_addr: *mut u8 = SHIM_MBUF_BUF_ADDR;
    /// Length of the buffer, headroom included.
    buf_len: u16 = SHIM_MBUF_BUF_LEN;
    /// Where the data starts in the buffer.
    data_off, set_data_off: u16 = SHIM_MBUF_DATA_OFF;
    /// Bytes of data in this segment.
    data_len, set_data_len: u16 = SHIM_MBUF_DATA_LEN;
    /// Bytes of data in all segments; valid in the first.
    pkt_len, set_pkt_len: u32 = SHIM_MBUF_PKT_LEN;
    /// Number of segments; valid in the first.
    nb_segs, set_nb_segs: u16 = SHIM_MBUF_NB_SEGS;
    /// The port it was received on.
    port: u16 = SHIM_MBUF_PORT;
    /// Flags of receive and transmit offloads.
    ol_flags, set_ol_flags: u64 = SHIM_MBUF_OL_FLAGS;
    /// The RSS hash, if the flags say so.
    rss_hash: u32 = SHIM_MBUF_RSS_HASH;
    /// Header lengths and segment size, packed.
    tx_offload, set_tx_offload: u64 = SHIM_MBUF_TX_OFFLOAD;
    /// The next segment or null.
    next_ptr, set_next_ptr: *mut ffi::rte_mbuf = SHIM_MBUF_NEXT;
}

impl Raw {
    /// # Safety
    ///
    /// The mbuf is alive for as long as the value and its copies are used, and whoever writes
    /// through it has it exclusively.
    #[inline]
    pub(super) unsafe fn new(mbuf: NonNull<ffi::rte_mbuf>) -> Self {
        Raw(mbuf)
    }

    #[inline]
    pub(super) fn as_ptr(self) -> *mut ffi::rte_mbuf {
        self.0.as_ptr()
    }

    /// # Safety
    ///
    /// `offset` is that of a field of type `T`.
    #[inline]
    unsafe fn field<T>(self, offset: usize) -> *mut T {
        // SAFETY: within the mbuf, by the caller's word.
        unsafe { self.0.as_ptr().byte_add(offset).cast() }
    }

    /// The next segment.
    #[inline]
    pub(super) fn next(self) -> Option<Raw> {
        NonNull::new(self.next_ptr()).map(Raw)
    }

    /// The last segment of the chain.
    #[inline]
    pub(super) fn last(self) -> Raw {
        let mut segment = self;
        while let Some(next) = segment.next() {
            segment = next;
        }
        segment
    }

    /// Start of the data.
    #[inline]
    pub(super) fn data_ptr(self) -> *mut u8 {
        // SAFETY: the data lies within the buffer.
        unsafe { self.buf_addr().add(usize::from(self.data_off())) }
    }

    /// Free bytes in front of the data.
    #[inline]
    pub(super) fn headroom(self) -> u16 {
        self.data_off()
    }

    /// Free bytes behind the data.
    #[inline]
    pub(super) fn tailroom(self) -> u16 {
        self.buf_len().saturating_sub(self.data_off()).saturating_sub(self.data_len())
    }
}
