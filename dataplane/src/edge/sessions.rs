//! What becomes of flows when a session changes, and the restart procedure.
//!
//! In: sessions that begin and end, lists of flows that a survivor held with our former self.
//! Out: resets to hosts, lists for a peer that restarted. Never: a connection that one host
//! believes in and the other's TPO has forgotten, for longer than the list takes to come.
//!
//! A TPO that was killed forgets its flows. The survivor resets its own hosts and lists the flows
//! (HELD, HELD-END). The restarted one makes each listed host show its sequence numbers by a SYN,
//! which the host answers with a challenge ACK (RFC 5961, section 4), and then resets it exactly.
//! Stacks, and filters in front of them, differ in which SYN they look at (without ACK, or with
//! one from beyond what was sent), so several forms are tried in turn.

use super::EdgeCounter;
use super::flow::Role;
use super::stage::{EdgeStage, UPSTREAM_BUSY};
use super::tcp::{Flags, Segment};
use crate::frame::{FlowKey, Frame, FrameSource, Parsed};
use crate::interceptor::{Decision, FlowHasher, FlowMap, PeerStatus as Admission, Verdict};
use crate::packet_driver::reset::ResetCause;
use crate::packet_driver::{
    FlowId, Message, MessageHeader, MessageKind, Outbound, OutboundBody, PeerIndex, SessionChange,
    SessionNumber, Upstream,
};
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

/// How long segments of unknown connections are held back after a session began, unless the list
/// has come before.
const LIST_WAIT_NS: u64 = 5 * SECOND_NS;
/// The same from our start on, while there is no session.
const START_WAIT_NS: u64 = 10 * SECOND_NS;
/// How a host is asked for its sequence numbers, time after time: without an acknowledgement, or
/// with this one. One of any two half the space apart is beyond what the host has sent.
const ASKS: [Option<u32>; 6] = [Some(0), Some(1 << 31), None, Some(1 << 30), Some(3 << 30), None];
/// How far apart, and the resets that follow the answer.
const ASK_INTERVAL_NS: u64 = 200 * MILLISECOND_NS;
/// How far apart once each form has been tried: stacks answer such a segment once a second, and
/// the LAN may have lost the answer.
const ASK_AGAIN_NS: u64 = 1_100 * MILLISECOND_NS;
/// How often a host is asked at most.
const ASKS_MAX: usize = 2 * ASKS.len();
/// Resets in all, in case some are lost.
const RESETS: usize = 3;

/// Flows looked at per turn for a list to a restarted peer, at most.
const LISTED_PER_TURN: usize = 64;
/// Hosts asked for their sequence numbers at a time, at most.
const ASKED_AT_ONCE: usize = 256;

/// How long a restarted peer is told of the flows it held.
const LISTED_NS: u64 = 60 * SECOND_NS;

/// A host of ours to be reset.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// When it is to be asked next.
    at: Time,
    /// How often it was.
    count: u8,
    /// The sequence number that it expects, once it has answered.
    expects: Option<u32>,
}

impl Asked {
    /// What it is to be sent now; `None` when it was asked often enough.
    fn next_ask(&mut self, now: Time) -> Option<Segment> {
        let count = usize::from(self.count);
        let ask = ASKS.get(count % ASKS.len()).filter(|_| count < ASKS_MAX)?;
        self.count += 1;
        let quick = self.expects.is_some() || count < ASKS.len();
        self.at = now + if quick { ASK_INTERVAL_NS } else { ASK_AGAIN_NS };
        // Once it has answered, the reset is repeated: one may be lost.
        Some(self.expects.map_or_else(|| asking(*ask), exact_reset))
    }
}

/// A flow that ended because its peer was lost.
#[derive(Clone, Copy, Debug)]
struct Lost {
    peer: PeerIndex,
    /// The peer has come back restarted: it is told of the flow until then, in every session that
    /// begins, because a session may end before the list has arrived.
    listed_until: Option<Time>,
}

/// What is remembered of a flow of before a restart.
#[derive(Clone, Copy, Debug)]
enum Former {
    /// By the 5-tuple of the far host's frames: listed should its peer come back restarted.
    Lost(Lost),
    /// By the 5-tuple of its frames: a host of ours to be reset.
    Asked(Asked),
}

impl Former {
    fn is_lost_with(&self, peer: PeerIndex) -> bool {
        matches!(self, Former::Lost(lost) if lost.peer == peer)
    }
}

/// The list that a peer is being told in the present session.
#[derive(Clone, Debug)]
struct Listing {
    /// Flows still to be told.
    due: Vec<FlowKey>,
    /// Flows told.
    told: u64,
}

