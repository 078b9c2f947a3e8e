//! Where the flow table, and other tables of flows, find their entries: buckets of signatures, by hash.
//!
//! In: the hash of a flow, the number of its entry. Out: the numbers of the entries that may be of
//! a hash, most often none or one. Never: a look at a key, a lock, growth.
//!
//! A bucket is one cache line: twelve places, each 16 bits of the hash and an entry's number, and a
//! count of entries that should be here but found it full and are in their second bucket. At
//! capacity a bucket holds eight on average at most, so that one in fifteen is full; with more
//! buckets, each would be farther from the processor.

use crate::prefetch::prefetch;

const PLACES: usize = 12;
/// Entries per bucket when the table is full.
const LOAD: usize = 8;
/// Bits of a place's word that are the entry's number; the others are of the hash.
const NUMBER_BITS: u32 = 24;
/// These bits.
const NUMBER: u32 = (1 << NUMBER_BITS) - 1;
/// Entries that can be told apart.
pub(super) const NUMBERS: usize = 1 << NUMBER_BITS;

const _: () = assert!(size_of::<Bucket>() == 64, "one cache line per bucket");
const _: () = assert!(LOAD < PLACES, "a full table must not fill its buckets");

/// Said of a hash that no entry is of.
pub(super) const ABSENT: u32 = u32::MAX;
/// Said of a hash whose entry may be in its second bucket.
pub(super) const ELSEWHERE: u32 = u32::MAX - 1;

const _: () = assert!(ELSEWHERE as usize >= NUMBERS, "no entry has the number of an answer");

#[derive(Clone, Debug, Default)]
#[repr(C, align(64))]
struct Bucket {
    /// A byte for each place: [`Signature::first`], 0 where it is free. Eight here, and four there.
    signatures: u64,
    signatures_more: u32,
    /// Number of the entry in each place, and [`Signature::rest`] in the bits above it.
    words: [u32; PLACES],
    /// Entries of this bucket that are in their second one.
    overflowed: u32,
}

/// The buckets.
#[derive(Debug)]
pub(crate) struct FlowIndex {
    buckets: Box<[Bucket]>,
}

/// Places of a bucket: bit 7 of each byte for the first eight, bit 3 of the lower four for the rest.
#[derive(Clone, Copy, Debug)]
struct Places(u64);

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (bit < u64::BITS as usize).then_some(bit / 8 + if bit & 4 == 0 { 8 } else { 0 })
    }
}

/// Bits of a hash that neither the buckets nor the owners of flows are chosen by.
#[derive(Clone, Copy, Debug)]
struct Signature {
    /// All places of a bucket are compared with it at once; never 0.
    first: u8,
    /// Compared with those that it leaves.
    rest: u8,
}

impl Signature {
    #[inline]
    fn of(hash: u64) -> Self {
        let [first, rest, ..] = hash.to_be_bytes();
        Signature { first: first.max(1), rest }
    }
}

/// The upper bit of each byte that is zero (Warren, "Hacker's Delight", 6-1).
#[inline]
fn zero_bytes(bytes: u64) -> u64 {
    const LOWER: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    !(((bytes & LOWER) + LOWER) | bytes | LOWER)
}

impl Bucket {
    /// The places with this byte for a signature, all compared at once: which of them it is cannot
    /// be predicted.
    #[inline]
    fn with(&self, signature: u8) -> Places {
        let everywhere = u64::from(signature) * 0x0101_0101_0101_0101;
        let eight = zero_bytes(self.signatures ^ everywhere);
        let four = zero_bytes(u64::from(self.signatures_more) ^ everywhere) & 0xffff_ffff;
        Places(eight | four >> 4)
    }

