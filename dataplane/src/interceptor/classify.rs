//! Classification: one action for every frame of a burst.
//!
//! In: frames, in place. Out: what the caller has to do with each, in the same order. Never: an
//! allocation (all is made at the start), a frame changed but for an answer of our own.

use std::sync::Arc;

use super::admission::{self, Circumstances, PeerStatus};
use super::counter::{InterceptorCounter as Counter, of_malformed};
use super::flow_hash::FlowHasher;
use super::flow_table::{
    BULK_MAX, FlowHandle, FlowReader, FlowTable, Found, InsertError, Timeouts,
};
use super::fragments::FragmentMemory;
use super::neighbours::Neighbours;
use super::own::{self, Learned, Own, OwnVerdict};
use super::reason::{DropReason, PassReason, RefuseReason};
use super::table::{Probe, RuleAction, RuleTable};
use super::verdict::{Decision, Verdict};
use super::{Side, flow_table};
use crate::counters::Counters;
use crate::frame::ip::protocol;
use crate::frame::{
    FlowKey, Frame, MacAddr, Malformed, Network, Parsed, Transport, checksum, icmp,
    is_routable_unicast, parse, parse_quoted,
};
use crate::packet_driver::PeerIndex;
use crate::time::{SECOND_NS, Time};

/// How often a flow's frames are looked at for where its host is, in nanoseconds.
const LEARN_INTERVAL_NS: u64 = SECOND_NS;

/// What an interceptor is made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who the TPO is.
    pub own: Own,
    /// The first rules.
    pub rules: Arc<RuleTable>,
    /// The peers, by index.
    pub peers: Vec<PeerStatus>,
    /// Entries of the flow table.
    pub flows: usize,
    /// Entries of the neighbour tables of both sides together.
    pub neighbours: usize,
    /// How long flows are remembered.
    pub timeouts: Timeouts,
    /// Secret of the hash functions: random, the same for all workers.
    pub secret: [u64; 2],
}

/// What the caller has to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send it on the other side, as it is.
    Forward,
    /// It has become the answer to itself: send it on the side it came from.
    Answer,
    /// Let it go: all it had to say is known now.
    Consumed,
    /// Let it go.
    Drop(DropReason),
    /// A datagram for the data mover, checksums verified.
    ToMover(Parsed),
    /// The first packet (a SYN, checksums verified) of a flow to be split. It has an entry, whose
    /// slot the edge fills in with [`Interceptor::bind`], or it gives the flow up with
    /// [`Interceptor::abandon`].
    NewFlow {
        /// Its entry.
        flow: FlowHandle,
        /// What was decided.
        decision: Decision,
        /// The packet.
        parsed: Parsed,
    },
    /// A packet of a split flow, checksums verified. The slot is read when it is needed
    /// ([`Interceptor::decision`]): in the burst of the first packet it is not known yet.
    Edge {
        /// The flow and which way the packet goes.
        found: Found,
        /// The packet.
        parsed: Parsed,
    },
    /// An ICMP error about a split flow, checksums verified: the quoted packet is one that was
    /// sent to the host.
    EdgeIcmp {
        /// The flow and which way the quoted packet went.
        found: Found,
        /// The ICMP packet.
        parsed: Parsed,
    },
    /// A packet for packet mode.
    Datagram {
        /// What was decided; the flow may have no entry.
        decision: Decision,
        /// The packet.
        parsed: Parsed,
    },
    /// The first packet of a flow that is refused: tell the host (TCP by reset, the rest as
    /// prohibited), then let it go.
    Refuse {
        /// Why.
        reason: RefuseReason,
        /// The packet.
        parsed: Parsed,
    },
}

/// The interceptor of one worker.
#[derive(Debug)]
pub struct Interceptor {
    pub(super) own: Own,
    pub(super) flows: FlowTable,
    pub(super) neighbours: [Neighbours; 2],
    pub(super) counters: Counters<Counter>,
    pub(super) timeouts: Timeouts,
    rules: Arc<RuleTable>,
    peers: Vec<PeerStatus>,
    edge_overloaded: bool,
    fragments: FragmentMemory,
    burst: Burst,
}

