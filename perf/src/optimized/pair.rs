//! Both appliances and both hosts in one thread, without devices: the product's own workers, by
//! turns, and a clock around each turn.
//!
//! In: what the pair is like. Out: bytes delivered and as they should be, ticks by appliance and
//! worker. Never: the hosts' work in those ticks, nor that of whoever moves frames between them.

use dataplane::data_mover::security::KeyExchange;
use dataplane::frame::Side;
use dataplane::packet_driver::PeerStatus;
use dataplane::pipeline::appliance::{Appliance, Handles, Limits};
use dataplane::pipeline::placement::{Placement, StageKind};
use dataplane::pipeline::port::BURST_MIN;
use dataplane::pipeline::worker::Worker;
use dataplane::time::{SECOND_NS, Time};
use dataplane_sim::link::Random;
use dataplane_sim::pair::{PairConfig, Site};
use dpdk_wrapper::eal::tsc;
use dpdk_wrapper::{Eal, Mempool};

use super::frame::{MbufFrame, MbufSource, Ports};
use super::host::{Address, Host, Pattern};

/// Frames in the pool of both appliances and both hosts.
pub(super) const FRAMES: u32 = 65_535;
/// Last number of the addresses of both hosts.
const HOST: u8 = 10;
/// Frames that wait at a LAN port, at most: the host sends no faster than they are taken.
const LAN_QUEUE: usize = 64;
/// Turns after which something that should have happened has not.
const TURNS_MAX: usize = 500_000;

/// What a pair is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// Connections.
    pub(super) connections: usize,
    /// Whether the data movers encrypt.
    pub(super) encrypted: bool,
    /// Whether the rule lets data be compressed.
    pub(super) compress: bool,
    /// Whether devices verify checksums.
    pub(super) verifies: bool,
    /// Payload of a host's frame.
    pub(super) payload: usize,
    /// Every stage is a worker of its own, so that ticks are told apart by stage.
    pub(super) apart: bool,
}

/// Rate of both data movers: more than one core can do.
const RATE_BPS: u64 = 40_000_000_000;

struct End {
    workers: Vec<Worker<MbufFrame>>,
    key_exchange: Option<KeyExchange>,
    handles: Handles,
    ports: Ports,
    host: Host,
    /// Ticks of each worker.
    ticks: [u64; StageKind::ALL.len()],
}

/// A pair that runs.
pub(super) struct Pair {
    ends: [End; 2],
    source: MbufSource,
    pattern: Pattern,
    clock: Clock,
    hosts_ticks: u64,
}

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

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// Bytes that the far host has received, in order and as they should be.
    pub(super) bytes: u64,
    /// Frames with data of the near host.
    pub(super) frames: u64,
    /// Segments that were not as they should be.
    pub(super) wrong: u64,
    /// Times that the near host had to go back to what was acknowledged.
    pub(super) again: u64,
    /// Ticks by appliance and stage.
    pub(super) ticks: [[u64; StageKind::ALL.len()]; 2],
    /// Ticks of hosts and cables.
    pub(super) hosts_ticks: u64,
}

impl Totals {
    /// Ticks of both appliances.
    pub(super) fn product_ticks(&self) -> u64 {
        self.ticks.iter().flatten().sum()
    }

    /// What happened since `before`.
    pub(super) fn since(&self, before: &Totals) -> Totals {
        let mut since = *self;
        since.bytes -= before.bytes;
        since.frames -= before.frames;
        since.wrong -= before.wrong;
        since.again -= before.again;
        since.hosts_ticks -= before.hosts_ticks;
        for (ticks, before) in since.ticks.iter_mut().flatten().zip(before.ticks.iter().flatten()) {
            *ticks -= before;
        }
        since
    }
}

fn limits(connections: usize) -> Limits {
    let connections = u32::try_from(connections).unwrap_or(u32::MAX).max(64);
    Limits {
        flows: 4 * connections as usize,
        connections: 2 * connections,
        half_open: connections,
        neighbours: 256,
        frames: 16_384,
        ..Limits::default()
    }
}

fn address(site: Site) -> Address {
    let ip = match site.address(HOST, false) {
        std::net::IpAddr::V4(v4) => v4.octets(),
        std::net::IpAddr::V6(_) => [0; 4],
    };
    Address { mac: site.mac(0, HOST), ip }
}

impl End {
    fn new(site: Site, config: &PairConfig, kind: &Kind, source: &MbufSource) -> Self {
        let config = config.appliance(site, 1);
        let mut random = Random::for_purpose(config.secret[0], config.secret[1]);
        let entropy = move |bytes: &mut [u8]| {
            for chunk in bytes.chunks_mut(8) {
                let word = random.next_u64().to_le_bytes();
                chunk.copy_from_slice(&word[..chunk.len()]);
            }
            true
        };
        let Appliance { workers, handles, key_exchange } =
            Appliance::new(&config, Box::new(entropy));
        let host = Host::new(
            address(site),
            address(site.other()),
            site == Site::A,
            kind.connections,
            source.clone(),
            kind.payload,
        );
        let ports = Ports { verifies: kind.verifies, ..Ports::default() };
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
            worker.turn(now, &mut self.ports, source);
            *ticks += tsc() - begun;
        }
        if let Some(key_exchange) = &mut self.key_exchange {
            key_exchange.turn();
        }
    }

    /// The host takes what was sent to it, and answers.
    fn host_turn(&mut self, pattern: &Pattern, most: usize) {
        let [to_appliance, _] = &mut self.ports.received;
        let [to_host, _] = &mut self.ports.sent;
        for frame in to_host.drain(..) {
            to_appliance.extend(self.host.receive(&frame, pattern));
        }
        self.host.answer(|frame| to_appliance.push_back(frame));
        let room = most.saturating_sub(to_appliance.len());
        self.host.send(room, pattern, |frame| to_appliance.push_back(frame));
    }
}

