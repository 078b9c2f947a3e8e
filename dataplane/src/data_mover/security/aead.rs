//! Sealing and opening one datagram in place.
//!
//! In: a datagram whose front part (header and data mover field) is to be authenticated and whose
//! rest (the bytes of pieces) is to be encrypted too, and its physical number. Out: the same
//! bytes, sealed, with the tag behind them; or opened. Never: a copy, the same number twice under
//! one key (the caller's promise: a physical number is used once).

use ring::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::KEY_LEN;
use crate::data_mover::wire::TAG_LEN;

/// How datagrams are sealed; both ends choose alike from what both told of their processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data_mover) enum Cipher {
    /// Where both processors have instructions for it.
    Aes256Gcm,
    /// Everywhere else.
    ChaCha20Poly1305,
}

impl Cipher {
    /// The cipher of a pair, from whether each of the two has AES instructions.
    pub(in crate::data_mover) fn agreed(ours: bool, theirs: bool) -> Self {
        if ours && theirs { Cipher::Aes256Gcm } else { Cipher::ChaCha20Poly1305 }
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

const _: () = assert!(TAG_LEN == 16, "the tag of both ciphers");

/// The key of one direction in one epoch.
#[derive(Debug)]
pub(in crate::data_mover) struct DirectionKey(LessSafeKey);

/// 32 zero bits, then the physical number (as in RFC 9001 section 5.3, without a mask: the key
/// serves one direction of one session only).
fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes.iter_mut().skip(4).zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
    Nonce::assume_unique_for_key(bytes)
}

impl DirectionKey {
    pub(in crate::data_mover) fn new(cipher: Cipher, bytes: &[u8; KEY_LEN]) -> Option<Self> {
        UnboundKey::new(cipher.algorithm(), bytes)
            .ok()
            .map(|key| DirectionKey(LessSafeKey::new(key)))
    }

    /// Seals a datagram whose last [`TAG_LEN`] bytes are room for the tag; its first `clear_len`
    /// bytes stay readable. `None` when it has no such parts.
    pub(in crate::data_mover) fn seal(
        &self,
        number: u64,
        datagram: &mut [u8],
        clear_len: usize,
    ) -> Option<()> {
        let (clear, rest) = datagram.split_at_mut_checked(clear_len)?;
        let (secret, room) = rest.split_at_mut_checked(rest.len().checked_sub(TAG_LEN)?)?;
        let aad = Aad::from(&*clear);
        let tag = self.0.seal_in_place_separate_tag(nonce(number), aad, secret).ok()?;
        room.copy_from_slice(tag.as_ref());
        Some(())
    }

    /// Opens a datagram in place; the length of what it carries, the tag left off, or `None` when
    /// it does not authenticate: then its bytes are of no use any more.
    pub(in crate::data_mover) fn open(
        &self,
        number: u64,
        datagram: &mut [u8],
        clear_len: usize,
    ) -> Option<usize> {
        let (clear, sealed) = datagram.split_at_mut_checked(clear_len)?;
        let opened = self.0.open_in_place(nonce(number), Aad::from(&*clear), sealed).ok()?;
        Some(clear_len + opened.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(cipher: Cipher, fill: u8) -> DirectionKey {
        DirectionKey::new(cipher, &[fill; KEY_LEN]).unwrap()
    }

    #[test]
    fn every_bit_is_authenticated_and_the_front_stays_readable() {
        for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
            let (key, other) = (key(cipher, 1), key(cipher, 2));
            let plain: Vec<u8> = (0..60).collect();
            let mut sealed = plain.clone();
            sealed.extend([0; TAG_LEN]);
            key.seal(7, &mut sealed, 20).unwrap();
            assert_eq!(sealed[..20], plain[..20]);
            assert_ne!(sealed[20..60], plain[20..]);
            let mut opened = sealed.clone();
            assert_eq!(key.open(7, &mut opened, 20), Some(60));
            assert_eq!(opened[..60], plain);
            assert_eq!(key.open(8, &mut sealed.clone(), 20), None, "another number");
            assert_eq!(key.open(7, &mut sealed.clone(), 21), None, "another border");
            assert_eq!(other.open(7, &mut sealed.clone(), 20), None, "another key");
            for bit in 0..sealed.len() * 8 {
                let mut flipped = sealed.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(key.open(7, &mut flipped, 20), None, "bit {bit}");
            }
            for len in 0..sealed.len() {
                assert_eq!(key.open(7, &mut sealed[..len].to_vec(), 20), None, "{len} bytes");
            }
        }
    }

    proptest! {
        #[test]
        fn open_inverts_seal(aes: bool, number: u64, bytes in proptest::collection::vec(any::<u8>(), 0..200), cut: prop::sample::Index) {
            let key = key(Cipher::agreed(aes, true), 3);
            let clear_len = cut.index(bytes.len() + 1);
            let mut datagram = bytes.clone();
            datagram.extend([0; TAG_LEN]);
            key.seal(number, &mut datagram, clear_len).unwrap();
            prop_assert_eq!(key.open(number, &mut datagram, clear_len), Some(bytes.len()));
            datagram.truncate(bytes.len());
            prop_assert_eq!(datagram, bytes);
        }
    }

    #[test]
    fn the_tag_is_that_of_the_ciphers_definition() {
        // RFC 8439 section 2.8.2 uses a nonce that is not of our form, so: GCM specification
        // (McGrew, Viega), test case 13: a zero key, a zero nonce, nothing to seal.
        let mut datagram = [0; TAG_LEN];
        key(Cipher::Aes256Gcm, 0).seal(0, &mut datagram, 0).unwrap();
        let tag = [
            0x53, 0x0f, 0x8a, 0xfb, 0xc7, 0x45, 0x36, 0xb9, 0xa9, 0x63, 0xb4, 0xf1, 0xc4, 0xcb,
            0x73, 0x8b,
        ];
        assert_eq!(datagram, tag);
    }
}
