//! A configuration as a file again: normalised, with every default written out.
//!
//! In: a checked configuration. Out: TOML that reads back as the same configuration.

use std::fmt::{self, Display, Formatter};

use super::{
    Config, Limits, Peer, PeerRate, Port, PortRange, Prefix, Protocol, Rule, format_duration,
};

impl Display for Config {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        pair(f, "name", quoted(&self.name))?;
        pair(f, "mode", quoted(self.mode))?;
        pair(f, "control_socket", quoted(self.control_socket.display()))?;
        if let Some(path) = &self.key_file {
            pair(f, "key_file", quoted(path.display()))?;
        }
        writeln!(f, "\n[lan]")?;
        port(f, &self.lan.port)?;
        list(f, "networks", &self.lan.networks)?;
        writeln!(f, "\n[wan]")?;
        port(f, &self.wan.port)?;
        pair(f, "port", self.wan.udp_port)?;
        for entry in &self.peers {
            peer(f, entry)?;
        }
        for entry in &self.rules {
            rule(f, entry, &self.peers)?;
        }
        writeln!(f, "\n[limits]")?;
        limits(f, &self.limits)?;
        writeln!(f, "\n[cores]")?;
        for (stage, cores) in self.cores.stages() {
            match cores {
                [core] => pair(f, stage, core)?,
                cores => pair(f, stage, format_args!("{cores:?}"))?,
            }
        }
        Ok(())
    }
}

fn port(f: &mut Formatter<'_>, port: &Port) -> fmt::Result {
    pair(f, "device", quoted(&port.device))?;
    list(f, "addresses", &port.addresses)?;
    if !port.gateways.is_empty() {
        list(f, "gateways", &port.gateways)?;
    }
    pair(f, "mtu", port.mtu)?;
    pair(f, "offload", quoted(port.offload))
}

fn peer(f: &mut Formatter<'_>, peer: &Peer) -> fmt::Result {
    writeln!(f, "\n[[peer]]")?;
    pair(f, "name", quoted(&peer.name))?;
    pair(f, "endpoint", quoted(peer.endpoint))?;
    list(f, "networks", &peer.networks)?;
    pair(f, "rate", quoted(peer.rate))?;
    if peer.rate == PeerRate::Auto {
        pair(f, "rate_max", quoted(peer.rate_max))?;
    }
    if let Some(rate_hint) = peer.rate_hint {
        pair(f, "rate_hint", quoted(rate_hint))?;
    }
    pair(f, "encryption", quoted(peer.encryption))?;
    if let Some(key) = &peer.public_key {
        pair(f, "public_key", quoted(crate::keys::encode(&key.0)))?;
    }
    if let Some(path) = &peer.psk_file {
        pair(f, "psk_file", quoted(path.display()))?;
    }
    pair(f, "fec", quoted(peer.fec))?;
    pair(f, "compression", quoted(peer.compression))?;
    pair(f, "fallback", quoted(peer.fallback))?;
    pair(f, "dead_after", quoted(format_duration(peer.dead_after)))?;
    pair(f, "keepalive", quoted(format_duration(peer.keepalive)))
}

fn rule(f: &mut Formatter<'_>, rule: &Rule, peers: &[Peer]) -> fmt::Result {
    writeln!(f, "\n[[rule]]")?;
    if let Some(name) = &rule.name {
        pair(f, "name", quoted(name))?;
    }
    match rule.protocol {
        Protocol::Number(number) if Protocol::named(&rule.protocol.to_string()).is_none() => {
            pair(f, "protocol", number)?;
        }
        named => pair(f, "protocol", quoted(named))?,
    }
    for (key, prefixes) in [("source", &rule.source), ("destination", &rule.destination)] {
        if !prefixes.is_empty() {
            list(f, key, prefixes)?;
        }
    }
    let ports =
        [("source_ports", &rule.source_ports), ("destination_ports", &rule.destination_ports)];
    for (key, ports) in ports {
        if !ports.is_empty() {
            list(f, key, ports)?;
        }
    }
    if !rule.dscp.is_empty() {
        pair(f, "dscp", format_args!("{:?}", rule.dscp))?;
    }
    if !rule.vlan.is_empty() {
        pair(f, "vlan", format_args!("{:?}", rule.vlan))?;
    }
    pair(f, "action", quoted(rule.action))?;
    if let Some(peer) = rule.peer.and_then(|index| peers.get(index)) {
        pair(f, "peer", quoted(&peer.name))?;
    }
    if rule.action.needs_peer() {
        pair(f, "class", rule.class)?;
        pair(f, "compression", quoted(rule.compression))?;
    }
    Ok(())
}

impl Rule {
    /// What the rule matches and does, in one line; `peers` are those of its configuration.
    #[must_use]
    pub fn summary(&self, peers: &[Peer]) -> String {
        let mut words = vec![self.protocol.to_string()];
        words.push(end(&self.source, &self.source_ports));
        words.push(format!("> {}", end(&self.destination, &self.destination_ports)));
        if !self.dscp.is_empty() {
            words.push(format!("dscp {}", joined(&self.dscp)));
        }
        if !self.vlan.is_empty() {
            words.push(format!("vlan {}", joined(&self.vlan)));
        }
        words.push(format!(": {}", self.action));
        if self.action.needs_peer() {
            let peer = self.peer.and_then(|index| peers.get(index));
            words.push(format!("to {}", peer.map_or("the destination's peer", |peer| &peer.name)));
            words.push(format!("class {} compression {}", self.class, self.compression));
        }
        words.join(" ").replace(" :", ":")
    }
}

/// One end of the flows a rule matches.
fn end(networks: &[Prefix], ports: &[PortRange]) -> String {
    let networks = if networks.is_empty() { "any".to_owned() } else { joined(networks) };
    if ports.is_empty() { networks } else { format!("{networks} port {}", joined(ports)) }
}

fn joined<T: Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

fn limits(f: &mut Formatter<'_>, limits: &Limits) -> fmt::Result {
    pair(f, "flows", limits.flows)?;
    pair(f, "connections", limits.connections)?;
    pair(f, "half_open", limits.half_open)?;
    pair(f, "neighbours", limits.neighbours)?;
    pair(f, "peers", limits.peers)?;
    pair(f, "frames", limits.frames)?;
    pair(f, "buffer_memory", quoted(limits.buffer_memory))?;
    pair(f, "buffer_size_max", quoted(limits.buffer_size_max))?;
    pair(f, "flush_deadline", quoted(format_duration(limits.flush_deadline)))?;
    pair(f, "segment_size_max", limits.segment_size_max)?;
    pair(f, "backlog", quoted(format_duration(limits.backlog)))?;
    list(f, "packet_deadlines", &limits.packet_deadlines.map(format_duration))?;
    pair(f, "fin_timeout", quoted(format_duration(limits.fin_timeout)))?;
    pair(f, "stop_timeout", quoted(format_duration(limits.stop_timeout)))
}

fn pair(f: &mut Formatter<'_>, key: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "{key} = {value}")
}

fn list<T: Display>(f: &mut Formatter<'_>, key: &str, values: &[T]) -> fmt::Result {
    let values: Vec<String> = values.iter().map(quoted).collect();
    pair(f, key, format_args!("[{}]", values.join(", ")))
}

fn quoted(value: impl Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}
