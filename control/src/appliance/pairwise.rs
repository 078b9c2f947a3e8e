//! Without a configuration: frames from one port to the next, as testpmd's io mode does.
//!
//! In: all ports that DPDK has: 0 and 1 are a pair, 2 and 3, ...; a last one without a partner
//! sends back what it receives. Out: the same frames, untouched. Never: a frame held for a port
//! that does not take it: it is offered twice, then dropped and counted.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use dataplane::counters::Counters;
use dataplane::pipeline::port::BURST_MAX;
use dataplane::time::Time;
use dpdk_wrapper::{
    Burst, Eal, Mempool, MempoolConfig, Port, PortConfig, Queues, RxQueue, ThreadRegistration,
    TxQueue,
};

use super::load::LoadMeter;
use super::ports::{Ports, refused};
use crate::args::{Args, Idle};
use crate::cli::{
    Backend, CommandError, CoreView, CounterView, DropView, FlowFilter, Flows, LinkView, PeerView,
    PipelineView, PortAction, PortCounters, PortForwarding, PortInfo, Ports as Chosen, Reloaded,
    RuleView, StageView, Statistics, Xstat,
};
use crate::config::{Config, Limits};
use crate::idle::{Backoff, Doorbell, Wakeup};
use crate::run::Plan;
use crate::stats::{self, Sample};
use crate::worker::{Clock, CoreReport, add};

/// Most frames per call of a driver.
const BURST: usize = BURST_MAX;
/// What the one stage is called.
const STAGE: &str = "io";

dataplane::counters! {
    /// Counters of one port.
    pub enum PairwiseCounter, "io" {
        FramesIn: In, "frames_in", "frames", "Frames received.";
        FramesOut: Out, "frames_out", "frames", "Frames that the other port took.";
        NotTaken: Drop, "not_taken", "frames", "Frames that the other port did not take, offered twice.";
    }
}

/// One port's receive queue and the transmit queue of its partner.
struct Stream {
    rx: RxQueue,
    tx: TxQueue,
    counters: Counters<PairwiseCounter>,
}

/// What a worker is given, and gives back when it ends.
struct Work {
    streams: Vec<Stream>,
    burst: Burst<BURST>,
    /// Frames received at a time.
    burst_len: usize,
}

/// A worker at work.
struct Running {
    stop: Arc<AtomicBool>,
    report: Arc<CoreReport>,
    thread: JoinHandle<Work>,
}

/// Ports that forward to each other.
pub struct Pairwise {
    eal: Eal,
    ports: Ports,
    /// Number of each port and of its partner, with what was counted of the frames it received.
    pairs: Vec<(u16, u16, Counters<PairwiseCounter>)>,
    /// While no worker has it.
    work: Option<Work>,
    running: Option<Running>,
    core: usize,
    idle: Idle,
    cleared_forwarding: Vec<PortForwarding>,
    cleared_drops: Vec<DropView>,
    loads: LoadMeter,
    _pool: Mempool,
}

/// The partner of the port at `index` among `count` ports.
const fn partner(index: usize, count: usize) -> usize {
    let other = index ^ 1;
    if other < count { other } else { index }
}

impl Pairwise {
    /// Opens and configures all ports; nothing is forwarded yet.
    ///
    /// # Errors
    /// DPDK did not start, has no port, or a port could not be had.
    pub fn open(plan: &Plan) -> Result<Self, Box<dyn Error>> {
        let eal = Eal::init(&plan.eal_args)?;
        let numbers = dpdk_wrapper::ports(&eal);
        if numbers.is_empty() {
            return Err("DPDK has found no port: name devices with --vdev or -a before --, \
                        or bind them to vfio-pci"
                .into());
        }
        let pool = Mempool::new(&eal, &MempoolConfig::new("frames", Limits::default().frames))?;
        let mut ports = Vec::new();
        let (mut receiving, mut sending) = (Vec::new(), Vec::new());
        for number in &numbers {
            let port = Port::open(&eal, *number)?;
            let Queues { rx, tx, .. } =
                port.configure(&settings(&plan.args), std::slice::from_ref(&pool))?;
            receiving.push(rx);
            sending.push(tx.into_iter().collect::<std::collections::VecDeque<_>>());
            ports.push(port);
        }
        let (mut pairs, mut streams) = (Vec::new(), Vec::new());
        for (index, queues) in receiving.into_iter().enumerate() {
            let other = partner(index, numbers.len());
            let counters = Counters::default();
            pairs.push((numbers[index].0, numbers[other].0, counters.clone()));
            for rx in queues {
                let tx = sending[other].pop_front().ok_or(
                    "every port needs as many transmit queues as its partner has receive queues: \
                     set --txq to --rxq",
                )?;
                streams.push(Stream { rx, tx, counters: counters.clone() });
            }
        }
        let burst_len = usize::from(plan.args.burst);
        Ok(Pairwise {
            eal,
            ports: Ports::new(ports),
            pairs,
            work: Some(Work { streams, burst: Burst::new(), burst_len }),
            running: None,
            core: plan.machine.cores.last().copied().unwrap_or(0),
            idle: plan.args.idle,
            cleared_forwarding: Vec::new(),
            cleared_drops: Vec::new(),
            loads: LoadMeter::default(),
            _pool: pool,
        })
    }

