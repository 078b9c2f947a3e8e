//! From the configuration to what the dataplane is made from.
//!
//! In: a checked configuration, stations of the ports, secrets. Out: plain data of the dataplane.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dataplane::compression::Mode;
use dataplane::data_mover::Congestion;
use dataplane::data_mover::security::PeerKeys;
use dataplane::frame::MacAddr;
use dataplane::interceptor::Fallback;
use dataplane::interceptor::{
    DscpSet, InterfaceAddress, Networks, Own, PortRange, Prefix, PrefixSet, Rule, RuleAction,
    RuleTable, SideConfig,
};
use dataplane::packet_driver::Class;
use dataplane::pipeline::appliance::{ApplianceConfig, Identity, Limits, PeerSettings};
use dataplane::pipeline::{Placement, PlacementError, StageKind};

use super::places::Places;
use crate::config;
use crate::io::Offloads;
use crate::keys::Keys;

/// What an appliance is made from besides its configuration.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// Station of the LAN port.
    pub lan_mac: MacAddr,
    /// Station of the WAN port.
    pub wan_mac: MacAddr,
    /// By side, what the port does with checksums and large segments.
    pub offloads: [Offloads; 2],
    /// Random.
    pub secret: [u64; 4],
    /// Larger for a later start.
    pub incarnation: u64,
    /// Frames per burst.
    pub burst: usize,
    /// Our key and those of the peers; `None` when nothing is encrypted.
    pub keys: Option<Keys>,
}

/// What the dataplane is made from.
///
/// # Errors
/// The placement of stages on cores.
pub fn appliance(
    config: &config::Config,
    circumstances: &Circumstances,
) -> Result<ApplianceConfig, PlacementError> {
    Ok(ApplianceConfig {
        placement: placement(&config.cores)?,
        own: own(config, circumstances),
        rules: Arc::new(rules(config, &Places::first(config))),
        peers: peers(config, circumstances.keys.as_ref()),
        identity: circumstances
            .keys
            .as_ref()
            .map(|keys| Identity { key: keys.own.clone(), aes: crate::machine::has_aes() }),
        limits: limits(&config.limits, circumstances.burst),
        lan_mtu: config.lan.port.mtu,
        device_checksums: circumstances.offloads.map(|offloads| offloads.completes),
        cut_bytes_max: circumstances.offloads[0].cut_bytes_max,
        secret: circumstances.secret,
        incarnation: circumstances.incarnation,
    })
}

/// The placement of stages on cores.
///
/// # Errors
/// What of it cannot run.
pub fn placement(cores: &config::Cores) -> Result<Placement, PlacementError> {
    let one = |kind, core| (kind, std::slice::from_ref(core));
    let stages: [(StageKind, &[usize]); 6] = [
        one(StageKind::Port, &cores.port),
        (StageKind::Edge, cores.edge.cores()),
        one(StageKind::Aggregate, &cores.aggregate),
        (StageKind::Compress, cores.compress.cores()),
        one(StageKind::Transmit, &cores.transmit),
        (StageKind::Decompress, cores.decompress.cores()),
    ];
    let pairs = stages.iter().flat_map(|(kind, cores)| cores.iter().map(|core| (*kind, *core)));
    Placement::new(&pairs.collect::<Vec<_>>())
}

fn own(config: &config::Config, circumstances: &Circumstances) -> Own {
    let side = |port: &config::Port, mac| SideConfig {
        mac,
        addresses: port.addresses.iter().filter_map(interface).collect(),
        gateways: port.gateways.clone(),
    };
    Own {
        lan: side(&config.lan.port, circumstances.lan_mac),
        wan: side(&config.wan.port, circumstances.wan_mac),
        port: config.wan.udp_port,
    }
}

fn interface(address: &config::InterfaceAddress) -> Option<InterfaceAddress> {
    let prefix = prefix(address.address(), address.length())?;
    Some(InterfaceAddress { address: address.address(), prefix })
}

fn prefix(address: IpAddr, length: u8) -> Option<Prefix> {
    Prefix::of(address, length)
}

fn prefixes(list: &[config::Prefix]) -> PrefixSet {
    PrefixSet::new(list.iter().filter_map(|p| prefix(p.address(), p.length())).collect())
}

