//! How much parity: from what is lost, how it is lost, and what parity may cost.
//!
//! In: the fate of each datagram, bytes sent, the rate. Out: a number of parities, whether they can
//! be afforded. Never: a buffer.

use crate::time::{SECOND_NS, Time};

/// One, as a share.
const WHOLE: u64 = 1 << 32;
/// Share of the datagrams that must be lost for any parity: one in ten thousand.
const LOSS_MIN: u64 = WHOLE / 10_000;
/// Datagrams over which loss is averaged, at least (in the beginning) and at most.
const MEMORY_MIN: u64 = 64;
const MEMORY_MAX: u64 = 1_024;
/// Bursts of loss over which their length is averaged.
const BURSTS_MAX: u64 = 32;
/// Parity is for so many deviations beyond the mean loss, in tenths: about one time in two hundred
/// more is lost.
const DEVIATIONS_TENTHS: u64 = 26;

/// Of the bytes sent, one in this many may be parity.
const SHARE_USED: u64 = 256;
/// Of the bytes that could have been sent and were not, one in this many.
const SHARE_UNUSED: u64 = 32;
/// Bytes of parity that can be saved up.
const BUDGET_MAX: u64 = 64 * 1_500;

/// What is lost, and how many at a time.
#[derive(Debug)]
pub(super) struct LossEstimate {
    /// Share of the datagrams lost.
    lost: u64,
    known: u64,
    /// Datagrams lost, and bursts that they were lost in.
    datagrams: u64,
    bursts: u64,
    latest: u64,
}

impl LossEstimate {
    pub(super) fn new() -> Self {
        LossEstimate { lost: 0, known: 0, datagrams: 0, bursts: 0, latest: 0 }
    }

    /// Whether anything is lost at all.
    pub(super) fn is_lossy(&self) -> bool {
        self.lost >= LOSS_MIN
    }

    fn memory(&self) -> u64 {
        self.known.clamp(MEMORY_MIN, MEMORY_MAX)
    }

    /// A datagram has arrived.
    pub(super) fn arrived(&mut self) {
        self.known = (self.known + 1).min(MEMORY_MAX);
        self.lost -= self.lost / self.memory();
    }

    /// A datagram is taken for lost.
    pub(super) fn lost(&mut self, number: u64) {
        self.arrived();
        self.lost = (self.lost + WHOLE / self.memory()).min(WHOLE);
        self.datagrams += 1;
        if number != self.latest + 1 {
            self.bursts += 1;
        }
        self.latest = number;
        if self.bursts > BURSTS_MAX {
            self.bursts -= self.bursts / 2;
            self.datagrams -= self.datagrams / 2;
        }
    }

    /// One taken for lost has arrived.
    pub(super) fn found(&mut self) {
        self.lost = self.lost.saturating_sub(WHOLE / self.memory());
    }

    /// Parities over so many cells.
    pub(super) fn parities(&self, cells: u8, most: u8) -> u8 {
        if !self.is_lossy() {
            return 0;
        }
        // In millionths: bursts expected, and their mean length.
        const ONE: u64 = 1_000_000;
        let burst = (self.datagrams * ONE / self.bursts.max(1)).max(ONE);
        let lost = u64::from(cells) * (self.lost * ONE / WHOLE);
        let expected = lost * ONE / burst;
        let deviations = (expected * ONE).isqrt() * DEVIATIONS_TENTHS / 10;
        let wanted = ((expected + deviations) * burst / ONE).div_ceil(ONE);
        let affordable = u64::from(cells.div_ceil(2).min(most));
        u8::try_from(wanted.clamp(1, affordable.max(1))).unwrap_or(most)
    }
}

/// What may be spent on parity: little of a link that is full, more of one that is not.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: u64,
    /// Sent since `at`.
    used: u64,
    at: Time,
}

impl Budget {
    pub(super) fn new(now: Time) -> Self {
        Budget { bytes: BUDGET_MAX, used: 0, at: now }
    }

    /// A datagram of `ip_bytes` was sent.
    pub(super) fn sent(&mut self, ip_bytes: u64) {
        self.used += ip_bytes;
    }

    /// Adds up what was earned, at this rate.
    pub(super) fn earn(&mut self, now: Time, rate_bps: u64) {
        let elapsed_ns = u128::from(now.since_ns(self.at));
        let bytes = u128::from(rate_bps / 8) * elapsed_ns / u128::from(SECOND_NS);
        let unused = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_sub(self.used);
        let earned = self.used / SHARE_USED + unused / SHARE_UNUSED;
        self.bytes = self.bytes.saturating_add(earned).min(BUDGET_MAX);
        (self.used, self.at) = (0, now);
    }

    /// Takes `bytes` if they are there.
    pub(super) fn spend(&mut self, bytes: u64) -> bool {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.unwrap_or(self.bytes);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One datagram in `every` is lost, in bursts.
    fn estimate(every: u64, burst: u64, datagrams: u64) -> LossEstimate {
        let mut estimate = LossEstimate::new();
        for number in 1..=datagrams {
            match number % (every * burst) < burst {
                true => estimate.lost(number),
                false => estimate.arrived(),
            }
        }
        estimate
    }

    #[test]
    fn parity_grows_with_cells_loss_and_bursts() {
        let parities = |every, burst, cells| estimate(every, burst, 9_900).parities(cells, 16);
        assert_eq!(parities(1_000, 1, 27), 1);
        assert_eq!(parities(100, 1, 1), 1);
        assert_eq!(parities(100, 1, 27), 2);
        assert_eq!(parities(100, 1, 47), 3);
        assert_eq!(parities(10, 1, 47), 11);
        assert_eq!(parities(2, 1, 64), 16);
        assert!((5..=8).contains(&parities(100, 8, 47)), "{}", parities(100, 8, 47));
    }

    #[test]
    fn without_loss_there_is_none_and_loss_is_forgotten() {
        let mut estimate = estimate(100, 1, 5_000);
        assert!(estimate.is_lossy());
        (0..8_000).for_each(|_| estimate.arrived());
        assert!(!estimate.is_lossy());
        assert_eq!(estimate.parities(64, 16), 0);
        assert!(!LossEstimate::new().is_lossy());
        let mut spurious = LossEstimate::new();
        spurious.lost(1);
        spurious.found();
        assert!(!spurious.is_lossy());
    }

    #[test]
    fn a_full_link_earns_little_and_an_idle_one_more() {
        let mut budget = Budget::new(Time::ZERO);
        assert!(budget.spend(BUDGET_MAX));
        // A second of 8 Mb/s, full: a million bytes.
        (0..1_000).for_each(|_| budget.sent(1_000));
        budget.earn(Time::from_ms(1_000), 8_000_000);
        assert!(!budget.spend(1_000_000 / SHARE_USED + 1));
        assert!(budget.spend(1_000_000 / SHARE_USED));
        budget.earn(Time::from_ms(2_000), 8_000_000);
        assert!(!budget.spend(1_000_000 / SHARE_UNUSED + 1));
        assert!(budget.spend(1_000_000 / SHARE_UNUSED));
        budget.earn(Time::from_ms(3_600_000), 8_000_000);
        assert!(!budget.spend(BUDGET_MAX + 1));
    }
}
