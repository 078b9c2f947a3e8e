//! Both appliances and both LANs in one thread, without devices: the product's own workers, by
//! turns, and a clock around each turn.
//!
//! In: what the pair is like. Out: bytes delivered and as they should be, ticks by appliance and
//! worker. Never: the hosts' work in those ticks, nor that of whoever moves frames between them.

use dataplane::compression::Mode;
use dataplane::data_mover::security::KeyExchange;
use dataplane::frame::Side;
use dataplane::packet_driver::PeerStatus;
use dataplane::pipeline::appliance::{Appliance, Handles, Limits};
use dataplane::pipeline::placement::{Placement, PlacementError, StageKind};
use dataplane::pipeline::port::BURST_MIN;
use dataplane::pipeline::worker::Worker;
use dataplane::time::{SECOND_NS, Time};
use dataplane_sim::link::Random;
use dataplane_sim::pair::{PairConfig, Site};
use dpdk_wrapper::Eal;
use dpdk_wrapper::eal::tsc;

use super::frame::{MbufFrame, MbufSource, Ports, Queue};
use super::segment;

/// Frames in the pool of both appliances and both hosts.
pub(crate) const FRAMES: u32 = 65_535;
/// Last number of the addresses of both hosts.
const HOST: u8 = 10;
/// Payload bytes of a large segment, at most.
const CUT_BYTES_MAX: u32 = 65_535 - 120;
/// Turns after which something that should have happened has not.
const TURNS_MAX: usize = 500_000;

/// What a pair is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// Connections at a time.
    pub(crate) connections: usize,
    /// Whether the data movers encrypt.
    pub(crate) encrypted: bool,
    /// Whether the rule lets data be compressed, by LZ4.
    pub(crate) compress: bool,
    /// Whether devices verify checksums of what they receive, and complete those of what they send.
    /// What they would do is done by nobody; what it takes to ask them is counted.
    pub(crate) verifies: bool,
    /// Whether devices cut large segments to hosts; hosts then take them as they are.
    pub(crate) cuts: bool,
    /// Which stages share a worker.
    pub(crate) spread: Spread,
    /// Bytes of buffers of each appliance.
    pub(crate) buffer_bytes: usize,
}

/// Which stages of an appliance share a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// All of them.
    Together,
    /// None: ticks are told apart by stage.
    Apart,
    /// All but compression, which is the worker [`Spread::COMPRESSOR`].
    Compressor,
}

impl Spread {
    /// Index of the worker that only compresses.
    pub(crate) const COMPRESSOR: usize = 1;

    fn placement(self) -> Result<Placement, PlacementError> {
        let core = |kind| if kind == StageKind::Compress { Spread::COMPRESSOR } else { 0 };
        match self {
            Spread::Together => Ok(Placement::single(0)),
            Spread::Apart => Ok(Placement::one_stage_per_core()),
            Spread::Compressor => Placement::new(&StageKind::ALL.map(|kind| (kind, core(kind)))),
        }
    }
}

/// A worker of the near appliance that is taken out of it, for a thread of its own.
pub(crate) struct Taken {
    worker: Worker<MbufFrame>,
    ports: Ports,
    source: MbufSource,
    clock: Clock,
}

impl Taken {
    /// One turn; whether there was anything to do.
    pub(crate) fn turn(&mut self) -> bool {
        let Taken { worker, ports, source, clock } = self;
        worker.turn_and_measure(clock.now(), || clock.now(), ports, source).busy
    }
}

/// All that is on a LAN.
pub(crate) trait Station {
    /// Takes what was sent to it and sends what it has to, `most` frames at a time waiting to be
    /// received.
    fn turn(&mut self, arrived: &mut Queue, to: &mut Queue, most: usize);
}

/// Where a host is, and what it makes frames of.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its addresses and those of the host that it talks to, without ports.
    pub(crate) own: segment::End,
    pub(crate) peer: segment::End,
    /// It is the one that connects.
    pub(crate) is_client: bool,
    pub(crate) source: MbufSource,
}

impl Place {
    /// The client is at site A.
    pub(crate) fn new(site: Site, source: &MbufSource) -> Self {
        let (own, peer) = (host(site), host(site.other()));
        Place { own, peer, is_client: site == Site::A, source: source.clone() }
    }
}

