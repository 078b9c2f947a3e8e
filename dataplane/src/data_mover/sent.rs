//! The record of transmissions: a ring indexed by physical number.
//!
//! In: what was sent, acknowledged, seen missing, taken for lost. Out: the fate of each number,
//! once. Never: a decision on when something is lost.

use super::congestion::RoundTag;
use super::flags::Flags;
use super::outbound::Range;
use super::wire::PIECES_MAX;
use crate::time::Time;

/// Pieces remembered for each transmission remembered; small buffers have more in a datagram, and
/// then fewer transmissions are remembered.
const PIECES_PER_SLOT: usize = 2;

/// What is known of a transmission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody asks: it carried nothing that is acknowledged, or its fate was known long ago.
    #[default]
    Settled,
    /// On its way.
    InFlight,
    /// On its way, and an acknowledgement covered it with a zero.
    Missing,
    /// Acknowledged.
    Arrived,
    /// Taken for lost: what it carried is elsewhere now.
    Lost,
    /// Never sent: who acknowledges it has not received it.
    Skipped,
}

/// One transmission.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Transmission {
    pub(super) at: Time,
    pub(super) fate: Fate,
    pub(super) ip_bytes: u32,
    pub(super) round: RoundTag,
    /// Whether it is a probe of the path's MTU, which says nothing about rates.
    pub(super) probe: bool,
    pieces: u8,
    first_piece: u64,
    /// IP bytes of all transmissions up to this one.
    pub(super) sent_bytes: u64,
}

/// The ring of transmissions and, beside it, that of their pieces.
#[derive(Debug)]
pub(super) struct Sent {
    ring: Box<[Transmission]>,
    /// Of each of them, whether nothing that is heard of it is news: it has arrived, or nobody asks.
    settled: Flags,
    pieces: Box<[Range]>,
    pieces_next: u64,
    /// Numbers below are forgotten.
    floor: u64,
    next: u64,
    /// Numbers below are not in flight.
    oldest: u64,
    in_flight: u64,
    in_flight_bytes: u64,
    /// Of these, of the missing.
    missing_bytes: u64,
    /// IP bytes of all transmissions.
    sent_bytes: u64,
}

fn slot(number: u64, len: usize) -> usize {
    usize::try_from(number & (len as u64 - 1)).unwrap_or(0)
}

impl Sent {
    /// Remembers `slots` transmissions, a power of two.
    pub(super) fn new(slots: usize) -> Self {
        let slots = slots.next_power_of_two();
        let piece = Range { logical: 0, offset: 0, len: 0 };
        Sent {
            ring: vec![Transmission::default(); slots].into_boxed_slice(),
            settled: Flags::new(slots),
            pieces: vec![piece; slots * PIECES_PER_SLOT].into_boxed_slice(),
            pieces_next: 0,
            floor: 1,
            next: 1,
            oldest: 1,
            in_flight: 0,
            in_flight_bytes: 0,
            missing_bytes: 0,
            sent_bytes: 0,
        }
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self) {
        self.pieces_next = 0;
        (self.floor, self.next, self.oldest) = (1, 1, 1);
        (self.in_flight, self.in_flight_bytes) = (0, 0);
        (self.missing_bytes, self.sent_bytes) = (0, 0);
    }

    /// The number of the next transmission.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Most pieces remembered.
    pub(super) fn pieces_max(&self) -> usize {
        self.pieces.len()
    }

    /// Most transmissions remembered.
    pub(super) fn slots(&self) -> usize {
        self.ring.len()
    }

    /// Bytes of the record.
    pub(super) fn table_bytes(&self) -> usize {
        size_of_val(&*self.ring) + size_of_val(&*self.pieces)
    }

    /// Transmissions on their way.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// IP bytes on their way.
    pub(super) fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    /// IP bytes on their way and not seen missing.
    pub(super) fn outstanding_bytes(&self) -> u64 {
        self.in_flight_bytes - self.missing_bytes
    }

