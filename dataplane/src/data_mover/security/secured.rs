//! What a session does with its keys: asks for them, takes them, authenticates what arrives.
//!
//! In: replies of the key exchange, datagrams, the time. Out: requests to the key exchange,
//! datagrams of it, datagrams opened. Never: a change by anything that did not authenticate.
//!
//! A session and its keys are set up by one exchange of messages: the HELLO of each side travels
//! inside them. Both sides may begin at once: then there are two sets of keys for the one session,
//! and either will do.

use super::exchange::{Reply, Request};
use super::keyring::{Keyring, Keys, Opened};
use super::mac::{CookieValue, ReceiverKeys};
use super::noise::{Message, RawKeys};
use super::{Cipher, Outgoing, PublicKey};
use crate::data_mover::MoverCounter;
use crate::data_mover::handshake::{CANDIDATE_NS, Handshake, Own, PeerHello};
use crate::data_mover::received::Window;
use crate::data_mover::session::{Session, Sink};
use crate::data_mover::wire::{
    Cookie, DataView, DatagramHeader, Exchange, Hello, KEY_EPOCH_CLEAR, MAC_LEN, SessionId,
    SubfieldKind,
};
use crate::time::{SECOND_NS, Time};

/// Time between two attempts to renew keys, in nanoseconds, more or less a quarter.
const RENEWAL_INTERVAL_NS: u64 = SECOND_NS;
/// How long a cookie is used, in nanoseconds: as long as the peer takes it.
const COOKIE_NS: u64 = 60 * SECOND_NS;
/// Handshakes begun whose response is still expected.
const BEGUN: usize = 4;
/// How long a peer that broke the protocol is not spoken to, in nanoseconds.
const SHUN_NS: u64 = 5 * SECOND_NS;
/// Between two physical numbers that are left out there are at least this many, and less than
/// twice as many.
const SKIP_APART: u64 = 512;

/// What makes a session secure.
#[derive(Debug)]
pub(in crate::data_mover) struct Secured {
    to_peer: ReceiverKeys,
    /// Epochs of handshakes that we begin are odd, those of the peer's even; or the other way.
    odd: bool,
    /// Counts our handshakes.
    number: u8,
    /// Of the session that is up.
    keys: Keyring,
    /// Of the session being set up.
    candidates: Keyring,
    /// Which physical numbers were opened in the session that is up.
    replay: Window,
    begun: [u8; BEGUN],
    /// An initiation that is to be sent.
    ready: Option<(u8, Message)>,
    /// The first MAC of the latest initiation sent: a cookie is sealed for it.
    sent_mac: Option<[u8; MAC_LEN]>,
    cookie: Option<(CookieValue, Time)>,
    renew_not_before: Time,
    /// Incarnation, attempt and stamp of the latest initiation that was taken, and when.
    heard: Option<((u64, u32, u64), Time)>,
    shunned_until: Time,
    /// The physical number to be left out next.
    skip_at: u64,
}

/// What follows from a reply of the key exchange.
#[derive(Debug)]
pub(in crate::data_mover) enum Step {
    /// The key exchange is to do this.
    Ask(Request),
    /// This is to be sent.
    Send(Outgoing),
    /// Nothing.
    Done,
}

impl Secured {
    pub(in crate::data_mover) fn new(own: &PublicKey, peer: &PublicKey) -> Self {
        Secured {
            to_peer: ReceiverKeys::of(peer),
            odd: own > peer,
            number: 0,
            keys: Keyring::default(),
            candidates: Keyring::default(),
            replay: Window::new(),
            begun: [KEY_EPOCH_CLEAR; BEGUN],
            ready: None,
            sent_mac: None,
            cookie: None,
            renew_not_before: Time::ZERO,
            heard: None,
            shunned_until: Time::ZERO,
            skip_at: SKIP_APART,
        }
    }

    /// An epoch for a handshake that we begin: never that of keys in use, nor that of the clear.
    fn next_epoch(&mut self) -> u8 {
        loop {
            self.number = if self.number >= 127 { 1 } else { self.number + 1 };
            let epoch = 2 * self.number + u8::from(self.odd);
            // A few at most are in use.
            if !self.keys.is_live(epoch) && !self.candidates.is_live(epoch) {
                self.begun.rotate_right(1);
                if let Some(first) = self.begun.first_mut() {
                    *first = epoch;
                }
                return epoch;
            }
        }
    }

