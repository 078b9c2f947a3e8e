//! The thread around a worker's loop: pinned, registered with DPDK, backing off when idle.
//!
//! In: a worker, its devices, orders of the control thread. Out: turns; a report of how busy the
//! core is. Never: a sleep while there is something to do (how it sleeps: [`crate::idle`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::mpsc;
use std::thread;

use dataplane::frame::FrameSource;
use dataplane::pipeline::port::PortIo;
use dataplane::pipeline::worker::Worker;
use dataplane::time::{MILLISECOND_NS, SECOND_NS, Time};
use dpdk_wrapper::{Eal, ThreadRegistration, eal, set_nice};

use crate::args::Idle;
use crate::idle::{Backoff, Doorbell, Wakeup};

/// Turns between two looks at orders while busy.
const ORDERS_EVERY: u32 = 64;
/// Between two looks at orders that are not done yet, while idle, in nanoseconds.
const AGAIN_NS: u64 = MILLISECOND_NS;
/// How far in front of the control thread a worker is where they share a core: with commands without
/// a pause, frames waited for 12 to 20 ms there, and for 8 with this.
const NICE: i32 = -10;

/// Time since a common start, from the TSC.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: u64,
    /// Nanoseconds of a tick, 32 of its bits behind the point: a multiplication instead of a
    /// division in each turn.
    tick_ns: u64,
}

