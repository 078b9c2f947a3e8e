//! The receiving half: what has come from the host, what waits for a gap, what is offered.
//!
//! In: ranges of positions with the frames that hold them. Out: bytes in order, each once; SACK
//! blocks; the window. Never: a buffer of its own; only frames behind a gap wait.

use super::queue::Queue;
use super::sequence::{FIRST_BYTE, Position};
use crate::time::Time;

/// Places in the order of which SACK blocks are reported.
const RECENT: usize = 4;

/// A frame behind a gap: its bytes `from..from + len` are positions from `start` on.
#[derive(Debug)]
pub(super) struct Held<F> {
    start: Position,
    from: u32,
    len: u32,
    frame: F,
}

impl<F> Held<F> {
    fn end(&self) -> Position {
        self.start + u64::from(self.len)
    }
}

/// What became of bytes from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Handed up.
    InOrder,
    /// Kept until the gap before them is filled.
    Held,
    /// Known already.
    Duplicate,
    /// No room behind the gap.
    NoRoom,
}

/// The end of the host's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostFin {
    /// Not seen.
    None,
    /// Seen at this position, with bytes missing before it.
    Early(Position),
    /// Next in order; not acknowledged yet.
    Held(Position),
    /// Acknowledged.
    Acknowledged,
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(super) struct Receiver<F> {
    /// The host's initial sequence number.
    pub(super) initial: u32,
    /// RCV.NXT: all below has been handed up.
    pub(super) next: Position,
    /// The right edge of the window as last told to the host; never moves back.
    pub(super) edge: Position,
    /// All below may be accepted.
    pub(super) limit: Position,
    /// Shift of the windows we send.
    pub(super) scale: u8,
    /// The acknowledgement last sent.
    pub(super) acknowledged: Position,
    /// The host's timestamp to echo (TS.Recent), and when it was taken.
    pub(super) recent_stamp: u32,
    pub(super) recent_stamp_at: Time,
    /// The largest segment seen, in bytes.
    pub(super) largest_segment: u32,
    pub(super) fin: HostFin,
    pub(super) held: Queue<Held<F>>,
    /// Positions in blocks behind a gap, most recent first; 0 for none.
    recent: [Position; RECENT],
    /// A range that came twice, to be reported once (RFC 2883).
    duplicate: Option<(Position, Position)>,
}

impl<F> Receiver<F> {
    pub(super) fn new(initial: u32, limit: Position) -> Self {
        Receiver {
            initial,
            next: 0,
            edge: FIRST_BYTE,
            limit: limit.max(FIRST_BYTE),
            scale: 0,
            acknowledged: 0,
            recent_stamp: 0,
            recent_stamp_at: Time::ZERO,
            largest_segment: 0,
            fin: HostFin::None,
            held: Queue::default(),
            recent: [0; RECENT],
            duplicate: None,
        }
    }

    /// Bytes that the host may still send by what it was told.
    pub(super) fn window(&self) -> u64 {
        self.edge.saturating_sub(self.next)
    }

    /// What the host sends next, by what we have seen of it: behind its FIN once that came.
    pub(super) fn expected(&self) -> Position {
        match self.fin {
            HostFin::Held(position) => position + 1,
            _ => self.next,
        }
    }

    pub(super) fn held_frames(&self) -> usize {
        self.held.len()
    }

    /// Takes positions `start..start + len`, found at `from` in the frame. The caller has cut
    /// them to the limit. `up` gets bytes in order: position, frame, range in the frame.
    pub(super) fn take(
        &mut self,
        start: Position,
        from: u32,
        len: u32,
        frame: F,
        held_max: usize,
        mut up: impl FnMut(Position, F, u32, u32),
    ) -> Taken {
        let end = start + u64::from(len);
        if end <= self.next {
            self.duplicate = Some((start, end));
            return Taken::Duplicate;
        }
        if start > self.next {
            return self.hold(Held { start, from, len, frame }, held_max);
        }
        let known = self.next - start;
        if known > 0 {
            self.duplicate = Some((start, self.next));
        }
        let known = u32::try_from(known).unwrap_or(len);
        up(self.next, frame, from + known, len - known);
        self.next = end;
        self.release_held(&mut up);
        Taken::InOrder
    }

    fn release_held(&mut self, up: &mut impl FnMut(Position, F, u32, u32)) {
        while let Some(front) = self.held.front() {
            if front.start > self.next {
                break;
            }
            let Some(held) = self.held.pop_front() else { break };
            let end = held.end();
            if end > self.next {
                let known = u32::try_from(self.next - held.start).unwrap_or(held.len);
                up(self.next, held.frame, held.from + known, held.len - known);
                self.next = end;
            }
        }
    }

    /// Keeps what is new of a range behind a gap. A range that spans held ones keeps only its
    /// part before the first of them; the host sends the rest again.
    fn hold(&mut self, mut new: Held<F>, held_max: usize) -> Taken {
        if self.held.len() >= held_max {
            return Taken::NoRoom;
        }
        let mut at = self.held.partition_point(|held| held.end() <= new.start);
        while let Some(next) = self.held.get(at) {
            if next.start > new.start {
                let room = u32::try_from(next.start - new.start).unwrap_or(u32::MAX);
                new.len = new.len.min(room);
                break;
            }
            let (next_start, known_end) = (next.start, next.end().min(new.end()));
            let known = u32::try_from(known_end - new.start).unwrap_or(new.len);
            self.duplicate = Some((new.start, known_end));
            self.note_recent(next_start);
            if known >= new.len {
                return Taken::Duplicate;
            }
            new.start = known_end;
            new.from += known;
            new.len -= known;
            at += 1;
        }
        let start = new.start;
        self.held.insert(at, new);
        self.note_recent(start);
        Taken::Held
    }

