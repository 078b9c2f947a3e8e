//! Rounds: what became of the datagrams of one round trip.
//!
//! In: every datagram sent, its fate, every acknowledgement. Out: a sample whenever all of a
//! round's datagrams were passed by acknowledgements. Never: a decision.
//!
//! A round's datagrams are those sent between the acknowledgement of the first datagram of the
//! round before and that of its own first. Each datagram carries the number of its round, so that
//! sending and arriving are compared for the same datagrams, and the time that arriving took is
//! taken from the receiver's clock: delayed, bunched or lost acknowledgements do not change it.

use super::super::one_way::Batch;
use super::Mark;
use super::share::{DATAGRAM_BYTES, WHOLE, scaled};
use super::slope::Slope;
use crate::time::{MICROSECOND_NS, SECOND_NS, Time};

/// Rounds remembered: one being sent, one being acknowledged, and those that may still have
/// losses to be found.
const ROUNDS: usize = 8;
/// Rounds between passing a round and taking its losses as final: a loss is found within two.
const SETTLED_AFTER: u64 = 2;
const _: () =
    assert!(SETTLED_AFTER + 2 < ROUNDS as u64, "a round is settled before its place is taken");
/// Acknowledgements remembered for the rate of the moment: they are apart by this part of the time
/// over which it is measured, at least.
const REPORTS: usize = 64;
const REPORTS_PART: u64 = 32;
const _: () = assert!(REPORTS as u64 > REPORTS_PART, "they cover the time");
/// Length of a round over the noise in its times, at least.
const NOISE_FACTOR: u64 = 8;
/// Batches that a round has, at least, unless it would become far longer than a round trip.
const BATCHES_MIN: u32 = 4;

/// Number of a round, as datagrams carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoundTag(u8);

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It arrived.
    Arrived,
    /// It is taken for lost.
    Lost,
    /// It was taken for lost, and arrived after all.
    ArrivedLate,
}

#[derive(Clone, Copy, Debug, Default)]
struct Round {
    mark: Mark,
    begun_at: Time,
    first_number: u64,
    datagrams: u64,
    app_limited: bool,
    /// Nothing was heard for so long that rates mean nothing.
    silent: bool,
    /// How things stood when the first of its acknowledgements came.
    from: Passed,
    rtt_sum_ns: u64,
    slope: Slope,
    rtt_count: u64,
    rtt_last_ns: u64,
    rtt_latest_ns: u64,
    arrived_bytes: u64,
    lost_bytes: u64,
}

/// What is known of a round when acknowledgements have passed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundSample {
    /// When that was.
    pub now: Time,
    /// What the controller called it when it began.
    pub mark: Mark,
    /// Datagrams sent in it.
    pub datagrams: u64,
    /// Rate at which it was sent, in bits per second of IP bytes.
    pub sent_bps: u64,
    /// Rate at which it arrived, by the receiver's clock.
    pub delivered_bps: u64,
    /// Rate at which it passed, had all of it arrived: its bytes over the time between the arrival
    /// of its first and its last datagram.
    pub passed_bps: u64,
    /// Share of its bytes that had not arrived when it was passed, of a million; less than nothing
    /// when more came of the round before.
    pub absent_ppm: i64,
    /// How long it was being sent, in nanoseconds.
    pub round_ns: u64,
    /// Mean round trip of its datagrams in nanoseconds, without the receiver's delay.
    pub rtt_ns: u64,
    /// The same of its last few datagrams.
    pub rtt_last_ns: u64,
    /// Round trips measured.
    pub rtt_count: u64,
    /// Mean step between round trips that follow each other, in nanoseconds.
    pub noise_ns: u64,
    /// Whether there was less to send than might have been sent.
    pub app_limited: bool,
    /// Whether there was a silence in it that makes its rates meaningless.
    pub silent: bool,
    /// An earlier round, whose losses are all known now.
    pub settled: Option<Settled>,
}

impl Settled {
    /// IP bytes of it.
    #[must_use]
    pub(super) fn bytes(&self) -> u64 {
        self.arrived_bytes + self.lost_bytes
    }

    /// About the number of its datagrams.
    #[must_use]
    pub(super) fn datagrams(&self) -> u64 {
        self.bytes() / DATAGRAM_BYTES
    }

    /// Share of it that was lost, of a million.
    #[must_use]
    pub(super) fn lost_ppm(&self) -> u64 {
        scaled(self.lost_bytes, WHOLE, self.bytes())
    }
}

