//! An appliance of a pair: its workers, its pool of frames, the queues of its two ports.
//!
//! In: frames of both sides, the time. Out: frames to both sides, when to be called next.
//! Never: two workers at once; they take turns, which makes every run repeatable.

use std::collections::VecDeque;

use dataplane::compression::Level;
use dataplane::data_mover::security::KeyExchange;
use dataplane::frame::Side;
use dataplane::frame::heap::{HeapFrame, HeapSource};
use dataplane::pipeline::appliance::{Appliance, ApplianceConfig, Handles};
use dataplane::pipeline::newcomer::NewcomerMaker;
use dataplane::pipeline::port::PortIo;
use dataplane::pipeline::reload::Reconfiguration;
use dataplane::pipeline::stop::{StopLimits, StopStep};
use dataplane::pipeline::worker::{Turn, Worker};
use dataplane::time::Time;

use super::handover::{Change, Handover};
use super::nic;
use crate::link::Random;

/// Frames that wait in a port's receive queue, at most.
const RECEIVE_QUEUE: usize = 1024;
/// Between two looks at what workers were asked to do and is not done.
const ORDERS_EVERY_NS: u64 = 50_000;
/// Turns at one moment after which workers are taken to spin.
const TURNS_MAX: u64 = 1_000_000;

/// What happened at the ports of an appliance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortTally {
    /// Frames that found the receive queue full.
    pub queue_full: u64,
    /// Frames for which the pool had no memory.
    pub no_memory: u64,
    /// Most frames of the pool that were ever out.
    pub frames_peak: usize,
    /// Frames on the cable of the LAN that came from the appliance.
    pub lan_frames_out: u64,
    /// Bytes of those.
    pub lan_bytes_out: u64,
    /// Turns of all workers.
    pub turns: u64,
    /// What the meter has measured during turns.
    pub metered: u64,
}

/// Both ports, as the workers see them.
#[derive(Debug, Default)]
struct Ports {
    received: [VecDeque<HeapFrame>; 2],
    sent: [VecDeque<HeapFrame>; 2],
}

impl PortIo for Ports {
    type Frame = HeapFrame;

    fn receive(&mut self, side: Side, most: usize, into: &mut VecDeque<HeapFrame>) {
        let queue = &mut self.received[side.index()];
        let count = most.min(queue.len());
        into.extend(queue.drain(..count));
    }

    fn transmit(&mut self, side: Side, frames: &mut VecDeque<HeapFrame>) {
        self.sent[side.index()].append(frames);
    }
}

/// Calls a function and says how much of something, such as allocations, that took.
pub type Meter = fn(&mut dyn FnMut()) -> u64;

/// An appliance of a pair.
pub struct Tpo {
    workers: Vec<Worker<HeapFrame>>,
    key_exchange: Option<KeyExchange>,
    newcomers: NewcomerMaker,
    handover: Handover,
    /// What can be read of it.
    pub handles: Handles,
    source: HeapSource,
    ports: Ports,
    next: Time,
    /// A worker that stands still.
    stalled: Option<usize>,
    /// Draws which worker is behind the others for a while; `None`: none ever is.
    uneven: Option<Random>,
    /// Steps of an ordered stop that are still to be done.
    stopping: VecDeque<StopStep>,
    /// Until when flows may end by themselves.
    drain_until: Time,
    meter: Option<Meter>,
    /// Whether its LAN port verifies checksums, and does not get to see them of half of the frames.
    verifies: bool,
    /// Frames that arrived at it.
    verified: u64,
    /// What a byte costs at each level of compression, in picoseconds. The time of the simulation
    /// does not move for it; it is only what the stage gets to know.
    compress_ps: [u64; Level::COUNT],
    /// What happened at its ports.
    pub tally: PortTally,
}

