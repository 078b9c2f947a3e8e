//! Credits: how many bytes of a stream the far side may send towards us.
//!
//! In: what hosts have acknowledged, the path's rate and round trip. Out: absolute offsets to
//! announce. Never: a grant without memory reserved for it, so whatever was granted can always be
//! taken, in order or not.
//!
//! A flow begins with a small share of the free memory (at most one bandwidth-delay product);
//! whenever its host has taken a whole window about as fast as the path brings it, the window doubles, up to
//! what repairing a lossy path in order needs. A slow reader never grows beyond its first share.
//! However fast a host reads, its window stays within half of what the others leave, so that n
//! busy flows come to rest at `1 / (n + 1)` of the memory each, and a new one always finds some.

use crate::time::Time;

/// Least window of a flow, in bytes: granted while anything is left, below it opens are refused.
pub const WINDOW_FLOOR: u64 = 16 * 1024;
/// Window that a flow may start with on a path that was not measured yet, in bytes.
const WINDOW_UNMEASURED: u64 = 256 * 1024;
/// Bandwidth-delay products in the largest window: one under way, and what waits for repairs of
/// repairs (three rounds hold one flow in order at full rate with several per cent of loss), all
/// that several times over because the path carries compressed bytes and credits count plain ones.
const WINDOW_BDP_MAX: u64 = 16;
/// Round trips that a host may take for a window, beyond those that the window itself lasts at the
/// path's rate, and still count as fast: the repair of a loss and the way of the credit.
const FAST_ROUNDS: u64 = 3;
/// Part of the free memory that one new flow may take, `1 / FIRST_SHARE`: hundreds of idle ones
/// must not keep others out.
const FIRST_SHARE: u64 = 64;
/// Part of what the others leave that one flow's window may grow to: `1 / SHARE`.
const SHARE: u64 = 2;

/// Bandwidth-delay product of a path, in bytes.
#[must_use]
pub fn bdp_bytes(rate_bps: u64, rtt_ns: u64) -> u64 {
    let bits = u128::from(rate_bps) * u128::from(rtt_ns) / 1_000_000_000;
    u64::try_from(bits / 8).unwrap_or(u64::MAX)
}

/// The memory that all grants together may fill.
#[derive(Debug)]
pub struct CreditPool {
    budget: u64,
    reserved: u64,
}

/// What one flow was granted. Invariant: `granted - consumed` is reserved in the pool.
#[derive(Debug, Default)]
pub struct Grant {
    granted: u64,
    consumed: u64,
    window: u64,
    round_started: Time,
    round_end: u64,
}

impl Grant {
    /// The offset below which the far side may send.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted
    }
}

impl CreditPool {
    /// A pool of `budget` bytes.
    #[must_use]
    pub fn new(budget: u64) -> Self {
        CreditPool { budget, reserved: 0 }
    }

    /// Bytes granted and not yet taken by hosts.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// The first grant of a flow; `None` when there is not even [`WINDOW_FLOOR`] left.
    pub fn open(&mut self, now: Time, bdp_bytes: u64) -> Option<Grant> {
        let free = self.budget - self.reserved;
        if free < WINDOW_FLOOR {
            return None;
        }
        let wish = if bdp_bytes == 0 { WINDOW_UNMEASURED } else { bdp_bytes };
        let window = wish.min(free / FIRST_SHARE).max(WINDOW_FLOOR);
        self.reserved += window;
        Some(Grant { granted: window, consumed: 0, window, round_started: now, round_end: window })
    }

