//! The keyed hash of flows.
//!
//! Folded multiplication: the two halves of a 128-bit product, combined, as in wyhash (Wang Yi,
//! "Modern Non-Cryptographic Hash Function and Pseudorandom Number Generator"). The key is secret
//! and fresh per start, so that strangers cannot aim their flows at one bucket.

use std::hash::{BuildHasher, Hasher};

use crate::frame::FlowKey;

/// Words of a key.
pub(crate) const KEY_WORDS: usize = 5;

/// A key as words: source, destination, then ports, VLAN and protocol, from the lowest bit on.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "addresses are taken apart into halves")]
pub(crate) fn words_of(key: &FlowKey) -> [u64; KEY_WORDS] {
    let (source, destination) = (key.source_bits(), key.destination_bits());
    let rest = u64::from(key.source_port)
        | u64::from(key.destination_port) << 16
        | u64::from(key.vlan) << 32
        | u64::from(key.protocol) << 48;
    let [source_high, destination_high] = [source >> 64, destination >> 64].map(|half| half as u64);
    [source as u64, source_high, destination as u64, destination_high, rest]
}

/// The key of these words.
#[expect(clippy::cast_possible_truncation, reason = "fields are taken out of a word")]
pub(crate) fn key_of(words: [u64; KEY_WORDS]) -> FlowKey {
    let [a, b, c, d, rest] = words;
    let source = u128::from(b) << 64 | u128::from(a);
    let destination = u128::from(d) << 64 | u128::from(c);
    let ports = (rest as u16, (rest >> 16) as u16);
    FlowKey::from_bits((source, destination), ports, (rest >> 48) as u8, (rest >> 32) as u16)
}

/// The source's port in the last word of a key, and both ports.
const PORT: u64 = 0xffff;
const PORTS: u64 = 0xffff_ffff;

/// Both ports, of the last word of a key.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
fn ports(rest: u64) -> u32 {
    rest as u32
}

/// The words of the opposite direction.
#[inline]
pub(crate) fn reversed(words: [u64; KEY_WORDS]) -> [u64; KEY_WORDS] {
    let [a, b, c, d, rest] = words;
    [c, d, a, b, rest & !PORTS | u64::from(ports(rest).rotate_left(16))]
}

/// A keyed hash; all workers of a process share the key.
#[derive(Clone, Debug)]
pub struct FlowHasher {
    keys: [u64; 4],
}

impl FlowHasher {
    /// A hash function of its own for every secret. The secret comes from the operating system's
    /// random numbers; in a simulation, from its seed.
    #[must_use]
    pub fn new(secret: [u64; 2]) -> Self {
        // SplitMix64 (Steele, Lea, Flood 2014) spreads the secret over the words that are used.
        let mut state = secret[0];
        let mut keys = [0; 4];
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
        self.hash_words(words_of(key))
    }

    /// Each end by itself, its port included, then what of both does not depend on their order. There
    /// is no branch in it: it would go either way as often.
    #[inline]
    pub(crate) fn hash_words(&self, words: [u64; KEY_WORDS]) -> u64 {
        let [k0, k1, k2, k3] = self.keys;
        let [w0, w1, w2, w3, rest] = words;
        let source = fold(w0 ^ k0, w1 ^ k1 ^ (rest & PORT));
        let destination = fold(w2 ^ k0, w3 ^ k1 ^ (rest >> 16 & PORT));
        let rest = rest & !PORTS;
        fold(source.wrapping_add(destination) ^ rest ^ k2, source ^ destination ^ k3)
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
            prop_assert_eq!(key_of(words_of(&key)), key);
            prop_assert_eq!(reversed(words_of(&key)), words_of(&key.reversed()));
        }

        #[test]
        fn every_field_counts(key in any_key(), other in any_key()) {
            let hasher = FlowHasher::new([1, 2]);
            let mut changed = [key; 6];
            changed[0].source_port = other.source_port;
            changed[1].vlan = other.vlan;
            changed[2].protocol = other.protocol;
            // Neither the sum of the ports nor which is whose may be all that counts.
            changed[3].source_port = key.source_port.wrapping_add(1);
            changed[3].destination_port = key.destination_port.wrapping_sub(1);
            let ports = (key.source_port, key.destination_port);
            let of = |addresses| FlowKey::from_bits(addresses, ports, key.protocol, key.vlan);
            changed[4] = of((other.source_bits(), key.destination_bits()));
            changed[5] = of((key.source_bits(), other.destination_bits()));
            for changed in changed {
                let same = changed == key || changed == key.reversed();
                prop_assert_eq!(same, hasher.hash(&changed) == hasher.hash(&key));
            }
        }
    }

    #[test]
    fn neighbouring_flows_spread_over_buckets() {
        const FLOWS: usize = 1 << 14;
        const BUCKETS: usize = 1 << 11;
        let hasher = FlowHasher::new([7, 11]);
        let mut buckets = vec![0u32; BUCKETS];
        for n in 0..u32::try_from(FLOWS).unwrap() {
            let source = std::net::Ipv4Addr::from(0x0a00_0000 | (n >> 4));
            let key =
                FlowKey::new(source.into(), [10, 9, 9, 9].into(), 1024 + (n & 15) as u16, 80, 6, 0);
            buckets[usize::try_from(hasher.hash(&key)).unwrap() & (BUCKETS - 1)] += 1;
        }
        // Mean 8; the largest of 2,048 Poisson draws stays below 25 but once in a million.
        assert!(*buckets.iter().max().unwrap() < 25);
    }

    #[test]
    fn secrets_make_functions_of_their_own() {
        let key = FlowKey::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 1, 2, 6, 0);
        let of = |secret| FlowHasher::new(secret).hash(&key);
        assert_ne!(of([1, 2]), of([1, 3]));
        assert_ne!(of([1, 2]), of([2, 2]));
    }
}