/// A round whose losses are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// What the controller called it.
    pub mark: Mark,
    /// Rate at which it was sent, in bits per second of IP bytes.
    pub sent_bps: u64,
    /// IP bytes that arrived.
    pub arrived_bytes: u64,
    /// IP bytes lost.
    pub lost_bytes: u64,
    /// Its mean round trip in nanoseconds.
    pub rtt_ns: u64,
    /// Round trips measured.
    pub rtt_count: u64,
    /// Whether there was a silence in it.
    pub silent: bool,
}

/// What an acknowledgement says of rates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    /// When it came.
    pub(crate) now: Time,
    /// The receiver's clock in it.
    pub(crate) clock_us: u32,
    /// How long before that the highest number arrived.
    pub(crate) delay_us: u32,
    /// IP bytes sent up to the highest number received, when that was sent, and in which round.
    pub(crate) passed_bytes: u64,
    pub(crate) sent_at: Time,
    pub(crate) round: RoundTag,
    /// What it tells of the datagrams that it is news of.
    pub(crate) batch: Option<Batch>,
    /// How long nothing may have been heard.
    pub(crate) silent_ns: u64,
}

/// How far arriving has come.
#[derive(Clone, Copy, Debug, Default)]
struct Passed {
    /// The receiver's clock, without its wraps.
    clock_us: u64,
    /// When the highest number arrived, by the same clock.
    arrived_us: u64,
    /// IP bytes that have arrived.
    delivered_bytes: u64,
    /// IP bytes sent up to the highest number received, and when that was sent.
    passed_bytes: u64,
    sent_at: Time,
}

/// The rounds of one session.
#[derive(Debug)]
pub(crate) struct Rounds {
    ring: [Round; ROUNDS],
    /// The round being sent; the one before is being acknowledged.
    sending: u64,
    /// As last told, and the time before.
    passed: Passed,
    before: Passed,
    /// Mean step between round trips that follow each other: what is noise in them.
    noise_ns: u64,
    heard_at: Time,
    /// Clock and bytes of the latest acknowledgements.
    reports: [(u64, u64); REPORTS],
    reports_next: usize,
    report_apart_us: u64,
    /// The latest one.
    batch: Option<Batch>,
    /// Batches since the round being sent began.
    batches: u32,
}

fn slot(round: u64) -> usize {
    usize::try_from(round % ROUNDS as u64).unwrap_or(0)
}

/// Bits per second; 0 without a time.
fn rate_bps(bytes: u64, us: u64) -> u64 {
    (bytes.saturating_mul(8_000_000)).checked_div(us).unwrap_or(0)
}

impl Round {
    fn rtt_ns(&self) -> u64 {
        self.rtt_sum_ns.checked_div(self.rtt_count).unwrap_or(0)
    }
}

impl Rounds {
    /// Nothing sent; `first_number` will be the first.
    pub(crate) fn new(now: Time, first_number: u64) -> Self {
        let first = Round { begun_at: now, first_number, ..Round::default() };
        let mut ring = [Round::default(); ROUNDS];
        if let Some(place) = ring.first_mut() {
            *place = first;
        }
        Rounds {
            ring,
            sending: 0,
            passed: Passed::default(),
            before: Passed::default(),
            noise_ns: 0,
            heard_at: now,
            reports: [(0, 0); REPORTS],
            reports_next: 0,
            report_apart_us: 0,
            batch: None,
            batches: 0,
        }
    }

    fn get(&self, round: u64) -> Round {
        self.ring.get(slot(round)).copied().unwrap_or_default()
    }

    fn get_mut(&mut self, round: u64) -> Option<&mut Round> {
        self.ring.get_mut(slot(round))
    }

    /// A datagram was sent; the tag that it carries from now on.
    pub(crate) fn sent(&mut self) -> RoundTag {
        let sending = self.sending;
        if let Some(round) = self.get_mut(sending) {
            round.datagrams += 1;
        }
        self.tag()
    }

    /// The tag of a datagram that is sent now.
    pub(crate) fn tag(&self) -> RoundTag {
        RoundTag(u8::try_from(slot(self.sending)).unwrap_or(0))
    }

    /// There is less to send than may be sent.
    pub(crate) fn app_limited(&mut self) {
        let sending = self.sending;
        if let Some(round) = self.get_mut(sending) {
            round.app_limited = true;
        }
    }

