//! What the values of a configuration say together.
//!
//! In: a configuration whose values are each valid, and the machine. Out: errors, each at the
//! value to change. A check speaks only of values that were given and could be read.

use std::collections::HashMap;
use std::net::IpAddr;

use super::error::Report;
use super::read::datagram_overhead;
use super::{Config, Device, Encryption, PeerRate, Port, Prefix, Protocol, Rule, Size};
use crate::machine::Machine;

/// Bytes a frame takes of the pool: mbuf, headroom, 2 KiB of data and the pool's own header.
pub(crate) const FRAME_MEMORY: u64 = 128 + 128 + 2048 + 64;
/// IP packets up to this length fit into those 2 KiB; with a longer MTU frames are longer.
const FRAME_MTU: u16 = 2_000;
/// Fewest buffers each peer needs: some being filled, sent and put together.
const BUFFERS_PER_PEER_MIN: u64 = 16;
/// Least keepalives that must be lost before a peer counts as dead.
const KEEPALIVES_LOST_MIN: u32 = 3;
/// IPv6 needs links of at least this MTU (RFC 8200 section 5).
const IPV6_MTU_MIN: u16 = 1280;
/// Longest path of a UNIX socket, without its final zero.
const SOCKET_PATH_MAX: usize = 107;

pub(crate) fn check(config: &Config, machine: &Machine, report: &mut Report<'_>) {
    socket(config, report);
    port(&config.lan.port, "lan", report);
    port(&config.wan.port, "wan", report);
    devices_differ(config, report);
    own_addresses_differ(config, report);
    distinct(&config.lan.networks, "lan.networks", report);
    peers_differ(config, report);
    for index in 0..config.peers.len() {
        endpoint(config, index, report);
        networks(config, index, report);
        rates(config, index, report);
        timers(config, index, report);
        keys(config, index, report);
    }
    rule_names_differ(config, report);
    for (index, rule) in config.rules.iter().enumerate() {
        self::rule(config, rule, &format!("rule[{index}]"), report);
    }
    tables(config, report);
    memory(config, machine, report);
    cores(config, machine, report);
}

fn socket(config: &Config, report: &mut Report<'_>) {
    let path = "control_socket";
    if report.given(path) && !config.control_socket.is_absolute() {
        report.error_at(path, "must be an absolute path, as in \"/run/tpo/site-a.sock\"");
    }
    if report.given(path) && config.control_socket.as_os_str().len() > SOCKET_PATH_MAX {
        report.error_at(path, format!("longer than {SOCKET_PATH_MAX} bytes; shorten it"));
    }
}

fn port(port: &Port, name: &str, report: &mut Report<'_>) {
    distinct(&port.addresses, &format!("{name}.addresses"), report);
    for (index, gateway) in port.gateways.iter().enumerate() {
        let path = format!("{name}.gateways[{index}]");
        let on_link = port.addresses.iter().any(|own| own.network().contains(*gateway));
        if port.addresses.iter().any(|own| own.address() == *gateway) {
            report.error_at(&path, format!("{gateway} is our own address; write the router's"));
        } else if !on_link && !port.addresses.is_empty() {
            report.error_at(
                &path,
                format!("{gateway} is not on-link with any of {name}.addresses; add an address in its network"),
            );
        }
        let same_family = |other: &IpAddr| other.is_ipv4() == gateway.is_ipv4();
        if port.gateways.iter().take(index).any(same_family) {
            let family = if gateway.is_ipv4() { "IPv4" } else { "IPv6" };
            report.error_at(&path, format!("a second gateway for {family}; leave one"));
        }
    }
    let mtu = format!("{name}.mtu");
    let has_ipv6 = port.addresses.iter().any(|own| own.address().is_ipv6());
    if has_ipv6 && port.mtu < IPV6_MTU_MIN && report.given(&mtu) {
        report.error_at(
            &mtu,
            format!("{} is too little for IPv6; write {IPV6_MTU_MIN} or more, or leave out the IPv6 addresses", port.mtu),
        );
    }
}

fn devices_differ(config: &Config, report: &mut Report<'_>) {
    let (lan, wan) = (&config.lan.port.device, &config.wan.port.device);
    if !report.given("lan.device") || !report.given("wan.device") {
        return;
    }
    if lan.name() == wan.name() {
        report.error_at(
            "wan.device",
            format!("{} is lan.device already; inline mode needs two ports", lan.name()),
        );
        return;
    }
    if let (Device::Virtual { .. }, Device::Virtual { .. }) = (lan, wan) {
        let interface = lan.argument("iface");
        if let Some(interface) = interface.filter(|_| interface == wan.argument("iface")) {
            report.error_at(
                "wan.device",
                format!("interface {interface} is lan.device's already; name another"),
            );
        }
    }
}

