//! Reading and writing big-endian fields at fixed places.
//!
//! A view checks its length once; these then never fail. Should a caller break that rule, a read
//! yields zeros and a write is left out: nothing here can panic.

/// `N` bytes from place `at`.
pub(super) fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Writes `field` to place `at`.
pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = field;
    }
}
