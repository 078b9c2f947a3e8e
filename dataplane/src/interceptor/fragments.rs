//! What became of the first fragments of TCP packets, for the later ones, which show no ports.
//!
//! In: fragments. Out: what was noted of their packet (whether it belongs to a split flow, which edge
//! owns it), if its first fragment was seen. Never: more memory than it begins with; a newer packet takes an older one's place.

use super::Side;
use super::flow_hash::FlowHasher;
use crate::frame::{FlowKey, FragmentInfo};
use crate::time::{SECOND_NS, Time};

/// How long a first fragment counts (RFC 8200, section 4.5: reassembly within 60 seconds).
const REMEMBERED_NS: u64 = 60 * SECOND_NS;
const PLACES: usize = 256;

const _: () = assert!(PLACES.is_power_of_two(), "a place is a masked hash");

#[derive(Clone, Copy, Debug)]
struct Record<T> {
    key: FlowKey,
    identification: u32,
    side: Side,
    noted: T,
    at: Time,
}

/// Remembers the packets whose first fragments were seen.
#[derive(Debug)]
pub(crate) struct FragmentMemory<T> {
    records: Vec<Option<Record<T>>>,
    hasher: FlowHasher,
}

impl<T: Copy> FragmentMemory<T> {
    pub(crate) fn new(hasher: FlowHasher) -> Self {
        FragmentMemory { records: vec![None; PLACES], hasher }
    }

    /// Notes something of a first fragment. `key` is a fragment's, without ports.
    pub(crate) fn note(
        &mut self,
        side: Side,
        key: &FlowKey,
        fragment: FragmentInfo,
        noted: T,
        now: Time,
    ) {
        let place = self.place(key, fragment);
        if let Some(record) = self.records.get_mut(place) {
            let identification = fragment.identification;
            *record = Some(Record { key: *key, identification, side, noted, at: now });
        }
    }

    /// What was noted for a later fragment; `None` when its first was not seen.
    pub(crate) fn find(
        &self,
        side: Side,
        key: &FlowKey,
        fragment: FragmentInfo,
        now: Time,
    ) -> Option<T> {
        let record = self.records.get(self.place(key, fragment))?.as_ref()?;
        let same = record.key == *key
            && record.identification == fragment.identification
            && record.side == side
            && now.since_ns(record.at) < REMEMBERED_NS;
        same.then_some(record.noted)
    }

    #[expect(clippy::cast_possible_truncation, reason = "masked to the number of places")]
    fn place(&self, key: &FlowKey, fragment: FragmentInfo) -> usize {
        let mixed = self.hasher.hash(key) ^ u64::from(fragment.identification);
        mixed as usize & (PLACES - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_packet_from_the_same_side_for_a_while() {
        let mut memory = FragmentMemory::new(FlowHasher::new([1, 2]));
        let key = FlowKey::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 0, 0, 6, 0);
        let fragment = |identification| FragmentInfo { identification, offset: 0, more: true };
        memory.note(Side::Lan, &key, fragment(7), true, Time::ZERO);
        memory.note(Side::Lan, &key, fragment(8), false, Time::ZERO);
        let ask = |side, key: &FlowKey, identification, at| {
            memory.find(side, key, fragment(identification), Time::from_ns(at))
        };
        assert_eq!(ask(Side::Lan, &key, 7, 0), Some(true));
        assert_eq!(ask(Side::Lan, &key, 8, 0), Some(false));
        assert_eq!(ask(Side::Lan, &key, 9, 0), None);
        assert_eq!(ask(Side::Wan, &key, 7, 0), None);
        assert_eq!(ask(Side::Lan, &key.reversed(), 7, 0), None);
        assert_eq!(ask(Side::Lan, &key, 7, REMEMBERED_NS), None);
    }
}
