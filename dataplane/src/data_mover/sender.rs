//! The sending half of a session: buffers, transmissions, loss, rate, in step with each other.
//!
//! In: buffers to send, acknowledgements, the time. Out: which pieces go into the next datagram
//! and when. Never: bytes of headers.

mod acknowledge;

use super::MoverCounter;
use super::config::PeerConfig;
use super::congestion::{Congestion, Controller, Outcome, PathStart, Rounds};
use super::fec::{Encoder, Next};
use super::one_way::OneWay;
use super::outbound::{Gate, Lost, Outbound, Range};
use super::pacing::Pacer;
use super::path_mtu::PathMtu;
use super::recovery::Recovery;
use super::rtt::Rtt;
use super::sent::{Fate, Sent, Transmission};
use super::wire::{Limits, PIECE_LEN, PIECES_MAX, Piece, SHORT_REACH};
use crate::counters::Counters;
use crate::packet_driver::BufferKind;
use crate::time::{MILLISECOND_NS, Time};

/// Slowest rate in bits per second that a backlogged receiver can bring us to.
const BACKLOGGED_RATE_BPS_MIN: u64 = 1_000_000;
/// Beyond two round trips, a time without acknowledgements in nanoseconds that is a silence.
const SILENCE_NS: u64 = 200 * MILLISECOND_NS;
/// Shortest time between two floors in nanoseconds.
const FLOOR_INTERVAL_NS_MIN: u64 = 5 * MILLISECOND_NS;

/// How a peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A datagram that is no datagram of a session, or a number far ahead of all before.
    Malformed,
    /// It acknowledged what was never sent.
    Acknowledgement,
    /// Two pieces of one buffer contradict each other.
    Contradiction,
}

/// The pieces of one datagram.
#[derive(Debug)]
pub(super) struct Pieces {
    list: [Piece; PIECES_MAX],
    len: usize,
    /// Whether nothing else is in the datagram: one piece is told in the short form then.
    pub(super) alone: bool,
}

impl Pieces {
    pub(super) fn new() -> Self {
        Pieces { list: [Piece::NONE; PIECES_MAX], len: 0, alone: false }
    }

    /// Adds a piece; false when there are too many.
    pub(super) fn push(&mut self, piece: Piece) -> bool {
        let place = self.list.get_mut(self.len);
        let fits = place.is_some();
        if let Some(place) = place {
            *place = piece;
            self.len += 1;
        }
        fits
    }

    pub(super) fn list(&self) -> &[Piece] {
        self.list.get(..self.len).unwrap_or(&[])
    }
}

/// What the peer said last of itself.
#[derive(Clone, Copy, Debug, Default)]
struct PeerState {
    limits: Limits,
    highest_received: u64,
    lowest_incomplete: u64,
    room_bytes: u64,
    /// Bits per second, while it is backlogged.
    rate_bps_max: Option<u64>,
}

/// The sending half of a session.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) outbound: Outbound,
    pub(super) rtt: Rtt,
    pub(super) pacer: Pacer,
    pub(super) fec: Encoder,
    pub(super) path_mtu: PathMtu,
    pub(super) sent: Sent,
    pub(super) recovery: Recovery,
    pub(super) controller: Box<dyn Controller>,
    peer: PeerState,
    one_way: OneWay,
    pub(super) congestion: Congestion,
    pub(super) rounds: Rounds,
    /// What was sent before this number is no matter of the controller.
    control_from: u64,
    /// What the path carried when last there was no doubt that it carries our datagrams.
    pub(super) sound_bps: Option<u64>,
    /// When an acknowledgement last brought news, and how far apart they are, smoothed.
    pub(super) news_at: Time,
    spacing_ns: u64,
    floor_at: Time,
    probe_wanted: bool,
    pub(super) counters: Counters<MoverCounter>,
}