    /// Housekeeping, some times a second.
    pub fn tick(&mut self) {
        if let Some(running) = &self.running {
            self.loads.note(self.core, &running.report, Instant::now());
        }
    }

    fn all_forwarding(&self) -> Vec<PortForwarding> {
        let one = |(port, partner, counters): &(u16, u16, Counters<PairwiseCounter>)| {
            let device = self.ports.counted(*port).unwrap_or_default();
            let from = self.pairs.iter().find(|(number, _, _)| number == partner);
            let sent = |counter| from.map_or(0, |(_, _, counters)| counters.get(counter));
            PortForwarding {
                port: *port,
                rx_packets: counters.get(PairwiseCounter::FramesIn),
                rx_dropped: device.rx_missed,
                rx_errors: device.rx_errors,
                rx_nombuf: device.rx_nombuf,
                tx_packets: sent(PairwiseCounter::FramesOut),
                tx_dropped: sent(PairwiseCounter::NotTaken),
            }
        };
        self.pairs.iter().map(one).collect()
    }

    fn samples(&self) -> Vec<Sample> {
        let devices = self.ports.numbers().into_iter().flat_map(|port| {
            let counters = self.ports.counted(port).unwrap_or_default();
            super::counters::of_device("device", &counters).collect::<Vec<Sample>>()
        });
        let streams = self.pairs.iter().flat_map(|(_, _, counters)| stats::samples(counters));
        devices.chain(streams).collect()
    }

    fn all_drops(&self) -> Vec<DropView> {
        stats::drops(self.samples())
    }
}

fn settings(args: &Args) -> PortConfig {
    PortConfig {
        rx_queues: args.rxq,
        tx_queues: args.txq,
        rxd: args.rxd,
        txd: args.txd,
        promiscuous: true,
        symmetric_rss: args.rxq > 1,
        ..PortConfig::default()
    }
}

/// Moves one burst; whether there was one.
fn forward(stream: &mut Stream, burst: &mut Burst<BURST>, most: usize) -> bool {
    let received = stream.rx.rx_burst_at_most(burst, most);
    if received == 0 {
        return false;
    }
    let mut sent = stream.tx.tx_burst(burst);
    if sent < received {
        sent += stream.tx.tx_burst(burst);
        burst.clear();
    }
    stream.counters.add(PairwiseCounter::FramesIn, received as u64);
    stream.counters.add(PairwiseCounter::FramesOut, sent as u64);
    stream.counters.add(PairwiseCounter::NotTaken, (received - sent) as u64);
    true
}

/// The loop of the worker.
fn work(
    mut work: Work,
    clock: Clock,
    mut backoff: Backoff,
    stop: &AtomicBool,
    report: &CoreReport,
) -> Work {
    let mut now = clock.now();
    while !stop.load(Ordering::Acquire) {
        let mut busy = false;
        for stream in &mut work.streams {
            busy |= forward(stream, &mut work.burst, work.burst_len);
        }
        let after = clock.now();
        add(&report.turns, 1);
        now = if busy {
            add(&report.busy_turns, 1);
            add(&report.busy_ns, after.since_ns(now));
            backoff.reset();
            after
        } else {
            add(&report.asleep_ns, backoff.wait(after, Time::NEVER, || true));
            clock.now()
        };
    }
    work
}

impl Backend for Pairwise {
    fn is_forwarding(&self) -> bool {
        self.running.is_some()
    }

    fn start(&mut self) -> Result<(), CommandError> {
        if self.ports.numbers().len() < self.pairs.len() {
            return Err(refused("a port is closed: stop tpo and start it again"));
        }
        self.ports.start_all().map_err(refused)?;
        let bell = Arc::new(Doorbell::new().map_err(refused)?);
        let sockets = self.ports.sockets(&self.eal);
        let wakeup = sockets.map(|sockets| Wakeup::new(bell, sockets)).transpose();
        let backoff = Backoff::new(self.idle, wakeup.map_err(refused)?);
        let given = self.work.take().ok_or_else(|| {
            refused("the ports' queues are lost: a worker ended abnormally; restart tpo")
        })?;
        self.cleared_forwarding = self.all_forwarding();
        self.loads = LoadMeter::default();
        let (stop, report) = (Arc::new(AtomicBool::new(false)), Arc::new(CoreReport::default()));
        let shared = (Arc::clone(&stop), Arc::clone(&report));
        let (eal, core) = (self.eal.clone(), self.core);
        let thread = thread::Builder::new().name(format!("worker-{core}")).spawn(move || {
            core_affinity::set_for_current(core_affinity::CoreId { id: core });
            // Without it the thread works too, only its mempools are slower.
            let _registration = ThreadRegistration::new(&eal).ok();
            work(given, Clock::new(&eal), backoff, &shared.0, &shared.1)
        });
        let thread =
            thread.map_err(|error| refused(format!("the system refused a thread: {error}")))?;
        self.running = Some(Running { stop, report, thread });
        Ok(())
    }

