//! What parity is sent over, and when: tails, short flows (which are all tail), packets.
//!
//! In: pieces as they are sent the first time, the fate of datagrams, the time. Out: parities, and
//! pieces to be repeated. Never: parity for what is followed by more data: there a loss is noticed
//! and repaired in time.
//!
//! ```text
//!  pieces sent --> runs (ranges of buffers) --> nothing more to send for a moment
//!                                                  |  one cell: repeated   |  more: parity
//!                                                  v                       v
//!                                               repeats               planned --> coded
//! ```

use std::collections::VecDeque;

use super::super::outbound::Outbound;
use super::super::sender::Pieces;
use super::super::wire::{CELLS_MAX, PARITIES_MAX, PIECE_LEN, PROTECTED_LEN_MAX, Parity, Piece};
use super::policy::{Budget, LossEstimate};
use super::{CELL_LEN_MAX, Coder, filled};
use crate::packet_driver::BufferKind;
use crate::time::{MILLISECOND_NS, Time};

/// Runs remembered of each sort: those of streams, and all others.
const RUNS_MAX: usize = 32;
/// Cells of a tail that are protected, at most: what is further from the end is noticed to be lost
/// in time, or is part of a bulk.
const TAIL_CELLS_MAX: u32 = 160;
/// How long there must be nothing more to send, as a part of the round trip and in nanoseconds.
const PAUSE_SHARE: u64 = 64;
const PAUSE_NS_MIN: u64 = MILLISECOND_NS / 2;
const PAUSE_NS_MAX: u64 = 3 * MILLISECOND_NS;
const _: () = assert!(PAUSE_NS_MIN <= PAUSE_NS_MAX, "a pause is clamped to both");
/// Pauses that a packet waits for its parity when others follow it.
const PAUSES_MAX: u64 = 4;
/// IP bytes of a datagram beside its bytes of buffers, about.
const OVERHEAD_BYTES: u64 = 70;

/// A range of a buffer that was sent without a gap.
#[derive(Clone, Copy, Debug)]
struct Run {
    logical: u64,
    kind: BufferKind,
    buffer_len: u32,
    from: u32,
    /// Where the first piece ended: that is where cells are counted from, so that each is a piece.
    boundary: u32,
    to: u32,
    cell_len: u32,
    /// When the latest piece was sent.
    at: Time,
}

impl Run {
    fn new(now: Time, piece: &Piece) -> Self {
        let len = u32::from(piece.len);
        Run {
            logical: piece.logical,
            kind: piece.kind,
            buffer_len: piece.buffer_len,
            from: piece.offset,
            boundary: piece.offset + len,
            to: piece.offset + len,
            cell_len: len.next_multiple_of(2),
            at: now,
        }
    }

    /// Takes a piece that follows; false when it does not.
    fn extend(&mut self, now: Time, piece: &Piece) -> bool {
        let len = u32::from(piece.len);
        if piece.logical != self.logical || piece.offset != self.to {
            return false;
        }
        let mut longer = Run { to: self.to + len, at: now, ..*self };
        if self.to == self.boundary {
            // The first piece may have shared its datagram.
            longer.cell_len = self.cell_len.max(len & !1);
        }
        let fits = longer.cells() <= u32::from(CELLS_MAX);
        if fits {
            *self = longer;
        }
        fits
    }

    fn cells(&self) -> u32 {
        1 + (self.to - self.boundary).div_ceil(self.cell_len.max(1))
    }

    /// The first of `parities` over it; `None` if it has one cell, or these are too long.
    fn parity(&self, parities: u8) -> Option<Parity> {
        let cells = u8::try_from(self.cells()).ok().filter(|cells| *cells > 1)?;
        let cell_len = u16::try_from(self.cell_len).ok().filter(|len| *len <= CELL_LEN_MAX)?;
        Some(Parity {
            logical: self.logical,
            kind: self.kind,
            buffer_len: self.buffer_len,
            boundary: self.boundary,
            cells,
            parities,
            index: 0,
            cell_len,
        })
    }

    fn piece(&self) -> Option<Piece> {
        let &Run { logical, kind, buffer_len, from, to, .. } = self;
        let len = u16::try_from(to - from).ok()?;
        Some(Piece { logical, kind, buffer_len, offset: from, len })
    }
}

