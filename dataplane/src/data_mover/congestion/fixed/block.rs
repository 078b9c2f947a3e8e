//! Rounds put together until they have enough datagrams to tell a share.

use super::super::{Mark, Settled};

/// Datagrams of a block, at least.
const DATAGRAMS: u64 = 128;

/// Rounds of one name in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Block {
    sum: Settled,
}

impl Block {
    /// Forgets what it has.
    pub(super) fn clear(&mut self) {
        self.sum = Settled::default();
    }

    /// Adds a round; all of them together once they are enough. A raised rate is judged by its one
    /// round: that it came through is asked again at once.
    pub(super) fn add(&mut self, round: &Settled) -> Option<Settled> {
        if round.mark == Mark::Raise {
            return Some(*round);
        }
        if self.sum.mark != round.mark {
            self.sum = Settled { mark: round.mark, ..Settled::default() };
        }
        self.sum.arrived_bytes += round.arrived_bytes;
        self.sum.lost_bytes += round.lost_bytes;
        if self.sum.datagrams() < DATAGRAMS {
            return None;
        }
        Some(std::mem::take(&mut self.sum))
    }
}
