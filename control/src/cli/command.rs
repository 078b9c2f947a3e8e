//! What a line of the prompt, of a command file or from `tpoctl` asks for.
//!
//! Plain data: made by `parse`, carried out by the `Executor`.

use std::path::PathBuf;

use crate::config::{Action, Prefix, Protocol};

/// One command, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start forwarding.
    Start,
    /// Stop forwarding, in order, and show what was forwarded.
    Stop,
    /// Stop, and end the program.
    Quit,
    /// List the commands that begin with these words (all, if there are none).
    Help(Vec<String>),
    /// Show something of ports.
    ShowPort(PortView, Ports),
    /// Start, stop or close ports.
    Port(PortAction, Ports),
    /// Turn promiscuous mode on or off.
    SetPromiscuous(Ports, bool),
    /// Show what was forwarded.
    ShowForwarding,
    /// Show the running configuration.
    ShowConfig,
    /// Show peers: all, or the one of this name.
    ShowPeer(Option<String>),
    /// Show flows.
    ShowFlow(FlowFilter),
    /// Show the look-up table with its hits.
    ShowRule,
    /// Show what was not forwarded, by reason.
    ShowDrops,
    /// Show every counter, for a program that collects them.
    ShowCounters,
    /// Show what the cores do.
    ShowCores,
    /// Show stages and links.
    ShowPipeline,
    /// Count from zero again.
    Clear(Statistics),
    /// Read the configuration again: from the file it came from, or from another one.
    Reload(Option<PathBuf>),
}

/// Which ports a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// All of them.
    All,
    /// The one with this number.
    One(u16),
}

/// What to show of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortView {
    /// Device, link and limits.
    Info,
    /// Counters every device has.
    Stats,
    /// Counters of this device.
    Xstats,
    /// One line per port.
    Summary,
}

/// What to do with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortAction {
    /// Begin to receive and transmit.
    Start,
    /// End receiving and transmitting.
    Stop,
    /// Give the device back, for good.
    Close,
}

/// Statistics that can be counted from zero again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Counters of ports.
    Port(Ports),
    /// What was forwarded.
    Forwarding,
    /// Counters of peers.
    Peer,
    /// Counters of what was not forwarded.
    Drops,
    /// All of these.
    All,
}

/// Most flows that one command shows.
pub const FLOWS_SHOWN_MAX: usize = 10_000;
/// Flows that a command shows if it does not say how many.
pub const FLOWS_SHOWN_DEFAULT: usize = 100;

/// Which flows to show: those that everything here matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowFilter {
    /// Network of the source.
    pub source: Option<Prefix>,
    /// Network of the destination.
    pub destination: Option<Prefix>,
    /// Source or destination port.
    pub port: Option<u16>,
    /// IP protocol.
    pub protocol: Option<Protocol>,
    /// Name of the peer.
    pub peer: Option<String>,
    /// What becomes of the flow.
    pub verdict: Option<Action>,
    /// Most flows to show, at most [`FLOWS_SHOWN_MAX`].
    pub limit: usize,
}

impl Default for FlowFilter {
    fn default() -> Self {
        FlowFilter {
            source: None,
            destination: None,
            port: None,
            protocol: None,
            peer: None,
            verdict: None,
            limit: FLOWS_SHOWN_DEFAULT,
        }
    }
}
