//! What the edge does with the flow table: it takes flows, opens flows of the far side, ends them.

use std::ops::Range;

use super::classify::Interceptor;
use super::counter::InterceptorCounter as Counter;
use super::flow_hash::FlowHasher;
use super::flow_table::{FlowHandle, Found, InsertError};
use super::reason::PassReason;
use super::verdict::{Decision, Verdict};
use crate::frame::FlowKey;
use crate::packet_driver::PeerIndex;
use crate::time::Time;

impl Interceptor {
    pub(super) fn insert_counted(
        &mut self,
        key: &FlowKey,
        decision: Decision,
        now: Time,
    ) -> Option<FlowHandle> {
        let inserted = self.flows.insert(key, decision, now);
        self.counters.increment(match inserted {
            Ok(_) => Counter::FlowsInserted,
            Err(_) => Counter::FlowInsertFailed,
        });
        inserted.ok()
    }

    /// The hash function of flows.
    #[must_use]
    pub fn hasher(&self) -> &FlowHasher {
        self.flows.hasher()
    }

    /// Whether the rest of the flow table is for split flows.
    pub(super) fn is_half_full(&self) -> bool {
        self.flows.len() >= self.flows.capacity() / 2
    }

    /// What was decided about a flow; `None` when it is gone.
    #[must_use]
    pub fn decision(&self, flow: FlowHandle) -> Option<Decision> {
        self.flows.decision(flow)
    }

    /// The flow of a key, whichever direction it has.
    #[must_use]
    pub fn lookup(&self, key: &FlowKey) -> Option<Found> {
        self.flows.lookup(key)
    }

    /// The edge has taken a split flow: its place there. False when the flow is gone.
    pub fn bind(&mut self, flow: FlowHandle, slot: u32) -> bool {
        let decision = self.flows.decision(flow);
        decision
            .is_some_and(|decision| self.flows.set_decision(flow, Decision { slot, ..decision }))
    }

    /// A flow has another peer now. False when it is gone.
    pub fn set_peer_of(&mut self, flow: FlowHandle, peer: PeerIndex) -> bool {
        let decision = self.flows.decision(flow);
        decision
            .is_some_and(|decision| self.flows.set_decision(flow, Decision { peer, ..decision }))
    }

    /// What the edge says of its end of a split flow, for those who read the table: below 32.
    pub fn set_edge_state(&mut self, flow: FlowHandle, state: u8) {
        self.flows.set_edge_state(flow, state);
    }

    /// Makes the entry of a flow that a peer opened; `key` is that of its first packet, from the
    /// far host to the near one. An entry that is not of a split flow gives way. Flows in packet
    /// mode have half of the table, whoever began them.
    ///
    /// # Errors
    /// There is no room, or the flow is split already.
    pub fn insert(
        &mut self,
        key: &FlowKey,
        decision: Decision,
        now: Time,
    ) -> Result<FlowHandle, InsertError> {
        if let Some(found) = self.flows.lookup(key) {
            let old = self.flows.decision(found.flow);
            if old.is_some_and(|old| old.verdict == Verdict::Optimize) {
                return Err(InsertError::Exists);
            }
            self.flows.remove(found.flow);
        }
        if decision.verdict != Verdict::Optimize && self.is_half_full() {
            self.counters.increment(Counter::FlowInsertFailed);
            return Err(InsertError::Full);
        }
        self.insert_counted(key, decision, now).ok_or(InsertError::Full)
    }

    /// A peer has left: flows that it carries in packet mode are forgotten, those in these entries of
    /// the flow table, and decided anew by their next packet; false when there are no entries
    /// beyond.
    pub fn forget_datagrams_of(&mut self, peer: PeerIndex, entries: Range<usize>) -> bool {
        self.flows.forget_datagrams_of(peer, entries)
    }

    /// A split flow is over, or the edge could not take it. False when it is gone already.
    pub fn abandon(&mut self, flow: FlowHandle) -> bool {
        self.flows.remove(flow)
    }

    /// The edge could not take a flow: its first packet, whose sequence number this is, is passed
    /// and so are its retransmissions. False when the flow is gone.
    pub fn decline(&mut self, flow: FlowHandle, syn_sequence: u32) -> bool {
        self.flows.decision(flow).is_some_and(|decision| {
            let verdict = Verdict::Pass(PassReason::Overloaded);
            self.flows.set_decision(flow, Decision { verdict, slot: syn_sequence, ..decision })
        })
    }
}
