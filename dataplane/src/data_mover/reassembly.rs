//! Reassembly: pieces into buffers, each delivered as soon as it is complete.
//!
//! In: pieces in any order, cut in any way, more than once. Out: each buffer once, whole.
//! Never: a buffer longer, or further ahead, or more of them, than the limits that the peer was
//! told.

use super::config::PeerConfig;
use super::wire::{Parity, Piece};
use crate::copy::{self, Copied};
use crate::packet_driver::{BufferKind, BufferMut, BufferPool, BufferSlice};

/// Gaps in one buffer, at most; a piece that would make more is refused and sent again later.
const RANGES_MAX: usize = 64;

const NONE: u32 = u32::MAX;
const DONE: u32 = u32::MAX - 1;

/// An incomplete buffer.
#[derive(Debug)]
struct Assembly {
    memory: Option<BufferMut>,
    kind: BufferKind,
    /// What has arrived: ascending, neither overlapping nor touching.
    ranges: Vec<(u32, u32)>,
}

/// What became of a piece.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is in its buffer, which is not complete yet.
    Stored,
    /// It completed its buffer.
    Complete(BufferSlice),
    /// All of it was there already.
    Duplicate,
    /// No memory, or beyond a limit; nothing changed.
    Refused,
    /// It contradicts an earlier piece of the same buffer; nothing changed.
    Contradiction,
}

/// What is missing of the cells that a parity is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nothing that would be taken: all is there, or the buffer is beyond a limit.
    Nothing,
    /// These cells, a bit for each from the lowest on.
    Cells(u64),
    /// The buffer has another kind or length.
    Contradiction,
}

/// The buffers on their way from the peer.
#[derive(Debug)]
pub(super) struct Reassembly {
    pool: BufferPool,
    /// Per logical number: the assembly, or [`NONE`], or [`DONE`].
    slots: Box<[u32]>,
    assemblies: Box<[Assembly]>,
    free: Vec<u32>,
    /// Lowest number that is not done.
    lowest: u64,
    /// Numbers from here on have had no piece.
    end: u64,
    held_bytes: u64,
    held_bytes_max: u64,
    buffer_len_max: u32,
    /// Length of the shortest buffer for which the pool had no memory of late.
    short_of: Option<usize>,
}

impl Reassembly {
    pub(super) fn new(config: &PeerConfig, pool: BufferPool) -> Self {
        let count = config.assemblies();
        let assembly = || Assembly {
            memory: None,
            kind: BufferKind::Stream,
            ranges: Vec::with_capacity(RANGES_MAX + 1),
        };
        let slots = usize::try_from(config.buffers_max).unwrap_or(64);
        Reassembly {
            pool,
            slots: vec![NONE; slots].into_boxed_slice(),
            assemblies: (0..count).map(|_| assembly()).collect(),
            free: (0..u32::try_from(count).unwrap_or(0)).rev().collect(),
            lowest: 0,
            end: 0,
            held_bytes: 0,
            held_bytes_max: u64::from(config.reassembly_bytes_max),
            buffer_len_max: config.buffer_len_max,
            short_of: None,
        }
    }

    /// Bytes of incomplete buffers, at most, from now on; those that are held already stay.
    pub(super) fn set_held_bytes_max(&mut self, bytes: u32) {
        self.held_bytes_max = u64::from(bytes);
    }

    /// Begins a session; incomplete buffers are dropped.
    pub(super) fn reset(&mut self) {
        for number in self.lowest..self.end {
            self.drop_assembly(number);
            self.set(number, NONE);
        }
        (self.lowest, self.end) = (0, 0);
        self.held_bytes = 0;
        self.short_of = None;
    }

    /// Lowest number that is neither complete nor given up by the peer.
    pub(super) fn lowest_incomplete(&self) -> u64 {
        self.lowest
    }

    /// Whether the pool still has no memory for a buffer that was refused.
    pub(super) fn is_short(&mut self) -> bool {
        self.short_of = self.short_of.filter(|len| self.pool.alloc(*len).is_none());
        self.short_of.is_some()
    }

    /// Bytes of buffers that could be begun now; less than what was refused for want of memory.
    pub(super) fn room_bytes(&self) -> u64 {
        let memory = self.pool.capacity_bytes().saturating_sub(self.pool.in_use_bytes());
        let memory = self.short_of.map_or(memory, |len| memory.min(len.saturating_sub(1)));
        self.held_bytes_max.saturating_sub(self.held_bytes).min(memory as u64)
    }