    fn stop(&mut self) -> Result<(), CommandError> {
        if let Some(running) = self.running.take() {
            running.stop.store(true, Ordering::Release);
            self.work = running.thread.join().ok();
        }
        self.ports.stop_all();
        match self.work {
            Some(_) => Ok(()),
            None => Err(refused("a worker ended abnormally: restart tpo")),
        }
    }

    fn ports(&self) -> Vec<u16> {
        self.ports.numbers()
    }

    fn port_info(&self, port: u16) -> Result<PortInfo, CommandError> {
        self.ports.info(port)
    }

    fn port_counters(&self, port: u16) -> Result<PortCounters, CommandError> {
        self.ports.counters(port)
    }

    fn port_xstats(&self, port: u16) -> Result<Vec<Xstat>, CommandError> {
        self.ports.xstats(port)
    }

    fn port_action(&mut self, port: u16, action: PortAction) -> Result<(), CommandError> {
        if action != PortAction::Start && self.is_forwarding() {
            return Err(refused(format!("port {port} is forwarding: stop forwarding first")));
        }
        match action {
            PortAction::Start => self.ports.start(port),
            PortAction::Stop => self.ports.stop(port),
            PortAction::Close => {
                // A port closes when its queues are gone; its partner is of no use without it.
                if let Some(work) = &mut self.work {
                    work.streams.clear();
                }
                self.ports.close(port)
            }
        }
    }

    fn set_promiscuous(&mut self, port: u16, on: bool) -> Result<(), CommandError> {
        self.ports.set_promiscuous(port, on)
    }

    fn forwarding(&self) -> Vec<PortForwarding> {
        let mut ports = self.all_forwarding();
        for port in &mut ports {
            if let Some(old) = self.cleared_forwarding.iter().find(|old| old.port == port.port) {
                *port = super::backend::since(port, old);
            }
        }
        ports
    }

    fn config(&self) -> Option<&Config> {
        None
    }

    fn peers(&self) -> Vec<PeerView> {
        Vec::new()
    }

    fn flows(&self, _: &FlowFilter) -> Flows {
        Flows::default()
    }

    fn rules(&self) -> Vec<RuleView> {
        Vec::new()
    }

    fn drops(&self) -> Vec<DropView> {
        let mut drops = self.all_drops();
        for (drop, cleared) in drops.iter_mut().zip(&self.cleared_drops) {
            drop.count = drop.count.saturating_sub(cleared.count);
        }
        drops
    }

    fn counters(&self) -> Vec<CounterView> {
        stats::counters(self.samples())
    }

    fn cores(&self) -> Vec<CoreView> {
        let report = self.running.as_ref().map(|running| &running.report);
        let load = report.map(|report| self.loads.load(self.core, report, Instant::now()));
        let (turns_per_second, busy_percent) = load.unwrap_or_default();
        let busy_ns = report.map_or(0, |report| report.busy_ns.load(Ordering::Relaxed));
        let stages = vec![STAGE.to_owned()];
        vec![CoreView { core: self.core, stages, turns_per_second, busy_percent, busy_ns }]
    }

    fn pipeline(&self) -> PipelineView {
        let link = |(from, to, _): &(u16, u16, _)| LinkView {
            from: format!("port {from}"),
            to: format!("port {to}"),
            kind: "direct".to_owned(),
            length: 0,
            capacity: BURST as u64,
        };
        PipelineView {
            stages: vec![StageView { name: STAGE.to_owned(), core: self.core }],
            links: self.pairs.iter().map(link).collect(),
        }
    }

    fn clear(&mut self, statistics: Statistics) -> Result<(), CommandError> {
        let ports = match statistics {
            Statistics::Port(Chosen::One(port)) => vec![port],
            Statistics::Port(Chosen::All) | Statistics::All => self.ports.numbers(),
            Statistics::Forwarding | Statistics::Peer | Statistics::Drops => Vec::new(),
        };
        for port in ports {
            self.ports.clear(port)?;
        }
        if matches!(statistics, Statistics::Forwarding | Statistics::All) {
            self.cleared_forwarding = self.all_forwarding();
        }
        if matches!(statistics, Statistics::Drops | Statistics::All) {
            self.cleared_drops = self.all_drops();
        }
        Ok(())
    }

    fn reload(&mut self, _: Option<&Path>) -> Result<Reloaded, CommandError> {
        Err(CommandError::NoConfiguration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_pair_up_and_the_last_one_may_be_alone() {
        let partners = |count| (0..count).map(|index| partner(index, count)).collect::<Vec<_>>();
        assert_eq!(partners(4), [1, 0, 3, 2]);
        assert_eq!(partners(3), [1, 0, 2]);
        assert_eq!(partners(1), [0]);
    }
}
