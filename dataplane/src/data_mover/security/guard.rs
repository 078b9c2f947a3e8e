//! What stands before the key exchange: forged handshakes are refused cheaply, and a flood of
//! them leaves room for those of our peers.
//!
//! In: datagrams of key exchanges with their source, the time. Out: requests to the key exchange,
//! cookies, reasons why something was dropped. Never: curve arithmetic, state for a source that
//! has not shown that it receives, an answer to who does not know our public key.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::exchange::{Reply, Request};
use super::mac::{CookieJar, CookieValue, ReceiverKeys};
use super::noise::Message;
use super::{PeerKeys, PrivateKey};
use crate::data_mover::wire::{Cookie, Exchange, Malformed, SubfieldKind};
use crate::data_mover::{DemuxCounter, Source};
use crate::link::Link;
use crate::packet_driver::PeerIndex;
use crate::time::{SECOND_NS, Time};

/// Requests, and replies, that wait at most.
const WAITING_MAX: usize = 64;
/// Of these, kept for our own sessions: to begin and to answer handshakes.
const RESERVED: usize = 16;
/// Initiations a second that are read without a cookie, and how many at once.
const OPEN: Rate = Rate { per_second: 50, burst: 25 };
/// Responses a second that are read, and how many at once.
const RESPONSES: Rate = Rate { per_second: 50, burst: 50 };
/// Initiations a second of one source that are read under load, and how many at once.
const SOURCE: Rate = Rate { per_second: 5, burst: 5 };
/// Sources are told apart by so many buckets; two of them may share one.
const SOURCES: usize = 1024;
/// A cookie is good in the period that it was made in, and in the next.
const PERIOD_NS: u64 = 60 * SECOND_NS;
/// Datagrams that wait to be sent, at most.
const OUTBOX: usize = 32;
/// Of these, cookies: however many are asked for, there is room for our responses.
const COOKIES: usize = 24;
const _: () = assert!(COOKIES < OUTBOX, "a flood of cookies would keep responses to peers out");

/// How often something may happen.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: u64,
    burst: u64,
}

/// Leave to do something, that grows with time.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// When it will be as full as it can be. Ahead of now by the time that what is missing takes.
    full_at: Time,
}

impl Bucket {
    fn take(&mut self, now: Time, rate: Rate) -> bool {
        let each_ns = SECOND_NS / rate.per_second;
        let missing_ns = self.full_at.since_ns(now);
        if missing_ns > (rate.burst - 1) * each_ns {
            return false;
        }
        self.full_at = self.full_at.max(now) + each_ns;
        true
    }
}

/// A datagram of a key exchange, to be sent to where its cause came from.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing {
    /// Where to.
    pub to: Source,
    bytes: [u8; Exchange::LEN_MAX],
    len: usize,
}

