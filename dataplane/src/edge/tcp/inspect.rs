//! What can be asked of a connection.

use super::connection::{AckDebt, Connection, Phase};
use super::interface::Report;
use super::receiver::HostFin;
use super::sequence::offset_of;
use crate::frame::Frame;
use crate::time::Time;

impl<F: Frame> Connection<F> {
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

    /// Whether the far host's stream is all here, up to its end.
    #[must_use]
    pub fn holds_far_stream(&self) -> bool {
        self.send.end.is_some_and(|end| self.send.queue.contiguous_end() >= end)
    }

    /// Stream offset below which bytes may be accepted from the host.
    #[must_use]
    pub fn receive_limit(&self) -> u64 {
        offset_of(self.receive.limit)
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

    /// Frees at most `most` of the frames that wait for a gap, those furthest behind it first;
    /// how many it were. The host still has their bytes, because nothing behind a gap was
    /// acknowledged, and sends them again (RFC 2018 section 8).
    pub fn discard_held_frames(&mut self, most: usize) -> usize {
        self.receive.discard_last(most)
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
}