fn own_addresses_differ(config: &Config, report: &mut Report<'_>) {
    for (index, own) in config.wan.port.addresses.iter().enumerate() {
        if config.lan.port.addresses.iter().any(|lan| lan.address() == own.address()) {
            report.error_at(
                &format!("wan.addresses[{index}]"),
                format!("{} is in lan.addresses already; each side needs its own", own.address()),
            );
        }
    }
}

/// Reports each entry of a list that an earlier one equals.
fn distinct<T: PartialEq + std::fmt::Display>(list: &[T], path: &str, report: &mut Report<'_>) {
    for (index, entry) in list.iter().enumerate() {
        if list.iter().take(index).any(|earlier| earlier == entry) {
            report.error_at(
                &format!("{path}[{index}]"),
                format!("{entry} is there twice; leave one out"),
            );
        }
    }
}

fn peers_differ(config: &Config, report: &mut Report<'_>) {
    let mut names = HashMap::new();
    let mut endpoints = HashMap::new();
    for (index, peer) in config.peers.iter().enumerate() {
        let path = format!("peer[{index}].name");
        if report.given(&path)
            && let Some(line) = names.insert(&peer.name, report.line(&path))
        {
            report.error_at(
                &path,
                format!("\"{}\" is the peer of line {line} already; rename one", peer.name),
            );
        }
        let path = format!("peer[{index}].endpoint");
        if report.given(&path)
            && let Some(line) = endpoints.insert(peer.endpoint, report.line(&path))
        {
            report.error_at(
                &path,
                format!("{} is the endpoint of line {line} already; correct one", peer.endpoint),
            );
        }
    }
}

fn endpoint(config: &Config, index: usize, report: &mut Report<'_>) {
    let path = format!("peer[{index}].endpoint");
    let Some(peer) = config.peers.get(index).filter(|_| report.given(&path)) else { return };
    let address = peer.endpoint.ip();
    let wan = &config.wan.port;
    let own = wan.addresses.iter().chain(&config.lan.port.addresses);
    if own.clone().any(|own| own.address() == address) {
        report.error_at(&path, format!("{address} is our own address; write the peer's"));
        return;
    }
    if let Some(network) = config.lan.networks.iter().find(|network| network.contains(address)) {
        report.error_at(
            &path,
            format!("{address} is in {network} of lan.networks, on this side of the link; correct one of the two"),
        );
    }
    if !report.given("wan.addresses") || wan.addresses.is_empty() {
        return;
    }
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let of_family = |other: IpAddr| other.is_ipv4() == address.is_ipv4();
    if !wan.addresses.iter().any(|own| of_family(own.address())) {
        report.error_at(
            &path,
            format!("{address} is {family} and wan.addresses has no {family} address; add one"),
        );
    } else if !wan.addresses.iter().any(|own| own.network().contains(address))
        && !wan.gateways.iter().any(|gateway| of_family(*gateway))
    {
        report.error_at(
            &path,
            format!("{address} is not on-link and wan.gateways has none for {family}; add one"),
        );
    }
}

fn networks(config: &Config, index: usize, report: &mut Report<'_>) {
    let Some(peer) = config.peers.get(index) else { return };
    distinct(&peer.networks, &format!("peer[{index}].networks"), report);
    for (place, network) in peer.networks.iter().enumerate() {
        let path = format!("peer[{index}].networks[{place}]");
        if let Some(own) = config.lan.networks.iter().find(|own| own.overlaps(network)) {
            report.error_at(
                &path,
                format!("{network} overlaps {own} of lan.networks; a network is on one side only"),
            );
        }
        let own = config.lan.port.addresses.iter().chain(&config.wan.port.addresses);
        for own in own.filter(|own| network.contains(own.address())) {
            report.error_at(
                &path,
                format!("our own address {} is in {network}; narrow the network", own.address()),
            );
        }
        for (other_index, other) in config.peers.iter().enumerate().take(index) {
            let overlap = other.networks.iter().position(|theirs| theirs.overlaps(network));
            let Some((overlap, theirs)) =
                overlap.and_then(|at| Some((at, other.networks.get(at)?)))
            else {
                continue;
            };
            let line = report.line(&format!("peer[{other_index}].networks[{overlap}]"));
            report.error_at(
                &path,
                format!("{network} overlaps {theirs} of peer \"{}\" (line {line}); a network is behind one peer only", other.name),
            );
        }
    }
}