    /// The host has acknowledged everything below `offset`: the new grant to announce, or `None`
    /// while announcing is not worth a message.
    pub fn consumed(
        &mut self,
        grant: &mut Grant,
        now: Time,
        offset: u64,
        bdp_bytes: u64,
        rtt_ns: u64,
    ) -> Option<u64> {
        let offset = offset.min(grant.granted);
        if offset > grant.consumed {
            self.reserved -= offset - grant.consumed;
            grant.consumed = offset;
        }
        if offset >= grant.round_end {
            let round_ns = now.since_ns(grant.round_started);
            let lasts_rounds = grant.window / bdp_bytes.max(1);
            if round_ns <= rtt_ns.saturating_mul(FAST_ROUNDS + lasts_rounds) {
                let most = (WINDOW_BDP_MAX * bdp_bytes).max(grant.window);
                grant.window = (grant.window * 2).min(most);
            }
            grant.round_started = now;
            grant.round_end = grant.granted.max(offset + 1);
        }
        let outstanding = grant.granted - grant.consumed;
        let left_by_others = self.budget - (self.reserved - outstanding);
        let window = grant.window.min((left_by_others / SHARE).max(WINDOW_FLOOR));
        let target = (grant.consumed + window).max(grant.granted);
        let more = (target - grant.granted).min(self.budget - self.reserved);
        // Often enough that the far side never runs dry, seldom enough to cost nothing.
        let worth_it = more >= window / 8 || (outstanding < window / 2 && more > 0);
        if !worth_it {
            return None;
        }
        self.reserved += more;
        grant.granted += more;
        Some(grant.granted)
    }

    /// The flow is over: its memory is free again.
    pub fn close(&mut self, grant: &mut Grant) {
        self.reserved -= grant.granted - grant.consumed;
        grant.consumed = grant.granted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT_NS: u64 = 80_000_000;
    const BDP: u64 = 2_000_000;

    #[test]
    fn a_fast_reader_grows_to_the_repair_window_and_a_slow_one_does_not() {
        let mut pool = CreditPool::new(128 << 20);
        let mut fast = pool.open(Time::ZERO, BDP).unwrap();
        let mut slow = pool.open(Time::ZERO, BDP).unwrap();
        let first = slow.granted();
        for round in 1..20u64 {
            let now = Time::from_ns(round * RTT_NS);
            let all = fast.granted();
            pool.consumed(&mut fast, now, all, BDP, RTT_NS);
            pool.consumed(&mut slow, now, round * 1000, BDP, RTT_NS);
        }
        assert_eq!(fast.granted() - fast.consumed, WINDOW_BDP_MAX * BDP);
        assert!(slow.granted() <= first + 20_000);
        pool.close(&mut fast);
        pool.close(&mut slow);
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn busy_flows_share_and_leave_room_for_new_ones() {
        const BUDGET: u64 = 16 << 20;
        const BUSY: u64 = 9;
        let mut pool = CreditPool::new(BUDGET);
        let mut busy: Vec<Grant> = (0..BUSY).filter_map(|_| pool.open(Time::ZERO, BDP)).collect();
        for round in 1..100 {
            for grant in &mut busy {
                let all = grant.granted;
                pool.consumed(grant, Time::from_ns(round * RTT_NS), all, BDP, RTT_NS);
            }
        }
        let fair = BUDGET / (BUSY + 1);
        for grant in &busy {
            let window = grant.granted - grant.consumed;
            assert!(window > fair * 3 / 4 && window < fair * 4 / 3, "{window} of {fair}");
        }
        let new = pool.open(Time::ZERO, BDP).unwrap();
        assert!(new.granted() >= WINDOW_FLOOR);
        assert!(BUDGET - pool.reserved() > fair / 2);
    }

    #[test]
    fn grants_never_exceed_the_memory() {
        let mut pool = CreditPool::new(1 << 20);
        let mut grants: Vec<Grant> = std::iter::from_fn(|| pool.open(Time::ZERO, BDP)).collect();
        assert!(grants.len() > 20);
        assert!(pool.reserved() <= 1 << 20);
        let sum: u64 = grants.iter().map(Grant::granted).sum();
        assert_eq!(sum, pool.reserved());
        for grant in &mut grants {
            let all = grant.granted();
            pool.consumed(grant, Time::from_ns(RTT_NS), all, BDP, RTT_NS);
            assert!(pool.reserved() <= 1 << 20);
        }
        for grant in &mut grants {
            pool.close(grant);
        }
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn acknowledgements_beyond_the_grant_change_nothing() {
        let mut pool = CreditPool::new(1 << 20);
        let mut grant = pool.open(Time::ZERO, 0).unwrap();
        pool.consumed(&mut grant, Time::ZERO, u64::MAX, BDP, RTT_NS);
        assert!(grant.consumed <= grant.granted);
        pool.close(&mut grant);
        assert_eq!(pool.reserved(), 0);
    }
}
