//! What several edges tell each other of the hosts' stations, so that each knows what one would.
//!
//! In: stations that this edge's frames show, those that other edges have seen. Out: what is new of
//! the former, for all other edges. Never: what was heard passed on, or told again before its time.
//!
//! Each edge has tables of its own and writes only those. ARP and neighbour discovery come to the
//! first edge alone ([`super::owner`]), so whoever asks hears the answer from it.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::Side;
use super::classify::Interceptor;
use crate::frame::{MacAddr, VlanList};
use crate::time::Time;

/// Sightings that wait to be told, at most: what finds no place is told when it is seen again.
pub const SIGHTINGS_MAX: usize = 256;

/// Where a host of the LAN was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its address.
    pub address: IpAddr,
    /// Its station.
    pub mac: MacAddr,
    /// The tags of its frames.
    pub vlans: VlanList,
}

/// Sightings that the other edges have not been told of yet; of no use with a single edge.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    waiting: VecDeque<Sighting>,
    are_shared: bool,
}

impl Sightings {
    /// To be told to others.
    pub(super) fn shared() -> Self {
        Sightings { waiting: VecDeque::with_capacity(SIGHTINGS_MAX), are_shared: true }
    }

    /// Whether one more can be told.
    pub(super) fn have_room(&self) -> bool {
        self.are_shared && self.waiting.len() < SIGHTINGS_MAX
    }

    pub(super) fn tell(&mut self, sighting: Sighting) {
        if self.have_room() {
            self.waiting.push_back(sighting);
        }
    }
}

impl Interceptor {
    /// The next sighting that the other edges are to be told of.
    pub fn next_sighting(&mut self) -> Option<Sighting> {
        self.sightings.waiting.pop_front()
    }

    /// Whether there is one.
    #[must_use]
    pub fn has_sightings(&self) -> bool {
        !self.sightings.waiting.is_empty()
    }

    /// Another edge has seen this. Only hosts of the LAN are told of: to the peers' endpoints one edge
    /// finds the way for all.
    pub fn hear(&mut self, sighting: Sighting, now: Time) {
        let Sighting { address, mac, vlans } = sighting;
        self.neighbours_mut(Side::Lan).hear(address, mac, vlans, now);
    }
}
