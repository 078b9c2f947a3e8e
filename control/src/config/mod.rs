//! The configuration of one appliance: a TOML file, read whole or refused whole.
//!
//! In: the text of the file and what the machine has. Out: a [`Config`] that passed every check,
//! or every error with its line and what to do about it. Never: a half-valid configuration, a
//! device or socket touched.

mod check;
mod device;
mod diff;
mod digest;
mod error;
mod network;
mod odd;
mod read;
mod reader;
mod render;
mod units;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use check::FRAME_MEMORY;
pub use device::Device;
pub use diff::{Change, NeedsRestart};
pub use error::{ConfigError, ConfigErrors, ConfigWarnings};
pub use network::{InterfaceAddress, Prefix, check_host};
pub use units::{Rate, Size, format_duration, parse_duration};

use dataplane::data_mover::security::PublicKey;
use dataplane::link::REPLICAS_MAX;
use dataplane::packet_driver::CLASS_COUNT;

use crate::machine::Machine;

/// A configuration that passed every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Shown at the prompt and in logs; names the default control socket.
    pub name: String,
    /// How the appliance stands in the network.
    pub mode: Mode,
    /// Where `tpoctl` reaches this appliance.
    pub control_socket: PathBuf,
    /// Our private key; `None` when no peer encrypts.
    pub key_file: Option<PathBuf>,
    /// The side of the hosts behind this appliance.
    pub lan: Lan,
    /// The side of the long link.
    pub wan: Wan,
    /// The far appliances, in the order of the file. At most [`PEERS_MAX`].
    pub peers: Vec<Peer>,
    /// The look-up table: the first rule that matches decides. At most [`RULES_MAX`].
    pub rules: Vec<Rule>,
    /// What is reserved at start, and how long things may take.
    pub limits: Limits,
    /// Which core runs which stage.
    pub cores: Cores,
}

/// Most peers one appliance has.
pub const PEERS_MAX: usize = 256;
/// Most rules one appliance has.
pub const RULES_MAX: usize = 4096;
/// Most entries of one list within the file (networks, prefixes, ports, ...).
pub const LIST_ENTRIES_MAX: usize = 1024;

/// The words of the file for the variants of an enum.
macro_rules! named {
    ($name:ident { $($word:literal => $variant:ident),+ }) => {
        impl $name {
            /// Every variant and its word in the file.
            pub const NAMES: &'static [(&'static str, $name)] = &[$(($word, $name::$variant)),+];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self {
                    $($name::$variant => $word),+
                })
            }
        }
    };
}

/// How the appliance stands in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Two ports, a bump in the wire; what no rule takes is bridged untouched.
    Inline,
}

named!(Mode { "inline" => Inline });

/// One port of the appliance and its own place on that side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// What DPDK opens.
    pub device: Device,
    /// The appliance's own addresses.
    pub addresses: Vec<InterfaceAddress>,
    /// Next hops for what is not on-link, at most one per family.
    pub gateways: Vec<IpAddr>,
    /// Longest IP packet, in bytes.
    pub mtu: u16,
    /// Whether the device is left what it can do with checksums and large segments.
    pub offload: Offload,
}

/// What is left to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// What it says that it can do.
    Auto,
    /// Nothing.
    None,
}

named!(Offload { "auto" => Auto, "none" => None });

/// The side of the hosts behind this appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lan {
    /// Device and addresses.
    pub port: Port,
    /// Networks behind this appliance: peers may open flows to these and no others.
    pub networks: Vec<Prefix>,
}

/// The side of the long link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wan {
    /// Device and addresses; the first address of each family is the source of our UDP.
    pub port: Port,
    /// Our UDP port.
    pub udp_port: u16,
}

/// A far appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Unique name.
    pub name: String,
    /// Where its data mover listens.
    pub endpoint: SocketAddr,
    /// Networks behind it: it may open flows from these and no others.
    pub networks: Vec<Prefix>,
    /// How fast we send to it: IP bytes, everything included.
    pub rate: PeerRate,
    /// Never faster than this when the rate is found by measuring.
    pub rate_max: Rate,
    /// What the rate may come to be when it is found by measuring: shortens the start.
    pub rate_hint: Option<Rate>,
    /// How datagrams to and from it are protected.
    pub encryption: Encryption,
    /// Its public key; `None` only without encryption.
    pub public_key: Option<PublicKey>,
    /// A secret that we share with it besides.
    pub psk_file: Option<PathBuf>,
    /// Whether parity protects what a retransmission would bring late.
    pub fec: Fec,
    /// How what the rules allow to be compressed is.
    pub compression: PeerCompression,
    /// What new flows get while it is down or we are overloaded.
    pub fallback: Fallback,
    /// Silence after which it is lost and its flows are reset.
    pub dead_after: Duration,
    /// Time without anything to send after which a keepalive goes out.
    pub keepalive: Duration,
}

/// How the rate to a peer is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRate {
    /// By measuring.
    Auto,
    /// The operator owns the capacity and names it.
    Fixed(Rate),
}

