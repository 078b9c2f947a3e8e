//! The hosts: one that sends and one that receives, each with many connections, as light as can be.
//!
//! In: frames of the near appliance. Out: frames to it. Never: a stack; nothing is lost between a
//! host and its appliance, so what comes out of order or differs by a byte is an error.

use dataplane::frame::checksum::{fill_ipv4_header, fill_transport};
use dataplane::frame::ip::protocol;
use dataplane::frame::{Frame, FrameSource};

use super::frame::{MbufFrame, MbufSource};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
/// With timestamps, as hosts of today send them.
const TCP: usize = 32;
const SYN_TCP: usize = 44;
/// Where the payload of a frame begins, and the fields of its TCP header.
const AT_TCP: usize = ETHERNET + IPV4;
/// Shift of the windows that hosts offer.
const SCALE: u8 = 10;
/// What a host has room for.
const WINDOW: u16 = 8_192;
const ARP: u16 = 0x0806;
const IP: u16 = 0x0800;
/// First of the ports that connections begin at.
const FIRST_PORT: u16 = 20_000;
const SERVER_PORT: u16 = 80;
/// A host sends so many segments of one connection before those of the next, as one with
/// segmentation offload does.
const TRAIN: usize = 16;

/// Looks at a connection without an acknowledgement after which what it sent is taken for lost.
const LOOKS_MAX: u32 = 2_000;
pub(super) const SYN: u8 = 2;
const ACK: u8 = 16;

/// Content: byte `n` of connection `c` is the pattern's at `n + 7919 c`.
pub(super) struct Pattern(pub(super) Vec<u8>);

/// The pattern is repeated behind itself for so many bytes, so that each segment is one slice.
pub(super) const PATTERN_MARGIN: usize = 65_536;

impl Pattern {
    fn at(&self, connection: usize, offset: u64, len: usize) -> &[u8] {
        let period = self.0.len() - PATTERN_MARGIN;
        let from = (offset + 7_919 * connection as u64) % period as u64;
        let from = usize::try_from(from).unwrap_or(0);
        &self.0[from..from + len]
    }
}

/// Who is who on a LAN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub(super) mac: [u8; 6],
    pub(super) ip: [u8; 4],
}

/// One connection, as either host sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    /// The MAC address that its frames come from.
    gateway: [u8; 6],
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
    own: Address,
    peer: Address,
    is_client: bool,
    connections: Vec<Connection>,
    source: MbufSource,
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
    /// Segments that came once more.
    pub(super) repeated: u64,
    /// Times that a connection went back to what was acknowledged.
    pub(super) again: u64,
    /// Frames with data sent, and frames of any kind received.
    pub(super) data_frames: u64,
    pub(super) frames_received: u64,
}

/// A segment that a host sends.
struct Segment {
    flags: u8,
    sequence: u32,
    payload: usize,
}

impl Host {
    pub(super) fn new(
        own: Address,
        peer: Address,
        is_client: bool,
        connections: usize,
        source: MbufSource,
        payload_max: usize,
    ) -> Self {
        Host {
            own,
            peer,
            is_client,
            connections: vec![Connection::default(); connections],
            source,
            payload_max,
            answers: Vec::with_capacity(connections),
            turn: 0,
            received: 0,
            wrong: 0,
            repeated: 0,
            again: 0,
            data_frames: 0,
            frames_received: 0,
        }
    }

    /// Whether all connections are open.
    pub(super) fn is_connected(&self) -> bool {
        self.connections.iter().all(|connection| connection.is_open)
    }

    /// The request for the peer's MAC address: answered by whoever has it, or by the appliance.
    pub(super) fn ask(&mut self) -> Option<MbufFrame> {
        self.arp(1, [0xff; 6], self.peer.ip)
    }

    /// Opens a connection.
    pub(super) fn connect(&mut self, index: usize, gateway: [u8; 6]) -> Option<MbufFrame> {
        self.connections[index].gateway = gateway;
        self.write(index, 0, &Segment { flags: SYN, sequence: isn(index), payload: 0 }, None)
    }