    /// The epoch of what is sent now; `None` when nothing may be.
    pub(in crate::data_mover) fn sealing(&self, now: Time) -> Option<u8> {
        self.keys.sealing(now)
    }

    /// The cipher of the newest keys.
    pub(in crate::data_mover) fn cipher(&self) -> Option<Cipher> {
        self.keys.newest().map(|keys| keys.cipher)
    }

    /// Seals a datagram whose first `clear_len` bytes stay readable.
    pub(in crate::data_mover) fn seal(
        &mut self,
        number: u64,
        datagram: &mut [u8],
        clear_len: usize,
    ) -> Option<()> {
        self.keys.seal(number, datagram, clear_len)
    }

    /// A session begins: its keys are those that its handshake brought.
    pub(in crate::data_mover) fn begin(
        &mut self,
        now: Time,
        keys: Keyring,
        peer: &PeerHello,
        random: u64,
    ) {
        self.keys = keys;
        self.replay.reset();
        self.renew_not_before = Time::ZERO;
        self.skip_at = SKIP_APART + random % SKIP_APART;
        let (incarnation, attempt) = (peer.incarnation, peer.attempt);
        let of_peer = |((i, a, _), _): &((u64, u32, u64), Time)| (*i, *a) == (incarnation, attempt);
        if !self.heard.as_ref().is_some_and(of_peer) {
            self.heard = Some(((incarnation, attempt, 0), now));
        }
    }

    /// The keys of the session that was being set up, which is about to begin.
    pub(in crate::data_mover) fn take_candidates(&mut self) -> Keyring {
        std::mem::take(&mut self.candidates)
    }

    /// The session is over, and with it all keys.
    pub(in crate::data_mover) fn end(&mut self) {
        self.keys.clear();
        self.candidates.clear();
        self.ready = None;
    }

    /// The session that was being set up is given up.
    pub(in crate::data_mover) fn drop_candidate(&mut self) {
        self.candidates.clear();
    }

    /// The peer broke the protocol: it is not spoken to until the time that this gives.
    pub(in crate::data_mover) fn shun(&mut self, now: Time) -> Time {
        self.shunned_until = now + SHUN_NS;
        self.shunned_until
    }

    pub(in crate::data_mover) fn is_shunned(&self, now: Time) -> bool {
        now < self.shunned_until
    }

    /// The highest physical number that was opened.
    pub(in crate::data_mover) fn highest(&self) -> u64 {
        self.replay.highest()
    }

    /// Notes a physical number that was opened: whether it is the highest so far.
    pub(in crate::data_mover) fn note(&mut self, number: u64) -> bool {
        let highest = number > self.replay.highest();
        self.replay.insert(number);
        highest
    }

    /// Whether `number` is one to be left out; the next one to be is chosen then. A peer that
    /// acknowledges it acknowledges what it has not received.
    pub(in crate::data_mover) fn skips(&mut self, number: u64, random: u64) -> bool {
        let skips = number >= self.skip_at;
        if skips {
            self.skip_at = number + SKIP_APART + random % SKIP_APART;
        }
        skips
    }

    /// Whether an initiation waits to be sent.
    pub(in crate::data_mover) fn is_ready(&self) -> bool {
        self.ready.is_some()
    }

    /// When something is to be done about keys.
    pub(in crate::data_mover) fn next_timeout(&self) -> Time {
        self.keys.renew_at(self.odd).max(self.renew_not_before).min(self.keys.expires())
    }

    /// Forgets old keys; whether the newest are too old, too.
    pub(in crate::data_mover) fn on_timeout(&mut self, now: Time) -> bool {
        self.keys.forget(now);
        self.candidates.forget(now);
        self.keys.expires() <= now
    }

