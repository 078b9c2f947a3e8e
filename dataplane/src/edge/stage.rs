//! The edge stage: the owner of every flow of this appliance.
//!
//! In: frames of both sides that are not our own UDP, messages from the far side, the time. Out:
//! frames to both sides, messages to the packet driver, and when to be called next. Never: more
//! than its tables hold, a byte acknowledged to a host that the packet driver was not given.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::config::EdgeConfig;
use super::credit::CreditPool;
use super::flow::Flow;
use super::flow_ids::FlowIds;
use super::held_frames::HeldFrames;
use super::inbound::TOMBSTONES;
use super::mirror::Mirrors;
use super::packet_mode::Waiting;
use super::places::Places;
use super::sessions::Restarts;
use super::standby::ConnectionReserve;
use super::table::EdgeTable;
use super::tcp::{InitialNumberSource, TimeWaitTable};
use super::timers::TimerWheel;
use super::writer::PARTS_MAX;
use super::{EdgeCounter, LanCounter};
use crate::counters::Counters;
use crate::frame::{Frame, FrameSource, Side};
use crate::interceptor::{
    Action, Fallback, FlowReader, Interceptor, InterceptorCounter, PeerStatus as Admission,
    Reassembly, ReassemblyCounter, RuleTable, Sighting,
};
use crate::link::{Collected, Link};
use crate::packet_driver::reset::ResetCause;
use crate::packet_driver::{
    Backlog, FlowId, Inbound, PeerIndex, PeerStatus, ReceiveMemory, Upstream,
};
use crate::time::{MILLISECOND_NS, Time};

/// Frames of either side, and messages, taken in per turn, at most.
pub(crate) const BURST: usize = 64;
/// Messages that may wait for the packet driver while more frames are taken in: beyond it, hosts
/// are left to wait in the port's queue.
pub(crate) const UPSTREAM_BUSY: usize = 512;
/// Flows that may transmit per turn.
const TRANSMIT_PER_TURN: usize = 64;
/// How often neighbours, ageing and peers are looked after.
const HOUSEKEEPING_NS: u64 = 50 * MILLISECOND_NS;
/// The same while something waits for a neighbour's answer.
const HOUSEKEEPING_WAITING_NS: u64 = MILLISECOND_NS;

/// State of the edge stage.
pub struct EdgeStage<F> {
    pub(super) config: EdgeConfig,
    pub(super) interceptor: Interceptor,
    /// What admission knows of each peer.
    pub(super) admission: Vec<Admission>,
    pub(super) table: EdgeTable<Flow<F>>,
    pub(super) timers: TimerWheel,
    /// Memory for connections on which something is under way.
    pub(super) connections: ConnectionReserve<F>,
    pub(super) credit: CreditPool,
    pub(super) held: HeldFrames,
    pub(super) numbers: InitialNumberSource,
    pub(super) time_wait: TimeWaitTable,
    pub(super) restarts: Restarts,
    pub(super) peers: Arc<[PeerStatus]>,
    /// Each peer's endpoint, to which the way is to be found; none where another edge does that, or
    /// nobody has the place.
    pub(super) endpoints: Vec<Option<IpAddr>>,
    /// By peer: whether it has left, so that nothing more comes of it.
    pub(super) gone: Box<[bool]>,
    pub(super) backlog: Backlog,
    pub(super) memory: ReceiveMemory,
    /// Where the walk over all flows is that looks after their memory.
    pub(super) walk: u32,
    /// Bytes of data ever pushed towards the packet driver, by slot.
    pub(super) pushed: Box<[u64]>,
    pub(super) places: Places,
    pub(super) flow_ids: FlowIds,
    /// By peer: whether our flow ids carry the opener bit.
    pub(super) openers: Box<[bool]>,
    /// Packets taken in packet mode so far.
    pub(super) datagrams: u64,
    pub(super) half_open: u32,
    /// Flows reset by the far side before their open came.
    pub(super) tombstones: VecDeque<(PeerIndex, FlowId)>,
    /// Flows that may have something to transmit.
    pub(super) ready: VecDeque<u32>,
    /// Flows with bytes in the packet driver's queue: their windows move as it drains.
    pub(super) queued: VecDeque<u32>,
    /// Flows whose host's link address is not known yet.
    pub(super) unresolved: VecDeque<u32>,
    /// Packets whose host's link address is not known yet.
    pub(super) waiting: Waiting<F>,
    /// How hosts of flows in packet mode were last seen.
    pub(super) mirrors: Mirrors,
    pub(super) upstream: VecDeque<Upstream<F>>,
    /// Frames to go out, by side.
    pub(super) frames: [VecDeque<F>; 2],
    /// Room for parts of a large segment.
    pub(super) parts: Vec<F>,
    /// Room for a burst and what is to be done with it, kept from turn to turn.
    pub(super) burst: VecDeque<F>,
    pub(super) actions: Vec<Action>,
    pub(super) reassembly: Reassembly<F>,
    /// Packets put together, to be classified.
    pub(super) reassembled: Vec<F>,
    pub(super) counters: Counters<EdgeCounter>,
    /// What hosts exchange with each peer.
    pub(super) lan: Vec<Counters<LanCounter>>,
    pub(super) housekeeping_at: Time,
    /// No more flows are taken.
    pub(super) stopping: bool,
    /// The way to a peer is being asked for.
    pub(super) next_hop_missing: bool,
}

