//! Whole buffers: compressed on their way out, decompressed on their way in.
//!
//! In: a buffer that begins with a routing header. Out: a buffer that begins with a routing
//! header; the header itself is never compressed, and what does not shrink leaves as it came, so
//! that incompressible input does not grow by a single byte. Never: an allocation per buffer
//! beyond one from the pool, more than one buffer a call.

use thiserror::Error;

use super::choice::{BUFFER_NS_MAX, Chooser, Conditions, WHOLE_PPM};
use super::counters::{CompressionCounter, DecompressionCounter};
use super::level::{LZ4_ACCELERATION, LZ4_FAST_ACCELERATION, Level, Mode};
use super::{lz4, zstd};
use crate::copy::{self, Copied};
use crate::counters::Counters;
use crate::packet_driver::routing::{Packing, ROUTING_HEADER_LEN, RoutingHeader, RoutingView};
use crate::packet_driver::{BufferPool, BufferSlice, Lane, OutboundBuffer, PeerIndex};

/// Fewer bytes of data than this are not worth a try: they fit one datagram either way.
pub const TRY_LEN_MIN: usize = 256;

/// A buffer must shrink by its length over this, or it is stored.
pub const GAIN_DIVISOR: usize = 16;

/// Buffers of fewer bytes than this are a kind of their own: a byte of them costs more, and shrinks
/// less.
const LARGE_LEN_MIN: usize = 8_192;

/// Kinds of buffers of one peer: by lane, then small or large.
const KINDS: usize = Lane::COUNT * 2;

/// A WAN that takes this long for a byte, in picoseconds, makes everything pay that shrinks.
const SLOWEST_WAN_PS: u64 = 1_000_000_000;

const _: () = assert!(TRY_LEN_MIN >= GAIN_DIVISOR, "the gain asked for is at least one byte");

/// What a buffer meets on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Time that the WAN takes for a byte, in picoseconds.
    pub wan_ps: u64,
    /// Share of this core's time that nothing else takes, in millionths.
    pub free_ppm: u64,
    /// Cores that compress for it, this one included.
    pub replicas: u64,
    /// Whether the peer takes what Zstandard made.
    pub zstd: bool,
}

impl Default for Surroundings {
    /// The slowest WAN, one core that is free, and a peer of this version.
    fn default() -> Self {
        Surroundings { wan_ps: SLOWEST_WAN_PS, free_ppm: WHOLE_PPM, replicas: 1, zstd: true }
    }
}

/// What was compressed last: place of its kind, level, length.
#[derive(Clone, Copy, Debug)]
struct Last {
    kind: usize,
    level: Level,
    len: usize,
}

/// Compresses buffers. One per worker that does so.
#[derive(Debug)]
pub struct Compressor {
    lz4: lz4::State,
    zstd: zstd::Packer,
    pool: BufferPool,
    /// By peer.
    modes: Box<[Mode]>,
    /// By peer, then kind.
    choosers: Box<[Chooser]>,
    last: Option<Last>,
    counters: Counters<CompressionCounter>,
}

impl Compressor {
    /// A compressor that takes its results from `pool`, for peers with these modes.
    #[must_use]
    pub fn new(pool: BufferPool, modes: &[Mode]) -> Self {
        Compressor {
            lz4: lz4::State::default(),
            zstd: zstd::Packer::default(),
            pool,
            modes: modes.into(),
            choosers: vec![Chooser::default(); modes.len() * KINDS].into_boxed_slice(),
            last: None,
            counters: Counters::default(),
        }
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters<CompressionCounter> {
        &self.counters
    }

    /// Number of peers.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.modes.len()
    }

    /// The peers' modes have been configured anew.
    pub fn set_modes(&mut self, modes: impl IntoIterator<Item = (PeerIndex, Mode)>) {
        for (peer, new) in modes {
            if let Some(mode) = self.modes.get_mut(usize::from(peer.0)) {
                *mode = new;
            }
        }
    }

    /// Another peer has this place: nothing is known of what is sent to it.
    pub fn forget(&mut self, peer: PeerIndex) {
        let kinds = self.choosers.chunks_mut(KINDS).nth(usize::from(peer.0));
        kinds.into_iter().flatten().for_each(|chooser| *chooser = Chooser::default());
    }

    /// Compresses a stored buffer; what is not to be compressed or does not shrink comes back as
    /// it is.
    #[must_use]
    pub fn compress(
        &mut self,
        mut buffer: OutboundBuffer,
        surroundings: &Surroundings,
    ) -> OutboundBuffer {
        let len = buffer.bytes.len() as u64;
        self.counters.increment(CompressionCounter::BuffersIn);
        self.counters.add(CompressionCounter::BytesIn, len);
        self.last = None;
        let (outcome, bytes) = match self.pack(&buffer, surroundings) {
            Ok((level, packed)) => {
                buffer.bytes = packed;
                CompressionCounter::of_level(level)
            }
            Err(reason) => (reason, CompressionCounter::BytesAsIs),
        };
        self.counters.increment(outcome);
        self.counters.add(bytes, len);
        self.counters.add(CompressionCounter::BytesOut, buffer.bytes.len() as u64);
        buffer
    }

    /// At which level the last buffer was compressed, or was tried to be, and its length; `None` if
    /// it was not tried.
    #[must_use]
    pub fn last(&self) -> Option<(Level, usize)> {
        self.last.map(|last| (last.level, last.len))
    }