    /// A frame comes in; what answers it at once.
    pub(super) fn receive(&mut self, frame: &MbufFrame, pattern: &Pattern) -> Option<MbufFrame> {
        self.frames_received += 1;
        let bytes = frame.head();
        let (to, kind) = (bytes.first_chunk::<6>()?, u16_at(bytes, 12)?);
        if kind == ARP {
            return self.answer_arp(bytes);
        }
        if kind != IP || *to != self.own.mac || bytes.get(ETHERNET + 9) != Some(&protocol::TCP) {
            return None;
        }
        let port = u16_at(bytes, AT_TCP + if self.is_client { 2 } else { 0 })?;
        let index = usize::from(port.checked_sub(FIRST_PORT)?);
        let header_len = usize::from(bytes.get(AT_TCP + 12)? >> 4) * 4;
        let ip_len = usize::from(u16_at(bytes, ETHERNET + 2)?);
        let payload = bytes.get(AT_TCP + header_len..ETHERNET + ip_len)?;
        let (sequence, acknowledgement) = (u32_at(bytes, AT_TCP + 4)?, u32_at(bytes, AT_TCP + 8)?);
        let (flags, window) = (*bytes.get(AT_TCP + 13)?, u16_at(bytes, AT_TCP + 14)?);
        let connection = self.connections.get_mut(index)?;
        if header_len == TCP {
            connection.stamp = u32_at(bytes, AT_TCP + 24)?;
        }
        if flags & SYN != 0 {
            return self.opened(index, bytes, sequence, flags);
        }
        connection.is_open = true;
        let before = isn(index).wrapping_add(1).wrapping_add(low(connection.acknowledged));
        let more = acknowledgement.wrapping_sub(before);
        if more != 0 && more < 1 << 31 {
            connection.acknowledged += u64::from(more);
            connection.sent = connection.sent.max(connection.acknowledged);
            connection.looks = 0;
        }
        connection.window_end = connection.acknowledged + (u64::from(window) << connection.scale);
        if payload.is_empty() {
            return None;
        }
        let expected = connection.peer_isn.wrapping_add(1).wrapping_add(low(connection.received));
        let behind = expected.wrapping_sub(sequence);
        if behind != 0 && behind < 1 << 31 {
            self.repeated += 1;
            return self.write(index, 0, &ack(index), None);
        }
        if behind != 0 || payload != pattern.at(index, connection.received, payload.len()) {
            self.wrong += 1;
            return None;
        }
        connection.received += payload.len() as u64;
        self.received += payload.len() as u64;
        // RFC 9293 3.8.6.3: at least every second full segment, here with the end of the burst.
        if connection.received - connection.answered >= 2 * payload.len() as u64 {
            connection.answered = connection.received;
            return self.write(index, 0, &ack(index), None);
        }
        if !connection.wants_ack {
            connection.wants_ack = true;
            self.answers.push(index);
        }
        None
    }

    fn opened(
        &mut self,
        index: usize,
        bytes: &[u8],
        sequence: u32,
        flags: u8,
    ) -> Option<MbufFrame> {
        let connection = &mut self.connections[index];
        connection.peer_isn = sequence;
        connection.gateway = *bytes.get(6..)?.first_chunk()?;
        let options =
            bytes.get(AT_TCP + 20..AT_TCP + usize::from(bytes.get(AT_TCP + 12)? >> 4) * 4)?;
        connection.stamp = u32_at(option(options, 8)?, 0)?;
        connection.scale = *option(options, 3)?.first()?;
        if flags & ACK != 0 {
            connection.is_open = true;
            // RFC 7323 2.2: the window of a SYN is not scaled.
            connection.window_end = u64::from(u16_at(bytes, AT_TCP + 14)?);
            return self.write(index, 0, &ack(index), None);
        }
        let syn = Segment { flags: SYN | ACK, sequence: isn(index), payload: 0 };
        self.write(index, 0, &syn, None)
    }

    /// Acknowledges what came last.
    pub(super) fn answer(&mut self, mut send: impl FnMut(MbufFrame)) {
        while let Some(index) = self.answers.pop() {
            let connection = &mut self.connections[index];
            connection.wants_ack = false;
            if connection.answered < connection.received {
                connection.answered = connection.received;
                if let Some(frame) = self.write(index, 0, &ack(index), None) {
                    send(frame);
                }
            }
        }
    }

