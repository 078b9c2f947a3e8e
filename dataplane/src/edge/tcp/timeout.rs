//! What happens when a timer of a connection fires.

use super::connection::{AckDebt, Connection, Phase};
use super::interface::Upward;
use super::timer::{Timer, Timers};
use crate::frame::Frame;
use crate::packet_driver::reset::ResetCause;
use crate::time::Time;

impl<F: Frame> Connection<F> {
    /// Takes all timers that are due; what they call for is sent by the next transmission.
    pub fn on_timeout(&mut self, now: Time, up: &mut impl Upward<F>) {
        for timer in Timers::ALL {
            if self.timers.take_due(timer, now) {
                self.fire(timer, now, up);
            }
        }
    }

    fn fire(&mut self, timer: Timer, now: Time, up: &mut impl Upward<F>) {
        match timer {
            Timer::Retransmit => self.retransmission_timeout(now, up),
            Timer::Reorder => self.detect_losses(now),
            Timer::TailProbe => self.due.tail_probe = !self.send.board.is_empty(),
            Timer::Persist => self.persist_timeout(now, up),
            Timer::DelayedAck => {
                if self.ack == AckDebt::Delayed {
                    self.ack = AckDebt::Now;
                }
            }
            Timer::Keepalive => self.keepalive_timeout(now, up),
            Timer::FinHeld => {
                self.fin_expired = true;
                if self.fin_stored {
                    self.fin_acknowledged();
                }
            }
            Timer::Release => self.release(now),
        }
    }

    fn retransmission_timeout(&mut self, now: Time, up: &mut impl Upward<F>) {
        match self.phase {
            Phase::Resetting => self.reset_timeout(),
            Phase::SynSent | Phase::SynReceived => {
                if self.attempts > self.config.syn_retries {
                    if self.phase == Phase::SynSent {
                        self.end(ResetCause::Silence, up);
                    } else {
                        self.give_up(now, up);
                    }
                } else {
                    self.send.rtt.backoff = self.send.rtt.backoff.saturating_add(1);
                    self.due.syn = true;
                }
            }
            Phase::Synchronized if !self.send.board.is_empty() => {
                // RFC 9293 3.8.3: without progress for so long, the host is given up.
                let open = self.send.window_edge > self.send.unacknowledged;
                let stuck_ns = if open { now.since_ns(self.send.progress_at) } else { 0 };
                if self.is_silent(now) || stuck_ns >= self.config.user_timeout_ns {
                    self.give_up(now, up);
                } else {
                    self.totals.timeouts = self.totals.timeouts.saturating_add(1);
                    self.due.tail_probe = false;
                    self.timers.stop(Timer::TailProbe);
                    self.timers.stop(Timer::Reorder);
                    self.send.timeout();
                    self.arm(now);
                }
            }
            _ => {}
        }
    }

    fn is_silent(&self, now: Time) -> bool {
        now.since_ns(self.unanswered_since) >= self.config.user_timeout_ns
    }

    /// The host is gone; in case it only seems so, it sees a reset too.
    pub(super) fn give_up(&mut self, now: Time, up: &mut impl Upward<F>) {
        let connecting = self.active && self.phase == Phase::SynReceived;
        self.reset(now);
        if connecting {
            up.refused(ResetCause::HostGone);
        } else {
            up.reset(ResetCause::HostGone);
        }
    }

    /// A closed window is no reason to give up while the host answers (RFC 9293 3.8.6.1).
    fn persist_timeout(&mut self, now: Time, up: &mut impl Upward<F>) {
        if self.phase != Phase::Synchronized {
            return;
        }
        if self.is_silent(now) {
            self.give_up(now, up);
            return;
        }
        self.send.rtt.backoff = self.send.rtt.backoff.saturating_add(1);
        self.due.window_probe = true;
    }

    fn keepalive_timeout(&mut self, now: Time, up: &mut impl Upward<F>) {
        let Some(idle_ns) = self.config.keepalive_idle_ns else { return };
        if self.phase != Phase::Synchronized {
            return;
        }
        let quiet_until = self.heard_at + idle_ns;
        if now < quiet_until {
            self.timers.set(Timer::Keepalive, quiet_until);
            return;
        }
        // What is in flight asks by itself.
        if self.send.board.is_empty() {
            if self.attempts >= self.config.keepalive_probes {
                self.give_up(now, up);
                return;
            }
            self.due.keepalive = true;
        }
        self.timers.set(Timer::Keepalive, now + self.config.keepalive_interval_ns);
    }

    /// Whether queues have memory that they have not needed for a while.
    pub(super) fn has_spare_memory(&self) -> bool {
        let spare = self.send.queue.is_spare() || self.send.board.is_spare();
        spare || self.receive.is_spare()
    }

    fn release(&mut self, now: Time) {
        let quiet_since = self.heard_at.max(self.send.sent_at);
        if now < quiet_since + self.config.idle_release_ns {
            // In use: what is allocated now would be allocated again.
            self.timers.set(Timer::Release, quiet_since + self.config.idle_release_ns);
            return;
        }
        self.send.queue.release();
        self.send.board.release();
        self.receive.release();
    }
}
