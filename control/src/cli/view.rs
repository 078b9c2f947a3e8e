//! What the running appliance shows of itself: plain data, for text and JSON alike.
//!
//! Filled by a [`Backend`](super::Backend); field names are those of `--json`. Counters count from
//! the start or from the last `clear`.

use std::net::{IpAddr, SocketAddr};

use serde::{Serialize, Serializer};

/// Least, most and step of descriptors in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DescriptorLimits {
    /// Least.
    pub min: u16,
    /// Most.
    pub max: u16,
    /// The number must be a multiple of this.
    pub align: u16,
}

/// A port: device, link and limits, by DPDK's names for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortInfo {
    /// Number of the port.
    pub port: u16,
    /// MAC address.
    #[serde(serialize_with = "as_text")]
    pub mac: [u8; 6],
    /// Name of the device.
    pub device_name: String,
    /// Name of its driver.
    pub driver_name: String,
    /// Version of its firmware; empty if it does not say.
    pub firmware: String,
    /// Arguments it was made with; `None` if it cannot have any.
    pub devargs: Option<String>,
    /// NUMA socket.
    pub socket: u32,
    /// NUMA socket of its frames.
    pub memory_socket: u32,
    /// Whether the link is up.
    pub link_up: bool,
    /// Megabits per second; `None` if unknown, 0 if there is none.
    pub link_speed_mbps: Option<u32>,
    /// Full duplex, not half.
    pub full_duplex: bool,
    /// Whether speed and duplex were negotiated.
    pub autoneg: bool,
    /// Longest IP packet, in bytes.
    pub mtu: u16,
    /// Takes frames for others.
    pub promiscuous: bool,
    /// Takes all multicast frames.
    pub all_multicast: bool,
    /// Most MAC addresses.
    pub max_mac_addrs: u32,
    /// Most MAC addresses filtered by hash.
    pub max_hash_mac_addrs: u32,
    /// VLAN offloads in use, DPDK's bits; `None` if it does not say.
    pub vlan_offload: Option<u32>,
    /// Bytes of the hash key; 0 if it has none.
    pub hash_key_size: u8,
    /// Entries of the redirection table; 0 if it has none.
    pub reta_size: u16,
    /// Flow types it can spread over queues, DPDK's bits.
    pub rss_types: u64,
    /// Smallest receive buffer, in bytes.
    pub min_rx_bufsize: u32,
    /// Longest frame it can receive, in bytes.
    pub max_rx_pktlen: u32,
    /// Longest packet it can put together, in bytes.
    pub max_lro_pkt_size: u32,
    /// Most virtual functions; 0 if it has none.
    pub max_vfs: u16,
    /// Most VMDq pools; 0 if it has none.
    pub max_vmdq_pools: u16,
    /// Receive queues in use.
    pub rx_queues: u16,
    /// Most receive queues.
    pub max_rx_queues: u16,
    /// Limits of receive descriptors.
    pub rxd: DescriptorLimits,
    /// Transmit queues in use.
    pub tx_queues: u16,
    /// Most transmit queues.
    pub max_tx_queues: u16,
    /// Limits of transmit descriptors.
    pub txd: DescriptorLimits,
    /// Most segments of a packet.
    pub max_segs_per_packet: u16,
    /// Most segments of one MTU.
    pub max_segs_per_mtu: u16,
    /// Capabilities, DPDK's bits.
    pub dev_capa: u64,
    /// Names of these capabilities.
    pub dev_capa_names: Vec<String>,
    /// How it recovers from errors: `none`, `passive`, `proactive` or `unknown`.
    pub error_handling: String,
}

fn as_text<S: Serializer>(mac: &[u8; 6], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&super::testpmd::mac(*mac))
}

/// Counters every device has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortCounters {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames the device had no room for.
    pub rx_missed: u64,
    /// Frames received with errors.
    pub rx_errors: u64,
    /// Times there was no mbuf to receive into.
    pub rx_nombuf: u64,
    /// Frames transmitted.
    pub tx_packets: u64,
    /// Bytes transmitted.
    pub tx_bytes: u64,
    /// Frames that were not transmitted for an error.
    pub tx_errors: u64,
}

