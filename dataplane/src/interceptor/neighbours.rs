//! The neighbours of one side: which station has an address, learned from passing frames, or
//! asked for by ARP and neighbour discovery.
//!
//! In: what frames tell, questions, the time. Out: stations, requests to send, and what became of
//! them. Never: growth beyond its capacity, a request without a limit, a wait.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::flow_hash::FlowHasher;
use crate::frame::{FlowKey, MacAddr, VlanList};
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

/// Requests per address before it counts as unreachable (RFC 4861: MAX_MULTICAST_SOLICIT).
pub const REQUESTS_MAX: u8 = 3;
/// Time between two requests (RFC 4861: RETRANS_TIMER), in nanoseconds.
pub const REQUEST_INTERVAL_NS: u64 = SECOND_NS;
/// How long an address that did not answer is not asked for again, in nanoseconds.
pub const FAILURE_HOLD_NS: u64 = 500 * MILLISECOND_NS;
/// How long a station is remembered of which nothing is seen, in nanoseconds.
pub const STATION_TIMEOUT_NS: u64 = 300 * SECOND_NS;
/// How long a station that is seen again and again is not told to other edges anew, in nanoseconds.
pub const TOLD_NS: u64 = 60 * SECOND_NS;
/// Addresses that may be asked for at the same time, those whose outcome nobody has fetched yet
/// included.
pub const PENDING_MAX: usize = 256;

const _: () = assert!(REQUESTS_MAX > 0, "an address is asked for at least once");
const _: () = assert!(2 * TOLD_NS < STATION_TIMEOUT_NS, "no edge forgets what another one sees");

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// Its station address.
    pub mac: MacAddr,
    /// The tags that frames to it have.
    pub vlans: VlanList,
}

/// Answer to "where is this address?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// There.
    Known(Station),
    /// It is being asked for; a [`NeighbourEvent`] will tell.
    Pending,
    /// It did not answer a moment ago.
    Failed,
    /// Too many are being asked for, or the table is full of such: ask again later.
    Busy,
}

/// An address was asked for, and this came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourEvent {
    /// Outermost VLAN.
    pub vlan: u16,
    /// The address.
    pub address: IpAddr,
    /// Its station; `None`: no answer.
    pub station: Option<Station>,
}

/// A request to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Outermost VLAN.
    pub vlan: u16,
    /// The address asked for.
    pub address: IpAddr,
}

/// What happened in the table, to be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries replaced because the table was full.
    pub evicted: u64,
    /// Entries removed for age.
    pub expired: u64,
    /// Addresses that did not answer.
    pub failed: u64,
    /// Questions turned away.
    pub busy: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    address: u128,
    vlan: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Known {
        station: Station,
        seen: Time,
    },
    /// `asked` requests are out; the next is due at `next_at`.
    Asking {
        asked: u8,
        next_at: Time,
    },
    Failed {
        until: Time,
    },
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    state: State,
}

/// The neighbour table of one side.
#[derive(Debug)]
pub struct Neighbours {
    places: HashMap<Key, u32, FlowHasher>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// When other edges and this one last told each other of each entry; empty without others.
    told: Box<[Option<Time>]>,
    /// Entries in state `Asking`.
    asking: Vec<u32>,
    events: VecDeque<NeighbourEvent>,
    /// Where the next step of ageing, and the next search for a victim, begin.
    hand: usize,
    tally: Tally,
}

impl Neighbours {
    /// A table of `capacity` entries (at least one), all memory taken now.
    #[must_use]
    pub fn new(capacity: usize, hasher: FlowHasher) -> Self {
        let capacity = capacity.clamp(1, u32::MAX as usize);
        Neighbours {
            // Twice the room: at most half full, the map cleans itself up in place.
            places: HashMap::with_capacity_and_hasher(2 * capacity, hasher),
            entries: vec![None; capacity],
            free: (0..u32::try_from(capacity).unwrap_or(u32::MAX)).rev().collect(),
            told: Box::default(),
            asking: Vec::with_capacity(PENDING_MAX),
            events: VecDeque::with_capacity(PENDING_MAX),
            hand: 0,
            tally: Tally::default(),
        }
    }

    /// The same, where other edges are told what is learned.
    #[must_use]
    pub fn shared(self) -> Self {
        Neighbours { told: vec![None; self.entries.len()].into_boxed_slice(), ..self }
    }

