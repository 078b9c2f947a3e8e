//! LZ4 blocks: a binding over the C library, with a state that is allocated once.
//!
//! In: bytes. Out: bytes, in memory of the caller. Never: an allocation per call, a read or a
//! write outside the slices given.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};

// The crate builds and links the whole library but declares only a part of it.
use lz4_sys::LZ4_decompress_safe;

unsafe extern "C" {
    fn LZ4_sizeofState() -> c_int;
    fn LZ4_compress_fast_extState(
        state: *mut c_void,
        source: *const c_char,
        dest: *mut c_char,
        source_size: c_int,
        dest_capacity: c_int,
        acceleration: c_int,
    ) -> c_int;
}

/// Most bytes that one call takes (the library's `LZ4_MAX_INPUT_SIZE`).
pub const INPUT_MAX: usize = 0x7E00_0000;

/// The working memory of a compressor.
pub struct State {
    // u64: the library asks for a state aligned to 8 bytes.
    memory: Box<[u64]>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({} bytes)", self.memory.len() * size_of::<u64>())
    }
}

impl Default for State {
    fn default() -> Self {
        // SAFETY: takes no arguments and returns a constant.
        let size = unsafe { LZ4_sizeofState() };
        let words = usize::try_from(size).unwrap_or(0).div_ceil(size_of::<u64>());
        State { memory: vec![0; words].into_boxed_slice() }
    }
}

impl State {
    /// Compresses all of `plain` into `packed`; the number of bytes written, or `None` when they
    /// do not fit. `acceleration` is 1 for the best ratio; larger is faster.
    #[must_use]
    pub fn compress(
        &mut self,
        plain: &[u8],
        packed: &mut [u8],
        acceleration: i32,
    ) -> Option<usize> {
        if plain.len() > INPUT_MAX {
            return None;
        }
        let source_size = c_int::try_from(plain.len()).ok()?;
        let dest_capacity = capacity_of(packed);
        // SAFETY: the state has the size and alignment the library asks for and is ours alone;
        // both sizes are those of the slices (or less), which do not overlap.
        let written = unsafe {
            LZ4_compress_fast_extState(
                self.memory.as_mut_ptr().cast(),
                plain.as_ptr().cast(),
                packed.as_mut_ptr().cast(),
                source_size,
                dest_capacity,
                acceleration,
            )
        };
        usize::try_from(written).ok().filter(|n| *n > 0)
    }
}

/// Decompresses the block `packed` into `plain`; the number of bytes written, or `None` when the
/// block is damaged or does not fit.
#[must_use]
pub fn decompress(packed: &[u8], plain: &mut [u8]) -> Option<usize> {
    let source_size = c_int::try_from(packed.len()).ok()?;
    let capacity = capacity_of(plain);
    // SAFETY: both sizes are those of the slices (or less), which do not overlap; the function
    // checks every read and write against them, whatever the block says.
    let written = unsafe {
        LZ4_decompress_safe(
            packed.as_ptr().cast(),
            plain.as_mut_ptr().cast(),
            source_size,
            capacity,
        )
    };
    usize::try_from(written).ok()
}

fn capacity_of(slice: &[u8]) -> c_int {
    c_int::try_from(slice.len()).unwrap_or(c_int::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    // Bytes with repetitions, so that they compress.
    pub(in crate::compression) fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec((any::<u8>(), 1usize..60), 0..60)
            .prop_map(|runs| runs.iter().flat_map(|(byte, n)| vec![*byte; *n]).collect())
    }

    proptest! {
        #[test]
        fn decompress_is_the_inverse_of_compress(plain in any_bytes(), speed in 1i32..20) {
            let mut state = State::default();
            let mut packed = vec![0; plain.len() + plain.len() / 255 + 16];
            let len = state.compress(&plain, &mut packed, speed).unwrap();
            let mut again = vec![0; plain.len()];
            prop_assert_eq!(decompress(&packed[..len], &mut again), Some(plain.len()));
            prop_assert_eq!(again, plain);
        }

        #[test]
        fn the_last_call_leaves_no_trace(first in any_bytes(), second in any_bytes()) {
            let mut used = State::default();
            let mut scratch = vec![0; 8192];
            let _ = used.compress(&first, &mut scratch, 1);
            let (mut a, mut b) = (vec![0; 8192], vec![0; 8192]);
            let a_len = used.compress(&second, &mut a, 1);
            let b_len = State::default().compress(&second, &mut b, 1);
            prop_assert_eq!(a_len, b_len);
            prop_assert_eq!(a, b);
        }

        #[test]
        fn damage_never_writes_beyond_the_room(
            plain in any_bytes(),
            at in any::<usize>(),
            flip in 1u8..,
            room in 0usize..4000,
        ) {
            let mut packed = vec![0; plain.len() + plain.len() / 255 + 16];
            let len = State::default().compress(&plain, &mut packed, 1).unwrap();
            packed.truncate(len);
            packed[at % len] ^= flip;
            let mut out = vec![0; room];
            if let Some(written) = decompress(&packed, &mut out) {
                prop_assert!(written <= room);
            }
        }

        #[test]
        fn arbitrary_blocks_are_safe(block in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = vec![0; 1000];
            if let Some(written) = decompress(&block, &mut out) {
                prop_assert!(written <= 1000);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_none() {
        let noise: Vec<u8> =
            (0u32..1000).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert_eq!(State::default().compress(&noise, &mut [0; 100], 1), None);
        let mut packed = vec![0; 1100];
        let len = State::default().compress(&noise, &mut packed, 1).unwrap();
        assert_eq!(decompress(&packed[..len], &mut [0; 999]), None);
    }
}
