//! One cell: two data movers and the links between them, in virtual time.
//!
//! In: a cell. Out: what it measured. Never: a clock; the same cell gives the same figures.

use dataplane::data_mover::{
    Congestion, Down, Incarnation, MoverCounter, PeerConfig, Session, Sink, State, Up,
};
use dataplane::packet_driver::{BufferKind, BufferPool, BufferSlice, Lane, PeerIndex, PoolClass};
use dataplane::time::{MICROSECOND_NS, MILLISECOND_NS, SECOND_NS, Time};
use dataplane_sim::link::{Link, LinkCounter};
use hdrhistogram::Histogram;

use super::cell::{Cell, Controller};
use super::wire::{Kept, Wire};
use crate::bulk::outbound;

/// Bytes of buffers in a datagram.
const SEGMENT: u64 = 1_410;
/// IP bytes of a full datagram.
const DATAGRAM_IP_BYTES: u64 = 1_458;
const IP_OVERHEAD: u64 = 28;
/// Left out at the start, at least.
const WARM_UP_NS: u64 = 3 * SECOND_NS;
/// A session is up by then, however many greetings are lost.
const CONNECTED: Time = Time::from_ms(120_000);
/// Round trips left out at the start, at least: start-up doubles 14 times at 10 Gb/s and 400 ms.
const WARM_UP_RTTS: u64 = 20;
/// Round trips measured, at least.
const MEASURED_RTTS: u64 = 25;
/// The share of the capacity at which the ramp-up is over.
const RAMPED_UP: f64 = 0.8;
/// Delays in the queue are recorded up to here, in microseconds.
const QUEUE_US_MAX: u64 = 60_000_000;
/// Datagrams of a window in which the ramp-up is looked for, at least.
const RAMP_DATAGRAMS: u64 = 64;

/// What a cell measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Goodput over what the capacity allows.
    pub eta: f64,
    /// Bytes sent again over bytes sent.
    pub retrans: f64,
    /// Datagrams taken for lost that were not, over datagrams sent.
    pub spurious: f64,
    /// 95th percentile of the delay in the queue, in milliseconds.
    pub queue_p95_ms: f64,
    /// Round trips from the session's start until the link was full.
    pub rampup_rtt: f64,
    /// Most memory in use: buffers at both ends, and the sender's tables.
    pub memory_bytes: u64,
    /// Datagrams dropped by the queue, over datagrams sent.
    pub overflow: f64,
    /// Bytes of datagrams that only acknowledge, over the bytes of data.
    pub acks: f64,
    /// Datagrams carried, for the speed of the simulation.
    pub datagrams: u64,
}

#[derive(Default)]
struct Delivered {
    bytes: u64,
    up: bool,
}

impl Sink for Delivered {
    fn delivered(&mut self, buffer: BufferSlice, _: BufferKind) {
        self.bytes += buffer.len() as u64;
    }

    fn up(&mut self, _: Up) {
        self.up = true;
    }

    fn down(&mut self, _: Down) {}
}

/// One direction: the link and what is on it.
struct Way {
    link: Link<Kept>,
    wire: Wire,
}

/// One end.
struct Side {
    session: Session,
    delivered: Delivered,
    /// When it next has something to do.
    due: Time,
}

struct World {
    cell: Cell,
    now: Time,
    sides: [Side; 2],
    /// From side 0, from side 1.
    ways: [Way; 2],
    receive_pool: BufferPool,
    /// What every buffer sent is a slice of.
    payload: BufferSlice,
    buffers_out: u64,
    queue_us: Histogram<u64>,
    memory_bytes: u64,
    out: Box<[u8]>,
}

/// Bytes of a buffer: what a packet driver fills in some milliseconds.
fn buffer_len(cell: &Cell) -> usize {
    let datagrams = (cell.rate_bps() / 8 / 200 / SEGMENT).clamp(4, 46);
    usize::try_from(datagrams * SEGMENT).unwrap_or(usize::MAX)
}