    /// What became of a datagram.
    pub(crate) fn outcome(&mut self, tag: RoundTag, ip_bytes: u64, outcome: Outcome) {
        let Some(round) = self.ring.get_mut(usize::from(tag.0)) else { return };
        match outcome {
            Outcome::Lost => round.lost_bytes += ip_bytes,
            Outcome::Arrived => round.arrived_bytes += ip_bytes,
            Outcome::ArrivedLate => {
                round.arrived_bytes += ip_bytes;
                round.lost_bytes = round.lost_bytes.saturating_sub(ip_bytes);
            }
        }
        if outcome != Outcome::Lost {
            self.passed.delivered_bytes += ip_bytes;
        }
    }

    /// An acknowledgement with news was processed.
    pub(crate) fn heard(&mut self, heard: &Heard) {
        let &Heard { now, batch, .. } = heard;
        self.before = self.passed;
        // The low 32 bits are told: a step back is an acknowledgement that was overtaken.
        let step = u64::from(heard.clock_us.wrapping_sub(low_bits(self.passed.clock_us)));
        if self.reports_next == 0 {
            self.passed.clock_us = u64::from(heard.clock_us);
        } else if step < 1 << 31 {
            self.passed.clock_us += step;
        }
        if heard.passed_bytes > self.passed.passed_bytes {
            self.passed.passed_bytes = heard.passed_bytes;
            self.passed.sent_at = heard.sent_at;
            let arrived_us = self.passed.clock_us.saturating_sub(u64::from(heard.delay_us));
            self.passed.arrived_us = arrived_us.max(self.passed.arrived_us);
        }
        let silent = now.since_ns(self.heard_at) > heard.silent_ns;
        self.heard_at = now;
        self.report();
        let acknowledged = self.sending.saturating_sub(1);
        for round in [acknowledged, self.sending] {
            if let Some(round) = self.get_mut(round) {
                round.silent |= silent;
            }
        }
        if let Some(batch) = batch
            && let Some(round) = self.ring.get_mut(usize::from(heard.round.0))
        {
            if round.slope.is_empty()
                && let Some(before) = self.batch
            {
                round.slope.add(&before);
            }
            round.slope.add(&batch);
            self.batch = Some(batch);
            self.batches += 1;
            let rtt_ns = batch.rtt_ns;
            let step_ns = match round.rtt_count {
                0 => self.noise_ns,
                _ => round.rtt_latest_ns.abs_diff(rtt_ns),
            };
            self.noise_ns = (31 * self.noise_ns + step_ns) / 32;
            round.rtt_latest_ns = rtt_ns;
            round.rtt_sum_ns = round.rtt_sum_ns.saturating_add(rtt_ns);
            round.rtt_last_ns = match round.rtt_count {
                0 => rtt_ns,
                _ => (round.rtt_last_ns + rtt_ns) / 2,
            };
            round.rtt_count += 1;
        }
    }

    /// Remembers how far arriving has come, unless that was done only just before.
    fn report(&mut self) {
        let before = self.reports_next.checked_sub(1).and_then(|i| self.reports.get(i % REPORTS));
        let due_us = before.map_or(0, |(clock_us, _)| clock_us + self.report_apart_us);
        if self.passed.clock_us < due_us {
            return;
        }
        if let Some(place) = self.reports.get_mut(self.reports_next % REPORTS) {
            *place = (self.passed.clock_us, self.passed.delivered_bytes);
        }
        self.reports_next += 1;
    }

    /// The rate of arriving over about the last `window_ns`, in bits per second; `None` while there
    /// is too little to tell.
    pub(crate) fn delivered_bps(&mut self, window_ns: u64) -> Option<u64> {
        let window_us = (window_ns / MICROSECOND_NS).max(1);
        self.report_apart_us = window_us / REPORTS_PART;
        let known = self.reports_next.min(REPORTS);
        (1..=known).find_map(|back| {
            let index = (self.reports_next - back) % REPORTS;
            let (clock_us, bytes) = self.reports.get(index).copied()?;
            let elapsed_us = self.passed.clock_us - clock_us;
            let enough = elapsed_us >= window_us || back == REPORTS;
            enough.then(|| rate_bps(self.passed.delivered_bytes - bytes, elapsed_us))
        })
    }

