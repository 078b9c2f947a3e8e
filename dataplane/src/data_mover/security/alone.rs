//! Sealing and opening datagrams without a session, for `perf/run micro`.
//!
//! In: datagrams as a session would write or receive them. Out: the same, sealed or opened, by the
//! keyring, the replay window and the checks that a session has. Never: a part of an appliance.

use zeroize::Zeroizing;

use super::aead::Cipher;
use super::keyring::{Keyring, Keys, Opened};
use super::noise::RawKeys;
use crate::data_mover::handshake::PeerHello;
use crate::data_mover::received::Window;
use crate::data_mover::wire::{DataView, DatagramHeader, Limits, SessionId};
use crate::time::Time;

/// The only epoch.
pub const EPOCH: u8 = 2;

/// Seals.
#[derive(Debug)]
pub struct Sealer(Keyring);

/// Opens.
#[derive(Debug)]
pub struct Opener {
    ring: Keyring,
    replay: Window,
}

/// Both ends of AES-256-GCM with this key.
#[must_use]
pub fn pair(key: [u8; super::KEY_LEN]) -> Option<(Sealer, Opener)> {
    let ring = || {
        let raw = RawKeys { seal: Zeroizing::new(key), open: Zeroizing::new(key) };
        let limits = Limits::default();
        let peer =
            PeerHello { session: SessionId(1), incarnation: 1, attempt: 0, limits, zstd: true };
        let keys = Keys::new(Time::ZERO, EPOCH, Cipher::Aes256Gcm, &raw, peer)?;
        let mut ring = Keyring::default();
        ring.begin(Time::ZERO, keys);
        Some(ring)
    };
    Some((Sealer(ring()?), Opener { ring: ring()?, replay: Window::new() }))
}

impl Sealer {
    /// Seals a datagram whose last bytes are room for the tag, and whose first `clear_len` stay
    /// readable.
    pub fn seal(&mut self, number: u64, datagram: &mut [u8], clear_len: usize) -> Option<()> {
        self.0.sealing(Time::ZERO)?;
        self.0.seal(number, datagram, clear_len)
    }
}

impl Opener {
    /// Opens a datagram; its length without the tag, or `None` when it is not authentic or not new.
    pub fn open(&mut self, datagram: &mut [u8]) -> Option<usize> {
        let (header, field, _) = DatagramHeader::parse(datagram).ok()?;
        let number = DataView::physical(header.kind, field, self.replay.highest()).ok()?;
        self.replay.is_new(number).then_some(())?;
        let clear_len = header.clear_len();
        match self.ring.open(Time::ZERO, header.key_epoch, number, datagram, clear_len) {
            Opened::Whole(len) => self.replay.insert(number).then_some(len),
            Opened::Forged | Opened::NoKeys => None,
        }
    }

    /// Takes all numbers for new again.
    pub fn forget(&mut self) {
        self.replay.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_mover::wire::{DatagramKind, HEADER_LEN, TAG_LEN, emit_data};

    #[test]
    fn what_one_seals_the_other_opens_once() {
        let (mut sealer, mut opener) = pair([3; 32]).unwrap();
        let mut datagram = [7; 100];
        let field_len = emit_data(5, &[], &mut datagram[HEADER_LEN..]).unwrap();
        let header = DatagramHeader {
            kind: DatagramKind::Session,
            key_epoch: EPOCH,
            field_len: u16::try_from(field_len).unwrap(),
            session: SessionId(1),
        };
        header.emit(&mut datagram).unwrap();
        sealer.seal(5, &mut datagram, HEADER_LEN + field_len).unwrap();
        let sealed = datagram;
        assert_eq!(opener.open(&mut datagram), Some(100 - TAG_LEN));
        assert_eq!(datagram[HEADER_LEN + field_len..100 - TAG_LEN], [7; 71]);
        assert_eq!(opener.open(&mut sealed.clone()), None, "again");
        opener.forget();
        let mut damaged = sealed;
        damaged[60] ^= 1;
        assert_eq!(opener.open(&mut damaged), None);
        assert_eq!(opener.open(&mut sealed.clone()), Some(100 - TAG_LEN));
    }
}
