//! `auto` beside other flows in one queue: another data mover, CUBIC, BBR.
//!
//! The others are models of what matters here: when a datagram is sent and what its
//! acknowledgement or its loss does to the next ones (RFC 9438; BBR, ACM Queue 2016).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::super::{Congestion, Incarnation, MoverCounter, PeerConfig, Session};
use super::harness::{Heard, MBIT, config, pool};
use crate::packet_driver::{
    BufferKind, BufferPool, BufferSlice, Lane, OutboundBuffer, PeerIndex, SessionNumber,
};
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

const RATE_BPS: u64 = 50 * MBIT;
const DELAY_NS: u64 = 20 * MILLISECOND_NS;
const DATAGRAM: u64 = 1_458;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, small")]
fn whole(value: f64) -> u64 {
    value as u64
}

/// What a model of a controller decides by.
struct Acked {
    now: Time,
    rtt_ns: u64,
    /// Arrived when it was sent, and now, in datagrams; and the time in between.
    delivered: u64,
    delivered_before: u64,
    elapsed_ns: u64,
}

trait Model {
    fn window(&self) -> u64;
    fn rate_bps(&self) -> u64;
    fn acked(&mut self, acked: &Acked);
    fn lost(&mut self, now: Time);
}

/// CUBIC without slow start's refinements.
struct Cubic {
    window: f64,
    threshold: f64,
    max: f64,
    epoch: Option<Time>,
    lost_at: Time,
}

impl Model for Cubic {
    fn window(&self) -> u64 {
        whole(self.window)
    }

    fn rate_bps(&self) -> u64 {
        u64::MAX
    }

    fn acked(&mut self, acked: &Acked) {
        if self.window < self.threshold {
            self.window += 1.0;
            return;
        }
        let epoch = *self.epoch.get_or_insert(acked.now);
        let t = acked.now.since_ns(epoch) as f64 / 1e9;
        let k = (self.max * 0.3 / 0.4).cbrt();
        let target = 0.4 * (t - k).powi(3) + self.max;
        let reno = self.max * 0.7 + 0.53 * t * 1e9 / acked.rtt_ns as f64;
        let target = target.max(reno).min(1.5 * self.window);
        if target > self.window {
            self.window += (target - self.window) / self.window;
        }
    }

    fn lost(&mut self, now: Time) {
        if now.since_ns(self.lost_at) < 2 * DELAY_NS {
            return;
        }
        self.lost_at = now;
        self.max = self.window;
        self.window = (self.window * 0.7).max(2.0);
        self.threshold = self.window;
        self.epoch = None;
    }
}

/// BBR's first version.
struct Bbr {
    rates: VecDeque<(u64, u64)>,
    round: u64,
    round_end: u64,
    rtt_min_ns: u64,
    rtt_min_at: Time,
    probe_rtt_until: Option<Time>,
    full: Option<(u64, u32)>,
    phase: usize,
    phase_at: Time,
}

impl Bbr {
    const GAINS: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];

    fn bandwidth_bps(&self) -> u64 {
        self.rates.iter().map(|(_, rate)| *rate).max().unwrap_or(2 * MBIT)
    }

    fn bdp(&self) -> f64 {
        self.bandwidth_bps() as f64 / 8.0 * self.rtt_min_ns as f64 / 1e9 / DATAGRAM as f64
    }
}

impl Model for Bbr {
    fn window(&self) -> u64 {
        if self.probe_rtt_until.is_some() {
            return 4;
        }
        let gain = if self.full.is_some() { 2.89 } else { 2.0 };
        whole(gain * self.bdp()) + 3
    }

    fn rate_bps(&self) -> u64 {
        let gain = if self.full.is_some() { 2.89 } else { Self::GAINS[self.phase] };
        whole(self.bandwidth_bps() as f64 * gain)
    }

