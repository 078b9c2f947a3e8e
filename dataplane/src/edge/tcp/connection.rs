//! One connection: the local end facing one LAN host, in the name of the far one.
//!
//! In: parsed segments with their frames, bytes and events from the far side, the time. Out:
//! bytes in order and events through [`Upward`], segments through [`Emit`]. Never: an address, a
//! message, a buffer of its own for what the host sends.

use std::sync::Arc;

use super::config::{MSS_MIN, TcpConfig};
use super::isn::InitialNumbers;
use super::receiver::{HostFin, Receiver};
use super::segment::{Flags, Options, Segment, TIMESTAMPS_LEN};
use super::send_queue::{DeliverError, Payload};
use super::sender::{Recovery, Sender};
use super::sequence::{FIRST_BYTE, offset_of, position_at, sequence_at};
use super::time_wait::TimeWait;
use super::timer::{Timer, Timers};
use crate::frame::Frame;
use crate::packet_driver::BufferSlice;
use crate::packet_driver::reset::ResetCause;
use crate::time::{SECOND_NS, Time};

/// What a connection tells the side that carries its stream across.
pub trait Upward<F> {
    /// Bytes of the stream in order: `len` bytes of the frame from `start` on, the first of them
    /// at stream offset `offset`. They are acknowledged to the host from now on.
    fn data(&mut self, offset: u64, frame: F, start: u32, len: u32);
    /// The host we connected to has accepted.
    fn established(&mut self, host: &HostParameters);
    /// The host we connected to has refused, or was silent.
    fn refused(&mut self, cause: ResetCause);
    /// The host's stream ends at `offset`. Its FIN stays unacknowledged until
    /// [`Connection::fin_acknowledged`].
    fn fin(&mut self, offset: u64);
    /// The connection is over: the host reset it, or is gone.
    fn reset(&mut self, cause: ResetCause);
    /// The host has acknowledged everything delivered below `offset`.
    fn acknowledged(&mut self, offset: u64);
    /// The host has acknowledged our FIN after `offset` bytes.
    fn fin_acknowledged(&mut self, offset: u64);
}

/// Where segments to be sent go: the writer prepends IP and Ethernet and copies the payload once.
pub trait Emit {
    /// Sends one segment. False when there is no frame for it: nothing was sent, and the
    /// connection will offer it again.
    fn emit(&mut self, segment: &Segment, payload: Payload<'_>) -> bool;
}

/// What a host's SYN says of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostParameters {
    /// Maximum segment size in bytes; 0 when the SYN had none.
    pub mss: u16,
    /// Window scale, when offered.
    pub window_scale: Option<u8>,
    /// Whether SACK is permitted.
    pub sack_permitted: bool,
    /// Whether timestamps are sent.
    pub timestamps: bool,
}

impl HostParameters {
    /// What the options of a SYN say.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        HostParameters {
            mss: options.mss.unwrap_or(0),
            window_scale: options.window_scale,
            sack_permitted: options.sack_permitted,
            timestamps: options.timestamps.is_some(),
        }
    }
}

/// The states of RFC 9293 3.3.2, and two of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The host's SYN waits for the far side's answer; nothing has been sent.
    Held,
    /// Our SYN is out.
    SynSent,
    /// Both SYNs are out, ours is unacknowledged.
    SynReceived,
    /// Data flow both ways.
    Established,
    /// Our FIN is out; the host may still send.
    FinWait1,
    /// Our FIN is acknowledged; the host may still send.
    FinWait2,
    /// The host's FIN is acknowledged; we may still send.
    CloseWait,
    /// Both FINs are out and the host's is acknowledged, ours having been sent before that.
    Closing,
    /// The host's FIN is acknowledged, then ours was sent.
    LastAck,
    /// All is acknowledged both ways; late segments are answered.
    TimeWait,
    /// A reset is being sent to the host, repeated in case it is lost.
    Resetting,
    /// Over.
    Closed,
}

