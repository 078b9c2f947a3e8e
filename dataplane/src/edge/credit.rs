//! Credits: how many bytes of a stream the far side may send towards us.
//!
//! In: what hosts have acknowledged, the path's rate and round trip, credit given back. Out:
//! absolute offsets to announce. Never: a grant without memory reserved for it, so whatever was
//! granted can always be taken, in order or not.
//!
//! What is reserved for a flow are the chunks that the range from what its host has acknowledged to
//! what was granted touches: that is where its bytes go when they cannot stay in the buffers they
//! come in (`packet_driver/receive_memory.rs`). One chunk is a flow's for as long as it is open, so
//! that none waits for ever for others to give back; and one is kept for every flow that may still
//! open, as far as three quarters of the memory go.
//!
//! A flow begins with what one flow needs to fill a lossy path at once, as far as one half of the
//! memory goes; with n others open with `1 / (n + 1)` of what is left of that half. The other half
//! is for flows whose hosts read: whenever a host has taken a whole window about as fast as the
//! path brings it, the window grows, within half of what the others leave, so that n busy flows
//! come to rest at `1 / (n + 1)` of the memory each, and a new one always finds some. A host that
//! reads slowly shrinks its window by half per window, down to the floor; a flow that has no use
//! for its credit gives it back (`edge/memory.rs`). Where there may be so many flows that the floor
//! of each is too much, those that wait for their first byte, or are idle, hold less: a chunk at
//! least.

use crate::packet_driver::receive_memory::CHUNK_BYTES;
use crate::time::Time;

const CHUNK: u64 = CHUNK_BYTES as u64;
/// Least window of a flow that is used, in bytes, where memory allows.
pub const WINDOW_FLOOR: u64 = 16 * 1024;
/// Least window of a flow that is used, in bytes, however many there may be: a few segments.
const WINDOW_FLOOR_MIN: u64 = 4 * 1024;
/// Window that a flow may start with on any path, in bytes, where memory allows: what is known of
/// the rate at which data come is from the past, or from the other direction.
const WINDOW_FIRST: u64 = 2 * 1024 * 1024;
/// Bandwidth-delay products that one flow needs to fill a path: one under way, and what waits in
/// order for repairs of repairs; at 10 % loss, and at 1 %, where it is more than enough.
const FIRST_BDP: u64 = 6;
/// Bandwidth-delay products in the largest window: what is needed at first, several times over,
/// because the path carries compressed bytes and credits count plain ones.
const WINDOW_BDP_MAX: u64 = 16;
/// Round trips that a host may take for a window, beyond those that the window itself lasts at the
/// path's rate, and still count as fast: the repair of a loss and the way of the credit.
const FAST_ROUNDS: u64 = 3;
/// A host that takes this many times longer than a fast one is slow.
const SLOW_FACTOR: u64 = 4;
/// Part of the memory that is left to flows whose hosts read: `1 / GROWTH_SHARE`.
const GROWTH_SHARE: u64 = 2;
/// Part of the memory that is kept for flows that are not open yet, at most.
const SET_ASIDE: (u64, u64) = (3, 4);
/// Part of what the others leave that one flow's window may grow to: `1 / SHARE`.
const SHARE: u64 = 2;

const _: () = {
    assert!(WINDOW_FLOOR.is_multiple_of(CHUNK) && WINDOW_FLOOR_MIN.is_multiple_of(CHUNK));
    assert!(WINDOW_BDP_MAX >= FIRST_BDP && GROWTH_SHARE >= 2 && SHARE >= 2);
};

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
    /// Flows with a grant.
    flows: u64,
    /// Flows that may have one.
    flows_max: u64,
    /// Least window of a flow that is used.
    floor: u64,
    /// What is enough for one that is not.
    idle: u64,
}

/// What one flow was granted. Invariant: the chunks of `consumed..granted` are reserved in the pool.
#[derive(Debug, Default)]
pub struct Grant {
    granted: u64,
    consumed: u64,
    window: u64,
    round_started: Time,
    round_end: u64,
    /// Whether the host has taken a whole window, or credit was given back.
    is_judged: bool,
    epoch: u16,
    is_open: bool,
}

