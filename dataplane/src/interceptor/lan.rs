//! Packets from the LAN side to somebody else: by their flow's decision, or by admission.
//!
//! In: a packet, and its flow if it was found. Out: an action, and an entry for a new flow.
//! Never: a flow taken that the edge could not be told of.

use super::Side;
use super::action::Action;
use super::admission::{self, Circumstances, Fallback};
use super::bridge::source_mac;
use super::classify::Interceptor;
use super::flow_table::{Direction, Found};
use super::own::Learned;
use super::reason::{DropReason, PassReason, RefuseReason};
use super::verdict::{Decision, Verdict};
use crate::frame::{Frame, Parsed, checksum, icmp, is_routable_unicast};
use crate::packet_driver::PeerIndex;
use crate::time::{SECOND_NS, Time};

/// How often a flow's frames are looked at for where its host is, in nanoseconds.
pub(super) const LEARN_INTERVAL_NS: u64 = SECOND_NS;

impl Interceptor {
    /// A packet from a host, to somebody else.
    pub(super) fn lan_packet<F: Frame>(
        &mut self,
        frame: &F,
        parsed: &Parsed,
        found: Option<Found>,
        now: Time,
    ) -> Action {
        let head = frame.head();
        // Entries may have been made, or removed, since the burst was looked up.
        let known = found
            .filter(|found| self.flows.decision(found.flow).is_some())
            .or_else(|| self.flows.lookup(&parsed.key))
            .and_then(|found| Some((found, self.flows.decision_and_last_seen(found.flow)?)));
        let seen_lately =
            known.is_some_and(|(_, (_, last_seen))| now.since_ns(last_seen) < LEARN_INTERVAL_NS);
        if !seen_lately && is_routable_unicast(parsed.key.source()) {
            let sender = Learned { address: parsed.key.source(), mac: source_mac(frame) };
            self.learn(Side::Lan, sender, parsed, now);
        }
        if let Some(action) = self.tcp_fragment(Side::Lan, frame, parsed, now) {
            return action;
        }
        if let Some((found, (decision, _))) = known {
            if !is_new_connection(&decision, parsed, head) {
                self.flows.touch(found, frame.frame_len(), now);
                return self.by_decision(frame, parsed, found, decision);
            }
            self.flows.remove(found.flow);
        }
        if icmp::is_error(parsed)
            && let Some(found) = self.quoted_split_flow(frame, parsed)
        {
            return Action::EdgeIcmp { found, parsed: *parsed };
        }
        self.first_packet(frame, parsed, now)
    }

    /// A packet of a flow from the LAN side that has an entry.
    pub(super) fn by_decision<F: Frame>(
        &self,
        frame: &F,
        parsed: &Parsed,
        found: Found,
        decision: Decision,
    ) -> Action {
        match decision.verdict {
            Verdict::Pass(reason) => self.pass(Side::Lan, frame, reason),
            Verdict::Drop(reason) => Action::Drop(reason),
            Verdict::Datagram => self.datagram(frame, parsed, decision),
            Verdict::Optimize if !checksum::frame_ok(frame, parsed) => {
                Action::Drop(DropReason::BadChecksum)
            }
            Verdict::Optimize => Action::Edge { found, parsed: *parsed },
        }
    }

    /// Packet mode has no connection to keep: each packet goes by the present state of the peer.
    pub(super) fn datagram<F: Frame>(
        &self,
        frame: &F,
        parsed: &Parsed,
        decision: Decision,
    ) -> Action {
        let peer = self.peers.get(usize::from(decision.peer.0)).copied().unwrap_or_default();
        if peer.up {
            return Action::Datagram { decision, parsed: *parsed };
        }
        match peer.fallback {
            Fallback::Pass => self.pass(Side::Lan, frame, PassReason::PeerDown),
            Fallback::Refuse => Action::Drop(DropReason::PeerDownDatagram),
        }
    }

    /// A packet of no known flow: admission.
    pub(super) fn first_packet<F: Frame>(
        &mut self,
        frame: &F,
        parsed: &Parsed,
        now: Time,
    ) -> Action {
        let circumstances = Circumstances {
            rules: &self.rules,
            peers: &self.peers,
            own: &self.own,
            overloaded: self.is_overloaded(),
        };
        let decision = match admission::admit(&circumstances, parsed, frame.head()) {
            Ok(decision) => decision,
            Err(reason) => return Action::Refuse { reason, parsed: *parsed },
        };
        if decision.verdict == Verdict::Optimize && !checksum::frame_ok(frame, parsed) {
            return Action::Drop(DropReason::BadChecksum);
        }
        let entry = if self.has_room_for(&decision, parsed) {
            self.insert_counted(&parsed.key, decision, now)
        } else {
            None
        };
        if let Some(flow) = entry {
            let found = Found { flow, direction: Direction::Forward };
            self.flows.touch(found, frame.frame_len(), now);
        }
        match (decision.verdict, entry) {
            (Verdict::Optimize, Some(flow)) => Action::NewFlow { flow, decision, parsed: *parsed },
            (Verdict::Optimize, None) => self.no_entry(frame, parsed, decision.peer),
            (Verdict::Datagram, _) => Action::Datagram { decision, parsed: *parsed },
            (Verdict::Pass(reason), _) => self.pass(Side::Lan, frame, reason),
            (Verdict::Drop(reason), _) => Action::Drop(reason),
        }
    }

    /// Whether a decision gets an entry. Split flows have the whole table. So have passed SYNs,
    /// because their retransmissions must not be taken. The others could be decided afresh each
    /// time, so strangers' flows cannot crowd out split ones: half of the table.
    pub(super) fn has_room_for(&self, decision: &Decision, parsed: &Parsed) -> bool {
        match decision.verdict {
            Verdict::Optimize => true,
            Verdict::Pass(
                PassReason::PeerDown | PassReason::Overloaded | PassReason::TcpAuthentication,
            ) => parsed.is_syn() && !self.flows.is_overloaded(),
            Verdict::Pass(PassReason::NotUnicast | PassReason::NotIp | PassReason::TcpFragment)
            | Verdict::Drop(DropReason::HeldAfterRestart) => false,
            Verdict::Pass(_) | Verdict::Datagram | Verdict::Drop(_) => !self.is_half_full(),
        }
    }

    /// The table had no room for a split flow after all.
    pub(super) fn no_entry<F: Frame>(&self, frame: &F, parsed: &Parsed, peer: PeerIndex) -> Action {
        let peer = self.peers.get(usize::from(peer.0)).copied().unwrap_or_default();
        match peer.fallback {
            Fallback::Pass => self.pass(Side::Lan, frame, PassReason::Overloaded),
            Fallback::Refuse => {
                Action::Refuse { reason: RefuseReason::RefusedOverloaded, parsed: *parsed }
            }
        }
    }
}

/// Whether a packet begins another connection than the one its entry is about: a SYN that is no
/// retransmission of the one that was passed or dropped.
fn is_new_connection(decision: &Decision, parsed: &Parsed, head: &[u8]) -> bool {
    matches!(decision.verdict, Verdict::Pass(_) | Verdict::Drop(_))
        && parsed.is_syn()
        && decision.slot != admission::syn_sequence(parsed, head)
}