    /// Entries in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether the table is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What happened since the last call.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// A frame has shown where an address is; says whether the other edges are to be told: when it
    /// was not known there, or not told for [`TOLD_NS`].
    pub fn learn(&mut self, address: IpAddr, mac: MacAddr, vlans: VlanList, now: Time) -> bool {
        if self.told.is_empty() {
            self.note(address, mac, vlans, now);
            return false;
        }
        let vlan = vlans.outer_id();
        let is_new = self.station(address, vlan) != Some(Station { mac, vlans });
        self.note(address, mac, vlans, now);
        let Some(told) = self.told_mut(address, vlan) else { return false };
        if is_new {
            *told = None;
        }
        told.is_none_or(|told| now.since_ns(told) >= TOLD_NS)
    }

    fn told_mut(&mut self, address: IpAddr, vlan: u16) -> Option<&mut Option<Time>> {
        let index = self.places.get(&Key { address: FlowKey::address_bits(address), vlan })?;
        self.told.get_mut(*index as usize)
    }

    /// The other edges have been told of an address, or have told of it.
    pub fn set_told(&mut self, address: IpAddr, vlan: u16, now: Time) {
        if let Some(told) = self.told_mut(address, vlan) {
            *told = Some(now);
        }
    }

    /// Another edge has seen where an address is.
    pub fn hear(&mut self, address: IpAddr, mac: MacAddr, vlans: VlanList, now: Time) {
        self.note(address, mac, vlans, now);
        self.set_told(address, vlans.outer_id(), now);
    }

    fn note(&mut self, address: IpAddr, mac: MacAddr, vlans: VlanList, now: Time) {
        let key = Key { address: FlowKey::address_bits(address), vlan: vlans.outer_id() };
        let station = Station { mac, vlans };
        let known = State::Known { station, seen: now };
        let Some(index) = self.places.get(&key).copied() else {
            self.insert(key, known);
            return;
        };
        let Some(entry) = self.entry_mut(index) else { return };
        let was_asking = matches!(entry.state, State::Asking { .. });
        entry.state = known;
        if was_asking {
            self.asking.retain(|asking| *asking != index);
            self.events.push_back(NeighbourEvent {
                vlan: key.vlan,
                address,
                station: Some(station),
            });
        }
    }

    /// Where an address is, if that is known.
    #[must_use]
    pub fn station(&self, address: IpAddr, vlan: u16) -> Option<Station> {
        let index = self.places.get(&Key { address: FlowKey::address_bits(address), vlan })?;
        match self.entries.get(*index as usize)?.as_ref()?.state {
            State::Known { station, .. } => Some(station),
            _ => None,
        }
    }

    /// Where an address is; if that is not known, it is asked for, the first time at the next
    /// [`Neighbours::next_request`].
    pub fn resolve(&mut self, address: IpAddr, vlan: u16, now: Time) -> Lookup {
        let key = Key { address: FlowKey::address_bits(address), vlan };
        let place = self.places.get(&key).copied();
        let state = place.and_then(|index| self.entry_mut(index)).map(|entry| entry.state);
        match state {
            Some(State::Known { station, .. }) => return Lookup::Known(station),
            Some(State::Asking { .. }) => return Lookup::Pending,
            Some(State::Failed { until }) if now < until => return Lookup::Failed,
            Some(State::Failed { .. }) | None => {}
        }
        if self.asking.len() + self.events.len() >= PENDING_MAX {
            self.tally.busy += 1;
            return Lookup::Busy;
        }
        let asking = State::Asking { asked: 0, next_at: now };
        let index = match place {
            Some(index) => {
                if let Some(entry) = self.entry_mut(index) {
                    entry.state = asking;
                }
                Some(index)
            }
            None => self.insert(key, asking),
        };
        let Some(index) = index else {
            self.tally.busy += 1;
            return Lookup::Busy;
        };
        self.asking.push(index);
        Lookup::Pending
    }

    /// Forgets where an address is, so that it is asked for again.
    pub fn forget(&mut self, address: IpAddr, vlan: u16) {
        let key = Key { address: FlowKey::address_bits(address), vlan };
        if let Some(index) = self.places.get(&key).copied() {
            self.remove(index);
        }
    }

    /// When [`Neighbours::next_request`] has to be called again.
    #[must_use]
    pub fn next_timeout(&self) -> Time {
        let due = self.asking.iter().filter_map(|index| {
            match self.entries.get(*index as usize)?.as_ref()?.state {
                State::Asking { next_at, .. } => Some(next_at),
                _ => None,
            }
        });
        due.min().unwrap_or(Time::NEVER)
    }

