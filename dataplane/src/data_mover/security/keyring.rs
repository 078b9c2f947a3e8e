//! The keys of one session: which epoch seals, which ones still open.
//!
//! In: keys as handshakes end, datagrams opened, the time. Out: the key for an epoch, when new
//! ones are due, when the present ones must not be used any more. Never: a key made here.
//!
//! ```text
//!              a handshake that the peer began                a datagram under them opened
//!   (nothing) ---------------------------------> waiting --------------------------------+
//!        |                                                                               v
//!        +---------------------------------------------------------------------------> newest
//!              a handshake that we began ended                     newer ones came       |
//!                                                                                        v
//!                     (forgotten) <--------------------------------------------------- older
//!                                   so long ago, or so many newer, that nothing is on its way
//! ```
//!
//! Whoever answers a handshake does not know that the answer arrived: it sends under the new keys
//! only when a datagram under them came. So nothing changes by a handshake alone, and neither side
//! ever seals with keys that the other does not have.

use super::aead::{Cipher, DirectionKey};
use super::noise::RawKeys;
use crate::data_mover::handshake::PeerHello;
use crate::time::{SECOND_NS, Time};

/// Age in nanoseconds at which one side asks for new keys.
const RENEW_NS: u64 = 120 * SECOND_NS;
/// How much later the other side does, if the first did not: so that they rarely do both.
const RENEW_LATER_NS: u64 = 10 * SECOND_NS;
/// Age in nanoseconds beyond which keys are used no more.
const LIFE_NS: u64 = 300 * SECOND_NS;
/// How long older keys are kept when nothing comes under them any more, in nanoseconds. When two
/// handshakes crossed, either side may seal with what is older to the other, until the next.
const OLDER_NS: u64 = 30 * SECOND_NS;
/// How long keys wait for a first datagram, in nanoseconds.
const WAITING_NS: u64 = 15 * SECOND_NS;
/// Datagrams sealed under one key before a new one is asked for, and beyond which it is used no
/// more. The bound for AES-GCM with datagrams of up to 2^11 bytes is 2^28 (RFC 9001 appendix B.1).
const RENEW_SEALED: u64 = 1 << 26;
const SEALED_MAX: u64 = 1 << 28;
/// Datagrams that did not authenticate under one key, beyond which it opens no more (RFC 9001
/// section 6.6, for ChaCha20-Poly1305).
const FORGED_MAX: u64 = 1 << 36;

const _: () = assert!(RENEW_NS + RENEW_LATER_NS < LIFE_NS && RENEW_SEALED < SEALED_MAX);

/// Keys that wait for a first datagram: handshakes may cross or be repeated.
const WAITING: usize = 2;
/// Keys that open: the newest seals, the older ones are for what is on its way.
/// Two of each, because handshakes may cross.
const LIVE: usize = 4;

/// The keys of one epoch.
#[derive(Debug)]
pub(in crate::data_mover) struct Keys {
    epoch: u8,
    seal: DirectionKey,
    open: DirectionKey,
    pub(in crate::data_mover) cipher: Cipher,
    /// Who the peer said to be in the handshake.
    pub(in crate::data_mover) peer: PeerHello,
    /// When they were agreed on.
    since: Time,
    /// When they last were the newest, or opened a datagram.
    used: Time,
    sealed: u64,
    forged: u64,
}

impl Keys {
    pub(in crate::data_mover) fn new(
        now: Time,
        epoch: u8,
        cipher: Cipher,
        raw: &RawKeys,
        peer: PeerHello,
    ) -> Option<Self> {
        Some(Keys {
            epoch,
            seal: DirectionKey::new(cipher, &raw.seal)?,
            open: DirectionKey::new(cipher, &raw.open)?,
            cipher,
            peer,
            since: now,
            used: now,
            sealed: 0,
            forged: 0,
        })
    }
}

/// The keys of one session.
#[derive(Debug, Default)]
pub(in crate::data_mover) struct Keyring {
    waiting: [Option<Keys>; WAITING],
    /// The newest first.
    live: [Option<Keys>; LIVE],
}

impl Keyring {
    /// Forgets all keys.
    pub(in crate::data_mover) fn clear(&mut self) {
        *self = Keyring::default();
    }

    /// Whether an epoch is in use, so that no other keys may have its number.
    pub(in crate::data_mover) fn is_live(&self, epoch: u8) -> bool {
        self.live.iter().flatten().any(|keys| keys.epoch == epoch)
    }

    /// Keys of a handshake that the peer began: they wait for a first datagram.
    pub(in crate::data_mover) fn wait(&mut self, keys: Keys) {
        if !self.is_live(keys.epoch) {
            self.waiting.rotate_right(1);
            if let Some(first) = self.waiting.first_mut() {
                *first = Some(keys);
            }
        }
    }

