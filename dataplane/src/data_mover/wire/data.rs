//! Transport data, in front of every data mover field: the number of this transmission, and which
//! ranges of which buffers follow the field, in this order and without gaps; or which parity does.

use super::{DATA_BASE_LEN, Malformed, Near, PIECE_LEN, Parity, Reader, Writer, low_bits, nearest};
use crate::packet_driver::BufferKind;

/// Most pieces in one datagram.
pub const PIECES_MAX: usize = 32;
/// In the place of how many pieces there are: there is a parity.
const PARITY: u8 = 0xff;

/// A byte range of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Logical sequence number: the place of the buffer in the order of buffers.
    pub logical: u64,
    /// Kind of the buffer.
    pub kind: BufferKind,
    /// Length of the whole buffer in bytes; below 2^22.
    pub buffer_len: u32,
    /// First byte of the range; `offset + len <= buffer_len`.
    pub offset: u32,
    /// Length of the range in bytes, not 0.
    pub len: u16,
}

impl Piece {
    /// No piece: what a list is filled with before it is written.
    pub const NONE: Piece =
        Piece { logical: 0, kind: BufferKind::Stream, buffer_len: 0, offset: 0, len: 0 };

    fn parse(reader: &mut Reader<'_>, near: u64) -> Result<Self, Malformed> {
        let logical = nearest(reader.u32()?, near);
        let (kind, buffer_len) = reader.buffer()?;
        let offset = reader.u24()?;
        let len = reader.u16()?;
        // Both are below 2^24: the sum does not overflow.
        if len == 0 || offset + u32::from(len) > buffer_len {
            return Err(Malformed::Length);
        }
        Ok(Piece { logical, kind, buffer_len, offset, len })
    }

    fn emit(&self, writer: &mut Writer<'_>) -> Option<()> {
        writer.put(&low_bits(self.logical).to_be_bytes())?;
        writer.buffer(self.kind, self.buffer_len)?;
        writer.u24(self.offset)?;
        writer.put(&self.len.to_be_bytes())
    }
}

/// Transport data, with every piece and every length checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataView<'a> {
    /// Physical sequence number: counts transmissions from 1, never used twice.
    pub physical: u64,
    /// With its bytes; then there is no piece.
    pub parity: Option<(Parity, &'a [u8])>,
    pieces: &'a [u8],
    bytes: &'a [u8],
    near: Near,
}

impl<'a> DataView<'a> {
    /// Checks the front of a data mover field against the bytes behind it; what follows in the field
    /// are subfields.
    ///
    /// # Errors
    /// [`Malformed`] when a piece is not within its buffer, or the lengths do not add up.
    pub fn parse(
        field: &'a [u8],
        bytes: &'a [u8],
        near: Near,
    ) -> Result<(Self, &'a [u8]), Malformed> {
        let mut reader = Reader(field);
        let physical = nearest(reader.u32()?, near.physical);
        if physical == 0 {
            return Err(Malformed::Value);
        }
        let empty = DataView { physical, parity: None, pieces: &[], bytes: &[], near };
        let count = reader.u8()?;
        if count == PARITY {
            let parity = Parity::parse(reader.bytes(Parity::LEN)?, bytes)?;
            return Ok((DataView { parity: Some((parity, bytes)), ..empty }, reader.0));
        }
        if usize::from(count) > PIECES_MAX {
            return Err(Malformed::Length);
        }
        let pieces = reader.bytes(usize::from(count) * PIECE_LEN)?;
        let mut list = Reader(pieces);
        let mut total = 0;
        while !list.0.is_empty() {
            total += usize::from(Piece::parse(&mut list, near.logical)?.len);
        }
        if total != bytes.len() {
            return Err(Malformed::Length);
        }
        Ok((DataView { pieces, bytes, ..empty }, reader.0))
    }

    /// The physical number alone, of a field that nothing was checked of.
    ///
    /// # Errors
    /// [`Malformed`] when there is none, or it is 0.
    pub fn physical(field: &[u8], near: u64) -> Result<u64, Malformed> {
        let number = nearest(Reader(field).u32()?, near);
        if number == 0 { Err(Malformed::Value) } else { Ok(number) }
    }

    /// Whether it carries neither a piece nor parity.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.parity.is_none()
    }

    /// The pieces with their bytes.
    pub fn pieces(&self) -> impl Iterator<Item = (Piece, &'a [u8])> + use<'a> {
        let mut reader = Reader(self.pieces);
        let mut bytes = Reader(self.bytes);
        let near = self.near.logical;
        std::iter::from_fn(move || {
            let piece = Piece::parse(&mut reader, near).ok()?;
            Some((piece, bytes.bytes(usize::from(piece.len)).ok()?))
        })
    }
}

fn emit_base<'a>(physical: u64, count: u8, out: &'a mut [u8]) -> Option<Writer<'a>> {
    let mut writer = Writer::new(out);
    writer.put(&low_bits(physical).to_be_bytes())?;
    writer.put(&[count])?;
    debug_assert_eq!(writer.len, DATA_BASE_LEN);
    Some(writer)
}