    /// The next request that is due, if any. An address whose last request stayed unanswered is
    /// given up instead.
    pub fn next_request(&mut self, now: Time) -> Option<Request> {
        let mut at = 0;
        while let Some(index) = self.asking.get(at).copied() {
            let entry = self.entries.get_mut(index as usize).and_then(Option::as_mut);
            let Some(entry) = entry else {
                self.asking.swap_remove(at);
                continue;
            };
            let (vlan, address) = (entry.key.vlan, FlowKey::bits_address(entry.key.address));
            match &mut entry.state {
                State::Asking { asked, next_at } if *next_at <= now => {
                    if *asked < REQUESTS_MAX {
                        *asked += 1;
                        *next_at = now + REQUEST_INTERVAL_NS;
                        return Some(Request { vlan, address });
                    }
                    entry.state = State::Failed { until: now + FAILURE_HOLD_NS };
                    self.asking.swap_remove(at);
                    self.tally.failed += 1;
                    self.events.push_back(NeighbourEvent { vlan, address, station: None });
                }
                _ => at += 1,
            }
        }
        None
    }

    /// The next outcome of a question, if any.
    pub fn next_event(&mut self) -> Option<NeighbourEvent> {
        self.events.pop_front()
    }

    /// One step of ageing over the next `entries` entries.
    pub fn sweep(&mut self, entries: usize, now: Time) {
        for _ in 0..entries.min(self.entries.len()) {
            let index = self.advance_hand();
            let expired = match self.entry_mut(index).map(|entry| entry.state) {
                Some(State::Known { seen, .. }) => now.since_ns(seen) >= STATION_TIMEOUT_NS,
                Some(State::Failed { until }) => now >= until,
                Some(State::Asking { .. }) | None => false,
            };
            if expired {
                self.remove(index);
                self.tally.expired += 1;
            }
        }
    }