/// The memory of what is protected; made only for peers that it is wanted for.
#[derive(Debug)]
struct Memory {
    coder: Coder,
    /// Of streams, and of all others.
    runs: [VecDeque<Run>; 2],
    /// Runs that parities will be made over, the oldest last.
    planned: Vec<(Run, u8)>,
    repeats: VecDeque<Piece>,
    /// The parity to be sent next, when there is one, and the bytes of it and those behind it.
    coded: Option<Parity>,
    bytes: Box<[u8]>,
    cell: Box<[u8]>,
}

/// The sending half of forward error correction.
#[derive(Debug)]
pub(in super::super) struct Encoder {
    memory: Option<Box<Memory>>,
    pub(super) loss: LossEstimate,
    budget: Budget,
}

/// What the next datagram of protection carries.
#[derive(Debug)]
pub(in super::super) enum Next {
    /// Pieces that were sent before.
    Repeats,
    /// A parity; its bytes are [`Encoder::bytes`].
    Parity(Parity),
}

impl Encoder {
    /// With all memory that is needed later; none if nothing is to be protected.
    pub(in super::super) fn new(wanted: bool) -> Self {
        let memory = || {
            let len = usize::from(CELL_LEN_MAX);
            let runs = || VecDeque::with_capacity(RUNS_MAX);
            Some(Box::new(Memory {
                coder: Coder::new()?,
                runs: [runs(), runs()],
                planned: Vec::with_capacity(2 * RUNS_MAX),
                repeats: VecDeque::with_capacity(2 * RUNS_MAX),
                coded: None,
                bytes: vec![0; len * usize::from(PARITIES_MAX)].into_boxed_slice(),
                cell: vec![0; len].into_boxed_slice(),
            }))
        };
        let memory = wanted.then(memory).flatten();
        Encoder { memory, loss: LossEstimate::new(), budget: Budget::new(Time::ZERO) }
    }

    /// Begins a session.
    pub(in super::super) fn reset(&mut self, now: Time) {
        (self.loss, self.budget) = (LossEstimate::new(), Budget::new(now));
        self.discard();
    }

    /// Forgets what was sent.
    pub(in super::super) fn discard(&mut self) {
        if let Some(memory) = &mut self.memory {
            memory.runs.iter_mut().for_each(VecDeque::clear);
            memory.planned.clear();
            memory.repeats.clear();
            memory.coded = None;
        }
    }

    /// A piece is sent the first time.
    pub(in super::super) fn sent(&mut self, now: Time, piece: &Piece) {
        let Some(memory) = &mut self.memory else { return };
        if !self.loss.is_lossy() || piece.buffer_len > PROTECTED_LEN_MAX {
            return;
        }
        let [streams, others] = &mut memory.runs;
        let runs = if piece.kind == BufferKind::Stream { streams } else { others };
        if runs.back_mut().is_some_and(|run| run.extend(now, piece)) {
            return;
        }
        if runs.len() == RUNS_MAX {
            runs.pop_front();
        }
        runs.push_back(Run::new(now, piece));
    }

    /// A datagram of any sort was sent.
    pub(in super::super) fn charge(&mut self, ip_bytes: usize) {
        self.budget.sent(ip_bytes as u64);
    }

    /// A datagram has arrived; `late` when it was taken for lost before.
    pub(in super::super) fn arrived(&mut self, late: bool) {
        if late {
            self.loss.found();
        } else {
            self.loss.arrived();
        }
    }

    /// A datagram is taken for lost.
    pub(in super::super) fn lost(&mut self, number: u64) {
        self.loss.lost(number);
    }

    /// When there is something to be sent; `idle` when nothing waits to be sent the first time.
    pub(in super::super) fn due(&self, idle: bool, rtt_ns: u64) -> Time {
        let Some(memory) = &self.memory else { return Time::NEVER };
        if memory.has_next() {
            return Time::ZERO;
        }
        let pause_ns = (rtt_ns / PAUSE_SHARE).clamp(PAUSE_NS_MIN, PAUSE_NS_MAX);
        let [streams, others] = &memory.runs;
        let after = |run: Option<&Run>, ns| run.map_or(Time::NEVER, |run| run.at + ns);
        let stream_at = if idle { after(streams.back(), pause_ns) } else { Time::NEVER };
        let oldest_at = after(others.front(), PAUSES_MAX * pause_ns);
        stream_at.min(oldest_at).min(after(others.back(), pause_ns))
    }