impl Sender {
    pub(super) fn new(config: &PeerConfig, counters: Counters<MoverCounter>) -> Self {
        let sent = Sent::new(config.sent_slots());
        let buffers = usize::try_from(config.buffers_max).unwrap_or(64);
        let path_mtu = config.path_mtu();
        Sender {
            outbound: Outbound::new(buffers, sent.pieces_max()),
            rtt: Rtt::new(),
            pacer: Pacer::default(),
            fec: Encoder::new(config.fec),
            recovery: Recovery::new(sent.slots()),
            sent,
            controller: config.congestion.controller(PathStart {
                now: Time::ZERO,
                rtt_ns: None,
                datagram_bytes: path_mtu.ip_bytes(),
            }),
            peer: PeerState::default(),
            congestion: config.congestion,
            rounds: Rounds::new(Time::ZERO, 1),
            one_way: OneWay::default(),
            control_from: 1,
            sound_bps: None,
            path_mtu,
            news_at: Time::ZERO,
            spacing_ns: 0,
            floor_at: Time::ZERO,
            probe_wanted: false,
            counters,
        }
    }

    /// Begins a session: nothing sent, the peer's limits known, and perhaps a round trip.
    pub(super) fn begin(&mut self, now: Time, limits: Limits, rtt_ns: Option<u64>) {
        self.discard();
        self.sent.reset();
        self.recovery.reset(now);
        self.fec.reset(now);
        self.rtt = Rtt::new();
        self.one_way = OneWay::default();
        if let Some(rtt_ns) = rtt_ns {
            self.rtt.sample(now, rtt_ns, 0);
        }
        self.path_mtu.begin(now);
        self.sound_bps = None;
        self.begin_control(now, self.congestion, rtt_ns);
        (self.news_at, self.spacing_ns) = (now, 0);
        let room_bytes = u64::from(limits.reassembly_bytes_max);
        self.peer = PeerState { limits, room_bytes, ..PeerState::default() };
        self.floor_at = Time::ZERO;
        self.probe_wanted = false;
    }

    /// Begins to find the rate, with nothing sent.
    pub(super) fn begin_control(&mut self, now: Time, congestion: Congestion, rtt_ns: Option<u64>) {
        let path = PathStart { now, rtt_ns, datagram_bytes: self.path_mtu.ip_bytes() };
        self.controller = congestion.controller(path);
        self.control_from = self.sent.next();
        self.rounds = Rounds::new(now, self.sent.next());
        self.rounds.mark(self.controller.mark());
    }

    /// Gives up all buffers.
    pub(super) fn discard(&mut self) {
        self.fec.discard();
        let discarded = self.outbound.reset();
        self.counters.add(MoverCounter::BuffersDiscarded, discarded);
    }

    /// Length of the longest buffer that the peer takes, in bytes.
    pub(super) fn buffer_len_max(&self) -> usize {
        usize::try_from(self.peer.limits.buffer_len_max).unwrap_or(usize::MAX)
    }

    /// The rate in bits per second.
    pub(super) fn rate_bps(&self) -> u64 {
        let rate_bps = self.controller.rate_bps();
        self.peer.rate_bps_max.map_or(rate_bps, |max| rate_bps.min(max))
    }

    /// What the path is taken to carry, in bits per second.
    pub(super) fn capacity_bps(&self) -> u64 {
        let capacity_bps = self.controller.capacity_bps();
        self.peer.rate_bps_max.map_or(capacity_bps, |max| capacity_bps.min(max))
    }

    pub(super) fn controller(&self) -> &dyn Controller {
        &*self.controller
    }

    /// How the rate is found has been configured anew.
    pub(super) fn set_congestion(&mut self, congestion: Congestion) {
        if self.congestion != congestion {
            self.congestion = congestion;
            self.begin_control(self.news_at, congestion, Some(self.rtt.min_ns()));
        }
    }

    /// There is nothing to send, or nothing more may be on its way.
    pub(super) fn idle(&mut self, now: Time) {
        if self.is_open() && self.pacer.ready(now) {
            self.rounds.app_limited();
        }
        self.pacer.idle(now);
    }

    /// Notes when less is there to send than might be: nobody asks for a datagram then, so this is
    /// looked at when an acknowledgement comes.
    fn note_dry(&mut self, now: Time) {
        if !self.has_data() {
            self.idle(now);
        }
    }

