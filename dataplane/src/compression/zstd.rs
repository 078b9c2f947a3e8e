//! Zstandard frames (RFC 8878), by the crate zstd-safe, with working memory that is kept.
//!
//! In: bytes. Out: bytes, in memory of the caller. Never: an allocation per call (the library takes
//! other memory when a level or length asks for more, or for far less 128 times in a row), a
//! dictionary.

use zstd_safe::{CCtx, DCtx};

/// Strongest level that is used.
pub const LEVEL_MAX: i32 = 6;

/// Makes frames.
pub struct Packer(Option<CCtx<'static>>);

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Packer")
    }
}

impl Default for Packer {
    fn default() -> Self {
        Packer(CCtx::try_create())
    }
}

impl Packer {
    /// Compresses all of `plain` into one frame, at a level of 1 to [`LEVEL_MAX`] (others count as
    /// the nearest); the number of bytes written, or `None` when they do not fit.
    #[must_use]
    pub fn compress(&mut self, plain: &[u8], packed: &mut [u8], level: i32) -> Option<usize> {
        let level = level.clamp(1, LEVEL_MAX);
        self.0.as_mut()?.compress(packed, plain, level).ok().filter(|n| *n > 0)
    }
}

/// Takes frames apart.
pub struct Unpacker(Option<DCtx<'static>>);

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unpacker")
    }
}

impl Default for Unpacker {
    fn default() -> Self {
        Unpacker(DCtx::try_create())
    }
}

impl Unpacker {
    /// Decompresses `packed` into `plain`; the number of bytes written, or `None` when it is
    /// damaged or does not fit. What a frame refers back to is in `plain`, so that a window costs no
    /// memory.
    #[must_use]
    pub fn decompress(&mut self, packed: &[u8], plain: &mut [u8]) -> Option<usize> {
        self.0.as_mut()?.decompress(plain, packed).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::lz4::tests::any_bytes;
    use super::*;

    fn noise(len: u32) -> Vec<u8> {
        (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    /// A frame that consists of `blocks` behind a header that announces no length and a window of
    /// `window` (RFC 8878, 3.1.1.1.2).
    fn frame_of(window: u8, blocks: &[u8]) -> Vec<u8> {
        [&[0x28, 0xb5, 0x2f, 0xfd, 0, window], blocks].concat()
    }

    proptest! {
        #[test]
        fn decompress_is_the_inverse_of_compress(plain in any_bytes(), level in -1i32..9) {
            let mut packed = vec![0; plain.len() + 64];
            let len = Packer::default().compress(&plain, &mut packed, level).unwrap();
            let mut again = vec![0; plain.len()];
            let unpacked = Unpacker::default().decompress(&packed[..len], &mut again);
            prop_assert_eq!(unpacked, Some(plain.len()));
            prop_assert_eq!(again, plain);
        }

        #[test]
        fn the_last_call_leaves_no_trace(
            first in any_bytes(),
            second in any_bytes(),
            levels in (1i32..=LEVEL_MAX, 1i32..=LEVEL_MAX),
        ) {
            let mut used = Packer::default();
            let mut scratch = vec![0; 8192];
            let _ = used.compress(&first, &mut scratch, levels.0);
            let (mut a, mut b) = (vec![0; 8192], vec![0; 8192]);
            let a_len = used.compress(&second, &mut a, levels.1);
            let b_len = Packer::default().compress(&second, &mut b, levels.1);
            prop_assert_eq!(a_len, b_len);
            prop_assert_eq!(a, b);
        }

        #[test]
        fn damage_never_writes_beyond_the_room(
            plain in any_bytes(),
            at in any::<usize>(),
            flip in 1u8..,
            cut in any::<usize>(),
            room in 0usize..4000,
        ) {
            let mut packed = vec![0; plain.len() + 64];
            let len = Packer::default().compress(&plain, &mut packed, 1).unwrap();
            packed.truncate(len);
            packed[at % len] ^= flip;
            let mut unpacker = Unpacker::default();
            let mut out = vec![0; room];
            for bytes in [&packed[..], &packed[..cut % len]] {
                if let Some(written) = unpacker.decompress(bytes, &mut out) {
                    prop_assert!(written <= room);
                }
            }
            // What came before does no harm to what comes after.
            let len = Packer::default().compress(&plain, &mut packed, 1);
            let mut out = vec![0; plain.len()];
            if let Some(len) = len {
                prop_assert_eq!(unpacker.decompress(&packed[..len], &mut out), Some(plain.len()));
            }
        }

        #[test]
        fn arbitrary_frames_are_safe(
            block in proptest::collection::vec(any::<u8>(), 0..300),
            window in any::<u8>(),
        ) {
            let mut out = vec![0; 1000];
            let mut unpacker = Unpacker::default();
            for bytes in [&block[..], &frame_of(window, &block)] {
                if let Some(written) = unpacker.decompress(bytes, &mut out) {
                    prop_assert!(written <= 1000);
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_none_and_the_next_is_not_touched_by_it() {
        let noise = noise(1000);
        let mut packer = Packer::default();
        assert_eq!(packer.compress(&noise, &mut [0; 100], 1), None);
        let mut packed = vec![0; 1100];
        let len = packer.compress(&noise, &mut packed, LEVEL_MAX).unwrap();
        let mut unpacker = Unpacker::default();
        assert_eq!(unpacker.decompress(&packed[..len], &mut [0; 999]), None);
        assert_eq!(unpacker.decompress(&packed[..len - 1], &mut [0; 1000]), None);
        let mut again = vec![0; 1000];
        assert_eq!(unpacker.decompress(&packed[..len], &mut again), Some(1000));
        assert_eq!(again, noise);
    }

    #[test]
    fn a_bomb_stops_at_the_end_of_the_room() {
        // 64 blocks of 128 KiB of one byte: 8 MiB from 262 bytes.
        let mut blocks = Vec::new();
        for n in 0..64_u32 {
            let header = (128 << 10) << 3 | 1 << 1 | u32::from(n == 63);
            blocks.extend_from_slice(&header.to_le_bytes()[..3]);
            blocks.push(0x5a);
        }
        let bomb = frame_of(0x80, &blocks);
        let mut unpacker = Unpacker::default();
        assert_eq!(unpacker.decompress(&bomb, &mut vec![0; 65_536]), None);
        assert_eq!(unpacker.decompress(&bomb, &mut vec![0; 8 << 20]), Some(8 << 20));
    }
}
