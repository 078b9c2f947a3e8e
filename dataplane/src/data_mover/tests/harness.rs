//! Two sessions and a link between them, in virtual time: a seed replays a run exactly.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::super::demux::{Source as From, exchange, settle};
use super::super::rng::Rng;
use super::super::security::{Guard, KeyExchange, PeerKeys, PrivateKey, open};
use super::super::wire::{DataView, DatagramHeader, DatagramKind, Near, Subfields};
use super::super::{
    DemuxCounter, Down, Incarnation, MoverCounter, PeerConfig, Session, Sink, State, Up,
};
use crate::packet_driver::{
    BufferKind, BufferPool, BufferSlice, Lane, OutboundBuffer, PeerIndex, PoolClass, SessionNumber,
};
use crate::time::{MICROSECOND_NS, MILLISECOND_NS, SECOND_NS, Time};

pub(super) const MBIT: u64 = 1_000_000;

/// One direction of a link. Shares are of a million.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) rate_bps: u64,
    pub(super) queue_bytes: u64,
    pub(super) delay_ns: u64,
    /// Further delay of each datagram, evenly distributed, with reordering.
    pub(super) jitter_ns: u64,
    pub(super) loss: u64,
    /// Mean number of datagrams lost one behind the other.
    pub(super) loss_burst: u64,
    pub(super) duplicate: u64,
    pub(super) corrupt: u64,
    pub(super) cut: bool,
    /// Longer IP packets are lost; 0 for none.
    pub(super) mtu: u64,
    /// So many of the next datagrams that carry something of this kind are lost.
    pub(super) strike: Option<(BufferKind, u32)>,
}

impl Link {
    pub(super) fn new(rate_bps: u64, delay_ns: u64, loss: u64) -> Self {
        Link {
            rate_bps,
            queue_bytes: rate_bps / 8 / 10,
            delay_ns,
            jitter_ns: 0,
            loss,
            loss_burst: 1,
            duplicate: 0,
            corrupt: 0,
            cut: false,
            mtu: 0,
            strike: None,
        }
    }
}

/// What a side has been told and given.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Numbers of the buffers delivered, with how often.
    pub(super) buffers: BTreeMap<u64, u32>,
    pub(super) bytes: u64,
    /// Control buffers among them.
    pub(super) controls: u64,
    pub(super) wrong: u64,
    pub(super) ups: Vec<Up>,
    pub(super) downs: Vec<Down>,
    /// Keeps what is delivered, when asked to.
    pub(super) hold: bool,
    pub(super) held: Vec<BufferSlice>,
}

impl Sink for Heard {
    fn delivered(&mut self, buffer: BufferSlice, kind: BufferKind) {
        self.controls += u64::from(kind == BufferKind::Control);
        self.bytes += buffer.len() as u64;
        match check(&buffer) {
            Some(number) => *self.buffers.entry(number).or_insert(0) += 1,
            None => self.wrong += 1,
        }
        if self.hold {
            self.held.push(buffer);
        }
    }

    fn up(&mut self, up: Up) {
        self.ups.push(up);
    }

    fn down(&mut self, reason: Down) {
        self.downs.push(reason);
    }
}

/// Fills a buffer so that its number, its length and every byte can be checked.
fn fill(bytes: &mut [u8], number: u64) {
    let len = bytes.len() as u64;
    let mut rng = Rng::new(number ^ len << 40);
    for chunk in bytes.chunks_mut(8) {
        let word = rng.next_u64().to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    bytes[..8].copy_from_slice(&number.to_le_bytes());
}

/// A buffer filled so, or none while the pool is empty.
pub(super) fn filled(pool: &BufferPool, len: usize, number: u64) -> Option<BufferSlice> {
    let mut buffer = pool.alloc(len)?;
    buffer.set_len(len);
    fill(buffer.bytes_mut(), number);
    Some(buffer.freeze())
}

fn check(bytes: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(*bytes.first_chunk()?);
    let mut rng = Rng::new(number ^ (bytes.len() as u64) << 40);
    rng.next_u64();
    let whole =
        bytes[8..].chunks(8).all(|chunk| rng.next_u64().to_le_bytes()[..chunk.len()] == *chunk);
    whole.then_some(number)
}

/// Buffers that a side has still to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) kind: BufferKind,
    pub(super) len_min: usize,
    pub(super) len_max: usize,
    pub(super) left: u64,
    pub(super) every_ns: u64,
    /// Until when they are of use, from when they are given.
    pub(super) deadline_ns: Option<u64>,
    next: Time,
}