    /// The last buffer took `ns` nanoseconds.
    pub fn took(&mut self, ns: u64) {
        if let Some(last) = self.last.take()
            && let Some(chooser) = self.choosers.get_mut(last.kind)
        {
            chooser.took(last.level, last.len, ns);
        }
    }

    fn pack(
        &mut self,
        buffer: &OutboundBuffer,
        surroundings: &Surroundings,
    ) -> Result<(Level, BufferSlice), CompressionCounter> {
        let off = CompressionCounter::BuffersOff;
        if !buffer.compress {
            return Err(off);
        }
        let view = RoutingView::new_checked(&buffer.bytes).map_err(|_| off)?;
        let header = RoutingHeader::parse(&view).map_err(|_| off)?;
        if header.packing != Packing::Stored {
            return Err(off);
        }
        let plain = view.data();
        if plain.len() < TRY_LEN_MIN {
            return Err(CompressionCounter::BuffersSmall);
        }
        let peer = usize::from(buffer.peer.0);
        let mode = *self.modes.get(peer).ok_or(off)?;
        let conditions = conditions(mode, surroundings, buffer.lane).ok_or(off)?;
        let kind =
            peer * KINDS + 2 * buffer.lane.index() + usize::from(plain.len() >= LARGE_LEN_MIN);
        let chooser = self.choosers.get_mut(kind).ok_or(off)?;
        let level = chooser.next(&conditions, plain.len());
        if level == Level::Stored {
            return Err(CompressionCounter::BuffersStored);
        }
        let packed_len_max = plain.len() - plain.len() / GAIN_DIVISOR;
        let mut out = self
            .pool
            .alloc(ROUTING_HEADER_LEN + packed_len_max)
            .ok_or(CompressionCounter::BuffersNoMemory)?;
        out.set_len(ROUTING_HEADER_LEN);
        let room = out.append(packed_len_max).unwrap_or_default();
        let (packing, packed_len) = match level {
            Level::Stored => (Packing::Stored, None),
            Level::Lz4Fast => (Packing::Lz4, self.lz4.compress(plain, room, LZ4_FAST_ACCELERATION)),
            Level::Lz4 => (Packing::Lz4, self.lz4.compress(plain, room, LZ4_ACCELERATION)),
            Level::Zstd1 => (Packing::Zstd, self.zstd.compress(plain, room, 1)),
            Level::Zstd3 => (Packing::Zstd, self.zstd.compress(plain, room, 3)),
            Level::Zstd6 => (Packing::Zstd, self.zstd.compress(plain, room, 6)),
        };
        self.last = Some(Last { kind, level, len: plain.len() });
        chooser.packed(&conditions, level, plain.len(), packed_len.unwrap_or(plain.len()));
        let packed_len = packed_len.ok_or(CompressionCounter::BuffersIncompressible)?;
        copy::count(Copied::Compressed, plain.len());
        out.set_len(ROUTING_HEADER_LEN + packed_len);
        let data_len = u32::try_from(packed_len).unwrap_or(u32::MAX);
        RoutingHeader { packing, data_len, ..header }.emit(out.bytes_mut());
        Ok((level, out.freeze()))
    }
}

/// `None`: nothing is compressed.
fn conditions(mode: Mode, surroundings: &Surroundings, lane: Lane) -> Option<Conditions> {
    let Surroundings { wan_ps, free_ppm, replicas, zstd } = *surroundings;
    let auto = Conditions {
        wan_ps,
        free_ppm,
        replicas,
        weakest: Level::Lz4Fast,
        strongest: if zstd { Level::Zstd6 } else { Level::Lz4 },
        takes_ns_max: BUFFER_NS_MAX,
        is_sparse: lane.is_sparse(),
    };
    match mode {
        Mode::Auto => Some(auto),
        // However long it takes: so it was said.
        Mode::Lz4 => Some(Conditions {
            wan_ps: SLOWEST_WAN_PS,
            weakest: Level::Lz4,
            strongest: Level::Lz4,
            takes_ns_max: u64::MAX,
            ..auto
        }),
        Mode::None => None,
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
    zstd: zstd::Unpacker,
    counters: Counters<DecompressionCounter>,
}

impl Decompressor {
    /// A decompressor that takes its results from `pool` and refuses what would be longer than
    /// `buffer_len_max` bytes, routing header included.
    #[must_use]
    pub fn new(pool: BufferPool, buffer_len_max: usize) -> Self {
        Decompressor {
            pool,
            last: None,
            buffer_len_max,
            zstd: zstd::Unpacker::default(),
            counters: Counters::default(),
        }
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
        &mut self,
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
        let unpacked_len = match header.packing {
            Packing::Stored => None,
            Packing::Lz4 => lz4::decompress(view.data(), room),
            Packing::Zstd => self.zstd.decompress(view.data(), room),
        };
        if unpacked_len != Some(plain_len) {
            return Err(DecompressionCounter::BuffersDamaged);
        }
        RoutingHeader { packing: Packing::Stored, data_len: header.plain_len, ..header }
            .emit(out.bytes_mut());
        Ok((out.freeze(), DecompressionCounter::BuffersDecompressed))
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
pub(crate) mod tests;
