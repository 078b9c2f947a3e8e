//! The bridge: frames that nobody takes go to the other side, bit for bit.
//!
//! In: frames from the WAN side, frames that are passed, fragments of TCP. Out: forward, or a
//! reason not to. Never: a frame let through that would corrupt a split flow's stream.

use super::Side;
use super::action::Action;
use super::classify::Interceptor;
use super::counter::of_malformed;
use super::flow_table::Found;
use super::reason::{DropReason, PassReason};
use super::table::{Probe, RuleAction};
use super::verdict::Verdict;
use crate::frame::ip::protocol;
use crate::frame::{
    ETHERNET_LEN, FlowKey, Frame, MacAddr, Malformed, Parsed, checksum, icmp, parse_quoted,
};
use crate::time::Time;

impl Interceptor {
    /// Malformed packets are of no flow: a bridge leaves them to the hosts.
    pub(super) fn malformed<F: Frame>(
        &self,
        side: Side,
        frame: &F,
        malformed: Malformed,
    ) -> Action {
        self.counters.increment(of_malformed(malformed));
        if frame.head().len() < ETHERNET_LEN {
            return Action::Drop(DropReason::Runt);
        }
        if self.is_looped(frame) {
            return Action::Drop(DropReason::Looped);
        }
        self.pass(side, frame, PassReason::MalformedPassed)
    }

    /// A packet from the WAN side, to somebody else: rules do not apply, but it must not reach
    /// the host of a split flow, and a dropped flow is dropped both ways.
    pub(super) fn wan_packet<F: Frame>(
        &mut self,
        frame: &F,
        parsed: &Parsed,
        found: Option<Found>,
        now: Time,
    ) -> Action {
        if let Some(found) = found
            && let Some(decision) = self.flows.decision(found.flow)
        {
            match decision.verdict {
                Verdict::Optimize => return Action::Drop(DropReason::SplitFlowOnWan),
                Verdict::Drop(reason) => return Action::Drop(reason),
                Verdict::Pass(_) | Verdict::Datagram => {
                    self.flows.touch(found, frame.frame_len(), now);
                }
            }
        }
        if icmp::is_error(parsed) && self.quoted_split_flow(frame, parsed).is_some() {
            return Action::Drop(DropReason::SplitFlowOnWan);
        }
        self.tcp_fragment(Side::Wan, frame, parsed, now)
            .unwrap_or_else(|| self.pass(Side::Wan, frame, PassReason::NoRule))
    }

    /// The split flow of the packet that a sound ICMP error quotes.
    pub(super) fn quoted_split_flow<F: Frame>(&self, frame: &F, parsed: &Parsed) -> Option<Found> {
        let quoted = parsed.l4(frame.head()).get(8..)?;
        let found = self.flows.lookup(&parse_quoted(quoted, parsed.key.vlan)?)?;
        let split = self.flows.decision(found.flow)?.verdict == Verdict::Optimize;
        (split && checksum::frame_ok(frame, parsed)).then_some(found)
    }

    /// A fragment of TCP. The first one shows the ports, and so whether the flow is split; later
    /// ones follow it. A later one that overtook its first is not let past a rule that might
    /// have split the flow: the host sends it again. `None`: not such a fragment, or nothing
    /// speaks against it.
    pub(super) fn tcp_fragment<F: Frame>(
        &mut self,
        side: Side,
        frame: &F,
        parsed: &Parsed,
        now: Time,
    ) -> Option<Action> {
        let fragment = parsed.fragment.filter(|_| parsed.key.protocol == protocol::TCP)?;
        let split = if fragment.offset == 0 {
            let split = self.first_fragment_is_split(frame, parsed);
            self.fragments.note(side, &parsed.key, fragment, split, now);
            Some(split)
        } else {
            self.fragments.find(side, &parsed.key, fragment, now)
        };
        match split {
            Some(true) if side == Side::Wan => Some(Action::Drop(DropReason::SplitFlowOnWan)),
            Some(true) => Some(Action::Fragment(*parsed)),
            Some(false) => None,
            None => {
                let probe = Probe { key: &parsed.key, dscp: parsed.dscp(), ports_known: false };
                let might_be_split = side == Side::Lan
                    && self
                        .rules
                        .find(&probe)
                        .is_some_and(|found| found.rule.action == RuleAction::Optimize);
                might_be_split.then_some(Action::Drop(DropReason::EarlyFragment))
            }
        }
    }

    pub(super) fn first_fragment_is_split<F: Frame>(&self, frame: &F, parsed: &Parsed) -> bool {
        key_of_first_fragment(parsed, frame.head())
            .and_then(|key| self.flows.lookup(&key))
            .and_then(|found| self.flows.decision(found.flow))
            .is_some_and(|decision| decision.verdict == Verdict::Optimize)
    }

    /// Bridges a frame, unless it was sent to our own station.
    pub(super) fn pass<F: Frame>(&self, side: Side, frame: &F, reason: PassReason) -> Action {
        if self.is_to_our_station(side, frame) {
            return Action::Drop(DropReason::NotForUs);
        }
        if side == Side::Lan {
            self.counters.increment(reason.counter());
        }
        Action::Forward
    }

    /// Whether a frame that came from a side is to our port there.
    pub(super) fn is_to_our_station<F: Frame>(&self, side: Side, frame: &F) -> bool {
        destination_mac(frame) == self.own.side(side).mac
    }

    /// Whether a frame comes from one of our own ports.
    pub(super) fn is_looped<F: Frame>(&self, frame: &F) -> bool {
        self.own.is_own_station(source_mac(frame))
    }
}

/// The 5-tuple of the packet whose first fragment this is, if that shows its ports.
pub(super) fn key_of_first_fragment(parsed: &Parsed, head: &[u8]) -> Option<FlowKey> {
    let [a, b, c, d] = *parsed.l4(head).first_chunk::<4>()?;
    let mut key = parsed.key;
    key.source_port = u16::from_be_bytes([a, b]);
    key.destination_port = u16::from_be_bytes([c, d]);
    Some(key)
}

fn destination_mac<F: Frame>(frame: &F) -> MacAddr {
    frame.head().first_chunk().map_or(MacAddr::ZERO, |mac| MacAddr(*mac))
}

pub(super) fn source_mac<F: Frame>(frame: &F) -> MacAddr {
    let mac = frame.head().get(6..).and_then(|rest| rest.first_chunk());
    mac.map_or(MacAddr::ZERO, |mac| MacAddr(*mac))
}
