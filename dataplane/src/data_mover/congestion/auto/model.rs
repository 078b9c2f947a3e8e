//! The model of the path: capacity, random loss, the round trip without a queue.

use super::super::share::{PERCENT, RandomLoss, WHOLE, bytes_in, scaled};
use super::super::{AckSample, Mark, PathStart, RoundSample, Settled};
use crate::time::{MICROSECOND_NS, MILLISECOND_NS, SECOND_NS, Time};

/// Slowest rate in bits per second.
const RATE_BPS_MIN: u64 = 100_000;
/// How long a round trip without a queue is believed, in nanoseconds.
const BASE_VALID_NS: u64 = 10 * SECOND_NS;
/// Round trip assumed before one is known, in nanoseconds.
const RTT_NS_INITIAL: u64 = 333 * MILLISECOND_NS;
/// Datagrams for which a round counts as much as all that was known.
const ROUND_WEIGHT: u64 = 16;
/// Loss beyond random loss that does not count yet.
const EXCESS_PPM: u64 = 25_000;
/// Rounds in a row with a queue, which a probe's own queue does not survive, after which it is of
/// others; and rounds of which the best then counts.
const SHARED_ROUNDS: u32 = 12;
const SHARED_MEMORY_ROUNDS: usize = 10;
/// Rounds in a row with excessive loss that say as much as a queue.
const EXCESS_ROUNDS: u32 = 3;
/// In flight at most, in per cent of the path: what leaves CUBIC, and takes from BBR, about three
/// tenths of a path with a queue as long as itself.
const IN_FLIGHT_PERCENT: u64 = 200;
/// In flight beyond the path, in datagrams: so that single ones are not stopped.
const SLACK_DATAGRAMS: u64 = 4;
/// Time for which acknowledgements may be waited for, in nanoseconds.
const ACKS_NS: u64 = 80 * MILLISECOND_NS;
/// What a probe sends beyond the capacity on a path shared with others, of a million.
const SHARED_PROBE_PPM: u64 = 250_000;
/// A queue that a probe may make, in nanoseconds, however short the round trip.
const PROBE_NS: u64 = 3 * MILLISECOND_NS;

/// What a round says about the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There was less to send, or nothing was heard: it says nothing.
    Nothing,
    /// More was carried than was known to be possible, and left no queue.
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
    /// Mean step between round trips that follow each other.
    noise_ns: u64,
    /// Time between acknowledgements, and length of a round.
    spacing_ns: u64,
    round_ns: u64,
    /// Queue in the latest round.
    queue_ns: u64,
    excess_rounds: u32,
    /// Rounds in a row with a queue.
    queued_rounds: u32,
    /// What passed in the latest rounds.
    passed_bps: [u64; SHARED_MEMORY_ROUNDS],
    rounds: usize,
}

