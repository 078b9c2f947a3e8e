//! The split connection: segments of a host that sends, and bytes for a host that receives.

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

use super::{Work, WorkError, counted};

const DELIVERED: usize = 20_000;
const UNREAD_MAX: u64 = 200_000;
const WARM_UP: u32 = 200;
const TURNS: u32 = 100;

/// Frames on their way.
struct Wire {
    source: HeapSource,
    frames: Vec<HeapFrame>,
}

impl Emit for Wire {
    fn emit(&mut self, segment: &Segment, payload: Payload<'_>) -> bool {
        let Some(mut frame) = self.source.alloc() else { return false };
        let Some(header) = frame.append(segment.header_len()) else { return false };
        if segment.emit(1, 2, header).is_none() {
            return false;
        }
        for piece in payload {
            let Some(room) = frame.append(piece.len()) else { return false };
            room.copy_from_slice(piece);
        }
        self.frames.push(frame);
        true
    }
}

/// What came of the bytes.
#[derive(Default)]
struct Sink {
    received: u64,
    ended: bool,
}

impl Upward<HeapFrame> for Sink {
    fn data(&mut self, _: u64, _: HeapFrame, _: u32, len: u32) {
        self.received += u64::from(len);
    }

    fn established(&mut self, _: &HostParameters) {}

    fn refused(&mut self, _: ResetCause) {
        self.ended = true;
    }

    fn fin(&mut self, _: u64) {}

    fn reset(&mut self, _: ResetCause) {
        self.ended = true;
    }

    fn acknowledged(&mut self, _: u64) {}

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
        let wire = Wire { source: HeapSource::new(1_024), frames: Vec::with_capacity(1_024) };
        End { connection, up: Sink::default(), wire, delivered: 0 }
    }

    /// New bytes for the host, as long as it reads them.
    fn deliver(&mut self, pool: &BufferPool) {
        while self.connection.unread_bytes() < UNREAD_MAX {
            let Some(mut buffer) = pool.alloc(DELIVERED) else { return };
            buffer.set_len(DELIVERED);
            self.connection.grant(self.delivered + DELIVERED as u64);
            if self.connection.deliver(self.delivered, buffer.freeze()).is_err() {
                return;
            }
            self.delivered += DELIVERED as u64;
        }
    }

    fn transmit(&mut self, now: Time) -> bool {
        if self.connection.next_timeout() <= now {
            self.connection.on_timeout(now, &mut self.up);
        }
        self.connection.transmit(now, &mut self.wire) == Transmitted::Done
    }

    /// What the other end has sent.
    fn take(&mut self, now: Time, frames: &mut Vec<HeapFrame>) {
        for frame in frames.drain(..) {
            let len = u32::try_from(frame.head().len()).unwrap_or(0);
            if let Ok(segment) = Segment::parse(frame.head(), 0, len) {
                self.connection.segment(now, &segment, frame, &mut self.up);
            }
        }
    }
}

/// Two ends that are connected: the first one sends.
fn connected(stage: &'static str, start: Time) -> Result<[End; 2], WorkError> {
    let failed = |reason: &str| WorkError::new(stage, reason);
    let config = Arc::new(TcpConfig::for_mtu(1_500, true));
    let numbers = InitialNumbers { sequence: 7, timestamp_offset: 9 };
    let mut active = End::new(Connection::connect(start, &config, numbers));
    if !active.transmit(start) {
        return Err(failed("there is no SYN"));
    }
    let frame = active.wire.frames.pop().ok_or_else(|| failed("there is no SYN"))?;
    let len = u32::try_from(frame.head().len()).unwrap_or(0);
    let syn = Segment::parse(frame.head(), 0, len).map_err(|_| failed("the SYN is wrong"))?;
    let mut passive = Connection::accept(start, &config, &syn, numbers);
    passive.answer(start);
    Ok([active, End::new(passive)])
}

fn run(stage: &'static str, sending: bool) -> Result<Work, WorkError> {
    let pool = BufferPool::new(&[PoolClass { size: DELIVERED, count: 64, reserve: 0 }]);
    let mut now = Time::from_ms(1);
    let [mut sender, mut receiver] = connected(stage, now)?;
    let (mut items, mut before) = (0, 0);
    let maybe = |counts: bool, work: &mut dyn FnMut()| {
        if counts { counted(work) } else { work() }
    };
    for number in 0..WARM_UP + TURNS {
        let counts = number >= WARM_UP;
        if number == WARM_UP {
            before = receiver.up.received;
        }
        now = now + MILLISECOND_NS;
        let (mut there, mut back) = (Vec::new(), Vec::new());
        std::mem::swap(&mut back, &mut receiver.wire.frames);
        maybe(counts && sending, &mut || {
            sender.take(now, &mut back);
            sender.deliver(&pool);
            sender.transmit(now);
        });
        std::mem::swap(&mut there, &mut sender.wire.frames);
        items += if counts { there.len() as u64 } else { 0 };
        receiver.connection.set_receive_limit(receiver.up.received + 500_000);
        maybe(counts && !sending, &mut || {
            receiver.take(now, &mut there);
            receiver.transmit(now);
        });
    }
    if sender.up.ended || receiver.up.ended {
        return Err(WorkError::new(stage, "the connection has ended"));
    }
    let bytes = receiver.up.received - before;
    Ok(Work { stage, item: "segment", items, bytes })
}

/// Segments of a host taken, acknowledged.
pub(super) fn receive() -> Result<Work, WorkError> {
    run("edge in", false)
}

/// Slices of buffers into segments for a host, its acknowledgements taken.
pub(super) fn send() -> Result<Work, WorkError> {
    run("edge out", true)
}
