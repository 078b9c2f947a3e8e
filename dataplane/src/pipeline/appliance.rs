//! A whole appliance, put together: pools, stages, links, workers.
//!
//! In: a checked configuration as plain data. Out: workers to be turned, and handles by which
//! another thread reads what they do. All memory is reserved here.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use super::aggregate::AggregateStage;
use super::compress::CompressStage;
use super::decompress::DecompressStage;
use super::frame_budget::FrameBudget;
use super::links::Links;
use super::newcomer::{Newcomer, NewcomerMaker};
use super::placement::{Placement, StageKind};
use super::port::{PortCounter, PortStage};
use super::transmit::{TransmitCounter, TransmitStage};
use super::worker::Worker;
use crate::compression::{
    CompressionCounter, Compressor, DecompressionCounter, Decompressor, Mode,
};
use crate::counters::{Counters, Totals};
use crate::data_mover::security::{Entropy, ExchangeCounter, KeyExchange, PeerKeys, PrivateKey};
use crate::data_mover::{Congestion, DemuxCounter, MoverCounter, Sessions};
use crate::edge::tcp::TcpConfig;
use crate::edge::{EdgeConfig, EdgeCounter, EdgeStage, LanCounter};
use crate::frame::Frame;
use crate::interceptor::owner::FIRST_EDGE;
use crate::interceptor::{
    Config as InterceptorConfig, Fallback, FlowHasher, FlowReader, Interceptor, InterceptorCounter,
    Own, PeerStatus as Admission, ReassemblyCounter, RuleTable, Timeouts,
};
use crate::packet_driver::{
    AggregateConfig, AggregateCounter, Aggregator, Backlog, BufferPool, CLASS_COUNT,
    DisaggregateCounter, Disaggregator, PeerIndex, PeerStatus, ReceiveMemory,
    aggregate::DEADLINE_NS, receive_memory::pool_of,
};

/// Queues that packet mode is spread over, per peer, class and compression.
const DATAGRAM_SLOTS: u32 = 64;
/// Flows in packet mode whose host's link address is remembered, at most.
const MIRRORS_MAX: usize = 64 * 1024;

/// One peer.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// Its endpoint.
    pub endpoint: SocketAddr,
    /// How the rate at which we send to it is found.
    pub congestion: Congestion,
    /// What becomes of new flows while it cannot take them.
    pub fallback: Fallback,
    /// Silence after which it is lost, in nanoseconds.
    pub dead_after_ns: u64,
    /// Time without sending after which an answer is asked for, in nanoseconds.
    pub keepalive_ns: u64,
    /// Whether parity is sent to it, and used when it comes; laid out at start.
    pub fec: bool,
    /// How what its rules allow to be compressed is.
    pub compression: Mode,
    /// Digest of what both ends must agree on.
    pub digest: u64,
    /// By what it is known; `None`: what is exchanged with it is not encrypted.
    pub keys: Option<PeerKeys>,
}

/// Who an appliance is to peers that encrypt.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its private key.
    pub key: PrivateKey,
    /// Whether its processor has instructions for AES and carry-less multiplication.
    pub aes: bool,
}

/// Limits of an appliance.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries of the flow table.
    pub flows: usize,
    /// Split connections.
    pub connections: u32,
    /// Of these, not yet accepted by the far host.
    pub half_open: u32,
    /// Neighbours of both sides.
    pub neighbours: usize,
    /// Peers at a time, those included that come while it runs; those that there are at the start
    /// always have a place.
    pub peers: usize,
    /// Frames of all ports together.
    pub frames: usize,
    /// Bytes of all buffers.
    pub buffer_bytes: usize,
    /// Bytes of one buffer.
    pub buffer_size_max: usize,
    /// How long a buffer that is not full may wait, in nanoseconds.
    pub flush_deadline_ns: u64,
    /// Bytes of buffers in one datagram.
    pub segment_size_max: u16,
    /// Accepted and not yet sent, in time at the peer's rate.
    pub backlog_ns: u64,
    /// For how long packets of each class are of use in packet mode, in nanoseconds; 0: they are
    /// sent once, whenever that is.
    pub packet_deadlines_ns: [u64; CLASS_COUNT],
    /// How long a host's FIN waits for the far host's acknowledgement, in nanoseconds.
    pub fin_timeout_ns: u64,
    /// Frames per burst.
    pub burst: usize,
}

impl Default for Limits {
    fn default() -> Self {
        use crate::time::{MICROSECOND_NS, MILLISECOND_NS, SECOND_NS};
        Limits {
            flows: 16_384,
            connections: 4_096,
            half_open: 1_024,
            neighbours: 4_096,
            peers: 0,
            frames: 16_384,
            buffer_bytes: 256 << 20,
            buffer_size_max: 64 * 1024,
            flush_deadline_ns: 500 * MICROSECOND_NS,
            segment_size_max: 1_410,
            backlog_ns: 5 * MILLISECOND_NS,
            packet_deadlines_ns: [DEADLINE_NS; CLASS_COUNT],
            fin_timeout_ns: 30 * SECOND_NS,
            burst: 32,
        }
    }
}