/// Room for what is known of the frames of a burst, kept from one to the next.
#[derive(Debug)]
struct Burst {
    parsed: Vec<Result<Parsed, Malformed>>,
    keys: Vec<FlowKey>,
    found: Vec<Option<Found>>,
}

impl Interceptor {
    /// An interceptor with all its memory.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let hasher = FlowHasher::new(config.secret);
        let neighbours = || Neighbours::new(config.neighbours / 2, hasher.clone());
        Interceptor {
            flows: FlowTable::new(config.flows, hasher.clone()),
            neighbours: [neighbours(), neighbours()],
            counters: Counters::default(),
            timeouts: config.timeouts,
            fragments: FragmentMemory::new(hasher.clone()),
            own: config.own,
            rules: config.rules,
            peers: config.peers,
            edge_overloaded: false,
            burst: Burst {
                parsed: Vec::with_capacity(BULK_MAX),
                keys: Vec::with_capacity(BULK_MAX),
                found: Vec::with_capacity(BULK_MAX),
            },
        }
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters<Counter> {
        &self.counters
    }

    /// A reader of the flow table, for another thread.
    #[must_use]
    pub fn reader(&self) -> FlowReader {
        self.flows.reader()
    }

    /// Who the TPO is.
    #[must_use]
    pub fn own(&self) -> &Own {
        &self.own
    }

    /// The rules in use.
    #[must_use]
    pub fn rules(&self) -> &Arc<RuleTable> {
        &self.rules
    }

    /// New rules and peers; flows that have an entry keep their decision. `peers` belongs to the
    /// new rules.
    pub fn reconfigure(&mut self, rules: Arc<RuleTable>, peers: Vec<PeerStatus>) {
        self.rules = rules;
        self.peers = peers;
    }

    /// The state of a peer has changed; nothing for one that is not in the list.
    pub fn set_peer(&mut self, peer: PeerIndex, status: PeerStatus) {
        if let Some(slot) = self.peers.get_mut(usize::from(peer.0)) {
            *slot = status;
        }
    }

    /// The edge has no room for more split flows, or has again (its own hysteresis).
    pub fn set_edge_overloaded(&mut self, overloaded: bool) {
        self.edge_overloaded = overloaded;
    }

