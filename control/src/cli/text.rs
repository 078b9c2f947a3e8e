//! Replies as text for people. Ports and forwarding statistics are testpmd's; see `testpmd`.

use std::fmt::{self, Display, Formatter};

use super::reply::{HelpEntry, Reply};
use super::table::{Align, Table};
use super::testpmd;
use super::view::{CoreView, Direction, DropView, Flows, Parity, PeerView, PipelineView, RuleView};
use crate::config::Rate;
use crate::stats::{prometheus, seconds};

use Align::{Left, Right};

impl Display for Reply {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Done { message } => f.write_str(message),
            Reply::Help { commands } => help(f, commands),
            Reply::PortInfo { ports } => ports.iter().try_for_each(|port| testpmd::info(f, port)),
            Reply::PortStats { ports } => ports.iter().try_for_each(|port| testpmd::stats(f, port)),
            Reply::PortXstats { ports } => {
                ports.iter().try_for_each(|port| testpmd::xstats(f, port))
            }
            Reply::PortSummary { available, ports } => testpmd::summary(f, *available, ports),
            Reply::Forwarding { ports } => testpmd::forwarding(f, ports),
            Reply::Stopped { ports } => {
                testpmd::forwarding(f, ports)?;
                f.write_str("\nDone.\n")
            }
            Reply::Config(config) => f.write_str(config.toml()),
            Reply::Peers { peers } => peers.iter().try_for_each(|entry| peer(f, entry)),
            Reply::Flows(chosen) => flows(f, chosen),
            Reply::Rules { rules } => self::rules(f, rules),
            Reply::Drops { drops } => self::drops(f, drops),
            Reply::Counters { counters } => f.write_str(&prometheus(counters)),
            Reply::Cores { cores } => self::cores(f, cores),
            Reply::Pipeline(view) => pipeline(f, view),
            Reply::Reloaded { changes, warnings } => {
                warnings.iter().try_for_each(|warning| writeln!(f, "{warning}"))?;
                match changes[..] {
                    [] => writeln!(f, "nothing changed"),
                    _ => writeln!(f, "changed: {}", changes.join(", ")),
                }
            }
        }
    }
}