impl Grant {
    /// The offset below which the far side may send.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// How often credit was given back: CREDITs say so.
    #[must_use]
    pub fn epoch(&self) -> u16 {
        self.epoch
    }

    /// The offset of the first chunk that may be needed.
    fn first(&self) -> u64 {
        self.consumed / CHUNK * CHUNK
    }

    /// Bytes of the chunks that may be needed: one at least, for what is granted next.
    fn charge(&self) -> u64 {
        if !self.is_open {
            return 0;
        }
        (self.granted.next_multiple_of(CHUNK) - self.first()).max(CHUNK)
    }
}

impl CreditPool {
    /// A pool of `budget` bytes for at most `flows` flows. What idle ones keep takes half of it at
    /// most, unless a chunk for each is more.
    #[must_use]
    pub fn new(budget: u64, flows: u32) -> Self {
        let flows_max = u64::from(flows.max(1));
        let share = budget / 2 / flows_max / CHUNK * CHUNK;
        CreditPool {
            budget,
            reserved: 0,
            flows: 0,
            flows_max,
            floor: share.clamp(WINDOW_FLOOR_MIN, WINDOW_FLOOR),
            idle: share.clamp(CHUNK, WINDOW_FLOOR),
        }
    }

    /// Bytes reserved for what was granted and not yet taken by hosts.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Bytes that a flow may keep however little it uses.
    #[must_use]
    pub fn idle_bytes(&self) -> u64 {
        self.idle
    }

    fn free(&self) -> u64 {
        self.budget.saturating_sub(self.reserved)
    }

    /// What is kept for flows that may still open.
    fn set_aside(&self) -> u64 {
        let unopened = self.flows_max.saturating_sub(self.flows);
        unopened.saturating_mul(CHUNK).min(self.budget / SET_ASIDE.1 * SET_ASIDE.0)
    }

    /// What flows that are open may have beyond what they have, in whole chunks.
    fn spare(&self) -> u64 {
        self.free().saturating_sub(self.set_aside()) / CHUNK * CHUNK
    }

    /// What a flow without a history may have, in whole chunks.
    fn first_window(&self, bdp_bytes: u64) -> u64 {
        let wish = bdp_bytes.saturating_mul(FIRST_BDP).max(WINDOW_FIRST);
        let left = (self.budget / GROWTH_SHARE).max(self.set_aside());
        let share = self.free().saturating_sub(left) / (self.flows + 1);
        (wish.min(share) / CHUNK * CHUNK).max(self.floor)
    }

    /// The first grant of a flow; `None` when there is not even a chunk left.
    pub fn open(&mut self, now: Time, bdp_bytes: u64) -> Option<Grant> {
        if self.free() < CHUNK {
            return None;
        }
        // Beyond its window, should only that be left which is kept for flows that open: the one
        // chunk that was kept for it.
        let granted = self.first_window(bdp_bytes).min(self.spare().max(CHUNK));
        let window = granted.max(self.floor);
        let grant = Grant {
            granted,
            window,
            round_started: now,
            round_end: granted,
            is_open: true,
            ..Grant::default()
        };
        self.reserved += grant.charge();
        self.flows += 1;
        Some(grant)
    }

    /// Changes a grant and what is reserved for it.
    fn change(&mut self, grant: &mut Grant, change: impl FnOnce(&mut Grant)) {
        let before = grant.charge();
        change(grant);
        self.reserved = self.reserved + grant.charge() - before;
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
        let offset = offset.min(grant.granted).max(grant.consumed);
        self.change(grant, |grant| grant.consumed = offset);
        // It may have been idle.
        grant.window = grant.window.max(self.floor);
        if !grant.is_judged {
            // By now the path may be known better than when the flow began.
            grant.window = grant.window.max(self.first_window(bdp_bytes));
        }
        if offset >= grant.round_end {
            grant.is_judged = true;
            let round_ns = now.since_ns(grant.round_started);
            let lasts_rounds = grant.window / bdp_bytes.max(1);
            let fast_ns = rtt_ns.saturating_mul(FAST_ROUNDS + lasts_rounds);
            if round_ns <= fast_ns {
                let most = WINDOW_BDP_MAX.saturating_mul(bdp_bytes).max(grant.window);
                let grown = (grant.window * 2).max(self.first_window(bdp_bytes));
                grant.window = grown.min(most);
            } else if round_ns > fast_ns.saturating_mul(SLOW_FACTOR) {
                grant.window = (grant.window / 2).max(self.floor);
            }
            grant.round_started = now;
            grant.round_end = grant.granted.max(offset + 1);
        }
        self.extend(grant)
    }