/// One side.
pub(super) struct Side {
    pub(super) session: Session,
    /// When its datagrams are sealed.
    pub(super) keys: Option<(Guard, KeyExchange)>,
    /// What was dropped before it came to the session, and what was not.
    pub(super) demux: Vec<DemuxCounter>,
    pub(super) pool: BufferPool,
    pub(super) heard: Heard,
    pub(super) sources: Vec<Source>,
    pub(super) offered: u64,
    pub(super) link: Link,
    busy_until: Time,
    /// How much later it is by its own clock.
    pub(super) ahead_ns: u64,
    /// Whether the link is losing a burst.
    losing: bool,
}

impl Side {
    pub(super) fn get(&self, counter: MoverCounter) -> u64 {
        self.session.counters().get(counter)
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.session.state(), State::Up(_))
    }

    /// A datagram arrives.
    pub(super) fn receive(&mut self, now: Time, datagram: &mut [u8]) {
        let kind = |field| Some(Subfields::new(field).next()?.ok()?.kind);
        if let Some((guard, _)) = &mut self.keys
            && let Ok((header, field, _)) = DatagramHeader::parse(datagram)
            && header.kind == DatagramKind::Hello
            && let Some(kind) = kind(field)
            && kind != super::super::wire::SubfieldKind::Hello
        {
            let session = Some(&mut self.session);
            let counter = exchange(guard, session, now, (&header, kind), &source(), datagram);
            self.demux.push(counter);
            return;
        }
        self.session.receive(now, datagram, &mut self.heard);
    }

    /// Lets the key exchange do what there is to do.
    pub(super) fn exchange_keys(&mut self, now: Time) {
        let Some((guard, exchange)) = &mut self.keys else { return };
        loop {
            while let Some(reply) = guard.reply() {
                settle(guard, &mut self.session, now, reply, &mut self.heard);
            }
            if let Some(request) = self.session.key_request(now) {
                guard.ask(request);
            }
            if !exchange.turn() {
                break;
            }
        }
    }
}

/// Where datagrams of key exchanges come from: here are no addresses.
pub(super) fn source() -> From {
    let remote = std::net::SocketAddr::from(([10, 0, 0, 1], 4980));
    From { remote, local: remote, station: crate::frame::MacAddr([2; 6]) }
}

/// The private key of a side.
pub(super) fn private(side: usize) -> PrivateKey {
    PrivateKey::new([u8::try_from(side).unwrap() + 1; 32])
}

/// Makes a session one that is sealed, with the key that its side has.
pub(super) fn sealed(session: &mut Session, side: usize, seed: u64) -> (Guard, KeyExchange) {
    let peer = private(1 - side).public();
    session.secure(&private(side).public(), &peer, side == 0 || seed.is_multiple_of(2));
    let mut rng = Rng::new(seed);
    let entropy = move |bytes: &mut [u8]| {
        bytes.chunks_mut(8).for_each(|chunk| {
            chunk.copy_from_slice(&rng.next_u64().to_le_bytes()[..chunk.len()]);
        });
        true
    };
    let peers = vec![Some(PeerKeys { public: peer, psk: None })];
    open(private(side), peers, [seed; 4], Box::new(entropy))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    at: Time,
    order: u64,
    to: usize,
    bytes: Vec<u8>,
}

/// The pair: side 0 and side 1, each with the link that it sends over.
pub(super) struct World {
    pub(super) now: Time,
    pub(super) sides: [Side; 2],
    pub(super) config: PeerConfig,
    arrivals: BinaryHeap<Reverse<Arrival>>,
    sent: u64,
    rng: Rng,
    seed: u64,
}

