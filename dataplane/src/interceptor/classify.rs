//! Classification: one action for every frame of a burst.
//!
//! In: frames, in place. Out: what the caller has to do with each, in the same order. Never: an
//! allocation (all is made at the start), a frame changed but for an answer of our own.

use std::sync::Arc;

use super::Side;
use super::action::Action;
use super::admission::PeerStatus;
use super::bridge::source_mac;
use super::counter::InterceptorCounter as Counter;
use super::flow_hash::FlowHasher;
use super::flow_table::{BULK_MAX, FlowReader, FlowTable, Found, Timeouts};
use super::fragments::FragmentMemory;
use super::neighbours::Neighbours;
use super::own::{self, Learned, Own, OwnVerdict};
use super::passing::Passed;
use super::reason::{DropReason, PassReason};
use super::stations::{Sighting, Sightings};
use super::table::RuleTable;
use crate::counters::Counters;
use crate::frame::{FlowKey, Frame, Malformed, Network, Parsed, parse, parse_plain};
use crate::packet_driver::PeerIndex;
use crate::time::Time;

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

/// The interceptor of one worker.
#[derive(Debug)]
pub struct Interceptor {
    pub(super) own: Own,
    pub(super) flows: FlowTable,
    pub(super) neighbours: [Neighbours; 2],
    pub(super) sightings: Sightings,
    pub(super) counters: Counters<Counter>,
    pub(super) timeouts: Timeouts,
    /// When ageing last went on.
    pub(super) swept_at: Time,
    pub(super) rules: Arc<RuleTable>,
    pub(super) peers: Vec<PeerStatus>,
    /// Whether the flow of a first fragment is split.
    pub(super) fragments: FragmentMemory<bool>,
    edge_overloaded: bool,
    /// Our own addresses of both sides.
    pub(super) own_bits: Box<[u128]>,
    burst: Burst,
    /// Nothing takes the short way.
    #[cfg(test)]
    pub(super) is_thorough: bool,
}

/// What is known of a frame.
#[derive(Debug)]
pub(super) enum Seen {
    /// It is an everyday packet, of others for others: it may take the short way.
    Everyday(Everyday),
    /// It had to be parsed; which of the keys it has.
    Parsed(Result<Parsed, Malformed>, u8),
}

/// What a frame of which the flow is known still has to tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Everyday {
    pub(super) tcp_flags: u8,
    /// Which of the keys it has.
    pub(super) place: u8,
    /// Bytes of it.
    pub(super) len: u32,
}

const _: () = assert!(BULK_MAX <= 1 << u8::BITS, "the place of a key is a byte");

