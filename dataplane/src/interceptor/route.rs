//! Where frames to a host or a peer go on their link, and the interceptor's housekeeping: ageing,
//! requests of ARP and neighbour discovery.
//!
//! In: an address, the time. Out: the link header of frames to it; requests to send; outcomes of
//! those that were waited for. Never: a wait, a route that the configuration does not give.

use std::net::IpAddr;

use super::classify::Interceptor;
use super::counter::InterceptorCounter as Counter;
use super::neighbours::{Lookup, NeighbourEvent, Neighbours, Request, Station};
use super::{Side, own};
use crate::frame::arp::{ArpOperation, ArpPacket};
use crate::frame::ndp::NdpPacket;
use crate::frame::{BuildError, Frame, FrameSource, LinkHeader, MacAddr, VlanList};
use crate::time::{MILLISECOND_NS, SECOND_NS, Time};

/// Entries of each table that one step of housekeeping looks at for age, at least.
pub const SWEEP_ENTRIES: usize = 256;
/// Within this time each entry of the flow table is looked at, however many there are: what is over
/// makes room about as fast as new flows can fill it.
const SWEEP_ROUND_NS: u64 = 10 * SECOND_NS;
/// Time that a step makes up for, at most.
const SWEEP_STEP_NS_MAX: u64 = 100 * MILLISECOND_NS;

/// Answer to "how do frames get to this address?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// With this link header.
    Known(LinkHeader),
    /// That is being found out; ask again after the [`Outcome`] of one of its next hops.
    Pending,
    /// Too much is being found out at the moment: ask again later, unasked.
    Busy,
    /// There is no way, or the next hop does not answer, or it is ourselves.
    Unreachable,
}

/// A next hop was asked for, and this came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// On which side.
    pub side: Side,
    /// Outermost VLAN.
    pub vlan: u16,
    /// The next hop: the host itself, or a gateway.
    pub next_hop: IpAddr,
    /// Whether it answered.
    pub reachable: bool,
}

impl Interceptor {
    /// The way to an address on a side: the station it was last seen at; else itself, asked for,
    /// if it is on the link; else the first gateway of its family that answers.
    pub fn route(&mut self, side: Side, vlan: u16, to: IpAddr, now: Time) -> Route {
        if self.own.has(to) {
            return Route::Unreachable;
        }
        let own_mac = self.own.side(side).mac;
        if let Some(station) = self.neighbours_mut(side).station(to, vlan) {
            return Route::Known(link_to(station, own_mac));
        }
        let [lan, wan] = &mut self.neighbours;
        let neighbours: &mut Neighbours = if side == Side::Lan { lan } else { wan };
        let config = match side {
            Side::Lan => &self.own.lan,
            Side::Wan => &self.own.wan,
        };
        let on_link = config.is_on_link(to).then_some(to);
        let gateways = config.gateways.iter().copied().filter(|_| on_link.is_none());
        for next_hop in on_link.into_iter().chain(gateways) {
            if next_hop.is_ipv4() != to.is_ipv4() || config.source_for(next_hop).is_none() {
                continue;
            }
            match neighbours.resolve(next_hop, vlan, now) {
                Lookup::Known(station) => return Route::Known(link_to(station, own_mac)),
                Lookup::Pending => return Route::Pending,
                Lookup::Busy => return Route::Busy,
                Lookup::Failed => {}
            }
        }
        Route::Unreachable
    }

    /// Forgets where an address was seen, so that the next frame to it asks anew.
    pub fn forget_neighbour(&mut self, side: Side, vlan: u16, address: IpAddr) {
        self.neighbours_mut(side).forget(address, vlan);
    }

    /// The next outcome of a question that [`Interceptor::route`] raised, if any.
    pub fn next_outcome(&mut self) -> Option<Outcome> {
        Side::BOTH.into_iter().find_map(|side| {
            let NeighbourEvent { vlan, address, station } =
                self.neighbours_mut(side).next_event()?;
            Some(Outcome { side, vlan, next_hop: address, reachable: station.is_some() })
        })
    }

    /// The next request that is due, as a frame and the side to send it on. Call until `None`.
    /// A request that finds no frame counts as sent: it is repeated in its time.
    pub fn next_request<S: FrameSource>(
        &mut self,
        source: &mut S,
        now: Time,
    ) -> Option<(Side, S::Frame)> {
        for side in Side::BOTH {
            while let Some(request) = self.neighbours_mut(side).next_request(now) {
                let Some(mut frame) = source.alloc() else { continue };
                if write_request(&mut frame, self.own.side(side), request).is_ok() {
                    self.counters.increment(Counter::NeighbourRequests);
                    return Some((side, frame));
                }
            }
        }
        None
    }

    /// When [`Interceptor::next_request`] has to be called again, at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Time {
        let [lan, wan] = &self.neighbours;
        lan.next_timeout().min(wan.next_timeout())
    }

    /// One bounded step of ageing; call it some times a second.
    pub fn housekeeping(&mut self, now: Time) {
        let step_ns = now.since_ns(self.swept_at).min(SWEEP_STEP_NS_MAX);
        self.swept_at = now;
        let share = self.flows.capacity() as u64 * step_ns / SWEEP_ROUND_NS;
        let entries = usize::try_from(share).unwrap_or(usize::MAX).max(SWEEP_ENTRIES);
        let expired = self.flows.sweep(entries, &self.timeouts, now);
        self.counters.add(Counter::FlowsExpired, expired as u64);
        self.counters.set(Counter::Flows, self.flows.len() as u64);
        let mut len = 0;
        for neighbours in &mut self.neighbours {
            neighbours.sweep(SWEEP_ENTRIES, now);
            let tally = neighbours.take_tally();
            self.counters.add(Counter::NeighboursEvicted, tally.evicted);
            self.counters.add(Counter::NeighboursExpired, tally.expired);
            self.counters.add(Counter::NeighbourFailures, tally.failed);
            self.counters.add(Counter::NeighbourBusy, tally.busy);
            len += neighbours.len();
        }
        self.counters.set(Counter::Neighbours, len as u64);
    }
}

fn link_to(station: Station, own: MacAddr) -> LinkHeader {
    LinkHeader { destination: station.mac, source: own, vlans: station.vlans }
}

/// Makes a frame an ARP request or a neighbour solicitation, from this side's station and address.
fn write_request<F: Frame>(
    frame: &mut F,
    config: &own::SideConfig,
    request: Request,
) -> Result<(), BuildError> {
    let link = LinkHeader {
        destination: MacAddr::BROADCAST,
        source: config.mac,
        vlans: VlanList::of_id(request.vlan),
    };
    match (config.source_for(request.address), request.address) {
        (Some(IpAddr::V4(sender)), IpAddr::V4(target)) => {
            let packet = ArpPacket {
                operation: ArpOperation::Request,
                sender_mac: config.mac,
                sender,
                target_mac: MacAddr::ZERO,
                target,
            };
            packet.write(frame, &link)
        }
        (Some(IpAddr::V6(source)), IpAddr::V6(target)) => {
            NdpPacket::write_solicitation(frame, &link, source, target)
        }
        _ => Err(BuildError::Family),
    }
}
