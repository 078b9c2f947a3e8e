//! Setting a session up: HELLO until the peer's HELLO shows that it has read ours.
//!
//! Both ends do the same, so it does not matter who begins, or whether both do. A HELLO names the
//! session id that its sender wants to be called by; one that echoes that id proves that the peer
//! is there now, and not a datagram of long ago.

use super::rng::Rng;
use super::wire::{Hello, Limits, SessionId, WIRE_VERSION};
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

/// First time between two HELLOs in nanoseconds; doubles up to [`INTERVAL_NS_MAX`].
const INTERVAL_NS_MIN: u64 = 200 * MILLISECOND_NS;
/// Longest time between two HELLOs in nanoseconds: a peer that comes back is found within it.
const INTERVAL_NS_MAX: u64 = SECOND_NS;
/// A round trip in nanoseconds that is none: the stamp is not ours.
const RTT_NS_LIMIT: u64 = 10 * SECOND_NS;
/// How long a peer that began anew has to prove that it is there, in nanoseconds, before the
/// session that it would replace is left alone.
pub(super) const CANDIDATE_NS: u64 = 5 * SECOND_NS;

/// Why no session is possible with a peer that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// No wire version is spoken by both: one of the two needs an update.
    Version {
        /// Lowest version the peer speaks.
        min: u8,
        /// Highest version the peer speaks.
        max: u8,
    },
    /// What both ends must agree on differs: compare the two configurations.
    Digest {
        /// The peer's digest.
        theirs: u64,
    },
    /// Both have the same incarnation: the endpoint is our own, or a copy of us.
    SameIncarnation,
}

/// Who we are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) incarnation: u64,
    pub(super) limits: Limits,
    pub(super) digest: u64,
    /// Whether our processor has instructions for AES.
    pub(super) aes: bool,
}

impl Identity {
    /// Whether a session with the sender of this HELLO is possible.
    pub(super) fn check(&self, hello: &Hello) -> Result<(), Mismatch> {
        let (min, max) = (hello.version_min, hello.version_max);
        if !(min..=max).contains(&WIRE_VERSION) {
            return Err(Mismatch::Version { min, max });
        }
        if hello.incarnation == self.incarnation {
            return Err(Mismatch::SameIncarnation);
        }
        if hello.digest != self.digest {
            return Err(Mismatch::Digest { theirs: hello.digest });
        }
        Ok(())
    }

    /// A HELLO that names us by `own`, and to the peer what we know of it.
    pub(super) fn hello(
        &self,
        own: Own,
        peer: Option<&PeerHello>,
        reply_wanted: bool,
        stamps: (u64, u64),
    ) -> Hello {
        Hello {
            session: own.session,
            incarnation: self.incarnation,
            attempt: own.attempt,
            echo_session: peer.map_or(SessionId(0), |peer| peer.session),
            echo_incarnation: peer.map_or(0, |peer| peer.incarnation),
            reply_wanted,
            aes: self.aes,
            renewal: false,
            zstd: true,
            version_min: WIRE_VERSION,
            version_max: WIRE_VERSION,
            limits: self.limits,
            digest: self.digest,
            stamp: stamps.0,
            echo_stamp: stamps.1,
        }
    }
}

/// How we are called in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) session: SessionId,
    pub(super) attempt: u32,
}

impl Own {
    /// A name that was not used before: the low bits lead to the peer, the others are random.
    pub(super) fn new(peer: u16, attempt: u32, rng: &mut Rng) -> Self {
        let low = u32::from(peer % SessionId::PEERS_MAX);
        // Never 0, which stands for "none".
        let high = rng.next_u32() >> SessionId::PEER_BITS;
        let session = SessionId(high.max(1) << SessionId::PEER_BITS | low);
        Own { session, attempt }
    }
}

/// What a peer's HELLO said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeerHello {
    pub(super) session: SessionId,
    pub(super) incarnation: u64,
    pub(super) attempt: u32,
    pub(super) limits: Limits,
    /// Whether it takes buffers that Zstandard made smaller.
    pub(super) zstd: bool,
}

impl PeerHello {
    pub(super) fn of(hello: &Hello) -> Self {
        PeerHello {
            session: hello.session,
            incarnation: hello.incarnation,
            attempt: hello.attempt,
            limits: hello.limits,
            zstd: hello.zstd,
        }
    }

    fn order(&self) -> (u64, u32) {
        (self.incarnation, self.attempt)
    }
}

/// A session being set up.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) own: Own,
    pub(super) peer: Option<PeerHello>,
    /// Round trip of a HELLO and its echo, in nanoseconds.
    pub(super) rtt_ns: Option<u64>,
    /// The stamp of a HELLO that waits for our reply.
    reply: Option<u64>,
    send_at: Time,
    interval_ns: u64,
    expires: Time,
}

impl Handshake {
    /// Begins at once, and goes on until the peer answers.
    pub(super) fn new(own: Own, now: Time) -> Self {
        Handshake {
            own,
            peer: None,
            rtt_ns: None,
            reply: None,
            send_at: now,
            interval_ns: INTERVAL_NS_MIN,
            expires: Time::NEVER,
        }
    }

    /// Only answers, beside a session that goes on until the peer has proved to be there.
    pub(super) fn candidate(own: Own, now: Time) -> Self {
        Handshake { send_at: Time::NEVER, expires: now + CANDIDATE_NS, ..Handshake::new(own, now) }
    }

    /// Whether a candidate has had its time.
    pub(super) fn is_over(&self, now: Time) -> bool {
        self.expires <= now
    }