    /// A remembered transmission.
    pub(super) fn get(&self, number: u64) -> Option<&Transmission> {
        if number < self.floor || number >= self.next {
            return None;
        }
        self.ring.get(slot(number, self.ring.len()))
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Transmission> {
        if number < self.floor || number >= self.next {
            return None;
        }
        let slot = slot(number, self.ring.len());
        self.ring.get_mut(slot)
    }

    /// Whether a datagram full of pieces can be remembered without forgetting one in flight.
    pub(super) fn has_room(&mut self) -> bool {
        let slots = self.ring.len() as u64;
        let pieces = self.pieces.len() as u64;
        loop {
            let pieces_floor = self.get(self.floor).map_or(self.pieces_next, |t| t.first_piece);
            let used = self.pieces_next - pieces_floor + PIECES_MAX as u64;
            if self.next - self.floor < slots && used <= pieces {
                return true;
            }
            if self.get(self.floor).is_none_or(|oldest| oldest.is_in_flight()) {
                return false;
            }
            self.floor += 1;
        }
    }

    /// The oldest remembered transmission, when there is no room for another: to be taken for
    /// lost, and then forgotten.
    pub(super) fn oldest_if_full(&mut self) -> Option<u64> {
        if self.has_room() { None } else { Some(self.floor) }
    }

    /// Remembers a transmission under [`Sent::next`]; the caller has made sure of
    /// [`Sent::has_room`].
    pub(super) fn push(
        &mut self,
        at: Time,
        ip_bytes: usize,
        answered: bool,
        round: RoundTag,
        pieces: impl Iterator<Item = Range>,
    ) {
        let number = self.next;
        let first_piece = self.pieces_next;
        let mut count = 0;
        for piece in pieces.take(PIECES_MAX) {
            let slot = slot(self.pieces_next, self.pieces.len());
            if let Some(place) = self.pieces.get_mut(slot) {
                *place = piece;
            }
            self.pieces_next += 1;
            count += 1;
        }
        let ip_bytes = u32::try_from(ip_bytes).unwrap_or(u32::MAX);
        let fate = if answered { Fate::InFlight } else { Fate::Settled };
        if answered {
            self.in_flight += 1;
            self.in_flight_bytes += u64::from(ip_bytes);
            // What is not answered is never heard to have arrived either.
            self.sent_bytes += u64::from(ip_bytes);
        }
        self.next += 1;
        let sent_bytes = self.sent_bytes;
        if let Some(place) = self.get_mut(number) {
            let pieces = count;
            let probe = false;
            *place =
                Transmission { at, fate, ip_bytes, round, probe, pieces, first_piece, sent_bytes };
        }
        self.settled.set(number, !answered);
    }

    /// Remembers a probe of the path's MTU under [`Sent::next`], apart from what counts towards
    /// rates; the caller has made sure of [`Sent::has_room`].
    pub(super) fn push_probe(&mut self, at: Time, ip_bytes: usize, round: RoundTag) {
        let (number, before) = (self.next, self.sent_bytes);
        self.push(at, ip_bytes, true, round, std::iter::empty());
        self.sent_bytes = before;
        if let Some(transmission) = self.get_mut(number) {
            (transmission.probe, transmission.sent_bytes) = (true, before);
        }
    }

    /// Leaves [`Sent::next`] out; the caller has made sure of [`Sent::has_room`].
    pub(super) fn skip(&mut self, at: Time) {
        let number = self.next;
        self.push(at, 0, false, RoundTag::default(), std::iter::empty());
        if let Some(transmission) = self.get_mut(number) {
            transmission.fate = Fate::Skipped;
        }
        self.settled.set(number, false);
    }

    /// Piece `index` of a transmission.
    pub(super) fn piece(&self, transmission: &Transmission, index: u8) -> Option<Range> {
        if index >= transmission.pieces {
            return None;
        }
        let number = transmission.first_piece + u64::from(index);
        self.pieces.get(slot(number, self.pieces.len())).copied()
    }

    /// Sets the fate of a number that is not settled; the transmission as it was before.
    pub(super) fn set(&mut self, number: u64, fate: Fate) -> Option<Transmission> {
        let transmission = self.get_mut(number)?;
        let before = *transmission;
        transmission.fate = fate;
        let bytes = u64::from(before.ip_bytes);
        let in_flight = transmission.is_in_flight();
        if before.fate == Fate::Missing {
            self.missing_bytes -= bytes;
        }
        if fate == Fate::Missing {
            self.missing_bytes += bytes;
        }
        if before.is_in_flight() && !in_flight {
            self.in_flight -= 1;
            self.in_flight_bytes -= bytes;
        }
        self.settled.set(number, fate == Fate::Arrived);
        Some(before)
    }

    /// Of eight numbers from `number` on, those of which nothing that is heard is news, the lowest bit
    /// first: all that are forgotten are among them. It says nothing of those not sent yet.
    pub(super) fn settled(&self, number: u64) -> u8 {
        let forgotten = u32::try_from(self.floor.saturating_sub(number)).unwrap_or(u32::MAX);
        self.settled.byte(number) | !u8::MAX.unbounded_shl(forgotten)
    }

    /// The lowest number in flight.
    pub(super) fn oldest_in_flight(&mut self) -> Option<u64> {
        if self.in_flight == 0 {
            self.oldest = self.next;
            return None;
        }
        self.oldest = self.oldest.max(self.floor);
        while self.oldest < self.next {
            if self.get(self.oldest).is_some_and(Transmission::is_in_flight) {
                return Some(self.oldest);
            }
            self.oldest += 1;
        }
        None
    }
}

impl Transmission {
    /// Number of its pieces.
    pub(super) fn pieces(&self) -> u8 {
        self.pieces
    }

    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.fate, Fate::InFlight | Fate::Missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(sent: &mut Sent, pieces: u32) {
        let range = |offset| Range { logical: 1, offset, len: 1 };
        sent.push(Time::ZERO, 100, true, RoundTag::default(), (0..pieces).map(range));
    }