/// A pool of a size fit for this rate.
pub(super) fn pool(rate_bps: u64) -> BufferPool {
    let large = match rate_bps / MBIT {
        0..=50 => 64,
        51..=500 => 1_024,
        _ => 4_096,
    };
    BufferPool::new(&[
        PoolClass { size: 2_048, count: 8 * large, reserve: large / 4 },
        PoolClass { size: 65_536, count: large, reserve: 0 },
    ])
}

pub(super) fn config(rate_bps: u64) -> PeerConfig {
    PeerConfig {
        // The times of the tests are short: what is reserved can be small.
        rtt_ns_max: SECOND_NS / 2,
        buffers_max: 8_192,
        ..PeerConfig::new(PeerIndex(0), rate_bps)
    }
}

impl World {
    pub(super) fn new(config: PeerConfig, link: Link, seed: u64) -> Self {
        println!("seed {seed}");
        let mut rng = Rng::new(seed);
        let mut side = |incarnation: u64| {
            let pool = pool(config.congestion.rate_bps_max());
            let incarnation_of = Incarnation(incarnation);
            let mut session = Session::new(config, incarnation_of, pool.clone(), rng.next_u64());
            let index = usize::from(incarnation == 2);
            let keys = config.sealed.then(|| sealed(&mut session, index, seed ^ incarnation));
            Side {
                session,
                keys,
                demux: Vec::new(),
                pool,
                heard: Heard::default(),
                sources: Vec::new(),
                offered: 0,
                link,
                busy_until: Time::ZERO,
                ahead_ns: 0,
                losing: false,
            }
        };
        let sides = [side(1), side(2)];
        World { now: Time::ZERO, sides, config, arrivals: BinaryHeap::new(), sent: 0, rng, seed }
    }

    /// 200 Mb/s, 80 ms, this loss, sealed.
    pub(super) fn sealed(loss: u64, seed: u64) -> Self {
        let link = Link::new(200 * MBIT, 40 * MILLISECOND_NS, loss);
        World::new(PeerConfig { sealed: true, ..config(200 * MBIT) }, link, seed)
    }

    /// 200 Mb/s, 80 ms, this loss.
    pub(super) fn wan(loss: u64, seed: u64) -> Self {
        let link = Link::new(200 * MBIT, 40 * MILLISECOND_NS, loss);
        World::new(config(200 * MBIT), link, seed)
    }

    pub(super) fn links(&mut self, change: impl Fn(&mut Link)) {
        self.sides.iter_mut().for_each(|side| change(&mut side.link));
    }

    pub(super) fn source(&mut self, side: usize, kind: BufferKind, len: (usize, usize), left: u64) {
        self.source_every(side, kind, len, left, 0);
    }

    pub(super) fn source_every(
        &mut self,
        side: usize,
        kind: BufferKind,
        (len_min, len_max): (usize, usize),
        left: u64,
        every_ns: u64,
    ) {
        let (deadline_ns, next) = (None, Time::ZERO);
        let source = Source { kind, len_min, len_max, left, every_ns, deadline_ns, next };
        self.sides[side].sources.push(source);
    }

    /// Cuts the links; what side 0 sends then, until it falls silent for want of answers.
    pub(super) fn capture(&mut self) -> Vec<Vec<u8>> {
        self.links(|link| link.cut = true);
        self.run_ms(60);
        let mut out = [0; 2_048];
        let mut datagrams = Vec::new();
        for _ in 0..40 {
            self.now = self.now + MILLISECOND_NS;
            self.feed(0);
            let side = &mut self.sides[0];
            side.session.on_timeout(self.now, &mut side.heard);
            while let Some(len) = side.session.transmit(self.now, &mut out) {
                datagrams.push(out[..len].to_vec());
            }
        }
        datagrams
    }

    /// Replaces a side by a new process: the sources remain.
    pub(super) fn restart(&mut self, side: usize, incarnation: u64) {
        let seed = self.rng.next_u64();
        let index = side;
        let side = &mut self.sides[side];
        side.pool = pool(self.config.congestion.rate_bps_max());
        side.session = Session::new(self.config, Incarnation(incarnation), side.pool.clone(), seed);
        side.keys = self.config.sealed.then(|| sealed(&mut side.session, index, seed));
    }

