//! A running appliance: worker threads, and the ordered stop.
//!
//! In: devices, a configuration. Out: threads that forward; handles to read them by. Never: a
//! device stopped while a worker still has something to send, unless the time is up.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dataplane::frame::Side;
use dataplane::interceptor::RuleTable;
use dataplane::packet_driver::PeerStatus;
use dataplane::pipeline::appliance::{Appliance, Handles};
use dataplane::pipeline::layout;
use dataplane::pipeline::newcomer::NewcomerMaker;
use dataplane::pipeline::port::PortIo;
use dataplane::pipeline::stop::{StopLimits, StopStep};
use dataplane::pipeline::worker::Worker;
use dataplane::time::Time;

use super::convert::{self, Circumstances};
use super::devices::Devices;
use super::exchange_thread::ExchangeThread;
use crate::args::Args;
use crate::config::Config;
use crate::idle::{Doorbell, Wakeup};
use crate::io::{MbufFrame, MbufSource, PortPair};
use crate::keys::{self, KeyErrors, Keys};
use crate::worker::{Clock, CoreReport, Order, Progress, Setup, WorkerThread};

/// Why forwarding could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The queues are with workers that did not give them back.
    #[error("the ports' queues are lost: a worker ended abnormally; restart tpo")]
    QueuesLost,
    /// Stages on cores.
    #[error(transparent)]
    Placement(#[from] dataplane::pipeline::PlacementError),
    /// A port.
    #[error(transparent)]
    Port(#[from] dpdk_wrapper::port::StartError),
    /// Randomness or a thread.
    #[error("the system refused randomness or a thread: {0}")]
    System(#[from] std::io::Error),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyErrors),
}

/// The devices of a worker: both ports, or none.
enum Io {
    Ports(Box<PortPair>),
    None,
}

impl PortIo for Io {
    type Frame = MbufFrame;

    fn receive(&mut self, side: Side, most: usize, into: &mut VecDeque<MbufFrame>) {
        if let Io::Ports(pair) = self {
            pair.receive(side, most, into);
        }
    }

    fn transmit(&mut self, side: Side, frames: &mut VecDeque<MbufFrame>) {
        if let Io::Ports(pair) = self {
            pair.transmit(side, frames);
        }
    }
}

/// Worker threads at work.
pub struct Running {
    threads: Vec<WorkerThread<MbufFrame, Io>>,
    /// Which of them drives the data mover.
    transmitter: usize,
    /// Ends when it is dropped.
    pub(super) key_exchange: Option<ExchangeThread>,
    /// Makes what peers that come bring along.
    pub(super) maker: NewcomerMaker,
    /// Of this start, then of the latest peer that came.
    pub(super) incarnation: u64,
    /// What can be read of the stages.
    pub handles: Handles,
    /// The clock of all workers.
    pub clock: Clock,
    /// The look-up table, with its hits.
    pub rules: Arc<RuleTable>,
    /// Items in each link when the workers were last asked.
    waiting: Arc<[AtomicU64]>,
}

impl Running {
    /// Starts the ports and a thread per worker.
    ///
    /// # Errors
    /// What refused; the devices are as before.
    pub fn start(devices: &mut Devices, args: &Args, config: &Config) -> Result<Self, StartError> {
        let circumstances = Circumstances {
            lan_mac: devices.macs[0],
            wan_mac: devices.macs[1],
            offloads: devices.offloads,
            secret: secret()?,
            incarnation: incarnation(),
            burst: usize::from(args.burst),
            keys: Keys::load(config)?,
        };
        let plan = convert::appliance(config, &circumstances)?;
        let entropy = |bytes: &mut [u8]| keys::random(bytes).is_ok();
        let Appliance { workers, handles, key_exchange, newcomers } =
            Appliance::new(&plan, Box::new(entropy));
        let transmits = |worker: &Worker<MbufFrame>| worker.transmit.is_some();
        let transmitter = workers.iter().position(transmits).unwrap_or(0);
        let bells = (0..workers.len()).map(|_| Doorbell::new().map(Arc::new));
        let bells = bells.collect::<std::io::Result<Arc<[_]>>>()?;
        let wakeups = workers.iter().zip(bells.iter()).map(|(worker, bell)| {
            let sockets = match worker.port {
                Some(_) => devices.ports.sockets(&devices.eal),
                None => Some(Vec::new()),
            };
            sockets.map(|sockets| Wakeup::new(Arc::clone(bell), sockets)).transpose()
        });
        let wakeups = wakeups.collect::<std::io::Result<Vec<_>>>()?;
        let taken: Vec<usize> = workers.iter().map(|worker| worker.core).collect();
        let key_exchange = key_exchange.map(|e| ExchangeThread::start(e, &taken)).transpose()?;
        devices.ports.start_all()?;
        let mut pair = Some(devices.pair.take().ok_or(StartError::QueuesLost)?);
        let clock = Clock::new(&devices.eal);
        let mut threads = Vec::new();
        for (place, (worker, wakeup)) in workers.into_iter().zip(wakeups).enumerate() {
            let has_ports = worker.port.is_some();
            let io = match pair.take_if(|_| has_ports) {
                Some(pair) => Io::Ports(Box::new(pair)),
                None => Io::None,
            };
            let source = MbufSource::new(devices.pool.clone());
            let bells = Arc::clone(&bells);
            let idle = args.idle;
            let setup = Setup { worker, io, source, idle, wakeup, bells, place, clock };
            match WorkerThread::start(&devices.eal, setup) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    end(threads, devices);
                    return Err(error.into());
                }
            }
        }
        let waiting = layout(&plan.placement).iter().map(|_| AtomicU64::new(0)).collect();
        Ok(Running {
            threads,
            transmitter,
            key_exchange,
            maker: newcomers,
            incarnation: circumstances.incarnation,
            handles,
            clock,
            rules: plan.rules,
            waiting,
        })
    }

    /// Runs `order` on every worker and waits until all have done it, or until `deadline`; says
    /// whether all have.
    pub(super) fn all(&self, deadline: Instant, order: impl Fn() -> Order<MbufFrame>) -> bool {
        self.those(&self.threads, deadline, order)
    }

    /// The same on the worker that drives the data mover.
    pub(super) fn transmitter(
        &self,
        deadline: Instant,
        order: impl FnMut(Time, &mut Worker<MbufFrame>) -> Progress + Send + 'static,
    ) -> bool {
        let order = Cell::new(Some(order));
        let thread = self.threads.get(self.transmitter..=self.transmitter).unwrap_or(&[]);
        self.those(thread, deadline, || match order.take() {
            Some(order) => Box::new(order),
            None => Box::new(|_, _| Progress::Done),
        })
    }

    fn those(
        &self,
        threads: &[WorkerThread<MbufFrame, Io>],
        deadline: Instant,
        order: impl Fn() -> Order<MbufFrame>,
    ) -> bool {
        let (done, waiting) = mpsc::channel();
        for thread in threads {
            let (mut order, done) = (order(), done.clone());
            thread.order(Box::new(move |now, worker| {
                let progress = order(now, worker);
                if progress == Progress::Done {
                    let _ = done.send(());
                }
                progress
            }));
        }
        threads.iter().all(|_| {
            let left = deadline.saturating_duration_since(Instant::now());
            waiting.recv_timeout(left).is_ok()
        })
    }

    /// Stops in order: no new flows; what is there may end by itself until `drain`; what remains
    /// is reset on both sides; once the peers have heard all of it they are told that we go; the
    /// devices are stopped and clean.
    pub fn stop(self, devices: &mut Devices, drain: Duration) {
        let rtt_ns = self.handles.peers.iter().map(PeerStatus::rtt_ns).max().unwrap_or(0);
        let drain_ns = u64::try_from(drain.as_nanos()).unwrap_or(u64::MAX);
        for (limit_ns, steps) in StopStep::parts(&StopLimits::new(drain_ns, rtt_ns)) {
            let deadline = Instant::now() + Duration::from_nanos(limit_ns);
            for step in steps {
                // Whatever is left when the time is up is left.
                let _ = self.all(deadline, || {
                    Box::new(|now, worker| match worker.stop(now, *step) {
                        true => Progress::Done,
                        false => Progress::Again,
                    })
                });
            }
        }
        end(self.threads, devices);
    }

    /// Asks the workers how many items wait in each link; the answer is in [`Self::waiting`] when
    /// they get to it.
    pub fn count_waiting(&self) {
        for thread in &self.threads {
            let waiting = Arc::clone(&self.waiting);
            thread.order(Box::new(move |_, worker| {
                for (count, length) in waiting.iter().zip(worker.links.waiting()) {
                    if let Some(length) = length {
                        count.store(length as u64, Ordering::Relaxed);
                    }
                }
                Progress::Done
            }));
        }
    }

    /// Items in each link of the layout when the workers were last asked.
    #[must_use]
    pub fn waiting(&self) -> Vec<u64> {
        self.waiting.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Cores and how busy they are.
    pub fn reports(&self) -> impl Iterator<Item = (usize, &CoreReport)> {
        self.threads.iter().map(|thread| (thread.core(), thread.report().as_ref()))
    }
}

/// Ends the threads and stops the ports, whose queues go back to the devices.
fn end(threads: Vec<WorkerThread<MbufFrame, Io>>, devices: &mut Devices) {
    for thread in threads {
        if let Some(Io::Ports(pair)) = thread.stop() {
            devices.pair = Some(*pair);
        }
    }
    devices.ports.stop_all();
}

pub(super) fn secret() -> std::io::Result<[u64; 4]> {
    let mut bytes = [0_u8; 32];
    keys::random(&mut bytes)?;
    let mut words = [0; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    Ok(words)
}

/// Nanoseconds since 1970: larger for a later start, as long as the clock is not set back.
pub(super) fn incarnation() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
