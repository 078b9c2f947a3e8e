//! The wire format of the data mover: each header as a view over bytes, checked once, or as a
//! plain struct whose `parse` and `emit` are inverses.
//!
//! In: the payload of a UDP datagram. Out: structs that borrow from it, or bytes written into the
//! outgoing frame. Never: state, a decision, an allocation.
//!
//! All integers are big-endian. `docs/wire-format.md` has a picture of each header.

mod ack;
mod data;
mod exchange;
mod floor;
mod header;
mod hello;
mod parity;
mod subfield;

pub use ack::{Acknowledgement, Arrivals, Bitmap};
pub use data::{DataView, PIECES_MAX, Piece, emit_data, emit_parity};
pub use exchange::{Cookie, Exchange, MAC_LEN, MESSAGE_MAX, NONCE_LEN};
pub use floor::{ABANDONED_MAX, Abandoned, CloseReason, Floor};
pub use header::{
    DatagramHeader, DatagramKind, HANDSHAKE_VERSION, KEY_EPOCH_CLEAR, SessionId, WIRE_VERSION,
};
pub use hello::{Hello, Limits};
pub use parity::{CELLS_MAX, PARITIES_MAX, Parity};
pub use subfield::{
    DIGEST_LEN, Subfield, SubfieldKind, Subfields, emit_digest, emit_keepalive, emit_padding,
    parse_digest,
};

use crate::packet_driver::BufferKind;

/// Length of the datagram header in bytes.
pub const HEADER_LEN: usize = 8;
/// Length of the type and length in front of every subfield, in bytes.
pub const SUBFIELD_LEN: usize = 3;
/// Length of transport data without pieces, in bytes: the physical number and how many there are.
pub const DATA_BASE_LEN: usize = 5;
/// Length of the description of one piece, in bytes.
pub const PIECE_LEN: usize = 12;
/// Ours in a full-size datagram, in bytes, beyond the UDP header: of parity over full-size pieces,
/// whose description is a little longer than that of one piece.
pub const OVERHEAD_LEN: usize = HEADER_LEN + DATA_BASE_LEN + Parity::LEN;
/// Length of the authentication tag at the end of every datagram of an encrypted session, in bytes.
pub const TAG_LEN: usize = 16;

// The promise to the operator: headers and tag of a full-size datagram.
const _: () = assert!(OVERHEAD_LEN + TAG_LEN == 42);
// A full piece leaves room for what parity over it needs more.
const _: () = assert!(PIECE_LEN <= Parity::LEN && PIECE_LEN.is_multiple_of(2));

/// Where the receiver of a datagram is: numbers on the wire are the low 32 bits, and mean those
/// that are nearest to these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Near {
    /// The highest physical number known.
    pub physical: u64,
    /// The lowest logical number that is incomplete.
    pub logical: u64,
}

/// The number nearest to `near` that has these low bits.
#[must_use]
pub fn nearest(low: u32, near: u64) -> u64 {
    let ahead = low.wrapping_sub(low_bits(near)).cast_signed();
    // Below 0 there is none: then it is the one above.
    near.checked_add_signed(i64::from(ahead)).unwrap_or(u64::from(low))
}

/// The low 32 bits of a number, as they are on the wire.
#[must_use]
pub fn low_bits(number: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = number.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Longest buffer that descriptions can tell, in bytes.
pub const BUFFER_LEN_LIMIT: u32 = (1 << BUFFER_LEN_BITS) - 1;
/// Bits of the length of a buffer; two more are its kind.
const BUFFER_LEN_BITS: u32 = 22;

/// Why bytes are not a datagram of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends before the field that is being read.
    Truncated,
    /// A length that contradicts another one.
    Length,
    /// A value that no sender of this version writes.
    Value,
    /// A subfield that is missing, doubled or not in its place.
    Order,
    /// Another version of the wire format.
    Version,
}

/// Bytes being read from the front.
#[derive(Clone, Copy, Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    fn u24(&mut self) -> Result<u32, Malformed> {
        self.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Kind and length of a buffer.
    fn buffer(&mut self) -> Result<(BufferKind, u32), Malformed> {
        let both = self.u24()?;
        let kind = match both >> BUFFER_LEN_BITS {
            1 => BufferKind::Control,
            2 => BufferKind::Stream,
            3 => BufferKind::Datagram,
            _ => return Err(Malformed::Value),
        };
        Ok((kind, both & BUFFER_LEN_LIMIT))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(Malformed::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Length) }
    }
}

/// Bytes being written from the front; `None` from any method when they do not fit.
#[derive(Debug)]
struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    fn new(out: &'a mut [u8]) -> Self {
        Writer { out, len: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.out.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    fn u24(&mut self, value: u32) -> Option<()> {
        let [high, a, b, c] = value.to_be_bytes();
        if high != 0 {
            return None;
        }
        self.put(&[a, b, c])
    }

    /// Kind and length of a buffer.
    fn buffer(&mut self, kind: BufferKind, len: u32) -> Option<()> {
        let kind = match kind {
            BufferKind::Control => 1,
            BufferKind::Stream => 2,
            BufferKind::Datagram => 3,
        };
        (len <= BUFFER_LEN_LIMIT).then_some(())?;
        self.u24(kind << BUFFER_LEN_BITS | len)
    }

    /// Type and length of a subfield whose body has `body_len` bytes.
    fn subfield(&mut self, kind: SubfieldKind, body_len: usize) -> Option<()> {
        self.put(&[kind as u8])?;
        self.put(&u16::try_from(body_len).ok()?.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_is_known_again_by_its_low_bits(near: u64, ahead in -0x7fff_ffff_i64..=0x7fff_ffff) {
            let near = near >> 1;
            if let Some(number) = near.checked_add_signed(ahead) {
                prop_assert_eq!(nearest(low_bits(number), near), number);
            }
        }
    }

    #[test]
    fn there_is_nothing_below_0() {
        assert_eq!(nearest(u32::MAX, 5), u64::from(u32::MAX));
        assert_eq!(nearest(3, 1 << 32), (1 << 32) + 3);
        assert_eq!(nearest(u32::MAX, 1 << 32), u64::from(u32::MAX));
    }
}
