//! Flows as `show flow` has them: read from the flow table while it is in use.

use std::collections::HashMap;

use dataplane::edge::tcp::State;
use dataplane::interceptor::{Decision, FlowReader, FlowView as Entry, RuleId, Verdict};
use dataplane::packet_driver::PeerIndex;
use dataplane::time::{SECOND_NS, Time};

use super::places::Places;
use crate::cli::{FlowFilter, FlowView, Flows};
use crate::config::{Action, Config, Protocol};

/// The peers that there are, and their places.
type Peers<'a> = (&'a Config, &'a Places);

/// The flows that `filter` chooses.
pub(super) fn flows(
    tables: &[FlowReader],
    peers: Peers<'_>,
    filter: &FlowFilter,
    now: Time,
) -> Flows {
    let mut flows = Flows::default();
    for entry in tables.iter().flat_map(FlowReader::iter) {
        flows.total += 1;
        if !matches(&entry, peers, filter) {
            continue;
        }
        flows.matched += 1;
        if flows.flows.len() < filter.limit {
            flows.flows.push(view(&entry, peers, now));
        }
    }
    flows
}

/// Live flows of the peer in each place.
pub(super) fn per_place(tables: &[FlowReader]) -> HashMap<PeerIndex, u64> {
    let mut counts = HashMap::new();
    for entry in tables.iter().flat_map(FlowReader::iter) {
        if let Some(place) = peer(&entry.decision) {
            *counts.entry(place).or_default() += 1;
        }
    }
    counts
}

/// The place of the peer that carries a flow.
fn peer(decision: &Decision) -> Option<PeerIndex> {
    match decision.verdict {
        Verdict::Optimize | Verdict::Datagram => Some(decision.peer),
        Verdict::Pass(_) | Verdict::Drop(_) => None,
    }
}

fn peer_name<'a>(decision: &Decision, (config, places): Peers<'a>) -> Option<&'a str> {
    Some(&config.peers.get(places.peer_at(peer(decision)?)?)?.name)
}

fn action(verdict: Verdict) -> Action {
    match verdict {
        Verdict::Pass(_) => Action::Pass,
        Verdict::Optimize => Action::Optimize,
        Verdict::Datagram => Action::Tunnel,
        Verdict::Drop(_) => Action::Drop,
    }
}

/// The state of a flow: of a split one, that of the connection to the host on our side, as the
/// edge notes it in the flow table. The first SYN's arrival is `opening` as well.
fn state(entry: &Entry) -> &'static str {
    match entry.decision.verdict {
        Verdict::Optimize => State::of_code(entry.edge_state).unwrap_or(State::Held).name(),
        Verdict::Datagram => "packet-mode",
        Verdict::Pass(reason) => reason.name(),
        Verdict::Drop(reason) => reason.name(),
    }
}

fn matches(entry: &Entry, peers: Peers<'_>, filter: &FlowFilter) -> bool {
    let key = &entry.key;
    filter.source.is_none_or(|prefix| prefix.contains(key.source()))
        && filter.destination.is_none_or(|prefix| prefix.contains(key.destination()))
        && filter.port.is_none_or(|port| [key.source_port, key.destination_port].contains(&port))
        && filter.protocol.is_none_or(|protocol| {
            protocol == Protocol::Any || protocol == Protocol::Number(key.protocol)
        })
        && filter.peer.as_deref().is_none_or(|name| peer_name(&entry.decision, peers) == Some(name))
        && filter.verdict.is_none_or(|verdict| action(entry.decision.verdict) == verdict)
}

fn view(entry: &Entry, peers: Peers<'_>, now: Time) -> FlowView {
    let (key, decision) = (&entry.key, &entry.decision);
    FlowView {
        protocol: Protocol::Number(key.protocol).to_string(),
        source: key.source(),
        source_port: key.source_port,
        destination: key.destination(),
        destination_port: key.destination_port,
        vlan: key.vlan,
        verdict: action(decision.verdict).to_string(),
        peer: peer_name(decision, peers).map(str::to_owned),
        rule: (decision.rule != RuleId::NONE).then_some(usize::from(decision.rule.0)),
        state: state(entry).to_owned(),
        packets: entry.frames.iter().sum(),
        bytes: entry.bytes.iter().sum(),
        idle_seconds: now.since_ns(entry.last_seen) / SECOND_NS,
    }
}
