//! The look-up table: ordered rules, of which the first that matches decides.
//!
//! In: a flow's first packet. Out: the rule and the peer it leads to. Never: a change while it is
//! in use; a new configuration makes a new table.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::prefix::PrefixSet;
use crate::frame::FlowKey;
use crate::packet_driver::{Class, PeerIndex};

/// Most rules in a table: their numbers have 16 bits, and one is kept for "no rule".
pub const RULES_MAX: usize = u16::MAX as usize;

/// What is done with packets that match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleAction {
    /// TCP is split, the rest goes in packet mode.
    Optimize,
    /// Everything goes in packet mode.
    Tunnel,
    /// Left alone.
    #[default]
    Pass,
    /// Dropped.
    Drop,
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The smallest.
    pub first: u16,
    /// The largest.
    pub last: u16,
}

impl PortRange {
    /// A range of one port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        PortRange { first: port, last: port }
    }

    /// Whether the range holds a port.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// A set of code points, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DscpSet(u64);

impl DscpSet {
    /// Adds a code point below 64; others are left out.
    #[must_use]
    pub const fn with(self, dscp: u8) -> Self {
        if dscp < 64 { DscpSet(self.0 | 1 << dscp) } else { self }
    }

    /// Whether it holds a code point.
    #[must_use]
    pub const fn contains(self, dscp: u8) -> bool {
        dscp < 64 && self.0 >> dscp & 1 == 1
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// One rule. An empty set or list matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// For people.
    pub name: String,
    /// IP protocol number; `None` for any.
    pub protocol: Option<u8>,
    /// Source prefixes.
    pub source: PrefixSet,
    /// Destination prefixes.
    pub destination: PrefixSet,
    /// Source ports; packets of protocols without ports do not match a list.
    pub source_ports: Vec<PortRange>,
    /// Destination ports.
    pub destination_ports: Vec<PortRange>,
    /// Code points.
    pub dscp: DscpSet,
    /// Outermost VLAN ids, 0 for untagged.
    pub vlans: Vec<u16>,
    /// What is done.
    pub action: RuleAction,
    /// To which peer; `None`: the one that has the destination in its networks.
    pub peer: Option<PeerIndex>,
    /// Traffic class.
    pub class: Class,
    /// Whether the data may be compressed.
    pub compress: bool,
}

/// What a packet shows to the rules.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    /// Its 5-tuple.
    pub key: &'a FlowKey,
    /// Its code point.
    pub dscp: u8,
    /// False for fragments. They are matched by address and protocol: a rule that lists ports and
    /// takes what matches takes all fragments, so that none leaks past it; one that passes or
    /// drops takes none, because their ports may be others.
    pub ports_known: bool,
}

impl Rule {
    /// Whether a packet matches.
    #[must_use]
    pub fn matches(&self, probe: &Probe) -> bool {
        let key = probe.key;
        let ipv4 = key.is_ipv4();
        let takes = matches!(self.action, RuleAction::Optimize | RuleAction::Tunnel);
        let in_ports = |ranges: &[PortRange], port: u16| {
            ranges.is_empty()
                || if probe.ports_known {
                    has_ports(key.protocol) && ranges.iter().any(|range| range.contains(port))
                } else {
                    takes
                }
        };
        self.protocol.is_none_or(|protocol| protocol == key.protocol)
            && (self.vlans.is_empty() || self.vlans.contains(&key.vlan))
            && (self.dscp.is_empty() || self.dscp.contains(probe.dscp))
            && in_ports(&self.destination_ports, key.destination_port)
            && in_ports(&self.source_ports, key.source_port)
            && (self.destination.is_empty()
                || self.destination.contains_bits(key.destination_bits(), ipv4))
            && (self.source.is_empty() || self.source.contains_bits(key.source_bits(), ipv4))
    }
}

/// Whether keys of a protocol have real ports (ICMP echo identifiers are none).
fn has_ports(protocol: u8) -> bool {
    use crate::frame::ip::protocol::{TCP, UDP};
    matches!(protocol, TCP | UDP)
}

/// Number of a rule: its place in the table it was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u16);

impl RuleId {
    /// No rule matched.
    pub const NONE: RuleId = RuleId(u16::MAX);
}

/// The rule that matched and where it leads.
#[derive(Clone, Copy, Debug)]
pub struct RuleMatch<'a> {
    /// Its number.
    pub id: RuleId,
    /// The rule.
    pub rule: &'a Rule,
    /// Its own peer, else the one behind which the destination is; `None` when there is none.
    pub peer: Option<PeerIndex>,
}