    /// Grants more where the window and the memory allow it: what to announce, or `None` while
    /// announcing is not worth a message.
    pub fn extend(&mut self, grant: &mut Grant) -> Option<u64> {
        let outstanding = grant.granted - grant.consumed;
        let left_by_others = self.spare() + grant.charge();
        let window = grant.window.min((left_by_others / SHARE).max(self.floor));
        // Whole chunks, so that a grant never reserves more than it says.
        let target = (grant.consumed + window) / CHUNK * CHUNK;
        let most = grant.first() + left_by_others;
        let more = target.min(most).saturating_sub(grant.granted);
        // Often enough that the far side never runs dry, seldom enough to cost nothing.
        let worth_it = more >= window / 8 || (outstanding < window / 2 && more > 0);
        if !worth_it {
            return None;
        }
        self.change(grant, |grant| grant.granted += more);
        Some(grant.granted)
    }

    /// The far side gives back what it was granted from `offset` on, for the `epoch`th time. When
    /// the host has taken all that is left by now, nothing but [`CreditPool::extend`] grants more.
    pub fn returned(&mut self, grant: &mut Grant, now: Time, offset: u64, epoch: u16) {
        let idle = self.idle;
        self.change(grant, |grant| {
            grant.granted = grant.granted.min(offset.max(grant.consumed));
            grant.window = (grant.granted - grant.consumed).max(idle);
            grant.round_started = now;
            grant.round_end = grant.granted;
            grant.is_judged = true;
            grant.epoch = epoch;
        });
    }

