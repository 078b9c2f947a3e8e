//! What hosts send: bytes that follow from a seed and an offset, so that the receiver can check
//! each one, wherever in the stream it is and whichever connection it belongs to.

use crate::link::Random;

const BLOCK: u64 = 8;
/// Blocks after which repetitive content changes.
const CHAPTER: u64 = 512;
/// Blocks after which repetitive content repeats.
const PHRASE: u64 = 16;

/// What contents are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// They cannot be compressed.
    #[default]
    Noise,
    /// They repeat what was before.
    Repetitive,
    /// Sixteen letters in no order: half of it is left by what codes single bytes, and all by what
    /// looks for repetitions.
    Letters,
    /// Noise up to this offset (in blocks of 8 bytes), then letters.
    NoiseThenLetters(u64),
}

/// The bytes of one direction of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    seed: u64,
    kind: Kind,
}

impl Content {
    /// The content of this kind that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64, kind: Kind) -> Self {
        Content { seed, kind }
    }

    /// Another content for each `part`.
    #[must_use]
    pub fn part(self, part: u64) -> Self {
        Content { seed: Random::for_purpose(self.seed, part).next_u64(), ..self }
    }

    /// Writes the bytes from `offset` on.
    pub fn fill(&self, offset: u64, out: &mut [u8]) {
        let (mut index, mut block) = (u64::MAX, [0; 8]);
        for (at, byte) in (offset..).zip(out) {
            if at / BLOCK != index {
                index = at / BLOCK;
                block = self.block(index);
            }
            *byte = block[(at % BLOCK) as usize];
        }
    }

    /// Offset of the first of `bytes`, which stand at `offset`, that is not as it should be.
    #[must_use]
    pub fn mismatch(&self, offset: u64, bytes: &[u8]) -> Option<u64> {
        let mut expected = [0; 2048];
        for (n, chunk) in bytes.chunks(expected.len()).enumerate() {
            let at = offset + (n * expected.len()) as u64;
            let expected = &mut expected[..chunk.len()];
            self.fill(at, expected);
            if let Some(wrong) = chunk.iter().zip(expected.iter()).position(|(a, b)| a != b) {
                return Some(at + wrong as u64);
            }
        }
        None
    }

    fn block(&self, index: u64) -> [u8; 8] {
        let kind = match self.kind {
            Kind::NoiseThenLetters(noise) if index < noise => Kind::Noise,
            Kind::NoiseThenLetters(_) => Kind::Letters,
            kind => kind,
        };
        let repeats = kind == Kind::Repetitive;
        let key = if repeats { index / CHAPTER * PHRASE + index % PHRASE } else { index };
        let block = Random::for_purpose(self.seed, key).next_u64().to_le_bytes();
        if kind == Kind::Letters { block.map(|byte| b'a' + byte % 16) } else { block }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stretch_is_recognised_and_any_damage_found() {
        for kind in [Kind::Noise, Kind::Repetitive, Kind::Letters, Kind::NoiseThenLetters(600)] {
            let content = Content::new(7, kind);
            let mut whole = vec![0; 10_000];
            content.fill(0, &mut whole);
            for (from, to) in [(0, 10_000), (1, 9), (4_097, 9_999)] {
                assert_eq!(content.mismatch(from as u64, &whole[from..to]), None);
            }
            whole[5_000] ^= 1;
            assert_eq!(content.mismatch(100, &whole[100..]), Some(5_000));
            assert_eq!(content.part(1).mismatch(0, &whole[..64]), Some(0));
        }
    }

    #[test]
    fn content_at_another_offset_is_damage() {
        let content = Content::new(3, Kind::Noise);
        let mut bytes = [0; 64];
        content.fill(64, &mut bytes);
        assert!(content.mismatch(0, &bytes).is_some());
        assert!(content.mismatch(128, &bytes).is_some());
    }
}