/// Who is where: the networks behind this TPO and behind each peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Behind this TPO.
    pub local: PrefixSet,
    /// Behind each peer, in order of the peers.
    pub peers: Vec<PrefixSet>,
}

impl Networks {
    /// The peer behind which an address is: that with the longest prefix, of equals the first.
    #[must_use]
    pub fn peer_of(&self, address: IpAddr) -> Option<PeerIndex> {
        let (bits, ipv4) = (FlowKey::address_bits(address), address.is_ipv4());
        let mut best = None;
        for (index, networks) in (0..).zip(&self.peers) {
            if let Some(len) = networks.longest(bits, ipv4)
                && best.is_none_or(|(_, longest)| len > longest)
            {
                best = Some((PeerIndex(index), len));
            }
        }
        best.map(|(peer, _)| peer)
    }

    /// Whether a flow that comes from `peer` may be delivered here: from a network of that peer
    /// to a network behind this TPO. Everything else would be transit or forged.
    #[must_use]
    pub fn accepts(&self, peer: PeerIndex, key: &FlowKey) -> bool {
        let ipv4 = key.is_ipv4();
        self.local.contains_bits(key.destination_bits(), ipv4)
            && self
                .peers
                .get(usize::from(peer.0))
                .is_some_and(|networks| networks.contains_bits(key.source_bits(), ipv4))
    }
}

/// The rules of one configuration. Immutable but for its hit counters, so it is shared as it is.
#[derive(Debug, Default)]
pub struct RuleTable {
    rules: Vec<Rule>,
    networks: Networks,
    hits: Vec<AtomicU64>,
}

impl RuleTable {
    /// A table of these rules, in this order; those beyond [`RULES_MAX`] are left out.
    #[must_use]
    pub fn new(mut rules: Vec<Rule>, networks: Networks) -> Self {
        rules.truncate(RULES_MAX);
        let hits = rules.iter().map(|_| AtomicU64::new(0)).collect();
        RuleTable { rules, networks, hits }
    }

