//! Something for each of many flows, by key: a fixed number of places, as large as what is in them.
//!
//! In: keys, what is to be kept of them. Out: that. Never: growth, an allocation after construction,
//! an order of keys that strangers could choose.

use super::flow_hash::FlowHasher;
use super::flow_index::{FlowIndex, NUMBERS};
use crate::frame::FlowKey;

/// A `V` for each of at most so many flows. A place keeps its number for as long as the flow is in.
#[derive(Debug)]
pub struct FlowMap<V> {
    places: Box<[Option<(FlowKey, V)>]>,
    free: Vec<u32>,
    index: FlowIndex,
    hasher: FlowHasher,
}

impl<V> FlowMap<V> {
    /// A map with `capacity` places (at least one), all memory taken now.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "numbers of places have 24 bits")]
    pub fn new(capacity: usize, hasher: &FlowHasher) -> Self {
        let capacity = capacity.clamp(1, NUMBERS);
        FlowMap {
            places: (0..capacity).map(|_| None).collect(),
            free: (0..capacity as u32).rev().collect(),
            index: FlowIndex::new(capacity),
            hasher: hasher.clone(),
        }
    }

    /// Flows in the map.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no place is free.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// The place of a flow.
    #[must_use]
    pub fn find(&self, key: &FlowKey) -> Option<u32> {
        let is_it = |place| self.at(place).filter(|(of, _)| of == key).map(|_| place);
        self.index.find(self.hasher.hash(key), is_it)
    }

    /// What is in a place.
    #[must_use]
    pub fn at(&self, place: u32) -> Option<&(FlowKey, V)> {
        self.places.get(place as usize)?.as_ref()
    }

    /// What is in a place, to be changed.
    pub fn at_mut(&mut self, place: u32) -> Option<&mut V> {
        self.places.get_mut(place as usize)?.as_mut().map(|(_, value)| value)
    }

    /// What is kept of a flow.
    #[must_use]
    pub fn get(&self, key: &FlowKey) -> Option<&V> {
        self.at(self.find(key)?).map(|(_, value)| value)
    }

    /// What is kept of a flow, to be changed.
    pub fn get_mut(&mut self, key: &FlowKey) -> Option<&mut V> {
        self.at_mut(self.find(key)?)
    }

    /// Keeps this of a flow, instead of what there was. Its place; `None` when there is none.
    pub fn insert(&mut self, key: FlowKey, value: V) -> Option<u32> {
        if let Some(place) = self.find(&key) {
            *self.at_mut(place)? = value;
            return Some(place);
        }
        let place = *self.free.last()?;
        let FlowMap { places, index, hasher, .. } = self;
        let hash_of = |place: u32| {
            let (key, _) = places.get(place as usize)?.as_ref()?;
            Some(hasher.hash(key))
        };
        if !index.insert(hasher.hash(&key), place, hash_of) {
            return None;
        }
        self.free.pop();
        *self.places.get_mut(place as usize)? = Some((key, value));
        Some(place)
    }

    /// Forgets a flow.
    pub fn remove(&mut self, key: &FlowKey) -> Option<V> {
        self.remove_at(self.find(key)?).map(|(_, value)| value)
    }

    /// Forgets the flow in a place.
    pub fn remove_at(&mut self, place: u32) -> Option<(FlowKey, V)> {
        let removed = self.places.get_mut(place as usize)?.take()?;
        self.index.remove(self.hasher.hash(&removed.0), place);
        self.free.push(place);
        Some(removed)
    }

    /// All flows.
    pub fn iter(&self) -> impl Iterator<Item = (&FlowKey, &V)> {
        self.places.iter().flatten().map(|(key, value)| (key, value))
    }

    /// Forgets the flows for which `keep` answers false.
    pub fn retain(&mut self, mut keep: impl FnMut(&FlowKey, &mut V) -> bool) {
        let mut left = self.len();
        for place in 0..self.places.len() {
            if left == 0 {
                return;
            }
            let Some((key, value)) = self.places.get_mut(place).and_then(Option::as_mut) else {
                continue;
            };
            left -= 1;
            if !keep(key, value)
                && let Ok(place) = u32::try_from(place)
            {
                self.remove_at(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(number: u16) -> FlowKey {
        FlowKey::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), number, 80, 6, 0)
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((0u16..24, 0u8..8, any::<u16>()), 0..300)) {
            const PLACES: usize = 16;
            let mut map = FlowMap::new(PLACES, &FlowHasher::new([3, 4]));
            let mut model: HashMap<FlowKey, u16> = HashMap::new();
            for (number, what, value) in steps {
                // Either direction is a flow of its own.
                let key = if number % 2 == 0 { key(number) } else { key(number - 1).reversed() };
                match what {
                    0 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    1 => {
                        map.retain(|_, kept| *kept % 4 != value % 4);
                        model.retain(|_, kept| *kept % 4 != value % 4);
                    }
                    _ => {
                        let room = model.len() < PLACES || model.contains_key(&key);
                        prop_assert_eq!(map.insert(key, value).is_some(), room);
                        if room {
                            model.insert(key, value);
                        }
                    }
                }
                prop_assert_eq!(map.get(&key), model.get(&key));
                prop_assert_eq!((map.len(), map.is_full()), (model.len(), model.len() == PLACES));
                let all: HashMap<FlowKey, u16> = map.iter().map(|(key, value)| (*key, *value)).collect();
                prop_assert_eq!(&all, &model);
            }
        }
    }
}