    /// The entries that may be of this signature.
    #[inline]
    fn numbers(&self, signature: Signature) -> impl Iterator<Item = u32> + '_ {
        let words = self.with(signature.first).filter_map(|place| self.words.get(place));
        words
            .filter(move |word| **word >> NUMBER_BITS == u32::from(signature.rest))
            .map(|word| word & NUMBER)
    }

    fn set(&mut self, place: usize, signature: u8, word: u32) {
        let all = u128::from(self.signatures_more) << 64 | u128::from(self.signatures);
        let mut bytes = all.to_le_bytes();
        if let (Some(byte), Some(slot)) = (bytes.get_mut(place), self.words.get_mut(place)) {
            (*byte, *slot) = (signature, word);
        }
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = bytes;
        self.signatures = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        self.signatures_more = u32::from_le_bytes([i, j, k, l]);
    }

    /// Puts an entry into a free place; false when there is none.
    fn put(&mut self, signature: Signature, number: u32) -> bool {
        let free = self.with(0).next();
        let word = u32::from(signature.rest) << NUMBER_BITS | number;
        free.map(|place| self.set(place, signature.first, word)).is_some()
    }

    /// Frees the place of an entry; false when it is not here.
    fn take(&mut self, signature: Signature, number: u32) -> bool {
        let word = u32::from(signature.rest) << NUMBER_BITS | number;
        let mut places = self.with(signature.first);
        let held = places.find(|place| self.words.get(*place) == Some(&word));
        held.map(|place| self.set(place, 0, 0)).is_some()
    }

    /// The number of the entry in a place, if any is there.
    fn number(&self, place: usize) -> Option<u32> {
        let free = self.with(0).any(|free| free == place);
        let word = self.words.get(place).filter(|_| !free)?;
        Some(word & NUMBER)
    }
}

impl FlowIndex {
    /// An index of `capacity` entries.
    pub(crate) fn new(capacity: usize) -> Self {
        let buckets = capacity.div_ceil(LOAD).next_power_of_two().max(2);
        FlowIndex { buckets: vec![Bucket::default(); buckets].into_boxed_slice() }
    }

    #[expect(clippy::cast_possible_truncation, reason = "masked to the number of buckets")]
    fn first(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    /// Another bucket than the first: its distance is odd and comes from other bits of the hash.
    #[expect(clippy::cast_possible_truncation, reason = "masked to the number of buckets")]
    fn second(&self, hash: u64) -> usize {
        (hash as usize ^ ((hash >> 32) as usize | 1)) & (self.buckets.len() - 1)
    }

    // A power of two of buckets, and every index is masked.
    #[inline]
    fn bucket(&self, index: usize) -> &Bucket {
        &self.buckets[index & (self.buckets.len() - 1)]
    }

    fn bucket_mut(&mut self, index: usize) -> &mut Bucket {
        &mut self.buckets[index & (self.buckets.len() - 1)]
    }

    /// Asks for the first bucket of a hash.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch(self.bucket(self.first(hash)));
    }

    /// Asks for the second one, where the first told to look there.
    #[inline]
    pub(super) fn prefetch_elsewhere(&self, hash: u64, candidate: u32) {
        if candidate == ELSEWHERE {
            prefetch(self.bucket(self.second(hash)));
        }
    }

    /// The first entry that may be of this hash, by its first bucket: most often the right one;
    /// [`ABSENT`] when there is none in either, [`ELSEWHERE`] when there is none in the first.
    #[inline]
    pub(super) fn candidate(&self, hash: u64) -> u32 {
        let bucket = self.bucket(self.first(hash));
        let without = if bucket.overflowed > 0 { ELSEWHERE } else { ABSENT };
        bucket.numbers(Signature::of(hash)).next().unwrap_or(without)
    }

    /// The same of its second bucket.
    #[inline]
    pub(super) fn candidate_elsewhere(&self, hash: u64) -> u32 {
        let bucket = self.bucket(self.second(hash));
        bucket.numbers(Signature::of(hash)).next().unwrap_or(ABSENT)
    }

    /// The entry of this hash that `is_it` takes for the right one.
    pub(crate) fn find<T>(&self, hash: u64, mut is_it: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let signature = Signature::of(hash);
        let first = self.bucket(self.first(hash));
        match first.numbers(signature).find_map(&mut is_it) {
            None if first.overflowed > 0 => {
                self.bucket(self.second(hash)).numbers(signature).find_map(&mut is_it)
            }
            found => found,
        }
    }

