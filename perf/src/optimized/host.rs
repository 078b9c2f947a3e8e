//! The hosts: one that sends and one that receives, each with many connections, as light as can be.
//!
//! In: frames of the near appliance. Out: frames to it. Never: a stack: what comes out of order or
//! differs by a byte is an error, and what was lost is sent again from where it was lost.

use std::sync::Arc;

use dataplane::frame::Frame;

use super::frame::{MbufFrame, Queue};
use super::pair::{Place, Station};
use super::segment::{self, ACK, End, SYN, Seen, Segment, low};

/// First of the ports that connections begin at.
const FIRST_PORT: u16 = 20_000;
const SERVER_PORT: u16 = 80;
/// A host sends so many segments of one connection before those of the next, as one with
/// segmentation offload does.
const TRAIN: usize = 16;
/// Looks at a connection without an acknowledgement after which what it sent is taken for lost.
const LOOKS_MAX: u32 = 2_000;

/// Content: byte `n` of connection `c` is the pattern's at `n + 7919 c`.
pub(crate) struct Pattern(pub(super) Vec<u8>);

/// The pattern is repeated behind itself for so many bytes, so that each segment is one slice.
pub(crate) const PATTERN_MARGIN: usize = 65_536;

impl Pattern {
    pub(crate) fn at(&self, connection: usize, offset: u64, len: usize) -> &[u8] {
        let period = self.0.len() - PATTERN_MARGIN;
        let from = (offset + 7_919 * connection as u64) % period as u64;
        let from = usize::try_from(from).unwrap_or(0);
        &self.0[from..from + len]
    }
}

/// One connection, as either host sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    peer: End,
    peer_isn: u32,
    is_open: bool,
    /// Bytes sent, and of these acknowledged.
    sent: u64,
    acknowledged: u64,
    /// How far the peer's window reaches, and the shift of it.
    window_end: u64,
    scale: u8,
    /// Bytes received, and of these acknowledged.
    received: u64,
    answered: u64,
    /// The peer's latest timestamp.
    stamp: u32,
    wants_ack: bool,
    /// Looks at it since an acknowledgement has come that said something new.
    looks: u32,
}

/// Either host.
pub(super) struct Host {
    place: Place,
    connections: Vec<Connection>,
    pattern: Arc<Pattern>,
    /// Payload of a frame, at most.
    payload_max: usize,
    /// Connections whose acknowledgement is due.
    answers: Vec<usize>,
    /// The connection that sends next.
    turn: usize,
    /// Bytes that arrived in order and as they should be.
    pub(super) received: u64,
    /// Segments that came out of order, or with other content.
    pub(super) wrong: u64,
    /// Times that a connection went back to what was acknowledged.
    pub(super) again: u64,
    /// Frames with data sent.
    pub(super) data_frames: u64,
}

impl Station for Host {
    fn turn(&mut self, arrived: &mut Queue, to: &mut Queue, most: usize) {
        for frame in arrived.drain(..) {
            to.extend(self.receive(&frame));
        }
        self.answer(to);
        self.send(most.saturating_sub(to.len()), to);
    }
}

impl Host {
    pub(super) fn new(
        place: Place,
        connections: usize,
        pattern: Arc<Pattern>,
        payload_max: usize,
    ) -> Self {
        Host {
            place,
            connections: vec![Connection::default(); connections],
            pattern,
            payload_max,
            answers: Vec::with_capacity(connections),
            turn: 0,
            received: 0,
            wrong: 0,
            again: 0,
            data_frames: 0,
        }
    }

    /// Whether all connections are open.
    pub(super) fn is_connected(&self) -> bool {
        self.connections.iter().all(|connection| connection.is_open)
    }

    /// The request for the peer's MAC address: answered by whoever has it.
    pub(super) fn ask(&mut self) -> Option<MbufFrame> {
        segment::ask(&mut self.place.source, &self.place.own, self.place.peer.ip)
    }

    /// Opens a connection.
    pub(super) fn connect(&mut self, index: usize) -> Option<MbufFrame> {
        self.connections[index].peer = End { port: SERVER_PORT, ..self.place.peer };
        let syn = Segment { flags: SYN, sequence: isn(index), ..Segment::default() };
        self.write(index, syn)
    }

