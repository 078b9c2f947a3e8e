//! The table of edges: a slab with a fixed number of places, found by place (from the flow
//! table) or by flow id (from the far side).
//!
//! Never: an allocation once the table is warm, a place given anew while messages of its former
//! flow are still queued behind it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::packet_driver::{FlowId, PeerIndex};

/// Bytes that the packet driver has taken out of its queue for each place, ever: written by the
/// aggregate stage, read by the edge stage.
#[derive(Clone, Debug)]
pub struct Drained(Arc<[AtomicU64]>);

impl Drained {
    /// Counters for places `0..places`.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Drained((0..places).map(|_| AtomicU64::new(0)).collect())
    }

    /// Adds to the count of `place`. One writer.
    pub fn add(&self, place: u32, bytes: u64) {
        if let Some(count) = self.0.get(place as usize) {
            count.store(count.load(Ordering::Relaxed) + bytes, Ordering::Release);
        }
    }

    /// Bytes drained at `place` so far.
    #[must_use]
    pub fn get(&self, place: u32) -> u64 {
        self.0.get(place as usize).map_or(0, |count| count.load(Ordering::Acquire))
    }
}

/// Fixed number of places for edges of type `E`.
#[derive(Debug)]
pub struct EdgeTable<E> {
    places: Box<[Option<E>]>,
    free: VecDeque<u32>,
    by_flow: HashMap<(PeerIndex, FlowId), u32>,
}

impl<E> EdgeTable<E> {
    /// A table with `capacity` places.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        EdgeTable {
            places: (0..capacity).map(|_| None).collect(),
            free: (0..capacity).collect(),
            by_flow: HashMap::with_capacity(2 * capacity as usize),
        }
    }

    /// Edges in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_flow.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_flow.is_empty()
    }

    /// Number of places.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.places.len()
    }

    /// The longest unused place for which `is_quiet`; `None` when there is none or the flow id is
    /// taken. [`EdgeTable::insert`] fills it.
    pub fn vacant(&self, is_quiet: impl Fn(u32) -> bool) -> Option<u32> {
        self.free.front().copied().filter(|place| is_quiet(*place))
    }

    /// Puts an edge in the place that [`EdgeTable::vacant`] has just named.
    pub fn insert(&mut self, place: u32, peer: PeerIndex, flow: FlowId, edge: E) {
        debug_assert_eq!(self.free.front(), Some(&place));
        self.free.pop_front();
        self.by_flow.insert((peer, flow), place);
        self.places[place as usize] = Some(edge);
    }

    /// Whether there is an edge with this id.
    #[must_use]
    pub fn place_of(&self, peer: PeerIndex, flow: FlowId) -> Option<u32> {
        self.by_flow.get(&(peer, flow)).copied()
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
        self.by_flow.remove(&(peer, flow));
        self.free.push_back(place);
        Some(edge)
    }

    /// All edges with their places.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &E)> {
        (0u32..).zip(self.places.iter()).filter_map(|(place, edge)| Some((place, edge.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_reused_last_and_only_when_quiet() {
        let mut table = EdgeTable::new(2);
        let drained = Drained::new(2);
        let place = table.vacant(|_| true).unwrap();
        table.insert(place, PeerIndex(0), FlowId(1), "first");
        assert_eq!(table.place_of(PeerIndex(0), FlowId(1)), Some(place));
        assert_eq!(table.remove(place, PeerIndex(0), FlowId(1)), Some("first"));
        assert!(table.is_empty());
        let other = table.vacant(|_| true).unwrap();
        assert_ne!(other, place);
        table.insert(other, PeerIndex(0), FlowId(2), "second");
        // 10 bytes of the first flow are still queued at its place.
        assert_eq!(table.vacant(|place| drained.get(place) == 10), None);
        drained.add(place, 10);
        assert_eq!(table.vacant(|place| drained.get(place) == 10), Some(place));
    }
}
