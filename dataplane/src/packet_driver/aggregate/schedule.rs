//! Which group of a peer fills the next buffer.
//!
//! A class with a smaller number goes first, until it has used up its share of the round (its
//! weight in buffers) while others wait; then they have theirs. Within a class, flows that begin
//! anew with little go first, as long as they leave the others half. Else groups take turns by the
//! number of their flows, so that flows share evenly whatever group they are in.

use super::super::{BufferKind, CLASS_COUNT, Class, Lane};
use super::Downstream;
use super::config::SPARSE_AHEAD_BYTES;
use super::flows::List;
use crate::time::Time;

/// Groups of one lane: stream or datagram, with or without compression.
const GROUPS_PER_LANE: usize = 4;
/// Groups of one class: those of sparse flows, then those of the others.
const GROUPS_PER_CLASS: usize = 2 * GROUPS_PER_LANE;
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
    pub(super) fn new(lane: Lane, kind: BufferKind, compress: bool) -> Self {
        let datagram = usize::from(kind == BufferKind::Datagram);
        GroupIndex(lane.index() * GROUPS_PER_LANE + datagram * 2 + usize::from(compress))
    }

    /// The group of the same messages when their flow is one of many.
    pub(super) fn ordinary(self) -> Self {
        GroupIndex::new(Lane::new(self.class(), false), self.kind(), self.compress())
    }

    pub(super) fn class(self) -> Class {
        Class(u8::try_from(self.0 / GROUPS_PER_CLASS).unwrap_or(0))
    }

    pub(super) fn is_sparse(self) -> bool {
        (self.0 / GROUPS_PER_LANE).is_multiple_of(2)
    }

    pub(super) fn lane(self) -> Lane {
        Lane::new(self.class(), self.is_sparse())
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
    /// What the next stage takes, by lane.
    pub(super) downstream: [Downstream; Lane::COUNT],
    /// From this many bytes on, a buffer is full.
    pub(super) full_bytes: u64,
    /// The same of packets.
    pub(super) packets_full_bytes: u64,
    pub(super) flush_deadline_ns: u64,
}

/// The groups of one peer and their turns.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    pub(super) groups: [Group; GROUP_COUNT],
    class_deficit: [i64; CLASS_COUNT],
    /// Per class, the group whose turn it is, of those of flows that are not sparse.
    turn: [usize; CLASS_COUNT],
    /// Per class, by how much its sparse flows are ahead of the others, in bytes.
    ahead_bytes: [u64; CLASS_COUNT],
}

impl Schedule {
    /// The group to fill a buffer from; `None` when none is ready.
    pub(super) fn choose(
        &mut self,
        now: Time,
        readiness: &Readiness,
        weights: &[u32; CLASS_COUNT],
        quantum_bytes: u32,
    ) -> Option<GroupIndex> {
        let mut ready = [false; GROUP_COUNT];
        for (index, ready) in ready.iter_mut().enumerate() {
            let at = self.ready_at(GroupIndex(index), readiness);
            *ready = at <= now && at < Time::NEVER;
        }
        if !ready.contains(&true) {
            return None;
        }
        let full_bytes = i64::try_from(readiness.full_bytes).unwrap_or(i64::MAX);
        let class = self.choose_class(&ready, weights, full_bytes);
        Some(self.choose_group(class, &ready, quantum_bytes))
    }

    /// When a group is to fill a buffer, if nothing changes until then.
    fn ready_at(&self, index: GroupIndex, readiness: &Readiness) -> Time {
        let Some(group) = self.groups.get(index.0).filter(|group| group.wire_bytes > 0) else {
            return Time::NEVER;
        };
        if index.is_sparse() && !self.may_go_ahead(index.class()) {
            return Time::NEVER;
        }
        let full_bytes = match index.kind() {
            BufferKind::Datagram => readiness.packets_full_bytes.min(readiness.full_bytes),
            BufferKind::Stream | BufferKind::Control => readiness.full_bytes,
        };
        match readiness.downstream.get(index.lane().index()) {
            Some(Downstream::Idle) => Time::ZERO,
            Some(Downstream::Busy) if group.wire_bytes >= full_bytes => Time::ZERO,
            Some(Downstream::Busy) => group.since + readiness.flush_deadline_ns,
            Some(Downstream::Full | Downstream::Closed) | None => Time::NEVER,
        }
    }

    /// When [`Schedule::choose`] will have a group, if nothing changes until then.
    pub(super) fn next_timeout(&self, readiness: &Readiness) -> Time {
        let groups = (0..GROUP_COUNT).map(|index| self.ready_at(GroupIndex(index), readiness));
        groups.min().unwrap_or(Time::NEVER)
    }

    /// Whether sparse flows of a class may go before its others.
    fn may_go_ahead(&self, class: Class) -> bool {
        let ahead = self.ahead_bytes.get(usize::from(class.0));
        ahead.is_none_or(|ahead| *ahead < SPARSE_AHEAD_BYTES) || !self.has_ordinary(class)
    }

    /// Whether flows of a class that are not sparse wait.
    fn has_ordinary(&self, class: Class) -> bool {
        let from = usize::from(class.0) * GROUPS_PER_CLASS + GROUPS_PER_LANE;
        let groups = self.groups.get(from..from + GROUPS_PER_LANE).unwrap_or(&[]);
        groups.iter().any(|group| group.wire_bytes > 0)
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
        let from = class * GROUPS_PER_CLASS;
        let mut sparse = from..from + GROUPS_PER_LANE;
        if let Some(index) = sparse.find(|index| ready.get(*index) == Some(&true)) {
            return GroupIndex(index);
        }
        loop {
            let index = from + GROUPS_PER_LANE + *turn;
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
            *turn = (*turn + 1) % GROUPS_PER_LANE;
        }
    }

    /// Charges a buffer of `len` bytes to a group, and starts the wait of what it left.
    pub(super) fn charge(&mut self, index: GroupIndex, len: usize, now: Time) {
        let has_ordinary = self.has_ordinary(index.class());
        if let Some(ahead) = self.ahead_bytes.get_mut(usize::from(index.class().0)) {
            *ahead = match (index.is_sparse(), has_ordinary) {
                (true, true) => ahead.saturating_add(len as u64),
                (false, true) => ahead.saturating_sub(len as u64),
                (_, false) => 0,
            };
        }
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
            && !index.is_sparse()
            && let Some(turn) = self.turn.get_mut(usize::from(index.class().0))
        {
            *turn = (*turn + 1) % GROUPS_PER_LANE;
        }
    }
}