/// Bytes on their way that the receiver must have room for.
fn memory_max(cell: &Cell) -> u64 {
    let queue = cell.queue_bytes().min(2 * cell.bdp_bytes());
    let rounds = match cell.loss_ppm {
        0..=1_000 => 3,
        1_001..=20_000 => 4,
        _ => 6,
    };
    (rounds * (cell.bdp_bytes() + queue / 2)).clamp(8 << 20, 3 << 30)
}

fn peer_config(cell: &Cell) -> PeerConfig {
    let congestion = match cell.controller {
        Controller::Auto => Congestion::Auto { hint_bps: None, rate_bps_max: 20_000_000_000 },
        Controller::Fixed => Congestion::Fixed { rate_bps: cell.rate_bps() },
    };
    let memory = memory_max(cell);
    PeerConfig {
        congestion,
        buffer_len_max: 64 * 1024,
        buffers_max: u32::try_from((memory / buffer_len(cell) as u64 * 2).max(4_096))
            .unwrap_or(1 << 20),
        reassembly_bytes_max: u32::try_from(memory).unwrap_or(u32::MAX),
        transmissions_max: u32::try_from(4 * memory / DATAGRAM_IP_BYTES).unwrap_or(u32::MAX),
        ..PeerConfig::new(PeerIndex(0), cell.rate_bps())
    }
}

impl World {
    fn new(cell: &Cell, run: u64) -> Self {
        let config = peer_config(cell);
        let len = buffer_len(cell);
        let count = usize::try_from(memory_max(cell)).unwrap_or(usize::MAX) / len + 64;
        let receive_pool = BufferPool::new(&[PoolClass { size: len, count, reserve: 0 }]);
        let send_pool = BufferPool::new(&[PoolClass { size: len, count: 4, reserve: 0 }]);
        let mut payload = send_pool.alloc(len).expect("the pool is new");
        payload.set_len(len);
        let seed = cell.seed(run);
        let side = |number: u64, pool: &BufferPool| Side {
            session: Session::new(config, Incarnation(number), pool.clone(), seed ^ number),
            delivered: Delivered::default(),
            due: Time::ZERO,
        };
        let datagrams_max = 3 * (cell.bdp_bytes() + cell.queue_bytes()) / DATAGRAM_IP_BYTES;
        let datagrams_max = usize::try_from(datagrams_max).unwrap_or(usize::MAX) + 4_096;
        let way = |number: u64| Way {
            link: Link::new(
                if number == 1 { cell.link() } else { cell.link_back() },
                datagrams_max,
                seed.wrapping_add(number),
            ),
            wire: Wire::new(datagrams_max),
        };
        World {
            cell: *cell,
            now: Time::ZERO,
            sides: [side(1, &send_pool), side(2, &receive_pool)],
            ways: [way(1), way(2)],
            receive_pool,
            payload: payload.freeze(),
            buffers_out: 0,
            queue_us: Histogram::new_with_max(QUEUE_US_MAX, 3)
                .expect("the bounds are constants that fit"),
            memory_bytes: 0,
            out: vec![0; 2_048].into_boxed_slice(),
        }
    }

    /// Gives side 0 what it takes.
    fn feed(&mut self) {
        let session = &mut self.sides[0].session;
        while session.can_take(BufferKind::Stream, Lane::BULK) {
            if session.send(outbound(self.payload.clone())).is_err() {
                return;
            }
            self.buffers_out += 1;
        }
    }

    fn deliver(&mut self, from: usize) {
        let way = &mut self.ways[from];
        let side = &mut self.sides[1 - from];
        while let Some(delivery) = way.link.pop(self.now) {
            let datagram = way.wire.whole(delivery.item);
            side.session.receive(self.now, datagram, &mut side.delivered);
            side.due = Time::ZERO;
        }
    }

