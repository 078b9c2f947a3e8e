//! What who has the right keys could write into a handshake, whatever it is.
//!
//! In: keys, any payload. Out: datagrams of a key exchange that authenticate.

use zeroize::Zeroizing;

use super::mac::ReceiverKeys;
use super::noise::{self, Message};
use super::{KEY_LEN, PeerKeys, PrivateKey, PublicKey};
use crate::data_mover::wire::{Exchange, SessionId, SubfieldKind};

/// A key exchange with this message whose first MAC is right: all that a stranger can write who
/// knows the receiver's public key.
pub(in crate::data_mover) fn exchange(
    receiver: &PublicKey,
    kind: SubfieldKind,
    epoch: u8,
    session: SessionId,
    message: &[u8],
) -> Option<Vec<u8>> {
    let mut out = vec![0; Exchange::LEN_MAX + message.len()];
    let len = Exchange { kind, epoch, session, message }.emit(&mut out)?;
    out.truncate(len);
    ReceiverKeys::of(receiver).write(&mut out, None)?;
    Some(out)
}

fn random(fill: u8) -> Zeroizing<[u8; KEY_LEN]> {
    Zeroizing::new([fill; KEY_LEN])
}

/// An initiation of `own` with this payload.
pub(in crate::data_mover) fn initiation(
    own: &PrivateKey,
    peer: &PeerKeys,
    epoch: u8,
    fill: u8,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let (_, message) = noise::initiate(own, peer, epoch, random(fill), payload)?;
    exchange(&peer.public, SubfieldKind::Initiation, epoch, SessionId(0), message.bytes())
}

/// The response of `own` with this payload to an initiation, for the session that it names.
pub(in crate::data_mover) fn response(
    own: &PrivateKey,
    peer: &PeerKeys,
    initiation: &[u8],
    session: SessionId,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let asked = Exchange::parse(initiation).ok()?;
    let message = Message::of(asked.message)?;
    let (state, ..) = noise::read_initiation(own, asked.epoch, random(7), &message)?;
    let (message, _) = noise::respond(state, peer, payload)?;
    exchange(&peer.public, SubfieldKind::Response, asked.epoch, session, message.bytes())
}
