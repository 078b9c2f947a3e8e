//! Packet mode: whole IP packets, each a message.
//!
//! In: packets of hosts that a rule wants carried, packets that peers delivered. Out: messages;
//! frames to hosts. Never: order, repetition or a reply of its own; a packet that does not fit or
//! has no one to go to is counted.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::stage::EdgeStage;
use super::{EdgeCounter, LanCounter};
use crate::copy::{self, Copied};
use crate::frame::build::prepend_link;
use crate::frame::ip::ethertype;
use crate::frame::{ETHERNET_LEN, FlowKey, Frame, FrameSource, LinkHeader, Parsed, Side, parse};
use crate::interceptor::{Decision, Route, RuleId, Verdict};
use crate::packet_driver::header::MESSAGE_DATA_MAX;
use crate::packet_driver::{
    CLASS_COUNT, Class, FlowId, Message, MessageHeader, MessageKind, Outbound, OutboundBody,
    PeerIndex, Upstream,
};
use crate::time::{SECOND_NS, Time};

/// Frames that wait for the link address of their host, at most.
const WAITING_MAX: usize = 256;
/// How long they wait.
const WAITING_NS: u64 = 3 * SECOND_NS;
/// Bytes that one flow may have queued although its share is smaller: a burst of a few packets.
const BURST_BYTES: u64 = 64 * 1024;
/// In the status of a message: the class of its flow is below, this bit says whether it may be
/// compressed. Answers are treated alike.
const STATUS_COMPRESS: u16 = 1 << 8;
#[expect(clippy::cast_possible_truncation, reason = "a handful of classes")]
const CLASS_MAX: u8 = (CLASS_COUNT - 1) as u8;

/// Packets whose host's link address is being asked for.
#[derive(Debug)]
pub(super) struct Waiting<F> {
    frames: VecDeque<(Time, PeerIndex, IpAddr, u16, F)>,
}

impl<F> Waiting<F> {
    /// Whether no packet waits.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

impl<F> Default for Waiting<F> {
    fn default() -> Self {
        Waiting { frames: VecDeque::with_capacity(WAITING_MAX) }
    }
}

impl<F: Frame> EdgeStage<F> {
    /// A packet of a host that goes in packet mode.
    pub(super) fn packet_from_host(&mut self, frame: F, parsed: &Parsed, decision: &Decision) {
        let len = parsed.ip_end.saturating_sub(parsed.l3_offset);
        if len as usize > MESSAGE_DATA_MAX {
            self.counters.increment(EdgeCounter::PacketsTooBig);
            return;
        }
        let ports = parsed.key.source_port ^ parsed.key.destination_port;
        let spread = u32::from(ports) % self.config.datagram_slots.max(1);
        let slot = self.config.connections + spread;
        let Some(pushed) = self.pushed.get_mut(slot as usize) else { return };
        let waiting = pushed.saturating_sub(self.backlog.drained_bytes(slot));
        if waiting > self.backlog.flow_share_bytes(decision.peer).max(BURST_BYTES) {
            self.counters.increment(EdgeCounter::PacketsBacklog);
            return;
        }
        *pushed += u64::from(len);
        self.counters.increment(EdgeCounter::PacketsFromHosts);
        self.count_lan(decision.peer, LanCounter::BytesToPeer, parsed.ip_len());
        self.datagrams += 1;
        self.upstream.push_back(Upstream::Message(Outbound {
            peer: decision.peer,
            class: decision.class,
            compress: decision.compress,
            slot,
            header: MessageHeader {
                kind: MessageKind::Datagram,
                flow: FlowId(0),
                key: None,
                sequence: self.datagrams,
                status: u16::from(decision.class.0)
                    | if decision.compress { STATUS_COMPRESS } else { 0 },
            },
            body: OutboundBody::Frame { frame, offset: parsed.l3_offset, len },
        }));
    }