    fn acked(&mut self, acked: &Acked) {
        let round_ended = acked.delivered_before >= self.round_end;
        if round_ended {
            self.round += 1;
            self.round_end = acked.delivered;
        }
        let datagrams = acked.delivered - acked.delivered_before;
        let rate = datagrams * DATAGRAM * 8 * SECOND_NS / acked.elapsed_ns.max(1);
        self.rates.push_back((self.round, rate));
        while self.rates.front().is_some_and(|(round, _)| round + 10 < self.round) {
            self.rates.pop_front();
        }
        let old = acked.now.since_ns(self.rtt_min_at) > 10 * SECOND_NS;
        if old && self.probe_rtt_until.is_none() {
            self.probe_rtt_until = Some(acked.now + 200 * MILLISECOND_NS);
        }
        if acked.rtt_ns <= self.rtt_min_ns || old {
            (self.rtt_min_ns, self.rtt_min_at) = (acked.rtt_ns, acked.now);
        }
        if self.probe_rtt_until.is_some_and(|until| until <= acked.now) {
            self.probe_rtt_until = None;
            self.rtt_min_at = acked.now;
        }
        let bandwidth_bps = self.bandwidth_bps();
        if let (Some((best, flat)), true) = (&mut self.full, round_ended) {
            if bandwidth_bps * 4 >= *best * 5 {
                (*best, *flat) = (bandwidth_bps, 0);
            } else {
                *flat += 1;
                if *flat >= 3 {
                    self.full = None;
                }
            }
        }
        if acked.now.since_ns(self.phase_at) > self.rtt_min_ns {
            self.phase = (self.phase + 1) % 8;
            self.phase_at = acked.now;
        }
    }

    fn lost(&mut self, _: Time) {}
}

fn cubic() -> Box<dyn Model> {
    let lost_at = Time::ZERO;
    Box::new(Cubic { window: 10.0, threshold: 1e9, max: 10.0, epoch: None, lost_at })
}

fn bbr() -> Box<dyn Model> {
    Box::new(Bbr {
        rates: VecDeque::new(),
        round: 0,
        round_end: 0,
        rtt_min_ns: 2 * DELAY_NS,
        rtt_min_at: Time::ZERO,
        probe_rtt_until: None,
        full: Some((0, 0)),
        phase: 2,
        phase_at: Time::ZERO,
    })
}

/// A flow of a model: always something to send.
struct Flow {
    model: Box<dyn Model>,
    next_number: u64,
    next_at: Time,
    delivered: u64,
    delivered_at: Time,
    /// Number: sent at, delivered then, and when.
    sent: BTreeMap<u64, (Time, u64, Time)>,
}

/// A pair of data movers: `auto` from the first to the second.
struct Mover {
    sessions: [Session; 2],
    heard: [Heard; 2],
    pool: BufferPool,
    payload: BufferSlice,
}

enum User {
    Flow(Flow),
    Mover(Box<Mover>),
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A datagram of a model arrives, or is known to be lost.
    Acked(u64, bool),
    /// A datagram for the first or the second end.
    Datagram(usize, Vec<u8>),
    /// A flow may send its next.
    Send,
}

/// Users of one queue.
struct World {
    now: Time,
    users: Vec<User>,
    events: BinaryHeap<Reverse<(Time, u64, usize, What)>>,
    order: u64,
    busy_until: Time,
    rate_bps: u64,
    delay_ns: u64,
    bytes: Vec<u64>,
}

fn mover(number: u64) -> User {
    let congestion = Congestion::Auto { hint_bps: None, rate_bps_max: 1_000 * MBIT };
    let config = PeerConfig { congestion, ..config(200 * MBIT) };
    let own = pool(200 * MBIT);
    let session =
        |n: u64| Session::new(config, Incarnation(2 * number + n), own.clone(), number + n);
    let mut payload = own.alloc(42_000).unwrap();
    payload.set_len(42_000);
    User::Mover(Box::new(Mover {
        sessions: [session(0), session(1)],
        heard: [Heard::default(), Heard::default()],
        payload: payload.freeze(),
        pool: own.clone(),
    }))
}

fn flow(model: Box<dyn Model>) -> User {
    User::Flow(Flow {
        model,
        next_number: 0,
        next_at: Time::ZERO,
        delivered: 0,
        delivered_at: Time::ZERO,
        sent: BTreeMap::new(),
    })
}