impl Outgoing {
    /// What `emit` writes; `None` when it writes nothing.
    pub(in crate::data_mover) fn written(
        to: Source,
        emit: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Option<Self> {
        let mut outgoing = Outgoing { to, bytes: [0; Exchange::LEN_MAX], len: 0 };
        outgoing.len = emit(&mut outgoing.bytes)?;
        Some(outgoing)
    }

    /// The UDP payload.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// The data path's end of the key exchange.
#[derive(Debug)]
pub(in crate::data_mover) struct Guard {
    ours: ReceiverKeys,
    jar: CookieJar,
    cookies: u64,
    open: Bucket,
    responses: Bucket,
    sources: Box<[Bucket]>,
    requests: Link<Request>,
    replies: Link<Reply>,
    outbox: VecDeque<Outgoing>,
}

/// Both ends of the key exchange of an appliance: the data path's, and the other thread's.
pub(in crate::data_mover) fn open(
    own: PrivateKey,
    peers: Vec<Option<PeerKeys>>,
    secret: [u64; 4],
    entropy: super::Entropy,
) -> (Guard, super::KeyExchange) {
    let (to_exchange, requests) = Link::ring(WAITING_MAX);
    let (replies, from_exchange) = Link::ring(WAITING_MAX);
    let guard = Guard {
        ours: ReceiverKeys::of(&own.public()),
        jar: CookieJar::new(secret),
        cookies: 0,
        open: Bucket::default(),
        responses: Bucket::default(),
        sources: vec![Bucket::default(); SOURCES].into_boxed_slice(),
        requests: to_exchange,
        replies: from_exchange,
        outbox: VecDeque::with_capacity(OUTBOX),
    };
    (guard, super::KeyExchange::new(own, peers, entropy, requests, replies))
}

impl Guard {
    /// An initiation came; under which name it is counted.
    pub(in crate::data_mover) fn initiation(
        &mut self,
        now: Time,
        source: &Source,
        datagram: &[u8],
    ) -> DemuxCounter {
        let (exchange, message) = match parsed(datagram, SubfieldKind::Initiation) {
            Ok(parsed) => parsed,
            Err(_) => return DemuxCounter::DropMalformed,
        };
        if !self.ours.verify(datagram) {
            return DemuxCounter::DropForged;
        }
        if !self.open.take(now, OPEN) {
            let remote = source.remote;
            let Some(period) = self.period(now, remote, datagram) else {
                self.send_cookie(now, source, datagram, &exchange);
                return DemuxCounter::DropCookie;
            };
            let bucket = self.bucket(remote, period);
            if !bucket.is_some_and(|bucket| bucket.take(now, SOURCE)) {
                return DemuxCounter::DropLimited;
            }
        }
        let epoch = exchange.epoch;
        if self.requests.room() <= RESERVED {
            return DemuxCounter::DropBusy;
        }
        match self.requests.push(Request::Initiation { source: *source, epoch, message }) {
            Ok(()) => DemuxCounter::DatagramsExchange,
            Err(_) => DemuxCounter::DropBusy,
        }
    }

    /// A response came, to a handshake that we began with `peer`.
    pub(in crate::data_mover) fn response(
        &mut self,
        now: Time,
        peer: PeerIndex,
        datagram: &[u8],
    ) -> DemuxCounter {
        let Ok((exchange, message)) = parsed(datagram, SubfieldKind::Response) else {
            return DemuxCounter::DropMalformed;
        };
        if !self.ours.verify(datagram) {
            return DemuxCounter::DropForged;
        }
        if !self.responses.take(now, RESPONSES) || self.requests.room() <= RESERVED {
            return DemuxCounter::DropBusy;
        }
        match self.requests.push(Request::Response { peer, epoch: exchange.epoch, message }) {
            Ok(()) => DemuxCounter::DatagramsExchange,
            Err(_) => DemuxCounter::DropBusy,
        }
    }

    /// The period of the cookie that the second MAC was made with, if any.
    fn period(&self, now: Time, source: SocketAddr, datagram: &[u8]) -> Option<u64> {
        let present = now.as_ns() / PERIOD_NS;
        let mut periods = [Some(present), present.checked_sub(1)].into_iter().flatten();
        periods.find(|period| CookieJar::verify(datagram, &self.jar.cookie(source, *period)))
    }

    /// Sends a cookie to who knows our public key; it is no longer than what it answers.
    fn send_cookie(&mut self, now: Time, to: &Source, datagram: &[u8], exchange: &Exchange<'_>) {
        if self.outbox.len() >= COOKIES {
            return;
        }
        let Some([(_, first_mac), _]) = Exchange::macs(datagram) else { return };
        let value: CookieValue = self.jar.cookie(to.remote, now.as_ns() / PERIOD_NS);
        self.cookies = self.cookies.wrapping_add(1);
        let nonce = self.jar.nonce(self.cookies);
        let Some(sealed) = self.ours.seal_cookie(nonce, first_mac, &value) else { return };
        let (epoch, session) = (exchange.epoch, exchange.session);
        let cookie = Cookie { epoch, session, nonce, sealed: &sealed };
        self.outbox.extend(Outgoing::written(*to, |out| cookie.emit(out)));
    }

    /// The bucket of a source that has shown that it receives: of one address, or one network of
    /// 64 bits.
    fn bucket(&mut self, source: SocketAddr, period: u64) -> Option<&mut Bucket> {
        let ip = match source.ip() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                IpAddr::V6(network.into())
            }
            v4 => v4,
        };
        let [high, low, ..] = self.jar.cookie(SocketAddr::new(ip, 0), period);
        let index = usize::from(u16::from_be_bytes([high, low])) % SOURCES;
        self.sources.get_mut(index)
    }

