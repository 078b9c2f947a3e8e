//! Parity over buffers, and what is restored with it, without a session around them.

use proptest::prelude::*;

use super::super::PeerConfig;
use super::super::reassembly::{Reassembly, Taken};
use super::super::wire::{CELLS_MAX, PARITIES_MAX, Parity, Piece};
use super::decoder::{Decoder, Restored};
use super::{CELL_LEN_MAX, Coder};
use crate::packet_driver::{BufferKind, BufferPool, BufferSlice, PeerIndex, PoolClass};

const BUFFER_MAX: u32 = 64 * 1024;

fn receiving() -> (Reassembly, Decoder, BufferPool) {
    let pool = BufferPool::new(&[PoolClass { size: BUFFER_MAX as usize, count: 4, reserve: 0 }]);
    let config = PeerConfig {
        buffers_max: 64,
        reassembly_bytes_max: 8 * BUFFER_MAX,
        buffer_len_max: BUFFER_MAX,
        ..PeerConfig::new(PeerIndex(0), 1_000_000)
    };
    (Reassembly::new(&config.clamped(), pool.clone()), Decoder::new(true), pool)
}

fn content(len: u32) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 7 + i / 251) % 253).unwrap()).collect()
}

fn over(buffer_len: u32, boundary: u32, cell_len: u16, parities: u8) -> Parity {
    let cells = 1 + (buffer_len - boundary).div_ceil(u32::from(cell_len));
    Parity {
        logical: 0,
        kind: BufferKind::Stream,
        buffer_len,
        boundary,
        cells: u8::try_from(cells).unwrap(),
        parities,
        index: 0,
        cell_len,
    }
}

/// All parities over a buffer.
fn coded(parity: &Parity, buffer: &[u8]) -> Vec<Vec<u8>> {
    let len = usize::from(parity.cell_len);
    let mut coder = Coder::new().unwrap();
    coder.begin(parity).unwrap();
    for cell in 0..parity.cells {
        let (from, to) = parity.cell(cell);
        let mut bytes = buffer[from as usize..to as usize].to_vec();
        bytes.resize(len, 0);
        coder.cell(&bytes).unwrap();
    }
    let mut out = vec![0; len * usize::from(PARITIES_MAX)];
    coder.code(len, &mut out).unwrap();
    out.chunks(len).take(usize::from(parity.parities)).map(<[u8]>::to_vec).collect()
}

fn piece(parity: &Parity, cell: u8) -> Piece {
    let (offset, to) = parity.cell(cell);
    let &Parity { kind, buffer_len, .. } = parity;
    Piece { logical: 0, kind, buffer_len, offset, len: u16::try_from(to - offset).unwrap() }
}

/// What arrives.
#[derive(Clone, Copy, Debug)]
enum Arrival {
    Cell(u8),
    Parity(u8),
}

/// Lets things arrive; the buffer if it is complete, and what was restored.
fn arrive(
    arrivals: &[Arrival],
    parity: &Parity,
    (reassembly, decoder): (&mut Reassembly, &mut Decoder),
) -> (Vec<BufferSlice>, Restored) {
    let buffer = content(parity.buffer_len);
    let parities = coded(parity, &buffer);
    let mut complete = Vec::new();
    let mut all = Restored::default();
    for arrival in arrivals {
        let mut restored_whole = |_: BufferKind, taken: Taken| {
            if let Taken::Complete(buffer) = taken {
                complete.push(buffer);
            }
        };
        let restored = match *arrival {
            Arrival::Cell(cell) => {
                let (from, to) = parity.cell(cell);
                let bytes = &buffer[from as usize..to as usize];
                restored_whole(parity.kind, reassembly.take(&piece(parity, cell), bytes));
                decoder.changed(0, reassembly, restored_whole)
            }
            Arrival::Parity(index) => {
                let parity = Parity { index, ..*parity };
                decoder.take(&parity, &parities[usize::from(index)], reassembly, restored_whole)
            }
        };
        assert!(!restored.contradiction);
        all.cells += restored.cells;
        all.useless += restored.useless;
    }
    (complete, all)
}