impl Tpo {
    /// An appliance that has not run yet.
    #[must_use]
    pub fn new(config: &ApplianceConfig) -> Self {
        let [a, b, ..] = config.secret;
        let mut random = Random::for_purpose(a, b);
        let entropy = move |bytes: &mut [u8]| {
            random.fill(bytes);
            true
        };
        let Appliance { workers, handles, key_exchange, newcomers } =
            Appliance::new(config, Box::new(entropy));
        let queue = || VecDeque::with_capacity(2 * RECEIVE_QUEUE);
        Tpo {
            workers,
            key_exchange,
            newcomers,
            handover: Handover::default(),
            handles,
            source: HeapSource::new(config.limits.frames),
            ports: Ports { received: [queue(), queue()], sent: [queue(), queue()] },
            next: Time::ZERO,
            stalled: None,
            uneven: None,
            stopping: VecDeque::new(),
            drain_until: Time::NEVER,
            meter: None,
            verifies: false,
            verified: 0,
            compress_ps: [0; Level::COUNT],
            tally: PortTally::default(),
        }
    }

    /// From now on one worker or another stands still for some turns while the others go on.
    pub fn run_unevenly(&mut self, seed: u64) {
        self.uneven = Some(Random::new(seed));
    }

    /// Measures the turns of its workers, and nothing else, from now on.
    pub fn measure(&mut self, meter: Meter) {
        self.meter = Some(meter);
        self.tally.metered = 0;
    }

    /// The same, where compressing has a cost.
    #[must_use]
    pub fn with_costs(mut self, compress_ps: [u64; Level::COUNT]) -> Self {
        self.compress_ps = compress_ps;
        self
    }

    /// The same, with a LAN port that verifies checksums.
    #[must_use]
    pub fn with_verifying_port(mut self, verifies: bool) -> Self {
        self.verifies = verifies;
        self
    }

    /// The worker with this number stands still from now on; with `None` all run.
    pub fn stall(&mut self, worker: Option<usize>) {
        self.stalled = worker;
        self.next = Time::ZERO;
    }

    /// Configures its stages anew, as the control thread does.
    pub fn reload(&mut self, new: &Reconfiguration) {
        self.workers.iter_mut().for_each(|worker| worker.reconfigure(new));
        self.next = Time::ZERO;
    }

    /// Peers leave, and others come, from now on.
    pub fn change_peers(&mut self, change: &Change) {
        self.handover.add(change, &self.newcomers, self.workers.len());
        self.next = Time::ZERO;
    }

    /// Whether all of that is done.
    #[must_use]
    pub fn has_changed_peers(&self) -> bool {
        self.handover.is_done()
    }

    /// Begins an ordered stop, in which flows may end by themselves for `drain_ns`. The other
    /// steps have no limit: what they wait for has to happen.
    pub fn begin_stop(&mut self, now: Time, drain_ns: u64) {
        let parts = StopStep::parts(&StopLimits::new(drain_ns, 0));
        self.stopping = parts.iter().flat_map(|(_, steps)| steps.iter().copied()).collect();
        self.drain_until = now + drain_ns;
        self.next = Time::ZERO;
    }

