//! The flow table of one worker.
//!
//! In: keys, decisions, the time. Out: what was decided about a flow, and in which direction a
//! packet of it goes. Never: a lock, growth, or more than one writer.
//!
//! The writer ([`FlowTable`], not `Clone`) looks up without waiting for anybody; any number of
//! [`FlowReader`]s in other threads see whole entries or skip those that change under them. The
//! index is the writer's alone.
//!
//! A lookup takes two cache lines, a bucket of the index and an entry; noting a packet, another.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub use super::flow_entry::{Direction, FlowHandle, FlowView};
use super::flow_entry::{EDGE_STATE, EDGE_STATE_SHIFT, Entry, OCCUPIED, Traffic};
use super::flow_hash::{FlowHasher, KEY_WORDS, words_of};
use super::flow_index::{ABSENT, ELSEWHERE, FlowIndex, NUMBERS};
use super::reason::PassReason;
use super::verdict::{Decision, Verdict};
use crate::frame::FlowKey;
use crate::frame::ip::protocol;
use crate::packet_driver::PeerIndex;
use crate::prefetch::prefetch;
use crate::time::Time;

/// Most keys in one bulk lookup.
pub const BULK_MAX: usize = 64;
/// Keys of it whose entries are asked for together.
const GROUP: usize = 16;
/// Most entries in a table.
pub const FLOWS_MAX: usize = NUMBERS;

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

/// Reads a flow table from another thread.
#[derive(Clone, Debug)]
pub struct FlowReader {
    entries: Arc<[Entry]>,
    traffic: Arc<[Traffic]>,
}