/// Bits of [`Clock::tick_ns`] behind the point.
const TICK_BITS: u32 = 32;

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn new(eal: &Eal) -> Self {
        let tick_ns = (u128::from(SECOND_NS) << TICK_BITS) / u128::from(eal.tsc_hz().max(1));
        Clock { start: eal::tsc(), tick_ns: u64::try_from(tick_ns).unwrap_or(u64::MAX) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Time {
        let ticks = u128::from(eal::tsc().wrapping_sub(self.start));
        let ns = (ticks * u128::from(self.tick_ns)) >> TICK_BITS;
        Time::from_ns(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

/// What the control thread asks of a worker between turns.
pub type Order<F> = Box<dyn FnMut(Time, &mut Worker<F>) -> Progress + Send>;

/// Whether an order is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is done.
    Done,
    /// It is to be called again after some turns.
    Again,
}

/// How busy a core is; written by its worker.
#[derive(Debug, Default)]
pub struct CoreReport {
    /// Turns so far.
    pub turns: AtomicU64,
    /// Of these, with something to do.
    pub busy_turns: AtomicU64,
    /// Nanoseconds in turns with something to do.
    pub busy_ns: AtomicU64,
    /// Nanoseconds asleep.
    pub asleep_ns: AtomicU64,
}

/// What a worker's thread is started with.
pub struct Setup<F, P, S> {
    /// Its stages.
    pub worker: Worker<F>,
    /// Its devices.
    pub io: P,
    /// Where its empty frames come from.
    pub source: S,
    /// What it does when idle.
    pub idle: Idle,
    /// What can wake it; `None` if its devices can only be polled.
    pub wakeup: Option<Wakeup>,
    /// Bells of all workers, in the order of the placement.
    pub bells: Arc<[Arc<Doorbell>]>,
    /// Its own place in that order.
    pub place: usize,
    /// The common clock.
    pub clock: Clock,
}

/// A running worker.
pub struct WorkerThread<F, P> {
    orders: mpsc::Sender<Order<F>>,
    bell: Arc<Doorbell>,
    stop: Arc<AtomicBool>,
    report: Arc<CoreReport>,
    core: usize,
    thread: thread::JoinHandle<P>,
}

impl<F, P> WorkerThread<F, P>
where
    F: dataplane::frame::Frame,
    P: PortIo<Frame = F> + Send + 'static,
{
    /// Starts the thread; it is pinned before it touches anything.
    ///
    /// # Errors
    /// The system refused a thread.
    pub fn start<S>(eal: &Eal, setup: Setup<F, P, S>) -> std::io::Result<Self>
    where
        S: FrameSource<Frame = F> + Send + 'static,
        Worker<F>: Send,
    {
        let (orders, receiver) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let report = Arc::new(CoreReport::default());
        let core = setup.worker.core;
        let bell = Arc::clone(&setup.bells[setup.place]);
        let shared = (Arc::clone(&stop), Arc::clone(&report));
        let eal = eal.clone();
        let thread = thread::Builder::new().name(format!("worker-{core}")).spawn(move || {
            core_affinity::set_for_current(core_affinity::CoreId { id: core });
            // Without it the thread works too, only its mempools are slower.
            let _registration = ThreadRegistration::new(&eal).ok();
            // Sleeps end when they should, not when it suits the kernel.
            let _ = nix::sys::prctl::set_timerslack(1);
            // Without it, it has its share of the core.
            let _ = set_nice(NICE);
            run(setup, &receiver, &shared.0, &shared.1)
        })?;
        Ok(WorkerThread { orders, bell, stop, report, core, thread })
    }

    /// Asks something of the worker, to be done between two turns.
    pub fn order(&self, order: Order<F>) {
        // A worker that is gone takes no orders.
        let _ = self.orders.send(order);
        self.bell.ring();
    }

    /// How busy it is.
    #[must_use]
    pub fn report(&self) -> &Arc<CoreReport> {
        &self.report
    }

    /// Its core.
    #[must_use]
    pub fn core(&self) -> usize {
        self.core
    }

    /// Ends the loop and waits for the thread; the devices, or `None` if it panicked.
    pub fn stop(self) -> Option<P> {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
        self.thread.join().ok()
    }
}

fn run<F, P, S>(
    setup: Setup<F, P, S>,
    receiver: &mpsc::Receiver<Order<F>>,
    stop: &AtomicBool,
    report: &CoreReport,
) -> P
where
    F: dataplane::frame::Frame,
    P: PortIo<Frame = F>,
    S: FrameSource<Frame = F>,
{
    let Setup { mut worker, mut io, mut source, idle, wakeup, bells, place, clock } = setup;
    let mut pending: Vec<Order<F>> = Vec::new();
    let mut backoff = Backoff::new(idle, wakeup);
    let mut turns = 0_u32;
    let mut now = clock.now();
    while !stop.load(Ordering::Acquire) {
        let turn = worker.turn_and_measure(now, || clock.now(), &mut io, &mut source);
        let after = clock.now();
        add(&report.turns, 1);
        if turn.busy {
            add(&report.busy_turns, 1);
            add(&report.busy_ns, after.since_ns(now));
        }
        turns = turns.wrapping_add(1);
        let mut is_ordered = false;
        if !turn.busy || turns.is_multiple_of(ORDERS_EVERY) {
            let before = pending.len();
            pending.extend(receiver.try_iter());
            is_ordered = pending.len() > before;
            pending.retain_mut(|order| order(after, &mut worker) == Progress::Again);
        }
        let next = if pending.is_empty() { turn.next } else { turn.next.min(after + AGAIN_NS) };
        // What was asked of its stages may have given them something to do.
        now = if turn.busy || is_ordered {
            ring_receivers(&worker, &bells, place);
            backoff.reset();
            after
        } else {
            let asleep_ns =
                backoff.wait(after, next, || worker.is_quiet() && !stop.load(Ordering::Acquire));
            add(&report.asleep_ns, asleep_ns);
            clock.now()
        };
    }
    io
}

/// Wakes those of the other workers that wait while a ring to them holds something.
fn ring_receivers<F: dataplane::frame::Frame>(
    worker: &Worker<F>,
    bells: &[Arc<Doorbell>],
    place: usize,
) {
    if bells.len() == 1 {
        return;
    }
    // What this turn put into rings is seen by a worker that is about to wait, or its waiting is
    // seen here.
    fence(Ordering::SeqCst);
    for (other, bell) in bells.iter().enumerate() {
        if other != place && bell.is_heard() && worker.links.hold_for(other) {
            bell.ring();
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}
