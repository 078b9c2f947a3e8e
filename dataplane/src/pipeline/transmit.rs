//! The transmit stage: drives the data mover's sessions over the WAN port.
//!
//! In: packed buffers, frames with our own UDP. Out: frames with datagrams, complete buffers,
//! changes of sessions. Never: a datagram from its time, a buffer taken while its session is full, or
//! by another session than the one that its messages are of.

pub(super) mod peers;

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use super::aggregate::BUFFERS_AHEAD_MAX;
use super::appliance::PeerSettings;
use crate::copy::{self, Copied};
use crate::counters::Counters;
use crate::data_mover::{
    CloseReason, Down, Mismatch, Protection, Report, Sessions, Sink, Source, State, Up, Violation,
};
use crate::frame::build::{TTL_DEFAULT, UdpChecksum, prepend_link, prepend_udp};
use crate::frame::checksum::Begun;
use crate::frame::ip::protocol;
use crate::frame::{
    ChecksumStatus, FlowKey, Frame, FrameSource, IpHeader, LinkHeader, MacAddr, VlanList, checksum,
    parse, parse_plain,
};
use crate::link::{Collected, Dealt, Link};
use crate::packet_driver::{
    Arrived, BufferKind, BufferSlice, Lane, LastEnd, OutboundBuffer, PeerAnswer, PeerIndex,
    PeerStatus, SessionChange, SessionNumber, Shield,
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
        FramesExhausted: Info, "frames_exhausted", "times", "Times that no empty frame could be had for a datagram.";
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
    /// Whether the WAN port completes the checksums of datagrams.
    pub device_checksums: bool,
}

/// State of the transmit stage.
#[derive(Debug)]
pub struct TransmitStage<F> {
    sessions: Sessions,
    /// By peer; `None` where nobody is.
    paths: Box<[Option<PeerPath>]>,
    /// Bytes of incomplete buffers of all peers, of which each has an even share.
    reassembly_bytes: Option<usize>,
    /// Peers that are to leave with the next turn.
    leaving: Vec<PeerIndex>,
    /// Where peers were found that are not where they are configured.
    found: Box<[Option<Source>]>,
    peers: Arc<[PeerStatus]>,
    taken: Box<[u64]>,
    /// Per peer: its latest session.
    sessions_begun: Box<[u32]>,
    /// Per peer: whether its session has something to do in this turn.
    due: Box<[bool]>,
    /// A buffer whose session was full; the link's next waits behind it.
    held: Option<OutboundBuffer>,
    /// An empty frame that the last session had no use for.
    spare: Option<F>,
    counters: Counters<TransmitCounter>,
}