/// Counters of a port and how fast they grew since they were last shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortStats {
    /// Number of the port.
    pub port: u16,
    /// The counters.
    #[serde(flatten)]
    pub counters: PortCounters,
    /// Frames received per second.
    pub rx_pps: u64,
    /// Bits received per second.
    pub rx_bps: u64,
    /// Frames transmitted per second.
    pub tx_pps: u64,
    /// Bits transmitted per second.
    pub tx_bps: u64,
}

/// One counter particular to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Xstat {
    /// The driver's name for it.
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// The counters particular to the device of one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortXstats {
    /// Number of the port.
    pub port: u16,
    /// In the driver's order.
    pub xstats: Vec<Xstat>,
}

/// What was forwarded from and to one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortForwarding {
    /// Number of the port.
    pub port: u16,
    /// Frames received.
    pub rx_packets: u64,
    /// Frames the device had no room for.
    pub rx_dropped: u64,
    /// Frames received with errors.
    pub rx_errors: u64,
    /// Times there was no mbuf to receive into.
    pub rx_nombuf: u64,
    /// Frames transmitted.
    pub tx_packets: u64,
    /// Frames for this port that its device did not take.
    pub tx_dropped: u64,
}

/// How a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// No session: we greet it and it does not answer.
    Down,
    /// It answered; the session is being set up.
    Connecting,
    /// The session carries flows.
    Up,
}

impl PeerState {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            PeerState::Down => "down",
            PeerState::Connecting => "connecting",
            PeerState::Up => "up",
        }
    }
}

/// Bytes of one direction of a peer.
///
/// LAN bytes are the IP bytes that hosts sent (towards the peer) or were sent (from the peer) on
/// our LAN for flows of this peer. WAN bytes are the IP bytes of all datagrams to (from) the peer:
/// headers, retransmissions and acknowledgements included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Direction {
    /// IP bytes on the LAN.
    pub lan_bytes: u64,
    /// IP bytes on the WAN.
    pub wan_bytes: u64,
}

impl Direction {
    /// LAN bytes per WAN byte; `None` before there are any.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people, with two decimals")]
    pub fn ratio(&self) -> Option<f64> {
        (self.wan_bytes > 0).then(|| self.lan_bytes as f64 / self.wan_bytes as f64)
    }
}

/// Parity exchanged with a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Parity {
    /// Datagrams sent to protect others.
    pub sent: u64,
    /// Datagrams received that carry parity.
    pub received: u64,
    /// Of these, those that nothing was restored with.
    pub useless: u64,
    /// Pieces of buffers restored from the others.
    pub pieces_restored: u64,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerView {
    /// Its name.
    pub name: String,
    /// Where its data mover listens.
    pub endpoint: SocketAddr,
    /// Where it was found, if that is somewhere else.
    pub found: Option<SocketAddr>,
    /// How what is exchanged with it is protected: a cipher, `none`, or `on` before a session.
    pub encryption: String,
    /// Its public key; `None` without encryption.
    pub public_key: Option<String>,
    /// Why its latest session ended.
    pub last_end: Option<String>,
    /// What is wrong and what to do about it.
    pub warning: Option<String>,
    /// How it is.
    pub state: PeerState,
    /// For how long, in seconds.
    pub state_seconds: u64,
    /// Whether its configuration agrees with ours about the pair; `None` before it has said so.
    pub configuration_agrees: Option<bool>,
    /// Round trip, in microseconds; `None` before one was measured.
    pub rtt_us: Option<u64>,
    /// What the path to it is taken to carry, or what is configured: bits of IP packets per second;
    /// 0 before anything is known.
    pub rate_bps: u64,
    /// How the rate is found: `auto` or `fixed`.
    pub controller: String,
    /// What the controller is doing; `None` without a session.
    pub controller_phase: Option<String>,
    /// Share of the datagrams that the path is taken to lose whatever the rate, 0 to 1.
    pub random_loss: f64,
    /// Longest IP packet that is sent to it, in bytes; `None` without a session.
    pub path_mtu: Option<u64>,
    /// State of the search: `confirming`, `searching`, `complete`, or `error` below 1,200 bytes.
    pub path_mtu_state: Option<String>,
    /// Probes of the path's MTU sent.
    pub path_probes: u64,
    /// Of these, lost.
    pub path_probes_lost: u64,
    /// Times that datagrams of the length so far were found to vanish.
    pub black_holes: u64,
    /// Live flows.
    pub flows: u64,
    /// Datagrams sent, acknowledgements alone not counted.
    pub datagrams_sent: u64,
    /// Of these, found lost.
    pub datagrams_lost: u64,
    /// Whether parity is used: `auto` or `off`.
    pub fec: String,
    /// What came of it.
    pub parity: Parity,
    /// Towards the peer.
    pub to_peer: Direction,
    /// From the peer.
    pub from_peer: Direction,
}

