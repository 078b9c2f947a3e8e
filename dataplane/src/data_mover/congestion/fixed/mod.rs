//! The `fixed` controller: the operator names the capacity, and random loss says nothing about it.
//!
//! In: rounds and acknowledgements. Out: a rate, a limit. Never: more than the configured rate.
//!
//! Loss alone cannot tell whether the path loses at random or carries less than was said. So when
//! more is lost than before, less is sent for a while: if less arrives too, the path could
//! carry it all and loses at random; if as much arrives, it carries only that much.

mod block;
mod hold;
mod lowered;
mod spread;
mod test;

use block::Block;
use hold::Hold;
use lowered::Lowered;
use test::Test;

use super::share::{RandomLoss, bytes_in, scaled};
use super::{AckSample, Controller, Mark, RoundSample};
use crate::time::{MILLISECOND_NS, SECOND_NS};

/// Before the first acknowledgement, in nanoseconds at the rate.
const INITIAL_NS: u64 = SECOND_NS;
/// Beyond round trips, in nanoseconds at the rate: acknowledgements are delayed, callers late.
const SLACK_NS: u64 = 50 * MILLISECOND_NS;

/// What it is doing.
///
/// ```text
///            more is lost            as much arrives
///      Hold --------------> Test -----------------------> Lowered(rate)
///      ^  ^                  |                             |   ^   |
///      |  +------------------+      some rounds: send more |   |   | less is delivered:
///      |    less arrives too                               +---+   | the rate is that
///      +---------------------------------------------------+  +----+
///                    the configured rate is delivered
/// ```
#[derive(Clone, Copy, Debug)]
enum Phase {
    Hold(Hold),
    Test(Test),
    Lowered(Lowered),
}

/// The controller. What may be on its way is what the rate sends until a loss would have been
/// noticed: more only happens when nothing comes through, and then more is of no use.
#[derive(Debug)]
pub(super) struct Fixed {
    configured_bps: u64,
    window_ns: u64,
    loss: RandomLoss,
    block: Block,
    phase: Phase,
}

impl Fixed {
    pub(super) fn new(configured_bps: u64) -> Self {
        Fixed {
            configured_bps,
            window_ns: INITIAL_NS,
            loss: RandomLoss::default(),
            block: Block::default(),
            phase: Phase::Hold(Hold::default()),
        }
    }
}

impl Controller for Fixed {
    fn on_ack(&mut self, sample: &AckSample) {
        self.window_ns = (2 * sample.smoothed_ns)
            .saturating_add(4 * sample.variation_ns)
            .saturating_add(SLACK_NS);
    }

    fn on_round(&mut self, round: &RoundSample) {
        if let Phase::Lowered(lowered) = &mut self.phase {
            lowered.on_round();
        }
        let settled = round.settled.filter(|settled| !settled.silent && settled.bytes() > 0);
        let Some(settled) = settled else { return };
        let (loss, configured_bps) = (&mut self.loss, self.configured_bps);
        let next = match &mut self.phase {
            Phase::Test(test) => {
                let block = self.block.add(&settled);
                block.and_then(|block| test.on_settled(&block, loss, configured_bps))
            }
            Phase::Lowered(lowered) if !lowered.is_known() => {
                self.block.clear();
                None
            }
            Phase::Hold(hold) => {
                self.block.add(&settled).and_then(|block| hold.on_settled(&block, loss))
            }
            Phase::Lowered(lowered) => {
                let block = self.block.add(&settled);
                block.and_then(|block| lowered.on_settled(&block, loss, configured_bps))
            }
        };
        if let Some(next) = next {
            self.block.clear();
            self.phase = next;
        }
    }

    fn rate_bps(&self) -> u64 {
        match &self.phase {
            Phase::Hold(_) => self.configured_bps,
            Phase::Test(_) => scaled(self.configured_bps, 7, 8),
            Phase::Lowered(lowered) => lowered.rate_bps().min(self.configured_bps),
        }
    }

    fn capacity_bps(&self) -> u64 {
        self.rate_bps()
    }

    fn random_loss_ppm(&self) -> u64 {
        self.loss.ppm()
    }

    fn in_flight_bytes_max(&self) -> u64 {
        bytes_in(self.rate_bps(), self.window_ns)
    }

    fn mark(&self) -> Mark {
        match &self.phase {
            Phase::Hold(_) => Mark::Hold,
            Phase::Test(_) => Mark::Test,
            Phase::Lowered(lowered) => lowered.mark(),
        }
    }
}
