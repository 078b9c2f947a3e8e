//! Memory for queued messages: one array, reserved at start, with first-in-first-out queues
//! threaded through it.

use super::super::Outbound;
use crate::time::Time;

pub(super) const NIL: u32 = u32::MAX;

struct Node<F> {
    message: Option<Outbound<F>>,
    /// When it came.
    at: Time,
    /// The next node of the same queue, or of the free list.
    next: u32,
}

/// A queue within a [`Slab`]; empty when `head` is [`NIL`], and then `tail` means nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    head: u32,
    tail: u32,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { head: NIL, tail: NIL }
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.head == NIL
    }
}

/// A fixed number of places for messages.
pub(super) struct Slab<F> {
    nodes: Box<[Node<F>]>,
    free: u32,
    free_count: usize,
}

impl<F> Slab<F> {
    pub(super) fn new(count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(NIL).min(NIL - 1);
        let nodes = (0..count)
            .map(|n| Node {
                message: None,
                at: Time::ZERO,
                next: if n + 1 < count { n + 1 } else { NIL },
            })
            .collect();
        Slab { nodes, free: if count > 0 { 0 } else { NIL }, free_count: count as usize }
    }

    pub(super) fn free_count(&self) -> usize {
        self.free_count
    }

    pub(super) fn used_count(&self) -> usize {
        self.nodes.len() - self.free_count
    }

    /// Appends to `queue` what came at `at`; the message comes back when no place is free.
    #[expect(clippy::result_large_err, reason = "the error is the message itself, moved back")]
    pub(super) fn push_back(
        &mut self,
        queue: &mut Queue,
        message: Outbound<F>,
        at: Time,
    ) -> Result<(), Outbound<F>> {
        let index = self.free;
        let Some(node) = self.nodes.get_mut(index as usize) else { return Err(message) };
        self.free = node.next;
        self.free_count -= 1;
        *node = Node { message: Some(message), at, next: NIL };
        if queue.is_empty() {
            queue.head = index;
        } else if let Some(tail) = self.nodes.get_mut(queue.tail as usize) {
            tail.next = index;
        }
        queue.tail = index;
        Ok(())
    }

    pub(super) fn front(&self, queue: &Queue) -> Option<&Outbound<F>> {
        self.nodes.get(queue.head as usize)?.message.as_ref()
    }

    /// When the first of a queue came.
    pub(super) fn front_at(&self, queue: &Queue) -> Option<Time> {
        self.nodes.get(queue.head as usize).map(|node| node.at)
    }

    pub(super) fn front_mut(&mut self, queue: &Queue) -> Option<&mut Outbound<F>> {
        self.nodes.get_mut(queue.head as usize)?.message.as_mut()
    }

    pub(super) fn pop_front(&mut self, queue: &mut Queue) -> Option<Outbound<F>> {
        let index = queue.head;
        let node = self.nodes.get_mut(index as usize)?;
        let message = node.message.take();
        queue.head = node.next;
        node.next = self.free;
        self.free = index;
        self.free_count += 1;
        message
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::super::super::{Class, FlowId, MessageHeader, MessageKind, OutboundBody, PeerIndex};
    use super::*;
    use crate::frame::heap::HeapFrame;

    fn message(sequence: u64) -> Outbound<HeapFrame> {
        Outbound {
            peer: PeerIndex(0),
            class: Class(0),
            compress: false,
            slot: 0,
            header: MessageHeader {
                kind: MessageKind::Data,
                flow: FlowId(0),
                key: None,
                sequence,
                status: 0,
            },
            body: OutboundBody::Empty,
        }
    }

    proptest! {
        #[test]
        fn queues_agree_with_an_ordinary_deque(
            operations in proptest::collection::vec((0usize..3, any::<bool>()), 0..200),
        ) {
            let mut slab = Slab::new(8);
            let mut queues = [Queue::default(); 3];
            let mut oracle = [const { VecDeque::new() }; 3];
            for (n, (which, push)) in operations.into_iter().enumerate() {
                let n = n as u64;
                if push {
                    let room = oracle.iter().map(VecDeque::len).sum::<usize>() < 8;
                    prop_assert_eq!(slab.push_back(&mut queues[which], message(n), Time::ZERO).is_ok(), room);
                    if room {
                        oracle[which].push_back(n);
                    }
                } else {
                    let popped = slab.pop_front(&mut queues[which]).map(|m| m.header.sequence);
                    prop_assert_eq!(popped, oracle[which].pop_front());
                }
                prop_assert_eq!(slab.used_count(), oracle.iter().map(VecDeque::len).sum::<usize>());
                for (queue, deque) in queues.iter().zip(&oracle) {
                    let front = slab.front(queue).map(|m| m.header.sequence);
                    prop_assert_eq!(front, deque.front().copied());
                }
            }
        }
    }
}
