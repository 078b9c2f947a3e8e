//! The transmit stage: drives the data mover's sessions over the WAN port.
//!
//! In: packed buffers, frames with our own UDP. Out: frames with datagrams, complete buffers,
//! changes of sessions. Never: a datagram from its time, a buffer taken while its session is full.

use std::net::SocketAddr;
use std::sync::Arc;

use super::appliance::PeerSettings;
use crate::counters::Counters;
use crate::data_mover::{CloseReason, Down, Mismatch, Sessions, Sink, State, Up};
use crate::frame::build::{TTL_DEFAULT, UdpChecksum, prepend_link, prepend_udp};
use crate::frame::ip::protocol;
use crate::frame::{
    ChecksumStatus, Frame, FrameSource, IpHeader, LinkHeader, MacAddr, VlanList, checksum, parse,
};
use crate::link::Link;
use crate::packet_driver::{
    Arrived, BufferKind, BufferSlice, OutboundBuffer, PeerAnswer, PeerIndex, PeerStatus,
    SessionChange,
};
use crate::time::Time;

/// Datagrams received, and sent per session, per turn, at most.
const BURST: usize = 64;
/// Complete buffers that one datagram can bring, at most: pieces of small buffers share it.
const ARRIVED_PER_DATAGRAM: usize = 64;

crate::counters! {
    /// Counters of the transmit stage.
    pub enum TransmitCounter, "transmit" {
        FramesIn: In, "frames_in", "frames", "Frames with our own UDP.";
        FramesTaken: Out, "frames_taken", "frames", "Frames given to the data mover.";
        BadChecksum: Drop, "bad_checksum", "frames", "Frames with a wrong IP or UDP checksum.";
        Malformed: Drop, "malformed", "frames", "Frames that are no UDP after all.";
        FramesExhausted: Drop, "frames_exhausted", "frames", "Times that no empty frame could be had for a datagram.";
        NoNextHop: Drop, "no_next_hop", "datagrams", "Datagrams not sent because the next hop's link address is not known.";
        DatagramsOut: Info, "datagrams_out", "frames", "Frames with datagrams given to the WAN port.";
        BuffersRefused: Drop, "buffers_refused", "buffers", "Buffers for a session that ended before it took them.";
    }
}

/// Where a peer is, as frames to it are addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerPath {
    /// Our address towards it.
    pub source: SocketAddr,
    /// Its endpoint.
    pub destination: SocketAddr,
    /// Our station.
    pub mac: MacAddr,
    /// VLAN of the WAN; 0 when untagged.
    pub vlan: u16,
}

/// State of the transmit stage.
#[derive(Debug)]
pub struct TransmitStage<F> {
    sessions: Sessions,
    paths: Vec<PeerPath>,
    peers: Arc<[PeerStatus]>,
    taken: Box<[u64]>,
    /// A buffer whose session was full; the link's next waits behind it.
    held: Option<OutboundBuffer>,
    /// An empty frame that the last session had no use for.
    spare: Option<F>,
    counters: Counters<TransmitCounter>,
}

/// Puts what arrives on the link.
struct ToLink<'a> {
    peer: PeerIndex,
    arrived: &'a mut Link<Arrived>,
    status: &'a PeerStatus,
}

impl Sink for ToLink<'_> {
    fn delivered(&mut self, bytes: BufferSlice, _: BufferKind) {
        // Datagrams are taken only while there is room for all that one can bring.
        let _ = self.arrived.push(Arrived::Buffer { peer: self.peer, bytes });
    }

    fn up(&mut self, up: Up) {
        self.status.set_up(true, up.larger);
        let change = SessionChange::Up { restarted: up.restarted };
        let _ = self.arrived.push(Arrived::Session { peer: self.peer, change });
    }

    fn down(&mut self, _: Down) {
        self.status.set_up(false, false);
        let change = SessionChange::Down;
        let _ = self.arrived.push(Arrived::Session { peer: self.peer, change });
    }
}