/// Puts what arrives on the link.
struct ToLink<'a> {
    peer: PeerIndex,
    arrived: &'a mut Dealt<Arrived>,
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
        self.status.set_takes_zstd(up.zstd);
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
        let mut paths: Vec<_> = paths.into_iter().map(Some).collect();
        paths.resize(peers.len(), None);
        TransmitStage {
            paths: paths.into_boxed_slice(),
            reassembly_bytes: None,
            leaving: Vec::with_capacity(peers.len()),
            found: vec![None; peers.len()].into_boxed_slice(),
            taken: vec![0; peers.len()].into_boxed_slice(),
            sessions_begun: vec![0; peers.len()].into_boxed_slice(),
            due: vec![false; peers.len()].into_boxed_slice(),
            sessions: sessions.with_places(peers.len()),
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

    /// The same where incomplete buffers of all peers may have so many bytes, however many peers
    /// there come to be.
    #[must_use]
    pub fn with_reassembly(mut self, bytes: usize) -> Self {
        self.reassembly_bytes = Some(bytes);
        self
    }

    /// The peers' rates, timers and digests have been configured anew.
    pub fn reconfigure<'a>(
        &mut self,
        peers: impl IntoIterator<Item = (PeerIndex, &'a PeerSettings)>,
    ) {
        for (index, peer) in peers {
            if let Some(session) = self.sessions.get_mut(index) {
                session.reconfigure(peer.congestion, peer.dead_after_ns, peer.keepalive_ns);
                session.set_digest(peer.digest);
            }
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
        packed: &mut Collected<OutboundBuffer>,
        arrived: &mut Dealt<Arrived>,
        datagrams_out: &mut Link<F>,
        source: &mut S,
    ) -> bool {
        let mut busy = self.receive(now, datagrams_in, arrived);
        busy |= self.exchange_keys(now, arrived);
        busy |= self.take_buffers(packed);
        busy |= self.let_leave(now, arrived);
        busy |= self.look_after(now, arrived);
        self.lose();
        busy |= self.send(now, datagrams_out, source);
        self.publish();
        busy
    }

    fn receive(
        &mut self,
        now: Time,
        datagrams_in: &mut Link<F>,
        arrived: &mut Dealt<Arrived>,
    ) -> bool {
        let mut busy = false;
        for _ in 0..BURST {
            if arrived.room() < ARRIVED_PER_DATAGRAM {
                self.set_backlogged(true);
                return busy;
            }
            let Some(mut frame) = datagrams_in.pop() else { break };
            busy = true;
            self.counters.increment(TransmitCounter::FramesIn);
            self.datagram(now, &mut frame, arrived);
        }
        self.set_backlogged(false);
        busy
    }

    fn set_backlogged(&mut self, backlogged: bool) {
        for (_, session) in self.sessions.iter_mut() {
            session.set_backlogged(backlogged);
        }
    }

    fn datagram(&mut self, now: Time, frame: &mut F, arrived: &mut Dealt<Arrived>) {
        let (key, range) = match sound(frame) {
            Ok(sound) => sound,
            Err(reason) => return self.counters.increment(reason),
        };
        let source = Source {
            remote: SocketAddr::new(key.source(), key.source_port),
            local: SocketAddr::new(key.destination(), key.destination_port),
            station: station(frame.head()),
        };
        let Some(payload) = frame.head_mut().get_mut(range) else {
            self.counters.increment(TransmitCounter::Malformed);
            return;
        };
        self.counters.increment(TransmitCounter::FramesTaken);
        let Some((peer, session)) = self.sessions.route(now, &source, payload) else { return };
        let index = usize::from(peer.0);
        let (Some(status), Some(sessions_begun)) =
            (self.peers.get(index), self.sessions_begun.get_mut(index))
        else {
            return;
        };
        let mut sink = ToLink { peer, arrived, status, sessions_begun };
        if session.receive(now, payload, &mut sink) {
            self.found(peer, source);
        }
    }

    /// A peer is where its newest datagram came from: there it is sent to from now on.
    fn found(&mut self, peer: PeerIndex, source: Source) {
        let index = usize::from(peer.0);
        let path = self.paths.get(index).and_then(Option::as_ref);
        let (Some(path), Some(found)) = (path, self.found.get_mut(index)) else { return };
        let same_family = source.remote.is_ipv4() == path.destination.is_ipv4();
        if same_family && self.sessions.found(peer, source.remote) {
            *found = Some(source).filter(|_| source.remote != path.destination);
            if let Some(status) = self.peers.get(index) {
                status.security.set_found(found.map(|found| found.remote));
            }
        }
    }

    /// A peer that has no session any more is sought where it is configured.
    fn lose(&mut self) {
        for (index, (path, found)) in self.paths.iter().zip(&mut self.found).enumerate() {
            let (Some(path), Some(status)) = (path, self.peers.get(index)) else { continue };
            if found.is_some() && !status.is_up() {
                *found = None;
                status.security.set_found(None);
                let peer = PeerIndex(u16::try_from(index).unwrap_or(u16::MAX));
                self.sessions.found(peer, path.destination);
            }
        }
    }

    /// Takes what the key exchange says, and asks it for what the sessions need.
    fn exchange_keys(&mut self, now: Time, arrived: &mut Dealt<Arrived>) -> bool {
        let mut busy = false;
        // A session that ends and one that begins.
        while arrived.room() >= 2
            && let Some(reply) = self.sessions.reply()
        {
            busy = true;
            let peer = reply.peer();
            let index = usize::from(peer.0);
            if let Some(status) = self.peers.get(index)
                && let Some(sessions_begun) = self.sessions_begun.get_mut(index)
            {
                let mut sink = ToLink { peer, arrived, status, sessions_begun };
                self.sessions.on_reply(now, reply, &mut sink);
            }
        }
        busy | self.sessions.ask(now)
    }

    /// Timers of the sessions. Looked at once in a turn: they are many.
    fn look_after(&mut self, now: Time, arrived: &mut Dealt<Arrived>) -> bool {
        let mut busy = false;
        for (peer, session) in self.sessions.iter_mut() {
            let index = usize::from(peer.0);
            let (Some(status), Some(sessions_begun), Some(due)) = (
                self.peers.get(index),
                self.sessions_begun.get_mut(index),
                self.due.get_mut(index),
            ) else {
                continue;
            };
            *due = session.next_timeout() <= now;
            if *due && arrived.room() > 0 {
                session.on_timeout(now, &mut ToLink { peer, arrived, status, sessions_begun });
                busy = true;
            }
        }
        busy
    }

    /// Takes buffers while their sessions have room.
    fn take_buffers(&mut self, packed: &mut Collected<OutboundBuffer>) -> bool {
        let mut busy = false;
        while let Some(buffer) = self.held.take().or_else(|| packed.pop()) {
            let (peer, index) = (buffer.peer, usize::from(buffer.peer.0));
            let now = self.peers.get(index).map_or(SessionNumber::NONE, PeerStatus::session);
            let is_current = buffer.session == now && now != SessionNumber::NONE;
            let session = self.sessions.get_mut(peer);
            if is_current && session.as_ref().is_some_and(|s| !s.can_take(buffer.kind, buffer.lane))
            {
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
        let mut busy = self.send_outgoing(datagrams_out, source);
        for (peer, session) in self.sessions.iter_mut() {
            let index = usize::from(peer.0);
            let path = self.paths.get(index).and_then(Option::as_ref);
            let (Some(path), Some(status)) = (path, self.peers.get(index)) else { continue };
            let found = self.found.get(index).copied().flatten();
            if self.due.get(index) != Some(&true) {
                continue;
            }
            let way = Way::new(path, found.as_ref(), status);
            // Until it has nothing to send now: only then it knows that whoever calls it next is
            // late, and makes up for that.
            for _ in 0..BURST.min(datagrams_out.room()) {
                let Some(mut frame) = self.spare.take().or_else(|| source.alloc()) else {
                    self.counters.increment(TransmitCounter::FramesExhausted);
                    return true;
                };
                let len = match frame.append(session.datagram_len_max()) {
                    Some(room) => session.transmit(now, room),
                    None => match frame.append(DATAGRAM_ROOM) {
                        Some(room) => session.transmit(now, room),
                        None => None,
                    },
                };
                let Some(len) = len else {
                    frame.truncate(0);
                    self.spare = Some(frame);
                    break;
                };
                busy = true;
                frame.truncate(len);
                if way.as_ref().is_some_and(|way| way.address(&mut frame)) {
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

    /// Sends what belongs to key exchanges, back to where its cause came from.
    fn send_outgoing<S: FrameSource<Frame = F>>(
        &mut self,
        datagrams_out: &mut Link<F>,
        source: &mut S,
    ) -> bool {
        let mut busy = false;
        while self.sessions.has_outgoing() && datagrams_out.room() > 0 {
            let Some(mut frame) = self.spare.take().or_else(|| source.alloc()) else {
                self.counters.increment(TransmitCounter::FramesExhausted);
                break;
            };
            let Some(outgoing) = self.sessions.outgoing() else { break };
            busy = true;
            let bytes = outgoing.bytes();
            let Some(room) = frame.append(bytes.len()) else { continue };
            copy::bytes(Copied::Made, room, bytes);
            let Some(path) = self.paths.iter().flatten().next() else { continue };
            if Way::back(path, &outgoing.to).address(&mut frame) {
                self.counters.increment(TransmitCounter::DatagramsOut);
                let _ = datagrams_out.push(frame);
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
            status.set_arriving(report.delivery_bps);
            status.set_control(report.phase as u8, report.random_loss_ppm);
            status.set_path_mtu(report.path_mtu.0, report.path_mtu.1 as u8);
            // A buffer that finds no slot would wait at the head of the link, before all peers'.
            let has_slots = session.free_slots() >= SLOTS_AHEAD;
            let queued_bytes =
                if has_slots { session.queued_bytes_by_lane() } else { [u64::MAX; Lane::COUNT] };
            status.set_queue(queued_bytes, *taken);
            status.security.set(shield(report.protection), last_end(report.ended));
            status.security.set_twin(report.twin);
            let (answer, versions) = answer(&report);
            status.set_answer(answer);
            status.set_versions(versions);
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

/// What a peer answers, and which wire versions it speaks if they are not ours.
fn answer(report: &Report) -> (PeerAnswer, Option<(u8, u8)>) {
    let foreign = report.foreign_version.map(|version| (version, version));
    match report.state {
        State::Mismatch(Mismatch::Digest { .. }) => (PeerAnswer::Disagrees, None),
        State::Mismatch(Mismatch::SameIncarnation) => (PeerAnswer::Copy, None),
        State::Mismatch(Mismatch::Version { min, max }) => {
            (PeerAnswer::OtherVersion, Some((min, max)))
        }
        State::Up(_) if report.agrees == Some(false) => (PeerAnswer::Disagrees, None),
        State::Up(_) | State::Closed => (PeerAnswer::Silence, None),
        State::Connecting => (PeerAnswer::Silence, foreign),
    }
}

fn shield(protection: Option<Protection>) -> Shield {
    match protection {
        None => Shield::Unknown,
        Some(Protection::None) => Shield::None,
        Some(Protection::Aes256Gcm) => Shield::Aes256Gcm,
        Some(Protection::ChaCha20Poly1305) => Shield::ChaCha20Poly1305,
    }
}

fn last_end(ended: Option<Down>) -> LastEnd {
    match ended {
        None => LastEnd::Never,
        Some(Down::Dead) => LastEnd::Silent,
        Some(Down::Replaced) => LastEnd::Replaced,
        Some(Down::Closed(_)) => LastEnd::Closed,
        Some(Down::Broken(Violation::Malformed)) => LastEnd::Malformed,
        Some(Down::Broken(Violation::Acknowledgement)) => LastEnd::Acknowledgement,
        Some(Down::Broken(Violation::Contradiction)) => LastEnd::Contradiction,
        Some(Down::Expired) => LastEnd::Expired,
    }
}

/// Length of a station's address in bytes; a frame has the receiver's first, then the sender's.
const MAC_LEN: usize = 6;
/// Slots that a session keeps free for buffers that are on their way to it.
const SLOTS_AHEAD: u64 = 24;
const _: () = assert!(SLOTS_AHEAD > BUFFERS_AHEAD_MAX, "one session would hold up all others");

/// Room in an empty frame that a datagram may fill, in bytes, if the frame is too short for more.
const DATAGRAM_ROOM: usize = 1472;

/// How datagrams get somewhere.
struct Way {
    source: SocketAddr,
    destination: SocketAddr,
    mac: MacAddr,
    next_hop: MacAddr,
    vlan: u16,
    device_checksums: bool,
}

impl Way {
    /// To a peer; `None` when the next hop is not known.
    fn new(path: &PeerPath, found: Option<&Source>, status: &PeerStatus) -> Option<Self> {
        if let Some(found) = found {
            return Some(Way::back(path, found));
        }
        let next_hop = MacAddr(status.next_hop()?);
        Some(Way::of(path, path.source, path.destination, next_hop))
    }

    /// To where something came from; our station and VLAN are those of `path`.
    fn back(path: &PeerPath, to: &Source) -> Self {
        Way::of(path, to.local, to.remote, to.station)
    }

    fn of(path: &PeerPath, source: SocketAddr, destination: SocketAddr, next_hop: MacAddr) -> Self {
        let PeerPath { mac, vlan, device_checksums, .. } = *path;
        Way { source, destination, mac, next_hop, vlan, device_checksums }
    }

    /// Writes the headers in front of a datagram; false when there is no room for them.
    fn address<F: Frame>(&self, frame: &mut F) -> bool {
        let header = IpHeader {
            source: self.source.ip(),
            destination: self.destination.ip(),
            protocol: protocol::UDP,
            traffic_class: 0,
            ttl: TTL_DEFAULT,
        };
        let link = LinkHeader {
            destination: self.next_hop,
            source: self.mac,
            vlans: VlanList::of_id(self.vlan),
        };
        let ports = (self.source.port(), self.destination.port());
        let by = if self.device_checksums { UdpChecksum::Begun } else { UdpChecksum::Computed };
        let addressed = prepend_udp(frame, &header, ports, by).is_ok()
            && prepend_link(frame, &link, header.ethertype()).is_ok();
        if addressed && self.device_checksums {
            frame.leave_checksum(&Begun::behind(&link, &header));
        }
        addressed
    }
}

/// The 5-tuple of a frame whose checksums are right, and where its payload is; else what is wrong.
fn sound<F: Frame>(frame: &F) -> Result<(FlowKey, Range<usize>), TransmitCounter> {
    let (head, frame_len) = (frame.head(), frame.frame_len());
    // Nearly all are everyday packets, and have been looked at by a device.
    if frame.checksum_status() == ChecksumStatus::Good
        && let Some(plain) = parse_plain(head, frame_len)
    {
        return Ok((plain.key, plain.payload_offset as usize..plain.payload_end as usize));
    }
    let parsed = parse(head, frame_len).map_err(|_| TransmitCounter::Malformed)?;
    if !checksum::frame_ok(frame, &parsed) {
        return Err(TransmitCounter::BadChecksum);
    }
    Ok((parsed.key, parsed.payload_offset as usize..parsed.payload_end as usize))
}

/// The station that a frame came from.
fn station(head: &[u8]) -> MacAddr {
    let bytes = head.get(MAC_LEN..).and_then(|rest| rest.first_chunk::<MAC_LEN>());
    MacAddr(bytes.copied().unwrap_or_default())
}
