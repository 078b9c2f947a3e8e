//! One connection: the local end facing one LAN host, in the name of the far one.
//!
//! In: the host's SYN, or the wish to connect. Out: the state that the other files work on, and how
//! it ends. Never: an address, a message, a buffer of its own for what the host sends.

use std::sync::Arc;

use super::config::{MSS_MIN, TcpConfig};
use super::congestion::Congestion;
use super::interface::{Finished, HostParameters, State, Totals, Upward};
use super::isn::InitialNumbers;
use super::queue::Reserve;
use super::receiver::{Held, HostFin, Receiver};
use super::scoreboard::Record;
use super::segment::{Flags, Segment, TIMESTAMPS_LEN, Timestamps};
use super::send_queue::Piece;
use super::sender::{Recovery, Sender};
use super::sequence::{FIRST_BYTE, sequence_at};
use super::time_wait::TimeWait;
use super::timer::{Timer, Timers};
use crate::frame::Frame;
use crate::packet_driver::BufferMut;
use crate::packet_driver::reset::ResetCause;
use crate::time::{SECOND_NS, Time};

/// The coarse state: what of RFC 9293's states the two FINs do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Held,
    SynSent,
    SynReceived,
    Synchronized,
    TimeWait,
    Resetting,
    Closed,
}

/// Whether an acknowledgement is owed to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckDebt {
    None,
    /// When the timer fires, or with other segments.
    Delayed,
    /// With the next transmission.
    Now,
}

/// A host is asked no more often for the other's sake, and the far side told no more often that it
/// should be.
pub(super) const ASKED_NS: u64 = SECOND_NS;

/// Segments that are due for reasons of their own.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) syn: bool,
    pub(super) tail_probe: bool,
    pub(super) window_probe: bool,
    pub(super) keepalive: bool,
    pub(super) reset: bool,
    /// A RST with this sequence number, in answer to a segment that cannot be ours.
    pub(super) stray_reset: Option<u32>,
    /// Further duplicates of the acknowledgement, for hosts that count them.
    pub(super) duplicate_acks: u8,
}

/// Memory for the queues of many connections, all taken at the start.
#[derive(Debug)]
pub struct QueueReserves<F> {
    pieces: Arc<Reserve<Piece>>,
    chunks: Arc<Reserve<Option<BufferMut>>>,
    records: Arc<Reserve<Record>>,
    held: Arc<Reserve<Held<F>>>,
}

impl<F> QueueReserves<F> {
    /// Memory for this many connections.
    #[must_use]
    pub fn new(connections: usize) -> Self {
        QueueReserves {
            pieces: Arc::new(Reserve::new(connections)),
            chunks: Arc::new(Reserve::new(connections)),
            records: Arc::new(Reserve::new(connections)),
            held: Arc::new(Reserve::new(connections)),
        }
    }
}

/// The local end of one intercepted connection.
///
/// After each call of any method, [`Connection::transmit`] sends what became due and
/// [`Connection::next_timeout`] says when [`Connection::on_timeout`] is next; after a
/// transmission [`Connection::finished`] says whether it can be forgotten.
#[derive(Debug)]
pub struct Connection<F> {
    pub(super) config: Arc<TcpConfig>,
    pub(super) phase: Phase,
    /// We sent the first SYN.
    pub(super) active: bool,
    pub(super) host: HostParameters,
    pub(super) timestamps: bool,
    pub(super) timestamp_offset: u32,
    pub(super) send: Sender,
    pub(super) receive: Receiver<F>,
    pub(super) timers: Timers,
    pub(super) ack: AckDebt,
    pub(super) due: Due,
    /// SYNs, keepalives or resets sent without an answer.
    pub(super) attempts: u8,
    /// Since when nothing has come back for what was sent; `NEVER`: nothing is expected.
    pub(super) unanswered_since: Time,
    pub(super) heard_at: Time,
    /// The far edge holds every byte before the host's FIN.
    pub(super) fin_stored: bool,
    /// The host's FIN has waited for its time.
    pub(super) fin_expired: bool,
    /// Our FIN went out before the host's was acknowledged: TIME-WAIT is ours.
    pub(super) closed_first: bool,
    /// When the far side was last told that the host asks.
    pub(super) asked_at: Option<Time>,
    /// When the host was last asked for the far host's sake.
    pub(super) host_asked_at: Option<Time>,
    pub(super) challenge_second: u64,
    pub(super) challenge_count: u16,
    pub(super) totals: Totals,
}