    /// A packet that a peer delivered.
    pub(super) fn datagram_arrived<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        message: &Message,
        source: &mut S,
    ) {
        let packet = &message.data;
        let Some(ethertype) = ethertype_of(packet) else {
            self.counters.increment(EdgeCounter::PacketsMalformed);
            return;
        };
        if packet.len() > usize::from(self.config.lan_mtu) {
            self.counters.increment(EdgeCounter::PacketsTooBig);
            return;
        }
        let Some(mut frame) = source.alloc() else {
            self.counters.increment(EdgeCounter::FramesExhausted);
            return;
        };
        match frame.append(packet.len()) {
            Some(into) => copy::bytes(Copied::BufferToFrame, into, packet),
            None => {
                self.counters.increment(EdgeCounter::PacketsTooBig);
                return;
            }
        }
        // Addressed when the host's link address is known; until then only a place for it.
        let unaddressed = LinkHeader::default();
        let parsed = match prepend_link(&mut frame, &unaddressed, ethertype) {
            Ok(()) => parse(frame.head(), frame.frame_len()).ok(),
            Err(_) => None,
        };
        let Some(parsed) = parsed.filter(Parsed::is_ip) else {
            self.counters.increment(EdgeCounter::PacketsMalformed);
            return;
        };
        if !self.accepts(message.peer, &parsed.key) {
            self.counters.increment(EdgeCounter::PacketsNotAllowed);
            return;
        }
        // Answers take the same way back, whatever the rules here say.
        self.note_datagram_flow(&parsed.key, message, now);
        let (host, until) = (parsed.key.destination(), now + WAITING_NS);
        self.deliver_packet(now, message.peer, host, 0, frame, until);
    }

    fn deliver_packet(
        &mut self,
        now: Time,
        peer: PeerIndex,
        host: IpAddr,
        vlan: u16,
        mut frame: F,
        until: Time,
    ) {
        match self.interceptor.route(Side::Lan, vlan, host, now) {
            Route::Known(link) => {
                let ethertype = if host.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 };
                frame.trim_front(ETHERNET_LEN);
                let ip_bytes = frame.frame_len() as u64;
                if prepend_link(&mut frame, &link, ethertype).is_ok() {
                    self.counters.increment(EdgeCounter::PacketsFromPeers);
                    self.count_lan(peer, LanCounter::BytesFromPeer, ip_bytes);
                    self.put_out(Side::Lan, frame);
                }
            }
            Route::Pending | Route::Busy
                if now < until && self.waiting.frames.len() < WAITING_MAX =>
            {
                self.waiting.frames.push_back((until, peer, host, vlan, frame));
            }
            Route::Pending | Route::Busy | Route::Unreachable => {
                self.counters.increment(EdgeCounter::PacketsUnresolved);
            }
        }
    }

    /// Remembers that a flow is carried in packet mode by `peer`, so that answers are too.
    fn note_datagram_flow(&mut self, key: &FlowKey, message: &Message, now: Time) {
        let (peer, status) = (message.peer, message.header.status);
        let [_, class] = status.to_be_bytes();
        let known = self.interceptor.lookup(key).and_then(|f| self.interceptor.decision(f.flow));
        if known.is_some_and(|known| known.verdict == Verdict::Datagram && known.peer == peer) {
            return;
        }
        let decision = Decision {
            verdict: Verdict::Datagram,
            rule: RuleId::NONE,
            peer,
            class: Class(class.min(CLASS_MAX)),
            compress: status & STATUS_COMPRESS != 0,
            slot: Decision::NO_SLOT,
        };
        // When the table is full, answers go by the rules instead.
        let _ = self.interceptor.insert(key, decision, now);
    }

    /// Tries once more to deliver what waits for a link address.
    pub(super) fn retry_waiting(&mut self, now: Time) {
        for _ in 0..self.waiting.frames.len() {
            let Some((until, peer, host, vlan, frame)) = self.waiting.frames.pop_front() else {
                break;
            };
            self.deliver_packet(now, peer, host, vlan, frame, until);
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