    /// Whether the round being sent has been reached by acknowledgements: time for the next. With
    /// much noise in its times a round is longer, but no longer than `ns_max`.
    pub(crate) fn is_reached(&self, now: Time, highest_acknowledged: u64, ns_max: u64) -> bool {
        let round = self.get(self.sending);
        let ns_min = (NOISE_FACTOR * self.noise_ns).min(ns_max);
        let length_ns = now.since_ns(round.begun_at);
        // Few batches tell little of how a queue grows. At the start there is no time for more, and
        // what grows is no noise.
        let told = self.batches >= BATCHES_MIN;
        let long = length_ns >= ns_min && (told || length_ns >= ns_max);
        highest_acknowledged >= round.first_number && (long || round.mark == Mark::Startup)
    }

    /// Ends the round being acknowledged and the one being sent; what became of the former.
    /// `next_number` is that of the next datagram.
    pub(crate) fn turn(&mut self, now: Time, next_number: u64) -> Option<RoundSample> {
        let from = self.before;
        let passed = self.sending.checked_sub(1).map(|round| self.sample(now, round));
        let sending = self.sending;
        if let Some(round) = self.get_mut(sending) {
            round.from = from;
        }
        self.sending += 1;
        self.batches = 0;
        let next = Round { begun_at: now, first_number: next_number, ..Round::default() };
        if let Some(place) = self.get_mut(sending + 1) {
            *place = next;
        }
        passed
    }

    /// Names the round that has just begun.
    pub(crate) fn mark(&mut self, mark: Mark) {
        let sending = self.sending;
        if let Some(round) = self.get_mut(sending) {
            round.mark = mark;
        }
    }

    fn sample(&self, now: Time, number: u64) -> RoundSample {
        let round = self.get(number);
        let ended_at = self.get(number + 1).begun_at;
        let (from, to) = (round.from, self.before);
        let delivered_us = to.clock_us.saturating_sub(from.clock_us);
        let passed_us = to.arrived_us.saturating_sub(from.arrived_us);
        let settled = number.checked_sub(SETTLED_AFTER).map(|number| {
            let round = self.get(number);
            Settled {
                mark: round.mark,
                sent_bps: sent_bps(&round.from, &self.get(number + 1).from),
                arrived_bytes: round.arrived_bytes,
                lost_bytes: round.lost_bytes,
                rtt_ns: round.rtt_ns(),
                rtt_count: round.rtt_count,
                silent: round.silent,
            }
        });
        let delivered_bytes = to.delivered_bytes - from.delivered_bytes;
        let passed_bytes = to.passed_bytes - from.passed_bytes;
        let sent_bps = sent_bps(&from, &to);
        let passed_bps = match round.slope.ppm() {
            Some(ppm) => stretched_bps(sent_bps, ppm),
            None => rate_bps(passed_bytes, passed_us),
        };
        RoundSample {
            now,
            absent_ppm: absent_ppm(delivered_bytes, passed_bytes),
            mark: round.mark,
            datagrams: round.datagrams,
            sent_bps,
            delivered_bps: rate_bps(delivered_bytes, delivered_us),
            passed_bps,
            noise_ns: self.noise_ns,
            round_ns: ended_at.since_ns(round.begun_at),
            rtt_ns: round.rtt_ns(),
            rtt_last_ns: round.rtt_last_ns,
            rtt_count: round.rtt_count,
            app_limited: round.app_limited,
            silent: round.silent || delivered_us > 60 * SECOND_NS / MICROSECOND_NS,
            settled,
        }
    }
}

/// The rate at which was sent what was passed between the two.
fn sent_bps(from: &Passed, to: &Passed) -> u64 {
    let sent_us = to.sent_at.since_ns(from.sent_at) / MICROSECOND_NS;
    rate_bps(to.passed_bytes.saturating_sub(from.passed_bytes), sent_us)
}

fn absent_ppm(delivered_bytes: u64, passed_bytes: u64) -> i64 {
    let whole = WHOLE.cast_signed();
    let arrived_ppm = scaled(delivered_bytes, WHOLE, passed_bytes).min(2 * WHOLE);
    whole - arrived_ppm.cast_signed()
}

/// The rate at which something arrives whose delay grows meanwhile by so many millionths of the
/// time of sending.
fn stretched_bps(sent_bps: u64, slope_ppm: i64) -> u64 {
    let time_ppm = (i128::from(WHOLE) + i128::from(slope_ppm)).max(i128::from(WHOLE / 4));
    let bps = i128::from(sent_bps) * i128::from(WHOLE) / time_ppm;
    u64::try_from(bps).unwrap_or(u64::MAX)
}

fn low_bits(clock_us: u64) -> u32 {
    u32::try_from(clock_us & u64::from(u32::MAX)).unwrap_or(0)
}
