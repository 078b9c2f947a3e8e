//! What the tests share: a recorder of events, a writer that keeps segments, ways to build both.

use std::sync::Arc;

use crate::edge::tcp::segment::HEADER_LEN_MAX;
use crate::edge::tcp::{
    Connection, Emit, Flags, HostParameters, InitialNumbers, Payload, Report, Segment, TcpConfig,
    Upward,
};
use crate::frame::Frame;
use crate::frame::heap::{HeapFrame, HeapSource};
use crate::packet_driver::reset::ResetCause;
use crate::packet_driver::{BufferPool, BufferSlice, PoolClass};
use crate::time::Time;

pub(super) type TestConnection = Connection<HeapFrame>;

/// Lets a connection rest if it may, and wakes it: it says the same of itself. Whether it did.
pub(super) fn rest_and_wake(connection: &mut TestConnection, now: Time) -> bool {
    let Some(resting) = connection.at_rest(now) else { return false };
    let woken: TestConnection = resting.wake();
    let totals = woken.report().totals;
    assert_eq!(woken.report(), Report { totals, ..connection.report() });
    assert_eq!(woken.receive_limit(), connection.receive_limit());
    assert_eq!(woken.received_offset(), connection.received_offset());
    assert_eq!(woken.acknowledged_offset(), connection.acknowledged_offset());
    // But for the memory that it has no more.
    assert!(woken.next_timeout() >= connection.next_timeout());
    assert_eq!(resting.next_timeout(), woken.next_timeout());
    *connection = woken;
    true
}

/// Bytes of anything before the TCP header in test frames.
pub(super) const FRAME_OFFSET: usize = 34;

/// What a connection said upwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Data(u64, Vec<u8>),
    Established(HostParameters),
    Refused(ResetCause),
    Fin(u64),
    Reset(ResetCause),
    Acknowledged(u64),
    FinAcknowledged(u64),
    Asked,
}

/// Records events.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) events: Vec<Event>,
}

impl Recorder {
    pub(super) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

impl Upward<HeapFrame> for Recorder {
    fn data(&mut self, offset: u64, frame: HeapFrame, start: u32, len: u32) {
        let mut bytes = vec![0; len as usize];
        assert!(frame.copy_out(start as usize, &mut bytes), "the range lies in the frame");
        self.events.push(Event::Data(offset, bytes));
    }

    fn established(&mut self, host: &HostParameters) {
        self.events.push(Event::Established(*host));
    }

    fn refused(&mut self, cause: ResetCause) {
        self.events.push(Event::Refused(cause));
    }

    fn fin(&mut self, offset: u64) {
        self.events.push(Event::Fin(offset));
    }

    fn reset(&mut self, cause: ResetCause) {
        self.events.push(Event::Reset(cause));
    }

    fn acknowledged(&mut self, offset: u64) {
        self.events.push(Event::Acknowledged(offset));
    }

    fn fin_acknowledged(&mut self, offset: u64) {
        self.events.push(Event::FinAcknowledged(offset));
    }

    fn asked(&mut self) {
        self.events.push(Event::Asked);
    }
}

/// Keeps what is sent, as bytes; `room` segments, then no more frames. Runs are cut.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) sent: Vec<Vec<u8>>,
    pub(super) room: usize,
    /// Payload bytes of a run, at most.
    pub(super) run_bytes_max: u32,
    /// Runs sent.
    pub(super) runs: usize,
}

impl Default for Wire {
    fn default() -> Self {
        Wire { sent: Vec::new(), room: usize::MAX, run_bytes_max: 0, runs: 0 }
    }
}

impl Emit for Wire {
    fn emit(&mut self, segment: &Segment, payload: Payload<'_>) -> bool {
        if self.room == 0 {
            return false;
        }
        self.room -= 1;
        let mut header = [0; HEADER_LEN_MAX];
        let len = segment.emit(1, 2, &mut header).expect("the options fit");
        let mut bytes = header[..len].to_vec();
        assert_eq!(payload.len(), segment.payload_len as usize);
        for piece in payload {
            assert!(!piece.is_empty(), "no empty pieces");
            bytes.extend_from_slice(piece);
        }
        assert_eq!(bytes.len(), len + segment.payload_len as usize, "all of the payload is there");
        self.sent.push(bytes);
        true
    }

    fn run_bytes_max(&self) -> u32 {
        self.run_bytes_max
    }

    fn emit_run(&mut self, segment: &Segment, mut payload: Payload<'_>, size: u16) -> bool {
        let size = usize::from(size);
        let count = payload.len() / size;
        assert!(count > 1 && payload.len() == count * size, "a run of full segments");
        assert!(segment.payload_len <= self.run_bytes_max && !segment.flags.has(Flags::FIN));
        if self.room < count {
            return false;
        }
        let mut part = Segment { payload_len: u32::try_from(size).unwrap(), ..*segment };
        for number in 0..count {
            // What a device does: PSH is the last one's.
            let last = number + 1 == count;
            let psh = if last { segment.flags.0 } else { segment.flags.0 & !Flags::PSH.0 };
            part.flags = Flags(psh);
            assert!(self.emit(&part, payload.split_to(size)));
            part.seq = part.seq.wrapping_add(part.payload_len);
        }
        self.runs += 1;
        true
    }
}

/// A frame with these TCP bytes behind some others, and its parsed segment.
pub(super) fn receive(source: &mut HeapSource, tcp: &[u8]) -> (Segment, HeapFrame) {
    let mut bytes = vec![0xee; FRAME_OFFSET];
    bytes.extend_from_slice(tcp);
    let offset = u32::try_from(FRAME_OFFSET).unwrap();
    let len = u32::try_from(tcp.len()).unwrap();
    let segment = Segment::parse(tcp, offset, len).expect("a segment");
    (segment, source.frame_of(&bytes).expect("a frame"))
}

pub(super) fn config() -> Arc<TcpConfig> {
    Arc::new(TcpConfig::for_mtu(1500, true))
}

pub(super) fn numbers(sequence: u32) -> InitialNumbers {
    InitialNumbers { sequence, timestamp_offset: 77_000 }
}

/// A pool for the bytes from the far side.
pub(super) fn pool(count: usize) -> BufferPool {
    BufferPool::new(&[PoolClass { size: 65_536, count, reserve: 0 }])
}

pub(super) fn slice_of(pool: &BufferPool, bytes: &[u8]) -> BufferSlice {
    let mut buffer = pool.alloc(bytes.len()).expect("a buffer");
    buffer.append(bytes.len()).expect("room").copy_from_slice(bytes);
    buffer.freeze()
}

/// A small generator of numbers (xorshift64*): seeds replay exactly.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }

    /// A length from 1 to `max`.
    pub(super) fn up_to(&mut self, max: usize) -> usize {
        1 + usize::try_from(self.below(max as u64)).unwrap_or(0)
    }

    /// True `per_mille` times out of a thousand.
    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}