fn rates(config: &Config, index: usize, report: &mut Report<'_>) {
    let Some(peer) = config.peers.get(index) else { return };
    if let PeerRate::Fixed(rate) = peer.rate {
        for key in ["rate_max", "rate_hint"] {
            let path = format!("peer[{index}].{key}");
            if report.given(&path) {
                let advice = "leave it out, or write rate = \"auto\"";
                report.error_at(&path, format!("means nothing with rate = \"{rate}\"; {advice}"));
            }
        }
        return;
    }
    let given = ["rate_hint", "rate_max"].map(|key| format!("peer[{index}].{key}"));
    if let Some(rate_hint) = peer.rate_hint.filter(|rate_hint| *rate_hint > peer.rate_max)
        && let Some(path) = given.iter().find(|path| report.given(path))
    {
        report.error_at(
            path,
            format!(
                "rate_hint ({rate_hint}) cannot be more than rate_max ({}); change one",
                peer.rate_max
            ),
        );
    }
}

fn timers(config: &Config, index: usize, report: &mut Report<'_>) {
    let Some(peer) = config.peers.get(index) else { return };
    let given = ["dead_after", "keepalive"].map(|key| format!("peer[{index}].{key}"));
    let least = peer.keepalive.saturating_mul(KEEPALIVES_LOST_MIN);
    if let Some(path) = given.iter().find(|path| report.given(path))
        && peer.dead_after < least
    {
        report.error_at(
                path,
                format!(
                    "dead_after ({}) must be at least {KEEPALIVES_LOST_MIN} times keepalive ({}); change one",
                    super::format_duration(peer.dead_after),
                    super::format_duration(peer.keepalive)
                ),
            );
    }
}

fn keys(config: &Config, index: usize, report: &mut Report<'_>) {
    let Some(peer) = config.peers.get(index) else { return };
    for key in ["public_key", "psk_file"] {
        let path = format!("peer[{index}].{key}");
        if peer.encryption == Encryption::None && report.given(&path) {
            report.error_at(&path, "means nothing with encryption = \"none\"; leave one out");
        }
    }
    let path = format!("peer[{index}].psk_file");
    if peer.psk_file.is_some() && peer.psk_file == config.key_file && report.given(&path) {
        report.error_at(
            &path,
            "that is key_file, which must not leave this machine; make a secret for the pair with \
             `tpo genkey FILE`",
        );
    }
    let path = format!("peer[{index}].public_key");
    let earlier = config.peers.iter().take(index);
    let same = earlier.into_iter().find(|other| other.public_key == peer.public_key);
    if let Some(other) = same.filter(|_| report.given(&path)) {
        report.error_at(
            &path,
            format!("that of peer \"{}\" already; each appliance has its own", other.name),
        );
    }
}

fn rule_names_differ(config: &Config, report: &mut Report<'_>) {
    let mut names = HashMap::new();
    for (index, rule) in config.rules.iter().enumerate() {
        let path = format!("rule[{index}].name");
        let Some(name) = rule.name.as_ref().filter(|_| report.given(&path)) else { continue };
        if let Some(line) = names.insert(name, report.line(&path)) {
            report.error_at(
                &path,
                format!("\"{name}\" is the rule of line {line} already; rename one"),
            );
        }
    }
}

fn rule(config: &Config, rule: &Rule, path: &str, report: &mut Report<'_>) {
    let to_peer = rule.action.needs_peer();
    if report.given(&format!("{path}.action")) {
        for key in ["peer", "class", "compression"] {
            let path = format!("{path}.{key}");
            if !to_peer && report.given(&path) {
                report.error_at(
                    &path,
                    format!("means nothing with action \"{}\"; leave it out", rule.action),
                );
            }
        }
        if to_peer && config.peers.is_empty() && !report.given(&format!("{path}.peer")) {
            report.error_at(
                &format!("{path}.action"),
                format!("\"{}\" needs a peer and the file has none; add a [[peer]]", rule.action),
            );
        }
    }
    let has_ports = matches!(rule.protocol, Protocol::TCP | Protocol::UDP);
    for key in ["source_ports", "destination_ports"] {
        let path = format!("{path}.{key}");
        if !has_ports && report.given(&path) {
            report.error_at(
                &path,
                "needs protocol = \"tcp\" or \"udp\"; add it, or leave the ports out",
            );
        }
    }
    families(rule, path, report);
}

