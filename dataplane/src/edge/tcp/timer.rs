//! The timers of a connection.

use crate::time::Time;

/// What a timer's firing means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Timer {
    /// Nothing came back for what was sent: all of it counts as lost (RFC 6298), or the SYN does.
    Retransmit,
    /// Segments overtaken by later ones have now been late for long enough (RFC 8985 6.3).
    Reorder,
    /// The end of a flight is silent: ask with one segment before the retransmission timeout
    /// (RFC 8985 section 7).
    TailProbe,
    /// The host's window has been closed for long enough to ask again (RFC 9293 3.8.6.1).
    Persist,
    /// An acknowledgement has waited for company for long enough.
    DelayedAck,
    /// The host has been silent for long enough to ask whether it is there.
    Keepalive,
    /// The host's FIN has waited for the far host for as long as it may.
    FinHeld,
    /// Nothing has been under way for long enough to give memory back: that of the queues, or all
    /// but what has to be kept of a connection at rest.
    Release,
}

const COUNT: usize = Timer::Release as usize + 1;

/// All timers of a connection; [`Time::NEVER`] is not armed.
#[derive(Debug)]
pub(super) struct Timers([Time; COUNT]);

impl Timers {
    pub(super) const ALL: [Timer; COUNT] = [
        Timer::Retransmit,
        Timer::Reorder,
        Timer::TailProbe,
        Timer::Persist,
        Timer::DelayedAck,
        Timer::Keepalive,
        Timer::FinHeld,
        Timer::Release,
    ];

    pub(super) fn new() -> Self {
        Timers([Time::NEVER; COUNT])
    }

    pub(super) fn get(&self, timer: Timer) -> Time {
        self.0[timer as usize]
    }

    pub(super) fn set(&mut self, timer: Timer, at: Time) {
        self.0[timer as usize] = at;
    }

    /// Arms the timer unless it is armed.
    pub(super) fn set_if_idle(&mut self, timer: Timer, at: Time) {
        if self.get(timer) == Time::NEVER {
            self.set(timer, at);
        }
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.set(timer, Time::NEVER);
    }

    pub(super) fn stop_all(&mut self) {
        self.0 = [Time::NEVER; COUNT];
    }

    /// Stops the timer and says whether it was due.
    pub(super) fn take_due(&mut self, timer: Timer, now: Time) -> bool {
        let due = self.get(timer) <= now;
        if due {
            self.stop(timer);
        }
        due
    }

    pub(super) fn next(&self) -> Time {
        self.0.iter().copied().min().unwrap_or(Time::NEVER)
    }
}