/// Rate of both data movers: more than one core can do.
const RATE_BPS: u64 = 40_000_000_000;

struct End<H> {
    workers: Vec<Worker<MbufFrame>>,
    key_exchange: Option<KeyExchange>,
    handles: Handles,
    ports: Ports,
    host: H,
    /// Ticks of each worker.
    ticks: [u64; StageKind::ALL.len()],
}

/// A pair that runs.
pub(crate) struct Pair<H> {
    ends: [End<H>; 2],
    source: MbufSource,
    clock: Clock,
    hosts_ticks: u64,
}

#[derive(Clone, Copy)]
struct Clock {
    start: u64,
    hz: u64,
}

impl Clock {
    fn now(&self) -> Time {
        let ns = u128::from(tsc() - self.start) * u128::from(SECOND_NS) / u128::from(self.hz);
        Time::from_ns(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

fn limits(kind: &Kind) -> Limits {
    let connections = u32::try_from(kind.connections).unwrap_or(u32::MAX).max(64);
    Limits {
        flows: 4 * connections as usize,
        connections: 2 * connections,
        half_open: connections,
        neighbours: 256,
        frames: 16_384,
        buffer_bytes: kind.buffer_bytes,
        ..Limits::default()
    }
}

/// The host of a site, without a port.
fn host(site: Site) -> segment::End {
    let ip = match site.address(HOST, false) {
        std::net::IpAddr::V4(v4) => v4.octets(),
        std::net::IpAddr::V6(_) => [0; 4],
    };
    segment::End { mac: site.mac(0, HOST), ip, port: 0 }
}

impl<H: Station> End<H> {
    fn new(site: Site, config: &PairConfig, kind: &Kind, host: H) -> Self {
        let mut config = config.appliance(site, 1);
        config.device_checksums = [kind.verifies; 2];
        config.cut_bytes_max = if kind.cuts { CUT_BYTES_MAX } else { 0 };
        let mut random = Random::for_purpose(config.secret[0], config.secret[1]);
        let entropy = move |bytes: &mut [u8]| {
            random.fill(bytes);
            true
        };
        let Appliance { workers, handles, key_exchange, .. } =
            Appliance::new(&config, Box::new(entropy));
        let ports = Ports::new(kind.verifies);
        End { workers, key_exchange, handles, ports, host, ticks: Default::default() }
    }

    fn is_up(&self) -> bool {
        self.handles.peers.iter().all(PeerStatus::is_up)
    }

    /// Turns of all workers, measured.
    fn turn(&mut self, clock: &Clock, source: &mut MbufSource) {
        let now = clock.now();
        for (worker, ticks) in self.workers.iter_mut().zip(&mut self.ticks) {
            let begun = tsc();
            worker.turn_and_measure(now, || clock.now(), &mut self.ports, source);
            *ticks += tsc() - begun;
            if let Some(compress) = &mut worker.compress {
                // What comes now is not this core's.
                compress.turn_begins(clock.now());
            }
        }
        if let Some(key_exchange) = &mut self.key_exchange {
            key_exchange.turn();
        }
    }

    /// The host takes what was sent to it, and answers.
    fn host_turn(&mut self, most: usize) {
        let [to_appliance, _] = &mut self.ports.received;
        let [to_host, _] = &mut self.ports.sent;
        self.host.turn(to_host, to_appliance, most);
    }
}

impl<H: Station> Pair<H> {
    /// A pair with these hosts whose session is up.
    ///
    /// # Errors
    /// It does not come up.
    pub(crate) fn new(
        eal: &Eal,
        source: &MbufSource,
        kind: Kind,
        hosts: [H; 2],
    ) -> Result<Self, String> {
        let config = PairConfig {
            placement: kind.spread.placement().map_err(|error| error.to_string())?,
            rate_bps: RATE_BPS,
            compress: kind.compress,
            compression: Mode::Lz4,
            fec: false,
            encrypted: [kind.encrypted; 2],
            limits: limits(&kind),
            ..PairConfig::default()
        };
        let [a, b] = hosts;
        let ends = [End::new(Site::A, &config, &kind, a), End::new(Site::B, &config, &kind, b)];
        let clock = Clock { start: tsc(), hz: eal.tsc_hz() };
        let mut pair = Pair { ends, source: source.clone(), clock, hosts_ticks: 0 };
        pair.until("the session is up", |pair| pair.ends.iter().all(End::is_up))?;
        Ok(pair)
    }

    /// The hosts of both sites.
    pub(crate) fn hosts(&mut self) -> [&mut H; 2] {
        self.ends.each_mut().map(|end| &mut end.host)
    }

    /// Takes the near appliance's worker that only compresses out of it, if there is one
    /// ([`Spread::Compressor`]).
    pub(crate) fn take_compressor(&mut self) -> Option<Taken> {
        let [near, _] = &mut self.ends;
        let worker = near.workers.pop_if(|worker| worker.port.is_none())?;
        let ports = Ports::new(false);
        Some(Taken { worker, ports, source: self.source.clone(), clock: self.clock })
    }

    /// Puts a frame of the host of a site on its LAN.
    pub(crate) fn send(&mut self, site: Site, frame: Option<MbufFrame>) {
        self.ends[site.index()].ports.received[Side::Lan.index()].extend(frame);
    }

    /// What can be read of the appliance of a site.
    pub(crate) fn handles(&self, site: Site) -> &Handles {
        &self.ends[site.index()].handles
    }

    /// Turns everything until `done`.
    ///
    /// # Errors
    /// That it never is.
    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        for _ in 0..TURNS_MAX {
            if done(self) {
                return Ok(());
            }
            self.turn(0);
        }
        Err(format!("never: {what}"))
    }

    /// One turn of everything; the near host has at most `most` frames wait.
    pub(crate) fn turn(&mut self, most: usize) {
        let begun = tsc();
        let before: u64 = self.ends.iter().flat_map(|end| end.ticks).sum();
        let [near, far] = &mut self.ends;
        near.host_turn(most);
        near.turn(&self.clock, &mut self.source);
        far.ports.received[Side::Wan.index()].append(&mut near.ports.sent[Side::Wan.index()]);
        // What one sends, the other receives: on cores of their own neither would wait for the other.
        loop {
            far.turn(&self.clock, &mut self.source);
            far.host_turn(0);
            if far.ports.received[Side::Wan.index()].len() < BURST_MIN {
                break;
            }
        }
        near.ports.received[Side::Wan.index()].append(&mut far.ports.sent[Side::Wan.index()]);
        let after: u64 = self.ends.iter().flat_map(|end| end.ticks).sum();
        self.hosts_ticks += (tsc() - begun).saturating_sub(after - before);
    }

    /// Ticks of all workers of each appliance.
    pub(crate) fn ticks(&self) -> [[u64; StageKind::ALL.len()]; 2] {
        self.ends.each_ref().map(|end| end.ticks)
    }

    /// Ticks of hosts and cables.
    pub(crate) fn hosts_ticks(&self) -> u64 {
        self.hosts_ticks
    }

    /// What the appliances have counted, where it is not 0, for an error.
    pub(crate) fn counters(&self) -> String {
        use dataplane::counters::{Counter, Counters};
        fn of<C: Counter>(counters: &Counters<C>) -> impl Iterator<Item = String> + '_ {
            let told = counters.iter().filter(|(_, value)| *value != 0);
            told.map(|(definition, value)| format!("{}.{} {value}", C::STAGE, definition.name))
        }
        let one = |end: &End<H>| {
            let h = &end.handles;
            let all = of(&h.port).chain(h.interceptor.each().iter().flat_map(of));
            let all = all.chain(h.edge.each().iter().flat_map(of));
            let all = all.chain(of(&h.aggregate)).chain(of(&h.transmit)).chain(of(&h.demux));
            let all = all.chain(h.movers.iter().flat_map(of));
            let all = all.chain(h.decompress.iter().flat_map(of));
            all.chain(h.disaggregate.iter().flat_map(of)).collect::<Vec<_>>().join(", ")
        };
        self.ends.iter().map(one).collect::<Vec<_>>().join("\n")
    }
}
