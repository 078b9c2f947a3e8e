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
pub use data::{DataView, PIECES_MAX, Piece, emit_data, emit_piece};
pub use exchange::{Cookie, Exchange, MAC_LEN, MESSAGE_MAX, NONCE_LEN};
pub use floor::{ABANDONED_MAX, Abandoned, CloseReason, Floor};
pub use header::{
    DatagramHeader, DatagramKind, HANDSHAKE_VERSION, KEY_EPOCH_CLEAR, SessionId, WIRE_VERSION,
};
pub use hello::{Hello, Limits};
pub use parity::{CELLS_MAX, PARITIES_MAX, PROTECTED_LEN_MAX, Parity, emit_parity};
pub use subfield::{
    DIGEST_LEN, Subfield, SubfieldKind, Subfields, emit_digest, emit_keepalive, emit_padding,
    parse_digest,
};

use crate::packet_driver::BufferKind;

/// Length of the datagram header in bytes, before a data mover field that has its length told.
pub const HEADER_LEN: usize = 8;
/// Length of the header of a datagram with one piece or parity and nothing else, in bytes.
pub const SHORT_HEADER_LEN: usize = 6;
/// Length of the data mover field behind that, in bytes: a number, and what the bytes are of.
pub const SHORT_FIELD_LEN: usize = 12;
/// Length in bytes of the length of what follows it, which ends the short form where no tag says
/// that everything has come.
pub const SHORT_LENGTH_LEN: usize = 2;
/// Length of the type and length in front of every subfield, in bytes.
pub const SUBFIELD_LEN: usize = 3;
/// Length of transport data without pieces, in bytes: the physical number and how many there are.
pub const DATA_BASE_LEN: usize = 5;
/// Length of the description of one piece, in bytes.
pub const PIECE_LEN: usize = 12;
/// Ours in a full-size datagram, in bytes, beyond the UDP header and the tag: it has one piece, or
/// parity over such pieces, and nothing else.
pub const OVERHEAD_LEN: usize = SHORT_HEADER_LEN + SHORT_FIELD_LEN;
/// Length of the authentication tag at the end of every datagram of an encrypted session, in bytes.
pub const TAG_LEN: usize = 16;

// The promise to the operator: headers and tag of a full-size datagram.
const _: () = assert!(OVERHEAD_LEN + TAG_LEN == 34);

/// Bits of a number that are on the wire, and in the short form.
const NUMBER_BITS: u32 = 32;
const SHORT_NUMBER_BITS: u32 = 24;
/// Numbers that are less than this away from where the receiver is can be told in the short form.
pub const SHORT_REACH: u64 = 1 << (SHORT_NUMBER_BITS - 1);

/// Where the receiver of a datagram is: numbers on the wire are the low 32 or 24 bits, and mean
/// those that are nearest to these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Near {
    /// The highest physical number known.
    pub physical: u64,
    /// The lowest logical number that is incomplete.
    pub logical: u64,
}

/// The number nearest to `near` that has these low `bits`, of which there are up to 32.
fn nearest(low: u32, bits: u32, near: u64) -> u64 {
    let above = u32::BITS - bits;
    let ahead = (low.wrapping_sub(low_bits(near)) << above).cast_signed() >> above;
    // Below 0 there is none: then it is the one above.
    near.checked_add_signed(i64::from(ahead)).unwrap_or(u64::from(low))
}

/// The low 32 bits of a number.
fn low_bits(number: u64) -> u32 {
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

fn kind_of(bits: u32) -> Result<BufferKind, Malformed> {
    match bits {
        1 => Ok(BufferKind::Control),
        2 => Ok(BufferKind::Stream),
        3 => Ok(BufferKind::Datagram),
        _ => Err(Malformed::Value),
    }
}

/// The two bits of a kind.
fn bits_of(kind: BufferKind) -> u8 {
    match kind {
        BufferKind::Control => 1,
        BufferKind::Stream => 2,
        BufferKind::Datagram => 3,
    }
}

/// Kind and length of a buffer; `None` when that is too long.
fn buffer_bytes(kind: BufferKind, len: u32) -> Option<[u8; 3]> {
    let both = u32::from(bits_of(kind)) << BUFFER_LEN_BITS | len;
    let [_, a, b, c] = both.to_be_bytes();
    (len <= BUFFER_LEN_LIMIT).then_some([a, b, c])
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

    /// A number near this one.
    fn number(&mut self, near: u64) -> Result<u64, Malformed> {
        Ok(nearest(self.u32()?, NUMBER_BITS, near))
    }

    fn short_number(&mut self, near: u64) -> Result<u64, Malformed> {
        Ok(nearest(self.u24()?, SHORT_NUMBER_BITS, near))
    }

    /// Kind and length of a buffer.
    fn buffer(&mut self) -> Result<(BufferKind, u32), Malformed> {
        let both = self.u24()?;
        Ok((kind_of(both >> BUFFER_LEN_BITS)?, both & BUFFER_LEN_LIMIT))
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

    /// The end of the short form: the length of the bytes behind it, which is that told here if it is.
    fn short_end(mut self, bytes: &[u8]) -> Result<u16, Malformed> {
        let len = u16::try_from(bytes.len()).map_err(|_| Malformed::Length)?;
        if !self.0.is_empty() && self.u16()? != len {
            return Err(Malformed::Length);
        }
        self.end().map(|()| len)
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

    fn number(&mut self, number: u64) -> Option<()> {
        self.put(&low_bits(number).to_be_bytes())
    }

    fn short_number(&mut self, number: u64) -> Option<()> {
        self.u24(low_bits(number) & ((1 << SHORT_NUMBER_BITS) - 1))
    }

    /// The end of the short form: tells the length of the bytes behind it, if there will be no tag.
    fn short_end(mut self, sealed: bool, len: u16) -> Option<usize> {
        if !sealed {
            self.put(&len.to_be_bytes())?;
        }
        Some(self.len)
    }

    /// Kind and length of a buffer.
    fn buffer(&mut self, kind: BufferKind, len: u32) -> Option<()> {
        self.put(&buffer_bytes(kind, len)?)
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
                prop_assert_eq!(nearest(low_bits(number), NUMBER_BITS, near), number);
            }
            if let Some(number) = near.checked_add_signed(ahead >> 8) {
                prop_assert!(number.abs_diff(near) < SHORT_REACH + 1);
                let mut bytes = [0; 3];
                Writer::new(&mut bytes).short_number(number).unwrap();
                prop_assert_eq!(Reader(&bytes).short_number(near), Ok(number));
            }
        }
    }

    #[test]
    fn there_is_nothing_below_0() {
        assert_eq!(nearest(u32::MAX, 32, 5), u64::from(u32::MAX));
        assert_eq!(nearest(3, 32, 1 << 32), (1 << 32) + 3);
        assert_eq!(nearest(u32::MAX, 32, 1 << 32), u64::from(u32::MAX));
        assert_eq!(nearest(0xff_ffff, 24, 5), 0xff_ffff);
        assert_eq!(nearest(3, 24, 0x12ff_fffe), 0x1300_0003);
        assert_eq!(nearest(0xff_ffff, 24, 0x1300_0001), 0x12ff_ffff);
    }
}
