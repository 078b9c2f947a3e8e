//! Which group of a peer fills the next buffer.
//!
//! A class with a smaller number goes first, until it has used up its share of the round (its
//! weight in buffers) while others wait; then they have theirs. Within a class, groups take turns
//! by the number of their flows, so that flows share evenly whatever group they are in.

use super::super::{BufferKind, CLASS_COUNT, Class};
use super::flows::List;
use crate::time::Time;

/// Groups of one class: stream or datagram, with or without compression.
pub(super) const GROUPS_PER_CLASS: usize = 4;
/// Groups of one peer.
pub(super) const GROUP_COUNT: usize = CLASS_COUNT * GROUPS_PER_CLASS;

/// Flows whose messages may share a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) flows: List,
    /// Data and headers queued by its flows.
    pub(super) wire_bytes: u64,
    /// Since when its oldest message waits, at most: when it was last empty or last filled a
    /// buffer.
    pub(super) since: Time,
    deficit: i64,
}

impl Default for Group {
    fn default() -> Self {
        Group { flows: List::default(), wire_bytes: 0, since: Time::NEVER, deficit: 0 }
    }
}

/// Which group of its peer a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupIndex(pub(super) usize);

impl GroupIndex {
    pub(super) fn new(class: Class, kind: BufferKind, compress: bool) -> Self {
        let class = usize::from(class.0).min(CLASS_COUNT - 1);
        let datagram = usize::from(kind == BufferKind::Datagram);
        GroupIndex(class * GROUPS_PER_CLASS + datagram * 2 + usize::from(compress))
    }

    pub(super) fn class(self) -> Class {
        Class(u8::try_from(self.0 / GROUPS_PER_CLASS).unwrap_or(0))
    }

    pub(super) fn kind(self) -> BufferKind {
        if self.0 & 2 == 0 { BufferKind::Stream } else { BufferKind::Datagram }
    }

    pub(super) fn compress(self) -> bool {
        self.0 & 1 != 0
    }
}

/// When a group is to fill a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readiness {
    pub(super) now: Time,
    /// Nothing is gained by waiting.
    pub(super) at_once: bool,
    /// From this many bytes on, a buffer is full.
    pub(super) full_bytes: u64,
    pub(super) flush_deadline_ns: u64,
}

impl Readiness {
    fn allows(&self, group: &Group) -> bool {
        group.wire_bytes > 0
            && (self.at_once
                || group.wire_bytes >= self.full_bytes
                || self.now >= group.since + self.flush_deadline_ns)
    }
}

/// The groups of one peer and their turns.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    pub(super) groups: [Group; GROUP_COUNT],
    class_deficit: [i64; CLASS_COUNT],
    /// Per class, the group whose turn it is.
    turn: [usize; CLASS_COUNT],
}

impl Schedule {
    /// The group to fill a buffer from; `None` when none is ready.
    pub(super) fn choose(
        &mut self,
        readiness: &Readiness,
        weights: &[u32; CLASS_COUNT],
        quantum_bytes: u32,
    ) -> Option<GroupIndex> {
        let mut ready = [false; GROUP_COUNT];
        for (ready, group) in ready.iter_mut().zip(&self.groups) {
            *ready = readiness.allows(group);
        }
        if !ready.contains(&true) {
            return None;
        }
        let full_bytes = i64::try_from(readiness.full_bytes).unwrap_or(i64::MAX);
        let class = self.choose_class(&ready, weights, full_bytes);
        Some(self.choose_group(class, &ready, quantum_bytes))
    }

    // Each round adds at least a buffer to each deficit, and none is further below 0 than that.
    fn choose_class(
        &mut self,
        ready: &[bool; GROUP_COUNT],
        weights: &[u32; CLASS_COUNT],
        full_bytes: i64,
    ) -> usize {
        let mut waiting = ready.chunks(GROUPS_PER_CLASS).map(|groups| groups.contains(&true));
        let waiting: [bool; CLASS_COUNT] = std::array::from_fn(|_| waiting.next() == Some(true));
        loop {
            let classes = waiting.iter().zip(&self.class_deficit);
            let first = classes.enumerate().find(|(_, (waits, deficit))| **waits && **deficit > 0);
            if let Some((class, _)) = first {
                return class;
            }
            for (deficit, weight) in self.class_deficit.iter_mut().zip(weights) {
                let share = i64::from((*weight).max(1)).saturating_mul(full_bytes.max(1));
                *deficit = deficit.saturating_add(share).min(share);
            }
        }
    }

    // At least one group of the class is ready; each visit adds to its deficit.
    fn choose_group(
        &mut self,
        class: usize,
        ready: &[bool; GROUP_COUNT],
        quantum_bytes: u32,
    ) -> GroupIndex {
        let Some(turn) = self.turn.get_mut(class) else { return GroupIndex(0) };
        loop {
            let index = class * GROUPS_PER_CLASS + *turn;
            if let (Some(true), Some(group)) = (ready.get(index), self.groups.get_mut(index)) {
                if group.deficit > 0 {
                    return GroupIndex(index);
                }
                let flows = i64::from(group.flows.len().max(1));
                group.deficit += flows * i64::from(quantum_bytes.max(1));
                if group.deficit > 0 {
                    return GroupIndex(index);
                }
            }
            *turn = (*turn + 1) % GROUPS_PER_CLASS;
        }
    }

    /// Charges a buffer of `len` bytes to a group, and starts the wait of what it left.
    pub(super) fn charge(&mut self, index: GroupIndex, len: usize, now: Time) {
        let len = i64::try_from(len).unwrap_or(i64::MAX);
        if let Some(deficit) = self.class_deficit.get_mut(usize::from(index.class().0)) {
            *deficit = deficit.saturating_sub(len);
        }
        let Some(group) = self.groups.get_mut(index.0) else { return };
        group.deficit = group.deficit.saturating_sub(len);
        if group.wire_bytes == 0 {
            group.deficit = 0;
            group.since = Time::NEVER;
        } else {
            group.since = now;
        }
        if group.deficit <= 0
            && let Some(turn) = self.turn.get_mut(usize::from(index.class().0))
        {
            *turn = (*turn + 1) % GROUPS_PER_CLASS;
        }
    }

    /// Since when the longest waiting group waits.
    pub(super) fn oldest(&self) -> Time {
        let waiting = self.groups.iter().filter(|group| group.wire_bytes > 0);
        waiting.map(|group| group.since).min().unwrap_or(Time::NEVER)
    }

    pub(super) fn has_full(&self, full_bytes: u64) -> bool {
        self.groups.iter().any(|group| group.wire_bytes >= full_bytes)
    }
}
