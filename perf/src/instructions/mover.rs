//! The data mover in the clear: bulk over a path without loss, sending and receiving apart.

use dataplane::data_mover::{Down, Incarnation, PeerConfig, Session, Sink, Up};
use dataplane::packet_driver::{BufferKind, BufferPool, BufferSlice, Lane, PeerIndex, PoolClass};
use dataplane::time::{MILLISECOND_NS, Time};

use super::{Work, WorkError, counted};
use crate::bulk::outbound;

const RATE_BPS: u64 = 400_000_000;
const BUFFER: usize = 60_000;
const DATAGRAM_MAX: usize = 2_048;
/// Datagrams that are sent, and then received, in a turn, at most.
const TURN: usize = 256;
/// Turns of a millisecond that are left out, while the session comes up and the rate with it.
const WARM_UP: u32 = 300;
const TURNS: u32 = 60;

#[derive(Default)]
struct Delivered(u64);

impl Sink for Delivered {
    fn delivered(&mut self, buffer: BufferSlice, _: BufferKind) {
        self.0 += buffer.len() as u64;
    }

    fn up(&mut self, _: Up) {}

    fn down(&mut self, _: Down) {}
}

/// Datagrams of one turn.
struct Wire {
    bytes: Vec<[u8; DATAGRAM_MAX]>,
    lens: Vec<usize>,
}

impl Wire {
    fn new() -> Self {
        Wire { bytes: vec![[0; DATAGRAM_MAX]; TURN], lens: Vec::with_capacity(TURN) }
    }

    fn send(&mut self, now: Time, session: &mut Session) {
        self.lens.clear();
        for bytes in &mut self.bytes {
            let Some(len) = session.transmit(now, bytes) else { return };
            self.lens.push(len);
        }
    }

    fn receive(&mut self, now: Time, session: &mut Session, sink: &mut Delivered) {
        for (bytes, len) in self.bytes.iter_mut().zip(&self.lens) {
            session.receive(now, &mut bytes[..*len], sink);
        }
    }
}

struct Pair {
    now: Time,
    pool: BufferPool,
    sessions: [Session; 2],
    sinks: [Delivered; 2],
    wires: [Wire; 2],
}

/// Which half of the work counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Neither,
    Send,
    Receive,
}

fn maybe(counts: bool, work: &mut dyn FnMut()) {
    if counts { counted(work) } else { work() }
}

impl Pair {
    fn new() -> Self {
        let pool = BufferPool::new(&[PoolClass { size: 65_536, count: 512, reserve: 0 }]);
        let config = PeerConfig::new(PeerIndex(0), RATE_BPS);
        let session = |number| Session::new(config, Incarnation(number), pool.clone(), number);
        Pair {
            now: Time::ZERO,
            sessions: [session(1), session(2)],
            sinks: Default::default(),
            wires: [Wire::new(), Wire::new()],
            pool,
        }
    }

    /// Gives the sender what it takes.
    fn feed(&mut self) {
        let session = &mut self.sessions[0];
        while session.can_take(BufferKind::Stream, Lane::BULK)
            && session.queued_bytes() < 4 * BUFFER
        {
            let Some(mut buffer) = self.pool.alloc(BUFFER) else { return };
            buffer.set_len(BUFFER);
            if session.send(outbound(buffer.freeze())).is_err() {
                return;
            }
        }
    }

    /// A millisecond; how many datagrams went forth.
    fn turn(&mut self, half: Half) -> u64 {
        self.now = self.now + MILLISECOND_NS;
        let now = self.now;
        self.feed();
        let [sender, receiver] = &mut self.sessions;
        let [forth, back] = &mut self.wires;
        let [at_sender, at_receiver] = &mut self.sinks;
        let mut sending = || {
            back.receive(now, sender, at_sender);
            sender.on_timeout(now, at_sender);
            forth.send(now, sender);
        };
        maybe(half == Half::Send, &mut sending);
        let mut receiving = || {
            forth.receive(now, receiver, at_receiver);
            receiver.on_timeout(now, at_receiver);
            back.send(now, receiver);
        };
        maybe(half == Half::Receive, &mut receiving);
        self.wires[0].lens.len() as u64
    }
}

fn run(stage: &'static str, half: Half) -> Result<Work, WorkError> {
    let mut pair = Pair::new();
    for _ in 0..WARM_UP {
        pair.turn(Half::Neither);
    }
    let before = pair.sinks[1].0;
    let items = (0..TURNS).map(|_| pair.turn(half)).sum();
    let bytes = pair.sinks[1].0 - before;
    if bytes < RATE_BPS / 8 / 1_000 * u64::from(TURNS) / 2 {
        return Err(WorkError::new(stage, format!("only {bytes} bytes have come")));
    }
    Ok(Work { stage, item: "datagram", items, bytes })
}

/// What acknowledgements bring, timers, and datagrams made.
pub(super) fn send() -> Result<Work, WorkError> {
    run("data mover send", Half::Send)
}

/// Datagrams taken, buffers made whole, acknowledgements made.
pub(super) fn receive() -> Result<Work, WorkError> {
    run("data mover receive", Half::Receive)
}
