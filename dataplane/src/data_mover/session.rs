//! One session with one peer: its states, and what its owner asks of it.
//!
//! In: buffers to send, datagrams that arrived, the time. Out: datagrams to send, buffers that
//! arrived, events, when to be called next. Never: a socket, a clock, an address.

use super::MoverCounter;
use super::agreement::Agreement;
use super::config::PeerConfig;
use super::congestion::{Congestion, Mark};
use super::handshake::{Handshake, Identity, Mismatch, Own, PeerHello};
use super::path_mtu::PathMtuState;
use super::receiver::Receiver;
use super::rng::Rng;
use super::security::{Cipher, Secured};
use super::sender::{Sender, Violation};
use super::transmit::Scratch;
use super::twin::Twin;
use super::wire::{CloseReason, SessionId};
use crate::counters::Counters;
use crate::packet_driver::{BufferKind, BufferPool, BufferSlice, Lane, OutboundBuffer, PeerIndex};
use crate::time::{MILLISECOND_NS, Time};

/// Times that the end of a session is told.
const CLOSE_REPEATS: u8 = 3;
/// Nanoseconds between them.
const CLOSE_INTERVAL_NS: u64 = 20 * MILLISECOND_NS;

/// Which start of a TPO: larger for a later one, such as the time of the start in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Incarnation(pub u64);

/// A session is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Up {
    /// The peer's incarnation.
    pub incarnation: Incarnation,
    /// Whether the peer has begun anew since the last session: nothing that it held is left.
    pub restarted: bool,
    /// Whether our incarnation is the larger: who sets the opener bit of flow ids.
    pub larger: bool,
    /// Whether the peer takes buffers that Zstandard made smaller.
    pub zstd: bool,
}

/// Why a session is over. What was on its way is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// Nothing was heard from the peer for the configured time.
    Dead,
    /// The peer has begun anew, as a new process or after it lost us.
    Replaced,
    /// The peer has closed it.
    Closed(CloseReason),
    /// The peer, whom nobody can impersonate, broke the protocol.
    Broken(Violation),
    /// Its keys could not be renewed in time.
    Expired,
}

/// Where a session puts what arrives.
pub trait Sink {
    /// A buffer is complete.
    fn delivered(&mut self, buffer: BufferSlice, kind: BufferKind);
    /// The session is up.
    fn up(&mut self, up: Up);
    /// The session is over; the next one is being set up, unless we closed it.
    fn down(&mut self, reason: Down);
}

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The peer does not answer yet.
    Connecting,
    /// The peer answers, but no session is possible with it.
    Mismatch(Mismatch),
    /// Buffers can be sent.
    Up(Up),
    /// Closed by us, for good.
    Closed,
}

/// How a session fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it is doing.
    pub state: State,
    /// Rate in bits per second at which it sends now; counts IP bytes.
    pub rate_bps: u64,
    /// What the path is taken to carry, in bits per second of IP bytes.
    pub capacity_bps: u64,
    /// Rate at which buffers have come from the peer of late, in bits per second.
    pub delivery_bps: u64,
    /// What the congestion controller is doing.
    pub phase: Mark,
    /// Share of the datagrams, of a million, that the path loses whatever the rate.
    pub random_loss_ppm: u64,
    /// Smoothed round trip in nanoseconds.
    pub rtt_ns: u64,
    /// Shortest round trip of late in nanoseconds.
    pub rtt_min_ns: u64,
    /// Variation of the round trip in nanoseconds.
    pub rtt_variation_ns: u64,
    /// IP bytes on their way.
    pub in_flight_bytes: u64,
    /// Bytes of buffers accepted and not yet sent.
    pub queued_bytes: usize,
    /// Datagrams taken for lost.
    pub lost_datagrams: u64,
    /// Datagrams sent, acknowledgements and all else included.
    pub sent_datagrams: u64,
    /// Bytes of buffers sent again.
    pub retransmitted_bytes: u64,
    /// IP bytes of a datagram on this path, at most, and how far the search for more is.
    pub path_mtu: (u64, PathMtuState),
    /// How its datagrams are protected, while it is up.
    pub protection: Option<Protection>,
    /// Whether both ends agree on what they must, as far as both have said; `None` before a session.
    pub agrees: Option<bool>,
    /// Whether another appliance with the peer's key, started earlier, asks for a session too.
    pub twin: bool,
    /// Wire version of datagrams that came from the peer's endpoint and are not of ours. Anybody can
    /// have sent them.
    pub foreign_version: Option<u8>,
    /// Why the latest session ended; `None` while none has.
    pub ended: Option<Down>,
}