/// What became of a segment from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Taken, wholly or in part.
    Taken,
    /// Nothing new in it.
    Duplicate,
    /// Outside the window (RFC 9293 3.10.7.4).
    OutOfWindow,
    /// Behind a gap, and no room to keep it.
    NoRoom,
    /// An old duplicate by its timestamp (PAWS, RFC 7323 section 5).
    OldTimestamp,
    /// Without the timestamp that was agreed on (RFC 7323 3.2).
    MissingTimestamp,
    /// It acknowledges what was not sent, or what was acknowledged long ago.
    UnacceptableAck,
    /// A SYN or RST that might be forged: answered with a challenge ACK (RFC 5961).
    Challenged,
    /// A segment without meaning in this state.
    Unexpected,
    /// The connection is over. If the segment is a SYN, a new one may take its place.
    Closed,
}

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// Nothing is left to do: forget it.
    Closed,
    /// Forget it, but keep this in a [`TimeWaitTable`](super::time_wait::TimeWaitTable).
    TimeWait(TimeWait),
}

/// Whether [`Connection::transmit`] could send all it had to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Transmitted {
    /// All that may be sent now is sent.
    Done,
    /// There was no frame: call again when there are frames.
    Blocked,
}

/// What can be said of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// State.
    pub state: State,
    /// Smoothed round trip time; 0 before the first sample.
    pub rtt_ns: u64,
    /// Smallest round trip time.
    pub rtt_min_ns: u64,
    /// Retransmission timeout.
    pub rto_ns: u64,
    /// Congestion window in bytes.
    pub congestion_window: u64,
    /// Bytes on their way to the host.
    pub in_flight: u64,
    /// Bytes from the far side that the host has not acknowledged, those behind gaps included.
    pub unread: u64,
    /// Payload bytes of a full segment.
    pub segment_size: u16,
    /// What the host may still send by what it was told, in bytes.
    pub offered_window: u64,
    /// What the host lets us send, in bytes.
    pub host_window: u64,
    /// Frames kept until a gap before them is filled.
    pub held_frames: usize,
    /// Totals.
    pub totals: Totals,
}