    /// Bytes of its tables.
    pub(super) fn table_bytes(&self) -> usize {
        self.sent.table_bytes()
    }

    pub(super) fn in_flight_bytes(&self) -> u64 {
        self.sent.in_flight_bytes()
    }

    pub(super) fn next_physical(&self) -> u64 {
        self.sent.next()
    }

    /// The oldest buffer that the peer has room for and does not have whole.
    pub(super) fn oldest_buffer(&self) -> Option<u64> {
        let oldest = self.outbound.oldest()?;
        // The first piece of a buffer is refused where there is no memory for it; that is no
        // matter of the path.
        (self.peer.room_bytes > 0).then_some(oldest)
    }

    fn gate(&self) -> Gate {
        let limits = &self.peer.limits;
        // With nothing in flight no acknowledgement will come to tell of more room: one is begun.
        let silent = self.sent.in_flight() == 0;
        Gate {
            logical_end: self.peer.lowest_incomplete.saturating_add(u64::from(limits.buffers_max)),
            begun_bytes_max: u64::from(limits.reassembly_bytes_max),
            room_bytes: if silent { u64::MAX } else { self.peer.room_bytes },
        }
    }

    /// Whether there are bytes to send that nothing but the pacer holds back.
    pub(super) fn has_data(&mut self) -> bool {
        let gate = self.gate();
        let open = self.probe_wanted || self.is_open();
        open && self.outbound.has_work(&gate) && self.can_track()
    }

    /// Whether more may be on its way.
    fn is_open(&self) -> bool {
        self.sent.in_flight_bytes() < self.controller.in_flight_bytes_max()
    }

    /// Whether both ends can keep track of another transmission.
    fn can_track(&mut self) -> bool {
        let oldest = self.sent.oldest_in_flight().unwrap_or(self.sent.next());
        self.sent.next() - oldest < u64::from(self.peer.limits.numbers_max) && self.sent.has_room()
    }

    /// Whether what is sent next may be told in the short form: the peer has told of numbers that
    /// are near enough, and is not behind them now. A number may be left out before it is sent.
    pub(super) fn is_near(&self) -> bool {
        let PeerState { highest_received, lowest_incomplete, .. } = self.peer;
        self.sent.next().saturating_sub(highest_received) < SHORT_REACH - 1
            && self.outbound.next().saturating_sub(lowest_incomplete) < SHORT_REACH
    }

    /// Chooses pieces for a datagram with `room` bytes for them and their descriptions, or `alone`
    /// for the first if that is the only one.
    pub(super) fn choose(&mut self, now: Time, mut room: usize, alone: usize, pieces: &mut Pieces) {
        let gate = self.gate();
        while pieces.len < PIECES_MAX {
            self.give_up_late(now);
            let first = pieces.len == 0;
            let mut free = room.saturating_sub(PIECE_LEN);
            if first {
                free = free.max(alone);
            }
            let Some(chosen) = self.outbound.choose(free, first, &gate) else { break };
            let len = usize::from(chosen.piece.len);
            room = room.saturating_sub(PIECE_LEN + len);
            pieces.push(chosen.piece);
            if chosen.again {
                self.counters.increment(MoverCounter::PiecesRetransmitted);
                self.counters.add(MoverCounter::BytesRetransmitted, len as u64);
            } else {
                self.fec.sent(now, &chosen.piece);
            }
        }
    }

    /// When parity is to be sent.
    pub(super) fn parity_due(&mut self) -> Time {
        let due = self.fec.due(self.outbound.queued_bytes() == 0, self.rtt.smoothed_ns());
        if due == Time::NEVER || !self.is_open() || !self.can_track() {
            return Time::NEVER;
        }
        due.max(self.pacer.next())
    }

    /// What the next datagram of protection carries, if one is due; a parity has `room`.
    pub(super) fn next_parity(&mut self, now: Time, room: usize) -> Option<Next> {
        if self.parity_due() > now {
            return None;
        }
        let (idle, rate_bps) = (self.outbound.queued_bytes() == 0, self.rate_bps());
        self.fec.plan(now, idle, self.rtt.smoothed_ns(), rate_bps, &self.outbound);
        self.fec.next(room, &self.outbound)
    }