/// All that an appliance is made from.
#[derive(Clone, Debug)]
pub struct ApplianceConfig {
    /// Which core runs which stage.
    pub placement: Placement,
    /// Its own addresses and stations.
    pub own: Own,
    /// Rules and networks.
    pub rules: Arc<RuleTable>,
    /// Peers, by index.
    pub peers: Vec<PeerSettings>,
    /// Who it is; peers are not encrypted without it.
    pub identity: Option<Identity>,
    /// Limits.
    pub limits: Limits,
    /// Largest IP packet of the LAN, in bytes.
    pub lan_mtu: u16,
    /// By side, whether the port completes the checksums of TCP and UDP in frames that it sends.
    pub device_checksums: [bool; 2],
    /// Payload bytes of a segment that the LAN port cuts into frames, at most; 0 where it cuts none.
    pub cut_bytes_max: u32,
    /// Random: hash functions, sequence numbers, session names are made from it.
    pub secret: [u64; 4],
    /// Larger for a later start.
    pub incarnation: u64,
}

/// What the control thread reads while the workers run.
#[derive(Clone)]
pub struct Handles {
    /// Counters of the port stage.
    pub port: Counters<PortCounter>,
    /// Counters of the interceptor.
    pub interceptor: Totals<InterceptorCounter>,
    /// Counters of the edge stage.
    pub edge: Totals<EdgeCounter>,
    /// Counters of putting fragments of split flows together.
    pub reassembly: Totals<ReassemblyCounter>,
    /// What hosts exchange with each peer, by place, whoever had it.
    pub lan: Vec<Totals<LanCounter>>,
    /// Counters of aggregation.
    pub aggregate: Counters<AggregateCounter>,
    /// Counters of compression, by replica.
    pub compress: Vec<Counters<CompressionCounter>>,
    /// Counters of the transmit stage.
    pub transmit: Counters<TransmitCounter>,
    /// Counters of datagrams that belong to no session.
    pub demux: Counters<DemuxCounter>,
    /// Counters of the sessions of each place for a peer, whoever had it.
    pub movers: Vec<Counters<MoverCounter>>,
    /// Counters of the key exchange.
    pub exchange: Counters<ExchangeCounter>,
    /// Counters of decompression, by replica.
    pub decompress: Vec<Counters<DecompressionCounter>>,
    /// Counters of taking buffers apart, by replica.
    pub disaggregate: Vec<Counters<DisaggregateCounter>>,
    /// State of each peer, by place.
    pub peers: Arc<[PeerStatus]>,
    /// The flow table of each edge.
    pub flows: Vec<FlowReader>,
    /// Buffers on their way to peers.
    pub send_pool: BufferPool,
    /// Buffers on their way to hosts.
    pub receive_pool: ReceiveMemory,
}

/// A whole appliance.
pub struct Appliance<F> {
    /// Its workers, in the order of the placement.
    pub workers: Vec<Worker<F>>,
    /// What can be read of them.
    pub handles: Handles,
    /// To be turned on a thread of its own; `None` when no peer encrypts.
    pub key_exchange: Option<KeyExchange>,
    /// Makes what peers that come later bring along.
    pub newcomers: NewcomerMaker,
}

/// What each of `edges` gets of something that is used by flow: an even share, and four standard
/// deviations of what chance gives one more than another, so that all of it can be used.
fn share_of(total: usize, edges: usize) -> usize {
    let share = total.div_ceil(edges.max(1));
    if edges > 1 { total.min(share + 4 * share.isqrt().max(1)) } else { share }
}

/// The same for a number of connections.
fn connections_of(total: u32, edges: usize) -> u32 {
    u32::try_from(share_of(total as usize, edges)).unwrap_or(u32::MAX)
}

/// The settings of one of `edges`.
fn edge_config(config: &ApplianceConfig, edges: usize, edge: usize) -> EdgeConfig {
    let limits = &config.limits;
    let frames = FrameBudget::of(limits.frames);
    let tcp = |ipv4| {
        let mut tcp = TcpConfig::for_mtu(config.lan_mtu, ipv4);
        tcp.fin_timeout_ns = limits.fin_timeout_ns;
        Arc::new(tcp)
    };
    let [high, low, ..] = config.secret.map(u128::from);
    let secret = (high << 64 | low).to_be_bytes();
    let connections = connections_of(limits.connections, edges);
    EdgeConfig {
        edges,
        edge,
        connections,
        half_open: connections_of(limits.half_open, edges).min(connections),
        peers: places_of(config),
        datagram_slots: DATAGRAM_SLOTS,
        mirrors: share_of(limits.flows.min(MIRRORS_MAX), edges),
        time_wait: connections as usize,
        held_frames_max: frames.held / edges,
        frames_max: frames.output / edges,
        frames_spare: frames.spare,
        lan_mtu: config.lan_mtu,
        device_checksums: config.device_checksums,
        cut_bytes_max: config.cut_bytes_max,
        tcp_v4: tcp(true),
        tcp_v6: tcp(false),
        secret,
    }
}