/// Flows of before a restart, ours or a peer's.
#[derive(Debug)]
pub(super) struct Restarts {
    flows: FlowMap<Former>,
    /// How many of them are lost, and how many hosts are asked.
    lost: usize,
    asked: usize,
    /// Per peer: how far its list is; `None` when there is none to tell.
    listings: Box<[Option<Listing>]>,
    /// Per peer: until when its list may still come.
    list_until: Box<[Time]>,
}

impl Restarts {
    /// Nothing known yet; at most `most` flows are remembered.
    pub(super) fn new(most: usize, peers: usize, hasher: &FlowHasher) -> Self {
        Restarts {
            flows: FlowMap::new(most, hasher),
            lost: 0,
            asked: 0,
            listings: vec![None; peers].into_boxed_slice(),
            list_until: vec![Time::ZERO + START_WAIT_NS; peers].into_boxed_slice(),
        }
    }

    fn remember_lost(&mut self, peer: PeerIndex, key: FlowKey) {
        if self.flows.is_full()
            && let Some(any) = self.flows.at(0).map(|(key, _)| *key)
        {
            self.take(&any);
        }
        self.put(key, Former::Lost(Lost { peer, listed_until: None }));
    }

    /// Remembers a flow; false when there is no room.
    fn put(&mut self, key: FlowKey, former: Former) -> bool {
        self.take(&key);
        let is_put = self.flows.insert(key, former).is_some();
        *self.count(former) += usize::from(is_put);
        is_put
    }

    fn take(&mut self, key: &FlowKey) {
        if let Some(former) = self.flows.remove(key) {
            *self.count(former) -= 1;
        }
    }

    fn count(&mut self, former: Former) -> &mut usize {
        match former {
            Former::Lost(_) => &mut self.lost,
            Former::Asked(_) => &mut self.asked,
        }
    }

    fn retain(&mut self, mut keep: impl FnMut(&FlowKey, &mut Former) -> bool) {
        let (mut lost, mut asked) = (0, 0);
        self.flows.retain(|key, former| {
            let is_kept = keep(key, former);
            match former {
                Former::Lost(_) => lost += usize::from(is_kept),
                Former::Asked(_) => asked += usize::from(is_kept),
            }
            is_kept
        });
        (self.lost, self.asked) = (lost, asked);
    }

    /// Whether this host is to be reset.
    fn is_asked(&self, key: &FlowKey) -> bool {
        self.asked > 0 && matches!(self.flows.get(key), Some(Former::Asked(_)))
    }

    fn asked_mut(&mut self, key: &FlowKey) -> Option<&mut Asked> {
        match self.flows.get_mut(key) {
            Some(Former::Asked(asked)) => Some(asked),
            _ => None,
        }
    }

    /// The far host and ours begin a new connection with this 5-tuple, as in the far host's
    /// frames: whoever forgot the old one, the hosts have, and the new one is not to be reset.
    pub(super) fn begun_anew(&mut self, key: &FlowKey) {
        if matches!(self.flows.get(key), Some(Former::Lost(_))) {
            self.take(key);
        }
    }

    /// Whether there are flows that the peer may have to be told of.
    pub(super) fn has_lost(&self) -> bool {
        self.lost > 0
    }

    /// A session began, or ended: its list is to be told from the beginning, or no longer.
    fn begin_list(&mut self, peer: PeerIndex, is_up: bool) {
        let of_peer = self.flows.iter().filter(|(_, former)| former.is_lost_with(peer));
        let listing =
            is_up.then(|| Listing { due: of_peer.map(|(key, _)| *key).collect(), told: 0 });
        if let Some(place) = self.listings.get_mut(usize::from(peer.0)) {
            *place = listing;
        }
    }

    /// The next flow to be listed, looking at no more than `looks` of them.
    fn next_listed(&mut self, looks: &mut usize) -> Option<(PeerIndex, FlowKey)> {
        for (peer, listing) in (0..).map(PeerIndex).zip(&mut self.listings) {
            let Some(listing) = listing else { continue };
            while *looks > 0
                && let Some(key) = listing.due.pop()
            {
                *looks -= 1;
                // Unless its hosts have begun anew since.
                if self.flows.get(&key).is_some_and(|former| former.is_lost_with(peer)) {
                    listing.told += 1;
                    return Some((peer, key));
                }
            }
        }
        None
    }