impl Model {
    pub(super) fn new(rate_bps_max: u64, path: PathStart) -> Self {
        let base_ns = path.rtt_ns.unwrap_or(RTT_NS_INITIAL);
        Model {
            loss: RandomLoss::default(),
            capacity_bps: RATE_BPS_MIN,
            rate_bps_max,
            datagram_bytes: path.datagram_bytes,
            base_ns,
            base_at: path.now,
            based: false,
            noise_ns: 0,
            spacing_ns: MILLISECOND_NS,
            round_ns: base_ns,
            queue_ns: 0,
            excess_rounds: 0,
            queued_rounds: 0,
            passed_bps: [0; SHARED_MEMORY_ROUNDS],
            rounds: 0,
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

    pub(super) fn set_datagram_bytes(&mut self, datagram_bytes: u64) {
        self.datagram_bytes = datagram_bytes;
    }

    /// Queue in the latest round, in millionths of the base round trip.
    pub(super) fn queue_ppm(&self) -> u64 {
        scaled(self.queue_ns, WHOLE, self.base_ns)
    }

    /// Whether the path is shared with others who keep a queue there. Then nothing is gained by
    /// making room: they would take it.
    pub(super) fn is_shared(&self) -> bool {
        self.queued_rounds > SHARED_ROUNDS
    }

    /// What a probe may send beyond the capacity, in millionths, to make a queue of a sixth of the
    /// path, or of few milliseconds.
    pub(super) fn probe_ppm(&self) -> u64 {
        if self.is_shared() {
            return SHARED_PROBE_PPM;
        }
        let queue_ns = (self.base_ns / 6).max(PROBE_NS);
        scaled(queue_ns, WHOLE, self.round_ns).min(WHOLE / 5)
    }

    /// What is on the path without a queue when an acknowledgement comes.
    pub(super) fn path_bytes(&self) -> u64 {
        bytes_in(self.capacity_bps, self.base_ns) + self.datagram_bytes
    }

    /// In flight that this rate needs at the base round trip, acknowledgements being apart.
    pub(super) fn in_flight_at(&self, rate_bps: u64, percent: u64) -> u64 {
        let path = bytes_in(rate_bps, self.base_ns.saturating_mul(percent) / 100);
        let between_acks = bytes_in(rate_bps, (2 * self.spacing_ns).max(ACKS_NS));
        path + between_acks + SLACK_DATAGRAMS * self.datagram_bytes
    }

    /// The same at the capacity.
    pub(super) fn in_flight_bytes(&self, percent: u64) -> u64 {
        self.in_flight_at(self.capacity_bps, percent)
    }

    /// In flight at most: twice the path; on a shared one no slack but that of acknowledgements.
    pub(super) fn in_flight_max(&self) -> u64 {
        if !self.is_shared() {
            return self.in_flight_bytes(IN_FLIGHT_PERCENT);
        }
        let path_ns = self.base_ns.saturating_mul(IN_FLIGHT_PERCENT) / 100;
        bytes_in(self.capacity_bps, path_ns + self.spacing_ns) + self.datagram_bytes
    }

    /// Round trips that are longer than the base by this much show a queue.
    pub(super) fn queue_ns_min(&self, samples: u64) -> u64 {
        // The mean of few samples is less certain.
        let noise_ns = 5 * self.noise_ns / 2 / samples.max(1).isqrt();
        let datagram_ns = scaled(2 * 8 * self.datagram_bytes, SECOND_NS, self.capacity_bps);
        let least_ns = self.base_ns / 16 + 50 * MICROSECOND_NS;
        (least_ns + noise_ns).max(datagram_ns.min(3 * MILLISECOND_NS))
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
        self.noise_ns = round.noise_ns;
        self.round_ns = (3 * self.round_ns + round.round_ns) / 4;
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
        let queue_ns_min = self.queue_ns_min(round.rtt_count);
        let queued = queue_ns > queue_ns_min;
        (self.queue_ns, self.queued_rounds) = match queued {
            true => (queue_ns, self.queued_rounds.saturating_add(1)),
            false => (0, 0),
        };
        if round.rtt_ns <= self.base_ns {
            self.set_base(round.now, round.rtt_ns);
        } else if queue_ns <= queue_ns_min / 2 {
            self.base_at = round.now;
            self.base_ns += queue_ns / 16;
        }
    }

    fn learn_loss(&mut self, settled: &Settled) {
        let queue_ns = settled.rtt_ns.saturating_sub(self.base_ns);
        let queue_ns_min = self.queue_ns_min(settled.rtt_count);
        let calm = settled.mark != Mark::ProbeUp && queue_ns <= queue_ns_min;
        if calm && !settled.silent {
            let low = matches!(settled.mark, Mark::ProbeDown | Mark::Drain | Mark::ProbeRtt);
            self.loss.learn(settled, low);
        }
    }

    /// Loss of a round beyond what random loss may do to it, in millionths.
    pub(super) fn excess_ppm(&self, round: &RoundSample) -> u64 {
        let noise_ppm = self.loss.noise_ppm(round.datagrams);
        round.absent_ppm.saturating_sub(self.loss.ppm() + noise_ppm + EXCESS_PPM)
    }

    fn learn_capacity(&mut self, round: &RoundSample) -> Verdict {
        if round.silent || round.datagrams == 0 || round.passed_bps == 0 {
            return Verdict::Nothing;
        }
        let excess_ppm = self.excess_ppm(round);
        let arrived_bps = self.loss.sent_for(round.delivered_bps);
        let place = self.rounds % SHARED_MEMORY_ROUNDS;
        if let Some(place) = self.passed_bps.get_mut(place) {
            *place = round.passed_bps.min(arrived_bps);
        }
        self.rounds += 1;
        self.excess_rounds = if excess_ppm > 0 { self.excess_rounds + 1 } else { 0 };
        // The end of the round tells more, unless there is much noise in it.
        let noisy = 16 * self.noise_ns > self.base_ns;
        let rtt_ns = if noisy { round.rtt_ns } else { round.rtt_last_ns };
        let queue_ns = rtt_ns.saturating_sub(self.base_ns);
        let queued = queue_ns > self.queue_ns_min(round.rtt_count);
        let probing = round.mark == Mark::ProbeUp;
        if !queued && (self.excess_rounds == 0 || !probing) && self.excess_rounds < EXCESS_ROUNDS {
            return self.carried(round);
        }
        // What was lost beyond random loss was lost in front of the bottleneck.
        let link_bps = match excess_ppm {
            0 => round.passed_bps,
            _ => self.loss.sent_for(round.delivered_bps),
        };
        let (old, new, weight) = (self.capacity_bps, link_bps, round.datagrams);
        if round.app_limited && new <= old {
            return Verdict::Nothing;
        }
        if self.is_shared() {
            let best_bps = self.passed_bps.iter().copied().max().unwrap_or(0);
            self.set_capacity(best_bps);
            return Verdict::Full;
        }
        // Times are told in microseconds by noisy messengers.
        let noise_ppm = scaled(self.noise_ns + 20 * MICROSECOND_NS, WHOLE, round.round_ns.max(1));
        let followed_ppm = (WHOLE - 2 * PERCENT).saturating_sub(noise_ppm);
        let followed = link_bps >= scaled(round.sent_bps, followed_ppm, WHOLE);
        if new < old && followed && excess_ppm == 0 {
            // All that was sent came through: the queue is of another time, or of others.
            return Verdict::Full;
        }
        let total = weight + ROUND_WEIGHT;
        self.set_capacity(scaled(old, ROUND_WEIGHT, total) + scaled(new, weight, total));
        Verdict::Full
    }

    /// A round came through without a queue: the path carries what was sent.
    fn carried(&mut self, round: &RoundSample) -> Verdict {
        // Nearer to what was sent than to what was known.
        let halfway_bps = round.sent_bps / 2 + self.capacity_bps / 2;
        let carried_bps = round.sent_bps.min(round.passed_bps);
        let more = carried_bps > self.capacity_bps;
        if more {
            self.set_capacity(carried_bps);
        }
        match more && carried_bps >= halfway_bps {
            true => Verdict::Carried,
            false => Verdict::Nothing,
        }
    }
}