/// How the datagrams of a session are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Not at all.
    None,
    /// By AES-256-GCM.
    Aes256Gcm,
    /// By ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

/// A session that is up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Established {
    pub(super) own: Own,
    pub(super) peer: PeerHello,
    pub(super) up: Up,
    /// The stamp of a HELLO of this session that waits for our reply.
    pub(super) reply: Option<u64>,
    pub(super) heard_at: Time,
    pub(super) agreement: Agreement,
    /// When we sent a datagram of it; `None` before the first.
    pub(super) spoke_at: Option<Time>,
    /// All buffers below this number are done, since then; nothing waited for it before.
    pub(super) done: (u64, Time),
}

impl Established {
    /// When an answer is to be asked for: at once in the beginning, which is the peer's proof that
    /// we are there, and our first round trip.
    pub(super) fn keepalive_at(&self, keepalive_ns: u64) -> Time {
        self.spoke_at.map_or(Time::ZERO, |spoke_at| spoke_at + keepalive_ns)
    }
}

/// The end being told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    pub(super) reason: CloseReason,
    pub(super) left: u8,
    pub(super) at: Time,
}

/// The session with one peer, over all its incarnations.
#[derive(Debug)]
pub struct Session {
    pub(super) config: PeerConfig,
    pub(super) us: Identity,
    pub(super) rng: Rng,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) handshake: Option<Handshake>,
    pub(super) established: Option<Established>,
    pub(super) closing: Option<Closing>,
    pub(super) mismatch: Option<Mismatch>,
    pub(super) scratch: Scratch,
    pub(super) counters: Counters<MoverCounter>,
    /// `None` for a peer with `encryption = "none"`.
    pub(super) security: Option<Box<Secured>>,
    pub(super) peer_index: PeerIndex,
    /// Whether another appliance has the peer's key.
    pub(super) twin: Twin,
    /// Wire version of datagrams that are not of ours.
    pub(super) foreign_version: Option<u8>,
    attempts: u32,
    last_incarnation: Option<u64>,
    ended: Option<Down>,
}

impl Session {
    /// A session with everything reserved that it will ever need. `seed` is of the operating
    /// system's randomness; no two of the peer's sessions must share it.
    #[must_use]
    pub fn new(config: PeerConfig, incarnation: Incarnation, pool: BufferPool, seed: u64) -> Self {
        Session::counting(config, incarnation, pool, seed, Counters::default())
    }

    /// The same with counters that others may have counted with before.
    #[must_use]
    pub fn counting(
        config: PeerConfig,
        incarnation: Incarnation,
        pool: BufferPool,
        seed: u64,
        counters: Counters<MoverCounter>,
    ) -> Self {
        let config = config.clamped();
        let us = Identity {
            incarnation: incarnation.0,
            limits: config.limits(),
            digest: config.digest,
            aes: false,
        };
        let mut rng = Rng::new(seed);
        let own = Own::new(config.peer.0, 0, &mut rng);
        Session {
            us,
            sender: Sender::new(&config, counters.clone()),
            receiver: Receiver::new(&config, pool),
            handshake: Some(Handshake::new(own, Time::ZERO)),
            established: None,
            closing: None,
            mismatch: None,
            scratch: Scratch::default(),
            counters,
            security: None,
            peer_index: config.peer,
            twin: Twin::default(),
            foreign_version: None,
            attempts: 1,
            last_incarnation: None,
            ended: None,
            rng,
            config,
        }
    }

