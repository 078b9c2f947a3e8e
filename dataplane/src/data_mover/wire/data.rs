//! Transport data, in front of every data mover field of a session: the number of this transmission,
//! and which ranges of which buffers follow the field, in this order and without gaps; or the one
//! range, in the short form; or which parity does.

use super::{
    DATA_BASE_LEN, DatagramKind, Malformed, Near, PIECE_LEN, Parity, Reader, SHORT_FIELD_LEN,
    Writer, buffer_bytes,
};
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
        let logical = reader.number(near)?;
        let (kind, buffer_len) = reader.buffer()?;
        let offset = reader.u24()?;
        Piece { logical, kind, buffer_len, offset, len: reader.u16()? }.checked()
    }

    /// Of the short form: the number of the transmission is in front, the length is told by what
    /// follows.
    fn parse_only(field: &[u8], bytes: &[u8], near: u64) -> Result<Self, Malformed> {
        let mut reader = Reader(field);
        reader.u24()?;
        let logical = reader.short_number(near)?;
        let (kind, buffer_len) = reader.buffer()?;
        let offset = reader.u24()?;
        let len = reader.short_end(bytes)?;
        Piece { logical, kind, buffer_len, offset, len }.checked()
    }

    /// Itself, if it is within its buffer.
    fn checked(self) -> Result<Self, Malformed> {
        // Both are below 2^24: the sum does not overflow.
        if self.len == 0 || self.offset + u32::from(self.len) > self.buffer_len {
            return Err(Malformed::Length);
        }
        Ok(self)
    }

    fn emit(&self, writer: &mut Writer<'_>) -> Option<()> {
        writer.number(self.logical)?;
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
    /// The only piece, where it is told in the short form.
    only: Option<Piece>,
    pieces: &'a [u8],
    bytes: &'a [u8],
    near: Near,
}

impl<'a> DataView<'a> {
    /// Checks the front of the data mover field of a datagram of a session against the bytes behind
    /// it; what follows in the field are subfields.
    ///
    /// # Errors
    /// [`Malformed`] when a piece is not within its buffer, or the lengths do not add up.
    pub fn parse(
        kind: DatagramKind,
        field: &'a [u8],
        bytes: &'a [u8],
        near: Near,
    ) -> Result<(Self, &'a [u8]), Malformed> {
        let physical = Self::physical(kind, field, near.physical)?;
        let empty = DataView { physical, parity: None, only: None, pieces: &[], bytes: &[], near };
        match kind {
            DatagramKind::Hello | DatagramKind::Session => empty.with_list(field, bytes),
            DatagramKind::Piece => {
                let piece = Piece::parse_only(field, bytes, near.logical)?;
                Ok((DataView { only: Some(piece), bytes, ..empty }, &[]))
            }
            DatagramKind::Parity => {
                let parity = Parity::parse(field, bytes, near.logical)?;
                Ok((DataView { parity: Some((parity, bytes)), ..empty }, &[]))
            }
        }
    }

    fn with_list(self, field: &'a [u8], bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let mut reader = Reader(field);
        reader.u32()?;
        let count = usize::from(reader.u8()?);
        if count > PIECES_MAX {
            return Err(Malformed::Length);
        }
        let pieces = reader.bytes(count * PIECE_LEN)?;
        let mut list = Reader(pieces);
        let mut total = 0;
        while !list.0.is_empty() {
            total += usize::from(Piece::parse(&mut list, self.near.logical)?.len);
        }
        if total != bytes.len() {
            return Err(Malformed::Length);
        }
        Ok((DataView { pieces, bytes, ..self }, reader.0))
    }

    /// The physical number alone, of a field that nothing was checked of.
    ///
    /// # Errors
    /// [`Malformed`] when there is none, or it is 0.
    pub fn physical(kind: DatagramKind, field: &[u8], near: u64) -> Result<u64, Malformed> {
        let mut reader = Reader(field);
        let number = match kind {
            DatagramKind::Hello | DatagramKind::Session => reader.number(near)?,
            DatagramKind::Piece | DatagramKind::Parity => reader.short_number(near)?,
        };
        if number == 0 { Err(Malformed::Value) } else { Ok(number) }
    }

