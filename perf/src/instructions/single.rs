//! Stages that need nothing around them.

use std::collections::VecDeque;
use std::hint::black_box;

use dataplane::compression::{Compressor, Decompressor, Mode, Surroundings};
use dataplane::data_mover::security::alone::pair;
use dataplane::data_mover::wire::TAG_LEN;
use dataplane::frame;
use dataplane::interceptor::flow_table::BULK_MAX;
use dataplane::interceptor::{Decision, FlowHasher, FlowTable, PassReason};
use dataplane::link::Link;
use dataplane::packet_driver::{BufferPool, BufferSlice, Disaggregator, PeerIndex, PoolClass};
use dataplane::time::Time;

use super::{Work, WorkError, counted};
use crate::micro::aggregate::{Driver, LAP, SEGMENT};
use crate::micro::classify::{key, shuffle};
use crate::micro::compress::{BUFFER, buffer_of, outbound};
use crate::micro::measure::Work as Lap;
use crate::micro::parse::frames;
use crate::micro::seal::{FRONT_LEN, KEY, PAYLOAD, plain};

/// Times that a lap is done: enough that the first one, where memory is new, weighs little.
const LAPS: u64 = 20;

pub(super) fn parse() -> Result<Work, WorkError> {
    let frames = frames();
    counted(&mut || {
        for frame in (0..LAPS).flat_map(|_| &frames) {
            let frame = black_box(frame);
            let _ = black_box(frame::parse(frame, frame.len()));
        }
    });
    let items = LAPS * frames.len() as u64;
    Ok(Work { stage: "parse", item: "frame", items, bytes: 0 })
}

pub(super) fn classify() -> Result<Work, WorkError> {
    const KNOWN: u32 = 10_000;
    let mut table = FlowTable::new(KNOWN as usize, FlowHasher::new([1, 2]));
    for n in 0..KNOWN {
        let decision = Decision::pass(PassReason::NoRule);
        table
            .insert(&key(n), decision, Time::ZERO)
            .map_err(|error| WorkError::new("classify", format!("{error:?}")))?;
    }
    let mut keys: Vec<_> = (0..KNOWN).map(key).collect();
    shuffle(&mut keys);
    let mut seen = 0;
    counted(&mut || {
        for keys in keys.chunks_exact(BULK_MAX) {
            let mut found = [None; BULK_MAX];
            table.lookup_bulk(black_box(keys), &mut found);
            seen += found.iter().flatten().count() as u64;
        }
    });
    Ok(Work { stage: "classify", item: "key", items: seen, bytes: 0 })
}

/// Flows whose messages share a buffer.
const FLOWS: u32 = 15;

/// A buffer of segments of several flows, as the packet driver fills it.
fn filled() -> Result<BufferSlice, WorkError> {
    let mut driver = Driver::of_flows(FLOWS);
    driver.prepare();
    let mut first = None;
    driver.through(false, |buffer| first = first.take().or(Some(buffer.bytes)));
    first.ok_or_else(|| WorkError::new("disaggregate", "there is no buffer"))
}

pub(super) fn aggregate() -> Result<Work, WorkError> {
    let mut driver = Driver::new();
    let mut buffers = 0;
    for _ in 0..LAPS {
        driver.prepare();
        counted(&mut || driver.through(false, |_| buffers += 1));
    }
    let items = if buffers == 0 { 0 } else { LAPS * LAP as u64 };
    let bytes = items * u64::from(SEGMENT);
    Ok(Work { stage: "aggregate", item: "segment", items, bytes })
}

pub(super) fn disaggregate() -> Result<Work, WorkError> {
    let buffer = filled()?;
    let disaggregator = Disaggregator::new(&[]);
    let mut items = 0;
    counted(&mut || {
        for _ in 0..LAPS {
            let messages = disaggregator.messages(PeerIndex(0), black_box(buffer.clone()));
            items += messages.map(black_box).count() as u64;
        }
    });
    let bytes = LAPS * buffer.len() as u64;
    Ok(Work { stage: "disaggregate", item: "message", items, bytes })
}