    #[test]
    fn one_in_flight_is_not_forgotten_for_room() {
        let mut sent = Sent::new(64);
        while sent.has_room() {
            push(&mut sent, 1);
        }
        assert_eq!(sent.in_flight(), 64);
        assert_eq!(sent.oldest_if_full(), Some(1));
        sent.set(2, Fate::Arrived);
        assert!(!sent.has_room());
        sent.set(1, Fate::Lost);
        assert!(sent.has_room());
        assert_eq!((sent.in_flight(), sent.in_flight_bytes()), (62, 6_200));
        assert_eq!(sent.oldest_in_flight(), Some(3));
        assert!(sent.get(1).is_none());
        assert!(sent.get(2).is_some(), "forgotten only when the room is needed");
    }

    #[test]
    fn many_pieces_use_up_the_room_earlier() {
        let mut sent = Sent::new(64);
        let mut count = 0;
        while sent.has_room() {
            push(&mut sent, 32);
            count += 1;
        }
        assert_eq!(count, 4);
        let last = *sent.get(4).unwrap();
        assert_eq!(sent.piece(&last, 31).unwrap().offset, 31);
        assert_eq!(sent.piece(&last, 32), None);
        for number in 1..4 {
            assert!(sent.set(number, Fate::Arrived).is_some());
        }
        assert!(sent.has_room());
        assert_eq!(sent.piece(&last, 0).unwrap().offset, 0);
    }

    #[test]
    fn what_is_settled_is_told_by_eight_numbers() {
        let mut sent = Sent::new(64);
        // Twice around the ring: the flags of those that are forgotten become those of others.
        for number in 1..=130 {
            if let Some(oldest) = sent.oldest_if_full() {
                sent.set(oldest, Fate::Lost);
                assert!(sent.has_room());
            }
            match number % 7 {
                0 => sent.skip(Time::ZERO),
                1 => sent.push(Time::ZERO, 1, false, RoundTag::default(), std::iter::empty()),
                _ => push(&mut sent, 1),
            }
            let fate = match number % 5 {
                0 => Fate::Arrived,
                1 => Fate::Missing,
                2 => Fate::Lost,
                _ => continue,
            };
            if number % 7 > 1 {
                sent.set(number, fate);
            }
        }
        for from in 0..=123 {
            let settled = (0..8).fold(0, |byte, bit| {
                let fate = sent.get(from + bit).map(|transmission| transmission.fate);
                let settled = matches!(fate, None | Some(Fate::Arrived | Fate::Settled));
                byte | u8::from(settled) << bit
            });
            assert_eq!(sent.settled(from), settled, "{from}");
        }
    }

    #[test]
    fn what_is_not_answered_is_not_in_flight() {
        let mut sent = Sent::new(64);
        sent.push(Time::ZERO, 100, false, RoundTag::default(), std::iter::empty());
        assert_eq!((sent.in_flight(), sent.oldest_in_flight()), (0, None));
        push(&mut sent, 1);
        assert_eq!(sent.oldest_in_flight(), Some(2));
        let sent_bytes = |number| sent.get(number).unwrap().sent_bytes;
        assert_eq!(sent_bytes(1), 0, "it will never be heard to have arrived");
        assert_eq!(sent_bytes(2), 100);
    }
}
