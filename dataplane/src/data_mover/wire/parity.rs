//! A parity, in the place of pieces: the bytes behind the data mover field are parity over a range
//! of a buffer.
//!
//! The range is cut into cells of the length of the parity, from a boundary on and the one cell
//! before it; cells end with the buffer, and count as filled up with zeros. Any so many cells and
//! parities as there are cells give all of them.

use super::{Malformed, Reader, Writer};
use crate::packet_driver::BufferKind;

/// Most cells that parity is over.
pub const CELLS_MAX: u8 = 64;
/// Most parities over the same cells.
pub const PARITIES_MAX: u8 = 16;

/// What one parity is over, and which of several it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parity {
    /// The low 32 bits of the logical sequence number.
    pub logical_low: u32,
    /// Kind of the buffer.
    pub kind: BufferKind,
    /// Length of the whole buffer in bytes; below 2^22.
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
    /// Length of its description in bytes.
    pub const LEN: usize = 13;

    /// From its description and the bytes behind the data mover field.
    ///
    /// # Errors
    /// [`Malformed`] when it is too short or too long, a count is not within its limits, or a cell
    /// has no byte of the buffer.
    pub fn parse(body: &[u8], bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(body);
        let logical_low = reader.u32()?;
        let (kind, buffer_len) = reader.buffer()?;
        let parity = Parity {
            logical_low,
            kind,
            buffer_len,
            boundary: reader.u24()?,
            cells: reader.u8()?,
            parities: reader.u8()?,
            index: reader.u8()?,
            cell_len: u16::try_from(bytes.len()).map_err(|_| Malformed::Length)?,
        };
        reader.end()?;
        if parity.is_valid() { Ok(parity) } else { Err(Malformed::Value) }
    }

    fn is_valid(&self) -> bool {
        let counts = (1..=CELLS_MAX).contains(&self.cells)
            && (1..=PARITIES_MAX).contains(&self.parities)
            && self.index < self.parities;
        let cells = self.cell_len >= 2 && self.cell_len.is_multiple_of(2) && self.boundary > 0;
        let (from, _) = self.cell(self.cells.saturating_sub(1));
        counts && cells && self.boundary <= self.buffer_len && from < self.buffer_len
    }

    /// First byte of a cell in the buffer, and the one behind its last.
    #[must_use]
    pub fn cell(&self, cell: u8) -> (u32, u32) {
        // Below 2^24 and 2^22: the sum does not overflow.
        let end = self.boundary + u32::from(cell) * u32::from(self.cell_len);
        (end.saturating_sub(u32::from(self.cell_len)), end.min(self.buffer_len))
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Option<()> {
        writer.put(&self.logical_low.to_be_bytes())?;
        writer.buffer(self.kind, self.buffer_len)?;
        writer.u24(self.boundary)?;
        writer.put(&[self.cells, self.parities, self.index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: Parity = Parity {
        logical_low: 7,
        kind: BufferKind::Stream,
        buffer_len: 5_000,
        boundary: 1_300,
        cells: 4,
        parities: 2,
        index: 1,
        cell_len: 1_400,
    };

    fn parse(parity: &Parity) -> Result<Parity, Malformed> {
        let mut out = [0; Parity::LEN];
        let mut writer = Writer::new(&mut out);
        parity.emit(&mut writer).unwrap();
        assert_eq!(writer.len, Parity::LEN);
        Parity::parse(&out, &vec![0; usize::from(parity.cell_len)])
    }

    proptest! {
        #[test]
        fn parse_inverts_emit_and_every_cell_has_bytes(
            ids in (any::<u32>(), 0_u32..100_000, 0_u32..3_000),
            counts in (0_u8..70, 0_u8..20, 0_u8..20),
            cell_len in 0_u16..2_000,
        ) {
            let (logical_low, buffer_len, boundary) = ids;
            let (cells, parities, index) = counts;
            let parity = Parity { logical_low, buffer_len, boundary, cells, parities, index, cell_len, ..GOOD };
            if let Ok(parsed) = parse(&parity) {
                prop_assert_eq!(parsed, parity);
                let mut next = parity.cell(0).0;
                for cell in 0..cells {
                    let (from, to) = parity.cell(cell);
                    prop_assert!(from == next && from < to && to <= buffer_len);
                    next = to;
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
            Parity { cells: 0, ..GOOD },
            Parity { cells: CELLS_MAX + 1, ..GOOD },
            Parity { cells: 5, ..GOOD },
            Parity { parities: 0, ..GOOD },
            Parity { parities: PARITIES_MAX + 1, ..GOOD },
            Parity { index: 2, ..GOOD },
            Parity { cell_len: 1_401, ..GOOD },
            Parity { cell_len: 0, ..GOOD },
            Parity { boundary: 0, ..GOOD },
            Parity { boundary: 5_001, cells: 1, ..GOOD },
        ] {
            assert_eq!(parse(&wrong), Err(Malformed::Value), "{wrong:?}");
        }
        assert_eq!(Parity::parse(&[0x80; 12], &[0; 2]), Err(Malformed::Truncated));
        assert_eq!(Parity::parse(&[0x80; 14], &[0; 2]), Err(Malformed::Length));
    }
}