/// A flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowView {
    /// Name or number of the IP protocol.
    pub protocol: String,
    /// Source of the flow's first packet.
    pub source: IpAddr,
    /// Its port; 0 if the protocol has none.
    pub source_port: u16,
    /// Destination of the flow's first packet.
    pub destination: IpAddr,
    /// Its port; 0 if the protocol has none.
    pub destination_port: u16,
    /// Outermost VLAN id; 0 if untagged.
    pub vlan: u16,
    /// What becomes of it: the word of the configuration's `action`.
    pub verdict: String,
    /// The peer that carries it.
    pub peer: Option<String>,
    /// The rule it matched, from 0; `None` for a flow from a peer and where no rule matched.
    pub rule: Option<usize>,
    /// Of a split flow, the state of the connection to the host on our side, in the field's
    /// words: `opening`, `established`, `fin-wait-1`, ...; of others, why they are as they are.
    pub state: String,
    /// Frames of both directions.
    pub packets: u64,
    /// IP bytes of both directions.
    pub bytes: u64,
    /// Seconds since its last frame.
    pub idle_seconds: u64,
}

/// The flows that a filter chose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Flows {
    /// Entries of the flow table in use.
    pub total: u64,
    /// Of these, chosen by the filter.
    pub matched: u64,
    /// Of these, the first ones, as many as the filter's limit allows.
    pub flows: Vec<FlowView>,
}

/// A rule of the look-up table and its hits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleView {
    /// Its place, from 0.
    pub index: usize,
    /// Its name.
    pub name: Option<String>,
    /// What it matches and does, in one line.
    pub rule: String,
    /// Flows whose first packet it matched.
    pub flows: u64,
}

/// One reason for not forwarding, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DropView {
    /// The stage.
    pub stage: &'static str,
    /// The reason.
    pub name: &'static str,
    /// What is counted.
    pub unit: &'static str,
    /// How often.
    pub count: u64,
    /// What it means.
    pub help: &'static str,
}

/// One counter of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CounterView {
    /// The stage.
    pub stage: &'static str,
    /// Its name, unique within the stage.
    pub name: &'static str,
    /// What is counted.
    pub unit: &'static str,
    /// `in`, `out`, `drop`, or `info` for what may also go down.
    pub kind: &'static str,
    /// How many.
    pub value: u64,
    /// What it means.
    pub help: &'static str,
}

/// What one core does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoreView {
    /// Number of the core.
    pub core: usize,
    /// The stages it runs.
    pub stages: Vec<String>,
    /// Turns of its loop per second.
    pub turns_per_second: u64,
    /// Part of its time in turns that did something, 0 to 100.
    pub busy_percent: f64,
    /// Nanoseconds in such turns since the last `start`.
    pub busy_ns: u64,
}

/// One stage of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageView {
    /// Its name.
    pub name: String,
    /// The core that runs it.
    pub core: usize,
}

/// One link between two stages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkView {
    /// The stage that puts in.
    pub from: String,
    /// The stage that takes out.
    pub to: String,
    /// `direct` or `ring`.
    pub kind: String,
    /// Entries in it now.
    pub length: u64,
    /// Most entries.
    pub capacity: u64,
}

/// Stages and links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PipelineView {
    /// In the order a packet meets them.
    pub stages: Vec<StageView>,
    /// Between them.
    pub links: Vec<LinkView>,
}