    /// Sends at most `most` frames with data.
    pub(super) fn send(&mut self, most: usize, pattern: &Pattern, mut to: impl FnMut(MbufFrame)) {
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
                let sequence = isn(index).wrapping_add(1).wrapping_add(low(sent));
                let segment = Segment { flags: ACK, sequence, payload: self.payload_max };
                let Some(frame) = self.write(index, sent, &segment, Some(pattern)) else { return };
                self.connections[index].sent += self.payload_max as u64;
                self.data_frames += 1;
                to(frame);
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

    fn write(
        &mut self,
        index: usize,
        offset: u64,
        segment: &Segment,
        pattern: Option<&Pattern>,
    ) -> Option<MbufFrame> {
        let connection = &self.connections[index];
        let tcp_len = if segment.flags & SYN == 0 { TCP } else { SYN_TCP };
        let mut frame = self.source.alloc()?;
        let header = frame.append(AT_TCP + tcp_len)?;
        header[..6].copy_from_slice(&connection.gateway);
        header[6..12].copy_from_slice(&self.own.mac);
        header[12..14].copy_from_slice(&IP.to_be_bytes());
        let ip_len = u16::try_from(IPV4 + tcp_len + segment.payload).ok()?;
        let ip = &mut header[ETHERNET..];
        ip[..2].copy_from_slice(&[0x45, 0]);
        ip[2..4].copy_from_slice(&ip_len.to_be_bytes());
        ip[4..12].copy_from_slice(&[0, 0, 0x40, 0, 64, protocol::TCP, 0, 0]);
        ip[12..16].copy_from_slice(&self.own.ip);
        ip[16..20].copy_from_slice(&self.peer.ip);
        fill_ipv4_header(&mut ip[..IPV4]);
        let own_port = FIRST_PORT + u16::try_from(index).ok()?;
        let ports = if self.is_client { (own_port, SERVER_PORT) } else { (SERVER_PORT, own_port) };
        let acknowledges = segment.flags & ACK != 0;
        let next = connection.peer_isn.wrapping_add(1).wrapping_add(low(connection.received));
        let tcp = &mut header[AT_TCP..];
        tcp[..2].copy_from_slice(&ports.0.to_be_bytes());
        tcp[2..4].copy_from_slice(&ports.1.to_be_bytes());
        tcp[4..8].copy_from_slice(&segment.sequence.to_be_bytes());
        tcp[8..12].copy_from_slice(&(if acknowledges { next } else { 0 }).to_be_bytes());
        tcp[12] = u8::try_from(tcp_len / 4 << 4).ok()?;
        tcp[13] = segment.flags;
        tcp[14..16].copy_from_slice(&WINDOW.to_be_bytes());
        tcp[16..20].fill(0);
        let stamps = if tcp_len == SYN_TCP {
            // MSS, SACK permitted, no operation and window scale.
            let mss = 1_460_u16.to_be_bytes();
            tcp[20..28].copy_from_slice(&[2, 4, mss[0], mss[1], 1, 1, 4, 2]);
            tcp[40..44].copy_from_slice(&[1, 3, 3, SCALE]);
            &mut tcp[28..40]
        } else {
            &mut tcp[20..32]
        };
        stamps[..4].copy_from_slice(&[1, 1, 8, 10]);
        // A clock that stands still is in order (RFC 7323 5.2).
        stamps[4..8].copy_from_slice(&1_u32.to_be_bytes());
        stamps[8..12].copy_from_slice(&connection.stamp.to_be_bytes());
        if let Some(pattern) = pattern {
            let bytes = pattern.at(index, offset, segment.payload);
            append_all(&mut frame, &mut self.source, bytes)?;
        }
        if frame.tail_count() == 0 {
            let l4 = &mut frame.head_mut()[AT_TCP..];
            fill_transport(l4, self.own.ip.into(), self.peer.ip.into(), protocol::TCP);
        }
        Some(frame)
    }

    fn arp(&mut self, operation: u8, to: [u8; 6], target: [u8; 4]) -> Option<MbufFrame> {
        let mut frame = self.source.alloc()?;
        let bytes = frame.append(60)?;
        bytes.fill(0);
        bytes[..6].copy_from_slice(&to);
        bytes[6..12].copy_from_slice(&self.own.mac);
        bytes[12..14].copy_from_slice(&ARP.to_be_bytes());
        bytes[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
        bytes[22..28].copy_from_slice(&self.own.mac);
        bytes[28..32].copy_from_slice(&self.own.ip);
        bytes[32..38].copy_from_slice(if operation == 1 { &[0; 6] } else { &to });
        bytes[38..42].copy_from_slice(&target);
        Some(frame)
    }

    fn answer_arp(&mut self, bytes: &[u8]) -> Option<MbufFrame> {
        let asked = bytes.get(38..42)? == self.own.ip && bytes.get(21) == Some(&1);
        let (mac, ip) = (*bytes.get(22..)?.first_chunk()?, *bytes.get(28..)?.first_chunk()?);
        if asked { self.arp(2, mac, ip) } else { None }
    }
}

/// Puts `bytes` behind the headers, in further segments of the pool where they do not fit.
fn append_all(frame: &mut MbufFrame, source: &mut MbufSource, mut bytes: &[u8]) -> Option<()> {
    const ROOM: usize = 2_048;
    let mut used = frame.frame_len();
    let mut tails = Vec::new();
    while !bytes.is_empty() {
        let (now, later) = bytes.split_at(bytes.len().min(ROOM - used));
        let room = match tails.last_mut() {
            None => frame.append(now.len())?,
            Some(tail) => MbufFrame::append(tail, now.len())?,
        };
        room.copy_from_slice(now);
        if !later.is_empty() {
            tails.push(source.alloc()?);
        }
        (bytes, used) = (later, 0);
    }
    tails.into_iter().all(|tail| frame.chain(tail)).then_some(())
}

/// The value of the option of this kind.
fn option(mut options: &[u8], kind: u8) -> Option<&[u8]> {
    loop {
        let len = if options.first()? == &1 { 1 } else { usize::from(*options.get(1)?) };
        if options[0] == kind {
            return options.get(2..len);
        }
        options = options.get(len.max(1)..)?;
    }
}

fn isn(index: usize) -> u32 {
    low(index as u64).wrapping_mul(0x9e37_79b9)
}

fn ack(index: usize) -> Segment {
    Segment { flags: ACK, sequence: isn(index).wrapping_add(1), payload: 0 }
}

#[expect(clippy::cast_possible_truncation, reason = "sequence numbers are modulo 2^32")]
fn low(offset: u64) -> u32 {
    offset as u32
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
