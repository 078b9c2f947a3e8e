//! The answer to a command: data, written as text or as JSON.

use serde::{Serialize, Serializer};

use super::view::{
    CoreView, CounterView, DropView, Flows, PeerView, PipelineView, PortForwarding, PortInfo,
    PortStats, PortXstats, RuleView,
};
use crate::config::Config;

/// The answer to a command. Its `Display` is the text for people; in JSON it is an object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// It was done.
    Done {
        /// What to say about it; may be empty.
        message: String,
    },
    /// `help`.
    Help {
        /// In the order of the grammar.
        commands: Vec<HelpEntry>,
    },
    /// `show port info`.
    PortInfo {
        /// In the order of their numbers or of the configuration.
        ports: Vec<PortInfo>,
    },
    /// `show port stats`.
    PortStats {
        /// In the order of their numbers or of the configuration.
        ports: Vec<PortStats>,
    },
    /// `show port xstats`.
    PortXstats {
        /// In the order of their numbers or of the configuration.
        ports: Vec<PortXstats>,
    },
    /// `show port summary`.
    PortSummary {
        /// Ports in all.
        available: usize,
        /// The ports asked for.
        ports: Vec<PortInfo>,
    },
    /// `show fwd stats`.
    Forwarding {
        /// In the order of their numbers or of the configuration.
        ports: Vec<PortForwarding>,
    },
    /// `stop`.
    Stopped {
        /// In the order of their numbers or of the configuration.
        ports: Vec<PortForwarding>,
    },
    /// `show config`.
    Config(ConfigView),
    /// `show peer`.
    Peers {
        /// In the order of their numbers or of the configuration.
        peers: Vec<PeerView>,
    },
    /// `show flow`.
    Flows(Flows),
    /// `show rule`.
    Rules {
        /// In the order of their numbers or of the configuration.
        rules: Vec<RuleView>,
    },
    /// `show drops`.
    Drops {
        /// Every reason, also those that never happened.
        drops: Vec<DropView>,
    },
    /// `show counters`.
    Counters {
        /// Those of all stages and devices, each once.
        counters: Vec<CounterView>,
    },
    /// `show cores`.
    Cores {
        /// In the order of their numbers or of the configuration.
        cores: Vec<CoreView>,
    },
    /// `show pipeline`.
    Pipeline(PipelineView),
    /// `reload`.
    Reloaded {
        /// What changed.
        changes: Vec<String>,
        /// What is odd in it, by file and line.
        warnings: Vec<String>,
    },
}

impl Reply {
    /// Nothing but a message, which may be empty.
    pub(crate) fn done(message: &str) -> Self {
        Reply::Done { message: message.to_owned() }
    }
}

/// One command in the list of commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HelpEntry {
    /// Its words and arguments.
    pub syntax: String,
    /// What it does.
    pub help: &'static str,
}

/// The running configuration as a file, with every default written out. In JSON it has the
/// structure of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigView(String);

impl ConfigView {
    /// The file that reads as `config`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        ConfigView(config.to_string())
    }

    /// The file.
    #[must_use]
    pub fn toml(&self) -> &str {
        &self.0
    }
}

impl Serialize for ConfigView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let table: toml::Table = self.0.parse().map_err(serde::ser::Error::custom)?;
        table.serialize(serializer)
    }
}
