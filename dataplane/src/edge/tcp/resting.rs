//! A connection at rest: what has to be kept of one on which nothing is under way.
//!
//! In: a connection that both sides have left alone for a while, or that has only just begun. Out:
//! the same connection, whole again, as soon as anything happens. Never: a queue, a byte under way,
//! a timer other than the keepalive's.
//!
//! What is left out is either empty by then, or follows from what is kept, or is learned anew after
//! a pause anyway: when segments were last delivered (RACK), and where CUBIC's window was before; the
//! totals begin anew.

use std::sync::Arc;

use super::config::TcpConfig;
use super::congestion::{self, Congestion};
use super::connection::{ASKED_NS, AckDebt, Connection, Phase};
use super::interface::HostParameters;
use super::isn::InitialNumbers;
use super::rack::{Rack, Reordering};
use super::receiver::HostFin;
use super::rtt::Rtt;
use super::send_queue::SendQueue;
use super::sequence::{FIRST_BYTE, Position, offset_of, position_at};
use super::timer::{Timer, Timers};
use crate::frame::Frame;
use crate::time::{SECOND_NS, Time};

/// An established connection on which nothing is under way.
#[derive(Debug)]
pub struct Resting {
    config: Arc<TcpConfig>,
    /// SND.UNA, SND.NXT and all that was ever sent.
    sent: Position,
    /// RCV.NXT, acknowledged.
    received: Position,
    /// Stream offset up to which the far side may deliver.
    granted: u64,
    /// All below may be accepted from the host.
    limit: Position,
    recent_stamp_at: Time,
    heard_at: Time,
    sent_at: Time,
    keepalive_at: Time,
    rtt: RestingRtt,
    congestion: congestion::Remembered,
    send_initial: u32,
    receive_initial: u32,
    timestamp_offset: u32,
    recent_stamp: u32,
    /// What the host lets us send, and the most that it ever did.
    host_window: u32,
    host_window_max: u32,
    /// What the host may send by what it was told.
    offered_window: u32,
    largest_segment: u32,
    host: HostParameters,
    /// Payload bytes of a full segment to the host.
    segment: u16,
    /// Shifts of the host's windows, and of ours.
    send_scale: u8,
    receive_scale: u8,
    reordering: Reordering,
    active: bool,
    timestamps: bool,
    sack: bool,
}

const _: () = assert!(size_of::<Resting>() <= 144, "there is one for every idle connection");

/// Round trips of up to four seconds, which is long for a LAN.
#[derive(Clone, Copy, Debug)]
struct RestingRtt {
    smoothed_ns: u32,
    variation_ns: u32,
    latest_ns: u32,
    min_ns: u32,
}

impl RestingRtt {
    fn of(rtt: &Rtt) -> Self {
        RestingRtt {
            smoothed_ns: short(rtt.smoothed_ns),
            variation_ns: short(rtt.variation_ns),
            latest_ns: short(rtt.latest_ns),
            min_ns: short(rtt.min_ns),
        }
    }

    fn whole(self) -> Rtt {
        Rtt {
            smoothed_ns: self.smoothed_ns.into(),
            variation_ns: self.variation_ns.into(),
            latest_ns: self.latest_ns.into(),
            min_ns: self.min_ns.into(),
            backoff: 0,
        }
    }
}

