//! Where every byte of payload is copied, so that the copies can be counted.
//!
//! In: bytes, room for them, which copy it is. Out: the copy; with the feature `count-copies`, how
//! many bytes each kind of copy has moved on this thread. Never: a copy elsewhere; the methods
//! that copy slices are refused by the lints of this crate but in modules of headers.

use crate::frame::Frame;

macro_rules! kinds {
    ($($(#[doc = $help:literal])+ $kind:ident,)+) => {
        /// The kinds of copies of payload.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Copied {
            $($(#[doc = $help])+ $kind),+
        }

        impl Copied {
            /// All kinds.
            pub const ALL: &'static [Copied] = &[$(Copied::$kind),+];
        }
    };
}

kinds! {
    /// Out of a host's frame into a buffer.
    FrameToBuffer,
    /// Read by the compressor, where the result is used.
    Compressed,
    /// Out of a buffer into a datagram, retransmissions included.
    BufferToDatagram,
    /// Out of a datagram into a buffer.
    DatagramToBuffer,
    /// Written by the decompressor.
    Decompressed,
    /// Out of a buffer into a frame for a host, retransmissions included.
    BufferToFrame,
    /// Out of a large buffer into a small one, for a slow host.
    CopiedOut,
    /// Fragments of a host's packet put together.
    Reassembled,
    /// To make parity, to hold it, and to restore from it.
    Protected,
    /// A few bytes that the appliance made itself: parameters of flows, subfields.
    Made,
}

/// Copies `from` into `into`, which has its length.
#[inline]
#[expect(clippy::disallowed_methods, reason = "the one place of such copies")]
pub fn bytes(kind: Copied, into: &mut [u8], from: &[u8]) {
    into.copy_from_slice(from);
    count(kind, from.len());
}

/// Copies bytes `offset..offset + into.len()` of a frame; false when it is shorter than that.
#[inline]
#[expect(clippy::disallowed_methods, reason = "the one place of such copies")]
pub fn of_frame<F: Frame>(kind: Copied, frame: &F, offset: usize, into: &mut [u8]) -> bool {
    count(kind, into.len());
    frame.copy_out(offset, into)
}

/// Notes that something else, such as LZ4, has copied `len` bytes.
#[inline]
pub fn count(kind: Copied, len: usize) {
    #[cfg(feature = "count-copies")]
    counted::add(kind, len as u64);
    #[cfg(not(feature = "count-copies"))]
    let _ = (kind, len);
}

/// Bytes copied so far on this thread, by kind in the order of [`Copied::ALL`].
#[cfg(feature = "count-copies")]
#[must_use]
pub fn totals() -> [u64; Copied::ALL.len()] {
    counted::TOTALS.get()
}

#[cfg(feature = "count-copies")]
mod counted {
    use std::cell::Cell;

    use super::Copied;

    thread_local! {
        pub(super) static TOTALS: Cell<[u64; Copied::ALL.len()]> =
            const { Cell::new([0; Copied::ALL.len()]) };
    }

    pub(super) fn add(kind: Copied, len: u64) {
        let mut totals = TOTALS.get();
        totals[kind as usize] += len;
        TOTALS.set(totals);
    }
}