impl<F: Frame> EdgeStage<F> {
    /// An edge stage with everything reserved that it will ever need.
    #[must_use]
    pub fn new(
        config: EdgeConfig,
        interceptor: Interceptor,
        admission: Vec<Admission>,
        peers: Arc<[PeerStatus]>,
        endpoints: Vec<IpAddr>,
        backlog: Backlog,
        memory: ReceiveMemory,
    ) -> Self {
        let connections = config.connections as usize;
        let hasher = interceptor.hasher().clone();
        let mut endpoints: Vec<_> = endpoints.into_iter().map(Some).collect();
        endpoints.resize(peers.len(), None);
        EdgeStage {
            restarts: Restarts::new(connections, peers.len(), &hasher),
            interceptor,
            table: EdgeTable::new(config.connections, &hasher),
            timers: TimerWheel::new(connections),
            connections: ConnectionReserve::new(connections, &config.tcp_v4),
            credit: CreditPool::new(
                memory.credit_bytes() / config.edges.max(1) as u64,
                config.connections,
            ),
            held: HeldFrames::new(config.held_frames_max, connections),
            numbers: InitialNumberSource::new(config.secret),
            time_wait: TimeWaitTable::new(config.time_wait, &hasher),
            pushed: vec![0; config.slots()].into_boxed_slice(),
            places: Places::new(peers.len()),
            flow_ids: FlowIds::new(&config.secret),
            openers: vec![false; peers.len()].into_boxed_slice(),
            datagrams: 0,
            half_open: 0,
            tombstones: VecDeque::with_capacity(TOMBSTONES),
            ready: VecDeque::with_capacity(connections),
            queued: VecDeque::with_capacity(connections),
            unresolved: VecDeque::with_capacity(connections),
            waiting: Waiting::new(peers.len()),
            mirrors: Mirrors::new(config.mirrors),
            upstream: VecDeque::with_capacity(2 * UPSTREAM_BUSY),
            frames: [(); 2].map(|()| VecDeque::with_capacity(config.frames_max)),
            parts: Vec::with_capacity(PARTS_MAX),
            burst: VecDeque::with_capacity(BURST),
            actions: Vec::with_capacity(BURST),
            reassembly: Reassembly::default(),
            reassembled: Vec::with_capacity(BURST),
            admission,
            endpoints,
            gone: vec![false; peers.len()].into_boxed_slice(),
            counters: Counters::default(),
            lan: peers.iter().map(|_| Counters::default()).collect(),
            housekeeping_at: Time::ZERO,
            stopping: false,
            next_hop_missing: false,
            peers,
            backlog,
            walk: 0,
            memory,
            config,
        }
    }

    /// The counters, for readers.
    #[must_use]
    pub fn counters(&self) -> Counters<EdgeCounter> {
        self.counters.clone()
    }

    /// The counters of the interceptor, for readers.
    #[must_use]
    pub fn interceptor_counters(&self) -> Counters<InterceptorCounter> {
        self.interceptor.counters().clone()
    }

    /// The flow table, for readers.
    #[must_use]
    pub fn flows(&self) -> FlowReader {
        self.interceptor.reader()
    }

    /// The counters of putting fragments together, for readers.
    #[must_use]
    pub fn reassembly_counters(&self) -> Counters<ReassemblyCounter> {
        self.reassembly.counters().clone()
    }

    /// What hosts exchange with each peer, in the order of the peers, for readers.
    #[must_use]
    pub fn lan_counters(&self) -> Vec<Counters<LanCounter>> {
        self.lan.clone()
    }

    /// Counts IP bytes on the LAN for a flow of `peer`.
    pub(super) fn count_lan(&self, peer: PeerIndex, counter: LanCounter, ip_bytes: u64) {
        if let Some(lan) = self.lan.get(usize::from(peer.0)) {
            lan.add(counter, ip_bytes);
        }
    }

    /// New rules, networks and fallbacks; flows that are open keep their rule. `tcp` holds for
    /// connections that begin from now on.
    pub fn reconfigure(
        &mut self,
        rules: Arc<RuleTable>,
        fallbacks: impl IntoIterator<Item = (PeerIndex, Fallback)>,
        fin_timeout_ns: u64,
    ) {
        for (peer, fallback) in fallbacks {
            if let Some(admission) = self.admission.get_mut(usize::from(peer.0)) {
                admission.fallback = fallback;
            }
        }
        self.interceptor.reconfigure(rules, self.admission.clone());
        for tcp in [&mut self.config.tcp_v4, &mut self.config.tcp_v6] {
            Arc::make_mut(tcp).fin_timeout_ns = fin_timeout_ns;
        }
    }

