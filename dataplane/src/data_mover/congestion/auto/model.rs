//! The model of the path: capacity, random loss, the round trip without a queue.

use super::super::share::{RandomLoss, WHOLE, bytes_in, scaled};
use super::super::{AckSample, Mark, PathStart, RoundSample, Settled};
use crate::time::{MICROSECOND_NS, MILLISECOND_NS, SECOND_NS, Time};

/// Slowest rate in bits per second.
const RATE_BPS_MIN: u64 = 100_000;
/// How long a round trip without a queue is believed, in nanoseconds.
const BASE_VALID_NS: u64 = 10 * SECOND_NS;
/// Round trip assumed before one is known, in nanoseconds.
const RTT_NS_INITIAL: u64 = 333 * MILLISECOND_NS;
/// Datagrams for which a round counts as much as all that was known.
const ROUND_WEIGHT: u64 = 64;
/// A delivered rate may be so far off for reasons of its own.
const RATE_TOLERANCE_PPM: u64 = 30_000;
/// In flight beyond the path, in datagrams: so that single ones are not stopped.
const SLACK_DATAGRAMS: u64 = 4;

/// What a round says about the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There was less to send, or nothing was heard: it says nothing.
    Nothing,
    /// What was sent was carried, and left no queue.
    Carried,
    /// More was sent than the path carries.
    Full,
}

/// The path as it is known.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) loss: RandomLoss,
    capacity_bps: u64,
    rate_bps_max: u64,
    datagram_bytes: u64,
    /// Mean round trip while there was no queue, and when that was last so.
    base_ns: u64,
    base_at: Time,
    based: bool,
    /// Mean deviation of round trips from the mean of their round.
    deviation_ns: u64,
    /// Time between acknowledgements.
    spacing_ns: u64,
}

impl Model {
    pub(super) fn new(rate_bps_max: u64, path: PathStart) -> Self {
        Model {
            loss: RandomLoss::default(),
            capacity_bps: RATE_BPS_MIN,
            rate_bps_max,
            datagram_bytes: path.datagram_bytes,
            base_ns: path.rtt_ns.unwrap_or(RTT_NS_INITIAL),
            base_at: path.now,
            based: false,
            deviation_ns: 0,
            spacing_ns: MILLISECOND_NS,
        }
    }

    pub(super) fn capacity_bps(&self) -> u64 {
        self.capacity_bps
    }

    pub(super) fn set_capacity(&mut self, bps: u64) {
        self.capacity_bps = self.limited_bps(bps);
    }

    /// A rate, within what is allowed.
    pub(super) fn limited_bps(&self, bps: u64) -> u64 {
        bps.clamp(RATE_BPS_MIN.min(self.rate_bps_max), self.rate_bps_max)
    }

    pub(super) fn base_ns(&self) -> u64 {
        self.base_ns
    }

    pub(super) fn datagram_bytes(&self) -> u64 {
        self.datagram_bytes
    }

    /// In flight that this rate needs at the base round trip, acknowledgements being apart.
    pub(super) fn in_flight_at(&self, rate_bps: u64, percent: u64) -> u64 {
        let path = bytes_in(rate_bps, self.base_ns.saturating_mul(percent) / 100);
        let between_acks = bytes_in(rate_bps, self.spacing_ns);
        path + between_acks + SLACK_DATAGRAMS * self.datagram_bytes
    }

    /// The same at the capacity.
    pub(super) fn in_flight_bytes(&self, percent: u64) -> u64 {
        self.in_flight_at(self.capacity_bps, percent)
    }

    /// Round trips that are longer than the base by this much show a queue.
    pub(super) fn queue_ns_min(&self, samples: u64) -> u64 {
        // The mean of few samples is less certain.
        let noise_ns = match samples {
            0..=3 => 3 * self.deviation_ns,
            4..=15 => 2 * self.deviation_ns,
            _ => self.deviation_ns + self.deviation_ns / 2,
        };
        let datagram_ns = scaled(2 * 8 * self.datagram_bytes, SECOND_NS, self.capacity_bps);
        (self.base_ns / 16 + 50 * MICROSECOND_NS).max(noise_ns).max(datagram_ns.min(4 * MILLISECOND_NS))
    }