    /// Keys of a handshake that we began and that has ended: the peer has them.
    pub(in crate::data_mover) fn begin(&mut self, now: Time, keys: Keys) {
        if self.is_live(keys.epoch) {
            return;
        }
        if let Some(before) = self.live.first_mut().and_then(Option::as_mut) {
            before.used = now;
        }
        self.live.rotate_right(1);
        if let Some(first) = self.live.first_mut() {
            *first = Some(keys);
        }
    }

    /// Opens a datagram in place with the keys of its epoch.
    pub(in crate::data_mover) fn open(
        &mut self,
        now: Time,
        epoch: u8,
        number: u64,
        datagram: &mut [u8],
        clear_len: usize,
    ) -> Opened {
        let all = self.live.iter_mut().chain(&mut self.waiting).flatten();
        let Some(keys) = all.into_iter().find(|keys| keys.epoch == epoch) else {
            return Opened::NoKeys;
        };
        if keys.forged >= FORGED_MAX {
            return Opened::NoKeys;
        }
        let Some(len) = keys.open.open(number, datagram, clear_len) else {
            keys.forged += 1;
            return Opened::Forged;
        };
        keys.used = now;
        self.confirm(now, epoch);
        Opened::Whole(len)
    }

    /// A datagram under this epoch has been opened: keys that waited for it are the newest.
    fn confirm(&mut self, now: Time, epoch: u8) {
        let waits = |slot: &&mut Option<Keys>| slot.as_ref().is_some_and(|k| k.epoch == epoch);
        let confirmed = self.waiting.iter_mut().find(waits).and_then(Option::take);
        if let Some(keys) = confirmed {
            self.begin(now, keys);
        }
    }

    /// The newest keys.
    pub(in crate::data_mover) fn newest(&self) -> Option<&Keys> {
        self.live.first().and_then(Option::as_ref)
    }

    /// The epoch that datagrams are sealed in now; `None` when none may be.
    pub(in crate::data_mover) fn sealing(&self, now: Time) -> Option<u8> {
        let usable = |keys: &&Keys| keys.sealed < SEALED_MAX && now.since_ns(keys.since) < LIFE_NS;
        self.newest().filter(usable).map(|keys| keys.epoch)
    }

    /// Seals a datagram in place with the newest keys.
    pub(in crate::data_mover) fn seal(
        &mut self,
        number: u64,
        datagram: &mut [u8],
        clear_len: usize,
    ) -> Option<()> {
        let keys = self.live.first_mut()?.as_mut()?;
        keys.sealed += 1;
        keys.seal.seal(number, datagram, clear_len)
    }

    /// When new keys are to be asked for; `first` at one side of the two.
    pub(in crate::data_mover) fn renew_at(&self, first: bool) -> Time {
        let Some(keys) = self.newest() else { return Time::NEVER };
        if keys.sealed >= RENEW_SEALED {
            return Time::ZERO;
        }
        keys.since + RENEW_NS + if first { 0 } else { RENEW_LATER_NS }
    }

    /// When the newest keys may be used no more.
    pub(in crate::data_mover) fn expires(&self) -> Time {
        match self.newest() {
            Some(keys) if keys.sealed >= SEALED_MAX => Time::ZERO,
            Some(keys) => keys.since + LIFE_NS,
            None => Time::NEVER,
        }
    }

    /// Forgets older keys when nothing can be on its way under them any more, and keys that no
    /// datagram came under.
    pub(in crate::data_mover) fn forget(&mut self, now: Time) {
        let clear = |slots: &mut [Option<Keys>], ns: u64| {
            for slot in slots {
                slot.take_if(|keys| {
                    now.since_ns(keys.used) >= ns || now.since_ns(keys.since) >= LIFE_NS
                });
            }
        };
        clear(self.live.get_mut(1..).unwrap_or(&mut []), OLDER_NS);
        clear(&mut self.waiting, WAITING_NS);
    }

    /// Number of epochs that can open a datagram.
    #[cfg(test)]
    pub(in crate::data_mover) fn epochs(&self) -> usize {
        self.live.iter().chain(&self.waiting).flatten().count()
    }

    /// Makes the newest keys as worn as if they had sealed so many datagrams.
    #[cfg(test)]
    pub(in crate::data_mover) fn wear(&mut self, sealed: u64) {
        if let Some(keys) = self.live.first_mut().and_then(Option::as_mut) {
            keys.sealed += sealed;
        }
    }
}