    /// The flow is over: its memory is free again.
    pub fn close(&mut self, grant: &mut Grant) {
        self.flows -= u64::from(grant.is_open);
        self.change(grant, |grant| {
            grant.consumed = grant.granted;
            grant.is_open = false;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT_NS: u64 = 80_000_000;
    const BDP: u64 = 2_000_000;

    #[test]
    fn a_fast_reader_grows_to_the_repair_window_and_a_slow_one_does_not() {
        let mut pool = CreditPool::new(128 << 20, 100);
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
        let mut pool = CreditPool::new(BUDGET, 100);
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
        let mut pool = CreditPool::new(1 << 20, 100);
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
    fn ten_thousand_idle_flows_never_overcommit_and_one_alone_fills_the_link() {
        const FLOWS: u32 = 10_000;
        const BUDGET: u64 = 96 << 20;
        let mut pool = CreditPool::new(BUDGET, FLOWS);
        let mut grants = Vec::new();
        for count in 0..FLOWS {
            let mut grant = pool.open(Time::ZERO, BDP).expect("a floor for each");
            if count == 0 {
                assert!(grant.granted() + CHUNK > FIRST_BDP * BDP, "{}", grant.granted());
            }
            assert!(pool.reserved() <= BUDGET);
            // Some of them give back what they do not use.
            if count % 2 == 0 {
                pool.returned(&mut grant, Time::ZERO, 3_000, 1);
                assert_eq!((grant.granted(), grant.epoch()), (3_000, 1));
            }
            grants.push(grant);
        }
        let charged: u64 = grants.iter().map(Grant::charge).sum();
        assert_eq!(charged, pool.reserved());
        for grant in &mut grants {
            pool.close(grant);
            pool.close(grant);
        }
        assert_eq!((pool.reserved(), pool.flows), (0, 0));
        let again = pool.open(Time::ZERO, BDP).unwrap();
        assert!(again.granted() + CHUNK > FIRST_BDP * BDP);
    }

    /// As many as are configured open while the memory has a chunk for each, whatever the first ones
    /// were granted and however the others grow; and every grant is kept.
    #[test]
    fn a_hundred_thousand_open_in_a_gibibyte() {
        const FLOWS: u32 = 100_000;
        // Of 1 GiB of buffers, as much is for what hosts have not taken.
        const BUDGET: u64 = (3 << 30) / 8;
        let mut pool = CreditPool::new(BUDGET, FLOWS);
        let mut grants = Vec::new();
        for count in 0..FLOWS as usize {
            let grant = pool.open(Time::ZERO, BDP).unwrap_or_else(|| panic!("{count} are open"));
            assert!(grant.granted() >= CHUNK && pool.reserved() <= BUDGET);
            grants.push(grant);
            // One of ten is busy all the time.
            if count % 10 == 0 {
                let grant = &mut grants[count / 2];
                let all = grant.granted();
                pool.consumed(grant, Time::from_ns(RTT_NS), all, BDP, RTT_NS);
                assert!(pool.reserved() <= BUDGET);
            }
        }
        // When nobody gives anything back, each still goes on.
        for round in 2..6u64 {
            for grant in &mut grants {
                let all = grant.granted();
                pool.consumed(grant, Time::from_ns(round * RTT_NS), all, BDP, RTT_NS);
                assert!(grant.granted() > all, "round {round}");
            }
            assert!(pool.reserved() <= BUDGET);
        }
        let charged: u64 = grants.iter().map(Grant::charge).sum();
        assert_eq!(charged, pool.reserved());
        for grant in &mut grants {
            pool.close(grant);
        }
        assert_eq!(pool.reserved(), 0);
    }

    /// Credit may be given back at any offset: the flow is never left without, even if all other
    /// memory is out.
    #[test]
    fn a_flow_without_credit_has_more_at_once_even_when_nothing_is_free() {
        const FLOWS: u32 = 8;
        let mut pool = CreditPool::new(u64::from(FLOWS) * WINDOW_FLOOR_MIN, FLOWS);
        let mut grants: Vec<Grant> = std::iter::from_fn(|| pool.open(Time::ZERO, BDP)).collect();
        assert!(grants.len() >= FLOWS as usize);
        let mut grant = grants.pop().unwrap();
        for step in 1..200u64 {
            let kept = grant.consumed + (step * 617) % (grant.granted() - grant.consumed + 1);
            let now = Time::from_ns(step * RTT_NS);
            let epoch = grant.epoch() + 1;
            pool.returned(&mut grant, now, kept, epoch);
            // Others take what was given back.
            while let Some(other) = pool.open(now, BDP) {
                grants.push(other);
            }
            pool.consumed(&mut grant, now, kept, BDP, RTT_NS);
            assert!(grant.granted() > kept, "step {step}");
        }
    }

    #[test]
    fn a_slow_reader_shrinks_to_the_floor_and_a_fast_one_has_a_full_window_at_once() {
        let mut pool = CreditPool::new(128 << 20, 100);
        let mut grant = pool.open(Time::ZERO, BDP).unwrap();
        let mut now = Time::ZERO;
        for _ in 0..20 {
            now = now + 100 * RTT_NS;
            let all = grant.granted();
            pool.consumed(&mut grant, now, all, BDP, RTT_NS);
        }
        assert_eq!(grant.granted() - grant.consumed, WINDOW_FLOOR);
        now = now + RTT_NS;
        let all = grant.granted();
        pool.consumed(&mut grant, now, all, BDP, RTT_NS);
        assert!(grant.granted() - grant.consumed + CHUNK > FIRST_BDP * BDP);
    }

    #[test]
    fn acknowledgements_beyond_the_grant_change_nothing() {
        let mut pool = CreditPool::new(1 << 20, 100);
        let mut grant = pool.open(Time::ZERO, 0).unwrap();
        pool.consumed(&mut grant, Time::ZERO, u64::MAX, BDP, RTT_NS);
        assert!(grant.consumed <= grant.granted);
        pool.close(&mut grant);
        assert_eq!(pool.reserved(), 0);
    }
}
