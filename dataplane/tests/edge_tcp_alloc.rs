//! A connection that moves data allocates nothing: not per segment, not per acknowledgement, not
//! per timer.

use std::alloc::System;
use std::sync::Arc;

use dataplane::edge::tcp::{
    Connection, Emit, HostParameters, InitialNumbers, Payload, Segment, TcpConfig, Transmitted,
    Upward,
};
use dataplane::frame::heap::{HeapFrame, HeapSource};
use dataplane::frame::{Frame, FrameSource};
use dataplane::packet_driver::reset::ResetCause;
use dataplane::packet_driver::{BufferPool, PoolClass};
use dataplane::time::{MILLISECOND_NS, Time};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Both ends' frames on their way: reserved once.
struct Wire {
    source: HeapSource,
    frames: Vec<HeapFrame>,
    sent: u64,
}

impl Emit for Wire {
    fn emit(&mut self, segment: &Segment, payload: Payload<'_>) -> bool {
        // Every 50th segment is lost: recovery may not allocate either.
        self.sent += 1;
        if self.sent.is_multiple_of(50) {
            return true;
        }
        let Some(mut frame) = self.source.alloc() else { return false };
        let header_len = segment.header_len();
        let bytes = frame.append(header_len).expect("room for the header");
        segment.emit(1, 2, bytes).expect("the header fits");
        for piece in payload {
            frame.append(piece.len()).expect("room for the payload").copy_from_slice(piece);
        }
        self.frames.push(frame);
        true
    }
}

#[derive(Default)]
struct Sink {
    received: u64,
    acknowledged: u64,
}

impl Upward<HeapFrame> for Sink {
    fn data(&mut self, offset: u64, _: HeapFrame, _: u32, len: u32) {
        assert_eq!(offset, self.received);
        self.received += u64::from(len);
    }
    fn established(&mut self, _: &HostParameters) {}
    fn refused(&mut self, cause: ResetCause) {
        panic!("refused: {cause:?}");
    }
    fn fin(&mut self, _: u64) {}
    fn reset(&mut self, cause: ResetCause) {
        panic!("reset: {cause:?}");
    }
    fn acknowledged(&mut self, offset: u64) {
        self.acknowledged = offset;
    }
    fn fin_acknowledged(&mut self, _: u64) {}
    fn asked(&mut self) {}
}

struct End {
    connection: Connection<HeapFrame>,
    up: Sink,
    wire: Wire,
    delivered: u64,
}

impl End {
    fn new(connection: Connection<HeapFrame>) -> Self {
        let wire =
            Wire { source: HeapSource::new(1024), frames: Vec::with_capacity(2048), sent: 0 };
        End { connection, up: Sink::default(), wire, delivered: 0 }
    }
}

fn parse(frame: &HeapFrame) -> Segment {
    let len = u32::try_from(frame.head().len()).expect("small");
    Segment::parse(frame.head(), 0, len).expect("a segment")
}

/// One millisecond: fresh bytes, transmissions both ways, timers.
fn turn(now: Time, ends: &mut [End; 2], pool: &BufferPool) {
    for end in ends.iter_mut() {
        end.connection.set_receive_limit(end.up.received + 500_000);
        if end.connection.next_timeout() <= now {
            end.connection.on_timeout(now, &mut end.up);
        }
        if end.connection.unread_bytes() < 200_000 {
            let mut buffer = pool.alloc(20_000).expect("a buffer");
            buffer.set_len(20_000);
            end.connection.grant(end.delivered + 20_000);
            end.connection.deliver(end.delivered, buffer.freeze()).expect("within the grant");
            end.delivered += 20_000;
        }
        assert_eq!(end.connection.transmit(now, &mut end.wire), Transmitted::Done);
    }
    let [a, b] = ends;
    carry(now, a, b);
    carry(now, b, a);
}

fn carry(now: Time, from: &mut End, to: &mut End) {
    for frame in from.wire.frames.drain(..) {
        let segment = parse(&frame);
        to.connection.segment(now, &segment, frame, &mut to.up);
    }
}

#[test]
fn moving_data_allocates_nothing() {
    let config = Arc::new(TcpConfig::for_mtu(1500, true));
    let pool = BufferPool::new(&[PoolClass { size: 20_000, count: 64, reserve: 0 }]);
    let start = Time::from_ms(1);
    let numbers = InitialNumbers { sequence: 7, timestamp_offset: 9 };
    let mut active = End::new(Connection::connect(start, &config, numbers));
    assert_eq!(active.connection.transmit(start, &mut active.wire), Transmitted::Done);
    let syn = parse(&active.wire.frames.remove(0));
    let mut passive = Connection::accept(start, &config, &syn, numbers);
    passive.answer(start);
    let mut ends = [active, End::new(passive)];
    let mut now = start;
    for _ in 0..5_000 {
        now = now + MILLISECOND_NS;
        turn(now, &mut ends, &pool);
    }
    let region = Region::new(GLOBAL);
    let before = [ends[0].up.received, ends[1].up.received];
    for _ in 0..5_000 {
        now = now + MILLISECOND_NS;
        turn(now, &mut ends, &pool);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
    assert!(ends[0].up.received - before[0] > 20_000_000, "data moved");
    assert!(ends[1].up.received - before[1] > 20_000_000, "data moved");
    assert!(ends.iter().all(|end| end.connection.report().totals.retransmitted_segments > 100));
}
