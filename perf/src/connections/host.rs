//! The hosts: one that connects, asks and closes, one that answers, each with very many connections.
//!
//! In: frames of the near appliance, a plan. Out: frames to it, how many have opened, been answered,
//! closed. Never: a stack; what comes and should not have is counted.

use std::collections::VecDeque;

use dataplane::frame::Frame;
use dpdk_wrapper::eal::tsc;

use crate::optimized::frame::{MbufFrame, Queue};
use crate::optimized::pair::{Place, Station};
use crate::optimized::segment::{self, ACK, End, FIN, RST, SYN, Seen, Segment};

/// Bytes of a request and of its answer.
const REQUEST: usize = 64;
const ANSWER: usize = 256;
/// Connections that one address of the server has, and the first of their ports.
const PER_ADDRESS: usize = 40_000;
const FIRST_PORT: u16 = 20_000;
const SERVER_PORT: u16 = 80;
/// Connections with something under way, at most.
const UNDER_WAY: usize = 1_024;
/// Time after which an answer that has not come is asked for again, as a part of a second.
const PATIENCE: u64 = 2;

/// What the client does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Plan {
    #[default]
    Nothing,
    /// Opens each once.
    Open,
    /// Asks on open ones, again and again.
    Ask,
    /// Opens, asks and closes, again and again.
    Churn,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Closed,
    Opening,
    Open,
    Asked,
    Closing,
}

#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    phase: Phase,
    /// Of the closing: ours is acknowledged, theirs has come.
    fins: [bool; 2],
    /// Next sequence number to send, and next expected.
    sent: u32,
    received: u32,
    stamp: u32,
    /// Requests so far, which tell contents apart.
    count: u32,
    mac: [u8; 6],
    /// Since when something is under way.
    since: u64,
}

/// Either host.
pub(super) struct Host {
    place: Place,
    connections: Vec<Connection>,
    tsc_hz: u64,
    plan: Plan,
    /// The connections of the plan, and which is next.
    range: std::ops::Range<usize>,
    next: usize,
    under_way: VecDeque<usize>,
    /// Of the client.
    pub(super) done: Done,
}

/// What has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Connections opened.
    pub(super) opened: u64,
    /// Requests answered, byte by byte as they should be.
    pub(super) answered: u64,
    /// Connections closed in order.
    pub(super) closed: u64,
    /// Resets, and requests or answers that are not as they should be.
    pub(super) wrong: u64,
    /// Segments sent again.
    pub(super) again: u64,
}

impl Station for Host {
    fn turn(&mut self, arrived: &mut Queue, to: &mut Queue, most: usize) {
        for frame in arrived.drain(..) {
            let own = self.place.own;
            match segment::read(frame.head(), &own) {
                Some(seen) => to.extend(self.receive(&seen)),
                None => {
                    let mine = |ip: [u8; 4]| ip[..3] == own.ip[..3] && ip[3] >= own.ip[3];
                    to.extend(segment::answer_arp(
                        &mut self.place.source,
                        &own,
                        frame.head(),
                        mine,
                    ));
                }
            }
        }
        self.begin(to, most);
        self.look_after(to);
    }
}

impl Host {
    pub(super) fn new(place: Place, connections: usize, tsc_hz: u64) -> Self {
        Host {
            place,
            connections: vec![Connection::default(); connections],
            tsc_hz,
            plan: Plan::Nothing,
            range: 0..0,
            next: 0,
            under_way: VecDeque::with_capacity(2 * UNDER_WAY),
            done: Done::default(),
        }
    }

    /// Does this from now on, with these connections.
    pub(super) fn follow(&mut self, plan: Plan, range: std::ops::Range<usize>) {
        (self.plan, self.next, self.range) = (plan, range.start, range);
    }

