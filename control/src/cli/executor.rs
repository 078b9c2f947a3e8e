//! Carries commands out.
//!
//! In: lines or commands. Out: replies or errors; whether the program is to end. Never: a command
//! that is half carried out for want of a port: ports are looked up before anything is done.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::backend::{Backend, CommandError, Reloaded};
use super::command::{Command, PortAction, PortView, Ports, Statistics};
use super::grammar::COMMANDS;
use super::parse::{ParseError, parse};
use super::reply::{ConfigView, HelpEntry, Reply};
use super::view::{PeerView, PortCounters, PortStats, PortXstats};

/// Why a line was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is no command.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// It is a command, and was refused.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// Carries commands out on a running appliance.
#[derive(Debug)]
pub struct Executor<B> {
    backend: B,
    /// Counters of each port when they were last shown.
    shown: HashMap<u16, (Instant, PortCounters)>,
    quit: bool,
}

impl<B: Backend> Executor<B> {
    /// An executor on `backend`.
    pub fn new(backend: B) -> Self {
        Executor { backend, shown: HashMap::new(), quit: false }
    }

    /// The appliance.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The appliance, to be changed.
    pub fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Whether `quit` was carried out.
    pub fn is_quitting(&self) -> bool {
        self.quit
    }

    /// Carries one line out. `None`: it is empty or a comment.
    ///
    /// # Errors
    /// The line is no command, or the command was refused.
    pub fn line(&mut self, line: &str) -> Result<Option<Reply>, LineError> {
        match parse(line)? {
            Some(command) => Ok(Some(self.run(&command)?)),
            None => Ok(None),
        }
    }

    /// Carries one command out.
    ///
    /// # Errors
    /// The command was refused.
    pub fn run(&mut self, command: &Command) -> Result<Reply, CommandError> {
        match command {
            Command::Start => self.start(),
            Command::Stop => self.stop(),
            Command::Quit => {
                self.quit = true;
                Ok(Reply::done(""))
            }
            Command::Help(words) => Ok(help(words)),
            Command::ShowPort(view, ports) => self.show_port(*view, *ports),
            Command::Port(action, ports) => self.port(*action, *ports),
            Command::SetPromiscuous(ports, on) => self.set_promiscuous(*ports, *on),
            Command::ShowForwarding => Ok(Reply::Forwarding { ports: self.backend.forwarding() }),
            Command::ShowConfig => {
                let config = self.backend.config().ok_or(CommandError::NoConfiguration)?;
                Ok(Reply::Config(ConfigView::new(config)))
            }
            Command::ShowPeer(name) => Ok(Reply::Peers { peers: self.show_peer(name.as_deref())? }),
            Command::ShowFlow(filter) => {
                if let Some(name) = &filter.peer {
                    self.show_peer(Some(name))?;
                }
                Ok(Reply::Flows(self.backend.flows(filter)))
            }
            Command::ShowRule => Ok(Reply::Rules { rules: self.backend.rules() }),
            Command::ShowDrops => Ok(Reply::Drops { drops: self.backend.drops() }),
            Command::ShowCounters => Ok(Reply::Counters { counters: self.backend.counters() }),
            Command::ShowCores => Ok(Reply::Cores { cores: self.backend.cores() }),
            Command::ShowPipeline => Ok(Reply::Pipeline(self.backend.pipeline())),
            Command::Clear(statistics) => self.clear(*statistics),
            Command::Reload(file) => {
                let Reloaded { changes, warnings } = self.backend.reload(file.as_deref())?;
                let changes = changes.iter().map(ToString::to_string).collect();
                Ok(Reply::Reloaded { changes, warnings: warnings.lines().collect() })
            }
        }
    }

    fn start(&mut self) -> Result<Reply, CommandError> {
        if self.backend.is_forwarding() {
            return Err(CommandError::AlreadyStarted);
        }
        self.backend.start()?;
        Ok(Reply::done(""))
    }

    fn stop(&mut self) -> Result<Reply, CommandError> {
        if !self.backend.is_forwarding() {
            return Err(CommandError::NotStarted);
        }
        self.backend.stop()?;
        Ok(Reply::Stopped { ports: self.backend.forwarding() })
    }

    /// The ports a command is about, each of which is there.
    fn ports(&self, ports: Ports) -> Result<Vec<u16>, CommandError> {
        let valid = self.backend.ports();
        match ports {
            Ports::All => Ok(valid),
            Ports::One(port) if valid.contains(&port) => Ok(vec![port]),
            Ports::One(port) => Err(CommandError::NoSuchPort { port, valid }),
        }
    }

