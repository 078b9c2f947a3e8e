//! What the commands need of the running appliance.
//!
//! The executor asks, the appliance answers with plain data. Nothing here waits for the dataplane, but
//! for a stop and a reload: counters and tables are read while it runs.

use std::path::Path;

use super::command::{FlowFilter, PortAction, Statistics};
use super::view::{
    CoreView, CounterView, DropView, Flows, PeerView, PipelineView, PortCounters, PortForwarding,
    PortInfo, RuleView, Xstat,
};
use crate::config::{Change, Config, ConfigErrors, ConfigWarnings, NeedsRestart};

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no such port.
    #[error("Invalid port {port}\nThe valid ports array is [ {}]", listed(.valid))]
    NoSuchPort {
        /// The port asked for.
        port: u16,
        /// Those there are.
        valid: Vec<u16>,
    },
    /// `start` when forwarding already.
    #[error("Packet forwarding already started")]
    AlreadyStarted,
    /// `stop` when not forwarding.
    #[error("Packet forwarding not started")]
    NotStarted,
    /// There is no such peer.
    #[error("no peer is called {name}: the configuration has {}", .known.join(", "))]
    NoSuchPeer {
        /// The name asked for.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// The command needs a configuration and tpo runs without one.
    #[error("there is no configuration: start tpo with --config FILE")]
    NoConfiguration,
    /// A new configuration has errors; the running one stays.
    #[error("{0}\nthe running configuration stays")]
    Config(#[from] ConfigErrors),
    /// A new configuration changes what is fixed at start; the running one stays.
    #[error("{0}; the running configuration stays")]
    NeedsRestart(#[from] NeedsRestart),
    /// A device or the system refused; the sentence says what and why.
    #[error("{0}")]
    Refused(String),
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// What changed.
    pub changes: Vec<Change>,
    /// What is odd in the configuration that runs now.
    pub warnings: ConfigWarnings,
}

fn listed(ports: &[u16]) -> String {
    ports.iter().map(|port| format!("{port} ")).collect()
}

/// The running appliance, as the commands see it.
pub trait Backend {
    /// Whether frames are being forwarded.
    fn is_forwarding(&self) -> bool;
    /// Starts forwarding; called only when it is not.
    ///
    /// # Errors
    /// What refused.
    fn start(&mut self) -> Result<(), CommandError>;
    /// Stops forwarding in order; called only when it is.
    ///
    /// # Errors
    /// What refused.
    fn stop(&mut self) -> Result<(), CommandError>;
    /// Numbers of the ports, ascending.
    fn ports(&self) -> Vec<u16>;
    /// Device, link and limits of a port that is there.
    ///
    /// # Errors
    /// What the device refused.
    fn port_info(&self, port: u16) -> Result<PortInfo, CommandError>;
    /// Counters of a port that is there.
    ///
    /// # Errors
    /// What the device refused.
    fn port_counters(&self, port: u16) -> Result<PortCounters, CommandError>;
    /// Counters particular to the device of a port that is there.
    ///
    /// # Errors
    /// What the device refused.
    fn port_xstats(&self, port: u16) -> Result<Vec<Xstat>, CommandError>;
    /// Starts, stops or closes a port that is there.
    ///
    /// # Errors
    /// What the device refused; closing a port in use is refused too.
    fn port_action(&mut self, port: u16, action: PortAction) -> Result<(), CommandError>;
    /// Turns promiscuous mode of a port that is there on or off.
    ///
    /// # Errors
    /// What the device refused.
    fn set_promiscuous(&mut self, port: u16, on: bool) -> Result<(), CommandError>;
    /// What was forwarded, per port.
    fn forwarding(&self) -> Vec<PortForwarding>;
    /// The running configuration, if there is one.
    fn config(&self) -> Option<&Config>;
    /// The peers, in the order of the configuration.
    fn peers(&self) -> Vec<PeerView>;
    /// The flows that `filter` chooses.
    fn flows(&self, filter: &FlowFilter) -> Flows;
    /// The look-up table.
    fn rules(&self) -> Vec<RuleView>;
    /// Every reason for not forwarding, also those that never happened.
    fn drops(&self) -> Vec<DropView>;
    /// Every counter since the start; those that several workers or peers have are summed.
    fn counters(&self) -> Vec<CounterView>;
    /// What the cores do.
    fn cores(&self) -> Vec<CoreView>;
    /// Stages and links.
    fn pipeline(&self) -> PipelineView;
    /// Counts from zero again. Ports that are named are there.
    ///
    /// # Errors
    /// What a device refused.
    fn clear(&mut self, statistics: Statistics) -> Result<(), CommandError>;
    /// Applies a configuration read from `file`, or from the file of the running one.
    ///
    /// # Errors
    /// What is wrong with it; the running one stays.
    fn reload(&mut self, file: Option<&Path>) -> Result<Reloaded, CommandError>;
}