    #[expect(clippy::disallowed_methods, reason = "four positions, no payload")]
    fn note_recent(&mut self, position: Position) {
        let found = self.recent.iter().position(|&p| p == position).unwrap_or(RECENT - 1);
        self.recent.copy_within(0..found, 1);
        self.recent[0] = position;
    }

    /// The FIN at `position` has come; true when it is next in order for the first time.
    pub(super) fn note_fin(&mut self, position: Position) -> bool {
        if matches!(self.fin, HostFin::None) && position >= self.next {
            self.fin = HostFin::Early(position);
        }
        self.fin_in_order()
    }

    /// True when the FIN is next in order for the first time.
    pub(super) fn fin_in_order(&mut self) -> bool {
        match self.fin {
            HostFin::Early(position) if position == self.next => {
                self.fin = HostFin::Held(position);
                true
            }
            _ => false,
        }
    }

    /// Where the host's bytes end, once known.
    pub(super) fn end(&self) -> Option<Position> {
        match self.fin {
            HostFin::None => None,
            HostFin::Early(position) | HostFin::Held(position) => Some(position),
            HostFin::Acknowledged => Some(self.next),
        }
    }

    /// Frames behind a gap are given back; the host still has their bytes, for SACK promises
    /// nothing (RFC 2018 section 8).
    pub(super) fn discard_held(&mut self) {
        self.held.release();
        self.recent = [0; RECENT];
    }

    /// The last of the frames behind gaps, at most `most` of them, are given back; how many it
    /// were. From now on no SACK block names them.
    pub(super) fn discard_last(&mut self, most: usize) -> usize {
        let kept = self.held.len().saturating_sub(most);
        let freed = self.held.len() - kept;
        self.held.truncate(kept);
        freed
    }

    /// Whether nothing is held and there is memory for it all the same.
    pub(super) fn is_spare(&self) -> bool {
        self.held.is_spare()
    }

    /// Gives the memory of an empty queue back.
    pub(super) fn release(&mut self) {
        if self.held.is_empty() {
            self.held.release();
        }
    }

    /// The right edge to tell the host now (RFC 9293 3.8.6.2.2): it moves by a whole segment or
    /// half of the largest window, or not at all.
    pub(super) fn edge_to_offer(&self, window_max: u64, segment: u64) -> Position {
        let wanted = self.limit.min(self.next.saturating_add(window_max));
        if wanted >= self.edge.saturating_add(segment.min(window_max / 2)) {
            wanted
        } else {
            self.edge.max(self.next)
        }
    }

    /// The window field that tells this edge, and the edge that the host then sees. Rounding up
    /// keeps the edge from moving back (RFC 7323 2.4) unless that would pass the limit.
    pub(super) fn window_field(&self, edge: Position, scale: u8) -> (u16, Position) {
        let window = edge.saturating_sub(self.next);
        let field_max = u64::from(u16::MAX);
        let up = window.div_ceil(1 << scale).min(field_max);
        let field = if self.next + (up << scale) <= self.limit {
            up
        } else {
            (window >> scale).min(field_max)
        };
        (u16::try_from(field).unwrap_or(u16::MAX), self.next + (field << scale))
    }

    /// SACK blocks to report, at most `max`: the duplicate range if there is one, then the block
    /// of the latest arrival, then others (RFC 2018 section 4, RFC 2883).
    pub(super) fn sack_blocks(&self, max: usize, mut push: impl FnMut(Position, Position)) {
        let mut left = max;
        if let Some((start, end)) = self.duplicate.filter(|_| left > 0) {
            push(start, end);
            left -= 1;
        }
        if self.held.is_empty() {
            return;
        }
        let mut told = [(0, 0); RECENT];
        let mut count = 0;
        let newest_first = self.recent.iter().copied().filter(|&position| position > self.next);
        for position in newest_first {
            if count >= left.min(RECENT) {
                return;
            }
            let Some(block) = self.block_of(position) else { continue };
            if told[..count].contains(&block) {
                continue;
            }
            told[count] = block;
            count += 1;
            push(block.0, block.1);
        }
    }

    /// The run of contiguous held frames around `position`.
    fn block_of(&self, position: Position) -> Option<(Position, Position)> {
        let at = self.held.partition_point(|held| held.end() <= position);
        let held = self.held.get(at).filter(|held| held.start <= position)?;
        let (mut start, mut end) = (held.start, held.end());
        for next in self.held.range(at + 1..) {
            if next.start != end {
                break;
            }
            end = next.end();
        }
        for before in self.held.range(..at).rev() {
            if before.end() != start {
                break;
            }
            start = before.start;
        }
        Some((start, end))
    }

    /// Whether a duplicate waits to be reported.
    pub(super) fn has_duplicate(&self) -> bool {
        self.duplicate.is_some()
    }

    /// An acknowledgement went out: `field_edge` is the right edge it told.
    pub(super) fn acknowledgement_sent(&mut self, told: Position) {
        self.acknowledged = self.next;
        self.edge = self.edge.max(told);
        self.duplicate = None;
    }

    /// The queue of held frames is in order and without overlaps (for tests).
    #[cfg(test)]
    pub(super) fn check(&self) {
        for (a, b) in self.held.iter().zip(self.held.iter().skip(1)) {
            assert!(a.end() <= b.start);
        }
        if let Some(front) = self.held.front() {
            assert!(front.start > self.next);
        }
        assert!(self.edge <= self.limit.max(self.next), "edge {} limit {}", self.edge, self.limit);
        assert!(self.acknowledged <= self.next);
    }
}