    /// Lets a side's sources give what the session takes.
    pub(super) fn feed(&mut self, index: usize) {
        let side = &mut self.sides[index];
        for source in &mut side.sources {
            while source.left > 0
                && source.next <= self.now
                && side.session.can_take(source.kind, Lane::BULK)
            {
                let span = (source.len_max - source.len_min + 1) as u64;
                let len = source.len_min + usize::try_from(self.rng.next_u64() % span).unwrap();
                let Some(bytes) = filled(&side.pool, len, side.offered) else { break };
                side.offered += 1;
                source.left -= 1;
                source.next = self.now + source.every_ns;
                let buffer = OutboundBuffer {
                    peer: PeerIndex(0),
                    session: SessionNumber(1),
                    lane: Lane::BULK,
                    kind: source.kind,
                    deadline: source.deadline_ns.map(|ns| self.now + ns),
                    compress: false,
                    bytes,
                };
                assert!(side.session.send(buffer).is_ok(), "seed {}", self.seed);
            }
        }
    }

    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    fn chance(&mut self, share: u64) -> bool {
        share > 0 && self.rng.next_u64() % 1_000_000 < share
    }

    /// Whether the link loses the next datagram: of bursts of the mean length, as many as make up
    /// its loss.
    fn loses(&mut self, from: usize) -> bool {
        let Link { loss, loss_burst, .. } = self.sides[from].link;
        if loss_burst <= 1 {
            return self.chance(loss);
        }
        let share = if self.sides[from].losing {
            1_000_000 - 1_000_000 / loss_burst
        } else {
            loss / loss_burst
        };
        self.sides[from].losing = self.chance(share);
        self.sides[from].losing
    }

    fn strikes(&mut self, from: usize, datagram: &[u8]) -> bool {
        let Some((kind, left)) = &mut self.sides[from].link.strike else { return false };
        let Ok((header, field, bytes)) = DatagramHeader::parse(datagram) else { return false };
        let sealed = bytes.len().saturating_sub(self.config.tag_len());
        let view = DataView::parse(header.kind, field, &bytes[..sealed], Near::default());
        let Ok((data, _)) = view else { return false };
        let struck = *left > 0 && data.pieces().any(|(piece, _)| piece.kind == *kind);
        *left -= u32::from(struck);
        struck
    }

    fn carry(&mut self, from: usize, datagram: &[u8]) {
        let ip_bytes = datagram.len() as u64 + u64::from(self.config.ip_overhead_bytes);
        let side = &mut self.sides[from];
        let link = side.link;
        let start = side.busy_until.max(self.now);
        if link.mtu != 0 && ip_bytes > link.mtu {
            return;
        }
        let waiting_bytes = start.since_ns(self.now) * (link.rate_bps / 8) / SECOND_NS;
        if waiting_bytes > link.queue_bytes {
            return;
        }
        side.busy_until = start + ip_bytes * 8 * SECOND_NS / link.rate_bps;
        let sent_at = side.busy_until;
        if link.cut || self.strikes(from, datagram) || self.loses(from) {
            return;
        }
        let copies = if self.chance(link.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let mut bytes = datagram.to_vec();
            if self.chance(link.corrupt) {
                let at = usize::try_from(self.rng.next_u64()).unwrap() % bytes.len();
                bytes[at] ^= 1 << (self.rng.next_u64() % 8);
            }
            let jitter_ns = self.rng.next_u64() % link.jitter_ns.max(1);
            let at = sent_at + link.delay_ns + jitter_ns;
            self.sent += 1;
            self.arrivals.push(Reverse(Arrival { at, order: self.sent, to: 1 - from, bytes }));
        }
    }

