//! Memory of flows: what is copied out for slow hosts, what is granted, and what is given back.
//!
//! In: bytes from the far side, what hosts have taken, time. Out: chunks of what slow hosts keep,
//! CREDIT and CREDIT-RETURN messages. Never: a walk over all flows at once.

use super::EdgeCounter;
use super::credit::bdp_bytes;
use super::flow::Flow;
use super::stage::EdgeStage;
use crate::frame::Frame;
use crate::packet_driver::{BufferSlice, MessageHeader, MessageKind};
use crate::time::{SECOND_NS, Time};

/// A host that has this many bytes to acknowledge may keep them for long: small parts of large
/// buffers are copied out for it.
const LAG_BYTES: u64 = 64 * 1024;
/// What a small part is: a slice whose buffer is this many times longer, at least.
const PINNED_FACTOR: usize = 4;
/// Flows looked after each time, at least, and in how many times all of them are: ten seconds.
const FLOWS_AT_ONCE: u32 = 128;
const TIMES_FOR_ALL: u32 = 200;
/// A flow that has used little of its credit for so long, and so many round trips, as a start takes,
/// gives back what it does not need.
const UNUSED_NS: u64 = SECOND_NS;
const UNUSED_ROUNDS: u64 = 8;

impl<F: Frame> EdgeStage<F> {
    /// Gives bytes of the far stream to a connection; false when the peer broke the protocol.
    pub(super) fn deliver(&mut self, place: u32, offset: u64, data: BufferSlice) -> bool {
        let len = data.len();
        self.counters.add(EdgeCounter::BytesFromPeers, len as u64);
        let Some(flow) = self.table.get_mut(place) else { return true };
        let lags = flow.connection.unread_bytes() >= LAG_BYTES
            && data.pinned_bytes() / PINNED_FACTOR >= len;
        let keep = lags || self.memory.is_scarce();
        if keep {
            self.counters.add(EdgeCounter::BytesCopiedOut, len as u64);
        }
        let connection = flow.connection.awake(&mut self.connections);
        connection.deliver_to(offset, data, keep.then_some(&self.memory.kept)).is_ok()
    }

    /// The host has taken bytes: the far side may send more.
    pub(super) fn move_credit(&mut self, now: Time, place: u32, offset: u64) {
        let Some(flow) = self.table.get_mut(place) else { return };
        let Some(status) = self.peers.get(usize::from(flow.facts.peer.0)) else { return };
        let rtt_ns = status.rtt_ns();
        let bdp = bdp_bytes(status.rate_from_bps(), rtt_ns);
        let more = self.credit.consumed(&mut flow.grant, now, offset, bdp, rtt_ns);
        self.announce(place, more);
    }

    /// The far side may send up to this offset, if it is a new one.
    fn announce(&mut self, place: u32, granted: Option<u64>) {
        let (Some(granted), Some(flow)) = (granted, self.table.get_mut(place)) else { return };
        flow.connection.grant(granted);
        let epoch = flow.grant.epoch();
        let message = flow.facts.signal(MessageKind::Credit, granted, epoch);
        self.send(message);
    }

    /// Looks after the memory of some flows: on the side of the sender, credit that is not used is
    /// given back; on that of the receiver, while memory is scarce, what slow hosts have not
    /// taken is copied out of its buffers.
    pub(super) fn look_after_memory(&mut self, now: Time) {
        let scarce = self.memory.is_scarce();
        // What is enough for an idle flow here is taken to be that for the other side too.
        let kept = self.credit.idle_bytes();
        let connections = self.config.connections;
        for _ in 0..FLOWS_AT_ONCE.max(connections / TIMES_FOR_ALL).min(connections) {
            self.walk = (self.walk + 1) % connections;
            let is_named = self.table.is_named(self.walk);
            let Some(flow) = self.table.get_mut(self.walk) else { continue };
            if scarce {
                let copied = flow.connection.keep_all(&self.memory.kept);
                self.counters.add(EdgeCounter::BytesCopiedOut, copied);
            }
            if !is_named {
                // The far side knows it no longer, and there may be another peer in its place.
                continue;
            }
            let rtt_ns = self.peers.get(usize::from(flow.facts.peer.0)).map_or(0, |s| s.rtt_ns());
            if let Some(offset) = flow.unneeded_credit(now, rtt_ns, kept) {
                flow.credit = offset;
                flow.credit_epoch = flow.credit_epoch.wrapping_add(1);
                let epoch = flow.credit_epoch;
                let message = flow.facts.signal(MessageKind::CreditReturn, offset, epoch);
                self.counters.increment(EdgeCounter::CreditsReturned);
                self.send(message);
            }
        }
    }

    /// The far side gives back credit; false when it has sent bytes beyond what it keeps.
    pub(super) fn credit_returned(
        &mut self,
        now: Time,
        place: u32,
        header: &MessageHeader,
    ) -> bool {
        let Some(flow) = self.table.get_mut(place) else { return true };
        let ahead = header.status.wrapping_sub(flow.grant.epoch());
        // An older one, overtaken by one that gave back more.
        if ahead == 0 || ahead > u16::MAX / 2 {
            return true;
        }
        if !flow.connection.shrink_grant(header.sequence) {
            return false;
        }
        self.credit.returned(&mut flow.grant, now, header.sequence, header.status);
        // The bytes below it may have overtaken it and be with the host: nothing would ask again.
        let more = self.credit.extend(&mut flow.grant);
        self.announce(place, more);
        true
    }
}

impl<F: Frame> Flow<F> {
    /// Offset down to which the credit for what our host sends is not needed; it is looked at once
    /// in a while, and then compared with what was used since. `kept` bytes it keeps however little
    /// it uses: a request, or what is typed in a second.
    fn unneeded_credit(&mut self, now: Time, rtt_ns: u64, kept: u64) -> Option<u64> {
        let unused_ns = UNUSED_NS.max(rtt_ns.saturating_mul(UNUSED_ROUNDS));
        if self.is_half_open || now < self.credit_seen_at + unused_ns {
            return None;
        }
        let used = self.handed_up - self.credit_seen;
        (self.credit_seen_at, self.credit_seen) = (now, self.handed_up);
        // What the host was offered cannot be taken back.
        let needed = (self.handed_up + (2 * used).max(kept)).max(self.connection.receive_limit());
        let is_much = self.credit.saturating_sub(needed) > needed - self.handed_up;
        is_much.then_some(needed)
    }
}
