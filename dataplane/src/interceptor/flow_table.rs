//! The flow table of one worker.
//!
//! In: keys, decisions, the time. Out: what was decided about a flow, and in which direction a
//! packet of it goes. Never: a lock, growth, or more than one writer.
//!
//! The writer ([`FlowTable`], not `Clone`) looks up without waiting for anybody; any number of
//! [`FlowReader`]s in other threads see whole entries or skip those that change under them.
//!
//! A bucket is one cache line: seven places, each 32 bits of the hash beside an entry's number,
//! and a count of entries that should be here but found it full and are in their second bucket.
//! An entry is two lines: what a lookup needs is in the first. At capacity a bucket holds four on
//! average, so that one in twenty is full.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::flow_entry::{EDGE_STATE, EDGE_STATE_SHIFT, Entry, KEY_WORDS, OCCUPIED, SWAPPED};
pub use super::flow_entry::{FlowHandle, FlowView};
use super::flow_hash::{CanonicalKey, FlowHasher};
use super::verdict::{Decision, Verdict};
use crate::frame::FlowKey;
use crate::frame::ip::protocol;
use crate::time::Time;

/// Most keys in one bulk lookup.
pub const BULK_MAX: usize = 64;
/// Most entries in a table.
pub const FLOWS_MAX: usize = 1 << 24;

const PLACES: usize = 7;
/// Entries per bucket when the table is full.
const LOAD: usize = 4;

const _: () = assert!(size_of::<Bucket>() == 64, "one cache line per bucket");
const _: () = assert!(FLOWS_MAX < u32::MAX as usize, "entry numbers have 32 bits, 0 is none");
const _: () = assert!(LOAD < PLACES, "a full table must not fill its buckets");

/// Which way a packet goes, seen from the flow's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As the first packet.
    Forward,
    /// Against it.
    Backward,
}

/// A flow that a key was found to belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The entry.
    pub flow: FlowHandle,
    /// Which way a packet with this key goes.
    pub direction: Direction,
}

/// Why no entry was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// The table holds as many flows as it may.
    Full,
    /// The flow has an entry.
    Exists,
}

/// How long an entry outlives the last packet of its flow, in nanoseconds. Split flows are not
/// aged: the edge removes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP that is passed or in packet mode.
    pub tcp_ns: u64,
    /// UDP.
    pub udp_ns: u64,
    /// ICMP and ICMPv6.
    pub icmp_ns: u64,
    /// Other protocols.
    pub other_ns: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        use crate::time::SECOND_NS;
        Timeouts {
            tcp_ns: 600 * SECOND_NS,
            udp_ns: 120 * SECOND_NS,
            icmp_ns: 30 * SECOND_NS,
            other_ns: 120 * SECOND_NS,
        }
    }
}

impl Timeouts {
    fn of(&self, protocol: u8) -> u64 {
        match protocol {
            protocol::TCP => self.tcp_ns,
            protocol::UDP => self.udp_ns,
            protocol::ICMP | protocol::ICMPV6 => self.icmp_ns,
            _ => self.other_ns,
        }
    }
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// Upper half of the hash, then the entry's number plus one; 0 is free.
    places: [AtomicU64; PLACES],
    /// Entries of this bucket that are in their second one.
    overflowed: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    buckets: Box<[Bucket]>,
    entries: Box<[Entry]>,
}

/// Reads a flow table from another thread.
#[derive(Clone, Debug)]
pub struct FlowReader {
    shared: Arc<Shared>,
}

/// The flow table: the writer's half.
#[derive(Debug)]
pub struct FlowTable {
    shared: Arc<Shared>,
    hasher: FlowHasher,
    /// Numbers of free entries.
    free: Vec<u32>,
    /// Where the next step of ageing begins.
    sweep_at: usize,
    overloaded: bool,
}

impl FlowTable {
    /// A table for `capacity` flows (at least one, at most [`FLOWS_MAX`]), all memory taken now.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "capacity is at most FLOWS_MAX")]
    pub fn new(capacity: usize, hasher: FlowHasher) -> Self {
        let capacity = capacity.clamp(1, FLOWS_MAX);
        let buckets = capacity.div_ceil(LOAD).next_power_of_two().max(2);
        let shared = Shared {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            entries: (0..capacity).map(|_| Entry::default()).collect(),
        };
        FlowTable {
            shared: Arc::new(shared),
            hasher,
            free: (0..capacity as u32).rev().collect(),
            sweep_at: 0,
            overloaded: false,
        }
    }

    /// A reader for another thread.
    #[must_use]
    pub fn reader(&self) -> FlowReader {
        FlowReader { shared: Arc::clone(&self.shared) }
    }

