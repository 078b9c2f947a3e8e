//! Everyday packets of flows that pass: the shortest way through the interceptor.
//!
//! In: a packet whose flow was found. Out: why it passes, or `None`: then it is looked at in full,
//! with the same outcome ([`super::classify`]), only slower. Never: a decision of its own.

use super::Side;
use super::classify::{Everyday, Interceptor};
use super::counter::InterceptorCounter as Counter;
use super::flow_table::Found;
use super::lan::LEARN_INTERVAL_NS;
use super::reason::PassReason;
use crate::counters::Counters;
use crate::frame::FlowKey;
use crate::frame::ip::tcp_flag;
use crate::time::Time;

impl Interceptor {
    /// Whether a packet that is neither from nor to our own stations goes on because its flow passes. Not for what may begin a connection, is to
    /// one of our addresses, or tells where a host is that was not seen lately.
    #[inline]
    pub(super) fn passes(
        &self,
        side: Side,
        everyday: &Everyday,
        key: FlowKey,
        found: Option<Found>,
        now: Time,
    ) -> Option<PassReason> {
        #[cfg(test)]
        if self.is_thorough {
            return None;
        }
        let found = found?;
        if everyday.tcp_flags & tcp_flag::SYN != 0
            || self.own_bits.contains(&key.destination_bits())
        {
            return None;
        }
        let idle_ns = if side == Side::Lan { LEARN_INTERVAL_NS } else { u64::MAX };
        self.flows.pass(found, everyday.len as usize, now, idle_ns)
    }
}

/// Packets of a burst that have passed, not counted yet.
#[derive(Debug, Default)]
pub(super) struct Passed {
    packets: u64,
    /// Those since the reason last changed.
    of_reason: u64,
    reason: Option<PassReason>,
}

impl Passed {
    /// One more.
    #[inline]
    pub(super) fn note(&mut self, reason: PassReason, counters: &Counters<Counter>, side: Side) {
        if self.reason != Some(reason) {
            self.count_reason(counters, side);
            self.reason = Some(reason);
        }
        self.packets += 1;
        self.of_reason += 1;
    }

    /// Counts all of them.
    pub(super) fn count(mut self, counters: &Counters<Counter>, side: Side) {
        self.count_reason(counters, side);
        let (came_in, forwarded) = match side {
            Side::Lan => (Counter::LanIn, Counter::LanToWan),
            Side::Wan => (Counter::WanIn, Counter::WanToLan),
        };
        counters.add(came_in, self.packets);
        counters.add(forwarded, self.packets);
    }

    /// Reasons are told of what comes from the LAN.
    fn count_reason(&mut self, counters: &Counters<Counter>, side: Side) {
        if let (Some(reason), Side::Lan) = (self.reason, side) {
            counters.add(reason.counter(), self.of_reason);
        }
        self.of_reason = 0;
    }
}
