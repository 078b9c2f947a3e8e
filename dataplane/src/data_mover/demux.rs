//! Which session a datagram belongs to; those of key exchanges go where keys are made.
//!
//! In: the payload and source address of a UDP datagram, what the key exchange says. Out: the
//! peer, datagrams of key exchanges. Never: an answer to a stranger.
//!
//! A peer in the clear is where the configuration says, and nowhere else. One that encrypts may
//! come from anywhere: its keys say who it is.

use std::net::SocketAddr;

use super::MoverCounter;
use super::security::{
    Entropy, Guard, KeyExchange, Outgoing, PeerKeys, PrivateKey, Reply, Step, open,
};
use super::session::{Session, Sink};
use super::wire::{
    CloseReason, Cookie, DatagramHeader, DatagramKind, Malformed, SessionId, SubfieldKind,
    Subfields,
};
use crate::counters::Counters;
use crate::frame::MacAddr;
use crate::packet_driver::PeerIndex;
use crate::time::Time;

crate::counters! {
    /// Counters of datagrams that reached no session.
    pub enum DemuxCounter, "demux" {
        DatagramsIn: In, "datagrams_in", "datagrams", "Datagrams that came to our UDP port.";
        DatagramsRouted: Out, "datagrams_routed", "datagrams", "Datagrams given to a session.";
        DatagramsExchange: Out, "datagrams_exchange", "datagrams", "Datagrams of handshakes given to the key exchange.";
        CookiesTaken: Out, "cookies_taken", "datagrams", "Cookies that a peer under load asked us to use.";
        DropMalformed: Drop, "drop_malformed", "datagrams", "Not a datagram of this protocol.";
        DropVersion: Drop, "drop_version", "datagrams", "Another version of the wire format.";
        DropStranger: Drop, "drop_stranger", "datagrams", "From an address that is no peer's endpoint.";
        DropSession: Drop, "drop_session", "datagrams", "Of a session that is over, or never was.";
        DropForged: Drop, "drop_forged", "datagrams", "Handshakes and cookies not made for our public key.";
        DropCookie: Drop, "drop_cookie", "datagrams", "Handshakes answered with a cookie (unless too many cookies wait), because there are many: a peer comes back with it.";
        DropLimited: Drop, "drop_limited", "datagrams", "Handshakes of a source that sends many of them.";
        DropBusy: Drop, "drop_busy", "datagrams", "Handshakes while the key exchange is behind.";
    }
}

/// Where a datagram came from, and so how an answer gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its sender.
    pub remote: SocketAddr,
    /// Our address that it was sent to.
    pub local: SocketAddr,
    /// The station that its frame came from.
    pub station: MacAddr,
}

/// The place of a peer.
#[derive(Debug, Default)]
struct Place {
    /// Where it is, and its session; `None` while nobody has the place.
    taken: Option<(SocketAddr, Session)>,
    /// How we were called by who had it before.
    former: Option<SessionId>,
}

impl Place {
    fn endpoint(&self) -> Option<SocketAddr> {
        self.taken.as_ref().map(|(endpoint, _)| *endpoint)
    }

    fn session(&self) -> Option<&Session> {
        self.taken.as_ref().map(|(_, session)| session)
    }

    fn session_mut(&mut self) -> Option<&mut Session> {
        self.taken.as_mut().map(|(_, session)| session)
    }
}

/// The sessions of all peers, by [`PeerIndex`].
#[derive(Debug, Default)]
pub struct Sessions {
    list: Vec<Place>,
    /// `None` when no peer encrypts.
    guard: Option<Guard>,
    counters: Counters<DemuxCounter>,
}

impl Sessions {
    /// Sessions with the endpoints of their peers, in the order of their [`PeerIndex`].
    #[must_use]
    pub fn new(list: Vec<(SocketAddr, Session)>) -> Self {
        let place = |taken| Place { taken: Some(taken), former: None };
        let list = list.into_iter().map(place).collect();
        Sessions { list, guard: None, counters: Counters::default() }
    }

    /// The same with so many places at least, for peers that may come.
    #[must_use]
    pub fn with_places(mut self, places: usize) -> Self {
        self.list.resize_with(places.max(self.list.len()), Place::default);
        self
    }

    /// Ends the session with a peer that leaves; it is told by the next datagrams.
    pub fn close(&mut self, now: Time, peer: PeerIndex, reason: CloseReason) {
        let place = self.list.get_mut(usize::from(peer.0));
        if let Some(Place { taken: Some((_, session)), former }) = place {
            *former = session.name().or(*former);
            session.close(now, reason);
        }
    }

