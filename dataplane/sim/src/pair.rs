//! A pair of appliances in inline mode, each between a LAN of hosts and one WAN: everything in one
//! thread and in virtual time.
//!
//! In: hosts with applications, what the WAN is like, when to stop. Out: what the hosts and the
//! appliances' counters saw. Never: a clock, randomness that is not seeded.
//!
//! Both LANs are parts of one link: 10.0.0.0/24 and fd00::/64, of which the lower half of the host
//! numbers (below 128) is at site A and the upper half at site B. ARP and neighbour discovery pass
//! through both appliances' bridges.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use dataplane::frame::heap::{HeapFrame, HeapSource};
use dataplane::frame::{Frame, MacAddr, Side};
use dataplane::interceptor::{
    Fallback, InterfaceAddress, Networks, Own, Prefix, PrefixSet, Rule, RuleAction, RuleTable,
    SideConfig,
};
use dataplane::packet_driver::Class;
use dataplane::pipeline::Placement;
use dataplane::pipeline::appliance::{Appliance, ApplianceConfig, Handles, Limits, PeerSettings};
use dataplane::pipeline::port::PortIo;
use dataplane::time::{MICROSECOND_NS, MILLISECOND_NS, SECOND_NS, Time};

use crate::check::StreamReport;
use crate::lan::{Lan, arrivals, ip_len};
use crate::link::{Link, LinkConfig, Random};

/// UDP port of the data movers.
const UDP_PORT: u16 = 4_500;
/// Packets that one direction of the WAN holds at most.
const WAN_PACKETS_MAX: usize = 200_000;
/// Turns of a worker at one instant, after which time moves on: no work takes no time.
const TURNS_MAX: usize = 1_000;

/// What a pair is like: plain data, to be printed with the seed.
#[derive(Clone, Debug)]
pub struct PairConfig {
    /// Fixes everything that is random.
    pub seed: u64,
    /// Both directions of the WAN.
    pub wan: LinkConfig,
    /// Rate at which each appliance sends, in bits of IP packets per second.
    pub rate_bps: u64,
    /// A worker per stage instead of one for all.
    pub stage_per_core: bool,
    /// What becomes of new flows while the peer is not there.
    pub fallback: Fallback,
    /// Limits of both appliances.
    pub limits: Limits,
}

impl PairConfig {
    /// A pair around a WAN.
    #[must_use]
    pub fn new(seed: u64, wan: LinkConfig) -> Self {
        let rate_bps = if wan.rate_bps == 0 { 100_000_000 } else { wan.rate_bps };
        let limits = Limits {
            flows: 1_024,
            connections: 256,
            half_open: 128,
            neighbours: 256,
            frames: 4_096,
            buffer_bytes: 32 << 20,
            ..Limits::default()
        };
        let fallback = Fallback::Pass;
        PairConfig { seed, wan, rate_bps, stage_per_core: false, fallback, limits }
    }
}

/// One of the two sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiteId {
    /// Host numbers below 128.
    A,
    /// Host numbers from 128 on.
    B,
}

impl SiteId {
    fn index(self) -> usize {
        match self {
            SiteId::A => 0,
            SiteId::B => 1,
        }
    }
}

/// The ports of one appliance.
#[derive(Default)]
struct Ports {
    incoming: [VecDeque<HeapFrame>; 2],
    outgoing: [Vec<Vec<u8>>; 2],
}

impl PortIo for Ports {
    type Frame = HeapFrame;

    fn receive(&mut self, side: Side, most: usize, into: &mut Vec<HeapFrame>) {
        let queue = &mut self.incoming[side.index()];
        into.extend(queue.drain(..most.min(queue.len())));
    }

    fn transmit(&mut self, side: Side, frames: &mut VecDeque<HeapFrame>) {
        let out = &mut self.outgoing[side.index()];
        out.extend(frames.drain(..).map(|frame| frame.head().to_vec()));
    }
}

struct Site {
    lan: Lan,
    ports: Ports,
    appliance: Appliance<HeapFrame>,
    source: HeapSource,
    /// How often its appliance was restarted.
    starts: u64,
    /// Frames that found no memory, as at a device whose ring is full.
    missed_frames: u64,
    next: Time,
}

