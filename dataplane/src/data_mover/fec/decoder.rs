//! Parity that has come, and what is restored with it.
//!
//! In: parities; which buffers have got pieces. Out: cells of incomplete buffers that did not come,
//! as pieces for reassembly. Never: more memory than at the start, or more work than the datagrams
//! that come pay for.

use super::super::MoverCounter;
use super::super::reassembly::{Missing, Reassembly, Taken};
use super::super::wire::{PARITIES_MAX, Parity, Piece};
use super::{CELL_LEN_MAX, Restorer, filled};
use crate::copy::{self, Copied};
use crate::counters::Counters;
use crate::packet_driver::BufferKind;

/// Parities that wait for cells or for each other, at most; the oldest makes room.
pub(super) const HELD_MAX: usize = 32;
/// Datagrams that must come for each time that cells are restored, and how many count at most:
/// restoring takes as long as taking in so many.
const WORK_COST: u32 = 8;
const WORK_MAX: u32 = 512;
const _: () = assert!(HELD_MAX >= PARITIES_MAX as usize, "all parities over the same cells");
const _: () = assert!(WORK_MAX >= WORK_COST, "nothing would ever be restored");

/// What became of a parity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Restored {
    /// Cells that it, and those before it, restored.
    pub(in super::super) cells: u64,
    /// Parities of which nothing more is expected: all there, or of no use.
    pub(in super::super) useless: u64,
    /// It contradicts a piece of its buffer: nothing changed.
    pub(in super::super) contradiction: bool,
}

impl Restored {
    /// Counts it.
    pub(in super::super) fn count(&self, counters: &Counters<MoverCounter>) {
        counters.add(MoverCounter::PiecesRestored, self.cells);
        counters.add(MoverCounter::ParityUseless, self.useless);
    }
}

/// A parity that waits.
#[derive(Debug)]
struct Held {
    what: Option<(u64, Parity)>,
    bytes: Box<[u8]>,
}

impl Held {
    /// Whether it is over the same cells.
    fn is_of(&self, logical: u64, parity: &Parity) -> bool {
        self.what.is_some_and(|what| is_over(&what, logical, parity))
    }
}

/// Whether two parities are over the same cells.
fn is_over((its, held): &(u64, Parity), logical: u64, parity: &Parity) -> bool {
    *its == logical && Parity { index: parity.index, ..*held } == *parity
}

#[derive(Debug)]
struct Memory {
    restorer: Restorer,
    held: Box<[Held]>,
    next: usize,
    cell: Box<[u8]>,
}

/// The receiving half of forward error correction.
#[derive(Debug)]
pub(in super::super) struct Decoder {
    memory: Option<Box<Memory>>,
    /// Parities held.
    count: usize,
    work: u32,
}

impl Decoder {
    /// With all memory that is needed later; none if parity is not to be used.
    pub(in super::super) fn new(wanted: bool) -> Self {
        let bytes = || vec![0; usize::from(CELL_LEN_MAX)].into_boxed_slice();
        let memory = || {
            Some(Box::new(Memory {
                restorer: Restorer::new()?,
                held: (0..HELD_MAX).map(|_| Held { what: None, bytes: bytes() }).collect(),
                next: 0,
                cell: bytes(),
            }))
        };
        Decoder { memory: wanted.then(memory).flatten(), count: 0, work: WORK_MAX }
    }

    /// Begins a session.
    pub(in super::super) fn reset(&mut self) {
        self.forget(|_| true);
        self.work = WORK_MAX;
    }

    /// Parities held.
    #[cfg(any(test, feature = "fuzz"))]
    pub(super) fn held(&self) -> usize {
        self.count
    }

    /// A datagram has come: something may be done for it.
    pub(in super::super) fn heard(&mut self) {
        self.work = (self.work + 1).min(WORK_MAX);
    }

    /// Takes a parity; what is restored goes through `taken`.
    pub(in super::super) fn take(
        &mut self,
        parity: &Parity,
        bytes: &[u8],
        reassembly: &mut Reassembly,
        taken: impl FnMut(BufferKind, Taken),
    ) -> Restored {
        const USELESS: Restored = Restored { cells: 0, useless: 1, contradiction: false };
        let logical = parity.logical;
        match reassembly.missing(logical, parity) {
            Missing::Contradiction => return Restored { contradiction: true, ..USELESS },
            Missing::Nothing => return USELESS,
            Missing::Cells(_) => {}
        }
        if !self.hold(logical, parity, bytes) {
            return USELESS;
        }
        self.restore(logical, parity, reassembly, taken)
    }

