//! How frames to the hosts of flows in packet mode are addressed: as each flow's latest frame
//! from its host was, with stations and tags exchanged. A flow is known by its 5-tuple alone: the
//! two sites may use different VLANs.
//!
//! In: frames of hosts. Out: link headers of frames to them. Never: an allocation after the
//! start, more than its places; a flow that is displaced goes by the neighbours instead.

use crate::frame::{FlowKey, LinkHeader};
use crate::interceptor::FlowHasher;
use crate::time::{SECOND_NS, Time};

/// Places that one flow can have.
const WAYS: usize = 4;
/// A flow without a packet in either direction for this long is over.
const IDLE_NS: u64 = 120 * SECOND_NS;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// As the host here sends, without its VLAN.
    key: FlowKey,
    link: LinkHeader,
    used: Time,
}

impl Entry {
    fn is_over(&self, now: Time) -> bool {
        now.since_ns(self.used) >= IDLE_NS
    }
}

/// Link headers of flows in packet mode.
#[derive(Debug)]
pub(super) struct Mirrors {
    places: Box<[[Option<Entry>; WAYS]]>,
}

impl Mirrors {
    /// Room for about this many flows.
    pub(super) fn new(flows: usize) -> Self {
        let rows = flows.div_ceil(WAYS).next_power_of_two();
        Mirrors { places: vec![[None; WAYS]; rows].into_boxed_slice() }
    }

    /// A frame of a host, whose flow this is.
    pub(super) fn note(&mut self, hasher: &FlowHasher, key: &FlowKey, link: LinkHeader, now: Time) {
        let key = key.in_vlan(0);
        let row = self.row(hasher, &key);
        let entry = Some(Entry { key, link: link.mirrored(), used: now });
        let known = row.iter().position(|place| place.is_some_and(|entry| entry.key == key));
        let place = known.or_else(|| {
            // The one that was not used for the longest time, if all are taken.
            let age = |place: &Option<Entry>| place.map_or(Time::ZERO, |entry| entry.used);
            (0..WAYS).min_by_key(|index| (row[*index].is_some(), age(&row[*index])))
        });
        if let Some(place) = place.and_then(|index| row.get_mut(index)) {
            *place = entry;
        }
    }

    /// The link header of a packet to the host; `key` is that of the packet.
    pub(super) fn find(
        &mut self,
        hasher: &FlowHasher,
        key: &FlowKey,
        now: Time,
    ) -> Option<LinkHeader> {
        let key = key.reversed().in_vlan(0);
        let row = self.row(hasher, &key);
        let entry = row.iter_mut().flatten().find(|entry| entry.key == key && !entry.is_over(now));
        entry.map(|entry| {
            entry.used = now;
            entry.link
        })
    }

    fn row(&mut self, hasher: &FlowHasher, key: &FlowKey) -> &mut [Option<Entry>; WAYS] {
        let mask = self.places.len() - 1;
        // A power of two of rows, and the index is masked.
        &mut self.places[(hasher.hash(key) >> 8) as usize & mask]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{MacAddr, VlanList};

    fn key(port: u16, vlan: u16) -> FlowKey {
        FlowKey::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), port, 53, 17, vlan)
    }

    fn link(vlan: u16, host: u8) -> LinkHeader {
        LinkHeader {
            destination: MacAddr([2, 0, 0, 0, 0, 99]),
            source: MacAddr([2, 0, 0, 0, 0, host]),
            vlans: VlanList::of_id(vlan),
        }
    }

    #[test]
    fn the_latest_frame_of_a_flow_is_mirrored_whatever_its_vlan() {
        let (hasher, mut mirrors) = (FlowHasher::new([1, 2]), Mirrors::new(64));
        let at = Time::from_ms;
        assert_eq!(mirrors.find(&hasher, &key(1, 0).reversed(), at(0)), None);
        mirrors.note(&hasher, &key(1, 7), link(7, 1), at(0));
        let found = |mirrors: &mut Mirrors, port, vlan, ms| {
            mirrors.find(&hasher, &key(port, vlan).reversed(), at(ms))
        };
        assert_eq!(found(&mut mirrors, 1, 9, 1), Some(link(7, 1).mirrored()));
        mirrors.note(&hasher, &key(1, 8), link(8, 2), at(2));
        assert_eq!(found(&mut mirrors, 1, 9, 3), Some(link(8, 2).mirrored()));
        assert_eq!(found(&mut mirrors, 2, 8, 3), None, "another flow");
        assert_eq!(mirrors.find(&hasher, &key(1, 8), at(3)), None, "a packet of the host's own");
        // Packets in either direction keep a flow; silence ends it.
        let idle_ms = IDLE_NS / 1_000_000;
        assert!(found(&mut mirrors, 1, 8, idle_ms).is_some());
        assert!(found(&mut mirrors, 1, 8, 2 * idle_ms).is_none());
    }

    #[test]
    fn of_too_many_flows_the_latest_are_kept() {
        let (hasher, mut mirrors) = (FlowHasher::new([3, 4]), Mirrors::new(WAYS));
        for port in 0..40u16 {
            mirrors.note(&hasher, &key(port, 0), link(0, 1), Time::from_ms(port.into()));
        }
        let known = (0..40).filter(|port| {
            mirrors.find(&hasher, &key(*port, 0).reversed(), Time::from_ms(50)).is_some()
        });
        assert_eq!(known.collect::<Vec<_>>(), [36, 37, 38, 39]);
    }
}
