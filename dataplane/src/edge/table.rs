//! The table of edges: a slab with a fixed number of places, found by place (from the flow
//! table) or by name (from the far side).
//!
//! Never: an allocation once the table is warm, a place given anew while messages of its former
//! flow are still queued behind it.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use crate::interceptor::{FlowHasher, FlowIndex};
use crate::packet_driver::{FlowId, PeerIndex};

/// What messages find by the name of its flow.
pub trait Named {
    /// The peer that has the other edge, and the flow's id between the two.
    fn name(&self) -> (PeerIndex, FlowId);
}

/// Fixed number of places for edges of type `E`.
#[derive(Debug)]
pub struct EdgeTable<E> {
    places: Box<[Option<E>]>,
    free: VecDeque<u32>,
    /// Places by name; not of those that are hidden.
    by_name: FlowIndex,
    hasher: FlowHasher,
    len: usize,
    /// Of these, how many messages find.
    named: usize,
}

impl<E: Named> EdgeTable<E> {
    /// A table with `capacity` places.
    #[must_use]
    pub fn new(capacity: u32, hasher: &FlowHasher) -> Self {
        EdgeTable {
            places: (0..capacity).map(|_| None).collect(),
            free: (0..capacity).collect(),
            by_name: FlowIndex::new(capacity as usize),
            hasher: hasher.clone(),
            len: 0,
            named: 0,
        }
    }

    /// Edges in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether messages find none of the edges.
    #[must_use]
    pub fn is_forsaken(&self) -> bool {
        self.named == 0
    }

    /// Number of places.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.places.len()
    }

    /// The longest unused place, if `is_quiet` holds for it. [`EdgeTable::insert`] fills it.
    pub fn vacant(&self, is_quiet: impl Fn(u32) -> bool) -> Option<u32> {
        self.free.front().copied().filter(|place| is_quiet(*place))
    }

    /// Puts an edge in the place that [`EdgeTable::vacant`] has just named. It comes back when it
    /// could not be found there: so many others have names that fall together with its own.
    pub fn insert(&mut self, place: u32, edge: E) -> Option<E> {
        debug_assert_eq!(self.free.front(), Some(&place));
        let EdgeTable { places, by_name, hasher, .. } = self;
        let hash_of = |place: u32| {
            let edge = places.get(place as usize)?.as_ref()?;
            Some(hasher.hash_one(edge.name()))
        };
        if !by_name.insert(hasher.hash_one(edge.name()), place, hash_of) {
            return Some(edge);
        }
        self.free.pop_front();
        self.len += 1;
        self.named += 1;
        self.places[place as usize] = Some(edge);
        None
    }

    /// The place of the edge with this name, if there is one.
    #[must_use]
    pub fn place_of(&self, peer: PeerIndex, flow: FlowId) -> Option<u32> {
        let name = (peer, flow);
        let is_it = |place| self.get(place).filter(|edge| edge.name() == name).map(|_| place);
        self.by_name.find(self.hasher.hash_one(name), is_it)
    }

    /// Whether messages find the edge at `place`.
    #[must_use]
    pub fn is_named(&self, place: u32) -> bool {
        self.get(place).is_some_and(|edge| {
            let (peer, flow) = edge.name();
            self.place_of(peer, flow) == Some(place)
        })
    }

    /// Messages no longer find the edge at `place` by its name; the place stays taken. A later flow
    /// with the same name (a peer chooses its ids) is not touched.
    pub fn hide(&mut self, place: u32) {
        if self.is_named(place)
            && let Some(edge) = self.get(place)
        {
            let hash = self.hasher.hash_one(edge.name());
            self.by_name.remove(hash, place);
            self.named -= 1;
        }
    }

    /// The edge at `place`.
    pub fn get_mut(&mut self, place: u32) -> Option<&mut E> {
        self.places.get_mut(place as usize)?.as_mut()
    }

    /// The edge at `place`.
    #[must_use]
    pub fn get(&self, place: u32) -> Option<&E> {
        self.places.get(place as usize)?.as_ref()
    }

    /// Takes the edge at `place` out.
    pub fn remove(&mut self, place: u32) -> Option<E> {
        self.hide(place);
        let edge = self.places.get_mut(place as usize)?.take()?;
        self.len -= 1;
        self.free.push_back(place);
        Some(edge)
    }

    /// All edges.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.places.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerIndex = PeerIndex(0);

    #[derive(Debug, PartialEq)]
    struct Edge(FlowId, &'static str);

    impl Named for Edge {
        fn name(&self) -> (PeerIndex, FlowId) {
            (PEER, self.0)
        }
    }

    fn table() -> EdgeTable<Edge> {
        EdgeTable::new(2, &FlowHasher::new([1, 2]))
    }

    #[test]
    fn a_place_is_reused_last_and_only_when_quiet() {
        let mut table = table();
        let place = table.vacant(|_| true).unwrap();
        assert_eq!(table.insert(place, Edge(FlowId(1), "first")), None);
        assert_eq!(table.place_of(PEER, FlowId(1)), Some(place));
        assert_eq!(table.place_of(PeerIndex(1), FlowId(1)), None);
        assert_eq!(table.remove(place), Some(Edge(FlowId(1), "first")));
        assert!(table.is_empty() && table.is_forsaken());
        let other = table.vacant(|_| true).unwrap();
        assert_ne!(other, place);
        assert_eq!(table.insert(other, Edge(FlowId(2), "second")), None);
        // Bytes of the first flow are still queued at its place.
        assert_eq!(table.vacant(|_| false), None);
        assert_eq!(table.vacant(|_| true), Some(place));
        table.hide(other);
        assert_eq!(table.place_of(PEER, FlowId(2)), None);
        assert_eq!((table.len(), table.is_forsaken()), (1, true));
    }

    #[test]
    fn a_hidden_edge_leaves_without_its_successor_of_the_same_name() {
        let mut table = table();
        let id = FlowId(1);
        let old = table.vacant(|_| true).unwrap();
        assert_eq!(table.insert(old, Edge(id, "of the former session")), None);
        table.hide(old);
        let new = table.vacant(|_| true).unwrap();
        assert_eq!(table.insert(new, Edge(id, "of this session")), None);
        assert!(!table.is_named(old) && table.is_named(new));
        assert!(table.remove(old).is_some());
        assert_eq!(table.place_of(PEER, id), Some(new));
    }
}