    /// Whether the sessions may ask something.
    pub(in crate::data_mover) fn has_room(&self) -> bool {
        self.requests.room() > 0
    }

    /// Asks the key exchange; the caller has made sure of [`Guard::has_room`].
    pub(in crate::data_mover) fn ask(&mut self, request: Request) {
        // Else the peer tries again.
        let _ = self.requests.push(request);
    }

    /// What the key exchange says.
    pub(in crate::data_mover) fn reply(&mut self) -> Option<Reply> {
        self.replies.pop()
    }

    /// Whether something that it says waits.
    pub(in crate::data_mover) fn has_reply(&self) -> bool {
        self.replies.waiting() > 0
    }

    /// Puts a datagram among those to be sent; a full outbox loses it, and the peer tries again.
    pub(in crate::data_mover) fn post(&mut self, outgoing: Outgoing) {
        if self.outbox.len() < OUTBOX {
            self.outbox.push_back(outgoing);
        }
    }

    /// The next datagram to be sent.
    pub(in crate::data_mover) fn outgoing(&mut self) -> Option<Outgoing> {
        self.outbox.pop_front()
    }

    /// Whether a datagram waits to be sent.
    pub(in crate::data_mover) fn has_outgoing(&self) -> bool {
        !self.outbox.is_empty()
    }
}

fn parsed(datagram: &[u8], kind: SubfieldKind) -> Result<(Exchange<'_>, Message), Malformed> {
    let exchange = Exchange::parse(datagram)?;
    if exchange.kind != kind {
        return Err(Malformed::Order);
    }
    let message = Message::of(exchange.message).ok_or(Malformed::Length)?;
    Ok((exchange, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_mover::wire::SessionId;
    use crate::frame::MacAddr;

    #[test]
    fn however_many_cookies_are_asked_for_a_response_finds_room() {
        let own = || PrivateKey::new([1; 32]);
        let (mut guard, _exchange) = open(own(), Vec::new(), [1; 4], Box::new(|_| true));
        let remote = SocketAddr::from(([10, 0, 0, 9], 4980));
        let source = Source { remote, local: remote, station: MacAddr([2; 6]) };
        let mut bytes = [0; Exchange::LEN_MAX];
        let (kind, message) = (SubfieldKind::Initiation, [7; 170]);
        let forged = Exchange { kind, epoch: 2, session: SessionId(1_024), message: &message };
        let len = forged.emit(&mut bytes).unwrap();
        ReceiverKeys::of(&own().public()).write(&mut bytes[..len], None).unwrap();
        let outcomes = (0..200).map(|_| guard.initiation(Time::from_ms(1), &source, &bytes[..len]));
        let asked = outcomes.filter(|outcome| *outcome == DemuxCounter::DropCookie).count();
        assert_eq!(asked, 175);
        let response = Outgoing::written(source, |out| {
            out[..3].fill(0xee);
            Some(3)
        });
        guard.post(response.unwrap());
        let sent: Vec<_> = std::iter::from_fn(|| guard.outgoing()).collect();
        assert_eq!(sent.last().unwrap().bytes(), [0xee; 3]);
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate { per_second: 10, burst: 4 };
        let mut bucket = Bucket::default();
        let now = Time::from_ms(5_000);
        let taken = (0..100).filter(|_| bucket.take(now, rate)).count();
        assert_eq!(taken, 4);
        assert!(!bucket.take(now + 99_000_000, rate));
        assert!(bucket.take(now + 100_000_000, rate));
        let later = Time::from_ms(60_000);
        assert_eq!((0..100).filter(|_| bucket.take(later, rate)).count(), 4);
    }
}
