//! The data mover allocates nothing once its sessions are made: bulk, small and datagram buffers, and
//! parity, over a link that loses, counted by an instrumented allocator.

use std::alloc::System;

use dataplane::data_mover::{Down, Incarnation, MoverCounter, PeerConfig, Session, Sink, Up};
use dataplane::packet_driver::{
    BufferKind, BufferPool, BufferSlice, Lane, OutboundBuffer, PeerIndex, PoolClass, SessionNumber,
};
use dataplane::time::{MILLISECOND_NS, Time};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RATE_BPS: u64 = 100_000_000;
const DELAY_NS: u64 = 20 * MILLISECOND_NS;
const STEP_NS: u64 = 50_000;
/// One datagram in this many is lost.
const LOSS: u64 = 50;

#[derive(Default)]
struct Delivered {
    bytes: u64,
    ups: u32,
    downs: u32,
}

impl Sink for Delivered {
    fn delivered(&mut self, buffer: BufferSlice, _kind: BufferKind) {
        self.bytes += buffer.len() as u64;
    }

    fn up(&mut self, _up: Up) {
        self.ups += 1;
    }

    fn down(&mut self, _reason: Down) {
        self.downs += 1;
    }
}

/// Datagrams on their way, in a ring made at the start.
struct Wire {
    slots: Vec<(Time, usize, [u8; 2_048])>,
    head: usize,
    tail: usize,
    sent: u64,
}

impl Wire {
    fn new() -> Self {
        Wire { slots: vec![(Time::ZERO, 0, [0; 2_048]); 4_096], head: 0, tail: 0, sent: 0 }
    }

    fn carry(&mut self, now: Time, session: &mut Session) {
        loop {
            let index = self.tail % self.slots.len();
            let (at, len, bytes) = &mut self.slots[index];
            let Some(written) = session.transmit(now, bytes) else { return };
            self.sent += 1;
            if self.sent.is_multiple_of(LOSS) {
                continue;
            }
            (*at, *len) = (now + DELAY_NS, written);
            self.tail += 1;
            assert!(self.tail - self.head < self.slots.len());
        }
    }

    fn deliver(&mut self, now: Time, session: &mut Session, sink: &mut Delivered) {
        while self.head < self.tail {
            let index = self.head % self.slots.len();
            let (at, len, bytes) = &mut self.slots[index];
            if *at > now {
                return;
            }
            session.receive(now, &mut bytes[..*len], sink);
            self.head += 1;
        }
    }
}

fn feed(session: &mut Session, pool: &BufferPool, kind: BufferKind, len: usize) {
    if !session.can_take(kind, Lane::BULK) {
        return;
    }
    let Some(mut buffer) = pool.alloc(len) else { return };
    buffer.set_len(len);
    let bytes = buffer.freeze();
    let buffer = OutboundBuffer {
        peer: PeerIndex(0),
        session: SessionNumber(1),
        lane: Lane::BULK,
        kind,
        deadline: None,
        compress: false,
        bytes,
    };
    assert!(session.send(buffer).is_ok());
}

fn run(
    now: &mut Time,
    (ms, stream_bytes): (u64, usize),
    pool: &BufferPool,
    sessions: &mut [Session; 2],
    wires: &mut [Wire; 2],
    sinks: &mut [Delivered; 2],
) {
    let end = *now + ms * MILLISECOND_NS;
    let mut turn = 0_u64;
    while *now < end {
        *now = *now + STEP_NS;
        turn += 1;
        for side in 0..2 {
            wires[1 - side].deliver(*now, &mut sessions[side], &mut sinks[side]);
            sessions[side].on_timeout(*now, &mut sinks[side]);
            if sessions[side].queued_bytes() < stream_bytes {
                feed(&mut sessions[side], pool, BufferKind::Stream, 60_000);
            }
            if turn.is_multiple_of(20) {
                feed(&mut sessions[side], pool, BufferKind::Control, 60);
                feed(&mut sessions[side], pool, BufferKind::Datagram, 3_000);
            }
            wires[side].carry(*now, &mut sessions[side]);
        }
    }
}

#[test]
fn nothing_is_allocated_in_steady_state() {
    let pool = BufferPool::new(&[
        PoolClass { size: 4_096, count: 4_096, reserve: 64 },
        PoolClass { size: 65_536, count: 1_024, reserve: 0 },
    ]);
    let config = PeerConfig::new(PeerIndex(0), RATE_BPS);
    let mut sessions = [1, 2].map(|i| Session::new(config, Incarnation(i), pool.clone(), i));
    let mut wires = [Wire::new(), Wire::new()];
    let mut sinks = [Delivered::default(), Delivered::default()];
    let mut now = Time::ZERO;
    run(&mut now, (500, 100_000), &pool, &mut sessions, &mut wires, &mut sinks);
    assert!(sinks.iter().all(|sink| sink.ups == 1));

    let before = sinks[0].bytes;
    let region = Region::new(GLOBAL);
    run(&mut now, (2_000, 100_000), &pool, &mut sessions, &mut wires, &mut sinks);
    let bulk = sinks[0].bytes - before;
    // Without bulk there is more parity.
    run(&mut now, (2_000, 0), &pool, &mut sessions, &mut wires, &mut sinks);
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));

    assert!(bulk > 20_000_000, "{bulk} bytes at full rate");
    let counters = sessions[0].counters();
    assert!(counters.get(MoverCounter::PiecesRetransmitted) > 100);
    assert!(counters.get(MoverCounter::ParityOut) > 10);
    assert!(counters.get(MoverCounter::PiecesRestored) > 10);
    assert!(sinks.iter().all(|sink| sink.downs == 0));
}
