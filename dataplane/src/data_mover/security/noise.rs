//! The handshake itself: Noise IK with a pre-shared key (The Noise Protocol Framework, revision
//! 34, `IKpsk2`), one message each way.
//!
//! In: our static key, the peer's, fresh random bytes, messages. Out: messages, who sent one, the
//! keys of both directions. Never: randomness of its own, a decision on what to answer.

use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState};
use zeroize::Zeroizing;

use super::{KEY_LEN, PeerKeys, PrivateKey, PublicKey};
use crate::data_mover::wire::{HANDSHAKE_VERSION, MESSAGE_MAX};

const PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
/// Where the pattern uses the pre-shared key.
const PSK_PLACE: u8 = 2;

/// A message of the handshake, or what was in one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    bytes: [u8; MESSAGE_MAX],
    len: usize,
}

impl Message {
    /// `None` when it is too long.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let mut message = Message { bytes: [0; MESSAGE_MAX], len: bytes.len() };
        message.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(message)
    }

    fn written(write: impl FnOnce(&mut [u8]) -> Result<usize, Error>) -> Option<Self> {
        let mut message = Message { bytes: [0; MESSAGE_MAX], len: 0 };
        message.len = write(&mut message.bytes).ok()?;
        Some(message)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

/// The keys that a handshake ends with, not yet those of a cipher.
pub(crate) struct RawKeys {
    /// What we send is sealed with.
    pub(in crate::data_mover) seal: Zeroizing<[u8; KEY_LEN]>,
    /// What we receive is opened with.
    pub(in crate::data_mover) open: Zeroizing<[u8; KEY_LEN]>,
}

impl std::fmt::Debug for RawKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawKeys")
    }
}

impl RawKeys {
    fn of(state: &mut HandshakeState) -> Self {
        let (to_responder, to_initiator) = state.dangerously_get_raw_split();
        let (seal, open) = if state.is_initiator() {
            (to_responder, to_initiator)
        } else {
            (to_initiator, to_responder)
        };
        RawKeys { seal: Zeroizing::new(seal), open: Zeroizing::new(open) }
    }
}

/// One handshake's randomness, drawn before it begins: its ephemeral key.
struct Ephemeral(Zeroizing<[u8; KEY_LEN]>);

impl Random for Ephemeral {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        let bytes = self.0.get(..dest.len()).ok_or(Error::Rng)?;
        dest.copy_from_slice(bytes);
        // Once only: a second draw finds nothing.
        self.0 = Zeroizing::new([0; KEY_LEN]);
        Ok(())
    }
}

struct Resolver(Zeroizing<[u8; KEY_LEN]>);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Ephemeral(self.0.clone())))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// What both ends mix in before the first message: a handshake for another epoch, or in
/// another form, does not authenticate.
fn prologue(epoch: u8) -> [u8; 5] {
    [b't', b'p', b'o', HANDSHAKE_VERSION, epoch]
}

/// A handshake that we begin, and its first message with `payload`.
pub(super) fn initiate(
    own: &PrivateKey,
    peer: &PeerKeys,
    epoch: u8,
    random: Zeroizing<[u8; KEY_LEN]>,
    payload: &[u8],
) -> Option<(HandshakeState, Message)> {
    let builder = Builder::with_resolver(PATTERN.parse().ok()?, Box::new(Resolver(random)));
    let prologue = prologue(epoch);
    let mut state = builder
        .local_private_key(own.bytes())
        .and_then(|builder| builder.remote_public_key(&peer.public.0))
        .and_then(|builder| builder.psk(PSK_PLACE, peer.psk_bytes()))
        .and_then(|builder| builder.prologue(&prologue))
        .and_then(Builder::build_initiator)
        .ok()?;
    let message = Message::written(|out| state.write_message(payload, out))?;
    Some((state, message))
}

/// Reads a first message: the handshake so far, who began it, the payload. `None` when it does not
/// authenticate.
pub(super) fn read_initiation(
    own: &PrivateKey,
    epoch: u8,
    random: Zeroizing<[u8; KEY_LEN]>,
    message: &Message,
) -> Option<(HandshakeState, PublicKey, Message)> {
    let builder = Builder::with_resolver(PATTERN.parse().ok()?, Box::new(Resolver(random)));
    let prologue = prologue(epoch);
    let mut state = builder
        .local_private_key(own.bytes())
        .and_then(|builder| builder.prologue(&prologue))
        .and_then(Builder::build_responder)
        .ok()?;
    let payload = Message::written(|out| state.read_message(message.bytes(), out))?;
    let public = PublicKey(*state.get_remote_static()?.first_chunk()?);
    Some((state, public, payload))
}