impl<F: Frame> Connection<F> {
    /// A host has sent this SYN. Nothing is sent until [`Connection::answer`].
    #[must_use]
    pub fn accept(
        now: Time,
        config: &Arc<TcpConfig>,
        syn: &Segment,
        numbers: InitialNumbers,
    ) -> Self {
        let mut connection = Self::new(now, config, numbers, Phase::Held);
        connection.take_syn(now, syn);
        connection
    }

    /// Connects to a host on behalf of the far one: a SYN is due.
    #[must_use]
    pub fn connect(now: Time, config: &Arc<TcpConfig>, numbers: InitialNumbers) -> Self {
        let mut connection = Self::new(now, config, numbers, Phase::SynSent);
        connection.active = true;
        connection.due.syn = true;
        connection
    }

    /// Its queues take their memory from these reserves from now on.
    #[must_use]
    pub fn drawing_on(mut self, reserves: &QueueReserves<F>) -> Self {
        self.send.queue.pieces.draw_on(&reserves.pieces);
        self.send.queue.kept.chunks.draw_on(&reserves.chunks);
        self.send.board.records.draw_on(&reserves.records);
        self.receive.held.draw_on(&reserves.held);
        self
    }

    pub(super) fn new(
        now: Time,
        config: &Arc<TcpConfig>,
        numbers: InitialNumbers,
        phase: Phase,
    ) -> Self {
        Connection {
            phase,
            active: false,
            host: HostParameters::default(),
            timestamps: false,
            timestamp_offset: numbers.timestamp_offset,
            send: Sender::new(numbers.sequence, config),
            receive: Receiver::new(0, FIRST_BYTE),
            timers: Timers::new(),
            ack: AckDebt::None,
            due: Due::default(),
            attempts: 0,
            unanswered_since: Time::NEVER,
            heard_at: now,
            fin_stored: false,
            fin_expired: false,
            closed_first: false,
            asked_at: None,
            host_asked_at: None,
            challenge_second: 0,
            challenge_count: 0,
            totals: Totals::default(),
            config: Arc::clone(config),
        }
    }

    /// Takes the host's SYN (or SYN-ACK): its options, and where its sequence numbers begin.
    pub(super) fn take_syn(&mut self, now: Time, syn: &Segment) {
        let options = &syn.options;
        self.host = HostParameters::of(options);
        self.receive.initial = syn.seq;
        self.receive.next = FIRST_BYTE;
        self.receive.acknowledged = FIRST_BYTE;
        self.send.sack = self.config.sack && options.sack_permitted;
        self.timestamps = self.config.timestamps && options.timestamps.is_some();
        if let Some(timestamps) = options.timestamps {
            self.receive.recent_stamp = timestamps.value;
            self.receive.recent_stamp_at = now;
        }
        // RFC 7323 2.2: windows are scaled only when both SYNs say so.
        if let Some(shift) = options.window_scale {
            self.send.scale = shift;
            self.receive.scale = self.config.window_scale();
        }
        let mss = options.mss.unwrap_or(self.config.mss_default).max(MSS_MIN);
        self.set_segment(mss.min(self.config.mss));
        // RFC 7323 2.2: the window of a SYN is not scaled.
        self.send.window_max = u64::from(syn.window);
        self.send.window_sequence = 0;
        self.send.window_edge = FIRST_BYTE + u64::from(syn.window);
    }

