//! The key exchange: curve arithmetic, on a thread of its own.
//!
//! In: requests of the data path by a bounded ring. Out: messages to be sent, what the peers'
//! messages said, keys, by another. Never: a socket, a clock, a decision on sessions; more than a
//! few handshakes a turn.
//!
//! ```text
//!   we begin:      Initiate -> Initiation ... the peer's response: Response -> Ended (keys)
//!   a peer begins: Initiation -> Heard, the data path decides: Respond -> Answer (keys)
//! ```

use std::collections::VecDeque;
use std::fmt;

use snow::HandshakeState;
use zeroize::Zeroizing;

use super::noise::{self, Message, RawKeys};
use super::{KEY_LEN, PeerKeys, PrivateKey, PublicKey};
use crate::counters::Counters;
use crate::data_mover::Source;
use crate::data_mover::wire::{Hello, SessionId, SubfieldKind, Subfields};
use crate::link::Link;
use crate::packet_driver::PeerIndex;

/// Fills a slice with random bytes fit for keys; false when there are none.
pub type Entropy = Box<dyn FnMut(&mut [u8]) -> bool + Send>;

/// Handshakes handled in one turn, at most.
const REQUESTS_PER_TURN: usize = 4;
/// Handshakes begun with one peer that may still end: the round trip can be longer than the time
/// between two attempts.
const BEGUN_PER_PEER: usize = 4;
/// Handshakes begun by peers that the data path has yet to decide on.
const HEARD_MAX: usize = 16;

crate::counters! {
    /// Counters of the key exchange.
    pub enum ExchangeCounter, "key_exchange" {
        Requests: In, "requests", "requests", "Requests of the data path: handshakes to begin, to read, to answer.";
        Done: Out, "done", "requests", "Requests carried out.";
        DropUnauthentic: Drop, "drop_unauthentic", "requests", "Initiations that do not authenticate, or are of a version of the handshake that we do not know.";
        DropUnknown: Drop, "drop_unknown", "requests", "Initiations under a public key that no peer in the configuration has.";
        DropResponse: Drop, "drop_response", "requests", "Responses that do not authenticate: too late, forged, or the two ends have different pre-shared keys.";
        DropHello: Drop, "drop_hello", "requests", "Authentic messages whose content is malformed.";
        DropGone: Drop, "drop_gone", "requests", "Answers to handshakes that others have taken the place of.";
        DropFull: Drop, "drop_full", "requests", "Requests whose reply found the ring to the data path full.";
        DropEntropy: Drop, "drop_entropy", "requests", "Requests for which the system gave no randomness.";
    }
}

/// What the data path asks.
#[derive(Clone, Copy, Debug)]
pub(in crate::data_mover) enum Request {
    /// Begin a handshake with a peer.
    Initiate { peer: PeerIndex, epoch: u8, hello: Hello },
    /// Read an initiation.
    Initiation { source: Source, epoch: u8, message: Message },
    /// Answer an initiation that was heard; `own` is the session that the keys are for.
    Respond {
        peer: PeerIndex,
        epoch: u8,
        source: Source,
        own: SessionId,
        heard: Hello,
        hello: Hello,
    },
    /// Read a response to our initiation.
    Response { peer: PeerIndex, epoch: u8, message: Message },
}

/// What the data path is told.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "few, and moved through a ring without allocation")]
pub(crate) enum Reply {
    /// A handshake was begun: this is to be sent.
    Initiation { peer: PeerIndex, epoch: u8, message: Message },
    /// A peer has begun a handshake.
    Heard { peer: PeerIndex, epoch: u8, source: Source, hello: Hello },
    /// It is answered: this is to be sent, and the keys are to wait for a first datagram.
    Answer {
        peer: PeerIndex,
        epoch: u8,
        source: Source,
        own: SessionId,
        heard: Hello,
        message: Message,
        keys: RawKeys,
    },
    /// A handshake of ours has ended: the keys can be used.
    Ended { peer: PeerIndex, epoch: u8, hello: Hello, keys: RawKeys },
}