    /// Puts an entry in, moving another one on if both its buckets are full; `hash_of` tells the
    /// hash of an entry. False when that is not enough.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        number: u32,
        hash_of: impl Fn(u32) -> Option<u64>,
    ) -> bool {
        self.put(hash, number)
            || ((self.make_room(self.first(hash), &hash_of)
                || self.make_room(self.second(hash), &hash_of))
                && self.put(hash, number))
    }

    fn put(&mut self, hash: u64, number: u32) -> bool {
        let (first, second) = (self.first(hash), self.second(hash));
        if self.bucket_mut(first).put(Signature::of(hash), number) {
            return true;
        }
        let put = self.bucket_mut(second).put(Signature::of(hash), number);
        if put {
            self.bucket_mut(first).overflowed += 1;
        }
        put
    }

    /// Moves one entry of a full bucket to its other bucket; false when all those are full too.
    fn make_room(&mut self, bucket: usize, hash_of: &impl Fn(u32) -> Option<u64>) -> bool {
        for place in 0..PLACES {
            let Some(number) = self.bucket(bucket).number(place) else { continue };
            let Some(hash) = hash_of(number) else { continue };
            let (first, second) = (self.first(hash), self.second(hash));
            let is_first = first == bucket;
            let other = if is_first { second } else { first };
            if self.bucket_mut(other).put(Signature::of(hash), number) {
                self.bucket_mut(bucket).take(Signature::of(hash), number);
                let overflowed = &mut self.bucket_mut(first).overflowed;
                *overflowed = if is_first { *overflowed + 1 } else { overflowed.saturating_sub(1) };
                return true;
            }
        }
        false
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, hash: u64, number: u32) {
        let (first, second) = (self.first(hash), self.second(hash));
        let signature = Signature::of(hash);
        if !self.bucket_mut(first).take(signature, number)
            && self.bucket_mut(second).take(signature, number)
        {
            let overflowed = &mut self.bucket_mut(first).overflowed;
            *overflowed = overflowed.saturating_sub(1);
        }
    }

    /// Entries that are in their second bucket.
    #[cfg(test)]
    pub(super) fn overflowed(&self) -> u64 {
        self.buckets.iter().map(|bucket| u64::from(bucket.overflowed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every place of a bucket, with the smallest signature and the largest, and the largest number.
    #[test]
    fn each_place_is_found_by_what_was_put_in() {
        let largest = u32::try_from(NUMBERS - 1).unwrap();
        for hash in [0, 1 << 48, 0x01ff << 48, 0xff00 << 48, 0xffff << 48] {
            let mut index = FlowIndex::new(1);
            let hash_of = |_| unreachable!("no bucket is full");
            let numbers: Vec<_> = (0..12u32).map(|n| largest - n).collect();
            for number in &numbers {
                assert!(index.insert(hash, *number, hash_of));
            }
            assert!(numbers.contains(&index.candidate(hash)));
            for number in &numbers {
                assert_eq!(index.find(hash, |seen| (seen == *number).then_some(())), Some(()));
            }
            let mut placed: Vec<_> =
                (0..PLACES).filter_map(|place| index.bucket(0).number(place)).collect();
            placed.sort_unstable_by(|a, b| b.cmp(a));
            assert_eq!(placed, numbers);
            // Another signature, whose byte for the places is the same or not.
            for other in [hash ^ 1 << 48, hash ^ 2 << 56] {
                assert_eq!(index.candidate(other), ABSENT, "{hash:x} {other:x}");
            }
            assert!(index.insert(hash, 7, hash_of), "in the second bucket");
            assert_eq!(index.overflowed(), 1);
            let stranger = hash ^ 2 << 56;
            assert_eq!(index.candidate(stranger), ELSEWHERE);
            assert_eq!(index.candidate_elsewhere(stranger), ABSENT);
            for number in numbers {
                index.remove(hash, number);
            }
            assert_eq!(index.candidate(hash), ELSEWHERE);
            assert_eq!(index.candidate_elsewhere(hash), 7);
            index.remove(hash, 7);
            assert_eq!((index.candidate(hash), index.overflowed()), (ABSENT, 0));
        }
    }
}