    /// Takes the session of a peer out, whose place is free then.
    pub fn remove(&mut self, peer: PeerIndex) -> Option<Session> {
        self.list.get_mut(usize::from(peer.0))?.taken.take().map(|(_, session)| session)
    }

    /// A peer comes to a place that is free. Its session is not called as that of who had the place
    /// before: what is still on its way to that one finds nobody.
    pub fn insert(&mut self, peer: PeerIndex, endpoint: SocketAddr, mut session: Session) {
        if let Some(place) = self.list.get_mut(usize::from(peer.0)) {
            session.avoid(place.former);
            place.taken = Some((endpoint, session));
        }
    }

    /// How many peers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.iter().filter(|place| place.taken.is_some()).count()
    }

    /// Whether nothing that the key exchange has said waits to be taken.
    #[must_use]
    pub fn has_heard_all(&self) -> bool {
        self.guard.as_ref().is_none_or(|guard| !guard.has_reply())
    }

    /// From now on the sessions of peers that have keys are encrypted; the key exchange is to be
    /// turned on another thread. `secret` is random. To be called before the sessions are used.
    pub fn secure(
        &mut self,
        own: PrivateKey,
        peers: Vec<Option<PeerKeys>>,
        aes: bool,
        secret: [u64; 4],
        entropy: Entropy,
    ) -> KeyExchange {
        let public = own.public();
        for (place, keys) in self.list.iter_mut().zip(&peers) {
            if let (Some(session), Some(keys)) = (place.session_mut(), keys) {
                session.secure(&public, &keys.public, aes);
            }
        }
        let (guard, exchange) = open(own, peers, secret, entropy);
        self.guard = Some(guard);
        exchange
    }

    /// The counters: a handle for the control thread.
    #[must_use]
    pub fn counters(&self) -> Counters<DemuxCounter> {
        self.counters.clone()
    }

    /// The session of a peer.
    #[must_use]
    pub fn get(&self, peer: PeerIndex) -> Option<&Session> {
        self.list.get(usize::from(peer.0))?.session()
    }

    /// The session of a peer.
    pub fn get_mut(&mut self, peer: PeerIndex) -> Option<&mut Session> {
        self.list.get_mut(usize::from(peer.0))?.session_mut()
    }

    /// The endpoint of a peer.
    #[must_use]
    pub fn endpoint(&self, peer: PeerIndex) -> Option<SocketAddr> {
        self.list.get(usize::from(peer.0))?.endpoint()
    }

    /// All sessions with the indices of their peers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (PeerIndex, &mut Session)> {
        let places = (0..).map(PeerIndex).zip(&mut self.list);
        places.filter_map(|(peer, place)| Some((peer, place.session_mut()?)))
    }

    /// The peer and the session that a datagram from `source` is for; `None`, and counted, when
    /// it is for none, or belongs to a key exchange.
    pub fn route(
        &mut self,
        now: Time,
        source: &Source,
        datagram: &[u8],
    ) -> Option<(PeerIndex, &mut Session)> {
        self.counters.increment(DemuxCounter::DatagramsIn);
        match self.find(now, source, datagram) {
            Ok(index) => {
                self.counters.increment(DemuxCounter::DatagramsRouted);
                let peer = PeerIndex(u16::try_from(index).ok()?);
                Some((peer, self.get_mut(peer)?))
            }
            Err(counter) => {
                self.counters.increment(counter);
                None
            }
        }
    }

    fn find(&mut self, now: Time, source: &Source, datagram: &[u8]) -> Result<usize, DemuxCounter> {
        let (header, field) = match DatagramHeader::parse(datagram) {
            Ok((header, field, _)) => (header, field),
            Err(Malformed::Version) => {
                // Who it may be from says so.
                return self.place_of(source.remote).ok_or(DemuxCounter::DropVersion);
            }
            Err(_) => return Err(DemuxCounter::DropMalformed),
        };
        let index = usize::from(header.session.peer());
        if header.kind != DatagramKind::Hello {
            return match self.list.get(index).and_then(|place| place.taken.as_ref()) {
                Some((endpoint, session)) if !session.is_secure() && *endpoint != source.remote => {
                    Err(DemuxCounter::DropStranger)
                }
                Some((_, session)) if session.answers_to(header.session) => Ok(index),
                _ => Err(DemuxCounter::DropSession),
            };
        }
        let kind = match Subfields::new(field).next() {
            Some(Ok(subfield)) => subfield.kind,
            _ => return Err(DemuxCounter::DropMalformed),
        };
        let endpoint = self.place_of(source.remote);
        let in_the_clear = |at: &usize| {
            let session = self.list.get(*at).and_then(Place::session);
            session.is_some_and(|session| !session.is_secure())
        };
        if kind == SubfieldKind::Hello || self.guard.is_none() {
            return endpoint.ok_or(DemuxCounter::DropStranger);
        }
        if let Some(index) = endpoint.filter(in_the_clear) {
            // One of the two configurations is wrong: its session counts it.
            return Ok(index);
        }
        let Some(guard) = &mut self.guard else { return Err(DemuxCounter::DropStranger) };
        let session = self.list.get_mut(index).and_then(Place::session_mut);
        Err(exchange(guard, session, now, (&header, kind), source, datagram))
    }

    /// The place of the peer that is here.
    fn place_of(&self, remote: SocketAddr) -> Option<usize> {
        self.list.iter().position(|place| place.endpoint() == Some(remote))
    }

    /// Takes what the key exchange has said; to be given to [`Sessions::on_reply`].
    pub(crate) fn reply(&mut self) -> Option<Reply> {
        self.guard.as_mut()?.reply()
    }

    /// The key exchange has said something to the session of a peer.
    pub(crate) fn on_reply(&mut self, now: Time, reply: Reply, events: &mut impl Sink) {
        let session = self.list.get_mut(usize::from(reply.peer().0)).and_then(Place::session_mut);
        let (Some(session), Some(guard)) = (session, &mut self.guard) else { return };
        settle(guard, session, now, reply, events);
    }

    /// Asks the key exchange for what the sessions need; whether there was anything.
    pub fn ask(&mut self, now: Time) -> bool {
        let Some(guard) = &mut self.guard else { return false };
        let mut busy = false;
        for session in self.list.iter_mut().filter_map(Place::session_mut) {
            if guard.has_room()
                && let Some(request) = session.key_request(now)
            {
                guard.ask(request);
                busy = true;
            }
        }
        busy
    }

    /// The next datagram of a key exchange that is to be sent to where its cause came from.
    pub fn outgoing(&mut self) -> Option<Outgoing> {
        self.guard.as_mut()?.outgoing()
    }

    /// Whether there is one.
    #[must_use]
    pub fn has_outgoing(&self) -> bool {
        self.guard.as_ref().is_some_and(Guard::has_outgoing)
    }

    /// A datagram that is authentic and newer than all before came from here: this is where the
    /// peer is. Whether that is news.
    pub fn found(&mut self, peer: PeerIndex, remote: SocketAddr) -> bool {
        let place = self.list.get_mut(usize::from(peer.0));
        let Some((endpoint, session)) = place.and_then(|place| place.taken.as_mut()) else {
            return false;
        };
        let news = *endpoint != remote;
        if news {
            *endpoint = remote;
            session.counters.increment(MoverCounter::AddressChanges);
            session.path_changed();
        }
        news
    }
}