    /// The first rule that matches; counted as a hit.
    #[must_use]
    pub fn find(&self, probe: &Probe) -> Option<RuleMatch<'_>> {
        for ((id, rule), hits) in (0..).zip(&self.rules).zip(&self.hits) {
            if rule.matches(probe) {
                hits.fetch_add(1, Ordering::Relaxed);
                let peer = rule.peer.or_else(|| self.networks.peer_of(probe.key.destination()));
                return Some(RuleMatch { id: RuleId(id), rule, peer });
            }
        }
        None
    }

    /// The rules, in order, with the number of flows (and of frames that got no entry) each took.
    pub fn iter(&self) -> impl Iterator<Item = (RuleId, &Rule, u64)> {
        (0..)
            .zip(&self.rules)
            .zip(&self.hits)
            .map(|((id, rule), hits)| (RuleId(id), rule, hits.load(Ordering::Relaxed)))
    }

    /// Who is where.
    #[must_use]
    pub fn networks(&self) -> &Networks {
        &self.networks
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::ip::protocol::{ICMP, TCP, UDP};

    fn prefixes(texts: &[&str]) -> PrefixSet {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn key(protocol: u8, source: &str, destination: &str, ports: (u16, u16), vlan: u16) -> FlowKey {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        FlowKey::new(source, destination, ports.0, ports.1, protocol, vlan)
    }

    fn probe(key: &FlowKey) -> Probe<'_> {
        Probe { key, dscp: 0, ports_known: true }
    }

    fn flow() -> FlowKey {
        key(TCP, "10.77.1.5", "10.77.2.9", (40_000, 443), 7)
    }

    #[test]
    fn every_field_decides() {
        let base = Rule {
            protocol: Some(TCP),
            source: prefixes(&["10.9.0.0/16", "10.77.1.0/24"]),
            destination: prefixes(&["10.77.2.0/24"]),
            source_ports: vec![PortRange { first: 1024, last: 65_535 }],
            destination_ports: vec![PortRange::one(80), PortRange { first: 440, last: 450 }],
            dscp: DscpSet::default().with(0).with(46),
            vlans: vec![0, 7],
            ..Rule::default()
        };
        assert!(base.matches(&probe(&flow())));
        let but = |change: fn(&mut Rule)| {
            let mut rule = base.clone();
            change(&mut rule);
            rule.matches(&probe(&flow()))
        };
        assert!(!but(|rule| rule.protocol = Some(UDP)));
        assert!(but(|rule| rule.protocol = None));
        assert!(!but(|rule| rule.source = prefixes(&["10.77.2.0/24"])));
        assert!(!but(|rule| rule.destination = prefixes(&["10.77.1.0/24", "::/0"])));
        assert!(!but(|rule| rule.source_ports = vec![PortRange { first: 0, last: 39_999 }]));
        assert!(!but(|rule| rule.destination_ports = vec![PortRange { first: 444, last: 500 }]));
        assert!(!but(|rule| rule.dscp = DscpSet::default().with(46)));
        assert!(!but(|rule| rule.vlans = vec![0]));
        assert!(but(|rule| {
            rule.vlans.clear();
            rule.dscp = DscpSet::default();
        }));
    }

    #[test]
    fn fragments_are_matched_by_address_and_protocol() {
        let rule = |action| Rule {
            destination_ports: vec![PortRange::one(53)],
            protocol: Some(UDP),
            action,
            ..Rule::default()
        };
        let fragment = |protocol| key(protocol, "10.0.0.1", "10.0.0.2", (0, 0), 0);
        let matches = |action, protocol, ports_known| {
            rule(action).matches(&Probe { ports_known, ..probe(&fragment(protocol)) })
        };
        for action in [RuleAction::Optimize, RuleAction::Tunnel] {
            assert!(!matches(action, UDP, true));
            assert!(matches(action, UDP, false));
            assert!(!matches(action, TCP, false));
        }
        for action in [RuleAction::Pass, RuleAction::Drop] {
            assert!(!matches(action, UDP, false));
            let all = Rule { action, ..Rule::default() };
            assert!(all.matches(&Probe { ports_known: false, ..probe(&fragment(UDP)) }));
        }
    }

    #[test]
    fn an_echo_identifier_is_no_port() {
        let rule = Rule { destination_ports: vec![PortRange::one(80)], ..Rule::default() };
        assert!(!rule.matches(&probe(&key(ICMP, "10.0.0.1", "10.0.0.2", (80, 80), 0))));
    }

    #[test]
    fn first_match_wins_and_is_counted() {
        let rules = vec![
            Rule { protocol: Some(UDP), action: RuleAction::Drop, ..Rule::default() },
            Rule { action: RuleAction::Optimize, ..Rule::default() },
            Rule { action: RuleAction::Tunnel, ..Rule::default() },
        ];
        let table = RuleTable::new(rules, Networks::default());
        let flow = flow();
        for _ in 0..3 {
            let found = table.find(&probe(&flow)).unwrap();
            assert_eq!((found.id, found.rule.action), (RuleId(1), RuleAction::Optimize));
            assert_eq!(found.peer, None);
        }
        assert_eq!(table.iter().map(|(_, _, hits)| hits).collect::<Vec<_>>(), [0, 3, 0]);
        assert!(RuleTable::default().find(&probe(&flow)).is_none());
    }

    #[test]
    fn peer_by_rule_else_by_longest_prefix() {
        let networks = Networks {
            local: prefixes(&["10.77.1.0/24"]),
            peers: vec![prefixes(&["10.77.0.0/16"]), prefixes(&["10.77.2.0/24", "fd77::/64"])],
        };
        let of = |text: &str| networks.peer_of(text.parse().unwrap());
        assert_eq!(of("10.77.2.1"), Some(PeerIndex(1)));
        assert_eq!(of("10.77.3.1"), Some(PeerIndex(0)));
        assert_eq!(of("10.78.0.1"), None);
        assert_eq!(of("fd77::1"), Some(PeerIndex(1)));
        let explicit = Rule { peer: Some(PeerIndex(0)), ..Rule::default() };
        let table = RuleTable::new(vec![explicit], networks);
        assert_eq!(table.find(&probe(&flow())).unwrap().peer, Some(PeerIndex(0)));
    }

    #[test]
    fn no_transit_and_no_forged_sources() {
        let networks = Networks {
            local: prefixes(&["10.77.1.0/24"]),
            peers: vec![prefixes(&["10.77.2.0/24"]), prefixes(&["10.77.3.0/24"])],
        };
        let open = |source: &str, destination: &str| {
            networks.accepts(PeerIndex(0), &key(TCP, source, destination, (1, 2), 0))
        };
        assert!(open("10.77.2.1", "10.77.1.1"));
        assert!(!open("10.77.3.1", "10.77.1.1"), "another peer's network");
        assert!(!open("10.77.2.1", "10.77.3.1"), "transit");
        assert!(!networks.accepts(PeerIndex(9), &key(TCP, "10.77.2.1", "10.77.1.1", (1, 2), 0)));
    }

    proptest! {
        #[test]
        fn ports_are_within_their_range(first in any::<u16>(), last in any::<u16>(), port in any::<u16>()) {
            prop_assert_eq!(PortRange { first, last }.contains(port), (first..=last).contains(&port));
        }
    }
}
