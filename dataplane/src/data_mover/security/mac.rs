//! Keyed MACs of key exchanges, and the cookie: what can be checked without curve arithmetic.
//!
//! In: datagrams of a key exchange. Out: whether their sender knows whom it speaks to, and
//! receives at its address. Never: a decision, a clock.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::{digest, hmac};

use super::PublicKey;
use crate::data_mover::wire::{Cookie, Exchange, MAC_LEN, NONCE_LEN};

/// What the sender of an initiation sends back under load, to show that it receives at its
/// address.
pub(in crate::data_mover) type CookieValue = [u8; MAC_LEN];

fn derived(label: &str, public: &PublicKey) -> [u8; MAC_LEN] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(label.as_bytes());
    context.update(&public.0);
    let mut key = [0; MAC_LEN];
    key.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    key
}

fn sign(key: &hmac::Key, bytes: &[u8]) -> [u8; MAC_LEN] {
    let mut mac = [0; MAC_LEN];
    mac.iter_mut().zip(hmac::sign(key, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    mac
}

/// What follows from the public key of a receiver: who knows it can speak to that receiver.
#[derive(Debug)]
pub(in crate::data_mover) struct ReceiverKeys {
    mac: hmac::Key,
    cookie: Option<LessSafeKey>,
}

impl ReceiverKeys {
    pub(in crate::data_mover) fn of(public: &PublicKey) -> Self {
        let cookie = UnboundKey::new(&CHACHA20_POLY1305, &derived("tpo cookie", public));
        ReceiverKeys {
            mac: hmac::Key::new(hmac::HMAC_SHA256, &derived("tpo mac", public)),
            cookie: cookie.ok().map(LessSafeKey::new),
        }
    }

    /// Whether the first MAC of a key exchange is right.
    pub(in crate::data_mover) fn verify(&self, datagram: &[u8]) -> bool {
        Exchange::macs(datagram)
            .is_some_and(|[(bytes, mac), _]| hmac::verify(&self.mac, bytes, mac).is_ok())
    }

    /// Writes both MACs into a key exchange that has room for them; the first one.
    pub(in crate::data_mover) fn write(
        &self,
        datagram: &mut [u8],
        cookie: Option<&CookieValue>,
    ) -> Option<[u8; MAC_LEN]> {
        let first_at = datagram.len().checked_sub(2 * MAC_LEN)?;
        let second_at = first_at + MAC_LEN;
        let first = sign(&self.mac, datagram.get(..first_at)?);
        datagram.get_mut(first_at..second_at)?.copy_from_slice(&first);
        if let Some(cookie) = cookie {
            let key = hmac::Key::new(hmac::HMAC_SHA256, cookie);
            let second = sign(&key, datagram.get(..second_at)?);
            datagram.get_mut(second_at..)?.copy_from_slice(&second);
        }
        Some(first)
    }

    /// Seals a cookie for the sender of the key exchange with this first MAC.
    pub(in crate::data_mover) fn seal_cookie(
        &self,
        nonce: [u8; NONCE_LEN],
        first_mac: &[u8],
        cookie: &CookieValue,
    ) -> Option<[u8; Cookie::SEALED_LEN]> {
        let mut sealed = [0; Cookie::SEALED_LEN];
        let (secret, room) = sealed.split_at_mut_checked(MAC_LEN)?;
        secret.copy_from_slice(cookie);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let aad = Aad::from(first_mac);
        let tag = self.cookie.as_ref()?.seal_in_place_separate_tag(nonce, aad, secret).ok()?;
        room.copy_from_slice(tag.as_ref());
        Some(sealed)
    }

    /// The cookie for the key exchange that we sent with this first MAC.
    pub(in crate::data_mover) fn open_cookie(
        &self,
        cookie: &Cookie<'_>,
        first_mac: &[u8],
    ) -> Option<CookieValue> {
        let mut sealed: [u8; Cookie::SEALED_LEN] = cookie.sealed.try_into().ok()?;
        let nonce = Nonce::assume_unique_for_key(cookie.nonce);
        let aad = Aad::from(first_mac);
        let opened = self.cookie.as_ref()?.open_in_place(nonce, aad, &mut sealed).ok()?;
        opened.first_chunk().copied()
    }
}

/// Makes cookies, and knows them again: nothing is kept for the source that gets one.
#[derive(Debug)]
pub(super) struct CookieJar(hmac::Key);

impl CookieJar {
    pub(super) fn new(secret: [u64; 4]) -> Self {
        let mut bytes = [0; MAC_LEN];
        let words = secret.iter().flat_map(|word| word.to_be_bytes());
        bytes.iter_mut().zip(words).for_each(|(to, from)| *to = from);
        CookieJar(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }

    /// The cookie of a source in a period.
    pub(super) fn cookie(&self, source: std::net::SocketAddr, period: u64) -> CookieValue {
        let mut bytes = [0; 1 + 8 + 16 + 2];
        let address = match source.ip() {
            std::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            std::net::IpAddr::V6(address) => address.octets(),
        };
        let parts = [1].into_iter().chain(period.to_be_bytes()).chain(address);
        let parts = parts.chain(source.port().to_be_bytes());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        sign(&self.0, &bytes)
    }

    /// A nonce that no other number gives.
    pub(super) fn nonce(&self, number: u64) -> [u8; NONCE_LEN] {
        let mut bytes = [0; 9];
        bytes.iter_mut().skip(1).zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
        let mut nonce = [0; NONCE_LEN];
        nonce.iter_mut().zip(sign(&self.0, &bytes)).for_each(|(to, from)| *to = from);
        nonce
    }

    /// Whether the second MAC of a key exchange was made with this cookie.
    pub(super) fn verify(datagram: &[u8], cookie: &CookieValue) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, cookie);
        Exchange::macs(datagram)
            .is_some_and(|[_, (bytes, mac)]| hmac::verify(&key, bytes, mac).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::super::PrivateKey;
    use super::*;
    use crate::data_mover::wire::{SessionId, SubfieldKind};

    fn datagram() -> ([u8; Exchange::LEN_MAX], usize) {
        let mut out = [0; Exchange::LEN_MAX];
        let kind = SubfieldKind::Initiation;
        let exchange = Exchange { kind, epoch: 2, session: SessionId(0), message: b"message" };
        let len = exchange.emit(&mut out).unwrap();
        (out, len)
    }

    #[test]
    fn the_first_mac_is_for_one_receiver_and_covers_every_bit() {
        let receiver = ReceiverKeys::of(&PrivateKey::new([1; 32]).public());
        let other = ReceiverKeys::of(&PrivateKey::new([2; 32]).public());
        let (mut out, len) = datagram();
        assert!(!receiver.verify(&out[..len]));
        receiver.write(&mut out[..len], None).unwrap();
        assert!(receiver.verify(&out[..len]));
        assert!(!other.verify(&out[..len]));
        for bit in 0..(len - MAC_LEN) * 8 {
            out[bit / 8] ^= 1 << (bit % 8);
            assert!(!receiver.verify(&out[..len]), "bit {bit}");
            out[bit / 8] ^= 1 << (bit % 8);
        }
        for short in 0..len {
            assert!(!receiver.verify(&out[..short]));
        }
    }

    #[test]
    fn a_cookie_is_for_one_source_one_period_and_one_initiation() {
        let receiver = ReceiverKeys::of(&PrivateKey::new([1; 32]).public());
        let jar = CookieJar::new([1, 2, 3, 4]);
        let source = "10.0.0.1:4980".parse().unwrap();
        let value = jar.cookie(source, 7);
        assert_ne!(value, jar.cookie(source, 8));
        assert_ne!(value, jar.cookie("10.0.0.1:4981".parse().unwrap(), 7));
        assert_ne!(jar.nonce(1), jar.nonce(2));

        let (mut out, len) = datagram();
        let first = receiver.write(&mut out[..len], None).unwrap();
        let sealed = receiver.seal_cookie(jar.nonce(1), &first, &value).unwrap();
        let session = SessionId(0);
        let cookie = Cookie { epoch: 2, session, nonce: jar.nonce(1), sealed: &sealed };
        assert_eq!(receiver.open_cookie(&cookie, &first), Some(value));
        assert_eq!(receiver.open_cookie(&cookie, &[0; MAC_LEN]), None);
        assert!(!CookieJar::verify(&out[..len], &value));
        receiver.write(&mut out[..len], Some(&value)).unwrap();
        assert!(CookieJar::verify(&out[..len], &value) && receiver.verify(&out[..len]));
    }
}