/// Room for what is known of the frames of a burst, kept from one to the next.
#[derive(Debug)]
pub(super) struct Burst {
    pub(super) seen: Vec<Seen>,
    /// Without those that are as the one before: frames of one flow often come together.
    pub(super) keys: Vec<FlowKey>,
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
            sightings: Sightings::default(),
            counters: Counters::default(),
            timeouts: config.timeouts,
            swept_at: Time::ZERO,
            fragments: FragmentMemory::new(hasher.clone()),
            own_bits: config.own.address_bits().collect(),
            own: config.own,
            rules: config.rules,
            peers: config.peers,
            edge_overloaded: false,
            burst: Burst {
                seen: Vec::with_capacity(BULK_MAX),
                keys: Vec::with_capacity(BULK_MAX),
                found: Vec::with_capacity(BULK_MAX),
            },
            #[cfg(test)]
            is_thorough: false,
        }
    }

    /// The same for one of several edges: what it sees of the LAN's stations, the others are told.
    #[must_use]
    pub fn shared(mut self) -> Self {
        let [lan, wan] = self.neighbours;
        self.neighbours = [lan.shared(), wan];
        self.sightings = Sightings::shared();
        self
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
            burst.look_at(side, frames, &self.own, &self.flows);
            let mut passed = Passed::default();
            for (frame, seen) in frames.iter_mut().zip(&burst.seen) {
                let action = match seen {
                    Seen::Everyday(everyday) => {
                        let (key, found) = burst.of(everyday.place);
                        let passes = self.passes(side, everyday, key, found, now);
                        if let Some(reason) = passes {
                            passed.note(reason, &self.counters, side);
                            actions.push(Action::Forward);
                            continue;
                        }
                        let parsed = parse(frame.head(), frame.frame_len());
                        self.classify_parsed(side, frame, &parsed, found, now)
                    }
                    Seen::Parsed(parsed, place) => {
                        let (_, found) = burst.of(*place);
                        self.classify_parsed(side, frame, parsed, found, now)
                    }
                };
                self.count(side, &action);
                actions.push(action);
            }
            passed.count(&self.counters, side);
            self.burst = burst;
        }
    }

    fn classify_parsed<F: Frame>(
        &mut self,
        side: Side,
        frame: &mut F,
        parsed: &Result<Parsed, Malformed>,
        found: Option<Found>,
        now: Time,
    ) -> Action {
        match parsed {
            Ok(parsed) => self.classify_one(side, frame, parsed, found, now),
            Err(malformed) => self.malformed(side, frame, *malformed),
        }
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
            Side::Lan => self.lan_packet(frame, parsed, found, now),
            Side::Wan => self.wan_packet(frame, parsed, found, now),
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
            if verdict == OwnVerdict::Consumed {
                // An answer to us: another edge may have asked.
                self.tell(side, learned, parsed, now);
            }
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

    pub(super) fn learn(&mut self, side: Side, learned: Learned, parsed: &Parsed, now: Time) {
        if own::is_conflict(&self.own, learned) {
            self.counters.increment(Counter::AddressConflict);
        } else if learned.mac.is_station() && !self.own.has(learned.address) {
            let Learned { address, mac } = learned;
            if self.neighbours_mut(side).learn(address, mac, parsed.vlans, now) {
                self.tell(side, learned, parsed, now);
            }
        }
    }

    /// Has the other edges told where a host of the LAN is.
    fn tell(&mut self, side: Side, learned: Learned, parsed: &Parsed, now: Time) {
        let Learned { address, mac } = learned;
        let sound = mac.is_station() && !self.own.has(address);
        if side == Side::Lan && sound && self.sightings.have_room() {
            self.sightings.tell(Sighting { address, mac, vlans: parsed.vlans });
            self.neighbours_mut(side).set_told(address, parsed.vlans.outer_id(), now);
        }
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
            Action::Fragment(_) => Counter::Fragment,
            Action::Datagram { .. } => Counter::Datagram,
            Action::Refuse { reason, .. } => reason.counter(),
        });
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
    pub(super) const EMPTY: Burst = Burst { seen: Vec::new(), keys: Vec::new(), found: Vec::new() };

    /// Parses the frames and looks their flows up, all at once.
    pub(super) fn look_at<F: Frame>(
        &mut self,
        side: Side,
        frames: &[F],
        own: &Own,
        flows: &FlowTable,
    ) {
        self.seen.clear();
        self.keys.clear();
        for frame in frames {
            let (head, len) = (frame.head(), frame.frame_len());
            if let Some(plain) = parse_plain(head, len)
                && own.is_between_others(side, head)
            {
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                let place = self.place(plain.key);
                let everyday = Everyday { tcp_flags: plain.tcp_flags, place, len };
                self.seen.push(Seen::Everyday(everyday));
                continue;
            }
            let parsed = parse(head, len);
            let none = || FlowKey::from_bits((0, 0), (0, 0), 0, 0);
            let place = self.place(parsed.map_or_else(|_| none(), |parsed| parsed.key));
            self.seen.push(Seen::Parsed(parsed, place));
        }
        self.found.clear();
        self.found.resize(self.keys.len(), None);
        flows.lookup_bulk(&self.keys, &mut self.found);
        flows.prefetch_notes(&self.found);
    }

    /// The key in this place, and the flow that it was found to be of.
    #[inline]
    fn of(&self, place: u8) -> (FlowKey, Option<Found>) {
        let place = usize::from(place);
        let key = self.keys.get(place).copied();
        let none = || FlowKey::from_bits((0, 0), (0, 0), 0, 0);
        (key.unwrap_or_else(none), self.found.get(place).copied().flatten())
    }

    /// Where this key is among the keys, as the last one or before it.
    #[inline]
    fn place(&mut self, key: FlowKey) -> u8 {
        if self.keys.last() != Some(&key) {
            self.keys.push(key);
        }
        u8::try_from(self.keys.len() - 1).unwrap_or(u8::MAX)
    }
}
