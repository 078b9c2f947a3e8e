//! Segments into buffers beside a copy of the same bytes, and what incompressible data cost the
//! sending side.

use std::hint::black_box;

use dataplane::compression::{Compressor, Mode, Surroundings};
use dataplane::data_mover::security::alone::{Sealer, pair};
use dataplane::data_mover::wire::TAG_LEN;
use dataplane::frame::Frame;
use dataplane::frame::heap::{HeapFrame, HeapSource};
use dataplane::packet_driver::{
    AggregateConfig, Aggregator, BufferPool, Class, Downstream, FlowId, Lane, MessageHeader,
    MessageKind, Outbound, OutboundBody, PeerIndex, PoolClass, SessionNumber,
};
use dataplane::time::Time;

use super::measure::Work;
use super::seal::{DATAGRAM, FRONT_LEN, KEY, PAYLOAD, emit_front};
use super::{Bench, MicroError, random_bytes};

/// Bytes of a segment that carry data.
pub(crate) const SEGMENT: u32 = 1_448;
/// Headers in front of them: Ethernet, IPv4, TCP with stamps.
const HEADERS: u32 = 66;
/// Segments of one lap: they fill a buffer of 64 KiB, almost.
pub(crate) const LAP: usize = 45;
/// Bytes of a frame.
const FRAME: usize = (HEADERS + SEGMENT) as usize;
/// Bytes of one buffer.
const BUFFER: usize = 65_536;

pub(super) fn run(bench: &mut Bench) -> Result<(), MicroError> {
    let items = LAP * SEGMENT as usize;
    bench.compare("aggregate", items, &mut Driver::new(), &mut Copied::new())?;
    let failed = || MicroError::set_up("aggregate", "there are no keys");
    let side = |compress| Sending::new(compress).ok_or_else(failed);
    let (mut on, mut off) = (side(true)?, side(false)?);
    bench.compare("aggregate: incompressible", items, &mut on, &mut off)?;
    // Whole rounds of the compressor's tries have passed; nothing may have grown.
    if on.bytes_out != on.laps * off.bytes_out / off.laps.max(1) {
        let grown = format!(
            "{} bytes in {} laps, {} in {}",
            on.bytes_out, on.laps, off.bytes_out, off.laps
        );
        return Err(MicroError::set_up("aggregate: incompressible", grown));
    }
    Ok(())
}

/// Segments as frames, made anew for every lap.
struct Segments {
    source: HeapSource,
    bytes: Vec<Vec<u8>>,
    frames: Vec<HeapFrame>,
}

impl Segments {
    fn new() -> Self {
        let all = random_bytes(LAP * FRAME);
        Segments {
            source: HeapSource::new(2 * LAP),
            bytes: all.chunks(FRAME).map(<[u8]>::to_vec).collect(),
            frames: Vec::with_capacity(LAP),
        }
    }

    fn renew(&mut self) {
        self.frames.clear();
        self.frames.extend(self.bytes.iter().filter_map(|bytes| self.source.frame_of(bytes)));
    }
}

/// The packet driver.
pub(crate) struct Driver {
    segments: Segments,
    aggregator: Aggregator<HeapFrame>,
    sent: u64,
    flows: u32,
}

impl Driver {
    /// With one flow.
    pub(crate) fn new() -> Self {
        Self::of_flows(1)
    }

    /// With so many flows, a segment of each in turn.
    pub(crate) fn of_flows(flows: u32) -> Self {
        Driver { segments: Segments::new(), aggregator: aggregator(), sent: 0, flows }
    }

    /// All segments in; what comes out to `then`.
    pub(crate) fn through(
        &mut self,
        compress: bool,
        mut then: impl FnMut(dataplane::packet_driver::OutboundBuffer),
    ) {
        for (number, frame) in (0..).zip(self.segments.frames.drain(..)) {
            let slot = 1 + number % self.flows;
            let body = OutboundBody::Frame { frame, offset: HEADERS, len: SEGMENT };
            let message = Outbound {
                peer: PeerIndex(0),
                class: Class(1),
                compress,
                slot,
                header: MessageHeader {
                    kind: MessageKind::Data,
                    flow: FlowId(u64::from(slot)),
                    key: None,
                    sequence: self.sent,
                    status: 0,
                },
                body,
            };
            self.sent += u64::from(SEGMENT);
            let _ = black_box(self.aggregator.push(Time::ZERO, message));
        }
        while let Some(buffer) =
            self.aggregator.pull(Time::ZERO, |_| [Downstream::Idle; Lane::COUNT])
        {
            then(buffer);
        }
    }
}

fn pool() -> BufferPool {
    BufferPool::new(&[PoolClass { size: BUFFER, count: 16, reserve: 0 }])
}

fn aggregator() -> Aggregator<HeapFrame> {
    let mut aggregator = Aggregator::new(AggregateConfig::default(), pool());
    aggregator.begin_session(PeerIndex(0), SessionNumber(1));
    aggregator
}

impl Work for Driver {
    fn prepare(&mut self) {
        self.segments.renew();
    }

    fn run(&mut self) {
        self.through(false, |buffer| drop(black_box(buffer)));
    }
}

/// The copy alone.
struct Copied {
    segments: Segments,
    buffer: Vec<u8>,
}

impl Copied {
    fn new() -> Self {
        Copied { segments: Segments::new(), buffer: vec![0; BUFFER] }
    }
}

impl Work for Copied {
    fn prepare(&mut self) {
        self.segments.renew();
    }

    fn run(&mut self) {
        let parts = self.buffer.chunks_exact_mut(SEGMENT as usize);
        for (part, frame) in parts.zip(&self.segments.frames) {
            part.copy_from_slice(&frame.head()[HEADERS as usize..]);
        }
        black_box(&self.buffer);
    }
}

/// The work of the sending side for a buffer: aggregated, tried to compress, copied into datagrams,
/// sealed.
struct Sending {
    driver: Driver,
    compress: bool,
    compressor: Compressor,
    sealer: Sealer,
    datagram: Vec<u8>,
    laps: u64,
    bytes_out: u64,
}

impl Sending {
    fn new(compress: bool) -> Option<Self> {
        Some(Sending {
            driver: Driver::new(),
            compress,
            compressor: Compressor::new(pool(), &[Mode::Lz4]),
            sealer: pair(KEY)?.0,
            datagram: vec![0; DATAGRAM],
            laps: 0,
            bytes_out: 0,
        })
    }
}

impl Work for Sending {
    fn prepare(&mut self) {
        self.driver.prepare();
    }

    fn run(&mut self) {
        let Sending { driver, compressor, sealer, datagram, bytes_out, .. } = self;
        let mut number = 0;
        driver.through(self.compress, |buffer| {
            let buffer = compressor.compress(buffer, &Surroundings::default());
            *bytes_out += buffer.bytes.len() as u64;
            for piece in buffer.bytes.chunks(PAYLOAD) {
                number += 1;
                emit_front(number, datagram);
                datagram[FRONT_LEN..FRONT_LEN + piece.len()].copy_from_slice(piece);
                let len = FRONT_LEN + piece.len() + TAG_LEN;
                black_box(sealer.seal(number, &mut datagram[..len], FRONT_LEN));
            }
        });
        self.laps += 1;
    }
}
