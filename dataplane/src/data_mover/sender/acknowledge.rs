//! What an acknowledgement changes in the sending half of a session.
//!
//! In: acknowledgements. Out: what has arrived and what is missing, the state of the peer, samples
//! for the controller. Never: a transmission taken for lost here.

use super::{BACKLOGGED_RATE_BPS_MIN, SILENCE_NS, Sender, Violation};
use crate::data_mover::MoverCounter;
use crate::data_mover::congestion::{AckSample, Heard, Outcome};
use crate::data_mover::one_way::Edge;
use crate::data_mover::sent::Fate;
use crate::data_mover::wire::Acknowledgement;
use crate::time::{MICROSECOND_NS, Time};

impl Sender {
    /// An acknowledgement arrived.
    ///
    /// # Errors
    /// It is of something never sent. Beyond the highest number nothing changed; of a number that was
    /// left out, what comes before it is noted.
    pub(in crate::data_mover) fn acknowledge(
        &mut self,
        now: Time,
        ack: &Acknowledgement<'_>,
    ) -> Result<(), Violation> {
        if ack.highest_received >= self.sent.next() || ack.lowest_incomplete > self.outbound.next()
        {
            return Err(Violation::Acknowledgement);
        }
        self.recovery.heard(now);
        let rtt_ns = self.sample_rtt(now, ack);
        let news = self.flags(now, ack)?;
        self.peer_state(ack);
        self.logical(ack);
        if news {
            self.recovery.progress(now, &self.rtt);
        }
        self.detect_losses(now);
        if news {
            self.control(now, ack, rtt_ns);
        }
        self.path_news(now);
        Ok(())
    }

    /// What has arrived and what is missing; whether anything has arrived that is news. Each number is
    /// told several times, so most of the flags are known by now.
    fn flags(&mut self, now: Time, ack: &Acknowledgement<'_>) -> Result<bool, Violation> {
        let mut news = false;
        for (first, flags) in ack.received.bytes() {
            let mut open = !self.sent.settled(first);
            while open != 0 {
                let bit = open.trailing_zeros();
                open &= open - 1;
                let number = first + u64::from(bit);
                if number > ack.highest_received {
                    return Ok(news);
                }
                if flags >> bit & 1 == 1 {
                    news |= self.arrived(now, number)?;
                } else {
                    self.missing(number);
                }
            }
        }
        Ok(news)
    }

    /// Tells the controller what an acknowledgement has brought.
    fn control(&mut self, now: Time, ack: &Acknowledgement<'_>, rtt_ns: Option<u64>) {
        let apart_ns = now.since_ns(self.news_at).min(self.rtt.smoothed_ns());
        (self.news_at, self.spacing_ns) = (now, (7 * self.spacing_ns + apart_ns) / 8);
        let highest = self.sent.get(ack.highest_received).copied().unwrap_or_default();
        let arrived_us = ack.clock_us.wrapping_sub(ack.delay_us);
        let edge = rtt_ns.map(|rtt_ns| Edge { sent_at: highest.at, arrived_us, rtt_ns });
        let batch = self.one_way.heard(ack.arrivals, edge);
        let smoothed_ns = self.rtt.smoothed_ns();
        if ack.highest_received < self.control_from {
            return;
        }
        self.rounds.heard(&Heard {
            now,
            clock_us: ack.clock_us,
            delay_us: ack.delay_us,
            passed_bytes: highest.sent_bytes,
            sent_at: highest.at,
            round: highest.round,
            batch,
            silent_ns: 2 * smoothed_ns + SILENCE_NS,
        });
        self.note_dry(now);
        if self.rounds.is_reached(now, ack.highest_received, 8 * smoothed_ns) {
            let sample = self.rounds.turn(now, self.sent.next());
            if let Some(sample) = sample {
                self.controller.on_round(&sample);
            }
            self.rounds.mark(self.controller.mark());
        }
        self.controller.on_ack(&AckSample {
            now,
            outstanding_bytes: self.sent.outstanding_bytes(),
            delivered_bps: self.rounds.delivered_bps(self.rtt.min_ns() / 2),
            rtt_ns: batch.map(|batch| batch.rtt_ns),
            least_ns: self.rtt.min_ns(),
            smoothed_ns,
            variation_ns: self.rtt.variation_ns(),
            spacing_ns: self.spacing_ns,
        });
    }