    /// The counters: a handle for the control thread.
    #[must_use]
    pub fn counters(&self) -> Counters<MoverCounter> {
        self.counters.clone()
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> State {
        match (&self.closing, &self.established, self.mismatch) {
            (Some(_), _, _) => State::Closed,
            (None, Some(established), _) => State::Up(established.up),
            (None, None, Some(mismatch)) => State::Mismatch(mismatch),
            (None, None, None) => State::Connecting,
        }
    }

    /// Whether [`Session::send`] takes a buffer of this kind and lane now.
    #[must_use]
    pub fn can_take(&self, kind: BufferKind, lane: Lane) -> bool {
        let queue_open = kind == BufferKind::Control
            || self.sender.outbound.queued_bytes_of(lane) < self.config.queued_bytes_max;
        self.closing.is_none()
            && self.established.is_some()
            && queue_open
            && self.sender.has_slot(kind)
    }

    /// Buffers with data that may be under way at the same time as those that are.
    #[must_use]
    pub fn free_slots(&self) -> u64 {
        self.sender.outbound.free_slots(BufferKind::Stream)
    }

    /// Bytes accepted and not yet sent the first time.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.sender.outbound.queued_bytes()
    }

    /// The same by lane, control buffers left out.
    #[must_use]
    pub fn queued_bytes_by_lane(&self) -> [u64; Lane::COUNT] {
        let mut bytes = [0; Lane::COUNT];
        for (bytes, lane) in bytes.iter_mut().zip(Lane::all()) {
            *bytes = self.sender.outbound.queued_bytes_of(lane) as u64;
        }
        bytes
    }

    /// Takes a buffer to the peer; its logical sequence number.
    ///
    /// # Errors
    /// The buffer, when [`Session::can_take`] says no, or it is empty or longer than the peer takes.
    pub fn send(&mut self, buffer: OutboundBuffer) -> Result<u64, OutboundBuffer> {
        let len = buffer.bytes.len();
        if len == 0
            || len > self.sender.buffer_len_max()
            || !self.can_take(buffer.kind, buffer.lane)
        {
            return Err(buffer);
        }
        self.counters.increment(MoverCounter::BuffersOut);
        self.counters.add(MoverCounter::BuffersOutBytes, len as u64);
        Ok(self.sender.outbound.push(buffer.kind, buffer.lane, buffer.deadline, buffer.bytes))
    }

    /// Whether the peer has this buffer of the present session, or it was given up.
    #[must_use]
    pub fn is_done(&self, logical: u64) -> bool {
        self.sender.outbound.is_done(logical)
    }

    /// Whether the packet driver takes delivered buffers more slowly than they come; told to the
    /// peer, which then sends no faster than they are delivered.
    pub fn set_backlogged(&mut self, backlogged: bool) {
        self.receiver.backlogged = backlogged;
    }

    /// The configuration of the peer has changed.
    pub fn reconfigure(&mut self, congestion: Congestion, dead_after_ns: u64, keepalive_ns: u64) {
        self.config.congestion = congestion;
        self.config.dead_after_ns = dead_after_ns;
        self.config.keepalive_ns = keepalive_ns;
        self.config = self.config.clamped();
        self.sender.set_congestion(self.config.congestion);
    }

    /// Bytes of incomplete buffers that we hold for the peer, from now on. A session that is up was
    /// told another number: what is beyond this one is refused, and sent again later.
    pub fn set_reassembly_bytes_max(&mut self, bytes: u32) {
        self.config.reassembly_bytes_max = bytes;
        self.config = self.config.clamped();
        self.us.limits = self.config.limits();
        self.receiver.reassembly.set_held_bytes_max(self.config.reassembly_bytes_max);
    }