    /// Fills `out` with flags of completeness from the lowest incomplete number on; how many bytes
    /// say anything.
    pub(super) fn report(&self, out: &mut [u8]) -> usize {
        let mut len = 0;
        let mut number = self.lowest;
        for (index, byte) in out.iter_mut().enumerate() {
            if number >= self.end {
                break;
            }
            *byte = 0;
            for bit in 0..8 {
                let done = number < self.end && self.get(number) == DONE;
                *byte |= u8::from(done) << bit;
                number += 1;
            }
            if *byte != 0 {
                len = index + 1;
            }
        }
        len
    }

    fn slot(&self, number: u64) -> usize {
        usize::try_from(number % self.slots.len().max(1) as u64).unwrap_or(0)
    }

    fn get(&self, number: u64) -> u32 {
        self.slots.get(self.slot(number)).copied().unwrap_or(NONE)
    }

    fn set(&mut self, number: u64, value: u32) {
        let slot = self.slot(number);
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = value;
        }
    }

    /// Takes a piece; its range is within its buffer.
    pub(super) fn take(&mut self, piece: &Piece, bytes: &[u8]) -> Taken {
        if piece.logical < self.lowest {
            return Taken::Duplicate;
        }
        if piece.logical - self.lowest >= self.slots.len() as u64
            || piece.buffer_len > self.buffer_len_max
        {
            return Taken::Refused;
        }
        match self.get(piece.logical) {
            DONE => Taken::Duplicate,
            NONE => self.begin(piece, bytes),
            index => self.extend(index, piece, bytes),
        }
    }

    fn begin(&mut self, piece: &Piece, bytes: &[u8]) -> Taken {
        let len = u64::from(piece.buffer_len);
        let control = piece.kind == BufferKind::Control;
        if !control && self.held_bytes + len > self.held_bytes_max {
            return Taken::Refused;
        }
        let size = usize::try_from(piece.buffer_len).unwrap_or(usize::MAX);
        let memory = if control { self.pool.alloc_reserved(size) } else { self.pool.alloc(size) };
        let Some(mut memory) = memory else {
            self.short_of = Some(self.short_of.map_or(size, |len| len.min(size)));
            return Taken::Refused;
        };
        memory.set_len(size);
        if size == bytes.len() {
            copy::bytes(Copied::DatagramToBuffer, memory.bytes_mut(), bytes);
            self.finish(piece.logical);
            return Taken::Complete(memory.freeze());
        }
        let Some(index) = self.free.pop() else { return Taken::Refused };
        if let Some(assembly) = self.assemblies.get_mut(index as usize) {
            assembly.memory = Some(memory);
            assembly.kind = piece.kind;
            assembly.ranges.clear();
        }
        self.held_bytes += len;
        self.end = self.end.max(piece.logical + 1);
        self.set(piece.logical, index);
        self.extend(index, piece, bytes)
    }

    fn extend(&mut self, index: u32, piece: &Piece, bytes: &[u8]) -> Taken {
        let Some(assembly) = self.assemblies.get_mut(index as usize) else {
            return Taken::Refused;
        };
        let Some(memory) = assembly.memory.as_mut() else { return Taken::Refused };
        let size = memory.len();
        if size as u64 != u64::from(piece.buffer_len) || assembly.kind != piece.kind {
            return Taken::Contradiction;
        }
        let (from, to) = (piece.offset, piece.offset + u32::from(piece.len));
        if assembly.ranges.iter().any(|(start, end)| *start <= from && to <= *end) {
            return Taken::Duplicate;
        }
        if assembly.ranges.len() >= RANGES_MAX {
            return Taken::Refused;
        }
        let start = usize::try_from(from).unwrap_or(usize::MAX);
        if let Some(place) = memory.bytes_mut().get_mut(start..start.saturating_add(bytes.len())) {
            copy::bytes(Copied::DatagramToBuffer, place, bytes);
        }
        insert_range(&mut assembly.ranges, from, to);
        if assembly.ranges.first() != Some(&(0, piece.buffer_len)) {
            return Taken::Stored;
        }
        let memory = assembly.memory.take();
        self.release(index, piece.buffer_len);
        self.finish(piece.logical);
        memory.map_or(Taken::Refused, |memory| Taken::Complete(memory.freeze()))
    }

    fn release(&mut self, index: u32, buffer_len: u32) {
        self.free.push(index);
        self.held_bytes -= u64::from(buffer_len);
    }

    fn drop_assembly(&mut self, number: u64) {
        let index = self.get(number);
        let memory = self.assemblies.get_mut(index as usize).and_then(|a| a.memory.take());
        if let Some(memory) = memory {
            self.release(index, u32::try_from(memory.len()).unwrap_or(0));
        }
    }

    fn finish(&mut self, number: u64) {
        self.end = self.end.max(number + 1);
        self.set(number, DONE);
        while self.lowest < self.end && self.get(self.lowest) == DONE {
            self.set(self.lowest, NONE);
            self.lowest += 1;
        }
    }

    /// Which cells of a buffer have not come.
    pub(super) fn missing(&self, logical: u64, parity: &Parity) -> Missing {
        let ahead = logical.checked_sub(self.lowest);
        if ahead.is_none_or(|ahead| ahead >= self.slots.len() as u64)
            || parity.buffer_len > self.buffer_len_max
        {
            return Missing::Nothing;
        }
        let ranges = match self.get(logical) {
            DONE => return Missing::Nothing,
            NONE => &[],
            index => {
                let Some(assembly) = self.assemblies.get(index as usize) else {
                    return Missing::Nothing;
                };
                let size = assembly.memory.as_ref().map_or(0, |memory| memory.len() as u64);
                if size != u64::from(parity.buffer_len) || assembly.kind != parity.kind {
                    return Missing::Contradiction;
                }
                assembly.ranges.as_slice()
            }
        };
        let mut ranges = ranges.iter().peekable();
        let mut missing = 0;
        for cell in 0..parity.cells {
            let (from, to) = parity.cell(cell);
            while ranges.next_if(|(_, end)| *end < to).is_some() {}
            let there = ranges.peek().is_some_and(|(start, _)| *start <= from);
            missing |= u64::from(!there) << cell;
        }
        if missing == 0 { Missing::Nothing } else { Missing::Cells(missing) }
    }

    /// A range of an incomplete buffer, all of which has come.
    pub(super) fn range(&self, logical: u64, from: u32, to: u32) -> Option<&[u8]> {
        let memory = self.assemblies.get(self.get(logical) as usize)?.memory.as_ref()?;
        let (from, to) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?);
        memory.bytes().get(from..to)
    }

    /// The peer has given this number up; whether it was incomplete here.
    pub(super) fn give_up(&mut self, number: u64) -> bool {
        let ahead = number.checked_sub(self.lowest);
        let known = ahead.is_some_and(|ahead| ahead < self.slots.len() as u64);
        if !known || self.get(number) == DONE {
            return false;
        }
        self.drop_assembly(number);
        self.finish(number);
        true
    }

    /// The peer has nothing more to send of the numbers below `floor`; how many were incomplete
    /// here.
    pub(super) fn give_up_below(&mut self, floor: u64) -> u64 {
        let mut count = 0;
        // What is further ahead than the window was never begun: no more than a window of work.
        let end = floor.min(self.lowest.saturating_add(self.slots.len() as u64));
        let mut number = self.lowest;
        while number < end {
            count += u64::from(self.give_up(number));
            number = self.lowest.max(number + 1);
        }
        count
    }
}

