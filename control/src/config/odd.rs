//! What is odd in a configuration: allowed, and without the effect that it seems to have.
//!
//! In: a configuration without errors. Out: warnings, each at the value to look at. Never: a guess:
//! what is named here has no effect, whatever packets come.

use super::error::Report;
use super::{Compression, Config, Encryption, PortRange, Prefix, Protocol, Rule};

pub(crate) fn warn(config: &Config, report: &mut Report<'_>) {
    let encrypts = config.peers.iter().any(|peer| peer.encryption == Encryption::On);
    if report.given("key_file") && !encrypts {
        report.warning_at("key_file", "not used: there is no peer with encryption = \"on\"");
    }
    for index in 0..config.rules.len() {
        covered(config, index, report);
        refused(config, index, report);
        codec(config, index, report);
    }
}

/// A rule that names a codec: its peer's section does that.
fn codec(config: &Config, index: usize, report: &mut Report<'_>) {
    if config.rules.get(index).is_some_and(|rule| rule.compression == Compression::Lz4) {
        report.warning_at(
            &format!("rule[{index}].compression"),
            "taken as \"auto\": how to compress is for the [[peer]] to say, and what it says holds for this rule too",
        );
    }
}

/// A rule that an earlier one leaves nothing to.
fn covered(config: &Config, index: usize, report: &mut Report<'_>) {
    let Some(rule) = config.rules.get(index) else { return };
    let mut earlier = config.rules.iter().take(index);
    if let Some(first) = earlier.position(|earlier| covers(earlier, rule)) {
        let line = report.line(&format!("rule[{first}]"));
        report.warning_at(
            &format!("rule[{index}]"),
            format!("no flow comes to it: rule[{first}] (line {line}) takes all that it would; move it up, or leave it out"),
        );
    }
}

/// A rule whose flows no peer takes: each takes those between its networks and ours, and no others.
fn refused(config: &Config, index: usize, report: &mut Report<'_>) {
    let Some(rule) = config.rules.get(index).filter(|rule| rule.action.needs_peer()) else {
        return;
    };
    let none_in = |list: &[Prefix], networks: &[Prefix]| {
        let inside = |prefix: &Prefix| networks.iter().any(|network| network.overlaps(prefix));
        !list.is_empty() && !list.iter().any(inside)
    };
    let destination = format!("rule[{index}].destination");
    match rule.peer.map(|peer| config.peers.get(peer)) {
        Some(Some(peer)) if none_in(&rule.destination, &peer.networks) => report.warning_at(
            &destination,
            format!(
                "none of it is in the networks of \"{}\", which refuses flows to anywhere else",
                peer.name
            ),
        ),
        None if config.peers.iter().all(|peer| none_in(&rule.destination, &peer.networks)) => {
            report.warning_at(
                &destination,
                "none of it is in the networks of a peer: all that matches passes untouched",
            );
        }
        _ => {}
    }
    if none_in(&rule.source, &config.lan.networks) {
        report.warning_at(
            &format!("rule[{index}].source"),
            "none of it is in lan.networks, and peers refuse flows from anywhere else",
        );
    }
}

/// Whether every flow that matches `later` matches `earlier`. Fragments are left out of account: a
/// rule with ports that passes or drops leaves them to later ones.
fn covers(earlier: &Rule, later: &Rule) -> bool {
    (earlier.protocol == Protocol::Any || earlier.protocol == later.protocol)
        && within(&later.vlan, &earlier.vlan, |vlan, all| all.contains(vlan))
        && within(&later.dscp, &earlier.dscp, |dscp, all| all.contains(dscp))
        && within(&later.source_ports, &earlier.source_ports, has_ports)
        && within(&later.destination_ports, &earlier.destination_ports, has_ports)
        && within(&later.source, &earlier.source, has_prefix)
        && within(&later.destination, &earlier.destination, has_prefix)
}

/// Whether all of a list is in another; an empty one is everything.
fn within<T>(list: &[T], all: &[T], is_in: impl Fn(&T, &[T]) -> bool) -> bool {
    all.is_empty() || !list.is_empty() && list.iter().all(|entry| is_in(entry, all))
}

fn has_prefix(prefix: &Prefix, all: &[Prefix]) -> bool {
    all.iter().any(|one| one.length() <= prefix.length() && one.contains(prefix.address()))
}

fn has_ports(range: &PortRange, all: &[PortRange]) -> bool {
    all.iter().any(|one| one.first <= range.first && range.last <= one.last)
}
