//! Whole buffers: compressed on their way out, decompressed on their way in.
//!
//! In: a buffer that begins with a routing header. Out: a buffer that begins with a routing
//! header; the header itself is never compressed, and what does not shrink leaves as it came, so
//! that incompressible input does not grow by a single byte. Never: an allocation per buffer
//! beyond one from the pool, more than one buffer a call.

use thiserror::Error;

use super::counters::{CompressionCounter, DecompressionCounter};
use super::lz4;
use crate::copy::{self, Copied};
use crate::counters::Counters;
use crate::packet_driver::routing::{Packing, ROUTING_HEADER_LEN, RoutingHeader, RoutingView};
use crate::packet_driver::{BufferPool, BufferSlice, CLASS_COUNT, OutboundBuffer};

/// Fewer bytes of data than this are not worth a try: they fit one datagram either way.
pub const TRY_LEN_MIN: usize = 256;

/// A buffer must shrink by its length over this, or it is stored.
pub const GAIN_DIVISOR: usize = 16;

/// After the n-th failure in a row, 2^n - 1 buffers pass untried, n being at most this: at 64 KiB
/// a buffer, incompressible data cost one try in 4 MiB, and a change is seen after as much.
pub const SKIP_EXPONENT_MAX: u32 = 6;

const _: () = {
    assert!(TRY_LEN_MIN >= GAIN_DIVISOR, "the gain asked for is at least one byte");
    assert!(SKIP_EXPONENT_MAX < 16, "the skip counter is 16 bits");
};

/// Whether the next buffer of a peer and class is worth a try.
#[derive(Clone, Copy, Debug, Default)]
struct Bypass {
    /// Failures in a row, at most [`SKIP_EXPONENT_MAX`].
    failures: u32,
    /// Buffers that still pass untried.
    skip: u16,
}

impl Bypass {
    fn failed(&mut self) {
        self.failures = (self.failures + 1).min(SKIP_EXPONENT_MAX);
        self.skip = (1 << self.failures) - 1;
    }
}

/// Compresses buffers. One per worker that does so.
#[derive(Debug)]
pub struct Compressor {
    state: lz4::State,
    pool: BufferPool,
    acceleration: i32,
    /// By peer, then class.
    bypass: Box<[[Bypass; CLASS_COUNT]]>,
    counters: Counters<CompressionCounter>,
}

impl Compressor {
    /// A compressor that takes its results from `pool` and knows `peers` peers. `acceleration` is
    /// LZ4's: 1 for the best ratio; larger is faster.
    #[must_use]
    pub fn new(pool: BufferPool, peers: usize, acceleration: i32) -> Self {
        Compressor {
            state: lz4::State::default(),
            pool,
            acceleration,
            bypass: vec![[Bypass::default(); CLASS_COUNT]; peers].into_boxed_slice(),
            counters: Counters::default(),
        }
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters<CompressionCounter> {
        &self.counters
    }

    /// Compresses a stored buffer; what is not to be compressed or does not shrink comes back as
    /// it is.
    #[must_use]
    pub fn compress(&mut self, mut buffer: OutboundBuffer) -> OutboundBuffer {
        self.counters.increment(CompressionCounter::BuffersIn);
        self.counters.add(CompressionCounter::BytesIn, buffer.bytes.len() as u64);
        let outcome = match self.pack(&buffer) {
            Ok(packed) => {
                buffer.bytes = packed;
                CompressionCounter::BuffersCompressed
            }
            Err(reason) => reason,
        };
        self.counters.increment(outcome);
        self.counters.add(CompressionCounter::BytesOut, buffer.bytes.len() as u64);
        buffer
    }

    fn pack(&mut self, buffer: &OutboundBuffer) -> Result<BufferSlice, CompressionCounter> {
        if !buffer.compress {
            return Err(CompressionCounter::BuffersOff);
        }
        let view =
            RoutingView::new_checked(&buffer.bytes).map_err(|_| CompressionCounter::BuffersOff)?;
        let header = RoutingHeader::parse(&view).map_err(|_| CompressionCounter::BuffersOff)?;
        if header.packing != Packing::Stored {
            return Err(CompressionCounter::BuffersOff);
        }
        let plain = view.data();
        if plain.len() < TRY_LEN_MIN {
            return Err(CompressionCounter::BuffersSmall);
        }
        let bypass = self
            .bypass
            .get_mut(usize::from(buffer.peer.0))
            .and_then(|classes| classes.get_mut(usize::from(buffer.lane.class().0)))
            .ok_or(CompressionCounter::BuffersOff)?;
        if bypass.skip > 0 {
            bypass.skip -= 1;
            return Err(CompressionCounter::BuffersSkipped);
        }
        let packed_len_max = plain.len() - plain.len() / GAIN_DIVISOR;
        let mut out = self
            .pool
            .alloc(ROUTING_HEADER_LEN + packed_len_max)
            .ok_or(CompressionCounter::BuffersNoMemory)?;
        out.set_len(ROUTING_HEADER_LEN);
        let room = out.append(packed_len_max).unwrap_or_default();
        let Some(packed_len) = self.state.compress(plain, room, self.acceleration) else {
            bypass.failed();
            return Err(CompressionCounter::BuffersIncompressible);
        };
        *bypass = Bypass::default();
        copy::count(Copied::Compressed, plain.len());
        out.set_len(ROUTING_HEADER_LEN + packed_len);
        let data_len = u32::try_from(packed_len).unwrap_or(u32::MAX);
        RoutingHeader { packing: Packing::Lz4, data_len, ..header }.emit(out.bytes_mut());
        Ok(out.freeze())
    }
}

/// Why a buffer from the far side could not be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecompressError {
    /// The buffer is not what it says, and is to be dropped.
    #[error("the buffer is damaged")]
    Damaged,
    /// The pool has no buffer for the result: try again later.
    #[error("no memory for the plain buffer")]
    NoMemory,
}