impl<F: Frame> TransmitStage<F> {
    /// A stage for these sessions; `paths` and `peers` in the same order.
    #[must_use]
    pub fn new(sessions: Sessions, paths: Vec<PeerPath>, peers: Arc<[PeerStatus]>) -> Self {
        let taken = vec![0; peers.len()].into_boxed_slice();
        let counters = Counters::default();
        TransmitStage { sessions, paths, peers, taken, held: None, spare: None, counters }
    }

    /// The counters, for readers.
    #[must_use]
    pub fn counters(&self) -> Counters<TransmitCounter> {
        self.counters.clone()
    }

    /// The sessions, for reports.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The peers' rates, timers and digests have been configured anew.
    pub fn reconfigure(&mut self, peers: &[PeerSettings]) {
        for ((_, session), peer) in self.sessions.iter_mut().zip(peers) {
            session.reconfigure(peer.congestion, peer.dead_after_ns, peer.keepalive_ns);
            session.set_digest(peer.digest);
        }
    }

    /// Whether everything handed over has arrived.
    #[must_use]
    pub fn is_drained(&mut self) -> bool {
        self.held.is_none() && self.sessions.iter_mut().all(|(_, session)| session.is_drained())
    }

    /// Ends all sessions; the peers are told by the next datagrams.
    pub fn close(&mut self, now: Time, reason: CloseReason) {
        for (_, session) in self.sessions.iter_mut() {
            session.close(now, reason);
        }
    }

