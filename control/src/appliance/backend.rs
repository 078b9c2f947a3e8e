//! The commands, carried out on the appliance of a configuration.
//!
//! In: devices, a configuration. Out: what the commands show and do. Never: a wait for the
//! dataplane, but for the ordered stop and for a reload; a worker's counter written.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use dataplane::interceptor::RuleTable;
use dataplane::packet_driver::{PeerIndex, PeerStatus};
use dataplane::pipeline::appliance::Handles;
use dataplane::pipeline::port::PortCounter;
use dataplane::pipeline::{LinkLayout, Placement, layout};

use super::devices::{DeviceError, Devices};
use super::load::LoadMeter;
use super::peers::{self, States, Traffic};
use super::places::{PlaceChanges, Places};
use super::ports::refused;
use super::running::{Running, StartError};
use super::{convert, counters, flows};
use crate::args::Args;
use crate::cli::{
    Backend, CommandError, CoreView, CounterView, DropView, FlowFilter, Flows, LinkView, PeerView,
    PipelineView, PortAction, PortCounters, PortForwarding, PortInfo, Ports as Chosen, Reloaded,
    RuleView, StageView, Statistics, Xstat,
};
use crate::config::Config;
use crate::keys::Keys;
use crate::machine::Machine;
use crate::run::Plan;
use crate::stats::{self, Sample};
use crate::worker::CoreReport;

/// Counters of the devices, by the names of their drops.
const SIDES: [&str; 2] = ["lan_device", "wan_device"];

/// Values that count as zero, because the statistics were cleared then.
#[derive(Debug, Default)]
struct Cleared {
    drops: Vec<DropView>,
    peers: Vec<Traffic>,
    forwarding: Vec<PortForwarding>,
    rules: Vec<u64>,
}

/// An appliance with a configuration.
pub struct Optimizer {
    devices: Devices,
    args: Args,
    machine: Machine,
    path: PathBuf,
    config: Config,
    /// Those of its peers.
    places: Places,
    running: Option<Running>,
    /// Of the last start; kept after the stop, until the next start.
    handles: Option<Handles>,
    rules: Option<Arc<RuleTable>>,
    /// Hits of each rule in look-up tables before the present one.
    earlier_hits: Vec<u64>,
    cleared: Cleared,
    states: States,
    loads: LoadMeter,
}

impl Optimizer {
    /// Opens the devices that a configuration names; nothing is forwarded yet.
    ///
    /// # Errors
    /// A device that could not be had.
    pub fn open(plan: &Plan, (path, config): (PathBuf, Config)) -> Result<Self, DeviceError> {
        let devices = Devices::open(&plan.eal_args, &plan.args, &config)?;
        Ok(Optimizer {
            devices,
            args: plan.args.clone(),
            machine: plan.machine.clone(),
            path,
            places: Places::first(&config),
            earlier_hits: vec![0; config.rules.len()],
            config,
            running: None,
            handles: None,
            rules: None,
            cleared: Cleared::default(),
            states: States::default(),
            loads: LoadMeter::default(),
        })
    }

    /// Housekeeping, some times a second: how peers and cores have been is noted.
    pub fn tick(&mut self) {
        let now = Instant::now();
        for (peer, place) in self.config.peers.iter().zip(self.places.iter()) {
            let handles = self.running.as_ref().map(|running| &running.handles);
            let status = handles.and_then(|handles| handles.peers.get(usize::from(place.0)));
            let seen = (peers::state(status), peers::Noticed::of(status));
            if self.states.note(place, seen, now) {
                // Nobody is there to be told if standard error is gone.
                let _ = writeln!(io::stderr(), "tpo: {}", peers::change(peer, status));
            }
        }
        let Some(running) = &self.running else { return };
        let mut is_due = false;
        for (core, report) in running.reports() {
            is_due |= self.loads.note(core, report, now);
        }
        if is_due {
            running.count_waiting();
        }
    }

    /// The state of the peer in a place, while the workers run.
    fn status(&self, place: PeerIndex) -> Option<&PeerStatus> {
        self.running.as_ref()?.handles.peers.get(usize::from(place.0))
    }

    fn side(&self, port: u16) -> Option<usize> {
        self.devices.numbers.iter().position(|number| *number == port)
    }

