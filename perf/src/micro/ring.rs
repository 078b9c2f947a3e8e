//! A link between two workers beside `rte_ring` with one producer and one consumer: bursts of 32.
//!
//! The baseline is called across a language border, once a burst, so ours is kept from being inlined.

use std::collections::VecDeque;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering};

use dataplane::link::Link;
use dpdk_wrapper::Eal;
use dpdk_wrapper::baseline::{RingConsumer, RingProducer, ring};

use super::{Bench, MicroError, Work};
use crate::apart::Ball;

const BURST: usize = 32;
/// Items that fit, as in the links with most of them.
const ITEMS: usize = 512;
/// Items of one lap.
const LAP: usize = 256 * BURST;

const SAME: [&str; 2] = ["ring same core", "ring same core, copied"];
const TWO: [&str; 2] = ["ring two cores", "ring two cores, copied"];

pub(super) fn run(bench: &mut Bench) -> Result<(), MicroError> {
    same_core(bench, SAME[0], ours())?;
    same_core(bench, SAME[1], copied())?;
    two_cores(bench, TWO[0], ours())?;
    two_cores(bench, TWO[1], copied())
}

/// Where bursts go in.
trait Source: Send {
    /// So many items, or as many as there is room for; how many.
    fn put(&mut self, count: usize) -> usize;
}

/// Where they come out.
trait Sink: Send {
    /// What there is, at most a burst; how many, and what comes of looking at each.
    fn take(&mut self) -> (usize, usize);
}

struct OurSource(Link<usize>, VecDeque<usize>);

struct OurSink(Link<usize>, VecDeque<usize>);

fn ours() -> (OurSource, OurSink) {
    let (sender, receiver) = Link::ring(ITEMS);
    let queue = || VecDeque::with_capacity(BURST);
    (OurSource(sender, queue()), OurSink(receiver, queue()))
}

impl Source for OurSource {
    #[inline(never)]
    fn put(&mut self, count: usize) -> usize {
        self.1.resize(count, 7);
        self.0.push_all(black_box(&mut self.1));
        count - self.1.len()
    }
}

impl Sink for OurSink {
    #[inline(never)]
    fn take(&mut self) -> (usize, usize) {
        self.0.pop_into(BURST, &mut self.1);
        let count = self.1.len();
        (count, self.1.drain(..).fold(0, |sum, item| sum ^ item))
    }
}

/// The ring within a link, where items may be copied: what moving them one by one costs.
struct CopiedSource(rtrb::Producer<usize>, [usize; BURST]);

struct CopiedSink(rtrb::Consumer<usize>, [usize; BURST]);

fn copied() -> (CopiedSource, CopiedSink) {
    let (producer, consumer) = rtrb::RingBuffer::new(ITEMS);
    (CopiedSource(producer, [0; BURST]), CopiedSink(consumer, [0; BURST]))
}

impl Source for CopiedSource {
    #[inline(never)]
    fn put(&mut self, count: usize) -> usize {
        let items = self.1.get_mut(..count).unwrap_or_default();
        items.fill(7);
        self.0.push_partial_slice(black_box(items)).0.len()
    }
}

impl Sink for CopiedSink {
    #[inline(never)]
    fn take(&mut self) -> (usize, usize) {
        let (items, _) = self.0.pop_partial_slice(&mut self.1);
        (items.len(), items.iter().fold(0, |sum, item| sum ^ item))
    }
}

struct DpdkSource(RingProducer, [usize; BURST]);

struct DpdkSink(RingConsumer, [usize; BURST]);

fn dpdk(eal: &Eal, name: &str) -> Result<(DpdkSource, DpdkSink), MicroError> {
    // One place of it stays empty; a full lap goes through either ring without that mattering.
    let size = u32::try_from(ITEMS).unwrap_or(0);
    let (producer, consumer) =
        ring(eal, name, size).map_err(|error| MicroError::set_up("ring", error))?;
    Ok((DpdkSource(producer, [0; BURST]), DpdkSink(consumer, [0; BURST])))
}

impl Source for DpdkSource {
    fn put(&mut self, count: usize) -> usize {
        let items = self.1.get_mut(..count).unwrap_or_default();
        items.fill(7);
        self.0.enqueue(black_box(items))
    }
}