    fn transmit(&mut self, from: usize) {
        let side = &mut self.sides[from];
        if side.session.next_timeout() <= self.now {
            side.session.on_timeout(self.now, &mut side.delivered);
        }
        if from == 0 {
            self.feed();
        }
        let way = &mut self.ways[from];
        while let Some(len) = self.sides[from].session.transmit(self.now, &mut self.out) {
            let kept = way.wire.keep(&self.out[..len]);
            if from == 0 {
                let waiting_us = way.link.waiting_bytes() * 8 / self.cell.capacity_mbps;
                self.queue_us.saturating_record(waiting_us);
            }
            way.link.push(self.now, len as u64 + IP_OVERHEAD, kept);
        }
        if from == 0 {
            self.feed();
        }
        let side = &mut self.sides[from];
        side.due = side.session.next_timeout().max(self.now + MICROSECOND_NS);
    }

    fn run_to(&mut self, end: Time) {
        while self.now < end {
            for from in 0..2 {
                self.deliver(from);
            }
            for from in 0..2 {
                if self.sides[from].due <= self.now {
                    self.transmit(from);
                }
            }
            let wires = self.ways[0].link.next_time().min(self.ways[1].link.next_time());
            let sides = self.sides[0].due.min(self.sides[1].due);
            self.now = wires.min(sides).max(self.now).min(end);
        }
    }

    fn note_memory(&mut self) {
        let session = &self.sides[0].session;
        let counters = session.counters();
        let done = counters.get(MoverCounter::BuffersCompleted);
        let held = (self.buffers_out - done) * buffer_len(&self.cell) as u64;
        let bytes = held + self.receive_pool.in_use_bytes() as u64;
        self.memory_bytes = self.memory_bytes.max(bytes);
    }

    /// Bytes that the link has carried: loss strikes after it.
    fn carried_bytes(&self) -> u64 {
        let counters = self.ways[0].link.counters();
        counters.get(LinkCounter::BytesOut) + counters.get(LinkCounter::LossBytes)
    }

    /// Runs until the session is up; the time then.
    fn connect(&mut self) -> Time {
        let step_ns = self.cell.rtt_ns().min(MILLISECOND_NS);
        while !matches!(self.sides[0].session.state(), State::Up(_)) && self.now < CONNECTED {
            self.run_to(self.now + step_ns);
        }
        self.now
    }

