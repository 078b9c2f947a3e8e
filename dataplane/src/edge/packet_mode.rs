//! Packet mode: whole IP packets, each a message.
//!
//! In: packets of hosts that a rule wants carried, packets that peers delivered. Out: messages;
//! frames to hosts. Never: order, repetition or a reply of its own; a packet that does not fit or
//! has no one to go to is counted.

use std::collections::VecDeque;

use super::stage::EdgeStage;
use super::{EdgeCounter, LanCounter};
use crate::copy::{self, Copied};
use crate::frame::build::prepend_link;
use crate::frame::ip::ethertype;
use crate::frame::{
    ChecksumStatus, ETHERNET_LEN, FlowKey, Frame, FrameSource, LinkHeader, Parsed, Side, checksum,
    ecn, parse,
};
use crate::interceptor::{Decision, Route, RuleId, Verdict};
use crate::packet_driver::header::MESSAGE_DATA_MAX;
use crate::packet_driver::{
    DatagramStatus, FlowId, Message, MessageHeader, MessageKind, Outbound, OutboundBody, PeerIndex,
};
use crate::time::{SECOND_NS, Time};

/// Frames that wait for the link address of their host, at most.
pub(crate) const WAITING_MAX: usize = 256;
/// How long they wait.
const WAITING_NS: u64 = 3 * SECOND_NS;
/// Bytes that one flow may have queued although its share is smaller: a burst of a few packets.
const BURST_BYTES: u64 = 64 * 1024;
/// A packet for a host of ours, all but its link header.
#[derive(Debug)]
struct Packet<F> {
    peer: PeerIndex,
    /// Its 5-tuple, and the VLAN that it has at the far side.
    key: FlowKey,
    /// Its length, without the padding that a short frame has.
    ip_bytes: u64,
    /// With a place for a link header.
    frame: F,
}

/// Packets whose host's link address is being asked for.
#[derive(Debug)]
pub(super) struct Waiting<F> {
    frames: VecDeque<(Time, Packet<F>)>,
    per_peer: Box<[usize]>,
}

impl<F> Waiting<F> {
    /// Nothing waits yet.
    pub(super) fn new(peers: usize) -> Self {
        Waiting {
            frames: VecDeque::with_capacity(WAITING_MAX),
            per_peer: vec![0; peers].into_boxed_slice(),
        }
    }

    /// Whether no packet waits.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether one more of this peer may wait: it has its part of the places, which so many peers
    /// share, so that hosts that answer nobody are no matter of another peer.
    fn has_room(&self, peer: PeerIndex, peers: usize) -> bool {
        let share = (WAITING_MAX / peers.max(1)).max(1);
        self.frames.len() < WAITING_MAX
            && self.per_peer.get(usize::from(peer.0)).is_some_and(|count| *count < share)
    }

    fn push(&mut self, until: Time, packet: Packet<F>) {
        if let Some(count) = self.per_peer.get_mut(usize::from(packet.peer.0)) {
            *count += 1;
        }
        self.frames.push_back((until, packet));
    }

    /// Drops what waits of a peer; how many packets that were.
    pub(super) fn discard(&mut self, peer: PeerIndex) -> usize {
        let before = self.frames.len();
        self.frames.retain(|(_, packet)| packet.peer != peer);
        if let Some(count) = self.per_peer.get_mut(usize::from(peer.0)) {
            *count = 0;
        }
        before - self.frames.len()
    }

    fn pop(&mut self) -> Option<(Time, Packet<F>)> {
        let (until, packet) = self.frames.pop_front()?;
        if let Some(count) = self.per_peer.get_mut(usize::from(packet.peer.0)) {
            *count = count.saturating_sub(1);
        }
        Some((until, packet))
    }
}

