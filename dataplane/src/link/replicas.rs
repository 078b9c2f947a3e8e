//! A stage that runs several times: its work is dealt out, and its results are taken in the order
//! in which the work was dealt.
//!
//! In: items for a stage of which there are replicas. Out: what they made of them, as if there
//! were one. Never: an item that overtakes another, whichever replica is faster.
//!
//! ```text
//!              +--> replica 0 --+
//!   dealer ----+--> replica 1 --+---> collector
//!      |       +--> replica 2 --+         ^
//!      +------ whose is next: 1, 0, 2 ----+
//! ```
//!
//! There may be several collectors, each of which takes its part of every item, if it is only the end.

use super::Link;

/// Most replicas of a stage.
pub const REPLICAS_MAX: usize = 8;

/// Which replica of a stage, counted from 0.
pub type Replica = u8;

/// What a replica makes of an item, or a part of it.
pub trait Part {
    /// Whether the next part is of another item.
    fn is_last(&self) -> bool;
}

/// The links to all replicas, and word to the collector of who got what.
#[derive(Debug)]
pub struct Dealt<T> {
    pub(crate) links: Box<[Link<T>]>,
    /// Sends, to each collector; absent with a single replica.
    pub(crate) orders: Box<[Link<Replica>]>,
    /// Who got the latest.
    latest: usize,
}

/// The links from all replicas, and the dealer's word of who got what.
#[derive(Debug)]
pub struct Collected<T> {
    pub(crate) links: Box<[Link<T>]>,
    /// Receives; absent with a single replica.
    pub(crate) order: Link<Replica>,
    /// Whose item is being taken, while it is.
    current: Option<usize>,
}

/// Most items that a dealer has given away and the collector has not begun to take, where links to
/// and from each replica hold this many.
#[must_use]
pub const fn order_capacity(replicas: usize, capacity_in: usize, capacity_out: usize) -> usize {
    // One is in a replica's hands.
    replicas * (capacity_in + 1 + capacity_out)
}

impl<T> Dealt<T> {
    /// A dealer without links, to `replicas` whose results go to so many collectors: each gets a
    /// part of every item.
    #[must_use]
    pub fn absent(replicas: usize, collectors: usize) -> Self {
        Dealt { links: absent(replicas), orders: absent(collectors), latest: 0 }
    }

    /// The dealer to a single replica.
    #[must_use]
    pub fn alone(link: Link<T>) -> Self {
        Dealt { links: Box::new([link]), ..Dealt::absent(0, 0) }
    }

    /// Items that can be dealt now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.links.iter().map(Link::room).sum()
    }

    /// Deals an item to the replica with most room; among equals they take turns.
    ///
    /// # Errors
    /// The item itself, when no replica has room.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        let count = self.links.len();
        if count == 1 {
            return match self.links.first_mut() {
                Some(link) => link.push(item),
                None => Err(item),
            };
        }
        let (mut chosen, mut most) = (None, 0);
        for step in 1..=count {
            let index = (self.latest + step) % count;
            let room = self.links.get(index).map_or(0, Link::room);
            if room > most {
                (chosen, most) = (Some(index), room);
            }
        }
        let Some(index) = chosen else { return Err(item) };
        let Some(link) = self.links.get_mut(index) else { return Err(item) };
        // They hold as many as can be under way.
        if self.orders.iter().any(|order| order.room() == 0) {
            return Err(item);
        }
        for order in &mut self.orders {
            let _ = order.push(Replica::try_from(index).unwrap_or(Replica::MAX));
        }
        self.latest = index;
        link.push(item)
    }

    /// The link to a replica.
    pub fn of(&mut self, replica: usize) -> Option<&mut Link<T>> {
        self.links.get_mut(replica)
    }
}

impl<T> Collected<T> {
    /// A collector without links, from `replicas`.
    #[must_use]
    pub fn absent(replicas: usize) -> Self {
        Collected { links: absent(replicas), order: Link::Absent, current: None }
    }

    /// The collector from a single replica.
    #[must_use]
    pub fn alone(link: Link<T>) -> Self {
        Collected { links: Box::new([link]), ..Collected::absent(0) }
    }

    /// The link from a replica.
    pub fn of(&mut self, replica: usize) -> Option<&mut Link<T>> {
        self.links.get_mut(replica)
    }

    /// Whether nothing of any replica waits here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.iter().all(|link| link.waiting() == 0)
    }
}

impl<T: Part> Collected<T> {
    /// What comes next in the order of dealing; `None` until its replica has it.
    pub fn pop(&mut self) -> Option<T> {
        if let [link] = &mut *self.links {
            return link.pop();
        }
        let index = match self.current {
            Some(index) => index,
            None => usize::from(self.order.pop()?),
        };
        self.current = Some(index);
        let part = self.links.get_mut(index)?.pop()?;
        if part.is_last() {
            self.current = None;
        }
        Some(part)
    }
}