/// A rule that no packet can match is a mistake.
fn families(rule: &Rule, path: &str, report: &mut Report<'_>) {
    let possible = |prefixes: &[Prefix], ipv4: bool| {
        prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.address().is_ipv4() == ipv4)
    };
    let matches = |ipv4: bool| {
        let other_icmp = if ipv4 { Protocol::ICMPV6 } else { Protocol::ICMP };
        rule.protocol != other_icmp
            && possible(&rule.source, ipv4)
            && possible(&rule.destination, ipv4)
    };
    if matches(true) || matches(false) {
        return;
    }
    let keys = ["destination", "source"].map(|key| format!("{path}.{key}"));
    if let Some(key) = keys.iter().find(|key| report.given(key)) {
        report.error_at(
            key,
            "no packet can match: source, destination and protocol are of different IP versions",
        );
    }
}

fn tables(config: &Config, report: &mut Report<'_>) {
    let limits = &config.limits;
    let mut at_most = |small: (&str, u32), large: (&str, u32)| {
        let paths = [small.0, large.0].map(|key| format!("limits.{key}"));
        if small.1 > large.1
            && let Some(path) = paths.iter().find(|path| report.given(path))
        {
            report.error_at(
                path,
                format!(
                    "{} ({}) cannot be more than {} ({}); change one",
                    small.0, small.1, large.0, large.1
                ),
            );
        }
    };
    at_most(("half_open", limits.half_open), ("connections", limits.connections));
    at_most(("connections", limits.connections), ("flows", limits.flows));
    if config.peers.len() > usize::from(limits.peers) {
        report.error_at(
            "limits.peers",
            format!(
                "there are {} peers and places for {}; write {0} or more, or leave peers out",
                config.peers.len(),
                limits.peers
            ),
        );
    }
    let overhead = datagram_overhead(&config.peers);
    let fits = config.wan.port.mtu.saturating_sub(overhead);
    if limits.segment_size_max > fits && report.given("limits.segment_size_max") {
        report.error_at(
            "limits.segment_size_max",
            format!(
                "{} does not fit wan.mtu ({}) with {overhead} bytes of headers; write {fits} or less",
                limits.segment_size_max, config.wan.port.mtu
            ),
        );
    }
}

fn memory(config: &Config, machine: &Machine, report: &mut Report<'_>) {
    let limits = &config.limits;
    let keys = ["limits.buffer_memory", "limits.buffer_size_max", "limits.frames"];
    let Some(path) = keys.into_iter().find(|path| report.given(path)) else { return };
    let peers = u64::try_from(config.peers.len().max(1)).unwrap_or(u64::MAX);
    let least = limits.buffer_size_max.0.saturating_mul(BUFFERS_PER_PEER_MIN).saturating_mul(peers);
    if limits.buffer_memory.0 < least {
        report.error_at(
            path,
            format!(
                "buffer_memory ({}) must hold {BUFFERS_PER_PEER_MIN} buffers of buffer_size_max for each peer; write at least {}",
                limits.buffer_memory,
                Size(least)
            ),
        );
    }
    let needed = config.memory_needed();
    if needed > machine.memory {
        report.error_at(
            path,
            format!(
                "frames and buffer_memory need {needed} together and the machine has {}; lower one",
                machine.memory
            ),
        );
    }
}

fn cores(config: &Config, machine: &Machine, report: &mut Report<'_>) {
    let stages = config.cores.stages().into_iter();
    for (stage, core) in stages.flat_map(|(stage, cores)| cores.iter().map(move |c| (stage, c))) {
        let path = format!("cores.{stage}");
        if report.given(&path) && !machine.cores.contains(core) {
            let available: Vec<String> = machine.cores.iter().map(usize::to_string).collect();
            report.error_at(
                &path,
                format!("core {core} is not there for us; available: {}", available.join(", ")),
            );
        }
    }
}

impl Config {
    /// Memory of the frame pool, in bytes.
    #[must_use]
    pub fn frame_memory(&self) -> Size {
        let mtu = self.lan.port.mtu.max(self.wan.port.mtu);
        let longer = u64::from(mtu.saturating_sub(FRAME_MTU));
        Size(u64::from(self.limits.frames).saturating_mul(FRAME_MEMORY + longer))
    }

    /// Memory that the limits reserve for frames and buffers, in bytes.
    #[must_use]
    pub fn memory_needed(&self) -> Size {
        Size(self.frame_memory().0.saturating_add(self.limits.buffer_memory.0))
    }
}