    /// The initiation to be sent now, as a datagram in `out`; its length.
    fn transmit(&mut self, now: Time, own: SessionId, out: &mut [u8]) -> Option<usize> {
        let (epoch, message) = self.ready.take()?;
        let kind = SubfieldKind::Initiation;
        let exchange = Exchange { kind, epoch, session: own, message: message.bytes() };
        let len = exchange.emit(out)?;
        self.cookie.take_if(|(_, since)| now.since_ns(*since) >= COOKIE_NS);
        let cookie = self.cookie.as_ref().map(|(value, _)| value);
        self.sent_mac = self.to_peer.write(out.get_mut(..len)?, cookie);
        Some(len)
    }
}

impl Session {
    /// From now on all datagrams are sealed, and only those that authenticate are taken. To be
    /// called before the session is used.
    pub fn secure(&mut self, own: &PublicKey, peer: &PublicKey, aes: bool) {
        self.config.sealed = true;
        self.us.aes = aes;
        self.security = Some(Box::new(Secured::new(own, peer)));
    }

    /// Whether its datagrams are sealed.
    pub(in crate::data_mover) fn is_secure(&self) -> bool {
        self.security.is_some()
    }

    /// What the key exchange is to do next, if anything.
    pub(in crate::data_mover) fn key_request(&mut self, now: Time) -> Option<Request> {
        let security = self.security.as_mut()?;
        if self.closing.is_some() || security.is_shunned(now) {
            return None;
        }
        let peer = self.peer_index;
        if let Some(handshake) = &mut self.handshake
            && let Some(hello) = handshake.transmit(now, &self.us, &mut self.rng)
        {
            let epoch = security.next_epoch();
            return Some(Request::Initiate { peer, epoch, hello });
        }
        let established = self.established.as_ref()?;
        if security.keys.renew_at(security.odd) > now || security.renew_not_before > now {
            return None;
        }
        security.renew_not_before = now + self.rng.jittered_ns(RENEWAL_INTERVAL_NS);
        let stamps = (now.as_ns().max(1), 0);
        let hello = self.us.hello(established.own, Some(&established.peer), true, stamps);
        let hello = Hello { renewal: true, ..hello };
        let epoch = security.next_epoch();
        Some(Request::Initiate { peer, epoch, hello })
    }

    /// Whether the response to a handshake of this epoch is waited for.
    pub(in crate::data_mover) fn expects(&self, epoch: u8) -> bool {
        let begun = |security: &Secured| security.begun.contains(&epoch);
        epoch != KEY_EPOCH_CLEAR && self.security.as_deref().is_some_and(begun)
    }

    /// A cookie came: it goes with the next initiation. Whether it was for the latest one.
    pub(in crate::data_mover) fn take_cookie(&mut self, now: Time, cookie: &Cookie<'_>) -> bool {
        let Some(security) = &mut self.security else { return false };
        let Some(sent_mac) = security.sent_mac else { return false };
        let Some(value) = security.to_peer.open_cookie(cookie, &sent_mac) else { return false };
        security.sent_mac = None;
        security.cookie = Some((value, now));
        true
    }

    /// The initiation to be sent now.
    pub(in crate::data_mover) fn transmit_initiation(
        &mut self,
        now: Time,
        out: &mut [u8],
    ) -> Option<usize> {
        let own = self.handshake.as_ref().map(|handshake| handshake.own);
        let own = own.or(self.established.as_ref().map(|established| established.own))?;
        self.security.as_mut()?.transmit(now, own.session, out)
    }

