//! When a session next has something to do.

use super::session::{Established, Session};
use crate::time::Time;

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// Nothing was heard for too long: the peer is lost.
    Dead,
    /// Nothing was sent for long: an answer is asked for.
    Keepalive,
    /// What has arrived is acknowledged.
    Acknowledgement,
    /// The peer is told what is no longer asked about, or asked what it has received.
    Floor,
    /// Something missing is taken for lost, or a silent tail is asked after.
    Recovery,
    /// The pacer lets the next datagram with data go.
    Pacing,
    /// A probe of the path's MTU is to be sent.
    PathProbe,
    /// The peer is told what both must agree on.
    Agreement,
    /// Parity over what was sent is to be sent.
    Parity,
    /// New keys are asked for, or the present ones are too old to be used.
    Keys,
}

const TIMERS: [Timer; 10] = [
    Timer::Dead,
    Timer::Keepalive,
    Timer::Acknowledgement,
    Timer::Floor,
    Timer::Recovery,
    Timer::Pacing,
    Timer::PathProbe,
    Timer::Agreement,
    Timer::Parity,
    Timer::Keys,
];

impl Session {
    /// When [`Session::transmit`] or [`Session::on_timeout`] has something to do; a time in the
    /// past means now.
    pub fn next_timeout(&mut self) -> Time {
        if let Some(closing) = &self.closing {
            return if closing.left > 0 { closing.at } else { Time::NEVER };
        }
        let initiation = self.security.as_ref().is_some_and(|security| security.is_ready());
        if initiation {
            return Time::ZERO;
        }
        let hello_at = self.handshake.as_ref().map_or(Time::NEVER, |handshake| handshake.due());
        let Some(established) = self.established else { return hello_at };
        if established.reply.is_some() {
            return Time::ZERO;
        }
        TIMERS.iter().fold(hello_at, |next, timer| next.min(self.expiry(*timer, &established)))
    }

    fn expiry(&mut self, timer: Timer, established: &Established) -> Time {
        match timer {
            Timer::Dead => established.heard_at + self.config.dead_after_ns,
            Timer::Keepalive => established.keepalive_at(self.config.keepalive_ns),
            Timer::Acknowledgement => self.acknowledgement_due(),
            Timer::Floor => self.sender.floor_due(),
            Timer::Recovery => self.sender.next_timeout(),
            Timer::Pacing if self.sender.has_data() => self.sender.pacer.next(),
            Timer::Pacing => Time::NEVER,
            Timer::Agreement => established.agreement.due(),
            Timer::PathProbe => self.path_probe_at(established),
            Timer::Parity => self.sender.parity_due(),
            Timer::Keys => self.security.as_ref().map_or(Time::NEVER, |s| s.next_timeout()),
        }
    }
}