    /// A HELLO that no mismatch speaks against; `None` when it is older than what is known, else
    /// whether it proves that the peer has read ours.
    pub(super) fn receive(&mut self, now: Time, hello: &Hello, us: &Identity) -> Option<bool> {
        let heard = PeerHello::of(hello);
        let echo =
            hello.echo_session == self.own.session && hello.echo_incarnation == us.incarnation;
        if !echo && self.peer.is_some_and(|known| heard.order() < known.order()) {
            return None;
        }
        self.peer = Some(heard);
        if hello.reply_wanted {
            self.reply = Some(hello.stamp);
        }
        if echo {
            self.measure(now, hello);
        }
        Some(echo)
    }

    /// The peer has answered, in a message that only it can have written.
    pub(super) fn answered(&mut self, now: Time, hello: &Hello) {
        self.peer = Some(PeerHello::of(hello));
        self.measure(now, hello);
    }

    fn measure(&mut self, now: Time, hello: &Hello) {
        if hello.echo_stamp != 0 {
            let rtt_ns = now.since_ns(Time::from_ns(hello.echo_stamp));
            self.rtt_ns = Some(rtt_ns).filter(|ns| (1..RTT_NS_LIMIT).contains(ns));
        }
    }

    /// Says nothing before `at`.
    pub(super) fn pause_until(mut self, at: Time) -> Self {
        self.send_at = self.send_at.max(at);
        self
    }

    /// The stamp of the HELLO that is still to be answered.
    pub(super) fn take_reply(&mut self) -> Option<u64> {
        self.reply.take()
    }

    /// When a HELLO is to be sent.
    pub(super) fn due(&self) -> Time {
        if self.reply.is_some() { Time::ZERO } else { self.send_at.min(self.expires) }
    }

    /// The HELLO to be sent now, if any.
    pub(super) fn transmit(&mut self, now: Time, us: &Identity, rng: &mut Rng) -> Option<Hello> {
        let reply = self.take_reply();
        if reply.is_none() && self.send_at > now {
            return None;
        }
        if self.send_at != Time::NEVER {
            self.send_at = now + rng.jittered_ns(self.interval_ns);
            self.interval_ns = (2 * self.interval_ns).min(INTERVAL_NS_MAX);
        }
        let stamps = (now.as_ns().max(1), reply.unwrap_or(0));
        Some(us.hello(self.own, self.peer.as_ref(), true, stamps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(incarnation: u64) -> Identity {
        Identity { incarnation, limits: Limits::default(), digest: 7, aes: false }
    }

    fn handshake(seed: u64) -> (Handshake, Rng) {
        let mut rng = Rng::new(seed);
        (Handshake::new(Own::new(3, 0, &mut rng), Time::ZERO), rng)
    }

    #[test]
    fn both_at_once_converge() {
        let (a_us, b_us) = (us(1), us(2));
        let ((mut a, mut a_rng), (mut b, mut b_rng)) = (handshake(1), handshake(2));
        let now = Time::from_ms(1);
        let from_a = a.transmit(now, &a_us, &mut a_rng).unwrap();
        let from_b = b.transmit(now, &b_us, &mut b_rng).unwrap();
        let then = Time::from_ms(41);
        assert_eq!(b.receive(then, &from_a, &b_us), Some(false));
        assert_eq!(a.receive(then, &from_b, &a_us), Some(false));
        let from_b = b.transmit(then, &b_us, &mut b_rng).unwrap();
        assert_eq!(a.receive(Time::from_ms(81), &from_b, &a_us), Some(true));
        assert_eq!(a.rtt_ns, Some(80 * MILLISECOND_NS));
    }

    #[test]
    fn an_old_hello_does_not_replace_a_newer_one_unless_it_echoes() {
        let (mut handshake, _) = handshake(1);
        let own = Own { session: SessionId(1024), attempt: 0 };
        let newer = us(9).hello(own, None, true, (1, 0));
        let older = us(8).hello(own, None, true, (1, 0));
        assert_eq!(handshake.receive(Time::ZERO, &newer, &us(1)), Some(false));
        assert_eq!(handshake.receive(Time::ZERO, &older, &us(1)), None);
        let echo = Hello { echo_session: handshake.own.session, echo_incarnation: 1, ..older };
        assert_eq!(handshake.receive(Time::ZERO, &echo, &us(1)), Some(true));
    }

    #[test]
    fn intervals_grow_with_jitter_up_to_a_bound() {
        let (mut handshake, mut rng) = handshake(5);
        let mut now = Time::ZERO;
        let mut gaps = Vec::new();
        for _ in 0..8 {
            assert!(handshake.transmit(now, &us(1), &mut rng).is_some());
            let due = handshake.due();
            gaps.push(due.since_ns(now));
            now = due;
        }
        assert!(gaps[0] <= INTERVAL_NS_MIN * 5 / 4 && gaps[0] >= INTERVAL_NS_MIN * 3 / 4);
        assert!(gaps[7] <= INTERVAL_NS_MAX * 5 / 4 && gaps[7] >= INTERVAL_NS_MAX * 3 / 4);
        assert_ne!(gaps[6], gaps[7]);
    }

    #[test]
    fn mismatches_are_told_apart() {
        let own = Own { session: SessionId(1024), attempt: 0 };
        let hello = us(2).hello(own, None, true, (1, 0));
        assert_eq!(us(1).check(&hello), Ok(()));
        assert_eq!(us(2).check(&hello), Err(Mismatch::SameIncarnation));
        let other = Hello { digest: 8, ..hello };
        assert_eq!(us(1).check(&other), Err(Mismatch::Digest { theirs: 8 }));
        let future = Hello { version_min: 4, version_max: 5, ..hello };
        assert_eq!(us(1).check(&future), Err(Mismatch::Version { min: 4, max: 5 }));
    }
}
