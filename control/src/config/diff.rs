//! What a reload changes, and whether that can be done without a restart.
//!
//! In: the running configuration and a new one. Out: the list of changes to apply, or every
//! change that needs a restart. Devices, addresses, cores and memory are laid out at start and
//! stay as they are; rules, peers and soft limits are swapped as one snapshot. A peer whose endpoint
//! or keys are others is another peer: the one leaves, the other comes.

use std::fmt;

use super::{Config, Peer, Rule};

/// A change that a running appliance takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The look-up table differs: new flows follow the new one.
    Rules,
    /// The networks behind this appliance differ.
    LanNetworks,
    /// A peer's rate, compression, fallback, networks or timers differ.
    Peer {
        /// Its name, the same in both.
        name: String,
    },
    /// A peer is new.
    PeerAdded {
        /// Its name.
        name: String,
    },
    /// A peer is there no more: its session is closed, its flows are reset.
    PeerRemoved {
        /// Its name.
        name: String,
    },
    /// A peer's endpoint, keys, encryption or parity differ: it is removed, and added with them.
    PeerReplaced {
        /// Its name, the same in both.
        name: String,
    },
    /// A limit in time differs (flush, backlog, timeouts).
    Limits,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Rules => f.write_str("rules"),
            Change::LanNetworks => f.write_str("lan.networks"),
            Change::Peer { name } => write!(f, "peer {name}"),
            Change::PeerAdded { name } => write!(f, "peer {name} added"),
            Change::PeerRemoved { name } => write!(f, "peer {name} removed"),
            Change::PeerReplaced { name } => write!(f, "peer {name} removed and added anew"),
            Change::Limits => f.write_str("limits"),
        }
    }
}

/// The new configuration cannot be applied to a running appliance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a reload cannot change {}: put the old value back, or stop tpo and start it again",
    .keys.join(", ")
)]
pub struct NeedsRestart {
    /// The keys that differ, by their paths in the file; never empty.
    pub keys: Vec<String>,
}

impl Config {
    /// What a reload from `old` to `new` changes; empty if nothing.
    ///
    /// # Errors
    /// All keys that differ and are fixed while the appliance runs.
    pub fn reload_diff(old: &Config, new: &Config) -> Result<Vec<Change>, NeedsRestart> {
        let keys = fixed_keys(old, new);
        if !keys.is_empty() {
            return Err(NeedsRestart { keys });
        }
        let mut changes = Vec::new();
        if !old.has_rules_of(new) {
            changes.push(Change::Rules);
        }
        if old.lan.networks != new.lan.networks {
            changes.push(Change::LanNetworks);
        }
        changes.extend(peers(old, new));
        if old.limits != new.limits {
            changes.push(Change::Limits);
        }
        Ok(changes)
    }
}

impl Peer {
    /// Whether a running session with this peer can go on with these settings of it.
    #[must_use]
    pub fn can_become(&self, new: &Peer) -> bool {
        self.name == new.name
            && self.endpoint == new.endpoint
            && self.encryption == new.encryption
            && self.public_key == new.public_key
            && self.psk_file == new.psk_file
            && self.fec == new.fec
    }
}

impl Config {
    /// Whether a rule of ours is this one of another configuration, whose peers may be in another
    /// order.
    #[must_use]
    pub fn is_rule_of(&self, ours: &Rule, other: &Config, theirs: &Rule) -> bool {
        let names = |config: &Config, rule: &Rule| -> Option<String> {
            Some(config.peers.get(rule.peer?)?.name.clone())
        };
        let nameless = |rule: &Rule| Rule { peer: None, ..rule.clone() };
        names(self, ours) == names(other, theirs) && nameless(ours) == nameless(theirs)
    }

    fn has_rules_of(&self, other: &Config) -> bool {
        self.rules.len() == other.rules.len()
            && self.rules.iter().zip(&other.rules).all(|(a, b)| self.is_rule_of(a, other, b))
    }
}

/// What becomes of peers.
fn peers(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    let named =
        |config: &Config, name: &str| config.peers.iter().find(|peer| peer.name == name).cloned();
    for peer in &old.peers {
        let name = peer.name.clone();
        match named(new, &name) {
            None => changes.push(Change::PeerRemoved { name }),
            Some(after) if !peer.can_become(&after) => changes.push(Change::PeerReplaced { name }),
            Some(after) if *peer != after => changes.push(Change::Peer { name }),
            Some(_) => {}
        }
    }
    for peer in new.peers.iter().filter(|peer| named(old, &peer.name).is_none()) {
        changes.push(Change::PeerAdded { name: peer.name.clone() });
    }
    changes
}

/// The keys that differ among those that are fixed while the appliance runs.
fn fixed_keys(old: &Config, new: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    let mut fixed = |key: &str, same: bool| {
        if !same {
            keys.push(key.to_owned());
        }
    };
    fixed("name", old.name == new.name);
    fixed("mode", old.mode == new.mode);
    fixed("control_socket", old.control_socket == new.control_socket);
    fixed("key_file", old.key_file == new.key_file);
    for (side, old, new) in
        [("lan", &old.lan.port, &new.lan.port), ("wan", &old.wan.port, &new.wan.port)]
    {
        fixed(&format!("{side}.device"), old.device == new.device);
        fixed(&format!("{side}.addresses"), old.addresses == new.addresses);
        fixed(&format!("{side}.gateways"), old.gateways == new.gateways);
        fixed(&format!("{side}.mtu"), old.mtu == new.mtu);
        fixed(&format!("{side}.offload"), old.offload == new.offload);
    }
    fixed("wan.port", old.wan.udp_port == new.wan.udp_port);
    let (old_limits, new_limits) = (&old.limits, &new.limits);
    fixed("limits.flows", old_limits.flows == new_limits.flows);
    fixed("limits.connections", old_limits.connections == new_limits.connections);
    fixed("limits.half_open", old_limits.half_open == new_limits.half_open);
    fixed("limits.neighbours", old_limits.neighbours == new_limits.neighbours);
    fixed("limits.peers", old_limits.peers == new_limits.peers);
    fixed("limits.frames", old_limits.frames == new_limits.frames);
    fixed("limits.buffer_memory", old_limits.buffer_memory == new_limits.buffer_memory);
    fixed("limits.buffer_size_max", old_limits.buffer_size_max == new_limits.buffer_size_max);
    fixed("limits.segment_size_max", old_limits.segment_size_max == new_limits.segment_size_max);
    let stages = old.cores.stages().into_iter().zip(new.cores.stages());
    for ((stage, old), (_, new)) in stages {
        fixed(&format!("cores.{stage}"), old == new);
    }
    keys
}
