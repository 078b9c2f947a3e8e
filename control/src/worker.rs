//! The thread around a worker's loop: pinned, registered with DPDK, sleeping when idle.
//!
//! In: a worker, its devices, orders of the control thread. Out: turns; a report of how busy the
//! core is. Never: a sleep while there is something to do, one longer than [`SLEEP_NS_MAX`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use dataplane::frame::FrameSource;
use dataplane::pipeline::port::PortIo;
use dataplane::pipeline::worker::Worker;
use dataplane::time::{MICROSECOND_NS, MILLISECOND_NS, SECOND_NS, Time};
use dpdk_wrapper::{Eal, ThreadRegistration, eal};

use crate::args::Idle;

/// Idle turns before the first sleep: the next frame of a burst is rarely further away.
const SPINS: u32 = 24;
/// The first sleep; each further one is longer by a quarter.
const SLEEP_NS_MIN: u64 = 20 * MICROSECOND_NS;
/// The longest sleep. A port is polled, so this bounds what a frame waits in an idle appliance.
pub const SLEEP_NS_MAX: u64 = 250 * MICROSECOND_NS;
/// Below this, waiting for a deadline is spinning: waking up takes as long.
const SPIN_NS: u64 = 8 * MICROSECOND_NS;
/// Turns between two looks at orders while busy.
const ORDERS_EVERY: u32 = 64;

/// Time since a common start, from the TSC.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: u64,
    hz: u64,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn new(eal: &Eal) -> Self {
        Clock { start: eal::tsc(), hz: eal.tsc_hz().max(1) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Time {
        let ticks = u128::from(eal::tsc().wrapping_sub(self.start));
        let ns = ticks * u128::from(SECOND_NS) / u128::from(self.hz);
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
    /// The common clock.
    pub clock: Clock,
}

/// A running worker.
pub struct WorkerThread<F, P> {
    orders: mpsc::Sender<Order<F>>,
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
        let shared = (Arc::clone(&stop), Arc::clone(&report));
        let eal = eal.clone();
        let thread = thread::Builder::new().name(format!("worker-{core}")).spawn(move || {
            core_affinity::set_for_current(core_affinity::CoreId { id: core });
            // Without it the thread works too, only its mempools are slower.
            let _registration = ThreadRegistration::new(&eal).ok();
            // Sleeps end when they should, not when it suits the kernel.
            let _ = nix::sys::prctl::set_timerslack(1);
            run(setup, &receiver, &shared.0, &shared.1)
        })?;
        Ok(WorkerThread { orders, stop, report, core, thread })
    }

    /// Asks something of the worker, to be done between two turns.
    pub fn order(&self, order: Order<F>) {
        // A worker that is gone takes no orders.
        let _ = self.orders.send(order);
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
    let Setup { mut worker, mut io, mut source, idle, clock } = setup;
    let mut pending: Vec<Order<F>> = Vec::new();
    let mut backoff = Backoff::new(idle);
    let mut turns = 0_u32;
    let mut now = clock.now();
    while !stop.load(Ordering::Acquire) {
        let turn = worker.turn(now, &mut io, &mut source);
        let after = clock.now();
        add(&report.turns, 1);
        if turn.busy {
            add(&report.busy_turns, 1);
            add(&report.busy_ns, after.since_ns(now));
        }
        turns = turns.wrapping_add(1);
        if !turn.busy || turns % ORDERS_EVERY == 0 {
            pending.extend(receiver.try_iter());
            pending.retain_mut(|order| order(after, &mut worker) == Progress::Again);
        }
        now = if turn.busy {
            backoff.reset();
            after
        } else {
            let asleep_ns = backoff.wait(after, turn.next);
            add(&report.asleep_ns, asleep_ns);
            clock.now()
        };
    }
    io
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// What an idle worker does: spin, then sleep for ever longer, but short, times.
#[derive(Debug)]
pub(crate) struct Backoff {
    idle: Idle,
    turns: u32,
    sleep_ns: u64,
}

impl Backoff {
    pub(crate) fn new(idle: Idle) -> Self {
        Backoff { idle, turns: 0, sleep_ns: SLEEP_NS_MIN }
    }

    pub(crate) fn reset(&mut self) {
        self.turns = 0;
        self.sleep_ns = SLEEP_NS_MIN;
    }

    /// Waits a little, at most until `next`; for how long it slept, in nanoseconds.
    pub(crate) fn wait(&mut self, now: Time, next: Time) -> u64 {
        self.turns += 1;
        let left_ns = next.since_ns(now);
        if self.idle == Idle::Spin || self.turns <= SPINS || left_ns < SPIN_NS {
            eal::pause();
            return 0;
        }
        let sleep_ns = self.sleep_ns.min(left_ns - SPIN_NS / 2);
        self.sleep_ns = (self.sleep_ns + self.sleep_ns / 4).min(SLEEP_NS_MAX);
        thread::sleep(Duration::from_nanos(sleep_ns));
        sleep_ns
    }
}

const _: () = assert!(SLEEP_NS_MAX < MILLISECOND_NS, "frames would wait for a worker to wake up");