/// A datagram of a key exchange came, that names this session; under which name it is counted.
pub(super) fn exchange(
    guard: &mut Guard,
    session: Option<&mut Session>,
    now: Time,
    (header, kind): (&DatagramHeader, SubfieldKind),
    source: &Source,
    datagram: &[u8],
) -> DemuxCounter {
    if kind == SubfieldKind::Initiation {
        return guard.initiation(now, source, datagram);
    }
    let Some(session) = session.filter(|s| s.is_secure() && s.answers_to(header.session)) else {
        return DemuxCounter::DropSession;
    };
    match kind {
        SubfieldKind::Response if session.expects(header.key_epoch) => {
            guard.response(now, session.peer_index, datagram)
        }
        SubfieldKind::Response => DemuxCounter::DropSession,
        SubfieldKind::Cookie => match Cookie::parse(datagram) {
            Ok(cookie) if session.take_cookie(now, &cookie) => DemuxCounter::CookiesTaken,
            Ok(_) => DemuxCounter::DropForged,
            Err(_) => DemuxCounter::DropMalformed,
        },
        _ => DemuxCounter::DropMalformed,
    }
}

/// Gives a session what the key exchange said, and passes on what follows.
pub(super) fn settle(
    guard: &mut Guard,
    session: &mut Session,
    now: Time,
    reply: Reply,
    events: &mut impl Sink,
) {
    match session.on_reply(now, reply, events) {
        Step::Ask(request) => guard.ask(request),
        Step::Send(outgoing) => guard.post(outgoing),
        Step::Done => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::HEADER_LEN;
    use super::super::{Incarnation, PeerConfig};
    use super::*;
    use crate::packet_driver::{BufferPool, PoolClass};
    use crate::time::Time;

    fn sessions(first: u16, incarnation: u64) -> Sessions {
        let pool = BufferPool::new(&[PoolClass { size: 2_048, count: 8, reserve: 0 }]);
        let session = |i: u16| {
            let config = PeerConfig::new(PeerIndex(i), 1_000_000);
            let endpoint = SocketAddr::from(([10, 0, 0, u8::try_from(first + i).unwrap()], 4980));
            (endpoint, Session::new(config, Incarnation(incarnation), pool.clone(), u64::from(i)))
        };
        Sessions::new((0..3).map(session).collect())
    }

    fn from(remote: SocketAddr) -> Source {
        let local = SocketAddr::from(([10, 0, 0, 99], 4980));
        Source { remote, local, station: MacAddr([2; 6]) }
    }

    struct Nothing;

    impl super::super::Sink for Nothing {
        fn delivered(
            &mut self,
            _: crate::packet_driver::BufferSlice,
            _: crate::packet_driver::BufferKind,
        ) {
        }
        fn up(&mut self, _: super::super::Up) {}
        fn down(&mut self, _: super::super::Down) {}
    }

    #[test]
    fn hello_by_address_and_session_by_id() {
        let (mut ours, mut theirs) = (sessions(0, 1), sessions(0, 2));
        let source = ours.endpoint(PeerIndex(2)).unwrap();
        let mut out = [0; 2_048];
        let mut routed = 0;
        for ms in 0..20 {
            let now = Time::from_ms(ms);
            while let Some(len) =
                theirs.get_mut(PeerIndex(2)).and_then(|s| s.transmit(now, &mut out))
            {
                let (peer, session) = ours.route(now, &from(source), &out[..len]).unwrap();
                assert_eq!(peer, PeerIndex(2));
                session.receive(now, &mut out[..len], &mut Nothing);
                routed += 1;
                assert!(ours.route(now, &from(([9, 9, 9, 9], 4980).into()), &out[..len]).is_none());
            }
            while let Some(len) = ours.get_mut(PeerIndex(2)).and_then(|s| s.transmit(now, &mut out))
            {
                theirs.get_mut(PeerIndex(2)).unwrap().receive(now, &mut out[..len], &mut Nothing);
            }
        }
        assert!(routed >= 3, "{routed}");
        let counters = ours.counters();
        assert_eq!(counters.get(DemuxCounter::DatagramsRouted), routed);
        assert_eq!(counters.get(DemuxCounter::DropStranger), routed);
        // A session that is none, from the right address; then bytes that are nothing.
        out[..8].copy_from_slice(&[0x32, 0, 0, 0, 1, 1, 4, 2]);
        assert!(ours.route(Time::ZERO, &from(source), &out[..8]).is_none());
        assert!(ours.route(Time::ZERO, &from(source), &out[..7]).is_none());
        let elsewhere = from(([9, 9, 9, 9], 4980).into());
        assert!(ours.route(Time::ZERO, &elsewhere, &[0x42; 8]).is_none());
        assert_eq!(counters.get(DemuxCounter::DropSession), 1);
        assert_eq!(counters.get(DemuxCounter::DropMalformed), 1);
        assert_eq!(counters.get(DemuxCounter::DropVersion), 1);
        // Whoever may be meant says so, unless there is a session with it.
        for (peer, expected) in [(PeerIndex(1), Some(4)), (PeerIndex(2), None)] {
            let source = from(ours.endpoint(peer).unwrap());
            let (to, session) = ours.route(Time::ZERO, &source, &[0x42; 8]).unwrap();
            assert_eq!(to, peer);
            assert!(!session.receive(Time::ZERO, &mut [0x42; 8], &mut Nothing));
            assert_eq!(session.report().foreign_version, expected);
            assert_eq!(session.counters().get(MoverCounter::DropVersion), 1);
        }
    }

    #[test]
    fn who_comes_is_not_called_as_who_had_the_place() {
        let (mut ours, mut same) = (sessions(0, 1), sessions(0, 1));
        let (peer, now) = (PeerIndex(2), Time::ZERO);
        let endpoint = ours.endpoint(peer).unwrap();
        let former = ours.get(peer).unwrap().name().unwrap();
        ours.close(now, peer, CloseReason::Reconfigured);
        assert!(ours.remove(peer).is_some() && ours.remove(peer).is_none());
        assert_eq!((ours.count(), ours.endpoint(peer)), (2, None));
        let mut datagram = [0; HEADER_LEN];
        let kind = DatagramKind::Session;
        let header = DatagramHeader { kind, key_epoch: 0, field_len: 0, session: former };
        header.emit(&mut datagram).unwrap();
        assert!(ours.route(now, &from(endpoint), &datagram).is_none());
        // The same randomness makes the same name.
        let twin = same.remove(peer).unwrap();
        assert_eq!(twin.name(), Some(former));
        ours.insert(peer, endpoint, twin);
        let name = ours.get(peer).unwrap().name().unwrap();
        assert!(name != former && name.peer() == former.peer());
        assert!(ours.route(now, &from(endpoint), &datagram).is_none());
        assert_eq!(ours.counters().get(DemuxCounter::DatagramsRouted), 0);
        assert_eq!(ours.counters().get(DemuxCounter::DropSession), 2);
    }

    /// Two appliances that encrypt, one peer each, and their key exchanges.
    fn secured() -> [(Sessions, KeyExchange); 2] {
        let key = |side: u8| PrivateKey::new([side + 1; 32]);
        [0, 1].map(|side| {
            let mut sessions = sessions(u16::from(side) * 10, u64::from(side) + 1);
            let peers = vec![Some(PeerKeys { public: key(1 - side).public(), psk: None }), None];
            let entropy = move |bytes: &mut [u8]| {
                bytes.fill(side + 7);
                true
            };
            let exchange = sessions.secure(key(side), peers, true, [9; 4], Box::new(entropy));
            (sessions, exchange)
        })
    }

    /// Everything that one end sends now: to its peer, or back to where something came from.
    fn sent(end: &mut (Sessions, KeyExchange), now: Time) -> Vec<(SocketAddr, Vec<u8>)> {
        let (sessions, exchange) = end;
        let mut all = Vec::new();
        loop {
            while let Some(reply) = sessions.reply() {
                sessions.on_reply(now, reply, &mut Nothing);
            }
            sessions.ask(now);
            while let Some(outgoing) = sessions.outgoing() {
                all.push((outgoing.to.remote, outgoing.bytes().to_vec()));
            }
            let to = sessions.endpoint(PeerIndex(0)).unwrap();
            let mut out = [0; 2_048];
            let session = sessions.get_mut(PeerIndex(0)).unwrap();
            while let Some(len) = session.transmit(now, &mut out) {
                all.push((to, out[..len].to_vec()));
            }
            if !exchange.turn() {
                return all;
            }
        }
    }

    /// A datagram arrives, as the stage treats it.
    fn arrives(sessions: &mut Sessions, now: Time, remote: SocketAddr, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        if let Some((peer, session)) = sessions.route(now, &from(remote), &bytes)
            && session.receive(now, &mut bytes, &mut Nothing)
        {
            sessions.found(peer, remote);
        }
    }

    #[test]
    fn a_peer_is_followed_by_authentic_datagrams_only_and_only_by_the_newest() {
        let [mut here, mut there] = secured();
        let address = |last: u8| SocketAddr::from(([10, 0, 1, last], 4980));
        // Not where it is configured, from the beginning: a translator on the way.
        let (at_here, mut at_there) = (address(1), address(20));
        let mut delayed = None;
        for ms in 0..6_000 {
            let now = Time::from_ms(ms);
            if ms == 3_000 {
                at_there = address(21);
            }
            for (to, bytes) in sent(&mut here, now) {
                // Only what is sent to where it is reaches it.
                if to == at_there {
                    arrives(&mut there.0, now, at_here, &bytes);
                }
            }
            for (_, bytes) in sent(&mut there, now) {
                if ms > 2_000 && delayed.is_none() {
                    delayed = Some(bytes);
                    continue;
                }
                arrives(&mut here.0, now, at_there, &bytes);
                // Somebody sends the same from elsewhere: whole, and damaged.
                let mut forged = bytes.clone();
                arrives(&mut here.0, now, address(66), &bytes);
                forged[9] ^= 1;
                arrives(&mut here.0, now, address(67), &forged);
            }
        }
        let endpoint = |end: &(Sessions, KeyExchange)| end.0.endpoint(PeerIndex(0)).unwrap();
        assert_eq!(endpoint(&here), address(21));
        let session = |end: &(Sessions, KeyExchange)| end.0.get(PeerIndex(0)).unwrap().counters();
        assert_eq!(session(&here).get(MoverCounter::AddressChanges), 2);
        assert_eq!(session(&here).get(MoverCounter::SessionsUp), 1);
        assert_eq!(session(&there).get(MoverCounter::SessionsLost), 0);
        // What was held back for seconds is authentic and new, but not the newest.
        let taken = session(&here).get(MoverCounter::DatagramsTaken);
        arrives(&mut here.0, Time::from_ms(6_000), address(68), &delayed.unwrap());
        assert_eq!(session(&here).get(MoverCounter::DatagramsTaken), taken + 1);
        assert_eq!(endpoint(&here), address(21));
    }
}
