//! The transmit stage: drives the data mover's sessions over the WAN port.
//!
//! In: packed buffers, frames with our own UDP. Out: frames with datagrams, complete buffers,
//! changes of sessions. Never: a datagram from its time, a buffer taken while its session is full, or
//! by another session than the one that its messages are of.

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
    SessionChange, SessionNumber,
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
        BuffersIn: In, "buffers_in", "buffers", "Buffers of the packet driver.";
        BuffersTaken: Out, "buffers_taken", "buffers", "Buffers given to their session.";
        BuffersStale: Drop, "buffers_stale", "buffers", "Buffers whose session ended before it took them.";
        BuffersRefused: Drop, "buffers_refused", "buffers", "Buffers that no session can carry.";
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
    /// Per peer: its latest session.
    sessions_begun: Box<[u32]>,
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
    sessions_begun: &'a mut u32,
}

impl Sink for ToLink<'_> {
    fn delivered(&mut self, bytes: BufferSlice, _: BufferKind) {
        // Datagrams are taken only while there is room for all that one can bring.
        let _ = self.arrived.push(Arrived::Buffer { peer: self.peer, bytes });
    }

    fn up(&mut self, up: Up) {
        *self.sessions_begun = self.sessions_begun.wrapping_add(1).max(1);
        let session = SessionNumber(*self.sessions_begun);
        self.status.set_session(session);
        let change = SessionChange::Up { session, restarted: up.restarted, opener: up.larger };
        let _ = self.arrived.push(Arrived::Session { peer: self.peer, change });
    }

    fn down(&mut self, _: Down) {
        self.status.set_session(SessionNumber::NONE);
        let change = SessionChange::Down;
        let _ = self.arrived.push(Arrived::Session { peer: self.peer, change });
    }
}

impl<F: Frame> TransmitStage<F> {
    /// A stage for these sessions; `paths` and `peers` in the same order.
    #[must_use]
    pub fn new(sessions: Sessions, paths: Vec<PeerPath>, peers: Arc<[PeerStatus]>) -> Self {
        TransmitStage {
            taken: vec![0; peers.len()].into_boxed_slice(),
            sessions_begun: vec![0; peers.len()].into_boxed_slice(),
            sessions,
            paths,
            peers,
            held: None,
            spare: None,
            counters: Counters::default(),
        }
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
            session.reconfigure(peer.rate_bps, peer.dead_after_ns, peer.keepalive_ns);
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
        for status in self.peers.iter() {
            status.set_session(SessionNumber::NONE);
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
            && let Some(sessions_begun) = self.sessions_begun.get_mut(usize::from(peer.0))
        {
            session.receive(now, payload, &mut ToLink { peer, arrived, status, sessions_begun });
        }
    }

    /// Timers of the sessions.
    fn look_after(&mut self, now: Time, arrived: &mut Link<Arrived>) -> bool {
        let mut busy = false;
        for (peer, session) in self.sessions.iter_mut() {
            let index = usize::from(peer.0);
            let (Some(status), Some(sessions_begun)) =
                (self.peers.get(index), self.sessions_begun.get_mut(index))
            else {
                continue;
            };
            if session.next_timeout() <= now && arrived.room() > 0 {
                session.on_timeout(now, &mut ToLink { peer, arrived, status, sessions_begun });
                busy = true;
            }
        }
        busy
    }

    /// Takes buffers while their sessions have room.
    fn take_buffers(&mut self, packed: &mut Link<OutboundBuffer>) -> bool {
        let mut busy = false;
        while let Some(buffer) = self.held.take().or_else(|| packed.pop()) {
            let (peer, index) = (buffer.peer, usize::from(buffer.peer.0));
            let now = self.peers.get(index).map_or(SessionNumber::NONE, PeerStatus::session);
            let is_current = buffer.session == now && now != SessionNumber::NONE;
            let session = self.sessions.get_mut(peer);
            if is_current && session.as_ref().is_some_and(|s| !s.can_take(buffer.kind)) {
                self.held = Some(buffer);
                break;
            }
            busy = true;
            if let Some(taken) = self.taken.get_mut(index) {
                *taken += 1;
            }
            self.counters.increment(TransmitCounter::BuffersIn);
            self.counters.increment(match session {
                Some(session) if is_current => match session.send(buffer) {
                    Ok(_) => TransmitCounter::BuffersTaken,
                    Err(_) => TransmitCounter::BuffersRefused,
                },
                // It holds messages of flows that both ends have reset since.
                _ => TransmitCounter::BuffersStale,
            });
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
            status.set_path(report.rtt_ns, report.rate_bps);
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
