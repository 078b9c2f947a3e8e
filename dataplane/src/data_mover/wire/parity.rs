//! A parity, in the place of pieces: the bytes behind the data mover field are parity over a range
//! of a buffer.
//!
//! The range is cut into cells of the length of the parity, from a boundary on and the one cell
//! before it; cells end with the buffer, and count as filled up with zeros. Any so many cells and
//! parities as there are cells give all of them.

use super::{Malformed, Reader, SHORT_FIELD_LEN, Writer, bits_of, kind_of};
use crate::packet_driver::BufferKind;

/// Most cells that parity is over.
pub const CELLS_MAX: u8 = 64;
/// Most parities over the same cells.
pub const PARITIES_MAX: u8 = 16;
/// Longest buffer that parity is over, in bytes.
pub const PROTECTED_LEN_MAX: u32 = 1 << 16;

// One less than each, and the two bits of a kind, are 16 bits on the wire.
const _: () = assert!(CELLS_MAX == 1 << 6 && PARITIES_MAX == 1 << 4);

/// What one parity is over, and which of several it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parity {
    /// Logical sequence number of the buffer.
    pub logical: u64,
    /// Kind of the buffer.
    pub kind: BufferKind,
    /// Length of the whole buffer in bytes; at most [`PROTECTED_LEN_MAX`].
    pub buffer_len: u32,
    /// Where in the buffer the first cell ends; the others follow it.
    pub boundary: u32,
    /// Number of cells.
    pub cells: u8,
    /// Number of parities over them.
    pub parities: u8,
    /// Which of these it is, from 0.
    pub index: u8,
    /// Length of a cell in bytes, and of the parity: even.
    pub cell_len: u16,
}

impl Parity {
    /// From a data mover field, whose number is in front, and the bytes behind it; the buffer is near
    /// this one.
    ///
    /// # Errors
    /// [`Malformed`] when it is too short or too long, a count is not within its limits, or a cell
    /// has no byte of the buffer.
    pub fn parse(field: &[u8], bytes: &[u8], near: u64) -> Result<Self, Malformed> {
        let mut reader = Reader(field);
        reader.u24()?;
        let logical = reader.short_number(near)?;
        let counts = reader.u16()?;
        let [high, low] = counts.to_be_bytes();
        let parity = Parity {
            logical,
            kind: kind_of(u32::from(high >> 6))?,
            cells: (high & 0x3f) + 1,
            parities: (low >> 4) + 1,
            index: low & 0xf,
            buffer_len: u32::from(reader.u16()?) + 1,
            boundary: u32::from(reader.u16()?) + 1,
            cell_len: reader.short_end(bytes)?,
        };
        if parity.is_valid() { Ok(parity) } else { Err(Malformed::Value) }
    }

    fn is_valid(&self) -> bool {
        let counts = (1..=CELLS_MAX).contains(&self.cells)
            && (1..=PARITIES_MAX).contains(&self.parities)
            && self.index < self.parities
            && self.buffer_len <= PROTECTED_LEN_MAX;
        let cells = self.cell_len >= 2 && self.cell_len.is_multiple_of(2) && self.boundary > 0;
        let (from, _) = self.cell(self.cells.saturating_sub(1));
        counts && cells && self.boundary <= self.buffer_len && from < self.buffer_len
    }

    /// First byte of a cell in the buffer, and the one behind its last.
    #[must_use]
    pub fn cell(&self, cell: u8) -> (u32, u32) {
        // Both are below 2^23: the sum does not overflow.
        let end = self.boundary + u32::from(cell) * u32::from(self.cell_len);
        (end.saturating_sub(u32::from(self.cell_len)), end.min(self.buffer_len))
    }
}