    /// The round trip, without the receiver's delay, when the acknowledgement tells one.
    fn sample_rtt(&mut self, now: Time, ack: &Acknowledgement<'_>) -> Option<u64> {
        if ack.highest_received <= self.peer.highest_received {
            return None;
        }
        let transmission = self.sent.get(ack.highest_received)?;
        if transmission.probe {
            // A long one takes longer, and means no queue.
            return None;
        }
        let total_ns = now.since_ns(transmission.at);
        let delay_ns = u64::from(ack.delay_us) * 1_000;
        if delay_ns >= total_ns {
            return None;
        }
        self.rtt.sample(now, total_ns, delay_ns);
        Some(total_ns - delay_ns)
    }

    /// A number has arrived; whether that is news.
    ///
    /// # Errors
    /// It was never sent.
    fn arrived(&mut self, now: Time, number: u64) -> Result<bool, Violation> {
        let Some(fate) = self.sent.get(number).map(|transmission| transmission.fate) else {
            return Ok(false);
        };
        match fate {
            Fate::Skipped => return Err(Violation::Acknowledgement),
            Fate::Arrived | Fate::Settled => return Ok(false),
            Fate::InFlight | Fate::Missing | Fate::Lost => {}
        }
        let Some(transmission) = self.sent.set(number, Fate::Arrived) else { return Ok(false) };
        self.recovery.arrived(now, transmission.at, fate != Fate::InFlight);
        self.one_way.sent.add(transmission.at.as_ns() / MICROSECOND_NS);
        self.path_passed(now, &transmission);
        if transmission.probe {
            return Ok(true);
        }
        self.fec.arrived(fate == Fate::Lost);
        let outcome = match fate {
            Fate::Lost => Outcome::ArrivedLate,
            _ => Outcome::Arrived,
        };
        self.fared(number, &transmission, outcome);
        if fate == Fate::Lost {
            // Its ranges are accounted for by their new transmissions.
            self.counters.increment(MoverCounter::LossesSpurious);
            return Ok(true);
        }
        for index in 0..transmission.pieces() {
            let range = self.sent.piece(&transmission, index);
            if range.is_some_and(|range| self.outbound.acknowledged(&range)) {
                self.counters.increment(MoverCounter::BuffersCompleted);
            }
        }
        Ok(true)
    }

    fn missing(&mut self, number: u64) {
        let in_flight = self.sent.get(number).is_some_and(|t| t.fate == Fate::InFlight);
        if in_flight && self.recovery.missing(number) {
            self.sent.set(number, Fate::Missing);
        }
    }

    fn peer_state(&mut self, ack: &Acknowledgement<'_>) {
        if ack.highest_received < self.peer.highest_received {
            return;
        }
        self.peer.highest_received = ack.highest_received;
        self.peer.room_bytes = u64::from(ack.room_bytes);
        let reported_bps = u64::from(ack.delivery_kbytes_per_s) * 8_000;
        self.peer.rate_bps_max =
            ack.backlogged.then_some(reported_bps.max(BACKLOGGED_RATE_BPS_MIN));
    }

    fn logical(&mut self, ack: &Acknowledgement<'_>) {
        let lowest = ack.lowest_incomplete;
        self.peer.lowest_incomplete = self.peer.lowest_incomplete.max(lowest);
        let mut completed = self.outbound.complete_below(lowest);
        for (number, _) in ack.complete.iter().filter(|(_, complete)| *complete) {
            completed += u64::from(self.outbound.complete(number));
        }
        self.counters.add(MoverCounter::BuffersCompleted, completed);
        self.outbound.abandoned_known(|number| number < lowest || ack.complete.contains(number));
    }
}