    /// All counters since the start.
    fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (stage, number) in SIDES.into_iter().zip(self.devices.numbers) {
            let counters = self.devices.ports.counted(number).unwrap_or_default();
            samples.extend(counters::of_device(stage, &counters));
        }
        samples.extend(counters::of_stages(self.handles.as_ref()));
        samples
    }

    /// All drops since the start.
    fn all_drops(&self) -> Vec<DropView> {
        stats::drops(self.samples())
    }

    /// What was forwarded since the start.
    fn all_forwarding(&self) -> Vec<PortForwarding> {
        let one = |port| {
            let device = self.devices.ports.counted(port).unwrap_or_default();
            let (received, sent) = match self.side(port) {
                Some(0) => (PortCounter::LanFramesIn, PortCounter::LanFramesOut),
                _ => (PortCounter::WanFramesIn, PortCounter::WanFramesOut),
            };
            let count = |counter| self.handles.as_ref().map_or(0, |h| h.port.get(counter));
            PortForwarding {
                port,
                rx_packets: count(received),
                rx_dropped: device.rx_missed,
                rx_errors: device.rx_errors,
                rx_nombuf: device.rx_nombuf,
                tx_packets: count(sent),
                // What a device does not take at once is kept and offered again.
                tx_dropped: 0,
            }
        };
        self.devices.ports.numbers().into_iter().map(one).collect()
    }

    /// Traffic of each place for a peer since the start, whoever had it.
    fn all_traffic(&self) -> Vec<Traffic> {
        let Some(handles) = &self.handles else { return Vec::new() };
        (0..handles.peers.len()).map(|place| Traffic::of(handles, place)).collect()
    }

    /// Who comes to these places begins at zero, and has been nothing yet.
    fn begin_peers(&mut self, changes: &PlaceChanges) {
        let now = self.all_traffic();
        self.cleared.peers.resize(now.len(), Traffic::default());
        for (_, place) in &changes.joined {
            self.states.forget(*place);
            let index = usize::from(place.0);
            if let (Some(cleared), Some(now)) = (self.cleared.peers.get_mut(index), now.get(index))
            {
                *cleared = *now;
            }
        }
    }

    /// Hits of each rule since the start.
    fn all_hits(&self) -> Vec<u64> {
        let mut hits = self.earlier_hits.clone();
        if let Some(rules) = &self.rules {
            for (total, (_, _, hits)) in hits.iter_mut().zip(rules.iter()) {
                *total += hits;
            }
        }
        hits
    }

    /// Rules that are in both configurations keep their hits.
    fn carry_hits(&mut self, new: &Config) {
        let carried = |counts: &[u64]| -> Vec<u64> {
            let old = &self.config.rules;
            let place =
                |rule| old.iter().position(|known| self.config.is_rule_of(known, new, rule));
            let count = |rule| place(rule).and_then(|index| counts.get(index)).copied();
            new.rules.iter().map(|rule| count(rule).unwrap_or(0)).collect()
        };
        let (hits, cleared) = (carried(&self.all_hits()), carried(&self.cleared.rules));
        self.earlier_hits = hits;
        self.cleared.rules = cleared;
    }

    /// What runs where; nothing if that cannot run, which a start says.
    fn placement(&self) -> Option<Placement> {
        convert::placement(&self.config.cores).ok()
    }

    fn report(&self, core: usize) -> Option<&CoreReport> {
        let mut reports = self.running.as_ref()?.reports();
        reports.find(|(known, _)| *known == core).map(|(_, report)| report)
    }
}

impl Backend for Optimizer {
    fn is_forwarding(&self) -> bool {
        self.running.is_some()
    }

    fn start(&mut self) -> Result<(), CommandError> {
        if self.devices.ports.numbers().len() < self.devices.numbers.len() {
            return Err(refused("a port is closed: stop tpo and start it again"));
        }
        // Before the new tables are reserved, the old ones are given back.
        self.handles = None;
        self.rules = None;
        let first = Places::first(&self.config);
        if std::mem::replace(&mut self.places, first.clone()) != first {
            self.states = States::default();
        }
        self.earlier_hits = vec![0; self.config.rules.len()];
        self.loads = LoadMeter::default();
        self.cleared = Cleared {
            drops: self.all_drops(),
            forwarding: self.all_forwarding(),
            ..Cleared::default()
        };
        let running =
            Running::start(&mut self.devices, &self.args, &self.config).map_err(refused)?;
        self.handles = Some(running.handles.clone());
        self.rules = Some(Arc::clone(&running.rules));
        self.running = Some(running);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), CommandError> {
        if let Some(running) = self.running.take() {
            running.stop(&mut self.devices, self.config.limits.stop_timeout);
        }
        if self.devices.pair.is_none() {
            return Err(refused(StartError::QueuesLost));
        }
        Ok(())
    }