    /// Gives up datagrams that nobody has a use for any more.
    pub(super) fn give_up_late(&mut self, now: Time) {
        let late = self.outbound.give_up_late(now, now + self.rtt.smoothed_ns() / 2);
        self.counters.add(MoverCounter::BuffersExpired, late.expired);
        self.counters.add(MoverCounter::BuffersAbandoned, late.abandoned);
    }

    /// Makes sure that a transmission can be remembered, by forgetting the oldest if need be; false,
    /// and counted, when what that one carried cannot be noted either: then nothing may be sent
    /// until an acknowledgement comes, or bytes would be forgotten that were promised.
    #[must_use]
    pub(super) fn make_room(&mut self, now: Time) -> bool {
        while let Some(oldest) = self.sent.oldest_if_full() {
            if !self.take_for_lost(now, oldest) {
                self.counters.increment(MoverCounter::SendsHeld);
                return false;
            }
        }
        true
    }

    /// Whether a probe is wanted, and waits for neither the pacer nor the window.
    pub(super) fn probe_wanted(&self) -> bool {
        self.probe_wanted
    }

    /// A datagram was written under [`Sender::next_physical`].
    pub(super) fn record(&mut self, now: Time, ip_bytes: usize, answered: bool, pieces: &Pieces) {
        let ranges = pieces.list().iter().map(|piece| Range {
            logical: piece.logical,
            offset: piece.offset,
            len: u32::from(piece.len),
        });
        let round = if answered { self.rounds.sent() } else { self.rounds.tag() };
        if answered && self.sent.in_flight() == 0 {
            self.recovery.begin(now);
        }
        self.sent.push(now, ip_bytes, answered, round, ranges);
        self.fec.charge(ip_bytes);
        if answered {
            self.recovery.sent(now);
            self.path_mtu.sent(now, ip_bytes);
            if self.probe_wanted {
                self.probe_wanted = false;
                self.counters.increment(MoverCounter::Probes);
            }
        }
    }

    /// Leaves [`Sender::next_physical`] out; the caller has made sure by
    /// [`Sender::make_room`] that it can be remembered.
    pub(super) fn skip(&mut self, now: Time) {
        self.sent.skip(now);
    }

    /// The numbers for a floor subfield.
    pub(super) fn floor(&mut self) -> (u64, u64) {
        let physical = self.sent.oldest_in_flight().unwrap_or(self.sent.next());
        (physical, self.outbound.floor())
    }

    /// When a floor is to be told; [`Time::NEVER`] when there is nothing to tell.
    pub(super) fn floor_due(&mut self) -> Time {
        let behind = self.peer.lowest_incomplete < self.outbound.floor()
            || self.outbound.abandoned().next().is_some();
        if behind || self.is_uncovered() {
            self.floor_at + self.rtt.smoothed_ns().max(FLOOR_INTERVAL_NS_MIN)
        } else {
            Time::NEVER
        }
    }

    /// A floor was written.
    pub(super) fn floor_sent(&mut self, now: Time) {
        self.floor_at = now;
    }

    /// Whether the oldest in flight is overdue and no acknowledgement has covered it.
    fn is_uncovered(&mut self) -> bool {
        let Some(oldest) = self.sent.oldest_in_flight() else { return false };
        let Some(transmission) = self.sent.get(oldest) else { return false };
        transmission.fate == Fate::InFlight
            && oldest < self.peer.highest_received
            && self.recovery.is_overdue(transmission.at, &self.rtt)
    }

    /// Takes for lost what is overdue.
    fn detect_losses(&mut self, now: Time) {
        while let Some(number) = self.recovery.first_missing() {
            let missing = self.sent.get(number).filter(|t| t.fate == Fate::Missing).copied();
            if let Some(transmission) = missing {
                let overdue = self.recovery.is_overdue(transmission.at, &self.rtt)
                    || self.recovery.lost_at(transmission.at, &self.rtt, self.spacing_ns) <= now;
                if !overdue || !self.take_for_lost(now, number) {
                    return;
                }
            }
            self.recovery.pop_missing();
        }
    }