/// Text that shrinks to a good half, the same everywhere.
fn text() -> Vec<u8> {
    let words = ["packet", "window", "queue", "burst", "loss", "rate", "peer", "flow", "and", "of"];
    let mut number = 1_u32;
    let mut text = Vec::with_capacity(BUFFER);
    while text.len() < BUFFER {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = words[(number >> 24) as usize % words.len()];
        text.extend_from_slice(word.as_bytes());
        text.extend_from_slice(&number.to_le_bytes()[2..]);
    }
    text
}

fn buffers() -> Result<(BufferPool, BufferSlice), WorkError> {
    let pool = BufferPool::new(&[PoolClass { size: BUFFER, count: 8, reserve: 0 }]);
    let plain = buffer_of(&pool, &text()[..BUFFER - 64]);
    plain.map(|plain| (pool, plain)).ok_or_else(|| WorkError::new("compress", "there is no buffer"))
}

pub(super) fn compress() -> Result<Work, WorkError> {
    let (pool, plain) = buffers()?;
    let mut compressor = Compressor::new(pool, &[Mode::Lz4]);
    let mut shrunk = 0;
    counted(&mut || {
        let packed =
            compressor.compress(outbound(black_box(plain.clone())), &Surroundings::default()).bytes;
        shrunk = u64::from(packed.len() < plain.len());
    });
    let bytes = plain.len() as u64;
    Ok(Work { stage: "compress", item: "buffer", items: shrunk, bytes })
}

pub(super) fn decompress() -> Result<Work, WorkError> {
    let (pool, plain) = buffers()?;
    let packed = Compressor::new(pool.clone(), &[Mode::Lz4])
        .compress(outbound(plain.clone()), &Surroundings::default())
        .bytes;
    let mut decompressor = Decompressor::new(pool, BUFFER);
    let mut same = 0;
    counted(&mut || {
        if let Ok(unpacked) = decompressor.decompress(black_box(&packed)) {
            same = unpacked.len();
        }
    });
    let items = u64::from(same == plain.len());
    Ok(Work { stage: "decompress", item: "buffer", items, bytes: plain.len() as u64 })
}

pub(super) fn seal() -> Result<Work, WorkError> {
    let failed = || WorkError::new("seal", "there are no keys");
    let (mut sealer, _) = pair(KEY).ok_or_else(failed)?;
    let mut datagrams = plain().ok_or_else(failed)?;
    let mut items = 0;
    counted(&mut || {
        for (datagram, number) in datagrams.iter_mut().zip(1..) {
            items += u64::from(sealer.seal(number, datagram, FRONT_LEN).is_some());
        }
    });
    Ok(Work { stage: "seal", item: "datagram", items, bytes: items * PAYLOAD as u64 })
}

pub(super) fn open() -> Result<Work, WorkError> {
    let failed = || WorkError::new("open", "there are no keys");
    let (mut sealer, mut opener) = pair(KEY).ok_or_else(failed)?;
    let mut datagrams = plain().ok_or_else(failed)?;
    for (datagram, number) in datagrams.iter_mut().zip(1..) {
        sealer.seal(number, datagram, FRONT_LEN).ok_or_else(failed)?;
    }
    let mut items = 0;
    counted(&mut || {
        for datagram in &mut datagrams {
            items += u64::from(opener.open(datagram).is_some());
        }
    });
    debug_assert_eq!(TAG_LEN, 16);
    Ok(Work { stage: "open", item: "datagram", items, bytes: items * PAYLOAD as u64 })
}

pub(super) fn ring() -> Result<Work, WorkError> {
    const BURST: usize = 32;
    let (mut sender, mut receiver) = Link::ring(512);
    let mut queue: VecDeque<u64> = VecDeque::with_capacity(BURST);
    let mut items = 0;
    for _ in 0..LAPS {
        queue.extend(0..BURST as u64);
        counted(&mut || {
            sender.push_all(black_box(&mut queue));
            receiver.pop_into(BURST, &mut queue);
            black_box(&queue);
        });
        items += queue.drain(..).count() as u64;
    }
    Ok(Work { stage: "ring", item: "item", items, bytes: 0 })
}