fn help(f: &mut Formatter<'_>, entries: &[HelpEntry]) -> fmt::Result {
    if entries.is_empty() {
        return writeln!(f, "no command begins like that; help lists all of them");
    }
    for entry in entries {
        writeln!(f, "{}\n    {}", entry.syntax, entry.help)?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people, with two decimals")]
fn peer(f: &mut Formatter<'_>, peer: &PeerView) -> fmt::Result {
    writeln!(
        f,
        "peer {}: {} for {}, at {}",
        peer.name,
        peer.state.name(),
        seconds(peer.state_seconds),
        peer.endpoint
    )?;
    if let Some(found) = peer.found {
        writeln!(f, "  found at {found}")?;
    }
    if peer.encryption == "none" {
        writeln!(f, "  NOT ENCRYPTED: whoever is on the way can read and forge what is exchanged")?;
    } else {
        let key = peer.public_key.as_deref().unwrap_or("-");
        writeln!(f, "  encryption {}, public key {key}", peer.encryption)?;
    }
    let rtt = peer.rtt_us.map_or("unknown".into(), |us| format!("{:.1} ms", us as f64 / 1000.0));
    let phase = peer.controller_phase.as_ref().map_or(String::new(), |phase| format!(", {phase}"));
    let rate = Rate(peer.rate_bps);
    let controller = &peer.controller;
    writeln!(f, "  round trip {rtt}, rate {rate} ({controller}{phase}), {} flows", peer.flows)?;
    let lost = 100.0 * peer.datagrams_lost as f64 / peer.datagrams_sent.max(1) as f64;
    writeln!(
        f,
        "  sent {} datagrams, lost {} ({lost:.2} %), at random {:.2} %",
        peer.datagrams_sent,
        peer.datagrams_lost,
        100.0 * peer.random_loss
    )?;
    if let (Some(bytes), Some(state)) = (peer.path_mtu, &peer.path_mtu_state) {
        let (sent, lost, holes) = (peer.path_probes, peer.path_probes_lost, peer.black_holes);
        writeln!(
            f,
            "  path MTU {bytes} bytes ({state}), {sent} probes, {lost} lost, {holes} black holes"
        )?;
    }
    let Parity { sent, received, useless, pieces_restored } = peer.parity;
    writeln!(
        f,
        "  parity {}: sent {sent}, received {received}, {useless} not needed; {pieces_restored} \
         pieces restored",
        peer.fec
    )?;
    direction(f, "to peer:  ", &peer.to_peer)?;
    direction(f, "from peer:", &peer.from_peer)?;
    if peer.configuration_agrees == Some(false) {
        writeln!(f, "  its configuration disagrees with ours: compare networks and encryption")?;
    }
    if let Some(warning) = &peer.warning {
        writeln!(f, "  {warning}")?;
    }
    if let Some(reason) = &peer.last_end {
        writeln!(f, "  its latest session ended: {reason}")?;
    }
    Ok(())
}

fn direction(f: &mut Formatter<'_>, name: &str, direction: &Direction) -> fmt::Result {
    let ratio = direction.ratio().map_or("-".into(), |ratio| format!("{ratio:.2}"));
    writeln!(
        f,
        "  {name} LAN {} bytes, WAN {} bytes, ratio {ratio}",
        direction.lan_bytes, direction.wan_bytes
    )
}

fn flows(f: &mut Formatter<'_>, chosen: &Flows) -> fmt::Result {
    let mut table = Table::new([
        ("protocol", Left),
        ("source", Left),
        ("destination", Left),
        ("vlan", Right),
        ("verdict", Left),
        ("peer", Left),
        ("rule", Right),
        ("state", Left),
        ("packets", Right),
        ("bytes", Right),
        ("idle", Right),
    ]);
    for flow in &chosen.flows {
        table.row([
            flow.protocol.clone(),
            endpoint(flow.source, flow.source_port),
            endpoint(flow.destination, flow.destination_port),
            flow.vlan.to_string(),
            flow.verdict.clone(),
            flow.peer.clone().unwrap_or_else(|| "-".into()),
            flow.rule.map_or("-".into(), |rule| rule.to_string()),
            flow.state.clone(),
            flow.packets.to_string(),
            flow.bytes.to_string(),
            seconds(flow.idle_seconds),
        ]);
    }
    write!(f, "{table}")?;
    writeln!(f, "{} flows, {} chosen, {} shown", chosen.total, chosen.matched, chosen.flows.len())
}

fn endpoint(address: std::net::IpAddr, port: u16) -> String {
    if port == 0 {
        address.to_string()
    } else {
        std::net::SocketAddr::new(address, port).to_string()
    }
}

fn rules(f: &mut Formatter<'_>, rules: &[RuleView]) -> fmt::Result {
    let mut table =
        Table::new([("rule", Right), ("name", Left), ("flows", Right), ("matches and does", Left)]);
    for rule in rules {
        table.row([
            rule.index.to_string(),
            rule.name.clone().unwrap_or_else(|| "-".into()),
            rule.flows.to_string(),
            rule.rule.clone(),
        ]);
    }
    write!(f, "{table}")
}

/// Those that happened.
fn drops(f: &mut Formatter<'_>, drops: &[DropView]) -> fmt::Result {
    let mut table = Table::new([
        ("stage", Left),
        ("reason", Left),
        ("count", Right),
        ("unit", Left),
        ("meaning", Left),
    ]);
    let mut happened = drops.iter().filter(|drop| drop.count > 0).peekable();
    if happened.peek().is_none() {
        return writeln!(f, "nothing was dropped");
    }
    for drop in happened {
        let [stage, name, unit, help] = [drop.stage, drop.name, drop.unit, drop.help];
        table.row([stage.into(), name.into(), drop.count.to_string(), unit.into(), help.into()]);
    }
    write!(f, "{table}")
}

fn cores(f: &mut Formatter<'_>, cores: &[CoreView]) -> fmt::Result {
    let mut table =
        Table::new([("core", Right), ("busy", Right), ("turns/s", Right), ("stages", Left)]);
    for core in cores {
        table.row([
            core.core.to_string(),
            format!("{:.1} %", core.busy_percent),
            core.turns_per_second.to_string(),
            core.stages.join(" "),
        ]);
    }
    write!(f, "{table}")
}

fn pipeline(f: &mut Formatter<'_>, view: &PipelineView) -> fmt::Result {
    let mut stages = Table::new([("stage", Left), ("core", Right)]);
    for stage in &view.stages {
        stages.row([stage.name.clone(), stage.core.to_string()]);
    }
    let mut links = Table::new([
        ("from", Left),
        ("to", Left),
        ("link", Left),
        ("length", Right),
        ("capacity", Right),
    ]);
    for link in &view.links {
        links.row([
            link.from.clone(),
            link.to.clone(),
            link.kind.clone(),
            link.length.to_string(),
            link.capacity.to_string(),
        ]);
    }
    write!(f, "{stages}\n{links}")
}
