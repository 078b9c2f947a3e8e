//! A whole pair in one thread and virtual time: hosts of A, their LAN, the appliance of A, the WAN,
//! the appliance of B, its LAN, hosts of B.
//!
//! In: options as plain data, applications on hosts, events. Out: reports of the hosts, counters,
//! a fingerprint of the run. Never: a clock or randomness that is not seeded; the same options
//! give the same run, frame by frame.
//!
//! Everything is on one layer 2 segment, 10.77.0.0/16 and fd77::/64, as hosts behind transparent
//! bridges are.

mod appliance;
mod config;
mod handover;
mod nic;

use std::collections::VecDeque;

use dataplane::frame::Side;
use dataplane::packet_driver::PeerIndex;
use dataplane::pipeline::placement::StageKind;
use dataplane::time::Time;

pub use appliance::{Meter, PortTally, Tpo};
pub use config::{Event, PairConfig, Reload, Site};
pub use handover::Change;

use crate::check::StreamReport;
use crate::host::{Host, HostConfig};
use crate::lan::{Lan, Station, StationId, arrivals, ip_len};
use crate::link::{Link, LinkConfig, Random};
use crate::scripted::ScriptedHost;

/// Packets that one direction of the WAN holds at most.
const WAN_PACKETS_MAX: usize = 100_000;

/// A host of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostId {
    /// Where it is.
    pub site: Site,
    /// Which station of that LAN.
    pub station: StationId,
}

struct End {
    lan: Lan,
    tpo: Option<Tpo>,
    incarnation: u64,
    /// It does nothing before.
    paused_until: Time,
    /// To the other site.
    wan: Link<Vec<u8>>,
}

/// A pair.
pub struct Pair {
    config: PairConfig,
    now: Time,
    ends: [End; 2],
    events: VecDeque<(u64, Event)>,
    random: Random,
    fingerprint: u64,
    /// Room for frames on their way from hosts to an appliance.
    frames: Vec<Vec<u8>>,
}

impl Pair {
    /// A pair without hosts, about to start.
    #[must_use]
    pub fn new(config: PairConfig) -> Self {
        let mut random = Random::for_purpose(config.seed, 1);
        let ends = Site::BOTH.map(|site| End {
            lan: Lan::new(random.next_u64()),
            tpo: Some(started(&config, site, 1)),
            incarnation: 1,
            paused_until: Time::ZERO,
            wan: Link::new(config.wan[site.index()].clone(), WAN_PACKETS_MAX, random.next_u64()),
        });
        let events = config.events.clone().into();
        Pair { config, now: Time::ZERO, ends, events, random, fingerprint: 0, frames: Vec::new() }
    }