    fn ports(&self) -> Vec<u16> {
        self.devices.ports.numbers()
    }

    fn port_info(&self, port: u16) -> Result<PortInfo, CommandError> {
        self.devices.ports.info(port)
    }

    fn port_counters(&self, port: u16) -> Result<PortCounters, CommandError> {
        self.devices.ports.counters(port)
    }

    fn port_xstats(&self, port: u16) -> Result<Vec<Xstat>, CommandError> {
        self.devices.ports.xstats(port)
    }

    fn port_action(&mut self, port: u16, action: PortAction) -> Result<(), CommandError> {
        if action != PortAction::Start && self.is_forwarding() {
            return Err(refused(format!("port {port} is forwarding: stop forwarding first")));
        }
        match action {
            PortAction::Start => self.devices.ports.start(port),
            PortAction::Stop => self.devices.ports.stop(port),
            PortAction::Close => {
                // A port closes when its queues are gone; without it the other one is of no use.
                self.devices.pair = None;
                self.devices.ports.close(port)
            }
        }
    }

    fn set_promiscuous(&mut self, port: u16, on: bool) -> Result<(), CommandError> {
        self.devices.ports.set_promiscuous(port, on)
    }

    fn forwarding(&self) -> Vec<PortForwarding> {
        let mut ports = self.all_forwarding();
        for port in &mut ports {
            if let Some(old) = self.cleared.forwarding.iter().find(|old| old.port == port.port) {
                *port = since(port, old);
            }
        }
        ports
    }

    fn config(&self) -> Option<&Config> {
        Some(&self.config)
    }

    fn peers(&self) -> Vec<PeerView> {
        let peers = &self.config.peers;
        let flows = match &self.running {
            Some(running) => flows::per_place(&running.handles.flows),
            None => HashMap::new(),
        };
        let traffic = self.all_traffic();
        let view = |(peer, place): (_, PeerIndex)| {
            let of_place = |all: &[Traffic]| all.get(usize::from(place.0)).copied();
            let cleared = of_place(&self.cleared.peers).unwrap_or_default();
            let traffic = of_place(&traffic).unwrap_or_default().since(&cleared);
            let flows = flows.get(&place).copied().unwrap_or(0);
            peers::view((place, peer), self.status(place), &self.states, &traffic, flows)
        };
        peers.iter().zip(self.places.iter()).map(view).collect()
    }

    fn flows(&self, filter: &FlowFilter) -> Flows {
        match &self.running {
            Some(running) => {
                let now = running.clock.now();
                let peers = (&self.config, &self.places);
                flows::flows(&running.handles.flows, peers, filter, now)
            }
            None => Flows::default(),
        }
    }

    fn rules(&self) -> Vec<RuleView> {
        let hits = self.all_hits();
        let cleared = self.cleared.rules.iter().copied().chain(std::iter::repeat(0));
        let rules = self.config.rules.iter().zip(hits.iter().zip(cleared)).enumerate();
        rules
            .map(|(index, (rule, (hits, cleared)))| RuleView {
                index,
                name: rule.name.clone(),
                rule: rule.summary(&self.config.peers),
                flows: hits.saturating_sub(cleared),
            })
            .collect()
    }

    fn drops(&self) -> Vec<DropView> {
        let mut drops = self.all_drops();
        for (drop, cleared) in drops.iter_mut().zip(&self.cleared.drops) {
            drop.count = drop.count.saturating_sub(cleared.count);
        }
        drops
    }

    fn counters(&self) -> Vec<CounterView> {
        stats::counters(self.samples())
    }