    /// Flows in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.capacity() - self.free.len()
    }

    /// Whether there is no flow in the table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most flows it takes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.entries.len()
    }

    /// Whether new flows should go elsewhere: from 15/16 of the capacity on, until it is down to
    /// 7/8.
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        self.overloaded
    }

    /// The hash function.
    #[must_use]
    pub fn hasher(&self) -> &FlowHasher {
        &self.hasher
    }

    /// Finds the flow of a key, whichever direction it has.
    #[must_use]
    pub fn lookup(&self, key: &FlowKey) -> Option<Found> {
        let canonical = CanonicalKey::of(key);
        self.find(&canonical, self.hasher.hash_words(&canonical.words))
    }

    /// Finds the flows of many keys: memory is asked for ahead, so that the waits overlap. Keys
    /// beyond [`BULK_MAX`], and beyond the length of `found`, are left out.
    pub fn lookup_bulk(&self, keys: &[FlowKey], found: &mut [Option<Found>]) {
        let mut canonical = [CanonicalKey { words: [0; KEY_WORDS], swapped: false }; BULK_MAX];
        let mut hashes = [0u64; BULK_MAX];
        let mut asked = 0;
        for ((key, canonical), hash) in keys.iter().zip(&mut canonical).zip(&mut hashes) {
            *canonical = CanonicalKey::of(key);
            *hash = self.hasher.hash_words(&canonical.words);
            // A load that nothing depends on is a prefetch.
            asked ^= self.bucket(self.first_bucket(*hash)).overflowed.load(Relaxed);
        }
        std::hint::black_box(asked);
        for (_, hash) in keys.iter().zip(&hashes) {
            if let Some(entry) = self.candidate(self.first_bucket(*hash), *hash) {
                asked ^= entry.version.load(Relaxed);
            }
        }
        std::hint::black_box(asked);
        let answers = keys.iter().zip(found).zip(canonical.iter().zip(&hashes));
        for ((_, found), (canonical, hash)) in answers {
            *found = self.find(canonical, *hash);
        }
    }

    /// What was decided about a flow; `None` when it is gone.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the slot is the lower half")]
    pub fn decision(&self, flow: FlowHandle) -> Option<Decision> {
        let entry = self.entry(flow)?;
        Some(Decision::of_word(entry.decision.load(Relaxed), entry.slot.load(Relaxed) as u32))
    }

    /// What was decided about a flow, and when the latest packet of it came.
    pub(crate) fn decision_and_last_seen(&self, flow: FlowHandle) -> Option<(Decision, Time)> {
        let last_seen = self.entry(flow)?.last_seen.load(Relaxed);
        Some((self.decision(flow)?, Time::from_ns(last_seen)))
    }

    /// The key of a flow's first packet; `None` when it is gone.
    #[must_use]
    pub fn key(&self, flow: FlowHandle) -> Option<FlowKey> {
        self.entry(flow).map(Entry::first_key)
    }

    /// Makes an entry. `key` is that of the flow's first packet, or of what would be it.
    ///
    /// # Errors
    /// There is no room, or the flow has an entry.
    pub fn insert(
        &mut self,
        key: &FlowKey,
        decision: Decision,
        now: Time,
    ) -> Result<FlowHandle, InsertError> {
        let canonical = CanonicalKey::of(key);
        let hash = self.hasher.hash_words(&canonical.words);
        if self.find(&canonical, hash).is_some() {
            return Err(InsertError::Exists);
        }
        let index = *self.free.last().ok_or(InsertError::Full)?;
        let entry = self.shared.entries.get(index as usize).ok_or(InsertError::Full)?;
        if !self.place(hash, index) {
            return Err(InsertError::Full);
        }
        self.free.pop();
        let generation = (entry.slot.load(Relaxed) >> 32).wrapping_add(1) & 0xffff_ffff;
        let swapped = if canonical.swapped { SWAPPED } else { 0 };
        entry.write(|entry| {
            for (to, from) in entry.key.iter().zip(canonical.words) {
                to.store(from, Relaxed);
            }
            entry.decision.store(decision.to_word() | OCCUPIED | swapped, Relaxed);
            entry.slot.store(generation << 32 | u64::from(decision.slot), Relaxed);
            entry.created.store(now.as_ns(), Relaxed);
            entry.last_seen.store(now.as_ns(), Relaxed);
            for counter in entry.frames.iter().chain(&entry.bytes) {
                counter.store(0, Relaxed);
            }
        });
        let handle = entry.handle(index);
        self.note_load();
        Ok(handle)
    }

    /// Changes what was decided; false when the flow is gone.
    pub fn set_decision(&mut self, flow: FlowHandle, decision: Decision) -> bool {
        let Some(entry) = self.entry(flow) else { return false };
        let kept = entry.decision.load(Relaxed) & (OCCUPIED | SWAPPED | EDGE_STATE);
        entry.write(|entry| {
            entry.decision.store(decision.to_word() | kept, Relaxed);
            let generation = u64::from(flow.generation) << 32;
            entry.slot.store(generation | u64::from(decision.slot), Relaxed);
        });
        true
    }

    /// What the edge says of its end of a flow, for readers: below 32. Nothing when it is gone.
    pub fn set_edge_state(&mut self, flow: FlowHandle, state: u8) {
        if let Some(entry) = self.entry(flow) {
            let word = entry.decision.load(Relaxed) & !EDGE_STATE;
            let state = u64::from(state) << EDGE_STATE_SHIFT & EDGE_STATE;
            // One word that is whole by itself: no reader has to try again.
            entry.decision.store(word | state, Relaxed);
        }
    }

    /// Notes a packet of a flow; nothing when it is gone.
    pub fn touch(&self, found: Found, bytes: usize, now: Time) {
        if let Some(entry) = self.entry(found.flow) {
            entry.last_seen.store(now.as_ns(), Relaxed);
            let [frames, sum] = match found.direction {
                Direction::Forward => [&entry.frames[0], &entry.bytes[0]],
                Direction::Backward => [&entry.frames[1], &entry.bytes[1]],
            };
            frames.store(frames.load(Relaxed).wrapping_add(1), Relaxed);
            sum.store(sum.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
        }
    }

    /// Removes a flow; false when it is gone already.
    pub fn remove(&mut self, flow: FlowHandle) -> bool {
        let Some(entry) = self.entry(flow) else { return false };
        let hash = self.hasher.hash_words(&entry.key_words());
        self.displace(hash, flow.index);
        entry.write(|entry| entry.decision.store(0, Relaxed));
        self.free.push(flow.index);
        self.note_load();
        true
    }

    /// One step of ageing: looks at the next `entries` entries and removes those of which nothing
    /// was seen for their timeout. Returns how many it removed.
    pub fn sweep(&mut self, entries: usize, timeouts: &Timeouts, now: Time) -> usize {
        let mut removed = 0;
        for _ in 0..entries.min(self.capacity()) {
            let index = self.sweep_at;
            self.sweep_at = if index + 1 < self.capacity() { index + 1 } else { 0 };
            let Some(entry) = self.shared.entries.get(index) else { continue };
            let word = entry.decision.load(Relaxed);
            if word & OCCUPIED == 0 || Decision::of_word(word, 0).verdict == Verdict::Optimize {
                continue;
            }
            let idle_ns = now.since_ns(Time::from_ns(entry.last_seen.load(Relaxed)));
            if idle_ns >= timeouts.of(entry.first_key().protocol) {
                let handle = entry.handle(u32::try_from(index).unwrap_or(u32::MAX));
                removed += usize::from(self.remove(handle));
            }
        }
        removed
    }

    /// One flow as a reader sees it; `None` when it is gone.
    #[must_use]
    pub fn view(&self, flow: FlowHandle) -> Option<FlowView> {
        self.entry(flow).map(Entry::view)
    }

    /// Entries that are in their second bucket.
    #[cfg(test)]
    pub(super) fn overflowed(&self) -> u64 {
        self.shared.buckets.iter().map(|bucket| bucket.overflowed.load(Relaxed)).sum()
    }

    fn note_load(&mut self) {
        let (len, capacity) = (self.len(), self.capacity());
        let limit =
            if self.overloaded { capacity - capacity / 8 } else { capacity - capacity / 16 };
        self.overloaded = if self.overloaded { len > limit } else { len >= limit };
    }

    #[expect(clippy::cast_possible_truncation, reason = "masked to the number of buckets")]
    fn first_bucket(&self, hash: u64) -> usize {
        hash as usize & (self.shared.buckets.len() - 1)
    }

    /// Another bucket than the first: its distance is odd and comes from other bits of the hash.
    #[expect(clippy::cast_possible_truncation, reason = "masked to the number of buckets")]
    fn second_bucket(&self, hash: u64) -> usize {
        (hash as usize ^ ((hash >> 32) as usize | 1)) & (self.shared.buckets.len() - 1)
    }

    fn bucket(&self, index: usize) -> &Bucket {
        // A power of two of buckets, and every index is masked.
        &self.shared.buckets[index & (self.shared.buckets.len() - 1)]
    }

    /// The entry of the first place of a bucket whose signature is that of the hash.
    #[expect(clippy::cast_possible_truncation, reason = "the entry's number is the lower half")]
    fn candidate(&self, bucket: usize, hash: u64) -> Option<&Entry> {
        let places = &self.bucket(bucket).places;
        let place = places
            .iter()
            .map(|place| place.load(Relaxed))
            .find(|place| *place >> 32 == hash >> 32 && *place != 0)?;
        self.shared.entries.get((place as u32).wrapping_sub(1) as usize)
    }

    fn find(&self, key: &CanonicalKey, hash: u64) -> Option<Found> {
        let first = self.first_bucket(hash);
        self.find_in(first, key, hash).or_else(|| {
            if self.bucket(first).overflowed.load(Relaxed) == 0 {
                return None;
            }
            self.find_in(self.second_bucket(hash), key, hash)
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "the entry's number is the lower half")]
    fn find_in(&self, bucket: usize, key: &CanonicalKey, hash: u64) -> Option<Found> {
        for place in &self.bucket(bucket).places {
            let place = place.load(Relaxed);
            if place >> 32 != hash >> 32 || place == 0 {
                continue;
            }
            let index = (place as u32).wrapping_sub(1);
            let Some(entry) = self.shared.entries.get(index as usize) else { continue };
            if entry.key_words() == key.words {
                let swapped = entry.decision.load(Relaxed) & SWAPPED != 0;
                let direction =
                    if swapped == key.swapped { Direction::Forward } else { Direction::Backward };
                return Some(Found { flow: entry.handle(index), direction });
            }
        }
        None
    }

    /// Puts an entry's number into a bucket, moving another entry on if both are full; false
    /// when that is not enough.
    fn place(&self, hash: u64, index: u32) -> bool {
        self.place_as_is(hash, index)
            || ((self.make_room(self.first_bucket(hash))
                || self.make_room(self.second_bucket(hash)))
                && self.place_as_is(hash, index))
    }

    fn place_as_is(&self, hash: u64, index: u32) -> bool {
        let value = place_value(hash, index);
        let first = self.bucket(self.first_bucket(hash));
        if first.replace(0, value) {
            return true;
        }
        let placed = self.bucket(self.second_bucket(hash)).replace(0, value);
        if placed {
            first.overflowed.store(first.overflowed.load(Relaxed) + 1, Relaxed);
        }
        placed
    }

    /// Moves one entry of a full bucket to its other bucket; false when all those are full too.
    #[expect(clippy::cast_possible_truncation, reason = "the entry's number is the lower half")]
    fn make_room(&self, bucket: usize) -> bool {
        for place in &self.bucket(bucket).places {
            let index = (place.load(Relaxed) as u32).wrapping_sub(1);
            let Some(entry) = self.shared.entries.get(index as usize) else { continue };
            let hash = self.hasher.hash_words(&entry.key_words());
            let (first, second) = (self.first_bucket(hash), self.second_bucket(hash));
            let is_first = first == bucket;
            let other = self.bucket(if is_first { second } else { first });
            if other.replace(0, place_value(hash, index)) {
                let overflowed = &self.bucket(first).overflowed;
                let count = overflowed.load(Relaxed);
                overflowed
                    .store(if is_first { count + 1 } else { count.saturating_sub(1) }, Relaxed);
                place.store(0, Relaxed);
                return true;
            }
        }
        false
    }

    /// Takes an entry's number out of its bucket.
    fn displace(&self, hash: u64, index: u32) {
        let value = place_value(hash, index);
        let first = self.bucket(self.first_bucket(hash));
        if !first.replace(value, 0) && self.bucket(self.second_bucket(hash)).replace(value, 0) {
            first.overflowed.store(first.overflowed.load(Relaxed).saturating_sub(1), Relaxed);
        }
    }

    fn entry(&self, flow: FlowHandle) -> Option<&Entry> {
        let entry = self.shared.entries.get(flow.index as usize)?;
        let live = entry.decision.load(Relaxed) & OCCUPIED != 0
            && entry.slot.load(Relaxed) >> 32 == u64::from(flow.generation);
        live.then_some(entry)
    }
}

/// What a bucket's place holds for an entry.
fn place_value(hash: u64, index: u32) -> u64 {
    hash >> 32 << 32 | (u64::from(index) + 1)
}

impl Bucket {
    /// Replaces the first place that holds `old`; false when none does.
    fn replace(&self, old: u64, new: u64) -> bool {
        let place = self.places.iter().find(|place| place.load(Relaxed) == old);
        place.is_some_and(|place| {
            place.store(new, Relaxed);
            true
        })
    }
}

impl FlowReader {
    /// All flows, each as a whole; one that is changing all the time is left out.
    pub fn iter(&self) -> impl Iterator<Item = FlowView> + '_ {
        self.shared.entries.iter().filter_map(Entry::read)
    }
}