/// Totals of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Segments sent again.
    pub retransmitted_segments: u32,
    /// Retransmission timeouts.
    pub timeouts: u32,
    /// Tail loss probes.
    pub tail_probes: u32,
    /// Zero-window probes.
    pub window_probes: u32,
    /// Recoveries without a timeout.
    pub recoveries: u32,
    /// Segments from the host that came out of order.
    pub out_of_order: u32,
    /// Segments from the host with nothing new in them.
    pub duplicates: u32,
    /// Challenge ACKs sent.
    pub challenges: u32,
}

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

    fn new(now: Time, config: &Arc<TcpConfig>, numbers: InitialNumbers, phase: Phase) -> Self {
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
            self.send.congestion = super::congestion::Congestion::new(
                self.send.segment,
                config.initial_window_segments,
                config.send_window_max,
            );
        }
    }

    /// The path to the host takes packets with at most `mss` bytes of TCP options and payload
    /// (from an ICMP message that quotes a segment in flight). What is larger is cut anew.
    pub fn reduce_mss(&mut self, mss: u16) {
        let before = self.send.segment;
        self.set_segment(mss.min(self.config.mss));
        if self.send.segment >= before {
            self.send.segment = before;
            return;
        }
        let segment = u32::from(self.send.segment);
        self.send.board.judge(|record| Some(record.len > segment));
        self.send.repair_at_once = true;
    }

    /// What the host's SYN said.
    #[must_use]
    pub fn host_parameters(&self) -> HostParameters {
        self.host
    }

    /// The far host has accepted: the SYN-ACK is due. Call [`Connection::set_receive_limit`]
    /// first, so that it offers a window.
    pub fn answer(&mut self, now: Time) {
        if self.phase == Phase::Held {
            self.phase = Phase::SynReceived;
            self.due.syn = true;
            self.heard_at = now;
        }
    }

    /// Lets the far side deliver up to stream offset `offset`; never less than before.
    pub fn grant(&mut self, offset: u64) {
        self.send.granted = self.send.granted.max(offset);
    }

    /// Takes bytes of the far host's stream, in order or not; what is there already is left out.
    ///
    /// # Errors
    /// The peer broke the protocol on this flow; nothing was taken.
    pub fn deliver(&mut self, offset: u64, data: BufferSlice) -> Result<(), DeliverError> {
        match self.phase {
            Phase::TimeWait | Phase::Resetting | Phase::Closed => {
                return Err(DeliverError::NotOpen);
            }
            Phase::Held | Phase::SynSent | Phase::SynReceived | Phase::Synchronized => {}
        }
        let end = offset.checked_add(data.len() as u64).ok_or(DeliverError::BeyondGrant)?;
        if end > self.send.granted {
            return Err(DeliverError::BeyondGrant);
        }
        if self.send.end.is_some_and(|last| end > last) {
            return Err(DeliverError::BeyondEnd);
        }
        self.send.queue.insert(offset, data, self.config.send_pieces_max)
    }

    /// The far host's stream ends at `offset`: our FIN follows the last byte.
    ///
    /// # Errors
    /// Bytes beyond `offset` are there, or another end was named before.
    pub fn deliver_fin(&mut self, offset: u64) -> Result<(), DeliverError> {
        if self.send.queue.end() > offset || self.send.end.is_some_and(|end| end != offset) {
            return Err(DeliverError::BeyondEnd);
        }
        self.send.end = Some(offset);
        Ok(())
    }

    /// The far host has acknowledged the FIN of our host: now we do.
    pub fn fin_acknowledged(&mut self) {
        if matches!(self.receive.fin, HostFin::Held(_)) {
            self.acknowledge_host_fin();
        }
    }

    /// The far edge holds every byte before our host's FIN: enough to acknowledge the FIN once it
    /// has waited for [`TcpConfig::fin_timeout_ns`].
    pub fn fin_stored(&mut self) {
        self.fin_stored = true;
        if self.fin_expired {
            self.fin_acknowledged();
        }
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
        self.phase = if self.closed_first { Phase::TimeWait } else { Phase::Closed };
        self.forget();
    }

    /// Gives back all memory and stops all timers.
    pub(super) fn forget(&mut self) {
        self.send.clear();
        self.receive.discard_held();
        self.timers.stop_all();
    }

    /// Whether the far host's stream is all here, up to its end.
    #[must_use]
    pub fn holds_far_stream(&self) -> bool {
        self.send.end.is_some_and(|end| self.send.queue.contiguous_end() >= end)
    }

    /// Bytes below stream offset `offset` may be accepted from the host; never less than before.
    /// It decides the window that the host is offered.
    pub fn set_receive_limit(&mut self, offset: u64) {
        self.receive.limit = self.receive.limit.max(position_at(offset));
        if self.phase != Phase::Synchronized || self.receive.end().is_some() {
            return;
        }
        let edge = self.offer();
        let room = edge - self.receive.next;
        if edge > self.receive.edge && 2 * self.receive.window() <= room {
            self.ack = AckDebt::Now;
        }
    }

    /// The right edge that the next segment tells.
    pub(super) fn offer(&self) -> u64 {
        let segment = u64::from(self.config.mss);
        self.receive.edge_to_offer(u64::from(self.config.receive_window_max), segment)
    }

    /// Ends the connection with a RST to the host, which is repeated in case it is lost; queued
    /// bytes are discarded.
    pub fn reset(&mut self, now: Time) {
        match self.phase {
            Phase::Closed | Phase::TimeWait | Phase::Resetting => return,
            // Nothing that a host could know of has been sent.
            Phase::SynSent if self.attempts == 0 => {
                self.phase = Phase::Closed;
                self.forget();
                return;
            }
            _ => {}
        }
        self.forget();
        self.phase = Phase::Resetting;
        self.attempts = 0;
        self.due = Due { reset: true, ..Due::default() };
        self.ack = AckDebt::None;
        self.heard_at = now;
    }

    /// Ends the connection without a word to the host: silence stays silence.
    pub fn abandon(&mut self) {
        self.phase = Phase::Closed;
        self.due = Due::default();
        self.ack = AckDebt::None;
        self.forget();
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

    /// Whether [`Connection::transmit`] may have something to send.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        let due = &self.due;
        self.ack == AckDebt::Now
            || due.syn
            || due.tail_probe
            || due.window_probe
            || due.keepalive
            || due.reset
            || due.stray_reset.is_some()
            || due.duplicate_acks > 0
            || (self.phase == Phase::Synchronized
                && (self.send.board.lost() > 0 || self.send.has_unsent()))
    }

    /// Whether nothing is queued, in flight, or waiting for a gap.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.send.queue.pieces() == 0
            && self.send.board.is_empty()
            && self.receive.held_frames() == 0
            && self.ack == AckDebt::None
    }

    /// Stream offset up to which the host's bytes have been handed up.
    #[must_use]
    pub fn received_offset(&self) -> u64 {
        match self.receive.fin {
            HostFin::Acknowledged => offset_of(self.receive.next - 1),
            _ => offset_of(self.receive.next),
        }
    }

    /// Stream offset up to which the host has acknowledged what was delivered.
    #[must_use]
    pub fn acknowledged_offset(&self) -> u64 {
        let offset = offset_of(self.send.unacknowledged);
        self.send.end.map_or(offset, |end| offset.min(end))
    }

    /// The sequence number of ours that the host expects next, as far as we know: what a HELD
    /// message names after a restart of the peer.
    #[must_use]
    pub fn host_expects(&self) -> u32 {
        sequence_at(self.send.initial, self.send.unacknowledged)
    }

    /// Bytes from the far side that the host has not acknowledged, those behind gaps included.
    #[must_use]
    pub fn unread_bytes(&self) -> u64 {
        self.send.queue.len()
    }

    /// Bytes of buffers that the queued slices keep out of their pools; a buffer counts once for
    /// each slice, so this is an upper bound.
    #[must_use]
    pub fn pinned_bytes(&self) -> u64 {
        self.send.queue.pinned_bytes()
    }

    /// Slices queued.
    #[must_use]
    pub fn queued_pieces(&self) -> usize {
        self.send.queue.pieces()
    }

    /// Frames that wait for a gap before them.
    #[must_use]
    pub fn held_frames(&self) -> usize {
        self.receive.held_frames()
    }

    /// Frees the frames that wait for a gap: the host sends them again (RFC 2018 section 8).
    pub fn discard_held_frames(&mut self) {
        self.receive.discard_held();
    }

    /// When [`Connection::on_timeout`] is to be called; [`Time::NEVER`] for not at all.
    #[must_use]
    pub fn next_timeout(&self) -> Time {
        self.timers.next()
    }

    /// What can be said of the connection.
    #[must_use]
    pub fn report(&self) -> Report {
        let send = &self.send;
        Report {
            state: self.state(),
            rtt_ns: send.rtt.smoothed_ns,
            rtt_min_ns: send.rtt.min_ns,
            rto_ns: send.rtt.timeout_ns(&self.config),
            congestion_window: send.congestion.window(),
            in_flight: send.board.in_flight(),
            unread: send.queue.len(),
            segment_size: send.segment,
            offered_window: self.receive.window(),
            host_window: send.window_edge.saturating_sub(send.unacknowledged),
            held_frames: self.receive.held_frames(),
            totals: self.totals,
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
            segment.options.timestamps = Some(super::segment::Timestamps {
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
