//! The keyed hash of flows.
//!
//! Folded multiplication: the two halves of a 128-bit product, combined, as in wyhash (Wang Yi,
//! "Modern Non-Cryptographic Hash Function and Pseudorandom Number Generator"). The key is secret
//! and fresh per start, so that strangers cannot aim their flows at one bucket.

use std::hash::{BuildHasher, Hasher};

use crate::frame::FlowKey;

/// The 5-tuple in a form that both directions share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CanonicalKey {
    /// Smaller end's address, larger end's address, then ports, VLAN and protocol.
    pub(crate) words: [u64; 5],
    /// Whether source and destination were exchanged.
    pub(crate) swapped: bool,
}

impl CanonicalKey {
    /// The shared form of a key: the end with the smaller address, then port, comes first.
    #[expect(clippy::cast_possible_truncation, reason = "addresses are taken apart into halves")]
    pub(crate) fn of(key: &FlowKey) -> Self {
        let (source, destination) = (key.source_bits(), key.destination_bits());
        let swapped = (source, key.source_port) > (destination, key.destination_port);
        let (low, high, low_port, high_port) = if swapped {
            (destination, source, key.destination_port, key.source_port)
        } else {
            (source, destination, key.source_port, key.destination_port)
        };
        let rest = u64::from(low_port) << 48
            | u64::from(high_port) << 32
            | u64::from(key.vlan) << 16
            | u64::from(key.protocol);
        CanonicalKey {
            words: [low as u64, (low >> 64) as u64, high as u64, (high >> 64) as u64, rest],
            swapped,
        }
    }

    /// The key whose shared form this is.
    #[expect(clippy::cast_possible_truncation, reason = "fields are taken out of a word")]
    pub(crate) fn key(&self) -> FlowKey {
        let [a, b, c, d, rest] = self.words;
        let low = u128::from(b) << 64 | u128::from(a);
        let high = u128::from(d) << 64 | u128::from(c);
        let ports = ((rest >> 48) as u16, (rest >> 32) as u16);
        let key = FlowKey::from_bits((low, high), ports, rest as u8, (rest >> 16) as u16);
        if self.swapped { key.reversed() } else { key }
    }
}

/// A keyed hash; all workers of a process share the key.
#[derive(Clone, Debug)]
pub struct FlowHasher {
    keys: [u64; 6],
}

impl FlowHasher {
    /// A hash function of its own for every secret. The secret comes from the operating system's
    /// random numbers; in a simulation, from its seed.
    #[must_use]
    pub fn new(secret: [u64; 2]) -> Self {
        // SplitMix64 (Steele, Lea, Flood 2014) spreads the secret over the words that are used.
        let mut state = secret[0];
        let mut keys = [0; 6];
        for key in &mut keys {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state ^ secret[1].rotate_left(32);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *key = mixed ^ (mixed >> 31) ^ secret[1];
        }
        FlowHasher { keys }
    }

    /// The hash of a flow, the same for both directions.
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.hash_words(&CanonicalKey::of(key).words)
    }

    /// Which of `count` workers owns a flow, the same for both directions; 0 for a count of 0.
    #[must_use]
    pub fn owner(&self, key: &FlowKey, count: usize) -> usize {
        // The middle bits: the table uses the lowest for its buckets, the highest for signatures.
        ((((self.hash(key) >> 16) & 0xffff_ffff) * count as u64) >> 32) as usize
    }

    pub(crate) fn hash_words(&self, words: &[u64; 5]) -> u64 {
        let [k0, k1, k2, k3, k4, k5] = self.keys;
        let [w0, w1, w2, w3, w4] = *words;
        let low = fold(w0 ^ k0, w1 ^ k1);
        let high = fold(w2 ^ k2, w3 ^ k3);
        fold(low ^ w4 ^ k4, high ^ k5)
    }
}

/// Both halves of the product, combined.
#[expect(clippy::cast_possible_truncation, reason = "a product is taken apart into halves")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl BuildHasher for FlowHasher {
    type Hasher = WordHasher;

    fn build_hasher(&self) -> WordHasher {
        WordHasher { state: self.keys[0], key: self.keys[1] | 1 }
    }
}

/// The same hash for small keys of other tables.
#[derive(Clone, Debug)]
pub struct WordHasher {
    state: u64,
    key: u64,
}

impl Hasher for WordHasher {
    fn finish(&self) -> u64 {
        fold(self.state, self.key)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.key).rotate_left(23) ^ word;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn any_key()(
            addresses in any::<(u128, u128)>(),
            ports in any::<(u16, u16)>(),
            vlan in 0..4096u16,
            protocol in any::<u8>(),
        ) -> FlowKey {
            FlowKey::from_bits(addresses, ports, protocol, vlan)
        }
    }

    proptest! {
        #[test]
        fn both_directions_are_one(key in any_key(), secret in any::<[u64; 2]>()) {
            let hasher = FlowHasher::new(secret);
            prop_assert_eq!(hasher.hash(&key), hasher.hash(&key.reversed()));
            prop_assert_eq!(hasher.owner(&key, 5), hasher.owner(&key.reversed(), 5));
            prop_assert!(hasher.owner(&key, 5) < 5);
            prop_assert_eq!(CanonicalKey::of(&key).key(), key);
            prop_assert_eq!(CanonicalKey::of(&key).words, CanonicalKey::of(&key.reversed()).words);
        }

        #[test]
        fn every_field_counts(key in any_key(), other in any_key()) {
            let hasher = FlowHasher::new([1, 2]);
            let mut changed = [key; 3];
            changed[0].source_port = other.source_port;
            changed[1].vlan = other.vlan;
            changed[2].protocol = other.protocol;
            for changed in changed {
                prop_assert_eq!(changed == key, hasher.hash(&changed) == hasher.hash(&key));
            }
        }
    }

    #[test]
    fn neighbouring_flows_spread_over_buckets_and_owners() {
        const FLOWS: usize = 1 << 14;
        const BUCKETS: usize = 1 << 11;
        let hasher = FlowHasher::new([7, 11]);
        let mut buckets = vec![0u32; BUCKETS];
        let mut owners = [0u32; 4];
        for n in 0..u32::try_from(FLOWS).unwrap() {
            let source = std::net::Ipv4Addr::from(0x0a00_0000 | (n >> 4));
            let key =
                FlowKey::new(source.into(), [10, 9, 9, 9].into(), 1024 + (n & 15) as u16, 80, 6, 0);
            buckets[usize::try_from(hasher.hash(&key)).unwrap() & (BUCKETS - 1)] += 1;
            owners[hasher.owner(&key, 4)] += 1;
        }
        // Mean 8; the largest of 2,048 Poisson draws stays below 25 but once in a million.
        assert!(*buckets.iter().max().unwrap() < 25);
        assert!(owners.iter().all(|count| (3_700..4_500).contains(count)), "{owners:?}");
    }

    #[test]
    fn secrets_make_functions_of_their_own() {
        let key = FlowKey::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 1, 2, 6, 0);
        let of = |secret| FlowHasher::new(secret).hash(&key);
        assert_ne!(of([1, 2]), of([1, 3]));
        assert_ne!(of([1, 2]), of([2, 2]));
    }
}