    /// Whether it carries neither a piece nor parity.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.only.is_none() && self.parity.is_none()
    }

    /// The pieces with their bytes.
    pub fn pieces(&self) -> impl Iterator<Item = (Piece, &'a [u8])> + use<'a> {
        let mut reader = Reader(self.pieces);
        let mut bytes = Reader(self.bytes);
        let near = self.near.logical;
        let only = self.only.map(|piece| (piece, self.bytes));
        only.into_iter().chain(std::iter::from_fn(move || {
            let piece = Piece::parse(&mut reader, near).ok()?;
            Some((piece, bytes.bytes(usize::from(piece.len)).ok()?))
        }))
    }
}

/// Writes transport data; its length, or `None` when it does not fit.
pub fn emit_data(physical: u64, pieces: &[Piece], out: &mut [u8]) -> Option<usize> {
    let count = u8::try_from(pieces.len()).ok().filter(|_| pieces.len() <= PIECES_MAX)?;
    let mut writer = Writer::new(out);
    writer.number(physical)?;
    writer.put(&[count])?;
    debug_assert_eq!(writer.len, DATA_BASE_LEN);
    for piece in pieces {
        piece.emit(&mut writer)?;
    }
    Some(writer.len)
}

/// Writes the data mover field of a datagram with this piece and nothing else, which will be sealed
/// or not; its length, or `None` when it does not fit. Both numbers are less than [`SHORT_REACH`](super::SHORT_REACH) from where
/// the receiver is.
pub fn emit_piece(physical: u64, piece: &Piece, sealed: bool, out: &mut [u8]) -> Option<usize> {
    let mut writer = Writer::new(out);
    let [.., n0, n1, n2] = physical.to_be_bytes();
    let [.., l0, l1, l2] = piece.logical.to_be_bytes();
    let [k0, k1, k2] = buffer_bytes(piece.kind, piece.buffer_len)?;
    let [0, o0, o1, o2] = piece.offset.to_be_bytes() else { return None };
    // At once: it is most of what is written in front of bytes.
    let field: [u8; SHORT_FIELD_LEN] = [n0, n1, n2, l0, l1, l2, k0, k1, k2, o0, o1, o2];
    writer.put(&field)?;
    writer.short_end(sealed, piece.len)
}

#[cfg(test)]
mod tests {
    use super::super::{BUFFER_LEN_LIMIT, SHORT_LENGTH_LEN, SHORT_REACH, low_bits, nearest};
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