fn short(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

impl<F: Frame> Connection<F> {
    /// Whether nothing but time stands between it and rest.
    pub(super) fn may_rest_soon(&self) -> bool {
        let (send, receive) = (&self.send, &self.receive);
        self.phase == Phase::Synchronized
            && receive.fin == HostFin::None
            && send.end.is_none()
            && self.unanswered_since == Time::NEVER
            && send.board.is_empty()
            && send.queue.pieces() == 0
            && send.next == send.unacknowledged
            && send.highest == send.next
            && receive.held_frames() == 0
    }

    /// When it may rest if nothing happens until then: its host has been left alone for so long that
    /// it will hardly mind, or has said nothing yet; and what is done once a second at most may be
    /// done again.
    pub(super) fn rests_at(&self) -> Time {
        let is_fresh = self.send.next == FIRST_BYTE && self.receive.next == FIRST_BYTE;
        let used_at = self.heard_at.max(self.send.sent_at) + self.config.idle_release_ns;
        let asked_at = self.asked_at.max(self.host_asked_at).map(|at| at + ASKED_NS);
        let challenged_at = Time::from_ns(self.challenge_second.saturating_mul(SECOND_NS));
        let challenged = self.challenge_count > 0;
        (if is_fresh { Time::ZERO } else { used_at })
            .max(asked_at.unwrap_or(Time::ZERO))
            .max(if challenged { challenged_at + SECOND_NS } else { Time::ZERO })
    }

    /// Whether it owes its host or the far side anything.
    fn is_obliged(&self) -> bool {
        let is_armed = |timer: &Timer| {
            !matches!(timer, Timer::Keepalive | Timer::Release)
                && self.timers.get(*timer) != Time::NEVER
        };
        self.ack != AckDebt::None
            || self.wants_transmit()
            || self.receive.has_duplicate()
            || self.receive.acknowledged != self.receive.next
            || self.attempts > 0
            || Timers::ALL.iter().any(is_armed)
    }

    /// What has to be kept of it, if it may rest now.
    #[must_use]
    pub fn at_rest(&self, now: Time) -> Option<Resting> {
        if !self.may_rest_soon() || now < self.rests_at() || self.is_obliged() {
            return None;
        }
        let (send, receive) = (&self.send, &self.receive);
        Some(Resting {
            config: Arc::clone(&self.config),
            sent: send.next,
            received: receive.next,
            granted: send.granted,
            limit: receive.limit,
            recent_stamp_at: receive.recent_stamp_at,
            heard_at: self.heard_at,
            sent_at: send.sent_at,
            keepalive_at: self.timers.get(Timer::Keepalive),
            rtt: RestingRtt::of(&send.rtt),
            congestion: send.congestion.remember(),
            send_initial: send.initial,
            receive_initial: receive.initial,
            timestamp_offset: self.timestamp_offset,
            recent_stamp: receive.recent_stamp,
            host_window: short(send.window_edge.saturating_sub(send.next)),
            host_window_max: short(send.window_max),
            offered_window: short(receive.window()),
            largest_segment: receive.largest_segment,
            host: self.host,
            segment: send.segment,
            send_scale: send.scale,
            receive_scale: receive.scale,
            reordering: send.rack.reordering,
            active: self.active,
            timestamps: self.timestamps,
            sack: send.sack,
        })
    }
}

impl Resting {
    /// The whole connection.
    #[must_use]
    pub fn wake<F: Frame>(&self) -> Connection<F> {
        let numbers =
            InitialNumbers { sequence: self.send_initial, timestamp_offset: self.timestamp_offset };
        let mut connection =
            Connection::new(self.heard_at, &self.config, numbers, Phase::Synchronized);
        connection.active = self.active;
        connection.host = self.host;
        connection.timestamps = self.timestamps;
        connection.timers.set(Timer::Keepalive, self.keepalive_at);
        let send = &mut connection.send;
        send.unacknowledged = self.sent;
        send.next = self.sent;
        send.highest = self.sent;
        send.window_edge = self.sent + u64::from(self.host_window);
        send.window_max = self.host_window_max.into();
        // Whatever comes next is newer than the window that was heard last.
        send.window_sequence = self.received;
        send.window_acknowledgement = self.sent;
        send.scale = self.send_scale;
        send.segment = self.segment;
        send.granted = self.granted;
        send.sack = self.sack;
        send.queue = SendQueue::starting_at(offset_of(self.sent));
        send.rack = Rack::new(self.reordering);
        send.rtt = self.rtt.whole();
        send.congestion =
            Congestion::resume(self.segment, self.config.send_window_max, self.congestion);
        send.sent_at = self.sent_at;
        send.progress_at = self.heard_at;
        let receive = &mut connection.receive;
        receive.initial = self.receive_initial;
        receive.next = self.received;
        receive.acknowledged = self.received;
        receive.edge = self.received + u64::from(self.offered_window);
        receive.limit = self.limit;
        receive.scale = self.receive_scale;
        receive.recent_stamp = self.recent_stamp;
        receive.recent_stamp_at = self.recent_stamp_at;
        receive.largest_segment = self.largest_segment;
        connection
    }

    /// What the host's SYN said.
    #[must_use]
    pub fn host_parameters(&self) -> HostParameters {
        self.host
    }

    /// As [`Connection::next_timeout`].
    #[must_use]
    pub fn next_timeout(&self) -> Time {
        self.keepalive_at
    }

    /// As [`Connection::receive_limit`].
    #[must_use]
    pub fn receive_limit(&self) -> u64 {
        offset_of(self.limit)
    }

    /// As [`Connection::grant`].
    pub fn grant(&mut self, offset: u64) {
        self.granted = self.granted.max(offset);
    }

    /// As [`Connection::shrink_grant`].
    pub fn shrink_grant(&mut self, offset: u64) -> bool {
        let unused = self.sent <= position_at(offset);
        if unused {
            self.granted = self.granted.min(offset);
        }
        unused
    }
}
