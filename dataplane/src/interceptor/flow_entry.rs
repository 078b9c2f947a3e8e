//! An entry of a flow table: written by one thread, read by any other, without a lock.
//!
//! In: words. Out: a view of one flow, as a whole. Never: a view of two.

use std::hint::select_unpredictable;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

use super::flow_hash::{KEY_WORDS, key_of, reversed};
use super::verdict::Decision;
use crate::frame::FlowKey;
use crate::time::Time;

/// In the word of the decision: the entry is of a flow.
pub(super) const OCCUPIED: u64 = 1 << 63;
/// In the word of the decision: what the edge says of its end of the flow.
pub(super) const EDGE_STATE: u64 = 0x1f << EDGE_STATE_SHIFT;
pub(super) const EDGE_STATE_SHIFT: u32 = 57;

const _: () = assert!(size_of::<Entry>() == 64, "a lookup takes one cache line");
const _: () = assert!(size_of::<Traffic>() == 64, "noting a packet takes another");

/// Which way a packet goes, seen from the flow's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As the first packet.
    Forward,
    /// Against it.
    Backward,
}

/// Names an entry; of no effect once that flow is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowHandle {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// One flow, as a reader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowView {
    /// The 5-tuple of its first packet.
    pub key: FlowKey,
    /// What was decided.
    pub decision: Decision,
    /// What the edge says of its end of a split flow, below 32; 0 before it has said anything.
    pub edge_state: u8,
    /// When the first packet came.
    pub created: Time,
    /// When the latest packet came.
    pub last_seen: Time,
    /// Frames as the first one, and against it.
    pub frames: [u64; 2],
    /// Bytes of these frames.
    pub bytes: [u64; 2],
}

/// What a lookup needs.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Entry {
    /// Odd while the entry, or when its flow was created, is being written.
    pub(super) version: AtomicU64,
    /// That of the flow's first packet, as words.
    pub(super) key: [AtomicU64; KEY_WORDS],
    /// [`Decision::to_word`], [`OCCUPIED`] and [`EDGE_STATE`].
    pub(super) decision: AtomicU64,
    /// Slot in the lower half, generation in the upper.
    pub(super) slot: AtomicU64,
}

/// What packets leave behind: apart from the entry, so that those that are looked for lie close
/// together.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Traffic {
    pub(super) created: AtomicU64,
    pub(super) last_seen: AtomicU64,
    pub(super) frames: [AtomicU64; 2],
    pub(super) bytes: [AtomicU64; 2],
}

impl Traffic {
    /// Notes a packet.
    #[inline]
    pub(super) fn note(&self, direction: Direction, bytes: usize, now: Time) {
        self.last_seen.store(now.as_ns(), Relaxed);
        let [frames, sum] = match direction {
            Direction::Forward => [&self.frames[0], &self.bytes[0]],
            Direction::Backward => [&self.frames[1], &self.bytes[1]],
        };
        frames.store(frames.load(Relaxed).wrapping_add(1), Relaxed);
        sum.store(sum.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
    }
}

impl Entry {
    /// Runs `change` between an odd and an even version, so that readers skip or retry (a
    /// sequence lock after Boehm, "Can Seqlocks Get Along With Programming Language Memory
    /// Models?", 2012: fences and relaxed accesses).
    pub(super) fn write(&self, change: impl FnOnce(&Entry)) {
        let version = self.version.load(Relaxed);
        self.version.store(version.wrapping_add(1), Relaxed);
        fence(Release);
        change(self);
        self.version.store(version.wrapping_add(2), Release);
    }

    /// A whole view from another thread; `None` when the entry is free or kept changing.
    pub(super) fn read(&self, traffic: &Traffic) -> Option<FlowView> {
        self.read_around(traffic, || ())
    }

    /// As [`Entry::read`]; `meanwhile` runs before it is known whether the view is whole.
    fn read_around(&self, traffic: &Traffic, mut meanwhile: impl FnMut()) -> Option<FlowView> {
        const TRIES: usize = 8;
        for _ in 0..TRIES {
            let before = self.version.load(Acquire);
            if before.is_multiple_of(2) {
                let occupied = self.decision.load(Relaxed) & OCCUPIED != 0;
                let view = self.view(traffic);
                meanwhile();
                fence(Acquire);
                if self.version.load(Relaxed) == before {
                    return occupied.then_some(view);
                }
            }
            std::hint::spin_loop();
        }
        None
    }

