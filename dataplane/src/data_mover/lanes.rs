//! The order of service among what waits to be sent: control first, then classes by priority and
//! weight.
//!
//! In: items with their lane. Out: which class is next; the items of a lane, first in, first out.
//! Never: more items than there are places, which all lanes share.

use crate::packet_driver::{BufferKind, CLASS_COUNT, CLASS_WEIGHTS, Lane};

/// Lanes: control, then those of data.
pub(super) const LANES: usize = 1 + Lane::COUNT;
/// The lane that goes before all others.
pub(super) const CONTROL_LANE: usize = 0;
/// What a class of weight 1 may send in a round while others wait, in bytes: a datagram.
const QUANTUM_BYTES: i64 = 1_500;

/// The lane of a buffer.
pub(super) fn lane_of(kind: BufferKind, lane: Lane) -> usize {
    match kind {
        BufferKind::Control => CONTROL_LANE,
        BufferKind::Stream | BufferKind::Datagram => 1 + lane.index(),
    }
}

/// Whose turn it is: a class with a smaller number goes first, until it has used up its share of
/// the round while others wait; then they have theirs.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Bytes that each class may still send in this round.
    deficits: [i64; CLASS_COUNT],
}

impl Turns {
    /// The lane that is next, of those of which `waits` says that they have something.
    pub(super) fn choose(&mut self, mut waits: impl FnMut(usize) -> bool) -> Option<usize> {
        // Of each class, its first lane that waits.
        let mut waiting = [None; CLASS_COUNT];
        for lane in Lane::all() {
            let place = waiting.get_mut(usize::from(lane.class().0))?;
            if place.is_none() && waits(1 + lane.index()) {
                *place = Some(1 + lane.index());
            }
        }
        if waiting.iter().all(Option::is_none) {
            return None;
        }
        loop {
            let mut classes = waiting.iter().zip(&self.deficits);
            let first = classes.find(|(lane, deficit)| lane.is_some() && **deficit > 0);
            if let Some((lane, _)) = first {
                return *lane;
            }
            // No deficit is further below 0 than one datagram, so this ends.
            for (deficit, weight) in self.deficits.iter_mut().zip(CLASS_WEIGHTS) {
                let share = i64::from(weight) * QUANTUM_BYTES;
                *deficit = (*deficit + share).min(share);
            }
        }
    }

