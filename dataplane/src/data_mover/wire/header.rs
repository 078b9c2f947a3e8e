//! The datagram header: in front of everything, in the clear.

use super::{
    HEADER_LEN, Malformed, Reader, SHORT_FIELD_LEN, SHORT_HEADER_LEN, SHORT_LENGTH_LEN, Writer,
};

/// Length of the data mover field in the short form, sealed and in the clear.
const SEALED_LEN: u16 = 12;
const CLEAR_LEN: u16 = 14;

const _: () = assert!(SEALED_LEN as usize == SHORT_FIELD_LEN);
const _: () = assert!(CLEAR_LEN as usize == SHORT_FIELD_LEN + SHORT_LENGTH_LEN);

/// The version of the wire format that this code speaks: of datagrams of a session.
pub const WIRE_VERSION: u8 = 3;
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
    /// Belongs to a session: one piece and nothing else.
    Piece = 3,
    /// Belongs to a session: parity and nothing else.
    Parity = 4,
}

impl DatagramKind {
    /// Length of the header in bytes.
    #[must_use]
    pub const fn header_len(self) -> usize {
        match self {
            DatagramKind::Hello | DatagramKind::Session => HEADER_LEN,
            DatagramKind::Piece | DatagramKind::Parity => SHORT_HEADER_LEN,
        }
    }

    fn version(self) -> u8 {
        if self == DatagramKind::Hello { HANDSHAKE_VERSION } else { WIRE_VERSION }
    }
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
    /// Of a datagram with one piece or parity and nothing else.
    #[must_use]
    pub fn short(kind: DatagramKind, key_epoch: u8, session: SessionId) -> Self {
        let field_len = if key_epoch == KEY_EPOCH_CLEAR { CLEAR_LEN } else { SEALED_LEN };
        DatagramHeader { kind, key_epoch, field_len, session }
    }

    /// Length of header and data mover field in bytes: what is never encrypted.
    #[must_use]
    pub fn clear_len(&self) -> usize {
        self.kind.header_len() + usize::from(self.field_len)
    }

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
            (WIRE_VERSION, 3) => DatagramKind::Piece,
            (WIRE_VERSION, 4) => DatagramKind::Parity,
            (WIRE_VERSION, _) => return Err(Malformed::Value),
            _ => return Err(Malformed::Version),
        };
        let key_epoch = reader.u8()?;
        let header = match kind {
            DatagramKind::Hello | DatagramKind::Session => {
                let field_len = reader.u16()?;
                DatagramHeader { kind, key_epoch, field_len, session: SessionId(reader.u32()?) }
            }
            DatagramKind::Piece | DatagramKind::Parity => {
                DatagramHeader::short(kind, key_epoch, SessionId(reader.u32()?))
            }
        };
        let field = reader.bytes(usize::from(header.field_len))?;
        Ok((header, field, reader.0))
    }

    /// Writes the header to the front of `out`; its length, or `None` when it does not fit.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let first = self.kind.version() << 4 | self.kind as u8;
        let [s0, s1, s2, s3] = self.session.0.to_be_bytes();
        let mut writer = Writer::new(out);
        if self.kind.header_len() == SHORT_HEADER_LEN {
            writer.put(&[first, self.key_epoch, s0, s1, s2, s3])?;
        } else {
            let [high, low] = self.field_len.to_be_bytes();
            writer.put(&[first, self.key_epoch, high, low, s0, s1, s2, s3])?;
        }
        debug_assert_eq!(writer.len, self.kind.header_len());
        Some(writer.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parse_inverts_emit(kind in 0_usize..4, key_epoch: u8, session: u32, field in proptest::collection::vec(any::<u8>(), 14..40), rest in proptest::collection::vec(any::<u8>(), 0..40)) {
            use DatagramKind::{Hello, Parity, Piece, Session};
            let kind = [Hello, Session, Piece, Parity][kind];
            let mut header = DatagramHeader::short(kind, key_epoch, SessionId(session));
            let field = match kind {
                Hello | Session => &field[..],
                Piece | Parity => &field[..usize::from(header.field_len)],
            };
            header.field_len = u16::try_from(field.len()).unwrap();
            let header_len = kind.header_len();
            let mut bytes = vec![0; header_len];
            prop_assert_eq!(header.emit(&mut bytes), Some(header_len));
            prop_assert_eq!(header.emit(&mut bytes[..header_len - 1]), None);
            bytes.extend_from_slice(field);
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(DatagramHeader::parse(&bytes), Ok((header, field, &rest[..])));
            prop_assert_eq!(header.clear_len(), header_len + field.len());
            for len in 0..header_len + field.len() {
                prop_assert_eq!(DatagramHeader::parse(&bytes[..len]), Err(Malformed::Truncated));
            }
        }
    }

    #[test]
    fn other_versions_and_types_are_refused() {
        let bytes = |first| [first, 0, 0, 0, 0, 0, 0, 0];
        for other in [0x12, 0x10, 0x22, 0x23, 0x42, 0x02] {
            assert_eq!(DatagramHeader::parse(&bytes(other)), Err(Malformed::Version));
        }
        for unknown in [0x30, 0x31, 0x35, 0x3f] {
            assert_eq!(DatagramHeader::parse(&bytes(unknown)), Err(Malformed::Value));
        }
    }

    #[test]
    fn the_low_bits_lead_to_the_peer() {
        assert_eq!(SessionId(0xffff_fc05).peer(), 5);
        assert_eq!(SessionId(0x0000_03ff).peer(), SessionId::PEERS_MAX - 1);
    }
}