/// A pair of appliances with their LANs and the WAN.
pub struct Pair {
    config: PairConfig,
    now: Time,
    sites: [Site; 2],
    /// By the site that sends.
    wan: [Link<Vec<u8>>; 2],
}

impl Pair {
    /// A pair without hosts.
    #[must_use]
    pub fn new(config: PairConfig) -> Self {
        let mut random = Random::new(config.seed);
        let mut wan = || Link::new(config.wan.clone(), WAN_PACKETS_MAX, random.next_u64());
        let wan = [wan(), wan()];
        let mut site = |id| Site {
            lan: Lan::new(random.next_u64()),
            ports: Ports::default(),
            appliance: Appliance::new(&appliance_config(&config, id, 0)),
            source: HeapSource::new(config.limits.frames),
            starts: 0,
            missed_frames: 0,
            next: Time::ZERO,
        };
        let sites = [site(SiteId::A), site(SiteId::B)];
        Pair { config, now: Time::ZERO, sites, wan }
    }

    /// What it is like.
    #[must_use]
    pub fn config(&self) -> &PairConfig {
        &self.config
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// The LAN of a site, to connect hosts and to look at them.
    pub fn lan(&mut self, site: SiteId) -> &mut Lan {
        &mut self.sites[site.index()].lan
    }

    /// What an appliance lets others read.
    #[must_use]
    pub fn handles(&self, site: SiteId) -> &Handles {
        &self.sites[site.index()].appliance.handles
    }

    /// Frames that an appliance holds anywhere: 0 when nothing leaked.
    #[must_use]
    pub fn frames_in_use(&self, site: SiteId) -> usize {
        self.sites[site.index()].source.in_use()
    }

    /// Frames that an appliance missed because it had no memory for them.
    #[must_use]
    pub fn missed_frames(&self, site: SiteId) -> u64 {
        self.sites[site.index()].missed_frames
    }

    /// What all hosts of a site saw of their connections.
    #[must_use]
    pub fn streams(&self, site: SiteId) -> Vec<StreamReport> {
        let hosts = self.sites[site.index()].lan.hosts();
        hosts.flat_map(|host| host.streams().cloned().collect::<Vec<_>>()).collect()
    }

    /// Changes both directions of the WAN from now on.
    pub fn set_wan(&mut self, wan: &LinkConfig) {
        for link in &mut self.wan {
            link.set_config(self.now, wan.clone());
        }
    }

    /// Kills the appliance of a site and starts another in its place: all it knew is lost.
    pub fn restart(&mut self, id: SiteId) {
        let site = &mut self.sites[id.index()];
        site.starts += 1;
        site.ports = Ports::default();
        site.appliance = Appliance::new(&appliance_config(&self.config, id, site.starts));
        site.source = HeapSource::new(self.config.limits.frames);
        site.next = self.now;
    }

    /// Runs until `end`.
    pub fn run(&mut self, end: Time) {
        while self.now < end {
            while self.move_frames() {}
            let next = self.next_time();
            self.now = next.max(self.now + 1).min(end);
        }
    }

    /// Runs until `done` holds, looking every 10 ms, or until `end`; whether it holds.
    pub fn run_until(&mut self, end: Time, mut done: impl FnMut(&mut Pair) -> bool) -> bool {
        while self.now < end {
            self.run((self.now + 10 * MILLISECOND_NS).min(end));
            if done(self) {
                return true;
            }
        }
        false
    }

    // Everything that is due at this instant, once around; whether anything moved.
    fn move_frames(&mut self) -> bool {
        let mut moved = false;
        for index in 0..2 {
            let site = &mut self.sites[index];
            let mut frames = Vec::new();
            site.lan.step(self.now, &mut frames);
            let from_lan = frames.len();
            while let Some(delivery) = self.wan[1 - index].pop(self.now) {
                frames.extend(arrivals(delivery));
            }
            moved |= !frames.is_empty();
            for (n, frame) in frames.iter().enumerate() {
                let side = if n < from_lan { Side::Lan } else { Side::Wan };
                site.receive(side, frame);
            }
            if moved || site.next <= self.now {
                site.turn(self.now);
            }
            for frame in std::mem::take(&mut site.ports.outgoing[Side::Lan.index()]) {
                site.lan.inject(self.now, &frame);
                moved = true;
            }
            for frame in std::mem::take(&mut site.ports.outgoing[Side::Wan.index()]) {
                self.wan[index].push(self.now, ip_len(&frame), frame);
                moved = true;
            }
        }
        moved
    }

    fn next_time(&mut self) -> Time {
        let now = self.now;
        let sites = self.sites.iter_mut().map(|site| site.next.min(site.lan.next_time(now)));
        let wan = self.wan.iter().map(Link::next_time);
        sites.chain(wan).min().unwrap_or(Time::NEVER)
    }
}

impl Site {
    fn receive(&mut self, side: Side, bytes: &[u8]) {
        match self.source.frame_of(bytes) {
            Some(frame) => self.ports.incoming[side.index()].push_back(frame),
            None => self.missed_frames += 1,
        }
    }

