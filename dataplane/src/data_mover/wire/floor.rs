//! The floor and close subfields: what the sender no longer asks about, and why a session ends.

use super::{Malformed, Reader, SUBFIELD_LEN, SubfieldKind, Writer};

/// Most abandoned logical numbers listed in one floor subfield.
pub const ABANDONED_MAX: usize = 32;

/// Logical numbers that the sender gave up, above its logical floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned<'a> {
    base: u64,
    bytes: &'a [u8],
}

impl<'a> Abandoned<'a> {
    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = u64> + use<'a> {
        let base = self.base;
        let offsets = self.bytes.chunks_exact(4).filter_map(|bytes| bytes.first_chunk::<4>());
        offsets.map(move |offset| base.saturating_add(u64::from(u32::from_be_bytes(*offset))))
    }
}

/// The sender's floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor<'a> {
    /// The fate of physical numbers below this one is known or no longer matters; an
    /// acknowledgement should cover from here on.
    pub physical: u64,
    /// All logical numbers below this one are complete or abandoned.
    pub logical: u64,
    /// Further abandoned ones.
    pub abandoned: Abandoned<'a>,
}

impl<'a> Floor<'a> {
    /// Length without abandoned numbers, in bytes, type and length included.
    pub const BASE_LEN: usize = SUBFIELD_LEN + 16;

    /// From the body of the subfield.
    ///
    /// # Errors
    /// [`Malformed`] when it is too short or the list is not of whole numbers or too long.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(body);
        let physical = reader.u64()?;
        let logical = reader.u64()?;
        let bytes = reader.0;
        if bytes.len() % 4 != 0 || bytes.len() / 4 > ABANDONED_MAX {
            return Err(Malformed::Length);
        }
        Ok(Floor { physical, logical, abandoned: Abandoned { base: logical, bytes } })
    }

    /// Writes a floor subfield; numbers that are below `logical` or too far above it are left out.
    /// Its length, or `None` when it does not fit.
    pub fn emit(
        physical: u64,
        logical: u64,
        abandoned: impl Iterator<Item = u64> + Clone,
        out: &mut [u8],
    ) -> Option<usize> {
        let offsets = abandoned
            .filter_map(|number| u32::try_from(number.checked_sub(logical)?).ok())
            .take(ABANDONED_MAX);
        let mut writer = Writer::new(out);
        let body_len = Self::BASE_LEN - SUBFIELD_LEN + 4 * offsets.clone().count();
        writer.subfield(SubfieldKind::Floor, body_len)?;
        writer.put(&physical.to_be_bytes())?;
        writer.put(&logical.to_be_bytes())?;
        for offset in offsets {
            writer.put(&offset.to_be_bytes())?;
        }
        Some(writer.len)
    }
}

/// Why a session was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseReason {
    /// The TPO is stopping.
    Stopping = 1,
    /// The peer was taken out of the configuration, or its parameters changed.
    Reconfigured = 2,
    /// The peer broke the protocol.
    Protocol = 3,
}

impl CloseReason {
    /// Length of the subfield in bytes, type and length included.
    pub const LEN: usize = SUBFIELD_LEN + 1;

    /// From the body of the subfield.
    ///
    /// # Errors
    /// [`Malformed`] when it is not one known code.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(body);
        let code = reader.u8()?;
        reader.end()?;
        match code {
            1 => Ok(CloseReason::Stopping),
            2 => Ok(CloseReason::Reconfigured),
            3 => Ok(CloseReason::Protocol),
            _ => Err(Malformed::Value),
        }
    }

    /// Writes the subfield; its length, or `None` when it does not fit.
    pub fn emit(self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(out);
        writer.subfield(SubfieldKind::Close, 1)?;
        writer.put(&[self as u8])?;
        Some(writer.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parse_inverts_emit(physical: u64, logical in 0_u64..u64::MAX / 2, offsets in proptest::collection::vec(any::<u32>(), 0..ABANDONED_MAX)) {
            let numbers: Vec<u64> = offsets.iter().map(|offset| logical + u64::from(*offset)).collect();
            let mut out = [0; 200];
            let len = Floor::emit(physical, logical, numbers.iter().copied(), &mut out).unwrap();
            let floor = Floor::parse(&out[SUBFIELD_LEN..len]).unwrap();
            prop_assert_eq!((floor.physical, floor.logical), (physical, logical));
            prop_assert_eq!(floor.abandoned.iter().collect::<Vec<_>>(), numbers);
            prop_assert!(Floor::parse(&out[SUBFIELD_LEN..len - 1]).is_err());
        }
    }

    #[test]
    fn numbers_below_the_floor_are_left_out() {
        let mut out = [0; 64];
        let len = Floor::emit(1, 10, [9, 10, 12].into_iter(), &mut out).unwrap();
        let floor = Floor::parse(&out[SUBFIELD_LEN..len]).unwrap();
        assert_eq!(floor.abandoned.iter().collect::<Vec<_>>(), [10, 12]);
    }

    #[test]
    fn close_reasons_survive_and_others_are_refused() {
        for reason in [CloseReason::Stopping, CloseReason::Reconfigured, CloseReason::Protocol] {
            let mut out = [0; CloseReason::LEN];
            assert_eq!(reason.emit(&mut out), Some(CloseReason::LEN));
            assert_eq!(CloseReason::parse(&out[SUBFIELD_LEN..]), Ok(reason));
        }
        assert_eq!(CloseReason::parse(&[9]), Err(Malformed::Value));
        assert_eq!(CloseReason::parse(&[]), Err(Malformed::Truncated));
        assert_eq!(CloseReason::parse(&[1, 1]), Err(Malformed::Length));
    }
}