    /// A peer whose list has been told, and how many flows were in it.
    fn next_list_end(&mut self) -> Option<(PeerIndex, u64)> {
        let mut listings = (0..).map(PeerIndex).zip(&mut self.listings);
        listings.find_map(|(peer, listing)| {
            let done = listing.take_if(|listing| listing.due.is_empty())?;
            Some((peer, done.told))
        })
    }

    fn is_listing(&self) -> bool {
        self.listings.iter().any(Option::is_some)
    }

    /// A session began: flows that the peer has not forgotten are its own affair, those that it
    /// has are listed for a while.
    fn sort_lost(&mut self, now: Time, peer: PeerIndex, restarted: bool) {
        self.retain(|_, former| {
            let Former::Lost(lost) = former else { return true };
            if lost.peer == peer && restarted && lost.listed_until.is_none() {
                lost.listed_until = Some(now + LISTED_NS);
            }
            lost.listed_until.map_or(lost.peer != peer, |until| now < until)
        });
    }

    /// A peer has left: it is told of nothing, and no list of it is waited for.
    pub(super) fn forget_peer(&mut self, peer: PeerIndex) {
        if self.has_lost() {
            self.retain(|_, former| !former.is_lost_with(peer));
        }
        if let Some(until) = self.list_until.get_mut(usize::from(peer.0)) {
            *until = Time::ZERO;
        }
    }

    /// Whether no host waits to be reset.
    pub(super) fn is_quiet(&self) -> bool {
        self.asked == 0
    }
}

impl<F: Frame> EdgeStage<F> {
    /// A session began or ended.
    pub(super) fn session_changed(&mut self, now: Time, peer: PeerIndex, change: SessionChange) {
        // Flow ids belong to a session.
        self.tombstones.retain(|(of, _)| *of != peer);
        match change {
            SessionChange::Up { session, restarted, opener } => {
                self.upstream.push_back(Upstream::Session { peer, session });
                if let Some(place) = self.openers.get_mut(usize::from(peer.0)) {
                    *place = opener;
                }
                self.restarts.sort_lost(now, peer, restarted);
                self.restarts.begin_list(peer, true);
                if let Some(until) = self.restarts.list_until.get_mut(usize::from(peer.0))
                    && *until != Time::ZERO
                {
                    *until = now + LIST_WAIT_NS;
                }
                let stopping = self.stopping;
                self.change_admission(peer, |admission| admission.up = !stopping);
            }
            SessionChange::Down => {
                self.restarts.begin_list(peer, false);
                self.change_admission(peer, |admission| admission.up = false);
                self.upstream.push_back(Upstream::Session { peer, session: SessionNumber::NONE });
                for place in 0..self.config.connections {
                    self.reset_flow_of(now, place, peer, true);
                }
            }
            SessionChange::Gone => {
                self.restarts.begin_list(peer, false);
                self.change_admission(peer, |admission| admission.up = false);
                self.upstream.push_back(Upstream::Session { peer, session: SessionNumber::NONE });
                if let Some(gone) = self.gone.get_mut(usize::from(peer.0)) {
                    *gone = true;
                }
            }
        }
    }

    pub(super) fn change_admission(
        &mut self,
        peer: PeerIndex,
        change: impl FnOnce(&mut Admission),
    ) {
        if let Some(admission) = self.admission.get_mut(usize::from(peer.0)) {
            change(admission);
            self.interceptor.set_peer(peer, *admission);
        }
    }

    /// The host with the flow in this place sees a reset, if it is one over this peer. `may_return`:
    /// the flow is remembered, because the peer may come back restarted.
    pub(super) fn reset_flow_of(
        &mut self,
        now: Time,
        place: u32,
        peer: PeerIndex,
        may_return: bool,
    ) {
        let Some(flow) = self.table.get(place) else { return };
        let facts = flow.facts;
        if facts.peer != peer || !self.table.is_named(place) {
            return;
        }
        if may_return {
            // As the far side's host has it in its frames; it may have accepted already.
            let far = match facts.role {
                Role::Opener => facts.key.reversed(),
                Role::Responder => facts.key,
            };
            self.restarts.remember_lost(peer, far);
        }
        if self.is_held(place) {
            // Nothing was promised yet: the host's next SYN takes the new session, or the
            // fallback.
            if let Some(flow) = self.table.get_mut(place) {
                flow.connection.awake(&mut self.connections).abandon();
            }
            self.forget(now, place, EdgeCounter::FlowsRefused);
            return;
        }
        self.reset_host(now, place);
        self.counters.increment(EdgeCounter::FlowsReset);
    }