/// Answers a first message with `payload`: the second message, and the keys.
pub(super) fn respond(
    mut state: HandshakeState,
    peer: &PeerKeys,
    payload: &[u8],
) -> Option<(Message, RawKeys)> {
    state.set_psk(PSK_PLACE.into(), peer.psk_bytes()).ok()?;
    let message = Message::written(|out| state.write_message(payload, out))?;
    Some((message, RawKeys::of(&mut state)))
}

/// Reads a second message: the payload and the keys. `None` when it does not authenticate; the
/// handshake then still waits for one that does.
pub(super) fn finish(state: &mut HandshakeState, message: &Message) -> Option<(Message, RawKeys)> {
    let payload = Message::written(|out| state.read_message(message.bytes(), out))?;
    Some((payload, RawKeys::of(state)))
}

#[cfg(test)]
mod tests {
    use super::super::PresharedKey;
    use super::*;

    fn random(fill: u8) -> Zeroizing<[u8; KEY_LEN]> {
        Zeroizing::new([fill; KEY_LEN])
    }

    fn keys(fill: u8) -> (PrivateKey, PublicKey) {
        let private = PrivateKey::new([fill; KEY_LEN]);
        let public = private.public();
        (private, public)
    }

    fn peer(public: PublicKey, psk: Option<u8>) -> PeerKeys {
        PeerKeys { public, psk: psk.map(|fill| PresharedKey::new([fill; KEY_LEN])) }
    }

    #[test]
    fn both_end_with_each_others_keys() {
        for psk in [None, Some(7)] {
            let ((a, a_public), (b, b_public)) = (keys(1), keys(2));
            let (mut ours, first) =
                initiate(&a, &peer(b_public, psk), 4, random(3), b"from a").unwrap();
            let (theirs, who, payload) = read_initiation(&b, 4, random(5), &first).unwrap();
            assert_eq!((who, payload.bytes()), (a_public, &b"from a"[..]));
            let (second, b_keys) = respond(theirs, &peer(a_public, psk), b"from b").unwrap();
            let (payload, a_keys) = finish(&mut ours, &second).unwrap();
            assert_eq!(payload.bytes(), b"from b");
            assert_eq!((&a_keys.seal, &a_keys.open), (&b_keys.open, &b_keys.seal));
            assert_ne!(a_keys.seal, a_keys.open);
        }
    }

    #[test]
    fn what_differs_does_not_authenticate() {
        let ((a, a_public), (b, b_public)) = (keys(1), keys(2));
        let (mut ours, first) = initiate(&a, &peer(b_public, Some(7)), 4, random(3), b"").unwrap();
        assert!(read_initiation(&b, 6, random(5), &first).is_none(), "another epoch");
        assert!(read_initiation(&a, 4, random(5), &first).is_none(), "for somebody else");
        for at in 0..first.bytes().len() {
            let mut flipped = first;
            flipped.bytes[at] ^= 1;
            assert!(read_initiation(&b, 4, random(5), &flipped).is_none(), "byte {at}");
            let cut = Message { len: at, ..first };
            assert!(read_initiation(&b, 4, random(5), &cut).is_none(), "{at} bytes");
        }
        let (theirs, ..) = read_initiation(&b, 4, random(5), &first).unwrap();
        let (second, _) = respond(theirs, &peer(a_public, None), b"").unwrap();
        assert!(finish(&mut ours, &second).is_none(), "another pre-shared key");
        for at in 0..second.bytes().len() {
            assert!(finish(&mut ours, &Message { len: at, ..second }).is_none(), "{at} bytes");
        }
        // What failed leaves the handshake as it was.
        let (theirs, ..) = read_initiation(&b, 4, random(5), &first).unwrap();
        let (second, _) = respond(theirs, &peer(a_public, Some(7)), b"late").unwrap();
        assert_eq!(finish(&mut ours, &second).unwrap().0.bytes(), b"late");
    }
}