    /// New flows are passed from now on, whatever the rules say.
    pub fn stop_admitting(&mut self) {
        for (peer, admission) in (0..).map(PeerIndex).zip(&mut self.admission) {
            *admission = Admission { up: false, fallback: Fallback::Pass, ..*admission };
            self.interceptor.set_peer(peer, *admission);
        }
        self.stopping = true;
    }

    /// Whether no flow is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Every flow ends with a reset on both sides.
    pub fn reset_all(&mut self, now: Time) {
        if self.table.is_forsaken() {
            return;
        }
        for place in 0..self.config.connections {
            // Those that the far side no longer knows are being reset already.
            if self.table.is_named(place) {
                self.abort(now, place, ResetCause::Stopping);
            }
        }
    }

    /// Whether no message and no frame waits here.
    #[must_use]
    pub fn has_said_all(&self) -> bool {
        self.upstream.is_empty()
            && self.ready.is_empty()
            && self.frames.iter().all(VecDeque::is_empty)
    }

    /// One turn; says whether there was anything to do.
    pub fn turn<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        frames_in: &mut [Link<F>; 2],
        delivered: &mut Collected<Inbound>,
        messages: &mut Link<Upstream<F>>,
        frames_out: &mut [Link<F>; 2],
        source: &mut S,
    ) -> bool {
        let mut busy = self.flush(messages, frames_out);
        if now >= self.housekeeping_at {
            self.keep_house(now, source);
            self.housekeeping_at = now + HOUSEKEEPING_NS;
        }
        busy |= self.take_messages(now, delivered, source);
        busy |= self.take_frames(now, frames_in, source);
        while let Some(place) = self.timers.pop_due(now) {
            self.with_connection(now, place, |connection, carrier| {
                connection.on_timeout(now, carrier);
            });
            busy = true;
        }
        busy |= self.list_lost();
        self.follow_backlog(BURST);
        busy |= self.transmit(now, source, TRANSMIT_PER_TURN);
        self.hasten_housekeeping(now);
        busy | self.flush(messages, frames_out)
    }

    /// Hears of stations from other edges, and tells each of them what is new here, once all have room
    /// for it; says whether there was anything.
    pub fn exchange_sightings(
        &mut self,
        now: Time,
        heard: &mut [Link<Sighting>],
        told: &mut [Link<Sighting>],
    ) -> bool {
        let mut busy = false;
        for link in heard {
            for _ in 0..BURST {
                let Some(sighting) = link.pop() else { break };
                self.interceptor.hear(sighting, now);
                busy = true;
            }
        }
        // Its own place among them has no link.
        let is_other = |link: &&mut Link<Sighting>| !matches!(link, Link::Absent);
        while self.interceptor.has_sightings()
            && told.iter_mut().filter(is_other).all(|link| link.room() > 0)
            && let Some(sighting) = self.interceptor.next_sighting()
        {
            for link in told.iter_mut().filter(is_other) {
                let _ = link.push(sighting);
            }
            busy = true;
        }
        busy
    }

    /// When the next turn may have something to do, if nothing comes in until then.
    #[must_use]
    pub fn next_timeout(&self) -> Time {
        self.timers.next_timeout().min(self.interceptor.next_timeout()).min(self.housekeeping_at)
    }

    /// Something waits for a neighbour's answer: it is looked for soon.
    fn hasten_housekeeping(&mut self, now: Time) {
        if !self.unresolved.is_empty() || !self.waiting.is_empty() || self.next_hop_missing {
            self.housekeeping_at = self.housekeeping_at.min(now + HOUSEKEEPING_WAITING_NS);
        }
    }

    fn take_messages<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        delivered: &mut Collected<Inbound>,
        source: &mut S,
    ) -> bool {
        let mut busy = false;
        for _ in 0..BURST {
            let Some(inbound) = delivered.pop() else { break };
            busy = true;
            match inbound {
                Inbound::Message(message) => self.message(now, message, source),
                Inbound::Session { peer, change } => self.session_changed(now, peer, change),
                Inbound::End => {}
            }
        }
        busy
    }

    /// Moves what waits to the links, as far as they have room.
    fn flush(&mut self, messages: &mut Link<Upstream<F>>, frames_out: &mut [Link<F>; 2]) -> bool {
        let before = self.upstream.len();
        messages.push_all(&mut self.upstream);
        let mut busy = self.upstream.len() < before;
        for (queue, link) in self.frames.iter_mut().zip(frames_out) {
            let before = queue.len();
            link.push_all(queue);
            busy |= queue.len() < before;
        }
        busy
    }

    /// Puts frames that are not of a connection into the queue of a port, if it has room for all.
    pub(super) fn put_all_out(&mut self, side: Side, frames: &mut VecDeque<F>) {
        let queue = &mut self.frames[side.index()];
        if queue.len() + frames.len() <= self.config.frames_max {
            queue.append(frames);
        }
    }

    /// Puts a frame that is not of a connection into the queue of a port.
    pub(super) fn put_out(&mut self, side: Side, frame: F) {
        let queue = &mut self.frames[side.index()];
        if queue.len() >= self.config.frames_max {
            self.counters.increment(EdgeCounter::OutputFull);
        } else {
            queue.push_back(frame);
        }
    }
}