    fn session<'a>(
        field: &'a [u8],
        bytes: &'a [u8],
        near: Near,
    ) -> Result<(DataView<'a>, &'a [u8]), Malformed> {
        DataView::parse(DatagramKind::Session, field, bytes, near)
    }

    proptest! {
        #[test]
        fn parse_inverts_emit(physical in 1_u64..1 << 40, logical: u32, pieces in proptest::collection::vec(piece(), 0..PIECES_MAX), cut: prop::sample::Index) {
            let total: usize = pieces.iter().map(|piece| usize::from(piece.len)).sum();
            let bytes: Vec<u8> = (0..total).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let mut out = vec![0; 1024];
            let len = emit_data(physical, &pieces, &mut out).unwrap();
            prop_assert_eq!(len, DATA_BASE_LEN + pieces.len() * PIECE_LEN);
            let near = Near { physical: physical - 1, logical: u64::from(logical) };
            let parse = |field, bytes| DataView::parse(DatagramKind::Session, field, bytes, near);
            let (view, rest) = parse(&out[..len + 3], &bytes[..]).unwrap();
            prop_assert_eq!((view.physical, view.parity, rest), (physical, None, &[0; 3][..]));
            prop_assert_eq!(DataView::physical(DatagramKind::Session, &out[..len], near.physical), Ok(physical));
            for ((read, of), written) in view.pieces().zip(&pieces) {
                prop_assert_eq!(usize::from(read.len), of.len());
                let meant = nearest(low_bits(written.logical), 32, near.logical);
                prop_assert_eq!(read, Piece { logical: meant, ..*written });
            }
            prop_assert_eq!(view.pieces().flat_map(|(_, bytes)| bytes.to_vec()).collect::<Vec<_>>(), bytes.clone());
            let short = cut.index(len);
            prop_assert!(parse(&out[..short], &bytes).is_err());
            if let Some(shorter) = total.checked_sub(1) {
                prop_assert!(parse(&out[..len], &bytes[..shorter]).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn the_short_form_says_the_same_in_less(physical in 1_u64..1 << 40, piece in piece(), behind in 0_u64..SHORT_REACH, sealed: bool, cut: prop::sample::Index) {
            let bytes = vec![7; usize::from(piece.len)];
            let mut out = vec![0; SHORT_FIELD_LEN + if sealed { 0 } else { SHORT_LENGTH_LEN }];
            let cut = cut.index(out.len());
            prop_assert_eq!(emit_piece(physical, &piece, sealed, &mut out[..cut]), None);
            prop_assert_eq!(emit_piece(physical, &piece, sealed, &mut out), Some(out.len()));
            let near = Near {
                physical: physical.saturating_sub(behind),
                logical: piece.logical.saturating_sub(behind),
            };
            let parse = |field, bytes| DataView::parse(DatagramKind::Piece, field, bytes, near);
            let (view, rest) = parse(&out[..], &bytes[..]).unwrap();
            prop_assert_eq!((view.physical, view.parity, rest), (physical, None, &[][..]));
            prop_assert!(!view.is_empty());
            prop_assert_eq!(view.pieces().collect::<Vec<_>>(), vec![(piece, &bytes[..])]);
            prop_assert!(cut == SHORT_FIELD_LEN || parse(&out[..cut], &bytes).is_err());
            if let [less @ .., _] = &bytes[..] && !sealed {
                prop_assert_eq!(parse(&out, less).err(), Some(Malformed::Length));
            }
            prop_assert_eq!(parse(&out, &[]).err(), Some(Malformed::Length));
            let beyond = vec![7; usize::try_from(piece.buffer_len - piece.offset).unwrap() + 1];
            prop_assert_eq!(parse(&out, &beyond).err(), Some(Malformed::Length));
        }
    }

    #[test]
    fn pieces_outside_their_buffer_are_refused() {
        let good =
            Piece { logical: 7, kind: BufferKind::Stream, buffer_len: 10, offset: 8, len: 2 };
        let parse = |piece: Piece, bytes: &[u8]| {
            let mut out = [0; 64];
            let len = emit_data(1, &[piece], &mut out).unwrap();
            session(&out[..len], bytes, START).map(|_| ())
        };
        assert_eq!(parse(good, &[1, 2]), Ok(()));
        assert_eq!(parse(Piece { offset: 9, ..good }, &[1, 2]), Err(Malformed::Length));
        assert_eq!(parse(Piece { len: 0, ..good }, &[]), Err(Malformed::Length));
        assert_eq!(parse(good, &[1]), Err(Malformed::Length));
    }

    #[test]
    fn numbers_and_counts_that_no_sender_writes_are_refused() {
        let near = Near { physical: 1 << 32, logical: 0 };
        assert_eq!(session(&[0, 0, 0, 0, 0], &[], START), Err(Malformed::Value));
        assert_eq!(session(&[0, 0, 0, 0, 0], &[], near).unwrap().0.physical, 1 << 32);
        for kind in [DatagramKind::Session, DatagramKind::Piece, DatagramKind::Parity] {
            assert_eq!(DataView::physical(kind, &[0, 0, 0, 0], 0), Err(Malformed::Value));
        }
        assert_eq!(session(&[0, 0, 0, 1, 33], &[], START), Err(Malformed::Length));
        let whole = Piece { buffer_len: BUFFER_LEN_LIMIT + 1, len: 1, ..Piece::NONE };
        assert_eq!(emit_data(1, &[whole], &mut [0; 64]), None);
        assert_eq!(emit_data(1, &[Piece::NONE; PIECES_MAX + 1], &mut [0; 1024]), None);
    }
}