    /// A frame comes in; what answers it at once.
    fn receive(&mut self, frame: &MbufFrame) -> Option<MbufFrame> {
        let own = self.place.own;
        let Some(seen) = segment::read(frame.head(), &own) else {
            let is_own = |ip| ip == own.ip;
            return segment::answer_arp(&mut self.place.source, &own, frame.head(), is_own);
        };
        let port = if self.place.is_client { seen.to.port } else { seen.from.port };
        let index = usize::from(port.checked_sub(FIRST_PORT)?);
        let connection = self.connections.get_mut(index)?;
        connection.stamp = seen.stamp();
        if seen.flags & SYN != 0 {
            return self.opened(index, &seen);
        }
        connection.is_open = true;
        let before = isn(index).wrapping_add(1).wrapping_add(low(connection.acknowledged));
        let more = seen.acknowledgement.wrapping_sub(before);
        if more != 0 && more < 1 << 31 {
            connection.acknowledged += u64::from(more);
            connection.sent = connection.sent.max(connection.acknowledged);
            connection.looks = 0;
        }
        connection.window_end =
            connection.acknowledged + (u64::from(seen.window) << connection.scale);
        if seen.payload.is_empty() {
            return None;
        }
        let parts = std::iter::once(seen.payload).chain(frame.tails());
        let expected = connection.peer_isn.wrapping_add(1).wrapping_add(low(connection.received));
        let behind = expected.wrapping_sub(seen.sequence);
        if behind != 0 && behind < 1 << 31 {
            return self.write(index, ack(index));
        }
        let mut offset = connection.received;
        let mut is_right = behind == 0;
        for part in parts {
            is_right &= part == self.pattern.at(index, offset, part.len());
            offset += part.len() as u64;
        }
        if !is_right {
            self.wrong += 1;
            return None;
        }
        let len = offset - connection.received;
        connection.received = offset;
        self.received += len;
        // RFC 9293 3.8.6.3: at least every second full segment, here with the end of the burst.
        if connection.received - connection.answered >= 2 * len {
            connection.answered = connection.received;
            return self.write(index, ack(index));
        }
        if !connection.wants_ack {
            connection.wants_ack = true;
            self.answers.push(index);
        }
        None
    }

    fn opened(&mut self, index: usize, seen: &Seen<'_>) -> Option<MbufFrame> {
        let connection = &mut self.connections[index];
        connection.peer_isn = seen.sequence;
        connection.peer = seen.from;
        connection.scale = seen.scale();
        if seen.flags & ACK != 0 {
            connection.is_open = true;
            // RFC 7323 2.2: the window of a SYN is not scaled.
            connection.window_end = u64::from(seen.window);
            return self.write(index, ack(index));
        }
        let syn = Segment { flags: SYN | ACK, sequence: isn(index), ..Segment::default() };
        self.write(index, syn)
    }

    /// Acknowledges what came last.
    fn answer(&mut self, to: &mut Queue) {
        while let Some(index) = self.answers.pop() {
            let connection = &mut self.connections[index];
            connection.wants_ack = false;
            if connection.answered < connection.received {
                connection.answered = connection.received;
                to.extend(self.write(index, ack(index)));
            }
        }
    }

    /// Sends at most `most` frames with data.
    fn send(&mut self, most: usize, to: &mut Queue) {
        let pattern = Arc::clone(&self.pattern);
        let (mut left, mut silent) = (most, 0);
        while left > 0 && silent < self.connections.len() {
            let index = self.turn;
            self.turn = (self.turn + 1) % self.connections.len();
            silent += 1;
            for _ in 0..TRAIN.min(left) {
                let Connection { sent, window_end, .. } = self.connections[index];
                let room = usize::try_from(window_end.saturating_sub(sent)).unwrap_or(usize::MAX);
                if room < self.payload_max {
                    self.look_after(index);
                    break;
                }
                let payload = pattern.at(index, sent, self.payload_max);
                let sequence = isn(index).wrapping_add(1).wrapping_add(low(sent));
                let segment = Segment { flags: ACK, sequence, payload, ..Segment::default() };
                let Some(frame) = self.write(index, segment) else { return };
                self.connections[index].sent += self.payload_max as u64;
                self.data_frames += 1;
                to.push_back(frame);
                (left, silent) = (left - 1, 0);
            }
        }
    }

    /// Goes back to what was acknowledged where nothing has come for long.
    fn look_after(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.looks += 1;
        if connection.looks > LOOKS_MAX && connection.sent > connection.acknowledged {
            (connection.sent, connection.looks) = (connection.acknowledged, 0);
            self.again += 1;
        }
    }

    fn write(&mut self, index: usize, segment: Segment<'_>) -> Option<MbufFrame> {
        let connection = &self.connections[index];
        let port = FIRST_PORT + u16::try_from(index).ok()?;
        let own =
            End { port: if self.place.is_client { port } else { SERVER_PORT }, ..self.place.own };
        let next = connection.peer_isn.wrapping_add(1).wrapping_add(low(connection.received));
        let acknowledgement = if segment.flags & ACK != 0 { next } else { 0 };
        let segment = Segment { acknowledgement, echo: connection.stamp, ..segment };
        segment::write(&mut self.place.source, &own, &connection.peer, &segment)
    }
}

fn isn(index: usize) -> u32 {
    low(index as u64).wrapping_mul(0x9e37_79b9)
}

fn ack(index: usize) -> Segment<'static> {
    Segment { flags: ACK, sequence: isn(index).wrapping_add(1), ..Segment::default() }
}
