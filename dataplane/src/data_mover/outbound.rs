//! Buffers on their way to the peer: numbered, cut into pieces, cut again where lost, kept until
//! the peer has them.
//!
//! Every byte of a live buffer is in exactly one place: not yet sent, in the record of one
//! transmission, waiting to be sent again, or acknowledged. So the acknowledged bytes can be
//! counted, and are all of the buffer exactly when the peer has it.

mod deadlines;

use std::collections::VecDeque;

use super::lanes::{CONTROL_LANE, LANES, Queues, Turns, lane_of};
use super::wire::{ABANDONED_MAX, PIECE_LEN, PIECES_MAX, Piece};
use crate::packet_driver::{BufferKind, BufferSlice, Lane};
use crate::time::Time;

/// A piece is not cut to less than this to fill a datagram that has other pieces already.
const CUT_MIN: usize = 256;
/// Of the logical numbers, one in this many is kept for control buffers.
const CONTROL_SHARE: u64 = 8;

#[derive(Debug, Default)]
struct OutBuffer {
    bytes: BufferSlice,
    kind: Option<BufferKind>,
    /// Where it waits, of [`LANES`].
    lane: usize,
    /// Of datagrams: see [`OutboundBuffer::deadline`](crate::packet_driver::OutboundBuffer).
    deadline: Option<Time>,
    /// Bytes below this offset were sent at least once.
    sent: u32,
    /// Bytes acknowledged, each counted once.
    acked: u32,
}

impl OutBuffer {
    fn len(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }
}

/// A byte range of a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) logical: u64,
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// What became of a range that was taken for lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// It will be sent again, unless it would come too late then.
    Queued,
    /// Its buffer is given up.
    Abandoned,
    /// Its buffer is complete or given up already.
    Irrelevant,
}

/// What the peer allows to be begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    /// Logical numbers below this one may be used.
    pub(super) logical_end: u64,
    /// Bytes of begun buffers, by their full lengths, not known to be complete.
    pub(super) begun_bytes_max: u64,
    /// Length of the longest buffer that may be begun now.
    pub(super) room_bytes: u64,
}

/// A piece chosen for the next datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    pub(super) piece: Piece,
    pub(super) again: bool,
}

/// The buffers on their way.
#[derive(Debug)]
pub(super) struct Outbound {
    ring: Box<[OutBuffer]>,
    /// Every number below is done.
    floor: u64,
    next: u64,
    /// Not yet sent whole.
    fresh: Queues<u64>,
    /// To be sent again.
    lost: Queues<Range>,
    turns: Turns,
    /// Given up, and not yet known to be known to the peer.
    abandoned: VecDeque<u64>,
    /// Buffers that have a deadline.
    timed: usize,
    /// By lane, bytes not yet sent the first time.
    queued_bytes: [usize; LANES],
    begun_bytes: u64,
}

impl Outbound {
    /// Room for `buffers` (a power of two) and `lost_max` ranges to be sent again.
    pub(super) fn new(buffers: usize, lost_max: usize) -> Self {
        Outbound {
            ring: (0..buffers.next_power_of_two()).map(|_| OutBuffer::default()).collect(),
            floor: 0,
            next: 0,
            fresh: Queues::new(buffers.next_power_of_two()),
            lost: Queues::new(lost_max),
            turns: Turns::default(),
            abandoned: VecDeque::with_capacity(ABANDONED_MAX),
            timed: 0,
            queued_bytes: [0; LANES],
            begun_bytes: 0,
        }
    }

    /// Forgets everything; the number of buffers that were not done.
    pub(super) fn reset(&mut self) -> u64 {
        let mut discarded = 0;
        for number in self.floor..self.next {
            if let Some(buffer) = self.get_mut(number) {
                discarded += u64::from(buffer.kind.is_some());
                *buffer = OutBuffer::default();
            }
        }
        (self.floor, self.next) = (0, 0);
        self.fresh.clear();
        self.lost.clear();
        self.turns = Turns::default();
        self.abandoned.clear();
        self.timed = 0;
        self.queued_bytes = [0; LANES];
        self.begun_bytes = 0;
        discarded
    }

    /// The lowest number that is not done.
    pub(super) fn oldest(&self) -> Option<u64> {
        (self.floor < self.next).then_some(self.floor)
    }