impl Reply {
    pub(crate) fn peer(&self) -> PeerIndex {
        match self {
            Reply::Initiation { peer, .. }
            | Reply::Heard { peer, .. }
            | Reply::Answer { peer, .. }
            | Reply::Ended { peer, .. } => *peer,
        }
    }
}

struct Pending {
    peer: PeerIndex,
    epoch: u8,
    state: HandshakeState,
}

/// The key exchange of an appliance. Its owner calls [`KeyExchange::turn`] on a thread that is not
/// that of the data path.
pub struct KeyExchange {
    own: PrivateKey,
    peers: Vec<Option<PeerKeys>>,
    entropy: Entropy,
    requests: Link<Request>,
    replies: Link<Reply>,
    begun: VecDeque<Pending>,
    heard: VecDeque<Pending>,
    counters: Counters<ExchangeCounter>,
}

impl fmt::Debug for KeyExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyExchange").field("own", &self.own).finish_non_exhaustive()
    }
}

impl KeyExchange {
    /// `peers` by [`PeerIndex`]; `None` for those that are not encrypted.
    pub(super) fn new(
        own: PrivateKey,
        peers: Vec<Option<PeerKeys>>,
        entropy: Entropy,
        requests: Link<Request>,
        replies: Link<Reply>,
    ) -> Self {
        let begun = VecDeque::with_capacity(BEGUN_PER_PEER * peers.len());
        let heard = VecDeque::with_capacity(HEARD_MAX);
        let counters = Counters::default();
        KeyExchange { own, peers, entropy, requests, replies, begun, heard, counters }
    }

    /// The counters, for readers.
    #[must_use]
    pub fn counters(&self) -> Counters<ExchangeCounter> {
        self.counters.clone()
    }

    /// Another peer has this place, or none. To be called while the data path has nobody in it: what
    /// it has asked for the one before is done with, and nothing of that is left here.
    pub fn change_peer(&mut self, peer: PeerIndex, keys: Option<PeerKeys>) {
        self.handle_requests(self.requests.waiting());
        self.begun.retain(|begun| begun.peer != peer);
        self.heard.retain(|heard| heard.peer != peer);
        let index = usize::from(peer.0);
        self.peers.resize(self.peers.len().max(index + 1), None);
        if let Some(place) = self.peers.get_mut(index) {
            *place = keys;
        }
    }

    /// Handles a few requests; whether there were any.
    pub fn turn(&mut self) -> bool {
        self.handle_requests(REQUESTS_PER_TURN)
    }

    fn handle_requests(&mut self, most: usize) -> bool {
        let mut busy = false;
        for _ in 0..most {
            let Some(request) = self.requests.pop() else { break };
            busy = true;
            self.counters.increment(ExchangeCounter::Requests);
            let outcome = match self.handle(request) {
                Ok(reply) => match self.replies.push(reply) {
                    Ok(()) => ExchangeCounter::Done,
                    Err(_) => ExchangeCounter::DropFull,
                },
                Err(reason) => reason,
            };
            self.counters.increment(outcome);
        }
        busy
    }

    fn handle(&mut self, request: Request) -> Result<Reply, ExchangeCounter> {
        match request {
            Request::Initiate { peer, epoch, hello } => self.initiate(peer, epoch, &hello),
            Request::Initiation { source, epoch, message } => self.read(source, epoch, &message),
            Request::Respond { peer, epoch, source, own, heard, hello } => {
                let (message, keys) = self.respond(peer, epoch, &hello)?;
                Ok(Reply::Answer { peer, epoch, source, own, heard, message, keys })
            }
            Request::Response { peer, epoch, message } => self.finish(peer, epoch, &message),
        }
    }