/// The interceptor of one of `edges`.
fn interceptor(config: &ApplianceConfig, admission: Vec<Admission>, edges: usize) -> Interceptor {
    let interceptor = Interceptor::new(InterceptorConfig {
        own: config.own.clone(),
        rules: Arc::clone(&config.rules),
        peers: admission,
        flows: share_of(config.limits.flows, edges),
        neighbours: config.limits.neighbours,
        timeouts: Timeouts::default(),
        secret: [config.secret[2], config.secret[3]],
    });
    if edges > 1 { interceptor.shared() } else { interceptor }
}

/// All edges, with everything reserved that they will ever need.
fn edge_stages<F: Frame>(
    config: &ApplianceConfig,
    peers: &Arc<[PeerStatus]>,
    backlog: &Backlog,
    memory: &ReceiveMemory,
) -> VecDeque<EdgeStage<F>> {
    let edges = config.placement.replicas(StageKind::Edge);
    let admission = |peer: &PeerSettings| Admission {
        fallback: peer.fallback,
        up: false,
        overloaded: false,
        holding: true,
    };
    let mut admission: Vec<Admission> = config.peers.iter().map(admission).collect();
    admission.resize(peers.len(), Admission::default());
    let endpoints = || config.peers.iter().map(|peer| peer.endpoint.ip());
    let stages = (0..edges).map(|edge| {
        EdgeStage::new(
            edge_config(config, edges, edge),
            interceptor(config, admission.clone(), edges),
            admission.clone(),
            Arc::clone(peers),
            // One edge finds the way to the peers for all.
            endpoints().filter(|_| edge == FIRST_EDGE).collect(),
            backlog.of_edge(edge),
            memory.clone(),
        )
    });
    stages.collect()
}

/// How many peers there may be at a time.
pub(super) fn places_of(config: &ApplianceConfig) -> usize {
    config.limits.peers.max(config.peers.len())
}

/// What the peers of the first configuration bring along.
fn first_peers(config: &ApplianceConfig, maker: &NewcomerMaker) -> Vec<Newcomer> {
    let count = config.peers.len();
    let each = (0..).zip(&config.peers).map(|(index, settings)| {
        let seed = config.secret[2] ^ (u64::from(index) << 48);
        maker.make(PeerIndex(index), settings, count, (config.incarnation, seed))
    });
    each.collect()
}