    /// Whether another split flow would be too many.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.edge_overloaded || self.flows.is_overloaded()
    }

    /// Looks at a burst of frames that came from `side`: `actions` becomes one action per frame,
    /// in the order of the frames.
    pub fn classify<F: Frame>(
        &mut self,
        side: Side,
        frames: &mut [F],
        now: Time,
        actions: &mut Vec<Action>,
    ) {
        actions.clear();
        for frames in frames.chunks_mut(BULK_MAX) {
            let mut burst = std::mem::replace(&mut self.burst, Burst::EMPTY);
            burst.look_at(frames, &self.flows);
            let known = burst.parsed.iter().zip(&burst.found);
            for (frame, (parsed, found)) in frames.iter_mut().zip(known) {
                let action = match parsed {
                    Ok(parsed) => self.classify_one(side, frame, parsed, *found, now),
                    Err(malformed) => self.malformed(side, frame, *malformed),
                };
                self.count(side, &action);
                actions.push(action);
            }
            self.burst = burst;
        }
    }

    /// Malformed packets are of no flow: a bridge leaves them to the hosts.
    fn malformed<F: Frame>(&self, side: Side, frame: &F, malformed: Malformed) -> Action {
        self.counters.increment(of_malformed(malformed));
        if frame.head().len() < crate::frame::ETHERNET_LEN {
            return Action::Drop(DropReason::Runt);
        }
        if self.is_looped(frame) {
            return Action::Drop(DropReason::Looped);
        }
        self.pass(side, frame, PassReason::MalformedPassed)
    }

    fn classify_one<F: Frame>(
        &mut self,
        side: Side,
        frame: &mut F,
        parsed: &Parsed,
        found: Option<Found>,
        now: Time,
    ) -> Action {
        if self.is_looped(frame) {
            return Action::Drop(DropReason::Looped);
        }
        if !parsed.is_ip() {
            if parsed.network == Network::Arp {
                let (verdict, learned) = self.own.arp(side, frame, parsed);
                return self.own_or_pass(side, frame, parsed, verdict, learned, now);
            }
            return self.pass(side, frame, PassReason::NotIp);
        }
        if own::is_ndp(parsed) {
            let (verdict, learned) = self.own.ndp(side, frame, parsed);
            return self.own_or_pass(side, frame, parsed, verdict, learned, now);
        }
        if self.own.has(parsed.key.destination()) {
            let sender = Learned { address: parsed.key.source(), mac: source_mac(frame) };
            let verdict = self.own.packet(side, frame, parsed);
            let sound = matches!(verdict, OwnVerdict::Answer | OwnVerdict::ToMover);
            return self.own_or_pass(side, frame, parsed, verdict, sound.then_some(sender), now);
        }
        match side {
            Side::Lan => self.from_lan(frame, parsed, found, now),
            Side::Wan => self.from_wan(frame, parsed, found, now),
        }
    }

    /// Learns what a frame told, and makes an action of what was found out about it.
    fn own_or_pass<F: Frame>(
        &mut self,
        side: Side,
        frame: &F,
        parsed: &Parsed,
        verdict: OwnVerdict,
        learned: Option<Learned>,
        now: Time,
    ) -> Action {
        if let Some(learned) = learned {
            self.learn(side, learned, parsed, now);
        }
        match verdict {
            OwnVerdict::Answer => Action::Answer,
            OwnVerdict::Consumed => Action::Consumed,
            OwnVerdict::ToMover => Action::ToMover(*parsed),
            OwnVerdict::Drop(reason) => Action::Drop(reason),
            OwnVerdict::Others if parsed.is_ip() => self.pass(side, frame, PassReason::NotUnicast),
            OwnVerdict::Others => self.pass(side, frame, PassReason::NotIp),
        }
    }

    fn learn(&mut self, side: Side, learned: Learned, parsed: &Parsed, now: Time) {
        if own::is_conflict(&self.own, learned) {
            self.counters.increment(Counter::AddressConflict);
        } else if learned.mac.is_station() && !self.own.has(learned.address) {
            self.neighbours_mut(side).learn(learned.address, learned.mac, parsed.vlans, now);
        }
    }

    /// A packet from a host, to somebody else.
    fn from_lan<F: Frame>(
        &mut self,
        frame: &F,
        parsed: &Parsed,
        found: Option<Found>,
        now: Time,
    ) -> Action {
        let head = frame.head();
        // Entries may have been made, or removed, since the burst was looked up.
        let known = found
            .filter(|found| self.flows.decision(found.flow).is_some())
            .or_else(|| self.flows.lookup(&parsed.key))
            .and_then(|found| Some((found, self.flows.decision_and_last_seen(found.flow)?)));
        let seen_lately =
            known.is_some_and(|(_, (_, last_seen))| now.since_ns(last_seen) < LEARN_INTERVAL_NS);
        if !seen_lately && is_routable_unicast(parsed.key.source()) {
            let sender = Learned { address: parsed.key.source(), mac: source_mac(frame) };
            self.learn(Side::Lan, sender, parsed, now);
        }
        if let Some((found, (decision, _))) = known {
            if !is_new_connection(&decision, parsed, head) {
                self.flows.touch(found, frame.frame_len(), now);
                return self.by_decision(frame, parsed, found, decision);
            }
            self.flows.remove(found.flow);
        }
        if icmp::is_error(parsed)
            && let Some(found) = self.quoted_split_flow(frame, parsed)
        {
            return Action::EdgeIcmp { found, parsed: *parsed };
        }
        if let Some(action) = self.tcp_fragment(Side::Lan, frame, parsed, now) {
            return action;
        }
        self.first_packet(frame, parsed, now)
    }

    /// A packet of a flow from the LAN side that has an entry.
    fn by_decision<F: Frame>(
        &self,
        frame: &F,
        parsed: &Parsed,
        found: Found,
        decision: Decision,
    ) -> Action {
        match decision.verdict {
            Verdict::Pass(reason) => self.pass(Side::Lan, frame, reason),
            Verdict::Drop(reason) => Action::Drop(reason),
            Verdict::Datagram => self.datagram(frame, parsed, decision),
            Verdict::Optimize if !checksum::frame_ok(frame, parsed) => {
                Action::Drop(DropReason::BadChecksum)
            }
            Verdict::Optimize => Action::Edge { found, parsed: *parsed },
        }
    }

    /// Packet mode has no connection to keep: each packet goes by the present state of the peer.
    fn datagram<F: Frame>(&self, frame: &F, parsed: &Parsed, decision: Decision) -> Action {
        let peer = self.peers.get(usize::from(decision.peer.0)).copied().unwrap_or_default();
        if peer.up {
            return Action::Datagram { decision, parsed: *parsed };
        }
        match peer.fallback {
            admission::Fallback::Pass => self.pass(Side::Lan, frame, PassReason::PeerDown),
            admission::Fallback::Refuse => Action::Drop(DropReason::PeerDownDatagram),
        }
    }

    /// A packet of no known flow: admission.
    fn first_packet<F: Frame>(&mut self, frame: &F, parsed: &Parsed, now: Time) -> Action {
        let circumstances = Circumstances {
            rules: &self.rules,
            peers: &self.peers,
            own: &self.own,
            overloaded: self.is_overloaded(),
        };
        let decision = match admission::admit(&circumstances, parsed, frame.head()) {
            Ok(decision) => decision,
            Err(reason) => return Action::Refuse { reason, parsed: *parsed },
        };
        if decision.verdict == Verdict::Optimize && !checksum::frame_ok(frame, parsed) {
            return Action::Drop(DropReason::BadChecksum);
        }
        let entry = if self.has_room_for(&decision, parsed) {
            self.insert_counted(&parsed.key, decision, now)
        } else {
            None
        };
        if let Some(flow) = entry {
            let found = Found { flow, direction: flow_table::Direction::Forward };
            self.flows.touch(found, frame.frame_len(), now);
        }
        match (decision.verdict, entry) {
            (Verdict::Optimize, Some(flow)) => Action::NewFlow { flow, decision, parsed: *parsed },
            (Verdict::Optimize, None) => self.no_entry(frame, parsed, decision.peer),
            (Verdict::Datagram, _) => Action::Datagram { decision, parsed: *parsed },
            (Verdict::Pass(reason), _) => self.pass(Side::Lan, frame, reason),
            (Verdict::Drop(reason), _) => Action::Drop(reason),
        }
    }

    /// Whether a decision gets an entry. Split flows have the whole table. So have passed SYNs,
    /// because their retransmissions must not be taken. The others could be decided afresh each
    /// time, so strangers' flows cannot crowd out split ones: half of the table.
    fn has_room_for(&self, decision: &Decision, parsed: &Parsed) -> bool {
        let half_full = self.flows.len() >= self.flows.capacity() / 2;
        match decision.verdict {
            Verdict::Optimize => true,
            Verdict::Pass(
                PassReason::PeerDown | PassReason::Overloaded | PassReason::TcpAuthentication,
            ) => parsed.is_syn() && !self.flows.is_overloaded(),
            Verdict::Pass(PassReason::NotUnicast | PassReason::NotIp | PassReason::TcpFragment)
            | Verdict::Drop(DropReason::HeldAfterRestart) => false,
            Verdict::Pass(_) | Verdict::Datagram | Verdict::Drop(_) => !half_full,
        }
    }

    /// The table had no room for a split flow after all.
    fn no_entry<F: Frame>(&self, frame: &F, parsed: &Parsed, peer: PeerIndex) -> Action {
        let peer = self.peers.get(usize::from(peer.0)).copied().unwrap_or_default();
        match peer.fallback {
            admission::Fallback::Pass => self.pass(Side::Lan, frame, PassReason::Overloaded),
            admission::Fallback::Refuse => {
                Action::Refuse { reason: RefuseReason::RefusedOverloaded, parsed: *parsed }
            }
        }
    }

    /// A packet from the WAN side, to somebody else: rules do not apply, but it must not reach
    /// the host of a split flow, and a dropped flow is dropped both ways.
    fn from_wan<F: Frame>(
        &mut self,
        frame: &F,
        parsed: &Parsed,
        found: Option<Found>,
        now: Time,
    ) -> Action {
        if let Some(found) = found
            && let Some(decision) = self.flows.decision(found.flow)
        {
            match decision.verdict {
                Verdict::Optimize => return Action::Drop(DropReason::SplitFlowOnWan),
                Verdict::Drop(reason) => return Action::Drop(reason),
                Verdict::Pass(_) | Verdict::Datagram => {
                    self.flows.touch(found, frame.frame_len(), now);
                }
            }
        }
        if icmp::is_error(parsed) && self.quoted_split_flow(frame, parsed).is_some() {
            return Action::Drop(DropReason::SplitFlowOnWan);
        }
        self.tcp_fragment(Side::Wan, frame, parsed, now)
            .unwrap_or_else(|| self.pass(Side::Wan, frame, PassReason::NoRule))
    }

    /// The split flow of the packet that a sound ICMP error quotes.
    fn quoted_split_flow<F: Frame>(&self, frame: &F, parsed: &Parsed) -> Option<Found> {
        let quoted = parsed.l4(frame.head()).get(8..)?;
        let found = self.flows.lookup(&parse_quoted(quoted, parsed.key.vlan)?)?;
        let split = self.flows.decision(found.flow)?.verdict == Verdict::Optimize;
        (split && checksum::frame_ok(frame, parsed)).then_some(found)
    }

    /// A fragment of TCP. The first one shows the ports, and so whether the flow is split; later
    /// ones follow it. A later one that overtook its first is not let past a rule that might
    /// have split the flow: the host sends it again. `None`: not such a fragment, or nothing
    /// speaks against it.
    fn tcp_fragment<F: Frame>(
        &mut self,
        side: Side,
        frame: &F,
        parsed: &Parsed,
        now: Time,
    ) -> Option<Action> {
        let fragment = parsed.fragment.filter(|_| parsed.key.protocol == protocol::TCP)?;
        let split = if fragment.offset == 0 {
            let split = self.first_fragment_is_split(frame, parsed);
            self.fragments.note(side, &parsed.key, fragment, split, now);
            Some(split)
        } else {
            self.fragments.is_split(side, &parsed.key, fragment, now)
        };
        match split {
            Some(true) if side == Side::Wan => Some(Action::Drop(DropReason::SplitFlowOnWan)),
            Some(true) => Some(Action::Drop(DropReason::SplitFlowFragment)),
            Some(false) => None,
            None => {
                let probe = Probe { key: &parsed.key, dscp: parsed.dscp(), ports_known: false };
                let might_be_split = side == Side::Lan
                    && self
                        .rules
                        .find(&probe)
                        .is_some_and(|found| found.rule.action == RuleAction::Optimize);
                might_be_split.then_some(Action::Drop(DropReason::EarlyFragment))
            }
        }
    }

    fn first_fragment_is_split<F: Frame>(&self, frame: &F, parsed: &Parsed) -> bool {
        let ports = parsed.l4(frame.head()).first_chunk::<4>();
        let Some([a, b, c, d]) = ports.copied() else { return false };
        let mut key = parsed.key;
        key.source_port = u16::from_be_bytes([a, b]);
        key.destination_port = u16::from_be_bytes([c, d]);
        self.flows
            .lookup(&key)
            .and_then(|found| self.flows.decision(found.flow))
            .is_some_and(|decision| decision.verdict == Verdict::Optimize)
    }

    /// Bridges a frame, unless it was sent to our own station.
    fn pass<F: Frame>(&self, side: Side, frame: &F, reason: PassReason) -> Action {
        if destination_mac(frame) == self.own.side(side).mac {
            return Action::Drop(DropReason::NotForUs);
        }
        if side == Side::Lan {
            self.counters.increment(reason.counter());
        }
        Action::Forward
    }

    /// Whether a frame comes from one of our own ports.
    fn is_looped<F: Frame>(&self, frame: &F) -> bool {
        self.own.is_own_station(source_mac(frame))
    }

    fn count(&self, side: Side, action: &Action) {
        let (came_in, forwarded) = match side {
            Side::Lan => (Counter::LanIn, Counter::LanToWan),
            Side::Wan => (Counter::WanIn, Counter::WanToLan),
        };
        self.counters.increment(came_in);
        self.counters.increment(match action {
            Action::Forward => forwarded,
            Action::Answer => Counter::Answered,
            Action::Consumed => Counter::Consumed,
            Action::Drop(reason) => reason.counter(),
            Action::ToMover(_) => Counter::ToMover,
            Action::NewFlow { .. } => Counter::NewFlow,
            Action::Edge { .. } | Action::EdgeIcmp { .. } => Counter::Edge,
            Action::Datagram { .. } => Counter::Datagram,
            Action::Refuse { reason, .. } => reason.counter(),
        });
    }

    fn insert_counted(
        &mut self,
        key: &FlowKey,
        decision: Decision,
        now: Time,
    ) -> Option<FlowHandle> {
        let inserted = self.flows.insert(key, decision, now);
        self.counters.increment(match inserted {
            Ok(_) => Counter::FlowsInserted,
            Err(_) => Counter::FlowInsertFailed,
        });
        inserted.ok()
    }

    /// What was decided about a flow; `None` when it is gone.
    #[must_use]
    pub fn decision(&self, flow: FlowHandle) -> Option<Decision> {
        self.flows.decision(flow)
    }

    /// The flow of a key, whichever direction it has.
    #[must_use]
    pub fn lookup(&self, key: &FlowKey) -> Option<Found> {
        self.flows.lookup(key)
    }

    /// The edge has taken a split flow: its place there. False when the flow is gone.
    pub fn bind(&mut self, flow: FlowHandle, slot: u32) -> bool {
        let decision = self.flows.decision(flow);
        decision
            .is_some_and(|decision| self.flows.set_decision(flow, Decision { slot, ..decision }))
    }

    /// Makes the entry of a flow that a peer opened; `key` is that of its first packet, from the
    /// far host to the near one. An entry that is not of a split flow gives way.
    ///
    /// # Errors
    /// There is no room, or the flow is split already.
    pub fn insert(
        &mut self,
        key: &FlowKey,
        decision: Decision,
        now: Time,
    ) -> Result<FlowHandle, InsertError> {
        if let Some(found) = self.flows.lookup(key) {
            let old = self.flows.decision(found.flow);
            if old.is_some_and(|old| old.verdict == Verdict::Optimize) {
                return Err(InsertError::Exists);
            }
            self.flows.remove(found.flow);
        }
        self.insert_counted(key, decision, now).ok_or(InsertError::Full)
    }

    /// A split flow is over, or the edge could not take it. False when it is gone already.
    pub fn abandon(&mut self, flow: FlowHandle) -> bool {
        self.flows.remove(flow)
    }

    pub(super) fn neighbours_mut(&mut self, side: Side) -> &mut Neighbours {
        let [lan, wan] = &mut self.neighbours;
        match side {
            Side::Lan => lan,
            Side::Wan => wan,
        }
    }
}