    /// Pieces of this buffer have come, or it was given up.
    pub(in super::super) fn changed(
        &mut self,
        logical: u64,
        reassembly: &mut Reassembly,
        mut taken: impl FnMut(BufferKind, Taken),
    ) -> Restored {
        let mut all = Restored::default();
        if self.count == 0 {
            return all;
        }
        for index in 0..HELD_MAX {
            let held = self.memory.as_ref().and_then(|memory| memory.held.get(index)?.what);
            let Some((_, parity)) = held.filter(|(its, _)| *its == logical) else { continue };
            let restored = self.restore(logical, &parity, reassembly, &mut taken);
            all.cells += restored.cells;
            all.useless += restored.useless;
        }
        all
    }

    /// Numbers below `lowest` are complete or given up; how many parities were dropped.
    pub(in super::super) fn done_below(&mut self, lowest: u64) -> u64 {
        self.forget(|(logical, _)| *logical < lowest)
    }

    /// Drops parities; how many.
    fn forget(&mut self, which: impl Fn(&(u64, Parity)) -> bool) -> u64 {
        if self.count == 0 {
            return 0;
        }
        let mut dropped = 0;
        for held in self.memory.iter_mut().flat_map(|memory| memory.held.iter_mut()) {
            if held.what.take_if(|what| which(what)).is_some() {
                dropped += 1;
            }
        }
        self.count -= dropped;
        dropped as u64
    }

    /// Keeps a parity; false when it is too long, or there already.
    fn hold(&mut self, logical: u64, parity: &Parity, bytes: &[u8]) -> bool {
        let Some(memory) = &mut self.memory else { return false };
        let known = |held: &Held| held.what == Some((logical, *parity));
        if bytes.len() > usize::from(CELL_LEN_MAX) || memory.held.iter().any(known) {
            return false;
        }
        let free = memory.held.iter().position(|held| held.what.is_none());
        let index = free.unwrap_or(memory.next);
        memory.next = (index + 1) % HELD_MAX;
        let Some(held) = memory.held.get_mut(index) else { return false };
        if let Some(place) = held.bytes.get_mut(..bytes.len()) {
            copy::bytes(Copied::Protected, place, bytes);
        }
        self.count += usize::from(held.what.is_none());
        held.what = Some((logical, *parity));
        true
    }

    /// Restores the cells that are missing, if there are parities enough.
    fn restore(
        &mut self,
        logical: u64,
        parity: &Parity,
        reassembly: &mut Reassembly,
        taken: impl FnMut(BufferKind, Taken),
    ) -> Restored {
        let mut restored = Restored::default();
        let Some(memory) = &mut self.memory else { return restored };
        let held = memory.held.iter().filter(|held| held.is_of(logical, parity)).count();
        let missing = match reassembly.missing(logical, parity) {
            Missing::Cells(missing) if missing.count_ones() as usize > held => return restored,
            Missing::Cells(missing) => missing,
            Missing::Nothing | Missing::Contradiction => 0,
        };
        if missing != 0 {
            let Some(work) = self.work.checked_sub(WORK_COST) else { return restored };
            self.work = work;
            let cells = memory.decode(logical, parity, missing, reassembly, taken);
            restored.cells = cells.unwrap_or(0);
        }
        let spent = if restored.cells == 0 { 0 } else { u64::from(missing.count_ones()) };
        let dropped = self.forget(|what| is_over(what, logical, parity));
        restored.useless = dropped.saturating_sub(spent);
        restored
    }
}

impl Memory {
    /// Restores the cells of `missing`; how many reassembly took.
    fn decode(
        &mut self,
        logical: u64,
        parity: &Parity,
        missing: u64,
        reassembly: &mut Reassembly,
        mut taken: impl FnMut(BufferKind, Taken),
    ) -> Option<u64> {
        let Memory { restorer, held, cell: room, .. } = self;
        let len = usize::from(parity.cell_len);
        restorer.begin(parity)?;
        for cell in (0..parity.cells).filter(|cell| missing >> cell & 1 == 0) {
            let (from, to) = parity.cell(cell);
            let bytes = reassembly.range(logical, from, to)?;
            restorer.cell(cell, filled(bytes, len, room)?)?;
        }
        for held in held.iter().filter(|held| held.is_of(logical, parity)) {
            let (_, its) = held.what?;
            restorer.parity(its.index, held.bytes.get(..len)?)?;
        }
        let mut cells = 0;
        restorer.restore(|cell, bytes| {
            let (offset, to) = parity.cell(cell);
            let len = u16::try_from(to - offset).unwrap_or(0);
            let &Parity { kind, buffer_len, .. } = parity;
            let piece = Piece { logical, kind, buffer_len, offset, len };
            let Some(bytes) = bytes.get(..usize::from(len)) else { return };
            let outcome = reassembly.take(&piece, bytes);
            cells += u64::from(matches!(outcome, Taken::Stored | Taken::Complete(_)));
            taken(kind, outcome);
        })?;
        Some(cells)
    }
}
