//! An entry of a flow table: written by one thread, read by any other, without a lock.
//!
//! In: words. Out: a view of one flow, as a whole. Never: a view of two.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

use super::flow_hash::CanonicalKey;
use super::verdict::Decision;
use crate::frame::FlowKey;
use crate::time::Time;

/// Words of a key.
pub(super) const KEY_WORDS: usize = 5;
/// In the word of the decision: the entry is of a flow.
pub(super) const OCCUPIED: u64 = 1 << 63;
/// In the word of the decision: the key of the flow's first packet is the key reversed.
pub(super) const SWAPPED: u64 = 1 << 62;
/// In the word of the decision: what the edge says of its end of the flow.
pub(super) const EDGE_STATE: u64 = 0x1f << EDGE_STATE_SHIFT;
pub(super) const EDGE_STATE_SHIFT: u32 = 57;

const _: () = assert!(size_of::<Entry>() == 128, "two cache lines per entry");

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

#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Entry {
    /// Odd while the first line is being written.
    pub(super) version: AtomicU64,
    /// [`CanonicalKey::words`].
    pub(super) key: [AtomicU64; KEY_WORDS],
    /// [`Decision::to_word`], [`OCCUPIED`], [`EDGE_STATE`], and [`SWAPPED`] of the first packet.
    pub(super) decision: AtomicU64,
    /// Slot in the lower half, generation in the upper.
    pub(super) slot: AtomicU64,

    pub(super) created: AtomicU64,
    pub(super) last_seen: AtomicU64,
    pub(super) frames: [AtomicU64; 2],
    pub(super) bytes: [AtomicU64; 2],
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
    pub(super) fn read(&self) -> Option<FlowView> {
        self.read_around(|| ())
    }

    /// As [`Entry::read`]; `meanwhile` runs before it is known whether the view is whole.
    fn read_around(&self, mut meanwhile: impl FnMut()) -> Option<FlowView> {
        const TRIES: usize = 8;
        for _ in 0..TRIES {
            let before = self.version.load(Acquire);
            if before.is_multiple_of(2) {
                let occupied = self.decision.load(Relaxed) & OCCUPIED != 0;
                let view = self.view();
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
    pub(super) fn view(&self) -> FlowView {
        let slot = self.slot.load(Relaxed) as u32;
        let word = self.decision.load(Relaxed);
        FlowView {
            key: self.first_key(),
            decision: Decision::of_word(word, slot),
            edge_state: ((word & EDGE_STATE) >> EDGE_STATE_SHIFT) as u8,
            created: Time::from_ns(self.created.load(Relaxed)),
            last_seen: Time::from_ns(self.last_seen.load(Relaxed)),
            frames: [self.frames[0].load(Relaxed), self.frames[1].load(Relaxed)],
            bytes: [self.bytes[0].load(Relaxed), self.bytes[1].load(Relaxed)],
        }
    }

    pub(super) fn key_words(&self) -> [u64; KEY_WORDS] {
        let [a, b, c, d, e] = &self.key;
        [a.load(Relaxed), b.load(Relaxed), c.load(Relaxed), d.load(Relaxed), e.load(Relaxed)]
    }

    pub(super) fn first_key(&self) -> FlowKey {
        let swapped = self.decision.load(Relaxed) & SWAPPED != 0;
        CanonicalKey { words: self.key_words(), swapped }.key()
    }

    pub(super) fn handle(&self, index: u32) -> FlowHandle {
        FlowHandle { index, generation: (self.slot.load(Relaxed) >> 32) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interceptor::reason::PassReason;

    fn store(entry: &Entry, slot: u64) {
        entry.write(|entry| {
            let decision = Decision::pass(PassReason::NoRule);
            entry.decision.store(decision.to_word() | OCCUPIED, Relaxed);
            assert_eq!(entry.read(), None, "half written");
            entry.slot.store(slot, Relaxed);
        });
    }

    #[test]
    fn reader_sees_nothing_that_is_half_written() {
        let entry = Entry::default();
        assert_eq!(entry.read(), None, "free");
        store(&entry, 1);
        assert_eq!(entry.read().unwrap().decision.slot, 1);
        // Written once while it is read: read again.
        let mut writes = 0;
        let view = entry.read_around(|| {
            if writes == 0 {
                store(&entry, 2);
            }
            writes += 1;
        });
        assert_eq!((view.unwrap().decision.slot, writes), (2, 2));
        // Written all the time: given up.
        assert_eq!(entry.read_around(|| store(&entry, 3)), None);
    }
}