    /// Lists flows that restarted peers held with us, some each turn; says whether there are more.
    pub(super) fn list_lost(&mut self) -> bool {
        if !self.restarts.is_listing() {
            return false;
        }
        let mut looks = LISTED_PER_TURN;
        while self.upstream.len() < UPSTREAM_BUSY
            && let Some((peer, key)) = self.restarts.next_listed(&mut looks)
        {
            self.send(held_message(peer, MessageKind::Held, Some(key), 0));
        }
        while let Some((peer, count)) = self.restarts.next_list_end() {
            self.send(held_message(peer, MessageKind::HeldEnd, None, count));
        }
        self.restarts.is_listing() && self.upstream.len() < UPSTREAM_BUSY
    }

    /// A flow that the peer held with our former self: its host here has to hear of the end.
    pub(super) fn held_arrived<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        message: &Message,
        source: &mut S,
    ) {
        let Some(key) = message.header.key else {
            self.counters.increment(EdgeCounter::ProtocolErrors);
            return;
        };
        if !self.accepts(message.peer, &key.reversed()) || self.place_of_key(&key).is_some() {
            self.counters.increment(EdgeCounter::OpensNotAllowed);
            return;
        }
        if self.was_passed(&key) {
            return;
        }
        let mut asked = Asked { at: now, count: 0, expects: None };
        let ask = asked.next_ask(now);
        if self.restarts.put(key, Former::Asked(asked))
            && let Some(ask) = ask
        {
            self.segment_to(now, &key.reversed(), &ask, source);
        }
    }

    /// Whether our host has begun a connection of this 5-tuple since we started, and it was passed:
    /// it is none that our former self held, even where the list came late.
    fn was_passed(&self, key: &FlowKey) -> bool {
        self.interceptor
            .lookup(key)
            .and_then(|found| self.interceptor.decision(found.flow))
            .is_some_and(|decision| {
                // The slot is the sequence number of the SYN that was passed.
                matches!(decision.verdict, Verdict::Pass(_)) && decision.slot != Decision::NO_SLOT
            })
    }

    /// The list is complete: other segments of unknown connections are none of ours.
    pub(super) fn held_ended(&mut self, peer: PeerIndex) {
        if let Some(until) = self.restarts.list_until.get_mut(usize::from(peer.0)) {
            *until = Time::ZERO;
        }
        self.change_admission(peer, |admission| admission.holding = false);
    }

    /// Asks hosts for their sequence numbers, and stops waiting for lists that do not come.
    pub(super) fn ask_hosts<S: FrameSource<Frame = F>>(&mut self, now: Time, source: &mut S) {
        for index in 0..self.restarts.list_until.len() {
            if let Some(until) = self.restarts.list_until.get(index).copied()
                && until <= now
                && until != Time::ZERO
                && let Ok(index) = u16::try_from(index)
            {
                self.held_ended(PeerIndex(index));
            }
        }
        if self.restarts.is_quiet() {
            return;
        }
        let mut due: Vec<(FlowKey, Segment)> = Vec::new();
        self.restarts.retain(|key, former| {
            let Former::Asked(asked) = former else { return true };
            if asked.at > now || due.len() >= ASKED_AT_ONCE {
                return true;
            }
            let ask = asked.next_ask(now);
            due.extend(ask.map(|ask| (*key, ask)));
            ask.is_some()
        });
        for (key, syn) in due {
            if self.place_of_key(&key).is_some() {
                // The host has begun anew.
                self.restarts.take(&key);
                continue;
            }
            self.segment_to(now, &key.reversed(), &syn, source);
        }
    }

    /// A segment of an unknown connection: true when its host was listed, and is reset now.
    pub(super) fn reset_listed<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        frame: &F,
        parsed: &Parsed,
        source: &mut S,
    ) -> bool {
        if !self.restarts.is_asked(&parsed.key) {
            return false;
        }
        let Some(segment) = self.segment_of(frame, parsed) else { return true };
        if parsed.is_syn() {
            // It begins anew.
            self.restarts.take(&parsed.key);
            return false;
        }
        self.count_segment(EdgeCounter::SegmentsTaken);
        if segment.flags.has(Flags::RST) {
            // It knows of no connection, or no longer.
            self.restarts.take(&parsed.key);
        } else if segment.flags.has(Flags::ACK) {
            if let Some(asked) = self.restarts.asked_mut(&parsed.key)
                && asked.expects.replace(segment.ack).is_none()
            {
                self.counters.increment(EdgeCounter::RestartResets);
                asked.count = u8::try_from(ASKS_MAX - (RESETS - 1)).unwrap_or(u8::MAX);
                asked.at = now + ASK_INTERVAL_NS;
            }
            self.answer_segment(frame, parsed, &exact_reset(segment.ack), source);
        }
        true
    }

    /// The far side ended a flow: its host here learns it the way the far host said it.
    pub(super) fn end_from_far<S: FrameSource<Frame = F>>(
        &mut self,
        now: Time,
        place: u32,
        cause: ResetCause,
        source: &mut S,
    ) {
        if !self.is_held(place) {
            self.counters.increment(EdgeCounter::FlowsReset);
            self.reset_host(now, place);
            return;
        }
        match cause {
            ResetCause::Silence => {
                if let Some(flow) = self.table.get_mut(place) {
                    flow.connection.awake(&mut self.connections).abandon();
                }
                self.forget(now, place, EdgeCounter::FlowsRefused);
            }
            ResetCause::Unreachable { code } => {
                self.tell_unreachable(place, code, source);
                if let Some(flow) = self.table.get_mut(place) {
                    flow.connection.awake(&mut self.connections).abandon();
                }
                self.forget(now, place, EdgeCounter::FlowsRefused);
            }
            _ => {
                self.counters.increment(EdgeCounter::FlowsRefused);
                self.reset_host(now, place);
            }
        }
    }
}

