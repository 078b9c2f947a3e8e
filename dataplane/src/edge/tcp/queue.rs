//! The queues of connections: they grow with what is under way and are given back when a
//! connection has been idle for a while, so that an idle one is small.
//!
//! In: elements. Out: a `VecDeque` of them. Never: an allocation while the reserve, which is made
//! at the start and shared by all connections of a stage, has a larger queue left; only beyond it
//! a queue grows by itself, up to the limit of its connection.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

/// Elements and number of the queues of each size. A queue walks through all of its memory, so the
/// next size is never more than eight times what is needed.
const SHELVES: [(usize, usize); 5] =
    [(64, 1024), (512, 256), (4096, 64), (16_384, 16), (65_536, 4)];

/// Empty queues of a few sizes.
#[derive(Debug)]
pub(super) struct Reserve<T> {
    shelves: [(usize, ArrayQueue<VecDeque<T>>); SHELVES.len()],
}

impl<T> Reserve<T> {
    /// A reserve for this many connections, all memory taken now.
    pub(super) fn new(connections: usize) -> Self {
        let shelves = SHELVES.map(|(size, count)| {
            let count = count.min(connections).max(1);
            let shelf = ArrayQueue::new(count);
            for _ in 0..count {
                // There is room for exactly this many.
                let _ = shelf.push(VecDeque::with_capacity(size));
            }
            (size, shelf)
        });
        Reserve { shelves }
    }

    /// A queue with room for `len` elements.
    fn take(&self, len: usize) -> Option<VecDeque<T>> {
        self.shelves.iter().filter(|(size, _)| *size >= len).find_map(|(_, shelf)| shelf.pop())
    }

    /// Takes back an empty queue; one that is none of ours is freed.
    fn give_back(&self, queue: VecDeque<T>) {
        let shelf = self.shelves.iter().find(|(size, _)| *size == queue.capacity());
        if let Some((_, shelf)) = shelf {
            let _ = shelf.push(queue);
        }
    }
}

/// A queue that takes its memory from a reserve.
#[derive(Debug)]
pub(super) struct Queue<T> {
    items: VecDeque<T>,
    reserve: Option<Arc<Reserve<T>>>,
}

impl<T> Default for Queue<T> {
    /// A queue without a reserve.
    fn default() -> Self {
        Queue { items: VecDeque::new(), reserve: None }
    }
}

impl<T> Queue<T> {
    /// Takes memory from this reserve from now on.
    pub(super) fn draw_on(&mut self, reserve: &Arc<Reserve<T>>) {
        self.reserve = Some(Arc::clone(reserve));
    }

    /// Makes room for one more element.
    fn make_room(&mut self) {
        if self.items.len() < self.items.capacity() {
            return;
        }
        let Some(reserve) = &self.reserve else { return };
        if let Some(mut larger) = reserve.take(self.items.len() + 1) {
            larger.extend(self.items.drain(..));
            reserve.give_back(std::mem::replace(&mut self.items, larger));
        }
    }

    pub(super) fn push_back(&mut self, item: T) {
        self.make_room();
        self.items.push_back(item);
    }

    pub(super) fn insert(&mut self, index: usize, item: T) {
        self.make_room();
        self.items.insert(index, item);
    }

    /// Whether it is empty and has memory all the same.
    pub(super) fn is_spare(&self) -> bool {
        self.items.is_empty() && self.items.capacity() > 0
    }

    /// Drops everything and gives the memory back.
    pub(super) fn release(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        items.clear();
        if let Some(reserve) = &self.reserve {
            reserve.give_back(items);
        }
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<T> Deref for Queue<T> {
    type Target = VecDeque<T>;

    fn deref(&self) -> &VecDeque<T> {
        &self.items
    }
}

impl<T> DerefMut for Queue<T> {
    fn deref_mut(&mut self) -> &mut VecDeque<T> {
        &mut self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_out_of_the_reserve_and_gives_everything_back() {
        let reserve = Arc::new(Reserve::new(2));
        let free = || reserve.shelves.iter().map(|(_, shelf)| shelf.len()).collect::<Vec<_>>();
        let all = free();
        let mut queue = Queue::default();
        queue.draw_on(&reserve);
        for n in 0..5_000 {
            queue.push_back(n);
        }
        assert_eq!(queue.capacity(), 16_384);
        assert!(queue.iter().copied().eq(0..5_000));
        assert_eq!(free(), [all[0], all[1], all[2], all[3] - 1, all[4]]);
        queue.release();
        assert_eq!(free(), all);
        queue.push_back(1);
        drop(queue);
        assert_eq!(free(), all);
    }

    #[test]
    fn grows_by_itself_beyond_the_reserve() {
        let reserve = Arc::new(Reserve::new(1));
        let mut queues: Vec<Queue<u8>> = (0..6).map(|_| Queue::default()).collect();
        for queue in &mut queues {
            queue.draw_on(&reserve);
            queue.push_back(1);
        }
        assert!(queues.iter().all(|queue| queue.len() == 1));
        drop(queues);
        assert!(reserve.shelves.iter().all(|(_, shelf)| shelf.is_full()));
    }
}
