//! The datagrams of a key exchange: an initiation, its response, or a cookie, each alone in a
//! datagram of the HELLO type.
//!
//! Initiation and response end with two keyed MACs over all that stands before them: the first
//! shows that the sender knows whom it speaks to, the second that it receives at its address.

use super::{
    DatagramHeader, DatagramKind, HEADER_LEN, Hello, Malformed, SUBFIELD_LEN, SessionId,
    SubfieldKind, Subfields, Writer,
};

/// Length of each keyed MAC in bytes.
pub const MAC_LEN: usize = 32;
/// Length of the longest message of the handshake in bytes: an ephemeral key, a sealed static key,
/// a sealed HELLO.
pub const MESSAGE_MAX: usize = 32 + 32 + 16 + Hello::LEN + 16;
/// Length of the nonce of a cookie in bytes.
pub const NONCE_LEN: usize = 12;

/// An initiation or a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange<'a> {
    /// [`SubfieldKind::Initiation`] or [`SubfieldKind::Response`].
    pub kind: SubfieldKind,
    /// The epoch of the keys that are agreed on.
    pub epoch: u8,
    /// The session, named by the receiver's choice; 0 in an initiation to a peer not heard of yet.
    pub session: SessionId,
    /// The message of the handshake.
    pub message: &'a [u8],
}

impl<'a> Exchange<'a> {
    /// Length of the longest such datagram in bytes.
    pub const LEN_MAX: usize = HEADER_LEN + SUBFIELD_LEN + MESSAGE_MAX + 2 * MAC_LEN;

    /// From a whole datagram, the MACs not yet checked.
    ///
    /// # Errors
    /// [`Malformed`] when it is anything else, or of a length that no message has.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let (header, kind, body) = single(datagram)?;
        if !matches!(kind, SubfieldKind::Initiation | SubfieldKind::Response) {
            return Err(Malformed::Order);
        }
        let len = body.len().checked_sub(2 * MAC_LEN).ok_or(Malformed::Truncated)?;
        let message = body.get(..len).filter(|message| message.len() <= MESSAGE_MAX);
        let message = message.ok_or(Malformed::Length)?;
        Ok(Exchange { kind, epoch: header.key_epoch, session: header.session, message })
    }

    /// What the two MACs cover, and the MACs; `None` for less than them.
    #[must_use]
    pub fn macs(datagram: &'a [u8]) -> Option<[(&'a [u8], &'a [u8]); 2]> {
        let first = datagram.len().checked_sub(2 * MAC_LEN)?;
        let second = first + MAC_LEN;
        let at = |from: usize| Some((datagram.get(..from)?, datagram.get(from..from + MAC_LEN)?));
        Some([at(first)?, at(second)?])
    }

    /// Writes the datagram with room for both MACs; its length, or `None` when it does not fit.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let body_len = self.message.len() + 2 * MAC_LEN;
        let header_len = emit_single(self.kind, self.epoch, self.session, body_len, out)?;
        let mut writer = Writer::new(out.get_mut(header_len..)?);
        writer.put(self.message)?;
        writer.put(&[0; 2 * MAC_LEN])?;
        Some(header_len + writer.len)
    }
}

/// A cookie: sealed for the sender of an initiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie<'a> {
    /// The epoch of the initiation that it answers.
    pub epoch: u8,
    /// The session of which that initiation spoke.
    pub session: SessionId,
    /// Nonce of the seal.
    pub nonce: [u8; NONCE_LEN],
    /// The cookie and a tag.
    pub sealed: &'a [u8],
}

impl<'a> Cookie<'a> {
    /// Length of the cookie and its tag in bytes.
    pub const SEALED_LEN: usize = MAC_LEN + 16;