/// A buffer, the parity over it, and what arrives of both in which order.
fn some_arrivals() -> impl Strategy<Value = (Parity, Vec<Arrival>, u32)> {
    (1_u16..768, 1_u32..40_000, any::<prop::sample::Index>(), 1_u8..=PARITIES_MAX)
        .prop_flat_map(|(half, len, first, parities)| {
            let cell_len = half * 2;
            let len = len.min(u32::from(cell_len) * u32::from(CELLS_MAX - 1));
            let first = first.index(usize::from(cell_len).min(len as usize)) + 1;
            let parity = over(len, u32::try_from(first).unwrap(), cell_len, parities);
            let all: Vec<_> = (0..parity.cells)
                .map(Arrival::Cell)
                .chain((0..parities).map(Arrival::Parity))
                .collect();
            let count = all.len();
            (Just(parity), Just(all).prop_shuffle(), 0..=count.min(2 * usize::from(parities)))
        })
        .prop_map(|(parity, mut all, lost)| {
            all.truncate(all.len() - lost);
            (parity, all, u32::try_from(lost).unwrap())
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn as_many_losses_as_parities_are_restored_exactly_and_more_change_nothing(
        (parity, arrivals, lost) in some_arrivals()
    ) {
        let (mut reassembly, mut decoder, pool) = receiving();
        let (complete, restored) = arrive(&arrivals, &parity, (&mut reassembly, &mut decoder));
        let cells = arrivals.iter().filter(|a| matches!(a, Arrival::Cell(_))).count();
        let came = arrivals.len() - cells;
        if lost <= u32::from(parity.parities) {
            prop_assert_eq!(complete.len(), 1);
            prop_assert_eq!(&*complete[0], &*content(parity.buffer_len));
            prop_assert_eq!(restored.useless + restored.cells, came as u64);
            prop_assert_eq!(decoder.held(), 0);
        } else {
            prop_assert!(complete.is_empty());
            prop_assert_eq!(restored, Restored::default());
            prop_assert_eq!(decoder.held(), came);
            reassembly.give_up_below(1);
            prop_assert_eq!(decoder.done_below(1), came as u64);
        }
        drop(complete);
        prop_assert_eq!((decoder.held(), pool.in_use_bytes()), (0, 0));
    }
}

#[test]
fn parity_that_contradicts_a_piece_or_is_of_no_use_changes_nothing() {
    let (mut reassembly, mut decoder, _pool) = receiving();
    let parity = over(5_000, 1_400, 1_400, 2);
    let bytes = coded(&parity, &content(5_000));
    arrive(&[Arrival::Cell(1)], &parity, (&mut reassembly, &mut decoder));
    let mut take = |parity: Parity, bytes: &[u8]| {
        decoder.take(&parity, bytes, &mut reassembly, |_, _| panic!("nothing is restored"))
    };
    for wrong in
        [Parity { buffer_len: 5_001, ..parity }, Parity { kind: BufferKind::Datagram, ..parity }]
    {
        assert!(take(wrong, &bytes[0]).contradiction, "{wrong:?}");
    }
    let useless = Restored { cells: 0, useless: 1, contradiction: false };
    let other = Parity { logical: 1, ..parity };
    // Before the lowest, beyond the window, longer than what is taken, as long as nothing is.
    assert_eq!(take(Parity { logical: u64::MAX, ..other }, &bytes[0]), useless);
    assert_eq!(take(Parity { logical: 64, ..other }, &bytes[0]), useless);
    assert_eq!(take(Parity { buffer_len: BUFFER_MAX + 1, ..other }, &bytes[0]), useless);
    let long = Parity { cell_len: CELL_LEN_MAX + 2, boundary: CELL_LEN_MAX.into(), ..other };
    assert_eq!(take(long, &[0; CELL_LEN_MAX as usize + 2]), useless);
    assert_eq!(take(other, &bytes[0]), Restored::default(), "held");
    assert_eq!(take(other, &bytes[0]), useless, "held already");
    assert_eq!(decoder.held(), 1);
}

#[test]
fn memory_and_work_have_a_limit() {
    let (mut reassembly, mut decoder, _pool) = receiving();
    let parity = over(2_800, 1_400, 1_400, 2);
    let bytes = coded(&parity, &content(2_800));
    // More parities than are held: the oldest make room.
    for logical in 0..60 {
        let of = Parity { logical, ..parity };
        decoder.take(&of, &bytes[0], &mut reassembly, |_, _| {});
    }
    assert_eq!(decoder.held(), 32);
    decoder.reset();
    let mut restored = 0;
    for logical in 0..60 {
        for index in 0..2 {
            let of = Parity { logical, index, ..parity };
            let bytes = &bytes[usize::from(index)];
            restored += decoder.take(&of, bytes, &mut reassembly, |_, _| {}).cells;
        }
    }
    assert_eq!(restored, 2 * 60);
    for logical in 60..120 {
        for index in 0..2 {
            let of = Parity { logical, index, ..parity };
            let bytes = &bytes[usize::from(index)];
            restored += decoder.take(&of, bytes, &mut reassembly, |_, _| {}).cells;
        }
    }
    assert_eq!(restored, 2 * 64, "not without datagrams that pay for it");
    (0..8).for_each(|_| decoder.heard());
    let of = Parity { logical: 119, ..parity };
    assert_eq!(decoder.changed(119, &mut reassembly, |_, _| {}).cells, 2, "{of:?}");
}