    /// Whether nothing is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.under_way.is_empty()
    }

    /// The requests for the MAC addresses of the server.
    pub(super) fn ask(&mut self) -> Vec<MbufFrame> {
        let addresses = self.connections.len().div_ceil(PER_ADDRESS);
        let last = |n: usize| u8::try_from(n).unwrap_or(0);
        let all = (0..addresses).map(|n| {
            let [a, b, c, d] = self.place.peer.ip;
            segment::ask(&mut self.place.source, &self.place.own, [a, b, c, d + last(n)])
        });
        all.flatten().collect()
    }

    fn ends(&self, index: usize) -> (End, End) {
        let port = FIRST_PORT + u16::try_from(index % PER_ADDRESS).unwrap_or(0);
        let more = u8::try_from(index / PER_ADDRESS).unwrap_or(0);
        let (mut own, mut peer) = (self.place.own, self.place.peer);
        let mac = self.connections[index].mac;
        if self.place.is_client {
            own.port = port;
            peer =
                End { port: SERVER_PORT, mac: if mac == [0; 6] { peer.mac } else { mac }, ..peer };
            peer.ip[3] += more;
        } else {
            own.port = SERVER_PORT;
            own.ip[3] += more;
            peer = End { port, mac, ..peer };
        }
        (own, peer)
    }

    fn index(&self, seen: &Seen<'_>) -> Option<usize> {
        let (port, server, base) = if self.place.is_client {
            (seen.to.port, seen.from.ip, self.place.peer.ip)
        } else {
            (seen.from.port, seen.to.ip, self.place.own.ip)
        };
        let address = usize::from(server[3].checked_sub(base[3])?);
        let index = address * PER_ADDRESS + usize::from(port.checked_sub(FIRST_PORT)?);
        (index < self.connections.len()).then_some(index)
    }

    /// Begins what the plan says, while there is room.
    fn begin(&mut self, to: &mut Queue, most: usize) {
        if self.plan == Plan::Nothing {
            return;
        }
        let mut looks = most;
        while to.len() < most && self.under_way.len() < UNDER_WAY && looks > 0 {
            looks -= 1;
            if self.next >= self.range.end {
                if self.plan == Plan::Open {
                    return;
                }
                self.next = self.range.start;
            }
            let index = self.next;
            self.next += 1;
            let frame = match (self.plan, self.connections[index].phase) {
                (Plan::Ask, Phase::Open) => self.request(index),
                (Plan::Open | Plan::Churn, Phase::Closed) => self.open(index),
                _ => continue,
            };
            self.under_way.push_back(index);
            to.extend(frame);
        }
    }

    fn open(&mut self, index: usize) -> Option<MbufFrame> {
        // A later connection of the same ends has a higher number.
        let now = tsc();
        let connection = &mut self.connections[index];
        *connection = Connection {
            phase: Phase::Opening,
            sent: segment::low(now >> 8),
            mac: connection.mac,
            since: now,
            ..Connection::default()
        };
        self.write(index, SYN, &[])
    }

    fn request(&mut self, index: usize) -> Option<MbufFrame> {
        let connection = &mut self.connections[index];
        (connection.phase, connection.since) = (Phase::Asked, tsc());
        let bytes = content::<REQUEST>(index, connection.count);
        self.write(index, ACK, &bytes)
    }

    fn receive(&mut self, seen: &Seen<'_>) -> Option<MbufFrame> {
        let index = self.index(seen)?;
        if seen.flags & RST != 0 {
            self.done.wrong += 1;
            self.connections[index].phase = Phase::Closed;
            return None;
        }
        if seen.flags & SYN != 0 {
            return self.opened(index, seen);
        }
        let connection = &mut self.connections[index];
        if connection.phase == Phase::Closed {
            return None;
        }
        connection.stamp = seen.stamp();
        let has_data = !seen.payload.is_empty() || seen.flags & FIN != 0;
        if has_data && seen.sequence != connection.received {
            return self.write(index, ACK, &[]);
        }
        if connection.phase == Phase::Closing
            && seen.acknowledgement == connection.sent.wrapping_add(1)
        {
            connection.fins[0] = true;
        }
        let mut answer = None;
        if !seen.payload.is_empty() {
            connection.received =
                connection.received.wrapping_add(u32::try_from(seen.payload.len()).unwrap_or(0));
            answer = self.content(index, seen);
        }
        if seen.flags & FIN != 0 {
            let connection = &mut self.connections[index];
            connection.received = connection.received.wrapping_add(1);
            connection.fins[1] = true;
            let flags = if self.place.is_client { ACK } else { FIN | ACK };
            connection.phase = Phase::Closing;
            answer = self.write(index, flags, &[]);
        }
        let connection = &mut self.connections[index];
        if connection.phase == Phase::Closing && connection.fins == [true; 2] {
            connection.phase = Phase::Closed;
            self.done.closed += 1;
        }
        answer
    }

    fn opened(&mut self, index: usize, seen: &Seen<'_>) -> Option<MbufFrame> {
        let connection = &mut self.connections[index];
        connection.mac = seen.from.mac;
        connection.stamp = seen.stamp();
        if !self.place.is_client {
            connection.received = seen.sequence.wrapping_add(1);
            connection.fins = [false; 2];
            connection.count = 0;
            connection.phase = Phase::Open;
            connection.sent = segment::low(tsc() >> 8);
            let syn = self.write(index, SYN | ACK, &[]);
            let connection = &mut self.connections[index];
            connection.sent = connection.sent.wrapping_add(1);
            return syn;
        }
        if connection.phase != Phase::Opening {
            return self.write(index, ACK, &[]);
        }
        connection.received = seen.sequence.wrapping_add(1);
        connection.sent = connection.sent.wrapping_add(1);
        connection.phase = Phase::Open;
        self.done.opened += 1;
        if self.plan == Plan::Churn { self.request(index) } else { self.write(index, ACK, &[]) }
    }

    /// A request or an answer has come, whole, as all are shorter than a segment.
    fn content(&mut self, index: usize, seen: &Seen<'_>) -> Option<MbufFrame> {
        let connection = &mut self.connections[index];
        if !self.place.is_client {
            let count = connection.count;
            connection.count += 1;
            let right = seen.payload == content::<REQUEST>(index, count);
            self.done.wrong += u64::from(!right);
            let bytes = content::<ANSWER>(index, count);
            let frame = self.write(index, ACK, &bytes);
            let connection = &mut self.connections[index];
            connection.sent = connection.sent.wrapping_add(segment::low(ANSWER as u64));
            return frame;
        }
        let right = connection.phase == Phase::Asked
            && seen.payload == content::<ANSWER>(index, connection.count);
        connection.count += 1;
        connection.sent = connection.sent.wrapping_add(segment::low(REQUEST as u64));
        if !right {
            self.done.wrong += 1;
            return None;
        }
        self.done.answered += 1;
        if self.plan == Plan::Churn {
            (connection.phase, connection.since) = (Phase::Closing, tsc());
            return self.write(index, FIN | ACK, &[]);
        }
        connection.phase = Phase::Open;
        self.write(index, ACK, &[])
    }

    /// Forgets what is done, and sends again what has waited for long.
    fn look_after(&mut self, to: &mut Queue) {
        let patience = self.tsc_hz / PATIENCE;
        for _ in 0..self.under_way.len().min(64) {
            let Some(index) = self.under_way.pop_front() else { return };
            let Connection { phase, since, count, .. } = self.connections[index];
            if matches!(phase, Phase::Closed | Phase::Open) {
                continue;
            }
            self.under_way.push_back(index);
            if tsc().saturating_sub(since) < patience {
                continue;
            }
            self.connections[index].since = tsc();
            self.done.again += 1;
            to.extend(match phase {
                Phase::Opening => self.write(index, SYN, &[]),
                Phase::Asked => self.write(index, ACK, &content::<REQUEST>(index, count)),
                _ => self.write(index, FIN | ACK, &[]),
            });
        }
    }

    fn write(&mut self, index: usize, flags: u8, payload: &[u8]) -> Option<MbufFrame> {
        let (own, peer) = self.ends(index);
        let Connection { sent, received, stamp, fins, phase, .. } = self.connections[index];
        // Behind our FIN, once that was acknowledged.
        let after_fin = u32::from(phase == Phase::Closing && fins[0] && flags & FIN == 0);
        let acknowledgement = if flags & ACK == 0 { 0 } else { received };
        let sequence = sent.wrapping_add(after_fin);
        let segment = Segment { flags, sequence, acknowledgement, echo: stamp, payload };
        segment::write(&mut self.place.source, &own, &peer, &segment)
    }
}

/// What is asked on a connection the `count`th time, and answered.
fn content<const LEN: usize>(index: usize, count: u32) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    let mut word = (index as u64) << 32 | u64::from(count) | (LEN as u64) << 56;
    for chunk in bytes.chunks_mut(8) {
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    bytes
}