/// The flow table: the writer's half.
#[derive(Debug)]
pub struct FlowTable {
    entries: Arc<[Entry]>,
    /// Of each entry.
    traffic: Arc<[Traffic]>,
    index: FlowIndex,
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
        FlowTable {
            entries: (0..capacity).map(|_| Entry::default()).collect(),
            traffic: (0..capacity).map(|_| Traffic::default()).collect(),
            index: FlowIndex::new(capacity),
            hasher,
            free: (0..capacity as u32).rev().collect(),
            sweep_at: 0,
            overloaded: false,
        }
    }

    /// A reader for another thread.
    #[must_use]
    pub fn reader(&self) -> FlowReader {
        FlowReader { entries: Arc::clone(&self.entries), traffic: Arc::clone(&self.traffic) }
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
        self.entries.len()
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
        let words = words_of(key);
        self.find(words, self.hasher.hash_words(words))
    }

    /// Finds the flows of many keys: memory is asked for ahead, so that the waits overlap. Keys
    /// beyond [`BULK_MAX`], and beyond the length of `found`, are left out.
    pub fn lookup_bulk(&self, keys: &[FlowKey], found: &mut [Option<Found>]) {
        let mut hashes = [0u64; BULK_MAX];
        for (key, hash) in keys.iter().zip(&mut hashes) {
            *hash = self.hasher.hash_words(words_of(key));
            self.index.prefetch(*hash);
        }
        let mut candidates = [ABSENT; BULK_MAX];
        let asked = hashes.get(..keys.len()).unwrap_or(&hashes);
        for (hashes, candidates) in asked.chunks(GROUP).zip(candidates.chunks_mut(GROUP)) {
            for (hash, candidate) in hashes.iter().zip(&mut *candidates) {
                *candidate = self.index.candidate(*hash);
            }
            for (hash, candidate) in hashes.iter().zip(&*candidates) {
                match self.entries.get(*candidate as usize) {
                    Some(entry) => prefetch(entry),
                    None => self.index.prefetch_elsewhere(*hash, *candidate),
                }
            }
        }
        for ((_, hash), candidate) in keys.iter().zip(&hashes).zip(&mut candidates) {
            if *candidate == ELSEWHERE {
                *candidate = self.index.candidate_elsewhere(*hash);
                self.entries.get(*candidate as usize).map(prefetch);
            }
        }
        let known = hashes.iter().zip(&candidates);
        for ((key, found), (hash, candidate)) in keys.iter().zip(found).zip(known) {
            let words = words_of(key);
            *found = self.is(*candidate, words);
            if found.is_none() && *candidate != ABSENT {
                *found = self.find(words, *hash);
            }
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
        let decision = self.decision(flow)?;
        let last_seen = self.traffic.get(flow.index as usize)?.last_seen.load(Relaxed);
        Some((decision, Time::from_ns(last_seen)))
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
        let words = words_of(key);
        let hash = self.hasher.hash_words(words);
        if self.find(words, hash).is_some() {
            return Err(InsertError::Exists);
        }
        let index = *self.free.last().ok_or(InsertError::Full)?;
        let entry = self.entries.get(index as usize).ok_or(InsertError::Full)?;
        let traffic = self.traffic.get(index as usize).ok_or(InsertError::Full)?;
        let (entries, hasher) = (&self.entries, &self.hasher);
        let hash_of = |number: u32| {
            entries.get(number as usize).map(|entry| hasher.hash_words(entry.key_words()))
        };
        if !self.index.insert(hash, index, hash_of) {
            return Err(InsertError::Full);
        }
        self.free.pop();
        let generation = (entry.slot.load(Relaxed) >> 32).wrapping_add(1) & 0xffff_ffff;
        entry.write(|entry| {
            for (to, from) in entry.key.iter().zip(words) {
                to.store(from, Relaxed);
            }
            entry.decision.store(decision.to_word() | OCCUPIED, Relaxed);
            entry.slot.store(generation << 32 | u64::from(decision.slot), Relaxed);
            traffic.created.store(now.as_ns(), Relaxed);
            traffic.last_seen.store(now.as_ns(), Relaxed);
            for counter in traffic.frames.iter().chain(&traffic.bytes) {
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
        let kept = entry.decision.load(Relaxed) & (OCCUPIED | EDGE_STATE);
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

    /// Asks for the memory in which packets of these flows will be noted.
    pub fn prefetch_notes(&self, found: &[Option<Found>]) {
        for found in found.iter().flatten() {
            self.traffic.get(found.flow.index as usize).map(prefetch);
        }
    }

    /// Notes a packet of a flow; nothing when it is gone.
    pub fn touch(&self, found: Found, bytes: usize, now: Time) {
        if self.entry(found.flow).is_some()
            && let Some(traffic) = self.traffic.get(found.flow.index as usize)
        {
            traffic.note(found.direction, bytes, now);
        }
    }

    /// Notes a packet of a flow that passes, and says why it does; `None`, and nothing noted, for
    /// any other flow, and for one of which nothing was seen for `idle_ns`.
    #[inline]
    pub(crate) fn pass(
        &self,
        found: Found,
        bytes: usize,
        now: Time,
        idle_ns: u64,
    ) -> Option<PassReason> {
        let entry = self.entry(found.flow)?;
        let reason = Decision::pass_reason(entry.decision.load(Relaxed))?;
        let traffic = self.traffic.get(found.flow.index as usize)?;
        if now.since_ns(Time::from_ns(traffic.last_seen.load(Relaxed))) >= idle_ns {
            return None;
        }
        traffic.note(found.direction, bytes, now);
        Some(reason)
    }

    /// Removes a flow; false when it is gone already.
    pub fn remove(&mut self, flow: FlowHandle) -> bool {
        let Some(entry) = live(&self.entries, flow) else { return false };
        let hash = self.hasher.hash_words(entry.key_words());
        self.index.remove(hash, flow.index);
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
            let here = (self.entries.get(index), self.traffic.get(index));
            let (Some(entry), Some(traffic)) = here else { continue };
            let word = entry.decision.load(Relaxed);
            if word & OCCUPIED == 0 || Decision::of_word(word, 0).verdict == Verdict::Optimize {
                continue;
            }
            let idle_ns = now.since_ns(Time::from_ns(traffic.last_seen.load(Relaxed)));
            if idle_ns >= timeouts.of(entry.first_key().protocol) {
                let handle = entry.handle(u32::try_from(index).unwrap_or(u32::MAX));
                removed += usize::from(self.remove(handle));
            }
        }
        removed
    }

    /// Removes flows that this peer carries in packet mode, of these entries; false when there are no
    /// entries beyond.
    pub fn forget_datagrams_of(&mut self, peer: PeerIndex, entries: Range<usize>) -> bool {
        for index in entries.start..entries.end.min(self.capacity()) {
            let Some(entry) = self.entries.get(index) else { continue };
            let word = entry.decision.load(Relaxed);
            let decision = Decision::of_word(word, 0);
            if word & OCCUPIED != 0
                && decision.verdict == Verdict::Datagram
                && decision.peer == peer
            {
                let handle = entry.handle(u32::try_from(index).unwrap_or(u32::MAX));
                self.remove(handle);
            }
        }
        entries.end < self.capacity()
    }

    /// One flow as a reader sees it; `None` when it is gone.
    #[must_use]
    pub fn view(&self, flow: FlowHandle) -> Option<FlowView> {
        let traffic = self.traffic.get(flow.index as usize)?;
        self.entry(flow).map(|entry| entry.view(traffic))
    }

    /// Entries that are in their second bucket.
    #[cfg(test)]
    pub(super) fn overflowed(&self) -> u64 {
        self.index.overflowed()
    }

    fn note_load(&mut self) {
        let (len, capacity) = (self.len(), self.capacity());
        let limit =
            if self.overloaded { capacity - capacity / 8 } else { capacity - capacity / 16 };
        self.overloaded = if self.overloaded { len > limit } else { len >= limit };
    }

    #[inline(never)]
    fn find(&self, words: [u64; KEY_WORDS], hash: u64) -> Option<Found> {
        self.index.find(hash, |number| self.is(number, words))
    }

    /// What was found, if the entry has this key.
    #[inline]
    fn is(&self, number: u32, words: [u64; KEY_WORDS]) -> Option<Found> {
        let entry = self.entries.get(number as usize)?;
        let direction = entry.direction(words)?;
        Some(Found { flow: entry.handle(number), direction })
    }

    fn entry(&self, flow: FlowHandle) -> Option<&Entry> {
        live(&self.entries, flow)
    }
}

/// The entry of a flow, unless that is gone.
fn live(entries: &[Entry], flow: FlowHandle) -> Option<&Entry> {
    let entry = entries.get(flow.index as usize)?;
    let live = entry.decision.load(Relaxed) & OCCUPIED != 0
        && entry.slot.load(Relaxed) >> 32 == u64::from(flow.generation);
    live.then_some(entry)
}

impl FlowReader {
    /// All flows, each as a whole; one that is changing all the time is left out.
    pub fn iter(&self) -> impl Iterator<Item = FlowView> + '_ {
        let all = self.entries.iter().zip(self.traffic.iter());
        all.filter_map(|(entry, traffic)| entry.read(traffic))
    }
}
