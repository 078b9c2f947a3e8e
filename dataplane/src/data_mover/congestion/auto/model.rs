//! The model of the path: capacity, random loss, the round trip without a queue.

use super::super::share::{PERCENT, RandomLoss, WHOLE, bytes_in, scaled};
use super::super::{AckSample, Mark, PathStart, RoundSample, Settled};
use super::compete::Window;
use super::dips::{Answer, Dips, Seen};
use super::overflow::{EXCESS_PPM, Overflow};
use crate::time::{MICROSECOND_NS, MILLISECOND_NS, SECOND_NS, Time};

/// Slowest rate in bits per second.
const RATE_BPS_MIN: u64 = 100_000;
/// How long a round trip without a queue is believed, in rounds; at least and at most in
/// nanoseconds.
const BASE_VALID_ROUNDS: u64 = 250;
const BASE_DOUBTED_ROUNDS: u64 = 16;
const BASE_VALID_NS_MIN: u64 = SECOND_NS;
const BASE_VALID_NS_MAX: u64 = 10 * SECOND_NS;
/// Round trip assumed before one is known, in nanoseconds: what may be in flight is little then.
const RTT_NS_INITIAL: u64 = 10 * MILLISECOND_NS;
/// By how much a capacity is more than what passed when there was a queue, to be doubted.
const NEAR_PPM: u64 = 4 * PERCENT;
/// Rounds for which losses seen at a low rate tell what is random.
const FRESH_ROUNDS: u32 = 64;
/// Rounds of the same rate after which a shorter round trip is believed.
const STEADY_ROUNDS: u32 = 2;
/// Rounds in a row with a queue far longer than ours, after which it is of others; and rounds of
/// which the best then counts.
const SHARED_ROUNDS: u32 = 4;
const SHARED_ROUNDS_MAX: u32 = 16 + SHARED_ROUNDS;
const SHARED_MEMORY_ROUNDS: usize = 10;
/// In flight at most, in per cent of the path.
const IN_FLIGHT_PERCENT: u64 = 200;
/// In flight beyond the path, in datagrams: so that single ones are not stopped.
const SLACK_DATAGRAMS: u64 = 4;
/// Time for which acknowledgements may be waited for, in nanoseconds.
pub(super) const ACKS_NS: u64 = 80 * MILLISECOND_NS;
/// What a probe sends beyond the capacity otherwise, of a million, at most.
const PROBE_PPM_MAX: u64 = 250_000;
/// The queue that is aimed at: this part of the round trip, or so many hundredths of a datagram
/// if these take no longer than this.
const TARGET_PART: u64 = 25;
const TARGET_DATAGRAM_PERCENT: u64 = 40;
const TARGET_DATAGRAMS_NS_MAX: u64 = 3 * MILLISECOND_NS;
/// No longer than this part of the round trip, or this.
const TARGET_PART_MIN: u64 = 6;
const TARGET_NS_MAX: u64 = 3 * MILLISECOND_NS;
/// A queue is too long when it is so many times what is aimed at; rounds in a row after which it
/// may be none.
const ABOVE_TARGETS: u64 = 2;
const ABOVE_ROUNDS: u32 = 8;
/// The least share of the path that is told from none.
const SHARE_PPM_MIN: u64 = WHOLE / 4;

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
    /// Shortest round trip of single datagrams.
    least_ns: u64,
    based: bool,
    /// Whether a round trip was known before there was one of data.
    told: bool,
    /// Mean step between round trips that follow each other.
    noise_ns: u64,
    /// Time between acknowledgements, and length of a round.
    spacing_ns: u64,
    round_ns: u64,
    /// Batches in a round, on average.
    round_samples: u64,
    /// Queue in the latest round.
    queue_ns: u64,
    /// Rounds in a row of about the same rate.
    steady_rounds: u32,
    /// Losses that a queue too short to be seen explains.
    overflow: Overflow,
    /// The most that ever arrived in a round.
    arrived_bps: u64,
    /// What all send over the bottleneck, as dips beside others have shown; 0 before the first.
    total_bps: u64,
    /// What arrived when start-up had filled the path, until it is known what is lost at random.
    filled_bps: u64,
    /// What passed while there was a queue, on average.
    full_bps: u64,
    /// Our share of what all send over the bottleneck, in millionths.
    share_ppm: u64,
    /// Mean round trip at the end of the round before, and by how much it grows from round to round.
    before_ns: u64,
    growth_ns: i64,
    /// Rounds in a row with a long queue.
    queued_rounds: u32,
    /// Rounds in a row with a queue that is too long, and the capacity before them.
    above_rounds: u32,
    unqueued_bps: u64,
    /// Whether it stayed when we sent little.
    dips: Dips,
    /// What may be in flight beside them.
    window: Option<Window>,
    /// What arrived in the latest round that was not sent at a low rate.
    delivered_bps: u64,
    /// Rounds since losses were last seen while less was sent than the capacity.
    low_rounds: u32,
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
            least_ns: 0,
            based: false,
            told: path.rtt_ns.is_some(),
            noise_ns: 0,
            spacing_ns: MILLISECOND_NS,
            round_ns: base_ns,
            round_samples: 1,
            queue_ns: 0,
            steady_rounds: 0,
            overflow: Overflow::default(),
            arrived_bps: 0,
            total_bps: 0,
            filled_bps: 0,
            full_bps: 0,
            share_ppm: WHOLE,
            before_ns: base_ns,
            growth_ns: 0,
            queued_rounds: 0,
            above_rounds: 0,
            unqueued_bps: 0,
            dips: Dips::default(),
            window: None,
            delivered_bps: 0,
            low_rounds: u32::MAX,
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

    /// There was a queue while this passed.
    pub(super) fn full(&mut self, passed_bps: u64) {
        self.full_bps = match self.full_bps {
            0 => passed_bps,
            bps => (3 * bps + passed_bps) / 4,
        };
    }

    /// Whether the capacity is a little more than what passed when there was a queue, and that it
    /// makes one again would not be known yet: where rounds are longer than the path it is.
    pub(super) fn is_just_full(&self) -> bool {
        let full_bps = self.full_bps;
        let just = full_bps..scaled(full_bps, WHOLE + NEAR_PPM, WHOLE);
        2 * self.base_ns > self.round_ns && just.contains(&self.capacity_bps)
    }

    pub(super) fn base_ns(&self) -> u64 {
        self.base_ns
    }

    /// Whether the round trip is known.
    pub(super) fn is_path_known(&self) -> bool {
        self.based || self.told
    }

    pub(super) fn datagram_bytes(&self) -> u64 {
        self.datagram_bytes
    }

    pub(super) fn set_datagram_bytes(&mut self, datagram_bytes: u64) {
        self.datagram_bytes = datagram_bytes;
    }

    /// Whether a queue that was too long stayed so for many rounds, whatever was done against it.
    pub(super) fn is_queue_stuck(&self) -> bool {
        !self.dips.is_shared() && self.above_rounds > ABOVE_ROUNDS
    }

    /// Whether the path is shared with others who keep a queue there. Then nothing is gained by
    /// making room: they would take it.
    pub(super) fn is_shared(&self) -> bool {
        self.dips.is_shared() && self.queued_rounds > SHARED_ROUNDS
    }

    /// Whether there was a long queue for so many rounds that others may have made it.
    pub(super) fn may_be_shared(&self) -> bool {
        !self.dips.is_shared() && self.queued_rounds > SHARED_ROUNDS
    }

    /// So little was sent for a round that a queue of ours is gone: what is left is the path's, or
    /// of others. `less_ppm` less was sent than before, when round trips took `before_ns`, which was
    /// start-up if it `started`. Returns whether the path itself has become longer.
    pub(super) fn seen_low(
        &mut self,
        round: &RoundSample,
        before_ns: u64,
        less_ppm: u64,
        started: bool,
    ) -> bool {
        // Meanwhile it would have grown.
        let grown_ns = before_ns.saturating_add_signed(self.growth_ns.max(0));
        let shorter_ns = grown_ns.saturating_sub(round.rtt_last_ns);
        let alone_ns = scaled(self.span_ns(), less_ppm, WHOLE);
        let seen = self.dips.judge(&Answer {
            left_ns: round.rtt_last_ns.saturating_sub(self.base_ns),
            shorter_ns,
            alone_ns,
            beside_ns: scaled(alone_ns, self.capacity_bps, self.all_bps()),
            target_ns: self.target_ns(),
            none_ns: self.own_target_ns().max(2 * self.noise_ns),
            long_ns: self.long_ns(),
            excess_ppm: self.excess_ppm(round),
            started,
        });
        if seen == Seen::Queue {
            // The base stays what it was.
            self.base_at = round.now;
            self.learn_total(shorter_ns, alone_ns);
            return false;
        }
        if seen == Seen::LongerPath {
            // Nothing says that it carries less than before it became longer.
            self.set_capacity(self.capacity_bps.max(self.unqueued_bps));
        }
        (self.queued_rounds, self.above_rounds) = (0, 0);
        self.set_base(round.now, round.rtt_last_ns);
        seen == Seen::LongerPath
    }

    /// A queue becomes as much shorter by our sending less as our share of what all send: what that
    /// is.
    fn learn_total(&mut self, shorter_ns: u64, alone_ns: u64) {
        if !self.dips.is_shared() {
            self.total_bps = 0;
            return;
        }
        let total_bps = scaled(self.capacity_bps, alone_ns, shorter_ns.max(1));
        // What is more than ever arrived is noise.
        let total_bps = total_bps.clamp(self.capacity_bps, self.arrived_bps.max(self.capacity_bps));
        self.total_bps = (3 * self.all_bps() + total_bps) / 4;
    }

    /// What all who share the path send over it.
    fn all_bps(&self) -> u64 {
        let known_bps = if self.total_bps > 0 { self.total_bps } else { self.arrived_bps };
        known_bps.max(self.capacity_bps)
    }

    /// A queue that is not ours, in nanoseconds.
    fn long_ns(&self) -> u64 {
        // One that has stayed already need not be as long.
        let part = if self.dips.stayed() { 6 } else { 4 };
        (self.base_ns / part).max(4 * self.own_target_ns())
    }

    /// Length of a round as the rate acts on a queue, in nanoseconds.
    pub(super) fn span_ns(&self) -> u64 {
        self.round_ns.max(self.base_ns).max(1)
    }

    /// Mean round trip at the end of the latest round, in nanoseconds.
    pub(super) fn before_ns(&self) -> u64 {
        self.before_ns
    }

    /// Queue in the latest round, on average, in nanoseconds.
    pub(super) fn queue_ns(&self) -> u64 {
        self.queue_ns
    }

    fn datagrams_ns(&self, datagrams: u64) -> u64 {
        scaled(datagrams * 8 * self.datagram_bytes, SECOND_NS, self.capacity_bps)
    }

    /// How far the mean of a round may be off by chance.
    fn noise_ns(&self, samples: u64) -> u64 {
        self.noise_ns / samples.max(1).isqrt()
    }

    /// The queue that is aimed at when nobody else is there, in nanoseconds.
    fn own_target_ns(&self) -> u64 {
        let datagrams_ns = self.datagrams_ns(TARGET_DATAGRAM_PERCENT) / 100;
        let datagrams_ns = datagrams_ns.min(TARGET_DATAGRAMS_NS_MAX);
        let noise_ns = 2 * self.noise_ns(self.round_samples);
        let most_ns = (self.base_ns / TARGET_PART_MIN).max(TARGET_NS_MAX);
        (self.base_ns / TARGET_PART).max(datagrams_ns).max(noise_ns).min(most_ns)
    }

    /// The queue that is aimed at, in nanoseconds: the smaller our share of the path, the longer,
    /// so that all who aim at one come to the same share.
    pub(super) fn target_ns(&self) -> u64 {
        let own_ns = scaled(self.own_target_ns(), self.overflow.tight_ppm(), WHOLE);
        scaled(own_ns, WHOLE, self.share_ppm)
    }

    /// What a probe may send beyond the capacity, in millionths: what makes the queue half as long again.
    pub(super) fn probe_ppm(&self) -> u64 {
        if self.is_shared() {
            return 0;
        }
        let queue_ns = scaled(self.own_target_ns(), self.overflow.tight_ppm(), WHOLE);
        scaled(queue_ns / 2, WHOLE, self.span_ns()).min(PROBE_PPM_MAX)
    }

    /// What is on the path without a queue when an acknowledgement comes.
    pub(super) fn path_bytes(&self) -> u64 {
        bytes_in(self.capacity_bps, self.path_ns()) + self.datagram_bytes
    }

    /// The round trip without a queue: the base, unless the way back has become longer since.
    fn path_ns(&self) -> u64 {
        self.base_ns.max(self.least_ns)
    }

    /// What this rate has on its way in so many hundredths of the base round trip, and between two
    /// acknowledgements.
    pub(super) fn path_bytes_at(&self, rate_bps: u64, percent: u64) -> u64 {
        let path_ns = self.path_ns().saturating_mul(percent) / 100;
        bytes_in(rate_bps, path_ns + self.spacing_ns)
    }

    /// In flight at most: twice the path, and what acknowledgements take; beside others the window.
    pub(super) fn in_flight_max(&self) -> u64 {
        if let Some(window) = &self.window {
            return window.bytes(self.path_bytes(), bytes_in(self.all_bps(), self.path_ns()))
                + bytes_in(self.capacity_bps, self.spacing_ns / 2);
        }
        let path_ns = self.path_ns().saturating_mul(IN_FLIGHT_PERCENT) / 100;
        let acks_ns = (2 * self.spacing_ns).max(ACKS_NS);
        bytes_in(self.capacity_bps, path_ns + acks_ns) + SLACK_DATAGRAMS * self.datagram_bytes
    }

    /// Round trips that are longer than the base by this much show a queue.
    pub(super) fn queue_ns_min(&self, samples: u64) -> u64 {
        // The mean of few samples is less certain.
        let noise_ns = 5 * self.noise_ns(samples) / 2;
        let datagram_ns = self.datagrams_ns(2);
        let least_ns = self.base_ns / 16 + 50 * MICROSECOND_NS;
        (least_ns + noise_ns).max(datagram_ns.min(3 * MILLISECOND_NS))
    }

    /// Whether no empty queue was seen for long; or for a while, if what stayed may be none.
    pub(super) fn is_base_old(&self, now: Time) -> bool {
        let doubted = self.dips.stayed() && !self.dips.is_shared();
        let rounds = if doubted { BASE_DOUBTED_ROUNDS } else { BASE_VALID_ROUNDS };
        let valid_ns = self.span_ns().saturating_mul(rounds);
        now.since_ns(self.base_at) > valid_ns.clamp(BASE_VALID_NS_MIN, BASE_VALID_NS_MAX)
    }

    /// The round trip without our queue, just measured.
    pub(super) fn set_base(&mut self, now: Time, rtt_ns: u64) {
        (self.base_ns, self.base_at) = (rtt_ns.max(1), now);
    }

    pub(super) fn on_ack(&mut self, sample: &AckSample) {
        self.spacing_ns = sample.spacing_ns;
        self.least_ns = sample.least_ns;
        if let Some(rtt_ns) = sample.rtt_ns
            && !self.based
        {
            self.based = true;
            self.set_base(sample.now, rtt_ns);
        }
    }

    /// Learns from a round what does not depend on what we do.
    pub(super) fn on_round(&mut self, round: &RoundSample) {
        self.overflow.on_round(!round.silent && round.datagrams > 0);
        self.low_rounds = self.low_rounds.saturating_add(1);
        self.noise_ns = round.noise_ns;
        self.round_ns = (3 * self.round_ns + round.round_ns) / 4;
        if !round.silent {
            self.arrived_bps = self.arrived_bps.max(round.delivered_bps);
        }
        self.learn_queue(round);
        self.learn_filled(round);
        if !self.is_shared() && self.window.take().is_some() {
            // What the full queue took is no overflow of ours.
            self.overflow.distrust();
        }
        if let Some(settled) = &round.settled {
            self.learn_loss(settled);
        }
        self.learn_share(round);
        if !round.silent && round.datagrams > 0 {
            if matches!(round.mark, Mark::Startup | Mark::Cruise | Mark::ProbeUp) {
                self.delivered_bps = round.delivered_bps;
            }
            let arrived_bps = self.loss.sent_for(round.delivered_bps);
            let place = self.rounds % SHARED_MEMORY_ROUNDS;
            if let Some(place) = self.passed_bps.get_mut(place) {
                *place = round.passed_bps.min(arrived_bps);
            }
            self.rounds += 1;
        }
    }

    fn learn_queue(&mut self, round: &RoundSample) {
        if round.rtt_count == 0 {
            return;
        }
        self.round_samples = (3 * self.round_samples + round.rtt_count) / 4;
        // While the rate rises, what jitter delays least arrives in the company of few older ones:
        // means are too short then.
        self.steady_rounds = match round.mark {
            Mark::Cruise | Mark::Startup => self.steady_rounds + 1,
            _ => 0,
        };
        let steady = round.mark == Mark::Startup || self.steady_rounds > STEADY_ROUNDS;
        if let Some(below_ns) = self.base_ns.checked_sub(round.rtt_ns).filter(|_| steady) {
            // The least of many means is too little: what may be chance counts for a part.
            let chance = below_ns < 3 * self.noise_ns(round.rtt_count);
            self.set_base(round.now, self.base_ns - if chance { below_ns / 4 } else { below_ns });
        }
        self.queue_ns = round.rtt_ns.saturating_sub(self.base_ns);
        let long_ns = self.long_ns();
        let ours = !matches!(round.mark, Mark::Cruise | Mark::ProbeUp);
        if self.above_rounds == 0 && !self.dips.is_shared() {
            self.unqueued_bps = self.capacity_bps;
        }
        let above = !ours && self.queue_ns > ABOVE_TARGETS * self.target_ns();
        self.above_rounds = if above { self.above_rounds.saturating_add(1) } else { 0 };
        if self.dips.is_shared() && round.mark == Mark::ProbeRtt {
            // What this says is said when the probe is over.
            return;
        }
        self.queued_rounds = if ours {
            0
        } else if self.queue_ns > long_ns {
            (self.queued_rounds + 1).min(SHARED_ROUNDS_MAX)
        } else if self.queue_ns > self.own_target_ns() {
            self.queued_rounds.saturating_sub(1)
        } else {
            0
        };
    }

    /// What start-up sent after the path was full, as far as is known: with a queue in sight the path
    /// carries what passes, and a burst of losses may have hidden that.
    fn learn_filled(&mut self, round: &RoundSample) {
        let queued = self.queue_ns > self.queue_ns_min(round.rtt_count);
        if self.filled_bps > 0 && round.mark == Mark::Startup && queued && !round.silent {
            // Less by what it may be off where losses or jitter are many.
            let carried_bps = round.passed_bps.min(round.delivered_bps) / 10 * 9;
            self.filled_bps = self.filled_bps.max(carried_bps);
            self.set_capacity(self.capacity_bps.max(carried_bps));
        }
    }

    fn learn_loss(&mut self, settled: &Settled) {
        let queue_ns = settled.rtt_ns.saturating_sub(self.base_ns);
        // What start-up loses with a queue in sight it loses for want of capacity.
        let calm_ns = match settled.mark {
            Mark::Startup => self.queue_ns_min(settled.rtt_count),
            _ => self.queue_ns_min(settled.rtt_count).max(2 * self.target_ns()),
        };
        // A short queue is not seen by then: more than has ever arrived tells nothing.
        let blind = settled.mark == Mark::Startup && settled.sent_bps > self.arrived_bps;
        let calm = settled.mark != Mark::ProbeUp && queue_ns <= calm_ns && !blind;
        if calm && !settled.silent {
            let low = matches!(settled.mark, Mark::Drain | Mark::ProbeDown | Mark::ProbeRtt);
            self.loss.learn(settled, low);
            if low {
                self.low_rounds = 0;
            }
            if settled.mark == Mark::ProbeRtt {
                let filled_bps = std::mem::take(&mut self.filled_bps);
                self.set_capacity(self.capacity_bps.max(self.loss.sent_for(filled_bps)));
            }
        }
    }

    /// A probe adds to what all send as much as our share of that is: so much faster does the queue
    /// grow.
    fn learn_share(&mut self, round: &RoundSample) {
        if round.rtt_count == 0 {
            return;
        }
        let before_ns = std::mem::replace(&mut self.before_ns, round.rtt_last_ns);
        // Neither this round nor the one before was a probe.
        if round.mark == Mark::Cruise && self.steady_rounds > 1 {
            let grown_ns = round.rtt_last_ns.cast_signed() - before_ns.cast_signed();
            self.growth_ns = (3 * self.growth_ns + grown_ns) / 4;
        }
        let probed = round.mark == Mark::ProbeUp && !round.silent && !round.app_limited;
        let queued = before_ns.saturating_sub(self.base_ns) >= self.target_ns() / 2;
        // A queue that overflows does not grow.
        let overflows = self.overflow.tight_ppm() < WHOLE;
        if !probed || !queued || overflows || self.is_shared() {
            return;
        }
        let alone_ns = scaled(round.round_ns, self.probe_ppm(), WHOLE);
        if alone_ns < 2 * self.noise_ns(round.rtt_count) {
            return;
        }
        let grown_ns = round.rtt_last_ns.saturating_sub(before_ns);
        let share_ppm = scaled(grown_ns, WHOLE, alone_ns).clamp(SHARE_PPM_MIN, WHOLE);
        self.share_ppm = (3 * self.share_ppm + share_ppm) / 4;
    }

    /// Whether losses were seen lately while less was sent than the capacity.
    pub(super) fn is_loss_fresh(&self) -> bool {
        self.low_rounds < FRESH_ROUNDS && !self.loss.is_in_doubt()
    }

    /// A rate that the path carries, whatever the capacity is taken for: less than arrives now.
    pub(super) fn low_bps(&self, gain_ppm: u64) -> u64 {
        let arriving_bps = match self.delivered_bps {
            0 => self.capacity_bps,
            bps => bps.min(self.capacity_bps),
        };
        scaled(arriving_bps, gain_ppm, WHOLE)
    }

    /// Loss of a round beyond what random loss may do to it, in millionths.
    pub(super) fn excess_ppm(&self, round: &RoundSample) -> u64 {
        let noise_ppm = self.loss.noise_ppm(round.datagrams);
        let absent_ppm = u64::try_from(round.absent_ppm).unwrap_or(0);
        absent_ppm.saturating_sub(self.loss.ppm() + noise_ppm + EXCESS_PPM)
    }

    /// The same of the round that was settled: nothing of it is late any more.
    pub(super) fn lost_excess_ppm(&self, round: &RoundSample) -> u64 {
        round.settled.filter(|settled| !settled.silent).map_or(0, |settled| {
            let noise_ppm = self.loss.noise_ppm(settled.datagrams());
            settled.lost_ppm().saturating_sub(self.loss.ppm() + noise_ppm + EXCESS_PPM)
        })
    }

    /// When losses beyond random loss have come together that only a full queue explains: the share
    /// lost beyond it, in millionths.
    pub(super) fn overflow_ppm(&mut self, round: &RoundSample) -> Option<u64> {
        self.overflow.seen_ppm(round.settled.as_ref(), &self.loss)
    }

    /// The path is full: it carries so much, as far as random loss is known yet.
    pub(super) fn filled(&mut self, bps: u64) {
        self.set_capacity(bps);
        self.filled_bps = scaled(self.capacity_bps, WHOLE - self.loss.ppm(), WHOLE);
        self.overflow.distrust();
    }

    /// The queue has overflowed: the capacity is less by this share, in millionths.
    pub(super) fn overflowed(&mut self, less_ppm: u64) {
        self.overflow.happened(self.capacity_bps);
        self.set_capacity(scaled(self.capacity_bps, WHOLE - less_ppm, WHOLE));
    }

    /// Since the queue overflowed for a single time there has been none: the capacity is what it was.
    pub(super) fn forgive(&mut self) {
        let single_bps = self.overflow.take_single_bps();
        self.set_capacity(self.capacity_bps.max(single_bps));
    }

    /// Others keep a queue: takes part in it for a round.
    pub(super) fn compete(&mut self, round: &RoundSample) {
        self.set_capacity(self.best_passed_bps());
        if round.rtt_count == 0 {
            return;
        }
        let path_bytes = self.path_bytes();
        let before_bytes = bytes_in(self.unqueued_bps, self.path_ns());
        let window = self.window.get_or_insert_with(|| Window::new(round, before_bytes));
        window.on_round(round, &self.loss, path_bytes);
    }

    /// The best that has passed in the latest rounds.
    fn best_passed_bps(&self) -> u64 {
        self.passed_bps.iter().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
