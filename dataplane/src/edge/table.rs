//! The table of edges: a slab with a fixed number of places, found by place (from the flow
//! table) or by flow id (from the far side).
//!
//! Never: an allocation once the table is warm, a place given anew while messages of its former
//! flow are still queued behind it.

use std::collections::{HashMap, VecDeque};

use crate::packet_driver::{FlowId, PeerIndex};

/// Fixed number of places for edges of type `E`.
#[derive(Debug)]
pub struct EdgeTable<E> {
    places: Box<[Option<E>]>,
    free: VecDeque<u32>,
    by_flow: HashMap<(PeerIndex, FlowId), u32>,
    len: usize,
}

impl<E> EdgeTable<E> {
    /// A table with `capacity` places.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        EdgeTable {
            places: (0..capacity).map(|_| None).collect(),
            free: (0..capacity).collect(),
            by_flow: HashMap::with_capacity(2 * capacity as usize),
            len: 0,
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
        self.by_flow.is_empty()
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

    /// Puts an edge in the place that [`EdgeTable::vacant`] has just named.
    pub fn insert(&mut self, place: u32, peer: PeerIndex, flow: FlowId, edge: E) {
        debug_assert_eq!(self.free.front(), Some(&place));
        self.free.pop_front();
        self.by_flow.insert((peer, flow), place);
        self.len += 1;
        self.places[place as usize] = Some(edge);
    }

    /// Whether there is an edge with this id.
    #[must_use]
    pub fn place_of(&self, peer: PeerIndex, flow: FlowId) -> Option<u32> {
        self.by_flow.get(&(peer, flow)).copied()
    }

    /// Messages no longer find the edge at `place` by its id; the place stays taken. A later flow
    /// with the same id (a peer chooses its ids) is not touched.
    pub fn hide(&mut self, place: u32, peer: PeerIndex, flow: FlowId) {
        if self.place_of(peer, flow) == Some(place) {
            self.by_flow.remove(&(peer, flow));
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
    pub fn remove(&mut self, place: u32, peer: PeerIndex, flow: FlowId) -> Option<E> {
        let edge = self.places.get_mut(place as usize)?.take()?;
        self.hide(place, peer, flow);
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

    #[test]
    fn a_place_is_reused_last_and_only_when_quiet() {
        let mut table = EdgeTable::new(2);
        let place = table.vacant(|_| true).unwrap();
        table.insert(place, PeerIndex(0), FlowId(1), "first");
        assert_eq!(table.place_of(PeerIndex(0), FlowId(1)), Some(place));
        assert_eq!(table.remove(place, PeerIndex(0), FlowId(1)), Some("first"));
        assert!(table.is_empty());
        let other = table.vacant(|_| true).unwrap();
        assert_ne!(other, place);
        table.insert(other, PeerIndex(0), FlowId(2), "second");
        // Bytes of the first flow are still queued at its place.
        assert_eq!(table.vacant(|_| false), None);
        assert_eq!(table.vacant(|_| true), Some(place));
        table.hide(other, PeerIndex(0), FlowId(2));
        assert_eq!(table.place_of(PeerIndex(0), FlowId(2)), None);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_hidden_edge_leaves_without_its_successor_of_the_same_id() {
        let mut table = EdgeTable::new(2);
        let (peer, id) = (PeerIndex(0), FlowId(1));
        let old = table.vacant(|_| true).unwrap();
        table.insert(old, peer, id, "of the former session");
        table.hide(old, peer, id);
        let new = table.vacant(|_| true).unwrap();
        table.insert(new, peer, id, "of this session");
        assert!(table.remove(old, peer, id).is_some());
        assert_eq!(table.place_of(peer, id), Some(new));
    }
}