    /// What was sent of a lane.
    pub(super) fn charge(&mut self, lane: usize, bytes: usize) {
        let class = lane.checked_sub(1).map(|lane| lane / (Lane::COUNT / CLASS_COUNT));
        if let Some(deficit) = class.and_then(|class| self.deficits.get_mut(class)) {
            *deficit = deficit.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node<T> {
    item: T,
    /// The next node of the same lane, or of the free list.
    next: u32,
}

/// First in, first out, a queue for each lane, in places that were reserved at start.
#[derive(Debug)]
pub(super) struct Queues<T> {
    nodes: Box<[Node<T>]>,
    free: u32,
    free_count: usize,
    /// First and last of each lane; the first is [`NIL`] of an empty one.
    ends: [(u32, u32); LANES],
}

impl<T: Copy + Default> Queues<T> {
    /// `places` for all lanes together.
    pub(super) fn new(places: usize) -> Self {
        let count = u32::try_from(places).unwrap_or(NIL).min(NIL - 1);
        let nodes = (0..count).map(|_| Node { item: T::default(), next: NIL }).collect();
        let mut queues = Queues { nodes, free: NIL, free_count: 0, ends: [(NIL, NIL); LANES] };
        queues.clear();
        queues
    }

    /// Empties all lanes.
    pub(super) fn clear(&mut self) {
        let count = u32::try_from(self.nodes.len()).unwrap_or(NIL);
        for (next, node) in (1..).zip(&mut self.nodes) {
            node.next = if next < count { next } else { NIL };
        }
        self.free = if count > 0 { 0 } else { NIL };
        self.free_count = self.nodes.len();
        self.ends = [(NIL, NIL); LANES];
    }

    /// Places that are free.
    pub(super) fn free_count(&self) -> usize {
        self.free_count
    }

    /// Appends to a lane; false when no place is free.
    pub(super) fn push_back(&mut self, lane: usize, item: T) -> bool {
        let index = self.free;
        let Some(ends) = self.ends.get_mut(lane) else { return false };
        let Some(node) = self.nodes.get_mut(index as usize) else { return false };
        self.free = node.next;
        self.free_count -= 1;
        *node = Node { item, next: NIL };
        let (first, last) = *ends;
        *ends = if first == NIL { (index, index) } else { (first, index) };
        if first != NIL
            && let Some(last) = self.nodes.get_mut(last as usize)
        {
            last.next = index;
        }
        true
    }

    /// Whether nothing is in a lane.
    #[inline]
    pub(super) fn is_empty(&self, lane: usize) -> bool {
        self.ends.get(lane).is_none_or(|(first, _)| *first == NIL)
    }

    /// The first of a lane.
    pub(super) fn front(&self, lane: usize) -> Option<T> {
        let (first, _) = self.ends.get(lane)?;
        self.nodes.get(*first as usize).map(|node| node.item)
    }

    /// The first of a lane, to be changed.
    pub(super) fn front_mut(&mut self, lane: usize) -> Option<&mut T> {
        let (first, _) = self.ends.get(lane)?;
        self.nodes.get_mut(*first as usize).map(|node| &mut node.item)
    }

    /// The last of a lane, to be changed.
    pub(super) fn back_mut(&mut self, lane: usize) -> Option<&mut T> {
        let (first, last) = self.ends.get(lane)?;
        let last = if *first == NIL { NIL } else { *last };
        self.nodes.get_mut(last as usize).map(|node| &mut node.item)
    }

    /// Removes the first of a lane.
    pub(super) fn pop_front(&mut self, lane: usize) {
        let Some((first, _)) = self.ends.get_mut(lane) else { return };
        let Some(node) = self.nodes.get_mut(*first as usize) else { return };
        let index = std::mem::replace(first, node.next);
        node.next = self.free;
        self.free = index;
        self.free_count += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lanes_agree_with_ordinary_deques(
            operations in proptest::collection::vec((0..LANES, any::<bool>()), 0..200),
        ) {
            let mut queues = Queues::new(8);
            let mut oracle = [const { VecDeque::new() }; LANES];
            for (n, (lane, push)) in (1_u64..).zip(operations) {
                let used: usize = oracle.iter().map(VecDeque::len).sum();
                if push {
                    prop_assert_eq!(queues.push_back(lane, n), used < 8);
                    if used < 8 {
                        oracle[lane].push_back(n);
                    }
                } else {
                    queues.pop_front(lane);
                    oracle[lane].pop_front();
                }
                let used: usize = oracle.iter().map(VecDeque::len).sum();
                prop_assert_eq!(queues.free_count(), 8 - used);
                for (lane, deque) in oracle.iter().enumerate() {
                    prop_assert_eq!(queues.front(lane), deque.front().copied());
                    prop_assert_eq!(queues.is_empty(lane), deque.is_empty());
                    prop_assert_eq!(queues.back_mut(lane).copied(), deque.back().copied());
                }
            }
            queues.clear();
            prop_assert_eq!((queues.free_count(), queues.front(1)), (8, None));
        }
    }

    /// What each class gets of so many datagrams while those that `waits` have bulk to send.
    fn shares(turns: &mut Turns, waits: [bool; CLASS_COUNT], datagrams: usize) -> Vec<usize> {
        let mut shares = vec![0; CLASS_COUNT];
        for _ in 0..datagrams {
            let bulk = |lane: usize| lane.is_multiple_of(2) && waits[lane / 2 - 1];
            let lane = turns.choose(bulk).unwrap();
            turns.charge(lane, 1_500);
            shares[lane / 2 - 1] += 1;
        }
        shares
    }

    #[test]
    fn classes_share_by_weight_and_one_alone_has_all() {
        let mut turns = Turns::default();
        assert_eq!(shares(&mut turns, [true; 4], 150), [80, 40, 20, 10]);
        assert_eq!(shares(&mut turns, [false, true, false, true], 50), [0, 40, 0, 10]);
        assert_eq!(shares(&mut turns, [false, false, false, true], 50), [0, 0, 0, 50]);
        assert_eq!(turns.choose(|_| false), None);
    }

    #[test]
    fn one_small_buffer_of_a_class_before_goes_first_at_any_moment() {
        let mut turns = Turns::default();
        for bulk in 0..40 {
            shares(&mut turns, [false, false, true, false], bulk);
            assert_eq!(turns.choose(|lane| lane == 2 || lane == 6), Some(2), "after {bulk}");
            turns.charge(2, 300);
        }
    }

    #[test]
    fn flows_that_send_little_go_first_in_their_class() {
        let mut turns = Turns::default();
        assert_eq!(turns.choose(|lane| lane >= 3), Some(3));
        turns.charge(3, 300);
        assert_eq!(turns.choose(|lane| lane >= 4), Some(4));
    }
}