    fn show_port(&mut self, view: PortView, ports: Ports) -> Result<Reply, CommandError> {
        let ports = self.ports(ports)?.into_iter();
        Ok(match view {
            PortView::Info => {
                let infos = ports.map(|port| self.backend.port_info(port));
                Reply::PortInfo { ports: infos.collect::<Result<_, _>>()? }
            }
            PortView::Stats => {
                let stats = ports.map(|port| self.port_stats(port));
                Reply::PortStats { ports: stats.collect::<Result<_, _>>()? }
            }
            PortView::Xstats => {
                let xstats = ports.map(|port| {
                    let xstats = self.backend.port_xstats(port)?;
                    Ok(PortXstats { port, xstats })
                });
                Reply::PortXstats { ports: xstats.collect::<Result<_, CommandError>>()? }
            }
            PortView::Summary => {
                let infos = ports.map(|port| self.backend.port_info(port));
                Reply::PortSummary {
                    available: self.backend.ports().len(),
                    ports: infos.collect::<Result<_, _>>()?,
                }
            }
        })
    }

    fn port_stats(&mut self, port: u16) -> Result<PortStats, CommandError> {
        let counters = self.backend.port_counters(port)?;
        let now = Instant::now();
        let earlier = self.shown.insert(port, (now, counters));
        Ok(match earlier {
            Some((time, earlier)) => {
                throughput(port, &earlier, &counters, now.saturating_duration_since(time))
            }
            None => PortStats { port, counters, ..PortStats::default() },
        })
    }

    fn port(&mut self, action: PortAction, ports: Ports) -> Result<Reply, CommandError> {
        for port in self.ports(ports)? {
            self.backend.port_action(port, action)?;
            if action == PortAction::Close {
                self.shown.remove(&port);
            }
        }
        Ok(Reply::done("Done\n"))
    }

    fn set_promiscuous(&mut self, ports: Ports, on: bool) -> Result<Reply, CommandError> {
        for port in self.ports(ports)? {
            self.backend.set_promiscuous(port, on)?;
        }
        Ok(Reply::done(""))
    }

    fn show_peer(&self, name: Option<&str>) -> Result<Vec<PeerView>, CommandError> {
        let mut peers = self.backend.peers();
        let Some(name) = name else { return Ok(peers) };
        if self.backend.config().is_none() {
            return Err(CommandError::NoConfiguration);
        }
        let known = peers.iter().map(|peer| peer.name.clone()).collect();
        peers.retain(|peer| peer.name == name);
        if peers.is_empty() {
            return Err(CommandError::NoSuchPeer { name: name.to_owned(), known });
        }
        Ok(peers)
    }

    fn clear(&mut self, statistics: Statistics) -> Result<Reply, CommandError> {
        let ports = match statistics {
            Statistics::Port(ports) => self.ports(ports)?,
            Statistics::All => self.backend.ports(),
            Statistics::Forwarding | Statistics::Peer | Statistics::Drops => Vec::new(),
        };
        self.backend.clear(statistics)?;
        let mut text = String::new();
        for port in ports {
            self.shown.remove(&port);
            text.push_str(&format!("\n  NIC statistics for port {port} cleared\n"));
        }
        Ok(Reply::done(&text))
    }
}

/// How fast counters grew from `earlier` to `counters` within `elapsed`.
fn throughput(
    port: u16,
    earlier: &PortCounters,
    counters: &PortCounters,
    elapsed: Duration,
) -> PortStats {
    let per_second = |new: u64, old: u64, scale: u64| {
        let grown = u128::from(new.saturating_sub(old)) * u128::from(scale) * 1_000_000_000;
        let rate = grown.checked_div(elapsed.as_nanos()).unwrap_or(0);
        u64::try_from(rate).unwrap_or(u64::MAX)
    };
    PortStats {
        port,
        counters: *counters,
        rx_pps: per_second(counters.rx_packets, earlier.rx_packets, 1),
        rx_bps: per_second(counters.rx_bytes, earlier.rx_bytes, 8),
        tx_pps: per_second(counters.tx_packets, earlier.tx_packets, 1),
        tx_bps: per_second(counters.tx_bytes, earlier.tx_bytes, 8),
    }
}

/// The commands that begin with `words`, or with what they abbreviate.
/// The commands that begin with these words: the same in every tpo of this version.
pub(crate) fn help(words: &[String]) -> Reply {
    let mut entries = Vec::new();
    for entry in COMMANDS {
        let syntax = entry.syntax();
        let fits = {
            let mut own = syntax.split(' ');
            words.iter().all(|word| own.next().is_some_and(|own| own.starts_with(word.as_str())))
        };
        if fits {
            entries.push(HelpEntry { syntax, help: entry.help });
        }
    }
    Reply::Help { commands: entries }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_is_growth_per_second() {
        let earlier = PortCounters { rx_packets: 100, rx_bytes: 1_000, ..PortCounters::default() };
        let later = PortCounters { rx_packets: 300, rx_bytes: 2_000, tx_bytes: 50, ..earlier };
        let stats = throughput(1, &earlier, &later, Duration::from_millis(500));
        assert_eq!((stats.rx_pps, stats.rx_bps), (400, 16_000));
        assert_eq!((stats.tx_pps, stats.tx_bps), (0, 800));
        let cleared = throughput(1, &later, &earlier, Duration::from_millis(500));
        assert_eq!((cleared.rx_pps, cleared.rx_bps), (0, 0));
        let at_once = throughput(1, &earlier, &later, Duration::ZERO);
        assert_eq!(at_once.rx_pps, 0);
    }
}