    #[expect(clippy::cast_possible_truncation, reason = "fields are taken out of words")]
    pub(super) fn view(&self, traffic: &Traffic) -> FlowView {
        let slot = self.slot.load(Relaxed) as u32;
        let word = self.decision.load(Relaxed);
        FlowView {
            key: self.first_key(),
            decision: Decision::of_word(word, slot),
            edge_state: ((word & EDGE_STATE) >> EDGE_STATE_SHIFT) as u8,
            created: Time::from_ns(traffic.created.load(Relaxed)),
            last_seen: Time::from_ns(traffic.last_seen.load(Relaxed)),
            frames: traffic.frames.each_ref().map(|frames| frames.load(Relaxed)),
            bytes: traffic.bytes.each_ref().map(|bytes| bytes.load(Relaxed)),
        }
    }

    #[inline]
    pub(super) fn key_words(&self) -> [u64; KEY_WORDS] {
        let [a, b, c, d, e] = &self.key;
        [a.load(Relaxed), b.load(Relaxed), c.load(Relaxed), d.load(Relaxed), e.load(Relaxed)]
    }

    /// Which way a packet of this key goes, if it is of this flow.
    #[inline]
    pub(super) fn direction(&self, key: [u64; KEY_WORDS]) -> Option<Direction> {
        let own = self.key_words();
        // Either direction is as likely, so the one that it can be is chosen without a branch; that it
        // is neither is hardly so.
        let [low, high, .., rest] = own;
        let [key_low, key_high, .., key_rest] = key;
        // If it has this source and these ports and could be the other way round as well, then both
        // ends are one.
        let is_forward = (low ^ key_low) | (high ^ key_high) | (rest ^ key_rest) == 0;
        let backward = reversed(key);
        let choose = |at: usize| select_unpredictable(is_forward, key[at], backward[at]);
        if differing(own, std::array::from_fn(choose)) != 0 {
            return None;
        }
        Some(if is_forward { Direction::Forward } else { Direction::Backward })
    }

    pub(super) fn first_key(&self) -> FlowKey {
        key_of(self.key_words())
    }

    #[inline]
    pub(super) fn handle(&self, index: u32) -> FlowHandle {
        FlowHandle { index, generation: (self.slot.load(Relaxed) >> 32) as u32 }
    }
}

/// The bits in which two keys differ, of all their words.
#[inline]
fn differing(a: [u64; KEY_WORDS], b: [u64; KEY_WORDS]) -> u64 {
    a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::interceptor::flow_hash::words_of;
    use crate::interceptor::reason::PassReason;

    fn store(entry: &Entry, slot: u64) {
        entry.write(|entry| {
            let decision = Decision::pass(PassReason::NoRule);
            entry.decision.store(decision.to_word() | OCCUPIED, Relaxed);
            assert_eq!(entry.read(&Traffic::default()), None, "half written");
            entry.slot.store(slot, Relaxed);
        });
    }

    prop_compose! {
        /// Of so few that its ends are often alike in part.
        fn any_key()(
            halves in any::<[bool; 4]>(),
            ports in (0..2u16, 0..2u16),
            vlan in 0..2u16,
        ) -> FlowKey {
            let [a, b, c, d] = halves.map(u128::from);
            FlowKey::from_bits((a << 64 | b, c << 64 | d), ports, 17, vlan)
        }
    }

    proptest! {
        #[test]
        fn a_direction_is_that_of_the_same_key_or_the_reversed_one(
            own in any_key(),
            key in any_key(),
        ) {
            let entry = Entry::default();
            for (to, from) in entry.key.iter().zip(words_of(&own)) {
                to.store(from, Relaxed);
            }
            let expected = match key {
                key if key == own => Some(Direction::Forward),
                key if key == own.reversed() => Some(Direction::Backward),
                _ => None,
            };
            prop_assert_eq!(entry.direction(words_of(&key)), expected);
        }
    }

    #[test]
    fn reader_sees_nothing_that_is_half_written() {
        let (entry, traffic) = (Entry::default(), Traffic::default());
        assert_eq!(entry.read(&traffic), None, "free");
        store(&entry, 1);
        assert_eq!(entry.read(&traffic).unwrap().decision.slot, 1);
        // Written once while it is read: read again.
        let mut writes = 0;
        let view = entry.read_around(&traffic, || {
            if writes == 0 {
                store(&entry, 2);
            }
            writes += 1;
        });
        assert_eq!((view.unwrap().decision.slot, writes), (2, 2));
        // Written all the time: given up.
        assert_eq!(entry.read_around(&traffic, || store(&entry, 3)), None);
    }
}