    /// Decides, once it is due, what is protected and how well.
    pub(in super::super) fn plan(
        &mut self,
        now: Time,
        idle: bool,
        rtt_ns: u64,
        rate_bps: u64,
        outbound: &Outbound,
    ) {
        let Encoder { memory, loss, budget } = self;
        let Some(memory) = memory else { return };
        if memory.has_next() {
            return;
        }
        budget.earn(now, rate_bps);
        let Memory { runs: [streams, others], planned, repeats, .. } = &mut **memory;
        for runs in [others, streams].into_iter().take(if idle { 2 } else { 1 }) {
            let mut cells = 0;
            while let Some(run) = runs.pop_back() {
                // What is older was noticed to be lost before parity could come.
                if now.since_ns(run.at) > rtt_ns || cells >= TAIL_CELLS_MAX {
                    break;
                }
                cells += run.cells();
                let count = u8::try_from(run.cells()).unwrap_or(CELLS_MAX);
                let parities = loss.parities(count, PARITIES_MAX);
                let bytes = u64::from(parities) * (u64::from(run.cell_len) + OVERHEAD_BYTES);
                if parities == 0 || outbound.is_done(run.logical) || !budget.spend(bytes) {
                    continue;
                }
                if count > 1 {
                    planned.push((run, parities));
                } else if let Some(piece) = run.piece() {
                    repeats.push_back(piece);
                }
            }
            runs.clear();
        }
    }

    /// What goes into the next datagram; a parity longer than `room` never will.
    pub(in super::super) fn next(&mut self, room: usize, outbound: &Outbound) -> Option<Next> {
        let memory = self.memory.as_mut()?;
        memory.repeats.retain(|piece| !outbound.is_done(piece.logical));
        if !memory.repeats.is_empty() {
            return Some(Next::Repeats);
        }
        loop {
            match memory.coded {
                Some(parity) if usize::from(parity.cell_len) <= room => {
                    return Some(Next::Parity(parity));
                }
                _ => memory.coded = None,
            }
            let (run, parities) = memory.planned.pop()?;
            if !outbound.is_done(run.logical) {
                memory.coded = memory.code(&run, parities, outbound);
            }
        }
    }

    /// Takes pieces to be repeated, for a datagram with `room` bytes for them.
    pub(in super::super) fn repeats(&mut self, mut room: usize, pieces: &mut Pieces) {
        let Some(memory) = &mut self.memory else { return };
        while let Some(piece) = memory.repeats.front().copied() {
            let len = PIECE_LEN + usize::from(piece.len);
            if len > room && !pieces.list().is_empty() || !pieces.push(piece) {
                break;
            }
            memory.repeats.pop_front();
            room = room.saturating_sub(len);
        }
    }

    /// The bytes of the parity to be sent next.
    pub(in super::super) fn bytes(&self) -> &[u8] {
        let bytes = self.memory.as_ref().and_then(|memory| {
            let parity = memory.coded?;
            let len = usize::from(parity.cell_len);
            memory.bytes.get(usize::from(parity.index) * len..)?.get(..len)
        });
        bytes.unwrap_or(&[])
    }

    /// The parity was sent.
    pub(in super::super) fn parity_sent(&mut self) {
        let Some(memory) = &mut self.memory else { return };
        let next = memory.coded.map(|parity| Parity { index: parity.index + 1, ..parity });
        memory.coded = next.filter(|parity| parity.index < parity.parities);
    }
}

impl Memory {
    fn has_next(&self) -> bool {
        self.coded.is_some() || !self.planned.is_empty() || !self.repeats.is_empty()
    }

    /// Makes the parities over a run; the first of them.
    fn code(&mut self, run: &Run, parities: u8, outbound: &Outbound) -> Option<Parity> {
        let parity = run.parity(parities)?;
        let len = usize::from(parity.cell_len);
        self.coder.begin(&parity)?;
        for cell in 0..parity.cells {
            let (from, to) = parity.cell(cell);
            let bytes = outbound.range(run.logical, from, to)?;
            self.coder.cell(filled(bytes, len, &mut self.cell)?)?;
        }
        self.coder.code(len, &mut self.bytes)?;
        Some(parity)
    }
}