impl Pair {
    /// A pair whose connections are open.
    ///
    /// # Errors
    /// What did not come about.
    pub(super) fn new(
        eal: &Eal,
        pool: &Mempool,
        kind: Kind,
        pattern: Pattern,
    ) -> Result<Self, String> {
        let placement =
            if kind.apart { Placement::one_stage_per_core() } else { Placement::single(0) };
        let config = PairConfig {
            placement,
            rate_bps: RATE_BPS,
            compress: kind.compress,
            fec: false,
            encrypted: [kind.encrypted; 2],
            limits: limits(kind.connections),
            ..PairConfig::default()
        };
        let source = MbufSource(pool.clone());
        let ends = Site::BOTH.map(|site| End::new(site, &config, &kind, &source));
        let clock = Clock { start: tsc(), hz: eal.tsc_hz() };
        let mut pair = Pair { ends, source, pattern, clock, hosts_ticks: 0 };
        pair.until("the session is up", |pair| pair.ends.iter().all(End::is_up))?;
        for end in &mut pair.ends {
            let asked = end.host.ask();
            end.ports.received[Side::Lan.index()].extend(asked);
        }
        for index in 0..kind.connections {
            let gateway = Site::B.mac(0, HOST);
            let [near, _] = &mut pair.ends;
            let syn = near.host.connect(index, gateway);
            near.ports.received[Side::Lan.index()].extend(syn);
            pair.turn(0);
        }
        pair.until("all connections are open", |pair| {
            pair.ends.iter().all(|end| end.host.is_connected())
        })?;
        Ok(pair)
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        for _ in 0..TURNS_MAX {
            if done(self) {
                return Ok(());
            }
            self.turn(0);
        }
        Err(format!("never: {what}"))
    }

    /// One turn of everything; the near host has at most `most` frames wait.
    fn turn(&mut self, most: usize) {
        let begun = tsc();
        let before: u64 = self.ends.iter().flat_map(|end| end.ticks).sum();
        let [near, far] = &mut self.ends;
        near.host_turn(&self.pattern, most);
        near.turn(&self.clock, &mut self.source);
        far.ports.received[Side::Wan.index()].append(&mut near.ports.sent[Side::Wan.index()]);
        // What one sends, the other receives: on cores of their own neither would wait for the other.
        loop {
            far.turn(&self.clock, &mut self.source);
            far.host_turn(&self.pattern, 0);
            if far.ports.received[Side::Wan.index()].len() < BURST_MIN {
                break;
            }
        }
        near.ports.received[Side::Wan.index()].append(&mut far.ports.sent[Side::Wan.index()]);
        let after: u64 = self.ends.iter().flat_map(|end| end.ticks).sum();
        self.hosts_ticks += (tsc() - begun).saturating_sub(after - before);
    }

    /// Runs until so many bytes more have arrived; false when they do not.
    pub(super) fn carry(&mut self, bytes: u64) -> bool {
        let until = self.ends[1].host.received + bytes;
        for _ in 0..TURNS_MAX {
            if self.ends[1].host.received >= until {
                return true;
            }
            self.turn(LAN_QUEUE);
        }
        false
    }

    /// What has happened so far.
    pub(super) fn totals(&self) -> Totals {
        let [near, far] = &self.ends;
        Totals {
            bytes: far.host.received,
            frames: near.host.data_frames,
            wrong: far.host.wrong,
            again: near.host.again,
            ticks: [near.ticks, far.ticks],
            hosts_ticks: self.hosts_ticks,
        }
    }

    /// What the appliances have counted, where it is not 0, for an error.
    pub(super) fn counters(&self) -> String {
        use dataplane::counters::{Counter, Counters};
        fn of<C: Counter>(counters: &Counters<C>) -> impl Iterator<Item = String> + '_ {
            let told = counters.iter().filter(|(_, value)| *value != 0);
            told.map(|(definition, value)| format!("{}.{} {value}", C::STAGE, definition.name))
        }
        let one = |end: &End| {
            let h = &end.handles;
            let all = of(&h.port).chain(of(&h.interceptor)).chain(of(&h.edge));
            let all = all.chain(of(&h.aggregate)).chain(of(&h.transmit)).chain(of(&h.demux));
            let all = all.chain(h.movers.iter().flat_map(of)).chain(of(&h.decompress));
            all.chain(of(&h.disaggregate)).collect::<Vec<_>>().join(", ")
        };
        self.ends.iter().map(one).collect::<Vec<_>>().join("\n")
    }
}
