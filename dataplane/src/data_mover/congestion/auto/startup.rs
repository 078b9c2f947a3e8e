//! Start-up: the rate grows with what is delivered, until more is not delivered any more.

use super::super::{AckSample, RoundSample};
use super::Phase;
use super::drain::Drain;
use super::model::Model;
use crate::time::{MILLISECOND_NS, SECOND_NS};

/// Rate over what is delivered, in per cent: 2 / ln 2, by which a rate doubles every round trip
/// when what is delivered is measured over one.
pub(super) const GAIN_PERCENT: u64 = 289;
/// Datagrams sent in the first round trip, or in some milliseconds if it is shorter; and in the
/// first round trip in any case.
const INITIAL_DATAGRAMS: u64 = 32;
const INITIAL_NS: u64 = 10 * MILLISECOND_NS;
const INITIAL_DATAGRAMS_MIN: u64 = 10;
/// Growth that counts, in per cent.
const GROWTH_PERCENT: u64 = 125;
/// Rounds without growth after which the path is full.
const FLAT_ROUNDS: u32 = 3;

/// State of start-up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Startup {
    /// What is delivered, random loss added: the best so far.
    best_bps: u64,
    /// The same at the end of the last round that grew.
    grown_bps: u64,
    flat_rounds: u32,
}

impl Startup {
    pub(super) fn new(hint_bps: Option<u64>, model: &Model) -> Self {
        let datagram_bits = 8 * model.datagram_bytes() * SECOND_NS;
        let rtt_ns = model.base_ns().max(1);
        let many_bps = INITIAL_DATAGRAMS * datagram_bits / rtt_ns.max(INITIAL_NS);
        let first_bps = many_bps.max(INITIAL_DATAGRAMS_MIN * datagram_bits / rtt_ns);
        let hinted_bps = hint_bps.map_or(0, |hint_bps| hint_bps / 2);
        let best_bps = first_bps.max(hinted_bps) * 100 / GAIN_PERCENT;
        Startup { best_bps, grown_bps: 0, flat_rounds: 0 }
    }

    pub(super) fn basis_bps(&self) -> u64 {
        self.best_bps
    }

    pub(super) fn in_flight_bytes_max(&self, model: &Model) -> u64 {
        let rate_bps = self.best_bps.saturating_mul(GAIN_PERCENT) / 100;
        model.in_flight_at(rate_bps, 120) + INITIAL_DATAGRAMS * model.datagram_bytes()
    }

    pub(super) fn on_ack(&mut self, sample: &AckSample, model: &Model) {
        if let Some(delivered_bps) = sample.delivered_bps {
            self.best_bps = self.best_bps.max(model.loss.sent_for(delivered_bps));
        }
    }

    pub(super) fn on_round(&mut self, round: &RoundSample, model: &mut Model) -> Option<Phase> {
        let link_bps = model.loss.sent_for(round.delivered_bps);
        if link_bps * 100 >= self.grown_bps * GROWTH_PERCENT {
            (self.grown_bps, self.flat_rounds) = (link_bps, 0);
            return None;
        }
        let queue_ns = round.rtt_last_ns.saturating_sub(model.base_ns());
        let queued = queue_ns > 4 * model.queue_ns_min(round.rtt_count);
        if round.silent || (round.app_limited && !queued && model.excess_ppm(round) == 0) {
            return None;
        }
        self.flat_rounds += 1;
        if self.flat_rounds < FLAT_ROUNDS && !queued {
            return None;
        }
        model.set_capacity(link_bps.max(self.grown_bps));
        Some(Phase::Drain(Drain::default()))
    }
}