/// Writes the data mover field of a datagram with a parity, which will be sealed or not; its length,
/// or `None` when it does not fit, or a count or length is none that can be told. Both numbers are less than
/// [`SHORT_REACH`](super::SHORT_REACH) from where the receiver is.
pub fn emit_parity(physical: u64, parity: &Parity, sealed: bool, out: &mut [u8]) -> Option<usize> {
    let cells = parity.cells.checked_sub(1).filter(|cells| *cells < CELLS_MAX)?;
    let parities = parity.parities.checked_sub(1).filter(|parities| *parities < PARITIES_MAX)?;
    (parity.index < PARITIES_MAX).then_some(())?;
    let mut writer = Writer::new(out);
    writer.short_number(physical)?;
    writer.short_number(parity.logical)?;
    writer.put(&[bits_of(parity.kind) << 6 | cells, parities << 4 | parity.index])?;
    for len in [parity.buffer_len, parity.boundary] {
        writer.put(&u16::try_from(len.checked_sub(1)?).ok()?.to_be_bytes())?;
    }
    debug_assert_eq!(writer.len, SHORT_FIELD_LEN);
    writer.short_end(sealed, parity.cell_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: Parity = Parity {
        logical: 7,
        kind: BufferKind::Stream,
        buffer_len: 5_000,
        boundary: 1_300,
        cells: 4,
        parities: 2,
        index: 1,
        cell_len: 1_400,
    };

    fn parse(parity: &Parity) -> Result<Parity, Malformed> {
        let bytes = vec![0; usize::from(parity.cell_len)];
        let mut out = [0; SHORT_FIELD_LEN + 2];
        assert_eq!(emit_parity(9, parity, true, &mut out), Some(SHORT_FIELD_LEN));
        let sealed = Parity::parse(&out[..SHORT_FIELD_LEN], &bytes, parity.logical);
        assert_eq!(emit_parity(9, parity, false, &mut out), Some(SHORT_FIELD_LEN + 2));
        assert_eq!(Parity::parse(&out, &bytes, parity.logical), sealed);
        let more = vec![0; bytes.len() + 2];
        assert_eq!(Parity::parse(&out, &more, parity.logical), Err(Malformed::Length));
        sealed
    }

    proptest! {
        #[test]
        fn parse_inverts_emit_and_every_cell_has_bytes(
            ids in (any::<u64>(), 1..=PROTECTED_LEN_MAX, 1_u32..3_000),
            counts in (1..=CELLS_MAX, 1..=PARITIES_MAX, 0..PARITIES_MAX),
            kind in 0_usize..3,
            cell_len in 0_u16..2_000,
        ) {
            let (logical, buffer_len, boundary) = ids;
            let (cells, parities, index) = counts;
            let kind = [BufferKind::Control, BufferKind::Stream, BufferKind::Datagram][kind];
            let logical = logical >> 1;
            let parity = Parity { logical, kind, buffer_len, boundary, cells, parities, index, cell_len };
            match parse(&parity) {
                Ok(parsed) => {
                    prop_assert_eq!(parsed, parity);
                    let mut next = parity.cell(0).0;
                    for cell in 0..cells {
                        let (from, to) = parity.cell(cell);
                        prop_assert!(from == next && from < to && to <= buffer_len);
                        next = to;
                    }
                }
                Err(error) => {
                    prop_assert_eq!(error, Malformed::Value);
                    prop_assert!(!parity.is_valid());
                }
            }
        }
    }

    #[test]
    fn what_no_sender_writes_is_refused() {
        assert_eq!(parse(&GOOD), Ok(GOOD));
        assert_eq!(GOOD.cell(0), (0, 1_300));
        assert_eq!(GOOD.cell(3), (4_100, 5_000));
        for wrong in [
            Parity { cells: 5, ..GOOD },
            Parity { index: 2, ..GOOD },
            Parity { cell_len: 1_401, ..GOOD },
            Parity { cell_len: 0, ..GOOD },
            Parity { boundary: 5_001, cells: 1, ..GOOD },
        ] {
            assert_eq!(parse(&wrong), Err(Malformed::Value), "{wrong:?}");
        }
        for no_kind in [0x03, 0x3f] {
            let field = [0, 0, 9, 0, 0, 7, no_kind, 0x11, 0, 9, 0, 9];
            assert_eq!(Parity::parse(&field, &[0; 2], 0), Err(Malformed::Value));
        }
        assert_eq!(
            Parity::parse(&[0x80; SHORT_FIELD_LEN - 1], &[0; 2], 0),
            Err(Malformed::Truncated)
        );
        assert_eq!(
            Parity::parse(&[0x80; SHORT_FIELD_LEN + 1], &[0; 2], 0),
            Err(Malformed::Truncated)
        );
    }

    #[test]
    fn what_cannot_be_told_is_not_written() {
        let whole =
            Parity { buffer_len: PROTECTED_LEN_MAX, boundary: PROTECTED_LEN_MAX, cells: 1, ..GOOD };
        assert_eq!(parse(&whole), Ok(whole));
        for wrong in [
            Parity { cells: 0, ..GOOD },
            Parity { cells: CELLS_MAX + 1, ..GOOD },
            Parity { parities: 0, ..GOOD },
            Parity { parities: PARITIES_MAX + 1, ..GOOD },
            Parity { index: PARITIES_MAX, ..GOOD },
            Parity { boundary: 0, ..GOOD },
            Parity { buffer_len: PROTECTED_LEN_MAX + 1, ..GOOD },
            Parity { buffer_len: 0, ..GOOD },
        ] {
            assert_eq!(emit_parity(9, &wrong, true, &mut [0; 64]), None, "{wrong:?}");
        }
        assert_eq!(emit_parity(9, &GOOD, true, &mut [0; SHORT_FIELD_LEN - 1]), None);
    }
}
