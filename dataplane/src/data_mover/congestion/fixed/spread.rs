//! The share lost of several blocks, and how far their mean may be off.

use super::super::Settled;
use super::super::share::{WHOLE, scaled};

/// Standard errors that make a difference certain; with few blocks, of which the error is uncertain
/// itself.
const ERRORS: u64 = 3;
const ERRORS_OF_FEW: u64 = 6;
const FEW: u64 = 4;
/// Blocks without which nothing is known of their error.
const BLOCKS_MIN: u64 = 2;

/// Blocks at one rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    blocks: u64,
    /// All of them together.
    sum: Settled,
    /// Sums of their shares and of the squares of these, of a million.
    shares_ppm: u64,
    squares: u64,
}

impl Spread {
    pub(super) fn add(&mut self, block: &Settled) {
        let share_ppm = block.lost_ppm();
        self.blocks += 1;
        self.sum.mark = block.mark;
        self.sum.arrived_bytes += block.arrived_bytes;
        self.sum.lost_bytes += block.lost_bytes;
        self.shares_ppm += share_ppm;
        self.squares += share_ppm * share_ppm;
    }

    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// All of them as one.
    pub(super) fn sum(&self) -> &Settled {
        &self.sum
    }

    pub(super) fn arrived_ppm(&self) -> u64 {
        WHOLE.saturating_sub(self.sum.lost_ppm())
    }

    /// By how much the share may be off, of a million: what is seen between blocks, and no less than
    /// if losses were independent.
    pub(super) fn error_ppm(&self) -> u64 {
        if self.blocks < BLOCKS_MIN {
            return WHOLE;
        }
        let mean_ppm = self.shares_ppm / self.blocks;
        let variance = (self.squares / self.blocks).saturating_sub(mean_ppm * mean_ppm);
        let between = variance / (self.blocks - 1);
        let lost_ppm = self.sum.lost_ppm().min(WHOLE);
        let within = scaled(lost_ppm, WHOLE - lost_ppm, self.sum.datagrams());
        let errors = if self.blocks < FEW { ERRORS_OF_FEW } else { ERRORS };
        errors * between.max(within).isqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Mark;
    use super::*;

    /// Blocks of a thousand datagrams with so many lost of each.
    fn spread(lost: &[u64]) -> Spread {
        let mut spread = Spread::default();
        for lost in lost {
            let (arrived_bytes, lost_bytes) = ((1_000 - lost) * 1_500, lost * 1_500);
            let mark = Mark::Hold;
            spread.add(&Settled { mark, arrived_bytes, lost_bytes, ..Settled::default() });
        }
        spread
    }

    #[test]
    fn the_mean_of_blocks_that_differ_is_uncertain() {
        let alike = spread(&[200; 8]);
        // 3 sqrt(0.2 * 0.8 / 8,000) = 0.0134
        assert_eq!((alike.arrived_ppm(), alike.error_ppm()), (800_000, 13_416));
        let unlike = spread(&[0, 400, 100, 300, 0, 400, 100, 300]);
        assert_eq!(unlike.arrived_ppm(), 800_000);
        // 3 sqrt(0.025 / 7) = 0.179
        assert_eq!(unlike.error_ppm(), 179_283);
    }

    #[test]
    fn one_block_says_nothing_of_its_error() {
        assert_eq!(spread(&[10]).error_ppm(), WHOLE);
        assert!(spread(&[10, 10]).error_ppm() < WHOLE / 50);
    }
}