/// Decompresses buffers. One per worker that does so.
#[derive(Debug)]
pub struct Decompressor {
    pool: BufferPool,
    last: Option<BufferPool>,
    buffer_len_max: usize,
    counters: Counters<DecompressionCounter>,
}

impl Decompressor {
    /// A decompressor that takes its results from `pool` and refuses what would be longer than
    /// `buffer_len_max` bytes, routing header included.
    #[must_use]
    pub fn new(pool: BufferPool, buffer_len_max: usize) -> Self {
        Decompressor { pool, last: None, buffer_len_max, counters: Counters::default() }
    }

    /// The same, with another pool for when the first has nothing.
    #[must_use]
    pub fn with_last_resort(mut self, last: BufferPool) -> Self {
        self.last = Some(last);
        self
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters<DecompressionCounter> {
        &self.counters
    }

    /// The plain form of a buffer: itself when it is stored.
    ///
    /// # Errors
    /// [`DecompressError::Damaged`]: drop the buffer. [`DecompressError::NoMemory`]: try again.
    pub fn decompress(&mut self, buffer: &BufferSlice) -> Result<BufferSlice, DecompressError> {
        let unpacked = self.unpack(buffer);
        if !matches!(unpacked, Err(DecompressionCounter::BuffersNoMemory)) {
            // Counted once, however often it was tried.
            self.counters.increment(DecompressionCounter::BuffersIn);
        }
        match unpacked {
            Ok((plain, outcome)) => {
                self.counters.increment(outcome);
                self.counters.add(DecompressionCounter::BytesIn, buffer.len() as u64);
                self.counters.add(DecompressionCounter::BytesOut, plain.len() as u64);
                Ok(plain)
            }
            Err(reason) => {
                self.counters.increment(reason);
                Err(match reason {
                    DecompressionCounter::BuffersNoMemory => DecompressError::NoMemory,
                    _ => DecompressError::Damaged,
                })
            }
        }
    }

    fn unpack(
        &self,
        buffer: &BufferSlice,
    ) -> Result<(BufferSlice, DecompressionCounter), DecompressionCounter> {
        let malformed = DecompressionCounter::BuffersMalformed;
        let view = RoutingView::new_checked(buffer).map_err(|_| malformed)?;
        let header = RoutingHeader::parse(&view).map_err(|_| malformed)?;
        let plain_len = usize::try_from(header.plain_len).map_err(|_| malformed)?;
        if plain_len > self.buffer_len_max.saturating_sub(ROUTING_HEADER_LEN) {
            return Err(DecompressionCounter::BuffersTooLong);
        }
        if header.packing == Packing::Stored {
            return Ok((buffer.clone(), DecompressionCounter::BuffersStored));
        }
        let mut out = self
            .pool
            .alloc(ROUTING_HEADER_LEN + plain_len)
            .or_else(|| self.last.as_ref()?.alloc(ROUTING_HEADER_LEN + plain_len))
            .ok_or(DecompressionCounter::BuffersNoMemory)?;
        out.set_len(ROUTING_HEADER_LEN);
        let room = out.append(plain_len).unwrap_or_default();
        copy::count(Copied::Decompressed, plain_len);
        if lz4::decompress(view.data(), room) != Some(plain_len) {
            return Err(DecompressionCounter::BuffersDamaged);
        }
        RoutingHeader { packing: Packing::Stored, data_len: header.plain_len, ..header }
            .emit(out.bytes_mut());
        Ok((out.freeze(), DecompressionCounter::BuffersDecompressed))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet_driver::{BufferKind, Class, Lane, PeerIndex, PoolClass, SessionNumber};

    const SIZE: usize = 8192;

    fn pool() -> BufferPool {
        BufferPool::new(&[
            PoolClass { size: 1024, count: 4, reserve: 0 },
            PoolClass { size: SIZE, count: 4, reserve: 0 },
        ])
    }

    fn outbound(pool: &BufferPool, class: u8, data: &[u8]) -> OutboundBuffer {
        let len = u32::try_from(data.len()).unwrap();
        let mut buffer = pool.alloc(ROUTING_HEADER_LEN + data.len()).unwrap();
        let header = RoutingHeader::stored(BufferKind::Stream, 3, len);
        header.emit(buffer.append(ROUTING_HEADER_LEN).unwrap());
        buffer.append(data.len()).unwrap().copy_from_slice(data);
        OutboundBuffer {
            peer: PeerIndex(0),
            session: SessionNumber(1),
            lane: Lane::new(Class(class), false),
            kind: BufferKind::Stream,
            deadline: None,
            compress: true,
            bytes: buffer.freeze(),
        }
    }

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    #[test]
    fn text_shrinks_and_comes_back() {
        let pool = pool();
        let mut compressor = Compressor::new(pool.clone(), 1, 1);
        let mut decompressor = Decompressor::new(pool.clone(), SIZE);
        let text = b"the quick brown fox jumps over the lazy dog. ".repeat(100);
        let packed = compressor.compress(outbound(&pool, 0, &text));
        assert!(packed.bytes.len() < text.len() / 10);
        let plain = decompressor.decompress(&packed.bytes).unwrap();
        assert_eq!(&plain[ROUTING_HEADER_LEN..], &text[..]);
        let view = RoutingView::new_checked(&plain).unwrap();
        assert_eq!(RoutingHeader::parse(&view).unwrap().messages, 3);
        assert_eq!(compressor.counters().get(CompressionCounter::BytesIn), text.len() as u64 + 12);
        assert_eq!(
            compressor.counters().get(CompressionCounter::BytesOut),
            packed.bytes.len() as u64
        );
        drop((packed, plain));
        assert_eq!(pool.in_use_bytes(), 0);
    }

    #[test]
    fn off_and_small_buffers_are_left_alone() {
        let pool = pool();
        let mut compressor = Compressor::new(pool.clone(), 1, 1);
        let mut off = outbound(&pool, 0, &[b'a'; 2000]);
        off.compress = false;
        assert_eq!(compressor.compress(off).bytes.len(), 2000 + ROUTING_HEADER_LEN);
        let small = outbound(&pool, 0, &[b'a'; TRY_LEN_MIN - 1]);
        let _ = compressor.compress(small);
        assert_eq!(compressor.counters().get(CompressionCounter::BuffersOff), 1);
        assert_eq!(compressor.counters().get(CompressionCounter::BuffersSmall), 1);
    }

    #[test]
    fn noise_does_not_grow_and_is_tried_ever_less_often() {
        let pool = pool();
        let mut compressor = Compressor::new(pool.clone(), 1, 1);
        let data = noise(4000, 7);
        let mut tried = Vec::new();
        for n in 0..200 {
            let before = compressor.counters().get(CompressionCounter::BuffersIncompressible);
            let out = compressor.compress(outbound(&pool, 0, &data));
            assert_eq!(&out.bytes[ROUTING_HEADER_LEN..], &data[..]);
            if compressor.counters().get(CompressionCounter::BuffersIncompressible) > before {
                tried.push(n);
            }
        }
        assert_eq!(tried, [0, 2, 6, 14, 30, 62, 126, 190]);
        let counters = compressor.counters();
        assert_eq!(
            counters.get(CompressionCounter::BytesIn),
            counters.get(CompressionCounter::BytesOut)
        );
        // Another class is not held back by it, and a success resets the skipping.
        let other = compressor.compress(outbound(&pool, 1, &[7; 4000]));
        assert!(other.bytes.len() < 200);
        drop(other);
        while compressor.compress(outbound(&pool, 0, &[7; 4000])).bytes.len() > 200 {}
        let again = compressor.compress(outbound(&pool, 0, &[8; 4000]));
        assert!(again.bytes.len() < 200);
    }

    #[test]
    fn an_empty_pool_stores_and_holds_back() {
        let pool = pool();
        let empty = BufferPool::new(&[]);
        let packed = Compressor::new(pool.clone(), 1, 1).compress(outbound(&pool, 0, &[1; 3000]));
        let mut compressor = Compressor::new(empty.clone(), 1, 1);
        let stored = compressor.compress(outbound(&pool, 0, &[1; 3000]));
        assert_eq!(stored.bytes.len(), 3000 + ROUTING_HEADER_LEN);
        assert_eq!(compressor.counters().get(CompressionCounter::BuffersNoMemory), 1);
        let mut decompressor = Decompressor::new(empty, SIZE);
        assert_eq!(decompressor.decompress(&packed.bytes).err(), Some(DecompressError::NoMemory));
        let count = |counter| decompressor.counters().get(counter);
        // It waits, and has neither come in nor been dropped yet.
        assert_eq!(count(DecompressionCounter::BuffersIn), 0);
        assert_eq!(count(DecompressionCounter::BuffersNoMemory), 1);
        assert!(decompressor.decompress(&stored.bytes).is_ok(), "stored needs no memory");
    }

    #[test]
    fn a_plain_length_beyond_the_limit_is_refused_before_any_work() {
        let pool = pool();
        let packed = Compressor::new(pool.clone(), 1, 1).compress(outbound(&pool, 0, &[1; 3000]));
        let mut decompressor = Decompressor::new(pool.clone(), 3000);
        assert_eq!(decompressor.decompress(&packed.bytes).err(), Some(DecompressError::Damaged));
        assert_eq!(decompressor.counters().get(DecompressionCounter::BuffersTooLong), 1);
    }

    #[test]
    fn a_plain_buffer_finds_a_place_although_the_pool_is_empty() {
        let sending = pool();
        let data = vec![7; 4_000];
        let packed = Compressor::new(sending.clone(), 1, 1).compress(outbound(&sending, 0, &data));
        let (arrivals, last) = (pool(), pool());
        let all: Vec<_> = std::iter::from_fn(|| arrivals.alloc(1)).collect();
        let mut without = Decompressor::new(arrivals.clone(), SIZE);
        assert_eq!(without.decompress(&packed.bytes).err(), Some(DecompressError::NoMemory));
        let mut with = Decompressor::new(arrivals.clone(), SIZE).with_last_resort(last.clone());
        let plain = with.decompress(&packed.bytes).unwrap();
        assert_eq!(&plain[ROUTING_HEADER_LEN..], &data[..]);
        assert_eq!(last.in_use_bytes(), SIZE);
        drop((plain, all));
        assert_eq!((last.in_use_bytes(), arrivals.in_use_bytes()), (0, 0));
    }

    proptest! {
        #[test]
        fn damaged_buffers_are_refused_or_of_the_announced_length(
            data in proptest::collection::vec(0u8..4, 300..2000),
            at in any::<usize>(),
            flip in 1u8..,
        ) {
            let pool = pool();
            let packed = Compressor::new(pool.clone(), 1, 1).compress(outbound(&pool, 0, &data));
            let mut bytes = packed.bytes.to_vec();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let mut damaged = pool.alloc(bytes.len()).unwrap();
            damaged.append(bytes.len()).unwrap().copy_from_slice(&bytes);
            let mut decompressor = Decompressor::new(pool.clone(), SIZE);
            if let Ok(plain) = decompressor.decompress(&damaged.freeze()) {
                let view = RoutingView::new_checked(&plain).unwrap();
                prop_assert_eq!(view.plain_len(), view.data_len());
            }
            drop(packed);
            prop_assert_eq!(pool.in_use_bytes(), 0);
        }

        #[test]
        fn any_data_come_back(data in proptest::collection::vec(0u8..6, 0..4000)) {
            let pool = pool();
            let packed = Compressor::new(pool.clone(), 1, 1).compress(outbound(&pool, 0, &data));
            let plain = Decompressor::new(pool, SIZE).decompress(&packed.bytes).unwrap();
            prop_assert_eq!(&plain[ROUTING_HEADER_LEN..], &data[..]);
            prop_assert!(packed.bytes.len() <= plain.len());
        }
    }
}
