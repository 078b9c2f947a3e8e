//! Sending what the path was seen to carry, and asking from time to time for more.

use super::super::share::{RandomLoss, WHOLE, scaled};
use super::super::{Mark, Settled};
use super::{Hold, Phase};

/// Rounds at a rate before more is asked for: some until what is sent at it is known at all.
const ROUNDS: u32 = 10;
/// Rounds until what became of a rate is known.
const ROUNDS_UNKNOWN: u32 = 4;
/// Doublings of the step by which the rate is raised.
const RAISED_MAX: u32 = 3;
/// The configured rate over the slowest.
const RATE_PARTS_MAX: u64 = 32;
/// Loss beyond what is known, of a million, that shows that a rate is too much.
const EXCESS_PPM: u64 = 25_000;

/// State of sending less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lowered {
    rate_bps: u64,
    /// At this rate.
    rounds: u32,
    raising: bool,
    /// Whether a raised round is still to be judged.
    raised_lately: bool,
    /// Times in a row that more was there.
    raised: u32,
    /// Of the block before, more was lost than is at random.
    uncarried: bool,
}

impl Lowered {
    pub(super) fn new(rate_bps: u64) -> Self {
        Lowered {
            rate_bps,
            rounds: 0,
            raising: false,
            raised_lately: false,
            raised: 0,
            uncarried: false,
        }
    }

    fn raised_bps(&self) -> u64 {
        // An eighth more, then twice that, up to twice the rate.
        self.rate_bps + scaled(self.rate_bps, 1 << self.raised.min(RAISED_MAX), 8)
    }

    pub(super) fn rate_bps(&self) -> u64 {
        if self.raising { self.raised_bps() } else { self.rate_bps }
    }

    pub(super) fn mark(&self) -> Mark {
        if self.raising { Mark::Raise } else { Mark::Lowered }
    }

    /// Whether what is settled now was sent at this rate.
    pub(super) fn is_known(&self) -> bool {
        self.rounds > ROUNDS_UNKNOWN || self.raised_lately
    }

    /// A round was sent: more is asked for during one.
    pub(super) fn on_round(&mut self) {
        self.rounds += 1;
        self.raising = !self.raising && self.rounds >= ROUNDS;
        if self.raising {
            (self.rounds, self.raised_lately) = (0, true);
        }
    }

    pub(super) fn on_settled(
        &mut self,
        round: &Settled,
        loss: &RandomLoss,
        configured_bps: u64,
    ) -> Option<Phase> {
        let expected_ppm = loss.ppm() + loss.noise_ppm(round.datagrams()) + EXCESS_PPM;
        let carried = round.lost_ppm() <= expected_ppm;
        match round.mark {
            Mark::Raise if carried => {
                self.raised_lately = false;
                self.rate_bps = self.raised_bps();
                self.raised += 1;
                if self.rate_bps >= configured_bps {
                    return Some(Phase::Hold(Hold::after_test()));
                }
                // More was there: more is asked for as soon as this rate is known.
                self.rounds = ROUNDS - ROUNDS_UNKNOWN;
            }
            // A burst is over in the next block, want of capacity is not.
            Mark::Lowered if !carried && !self.uncarried => self.uncarried = true,
            Mark::Lowered if !carried => {
                let arrived_bps = scaled(self.rate_bps, WHOLE - round.lost_ppm(), WHOLE);
                self.rate_bps = loss.sent_for(arrived_bps).max(configured_bps / RATE_PARTS_MAX);
                (self.rounds, self.raised) = (0, 0);
            }
            Mark::Raise => (self.raised, self.raised_lately) = (0, false),
            Mark::Lowered => self.uncarried = false,
            _ => {}
        }
        None
    }
}