impl World {
    /// With a queue of one product of rate and round trip.
    fn new(users: Vec<User>) -> Self {
        Self::with(users, RATE_BPS, DELAY_NS)
    }

    fn with(users: Vec<User>, rate_bps: u64, delay_ns: u64) -> Self {
        let bytes = vec![0; users.len()];
        World {
            now: Time::ZERO,
            users,
            events: BinaryHeap::new(),
            order: 0,
            busy_until: Time::ZERO,
            rate_bps,
            delay_ns,
            bytes,
        }
    }

    fn event(&mut self, at: Time, user: usize, what: What) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, user, what)));
    }

    /// When a datagram is at the far end of the queue and the path; `None` if the queue is full.
    fn carry(&mut self, user: usize, ip_bytes: u64) -> Option<Time> {
        let start = self.busy_until.max(self.now);
        if start.since_ns(self.now) > 2 * self.delay_ns {
            return None;
        }
        self.busy_until = start + ip_bytes * 8 * SECOND_NS / self.rate_bps;
        self.bytes[user] += ip_bytes;
        Some(self.busy_until + self.delay_ns)
    }

    fn send(&mut self, index: usize) {
        let mut out = [0; 2_048];
        while let User::Flow(flow) = &mut self.users[index] {
            if flow.next_at > self.now || flow.sent.len() as u64 >= flow.model.window() {
                return;
            }
            let number = flow.next_number;
            flow.next_number += 1;
            flow.sent.insert(number, (self.now, flow.delivered, flow.delivered_at));
            let gap_ns =
                u128::from(DATAGRAM * 8 * SECOND_NS) / u128::from(flow.model.rate_bps().max(1));
            flow.next_at = self.now + u64::try_from(gap_ns).unwrap();
            let next_at = flow.next_at;
            let arrived = self.carry(index, DATAGRAM);
            let known = arrived.map_or(self.busy_until + self.delay_ns, |at| at) + self.delay_ns;
            self.event(known, index, What::Acked(number, arrived.is_some()));
            if next_at > self.now {
                self.event(next_at, index, What::Send);
            }
        }
        for end in 0..2 {
            loop {
                let now = self.now;
                let User::Mover(mover) = &mut self.users[index] else { return };
                if mover.sessions[end].next_timeout() <= now {
                    mover.sessions[end].on_timeout(now, &mut mover.heard[end]);
                }
                while end == 0 && mover.sessions[0].can_take(BufferKind::Stream, Lane::BULK) {
                    let peer = PeerIndex(0);
                    let (kind, bytes) = (BufferKind::Stream, mover.payload.clone());
                    let buffer = OutboundBuffer {
                        peer,
                        session: SessionNumber(1),
                        lane: Lane::BULK,
                        kind,
                        deadline: None,
                        compress: false,
                        bytes,
                    };
                    assert!(mover.sessions[0].send(buffer).is_ok());
                }
                let Some(len) = mover.sessions[end].transmit(now, &mut out) else { break };
                let arrives = match end {
                    0 => self.carry(index, len as u64 + 28),
                    _ => Some(now + self.delay_ns),
                };
                if let Some(at) = arrives {
                    self.event(at, index, What::Datagram(1 - end, out[..len].to_vec()));
                }
            }
        }
    }

    fn happen(&mut self, index: usize, what: What) {
        let now = self.now;
        match (&mut self.users[index], what) {
            (User::Flow(flow), What::Acked(number, arrived)) => {
                let Some((sent_at, before, before_at)) = flow.sent.remove(&number) else { return };
                if arrived {
                    flow.delivered += 1;
                    flow.delivered_at = now;
                    flow.model.acked(&Acked {
                        now,
                        rtt_ns: now.since_ns(sent_at),
                        delivered: flow.delivered,
                        delivered_before: before,
                        elapsed_ns: now.since_ns(before_at),
                    });
                } else {
                    flow.model.lost(now);
                }
            }
            (User::Mover(mover), What::Datagram(end, mut bytes)) => {
                mover.sessions[end].receive(now, &mut bytes, &mut mover.heard[end]);
                mover.heard[end].buffers.clear();
            }
            _ => {}
        }
    }

    fn run_to(&mut self, end: Time) {
        for index in 0..self.users.len() {
            self.send(index);
        }
        while self.now < end {
            let mut next = self.events.peek().map_or(Time::NEVER, |Reverse(event)| event.0);
            let mut due = None;
            for (index, user) in self.users.iter_mut().enumerate() {
                if let User::Mover(mover) = user {
                    for session in &mut mover.sessions {
                        let at = session.next_timeout();
                        if at < next {
                            (next, due) = (at, Some(index));
                        }
                    }
                }
            }
            self.now = next.max(self.now).min(end);
            if let Some(index) = due {
                self.now = self.now + 1;
                self.send(index);
            } else if let Some(Reverse((_, _, index, what))) = self.events.pop() {
                self.happen(index, what);
                self.send(index);
            }
        }
    }

    /// Shares of the bytes that the queue took from `from_s` to `to_s`.
    fn shares(&mut self, from_s: u64, to_s: u64) -> Vec<f64> {
        self.run_to(Time::from_ms(from_s * 1_000));
        let before = self.bytes.clone();
        self.run_to(Time::from_ms(to_s * 1_000));
        let possible = (self.rate_bps / 8 * (to_s - from_s)) as f64;
        self.bytes
            .iter()
            .zip(before)
            .map(|(now, before)| (now - before) as f64 / possible)
            .collect()
    }
}

