//! Overflow: losses beyond random loss that only a full queue explains, though none is seen.
//!
//! In: rounds that are settled, random loss. Out: the share lost beyond it, and by how much shorter
//! a queue is to be kept for it. Never: a rate.

use super::super::Settled;
use super::super::share::{PERCENT, RandomLoss, WHOLE, scaled};

/// Loss beyond random loss that does not count yet.
pub(super) const EXCESS_PPM: u64 = PERCENT;
/// Datagrams lost beyond random loss, over some rounds, that say that a queue too short to be seen
/// is full, at least.
const DATAGRAMS: u64 = 8;
/// Rounds without one, before an overflow, that make it a single one: something else was in the way.
const SINGLE_ROUNDS: u64 = 64;
/// Rounds after a change of the rate until losses of the time before are settled.
const STALE_ROUNDS: u32 = 5;
/// The queue is kept no shorter than this share of its usual length, however often it overflows.
const TIGHT_PPM_MIN: u64 = WHOLE / 16;

/// What is known of overflows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overflow {
    /// Datagrams lost beyond random loss in the latest rounds, in millionths, and all of these rounds.
    excess: u64,
    excess_of: u64,
    /// Rounds to come whose losses are of a time when more was sent.
    stale_rounds: u32,
    tight_ppm: u64,
    /// Rounds since the last, and the capacity before if that was a single time.
    rounds: u64,
    single_bps: u64,
}

impl Default for Overflow {
    fn default() -> Self {
        Overflow {
            excess: 0,
            excess_of: 0,
            stale_rounds: 0,
            tight_ppm: WHOLE,
            rounds: 0,
            single_bps: 0,
        }
    }
}

impl Overflow {
    /// A round is over; `counts` if it tells anything.
    pub(super) fn on_round(&mut self, counts: bool) {
        self.stale_rounds = self.stale_rounds.saturating_sub(1);
        self.rounds += u64::from(counts);
    }

    /// The share of its usual length that the queue may have, in millionths: less where it overflows.
    pub(super) fn tight_ppm(&self) -> u64 {
        self.tight_ppm
    }

    /// Losses to be settled in the next rounds are of a time when more was sent.
    pub(super) fn distrust(&mut self) {
        (self.excess, self.excess_of) = (0, 0);
        self.stale_rounds = STALE_ROUNDS;
    }

    /// When losses beyond random loss have come together that only a full queue explains: the share
    /// lost beyond it, in millionths.
    pub(super) fn seen_ppm(&mut self, settled: Option<&Settled>, loss: &RandomLoss) -> Option<u64> {
        self.tight_ppm = (self.tight_ppm + self.tight_ppm / 64).min(WHOLE);
        if self.stale_rounds > 0 {
            return None;
        }
        let settled = settled.filter(|settled| !settled.silent)?;
        if !self.is_in_excess(settled, loss) {
            return None;
        }
        // Of one round of few it would be a matter of chance.
        let excess_ppm = self.excess / self.excess_of.max(1) + EXCESS_PPM;
        self.distrust();
        Some(excess_ppm)
    }

    /// There was one, where the capacity was taken for this.
    pub(super) fn happened(&mut self, capacity_bps: u64) {
        self.tight_ppm = (self.tight_ppm / 2).max(TIGHT_PPM_MIN);
        let single = self.rounds > SINGLE_ROUNDS;
        self.single_bps = if single { capacity_bps } else { 0 };
        self.rounds = 0;
    }

    /// The capacity before a single one, for once.
    pub(super) fn take_single_bps(&mut self) -> u64 {
        std::mem::take(&mut self.single_bps)
    }

    fn is_in_excess(&mut self, settled: &Settled, loss: &RandomLoss) -> bool {
        let loss_ppm = loss.ppm();
        let expected = (loss_ppm + EXCESS_PPM) * settled.datagrams();
        let lost = settled.lost_ppm() * settled.datagrams();
        self.excess = (self.excess + lost).saturating_sub(expected);
        self.excess_of = if self.excess > 0 { self.excess_of + settled.datagrams() } else { 0 };
        // Random loss alone comes so far once in a million: exp(-2 h d / s) with d, the share that
        // does not count yet, and s, the variance of one datagram (Page, Biometrika 1954).
        let variance_ppm = scaled(loss_ppm, WHOLE - loss_ppm, WHOLE) * loss.burstiness().max(1);
        let by_chance = 7 * scaled(variance_ppm, WHOLE, EXCESS_PPM);
        self.excess > (DATAGRAMS * WHOLE).max(by_chance)
    }
}
