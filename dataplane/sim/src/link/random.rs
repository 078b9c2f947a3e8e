//! Seeded random numbers: the same seed gives the same run, on every machine.
//!
//! SplitMix64, after Steele, Lea and Flood, "Fast splittable pseudorandom number generators"
//! (OOPSLA 2014). Not for secrets.

/// The odd constant nearest to 2^64 divided by the golden ratio: the step of the sequence.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream that belongs to `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Random { state: seed }
    }

    /// A stream of its own for each `purpose`, so that drawing more for one changes no other.
    #[must_use]
    pub const fn for_purpose(seed: u64, purpose: u64) -> Self {
        let mut parent = Random::new(seed ^ purpose.wrapping_mul(GOLDEN_GAMMA).rotate_left(32));
        Random::new(parent.next_u64())
    }

    /// The next number, uniform over all 64-bit values.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The bytes of the next numbers.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// The next number, uniform over `0..=max`.
    pub fn up_to(&mut self, max: u64) -> u64 {
        let product = u128::from(self.next_u64()) * (u128::from(max) + 1);
        u64::try_from(product >> 64).unwrap_or(max)
    }

    /// True with `probability`: never at 0 (or NaN) and below, always at 1 and above.
    ///
    /// Takes one number from the stream whatever the probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        const UNIT: f64 = 1.0 / (1_u64 << 53) as f64;
        let uniform = (self.next_u64() >> 11) as f64 * UNIT;
        uniform < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_numbers_are_those_of_the_published_generator() {
        // The reference implementation's output for seed 1234567.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
        assert_eq!(random.next_u64(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn certain_and_impossible_are_exact() {
        let mut random = Random::new(7);
        for _ in 0..10_000 {
            assert!(random.chance(1.0));
            assert!(!random.chance(0.0));
            assert!(!random.chance(f64::NAN));
        }
    }

    #[test]
    fn bounded_numbers_reach_both_ends_and_nothing_beyond() {
        let mut random = Random::new(11);
        let mut seen = [0_u32; 4];
        for _ in 0..1_000 {
            seen[usize::try_from(random.up_to(3)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&count| count > 150), "{seen:?}");
        assert_eq!(random.up_to(0), 0);
    }

    #[test]
    fn purposes_do_not_share_a_stream() {
        let mut one = Random::for_purpose(5, 1);
        let mut two = Random::for_purpose(5, 2);
        assert!((0..100).all(|_| one.next_u64() != two.next_u64()));
    }
}
