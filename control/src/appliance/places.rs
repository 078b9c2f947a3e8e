//! Which place of the dataplane each peer of the configuration has.
//!
//! In: the peers of one configuration after the other. Out: places, who leaves one, who comes to one.
//! A peer keeps its place for as long as it is the same, wherever it stands in the file.

use dataplane::packet_driver::PeerIndex;

use crate::config::Config;

/// Places of peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// By peer, in the order of the configuration.
    of_peers: Vec<PeerIndex>,
}

/// What becomes of places from one configuration to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceChanges {
    /// Places that peers leave.
    pub left: Vec<PeerIndex>,
    /// Peers that come, by their number in the new configuration, and their places.
    pub joined: Vec<(usize, PeerIndex)>,
}

impl PlaceChanges {
    /// Whether everybody stays.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left.is_empty() && self.joined.is_empty()
    }
}

impl Places {
    /// At the start: the order of the configuration.
    #[must_use]
    pub fn first(config: &Config) -> Self {
        Places { of_peers: (0..).map(PeerIndex).take(config.peers.len()).collect() }
    }

    /// The place of a peer, by its number in the configuration.
    #[must_use]
    pub fn of(&self, peer: usize) -> Option<PeerIndex> {
        self.of_peers.get(peer).copied()
    }

    /// The peer that has a place, by its number in the configuration.
    #[must_use]
    pub fn peer_at(&self, place: PeerIndex) -> Option<usize> {
        self.of_peers.iter().position(|known| *known == place)
    }

    /// The same by peer, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = PeerIndex> + '_ {
        self.of_peers.iter().copied()
    }

    /// From the configuration `old`, whose places these are, to `new`. Who comes gets a place that
    /// nobody has had of late, as long as there is one.
    #[must_use]
    pub fn next(&self, old: &Config, new: &Config) -> (Places, PlaceChanges) {
        let kept = |peer: usize| {
            let peer = new.peers.get(peer)?;
            let at = old.peers.iter().position(|known| known.can_become(peer))?;
            self.of(at)
        };
        let kept: Vec<Option<PeerIndex>> = (0..new.peers.len()).map(kept).collect();
        let left: Vec<PeerIndex> =
            self.iter().filter(|place| !kept.contains(&Some(*place))).collect();
        let most = new.limits.peers.max(u16::try_from(old.peers.len()).unwrap_or(u16::MAX));
        let is_free = |place: &PeerIndex| !self.of_peers.contains(place);
        let mut free = (0..most).map(PeerIndex).filter(is_free).chain(left.iter().copied());
        let mut joined = Vec::new();
        let place = |(peer, kept): (usize, &Option<PeerIndex>)| {
            kept.or_else(|| {
                let place = free.next()?;
                joined.push((peer, place));
                Some(place)
            })
        };
        // The check of the configuration has seen to it that there are places for all.
        let of_peers = kept.iter().enumerate().filter_map(place).collect();
        (Places { of_peers }, PlaceChanges { left, joined })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Peer;

    fn config(names: &[&str]) -> Config {
        let mut config = crate::cli::fake::Fake::default().config().cloned().unwrap();
        let peer = config.peers[0].clone();
        let named = |name: &&str| Peer { name: (*name).to_owned(), ..peer.clone() };
        config.peers = names.iter().map(named).collect();
        config.limits.peers = 3;
        config
    }

    fn places(of_peers: &[u16]) -> Places {
        Places { of_peers: of_peers.iter().copied().map(PeerIndex).collect() }
    }

    use crate::cli::Backend;

    #[test]
    fn who_stays_keeps_its_place_wherever_it_stands_in_the_file() {
        let old = config(&["a", "b", "c"]);
        let first = Places::first(&old);
        assert_eq!(first, places(&[0, 1, 2]));
        let new = config(&["c", "a"]);
        let (next, changes) = first.next(&old, &new);
        assert_eq!(next, places(&[2, 0]));
        assert_eq!((changes.left, changes.joined), (vec![PeerIndex(1)], vec![]));
        assert_eq!((next.peer_at(PeerIndex(2)), next.peer_at(PeerIndex(1))), (Some(0), None));
        let (same, changes) = next.next(&new, &new);
        assert!(changes.is_empty() && same == next);
    }

    #[test]
    fn who_comes_gets_a_free_place_and_else_that_of_who_leaves() {
        let old = config(&["a", "b"]);
        let new = config(&["d", "b"]);
        let (next, changes) = Places::first(&old).next(&old, &new);
        assert_eq!(next, places(&[2, 1]));
        assert_eq!(changes.left, [PeerIndex(0)]);
        assert_eq!(changes.joined, [(0, PeerIndex(2))]);
        let full = config(&["x", "y", "z"]);
        let (all, changes) = next.next(&new, &full);
        assert_eq!(all, places(&[0, 2, 1]));
        assert_eq!((changes.left.len(), changes.joined.len()), (2, 3));
    }

    #[test]
    fn a_peer_with_another_key_or_endpoint_is_another_one() {
        let old = config(&["a", "b"]);
        let mut new = config(&["a", "b"]);
        new.peers[1].endpoint = ([10, 0, 0, 77], 1).into();
        let (next, changes) = Places::first(&old).next(&old, &new);
        assert_eq!(next, places(&[0, 2]));
        assert_eq!((changes.left, changes.joined), (vec![PeerIndex(1)], vec![(1, PeerIndex(2))]));
        new.peers[1] = Peer { fallback: crate::config::Fallback::Pass, ..old.peers[1].clone() };
        assert!(Places::first(&old).next(&old, &new).1.is_empty());
    }
}