/// What came of opening a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data_mover) enum Opened {
    /// It is authentic; this is its length without the tag.
    Whole(usize),
    /// It is not.
    Forged,
    /// There are no keys for its epoch.
    NoKeys,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_mover::wire::{Limits, SessionId};
    use zeroize::Zeroizing;

    fn keys(now: Time, epoch: u8, ours: bool) -> Keys {
        let raw = |fill| Zeroizing::new([fill; 32]);
        let (seal, open) = if ours { (1, 2) } else { (2, 1) };
        let raw = RawKeys { seal: raw(seal ^ epoch), open: raw(open ^ epoch) };
        let limits = Limits::default();
        let peer =
            PeerHello { session: SessionId(1024), incarnation: 1, attempt: 0, limits, zstd: true };
        Keys::new(now, epoch, Cipher::Aes256Gcm, &raw, peer).unwrap()
    }

    /// Both ends of a session with epoch 2 in use.
    fn pair() -> (Keyring, Keyring) {
        let (mut ours, mut theirs) = (Keyring::default(), Keyring::default());
        ours.begin(Time::ZERO, keys(Time::ZERO, 2, true));
        theirs.begin(Time::ZERO, keys(Time::ZERO, 2, false));
        (ours, theirs)
    }

    fn sealed(ring: &mut Keyring, number: u64) -> (u8, [u8; 40]) {
        let epoch = ring.sealing(Time::ZERO).unwrap();
        let mut datagram = [7; 40];
        ring.seal(number, &mut datagram, 10).unwrap();
        (epoch, datagram)
    }

    #[test]
    fn who_answered_seals_with_new_keys_only_when_the_peer_did() {
        let (mut ours, mut theirs) = pair();
        let now = Time::from_ms(5);
        theirs.wait(keys(now, 4, false));
        assert_eq!(theirs.sealing(now).unwrap(), 2, "nothing changes by a handshake alone");
        let (_, mut before) = sealed(&mut ours, 1);
        let (late_epoch, mut late) = sealed(&mut ours, 2);
        ours.begin(now, keys(now, 4, true));
        let (epoch, mut first) = sealed(&mut ours, 3);
        assert_eq!(epoch, 4);
        assert_eq!(theirs.open(now, 2, 1, &mut before, 10), Opened::Whole(24));
        assert_eq!(theirs.sealing(now).unwrap(), 2);
        assert_eq!(theirs.open(now, 4, 3, &mut first, 10), Opened::Whole(24));
        assert_eq!(theirs.sealing(now).unwrap(), 4);
        assert_eq!(theirs.open(now, late_epoch, 2, &mut late, 10), Opened::Whole(24), "reordered");
        assert_eq!(theirs.sealing(now).unwrap(), 4, "and nothing goes back");
    }

    #[test]
    fn old_keys_are_forgotten() {
        let (mut ours, mut theirs) = pair();
        let (_, datagram) = sealed(&mut ours, 1);
        let mut now = Time::from_ms(120_000);
        theirs.begin(now, keys(now, 4, true));
        theirs.wait(keys(now, 5, false));
        now = now + 29 * SECOND_NS;
        theirs.forget(now);
        let opened = theirs.open(now, 2, 1, &mut datagram.clone(), 10);
        assert_eq!(opened, Opened::Whole(24), "the peer still uses them");
        now = now + 29 * SECOND_NS;
        theirs.forget(now);
        assert_eq!(theirs.epochs(), 2);
        now = now + SECOND_NS;
        theirs.forget(now);
        assert_eq!(theirs.open(now, 2, 1, &mut datagram.clone(), 10), Opened::NoKeys);
        assert_eq!(theirs.epochs(), 1, "and those that were never used");
    }

    #[test]
    fn handshakes_that_never_end_do_not_push_out_keys_in_use() {
        let (mut ours, mut theirs) = pair();
        for epoch in (4..=254).step_by(2) {
            theirs.wait(keys(Time::ZERO, epoch, false));
        }
        theirs.wait(keys(Time::ZERO, 2, true));
        assert_eq!(theirs.epochs(), 3);
        let (epoch, mut datagram) = sealed(&mut ours, 1);
        assert_eq!(theirs.open(Time::ZERO, epoch, 1, &mut datagram, 10), Opened::Whole(24));
    }

    #[test]
    fn what_does_not_authenticate_confirms_nothing() {
        let (_, mut theirs) = pair();
        theirs.wait(keys(Time::ZERO, 4, false));
        assert_eq!(theirs.open(Time::ZERO, 4, 1, &mut [0; 40], 10), Opened::Forged);
        assert_eq!(theirs.open(Time::ZERO, 6, 1, &mut [0; 40], 10), Opened::NoKeys);
        assert_eq!(theirs.sealing(Time::ZERO).unwrap(), 2);
    }

    #[test]
    fn new_keys_are_asked_for_by_time_and_by_count_long_before_a_limit() {
        let (mut ours, _) = pair();
        assert_eq!(ours.renew_at(true), Time::from_ms(120_000));
        assert_eq!(ours.renew_at(false), Time::from_ms(130_000));
        assert_eq!(ours.expires(), Time::from_ms(300_000));
        assert!(ours.sealing(Time::from_ms(299_999)).is_some());
        assert!(ours.sealing(Time::from_ms(300_000)).is_none());
        ours.wear(RENEW_SEALED - 1);
        assert_eq!(ours.renew_at(true), Time::from_ms(120_000));
        ours.wear(1);
        assert_eq!(ours.renew_at(false), Time::ZERO);
        ours.wear(SEALED_MAX - RENEW_SEALED - 1);
        assert!(ours.sealing(Time::ZERO).is_some());
        ours.wear(1);
        assert_eq!((ours.sealing(Time::ZERO), ours.expires()), (None, Time::ZERO));
    }
}