    /// Takes a transmission for lost; false when there is no room to note what it carried.
    fn take_for_lost(&mut self, now: Time, number: u64) -> bool {
        let Some(transmission) = self.sent.get(number).copied() else { return false };
        if !self.outbound.can_note_losses() {
            return false;
        }
        for index in 0..transmission.pieces() {
            let range = self.sent.piece(&transmission, index);
            if range.map(|range| self.outbound.lost(range)) == Some(Lost::Abandoned) {
                self.counters.increment(MoverCounter::BuffersAbandoned);
            }
        }
        self.path_lost(now, &transmission);
        if !transmission.probe {
            self.counters.increment(MoverCounter::DatagramsLost);
            self.fec.lost(number);
            self.fared(number, &transmission, Outcome::Lost);
        }
        self.sent.set(number, Fate::Lost).is_some()
    }

    /// What became of a transmission, for the controller.
    fn fared(&mut self, number: u64, transmission: &Transmission, outcome: Outcome) {
        if number >= self.control_from {
            let ip_bytes = u64::from(transmission.ip_bytes);
            self.rounds.outcome(transmission.round, ip_bytes, outcome);
        }
    }

    /// When [`Sender::on_timeout`] has something to do.
    pub(super) fn next_timeout(&self) -> Time {
        let probe_at = match self.sent.in_flight() {
            0 => Time::NEVER,
            _ => self.recovery.probe_at(&self.rtt),
        };
        let missing = self.recovery.first_missing().and_then(|number| self.sent.get(number));
        let lost_at = missing
            .map_or(Time::NEVER, |t| self.recovery.lost_at(t.at, &self.rtt, self.spacing_ns));
        probe_at.min(lost_at)
    }

    /// Takes for lost what is, and asks after a silent tail.
    pub(super) fn on_timeout(&mut self, now: Time) {
        self.detect_losses(now);
        self.path_timeout(now);
        if self.sent.in_flight() == 0 || now < self.recovery.probe_at(&self.rtt) {
            return;
        }
        self.recovery.probed(now);
        self.probe_wanted = true;
        if let Some(oldest) = self.sent.oldest_in_flight() {
            self.take_for_lost(now, oldest);
        }
    }

    /// Whether a buffer of this kind has a place among those on their way.
    pub(super) fn has_slot(&self, kind: BufferKind) -> bool {
        self.outbound.has_slot(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet_driver::{BufferPool, Lane, PeerIndex, PoolClass};

    #[test]
    fn what_can_neither_be_remembered_nor_noted_as_lost_is_not_sent() {
        let now = Time::from_ms(1);
        let config = PeerConfig::new(PeerIndex(0), 1_000_000).clamped();
        let mut sender = Sender::new(&config, Counters::default());
        sender.begin(now, Limits { numbers_max: 1 << 20, ..Limits::default() }, None);
        let pool = BufferPool::new(&[PoolClass { size: 65_536, count: 1, reserve: 0 }]);
        let mut buffer = pool.alloc(65_536).unwrap();
        buffer.set_len(65_536);
        let kind = BufferKind::Stream;
        let logical = sender.outbound.push(kind, Lane::BULK, None, buffer.freeze());
        // Lost bytes with others between them.
        let mut offset = 0;
        while sender.outbound.can_note_losses() {
            assert_eq!(sender.outbound.lost(Range { logical, offset, len: 1 }), Lost::Queued);
            offset += 2;
        }
        let mut pieces = Pieces::new();
        pieces.push(Piece { logical, kind, buffer_len: 65_536, offset, len: 1 });
        while sender.sent.has_room() {
            assert!(sender.make_room(now));
            sender.record(now, 100, true, &pieces);
        }
        let before = (sender.in_flight_bytes(), sender.next_physical());
        assert!(!sender.make_room(now));
        assert_eq!(sender.counters.get(MoverCounter::SendsHeld), 1);
        assert_eq!((sender.in_flight_bytes(), sender.next_physical()), before);
        // As soon as one has arrived there is room.
        sender.sent.set(1, Fate::Arrived);
        assert!(sender.make_room(now));
    }
}