    /// Sets the payload of a full segment from the maximum segment size (RFC 6691).
    fn set_segment(&mut self, mss: u16) {
        let options = if self.timestamps { TIMESTAMPS_LEN } else { 0 };
        let segment = usize::from(mss.max(MSS_MIN)) - options;
        self.send.segment = u16::try_from(segment).unwrap_or(u16::MAX);
        let config = &self.config;
        if self.phase == Phase::Synchronized {
            self.send.congestion.set_segment(self.send.segment);
        } else {
            self.send.congestion = Congestion::new(
                self.send.segment,
                config.initial_window_segments,
                config.send_window_max,
            );
        }
    }

    /// The path to the host takes packets with at most `mss` bytes of TCP options and payload
    /// (from an ICMP message that quotes a segment in flight). What is larger is cut anew.
    pub fn reduce_mss(&mut self, mss: u16) {
        let options = if self.timestamps { TIMESTAMPS_LEN } else { 0 };
        if usize::from(mss.max(MSS_MIN)) - options >= usize::from(self.send.segment) {
            return;
        }
        self.set_segment(mss);
        let segment = u32::from(self.send.segment);
        self.send.board.judge(|record| Some(record.len > segment));
        self.send.repair_at_once = true;
    }

    pub(super) fn acknowledge_host_fin(&mut self) {
        self.receive.fin = HostFin::Acknowledged;
        self.receive.next += 1;
        self.receive.edge = self.receive.edge.max(self.receive.next);
        self.closed_first = self.send.fin_sent();
        self.timers.stop(Timer::FinHeld);
        self.ack = AckDebt::Now;
        self.check_closed();
    }

    /// Both streams have ended and both ends are acknowledged: the connection is over.
    pub(super) fn check_closed(&mut self) {
        if self.phase != Phase::Synchronized
            || self.receive.fin != HostFin::Acknowledged
            || !self.send.fin_acknowledged
        {
            return;
        }
        self.forget();
        if self.closed_first {
            self.phase = Phase::TimeWait;
        } else {
            // The host has acknowledged our FIN after we acknowledged its own: it owes us and we
            // owe it nothing.
            self.abandon();
        }
    }

    /// Gives back all memory and stops all timers.
    pub(super) fn forget(&mut self) {
        self.send.clear();
        self.receive.discard_held();
        self.timers.stop_all();
        if self.ack == AckDebt::Delayed {
            self.ack = AckDebt::None;
        }
    }

    /// The host reset the connection, or is gone.
    pub(super) fn end(&mut self, cause: ResetCause, up: &mut impl Upward<F>) {
        let connecting = self.active && matches!(self.phase, Phase::SynSent | Phase::SynReceived);
        self.abandon();
        if connecting {
            let refused = if cause == ResetCause::Host { ResetCause::Refused } else { cause };
            up.refused(refused);
        } else {
            up.reset(cause);
        }
    }