    /// Whether no step of an ordered stop is left to be done.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.stopping.is_empty()
    }

    /// A frame arrives at a port.
    pub fn receive(&mut self, side: Side, bytes: &[u8]) {
        let queue = &mut self.ports.received[side.index()];
        if queue.len() >= RECEIVE_QUEUE {
            self.tally.queue_full += 1;
        } else if let Some(mut frame) = self.source.frame_of(bytes) {
            if self.verifies && side == Side::Lan {
                nic::received(&mut frame, self.verified);
                self.verified += 1;
            }
            queue.push_back(frame);
        } else {
            self.tally.no_memory += 1;
        }
    }

    /// Whether there is anything to do at `now`.
    #[must_use]
    pub fn is_due(&self, now: Time) -> bool {
        self.next <= now || self.ports.received.iter().any(|queue| !queue.is_empty())
    }

    /// Turns all workers until none has anything to do, and goes on with an ordered stop.
    pub fn turn(&mut self, now: Time) {
        self.turn_workers(now);
        while !self.handover.is_done()
            && self.handover.go_on(now, &mut self.workers, self.key_exchange.as_mut())
        {
            self.turn_workers(now);
        }
        if !self.handover.is_done() {
            // As often as a worker looks at what it was asked to do.
            self.turn_workers(now);
            self.next = self.next.min(now + ORDERS_EVERY_NS);
        }
        let mut waited_for = None;
        while let Some(step) = self.stopping.front().copied() {
            let mut done = step == StopStep::Drain && now >= self.drain_until;
            // Each has its part.
            done |=
                self.workers.iter_mut().fold(true, |done, worker| worker.stop(now, step) & done);
            if done {
                self.stopping.pop_front();
            } else if waited_for.replace(step) == Some(step) {
                break;
            }
            self.turn_workers(now);
        }
        if self.stopping.front() == Some(&StopStep::Drain) {
            self.next = self.next.min(self.drain_until);
        }
    }

    /// Turns all workers until none has anything to do.
    ///
    /// # Panics
    /// When they never stop.
    fn turn_workers(&mut self, now: Time) {
        let mut turns = 0;
        let mut behind = None;
        loop {
            let mut busy = false;
            let mut next = Time::NEVER;
            for (number, worker) in self.workers.iter_mut().enumerate() {
                if self.stalled == Some(number) || behind == Some(number) {
                    continue;
                }
                let (ports, source) = (&mut self.ports, &mut self.source);
                let mut turn = Turn { busy: false, next: Time::NEVER };
                let mut take_turn = || turn = worker.turn(now, ports, source);
                match self.meter {
                    Some(meter) => self.tally.metered += meter(&mut take_turn),
                    None => take_turn(),
                }
                if let Some(compress) = &mut worker.compress {
                    let cost_ns = compress.under_way().map_or(0, |(level, len)| {
                        self.compress_ps[level.index()] * len as u64 / 1_000
                    });
                    compress.turn_begins(now + cost_ns);
                }
                busy |= turn.busy;
                next = next.min(turn.next);
                turns += 1;
            }
            // Another thread does this, while the workers go on.
            busy |= self.key_exchange.as_mut().is_some_and(KeyExchange::turn);
            self.tally.frames_peak = self.tally.frames_peak.max(self.source.in_use());
            if !busy && behind.take().is_some() {
                // The others can do nothing more without it.
                continue;
            }
            if !busy {
                // What could not be done now can only be done later.
                self.next = next.max(now + 1_000);
                break;
            }
            if let Some(random) = &mut self.uneven
                && random.chance(0.25)
            {
                behind = usize::try_from(random.up_to(self.workers.len() as u64 - 1)).ok();
            }
            assert!(turns < TURNS_MAX, "workers spin at {now:?}: {:?}", self.counters());
        }
        self.tally.turns += turns;
    }

    /// A frame that leaves at a port.
    pub fn take_sent(&mut self, side: Side, mut take: impl FnMut(&[u8])) -> bool {
        let mut any = false;
        for frame in self.ports.sent[side.index()].drain(..) {
            nic::sent(&frame, |bytes| {
                if side == Side::Lan {
                    self.tally.lan_frames_out += 1;
                    self.tally.lan_bytes_out += bytes.len() as u64;
                }
                take(bytes);
            });
            any = true;
        }
        any
    }

    /// When there will be something to do, if no frame comes in until then.
    #[must_use]
    pub fn next_time(&self) -> Time {
        self.next
    }

    /// Frames that are out of the pool.
    #[must_use]
    pub fn frames_in_use(&self) -> usize {
        self.source.in_use()
    }

    /// All counters that are not 0, by stage and name.
    #[must_use]
    pub fn counters(&self) -> Vec<(String, u64)> {
        use dataplane::counters::{Counter, Counters};
        fn of<C: Counter>(counters: &Counters<C>) -> impl Iterator<Item = (String, u64)> + '_ {
            let named = |(definition, value): (&dataplane::counters::Definition, u64)| {
                (format!("{}.{}", C::STAGE, definition.name), value)
            };
            counters.iter().map(named)
        }
        let h = &self.handles;
        let mut all: Vec<(String, u64)> = of(&h.port).collect();
        all.extend(h.interceptor.each().iter().flat_map(of));
        all.extend(h.edge.each().iter().flat_map(of));
        all.extend(of(&h.aggregate));
        all.extend(h.compress.iter().flat_map(of));
        all.extend(of(&h.transmit).chain(of(&h.demux)));
        all.extend(h.movers.iter().flat_map(of));
        all.extend(of(&h.exchange));
        all.extend(h.decompress.iter().flat_map(of));
        all.extend(h.disaggregate.iter().flat_map(of));
        all.retain(|(_, value)| *value != 0);
        all
    }
}