    fn random(&mut self) -> Result<Zeroizing<[u8; KEY_LEN]>, ExchangeCounter> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        if (self.entropy)(&mut *bytes) { Ok(bytes) } else { Err(ExchangeCounter::DropEntropy) }
    }

    fn keys(&self, peer: PeerIndex) -> Result<&PeerKeys, ExchangeCounter> {
        let keys = self.peers.get(usize::from(peer.0)).and_then(Option::as_ref);
        keys.ok_or(ExchangeCounter::DropUnknown)
    }

    fn initiate(
        &mut self,
        peer: PeerIndex,
        epoch: u8,
        hello: &Hello,
    ) -> Result<Reply, ExchangeCounter> {
        let random = self.random()?;
        let payload = payload(hello)?;
        let keys = self.keys(peer)?;
        let begun = noise::initiate(&self.own, keys, epoch, random, &payload);
        let (state, message) = begun.ok_or(ExchangeCounter::DropHello)?;
        if self.begun.iter().filter(|begun| begun.peer == peer).count() >= BEGUN_PER_PEER
            && let Some(oldest) = self.begun.iter().position(|begun| begun.peer == peer)
        {
            self.begun.remove(oldest);
        }
        self.begun.push_back(Pending { peer, epoch, state });
        Ok(Reply::Initiation { peer, epoch, message })
    }

    fn read(
        &mut self,
        source: Source,
        epoch: u8,
        message: &Message,
    ) -> Result<Reply, ExchangeCounter> {
        let random = self.random()?;
        let read = noise::read_initiation(&self.own, epoch, random, message);
        let (state, public, payload) = read.ok_or(ExchangeCounter::DropUnauthentic)?;
        let peer = self.peer(&public).ok_or(ExchangeCounter::DropUnknown)?;
        let hello = hello(&payload)?;
        if self.heard.len() >= HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(Pending { peer, epoch, state });
        Ok(Reply::Heard { peer, epoch, source, hello })
    }

    fn peer(&self, public: &PublicKey) -> Option<PeerIndex> {
        let is = |keys: &Option<PeerKeys>| keys.as_ref().is_some_and(|k| k.public == *public);
        u16::try_from(self.peers.iter().position(is)?).ok().map(PeerIndex)
    }

    fn respond(
        &mut self,
        peer: PeerIndex,
        epoch: u8,
        hello: &Hello,
    ) -> Result<(Message, RawKeys), ExchangeCounter> {
        let payload = payload(hello)?;
        // The latest: an initiation that came twice was read twice.
        let at = self.heard.iter().rposition(|heard| heard.peer == peer && heard.epoch == epoch);
        let pending = at.and_then(|at| self.heard.remove(at)).ok_or(ExchangeCounter::DropGone)?;
        let keys = self.keys(peer)?;
        noise::respond(pending.state, keys, &payload).ok_or(ExchangeCounter::DropHello)
    }

    fn finish(
        &mut self,
        peer: PeerIndex,
        epoch: u8,
        message: &Message,
    ) -> Result<Reply, ExchangeCounter> {
        let at = self.begun.iter().position(|begun| begun.peer == peer && begun.epoch == epoch);
        let at = at.ok_or(ExchangeCounter::DropGone)?;
        let pending = self.begun.get_mut(at).ok_or(ExchangeCounter::DropGone)?;
        let ended = noise::finish(&mut pending.state, message);
        let (payload, keys) = ended.ok_or(ExchangeCounter::DropResponse)?;
        let hello = hello(&payload)?;
        self.begun.remove(at);
        Ok(Reply::Ended { peer, epoch, hello, keys })
    }
}

/// A HELLO as the payload of a message: the subfield that it is between peers in the clear.
fn payload(hello: &Hello) -> Result<[u8; Hello::LEN], ExchangeCounter> {
    let mut bytes = [0; Hello::LEN];
    hello.emit(&mut bytes).ok_or(ExchangeCounter::DropHello)?;
    Ok(bytes)
}

fn hello(payload: &Message) -> Result<Hello, ExchangeCounter> {
    match Subfields::new(payload.bytes()).next() {
        Some(Ok(subfield)) if subfield.kind == SubfieldKind::Hello => {
            Hello::parse(subfield.body).map_err(|_| ExchangeCounter::DropHello)
        }
        _ => Err(ExchangeCounter::DropHello),
    }
}