/// Writes transport data; its length, or `None` when it does not fit.
pub fn emit_data(physical: u64, pieces: &[Piece], out: &mut [u8]) -> Option<usize> {
    let count = u8::try_from(pieces.len()).ok().filter(|_| pieces.len() <= PIECES_MAX)?;
    let mut writer = emit_base(physical, count, out)?;
    for piece in pieces {
        piece.emit(&mut writer)?;
    }
    Some(writer.len)
}

/// Writes transport data in front of a parity; its length, or `None` when it does not fit.
pub fn emit_parity(physical: u64, parity: &Parity, out: &mut [u8]) -> Option<usize> {
    let mut writer = emit_base(physical, PARITY, out)?;
    parity.emit(&mut writer)?;
    Some(writer.len)
}

#[cfg(test)]
mod tests {
    use super::super::BUFFER_LEN_LIMIT;
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn piece() -> impl Strategy<Value = Piece> {
        let kind = prop_oneof![
            Just(BufferKind::Control),
            Just(BufferKind::Stream),
            Just(BufferKind::Datagram)
        ];
        (any::<u32>(), kind, 0_u32..0x3f_0000, 1_u16..100, 0_u32..0xffff).prop_map(
            |(logical, kind, offset, len, more)| Piece {
                logical: u64::from(logical),
                kind,
                buffer_len: (offset + u32::from(len) + more).min(BUFFER_LEN_LIMIT),
                offset,
                len,
            },
        )
    }

    const START: Near = Near { physical: 0, logical: 0 };

    proptest! {
        #[test]
        fn parse_inverts_emit(physical in 1_u64..1 << 40, logical: u32, pieces in proptest::collection::vec(piece(), 0..PIECES_MAX), cut: prop::sample::Index) {
            let total: usize = pieces.iter().map(|piece| usize::from(piece.len)).sum();
            let bytes: Vec<u8> = (0..total).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let mut out = vec![0; 1024];
            let len = emit_data(physical, &pieces, &mut out).unwrap();
            prop_assert_eq!(len, DATA_BASE_LEN + pieces.len() * PIECE_LEN);
            let near = Near { physical: physical - 1, logical: u64::from(logical) };
            let (view, rest) = DataView::parse(&out[..len + 3], &bytes, near).unwrap();
            prop_assert_eq!((view.physical, view.parity, rest), (physical, None, &[0; 3][..]));
            prop_assert_eq!(DataView::physical(&out[..len], near.physical), Ok(physical));
            for ((read, of), written) in view.pieces().zip(&pieces) {
                prop_assert_eq!(usize::from(read.len), of.len());
                let meant = nearest(low_bits(written.logical), near.logical);
                prop_assert_eq!(read, Piece { logical: meant, ..*written });
            }
            prop_assert_eq!(view.pieces().flat_map(|(_, bytes)| bytes.to_vec()).collect::<Vec<_>>(), bytes.clone());
            let short = cut.index(len);
            prop_assert!(DataView::parse(&out[..short], &bytes, near).is_err());
            if let Some(shorter) = total.checked_sub(1) {
                prop_assert!(DataView::parse(&out[..len], &bytes[..shorter], near).is_err());
            }
        }
    }

    #[test]
    fn pieces_outside_their_buffer_are_refused() {
        let good =
            Piece { logical: 7, kind: BufferKind::Stream, buffer_len: 10, offset: 8, len: 2 };
        let parse = |piece: Piece, bytes: &[u8]| {
            let mut out = [0; 64];
            let len = emit_data(1, &[piece], &mut out).unwrap();
            DataView::parse(&out[..len], bytes, START).map(|_| ())
        };
        assert_eq!(parse(good, &[1, 2]), Ok(()));
        assert_eq!(parse(Piece { offset: 9, ..good }, &[1, 2]), Err(Malformed::Length));
        assert_eq!(parse(Piece { len: 0, ..good }, &[]), Err(Malformed::Length));
        assert_eq!(parse(good, &[1]), Err(Malformed::Length));
    }

    #[test]
    fn numbers_and_counts_that_no_sender_writes_are_refused() {
        let near = Near { physical: 1 << 32, logical: 0 };
        assert_eq!(DataView::parse(&[0, 0, 0, 0, 0], &[], START), Err(Malformed::Value));
        assert_eq!(DataView::parse(&[0, 0, 0, 0, 0], &[], near).unwrap().0.physical, 1 << 32);
        assert_eq!(DataView::physical(&[0, 0, 0, 0], 0), Err(Malformed::Value));
        assert_eq!(DataView::parse(&[0, 0, 0, 1, 33], &[], START), Err(Malformed::Length));
        let whole = Piece { buffer_len: BUFFER_LEN_LIMIT + 1, len: 1, ..Piece::NONE };
        assert_eq!(emit_data(1, &[whole], &mut [0; 64]), None);
        assert_eq!(emit_data(1, &[Piece::NONE; PIECES_MAX + 1], &mut [0; 1024]), None);
    }
}