impl Sink for DpdkSink {
    fn take(&mut self) -> (usize, usize) {
        let count = self.0.dequeue(&mut self.1);
        (count, self.1.iter().take(count).fold(0, |sum, item| sum ^ item))
    }
}

fn same_core(
    bench: &mut Bench,
    name: &'static str,
    (mut source, mut sink): (impl Source, impl Sink),
) -> Result<(), MicroError> {
    if !bench.wants(name) {
        return Ok(());
    }
    let (mut dpdk_source, mut dpdk_sink) = dpdk(bench.eal, name)?;
    let mut ours = || through(&mut source, &mut sink);
    let mut dpdk = || through(&mut dpdk_source, &mut dpdk_sink);
    bench.compare(name, LAP, &mut ours, &mut dpdk)
}

/// A lap on one thread: a burst in, a burst out.
fn through(source: &mut impl Source, sink: &mut impl Sink) {
    for _ in 0..LAP / BURST {
        black_box(source.put(black_box(BURST)));
        black_box(sink.take());
    }
}

/// Which ring the other thread is to empty.
const NONE: usize = 0;
const OURS: usize = 1;
const DPDK: usize = 2;
const END: usize = 3;

/// What the two threads say to each other.
#[derive(Default)]
struct Orders {
    which: AtomicUsize,
    /// Laps that the other thread has finished.
    done: AtomicUsize,
}

fn two_cores(
    bench: &mut Bench,
    name: &'static str,
    (mut our_source, our_sink): (impl Source, impl Sink),
) -> Result<(), MicroError> {
    if !bench.wants(name) {
        return Ok(());
    }
    let [_, there, ..] = *bench.cores.as_slice() else {
        return Err(MicroError::set_up(name, "there is only one core"));
    };
    let (mut dpdk_source, dpdk_sink) = dpdk(bench.eal, name)?;
    let orders = Orders::default();
    let ball = Ball::new(bench.eal.tsc_hz());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            core_affinity::set_for_current(there);
            empty(&orders, &ball, our_sink, dpdk_sink);
        });
        let mut ours = Across { orders: &orders, source: &mut our_source, ball: &ball };
        let mut dpdk = || across(&orders, DPDK, &mut dpdk_source);
        let compared = bench.compare(name, LAP, &mut ours, &mut dpdk);
        orders.which.store(END, Ordering::Release);
        compared
    })
}

/// Ours, to another thread, which serves the ball while it waits for a lap.
struct Across<'a, S> {
    orders: &'a Orders,
    source: &'a mut S,
    ball: &'a Ball,
}

impl<S: Source> Work for Across<'_, S> {
    fn run(&mut self) {
        across(self.orders, OURS, self.source);
    }

    fn is_fair(&mut self) -> bool {
        self.ball.is_fair()
    }
}

/// A lap to another thread: until it has everything.
fn across(orders: &Orders, which: usize, source: &mut impl Source) {
    let done = orders.done.load(Ordering::Acquire);
    orders.which.store(which, Ordering::Release);
    let mut left = LAP;
    while left > 0 {
        let sent = source.put(BURST.min(left));
        left -= sent;
        if sent == 0 {
            spin_loop();
        }
    }
    while orders.done.load(Ordering::Acquire) == done {
        spin_loop();
    }
}

/// The other thread: empties the ring that it is told, lap by lap.
fn empty(orders: &Orders, ball: &Ball, mut ours: impl Sink, mut dpdk: impl Sink) {
    loop {
        match orders.which.load(Ordering::Acquire) {
            OURS => empty_lap(orders, &mut ours),
            DPDK => empty_lap(orders, &mut dpdk),
            END => return,
            _ => {
                ball.serve();
                spin_loop();
            }
        }
    }
}

fn empty_lap(orders: &Orders, sink: &mut impl Sink) {
    let mut left = LAP;
    while left > 0 {
        let (count, _) = sink.take();
        left -= count;
        if count == 0 {
            spin_loop();
        }
    }
    // Before the lap is told to be over: the next order comes after that.
    orders.which.store(NONE, Ordering::Relaxed);
    orders.done.fetch_add(1, Ordering::Release);
}
