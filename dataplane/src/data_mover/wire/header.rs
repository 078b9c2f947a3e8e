//! The datagram header: in front of everything, in the clear.

use super::{HEADER_LEN, Malformed, Reader, Writer};

/// The version of the wire format that this code speaks: of datagrams of a session.
pub const WIRE_VERSION: u8 = 2;
/// The version of HELLOs and of key exchanges, which is the same for all: they tell which versions
/// their sender speaks.
pub const HANDSHAKE_VERSION: u8 = 1;
/// The key epoch of datagrams that are not encrypted.
pub const KEY_EPOCH_CLEAR: u8 = 0;

/// Names a session at its receiver, who chose it: random, but for the bits that lead to the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SessionId(pub u32);

impl SessionId {
    /// Low bits that hold the receiver's index of the peer, so that finding the session is one
    /// array access; all others are random.
    pub const PEER_BITS: u32 = 10;
    /// Most peers that the bits can tell apart.
    pub const PEERS_MAX: u16 = 1 << Self::PEER_BITS;

    /// The receiver's index of the peer.
    #[must_use]
    pub fn peer(self) -> u16 {
        let [_, _, high, low] = self.0.to_be_bytes();
        u16::from_be_bytes([high, low]) & (Self::PEERS_MAX - 1)
    }
}

/// Type of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DatagramKind {
    /// Sets a session up.
    Hello = 1,
    /// Belongs to a session.
    Session = 2,
}

/// The datagram header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramHeader {
    /// Type.
    pub kind: DatagramKind,
    /// Which keys protect it; [`KEY_EPOCH_CLEAR`] for none.
    pub key_epoch: u8,
    /// Length in bytes of the data mover field, which follows at once.
    pub field_len: u16,
    /// The session, named by the receiver's choice; 0 in a HELLO to a peer not heard of yet.
    pub session: SessionId,
}

impl DatagramHeader {
    /// The header, the data mover field and the bytes of the pieces of a datagram.
    ///
    /// # Errors
    /// [`Malformed`] when it is too short for what it says, or not of this version or a known type.
    pub fn parse(datagram: &[u8]) -> Result<(Self, &[u8], &[u8]), Malformed> {
        let mut reader = Reader(datagram);
        let first = reader.u8()?;
        let kind = match (first >> 4, first & 0xf) {
            (HANDSHAKE_VERSION, 1) => DatagramKind::Hello,
            (WIRE_VERSION, 2) => DatagramKind::Session,
            (WIRE_VERSION, _) => return Err(Malformed::Value),
            _ => return Err(Malformed::Version),
        };
        let key_epoch = reader.u8()?;
        let field_len = reader.u16()?;
        let session = SessionId(reader.u32()?);
        let field = reader.bytes(usize::from(field_len))?;
        Ok((DatagramHeader { kind, key_epoch, field_len, session }, field, reader.0))
    }

    /// Writes the header to the front of `out`; its length, or `None` when it does not fit.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(out);
        let version = match self.kind {
            DatagramKind::Hello => HANDSHAKE_VERSION,
            DatagramKind::Session => WIRE_VERSION,
        };
        writer.put(&[version << 4 | self.kind as u8, self.key_epoch])?;
        writer.put(&self.field_len.to_be_bytes())?;
        writer.put(&self.session.0.to_be_bytes())?;
        debug_assert_eq!(writer.len, HEADER_LEN);
        Some(writer.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parse_inverts_emit(hello: bool, key_epoch: u8, session: u32, field in proptest::collection::vec(any::<u8>(), 0..40), rest in proptest::collection::vec(any::<u8>(), 0..40)) {
            let kind = if hello { DatagramKind::Hello } else { DatagramKind::Session };
            let field_len = u16::try_from(field.len()).unwrap();
            let header = DatagramHeader { kind, key_epoch, field_len, session: SessionId(session) };
            let mut bytes = [0; HEADER_LEN].to_vec();
            prop_assert_eq!(header.emit(&mut bytes), Some(HEADER_LEN));
            prop_assert_eq!(header.emit(&mut bytes[..HEADER_LEN - 1]), None);
            bytes.extend_from_slice(&field);
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(DatagramHeader::parse(&bytes), Ok((header, &field[..], &rest[..])));
            for len in 0..HEADER_LEN + field.len() {
                prop_assert_eq!(DatagramHeader::parse(&bytes[..len]), Err(Malformed::Truncated));
            }
        }
    }

    #[test]
    fn other_versions_and_types_are_refused() {
        let bytes = |first| [first, 0, 0, 0, 0, 0, 0, 0];
        for other in [0x12, 0x10, 0x32, 0x31, 0x02] {
            assert_eq!(DatagramHeader::parse(&bytes(other)), Err(Malformed::Version));
        }
        for unknown in [0x20, 0x21, 0x23] {
            assert_eq!(DatagramHeader::parse(&bytes(unknown)), Err(Malformed::Value));
        }
    }

    #[test]
    fn the_low_bits_lead_to_the_peer() {
        assert_eq!(SessionId(0xffff_fc05).peer(), 5);
        assert_eq!(SessionId(0x0000_03ff).peer(), SessionId::PEERS_MAX - 1);
    }
}