impl Burst {
    const EMPTY: Burst = Burst { parsed: Vec::new(), keys: Vec::new(), found: Vec::new() };

    /// Parses the frames and looks their flows up, all at once.
    fn look_at<F: Frame>(&mut self, frames: &[F], flows: &FlowTable) {
        self.parsed.clear();
        self.keys.clear();
        for frame in frames {
            let parsed = parse(frame.head(), frame.frame_len());
            let none = || FlowKey::from_bits((0, 0), (0, 0), 0, 0);
            self.keys.push(parsed.map_or_else(|_| none(), |parsed| parsed.key));
            self.parsed.push(parsed);
        }
        self.found.clear();
        self.found.resize(frames.len(), None);
        flows.lookup_bulk(&self.keys, &mut self.found);
    }
}

/// Whether a packet begins another connection than the one its entry is about: a SYN that is no
/// retransmission of the one that was passed or dropped.
fn is_new_connection(decision: &Decision, parsed: &Parsed, head: &[u8]) -> bool {
    matches!(decision.verdict, Verdict::Pass(_) | Verdict::Drop(_))
        && parsed.is_syn()
        && decision.slot != admission::syn_sequence(parsed, head)
}

fn destination_mac<F: Frame>(frame: &F) -> MacAddr {
    frame.head().first_chunk().map_or(MacAddr::ZERO, |mac| MacAddr(*mac))
}

fn source_mac<F: Frame>(frame: &F) -> MacAddr {
    let mac = frame.head().get(6..).and_then(|rest| rest.first_chunk());
    mac.map_or(MacAddr::ZERO, |mac| MacAddr(*mac))
}