    // Turns all workers until none has anything to do.
    fn turn(&mut self, now: Time) {
        for _ in 0..TURNS_MAX {
            let mut busy = false;
            self.next = Time::NEVER;
            for worker in &mut self.appliance.workers {
                let turn = worker.turn(now, &mut self.ports, &mut self.source);
                busy |= turn.busy;
                self.next = self.next.min(turn.next);
            }
            if !busy {
                break;
            }
            self.next = now;
        }
        self.next = self.next.max(now + MICROSECOND_NS);
    }
}

fn appliance_config(config: &PairConfig, id: SiteId, starts: u64) -> ApplianceConfig {
    // Larger for a later start, and never that of the peer.
    let incarnation = 2 * starts + 1 + id.index() as u64;
    let mut random = Random::for_purpose(config.seed, 100 + incarnation);
    let (local, remote) = (networks(id), networks(other(id)));
    let rule = Rule {
        name: "all".to_owned(),
        action: RuleAction::Optimize,
        class: Class(1),
        compress: true,
        ..Rule::default()
    };
    let peer = PeerSettings {
        endpoint: SocketAddr::new(wan_address(other(id)), UDP_PORT),
        rate_bps: config.rate_bps,
        fallback: config.fallback,
        dead_after_ns: 10 * SECOND_NS,
        keepalive_ns: SECOND_NS,
    };
    ApplianceConfig {
        placement: if config.stage_per_core {
            Placement::one_stage_per_core()
        } else {
            Placement::single(0)
        },
        own: own(id),
        rules: Arc::new(RuleTable::new(vec![rule], Networks { local, peers: vec![remote] })),
        peers: vec![peer],
        limits: config.limits,
        lan_mtu: 1_500,
        secret: std::array::from_fn(|_| random.next_u64()),
        incarnation,
        digest: 1,
    }
}

fn other(id: SiteId) -> SiteId {
    match id {
        SiteId::A => SiteId::B,
        SiteId::B => SiteId::A,
    }
}

fn wan_address(id: SiteId) -> IpAddr {
    match id {
        SiteId::A => IpAddr::from([10, 9, 0, 1]),
        SiteId::B => IpAddr::from([10, 9, 0, 2]),
    }
}

fn own(id: SiteId) -> Own {
    let number = if id == SiteId::A { 1 } else { 2 };
    let side = |mac, address| SideConfig {
        mac: MacAddr([2, 0, 0, 1, number, mac]),
        addresses: interface(address, 24).into_iter().collect(),
        gateways: Vec::new(),
    };
    let lan_address = IpAddr::from([10, 0, 0, if id == SiteId::A { 127 } else { 254 }]);
    Own { lan: side(1, lan_address), wan: side(2, wan_address(id)), port: UDP_PORT }
}

fn interface(address: IpAddr, len: u8) -> Option<InterfaceAddress> {
    Some(InterfaceAddress { address, prefix: Prefix::of(address, len)? })
}

// Lower and upper half of the host numbers.
fn networks(id: SiteId) -> PrefixSet {
    let first = if id == SiteId::A { 0 } else { 128 };
    let v4 = Prefix::of(IpAddr::from([10, 0, 0, first]), 25);
    let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, first.into());
    v4.into_iter().chain(Prefix::of(v6.into(), 121)).collect()
}