    /// The options.
    #[must_use]
    pub fn config(&self) -> &PairConfig {
        &self.config
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Connects a host by a cable like `link`.
    pub fn add_host(&mut self, site: Site, config: HostConfig, link: &LinkConfig) -> HostId {
        let host = Host::new(config, self.random.next_u64());
        let lan = &mut self.ends[site.index()].lan;
        HostId { site, station: lan.connect(Station::Host(Box::new(host)), link) }
    }

    /// Connects a scripted host by a perfect cable.
    pub fn add_scripted(&mut self, site: Site, host: ScriptedHost) -> HostId {
        let lan = &mut self.ends[site.index()].lan;
        let station = Station::Scripted(Box::new(host));
        HostId { site, station: lan.connect(station, &LinkConfig::default()) }
    }

    /// A host.
    pub fn host(&mut self, id: HostId) -> &mut Host {
        self.ends[id.site.index()].lan.host(id.station)
    }

    /// A scripted host.
    pub fn scripted(&mut self, id: HostId) -> &mut ScriptedHost {
        self.ends[id.site.index()].lan.scripted(id.station)
    }

    /// What all hosts of a site saw of their connections.
    #[must_use]
    pub fn streams(&self, site: Site) -> Vec<StreamReport> {
        self.ends[site.index()].lan.hosts().flat_map(Host::streams).cloned().collect()
    }

    /// The appliance of a site.
    ///
    /// # Panics
    /// While it is killed.
    #[must_use]
    pub fn tpo(&self, site: Site) -> &Tpo {
        self.ends[site.index()].tpo.as_ref().expect("the appliance runs")
    }

    /// Measures the turns of the workers of the appliance of a site.
    pub fn measure(&mut self, site: Site, meter: Meter) {
        if let Some(tpo) = &mut self.ends[site.index()].tpo {
            tpo.measure(meter);
        }
    }

    /// The core of this stage stands still from now on, as a thread does that is not scheduled; with
    /// `None` all run again.
    pub fn stall(&mut self, site: Site, stage: Option<StageKind>) {
        let core = stage.and_then(|stage| self.config.placement_of(site).worker_of(stage));
        if let Some(tpo) = &mut self.ends[site.index()].tpo {
            tpo.stall(core);
        }
    }

    /// The appliance of a site begins to stop in order; flows may end by themselves for `drain_ns`.
    pub fn begin_stop(&mut self, site: Site, drain_ns: u64) {
        let now = self.now;
        if let Some(tpo) = &mut self.ends[site.index()].tpo {
            tpo.begin_stop(now, drain_ns);
        }
    }

    /// The appliance of a site, unless it is killed.
    #[must_use]
    pub fn running(&self, site: Site) -> Option<&Tpo> {
        self.ends[site.index()].tpo.as_ref()
    }

    /// The WAN from a site.
    #[must_use]
    pub fn wan(&self, from: Site) -> &Link<Vec<u8>> {
        &self.ends[from.index()].wan
    }

    /// Lets something happen now.
    pub fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Wan(site, link) => self.ends[site.index()].wan.set_config(now, link),
            Event::Lan(site, link) => self.ends[site.index()].lan.set_links(now, &link),
            Event::Pause(site, ns) => self.ends[site.index()].paused_until = now + ns,
            Event::Kill(site) => self.ends[site.index()].tpo = None,
            Event::Reload(site, reload) => {
                let new = self.config.reloaded(&reload);
                let new = new.reconfiguration(site, Some(PeerIndex(0)));
                if let Some(tpo) = &mut self.ends[site.index()].tpo {
                    tpo.reload(&new);
                }
            }
            Event::Move(site, from, to) => {
                let change = self.config.change(site, (from, to), now.as_ns());
                self.change_peers(site, &change);
            }
            Event::Start(site) => {
                let end = &mut self.ends[site.index()];
                end.incarnation += 1;
                end.tpo = Some(started(&self.config, site, end.incarnation));
            }
        }
    }

    /// Peers of a site leave, and others come.
    pub fn change_peers(&mut self, site: Site, change: &Change) {
        if let Some(tpo) = &mut self.ends[site.index()].tpo {
            tpo.change_peers(change);
        }
    }

    /// Changes both directions of the WAN.
    pub fn change_wan(&mut self, change: impl Fn(&mut LinkConfig)) {
        for site in Site::BOTH {
            let mut link = self.wan(site).config().clone();
            change(&mut link);
            self.happen(Event::Wan(site, link));
        }
    }

    /// A number that follows from every frame and when it was sent.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Runs for this long, in nanoseconds.
    pub fn run_for(&mut self, ns: u64) {
        self.run_until(self.now + ns, |_| false);
    }

    /// Runs until `done` or the time has come; says whether `done`.
    pub fn run_until(&mut self, end: Time, mut done: impl FnMut(&Pair) -> bool) -> bool {
        loop {
            while let Some((at, _)) = self.events.front()
                && Time::from_ns(*at) <= self.now
            {
                let Some((_, event)) = self.events.pop_front() else { break };
                self.happen(event);
            }
            self.settle();
            if done(self) {
                return true;
            }
            let next = self.next_time().max(self.now + 1);
            if next > end {
                self.now = end;
                return false;
            }
            self.now = next;
        }
    }

    /// Runs until every connection of every host has ended, or the time has come.
    pub fn run_to_end(&mut self, end: Time, connections: usize) -> bool {
        self.run_until(end, |pair| {
            let ended = Site::BOTH.map(|site| {
                let hosts = pair.ends[site.index()].lan.hosts();
                hosts.flat_map(Host::streams).filter(|s| s.ended_at.is_some()).count()
            });
            ended.iter().sum::<usize>() >= connections
        })
    }

    fn next_time(&self) -> Time {
        let mut next = self.events.front().map_or(Time::NEVER, |(at, _)| Time::from_ns(*at));
        for end in &self.ends {
            next = next.min(end.lan.next_time()).min(end.wan.next_time());
            if let Some(tpo) = &end.tpo {
                next = next.min(tpo.next_time().max(end.paused_until));
            }
        }
        next
    }

    /// Does all that is due now.
    fn settle(&mut self) {
        let mut moved = true;
        let mut first = true;
        while moved {
            moved = false;
            for site in Site::BOTH {
                moved |= self.hosts_to_appliance(site);
                moved |= self.wan_to_appliance(site);
                moved |= self.appliance(site, first);
            }
            first = false;
        }
    }

    fn hosts_to_appliance(&mut self, site: Site) -> bool {
        let End { lan, tpo, .. } = &mut self.ends[site.index()];
        lan.step(self.now, &mut self.frames);
        let moved = !self.frames.is_empty();
        for frame in self.frames.drain(..) {
            note(&mut self.fingerprint, self.now, &frame);
            if let Some(tpo) = tpo {
                tpo.receive(Side::Lan, &frame);
            }
        }
        moved
    }

    fn wan_to_appliance(&mut self, site: Site) -> bool {
        let [a, b] = &mut self.ends;
        let (near, far) = if site == Site::A { (a, b) } else { (b, a) };
        let mut moved = false;
        while let Some(delivery) = far.wan.pop(self.now) {
            for frame in arrivals(delivery) {
                if let Some(tpo) = &mut near.tpo {
                    tpo.receive(Side::Wan, &frame);
                }
            }
            moved = true;
        }
        moved
    }

    fn appliance(&mut self, site: Site, first: bool) -> bool {
        let End { lan, tpo, wan, paused_until, .. } = &mut self.ends[site.index()];
        let Some(tpo) = tpo else { return false };
        if self.now < *paused_until {
            return false;
        }
        if !tpo.is_due(self.now) && !first {
            return false;
        }
        let (now, fingerprint) = (self.now, &mut self.fingerprint);
        tpo.turn(now);
        let to_lan = tpo.take_sent(Side::Lan, |frame| {
            note(fingerprint, now, frame);
            lan.inject(now, frame);
        });
        let to_wan = tpo.take_sent(Side::Wan, |frame| {
            note(fingerprint, now, frame);
            wan.push(now, ip_len(frame), frame.to_vec());
        });
        to_lan || to_wan
    }
}

/// Mixes a frame and its time into a fingerprint, eight bytes at a time.
fn note(fingerprint: &mut u64, now: Time, frame: &[u8]) {
    let mut mix = |word: u64| {
        *fingerprint = (*fingerprint ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    };
    mix(now.as_ns());
    mix(frame.len() as u64);
    for chunk in frame.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(u64::from_le_bytes(word));
    }
}

/// The appliance of a site, started the `incarnation`th time.
fn started(config: &PairConfig, site: Site, incarnation: u64) -> Tpo {
    let mut tpo = Tpo::new(&config.appliance(site, incarnation))
        .with_costs(config.compress_ps)
        .with_verifying_port(site == Site::A);
    if config.uneven {
        tpo.run_unevenly(config.seed ^ incarnation << 8 ^ site.index() as u64);
    }
    tpo
}
