//! Probes of the path's MTU: sent beside the data, and apart from it.
//!
//! In: what the search asks for. Out: padded datagrams without pieces, and what became of them.
//! Never: a word to the congestion controller: a probe is paced like everything, but neither its
//! loss nor its arrival says anything about the rate.

use super::MoverCounter;
use super::congestion::Congestion;
use super::path_mtu::{Change, Outcome, Pace, PathMtuState};
use super::recovery::answer_ns;
use super::sender::{Pieces, Sender};
use super::sent::{Fate, Transmission};
use super::session::{Established, Session};
use super::transmit::Body;
use super::wire::emit_keepalive;
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

/// Shortest time between probes in nanoseconds, and their share of what is sent, at most.
const GAP_NS_MIN: u64 = 5 * MILLISECOND_NS;
const PROBE_SHARE: u64 = 32;

impl Session {
    /// When a probe is to be sent. The first word of a session is another one. Where data vanishes
    /// the controller may have come to a rate at which even acknowledgements leave no room: such
    /// probes wait for nothing.
    pub(super) fn path_probe_at(&self, established: &Established) -> Time {
        let path_mtu = &self.sender.path_mtu;
        match established.spoke_at {
            None => Time::NEVER,
            Some(_) if path_mtu.is_asking() => path_mtu.due(),
            Some(_) => path_mtu.due().max(self.sender.pacer.next()),
        }
    }

    /// Writes the probe that is due, if any.
    pub(super) fn transmit_path_probe(
        &mut self,
        now: Time,
        out: &mut [u8],
        established: &Established,
    ) -> Option<usize> {
        let probe_len = self.sender.path_mtu.probe(now)?;
        self.make_room(now)?;
        self.scratch.clear(probe_len.min(out.len()));
        self.scratch.append(emit_keepalive);
        let len = self.write(now, out, established.peer.session, Body::Pieces(&Pieces::new()))?;
        let ip_bytes = self.count_out(now, len);
        self.counters.increment(MoverCounter::PathProbes);
        self.sender.path_probe_sent(now, ip_bytes);
        Some(len)
    }

    /// The peer was found at another address, which another path leads to.
    pub(super) fn path_changed(&mut self) {
        if let Some(established) = &self.established {
            self.sender.path_mtu.path_changed(established.heard_at);
        }
    }

    /// Length in bytes of a datagram or probe, at most: as much room [`Session::transmit`] can use.
    #[must_use]
    pub fn datagram_len_max(&self) -> usize {
        self.config.datagram_len_max()
    }

    /// IP bytes of a datagram on this path, at most, and how far the search for more is.
    pub(super) fn path_mtu(&self) -> (u64, PathMtuState) {
        (self.sender.path_mtu.ip_bytes(), self.sender.path_mtu.state())
    }
}

impl Sender {
    /// A probe was written under [`Sender::next_physical`].
    fn path_probe_sent(&mut self, now: Time, ip_bytes: usize) {
        if self.sent.in_flight() == 0 {
            // Else there is something whose silence is asked after, no later for the sake of this.
            self.recovery.sent(now);
        }
        let round = self.rounds.tag();
        self.sent.push_probe(now, ip_bytes, round);
        let bits = (PROBE_SHARE * 8).saturating_mul(ip_bytes as u64);
        let share_ns = bits.saturating_mul(SECOND_NS) / self.rate_bps().max(1);
        let round_ns = (self.rtt.smoothed_ns() + self.rtt.variation_ns()).max(GAP_NS_MIN);
        self.path_mtu
            .probe_sent(now, &Pace { round_ns, answer_ns: answer_ns(&self.rtt), share_ns });
    }

    /// A transmission has arrived.
    pub(super) fn path_passed(&mut self, now: Time, transmission: &Transmission) {
        self.path_mtu.passed(now, &outcome(transmission));
    }

    /// A transmission is taken for lost, and its fate not yet noted.
    pub(super) fn path_lost(&mut self, now: Time, transmission: &Transmission) {
        if transmission.probe {
            self.counters.increment(MoverCounter::PathProbesLost);
        }
        // Else it is a guess, because nothing is heard.
        let overtaken = transmission.fate == Fate::Missing;
        self.path_mtu.lost(now, &outcome(transmission), overtaken);
    }

    /// Does what time brings; asks whether the path still carries what is on its way, when nothing
    /// of it is answered.
    pub(super) fn path_timeout(&mut self, now: Time) {
        let answer_ns = answer_ns(&self.rtt);
        if now.since_ns(self.news_at) >= answer_ns {
            self.path_mtu.silent(now, answer_ns);
        }
        self.path_mtu.on_timeout(now);
        self.path_news(now);
    }

    /// Acts on what was learned of the path. What vanished in a black hole said nothing of the
    /// rate, but the controller could not know: it begins anew, with what the path carried before.
    pub(super) fn path_news(&mut self, now: Time) {
        match self.path_mtu.take_change() {
            None if self.path_mtu.is_sound() => {
                self.sound_bps = Some(self.controller.capacity_bps())
            }
            None => {}
            Some(Change::Raised) => {
                self.controller.set_datagram_bytes(self.path_mtu.ip_bytes());
            }
            Some(Change::BlackHole) => {
                self.counters.increment(MoverCounter::BlackHoles);
                let congestion = match self.congestion {
                    Congestion::Auto { hint_bps, rate_bps_max } => {
                        Congestion::Auto { hint_bps: self.sound_bps.or(hint_bps), rate_bps_max }
                    }
                    fixed @ Congestion::Fixed { .. } => fixed,
                };
                self.begin_control(now, congestion, Some(self.rtt.min_ns()));
            }
        }
    }
}

fn outcome(transmission: &Transmission) -> Outcome {
    let Transmission { ip_bytes, at: sent_at, probe, .. } = *transmission;
    Outcome { ip_bytes, sent_at, probe }
}