    /// The state by RFC 9293.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Held => State::Held,
            Phase::SynSent => State::SynSent,
            Phase::SynReceived => State::SynReceived,
            Phase::TimeWait => State::TimeWait,
            Phase::Resetting => State::Resetting,
            Phase::Closed => State::Closed,
            Phase::Synchronized => {
                let host_done = self.receive.fin == HostFin::Acknowledged;
                match (self.send.fin_sent(), self.send.fin_acknowledged, host_done) {
                    (false, _, false) => State::Established,
                    (false, _, true) => State::CloseWait,
                    (true, false, false) => State::FinWait1,
                    (true, true, _) => State::FinWait2,
                    (true, false, true) if self.closed_first => State::Closing,
                    (true, false, true) => State::LastAck,
                }
            }
        }
    }

    /// How the connection has ended, once nothing remains to be sent.
    #[must_use]
    pub fn finished(&self) -> Option<Finished> {
        match self.phase {
            Phase::Closed if self.ack == AckDebt::None && self.due.stray_reset.is_none() => {
                Some(Finished::Closed)
            }
            Phase::TimeWait if self.ack == AckDebt::None => {
                Some(Finished::TimeWait(self.time_wait()))
            }
            _ => None,
        }
    }

    fn time_wait(&self) -> TimeWait {
        TimeWait {
            seq: sequence_at(self.send.initial, self.send.next),
            ack: sequence_at(self.receive.initial, self.receive.next),
            timestamps: self
                .timestamps
                .then_some((self.timestamp_offset, self.receive.recent_stamp)),
        }
    }

    /// Whether one more challenge ACK may go out in this second (RFC 5961 section 7).
    pub(super) fn challenge(&mut self, now: Time) {
        let second = now.as_ns() / SECOND_NS;
        if second != self.challenge_second {
            self.challenge_second = second;
            self.challenge_count = 0;
        }
        if self.challenge_count < self.config.challenge_acks_per_second {
            self.challenge_count += 1;
            self.totals.challenges = self.totals.challenges.saturating_add(1);
            self.ack = AckDebt::Now;
        }
    }

    /// Looks for losses and arms the timer for looking again.
    pub(super) fn detect_losses(&mut self, now: Time) {
        let before = self.send.recovery;
        let (_, next) = self.send.detect_losses(now);
        self.timers.set(Timer::Reorder, next);
        if before == Recovery::None && self.send.recovery != Recovery::None {
            self.totals.recoveries = self.totals.recoveries.saturating_add(1);
            self.timers.stop(Timer::TailProbe);
        }
    }

    /// A segment of ours with these flags: everything that is the same on all of them.
    pub(super) fn header(&self, now: Time, flags: Flags, position: u64) -> Segment {
        let mut segment =
            Segment { seq: sequence_at(self.send.initial, position), flags, ..Segment::default() };
        if flags.has(Flags::ACK) {
            segment.ack = sequence_at(self.receive.initial, self.receive.next);
        }
        if self.timestamps {
            segment.options.timestamps = Some(Timestamps {
                value: self.timestamp(now),
                echo: if flags.has(Flags::ACK) { self.receive.recent_stamp } else { 0 },
            });
        }
        segment
    }

    /// Our timestamp clock: milliseconds (RFC 7323 5.4) from a secret offset.
    pub(super) fn timestamp(&self, now: Time) -> u32 {
        timestamp_at(now, self.timestamp_offset)
    }
}

/// The timestamp clock with this offset.
#[expect(clippy::cast_possible_truncation, reason = "timestamps are modulo 2^32")]
pub(super) fn timestamp_at(now: Time, offset: u32) -> u32 {
    ((now.as_ns() / crate::time::MILLISECOND_NS) as u32).wrapping_add(offset)
}

#[cfg(test)]
impl<F: Frame> Connection<F> {
    /// Pretends that so many bytes have gone through in each direction.
    pub(super) fn skip(&mut self, sent: u64, received: u64) {
        let send = &mut self.send;
        assert!(send.board.is_empty() && send.queue.pieces() == 0);
        send.unacknowledged += sent;
        send.next += sent;
        send.highest += sent;
        send.window_edge += sent;
        send.window_acknowledgement += sent;
        send.window_sequence += received;
        send.queue.skip(sent);
        let receive = &mut self.receive;
        receive.next += received;
        receive.edge += received;
        receive.limit += received;
        receive.acknowledged += received;
    }

    /// The invariants of both halves.
    pub(super) fn check(&self) {
        self.receive.check();
        self.send.board.check();
        let send = &self.send;
        assert!(send.unacknowledged <= send.next, "{} {}", send.unacknowledged, send.next);
        assert!(send.next <= send.highest);
        if self.phase == Phase::Synchronized {
            let records: u64 = send.board.records().map(|record| u64::from(record.len)).sum();
            assert_eq!(records, send.next - send.unacknowledged, "records cover what is in flight");
            assert!(send.next <= send.available_end().max(send.unacknowledged));
        }
    }
}
