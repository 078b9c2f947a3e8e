//! Rounds: what became of the datagrams of one round trip.
//!
//! In: every datagram sent, its fate, every acknowledgement. Out: a sample whenever all of a
//! round's datagrams were passed by acknowledgements. Never: a decision.
//!
//! A round's datagrams are those sent between the acknowledgement of the first datagram of the
//! round before and that of its own first. Each datagram carries the number of its round, so that
//! sending and arriving are compared for the same datagrams, and the time that arriving took is
//! taken from the receiver's clock: delayed, bunched or lost acknowledgements do not change it.

use super::Mark;
use crate::time::{MICROSECOND_NS, SECOND_NS, Time};

/// Rounds remembered: one being sent, one being acknowledged, and those that may still have
/// losses to be found.
const ROUNDS: usize = 8;
/// Rounds between passing a round and taking its losses as final: a loss is found within two.
const SETTLED_AFTER: u64 = 2;
/// Acknowledgements remembered for the rate of the moment.
const REPORTS: usize = 64;

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
    sent_bytes: u64,
    datagrams: u64,
    app_limited: bool,
    /// Nothing was heard for so long that rates mean nothing.
    silent: bool,
    /// Arrived when the first of its acknowledgements came, and the receiver's clock then.
    delivered_bytes: u64,
    clock_us: u64,
    rtt_sum_ns: u64,
    rtt_count: u64,
    rtt_last_ns: u64,
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
    /// Mean round trip of its datagrams in nanoseconds, without the receiver's delay.
    pub rtt_ns: u64,
    /// The same of its last few datagrams.
    pub rtt_last_ns: u64,
    /// Round trips measured.
    pub rtt_count: u64,
    /// Whether there was less to send than might have been sent.
    pub app_limited: bool,
    /// Whether there was a silence in it that makes its rates meaningless.
    pub silent: bool,
    /// An earlier round, whose losses are all known now.
    pub settled: Option<Settled>,
}

/// A round whose losses are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// What the controller called it.
    pub mark: Mark,
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