    fn slot(&self, number: u64) -> usize {
        let mask = self.ring.len() as u64 - 1;
        usize::try_from(number & mask).unwrap_or(0)
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut OutBuffer> {
        if number < self.floor || number >= self.next {
            return None;
        }
        let slot = self.slot(number);
        self.ring.get_mut(slot)
    }

    fn get(&self, number: u64) -> Option<&OutBuffer> {
        if number < self.floor || number >= self.next {
            return None;
        }
        self.ring.get(self.slot(number))
    }

    pub(super) fn has_slot(&self, kind: BufferKind) -> bool {
        self.free_slots(kind) > 0
    }

    /// Buffers of this kind for which there are slots.
    pub(super) fn free_slots(&self, kind: BufferKind) -> u64 {
        let slots = self.ring.len() as u64;
        let usable = match kind {
            BufferKind::Control => slots,
            _ => slots - slots / CONTROL_SHARE,
        };
        usable.saturating_sub(self.next - self.floor)
    }

    /// Numbers a buffer and queues it; the caller has checked [`Outbound::has_slot`].
    pub(super) fn push(
        &mut self,
        kind: BufferKind,
        lane: Lane,
        deadline: Option<Time>,
        bytes: BufferSlice,
    ) -> u64 {
        let number = self.next;
        self.next += 1;
        let lane = lane_of(kind, lane);
        self.queued_bytes[lane] += bytes.len();
        self.timed += usize::from(deadline.is_some());
        if let Some(buffer) = self.get_mut(number) {
            *buffer = OutBuffer { bytes, kind: Some(kind), lane, deadline, sent: 0, acked: 0 };
        }
        // There is a place for each slot.
        self.fresh.push_back(lane, number);
        number
    }

    /// Bytes not yet sent the first time, control included.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queued_bytes.iter().sum()
    }

    /// Bytes of data of a lane not yet sent the first time.
    pub(super) fn queued_bytes_of(&self, lane: Lane) -> usize {
        self.queued_bytes[lane_of(BufferKind::Stream, lane)]
    }

    /// The number of the next buffer.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether all buffers are complete at the peer or given up.
    pub(super) fn is_empty(&self) -> bool {
        self.floor == self.next
    }

    /// The lowest number that is neither complete nor abandoned.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Whether the peer has this buffer, or it was given up.
    pub(super) fn is_done(&self, number: u64) -> bool {
        number < self.floor || self.get(number).is_some_and(|buffer| buffer.kind.is_none())
    }

    /// Numbers given up that the peer may not know of yet.
    pub(super) fn abandoned(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        self.abandoned.iter().copied()
    }

    /// The bytes of a piece.
    pub(super) fn bytes(&self, piece: &Piece) -> Option<&[u8]> {
        self.range(piece.logical, piece.offset, piece.offset + u32::from(piece.len))
    }

