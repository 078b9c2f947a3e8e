//! Links between stages: a queue when both ends run on one core, an SPSC ring when they do not.
//!
//! A worker owns its ends of all links and lends them to its stages in turn, so a direct link
//! needs no sharing at all. Every link is bounded; a full link is pressure, never a loss: the
//! item stays with the caller.

use std::collections::VecDeque;

pub mod replicas;

pub use replicas::{Collected, Dealt, Part, REPLICAS_MAX, Replica};

/// One worker's end (or both ends) of a link.
#[derive(Debug)]
pub enum Link<T> {
    /// Neither end is on this worker.
    Absent,
    /// Both ends are on this worker.
    Direct {
        /// The items, allocated at `limit`.
        queue: VecDeque<T>,
        /// Most items it holds.
        limit: usize,
    },
    /// The sending end of a ring.
    Sender(rtrb::Producer<T>),
    /// The receiving end of a ring.
    Receiver(rtrb::Consumer<T>),
}

impl<T> Link<T> {
    /// A link whose ends are both on one worker.
    #[must_use]
    pub fn direct(limit: usize) -> Self {
        Link::Direct { queue: VecDeque::with_capacity(limit), limit }
    }

    /// The two ends of a ring: sender, receiver.
    #[must_use]
    pub fn ring(limit: usize) -> (Self, Self) {
        let (producer, consumer) = rtrb::RingBuffer::new(limit);
        (Link::Sender(producer), Link::Receiver(consumer))
    }

    /// Items that can be sent now; 0 at an end that does not send.
    #[must_use]
    pub fn room(&self) -> usize {
        match self {
            Link::Direct { queue, limit } => limit - queue.len(),
            Link::Sender(producer) => producer.slots(),
            Link::Absent | Link::Receiver(_) => 0,
        }
    }

    /// Items that can be received now; 0 at an end that does not receive.
    #[must_use]
    pub fn waiting(&self) -> usize {
        match self {
            Link::Direct { queue, .. } => queue.len(),
            Link::Receiver(consumer) => consumer.slots(),
            Link::Absent | Link::Sender(_) => 0,
        }
    }

    /// Items that wait, as the end that receives knows it; `None` at any other.
    #[must_use]
    pub fn received(&self) -> Option<usize> {
        match self {
            Link::Direct { .. } | Link::Receiver(_) => Some(self.waiting()),
            Link::Absent | Link::Sender(_) => None,
        }
    }

    /// Whether anything is in it, as either end knows.
    #[must_use]
    pub fn holds(&self) -> bool {
        match self {
            Link::Direct { queue, .. } => !queue.is_empty(),
            Link::Sender(producer) => producer.slots() < producer.buffer().capacity(),
            Link::Receiver(consumer) => !consumer.is_empty(),
            Link::Absent => false,
        }
    }