/// The rounds of one session.
#[derive(Debug)]
pub(crate) struct Rounds {
    ring: [Round; ROUNDS],
    /// The round being sent; the one before is being acknowledged.
    sending: u64,
    /// IP bytes that have arrived.
    delivered_bytes: u64,
    /// The receiver's clock as last told, without its wraps.
    clock_us: u64,
    heard_at: Time,
    /// Clock and bytes of the latest acknowledgements.
    reports: [(u64, u64); REPORTS],
    reports_next: usize,
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
            delivered_bytes: 0,
            clock_us: 0,
            heard_at: now,
            reports: [(0, 0); REPORTS],
            reports_next: 0,
        }
    }

    fn get(&self, round: u64) -> Round {
        self.ring.get(slot(round)).copied().unwrap_or_default()
    }

    fn get_mut(&mut self, round: u64) -> Option<&mut Round> {
        self.ring.get_mut(slot(round))
    }

    /// A datagram was sent; the tag that it carries from now on.
    pub(crate) fn sent(&mut self, ip_bytes: u64) -> RoundTag {
        let sending = self.sending;
        if let Some(round) = self.get_mut(sending) {
            round.sent_bytes += ip_bytes;
            round.datagrams += 1;
        }
        RoundTag(u8::try_from(slot(sending)).unwrap_or(0))
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
            self.delivered_bytes += ip_bytes;
        }
    }

    /// An acknowledgement was processed that came before no other: the receiver's clock in it, and
    /// the round trip that it measured. `silent_ns` is how long nothing may have been heard.
    pub(crate) fn heard(
        &mut self,
        now: Time,
        clock_us: u32,
        rtt_ns: Option<u64>,
        silent_ns: u64,
    ) {
        // The low 32 bits are told: a step back is an acknowledgement that was overtaken.
        let step = u64::from(clock_us.wrapping_sub(low_bits(self.clock_us)));
        if self.reports_next == 0 {
            self.clock_us = u64::from(clock_us);
        } else if step < 1 << 31 {
            self.clock_us += step;
        }
        let silent = now.since_ns(self.heard_at) > silent_ns;
        self.heard_at = now;
        let report = (self.clock_us, self.delivered_bytes);
        if let Some(place) = self.reports.get_mut(self.reports_next % REPORTS) {
            *place = report;
        }
        self.reports_next += 1;
        let acknowledged = self.sending.saturating_sub(1);
        for round in [acknowledged, self.sending] {
            if let Some(round) = self.get_mut(round) {
                round.silent |= silent;
            }
        }
        if let Some(rtt_ns) = rtt_ns
            && let Some(round) = self.get_mut(acknowledged)
        {
            round.rtt_sum_ns = round.rtt_sum_ns.saturating_add(rtt_ns);
            round.rtt_last_ns = match round.rtt_count {
                0 => rtt_ns,
                _ => (3 * round.rtt_last_ns + rtt_ns) / 4,
            };
            round.rtt_count += 1;
        }
    }

    /// The rate of arriving over about the last `window_ns`, in bits per second; `None` while there
    /// is too little to tell.
    pub(crate) fn delivered_bps(&self, window_ns: u64) -> Option<u64> {
        let window_us = (window_ns / MICROSECOND_NS).max(1);
        let known = self.reports_next.min(REPORTS);
        (2..=known).find_map(|back| {
            let index = (self.reports_next - back) % REPORTS;
            let (clock_us, bytes) = self.reports.get(index).copied()?;
            let elapsed_us = self.clock_us - clock_us;
            let enough = elapsed_us >= window_us || back == REPORTS;
            enough.then(|| rate_bps(self.delivered_bytes - bytes, elapsed_us))
        })
    }

    /// Whether the round being sent has been reached by acknowledgements: time for the next.
    pub(crate) fn is_reached(&self, highest_acknowledged: u64) -> bool {
        highest_acknowledged >= self.get(self.sending).first_number
    }

    /// Ends the round being acknowledged and the one being sent; what became of the former.
    /// `next_number` is that of the next datagram.
    pub(crate) fn turn(&mut self, now: Time, next_number: u64) -> Option<RoundSample> {
        let (delivered_bytes, clock_us) = (self.delivered_bytes, self.clock_us);
        let passed = self.sending.checked_sub(1).map(|round| self.sample(now, round));
        let sending = self.sending;
        if let Some(round) = self.get_mut(sending) {
            (round.delivered_bytes, round.clock_us) = (delivered_bytes, clock_us);
        }
        self.sending += 1;
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
        let sent_us = ended_at.since_ns(round.begun_at) / MICROSECOND_NS;
        let delivered_us = self.clock_us.saturating_sub(round.clock_us);
        let settled = number.checked_sub(SETTLED_AFTER).map(|number| {
            let round = self.get(number);
            Settled {
                mark: round.mark,
                arrived_bytes: round.arrived_bytes,
                lost_bytes: round.lost_bytes,
                rtt_ns: round.rtt_ns(),
                rtt_count: round.rtt_count,
                silent: round.silent,
            }
        });
        RoundSample {
            now,
            mark: round.mark,
            datagrams: round.datagrams,
            sent_bps: rate_bps(round.sent_bytes, sent_us),
            delivered_bps: rate_bps(
                self.delivered_bytes.saturating_sub(round.delivered_bytes),
                delivered_us,
            ),
            rtt_ns: round.rtt_ns(),
            rtt_last_ns: round.rtt_last_ns,
            rtt_count: round.rtt_count,
            app_limited: round.app_limited,
            silent: round.silent || delivered_us > 60 * SECOND_NS / MICROSECOND_NS,
            settled,
        }
    }
}

fn low_bits(clock_us: u64) -> u32 {
    u32::try_from(clock_us & u64::from(u32::MAX)).unwrap_or(0)
}