    /// One burst each way; says whether there was anything to do.
    pub fn turn<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        datagrams_in: &mut Link<F>,
        packed: &mut Link<OutboundBuffer>,
        arrived: &mut Link<Arrived>,
        datagrams_out: &mut Link<F>,
        source: &mut S,
    ) -> bool {
        let mut busy = self.receive(now, datagrams_in, arrived);
        busy |= self.look_after(now, arrived);
        busy |= self.take_buffers(packed);
        busy |= self.send(now, datagrams_out, source);
        self.publish();
        busy
    }

    fn receive(
        &mut self,
        now: Time,
        datagrams_in: &mut Link<F>,
        arrived: &mut Link<Arrived>,
    ) -> bool {
        let mut busy = false;
        for _ in 0..BURST {
            if arrived.room() < ARRIVED_PER_DATAGRAM {
                self.set_backlogged(true);
                return busy;
            }
            let Some(frame) = datagrams_in.pop() else { break };
            busy = true;
            self.counters.increment(TransmitCounter::FramesIn);
            self.datagram(now, &frame, arrived);
        }
        self.set_backlogged(false);
        busy
    }

    fn set_backlogged(&mut self, backlogged: bool) {
        for (_, session) in self.sessions.iter_mut() {
            session.set_backlogged(backlogged);
        }
    }

    fn datagram(&mut self, now: Time, frame: &F, arrived: &mut Link<Arrived>) {
        let head = frame.head();
        let Ok(parsed) = parse(head, frame.frame_len()) else {
            self.counters.increment(TransmitCounter::Malformed);
            return;
        };
        let sound = match frame.checksum_status() {
            ChecksumStatus::Good => true,
            ChecksumStatus::Bad => false,
            ChecksumStatus::Unknown => checksum::frame_ok(frame, &parsed),
        };
        if !sound {
            self.counters.increment(TransmitCounter::BadChecksum);
            return;
        }
        let range = parsed.payload_offset as usize..parsed.payload_end as usize;
        let Some(payload) = head.get(range) else {
            self.counters.increment(TransmitCounter::Malformed);
            return;
        };
        self.counters.increment(TransmitCounter::FramesTaken);
        let source = SocketAddr::new(parsed.key.source(), parsed.key.source_port);
        if let Some((peer, session)) = self.sessions.route(source, payload)
            && let Some(status) = self.peers.get(usize::from(peer.0))
        {
            session.receive(now, payload, &mut ToLink { peer, arrived, status });
        }
    }

    /// Timers of the sessions.
    fn look_after(&mut self, now: Time, arrived: &mut Link<Arrived>) -> bool {
        let mut busy = false;
        for (peer, session) in self.sessions.iter_mut() {
            let Some(status) = self.peers.get(usize::from(peer.0)) else { continue };
            if session.next_timeout() <= now && arrived.room() > 0 {
                session.on_timeout(now, &mut ToLink { peer, arrived, status });
                busy = true;
            }
        }
        busy
    }

    /// Takes buffers while their sessions have room.
    fn take_buffers(&mut self, packed: &mut Link<OutboundBuffer>) -> bool {
        let mut busy = false;
        while let Some(buffer) = self.held.take().or_else(|| packed.pop()) {
            let peer = buffer.peer;
            let Some(session) = self.sessions.get_mut(peer) else { continue };
            let is_up = self.peers.get(usize::from(peer.0)).is_some_and(PeerStatus::is_up);
            if is_up && !session.can_take(buffer.kind) {
                self.held = Some(buffer);
                break;
            }
            busy = true;
            if let Some(taken) = self.taken.get_mut(usize::from(peer.0)) {
                *taken += 1;
            }
            if session.send(buffer).is_err() {
                self.counters.increment(TransmitCounter::BuffersRefused);
            }
        }
        busy
    }

    /// Lets every session send what may be sent now.
    fn send<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        datagrams_out: &mut Link<F>,
        source: &mut S,
    ) -> bool {
        let mut busy = false;
        for (peer, session) in self.sessions.iter_mut() {
            let index = usize::from(peer.0);
            let (Some(path), Some(status)) = (self.paths.get(index), self.peers.get(index)) else {
                continue;
            };
            for _ in 0..BURST.min(datagrams_out.room()) {
                if session.next_timeout() > now {
                    break;
                }
                let Some(mut frame) = self.spare.take().or_else(|| source.alloc()) else {
                    self.counters.increment(TransmitCounter::FramesExhausted);
                    return true;
                };
                let len = match frame.append(DATAGRAM_ROOM) {
                    Some(room) => session.transmit(now, room),
                    None => None,
                };
                let Some(len) = len else {
                    frame.truncate(0);
                    self.spare = Some(frame);
                    break;
                };
                busy = true;
                frame.truncate(len);
                if address(&mut frame, path, status) {
                    self.counters.increment(TransmitCounter::DatagramsOut);
                    // There was room for it.
                    let _ = datagrams_out.push(frame);
                } else {
                    self.counters.increment(TransmitCounter::NoNextHop);
                }
            }
        }
        busy
    }

    fn publish(&mut self) {
        for (peer, session) in self.sessions.iter_mut() {
            let index = usize::from(peer.0);
            let (Some(status), Some(taken)) = (self.peers.get(index), self.taken.get(index)) else {
                continue;
            };
            let report = session.report();
            status.set_path(report.rtt_ns, report.capacity_bps);
            status.set_control(report.phase as u8, report.random_loss_ppm);
            status.set_queue(report.queued_bytes as u64, *taken);
            status.set_answer(match report.state {
                State::Mismatch(Mismatch::Digest { .. }) => PeerAnswer::Disagrees,
                State::Mismatch(_) => PeerAnswer::Incompatible,
                State::Connecting | State::Up(_) | State::Closed => PeerAnswer::Silence,
            });
        }
    }

    /// When the next turn may have something to do, if nothing comes in until then.
    pub fn next_timeout(&mut self) -> Time {
        self.sessions
            .iter_mut()
            .map(|(_, session)| session.next_timeout())
            .min()
            .unwrap_or(Time::NEVER)
    }
}

/// Room in an empty frame that a datagram may fill, in bytes.
const DATAGRAM_ROOM: usize = 1472;

/// Writes the headers in front of a datagram; false when the next hop is not known.
fn address<F: Frame>(frame: &mut F, path: &PeerPath, status: &PeerStatus) -> bool {
    let Some(next_hop) = status.next_hop() else { return false };
    let header = IpHeader {
        source: path.source.ip(),
        destination: path.destination.ip(),
        protocol: protocol::UDP,
        traffic_class: 0,
        ttl: TTL_DEFAULT,
    };
    let link = LinkHeader {
        destination: MacAddr(next_hop),
        source: path.mac,
        vlans: VlanList::of_id(path.vlan),
    };
    let ports = (path.source.port(), path.destination.port());
    prepend_udp(frame, &header, ports, UdpChecksum::Computed).is_ok()
        && prepend_link(frame, &link, header.ethertype()).is_ok()
}