/// Adds `from..to`, joining what it overlaps or touches.
fn insert_range(ranges: &mut Vec<(u32, u32)>, from: u32, to: u32) {
    let first = ranges.partition_point(|(_, end)| *end < from);
    let last = ranges.partition_point(|(start, _)| *start <= to);
    let (mut joined_from, mut joined_to) = (from, to);
    if let Some((start, end)) = ranges.get(first..last).and_then(|joined| {
        let ((start, _), (_, end)) = (joined.first()?, joined.last()?);
        Some((*start, *end))
    }) {
        (joined_from, joined_to) = (from.min(start), to.max(end));
    }
    ranges.drain(first..last);
    ranges.insert(first, (joined_from, joined_to));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet_driver::{PeerIndex, PoolClass};
    use proptest::prelude::*;

    fn reassembly(count: usize) -> (Reassembly, BufferPool) {
        let pool = BufferPool::new(&[PoolClass { size: 4_096, count, reserve: 1 }]);
        let config = PeerConfig {
            buffers_max: 64,
            reassembly_bytes_max: 5 * 4_096,
            buffer_len_max: 4_096,
            ..PeerConfig::new(PeerIndex(0), 1_000_000)
        };
        (Reassembly::new(&config.clamped(), pool.clone()), pool)
    }

    fn piece(logical: u64, buffer_len: u32, offset: u32, len: u16) -> Piece {
        Piece { logical, kind: BufferKind::Stream, buffer_len, offset, len }
    }

    fn pattern(logical: u64, len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| {
                u8::try_from((i * 7 + i / 256 + usize::try_from(logical).unwrap()) % 256).unwrap()
            })
            .collect()
    }

    fn give(reassembly: &mut Reassembly, piece: Piece) -> Taken {
        let whole = pattern(piece.logical, piece.buffer_len as usize);
        let from = piece.offset as usize;
        reassembly.take(&piece, &whole[from..from + usize::from(piece.len)])
    }

    proptest! {
        #[test]
        fn any_cuts_in_any_order_give_the_buffer_once(len in 1_u32..4_000, cuts in proptest::collection::vec((any::<prop::sample::Index>(), 1_u16..900), 0..80)) {
            let (mut reassembly, pool) = reassembly(4);
            let random = cuts.iter().map(|(from, n)| {
                let offset = u32::try_from(from.index(len as usize)).unwrap();
                (offset, u16::try_from(u32::from(*n).min(len - offset)).unwrap())
            });
            let rest = (0..len.div_ceil(500)).map(|i| (i * 500, u16::try_from(500.min(len - i * 500)).unwrap()));
            let mut complete = Vec::new();
            for (offset, n) in random.chain(rest) {
                match give(&mut reassembly, piece(0, len, offset, n)) {
                    Taken::Complete(bytes) => complete.push(bytes.to_vec()),
                    Taken::Stored | Taken::Duplicate => {}
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert_eq!(complete, vec![pattern(0, len as usize)]);
            prop_assert_eq!(reassembly.lowest_incomplete(), 1);
            prop_assert_eq!((reassembly.held_bytes, pool.in_use_bytes()), (0, 0));
        }

        #[test]
        fn ranges_agree_with_a_set(list in proptest::collection::vec((0_u32..100, 1_u32..20), 0..40)) {
            let mut ranges = Vec::new();
            let mut set = std::collections::BTreeSet::new();
            for (from, len) in list {
                insert_range(&mut ranges, from, from + len);
                set.extend(from..from + len);
            }
            let covered: std::collections::BTreeSet<u32> = ranges.iter().flat_map(|(a, b)| *a..*b).collect();
            prop_assert_eq!(covered, set);
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }

    #[test]
    fn buffers_complete_out_of_order_and_the_bitmap_says_so() {
        let (mut reassembly, _pool) = reassembly(4);
        assert!(matches!(give(&mut reassembly, piece(2, 10, 0, 10)), Taken::Complete(_)));
        assert!(matches!(give(&mut reassembly, piece(0, 10, 0, 4)), Taken::Stored));
        let mut out = [0; 8];
        assert_eq!((reassembly.report(&mut out), out[0]), (1, 0b100));
        assert!(matches!(give(&mut reassembly, piece(2, 10, 0, 10)), Taken::Duplicate));
        assert!(matches!(give(&mut reassembly, piece(0, 10, 4, 6)), Taken::Complete(_)));
        assert_eq!(reassembly.lowest_incomplete(), 1);
        assert!(reassembly.give_up(1));
        assert_eq!(reassembly.lowest_incomplete(), 3);
        assert_eq!(reassembly.report(&mut out), 0);
    }

    #[test]
    fn limits_refuse_and_leave_everything_as_it_was() {
        let (mut reassembly, pool) = reassembly(4);
        assert!(matches!(give(&mut reassembly, piece(64, 10, 0, 10)), Taken::Refused));
        assert!(matches!(reassembly.take(&piece(0, 4_097, 0, 1), &[0]), Taken::Refused));
        for logical in 0..3 {
            assert!(matches!(give(&mut reassembly, piece(logical, 4_000, 0, 9)), Taken::Stored));
        }
        assert!(matches!(give(&mut reassembly, piece(3, 4_000, 0, 9)), Taken::Refused));
        let control = Piece { kind: BufferKind::Control, ..piece(3, 9, 0, 9) };
        assert!(matches!(give(&mut reassembly, control), Taken::Complete(_)), "from the reserve");
        assert_eq!((reassembly.is_short(), reassembly.room_bytes()), (true, 3_999));
        let other = Piece { buffer_len: 3_999, ..piece(1, 4_000, 20, 5) };
        assert!(matches!(give(&mut reassembly, other), Taken::Contradiction));
        assert_eq!(reassembly.give_up_below(2), 2);
        assert_eq!(reassembly.lowest_incomplete(), 2);
        assert_eq!((reassembly.is_short(), reassembly.room_bytes()), (false, 3 * 4_096));
        reassembly.reset();
        assert_eq!((pool.in_use_bytes(), reassembly.held_bytes), (0, 0));
    }

    #[test]
    fn more_gaps_than_are_kept_are_refused_until_some_close() {
        let (mut reassembly, _pool) = reassembly(2);
        for i in 0..64 {
            assert!(matches!(give(&mut reassembly, piece(0, 4_000, i * 4, 1)), Taken::Stored));
        }
        assert!(matches!(give(&mut reassembly, piece(0, 4_000, 999, 1)), Taken::Refused));
        assert_eq!(reassembly.give_up_below(u64::MAX), 64, "a window of numbers, no more");
    }
}
