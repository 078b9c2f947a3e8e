//! The compress and the decompress stage beside LZ4 alone, on the same block: a piece of this very
//! program, which shrinks about as far as what hosts send.

use std::hint::black_box;
use std::sync::Arc;

use dataplane::compression::{Compressor, Decompressor, Mode, Surroundings, lz4};
use dataplane::link::Link;
use dataplane::packet_driver::routing::{ROUTING_HEADER_LEN, RoutingHeader};
use dataplane::packet_driver::{
    BufferKind, BufferPool, BufferSlice, OutboundBuffer, PeerStatus, PoolClass,
};
use dataplane::pipeline::compress::CompressStage;
use dataplane::time::Time;

use super::measure::Work;
use super::{Bench, MicroError};
use crate::bulk;

/// Bytes of one buffer, its header included.
pub(crate) const BUFFER: usize = 65_536;
/// Buffers of one lap: a long lap seldom ends undisturbed.
const LAP: usize = 1;
/// What the stage asks for: a buffer that shrinks less is sent as it is.
const PACKED_MAX: usize = (BUFFER - ROUTING_HEADER_LEN) - (BUFFER - ROUTING_HEADER_LEN) / 16;

pub(super) fn run(bench: &mut Bench) -> Result<(), MicroError> {
    let failed = |reason: &str| MicroError::set_up("compress", reason);
    let program = std::fs::read("/proc/self/exe")
        .map_err(|error| MicroError::set_up("compress", format!("/proc/self/exe: {error}")))?;
    let pool = BufferPool::new(&[PoolClass { size: BUFFER, count: 8 * LAP, reserve: 0 }]);
    // From the middle: code, not the tables at either end.
    let plain: Option<Vec<_>> = program[program.len() / 4..]
        .chunks_exact(BUFFER - ROUTING_HEADER_LEN)
        .take(LAP)
        .map(|data| buffer_of(&pool, data))
        .collect();
    let plain = plain.filter(|all| all.len() == LAP).ok_or_else(|| failed("no buffers"))?;
    let mut compressor = Compressor::new(pool.clone(), &[Mode::Lz4]);
    let packed: Vec<_> = plain
        .iter()
        .map(|bytes| compressor.compress(outbound(bytes.clone()), &Surroundings::default()).bytes)
        .collect();
    if packed.iter().any(|packed| packed.len() >= BUFFER) {
        return Err(failed("the program does not shrink"));
    }

    let mut stage = Stage::new(&pool, &plain);
    let mut alone = Alone { plain: &plain, state: lz4::State::default(), out: vec![0; PACKED_MAX] };
    bench.compare("compress", LAP * BUFFER, &mut stage, &mut alone)?;
    drop(stage);

    let mut decompressor = Decompressor::new(pool, BUFFER);
    let mut ours = || {
        for packed in &packed {
            let _ = black_box(decompressor.decompress(packed));
        }
    };
    let mut out = vec![0; BUFFER - ROUTING_HEADER_LEN];
    let mut alone = || {
        for packed in &packed {
            black_box(lz4::decompress(&packed[ROUTING_HEADER_LEN..], &mut out));
        }
    };
    bench.compare("compress: decompress", LAP * BUFFER, &mut ours, &mut alone)
}

pub(crate) fn buffer_of(pool: &BufferPool, data: &[u8]) -> Option<BufferSlice> {
    let len = u32::try_from(data.len()).ok()?;
    let mut buffer = pool.alloc(ROUTING_HEADER_LEN + data.len())?;
    let header = RoutingHeader::stored(BufferKind::Stream, 1, len);
    header.emit(buffer.append(ROUTING_HEADER_LEN)?);
    buffer.append(data.len())?.copy_from_slice(data);
    Some(buffer.freeze())
}

pub(crate) fn outbound(bytes: BufferSlice) -> OutboundBuffer {
    OutboundBuffer { compress: true, ..bulk::outbound(bytes) }
}

/// The stage as on a core of its own: between two rings.
struct Stage<'a> {
    plain: &'a [BufferSlice],
    stage: CompressStage,
    buffers: [Link<OutboundBuffer>; 2],
    packed: [Link<OutboundBuffer>; 2],
}

impl<'a> Stage<'a> {
    fn new(pool: &BufferPool, plain: &'a [BufferSlice]) -> Self {
        let ring = || <[_; 2]>::from(Link::ring(LAP));
        let stage = CompressStage::new(
            Compressor::new(pool.clone(), &[Mode::Lz4]),
            Arc::new([PeerStatus::default()]),
            1,
        );
        Stage { plain, stage, buffers: ring(), packed: ring() }
    }
}

impl Work for Stage<'_> {
    fn prepare(&mut self) {
        while self.packed[1].pop().is_some() {}
        for bytes in self.plain {
            let _ = self.buffers[0].push(outbound(bytes.clone()));
        }
    }

    fn run(&mut self) {
        while self.stage.turn(|| Time::ZERO, &mut self.buffers[1], &mut self.packed[0]) {}
    }
}

struct Alone<'a> {
    plain: &'a [BufferSlice],
    state: lz4::State,
    out: Vec<u8>,
}

impl Work for Alone<'_> {
    fn run(&mut self) {
        for bytes in self.plain {
            black_box(self.state.compress(&bytes[ROUTING_HEADER_LEN..], &mut self.out, 1));
        }
    }
}
