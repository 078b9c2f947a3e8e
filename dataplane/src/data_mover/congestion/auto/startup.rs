//! Start-up: the rate grows with what is delivered, until more is not delivered any more.

use super::super::share::bytes_in;
use super::super::{AckSample, RoundSample};
use super::Phase;
use super::drain::Drain;
use super::model::{ACKS_NS, Model};
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

/// Rate over what is delivered, in per cent: 2 / ln 2, by which a rate doubles every round trip
/// when what is delivered is measured over one.
pub(super) const GAIN_PERCENT: u64 = 289;
/// Datagrams sent in the first round trip, or in some milliseconds if it is shorter; and in the
/// first round trip in any case.
const INITIAL_DATAGRAMS: u64 = 32;
const INITIAL_NS: u64 = 10 * MILLISECOND_NS;
const INITIAL_DATAGRAMS_MIN: u64 = 10;
/// In flight over what is delivered in a round trip, in per cent: what doubling needs, and a little.
const IN_FLIGHT_PERCENT: u64 = 210;
/// Growth that counts, in per cent.
const GROWTH_PERCENT: u64 = 125;
/// Rounds without growth after which the path is full.
const FLAT_ROUNDS: u32 = 3;

/// Fewer than so many datagrams on their way make no queue that counts.
const FEW_DATAGRAMS: u64 = 10;
/// A queue shows that the path is full when it is as long as this part of the round trip, and some
/// milliseconds.
const QUEUED_PART: u64 = 4;
const QUEUED_NS: u64 = 3 * MILLISECOND_NS;
/// Half a round trip with such a queue is long, if so many batches came in it.
const QUEUED_BATCHES: u32 = 4;
const HALF_NS_MIN: u64 = 20 * MILLISECOND_NS;
/// What arrives of a round is less than what was sent of it by this part when the path is full.
const BLOCKED_PERCENT: u64 = 75;
/// Of so many datagrams jitter cannot make a queue.
pub(super) const MANY_DATAGRAMS: u64 = 128;

/// There is a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Queued {
    /// Since when no more is delivered, and how long it was then, in nanoseconds.
    since: Time,
    queue_ns: u64,
    /// The best that was delivered then.
    best_bps: u64,
    /// Batches since.
    batches: u32,
}

/// State of start-up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Startup {
    /// What is delivered, random loss added: the best so far, and now.
    best_bps: u64,
    latest_bps: u64,
    /// The same at the end of the last round that grew.
    grown_bps: u64,
    flat_rounds: u32,
    queued: Option<Queued>,
    /// There was less to send, in the latest round, than might have been sent.
    app_limited: bool,
}

impl Startup {
    pub(super) fn new(hint_bps: Option<u64>, model: &Model) -> Self {
        let hinted_bps = hint_bps.map_or(0, |hint_bps| hint_bps / 2 * 100 / GAIN_PERCENT);
        Startup::at(initial_bps(model).max(hinted_bps))
    }

    /// Goes on where it was when it ended too early.
    pub(super) fn again(model: &Model) -> Self {
        Startup::at(initial_bps(model).max(model.capacity_bps()))
    }

    fn at(best_bps: u64) -> Self {
        Startup {
            best_bps,
            latest_bps: 0,
            grown_bps: 0,
            flat_rounds: 0,
            queued: None,
            app_limited: false,
        }
    }

    pub(super) fn basis_bps(&self) -> u64 {
        self.best_bps
    }

    pub(super) fn in_flight_bytes_max(&self, model: &Model) -> u64 {
        let initial = INITIAL_DATAGRAMS * model.datagram_bytes();
        if !model.is_path_known() && self.best_bps <= initial_bps(model) {
            return initial;
        }
        // On short paths acknowledgements are further apart than a round trip.
        let acks_ns = ACKS_NS.saturating_sub(model.base_ns());
        let acks = bytes_in(self.best_bps, acks_ns);
        model.path_bytes_at(self.best_bps, IN_FLIGHT_PERCENT) + acks + initial
    }

    pub(super) fn on_ack(&mut self, sample: &AckSample, model: &mut Model) -> Option<Phase> {
        if self.grown_bps == 0 {
            // Now the round trip is known.
            self.best_bps = self.best_bps.max(initial_bps(model));
        }
        let link_bps = model.loss.sent_for(sample.delivered_bps?);
        self.latest_bps = link_bps;
        self.best_bps = self.best_bps.max(link_bps);
        let rtt_ns = sample.rtt_ns?;
        let queue_ns = rtt_ns.saturating_sub(model.base_ns());
        let few = sample.outstanding_bytes < FEW_DATAGRAMS * model.datagram_bytes();
        if few || queue_ns <= queue_ns_max(model) {
            self.queued = None;
            return None;
        }
        let best_bps = self.best_bps;
        let now = Queued { since: sample.now, queue_ns, best_bps, batches: 0 };
        let queued = self.queued.get_or_insert(now);
        if best_bps * 100 >= queued.best_bps * GROWTH_PERCENT {
            *queued = now;
        }
        queued.batches += 1;
        // On shorter paths a round is over before more could be told.
        let half_ns = model.base_ns() / 2;
        let elapsed_ns = sample.now.since_ns(queued.since);
        let long = half_ns >= HALF_NS_MIN && elapsed_ns >= half_ns;
        // Jitter that has begun lately may look like a queue, but it does not grow.
        let grows = queue_ns >= (queued.queue_ns + elapsed_ns / 2).min(model.base_ns());
        (long && grows && queued.batches > QUEUED_BATCHES)
            .then(|| self.full(link_bps, rtt_ns, model))
    }

