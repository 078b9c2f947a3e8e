use proptest::prelude::*;

use super::super::choice::tests::FIRST;
use super::*;
use crate::packet_driver::{BufferKind, Class, PeerIndex, PoolClass, SessionNumber};

const SIZE: usize = 8192;

fn wan_of(mbps: u64) -> Surroundings {
    Surroundings { wan_ps: 8_000_000 / mbps, ..Surroundings::default() }
}

fn of_mode(pool: &BufferPool, mode: Mode) -> Compressor {
    Compressor::new(pool.clone(), &[mode])
}

fn compressor(pool: &BufferPool) -> Compressor {
    of_mode(pool, Mode::Lz4)
}

/// Where every buffer shrinks that can.
fn pass(compressor: &mut Compressor, buffer: OutboundBuffer) -> OutboundBuffer {
    compressor.compress(buffer, &Surroundings::default())
}

fn pool() -> BufferPool {
    BufferPool::new(&[
        PoolClass { size: 1024, count: 4, reserve: 0 },
        PoolClass { size: SIZE, count: 4, reserve: 0 },
    ])
}

/// A buffer of three messages that says it is packed like this, and `plain_len` long.
fn buffer(pool: &BufferPool, packing: Packing, data: &[u8], plain_len: u32) -> BufferSlice {
    let data_len = u32::try_from(data.len()).unwrap();
    let mut buffer = pool.alloc(ROUTING_HEADER_LEN + data.len()).unwrap();
    let header =
        RoutingHeader { kind: BufferKind::Stream, packing, messages: 3, data_len, plain_len };
    header.emit(buffer.append(ROUTING_HEADER_LEN).unwrap());
    buffer.append(data.len()).unwrap().copy_from_slice(data);
    buffer.freeze()
}

