//! The commands: one list for the prompt, for command files, for `tpoctl` and for `help`.
//!
//! Each entry is its words and arguments in order, one sentence of help, and how the arguments
//! make a [`Command`]. Nothing else in the program knows a command's words.

use std::path::PathBuf;

use super::command::{Command, FlowFilter, PortAction, PortView, Ports, Statistics};

/// One place of a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// This word, or an abbreviation of it that is unambiguous here.
    Word(&'static str),
    /// A port number, or `all`.
    Ports,
    /// `on` or `off`.
    Switch,
    /// Any text; may be left out.
    Text(&'static str),
    /// Any number of words.
    Words(&'static str),
    /// Any number of pairs of a key and a value that choose flows.
    Filter,
}

/// What the arguments of a line were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) ports: Option<Ports>,
    pub(crate) switch: bool,
    pub(crate) text: Option<String>,
    pub(crate) words: Vec<String>,
    pub(crate) filter: FlowFilter,
}

impl Arguments {
    fn ports(&self) -> Ports {
        self.ports.unwrap_or(Ports::All)
    }
}

/// One command.
pub(crate) struct Entry {
    /// Its words and arguments, in order; only the last may be left out.
    pub(crate) tokens: &'static [Token],
    /// One sentence.
    pub(crate) help: &'static str,
    /// The command that the arguments make.
    pub(crate) build: fn(Arguments) -> Command,
}

use Token::{Filter, Ports as PortList, Switch, Text, Word, Words};

/// Shorthand for an entry of the list.
const fn entry(
    tokens: &'static [Token],
    help: &'static str,
    build: fn(Arguments) -> Command,
) -> Entry {
    Entry { tokens, help, build }
}

/// All commands.
pub(crate) const COMMANDS: &[Entry] = &[
    entry(&[Word("start")], "Start forwarding.", |_| Command::Start),
    entry(&[Word("stop")], "Stop forwarding in order and show forwarding statistics.", |_| {
        Command::Stop
    }),
    entry(&[Word("quit")], "Stop in order and end the program.", |_| Command::Quit),
    entry(
        &[Word("help"), Words("command")],
        "List all commands, or those that begin with the words given.",
        |given| Command::Help(given.words),
    ),
    entry(
        &[Word("show"), Word("port"), Word("info"), PortList],
        "Show device, link and limits of ports.",
        |given| Command::ShowPort(PortView::Info, given.ports()),
    ),
    entry(
        &[Word("show"), Word("port"), Word("stats"), PortList],
        "Show counters of ports, and rates since they were last shown.",
        |given| Command::ShowPort(PortView::Stats, given.ports()),
    ),
    entry(
        &[Word("show"), Word("port"), Word("xstats"), PortList],
        "Show the counters particular to the ports' devices.",
        |given| Command::ShowPort(PortView::Xstats, given.ports()),
    ),
    entry(
        &[Word("show"), Word("port"), Word("summary"), PortList],
        "Show ports, one line each.",
        |given| Command::ShowPort(PortView::Summary, given.ports()),
    ),
    entry(&[Word("port"), Word("start"), PortList], "Start ports.", |given| {
        Command::Port(PortAction::Start, given.ports())
    }),
    entry(&[Word("port"), Word("stop"), PortList], "Stop ports.", |given| {
        Command::Port(PortAction::Stop, given.ports())
    }),
    entry(
        &[Word("port"), Word("close"), PortList],
        "Close ports that are stopped, for good.",
        |given| Command::Port(PortAction::Close, given.ports()),
    ),
    entry(
        &[Word("set"), Word("promisc"), PortList, Switch],
        "Turn promiscuous mode of ports on or off.",
        |given| Command::SetPromiscuous(given.ports(), given.switch),
    ),
    entry(
        &[Word("show"), Word("fwd"), Word("stats"), Word("all")],
        "Show what was received, sent and dropped, per port and in all.",
        |_| Command::ShowForwarding,
    ),
    entry(
        &[Word("show"), Word("config")],
        "Show the running configuration, with every default written out.",
        |_| Command::ShowConfig,
    ),
    entry(
        &[Word("show"), Word("peer"), Text("name")],
        "Show state, bytes and ratio of all peers, or of one.",
        |given| Command::ShowPeer(given.text),
    ),
    entry(
        &[Word("show"), Word("flow"), Filter],
        "Show flows; each pair narrows the choice, and limit says how many at most.",
        |given| Command::ShowFlow(given.filter),
    ),
    entry(&[Word("show"), Word("rule")], "Show the look-up table and its hits.", |_| {
        Command::ShowRule
    }),
    entry(
        &[Word("show"), Word("drops")],
        "Show what was not forwarded: stage, reason and count.",
        |_| Command::ShowDrops,
    ),
    entry(
        &[Word("show"), Word("counters")],
        "Show every counter, in the text format of Prometheus.",
        |_| Command::ShowCounters,
    ),
    entry(&[Word("show"), Word("cores")], "Show what each core runs and how busy it is.", |_| {
        Command::ShowCores
    }),
    entry(&[Word("show"), Word("pipeline")], "Show stages, links and how full they are.", |_| {
        Command::ShowPipeline
    }),
    entry(
        &[Word("clear"), Word("port"), Word("stats"), PortList],
        "Count the ports' statistics from zero again.",
        |given| Command::Clear(Statistics::Port(given.ports())),
    ),
    entry(
        &[Word("clear"), Word("port"), Word("xstats"), PortList],
        "Count the ports' statistics from zero again.",
        |given| Command::Clear(Statistics::Port(given.ports())),
    ),
    entry(
        &[Word("clear"), Word("fwd"), Word("stats"), Word("all")],
        "Count forwarding statistics from zero again.",
        |_| Command::Clear(Statistics::Forwarding),
    ),
    entry(
        &[Word("clear"), Word("peer"), Word("stats")],
        "Count the peers' statistics from zero again.",
        |_| Command::Clear(Statistics::Peer),
    ),
    entry(&[Word("clear"), Word("drops"), Word("stats")], "Count drops from zero again.", |_| {
        Command::Clear(Statistics::Drops)
    }),
    entry(
        &[Word("clear"), Word("all"), Word("stats")],
        "Count everything from zero again.",
        |_| Command::Clear(Statistics::All),
    ),
    entry(
        &[Word("reload"), Text("file")],
        "Read the configuration again, whole or not at all; established flows keep their rule.",
        |given| Command::Reload(given.text.map(PathBuf::from)),
    ),
];

/// The keys of a flow filter and what their values are.
pub(crate) const FILTER_KEYS: &[(&str, &str)] = &[
    ("source", "PREFIX"),
    ("destination", "PREFIX"),
    ("port", "N"),
    ("protocol", "NAME"),
    ("peer", "NAME"),
    ("verdict", "optimize|tunnel|pass|drop"),
    ("limit", "N"),
];

impl Token {
    /// Whether the line may end before this.
    pub(crate) const fn is_optional(self) -> bool {
        matches!(self, Text(_) | Words(_) | Filter)
    }

    /// How help and errors name it.
    pub(crate) fn shown(self) -> String {
        match self {
            Word(word) => word.to_owned(),
            PortList => "PORT|all".to_owned(),
            Switch => "on|off".to_owned(),
            Text(name) => format!("[{}]", name.to_uppercase()),
            Words(name) => format!("[{}...]", name.to_uppercase()),
            Filter => {
                let pairs = FILTER_KEYS.iter().map(|(key, value)| format!("[{key} {value}]"));
                pairs.collect::<Vec<_>>().join(" ")
            }
        }
    }
}

impl Entry {
    /// The whole command as help shows it.
    pub(crate) fn syntax(&self) -> String {
        self.tokens.iter().map(|token| token.shown()).collect::<Vec<_>>().join(" ")
    }
}