impl<F: Frame> Appliance<F> {
    /// Puts an appliance together. Its keys are made of what `entropy` gives.
    #[must_use]
    pub fn new(config: &ApplianceConfig, entropy: Entropy) -> Self {
        let limits = &config.limits;
        let send_pool = pool_of(limits.buffer_bytes / 4, limits.buffer_size_max);
        let memory = ReceiveMemory::new(
            limits.buffer_bytes / 4 * 3,
            limits.buffer_size_max,
            config.placement.replicas(StageKind::Decompress),
        );
        let places = places_of(config);
        let peers: Arc<[PeerStatus]> = (0..places).map(|_| PeerStatus::default()).collect();

        let frames = FrameBudget::of(limits.frames);
        let edges = config.placement.replicas(StageKind::Edge);
        let mut addresses: Vec<_> =
            config.peers.iter().map(|peer| Some(peer.endpoint.ip())).collect();
        addresses.resize(places, None);
        let aggregator = Aggregator::new(
            AggregateConfig {
                flows_max: edges * edge_config(config, edges, FIRST_EDGE).slots(),
                edges,
                messages_max: frames.messages,
                control_reserve: frames.control_reserve,
                buffer_size_max: limits.buffer_size_max,
                packet_buffer_size_max: usize::from(limits.segment_size_max),
                deadlines_ns: limits.packet_deadlines_ns,
                flush_deadline_ns: limits.flush_deadline_ns,
                peers: addresses,
                ..AggregateConfig::default()
            },
            send_pool.clone(),
        );
        let edge_stages = edge_stages::<F>(config, &peers, &aggregator.backlog(), &memory);
        let newcomers = NewcomerMaker::new(config, &memory);
        let (mut list, mut paths) = (Vec::new(), Vec::new());
        for Newcomer { path, session, .. } in first_peers(config, &newcomers) {
            list.push((path.destination, session));
            paths.push(path);
        }
        let mut sessions = Sessions::new(list);
        let key_exchange = config.identity.as_ref().map(|identity| {
            let peers = config.peers.iter().map(|peer| peer.keys.clone()).collect();
            sessions.secure(identity.key.clone(), peers, identity.aes, config.secret, entropy)
        });
        let mut modes: Vec<Mode> = config.peers.iter().map(|peer| peer.compression).collect();
        modes.resize(places, Mode::Auto);
        let own_addresses: Vec<_> =
            config.own.wan.addresses.iter().map(|own| own.address).collect();
        let compressors: Vec<_> = (0..config.placement.replicas(StageKind::Compress))
            .map(|_| Compressor::new(send_pool.clone(), &modes))
            .collect();
        let decompressors = memory.last.iter().map(|last| {
            let decompressor = Decompressor::new(memory.arrivals.clone(), limits.buffer_size_max)
                .with_last_resort(last.clone());
            (decompressor, Disaggregator::new(&own_addresses))
        });
        let decompressors: Vec<_> = decompressors.collect();
        let lan_of = |peer: usize| {
            edge_stages.iter().filter_map(|edge| edge.lan_counters().get(peer).cloned()).collect()
        };
        let mut handles = Handles {
            port: Counters::default(),
            interceptor: edge_stages.iter().map(EdgeStage::interceptor_counters).collect(),
            edge: edge_stages.iter().map(EdgeStage::counters).collect(),
            reassembly: edge_stages.iter().map(EdgeStage::reassembly_counters).collect(),
            lan: (0..places).map(lan_of).collect(),
            aggregate: aggregator.counters().clone(),
            compress: compressors.iter().map(|each| each.counters().clone()).collect(),
            transmit: Counters::default(),
            demux: sessions.counters(),
            movers: newcomers.counters().into(),
            exchange: key_exchange.as_ref().map(KeyExchange::counters).unwrap_or_default(),
            decompress: decompressors.iter().map(|(each, _)| each.counters().clone()).collect(),
            disaggregate: decompressors.iter().map(|(_, each)| each.counters().clone()).collect(),
            peers: Arc::clone(&peers),
            flows: edge_stages.iter().map(EdgeStage::flows).collect(),
            send_pool,
            receive_pool: memory.clone(),
        };
        let hasher = FlowHasher::new([config.secret[2], config.secret[3]]);
        let port =
            PortStage::new(own_addresses, config.own.port, limits.burst).with_edges(edges, hasher);
        let transmit = TransmitStage::new(sessions, paths, Arc::clone(&peers))
            .with_reassembly(memory.reassembly_bytes());
        handles.port = port.counters();
        handles.transmit = transmit.counters();
        let aggregate = AggregateStage::new(
            aggregator,
            Arc::clone(&peers),
            limits.buffer_size_max,
            limits.backlog_ns,
        );
        let replicas = compressors.len();
        let mut stages = Stages {
            port: Some(port),
            edge: edge_stages,
            aggregate: Some(aggregate.with_compressors(replicas)),
            compress: compressors
                .into_iter()
                .map(|compressor| CompressStage::new(compressor, Arc::clone(&peers), replicas))
                .collect(),
            transmit: Some(transmit),
            decompress: decompressors
                .into_iter()
                .map(|(decompressor, disaggregator)| {
                    DecompressStage::new(decompressor, disaggregator)
                })
                .collect(),
        };
        let links = Links::for_placement(&config.placement);
        let workers = config.placement.workers().iter().zip(links);
        let workers = workers.map(|((core, kinds), links)| stages.worker(*core, kinds, links));
        Appliance { workers: workers.collect(), handles, key_exchange, newcomers }
    }
}

/// All stages, to be handed out.
struct Stages<F> {
    port: Option<PortStage<F>>,
    edge: VecDeque<EdgeStage<F>>,
    aggregate: Option<AggregateStage<F>>,
    compress: VecDeque<CompressStage>,
    transmit: Option<TransmitStage<F>>,
    decompress: VecDeque<DecompressStage>,
}

impl<F> Stages<F> {
    fn worker(&mut self, core: usize, kinds: &[StageKind], links: Links<F>) -> Worker<F> {
        let has = |kind| kinds.contains(&kind);
        Worker {
            core,
            links,
            port: self.port.take_if(|_| has(StageKind::Port)),
            // Replicas in the order of their workers.
            edge: has(StageKind::Edge).then(|| self.edge.pop_front()).flatten(),
            aggregate: self.aggregate.take_if(|_| has(StageKind::Aggregate)),
            compress: has(StageKind::Compress).then(|| self.compress.pop_front()).flatten(),
            transmit: self.transmit.take_if(|_| has(StageKind::Transmit)),
            decompress: has(StageKind::Decompress).then(|| self.decompress.pop_front()).flatten(),
        }
    }
}