    fn entry_mut(&mut self, index: u32) -> Option<&mut Entry> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    fn advance_hand(&mut self) -> u32 {
        let index = self.hand;
        self.hand = if index + 1 < self.entries.len() { index + 1 } else { 0 };
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Makes an entry, in place of another when the table is full; `None` when nothing near the
    /// hand may be replaced (addresses that are being asked for are kept).
    fn insert(&mut self, key: Key, state: State) -> Option<u32> {
        const VICTIMS_MAX: usize = 2 * PENDING_MAX;
        if self.free.is_empty() {
            for _ in 0..VICTIMS_MAX.min(self.entries.len()) {
                let index = self.advance_hand();
                let asking = self
                    .entry_mut(index)
                    .is_some_and(|entry| matches!(entry.state, State::Asking { .. }));
                if !asking {
                    self.remove(index);
                    self.tally.evicted += 1;
                    break;
                }
            }
        }
        let index = self.free.pop()?;
        *self.entries.get_mut(index as usize)? = Some(Entry { key, state });
        self.places.insert(key, index);
        Some(index)
    }

    fn remove(&mut self, index: u32) {
        let entry = self.entries.get_mut(index as usize).and_then(Option::take);
        if let Some(entry) = entry {
            self.places.remove(&entry.key);
            self.free.push(index);
            self.asking.retain(|asking| *asking != index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours(capacity: usize) -> Neighbours {
        Neighbours::new(capacity, FlowHasher::new([1, 2]))
    }

    fn address(n: u8) -> IpAddr {
        [10, 77, 1, n].into()
    }

    fn mac(n: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, n])
    }

    fn at(ms: u64) -> Time {
        Time::from_ms(ms)
    }

    #[test]
    fn learned_from_a_frame_and_moved_by_the_next() {
        let mut table = neighbours(4);
        table.learn(address(1), mac(1), VlanList::of_id(7), at(0));
        let known = |mac| Lookup::Known(Station { mac, vlans: VlanList::of_id(7) });
        assert_eq!(table.resolve(address(1), 7, at(1)), known(mac(1)));
        table.learn(address(1), mac(2), VlanList::of_id(7), at(2));
        assert_eq!(table.resolve(address(1), 7, at(3)), known(mac(2)));
        assert_eq!(table.station(address(1), 0), None, "another VLAN");
        assert_eq!((table.len(), table.next_event(), table.next_request(at(9))), (1, None, None));
    }

    #[test]
    fn asked_for_until_it_answers() {
        let mut table = neighbours(4);
        assert_eq!(table.resolve(address(1), 0, at(0)), Lookup::Pending);
        assert_eq!(table.resolve(address(1), 0, at(0)), Lookup::Pending);
        let request = Some(Request { vlan: 0, address: address(1) });
        assert_eq!(table.next_timeout(), at(0));
        assert_eq!((table.next_request(at(0)), table.next_request(at(0))), (request, None));
        assert_eq!(table.next_timeout(), at(1000));
        assert_eq!((table.next_request(at(999)), table.next_request(at(1000))), (None, request));
        table.learn(address(1), mac(1), VlanList::default(), at(1001));
        let station = Station { mac: mac(1), vlans: VlanList::default() };
        let event = NeighbourEvent { vlan: 0, address: address(1), station: Some(station) };
        assert_eq!((table.next_event(), table.next_event()), (Some(event), None));
        assert_eq!((table.next_request(at(9999)), table.next_timeout()), (None, Time::NEVER));
    }

    #[test]
    fn no_answer_is_unreachable_for_a_while() {
        let mut table = neighbours(4);
        assert_eq!(table.resolve(address(1), 3, at(0)), Lookup::Pending);
        for n in 0..u64::from(REQUESTS_MAX) {
            assert!(table.next_request(at(n * 1000)).is_some());
            assert_eq!(table.next_event(), None);
        }
        assert_eq!(table.next_request(at(3000)), None);
        let event = NeighbourEvent { vlan: 3, address: address(1), station: None };
        assert_eq!(table.next_event(), Some(event));
        assert_eq!(table.resolve(address(1), 3, at(3400)), Lookup::Failed);
        assert_eq!(table.resolve(address(1), 3, at(3500)), Lookup::Pending);
        assert_eq!(table.take_tally(), Tally { failed: 1, ..Tally::default() });
    }

    #[test]
    fn full_table_replaces_stations_but_no_questions() {
        let mut table = neighbours(2);
        assert_eq!(table.resolve(address(1), 0, at(0)), Lookup::Pending);
        for n in 2..9 {
            table.learn(address(n), mac(n), VlanList::default(), at(0));
            assert!(table.station(address(n), 0).is_some());
            assert_eq!(table.len(), 2);
        }
        assert_eq!(table.resolve(address(9), 0, at(0)), Lookup::Pending);
        assert_eq!(table.resolve(address(10), 0, at(0)), Lookup::Busy);
        table.learn(address(11), mac(11), VlanList::default(), at(0));
        assert_eq!(table.station(address(11), 0), None);
        assert_eq!(table.take_tally(), Tally { evicted: 7, busy: 1, ..Tally::default() });
    }

    #[test]
    fn questions_and_their_outcomes_are_bounded() {
        let mut table = neighbours(2 * PENDING_MAX);
        let ask = |table: &mut Neighbours, n: usize, now| {
            let n = u32::try_from(n).unwrap();
            table.resolve(std::net::Ipv4Addr::from(0x0a00_0000 + n).into(), 0, now)
        };
        for n in 0..PENDING_MAX {
            assert_eq!(ask(&mut table, n, at(0)), Lookup::Pending);
        }
        assert_eq!(ask(&mut table, PENDING_MAX, at(0)), Lookup::Busy);
        for second in 0..=3 {
            while table.next_request(at(second * 1000)).is_some() {}
        }
        assert_eq!(ask(&mut table, PENDING_MAX, at(3000)), Lookup::Busy, "outcomes not fetched");
        assert_eq!(std::iter::from_fn(|| table.next_event()).count(), PENDING_MAX);
        assert_eq!(ask(&mut table, PENDING_MAX, at(3000)), Lookup::Pending);
    }

    #[test]
    fn ageing_in_steps() {
        let mut table = neighbours(4);
        table.learn(address(1), mac(1), VlanList::default(), at(0));
        table.learn(address(2), mac(2), VlanList::default(), at(1000));
        let _ = table.resolve(address(3), 0, at(0));
        table.sweep(4, at(299_999));
        assert_eq!(table.len(), 3);
        table.sweep(2, at(300_000));
        table.sweep(2, at(300_000));
        assert_eq!((table.station(address(1), 0), table.len()), (None, 2));
        assert_eq!(table.take_tally().expired, 1);
        table.forget(address(2), 0);
        table.forget(address(3), 0);
        assert!(table.is_empty());
        assert_eq!(table.next_timeout(), Time::NEVER);
    }
}