    /// From a whole datagram.
    ///
    /// # Errors
    /// [`Malformed`] when it is anything else.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let (header, kind, body) = single(datagram)?;
        if kind != SubfieldKind::Cookie {
            return Err(Malformed::Order);
        }
        let (nonce, sealed) = body.split_first_chunk().ok_or(Malformed::Truncated)?;
        if sealed.len() != Self::SEALED_LEN {
            return Err(Malformed::Length);
        }
        Ok(Cookie { epoch: header.key_epoch, session: header.session, nonce: *nonce, sealed })
    }

    /// Writes the datagram; its length, or `None` when it does not fit.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let body_len = NONCE_LEN + self.sealed.len();
        let len = emit_single(SubfieldKind::Cookie, self.epoch, self.session, body_len, out)?;
        let mut writer = Writer::new(out.get_mut(len..)?);
        writer.put(&self.nonce)?;
        writer.put(self.sealed)?;
        Some(len + writer.len)
    }
}

/// The one subfield of a datagram of the HELLO type, with nothing behind it.
fn single(datagram: &[u8]) -> Result<(DatagramHeader, SubfieldKind, &[u8]), Malformed> {
    let (header, field, rest) = DatagramHeader::parse(datagram)?;
    let mut subfields = Subfields::new(field);
    let first = subfields.next().ok_or(Malformed::Order)??;
    if header.kind != DatagramKind::Hello || !rest.is_empty() {
        return Err(Malformed::Order);
    }
    if first.body.len() + SUBFIELD_LEN != field.len() {
        return Err(Malformed::Length);
    }
    Ok((header, first.kind, first.body))
}

/// Writes header, type and length; the length of these.
fn emit_single(
    kind: SubfieldKind,
    key_epoch: u8,
    session: SessionId,
    body_len: usize,
    out: &mut [u8],
) -> Option<usize> {
    let (head, rest) = out.split_at_mut_checked(HEADER_LEN)?;
    let field_len = u16::try_from(SUBFIELD_LEN + body_len).ok()?;
    DatagramHeader { kind: DatagramKind::Hello, key_epoch, field_len, session }.emit(head)?;
    Writer::new(rest).subfield(kind, body_len)?;
    Some(HEADER_LEN + SUBFIELD_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exchange_parse_inverts_emit(response: bool, epoch: u8, session: u32, message in proptest::collection::vec(any::<u8>(), 0..=MESSAGE_MAX)) {
            let kind = if response { SubfieldKind::Response } else { SubfieldKind::Initiation };
            let exchange = Exchange { kind, epoch, session: SessionId(session), message: &message };
            let mut out = [0; Exchange::LEN_MAX];
            let len = exchange.emit(&mut out).unwrap();
            prop_assert_eq!(Exchange::parse(&out[..len]), Ok(exchange));
            let [(before, first), (both, second)] = Exchange::macs(&out[..len]).unwrap();
            prop_assert_eq!((before.len(), first.len()), (len - 2 * MAC_LEN, MAC_LEN));
            prop_assert_eq!((both.len(), second.len()), (len - MAC_LEN, MAC_LEN));
            for short in 0..len {
                prop_assert!(Exchange::parse(&out[..short]).is_err());
            }
            prop_assert_eq!(exchange.emit(&mut out[..len - 1]), None);
            prop_assert!(Cookie::parse(&out[..len]).is_err());
        }

        #[test]
        fn cookie_parse_inverts_emit(epoch: u8, session: u32, nonce: [u8; NONCE_LEN], fill: u8) {
            let sealed = [fill; Cookie::SEALED_LEN];
            let cookie = Cookie { epoch, session: SessionId(session), nonce, sealed: &sealed };
            let mut out = [0; 100];
            let len = cookie.emit(&mut out).unwrap();
            prop_assert_eq!(Cookie::parse(&out[..len]), Ok(cookie));
            for short in 0..len {
                prop_assert!(Cookie::parse(&out[..short]).is_err());
            }
            prop_assert!(Exchange::parse(&out[..len]).is_err());
        }
    }

    #[test]
    fn a_message_that_no_handshake_has_is_refused() {
        let mut out = [0; 2 * Exchange::LEN_MAX];
        let message = [0; MESSAGE_MAX + 1];
        let session = SessionId(0);
        let long =
            Exchange { kind: SubfieldKind::Initiation, epoch: 1, session, message: &message };
        let len = long.emit(&mut out).unwrap();
        assert_eq!(Exchange::parse(&out[..len]), Err(Malformed::Length));
    }
}