impl<F: Frame> EdgeStage<F> {
    /// A packet of a host that goes in packet mode.
    pub(super) fn packet_from_host(
        &mut self,
        now: Time,
        frame: F,
        parsed: &Parsed,
        decision: &Decision,
    ) {
        self.counters.increment(EdgeCounter::PacketsIn);
        // Frames to the host mirror its latest frame.
        if let Some(link) = LinkHeader::of(frame.head(), parsed) {
            self.mirrors.note(self.interceptor.hasher(), &parsed.key, link, now);
        }
        let fate = match self.send_packet(frame, parsed, decision) {
            Ok(()) => {
                self.count_lan(decision.peer, LanCounter::BytesToPeer, parsed.ip_len());
                EdgeCounter::PacketsFromHosts
            }
            Err(reason) => reason,
        };
        self.counters.increment(fate);
    }

    fn send_packet(
        &mut self,
        mut frame: F,
        parsed: &Parsed,
        decision: &Decision,
    ) -> Result<(), EdgeCounter> {
        if frame.checksum_status() == ChecksumStatus::Unfilled {
            checksum::fill_in(&mut frame, parsed, false);
        }
        let Decision { peer, class, compress, .. } = *decision;
        let len = parsed.ip_end.saturating_sub(parsed.l3_offset);
        if len as usize > MESSAGE_DATA_MAX {
            return Err(EdgeCounter::PacketsTooBig);
        }
        let hash = self.interceptor.hasher().hash(&parsed.key);
        let slot = self.config.datagram_slot(peer, class, compress, hash);
        if !self.places.has_one(peer, &self.backlog) {
            return Err(EdgeCounter::PacketsPeerBehind);
        }
        let Some(pushed) = self.pushed.get_mut(slot as usize) else {
            return Err(EdgeCounter::PacketsPeerBehind);
        };
        let waiting = pushed.saturating_sub(self.backlog.drained_bytes(slot));
        let waiting_max = self.backlog.flow_share_bytes(peer).max(BURST_BYTES);
        if waiting > waiting_max {
            return Err(EdgeCounter::PacketsBacklog);
        }
        // Hosts that can be told slow down before packets have to be dropped.
        if waiting > waiting_max / 2 && ecn::mark(&mut frame, parsed) {
            self.counters.increment(EdgeCounter::PacketsMarked);
        }
        *pushed += u64::from(len);
        self.places.push(peer, 1);
        self.datagrams += 1;
        let status = DatagramStatus { class, compress, vlan: parsed.key.vlan };
        self.send(Outbound {
            peer,
            class,
            compress,
            slot,
            header: MessageHeader {
                kind: MessageKind::Datagram,
                flow: FlowId(0),
                key: None,
                sequence: self.datagrams,
                status: status.to_status(),
            },
            body: OutboundBody::Frame { frame, offset: parsed.l3_offset, len },
        });
        Ok(())
    }