    /// Sends one item.
    ///
    /// # Errors
    /// The item itself, when the link is full or does not send.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        match self {
            Link::Direct { queue, limit } if queue.len() < *limit => {
                queue.push_back(item);
                Ok(())
            }
            Link::Sender(producer) => {
                producer.push(item).map_err(|rtrb::PushError::Full(item)| item)
            }
            _ => Err(item),
        }
    }

    /// Sends from the front of `items`, as many as there is room for; the others stay.
    pub fn push_all(&mut self, items: &mut VecDeque<T>) {
        match self {
            // Two copies of memory at most, where the queue has all of its room from the start.
            Link::Direct { queue, limit } if *limit - queue.len() >= items.len() => {
                queue.append(items);
            }
            Link::Direct { queue, limit } => queue.extend(items.drain(..*limit - queue.len())),
            Link::Sender(producer) => {
                // How far the receiver is, is asked only when what is known of it does not do.
                let known = producer.cached_slots();
                let room = if known < items.len() { producer.slots() } else { known };
                if let Ok(chunk) = producer.write_chunk_uninit(room.min(items.len())) {
                    let count = chunk.len();
                    chunk.fill_from_iter(items.drain(..count));
                }
            }
            Link::Absent | Link::Receiver(_) => {}
        }
    }

    /// Receives at most `most` items, behind those that are in `into`.
    pub fn pop_into(&mut self, most: usize, into: &mut VecDeque<T>) {
        match self {
            Link::Direct { queue, .. } if queue.len() <= most => into.append(queue),
            Link::Direct { queue, .. } => into.extend(queue.drain(..most)),
            Link::Receiver(consumer) => {
                let known = consumer.cached_slots();
                let waiting = if known < most { consumer.slots() } else { known };
                if let Ok(chunk) = consumer.read_chunk(waiting.min(most)) {
                    into.extend(chunk);
                }
            }
            Link::Absent | Link::Sender(_) => {}
        }
    }

    /// Receives one item.
    pub fn pop(&mut self) -> Option<T> {
        match self {
            Link::Direct { queue, .. } => queue.pop_front(),
            Link::Receiver(consumer) => consumer.pop().ok(),
            Link::Absent | Link::Sender(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_link_gives_the_item_back() {
        let mut direct = Link::direct(1);
        assert_eq!(direct.push(1), Ok(()));
        assert_eq!(direct.push(2), Err(2));
        assert_eq!((direct.pop(), direct.pop()), (Some(1), None));
        let (mut sender, mut receiver) = Link::ring(1);
        assert_eq!(sender.push(1), Ok(()));
        assert_eq!(sender.push(2), Err(2));
        assert_eq!(sender.pop(), None);
        assert_eq!(receiver.push(3), Err(3));
        assert_eq!((receiver.pop(), receiver.pop()), (Some(1), None));
    }

    proptest! {
        /// Whatever the order of operations, a ring and a direct link behave like a bounded queue.
        #[test]
        fn ring_and_direct_agree(operations in prop::collection::vec((0..4, 0..9usize), 0..200)) {
            const LIMIT: usize = 7;
            let mut direct = Link::direct(LIMIT);
            let (mut sender, mut receiver) = Link::ring(LIMIT);
            let mut model = VecDeque::new();
            for (item, (operation, count)) in operations.into_iter().enumerate() {
                let room = LIMIT - model.len();
                prop_assert_eq!((direct.room(), sender.room()), (room, room));
                prop_assert_eq!((direct.waiting(), receiver.waiting()), (model.len(), model.len()));
                let holds = !model.is_empty();
                prop_assert_eq!((direct.holds(), sender.holds(), receiver.holds()), (holds, holds, holds));
                match operation {
                    0 => {
                        let expected = if room > 0 { Ok(()) } else { Err(item) };
                        model.extend(expected.is_ok().then_some(item));
                        prop_assert_eq!(direct.push(item), expected);
                        prop_assert_eq!(sender.push(item), expected);
                    }
                    1 => {
                        let expected = model.pop_front();
                        prop_assert_eq!((direct.pop(), receiver.pop()), (expected, expected));
                    }
                    2 => {
                        let items: VecDeque<_> = (0..count).map(|n| 1000 * item + n).collect();
                        let mut left = [items.clone(), items.clone()];
                        direct.push_all(&mut left[0]);
                        sender.push_all(&mut left[1]);
                        let sent = count.min(room);
                        model.extend(items.range(..sent));
                        let kept: VecDeque<_> = items.range(sent..).copied().collect();
                        prop_assert_eq!(left, [kept.clone(), kept]);
                    }
                    _ => {
                        let mut got = [VecDeque::from([7]), VecDeque::from([7])];
                        direct.pop_into(count, &mut got[0]);
                        receiver.pop_into(count, &mut got[1]);
                        let mut expected = VecDeque::from([7]);
                        expected.extend(model.drain(..count.min(model.len())));
                        prop_assert_eq!(got, [expected.clone(), expected]);
                    }
                }
            }
        }
    }
}