/// The peers in the dataplane's terms.
#[must_use]
pub fn peers(config: &config::Config, keys: Option<&Keys>) -> Vec<PeerSettings> {
    let keys = |index| keys.and_then(|keys| keys.peers.get(index).cloned().flatten());
    let peers = config.peers.iter().enumerate();
    peers.map(|(index, each)| peer(each, config.digest(each), keys(index))).collect()
}

fn peer(peer: &config::Peer, digest: u64, keys: Option<PeerKeys>) -> PeerSettings {
    PeerSettings {
        digest,
        keys,
        endpoint: peer.endpoint,
        congestion: congestion(peer),
        fec: peer.fec == config::Fec::Auto,
        compression: match peer.compression {
            config::PeerCompression::Auto => Mode::Auto,
            config::PeerCompression::Lz4 => Mode::Lz4,
            config::PeerCompression::None => Mode::None,
        },
        fallback: fallback(peer.fallback),
        dead_after_ns: nanoseconds(peer.dead_after),
        keepalive_ns: nanoseconds(peer.keepalive),
    }
}

fn congestion(peer: &config::Peer) -> Congestion {
    match peer.rate {
        config::PeerRate::Fixed(rate) => Congestion::Fixed { rate_bps: rate.0 },
        config::PeerRate::Auto => Congestion::Auto {
            hint_bps: peer.rate_hint.map(|rate| rate.0),
            rate_bps_max: peer.rate_max.0,
        },
    }
}

fn fallback(fallback: config::Fallback) -> Fallback {
    match fallback {
        config::Fallback::Pass => Fallback::Pass,
        config::Fallback::Refuse => Fallback::Refuse,
    }
}

/// The look-up table and the networks of a configuration, whose peers have these places.
#[must_use]
pub fn rules(config: &config::Config, places: &Places) -> RuleTable {
    let mut peers = Vec::new();
    for (peer, place) in config.peers.iter().zip(places.iter()) {
        let place = usize::from(place.0);
        // Behind a place that nobody has there is nothing.
        peers.resize_with(peers.len().max(place + 1), PrefixSet::default);
        peers[place] = prefixes(&peer.networks);
    }
    let networks = Networks { local: prefixes(&config.lan.networks), peers };
    let rules = config.rules.iter().map(|each| rule(each, places)).collect();
    RuleTable::new(rules, networks)
}

fn rule(rule: &config::Rule, places: &Places) -> Rule {
    let ports = |list: &[config::PortRange]| {
        list.iter().map(|range| PortRange { first: range.first, last: range.last }).collect()
    };
    Rule {
        name: rule.name.clone().unwrap_or_default(),
        protocol: match rule.protocol {
            config::Protocol::Any => None,
            config::Protocol::Number(number) => Some(number),
        },
        source: prefixes(&rule.source),
        destination: prefixes(&rule.destination),
        source_ports: ports(&rule.source_ports),
        destination_ports: ports(&rule.destination_ports),
        dscp: rule.dscp.iter().fold(DscpSet::default(), |set, dscp| set.with(*dscp)),
        vlans: rule.vlan.clone(),
        action: match rule.action {
            config::Action::Optimize => RuleAction::Optimize,
            config::Action::Tunnel => RuleAction::Tunnel,
            config::Action::Pass => RuleAction::Pass,
            config::Action::Drop => RuleAction::Drop,
        },
        peer: rule.peer.and_then(|index| places.of(index)),
        class: Class(rule.class),
        compress: rule.compression != config::Compression::None,
    }
}

/// The limits in the dataplane's terms.
#[must_use]
pub fn limits(limits: &config::Limits, burst: usize) -> Limits {
    let bytes = |size: config::Size| usize::try_from(size.0).unwrap_or(usize::MAX);
    Limits {
        flows: limits.flows as usize,
        connections: limits.connections,
        half_open: limits.half_open,
        neighbours: limits.neighbours as usize,
        peers: usize::from(limits.peers),
        frames: limits.frames as usize,
        buffer_bytes: bytes(limits.buffer_memory),
        buffer_size_max: bytes(limits.buffer_size_max),
        flush_deadline_ns: nanoseconds(limits.flush_deadline),
        segment_size_max: limits.segment_size_max,
        backlog_ns: nanoseconds(limits.backlog),
        packet_deadlines_ns: limits.packet_deadlines.map(nanoseconds),
        fin_timeout_ns: nanoseconds(limits.fin_timeout),
        burst,
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