    /// A packet that a peer delivered.
    pub(super) fn datagram_arrived<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        message: &Message,
        source: &mut S,
    ) {
        self.counters.increment(EdgeCounter::PacketsIn);
        match self.packet_for_host(message, source) {
            Ok(packet) => {
                // Answers take the same way back, whatever the rules here say.
                self.note_datagram_flow(&packet.key, message, now);
                self.deliver_packet(now, packet, now + WAITING_NS);
            }
            Err(reason) => self.counters.increment(reason),
        }
    }

    fn packet_for_host<S: FrameSource<Frame = F>>(
        &self,
        message: &Message,
        source: &mut S,
    ) -> Result<Packet<F>, EdgeCounter> {
        let bytes = &message.data;
        let ethertype = ethertype_of(bytes).ok_or(EdgeCounter::PacketsMalformed)?;
        if bytes.len() > usize::from(self.config.lan_mtu) {
            return Err(EdgeCounter::PacketsTooBig);
        }
        let mut frame = source.alloc().ok_or(EdgeCounter::PacketsNoFrame)?;
        let into = frame.append(bytes.len()).ok_or(EdgeCounter::PacketsTooBig)?;
        copy::bytes(Copied::BufferToFrame, into, bytes);
        // Addressed when the host's link address is known; until then only a place for it.
        let unaddressed = LinkHeader::default();
        prepend_link(&mut frame, &unaddressed, ethertype)
            .map_err(|_| EdgeCounter::PacketsMalformed)?;
        let parsed = parse(frame.head(), frame.frame_len())
            .ok()
            .filter(|parsed| parsed.is_ip() && parsed.ip_len() == bytes.len() as u64)
            .ok_or(EdgeCounter::PacketsMalformed)?;
        if !self.accepts(message.peer, &parsed.key) {
            return Err(EdgeCounter::PacketsNotAllowed);
        }
        let vlan = DatagramStatus::from_status(message.header.status).vlan;
        let key = parsed.key.in_vlan(vlan);
        if self.is_split(&key) {
            return Err(EdgeCounter::PacketsSplitFlow);
        }
        Ok(Packet { peer: message.peer, key, ip_bytes: parsed.ip_len(), frame })
    }

    fn deliver_packet(&mut self, now: Time, packet: Packet<F>, until: Time) {
        let (vlan, host) = (packet.key.vlan, packet.key.destination());
        let mirrored = self.mirrors.find(self.interceptor.hasher(), &packet.key, now);
        let route = match mirrored {
            Some(link) => Route::Known(link),
            None => self.interceptor.route(Side::Lan, vlan, host, now),
        };
        let fate = match route {
            Route::Known(link) => self.put_out_packet(packet, &link),
            Route::Pending | Route::Busy
                if now < until && self.waiting.has_room(packet.peer, self.peers_up()) =>
            {
                self.waiting.push(until, packet);
                return;
            }
            Route::Pending | Route::Busy | Route::Unreachable => EdgeCounter::PacketsUnresolved,
        };
        self.counters.increment(fate);
    }

    fn put_out_packet(&mut self, packet: Packet<F>, link: &LinkHeader) -> EdgeCounter {
        let Packet { peer, key, ip_bytes, mut frame } = packet;
        let ethertype = if key.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 };
        frame.trim_front(ETHERNET_LEN);
        if prepend_link(&mut frame, link, ethertype).is_err() {
            return EdgeCounter::PacketsTooBig;
        }
        self.count_lan(peer, LanCounter::BytesFromPeer, ip_bytes);
        self.put_out(Side::Lan, frame);
        EdgeCounter::PacketsFromPeers
    }

    /// Whether the edge is, or is about to be, the other end of a connection with this 5-tuple.
    fn is_split(&self, key: &FlowKey) -> bool {
        let found = self.interceptor.lookup(key);
        let decision = found.and_then(|found| self.interceptor.decision(found.flow));
        decision.is_some_and(|decision| decision.verdict == Verdict::Optimize)
    }

    /// Remembers that a flow is carried in packet mode by `peer`, so that answers are too.
    fn note_datagram_flow(&mut self, key: &FlowKey, message: &Message, now: Time) {
        let peer = message.peer;
        let known = self.interceptor.lookup(key).and_then(|f| self.interceptor.decision(f.flow));
        if known.is_some_and(|known| known.verdict == Verdict::Datagram && known.peer == peer) {
            return;
        }
        let status = DatagramStatus::from_status(message.header.status);
        let decision = Decision {
            verdict: Verdict::Datagram,
            rule: RuleId::NONE,
            peer,
            class: status.class,
            compress: status.compress,
            slot: Decision::NO_SLOT,
        };
        // When the table is full, answers go by the rules instead.
        let _ = self.interceptor.insert(key, decision, now);
    }

    /// Tries once more to deliver what waits for a link address.
    pub(super) fn retry_waiting(&mut self, now: Time) {
        for _ in 0..self.waiting.frames.len() {
            let Some((until, packet)) = self.waiting.pop() else { break };
            self.deliver_packet(now, packet, until);
        }
    }
}

/// The Ethernet type of an IP packet by its version.
fn ethertype_of(packet: &[u8]) -> Option<u16> {
    match packet.first()? >> 4 {
        4 => Some(ethertype::IPV4),
        6 => Some(ethertype::IPV6),
        _ => None,
    }
}