    pub(super) fn on_round(&mut self, round: &RoundSample, model: &mut Model) -> Option<Phase> {
        self.app_limited = round.app_limited;
        let link_bps = model.loss.sent_for(round.delivered_bps);
        if link_bps * 100 >= self.grown_bps * GROWTH_PERCENT {
            (self.grown_bps, self.flat_rounds) = (link_bps, 0);
            return None;
        }
        let few = round.app_limited && round.datagrams < FEW_DATAGRAMS;
        if round.silent && !few {
            return None;
        }
        let rtt_ns = round.rtt_last_ns;
        let queued = rtt_ns.saturating_sub(model.base_ns()) > queue_ns_max(model);
        // What arrives has to be less than was sent of the same, or it was no queue of ours.
        let blocked = link_bps * 100 < round.sent_bps * BLOCKED_PERCENT;
        if few || round.app_limited && !blocked && model.lost_excess_ppm(round) == 0 {
            if round.rtt_count > 0 && (few || queued) {
                // It made no queue: what it met is the path as it is now.
                model.set_base(round.now, round.rtt_ns);
            }
            if round.sent_bps < self.best_bps {
                // It was little; where it was more than ever arrived, more had no effect.
                self.flat_rounds = 0;
            }
            return None;
        }
        if !queued && round.datagrams < MANY_DATAGRAMS / 2 && model.excess_ppm(round) == 0 {
            // What arrives of so few is a matter of chance.
            return None;
        }
        self.flat_rounds += 1;
        let many = round.datagrams >= MANY_DATAGRAMS && !round.app_limited;
        if queued && (blocked || many) {
            // The queue may have come in the midst of the round: what arrives now counts, too.
            return Some(self.full(link_bps.max(self.latest_bps), rtt_ns, model));
        }
        (self.flat_rounds >= FLAT_ROUNDS)
            .then(|| self.full(link_bps.max(self.grown_bps), rtt_ns, model))
    }

    /// The path carries no more than this; round trips are so long now.
    fn full(&self, link_bps: u64, rtt_ns: u64, model: &mut Model) -> Phase {
        model.filled(link_bps);
        Phase::Drain(Drain::from(rtt_ns, self.app_limited))
    }
}

/// What is taken for delivered before anything is.
fn initial_bps(model: &Model) -> u64 {
    let datagram_bits = 8 * model.datagram_bytes() * SECOND_NS;
    let rtt_ns = model.base_ns().max(1);
    let many_bps = INITIAL_DATAGRAMS * datagram_bits / rtt_ns.max(INITIAL_NS);
    many_bps.max(INITIAL_DATAGRAMS_MIN * datagram_bits / rtt_ns) * 100 / GAIN_PERCENT
}

/// A queue that shows, while no more is delivered, that the path is full, in nanoseconds.
fn queue_ns_max(model: &Model) -> u64 {
    model.base_ns() / QUEUED_PART + QUEUED_NS
}

#[cfg(test)]
mod tests {
    use super::super::super::PathStart;
    use super::*;

    const MBIT: u64 = 1_000_000;
    const RTT_NS: u64 = 10 * MILLISECOND_NS;

    fn model(rtt_ns: Option<u64>) -> Model {
        Model::new(10_000 * MBIT, PathStart { now: Time::ZERO, rtt_ns, datagram_bytes: 1_500 })
    }

    /// Rounds of so many datagrams that arrive at the same rate until start-up ends, at most 20.
    fn rounds_without_growth(datagrams: u64) -> usize {
        let mut model = model(Some(RTT_NS));
        let mut startup = Startup::new(None, &model);
        let round = RoundSample {
            now: Time::ZERO,
            datagrams,
            sent_bps: 20 * MBIT,
            delivered_bps: 10 * MBIT,
            passed_bps: 20 * MBIT,
            round_ns: RTT_NS,
            rtt_ns: RTT_NS,
            rtt_last_ns: RTT_NS,
            rtt_count: 4,
            ..RoundSample::default()
        };
        (1..=20).take_while(|_| startup.on_round(&round, &mut model).is_none()).count()
    }

    #[test]
    fn what_arrives_of_many_tells_that_the_path_is_full_and_of_few_does_not() {
        assert_eq!(rounds_without_growth(MANY_DATAGRAMS), FLAT_ROUNDS as usize);
        assert_eq!(rounds_without_growth(MANY_DATAGRAMS / 4), 20);
    }

    #[test]
    fn of_an_unknown_path_few_datagrams_ask_at_once() {
        let (unknown, known) = (model(None), model(Some(RTT_NS)));
        let (first, next) = (Startup::new(None, &unknown), Startup::new(None, &known));
        assert_eq!(first.in_flight_bytes_max(&unknown), INITIAL_DATAGRAMS * 1_500);
        assert!(next.in_flight_bytes_max(&known) > INITIAL_DATAGRAMS * 1_500);
        assert_eq!(first.basis_bps(), next.basis_bps());
        // Who is told the capacity need not ask.
        let hinted = Startup::new(Some(500 * MBIT), &unknown);
        assert!(hinted.in_flight_bytes_max(&unknown) > 10 * INITIAL_DATAGRAMS * 1_500);
    }
}