    /// Whether no empty queue was seen for long.
    pub(super) fn is_base_old(&self, now: Time) -> bool {
        now.since_ns(self.base_at) > BASE_VALID_NS
    }

    /// The round trip without our queue, just measured.
    pub(super) fn set_base(&mut self, now: Time, rtt_ns: u64) {
        (self.base_ns, self.base_at) = (rtt_ns.max(1), now);
    }

    pub(super) fn on_ack(&mut self, sample: &AckSample) {
        self.spacing_ns = sample.spacing_ns;
        if let Some(rtt_ns) = sample.rtt_ns
            && !self.based
        {
            self.based = true;
            self.set_base(sample.now, rtt_ns);
        }
    }

    /// Learns from a round.
    pub(super) fn on_round(&mut self, round: &RoundSample) -> Verdict {
        self.learn_base(round);
        if let Some(settled) = &round.settled {
            self.learn_loss(settled);
        }
        self.learn_capacity(round)
    }

    fn learn_base(&mut self, round: &RoundSample) {
        if round.rtt_count == 0 {
            return;
        }
        let queue_ns = round.rtt_ns.saturating_sub(self.base_ns);
        let off_ns = round.rtt_last_ns.abs_diff(round.rtt_ns);
        if round.rtt_ns <= self.base_ns {
            self.set_base(round.now, round.rtt_ns);
        } else if queue_ns <= self.queue_ns_min(round.rtt_count) / 2 {
            self.base_at = round.now;
            self.base_ns += queue_ns / 16;
        }
        if queue_ns <= self.queue_ns_min(round.rtt_count) {
            self.deviation_ns = (15 * self.deviation_ns + off_ns.min(self.base_ns)) / 16;
        }
    }

    fn learn_loss(&mut self, settled: &Settled) {
        let queue_ns = settled.rtt_ns.saturating_sub(self.base_ns);
        let calm = settled.mark != Mark::ProbeUp
            && queue_ns <= self.queue_ns_min(settled.rtt_count);
        if calm && !settled.silent {
            self.loss.learn(settled);
        }
    }

    /// Whether much less arrived of a round than random loss leaves of it.
    fn is_behind(&self, round: &RoundSample) -> bool {
        let noise_ppm = 3 * self.loss.deviation_ppm() + RATE_TOLERANCE_PPM;
        let expected_bps = scaled(round.sent_bps, WHOLE - self.loss.ppm(), WHOLE);
        self.loss.is_known()
            && round.delivered_bps < scaled(expected_bps, WHOLE.saturating_sub(noise_ppm), WHOLE)
    }

    fn learn_capacity(&mut self, round: &RoundSample) -> Verdict {
        if round.silent || round.datagrams == 0 || round.delivered_bps == 0 {
            return Verdict::Nothing;
        }
        let link_bps = self.loss.sent_for(round.delivered_bps);
        let queue_ns = round.rtt_last_ns.saturating_sub(self.base_ns);
        let queued = queue_ns > self.queue_ns_min(round.rtt_count);
        let behind = self.is_behind(round);
        let full = queued || behind;
        if !full {
            let carried_bps = round.sent_bps.min(self.rate_bps_max);
            if carried_bps > self.capacity_bps && link_bps >= carried_bps / 20 * 19 {
                self.set_capacity(carried_bps);
            }
            return if round.app_limited { Verdict::Nothing } else { Verdict::Carried };
        }
        if round.app_limited && link_bps <= self.capacity_bps {
            return Verdict::Nothing;
        }
        let weight = round.datagrams;
        let (old, new) = (self.capacity_bps, link_bps);
        if new < old && round.sent_bps < old / 50 * 49 && !behind {
            // Less was sent on purpose, and it came through.
            return Verdict::Full;
        }
        let total = weight + ROUND_WEIGHT;
        self.set_capacity(scaled(old, ROUND_WEIGHT, total) + scaled(new, weight, total));
        Verdict::Full
    }
}