    fn cores(&self) -> Vec<CoreView> {
        let now = Instant::now();
        let Some(placement) = self.placement() else { return Vec::new() };
        let stages = placement.stages();
        let view = |(worker, (core, _)): (usize, &(usize, _))| {
            let core = *core;
            let here = stages.iter().filter(|(_, runs_on)| *runs_on == worker);
            let stages = here.map(|(stage, _)| stage.to_string()).collect();
            let report = self.report(core);
            let load = report.map(|report| self.loads.load(core, report, now));
            let (turns_per_second, busy_percent) = load.unwrap_or_default();
            let busy_ns = report.map_or(0, |report| report.busy_ns.load(Ordering::Relaxed));
            CoreView { core, stages, turns_per_second, busy_percent, busy_ns }
        };
        placement.workers().iter().enumerate().map(view).collect()
    }

    fn pipeline(&self) -> PipelineView {
        let Some(placement) = self.placement() else { return PipelineView::default() };
        let waiting = self.running.as_ref().map(Running::waiting).unwrap_or_default();
        let link = |(layout, length): (&LinkLayout, u64)| LinkView {
            from: layout.from.to_string(),
            to: layout.to.to_string(),
            kind: if layout.is_ring() { "ring" } else { "direct" }.to_owned(),
            length,
            capacity: layout.capacity as u64,
        };
        let core_of = |worker| placement.workers().get(worker).map_or(0, |(core, _)| *core);
        let stages = placement.stages().into_iter();
        let waiting = waiting.into_iter().chain(std::iter::repeat(0));
        PipelineView {
            stages: stages
                .map(|(stage, worker)| StageView { name: stage.to_string(), core: core_of(worker) })
                .collect(),
            links: layout(&placement).iter().zip(waiting).map(link).collect(),
        }
    }

    fn clear(&mut self, statistics: Statistics) -> Result<(), CommandError> {
        match statistics {
            Statistics::Port(Chosen::One(port)) => self.devices.ports.clear(port)?,
            Statistics::Port(Chosen::All) => {
                for port in self.devices.ports.numbers() {
                    self.devices.ports.clear(port)?;
                }
            }
            Statistics::Forwarding => self.cleared.forwarding = self.all_forwarding(),
            Statistics::Peer => self.cleared.peers = self.all_traffic(),
            Statistics::Drops => self.cleared.drops = self.all_drops(),
            Statistics::All => {
                self.clear(Statistics::Port(Chosen::All))?;
                self.cleared = Cleared {
                    drops: self.all_drops(),
                    peers: self.all_traffic(),
                    forwarding: self.all_forwarding(),
                    rules: self.all_hits(),
                };
            }
        }
        Ok(())
    }

    fn reload(&mut self, file: Option<&Path>) -> Result<Reloaded, CommandError> {
        let path = file.unwrap_or(&self.path).to_path_buf();
        let (config, warnings) = Config::load(&path, &self.machine)?;
        let changes = Config::reload_diff(&self.config, &config)?;
        let (places, moved) = self.places.next(&self.config, &config);
        // Only who comes needs them.
        let keys =
            if moved.joined.is_empty() { None } else { Keys::load(&config).map_err(refused)? };
        self.carry_hits(&config);
        let done = match &mut self.running {
            Some(running) => running.reconfigure(&config, keys.as_ref(), &places, &moved),
            None => Ok(()),
        };
        self.rules = self.running.as_ref().map(|running| Arc::clone(&running.rules));
        self.config = config;
        self.path = path;
        self.places = places;
        self.begin_peers(&moved);
        done.map_err(refused)?;
        Ok(Reloaded { changes, warnings })
    }
}

/// `now` less `earlier`.
pub(super) fn since(now: &PortForwarding, earlier: &PortForwarding) -> PortForwarding {
    PortForwarding {
        port: now.port,
        rx_packets: now.rx_packets.saturating_sub(earlier.rx_packets),
        rx_dropped: now.rx_dropped.saturating_sub(earlier.rx_dropped),
        rx_errors: now.rx_errors.saturating_sub(earlier.rx_errors),
        rx_nombuf: now.rx_nombuf.saturating_sub(earlier.rx_nombuf),
        tx_packets: now.tx_packets.saturating_sub(earlier.tx_packets),
        tx_dropped: now.tx_dropped.saturating_sub(earlier.tx_dropped),
    }
}