fn absent<T>(replicas: usize) -> Box<[Link<T>]> {
    (0..replicas).map(|_| Link::Absent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Part `part` of `parts` of an item.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Piece {
        item: usize,
        part: usize,
        parts: usize,
    }

    impl Part for Piece {
        fn is_last(&self) -> bool {
            self.part + 1 == self.parts
        }
    }

    const IN: usize = 3;
    const OUT: usize = 4;

    type Hand = (Link<(usize, usize)>, Option<Piece>, Link<Piece>);

    /// Replicas that each turn an item into some pieces.
    struct Bench {
        dealt: Dealt<(usize, usize)>,
        collected: Collected<Piece>,
        /// The replicas' ends, and what each has in its hands.
        hands: Vec<Hand>,
    }

    impl Bench {
        fn new(replicas: usize) -> Self {
            let (mut dealt, mut collected) =
                (Dealt::absent(replicas, 1), Collected::absent(replicas));
            if replicas > 1 {
                (dealt.orders[0], collected.order) = Link::ring(order_capacity(replicas, IN, OUT));
            }
            let hands = (0..replicas).map(|replica| {
                let (sender, receiver) = Link::ring(IN);
                let (results, taken) = Link::ring(OUT);
                (dealt.links[replica], collected.links[replica]) = (sender, taken);
                (receiver, None, results)
            });
            let hands = hands.collect();
            Bench { dealt, collected, hands }
        }

        /// A replica puts out one piece, if it has any and there is room.
        fn work(&mut self, replica: usize) {
            let (items, hand, results) = &mut self.hands[replica];
            if hand.is_none() {
                *hand = items.pop().map(|(item, parts)| Piece { item, part: 0, parts });
            }
            if let Some(piece) = hand.take() {
                *hand = match results.push(piece) {
                    Err(piece) => Some(piece),
                    Ok(()) if piece.is_last() => None,
                    Ok(()) => Some(Piece { part: piece.part + 1, ..piece }),
                };
            }
        }
    }

    proptest! {
        /// Whatever the pace of each replica, pieces come in the order of the items.
        #[test]
        fn results_come_in_the_order_of_dealing(
            replicas in 1..=REPLICAS_MAX,
            steps in prop::collection::vec((0..3, 0..REPLICAS_MAX, 1..6_usize), 0..400),
        ) {
            let mut bench = Bench::new(replicas);
            let mut expected = std::collections::VecDeque::new();
            let mut item = 0;
            for (kind, replica, parts) in steps {
                match kind {
                    0 => {
                        let room = bench.dealt.room();
                        prop_assert_eq!(bench.dealt.push((item, parts)).is_ok(), room > 0);
                        if room > 0 {
                            expected.extend((0..parts).map(|part| Piece { item, part, parts }));
                            item += 1;
                        }
                    }
                    1 => bench.work(replica % replicas),
                    _ => if let Some(piece) = bench.collected.pop() {
                        prop_assert_eq!(Some(piece), expected.pop_front());
                    }
                }
            }
            // All that was dealt comes, and nothing else.
            while let Some(next) = expected.pop_front() {
                let piece = (0..10_000).find_map(|_| {
                    (0..replicas).for_each(|replica| bench.work(replica));
                    bench.collected.pop()
                });
                prop_assert_eq!(piece, Some(next));
            }
            prop_assert!(bench.collected.pop().is_none() && bench.collected.is_empty());
            prop_assert_eq!(bench.dealt.room(), replicas * IN);
        }
    }

    #[test]
    fn who_has_most_room_gets_the_next_and_equals_take_turns() {
        let mut bench = Bench::new(3);
        let waiting = |bench: &Bench| -> Vec<usize> {
            bench.hands.iter().map(|(items, ..)| items.waiting()).collect()
        };
        for item in 0..6 {
            bench.dealt.push((item, 1)).unwrap();
        }
        assert_eq!(waiting(&bench), [2, 2, 2]);
        // One is slow: the others get what it does not take.
        for replica in [0, 0, 2, 2] {
            bench.work(replica);
        }
        for item in 6..10 {
            bench.dealt.push((item, 1)).unwrap();
        }
        assert_eq!(waiting(&bench), [2, 2, 2]);
        bench.dealt.push((10, 1)).unwrap();
        bench.dealt.push((11, 1)).unwrap();
        bench.dealt.push((12, 1)).unwrap();
        assert_eq!((waiting(&bench), bench.dealt.room()), (vec![3, 3, 3], 0));
        assert_eq!(bench.dealt.push((13, 1)), Err((13, 1)));
    }
}