    /// The bytes of a range of a buffer.
    pub(super) fn range(&self, number: u64, from: u32, to: u32) -> Option<&[u8]> {
        let (from, to) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?);
        self.get(number)?.bytes.get(from..to)
    }

    /// Whether [`Outbound::choose`] would give a piece to an empty datagram.
    pub(super) fn has_work(&mut self, gate: &Gate) -> bool {
        (0..LANES).any(|lane| self.waits(lane, gate))
    }

    #[inline]
    fn waits(&mut self, lane: usize, gate: &Gate) -> bool {
        // Most lanes are empty, and this is asked of all of them for every datagram.
        (!self.lost.is_empty(lane) && self.front_lost(lane).is_some())
            || (!self.fresh.is_empty(lane) && self.front_fresh(lane, gate).is_some())
    }

    /// The next piece for a datagram with `room` bytes left for it; `first` when it has no pieces
    /// yet. Control first, then the class whose turn it is; of each, what was lost
    /// before what is new.
    pub(super) fn choose(&mut self, room: usize, first: bool, gate: &Gate) -> Option<Chosen> {
        if room == 0 {
            return None;
        }
        let lane = if self.waits(CONTROL_LANE, gate) {
            CONTROL_LANE
        } else {
            let mut turns = std::mem::take(&mut self.turns);
            let lane = turns.choose(|lane| self.waits(lane, gate));
            self.turns = turns;
            lane?
        };
        let chosen = match self.front_lost(lane) {
            Some(range) => self.choose_lost(lane, range, room, first)?,
            None => {
                let number = self.front_fresh(lane, gate)?;
                self.choose_fresh(lane, number, room, first)?
            }
        };
        self.turns.charge(lane, PIECE_LEN + usize::from(chosen.piece.len));
        Some(chosen)
    }

    fn cut(len: u32, room: usize, first: bool) -> Option<u16> {
        let whole = usize::try_from(len).unwrap_or(usize::MAX);
        let part = whole.min(room).min(usize::from(u16::MAX));
        if part < whole && !first && part < CUT_MIN {
            return None;
        }
        u16::try_from(part).ok()
    }

    fn front_lost(&mut self, lane: usize) -> Option<Range> {
        while let Some(range) = self.lost.front(lane) {
            if !self.is_done(range.logical) {
                return Some(range);
            }
            self.lost.pop_front(lane);
        }
        None
    }

    fn choose_lost(
        &mut self,
        lane: usize,
        range: Range,
        room: usize,
        first: bool,
    ) -> Option<Chosen> {
        let len = Self::cut(range.len, room, first)?;
        let buffer = self.get(range.logical)?;
        let piece = Piece {
            logical: range.logical,
            kind: buffer.kind?,
            buffer_len: buffer.len(),
            offset: range.offset,
            len,
        };
        let taken = u32::from(len);
        if taken == range.len {
            self.lost.pop_front(lane);
        } else if let Some(front) = self.lost.front_mut(lane) {
            front.offset += taken;
            front.len -= taken;
        }
        Some(Chosen { piece, again: true })
    }

    fn front_fresh(&mut self, lane: usize, gate: &Gate) -> Option<u64> {
        loop {
            let number = self.fresh.front(lane)?;
            let Some(buffer) = self.get(number).filter(|buffer| buffer.kind.is_some()) else {
                self.fresh.pop_front(lane);
                continue;
            };
            let begun_bytes = self.begun_bytes;
            let len = u64::from(buffer.len());
            let open = buffer.sent > 0
                || (number < gate.logical_end
                    && (lane == CONTROL_LANE
                        || (len <= gate.room_bytes && begun_bytes + len <= gate.begun_bytes_max)));
            return open.then_some(number);
        }
    }

    fn choose_fresh(
        &mut self,
        lane: usize,
        number: u64,
        room: usize,
        first: bool,
    ) -> Option<Chosen> {
        let buffer = self.get_mut(number)?;
        let (buffer_len, offset, kind) = (buffer.len(), buffer.sent, buffer.kind?);
        let len = Self::cut(buffer_len - offset, room, first)?;
        buffer.sent += u32::from(len);
        let whole = buffer.sent == buffer_len;
        if offset == 0 {
            self.begun_bytes += u64::from(buffer_len);
        }
        self.queued_bytes[lane] -= usize::from(len);
        if whole {
            self.fresh.pop_front(lane);
        }
        Some(Chosen {
            piece: Piece { logical: number, kind, buffer_len, offset, len },
            again: false,
        })
    }

    /// A transmission of this range has arrived; whether that completed its buffer.
    pub(super) fn acknowledged(&mut self, range: &Range) -> bool {
        let Some(buffer) = self.get_mut(range.logical) else { return false };
        if buffer.kind.is_none() {
            return false;
        }
        buffer.acked = buffer.acked.saturating_add(range.len);
        if buffer.acked < buffer.len() {
            return false;
        }
        self.finish(range.logical)
    }

    /// The peer says that it has this buffer; whether that was news. What was never sent whole
    /// cannot be there.
    pub(super) fn complete(&mut self, number: u64) -> bool {
        match self.get(number) {
            Some(buffer) if buffer.sent == buffer.len() => self.finish(number),
            _ => false,
        }
    }

    /// The peer says that it has everything below `number`; how much of that was news.
    pub(super) fn complete_below(&mut self, number: u64) -> u64 {
        let end = number.min(self.next);
        let mut news = 0;
        while self.floor < end {
            let floor = self.floor;
            if !self.complete(floor) {
                break;
            }
            news += 1;
        }
        news
    }

    /// What the peer knows: abandoned numbers among it need not be told again.
    pub(super) fn abandoned_known(&mut self, known: impl Fn(u64) -> bool) {
        self.abandoned.retain(|number| !known(*number));
    }

    /// Whether the losses of one more datagram can be noted.
    pub(super) fn can_note_losses(&self) -> bool {
        self.lost.free_count() >= PIECES_MAX
    }

    /// A transmission of this range is taken for lost; the caller has made sure of
    /// [`Outbound::can_note_losses`].
    pub(super) fn lost(&mut self, range: Range) -> Lost {
        let Some(buffer) = self.get(range.logical) else { return Lost::Irrelevant };
        let Some(kind) = buffer.kind else { return Lost::Irrelevant };
        let lane = buffer.lane;
        if kind == BufferKind::Datagram && buffer.deadline.is_none() {
            self.abandon(range.logical);
            return Lost::Abandoned;
        }
        if let Some(last) = self.lost.back_mut(lane)
            && last.logical == range.logical
            && last.offset + last.len == range.offset
        {
            last.len += range.len;
            return Lost::Queued;
        }
        self.lost.push_back(lane, range);
        Lost::Queued
    }

    /// Gives up the memory of a buffer; whether it was live.
    fn finish(&mut self, number: u64) -> bool {
        let Some(buffer) = self.get_mut(number) else { return false };
        if buffer.kind.is_none() {
            return false;
        }
        let (len, sent, lane) = (buffer.len(), buffer.sent, buffer.lane);
        let timed = usize::from(buffer.deadline.is_some());
        *buffer = OutBuffer::default();
        if sent > 0 {
            self.begun_bytes -= u64::from(len);
        }
        self.timed -= timed;
        self.queued_bytes[lane] -= usize::try_from(len - sent).unwrap_or(0);
        while self.floor < self.next {
            let slot = self.slot(self.floor);
            if self.ring.get(slot).is_some_and(|buffer| buffer.kind.is_some()) {
                break;
            }
            self.floor += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet_driver::{BufferPool, Class, PoolClass};

    pub(super) const OPEN: Gate =
        Gate { logical_end: u64::MAX, begun_bytes_max: u64::MAX, room_bytes: u64::MAX };

    pub(super) fn buffer(len: usize) -> BufferSlice {
        let pool = BufferPool::new(&[PoolClass { size: 8_192, count: 1, reserve: 0 }]);
        let mut buffer = pool.alloc(len).unwrap();
        buffer.set_len(len);
        buffer.freeze()
    }

    pub(super) fn range(piece: &Piece) -> Range {
        Range { logical: piece.logical, offset: piece.offset, len: u32::from(piece.len) }
    }

    #[test]
    fn control_goes_first_and_lost_goes_before_new() {
        let mut out = Outbound::new(64, 64);
        out.push(BufferKind::Stream, Lane::BULK, None, buffer(3_000));
        let first = out.choose(1_400, true, &OPEN).unwrap().piece;
        out.push(BufferKind::Control, Lane::BULK, None, buffer(50));
        assert_eq!(out.lost(range(&first)), Lost::Queued);
        let order: Vec<_> = std::iter::from_fn(|| out.choose(1_400, true, &OPEN))
            .map(|chosen| {
                (chosen.piece.logical, chosen.piece.offset, chosen.piece.len, chosen.again)
            })
            .collect();
        let expected = [
            (1, 0, 50, false),
            (0, 0, 1_400, true),
            (0, 1_400, 1_400, false),
            (0, 2_800, 200, false),
        ];
        assert_eq!(order, expected);
        assert_eq!(out.queued_bytes(), 0);
    }

    #[test]
    fn a_class_before_goes_before_what_was_lost_of_one_behind() {
        let mut out = Outbound::new(64, 64);
        out.push(BufferKind::Stream, Lane::new(Class(1), false), None, buffer(3_000));
        let first = out.choose(1_400, true, &OPEN).unwrap().piece;
        assert_eq!(out.lost(range(&first)), Lost::Queued);
        out.push(BufferKind::Stream, Lane::BULK, None, buffer(200));
        out.push(BufferKind::Datagram, Lane::BULK, None, buffer(100));
        let (bulk, first) =
            (out.queued_bytes_of(Lane::new(Class(1), false)), out.queued_bytes_of(Lane::BULK));
        assert_eq!((bulk, first, out.queued_bytes()), (1_600, 300, 1_900));
        let order: Vec<_> = std::iter::from_fn(|| out.choose(1_400, true, &OPEN))
            .map(|chosen| (chosen.piece.logical, chosen.piece.offset, chosen.again))
            .collect();
        assert_eq!(
            order,
            [(1, 0, false), (2, 0, false), (0, 0, true), (0, 1_400, false), (0, 2_800, false)]
        );
        assert_eq!(out.queued_bytes(), 0);
    }

    #[test]
    fn neighbouring_losses_are_cut_anew() {
        let mut out = Outbound::new(64, 64);
        out.push(BufferKind::Stream, Lane::BULK, None, buffer(2_000));
        let pieces: Vec<_> = std::iter::from_fn(|| out.choose(505, true, &OPEN))
            .map(|chosen| chosen.piece)
            .collect();
        assert_eq!(pieces.len(), 4);
        pieces.iter().for_each(|piece| assert_eq!(out.lost(range(piece)), Lost::Queued));
        let again = out.choose(1_400, true, &OPEN).unwrap();
        assert_eq!((again.piece.offset, again.piece.len, again.again), (0, 1_400, true));
        assert_eq!(out.choose(1_400, true, &OPEN).unwrap().piece.len, 600);
    }

    #[test]
    fn a_buffer_is_complete_when_each_byte_was_acknowledged_once() {
        let mut out = Outbound::new(64, 64);
        out.push(BufferKind::Stream, Lane::BULK, None, buffer(2_000));
        let a = out.choose(1_400, true, &OPEN).unwrap().piece;
        let b = out.choose(1_400, true, &OPEN).unwrap().piece;
        out.lost(range(&a));
        let c = out.choose(1_400, true, &OPEN).unwrap().piece;
        assert!(!out.acknowledged(&range(&c)));
        assert!(out.acknowledged(&range(&b)));
        assert!(!out.acknowledged(&range(&b)));
        assert!(out.is_done(0));
        assert_eq!(out.floor(), 1);
    }

    #[test]
    fn a_lost_datagram_is_given_up_and_told() {
        let mut out = Outbound::new(64, 64);
        out.push(BufferKind::Stream, Lane::BULK, None, buffer(100));
        out.push(BufferKind::Datagram, Lane::BULK, None, buffer(3_000));
        out.choose(3_988, true, &OPEN).unwrap();
        let piece = out.choose(1_400, true, &OPEN).unwrap().piece;
        assert_eq!(out.lost(range(&piece)), Lost::Abandoned);
        assert_eq!(out.lost(range(&piece)), Lost::Irrelevant);
        assert_eq!(out.abandoned().collect::<Vec<_>>(), [1]);
        assert!(out.choose(1_400, true, &OPEN).is_none(), "what was not sent yet is not sent");
        assert_eq!((out.queued_bytes(), out.floor()), (0, 0));
        assert!(out.complete(0));
        assert_eq!(out.floor(), 2);
        out.abandoned_known(|number| number == 1);
        assert_eq!(out.abandoned().count(), 0);
    }

    #[test]
    fn the_peers_limits_hold_back_what_is_new_only() {
        let mut out = Outbound::new(64, 64);
        out.push(BufferKind::Stream, Lane::BULK, None, buffer(2_000));
        out.push(BufferKind::Stream, Lane::BULK, None, buffer(2_000));
        let gate = Gate { logical_end: 2, begun_bytes_max: 3_000, room_bytes: 2_000 };
        assert_eq!(out.choose(1_400, true, &gate).unwrap().piece.logical, 0);
        assert_eq!(
            out.choose(1_400, true, &Gate { room_bytes: 0, ..gate }).unwrap().piece.len,
            600
        );
        assert!(out.choose(1_400, true, &gate).is_none());
        assert!(!out.has_work(&gate));
        assert!(out.choose(1_400, true, &Gate { begun_bytes_max: 4_000, ..gate }).is_some());
    }

    #[test]
    fn the_last_numbers_are_for_control() {
        let mut out = Outbound::new(64, 64);
        while out.has_slot(BufferKind::Stream) {
            out.push(BufferKind::Stream, Lane::BULK, None, buffer(1));
        }
        assert_eq!(out.next, 56);
        assert!(out.has_slot(BufferKind::Control));
        assert_eq!(out.reset(), 56);
        assert!(out.has_slot(BufferKind::Stream));
    }
}