    fn step(&mut self) {
        while self.arrivals.peek().is_some_and(|Reverse(arrival)| arrival.at <= self.now) {
            let Some(Reverse(mut arrival)) = self.arrivals.pop() else { break };
            let side = &mut self.sides[arrival.to];
            side.receive(self.now + side.ahead_ns, &mut arrival.bytes);
        }
        let mut out = [0; 9_216];
        for index in 0..2 {
            self.feed(index);
            let side = &mut self.sides[index];
            let now = self.now + side.ahead_ns;
            if side.session.next_timeout() <= now {
                side.session.on_timeout(now, &mut side.heard);
            }
            self.sides[index].exchange_keys(now);
            while let Some(outgoing) = self.sides[index].keys.as_mut().and_then(|k| k.0.outgoing())
            {
                self.carry(index, outgoing.bytes());
            }
            while let Some(len) = self.sides[index].session.transmit(now, &mut out) {
                assert!(len <= self.config.datagram_len_max(), "seed {}", self.seed);
                self.carry(index, &out[..len]);
                self.feed(index);
            }
        }
    }

    /// Runs until `to`.
    pub(super) fn run_to(&mut self, to: Time) {
        while self.now < to {
            self.step();
            let arrival = self.arrivals.peek().map_or(Time::NEVER, |Reverse(a)| a.at);
            let mut next = arrival;
            for side in &mut self.sides {
                next = next.min(side.session.next_timeout() - side.ahead_ns);
                for source in side.sources.iter().filter(|source| source.left > 0) {
                    if source.next > self.now {
                        next = next.min(source.next);
                    }
                }
            }
            self.now = next.max(self.now + MICROSECOND_NS).min(to);
        }
    }

    /// Runs for so many milliseconds.
    pub(super) fn run_ms(&mut self, ms: u64) {
        self.run_to(self.now + ms * MILLISECOND_NS);
    }

    /// Runs until all that was offered is done at its sender, or `ms` have passed.
    pub(super) fn run_until_done(&mut self, ms: u64) -> bool {
        let end = self.now + ms * MILLISECOND_NS;
        while self.now < end {
            self.run_ms(20);
            if self.sides.iter().all(|side| {
                side.is_up()
                    && side.sources.iter().all(|source| source.left == 0)
                    && side.get(MoverCounter::BuffersOut)
                        == side.get(MoverCounter::BuffersCompleted)
                            + side.get(MoverCounter::BuffersAbandoned)
                            + side.get(MoverCounter::BuffersExpired)
                            + side.get(MoverCounter::BuffersDiscarded)
            }) {
                return true;
            }
        }
        false
    }

    /// Everything that `from` offered was delivered once and whole at the other side.
    pub(super) fn assert_all_delivered(&self, from: usize) {
        let heard = &self.sides[1 - from].heard;
        assert_eq!(heard.wrong, 0, "seed {}", self.seed);
        assert_eq!(heard.buffers.len() as u64, self.sides[from].offered, "seed {}", self.seed);
        assert!(heard.buffers.values().all(|count| *count == 1), "seed {}", self.seed);
    }

    /// Every datagram was counted under one name, and no buffer is left anywhere.
    pub(super) fn assert_clean(&self) {
        for side in &self.sides {
            let counters = side.session.counters();
            let sum = |kind| -> u64 {
                counters.iter().filter(|(d, _)| d.kind == kind).map(|(_, value)| value).sum()
            };
            use crate::counters::Kind;
            assert_eq!(sum(Kind::In), sum(Kind::Out) + sum(Kind::Drop), "seed {}", self.seed);
            assert_eq!(side.pool.in_use_bytes(), 0, "seed {}", self.seed);
        }
    }

    /// Payload of buffers delivered to side 1 in the next `ms`, as a share of what the rate allows
    /// at this loss.
    pub(super) fn eta(&mut self, loss: u64, ms: u64) -> f64 {
        let before = self.sides[1].heard.bytes;
        self.run_ms(ms);
        let goodput_bps = (self.sides[1].heard.bytes - before) as f64 * 8.0 * 1_000.0 / ms as f64;
        let arriving = 1.0 - loss as f64 / 1e6;
        let segment = f64::from(self.config.segment_size_max);
        let full =
            (self.config.datagram_len_max() + usize::from(self.config.ip_overhead_bytes)) as f64;
        goodput_bps / (self.sides[0].link.rate_bps as f64 * arriving * segment / full)
    }
}