    /// The key exchange has said something.
    pub(in crate::data_mover) fn on_reply(
        &mut self,
        now: Time,
        reply: Reply,
        events: &mut impl Sink,
    ) -> Step {
        let Some(security) = &mut self.security else { return Step::Done };
        match reply {
            Reply::Initiation { epoch, message, .. } => {
                if self.closing.is_none() {
                    security.ready = Some((epoch, message));
                }
                Step::Done
            }
            Reply::Heard { peer, epoch, source, hello } => {
                self.counters.increment(MoverCounter::DatagramsIn);
                let outcome = self.hear(now, &hello);
                let counter = outcome.as_ref().err().copied();
                self.counters.increment(counter.unwrap_or(MoverCounter::DatagramsTaken));
                let Ok((own, known)) = outcome else { return Step::Done };
                let stamps = (now.as_ns().max(1), hello.stamp);
                let answer = self.us.hello(own, Some(&known), false, stamps);
                let (own, heard) = (own.session, hello);
                Step::Ask(Request::Respond { peer, epoch, source, own, heard, hello: answer })
            }
            Reply::Answer { epoch, source, own, heard, message, keys, .. } => {
                self.answer(now, epoch, own, &heard, &keys);
                let kind = SubfieldKind::Response;
                let (session, message) = (heard.session, message.bytes());
                let Some(security) = &self.security else { return Step::Done };
                let written = Outgoing::written(source, |out| {
                    let len = Exchange { kind, epoch, session, message }.emit(out)?;
                    security.to_peer.write(out.get_mut(..len)?, None)?;
                    Some(len)
                });
                self.counters.increment(MoverCounter::HellosOut);
                written.map_or(Step::Done, Step::Send)
            }
            Reply::Ended { epoch, hello, keys, .. } => {
                self.counters.increment(MoverCounter::DatagramsIn);
                let outcome = self.ended(now, epoch, &hello, &keys, events);
                self.counters.increment(outcome);
                Step::Done
            }
        }
    }

    /// The peer has begun a handshake: how we are called in the session that it is for, and what
    /// we know of the peer; or why it is not answered.
    fn hear(&mut self, now: Time, hello: &Hello) -> Result<(Own, PeerHello), MoverCounter> {
        let of_session = self.is_of_session(hello);
        let Some(security) = &mut self.security else { return Err(MoverCounter::DropSession) };
        if self.closing.is_some() {
            return Err(MoverCounter::DropSession);
        }
        if security.is_shunned(now) {
            return Err(MoverCounter::DropShunned);
        }
        if !of_session && let Err(mismatch) = self.us.check(hello) {
            if self.established.is_none() {
                self.mismatch = Some(mismatch);
            }
            return Err(MoverCounter::DropMismatch);
        }
        let heard = PeerHello::of(hello);
        let order = (hello.incarnation, hello.attempt, hello.stamp);
        let same = |peer: &PeerHello| {
            (peer.session, peer.incarnation) == (heard.session, heard.incarnation)
        };
        if let Some(established) = self.established.as_ref().filter(|e| same(&e.peer)) {
            if security.heard.is_some_and(|(last, _)| order <= last) {
                return Err(MoverCounter::DropStaleHello);
            }
            security.heard = Some((order, now));
            return Ok((established.own, established.peer));
        }
        if hello.renewal {
            return Err(MoverCounter::DropSession);
        }
        let known = self.established.as_ref().map(|e| (e.peer.incarnation, e.peer.attempt));
        let older = known.is_some_and(|known| (heard.incarnation, heard.attempt) <= known);
        // What was recorded long ago may be older or newer than the truth: a later one of a clock
        // that was set back is taken when the former brought nothing.
        let repeated = security
            .heard
            .is_some_and(|(last, at)| order <= last && now.since_ns(at) < CANDIDATE_NS);
        if older || repeated {
            if known.is_some_and(|(incarnation, _)| heard.incarnation < incarnation) {
                self.twin.note(hello.incarnation, hello.stamp);
            }
            return Err(MoverCounter::DropStaleHello);
        }
        security.heard = Some((order, now));
        if self.handshake.is_none() {
            let own = self.next_own();
            self.handshake = Some(Handshake::candidate(own, now));
        }
        let Some(handshake) = &mut self.handshake else { return Err(MoverCounter::DropSession) };
        self.mismatch = None;
        Ok((handshake.own, heard))
    }

    /// Whether it is about new keys for the session that is up. That one was agreed on when it
    /// began, and goes on whatever the ends were told since.
    fn is_of_session(&self, hello: &Hello) -> bool {
        let Some(established) = self.established else { return false };
        let of_it = (established.peer.session, established.peer.incarnation);
        of_it == (hello.session, hello.incarnation)
    }