    /// How we are called in it.
    pub(super) fn name(&self) -> Option<SessionId> {
        let established = self.established.map(|established| established.own.session);
        established.or_else(|| self.handshake.as_ref().map(|handshake| handshake.own.session))
    }

    /// Is called otherwise than this. To be called before the session is used.
    pub(super) fn avoid(&mut self, former: Option<SessionId>) {
        while former.is_some() && self.name() == former {
            let own = self.next_own();
            self.handshake = Some(Handshake::new(own, Time::ZERO));
        }
    }

    /// Whether everything accepted has arrived at the peer.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.established.is_none() || self.sender.outbound.is_empty()
    }

    /// Ends the session for good; the peer is told by the next datagrams.
    pub fn close(&mut self, now: Time, reason: CloseReason) {
        if self.closing.is_some() {
            return;
        }
        let left = if self.established.is_some() { CLOSE_REPEATS } else { 0 };
        if left > 0 {
            self.counters.increment(MoverCounter::SessionsClosed);
        }
        self.closing = Some(Closing { reason, left, at: now });
        self.handshake = None;
        self.sender.discard();
        self.receiver.reassembly.reset();
    }

    /// Finds lost datagrams, lost peers and silent tails; to be called at
    /// [`Session::next_timeout`], and harmless at any other time.
    pub fn on_timeout(&mut self, now: Time, events: &mut impl Sink) {
        if self.closing.is_some() {
            return;
        }
        let Some(established) = self.established else { return };
        if now.since_ns(established.heard_at) >= self.config.dead_after_ns {
            self.end(now, Down::Dead, events);
            return;
        }
        if self.is_stalled(now) {
            self.counters.increment(MoverCounter::SessionsStalled);
            self.end(now, Down::Dead, events);
            return;
        }
        if self.handshake.as_ref().is_some_and(|candidate| candidate.is_over(now)) {
            self.handshake = None;
            if let Some(security) = &mut self.security {
                security.drop_candidate();
            }
        }
        if self.security.as_mut().is_some_and(|security| security.on_timeout(now)) {
            self.end(now, Down::Expired, events);
            return;
        }
        self.sender.on_timeout(now);
    }

    /// Whether the oldest buffer has been on its way for so long that the path does not carry it,
    /// although the peer is heard: such a path is dead too. Datagrams of full size may vanish
    /// where small ones pass.
    fn is_stalled(&mut self, now: Time) -> bool {
        let waits = self.sender.oldest_buffer();
        let Some(established) = &mut self.established else { return false };
        match waits {
            Some(number) if number == established.done.0 => {
                now.since_ns(established.done.1) >= self.config.dead_after_ns
            }
            _ => {
                established.done = (waits.unwrap_or(u64::MAX), now);
                false
            }
        }
    }

    /// How it fares.
    #[must_use]
    pub fn report(&self) -> Report {
        Report {
            state: self.state(),
            rate_bps: self.sender.rate_bps(),
            capacity_bps: self.sender.capacity_bps(),
            delivery_bps: self.receiver.delivery_bps(),
            phase: self.sender.controller().mark(),
            random_loss_ppm: self.sender.controller().random_loss_ppm(),
            rtt_ns: self.sender.rtt.smoothed_ns(),
            rtt_min_ns: self.sender.rtt.min_ns(),
            rtt_variation_ns: self.sender.rtt.variation_ns(),
            in_flight_bytes: self.sender.in_flight_bytes(),
            queued_bytes: self.queued_bytes(),
            lost_datagrams: self.counters.get(MoverCounter::DatagramsLost),
            sent_datagrams: self.counters.get(MoverCounter::DatagramsOut),
            retransmitted_bytes: self.counters.get(MoverCounter::BytesRetransmitted),
            path_mtu: self.path_mtu(),
            protection: self.established.map(|_| self.protection()),
            agrees: self.agrees(),
            twin: self.twin.is_there(),
            foreign_version: self.foreign_version,
            ended: self.ended,
        }
    }

    /// Bytes of the tables of this end, buffers not included.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.sender.table_bytes()
    }

    /// A name for the next session.
    pub(super) fn next_own(&mut self) -> Own {
        let own = Own::new(self.config.peer.0, self.attempts, &mut self.rng);
        self.attempts = self.attempts.saturating_add(1);
        own
    }

    /// Whether a datagram for `session` may be ours.
    pub(super) fn answers_to(&self, session: SessionId) -> bool {
        self.established.is_some_and(|established| established.own.session == session)
            || self.handshake.as_ref().is_some_and(|handshake| handshake.own.session == session)
    }

    /// The peer has shown that it has read our HELLO: the session begins.
    pub(super) fn establish(&mut self, now: Time, events: &mut impl Sink) {
        let Some(handshake) = &mut self.handshake else { return };
        let Some(peer) = handshake.peer else { return };
        let (own, reply, rtt_ns) = (handshake.own, handshake.take_reply(), handshake.rtt_ns);
        let candidates = self.security.as_mut().map(|security| security.take_candidates());
        if self.established.is_some() {
            self.end(now, Down::Replaced, events);
        }
        self.handshake = None;
        self.mismatch = None;
        (self.twin, self.foreign_version) = (Twin::default(), None);
        let up = Up {
            incarnation: Incarnation(peer.incarnation),
            restarted: self.last_incarnation.is_some_and(|last| last != peer.incarnation),
            larger: self.us.incarnation > peer.incarnation,
            zstd: peer.zstd,
        };
        self.last_incarnation = Some(peer.incarnation);
        if let Some(security) = &mut self.security {
            security.begin(now, candidates.unwrap_or_default(), &peer, self.rng.next_u64());
        }
        self.sender.begin(now, peer.limits, rtt_ns);
        self.receiver.begin(now);
        self.established = Some(Established {
            own,
            peer,
            up,
            reply,
            heard_at: now,
            agreement: Agreement::new(self.us.digest),
            spoke_at: None,
            done: (u64::MAX, now),
        });
        self.counters.increment(MoverCounter::SessionsUp);
        events.up(up);
    }

    /// The session is over; the next one is set up.
    pub(super) fn end(&mut self, now: Time, reason: Down, events: &mut impl Sink) {
        let counter = match reason {
            Down::Closed(_) => MoverCounter::SessionsClosed,
            Down::Dead | Down::Replaced => MoverCounter::SessionsLost,
            Down::Broken(_) => MoverCounter::SessionsBroken,
            Down::Expired => MoverCounter::SessionsExpired,
        };
        self.counters.increment(counter);
        self.ended = Some(reason);
        self.established = None;
        if let Some(security) = &mut self.security {
            security.end();
        }
        self.sender.discard();
        self.receiver.reassembly.reset();
        let own = self.next_own();
        self.handshake = Some(Handshake::new(own, now));
        events.down(reason);
    }

    /// A peer that authenticates broke the protocol: the session ends, and no other begins at once.
    pub(super) fn broken(
        &mut self,
        now: Time,
        violation: Violation,
        events: &mut impl Sink,
    ) -> MoverCounter {
        self.end(now, Down::Broken(violation), events);
        if let Some(security) = &mut self.security {
            let until = security.shun(now);
            self.handshake = self.handshake.take().map(|handshake| handshake.pause_until(until));
        }
        MoverCounter::DropViolation
    }

    fn protection(&self) -> Protection {
        match self.security.as_deref().and_then(Secured::cipher) {
            None => Protection::None,
            Some(Cipher::Aes256Gcm) => Protection::Aes256Gcm,
            Some(Cipher::ChaCha20Poly1305) => Protection::ChaCha20Poly1305,
        }
    }

    /// The end was told once more.
    pub(super) fn close_told(&mut self, now: Time) {
        if let Some(closing) = &mut self.closing {
            closing.left = closing.left.saturating_sub(1);
            closing.at = now + CLOSE_INTERVAL_NS;
        }
    }
}