/// Rates in Mb/s and delays in milliseconds of links with 38 to 330 datagrams on them.
const LINKS: [(u64, u64); 5] = [(15, 15), (30, 30), (50, 20), (60, 15), (100, 20)];

/// Shares of a flow and of a mover on this link, or on one a little faster and longer for each `near`.
fn shares(model: fn() -> Box<dyn Model>, (rate, delay): (u64, u64), near: u64) -> Vec<f64> {
    let users = vec![flow(model()), mover(1)];
    let (rate_bps, delay_ns) = (rate * MBIT + near * 300_000, delay * MILLISECOND_NS);
    World::with(users, rate_bps, delay_ns + near * 700_000).shares(15, 60)
}

#[test]
fn a_cubic_flow_and_we_keep_half_of_a_fair_share_at_least() {
    for link in LINKS {
        let shares = shares(cubic, link, 0);
        println!("cubic, auto: {link:?} Mb/s, ms: {shares:?}");
        assert!(shares[0] >= 0.25 && shares[1] >= 0.25, "{link:?}: {shares:?}");
    }
}

/// BBR's first version gives way to no loss.
#[test]
fn a_bbr_flow_and_we_keep_half_of_a_fair_share_or_nearly() {
    for link in LINKS {
        for near in 0..3 {
            let shares = shares(bbr, link, near);
            println!("bbr, auto: {link:?} Mb/s, ms, {near}: {shares:.3?}");
            assert!(shares[0] >= 0.25 && shares[1] >= 0.15, "{link:?}, {near}: {shares:?}");
        }
    }
}

#[test]
fn two_movers_share_evenly() {
    let mut world = World::new(vec![mover(1), mover(5)]);
    let shares = world.shares(20, 50);
    let sum: f64 = shares.iter().sum();
    let jain = sum * sum / (2.0 * shares.iter().map(|share| share * share).sum::<f64>());
    println!("auto, auto: {shares:?}, Jain {jain}");
    assert!(jain >= 0.95, "{shares:?}");
    assert!(sum >= 0.95, "{shares:?}");
    for user in &world.users {
        let User::Mover(mover) = user else { continue };
        let counters = mover.sessions[0].counters();
        let lost = counters.get(MoverCounter::DatagramsLost) as f64;
        assert!(lost / counters.get(MoverCounter::DatagramsOut) as f64 <= 0.05, "{lost}");
        assert!(mover.pool.in_use_bytes() > 0);
    }
}