impl fmt::Display for PeerRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerRate::Auto => f.write_str("auto"),
            PeerRate::Fixed(rate) => rate.fmt(f),
        }
    }
}

/// How datagrams between two appliances are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Encrypted and authenticated, by the keys of both.
    On,
    /// Not at all: trusted networks only, and only if both ends say so.
    None,
}

named!(Encryption { "on" => On, "none" => None });

/// Forward error correction: parity to a peer, and use of parity from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fec {
    /// Where it saves time, and as much as the loss asks for.
    Auto,
    /// None.
    Off,
}

named!(Fec { "auto" => Auto, "off" => Off });

/// What new flows get when they cannot be optimized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// They pass untouched.
    Pass,
    /// They are refused.
    Refuse,
}

named!(Fallback { "pass" => Pass, "refuse" => Refuse });

/// One rule of the look-up table. Every list that is empty matches anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Unique name, if it has one.
    pub name: Option<String>,
    /// IP protocol.
    pub protocol: Protocol,
    /// Networks the packet's source address is in.
    pub source: Vec<Prefix>,
    /// Networks the packet's destination address is in.
    pub destination: Vec<Prefix>,
    /// Source ports.
    pub source_ports: Vec<PortRange>,
    /// Destination ports.
    pub destination_ports: Vec<PortRange>,
    /// DSCP values, 0 to 63.
    pub dscp: Vec<u8>,
    /// Outermost VLAN ids, 0 (untagged) to 4094.
    pub vlan: Vec<u16>,
    /// What happens to a flow that matches.
    pub action: Action,
    /// Index into [`Config::peers`]; `None`: the peer that has the destination in its networks.
    pub peer: Option<usize>,
    /// 0 (served first) to 3.
    pub class: u8,
    /// Whether buffers with this flow's data are compressed.
    pub compression: Compression,
}

/// Which IP protocols a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Every one.
    Any,
    /// The one with this number.
    Number(u8),
}

impl Protocol {
    /// Internet Control Message Protocol.
    pub const ICMP: Protocol = Protocol::Number(1);
    /// Transmission Control Protocol.
    pub const TCP: Protocol = Protocol::Number(6);
    /// User Datagram Protocol.
    pub const UDP: Protocol = Protocol::Number(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Protocol = Protocol::Number(58);

    /// The protocols that the configuration and the commands know by name.
    pub const NAMED: [(&'static str, Protocol); 5] = [
        ("any", Protocol::Any),
        ("tcp", Protocol::TCP),
        ("udp", Protocol::UDP),
        ("icmp", Protocol::ICMP),
        ("icmpv6", Protocol::ICMPV6),
    ];

    /// The protocol called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, protocol)| *protocol)
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (Self::NAMED.iter().find(|(_, known)| known == self), self) {
            (Some((name, _)), _) => f.pad(name),
            (None, Protocol::Number(number)) => f.pad(&number.to_string()),
            (None, Protocol::Any) => f.pad("any"),
        }
    }
}

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port, not below `first`.
    pub last: u16,
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// What happens to a flow that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// TCP is split, the rest goes in packet mode.
    Optimize,
    /// Packet mode for anything.
    Tunnel,
    /// Through the bridge, untouched.
    Pass,
    /// Discarded and counted.
    Drop,
}

named!(Action { "optimize" => Optimize, "tunnel" => Tunnel, "pass" => Pass, "drop" => Drop });

impl Action {
    /// Whether flows go to a peer.
    #[must_use]
    pub const fn needs_peer(self) -> bool {
        matches!(self, Action::Optimize | Action::Tunnel)
    }
}

/// Whether the data of a flow are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As its peer's buffers are.
    Auto,
    /// The same: files of before it was the peer that says how have this. It is warned of.
    Lz4,
    /// Not at all.
    None,
}

named!(Compression { "auto" => Auto, "lz4" => Lz4, "none" => None });

/// How buffers to a peer are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerCompression {
    /// As strongly as pays: by what the WAN takes and the core can give.
    Auto,
    /// With LZ4, stored raw when that does not shrink it.
    Lz4,
    /// Not at all.
    None,
}

named!(PeerCompression { "auto" => Auto, "lz4" => Lz4, "none" => None });