    /// Runs until the link is full or `end`; the round trips that took. Calls `trace` 8 times in each.
    fn ramp_up(&mut self, up_at: Time, end: Time, trace: &mut impl FnMut(Time, &Session)) -> f64 {
        let datagrams_ns = RAMP_DATAGRAMS * DATAGRAM_IP_BYTES * 8_000 / self.cell.capacity_mbps;
        let window_ns = self.cell.rtt_ns().max(datagrams_ns);
        let full = self.cell.rate_bps() as f64 / 8.0 * window_ns as f64 / 1e9;
        let mut windows = std::collections::VecDeque::new();
        let parts = 8;
        while self.now < end {
            self.run_to(self.now + window_ns / parts);
            self.note_memory();
            trace(self.now, &self.sides[0].session);
            windows.push_back(self.carried_bytes());
            if windows.len() as u64 > parts {
                let before = windows.pop_front().unwrap_or(0);
                if (self.carried_bytes() - before) as f64 >= RAMPED_UP * full {
                    // What arrives now was sent half a round trip ago; a window is looked at whole.
                    let spent_ns = self.now.since_ns(up_at + window_ns);
                    return spent_ns as f64 / self.cell.rtt_ns() as f64;
                }
            }
        }
        f64::INFINITY
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// How long a cell is measured.
fn measured_ns(cell: &Cell) -> u64 {
    let seconds = match cell.capacity_mbps {
        0..=10 => 20,
        11..=100 => 8,
        101..=1_000 => 4,
        _ => 2,
    };
    (seconds * SECOND_NS).max(MEASURED_RTTS * cell.rtt_ns())
}

/// Runs a cell; other runs of it have other losses.
#[must_use]
pub fn run(cell: &Cell, run: u64) -> Figures {
    run_traced(cell, run, |_, _| {})
}

/// The same; `trace` is called some times a round trip with the time and the sender's session.
#[must_use]
pub fn run_traced(cell: &Cell, run: u64, mut trace: impl FnMut(Time, &Session)) -> Figures {
    let mut world = World::new(cell, run);
    let up_at = world.connect();
    let warm_up = up_at + WARM_UP_NS.max(WARM_UP_RTTS * cell.rtt_ns());
    let rampup_rtt = world.ramp_up(up_at, warm_up, &mut trace);
    let step_ns = (cell.rtt_ns() / 4).max(MILLISECOND_NS / 4);
    while world.now < warm_up {
        world.run_to((world.now + step_ns).min(warm_up));
        world.note_memory();
        trace(world.now, &world.sides[0].session);
    }
    let counters = world.sides[0].session.counters();
    let back = world.sides[1].session.counters();
    let link = world.ways[0].link.counters().clone();
    let before = counters_now(&counters);
    let acks_before = back.get(MoverCounter::BytesOut);
    let drops_before = link.get(LinkCounter::QueuePackets);
    let delivered_before = world.sides[1].delivered.bytes;
    world.queue_us.reset();
    let end = warm_up + measured_ns(cell);
    while world.now < end {
        world.run_to((world.now + step_ns).min(end));
        world.note_memory();
        trace(world.now, &world.sides[0].session);
    }
    let after = counters_now(&counters);
    let [sent, sent_bytes, again, spurious] = std::array::from_fn(|i| after[i] - before[i]);
    let goodput = (world.sides[1].delivered.bytes - delivered_before) as f64;
    let possible = cell.rate_bps() as f64 / 8.0 * measured_ns(cell) as f64 / 1e9
        * (1.0 - cell.loss())
        * (SEGMENT as f64 / DATAGRAM_IP_BYTES as f64);
    Figures {
        eta: goodput / possible,
        retrans: ratio(again, sent_bytes),
        spurious: ratio(spurious, sent),
        queue_p95_ms: world.queue_us.value_at_quantile(0.95) as f64 / 1e3,
        rampup_rtt,
        memory_bytes: world.memory_bytes + world.sides[0].session.table_bytes() as u64,
        overflow: ratio(link.get(LinkCounter::QueuePackets) - drops_before, sent),
        acks: ratio(back.get(MoverCounter::BytesOut) - acks_before, sent_bytes),
        datagrams: link.get(LinkCounter::PacketsIn),
    }
}

/// Each figure's median over some runs; the most memory of any.
#[must_use]
pub fn median(runs: &[Figures]) -> Figures {
    let middle = |figure: fn(&Figures) -> f64| {
        let mut sorted: Vec<f64> = runs.iter().map(figure).collect();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Figures {
        eta: middle(|run| run.eta),
        retrans: middle(|run| run.retrans),
        spurious: middle(|run| run.spurious),
        queue_p95_ms: middle(|run| run.queue_p95_ms),
        rampup_rtt: middle(|run| run.rampup_rtt),
        overflow: middle(|run| run.overflow),
        acks: middle(|run| run.acks),
        memory_bytes: runs.iter().map(|run| run.memory_bytes).max().unwrap_or(0),
        datagrams: runs.iter().map(|run| run.datagrams).sum(),
    }
}

fn counters_now(counters: &dataplane::counters::Counters<MoverCounter>) -> [u64; 4] {
    [
        MoverCounter::DatagramsOut,
        MoverCounter::BytesOut,
        MoverCounter::BytesRetransmitted,
        MoverCounter::LossesSpurious,
    ]
    .map(|counter| counters.get(counter))
}