    /// We have answered a handshake: its keys wait for a first datagram.
    fn answer(&mut self, now: Time, epoch: u8, own: SessionId, heard: &Hello, raw: &RawKeys) {
        let cipher = Cipher::agreed(self.us.aes, heard.aes);
        let keys = Keys::new(now, epoch, cipher, raw, PeerHello::of(heard));
        let (Some(keys), Some(security)) = (keys, &mut self.security) else { return };
        if self.established.is_some_and(|established| established.own.session == own) {
            security.keys.wait(keys);
        } else if self.handshake.as_ref().is_some_and(|handshake| handshake.own.session == own) {
            security.candidates.wait(keys);
        }
    }

    /// A handshake of ours has ended: the session begins, or has new keys.
    fn ended(
        &mut self,
        now: Time,
        epoch: u8,
        hello: &Hello,
        raw: &RawKeys,
        events: &mut impl Sink,
    ) -> MoverCounter {
        let of_session = self.is_of_session(hello);
        let Some(security) = &mut self.security else { return MoverCounter::DropSession };
        if self.closing.is_some() {
            return MoverCounter::DropSession;
        }
        if !of_session && let Err(mismatch) = self.us.check(hello) {
            if self.established.is_none() {
                self.mismatch = Some(mismatch);
            }
            return MoverCounter::DropMismatch;
        }
        let heard = PeerHello::of(hello);
        let cipher = Cipher::agreed(self.us.aes, hello.aes);
        let Some(keys) = Keys::new(now, epoch, cipher, raw, heard) else {
            return MoverCounter::DropSession;
        };
        let echo = (hello.echo_session, hello.echo_incarnation);
        let of_us = |own: &Own| echo == (own.session, self.us.incarnation);
        let renewed = self.established.as_ref().filter(|established| {
            let peer = (established.peer.session, established.peer.incarnation);
            of_us(&established.own) && peer == (heard.session, heard.incarnation)
        });
        if renewed.is_some() {
            security.keys.begin(now, keys);
            self.counters.increment(MoverCounter::KeysRenewed);
            return MoverCounter::DatagramsTaken;
        }
        let Some(handshake) = self.handshake.as_mut().filter(|h| of_us(&h.own)) else {
            return MoverCounter::DropStaleHello;
        };
        handshake.answered(now, hello);
        security.candidates.begin(now, keys);
        self.establish(now, events);
        MoverCounter::DatagramsTaken
    }

    /// Opens a datagram of a session in place, whose number is near this one: its length without the
    /// tag, or why it is dropped. Nothing but counters changes unless it authenticates.
    pub(in crate::data_mover) fn authenticate(
        &mut self,
        now: Time,
        header: &DatagramHeader,
        near: u64,
        datagram: &mut [u8],
    ) -> Result<usize, MoverCounter> {
        let Some(security) = &mut self.security else {
            let clear = header.key_epoch == KEY_EPOCH_CLEAR;
            return if clear { Ok(datagram.len()) } else { Err(MoverCounter::DropEpoch) };
        };
        if header.key_epoch == KEY_EPOCH_CLEAR {
            return Err(MoverCounter::DropClear);
        }
        let clear_len = header.clear_len();
        let field = datagram.get(header.kind.header_len()..clear_len).unwrap_or(&[]);
        let number = DataView::physical(header.kind, field, near)
            .map_err(|_| MoverCounter::DropMalformed)?;
        let is_up = self.established.is_some_and(|e| e.own.session == header.session);
        let handshake = self.handshake.as_mut().filter(|h| h.own.session == header.session);
        let ring = match (is_up, &handshake) {
            (true, _) if !security.replay.is_new(number) => {
                return Err(MoverCounter::DropDuplicate);
            }
            (true, _) => &mut security.keys,
            (false, Some(_)) => &mut security.candidates,
            (false, None) => return Err(MoverCounter::DropSession),
        };
        match ring.open(now, header.key_epoch, number, datagram, clear_len) {
            Opened::Forged => Err(MoverCounter::DropForged),
            Opened::NoKeys => Err(MoverCounter::DropEpoch),
            Opened::Whole(len) => {
                if let (false, Some(handshake), Some(keys)) = (is_up, handshake, ring.newest()) {
                    // The peer has these keys: the session is with who it said to be in them.
                    handshake.peer = Some(keys.peer);
                }
                Ok(len)
            }
        }
    }
}