pub(crate) fn outbound(pool: &BufferPool, class: u8, data: &[u8]) -> OutboundBuffer {
    let plain_len = u32::try_from(data.len()).unwrap();
    OutboundBuffer {
        peer: PeerIndex(0),
        session: SessionNumber(1),
        lane: Lane::new(Class(class), false),
        kind: BufferKind::Stream,
        deadline: None,
        compress: true,
        bytes: buffer(pool, Packing::Stored, data, plain_len),
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
    let mut lz4 = compressor(&pool);
    let mut decompressor = Decompressor::new(pool.clone(), SIZE);
    let text = b"the quick brown fox jumps over the lazy dog. ".repeat(100);
    let packed = pass(&mut lz4, outbound(&pool, 0, &text));
    assert!(packed.bytes.len() < text.len() / 10);
    let plain = decompressor.decompress(&packed.bytes).unwrap();
    assert_eq!(&plain[ROUTING_HEADER_LEN..], &text[..]);
    let view = RoutingView::new_checked(&plain).unwrap();
    assert_eq!(RoutingHeader::parse(&view).unwrap().messages, 3);
    assert_eq!(lz4.counters().get(CompressionCounter::BytesIn), text.len() as u64 + 12);
    assert_eq!(lz4.counters().get(CompressionCounter::BytesOut), packed.bytes.len() as u64);
    drop((packed, plain));
    assert_eq!(pool.in_use_bytes(), 0);
}

#[test]
fn off_and_small_buffers_are_left_alone() {
    let pool = pool();
    let mut lz4 = compressor(&pool);
    let mut off = outbound(&pool, 0, &[b'a'; 2000]);
    off.compress = false;
    assert_eq!(pass(&mut lz4, off).bytes.len(), 2000 + ROUTING_HEADER_LEN);
    let small = outbound(&pool, 0, &[b'a'; TRY_LEN_MIN - 1]);
    let _ = pass(&mut lz4, small);
    assert_eq!(lz4.counters().get(CompressionCounter::BuffersOff), 1);
    assert_eq!(lz4.counters().get(CompressionCounter::BuffersSmall), 1);
}

#[test]
fn noise_does_not_grow_and_is_tried_ever_less_often() {
    let pool = pool();
    let mut lz4 = compressor(&pool);
    let data = noise(4000, 7);
    let mut tried = Vec::new();
    for n in 0..200 {
        let before = lz4.counters().get(CompressionCounter::BuffersIncompressible);
        let out = pass(&mut lz4, outbound(&pool, 0, &data));
        assert_eq!(&out.bytes[ROUTING_HEADER_LEN..], &data[..]);
        if lz4.counters().get(CompressionCounter::BuffersIncompressible) > before {
            tried.push(n);
        }
    }
    // Odd steps: of what comes by turns each gets its turn.
    assert_eq!(tried, [0, 1, 4, 9, 18, 35, 68, 133, 198]);
    let counters = lz4.counters();
    assert_eq!(
        counters.get(CompressionCounter::BytesIn),
        counters.get(CompressionCounter::BytesOut)
    );
    // Another class is not held back by it, and a success resets the skipping.
    let other = pass(&mut lz4, outbound(&pool, 1, &[7; 4000]));
    assert!(other.bytes.len() < 200);
    drop(other);
    while pass(&mut lz4, outbound(&pool, 0, &[7; 4000])).bytes.len() > 200 {}
    let shrunk = |_| pass(&mut lz4, outbound(&pool, 0, &[8; 4000])).bytes.len() < 200;
    assert_eq!((0..100).map(shrunk).filter(|shrunk| *shrunk).count(), 100);
}

#[test]
fn an_empty_pool_stores_and_holds_back() {
    let pool = pool();
    let empty = BufferPool::new(&[]);
    let packed = pass(&mut compressor(&pool), outbound(&pool, 0, &[1; 3000]));
    let mut lz4 = compressor(&empty);
    let stored = pass(&mut lz4, outbound(&pool, 0, &[1; 3000]));
    assert_eq!(stored.bytes.len(), 3000 + ROUTING_HEADER_LEN);
    assert_eq!(lz4.counters().get(CompressionCounter::BuffersNoMemory), 1);
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
    let packed = pass(&mut compressor(&pool), outbound(&pool, 0, &[1; 3000]));
    let mut decompressor = Decompressor::new(pool.clone(), 3000);
    assert_eq!(decompressor.decompress(&packed.bytes).err(), Some(DecompressError::Damaged));
    assert_eq!(decompressor.counters().get(DecompressionCounter::BuffersTooLong), 1);
}

#[test]
fn a_plain_buffer_finds_a_place_although_the_pool_is_empty() {
    let sending = pool();
    let data = vec![7; 4_000];
    let packed = pass(&mut compressor(&sending), outbound(&sending, 0, &data));
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

#[test]
fn each_level_packs_is_counted_and_comes_back() {
    let text = b"GET /a/b/c HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n".repeat(60);
    for (mbps, level) in FIRST {
        let pool = pool();
        let mut auto = of_mode(&pool, Mode::Auto);
        let packed = auto.compress(outbound(&pool, 0, &text), &wan_of(mbps));
        let (buffers, bytes) = CompressionCounter::of_level(level);
        assert_eq!(auto.counters().get(buffers), 1, "{level:?}");
        assert_eq!(auto.counters().get(bytes), text.len() as u64 + 12);
        let view = RoutingView::new_checked(&packed.bytes).unwrap();
        let expected = match level {
            Level::Stored => Packing::Stored,
            Level::Lz4Fast | Level::Lz4 => Packing::Lz4,
            Level::Zstd1 | Level::Zstd3 | Level::Zstd6 => Packing::Zstd,
        };
        assert_eq!(RoutingHeader::parse(&view).unwrap().packing, expected);
        let plain = Decompressor::new(pool.clone(), SIZE).decompress(&packed.bytes).unwrap();
        assert_eq!(&plain[ROUTING_HEADER_LEN..], &text[..]);
    }
}

#[test]
fn a_peer_that_does_not_take_zstd_gets_none() {
    let pool = pool();
    let text = b"the quick brown fox jumps over the lazy dog. ".repeat(100);
    let mut auto = of_mode(&pool, Mode::Auto);
    for n in 0..300 {
        let surroundings = Surroundings { zstd: n >= 200, ..Surroundings::default() };
        let _ = auto.compress(outbound(&pool, 0, &text), &surroundings);
        let count = |counter| auto.counters().get(counter);
        let zstd = count(CompressionCounter::BuffersZstd1)
            + count(CompressionCounter::BuffersZstd3)
            + count(CompressionCounter::BuffersZstd6);
        assert_eq!(zstd > 0, n >= 200, "{n}");
    }
}

#[test]
fn what_is_to_be_compressed_with_lz4_goes_by_no_other_level() {
    let pool = pool();
    let text = b"the quick brown fox jumps over the lazy dog. ".repeat(100);
    let mut lz4 = compressor(&pool);
    for _ in 0..300 {
        let _ = pass(&mut lz4, outbound(&pool, 0, &text));
        // On a core that others have most of the time.
        lz4.took(10_000_000);
    }
    assert_eq!(lz4.counters().get(CompressionCounter::BuffersLz4), 300);
}

#[test]
fn a_mode_may_change_between_two_buffers() {
    let pool = pool();
    let mut compressor = of_mode(&pool, Mode::None);
    let text = [b'x'; 4000];
    let mut len_of = |mode| {
        compressor.set_modes([(PeerIndex(0), mode)]);
        pass(&mut compressor, outbound(&pool, 0, &text)).bytes.len()
    };
    let lens = [Mode::None, Mode::Lz4, Mode::Auto, Mode::None].map(&mut len_of);
    assert_eq!((lens[0], lens[3]), (4012, 4012));
    assert!(lens[1] < 100 && lens[2] < 100, "{lens:?}");
    assert_eq!(compressor.counters().get(CompressionCounter::BuffersOff), 2);
}

#[test]
fn a_frame_of_another_length_than_announced_is_damaged() {
    let pool = pool();
    let mut frame = [0; 100];
    let len = zstd::Packer::default().compress(&[7; 3_000], &mut frame, 3).unwrap();
    let mut decompressor = Decompressor::new(pool.clone(), SIZE);
    for (plain_len, ok) in [(3_000, true), (2_999, false), (3_001, false), (0, false)] {
        let buffer = buffer(&pool, Packing::Zstd, &frame[..len], plain_len);
        assert_eq!(decompressor.decompress(&buffer).is_ok(), ok, "{plain_len}");
    }
    for plain_len in [u32::try_from(SIZE).unwrap(), u32::MAX] {
        let buffer = buffer(&pool, Packing::Zstd, &frame[..len], plain_len);
        assert!(decompressor.decompress(&buffer).is_err());
    }
    assert_eq!(decompressor.counters().get(DecompressionCounter::BuffersDamaged), 3);
    assert_eq!(decompressor.counters().get(DecompressionCounter::BuffersTooLong), 2);
    assert_eq!(pool.in_use_bytes(), 0);
}

fn any_rate() -> impl Strategy<Value = u64> {
    proptest::sample::select(FIRST.map(|(mbps, _)| mbps).to_vec())
}

proptest! {
    #[test]
    fn damaged_buffers_are_refused_or_of_the_announced_length(
        data in proptest::collection::vec(0u8..4, 300..2000),
        at in any::<usize>(),
        flip in 1u8..,
        mbps in any_rate(),
    ) {
        let pool = pool();
        let packed = of_mode(&pool, Mode::Auto).compress(outbound(&pool, 0, &data), &wan_of(mbps));
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
    fn arbitrary_frames_never_fill_more_than_is_announced(
        data in proptest::collection::vec(any::<u8>(), 0..300),
        plain_len in 0_u32..4_000,
    ) {
        let pool = pool();
        let buffer = buffer(&pool, Packing::Zstd, &data, plain_len);
        if let Ok(plain) = Decompressor::new(pool.clone(), SIZE).decompress(&buffer) {
            prop_assert_eq!(plain.len(), ROUTING_HEADER_LEN + plain_len as usize);
        }
        drop(buffer);
        prop_assert_eq!(pool.in_use_bytes(), 0);
    }

    /// One compressor and one decompressor for buffers of all lengths, at all levels.
    #[test]
    fn any_data_come_back(
        all in proptest::collection::vec(
            (proptest::collection::vec(0u8..6, 0..4000), any_rate()), 1..8),
    ) {
        let pool = pool();
        let mut auto = of_mode(&pool, Mode::Auto);
        let mut decompressor = Decompressor::new(pool.clone(), SIZE);
        for (data, mbps) in all {
            let packed = auto.compress(outbound(&pool, 0, &data), &wan_of(mbps));
            let plain = decompressor.decompress(&packed.bytes).unwrap();
            prop_assert_eq!(&plain[ROUTING_HEADER_LEN..], &data[..]);
            prop_assert!(packed.bytes.len() <= plain.len());
        }
    }
}