fn asking(ack: Option<u32>) -> Segment {
    let flags = if ack.is_some() { Flags::SYN.with(Flags::ACK) } else { Flags::SYN };
    Segment { flags, ack: ack.unwrap_or(0), window: 1, ..Segment::default() }
}

/// A reset that a host accepts: at the sequence number it expects (RFC 5961, section 3).
fn exact_reset(seq: u32) -> Segment {
    Segment { seq, flags: Flags::RST, ..Segment::default() }
}

fn held_message<F>(
    peer: PeerIndex,
    kind: MessageKind,
    key: Option<FlowKey>,
    sequence: u64,
) -> Outbound<F> {
    Outbound {
        peer,
        class: crate::packet_driver::Class(0),
        compress: false,
        slot: 0,
        header: MessageHeader { kind, flow: FlowId(0), key, sequence, status: 0 },
        body: OutboundBody::Empty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn key(number: u32) -> FlowKey {
        let host = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
        FlowKey::new(host.into(), [10, 1, 0, 1].into(), 1, 80, 6, 0)
    }

    #[test]
    fn a_long_list_is_told_in_portions_and_each_flow_once() {
        const FLOWS: u32 = 4_096;
        let (this, other) = (PeerIndex(0), PeerIndex(1));
        let mut restarts = Restarts::new(FLOWS as usize, 2, &FlowHasher::new([1, 2]));
        for number in 0..FLOWS {
            restarts.remember_lost(if number % 4 == 3 { other } else { this }, key(number));
        }
        restarts.sort_lost(Time::ZERO, this, true);
        restarts.begin_list(this, true);
        let (mut told, mut turns, mut end) = (HashSet::new(), 0, None);
        while end.is_none() {
            let mut looks = LISTED_PER_TURN;
            let mut portion = 0;
            while let Some((peer, key)) = restarts.next_listed(&mut looks) {
                assert_eq!(peer, this);
                assert!(told.insert(key));
                portion += 1;
            }
            assert!(portion <= LISTED_PER_TURN);
            if turns == 10 {
                // The table is full: some other is forgotten, whether it was told or not.
                restarts.remember_lost(other, key(FLOWS));
            }
            turns += 1;
            end = restarts.next_list_end();
        }
        assert!((FLOWS * 3 / 4 - 1..=FLOWS * 3 / 4).contains(&u32::try_from(told.len()).unwrap()));
        assert_eq!(end, Some((this, told.len() as u64)));
        assert!(turns >= told.len() / LISTED_PER_TURN && !restarts.is_listing());

        // One whose hosts have begun anew is not told.
        restarts.begin_list(this, true);
        let begun = *told.iter().next().unwrap();
        restarts.begun_anew(&begun);
        let mut others = HashSet::new();
        while let Some((_, key)) = restarts.next_listed(&mut 64) {
            others.insert(key);
        }
        assert!(!others.contains(&begun) && others.len() >= told.len() - 2);

        // A session that ends before its list does; a peer without any.
        restarts.begin_list(this, true);
        restarts.begin_list(this, false);
        assert!(!restarts.is_listing());
        assert_eq!(restarts.next_listed(&mut 10_000), None);
        let mut none = Restarts::new(4, 1, &FlowHasher::new([1, 2]));
        none.begin_list(this, true);
        assert_eq!(none.next_list_end(), Some((this, 0)));
    }
}
