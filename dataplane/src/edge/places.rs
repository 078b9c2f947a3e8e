//! How many messages with data each peer may have in the packet driver.
//!
//! In: what was pushed here, what the packet driver says has left. Out: whether a peer may have
//! one more. Never: a peer that is slow or gone in the way of another; one whose messages do not
//! leave gets at most [`SHARE`] times what it leaves to the others.

use crate::packet_driver::{Backlog, PeerIndex};

/// A peer may have this many times the places that are free (the rule of a switch with a shared
/// buffer: Choudhury and Hahne, "Dynamic Queue Length Thresholds", 1998). However many peers
/// stand still, some places stay free, and one peer alone has nearly all.
const SHARE: u64 = 8;

/// Messages with data pushed towards the packet driver since the start.
#[derive(Debug)]
pub(super) struct Places {
    pushed: Box<[u64]>,
    pushed_of_all: u64,
}

impl Places {
    /// Nothing pushed yet.
    pub(super) fn new(peers: usize) -> Self {
        Places { pushed: vec![0; peers].into_boxed_slice(), pushed_of_all: 0 }
    }

    /// Messages were pushed.
    pub(super) fn push(&mut self, peer: PeerIndex, messages: u64) {
        if let Some(pushed) = self.pushed.get_mut(usize::from(peer.0)) {
            *pushed += messages;
            self.pushed_of_all += messages;
        }
    }

    /// Whether `peer` may have one more. A peer that is alone leaves some, too: were there none,
    /// the edge would wait with everything, frames that it only passes on among them.
    pub(super) fn has_one(&self, peer: PeerIndex, backlog: &Backlog) -> bool {
        let Some(pushed) = self.pushed.get(usize::from(peer.0)) else { return false };
        // Both gauges may be read before a message that leaves now: then less seems free than is.
        let waiting = pushed.saturating_sub(backlog.drained_messages(peer));
        let of_all = self.pushed_of_all.saturating_sub(backlog.drained_messages_of_all());
        waiting < SHARE * backlog.places().saturating_sub(of_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::heap::HeapFrame;
    use crate::packet_driver::{AggregateConfig, Aggregator, BufferPool};

    fn backlog(peers: usize) -> Backlog {
        let config = AggregateConfig {
            messages_max: 1000,
            control_reserve: 100,
            peers: vec![None; peers],
            ..AggregateConfig::default()
        };
        Aggregator::<HeapFrame>::new(config, BufferPool::new(&[])).backlog()
    }

    #[test]
    fn peers_that_stand_still_leave_places_to_the_others() {
        let backlog = backlog(4);
        let mut places = Places::new(4);
        let fill = |places: &mut Places, peer| {
            (0..10_000)
                .take_while(|_| {
                    let more = places.has_one(peer, &backlog);
                    places.push(peer, u64::from(more));
                    more
                })
                .count()
        };
        assert_eq!(fill(&mut places, PeerIndex(0)), 800);
        assert_eq!(fill(&mut places, PeerIndex(1)), 89);
        // The first two are stuck; the others still have some.
        assert!(!places.has_one(PeerIndex(0), &backlog) && !places.has_one(PeerIndex(1), &backlog));
        assert!(places.has_one(PeerIndex(2), &backlog) && places.has_one(PeerIndex(3), &backlog));
        assert!(!places.has_one(PeerIndex(4), &backlog), "no such peer");
    }

    #[test]
    fn a_peer_that_is_alone_leaves_some_too() {
        let backlog = backlog(1);
        let mut places = Places::new(1);
        let peer = PeerIndex(0);
        while places.has_one(peer, &backlog) {
            places.push(peer, 1);
        }
        let left = backlog.places() - places.pushed_of_all;
        assert!(left > 0 && left < backlog.places() / 4, "{left}");
    }
}