/// What is reserved at start, and how long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of the flow table.
    pub flows: u32,
    /// Split TCP connections.
    pub connections: u32,
    /// Of these, not yet accepted by the far host.
    pub half_open: u32,
    /// Entries of the table of neighbours.
    pub neighbours: u32,
    /// Peers at a time, those that reloads add included.
    pub peers: u16,
    /// Frames in the pool of all ports.
    pub frames: u32,
    /// Memory of all buffers: sending, reassembly, delivered and not yet acknowledged.
    pub buffer_memory: Size,
    /// One buffer.
    pub buffer_size_max: Size,
    /// How long a buffer that is not full may wait.
    pub flush_deadline: Duration,
    /// Bytes of buffers in one datagram, at most.
    pub segment_size_max: u16,
    /// Accepted and not yet sent, in time at the peer's rate.
    pub backlog: Duration,
    /// For how long packets are of use in packet mode, by class; 0: they are sent once, whenever
    /// that is.
    pub packet_deadlines: [Duration; CLASS_COUNT],
    /// How long a host's FIN waits for the far host's acknowledgement.
    pub fin_timeout: Duration,
    /// How long an ordered stop drains.
    pub stop_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            flows: 16_384,
            connections: 4_096,
            half_open: 1_024,
            neighbours: 4_096,
            peers: 8,
            frames: 16_384,
            buffer_memory: Size(256 << 20),
            buffer_size_max: Size(64 << 10),
            flush_deadline: Duration::from_micros(500),
            segment_size_max: 1_438,
            backlog: Duration::from_millis(5),
            packet_deadlines: [Duration::from_millis(200); CLASS_COUNT],
            fin_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(5),
        }
    }
}

/// Which core runs which stage, by the operating system's core numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Ports, interceptor and bridge.
    pub port: usize,
    /// TCP and packet mode.
    pub edge: CoreList,
    /// Packet driver, towards the WAN.
    pub aggregate: usize,
    /// Compression.
    pub compress: CoreList,
    /// Data mover.
    pub transmit: usize,
    /// Decompression and packet driver, from the WAN.
    pub decompress: CoreList,
}

/// The cores of a stage that may run on several: at least one, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreList(Vec<usize>);

impl CoreList {
    /// A single core.
    #[must_use]
    pub fn one(core: usize) -> Self {
        CoreList(vec![core])
    }

    /// These cores.
    ///
    /// # Errors
    /// None, too many, or one of them twice: what to write instead.
    pub fn new(cores: Vec<usize>) -> Result<Self, String> {
        if cores.is_empty() {
            return Err("names no core; write a number, or a list as in [2, 3]".to_owned());
        }
        if cores.len() > REPLICAS_MAX {
            return Err(format!("{} cores; at most {REPLICAS_MAX} are possible", cores.len()));
        }
        for (index, core) in cores.iter().enumerate() {
            if cores.iter().take(index).any(|earlier| earlier == core) {
                return Err(format!("names core {core} twice; a stage is on a core once"));
            }
        }
        Ok(CoreList(cores))
    }

    /// The cores, as they were written.
    #[must_use]
    pub fn cores(&self) -> &[usize] {
        &self.0
    }
}

impl Cores {
    /// Everything on one core.
    #[must_use]
    pub fn all_on(core: usize) -> Self {
        Cores {
            port: core,
            edge: CoreList::one(core),
            aggregate: core,
            compress: CoreList::one(core),
            transmit: core,
            decompress: CoreList::one(core),
        }
    }

    /// The stages by their names in the file, with their cores.
    #[must_use]
    pub fn stages(&self) -> [(&'static str, &[usize]); 6] {
        use std::slice::from_ref;
        [
            ("port", from_ref(&self.port)),
            ("edge", self.edge.cores()),
            ("aggregate", from_ref(&self.aggregate)),
            ("compress", self.compress.cores()),
            ("transmit", from_ref(&self.transmit)),
            ("decompress", self.decompress.cores()),
        ]
    }
}

impl Config {
    /// Reads and checks the file at `path` for `machine`.
    ///
    /// # Errors
    /// All of them, not only the first, each with its line; or that the file cannot be read.
    pub fn load(path: &Path, machine: &Machine) -> Result<(Self, ConfigWarnings), ConfigErrors> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigErrors::unreadable(path, &error))?;
        Self::parse(path, &text, machine)
    }

    /// What was found wrong later with what the file at `path` names, by the names of the values:
    /// the same, with their lines.
    #[must_use]
    pub fn errors_at(
        path: &Path,
        machine: &Machine,
        found: impl IntoIterator<Item = (String, String)>,
    ) -> ConfigErrors {
        // It was read a moment ago; without it, lines are all that is missing.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut report = error::Report::new(path, &text);
        read::read(&text, machine, &mut report);
        let found = found.into_iter().map(|(name, message)| ConfigError {
            line: report.given(&name).then(|| report.line(&name)),
            message: format!("{name}: {message}"),
        });
        let mut errors: Vec<_> = found.collect();
        errors.sort_by_key(|error| error.line);
        ConfigErrors { path: path.into(), errors }
    }

    /// Reads and checks `text`, which errors say is at `path`, for `machine`.
    ///
    /// # Errors
    /// All of them, not only the first, each with its line.
    pub fn parse(
        path: &Path,
        text: &str,
        machine: &Machine,
    ) -> Result<(Self, ConfigWarnings), ConfigErrors> {
        let mut report = error::Report::new(path, text);
        let config = read::read(text, machine, &mut report);
        if let Some(config) = &config {
            check::check(config, machine, &mut report);
            odd::warn(config, &mut report);
        }
        report.finish(config)
    }
}

#[cfg(test)]
mod tests;
