//! The transport data subfield: the number of this transmission, and which ranges of which
//! buffers follow the data mover field, in this order and without gaps.

use super::{DATA_BASE_LEN, Malformed, PIECE_LEN, Reader, SUBFIELD_LEN, SubfieldKind, Writer};
use crate::packet_driver::BufferKind;

/// Most pieces in one datagram.
pub const PIECES_MAX: usize = 32;

/// A byte range of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Logical sequence number: the place of the buffer in the order of buffers.
    pub logical: u64,
    /// Kind of the buffer.
    pub kind: BufferKind,
    /// Length of the whole buffer in bytes; below 2^24.
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

    fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let logical = reader.u64()?;
        let kind = match reader.u8()? {
            1 => BufferKind::Control,
            2 => BufferKind::Stream,
            3 => BufferKind::Datagram,
            _ => return Err(Malformed::Value),
        };
        let buffer_len = reader.u24()?;
        let offset = reader.u24()?;
        let len = reader.u16()?;
        // Both are below 2^24: the sum does not overflow.
        if len == 0 || offset + u32::from(len) > buffer_len {
            return Err(Malformed::Length);
        }
        Ok(Piece { logical, kind, buffer_len, offset, len })
    }

    fn emit(&self, writer: &mut Writer<'_>) -> Option<()> {
        let kind = match self.kind {
            BufferKind::Control => 1,
            BufferKind::Stream => 2,
            BufferKind::Datagram => 3,
        };
        writer.put(&self.logical.to_be_bytes())?;
        writer.put(&[kind])?;
        writer.u24(self.buffer_len)?;
        writer.u24(self.offset)?;
        writer.put(&self.len.to_be_bytes())
    }
}

/// A transport data subfield, with every piece and every length checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataView<'a> {
    /// Physical sequence number: counts transmissions from 1, never used twice.
    pub physical: u64,
    pieces: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> DataView<'a> {
    /// Checks the body of a transport data subfield against the bytes behind the data mover field.
    ///
    /// # Errors
    /// [`Malformed`] when a piece is not within its buffer, or the lengths do not add up.
    pub fn parse(body: &'a [u8], bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(body);
        let physical = reader.u64()?;
        if physical == 0 {
            return Err(Malformed::Value);
        }
        let pieces = reader.0;
        if pieces.len() % PIECE_LEN != 0 || pieces.len() / PIECE_LEN > PIECES_MAX {
            return Err(Malformed::Length);
        }
        let mut total = 0;
        while !reader.0.is_empty() {
            total += usize::from(Piece::parse(&mut reader)?.len);
        }
        if total != bytes.len() {
            return Err(Malformed::Length);
        }
        Ok(DataView { physical, pieces, bytes })
    }

    /// Whether it carries no piece.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The pieces with their bytes.
    pub fn pieces(&self) -> impl Iterator<Item = (Piece, &'a [u8])> + use<'a> {
        let mut reader = Reader(self.pieces);
        let mut bytes = Reader(self.bytes);
        std::iter::from_fn(move || {
            let piece = Piece::parse(&mut reader).ok()?;
            Some((piece, bytes.bytes(usize::from(piece.len)).ok()?))
        })
    }
}

/// Writes a transport data subfield; its length, or `None` when it does not fit.
pub fn emit_data(physical: u64, pieces: &[Piece], out: &mut [u8]) -> Option<usize> {
    let mut writer = Writer::new(out);
    let body_len = DATA_BASE_LEN - SUBFIELD_LEN + pieces.len() * PIECE_LEN;
    writer.subfield(SubfieldKind::Data, body_len)?;
    writer.put(&physical.to_be_bytes())?;
    for piece in pieces {
        piece.emit(&mut writer)?;
    }
    Some(writer.len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn piece() -> impl Strategy<Value = Piece> {
        let kind = prop_oneof![
            Just(BufferKind::Control),
            Just(BufferKind::Stream),
            Just(BufferKind::Datagram)
        ];
        (any::<u64>(), kind, 0_u32..0xff_0000, 1_u16..100, 0_u32..0xffff).prop_map(
            |(logical, kind, offset, len, more)| Piece {
                logical,
                kind,
                buffer_len: (offset + u32::from(len) + more).min(0xff_ffff),
                offset,
                len,
            },
        )
    }

    proptest! {
        #[test]
        fn parse_inverts_emit(physical in 1_u64.., pieces in proptest::collection::vec(piece(), 0..PIECES_MAX), cut: prop::sample::Index) {
            let total: usize = pieces.iter().map(|piece| usize::from(piece.len)).sum();
            let bytes: Vec<u8> = (0..total).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let mut out = vec![0; 1024];
            let len = emit_data(physical, &pieces, &mut out).unwrap();
            prop_assert_eq!(len, DATA_BASE_LEN + pieces.len() * PIECE_LEN);
            let body = &out[SUBFIELD_LEN..len];
            let view = DataView::parse(body, &bytes).unwrap();
            prop_assert_eq!(view.physical, physical);
            prop_assert_eq!(view.pieces().map(|(piece, _)| piece).collect::<Vec<_>>(), pieces.clone());
            prop_assert_eq!(view.pieces().flat_map(|(_, bytes)| bytes.to_vec()).collect::<Vec<_>>(), bytes.clone());
            let short = cut.index(body.len());
            prop_assert!(DataView::parse(&body[..short], &bytes).is_err());
            if let Some(shorter) = total.checked_sub(1) {
                prop_assert!(DataView::parse(body, &bytes[..shorter]).is_err());
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
            DataView::parse(&out[SUBFIELD_LEN..len], bytes).map(|_| ())
        };
        assert_eq!(parse(good, &[1, 2]), Ok(()));
        assert_eq!(parse(Piece { offset: 9, ..good }, &[1, 2]), Err(Malformed::Length));
        assert_eq!(parse(Piece { len: 0, ..good }, &[]), Err(Malformed::Length));
        assert_eq!(parse(good, &[1]), Err(Malformed::Length));
    }
}
